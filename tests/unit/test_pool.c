/* test_pool.c - thread pools: running and the queue, and what the system may do. Their end:
 * test_pool_end.c; their waiting threads: test_pool_waiting.c. */
#define _GNU_SOURCE 1

#include "pools.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- Running ------------------------------------------------------------------------------------------- */

struct visit {
    mtaio_executor *ex, *other;
    pthread_t poster;
    atomic_int done;
};

static void look_around(void *arg) {
    struct visit *v = arg;

    CHECK(!pthread_equal(pthread_self(), v->poster));
    CHECK(mtaio_executor_is_current(v->ex));
    CHECK(!mtaio_executor_is_current(v->other));
    atomic_fetch_add(&v->done, 1);
}

/* "Runs call(arg) there, once"; "Is the calling thread one of the executor's?" */
static void test_runs_there(void **state) {
    struct visit v = {.ex = new_pool(2, 0), .other = new_pool(1, 0), .poster = pthread_self()};

    (void)state;
    assert_false(mtaio_executor_is_current(v.ex));
    for (int i = 0; i < 50; i++)
        post(v.ex, look_around, &v);
    mtaio_executor_close(v.ex);
    assert_int_equal(atomic_load(&v.done), 50);
    mtaio_executor_unref(v.ex);
    mtaio_executor_unref(v.other);
}

struct meeting {
    atomic_int there;
    int expected;
};

static void meet(void *arg) {
    struct meeting *m = arg;

    atomic_fetch_add(&m->there, 1);
    EVENTUALLY(atomic_load(&m->there) >= m->expected);
}

/* "A pool of 1 to 1024 threads": so many jobs run at the same time. */
static void test_threads_run_together(void **state) {
    static const unsigned sizes[] = {1, 2, 5, 32};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        mtaio_executor *ex = new_pool(sizes[i], 0);
        struct meeting m = {.expected = (int)sizes[i]};
        for (unsigned j = 0; j < sizes[i]; j++)
            post(ex, meet, &m);
        mtaio_executor_unref(ex);
        assert_int_equal(atomic_load(&m.there), m.expected);
    }
}

struct numbered {
    int *next;
    int number;
};

static void in_order(void *arg) {
    struct numbered *n = arg;

    CHECK(*n->next == n->number);
    ++*n->next;
}

/* One thread runs its jobs in the order in which they were posted. */
static void test_order(void **state) {
    mtaio_executor *ex = new_pool(1, 4);
    struct numbered jobs[100];
    int next = 0;

    (void)state;
    for (int i = 0; i < 100; i++) {
        jobs[i] = (struct numbered){&next, i};
        post(ex, in_order, &jobs[i]);
    }
    mtaio_executor_unref(ex);
    assert_int_equal(next, 100);
}

static void check_signals_blocked(void *arg) {
    sigset_t blocked;

    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &blocked) == 0);
    CHECK(sigismember(&blocked, SIGTERM) == 1 && sigismember(&blocked, SIGALRM) == 1);
    count(arg);
}

/* The program's signals go to the program's own threads. */
static void test_signals(void **state) {
    mtaio_executor *ex = new_pool(1, 0);
    atomic_int done = 0;

    (void)state;
    post(ex, check_signals_blocked, &done);
    mtaio_executor_unref(ex);
    assert_int_equal(atomic_load(&done), 1);
}

/* --- The queue ----------------------------------------------------------------------------------------- */

struct poster {
    mtaio_executor *ex;
    atomic_int *ran;
    atomic_int result; /* 1: has not returned */
    pthread_t thread;
};

static void *poster_main(void *arg) {
    struct poster *p = arg;
    int r = mtaio_executor_post(p->ex, count, never, p->ran);

    atomic_store(&p->result, r);
    return NULL;
}

static void poster_start(struct poster *p, mtaio_executor *ex, atomic_int *ran) {
    p->ex = ex;
    p->ran = ran;
    atomic_init(&p->result, 1);
    CHECK(pthread_create(&p->thread, NULL, poster_main, p) == 0);
}

static int poster_join(struct poster *p) {
    CHECK(pthread_join(p->thread, NULL) == 0);
    return atomic_load(&p->result);
}

/* "a queue of at most `queue` jobs": posting to a full one "waits for room". */
static void test_full_queue_waits(void **state) {
    mtaio_executor *ex = new_pool(1, 2);
    struct gate gate = {.open = false};
    struct poster posters[3];
    atomic_int ran = 0;

    (void)state;
    post(ex, pass_gate, &gate);
    EVENTUALLY(atomic_load(&gate.entered) == 1); /* from now on nothing leaves the queue */
    post(ex, count, &ran);
    post(ex, count, &ran);
    for (int i = 0; i < 3; i++)
        poster_start(&posters[i], ex, &ran);
    support_sleep_ms(30);
    for (int i = 0; i < 3; i++)
        assert_int_equal(atomic_load(&posters[i].result), 1);
    atomic_store(&gate.open, true);
    for (int i = 0; i < 3; i++)
        assert_int_equal(poster_join(&posters[i]), 0);
    mtaio_executor_unref(ex);
    assert_int_equal(atomic_load(&ran), 5);
}

/* "(0: 1024)": so many fit while the thread is busy, and no more. */
static void test_default_queue(void **state) {
    mtaio_executor *ex = new_pool(1, 0);
    struct gate gate = {.open = false};
    struct poster one_more;
    atomic_int ran = 0;

    (void)state;
    post(ex, pass_gate, &gate);
    EVENTUALLY(atomic_load(&gate.entered) == 1);
    for (int i = 0; i < 1024; i++)
        post(ex, count, &ran);
    poster_start(&one_more, ex, &ran);
    support_sleep_ms(20);
    assert_int_equal(atomic_load(&one_more.result), 1);
    atomic_store(&gate.open, true);
    assert_int_equal(poster_join(&one_more), 0);
    mtaio_executor_unref(ex);
    assert_int_equal(atomic_load(&ran), 1025);
}

struct self_close {
    mtaio_executor *ex;
    struct gate gate;
    atomic_bool close_now;
};

static void close_inside(void *arg) {
    struct self_close *c = arg;

    atomic_fetch_add(&c->gate.entered, 1);
    EVENTUALLY(atomic_load(&c->close_now));
    CHECK(mtaio_executor_close(c->ex) == 0);
    CHECK(mtaio_executor_post(c->ex, never, never, NULL) == MTAIO_ECLOSED);
    pass_gate(&c->gate);
}

/* "posting, also when it waits for room: ECLOSED" (hazard 27): then the job is neither run nor dropped. On
 * the pool's own thread close answers "0 at once", and what is queued still runs. */
static void test_close_refuses_who_waits(void **state) {
    struct self_close c = {.ex = new_pool(1, 1)};
    struct poster posters[2];
    atomic_int ran = 0, refused = 0;

    (void)state;
    post(c.ex, close_inside, &c);
    EVENTUALLY(atomic_load(&c.gate.entered) == 1);
    post(c.ex, count, &ran);
    for (int i = 0; i < 2; i++)
        poster_start(&posters[i], c.ex, &refused);
    support_sleep_ms(20);
    atomic_store(&c.close_now, true);
    for (int i = 0; i < 2; i++)
        assert_int_equal(poster_join(&posters[i]), MTAIO_ECLOSED);
    assert_int_equal(mtaio_executor_post(c.ex, never, never, NULL), MTAIO_ECLOSED);
    assert_int_equal(atomic_load(&ran), 0);
    atomic_store(&c.gate.open, true);
    mtaio_executor_unref(c.ex);
    assert_int_equal(atomic_load(&ran), 1);
    assert_int_equal(atomic_load(&refused), 0);
}

struct ticker {
    mtaio_executor *ex;
    pthread_t thread;
    int depth, deepest, left;
    atomic_int ticks, filler;
    struct gate gate;
    struct poster outside;
};

static void tick(void *arg) {
    struct ticker *t = arg;

    CHECK(os_locks_held() == 0);
    CHECK(pthread_equal(t->thread, pthread_self()));
    atomic_fetch_add(&t->ticks, 1);
    t->depth++;
    if (t->depth > t->deepest)
        t->deepest = t->depth;
    if (t->left-- > 0)
        post(t->ex, tick, t);
    t->depth--;
}

static void fill(void *arg) {
    struct ticker *t = arg;

    support_sleep_ms(20);
    CHECK(atomic_load(&t->outside.result) == 1); /* a tick more than there is room for is queued */
    count(&t->filler);
}

static void start_ticking(void *arg) {
    struct ticker *t = arg;

    t->thread = pthread_self();
    post(t->ex, fill, t); /* the queue is full now */
    pass_gate(&t->gate);
    post(t->ex, tick, t);
    CHECK(atomic_load(&t->ticks) > 0); /* it ran before post returned */
    CHECK(atomic_load(&t->filler) == 0);
}

/* "except on a thread of the same pool, which runs the job itself (and queues it all the same once
 * MTAIO_DEPTH_MAX jobs run within each other there)": never waits for itself, never crashes the stack. Who
 * waits for room outside gets it when the queue is back within its bound. */
static void test_full_queue_on_own_thread(void **state) {
    struct ticker t = {.ex = new_pool(1, 1), .left = 3 * MTAIO_DEPTH_MAX};
    atomic_int ran = 0;

    (void)state;
    post(t.ex, start_ticking, &t);
    EVENTUALLY(atomic_load(&t.gate.entered) == 1);
    poster_start(&t.outside, t.ex, &ran);
    support_sleep_ms(20);
    atomic_store(&t.gate.open, true);
    assert_int_equal(poster_join(&t.outside), 0);
    EVENTUALLY(atomic_load(&t.filler) == 1 && atomic_load(&ran) == 1);
    EVENTUALLY(atomic_load(&t.ticks) == 3 * MTAIO_DEPTH_MAX + 1);
    mtaio_executor_unref(t.ex);
    assert_in_range(t.deepest, MTAIO_DEPTH_MAX - 1, MTAIO_DEPTH_MAX); /* the first were within another job */
}

/* --- The operating system ------------------------------------------------------------------------------ */

/* Runs in a child process, which must end with 0. */
static void in_child(void (*run)(void *ctx), void *ctx) {
    int status = -1;
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0) {
        run(ctx);
        replace_process("/bin/true", "true", (char *)NULL);
        _exit(1);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(status == 0);
}

static void limit_threads(void *ctx) {
    unsigned refused = 0;
    int r = MTAIO_ESYSTEM;

    (void)ctx;
    CHECK(setuid(54321) == 0); /* whom nothing else here belongs to: the limit counts a user's threads */
    for (rlim_t limit = 1; r != 0; limit++) {
        mtaio_executor *ex = NULL;
        CHECK(limit < 10);
        CHECK(setrlimit(RLIMIT_NPROC, &(struct rlimit){limit, 10}) == 0);
        r = mtaio_pool_new(3, 0, &ex);
        CHECK(r == 0 || (r == MTAIO_ESYSTEM && ex == NULL));
        refused += r != 0;
        mtaio_executor_unref(ex);
        CHECK(support_live_blocks() == 0);
    }
    CHECK(refused >= 3); /* the first thread, the second, the third */
}

/* ESYSTEM (hazard 22): the n-th thread cannot be had; those before it end, nothing is left. */
static void test_threads_refused(void **state) {
    (void)state;
    if (geteuid() != 0)
        skip(); /* the limit cannot be set to a known number of threads */
    in_child(limit_threads, NULL);
}

static void use_in_child(void *ctx) {
    mtaio_executor *ex = ctx;

    CHECK(!mtaio_executor_is_current(ex));
    CHECK(mtaio_executor_post(ex, never, never, NULL) == MTAIO_ECLOSED);
    CHECK(mtaio_executor_close(ex) == 0);
    mtaio_executor_unref(ex);
}

/* "In the child of a fork the threads are not there: it finds the pool closed" (hazard 29). */
static void test_fork(void **state) {
    mtaio_executor *ex = new_pool(2, 1);
    struct gate gate = {.open = false};
    atomic_int ran = 0;

    (void)state;
    post(ex, pass_gate, &gate);
    post(ex, pass_gate, &gate);
    EVENTUALLY(atomic_load(&gate.entered) == 2);
    post(ex, count, &ran); /* queued while it forks */
    in_child(use_in_child, ex);
    atomic_store(&gate.open, true);
    mtaio_executor_unref(ex);
    assert_int_equal(atomic_load(&ran), 1);
}

static void fork_inside(void *arg) { in_child(use_in_child, arg); }

/* The same inside of a job (hazard 30). */
static void test_fork_in_job(void **state) {
    mtaio_executor *ex = new_pool(1, 0);

    (void)state;
    post(ex, fork_inside, ex);
    mtaio_executor_unref(ex);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_runs_there, nothing_left),
        cmocka_unit_test_teardown(test_threads_run_together, nothing_left),
        cmocka_unit_test_teardown(test_order, nothing_left),
        cmocka_unit_test_teardown(test_signals, nothing_left),
        cmocka_unit_test_teardown(test_full_queue_waits, nothing_left),
        cmocka_unit_test_teardown(test_default_queue, nothing_left),
        cmocka_unit_test_teardown(test_close_refuses_who_waits, nothing_left),
        cmocka_unit_test_teardown(test_full_queue_on_own_thread, nothing_left),
        cmocka_unit_test_teardown(test_threads_refused, nothing_left),
        cmocka_unit_test_teardown(test_fork, nothing_left),
        cmocka_unit_test_teardown(test_fork_in_job, nothing_left),
    };

    support_init();
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
