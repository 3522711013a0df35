/* test_channel_bridge_failures.c - bridges where something is in their way: full buffers, failures, what
 * ends, no memory, threads. */
#include "bridges.h"

/* --- Full buffers ------------------------------------------------------------------------------ */

/* "A full buffer lets the emission rest until there is room, without holding its thread; what cannot be
 * published is a failure of the emission." */
static void test_full(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    struct actor after = {.tag = "after"};
    OK(mtaio_emitter_to_channel(em, "x", ch, NULL));
    listen(em, "x", &after);
    emit_later(em, "x");
    assert_noted("after done:2");
    emit_later(em, "x"); /* rests */
    assert_noted("");
    note_next(sub);
    assert_true(strstr(notes.text, "after done:2") != NULL);
    forget_notes();
    note_all(sub);
    forget_notes();
    mtaio_subscriber *refuses = subscribe_limited(ch, 1, MTAIO_REFUSE);
    emit_later(em, "x");
    note_next(sub);
    emit_later(em, "x");
    assert_noted("after done:2 x:- after done:MTAIO_EHANDLER");
    mtaio_channel_close(ch);
    emit_later(em, "x");
    assert_noted("after done:MTAIO_EHANDLER");
    mtaio_subscriber_unref(sub);
    mtaio_subscriber_unref(refuses);
    mtaio_channel_unref(ch);
    mtaio_emitter_unref(em);
}

/* What rests on a full buffer ends when the channel closes, and is let go when the emitter does. */
static void test_full_ends(void **state) {
    (void)state;
    for (int way = 0; way < 2; way++) {
        mtaio_emitter *em = emitter_new();
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
        OK(mtaio_emitter_to_channel(em, "x", ch, NULL));
        emit_later(em, "x");
        emit_later(em, "x");
        assert_noted("done:1");
        if (way == 0)
            mtaio_channel_close(ch);
        else
            mtaio_emitter_close(em);
        assert_noted(way == 0 ? "done:MTAIO_EHANDLER" : "done:MTAIO_ECLOSED");
        note_all(sub);
        if (way == 1) note_all(sub);
        forget_notes();
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
        mtaio_emitter_unref(em);
    }
}

/* "A full buffer lets the emission rest until there is room": until all events of a batch are in. */
static void batch_is_over(int result, const mtaio_report *report, void *ctx) {
    (void)report;
    (void)ctx;
    note("over:%d", result);
}
static void emit_batch(mtaio_emitter *em, const char *first, const char *second) {
    mtaio_batch *batch = NULL;
    OK(mtaio_batch_new(em, &batch));
    for (int i = 0; i < 4; i++) OK(mtaio_batch_emit(batch, i % 2 != 0 ? second : first, NULL));
    OK(mtaio_batch_end(batch, MTAIO_ASYNC(.done = batch_is_over)));
    mtaio_batch_unref(batch);
}
static void test_batch_rests(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    OK(mtaio_emitter_to_channel(em, "*", ch, NULL));
    emit_batch(em, "a", "b");
    assert_sums(ch, "1 1 0 0 1 0"); /* who waits is not refused */
    for (int i = 0; i < 4; i++) note_next(sub);
    assert_noted("a:- b:- over:1 a:- b:-"); /* with the third gone, the fourth is in */
    assert_sums(ch, "4 4 4 0 0 0");
    emit_batch(em, "a", "b");
    mtaio_channel_close(ch);
    assert_true(strstr(notes.text, "over:-") != NULL); /* what could not be published is a failure */
    forget_notes();
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    mtaio_emitter_unref(em);
}

/* --- Failures ---------------------------------------------------------------------------------- */

static int fails(mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    note("fail");
    return -7;
}
static int note_error(mtaio_event *event, void *ctx) {
    const mtaio_failure *f = mtaio_event_data(event);
    (void)ctx;
    note("error:%s:%d", f->name, f->status);
    return 0;
}
static void note_trouble(const mtaio_trouble *trouble, void *ctx) {
    (void)ctx;
    note("trouble:%s:%d", trouble->name, trouble->status);
}

/* "By mtaio_emit_nowait": a failure is an 'error' event, or goes to the last resort; the next message comes
 * all the same. So does one without a topic where there is no name. */
static void test_failures(void **state) {
    (void)state;
    mtaio_emitter *em = NULL;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    OK(mtaio_emitter_new(MTAIO_EMITTER_OPTIONS(.trouble = note_trouble), &em));
    OK(mtaio_on(em, "x", fails, NULL));
    OK(mtaio_on(em, "y", note_event, NULL));
    OK(mtaio_subscriber_to_emitter(sub, em, NULL, NULL, NULL));
    publish(ch, "x", "1");
    assert_noted("fail trouble:x:-7");
    publish(ch, NULL, "2");
    assert_noted("trouble::-1002");
    publish(ch, "error", "3");
    assert_noted("trouble:error:-1008");
    OK(mtaio_on(em, "error", note_error, NULL));
    publish(ch, "x", "4");
    publish(ch, "y", "5");
    assert_noted("fail error:x:-7 y=5/y");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    mtaio_emitter_unref(em);
}

/* --- What ends it ------------------------------------------------------------------------------- */

/* "Ends when the subscription or the emitter is closed, or by cancelling." On an executor too. */
static void test_ends(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++)
        for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
            mtaio_executor *ex = elsewhere ? loop_new() : NULL;
            mtaio_emitter *em = emitter_new();
            mtaio_channel *ch = channel_new();
            mtaio_subscriber *sub = subscribe(ch, NULL);
            mtaio_pending *pending = NULL;
            loop.quiet = true;
            OK(mtaio_on(em, "*", note_event, NULL));
            OK(mtaio_subscriber_to_emitter(sub, em, "n", ex, &pending));
            publish(ch, NULL, "1");
            assert_noted(elsewhere ? "" : "n=1/");
            take_jobs(mtaio_job_run);
            forget_notes();
            if (way == 0) OK(mtaio_channel_close(ch));
            if (way == 1) assert_int_equal(mtaio_unsubscribe(sub), 1);
            if (way == 2) OK(mtaio_emitter_close(em));
            publish(ch, NULL, "2");
            take_jobs(mtaio_job_run);
            assert_noted("");
            assert_int_equal(mtaio_pending_cancel(pending), 0);
            mtaio_pending_unref(pending);
            mtaio_subscriber_unref(sub);
            mtaio_channel_unref(ch);
            mtaio_emitter_unref(em);
            mtaio_executor_unref(ex);
            mtaio_reclaim();
        }
}

/* "Of a receive no message is lost": cancelled while an emission is under way, the bridge takes no other
 * message. */
static void test_cancel_rests(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    mtaio_deferral *deferral = NULL;
    mtaio_pending *pending = NULL;
    struct actor waits = {.tag = "waits", .deferral = &deferral};
    listen(em, "*", &waits);
    OK(mtaio_subscriber_to_emitter(sub, em, "n", NULL, &pending));
    publish(ch, NULL, "1");
    publish(ch, NULL, "2");
    assert_noted("waits");
    assert_int_equal(mtaio_pending_cancel(pending), 0); /* just being carried out */
    complete(&deferral, 0);
    assert_null(deferral);
    publish(ch, NULL, "3");
    note_all(sub);
    assert_noted("2 3 EAGAIN");
    assert_int_equal(mtaio_pending_cancel(pending), 0);
    mtaio_pending_unref(pending);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    mtaio_emitter_unref(em);
}

/* The emitter is closed while an emission rests: that is over, and the bridge with the next message. */
static void test_close_rests(void **state) {
    (void)state;
    mtaio_emitter *em = NULL;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    mtaio_deferral *deferral = NULL;
    mtaio_pending *pending = NULL;
    struct actor waits = {.tag = "waits", .deferral = &deferral};
    OK(mtaio_emitter_new(MTAIO_EMITTER_OPTIONS(.trouble = note_trouble), &em));
    listen(em, "*", &waits);
    OK(mtaio_subscriber_to_emitter(sub, em, "n", NULL, &pending));
    publish(ch, NULL, "1");
    assert_noted("waits");
    OK(mtaio_emitter_close(em));
    assert_noted("trouble:n:-1005");
    assert_int_equal(mtaio_deferral_complete(deferral, 0), MTAIO_ECLOSED);
    deferral = mtaio_deferral_unref(deferral);
    publish(ch, NULL, "2");
    publish(ch, NULL, "3");
    assert_int_equal(mtaio_pending_cancel(pending), 0);
    note_all(sub);
    assert_noted("3 EAGAIN");
    mtaio_pending_unref(pending);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    mtaio_emitter_unref(em);
}

/* An executor that refuses or drops the work ends the bridge, and loses no message. */
static void test_executor_ends(void **state) {
    (void)state;
    for (int dropped = 0; dropped < 2; dropped++) {
        mtaio_executor *ex = loop_new();
        mtaio_emitter *em = emitter_new();
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe(ch, NULL);
        mtaio_pending *pending = NULL;
        loop.quiet = true;
        OK(mtaio_on(em, "*", note_event, NULL));
        OK(mtaio_subscriber_to_emitter(sub, em, "n", ex, &pending));
        publish(ch, NULL, "1");
        take_jobs(mtaio_job_run);
        assert_noted("n=1/");
        loop.refuse = dropped ? 0 : -5;
        publish(ch, NULL, "2");
        take_jobs(mtaio_job_drop);
        note_all(sub);
        assert_noted("2 EAGAIN");
        assert_int_equal(mtaio_pending_cancel(pending), 0);
        mtaio_pending_unref(pending);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
        mtaio_emitter_unref(em);
        mtaio_executor_unref(ex);
    }
}

/* --- Out of memory ----------------------------------------------------------------------------- */

/* An event that cannot be published for lack of memory is a failure of its emission; a message that cannot be
 * emitted is told to the last resort. Neither is both, or neither. Hazard 20. */
static void count_trouble(const mtaio_trouble *trouble, void *ctx) {
    CHECK(trouble->status == MTAIO_ENOMEM);
    ++*(int *)ctx;
}
static int count_event(mtaio_event *event, void *ctx) {
    CHECK(strcmp(mtaio_event_data(event), "data") == 0);
    ++*(int *)ctx;
    return 0;
}
static void test_out_of_memory(void **state) {
    (void)state;
    SWEEP(sweep) {
        mtaio_emitter *from = emitter_new(), *to = NULL;
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
        mtaio_event *event = event_new("x.y", "data");
        mtaio_pending *pending = NULL;
        mtaio_report report = MTAIO_REPORT();
        int troubles = 0, emitted = 0;
        OK(mtaio_emitter_new(MTAIO_EMITTER_OPTIONS(.trouble = count_trouble, .ctx = &troubles), &to));
        OK(mtaio_on(to, "*", count_event, &emitted));
        OK(mtaio_emitter_to_channel(from, "x.*", ch, NULL));
        support_arm(&sweep);
        int one = mtaio_emit(from, "x.y", (char *)(uintptr_t) "data");
        int two = mtaio_emit_async(from, event, MTAIO_ASYNC(.done = batch_is_over)); /* has to wait */
        int three = mtaio_subscriber_to_emitter(sub, to, "n", NULL, &pending);
        publish_for(ch, NULL, "data", 0);
        bool failed = support_disarm(&sweep);
        CHECK(one == 1 || (failed && (one == MTAIO_EHANDLER || one == MTAIO_ENOMEM)));
        CHECK(two == 0 || (failed && two == MTAIO_ENOMEM));
        CHECK(three == 0 || (failed && three == MTAIO_ENOMEM));
        if (three < 0) OK(mtaio_subscriber_to_emitter(sub, to, "n", NULL, &pending));
        CHECK(sums_of(ch).delivered == (uint64_t)(emitted + troubles));
        CHECK(failed || (emitted == 3 && troubles == 0 && strcmp(notes.text, "over:1") == 0));
        forget_notes();
        int before = emitted;
        CHECK(mtaio_emit_with(from, MTAIO_EMISSION(.event = event, .report = &report)) == 1 &&
              emitted == before + 1);
        CHECK(mtaio_pending_cancel(pending) == 1);
        mtaio_pending_unref(pending);
        mtaio_event_unref(event);
        mtaio_subscriber_unref(sub);
        mtaio_emitter_unref(from);
        mtaio_channel_unref(ch);
        mtaio_emitter_unref(to);
        mtaio_reclaim();
    }
}

/* --- Threads ----------------------------------------------------------------------------------- */

/* An emitter, a channel with little room, an emitter whose handlers run in a pool: each event of three
 * threads arrives once, each thread's in its order, and nothing is left. */
enum { THREADS = 3, EACH = 1000 };
struct pipeline {
    mtaio_emitter *from, *to;
    mtaio_executor *pool;
    uint64_t next[THREADS];
    atomic_int arrived;
};
static int arrive(mtaio_event *event, void *ctx) {
    struct pipeline *p = ctx;
    uintptr_t n = (uintptr_t)mtaio_event_data(event);
    CHECK((n & UINT32_MAX) == p->next[n >> 32]++);
    atomic_fetch_add(&p->arrived, 1);
    return 0;
}
static void emit_many(unsigned index, void *ctx) {
    struct pipeline *p = ctx;
    for (uintptr_t i = 0; i < EACH; i++)
        CHECK(mtaio_emit(p->from, "x", (void *)((uintptr_t)index << 32 | i)) == 1);
}
static void test_threads(void **state) {
    (void)state;
    for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
        struct pipeline p = {.from = emitter_new(), .to = emitter_new()};
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe_limited(ch, 4, MTAIO_BLOCK);
        OK(mtaio_pool_new(2, 0, &p.pool));
        OK(mtaio_emitter_on(p.to, "x", MTAIO_HANDLER(.call = arrive, .ctx = &p, .executor = p.pool), NULL));
        OK(mtaio_emitter_to_channel(p.from, "x", ch, NULL));
        OK(mtaio_subscriber_to_emitter(sub, p.to, NULL, elsewhere ? p.pool : NULL, NULL));
        support_threads(THREADS, emit_many, &p);
        EVENTUALLY(atomic_load(&p.arrived) == THREADS * EACH);
        assert_int_equal(sums_of(ch).refused, 0);
        mtaio_channel_close(ch);
        mtaio_channel_unref(ch);
        mtaio_subscriber_unref(sub);
        mtaio_executor_close(p.pool);
        mtaio_executor_unref(p.pool);
        mtaio_emitter_unref(p.from);
        mtaio_emitter_unref(p.to);
        mtaio_reclaim();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_full),          TEST(test_full_ends),    TEST(test_batch_rests), TEST(test_failures),
        TEST(test_ends),          TEST(test_cancel_rests), TEST(test_close_rests), TEST(test_executor_ends),
        TEST(test_out_of_memory), TEST(test_threads),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
