/* derive.c - filters, maps, buffers and pipes: what stands between a source and the emitters behind it. */
#include "base/memory.h"
#include "core/derivation.h"

/* --- Behind the source ------------------------------------------------------------------------- */

/* A derived emitter's part of an emission: on the stack of a waiting one, in memory for a resting one. */
struct inner {
    struct walk walk;
    struct plan plan;
    struct hooks hooks;
    const struct listener *link;
    struct pin *own_pin;   /* a pipe into another family: that one's pin */
    struct thread *thread; /* whose own_pin it is; NULL: rest's */
    struct resting rest;
    mtaio_event *shown;          /* the source's event */
    struct full_event mapped;    /* MAP */
    mtaio_event view;            /* a pipe, or a batch of what passed */
    struct event_list passed;    /* ... its events, ours */
    struct named *named;         /* ... the same, where a map may have given other names; else NULL */
    size_t named_capacity;
    const mtaio_event *gathered; /* BUFFER: what this emission has put into it */
    bool has_mapped;
    unsigned called, failed; /* of the tally, before */
    int64_t began_ns;
};

static void inner_begin(struct inner *in, mtaio_event *event, const struct listener *l, mtaio_emitter *em) {
    struct walk *outer = event_walk(event);
    in->walk.event = NULL;
    in->walk.em = em;
    in->walk.pin = outer->pin;
    in->walk.tally = outer->tally;
    in->walk.rest = (struct walk_rest){.outer = outer,
                                       .name = walk_name(outer),
                                       .emission = outer->rest.emission,
                                       .level = outer->rest.level + 1};
    mtaio__plan_init(&in->plan);
    in->link = l;
    in->own_pin = NULL;
    in->thread = NULL;
    in->shown = event;
    in->passed = (struct event_list){0};
    in->named = NULL;
    in->named_capacity = 0;
    in->has_mapped = false;
    in->gathered = NULL;
    in->began_ns = 0;
}

static void tell_after(struct inner *in) {
    const struct tally *tally = in->walk.tally;
    mtaio_report report = MTAIO_REPORT();
    report.called = tally->called - in->called;
    report.failed = tally->failed - in->failed;
    report.first_error = report.failed ? tally->first_error : 0;
    report.stopped = event_flow(in->walk.event) & EVENT_STOPPED;
    mtaio__hooks_after(&in->hooks, in->walk.event, &report, os_now_ns() - in->began_ns);
}

static bool is_map(const struct listener *link) {
    const mtaio_emitter *em = listener_link(link); /* NULL: a pipe */
    return em && em->derivation->kind == MAP;
}

/* After its walk, or without one: everything as it was before. */
static void inner_end(struct inner *in) {
    mtaio_event *event = in->walk.event;
    if (in->walk.rest.hooks) tell_after(in);
    plan_fini(&in->plan);
    if (event) event->walk = event == in->shown ? in->walk.rest.outer : NULL;
    if (event == &in->view && !is_map(in->link) && event_flow(event) & EVENT_STOPPED)
        mtaio_event_set_propagate(in->shown, false);
    if (in->has_mapped) event_map_end(&in->mapped);
    mtaio__event_list_fini(&in->passed);
    mtaio__free(in->named, sizeof *in->named * in->named_capacity);
    if (in->own_pin && in->thread) pin_pop(in->thread, in->own_pin);
    if (in->own_pin && !in->thread) {
        mtaio__rest_end(&in->rest);
        mtaio__rest_unlink(&in->rest);
    }
    store_release(&in->walk.rest.outer->pin->running, (void *)(uintptr_t)in->link);
}

static struct inner *inner_new(void) {
    struct thread *t = os_self();
    struct inner *in = t ? spare_take(t, SPARE_INNER) : NULL;
    return in ? in : mtaio__alloc(sizeof *in);
}

static void inner_drop(void *block) { mtaio__free(block, sizeof(struct inner)); }
static void inner_free(struct inner *in) { mtaio__spare_keep(SPARE_INNER, in, inner_drop); }

static void inner_done(struct walk *w) {
    struct inner *in = (struct inner *)(void *)w;
    inner_end(in);
    inner_free(in);
}

static int inner_choose(struct inner *in, const struct target *target) {
    struct walk *w = &in->walk;
    mtaio_emitter *em = w->em;
    int r = w->event->kind & EVENT_BATCH
                ? mtaio__walk_choose_batch(w, em, w->event->events, w->event->count, &in->plan)
                : mtaio__walk_choose(w, em, target, &in->plan);
    if (r < 0) return r;
    if (unlikely(load_acquire(&em->unusual) & EM_HOOKED) && mtaio__hooks_gather(&in->hooks, em, w->pin)) {
        in->began_ns = os_now_ns();
        in->called = w->tally->called; /* a predicate that failed is the source's failure */
        in->failed = w->tally->failed;
        w->rest.hooks = &in->hooks;
        mtaio__hooks_before(w->rest.hooks, w->event);
    }
    return 0;
}

/* Walks the handlers behind the link: now where the emission waits, next where it rests. */
static int inner_run(struct inner *in, const struct target *target) {
    struct walk *w = &in->walk;
    struct thread *t = thread_here();
    if (!t) return MTAIO_ENOMEM;
    if (t->depth >= MTAIO_DEPTH_MAX || w->rest.level >= MTAIO_DEPTH_MAX) return MTAIO_EDEPTH;
    int r = inner_choose(in, target);
    if (r < 0) return r;
    w->event->walk = w;
    if (w->rest.emission) {
        w->rest.emission->top = w;
        w->rest.emission->inner_done = inner_done;
        atomic_or(&w->rest.outer->event->flow, EVENT_DESCEND);
        return 0;
    }
    t->depth++;
    mtaio__walk_run(w);
    t->depth--;
    mtaio__drive_postponed(t);
    return 0;
}

/* What to look for: a link of a name leads to its node. */
static struct target target_behind(const struct inner *in) {
    const char *name = in->walk.rest.name;
    struct node *n = listener_more(in->link)->target;
    if (n && !(n->flags & NODE_PATTERN)) return (struct target){.name = name, .length = n->length, .node = n};
    return mtaio__target_of(name);
}

/* --- What passes ------------------------------------------------------------------------------- */

/* Has a predicate or a transform ended the emission? */
static bool is_canceled(const mtaio_event *event) { return event_flow(event) & EVENT_CANCELED; }

/* By the name it was emitted by. */
static bool admits(const struct derivation *d, const char *name) {
    return !d->pattern || mtaio__pattern_matches(d->pattern, name);
}

/* 1: in->walk.event is what passes; 0: nothing does. */
static int pass_one(struct inner *in, const struct derivation *d, mtaio_event *event) {
    if (!admits(d, in->walk.rest.name)) return 0;
    if (d->kind == FILTER) {
        in->walk.event = event;
        return d->filter.call(event, d->filter.ctx);
    }
    event_map_begin(&in->mapped, event);
    atomic_or(&in->mapped.event.flow, event_flow(event) & EVENT_ERROR);
    in->has_mapped = true;
    in->walk.event = &in->mapped.event;
    int r = d->map.call(event, &in->mapped.event, d->map.ctx);
    event_seal(&in->mapped.event);
    return r < 0 ? r : 1;
}

/* An owned reference to what passes of one event of a batch; *ret NULL: nothing. */
static int pass_kept(const struct derivation *d, const mtaio_event *event, const char *name,
                     mtaio_event **ret) {
    mtaio_event *kept = NULL;
    *ret = NULL;
    int r = admits(d, name);
    if (r > 0 && d->kind == FILTER) r = d->filter.call(event, d->filter.ctx);
    if (r <= 0) return r;
    if (d->kind != MAP) return mtaio_event_keep(event, ret);
    kept = mtaio__event_copy(event);
    if (!kept) return MTAIO_ENOMEM;
    r = d->map.call(event, kept, d->map.ctx);
    if (r < 0)
        mtaio_event_unref(kept);
    else
        *ret = kept;
    return r;
}

/* The delivery could not begin: they are gathered again, but for the event that is said to have failed. */
static void give_back(mtaio_emitter *em, struct event_list *events, const mtaio_event *failed) {
    mtaio_event *dropped = NULL;
    size_t kept = 0;
    for (size_t i = 0; i < events->count; i++) {
        if (!dropped && events->list[i] == failed)
            dropped = events->list[i];
        else
            events->list[kept++] = events->list[i];
    }
    events->count = kept;
    os_lock(&em->family->lock);
    mtaio__event_list_return(&em->derivation->gathered, events);
    os_unlock(&em->family->lock);
    mtaio_event_unref(dropped);
}

/* Adds an event, if any, and takes what is there, if it is enough: in one step, or two threads would make one
 * larger batch. */
static int gather(mtaio_emitter *em, mtaio_event *kept, size_t enough, struct event_list *ret) {
    struct derivation *d = em->derivation;
    os_lock(&em->family->lock);
    int r = kept ? mtaio__event_list_add(&d->gathered, kept) : 0;
    if (r == 0 && d->gathered.count >= enough) {
        *ret = d->gathered;
        d->gathered = (struct event_list){0};
    }
    os_unlock(&em->family->lock);
    if (r < 0) mtaio_event_unref(kept);
    return r;
}

/* The name that an event of the source's walk was emitted by. They are asked for in their order; *at begins
 * with 0. */
static const char *name_of(const struct walk *outer, const mtaio_event *event, size_t *at) {
    const struct named *named = outer->rest.named;
    if (!named) return event == outer->event ? walk_name(outer) : event->name;
    while (named[*at].event != event) ++*at;
    return named[(*at)++].name;
}

/* Takes over the reference, or fails. */
static int add_passed(struct inner *in, mtaio_event *kept, const char *name) {
    size_t at = in->passed.count;
    if (in->walk.rest.outer->rest.named || in->walk.em->derivation->kind == MAP) {
        if (!mtaio__reserve(&in->named, sizeof *in->named, at, &in->named_capacity)) return MTAIO_ENOMEM;
        in->named[at] = (struct named){kept, name};
    }
    return mtaio__event_list_add(&in->passed, kept);
}

/* A batch goes through event by event: one that fails is reported, the others pass. */
static int pass_batch(struct inner *in, const struct derivation *d, const mtaio_event *event) {
    size_t at = 0;
    int r;
    for (uint32_t i = 0; i < event->count; i++) {
        const mtaio_event *one = event->events ? event->events[i] : event;
        const char *name = name_of(in->walk.rest.outer, one, &at);
        mtaio_event *kept;
        r = pass_kept(d, one, name, &kept);
        if (r >= 0 && kept) {
            event_seal(kept);
            if (d->kind == BUFFER && !(event->kind & EVENT_BATCH)) in->gathered = kept;
            r = d->kind == BUFFER
                    ? gather(in->walk.em, kept, event->count == 1 ? d->n : SIZE_MAX, &in->passed)
                    : add_passed(in, kept, name);
            if (r < 0 && d->kind != BUFFER) mtaio_event_unref(kept);
        }
        if (r < 0) mtaio__walk_failed(in->walk.rest.outer, in->link, r);
    }
    if (d->kind == BUFFER && event->count > 1) gather(in->walk.em, NULL, d->n, &in->passed);
    return in->passed.count > 0;
}

static void view_batch(mtaio_event *view, const struct event_list *events) {
    *view = (mtaio_event){.name = mtaio__event_common_name(events->list, (uint32_t)events->count),
                          .events = events->list,
                          .count = (uint32_t)events->count,
                          .flow = EVENT_SPANS,
                          .kind = EVENT_BATCH};
}

/* Has anything been added or removed since the emission began? Then the link may be one of the past. */
static bool is_stale(const struct walk *w) {
    return load_acquire(&w->em->family->reclaimer.clock) != load_relaxed(&w->pin->lower);
}

/* Is there anybody left to call for the name? If not, nothing is evaluated. Not inline: its plan would stand
 * on the stack of every level of a chain. */
static __attribute__((noinline)) bool is_listened(const struct inner *in) {
    struct walk probe = in->walk;
    struct target target = target_behind(in);
    struct plan plan;
    bool found = false;
    mtaio__plan_init(&plan);
    if (mtaio__walk_choose(&probe, probe.em, &target, &plan) < 0) found = true; /* the real one will say so */
    while (!found) {
        for (uint32_t s = 0; s < probe.segments; s++) {
            for (uint32_t i = 0; i < probe.part[s].count && !found; i++) {
                const struct listener *l = load_acquire(&probe.part[s].entry[i]);
                found = l && load_acquire(&l->call);
            }
        }
        if (!walk_refill(&probe)) break;
    }
    plan_fini(&plan);
    return found;
}

static int derived_run(struct inner *in, mtaio_event *event) {
    const struct derivation *d = in->walk.em->derivation;
    int r;
    if (event->kind & EVENT_BATCH || d->kind == BUFFER) {
        r = pass_batch(in, d, event);
        if (r > 0) {
            view_batch(&in->view, &in->passed);
            in->walk.event = &in->view;
            in->walk.rest.named = in->named;
        }
    } else {
        r = is_stale(&in->walk) && !is_listened(in) ? 0 : pass_one(in, d, event);
    }
    if (r <= 0 || is_canceled(event)) return r < 0 ? r : 0;
    struct target target = target_behind(in);
    r = inner_run(in, &target);
    if (r < 0 && d->kind == BUFFER) give_back(in->walk.em, &in->passed, in->gathered);
    return r;
}

/* In the memory the emission needs: its stack, or a block that inner_done frees. */
static int in_memory(mtaio_event *event, const struct listener *l, mtaio_emitter *em,
                     int (*run)(struct inner *in, mtaio_event *event)) {
    struct walk *outer = event_walk(event);
    outer->tally->called--; /* a link is not a handler */
    if (load_acquire(&em->unusual) & EM_CLOSED) return 0;
    if (!outer->rest.emission) {
        struct inner in;
        inner_begin(&in, event, l, em);
        int r = run(&in, event);
        inner_end(&in);
        return r;
    }
    struct inner *in = inner_new();
    if (!in) return MTAIO_ENOMEM;
    inner_begin(in, event, l, em);
    int r = run(in, event);
    if (event_flow(event) & EVENT_DESCEND) return 0;
    inner_end(in);
    inner_free(in);
    return r;
}

int mtaio__derived_call(mtaio_event *event, void *ctx) {
    return in_memory(event, ctx, listener_link(ctx), derived_run);
}

/* --- Pipes ------------------------------------------------------------------------------------- */

static int pipe_run(struct inner *in, mtaio_event *event) {
    mtaio_emitter *target = in->walk.em;
    event_view(&in->view, event);
    atomic_or(&in->view.flow, event_flow(event) & (EVENT_ERROR | EVENT_SPANS));
    in->walk.event = &in->view;
    in->walk.rest.name = NULL;
    if (in->walk.rest.emission) {
        mtaio__rest_link(&in->rest);
        mtaio__rest_begin(&in->rest, &target->family->reclaimer);
        in->own_pin = &in->rest.pin;
    } else {
        struct thread *t = thread_here();
        if (!t) return MTAIO_ENOMEM;
        int r = mtaio__pin_push(t, &target->family->reclaimer, &in->own_pin);
        if (r < 0) return r;
        in->thread = t;
    }
    in->walk.pin = in->own_pin;
    struct target to = mtaio__target_of(event->name);
    return inner_run(in, &to);
}

static int pipe_call(mtaio_event *event, void *ctx) {
    const struct listener *l = ctx;
    return in_memory(event, l, listener_more(l)->ctx, pipe_run);
}

static void pipe_end(void *target) { mtaio_emitter_unref(target); }

int mtaio_emitter_pipe(mtaio_emitter *em, const char *pattern, mtaio_emitter *target, mtaio_listener **ret) {
    if (!em || !target || em == target) return MTAIO_EINVAL;
    return mtaio__listen(em, pattern ? pattern : "**",
                         MTAIO_HANDLER(.ctx = mtaio_emitter_ref(target), .destroy = pipe_end), RANK_DERIVED,
                         pipe_call, ret);
}
