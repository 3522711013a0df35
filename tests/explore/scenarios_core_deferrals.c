/* scenarios_core_deferrals.c - deferrals completed before, while and after the emission comes to rest, twice,
 * never, and against closing; for emissions that wait and that rest. On the unmodified core; hazards 15
 * to 18. */
#include "scene.h"

/* What an emission said at its end. */
static struct { int calls, result; } done EXPLORE_STATE;

static void on_done(int result, const mtaio_report *report, void *ctx) {
    (void)report;
    (void)ctx;
    done.result = result;
    EXPLORE_CHECK(++done.calls == 1 && os_locks_held() == 0);
}

/* --- Handlers ----------------------------------------------------------------------------------- */

/* Two references: whoever completes it, and whoever else looks at it. */
static int take(mtaio_event *event) {
    mtaio_deferral *d;
    EXPLORE_CHECK(mtaio_event_defer(event, &d) == 0);
    store_release(&s.deferral, mtaio_deferral_ref(d));
    return 0;
}
static int defer(mtaio_event *event, void *ctx) {
    subject_call(event, ctx);
    return take(event);
}
/* The others may complete it before the handler has returned. */
static int defer_and_go_on(mtaio_event *event, void *ctx) {
    take(event);
    return subject_call(event, ctx);
}
/* Keeps no reference but the other thread's. */
static int defer_once(mtaio_event *event, void *ctx) {
    take(event);
    mtaio_deferral_unref(load_relaxed(&s.deferral));
    return subject_call(event, ctx);
}
static int defer_and_complete(mtaio_event *event, void *ctx) {
    defer_and_go_on(event, ctx);
    *result_here() = mtaio_deferral_complete(load_relaxed(&s.deferral), 0);
    return 0;
}
static int defer_and_fail(mtaio_event *event, void *ctx) {
    defer_and_go_on(event, ctx);
    return -5;
}

/* --- Setting up ---------------------------------------------------------------------------------- */

/* The deferring handler a, and b after it. */
static void scene_with(mtaio_call call) {
    scene_new();
    EXPLORE_CHECK(listen_as(s.em, "x", &s.a, call, 0, &s.listener) == 0);
    EXPLORE_CHECK(listen_to("x", &s.b, &s.other) == 0);
}
static void setup_defers(void) { scene_with(defer); }
static void setup_goes_on(void) { scene_with(defer_and_go_on); }
static void setup_drops(void) { scene_with(defer_once); }
static void setup_completes(void) { scene_with(defer_and_complete); }
static void setup_fails(void) { scene_with(defer_and_fail); }

static void emit_async(void) {
    mtaio_event *event;
    EXPLORE_CHECK(mtaio_event_new("x", NULL, NULL, &event) == 0);
    int r = mtaio_emit_async(s.em, event, MTAIO_ASYNC(.done = on_done));
    if (r < 0) on_done(r, NULL, NULL);
    mtaio_event_unref(event);
}
/* The emission rests when the threads begin. */
static void setup_rests(void) {
    scene_with(defer);
    emit_async();
    EXPLORE_CHECK(done.calls == 0 && s.a.calls == 1 && s.b.calls == 0);
}

/* --- Threads ------------------------------------------------------------------------------------- */

static void emit_and_rest(void) {
    enter();
    emit_async();
}
static void emit_and_wait(void) {
    enter();
    done.result = mtaio_emit(s.em, "x", NULL);
    done.calls++;
}
static mtaio_deferral *await_deferral(void) {
    mtaio_deferral *d;
    enter();
    for (unsigned i = 0; !(d = load_acquire(&s.deferral)); i++) os_nap(i);
    return d;
}
static void complete(void) { *result_here() = mtaio_deferral_complete(await_deferral(), 0); }
static void complete_failing(void) { *result_here() = mtaio_deferral_complete(await_deferral(), -7); }
static void forget(void) { mtaio_deferral_unref(await_deferral()); }
static void complete_and_forget(void) {
    complete();
    mtaio_deferral_unref(load_relaxed(&s.deferral));
}
static void close_now(void) {
    enter();
    EXPLORE_CHECK(mtaio_emitter_close(s.em) == 0);
}
static void drop_now(void) {
    enter();
    s.name = mtaio_name_unref(s.name);
    s.em = mtaio_emitter_unref(s.em);
}
static void cancel_b(void) {
    enter();
    *result_here() = mtaio_listener_cancel(s.other);
}
static void change_b(void) {
    cancel_b();
    EXPLORE_CHECK(listen_to("x", &s.c, NULL) == 0);
}
static void cancel_a_wait(void) {
    enter();
    *result_here() = mtaio_listener_cancel_wait(s.listener);
    EXPLORE_CHECK(s.a.running == 0 && s.a.calls == 1);
    EXPLORE_CHECK(load_acquire(&s.flag)); /* a deferred call runs until it is completed */
}
static void complete_and_tell(void) {
    mtaio_deferral *d = await_deferral();
    store_release(&s.flag, 1);
    *result_here() = mtaio_deferral_complete(d, 0);
}

/* --- Outcomes ------------------------------------------------------------------------------------ */

static void deferral_end(unsigned refs) {
    mtaio_deferral *d = load_relaxed(&s.deferral);
    while (d && refs-- > 0) mtaio_deferral_unref(d);
    scene_end_ab();
}
static void check_completed(void) {
    EXPLORE_CHECK(done.calls == 1 && done.result == 2 && s.a.calls == 1 && s.b.calls == 1);
    EXPLORE_CHECK(mtaio_deferral_complete(load_relaxed(&s.deferral), 0) == MTAIO_EALREADY);
    deferral_end(2);
}
static void check_completed_twice(void) {
    int first = s.result[2], second = s.result[3];
    EXPLORE_CHECK((first == 0 && second == MTAIO_EALREADY) || (second == 0 && first == MTAIO_EALREADY));
    EXPLORE_CHECK(done.result == (first == 0 ? 2 : MTAIO_EHANDLER));
    EXPLORE_CHECK(done.calls == 1 && s.b.calls == 1);
    deferral_end(2);
}
static void check_completed_twice_resting(void) {
    s.result[3] = s.result[2];
    s.result[2] = s.result[1];
    check_completed_twice();
}
static void check_forgotten(void) {
    EXPLORE_CHECK(done.calls == 1 && done.result == MTAIO_EHANDLER && s.b.calls == 1);
    deferral_end(0);
}
static void check_completed_and_forgotten(void) {
    EXPLORE_CHECK(done.calls == 1 && done.result == 2 && s.b.calls == 1 && s.result[2] == 0);
    deferral_end(0);
}
/* The handler and the other thread complete it: one of them. */
static void check_completed_inside(void) {
    EXPLORE_CHECK(done.calls == 1 && s.b.calls == 1 && (s.result[1] == 0) != (s.result[2] == 0));
    EXPLORE_CHECK(done.result == (s.result[1] == 0 ? 2 : MTAIO_EHANDLER));
    deferral_end(2);
}
static void check_failed_inside(void) {
    EXPLORE_CHECK(done.calls == 1 && s.b.calls == 1);
    EXPLORE_CHECK(done.result == (s.result[2] == 0 ? 2 : MTAIO_EHANDLER));
    deferral_end(2);
}
/* Completed: the emission went on, and b was called unless it was gone already. Closed: it ended. */
static void check_raced(int completed) {
    EXPLORE_CHECK(done.calls == 1 && s.a.calls <= 1 && s.b.calls <= 1);
    if (completed == 0)
        EXPLORE_CHECK(done.result == s.a.calls + s.b.calls);
    else
        EXPLORE_CHECK(completed == MTAIO_ECLOSED && done.result == MTAIO_ECLOSED && s.b.calls == 0);
    deferral_end(2);
}
static void check_raced_resting(void) { check_raced(s.result[1]); }
static void check_raced_three(void) {
    int first = s.result[1], second = s.result[2];
    EXPLORE_CHECK(first != 0 || second != 0);
    check_raced(first == 0 || second == 0 ? 0 : first);
}
/* The emission may also find the emitter closed at its beginning, or its handlers gone. */
static void check_closed_meanwhile(void) {
    EXPLORE_CHECK(done.calls == 1 && s.a.calls <= 1 && s.b.calls <= 1);
    EXPLORE_CHECK(done.result == MTAIO_ECLOSED || (s.a.calls == 0 && done.result == s.b.calls));
    EXPLORE_CHECK(s.b.calls == 0 || s.a.calls == 0);
    deferral_end(2);
}
/* What was registered at the beginning and is still there. */
static void check_changed(void) {
    EXPLORE_CHECK(done.calls == 1 && done.result == 1 + s.b.calls && s.c.calls == 0);
    EXPLORE_CHECK(s.result[1] == 0 && s.result[2] == 1);
    deferral_end(2);
    EXPLORE_CHECK(s.c.destroyed == 1);
}
static void check_waited(void) {
    EXPLORE_CHECK(done.calls == 1 && s.result[2] == 1);
    deferral_end(2);
}

/* --- Emissions that begin under their thread's pin, and rest under one of their own ---------------- */

/* Its own result, or done's. */
static void start(void) {
    enter();
    int r = mtaio_emit_start(s.em, MTAIO_EMISSION(.name = "x"), on_done);
    if (r != MTAIO_EINPROGRESS) on_done(r, NULL, NULL);
}
/* Between the two a's context is still in use, whatever the others do. */
static void start_and_complete(void) {
    start();
    mtaio_deferral *d = load_relaxed(&s.deferral);
    EXPLORE_CHECK(s.a.calls == 0 || (d && s.a.destroyed == 0));
    store_release(&s.flag, 1);
    if (d) *result_here() = mtaio_deferral_complete(d, 0);
}
/* Once it has returned no call of a is under way: a deferred one is over only when it is completed. */
static void cancel_a_waiting(void) {
    enter();
    *result_here() = mtaio_listener_cancel_wait(s.listener);
    EXPLORE_CHECK(s.a.running == 0 && (s.a.calls == 0 || load_acquire(&s.flag)));
}
static void cancel_a_and_reclaim(void) {
    cancel();
    mtaio_reclaim();
}
/* Both handlers go, and another comes, so that lane, node and all are replaced. */
static void replace_all_and_reclaim(void) {
    enter();
    *result_here() = mtaio_emitter_remove_all(s.em, NULL);
    EXPLORE_CHECK(listen_to("x", &s.c, NULL) == 0);
    mtaio_reclaim();
}
static void check_started_and_cancelled(void) {
    EXPLORE_CHECK(done.calls == 1 && done.result == s.a.calls + s.b.calls && s.result[2] == 1);
    EXPLORE_CHECK(s.a.calls <= 1 && s.b.calls == 1);
    deferral_end(2);
}
static void check_started_and_replaced(void) {
    EXPLORE_CHECK(done.calls == 1 && done.result == s.a.calls + s.b.calls + s.c.calls);
    EXPLORE_CHECK(s.result[2] == 2 && (s.c.calls == 0 || s.a.calls + s.b.calls == 0));
    deferral_end(2);
    EXPLORE_CHECK(s.c.destroyed == 1);
}

/* b was called unless it had been cancelled. */
static void check_started_three(void) {
    EXPLORE_CHECK(done.calls == 1 && done.result == 1 + s.b.calls && s.result[2] == 0 && s.result[3] == 1);
    deferral_end(2);
}

/* --- Waiting for an event ------------------------------------------------------------------------ */

static void await_event(void) {
    mtaio_event *event = NULL;
    enter();
    *result_here() = mtaio_emitter_wait(s.em, "x", NULL, NULL, 1000, &event);
    EXPLORE_CHECK((*result_here() == 0) == (event != NULL));
    mtaio_event_unref(event);
}
static void check_awaited(void) {
    EXPLORE_CHECK(s.result[1] == 0 || s.result[1] == MTAIO_ETIMEDOUT);
    EXPLORE_CHECK(s.result[2] == 1 || (s.result[2] == 0 && s.result[1] == MTAIO_ETIMEDOUT));
    scene_end();
}
static void check_awaited_closed(void) {
    EXPLORE_CHECK(s.result[1] == MTAIO_ECLOSED || s.result[1] == MTAIO_ETIMEDOUT);
    scene_end();
}

static const struct bounded table[] = {
    ALL("wait-completed-elsewhere", .setup = setup_defers, TWO(emit_and_wait, complete),
        .check = check_completed),
    ALL("wait-completed-before-return", .setup = setup_goes_on, TWO(emit_and_wait, complete),
        .check = check_completed),
    ALL("wait-completed-inside-and-elsewhere", .setup = setup_completes, TWO(emit_and_wait, complete_failing),
        .check = check_completed_inside),
    ALL("wait-fails-after-deferring", .setup = setup_fails, TWO(emit_and_wait, complete),
        .check = check_failed_inside),
    ALL("wait-forgotten", .setup = setup_drops, TWO(emit_and_wait, forget), .check = check_forgotten),
    ALL("wait-completed-and-forgotten", .setup = setup_drops, TWO(emit_and_wait, complete_and_forget),
        .check = check_completed_and_forgotten),
    ALL("wait-closed", .setup = setup_defers, TWO(emit_and_wait, close_now), .check = check_closed_meanwhile),
    UP_TO(4, 6, "wait-completed-twice", .setup = setup_defers,
          THREE(emit_and_wait, complete, complete_failing), .check = check_completed_twice),

    ALL("rest-completed-elsewhere", .setup = setup_defers, TWO(emit_and_rest, complete),
        .check = check_completed),
    ALL("rest-completed-before-return", .setup = setup_goes_on, TWO(emit_and_rest, complete),
        .check = check_completed),
    ALL("rest-completed-inside-and-elsewhere", .setup = setup_completes, TWO(emit_and_rest, complete_failing),
        .check = check_completed_inside),
    ALL("rest-fails-after-deferring", .setup = setup_fails, TWO(emit_and_rest, complete),
        .check = check_failed_inside),
    ALL("rest-forgotten", .setup = setup_drops, TWO(emit_and_rest, forget), .check = check_forgotten),
    ALL("rest-completed-and-forgotten", .setup = setup_drops, TWO(emit_and_rest, complete_and_forget),
        .check = check_completed_and_forgotten),
    ALL("rest-closed", .setup = setup_defers, TWO(emit_and_rest, close_now), .check = check_closed_meanwhile),
    ALL("resting-completed-twice", .setup = setup_rests, TWO(complete, complete_failing),
        .check = check_completed_twice_resting),
    ALL("resting-completed-or-closed", .setup = setup_rests, TWO(complete, close_now),
        .check = check_raced_resting),
    ALL("resting-completed-emitter-gone", .setup = setup_rests, TWO(complete, drop_now),
        .check = check_completed),
    UP_TO(3, 4, "resting-completed-twice-or-closed", .setup = setup_rests,
          THREE(complete, complete, close_now), .check = check_raced_three),

    ALL("resting-reader-handlers-change", .setup = setup_rests, TWO(complete, change_b),
        .check = check_changed),
    ALL("resting-cancel-wait", .setup = setup_rests, TWO(complete_and_tell, cancel_a_wait),
        .check = check_waited),

    ALL("start-completed-elsewhere", .setup = setup_defers, TWO(start, complete), .check = check_completed),
    ALL("start-completed-before-return", .setup = setup_goes_on, TWO(start, complete),
        .check = check_completed),
    ALL("start-completed-inside-and-elsewhere", .setup = setup_completes, TWO(start, complete_failing),
        .check = check_completed_inside),
    ALL("start-fails-after-deferring", .setup = setup_fails, TWO(start, complete),
        .check = check_failed_inside),
    ALL("start-closed", .setup = setup_defers, TWO(start, close_now), .check = check_closed_meanwhile),
    ALL("start-cancelled", .setup = setup_goes_on, TWO(start_and_complete, cancel_a_and_reclaim),
        .check = check_started_and_cancelled),
    ALL("start-cancelled-waiting", .setup = setup_goes_on, TWO(start_and_complete, cancel_a_waiting),
        .check = check_started_and_cancelled),
    UP_TO(3, EXPLORE_ALL, "start-replaced", .setup = setup_defers,
          TWO(start_and_complete, replace_all_and_reclaim), .check = check_started_and_replaced),
    UP_TO(2, 3, "start-completed-and-cancelled", .setup = setup_defers, THREE(start, complete, cancel_b),
          .check = check_started_three),

    UP_TO(3, EXPLORE_ALL, "await-emit", .setup = scene_new, TWO(await_event, emit_x_by_name),
          .check = check_awaited),
    ALL("await-close", .setup = scene_new, TWO(await_event, close_now), .check = check_awaited_closed),
};

int main(int argc, char **argv) { return scene_main(table, sizeof table / sizeof *table, argc, argv); }
