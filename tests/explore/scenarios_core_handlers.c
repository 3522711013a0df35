/* scenarios_core_handlers.c - emissions against adding, removing, closing, dropping, on the unmodified core.
 * Each scenario names the hazard it shows to be survived. */
#include "scene.h"

/* --- Adding and removing, hazards 3, 4, 12 ------------------------------------------------------ */

static void add_b(void) {
    enter();
    EXPLORE_CHECK(listen_to("x", &s.b, NULL) == 0);
}
/* The one there is called, the new one perhaps; afterwards both. */
static void check_added(void) {
    EXPLORE_CHECK(s.a.calls == 1 && s.b.calls <= 1 && s.result[1] == s.a.calls + s.b.calls);
    EXPLORE_CHECK(mtaio_emit_name(s.name, NULL) == 2 && mtaio_emitter_count(s.em, "x") == 2);
    scene_end_ab();
}

/* There is room in the lane that the emission looks at. Whether or not it sees the new one: that one is kept
 * while it runs. */
static void setup_room(void) {
    scene_one();
    EXPLORE_CHECK(listen_to("x", &s.c, NULL) == 0);
}
static void add_b_cancel_b(void) {
    enter();
    EXPLORE_CHECK(listen_to("x", &s.b, &s.other) == 0);
    *result_here() = mtaio_listener_cancel(s.other);
}
static void check_added_and_cancelled(void) {
    EXPLORE_CHECK(s.a.calls == 1 && s.c.calls == 1 && s.b.calls <= 1 && s.result[1] == 2 + s.b.calls);
    EXPLORE_CHECK(s.result[2] == 1 && mtaio_emit_name(s.name, NULL) == 2);
    scene_end_ab();
    EXPLORE_CHECK(s.c.destroyed == 1);
}
/* The same where nobody listened before: the new one stands within the node. */
static void check_first_added_and_cancelled(void) {
    EXPLORE_CHECK(s.b.calls <= 1 && s.result[1] == s.b.calls && s.result[2] == 1);
    EXPLORE_CHECK(mtaio_emit_name(s.name, NULL) == 0);
    scene_end();
    EXPLORE_CHECK(s.b.destroyed == 1);
}

/* Two emissions in a row: the second begins after the removal, if that has returned before. */
static void emit_after_flag(void) {
    enter();
    explore_point();
    bool removed = load_acquire(&s.flag);
    *result_here() = mtaio_emit_name(s.name, NULL);
    EXPLORE_CHECK(!removed || *result_here() == 0);
}
static void cancel_and_tell(void) {
    cancel();
    store_release(&s.flag, 1);
}
static void check_cancelled(void) {
    EXPLORE_CHECK(s.a.calls == s.result[1] && s.a.calls <= 1 && s.result[2] == 1);
    EXPLORE_CHECK(mtaio_emit_name(s.name, NULL) == 0 && mtaio_emitter_count(s.em, NULL) == 0);
    scene_end_a();
}
static void setup_two(void) {
    scene_one();
    EXPLORE_CHECK(listen_to("x", &s.b, &s.other) == 0);
}
static void check_cancelled_first(void) {
    EXPLORE_CHECK(s.b.calls == 1 && s.a.calls <= 1 && s.result[1] == s.a.calls + 1);
    scene_end_ab();
}
static void check_two_emits(void) {
    EXPLORE_CHECK(s.a.calls == s.result[1] + s.result[2] && s.result[3] == 1);
    scene_end_a();
}

/* No destroy, no handle: what is removed is freed later. */
static int count_call(mtaio_event *event, void *ctx) {
    (void)event;
    ((struct subject *)ctx)->calls++;
    return 0;
}
static void setup_plain(void) {
    scene_new();
    EXPLORE_CHECK(mtaio_on(s.em, "x", count_call, &s.a) == 0);
}
static void remove_plain(void) {
    enter();
    *result_here() = mtaio_off(s.em, "x", count_call, &s.a);
}
static void check_plain(void) {
    EXPLORE_CHECK(s.a.calls == s.result[1] + s.result[2] && s.result[3] == 1);
    scene_end();
}

/* Only the removing thread knows when it may let go of what the handler uses. */
static void cancel_wait(void) {
    enter();
    *result_here() = mtaio_listener_cancel_wait(s.listener);
    EXPLORE_CHECK(s.a.running == 0);
    store_release(&s.flag, 1);
}

/* The handler removes itself while another emission calls it. Hazard 1. */
static int remove_self(mtaio_event *event, void *ctx) {
    mtaio_listener_cancel(s.listener);
    return subject_call(event, ctx);
}
static int wait_for_self(mtaio_event *event, void *ctx) {
    mtaio_listener_cancel_wait(s.listener); /* not for this call */
    return subject_call(event, ctx);
}
static void setup_removes_self(void) {
    scene_new();
    EXPLORE_CHECK(listen_as(s.em, "x", &s.a, remove_self, 0, &s.listener) == 0);
}
static void setup_waits_for_self(void) {
    scene_new();
    EXPLORE_CHECK(listen_as(s.em, "x", &s.a, wait_for_self, 0, &s.listener) == 0);
}
static void check_removed_self(void) {
    EXPLORE_CHECK(s.a.calls == s.result[1] + s.result[2] && s.a.calls >= 1);
    scene_end_a();
}
static void check_waits_for_self(void) {
    EXPLORE_CHECK(s.a.calls == s.result[1] && s.a.calls <= 1);
    scene_end_a();
}

/* --- Removing twice, hazard 5 ------------------------------------------------------------------- */

static void check_one_winner(void) {
    EXPLORE_CHECK(s.result[1] + s.result[2] + s.result[3] == 1);
    scene_end_a();
}
static void remove_all(void) {
    enter();
    *result_here() = mtaio_emitter_remove_all(s.em, "x");
}

/* --- Once, hazards 9, 11 ------------------------------------------------------------------------ */

static void setup_once(void) {
    scene_new();
    EXPLORE_CHECK(listen_as(s.em, "x", &s.a, subject_call, MTAIO_ONCE, &s.listener) == 0);
}
static void check_once(void) {
    EXPLORE_CHECK(s.a.calls == 1 && s.result[1] + s.result[2] == 1);
    scene_end_a();
}
/* Called, or removed: one of the two, and who asked is told so. */
static void check_once_or_cancelled(void) {
    EXPLORE_CHECK(s.a.calls + s.result[2] == 1 && s.a.calls == s.result[1]);
    scene_end_a();
}
static void check_once_or_cancelled_of_two(void) {
    EXPLORE_CHECK(s.a.calls + s.result[3] == 1 && s.a.calls == s.result[1] + s.result[2]);
    scene_end_a();
}
static void check_once_or_closed(void) {
    EXPLORE_CHECK(s.a.calls <= 1 && (s.result[1] == s.a.calls || s.result[1] == MTAIO_ECLOSED));
    scene_end_a();
}

/* --- Closing and dropping, hazards 6, 7 --------------------------------------------------------- */

static void check_closed(void) {
    EXPLORE_CHECK(s.a.calls <= 1 && (s.result[1] == s.a.calls || s.result[1] == MTAIO_ECLOSED));
    EXPLORE_CHECK(mtaio_emit_name(s.name, NULL) == MTAIO_ECLOSED);
    scene_end_a();
}
static void add_b_or_closed(void) {
    enter();
    *result_here() = listen_to("x", &s.b, &s.other);
    EXPLORE_CHECK(*result_here() == 0 || *result_here() == MTAIO_ECLOSED);
}
static void check_added_or_closed(void) {
    EXPLORE_CHECK((s.result[1] == 0) == (s.other != NULL) && !mtaio_listener_is_active(s.other));
    scene_end_ab();
}
static void check_closed_twice(void) {
    EXPLORE_CHECK(s.result[1] == 0 && s.result[2] == 0 && s.a.destroyed == 1);
    scene_end_a();
}

/* Each thread has a reference; nobody else has. */
static void setup_shared(void) {
    scene_one();
    s.name = mtaio_name_unref(s.name);
    mtaio_emitter_ref(s.em);
}
static void drop(void) {
    enter();
    mtaio_emitter_unref(s.em);
}
static void emit_and_drop(void) {
    emit_x_by_name();
    mtaio_emitter_unref(s.em);
}
static void check_dropped(void) {
    EXPLORE_CHECK(s.a.calls == s.result[1] && s.result[1] == 1);
    s.em = NULL;
    scene_end_a();
}

/* The handler drops the last reference to the emitter that is calling it. */
static int drop_inside(mtaio_event *event, void *ctx) {
    mtaio_emitter_unref(s.em);
    return subject_call(event, ctx);
}
static void setup_drops_inside(void) {
    scene_new();
    s.name = mtaio_name_unref(s.name);
    EXPLORE_CHECK(listen_as(s.em, "x", &s.a, drop_inside, MTAIO_ONCE, NULL) == 0);
    EXPLORE_CHECK(listen_to("x", &s.b, &s.listener) == 0);
}
static void check_dropped_inside(void) {
    EXPLORE_CHECK(s.a.calls == 1 && s.b.calls == 0 && s.result[1] == 1);
    s.em = NULL;
    scene_end_ab();
}

/* --- Names -------------------------------------------------------------------------------------- */

/* The node of the name goes with its last handler and its last resolved name, when the next one is forgotten.
 */
static void cancel_and_unresolve(void) {
    cancel();
    s.name = mtaio_name_unref(s.name);
    mtaio_listener_cancel(s.other);
}
static void setup_two_names(void) {
    scene_one();
    EXPLORE_CHECK(listen_to("y", &s.b, &s.other) == 0);
}
static void check_forgotten(void) {
    EXPLORE_CHECK(s.a.calls == s.result[1] && s.a.calls <= 1 && mtaio_emit(s.em, "x", NULL) == 0);
    scene_end_ab();
}
static void check_unresolved(void) {
    EXPLORE_CHECK(s.a.calls == s.result[1] && s.a.calls <= 1 && mtaio_emit(s.em, "x", NULL) == 0);
    scene_end_a();
}
static void setup_unresolved(void) {
    scene_one();
    s.name = mtaio_name_unref(s.name);
}
static void resolve_and_emit(void) {
    mtaio_name *name;
    enter();
    EXPLORE_CHECK(mtaio_emitter_resolve(s.em, "x", &name) == 0);
    *result_here() = mtaio_emit_name(name, NULL);
    mtaio_name_unref(name);
}
/* New names until the table is replaced under the reader. */
static void setup_full_table(void) {
    static const char *const names[] = {"p", "q", "r"};
    setup_unresolved();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        EXPLORE_CHECK(mtaio_on(s.em, names[i], subject_call, NULL) == 0);
}
static void add_name(void) {
    enter();
    EXPLORE_CHECK(listen_to("y", &s.b, NULL) == 0);
}
static void add_name_and_cancel(void) { /* which frees what can be */
    add_name();
    cancel();
}
static void check_grown(void) {
    EXPLORE_CHECK(s.a.calls == 1 && s.result[1] == 1 && mtaio_emit(s.em, "y", NULL) == 1);
    scene_end_ab();
}
static void check_grown_and_cancelled(void) {
    EXPLORE_CHECK(s.a.calls <= 1 && s.result[1] == s.a.calls && mtaio_emit(s.em, "y", NULL) == 1);
    scene_end_ab();
}
/* The same with a full lane of handlers. */
static void setup_full_lane(void) {
    scene_one();
    for (int i = 0; i < 3; i++) EXPLORE_CHECK(mtaio_on(s.em, "x", count_call, &s.c) == 0);
}
static void add_b_and_cancel(void) {
    add_b();
    cancel();
}
static void check_lane_replaced(void) {
    EXPLORE_CHECK(s.c.calls == 3 && s.a.calls <= 1 && s.b.calls <= 1 &&
                  s.result[1] == 3 + s.a.calls + s.b.calls);
    EXPLORE_CHECK(mtaio_emit_name(s.name, NULL) == 4);
    scene_end_ab();
}

/* --- Threads that come, hazard 33 --------------------------------------------------------------- */

/* Without a record: the removing thread may find itself alone, and free at once. */
static void emit_first(void) { *result_here() = mtaio_emit(s.em, "x", NULL); }
static void cancel_first(void) { *result_here() = mtaio_listener_cancel(s.listener); }
static void setup_without_records(void) {
    EXPLORE_CHECK(mtaio_emitter_new(NULL, &s.em) == 0);
    EXPLORE_CHECK(listen_to("x", &s.a, &s.listener) == 0);
}
static void check_first(void) {
    EXPLORE_CHECK(s.a.calls == s.result[1] && s.a.calls <= 1 && s.result[2] == 1);
    scene_end_a();
}

/* The removal closes the gaps of a long lane in place, for nobody can be reading: each handler that stays is
 * called once all the same. */
enum { STAY = 32, GO = 33 };
static void setup_gaps(void) {
    EXPLORE_CHECK(mtaio_emitter_new(NULL, &s.em) == 0);
    EXPLORE_CHECK(mtaio_on(s.em, "x", count_call, &s.c) == 0);
    for (int i = 0; i < STAY + GO; i++)
        EXPLORE_CHECK(mtaio_on(s.em, "x", count_call, i % 2 ? &s.a : &s.b) == 0);
    EXPLORE_CHECK(mtaio_off(s.em, "x", count_call, &s.b) == GO);
}
static void off_first(void) { *result_here() = mtaio_off(s.em, "x", count_call, &s.c); }
static void check_gaps(void) {
    EXPLORE_CHECK(s.a.calls == STAY && s.b.calls == 0 && s.c.calls <= 1 && s.result[2] == 1);
    EXPLORE_CHECK(s.result[1] == s.a.calls + s.c.calls);
    scene_end();
}

/* --- Reclamation, hazards 4, 35 ----------------------------------------------------------------- */

/* One reader is inside the handler all the time that another adds and removes: what it can reach stays, and
 * all is freed when it has gone. */
static int stall(mtaio_event *event, void *ctx) {
    for (unsigned i = 0; !load_acquire(&s.flag); i++) os_nap(i);
    return subject_call(event, ctx);
}
static void setup_stalls(void) {
    scene_new();
    EXPLORE_CHECK(listen_as(s.em, "x", &s.a, stall, 0, NULL) == 0);
    EXPLORE_CHECK(listen_to("x", &s.b, &s.listener) == 0);
}
static void change_and_tell(void) {
    mtaio_listener *listener;
    cancel();
    EXPLORE_CHECK(listen_to("x", &s.c, &listener) == 0 && mtaio_listener_cancel(listener) == 1);
    mtaio_listener_unref(listener);
    store_release(&s.flag, 1);
}
static void check_stalled(void) {
    EXPLORE_CHECK(s.a.calls == 1 && s.b.calls <= 1 && s.c.calls <= 1 && s.b.destroyed == 1 &&
                  s.c.destroyed == 1);
    EXPLORE_CHECK(s.result[1] == s.a.calls + s.b.calls + s.c.calls);
    scene_end_ab();
}
static void reclaim(void) {
    enter();
    mtaio_reclaim();
}
static void check_reclaimed(void) {
    EXPLORE_CHECK(s.a.calls == s.result[1] && s.result[2] == 1);
    scene_end_a();
}

#define ONE .setup = scene_one

static const struct bounded table[] = {
    ALL("emit-add", ONE, TWO(emit_x, add_b), .check = check_added),
    ALL("emit-add-and-cancel", .setup = setup_room, TWO(emit_x, add_b_cancel_b),
        .check = check_added_and_cancelled),
    ALL("emit-by-name-add-and-cancel", .setup = setup_room, TWO(emit_x_by_name, add_b_cancel_b),
        .check = check_added_and_cancelled),
    ALL("emit-first-add-and-cancel", .setup = scene_new, TWO(emit_x, add_b_cancel_b),
        .check = check_first_added_and_cancelled),
    UP_TO(3, EXPLORE_ALL, "emit-by-name-first-add-and-cancel", .setup = scene_new,
          TWO(emit_x_by_name, add_b_cancel_b), .check = check_first_added_and_cancelled),
    ALL("emit-cancel", ONE, TWO(emit_x, cancel), .check = check_cancelled),
    ALL("emit-after-cancel", ONE, TWO(emit_after_flag, cancel_and_tell), .check = check_cancelled),
    ALL("emit-cancel-first-of-two", .setup = setup_two, TWO(emit_x, cancel), .check = check_cancelled_first),
    ALL("emit-by-name-cancel", ONE, TWO(emit_x_by_name, cancel), .check = check_cancelled),
    ALL("emit-cancel-wait", ONE, TWO(emit_x, cancel_wait), .check = check_cancelled),
    UP_TO(2, EXPLORE_ALL, "emit-emit-removes-itself", .setup = setup_removes_self, TWO(emit_x, emit_x),
          .check = check_removed_self),
    ALL("emit-waits-for-itself", .setup = setup_waits_for_self, TWO(emit_x, cancel),
        .check = check_waits_for_self),
    ALL("two-emits-and-an-off", .setup = setup_plain, THREE(emit_x, emit_x, remove_plain),
        .check = check_plain),
    UP_TO(2, 3, "two-emits-and-a-cancel", ONE, THREE(emit_x, emit_x, cancel), .check = check_two_emits),
    UP_TO(2, 3, "two-emits-and-a-cancel-wait", ONE, THREE(emit_x, emit_x, cancel_wait),
          .check = check_two_emits),

    ALL("cancel-cancel", ONE, TWO(cancel, cancel), .check = check_one_winner),
    ALL("cancel-remove-all", ONE, TWO(cancel, remove_all), .check = check_one_winner),
    UP_TO(4, EXPLORE_ALL, "cancel-cancel-remove-all", ONE, THREE(cancel, cancel, remove_all),
          .check = check_one_winner),

    ALL("once-two-emits", .setup = setup_once, TWO(emit_x, emit_x), .check = check_once),
    ALL("once-cancel", .setup = setup_once, TWO(emit_x, cancel), .check = check_once_or_cancelled),
    UP_TO(2, 3, "once-two-emits-and-a-cancel", .setup = setup_once, THREE(emit_x, emit_x, cancel),
          .check = check_once_or_cancelled_of_two),
    ALL("once-close", .setup = setup_once, TWO(emit_x, close_emitter), .check = check_once_or_closed),

    ALL("emit-close", ONE, TWO(emit_x, close_emitter), .check = check_closed),
    ALL("add-close", ONE, TWO(add_b_or_closed, close_emitter), .check = check_added_or_closed),
    ALL("close-close", ONE, TWO(close_emitter, close_emitter), .check = check_closed_twice),
    ALL("emit-unref", .setup = setup_shared, TWO(emit_and_drop, drop), .check = check_dropped),
    UP_TO(2, EXPLORE_ALL, "unref-inside-cancel", .setup = setup_drops_inside, TWO(emit_x_by_name, cancel),
          .check = check_dropped_inside),

    ALL("emit-name-forgotten", .setup = setup_two_names, TWO(emit_x_by_name, cancel_and_unresolve),
        .check = check_forgotten),
    ALL("resolve-cancel", .setup = setup_unresolved, TWO(resolve_and_emit, cancel),
        .check = check_unresolved),
    ALL("emit-table-replaced", .setup = setup_full_table, TWO(emit_x_by_name, add_name),
        .check = check_grown),
    UP_TO(2, EXPLORE_ALL, "emit-table-freed", .setup = setup_full_table,
          TWO(emit_x_by_name, add_name_and_cancel), .check = check_grown_and_cancelled),
    UP_TO(2, EXPLORE_ALL, "emit-lane-freed", .setup = setup_full_lane, TWO(emit_x, add_b_and_cancel),
          .check = check_lane_replaced),
    ALL("threads-new-to-us", .setup = setup_without_records, TWO(emit_first, cancel_first),
        .check = check_first),
    UP_TO(2, 2, "threads-new-to-a-lane-with-gaps", .setup = setup_gaps, TWO(emit_first, off_first),
          .check = check_gaps),

    UP_TO(3, EXPLORE_ALL, "stalled-reader", .setup = setup_stalls, TWO(emit_x, change_and_tell),
          .check = check_stalled),
    UP_TO(2, 4, "emit-cancel-reclaim", ONE, THREE(emit_x, cancel, reclaim), .check = check_reclaimed),
};

int main(int argc, char **argv) { return scene_main(table, sizeof table / sizeof *table, argc, argv); }
