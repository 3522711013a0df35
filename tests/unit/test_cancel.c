/* test_cancel.c - mtaio_event_cancel: a handler ends the whole emission at once. */
#include "loops.h"

static int cancel(mtaio_event *event, struct actor *self) {
    CHECK(mtaio_event_cancel(event) == 0);
    return self->result;
}

static void wait_after(const mtaio_event *event, const mtaio_report *report, int64_t ns, void *ctx) {
    (void)ns;
    note("%s>%s(%u,%u,%d)", (char *)ctx, mtaio_event_name(event), report->called, report->failed,
         report->first_error);
}

static void after(mtaio_emitter *em, char *tag) {
    OK(mtaio_emitter_hook(em, MTAIO_HOOK(.after = wait_after, .ctx = tag), NULL));
}

static int pass(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 1;
}

static int same(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    (void)event;
    (void)mapped;
    (void)ctx;
    return 0;
}

static int start(mtaio_emitter *em, const char *name) {
    return mtaio_emit_start(em, MTAIO_EMISSION(.name = name), note_done);
}

/* --- "No further handler is called, monitors neither, and what emitted it is told ECANCELED" ---------------
 */

/* By every way to emit; a second call in the same handler changes nothing. */
static void test_every_way(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_name *name = NULL;
    mtaio_event *event = event_new("x", NULL);
    struct actor a = {.tag = "a"}, c = {.tag = "c", .act = cancel}, b = {.tag = "b"}, m = {.tag = "m"};
    OK(mtaio_emitter_resolve(em, "x", &name));
    listen(em, "x", &a);
    listen(em, "*", &c);
    listen(em, "x", &c);
    listen(em, "x", &b);
    listen_at(em, "x", MTAIO_LOW, &b);
    listen_at(em, "x", MTAIO_MONITOR, &m);
    assert_int_equal(mtaio_emit(em, "x", NULL), MTAIO_ECANCELED);
    assert_int_equal(mtaio_emit_name(name, NULL), MTAIO_ECANCELED);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.event = event)), MTAIO_ECANCELED);
    assert_int_equal(mtaio_event_set_change(event, MTAIO_UPDATE), MTAIO_EBUSY); /* it has been emitted */
    assert_int_equal(start(em, "x"), MTAIO_ECANCELED);
    emit_later(em, "x");
    OK(mtaio_emit_nowait(em, event)); /* on purpose, so nobody is troubled with it */
    assert_noted("a c a c a c a c a c done:MTAIO_ECANCELED a c");
    assert_int_equal(mtaio_emit(em, "other", NULL), MTAIO_ECANCELED);
    assert_noted("c");
    mtaio_event_unref(event);
    mtaio_name_unref(name);
    mtaio_emitter_unref(em);
}

/* The handler's own call counts; what it answers after that does not, but what failed before does. */
static void test_report(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_report report = MTAIO_REPORT();
    struct actor bad = {.tag = "bad", .result = -1}, c = {.tag = "c", .act = cancel, .result = -2};
    struct actor b = {.tag = "b"};
    after(em, "H");
    listen(em, "x", &bad);
    listen(em, "x", &c);
    listen(em, "x", &b);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = "x", .report = &report)), MTAIO_ECANCELED);
    assert_noted("bad c H>x(2,1,-1)");
    assert_int_equal(report.called, 2);
    assert_int_equal(report.failed, 1);
    assert_int_equal(report.first_error, -1);
    assert_false(report.stopped);
    mtaio_emitter_unref(em);
}

/* A monitor may, too; and an "error" that only a monitor has seen is cancelled, not unhandled. */
static void test_monitor(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor c = {.tag = "c", .act = cancel}, m = {.tag = "m"};
    listen_at(em, "*", MTAIO_MONITOR, &c);
    listen_at(em, "*", MTAIO_MONITOR, &m);
    assert_int_equal(mtaio_emit(em, "error", NULL), MTAIO_ECANCELED);
    assert_noted("c");
    mtaio_emitter_unref(em);
}

/* A once handler is used up; a nested emission that is cancelled is not the outer one. */
static int emit_inside(mtaio_event *event, struct actor *self) {
    (void)event;
    note("%s", mtaio_error_name(mtaio_emit(self->em, "inner", NULL)));
    return 0;
}

static void test_once_and_nested(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor o = {.tag = "o", .act = emit_inside, .em = em}, b = {.tag = "b"};
    struct actor c = {.tag = "c", .act = cancel};
    listen(em, "outer", &o);
    listen(em, "outer", &b);
    OK(mtaio_once(em, "inner", play, &c));
    listen(em, "inner", &b);
    assert_int_equal(mtaio_emit(em, "outer", NULL), 2);
    assert_noted("o c MTAIO_ECANCELED b");
    assert_int_equal(mtaio_emit(em, "inner", NULL), 1);
    assert_noted("b");
    mtaio_emitter_unref(em);
}

static int cancel_now(mtaio_event *event, void *ctx) {
    (void)ctx;
    return mtaio_event_cancel(event);
}

static int count_call(mtaio_event *event, void *ctx) {
    (void)event;
    ++*(size_t *)ctx;
    return 0;
}

/* At once: 100,000 handlers behind it, by name and by pattern, take no time. */
static void test_many_behind(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    size_t calls = 0;
    OK(mtaio_on(em, "x", cancel_now, NULL));
    OK(mtaio_on(em, "y.*", cancel_now, NULL));
    for (int i = 0; i < 50000; i++) {
        OK(mtaio_on(em, "x", count_call, &calls));
        OK(mtaio_emitter_on(em, "y.*",
                            MTAIO_HANDLER(.call = count_call, .ctx = &calls, .priority = MTAIO_LOW), NULL));
    }
    int64_t begin_ms = support_now_ms();
    for (int i = 0; i < 20000; i++) {
        CHECK(mtaio_emit(em, "x", NULL) == MTAIO_ECANCELED);
        CHECK(start(em, "y.y") == MTAIO_ECANCELED);
    }
    assert_true(support_now_ms() - begin_ms < 3000); /* to look at all of them takes ten times that */
    assert_int_equal(calls, 0);
    mtaio_emitter_unref(em);
}

/* --- "Nor those of other emitters behind or before this one"
 * ------------------------------------------------ */

/* A cancel behind a filter, a map, a buffer, a pipe and a chain of the first two ends the walks of all before
 * it, in emissions that wait and in those that may rest. With a hook they go the long way. */
static void test_behind(void **state) {
    (void)state;
    for (int way = 0; way < 20; way++) {
        mtaio_emitter *em = emitter_new(), *to = NULL, *between = NULL;
        struct actor c = {.tag = "c", .act = cancel}, b = {.tag = "b"}, m = {.tag = "m"};
        if (way % 5 == 4) OK(mtaio_emitter_filter(em, NULL, MTAIO_FILTER(.call = pass), &between));
        if (way % 5 == 0)
            OK(mtaio_emitter_filter(em, NULL, MTAIO_FILTER(.call = pass), &to));
        else if (way % 5 == 1)
            OK(mtaio_emitter_buffer(em, NULL, 1, &to));
        else if (way % 5 == 2)
            OK(mtaio_emitter_pipe(em, NULL, to = emitter_new(), NULL));
        else
            OK(mtaio_emitter_map(between ? between : em, NULL, MTAIO_MAP(.call = same), &to));
        listen(to, "x", &c);
        listen(to, "x", &b);
        listen_at(to, "x", MTAIO_MONITOR, &m);
        if (between) listen_at(between, "x", MTAIO_MONITOR, &m);
        listen_at(em, "x", MTAIO_MONITOR, &m);
        if (way >= 10) after(to, "T");
        assert_int_equal(way % 10 < 5 ? mtaio_emit(em, "x", NULL) : start(em, "x"), MTAIO_ECANCELED);
        assert_noted(way < 10 ? "c" : "c T>x(1,0,0)");
        mtaio_emitter_unref(to);
        mtaio_emitter_unref(between);
        mtaio_emitter_unref(em);
    }
}

static int predicate_cancels(const mtaio_event *event, void *ctx) {
    note("p");
    CHECK(mtaio_event_cancel((mtaio_event *)(uintptr_t)event) == 0);
    return *(int *)ctx;
}

static int transform_cancels(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    CHECK(mtaio_event_cancel(mapped) == MTAIO_EBUSY); /* it is in no emission yet */
    return predicate_cancels(event, ctx);
}

/* So does a predicate or transform that cancels the event it looks at, whatever it answers. */
static void test_predicate(void **state) {
    (void)state;
    for (int way = 0; way < 16; way++) {
        mtaio_emitter *em = emitter_new(), *to = NULL;
        mtaio_report report = MTAIO_REPORT();
        struct actor b = {.tag = "b"}, m = {.tag = "m"};
        int answer = way & 1 ? -1 : 1;
        if (way & 2)
            OK(mtaio_emitter_filter(em, NULL, MTAIO_FILTER(.call = predicate_cancels, .ctx = &answer), &to));
        else
            OK(mtaio_emitter_map(em, NULL, MTAIO_MAP(.call = transform_cancels, .ctx = &answer), &to));
        listen(to, "x", &b);
        if (way & 4) after(to, "T"); /* is not even told */
        listen_at(em, "x", MTAIO_MONITOR, &m);
        mtaio_emission x = {.size = sizeof x, .name = "x", .report = &report};
        assert_int_equal(way & 8 ? mtaio_emit_start(em, &x, note_done) : mtaio_emit_with(em, &x),
                         MTAIO_ECANCELED);
        assert_int_equal(report.called, 0);
        assert_int_equal(report.failed, 0);
        assert_noted("p");
        mtaio_emitter_unref(to);
        mtaio_emitter_unref(em);
    }
}

/* --- Deferrals and executors
 * -------------------------------------------------------------------------------- */

static void *cancel_there(void *event) {
    CHECK(mtaio_event_cancel(event) == 0);
    return NULL;
}

/* "While it has the event: until its deferral is completed", from any thread; the emission ends then, and
 * what the deferral is completed with does not count. */
static void test_deferred(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *filtered = NULL;
    mtaio_deferral *d = NULL;
    struct actor w = {.tag = "w", .deferral = &d}, b = {.tag = "b"}, m = {.tag = "m"};
    pthread_t thread;
    OK(mtaio_emitter_filter(em, NULL, MTAIO_FILTER(.call = pass), &filtered));
    after(filtered, "F");
    listen(filtered, "x", &w);
    listen(filtered, "x", &b);
    listen_at(em, "x", MTAIO_MONITOR, &m);
    for (int status = 0; status >= -1; status--) {
        if (status == 0)
            emit_later(em, "x");
        else
            assert_int_equal(start(em, "x"), MTAIO_EINPROGRESS);
        assert_noted("w");
        OK(pthread_create(&thread, NULL, cancel_there, mtaio_deferral_event(d)));
        OK(pthread_join(thread, NULL));
        assert_noted("");
        complete(&d, status);
        assert_noted("F>x(1,0,0) done:MTAIO_ECANCELED");
    }
    w.act = cancel;
    assert_int_equal(start(em, "x"), MTAIO_EINPROGRESS); /* cancelled, but it still has the event */
    complete(&d, 0);
    assert_noted("w F>x(1,0,0) done:MTAIO_ECANCELED");
    w.result = -1;
    assert_int_equal(start(em, "x"), MTAIO_ECANCELED);
    assert_noted("w F>x(1,0,0)");
    mtaio_deferral_unref(d);
    mtaio_emitter_unref(filtered);
    mtaio_emitter_unref(em);
}

/* A handler on a loop. */
static void test_on_loop(void **state) {
    (void)state;
    mtaio_executor *ex = loop_new();
    mtaio_emitter *em = emitter_new();
    struct actor c = {.tag = "c", .act = cancel}, b = {.tag = "b"};
    OK(mtaio_emitter_on(em, "x", MTAIO_HANDLER(.call = play, .ctx = &c, .executor = ex), NULL));
    listen(em, "x", &b);
    emit_later(em, "x");
    take_job(mtaio_job_run);
    assert_noted("post c done:MTAIO_ECANCELED");
    mtaio_emitter_unref(em);
    mtaio_executor_unref(ex);
    mtaio_reclaim();
}

/* Closed while it rests, after it was cancelled: it was cancelled first. */
static void test_closed(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    struct actor w = {.tag = "w", .deferral = &d, .act = cancel};
    listen(em, "x", &w);
    assert_int_equal(start(em, "x"), MTAIO_EINPROGRESS);
    OK(mtaio_emitter_close(em));
    assert_noted("w done:MTAIO_ECANCELED");
    assert_int_equal(mtaio_deferral_complete(d, 0), MTAIO_ECLOSED);
    mtaio_deferral_unref(d);
    mtaio_emitter_unref(em);
}

/* --- Batches, suppressions, buffers
 * -------------------------------------------------------------------------- */

static mtaio_batch *record_two(mtaio_emitter *em) {
    mtaio_batch *batch = NULL;
    OK(mtaio_batch_new(em, &batch));
    OK(mtaio_batch_emit(batch, "x", NULL));
    OK(mtaio_batch_emit(batch, "y", NULL));
    return batch;
}

/* A batch is one emission: the handlers after it see none of its events, and it has ended. */
static void test_batch(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor c = {.tag = "c", .act = cancel}, b = {.tag = "b"};
    listen(em, "x", &c);
    listen(em, "*", &b);
    mtaio_batch *batch = record_two(em);
    assert_int_equal(mtaio_batch_end(batch, NULL), MTAIO_ECANCELED);
    assert_int_equal(mtaio_batch_end(batch, NULL), MTAIO_EALREADY);
    mtaio_batch_unref(batch);
    batch = record_two(em);
    OK(mtaio_batch_end(batch, MTAIO_ASYNC(.done = note_done)));
    mtaio_batch_unref(batch);
    assert_noted("c c done:MTAIO_ECANCELED");
    mtaio_emitter_unref(em);
}

/* A replay goes on with the next event, and answers the first error. */
static void test_replay(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_suppression *s = NULL;
    struct actor c = {.tag = "c", .act = cancel}, b = {.tag = "b"};
    listen(em, "x", &c);
    listen(em, "*", &b);
    OK(mtaio_emitter_suppress(em, NULL, &s));
    OK(mtaio_emit(em, "x", NULL));
    OK(mtaio_emit(em, "y", NULL));
    assert_int_equal(mtaio_suppression_replay(s), MTAIO_ECANCELED);
    assert_noted("c b");
    mtaio_suppression_unref(s);
    mtaio_emitter_unref(em);
}

/* --- "EBUSY where the event is in no emission"
 * --------------------------------------------------------------- */

static int keep_event(mtaio_event *event, void *ctx) { return mtaio_event_keep(event, ctx); }

static void test_outside(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_event *event = event_new("x", NULL), *kept = NULL;
    assert_int_equal(mtaio_event_cancel(event), MTAIO_EBUSY);
    OK(mtaio_on(em, "x", keep_event, &kept));
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    assert_int_equal(mtaio_event_cancel(kept), MTAIO_EBUSY);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.event = kept)), 1);
    mtaio_event_unref(kept); /* the second is the same event */
    mtaio_event_unref(kept);
    mtaio_event_unref(event);
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_every_way),   TEST(test_report), TEST(test_monitor),   TEST(test_once_and_nested),
        TEST(test_many_behind), TEST(test_behind), TEST(test_predicate), TEST(test_deferred),
        TEST(test_on_loop),     TEST(test_closed), TEST(test_batch),     TEST(test_replay),
        TEST(test_outside),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
