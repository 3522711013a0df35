/* test_async.c - handlers that finish later: deferrals, executors, waiting. */
#include "record.h"

#include <semaphore.h>

/* --- Deferrals, one thread ---------------------------------------------------------------------------------
 */

/* "A handler either returns its result or takes a deferral and completes it later; the emission goes on from
 * there." "Each finishes (asynchronous ones too) before the next begins." */
static void test_rests_and_goes_on(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d1 = NULL, *d2 = NULL, *dm = NULL;
    struct actor a = {.tag = "a"}, w1 = {.tag = "w1", .deferral = &d1}, w2 = {.tag = "w2", .deferral = &d2};
    struct actor b = {.tag = "b"}, m = {.tag = "m", .deferral = &dm};
    listen_at(em, "x", MTAIO_MONITOR, &m);
    listen(em, "x", &a);
    listen(em, "x", &w1);
    listen(em, "*", &w2);
    listen(em, "x", &b);
    emit_later(em, "x");
    assert_noted("a w1");
    complete(&d1, 0);
    assert_noted("w2");
    complete(&d2, 5);
    assert_noted("b m");
    complete(&dm, 0);
    assert_noted("done:5");
    mtaio_emitter_unref(em);
}

static int complete_at_once(mtaio_event *event, void *ctx) {
    mtaio_deferral *d = NULL;
    CHECK(mtaio_event_defer(event, &d) == 0);
    CHECK(mtaio_deferral_complete(d, *(int *)ctx) == 0);
    mtaio_deferral_unref(d);
    return 0;
}

/* A deferral completed before the handler returns: as if it had returned that. Hazard 18. */
static void test_completed_at_once(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_report report = MTAIO_REPORT();
    int status = 3;
    struct actor b = {.tag = "b"};
    OK(mtaio_on(em, "x", complete_at_once, &status));
    listen(em, "x", &b);
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    emit_later(em, "x");
    assert_noted("b b done:2");
    status = -3;
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = "x", .report = &report)), MTAIO_EHANDLER);
    assert_int_equal(report.first_error, -3);
    assert_int_equal(report.called, 2);
    assert_noted("b");
    mtaio_emitter_unref(em);
}

static int stop_late(mtaio_event *event, void *ctx) {
    CHECK(mtaio_event_defer(event, ctx) == 0);
    return 0;
}

/* The event stays valid, and may be stopped, until the deferral is completed. */
static void test_event_until_completion(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    mtaio_metadata *m = NULL;
    mtaio_event *event = event_new("x", em), *seen;
    struct actor b = {.tag = "b"};
    OK(mtaio_metadata_new(&m));
    OK(mtaio_metadata_set(m, "k", "v"));
    OK(mtaio_event_set_metadata(event, m));
    mtaio_metadata_unref(m);
    OK(mtaio_on(em, "x", stop_late, &d));
    listen(em, "x", &b);
    OK(mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done)));
    mtaio_event_unref(event);
    seen = mtaio_deferral_event(d);
    assert_string_equal(mtaio_event_name(seen), "x");
    assert_ptr_equal(mtaio_event_data(seen), em);
    assert_string_equal(mtaio_event_get(seen, "k"), "v");
    OK(mtaio_event_set_propagate(seen, false));
    complete(&d, 0);
    assert_noted("done:1");
    mtaio_emitter_unref(em);
}

static int defer_twice(mtaio_event *event, struct actor *self) {
    mtaio_deferral *second = NULL;
    note("%s", mtaio_error_name(mtaio_event_defer(event, &second)));
    CHECK(second == NULL);
    return self->result;
}

/* Once per call of a handler: EALREADY; outside of a call: EBUSY. */
static void test_defer_once(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL, *none = NULL;
    mtaio_event *event = event_new("x", NULL);
    struct actor a = {.tag = "a", .deferral = &d, .act = defer_twice};
    assert_int_equal(mtaio_event_defer(event, &none), MTAIO_EBUSY);
    listen(em, "x", &a);
    OK(mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done)));
    assert_int_equal(mtaio_event_defer(event, &none), MTAIO_EBUSY);
    assert_null(none);
    assert_noted("a MTAIO_EALREADY");
    complete(&d, 0);
    assert_noted("done:1");
    mtaio_event_unref(event);
    mtaio_emitter_unref(em);
}

/* "Once: a second call answers EALREADY", and changes nothing. Hazard 16. */
static void test_complete_twice(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL, *d2 = NULL;
    struct actor w = {.tag = "w", .deferral = &d}, w2 = {.tag = "w2", .deferral = &d2};
    listen(em, "x", &w);
    listen(em, "x", &w2);
    emit_later(em, "x");
    OK(mtaio_deferral_complete(d, 0));
    assert_noted("w w2");
    assert_int_equal(mtaio_deferral_complete(d, 0), MTAIO_EALREADY);
    assert_int_equal(mtaio_deferral_complete(d, -1), MTAIO_EALREADY);
    assert_noted("");
    mtaio_deferral_unref(d);
    complete(&d2, 0);
    assert_noted("done:2");
    mtaio_emitter_unref(em);
}

/* "Dropping the last reference to a deferral that nobody completed completes it with EABANDONED." Hazard 15.
 */
static void test_abandoned(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    mtaio_event *event = event_new("x", NULL);
    struct actor w = {.tag = "w", .deferral = &d}, b = {.tag = "b"};
    listen(em, "x", &w);
    listen(em, "x", &b);
    OK(mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done)));
    assert_ptr_equal(mtaio_deferral_ref(d), d);
    assert_null(mtaio_deferral_unref(d));
    assert_noted("w");
    assert_null(mtaio_deferral_unref(d));
    assert_noted("b done:MTAIO_EHANDLER");
    mtaio_event_unref(event);
    mtaio_emitter_unref(em);
}

static int drop_at_once(mtaio_event *event, void *ctx) {
    mtaio_deferral *d = NULL;
    (void)ctx;
    CHECK(mtaio_event_defer(event, &d) == 0);
    mtaio_deferral_unref(d);
    return 0;
}

/* The same within the handler: no emission waits for ever. */
static void test_abandoned_at_once(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_report report = MTAIO_REPORT();
    struct actor b = {.tag = "b"};
    OK(mtaio_on(em, "x", drop_at_once, NULL));
    listen(em, "x", &b);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = "x", .report = &report)), MTAIO_EHANDLER);
    assert_int_equal(report.first_error, MTAIO_EABANDONED);
    assert_noted("b");
    mtaio_emitter_unref(em);
}

enum { MANY = 20000 };

static void *run_many(void *arg) {
    CHECK(mtaio_emit(arg, "x", NULL) == MANY);
    mtaio_event *event = NULL;
    CHECK(mtaio_event_new("x", NULL, NULL, &event) == 0);
    CHECK(mtaio_emit_async(arg, event, MTAIO_ASYNC(.done = note_done)) == 0);
    mtaio_event_unref(event);
    return NULL;
}

/* A walk does not recurse: as many deferrals as one likes, completed at once, on a small stack. */
static void test_many_deferrals(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    pthread_attr_t attr;
    pthread_t thread;
    int status = 0;
    for (int i = 0; i < MANY; i++)
        OK(mtaio_on(em, "x", complete_at_once, &status));
    OK(pthread_attr_init(&attr));
    OK(pthread_attr_setstacksize(&attr, SANITIZED ? 1 << 20 : 128 << 10));
    OK(pthread_create(&thread, &attr, run_many, em));
    OK(pthread_join(thread, NULL));
    OK(pthread_attr_destroy(&attr));
    assert_noted("done:20000");
    mtaio_emitter_unref(em);
}

/* An emission resting does not hold back another, nor a nested one what comes after the outer. */
static void test_side_by_side(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d[2] = {NULL, NULL};
    struct actor w = {.tag = "w", .deferral = &d[0]}, b = {.tag = "b"};
    listen(em, "x", &w);
    listen(em, "x", &b);
    emit_later(em, "x");
    w.deferral = &d[1];
    emit_later(em, "x");
    assert_noted("w w");
    complete(&d[1], 0);
    assert_noted("b done:2");
    complete(&d[0], 0);
    assert_noted("b done:2");
    mtaio_emitter_unref(em);
}

/* --- Closing what rests ------------------------------------------------------------------------------------
 */

/* Closing ends the emissions that rest on a deferral with ECLOSED, each told once; completing then answers
 * ECLOSED, dropping is fine. 1, 10, 100 and 1,000 of them. Hazards 15 and 17. */
static void test_close_resting(void **state) {
    (void)state;
    static mtaio_deferral *open[1000];
    for (size_t n = 1; n <= COUNT(open); n *= 10) {
        mtaio_emitter *em = emitter_new();
        struct actor w = {.tag = "w"}, b = {.tag = "b"};
        listen(em, "x", &w);
        listen(em, "x", &b);
        for (size_t i = 0; i < n; i++) {
            w.deferral = &open[i];
            emit_later(em, "x");
        }
        forget_notes();
        if (n == 10)
            mtaio_emitter_unref(em); /* the emissions keep the emitter, and closing is theirs to wait for */
        else
            OK(mtaio_emitter_close(em));
        if (n != 10) {
            assert_int_equal(strlen(notes.text), n * strlen("done:MTAIO_ECLOSED ") - 1);
            forget_notes();
            assert_int_equal(mtaio_deferral_complete(open[0], 0), MTAIO_ECLOSED);
            mtaio_emitter_unref(em);
        }
        for (size_t i = 0; i < n; i++)
            open[i] = mtaio_deferral_unref(open[i]);
        mtaio_reclaim();
        assert_int_equal(b.calls, n == 10 ? 10 : 0);
        forget_notes();
    }
}

static int close_then_defer(mtaio_event *event, struct actor *self) {
    mtaio_deferral *d = NULL;
    OK(mtaio_emitter_close(self->em));
    int r = mtaio_event_defer(event, &d);
    assert_true(r == 0 || r == MTAIO_ECLOSED);
    self->more = d;
    return 0;
}

/* A handler that closes its emitter and then defers: the emission does not rest for ever. */
static void test_close_then_defer(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = close_then_defer, .em = em}, b = {.tag = "b"};
    listen(em, "x", &a);
    listen(em, "x", &b);
    emit_later(em, "x");
    mtaio_deferral *d = a.more;
    if (d != NULL)
        assert_int_equal(mtaio_deferral_complete(d, 0), MTAIO_ECLOSED);
    mtaio_deferral_unref(d);
    assert_noted("a done:MTAIO_ECLOSED");
    mtaio_emitter_unref(em);
}

/* --- Deferrals, several threads ----------------------------------------------------------------------------
 */

static sem_t deferred;

static int defer_and_post(mtaio_event *event, void *ctx) {
    note("w");
    CHECK(mtaio_event_defer(event, ctx) == 0);
    CHECK(sem_post(&deferred) == 0);
    return 0;
}

static void *complete_later(void *arg) {
    CHECK(sem_wait(&deferred) == 0);
    note("completing");
    mtaio_deferral **d = arg;
    CHECK(mtaio_deferral_complete(*d, 0) == 0);
    mtaio_deferral_unref(*d);
    return NULL;
}

/* "mtaio_emit waits for the end": the deferral is completed by another thread, before or after the handler
 * returned. */
static void test_emit_waits(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    struct actor b = {.tag = "b"};
    pthread_t thread;
    OK(sem_init(&deferred, 0, 0));
    OK(mtaio_on(em, "x", defer_and_post, &d));
    listen(em, "x", &b);
    for (int i = 0; i < 200; i++) {
        OK(pthread_create(&thread, NULL, complete_later, &d));
        assert_int_equal(mtaio_emit(em, "x", NULL), 2);
        assert_noted("w completing b");
        OK(pthread_join(thread, NULL));
    }
    mtaio_emitter_unref(em);
    OK(sem_destroy(&deferred));
}

static void *close_later(void *arg) {
    CHECK(sem_wait(&deferred) == 0);
    CHECK(mtaio_emitter_close(arg) == 0);
    return NULL;
}

/* A thread that waits for its emission is told when another closes the emitter. */
static void test_emit_closed_meanwhile(void **state) {
    (void)state;
    OK(sem_init(&deferred, 0, 0));
    for (int i = 0; i < 200; i++) {
        mtaio_emitter *em = emitter_new();
        mtaio_deferral *d = NULL;
        struct actor b = {.tag = "b"};
        pthread_t thread;
        OK(mtaio_on(em, "x", defer_and_post, &d));
        listen(em, "x", &b);
        OK(pthread_create(&thread, NULL, close_later, em));
        assert_int_equal(mtaio_emit(em, "x", NULL), MTAIO_ECLOSED);
        assert_noted("w");
        OK(pthread_join(thread, NULL));
        assert_int_equal(mtaio_deferral_complete(d, 0), MTAIO_ECLOSED);
        mtaio_deferral_unref(d);
        mtaio_emitter_unref(em);
    }
    OK(sem_destroy(&deferred));
}

/* --- Waiting for an event ----------------------------------------------------------------------------------
 */

struct waiting {
    mtaio_emitter *em;
    const char *pattern;
    int64_t timeout_ns;
    atomic_uint asked; /* how often accept ran */
    unsigned accept_from;
    atomic_bool over;
    int result;
    mtaio_event *event;
};

static bool accept_later(const mtaio_event *event, void *ctx) {
    struct waiting *w = ctx;
    (void)event;
    return atomic_fetch_add(&w->asked, 1) + 1 >= w->accept_from;
}

static void *wait_for_event(void *arg) {
    struct waiting *w = arg;
    w->result = mtaio_emitter_wait(w->em, w->pattern, w->accept_from > 0 ? accept_later : NULL, w,
                                   w->timeout_ns, &w->event);
    atomic_store(&w->over, true);
    return NULL;
}

/* "Wait for an event: blocking with time limit and predicate": of the pattern, the first that is accepted,
 * and kept. Hazard 37: every way to say for ever. */
static void test_wait(void **state) {
    (void)state;
    static const int64_t timeouts[] = {-1, INT64_MIN, INT64_MAX, INT64_C(3600) * 1000000000};
    for (unsigned i = 0; i < 8; i++) {
        mtaio_emitter *em = emitter_new();
        struct waiting w = {
            .em = em, .pattern = "x.*", .timeout_ns = timeouts[i % 4], .accept_from = i / 4 * 3};
        pthread_t thread;
        OK(pthread_create(&thread, NULL, wait_for_event, &w));
        while (!atomic_load(&w.over)) {
            assert_true(mtaio_emit(em, "x", NULL) >= 0);
            assert_true(mtaio_emit(em, "x.y", em) >= 0);
            support_sleep_ms(0);
        }
        OK(pthread_join(thread, NULL));
        assert_int_equal(w.result, 0);
        assert_true(atomic_load(&w.asked) >= w.accept_from);
        assert_string_equal(mtaio_event_name(w.event), "x.y");
        assert_ptr_equal(mtaio_event_data(w.event), em);
        mtaio_event_unref(w.event);
        assert_int_equal(mtaio_emitter_count(em, NULL), 0);
        mtaio_emitter_unref(em);
    }
}

/* ETIMEDOUT when the limit passes, at once with 0; and nothing stays behind. */
static void test_wait_timeout(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_event *event = NULL;
    assert_int_equal(mtaio_emitter_wait(em, "x", NULL, NULL, 0, &event), MTAIO_ETIMEDOUT);
    int64_t start = support_now_ms();
    assert_int_equal(mtaio_emitter_wait(em, "*", NULL, NULL, 20 * 1000000, &event), MTAIO_ETIMEDOUT);
    assert_true(support_now_ms() - start >= 19); /* not early */
    assert_null(event);
    assert_int_equal(mtaio_emitter_count(em, NULL), 0);
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    mtaio_emitter_unref(em);
}

/* A waiter is told when the emitter closes, before or meanwhile. */
static void test_wait_closed(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct waiting w = {.em = em, .pattern = "*", .timeout_ns = -1, .accept_from = UINT32_MAX};
    pthread_t thread;
    OK(pthread_create(&thread, NULL, wait_for_event, &w));
    while (atomic_load(&w.asked) == 0) { /* then it is waiting */
        assert_true(mtaio_emit(em, "x", NULL) >= 0);
        support_sleep_ms(0);
    }
    OK(mtaio_emitter_close(em));
    OK(pthread_join(thread, NULL));
    assert_int_equal(w.result, MTAIO_ECLOSED);
    assert_null(w.event);
    assert_int_equal(mtaio_emitter_wait(em, "x", NULL, NULL, -1, &w.event), MTAIO_ECLOSED);
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_rests_and_goes_on),      TEST(test_completed_at_once),
        TEST(test_event_until_completion), TEST(test_defer_once),
        TEST(test_complete_twice),         TEST(test_abandoned),
        TEST(test_abandoned_at_once),      TEST(test_many_deferrals),
        TEST(test_side_by_side),           TEST(test_close_resting),
        TEST(test_close_then_defer),       TEST(test_emit_waits),
        TEST(test_emit_closed_meanwhile),  TEST(test_wait),
        TEST(test_wait_timeout),           TEST(test_wait_closed),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
