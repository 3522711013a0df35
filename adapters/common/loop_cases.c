/* loop_cases.c - see loop_cases.h: executors. Handlers run on the loop's thread alone; emissions come from
 * others. */
#include "../common/loop_cases.h"

#include <stdlib.h>

int cases_begin(void **state) {
    (void)state;
    return memory_begin();
}

/* --- A scene: a stage, and an emitter with a handler that runs in it --------------------------- */

enum { DONE, REFUSED, DROPPED };
struct scene {
    struct stage *stage;
    mtaio_executor *executor;
    mtaio_emitter *emitter;
    pthread_t thread;      /* the stage's */
    int runs, stop_at;     /* of the handler; when it stops the loop, 0: never. Used in the loop alone */
    atomic_int results[3]; /* of emissions, or of jobs */
};

static void note(struct scene *s, int result) { atomic_fetch_add(&s->results[result], 1); }
static int noted(struct scene *s, int result) { return atomic_load(&s->results[result]); }
static int ended(struct scene *s) { return noted(s, DONE) + noted(s, REFUSED) + noted(s, DROPPED); }
static bool is_here(const struct scene *s) { return pthread_equal(pthread_self(), s->thread) != 0; }

static int handle(mtaio_event *event, void *ctx) {
    struct scene *s = ctx;

    (void)event;
    CHECK(is_here(s));
    CHECK(mtaio_executor_is_current(s->executor));
    if (++s->runs == s->stop_at)
        stage_stop(s->stage);
    return 0;
}

static void listen(struct scene *s, mtaio_call call) {
    CHECK(mtaio_emitter_on(s->emitter, "event",
                           MTAIO_HANDLER(.call = call, .ctx = s, .executor = s->executor), NULL) == 0);
}

static void scene_begin(struct scene *s, mtaio_call call) {
    *s = (struct scene){.stage = stage_new(), .thread = pthread_self()};
    s->executor = stage_executor(s->stage);
    CHECK(mtaio_emitter_new(NULL, &s->emitter) == 0);
    listen(s, call);
}

static void scene_end(struct scene *s) {
    mtaio_emitter_unref(s->emitter);
    stage_free(s->stage);
}

static void note_failure(const mtaio_failure *failure, void *ctx) {
    CHECK(failure->status == MTAIO_ECLOSED || failure->status == MTAIO_ECANCELED);
    note(ctx, failure->status == MTAIO_ECLOSED ? REFUSED : DROPPED);
}

static void emit(struct scene *s) {
    int r = mtaio_emit_with(s->emitter,
                            MTAIO_EMISSION(.name = "event", .failure = note_failure, .ctx = s));

    CHECK(r == 1 || r == MTAIO_EHANDLER);
    if (r == 1)
        note(s, DONE);
}

static void *emit_once(void *arg) {
    emit(arg);
    return NULL;
}

static pthread_t start(void *(*run)(void *arg), void *arg) {
    pthread_t thread;

    CHECK(pthread_create(&thread, NULL, run, arg) == 0);
    return thread;
}

static void join(pthread_t thread) { CHECK(pthread_join(thread, NULL) == 0); }

static void job_run(void *arg) {
    struct scene *s = arg;

    CHECK(is_here(s));
    s->runs++;
    note(s, DONE);
}

static void job_dropped(void *arg) { note(arg, DROPPED); }

static void post(struct scene *s) {
    int r = mtaio_executor_post(s->executor, job_run, job_dropped, s);

    CHECK(r == 0 || r == MTAIO_ECLOSED);
    if (r < 0)
        note(s, REFUSED);
}

static void stop(void *arg) { stage_stop(((struct scene *)arg)->stage); }

/* Runs the loop until it has come round. */
static void turn(struct scene *s) {
    stage_later(s->stage, stop, s);
    stage_run(s->stage);
}

/* --- Handlers in the loop ---------------------------------------------------------------------- */

enum { MANY = 1000 };

static void *emit_many(void *arg) {
    for (int i = 0; i < MANY; i++)
        emit(arg);
    return NULL;
}

/* "A handler may name an executor (thread pool, event loop) that runs it"; "mtaio_emit waits for the end". */
void case_handler_from_a_thread(void **state) {
    struct scene s;
    pthread_t thread;

    (void)state;
    scene_begin(&s, handle);
    s.stop_at = MANY;
    thread = start(emit_many, &s);
    stage_run(s.stage);
    join(thread);
    assert_int_equal(s.runs, MANY);
    assert_int_equal(noted(&s, DONE), MANY);
    scene_end(&s);
}

static void emit_in_the_loop(void *arg) {
    struct scene *s = arg;

    emit(s);
    CHECK(s->runs == 2);
    stage_stop(s->stage);
}

/* "An emission that the loop's own thread begins calls the handler directly": before the loop runs, and
 * after, too. */
void case_emit_in_the_loop(void **state) {
    struct scene s;

    (void)state;
    scene_begin(&s, handle);
    emit(&s);
    assert_int_equal(s.runs, 1);
    stage_later(s.stage, emit_in_the_loop, &s);
    stage_run(s.stage);
    emit(&s);
    assert_int_equal(s.runs, 3);
    scene_end(&s);
}

struct place {
    struct scene *scene;
    int number;
};

static void run_in_place(void *arg) {
    struct place *place = arg;

    CHECK(place->scene->runs == place->number);
    job_run(place->scene);
}

/* "in the order in which they were posted"; posting "returns without waiting for it", on the loop's thread
 * too. */
void case_order(void **state) {
    struct place places[100];
    struct scene s;

    (void)state;
    scene_begin(&s, handle);
    for (int i = 0; i < 100; i++) {
        places[i] = (struct place){&s, i};
        assert_int_equal(mtaio_executor_post(s.executor, run_in_place, NULL, &places[i]), 0);
    }
    assert_int_equal(s.runs, 0);
    while (s.runs < 100)
        turn(&s);
    scene_end(&s);
}

static void post_again(void *arg) {
    struct scene *s = arg;

    job_run(s);
    if (s->stop_at == 0)
        CHECK(mtaio_executor_post(s->executor, post_again, NULL, s) == 0);
}

/* Jobs without end do not keep the loop from its other work. */
void case_turns(void **state) {
    struct scene s;

    (void)state;
    scene_begin(&s, handle);
    assert_int_equal(mtaio_executor_post(s.executor, post_again, NULL, &s), 0);
    for (int i = 0; i < 10; i++)
        turn(&s);
    assert_in_range(s.runs, 5, 20);
    s.stop_at = 1;
    scene_end(&s);
}

/* --- The end ----------------------------------------------------------------------------------- */

static int begin(mtaio_event *event, void *ctx) {
    (void)event;
    atomic_store((atomic_bool *)ctx, true);
    return 0;
}

/* "drops the jobs that wait, on this thread: who waits for them is told ECANCELED"; the loop need not run.
 * Then "ECLOSED". */
void case_close(void **state) {
    struct scene s;
    atomic_bool begun = false;
    pthread_t thread;

    (void)state;
    scene_begin(&s, handle);
    CHECK(mtaio_emitter_on(s.emitter, "event",
                           MTAIO_HANDLER(.call = begin, .ctx = &begun, .priority = MTAIO_HIGH), NULL) == 0);
    for (int i = 0; i < 10; i++)
        post(&s);
    thread = start(emit_once, &s);
    EVENTUALLY(atomic_load(&begun)); /* and about to be queued, or refused */
    assert_int_equal(stage_close(s.stage), 0);
    assert_true(noted(&s, DROPPED) >= 10);
    join(thread);
    assert_int_equal(noted(&s, DROPPED) + noted(&s, REFUSED), 11);
    post(&s);
    assert_int_equal(ended(&s), 12);
    assert_int_equal(noted(&s, DONE), 0);
    scene_end(&s);
}

static int close_now(mtaio_event *event, void *ctx) {
    struct scene *s = ctx;

    (void)event;
    for (int i = 0; i < 3; i++)
        post(s);
    CHECK(stage_close(s->stage) == 0);
    CHECK(noted(s, DROPPED) == 3);
    stage_stop(s->stage);
    return 0;
}

/* "Your code may call anything": a handler in the loop closes it. */
void case_close_in_a_handler(void **state) {
    struct scene s;
    pthread_t thread;

    (void)state;
    scene_begin(&s, close_now);
    thread = start(emit_once, &s);
    stage_run(s.stage);
    join(thread);
    assert_int_equal(noted(&s, DONE), 1);
    assert_int_equal(ended(&s), 4);
    scene_end(&s);
}

static void *unref_emitter(void *arg) {
    struct scene *s = arg;

    emit(s);
    s->emitter = mtaio_emitter_unref(s->emitter);
    return NULL;
}

/* "the two share their references, those of handlers and receivers too, and the last one closes it", on any
 * thread. */
void case_last_reference(void **state) {
    struct scene s;
    pthread_t thread;

    (void)state;
    scene_begin(&s, handle);
    s.stop_at = 1;
    stage_unref(s.stage);
    thread = start(unref_emitter, &s);
    stage_run(s.stage);
    assert_int_equal(s.runs, 1);
    join(thread);
    stage_free(s.stage);
}

static void unref_stage(void *arg) {
    stage_unref(((struct scene *)arg)->stage);
    job_run(arg);
}

/* A job is a reference; the turn that it is part of survives it. */
void case_last_reference_in_a_job(void **state) {
    struct scene s;

    (void)state;
    scene_begin(&s, handle);
    s.emitter = mtaio_emitter_unref(s.emitter);
    assert_int_equal(mtaio_executor_post(s.executor, unref_stage, NULL, &s), 0);
    while (s.runs == 0)
        turn(&s);
    stage_free(s.stage);
}

/* --- Races (hazards 14, 23) -------------------------------------------------------------------- */

enum { POSTERS = 3, POSTS = 20 };
struct race {
    struct scene scene;
    struct support_barrier barrier;
    bool close_elsewhere;
};

static void *post_and_close(void *arg) {
    struct race *race = arg;

    support_barrier_wait(&race->barrier);
    for (int i = 0; i < POSTS; i++)
        post(&race->scene);
    if (race->close_elsewhere)
        CHECK(stage_close(race->scene.stage) >= MTAIO_EALREADY);
    return NULL;
}

/* Closing, by one thread or several, among posts of others, in a loop that runs: each job is run, dropped or
 * refused, once. */
void case_closing_race(void **state) {
    (void)state;
    for (int round = 0; round < 100; round++) {
        struct race race = {.close_elsewhere = round % 2 == 1};
        pthread_t threads[POSTERS];
        scene_begin(&race.scene, handle);
        support_barrier_init(&race.barrier, POSTERS + 1);
        for (int i = 0; i < POSTERS; i++)
            threads[i] = start(post_and_close, &race);
        support_barrier_wait(&race.barrier);
        for (int i = 0; i < round % 5; i++)
            turn(&race.scene);
        CHECK(stage_close(race.scene.stage) >= MTAIO_EALREADY);
        turn(&race.scene);
        for (int i = 0; i < POSTERS; i++)
            join(threads[i]);
        assert_int_equal(ended(&race.scene), POSTERS * POSTS);
        assert_int_equal(race.scene.runs, noted(&race.scene, DONE));
        scene_end(&race.scene);
    }
}

enum { LOOPS = 3, EMITTING = 2, ROUNDS = 500 };
struct city {
    mtaio_emitter *emitter;
    struct support_barrier barrier;
    atomic_int emitted;
};

static void *run_a_loop(void *arg) {
    struct city *city = arg;
    struct scene s = {.stage = stage_new(), .emitter = city->emitter, .thread = pthread_self()};

    s.executor = stage_executor(s.stage);
    s.stop_at = EMITTING * ROUNDS;
    listen(&s, handle);
    support_barrier_wait(&city->barrier);
    stage_run(s.stage);
    CHECK(s.runs == EMITTING * ROUNDS);
    support_barrier_wait(&city->barrier);
    CHECK(mtaio_off(city->emitter, "event", handle, &s) == 1);
    stage_close(s.stage); /* emissions of others may hold back what was removed, and so its executor */
    stage_free(s.stage);
    return NULL;
}

static void *emit_to_loops(void *arg) {
    struct city *city = arg;

    support_barrier_wait(&city->barrier);
    for (int i = 0; i < ROUNDS; i++)
        CHECK(mtaio_emit(city->emitter, "event", NULL) == LOOPS);
    support_barrier_wait(&city->barrier);
    return NULL;
}

/* Any number of loops and threads: each emission passes through a handler in each loop. */
void case_many_loops(void **state) {
    struct city city;
    pthread_t threads[LOOPS + EMITTING];

    (void)state;
    assert_int_equal(mtaio_emitter_new(NULL, &city.emitter), 0);
    support_barrier_init(&city.barrier, LOOPS + EMITTING);
    for (int i = 0; i < LOOPS + EMITTING; i++)
        threads[i] = start(i < LOOPS ? run_a_loop : emit_to_loops, &city);
    for (int i = 0; i < LOOPS + EMITTING; i++)
        join(threads[i]);
    mtaio_emitter_unref(city.emitter);
}

static void *run_elsewhere(void *arg) {
    struct scene *s = arg;

    s->thread = pthread_self();
    stage_run(s->stage);
    return NULL;
}

/* Another thread than that which made it runs the loop: from the first turn on that is the loop's. */
void case_run_elsewhere(void **state) {
    struct scene s;
    pthread_t thread;

    (void)state;
    scene_begin(&s, handle);
    thread = start(run_elsewhere, &s);
    post(&s);
    EVENTUALLY(noted(&s, DONE) == 1);
    assert_false(mtaio_executor_is_current(s.executor));
    emit(&s);
    assert_int_equal(noted(&s, DONE), 2);
    assert_int_equal(mtaio_executor_post(s.executor, stop, NULL, &s), 0);
    join(thread);
    assert_int_equal(s.runs, 2);
    scene_end(&s);
}

/* --- Memory ------------------------------------------------------------------------------------ */

/* "Out of memory is an error return that leaves everything as it was." */
void case_out_of_memory(void **state) {
    struct scene s;
    int r, n = 0;

    (void)state;
    scene_begin(&s, handle);
    do {
        memory_fails_in(++n);
        r = stage_try(s.stage);
        assert_true(r == 0 || r == MTAIO_ENOMEM);
        assert_int_equal(r == 0, memory_left() > 0);
    } while (r < 0);
    assert_true(n > 2); /* of the adapter's, and of the core's */
    memory_fails_in(0);
    for (n = 1; n <= 2; n++) {
        memory_fails_in(n);
        assert_int_equal(mtaio_executor_post(s.executor, job_run, job_dropped, &s), MTAIO_ENOMEM);
    }
    assert_int_equal(ended(&s), 0);
    post(&s);
    while (noted(&s, DONE) == 0)
        turn(&s);
    scene_end(&s);
}
