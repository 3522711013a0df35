/* guard.c - the slow way into a guard. */
#include "core/guard.h"

#ifndef MTAIO_EXPLORE
enum { LOOKS = 10, PAUSES_MOST = 32, FAVOUR_AFTER = 256 };
#else
enum {
    LOOKS = 0,
    PAUSES_MOST = 0,
    FAVOUR_AFTER = 1
}; /* every look is a state of its own: few, and both ways are explored */
#endif

/* Until the word is 0, looking at it ever less often: each look takes the line of memory from who is inside.
 * The load pairs with guard_unlock. */
static void wait_while(const ATOMIC(uint32_t) *word) {
    unsigned pauses = 1;
    for (unsigned n = 0; load_acquire(word) != 0; n++) {
        for (unsigned i = 0; i < pauses && n < LOOKS; i++) os_pause();
        if (pauses < PAUSES_MOST) pauses *= 2;
        if (n >= LOOKS) os_nap(n - LOOKS);
    }
}

/* The thread that comes for the FAVOUR_AFTERth time in turn need not take it from now on: unless another,
 * which was the favourite before it, may still be on its way in, and would overwrite `inside`. */
static void note_taker(struct guard *g, const void *self) {
    if (g->owner == self) g->owner = NULL; /* it has lost the favour, and is here */
    if (g->last != self) {
        g->last = self;
        g->streak = 0;
    } else if (++g->streak >= FAVOUR_AFTER && !g->owner && os_is_asymmetric()) {
        g->streak = 0;
        g->owner = self;
        store_relaxed(&g->favourite, self); /* read by other threads once `taken` is released */
    }
}

void mtaio__guard_take(struct guard *g) {
    const void *self = os_thread_mark();
    while (atomic_swap(&g->taken, 1) != 0) wait_while(&g->taken);
    if (load_relaxed(&g->favourite)) {
        store_relaxed(&g->favourite, NULL);
        os_fence_heavy(); /* pairs with guard_lock: either it sees NULL, or `inside` is seen here */
        wait_while(&g->inside);
    }
    g->by_taking = true;
    note_taker(g, self);
}
