/* test_channel_internal.c - what cannot be seen from outside: where positions wrap, how rings grow and are
 * given back, how messages are kept, what an idle subscriber costs. */
#include "channels.h"

#include "core/channel.h"

/* --- Positions: hazard 26 ---------------------------------------------------------------------- */

/* A subscriber whose positions wrap after three messages: everything goes on as if nothing were. */
static mtaio_subscriber *subscribe_before_wrap(mtaio_channel *ch, size_t buffer, mtaio_overflow overflow) {
    mtaio_subscriber *sub = subscribe_limited(ch, buffer, overflow);
    subscriber_begin_at(sub, UINT64_MAX - 2);
    return sub;
}

static void test_wrap(void **state) {
    (void)state;
    for (size_t buffer = 1; buffer <= 9; buffer++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe_before_wrap(ch, buffer, MTAIO_BLOCK);
        uint64_t in = 0, out = 0;
        while (out < 20) {
            while (publish_number(ch, in, 0) == 1) in++;
            assert_int_equal(in - out, buffer);
            assert_int_equal(next_number(sub, NULL), out);
            out++;
            check_subscriber_balance(sub);
        }
        assert_int_equal(subscriber_sums_of(sub).delivered, 20);
        assert_int_equal(subscriber_sums_of(sub).high_water, buffer);
        mtaio_subscriber_unref(sub);
        assert_int_equal(sums_of(ch).dropped, in - out);
        check_balance(ch);
        mtaio_channel_unref(ch);
    }
}

static void test_wrap_dropping(void **state) {
    (void)state;
    for (mtaio_overflow overflow = MTAIO_DROP_OLDEST; overflow <= MTAIO_DROP_NEWEST; overflow++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe_before_wrap(ch, 3, overflow);
        uint64_t missed = 0, all_missed = 0, next = 0;
        for (uint64_t n = 0; n < 50; n++) {
            assert_int_equal(publish_number(ch, n, 0), 1);
            if (n % 7 != 6) continue;
            uint64_t number = next_number(sub, &missed);
            assert_int_equal(number,
                             next + missed); /* "how many were dropped between the one before and this one" */
            next = number + 1;
            all_missed += missed;
            check_subscriber_balance(sub);
        }
        assert_true(all_missed > 0);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
    }
}

static int receive_all(void *ctx) {
    uint64_t expected = 0, n;
    mtaio_message m;
    while (mtaio_receive(ctx, &m) == 0) {
        memcpy(&n, mtaio_message_data(&m), sizeof n);
        CHECK(n == expected++ && m.missed == 0);
        mtaio_message_clear(&m);
    }
    return (int)expected;
}

static void test_wrap_threads(void **state) {
    enum { MESSAGES = 2000 };
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_before_wrap(ch, 4, MTAIO_BLOCK);
    struct call call;
    call_begin(&call, receive_all, sub);
    for (uint64_t n = 0; n < MESSAGES; n++) assert_int_equal(publish_number(ch, n, -1), 1);
    mtaio_channel_unref(ch);
    assert_int_equal(call_end(&call), MESSAGES);
    mtaio_subscriber_unref(sub);
}

/* --- Rings ------------------------------------------------------------------------------------- */

/* Nothing until the first message, then no more than the limit asks for. */
static void test_ring_grows(void **state) {
    static const struct {
        size_t limit, messages, capacity;
    } table[] = {{1, 1, 1}, {2, 2, 2},  {3, 3, 4},        {5, 1, 8},
                 {8, 8, 8}, {9, 9, 16}, {1000, 100, 128}, {100, 100, 128}};
    (void)state;
    for (size_t i = 0; i < COUNT(table); i++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe_limited(ch, table[i].limit, MTAIO_REFUSE);
        assert_int_equal(sub->capacity, 0);
        for (size_t n = 0; n < table[i].messages; n++) assert_int_equal(publish_number(ch, n, 0), 1);
        assert_int_equal(sub->capacity, table[i].capacity);
        for (size_t n = 0; n < table[i].messages; n++) assert_int_equal(next_number(sub, NULL), n);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
    }
}

/* "Memory stays bounded by what is buffered": a large ring is given back when it was emptied, by whatever
 * way. */
static void test_ring_given_back(void **state) {
    enum { MANY = 10000 };
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    for (int round = 0; round < 3; round++) {
        size_t before = support_live_bytes();
        for (size_t n = 0; n < MANY; n++) assert_int_equal(publish_number(ch, n, 0), 1);
        assert_true(support_live_bytes() - before > MANY * sizeof(struct slot));
        for (size_t n = 0; n < MANY; n++) assert_int_equal(next_number(sub, NULL), n);
        assert_int_equal(sub->capacity, 0);
        assert_true(support_live_bytes() <= before);
    }
    for (size_t n = 0; n < 100; n++) assert_int_equal(publish_number(ch, n, 0), 1);
    for (size_t n = 0; n < 100; n++) assert_int_equal(next_number(sub, NULL), n);
    assert_int_equal(sub->capacity, 128); /* a small one is kept */
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* --- Messages ---------------------------------------------------------------------------------- */

static enum slot_kind kind_of(const mtaio_message *m) { return slot_kind(message_slot(m)); }

static void receive_and_check(mtaio_subscriber *sub, enum slot_kind kind, const mtaio_publication *p) {
    mtaio_message m;
    OK(mtaio_subscriber_receive(sub, 0, &m));
    assert_int_equal(kind_of(&m), kind);
    assert_int_equal(mtaio_message_bytes(&m), p->bytes);
    if (p->data) assert_memory_equal(mtaio_message_data(&m), p->data, p->bytes);
    assert_int_equal(mtaio_message_data(&m) == NULL, p->data == NULL);
    if (p->topic) assert_string_equal(mtaio_message_topic(&m), p->topic);
    assert_int_equal(mtaio_message_topic(&m) == NULL, p->topic == NULL);
    mtaio_message_clear(&m);
}

/* Of every length of data and topic that is near a limit. */
static void test_kinds(void **state) {
    static const char text[64] = "0123456789012345678901234567890123456789012345678901234567890";
    char topic[64];
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *one = subscribe(ch, NULL);
    for (size_t bytes = 0; bytes <= sizeof text; bytes++) {
        for (size_t length = 0; length < sizeof topic - 1; length++) {
            for (size_t i = 0; i < length; i++) topic[i] = (char)('a' + i % 26);
            topic[length] = '\0';
            size_t topic_bytes = length > 0 ? length + 1 : 0;
            mtaio_publication p =
                *MTAIO_PUBLICATION(.topic = length > 0 ? topic : NULL, .data = text, .bytes = bytes);
            assert_int_equal(mtaio_channel_publish(ch, &p, 0), 1);
            receive_and_check(one, bytes + topic_bytes <= SLOT_INSIDE ? SLOT_INLINE : SLOT_SHARED, &p);
        }
    }
    assert_int_equal(mtaio_channel_publish(ch, MTAIO_PUBLICATION(.data = NULL), 0), 1);
    receive_and_check(one, SLOT_INLINE, MTAIO_PUBLICATION(.data = NULL));
    mtaio_subscriber_unref(one);
    mtaio_channel_unref(ch);
}

/* Data that is handed over needs no memory where it goes to one place, and one block where it goes to
 * several. */
static void test_handed_over(void **state) {
    (void)state;
    for (int subscribers = 1; subscribers <= 3; subscribers++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *subs[3];
        for (int i = 0; i < subscribers; i++) subs[i] = subscribe(ch, NULL);
        for (int round = 0; round < 3; round++) {
            struct payload payload = {.text = "data"};
            size_t before = support_allocations();
            assert_int_equal(publish_payload(ch, "a.topic", &payload, 0), subscribers);
            if (round > 0) assert_int_equal(support_allocations() - before, subscribers > 1);
            for (int i = 0; i < subscribers; i++) {
                assert_int_equal(atomic_load(&payload.released), 0);
                note_next(subs[i]);
                assert_noted("a.topic:data");
            }
            assert_int_equal(atomic_load(&payload.released), 1);
        }
        for (int i = 0; i < subscribers; i++) mtaio_subscriber_unref(subs[i]);
        mtaio_channel_unref(ch);
    }
}

/* A message that was received is published again, not copied; its own topic is still where it was read. */
static void test_again(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *from = subscribe(ch, "from"), *to = subscribe(ch, "to");
    struct payload payload = {.text = "data"};
    mtaio_message m, again;
    assert_int_equal(publish_payload(ch, "from", &payload, 0), 1);
    OK(mtaio_receive(from, &m));
    assert_int_equal(kind_of(&m), SLOT_OWNED);
    const char *topic = mtaio_message_topic(&m);
    assert_int_equal(mtaio_channel_publish(ch, MTAIO_PUBLICATION(.message = &m, .topic = "to"), 0), 1);
    assert_string_equal(topic, "from");
    assert_string_equal(mtaio_message_topic(&m), "from");
    OK(mtaio_receive(to, &again));
    assert_string_equal(mtaio_message_topic(&again), "to");
    assert_ptr_equal(mtaio_message_data(&again), payload.text);
    mtaio_message_clear(&m);
    assert_int_equal(atomic_load(&payload.released), 0);
    mtaio_message_clear(&again);
    assert_int_equal(atomic_load(&payload.released), 1);
    mtaio_message_clear(&again);
    assert_null(mtaio_message_topic(&again));
    mtaio_subscriber_unref(from);
    mtaio_subscriber_unref(to);
    mtaio_channel_unref(ch);
}

/* "Idle subscriber: <= 512 B". */
static void test_size(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    size_t before = support_live_bytes();
    mtaio_subscriber *subs[64];
    for (size_t i = 0; i < COUNT(subs); i++) subs[i] = subscribe(ch, NULL);
    assert_true(support_live_bytes() - before <= COUNT(subs) * 512);
    for (size_t i = 0; i < COUNT(subs); i++) mtaio_subscriber_unref(subs[i]);
    mtaio_channel_unref(ch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_wrap),        TEST(test_wrap_dropping),   TEST(test_wrap_threads),
        TEST(test_ring_grows),  TEST(test_ring_given_back), TEST(test_kinds),
        TEST(test_handed_over), TEST(test_again),           TEST(test_size),
    };
    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
