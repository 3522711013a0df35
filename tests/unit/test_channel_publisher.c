/* test_channel_publisher.c - "A publisher helper: default topic, batch of n or every t milliseconds, flush."
 */
#include "channels.h"

static mtaio_publisher *publisher_with(mtaio_channel *ch, const mtaio_publisher_options *options) {
    mtaio_publisher *p = NULL;
    OK(mtaio_publisher_new(ch, options, &p));
    assert_non_null(p);
    return p;
}
static int give(mtaio_publisher *p, const char *topic, const char *text, int64_t timeout_ns) {
    return mtaio_publisher_publish(
        p, MTAIO_PUBLICATION(.topic = topic, .data = text, .bytes = strlen(text) + 1), timeout_ns);
}

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
        assert_int_equal(give(p, NULL, "a", 0), 1);
        assert_int_equal(give(p, "other", "b", 0), 1);
        assert_int_equal(give(plain, NULL, "c", 0), 1);
        assert_int_equal(give(bare, "t", "d", 0), 1);
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
        assert_int_equal(give(p, NULL, text, 0), i % 3 == 2 ? 1 : 0);
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

/* "It keeps the channel open"; "the last flushes, without waiting". */
static void test_last_reference(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 2, MTAIO_BLOCK);
    struct payload p[3] = {{.text = "0"}, {.text = "1"}, {.text = "2"}};
    mtaio_publisher *publisher = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 10));
    mtaio_channel_unref(ch);
    assert_false(mtaio_channel_is_closed(ch)); /* the publisher's reference keeps it */
    for (int i = 0; i < 3; i++)
        assert_int_equal(
            mtaio_publisher_publish(
                publisher, MTAIO_PUBLICATION(.data = p[i].text, .bytes = 2, .release = release_payload), 0),
            0);
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

/* "An error of a message gathered earlier is returned from here once, before this one is taken; those behind
 * it stay." */
static void test_errors(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 2, MTAIO_BLOCK);
    mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 4));
    struct payload fifth = {.text = "4"};
    for (int i = 0; i < 3; i++)
        assert_int_equal(give(p, NULL, (const char *const[]){"0", "1", "2"}[i], 0), 0);
    int r = give(p, NULL, "3", 0); /* four are there: two get in */
    assert_true(r == MTAIO_EAGAIN || r == 0);
    note_all(sub);
    assert_noted("0 1 EAGAIN");
    r = mtaio_publisher_flush(p, 0);
    assert_true(r == 1 || r == 2 || r == MTAIO_EAGAIN);
    mtaio_publisher_flush(p, 0);
    note_all(sub);
    assert_true(strstr(notes.text, "2") != NULL); /* what waited behind goes on */
    forget_notes();
    mtaio_channel_close(ch);
    assert_int_equal(mtaio_publisher_publish(
                         p, MTAIO_PUBLICATION(.data = fifth.text, .bytes = 2, .release = release_payload), 0),
                     MTAIO_ECLOSED);
    assert_int_equal(fifth.released, 0); /* "data with a release stays the caller's" */
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* flush waits for room as publishing does: its time limit, and how many were published. */
static int run_flush(void *ctx) { return mtaio_publisher_flush(ctx, -1); }
static void test_flush_waits(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 10));
    struct call flush;
    assert_int_equal(give(p, NULL, "a", 0), 0);
    assert_int_equal(give(p, NULL, "b", 0), 0);
    assert_int_equal(mtaio_publisher_flush(p, 1000000), 1);
    int r = mtaio_publisher_flush(p, 1000000);
    assert_int_equal(r, MTAIO_ETIMEDOUT);
    call_begin(&flush, run_flush, p);
    support_sleep_ms(20);
    note_next(sub);
    r = call_end(&flush);
    note_all(sub);
    assert_true(r >= 0 || r == MTAIO_ETIMEDOUT || r == MTAIO_ECANCELED);
    if (strstr(notes.text, "b") == NULL) { /* the message that timed out was dropped: nothing waited */
        assert_noted("a EAGAIN");
        assert_int_equal(sums_of(ch).published, 1);
    } else {
        assert_noted("a b EAGAIN");
    }
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* --- By time ----------------------------------------------------------------------------------- */

/* The timers' thread ends with the last timer, and frees what it had, a little later. */
#define EVENTUALLY_FREED() EVENTUALLY(support_live_blocks() == blocks_before)

struct failures {
    atomic_int count, gone;
    int error;
    char text[8];
};
static void failed(int error, const mtaio_publication *p, void *ctx) {
    struct failures *f = ctx;
    unlocked();
    f->error = error;
    if (p->data != NULL) memcpy(f->text, p->data, 2);
    atomic_fetch_add(&f->count, 1);
}
static void failures_gone(void *ctx) {
    unlocked();
    CHECK(atomic_fetch_add(&((struct failures *)ctx)->gone, 1) == 0);
}

/* The timers' thread lets go of what it was given a little later. */
static void await_timers(void) { EVENTUALLY(support_live_blocks() <= blocks_before); }

/* "At the latest so long after the first was given." */
static void test_linger(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct failures f = {0};
    mtaio_message m;
    mtaio_publisher *p =
        publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 100, .linger_ns = 20000000, .failed = failed,
                                                   .destroy = failures_gone, .ctx = &f));
    for (int round = 0; round < 3; round++) {
        int64_t start = support_now_ms();
        assert_int_equal(give(p, NULL, "a", 0), 0);
        assert_int_equal(give(p, NULL, "b", 0), 0);
        OK(mtaio_subscriber_receive(sub, 10 * SECOND, &m));
        assert_true(round > 0 || support_now_ms() - start >= 19); /* sooner where a flush is just under way */
        assert_string_equal(mtaio_message_data(&m), "a");
        mtaio_message_clear(&m);
        OK(mtaio_subscriber_receive(sub, 10 * SECOND, &m));
        mtaio_message_clear(&m);
    }
    assert_int_equal(give(p, NULL, "c", 0), 0);
    mtaio_publisher_unref(p); /* before its time: flushed, and the timer has ended */
    assert_int_equal(f.count, 0);
    EVENTUALLY(atomic_load(&f.gone) == 1);
    note_all(sub);
    assert_noted("c EAGAIN");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    EVENTUALLY_FREED();
    await_timers();
}

/* "failed: what a flush by time could not publish." */
static void test_linger_fails(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_REFUSE);
    struct failures f = {0};
    mtaio_publisher *p =
        publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 100, .linger_ns = 5000000, .failed = failed,
                                                   .destroy = failures_gone, .ctx = &f));
    assert_int_equal(give(p, NULL, "a", 0), 0);
    assert_int_equal(give(p, NULL, "b", 0), 0);
    EVENTUALLY(atomic_load(&f.count) == 1);
    assert_int_equal(f.error, MTAIO_ELIMIT);
    assert_string_equal(f.text, "b");
    note_all(sub);
    assert_noted("a EAGAIN");
    mtaio_publisher_unref(p);
    EVENTUALLY(atomic_load(&f.gone) == 1);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    EVENTUALLY_FREED();
    await_timers();
}

/* What only has no room stays, and is tried again after the same time. */
static void test_linger_waits(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    struct failures f = {0};
    mtaio_message m;
    mtaio_publisher *p =
        publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 100, .linger_ns = 2000000, .failed = failed,
                                                   .destroy = failures_gone, .ctx = &f));
    for (int i = 0; i < 4; i++)
        assert_int_equal(give(p, NULL, (const char *const[]){"a", "b", "c", "d"}[i], 0), 0);
    support_sleep_ms(10);
    for (int i = 0; i < 3; i++) {
        OK(mtaio_subscriber_receive(sub, 10 * SECOND, &m));
        note_message(&m);
        mtaio_message_clear(&m);
    }
    EVENTUALLY(subscriber_sums_of(sub).waiting == 1);
    assert_int_equal(give(p, NULL, "e", 0), 0);
    mtaio_publisher_unref(p); /* "the last flushes, without waiting": what has no room then has failed */
    EVENTUALLY(atomic_load(&f.gone) == 1);
    assert_int_equal(f.count, 1);
    assert_int_equal(f.error, MTAIO_EAGAIN);
    assert_string_equal(f.text, "e");
    note_all(sub);
    assert_noted("a b c d EAGAIN");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    await_timers();
}

/* Without `failed` it is returned from the next call, once. */
static void test_linger_error(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_REFUSE);
    mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 100, .linger_ns = 1000000));
    struct payload q = {.text = "q"};
    assert_int_equal(give(p, NULL, "a", 0), 0);
    assert_int_equal(give(p, NULL, "b", 0), 0);
    EVENTUALLY(sums_of(ch).refused == 1);
    support_sleep_ms(10); /* it is written a little later than it is counted */
    assert_int_equal(mtaio_publisher_publish(
                         p, MTAIO_PUBLICATION(.data = q.text, .bytes = 2, .release = release_payload), 0),
                     MTAIO_ELIMIT);
    assert_int_equal(q.released, 0); /* "before this one is taken" */
    note_all(sub);
    assert_noted("a EAGAIN");
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    await_timers();
}

/* An error in the middle of a flush: what went in is counted, the error returned once from the next call, and
 * those behind stay. */
static void test_flush_error(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 2, MTAIO_REFUSE);
    mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 100));
    for (int i = 0; i < 5; i++)
        assert_int_equal(give(p, NULL, (const char *const[]){"a", "b", "c", "d", "e"}[i], 0), 0);
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

/* The default topic is for messages that have none of their own, those that are published again too. */
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

/* --- One at a time ----------------------------------------------------------------------------- */

/* While one thread waits for room, others go on gathering; who would make the batch too large waits for it,
 * for as long as it was told. */
static int run_give(void *ctx) {
    struct waiting_publish *w = ctx;
    return give((mtaio_publisher *)(void *)w->ch, NULL, w->text, w->timeout_ns);
}
static void test_turn(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 2));
    struct call flush;
    struct waiting_publish w[2];
    publish(ch, NULL, "fills");
    assert_int_equal(give(p, NULL, "a", 0), 0);
    call_begin(&flush, run_flush, p);
    assert_waits(&flush);
    assert_int_equal(give(p, NULL, "b", 0), 0); /* gathered meanwhile */
    assert_int_equal(give(p, NULL, "no", 0), MTAIO_EAGAIN);
    assert_int_equal(give(p, NULL, "no", 1000000), MTAIO_ETIMEDOUT);
    assert_int_equal(mtaio_publisher_flush(p, 0), MTAIO_EAGAIN);
    assert_int_equal(mtaio_publisher_flush(p, 1000000), MTAIO_ETIMEDOUT);
    for (int i = 0; i < 2; i++) {
        w[i] = (struct waiting_publish){
            .ch = (mtaio_channel *)(void *)p, .text = i == 0 ? "c" : "d", .timeout_ns = -1};
        call_begin(&w[i].call, run_give, &w[i]);
        assert_waits(&w[i].call);
    }
    mtaio_message m;
    for (int i = 0; i < 5; i++) {
        OK(mtaio_subscriber_receive(sub, 10 * SECOND, &m));
        note_message(&m);
        mtaio_message_clear(&m);
    }
    assert_true(call_end(&flush) >= 1);
    for (int i = 0; i < 2; i++) assert_int_equal(call_end(&w[i].call), 1);
    assert_true(strcmp(notes.text, "fills a b c d") == 0 || strcmp(notes.text, "fills a b d c") == 0);
    forget_notes();
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* A call of the user's may use the very publisher that called it: it gathers, whatever there is, and cannot
 * flush. */
struct reentering {
    mtaio_publisher *p;
    int calls;
};
static int publish_back(int result, mtaio_message *message, void *ctx) {
    struct reentering *r = ctx;
    if (result < 0) return 0;
    mtaio_message_clear(message);
    if (r->calls++ >= 6) return 1;
    CHECK(give(r->p, NULL, "again", -1) >= 0);
    int flushed = mtaio_publisher_flush(r->p, -1);
    CHECK(flushed == MTAIO_EDEADLK || flushed >= 0);
    return 1;
}
static void test_turn_reentry(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct reentering r = {.p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 2))};
    OK(mtaio_subscriber_receive_async(sub, MTAIO_RECEIVER(.call = publish_back, .ctx = &r), NULL));
    assert_int_equal(give(r.p, NULL, "a", -1), 0);
    assert_int_equal(give(r.p, NULL, "b", -1), 1);
    assert_true(mtaio_publisher_flush(r.p, -1) >= 0);
    assert_int_equal(subscriber_sums_of(sub).delivered, 2 + 6);
    mtaio_publisher_unref(r.p);
    mtaio_unsubscribe(sub);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* --- Several threads at one publisher ----------------------------------------------------------- */

enum { THREADS = 3, EACH = 3000 };
struct gathering {
    mtaio_channel *ch;
    mtaio_publisher *p;
    mtaio_subscriber *sub;
};
static void give_many(unsigned index, void *arg) {
    struct gathering *g = arg;
    for (uint64_t i = 0; i < EACH; i++) {
        uint64_t n = (uint64_t)index << 32 | i;
        CHECK(mtaio_publisher_publish(g->p, MTAIO_PUBLICATION(.data = &n, .bytes = sizeof n), -1) >= 0);
        if (index == 0 && i % 100 == 0) CHECK(mtaio_publisher_flush(g->p, -1) >= 0);
    }
}
static void test_threads(void **state) {
    (void)state;
    struct gathering g = {.ch = channel_new()};
    g.sub = subscribe(g.ch, NULL);
    g.p = publisher_with(g.ch, MTAIO_PUBLISHER_OPTIONS(.batch = 7, .linger_ns = 1000000));
    support_threads(THREADS, give_many, &g);
    CHECK(mtaio_publisher_flush(g.p, -1) >= 0);
    EVENTUALLY(subscriber_sums_of(g.sub).reached == THREADS * EACH);
    uint64_t next[THREADS] = {0};
    for (int i = 0; i < THREADS * EACH; i++) {
        uint64_t n = next_number(g.sub, NULL);
        assert_int_equal(n & UINT32_MAX, next[n >> 32]++); /* each thread's in its order */
    }
    mtaio_publisher_unref(g.p);
    mtaio_subscriber_unref(g.sub);
    mtaio_channel_unref(g.ch);
    EVENTUALLY_FREED();
    await_timers();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_topic),        TEST(test_batch),        TEST(test_last_reference), TEST(test_errors),
        TEST(test_flush_waits),  TEST(test_linger),       TEST(test_linger_fails),   TEST(test_threads),
        TEST(test_linger_waits), TEST(test_linger_error), TEST(test_flush_error),    TEST(test_again),
        TEST(test_turn),         TEST(test_turn_reentry),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
