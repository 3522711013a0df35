/* pools.h - jobs for the tests of pools. */
#ifndef MTAIO_TESTS_POOLS_H
#define MTAIO_TESTS_POOLS_H

#include "support.h"

#include <mtaio/executor.h>

#include "os/os.h"

static inline mtaio_executor *new_pool(unsigned threads, size_t queue) {
    mtaio_executor *ex = NULL;

    CHECK(mtaio_pool_new(threads, queue, &ex) == 0);
    CHECK(ex != NULL);
    return ex;
}

static inline void post(mtaio_executor *ex, void (*call)(void *arg), void *arg) {
    CHECK(mtaio_executor_post(ex, call, NULL, arg) == 0);
}

static inline void count(void *arg) {
    CHECK(os_locks_held() == 0);
    atomic_fetch_add((atomic_int *)arg, 1);
}

static inline void never(void *arg) {
    (void)arg;
    support_check_failed("must not be called", __FILE__, __LINE__);
}

/* A job that says that it runs, and then runs until it is let go. */
struct gate {
    atomic_int entered;
    atomic_bool open;
};

static inline void pass_gate(void *arg) {
    struct gate *g = arg;

    atomic_fetch_add(&g->entered, 1);
    EVENTUALLY(atomic_load(&g->open));
}

static inline int nothing_left(void **state) {
    (void)state;
    return support_live_blocks() == 0 ? 0 : -1;
}

#endif
