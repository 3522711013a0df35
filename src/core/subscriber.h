/* subscriber.h - a subscriber: its buffer, and who waits for what comes into it.
 *
 * The buffer is a ring of slots between two positions: `tail`, which publishers move on, under the channel's
 * guard, and `head`, which receivers move on, under the subscriber's own. Neither side takes the other's
 * guard to do so; each looks at the other's position only where the last look is used up.
 *
 * Sleeping needs no fence. A receiver that is to sleep leaves its watcher under the channel's guard, which
 * every publisher holds from before it puts a message in until after it has looked for watchers. A publisher
 * that is to sleep leaves WANTED under the subscriber's guard, which every receiver holds from before it
 * makes room until after it has looked at that.
 *
 * Order of guards: the channel's, then the subscriber's. What says "both" is changed under both and may be
 * read under either. */
#ifndef MTAIO_SRC_SUBSCRIBER_H
#define MTAIO_SRC_SUBSCRIBER_H

#include "core/after.h"
#include "core/audience.h"
#include "core/fork.h"
#include "core/guard.h"

struct link {
    struct link *next, *prev; /* NULL: on no list */
};

/* Before next. The ring itself is the end. */
static inline void link_before(struct link *next, struct link *l) {
    l->next = next;
    l->prev = next->prev;
    l->prev->next = next->prev = l;
}

static inline void link_remove(struct link *l) {
    l->prev->next = l->next;
    l->next->prev = l->prev;
    l->next = l->prev = NULL;
}

/* Somebody who is to hear of the next message, or of the end. Guarded by the channel's guard. */
struct watcher {
    struct link link; /* first */
    struct wake wake;
    bool takes;         /* the message: each one is told to one of these, and to all others */
    bool calls;         /* wake runs code of the user's */
    const void *thread; /* that waits, and on whose stack this is; NULL: it calls */
};

enum subscriber_state { SUBSCRIBER_OPEN, SUBSCRIBER_CLOSED /* its channel */, SUBSCRIBER_ENDED };

/* What a receiver has to care about besides its message. The subscriber's guard. */
enum {
    ATTEND_WANTED = 1, /* somebody waits for room */
    ATTEND_FD = 2,     /* there is a descriptor */
    ATTEND_LARGE = 4   /* the ring is not kept when it is empty */
};

/* How receivers wait: a hint, read and written without a guard. */
struct patience {
    ATOMIC(uint8_t) sleeps; /* brief ones, in turn */
    ATOMIC(uint8_t) enough; /* of them, to look longer before the next */
};

struct mtaio_subscriber {
    /* The publishers' words. */
    ATOMIC(uint64_t) tail; /* the channel's guard; receivers read it without */
    uint64_t mark;         /* the tail up to which nothing is to be looked at */
    uint64_t usual;        /* so many messages there is room for, and so many there were before */
    struct slot *ring;     /* both */
    size_t capacity;       /* of the ring, a power of two; 0: none. Both */
    size_t limit;          /* fixed */
    uint64_t high_water;
    uint64_t gap;   /* messages dropped since the last that was put in */
    uint8_t policy; /* fixed */
    bool watched;   /* there are watchers, or a descriptor */

    /* Seldom written, and so between the two. */
    ATOMIC(uint8_t) state; /* both; glanced at without */
    struct link
        watchers; /* a ring: those that take last. The channel's guard, as all up to the next blank line */
    struct member member; /* its patterns */
    const void *origin;   /* fixed */
    size_t index;         /* where it is among the channel's members */
    uint64_t overtaken;   /* messages that newer ones pushed out; head went past them. Both */
    uint64_t skipped;     /* messages that were not put in */

    /* The receivers' words: the subscriber's guard. */
    struct guard guard;
    ATOMIC(uint64_t) head; /* publishers read it without */
    uint64_t tail_seen;
    struct slot *ring_here; /* ring and capacity once more: those two lines change hands with each message */
    size_t capacity_here;
    uint8_t attention;
    bool fd_is_set;
    struct patience patience;
    int fd; /* < 0: none. Both */

    uint64_t first; /* where head and tail began; fixed */
    void *block;    /* the ring's; both */
    mtaio_channel *channel;
    struct forkable forkable; /* fork.c's */
    ATOMIC(size_t) refs;      /* the user's; the last ends the subscription */
    ATOMIC(size_t) holds;     /* of the memory: the users together, and others */

    char apart[64]; /* what lies behind is written by others: another subscriber's tail, perhaps */
};

static inline mtaio_subscriber *member_subscriber(const struct member *m) {
    return (mtaio_subscriber *)(void *)((char *)(uintptr_t)m - offsetof(mtaio_subscriber, member));
}

/* Where the positions begin: 0, but for tests of where they wrap. The buffer is empty, nobody else knows it.
 */
static inline void subscriber_begin_at(mtaio_subscriber *sub, uint64_t position) {
    sub->tail = sub->mark = sub->head = sub->tail_seen = sub->first = position;
}

static inline void subscriber_hold(mtaio_subscriber *sub) { atomic_add(&sub->holds, 1); }
void mtaio__subscriber_drop(mtaio_subscriber *sub);

/* Under the channel's guard. */
void mtaio__subscriber_close(mtaio_subscriber *sub, struct after *after); /* its channel closes */
void mtaio__subscriber_count(mtaio_subscriber *sub, mtaio_subscriber_stats *ret);

/* Would a receive not have to wait? Without a guard only a glance. */
static inline bool subscriber_is_ready(const mtaio_subscriber *sub) {
    return load_acquire(&sub->tail) != load_acquire(&sub->head) ||
           load_relaxed(&sub->state) != SUBSCRIBER_OPEN;
}

/* --- The buffer: under the channel's guard ----------------------------------------------------- */

/* 0: buffer_push will put one more in, or drop as the policy says. EAGAIN, ELIMIT, ENOMEM. */
int mtaio__buffer_look(mtaio_subscriber *sub);

/* Short of the mark. */
static inline bool buffer_has_room(mtaio_subscriber *sub) {
    uint64_t tail = load_relaxed(&sub->tail);
    if (likely(tail != sub->mark)) return true;
    sub->mark =
        load_acquire(&sub->head) + sub->usual; /* pairs with take: it has copied the slot, which is free */
    return tail != sub->mark;
}
static inline int buffer_look(mtaio_subscriber *sub) {
    return likely(buffer_has_room(sub)) ? 0 : mtaio__buffer_look(sub);
}

/* At the mark: pushes an old message out, or answers false, and the new one is dropped. */
bool mtaio__buffer_edge(mtaio_subscriber *sub, struct after *after);

/* Where the next goes, short of the mark: between these two it is written there. */
static inline struct slot *buffer_next(mtaio_subscriber *sub) {
    struct slot *at = &sub->ring[load_relaxed(&sub->tail) & (sub->capacity - 1)];
    at->missed = sub->gap;
    return at;
}
static inline void buffer_show(mtaio_subscriber *sub) {
    sub->gap = 0;
    /* Pairs with the receivers' look: the slot is there. */
    store_release(&sub->tail, load_relaxed(&sub->tail) + 1);
}

/* After buffer_look. The copy of the slot has a reference of its own; false: it was not put in. */
static inline bool buffer_push(mtaio_subscriber *sub, const struct slot *slot, struct after *after) {
    if (unlikely(load_relaxed(&sub->tail) == sub->mark) && !mtaio__buffer_edge(sub, after)) return false;
    slot_copy(buffer_next(sub), slot);
    buffer_show(sub);
    return true;
}

/* Leaves word for receivers that room is wanted. False: there is some by now. */
bool mtaio__buffer_want(mtaio_subscriber *sub);

/* The ring as it was taken off its subscriber: what was in it is to be cleared, without guards. */
struct buffer {
    void *block;
    struct slot *ring;
    size_t capacity;
    uint64_t head, tail;
};
struct buffer mtaio__buffer_take_off(mtaio_subscriber *sub); /* under both guards */
void mtaio__buffer_clear(struct buffer *b);

/* --- Watchers: under the channel's guard ------------------------------------------------------- */

/* False: there is no need to wait. */
bool mtaio__watch(mtaio_subscriber *sub, struct watcher *w);

/* False: it was not watching, or has been fired: then its wake will run, if it has not. */
bool mtaio__unwatch(mtaio_subscriber *sub, struct watcher *w);

/* A message came: tells all who do not take it, and the first who does. */
void mtaio__watchers_fire(mtaio_subscriber *sub, struct after *after);
void mtaio__watchers_fire_all(mtaio_subscriber *sub, struct after *after);

/* In the child of a fork: those of threads that are not there leave. */
void mtaio__watchers_in_child(mtaio_subscriber *sub);

/* --- Receiving: no guards ---------------------------------------------------------------------- */

/* As mtaio_subscriber_receive_async, but on failure destroy is left to the caller. paused: call may answer
 * RECEIVER_PAUSES, and is called again once the receiver, which *paused is, is resumed: perhaps before that;
 * NULL: it may not. ENOMEM. */
enum { RECEIVER_PAUSES = 2 };
int mtaio__receive_async(mtaio_subscriber *sub, const mtaio_receiver *how, mtaio_pending **paused,
                         mtaio_pending **ret);
void mtaio__receiver_resume(mtaio_pending *receiver);

/* Takes what is there, n at most: how many. EAGAIN, ECLOSED. */
int mtaio__take(mtaio_subscriber *sub, mtaio_message *ret, size_t n);

#endif
