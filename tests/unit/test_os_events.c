/* test_os_events.c - the bottom layer's wake-up descriptors. */
#define _GNU_SOURCE 1

#include "support.h"

#include <fcntl.h>
#include <mtaio/base.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#include "os/os.h"

static bool is_readable(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};

    assert_true(poll(&p, 1, 0) >= 0);
    return p.revents & POLLIN;
}

/* "Readable while it is set, whatever is said twice", and neither setting nor clearing waits. */
static void test_event_fd(void **state) {
    int fd = os_event_fd_new(), flags;

    (void)state;
    assert_true(fd >= 0);
    flags = fcntl(fd, F_GETFD);
    assert_true(flags & FD_CLOEXEC);
    assert_false(is_readable(fd));
    os_event_fd_clear(fd);
    os_event_fd_set(fd);
    os_event_fd_set(fd);
    assert_true(is_readable(fd));
    os_event_fd_clear(fd);
    assert_false(is_readable(fd));
    assert_int_equal(eventfd_write(fd, UINT64_MAX - 1), 0);
    os_event_fd_set(fd);
    os_event_fd_clear(fd);
    assert_false(is_readable(fd));
    os_event_fd_close(fd);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    os_pause();
}

/* Hazard 22: the system refuses a descriptor. */
static void test_event_fd_refused(void **state) {
    struct rlimit before, none = {0};

    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(os_event_fd_new(), MTAIO_ESYSTEM);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_event_fd),
        cmocka_unit_test(test_event_fd_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
