/* select.c - waiting for the first of several subscribers, of one channel or of several. */
#include "base/memory.h"
#include "core/channel.h"
#include "core/executor.h"

enum { FEW = 8 }; /* subscribers whose watchers are on the stack */

struct selecting {
    struct waiter waiter;
    ATOMIC(size_t) woken; /* by how many; each touches this last */
};

struct candidate {
    struct watcher watcher; /* first */
    struct selecting *of;
};

static void candidate_wake(struct wake *w) {
    struct candidate *c = (struct candidate *)(void *)((char *)w - offsetof(struct candidate, watcher.wake));
    struct selecting *s = c->of;
    mtaio__waiter_wake(&s->waiter); /* it stays until all who were to wake it have */
    atomic_add(&s->woken, 1);       /* pairs with the load of leave */
}

static int find_ready(mtaio_subscriber *const *subs, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (subscriber_is_ready(subs[i])) return (int)i;
    return MTAIO_EAGAIN;
}

/* Up to the first that is ready already. How many are watched. */
static size_t enter(struct selecting *s, mtaio_subscriber *const *subs, size_t n,
                    struct candidate *candidates) {
    bool watching = true;
    size_t i = 0;
    for (; i < n && watching; i += watching) {
        candidates[i] = (struct candidate){
            .watcher = {.wake = {.run = candidate_wake}, .thread = os_thread_mark()}, .of = s};
        guard_lock(&subs[i]->channel->guard);
        watching = mtaio__watch(subs[i], &candidates[i].watcher);
        guard_unlock(&subs[i]->channel->guard);
    }
    return i;
}

static void leave(struct selecting *s, mtaio_subscriber *const *subs, size_t n,
                  struct candidate *candidates) {
    size_t fired = 0;
    for (size_t i = 0; i < n; i++) {
        guard_lock(&subs[i]->channel->guard);
        fired += !mtaio__unwatch(subs[i], &candidates[i].watcher);
        guard_unlock(&subs[i]->channel->guard);
    }
    for (unsigned attempt = 0; load_acquire(&s->woken) < fired; attempt++) os_nap(attempt);
}

/* 0: look again; ETIMEDOUT; ESYSTEM, EDEPTH. */
static int wait_for_one(mtaio_subscriber *const *subs, size_t n, int64_t deadline_ns,
                        struct candidate *candidates) {
    struct selecting s = {.woken = 0};
    bool in_time = true;
    int r = mtaio__waiter_init(&s.waiter);
    if (r < 0) return r;
    size_t watched = enter(&s, subs, n, candidates);
    if (watched == n) in_time = mtaio__waiter_wait(&s.waiter, deadline_ns);
    leave(&s, subs, watched, candidates);
    return in_time ? 0 : MTAIO_ETIMEDOUT;
}

int mtaio_select(mtaio_subscriber *const *subs, size_t n, int64_t timeout_ns) {
    struct candidate few[FEW], *candidates = few;
    if (!subs || n == 0 || n > INT32_MAX) return MTAIO_EINVAL;
    for (size_t i = 0; i < n; i++)
        if (!subs[i]) return MTAIO_EINVAL;
    int r = find_ready(subs, n), waited = 0;
    if (r >= 0 || timeout_ns == 0) return r;
    if (n > FEW && !(candidates = mtaio__alloc(n * sizeof *candidates))) return MTAIO_ENOMEM;
    int64_t deadline_ns = os_deadline_ns(timeout_ns);
    while ((r = find_ready(subs, n)) < 0 && waited == 0)
        waited = wait_for_one(subs, n, deadline_ns, candidates);
    if (candidates != few) mtaio__free(candidates, n * sizeof *candidates);
    return r >= 0 ? r : waited;
}
