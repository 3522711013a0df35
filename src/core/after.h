/* after.h - what is left to do once the guards are released: threads to wake, calls of the user, contents to
 * free. */
#ifndef MTAIO_SRC_AFTER_H
#define MTAIO_SRC_AFTER_H

#include "core/message.h"

/* Embedded in what is to be woken or called. */
struct wake {
    struct wake *next;
    void (*run)(struct wake *w); /* it may be gone when it returns */
};

struct wakes {
    struct wake *first, **last;
};

/* On the stack of who publishes, receives, closes. */
struct after {
    struct wakes threads; /* woken before any call of the user's, which may take long */
    struct wakes calls;
    struct content *garbage;
};

static inline void wakes_init(struct wakes *l) {
    l->first = NULL;
    l->last = &l->first;
}

static inline void after_init(struct after *a) {
    wakes_init(&a->threads);
    wakes_init(&a->calls);
    a->garbage = NULL;
}

static inline void wakes_add(struct wakes *l, struct wake *w) {
    w->next = NULL;
    *l->last = w;
    l->last = &w->next;
}

void mtaio__after_run(struct after *a);

/* No guard is held. Nothing is left then. */
static inline void after_run(struct after *a) {
    if (unlikely(a->threads.first || a->calls.first || a->garbage)) mtaio__after_run(a);
}

#endif
