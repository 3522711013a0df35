/* test_channel_flow.c - what changes while messages flow: patterns, subscribers beyond the limit; how often a
 * batch wakes; and topics of any kind, remembered or not. */
#include "channels.h"

#include "loops.h"

/* --- Wake-ups ---------------------------------------------------------------------------------- */

static int count_message(int result, mtaio_message *message, void *ctx) {
    if (result == 0) ++*(unsigned *)ctx;
    mtaio_message_clear(message);
    return 1;
}

/* "Several at once ... and one wake-up for each subscriber", however many they are; one by one there are as
 * many. */
static void test_one_wake_up(void **state) {
    (void)state;
    enum { MANY = 40 };
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *subs[2] = {subscribe(ch, NULL), subscribe(ch, "t")};
    mtaio_executor *ex = loop_new();
    mtaio_publication list[MANY];
    unsigned got[2] = {0, 0};
    for (size_t i = 0; i < MANY; i++) list[i] = *MTAIO_PUBLICATION(.topic = "t", .data = "x", .bytes = 2);
    for (size_t i = 0; i < 2; i++)
        OK(mtaio_subscriber_receive_async(
            subs[i], MTAIO_RECEIVER(.call = count_message, .ctx = &got[i], .executor = ex), NULL));
    take_jobs(mtaio_job_run); /* they have found nothing, and watch */
    forget_notes();
    assert_int_equal(mtaio_channel_publish_many(ch, list, MANY, 0), MANY);
    assert_noted("post post");
    take_jobs(mtaio_job_run);
    assert_int_equal(got[0], MANY);
    assert_int_equal(got[1], MANY);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(mtaio_channel_publish(ch, &list[i], 0), 2);
        take_jobs(mtaio_job_run);
    }
    assert_noted("post post post post");
    mtaio_channel_unref(ch);
    for (size_t i = 0; i < 2; i++) mtaio_subscriber_unref(subs[i]);
    take_jobs(mtaio_job_run); /* they are told of the end */
    mtaio_executor_unref(ex);
    forget_notes();
}

/* The same of a publisher's batch: what was gathered wakes once, when it is full. */
static void test_one_wake_up_of_batch(void **state) {
    (void)state;
    enum { BATCH = 10 };
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    mtaio_executor *ex = loop_new();
    mtaio_publisher *publisher = NULL;
    unsigned got = 0;
    OK(mtaio_publisher_new(ch, MTAIO_PUBLISHER_OPTIONS(.topic = "t", .batch = BATCH), &publisher));
    OK(mtaio_subscriber_receive_async(sub, MTAIO_RECEIVER(.call = count_message, .ctx = &got, .executor = ex),
                                      NULL));
    take_jobs(mtaio_job_run);
    forget_notes();
    for (int i = 0; i < BATCH; i++) {
        assert_noted("");
        assert_true(mtaio_publisher_publish(publisher, MTAIO_PUBLICATION(.data = "x", .bytes = 2), 0) >= 0);
    }
    assert_noted("post");
    take_jobs(mtaio_job_run);
    assert_int_equal(got, BATCH);
    mtaio_publisher_unref(publisher);
    mtaio_channel_unref(ch);
    mtaio_subscriber_unref(sub);
    take_jobs(mtaio_job_run);
    mtaio_executor_unref(ex);
    forget_notes();
}

/* --- Patterns ---------------------------------------------------------------------------------- */

enum { FLOW = SANITIZED ? 4000 : 40000 };
struct flow {
    mtaio_channel *ch;
    mtaio_subscriber *sub,
        *narrow; /* of "stays.*", and at times of "comes.*"; at times of all that comes, with no room */
    atomic_bool over;
    uint64_t reached, stayed, came;
};

/* Even and odd numbers, to two topics. */
static void publish_flow(struct flow *f) {
    for (uint64_t i = 0; i < FLOW; i++) {
        const mtaio_publication p = *MTAIO_PUBLICATION(.topic = i % 2 == 0 ? "stays.here" : "comes.and",
                                                       .data = &i, .bytes = sizeof i);
        int r = mtaio_channel_publish(f->ch, &p, 60 * SECOND);
        CHECK(r >= (i % 2 == 0));
        f->reached += (uint64_t)r;
    }
    atomic_store(&f->over, true);
    CHECK(mtaio_channel_close(f->ch) == 0);
}

static void change_patterns(struct flow *f) {
    while (!atomic_load(&f->over)) {
        int r = mtaio_subscriber_add(f->sub, "comes.*");
        if (r == MTAIO_ECLOSED) return;
        CHECK(r == 1);
        CHECK((r = mtaio_subscriber_add(f->narrow, "comes.**")) == 1 || r == MTAIO_ECLOSED);
        CHECK((r = mtaio_subscriber_drop(f->narrow, "comes.**")) == 1 || r == MTAIO_ECLOSED);
        CHECK((r = mtaio_subscriber_drop(f->sub, "comes.*")) == 1 || r == MTAIO_ECLOSED);
    }
}

static void receive_flow(struct flow *f) {
    mtaio_message m;
    uint64_t next[2] = {0, 1}, n;
    while (mtaio_subscriber_receive(f->sub, -1, &m) == 0) {
        memcpy(&n, mtaio_message_data(&m), sizeof n);
        bool stays = n % 2 == 0;
        CHECK(strcmp(mtaio_message_topic(&m), stays ? "stays.here" : "comes.and") == 0);
        CHECK(stays ? n == next[0] : n >= next[1]);
        next[n % 2] = n + 2;
        CHECK(m.missed == 0);
        *(stays ? &f->stayed : &f->came) += 1;
        mtaio_message_clear(&m);
    }
}

static void flow(unsigned index, void *arg) {
    static void (*const parts[])(struct flow * f) = {publish_flow, change_patterns, receive_flow};
    parts[index](arg);
}

/* "Add and drop patterns later ... at any time from any thread": what is subscribed all the time comes
 * without a gap, what comes and goes in order; nobody waits for who does not want it any more; and the sums
 * are exact: published times matching subscribers = delivered + dropped + waiting. */
static void test_patterns_flow(void **state) {
    (void)state;
    struct flow f = {.ch = channel_new()};
    static const char *const stays[] = {"stays.*", NULL}, *const none[] = {"none", NULL};
    f.sub = subscribe_with(f.ch, MTAIO_SUBSCRIPTION(.patterns = stays, .buffer_size = 50));
    f.narrow = subscribe_with(f.ch, MTAIO_SUBSCRIPTION(.patterns = none, .buffer_size = 1));
    support_threads(3, flow, &f);
    mtaio_channel_stats s = sums_of(f.ch);
    assert_int_equal(s.published, FLOW);
    assert_int_equal(s.refused, 0);
    assert_int_equal(s.reached, f.reached);
    assert_int_equal(f.stayed, FLOW / 2);
    assert_int_equal(s.delivered, f.stayed + f.came);
    assert_int_equal(s.waiting, subscriber_sums_of(f.narrow).waiting);
    assert_int_equal(s.reached, s.delivered + s.waiting);
    mtaio_subscriber_unref(f.sub);
    mtaio_subscriber_unref(f.narrow);
    check_balance(f.ch);
    mtaio_channel_unref(f.ch);
}

/* --- Who comes too late ------------------------------------------------------------------------- */

/* "max_subscribers is enforced", and who is refused has got nothing of what is kept, and counts for nothing.
 */
static void test_replay_and_limit(void **state) {
    (void)state;
    mtaio_channel *ch = channel_with(MTAIO_CHANNEL_OPTIONS(.max_subscribers = 1, .replay = 3));
    struct payload p = {.text = "kept"};
    mtaio_subscriber *refused = NULL;
    assert_int_equal(publish_payload(ch, "t", &p, 0), 0);
    mtaio_subscriber *sub = subscribe(ch, "t");
    for (int i = 0; i < 3; i++) assert_int_equal(mtaio_subscribe(ch, NULL, &refused), MTAIO_ELIMIT);
    assert_null(refused);
    assert_int_equal(mtaio_channel_count(ch), 1);
    assert_sums(ch, "1 1 0 0 1 0");
    note_all(sub);
    mtaio_subscriber_unref(sub);
    assert_int_equal(atomic_load(&p.released), 0);
    sub = subscribe(ch, NULL); /* there is a place again, and it gets what is kept */
    note_all(sub);
    assert_noted("t:kept EAGAIN t:kept EAGAIN");
    assert_sums(ch, "1 2 2 0 0 0");
    mtaio_channel_unref(ch);
    assert_int_equal(atomic_load(&p.released), 1);
    mtaio_subscriber_unref(sub);
}

/* --- Topics ------------------------------------------------------------------------------------ */

static const char *const bad_topics[] = {
    "",    ".",  "a.", ".a",   "a..b",   "*",
    "a.*", "**", "a*", "\xff", "a.\xc3", "a.bcdefghijklmnopqrstuvwxyz.abcdefghijklmnopqrstuvwxyz..z"};

static void assert_refused(mtaio_channel *ch, const char *topic) {
    static const char data[64];
    for (size_t bytes = 0; bytes <= sizeof data; bytes += 16) {
        assert_int_equal(mtaio_publish(ch, topic, data, bytes), MTAIO_ENAME);
        assert_int_equal(
            mtaio_channel_publish(ch, MTAIO_PUBLICATION(.topic = topic, .data = data, .bytes = bytes), 0),
            MTAIO_ENAME);
    }
    assert_int_equal(mtaio_publish(ch, topic, NULL, 0), MTAIO_ENAME);
    assert_int_equal(mtaio_channel_reach(ch, topic), MTAIO_ENAME);
}

/* What is no name is refused in the same way whoever is there, whatever comes with it, and however often it
 * is asked for; nobody gets anything, and nothing is counted. */
static void test_bad_topics(void **state) {
    (void)state;
    static const char *const patterns[] = {NULL, "*", "**", "a.*"}; /* the first: everything */
    for (size_t n = 0; n <= COUNT(patterns); n++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *subs[COUNT(patterns)];
        for (size_t i = 0; i < n; i++) subs[i] = subscribe(ch, patterns[i]);
        int reached = publish(ch, "a.b", "x");
        for (int i = 0; i < 3; i++)
            assert_int_equal(publish(ch, "a.b", "x"), reached); /* some are remembered */
        for (size_t i = 0; i < COUNT(bad_topics); i++)
            for (int again = 0; again < 20; again++) assert_refused(ch, bad_topics[i]);
        mtaio_channel_stats s = sums_of(ch);
        assert_int_equal(s.published, 4);
        assert_int_equal(s.reached, 4 * n);
        assert_int_equal(s.waiting, 4 * n);
        assert_int_equal(s.refused, 0);
        for (size_t i = 0; i < n; i++) mtaio_subscriber_unref(subs[i]);
        mtaio_channel_unref(ch);
    }
}

/* A topic and data that just fit into the message itself, or just do not: all the same to who receives them,
 * whether the topic is remembered or not. */
static void test_sizes(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, "*"), *all = subscribe(ch, NULL);
    char data[64], topic[64];
    for (size_t i = 0; i < sizeof data; i++) data[i] = (char)('a' + i % 26);
    for (size_t length = 1; length < 60; length++) {
        memset(topic, 'n', length);
        topic[length] = '\0';
        for (size_t bytes = 0; bytes <= sizeof data; bytes++) {
            assert_int_equal(mtaio_publish(ch, topic, data, bytes), 2);
            for (int i = 0; i < 2; i++) {
                mtaio_message m;
                OK(mtaio_subscriber_receive(i == 0 ? sub : all, 0, &m));
                CHECK(mtaio_message_bytes(&m) == bytes && strcmp(mtaio_message_topic(&m), topic) == 0);
                CHECK(memcmp(mtaio_message_data(&m), data, bytes) == 0);
                mtaio_message_clear(&m);
            }
        }
    }
    mtaio_subscriber_unref(sub);
    mtaio_subscriber_unref(all);
    mtaio_channel_unref(ch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_one_wake_up),      TEST(test_one_wake_up_of_batch), TEST(test_patterns_flow),
        TEST(test_replay_and_limit), TEST(test_bad_topics),           TEST(test_sizes),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
