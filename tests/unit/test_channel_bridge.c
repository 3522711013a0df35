/* test_channel_bridge.c - "Bridges inside the process: emitter -> channel (events of a pattern are published
 * under their names) and channel -> emitter": what crosses, and what it is on the other side. */
#include "bridges.h"

/* --- Emitter to channel ------------------------------------------------------------------------ */

/* "Publishes every event of the pattern under its name, with its metadata; the message's data is the event's,
 * bytes 0." */
static void test_to_channel(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, "user.*");
    mtaio_listener *listener = NULL;
    mtaio_metadata *metadata = NULL;
    mtaio_message m = {0};
    char data[] = "data";
    OK(mtaio_metadata_new(&metadata));
    OK(mtaio_metadata_set(metadata, "k", "v"));
    OK(mtaio_emitter_to_channel(em, "user.**", ch, &listener));
    assert_int_equal(mtaio_emitter_count(em, NULL), 1);
    assert_int_equal(mtaio_emit(em, "other", data), 0);
    assert_int_equal(
        mtaio_emit_with(em, MTAIO_EMISSION(.name = "user.login", .data = data, .metadata = metadata)), 1);
    assert_int_equal(mtaio_emit(em, "user.a.b", data), 1);
    OK(mtaio_subscriber_receive(sub, 0, &m));
    assert_string_equal(mtaio_message_topic(&m), "user.login");
    assert_ptr_equal(mtaio_message_data(&m), data);
    assert_int_equal(mtaio_message_bytes(&m), 0);
    assert_string_equal(mtaio_metadata_get(mtaio_message_metadata(&m), "k"), "v");
    mtaio_message_clear(&m);
    assert_int_equal(mtaio_subscriber_receive(sub, 0, &m), MTAIO_EAGAIN);
    assert_int_equal(mtaio_listener_cancel(listener), 1);
    assert_int_equal(mtaio_emit(em, "user.login", data), 0);
    assert_int_equal(sums_of(ch).published, 2);
    mtaio_metadata_unref(metadata);
    mtaio_listener_unref(listener);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    mtaio_emitter_unref(em);
}

/* "Which it keeps (mtaio_event_keep)": an owned event's data is released after the last message. */
static void event_data_release(void *data) { *(int *)data += 1; }
static void test_keeps_event(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *a = subscribe(ch, NULL), *b = subscribe(ch, NULL);
    mtaio_event *event = NULL;
    mtaio_message m = {0};
    int released = 0;
    OK(mtaio_emitter_to_channel(em, "*", ch, NULL)); /* ret may be NULL */
    OK(mtaio_event_new("x", &released, event_data_release, &event));
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.event = event)), 1);
    mtaio_event_unref(event);
    mtaio_emitter_unref(em);
    OK(mtaio_receive(a, &m));
    assert_ptr_equal(mtaio_message_data(&m), &released);
    mtaio_message_clear(&m);
    assert_int_equal(released, 0);
    mtaio_subscriber_unref(a);
    mtaio_channel_unref(ch);
    OK(mtaio_receive(b, &m));
    mtaio_subscriber_unref(b);
    assert_int_equal(released, 0);
    mtaio_message_clear(&m);
    assert_int_equal(released, 1);
}

/* "It keeps the channel." */
static void test_keeps_channel(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    OK(mtaio_emitter_to_channel(em, "x", ch, NULL));
    mtaio_channel_unref(ch);
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    note_next(sub);
    assert_noted("x:-");
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    note_next(sub);
    assert_noted("ECLOSED");
    mtaio_subscriber_unref(sub);
}

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

/* --- Channel to emitter ------------------------------------------------------------------------ */

/* "Emits every message that the subscriber receives under its topic (without one: under `name`), with its
 * metadata; one with the message's data, for which mtaio_event_message answers." */
static void test_to_emitter(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    mtaio_pending *pending = NULL;
    mtaio_metadata *metadata = NULL;
    OK(mtaio_on(em, "*", note_event, NULL));
    publish(ch, "early", "0");
    OK(mtaio_subscriber_to_emitter(sub, em, "plain", NULL, &pending));
    publish(ch, "a.b", "1");
    publish(ch, NULL, "2");
    OK(mtaio_metadata_new(&metadata));
    OK(mtaio_metadata_set(metadata, "k", "v"));
    OK(mtaio_channel_publish(
           ch, MTAIO_PUBLICATION(.topic = "m", .data = "3", .bytes = 2, .metadata = metadata), 0) -
       1);
    assert_noted("early=0/early a.b=1/a.b plain=2/ m=3/m k=v");
    mtaio_metadata_unref(metadata);
    assert_int_equal(mtaio_pending_cancel(pending), 1);
    publish(ch, "a.b", "4");
    note_all(sub);
    assert_noted("a.b:4 EAGAIN");
    mtaio_pending_unref(pending);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    mtaio_emitter_unref(em);
}

/* "The event that a message came from": through a channel and back the event is the same; a plain event has
 * no message. */
static mtaio_event *came_back;
static int keep_event(mtaio_event *event, void *ctx) {
    (void)ctx;
    assert_null(mtaio_event_message(NULL));
    return mtaio_event_keep(event, &came_back);
}
static void test_round(void **state) {
    (void)state;
    mtaio_emitter *from = emitter_new(), *to = emitter_new();
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    mtaio_event *event = event_new("x.y", "data");
    OK(mtaio_emitter_to_channel(from, "x.*", ch, NULL));
    OK(mtaio_subscriber_to_emitter(sub, to, NULL, NULL, NULL));
    OK(mtaio_on(to, "x.y", keep_event, NULL));
    assert_int_equal(mtaio_emit_with(from, MTAIO_EMISSION(.event = event)), 1);
    assert_ptr_equal(came_back, event);
    mtaio_event_unref(came_back);
    came_back = NULL;
    mtaio_event_unref(event);
    mtaio_subscriber_unref(sub);
    mtaio_emitter_unref(from);
    mtaio_channel_unref(ch);
    mtaio_emitter_unref(to);
    mtaio_reclaim();
}

/* A message published again under another topic is emitted under that, as an event of its own; its data is
 * the first event's all the same, which is kept. */
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
    assert_noted("other=data/other");
    mtaio_event_unref(event);
    mtaio_emitter_unref(from);
    mtaio_channel_unref(first);
    mtaio_channel_unref(second);
    mtaio_subscriber_unref(a);
    mtaio_subscriber_unref(b);
    mtaio_emitter_unref(to);
}

/* "The message that an event was made from, valid as long as the event": also one that is kept, or behind a
 * map. */
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

/* "One at a time: the next is received when the emission of the last is over." */
static void test_one_at_a_time(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    mtaio_deferral *deferral = NULL;
    struct actor waits = {.tag = "waits", .deferral = &deferral};
    listen(em, "x", &waits);
    OK(mtaio_subscriber_to_emitter(sub, em, NULL, NULL, NULL));
    publish(ch, "x", "1");
    publish(ch, "x", "2");
    assert_noted("waits");
    assert_int_equal(subscriber_sums_of(sub).waiting, 1);
    complete(&deferral, 0);
    assert_noted("waits");
    assert_int_equal(subscriber_sums_of(sub).waiting, 0);
    complete(&deferral, 0);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    mtaio_emitter_unref(em);
    mtaio_reclaim();
}

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

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_to_channel),    TEST(test_keeps_event), TEST(test_keeps_channel), TEST(test_batch),
        TEST(test_to_emitter),    TEST(test_round),       TEST(test_forwarded),     TEST(test_message_of),
        TEST(test_one_at_a_time), TEST(test_circle),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
