/* test_channel_fork.c - fork() in a process that uses channels and nothing else of the library. Hazard 29. */
#include "channels.h"

#include <sys/wait.h>
#include <unistd.h>

static atomic_bool stop;
static void *publish_all_the_time(void *arg) {
    mtaio_message m;
    while (!atomic_load(&stop)) {
        CHECK(publish(arg, "t", "x") >= 1);
        mtaio_subscriber *sub = NULL;
        if (SANITIZED) continue; /* its allocator does not survive a fork while others allocate */
        CHECK(mtaio_subscribe(arg, "t.*", &sub) == 0);
        CHECK(publish(arg, "t.u", "y") >= 1);
        CHECK(mtaio_receive(sub, &m) == 0);
        mtaio_message_clear(&m);
        mtaio_subscriber_unref(sub);
    }
    return NULL;
}

static void use_in_child(void) {
    mtaio_channel *ch = NULL;
    mtaio_subscriber *sub = NULL;
    mtaio_message m;
    alarm(60);
    bool ok = mtaio_channel_new(MTAIO_CHANNEL_OPTIONS(.replay = 1), &ch) == 0;
    ok &= mtaio_subscribe(ch, "t.*", &sub) == 0;
    ok &= publish(ch, "t.u", "child") == 1 && mtaio_receive(sub, &m) == 0;
    ok &= strcmp(mtaio_message_data(&m), "child") == 0;
    mtaio_message_clear(&m);
    ok &= mtaio_subscriber_fd(sub) >= 0;
    ok &= mtaio_subscriber_receive(sub, 1000000, &m) == MTAIO_ETIMEDOUT;
    ok &= mtaio_channel_reach(ch, "t.u") == 1;
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    _exit(ok ? 0 : 1);
}

/* "A child may use channels that it creates itself", whatever other threads were doing; the parent notices
 * nothing. Hazard 29. */
static void test_fork(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 4, MTAIO_DROP_OLDEST);
    pthread_t threads[2];
    atomic_store(&stop, false);
    for (size_t i = 0; i < COUNT(threads); i++)
        OK(pthread_create(&threads[i], NULL, publish_all_the_time, ch));
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) use_in_child();
        int status = -1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
    }
    atomic_store(&stop, true);
    for (size_t i = 0; i < COUNT(threads); i++) OK(pthread_join(threads[i], NULL));
    check_subscriber_balance(sub);
    check_balance(ch);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    mtaio_reclaim();
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_fork)};
    support_init(); /* no thread is known to the library before */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
