/* test_channel_receive_async.c - receiving without a thread that waits: "call is given each message as it
 * comes, one after another"; it ends once, and no message is lost by cancelling. */
#include "takers.h"

/* --- Plainly ----------------------------------------------------------------------------------- */

/* "Begins at once: call may run during this, with what is there already. It returns 1 to be called for the
 * next, 0 or negative to end. The last call is followed by destroy." */
static void test_takes(void **state) {
    (void)state;
    for (int last = 0; last >= -1; last--) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe(ch, NULL);
        struct taker t = {.tag = "t", .times = 4, .last = last};
        publish(ch, NULL, "a");
        publish(ch, "x", "b");
        begin_taking(sub, &t);
        assert_noted("t a t x:b");
        publish(ch, NULL, "c");
        assert_noted("t c");
        publish(ch, NULL, "d");
        assert_noted("t d ~t");
        publish(ch, NULL, "e");
        assert_int_equal(mtaio_pending_cancel(t.pending), 0); /* it is over */
        mtaio_pending_unref(t.pending);
        note_all(sub);
        assert_noted("e EAGAIN");
        assert_subscriber_sums(sub, "5 5 0 0 2");
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
    }
}

/* One that ends during its own beginning gives a pending that is over; ret may be NULL. */
static void test_ends_at_once(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct taker t = {.tag = "t", .times = 1}, u = {.tag = "u", .times = 1};
    publish(ch, NULL, "a");
    publish(ch, NULL, "b");
    begin_taking(sub, &t);
    OK(mtaio_subscriber_receive_async(sub, MTAIO_RECEIVER(.call = take, .destroy = taker_gone, .ctx = &u),
                                      NULL));
    assert_noted("t a ~t u b ~u");
    assert_int_equal(mtaio_pending_cancel(t.pending), 0);
    assert_ptr_equal(mtaio_pending_ref(t.pending), t.pending);
    mtaio_pending_unref(t.pending);
    mtaio_pending_unref(t.pending);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* ECLOSED, after everything was received; or at once where the subscription ends. */
static void test_closed(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe(ch, NULL);
        struct taker t = {.tag = "t"}, late = {.tag = "late"};
        begin_taking(sub, &t);
        publish(ch, NULL, "a");
        assert_noted("t a");
        if (way == 0) OK(mtaio_channel_close(ch));
        if (way == 1) assert_int_equal(mtaio_unsubscribe(sub), 1);
        if (way == 2) ch = mtaio_channel_unref(ch);
        assert_noted("t ECLOSED ~t");
        begin_taking(sub, &late);
        assert_noted("late ECLOSED ~late");
        assert_int_equal(mtaio_pending_cancel(t.pending), 0);
        mtaio_pending_unref(t.pending);
        mtaio_pending_unref(late.pending);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
    }
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct taker t = {.tag = "t"};
    publish(ch, NULL, "a");
    publish(ch, NULL, "b");
    mtaio_channel_close(ch);
    begin_taking(sub, &t);
    assert_noted("t a t b t ECLOSED ~t");
    mtaio_pending_unref(t.pending);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* "Ends it with ECANCELED (told by its call): 1 or 0. Of a receive no message is lost." */
static void test_cancel(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct taker t = {.tag = "t"};
    begin_taking(sub, &t);
    publish(ch, NULL, "a");
    assert_noted("t a");
    assert_int_equal(mtaio_pending_cancel(t.pending), 1);
    assert_noted("t ECANCELED ~t");
    assert_int_equal(mtaio_pending_cancel(t.pending), 0);
    publish(ch, NULL, "b");
    note_all(sub);
    assert_noted("b EAGAIN");
    mtaio_pending_unref(t.pending);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* Giving back the pending does not cancel; "it keeps the subscriber". */
static void test_keeps(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct taker t = {.tag = "t", .times = 2};
    begin_taking(sub, &t);
    mtaio_pending_unref(t.pending);
    mtaio_subscriber_unref(sub);
    assert_int_equal(mtaio_channel_count(ch), 1);
    assert_int_equal(publish(ch, NULL, "a"), 1);
    assert_int_equal(publish(ch, NULL, "b"), 1);
    assert_noted("t a t b ~t");
    assert_int_equal(mtaio_channel_count(ch), 0); /* nobody has it any more */
    assert_int_equal(publish(ch, NULL, "c"), 0);
    sub = subscribe(ch, NULL);
    struct taker u = {.tag = "u"};
    begin_taking(sub, &u);
    mtaio_pending_unref(u.pending);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch); /* closes */
    assert_noted("u ECLOSED ~u");
}

/* "And clears it, or keeps the struct." */
static void test_keeps_message(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct payload p = {.text = "p"};
    mtaio_message kept = {0};
    struct taker t = {.tag = "t", .times = 1, .keep = &kept};
    begin_taking(sub, &t);
    publish_payload(ch, "topic", &p, 0);
    assert_noted("t topic:p ~t");
    mtaio_pending_unref(t.pending);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    assert_int_equal(p.released, 0);
    assert_string_equal(mtaio_message_data(&kept), "p");
    assert_string_equal(mtaio_message_topic(&kept), "topic");
    mtaio_message_clear(&kept);
    assert_int_equal(p.released, 1);
}

/* A pending that is over may outlive everything that it was about. */
static void test_cancel_late(void **state) {
    (void)state;
    for (int way = 0; way < 2; way++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe(ch, NULL);
        struct taker t = {.tag = "t", .times = 1};
        begin_taking(sub, &t);
        mtaio_subscriber_unref(sub);
        if (way == 0) publish(ch, NULL, "a");
        mtaio_channel_unref(ch);
        assert_noted(way == 0 ? "t a ~t" : "t ECLOSED ~t");
        assert_int_equal(mtaio_pending_cancel(t.pending), 0);
        mtaio_pending_unref(t.pending);
    }
}

/* "destroy runs also if registering failed": what is refused, except for a wrong size. */
static void test_refused(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct taker t = {.tag = "t"};
    mtaio_receiver r = *MTAIO_RECEIVER(.call = NULL, .destroy = taker_gone, .ctx = &t);
    assert_int_equal(mtaio_subscriber_receive_async(sub, &r, NULL), MTAIO_EINVAL);
    assert_noted("~t");
    t.gone = 0;
    r.call = take;
    assert_int_equal(mtaio_subscriber_receive_async(NULL, &r, NULL), MTAIO_EINVAL);
    assert_noted("~t");
    r.size--;
    assert_int_equal(mtaio_subscriber_receive_async(sub, &r, NULL), MTAIO_EINVAL);
    assert_noted("");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* --- From inside ------------------------------------------------------------------------------- */

static void act_publish(struct taker *t) {
    if (t->calls < 3) assert_int_equal(publish(t->ch, NULL, "again"), 1);
}
static void act_unsubscribe(struct taker *t) { assert_int_equal(mtaio_unsubscribe(t->sub), 1); }
static void act_close(struct taker *t) { OK(mtaio_channel_close(t->ch)); }
static void act_receive(struct taker *t) { note_all(t->sub); }
static void act_drop_everything(struct taker *t) {
    t->pending = mtaio_pending_unref(t->pending);
    t->sub = mtaio_subscriber_unref(t->sub);
    t->ch = mtaio_channel_unref(t->ch);
}
static void act_cancel(struct taker *t) { assert_int_equal(mtaio_pending_cancel(t->pending), 0); }

/* "Your code may call anything and drop whatever called it." */
static void test_reentry(void **state) {
    (void)state;
    static const struct {
        void (*act)(struct taker *self);
        unsigned times;
        const char *noted;
    } table[] = {
        {act_publish, 3, "t one t again t again ~t"},   {act_unsubscribe, 0, "t one t ECLOSED ~t"},
        {act_close, 0, "t one t ECLOSED ~t"},           {act_receive, 1, "t one EAGAIN ~t"},
        {act_drop_everything, 0, "t one t ECLOSED ~t"}, {act_unsubscribe, 1, "t one ~t"},
        {act_drop_everything, 1, "t one ~t"},
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe(ch, NULL);
        struct taker t = {.tag = "t", .act = table[i].act, .times = table[i].times, .ch = ch, .sub = sub};
        begin_taking(sub, &t);
        mtaio_channel_ref(ch);
        assert_int_equal(publish(ch, NULL, "one"), 1);
        ch = mtaio_channel_unref(ch); /* ours, for the call; what t has may be the last */
        assert_noted(table[i].noted);
        mtaio_pending_unref(t.pending);
        mtaio_subscriber_unref(t.sub);
        mtaio_channel_unref(t.ch);
    }
}

/* Cancelling while the call runs is answered 0: it is being carried out. It is called for no further message.
 */
static void test_cancel_inside(void **state) {
    (void)state;
    for (unsigned times = 0; times < 2; times++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe(ch, NULL);
        struct taker t = {.tag = "t", .act = act_cancel, .times = times};
        begin_taking(sub, &t);
        publish(ch, NULL, "one");
        assert_noted(times == 0 ? "t one t ECANCELED ~t" : "t one ~t");
        assert_int_equal(mtaio_pending_cancel(t.pending), 0);
        mtaio_pending_unref(t.pending);
        publish(ch, NULL, "two");
        note_all(sub);
        assert_noted("two EAGAIN");
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
    }
}

/* A receiver that begins the next one from its last call. */
static void act_begin_next(struct taker *t) {
    t->pending = mtaio_pending_unref(t->pending);
    struct taker *next = t + 1;
    if (next->tag != NULL) begin_taking(t->sub, next);
}
static void test_chain(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct taker t[4] = {{.tag = "a"}, {.tag = "b"}, {.tag = "c"}, {.tag = NULL}};
    for (int i = 0; i < 3; i++) {
        t[i].times = 1;
        t[i].sub = sub;
        t[i].act = act_begin_next;
    }
    begin_taking(sub, &t[0]);
    for (int i = 0; i < 5; i++) publish(ch, NULL, (const char *const[]){"1", "2", "3", "4", "5"}[i]);
    assert_noted("a 1 ~a b 2 ~b c 3 ~c");
    note_all(sub);
    assert_noted("4 5 EAGAIN");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

static int count_down(int result, mtaio_message *message, void *ctx) {
    unsigned *left = ctx;
    if (result < 0) return 0;
    mtaio_message_clear(message);
    return --*left > 0;
}
struct ping {
    mtaio_channel *ch;
    unsigned left;
};
static int answer(int result, mtaio_message *message, void *ctx) {
    struct ping *p = ctx;
    if (result < 0) return 0;
    mtaio_message_clear(message);
    if (--p->left == 0) return 0;
    CHECK(publish(p->ch, NULL, "ping") == 1);
    return 1;
}

/* Any number of messages one after another, also where each call publishes the next: no stack is needed for
 * them. */
static void test_no_recursion(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    unsigned left = 200000;
    for (unsigned i = 0; i < left; i++) CHECK(publish(ch, NULL, "x") == 1);
    OK(mtaio_subscriber_receive_async(sub, MTAIO_RECEIVER(.call = count_down, .ctx = &left), NULL));
    assert_int_equal(left, 0);
    struct ping p = {ch, 200000};
    OK(mtaio_subscriber_receive_async(sub, MTAIO_RECEIVER(.call = answer, .ctx = &p), NULL));
    publish(ch, NULL, "ping");
    assert_int_equal(p.left, 0);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_takes),         TEST(test_ends_at_once),  TEST(test_closed),  TEST(test_cancel),
        TEST(test_keeps),         TEST(test_keeps_message), TEST(test_refused), TEST(test_reentry),
        TEST(test_cancel_inside), TEST(test_cancel_late),   TEST(test_chain),   TEST(test_no_recursion),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
