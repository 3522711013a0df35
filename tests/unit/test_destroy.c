/* test_destroy.c - when a context is released, and when an emitter is: once, and after the last use. */
#include "record.h"

/* --- After the last call ---------------------------------------------------------------------------------
 */

static int cancel_self(mtaio_event *event, struct actor *self) {
    int r = mtaio_listener_cancel(self->listener);
    note("%d,%u", mtaio_listener_is_active(self->listener), self->gone);
    (void)event;
    return r;
}

/* Each of n handlers removes itself: all are called once, none the next time, every destroy-notify runs
 * exactly once, after the call. Hazards 1 and 12. */
static void test_all_remove_themselves(void **state) {
    (void)state;
    enum { N = 100 };
    mtaio_emitter *em = emitter_new();
    static struct actor actors[N];
    for (int i = 0; i < N; i++) {
        actors[i] = (struct actor){.tag = "a", .act = cancel_self};
        actors[i].listener = listen_ref(em, "x", 0, &actors[i]);
    }
    assert_int_equal(mtaio_emit(em, "x", NULL), N);
    assert_int_equal(mtaio_emitter_count(em, "x"), 0);
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    assert_int_equal(mtaio_reclaim(), 0);
    for (int i = 0; i < N; i++) {
        assert_int_equal(actors[i].calls, 1);
        assert_int_equal(actors[i].gone, 1);
        mtaio_listener_unref(actors[i].listener);
    }
    assert_non_null(strstr(notes.text, "a 0,0"));
    assert_null(strstr(notes.text, "a 0,1"));
    forget_notes();
    mtaio_emitter_unref(em);
}

static struct actor *reentrant;

static void gone_reenters(void *ctx) {
    mtaio_emitter *em = ctx;
    note("~");
    CHECK(mtaio_emit(em, "other", NULL) == 1);
    CHECK(mtaio_on(em, "other", play, reentrant) == 0);
    CHECK(mtaio_off(em, "other", play, reentrant) == 2);
    CHECK(mtaio_on(em, "other", play, reentrant) == 0);
    CHECK(mtaio_emitter_count(em, "x") == 0);
    CHECK(mtaio_reclaim() < 100);
    mtaio_emitter *second = NULL;
    CHECK(mtaio_emitter_new(NULL, &second) == 0);
    mtaio_emitter_unref(second);
}

/* The destroy-notify is called with no lock of ours held: it may emit, register, remove, reclaim. Hazards 12,
 * 13, 62. */
static void test_destroy_reenters(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor other = {.tag = "other"};
    mtaio_listener *listener = NULL;
    reentrant = &other;
    listen(em, "other", &other);
    for (int way = 0; way < 4; way++) {
        const mtaio_handler *h = MTAIO_HANDLER(.call = play, .destroy = gone_reenters, .ctx = em);
        OK(mtaio_emitter_on(em, "x", h, &listener));
        if (way == 0)
            assert_int_equal(mtaio_listener_cancel(listener), 1);
        else if (way == 1)
            assert_int_equal(mtaio_off(em, "x", play, em), 1);
        else if (way == 2)
            assert_int_equal(mtaio_emitter_remove_all(em, "x"), 1);
        else
            assert_int_equal(mtaio_listener_cancel_wait(listener), 1);
        mtaio_listener_unref(listener);
        assert_int_equal(mtaio_reclaim(), 0);
        assert_noted("~ other");
    }
    mtaio_emitter_unref(em);
}

static void gone_drops_emitter(void *ctx) {
    note("~");
    mtaio_emitter_unref(ctx);
}

/* A destroy-notify may drop the last reference to the emitter it was registered on. Hazard 13. */
static void test_destroy_drops_emitter(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"};
    mtaio_listener *listener = NULL, *other = listen_ref(em, "x", 0, &a);
    const mtaio_handler *h = MTAIO_HANDLER(.call = play, .destroy = gone_drops_emitter, .ctx = em);
    OK(mtaio_emitter_on(em, "x", h, &listener));
    assert_int_equal(mtaio_listener_cancel(listener), 1);
    assert_int_equal(mtaio_reclaim(), 0);
    assert_noted("~ ~a");
    mtaio_listener_unref(listener);
    mtaio_listener_unref(other);
}

/* --- Also if registering failed --------------------------------------------------------------------------
 */

static void note_gone(void *ctx) { note("~%s", (const char *)ctx); }

static int pass(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 1;
}

static int same(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    (void)event;
    (void)mapped;
    (void)ctx;
    return 0;
}

static void never(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    CHECK(false);
}

/* "destroy(ctx) runs exactly once, also if registering failed": for whatever reason, so that the caller need
 * not ask. */
static void test_failed_registering(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *closed = emitter_new(), *ret = NULL;
    const mtaio_handler *h = MTAIO_HANDLER(.call = play, .destroy = note_gone, .ctx = "h");
    mtaio_handler bad = *h;
    mtaio_emitter_close(closed);
    assert_int_equal(mtaio_emitter_on(em, "x*", h, NULL), MTAIO_EPATTERN);
    assert_int_equal(mtaio_emitter_on(em, NULL, h, NULL), MTAIO_EINVAL);
    assert_int_equal(mtaio_emitter_on(NULL, "x", h, NULL), MTAIO_EINVAL);
    assert_int_equal(mtaio_emitter_on(closed, "x", h, NULL), MTAIO_ECLOSED);
    assert_int_equal(mtaio_name_on(NULL, h, NULL), MTAIO_EINVAL);
    bad.call = NULL;
    assert_int_equal(mtaio_emitter_on(em, "x", &bad, NULL), MTAIO_EINVAL);
    bad.call = play, bad.flags = 8;
    assert_int_equal(mtaio_emitter_on(em, "x", &bad, NULL), MTAIO_EINVAL);
    assert_noted("~h ~h ~h ~h ~h ~h ~h");
    bad.size = 0; /* not even this can be believed */
    assert_int_equal(mtaio_emitter_on(em, "x", &bad, NULL), MTAIO_EINVAL);
    assert_noted("");
    const mtaio_filter *f = MTAIO_FILTER(.call = pass, .destroy = note_gone, .ctx = "f");
    assert_int_equal(mtaio_emitter_filter(em, "x*", f, &ret), MTAIO_EPATTERN);
    assert_int_equal(mtaio_emitter_filter(em, "x", f, NULL), MTAIO_EINVAL);
    assert_int_equal(mtaio_emitter_filter(closed, "x", f, &ret), MTAIO_ECLOSED);
    assert_noted("~f ~f ~f");
    const mtaio_map *m = MTAIO_MAP(.call = same, .destroy = note_gone, .ctx = "m");
    assert_int_equal(mtaio_emitter_map(em, "x*", m, &ret), MTAIO_EPATTERN);
    assert_int_equal(mtaio_emitter_map(em, "x", m, NULL), MTAIO_EINVAL);
    assert_int_equal(mtaio_emitter_map(closed, "x", m, &ret), MTAIO_ECLOSED);
    assert_noted("~m ~m ~m");
    const mtaio_hook *hook = MTAIO_HOOK(.before = never, .destroy = note_gone, .ctx = "hook");
    assert_int_equal(mtaio_emitter_hook(NULL, hook, NULL), MTAIO_EINVAL);
    assert_int_equal(mtaio_emitter_hook(closed, hook, NULL), MTAIO_ECLOSED);
    assert_noted("~hook ~hook");
    assert_int_equal(mtaio_emitter_new(MTAIO_EMITTER_OPTIONS(.destroy = note_gone, .ctx = "options"), NULL),
                     MTAIO_EINVAL);
    assert_noted("~options");
    mtaio_emitter_unref(em);
    mtaio_emitter_unref(closed);
}

/* The same where registering failed for lack of memory. Hazard 20. */
static void test_no_memory(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    SWEEP(sweep) {
        mtaio_emitter *other = NULL, *filtered = NULL, *mapped = NULL;
        mtaio_event *event = NULL;
        support_arm(&sweep);
        int made = 0;
        made += mtaio_emitter_on(em, "x", MTAIO_HANDLER(.call = play, .destroy = note_gone, .ctx = "on"),
                                 NULL) == 0;
        made += mtaio_emitter_hook(em, MTAIO_HOOK(.before = never, .destroy = note_gone, .ctx = "hook"),
                                   NULL) == 0;
        made +=
            mtaio_emitter_filter(em, NULL, MTAIO_FILTER(.call = pass, .destroy = note_gone, .ctx = "filter"),
                                 &filtered) == 0;
        made += mtaio_emitter_map(em, NULL, MTAIO_MAP(.call = same, .destroy = note_gone, .ctx = "map"),
                                  &mapped) == 0;
        made += mtaio_emitter_new(MTAIO_EMITTER_OPTIONS(.name = "n", .destroy = note_gone, .ctx = "options"),
                                  &other) == 0;
        made += mtaio_event_new("x", "event", note_gone, &event) == 0;
        bool failed = support_disarm(&sweep);
        assert_true(failed || made == 6);
        mtaio_event_unref(event);
        mtaio_emitter_unref(other);
        mtaio_emitter_unref(filtered);
        mtaio_emitter_unref(mapped);
        OK(mtaio_emitter_close(em));
        mtaio_emitter_unref(em);
        mtaio_reclaim();
        assert_int_equal(strlen(notes.text), strlen("~on ~hook ~filter ~map ~options ~event"));
        forget_notes();
        em = emitter_new();
    }
    mtaio_emitter_unref(em);
}

/* The release of an event's data, the same; replaced data is released when it is replaced. */
static void test_failed_events(void **state) {
    (void)state;
    static char first[] = "first", second[] = "second", third[] = "third";
    mtaio_event *event = NULL;
    assert_int_equal(mtaio_event_new("x*", first, note_gone, &event), MTAIO_ENAME);
    assert_int_equal(mtaio_event_new("x", second, note_gone, NULL), MTAIO_EINVAL);
    assert_noted("~first ~second");
    OK(mtaio_event_new("x", first, note_gone, &event));
    OK(mtaio_event_set_data(event, second, note_gone));
    assert_noted("~first");
    mtaio_emitter *em = emitter_new();
    OK(mtaio_emit_nowait(em, event)); /* from now on it cannot be changed */
    assert_int_equal(mtaio_event_set_data(event, third, note_gone), MTAIO_EBUSY);
    assert_noted("~third");
    assert_string_equal(mtaio_event_data(event), "second");
    mtaio_event_unref(event);
    assert_noted("~second");
    mtaio_emitter_unref(em);
}

/* --- The emitter's own end -------------------------------------------------------------------------------
 */

static int unref_in_depth(mtaio_event *event, void *ctx) {
    struct actor *self = ctx;
    int *depth = mtaio_event_data(event);
    if (--*depth > 0)
        assert_true(mtaio_emit(self->em, "x", depth) <= 1);
    else
        assert_null(mtaio_emitter_unref(self->em));
    self->calls++;
    assert_int_equal(self->gone, 0); /* this very call still uses it */
    return 0;
}

/* The last reference given back inside a handler, 1 to 8 emissions deep: everything is freed once the
 * outermost is over, and what was not called yet is not called. Hazard 6. */
static void test_unref_inside(void **state) {
    (void)state;
    for (int deep = 1; deep <= 8; deep++) {
        struct actor a = {.tag = "a", .em = emitter_new()}, late = {.tag = "late"};
        int depth = deep;
        OK(mtaio_emitter_on(a.em, "x", MTAIO_HANDLER(.call = unref_in_depth, .ctx = &a, .destroy = gone),
                            NULL));
        mtaio_listener_unref(listen_ref(a.em, "*", 0, &late));
        int r = mtaio_emit(a.em, "x", &depth);
        assert_true(r == 1 || r == MTAIO_ECLOSED);
        mtaio_reclaim();
        assert_int_equal(a.calls, deep);
        assert_int_equal(a.gone, 1);
        assert_int_equal(late.calls, 0);
        assert_int_equal(late.gone, 1);
        assert_int_equal(support_live_blocks(), blocks_before);
        forget_notes();
    }
}

static void note_options_gone(void *ctx) { note("~%s", (const char *)ctx); }

/* References are counted; the options' context goes last, after those of the handlers. */
static void test_references(void **state) {
    (void)state;
    mtaio_emitter *em = NULL;
    struct actor a = {.tag = "a"};
    OK(mtaio_emitter_new(MTAIO_EMITTER_OPTIONS(.name = "n", .destroy = note_options_gone, .ctx = "options"),
                         &em));
    assert_string_equal(mtaio_emitter_name(em), "n");
    mtaio_listener_unref(listen_ref(em, "x", 0, &a));
    assert_ptr_equal(mtaio_emitter_ref(em), em);
    mtaio_emitter_unref(em);
    assert_false(mtaio_emitter_is_closed(em));
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    assert_noted("a ~a ~options");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_all_remove_themselves), TEST(test_destroy_reenters), TEST(test_destroy_drops_emitter),
        TEST(test_failed_registering),    TEST(test_no_memory),        TEST(test_failed_events),
        TEST(test_unref_inside),          TEST(test_references),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
