/* publish.c - giving a message to every subscriber of its topic, or to none. */
#include <limits.h>

#include "base/memory.h"
#include "core/channel.h"

enum { FEW = 32 }; /* publications at once, whose slots are on the stack */

struct audience {
    struct member *const *list;
    size_t count;
};

/* A message with an origin is not for those of the same. */
static inline bool is_for(const mtaio_subscriber *sub, const void *origin) {
    return likely(!origin) || sub->origin != origin;
}

static size_t count_for(struct audience a, const void *origin) {
    size_t count = 0;
    for (size_t i = 0; i < a.count; i++) count += is_for(member_subscriber(a.list[i]), origin);
    return count;
}

/* Can each of them take it? */
static inline int look(struct audience a, const void *origin, mtaio_subscriber **ret_full) {
    for (size_t i = 0; i < a.count; i++) {
        mtaio_subscriber *sub = member_subscriber(a.list[i]);
        if (!is_for(sub, origin)) continue;
        int r = buffer_look(sub);
        if (unlikely(r < 0)) {
            *ret_full = sub;
            return r;
        }
    }
    return 0;
}

/* Somebody is full and refuses, whoever else would be waited for. */
static bool is_refused(struct audience a, const void *origin) {
    for (size_t i = 0; i < a.count; i++) {
        mtaio_subscriber *sub = member_subscriber(a.list[i]);
        if (is_for(sub, origin) && sub->policy == MTAIO_REFUSE && buffer_look(sub) == MTAIO_ELIMIT)
            return true;
    }
    return false;
}

/* How many there were who dropped it. */
static inline size_t push(struct audience a, const void *origin, const struct slot *slot,
                          struct after *after) {
    size_t dropped = 0;
    for (size_t i = 0; i < a.count; i++) {
        mtaio_subscriber *sub = member_subscriber(a.list[i]);
        if (!is_for(sub, origin)) continue;
        if (unlikely(!buffer_push(sub, slot, after)))
            dropped++;
        else if (unlikely(sub->watched))
            mtaio__watchers_fire(sub, after);
    }
    return dropped;
}

/* What is not inline is shared where it goes to more than one place, or to one that drops its oldest message:
 * there is no place to keep an owned one until it can be released. */
static bool is_to_be_shared(const mtaio_channel *ch, struct audience all, struct audience some) {
    size_t count = all.count + some.count;
    if (ch->replay || count > 1) return true;
    return count == 1 &&
           member_subscriber(all.count == 1 ? all.list[0] : some.list[0])->policy == MTAIO_DROP_OLDEST;
}

/* What else can fail, and references for the copies. */
static int prepare(mtaio_channel *ch, struct slot *slot, struct audience all, struct audience some,
                   size_t count) {
    int r = 0;
    if (slot_kind(slot) == SLOT_OWNED && is_to_be_shared(ch, all, some)) r = mtaio__slot_share(slot);
    if (r == 0 && ch->replay) r = mtaio__replay_look(ch->replay, slot_topic(slot));
    if (r < 0) return r;
    size_t copies = count + (ch->replay != NULL);
    if (copies > 1) slot_hold(slot, copies - 1);
    return 0;
}

/* The copies are made: what to do with the slot's own reference, which one of them was to have. */
static void conclude(mtaio_channel *ch, struct slot *slot, size_t count, size_t dropped,
                     struct after *after) {
    if (ch->replay) mtaio__replay_keep(ch->replay, slot, after);
    if (slot_kind(slot) == SLOT_SHARED)
        mtaio__slot_throw(slot, dropped, &after->garbage); /* those who dropped it were to have one too */
    else if (dropped < count)
        slot_set_empty(slot);
}

int mtaio__publish_locked(mtaio_channel *ch, struct slot *slot, const char *topic, struct after *after,
                          mtaio_subscriber **ret_full) {
    struct audience all = {ch->members, load_relaxed(&ch->count)}, some = {NULL, 0};
    const void *origin = slot_origin(slot);
    int r = 0;
    if (unlikely(load_relaxed(&ch->closed))) return MTAIO_ECLOSED;
    if (topic && all.count > load_relaxed(&ch->plain)) {
        all.count = load_relaxed(&ch->plain);
        r = mtaio__audiences_of(&ch->audiences, topic, &some.list, &some.count);
        if (r == 0) r = look(some, origin, ret_full);
    }
    if (likely(r == 0)) r = look(all, origin, ret_full);
    if (unlikely(r == MTAIO_EAGAIN) && (is_refused(all, origin) || is_refused(some, origin)))
        return MTAIO_ELIMIT;
    if (unlikely(r < 0)) return r;
    size_t count =
        likely(!origin) ? all.count + some.count : count_for(all, origin) + count_for(some, origin);
    bool plain = slot_kind(slot) == SLOT_INLINE && !ch->replay;
    if (!plain && (r = prepare(ch, slot, all, some, count)) < 0) return r;
    ch->published++;
    size_t dropped = push(all, origin, slot, after) + push(some, origin, slot, after);
    if (!plain && (count > 0 || ch->replay)) conclude(ch, slot, count, dropped, after);
    return (int)count;
}

/* --- One --------------------------------------------------------------------------------------- */

/* Comes with the guard, after r, and goes without. */
static int wait_unlock(mtaio_channel *ch, struct slot *slot, int r, mtaio_subscriber *full,
                       int64_t timeout_ns) {
    struct after after;
    after_init(&after);
    if (r == MTAIO_EAGAIN && timeout_ns != 0)
        return mtaio__line_wait(ch, slot, &after, full, os_deadline_ns(timeout_ns));
    count_refused(ch, r);
    guard_unlock(&ch->guard);
    return r;
}

static inline int publish(mtaio_channel *ch, const mtaio_publication *p, int64_t timeout_ns) {
    struct slot slot;
    struct after after;
    mtaio_subscriber *full;
    int r = slot_make(p, &slot);
    if (unlikely(r < 0)) return r;
    after_init(&after);
    guard_lock(&ch->guard);
    /* Not the slot's topic: that was written just now, and has not arrived in memory. */
    r = publish_in_turn_locked(ch, &slot, p->message ? slot_topic(&slot) : p->topic, &after, &full);
    if (likely(r >= 0))
        channel_unlock(ch, &after);
    else
        r = wait_unlock(ch, &slot, r, full, timeout_ns);
    if (likely(r >= 0))
        slot_clear(&slot);
    else
        mtaio__slot_unmake(&slot, p);
    return r;
}

int mtaio_channel_publish(mtaio_channel *ch, const mtaio_publication *p, int64_t timeout_ns) {
    return ch && p ? publish(ch, p, timeout_ns) : MTAIO_EINVAL;
}

int mtaio_publish(mtaio_channel *ch, const char *topic, const void *data, size_t bytes) {
    const mtaio_publication p = {.size = sizeof p, .topic = topic, .data = data, .bytes = bytes};
    return ch ? publish(ch, &p, -1) : MTAIO_EINVAL;
}

/* --- Several ----------------------------------------------------------------------------------- */

int mtaio__publish_slots(mtaio_channel *ch, struct slot *slots, size_t n, int64_t timeout_ns, int *ret_last) {
    struct after after;
    mtaio_subscriber *full;
    int64_t deadline_ns = 0;
    size_t done = 0;
    int r = 0;
    after_init(&after);
    guard_lock(&ch->guard);
    for (; done < n; done++) {
        r = publish_in_turn_locked(ch, &slots[done], slot_topic(&slots[done]), &after, &full);
        if (r == MTAIO_EAGAIN && timeout_ns != 0) {
            if (deadline_ns == 0) deadline_ns = os_deadline_ns(timeout_ns);
            r = mtaio__line_wait(ch, &slots[done], &after, full, deadline_ns);
            guard_lock(&ch->guard);
        } else {
            count_refused(ch, r);
        }
        if (r < 0) break;
    }
    channel_unlock(ch, &after);
    *ret_last = r;
    return done > 0 ? (int)done : r;
}

/* The first that cannot be made ends the list. */
static int publish_list(mtaio_channel *ch, const mtaio_publication *list, size_t n, int64_t timeout_ns,
                        struct slot *slots) {
    size_t made = 0, done = 0;
    int r = 0, last;
    while (made < n && (r = slot_make(&list[made], &slots[made])) == 0) made++;
    if (made > 0) {
        r = mtaio__publish_slots(ch, slots, made, timeout_ns, &last);
        done = r > 0 ? (size_t)r : 0;
    }
    for (size_t i = 0; i < done; i++) slot_clear(&slots[i]);
    for (size_t i = done; i < made; i++) mtaio__slot_unmake(&slots[i], &list[i]);
    return r;
}

int mtaio_channel_publish_many(mtaio_channel *ch, const mtaio_publication *list, size_t n,
                               int64_t timeout_ns) {
    struct slot few[FEW], *slots = few;
    if (!ch || (!list && n > 0)) return MTAIO_EINVAL;
    if (n > INT_MAX) n = INT_MAX;
    if (n > FEW && !(slots = mtaio__alloc(n * sizeof *slots))) return MTAIO_ENOMEM;
    int r = publish_list(ch, list, n, timeout_ns, slots);
    if (slots != few) mtaio__free(slots, n * sizeof *slots);
    return r;
}
