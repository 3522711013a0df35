/* test_channel_origin.c - who publishes with an origin gets no echo. */
#include "support.h"

#include <mtaio/mtaio.h>

static mtaio_channel *channel_new(size_t replay) {
    mtaio_channel *ch;
    assert_int_equal(mtaio_channel_new(MTAIO_CHANNEL_OPTIONS(.replay = replay), &ch), 0);
    return ch;
}

static mtaio_subscriber *join(mtaio_channel *ch, const void *origin, const char *pattern, mtaio_overflow overflow) {
    const char *const patterns[] = {pattern, NULL};
    mtaio_subscriber *sub;
    assert_int_equal(mtaio_channel_subscribe(ch,
                                             MTAIO_SUBSCRIPTION(.patterns = patterns, .origin = origin,
                                                                .buffer_size = 1, .overflow = overflow),
                                             &sub),
                     0);
    return sub;
}

static int say(mtaio_channel *ch, const void *origin, const char *topic) {
    return mtaio_channel_publish(
        ch, MTAIO_PUBLICATION(.topic = topic, .data = "x", .bytes = 2, .origin = origin), 0);
}

static void gets(mtaio_subscriber *sub, int expected) {
    mtaio_message m;
    int r = mtaio_subscriber_receive(sub, 0, &m);
    assert_int_equal(r, expected);
    if (r < 0) return;
    assert_string_equal(mtaio_message_data(&m), "x");
    mtaio_message_clear(&m);
}

/* "Not to subscribers of the same origin, as if they were not there; NULL: to all." */
static void test_no_echo(void **state) {
    static const char mine, others;
    (void)state;
    mtaio_channel *ch = channel_new(0);
    mtaio_subscriber *a = join(ch, &mine, NULL, 0), *b = join(ch, &mine, "a.*", 0), *c = join(ch, NULL, "a.*", 0);
    assert_int_equal(say(ch, &mine, "a.b"), 1);
    gets(a, MTAIO_EAGAIN);
    gets(b, MTAIO_EAGAIN);
    gets(c, 0);
    assert_int_equal(say(ch, &mine, NULL), 1);
    gets(c, 0);
    assert_int_equal(say(ch, &mine, "b"), 0);
    assert_int_equal(say(ch, &others, "a.b"), 3);
    gets(a, 0);
    gets(b, 0);
    gets(c, 0);
    assert_int_equal(say(ch, NULL, "a.b"), 3);
    mtaio_subscriber_unref(a);
    mtaio_subscriber_unref(b);
    mtaio_subscriber_unref(c);
    mtaio_channel_unref(ch);
}

/* As if they were not there: a full buffer of one's own is in nobody's way. */
static void test_full(void **state) {
    static const char mine;
    (void)state;
    mtaio_channel *ch = channel_new(0);
    mtaio_subscriber *a = join(ch, &mine, NULL, MTAIO_BLOCK), *b = join(ch, &mine, NULL, MTAIO_REFUSE);
    assert_int_equal(say(ch, NULL, NULL), 2);
    assert_int_equal(say(ch, NULL, NULL), MTAIO_ELIMIT);
    assert_int_equal(say(ch, &mine, NULL), 0);
    mtaio_subscriber_unref(b);
    assert_int_equal(say(ch, NULL, NULL), MTAIO_EAGAIN);
    assert_int_equal(say(ch, &mine, NULL), 0);
    mtaio_subscriber_unref(a);
    mtaio_channel_unref(ch);
}

/* What is kept for late subscribers keeps its origin. */
static void test_replay(void **state) {
    static const char mine;
    (void)state;
    mtaio_channel *ch = channel_new(4);
    assert_int_equal(say(ch, &mine, "a.b"), 0);
    mtaio_subscriber *a = join(ch, &mine, NULL, 0), *b = join(ch, NULL, NULL, 0);
    gets(a, MTAIO_EAGAIN);
    gets(b, 0);
    mtaio_subscriber_unref(a);
    mtaio_subscriber_unref(b);
    mtaio_channel_unref(ch);
}

/* A message passed on has the origin of the new publication, not that of the old one. */
static void test_passed_on(void **state) {
    static const char mine;
    (void)state;
    mtaio_channel *from = channel_new(0), *to = channel_new(0);
    mtaio_subscriber *source = join(from, NULL, NULL, 0), *a = join(to, &mine, NULL, 0);
    const void *const origins[][2] = {{NULL, &mine}, {&mine, NULL}, {&mine, &mine}};
    for (size_t i = 0; i < 3; i++) {
        mtaio_message m;
        assert_int_equal(say(from, origins[i][0], NULL), 1);
        assert_int_equal(mtaio_subscriber_receive(source, 0, &m), 0);
        int r = mtaio_channel_publish(to, MTAIO_PUBLICATION(.message = &m, .origin = origins[i][1]), 0);
        assert_int_equal(r, origins[i][1] ? 0 : 1);
        mtaio_message_clear(&m);
        gets(a, origins[i][1] ? MTAIO_EAGAIN : 0);
    }
    mtaio_subscriber_unref(source);
    mtaio_subscriber_unref(a);
    mtaio_channel_unref(from);
    mtaio_channel_unref(to);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_echo),
        cmocka_unit_test(test_full),
        cmocka_unit_test(test_replay),
        cmocka_unit_test(test_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
