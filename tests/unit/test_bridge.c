/* test_bridge.c - bridges: batches, failures, lack of room and of memory, threads. */
#include "channels.h"
#include "loops.h"

/* --- Batches across a bridge ------------------------------------------------------------------- */

/* "Publishes every event of the pattern under its name": those of a batch too, one by one. */
static void test_batch(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    mtaio_batch *batch = NULL;
    OK(mtaio_emitter_to_channel(em, "x.*", ch, NULL));
    OK(mtaio_batch_new(em, &batch));
    for (int i = 0; i < 3; i++)
        OK(mtaio_batch_emit(batch, (const char *const[]){"x.a", "y", "x.b"}[i], (char *)(uintptr_t) "data"));
    assert_int_equal(mtaio_batch_end(batch, NULL), 1);
    mtaio_batch_unref(batch);
    note_all(sub);
    assert_noted("x.a:data x.b:data EAGAIN");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    mtaio_emitter_unref(em);
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
    for (int i = 0; i < 4; i++)
        OK(mtaio_batch_emit(batch, i % 2 != 0 ? second : first, NULL));
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
    for (int i = 0; i < 4; i++)
        note_next(sub);
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

/* --- From messages to events -------------------------------------------------------------------- */

static int note_event(mtaio_event *event, void *ctx) {
    const mtaio_message *m = mtaio_event_message(event);
    (void)ctx;
    unlocked();
    CHECK(mtaio_event_ctx(event) == NULL); /* nobody gave one */
    const char *data = mtaio_event_data(event);
    note("%s=%s%s", mtaio_event_name(event), data != NULL ? data : "-", m != NULL ? "/" : "");
    return 0;
}

/* A message published again under another topic is emitted under that, as an event of its own; its data is the first
 * event's all the same, which is kept. */
static int forward(int result, mtaio_message *m, void *channel) {
    if (result < 0) return result;
    CHECK(mtaio_channel_publish(channel, MTAIO_PUBLICATION(.topic = "other", .message = m), -1) == 1);
    mtaio_message_clear(m);
    return 1;
}
static void test_forwarded(void **state) {
    (void)state;
    mtaio_emitter *from = emitter_new(), *to = emitter_new();
    mtaio_channel *first = channel_new(), *second = channel_new();
    mtaio_subscriber *a = subscribe(first, NULL), *b = subscribe(second, NULL);
    mtaio_event *event = event_new("x", "data");
    OK(mtaio_emitter_to_channel(from, "x", first, NULL));
    OK(mtaio_subscriber_receive_async(a, MTAIO_RECEIVER(.call = forward, .ctx = second), NULL));
    OK(mtaio_subscriber_to_emitter(b, to, NULL, NULL, NULL));
    OK(mtaio_on(to, "*", note_event, NULL));
    assert_int_equal(mtaio_emit_with(from, MTAIO_EMISSION(.event = event)), 1);
    assert_noted("other=data/");
    mtaio_event_unref(event);
    mtaio_emitter_unref(from);
    mtaio_channel_unref(first);
    mtaio_channel_unref(second);
    mtaio_subscriber_unref(a);
    mtaio_subscriber_unref(b);
    mtaio_emitter_unref(to);
}

/* "The message that an event was made from, valid as long as the event": also one that is kept, or behind a map. */
static mtaio_event *kept;
static int keep(mtaio_event *event, void *ctx) {
    (void)ctx;
    return kept != NULL ? 0 : mtaio_event_keep(event, &kept);
}
static int rename_event(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    (void)event;
    (void)ctx;
    return mtaio_event_set_name(mapped, "renamed");
}
static void test_message_of(void **state) {
    (void)state;
    for (int mapped = 0; mapped < 2; mapped++) {
        mtaio_emitter *em = emitter_new(), *derived = NULL;
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe(ch, NULL);
        struct payload payload = {.text = "p"};
        OK(mtaio_emitter_map(em, NULL, MTAIO_MAP(.call = rename_event), &derived));
        OK(mtaio_on(mapped ? derived : em, "*", keep, NULL));
        OK(mtaio_subscriber_to_emitter(sub, em, NULL, NULL, NULL));
        assert_int_equal(publish_payload(ch, "t", &payload, 0), 1);
        mtaio_channel_unref(ch);
        mtaio_subscriber_unref(sub);
        mtaio_emitter_unref(derived);
        mtaio_emitter_unref(em);
        mtaio_reclaim();
        assert_int_equal(payload.released, 0);
        const mtaio_message *m = mtaio_event_message(kept);
        assert_string_equal(mtaio_message_topic(m), "t");
        assert_ptr_equal(mtaio_message_data(m), payload.text);
        assert_string_equal(mtaio_event_name(kept), mapped ? "renamed" : "t");
        kept = mtaio_event_unref(kept);
        assert_int_equal(payload.released, 1);
    }
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

/* "By mtaio_emit_nowait": a failure is an 'error' event, or goes to the last resort; the next message comes all the
 * same. So does one without a topic where there is no name. */
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
    assert_noted("fail error:x:-7 y=5/");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    mtaio_emitter_unref(em);
}

/* "Of a receive no message is lost": cancelled while an emission is under way, the bridge takes no other message. */
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

/* An event that cannot be published for lack of memory is a failure of its emission; a message that cannot be emitted
 * is told to the last resort. Neither is both, or neither. Hazard 20. */
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
        CHECK(mtaio_emit_with(from, MTAIO_EMISSION(.event = event, .report = &report)) == 1 && emitted == before + 1);
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

/* --- Many -------------------------------------------------------------------------------------- */

/* A handler that publishes what it is given again: neither the stack nor the memory grows. */
static int again(mtaio_event *event, void *channel) {
    uintptr_t n = (uintptr_t)mtaio_event_metadata(event); /* none */
    const uint64_t *left = mtaio_event_data(event);
    uint64_t less = *left - 1 + n;
    if (*left > 0) CHECK(mtaio_publish(channel, "n", &less, sizeof less) == 1);
    return 0;
}
static void test_circle(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    uint64_t rounds = 100000;
    OK(mtaio_on(em, "n", again, ch));
    OK(mtaio_subscriber_to_emitter(sub, em, NULL, NULL, NULL));
    assert_int_equal(mtaio_publish(ch, "n", &rounds, sizeof rounds), 1);
    assert_int_equal(sums_of(ch).delivered, rounds + 1);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    mtaio_emitter_unref(em);
}

/* An emitter, a channel with little room, an emitter whose handlers run in a pool: each event of three threads arrives
 * once, each thread's in its order, and nothing is left. */
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
        TEST(test_batch),        TEST(test_batch_rests), TEST(test_forwarded),     TEST(test_message_of),
        TEST(test_failures),     TEST(test_cancel_rests), TEST(test_close_rests),  TEST(test_executor_ends),
        TEST(test_out_of_memory), TEST(test_circle),     TEST(test_threads),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
