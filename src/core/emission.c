/* emission.c - the walk, and its two drivers: waiting and resting. */
#include "core/emission.h"

#include "base/memory.h"
#include "core/deferral.h"

/* --- The walk ---------------------------------------------------------------------------------- */

/* Is the handler being called a monitor? */
static bool is_watching(const struct walk *w) {
    const struct listener *l =
        load_acquire(&w->pin->running); /* pairs with the walk, where we are on another thread */
    return l && listener_rank(l) == RANK_MONITOR;
}

int mtaio_event_set_propagate(mtaio_event *event, bool propagate) {
    if (!event) return MTAIO_EINVAL;
    if (event->walk && is_watching(event->walk)) return 0;
    uint8_t flow = event_flow(event), wanted;
    do {
        wanted = (uint8_t)(propagate ? flow & ~EVENT_STOPPED : flow | EVENT_STOPPED);
    } while (!atomic_cas(&event->flow, &flow, wanted));
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

/* The handler returned r, and it failed or the event's flow is not plain. */
static enum walk_result after_call(struct walk *w, const struct listener *l, int r) {
    mtaio_event *event = w->event;
    uint8_t flow = event_flow(event);
    if (flow & EVENT_ERROR && listener_rank(l) == RANK_MONITOR) w->tally->watched++;
    if (flow & EVENT_DESCEND) {
        atomic_sub(&event->flow, EVENT_DESCEND);
        return WALK_DESCENDS;
    }
    if (flow & EVENT_DEFERRED) {
        atomic_sub(&event->flow, EVENT_DEFERRED);
        if (!mtaio__deferral_settle(w->rest.deferral, r)) return WALK_RESTS; /* from here on w is not ours */
        r = mtaio__deferral_take(w);
    }
    if (r < 0) mtaio__walk_failed(w, l, r);
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
        int r = call(event, l->ctx);
        if (likely(r >= 0) && likely(!event_flow(event))) continue;
        w->index = i;
        enum walk_result result = after_call(w, l, r);
        if (result != WALK_DONE) return result;
    }
    return WALK_DONE;
}

enum walk_result mtaio__walk_run(struct walk *w) {
    do {
        for (; w->segment < w->segments; w->segment++, w->index = 0) {
            enum walk_result result = run_part(w, &w->part[w->segment]);
            if (result != WALK_DONE) return result;
        }
    } while (mtaio__walk_refill(w));
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
    int r = mtaio__deferral_take(w);
    if (r < 0) mtaio__walk_failed(w, l, r);
}

static void drive(struct emission *e, struct thread *t) {
    struct serving serving = {.pin = &e->rest.pin, .next = t ? t->serving : NULL};
    if (t) {
        t->serving = &serving;
        t->depth++;
    }
    enum walk_result result;
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
    if (t) t->serving = serving.next;
    if (result == WALK_DONE) e->finished(e); /* still as deep: it may start the next, and so on */
    if (t) t->depth--;
}

/* One emission completing another's deferral, and so on, would nest without end: too deep, it waits until the
 * thread has come back up. */
void mtaio__emission_drive(struct emission *e) {
    struct thread *t =
        thread_here(); /* NULL only without memory: then waiting removals cannot tell it is us */
    if (t && t->depth >= MTAIO_DEPTH_MAX) {
        e->next_postponed = t->postponed;
        t->postponed = e;
        return;
    }
    drive(e, t);
    if (t) mtaio__drive_postponed(t);
}

void mtaio__drive_postponed(struct thread *t) {
    while (unlikely(t->postponed != NULL) && t->depth < MTAIO_DEPTH_MAX) {
        struct emission *e = t->postponed;
        t->postponed = e->next_postponed;
        drive(e, t);
    }
}
