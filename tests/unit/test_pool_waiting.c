/* test_pool_waiting.c - threads that wait for one thing, and help their pool meanwhile. From inside the
 * library: the public API waits in this way for emissions. */
#include "pools.h"

#include <pthread.h>

#include "core/executor.h"

#define MS INT64_C(1000000)

/* A job that waits, in the job's own words, until another thread or job calls let_go. */
struct wait {
    struct mtaio_job job;
    mtaio_executor *ex;
    struct waiter waiter;
    atomic_int ready; /* the waiter is there, or init failed */
    int init_result;
    atomic_int over;
};

static void wait_here(struct wait *w) {
    w->init_result = mtaio__waiter_init(&w->waiter);
    atomic_store(&w->ready, 1);
    if (w->init_result == 0) {
        CHECK(mtaio__waiter_wait(&w->waiter, INT64_MAX));
        CHECK(os_locks_held() == 0);
    }
    atomic_fetch_add(&w->over, 1);
}

static void wait_in_job(void *arg) { wait_here(arg); }

static void let_go(void *arg) { mtaio__waiter_wake(&((struct wait *)arg)->waiter); }

/* --- On any thread ------------------------------------------------------------------------------------- */

static void *let_go_later(void *arg) {
    support_sleep_ms(10);
    let_go(arg);
    return NULL;
}

static void wait_with_limits(void *arg) {
    struct wait w = {.over = 0};
    int64_t start = os_now_ns();
    pthread_t thread;

    CHECK(mtaio__waiter_init(&w.waiter) == 0);
    CHECK(!mtaio__waiter_wait(&w.waiter, 0));
    CHECK(!mtaio__waiter_wait(&w.waiter, os_deadline_ns(0)));
    CHECK(!mtaio__waiter_wait(&w.waiter, os_deadline_ns(20 * MS)));
    CHECK(os_now_ns() - start >= 20 * MS);
    CHECK(pthread_create(&thread, NULL, let_go_later, &w) == 0);
    CHECK(mtaio__waiter_wait(&w.waiter, os_deadline_ns(10000 * MS)));
    CHECK(mtaio__waiter_wait(&w.waiter, 0)); /* woken is woken */
    CHECK(pthread_join(thread, NULL) == 0);
    count(arg);
}

/* "Until woken, or the deadline ... has passed: false": on a thread of its own, and on a pool's. */
static void test_deadline(void **state) {
    mtaio_executor *ex = new_pool(1, 0);
    atomic_int done = 0;

    (void)state;
    wait_with_limits(&done);
    post(ex, wait_with_limits, &done);
    mtaio_executor_unref(ex);
    assert_int_equal(atomic_load(&done), 2);
}

static void wait_with_work(void *arg) {
    struct wait *w = arg;

    for (int i = 0; i < 100; i++)
        post(w->ex, count, &w->ready);
    CHECK(mtaio__waiter_init(&w->waiter) == 0);
    CHECK(!mtaio__waiter_wait(&w->waiter, 0));
    CHECK(!mtaio__waiter_wait(&w->waiter, os_now_ns() - MS));
    CHECK(atomic_load(&w->ready) == 0);
    atomic_fetch_add(&w->over, 1);
}

/* "Helping may overrun the deadline by the length of one job", and by no more, however many are queued. */
static void test_deadline_with_work(void **state) {
    struct wait w = {.ex = new_pool(1, 0)};

    (void)state;
    post(w.ex, wait_with_work, &w);
    EVENTUALLY(atomic_load(&w.over));
    mtaio_executor_unref(w.ex);
    assert_int_equal(atomic_load(&w.ready), 100);
}

struct pair {
    struct waiter *waiter;
    struct support_barrier barrier;
    int rounds;
};

static void wake_or_wait(unsigned index, void *ctx) {
    struct pair *p = ctx;

    for (int i = 0; i < p->rounds; i++) {
        struct waiter here;
        if (index == 1) {
            CHECK(mtaio__waiter_init(&here) == 0);
            p->waiter = &here;
        }
        support_barrier_wait(&p->barrier);
        if (index == 0) {
            mtaio__waiter_wake(p->waiter);
        } else {
            CHECK(mtaio__waiter_wait(&here, i % 2 == 0 ? INT64_MAX : os_deadline_ns(10000 * MS)));
            here = (struct waiter){.done = false}; /* "the waiter may be gone" */
        }
        support_barrier_wait(&p->barrier);
    }
}

/* "Any thread, once; the waiter may be gone when it returns"; no wake-up is lost (hazard 28). */
static void test_wake_against_wait(void **state) {
    struct pair p = {.rounds = 2000};

    (void)state;
    support_barrier_init(&p.barrier, 2);
    support_threads(2, wake_or_wait, &p);
}

/* --- Helping ------------------------------------------------------------------------------------------- */

static void wait_for_own_pool(void *arg) {
    struct wait *w = arg;

    CHECK(mtaio__waiter_init(&w->waiter) == 0);
    CHECK(mtaio_executor_post(w->ex, let_go, NULL, w) == 0);
    CHECK(mtaio__waiter_wait(&w->waiter, INT64_MAX));
    atomic_fetch_add(&w->over, 1);
}

/* "A pool thread that has to wait ... runs queued jobs meanwhile": a pool of one thread whose job waits
 * for another job of the same pool. */
static void test_waits_for_own_pool(void **state) {
    struct wait w = {.ex = new_pool(1, 0)};

    (void)state;
    for (int i = 0; i < 200; i++)
        post(w.ex, count, &w.ready);
    post(w.ex, wait_for_own_pool, &w);
    EVENTUALLY(atomic_load(&w.over));
    mtaio_executor_unref(w.ex);
}

/* The only idle thread is one that waits: a new job calls it, and the job wakes the waiter. */
static void test_new_job_calls_who_waits(void **state) {
    struct wait w = {.ex = new_pool(1, 0)};

    (void)state;
    post(w.ex, wait_in_job, &w);
    EVENTUALLY(atomic_load(&w.ready));
    support_sleep_ms(10); /* asleep by now */
    post(w.ex, let_go, &w);
    EVENTUALLY(atomic_load(&w.over));
    mtaio_executor_unref(w.ex);
}

/* Waking reaches the very thread that waits, whichever others sleep. */
static void test_wake_reaches_thread(void **state) {
    mtaio_executor *ex = new_pool(4, 0);

    (void)state;
    for (int round = 0; round < 300; round++) {
        struct wait w[2] = {{.ex = ex}, {.ex = ex}};
        for (int i = 0; i < 2; i++)
            post(ex, wait_in_job, &w[i]);
        for (int i = 0; i < 2; i++) {
            EVENTUALLY(atomic_load(&w[i].ready));
            let_go(&w[i]);
            EVENTUALLY(atomic_load(&w[i].over));
        }
    }
    mtaio_executor_unref(ex);
}

/* One that waits for jobs is called before one that waits for something else, which a long job would hold
 * up. */
static void test_idle_before_waiting(void **state) {
    mtaio_executor *ex = new_pool(2, 0);
    struct gate gate = {.open = false};
    struct wait w = {.ex = ex};

    (void)state;
    post(ex, wait_in_job, &w);
    EVENTUALLY(atomic_load(&w.ready));
    support_sleep_ms(10); /* both asleep, the idle one perhaps first */
    post(ex, pass_gate, &gate);
    EVENTUALLY(atomic_load(&gate.entered) == 1);
    let_go(&w);
    EVENTUALLY(atomic_load(&w.over)); /* although the gate is still closed */
    atomic_store(&gate.open, true);
    mtaio_executor_unref(ex);
}

static void wait_then_spin(void *arg) {
    struct wait *w = arg;

    wait_here(w);
    EVENTUALLY(atomic_load((atomic_int *)(void *)w->job.next) == 1);
    atomic_fetch_add(&w->over, 1);
}

/* A waiter that was called for a new job, and is woken before it looks at it, hands the call on: the job
 * is done by the other waiting thread, although the first does not come back for it (hazard 28). */
static void test_call_is_handed_on(void **state) {
    mtaio_executor *ex = new_pool(2, 0);

    (void)state;
    for (int round = 0; round < 300; round++) {
        struct wait first = {.ex = ex}, second = {.ex = ex};
        atomic_int ran = 0;
        first.job.next = (void *)&ran; /* what it spins for */
        post(ex, wait_then_spin, &first);
        EVENTUALLY(atomic_load(&first.ready));
        post(ex, wait_in_job, &second);
        EVENTUALLY(atomic_load(&second.ready));
        if (round % 2 == 0)
            support_sleep_ms(1); /* both asleep, the first to be called is the first */
        post(ex, count, &ran);
        let_go(&first);
        EVENTUALLY(atomic_load(&first.over) == 2);
        let_go(&second);
        EVENTUALLY(atomic_load(&second.over) == 1);
    }
    mtaio_executor_unref(ex);
}

/* --- Several pools ------------------------------------------------------------------------------------- */

struct bounce {
    mtaio_executor *pools[2];
    struct bounce *outer;
    struct waiter waiter;
    int depth;
    atomic_int *deepest;
};

static void bounce_job(void *arg) {
    struct bounce *b = arg, inner = {.pools = {b->pools[1], b->pools[0]}, .depth = b->depth + 1};

    CHECK(mtaio_executor_is_current(b->pools[0]));
    if (b->depth < 20) {
        inner.deepest = b->deepest;
        CHECK(mtaio__waiter_init(&inner.waiter) == 0);
        CHECK(mtaio_executor_post(inner.pools[0], bounce_job, NULL, &inner) == 0);
        CHECK(mtaio__waiter_wait(&inner.waiter, INT64_MAX));
    } else {
        count(b->deepest);
    }
    mtaio__waiter_wake(&b->waiter);
}

/* Two pools of one thread that wait for each other, many deep, and from both ends at once. */
static void test_pools_wait_for_each_other(void **state) {
    mtaio_executor *a = new_pool(1, 1), *b = new_pool(1, 1);
    atomic_int deepest = 0;

    (void)state;
    for (int round = 0; round < 20; round++) {
        struct bounce one = {.pools = {a, b}, .deepest = &deepest};
        struct bounce two = {.pools = {b, a}, .deepest = &deepest};
        assert_int_equal(mtaio__waiter_init(&one.waiter), 0);
        assert_int_equal(mtaio__waiter_init(&two.waiter), 0);
        post(a, bounce_job, &one);
        post(b, bounce_job, &two);
        assert_true(mtaio__waiter_wait(&one.waiter, INT64_MAX));
        assert_true(mtaio__waiter_wait(&two.waiter, INT64_MAX));
    }
    mtaio_executor_unref(a);
    mtaio_executor_unref(b);
    assert_int_equal(atomic_load(&deepest), 40);
}

struct flood {
    mtaio_executor *other;
    atomic_int *ran;
};

static void flood_other(void *arg) {
    struct flood *f = arg;

    for (int i = 0; i < 50; i++)
        post(f->other, count, f->ran);
}

/* Two pools of one thread whose jobs post to each other's full queues: who waits for room helps meanwhile. */
static void test_pools_wait_for_room(void **state) {
    mtaio_executor *a = new_pool(1, 1), *b = new_pool(1, 1);
    atomic_int ran = 0;
    struct flood to_a = {a, &ran}, to_b = {b, &ran};

    (void)state;
    for (int round = 0; round < 10; round++) {
        post(a, flood_other, &to_b);
        post(b, flood_other, &to_a);
    }
    EVENTUALLY(atomic_load(&ran) == 1000);
    mtaio_executor_unref(a);
    mtaio_executor_unref(b);
}

/* --- Bounds -------------------------------------------------------------------------------------------- */

static void wake_all(void *arg) {
    struct wait *w = arg;

    for (int i = 0; i < MTAIO_DEPTH_MAX; i++)
        if (atomic_load(&w[i].ready) && w[i].init_result == 0)
            let_go(&w[i]);
}

/* "EDEPTH: MTAIO_DEPTH_MAX jobs run within each other": helping that goes too deep ends in a clear error,
 * never in a crashed stack, and never in a pool that waits for itself. */
static void test_helping_too_deep(void **state) {
    static struct wait w[MTAIO_DEPTH_MAX];
    mtaio_executor *ex = new_pool(1, 2 * MTAIO_DEPTH_MAX);
    struct gate gate = {.open = false};

    (void)state;
    post(ex, pass_gate, &gate);
    EVENTUALLY(atomic_load(&gate.entered) == 1);
    for (int i = 0; i < MTAIO_DEPTH_MAX; i++) {
        w[i] = (struct wait){.ex = ex};
        post(ex, wait_in_job, &w[i]);
    }
    post(ex, wake_all, w);
    atomic_store(&gate.open, true);
    mtaio_executor_unref(ex);
    for (int i = 0; i < MTAIO_DEPTH_MAX; i++) {
        assert_int_equal(w[i].init_result, i < MTAIO_DEPTH_MAX - 1 ? 0 : MTAIO_EDEPTH);
        assert_int_equal(atomic_load(&w[i].over), 1);
    }
}

static void submitted_run(struct mtaio_job *job) {
    struct wait *w = (struct wait *)job;

    CHECK(mtaio_executor_is_current(w->ex));
    let_go(w); /* from here on the job may be gone */
}

/* "nothing is allocated for it": submitting and waiting, on a pool and to one. */
static void test_allocates_nothing(void **state) {
    mtaio_executor *ex = new_pool(2, 1);
    size_t before = support_allocations();

    (void)state;
    for (int i = 0; i < 500; i++) {
        struct wait w = {.ex = ex, .job.run = submitted_run};
        assert_int_equal(mtaio__waiter_init(&w.waiter), 0);
        assert_int_equal(mtaio__executor_submit(ex, &w.job), 0);
        assert_true(mtaio__waiter_wait(&w.waiter, INT64_MAX));
    }
    assert_int_equal(support_allocations(), before);
    mtaio_executor_unref(ex);
}

/* --- A loop on a pool's thread ------------------------------------------------------------------------- */

static int post_at_once(mtaio_job *job, void *ctx) {
    (void)ctx;
    mtaio_job_run(job);
    return 0;
}

static bool never_current(void *ctx) {
    (void)ctx;
    return false;
}

struct nested {
    struct wait wait;
    mtaio_executor *loop;
};

static void wait_in_loop_job(void *arg) {
    struct nested *n = arg;

    CHECK(mtaio_executor_is_current(n->loop) && mtaio_executor_is_current(n->wait.ex));
    wait_for_own_pool(&n->wait);
}

static void enter_loop(void *arg) {
    struct nested *n = arg;

    CHECK(mtaio_executor_post(n->loop, wait_in_loop_job, NULL, n) == 0);
    CHECK(!mtaio_executor_is_current(n->loop) && mtaio_executor_is_current(n->wait.ex));
}

/* A pool's thread stays one inside of a loop's job, and helps from there. */
static void test_loop_on_pool_thread(void **state) {
    const mtaio_loop *loop = MTAIO_LOOP(.post = post_at_once, .is_current = never_current);
    struct nested n = {.wait.ex = new_pool(1, 0)};

    (void)state;
    assert_int_equal(mtaio_executor_new(loop, &n.loop), 0);
    post(n.wait.ex, enter_loop, &n);
    EVENTUALLY(atomic_load(&n.wait.over));
    mtaio_executor_unref(n.wait.ex);
    mtaio_executor_unref(n.loop);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_deadline, nothing_left),
        cmocka_unit_test_teardown(test_deadline_with_work, nothing_left),
        cmocka_unit_test_teardown(test_wake_against_wait, nothing_left),
        cmocka_unit_test_teardown(test_waits_for_own_pool, nothing_left),
        cmocka_unit_test_teardown(test_new_job_calls_who_waits, nothing_left),
        cmocka_unit_test_teardown(test_wake_reaches_thread, nothing_left),
        cmocka_unit_test_teardown(test_idle_before_waiting, nothing_left),
        cmocka_unit_test_teardown(test_call_is_handed_on, nothing_left),
        cmocka_unit_test_teardown(test_pools_wait_for_each_other, nothing_left),
        cmocka_unit_test_teardown(test_pools_wait_for_room, nothing_left),
        cmocka_unit_test_teardown(test_helping_too_deep, nothing_left),
        cmocka_unit_test_teardown(test_allocates_nothing, nothing_left),
        cmocka_unit_test_teardown(test_loop_on_pool_thread, nothing_left),
    };

    support_init();
    return cmocka_run_group_tests_name("pool waiting", tests, NULL, NULL);
}
