/* test_threads.c - emissions in many threads, threads that end or fork at the wrong moment, signals. */
#include "record.h"

#include <semaphore.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- Emissions beside each other -------------------------------------------------------------------------
 */

static sem_t inside, go_on;

static int block_once(mtaio_event *event, void *ctx) {
    (void)ctx;
    if (mtaio_event_data(event) == NULL)
        return 0;
    note("first");
    CHECK(sem_post(&inside) == 0);
    CHECK(sem_wait(&go_on) == 0);
    return 0;
}

static void *emit_blocked(void *em) {
    CHECK(mtaio_emit(em, "x", em) == 2);
    note("over");
    return NULL;
}

/* "Emissions do not wait for each other: a handler that takes its time delays only its own emission, even of
 * the same event." And while it does, everything else goes on too. */
static void test_not_held_up(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor b = {.tag = "b"}, c = {.tag = "c"};
    pthread_t thread;
    OK(mtaio_on(em, "x", block_once, NULL));
    listen(em, "x", &b);
    OK(pthread_create(&thread, NULL, emit_blocked, em));
    OK(sem_wait(&inside));
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    listen(em, "x", &c);
    assert_int_equal(mtaio_emit(em, "x", NULL), 3);
    assert_int_equal(mtaio_off(em, "x", block_once, NULL), 1); /* does not wait for the call */
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    assert_noted("first b b c b c");
    OK(sem_post(&go_on));
    OK(pthread_join(thread, NULL));
    assert_noted("b over");
    mtaio_emitter_unref(em);
}

struct canceller {
    mtaio_listener *listener;
    int result;
};

static void *cancel_and_wait(void *arg) {
    struct canceller *c = arg;
    c->result = mtaio_listener_cancel_wait(c->listener);
    note("waited");
    return NULL;
}

static void note_gone(void *ctx) { note("~%s", (const char *)ctx); }

/* "A waiting form of remove returns only when no call is running." */
static void test_cancel_waits(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct canceller c = {.result = -1};
    struct actor b = {.tag = "b"};
    pthread_t emitting, cancelling;
    OK(mtaio_emitter_on(em, "x", MTAIO_HANDLER(.call = block_once, .destroy = note_gone, .ctx = "ctx"),
                        &c.listener));
    listen(em, "x", &b);
    OK(pthread_create(&emitting, NULL, emit_blocked, em));
    OK(sem_wait(&inside));
    OK(pthread_create(&cancelling, NULL, cancel_and_wait, &c));
    EVENTUALLY(!mtaio_listener_is_active(c.listener)); /* removed; it waits now, or is about to */
    support_sleep_ms(20);                              /* would show one that does not */
    note("go");
    OK(sem_post(&go_on));
    OK(pthread_join(cancelling, NULL));
    OK(pthread_join(emitting, NULL));
    assert_int_equal(c.result, 1);
    assert_non_null(strstr(notes.text, "first go "));
    assert_non_null(strstr(notes.text, "waited"));
    mtaio_reclaim();
    assert_non_null(strstr(notes.text, "~ctx"));
    forget_notes();
    mtaio_listener_unref(c.listener);
    mtaio_emitter_unref(em);
}

/* "A deferred call runs until it is completed": so long the waiting form waits. */
static void test_cancel_waits_for_deferral(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    struct actor w = {.tag = "w", .deferral = &d};
    struct canceller c = {.listener = listen_ref(em, "x", 0, &w), .result = -1};
    pthread_t cancelling;
    emit_later(em, "x");
    OK(pthread_create(&cancelling, NULL, cancel_and_wait, &c));
    EVENTUALLY(!mtaio_listener_is_active(c.listener));
    support_sleep_ms(20);
    note("go");
    complete(&d, 0);
    OK(pthread_join(cancelling, NULL));
    assert_int_equal(c.result, 1);
    mtaio_reclaim();
    assert_int_equal(strncmp(notes.text, "w go ", 5), 0);
    assert_int_equal(w.gone, 1);
    forget_notes();
    mtaio_listener_unref(c.listener);
    mtaio_emitter_unref(em);
}

enum { CROWD = 48 };
struct crowd {
    mtaio_emitter *em;
    struct support_barrier barrier;
};

static int meet(mtaio_event *event, void *arg) {
    struct crowd *crowd = arg;
    (void)event;
    support_barrier_wait(&crowd->barrier);
    support_barrier_wait(&crowd->barrier);
    return 0;
}

static void emit_in_crowd(unsigned index, void *arg) {
    struct crowd *crowd = arg;
    if (index < CROWD) {
        CHECK(mtaio_emit(crowd->em, "x", NULL) == 1);
        return;
    }
    support_barrier_wait(&crowd->barrier); /* all are inside */
    CHECK(mtaio_off(crowd->em, "x", meet, crowd) == 1);
    CHECK(mtaio_reclaim() >= 1);
    support_barrier_wait(&crowd->barrier);
}

/* More threads inside handlers at once than there ever were: each has its place. Hazard 34. */
static void test_crowd(void **state) {
    (void)state;
    struct crowd crowd = {.em = emitter_new()};
    OK(mtaio_on(crowd.em, "x", meet, &crowd));
    support_barrier_init(&crowd.barrier, CROWD + 1);
    support_threads(CROWD + 1, emit_in_crowd, &crowd);
    assert_int_equal(mtaio_reclaim(), 0);
    mtaio_emitter_unref(crowd.em);
    blocks_before = support_live_blocks(); /* places are kept for the next crowd */
}

static void churn(mtaio_emitter *em, int times) {
    struct actor a = {.tag = "a"};
    for (int i = 0; i < times; i++) {
        listen(em, "x", &a);
        listen(em, "y.*", &a);
        assert_int_equal(mtaio_off(em, "x", play, &a), 1);
        assert_int_equal(mtaio_off(em, "y.*", play, &a), 1);
    }
}

/* An emission that stalls holds back what it can reach, not all that is removed meanwhile: as much after
 * 400,000 changes as after 100,000, and nothing of another emitter. Hazard 35. */
static void test_stalled(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *other = emitter_new();
    mtaio_deferral *d = NULL;
    struct actor w = {.tag = "w", .deferral = &d};
    listen(em, "x", &w);
    emit_later(em, "x");
    size_t waiting = mtaio_reclaim();
    churn(other, 20000);
    assert_int_equal(mtaio_reclaim(), waiting);
    churn(em, 100000 / 4);
    waiting = mtaio_reclaim();
    size_t bytes = support_live_bytes();
    churn(em, 300000 / 4);
    assert_in_range(mtaio_reclaim(), 0, waiting + 16);
    assert_in_range(support_live_bytes(), 0, bytes + 4096);
    complete(&d, 0);
    assert_noted("w done:1");
    assert_int_equal(mtaio_reclaim(), 0);
    mtaio_emitter_unref(em);
    mtaio_emitter_unref(other);
}

/* --- Threads that end ------------------------------------------------------------------------------------
 */

static void *emit_and_end(void *em) {
    CHECK(mtaio_emit(em, "x", NULL) == 1);
    return NULL;
}

static int count_call(mtaio_event *event, void *ctx) {
    (void)event;
    atomic_fetch_add((atomic_uint *)ctx, 1);
    return 0;
}

/* 10,000 threads that emit once and end leave nothing behind. Hazard 33. */
static void test_short_lived(void **state) {
    (void)state;
    enum { THREADS = 10000 };
    mtaio_emitter *em = emitter_new();
    atomic_uint calls = 0;
    size_t bytes = 0;
    OK(mtaio_on(em, "x", count_call, &calls));
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_t thread;
        OK(pthread_create(&thread, NULL, emit_and_end, em));
        OK(pthread_join(thread, NULL));
        bytes = i == 0 ? support_live_bytes() : bytes;
    }
    assert_int_equal(atomic_load(&calls), THREADS);
    assert_int_equal(support_live_bytes(), bytes);
    mtaio_emitter_unref(em);
}

static int end_thread(mtaio_event *event, void *ctx) {
    (void)ctx;
    if (mtaio_event_data(event) == NULL)
        return 0;
    note("exit");
    pthread_exit(NULL);
}

static void *emit_and_exit(void *em) {
    mtaio_emit(em, "x", em);
    CHECK(false);
    return NULL;
}

/* A handler that ends its thread ends its emission there: the others are not held up by it, now or later.
 * Hazard 33. */
static void test_exit_inside(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor b = {.tag = "b"};
    pthread_t thread;
    for (int i = 0; i < 20; i++) {
        mtaio_listener *listener = NULL;
        OK(mtaio_emitter_on(em, "x", MTAIO_HANDLER(.call = end_thread, .destroy = note_gone, .ctx = "ctx"),
                            &listener));
        listen(em, "x", &b);
        OK(pthread_create(&thread, NULL, emit_and_exit, em));
        OK(pthread_join(thread, NULL));
        assert_int_equal(mtaio_emit(em, "x", NULL), 2);
        assert_int_equal(mtaio_listener_cancel(listener), 1);
        assert_int_equal(mtaio_off(em, "x", play, &b), 1);
        assert_int_equal(mtaio_reclaim(), 0);
        assert_noted("exit b ~ctx");
        mtaio_listener_unref(listener);
    }
    mtaio_emitter_unref(em);
}

/* --- Fork ------------------------------------------------------------------------------------------------
 */

static atomic_bool stop_emitting;

static void *emit_all_the_time(void *em) {
    while (!atomic_load(&stop_emitting))
        CHECK(mtaio_emit(em, "x", NULL) >= 1);
    return NULL;
}

/* What a child does with an emitter it has inherited; alarm ends one that hangs. */
static void use_in_child(mtaio_emitter *em) {
    atomic_uint calls = 0;
    mtaio_emitter *own = NULL;
    alarm(60);
    int ok = mtaio_emit(em, "x", NULL) >= 1;
    ok &= mtaio_on(em, "y", count_call, &calls) == 0;
    ok &= mtaio_emit(em, "y", NULL) == 1;
    ok &= mtaio_off(em, "y", count_call, &calls) == 1;
    ok &= atomic_load(&calls) == 1;
    ok &= mtaio_emitter_new(NULL, &own) == 0;
    ok &= mtaio_on(own, "*", count_call, &calls) == 0;
    ok &= mtaio_emit(own, "z", NULL) == 1;
    mtaio_emitter_unref(own);
    ok &= mtaio_emitter_remove_all(em, NULL) >= 1;
    ok &= mtaio_reclaim() == 0; /* the emissions of threads that are not in this process hold nothing back */
    _exit(ok ? 0 : 1);
}

static int child_result(pid_t child) {
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

/* fork() while other threads emit: the child, where those are not, emits, registers, removes and frees; the
 * parent notices nothing. Hazard 29. */
static void test_fork(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    atomic_uint calls = 0;
    pthread_t threads[2];
    OK(mtaio_on(em, "x", count_call, &calls));
    atomic_store(&stop_emitting, false);
    for (size_t i = 0; i < COUNT(threads); i++)
        OK(pthread_create(&threads[i], NULL, emit_all_the_time, em));
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            use_in_child(em);
        assert_int_equal(child_result(child), 0);
        assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    }
    atomic_store(&stop_emitting, true);
    for (size_t i = 0; i < COUNT(threads); i++)
        OK(pthread_join(threads[i], NULL));
    assert_int_equal(mtaio_emitter_count(em, NULL), 1);
    mtaio_emitter_unref(em);
}

static int fork_inside(mtaio_event *event, void *ctx) {
    pid_t *child = ctx;
    (void)event;
    *child = fork();
    CHECK(*child >= 0);
    return 0;
}

/* fork() inside a handler: the emission goes on in both. Hazard 30. */
static void test_fork_inside(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    atomic_uint calls = 0;
    pid_t child = 0;
    OK(mtaio_on(em, "x", fork_inside, &child));
    OK(mtaio_on(em, "x", count_call, &calls));
    int r = mtaio_emit(em, "x", NULL);
    if (child == 0) {
        alarm(60);
        bool ok = r == 2 && mtaio_off(em, "x", fork_inside, &child) == 1 && mtaio_emit(em, "x", NULL) == 1;
        mtaio_emitter_unref(em);
        _exit(ok && mtaio_reclaim() == 0 ? 0 : 1);
    }
    assert_int_equal(r, 2);
    assert_int_equal(child_result(child), 0);
    assert_int_equal(atomic_load(&calls), 1);
    mtaio_emitter_unref(em);
}

/* --- Signals ---------------------------------------------------------------------------------------------
 */

static atomic_uint alarms;

static void on_alarm(int signal) {
    (void)signal;
    atomic_fetch_add(&alarms, 1);
}

static void *complete_soon(void *arg) {
    mtaio_deferral *d = arg;
    CHECK(mtaio_deferral_complete(d, 0) == 0);
    mtaio_deferral_unref(d);
    return NULL;
}

static int defer_to_thread(mtaio_event *event, void *ctx) {
    mtaio_deferral *d = NULL;
    (void)ctx;
    CHECK(mtaio_event_defer(event, &d) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, complete_soon, d) == 0);
    CHECK(pthread_detach(thread) == 0);
    return 0;
}

static void set_alarms(suseconds_t every_us) {
    struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART */
    struct itimerval timer = {.it_interval.tv_usec = every_us, .it_value.tv_usec = every_us};
    CHECK(sigemptyset(&action.sa_mask) == 0);
    if (every_us != 0)
        CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    if (every_us == 0)
        CHECK(signal(SIGALRM, SIG_DFL) != SIG_ERR);
}

/* Signals that interrupt every wait change nothing: no wait ends early or with an error. Hazard 31. */
static void test_alarms(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_executor *pool = NULL;
    mtaio_event *event = NULL;
    atomic_uint calls = 0;
    OK(mtaio_pool_new(2, 1, &pool));
    OK(mtaio_emitter_on(em, "x", MTAIO_HANDLER(.call = count_call, .ctx = &calls, .executor = pool), NULL));
    OK(mtaio_on(em, "x", defer_to_thread, NULL));
    set_alarms(100);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(mtaio_emit(em, "x", NULL), 2);
        int64_t start = support_now_ms();
        assert_int_equal(mtaio_emitter_wait(em, "never", NULL, NULL, 1500000, &event), MTAIO_ETIMEDOUT);
        assert_true(support_now_ms() - start >= 1);
    }
    OK(mtaio_executor_close(pool));
    set_alarms(0);
    assert_int_equal(atomic_load(&calls), 300);
    assert_true(atomic_load(&alarms) > 0);
    mtaio_executor_unref(pool);
    mtaio_emitter_unref(em);
    touch(0, NULL); /* deferrals that ended on another thread left some less here to be used again */
    blocks_before = support_live_blocks(); /* the places of the pool's threads */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_not_held_up), TEST(test_cancel_waits), TEST(test_cancel_waits_for_deferral),
        TEST(test_crowd),       TEST(test_stalled),      TEST(test_short_lived),
        TEST(test_exit_inside), TEST(test_fork),         TEST(test_fork_inside),
        TEST(test_alarms),
    };
    warm_up();
    CHECK(sem_init(&inside, 0, 0) == 0 && sem_init(&go_on, 0, 0) == 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
