/* delay.c - emissions to come: timers that emit an event. */
#include "base/memory.h"
#include "core/emitter.h"
#include "core/timer.h"

/* The timer's context. Its emitter lists it until it is closed, and so knows what to cancel then. */
struct delayed {
    struct family *family; /* held */
    mtaio_event *event;    /* a reference */
    mtaio_timer *timer;    /* valid while it is listed */

    /* Guarded by the family's lock: */
    mtaio_emitter *em; /* NULL: not listed */
    struct delayed *next, *prev;
};

static void list_locked(struct delayed *d, mtaio_emitter *em) {
    d->em = em;
    d->prev = NULL;
    d->next = em->delayed;
    if (d->next) d->next->prev = d;
    em->delayed = d;
}

static void unlist_locked(struct delayed *d, mtaio_emitter *em) {
    if (d->next) d->next->prev = d->prev;
    if (d->prev)
        d->prev->next = d->next;
    else
        em->delayed = d->next;
    d->em = NULL;
}

/* A reference to the emitter; NULL: it is closed, or about to be. */
static mtaio_emitter *emitter_of(const struct delayed *d) {
    os_lock(&d->family->lock);
    mtaio_emitter *em = d->em ? mtaio__emitter_ref_living(d->em) : NULL;
    os_unlock(&d->family->lock);
    return em;
}

/* error: the executor would not do it. */
static void go_off(const struct delayed *d, int error) {
    mtaio_emitter *em = emitter_of(d);
    if (!em) return;
    int r = error ? error : mtaio_emit_nowait(em, d->event);
    if (r < 0 && (error || r != MTAIO_ECLOSED)) mtaio__unawaited(em, d->event->name, r);
    mtaio_emitter_unref(em);
}

static void delayed_call(uint64_t count, void *ctx) {
    (void)count;
    go_off(ctx, 0);
}

static void delayed_failed(int error, void *ctx) { go_off(ctx, error); }

static void delayed_over(void *ctx) {
    struct delayed *d = ctx;
    os_lock(&d->family->lock);
    if (d->em) unlist_locked(d, d->em);
    os_unlock(&d->family->lock);
    mtaio_event_unref(d->event);
    mtaio__family_drop(d->family);
    mtaio__free(d, sizeof *d);
}

/* Closing the emitter cancels it from now on. */
static int enlist(struct delayed *d, mtaio_emitter *em) {
    os_lock(&d->family->lock);
    bool closed = load_relaxed(&em->unusual) & EM_CLOSED;
    if (!closed) list_locked(d, em);
    os_unlock(&d->family->lock);
    return closed ? MTAIO_ECLOSED : 0;
}

static int delay(mtaio_emitter *em, mtaio_event *event, mtaio_timer_options *options, mtaio_timer **ret) {
    struct delayed *d = mtaio__alloc(sizeof *d);
    if (!d) return MTAIO_ENOMEM;
    options->call = delayed_call;
    options->failed = delayed_failed;
    options->destroy = delayed_over;
    options->ctx = d;
    mtaio_timer *t = mtaio__timer_new(options);
    if (!t) {
        mtaio__free(d, sizeof *d);
        return MTAIO_ENOMEM;
    }
    *d = (struct delayed){.family = em->family, .event = mtaio_event_ref(event), .timer = t};
    mtaio__family_hold(d->family);
    bool sealed = event_seal(event);
    int r = enlist(d, em);
    if (r == 0) r = mtaio__timer_begin(t, ret);
    if (r == 0) return 0; /* d may be gone already */
    if (sealed) event_unseal(event);
    delayed_over(d);
    mtaio__timer_drop(t);
    return r;
}

int mtaio_emit_after(mtaio_emitter *em, mtaio_event *event, int64_t delay_ns, mtaio_executor *executor,
                     mtaio_timer **ret) {
    if (!em || !event || !(event->kind & EVENT_OWNED) || delay_ns < 0) return MTAIO_EINVAL;
    return delay(em, event, MTAIO_TIMER(.delay_ns = delay_ns, .executor = executor), ret);
}

int mtaio_emit_periodic(mtaio_emitter *em, mtaio_event *event, int64_t period_ns, mtaio_executor *executor,
                        mtaio_timer **ret) {
    if (!em || !event || !(event->kind & EVENT_OWNED) || period_ns <= 0) return MTAIO_EINVAL;
    return delay(em, event, MTAIO_TIMER(.delay_ns = period_ns, .period_ns = period_ns, .executor = executor),
                 ret);
}

void mtaio__delayed_close(mtaio_emitter *em) {
    for (;;) {
        os_lock(&em->family->lock);
        struct delayed *d = em->delayed;
        mtaio_timer *t = d ? mtaio_timer_ref(d->timer) : NULL;
        if (d) unlist_locked(d, em);
        os_unlock(&em->family->lock);
        if (!t) return;
        mtaio_timer_cancel(t);
        mtaio_timer_unref(t);
    }
}
