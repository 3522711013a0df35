/* test_publisher.c - publishers: what several threads, the time, errors and lack of memory do to what was gathered. */
#include "channels.h"

static mtaio_publisher *publisher_with(mtaio_channel *ch, const mtaio_publisher_options *options) {
    mtaio_publisher *p = NULL;
    OK(mtaio_publisher_new(ch, options, &p));
    return p;
}
static int give(mtaio_publisher *p, const char *text, int64_t timeout_ns) {
    return mtaio_publisher_publish(p, MTAIO_PUBLICATION(.data = text, .bytes = strlen(text) + 1), timeout_ns);
}

/* The timers' thread ends with the last timer, and frees what it had, a little later. */
#define EVENTUALLY_FREED() EVENTUALLY(support_live_blocks() == blocks_before)

/* --- The turn ---------------------------------------------------------------------------------- */

static int run_flush(void *p) { return mtaio_publisher_flush(p, -1); }
static int run_give(void *p) { return give(p, "d", -1); }

/* While one thread waits for room, others gather; who has to publish waits too, as long as it wants to; and all
 * messages stay in their order. */
static void test_turn(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 3));
    struct call flush, last;
    assert_int_equal(give(p, "a", 0), 0);
    assert_int_equal(give(p, "b", 0), 0);
    call_begin(&flush, run_flush, p);
    assert_waits(&flush); /* a is in */
    assert_int_equal(give(p, "c", 0), 0);
    assert_int_equal(give(p, "C", 0), 0);
    assert_int_equal(give(p, "x", 0), MTAIO_EAGAIN);
    assert_int_equal(give(p, "x", 1000000), MTAIO_ETIMEDOUT);
    assert_int_equal(mtaio_publisher_flush(p, 0), MTAIO_EAGAIN);
    assert_int_equal(mtaio_publisher_flush(p, 1000000), MTAIO_ETIMEDOUT);
    call_begin(&last, run_give, p);
    assert_waits(&last);
    for (int i = 0; i < 5; i++) {
        EVENTUALLY(subscriber_sums_of(sub).waiting == 1);
        note_next(sub);
    }
    assert_int_equal(call_end(&flush), 2); /* what was there when it began */
    assert_int_equal(call_end(&last), 1);
    assert_noted("a b c C d");
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* "Reentry: your code may call anything", here during a flush: what it publishes is gathered, and published when the
 * turn ends where it is a batch; only flushing would wait for itself. */
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

/* --- What is published --------------------------------------------------------------------------- */

/* Everything that a publication can be is gathered: handed over, with metadata, received before; the topic that it
 * has, or its message, goes before the default. */
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
    assert_int_equal(mtaio_publisher_publish(
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

/* --- Errors ------------------------------------------------------------------------------------ */

/* "An error of a message gathered earlier is returned from here once, before this one is taken; those behind it stay."
 * A refused message is dropped; one that only had no room stays. */
static void test_told_once(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_REFUSE);
    mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 4));
    struct payload kept = {.text = "k"};
    for (int i = 0; i < 3; i++)
        assert_int_equal(give(p, (const char *const[]){"a", "b", "c"}[i], 0), 0);
    assert_int_equal(mtaio_publisher_flush(p, 0), 1); /* a; b is dropped */
    assert_int_equal(mtaio_publisher_publish(
                         p, MTAIO_PUBLICATION(.data = kept.text, .bytes = 2, .release = release_payload), 0),
                     MTAIO_ELIMIT); /* that was b's */
    assert_int_equal(kept.released, 0);
    note_next(sub);
    assert_int_equal(mtaio_publisher_flush(p, 0), 1);
    assert_int_equal(mtaio_publisher_flush(p, 0), 0);
    note_all(sub);
    assert_noted("a c EAGAIN");
    assert_int_equal(give(p, "d", 0), 0);
    assert_int_equal(mtaio_publisher_flush(p, 0), 1);
    assert_int_equal(give(p, "e", 0), 0);
    assert_int_equal(mtaio_publisher_flush(p, 0), MTAIO_ELIMIT); /* at once, where nothing else was published */
    assert_int_equal(mtaio_publisher_flush(p, 0), 0);
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
    const mtaio_publication own = {
        .size = sizeof own, .data = kept.text, .bytes = 2, .release = release_payload};
    assert_int_equal(give(p, "a", 0), 0);
    assert_int_equal(give(p, "b", 0), 0);
    assert_int_equal(mtaio_publisher_publish(p, &own, 1000000), MTAIO_ETIMEDOUT);
    assert_int_equal(kept.released, 0);
    note_all(sub);
    assert_noted("a b EAGAIN");
    assert_int_equal(mtaio_publisher_publish(p, &own, 0), 0);
    assert_int_equal(mtaio_publisher_flush(p, 0), 1);
    note_all(sub);
    assert_noted("k EAGAIN");
    assert_int_equal(kept.released, 1);
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

struct failures {
    atomic_int count, gone;
};
static void note_failed(int error, const mtaio_publication *p, void *ctx) {
    unlocked();
    note("%s:%s:%s", p->topic != NULL ? p->topic : "", (const char *)p->data, mtaio_error_name(error) + 6);
    atomic_fetch_add(&((struct failures *)ctx)->count, 1);
}
static void failures_gone(void *ctx) {
    unlocked();
    CHECK(atomic_fetch_add(&((struct failures *)ctx)->gone, 1) == 0);
}

/* What the last flush, which does not wait, could not publish is told too: nothing is lost silently. */
static void test_last_tells(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    struct failures f = {0};
    mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.topic = "t", .batch = 9, .failed = note_failed,
                                                                    .destroy = failures_gone, .ctx = &f));
    for (int i = 0; i < 3; i++)
        assert_int_equal(give(p, (const char *const[]){"a", "b", "c"}[i], 0), 0);
    mtaio_publisher_unref(p);
    assert_int_equal(f.gone, 1);
    note_all(sub);
    assert_noted("t:b:EAGAIN t:c:EAGAIN t:a EAGAIN");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* "0 and 1: each at once": errors are this message's own. Closed: at once, too, and what was gathered is told. */
static void test_closed(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    struct failures f = {0};
    mtaio_publisher *single = publisher_with(ch, NULL),
                    *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 4, .failed = note_failed, .ctx = &f));
    assert_int_equal(give(p, "a", 0), 0);
    assert_int_equal(give(p, "b", 0), 0);
    mtaio_channel_close(ch);
    assert_int_equal(give(single, "x", 0), MTAIO_ECLOSED);
    assert_int_equal(give(p, "x", 0), MTAIO_ECLOSED);
    assert_int_equal(mtaio_publisher_flush(p, -1), MTAIO_ECLOSED);
    mtaio_publisher_unref(p);
    assert_noted(":b:ECLOSED");
    mtaio_publisher_unref(single);
    mtaio_channel_unref(ch);
}

/* --- By time ----------------------------------------------------------------------------------- */

/* Without `failed`, the next who publishes is told of what a flush by time could not publish. */
static void test_time_tells_next(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_REFUSE);
    mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 9, .linger_ns = 1000000));
    assert_int_equal(give(p, "a", 0), 0);
    assert_int_equal(give(p, "b", 0), 0);
    EVENTUALLY(sums_of(ch).refused == 1);
    EVENTUALLY(mtaio_publisher_flush(p, -1) == MTAIO_ELIMIT || mtaio_publisher_flush(p, -1) == MTAIO_ELIMIT);
    assert_int_equal(give(p, "c", 0), 0);
    note_next(sub);
    EVENTUALLY(subscriber_sums_of(sub).waiting == 1);
    note_all(sub);
    assert_noted("a c EAGAIN");
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    EVENTUALLY_FREED();
}

/* Where there is no room when the time comes, what was gathered stays, and is tried again; a batch still holds up its
 * publisher. */
static void test_time_without_room(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    struct failures f = {0};
    mtaio_publisher *p = publisher_with(
        ch, MTAIO_PUBLISHER_OPTIONS(.batch = 3, .linger_ns = 2000000, .failed = note_failed, .ctx = &f));
    assert_int_equal(give(p, "a", 0), 0);
    EVENTUALLY(subscriber_sums_of(sub).waiting == 1);
    assert_int_equal(give(p, "b", 0), 0);
    support_sleep_ms(20);
    for (int i = 0; i < 2; i++)
        assert_true(give(p, "c", 0) == (i == 0 ? 0 : MTAIO_EAGAIN) || i == 1);
    note_next(sub);
    EVENTUALLY(subscriber_sums_of(sub).waiting == 1); /* b, by time */
    note_next(sub);
    EVENTUALLY(subscriber_sums_of(sub).waiting == 1);
    note_next(sub);
    assert_noted("a b c");
    assert_int_equal(f.count, 0);
    mtaio_publisher_unref(p);
    forget_notes();
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
        assert_int_equal(give(p, "a", 0), 0);
        assert_int_equal(mtaio_publisher_flush(p, 0), 0 + 1);
        assert_int_equal(give(p, "b", 0), 0);
        mtaio_publisher_unref(p);
        EVENTUALLY(atomic_load(&f.gone) == 1);
        assert_int_equal(sums_of(ch).published, 2);
        mtaio_channel_unref(ch);
        EVENTUALLY_FREED();
    }
}

/* --- Out of memory ----------------------------------------------------------------------------- */

/* "Out of memory is an error return that leaves everything as it was": a message was taken, or not, and of those taken
 * each is published once, in order. Hazard 20. */
static void test_out_of_memory(void **state) {
    (void)state;
    SWEEP(sweep) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe(ch, NULL);
        mtaio_publisher *p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 4, .linger_ns = 3600 * SECOND));
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

/* A small buffer, a short time, flushes and batches from several threads, the last of which drops the publisher while
 * its timer may be going off: every message arrives once, each thread's in its order. */
static void test_threads(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    struct crowd c = {.sub = subscribe_limited(ch, 16, MTAIO_BLOCK), .giving = THREADS - 1};
    struct failures f = {0};
    c.p = publisher_with(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 5, .linger_ns = 50000, .failed = note_failed,
                                                     .destroy = failures_gone, .ctx = &f));
    for (int i = 1; i < THREADS - 1; i++)
        mtaio_publisher_ref(c.p);
    mtaio_channel_unref(ch); /* closed with the publisher */
    support_threads(THREADS, give_or_take, &c);
    EVENTUALLY(atomic_load(&f.gone) == 1);
    uint64_t sum = 0;
    for (int i = 0; i < THREADS; i++)
        sum += c.next[i];
    assert_int_equal(sum + (uint64_t)f.count, (THREADS - 1) * EACH);
    forget_notes(); /* what the last flush found no room for */
    mtaio_subscriber_unref(c.sub);
    EVENTUALLY_FREED();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_turn),           TEST(test_reentry),           TEST(test_dropped_inside), TEST(test_kinds),
        TEST(test_told_once),      TEST(test_own_error),         TEST(test_last_tells),     TEST(test_closed),
        TEST(test_time_tells_next), TEST(test_time_without_room), TEST(test_long_time),     TEST(test_out_of_memory),
        TEST(test_threads),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
