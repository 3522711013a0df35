/* test_delay.c - events emitted later: mtaio_emit_after and mtaio_emit_periodic. */
#include "timers.h"

/* A handler that counts, from any thread. */
struct heard {
    atomic_int calls, released;
    int result;
};

static int hear(mtaio_event *event, void *ctx) {
    struct heard *h = ctx;
    CHECK(mtaio_event_data(event) == h);
    atomic_fetch_add(&h->calls, 1);
    return h->result;
}

static void release(void *ctx) { atomic_fetch_add(&((struct heard *)ctx)->released, 1); }

static mtaio_event *heard_event(const char *name, struct heard *h) {
    mtaio_event *event = NULL;
    OK(mtaio_event_new(name, h, release, &event));
    return event;
}

/* The emitter's last resort. */
static atomic_int troubles, trouble_status;
static void on_trouble(const mtaio_trouble *trouble, void *ctx) {
    (void)ctx;
    CHECK(trouble->kind == MTAIO_TROUBLE_UNAWAITED && strcmp(trouble->name, "x") == 0);
    atomic_store(&trouble_status, trouble->status);
    atomic_fetch_add(&troubles, 1);
}

static mtaio_emitter *troubled_emitter(void) {
    mtaio_emitter *em = NULL;
    atomic_store(&troubles, 0);
    OK(mtaio_emitter_new(MTAIO_EMITTER_OPTIONS(.trouble = on_trouble), &em));
    return em;
}

/* Once, not earlier; the event is kept until then, and cannot be changed any more. */
static void test_after(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct heard h = {.calls = 0};
    mtaio_event *event = heard_event("x", &h);
    mtaio_timer *timer = NULL;
    int64_t begin_ms = support_now_ms();
    OK(mtaio_on(em, "x", hear, &h));
    OK(mtaio_emit_after(em, event, 20 * MS, NULL, &timer));
    assert_int_equal(mtaio_event_set_change(event, MTAIO_UPDATE), MTAIO_EBUSY);
    mtaio_event_unref(event);
    assert_int_equal(atomic_load(&h.calls) + atomic_load(&h.released), 0);
    EVENTUALLY(atomic_load(&h.released) == 1);
    assert_true(support_now_ms() - begin_ms >= 20);
    assert_int_equal(atomic_load(&h.calls), 1);
    assert_int_equal(mtaio_timer_cancel(timer), 0);
    mtaio_timer_unref(timer);
    OK(mtaio_emit_after(em, event = heard_event("x", &h), 0, NULL, NULL));
    mtaio_event_unref(event);
    EVENTUALLY(atomic_load(&h.released) == 2);
    mtaio_emitter_unref(em);
}

/* Every period, the first time after one, until it is cancelled; on an executor. */
static void test_periodic(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_executor *pool = NULL;
    struct heard h = {.calls = 0};
    mtaio_event *event = heard_event("x", &h);
    mtaio_timer *timer = NULL;
    OK(mtaio_pool_new(1, 0, &pool));
    OK(mtaio_on(em, "x", hear, &h));
    int64_t begin_ms = support_now_ms();
    OK(mtaio_emit_periodic(em, event, 5 * MS, pool, &timer));
    mtaio_event_unref(event);
    EVENTUALLY(atomic_load(&h.calls) >= 4);
    assert_true(support_now_ms() - begin_ms >= 20);
    assert_int_equal(mtaio_timer_cancel_wait(timer), 1);
    int calls = atomic_load(&h.calls);
    EVENTUALLY(atomic_load(&h.released) == 1);
    support_sleep_ms(10);
    assert_int_equal(atomic_load(&h.calls), calls);
    mtaio_timer_unref(timer);
    mtaio_executor_unref(pool);
    mtaio_emitter_unref(em);
    keep_places();
}

/* "Closing the emitter, which the timer does not keep, cancels it": at once, all of them, the events
 * released; so does dropping its last reference, also of a derived one. */
static void test_closed(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++) {
        mtaio_emitter *em = emitter_new(), *derived = NULL;
        struct heard h = {.calls = 0};
        mtaio_timer *timers[4] = {NULL};
        OK(mtaio_emitter_buffer(em, NULL, 2, &derived));
        for (size_t i = 0; i < COUNT(timers); i++) {
            mtaio_event *event = heard_event("x", &h);
            OK(mtaio_emit_after(way == 2 ? derived : em, event, 10000 * MS, NULL, &timers[i]));
            mtaio_event_unref(event);
        }
        assert_int_equal(mtaio_timer_cancel(timers[2]), 1);
        assert_int_equal(atomic_load(&h.released), 1);
        if (way == 0) OK(mtaio_emitter_close(em));
        if (way == 1) em = mtaio_emitter_unref(em);
        if (way == 2) derived = mtaio_emitter_unref(derived);
        assert_int_equal(atomic_load(&h.released), 4);
        for (size_t i = 0; i < COUNT(timers); i++) {
            assert_int_equal(mtaio_timer_cancel(timers[i]), 0);
            mtaio_timer_unref(timers[i]);
        }
        mtaio_emitter_unref(derived);
        mtaio_emitter_unref(em);
    }
}

/* As mtaio_emit_nowait: a failure is an 'error' event, or goes to the last resort. */
static int hear_error(mtaio_event *event, void *ctx) {
    const mtaio_failure *failure = mtaio_event_data(event);
    atomic_store((atomic_int *)ctx, failure->status);
    return 0;
}

static void test_failures(void **state) {
    (void)state;
    mtaio_emitter *em = troubled_emitter();
    struct heard h = {.result = -9};
    mtaio_event *event = heard_event("x", &h);
    atomic_int error = 0;
    OK(mtaio_on(em, "x", hear, &h));
    OK(mtaio_emit_after(em, event, 0, NULL, NULL));
    EVENTUALLY(atomic_load(&troubles) == 1);
    assert_int_equal(atomic_load(&trouble_status), -9);
    OK(mtaio_on(em, "error", hear_error, &error));
    OK(mtaio_emit_after(em, event, 0, NULL, NULL));
    EVENTUALLY(atomic_load(&error) == -9);
    mtaio_event_unref(event);
    EVENTUALLY(atomic_load(&h.released) == 1);
    assert_int_equal(atomic_load(&troubles), 1);
    mtaio_emitter_unref(em);
}

/* "A call that the executor refuses goes to the emitter's last resort", unless that is closed meanwhile. */
static void test_refused(void **state) {
    (void)state;
    mtaio_executor *ex = hand_new();
    mtaio_emitter *em = troubled_emitter();
    struct heard h = {.calls = 0};
    mtaio_event *event = heard_event("x", &h);
    OK(mtaio_executor_close(ex));
    OK(mtaio_emit_after(em, event, 0, ex, NULL));
    EVENTUALLY(atomic_load(&troubles) == 1);
    assert_int_equal(atomic_load(&trouble_status), MTAIO_ECLOSED);
    mtaio_executor_unref(ex);
    ex = hand_new();
    OK(mtaio_emit_after(em, event, 0, ex, NULL));
    mtaio_event_unref(event);
    EVENTUALLY(atomic_load(&hand.job) != NULL);
    assert_int_equal(atomic_load(&h.released), 0);
    OK(mtaio_emitter_close(em));
    hand_take(mtaio_job_drop);
    assert_int_equal(atomic_load(&h.released), 1);
    assert_int_equal(atomic_load(&troubles), 1);
    mtaio_emitter_unref(em);
    mtaio_executor_unref(ex);
}

static int drop_emitter(mtaio_event *event, void *ctx) {
    (void)event;
    mtaio_emitter_unref(ctx);
    return 0;
}

/* The handler drops the emitter's last reference, and so its own timer. */
static void test_dropped_inside(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct heard h = {.calls = 0};
    mtaio_event *event = heard_event("x", &h);
    mtaio_timer *timer = NULL;
    OK(mtaio_on(em, "x", drop_emitter, em));
    OK(mtaio_emit_periodic(em, event, MS, NULL, &timer));
    mtaio_event_unref(event);
    EVENTUALLY(atomic_load(&h.released) == 1);
    assert_int_equal(mtaio_timer_cancel_wait(timer), 0);
    mtaio_timer_unref(timer);
}

enum { ROUNDS = 2000 };
static mtaio_emitter *racing[ROUNDS];
static atomic_int started;

static void race_to_close(unsigned index, void *ctx) {
    static struct heard h;
    for (int i = 0; i < ROUNDS; i++) {
        if (index == 0) CHECK(mtaio_emitter_new(NULL, &racing[i]) == 0);
        support_barrier_wait(ctx);
        if (index == 0) {
            mtaio_event *event = NULL;
            CHECK(mtaio_event_new("x", &h, NULL, &event) == 0);
            int r = mtaio_emit_after(racing[i], event, i % 4 * 10000, NULL, NULL);
            CHECK(r == 0 || r == MTAIO_ECLOSED);
            CHECK(r == 0 || mtaio_event_set_change(event, MTAIO_UPDATE) == 0); /* it was not emitted */
            atomic_fetch_add(&started, r == 0);
            mtaio_event_unref(event);
        } else {
            CHECK(mtaio_emitter_close(racing[i]) == 0);
        }
    }
}

/* Closed just as it is told to emit: ECLOSED or cancelled, or emitted; nothing is left. */
static void test_close_race(void **state) {
    (void)state;
    struct support_barrier barrier;
    support_barrier_init(&barrier, 2);
    support_threads(2, race_to_close, &barrier);
    for (int i = 0; i < ROUNDS; i++) mtaio_emitter_unref(racing[i]);
    EVENTUALLY(count_threads() == threads_before);
}

static int emit_borrowed(mtaio_event *event, void *em) {
    CHECK(mtaio_emit_after(em, event, 0, NULL, NULL) == MTAIO_EINVAL);
    CHECK(mtaio_emit_periodic(em, event, 1, NULL, NULL) == MTAIO_EINVAL);
    return 0;
}

/* Each argument wrong once; the event is as it was, *ret too. Hazards 37 and 45. */
static void test_arguments(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *other = emitter_new();
    struct heard h = {.calls = 0};
    mtaio_event *event = heard_event("x", &h);
    mtaio_timer *untouched = (mtaio_timer *)(void *)&h, *ret = untouched;
    assert_int_equal(mtaio_emit_after(NULL, event, 0, NULL, &ret), MTAIO_EINVAL);
    assert_int_equal(mtaio_emit_after(em, NULL, 0, NULL, &ret), MTAIO_EINVAL);
    assert_int_equal(mtaio_emit_after(em, event, -1, NULL, &ret), MTAIO_EINVAL);
    assert_int_equal(mtaio_emit_periodic(NULL, event, 1, NULL, &ret), MTAIO_EINVAL);
    assert_int_equal(mtaio_emit_periodic(em, NULL, 1, NULL, &ret), MTAIO_EINVAL);
    assert_int_equal(mtaio_emit_periodic(em, event, 0, NULL, &ret), MTAIO_EINVAL);
    assert_int_equal(mtaio_emit_periodic(em, event, INT64_MIN, NULL, &ret), MTAIO_EINVAL);
    OK(mtaio_on(em, "borrowed", emit_borrowed, em));
    assert_int_equal(mtaio_emit(em, "borrowed", NULL), 1);
    OK(mtaio_emitter_close(em));
    assert_int_equal(mtaio_emit_after(em, event, 0, NULL, &ret), MTAIO_ECLOSED);
    assert_int_equal(mtaio_emit_periodic(em, event, 1, NULL, &ret), MTAIO_ECLOSED);
    assert_ptr_equal(ret, untouched);
    OK(mtaio_event_set_change(event, MTAIO_UPDATE));
    assert_int_equal(mtaio_emit_nowait(other, event), 0); /* from now on it stays as it is */
    assert_int_equal(mtaio_emit_after(em, event, 0, NULL, &ret), MTAIO_ECLOSED);
    assert_int_equal(mtaio_event_set_change(event, MTAIO_UPDATE), MTAIO_EBUSY);
    mtaio_event_unref(event);
    assert_int_equal(atomic_load(&h.released), 1);
    mtaio_emitter_unref(em);
    mtaio_emitter_unref(other);
}

/* Hazard 20: ENOMEM, and the event may still be changed. */
static void test_no_memory(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    SWEEP(sweep) {
        struct heard h = {.calls = 0};
        mtaio_event *event = heard_event("x", &h);
        mtaio_timer *timer = NULL;
        support_arm(&sweep);
        int r = mtaio_emit_periodic(em, event, 1000 * MS, NULL, &timer);
        bool failed = support_disarm(&sweep);
        assert_true(r == 0 || (failed && r == MTAIO_ENOMEM));
        assert_int_equal(mtaio_event_set_change(event, MTAIO_UPDATE), r == 0 ? MTAIO_EBUSY : 0);
        assert_int_equal(timer != NULL, r == 0);
        mtaio_event_unref(event);
        assert_int_equal(atomic_load(&h.released), r < 0);
        if (timer != NULL) assert_int_equal(mtaio_timer_cancel(timer), 1);
        assert_int_equal(atomic_load(&h.released), 1);
        mtaio_timer_unref(timer);
        EVENTUALLY(count_threads() == threads_before);
    }
    mtaio_emitter_unref(em);
}

/* ... and where the emission itself finds no memory, the last resort is told. */
static void test_emission_without_memory(void **state) {
    (void)state;
    mtaio_emitter *em = troubled_emitter();
    struct heard h = {.calls = 0};
    mtaio_event *event = heard_event("x", &h);
    mtaio_suppression *s = NULL;
    OK(mtaio_emitter_suppress(em, NULL, &s)); /* holding it takes memory */
    OK(mtaio_emit_after(em, event, 10 * MS, NULL, NULL));
    mtaio_event_unref(event);
    support_fail_at(1, true);
    EVENTUALLY(atomic_load(&troubles) == 1);
    support_fail_at(0, false);
    assert_int_equal(atomic_load(&trouble_status), MTAIO_ENOMEM);
    EVENTUALLY(atomic_load(&h.released) == 1);
    mtaio_suppression_unref(s);
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TIMER_TEST(test_after),      TIMER_TEST(test_periodic),  TIMER_TEST(test_closed),
        TIMER_TEST(test_failures),   TIMER_TEST(test_refused),   TIMER_TEST(test_dropped_inside),
        TIMER_TEST(test_close_race), TIMER_TEST(test_no_memory), TIMER_TEST(test_emission_without_memory),
        TIMER_TEST(test_arguments),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
