/* test_pool_end.c - closing pools and giving them back, from anywhere, while they work. */
#include "pools.h"

/* --- Closing and giving back --------------------------------------------------------------------------- */

/* "does what is queued, and its threads end; returns when they have"; "Twice is no error." */
static void test_close_finishes_work(void **state) {
    mtaio_executor *ex = new_pool(2, 0);
    atomic_int ran = 0;

    (void)state;
    for (int i = 0; i < 200; i++)
        post(ex, count, &ran);
    assert_int_equal(mtaio_executor_close(ex), 0);
    assert_int_equal(atomic_load(&ran), 200);
    assert_int_equal(mtaio_executor_close(ex), 0);
    assert_int_equal(mtaio_executor_post(ex, never, never, NULL), MTAIO_ECLOSED);
    mtaio_executor_unref(ex);
}

/* "The last reference closes a pool": not the one before. */
static void test_last_reference_closes(void **state) {
    mtaio_executor *ex = new_pool(2, 0);
    atomic_int ran = 0;

    (void)state;
    assert_ptr_equal(mtaio_executor_ref(ex), ex);
    assert_null(mtaio_executor_unref(ex));
    for (int i = 0; i < 100; i++)
        post(ex, count, &ran);
    assert_null(mtaio_executor_unref(ex));
    assert_int_equal(atomic_load(&ran), 100);
}

struct drop {
    mtaio_executor *ex;
    struct gate before, after;
    atomic_bool over;
    bool close_first;
};

static void drop_inside(void *arg) {
    struct drop *d = arg;

    pass_gate(&d->before);
    if (d->close_first)
        CHECK(mtaio_executor_close(d->ex) == 0);
    mtaio_executor_unref(d->ex);
    pass_gate(&d->after);
    atomic_store(&d->over, true);
}

/* "from a pool's thread ... it closes behind itself": the last reference goes inside of a job; what is
 * queued still runs, and the last thread to leave frees everything. */
static void test_dropped_on_own_thread(void **state) {
    size_t live = support_live_blocks();

    (void)state;
    for (unsigned threads = 1; threads <= 3; threads++)
        for (int closed = 0; closed <= 1; closed++) {
            struct drop d = {.ex = new_pool(threads, 0), .close_first = closed};
            atomic_int ran = 0;
            post(d.ex, drop_inside, &d);
            for (int i = 0; i < 20; i++)
                post(d.ex, count, &ran);
            atomic_store(&d.before.open, true);
            EVENTUALLY(atomic_load(&d.after.entered) == 1);
            atomic_store(&d.after.open, true);
            EVENTUALLY(support_live_blocks() == live);
            assert_int_equal(atomic_load(&ran), 20);
        }
}

/* The same on another pool's thread, while its own work, before, and when its threads have ended already. */
static void test_dropped_on_other_pool(void **state) {
    mtaio_executor *other = new_pool(1, 0);
    size_t live = support_live_blocks();

    (void)state;
    for (int way = 0; way < 3; way++) {
        struct drop d = {
            .ex = new_pool(2, 0), .before.open = true, .after.open = true, .close_first = way == 1};
        struct gate gate = {.open = way != 0};
        atomic_int ran = 0;
        post(d.ex, pass_gate, &gate);
        post(d.ex, count, &ran);
        if (way == 2)
            mtaio_executor_close(d.ex);
        post(other, drop_inside, &d);
        EVENTUALLY(atomic_load(&d.over)); /* it does not wait for the closed gate */
        atomic_store(&gate.open, true);
        EVENTUALLY(support_live_blocks() == live);
        assert_int_equal(atomic_load(&ran), 1);
    }
    mtaio_executor_unref(other);
}

struct mutual {
    mtaio_executor *mine, *others;
    struct mutual *other;
    struct support_barrier *barrier;
    atomic_int done;
};

static void close_other(void *arg) {
    struct mutual *m = arg;

    support_barrier_wait(m->barrier);
    CHECK(mtaio_executor_close(m->others) == 0);
    CHECK(mtaio_executor_post(m->others, never, never, NULL) == MTAIO_ECLOSED);
    mtaio_executor_unref(m->others);
    atomic_fetch_add(&m->done, 1);
}

/* "two pools could wait for each other's end": each closes and drops the other from its own thread. */
static void test_pools_close_each_other(void **state) {
    (void)state;
    for (int round = 0; round < 50; round++) {
        struct support_barrier barrier;
        struct mutual a = {.mine = new_pool(1, 0), .barrier = &barrier};
        struct mutual b = {.mine = new_pool(1, 0), .barrier = &barrier};
        support_barrier_init(&barrier, 2);
        a.others = b.mine;
        b.others = a.mine;
        post(a.mine, close_other, &a);
        post(b.mine, close_other, &b);
        EVENTUALLY(atomic_load(&a.done) + atomic_load(&b.done) == 2);
        EVENTUALLY(support_live_blocks() == 0);
    }
}

/* --- Threads against each other ------------------------------------------------------------------------ */

struct race {
    mtaio_executor *ex;
    atomic_int accepted, ran, closers;
    unsigned posters;
};

static void race_thread(unsigned index, void *ctx) {
    struct race *race = ctx;

    if (index < race->posters) {
        int r = 0;
        for (int i = 0; i < 50 && r == 0; i++) {
            r = mtaio_executor_post(race->ex, count, never, &race->ran);
            CHECK(r == 0 || r == MTAIO_ECLOSED);
            if (r == 0)
                atomic_fetch_add(&race->accepted, 1);
        }
    } else {
        CHECK(mtaio_executor_close(race->ex) == 0);
        /* "returns when they have", each of them: whatever was taken has run */
        CHECK(atomic_load(&race->ran) >= atomic_load(&race->accepted));
    }
    mtaio_executor_unref(race->ex);
}

static void run_race(unsigned rounds, unsigned threads, size_t queue, unsigned posters, unsigned closers) {
    for (unsigned round = 0; round < rounds; round++) {
        struct race race = {.ex = new_pool(threads, queue), .posters = posters};
        for (unsigned i = 1; i < posters + closers; i++)
            mtaio_executor_ref(race.ex);
        support_threads(posters + closers, race_thread, &race);
        assert_int_equal(atomic_load(&race.ran), atomic_load(&race.accepted));
        assert_int_equal(support_live_blocks(), 0);
    }
}

/* Posting from many threads against closing from several: every job that was taken runs, once; every other
 * was refused. */
static void test_post_against_close(void **state) {
    (void)state;
    run_race(100, 2, 0, 3, 1);
    run_race(100, 1, 1, 3, 2);
    run_race(100, 3, 2, 2, 3);
}

/* Nobody closes: the last reference does, on whichever thread. */
static void test_post_against_unref(void **state) {
    (void)state;
    run_race(100, 2, 1, 4, 0);
}

/* Several threads close at once; each returns when the threads have ended. */
static void test_close_against_close(void **state) {
    (void)state;
    run_race(100, 3, 0, 0, 4);
}

static void drop_reference(void *arg) { mtaio_executor_unref(arg); }

/* "drop whatever called it": the only reference is the job's, which may be over before post returns. */
static void test_job_drops_pool_while_posting(void **state) {
    (void)state;
    for (unsigned round = 0; round < 300; round++) {
        mtaio_executor *ex = new_pool(1 + round % 2, 1);
        post(ex, drop_reference, ex);
    }
    EVENTUALLY(support_live_blocks() == 0);
}

static void make_and_drop(void *arg) {
    mtaio_executor *ex = new_pool(2, 0);

    post(ex, count, arg);
    mtaio_executor_unref(ex);
}

/* A pool made, used and dropped inside a job of another one. */
static void test_pool_in_pool(void **state) {
    mtaio_executor *ex = new_pool(2, 0);
    atomic_int ran = 0;

    (void)state;
    for (int i = 0; i < 50; i++)
        post(ex, make_and_drop, &ran);
    mtaio_executor_unref(ex);
    EVENTUALLY(support_live_blocks() == 0);
    assert_int_equal(atomic_load(&ran), 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_close_finishes_work, nothing_left),
        cmocka_unit_test_teardown(test_last_reference_closes, nothing_left),
        cmocka_unit_test_teardown(test_dropped_on_own_thread, nothing_left),
        cmocka_unit_test_teardown(test_dropped_on_other_pool, nothing_left),
        cmocka_unit_test_teardown(test_pools_close_each_other, nothing_left),
        cmocka_unit_test_teardown(test_post_against_close, nothing_left),
        cmocka_unit_test_teardown(test_post_against_unref, nothing_left),
        cmocka_unit_test_teardown(test_close_against_close, nothing_left),
        cmocka_unit_test_teardown(test_job_drops_pool_while_posting, nothing_left),
        cmocka_unit_test_teardown(test_pool_in_pool, nothing_left),
    };

    support_init();
    return cmocka_run_group_tests_name("pool end", tests, NULL, NULL);
}
