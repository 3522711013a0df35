/* test_channel_wrap_internal.c - the positions in a buffer wrap: by a hook they begin just below 2^32 and
 * 2^64, and every policy goes on as if nothing had happened. Hazard 26. */
#include "channels.h"

#include "core/subscriber.h"

static const uint64_t positions[] = {UINT64_MAX, UINT64_MAX - 3, UINT64_MAX - 100, UINT32_MAX - 3,
                                     UINT64_C(1) << 63};
static const size_t limits[] = {1, 2, 3, 8, 9, 64, MTAIO_UNBOUNDED};

/* Published 0, 1, 2 ... in bursts, received between them: what comes, and what is missed, is as from position
 * 0. */
static void run_from(uint64_t position, size_t limit, mtaio_overflow policy) {
    mtaio_channel *channels[2] = {channel_new(), channel_new()};
    mtaio_subscriber *subs[2];
    for (int i = 0; i < 2; i++) subs[i] = subscribe_limited(channels[i], limit, policy);
    subscriber_begin_at(subs[0], position);
    for (uint64_t n = 0; n < 400; n++) {
        assert_int_equal(publish_number(channels[0], n, 0), publish_number(channels[1], n, 0));
        mtaio_message m[2];
        for (uint64_t k = n * 7 % 11; k > 4; k--) {
            int r = mtaio_subscriber_receive(subs[0], 0, &m[0]);
            assert_int_equal(r, mtaio_subscriber_receive(subs[1], 0, &m[1]));
            if (r < 0) break;
            assert_int_equal(m[0].missed, m[1].missed);
            assert_memory_equal(mtaio_message_data(&m[0]), mtaio_message_data(&m[1]), sizeof n);
            mtaio_message_clear(&m[0]);
            mtaio_message_clear(&m[1]);
        }
        mtaio_subscriber_stats a = subscriber_sums_of(subs[0]), b = subscriber_sums_of(subs[1]);
        assert_memory_equal(&a, &b, sizeof a);
    }
    for (int i = 0; i < 2; i++) {
        check_balance(channels[i]);
        mtaio_subscriber_unref(subs[i]);
    }
    mtaio_channel_stats a = sums_of(channels[0]), b = sums_of(channels[1]);
    assert_memory_equal(&a, &b, sizeof a);
    for (int i = 0; i < 2; i++) mtaio_channel_unref(channels[i]);
}

static void test_wraps(void **state) {
    (void)state;
    for (size_t p = 0; p < COUNT(positions); p++)
        for (size_t l = 0; l < COUNT(limits); l++)
            for (mtaio_overflow policy = MTAIO_BLOCK; policy <= MTAIO_REFUSE; policy++)
                run_from(positions[p], limits[l], policy);
}

/* Two threads while it wraps, one of them waiting for room or for messages. */
struct pair {
    mtaio_channel *ch;
    mtaio_subscriber *sub;
};
static void publish_or_receive(unsigned index, void *arg) {
    struct pair *p = arg;
    mtaio_message m;
    for (uint64_t n = 0, got; n < 3000; n++) {
        if (index == 0) {
            CHECK(publish_number(p->ch, n, -1) == 1);
            continue;
        }
        CHECK(mtaio_receive(p->sub, &m) == 0);
        memcpy(&got, mtaio_message_data(&m), sizeof got);
        CHECK(got == n && m.missed == 0);
        mtaio_message_clear(&m);
    }
}
static void test_threads(void **state) {
    (void)state;
    for (size_t l = 0; l < COUNT(limits); l++) {
        struct pair p = {.ch = channel_new()};
        p.sub = subscribe_limited(p.ch, limits[l], MTAIO_BLOCK);
        subscriber_begin_at(p.sub, UINT64_MAX - 1500);
        support_threads(2, publish_or_receive, &p);
        mtaio_subscriber_stats s = subscriber_sums_of(p.sub);
        assert_true(s.reached == 3000 && s.delivered == 3000 && s.waiting == 0 && s.dropped == 0);
        mtaio_subscriber_unref(p.sub);
        mtaio_channel_unref(p.ch);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_wraps), TEST(test_threads)};
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
