/* receive.c - taking messages out of a buffer, and waiting for them. */
#include <limits.h>

#include "core/channel.h"
#include "core/executor.h"

#ifndef MTAIO_EXPLORE
enum { LOOKS = 16, LOOKS_EAGER = 2048 }; /* before a thread sleeps: no time, or some 20 microseconds */
enum { LOOKS_SOON = 3 };                 /* it came so soon that more are to be expected */
enum { LET_COME = 32 }; /* messages, and how often to look for them: some tenths of a microsecond apart */
enum { LOOKS_MORE = 8, APART = 16 }; /* pauses */
#else
enum { LOOKS = 0, LOOKS_EAGER = 0, LOOKS_SOON = 0, LET_COME = 0, LOOKS_MORE = 0, APART = 0 };
#endif

/* A thread that sleeps is back only microseconds after its message. So where receivers slept briefly so many
 * times in turn, they look longer from now on before they sleep. The first time that is in vain, it is over,
 * and takes twice as many brief sleeps to begin again. */
enum { BRIEF_NS = 50000, SLEEPS_LEAST = 4, SLEEPS_MOST = 64 };

/* --- Taking ------------------------------------------------------------------------------------ */

/* What is to be done without the guard, after messages were taken. */
static unsigned attend_locked(mtaio_subscriber *sub) {
    bool empty = load_relaxed(&sub->head) == load_acquire(&sub->tail);
    unsigned attention = sub->attention & (empty ? ATTEND_WANTED | ATTEND_LARGE : ATTEND_WANTED);
    sub->attention = (uint8_t)(sub->attention & ~ATTEND_WANTED);
    if (empty && sub->fd_is_set && load_relaxed(&sub->state) == SUBSCRIBER_OPEN) {
        sub->fd_is_set = false;
        os_event_fd_clear(sub->fd);
    }
    return attention;
}

static void attend(mtaio_subscriber *sub, unsigned attention) {
    mtaio_channel *ch = sub->channel;
    struct buffer ring = {0};
    struct after after;
    after_init(&after);
    guard_lock(&ch->guard);
    if (attention & ATTEND_LARGE) {
        guard_lock(&sub->guard);
        if (sub->attention & ATTEND_LARGE && load_relaxed(&sub->head) == load_relaxed(&sub->tail))
            ring = mtaio__buffer_take_off(sub);
        guard_unlock(&sub->guard);
    }
    if (attention & ATTEND_WANTED) mtaio__line_carry_on(ch, &after);
    channel_unlock(ch, &after);
    mtaio__buffer_clear(&ring);
}

/* These come with the guard, and go without. */
static __attribute__((noinline)) void attend_unlock(mtaio_subscriber *sub) {
    unsigned attention = attend_locked(sub);
    guard_unlock(&sub->guard);
    if (attention) attend(sub, attention);
}

static inline int take_unlock(mtaio_subscriber *sub, mtaio_message *ret, size_t n) {
    uint64_t head = load_relaxed(&sub->head), there = sub->tail_seen - head;
    if (there < n) {
        sub->tail_seen = load_acquire(&sub->tail); /* pairs with buffer_push: the slots are there */
        there = sub->tail_seen - head;
        if (there < n) n = (size_t)there;
    }
    if (n == 0) {
        int r = load_relaxed(&sub->state) == SUBSCRIBER_OPEN ? MTAIO_EAGAIN : MTAIO_ECLOSED;
        guard_unlock(&sub->guard);
        return r;
    }
    for (size_t i = 0; i < n; i++) {
        const struct slot *at = &sub->ring_here[(head + i) & (sub->capacity_here - 1)];
        message_slot(&ret[i])->missed = at->missed;
        slot_copy(message_slot(&ret[i]), at);
    }
    store_release(&sub->head, head + n); /* pairs with level_of: the slots are free */
    if (unlikely(sub->attention))
        attend_unlock(sub);
    else
        guard_unlock(&sub->guard);
    return (int)n;
}

static inline int take(mtaio_subscriber *sub, mtaio_message *ret, size_t n) {
    guard_lock(&sub->guard);
    return take_unlock(sub, ret, n);
}

int mtaio__take(mtaio_subscriber *sub, mtaio_message *ret, size_t n) { return take(sub, ret, n); }

/* --- Waiting ----------------------------------------------------------------------------------- */

struct receiving {
    struct watcher watcher;
    struct waiter waiter;
};

static void receiving_wake(struct wake *w) {
    struct receiving *r = (struct receiving *)(void *)((char *)w - offsetof(struct receiving, watcher.wake));
    mtaio__waiter_wake(&r->waiter);
}

static bool watch(mtaio_subscriber *sub, struct watcher *w) {
    guard_lock(&sub->channel->guard);
    bool watching = mtaio__watch(sub, w);
    guard_unlock(&sub->channel->guard);
    return watching;
}

static bool unwatch(mtaio_subscriber *sub, struct watcher *w) {
    guard_lock(&sub->channel->guard);
    bool watched = mtaio__unwatch(sub, w);
    guard_unlock(&sub->channel->guard);
    return watched;
}

/* Sleeps until there is something, perhaps taken by others by now. 0, ETIMEDOUT; ESYSTEM, EDEPTH. */
static int sleep_until(mtaio_subscriber *sub, int64_t deadline_ns) {
    struct receiving me = {
        .watcher = {.wake = {.run = receiving_wake}, .takes = true, .thread = os_thread_mark()}};
    int r = mtaio__waiter_init(&me.waiter);
    if (r < 0) return r;
    if (watch(sub, &me.watcher) && !mtaio__waiter_wait(&me.waiter, deadline_ns)) {
        if (unwatch(sub, &me.watcher))
            r = MTAIO_ETIMEDOUT;
        else
            mtaio__waiter_wait(&me.waiter, INT64_MAX); /* it is just being woken */
    }
    return r;
}

static bool is_eager(const struct patience *p) {
    return load_relaxed(&p->sleeps) >= load_relaxed(&p->enough);
}

/* Looks again and again, until there is something or it is time to sleep. Did it come very soon? */
static bool look_again(mtaio_subscriber *sub, bool eager) {
    const unsigned most = eager ? LOOKS_EAGER : LOOKS;
    unsigned looks = most;
    while (looks > 0 && !subscriber_is_ready(sub)) {
        os_pause();
        looks--;
    }
    if (eager && looks > 0 && load_relaxed(&sub->patience.enough) != SLEEPS_LEAST)
        store_relaxed(&sub->patience.enough, SLEEPS_LEAST);
    return looks > 0 && most - looks < LOOKS_SOON;
}

/* Lets some more come, as long as they do. Taking each at once would take the lines of memory from the
 * publisher, and give them back, for each. It is for who takes many, and where messages come in a stream; not
 * for who waits for an answer. */
static void let_come(const mtaio_subscriber *sub, size_t n) {
    uint64_t seen = 0;
    for (unsigned looks = 0; looks < LOOKS_MORE; looks++) {
        uint64_t level = load_acquire(&sub->tail) - load_relaxed(&sub->head);
        if (level >= n || level == seen) return;
        seen = level;
        for (unsigned i = 0; i < APART; i++) os_pause();
    }
}

static void note_sleep(struct patience *p, bool eager, int64_t ns) {
    uint8_t enough = load_relaxed(&p->enough), sleeps = load_relaxed(&p->sleeps);
    if (eager && enough < SLEEPS_MOST) store_relaxed(&p->enough, (uint8_t)(enough * 2));
    store_relaxed(&p->sleeps, (uint8_t)(eager || ns > BRIEF_NS ? 0 : sleeps + 1));
}

/* After a look that found nothing. */
static int wait_and_take(mtaio_subscriber *sub, int64_t timeout_ns, mtaio_message *ret, size_t n) {
    int64_t deadline_ns = os_deadline_ns(timeout_ns);
    for (bool has_slept = false;; has_slept = true) {
        bool eager = is_eager(&sub->patience);
        bool soon = look_again(sub, eager);
        if (!has_slept && (n > 1 || soon)) let_come(sub, n > 1 ? n : LET_COME);
        int r = take(sub, ret, n);
        if (r != MTAIO_EAGAIN) return r;
        int64_t since = os_now_ns();
        int slept = sleep_until(sub, deadline_ns);
        note_sleep(&sub->patience, eager, os_now_ns() - since);
        if (slept < 0) {
            r = take(sub, ret, n);
            return r == MTAIO_EAGAIN ? slept : r;
        }
    }
}

/* These come with the guard, and go without. */
static inline int receive_unlock(mtaio_subscriber *sub, int64_t timeout_ns, mtaio_message *ret, size_t n) {
    int r = take_unlock(sub, ret, n);
    if (likely(r != MTAIO_EAGAIN) || timeout_ns == 0) return r;
    return wait_and_take(sub, timeout_ns, ret, n);
}

static inline int receive_one_unlock(mtaio_subscriber *sub, int64_t timeout_ns, mtaio_message *ret) {
    int r = receive_unlock(sub, timeout_ns, ret, 1);
    return r > 0 ? 0 : r;
}

static __attribute__((noinline)) int take_guard_and_receive(mtaio_subscriber *sub, int64_t timeout_ns,
                                                            mtaio_message *ret) {
    mtaio__guard_take(&sub->guard);
    return receive_one_unlock(sub, timeout_ns, ret);
}

int mtaio_subscriber_receive(mtaio_subscriber *sub, int64_t timeout_ns, mtaio_message *ret) {
    if (!sub || !ret) return MTAIO_EINVAL;
    if (likely(guard_enter(&sub->guard))) return receive_one_unlock(sub, timeout_ns, ret);
    return take_guard_and_receive(sub, timeout_ns, ret);
}

int mtaio_receive(mtaio_subscriber *sub, mtaio_message *ret) {
    return mtaio_subscriber_receive(sub, -1, ret);
}

int mtaio_subscriber_receive_many(mtaio_subscriber *sub, int64_t timeout_ns, mtaio_message *ret, size_t n) {
    if (!sub || !ret || n == 0) return MTAIO_EINVAL;
    guard_lock(&sub->guard);
    return receive_unlock(sub, timeout_ns, ret, n < INT_MAX ? n : INT_MAX);
}
