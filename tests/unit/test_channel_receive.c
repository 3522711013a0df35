/* test_channel_receive.c - "receive gives a message, in order; it can wait, wait with a time limit, or try":
 * one by one, many at once, on several threads; and what is left of a subscriber or a channel that ended. */
#include "channels.h"

#include <signal.h>
#include <sys/time.h>

/* --- Trying, waiting --------------------------------------------------------------------------- */

/* timeout 0: not at all; *ret is not touched where there is nothing. Hazard 37. */
static void test_try(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    mtaio_message m, before;
    memset(&m, 0x33, sizeof m);
    before = m;
    assert_int_equal(mtaio_subscriber_receive(sub, 0, &m), MTAIO_EAGAIN);
    assert_int_equal(mtaio_subscriber_receive(sub, 1, &m), MTAIO_ETIMEDOUT);
    assert_int_equal(mtaio_subscriber_receive_many(sub, 0, &m, 1), MTAIO_EAGAIN);
    assert_int_equal(mtaio_subscriber_receive_many(sub, 1, &m, 1), MTAIO_ETIMEDOUT);
    assert_memory_equal(&m, &before, sizeof m);
    for (int64_t limit = -1; limit <= 1; limit++) { /* what is there is given whatever the limit */
        publish(ch, NULL, "x");
        OK(mtaio_subscriber_receive(sub, limit, &m));
        mtaio_message_clear(&m);
    }
    publish(ch, NULL, "x");
    OK(mtaio_subscriber_receive(sub, INT64_MAX, &m));
    mtaio_message_clear(&m);
    publish(ch, NULL, "x");
    OK(mtaio_subscriber_receive(sub, INT64_MIN, &m));
    mtaio_message_clear(&m);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* A time limit passes: not before its time, and not long after. */
static void test_time_limit(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    mtaio_message m[2];
    for (int many = 0; many < 2; many++) {
        int64_t start = support_now_ms();
        int r = many ? mtaio_subscriber_receive_many(sub, 30000000, m, 2)
                     : mtaio_subscriber_receive(sub, 30000000, m);
        int64_t passed = support_now_ms() - start;
        assert_int_equal(r, MTAIO_ETIMEDOUT);
        assert_true(passed >= 29 && passed < 25000);
    }
    publish(ch, NULL, "not swallowed"); /* by those who went away */
    note_all(sub);
    assert_noted("not swallowed EAGAIN");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* Waiting as long as it takes: below 0, INT64_MAX and the short form. */
static int run_short_receive(void *ctx) {
    struct waiting_receive *w = ctx;
    mtaio_message m = {0};
    int r = mtaio_receive(w->sub, &m);
    if (r == 0) {
        note_message(&m);
        mtaio_message_clear(&m);
    }
    return r;
}
static void test_waits(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    static const int64_t limits[] = {-1, INT64_MIN, INT64_MAX, 60 * SECOND, 0};
    for (size_t i = 0; i < COUNT(limits); i++) {
        struct waiting_receive w = {.sub = subscribe(ch, "a.*"), .timeout_ns = limits[i]};
        call_begin(&w.call, limits[i] == 0 ? run_short_receive : run_receive, &w);
        assert_waits(&w.call);
        publish(ch, "b.b", "not this one");
        assert_waits(&w.call);
        publish(ch, "a.b", "this");
        assert_int_equal(call_end(&w.call), 0);
        assert_noted("a.b:this");
        mtaio_subscriber_unref(w.sub);
    }
    mtaio_channel_unref(ch);
}

/* "Waits for the first, then takes what is there, n at most: how many." */
static void test_many(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    mtaio_message m[8];
    for (uint64_t i = 0; i < 11; i++) publish_number(ch, i, 0);
    assert_int_equal(mtaio_subscriber_receive_many(sub, 0, m, 1), 1);
    mtaio_message_clear(&m[0]);
    assert_int_equal(mtaio_subscriber_receive_many(sub, -1, m, 8), 8);
    for (uint64_t i = 0; i < 8; i++) {
        assert_memory_equal(mtaio_message_data(&m[i]), &(uint64_t){i + 1}, sizeof i);
        mtaio_message_clear(&m[i]);
    }
    assert_int_equal(mtaio_subscriber_receive_many(sub, INT64_MAX, m, 8), 2);
    mtaio_message_clear(&m[0]);
    mtaio_message_clear(&m[1]);
    assert_int_equal(mtaio_subscriber_receive_many(sub, 0, m, 8), MTAIO_EAGAIN);
    assert_subscriber_sums(sub, "11 11 0 0 11");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

static int run_receive_many(void *ctx) {
    struct waiting_receive *w = ctx;
    mtaio_message m[4];
    int r = mtaio_subscriber_receive_many(w->sub, w->timeout_ns, m, 4);
    for (int i = 0; i < r; i++) {
        note_message(&m[i]);
        mtaio_message_clear(&m[i]);
    }
    return r;
}
static void test_many_waits(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    struct waiting_receive w = {.sub = subscribe(ch, NULL), .timeout_ns = -1};
    call_begin(&w.call, run_receive_many, &w);
    assert_waits(&w.call);
    mtaio_publication list[] = {*MTAIO_PUBLICATION(.data = "a", .bytes = 2),
                                *MTAIO_PUBLICATION(.data = "b", .bytes = 2)};
    assert_int_equal(mtaio_channel_publish_many(ch, list, 2, 0), 2);
    int got = call_end(&w.call);
    assert_true(got == 1 || got == 2); /* the second may come after it looked */
    if (got == 1) note_next(w.sub);
    assert_noted("a b");
    mtaio_subscriber_unref(w.sub);
    mtaio_channel_unref(ch);
}

/* --- Signals ----------------------------------------------------------------------------------- */

static atomic_uint alarms;
static void on_alarm(int signal) {
    (void)signal;
    atomic_fetch_add(&alarms, 1);
}

static void ring(bool on) {
    struct sigaction action = {.sa_handler = on ? on_alarm : SIG_IGN}; /* no SA_RESTART */
    struct itimerval every = {.it_interval.tv_usec = on ? 100 : 0, .it_value.tv_usec = on ? 100 : 0};
    assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
}

/* "EINTR never shows": an alarm every 100 us interrupts the waits, and neither ends nor shortens them.
 * Hazard 31. */
static void test_alarms(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    mtaio_message m;
    ring(true);
    int64_t start = support_now_ms();
    assert_int_equal(mtaio_subscriber_receive(sub, 40000000, &m), MTAIO_ETIMEDOUT);
    assert_int_equal(mtaio_select(&sub, 1, 40000000), MTAIO_ETIMEDOUT);
    assert_int_equal(publish_now(ch, NULL, "fills"), 1);
    assert_int_equal(publish_for(ch, NULL, "waits", 40000000), MTAIO_ETIMEDOUT);
    assert_true(support_now_ms() - start >= 118);
    struct waiting_publish p = {.ch = ch, .text = "waits", .timeout_ns = -1};
    call_begin(&p.call, run_publish, &p);
    assert_waits(&p.call);
    note_next(sub);
    assert_int_equal(call_end(&p.call), 1);
    note_all(sub);
    struct waiting_receive r = {.sub = sub, .timeout_ns = -1};
    call_begin(&r.call, run_receive, &r);
    assert_waits(&r.call);
    publish(ch, NULL, "comes");
    OK(call_end(&r.call));
    ring(false);
    assert_noted("fills waits EAGAIN comes");
    assert_true(atomic_load(&alarms) > 10);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* --- Several threads at one subscriber --------------------------------------------------------- */

enum { RECEIVERS = 4, MESSAGES = 20000 };
struct shared_subscriber {
    mtaio_channel *ch;
    mtaio_subscriber *sub;
    atomic_uchar seen[MESSAGES];
    atomic_uint closed;
};

static void share_messages(unsigned index, void *arg) {
    struct shared_subscriber *s = arg;
    mtaio_message m[5];
    uint64_t last = 0;
    if (index == RECEIVERS) {
        for (uint64_t i = 0; i < MESSAGES; i++) CHECK(publish_number(s->ch, i, -1) == 1);
        mtaio_channel_close(s->ch);
        return;
    }
    for (;;) {
        int r = index % 2 != 0 ? mtaio_subscriber_receive_many(s->sub, -1, m, 5)
                : mtaio_subscriber_receive(s->sub, -1, m) == 0 ? 1
                                                               : MTAIO_ECLOSED;
        if (r == MTAIO_ECLOSED) break;
        CHECK(r > 0);
        for (int i = 0; i < r; i++) {
            uint64_t n;
            memcpy(&n, mtaio_message_data(&m[i]), sizeof n);
            CHECK(n < MESSAGES && atomic_fetch_add(&s->seen[n], 1) == 0);
            CHECK(n + 1 > last); /* "in order" for each of them */
            last = n + 1;
            mtaio_message_clear(&m[i]);
        }
    }
    atomic_fetch_add(&s->closed, 1);
}

/* "Several threads may receive from one subscriber: each message goes to one of them." Hazard 24. */
static void test_several_receivers(void **state) {
    (void)state;
    static struct shared_subscriber s;
    static const size_t limits[] = {1, 7, 1000, MTAIO_UNBOUNDED};
    for (size_t i = 0; i < COUNT(limits); i++) {
        memset(&s, 0, sizeof s);
        s.ch = channel_new();
        s.sub = subscribe_limited(s.ch, limits[i], MTAIO_BLOCK);
        support_threads(RECEIVERS + 1, share_messages, &s);
        for (int n = 0; n < MESSAGES; n++) assert_int_equal(s.seen[n], 1);
        assert_int_equal(s.closed, RECEIVERS);
        mtaio_subscriber_stats sums = subscriber_sums_of(s.sub);
        assert_true(sums.delivered == MESSAGES && sums.reached == MESSAGES && sums.dropped == 0);
        mtaio_subscriber_unref(s.sub);
        mtaio_channel_unref(s.ch);
    }
}

/* --- The end ----------------------------------------------------------------------------------- */

/* "Close: publishers get a closed error at once, subscribers first drain what they were sent, then get the
 * closed error." "Twice is no error." */
static void test_close(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *a = subscribe(ch, NULL), *b = subscribe(ch, "t"), *c = NULL;
    publish(ch, "t", "1");
    publish(ch, "t", "2");
    OK(mtaio_channel_close(ch));
    assert_true(mtaio_channel_is_closed(ch));
    OK(mtaio_channel_close(ch));
    assert_int_equal(publish(ch, "t", "3"), MTAIO_ECLOSED);
    assert_int_equal(publish_now(ch, NULL, "3"), MTAIO_ECLOSED);
    assert_int_equal(mtaio_subscribe(ch, NULL, &c), MTAIO_ECLOSED);
    assert_int_equal(mtaio_channel_subscribe(ch, NULL, &c), MTAIO_ECLOSED);
    assert_null(c);
    assert_int_equal(mtaio_channel_publish_async(ch, MTAIO_PUBLICATION(.topic = "t"), NULL, NULL),
                     MTAIO_ECLOSED);
    note_all(a);
    assert_noted("t:1 t:2 ECLOSED");
    mtaio_message m[4];
    assert_int_equal(mtaio_subscriber_receive_many(b, -1, m, 4), 2);
    mtaio_message_clear(&m[0]);
    mtaio_message_clear(&m[1]);
    assert_int_equal(mtaio_subscriber_receive_many(b, -1, m, 4), MTAIO_ECLOSED);
    assert_int_equal(mtaio_receive(b, m), MTAIO_ECLOSED);
    assert_int_equal(mtaio_subscriber_receive(b, SECOND, m), MTAIO_ECLOSED);
    assert_sums(ch, "2 4 4 0 0 0");
    mtaio_subscriber_unref(a);
    mtaio_subscriber_unref(b);
    mtaio_channel_unref(ch);
}

/* "The last reference closes. Subscribers do not keep the channel open, but can still receive what they were
 * sent." */
static void test_last_reference(void **state) {
    (void)state;
    mtaio_channel *ch = channel_with(MTAIO_CHANNEL_OPTIONS(.name = "n"));
    mtaio_subscriber *sub = subscribe(ch, "a");
    publish(ch, "a", "1");
    mtaio_channel_unref(ch);
    assert_int_equal(mtaio_subscriber_add(sub, "b"), MTAIO_ECLOSED);
    note_all(sub);
    assert_noted("a:1 ECLOSED");
    assert_subscriber_sums(sub, "1 1 0 0 1");
    assert_ptr_equal(mtaio_subscriber_ref(sub), sub);
    mtaio_subscriber_unref(sub);
    assert_int_equal(mtaio_unsubscribe(sub), 1);
    mtaio_subscriber_unref(sub);
}

/* "Ends the subscription: what waits is dropped and counted, receiving answers ECLOSED. 1, or 0 where it was
 * ended before." The others notice nothing. */
static void test_unsubscribe(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *a = subscribe(ch, "t"), *b = subscribe(ch, NULL);
    publish(ch, "t", "1");
    assert_int_equal(mtaio_unsubscribe(a), 1);
    assert_int_equal(mtaio_unsubscribe(a), 0);
    assert_int_equal(mtaio_channel_count(ch), 1);
    assert_int_equal(publish(ch, "t", "2"), 1);
    assert_int_equal(mtaio_subscriber_add(a, "x"), MTAIO_ECLOSED);
    note_all(a);
    note_all(b);
    assert_noted("ECLOSED t:1 t:2 EAGAIN");
    assert_subscriber_sums(a, "1 0 1 0 1");
    mtaio_subscriber_unref(a);
    mtaio_channel_close(ch);
    assert_int_equal(mtaio_unsubscribe(b), 1);
    mtaio_subscriber_unref(b);
    mtaio_channel_unref(ch);
}

/* "A subscriber that is dropped without unsubscribing is cleaned up": a million times, nothing grows. */
static void test_dropped(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    size_t blocks = 0, bytes = 0;
    for (int i = 0; i < (SANITIZED ? 20000 : 200000); i++) {
        mtaio_subscriber *sub = subscribe(ch, i % 3 == 0 ? NULL : i % 3 == 1 ? "some.topic" : "some.*");
        if (i % 2 != 0) CHECK(publish(ch, "some.topic", "x") == 1);
        mtaio_subscriber_unref(sub);
        if (i == 1000) {
            blocks = support_live_blocks();
            bytes = support_live_bytes();
        }
    }
    assert_int_equal(mtaio_channel_count(ch), 0);
    assert_true(support_live_blocks() <= blocks + 8);
    assert_true(support_live_bytes() <= bytes + 4096);
    mtaio_channel_unref(ch);
}

/* "The channel does not drop it silently while it is in use." */
static void test_stays(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    for (int i = 0; i < 1000; i++) {
        mtaio_subscriber *other = subscribe(ch, NULL);
        publish(ch, NULL, "x");
        if (i % 2 != 0) mtaio_unsubscribe(other);
        mtaio_subscriber_unref(other);
    }
    assert_subscriber_sums(sub, "1000 0 0 1000 1000");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* Those who wait are told: by close, by unsubscribe; each once. */
static void test_waiting_told(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe(ch, NULL);
        struct waiting_receive w[3];
        for (size_t i = 0; i < COUNT(w); i++) {
            w[i] = (struct waiting_receive){.sub = sub, .timeout_ns = i == 0 ? -1 : 60 * SECOND};
            call_begin(&w[i].call, i == 2 ? run_receive_many : run_receive, &w[i]);
        }
        assert_waits(&w[0].call);
        if (way == 0)
            OK(mtaio_channel_close(ch));
        else if (way == 1)
            assert_int_equal(mtaio_unsubscribe(sub), 1);
        else
            ch = mtaio_channel_unref(ch);
        for (size_t i = 0; i < COUNT(w); i++) assert_int_equal(call_end(&w[i].call), MTAIO_ECLOSED);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_try),
        TEST(test_time_limit),
        TEST(test_waits),
        TEST(test_many),
        TEST(test_many_waits),
        TEST(test_alarms),
        TEST(test_several_receivers),
        TEST(test_close),
        TEST(test_last_reference),
        TEST(test_unsubscribe),
        TEST(test_stays),
        TEST(test_waiting_told),
        TEST(test_dropped),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
