/* publish.c - giving a message to every subscriber of its topic, or to none. */
#include <limits.h>
#include <string.h>

#include "base/memory.h"
#include "core/channel.h"

enum { FEW = 32 }; /* publications at once, whose slots are on the stack */

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

/* Comes with the guard, and goes without. */
static __attribute__((noinline)) int publish_unlock(mtaio_channel *ch, struct slot *slot,
                                                    int64_t timeout_ns) {
    struct after after;
    mtaio_subscriber *full;
    after_init(&after);
    int r = publish_in_turn_locked(ch, slot, slot_topic(slot), &after, &full);
    if (unlikely(r < 0)) return wait_unlock(ch, slot, r, full, timeout_ns);
    channel_unlock(ch, &after);
    return r;
}

static int publish_any(mtaio_channel *ch, const mtaio_publication *p, int64_t timeout_ns) {
    struct slot slot;
    int r = mtaio__slot_make(p, &slot);
    if (r < 0) return r;
    guard_lock(&ch->guard);
    r = publish_unlock(ch, &slot, timeout_ns);
    if (r >= 0)
        slot_clear(&slot);
    else
        mtaio__slot_unmake(&slot, p);
    return r;
}

/* --- A small one, where there is nothing to do but to put it in -------------------------------- */

/* Is there room for a message everywhere, and nobody to tell of it? */
static inline bool is_easy_for(struct audience a) {
    for (size_t i = 0; i < a.count; i++) {
        mtaio_subscriber *sub = member_subscriber(a.list[i]);
        if (unlikely(sub->watched) || unlikely(!buffer_has_room(sub))) return false;
    }
    return true;
}

static inline bool is_easy(const mtaio_channel *ch, struct audience all, struct audience some) {
    return likely(ch->line.holding_up == 0 && !ch->replay && !load_relaxed(&ch->closed)) &&
           is_easy_for(all) && is_easy_for(some);
}

static inline void put(struct audience a, struct small m) {
    for (size_t i = 0; i < a.count; i++) {
        mtaio_subscriber *sub = member_subscriber(a.list[i]);
        slot_put_inline(buffer_next(sub), m);
        buffer_show(sub);
    }
}

/* These come with the guard, and go without. */
static inline int put_unlock(mtaio_channel *ch, struct audience all, struct audience some, struct small m) {
    put(all, m);
    put(some, m);
    ch->published++;
    guard_unlock(&ch->guard);
    return (int)(all.count + some.count);
}

static __attribute__((noinline)) int publish_small_unlock(mtaio_channel *ch, const void *data, size_t bytes,
                                                          const char *topic, size_t topic_bytes,
                                                          int64_t timeout_ns) {
    struct slot slot;
    slot_put_inline(&slot, (struct small){data, bytes, topic, topic_bytes});
    return publish_unlock(ch, &slot, timeout_ns);
}

static inline __attribute__((always_inline)) int publish_plain_unlock(mtaio_channel *ch, const void *data,
                                                                      size_t bytes, int64_t timeout_ns) {
    const struct audience all = {ch->members, load_relaxed(&ch->count)}, nobody = {NULL, 0};
    if (likely(is_easy(ch, all, nobody)))
        return put_unlock(ch, all, nobody, (struct small){.data = data, .bytes = bytes});
    return publish_small_unlock(ch, data, bytes, NULL, 0, timeout_ns);
}

static __attribute__((noinline)) int take_guard_and_publish(mtaio_channel *ch, const void *data, size_t bytes,
                                                            int64_t timeout_ns) {
    mtaio__guard_take(&ch->guard);
    return publish_plain_unlock(ch, data, bytes, timeout_ns);
}

static inline int publish_plain(mtaio_channel *ch, const void *data, size_t bytes, int64_t timeout_ns) {
    if (likely(guard_enter(&ch->guard))) return publish_plain_unlock(ch, data, bytes, timeout_ns);
    return take_guard_and_publish(ch, data, bytes, timeout_ns);
}

/* A topic that is remembered is valid. */
static int publish_named(mtaio_channel *ch, struct small m, int64_t timeout_ns) {
    guard_lock(&ch->guard);
    struct audience some = mtaio__audiences_recall(&ch->audiences, m.topic, m.topic_bytes - 1);
    int r = likely(some.list) ? 0 : mtaio__name_check(m.topic);
    if (unlikely(r < 0)) {
        guard_unlock(&ch->guard);
        return r;
    }
    struct audience all = {ch->members, load_relaxed(&ch->plain)};
    if ((likely(some.list) || all.count == load_relaxed(&ch->count)) && likely(is_easy(ch, all, some)))
        return put_unlock(ch, all, some, m);
    return publish_small_unlock(ch, m.data, m.bytes, m.topic, m.topic_bytes, timeout_ns);
}

/* What is longer, or has a topic. */
static __attribute__((noinline)) int publish_longer(mtaio_channel *ch, const char *topic, const void *data,
                                                    size_t bytes, int64_t timeout_ns) {
    if (likely(topic && data && bytes <= SLOT_INSIDE)) {
        const char *end = memchr(topic, '\0', SLOT_INSIDE - bytes);
        if (likely(end))
            return publish_named(ch, (struct small){data, bytes, topic, (size_t)(end - topic) + 1},
                                 timeout_ns);
    }
    return publish_any(ch, MTAIO_PUBLICATION(.topic = topic, .data = data, .bytes = bytes), timeout_ns);
}

static inline int publish_bare(mtaio_channel *ch, const char *topic, const void *data, size_t bytes,
                               int64_t timeout_ns) {
    if (likely(!topic && data && bytes <= SLOT_INSIDE)) return publish_plain(ch, data, bytes, timeout_ns);
    return publish_longer(ch, topic, data, bytes, timeout_ns);
}

int mtaio_publish(mtaio_channel *ch, const char *topic, const void *data, size_t bytes) {
    return ch ? publish_bare(ch, topic, data, bytes, -1) : MTAIO_EINVAL;
}

int mtaio_channel_publish(mtaio_channel *ch, const mtaio_publication *p, int64_t timeout_ns) {
    if (!ch || !p) return MTAIO_EINVAL;
    if (is_bare(p)) return publish_bare(ch, p->topic, p->data, p->bytes, timeout_ns);
    return publish_any(ch, p, timeout_ns);
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
