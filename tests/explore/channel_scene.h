/* channel_scene.h - what the scenarios over channels share: a channel with one or two subscribers, calls that
 * note what came of them, and the sums at the end: in every execution every message was received, or dropped
 * and counted, or refused, and a publisher's messages came in its order.
 *
 * A message is a number, whose fifties are its publisher's; or a block with such a number, handed over: the
 * explorer finds one that is released too early, twice or never. Deadlocks are the lost wake-ups. */
#ifndef MTAIO_EXPLORE_CHANNEL_SCENE_H
#define MTAIO_EXPLORE_CHANNEL_SCENE_H

#include <mtaio/mtaio.h>
#include <string.h>

#include "base/memory.h"
#include "os/os.h"
#include "table.h"

enum { SCENE_THREADS = 4, EACH = 50, SOON = 1000 };
static struct {
    mtaio_channel *ch;
    mtaio_subscriber *sub, *other;
    mtaio_pending *pending;
    int fd;
    /* By explore_self; each thread its own. */
    int published[SCENE_THREADS], reached[SCENE_THREADS], refused[SCENE_THREADS], result[SCENE_THREADS];
    int received[SCENE_THREADS], missed[SCENE_THREADS], last[SCENE_THREADS][SCENE_THREADS];
    int released, handed_over;
    int calls, told, ended; /* of what is asynchronous */
    ATOMIC(int) flag;
} c EXPLORE_STATE;

/* --- Setting up -------------------------------------------------------------------------------- */

static inline void channel_of(size_t replay) {
    EXPLORE_CHECK(mtaio_channel_new(MTAIO_CHANNEL_OPTIONS(.replay = replay), &c.ch) == 0);
}
static inline mtaio_subscriber *subscriber_of(size_t limit, mtaio_overflow overflow) {
    mtaio_subscriber *sub;
    EXPLORE_CHECK(mtaio_channel_subscribe(
                      c.ch, MTAIO_SUBSCRIPTION(.buffer_size = limit, .overflow = overflow), &sub) == 0);
    return sub;
}
static inline void scene_of(size_t limit, mtaio_overflow overflow) {
    channel_of(0);
    c.sub = subscriber_of(limit, overflow);
}

/* --- Publishing -------------------------------------------------------------------------------- */

static inline int note_published(int r) {
    int self = explore_self();
    c.result[self] = r;
    c.published[self] += r >= 0;
    c.reached[self] += r > 0 ? r : 0;
    c.refused[self] += r == MTAIO_ELIMIT || r == MTAIO_EAGAIN || r == MTAIO_ETIMEDOUT || r == MTAIO_ECANCELED;
    return r;
}
static inline uint8_t next_number(void) {
    return (uint8_t)(explore_self() * EACH + c.published[explore_self()] + 1);
}

static inline int publish_to(const char *topic, int64_t timeout_ns) {
    uint8_t number = next_number();
    return note_published(mtaio_channel_publish(
        c.ch, MTAIO_PUBLICATION(.topic = topic, .data = &number, .bytes = 1), timeout_ns));
}
static inline int publish_within(int64_t timeout_ns) { return publish_to(NULL, timeout_ns); }

static inline void release_block(void *data) {
    EXPLORE_CHECK(os_locks_held() == 0);
    c.released++;
    mtaio__free(data, 1);
}
static inline uint8_t *block_new(void) {
    uint8_t *block = mtaio__alloc(1);
    *block = next_number();
    return block;
}
static inline int hand_over_within(int64_t timeout_ns) {
    uint8_t *block = block_new();
    int r = mtaio_channel_publish(
        c.ch, MTAIO_PUBLICATION(.data = block, .bytes = 1, .release = release_block), timeout_ns);
    if (r < 0)
        mtaio__free(block, 1); /* it stayed the caller's */
    else
        c.handed_over++;
    return note_published(r);
}

static inline void publish_now(void) { publish_within(0); }
static inline void publish_two(void) {
    publish_within(0);
    publish_within(0);
}
static inline void publish_waiting(void) { publish_within(-1); }
static inline void publish_soon(void) { publish_within(SOON); }
static inline void hand_over_now(void) { hand_over_within(0); }
static inline void hand_over_waiting(void) { hand_over_within(-1); }

/* --- Receiving --------------------------------------------------------------------------------- */

static inline void note_received(mtaio_message *m) {
    int self = explore_self(), number;
    EXPLORE_CHECK(mtaio_message_bytes(m) == 1);
    number = *(const uint8_t *)mtaio_message_data(m);
    int *last = &c.last[self][number / EACH];
    EXPLORE_CHECK(number > *last); /* "those of one publisher in the order in which it published them" */
    *last = number;
    c.received[self]++;
    c.missed[self] += (int)m->missed;
    mtaio_message_clear(m);
}
static inline int receive_from(mtaio_subscriber *sub, int64_t timeout_ns) {
    mtaio_message m;
    int r = mtaio_subscriber_receive(sub, timeout_ns, &m);
    if (r == 0) note_received(&m);
    return c.result[explore_self()] = r;
}
static inline void receive_now(void) { receive_from(c.sub, 0); }
static inline void receive_waiting(void) { receive_from(c.sub, -1); }
static inline void receive_soon(void) { receive_from(c.sub, SOON); }
static inline void receive_two(void) {
    receive_waiting();
    receive_waiting();
}
static inline void receive_until_closed(void) {
    while (receive_from(c.sub, -1) == 0)
        ;
    EXPLORE_CHECK(c.result[explore_self()] == MTAIO_ECLOSED);
}
static inline void receive_many(void) {
    mtaio_message m[2];
    int r = c.result[explore_self()] = mtaio_subscriber_receive_many(c.sub, -1, m, 2);
    for (int i = 0; i < r; i++) note_received(&m[i]);
}

/* --- Ending ------------------------------------------------------------------------------------ */

static inline void close_now(void) { EXPLORE_CHECK(mtaio_channel_close(c.ch) == 0); }
static inline void unsubscribe_now(void) { c.result[explore_self()] = mtaio_unsubscribe(c.sub); }
static inline void drop_subscriber(void) { c.sub = mtaio_subscriber_unref(c.sub); }

/* --- The end ----------------------------------------------------------------------------------- */

static inline int sum(const int *of) {
    int n = 0;
    for (int i = 0; i < SCENE_THREADS; i++) n += of[i];
    return n;
}

static inline mtaio_channel_stats sums_now(void) {
    mtaio_channel_stats s = {.size = sizeof s};
    EXPLORE_CHECK(mtaio_channel_stats_get(c.ch, &s) == 0);
    EXPLORE_CHECK(s.reached == s.delivered + s.dropped + s.waiting);
    return s;
}

/* The descriptor, where there is one, is readable exactly if a receive would not have to wait. */
static inline void check_fd(void) {
    mtaio_subscriber_stats s = {.size = sizeof s};
    if (!c.sub || c.fd <= 0) return;
    EXPLORE_CHECK(mtaio_subscriber_stats_get(c.sub, &s) == 0);
    EXPLORE_CHECK(explore_fd_is_set(c.fd) == (s.waiting > 0 || mtaio_channel_is_closed(c.ch)));
}

/* What is left is received, and everything adds up. Then all is given back. */
static inline void scene_end(void) {
    check_fd();
    for (int r = 0; c.sub && r == 0;) r = receive_from(c.sub, 0);
    check_fd();
    memset(c.last[0], 0, sizeof c.last[0]);
    for (int r = 0; c.other && r == 0;) r = receive_from(c.other, 0);
    c.pending = mtaio_pending_unref(c.pending);
    c.sub = mtaio_subscriber_unref(c.sub);
    c.other = mtaio_subscriber_unref(c.other);
    mtaio_channel_stats s = sums_now();
    EXPLORE_CHECK(s.published == (uint64_t)sum(c.published) && s.reached == (uint64_t)sum(c.reached));
    EXPLORE_CHECK(s.delivered == (uint64_t)sum(c.received) && s.waiting == 0);
    EXPLORE_CHECK(s.refused == (uint64_t)sum(c.refused) && (uint64_t)sum(c.missed) <= s.dropped);
    c.ch = mtaio_channel_unref(c.ch);
    EXPLORE_CHECK(c.released == c.handed_over);
    mtaio_reclaim();
}

/* The same where nothing can have been dropped. */
static inline void scene_end_undropped(void) {
    if (c.sub) EXPLORE_CHECK(sums_now().dropped == 0);
    EXPLORE_CHECK(sum(c.missed) == 0);
    scene_end();
}

#endif
