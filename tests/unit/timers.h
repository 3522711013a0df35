/* timers.h - what the tests of timers share. */
#ifndef MTAIO_TESTS_TIMERS_H
#define MTAIO_TESTS_TIMERS_H

#include "record.h"

#include <dirent.h>

#include "os/os.h"

#define MS INT64_C(1000000)

/* A timer's context: counts, from any thread. */
struct alarm {
    atomic_int calls, due, failures, error, gone;
    atomic_llong last_ms;
    mtaio_timer *timer;
    void (*act)(struct alarm *self); /* in the call */
};

static inline void on_time(uint64_t count, void *ctx) {
    struct alarm *a = ctx;
    CHECK(count >= 1 && atomic_load(&a->gone) == 0);
    atomic_store(&a->last_ms, support_now_ms());
    atomic_fetch_add(&a->due, (int)count);
    atomic_fetch_add(&a->calls, 1);
    if (a->act != NULL) a->act(a);
}

static inline void on_failure(int error, void *ctx) {
    struct alarm *a = ctx;
    atomic_store(&a->error, error);
    atomic_fetch_add(&a->failures, 1);
}

static inline void on_end(void *ctx) {
    struct alarm *a = ctx;
    CHECK(atomic_fetch_add(&a->gone, 1) == 0);
}

static inline int start_timer(struct alarm *a, int64_t delay_ns, int64_t period_ns,
                              mtaio_executor *executor) {
    return mtaio_timer_start(MTAIO_TIMER(.delay_ns = delay_ns, .period_ns = period_ns, .call = on_time,
                                         .failed = on_failure, .destroy = on_end, .ctx = a,
                                         .executor = executor),
                             &a->timer);
}

/* A loop turned by hand, whose jobs come from the timers' thread, one at a time. */
static struct {
    _Atomic(mtaio_job *) job;
    atomic_int posts, refuse;
} hand;

static inline int hand_post(mtaio_job *job, void *ctx) {
    (void)ctx;
    int r = atomic_load(&hand.refuse);
    if (r == 0) CHECK(atomic_exchange(&hand.job, job) == NULL);
    atomic_fetch_add(&hand.posts, 1);
    return r;
}

static inline bool hand_is_current(void *ctx) {
    (void)ctx;
    return false;
}

static inline mtaio_executor *hand_new(void) {
    mtaio_executor *ex = NULL;
    atomic_store(&hand.posts, 0);
    atomic_store(&hand.refuse, 0);
    OK(mtaio_executor_new(MTAIO_LOOP(.post = hand_post, .is_current = hand_is_current), &ex));
    return ex;
}

static inline void hand_take(void (*what)(mtaio_job *job)) {
    mtaio_job *job;
    EVENTUALLY(atomic_load(&hand.job) != NULL);
    job = atomic_exchange(&hand.job, NULL);
    what(job);
}

/* The process's threads. */
static inline int count_threads(void) {
    DIR *dir = opendir("/proc/self/task");
    int count = -2; /* . and .. */
    CHECK(dir != NULL);
    while (readdir(dir) != NULL) count++;
    closedir(dir);
    return count;
}

static int threads_before; /* a sanitizer may have one of its own */

static inline int timers_begin(void **state) {
    threads_before = count_threads();
    return begin(state);
}

/* The timers' thread ends by itself, and gives back what it has, soon after the last timer. */
static inline void keep_places(void) { /* of the threads of a pool, for those that come next */
    EVENTUALLY(count_threads() == threads_before);
    mtaio_reclaim();
    touch(0, NULL);
    blocks_before = support_live_blocks();
}

static inline int timers_end(void **state) {
    EVENTUALLY(count_threads() == threads_before);
    return end(state);
}

#define TIMER_TEST(f) cmocka_unit_test_setup_teardown(f, timers_begin, timers_end)

#endif
