/* test_channel_replay.c - "Late subscribers: an optional replay buffer per channel (last n messages, or last
 * message per topic), off by default." */
#include "channels.h"

static void publish_letter(mtaio_channel *ch, const char *topic, char letter) {
    char text[2] = {letter, '\0'};
    CHECK(publish(ch, topic, text) >= 0);
}

/* What a new subscriber of the pattern is given, before anything else is published. */
static void note_replayed(mtaio_channel *ch, const mtaio_subscription *s) {
    mtaio_subscriber *sub = subscribe_with(ch, s);
    note_all(sub);
    check_subscriber_balance(sub);
    mtaio_subscriber_unref(sub);
    check_balance(ch);
}

static void test_off(void **state) {
    (void)state;
    mtaio_channel *ch = channel_with(MTAIO_CHANNEL_OPTIONS(.replay_by_topic = true)); /* of 0 topics */
    publish_letter(ch, "t", 'a');
    note_replayed(ch, NULL);
    assert_noted("EAGAIN");
    mtaio_channel_unref(ch);
}

/* "Messages kept for subscribers that come later": the last n, in order, then what comes. */
static void test_last(void **state) {
    (void)state;
    for (size_t n = 1; n <= 9; n++) {
        mtaio_channel *ch = channel_with(MTAIO_CHANNEL_OPTIONS(.replay = n));
        for (uint64_t published = 0; published < 3 * n + 2; published++) {
            size_t there = published < n ? (size_t)published : n;
            mtaio_subscriber *sub = subscribe(ch, NULL);
            assert_int_equal(publish_number(ch, published, 0), 1);
            for (size_t i = 0; i <= there; i++)
                assert_int_equal(next_number(sub, NULL), published - there + i);
            note_all(sub);
            assert_noted("EAGAIN");
            mtaio_subscriber_unref(sub);
        }
        mtaio_channel_unref(ch);
    }
}

/* Only what its patterns match; what has no topic goes to everybody. no_replay: nothing. */
static void test_patterns(void **state) {
    (void)state;
    mtaio_channel *ch = channel_with(MTAIO_CHANNEL_OPTIONS(.replay = 5));
    publish_letter(ch, "x.a", 'a');
    publish_letter(ch, "x.b", 'b');
    publish_letter(ch, NULL, 'c');
    publish_letter(ch, "y", 'd');
    publish_letter(ch, "x.a", 'e');
    publish_letter(ch, "z", 'f');
    static const char *const x[] = {"x.*", NULL}, *const both[] = {"x.a", "y", "x.*", NULL};
    note_replayed(ch, MTAIO_SUBSCRIPTION(.patterns = x));
    assert_noted("x.b:b c x.a:e EAGAIN");
    note_replayed(ch, MTAIO_SUBSCRIPTION(.patterns = both));
    assert_noted("x.b:b c y:d x.a:e EAGAIN");
    note_replayed(ch, MTAIO_SUBSCRIPTION(.no_replay = true));
    assert_noted("EAGAIN");
    note_replayed(ch, NULL);
    assert_noted("x.b:b c y:d x.a:e z:f EAGAIN");
    mtaio_channel_unref(ch);
}

/* "Keeps the last message of each topic, of the `replay` topics used last." */
static void test_by_topic(void **state) {
    (void)state;
    mtaio_channel *ch = channel_with(MTAIO_CHANNEL_OPTIONS(.replay = 3, .replay_by_topic = true));
    publish_letter(ch, "a", '1');
    publish_letter(ch, "b", '2');
    publish_letter(ch, "a", '3');
    note_replayed(ch, NULL);
    assert_noted("b:2 a:3 EAGAIN");
    publish_letter(ch, "c", '4');
    publish_letter(ch, "b", '5');
    note_replayed(ch, NULL);
    assert_noted("a:3 c:4 b:5 EAGAIN");
    publish_letter(ch, "d", '6'); /* a was used longest ago */
    note_replayed(ch, NULL);
    assert_noted("c:4 b:5 d:6 EAGAIN");
    for (int i = 0; i < 1000; i++) { /* "no stream of unseen names grows memory without bound" */
        char topic[16];
        snprintf(topic, sizeof topic, "t%d", i);
        publish_letter(ch, topic, 'x');
    }
    note_replayed(ch, NULL);
    assert_noted("t997:x t998:x t999:x EAGAIN");
    mtaio_channel_unref(ch);
}

/* What does not fit into the new subscriber's buffer is dropped and counted: the newest are there. */
static void test_small_buffer(void **state) {
    (void)state;
    static const mtaio_overflow policies[] = {MTAIO_BLOCK, MTAIO_DROP_OLDEST, MTAIO_DROP_NEWEST,
                                              MTAIO_REFUSE};
    for (size_t i = 0; i < COUNT(policies); i++) {
        mtaio_channel *ch = channel_with(MTAIO_CHANNEL_OPTIONS(.replay = 5));
        for (char c = 'a'; c <= 'g'; c++) publish_letter(ch, NULL, c);
        mtaio_subscriber *sub = subscribe_limited(ch, 2, policies[i]);
        mtaio_subscriber_stats s = subscriber_sums_of(sub);
        assert_int_equal(s.waiting, 2);
        check_subscriber_balance(sub);
        check_balance(ch);
        note_all(sub);
        assert_noted(s.dropped == 3 ? "(3)f g EAGAIN" : "f g EAGAIN");
        mtaio_subscriber_unref(sub);
        check_balance(ch);
        mtaio_channel_unref(ch);
    }
}

/* What is kept holds its data, until it is replaced or the channel ends; the copies of late subscribers share
 * it. */
static void test_data(void **state) {
    (void)state;
    for (int by_topic = 0; by_topic < 2; by_topic++) {
        mtaio_channel *ch =
            channel_with(MTAIO_CHANNEL_OPTIONS(.replay = 1, .replay_by_topic = by_topic != 0));
        struct payload p = {.text = "p"}, q = {.text = "q"};
        mtaio_metadata *metadata = NULL;
        mtaio_message m = {0}, n = {0};
        OK(mtaio_metadata_new(&metadata));
        mtaio_publication with = *MTAIO_PUBLICATION(.topic = "t", .data = p.text, .bytes = 2,
                                                    .release = release_payload, .metadata = metadata);
        assert_int_equal(mtaio_channel_publish(ch, &with, 0), 0);
        assert_int_equal(p.released, 0);
        mtaio_subscriber *a = subscribe(ch, "t"), *b = subscribe(ch, NULL);
        OK(mtaio_receive(a, &m));
        OK(mtaio_receive(b, &n));
        assert_ptr_equal(mtaio_message_data(&m), p.text);
        assert_ptr_equal(mtaio_message_data(&n), p.text);
        assert_ptr_equal(mtaio_message_metadata(&n), metadata);
        mtaio_message_clear(&m);
        mtaio_message_clear(&n);
        assert_int_equal(p.released, 0);
        assert_int_equal(publish_payload(ch, "t", &q, 0), 2);
        assert_int_equal(p.released, 1);
        OK(mtaio_metadata_set(metadata, "k", "v"));
        mtaio_metadata_unref(metadata);
        mtaio_subscriber_unref(a);
        mtaio_subscriber_unref(b);
        assert_int_equal(q.released, 0);
        mtaio_channel_unref(ch);
        assert_int_equal(q.released, 1);
    }
}

/* What was not accepted is not kept; and nothing is after close. */
static void test_not_kept(void **state) {
    (void)state;
    mtaio_channel *ch = channel_with(MTAIO_CHANNEL_OPTIONS(.replay = 4));
    mtaio_subscriber *full = subscribe_limited(ch, 1, MTAIO_REFUSE);
    publish_letter(ch, NULL, 'a');
    assert_int_equal(publish(ch, NULL, "no"), MTAIO_ELIMIT);
    note_replayed(ch, NULL);
    assert_noted("a EAGAIN");
    mtaio_channel_close(ch);
    assert_int_equal(mtaio_subscribe(ch, NULL, &full), MTAIO_ECLOSED);
    mtaio_subscriber_unref(full);
    mtaio_channel_unref(ch);
}

/* Two threads: who subscribes while another publishes gets each message once, with none between missing. */
struct race {
    mtaio_channel *ch;
    uint64_t published;
};
static void subscribe_or_publish(unsigned index, void *arg) {
    struct race *race = arg;
    enum { ROUNDS = 3000 };
    if (index == 0) {
        for (uint64_t i = 0; i < ROUNDS; i++) CHECK(publish_number(race->ch, i, -1) >= 0);
        mtaio_channel_close(race->ch);
        return;
    }
    mtaio_subscriber *sub;
    while (mtaio_subscribe(race->ch, NULL, &sub) == 0) {
        uint64_t first = 0, last = 0, got = 0, n;
        mtaio_message m;
        while (got < 20 && mtaio_subscriber_receive(sub, 0, &m) == 0) {
            memcpy(&n, mtaio_message_data(&m), sizeof n);
            CHECK(m.missed == 0);
            if (got++ == 0)
                first = n;
            else
                CHECK(n == last + 1);
            last = n;
            mtaio_message_clear(&m);
        }
        CHECK(got == 0 || last - first + 1 == got);
        mtaio_subscriber_unref(sub);
    }
}
static void test_race(void **state) {
    (void)state;
    struct race race = {.ch = channel_with(MTAIO_CHANNEL_OPTIONS(.replay = 8))};
    support_threads(3, subscribe_or_publish, &race);
    check_balance(race.ch);
    mtaio_channel_unref(race.ch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_off),          TEST(test_last), TEST(test_patterns), TEST(test_by_topic),
        TEST(test_small_buffer), TEST(test_data), TEST(test_not_kept), TEST(test_race),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
