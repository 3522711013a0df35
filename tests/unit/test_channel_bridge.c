/* test_channel_bridge.c - "Bridges inside the process: emitter -> channel (events of a pattern are published
 * under their names) and channel -> emitter." */
#include "channels.h"
#include "loops.h"

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

/* --- Channel to emitter ------------------------------------------------------------------------ */

static int note_event(mtaio_event *event, void *ctx) {
    const mtaio_message *m = mtaio_event_message(event);
    (void)ctx;
    note("%s=%s%s%s", mtaio_event_name(event),
         mtaio_event_data(event) != NULL ? (char *)mtaio_event_data(event) : "-", m != NULL ? "/" : "",
         m != NULL && mtaio_message_topic(m) != NULL ? mtaio_message_topic(m) : "");
    const char *k = mtaio_event_get(event, "k");
    if (k != NULL) note("k=%s", k);
    return 0;
}

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

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_to_channel), TEST(test_keeps_event),   TEST(test_full),
        TEST(test_full_ends),  TEST(test_keeps_channel), TEST(test_to_emitter),
        TEST(test_round),      TEST(test_one_at_a_time), TEST(test_ends),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
