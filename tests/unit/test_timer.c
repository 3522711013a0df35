/* test_timer.c - functions called later, once or again and again. */
#include "timers.h"

#include <sys/wait.h>
#include <unistd.h>

/* --- When
 * ---------------------------------------------------------------------------------------------------- */

/* "Until it is due first: not earlier"; once, then destroy; and it is over. */
static void test_once(void **state) {
    (void)state;
    static const int delays_ms[] = {0, 1, 30};
    for (size_t i = 0; i < COUNT(delays_ms); i++) {
        struct alarm a = {.calls = 0};
        int64_t begin_ms = support_now_ms();
        OK(start_timer(&a, delays_ms[i] * MS, 0, NULL));
        EVENTUALLY(atomic_load(&a.gone) == 1);
        assert_int_equal(atomic_load(&a.calls), 1);
        assert_int_equal(atomic_load(&a.due), 1);
        assert_true(atomic_load(&a.last_ms) - begin_ms >= delays_ms[i]);
        assert_int_equal(mtaio_timer_cancel(a.timer), 0);
        mtaio_timer_unref(a.timer);
    }
}

/* The n-th time is start + n * period: after 100 periods it is not later than one that was not repeated would
 * be. */
static void test_no_drift(void **state) {
    (void)state;
    struct alarm a = {.calls = 0};
    int64_t begin_ms = support_now_ms();
    OK(start_timer(&a, 2 * MS, 2 * MS, NULL));
    EVENTUALLY(atomic_load(&a.due) >= 100);
    assert_int_equal(mtaio_timer_cancel_wait(a.timer), 1);
    int due = atomic_load(&a.due);
    int64_t took_ms = atomic_load(&a.last_ms) - begin_ms;
    assert_true(took_ms >= 2 * due - 1);
    assert_true(took_ms <=
                2 * (due + 1) + 100 * (1 + 9 * SANITIZED)); /* a busy machine; drift would be without bound */
    assert_int_equal(atomic_load(&a.gone), 1);
    mtaio_timer_unref(a.timer);
}

static void take_30_ms(struct alarm *self) {
    if (atomic_load(&self->calls) <= 3) support_sleep_ms(30);
}

/* Those missed while a call takes its time are one call, which is told how many they were. */
static void test_coalesced(void **state) {
    (void)state;
    struct alarm a = {.act = take_30_ms};
    int64_t begin_ms = support_now_ms();
    OK(start_timer(&a, 0, 5 * MS, NULL));
    EVENTUALLY(atomic_load(&a.calls) >= 4);
    assert_int_equal(mtaio_timer_cancel_wait(a.timer), 1);
    assert_true(atomic_load(&a.due) >= 1 + 3 * 6 - 1);
    assert_true(atomic_load(&a.due) <= (support_now_ms() - begin_ms) / 5 + 1);
    mtaio_timer_unref(a.timer);
}

/* "INT64_MAX: never", also where now is added to it, and for the next time after a first one. */
static void test_never(void **state) {
    (void)state;
    struct alarm a = {.calls = 0}, b = {.calls = 0}, c = {.calls = 0};
    OK(start_timer(&a, INT64_MAX, 0, NULL));
    OK(start_timer(&b, INT64_MAX - 1, INT64_MAX, NULL));
    OK(start_timer(&c, 0, INT64_MAX, NULL));
    EVENTUALLY(atomic_load(&c.calls) == 1);
    support_sleep_ms(5);
    assert_int_equal(mtaio_timer_cancel(a.timer), 1);
    assert_int_equal(mtaio_timer_cancel(b.timer), 1);
    assert_int_equal(mtaio_timer_cancel_wait(c.timer), 1);
    assert_int_equal(atomic_load(&a.calls) + atomic_load(&b.calls) + atomic_load(&c.calls), 1);
    assert_int_equal(atomic_load(&a.gone) + atomic_load(&b.gone) + atomic_load(&c.gone), 3);
    mtaio_timer_unref(a.timer);
    mtaio_timer_unref(b.timer);
    mtaio_timer_unref(c.timer);
}

enum { MANY = 3000 };
static struct alarm many[MANY];
static int called[MANY], called_count;

static void note_order(struct alarm *self) { called[called_count++] = (int)(self - many); } /* one thread */

/* Whatever the order in which they begin and are cancelled: they go off in that of their times. */
static void test_order(void **state) {
    (void)state;
    static int64_t earliest[MANY], latest[MANY];
    called_count = 0;
    srand(1);
    for (int i = 0; i < MANY; i++) {
        int64_t delay_ns = rand() % 40 * MS + 80 * MS;
        many[i] = (struct alarm){.act = note_order};
        earliest[i] = os_now_ns() + delay_ns;
        OK(start_timer(&many[i], delay_ns, 0, NULL));
        latest[i] = os_now_ns() + delay_ns;
    }
    int canceled = 0;
    for (int i = 0; i < MANY; i += 3) canceled += mtaio_timer_cancel(many[i].timer);
    for (int i = 0; i < MANY; i++) {
        EVENTUALLY(atomic_load(&many[i].gone) == 1);
        mtaio_timer_unref(many[i].timer);
    }
    assert_int_equal(called_count, MANY - canceled);
    for (int i = 1; i < called_count; i++) assert_true(earliest[called[i - 1]] <= latest[called[i]]);
}

/* --- Cancelling
 * ---------------------------------------------------------------------------------------------- */

/* 1: no further call, and destroy has run; 0: cancelled before. Dropping the reference does not cancel. */
static void test_cancel(void **state) {
    (void)state;
    struct alarm a = {.calls = 0}, b = {.calls = 0}, c = {.calls = 0};
    OK(start_timer(&a, 20 * MS, 5 * MS, NULL));
    OK(start_timer(&b, 20 * MS, 0, NULL));
    assert_ptr_equal(mtaio_timer_ref(a.timer), a.timer);
    assert_null(mtaio_timer_unref(a.timer));
    assert_int_equal(mtaio_timer_cancel(a.timer), 1);
    assert_int_equal(atomic_load(&a.gone), 1);
    assert_int_equal(mtaio_timer_cancel(a.timer), 0);
    assert_int_equal(mtaio_timer_cancel_wait(a.timer), 0);
    mtaio_timer_unref(a.timer);
    mtaio_timer_unref(b.timer);
    EVENTUALLY(atomic_load(&b.gone) == 1);
    assert_int_equal(atomic_load(&a.calls), 0);
    assert_int_equal(atomic_load(&b.calls), 1);
    OK(mtaio_timer_start(MTAIO_TIMER(.call = on_time, .ctx = &c), NULL)); /* nor having none */
    EVENTUALLY(atomic_load(&c.calls) == 1);
}

static void cancel_self(struct alarm *self) {
    atomic_store(&self->error, mtaio_timer_cancel_wait(self->timer));
    CHECK(mtaio_timer_cancel(self->timer) == 0);
    CHECK(atomic_load(&self->gone) == 0);
}

/* From within its call, where it does not wait for itself: 1 with a period, 0 for the only call. destroy runs
 * after the call. */
static void test_cancel_inside(void **state) {
    (void)state;
    for (int periodic = 0; periodic < 2; periodic++) {
        struct alarm a = {.act = cancel_self};
        OK(start_timer(&a, 5 * MS, periodic * MS, NULL));
        EVENTUALLY(atomic_load(&a.gone) == 1);
        assert_int_equal(atomic_load(&a.error), periodic);
        assert_int_equal(atomic_load(&a.calls), 1);
        mtaio_timer_unref(a.timer);
    }
}

static atomic_bool inside;
static void stay_inside(struct alarm *self) {
    (void)self;
    atomic_store(&inside, true);
    support_sleep_ms(30);
    atomic_store(&inside, false);
}

/* The waiting form returns when no call is under way, the other one at once. */
static void test_cancel_wait(void **state) {
    (void)state;
    struct alarm a = {.act = stay_inside}, b = {.act = stay_inside};
    OK(start_timer(&a, 0, 1, NULL));
    EVENTUALLY(atomic_load(&inside));
    assert_int_equal(mtaio_timer_cancel(a.timer), 1);
    assert_true(atomic_load(&inside));
    assert_int_equal(mtaio_timer_cancel_wait(a.timer), 0);
    assert_false(atomic_load(&inside));
    OK(start_timer(&b, 0, 0, NULL));
    EVENTUALLY(atomic_load(&inside));
    assert_int_equal(mtaio_timer_cancel_wait(b.timer), 0); /* too late, for the only call */
    assert_false(atomic_load(&inside));
    mtaio_timer_unref(a.timer);
    mtaio_timer_unref(b.timer);
}

enum { ROUNDS = 3000 };
static struct alarm racing[ROUNDS];
static atomic_int canceled_count;

static void race_to_cancel(unsigned index, void *ctx) {
    for (int i = 0; i < ROUNDS; i++) {
        struct alarm *a = &racing[i];
        if (index == 0) {
            CHECK(start_timer(a, i % 3 * 20000, i % 5 == 0 ? 20000 : 0, NULL) == 0);
        }
        support_barrier_wait(ctx);
        if (i % 2 == 0 && mtaio_timer_cancel_wait(a->timer) == 1) atomic_fetch_add(&canceled_count, 1);
        if (i % 2 == 1) atomic_fetch_add(&canceled_count, mtaio_timer_cancel(a->timer));
    }
}

/* Two threads cancel just as it goes off: it was called or cancelled, or, with a period, both; only one of
 * them is told 1; destroy has run once. */
static void test_cancel_race(void **state) {
    (void)state;
    struct support_barrier barrier;
    int calls = 0, periodic = 0;
    atomic_store(&canceled_count, 0);
    memset(racing, 0, sizeof racing);
    support_barrier_init(&barrier, 2);
    support_threads(2, race_to_cancel, &barrier);
    for (int i = 0; i < ROUNDS; i++) {
        EVENTUALLY(atomic_load(&racing[i].gone) == 1);
        if (i % 5 == 0)
            periodic++;
        else
            calls += atomic_load(&racing[i].calls);
        mtaio_timer_unref(racing[i].timer);
    }
    assert_int_equal(atomic_load(&canceled_count) + calls, ROUNDS); /* periodic ones are all cancelled */
    assert_true(periodic > 0);
}

/* --- The thread
 * ---------------------------------------------------------------------------------------------- */

static void start_next(struct alarm *self) {
    if (atomic_load(&self->calls) % 50 != 0) {
        OK(mtaio_timer_start(MTAIO_TIMER(.call = on_time, .ctx = self, .delay_ns = 1000), NULL));
    }
}

/* One thread for all, started with the first, and not there any more after the last; a call may start the
 * next. */
static void test_thread(void **state) {
    (void)state;
    struct alarm a = {.calls = 0}, b = {.calls = 0}, chain = {.act = start_next};
    OK(start_timer(&a, 10000 * MS, 0, NULL));
    OK(start_timer(&b, 10000 * MS, 0, NULL));
    assert_int_equal(count_threads(), threads_before + 1);
    assert_int_equal(mtaio_timer_cancel(a.timer), 1);
    support_sleep_ms(5);
    assert_int_equal(count_threads(), threads_before + 1);
    assert_int_equal(mtaio_timer_cancel(b.timer), 1);
    EVENTUALLY(count_threads() == threads_before);
    for (int i = 1; i < 20; i++) {
        OK(mtaio_timer_start(MTAIO_TIMER(.call = on_time, .ctx = &chain), NULL));
        EVENTUALLY(atomic_load(&chain.calls) == 50 * i);
    }
    EVENTUALLY(count_threads() == threads_before);
    mtaio_timer_unref(a.timer);
    mtaio_timer_unref(b.timer);
}

static int child_status(pid_t child) {
    int status = -1;
    CHECK(child > 0 && waitpid(child, &status, 0) == child);
    return status;
}

/* In the child of a fork the parent's timers never go off, and cancelling them answers 0; its own do.
 * Hazard 29. */
static void test_fork(void **state) {
    (void)state;
    struct alarm a = {.calls = 0}, own = {.calls = 0};
    OK(start_timer(&a, 20 * MS, 2 * MS, NULL));
    pid_t child = fork();
    if (child == 0) {
        alarm(60);
        bool ok =
            SANITIZED || start_timer(&own, MS, MS, NULL) == 0; /* ThreadSanitizer does not allow a thread */
        while (!SANITIZED && atomic_load(&own.calls) < 30) support_sleep_ms(1);
        ok = ok && mtaio_timer_cancel_wait(a.timer) == 0 && atomic_load(&a.calls) == 0;
        ok = ok && (SANITIZED || (mtaio_timer_cancel_wait(own.timer) == 1 && atomic_load(&own.gone) == 1));
        mtaio_timer_unref(a.timer);
        _exit(ok ? 0 : 1);
    }
    assert_int_equal(child_status(child), 0);
    EVENTUALLY(atomic_load(&a.calls) >= 3);
    assert_int_equal(mtaio_timer_cancel_wait(a.timer), 1);
    mtaio_timer_unref(a.timer);
}

static void fork_inside(struct alarm *self) {
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        CHECK(mtaio_timer_cancel_wait(self->timer) == 0);
        if (SANITIZED)
            _exit(0); /* they look for leaks at the end, and do not find the stack of the main thread */
        atomic_store(&self->failures, 1);
        return; /* its thread, the only one there, ends: the child does */
    }
    atomic_store(&self->error, child_status(child));
}

/* The same from within a call: it is the child's last. Hazard 30. */
static void test_fork_inside(void **state) {
    (void)state;
    struct alarm a = {.act = fork_inside, .error = -1};
    OK(start_timer(&a, 5 * MS, 0, NULL));
    EVENTUALLY(atomic_load(&a.gone) == 1);
    assert_int_equal(atomic_load(&a.error), 0);
    assert_int_equal(atomic_load(&a.failures), 0);
    mtaio_timer_unref(a.timer);
}

/* A process that ends while timers wait and go off ends as any other; what looks for leaks then finds none.
 */
static void test_exit(void **state) {
    (void)state;
    for (int i = 0; i < (SANITIZED ? 1 : 10); i++) {
        pid_t child = fork();
        if (child == 0) {
            static struct alarm waits, goes_off;
            if (start_timer(&waits, 100000 * MS, 0, NULL) < 0 || start_timer(&goes_off, 0, 10000, NULL) < 0)
                _exit(1);
            support_sleep_ms(2);
            exit(0);
        }
        assert_int_equal(child_status(child), 0);
    }
}

/* Hazard 42: a million of them, half cancelled; a start, a cancel and a call each take a time that hardly
 * grows. */
static void test_million(void **state) {
    (void)state;
    enum { TIMERS = SANITIZED ? 30000 : 1000000 };
    mtaio_timer **timers = calloc(TIMERS, sizeof *timers);
    static struct alarm a;
    int canceled = 0;
    int64_t begin_ms = support_now_ms();
    assert_non_null(timers);
    a = (struct alarm){.calls = 0};
    srand(2);
    for (int i = 0; i < TIMERS; i++) {
        int64_t delay_ns = rand() % 1000 * MS;
        OK(mtaio_timer_start(MTAIO_TIMER(.call = on_time, .ctx = &a, .delay_ns = delay_ns), &timers[i]));
    }
    for (int i = 0; i < TIMERS; i += 2) canceled += mtaio_timer_cancel(timers[i]);
    for (int i = 0; i < TIMERS; i++) mtaio_timer_unref(timers[i]);
    EVENTUALLY(atomic_load(&a.calls) == TIMERS - canceled);
    assert_true(support_now_ms() - begin_ms < 30000);
    free(timers);
}

/* --- Bad input, hazards 37 and 45
 * ---------------------------------------------------------------------------- */

/* A negative time and no function to call: EINVAL, destroy has run and *ret is as it was. Another size:
 * EINVAL, and nothing is looked at. */
static void test_arguments(void **state) {
    (void)state;
    mtaio_timer_options good = *MTAIO_TIMER(.call = on_time, .destroy = on_end), bad[3] = {good, good, good};
    struct alarm a[3] = {{.calls = 0}};
    mtaio_timer *untouched = (mtaio_timer *)(void *)a, *ret = untouched;
    bad[0].call = NULL;
    bad[1].delay_ns = INT64_MIN;
    bad[2].period_ns = -1;
    for (size_t i = 0; i < COUNT(bad); i++) {
        bad[i].ctx = &a[i];
        assert_int_equal(mtaio_timer_start(&bad[i], &ret), MTAIO_EINVAL);
        assert_int_equal(atomic_load(&a[i].gone), 1);
        bad[i].destroy = NULL;
        assert_int_equal(mtaio_timer_start(&bad[i], &ret), MTAIO_EINVAL);
        bad[i].destroy = on_end;
        bad[i].size = i * (sizeof good - 1);
        assert_int_equal(mtaio_timer_start(&bad[i], &ret), MTAIO_EINVAL);
        assert_int_equal(atomic_load(&a[i].gone), 1);
    }
    assert_int_equal(mtaio_timer_start(NULL, &ret), MTAIO_EINVAL);
    assert_ptr_equal(ret, untouched);
    assert_int_equal(mtaio_timer_cancel(NULL), MTAIO_EINVAL);
    assert_int_equal(mtaio_timer_cancel_wait(NULL), MTAIO_EINVAL);
    assert_null(mtaio_timer_ref(NULL));
    assert_null(mtaio_timer_unref(NULL));
}

/* --- Without memory
 * ------------------------------------------------------------------------------------------ */

/* Hazard 20: ENOMEM, destroy has run, and nothing is left. */
static void test_no_memory(void **state) {
    (void)state;
    SWEEP(sweep) {
        struct alarm a = {.calls = 0};
        support_arm(&sweep);
        int r = start_timer(&a, 1000 * MS, 0, NULL);
        bool failed = support_disarm(&sweep);
        assert_true(r == 0 || (failed && r == MTAIO_ENOMEM));
        assert_int_equal(atomic_load(&a.gone), r < 0);
        if (r == 0) {
            assert_int_equal(mtaio_timer_cancel(a.timer), 1);
            mtaio_timer_unref(a.timer);
        }
        EVENTUALLY(count_threads() == threads_before);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TIMER_TEST(test_once),          TIMER_TEST(test_no_drift),    TIMER_TEST(test_coalesced),
        TIMER_TEST(test_never),         TIMER_TEST(test_order),       TIMER_TEST(test_cancel),
        TIMER_TEST(test_cancel_inside), TIMER_TEST(test_cancel_wait), TIMER_TEST(test_cancel_race),
        TIMER_TEST(test_thread),        TIMER_TEST(test_fork),        TIMER_TEST(test_fork_inside),
        TIMER_TEST(test_exit),          TIMER_TEST(test_million),     TIMER_TEST(test_no_memory),
        TIMER_TEST(test_arguments),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
