/* line.c - publications that wait until every buffer they go to has room.
 *
 * They stand in the order in which they came. A receiver that makes room where it is wanted publishes those
 * that can go, whether a thread waits for them or not, so a thread is woken only when its message is in. One
 * that cannot go yet is passed by, unless it holds up: its publisher has gone on, and what comes behind may
 * be that publisher's. */
#include "core/channel.h"
#include "core/executor.h"

#ifndef MTAIO_EXPLORE
enum { LOOKS = 100, LOOKS_MORE = 1000 }; /* before a thread sleeps: some microseconds, or some more */
#else
enum { LOOKS = 0, LOOKS_MORE = 0 };
#endif
enum { ENOUGH = 256 }; /* messages' room that a publisher waits for while a receiver makes some */

static void append(struct line *line, struct entry *e) {
    e->next = NULL;
    e->prev = line->last;
    if (line->last)
        line->last->next = e;
    else
        line->first = e;
    line->last = e;
    line->holding_up += e->holds_up;
    e->waits = true;
}

bool mtaio__line_leave(mtaio_channel *ch, struct entry *e, int result) {
    struct line *line = &ch->line;
    if (!e->waits) return false;
    if (e->next)
        e->next->prev = e->prev;
    else
        line->last = e->prev;
    if (e->prev)
        e->prev->next = e->next;
    else
        line->first = e->next;
    line->holding_up -= e->holds_up;
    e->waits = false;
    e->result = result;
    count_refused(ch, result);
    return true;
}

void mtaio__line_in_child(struct line *line) {
    struct entry *e = line->first;
    line->first = line->last = NULL;
    for (struct entry *next; e; e = next) {
        next = e->next;
        line->holding_up -= e->holds_up;
        if (!e->thread || e->thread == os_thread_mark()) append(line, e);
    }
}

int mtaio__line_enter(mtaio_channel *ch, struct entry *e, struct after *after) {
    mtaio_subscriber *full;
    int r;
    do r = publish_in_turn_locked(ch, &e->slot, slot_topic(&e->slot), after, &full);
    while (r == MTAIO_EAGAIN && full && !mtaio__buffer_want(full));
    if (r == MTAIO_EAGAIN)
        append(&ch->line, e);
    else
        count_refused(ch, r);
    e->result = r;
    return r;
}

/* EAGAIN: word was left that it waits. */
static int try_entry(mtaio_channel *ch, struct entry *e, struct after *after) {
    mtaio_subscriber *full;
    int r;
    do r = mtaio__publish_locked(ch, &e->slot, slot_topic(&e->slot), after, &full);
    while (r == MTAIO_EAGAIN && !mtaio__buffer_want(full));
    return r;
}

void mtaio__line_carry_on(mtaio_channel *ch, struct after *after) {
    for (struct entry *e = ch->line.first, *next; e; e = next) {
        next = e->next;
        int r = try_entry(ch, e, after);
        if (r != MTAIO_EAGAIN) {
            mtaio__line_leave(ch, e, r);
            wakes_add(e->holds_up ? &after->calls : &after->threads, &e->wake);
        } else if (e->holds_up) {
            break;
        }
    }
}

/* --- A thread that waits ----------------------------------------------------------------------- */

struct blocked {
    struct entry entry;
    struct waiter waiter;
};

static void blocked_wake(struct wake *w) {
    struct blocked *b = (struct blocked *)(void *)((char *)w - offsetof(struct blocked, entry.wake));
    mtaio__waiter_wake(&b->waiter);
}

/* Until there is enough room, or for a while nothing was received. A message in each place as it becomes free
 * would take the lines of memory from the receiver, and give them back, for each. */
static void look_again(const mtaio_subscriber *full, uint64_t tail) {
    uint64_t enough = full->limit / 2 < ENOUGH ? full->limit - full->limit / 2 : full->limit - ENOUGH,
             seen = 0;
    for (unsigned n = 0, since = 0; n < LOOKS_MORE && n - since < LOOKS; n++) {
        uint64_t level = tail - load_acquire(&full->head);
        if (level <= enough) return;
        if (level != seen) since = n;
        seen = level;
        os_pause();
    }
}

/* A busy receiver makes room any moment. Comes with the guard, and goes without. */
static void look_for_room(mtaio_channel *ch, mtaio_subscriber *full, struct after *after) {
    uint64_t tail = full ? load_relaxed(&full->tail) : 0;
    if (full) subscriber_hold(full);
    channel_unlock(ch, after);
    if (!full) return;
    look_again(full, tail);
    mtaio__subscriber_drop(full);
}

static void wait_in_line(mtaio_channel *ch, struct blocked *b, int64_t deadline_ns) {
    if (mtaio__waiter_wait(&b->waiter, deadline_ns)) return;
    guard_lock(&ch->guard);
    bool waits = mtaio__line_leave(ch, &b->entry, MTAIO_ETIMEDOUT);
    guard_unlock(&ch->guard);
    if (!waits) mtaio__waiter_wait(&b->waiter, INT64_MAX); /* it is just being woken */
}

int mtaio__line_wait(mtaio_channel *ch, struct slot *slot, struct after *after, mtaio_subscriber *full,
                     int64_t deadline_ns) {
    struct blocked b = {.entry = {.slot = *slot, .thread = os_thread_mark(), .wake = {.run = blocked_wake}}};
    look_for_room(ch, full, after);
    int r = mtaio__waiter_init(&b.waiter);
    if (r < 0) return r;
    guard_lock(&ch->guard);
    r = mtaio__line_enter(ch, &b.entry, after);
    channel_unlock(ch, after);
    if (r == MTAIO_EAGAIN) wait_in_line(ch, &b, deadline_ns);
    *slot = b.entry.slot;
    return b.entry.result;
}
