/* test_elsewhere.c - handlers that an executor runs: a loop turned by hand, and thread pools. */
#include "loops.h"

static mtaio_executor *pool_new(unsigned threads, size_t queue) {
    mtaio_executor *ex = NULL;
    OK(mtaio_pool_new(threads, queue, &ex));
    return ex;
}

static void listen_on(mtaio_emitter *em, const char *pattern, mtaio_executor *ex, struct actor *a) {
    OK(mtaio_emitter_on(em, pattern, MTAIO_HANDLER(.call = play, .ctx = a, .executor = ex, .destroy = gone),
                        NULL));
}

/* "A handler may name an executor that runs it": the emission rests until it has, then goes on from there,
 * where a second handler of the executor is called at once. */
static void test_loop(void **state) {
    (void)state;
    mtaio_executor *ex = loop_new();
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"}, b = {.tag = "b"}, c = {.tag = "c", .result = -3}, d = {.tag = "d"};
    listen(em, "x", &a);
    listen_on(em, "x", ex, &b);
    listen_on(em, "x", ex, &c);
    listen(em, "x", &d);
    emit_later(em, "x");
    assert_noted("a post");
    take_job(mtaio_job_run);
    assert_noted("b c d done:MTAIO_EHANDLER");
    assert_int_equal(loop.count, 0);
    mtaio_emitter_unref(em);
    mtaio_executor_unref(ex);
    mtaio_reclaim();
    forget_notes();
}

/* A handler on an executor may stop the event, and may take a deferral there. */
static void test_loop_defers(void **state) {
    (void)state;
    mtaio_executor *ex = loop_new();
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    struct actor w = {.tag = "w", .deferral = &d}, stop = {.tag = "stop", .stops = true},
                 never = {.tag = "never"};
    listen_on(em, "x", ex, &w);
    listen_on(em, "x", ex, &stop);
    listen_on(em, "x", ex, &never);
    emit_later(em, "x");
    take_job(mtaio_job_run);
    assert_noted("post w");
    complete(&d, 0);
    assert_noted("post");
    take_job(mtaio_job_run);
    assert_noted("stop done:2");
    assert_int_equal(loop.count, 0);
    mtaio_emitter_unref(em);
    mtaio_executor_unref(ex);
    mtaio_reclaim();
    forget_notes();
}

static void note_failure(const mtaio_failure *f, void *ctx) {
    (void)ctx;
    note("%s(%s)", ((struct actor *)f->ctx)->tag, mtaio_error_name(f->status));
}

/* A job that is dropped: its handler has failed with ECANCELED. One that is refused: with what post answered.
 * The others run. */
static void test_loop_drops(void **state) {
    (void)state;
    mtaio_executor *ex = loop_new();
    mtaio_emitter *em = emitter_new();
    mtaio_event *event = event_new("x", NULL);
    struct actor a = {.tag = "a"}, b = {.tag = "b"};
    listen_on(em, "x", ex, &a);
    listen(em, "x", &b);
    OK(mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done, .failure = note_failure)));
    assert_noted("post");
    take_job(mtaio_job_drop);
    assert_noted("a(MTAIO_ECANCELED) b done:MTAIO_EHANDLER");
    loop.refuse = MTAIO_ELIMIT;
    OK(mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done, .failure = note_failure)));
    assert_noted("post a(MTAIO_ELIMIT) b done:MTAIO_EHANDLER");
    loop.refuse = 0;
    OK(mtaio_executor_close(ex));
    OK(mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done, .failure = note_failure)));
    assert_noted("a(MTAIO_ECLOSED) b done:MTAIO_EHANDLER");
    assert_int_equal(a.calls, 0);
    mtaio_event_unref(event);
    mtaio_emitter_unref(em);
    mtaio_executor_unref(ex);
    mtaio_reclaim();
    forget_notes();
}

/* mtaio_emit on the loop's own thread calls the loop's handlers directly instead of waiting for itself. */
static void test_emit_on_loop(void **state) {
    (void)state;
    mtaio_executor *ex = loop_new();
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"}, b = {.tag = "b"};
    loop.current = true;
    listen_on(em, "x", ex, &a);
    listen(em, "x", &b);
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    assert_noted("a b");
    assert_int_equal(loop.count, 0);
    mtaio_emitter_unref(em);
    mtaio_executor_unref(ex);
    mtaio_reclaim();
    forget_notes();
}

/* One removed while its job is queued is not called; its context lives until the job is over. Hazard 14. */
static void test_removed_while_queued(void **state) {
    (void)state;
    mtaio_executor *ex = loop_new();
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"}, b = {.tag = "b"};
    listen_on(em, "x", ex, &a);
    listen(em, "x", &b);
    emit_later(em, "x");
    assert_noted("post");
    assert_int_equal(mtaio_off(em, "x", play, &a), 1);
    mtaio_reclaim();
    assert_noted("");
    take_job(mtaio_job_run);
    mtaio_reclaim();
    assert_int_equal(a.calls, 0);
    assert_int_equal(a.gone, 1);
    assert_int_equal(strncmp(notes.text, "b ", 2), 0);
    assert_non_null(strstr(notes.text, "done:1"));
    forget_notes();
    mtaio_emitter_unref(em);
    mtaio_executor_unref(ex);
}

/* The emitter is closed while a job is queued: the emission is over, and the job, when it is run or dropped,
 * does nothing. */
static void test_closed_while_queued(void **state) {
    (void)state;
    for (int way = 0; way < 2; way++) {
        mtaio_executor *ex = loop_new();
        mtaio_emitter *em = emitter_new();
        struct actor a = {.tag = "a"};
        listen_on(em, "x", ex, &a);
        emit_later(em, "x");
        assert_noted("post");
        OK(mtaio_emitter_close(em));
        take_job(way == 0 ? mtaio_job_run : mtaio_job_drop);
        mtaio_emitter_unref(em);
        mtaio_executor_unref(ex);
        mtaio_reclaim();
        assert_int_equal(a.calls, 0);
        assert_int_equal(a.gone, 1);
        assert_non_null(strstr(notes.text, "done:MTAIO_ECLOSED"));
        forget_notes();
    }
}

/* A registration keeps its executor alive, and says in the listener walk which it is. */
static int see_executor(const mtaio_listener_info *info, void *ctx) {
    assert_ptr_equal(info->executor, ctx);
    return 1;
}

static void note_loop_gone(void *ctx) { note("~%s", (const char *)ctx); }

static void test_keeps_executor(void **state) {
    (void)state;
    mtaio_executor *ex = NULL;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"};
    loop = (struct loop){0};
    OK(mtaio_executor_new(
        MTAIO_LOOP(.post = post, .is_current = is_current, .destroy = note_loop_gone, .ctx = "loop"), &ex));
    listen_on(em, "x", ex, &a);
    assert_int_equal(mtaio_emitter_each_listener(em, "x", see_executor, ex), 1);
    mtaio_executor_unref(ex);
    emit_later(em, "x");
    take_job(mtaio_job_run);
    assert_noted("post a done:1");
    assert_int_equal(mtaio_emitter_remove_all(em, NULL), 1);
    mtaio_reclaim();
    assert_int_equal(strlen(notes.text), strlen("~a ~loop"));
    forget_notes();
    mtaio_emitter_unref(em);
}

/* --- Pools -----------------------------------------------------------------------------------------------
 */

static int note_where(mtaio_event *event, struct actor *self) {
    (void)event;
    note("%s", mtaio_executor_is_current(self->more) ? "there" : "here");
    return self->result;
}

/* mtaio_emit waits for the handlers on a pool: order and results are those of any emission. */
static void test_pool(void **state) {
    (void)state;
    mtaio_executor *pool = pool_new(2, 0);
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = note_where, .more = pool}, b = a, c = a, m = a;
    b.tag = "b", c.tag = "c", m.tag = "m";
    listen_on(em, "x", pool, &a);
    listen(em, "x", &b);
    OK(mtaio_emitter_on(
        em, "x", MTAIO_HANDLER(.call = play, .ctx = &m, .executor = pool, .priority = MTAIO_MONITOR), NULL));
    listen_on(em, "*", pool, &c);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(mtaio_emit(em, "x", NULL), 4);
        assert_int_equal(strncmp(notes.text, "a there b ", 10), 0);
        assert_non_null(strstr(notes.text, "e c there m there"));
        forget_notes();
    }
    c.result = -1;
    assert_int_equal(mtaio_emit(em, "x", NULL), MTAIO_EHANDLER);
    forget_notes();
    mtaio_emitter_unref(em);
    mtaio_executor_unref(pool);
    mtaio_reclaim();
    forget_notes();
}

static int emit_deeper(mtaio_event *event, void *ctx) {
    int *left = mtaio_event_data(event);
    if (--*left <= 0)
        return 0;
    int r = mtaio_emit(ctx, "x", left);
    return r < 0 ? r : 0;
}

/* "mtaio_emit on a thread whose executor would have to run the handler must work, never a deadlock": a
 * handler on a pool of one thread emits to the same pool, nested, also through a full queue. */
static void test_pool_in_pool(void **state) {
    (void)state;
    mtaio_executor *pool = pool_new(1, 1);
    mtaio_emitter *em = emitter_new();
    int left = 20;
    OK(mtaio_emitter_on(em, "x", MTAIO_HANDLER(.call = emit_deeper, .ctx = em, .executor = pool), NULL));
    assert_int_equal(mtaio_emit(em, "x", &left), 1);
    assert_int_equal(left, 0);
    mtaio_emitter_unref(em);
    mtaio_executor_unref(pool);
}

struct crowd {
    mtaio_emitter *em;
    atomic_uint calls;
};

static int count_one(mtaio_event *event, void *ctx) {
    (void)event;
    atomic_fetch_add(&((struct crowd *)ctx)->calls, 1);
    return 0;
}

enum { EMITTERS = 4, ROUNDS = 500 };

static void emit_rounds(unsigned index, void *ctx) {
    struct crowd *crowd = ctx;
    (void)index;
    for (int i = 0; i < ROUNDS; i++)
        CHECK(mtaio_emit(crowd->em, "x", NULL) == 3);
}

/* Threads emitting to one small pool with a short queue at once: every handler is called as often as it
 * should. */
static void test_pool_crowd(void **state) {
    (void)state;
    mtaio_executor *pool = pool_new(2, 2);
    struct crowd crowd = {.em = emitter_new()};
    const mtaio_handler *there = MTAIO_HANDLER(.call = count_one, .ctx = &crowd, .executor = pool);
    OK(mtaio_emitter_on(crowd.em, "x", there, NULL));
    OK(mtaio_on(crowd.em, "x", count_one, &crowd));
    OK(mtaio_emitter_on(crowd.em, "*", there, NULL));
    support_threads(EMITTERS, emit_rounds, &crowd);
    assert_int_equal(atomic_load(&crowd.calls), 3 * EMITTERS * ROUNDS);
    mtaio_emitter_unref(crowd.em);
    mtaio_executor_unref(pool);
}

static void count_done(int result, const mtaio_report *report, void *ctx) {
    CHECK(result == 1 && report->called == 1);
    atomic_fetch_add((atomic_uint *)ctx, 1);
}

/* Closing a pool does what is queued: every asynchronous emission is told its end. Afterwards a handler there
 * has failed with ECLOSED. */
static void test_pool_shutdown(void **state) {
    (void)state;
    enum { N = 200 };
    mtaio_executor *pool = pool_new(1, N);
    struct crowd crowd = {.em = emitter_new()};
    atomic_uint done = 0;
    mtaio_report report = MTAIO_REPORT();
    OK(mtaio_emitter_on(crowd.em, "x", MTAIO_HANDLER(.call = count_one, .ctx = &crowd, .executor = pool),
                        NULL));
    mtaio_event *event = event_new("x", NULL);
    for (int i = 0; i < N; i++)
        OK(mtaio_emit_async(crowd.em, event, MTAIO_ASYNC(.done = count_done, .ctx = &done)));
    OK(mtaio_executor_close(pool));
    assert_int_equal(atomic_load(&done), N);
    assert_int_equal(atomic_load(&crowd.calls), N);
    assert_int_equal(mtaio_emit_with(crowd.em, MTAIO_EMISSION(.name = "x", .report = &report)),
                     MTAIO_EHANDLER);
    assert_int_equal(report.first_error, MTAIO_ECLOSED);
    mtaio_event_unref(event);
    mtaio_emitter_unref(crowd.em);
    mtaio_executor_unref(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_loop),
        TEST(test_loop_defers),
        TEST(test_loop_drops),
        TEST(test_emit_on_loop),
        TEST(test_removed_while_queued),
        TEST(test_closed_while_queued),
        TEST(test_keeps_executor),
        TEST(test_pool),
        TEST(test_pool_in_pool),
        TEST(test_pool_crowd),
        TEST(test_pool_shutdown),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
