/* test_pool_refused.c - the operating system refuses a lock, a condition or a thread (hazard 22): each in
 * turn. The module itself is included, with an os that counts what it is asked for. */
#include "pools.h"

#include <pthread.h>

static atomic_int asked, refused_at; /* 0: nothing is refused */

static bool refuses(void) { return atomic_fetch_add(&asked, 1) + 1 == atomic_load(&refused_at); }

static void refuse(int at) {
    atomic_store(&asked, 0);
    atomic_store(&refused_at, at);
}

static int counted_mutex_init(os_mutex *m) { return refuses() ? MTAIO_ESYSTEM : os_mutex_init(m); }
static int counted_cond_init(os_cond *c) { return refuses() ? MTAIO_ESYSTEM : os_cond_init(c); }
static int counted_thread_start(os_thread *ret, void *(*run)(void *arg), void *arg) {
    return refuses() ? MTAIO_ESYSTEM : os_thread_start(ret, run, arg);
}

#define os_mutex_init counted_mutex_init
#define os_cond_init counted_cond_init
#define os_thread_start counted_thread_start
#include "core/pool.c"

enum { THREADS = 3, NEEDS = 2 + 2 * THREADS }; /* two locks, and a condition for each thread */

static void refuse_each(void *arg) {
    for (int at = 1; at <= NEEDS + 1; at++) {
        mtaio_executor *ex = NULL;
        refuse(at);
        int r = mtaio_pool_new(THREADS, 0, &ex);
        refuse(0);
        CHECK(r == (at <= NEEDS ? MTAIO_ESYSTEM : 0));
        CHECK((ex != NULL) == (r == 0));
        mtaio_executor_unref(ex);
    }
    count(arg);
}

/* ESYSTEM: "the operating system refused a thread, a lock or a descriptor". What was there already is
 * undone, also where a pool's thread makes the pool. */
static void test_new(void **state) {
    mtaio_executor *ex;
    atomic_int done = 0;

    (void)state;
    refuse_each(&done);
    assert_int_equal(support_live_blocks(), 0);
    ex = new_pool(1, 0);
    post(ex, refuse_each, &done);
    EVENTUALLY(atomic_load(&done) == 2);
    mtaio_executor_unref(ex);
    EVENTUALLY(support_live_blocks() == 0);
}

/* A thread that waits asks for nothing that could be refused. */
static void test_waiter(void **state) {
    struct waiter w;

    (void)state;
    refuse(1);
    assert_int_equal(mtaio__waiter_init(&w), 0);
    assert_false(mtaio__waiter_wait(&w, 0));
    mtaio__waiter_wake(&w);
    assert_true(mtaio__waiter_wait(&w, INT64_MAX));
    assert_int_equal(atomic_load(&asked), 0);
    refuse(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_new, nothing_left),
        cmocka_unit_test_teardown(test_waiter, nothing_left),
    };

    support_init();
    return cmocka_run_group_tests_name("pool refused", tests, NULL, NULL);
}
