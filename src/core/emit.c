/* emit.c - the ways to emit. */
#include "base/memory.h"
#include "core/emitter.h"

#include <string.h>

/* --- The long way: hooks, suppressions, patterns, batches, metadata, reports -------------------- */

static void report_fill(mtaio_report *report, const struct tally *tally, const mtaio_event *event) {
    if (!report) return;
    report->called = tally->called;
    report->failed = tally->failed;
    report->first_error = tally->first_error;
    report->stopped = event_flow(event) & EVENT_STOPPED;
    report->held = false;
}

static void report_held(mtaio_report *report) {
    if (!report) return;
    *report = MTAIO_REPORT();
    report->held = true;
}

static int result_of(const struct tally *tally, const mtaio_event *event) {
    if (tally->ended) return tally->ended;
    if (event_flow(event) & EVENT_ERROR && tally->called == tally->watched) return MTAIO_EUNHANDLED;
    int r = tally_result(tally);
    return r >= 0 && mtaio__unhandled_any(tally->unhandled) ? MTAIO_EUNHANDLED : r;
}

/* Whether the emission may begin: 1: it is held back. */
static int check_emission(mtaio_emitter *em, const struct target *target, mtaio_event *view, bool unheld) {
    unsigned unusual = load_acquire(&em->unusual); /* pairs with close, hook and suppress */
    if (unusual & EM_CLOSED) return MTAIO_ECLOSED;
    if (view->kind & EVENT_BATCH) {
        atomic_or(&view->flow, EVENT_SPANS);
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
    uint64_t began = load_relaxed(&w->pin->lower);
    if (target->node && !(load_acquire(&w->em->unusual) & EM_HOOKED)) {
        walk_gather(
            w, target->node); /* as mtaio__walk_choose does, where nothing is younger than the emission */
        if (likely(load_acquire(&w->em->family->reclaimer.clock) == began)) {
            pin_narrow_to(w->pin, began);
            return 0;
        }
    }
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
    plan_fini(&plan);
    return r;
}

int mtaio__emit(const struct emit *emit) {
    int r = check_emission(emit->em, &emit->target, emit->view, emit->unheld);
    if (r > 0) report_held(emit->report);
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

/* --- Everything that can be said --------------------------------------------------------------- */

static int check_request(const mtaio_emitter *em, const mtaio_emission *a) {
    if (!em || !MTAIO__CHECK_SIZE(a, mtaio_emission)) return MTAIO_EINVAL;
    if (!!a->name + !!a->resolved + !!a->event != 1) return MTAIO_EINVAL;
    if (a->resolved && a->resolved->em != em) return MTAIO_EINVAL;
    if (a->event && (!(a->event->kind & EVENT_OWNED) || a->data || a->change || a->metadata))
        return MTAIO_EINVAL;
    if (a->change < MTAIO_NO_CHANGE || a->change > MTAIO_RESET) return MTAIO_EINVAL;
    return a->report && a->report->size != sizeof(mtaio_report) ? MTAIO_EINVAL : 0;
}

/* What is to be emitted, and its name. */
static void view_request(mtaio_event *view, struct target *target, const mtaio_emission *a) {
    if (a->event)
        event_view(view, a->event);
    else
        *view =
            (mtaio_event){.data = a->data, .metadata = a->metadata, .change = (uint8_t)a->change, .count = 1};
    if (a->resolved) {
        struct node *n = a->resolved->node;
        *target = (struct target){.name = node_name(n), .length = n->length, .node = n};
    } else {
        *target = mtaio__target_of(a->event ? view->name : a->name);
    }
    view->name = target->name;
}

/* Is it the result of an emission that could not begin? */
static bool is_refusal(int r) {
    return r < 0 && r != MTAIO_EHANDLER && r != MTAIO_EUNHANDLED && r != MTAIO_ECANCELED;
}

int mtaio_emit_with(mtaio_emitter *em, const mtaio_emission *a) {
    int r = check_request(em, a);
    if (r < 0) return r;
    mtaio_event view;
    struct emit emit = {.em = em, .view = &view, .report = a->report, .failure = a->failure, .ctx = a->ctx};
    bool sealed = a->event && event_seal(a->event);
    view_request(&view, &emit.target, a);
    mtaio_metadata_ref(a->metadata); /* what is kept of it must not change */
    r = mtaio__emit(&emit);
    mtaio_metadata_unref(a->metadata);
    if (sealed && is_refusal(r)) event_unseal(a->event);
    return r;
}

/* --- Emissions that may rest ------------------------------------------------------------------- */

static void emission_drop(void *block) {
    struct emission *e = block;
    mtaio__rest_unlink(&e->rest);
    mtaio__free(e, sizeof *e);
}

static void emission_free(struct emission *e) {
    mtaio_event *event = e->event;
    mtaio_metadata *metadata = event ? NULL : e->view.metadata;
    mtaio_emitter *held = e->held;
    plan_fini(&e->plan);
    if (e->walk.pin == &e->rest.pin)
        mtaio__rest_end(&e->rest);
    else if (e->walk.pin)
        pin_clear(e->walk.pin); /* popped later by who pushed it: what done starts is nested */
    mtaio__spare_keep(SPARE_EMISSION, e, emission_drop);
    mtaio_event_unref(event);
    mtaio_metadata_unref(metadata);
    mtaio_emitter_unref(held);
}

/* It is over: the result. */
static int emission_end(struct emission *e, mtaio_report *report) {
    mtaio_report own = MTAIO_REPORT();
    conclude(&e->walk, e->event ? e->event : &e->view, e->began_ns, report ? report : &own);
    int r = result_of(&e->tally, &e->view);
    emission_free(e);
    return r;
}

static void emission_finished(struct emission *e) {
    mtaio_report own = MTAIO_REPORT(), *report = e->report ? e->report : &own;
    void (*done)(int result, const mtaio_report *r, void *ctx) = e->done;
    void *ctx = e->tally.ctx;
    mtaio_emitter *held = e->held;
    e->held = NULL;
    int result = emission_end(e, report);
    done(result, report, ctx);
    mtaio_emitter_unref(held);
}

/* Without a name, and with only that set which costs little; spares have an empty plan. NULL: out of memory.
 */
static struct emission *emission_new(struct thread *t, mtaio_emitter *em) {
    struct emission *e = spare_take(t, SPARE_EMISSION);
    if (!e) {
        if (!(e = mtaio__alloc(sizeof *e))) return NULL;
        mtaio__plan_init(&e->plan);
        mtaio__rest_link(&e->rest);
    }
    e->walk.event = &e->view;
    e->walk.em = em;
    e->walk.pin = NULL;
    e->walk.tally = &e->tally;
    e->walk.rest = (struct walk_rest){.emission = e};
    e->top = &e->walk;
    e->tally = (struct tally){0};
    e->event = NULL;
    e->held = NULL;
    e->report = NULL;
    e->finished = emission_finished;
    e->abandoned = emission_free;
    return e;
}

/* Begins it, under a pin of this thread: 0, 1: it was held back, or it could not begin. */
static int emission_begin(struct emission *e, struct thread *t, const struct target *target) {
    mtaio_emitter *em = e->walk.em;
    struct pin *pin;
    int r = check_emission(em, target, &e->view, false);
    if (r == 0) r = mtaio__pin_push(t, &em->family->reclaimer, &pin);
    if (r != 0) return r;
    e->walk.pin = pin;
    e->began_ns = load_relaxed(&em->unusual) & EM_HOOKED ? os_now_ns() : 0;
    e->view.walk = &e->walk;
    r = choose(&e->walk, target, &e->plan, &e->hooks);
    if (r < 0) {
        pin_pop(t, pin);
        e->walk.pin = NULL;
    }
    return r;
}

int mtaio_emit_start(mtaio_emitter *em, const mtaio_emission *a,
                     void (*done)(int result, const mtaio_report *report, void *ctx)) {
    int r = done ? check_request(em, a) : MTAIO_EINVAL;
    if (r < 0) return r;
    struct thread *t = thread_here();
    struct emission *e = t ? emission_new(t, em) : NULL;
    if (!e) return MTAIO_ENOMEM;
    struct target target;
    bool sealed = a->event && event_seal(a->event);
    view_request(&e->view, &target, a);
    mtaio_metadata_ref(a->metadata);
    e->event = mtaio_event_ref(a->event);
    e->report = a->report;
    e->tally.failure = a->failure;
    e->tally.ctx = a->ctx;
    e->done = done;
    r = emission_begin(e, t, &target);
    if (r != 0) {
        if (r < 0 && sealed) event_unseal(a->event);
        if (r > 0) report_held(a->report);
        emission_free(e);
        return r > 0 ? 0 : r;
    }
    struct pin *pin = e->walk.pin;
    r = mtaio__emission_run(e, t) == WALK_RESTS ? MTAIO_EINPROGRESS : emission_end(e, e->report);
    pin_pop(t, pin);
    mtaio__drive_postponed(t);
    return r;
}

static void nowait_failure(const mtaio_failure *failure, void *ctx);
static void unawaited_failure(const mtaio_failure *failure, void *ctx);

/* Without checks of its arguments; the event is owned. */
int mtaio__emit_owned(mtaio_emitter *em, mtaio_event *event, const mtaio_async *async) {
    struct thread *t = thread_here();
    struct emission *e = t ? emission_new(t, em) : NULL;
    if (!e) return MTAIO_ENOMEM;
    struct target target = {0};
    bool sealed = event_seal(event);
    event_view(&e->view, event);
    e->event = mtaio_event_ref(event);
    e->held = mtaio_emitter_ref(em);
    e->tally.failure = async->failure;
    e->tally.ctx = async->ctx;
    e->tally.is_ours = async->failure == nowait_failure || async->failure == unawaited_failure;
    e->done = async->done;
    if (!(event->kind & EVENT_BATCH)) target = mtaio__target_of(event->name);
    int r = emission_begin(e, t, &target);
    if (r == 0) {
        struct pin *pin = e->walk.pin;
        if (mtaio__emission_run(e, t) == WALK_DONE) emission_finished(e);
        pin_pop(t, pin);
        mtaio__drive_postponed(t);
        return 0;
    }
    if (r < 0 && sealed) event_unseal(event);
    emission_free(e);
    if (r < 0) return r;
    mtaio_report report;
    report_held(&report);
    async->done(0, &report, async->ctx);
    return 0;
}

int mtaio_emit_async(mtaio_emitter *em, mtaio_event *event, const mtaio_async *async) {
    if (!em || !event || !(event->kind & EVENT_OWNED) || !MTAIO__CHECK_SIZE(async, mtaio_async) ||
        !async->done)
        return MTAIO_EINVAL;
    return mtaio__emit_owned(em, event, async);
}

/* --- Nobody waits ------------------------------------------------------------------------------ */

void mtaio__unawaited(mtaio_emitter *em, const char *name, int status) {
    mtaio__trouble(em, &(mtaio_trouble){.kind = MTAIO_TROUBLE_UNAWAITED,
                                        .emitter = mtaio_emitter_name(em),
                                        .name = name,
                                        .status = status});
}

/* A handler failed: that is an 'error' event, unless it is one already. */
static void tell_failure(mtaio_emitter *em, const mtaio_failure *failure) {
    int r = MTAIO_EUNHANDLED;
    if (!is_error_name(failure->name)) {
        mtaio_failure copy = *failure;
        r = mtaio_emit(em, "error", &copy);
    }
    if (r < 0) mtaio__unawaited(em, failure->name, failure->status);
}

static void nowait_failure(const mtaio_failure *failure, void *ctx) { tell_failure(ctx, failure); }

static void nowait_done(int result, const mtaio_report *report, void *ctx) {
    (void)report;
    if (result == MTAIO_EUNHANDLED)
        mtaio__unawaited(ctx, "error", result); /* failures have been told already */
}

static void unawaited_failure(const mtaio_failure *failure, void *ctx) {
    tell_failure(((struct unawaited *)ctx)->em, failure);
}

static void unawaited_done(int result, const mtaio_report *report, void *ctx) {
    struct unawaited *u = ctx;
    nowait_done(result, report, u->em);
    u->over(u);
}

void *mtaio_event_ctx(const mtaio_event *event) {
    struct walk *w = event ? load_acquire(&event->walk) : NULL; /* pairs with walk_fill; so below */
    while (walk_is_step(w)) w = load_acquire(&walk_step(w)->outer);
    const struct tally *tally = w && !walk_is_brief(w) ? w->tally : NULL;
    return tally && !tally->is_ours ? tally->ctx : NULL;
}

int mtaio_emit_nowait(mtaio_emitter *em, mtaio_event *event) {
    if (!em || !event || !(event->kind & EVENT_OWNED)) return MTAIO_EINVAL;
    return mtaio__emit_owned(em, event,
                             MTAIO_ASYNC(.done = nowait_done, .failure = nowait_failure, .ctx = em));
}

int mtaio__emit_unawaited(mtaio_event *event, struct unawaited *u) {
    return mtaio__emit_owned(u->em, event,
                             MTAIO_ASYNC(.done = unawaited_done, .failure = unawaited_failure, .ctx = u));
}
