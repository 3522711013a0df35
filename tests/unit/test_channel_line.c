/* test_channel_line.c - publications that wait for room without a thread: in line, and in order. */
#include "channels.h"
#include "loops.h"

struct told {
    const char *tag;
    unsigned gone;
    void (*act)(struct told *self);
    mtaio_channel *ch;
    mtaio_pending *pending;
};
static void tell(int result, void *ctx) {
    struct told *t = ctx;
    unlocked();
    CHECK(t->gone == 0);
    note("%s=%s", t->tag, result < 0 ? mtaio_error_name(result) + strlen("MTAIO_") : result_text(result));
    if (t->act != NULL) t->act(t);
}
static void told_gone(void *ctx) {
    struct told *t = ctx;
    unlocked();
    CHECK(t->gone++ == 0);
    note("~%s", t->tag);
}
#define PUBLISHED(t) MTAIO_PUBLISHED(.call = tell, .destroy = told_gone, .ctx = (t))

static int publish_later(mtaio_channel *ch, const char *text, struct told *t) {
    return mtaio_channel_publish_async(ch, MTAIO_PUBLICATION(.data = text, .bytes = strlen(text) + 1),
                                       PUBLISHED(t), &t->pending);
}

/* "call runs once with what mtaio_channel_publish would have returned, also during
 * mtaio_channel_publish_async itself." */
static void test_at_once(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    struct told a = {.tag = "a"}, b = {.tag = "b"}, c = {.tag = "c"};
    OK(publish_later(ch, "1", &a));
    mtaio_subscriber *sub = subscribe(ch, NULL), *refuses = subscribe_limited(ch, 1, MTAIO_REFUSE);
    OK(publish_later(ch, "2", &b));
    OK(publish_later(ch, "3", &c));
    assert_noted("a=0 ~a b=2 ~b c=ELIMIT ~c");
    assert_int_equal(mtaio_pending_cancel(a.pending), 0);
    OK(mtaio_channel_publish_async(ch, MTAIO_PUBLICATION(.data = "x", .bytes = 2), NULL,
                                   NULL)); /* nobody is told */
    note_all(refuses);
    OK(mtaio_channel_publish_async(ch, MTAIO_PUBLICATION(.data = "4", .bytes = 2),
                                   MTAIO_PUBLISHED(.call = NULL), NULL));
    note_all(sub);
    assert_noted("2 EAGAIN 2 4 EAGAIN");
    assert_sums(ch, "3 4 3 0 1 2");
    mtaio_pending_unref(a.pending);
    mtaio_pending_unref(b.pending);
    mtaio_pending_unref(c.pending);
    mtaio_subscriber_unref(sub);
    mtaio_subscriber_unref(refuses);
    mtaio_channel_unref(ch);
}

/* "While any do, later publications on the channel wait behind them": in order, and each as there is room. */
static void test_line(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 2, MTAIO_BLOCK), *other = subscribe(ch, NULL);
    struct told t[5] = {{.tag = "t0"}, {.tag = "t1"}, {.tag = "t2"}, {.tag = "t3"}, {.tag = "t4"}};
    char text[2] = "0";
    for (int i = 0; i < 5; i++) {
        text[0] = (char)('0' + i);
        OK(publish_later(ch, text, &t[i])); /* "the publication is copied" */
        text[0] = 'X';
    }
    assert_noted("t0=2 ~t0 t1=2 ~t1");
    assert_int_equal(publish_now(ch, NULL, "5"), MTAIO_EAGAIN);
    struct waiting_publish w = {.ch = ch, .text = "5", .timeout_ns = -1};
    call_begin(&w.call, run_publish, &w);
    assert_waits(&w.call);
    note_next(sub);
    assert_noted("t2=2 ~t2 0"); /* told by the call that made room */
    mtaio_message m[2];
    assert_int_equal(mtaio_subscriber_receive_many(sub, 0, m, 2), 2);
    assert_noted("t3=2 ~t3 t4=2 ~t4");
    mtaio_message_clear(&m[0]);
    mtaio_message_clear(&m[1]);
    assert_waits(&w.call);
    note_next(sub);
    assert_int_equal(call_end(&w.call), 2);
    note_all(sub);
    note_all(other);
    assert_noted("3 4 5 EAGAIN 0 1 2 3 4 5 EAGAIN");
    assert_sums(ch, "6 12 12 0 0 1");
    for (int i = 0; i < 5; i++) mtaio_pending_unref(t[i].pending);
    mtaio_subscriber_unref(sub);
    mtaio_subscriber_unref(other);
    mtaio_channel_unref(ch);
}

/* "A publish that is cancelled reached nobody", and those behind it go on. */
static void test_line_cancelled(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    const char *const a_only[] = {"a", NULL};
    mtaio_subscriber *sub = subscribe_with(ch, MTAIO_SUBSCRIPTION(.patterns = a_only, .buffer_size = 1));
    mtaio_subscriber *other = subscribe(ch, "b");
    struct told t = {.tag = "t"}, u = {.tag = "u"};
    struct payload p = {.text = "p"};
    publish(ch, "a", "fills");
    OK(mtaio_channel_publish_async(
        ch, MTAIO_PUBLICATION(.topic = "a", .data = p.text, .bytes = 2, .release = release_payload),
        PUBLISHED(&t), &t.pending));
    OK(mtaio_channel_publish_async(ch, MTAIO_PUBLICATION(.topic = "b", .data = "b", .bytes = 2),
                                   PUBLISHED(&u), &u.pending));
    struct waiting_publish w = {.ch = ch, .topic = "b", .text = "c", .timeout_ns = -1};
    call_begin(&w.call, run_publish, &w);
    assert_waits(&w.call);
    assert_noted(""); /* they have room, and wait behind it */
    assert_int_equal(p.released, 0);
    assert_int_equal(mtaio_pending_cancel(t.pending), 1);
    assert_int_equal(p.released, 1);
    assert_int_equal(call_end(&w.call), 1);
    assert_int_equal(mtaio_pending_cancel(t.pending), 0);
    assert_int_equal(mtaio_pending_cancel(u.pending), 0);
    assert_true(strstr(notes.text, "t=ECANCELED ~t") != NULL && strstr(notes.text, "u=1 ~u") != NULL);
    forget_notes();
    note_all(sub);
    note_all(other);
    assert_noted("a:fills EAGAIN b:b b:c EAGAIN");
    assert_sums(ch, "3 3 3 0 0 1");
    mtaio_pending_unref(t.pending);
    mtaio_pending_unref(u.pending);
    mtaio_subscriber_unref(sub);
    mtaio_subscriber_unref(other);
    mtaio_channel_unref(ch);
}

/* The line ends: by close, by the last reference, by the full subscriber's going; data "is released also
 * where it ends with an error", once. */
static void test_line_ends(void **state) {
    (void)state;
    for (int way = 0; way < 4; way++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
        struct told t = {.tag = "t"}, u = {.tag = "u"};
        struct payload p = {.text = "p"};
        publish(ch, NULL, "fills");
        OK(mtaio_channel_publish_async(
            ch, MTAIO_PUBLICATION(.data = p.text, .bytes = 2, .release = release_payload), PUBLISHED(&t),
            NULL));
        OK(publish_later(ch, "u", &u));
        if (way == 0) OK(mtaio_channel_close(ch));
        if (way == 1) ch = mtaio_channel_unref(ch);
        if (way == 2) assert_int_equal(mtaio_unsubscribe(sub), 1);
        if (way == 3) sub = mtaio_subscriber_unref(sub);
        assert_noted(way < 2 ? "t=ECLOSED ~t u=ECLOSED ~u" : "t=0 ~t u=0 ~u");
        assert_int_equal(p.released, 1);
        assert_int_equal(mtaio_pending_cancel(u.pending), 0);
        mtaio_pending_unref(u.pending);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
    }
}

/* A pending that is over may outlive the channel. */
static void test_cancel_late(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    struct told t = {.tag = "t"}, u = {.tag = "u"};
    OK(publish_later(ch, "t", &t));
    OK(publish_later(ch, "u", &u));
    mtaio_channel_unref(ch);
    mtaio_subscriber_unref(sub);
    assert_noted("t=1 ~t u=ECLOSED ~u");
    assert_int_equal(mtaio_pending_cancel(t.pending), 0);
    assert_int_equal(mtaio_pending_cancel(u.pending), 0);
    mtaio_pending_unref(t.pending);
    mtaio_pending_unref(u.pending);
}

/* Its call may do anything: publish again, receive, close, drop the channel. */
static void act_again(struct told *t) {
    static struct told again = {.tag = "again"};
    OK(mtaio_channel_publish_async(t->ch, MTAIO_PUBLICATION(.data = "again", .bytes = 6),
                                   MTAIO_PUBLISHED(.call = tell, .ctx = &again), NULL));
}
static void act_close(struct told *t) { OK(mtaio_channel_close(t->ch)); }
static void act_unref(struct told *t) { t->ch = mtaio_channel_unref(t->ch); }
static void test_line_reentry(void **state) {
    (void)state;
    static const struct {
        void (*act)(struct told *t);
        const char *noted;
    } table[] = {{act_again, "t=1 ~t fills again=1 waits again EAGAIN"},
                 {act_close, "t=1 ~t fills waits ECLOSED"},
                 {act_unref, "t=1 ~t fills waits ECLOSED"}};
    for (size_t i = 0; i < COUNT(table); i++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
        struct told t = {.tag = "t", .act = table[i].act, .ch = ch};
        publish(ch, NULL, "fills");
        OK(publish_later(ch, "waits", &t));
        note_all(sub);
        assert_noted(table[i].noted);
        mtaio_pending_unref(t.pending);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(t.ch);
    }
}

/* "Or on the executor": the end is told there, and where the job is dropped, destroy runs all the same. */
static void test_line_executor(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++) {
        mtaio_executor *ex = loop_new();
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
        struct told t = {.tag = "t"};
        loop.quiet = true;
        publish(ch, NULL, "fills");
        OK(mtaio_channel_publish_async(
            ch, MTAIO_PUBLICATION(.data = "x", .bytes = 2),
            MTAIO_PUBLISHED(.call = tell, .destroy = told_gone, .ctx = &t, .executor = ex), &t.pending));
        note_next(sub);
        assert_noted("fills");
        if (way == 1) assert_int_equal(mtaio_pending_cancel(t.pending), 0); /* it is in */
        take_jobs(way == 2 ? mtaio_job_drop : mtaio_job_run);
        note_all(sub);
        if (way == 2)
            assert_true(strstr(notes.text, "~t") != NULL);
        else
            assert_string_equal(notes.text, "t=1 ~t x EAGAIN");
        forget_notes();
        assert_int_equal(t.gone, 1);
        mtaio_pending_unref(t.pending);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
        mtaio_executor_unref(ex);
    }
}

/* "destroy runs also if registering failed", and data stays the caller's then. */
static void test_line_refused(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    struct told t = {.tag = "t"};
    struct payload p = {.text = "p"};
    mtaio_publication pub =
        *MTAIO_PUBLICATION(.topic = "a.*", .data = p.text, .bytes = 2, .release = release_payload);
    assert_int_equal(mtaio_channel_publish_async(ch, &pub, PUBLISHED(&t), &t.pending), MTAIO_ENAME);
    assert_noted("~t");
    t.gone = 0;
    pub.topic = NULL;
    mtaio_channel_close(ch);
    assert_int_equal(mtaio_channel_publish_async(ch, &pub, PUBLISHED(&t), &t.pending), MTAIO_ECLOSED);
    assert_noted("~t");
    assert_int_equal(p.released, 0);
    assert_null(t.pending);
    mtaio_channel_unref(ch);
}

/* A line of 100,000: they all go in when there is room for all at once, and none needs stack. */
static void count_told(int result, void *ctx) {
    CHECK(result == 0);
    ++*(unsigned *)ctx;
}
static void test_long_line(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    unsigned told = 0, n = SANITIZED ? 10000 : 100000;
    publish(ch, NULL, "fills");
    for (unsigned i = 0; i < n; i++)
        OK(mtaio_channel_publish_async(ch, MTAIO_PUBLICATION(.data = &i, .bytes = sizeof i),
                                       MTAIO_PUBLISHED(.call = count_told, .ctx = &told), NULL));
    assert_int_equal(told, 0);
    mtaio_unsubscribe(sub);
    assert_int_equal(told, n);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_at_once),       TEST(test_line),         TEST(test_line_cancelled),
        TEST(test_line_ends),     TEST(test_line_reentry), TEST(test_cancel_late),
        TEST(test_line_executor), TEST(test_line_refused), TEST(test_long_line),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
