/* emission.c - the walk, and its two drivers: waiting and resting. */
#include "core/emission.h"

#include "base/memory.h"
#include "core/deferral.h"

/* --- The walk ---------------------------------------------------------------------------------- */

static struct walk *brief_fill(struct brief *b, struct pin *pin) {
    struct walk *w = &b->walk;
    w->pin = pin;
    w->event = &b->event;
    w->tally = &b->tally;
    w->rest = (struct walk_rest){0};
    b->tally = (struct tally){0};
    return w;
}

static struct walk *step_fill(struct step *s, mtaio_event *event) {
    struct walk *w = &s->walk, *outer = load_relaxed(&s->outer);
    if (walk_is_marked(outer)) outer = mtaio__walk_fill(s->source, outer);
    store_release(&s->outer, outer); /* pairs with who only looks, perhaps on another thread; so below */
    w->event = event;
    w->tally = outer->tally;
    w->rest = (struct walk_rest){.outer = outer, .name = walk_name(outer), .level = outer->rest.level + 1};
    return w;
}

struct walk *mtaio__walk_fill(mtaio_event *event, struct walk *w) {
    w = walk_is_step(w) ? step_fill(walk_step(w), event) : brief_fill((struct brief *)event, walk_pin(w));
    store_release(&event->walk, w);
    return w;
}

/* Is the handler being called a monitor? */
static bool is_watching(struct walk *w) {
    const struct listener *l =
        load_acquire(&walk_pin(w)->running); /* pairs with the walk, where we are on another thread */
    return l && listener_rank(l) == RANK_MONITOR;
}

int mtaio_event_set_propagate(mtaio_event *event, bool propagate) {
    if (!event) return MTAIO_EINVAL;
    struct walk *w = load_acquire(&event->walk); /* pairs with walk_fill; so below */
    if (w && is_watching(w)) return 0;
    uint8_t flow = load_relaxed(&event->flow), wanted;
    do {
        wanted = (uint8_t)(propagate ? flow & ~EVENT_STOPPED : flow | EVENT_STOPPED | EVENT_MARKED);
    } while (!atomic_cas(&event->flow, &flow, wanted));
    return 0;
}

static bool is_canceled(const struct walk *w) { return event_flow(w->event) & EVENT_CANCELED; }

int mtaio_event_cancel(mtaio_event *event) {
    if (!event) return MTAIO_EINVAL;
    struct walk *w = load_acquire(&event->walk);
    if (!w) return MTAIO_EBUSY;
    event_mark(event, EVENT_CANCELED);
    for (; walk_is_step(w); w = load_acquire(&walk_step(w)->outer))
        event_mark(walk_step(w)->source, EVENT_CANCELED);
    if (walk_is_brief(w)) return 0; /* it stands behind nothing */
    while ((w = w->rest.outer)) event_mark(w->event, EVENT_CANCELED);
    return 0;
}

void mtaio__walk_failed(struct walk *w, const struct listener *l, int status) {
    const struct listener_more *m = listener_more(l);
    bool link = listener_rank(l) == RANK_DERIVED;
    mtaio_failure failure = {.name = w->event->name,
                             .status = status,
                             .call = link           ? NULL
                                     : m && m->call ? m->call
                                                    : load_relaxed(&l->call),
                             .ctx = link ? NULL
                                    : m  ? m->ctx
                                         : l->ctx,
                             .event = w->event};
    if (w->tally->failed++ == 0) w->tally->first_error = status;
    for (struct walk *outer = w; outer; outer = outer->rest.outer)
        if (outer->rest.hooks) mtaio__hooks_error(outer->rest.hooks, &failure);
    if (w->tally->failure) w->tally->failure(&failure, w->tally->ctx);
}

/* Where the event's flow is not plain: is the handler to be called, and what is it shown? */
static bool before_call(struct walk *w, const struct listener *l, uint32_t index) {
    mtaio_event *event = w->event;
    if (event_flow(event) & EVENT_STOPPED && listener_rank(l) != RANK_MONITOR) return false;
    if (event_flow(event) & EVENT_SPANS) {
        const struct span *span = &w->rest.spans[index];
        event->events = span->events;
        event->count = span->count;
        event->name = mtaio__event_common_name(span->events, span->count);
    }
    return true;
}

/* The handler was called, with an "error" or a part of a batch. */
static void note_called(struct walk *w, const struct listener *l) {
    if (listener_rank(l) == RANK_MONITOR)
        w->tally->watched++;
    else if (listener_rank(l) != RANK_DERIVED && w->tally->unhandled)
        mtaio__unhandled_strike(w->tally->unhandled, w->event->events, w->event->count);
}

/* The handler has finished, with r: what that means to the emission. */
static void after_handler(struct walk *w, const struct listener *l, int r) {
    uint8_t flow = event_flow(w->event);
    if (unlikely(flow & EVENT_MISSED)) {
        atomic_sub(&w->event->flow, EVENT_MISSED);
        w->tally->called--;
    } else if (unlikely(flow & (EVENT_ERROR | EVENT_SPANS))) {
        note_called(w, l);
    }
    if (is_canceled(w))
        w->tally->ended = MTAIO_ECANCELED;
    else if (r < 0)
        mtaio__walk_failed(w, l, r);
}

/* The handler returned r, and it failed or the event's flow is not plain. */
static enum walk_result after_call(struct walk *w, const struct listener *l, int r) {
    mtaio_event *event = w->event;
    uint8_t flow = event_flow(event);
    if (flow & EVENT_DESCEND) {
        atomic_sub(&event->flow, EVENT_DESCEND);
        return WALK_DESCENDS;
    }
    if (flow & EVENT_DEFERRED) {
        atomic_sub(&event->flow, EVENT_DEFERRED);
        if (!mtaio__deferral_settle(w->rest.deferral, r)) return WALK_RESTS; /* from here on w is not ours */
        r = mtaio__deferral_take(w);
    }
    after_handler(w, l, r);
    return WALK_DONE;
}

/* Calls the handlers of the part that comes next, from w->index on. */
static enum walk_result run_part(struct walk *w, const struct part *part) {
    mtaio_event *event = w->event;
    struct pin *pin = w->pin;
    for (uint32_t i = w->index; i < part->count;) {
        struct listener *l = load_acquire(&part->entry[i++]); /* pairs with node_append */
        if (!l) continue;
        store_release(&pin->running,
                      l); /* before reading call: who removes it then knows that it is in use */
        os_fence_light(); /* pairs with the heavy fence of the scan */
        mtaio_call call = load_acquire(&l->call); /* pairs with its removal */
        if (!call) continue;
        if (unlikely(event_flow(event)) && !before_call(w, l, i - 1)) continue;
        w->tally->called++;
        w->index = i; /* now: the thread may end inside */
        int r = call(event, l->ctx);
        if (likely(r >= 0) && likely(!event_flow(event))) continue;
        enum walk_result result = after_call(w, l, r);
        if (result != WALK_DONE || is_canceled(w)) return result;
        pin = w->pin; /* another one, if the handler has deferred */
    }
    return WALK_DONE;
}

enum walk_result mtaio__walk_run(struct walk *w) {
    do {
        for (; w->segment < w->segments; w->segment++, w->index = 0) {
            if (is_canceled(w)) return WALK_DONE;
            enum walk_result result = run_part(w, &w->part[w->segment]);
            if (result != WALK_DONE) return result;
        }
    } while (walk_refill(w));
    return WALK_DONE;
}

enum walk_result mtaio__walk_on(struct walk *w, const struct listener *l, int r) {
    enum walk_result result = after_call(w, l, r);
    return result == WALK_DONE ? mtaio__walk_run(w) : result;
}

/* --- Resting emissions ------------------------------------------------------------------------- */

/* The deferral w rested on is completed: what its handler answered. */
static void wake_up(struct walk *w) {
    const struct listener *l = load_relaxed(&w->pin->running);
    after_handler(w, l, mtaio__deferral_take(w));
}

mtaio_emitter *mtaio__emitter_ref_living(mtaio_emitter *em) {
    uint32_t refs = load_relaxed(&em->refs);
    while (refs > 0)
        if (atomic_cas(&em->refs, &refs, refs + 1)) return em;
    return NULL;
}

void mtaio__emission_rest(struct emission *e) {
    struct pin *from = e->walk.pin, *to = &e->rest.pin;
    if (from == to) return;
    mtaio__rest_move(&e->rest, from);
    for (struct walk *w = e->top; w; w = w->rest.outer) {
        if (w->pin == from) w->pin = to;
        if (w->rest.hooks && w->rest.hooks->pin == from) w->rest.hooks->pin = to;
    }
    if (!e->held) e->held = mtaio__emitter_ref_living(e->walk.em); /* its memory is kept by the pin */
}

/* The thread ended inside of a handler. One that had deferred has finished, as far as it is concerned. */
static void leave_emission(struct emission *e) {
    struct walk *w = e->top;
    if (!w->rest.deferral) {
        for (struct walk *outer; (outer = w->rest.outer); w = outer) {
            w->rest.hooks = NULL; /* nobody is told */
            e->inner_done(w);
        }
        e->abandoned(e);
        return;
    }
    atomic_sub(&w->event->flow, EVENT_DEFERRED);
    if (mtaio__deferral_settle(w->rest.deferral, 0)) mtaio__emission_drive(e);
}

static void leave(struct thread *t) {
    for (struct emission *e = t->running, *outer; e; e = outer) {
        outer = e->outer;
        leave_emission(e);
    }
}

enum walk_result mtaio__emission_run(struct emission *e, struct thread *t) {
    struct serving serving = {.pin = &e->rest.pin, .next = t->serving};
    struct emission *outer = t->running;
    enum walk_result result;
    e->outer = outer;
    t->serving = &serving;
    t->running = e;
    t->leave = leave;
    do {
        struct walk *w = e->top;
        if (w->rest.deferral) wake_up(w);
        result = mtaio__walk_run(w);
        if (result == WALK_DONE && w->rest.outer) {
            e->top = w->rest.outer;
            e->inner_done(w);
            result = WALK_DESCENDS;
        }
    } while (result == WALK_DESCENDS);
    t->serving = serving.next;
    t->running = outer;
    return result;
}

static void drive(struct emission *e, struct thread *t) {
    t->depth++;
    if (mtaio__emission_run(e, t) == WALK_DONE)
        e->finished(e); /* still as deep: it may start the next, and so on */
    t->depth--;
}

/* Without memory for a record: waiting removals cannot tell that it is us. */
static __attribute__((noinline)) void drive_unknown(struct emission *e) {
    struct thread unknown = {0};
    drive(e, &unknown);
}

/* One emission completing another's deferral, and so on, would nest without end: too deep, it waits until the
 * thread has come back up. */
void mtaio__emission_drive(struct emission *e) {
    struct thread *t = thread_here();
    if (!t) {
        drive_unknown(e);
    } else if (t->depth >= MTAIO_DEPTH_MAX) {
        e->next = t->postponed;
        t->postponed = e;
    } else {
        drive(e, t);
        mtaio__drive_postponed(t);
    }
}

void mtaio__drive_postponed(struct thread *t) {
    while (unlikely(t->postponed != NULL) && t->depth < MTAIO_DEPTH_MAX) {
        struct emission *e = t->postponed;
        t->postponed = e->next;
        drive(e, t);
    }
}
