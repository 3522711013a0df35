/* after.c - doing what was left until no guard is held.
 *
 * A call may publish, and so lead to further calls: these are made within it, but not deeper than CALLS_DEEP.
 * Further ones wait until the outermost has returned, and are then made from there, so that a long chain of
 * channels does not run out of stack. */
#include "core/after.h"

#include <assert.h>

#include "core/pool.h"

enum { CALLS_DEEP = 64 };

/* On the stack of the outermost. */
struct calling {
    struct here here;
    unsigned depth;
    struct wakes late;
};

static void run_all(struct wake *w) {
    for (struct wake *next; w; w = next) {
        next = w->next;
        w->run(w);
    }
}

static void add_all(struct wakes *to, struct wake *w) {
    for (struct wake *next; w; w = next) {
        next = w->next;
        wakes_add(to, w);
    }
}

static void call_outermost(struct wake *calls, struct here *outer) {
    struct calling c = {.here = {.outer = outer, .worker = outer ? outer->worker : NULL, .calling = &c}};
    os_here_set(&c.here);
    while (calls) {
        wakes_init(&c.late);
        run_all(calls);
        calls = c.late.first;
    }
    os_here_set(outer);
}

static void call(struct wake *calls) {
    struct here *here = os_here();
    struct calling *c = here ? here->calling : NULL;
    if (!c) {
        call_outermost(calls, here);
    } else if (c->depth >= CALLS_DEEP) {
        add_all(&c->late, calls);
    } else {
        c->depth++;
        run_all(calls);
        c->depth--;
    }
}

void mtaio__after_run(struct after *a) {
    struct after now = *a;
    assert(os_locks_held() == 0);
    after_init(a);
    run_all(now.threads.first);
    if (now.calls.first) call(now.calls.first);
    mtaio__garbage_free(now.garbage);
}
