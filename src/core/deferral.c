/* deferral.c - completing, once, from any thread; and calls on executors, which are deferrals that complete
 * themselves. */
#include "core/deferral.h"

#include "base/memory.h"

static mtaio_deferral *deferral_alloc(void) {
    struct thread *t = os_self();
    mtaio_deferral *d = t ? spare_take(t, SPARE_DEFERRAL) : NULL;
    if (!d) return mtaio__alloc_zeroed(sizeof *d);
    *d = (mtaio_deferral){0};
    return d;
}

static void deferral_drop(void *block) { mtaio__free(block, sizeof(mtaio_deferral)); }
static void deferral_free(mtaio_deferral *d) { mtaio__spare_keep(SPARE_DEFERRAL, d, deferral_drop); }

static void drop_hold(mtaio_deferral *d) {
    if (atomic_sub(&d->holds, 1) == 1) deferral_free(d);
}

static bool is_closed(const struct walk *w) {
    for (; w; w = w->rest.outer)
        if (load_acquire(&w->em->unusual) & EM_CLOSED) return true;
    return false;
}

/* --- Completing -------------------------------------------------------------------------------- */

/* True for the first: only it decides the status. */
static bool claim(mtaio_deferral *d, uint32_t bits) {
    uint32_t state = load_relaxed(&d->state);
    do {
        if (state & DEFERRAL_CLAIMED) return false;
    } while (!atomic_cas(&d->state, &state, state | DEFERRAL_CLAIMED | bits));
    return true;
}

/* By who claimed it, and holds it. */
static void finish(mtaio_deferral *d, int status) {
    d->status = status;
    if (!(atomic_or(&d->state, DEFERRAL_DONE) & DEFERRAL_PARKED))
        return; /* the walk will see DONE when it would rest */
    if (d->waiter)
        mtaio__waiter_wake(d->waiter);
    else
        mtaio__emission_drive(d->walk->rest.emission);
}

int mtaio_deferral_complete(mtaio_deferral *d, int status) {
    if (!d) return MTAIO_EINVAL;
    if (!claim(d, 0)) return load_acquire(&d->state) & DEFERRAL_CLOSED ? MTAIO_ECLOSED : MTAIO_EALREADY;
    finish(d, status);
    return 0;
}

mtaio_deferral *mtaio_deferral_ref(mtaio_deferral *d) {
    if (d) atomic_add(&d->refs, 1);
    return d;
}

mtaio_deferral *mtaio_deferral_unref(mtaio_deferral *d) {
    if (!d || atomic_sub(&d->refs, 1) != 1) return NULL;
    if (claim(d, 0)) finish(d, MTAIO_EABANDONED);
    drop_hold(d);
    return NULL;
}

mtaio_event *mtaio_deferral_event(const mtaio_deferral *d) { return d ? d->event : NULL; }

/* --- Taking one -------------------------------------------------------------------------------- */

static mtaio_deferral *deferral_new(mtaio_event *event) {
    mtaio_deferral *d = deferral_alloc();
    if (!d) return NULL;
    struct walk *w = event_walk(event);
    if (w->rest.emission) mtaio__emission_rest(w->rest.emission);
    d->refs = 1;
    d->holds = 2;
    d->event = event;
    d->walk = w;
    d->family = w->em->family;
    w->rest.deferral = d;
    event_mark(event, EVENT_DEFERRED);
    return d;
}

int mtaio_event_defer(mtaio_event *event, mtaio_deferral **ret) {
    if (!event || !ret) return MTAIO_EINVAL;
    if (!event->walk) return MTAIO_EBUSY;
    mtaio_deferral *d = event_walk(event)->rest.deferral;
    if (d && d->by_job && !d->shared) {
        d->shared = true;
        d->refs = 1;
        atomic_add(&d->holds, 1);
    } else if (d) {
        return MTAIO_EALREADY;
    } else if (!(d = deferral_new(event))) {
        return MTAIO_ENOMEM;
    }
    *ret = d;
    return 0;
}

/* --- The walk's side --------------------------------------------------------------------------- */

/* Among those that close ends. If it is closed already, nobody would. */
static void list_parked(mtaio_deferral *d) {
    struct family *f = d->family;
    os_lock(&f->lock);
    d->listed = true;
    d->prev = NULL;
    d->next = f->parked;
    if (d->next) d->next->prev = d;
    f->parked = d;
    bool ends = is_closed(d->walk) && !d->running && claim(d, DEFERRAL_CLOSED);
    os_unlock(&f->lock);
    if (ends) finish(d, MTAIO_ECLOSED);
}

static void unlist_parked(mtaio_deferral *d) {
    os_lock(&d->family->lock);
    if (d->next) d->next->prev = d->prev;
    if (d->prev)
        d->prev->next = d->next;
    else
        d->family->parked = d->next;
    d->listed = false;
    os_unlock(&d->family->lock);
}

/* No lock to wait on, or too deep in a pool's jobs to wait in one more: a handler that only promised is told
 * so; one that is running elsewhere has the event, and is polled for. */
static void wait_without(mtaio_deferral *d, int r) {
    if (!d->by_job && claim(d, 0)) finish(d, r);
    for (unsigned n = 0; !(load_acquire(&d->state) & DEFERRAL_DONE); n++) os_nap(n);
}

static void wait_done(mtaio_deferral *d) {
    struct waiter waiter;
    int r = mtaio__waiter_init(&waiter);
    if (r < 0) {
        wait_without(d, r);
        return;
    }
    d->waiter = &waiter;
    if (!(atomic_or(&d->state, DEFERRAL_PARKED) & DEFERRAL_DONE)) mtaio__waiter_wait(&waiter, INT64_MAX);
}

bool mtaio__deferral_settle(mtaio_deferral *d, int r) {
    if (r < 0 && claim(d, 0)) finish(d, r);
    if (load_acquire(&d->state) & DEFERRAL_DONE) return true;
    bool waits = !d->walk->rest.emission;
    list_parked(d);
    if (!waits) return atomic_or(&d->state, DEFERRAL_PARKED) & DEFERRAL_DONE;
    wait_done(d);
    return true;
}

int mtaio__deferral_take(struct walk *w) {
    mtaio_deferral *d = w->rest.deferral;
    uint32_t state = load_acquire(&d->state); /* pairs with finish: the status is there */
    int status = d->status;
    if (d->listed) unlist_parked(d);
    if (state & DEFERRAL_CLOSED) w->tally->ended = MTAIO_ECLOSED;
    if (d->skipped) event_mark(w->event, EVENT_MISSED);
    w->rest.deferral = NULL;
    drop_hold(d);
    return status;
}

static bool is_behind(const struct walk *w, const mtaio_emitter *em) {
    for (; w; w = w->rest.outer)
        if (w->em == em) return true;
    return false;
}

void mtaio__deferrals_close(struct family *f, const mtaio_emitter *em) {
    mtaio_deferral *closing = NULL, *next;
    os_lock(&f->lock);
    for (mtaio_deferral *d = f->parked; d; d = d->next) {
        if (d->running || !is_behind(d->walk, em) || !claim(d, DEFERRAL_CLOSED)) continue;
        atomic_add(&d->holds, 1);
        d->next_closing = closing;
        closing = d;
    }
    os_unlock(&f->lock);
    for (mtaio_deferral *d = closing; d; d = next) {
        next = d->next_closing;
        finish(d, MTAIO_ECLOSED);
        drop_hold(d);
    }
}

/* --- Calls on executors ------------------------------------------------------------------------ */

static mtaio_deferral *job_deferral(struct mtaio_job *job) {
    return (mtaio_deferral *)(void *)((char *)job - offsetof(mtaio_deferral, job));
}

/* The handler has returned, but took the deferral: from now on close may end it. */
static void release_shared(mtaio_deferral *d) {
    struct family *f = d->family;
    os_lock(&f->lock);
    d->running = false;
    bool ends = d->listed && is_closed(d->walk) && claim(d, DEFERRAL_CLOSED); /* listed: the walk is there */
    os_unlock(&f->lock);
    if (ends) finish(d, MTAIO_ECLOSED);
}

/* r is what the handler returned; closed: it was not called, for the emitter is closed, and so the emission
 * ends. */
static void job_over(mtaio_deferral *d, int r, bool closed) {
    struct family *f = d->family;
    if (closed && claim(d, DEFERRAL_CLOSED))
        finish(d, MTAIO_ECLOSED);
    else if (d->shared && r >= 0)
        release_shared(d);
    else if (claim(d, 0))
        finish(d, r);
    drop_hold(d);
    mtaio__family_drop(f);
}

static void job_run(struct mtaio_job *job) {
    mtaio_deferral *d = job_deferral(job);
    const struct listener_more *m = listener_more(d->listener);
    struct thread *t = thread_here();
    struct serving serving = {.pin = d->walk->pin, .next = t ? t->serving : NULL};
    if (t) t->serving = &serving;
    d->skipped =
        !(d->listener->order & L_ONCE) && !load_acquire(&d->listener->call); /* pairs with its removal */
    int r = d->skipped ? 0 : m->call(d->event, m->ctx);
    if (t) t->serving = serving.next;
    job_over(d, r, d->skipped && is_closed(d->walk));
}

static void job_drop(struct mtaio_job *job) {
    mtaio_deferral *d = job_deferral(job);
    job_over(d, MTAIO_ECANCELED, is_closed(d->walk));
}

int mtaio__call_on_executor(mtaio_event *event, struct listener *l) {
    const struct listener_more *m = listener_more(l);
    if (mtaio_executor_is_current(m->executor)) return m->call(event, m->ctx);
    struct walk *w = event_walk(event);
    mtaio_deferral *d = deferral_new(event);
    if (!d) return MTAIO_ENOMEM;
    d->listener = l;
    d->by_job = d->running = true;
    d->job.run = job_run;
    d->job.drop = job_drop;
    mtaio__family_hold(d->family);
    int r = mtaio__executor_submit(m->executor, &d->job);
    if (r >= 0) return 0;
    w->rest.deferral = NULL;
    atomic_sub(&event->flow, EVENT_DEFERRED);
    mtaio__family_drop(d->family);
    deferral_free(d);
    return r;
}
