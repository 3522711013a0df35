/* step.c - one plain event through a filter or a map, on the stack, where nothing unusual is on the way: the
 * same as derive.c does for everything, without what that needs for the rest. What it writes is what it
 * costs: so the walk behind the link is filled when somebody needs it (emission.h). Most often one listener
 * is behind, which counts as called where the link did. */
#include "core/derivation.h"

static inline const struct listener_more *link_more(const struct listener *l) {
    return (const struct listener_more *)(l + 1);
}
static inline mtaio_emitter *link_emitter(const struct listener *l) { return link_more(l)->ctx; }

/* Has anything been added or removed since the emission began? */
static inline bool step_is_late(const struct step *s, const struct listener *l) {
    return clock_moved(&link_emitter(l)->family->reclaimer, load_relaxed(&s->walk.pin->lower));
}

/* Is it a plain event, of an emission that waits, and nothing has changed since that began? Where a step
 * calls, that has just been seen. */
static inline __attribute__((always_inline)) bool step_is_plain(struct step *s, const mtaio_event *event,
                                                                const struct listener *l) {
    struct walk *w = load_relaxed(&event->walk);
    s->outer = w;
    s->walk.pin = walk_pin(w);
    if (likely(walk_is_step(w))) return true;
    if (!walk_is_brief(w) && w->rest.emission) return false;
    return likely(load_relaxed(&event->flow) == 0) && !step_is_late(s, l);
}

/* One walk deeper. False: the long way. A thread that waits for its emission has a record. */
static inline __attribute__((always_inline)) bool step_begin(struct step *s, mtaio_event *event,
                                                             const struct listener *l, struct thread *t) {
    s->source = event;
    if (!step_is_plain(s, event, l) || unlikely(load_acquire(&link_emitter(l)->unusual))) return false;
    if (unlikely(t->depth >= MTAIO_DEPTH_MAX)) return false;
    t->depth++;
    return true;
}

/* Back again, with what the link returns. */
static inline int step_end(struct thread *t, int r) {
    t->depth--;
    return r;
}

/* No handler is called where the link was counted as one. */
static __attribute__((noinline)) void uncount(const mtaio_event *event) {
    event_walk(event)->tally->called--;
}

/* Something has been added or removed, perhaps the link itself: what is younger is not called. */
static __attribute__((noinline)) int walk_with_care(struct walk *w, struct node *n) {
    struct target target = {.name = node_name(n), .length = n->length, .node = n};
    struct plan plan;
    mtaio__plan_init(&plan);
    int r = mtaio__walk_choose(w, w->em, &target, &plan);
    if (r >= 0) mtaio__walk_run(w);
    plan_fini(&plan);
    return r < 0 ? r : 0;
}

/* The source's event and its pin are as they were. */
static inline void step_back(const struct step *s, const struct listener *l) {
    store_release(&s->source->walk, load_relaxed(&s->outer));
    store_release(&s->walk.pin->running, (void *)(uintptr_t)l);
}

/* Several listeners, or none, or something has become unusual meanwhile. */
static __attribute__((noinline)) int step_walk(const struct step *s, mtaio_event *shown,
                                               const struct listener *l) {
    struct walk *w = event_walk(shown);
    struct node *n = link_more(l)->target;
    int r = 0;
    w->tally->called--;
    if (likely(!(event_flow(s->source) & EVENT_CANCELED))) {
        if (walk_gather_steady(w, n, w->pin, &w->em->family->reclaimer) && likely(w->segments > 0))
            mtaio__walk_run(w);
        else
            r = walk_with_care(w, n);
    }
    step_back(s, l);
    return r;
}

/* The listener failed, or the flow of what it was shown is not plain. */
static __attribute__((noinline)) void step_go_on(mtaio_event *shown, const struct listener *l, int r) {
    struct walk *w = event_walk(shown);
    w->segments = w->segment = w->index = 0;
    mtaio__walk_on(w, l, r);
}

/* Shows the event to who is behind the link. The node was there when the emission began; what is found in it
 * before the clock is seen not to have moved is as old. */
static inline __attribute__((always_inline)) int step_on(struct step *s, mtaio_event *shown,
                                                         const mtaio_event *event, const struct listener *l) {
    struct listener *only = only_listener(link_more(l)->target);
    s->walk.em = link_emitter(l);
    store_release(&shown->walk, step_mark(s)); /* pairs with who only looks */
    if (unlikely(!only) || step_is_late(s, l) || unlikely(load_relaxed(&event->flow)) ||
        (shown != event && unlikely(load_relaxed(&shown->flow))))
        return step_walk(s, shown, l);
    store_release(&s->walk.pin->running, only); /* as in the walk */
    os_fence_light_as(false);
    mtaio_call call = load_acquire(&only->call);
    if (likely(call != NULL)) {
        int r = call(shown, only->ctx);
        if (unlikely(!event_is_plain(shown, r))) step_go_on(shown, load_relaxed(&s->walk.pin->running), r);
    } else {
        uncount(shown);
    }
    step_back(s, l);
    return 0;
}

static int filter_call(mtaio_event *event, void *ctx) {
    struct thread *t = os_self();
    struct step s;
    if (!step_begin(&s, event, ctx, t)) return mtaio__derived_call(event, ctx);
    const mtaio_filter *f = &link_emitter(ctx)->derivation->filter;
    int r = f->call(event, f->ctx);
    if (r > 0) return step_end(t, step_on(&s, event, event, ctx));
    uncount(event);
    return step_end(t, r);
}

static int map_call(mtaio_event *event, void *ctx) {
    struct thread *t = os_self();
    struct step s;
    if (!step_begin(&s, event, ctx, t)) return mtaio__derived_call(event, ctx);
    const mtaio_map *m = &link_emitter(ctx)->derivation->map;
    struct full_event mapped;
    event_map_begin(&mapped, event);
    int r = m->call(event, &mapped.event, m->ctx);
    store_relaxed(&mapped.event.sealed, 1);
    if (likely(r >= 0))
        r = step_on(&s, &mapped.event, event, ctx);
    else
        uncount(event);
    event_map_end(&mapped);
    return step_end(t, r);
}

mtaio_call mtaio__link_call(const mtaio_emitter *em, const struct node *n) {
    const struct derivation *d = em->derivation;
    if (d->pattern || n->flags & NODE_PATTERN) return mtaio__derived_call;
    return d->kind == FILTER ? filter_call : d->kind == MAP ? map_call : mtaio__derived_call;
}
