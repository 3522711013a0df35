/* channel.h - a channel: its subscribers, and the line of those who wait to publish. */
#ifndef MTAIO_SRC_CHANNEL_H
#define MTAIO_SRC_CHANNEL_H

#include "core/subscriber.h"

/* A publication that waits for room, in the line. The channel's guard. Who makes room publishes it. */
struct entry {
    struct entry *next, *prev;
    struct slot slot;
    bool waits;         /* it is in the line */
    bool holds_up;      /* later ones wait behind it: an asynchronous one, whose publisher has gone on */
    const void *thread; /* that waits, and on whose stack this is; NULL: none */
    int result;         /* written before wake runs */
    struct wake wake;
};

struct line {
    struct entry *first, *last;
    size_t holding_up; /* how many do */
};

/* The guard's, where nothing else is said. */
struct mtaio_channel {
    struct guard guard;
    struct member **members; /* those without patterns first */
    ATOMIC(size_t) count;    /* of them; read without the guard too, as the next two */
    ATOMIC(size_t) plain;    /* how many have no patterns */
    ATOMIC(bool) closed;
    uint64_t published, refused;
    struct line line;
    struct replay *replay; /* NULL: none, or closed */
    size_t capacity;       /* of members */
    struct audiences audiences;
    struct reclaimer reclaimer;
    struct {
        uint64_t reached, delivered, dropped;
    } ended; /* sums of subscribers that have */

    struct forkable forkable; /* fork.c's */

    /* Fixed. */
    char *name;
    size_t max_subscribers; /* SIZE_MAX: no limit */
    size_t buffer_size;
    uint8_t overflow;
    ATOMIC(size_t) refs;  /* the user's; the last closes */
    ATOMIC(size_t) holds; /* of the memory: the users together, each subscriber, and others */
};

static inline void channel_hold(mtaio_channel *ch) { atomic_add(&ch->holds, 1); }
void mtaio__channel_drop(mtaio_channel *ch);

/* Releases the guard, and does what was left until then. */
static inline void channel_unlock(mtaio_channel *ch, struct after *after) {
    guard_unlock(&ch->guard);
    after_run(after);
}

/* --- Members: under the guard ------------------------------------------------------------------ */

int mtaio__members_reserve(mtaio_channel *ch); /* room for one more. ELIMIT, ENOMEM */
void mtaio__members_add(mtaio_channel *ch, struct member *m);
void mtaio__members_restrict(mtaio_channel *ch, struct member *m); /* it had no pattern, and has one now */
void mtaio__members_remove(mtaio_channel *ch, struct member *m);

/* --- Publishing: under the guard --------------------------------------------------------------- */

/* Gives the message to all or none: how many. The slot is empty then, unless nobody took a copy. The topic is
 * the slot's, wherever it stands. EAGAIN: *ret_full has no room. ECLOSED, ELIMIT, ENOMEM. */
int mtaio__publish_locked(mtaio_channel *ch, struct slot *slot, const char *topic, struct after *after,
                          mtaio_subscriber **ret_full);

/* The same, behind the line where something in it holds up: EAGAIN, *ret_full NULL. */
static inline int publish_in_turn_locked(mtaio_channel *ch, struct slot *slot, const char *topic,
                                         struct after *after, mtaio_subscriber **ret_full) {
    *ret_full = NULL;
    if (unlikely(ch->line.holding_up > 0)) return MTAIO_EAGAIN;
    return mtaio__publish_locked(ch, slot, topic, after, ret_full);
}

static inline void count_refused(mtaio_channel *ch, int r) {
    if (r == MTAIO_ELIMIT || r == MTAIO_EAGAIN || r == MTAIO_ETIMEDOUT || r == MTAIO_ECANCELED) ch->refused++;
}

/* In the child of a fork: those of threads that are not there leave. */
void mtaio__line_in_child(struct line *line);

/* Tries, and puts the publication at the end of the line where it has to wait: EAGAIN. */
int mtaio__line_enter(mtaio_channel *ch, struct entry *e, struct after *after);

/* Takes it out of the line with this result. False: it is over already. */
bool mtaio__line_leave(mtaio_channel *ch, struct entry *e, int result);

/* There may be room, or the channel is closed: what can be published is, in order. */
void mtaio__line_carry_on(mtaio_channel *ch, struct after *after);

/* Comes with the guard, after publish_in_turn_locked answered EAGAIN, and goes without: the thread waits
 * until the message is in, or the deadline. As mtaio__publish_locked; ETIMEDOUT; ESYSTEM, EDEPTH. */
int mtaio__line_wait(mtaio_channel *ch, struct slot *slot, struct after *after, mtaio_subscriber *full,
                     int64_t deadline_ns);

/* Several in turn, without guards: how many were published; where that is none, the error. *ret_last: what
 * the last one answered. */
int mtaio__publish_slots(mtaio_channel *ch, struct slot *slots, size_t n, int64_t timeout_ns, int *ret_last);

/* --- What is kept for those who come later: under the guard ------------------------------------ */

int mtaio__replay_new(size_t limit, bool by_topic, struct replay **ret); /* ENOMEM */
void mtaio__replay_free(struct replay *r); /* nobody uses it: without the guard */

/* Room for a message of this topic. ENOMEM. */
int mtaio__replay_look(struct replay *r, const char *topic);

/* After that. The copy of the slot, which is not OWNED, has a reference of its own. */
void mtaio__replay_keep(struct replay *r, const struct slot *slot, struct after *after);

/* Puts what the subscriber is for into its empty buffer, as far as there is room. ENOMEM. */
int mtaio__replay_give(const struct replay *r, mtaio_subscriber *sub, const char *const *patterns);

#endif
