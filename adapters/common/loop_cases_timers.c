/* loop_cases_timers.c - see loop_cases.h: timers. */
#include "../common/loop_cases.h"

#include <string.h>
#include <time.h>

#define MS ((int64_t)1000000)

static int64_t now_ns(void) {
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* --- Timers: a stage, an emitter with one handler, an event for it to get ----------------------- */

struct clock {
    struct stage *stage;
    pthread_t thread;
    mtaio_emitter *emitter;
    mtaio_event *event;
    int64_t start_ns, last_ns; /* of the handler's calls; these and what follows are used in the loop alone */
    int ticks, stop_at;        /* 0: never */
    int64_t work_ns;           /* what a call takes */
    loop_timer *timer;         /* what a call is to cancel, or NULL, */
    int canceled;              /* and what that answered */
    atomic_int released;       /* events */
};

static int tick(mtaio_event *event, void *ctx) {
    struct clock *c = ctx;

    CHECK(pthread_equal(pthread_self(), c->thread));
    CHECK(strcmp(mtaio_event_name(event), "tick") == 0);
    CHECK(mtaio_event_data(event) == c);
    c->last_ns = now_ns();
    for (c->ticks++; now_ns() < c->last_ns + c->work_ns;)
        ;
    if (c->timer != NULL)
        c->canceled = stage_timer_cancel(c->timer);
    if (c->ticks == c->stop_at)
        stage_stop(c->stage);
    return 0;
}

static void released(void *data) { atomic_fetch_add(&((struct clock *)data)->released, 1); }

static void clock_begin(struct clock *c, int stop_at) {
    *c = (struct clock){.stage = stage_new(), .thread = pthread_self(), .stop_at = stop_at, .canceled = -1};
    CHECK(mtaio_emitter_new(NULL, &c->emitter) == 0);
    CHECK(mtaio_on(c->emitter, "tick", tick, c) == 0);
    CHECK(mtaio_event_new("tick", c, released, &c->event) == 0);
    c->start_ns = now_ns();
}

static void clock_end(struct clock *c) {
    mtaio_event_unref(c->event);
    stage_timer_unref(c->timer);
    mtaio_emitter_unref(c->emitter);
    stage_free(c->stage);
    CHECK(atomic_load(&c->released) == 1);
}

static void stop(void *arg) { stage_stop(arg); }

/* Runs the loop for some time, in each of whose milliseconds it turns: whatever stops this thread meanwhile takes
 * one of them. */
static void run_ms(struct stage *s, unsigned ms) {
    for (unsigned i = 0; i < ms; i++) {
        int64_t end_ns = now_ns() + MS;
        do {
            stage_later(s, stop, s);
            stage_run(s);
        } while (now_ns() < end_ns);
    }
}

/* "Emits the owned event in the loop once, delay_ns from now": not earlier. */
void case_after(void **state) {
    struct clock c;

    (void)state;
    clock_begin(&c, 1);
    assert_int_equal(stage_emit_after(c.stage, c.emitter, c.event, 20 * MS, NULL), 0);
    stage_run(c.stage);
    assert_in_range(c.last_ns - c.start_ns, 20 * MS, 2000 * MS);
    run_ms(c.stage, 50);
    assert_int_equal(c.ticks, 1);
    assert_int_equal(stage_emit_after(c.stage, c.emitter, c.event, 0, NULL), 0);
    assert_int_equal(c.ticks, 1); /* not during the call */
    run_ms(c.stage, 10);
    assert_int_equal(c.ticks, 2);
    clock_end(&c);
}

static int append(mtaio_event *event, void *ctx) {
    strcat(ctx, mtaio_event_name(event));
    return 0;
}

/* However they are started, they come in the order of their times; one far away does not come. */
void case_after_order(void **state) {
    static const struct {
        const char *name;
        int64_t delay_ns;
    } starts[] = {{"d", 120 * MS}, {"never", INT64_MAX}, {"b", 40 * MS}, {"f", 200 * MS},
                  {"a", 0},        {"e", 160 * MS},      {"c", 80 * MS}, {"far", 1000 * MS * 1000}};
    struct clock c;
    char log[40] = "";

    (void)state;
    clock_begin(&c, 0);
    assert_int_equal(mtaio_on(c.emitter, "*", append, log), 0);
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        mtaio_event *event;
        assert_int_equal(mtaio_event_new(starts[i].name, NULL, NULL, &event), 0);
        assert_int_equal(stage_emit_after(c.stage, c.emitter, event, starts[i].delay_ns, NULL), 0);
        mtaio_event_unref(event);
    }
    run_ms(c.stage, 300);
    assert_string_equal(log, "abcdef");
    assert_int_equal(stage_close(c.stage), 0);
    clock_end(&c);
}

static void *start_two(void *arg) {
    struct clock *c = arg;

    support_sleep_ms(10);
    CHECK(stage_emit_after(c->stage, c->emitter, c->event, 1000 * 1000 * MS, &c->timer) == 0);
    support_sleep_ms(10);
    CHECK(stage_emit_after(c->stage, c->emitter, c->event, 5 * MS, NULL) == 0);
    return NULL;
}

/* A timer that is started by another thread wakes the loop, also where it waits for a later one. */
void case_after_wakes(void **state) {
    struct clock c;
    pthread_t thread;

    (void)state;
    clock_begin(&c, 1);
    assert_int_equal(pthread_create(&thread, NULL, start_two, &c), 0);
    stage_run(c.stage);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(c.canceled, 1); /* the later one, by the call */
    clock_end(&c);
}

/* How long n ticks of 40 ms take when each has work for 20 ms. */
static int64_t time_ticks(struct clock *c, int n) {
    loop_timer *timer;

    c->ticks = 0;
    c->stop_at = n;
    c->work_ns = 20 * MS;
    c->start_ns = now_ns();
    CHECK(stage_emit_periodic(c->stage, c->emitter, c->event, 40 * MS, &timer) == 0);
    stage_run(c->stage);
    CHECK(stage_timer_cancel(timer) == 1);
    stage_timer_unref(timer);
    return c->last_ns - c->start_ns;
}

/* "every period_ns, first after one"; "The n-th time is always start + n * period", however long calls take:
 * else 10 ticks would take at least 580 ms, in the quickest of many tries too. A tick that a busy machine makes more
 * than 20 ms late takes the place of the next: four of them leave a try good. */
void case_periodic(void **state) {
    struct clock c;
    int64_t took_ns, best_ns = INT64_MAX;

    (void)state;
    clock_begin(&c, 0);
    for (int i = 0; i < 100 && best_ns > 570 * MS; i++) {
        took_ns = time_ticks(&c, 10);
        assert_true(took_ns >= 10 * 40 * MS);
        best_ns = took_ns < best_ns ? took_ns : best_ns;
    }
    assert_in_range(best_ns, 400 * MS, 570 * MS);
    clock_end(&c);
}

/* "times that have passed when the loop comes to them are one emission", and the next keeps to the times. */
void case_periodic_late(void **state) {
    struct clock c;

    (void)state;
    clock_begin(&c, 1);
    assert_int_equal(stage_emit_periodic(c.stage, c.emitter, c.event, 4 * MS, &c.timer), 0);
    loop_timer *timer = c.timer;
    c.timer = NULL;
    support_sleep_ms(40);
    stage_run(c.stage);
    c.stop_at = 11;
    stage_run(c.stage);
    assert_true(c.last_ns - c.start_ns >= (10 + 10) * 4 * MS);
    c.timer = timer;
    assert_int_equal(stage_close(c.stage), 0);
    clock_end(&c);
}

static void *cancel(void *arg) {
    struct clock *c = arg;

    CHECK(stage_timer_cancel(c->timer) == 1);
    CHECK(stage_timer_cancel(c->timer) == 0);
    return NULL;
}

/* "1: there will be no further emission ... 0: it had ended, or is just being carried out for the only time".
 * */
void case_timer_cancel(void **state) {
    struct clock c;
    pthread_t thread;

    (void)state;
    clock_begin(&c, 1);
    assert_int_equal(stage_emit_after(c.stage, c.emitter, c.event, 10 * MS, &c.timer), 0);
    assert_int_equal(pthread_create(&thread, NULL, cancel, &c), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    run_ms(c.stage, 30);
    assert_int_equal(c.ticks, 0);

    stage_timer_unref(c.timer);
    assert_int_equal(stage_emit_after(c.stage, c.emitter, c.event, 1 * MS, &c.timer), 0);
    stage_run(c.stage);
    assert_int_equal(c.canceled, 0);
    assert_int_equal(stage_timer_cancel(c.timer), 0);

    stage_timer_unref(c.timer);
    c.stop_at = 2;
    assert_int_equal(stage_emit_periodic(c.stage, c.emitter, c.event, 1 * MS, &c.timer), 0);
    stage_run(c.stage);
    assert_int_equal(c.canceled, 1);
    run_ms(c.stage, 10);
    assert_int_equal(c.ticks, 2);
    clock_end(&c);
}

/* "A timer ends ... when the loop is closed, and at the first time at which its emitter is closed." */
void case_timer_ends(void **state) {
    struct clock c;
    loop_timer *once;

    (void)state;
    clock_begin(&c, 3);
    assert_int_equal(stage_emit_after(c.stage, c.emitter, c.event, 1000 * MS, &once), 0);
    assert_int_equal(stage_emit_periodic(c.stage, c.emitter, c.event, 1 * MS, &c.timer), 0);
    loop_timer *periodic = stage_timer_ref(c.timer);
    c.timer = stage_timer_unref(c.timer);
    stage_run(c.stage);
    int ticks = c.ticks;
    assert_int_equal(mtaio_emitter_close(c.emitter), 0);
    run_ms(c.stage, 10);
    assert_int_equal(c.ticks, ticks);
    assert_int_equal(stage_timer_cancel(periodic), 0);
    assert_int_equal(stage_close(c.stage), 0);
    assert_int_equal(stage_timer_cancel(once), 0);
    assert_int_equal(stage_emit_after(c.stage, c.emitter, c.event, 0, NULL), MTAIO_ECLOSED);
    stage_timer_unref(once);
    c.timer = periodic; /* given back when the loop is gone but for it */
    clock_end(&c);
}

/* "Until then it keeps both": the loop runs until it has emitted, and is closed by the last timer. */
void case_timer_keeps(void **state) {
    struct clock c;

    (void)state;
    clock_begin(&c, 1);
    assert_int_equal(stage_emit_after(c.stage, c.emitter, c.event, 10 * MS, NULL), 0);
    c.event = mtaio_event_unref(c.event);
    c.emitter = mtaio_emitter_unref(c.emitter);
    stage_unref(c.stage);
    stage_run(c.stage);
    assert_int_equal(c.ticks, 1);
    clock_end(&c);
}

enum { STARTERS = 3, STARTS = 200 };
struct starter {
    struct clock *clock;
    atomic_int *canceled;
};

static void *start_and_cancel(void *arg) {
    struct starter *s = arg;
    struct clock *c = s->clock;
    loop_timer *timer;

    for (int i = 0; i < STARTS; i++) {
        loop_timer **ret = i % 2 == 0 ? &timer : NULL;
        CHECK(stage_emit_after(c->stage, c->emitter, c->event, i % 5 * MS / 10, ret) == 0);
        if (i % 2 != 0)
            continue;
        if (i % 4 == 0)
            sched_yield();
        if (stage_timer_cancel(timer) == 1)
            atomic_fetch_add(s->canceled, 1);
        stage_timer_unref(timer);
    }
    return NULL;
}

/* Threads start timers and cancel them, in a loop that runs: each has emitted once, or was cancelled. */
void case_timer_race(void **state) {
    atomic_int canceled = 0;
    struct clock c;
    struct starter starter = {&c, &canceled};
    pthread_t threads[STARTERS];

    (void)state;
    clock_begin(&c, 0);
    for (int i = 0; i < STARTERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, start_and_cancel, &starter), 0);
    run_ms(c.stage, 20);
    for (int i = 0; i < STARTERS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (int64_t limit_ns = now_ns() + 10000 * MS;
         c.ticks + atomic_load(&canceled) < STARTERS * STARTS && now_ns() < limit_ns;)
        run_ms(c.stage, 1);
    run_ms(c.stage, 5);
    assert_int_equal(c.ticks + atomic_load(&canceled), STARTERS * STARTS);
    clock_end(&c);
}

static int borrow(mtaio_event *event, void *ctx) {
    struct clock *c = ctx;

    CHECK(stage_emit_after(c->stage, c->emitter, event, 0, NULL) == MTAIO_EINVAL);
    c->ticks++;
    return 0;
}

/* Hazards 37 and 45: "EINVAL (also a negative time, or a period of 0)"; an event that is lent is not an owned
 * one. */
void case_timer_arguments(void **state) {
    struct clock c;
    loop_timer *timer = NULL;

    (void)state;
    clock_begin(&c, 0);
    assert_int_equal(stage_emit_after(c.stage, NULL, c.event, 0, &timer), MTAIO_EINVAL);
    assert_int_equal(stage_emit_after(c.stage, c.emitter, NULL, 0, &timer), MTAIO_EINVAL);
    assert_int_equal(stage_emit_after(c.stage, c.emitter, c.event, -1, &timer), MTAIO_EINVAL);
    assert_int_equal(stage_emit_after(c.stage, c.emitter, c.event, INT64_MIN, &timer), MTAIO_EINVAL);
    assert_int_equal(stage_emit_periodic(c.stage, c.emitter, c.event, 0, &timer), MTAIO_EINVAL);
    assert_int_equal(stage_emit_periodic(c.stage, c.emitter, c.event, -1, &timer), MTAIO_EINVAL);
    assert_int_equal(stage_emit_periodic(c.stage, NULL, c.event, 1, &timer), MTAIO_EINVAL);
    assert_null(timer);
    assert_int_equal(stage_timer_cancel(NULL), MTAIO_EINVAL);
    assert_null(stage_timer_ref(NULL));
    assert_null(stage_timer_unref(NULL));
    assert_int_equal(mtaio_on(c.emitter, "other", borrow, &c), 0);
    assert_int_equal(mtaio_emit(c.emitter, "other", NULL), 1);
    assert_int_equal(c.ticks, 1);
    assert_int_equal(stage_emit_periodic(c.stage, c.emitter, c.event, INT64_MAX, &c.timer), 0);
    assert_int_equal(stage_timer_cancel(c.timer), 1);
    clock_end(&c);
}

/* "ENOMEM", and everything is as it was. "Where there is no memory for an emission, it is tried again". */
void case_timer_memory(void **state) {
    struct clock c;
    mtaio_event *event;

    (void)state;
    clock_begin(&c, 1);
    for (int n = 1; n <= 2; n++) {
        memory_fails_in(n);
        assert_int_equal(stage_emit_after(c.stage, c.emitter, c.event, 0, &c.timer), MTAIO_ENOMEM);
        assert_null(c.timer);
    }
    for (int n = 1; n <= 3; n++) {
        assert_int_equal(mtaio_event_new("tick", &c, NULL, &event), 0);
        assert_int_equal(stage_emit_after(c.stage, c.emitter, event, 0, NULL), 0);
        c.ticks = 0;
        memory_fails_in(n);
        stage_run(c.stage);
        memory_fails_in(0);
        assert_int_equal(c.ticks, 1);
        mtaio_event_unref(event);
    }
    clock_end(&c);
}
