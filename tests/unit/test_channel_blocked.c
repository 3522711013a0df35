/* test_channel_blocked.c - publishing where a buffer is full: the thread that waits is woken by room, by
 * unsubscribe, by close, by its time limit. Hazard 27. */
#include "channels.h"

/* --- A thread that waits ----------------------------------------------------------------------- */

struct scene {
    mtaio_channel *ch;
    mtaio_subscriber *sub, *other; /* sub is full */
    struct waiting_publish p;
};

static void scene_begin(struct scene *s, int64_t timeout_ns) {
    s->ch = channel_new();
    s->sub = subscribe_limited(s->ch, 1, MTAIO_BLOCK);
    s->other = subscribe(s->ch, NULL);
    assert_int_equal(publish(s->ch, NULL, "fills"), 2);
    s->p = (struct waiting_publish){.ch = s->ch, .topic = "t", .text = "waits", .timeout_ns = timeout_ns};
    call_begin(&s->p.call, run_publish, &s->p);
    assert_waits(&s->p.call);
    assert_subscriber_sums(s->other, "1 0 0 1 1"); /* "all or nothing": nobody has got it yet */
}

static void scene_end(struct scene *s) {
    mtaio_subscriber_unref(s->sub);
    mtaio_subscriber_unref(s->other);
    mtaio_channel_unref(s->ch);
}

/* "Waits until every buffer has room." */
static void test_woken_by_room(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++) {
        struct scene s;
        mtaio_message m[3];
        scene_begin(&s, (const int64_t[]){-1, INT64_MAX, 60 * SECOND}[way]);
        if (way == 0)
            note_next(s.sub);
        else if (way == 1)
            assert_int_equal(mtaio_subscriber_receive_many(s.sub, 0, m, 3), 1);
        else
            OK(mtaio_receive(s.sub, m));
        if (way != 0) mtaio_message_clear(m);
        assert_int_equal(call_end(&s.p.call), 2);
        note_all(s.sub);
        note_all(s.other);
        assert_noted(way == 0 ? "fills t:waits EAGAIN fills t:waits EAGAIN"
                              : "t:waits EAGAIN fills t:waits EAGAIN");
        assert_sums(s.ch, "2 4 4 0 0 0");
        scene_end(&s);
    }
}

/* "Unsubscribe: publishers that waited for it go on"; also where the subscriber is only dropped. */
static void test_woken_by_unsubscribe(void **state) {
    (void)state;
    for (int way = 0; way < 2; way++) {
        struct scene s;
        scene_begin(&s, -1);
        if (way == 0)
            assert_int_equal(mtaio_unsubscribe(s.sub), 1);
        else
            s.sub = mtaio_subscriber_unref(s.sub);
        assert_int_equal(call_end(&s.p.call), 1);
        note_all(s.other);
        assert_noted("fills t:waits EAGAIN");
        assert_sums(s.ch, "2 3 2 1 0 0");
        scene_end(&s);
    }
}

/* A subscriber that does not want the topic any more is not waited for. */
static void test_woken_by_patterns(void **state) {
    (void)state;
    struct scene s;
    scene_begin(&s, 10 * SECOND);
    assert_int_equal(mtaio_subscriber_add(s.sub, "another.topic"), 1);
    assert_int_equal(call_end(&s.p.call), 1);
    note_all(s.sub);
    assert_noted("fills EAGAIN");
    scene_end(&s);
}

/* "Publishing and subscribing answer ECLOSED from now on, also to those who wait." */
static void test_woken_by_close(void **state) {
    (void)state;
    struct scene s;
    scene_begin(&s, -1);
    OK(mtaio_channel_close(s.ch));
    assert_int_equal(call_end(&s.p.call), MTAIO_ECLOSED);
    note_all(s.sub);
    note_all(s.other);
    assert_noted("fills ECLOSED fills ECLOSED");
    assert_sums(s.ch, "1 2 2 0 0 0");
    scene_end(&s);
}

/* The time limit passes: nobody has got it, and it is counted as refused. Hazard 37. */
static void test_time_limit(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK), *other = subscribe(ch, NULL);
    publish(ch, NULL, "fills");
    assert_int_equal(publish_for(ch, NULL, "no", 0), MTAIO_EAGAIN);
    assert_int_equal(publish_for(ch, NULL, "no", 1), MTAIO_ETIMEDOUT);
    int64_t start = support_now_ms();
    assert_int_equal(publish_for(ch, NULL, "no", 30000000), MTAIO_ETIMEDOUT);
    int64_t passed = support_now_ms() - start;
    assert_true(passed >= 29 && passed < 25000);
    note_all(sub);
    note_all(other);
    assert_noted("fills EAGAIN fills EAGAIN");
    assert_int_equal(publish_for(ch, NULL, "yes", INT64_MIN), 2);
    note_all(sub);
    assert_noted("yes EAGAIN");
    assert_sums(ch, "2 4 3 0 1 3");
    mtaio_subscriber_unref(sub);
    mtaio_subscriber_unref(other);
    mtaio_channel_unref(ch);
}

/* Woken for nothing, again and again: room that another publisher takes first. All get in, each exactly once.
 */
enum { PUBLISHERS = 4, EACH = 2000 };
static void contend(unsigned index, void *arg) {
    struct scene *s = arg;
    if (index == 0) {
        mtaio_message m;
        for (int i = 0; i < PUBLISHERS * EACH; i++) {
            CHECK(mtaio_subscriber_receive(s->sub, -1, &m) == 0);
            mtaio_message_clear(&m);
        }
        return;
    }
    for (uint64_t i = 0; i < EACH; i++)
        CHECK(publish_number(s->ch, i, index % 2 != 0 ? -1 : 60 * SECOND) == 1);
}
static void test_contended(void **state) {
    (void)state;
    struct scene s = {.ch = channel_new()};
    s.sub = subscribe_limited(s.ch, 1, MTAIO_BLOCK);
    support_threads(PUBLISHERS + 1, contend, &s);
    assert_subscriber_sums(s.sub, "8000 8000 0 0 1");
    assert_sums(s.ch, "8000 8000 8000 0 0 0");
    mtaio_subscriber_unref(s.sub);
    mtaio_channel_unref(s.ch);
}

/* publish_many waits for room in between, and gives up at its limit with what it has done. */
static int run_publish_many(void *ctx) {
    struct waiting_publish *w = ctx;
    mtaio_publication list[4];
    for (int i = 0; i < 4; i++) list[i] = *MTAIO_PUBLICATION(.data = &w->text[2 * i], .bytes = 2);
    return mtaio_channel_publish_many(w->ch, list, 4, w->timeout_ns);
}
static void test_many(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 2, MTAIO_BLOCK);
    struct waiting_publish w = {.ch = ch, .text = "a\0b\0c\0d", .timeout_ns = -1};
    call_begin(&w.call, run_publish_many, &w);
    assert_waits(&w.call);
    note_next(sub);
    assert_waits(&w.call);
    note_next(sub);
    assert_int_equal(call_end(&w.call), 4);
    assert_noted("a b");
    w.timeout_ns = 20000000;
    note_next(sub);
    call_begin(&w.call, run_publish_many, &w);
    assert_int_equal(call_end(&w.call), 1);
    note_all(sub);
    assert_noted("c d a EAGAIN");
    w.timeout_ns = -1;
    call_begin(&w.call, run_publish_many, &w);
    assert_waits(&w.call);
    mtaio_channel_close(ch);
    assert_int_equal(call_end(&w.call), 2);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* A publisher that waits does not hold up others, whose subscribers have room. */
static void test_others_go_on(void **state) {
    (void)state;
    struct scene s = {.ch = channel_new()};
    const char *const patterns[] = {"full", NULL};
    s.sub = subscribe_with(s.ch, MTAIO_SUBSCRIPTION(.patterns = patterns, .buffer_size = 1));
    s.other = subscribe(s.ch, "free");
    assert_int_equal(publish(s.ch, "full", "fills"), 1);
    s.p = (struct waiting_publish){.ch = s.ch, .topic = "full", .text = "waits", .timeout_ns = -1};
    call_begin(&s.p.call, run_publish, &s.p);
    assert_waits(&s.p.call);
    for (int i = 0; i < 100; i++) assert_int_equal(publish_now(s.ch, "free", "x"), 1);
    note_next(s.sub);
    assert_int_equal(call_end(&s.p.call), 1);
    note_all(s.sub);
    assert_noted("full:fills full:waits EAGAIN");
    assert_subscriber_sums(s.other, "100 0 0 100 100");
    scene_end(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_woken_by_room),  TEST(test_woken_by_unsubscribe), TEST(test_woken_by_patterns),
        TEST(test_woken_by_close), TEST(test_time_limit),           TEST(test_contended),
        TEST(test_many),           TEST(test_others_go_on),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
