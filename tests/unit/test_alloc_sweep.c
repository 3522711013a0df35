/* test_alloc_sweep.c - "Out of memory is an error return that leaves everything as it was": each public call
 * that may allocate, with every one of its allocations failing in turn, once and from then on. Hazard 20.
 *
 * A scenario makes a call in a small world. Where an allocation failed, the call either answers ENOMEM, and
 * then the world looks as before and the same call works as soon as there is memory; or it did without that
 * memory. */
#include "record.h"

struct world {
    mtaio_emitter *em, *derived;
    mtaio_batch *batch;
    mtaio_suppression *held;
    mtaio_event *event;
    mtaio_metadata *metadata;
    mtaio_deferral *deferral;
    mtaio_deferral *resting[8];
    struct actor a, b, bad, waits, rests;
    void *made; /* what the scenario's call gave */
};

struct scenario {
    const char *name;
    int (*call)(struct world *w);
    void (*undo)(struct world *w); /* gives back what the call made; may be NULL */
    int expected;                  /* where there is memory */
};

static int pass(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 1;
}

static int same(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    (void)event;
    (void)ctx;
    return mtaio_event_set_data(mapped, ctx, NULL);
}

static int defer_it(mtaio_event *event, void *ctx) {
    (void)ctx;
    return mtaio_event_defer(event, mtaio_event_data(event));
}

static void make_world(struct world *w) {
    *w = (struct world){.em = emitter_new(), .a = {.tag = "a"}, .b = {.tag = "b"}};
    w->bad = (struct actor){.tag = "bad", .result = -1};
    w->waits = (struct actor){.tag = "waits", .deferral = &w->deferral};
    listen(w->em, "x.y", &w->a);
    listen(w->em, "x.*", &w->b);
    listen(w->em, "error", &w->a);
    listen(w->em, "bad", &w->bad);
    listen(w->em, "waits", &w->waits);
    OK(mtaio_on(w->em, "or fails", defer_it, NULL));
    OK(mtaio_emitter_filter(w->em, "x.**", MTAIO_FILTER(.call = pass), &w->derived));
    listen(w->derived, "x.z", &w->a);
    OK(mtaio_batch_new(w->em, &w->batch));
    OK(mtaio_batch_emit(w->batch, "x.y", "batched"));
    OK(mtaio_batch_emit(w->batch, "error", "too"));
    OK(mtaio_emitter_suppress(w->em, "held", &w->held));
    OK(mtaio_emit(w->em, "held", "held"));
    w->event = event_new("x.y", NULL);
    OK(mtaio_metadata_new(&w->metadata));
    OK(mtaio_metadata_set(w->metadata, "k", "v"));
    w->rests = (struct actor){.tag = "rests"};
    listen(w->em, "rests", &w->rests);
    for (size_t i = 0; i < COUNT(w->resting); i++) { /* no emission is left that could be used again */
        w->rests.deferral = &w->resting[i];
        emit_later(w->em, "rests");
    }
    forget_notes();
}

static void end_world(struct world *w) {
    for (size_t i = 0; i < COUNT(w->resting); i++) complete(&w->resting[i], 0);
    mtaio_deferral_unref(w->deferral);
    mtaio_event_unref(w->event);
    mtaio_metadata_unref(w->metadata);
    mtaio_batch_unref(w->batch);
    mtaio_suppression_unref(w->held);
    mtaio_emitter_unref(w->derived);
    mtaio_emitter_unref(w->em);
    mtaio_reclaim();
    forget_notes();
    touch(0, NULL);
}

/* Counts, names, and what emissions do. */
static void describe(struct world *w, char *text) {
    static const char *const names[] = {"x.y", "x.z", "bad", "unseen", "x.unseen"};
    list_names(w->em, text);
    forget_notes();
    for (size_t i = 0; i < COUNT(names); i++)
        note("%s:%d,%d", names[i], mtaio_emitter_reach(w->em, names[i]), mtaio_emit(w->em, names[i], NULL));
    sprintf(text + strlen(text), "%zu %zu %s %zu %zu %s %zu %s", mtaio_emitter_count(w->em, NULL),
            mtaio_emitter_count(w->derived, NULL), notes.text, mtaio_batch_count(w->batch),
            mtaio_suppression_count(w->held), mtaio_event_name(w->event), mtaio_metadata_count(w->metadata),
            mtaio_metadata_get(w->metadata, "k"));
    forget_notes();
}

/* --- Scenarios: registering ------------------------------------------------------------------------------
 */

static int call_on_new(struct world *w) { return mtaio_on(w->em, "new.name", play, &w->a); }
static int call_on_known(struct world *w) { return mtaio_on(w->em, "x.y", play, &w->a); }
static int call_on_pattern(struct world *w) { return mtaio_on(w->em, "new.*.**", play, &w->a); }
static int call_on_derived(struct world *w) { return mtaio_on(w->derived, "x.new", play, &w->a); }
static int call_once(struct world *w) { return mtaio_once(w->em, "x.unseen", play, &w->a); }

static int call_on_full(struct world *w) {
    const mtaio_handler *h = MTAIO_HANDLER(.call = play, .ctx = &w->a, .priority = MTAIO_HIGH);
    return mtaio_emitter_on(w->em, "x.y", h, (mtaio_listener **)&w->made);
}

static void undo_listener(struct world *w) {
    assert_int_equal(mtaio_listener_cancel(w->made), 1);
    w->made = mtaio_listener_unref(w->made);
}

/* Twenty at once, so that whatever grows by steps grows. */
static int call_on_many(struct world *w) {
    mtaio_listener **made = calloc(20, sizeof(mtaio_listener *));
    int r = 0;
    for (int i = 0; i < 20 && r == 0; i++)
        r = mtaio_emitter_on(w->em, "x.y", MTAIO_HANDLER(.call = play, .ctx = &w->a), &made[i]);
    for (int i = 0; i < 20 && r < 0 && made[i] != NULL; i++) {
        mtaio_listener_cancel(made[i]);
        mtaio_listener_unref(made[i]);
    }
    w->made = made;
    if (r < 0)
        free(made);
    return r;
}

static void undo_many(struct world *w) {
    mtaio_listener **made = w->made;
    for (int i = 0; i < 20; i++)
        mtaio_listener_unref(made[i]);
    free(made);
}

static void before(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
}

static int call_hook(struct world *w) {
    return mtaio_emitter_hook(w->em, MTAIO_HOOK(.before = before, .ctx = w), (mtaio_listener **)&w->made);
}

static int call_each_name(struct world *w) {
    struct listing l = {.count = 0};
    return mtaio_emitter_each_name(w->em, listing_add, &l);
}

static int no_more(const mtaio_listener_info *info, void *ctx) {
    (void)info;
    (void)ctx;
    return 0;
}

static int call_each_listener(struct world *w) {
    return mtaio_emitter_each_listener(w->em, NULL, no_more, NULL);
}

/* --- Scenarios: making -----------------------------------------------------------------------------------
 */

static int call_new(struct world *w) {
    return mtaio_emitter_new(MTAIO_EMITTER_OPTIONS(.name = "named"), (mtaio_emitter **)&w->made);
}

static void undo_emitter(struct world *w) { w->made = mtaio_emitter_unref(w->made); }

static int call_filter(struct world *w) {
    return mtaio_emitter_filter(w->em, "x.*", MTAIO_FILTER(.call = pass), (mtaio_emitter **)&w->made);
}

static int call_map(struct world *w) {
    return mtaio_emitter_map(w->derived, NULL, MTAIO_MAP(.call = same), (mtaio_emitter **)&w->made);
}

static int call_buffer(struct world *w) {
    return mtaio_emitter_buffer(w->em, NULL, 3, (mtaio_emitter **)&w->made);
}

static int call_pipe(struct world *w) {
    return mtaio_emitter_pipe(w->derived, "x.**", w->em, (mtaio_listener **)&w->made);
}

static int call_resolve(struct world *w) {
    return mtaio_emitter_resolve(w->em, "x.resolved", (mtaio_name **)&w->made);
}

static void undo_name(struct world *w) { w->made = mtaio_name_unref(w->made); }

static int call_batch(struct world *w) { return mtaio_batch_new(w->em, (mtaio_batch **)&w->made); }
static int call_nest(struct world *w) { return mtaio_batch_nest(w->batch, (mtaio_batch **)&w->made); }
static void undo_batch(struct world *w) { w->made = mtaio_batch_unref(w->made); }

static int call_suppress(struct world *w) {
    return mtaio_emitter_suppress(w->em, "other.*", (mtaio_suppression **)&w->made);
}

static void undo_suppression(struct world *w) { w->made = mtaio_suppression_unref(w->made); }

static int call_wait(struct world *w) {
    return mtaio_emitter_wait(w->em, "x.*", NULL, NULL, 0, (mtaio_event **)&w->made);
}

static int call_event(struct world *w) { return mtaio_event_new("x", NULL, NULL, (mtaio_event **)&w->made); }
static void undo_event(struct world *w) { w->made = mtaio_event_unref(w->made); }
static int call_set_name(struct world *w) { return mtaio_event_set_name(w->event, "x.y"); }

/* --- Scenarios: recording and emitting -------------------------------------------------------------------
 */

static int call_batch_emit(struct world *w) { return mtaio_batch_emit(w->batch, "x.y", NULL); }
static int call_batch_event(struct world *w) { return mtaio_batch_emit_event(w->batch, w->event); }
static int call_batch_end(struct world *w) { return mtaio_batch_end(w->batch, NULL); }
static int call_replay(struct world *w) { return mtaio_suppression_replay(w->held); }
static int call_held(struct world *w) { return mtaio_emit(w->em, "held", NULL); }

static int call_batch_end_async(struct world *w) {
    return mtaio_batch_end(w->batch, MTAIO_ASYNC(.done = note_done));
}

static int call_emit_async(struct world *w) {
    int r = mtaio_emit_async(w->em, w->event, MTAIO_ASYNC(.done = note_done));
    CHECK((strstr(notes.text, "done:2") != NULL) == (r == 0)); /* all of it, or nothing */
    CHECK((strstr(notes.text, "a b") != NULL) == (r == 0));
    CHECK(mtaio_event_set_change(w->event, MTAIO_CREATE) == (r == 0 ? MTAIO_EBUSY : 0));
    forget_notes();
    return r;
}

static int call_emit_start(struct world *w) {
    int r = mtaio_emit_start(w->em, MTAIO_EMISSION(.event = w->event), note_done);
    CHECK((strstr(notes.text, "a b") != NULL) == (r == 2)); /* all of it, or nothing */
    CHECK(mtaio_event_set_change(w->event, MTAIO_CREATE) == (r == 2 ? MTAIO_EBUSY : 0));
    forget_notes();
    return r;
}

/* Where the handler that defers has no memory for that, it has failed. */
static int call_emit_start_rests(struct world *w) {
    int r = mtaio_emit_start(w->em, MTAIO_EMISSION(.name = "or fails", .data = &w->deferral), note_done);
    if (r == MTAIO_EINPROGRESS) complete(&w->deferral, 0);
    forget_notes();
    return r == MTAIO_EHANDLER ? MTAIO_ENOMEM : r;
}

static int call_nowait(struct world *w) {
    int r = mtaio_emit_nowait(w->em, w->event);
    CHECK(mtaio_event_set_change(w->event, MTAIO_CREATE) == (r == 0 ? MTAIO_EBUSY : 0));
    return r;
}

static const struct scenario scenarios[] = {
    {"on, new name", call_on_new, NULL, 0},
    {"on, known name", call_on_known, NULL, 0},
    {"on, pattern", call_on_pattern, NULL, 0},
    {"on, derived", call_on_derived, NULL, 0},
    {"once", call_once, NULL, 0},
    {"on, full form", call_on_full, undo_listener, 0},
    {"on, many", call_on_many, undo_many, 0},
    {"hook", call_hook, undo_listener, 0},
    {"each name", call_each_name, NULL, 0},
    {"each listener", call_each_listener, NULL, 0},
    {"emitter", call_new, undo_emitter, 0},
    {"filter", call_filter, undo_emitter, 0},
    {"map", call_map, undo_emitter, 0},
    {"buffer", call_buffer, undo_emitter, 0},
    {"pipe", call_pipe, undo_listener, 0},
    {"resolve", call_resolve, undo_name, 0},
    {"batch", call_batch, undo_batch, 0},
    {"nested batch", call_nest, undo_batch, 0},
    {"suppress", call_suppress, undo_suppression, 0},
    {"wait", call_wait, NULL, MTAIO_ETIMEDOUT},
    {"event", call_event, undo_event, 0},
    {"set name", call_set_name, NULL, 0},
    {"batch emit", call_batch_emit, NULL, 0},
    {"batch emit event", call_batch_event, NULL, 0},
    {"batch end", call_batch_end, NULL, 3},
    {"batch end, async", call_batch_end_async, NULL, 0},
    {"replay", call_replay, NULL, 1},
    {"held back", call_held, NULL, 0},
    {"emit async", call_emit_async, NULL, 0},
    {"emit start", call_emit_start, NULL, 2},
    {"emit start, rests", call_emit_start_rests, NULL, MTAIO_EINPROGRESS},
    {"emit nowait", call_nowait, NULL, 0},
};

static void run_scenario(const struct scenario *s, struct support_sweep *sweep) {
    struct world w;
    char before[1024], after[1024];
    make_world(&w);
    describe(&w, before);
    support_arm(sweep);
    int r = s->call(&w);
    bool failed = support_disarm(sweep);
    if (failed && r != s->expected) {
        assert_int_equal(r, MTAIO_ENOMEM);
        describe(&w, after);
        assert_string_equal(after, before);
        r = s->call(&w); /* there is memory again */
    }
    assert_int_equal(r, s->expected);
    if (s->undo != NULL)
        s->undo(&w);
    end_world(&w);
}

static void test_scenarios(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(scenarios); i++) {
        print_message("# %s\n", scenarios[i].name);
        SWEEP(sweep)
        run_scenario(&scenarios[i], &sweep);
    }
}

/* --- Calls that fail otherwise than by a plain ENOMEM ----------------------------------------------------
 */

static int defer_or_fail(mtaio_event *event, void *ctx) {
    mtaio_deferral *d = NULL;
    int r = mtaio_event_defer(event, &d);
    if (r < 0)
        return r;
    r = mtaio_deferral_complete(d, 0);
    mtaio_deferral_unref(d);
    ++*(unsigned *)ctx;
    return r;
}

/* A handler that gets no deferral can say so; the emission goes on. */
static void test_defer(void **state) {
    (void)state;
    SWEEP(sweep) {
        mtaio_emitter *em = emitter_new();
        struct actor b = {.tag = "b"};
        unsigned deferred = 0;
        mtaio_report report = MTAIO_REPORT();
        OK(mtaio_on(em, "x", defer_or_fail, &deferred));
        listen(em, "x", &b);
        support_arm(&sweep);
        int r = mtaio_emit_with(em, MTAIO_EMISSION(.name = "x", .report = &report));
        bool failed = support_disarm(&sweep);
        assert_int_equal(r, failed && deferred == 0 ? MTAIO_EHANDLER : 2);
        assert_int_equal(report.first_error, r == 2 ? 0 : MTAIO_ENOMEM);
        assert_noted("b");
        mtaio_emitter_unref(em);
    }
}

static int keep_or_fail(mtaio_event *event, void *ctx) { return mtaio_event_keep(event, ctx); }

/* The same for what a handler wants to keep: a plain event, and one that a map made. */
static void test_keep(void **state) {
    (void)state;
    SWEEP(sweep) {
        mtaio_emitter *em = emitter_new(), *mapped = NULL;
        mtaio_event *plain = NULL, *made = NULL;
        OK(mtaio_emitter_map(em, NULL, MTAIO_MAP(.call = same, .ctx = em), &mapped));
        OK(mtaio_on(em, "x", keep_or_fail, &plain));
        OK(mtaio_on(mapped, "x", keep_or_fail, &made));
        support_arm(&sweep);
        int r = mtaio_emit(em, "x", NULL);
        support_disarm(&sweep);
        assert_int_equal(r, plain == NULL || made == NULL ? MTAIO_EHANDLER : 2);
        if (made != NULL)
            assert_ptr_equal(mtaio_event_data(made), em);
        mtaio_event_unref(plain);
        mtaio_event_unref(made);
        mtaio_emitter_unref(mapped);
        mtaio_emitter_unref(em);
    }
}

static void note_trouble(const mtaio_trouble *t, void *ctx) {
    (void)ctx;
    note("trouble(%s)", t->name);
}

static int see_failure(mtaio_event *event, struct actor *self) {
    const mtaio_failure *f = mtaio_event_data(event);
    note("%s", f->name);
    return self->result;
}

/* A failure of an emission that nobody awaits is told once whatever memory there is: as an error event or to
 * the last resort; unless the emission could not begin. */
static void test_nowait_failure(void **state) {
    (void)state;
    SWEEP(sweep) {
        mtaio_emitter *em = NULL;
        mtaio_event *event = event_new("bad", NULL);
        struct actor bad = {.tag = "bad", .result = -1}, error = {.tag = "error", .act = see_failure};
        OK(mtaio_emitter_new(MTAIO_EMITTER_OPTIONS(.trouble = note_trouble), &em));
        listen(em, "bad", &bad);
        listen(em, "error", &error);
        support_arm(&sweep);
        int r = mtaio_emit_nowait(em, event);
        support_disarm(&sweep);
        if (r != 0) {
            assert_int_equal(r, MTAIO_ENOMEM);
            assert_noted("");
        } else if (error.calls == 0) {
            assert_noted("bad trouble(bad)");
        } else {
            assert_noted("bad error bad");
        }
        mtaio_event_unref(event);
        mtaio_emitter_unref(em);
    }
}

static int count_events(mtaio_event *event, struct actor *self) {
    note("%zu", mtaio_event_count(event));
    return self->result;
}

/* A buffer that cannot gather an event lets the emission fail, and is as full as it was. */
static void test_buffered(void **state) {
    (void)state;
    SWEEP(sweep) {
        mtaio_emitter *em = emitter_new(), *buffered = NULL;
        struct actor a = {.tag = "a", .act = count_events};
        OK(mtaio_emitter_buffer(em, NULL, 3, &buffered));
        listen(buffered, "x", &a);
        assert_true(mtaio_emit(em, "x", NULL) >= 0);
        support_arm(&sweep);
        int missing = 2;
        for (int i = 0; i < 2; i++)
            missing -= mtaio_emit(em, "x", NULL) >= 0;
        bool failed = support_disarm(&sweep);
        assert_true(failed || missing == 0);
        for (; missing > 0; missing--)
            assert_true(mtaio_emit(em, "x", NULL) >= 0);
        assert_noted("a 3");
        mtaio_emitter_unref(buffered);
        mtaio_emitter_unref(em);
    }
}

/* --- A thread's first emissions --------------------------------------------------------------------------
 */

static int nest(mtaio_event *event, void *em) {
    int *left = mtaio_event_data(event);
    return --*left > 0 ? mtaio_emit(em, "x", left) : 0;
}

static void *emit_first(void *em) {
    int left = 1;
    support_fail_at(1, true);
    CHECK(mtaio_emit(em, "x", &left) == MTAIO_ENOMEM);
    CHECK(left == 1); /* nothing was called */
    support_fail_at(0, false);
    CHECK(mtaio_emit(em, "x", &left) == 1);
    left = 20;
    support_fail_at(1, true);
    int r = mtaio_emit(em, "x", &left);
    CHECK(r == 1 || r == MTAIO_EHANDLER);
    CHECK((r == 1) == (left == 0));
    support_fail_at(0, false);
    left = 20;
    CHECK(mtaio_emit(em, "x", &left) == 1);
    return NULL;
}

/* A thread that emits for the first time takes a place among the readers, and one that nests deep another:
 * without memory for it nothing is called. Runs before any other thread has left its place. */
static void test_first_emissions(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    pthread_t thread;
    OK(mtaio_on(em, "x", nest, em));
    OK(pthread_create(&thread, NULL, emit_first, em));
    OK(pthread_join(thread, NULL));
    mtaio_emitter_unref(em);
    warm_threads();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_emissions),
        TEST(test_scenarios),
        TEST(test_defer),
        TEST(test_keep),
        TEST(test_nowait_failure),
        TEST(test_buffered),
    };
    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
