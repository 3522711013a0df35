/* test_executor.c - executors through the public API: users' loops, jobs, posting. Pools: test_pool.c. */
#include "support.h"

#include <mtaio/executor.h>
#include <string.h>

#include "os/os.h"

/* A user's loop: a queue that the test turns by hand. log tells what happened, in order. */
struct loop {
    mtaio_job *jobs[8];
    int queued;
    int post_answer;  /* what post returns; negative: it forgets the job */
    bool at_once;     /* post runs the job itself */
    bool thread_here; /* what is_current answers */
    char log[64];
};

static void note(struct loop *l, const char *what) { strcat(l->log, what); }

static int loop_post(mtaio_job *job, void *ctx) {
    struct loop *l = ctx;

    CHECK(os_locks_held() == 0);
    if (l->post_answer < 0)
        return l->post_answer;
    if (l->at_once) {
        note(l, "(");
        mtaio_job_run(job);
        note(l, ")");
    } else {
        l->jobs[l->queued++] = job;
    }
    return l->post_answer;
}

static bool loop_is_current(void *ctx) {
    CHECK(os_locks_held() == 0);
    return ((struct loop *)ctx)->thread_here;
}

static void loop_destroy(void *ctx) {
    CHECK(os_locks_held() == 0);
    note(ctx, "D");
}

static void loop_turn(struct loop *l, void (*end)(mtaio_job *job)) {
    int queued = l->queued;

    l->queued = 0;
    for (int i = 0; i < queued; i++)
        end(l->jobs[i]);
}

static mtaio_executor *new_loop(struct loop *l) {
    mtaio_executor *ex = NULL;

    assert_int_equal(mtaio_executor_new(MTAIO_LOOP(.post = loop_post, .is_current = loop_is_current,
                                                   .destroy = loop_destroy, .ctx = l),
                                        &ex),
                     0);
    assert_non_null(ex);
    return ex;
}

static void called(void *arg) {
    CHECK(os_locks_held() == 0);
    note(arg, "c");
}

static void dropped(void *arg) {
    CHECK(os_locks_held() == 0);
    note(arg, "d");
}

static void never(void *arg) {
    (void)arg;
    support_check_failed("must not be called", __FILE__, __LINE__);
}

/* --- Making -------------------------------------------------------------------------------------------- */

/* "destroy(ctx) runs exactly once, after the last call": when the last reference goes. */
static void test_destroy_once(void **state) {
    struct loop l = {.log = ""};
    mtaio_executor *ex = new_loop(&l);

    (void)state;
    assert_ptr_equal(mtaio_executor_ref(ex), ex);
    assert_null(mtaio_executor_unref(ex));
    assert_int_equal(mtaio_executor_close(ex), 0);
    assert_string_equal(l.log, "");
    assert_null(mtaio_executor_unref(ex));
    assert_string_equal(l.log, "D");
}

/* "... also if registering failed"; "Both are required"; "*ret is not touched". */
static void test_new_fails(void **state) {
    struct loop l = {.log = ""};
    mtaio_loop good =
        *MTAIO_LOOP(.post = loop_post, .is_current = loop_is_current, .destroy = loop_destroy, .ctx = &l);
    mtaio_loop bad;
    mtaio_executor *ex = NULL;

    (void)state;
    bad = good, bad.post = NULL;
    assert_int_equal(mtaio_executor_new(&bad, &ex), MTAIO_EINVAL);
    assert_string_equal(l.log, "D");
    bad = good, bad.is_current = NULL;
    assert_int_equal(mtaio_executor_new(&bad, &ex), MTAIO_EINVAL);
    assert_string_equal(l.log, "DD");
    assert_int_equal(mtaio_executor_new(&good, NULL), MTAIO_EINVAL);
    assert_string_equal(l.log, "DDD");
    assert_int_equal(mtaio_executor_new(MTAIO_LOOP(.post = loop_post, .ctx = &l), &ex), MTAIO_EINVAL);
    assert_int_equal(mtaio_executor_new(NULL, &ex), MTAIO_EINVAL);
    bad = good, bad.size = 0;
    assert_int_equal(mtaio_executor_new(&bad, &ex), MTAIO_EINVAL);
    assert_string_equal(l.log, "DDD"); /* a struct of unknown layout is not read */
    assert_null(ex);
}

/* destroy "may be NULL"; a struct that has grown since is taken. */
static void test_new_variants(void **state) {
    struct loop l = {.log = ""};
    mtaio_executor *ex;

    (void)state;
    assert_int_equal(mtaio_executor_new(&(mtaio_loop){.size = sizeof(mtaio_loop) + 8,
                                                      .post = loop_post,
                                                      .is_current = loop_is_current,
                                                      .ctx = &l},
                                        &ex),
                     0);
    mtaio_executor_unref(ex);
}

/* "Every public function checks its arguments" (hazard 45). */
static void test_arguments(void **state) {
    struct loop l = {.log = ""};
    mtaio_executor *ex = new_loop(&l), *pool = NULL;

    (void)state;
    assert_int_equal(mtaio_pool_new(0, 0, &pool), MTAIO_EINVAL);
    assert_int_equal(mtaio_pool_new(1025, 0, &pool), MTAIO_EINVAL);
    assert_int_equal(mtaio_pool_new(UINT32_MAX, 0, &pool), MTAIO_EINVAL);
    assert_int_equal(mtaio_pool_new(1, 0, NULL), MTAIO_EINVAL);
    assert_null(pool);
    assert_int_equal(mtaio_executor_close(NULL), MTAIO_EINVAL);
    assert_int_equal(mtaio_executor_post(NULL, never, never, NULL), MTAIO_EINVAL);
    assert_int_equal(mtaio_executor_post(ex, NULL, never, NULL), MTAIO_EINVAL);
    assert_false(mtaio_executor_is_current(NULL));
    assert_null(mtaio_executor_ref(NULL));
    assert_null(mtaio_executor_unref(NULL));
    mtaio_job_run(NULL);
    mtaio_job_drop(NULL);
    mtaio_executor_unref(ex);
}

/* --- Posting ------------------------------------------------------------------------------------------- */

/* "Runs call(arg) there, once, and returns without waiting for it" */
static void test_post(void **state) {
    struct loop l = {.log = ""};
    mtaio_executor *ex = new_loop(&l);

    (void)state;
    assert_int_equal(mtaio_executor_post(ex, called, never, &l), 0);
    assert_int_equal(mtaio_executor_post(ex, called, NULL, &l), 0);
    assert_string_equal(l.log, "");
    loop_turn(&l, mtaio_job_run);
    assert_string_equal(l.log, "cc");
    mtaio_executor_unref(ex);
}

/* "dropped(arg), if given, runs instead where the loop drops the job" */
static void test_drop(void **state) {
    struct loop l = {.log = ""};
    mtaio_executor *ex = new_loop(&l);

    (void)state;
    assert_int_equal(mtaio_executor_post(ex, never, dropped, &l), 0);
    assert_int_equal(mtaio_executor_post(ex, never, NULL, &l), 0);
    loop_turn(&l, mtaio_job_drop);
    assert_string_equal(l.log, "d");
    mtaio_executor_unref(ex);
    assert_string_equal(l.log, "dD");
}

/* "returns a negative status and forgets the job"; post's failures: "what post returned". 0 or more is
 * success. */
static void test_post_answers(void **state) {
    struct loop l = {.log = "", .post_answer = -77};
    mtaio_executor *ex = new_loop(&l);

    (void)state;
    assert_int_equal(mtaio_executor_post(ex, never, never, NULL), -77);
    l.post_answer = 5;
    assert_int_equal(mtaio_executor_post(ex, called, never, &l), 0);
    loop_turn(&l, mtaio_job_run);
    mtaio_executor_unref(ex);
    assert_string_equal(l.log, "cD");
}

/* "A loop only refuses further work": what it was given before still runs. */
static void test_close(void **state) {
    struct loop l = {.log = ""};
    mtaio_executor *ex = new_loop(&l);

    (void)state;
    assert_int_equal(mtaio_executor_post(ex, called, never, &l), 0);
    assert_int_equal(mtaio_executor_close(ex), 0);
    assert_int_equal(mtaio_executor_close(ex), 0); /* "Twice is no error" */
    assert_int_equal(mtaio_executor_post(ex, never, never, NULL), MTAIO_ECLOSED);
    loop_turn(&l, mtaio_job_run);
    mtaio_executor_unref(ex);
    assert_string_equal(l.log, "cD");
}

/* A job keeps its loop alive until it is over, run or dropped. */
static void test_job_keeps_loop(void **state) {
    struct loop l = {.log = ""};
    mtaio_executor *ex = new_loop(&l);

    (void)state;
    assert_int_equal(mtaio_executor_post(ex, called, never, &l), 0);
    assert_int_equal(mtaio_executor_post(ex, never, dropped, &l), 0);
    mtaio_executor_unref(ex);
    assert_string_equal(l.log, "");
    mtaio_job_run(l.jobs[0]);
    assert_string_equal(l.log, "c");
    mtaio_job_drop(l.jobs[1]);
    assert_string_equal(l.log, "cdD");
}

static mtaio_executor *only_reference;

static void drop_only_reference(void *arg) {
    called(arg);
    only_reference = mtaio_executor_unref(only_reference);
}

/* "drop whatever called it"; destroy comes "after the last call": a loop whose last reference goes in a
 * job that post runs at once is destroyed when post has returned. */
static void test_dropped_inside_post(void **state) {
    struct loop l = {.log = "", .at_once = true};

    (void)state;
    only_reference = new_loop(&l);
    assert_int_equal(mtaio_executor_post(only_reference, drop_only_reference, never, &l), 0);
    assert_null(only_reference);
    assert_string_equal(l.log, "(c)D");
}

/* --- Whose thread is it? ------------------------------------------------------------------------------- */

struct question {
    struct loop *loop;
    mtaio_executor *ex, *other;
    int asked;
};

static void ask_innermost(void *arg) {
    struct question *q = arg;

    CHECK(mtaio_executor_is_current(q->ex));
    CHECK(mtaio_executor_is_current(q->other));
    q->asked++;
}

static void ask_in_job(void *arg) {
    struct question *q = arg;

    CHECK(mtaio_executor_is_current(q->ex));
    CHECK(!mtaio_executor_is_current(q->other));
    q->asked++;
    CHECK(mtaio_executor_post(q->other, ask_innermost, never, q) == 0); /* runs at once, within this job */
    CHECK(!mtaio_executor_is_current(q->other));
    CHECK(mtaio_executor_is_current(q->ex));
}

static void ask_in_drop(void *arg) {
    struct question *q = arg;

    CHECK(!mtaio_executor_is_current(q->ex));
    q->asked++;
}

/* "Is the calling thread one of the executor's?" It is where is_current says so, and within the loop's
 * jobs whatever it says, one in another. Dropping a job is not running it. */
static void test_is_current(void **state) {
    struct loop l = {.log = ""}, inner = {.log = "", .at_once = true};
    struct question q = {&l, new_loop(&l), new_loop(&inner), 0};

    (void)state;
    assert_false(mtaio_executor_is_current(q.ex));
    l.thread_here = true;
    assert_true(mtaio_executor_is_current(q.ex));
    assert_false(mtaio_executor_is_current(q.other));
    l.thread_here = false;
    assert_int_equal(mtaio_executor_post(q.ex, ask_in_job, never, &q), 0);
    loop_turn(&l, mtaio_job_run);
    assert_int_equal(q.asked, 2);
    assert_false(mtaio_executor_is_current(q.ex));
    assert_int_equal(mtaio_executor_post(q.ex, never, ask_in_drop, &q), 0);
    loop_turn(&l, mtaio_job_drop);
    assert_int_equal(q.asked, 3);
    mtaio_executor_unref(q.ex);
    mtaio_executor_unref(q.other);
}

/* --- Memory -------------------------------------------------------------------------------------------- */

/* "Out of memory is an error return that leaves everything as it was"; destroy runs all the same (hazard
 * 20). */
static void test_out_of_memory(void **state) {
    struct loop l;

    (void)state;
    SWEEP(sweep) {
        mtaio_executor *ex = NULL;
        l = (struct loop){.log = ""};
        support_arm(&sweep);
        int r = mtaio_executor_new(
            MTAIO_LOOP(.post = loop_post, .is_current = loop_is_current, .destroy = loop_destroy, .ctx = &l),
            &ex);
        bool failed = support_disarm(&sweep);
        assert_int_equal(r, failed ? MTAIO_ENOMEM : 0);
        assert_string_equal(l.log, failed ? "D" : "");
        mtaio_executor_unref(ex);
        assert_string_equal(l.log, "D");
    }
    SWEEP(sweep) {
        mtaio_executor *ex = NULL;
        support_arm(&sweep);
        int r = mtaio_pool_new(2, 0, &ex);
        bool failed = support_disarm(&sweep);
        assert_int_equal(r, failed ? MTAIO_ENOMEM : 0);
        assert_true(failed == (ex == NULL));
        mtaio_executor_unref(ex);
    }
    SWEEP(sweep) {
        l = (struct loop){.log = ""};
        mtaio_executor *ex = new_loop(&l);
        support_arm(&sweep);
        int r = mtaio_executor_post(ex, called, never, &l);
        bool failed = support_disarm(&sweep);
        assert_int_equal(r, failed ? MTAIO_ENOMEM : 0);
        loop_turn(&l, mtaio_job_run);
        mtaio_executor_unref(ex);
        assert_string_equal(l.log, failed ? "D" : "cD");
    }
}

/* Closing, dropping, running and asking allocate nothing (hazard 21). */
static void test_allocates_nothing(void **state) {
    struct loop l = {.log = ""};
    mtaio_executor *ex = new_loop(&l), *pool;
    size_t before;

    (void)state;
    assert_int_equal(mtaio_pool_new(2, 0, &pool), 0);
    assert_int_equal(mtaio_executor_post(ex, called, never, &l), 0);
    before = support_allocations();
    loop_turn(&l, mtaio_job_run);
    mtaio_executor_is_current(ex);
    mtaio_executor_is_current(pool);
    mtaio_executor_close(ex);
    mtaio_executor_close(pool);
    mtaio_executor_unref(ex);
    mtaio_executor_unref(pool);
    assert_int_equal(support_allocations(), before);
}

/* --- Threads ------------------------------------------------------------------------------------------- */

struct race {
    mtaio_executor *ex;
    os_mutex lock; /* of the loop below */
    mtaio_job *jobs[64];
    int queued;
    atomic_int posted, run, dropped, destroyed;
};

static int race_post(mtaio_job *job, void *ctx) {
    struct race *race = ctx;
    int r = MTAIO_EAGAIN;

    os_lock(&race->lock);
    if (race->queued < 64) {
        race->jobs[race->queued++] = job;
        r = 0;
    }
    os_unlock(&race->lock);
    return r;
}

static bool race_is_current(void *ctx) {
    (void)ctx;
    return false;
}

static void race_destroy(void *ctx) { atomic_fetch_add(&((struct race *)ctx)->destroyed, 1); }
static void race_run(void *arg) { atomic_fetch_add(&((struct race *)arg)->run, 1); }
static void race_dropped(void *arg) { atomic_fetch_add(&((struct race *)arg)->dropped, 1); }

static mtaio_job *race_take(struct race *race) {
    mtaio_job *job = NULL;

    os_lock(&race->lock);
    if (race->queued > 0)
        job = race->jobs[--race->queued];
    os_unlock(&race->lock);
    return job;
}

static void race_thread(unsigned index, void *ctx) {
    struct race *race = ctx;

    for (int i = 0; i < 10; i++) {
        mtaio_job *job = race_take(race);
        if (index == 0 && i == 5)
            CHECK(mtaio_executor_close(race->ex) == 0);
        if (job != NULL && i % 2 == 0)
            mtaio_job_run(job);
        else
            mtaio_job_drop(job);
        if (mtaio_executor_post(race->ex, race_run, race_dropped, race) == 0)
            atomic_fetch_add(&race->posted, 1);
    }
    mtaio_executor_unref(race->ex);
}

/* "Any thread, any time": posting, running, dropping, closing and giving back race; each job is run or
 * dropped, once, and destroy runs once. */
static void test_threads(void **state) {
    enum { THREADS = 3 };

    (void)state;
    for (int round = 0; round < 300; round++) {
        struct race race = {.queued = 0};
        mtaio_job *job;
        assert_int_equal(os_mutex_init(&race.lock), 0);
        assert_int_equal(mtaio_executor_new(MTAIO_LOOP(.post = race_post, .is_current = race_is_current,
                                                       .destroy = race_destroy, .ctx = &race),
                                            &race.ex),
                         0);
        for (int i = 1; i < THREADS; i++)
            mtaio_executor_ref(race.ex);
        support_threads(THREADS, race_thread, &race);
        assert_int_equal(atomic_load(&race.destroyed), race.queued == 0);
        while ((job = race_take(&race)) != NULL)
            mtaio_job_run(job);
        assert_int_equal(atomic_load(&race.posted), atomic_load(&race.run) + atomic_load(&race.dropped));
        assert_int_equal(atomic_load(&race.destroyed), 1);
        os_mutex_destroy(&race.lock);
    }
}

static int nothing_left(void **state) {
    (void)state;
    return support_live_blocks() == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_destroy_once, nothing_left),
        cmocka_unit_test_teardown(test_new_fails, nothing_left),
        cmocka_unit_test_teardown(test_new_variants, nothing_left),
        cmocka_unit_test_teardown(test_arguments, nothing_left),
        cmocka_unit_test_teardown(test_post, nothing_left),
        cmocka_unit_test_teardown(test_drop, nothing_left),
        cmocka_unit_test_teardown(test_post_answers, nothing_left),
        cmocka_unit_test_teardown(test_close, nothing_left),
        cmocka_unit_test_teardown(test_job_keeps_loop, nothing_left),
        cmocka_unit_test_teardown(test_dropped_inside_post, nothing_left),
        cmocka_unit_test_teardown(test_is_current, nothing_left),
        cmocka_unit_test_teardown(test_out_of_memory, nothing_left),
        cmocka_unit_test_teardown(test_allocates_nothing, nothing_left),
        cmocka_unit_test_teardown(test_threads, nothing_left),
    };

    support_init();
    return cmocka_run_group_tests_name("executor", tests, NULL, NULL);
}
