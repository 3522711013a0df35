/* test_channel_publisher.c - "A publisher helper: default topic, batch of n, flush": what is gathered,
 * published together, and told where that fails. */
#include "publishers.h"

/* "Topic of publications without one"; batch 0 and 1: each at once. */
static void test_topic(void **state) {
    (void)state;
    for (size_t batch = 0; batch < 2; batch++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe(ch, NULL);
        char topic[] = "user.login";
        mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.topic = topic, .batch = batch)),
                        *plain = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = batch)),
                        *bare = publisher_with(ch, NULL);
        memset(topic, 'x', sizeof topic - 1);
        assert_int_equal(give(p, "a", 0), 1);
        assert_int_equal(give_to(p, "other", "b", 0), 1);
        assert_int_equal(give(plain, "c", 0), 1);
        assert_int_equal(give_to(bare, "t", "d", 0), 1);
        note_all(sub);
        assert_noted("user.login:a other:b c t:d EAGAIN");
        mtaio_publisher_unref(p);
        mtaio_publisher_unref(plain);
        mtaio_publisher_unref(bare);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
    }
}

/* "Published together when so many are there": 0 where the message is only gathered, and it is copied. */
static void test_batch(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.topic = "t", .batch = 3));
    char text[2] = "0";
    for (int i = 0; i < 7; i++) {
        text[0] = (char)('0' + i);
        assert_int_equal(give(p, text, 0), i % 3 == 2 ? 1 : 0);
        assert_int_equal(subscriber_sums_of(sub).waiting, (i + 1) / 3 * 3);
    }
    assert_int_equal(mtaio_publisher_flush(p, 0), 1);
    assert_int_equal(mtaio_publisher_flush(p, 0), 0);
    note_all(sub);
    assert_noted("t:0 t:1 t:2 t:3 t:4 t:5 t:6 EAGAIN");
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* Everything that a publication can be is gathered: handed over, with metadata, received before; the topic
 * that it has, or its message, goes before the default. */
static void test_kinds(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL), *own = NULL;
    mtaio_metadata *metadata = NULL;
    mtaio_message m = {0};
    struct payload payload = {.text = "p"};
    OK(mtaio_channel_subscribe(ch, MTAIO_SUBSCRIPTION(.origin = &payload), &own));
    OK(mtaio_metadata_new(&metadata));
    publish(ch, "m", "m");
    OK(mtaio_receive(sub, &m));
    mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.topic = "t", .batch = 10));
    assert_int_equal(
        mtaio_publisher_publish(
            p, MTAIO_PUBLICATION(.data = payload.text, .bytes = 2, .release = release_payload), 0),
        0);
    assert_int_equal(
        mtaio_publisher_publish(p, MTAIO_PUBLICATION(.data = "d", .bytes = 2, .metadata = metadata), 0), 0);
    assert_int_equal(mtaio_publisher_publish(p, MTAIO_PUBLICATION(.message = &m), 0), 0);
    assert_int_equal(mtaio_publisher_publish(p, MTAIO_PUBLICATION(.topic = "n", .message = &m), 0), 0);
    assert_int_equal(
        mtaio_publisher_publish(p, MTAIO_PUBLICATION(.data = "o", .bytes = 2, .origin = &payload), 0), 0);
    mtaio_message_clear(&m);
    assert_int_equal(mtaio_publisher_flush(p, 0), 5);
    note_all(sub);
    assert_noted("t:p t:d m:m n:m t:o EAGAIN");
    note_all(own); /* not what has its origin */
    assert_noted("m:m t:p t:d m:m n:m EAGAIN");
    assert_int_equal(payload.released, 1);
    mtaio_metadata_unref(metadata);
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_subscriber_unref(own);
    mtaio_channel_unref(ch);
}

/* The default topic is for messages that have none of their own, those that are published again too, gathered
 * or at once. */
static void test_again(void **state) {
    (void)state;
    for (size_t batch = 1; batch < 3; batch++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe(ch, NULL);
        mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.topic = "mine", .batch = batch));
        mtaio_message m[2];
        publish(ch, "own", "a");
        publish(ch, NULL, "b");
        assert_int_equal(mtaio_subscriber_receive_many(sub, 0, m, 2), 2);
        for (int i = 0; i < 2; i++) {
            assert_true(mtaio_publisher_publish(p, MTAIO_PUBLICATION(.message = &m[i]), 0) >= 0);
            mtaio_message_clear(&m[i]);
        }
        note_all(sub);
        assert_noted("own:a mine:b EAGAIN");
        mtaio_publisher_unref(p);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
    }
}

/* --- The last reference ------------------------------------------------------------------------ */

/* "It keeps the channel open"; "the last flushes, without waiting". */
static void test_last_reference(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 2, MTAIO_BLOCK);
    struct payload p[3] = {{.text = "0"}, {.text = "1"}, {.text = "2"}};
    mtaio_publisher *publisher = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 10));
    mtaio_channel_unref(ch);
    assert_false(mtaio_channel_is_closed(ch)); /* the publisher's reference keeps it */
    for (int i = 0; i < 3; i++) assert_int_equal(give_payload(publisher, &p[i], 0), 0);
    assert_ptr_equal(mtaio_publisher_ref(publisher), publisher);
    assert_null(mtaio_publisher_unref(publisher));
    assert_int_equal(subscriber_sums_of(sub).waiting, 0);
    mtaio_publisher_unref(publisher);
    note_all(sub);
    assert_noted("0 1 ECLOSED");
    for (int i = 0; i < 3; i++)
        assert_int_equal(p[i].released, 1); /* the third had no room: dropped with the publisher */
    mtaio_subscriber_unref(sub);
}

/* What the last flush, which does not wait, could not publish is told too: nothing is lost silently. */
static void test_last_tells(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    struct failures f = {0};
    mtaio_publisher *p =
        publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.topic = "t", .batch = 9, .failed = note_failed,
                                                   .destroy = failures_gone, .ctx = &f));
    gather(p, "abc");
    mtaio_publisher_unref(p);
    assert_int_equal(f.gone, 1);
    note_all(sub);
    assert_noted("t:b:EAGAIN t:c:EAGAIN t:a EAGAIN");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* --- Errors ------------------------------------------------------------------------------------ */

/* "An error of a message gathered earlier is returned from here once, before this one is taken; those behind
 * it stay." A refused message is dropped; one that only had no room stays. */
static void test_told_once(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_REFUSE);
    mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 4));
    struct payload kept = {.text = "k"};
    gather(p, "abc");
    assert_int_equal(mtaio_publisher_flush(p, 0), 1);          /* a; b is dropped */
    assert_int_equal(give_payload(p, &kept, 0), MTAIO_ELIMIT); /* that was b's */
    assert_int_equal(kept.released, 0);
    note_next(sub);
    assert_int_equal(mtaio_publisher_flush(p, 0), 1);
    assert_int_equal(mtaio_publisher_flush(p, 0), 0);
    note_all(sub);
    assert_noted("a c EAGAIN");
    gather(p, "d");
    assert_int_equal(mtaio_publisher_flush(p, 0), 1);
    gather(p, "e");
    assert_int_equal(mtaio_publisher_flush(p, 0),
                     MTAIO_ELIMIT); /* at once, where nothing else was published */
    assert_int_equal(mtaio_publisher_flush(p, 0), 0);
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* An error in the middle of a flush: what went in is counted, the error returned once from the next call, and
 * those behind stay. */
static void test_flush_error(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 2, MTAIO_REFUSE);
    mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 100));
    gather(p, "abcde");
    assert_int_equal(mtaio_publisher_flush(p, -1), 2);
    note_all(sub);
    assert_int_equal(mtaio_publisher_flush(p, -1), MTAIO_ELIMIT); /* that of c */
    assert_int_equal(mtaio_publisher_flush(p, -1), 2);
    note_all(sub);
    assert_noted("a b EAGAIN d e EAGAIN");
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* The message itself cannot be published: it stays the caller's, and what was before it is in. */
static void test_own_error(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 2, MTAIO_BLOCK);
    mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 3));
    struct payload kept = {.text = "k"};
    gather(p, "ab");
    assert_int_equal(give_payload(p, &kept, 1000000), MTAIO_ETIMEDOUT);
    assert_int_equal(kept.released, 0);
    note_all(sub);
    assert_noted("a b EAGAIN");
    assert_int_equal(give_payload(p, &kept, 0), 0);
    assert_int_equal(mtaio_publisher_flush(p, 0), 1);
    note_all(sub);
    assert_noted("k EAGAIN");
    assert_int_equal(kept.released, 1);
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* A batch for which there is only some room: what was gathered before stays, as does the message itself, and
 * goes on when there is more. */
static void test_some_room(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 2, MTAIO_BLOCK);
    mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 4));
    gather(p, "012");
    assert_int_equal(give(p, "3", 0), MTAIO_EAGAIN); /* two get in; this one is not taken */
    note_all(sub);
    assert_noted("0 1 EAGAIN");
    assert_int_equal(mtaio_publisher_flush(p, 0), 1);
    note_all(sub);
    assert_noted("2 EAGAIN");
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* "0 and 1: each at once": errors are this message's own. Closed: at once, too, what was gathered is told,
 * and "data with a release stays the caller's". */
static void test_closed(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    struct failures f = {0};
    struct payload kept = {.text = "k"};
    mtaio_publisher *single = publisher_with(ch, NULL),
                    *p = publisher_with(
                        ch, MTAIO_PUBLISHER_OPTIONS(.batch = 4, .failed = note_failed, .ctx = &f));
    gather(p, "ab");
    mtaio_channel_close(ch);
    assert_int_equal(give_payload(single, &kept, 0), MTAIO_ECLOSED);
    assert_int_equal(give_payload(p, &kept, 0), MTAIO_ECLOSED);
    assert_int_equal(kept.released, 0);
    assert_int_equal(mtaio_publisher_flush(p, -1), MTAIO_ECLOSED);
    mtaio_publisher_unref(p);
    assert_noted(":b:ECLOSED");
    mtaio_publisher_unref(single);
    mtaio_channel_unref(ch);
}

/* flush waits for room as publishing does: its time limit, and how many were published; what timed out is not
 * lost. */
static void test_flush_waits(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 10));
    struct call flush;
    gather(p, "ab");
    assert_int_equal(mtaio_publisher_flush(p, 1000000), 1);
    assert_int_equal(mtaio_publisher_flush(p, 1000000), MTAIO_ETIMEDOUT);
    call_begin(&flush, run_flush, p);
    assert_waits(&flush);
    note_next(sub);
    assert_int_equal(call_end(&flush), 1);
    note_all(sub);
    assert_noted("a b EAGAIN");
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* --- Out of memory ----------------------------------------------------------------------------- */

/* "Out of memory is an error return that leaves everything as it was": a message was taken, or not, and of
 * those taken each is published once, in order. Hazard 20. */
static void test_out_of_memory(void **state) {
    (void)state;
    SWEEP(sweep) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe(ch, NULL);
        mtaio_publisher *p =
            publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 4, .linger_ns = 3600 * SECOND));
        char big[200] = {0}, next = 'a';
        support_arm(&sweep);
        for (int i = 0; i < 10; i++) {
            big[0] = next;
            int r = mtaio_publisher_publish(p, MTAIO_PUBLICATION(.data = big, .bytes = sizeof big), -1);
            CHECK(r >= 0 || r == MTAIO_ENOMEM);
            next = (char)(next + (r >= 0));
        }
        int r = mtaio_publisher_flush(p, -1);
        bool failed = support_disarm(&sweep);
        CHECK(r >= 0 || r == MTAIO_ENOMEM);
        CHECK(failed || next == 'a' + 10);
        CHECK(mtaio_publisher_flush(p, -1) >= 0);
        for (char c = 'a'; c < next; c++) {
            mtaio_message m;
            CHECK(mtaio_subscriber_receive(sub, 0, &m) == 0);
            CHECK(*(const char *)mtaio_message_data(&m) == c);
            mtaio_message_clear(&m);
        }
        CHECK(subscriber_sums_of(sub).waiting == 0);
        mtaio_publisher_unref(p);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
        EVENTUALLY(support_live_blocks() <= sweep.live);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_topic),          TEST(test_batch),      TEST(test_kinds),     TEST(test_again),
        TEST(test_last_reference), TEST(test_last_tells), TEST(test_told_once), TEST(test_flush_error),
        TEST(test_own_error),      TEST(test_some_room),  TEST(test_closed),    TEST(test_flush_waits),
        TEST(test_out_of_memory),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
