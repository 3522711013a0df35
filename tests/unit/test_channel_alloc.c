/* test_channel_alloc.c - memory that fails in the midst of what goes on by itself: growing buffers, the line,
 * bridges, what is kept, what is gathered (hazard 20). And what is needed: nothing in the steady state,
 * little for an idle subscriber. */
#include "channels.h"

/* --- Line and buffers -------------------------------------------------------------------------- */

/* A buffer that cannot grow: nobody has got the message, and those before it are all there. */
static void test_growing(void **state) {
    (void)state;
    SWEEP(sweep) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *a = subscribe(ch, NULL), *b = subscribe(ch, NULL);
        uint64_t published = 0, refused = 0;
        support_arm(&sweep);
        for (uint64_t i = 0; i < 70; i++) {
            int r = publish_number(ch, published, 0);
            CHECK(r == 2 || r == MTAIO_ENOMEM);
            published += r == 2;
            refused += r != 2;
        }
        bool failed = support_disarm(&sweep);
        assert_true(failed || refused == 0);
        for (; published < 70; published++) assert_int_equal(publish_number(ch, published, 0), 2);
        for (uint64_t i = 0; i < 70; i++) {
            assert_int_equal(next_number(a, NULL), i);
            assert_int_equal(next_number(b, NULL), i);
        }
        assert_sums(ch, "70 140 140 0 0 0");
        mtaio_subscriber_unref(a);
        mtaio_subscriber_unref(b);
        mtaio_channel_unref(ch);
    }
}

/* Several at once: those before the one that cannot be published are, and are all there. */
static void test_many(void **state) {
    (void)state;
    SWEEP(sweep) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *a = subscribe(ch, NULL), *b = subscribe(ch, "a.*");
        mtaio_publication list[40];
        char data[40][100] = {{0}};
        for (size_t i = 0; i < COUNT(list); i++) {
            memcpy(data[i], &(uint64_t){i}, sizeof(uint64_t));
            list[i] =
                *MTAIO_PUBLICATION(.topic = "a.b", .data = data[i], .bytes = i % 3 == 0 ? sizeof data[i] : 8);
        }
        support_arm(&sweep);
        int r = mtaio_channel_publish_many(ch, list, COUNT(list), 0);
        bool failed = support_disarm(&sweep);
        size_t done = r > 0 ? (size_t)r : 0;
        assert_true(r == (int)COUNT(list) || (failed && (r > 0 || r == MTAIO_ENOMEM)));
        while (done < COUNT(list)) {
            r = mtaio_channel_publish_many(ch, list + done, COUNT(list) - done, 0);
            assert_true(r > 0);
            done += (size_t)r;
        }
        for (size_t i = 0; i < 2 * COUNT(list); i++) {
            mtaio_message m;
            OK(mtaio_receive(i % 2 != 0 ? a : b, &m));
            assert_memory_equal(mtaio_message_data(&m), &(uint64_t){i / 2}, sizeof(uint64_t));
            mtaio_message_clear(&m);
        }
        assert_sums(ch, "40 80 80 0 0 0");
        mtaio_subscriber_unref(a);
        mtaio_subscriber_unref(b);
        mtaio_channel_unref(ch);
    }
}

/* A publication in the line that cannot go in for want of memory is told so, or goes in later; none is lost
 * silently. */
static void count_result(int result, void *ctx) {
    int *results = ctx;
    CHECK(result == 2 || result == MTAIO_ENOMEM);
    results[result < 0]++;
}
static void test_line(void **state) {
    (void)state;
    SWEEP(sweep) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *narrow = subscribe_limited(ch, 1, MTAIO_BLOCK), *wide = subscribe(ch, NULL);
        int results[2] = {0};
        publish(ch, NULL, "fills");
        for (int i = 0; i < 20; i++)
            OK(mtaio_channel_publish_async(ch, MTAIO_PUBLICATION(.data = "x", .bytes = 2),
                                           MTAIO_PUBLISHED(.call = count_result, .ctx = results), NULL));
        mtaio_message m;
        support_arm(&sweep);
        for (int i = 0; i < 21 && mtaio_subscriber_receive(narrow, 0, &m) == 0; i++) mtaio_message_clear(&m);
        support_disarm(&sweep);
        while (mtaio_subscriber_receive(narrow, 0, &m) == 0) mtaio_message_clear(&m);
        assert_int_equal(results[0] + results[1], 20);
        assert_int_equal(sums_of(ch).published, 1 + results[0]);
        mtaio_subscriber_unref(narrow);
        mtaio_subscriber_unref(wide);
        mtaio_channel_unref(ch);
    }
}

/* A bridge that has no memory for an event says so: a failure of its emission; a message has failed as an
 * emission that nobody awaits. Nothing is lost beside it, and the next crosses. */
static int count_events(mtaio_event *event, void *ctx) {
    (void)event;
    ++*(int *)ctx;
    return 0;
}
static void count_trouble(const mtaio_trouble *trouble, void *ctx) {
    CHECK(trouble->status == MTAIO_ENOMEM);
    ++*(int *)ctx;
}
static void test_bridges(void **state) {
    (void)state;
    SWEEP(sweep) {
        mtaio_emitter *from = emitter_new(), *to = NULL;
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe(ch, NULL), *kept = subscribe(ch, NULL);
        int events = 0, troubles = 0;
        OK(mtaio_emitter_new(MTAIO_EMITTER_OPTIONS(.trouble = count_trouble, .ctx = &troubles), &to));
        OK(mtaio_on(to, "*", count_events, &events));
        OK(mtaio_emitter_to_channel(from, "*", ch, NULL));
        OK(mtaio_subscriber_to_emitter(sub, to, "plain", NULL, NULL));
        support_arm(&sweep);
        int crossed = mtaio_emit(from, "x", "data"), published = publish(ch, NULL, "message");
        bool failed = support_disarm(&sweep);
        assert_true(crossed == 1 || (failed && crossed == MTAIO_EHANDLER));
        assert_true(published == 2 || (failed && published == MTAIO_ENOMEM));
        int sent = (crossed == 1) + (published == 2);
        assert_int_equal(subscriber_sums_of(kept).waiting, sent);
        assert_int_equal(events + troubles, sent);
        assert_int_equal(mtaio_emit(from, "y", "data"), 1);
        assert_int_equal(events + troubles, sent + 1);
        mtaio_channel_close(ch);
        mtaio_subscriber_unref(sub);
        mtaio_subscriber_unref(kept);
        mtaio_emitter_unref(from);
        mtaio_emitter_unref(to);
        mtaio_channel_unref(ch);
        mtaio_reclaim();
    }
}

/* The same where the emission has to rest for room. */
static void count_done(int result, const mtaio_report *report, void *ctx) {
    (void)report;
    CHECK(result == 1 || result == MTAIO_EHANDLER);
    ++*(int *)ctx;
}
static void test_bridge_full(void **state) {
    (void)state;
    SWEEP(sweep) {
        mtaio_emitter *from = emitter_new();
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
        mtaio_event *event = event_new("x", NULL);
        mtaio_message m;
        int done = 0, begun = 0;
        OK(mtaio_emitter_to_channel(from, "*", ch, NULL));
        OK(mtaio_emit(from, "x", NULL) - 1);
        support_arm(&sweep);
        begun += mtaio_emit_async(from, event, MTAIO_ASYNC(.done = count_done, .ctx = &done)) == 0;
        if (mtaio_subscriber_receive(sub, 0, &m) == 0) mtaio_message_clear(&m);
        support_disarm(&sweep);
        while (mtaio_subscriber_receive(sub, 0, &m) == 0) mtaio_message_clear(&m);
        assert_int_equal(done, begun);
        mtaio_event_unref(event);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
        mtaio_emitter_unref(from);
        mtaio_reclaim();
    }
}

/* What is kept for late subscribers, by order and by topic. */
static void test_replay(void **state) {
    (void)state;
    for (int by_topic = 0; by_topic < 2; by_topic++) SWEEP(sweep) {
            mtaio_channel *ch =
                channel_with(MTAIO_CHANNEL_OPTIONS(.replay = 20, .replay_by_topic = by_topic != 0));
            mtaio_subscriber *sub = subscribe(ch, NULL), *late = NULL;
            char topic[8];
            int published = 0;
            support_arm(&sweep);
            for (int i = 0; i < 12; i++) {
                snprintf(topic, sizeof topic, "t%d", i);
                int r = publish_now(ch, topic, "x");
                CHECK(r == 1 || r == MTAIO_ENOMEM);
                published += r == 1;
            }
            int r = mtaio_subscribe(ch, NULL, &late);
            bool failed = support_disarm(&sweep);
            assert_true(r == 0 || (failed && r == MTAIO_ENOMEM));
            if (r < 0) late = subscribe(ch, NULL);
            assert_int_equal(subscriber_sums_of(sub).waiting, published);
            assert_int_equal(subscriber_sums_of(late).waiting, published);
            mtaio_subscriber_unref(sub);
            mtaio_subscriber_unref(late);
            mtaio_channel_unref(ch);
        }
}

/* A publisher that gathers, with a time limit. */
static void test_publisher(void **state) {
    (void)state;
    SWEEP(sweep) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe(ch, NULL);
        mtaio_publisher *p = NULL;
        OK(mtaio_publisher_new(
            ch, MTAIO_PUBLISHER_OPTIONS(.topic = "t", .batch = 4, .linger_ns = 60 * SECOND), &p));
        uint64_t given = 0;
        support_arm(&sweep);
        for (uint64_t i = 0; i < 10; i++) {
            int r = mtaio_publisher_publish(p, MTAIO_PUBLICATION(.data = &given, .bytes = sizeof given), 0);
            CHECK(r >= 0 || r == MTAIO_ENOMEM);
            given += r >= 0;
        }
        int flushed = mtaio_publisher_flush(p, 0);
        bool failed = support_disarm(&sweep);
        assert_true(failed || given == 10);
        assert_true(flushed >= 0 || flushed == MTAIO_ENOMEM);
        assert_true(mtaio_publisher_flush(p, 0) >= 0);
        assert_int_equal(subscriber_sums_of(sub).waiting, given);
        for (uint64_t i = 0; i < given; i++) assert_int_equal(next_number(sub, NULL), i);
        mtaio_publisher_unref(p);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
        EVENTUALLY(support_live_blocks() <= sweep.live); /* the timers' thread lets go a little later */
    }
}

/* --- What is needed ---------------------------------------------------------------------------- */

/* "Allocations per publish of a copied small message, steady state: 0", with a topic, a wildcard, several
 * subscribers. */
static void test_steady(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 16, 40};
    for (size_t subscribers = 1; subscribers <= 3; subscribers++)
        for (size_t s = 0; s < COUNT(sizes); s++) {
            mtaio_channel *ch = channel_new();
            mtaio_subscriber *subs[3] = {NULL};
            static const char *const patterns[] = {NULL, "a.b", "a.*"};
            char data[40] = {0};
            size_t before = 0;
            mtaio_message m;
            for (size_t i = 0; i < subscribers; i++) subs[i] = subscribe(ch, patterns[i]);
            for (int i = 0; i < 2000; i++) {
                if (i == 200) before = support_allocations();
                CHECK(mtaio_publish(ch, i % 3 == 0 ? NULL : "a.b", data, sizes[s]) == (int)subscribers);
                for (size_t k = 0; k < subscribers && i % 8 == 7; k++)
                    while (mtaio_subscriber_receive(subs[k], 0, &m) == 0) mtaio_message_clear(&m);
            }
            assert_int_equal(support_allocations(), before);
            for (size_t i = 0; i < subscribers; i++) mtaio_subscriber_unref(subs[i]);
            mtaio_channel_unref(ch);
        }
}

/* "Idle subscriber: <= 512 B, no descriptor until asked for." */
static void test_idle(void **state) {
    (void)state;
    enum { MANY = 1000 };
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *subs[MANY], *first = subscribe(ch, NULL);
    size_t before = support_live_bytes();
    for (int i = 0; i < MANY; i++) subs[i] = subscribe(ch, NULL);
    assert_true(support_live_bytes() - before <= 512 * MANY);
    for (int i = 0; i < MANY; i++) mtaio_subscriber_unref(subs[i]);
    mtaio_subscriber_unref(first);
    mtaio_channel_unref(ch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_growing),   TEST(test_many),        TEST(test_line),
        TEST(test_bridges),   TEST(test_bridge_full), TEST(test_replay),
        TEST(test_publisher), TEST(test_steady),      TEST(test_idle),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
