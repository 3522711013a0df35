/* channel.c - the life of channels, who is in them, and what they have counted. */
#include "core/channel.h"

#include <limits.h>

#include "base/memory.h"

/* --- Memory ------------------------------------------------------------------------------------ */

static mtaio_channel *reclaimer_channel(struct reclaimer *r) {
    return (mtaio_channel *)(void *)((char *)r - offsetof(mtaio_channel, reclaimer));
}

static void channel_sweep(struct reclaimer *r) {
    mtaio_channel *ch = reclaimer_channel(r);
    guard_lock(&ch->guard);
    mtaio__audiences_sweep(&ch->audiences);
    guard_unlock(&ch->guard);
}

static void reclaimer_hold(struct reclaimer *r) { channel_hold(reclaimer_channel(r)); }
static void reclaimer_drop(struct reclaimer *r) { mtaio__channel_drop(reclaimer_channel(r)); }

static mtaio_channel *forkable_channel(struct forkable *f) {
    return (mtaio_channel *)(void *)((char *)f - offsetof(mtaio_channel, forkable));
}

static void before_fork(struct forkable *f) { guard_lock(&forkable_channel(f)->guard); }
static void in_child(struct forkable *f) { mtaio__line_in_child(&forkable_channel(f)->line); }
static void after_fork(struct forkable *f) { guard_unlock(&forkable_channel(f)->guard); }

static void channel_free(mtaio_channel *ch) {
    mtaio__fork_leave(&ch->forkable);
    mtaio__audiences_fini(&ch->audiences);
    mtaio__replay_free(ch->replay);
    mtaio__free(ch->members, ch->capacity * sizeof *ch->members);
    mtaio__free_string(ch->name);
    mtaio__free(ch, sizeof *ch);
}

void mtaio__channel_drop(mtaio_channel *ch) {
    if (atomic_sub(&ch->holds, 1) == 1) channel_free(ch);
}

/* --- Life -------------------------------------------------------------------------------------- */

int mtaio_channel_new(const mtaio_channel_options *options, mtaio_channel **ret) {
    static const struct fork_ops fork_ops = {before_fork, in_child, after_fork};
    const mtaio_channel_options *o = options ? options : MTAIO_CHANNEL_OPTIONS(0);
    if (!ret || o->size != sizeof *o || o->overflow < MTAIO_OVERFLOW_DEFAULT || o->overflow > MTAIO_REFUSE)
        return MTAIO_EINVAL;
    if (mtaio__reclaim_init() < 0) return MTAIO_ENOMEM; /* it refuses for no other reason */
    mtaio_channel *ch = mtaio__alloc_zeroed(sizeof *ch);
    if (!ch) return MTAIO_ENOMEM;
    ch->refs = ch->holds = 1;
    ch->max_subscribers = o->max_subscribers > 0 ? o->max_subscribers : SIZE_MAX;
    ch->buffer_size = o->buffer_size > 0 ? o->buffer_size : MTAIO_UNBOUNDED;
    ch->overflow = (uint8_t)(o->overflow != MTAIO_OVERFLOW_DEFAULT ? o->overflow : MTAIO_BLOCK);
    ch->reclaimer.sweep = channel_sweep;
    ch->reclaimer.hold = reclaimer_hold;
    ch->reclaimer.drop = reclaimer_drop;
    mtaio__audiences_init(&ch->audiences, &ch->reclaimer, &ch->guard);
    mtaio__fork_enter(&ch->forkable, FORK_CHANNEL, &fork_ops);
    ch->name = mtaio__copy_string(o->name ? o->name : "");
    int r = ch->name ? 0 : MTAIO_ENOMEM;
    if (r == 0 && o->replay > 0) r = mtaio__replay_new(o->replay, o->replay_by_topic, &ch->replay);
    if (r < 0) {
        channel_free(ch);
        return r;
    }
    *ret = ch;
    return 0;
}

mtaio_channel *mtaio_channel_ref(mtaio_channel *ch) {
    if (ch) atomic_add(&ch->refs, 1);
    return ch;
}

mtaio_channel *mtaio_channel_unref(mtaio_channel *ch) {
    if (!ch || atomic_sub(&ch->refs, 1) != 1) return NULL;
    mtaio_channel_close(ch);
    mtaio__channel_drop(ch);
    return NULL;
}

int mtaio_channel_close(mtaio_channel *ch) {
    struct replay *replay = NULL;
    struct after after;
    if (!ch) return MTAIO_EINVAL;
    after_init(&after);
    guard_lock(&ch->guard);
    if (!load_relaxed(&ch->closed)) {
        store_release(&ch->closed, true); /* read without the guard by is_closed only */
        replay = ch->replay;
        ch->replay = NULL;
        mtaio__line_carry_on(ch, &after);
        for (size_t i = 0; i < load_relaxed(&ch->count); i++)
            mtaio__subscriber_close(member_subscriber(ch->members[i]), &after);
    }
    channel_unlock(ch, &after);
    mtaio__replay_free(replay);
    return 0;
}

/* --- Asking ------------------------------------------------------------------------------------ */

bool mtaio_channel_is_closed(const mtaio_channel *ch) { return !ch || load_acquire(&ch->closed); }
const char *mtaio_channel_name(const mtaio_channel *ch) { return ch ? ch->name : NULL; }
size_t mtaio_channel_count(const mtaio_channel *ch) { return ch ? load_relaxed(&ch->count) : 0; }

static int as_int(size_t count) { return count < INT_MAX ? (int)count : INT_MAX; }

int mtaio_channel_reach(const mtaio_channel *ch, const char *topic) {
    if (!ch) return MTAIO_EINVAL;
    if (!topic) return as_int(load_relaxed(&ch->count));
    size_t plain = load_relaxed(&ch->plain);
    int r = mtaio__audiences_reach((struct audiences *)(uintptr_t)&ch->audiences, topic);
    return r < 0 ? r : as_int(plain + (size_t)r);
}

int mtaio_channel_stats_get(const mtaio_channel *ch, mtaio_channel_stats *ret) {
    if (!ch || !ret || ret->size != sizeof *ret) return MTAIO_EINVAL;
    struct guard *guard = (struct guard *)(uintptr_t)&ch->guard;
    guard_lock(guard);
    mtaio_channel_stats s = {.size = ret->size,
                             .published = ch->published,
                             .refused = ch->refused,
                             .reached = ch->ended.reached,
                             .delivered = ch->ended.delivered,
                             .dropped = ch->ended.dropped};
    for (size_t i = 0; i < load_relaxed(&ch->count); i++) {
        mtaio_subscriber_stats one;
        mtaio__subscriber_count(member_subscriber(ch->members[i]), &one);
        s.reached += one.reached;
        s.delivered += one.delivered;
        s.dropped += one.dropped;
        s.waiting += one.waiting;
    }
    guard_unlock(guard);
    *ret = s;
    return 0;
}

/* --- Members: under the guard ------------------------------------------------------------------ */

static void put(mtaio_channel *ch, size_t index, struct member *m) {
    ch->members[index] = m;
    member_subscriber(m)->index = index;
}

int mtaio__members_reserve(mtaio_channel *ch) {
    size_t count = load_relaxed(&ch->count);
    if (count >= ch->max_subscribers) return MTAIO_ELIMIT;
    return mtaio__reserve(&ch->members, sizeof *ch->members, count, &ch->capacity) ? 0 : MTAIO_ENOMEM;
}

void mtaio__members_add(mtaio_channel *ch, struct member *m) {
    size_t count = load_relaxed(&ch->count), plain = load_relaxed(&ch->plain);
    if (m->count == 0) {
        if (plain < count) put(ch, count, ch->members[plain]);
        put(ch, plain, m);
        store_relaxed(&ch->plain, plain + 1);
    } else {
        put(ch, count, m);
    }
    store_relaxed(&ch->count, count + 1);
}

void mtaio__members_restrict(mtaio_channel *ch, struct member *m) {
    size_t index = member_subscriber(m)->index, last = load_relaxed(&ch->plain) - 1;
    put(ch, index, ch->members[last]);
    put(ch, last, m);
    store_relaxed(&ch->plain, last);
}

void mtaio__members_remove(mtaio_channel *ch, struct member *m) {
    size_t last = load_relaxed(&ch->count) - 1;
    if (member_subscriber(m)->index < load_relaxed(&ch->plain)) mtaio__members_restrict(ch, m);
    put(ch, member_subscriber(m)->index, ch->members[last]);
    store_relaxed(&ch->count, last);
}
