/* subscriber.c - the life of subscribers, their patterns, and what they have counted. */
#include "core/subscriber.h"

#include "base/memory.h"
#include "core/channel.h"

/* --- Subscribing ------------------------------------------------------------------------------- */

static mtaio_subscriber *forkable_subscriber(struct forkable *f) {
    return (mtaio_subscriber *)(void *)((char *)f - offsetof(mtaio_subscriber, forkable));
}

static void before_fork(struct forkable *f) { guard_lock(&forkable_subscriber(f)->guard); }
static void in_child(struct forkable *f) { mtaio__watchers_in_child(forkable_subscriber(f)); }
static void after_fork(struct forkable *f) { guard_unlock(&forkable_subscriber(f)->guard); }

static mtaio_subscriber *subscriber_new(mtaio_channel *ch, const mtaio_subscription *s) {
    static const struct fork_ops fork_ops = {before_fork, in_child, after_fork};
    mtaio_subscriber *sub = mtaio__alloc_zeroed(sizeof *sub);
    if (!sub) return NULL;
    sub->refs = sub->holds = 1;
    sub->limit = s->buffer_size > 0 ? s->buffer_size : ch->buffer_size;
    sub->policy = s->overflow != MTAIO_OVERFLOW_DEFAULT ? (uint8_t)s->overflow : ch->overflow;
    sub->origin = s->origin;
    sub->watchers.next = sub->watchers.prev = &sub->watchers;
    sub->fd = -1;
    sub->patience.enough = 1;
    sub->channel = ch;
    channel_hold(ch);
    subscriber_begin_at(sub, 0);
    mtaio__fork_enter(&sub->forkable, FORK_SUBSCRIBER, &fork_ops);
    return sub;
}

static int add_patterns(mtaio_channel *ch, mtaio_subscriber *sub, const char *const *patterns) {
    for (; patterns && *patterns; patterns++) {
        int r = mtaio__audiences_add(&ch->audiences, &sub->member, *patterns);
        if (r >= 0) continue;
        mtaio__audiences_leave(&ch->audiences, &sub->member);
        return r;
    }
    return 0;
}

/* Under the channel's guard. What is in the buffer where it fails is the caller's to clear. */
static int join_locked(mtaio_channel *ch, mtaio_subscriber *sub, const mtaio_subscription *s) {
    int r = load_relaxed(&ch->closed) ? MTAIO_ECLOSED : mtaio__members_reserve(ch);
    if (r == 0 && ch->replay && !s->no_replay) r = mtaio__replay_give(ch->replay, sub, s->patterns);
    if (r == 0) r = add_patterns(ch, sub, s->patterns);
    if (r == 0) mtaio__members_add(ch, &sub->member);
    return r;
}

static int join(mtaio_channel *ch, mtaio_subscriber *sub, const mtaio_subscription *s) {
    struct buffer left = {0};
    guard_lock(&ch->guard);
    int r = join_locked(ch, sub, s);
    if (r < 0) left = mtaio__buffer_take_off(sub);
    guard_unlock(&ch->guard);
    mtaio__buffer_clear(&left);
    return r;
}

int mtaio_channel_subscribe(mtaio_channel *ch, const mtaio_subscription *s, mtaio_subscriber **ret) {
    static const mtaio_subscription everything = {.size = sizeof everything};
    if (!s) s = &everything;
    if (!ch || !ret || s->size != sizeof *s || s->overflow < MTAIO_OVERFLOW_DEFAULT ||
        s->overflow > MTAIO_REFUSE)
        return MTAIO_EINVAL;
    for (const char *const *pattern = s->patterns; pattern && *pattern; pattern++) {
        int r = mtaio__pattern_check(*pattern, NULL);
        if (r < 0) return r;
    }
    mtaio_subscriber *sub = subscriber_new(ch, s);
    if (!sub) return MTAIO_ENOMEM;
    int r = join(ch, sub, s);
    if (r < 0) {
        mtaio__subscriber_drop(sub);
        return r;
    }
    *ret = sub;
    return 0;
}

int mtaio_subscribe(mtaio_channel *ch, const char *pattern, mtaio_subscriber **ret) {
    const char *const patterns[] = {pattern, NULL};
    return mtaio_channel_subscribe(ch, MTAIO_SUBSCRIPTION(.patterns = patterns), ret);
}

/* --- Ending ------------------------------------------------------------------------------------ */

mtaio_subscriber *mtaio_subscriber_ref(mtaio_subscriber *sub) {
    if (sub) atomic_add(&sub->refs, 1);
    return sub;
}

mtaio_subscriber *mtaio_subscriber_unref(mtaio_subscriber *sub) {
    if (!sub || atomic_sub(&sub->refs, 1) != 1) return NULL;
    mtaio_unsubscribe(sub);
    mtaio__subscriber_drop(sub);
    return NULL;
}

void mtaio__subscriber_drop(mtaio_subscriber *sub) {
    if (atomic_sub(&sub->holds, 1) != 1) return;
    mtaio_channel *ch = sub->channel;
    mtaio__fork_leave(&sub->forkable);
    if (sub->fd >= 0) os_event_fd_close(sub->fd);
    mtaio__free(sub, sizeof *sub);
    mtaio__channel_drop(ch);
}

void mtaio__subscriber_close(mtaio_subscriber *sub, struct after *after) {
    guard_lock(&sub->guard);
    store_relaxed(&sub->state, SUBSCRIBER_CLOSED);
    guard_unlock(&sub->guard);
    mtaio__watchers_fire_all(sub, after);
}

/* Under the channel's guard: its sums take over what the subscriber has counted. */
static void end_locked(mtaio_channel *ch, mtaio_subscriber *sub, struct buffer *ret) {
    mtaio_subscriber_stats s;
    mtaio__audiences_leave(&ch->audiences, &sub->member);
    mtaio__members_remove(ch, &sub->member);
    guard_lock(&sub->guard);
    store_relaxed(&sub->state, SUBSCRIBER_ENDED);
    sub->overtaken += load_relaxed(&sub->tail) - load_relaxed(&sub->head);
    *ret = mtaio__buffer_take_off(sub);
    guard_unlock(&sub->guard);
    mtaio__subscriber_count(sub, &s);
    ch->ended.reached += s.reached;
    ch->ended.delivered += s.delivered;
    ch->ended.dropped += s.dropped;
}

int mtaio_unsubscribe(mtaio_subscriber *sub) {
    struct buffer left = {0};
    struct after after;
    if (!sub) return MTAIO_EINVAL;
    mtaio_channel *ch = sub->channel;
    after_init(&after);
    guard_lock(&ch->guard);
    bool ends = load_relaxed(&sub->state) != SUBSCRIBER_ENDED;
    if (ends) {
        end_locked(ch, sub, &left);
        mtaio__watchers_fire_all(sub, &after);
        mtaio__line_carry_on(ch, &after);
    }
    channel_unlock(ch, &after);
    mtaio__buffer_clear(&left);
    return ends;
}

/* --- Patterns ---------------------------------------------------------------------------------- */

/* What waits for the subscriber may not be for it any more. */
static void patterns_unlock(mtaio_subscriber *sub, bool lost) {
    struct after after;
    after_init(&after);
    if (lost) mtaio__line_carry_on(sub->channel, &after);
    channel_unlock(sub->channel, &after);
}

int mtaio_subscriber_add(mtaio_subscriber *sub, const char *pattern) {
    int r = sub ? mtaio__pattern_check(pattern, NULL) : MTAIO_EINVAL;
    if (r < 0) return r;
    mtaio_channel *ch = sub->channel;
    guard_lock(&ch->guard);
    bool open = load_relaxed(&sub->state) == SUBSCRIBER_OPEN;
    r = open ? mtaio__audiences_add(&ch->audiences, &sub->member, pattern) : MTAIO_ECLOSED;
    bool restricts = r > 0 && sub->index < load_relaxed(&ch->plain);
    if (restricts) mtaio__members_restrict(ch, &sub->member);
    patterns_unlock(sub, restricts);
    return r;
}

int mtaio_subscriber_drop(mtaio_subscriber *sub, const char *pattern) {
    int r = sub ? mtaio__pattern_check(pattern, NULL) : MTAIO_EINVAL;
    if (r < 0) return r;
    mtaio_channel *ch = sub->channel;
    guard_lock(&ch->guard);
    bool open = load_relaxed(&sub->state) == SUBSCRIBER_OPEN;
    r = open ? mtaio__audiences_drop(&ch->audiences, &sub->member, pattern) : MTAIO_ECLOSED;
    patterns_unlock(sub, r > 0);
    return r;
}

/* --- Counting ---------------------------------------------------------------------------------- */

void mtaio__subscriber_count(mtaio_subscriber *sub, mtaio_subscriber_stats *ret) {
    guard_lock(&sub->guard);
    uint64_t head = load_relaxed(&sub->head), tail = load_relaxed(&sub->tail);
    guard_unlock(&sub->guard);
    ret->reached = tail - sub->first + sub->skipped;
    ret->delivered = head - sub->first - sub->overtaken;
    ret->dropped = sub->overtaken + sub->skipped;
    ret->waiting = tail - head;
    ret->high_water = sub->high_water;
}

int mtaio_subscriber_stats_get(const mtaio_subscriber *sub, mtaio_subscriber_stats *ret) {
    if (!sub || !ret || ret->size != sizeof *ret) return MTAIO_EINVAL;
    guard_lock(&sub->channel->guard);
    mtaio__subscriber_count((mtaio_subscriber *)(uintptr_t)sub, ret);
    guard_unlock(&sub->channel->guard);
    return 0;
}
