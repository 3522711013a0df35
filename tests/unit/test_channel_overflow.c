/* test_channel_overflow.c - "Each subscriber has a buffer and an overflow policy. Nothing is lost silently:
 * every message dropped is counted, and the next receive can tell how many were missed." Hazard 25, at every
 * size near a power of two. */
#include "channels.h"

static const size_t capacities[] = {1,  2,  3,  4,  5,  7,  8,  9,   15,  16,
                                    17, 31, 32, 33, 63, 64, 65, 255, 256, 257};

/* --- What each policy does --------------------------------------------------------------------- */

/* Publishes 0, 1, 2 ... as long as it works, n at most; how many. */
static uint64_t fill(mtaio_channel *ch, uint64_t n, int expected_end) {
    uint64_t i = 0;
    int r = 1;
    while (i < n && (r = publish_number(ch, i, 0)) == 1) i++;
    if (i < n) assert_int_equal(r, expected_end);
    return i;
}

/* Receives from, from + 1, ... until there is no more: how many. */
static uint64_t empty(mtaio_subscriber *sub, uint64_t from, uint64_t first_missed) {
    uint64_t n = 0, missed, waiting = subscriber_sums_of(sub).waiting;
    for (; n < waiting; n++) {
        assert_int_equal(next_number(sub, &missed), from + n);
        assert_int_equal(missed, n == 0 ? first_missed : 0);
    }
    mtaio_message m = {0};
    assert_int_equal(mtaio_subscriber_receive(sub, 0, &m), MTAIO_EAGAIN);
    return n;
}

/* block, without waiting: exactly as many fit as it was made for, again and again. */
static void test_block(void **state) {
    (void)state;
    for (size_t c = 0; c < COUNT(capacities); c++) {
        size_t n = capacities[c];
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe_limited(ch, n, MTAIO_BLOCK);
        for (int round = 0; round < 5; round++) {
            assert_int_equal(fill(ch, n + 1, MTAIO_EAGAIN), n);
            assert_int_equal(next_number(sub, NULL), 0); /* one goes out, one comes in */
            assert_int_equal(publish_number(ch, n, 0), 1);
            assert_int_equal(publish_number(ch, n, 0), MTAIO_EAGAIN);
            assert_int_equal(empty(sub, 1, 0), n);
        }
        mtaio_subscriber_stats s = subscriber_sums_of(sub);
        assert_int_equal(s.reached, 5 * (n + 1));
        assert_int_equal(s.delivered, s.reached);
        assert_int_equal(s.high_water, n);
        assert_int_equal(sums_of(ch).refused, 10);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
    }
}

/* error: "nobody gets the message", neither those who had room. */
static void test_refuse(void **state) {
    (void)state;
    for (size_t c = 0; c < COUNT(capacities); c++) {
        size_t n = capacities[c];
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe_limited(ch, n, MTAIO_REFUSE), *other = NULL;
        assert_int_equal(fill(ch, n + 1, MTAIO_ELIMIT), n);
        other = subscribe(ch, NULL);
        assert_int_equal(publish_number(ch, n, -1), MTAIO_ELIMIT); /* it does not wait either */
        note_all(other);
        assert_noted("EAGAIN");
        assert_int_equal(empty(sub, 0, 0), n);
        assert_int_equal(publish_number(ch, 77, 0), 2);
        assert_int_equal(next_number(sub, NULL), 77);
        assert_int_equal(next_number(other, NULL), 77);
        assert_subscriber_sums(other, "1 1 0 0 1");
        assert_int_equal(sums_of(ch).refused, 2);
        mtaio_subscriber_unref(sub);
        mtaio_subscriber_unref(other);
        mtaio_channel_unref(ch);
    }
}

/* drop_oldest: the newest that fit are there, and the first of them tells how many are missing before it. */
static void test_drop_oldest(void **state) {
    (void)state;
    for (size_t c = 0; c < COUNT(capacities); c++) {
        size_t n = capacities[c];
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe_limited(ch, n, MTAIO_DROP_OLDEST);
        uint64_t published = 0, delivered = 0;
        for (uint64_t over = 0; over < 2 * n + 2; over += over < 3 ? 1 : n / 2 + 1) {
            assert_int_equal(fill(ch, n + over, 0), n + over);
            assert_int_equal(subscriber_sums_of(sub).waiting, n);
            assert_int_equal(empty(sub, over, over), n);
            published += n + over;
            delivered += n;
        }
        mtaio_subscriber_stats s = subscriber_sums_of(sub);
        assert_int_equal(s.reached, published);
        assert_int_equal(s.delivered, delivered);
        assert_int_equal(s.dropped, published - delivered);
        check_balance(ch);
        assert_int_equal(subscriber_sums_of(sub).high_water, n);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
    }
}

/* drop_newest: the oldest stay, and the next one that gets in tells how many are missing before it. */
static void test_drop_newest(void **state) {
    (void)state;
    for (size_t c = 0; c < COUNT(capacities); c++) {
        size_t n = capacities[c];
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe_limited(ch, n, MTAIO_DROP_NEWEST);
        uint64_t over_before = 0, published = 0, delivered = 0;
        for (uint64_t over = 0; over < 2 * n + 2; over += over < 3 ? 1 : n / 2 + 1) {
            assert_int_equal(fill(ch, n + over, 0), n + over);
            assert_int_equal(subscriber_sums_of(sub).waiting, n);
            assert_int_equal(empty(sub, 0, over_before), n);
            over_before = over;
            published += n + over;
            delivered += n;
        }
        mtaio_subscriber_stats s = subscriber_sums_of(sub);
        assert_int_equal(s.reached, published);
        assert_int_equal(s.delivered, delivered);
        assert_int_equal(s.dropped, published - delivered);
        check_balance(ch);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
    }
}

/* 0 and MTAIO_UNBOUNDED: no limit, whatever the policy. */
static void test_unbounded(void **state) {
    (void)state;
    static const mtaio_overflow policies[] = {MTAIO_OVERFLOW_DEFAULT, MTAIO_BLOCK, MTAIO_DROP_OLDEST,
                                              MTAIO_DROP_NEWEST, MTAIO_REFUSE};
    for (size_t i = 0; i < 2 * COUNT(policies); i++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe_limited(ch, i % 2 != 0 ? MTAIO_UNBOUNDED : 0, policies[i / 2]);
        assert_int_equal(fill(ch, 5000, 0), 5000);
        assert_int_equal(empty(sub, 0, 0), 5000);
        assert_subscriber_sums(sub, "5000 5000 0 0 5000");
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
    }
}

/* Each subscriber's policy is its own: one publish, four answers. */
static void test_mixed(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *old = subscribe_limited(ch, 2, MTAIO_DROP_OLDEST),
                     *new = subscribe_limited(ch, 2, MTAIO_DROP_NEWEST),
                     *refuse = subscribe_limited(ch, 4, MTAIO_REFUSE),
                     *block = subscribe_limited(ch, 6, MTAIO_BLOCK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(publish_now(ch, NULL, (const char *const[]){"0", "1", "2", "3"}[i]), 4);
    assert_int_equal(publish_now(ch, NULL, "no"), MTAIO_ELIMIT);
    assert_subscriber_sums(old, "4 0 2 2 2"); /* who could have taken it has not dropped for it */
    assert_subscriber_sums(new, "4 0 2 2 2");
    note_next(refuse);
    note_next(refuse);
    assert_int_equal(publish_now(ch, NULL, "4"), 4);
    assert_int_equal(publish_now(ch, NULL, "5"), 4);
    note_next(refuse);
    assert_noted("0 1 2");
    assert_int_equal(publish_now(ch, NULL, "no"), MTAIO_EAGAIN);
    note_all(old);
    note_all(new);
    assert_noted("(4)4 5 EAGAIN 0 1 EAGAIN");
    note_next(block);
    assert_int_equal(publish_now(ch, NULL, "6"), 4);
    note_all(new);
    note_all(old);
    note_all(refuse);
    note_all(block);
    assert_noted("0 (4)6 EAGAIN 6 EAGAIN 3 4 5 6 EAGAIN 1 2 3 4 5 6 EAGAIN");
    assert_sums(ch, "7 28 20 8 0 2");
    mtaio_subscriber_unref(old);
    mtaio_subscriber_unref(new);
    mtaio_subscriber_unref(refuse);
    mtaio_subscriber_unref(block);
    mtaio_channel_unref(ch);
}

/* One that refuses and one that would be waited for, both full: refused at once, whoever came first. */
static void test_refuse_and_block(void **state) {
    (void)state;
    for (int way = 0; way < 2; way++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *a = subscribe_limited(ch, 1, way == 0 ? MTAIO_REFUSE : MTAIO_BLOCK),
                         *b = subscribe_limited(ch, 1, way == 0 ? MTAIO_BLOCK : MTAIO_REFUSE);
        assert_int_equal(publish_now(ch, NULL, "fills"), 2);
        assert_int_equal(publish_now(ch, NULL, "no"), MTAIO_ELIMIT);
        assert_int_equal(publish_for(ch, NULL, "no", 60 * SECOND), MTAIO_ELIMIT);
        note_all(way == 0 ? a : b);
        assert_int_equal(publish_now(ch, NULL, "no"), MTAIO_EAGAIN);
        assert_noted("fills EAGAIN");
        mtaio_subscriber_unref(a);
        mtaio_subscriber_unref(b);
        mtaio_channel_unref(ch);
    }
}

/* What is missed is told by the message that comes after it: not by the one before, not twice, also where the
 * messages around it are received one by one. */
static void test_missed_position(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *old = subscribe_limited(ch, 3, MTAIO_DROP_OLDEST),
                     *new = subscribe_limited(ch, 3, MTAIO_DROP_NEWEST);
    static const char letters[] = "abcdefghijklmnop";
    for (int i = 0; letters[i] != '\0'; i++) {
        char text[2] = {letters[i], '\0'};
        publish(ch, NULL, text);
        if (i % 5 == 4) { /* after e, j, o */
            note_next(old);
            note_next(new);
        }
    }
    assert_noted("(2)c a (4)h b (4)m c");
    note_all(old);
    assert_noted("n o p EAGAIN");
    note_all(new);
    assert_noted("(2)f (4)k (4)p EAGAIN");
    check_subscriber_balance(old);
    check_subscriber_balance(new);
    assert_sums(ch, "16 32 12 20 0 0");
    mtaio_subscriber_unref(old);
    mtaio_subscriber_unref(new);
    mtaio_channel_unref(ch);
}

/* --- Random histories against a list ----------------------------------------------------------- */

struct model {
    uint64_t number[512], missed[512];
    size_t count, limit;
    uint64_t gap, reached, delivered, dropped, high_water;
};

static void model_publish(struct model *m, mtaio_overflow policy, uint64_t number) {
    m->reached++;
    if (m->count == m->limit && policy == MTAIO_DROP_NEWEST) {
        m->gap++;
        m->dropped++;
        return;
    }
    if (m->count == m->limit) {
        uint64_t lost = m->missed[0] + 1;
        m->count--;
        memmove(m->number, m->number + 1, m->count * sizeof *m->number);
        memmove(m->missed, m->missed + 1, m->count * sizeof *m->missed);
        m->dropped++;
        if (m->count > 0)
            m->missed[0] += lost;
        else
            m->gap += lost;
    }
    m->number[m->count] = number;
    m->missed[m->count++] = m->gap;
    m->gap = 0;
    if (m->count > m->high_water) m->high_water = m->count;
}

/* n or fewer messages, one by one or many at once. */
static void model_receive(struct model *m, mtaio_subscriber *sub, size_t n, bool many) {
    mtaio_message list[64];
    size_t expected = m->count < n ? m->count : n;
    int r = 0;
    if (many) {
        r = mtaio_subscriber_receive_many(sub, 0, list, n);
        if (r == MTAIO_EAGAIN) r = 0;
    } else {
        while (r < (int)n && mtaio_subscriber_receive(sub, 0, &list[r]) == 0) r++;
    }
    CHECK(r == (int)expected);
    for (size_t i = 0; i < expected; i++) {
        uint64_t number;
        memcpy(&number, mtaio_message_data(&list[i]), sizeof number);
        CHECK(number == m->number[i] && list[i].missed == m->missed[i]);
        mtaio_message_clear(&list[i]);
    }
    m->count -= expected;
    m->delivered += expected;
    memmove(m->number, m->number + expected, m->count * sizeof *m->number);
    memmove(m->missed, m->missed + expected, m->count * sizeof *m->missed);
}

static void model_compare(const struct model *m, const mtaio_subscriber *sub) {
    mtaio_subscriber_stats s = subscriber_sums_of(sub);
    CHECK(s.reached == m->reached && s.delivered == m->delivered && s.dropped == m->dropped);
    CHECK(s.waiting == m->count && s.high_water == m->high_water);
}

static unsigned random_below(unsigned n) {
    static uint64_t seed = 88172645463325252u;
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (unsigned)(seed >> 32) % n;
}

static void random_history(size_t limit, mtaio_overflow policy) {
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, limit, policy);
    struct model *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->limit = limit;
    bool drops = policy == MTAIO_DROP_OLDEST || policy == MTAIO_DROP_NEWEST;
    uint64_t number = 0, refused = 0;
    for (int step = 0; step < 600; step++) {
        unsigned burst = random_below((unsigned)limit + 3);
        for (unsigned i = 0; step % 3 != 2 && i < burst; i++, number++) {
            int r = publish_number(ch, number, 0);
            if (drops || m->count < limit) {
                CHECK(r == 1);
                model_publish(m, policy, number);
            } else {
                CHECK(r == (policy == MTAIO_REFUSE ? MTAIO_ELIMIT : MTAIO_EAGAIN));
                refused++;
            }
        }
        model_compare(m, sub);
        model_receive(m, sub, random_below(60) + 1, step % 2 != 0);
        model_compare(m, sub);
    }
    mtaio_channel_stats s = sums_of(ch);
    CHECK(s.published == number - refused && s.refused == refused && s.reached == m->reached);
    mtaio_subscriber_unref(sub);
    s = sums_of(ch);
    CHECK(s.dropped == m->dropped + m->count && s.delivered == m->delivered && s.waiting == 0);
    mtaio_channel_unref(ch);
    free(m);
}

/* "Every message is received, dropped-and-counted, or refused with an error, and the sums say so exactly",
 * after every step of random histories. */
static void test_random(void **state) {
    (void)state;
    for (size_t c = 0; c < COUNT(capacities); c++)
        for (mtaio_overflow policy = MTAIO_BLOCK; policy <= MTAIO_REFUSE; policy++)
            random_history(capacities[c], policy);
}

/* --- The end counts too ------------------------------------------------------------------------ */

/* "dropped: by a full buffer, or with a subscriber that ended before it received them." */
static void test_dropped_with_subscriber(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *a = subscribe_limited(ch, 4, MTAIO_DROP_OLDEST), *b = subscribe(ch, NULL);
    for (int i = 0; i < 10; i++) publish(ch, NULL, "x");
    note_next(a);
    assert_noted("(6)x");
    assert_sums(ch, "10 20 1 6 13 0");
    assert_int_equal(mtaio_unsubscribe(a), 1);
    assert_subscriber_sums(a, "10 1 9 0 4");
    assert_sums(ch, "10 20 1 9 10 0");
    a = mtaio_subscriber_unref(a);
    assert_sums(ch, "10 20 1 9 10 0");
    b = mtaio_subscriber_unref(b);
    assert_sums(ch, "10 20 1 19 0 0");
    mtaio_channel_unref(ch);
}

/* A buffer that was large once works as before when it has been emptied. */
static void test_shrinks(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    assert_int_equal(fill(ch, 100, 0), 100);
    assert_int_equal(empty(sub, 0, 0), 100);
    size_t small = support_live_bytes();
    for (int round = 0; round < 3; round++) {
        assert_int_equal(fill(ch, 20000, 0), 20000);
        assert_int_equal(empty(sub, 0, 0), 20000);
        for (int i = 0; i < 100; i++) {
            assert_int_equal(fill(ch, 2, 0), 2);
            assert_int_equal(empty(sub, 0, 0), 2);
        }
        /* "Memory stays bounded by what is subscribed and buffered." */
        assert_true(support_live_bytes() < small + 64 * 1024);
    }
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_block),
        TEST(test_refuse),
        TEST(test_drop_oldest),
        TEST(test_drop_newest),
        TEST(test_unbounded),
        TEST(test_mixed),
        TEST(test_missed_position),
        TEST(test_random),
        TEST(test_shrinks),
        TEST(test_refuse_and_block),
        TEST(test_dropped_with_subscriber),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
