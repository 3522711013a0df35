/* test_channel_gaps.c - what is rare: waiting too deep inside a pool, messages published again in odd ways,
 * memory that fails where others of its kind did not, executors that refuse. */
#include "channels.h"
#include "loops.h"

/* --- Too deep ---------------------------------------------------------------------------------- */

struct deep {
    mtaio_executor *pool;
    mtaio_channel *ch; /* closing it lets all go */
    mtaio_subscriber *sub;
    atomic_bool open;
    atomic_int ended;
    bool tried;
};

static void wait_to_begin(void *arg) { EVENTUALLY(atomic_load(&((struct deep *)arg)->open)); }

static void wait_for_end(void *arg) {
    struct deep *d = arg;
    mtaio_message m;
    CHECK(mtaio_receive(d->sub, &m) == MTAIO_ECLOSED);
    atomic_fetch_add(&d->ended, 1);
}

/* The innermost: nothing that has to wait can. */
static void try_to_wait(void *arg) {
    struct deep *d = arg;
    mtaio_message m;
    mtaio_channel *full = NULL;
    mtaio_subscriber *sub = NULL;
    CHECK(mtaio_receive(d->sub, &m) == MTAIO_EDEPTH);
    CHECK(mtaio_subscriber_receive_many(d->sub, 1000, &m, 1) == MTAIO_EDEPTH);
    CHECK(mtaio_subscriber_receive(d->sub, 0, &m) == MTAIO_EAGAIN); /* without waiting it is as always */
    CHECK(mtaio_select(&d->sub, 1, -1) == MTAIO_EDEPTH);
    CHECK(mtaio_select(&d->sub, 1, 0) == MTAIO_EAGAIN);
    CHECK(mtaio_channel_new(NULL, &full) == 0);
    CHECK(mtaio_channel_subscribe(full, MTAIO_SUBSCRIPTION(.buffer_size = 1), &sub) == 0);
    CHECK(publish(full, NULL, "fills") == 1);
    CHECK(publish(full, NULL, "x") == MTAIO_EDEPTH);
    struct payload p = {.text = "p"};
    CHECK(publish_payload(full, NULL, &p, -1) == MTAIO_EDEPTH && p.released == 0);
    mtaio_channel_stats s = sums_of(full);
    CHECK(s.published == 1 && s.waiting == 1);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(full);
    d->tried = true;
    CHECK(mtaio_channel_close(d->ch) == 0);
}

/* "On a pool's thread that has to wait, EDEPTH": MTAIO_DEPTH_MAX jobs within each other. */
static void test_too_deep(void **state) {
    (void)state;
    struct deep d = {.ch = channel_new()};
    d.sub = subscribe(d.ch, NULL);
    OK(mtaio_pool_new(1, 2 * MTAIO_DEPTH_MAX, &d.pool));
    OK(mtaio_executor_post(d.pool, wait_to_begin, NULL, &d));
    for (int i = 0; i < MTAIO_DEPTH_MAX - 1; i++) OK(mtaio_executor_post(d.pool, wait_for_end, NULL, &d));
    OK(mtaio_executor_post(d.pool, try_to_wait, NULL, &d));
    atomic_store(&d.open, true);
    OK(mtaio_executor_close(d.pool));
    assert_true(d.tried);
    assert_int_equal(d.ended, MTAIO_DEPTH_MAX - 1);
    mtaio_executor_unref(d.pool);
    mtaio_subscriber_unref(d.sub);
    mtaio_channel_unref(d.ch);
}

/* --- Published again --------------------------------------------------------------------------- */

/* A message has its data, topic, metadata and origin; what is given beside it takes the place of its own. */
static void test_again(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL), *second;
    mtaio_metadata *own = NULL, *other = NULL;
    mtaio_message first = {0}, m = {0};
    struct payload p = {.text = "p"};
    OK(mtaio_metadata_new(&own));
    OK(mtaio_metadata_new(&other));
    mtaio_publication with = *MTAIO_PUBLICATION(.topic = "t", .data = p.text, .bytes = 2,
                                                .release = release_payload, .metadata = own);
    assert_int_equal(mtaio_channel_publish(ch, &with, 0), 1);
    OK(mtaio_receive(sub, &first));
    second = subscribe(ch, "t");
    assert_int_equal(mtaio_channel_publish(ch, MTAIO_PUBLICATION(.message = &first, .metadata = other), 0),
                     2);
    OK(mtaio_receive(second, &m));
    assert_ptr_equal(mtaio_message_metadata(&m), other);
    assert_string_equal(mtaio_message_topic(&m), "t");
    assert_int_equal(mtaio_channel_publish(ch, MTAIO_PUBLICATION(.message = &m, .topic = "u"), 0),
                     1); /* a view of a view */
    mtaio_message_clear(&m);
    mtaio_message_clear(&first);
    OK(mtaio_receive(sub, &m));
    assert_ptr_equal(mtaio_message_metadata(&m), other);
    mtaio_message_clear(&m);
    assert_int_equal(p.released, 0);
    OK(mtaio_receive(sub, &m));
    assert_string_equal(mtaio_message_topic(&m), "u");
    assert_ptr_equal(mtaio_message_metadata(&m), other);
    assert_ptr_equal(mtaio_message_data(&m), p.text);
    mtaio_message_clear(&m);
    assert_int_equal(p.released, 1);
    OK(mtaio_metadata_set(own, "k", "v"));
    OK(mtaio_metadata_set(other, "k", "v"));
    mtaio_metadata_unref(own);
    mtaio_metadata_unref(other);
    mtaio_subscriber_unref(sub);
    mtaio_subscriber_unref(second);
    mtaio_channel_unref(ch);
}

/* One that was handed over to a single subscriber becomes shared then: or stays as it is, without memory for
 * that. */
static void test_again_without_memory(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++) SWEEP(sweep) {
            mtaio_channel *ch = channel_new();
            mtaio_subscriber *sub = subscribe(ch, NULL);
            struct payload p = {.text = "p"};
            mtaio_metadata *metadata = NULL;
            mtaio_message m = {0}, n = {0};
            OK(mtaio_metadata_new(&metadata));
            assert_int_equal(publish_payload(ch, "t", &p, 0), 1);
            OK(mtaio_receive(sub, &m));
            mtaio_publication again = *MTAIO_PUBLICATION(.message = &m, .topic = way == 1 ? "u" : NULL,
                                                         .metadata = way == 2 ? metadata : NULL);
            support_arm(&sweep);
            int r = mtaio_channel_publish(ch, &again, 0);
            bool failed = support_disarm(&sweep);
            assert_true(r == 1 || (failed && r == MTAIO_ENOMEM));
            assert_string_equal(mtaio_message_data(&m), "p");
            assert_string_equal(mtaio_message_topic(&m), "t");
            if (r < 0) assert_int_equal(mtaio_channel_publish(ch, &again, 0), 1);
            OK(mtaio_receive(sub, &n));
            assert_ptr_equal(mtaio_message_data(&n), p.text);
            mtaio_message_clear(&n);
            assert_int_equal(p.released, 0);
            mtaio_message_clear(&m);
            assert_int_equal(p.released, 1);
            mtaio_metadata_unref(metadata);
            mtaio_subscriber_unref(sub);
            mtaio_channel_unref(ch);
        }
}

/* --- Others ------------------------------------------------------------------------------------ */

/* Nothing at once is nothing. */
static void test_none(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    assert_int_equal(mtaio_channel_publish_many(ch, NULL, 0, -1), 0);
    assert_sums(ch, "0 0 0 0 0 0");
    mtaio_channel_unref(ch);
}

/* The first subscriber, the ninth...: each can be refused for want of memory, and come later. */
static void test_subscribing(void **state) {
    (void)state;
    SWEEP(sweep) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *subs[30] = {NULL};
        size_t there = 0;
        support_arm(&sweep);
        for (size_t i = 0; i < COUNT(subs); i++) {
            int r = mtaio_subscribe(ch, i % 2 != 0 ? "t" : NULL, &subs[there]);
            CHECK(r == 0 || r == MTAIO_ENOMEM);
            there += r == 0;
        }
        bool failed = support_disarm(&sweep);
        assert_true(failed || there == COUNT(subs));
        assert_int_equal(mtaio_channel_count(ch), there);
        assert_int_equal(mtaio_channel_reach(ch, NULL), there);
        for (size_t i = 0; i < there; i++) mtaio_subscriber_unref(subs[i]);
        mtaio_channel_unref(ch);
        mtaio_reclaim();
    }
}

static void note_result(int result, void *ctx) {
    (void)ctx;
    note("%s", result_text(result));
}
/* An executor that does not take it: the result is no other for that, and is told right here. */
static void test_told_here(void **state) {
    (void)state;
    mtaio_executor *ex = loop_new();
    mtaio_channel *ch = channel_new();
    loop.quiet = true;
    loop.refuse = MTAIO_ELIMIT;
    OK(mtaio_channel_publish_async(ch, MTAIO_PUBLICATION(.data = "x", .bytes = 2),
                                   MTAIO_PUBLISHED(.call = note_result, .executor = ex), NULL));
    assert_noted("0");
    mtaio_channel_unref(ch);
    mtaio_executor_unref(ex);
}

/* Any answer but 1 ends a receiver. */
static int answer_two(int result, mtaio_message *message, void *ctx) {
    CHECK(result == 0);
    mtaio_message_clear(message);
    ++*(int *)ctx;
    return 2;
}
static void test_other_answers(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    int calls = 0;
    OK(mtaio_subscriber_receive_async(sub, MTAIO_RECEIVER(.call = answer_two, .ctx = &calls), NULL));
    publish(ch, NULL, "a");
    publish(ch, NULL, "b");
    assert_int_equal(calls, 1);
    note_all(sub);
    assert_noted("b EAGAIN");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* By topic, messages without one are one more; what is of one's own origin is not given either. */
static void test_replay(void **state) {
    (void)state;
    mtaio_channel *ch = channel_with(MTAIO_CHANNEL_OPTIONS(.replay = 40, .replay_by_topic = true));
    mtaio_subscriber *sub = NULL;
    char topic[8];
    static const char mine;
    for (int i = 0; i < 60; i++) {
        snprintf(topic, sizeof topic, "t%d", i % 30);
        CHECK(publish(ch, topic, "x") == 0);
        CHECK(publish(ch, NULL, "none") == 0);
    }
    mtaio_publication own = *MTAIO_PUBLICATION(.topic = "own", .data = "x", .bytes = 2, .origin = &mine);
    assert_int_equal(mtaio_channel_publish(ch, &own, 0), 0);
    sub = subscribe_with(ch, MTAIO_SUBSCRIPTION(.origin = &mine));
    assert_subscriber_sums(sub, "31 0 0 31 31");
    mtaio_subscriber_unref(sub);
    sub = subscribe(ch, NULL);
    assert_subscriber_sums(sub, "32 0 0 32 32");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* --- Publishers --------------------------------------------------------------------------------- */

static int give(mtaio_publisher *p, const char *text, int64_t timeout_ns) {
    return mtaio_publisher_publish(p, MTAIO_PUBLICATION(.data = text, .bytes = strlen(text) + 1), timeout_ns);
}
static int run_flush(void *ctx) { return mtaio_publisher_flush(ctx, -1); }
static int run_short_flush(void *ctx) { return mtaio_publisher_flush(ctx, 20000000); }

/* Several wait for a publisher's turn; one in the middle gives up. */
static void test_turns(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    mtaio_publisher *p = NULL;
    struct call first, early, middle, last;
    mtaio_message m;
    OK(mtaio_publisher_new(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 10), &p));
    publish(ch, NULL, "fills");
    OK(give(p, "a", 0));
    call_begin(&first, run_flush, p);
    assert_waits(&first);
    call_begin(&early, run_flush, p);
    assert_waits(&early);
    call_begin(&middle, run_short_flush, p);
    call_begin(&last, run_flush, p);
    assert_int_equal(call_end(&middle), MTAIO_ETIMEDOUT);
    assert_waits(&last);
    OK(give(p, "b", 0));
    for (int i = 0; i < 3; i++) {
        OK(mtaio_subscriber_receive(sub, 10 * SECOND, &m));
        mtaio_message_clear(&m);
    }
    assert_int_equal(call_end(&first) + call_end(&early) + call_end(&last), 2); /* each message once */
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* What has no room before one's own message keeps it out: it stays the caller's, and is tried again. */
static void test_publisher_full(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    mtaio_publisher *p = NULL;
    struct payload q = {.text = "q"};
    mtaio_publication own = *MTAIO_PUBLICATION(.data = q.text, .bytes = 2, .release = release_payload);
    OK(mtaio_publisher_new(ch, MTAIO_PUBLISHER_OPTIONS(.batch = 3), &p));
    OK(give(p, "a", 0));
    OK(give(p, "b", 0));
    assert_int_equal(mtaio_publisher_publish(p, &own, 1000000), MTAIO_ETIMEDOUT); /* a is in, b is not */
    assert_int_equal(mtaio_publisher_publish(p, &own, 0), 0);                     /* gathered behind it */
    assert_int_equal(mtaio_publisher_flush(p, 1000000), MTAIO_ETIMEDOUT);
    assert_int_equal(q.released, 0);
    mtaio_subscriber *refuses = subscribe_limited(ch, 1, MTAIO_REFUSE);
    note_all(sub);
    publish(ch, NULL, "fills");
    assert_int_equal(mtaio_publisher_flush(p, -1), MTAIO_ELIMIT); /* b will never be published now */
    note_all(refuses);
    note_all(sub);
    assert_int_equal(mtaio_publisher_flush(p, -1), 1);
    note_all(sub);
    assert_noted("a EAGAIN fills EAGAIN fills EAGAIN q EAGAIN");
    mtaio_publisher_unref(p);
    mtaio_subscriber_unref(sub);
    mtaio_subscriber_unref(refuses);
    assert_int_equal(q.released, 1);
    mtaio_channel_unref(ch);
}

/* A thread that finds no memory for what it needs to ask without a lock asks with it, and is answered the
 * same. More threads at once than there have been, so that some are new to the library. */
enum { ASKING = 16 };
struct asking {
    mtaio_channel *ch;
    struct support_barrier barrier;
};
static void ask(unsigned index, void *arg) {
    struct asking *a = arg;
    (void)index;
    CHECK(mtaio_channel_reach(a->ch, "a.b") == 2);
    CHECK(mtaio_channel_reach(a->ch, "a..b") == MTAIO_ENAME);
    CHECK(mtaio_channel_reach(a->ch, "b") == 1);
    support_barrier_wait(&a->barrier);
}
static void test_asked_without_memory(void **state) {
    (void)state;
    struct asking a = {.ch = channel_new()};
    mtaio_subscriber *all = subscribe(a.ch, NULL), *some = subscribe(a.ch, "a.*");
    publish(a.ch, "a.c", "x");
    support_barrier_init(&a.barrier, ASKING);
    support_fail_at(1, true);
    support_threads(ASKING, ask, &a);
    CHECK(support_failures() > 0);
    support_fail_at(0, false);
    mtaio_subscriber_unref(all);
    mtaio_subscriber_unref(some);
    mtaio_channel_unref(a.ch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_asked_without_memory),
        TEST(test_too_deep),
        TEST(test_again),
        TEST(test_again_without_memory),
        TEST(test_none),
        TEST(test_subscribing),
        TEST(test_replay),
        TEST(test_told_here),
        TEST(test_turns),
        TEST(test_other_answers),
        TEST(test_publisher_full),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
