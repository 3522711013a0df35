/* test_removal.c - once, off, cancel, remove all; counts and walks. */
#include "record.h"

/* --- Once ------------------------------------------------------------------------------------------------
 */

static int count_own(mtaio_event *event, struct actor *self) {
    (void)event;
    note("%zu", mtaio_emitter_count(self->em, "x"));
    return self->result;
}

/* "Unregistered before it is called, called exactly once, consumed even when it fails." */
static void test_once(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = count_own, .em = em}, b = a;
    b.tag = "b", b.result = -3;
    OK(mtaio_once(em, "x", play, &a));
    assert_int_equal(mtaio_emitter_count(em, "x"), 1);
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    OK(mtaio_once(em, "x", play, &b));
    assert_int_equal(mtaio_emit(em, "x", NULL), MTAIO_EHANDLER);
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    assert_noted("a 0 b 0");
    mtaio_emitter_unref(em);
}

static int emit_x(mtaio_event *event, struct actor *self) {
    (void)event;
    return mtaio_emit(self->em, "x", NULL);
}

/* A once handler that emits the same event is not called again by it. Hazard 10. */
static void test_once_nested(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = emit_x, .em = em}, b = {.tag = "b"};
    OK(mtaio_once(em, "x", play, &a));
    OK(mtaio_once(em, "*", play, &b));
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    assert_noted("a b"); /* b was consumed by the nested emission: the outer one found it gone */
    assert_int_equal(mtaio_emitter_count(em, NULL), 0);
    mtaio_emitter_unref(em);
}

/* A once handler that a stopped emission did not reach is still there; one under a pattern is consumed by any
 * match. */
static void test_once_not_reached(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor stop = {.tag = "stop", .stops = true}, a = {.tag = "a"};
    OK(mtaio_once(em, "x.*", play, &a));
    listen_at(em, "x.y", MTAIO_HIGH, &stop);
    assert_int_equal(mtaio_emit(em, "x.y", NULL), 1);
    assert_int_equal(mtaio_emit(em, "y", NULL), 0);
    assert_int_equal(mtaio_emit(em, "x.z", NULL), 1);
    assert_int_equal(mtaio_emit(em, "x.z", NULL), 0);
    assert_noted("stop a");
    mtaio_emitter_unref(em);
}

static int note_active(mtaio_event *event, struct actor *self) {
    (void)event;
    note("%d", mtaio_listener_is_active(self->listener));
    return mtaio_listener_cancel(self->listener);
}

/* The listener of a once handler is over when the handler is called: cancelling finds nothing. */
static void test_once_listener(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = note_active}, b = {.tag = "b"};
    a.listener = listen_ref(em, "x", MTAIO_ONCE, &a);
    assert_true(mtaio_listener_is_active(a.listener));
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    assert_false(mtaio_listener_is_active(a.listener));
    mtaio_listener_unref(a.listener);
    mtaio_reclaim();
    assert_noted("a 0 ~a");
    b.listener = listen_ref(em, "x", MTAIO_ONCE, &b);
    assert_int_equal(mtaio_listener_cancel(b.listener), 1);
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    mtaio_listener_unref(b.listener);
    mtaio_reclaim();
    assert_noted("~b");
    mtaio_emitter_unref(em);
}

/* --- Removing by function --------------------------------------------------------------------------------
 */

static int other_call(mtaio_event *event, void *ctx) { return play(event, ctx); }

/* "Takes away every registration of that handler under that name (once ones too) and says how many; none is
 * no error": function, context and name must all be the same. */
static void test_off(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"}, b = {.tag = "b"}, c = {.tag = "c"};
    assert_int_equal(mtaio_off(em, "x", play, &a), 0);
    listen(em, "x", &a);
    listen_at(em, "x", MTAIO_MONITOR, &a);
    OK(mtaio_once(em, "x", play, &a));
    listen(em, "x", &b);
    listen(em, "y", &a);
    listen(em, "*", &a);
    OK(mtaio_on(em, "x", other_call, &c));
    assert_int_equal(mtaio_off(em, "x", other_call, &a), 0);
    assert_int_equal(mtaio_off(em, "z", play, &a), 0);
    assert_int_equal(mtaio_off(em, "x", play, &a), 3);
    assert_int_equal(mtaio_off(em, "x", play, &a), 0);
    assert_int_equal(mtaio_emit(em, "x", NULL), 3);
    assert_noted("b a c");
    assert_int_equal(mtaio_off(em, "*", play, &a), 1);
    assert_int_equal(mtaio_off(em, "x", play, &b), 1);
    assert_int_equal(mtaio_off(em, "x", other_call, &c), 1);
    assert_int_equal(mtaio_off(em, "y", play, &a), 1);
    assert_int_equal(mtaio_emitter_count(em, NULL), 0);
    mtaio_emitter_unref(em);
}

/* A NULL context is a context like any other. */
static int bump(mtaio_event *event, void *ctx) {
    (void)ctx;
    ++*(int *)mtaio_event_data(event);
    return 0;
}

static void test_off_null_ctx(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    int bumps = 0;
    OK(mtaio_on(em, "x", bump, NULL));
    OK(mtaio_on(em, "x", bump, em));
    assert_int_equal(mtaio_off(em, "x", bump, NULL), 1);
    assert_int_equal(mtaio_emit(em, "x", &bumps), 1);
    assert_int_equal(bumps, 1);
    mtaio_emitter_unref(em);
}

/* Removes all of a name, or all there are, and says how many. */
static void test_remove_all(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"}, b = {.tag = "b"};
    listen(em, "x", &a);
    listen_at(em, "x", MTAIO_MONITOR, &b);
    OK(mtaio_once(em, "x", play, &a));
    listen(em, "x.*", &b);
    listen(em, "y", &b);
    assert_int_equal(mtaio_emitter_remove_all(em, "x"), 3);
    assert_int_equal(mtaio_emitter_remove_all(em, "x"), 0);
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    assert_int_equal(mtaio_emitter_remove_all(em, NULL), 2);
    assert_int_equal(mtaio_emitter_remove_all(em, NULL), 0);
    assert_int_equal(mtaio_emitter_count(em, NULL), 0);
    mtaio_emitter_unref(em);
}

/* --- Listeners -------------------------------------------------------------------------------------------
 */

/* "Registering returns a listener handle that cancels just that registration": 1 the first time, then 0. */
static void test_cancel(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"};
    mtaio_listener *first = listen_ref(em, "x", 0, &a), *second = listen_ref(em, "x", 0, &a);
    assert_true(mtaio_listener_is_active(first));
    assert_int_equal(mtaio_listener_cancel(first), 1);
    assert_int_equal(mtaio_listener_cancel(first), 0);
    assert_int_equal(mtaio_listener_cancel_wait(first), 0);
    assert_false(mtaio_listener_is_active(first));
    assert_true(mtaio_listener_is_active(second));
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    mtaio_reclaim();
    assert_noted("~a a");
    assert_int_equal(mtaio_listener_cancel_wait(second), 1);
    assert_int_equal(mtaio_listener_cancel_wait(second), 0);
    mtaio_reclaim();
    assert_noted("~a");
    mtaio_listener_unref(first);
    mtaio_listener_unref(second);
    mtaio_emitter_unref(em);
}

/* Off and remove all end the registration that a listener stands for. */
static void test_listener_sees_removal(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"}, b = {.tag = "b"};
    mtaio_listener *la = listen_ref(em, "x", 0, &a), *lb = listen_ref(em, "x", 0, &b);
    assert_int_equal(mtaio_off(em, "x", play, &a), 1);
    assert_false(mtaio_listener_is_active(la));
    assert_int_equal(mtaio_listener_cancel(la), 0);
    assert_int_equal(mtaio_emitter_remove_all(em, "x"), 1);
    assert_int_equal(mtaio_listener_cancel(lb), 0);
    mtaio_reclaim();
    assert_noted("~a ~b");
    mtaio_listener_unref(la);
    mtaio_listener_unref(lb);
    mtaio_emitter_unref(em);
}

/* Giving back the reference does not cancel; a listener may outlive its emitter. */
static void test_listener_lives(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"}, b = {.tag = "b"};
    assert_null(mtaio_listener_unref(listen_ref(em, "x", 0, &a)));
    mtaio_listener *listener = listen_ref(em, "x", 0, &b);
    assert_ptr_equal(mtaio_listener_ref(listener), listener);
    mtaio_listener_unref(listener);
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    assert_noted("a b");
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    assert_int_equal(a.gone, 1);
    assert_int_equal(b.gone, 1);
    forget_notes();
    assert_false(mtaio_listener_is_active(listener));
    assert_int_equal(mtaio_listener_cancel(listener), 0);
    assert_int_equal(mtaio_listener_cancel_wait(listener), 0);
    mtaio_listener_unref(listener);
}

static int cancel_wait_self(mtaio_event *event, struct actor *self) {
    (void)event;
    note("%d", mtaio_listener_cancel_wait(self->listener));
    note("%d", self->gone);
    return 0;
}

/* "The waiting form, called from within the handler, does not wait for itself": and the context lives to its
 * end. */
static void test_cancel_wait_inside(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = cancel_wait_self};
    a.listener = listen_ref(em, "x", 0, &a);
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    mtaio_reclaim();
    assert_noted("a 1 0 ~a");
    mtaio_listener_unref(a.listener);
    mtaio_emitter_unref(em);
}

/* --- Counts ----------------------------------------------------------------------------------------------
 */

/* "Counts are always true": of a pattern as written, of all, and of what an emission would call. */
static void test_counts(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"};
    for (size_t i = 1; i <= 100; i++) {
        listen(em, "x.y", &a);
        if (i % 2 == 0)
            listen(em, "x.*", &a);
        if (i % 4 == 0)
            OK(mtaio_once(em, "*", play, &a));
        assert_int_equal(mtaio_emitter_count(em, "x.y"), i);
        assert_int_equal(mtaio_emitter_count(em, "x.*"), i / 2);
        assert_int_equal(mtaio_emitter_count(em, "*"), i / 4);
        assert_int_equal(mtaio_emitter_count(em, "x"), 0);
        assert_int_equal(mtaio_emitter_count(em, NULL), i + i / 2 + i / 4);
        assert_int_equal(mtaio_emitter_reach(em, "x.y"), i + i / 2 + i / 4);
        assert_int_equal(mtaio_emitter_reach(em, "x.z"), i / 2 + i / 4);
        assert_int_equal(mtaio_emitter_reach(em, "z"), i / 4);
    }
    assert_int_equal(mtaio_emit(em, "x.y", NULL), 175);
    forget_notes();
    assert_int_equal(mtaio_emitter_count(em, NULL), 150);
    assert_int_equal(mtaio_emitter_remove_all(em, "x.*"), 50);
    assert_int_equal(mtaio_emitter_reach(em, "x.y"), 100);
    assert_int_equal(mtaio_emitter_count(em, NULL), 100);
    mtaio_emitter_unref(em);
}

static int see_name(const char *pattern, size_t count, void *ctx) {
    unsigned *seen = ctx;
    if (strcmp(pattern, "x") == 0 && count == 2)
        *seen += 1;
    else if (strcmp(pattern, "x.*") == 0 && count == 1)
        *seen += 10;
    else if (strcmp(pattern, "*") == 0 && count == 1)
        *seen += 100;
    else
        *seen += 1000;
    return 0;
}

static int stop_at_once(const char *pattern, size_t count, void *ctx) {
    (void)pattern;
    (void)count;
    ++*(unsigned *)ctx;
    return 42;
}

/* The names listened to: each once, with its count; a visit that does not answer 0 ends the walk. */
static void test_each_name(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"};
    unsigned seen = 0;
    assert_int_equal(mtaio_emitter_each_name(em, see_name, &seen), 0);
    assert_int_equal(seen, 0);
    listen(em, "x", &a);
    listen_at(em, "x", MTAIO_HIGH, &a);
    listen(em, "gone", &a);
    listen(em, "x.*", &a);
    OK(mtaio_once(em, "*", play, &a));
    assert_int_equal(mtaio_off(em, "gone", play, &a), 1);
    assert_int_equal(mtaio_emitter_each_name(em, see_name, &seen), 0);
    assert_int_equal(seen, 111);
    seen = 0;
    assert_int_equal(mtaio_emitter_each_name(em, stop_at_once, &seen), 42);
    assert_int_equal(seen, 1);
    mtaio_emitter_unref(em);
}

static int see_listener(const mtaio_listener_info *info, void *ctx) {
    const struct actor *a = info->ctx;
    assert_true(info->call == play);
    assert_null(info->executor);
    note("%s/%s/%d/%u", info->pattern, a->tag, (int)info->priority, info->flags);
    if (ctx != NULL)
        assert_true(mtaio_emitter_remove_all(ctx, NULL) >= 0); /* the walk goes on as it began */
    return a->result;
}

/* The listener walk: all that was registered, in the order of registration within a pattern and priority, as
 * it was at the start. */
static void test_each_listener(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"}, b = {.tag = "b"}, c = {.tag = "c", .result = 9}, d = {.tag = "d"};
    listen(em, "x", &a);
    listen(em, "y", &d);
    listen(em, "x", &b);
    assert_int_equal(mtaio_emitter_each_listener(em, "x", see_listener, NULL), 0);
    assert_noted("x/a/0/0 x/b/0/0");
    assert_int_equal(mtaio_emitter_each_listener(em, "z", see_listener, NULL), 0);
    assert_noted("");
    assert_int_equal(mtaio_emitter_remove_all(em, NULL), 3);
    assert_int_equal(mtaio_emitter_on(em, "x",
                                      MTAIO_HANDLER(.call = play, .ctx = &c, .flags = MTAIO_ONCE,
                                                    .priority = MTAIO_MONITOR),
                                      NULL),
                     0);
    assert_int_equal(mtaio_emitter_each_listener(em, NULL, see_listener, NULL), 9);
    assert_noted("x/c/3/1");
    assert_int_equal(mtaio_emitter_remove_all(em, NULL), 1);
    for (int i = 0; i < 3; i++)
        listen(em, "x", &a);
    assert_int_equal(mtaio_emitter_each_listener(em, NULL, see_listener, em), 0);
    assert_noted("x/a/0/0 x/a/0/0 x/a/0/0");
    mtaio_emitter_unref(em);
}

/* However many leave, and in whatever order, those that stay are called in theirs; and who comes then is the last. */
static void test_few_of_many_stay(void **state) {
    enum { MANY = 500 };
    static struct actor actors[MANY];
    static char tags[MANY][8];
    static mtaio_listener *listeners[MANY];
    struct actor late = {.tag = "late"};
    (void)state;
    mtaio_emitter *em = emitter_new();
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(tags[i], sizeof tags[i], "%u", i);
        actors[i] = (struct actor){.tag = tags[i]};
        listeners[i] = listen_ref(em, i % 5 == 0 ? "x.*" : "x.y", 0, &actors[i]);
    }
    assert_int_equal(mtaio_emit(em, "x.y", NULL), MANY);
    for (unsigned n = 0; n < MANY; n++) {
        unsigned i = n * 7 % MANY;
        if (i % 100 != 0 && i % 100 != 93)
            assert_int_equal(mtaio_listener_cancel(listeners[i]), 1);
    }
    forget_notes();
    listen(em, "x.y", &late);
    assert_int_equal(mtaio_emit(em, "x.y", NULL), 11);
    assert_noted("0 93 100 193 200 293 300 393 400 493 late");
    for (unsigned i = 0; i < MANY; i++) {
        mtaio_listener_unref(listeners[i]);
        assert_int_equal(actors[i].gone, i % 100 != 0 && i % 100 != 93);
    }
    mtaio_emitter_unref(em);
    forget_notes(); /* the order in which those that stayed end is not told */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_once),
        TEST(test_once_nested),
        TEST(test_once_not_reached),
        TEST(test_once_listener),
        TEST(test_off),
        TEST(test_off_null_ctx),
        TEST(test_remove_all),
        TEST(test_cancel),
        TEST(test_listener_sees_removal),
        TEST(test_listener_lives),
        TEST(test_cancel_wait_inside),
        TEST(test_counts),
        TEST(test_each_name),
        TEST(test_each_listener),
        TEST(test_few_of_many_stay),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
