/* test_alloc.c - what must not allocate: plain emissions; removing, closing and dropping, which therefore
 * cannot fail. */
#include "record.h"

static int pass(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 1;
}

static int same(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    (void)event;
    return ctx != NULL ? mtaio_event_set_data(mapped, ctx, NULL) : 0;
}

static int count_call(mtaio_event *event, void *ctx) {
    (void)event;
    ++*(unsigned *)ctx;
    return 0;
}

/* Runs call, which must give expected, without an allocation. */
#define WITHOUT(expected, call)                                                                              \
    do {                                                                                                     \
        size_t allocations_ = support_allocations();                                                         \
        assert_int_equal((call), (expected));                                                                \
        assert_int_equal(support_allocations(), allocations_);                                               \
    } while (0)

/* The same where the call gives nothing to compare. */
#define WITHOUT_ANY(call)                                                                                    \
    do {                                                                                                     \
        size_t allocations_ = support_allocations();                                                         \
        (void)(call);                                                                                        \
        assert_int_equal(support_allocations(), allocations_);                                               \
    } while (0)

/* --- Emitting --------------------------------------------------------------------------------------------
 */

/* "Emitting on the synchronous path allocates nothing": 0 to 100 handlers, by name and resolved, the first
 * emission after each change too; of a name that nobody knows. */
static void test_emit(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_name *name = NULL;
    unsigned calls = 0;
    OK(mtaio_emitter_resolve(em, "x.y", &name));
    for (int i = 0; i <= 100; i++) {
        WITHOUT(i, mtaio_emit(em, "x.y", NULL));
        WITHOUT(i, mtaio_emit_name(name, NULL));
        WITHOUT(0, mtaio_emit(em, "unseen", NULL));
        OK(mtaio_on(em, "x.y", count_call, &calls));
    }
    for (int i = 1; i <= 20; i++) {
        OK(mtaio_on(em, i % 2 != 0 ? "x.*" : "**", count_call, &calls));
        WITHOUT(101 + i, mtaio_emit(em, "x.y", NULL));
        WITHOUT(101 + i, mtaio_emit_name(name, NULL));
        WITHOUT(i, mtaio_emit(em, "x.unseen", NULL));
        WITHOUT(i / 2, mtaio_emit(em, "unseen", NULL));
    }
    assert_int_equal(mtaio_off(em, "x.y", count_call, &calls), 101);
    WITHOUT(20, mtaio_emit(em, "x.y", NULL));
    mtaio_name_unref(name);
    mtaio_emitter_unref(em);
}

/* The same for a name nobody knows that very many handlers of patterns want. */
static void test_emit_many_patterns(void **state) {
    (void)state;
    enum { N = 100 };
    mtaio_emitter *em = emitter_new();
    unsigned calls = 0;
    for (int i = 0; i < N; i++)
        OK(mtaio_on(em, i % 2 != 0 ? "x.*" : "**", count_call, &calls));
    WITHOUT(N, mtaio_emit(em, "x.first", NULL));
    WITHOUT(N, mtaio_emit(em, "x.second", NULL));
    mtaio_emitter_unref(em);
}

static int nest(mtaio_event *event, struct actor *self) {
    (void)event;
    return mtaio_emit(self->em, "inner", NULL);
}

static void ignore_failure(const mtaio_failure *failure, void *ctx) {
    (void)failure;
    (void)ctx;
}

/* Nested, failing, stopped, once, reported, with metadata, behind filters and maps, with hooks: nothing
 * either. */
static void test_emit_features(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *filtered = NULL, *mapped = NULL;
    mtaio_metadata *m = NULL;
    mtaio_report report = MTAIO_REPORT();
    unsigned calls = 0;
    struct actor outer = {.tag = "outer", .act = nest, .em = em}, bad = {.tag = "bad", .result = -1};
    struct actor once = {.tag = "once"}, stop = {.tag = "stop", .stops = true}, never = {.tag = "never"};
    OK(mtaio_metadata_new(&m));
    OK(mtaio_metadata_set(m, "k", "v"));
    OK(mtaio_emitter_filter(em, NULL, MTAIO_FILTER(.call = pass), &filtered));
    OK(mtaio_emitter_map(filtered, "x", MTAIO_MAP(.call = same, .ctx = &calls), &mapped));
    OK(mtaio_emitter_hook(em, MTAIO_HOOK(.error = ignore_failure), NULL));
    OK(mtaio_on(mapped, "x", count_call, &calls));
    OK(mtaio_on(em, "inner", count_call, &calls));
    listen(em, "x", &outer);
    listen(em, "x", &bad);
    OK(mtaio_once(em, "x", play, &once));
    WITHOUT(MTAIO_EHANDLER, mtaio_emit_with(em, MTAIO_EMISSION(.name = "x", .report = &report, .metadata = m,
                                                               .failure = ignore_failure)));
    assert_int_equal(report.called, 4);
    assert_noted("outer bad once");
    listen(em, "x", &stop);
    listen(em, "x", &never);
    WITHOUT(MTAIO_EHANDLER, mtaio_emit(em, "x", NULL));
    assert_noted("outer bad stop");
    assert_int_equal(calls, 3);
    mtaio_metadata_unref(m);
    mtaio_emitter_unref(filtered);
    mtaio_emitter_unref(mapped);
    mtaio_emitter_unref(em);
}

/* --- Removing, closing, dropping -------------------------------------------------------------------------
 */

static void note_release(void *data) { note("free(%s)", (char *)data); }

/* "Removing allocates nothing" - by name, all, by listener, waiting or not - and so works without memory; by
 * function among many it asks for some, and does without (test_removal_many: among few it asks for none).
 * Hazard 21. */
static void test_removing(void **state) {
    (void)state;
    enum { N = 300 };
    mtaio_emitter *em = emitter_new();
    static struct actor actors[N];
    static mtaio_listener *listeners[N];
    for (int i = 0; i < N; i++) {
        actors[i] = (struct actor){.tag = "a"};
        listeners[i] = listen_ref(em, i % 3 == 0 ? "x.y" : i % 3 == 1 ? "x.*" : "**", 0, &actors[i]);
    }
    support_fail_at(1, true);
    for (int i = 0; i < 30; i++) {
        WITHOUT(1, mtaio_listener_cancel(listeners[7 * i]));
        WITHOUT(1, mtaio_listener_cancel_wait(listeners[7 * i + 1]));
        assert_int_equal(mtaio_off(em,
                                   (7 * i + 2) % 3 == 0   ? "x.y"
                                   : (7 * i + 2) % 3 == 1 ? "x.*"
                                                          : "**",
                                   play, &actors[7 * i + 2]),
                         1);
    }
    WITHOUT(210, mtaio_emit(em, "x.y", NULL));
    WITHOUT_ANY(mtaio_emitter_remove_all(em, "x.*"));
    WITHOUT(0, mtaio_emitter_count(em, "x.*"));
    WITHOUT_ANY(mtaio_emitter_remove_all(em, NULL));
    WITHOUT(0, mtaio_emitter_count(em, NULL));
    for (int i = 0; i < N; i++)
        WITHOUT(0, mtaio_listener_unref(listeners[i]) != NULL);
    WITHOUT(0, mtaio_reclaim());
    WITHOUT(0, mtaio_emitter_unref(em) != NULL);
    support_fail_at(0, false);
    mtaio_reclaim();
    for (int i = 0; i < N; i++)
        assert_int_equal(actors[i].gone, 1);
    forget_notes();
}

static int remove_all(mtaio_event *event, struct actor *self) {
    (void)event;
    WITHOUT(3, mtaio_emitter_remove_all(self->em, NULL));
    WITHOUT(0, mtaio_emitter_close(self->em));
    return 0;
}

/* The same from within a handler, while the emission still uses what is removed. */
static void test_removing_inside(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = remove_all, .em = em}, b = {.tag = "b"};
    listen(em, "x", &a);
    listen(em, "x", &b);
    listen(em, "*", &b);
    support_fail_at(1, true);
    WITHOUT(1, mtaio_emit(em, "x", NULL));
    WITHOUT(0, mtaio_reclaim());
    WITHOUT(0, mtaio_emitter_unref(em) != NULL);
    support_fail_at(0, false);
    assert_noted("a");
}

struct things {
    mtaio_emitter *em, *filtered, *mapped, *buffered, *target;
    mtaio_listener *pipe, *hook;
    mtaio_batch *batch, *nested, *abandoned;
    mtaio_suppression *dropped, *left;
    mtaio_name *name;
    mtaio_event *event, *kept;
    mtaio_metadata *metadata;
    mtaio_deferral *completed, *left_open, *abandoned_deferral;
    mtaio_executor *loop;
};

static int refuse(mtaio_job *job, void *ctx) {
    (void)job;
    (void)ctx;
    return -1;
}

static bool never_current(void *ctx) {
    (void)ctx;
    return false;
}

static void rest_with(struct things *t, mtaio_deferral **d) {
    struct actor w = {.tag = "w", .deferral = d};
    OK(mtaio_once(t->em, "rest", play, &w));
    emit_later(t->em, "rest");
    assert_noted("w");
}

static void make_things(struct things *t) {
    *t = (struct things){.em = emitter_new(), .target = emitter_new()};
    OK(mtaio_emitter_filter(t->em, NULL, MTAIO_FILTER(.call = pass), &t->filtered));
    OK(mtaio_emitter_map(t->filtered, "x.*", MTAIO_MAP(.call = same), &t->mapped));
    OK(mtaio_emitter_buffer(t->em, "buffered", 10, &t->buffered));
    OK(mtaio_emitter_pipe(t->em, "x", t->target, &t->pipe));
    OK(mtaio_emitter_hook(t->em, MTAIO_HOOK(.error = ignore_failure), &t->hook));
    static struct actor behind = {.tag = "behind"};
    listen(t->buffered, "buffered", &behind);
    listen(t->mapped, "never", &behind);
    OK(mtaio_emit(t->em, "buffered", NULL));
    OK(mtaio_emitter_resolve(t->em, "x", &t->name));
    OK(mtaio_batch_new(t->em, &t->batch));
    OK(mtaio_batch_nest(t->batch, &t->nested));
    OK(mtaio_batch_new(t->em, &t->abandoned));
    OK(mtaio_event_new("held", "data", note_release, &t->event));
    OK(mtaio_metadata_new(&t->metadata));
    OK(mtaio_metadata_set(t->metadata, "k", "v"));
    OK(mtaio_event_set_metadata(t->event, t->metadata));
    OK(mtaio_event_keep(t->event, &t->kept));
    OK(mtaio_batch_emit_event(t->batch, t->event));
    OK(mtaio_batch_emit(t->nested, "x", NULL));
    OK(mtaio_batch_emit(t->abandoned, "x", NULL));
    OK(mtaio_emitter_suppress(t->em, "held", &t->dropped));
    OK(mtaio_emitter_suppress(t->em, "held.*", &t->left));
    OK(mtaio_emit_nowait(t->em, t->event));
    OK(mtaio_emit(t->em, "held.left", NULL));
    rest_with(t, &t->completed);
    rest_with(t, &t->left_open);
    rest_with(t, &t->abandoned_deferral);
    OK(mtaio_executor_new(MTAIO_LOOP(.post = refuse, .is_current = never_current), &t->loop));
}

/* Closing and dropping anything, completing a deferral, ending what was begun: nothing is allocated.
 * Hazard 21. */
static void test_dropping(void **state) {
    (void)state;
    struct things t;
    make_things(&t);
    support_fail_at(1, true);
    WITHOUT(0, mtaio_deferral_complete(t.completed, 0));
    WITHOUT_ANY(mtaio_deferral_unref(t.completed));
    WITHOUT_ANY(mtaio_deferral_unref(t.abandoned_deferral));
    assert_noted("done:1 done:MTAIO_EHANDLER");
    WITHOUT(1, mtaio_suppression_drop(t.dropped));
    WITHOUT_ANY(mtaio_suppression_unref(t.dropped));
    WITHOUT_ANY(mtaio_suppression_unref(t.left));
    WITHOUT(0, mtaio_batch_abandon(t.abandoned));
    WITHOUT_ANY(mtaio_batch_unref(t.abandoned));
    WITHOUT_ANY(mtaio_batch_unref(t.nested));
    WITHOUT_ANY(mtaio_batch_unref(t.batch));
    WITHOUT(1, mtaio_listener_cancel(t.pipe));
    WITHOUT_ANY(mtaio_listener_unref(t.pipe));
    WITHOUT(1, mtaio_listener_cancel(t.hook));
    WITHOUT_ANY(mtaio_listener_unref(t.hook));
    WITHOUT(0, mtaio_emitter_close(t.mapped));
    WITHOUT_ANY(mtaio_emitter_unref(t.mapped));
    WITHOUT_ANY(mtaio_emitter_unref(t.filtered));
    WITHOUT_ANY(mtaio_emitter_unref(t.buffered));
    WITHOUT(0, mtaio_emitter_close(t.em));
    assert_noted("done:MTAIO_ECLOSED");
    WITHOUT(MTAIO_ECLOSED, mtaio_deferral_complete(t.left_open, 0));
    WITHOUT_ANY(mtaio_deferral_unref(t.left_open));
    WITHOUT_ANY(mtaio_name_unref(t.name));
    WITHOUT_ANY(mtaio_emitter_unref(t.em));
    WITHOUT_ANY(mtaio_emitter_unref(t.target));
    WITHOUT(0, mtaio_executor_close(t.loop));
    WITHOUT_ANY(mtaio_executor_unref(t.loop));
    WITHOUT_ANY(mtaio_event_unref(t.kept));
    WITHOUT_ANY(mtaio_metadata_unref(t.metadata));
    assert_noted("");
    WITHOUT_ANY(mtaio_event_unref(t.event));
    WITHOUT(0, mtaio_reclaim());
    support_fail_at(0, false);
    assert_noted("free(data)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_emit),     TEST(test_emit_many_patterns), TEST(test_emit_features),
        TEST(test_removing), TEST(test_removing_inside),    TEST(test_dropping),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
