/* test_channel_publisher_time.c - "A publisher helper: ... batch of n or every t milliseconds": what the
 * time, several threads and reentry do to what was gathered. */
#include "publishers.h"

/* --- By time ----------------------------------------------------------------------------------- */

/* "At the latest so long after the first was given." */
static void test_linger(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct failures f = {0};
    mtaio_message m;
    mtaio_publisher *p =
        publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 100, .linger_ns = 20000000, .failed = note_failed,
                                                   .destroy = failures_gone, .ctx = &f));
    for (int round = 0; round < 3; round++) {
        int64_t start = support_now_ms();
        gather(p, "ab");
        OK(mtaio_subscriber_receive(sub, 10 * SECOND, &m));
        assert_true(round > 0 || support_now_ms() - start >= 19); /* sooner where a flush is just under way */
        assert_string_equal(mtaio_message_data(&m), "a");
        mtaio_message_clear(&m);
        OK(mtaio_subscriber_receive(sub, 10 * SECOND, &m));
        assert_string_equal(mtaio_message_data(&m), "b");
        mtaio_message_clear(&m);
    }
    gather(p, "c");
    mtaio_publisher_unref(p); /* before its time: flushed, and the timer has ended */
    assert_int_equal(f.count, 0);
    EVENTUALLY(atomic_load(&f.gone) == 1);
    note_all(sub);
    assert_noted("c EAGAIN");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    EVENTUALLY_FREED();
}

/* "failed: what a flush by time could not publish." */
static void test_linger_fails(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_REFUSE);
    struct failures f = {0};
    mtaio_publisher *p =
        publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 100, .linger_ns = 5000000, .failed = note_failed,
                                                   .destroy = failures_gone, .ctx = &f));
    gather(p, "ab");
    EVENTUALLY(atomic_load(&f.count) == 1);
    note_all(sub);
    assert_noted(":b:ELIMIT a EAGAIN");
    mtaio_publisher_unref(p);
    EVENTUALLY(atomic_load(&f.gone) == 1);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    EVENTUALLY_FREED();
}

/* Without `failed`, the next who publishes or flushes is told, once, "before this one is taken". */
static void test_time_tells_next(void **state) {
    (void)state;
    for (int way = 0; way < 2; way++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_REFUSE);
        mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 9, .linger_ns = 1000000));
        struct payload q = {.text = "q"};
        gather(p, "ab");
        EVENTUALLY(sums_of(ch).refused == 1);
        support_sleep_ms(10); /* it is written a little later than it is counted */
        if (way == 0)
            EVENTUALLY(mtaio_publisher_flush(p, -1) == MTAIO_ELIMIT);
        else
            assert_int_equal(give_payload(p, &q, 0), MTAIO_ELIMIT);
        assert_int_equal(q.released, 0);
        gather(p, "c");
        note_next(sub);
        EVENTUALLY(subscriber_sums_of(sub).waiting == 1);
        note_all(sub);
        assert_noted("a c EAGAIN");
        mtaio_publisher_unref(p);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
        EVENTUALLY_FREED();
    }
}

/* What only has no room when the time comes stays, and is tried again; what has none at the end has failed.
 */
static void test_time_without_room(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    struct failures f = {0};
    mtaio_message m;
    mtaio_publisher *p =
        publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 100, .linger_ns = 2000000, .failed = note_failed,
                                                   .destroy = failures_gone, .ctx = &f));
    gather(p, "abcd");
    support_sleep_ms(10);
    for (int i = 0; i < 3; i++) {
        OK(mtaio_subscriber_receive(sub, 10 * SECOND, &m));
        note_message(&m);
        mtaio_message_clear(&m);
    }
    EVENTUALLY(subscriber_sums_of(sub).waiting == 1);
    gather(p, "e");
    mtaio_publisher_unref(p); /* "the last flushes, without waiting" */
    EVENTUALLY(atomic_load(&f.gone) == 1);
    assert_int_equal(f.count, 1);
    note_all(sub);
    assert_noted("a b c :e:EAGAIN d EAGAIN");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    EVENTUALLY_FREED();
}

/* The same with a batch, which still holds up its publisher. */
static void test_time_and_batch(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    struct failures f = {0};
    mtaio_publisher *p = publisher_with(
        ch, MTAIO_PUBLISHER_OPTIONS(.batch = 3, .linger_ns = 2000000, .failed = note_failed, .ctx = &f));
    gather(p, "a");
    EVENTUALLY(subscriber_sums_of(sub).waiting == 1);
    gather(p, "b");
    support_sleep_ms(20);
    gather(p, "c");
    int r = give(p, "d", 0); /* there is no room, unless it is only gathered while the timer tries */
    assert_true(r == MTAIO_EAGAIN || r == 0);
    for (const char *expected = r == 0 ? "abcd" : "abc"; *expected; expected++) {
        EVENTUALLY(subscriber_sums_of(sub).waiting == 1); /* by time */
        note_next(sub);
    }
    assert_noted(r == 0 ? "a b c d" : "a b c");
    assert_int_equal(f.count, 0);
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    EVENTUALLY_FREED();
}

/* A publisher that ends long before its time leaves no timer behind; an endless time needs none. */
static void test_long_time(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        mtaio_channel *ch = channel_new();
        struct failures f = {0};
        mtaio_publisher *p = publisher_with(
            ch, MTAIO_PUBLISHER_OPTIONS(.batch = 3, .linger_ns = i == 0 ? 3600 * SECOND : INT64_MAX,
                                        .destroy = failures_gone, .ctx = &f));
        gather(p, "a");
        assert_int_equal(mtaio_publisher_flush(p, 0), 1);
        gather(p, "b");
        mtaio_publisher_unref(p);
        EVENTUALLY(atomic_load(&f.gone) == 1);
        assert_int_equal(sums_of(ch).published, 2);
        mtaio_channel_unref(ch);
        EVENTUALLY_FREED();
    }
}

/* --- One at a time ----------------------------------------------------------------------------- */

/* While one thread waits for room, others gather; who would make the batch too large, or flushes, waits too,
 * as long as it wants to; and all messages stay in their order. */
struct waiting_give {
    mtaio_publisher *p;
    const char *text;
    struct call call;
};
static int run_give(void *ctx) {
    struct waiting_give *w = ctx;
    return give(w->p, w->text, -1);
}
static void test_turn(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 3));
    struct waiting_give w[2] = {{.p = p, .text = "d"}, {.p = p, .text = "e"}};
    struct call flush;
    gather(p, "ab");
    call_begin(&flush, run_flush, p);
    assert_waits(&flush); /* a is in */
    gather(p, "cC");
    assert_int_equal(give(p, "x", 0), MTAIO_EAGAIN);
    assert_int_equal(give(p, "x", 1000000), MTAIO_ETIMEDOUT);
    assert_int_equal(mtaio_publisher_flush(p, 0), MTAIO_EAGAIN);
    assert_int_equal(mtaio_publisher_flush(p, 1000000), MTAIO_ETIMEDOUT);
    for (int i = 0; i < 2; i++) {
        call_begin(&w[i].call, run_give, &w[i]);
        assert_waits(&w[i].call);
    }
    for (int i = 0; i < 6; i++) {
        EVENTUALLY(subscriber_sums_of(sub).waiting == 1);
        note_next(sub);
    }
    assert_int_equal(call_end(&flush), 2); /* what was there when it began */
    assert_int_equal(call_end(&w[0].call), 1);
    assert_int_equal(call_end(&w[1].call), 1);
    assert_noted("a b c C d e");
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* "Reentry: your code may call anything", here during a flush: what it publishes is gathered, and published
 * when the turn ends where it is a batch; only flushing would wait for itself. */
struct echo {
    mtaio_publisher *p;
    int left, flushed;
};
static int echo(int result, mtaio_message *m, void *ctx) {
    struct echo *e = ctx;
    unlocked();
    if (result < 0) return result;
    note_message(m);
    mtaio_message_clear(m);
    if (e->left > 0) {
        char text[2] = {(char)('a' + e->left--), 0};
        e->flushed = mtaio_publisher_flush(e->p, -1);
        CHECK(give(e->p, text, -1) == 0);
    }
    return 1;
}
static void test_reentry(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct echo e = {.p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 2)), .left = 5};
    OK(mtaio_subscriber_receive_async(sub, MTAIO_RECEIVER(.call = echo, .ctx = &e), NULL));
    assert_int_equal(give(e.p, "1", -1), 0);
    assert_int_equal(give(e.p, "2", -1), 1);
    assert_int_equal(e.flushed, MTAIO_EDEADLK);
    assert_noted("1 2 f e d c b");
    assert_int_equal(subscriber_sums_of(sub).delivered, 7);
    assert_int_equal(mtaio_publisher_flush(e.p, 0), 0);
    mtaio_publisher_unref(e.p);
    mtaio_channel_unref(ch);
    mtaio_subscriber_unref(sub);
}

/* The last reference is given back by what the flush itself calls. */
static int drop_publisher(int result, mtaio_message *m, void *ctx) {
    struct echo *e = ctx;
    if (result < 0) return result;
    note_message(m);
    mtaio_message_clear(m);
    e->p = mtaio_publisher_unref(e->p);
    return 1;
}
static void test_dropped_inside(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct echo e = {.p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 9, .linger_ns = SECOND))};
    OK(mtaio_subscriber_receive_async(sub, MTAIO_RECEIVER(.call = drop_publisher, .ctx = &e), NULL));
    assert_int_equal(give(e.p, "1", -1), 0);
    assert_int_equal(mtaio_publisher_flush(e.p, -1), 1);
    assert_null(e.p);
    assert_noted("1");
    mtaio_channel_unref(ch);
    mtaio_subscriber_unref(sub);
    EVENTUALLY_FREED();
}

/* --- Threads ----------------------------------------------------------------------------------- */

enum { THREADS = 4, EACH = 2000 };
struct crowd {
    mtaio_publisher *p;
    mtaio_subscriber *sub;
    atomic_int giving;
    uint64_t next[THREADS];
};
static void give_or_take(unsigned index, void *ctx) {
    struct crowd *c = ctx;
    if (index < THREADS - 1) {
        for (uint64_t i = 0; i < EACH; i++) {
            uint64_t n = (uint64_t)index << 32 | i;
            CHECK(mtaio_publisher_publish(c->p, MTAIO_PUBLICATION(.data = &n, .bytes = sizeof n), -1) >= 0);
            if (i % 64 == index) CHECK(mtaio_publisher_flush(c->p, -1) >= 0);
        }
        atomic_fetch_sub(&c->giving, 1);
        mtaio_publisher_unref(c->p);
        return;
    }
    mtaio_message m;
    while (mtaio_receive(c->sub, &m) == 0) {
        uint64_t n;
        memcpy(&n, mtaio_message_data(&m), sizeof n);
        CHECK((n & UINT32_MAX) == c->next[n >> 32]++);
        mtaio_message_clear(&m);
    }
}

/* A short time, flushes and batches from several threads, the last of which drops the publisher while its
 * timer may be going off: every message arrives once, each thread's in its order; also through a small
 * buffer, where the last flush may find no room for some. */
static void test_threads(void **state) {
    (void)state;
    static const size_t limits[] = {MTAIO_UNBOUNDED, 16};
    for (size_t k = 0; k < COUNT(limits); k++) {
        mtaio_channel *ch = channel_new();
        struct crowd c = {.sub = subscribe_limited(ch, limits[k], MTAIO_BLOCK), .giving = THREADS - 1};
        struct failures f = {0};
        c.p =
            publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 5, .linger_ns = 50000, .failed = note_failed,
                                                       .destroy = failures_gone, .ctx = &f));
        for (int i = 1; i < THREADS - 1; i++) mtaio_publisher_ref(c.p);
        mtaio_channel_unref(ch); /* closed with the publisher */
        support_threads(THREADS, give_or_take, &c);
        EVENTUALLY(atomic_load(&f.gone) == 1);
        uint64_t sum = 0;
        for (int i = 0; i < THREADS; i++) sum += c.next[i];
        assert_int_equal(sum + (uint64_t)f.count, (THREADS - 1) * EACH);
        assert_true(f.count == 0 || limits[k] != MTAIO_UNBOUNDED);
        forget_notes();
        mtaio_subscriber_unref(c.sub);
        EVENTUALLY_FREED();
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_linger),
        TEST(test_linger_fails),
        TEST(test_time_tells_next),
        TEST(test_time_without_room),
        TEST(test_time_and_batch),
        TEST(test_long_time),
        TEST(test_turn),
        TEST(test_reentry),
        TEST(test_dropped_inside),
        TEST(test_threads),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
