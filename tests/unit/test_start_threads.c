/* test_start_threads.c - mtaio_emit_start where threads meet: who completes, closes, removes, ends or forks
 * while the emission, which began under its thread's pin, rests under one of its own. */
#include "loops.h"

#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

static int start(mtaio_emitter *em, const char *name) {
    return mtaio_emit_start(em, MTAIO_EMISSION(.name = name), note_done);
}

/* --- Completing --------------------------------------------------------------------------------------------
 */

static void *complete_there(void *d) {
    CHECK(mtaio_deferral_complete(d, 0) == 0);
    return NULL;
}

static int defer_and_join(mtaio_event *event, void *ctx) {
    mtaio_deferral *d = NULL;
    pthread_t thread;
    (void)ctx;
    CHECK(mtaio_event_defer(event, &d) == 0);
    CHECK(pthread_create(&thread, NULL, complete_there, d) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    mtaio_deferral_unref(d);
    return 0;
}

/* Completed by another thread before the handler has returned: no waiting, the emission goes on here. */
static void test_completed_elsewhere(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor b = {.tag = "b"};
    OK(mtaio_on(em, "x", defer_and_join, NULL));
    listen(em, "x", &b);
    assert_int_equal(start(em, "x"), 2);
    assert_noted("b");
    mtaio_emitter_unref(em);
}

enum { ROUNDS = 2000 };
static struct race {
    mtaio_emitter *em;
    _Atomic(mtaio_deferral *) deferral;
    atomic_int calls, done;
    int rested, over;
} race;

static int defer_to_other(mtaio_event *event, void *ctx) {
    mtaio_deferral *d = NULL;
    (void)ctx;
    CHECK(mtaio_event_defer(event, &d) == 0);
    while (atomic_load(&race.deferral) != NULL)
        sched_yield(); /* the last one is completed just now */
    atomic_store(&race.deferral, d);
    return 0;
}

static int count_call(mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    atomic_fetch_add(&race.calls, 1);
    return 0;
}

static void count_done(int result, const mtaio_report *report, void *ctx) {
    (void)ctx;
    CHECK(result == 2 && report->called == 2);
    atomic_fetch_add(&race.done, 1);
}

static void run_race(unsigned index, void *ctx) {
    (void)ctx;
    for (int i = 0; i < ROUNDS; i++) {
        if (index == 0) {
            int r = mtaio_emit_start(race.em, MTAIO_EMISSION(.name = "x"), count_done);
            CHECK(r == 2 || r == MTAIO_EINPROGRESS);
            if (r == 2)
                race.over++;
            else
                race.rested++;
        } else {
            mtaio_deferral *d;
            while (!(d = atomic_exchange(&race.deferral, NULL)))
                sched_yield();
            CHECK(mtaio_deferral_complete(d, 0) == 0);
            mtaio_deferral_unref(d);
        }
    }
}

/* The other thread completes just as the handler returns: either the call has the result or done, never both,
 * never none. */
static void test_race(void **state) {
    (void)state;
    race = (struct race){.em = emitter_new()};
    OK(mtaio_on(race.em, "x", defer_to_other, NULL));
    OK(mtaio_on(race.em, "x", count_call, NULL));
    support_threads(2, run_race, NULL);
    assert_int_equal(race.over + race.rested, ROUNDS);
    assert_int_equal(atomic_load(&race.done), race.rested);
    assert_int_equal(atomic_load(&race.calls), ROUNDS);
    mtaio_emitter_unref(race.em);
}

/* A handler on a loop, and one on a pool's threads. */
static void test_executors(void **state) {
    (void)state;
    mtaio_executor *ex = loop_new(), *pool = NULL;
    mtaio_emitter *em = emitter_new();
    atomic_int calls = 0;
    race = (struct race){0};
    struct actor a = {.tag = "a"}, b = {.tag = "b"};
    OK(mtaio_emitter_on(em, "x", MTAIO_HANDLER(.call = play, .ctx = &a, .executor = ex), NULL));
    listen(em, "x", &b);
    assert_int_equal(start(em, "x"), MTAIO_EINPROGRESS);
    assert_noted("post");
    take_job(mtaio_job_run);
    assert_noted("a b done:2");
    loop.current = true;
    assert_int_equal(start(em, "x"), 2);
    assert_noted("a b");
    OK(mtaio_pool_new(2, 0, &pool));
    OK(mtaio_emitter_on(em, "y", MTAIO_HANDLER(.call = count_call, .ctx = &calls, .executor = pool), NULL));
    OK(mtaio_emitter_on(em, "y", MTAIO_HANDLER(.call = count_call, .ctx = &calls, .executor = pool), NULL));
    for (int i = 0; i < 1000; i++) {
        int r = mtaio_emit_start(em, MTAIO_EMISSION(.name = "y"), count_done);
        CHECK(r == 2 || r == MTAIO_EINPROGRESS);
        race.rested += r == MTAIO_EINPROGRESS;
    }
    OK(mtaio_executor_close(pool));
    assert_int_equal(atomic_load(&race.done), race.rested);
    assert_int_equal(atomic_load(&race.calls), 2000);
    mtaio_executor_unref(pool);
    mtaio_emitter_unref(em);
    mtaio_executor_unref(ex);
    mtaio_reclaim();
    touch(0, NULL);
    blocks_before = support_live_blocks(); /* the places of the pool's threads */
}

/* --- Closing and removing ----------------------------------------------------------------------------------
 */

/* "Closing ends what rests with ECLOSED; to complete its deferral then answers that." */
static void test_close(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    struct actor w = {.tag = "w", .deferral = &d}, b = {.tag = "b"};
    listen(em, "x", &w);
    listen(em, "x", &b);
    assert_int_equal(start(em, "x"), MTAIO_EINPROGRESS);
    OK(mtaio_emitter_close(em));
    assert_noted("w done:MTAIO_ECLOSED");
    assert_int_equal(mtaio_deferral_complete(d, 0), MTAIO_ECLOSED);
    mtaio_deferral_unref(d);
    mtaio_emitter_unref(em);
}

static int drop_emitter(mtaio_event *event, struct actor *self) {
    (void)event;
    mtaio_emitter_unref(self->em);
    return 0;
}

static int drop_and_defer(mtaio_event *event, struct actor *self) {
    mtaio_emitter_unref(self->em);
    CHECK(mtaio_event_defer(event, (mtaio_deferral **)self->more) == 0);
    return 0;
}

/* The handler drops the emitter's last reference: before it defers, the emission ends with ECLOSED;
 * afterwards, too late for that, the emission keeps the emitter until it is over. Hazard 6. */
static void test_last_reference(void **state) {
    (void)state;
    mtaio_deferral *d = NULL;
    struct actor b = {.tag = "b"}, w = {.tag = "w", .em = emitter_new(), .act = drop_and_defer, .more = &d};
    listen(w.em, "x", &w);
    listen(w.em, "x", &b);
    assert_int_equal(start(w.em, "x"), MTAIO_ECLOSED);
    assert_int_equal(mtaio_deferral_complete(d, 0), MTAIO_ECLOSED);
    mtaio_deferral_unref(d);
    assert_noted("w");
    w = (struct actor){.tag = "w", .em = emitter_new(), .act = drop_emitter, .deferral = &d};
    listen(w.em, "x", &w);
    listen(w.em, "x", &b);
    assert_int_equal(start(w.em, "x"), MTAIO_EINPROGRESS);
    complete(&d, 0);
    assert_noted("w b done:2");
}

/* A removed handler that has deferred: its context lives until the deferral is completed, and nothing that
 * was registered later waits for it. "An emission that rests for hours holds back only what was there while
 * it began." */
static void test_removed_while_resting(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    struct actor w = {.tag = "w", .deferral = &d}, b = {.tag = "b"}, young = {.tag = "young"};
    mtaio_listener *first = listen_ref(em, "x", 0, &w), *second = listen_ref(em, "x", 0, &b), *third;
    assert_int_equal(start(em, "x"), MTAIO_EINPROGRESS);
    assert_int_equal(mtaio_listener_cancel(first), 1);
    assert_int_equal(mtaio_listener_cancel_wait(second), 1); /* not being called: its context may end */
    assert_noted("w ~b");
    for (int i = 0; i < 3000; i++) {
        third = listen_ref(em, "x", 0, &young);
        assert_int_equal(mtaio_listener_cancel(third), 1);
        mtaio_listener_unref(third);
    }
    assert_true(mtaio_reclaim() < 2000);
    assert_int_equal(w.gone, 0);
    forget_notes();
    complete(&d, 0);
    assert_int_equal(w.gone, 1);
    assert_int_equal(mtaio_reclaim(), 0);
    assert_int_equal(young.gone, 3000);
    forget_notes();
    mtaio_listener_unref(first);
    mtaio_listener_unref(second);
    mtaio_emitter_unref(em);
}

static int defer_and_cancel_wait(mtaio_event *event, struct actor *self) {
    if (self->deferral == NULL) CHECK(mtaio_event_defer(event, (mtaio_deferral **)self->more) == 0);
    note("%d", mtaio_listener_cancel_wait(self->listener));
    if (self->deferral == NULL) CHECK(mtaio_deferral_complete(*(mtaio_deferral **)self->more, 0) == 0);
    return 0;
}

/* "The waiting form of remove called from within the handler does not wait for itself", after it has deferred
 * neither; and the next handler, under the emission's own pin now, can be waited for from itself as well. */
static void test_cancel_wait_inside(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL, *unused = NULL;
    struct actor a = {.tag = "a", .act = defer_and_cancel_wait, .more = &d};
    struct actor b = {.tag = "b", .act = defer_and_cancel_wait, .deferral = &unused};
    a.listener = listen_ref(em, "x", 0, &a);
    b.listener = listen_ref(em, "x", 0, &b);
    assert_int_equal(start(em, "x"), MTAIO_EINPROGRESS);
    assert_noted("a 1 b ~a 1");
    mtaio_deferral_unref(d);
    complete(&unused, 0);
    mtaio_reclaim();
    assert_noted("~b done:2");
    mtaio_listener_unref(a.listener);
    mtaio_listener_unref(b.listener);
    mtaio_emitter_unref(em);
}

/* --- The end of a thread -----------------------------------------------------------------------------------
 */

static int end_thread(mtaio_event *event, void *ctx) {
    if (mtaio_event_data(event) == NULL) return 0;
    if (ctx != NULL) CHECK(mtaio_event_defer(event, ctx) == 0);
    pthread_exit(NULL);
}

static int end_thread_completed(mtaio_event *event, void *ctx) {
    CHECK(mtaio_event_defer(event, ctx) == 0);
    CHECK(mtaio_deferral_complete(*(mtaio_deferral **)ctx, 0) == 0);
    pthread_exit(NULL);
}

static void *start_and_exit(void *em) {
    mtaio_emit_start(em, MTAIO_EMISSION(.name = "x", .data = em), note_done);
    CHECK(false);
    return NULL;
}

static void unref_event(void *event) { mtaio_event_unref(event); }

static void *async_and_exit(void *em) {
    mtaio_event *event = NULL;
    CHECK(mtaio_event_new("x", em, NULL, &event) == 0);
    pthread_cleanup_push(unref_event, event);
    mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done));
    CHECK(false);
    pthread_cleanup_pop(0);
    return NULL;
}

static void run_thread(void *(*run)(void *arg), void *arg) {
    pthread_t thread;
    OK(pthread_create(&thread, NULL, run, arg));
    OK(pthread_join(thread, NULL));
}

static int pass(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 1;
}

static void note_ended(void *ctx) {
    (void)ctx;
    note("~");
}

/* "A thread may end inside a handler: its emission ends there, and holds back nothing", behind a filter and a
 * pipe neither, and no memory is left. Hazard 33. */
static void test_exit_inside(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *filtered = NULL, *piped = emitter_new();
    OK(mtaio_emitter_filter(em, NULL, MTAIO_FILTER(.call = pass), &filtered));
    OK(mtaio_emitter_pipe(filtered, NULL, piped, NULL));
    mtaio_emitter *const where[] = {em, filtered, piped};
    for (unsigned i = 0; i < 18; i++) {
        mtaio_listener *listener = NULL;
        OK(mtaio_emitter_on(where[i % 3], "x", MTAIO_HANDLER(.call = end_thread, .destroy = note_ended),
                            &listener));
        run_thread(i % 2 == 0 ? start_and_exit : async_and_exit, em);
        assert_noted("");
        assert_int_equal(mtaio_listener_cancel(listener), 1);
        mtaio_reclaim();
        assert_noted("~");
        mtaio_listener_unref(listener);
        assert_int_equal(mtaio_reclaim(), 0);
    }
    mtaio_emitter_unref(filtered);
    mtaio_emitter_unref(piped);
    mtaio_emitter_unref(em);
}

/* One that has taken a deferral has finished when that is completed, before the thread ends or after: the
 * others are called, and done. */
static void test_exit_deferred(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    struct actor b = {.tag = "b"};
    OK(mtaio_on(em, "x", end_thread, &d));
    listen(em, "x", &b);
    run_thread(start_and_exit, em);
    assert_noted("");
    complete(&d, 0);
    assert_noted("b done:2");
    assert_int_equal(mtaio_off(em, "x", end_thread, &d), 1);
    OK(mtaio_emitter_on(
        em, "x", MTAIO_HANDLER(.call = end_thread_completed, .ctx = &d, .priority = MTAIO_HIGH), NULL));
    run_thread(start_and_exit, em);
    assert_noted("b done:2");
    mtaio_deferral_unref(d);
    mtaio_emitter_unref(em);
    touch(0, NULL);
    blocks_before = support_live_blocks(); /* one more place for a thread: it went on while it ended */
}

static void *start_three_deep(void *em) {
    touch(0, NULL);
    CHECK(mtaio_emit_start(em, MTAIO_EMISSION(.name = "x"), note_done) == 0);
    return NULL;
}

/* What a thread keeps for its next emissions goes with it. */
static void test_many_threads(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    size_t before = support_live_blocks();
    for (int i = 0; i < 300; i++) run_thread(start_three_deep, em);
    assert_int_equal(support_live_blocks(), before);
    mtaio_emitter_unref(em);
}

/* --- Fork --------------------------------------------------------------------------------------------------
 */

static int defer_and_fork(mtaio_event *event, void *ctx) {
    CHECK(mtaio_event_defer(event, ctx) == 0);
    return (int)fork();
}

/* fork() inside a handler that has deferred: parent and child go on each for itself. Hazard 30. */
static void test_fork_inside(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    struct actor b = {.tag = "b"};
    int status = 0;
    OK(mtaio_on(em, "x", defer_and_fork, &d));
    listen(em, "x", &b);
    pid_t self = getpid();
    int r = start(em, "x");
    bool ok = r == MTAIO_EINPROGRESS && mtaio_deferral_complete(d, 0) == 0 &&
              strcmp(notes.text, "b done:2") == 0 && mtaio_off(em, "x", defer_and_fork, &d) == 1 &&
              mtaio_reclaim() == 0;
    if (getpid() != self) _exit(ok && start(em, "x") == 1 ? 0 : 1);
    assert_true(ok);
    assert_true(wait(&status) > 0);
    assert_int_equal(status, 0);
    forget_notes();
    mtaio_deferral_unref(d);
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_completed_elsewhere), TEST(test_race),
        TEST(test_executors),           TEST(test_close),
        TEST(test_last_reference),      TEST(test_removed_while_resting),
        TEST(test_cancel_wait_inside),  TEST(test_exit_inside),
        TEST(test_exit_deferred),       TEST(test_many_threads),
        TEST(test_fork_inside),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
