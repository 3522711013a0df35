/* scenarios_core_derived.c - patterns, derived emitters, batches, suppressions, hooks and unawaited
 * emissions, against emissions, on the unmodified core. */
#include "scene.h"

/* --- Patterns: handlers merged into the names they match. Hazards 3, 4 --------------------------- */

static void setup_pattern(void) {
    scene_one();
    EXPLORE_CHECK(listen_to("*", &s.b, &s.other) == 0);
}
static void setup_pattern_only(void) {
    scene_new();
    s.name = mtaio_name_unref(s.name); /* no node stands for x */
    EXPLORE_CHECK(listen_to("*", &s.a, &s.listener) == 0);
}
static void add_pattern(void) {
    enter();
    EXPLORE_CHECK(listen_to("*", &s.b, NULL) == 0);
}
static void cancel_other(void) {
    enter();
    *result_here() = mtaio_listener_cancel(s.other);
}
static void check_pattern_added(void) {
    EXPLORE_CHECK(s.a.calls == 1 && s.b.calls <= 1 && s.result[1] == s.a.calls + s.b.calls);
    EXPLORE_CHECK(mtaio_emit_name(s.name, NULL) == 2 && mtaio_emitter_reach(s.em, "x") == 2);
    scene_end_ab();
}
static void check_pattern_cancelled(void) {
    EXPLORE_CHECK(s.a.calls == 1 && s.b.calls <= 1 && s.result[1] == s.a.calls + s.b.calls &&
                  s.result[2] == 1);
    EXPLORE_CHECK(mtaio_emitter_reach(s.em, "x") == 1);
    scene_end_ab();
}
static void check_only_pattern_cancelled(void) {
    EXPLORE_CHECK(s.a.calls <= 1 && s.result[1] == s.a.calls && s.result[2] == 1);
    EXPLORE_CHECK(mtaio_emit(s.em, "x", NULL) == 0);
    scene_end_a();
}
/* A name is registered while the only pattern that matches it goes. */
static void add_name(void) {
    enter();
    EXPLORE_CHECK(listen_to("x", &s.b, NULL) == 0);
}
static void check_name_added(void) {
    EXPLORE_CHECK(s.result[2] == 1 && mtaio_emitter_reach(s.em, "x") == 1 &&
                  mtaio_emit(s.em, "x", NULL) == 1);
    scene_end_ab();
}

/* --- Derived emitters. Hazards 4, 7 --------------------------------------------------------------- */

static struct subject filter EXPLORE_STATE;

static int pass(const mtaio_event *event, void *ctx) {
    (void)event;
    const struct context *c = ctx;
    EXPLORE_CHECK(c->of->destroyed == 0);
    c->of->calls++;
    return 1;
}
static void derive(void) {
    scene_new();
    EXPLORE_CHECK(mtaio_emitter_filter(
                      s.em, NULL,
                      MTAIO_FILTER(.call = pass, .destroy = subject_destroy, .ctx = context_new(&filter)),
                      &s.derived) == 0);
}
static void derive_heard(void) {
    derive();
    EXPLORE_CHECK(listen_as(s.derived, "x", &s.a, subject_call, 0, &s.listener) == 0);
}
/* Nothing keeps it but its listener. */
static void derive_kept(void) {
    derive_heard();
    s.derived = mtaio_emitter_unref(s.derived);
}
static void listen_behind(void) {
    enter();
    EXPLORE_CHECK(listen_as(s.derived, "x", &s.a, subject_call, 0, &s.listener) == 0);
}
static void close_derived(void) {
    enter();
    EXPLORE_CHECK(mtaio_emitter_close(s.derived) == 0);
}
static void drop_derived(void) {
    enter();
    s.derived = mtaio_emitter_unref(s.derived);
}
static void cancel_behind(void) {
    enter();
    *result_here() = mtaio_listener_cancel(s.listener);
}
/* Another takes its place, and goes as well. */
static void replace_behind(void) {
    cancel_behind();
    EXPLORE_CHECK(listen_as(s.derived, "x", &s.b, subject_call, 0, &s.other) == 0);
    EXPLORE_CHECK(mtaio_listener_cancel(s.other) == 1);
}
static void emit_derived(void) {
    enter();
    *result_here() = mtaio_emit(s.derived, "x", NULL);
}
static void close_source(void) {
    enter();
    EXPLORE_CHECK(mtaio_emitter_close(s.em) == 0);
}
static void scene_end_derived(void) {
    scene_end_a();
    EXPLORE_CHECK(filter.destroyed == 1);
}
static void check_listened_behind(void) {
    EXPLORE_CHECK(s.a.calls <= 1 && s.result[1] == s.a.calls && filter.calls <= 1);
    EXPLORE_CHECK(mtaio_emit_name(s.name, NULL) == 1);
    scene_end_derived();
}
static void check_gone_behind(void) {
    EXPLORE_CHECK(s.a.calls <= 1 && s.result[1] == s.a.calls);
    EXPLORE_CHECK(mtaio_emit_name(s.name, NULL) == 0);
    scene_end_derived();
}
static void check_replaced_behind(void) {
    EXPLORE_CHECK(s.a.calls + s.b.calls <= 1 && s.result[1] == s.a.calls + s.b.calls && s.result[2] == 1);
    EXPLORE_CHECK(mtaio_emit_name(s.name, NULL) == 0);
    scene_end_ab();
    EXPLORE_CHECK(filter.destroyed == 1);
}
static void check_dropped_behind(void) {
    EXPLORE_CHECK(s.a.calls == 1 && s.result[1] == 1 && mtaio_listener_is_active(s.listener));
    EXPLORE_CHECK(mtaio_listener_cancel(s.listener) == 1);
    scene_end_derived();
}
static void check_nobody_behind(void) {
    EXPLORE_CHECK(s.result[1] == 1 && s.a.destroyed == 1 && filter.destroyed == 1);
    EXPLORE_CHECK(mtaio_emit_name(s.name, NULL) == 0);
    scene_end_derived();
}
static void check_source_closed(void) {
    EXPLORE_CHECK(s.a.calls == 1 && s.result[1] == 1); /* its users keep it, and may emit on it */
    scene_end_derived();
}

/* A pipe keeps its target: the target's only other reference goes during an emission. */
static void setup_pipe(void) {
    scene_new();
    EXPLORE_CHECK(mtaio_emitter_new(NULL, &s.derived) == 0);
    EXPLORE_CHECK(listen_as(s.derived, "x", &s.a, subject_call, 0, NULL) == 0);
    EXPLORE_CHECK(mtaio_emitter_pipe(s.em, "x", s.derived, &s.listener) == 0);
    s.derived = mtaio_emitter_unref(s.derived);
}

/* --- Batches ------------------------------------------------------------------------------------- */

static struct {
    mtaio_batch *batch;
    mtaio_suppression *held;
    int seen, hooked, after, errors, complaints;
} more EXPLORE_STATE;

static int count_events(mtaio_event *event, void *ctx) {
    (void)ctx;
    more.seen += (int)mtaio_event_count(event);
    explore_point();
    return 0;
}
static void setup_batch(void) {
    scene_new();
    EXPLORE_CHECK(mtaio_on(s.em, "x", count_events, NULL) == 0 && mtaio_batch_new(s.em, &more.batch) == 0);
}
static void batch_emit(void) {
    enter();
    *result_here() = mtaio_batch_emit(more.batch, "x", NULL);
}
static void batch_end(void) {
    enter();
    *result_here() = mtaio_batch_end(more.batch, NULL);
}
static void check_batched(void) {
    EXPLORE_CHECK(s.result[1] == 0 && s.result[2] == 0 && mtaio_batch_count(more.batch) == 2);
    EXPLORE_CHECK(mtaio_batch_end(more.batch, NULL) == 1 && more.seen == 2);
    mtaio_batch_unref(more.batch);
    scene_end();
}
/* What was taken in was delivered. */
static void check_batch_ended(void) {
    EXPLORE_CHECK(s.result[1] == 0 || s.result[1] == MTAIO_ECLOSED);
    EXPLORE_CHECK(more.seen == (s.result[1] == 0) && s.result[2] == more.seen);
    mtaio_batch_unref(more.batch);
    scene_end();
}
static void check_batch_ended_of_two(void) {
    EXPLORE_CHECK(more.seen == (s.result[1] == 0) + (s.result[2] == 0));
    mtaio_batch_unref(more.batch);
    scene_end();
}
static void check_batch_ended_once(void) {
    EXPLORE_CHECK((s.result[1] == MTAIO_EALREADY) != (s.result[2] == MTAIO_EALREADY));
    mtaio_batch_unref(more.batch);
    scene_end();
}

/* --- Suppressions -------------------------------------------------------------------------------- */

static void setup_held(void) {
    scene_new();
    EXPLORE_CHECK(mtaio_on(s.em, "x", count_events, NULL) == 0);
    EXPLORE_CHECK(mtaio_emitter_suppress(s.em, NULL, &more.held) == 0);
}
static void replay(void) {
    enter();
    *result_here() = mtaio_suppression_replay(more.held);
}
static void drop_held(void) {
    enter();
    *result_here() = mtaio_suppression_drop(more.held);
}
/* Held and replayed, or emitted: once. */
static void check_replayed(void) {
    EXPLORE_CHECK(more.seen == 1 && s.result[1] + s.result[2] == 1);
    mtaio_suppression_unref(more.held);
    scene_end();
}
static void check_held_dropped(void) {
    EXPLORE_CHECK(more.seen == s.result[1] && s.result[1] + s.result[2] == 1);
    mtaio_suppression_unref(more.held);
    scene_end();
}
static void check_held_closed(void) {
    EXPLORE_CHECK(more.seen == (s.result[1] > 0));
    mtaio_suppression_unref(more.held);
    scene_end();
}

/* --- Hooks --------------------------------------------------------------------------------------- */

static void before(const mtaio_event *event, void *ctx) {
    const struct context *c = ctx;
    (void)event;
    EXPLORE_CHECK(c->of->destroyed == 0);
    c->of->running++;
    more.hooked++;
    explore_point();
    EXPLORE_CHECK(c->of->destroyed == 0);
    c->of->running--;
}
static void after(const mtaio_event *event, const mtaio_report *report, int64_t ns, void *ctx) {
    const struct context *c = ctx;
    (void)event;
    EXPLORE_CHECK(c->of->destroyed == 0 && ns >= 0 && report->called == 1);
    more.after++;
}
static void hook(void) {
    EXPLORE_CHECK(mtaio_emitter_hook(s.em,
                                     MTAIO_HOOK(.before = before, .after = after, .destroy = subject_destroy,
                                                .ctx = context_new(&s.b)),
                                     &s.other) == 0);
}
static void setup_hook(void) {
    scene_one();
    hook();
}
static void add_hook(void) {
    enter();
    hook();
}
static void check_hooked(void) {
    EXPLORE_CHECK(s.a.calls == 1 && more.hooked == more.after && more.hooked <= 1);
    scene_end_ab();
}
static void check_unhooked(void) {
    EXPLORE_CHECK(s.a.calls == 1 && more.hooked <= 1 && more.after <= more.hooked && s.result[2] == 1);
    EXPLORE_CHECK(mtaio_emit_name(s.name, NULL) == 1 && more.hooked <= 1);
    scene_end_ab();
}

/* --- Nobody waits --------------------------------------------------------------------------------- */

static int fail(mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return -5;
}
static int on_error(mtaio_event *event, void *ctx) {
    more.errors++;
    return subject_call(event, ctx);
}
static void setup_failing(void) {
    scene_new();
    EXPLORE_CHECK(mtaio_on(s.em, "x", fail, NULL) == 0);
    EXPLORE_CHECK(listen_as(s.em, "error", &s.a, on_error, 0, &s.listener) == 0);
}
static void emit_nowait(void) {
    mtaio_event *event;
    enter();
    EXPLORE_CHECK(mtaio_event_new("x", NULL, NULL, &event) == 0);
    EXPLORE_CHECK(mtaio_emit_nowait(s.em, event) == 0);
    mtaio_event_unref(event);
}
/* The failure came to the handler, or to the last resort. */
static void check_told(void) {
    EXPLORE_CHECK(more.errors + (int)explore_complaints() == 1 && s.result[2] == 1);
    scene_end_a();
}

static const struct bounded table[] = {
    ALL("emit-add-pattern", .setup = scene_one, TWO(emit_x, add_pattern), .check = check_pattern_added),
    ALL("emit-cancel-pattern", .setup = setup_pattern, TWO(emit_x, cancel_other),
        .check = check_pattern_cancelled),
    ALL("emit-unknown-cancel-pattern", .setup = setup_pattern_only, TWO(emit_x_by_name, cancel),
        .check = check_only_pattern_cancelled),
    ALL("add-name-cancel-pattern", .setup = setup_pattern_only, TWO(add_name, cancel),
        .check = check_name_added),

    ALL("emit-listen-behind", .setup = derive, TWO(emit_x, listen_behind), .check = check_listened_behind),
    ALL("emit-cancel-behind", .setup = derive_heard, TWO(emit_x, cancel_behind), .check = check_gone_behind),
    UP_TO(2, 3, "emit-replace-behind", .setup = derive_heard, TWO(emit_x, replace_behind),
          .check = check_replaced_behind),
    ALL("emit-close-derived", .setup = derive_heard, TWO(emit_x, close_derived), .check = check_gone_behind),
    ALL("emit-drop-derived", .setup = derive_heard, TWO(emit_x, drop_derived), .check = check_dropped_behind),
    UP_TO(2, 3, "emit-last-listener-behind", .setup = derive_kept, TWO(emit_x, cancel_behind),
          .check = check_gone_behind),
    ALL("cancel-behind-drop-derived", .setup = derive_heard, TWO(cancel_behind, drop_derived),
        .check = check_nobody_behind),
    ALL("emit-derived-close-source", .setup = derive_heard, TWO(emit_derived, close_source),
        .check = check_source_closed),
    UP_TO(EXPLORE_ALL, EXPLORE_ALL, "emit-cancel-pipe", .setup = setup_pipe, TWO(emit_x, cancel),
          .check = check_only_pattern_cancelled),

    ALL("batch-two-emits", .setup = setup_batch, TWO(batch_emit, batch_emit), .check = check_batched),
    ALL("batch-emit-end", .setup = setup_batch, TWO(batch_emit, batch_end), .check = check_batch_ended),
    ALL("batch-end-end", .setup = setup_batch, TWO(batch_end, batch_end), .check = check_batch_ended_once),
    UP_TO(4, 6, "batch-two-emits-and-end", .setup = setup_batch, THREE(batch_emit, batch_emit, batch_end),
          .check = check_batch_ended_of_two),

    ALL("suppressed-emit-replay", .setup = setup_held, TWO(emit_x, replay), .check = check_replayed),
    ALL("suppressed-emit-drop", .setup = setup_held, TWO(emit_x, drop_held), .check = check_held_dropped),
    ALL("suppressed-emit-close", .setup = setup_held, TWO(emit_x, close_emitter), .check = check_held_closed),

    ALL("emit-hook", .setup = scene_one, TWO(emit_x, add_hook), .check = check_hooked),
    ALL("emit-unhook", .setup = setup_hook, TWO(emit_x, cancel_other), .check = check_unhooked),

    UP_TO(EXPLORE_ALL, EXPLORE_ALL, "nowait-fails-cancel-error", .setup = setup_failing,
          TWO(emit_nowait, cancel), .check = check_told),
};

int main(int argc, char **argv) { return scene_main(table, sizeof table / sizeof *table, argc, argv); }
