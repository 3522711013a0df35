/* test_timer_executor.c - timers whose calls run on an executor: a loop turned by hand, a pool; and the
 * system that refuses a thread. The module itself is included, with an os that can be made to. */
#include "timers.h"

static int refuse_cond, refuse_thread;

static int refusing_cond_init(os_cond *c) { return refuse_cond ? MTAIO_ESYSTEM : os_cond_init(c); }
static int refusing_thread_start(os_thread *ret, void *(*run)(void *arg), void *arg) {
    return refuse_thread ? MTAIO_ESYSTEM : os_thread_start(ret, run, arg);
}

#define os_cond_init refusing_cond_init
#define os_thread_start refusing_thread_start
#include "core/timer.c"

/* The call runs where the loop runs it, one at a time; what was due meanwhile counts. The timer keeps the
 * executor. */
static void test_loop(void **state) {
    (void)state;
    mtaio_executor *ex = hand_new();
    struct alarm a = {.calls = 0};
    OK(start_timer(&a, 0, MS, ex));
    mtaio_executor_unref(ex);
    EVENTUALLY(atomic_load(&hand.job) != NULL);
    support_sleep_ms(10);
    assert_int_equal(atomic_load(&hand.posts), 1); /* not again until that is done */
    assert_int_equal(atomic_load(&a.calls), 0);
    hand_take(mtaio_job_run);
    assert_int_equal(atomic_load(&a.calls), 1);
    assert_true(atomic_load(&a.due) >= 10);
    hand_take(mtaio_job_run);
    assert_int_equal(atomic_load(&a.calls), 2);
    EVENTUALLY(atomic_load(&hand.job) != NULL);
    assert_int_equal(mtaio_timer_cancel_wait(a.timer),
                     1); /* before it is called: does not wait for the loop */
    assert_int_equal(atomic_load(&a.gone), 0);
    hand_take(mtaio_job_run);
    assert_int_equal(atomic_load(&a.gone), 1);
    assert_int_equal(atomic_load(&a.calls), 2);
    mtaio_timer_unref(a.timer);
}

static void cancel_inside(struct alarm *self) { CHECK(mtaio_timer_cancel_wait(self->timer) == 1); }

/* From within the call, on the loop's thread, cancelling does not wait for itself. */
static void test_loop_cancels(void **state) {
    (void)state;
    mtaio_executor *ex = hand_new();
    struct alarm a = {.act = cancel_inside};
    OK(start_timer(&a, 0, MS, ex));
    hand_take(mtaio_job_run);
    assert_int_equal(atomic_load(&a.gone), 1);
    mtaio_timer_unref(a.timer);
    mtaio_executor_unref(ex);
}

/* What the loop drops has failed with ECANCELED, what it refuses with what post answered; with a period it is
 * tried again the next time. Once closed, with ECLOSED, and that is the end. */
static void test_loop_refuses(void **state) {
    (void)state;
    mtaio_executor *ex = hand_new();
    struct alarm a = {.calls = 0}, once = {.calls = 0}, dropped = {.calls = 0};
    OK(start_timer(&a, 0, 2 * MS, ex));
    hand_take(mtaio_job_drop);
    assert_int_equal(atomic_load(&a.failures), 1);
    assert_int_equal(atomic_load(&a.error), MTAIO_ECANCELED);
    hand_take(mtaio_job_run);
    assert_int_equal(atomic_load(&a.calls), 1);
    hand_take(mtaio_job_run);
    atomic_store(&hand.refuse, -77);
    EVENTUALLY(atomic_load(&a.failures) >= 3 || atomic_load(&hand.job) != NULL);
    if (atomic_load(&hand.job) != NULL) /* it had come before */
        hand_take(mtaio_job_run);
    EVENTUALLY(atomic_load(&a.error) == -77);
    OK(start_timer(&once, 0, 0, ex));
    EVENTUALLY(atomic_load(&once.gone) == 1);
    assert_int_equal(atomic_load(&once.error), -77);
    assert_int_equal(atomic_load(&once.calls), 0);
    OK(mtaio_executor_close(ex));
    EVENTUALLY(atomic_load(&a.gone) == 1);
    assert_int_equal(atomic_load(&a.error), MTAIO_ECLOSED);
    assert_int_equal(mtaio_timer_cancel(a.timer), 0);
    OK(mtaio_timer_start(MTAIO_TIMER(.call = on_time, .ctx = &once, .executor = ex),
                         NULL)); /* nobody to tell */
    mtaio_executor_unref(ex);
    ex = hand_new();
    OK(start_timer(&dropped, 0, MS, ex));
    EVENTUALLY(atomic_load(&hand.job) != NULL);
    assert_int_equal(mtaio_timer_cancel(dropped.timer), 1);
    hand_take(mtaio_job_drop); /* cancelled before that */
    assert_int_equal(atomic_load(&dropped.failures), 0);
    assert_int_equal(atomic_load(&dropped.gone), 1);
    mtaio_timer_unref(a.timer);
    mtaio_timer_unref(once.timer);
    mtaio_timer_unref(dropped.timer);
    mtaio_executor_unref(ex);
}

static void wait_for_gate(void *open) { EVENTUALLY(atomic_load((atomic_bool *)open)); }

/* A pool with a full queue does not hold up the timers' thread: the others go off, and these when there is a
 * thread.
 */
static void test_full_pool(void **state) {
    (void)state;
    mtaio_executor *pool = NULL;
    struct alarm late[5] = {{.calls = 0}}, other = {.calls = 0};
    atomic_bool open = false;
    OK(mtaio_pool_new(1, 1, &pool));
    OK(mtaio_executor_post(pool, wait_for_gate, NULL, &open));
    for (size_t i = 0; i < COUNT(late); i++) OK(start_timer(&late[i], 0, 0, pool));
    OK(start_timer(&other, 5 * MS, 0, NULL));
    EVENTUALLY(atomic_load(&other.gone) == 1);
    for (size_t i = 0; i < COUNT(late); i++) assert_int_equal(atomic_load(&late[i].calls), 0);
    atomic_store(&open, true);
    for (size_t i = 0; i < COUNT(late); i++) {
        EVENTUALLY(atomic_load(&late[i].gone) == 1);
        assert_int_equal(atomic_load(&late[i].calls), 1);
        mtaio_timer_unref(late[i].timer);
    }
    mtaio_timer_unref(other.timer);
    mtaio_executor_unref(pool);
    keep_places();
}

/* Many timers on two threads of a pool, cancelled at any moment: each ends once. */
static void test_pool_race(void **state) {
    (void)state;
    enum { TIMERS = 2000 };
    static struct alarm a[TIMERS];
    mtaio_executor *pool = NULL;
    OK(mtaio_pool_new(2, 0, &pool));
    memset(a, 0, sizeof a);
    for (int i = 0; i < TIMERS; i++) OK(start_timer(&a[i], i % 7 * 10000, i % 3 * 50000, pool));
    for (int i = 0; i < TIMERS; i++) {
        int r = mtaio_timer_cancel_wait(a[i].timer);
        assert_true(r == 1 || i % 3 == 0);
        int calls = atomic_load(&a[i].calls);
        assert_true(r == 1 || calls == 1);
        EVENTUALLY(atomic_load(&a[i].gone) == 1);
        assert_int_equal(atomic_load(&a[i].calls), calls); /* none after that */
        mtaio_timer_unref(a[i].timer);
    }
    mtaio_executor_unref(pool);
    keep_places();
}

/* "ESYSTEM: no thread." Hazard 22. Nothing is left, destroy has run, and the next start does as if nothing
 * had been; while the thread runs, none is asked for. */
static void test_refused(void **state) {
    (void)state;
    struct alarm a = {.calls = 0}, b = {.calls = 0}, c = {.calls = 0}, d = {.calls = 0};
    refuse_cond = 1;
    assert_int_equal(start_timer(&a, 0, 0, NULL), MTAIO_ESYSTEM);
    refuse_cond = 0, refuse_thread = 1;
    assert_int_equal(start_timer(&b, 0, 0, NULL), MTAIO_ESYSTEM);
    assert_int_equal(atomic_load(&a.gone) + atomic_load(&b.gone), 2);
    assert_int_equal(support_live_blocks(), blocks_before);
    mtaio_emitter *em = emitter_new();
    mtaio_event *event = event_new("x", NULL);
    assert_int_equal(mtaio_emit_after(em, event, 0, NULL, NULL), MTAIO_ESYSTEM);
    OK(mtaio_event_set_change(event, MTAIO_UPDATE));
    mtaio_event_unref(event);
    mtaio_emitter_unref(em);
    refuse_thread = 0;
    OK(start_timer(&c, 10000 * MS, 0, NULL));
    refuse_cond = refuse_thread = 1;
    OK(start_timer(&d, 0, 0, NULL));
    EVENTUALLY(atomic_load(&d.gone) == 1);
    assert_int_equal(mtaio_timer_cancel(c.timer), 1);
    refuse_cond = refuse_thread = 0;
    mtaio_timer_unref(c.timer);
    mtaio_timer_unref(d.timer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TIMER_TEST(test_loop),      TIMER_TEST(test_loop_cancels), TIMER_TEST(test_loop_refuses),
        TIMER_TEST(test_full_pool), TIMER_TEST(test_pool_race),    TIMER_TEST(test_refused),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
