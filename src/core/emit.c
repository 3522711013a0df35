/* emit.c - the ways to emit. */
#include "base/memory.h"
#include "core/emitter.h"

#include <string.h>

static bool is_error_name(const char *name) { return strcmp(name, "error") == 0; }

/* --- The long way: hooks, suppressions, patterns, batches, metadata, reports -------------------- */

static void report_fill(mtaio_report *report, const struct tally *tally, const mtaio_event *event) {
    if (!report) return;
    report->called = tally->called;
    report->failed = tally->failed;
    report->first_error = tally->first_error;
    report->stopped = event_flow(event) & EVENT_STOPPED;
    report->held = false;
}

static int result_of(const struct tally *tally, const mtaio_event *event) {
    if (event_flow(event) & EVENT_ERROR && tally->called == tally->watched) return MTAIO_EUNHANDLED;
    int r = tally_result(tally);
    return event_flow(event) & EVENT_UNHANDLED && r >= 0 ? MTAIO_EUNHANDLED : r;
}

static bool has_unhandled_error(mtaio_emitter *em, const mtaio_event *batch) {
    bool found = false;
    for (uint32_t i = 0; i < batch->count && !found; i++) found = is_error_name(batch->events[i]->name);
    return found && !mtaio__is_handled(em, "error");
}

/* Whether the emission may begin: 1: it is held back. */
static int check_emission(mtaio_emitter *em, const struct target *target, mtaio_event *view, bool unheld) {
    unsigned unusual = load_acquire(&em->unusual); /* pairs with close, hook and suppress */
    if (unusual & EM_CLOSED) return MTAIO_ECLOSED;
    if (view->kind & EVENT_BATCH) {
        atomic_or(&view->flow, has_unhandled_error(em, view) ? EVENT_SPANS | EVENT_UNHANDLED : EVENT_SPANS);
        return 0;
    }
    int r = target->node ? 0 : mtaio__name_check(target->name);
    if (r < 0) return r;
    if (is_error_name(view->name)) atomic_or(&view->flow, EVENT_ERROR);
    return unusual & EM_SUPPRESSED && !unheld ? mtaio__suppress_take(em, view) : 0;
}

/* Under w's pin. */
static int choose(struct walk *w, const struct target *target, struct plan *plan, struct hooks *hooks) {
    mtaio_event *view = w->event;
    int r = view->kind & EVENT_BATCH ? mtaio__walk_choose_batch(w, w->em, view->events, view->count, plan)
                                     : mtaio__walk_choose(w, w->em, target, plan);
    if (r < 0) return r;
    if (load_acquire(&w->em->unusual) & EM_HOOKED && mtaio__hooks_gather(hooks, w->em, w->pin)) {
        w->rest.hooks = hooks;
        mtaio__hooks_before(hooks, view);
    }
    return 0;
}

/* All handlers have run: tells the hooks, with a batch shown whole again. */
static void conclude(const struct walk *w, const mtaio_event *whole, int64_t began_ns, mtaio_report *report) {
    mtaio_event *view = w->event;
    view->name = whole->name;
    view->events = whole->events;
    view->count = whole->count;
    report_fill(report, w->tally, view);
    if (w->rest.hooks) mtaio__hooks_after(w->rest.hooks, view, report, os_now_ns() - began_ns);
}

static int emit_pinned(const struct emit *emit, struct pin *pin) {
    struct tally tally = {.failure = emit->failure, .ctx = emit->ctx};
    struct walk w = {.event = emit->view, .em = emit->em, .pin = pin, .tally = &tally};
    mtaio_report own = MTAIO_REPORT(), *report = emit->report ? emit->report : &own;
    mtaio_event whole = *emit->view;
    struct hooks hooks;
    struct plan plan;
    mtaio__plan_init(&plan);
    int64_t began_ns = load_relaxed(&emit->em->unusual) & EM_HOOKED ? os_now_ns() : 0;
    int r = choose(&w, &emit->target, &plan, &hooks);
    if (r >= 0) {
        emit->view->walk = &w;
        mtaio__walk_run(&w);
        emit->view->walk = NULL;
        conclude(&w, &whole, began_ns, report);
        r = result_of(&tally, emit->view);
    }
    mtaio__plan_fini(&plan);
    return r;
}

int mtaio__emit(const struct emit *emit) {
    int r = check_emission(emit->em, &emit->target, emit->view, emit->unheld);
    if (r > 0 && emit->report) {
        *emit->report = MTAIO_REPORT();
        emit->report->held = true;
    }
    if (r != 0) return r > 0 ? 0 : r;
    struct thread *t = thread_here();
    if (!t) return MTAIO_ENOMEM;
    struct pin *pin;
    r = mtaio__pin_push(t, &emit->em->family->reclaimer, &pin);
    if (r < 0) return r;
    r = emit_pinned(emit, pin);
    pin_pop(t, pin);
    mtaio__drive_postponed(t);
    return r;
}

static __attribute__((noinline)) int emit_long(mtaio_emitter *em, const struct target *target, void *data) {
    mtaio_event view = {.name = target->name, .data = data, .count = 1};
    struct emit emit = {.em = em, .target = *target, .view = &view};
    return mtaio__emit(&emit);
}

/* --- The short way ----------------------------------------------------------------------------- */

/* The calling thread's record where the short way is open to it: not nested deep, nothing unusual, light
 * fences. */
static inline struct thread *short_thread(const mtaio_emitter *em) {
    struct thread *t = os_self();
    if (unlikely(!t) || unlikely(t->depth >= PINS_OWN) || unlikely(load_acquire(&em->unusual))) return NULL;
    return t;
}

/* The walk's loop without what is not plain: at the first call that is not, mtaio__walk_on takes over and
 * finishes: true. */
static inline __attribute__((always_inline)) bool run_plain(struct walk *w, mtaio_event *event,
                                                            struct pin *pin, struct part part,
                                                            uint32_t segment, unsigned *called) {
    ATOMIC(struct listener *) *entry = part.entry;
    for (ATOMIC(struct listener *) *end = entry + part.count; entry < end;) {
        struct listener *l = load_acquire(entry++); /* as in the walk */
        if (unlikely(!l)) continue;
        store_release(&pin->running, l);
        os_fence_light_as(false);
        mtaio_call call = load_acquire(&l->call);
        if (unlikely(!call)) continue;
        int r = call(event, l->ctx);
        ++*called;
        if (likely(r >= 0) && likely(!event_flow(event))) continue;
        w->part[segment] = part;
        w->segment = segment;
        w->index = (uint32_t)(entry - part.entry);
        mtaio__walk_on(w, l, r);
        return true;
    }
    return false;
}

/* A node, and nothing unusual: no lock, no allocation, no shared line written. Under the pin, set at `now`,
 * which is cleared; LONG_WAY: the clock has moved, and nothing was called. */
#define LONG_WAY INT32_MIN
static inline __attribute__((always_inline)) int
emit_short(mtaio_emitter *em, struct thread *t, struct pin *pin, uint64_t now, struct node *n, void *data) {
    struct walk w;
    struct part only = {0};
    struct lane *lane = load_acquire(&n->lanes);
    w.segments = lane != NULL;
    if (likely(lane != NULL)) {
        only = (struct part){.entry = lane_entries(lane), .count = load_acquire(&lane->count)};
        if (load_acquire(&lane->next)) walk_gather(&w, n); /* else the one lane stays in registers */
    }
    if (unlikely(load_acquire(&em->family->reclaimer.clock) !=
                 now)) { /* younger handlers may be among them */
        pin_clear_as(pin, false);
        return LONG_WAY;
    }
    pin_narrow_to(pin, now);
    struct tally tally = {0};
    mtaio_event event = {.name = node_name(n), .data = data, .walk = &w, .count = 1};
    w.event = &event;
    w.em = em;
    w.pin = pin;
    w.tally = &tally;
    w.rest = (struct walk_rest){0};
    unsigned called = 0, depth = t->depth;
    t->depth = depth + 1;
    if (likely(w.segments == 1))
        run_plain(&w, &event, pin, only, 0, &called);
    else
        for (uint32_t s = 0; s < w.segments && !run_plain(&w, &event, pin, w.part[s], s, &called);) s++;
    t->depth = depth;
    pin_clear_as(pin, false);
    tally.called += called;
    return tally_result(&tally);
}

int mtaio_emit(mtaio_emitter *em, const char *name, void *data) {
    if (unlikely(!em || !name)) return MTAIO_EINVAL;
    struct target target = mtaio__target_of(name);
    struct thread *t = short_thread(em);
    if (unlikely(!t)) return emit_long(em, &target, data);
    struct pin *pin = &t->pins[t->depth];
    uint64_t now = pin_set_as(pin, &em->family->reclaimer, false);
    const struct table *table = load_acquire(&em->table); /* pairs with table_reserve */
    struct node *n = table ? mtaio__table_find(table, name, target.length, target.hash) : NULL;
    if (likely(n != NULL) && likely(!(n->flags & NODE_ERROR))) {
        int r = emit_short(em, t, pin, now, n, data);
        return likely(r != LONG_WAY) ? r : emit_long(em, &target, data);
    }
    bool nobody = !n && !load_acquire(&em->patterns.root);
    pin_clear_as(pin, false);
    if (!nobody || is_error_name(name)) return emit_long(em, &target, data);
    int r = mtaio__name_check(name);
    return r < 0 ? r : 0;
}

static __attribute__((noinline)) int emit_node_long(mtaio_emitter *em, struct node *n, void *data) {
    struct target target = {.name = node_name(n), .length = n->length, .node = n};
    return emit_long(em, &target, data);
}

int mtaio_emit_name(mtaio_name *name, void *data) {
    if (unlikely(!name)) return MTAIO_EINVAL;
    struct node *n = name->node;
    mtaio_emitter *em = name->em;
    struct thread *t = short_thread(em);
    if (likely(t != NULL) && likely(!(n->flags & NODE_ERROR))) {
        if (!load_acquire(&n->lanes)) return 0;
        struct pin *pin = &t->pins[t->depth];
        uint64_t now = pin_set_as(pin, &em->family->reclaimer, false);
        int r = emit_short(em, t, pin, now, n, data);
        if (likely(r != LONG_WAY)) return r;
    }
    return emit_node_long(em, n, data);
}

/* --- Everything that can be said --------------------------------------------------------------- */

int mtaio_emit_with(mtaio_emitter *em, const mtaio_emission *a) {
    if (!em || !MTAIO__CHECK_SIZE(a, mtaio_emission)) return MTAIO_EINVAL;
    if (!!a->name + !!a->resolved + !!a->event != 1) return MTAIO_EINVAL;
    if (a->resolved && a->resolved->em != em) return MTAIO_EINVAL;
    if (a->event && (!(a->event->kind & EVENT_OWNED) || a->data || a->change || a->metadata))
        return MTAIO_EINVAL;
    if (a->change < MTAIO_NO_CHANGE || a->change > MTAIO_RESET) return MTAIO_EINVAL;
    if (a->report && a->report->size != sizeof(mtaio_report)) return MTAIO_EINVAL;
    mtaio_event view = {.data = a->data, .metadata = a->metadata, .change = (uint8_t)a->change, .count = 1};
    struct emit emit = {.em = em, .view = &view, .report = a->report, .failure = a->failure, .ctx = a->ctx};
    bool sealed = a->event && event_seal(a->event);
    if (a->event) event_view(&view, a->event);
    if (a->resolved) {
        struct node *n = a->resolved->node;
        emit.target = (struct target){.name = node_name(n), .length = n->length, .node = n};
    } else {
        emit.target = mtaio__target_of(a->event ? view.name : a->name);
    }
    view.name = emit.target.name;
    mtaio_metadata_ref(a->metadata); /* what is kept of it must not change */
    int r = mtaio__emit(&emit);
    mtaio_metadata_unref(a->metadata);
    if (sealed && r < 0 && r != MTAIO_EHANDLER && r != MTAIO_EUNHANDLED) event_unseal(a->event);
    return r;
}

/* --- Resting ----------------------------------------------------------------------------------- */

static void emission_free(struct emission *e) {
    mtaio__plan_fini(&e->plan);
    mtaio__rest_pop(&e->rest);
    mtaio_event_unref(e->event);
    mtaio_emitter_unref(e->walk.em);
    mtaio__free(e, sizeof *e);
}

static void emission_finished(struct emission *e) {
    mtaio_report report = MTAIO_REPORT();
    conclude(&e->walk, e->event, e->began_ns, &report);
    int r = result_of(&e->tally, &e->view);
    mtaio_async async = e->async;
    mtaio_emitter *em = mtaio_emitter_ref(e->walk.em);
    emission_free(e);
    if (async.done) async.done(r, &report, async.ctx);
    mtaio_emitter_unref(em);
}

static int emission_new(mtaio_emitter *em, mtaio_event *event, const mtaio_async *async,
                        struct emission **ret) {
    struct emission *e = mtaio__alloc_zeroed(sizeof *e);
    if (!e) return MTAIO_ENOMEM;
    e->event = mtaio_event_ref(event);
    e->async = *async;
    e->tally = (struct tally){.failure = async->failure, .ctx = async->ctx};
    e->walk = (struct walk){.event = &e->view,
                            .em = mtaio_emitter_ref(em),
                            .pin = &e->rest.pin,
                            .tally = &e->tally,
                            .rest.emission = e};
    e->top = &e->walk;
    e->finished = emission_finished;
    mtaio__plan_init(&e->plan);
    event_view(&e->view, event);
    mtaio__rest_push(&e->rest, &em->family->reclaimer);
    *ret = e;
    return 0;
}

/* Begins it: 0, 1: it was held back, or it could not begin. */
static int emission_begin(struct emission *e, mtaio_emitter *em) {
    struct target target = {0};
    if (!(e->event->kind & EVENT_BATCH)) target = mtaio__target_of(e->event->name);
    int r = check_emission(em, &target, &e->view, false);
    if (r != 0) return r;
    e->began_ns = load_relaxed(&em->unusual) & EM_HOOKED ? os_now_ns() : 0;
    e->view.walk = &e->walk;
    return choose(&e->walk, &target, &e->plan, &e->hooks);
}

/* Without checks of its arguments; the event is owned. */
int mtaio__emit_owned(mtaio_emitter *em, mtaio_event *event, const mtaio_async *async) {
    struct emission *e;
    struct thread *t = thread_here();
    if (!t) return MTAIO_ENOMEM;
    if (t->depth >= MTAIO_DEPTH_MAX) return MTAIO_EDEPTH;
    bool sealed = event_seal(event);
    int r = emission_new(em, event, async, &e);
    if (r == 0) {
        r = emission_begin(e, em);
        if (r == 0) {
            mtaio__emission_drive(e);
            return 0;
        }
        emission_free(e);
    }
    if (r < 0) {
        if (sealed) event_unseal(event);
        return r;
    }
    mtaio_report report = MTAIO_REPORT();
    report.held = true;
    if (async->done) async->done(0, &report, async->ctx);
    return 0;
}

int mtaio_emit_async(mtaio_emitter *em, mtaio_event *event, const mtaio_async *async) {
    if (!em || !event || !(event->kind & EVENT_OWNED) || !MTAIO__CHECK_SIZE(async, mtaio_async) ||
        !async->done)
        return MTAIO_EINVAL;
    return mtaio__emit_owned(em, event, async);
}

/* --- Nobody waits ------------------------------------------------------------------------------ */

static void unawaited(mtaio_emitter *em, const char *name, int status) {
    mtaio__trouble(em, &(mtaio_trouble){.kind = MTAIO_TROUBLE_UNAWAITED,
                                        .emitter = mtaio_emitter_name(em),
                                        .name = name,
                                        .status = status});
}

/* A handler failed: that is an 'error' event, unless it is one already. */
static void nowait_failure(const mtaio_failure *failure, void *ctx) {
    mtaio_emitter *em = ctx;
    int r = MTAIO_EUNHANDLED;
    if (!is_error_name(failure->name)) {
        mtaio_failure copy = *failure;
        r = mtaio_emit(em, "error", &copy);
    }
    if (r < 0) unawaited(em, failure->name, failure->status);
}

static void nowait_done(int result, const mtaio_report *report, void *ctx) {
    (void)report;
    if (result == MTAIO_EUNHANDLED) unawaited(ctx, "error", result); /* failures have been told already */
}

int mtaio_emit_nowait(mtaio_emitter *em, mtaio_event *event) {
    if (!em || !event || !(event->kind & EVENT_OWNED)) return MTAIO_EINVAL;
    return mtaio__emit_owned(em, event,
                             MTAIO_ASYNC(.done = nowait_done, .failure = nowait_failure, .ctx = em));
}
