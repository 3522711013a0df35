/* guard.h - a lock of a few words, for what takes nanoseconds: a publication, a receive.
 *
 * A guard favours the thread that keeps coming alone: it goes in and out by plain stores, without an atomic
 * read-modify-write. Everybody else takes the lock proper, `taken`, and then the favour away: a heavy fence,
 * and a wait until the favourite is outside. So the fence is paid by who comes in between, at most once for
 * every FAVOUR_AFTER times that somebody came alone. Where the system has no such fence, nobody is favoured.
 *
 * Who finds a guard taken looks again a few times, then yields, then naps: nothing is woken, and so nothing
 * that could be lost. Guards are not recursive. Zeroed: free. Nothing of the user's runs under one, except
 * his allocator. */
#ifndef MTAIO_SRC_GUARD_H
#define MTAIO_SRC_GUARD_H

#include "os/os.h"

struct guard {
    ATOMIC(const void *) favourite; /* a thread's mark, or NULL; written by who has taken it */
    ATOMIC(uint32_t) inside;        /* the favourite is; written by the owner alone */
    ATOMIC(uint32_t) taken;
    bool by_taking;   /* who is inside came by `taken` */
    uint32_t streak;  /* how often in turn the same thread has taken it; written by who has */
    const void *last; /* that thread */
    /* Who alone may be the favourite; NULL: anybody. A thread that was it once may still be on its way in, so
     * it gives this up only itself, when it comes by `taken`. */
    const void *owner;
};

/* The favourite's way in. False: mtaio__guard_take is to follow. Where another function does that, this one
 * calls none, and saves no registers. */
static inline bool guard_enter(struct guard *g) {
    const void *self = os_thread_mark();
    os_count_locks(+1);
    if (likely(load_relaxed(&g->favourite) == self)) {
        store_relaxed(&g->inside, 1);
        os_fence_light_as(
            false); /* pairs with the heavy fence of guard_take: there is one where there is a favourite */
        if (likely(load_acquire(&g->favourite) == self)) return true;
        store_release(&g->inside, 0);
    }
    return false;
}

void mtaio__guard_take(struct guard *g);

static inline void guard_lock(struct guard *g) {
    if (unlikely(!guard_enter(g))) mtaio__guard_take(g);
}

/* Each store pairs with the loads of guard_take: what was done inside is seen by who comes next. */
static inline void guard_unlock(struct guard *g) {
    if (g->by_taking) {
        g->by_taking = false;
        store_release(&g->taken, 0);
    } else {
        store_release(&g->inside, 0);
    }
    os_count_locks(-1);
}

#endif
