/* watch.c - who is to hear of a subscriber's next message: threads that sleep, calls, a descriptor. */
#include <assert.h>

#include "base/memory.h"
#include "core/channel.h"
#include "core/pending.h"

/* --- Watchers: under the channel's guard ------------------------------------------------------- */

static void set_watched(mtaio_subscriber *sub) {
    sub->watched = sub->watchers.next != &sub->watchers || sub->fd >= 0;
}

bool mtaio__watch(mtaio_subscriber *sub, struct watcher *w) {
    if (subscriber_is_ready(sub)) return false; /* nobody can put something in meanwhile */
    link_before(w->takes ? &sub->watchers : sub->watchers.next, &w->link);
    sub->watched = true;
    return true;
}

bool mtaio__unwatch(mtaio_subscriber *sub, struct watcher *w) {
    if (!w->link.next) return false;
    link_remove(&w->link);
    set_watched(sub);
    return true;
}

/* Under both guards, or when the state is about to be told: as poll is to find it. */
static void signal_fd(mtaio_subscriber *sub) {
    if (sub->fd < 0) return;
    guard_lock(&sub->guard);
    if (!sub->fd_is_set && subscriber_is_ready(sub)) {
        sub->fd_is_set = true;
        os_event_fd_set(sub->fd);
    }
    guard_unlock(&sub->guard);
}

static void fire(mtaio_subscriber *sub, bool all, struct after *after) {
    signal_fd(sub);
    for (struct link *l = sub->watchers.next, *next; l != &sub->watchers; l = next) {
        struct watcher *w = (struct watcher *)l;
        next = l->next;
        link_remove(l);
        wakes_add(w->calls ? &after->calls : &after->threads, &w->wake);
        if (w->takes && !all) break;
    }
    set_watched(sub);
}

void mtaio__watchers_in_child(mtaio_subscriber *sub) {
    for (struct link *l = sub->watchers.next, *next; l != &sub->watchers; l = next) {
        const void *thread = ((struct watcher *)l)->thread;
        next = l->next;
        if (thread && thread != os_thread_mark()) link_remove(l);
    }
    set_watched(sub);
}

void mtaio__watchers_fire(mtaio_subscriber *sub, struct after *after) { fire(sub, false, after); }
void mtaio__watchers_fire_all(mtaio_subscriber *sub, struct after *after) { fire(sub, true, after); }

/* --- A descriptor ------------------------------------------------------------------------------ */

int mtaio_subscriber_fd(mtaio_subscriber *sub) {
    if (!sub) return MTAIO_EINVAL;
    guard_lock(&sub->channel->guard);
    guard_lock(&sub->guard);
    int fd = sub->fd >= 0 ? sub->fd : os_event_fd_new();
    if (fd >= 0) {
        sub->fd = fd;
        sub->watched = true;
        sub->attention |= ATTEND_FD;
    }
    guard_unlock(&sub->guard);
    signal_fd(sub);
    guard_unlock(&sub->channel->guard);
    return fd;
}

/* --- A call ------------------------------------------------------------------------------------ */

struct watching {
    struct mtaio_pending pending; /* first */
    struct watcher watcher;
    mtaio_subscriber *sub; /* holds its memory */
    mtaio_watch watch;
};

static void watching_free(mtaio_pending *pending) {
    mtaio__subscriber_drop(((struct watching *)pending)->sub);
    mtaio__free(pending, sizeof(struct watching));
}

static void watching_end(struct watching *w, bool ready) {
    assert(os_locks_held() == 0);
    if (ready) w->watch.ready(w->watch.ctx);
    if (w->watch.destroy) w->watch.destroy(w->watch.ctx);
    mtaio_pending_unref(&w->pending);
}

static void watching_wake(struct wake *wake) {
    watching_end((struct watching *)(void *)((char *)wake - offsetof(struct watching, watcher.wake)), true);
}

static int watching_cancel(mtaio_pending *pending) {
    struct watching *w = (struct watching *)pending;
    struct guard *guard = &w->sub->channel->guard;
    guard_lock(guard);
    bool ends = mtaio__unwatch(w->sub, &w->watcher);
    guard_unlock(guard);
    if (ends) watching_end(w, false);
    return ends;
}

static int watch(mtaio_subscriber *sub, const mtaio_watch *watch, mtaio_pending **ret) {
    if (!sub || !watch->ready) return MTAIO_EINVAL;
    struct after after;
    struct watching *w = mtaio__alloc(sizeof *w);
    if (!w) return MTAIO_ENOMEM;
    *w = (struct watching){.pending = {.refs = ret ? 2 : 1, .cancel = watching_cancel, .free = watching_free},
                           .watcher = {.wake = {.run = watching_wake}, .calls = true},
                           .sub = sub,
                           .watch = *watch};
    mtaio_channel *ch = sub->channel;
    subscriber_hold(sub);
    if (ret) *ret = &w->pending;
    after_init(&after);
    guard_lock(&ch->guard);
    if (!mtaio__watch(sub, &w->watcher)) wakes_add(&after.calls, &w->watcher.wake);
    channel_unlock(ch, &after); /* w may be over now */
    return 0;
}

int mtaio_subscriber_watch(mtaio_subscriber *sub, const mtaio_watch *w, mtaio_pending **ret) {
    if (!w || w->size != sizeof *w) return MTAIO_EINVAL;
    int r = watch(sub, w, ret);
    if (r < 0 && w->destroy) w->destroy(w->ctx);
    return r;
}
