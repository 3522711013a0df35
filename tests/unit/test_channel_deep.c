/* test_channel_deep.c - calls that lead to calls: the stack does not grow with their number, as an emission
 * nested without end does not crash it either. Each runs on a thread of little stack. */
#include "channels.h"

enum { STACK = 1 << 20, LENGTH = 5000 };

static void on_little_stack(void *(*run)(void *arg)) {
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK(pthread_attr_init(&attributes) == 0);
    CHECK(pthread_attr_setstacksize(&attributes, STACK) == 0);
    CHECK(pthread_create(&thread, &attributes, run, NULL) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    CHECK(pthread_attr_destroy(&attributes) == 0);
}

static unsigned calls;

/* --- A chain of channels: each message is passed on to the next ------------------------------- */

struct stage {
    mtaio_channel *ch;
    mtaio_subscriber *sub;
};
static struct stage stages[LENGTH];

static int pass_on(int result, mtaio_message *message, void *ctx) {
    struct stage *next = (struct stage *)ctx + 1;
    unlocked();
    if (result < 0) return 0;
    calls++;
    if (next < stages + LENGTH)
        CHECK(mtaio_channel_publish(next->ch, MTAIO_PUBLICATION(.message = message), 0) == 1);
    mtaio_message_clear(message);
    return 1;
}

static void *run_chain(void *arg) {
    for (size_t i = 0; i < LENGTH; i++) {
        stages[i].ch = channel_new();
        stages[i].sub = subscribe(stages[i].ch, NULL);
        OK(mtaio_subscriber_receive_async(stages[i].sub, MTAIO_RECEIVER(.call = pass_on, .ctx = &stages[i]),
                                          NULL));
    }
    for (unsigned n = 1; n <= 3; n++) {
        CHECK(publish(stages[0].ch, NULL, "a word") == 1);
        CHECK(calls == n * LENGTH); /* all of them during the call that publishes */
    }
    for (size_t i = 0; i < LENGTH; i++) {
        mtaio_channel_unref(stages[i].ch);
        mtaio_subscriber_unref(stages[i].sub);
    }
    return arg;
}

static void test_chain(void **state) {
    (void)state;
    calls = 0;
    on_little_stack(run_chain);
}

/* --- A call that begins the next --------------------------------------------------------------- */

static int take_one(int result, mtaio_message *message, void *sub) {
    unlocked();
    if (result < 0) return 0;
    calls++;
    mtaio_message_clear(message);
    OK(mtaio_subscriber_receive_async(sub, MTAIO_RECEIVER(.call = take_one, .ctx = sub), NULL));
    return 0;
}

static void *run_one_by_one(void *arg) {
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    for (uint64_t n = 0; n < LENGTH; n++) CHECK(publish_number(ch, n, 0) == 1);
    OK(mtaio_subscriber_receive_async(sub, MTAIO_RECEIVER(.call = take_one, .ctx = sub), NULL));
    CHECK(calls == LENGTH);
    mtaio_channel_unref(ch);
    mtaio_subscriber_unref(sub);
    return arg;
}

static void test_one_by_one(void **state) {
    (void)state;
    calls = 0;
    on_little_stack(run_one_by_one);
}

static void watch_again(void *sub) {
    unlocked();
    if (++calls < LENGTH)
        OK(mtaio_subscriber_watch(sub, MTAIO_WATCH(.ready = watch_again, .ctx = sub), NULL));
}

static void *run_watches(void *arg) {
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    CHECK(publish(ch, NULL, "a word") == 1);
    OK(mtaio_subscriber_watch(sub, MTAIO_WATCH(.ready = watch_again, .ctx = sub), NULL));
    CHECK(calls == LENGTH);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    return arg;
}

static void test_watches(void **state) {
    (void)state;
    calls = 0;
    on_little_stack(run_watches);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_chain), TEST(test_one_by_one), TEST(test_watches)};
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
