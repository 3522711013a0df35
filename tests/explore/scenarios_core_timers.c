/* scenarios_core_timers.c - timers that go off while they are cancelled, waited for, the last of their
 * thread, or while their emitter is closed. The clock moves only where nobody can go on, or a wait's time
 * passes; the executor is a thread of the scenario. On the unmodified core. */
#include "scene.h"

#include <mtaio/timer.h>

static struct {
    mtaio_timer *timer, *second;
    struct subject a, b;
    ATOMIC(mtaio_job *) job;
    mtaio_executor *executor;
    mtaio_event *event;
    int order[2], called;
    ATOMIC(int) left; /* timers that are not over */
} t EXPLORE_STATE;

/* A periodic one ends itself in the second call: each moves the clock. */
static void call(uint64_t count, void *ctx) {
    EXPLORE_CHECK(count >= 1 && t.called < 2);
    t.order[t.called++] = ((const struct context *)ctx)->of == &t.a ? 1 : 2;
    subject_call(NULL, ctx);
    if (t.a.calls == 2) s.result[0] = mtaio_timer_cancel_wait(t.timer);
}

static void over(void *ctx) {
    subject_destroy(ctx);
    atomic_sub(&t.left, 1);
}

static int begin(struct subject *of, int64_t delay_ns, int64_t period_ns, mtaio_timer **ret) {
    atomic_add(&t.left, 1);
    return mtaio_timer_start(MTAIO_TIMER(.delay_ns = delay_ns, .period_ns = period_ns, .call = call,
                                         .destroy = over, .ctx = context_new(of), .executor = t.executor),
                             ret);
}

static void setup_once(void) {
    scene_new();
    EXPLORE_CHECK(begin(&t.a, 1000, 0, &t.timer) == 0);
}
static void setup_periodic(void) {
    scene_new();
    EXPLORE_CHECK(begin(&t.a, 1000, 1000, &t.timer) == 0);
}

/* A loop that a thread of the scenario turns once. */
static int post(mtaio_job *job, void *ctx) {
    (void)ctx;
    store_release(&t.job, job);
    return 0;
}
static bool is_current(void *ctx) {
    (void)ctx;
    return false;
}
static void setup_loop(void) {
    scene_new();
    EXPLORE_CHECK(mtaio_executor_new(MTAIO_LOOP(.post = post, .is_current = is_current), &t.executor) == 0);
    EXPLORE_CHECK(begin(&t.a, 0, 0, &t.timer) == 0);
}

/* --- Threads ------------------------------------------------------------------------------------- */

/* Time may pass before the thread does anything: nothing else would have the explorer try that. */
static void enter_late(void) {
    enter();
    explore_point();
}
/* The timers' thread may be about to end them. */
static void await_over(void) {
    for (unsigned i = 0; load_acquire(&t.left) > 0; i++) os_nap(i);
}
static void cancel_timer(void) {
    enter_late();
    *result_here() = mtaio_timer_cancel(t.timer);
    await_over();
}
static void cancel_timer_wait(void) {
    enter_late();
    *result_here() = mtaio_timer_cancel_wait(t.timer);
    int calls = t.a.calls;
    EXPLORE_CHECK(t.a.running == 0);
    explore_point();
    EXPLORE_CHECK(t.a.calls == calls); /* and none comes after that */
    await_over();
}
static void run_job(void) {
    mtaio_job *job;
    enter_late();
    for (unsigned i = 0; !(job = load_acquire(&t.job)); i++) os_nap(i);
    mtaio_job_run(job);
}
static void begin_second(void) {
    enter_late();
    *result_here() = begin(&t.b, 1000, 0, &t.second);
    await_over();
}
static void close_it(void) {
    enter_late();
    EXPLORE_CHECK(mtaio_emitter_close(s.em) == 0);
}
static void released(void *data) {
    (void)data;
    atomic_sub(&t.left, 1);
}
static int emit_soon(void) {
    mtaio_event *event;
    atomic_add(&t.left, 1);
    EXPLORE_CHECK(mtaio_event_new("x", NULL, released, &event) == 0);
    int r = mtaio_emit_after(s.em, event, 1000, NULL, NULL);
    mtaio_event_unref(event);
    return r;
}
static void emit_soon_and_wait(void) {
    enter_late();
    *result_here() = emit_soon();
    await_over();
}
static void setup_emits(void) {
    scene_one();
    EXPLORE_CHECK(emit_soon() == 0);
}
static void drop_emitter(void) {
    enter_late();
    s.name = mtaio_name_unref(s.name);
    s.em = mtaio_emitter_unref(s.em);
    await_over();
}

/* --- Outcomes ------------------------------------------------------------------------------------ */

/* The timers' thread ends before this, or the explorer says that one is left. */
static void timers_gone(void) {
    t.timer = mtaio_timer_unref(t.timer);
    t.second = mtaio_timer_unref(t.second);
    t.executor = mtaio_executor_unref(t.executor);
    scene_end();
}
/* How many were told that they have cancelled it; [0]: its own call. */
static int canceled(void) { return s.result[0] + s.result[1] + s.result[2] + s.result[3]; }

/* Cancelled or called: the one or the other. */
static void check_once(void) {
    EXPLORE_CHECK(t.a.calls + canceled() == 1 && t.a.destroyed == 1);
    timers_gone();
}
static void check_periodic(void) {
    EXPLORE_CHECK(canceled() == 1 && t.a.destroyed == 1);
    timers_gone();
}
/* The second began while the first went off, or after the thread had ended: it is called too. */
static void check_both(void) {
    EXPLORE_CHECK(t.a.calls == 1 && t.b.calls == 1 && t.a.destroyed == 1 && t.b.destroyed == 1);
    timers_gone();
}
static void check_emitted(void) {
    EXPLORE_CHECK(s.result[1] == 0 || s.result[1] == MTAIO_ECLOSED);
    EXPLORE_CHECK(s.a.calls <= 1 && (s.a.calls == 0 || s.result[1] == 0));
    timers_gone();
    EXPLORE_CHECK(s.a.destroyed == 1);
}

/* --- On one thread: the clock stands still ------------------------------------------------------- */

/* Due at the same time: in the order in which they began, and however they were put into the heap. */
static void begin_equals(void) {
    enter_late();
    EXPLORE_CHECK(begin(&t.a, 1000, 0, &t.timer) == 0 && begin(&t.b, 1000, 0, &t.second) == 0);
    await_over();
}
static void check_equals(void) {
    EXPLORE_CHECK(t.called == 2 && t.order[0] == 1 && t.order[1] == 2);
    timers_gone();
}

static const struct bounded table[] = {
    ALL("timer-cancelled", .setup = setup_once, .threads = {cancel_timer}, .check = check_once),
    ALL("timer-cancelled-waiting", .setup = setup_once, .threads = {cancel_timer_wait}, .check = check_once),
    UP_TO(3, 5, "timer-cancelled-twice", .setup = setup_once, TWO(cancel_timer_wait, cancel_timer),
          .check = check_once),
    UP_TO(2, 3, "timer-periodic-cancelled-twice", .setup = setup_periodic,
          TWO(cancel_timer_wait, cancel_timer), .check = check_periodic),
    UP_TO(4, EXPLORE_ALL, "timer-on-loop-cancelled", .setup = setup_loop, TWO(cancel_timer_wait, run_job),
          .check = check_once),
    UP_TO(3, 5, "timer-begins-as-the-last-ends", .setup = setup_once, TWO(begin_second, await_over),
          .check = check_both),
    ALL("timer-equals", .setup = scene_new, .threads = {begin_equals}, .check = check_equals),
    UP_TO(1, 2, "timer-emits-as-the-emitter-closes", .setup = scene_one, TWO(emit_soon_and_wait, close_it),
          .check = check_emitted),
    UP_TO(3, 5, "timer-emits-as-the-emitter-goes", .setup = setup_emits, .threads = {drop_emitter},
          .check = check_emitted),
};

int main(int argc, char **argv) { return scene_main(table, sizeof table / sizeof *table, argc, argv); }
