/* wait.c - one thread waits for one event. */
#include "base/memory.h"
#include "core/emitter.h"

/* Held by the waiting thread and by the registration; each may be the last. */
struct waiting {
    ATOMIC(uint32_t) refs;
    ATOMIC(uint32_t) woken; /* the first to set it decides: an event, or the end of the registration */
    bool (*accept)(const mtaio_event *event, void *ctx);
    void *ctx;
    mtaio_event *event; /* NULL: none came */
    int r;
    struct waiter waiter;
};

static void waiting_unref(struct waiting *w) {
    if (atomic_sub(&w->refs, 1) != 1) return;
    mtaio_event_unref(w->event);
    mtaio__free(w, sizeof *w);
}

static bool claim(struct waiting *w) {
    uint32_t no = 0;
    return atomic_cas(&w->woken, &no, 1);
}

static int on_event(mtaio_event *event, void *ctx) {
    struct waiting *w = ctx;
    if (load_acquire(&w->woken) || (w->accept && !w->accept(event, w->ctx)) || !claim(w)) return 0;
    w->r = mtaio_event_keep(event, &w->event);
    mtaio__waiter_wake(&w->waiter);
    return 0;
}

/* The registration is gone: cancelled by the waiting thread, removed, or the emitter was closed. */
static void on_end(void *ctx) {
    struct waiting *w = ctx;
    if (claim(w)) {
        w->r = MTAIO_ECLOSED;
        mtaio__waiter_wake(&w->waiter);
    }
    waiting_unref(w);
}

int mtaio_emitter_wait(mtaio_emitter *em, const char *pattern,
                       bool (*accept)(const mtaio_event *event, void *ctx), void *ctx, int64_t timeout_ns,
                       mtaio_event **ret) {
    if (!em || !pattern || !ret) return MTAIO_EINVAL;
    struct waiting *w = mtaio__alloc_zeroed(sizeof *w);
    if (!w) return MTAIO_ENOMEM;
    w->refs = 2;
    w->accept = accept;
    w->ctx = ctx;
    int r = mtaio__waiter_init(&w->waiter);
    if (r < 0) {
        mtaio__free(w, sizeof *w);
        return r;
    }
    mtaio_listener *listener;
    r = mtaio_emitter_on(em, pattern, MTAIO_HANDLER(.call = on_event, .destroy = on_end, .ctx = w),
                         &listener);
    if (r == 0) {
        bool woken = mtaio__waiter_wait(&w->waiter, os_deadline_ns(timeout_ns));
        if (!woken && !claim(w)) mtaio__waiter_wait(&w->waiter, INT64_MAX); /* it is just arriving */
        r = woken || w->r || w->event ? w->r : MTAIO_ETIMEDOUT;
        mtaio_listener_cancel_wait(listener); /* accept's context is the caller's: no call of it after this */
        mtaio_listener_unref(listener);
        if (r == 0) {
            *ret = w->event;
            w->event = NULL;
        }
    }
    waiting_unref(w);
    return r;
}
