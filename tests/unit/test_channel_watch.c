/* test_channel_watch.c - knowing when a receive would not have to wait: watch, the descriptor, select. */
#include "channels.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

/* --- Watch ------------------------------------------------------------------------------------- */

struct watcher {
    const char *tag;
    unsigned ready, gone;
    void (*act)(struct watcher *self);
    mtaio_channel *ch;
    mtaio_subscriber *sub;
    mtaio_pending *pending;
};
static void watch_ready(void *ctx) {
    struct watcher *w = ctx;
    unlocked();
    CHECK(w->gone == 0 && w->ready++ == 0);
    note("%s", w->tag);
    if (w->act != NULL) w->act(w);
}
static void watch_gone(void *ctx) {
    struct watcher *w = ctx;
    unlocked();
    CHECK(w->gone++ == 0);
    note("~%s", w->tag);
}
static void watch(mtaio_subscriber *sub, struct watcher *w) {
    OK(mtaio_subscriber_watch(sub, MTAIO_WATCH(.ready = watch_ready, .destroy = watch_gone, .ctx = w),
                              &w->pending));
    assert_non_null(w->pending);
}
static void watch_end(struct watcher *w) {
    assert_int_equal(mtaio_pending_cancel(w->pending), 0);
    w->pending = mtaio_pending_unref(w->pending);
}

/* "Calls ready once, as soon as a receive would not have to wait; nothing is received by it." */
static void test_watch(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, "a");
    struct watcher w = {.tag = "w"}, v = {.tag = "v"}, again = {.tag = "again"}, at_once = {.tag = "at_once"};
    watch(sub, &w);
    publish(ch, "b", "no");
    assert_noted("");
    watch(sub, &v);
    publish(ch, "a", "1");
    assert_int_equal(w.ready + v.ready, 2);
    assert_int_equal(w.gone + v.gone, 2);
    forget_notes();
    publish(ch, "a", "2");
    note_next(sub);
    assert_noted("a:1");
    watch(sub, &at_once); /* "perhaps during this" */
    assert_noted("at_once ~at_once");
    note_all(sub);
    assert_noted("a:2 EAGAIN");
    watch(sub, &again);
    assert_noted("");
    publish(ch, "a", "3");
    assert_noted("again ~again");
    watch_end(&w);
    watch_end(&v);
    watch_end(&again);
    watch_end(&at_once);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* "On the thread that publishes or closes": closing, unsubscribing and the last reference make a receive not
 * wait. */
static void test_watch_closed(void **state) {
    (void)state;
    for (int way = 0; way < 3; way++) {
        mtaio_channel *ch = channel_new();
        mtaio_subscriber *sub = subscribe(ch, NULL);
        struct watcher w = {.tag = "w"}, late = {.tag = "late"};
        watch(sub, &w);
        if (way == 0) OK(mtaio_channel_close(ch));
        if (way == 1) assert_int_equal(mtaio_unsubscribe(sub), 1);
        if (way == 2) ch = mtaio_channel_unref(ch);
        assert_noted("w ~w");
        watch(sub, &late);
        assert_noted("late ~late");
        watch_end(&w);
        watch_end(&late);
        mtaio_subscriber_unref(sub);
        mtaio_channel_unref(ch);
    }
}

/* "Cancelling it calls nothing but destroy." Giving back the reference does not cancel. */
static void test_watch_cancelled(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct watcher w = {.tag = "w"}, kept = {.tag = "kept"};
    watch(sub, &w);
    watch(sub, &kept);
    kept.pending = mtaio_pending_unref(kept.pending);
    assert_int_equal(mtaio_pending_cancel(w.pending), 1);
    assert_noted("~w");
    watch_end(&w);
    publish(ch, NULL, "x");
    assert_noted("kept ~kept");
    OK(mtaio_subscriber_watch(
        sub, MTAIO_WATCH(.ready = watch_ready, .ctx = &(struct watcher){.tag = "plain"}), NULL));
    assert_noted("plain");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* "destroy runs also if registering failed." */
static void test_watch_refused(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct watcher w = {.tag = "w"};
    mtaio_watch args = *MTAIO_WATCH(.ready = NULL, .destroy = watch_gone, .ctx = &w);
    assert_int_equal(mtaio_subscriber_watch(sub, &args, NULL), MTAIO_EINVAL);
    assert_noted("~w");
    w.gone = 0;
    args.ready = watch_ready;
    assert_int_equal(mtaio_subscriber_watch(NULL, &args, NULL), MTAIO_EINVAL);
    assert_noted("~w");
    args.size++;
    assert_int_equal(mtaio_subscriber_watch(sub, &args, NULL), MTAIO_EINVAL);
    assert_noted("");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

static void act_receive_and_watch(struct watcher *w) {
    note_all(w->sub);
    struct watcher *next = w + 1;
    if (next->tag != NULL) watch(w->sub, next);
}
static void act_unref(struct watcher *w) {
    w->pending = mtaio_pending_unref(w->pending);
    w->sub = mtaio_subscriber_unref(w->sub);
}
static void act_cancel(struct watcher *w) { assert_int_equal(mtaio_pending_cancel(w->pending), 0); }

/* "Your code may call anything and drop whatever called it." */
static void test_watch_reentry(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct watcher w[4] = {{.tag = "0"}, {.tag = "1"}, {.tag = "2"}, {.tag = NULL}};
    for (int i = 0; i < 3; i++) {
        w[i].act = act_receive_and_watch;
        w[i].sub = sub;
    }
    watch(sub, &w[0]);
    publish(ch, NULL, "a");
    publish(ch, NULL, "b");
    publish(ch, NULL, "c");
    assert_noted("0 a EAGAIN ~0 1 b EAGAIN ~1 2 c EAGAIN ~2");
    for (int i = 0; i < 3; i++) watch_end(&w[i]);
    struct watcher u = {.tag = "u", .act = act_unref, .sub = sub}, c = {.tag = "c", .act = act_cancel};
    watch(sub, &c);
    publish(ch, NULL, "d");
    assert_noted("c ~c");
    note_all(sub);
    assert_noted("d EAGAIN");
    watch(sub, &u);
    publish(ch, NULL, "e");
    assert_noted("u ~u");
    assert_int_equal(mtaio_channel_count(ch), 0);
    watch_end(&c);
    mtaio_channel_unref(ch);
}

/* --- The descriptor ---------------------------------------------------------------------------- */

static bool is_readable(int fd) {
    struct pollfd p = {.fd = fd, .events = POLLIN};
    CHECK(poll(&p, 1, 0) >= 0);
    CHECK((p.revents & (POLLNVAL | POLLERR)) == 0);
    return p.revents & POLLIN;
}

/* "Readable exactly while a receive would not have to wait." */
static void test_descriptor(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 3, MTAIO_DROP_OLDEST);
    mtaio_message m[8];
    int fd = mtaio_subscriber_fd(sub);
    assert_true(fd >= 0);
    assert_int_equal(mtaio_subscriber_fd(sub), fd);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_false(is_readable(fd));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 7; i++) {
            publish(ch, NULL, "x");
            assert_true(is_readable(fd));
        }
        note_next(sub);
        assert_true(is_readable(fd));
        if (round == 1) {
            assert_int_equal(mtaio_subscriber_receive_many(sub, 0, m, 8), 2);
            mtaio_message_clear(&m[0]);
            mtaio_message_clear(&m[1]);
            assert_false(is_readable(fd));
        } else {
            note_next(sub);
            assert_true(is_readable(fd));
            note_next(sub);
            assert_false(is_readable(fd));
        }
        note_next(sub);
        assert_false(is_readable(fd));
        forget_notes();
    }
    publish(ch, NULL, "last");
    mtaio_channel_close(ch);
    assert_true(is_readable(fd));
    note_next(sub);
    assert_true(is_readable(fd)); /* it would answer ECLOSED at once */
    note_next(sub);
    assert_true(is_readable(fd));
    assert_noted("last ECLOSED");
    mtaio_subscriber_unref(sub); /* "closes it with its last reference" */
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    mtaio_channel_unref(ch);
}

/* Asked for when something is there already, or when it has ended already; ended by unsubscribing. */
static void test_descriptor_late(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *a = subscribe(ch, NULL), *b = subscribe(ch, NULL), *c = subscribe(ch, NULL);
    publish(ch, NULL, "x");
    assert_true(is_readable(mtaio_subscriber_fd(a)));
    mtaio_unsubscribe(a);
    assert_true(is_readable(mtaio_subscriber_fd(a)));
    mtaio_unsubscribe(b);
    assert_true(is_readable(mtaio_subscriber_fd(b)));
    note_all(c);
    assert_noted("x EAGAIN");
    assert_false(is_readable(mtaio_subscriber_fd(c)));
    mtaio_channel_unref(ch);
    assert_true(is_readable(mtaio_subscriber_fd(c)));
    mtaio_subscriber_unref(a);
    mtaio_subscriber_unref(b);
    mtaio_subscriber_unref(c);
}

/* What a receiver without a thread takes is not there for the descriptor either. */
static int take_one(int result, mtaio_message *message, void *ctx) {
    (void)result;
    (void)ctx;
    mtaio_message_clear(message);
    return 0;
}
static void test_descriptor_and_others(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    int fd = mtaio_subscriber_fd(sub);
    OK(mtaio_subscriber_receive_async(sub, MTAIO_RECEIVER(.call = take_one), NULL));
    publish(ch, NULL, "taken");
    assert_false(is_readable(fd));
    publish(ch, NULL, "stays");
    assert_true(is_readable(fd));
    OK(mtaio_channel_publish_async(ch, MTAIO_PUBLICATION(.data = "line", .bytes = 5), NULL, NULL));
    note_next(sub); /* and "line" comes in */
    assert_true(is_readable(fd));
    note_next(sub);
    assert_false(is_readable(fd));
    assert_noted("stays line");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* Level and edge of epoll, with several subscribers in one set. */
static void test_epoll(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *subs[] = {subscribe(ch, "a"), subscribe(ch, "b"), subscribe(ch, "*")};
    struct epoll_event events[4];
    int set = epoll_create1(EPOLL_CLOEXEC);
    assert_true(set >= 0);
    for (uint32_t i = 0; i < COUNT(subs); i++) {
        events[0] = (struct epoll_event){.events = EPOLLIN | (i == 2 ? (uint32_t)EPOLLET : 0), .data.u32 = i};
        assert_int_equal(epoll_ctl(set, EPOLL_CTL_ADD, mtaio_subscriber_fd(subs[i]), events), 0);
    }
    assert_int_equal(epoll_wait(set, events, 4, 0), 0);
    publish(ch, "a", "1");
    assert_int_equal(epoll_wait(set, events, 4, 0), 2);
    assert_int_equal(epoll_wait(set, events, 4, 0), 1);
    assert_int_equal(events[0].data.u32, 0);
    note_all(subs[0]);
    note_all(subs[2]);
    assert_int_equal(epoll_wait(set, events, 4, 0), 0);
    publish(ch, "b", "2");
    assert_int_equal(epoll_wait(set, events, 4, 0), 2); /* the edge comes again after it was empty */
    forget_notes();
    close(set);
    for (size_t i = 0; i < COUNT(subs); i++) mtaio_subscriber_unref(subs[i]);
    mtaio_channel_unref(ch);
}

/* A loop that only looks at the descriptor gets everything that other threads publish. */
enum { PUBLISHERS = 3, EACH = 3000 };
struct polled {
    mtaio_channel *ch;
    mtaio_subscriber *sub;
};
static void poll_or_publish(unsigned index, void *arg) {
    struct polled *s = arg;
    if (index > 0) {
        for (uint64_t i = 0; i < EACH; i++) CHECK(publish_number(s->ch, i, -1) == 1);
        return;
    }
    struct pollfd p = {.fd = mtaio_subscriber_fd(s->sub), .events = POLLIN};
    mtaio_message m;
    for (int got = 0; got < PUBLISHERS * EACH;) {
        CHECK(poll(&p, 1, 10000) == 1); /* a lost wake-up */
        CHECK(mtaio_subscriber_receive(s->sub, 0, &m) == 0);
        mtaio_message_clear(&m);
        got++;
    }
    CHECK(!is_readable(p.fd));
}
static void test_polled(void **state) {
    (void)state;
    static const size_t limits[] = {1, 16, MTAIO_UNBOUNDED};
    for (size_t i = 0; i < COUNT(limits); i++) {
        struct polled s = {.ch = channel_new()};
        s.sub = subscribe_limited(s.ch, limits[i], MTAIO_BLOCK);
        support_threads(PUBLISHERS + 1, poll_or_publish, &s);
        mtaio_subscriber_unref(s.sub);
        mtaio_channel_unref(s.ch);
    }
}

/* ESYSTEM where the system refuses one; the subscriber goes on, and another time it may work. Hazard 22. */
static void test_descriptor_refused(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct rlimit before, none = {0};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    none.rlim_max = before.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    assert_int_equal(mtaio_subscriber_fd(sub), MTAIO_ESYSTEM);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    publish(ch, NULL, "x");
    assert_true(is_readable(mtaio_subscriber_fd(sub)));
    note_all(sub);
    assert_noted("x EAGAIN");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* "Made when first asked for": 1,000 subscribers need none. */
static void test_no_descriptor(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *subs[1000];
    int before = dup(0), after;
    for (size_t i = 0; i < COUNT(subs); i++) subs[i] = subscribe(ch, NULL);
    publish(ch, NULL, "x");
    after = dup(0);
    assert_int_equal(after, before + 1);
    close(before);
    close(after);
    for (size_t i = 0; i < COUNT(subs); i++) mtaio_subscriber_unref(subs[i]);
    mtaio_channel_unref(ch);
}

/* --- Select ------------------------------------------------------------------------------------ */

/* "Waits until one of them could receive without waiting: its index, the lowest of those that can." */
static void test_select(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new(), *other = channel_new();
    mtaio_subscriber *subs[] = {subscribe(ch, "a"), subscribe(other, "b"), subscribe(ch, "c")};
    assert_int_equal(mtaio_select(subs, 3, 0), MTAIO_EAGAIN);
    int64_t start = support_now_ms();
    assert_int_equal(mtaio_select(subs, 3, 20000000), MTAIO_ETIMEDOUT);
    assert_true(support_now_ms() - start >= 19);
    publish(ch, "c", "1");
    assert_int_equal(mtaio_select(subs, 3, 0), 2);
    assert_int_equal(mtaio_select(subs, 2, 0), MTAIO_EAGAIN);
    publish(other, "b", "2");
    assert_int_equal(mtaio_select(subs, 3, -1), 1);
    assert_int_equal(mtaio_select(subs, 3, INT64_MAX), 1); /* nothing is received by it */
    publish(ch, "a", "3");
    assert_int_equal(mtaio_select(subs, 3, -1), 0);
    for (int i = 0; i < 3; i++) note_all(subs[i]);
    assert_noted("a:3 EAGAIN b:2 EAGAIN c:1 EAGAIN");
    mtaio_channel_close(other);
    assert_int_equal(mtaio_select(subs, 3, -1), 1); /* it would answer ECLOSED at once */
    mtaio_unsubscribe(subs[0]);
    assert_int_equal(mtaio_select(subs, 3, -1), 0);
    mtaio_subscriber *twice[] = {subs[2], subs[2]};
    assert_int_equal(mtaio_select(twice, 2, 1000), MTAIO_ETIMEDOUT);
    publish(ch, "c", "4");
    assert_int_equal(mtaio_select(twice, 2, -1), 0);
    for (int i = 0; i < 3; i++) mtaio_subscriber_unref(subs[i]);
    mtaio_channel_unref(ch);
    mtaio_channel_unref(other);
}

enum { SELECTED = 40 };
struct selecting {
    mtaio_subscriber *subs[SELECTED];
    size_t n;
    struct call call;
};
static int run_select(void *ctx) {
    struct selecting *s = ctx;
    return mtaio_select(s->subs, s->n, -1);
}

/* It waits for any of them, however many: a message, a close, an unsubscribe. */
static void test_select_waits(void **state) {
    (void)state;
    for (size_t n = 1; n <= SELECTED; n += 13)
        for (int way = 0; way < 3; way++) {
            mtaio_channel *channels[SELECTED];
            struct selecting s = {.n = n};
            for (size_t i = 0; i < n; i++) {
                channels[i] = channel_new();
                s.subs[i] = subscribe(channels[i], NULL);
            }
            size_t last = n - 1;
            call_begin(&s.call, run_select, &s);
            assert_waits(&s.call);
            if (way == 0) publish(channels[last], NULL, "x");
            if (way == 1) mtaio_channel_close(channels[last]);
            if (way == 2) mtaio_unsubscribe(s.subs[last]);
            assert_int_equal(call_end(&s.call), last);
            if (n > 1) { /* the others do not know it any more */
                publish(channels[0], NULL, "y");
                note_all(s.subs[0]);
                assert_noted("y EAGAIN");
            }
            for (size_t i = 0; i < n; i++) {
                mtaio_subscriber_unref(s.subs[i]);
                mtaio_channel_unref(channels[i]);
            }
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_watch),           TEST(test_watch_closed),  TEST(test_watch_cancelled),
        TEST(test_watch_refused),   TEST(test_watch_reentry), TEST(test_descriptor),
        TEST(test_descriptor_late), TEST(test_epoll),         TEST(test_descriptor_and_others),
        TEST(test_polled),          TEST(test_no_descriptor), TEST(test_descriptor_refused),
        TEST(test_select),          TEST(test_select_waits),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
