/* test_channel_receive_executor.c - receiving without a thread that waits, by calls that an executor runs;
 * several receivers at one subscriber. */
#include "loops.h"
#include "takers.h"

/* --- On an executor ---------------------------------------------------------------------------- */

/* call runs on the executor; until then the message is not received, and others may have it. */
static void test_executor(void **state) {
    (void)state;
    mtaio_executor *ex = loop_new();
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct taker t = {.tag = "t", .times = 3};
    loop.quiet = true;
    begin_taking_on(sub, &t, ex);
    publish(ch, NULL, "a");
    publish(ch, NULL, "b");
    assert_noted("");
    assert_subscriber_sums(sub, "2 0 0 2 2");
    take_jobs(mtaio_job_run);
    assert_noted("t a t b");
    publish(ch, NULL, "c");
    note_all(sub); /* another was faster */
    assert_noted("c EAGAIN");
    take_jobs(mtaio_job_run);
    assert_noted("");
    publish(ch, NULL, "d");
    take_jobs(mtaio_job_run);
    assert_noted("t d ~t");
    mtaio_pending_unref(t.pending);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    mtaio_executor_unref(ex);
}

/* A job that is dropped: ECANCELED; a post that is refused: what it answered. No message is lost by either.
 */
static void test_executor_refuses(void **state) {
    (void)state;
    mtaio_executor *ex = loop_new();
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct taker t = {.tag = "t"}, u = {.tag = "u"};
    loop.quiet = true;
    begin_taking_on(sub, &t, ex);
    publish(ch, NULL, "a");
    take_jobs(mtaio_job_drop);
    assert_noted("t ECANCELED ~t");
    loop.refuse = MTAIO_ELIMIT;
    begin_taking_on(sub, &u, ex);
    publish(ch, NULL, "b");
    assert_noted("u ELIMIT ~u");
    note_all(sub);
    assert_noted("a b EAGAIN");
    mtaio_pending_unref(t.pending);
    mtaio_pending_unref(u.pending);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    mtaio_executor_unref(ex);
}

/* A receiver that was told of a message and does not take it hands it on: to a thread that sleeps. */
static void test_handed_on(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++) {
        mtaio_executor *ex = loop_new();
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe(ch, NULL);
        struct taker t = {.tag = "t"};
        struct waiting_receive w = {.sub = sub, .timeout_ns = -1};
        bool in_time = true; /* the thread slept already */
        loop.quiet = true;
        begin_taking_on(sub, &t, ex);
        call_begin(&w.call, run_receive, &w);
        assert_waits(&w.call);
        publish(ch, NULL, "a"); /* one of the two is told, the receiver first */
        if (way == 0) take_jobs(mtaio_job_drop);
        if (way == 1) {
            assert_int_equal(mtaio_pending_cancel(t.pending), 1);
            take_jobs(mtaio_job_run);
        }
        if (way == 2) {
            in_time = note_next(sub) == 0; /* somebody else takes it: then nobody is told, and all wait on */
            publish(ch, NULL, "b");
            take_jobs(mtaio_job_drop);
        }
        OK(call_end(&w.call));
        forget_notes();
        if (in_time) assert_subscriber_sums(sub, way == 2 ? "2 2 0 0 1" : "1 1 0 0 1");
        mtaio_pending_cancel(t.pending);
        take_jobs(mtaio_job_run);
        forget_notes();
        mtaio_pending_unref(t.pending);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
        mtaio_executor_unref(ex);
    }
}

/* Cancelled, closed or unsubscribed while a job is queued: it ends once, and no message is lost by
 * cancelling. */
static void test_executor_ends(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++) {
        mtaio_executor *ex = loop_new();
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe(ch, NULL);
        struct taker t = {.tag = "t"};
        loop.quiet = true;
        begin_taking_on(sub, &t, ex);
        publish(ch, NULL, "a");
        if (way == 0) assert_int_equal(mtaio_pending_cancel(t.pending), 1);
        if (way == 1) OK(mtaio_channel_close(ch));
        if (way == 2) assert_int_equal(mtaio_unsubscribe(sub), 1);
        take_jobs(mtaio_job_run);
        assert_noted(way == 0 ? "t ECANCELED ~t" : way == 1 ? "t a t ECLOSED ~t" : "t ECLOSED ~t");
        note_all(sub);
        assert_noted(way == 0 ? "a EAGAIN" : "ECLOSED");
        mtaio_pending_unref(t.pending);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
        mtaio_executor_unref(ex);
    }
}

/* --- Several ----------------------------------------------------------------------------------- */

/* Receivers of every kind at one subscriber: each message goes to one. */
static void test_several(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct taker t = {.tag = "t", .times = 2}, u = {.tag = "t", .times = 1};
    struct waiting_receive w = {.sub = sub, .timeout_ns = -1};
    begin_taking(sub, &t);
    begin_taking(sub, &u);
    publish(ch, NULL, "x");
    publish(ch, NULL, "x");
    publish(ch, NULL, "x");
    assert_int_equal(t.calls, 2);
    assert_int_equal(u.calls, 1);
    forget_notes();
    call_begin(&w.call, run_receive, &w);
    assert_waits(&w.call);
    publish(ch, NULL, "y");
    OK(call_end(&w.call));
    assert_noted("y");
    assert_subscriber_sums(sub, "4 4 0 0 1");
    mtaio_pending_unref(t.pending);
    mtaio_pending_unref(u.pending);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_executor),  TEST(test_several),          TEST(test_executor_ends),
        TEST(test_handed_on), TEST(test_executor_refuses),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
