/* test_start.c - mtaio_emit_start: an emission that does not wait, and costs what one that waits does where
 * nobody has to. */
#include "record.h"

/* --- "Begins as mtaio_emit_with does. Else it answers what mtaio_emit_with does, and done is not called." --
 */

static int start(mtaio_emitter *em, const char *name) {
    return mtaio_emit_start(em, MTAIO_EMISSION(.name = name), note_done);
}

/* Nobody defers: the results of mtaio_emit_with, all of them, at once. */
static void test_as_emit_with(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_name *name = NULL;
    mtaio_report report = MTAIO_REPORT();
    struct actor a = {.tag = "a"}, bad = {.tag = "bad", .result = -7, .stops = true}, m = {.tag = "m"};
    OK(mtaio_emitter_resolve(em, "x", &name));
    assert_int_equal(start(em, "x"), 0);
    listen(em, "x", &a);
    listen_at(em, "*", MTAIO_MONITOR, &m);
    assert_int_equal(start(em, "x"), 2);
    assert_int_equal(mtaio_emit_start(em, MTAIO_EMISSION(.resolved = name), note_done), 2);
    assert_int_equal(start(em, "unseen"), 1);
    assert_noted("a m a m m");
    listen(em, "x", &bad);
    assert_int_equal(mtaio_emit_start(em, MTAIO_EMISSION(.name = "x", .report = &report), note_done),
                     MTAIO_EHANDLER);
    assert_noted("a bad m");
    assert_int_equal(report.called, 3);
    assert_int_equal(report.failed, 1);
    assert_int_equal(report.first_error, -7);
    assert_true(report.stopped);
    assert_int_equal(start(em, "error"), MTAIO_EUNHANDLED);
    assert_noted("m");
    assert_int_equal(start(em, "x.*"), MTAIO_ENAME);
    OK(mtaio_emitter_close(em));
    assert_int_equal(start(em, "x"), MTAIO_ECLOSED);
    mtaio_name_unref(name);
    mtaio_emitter_unref(em);
}

static int look(mtaio_event *event, struct actor *self) {
    (void)self;
    note("%s=%s,%s,%d", mtaio_event_name(event), (const char *)mtaio_event_data(event),
         mtaio_event_get(event, "k"), (int)mtaio_event_change(event));
    return 0;
}

/* Data, change and metadata of the emission; or all of an owned event, which is sealed from then on. */
static void test_what_is_emitted(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_metadata *m = NULL;
    mtaio_event *event = event_new("x", "owned");
    struct actor a = {.tag = "a", .act = look};
    listen(em, "x", &a);
    OK(mtaio_metadata_new(&m));
    OK(mtaio_metadata_set(m, "k", "v"));
    assert_int_equal(
        mtaio_emit_start(em,
                         MTAIO_EMISSION(.name = "x", .data = "plain", .metadata = m, .change = MTAIO_DELETE),
                         note_done),
        1);
    OK(mtaio_metadata_set(m, "k", "w")); /* nobody else holds it any more */
    OK(mtaio_event_set_metadata(event, m));
    assert_int_equal(mtaio_emit_start(em, MTAIO_EMISSION(.event = event), note_done), 1);
    assert_noted("a x=plain,v,3 a x=owned,w,0");
    assert_int_equal(mtaio_event_set_change(event, MTAIO_UPDATE), MTAIO_EBUSY);
    mtaio_event_unref(event);
    mtaio_metadata_unref(m);
    mtaio_emitter_unref(em);
}

/* What could not begin leaves the event open to changes. */
static void test_refused(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_event *event = event_new("x", NULL);
    OK(mtaio_emitter_close(em));
    assert_int_equal(mtaio_emit_start(em, MTAIO_EMISSION(.event = event), note_done), MTAIO_ECLOSED);
    OK(mtaio_event_set_change(event, MTAIO_UPDATE));
    mtaio_event_unref(event);
    mtaio_emitter_unref(em);
}

/* A suppressed one is held: 0, and the report says so. */
static void test_held(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_suppression *s = NULL;
    mtaio_report report = MTAIO_REPORT();
    struct actor a = {.tag = "a"};
    listen(em, "x", &a);
    OK(mtaio_emitter_suppress(em, NULL, &s));
    OK(mtaio_emit_start(em, MTAIO_EMISSION(.name = "x", .report = &report), note_done));
    assert_true(report.held);
    OK(start(em, "x"));
    assert_noted("");
    assert_int_equal(mtaio_suppression_replay(s), 2);
    assert_noted("a a");
    mtaio_suppression_unref(s);
    mtaio_emitter_unref(em);
}

/* As cheap as mtaio_emit_with: it allocates nothing, nested ones neither. */
static int start_again(mtaio_event *event, struct actor *self) {
    (void)event;
    return self->calls % 3 == 0 ? 0 : start(self->em, "x");
}

static void test_allocates_nothing(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = start_again, .em = em};
    listen(em, "x", &a);
    size_t before = support_allocations();
    for (int i = 0; i < 10; i++) assert_int_equal(start(em, "x"), 1);
    assert_int_equal(support_allocations(), before);
    assert_int_equal(a.calls, 30);
    forget_notes();
    mtaio_emitter_unref(em);
}

/* --- "Where it has to wait, it answers EINPROGRESS, and done is called later, once" ------------------------
 */

/* The report and ctx are the emission's; done comes on the thread that completes. */
static void test_rests_and_goes_on(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d1 = NULL, *d2 = NULL;
    mtaio_report report = MTAIO_REPORT();
    struct actor a = {.tag = "a"}, w1 = {.tag = "w1", .deferral = &d1}, w2 = {.tag = "w2", .deferral = &d2};
    struct actor m = {.tag = "m"};
    listen_at(em, "x", MTAIO_MONITOR, &m);
    listen(em, "x", &a);
    listen(em, "x", &w1);
    listen(em, "*", &w2);
    assert_int_equal(
        mtaio_emit_start(em, MTAIO_EMISSION(.name = "x", .report = &report, .ctx = "over"), note_done),
        MTAIO_EINPROGRESS);
    assert_noted("a w1");
    complete(&d1, -5);
    assert_noted("w2");
    assert_int_equal(report.called, 0); /* filled at the end */
    complete(&d2, 0);
    assert_noted("m over:MTAIO_EHANDLER");
    assert_int_equal(report.called, 4);
    assert_int_equal(report.first_error, -5);
    mtaio_emitter_unref(em);
}

static void note_failure(const mtaio_failure *f, void *ctx) {
    note("%s!%s(%d)", (const char *)ctx, ((struct actor *)f->ctx)->tag, f->status);
}

/* Each failure is told as it happens, with the emission's ctx, before it rests and after. */
static void test_failures(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    struct actor bad = {.tag = "bad", .result = -1}, w = {.tag = "w", .deferral = &d};
    listen(em, "x", &bad);
    listen(em, "x", &w);
    assert_int_equal(
        mtaio_emit_start(em, MTAIO_EMISSION(.name = "x", .failure = note_failure, .ctx = "c"), note_done),
        MTAIO_EINPROGRESS);
    assert_noted("bad c!bad(-1) w");
    complete(&d, -2);
    assert_noted("c!w(-2) c:MTAIO_EHANDLER");
    mtaio_emitter_unref(em);
}

static int complete_at_once(mtaio_event *event, void *ctx) {
    mtaio_deferral *d = NULL;
    CHECK(mtaio_event_defer(event, &d) == 0);
    CHECK(mtaio_deferral_complete(d, *(int *)ctx) == 0);
    mtaio_deferral_unref(d);
    return 0;
}

static int defer_and_fail(mtaio_event *event, void *ctx) {
    CHECK(mtaio_event_defer(event, ctx) == 0);
    return -4;
}

/* A deferral that is completed before the handler returns, or by its negative result, is no waiting.
 * Hazard 18. */
static void test_completed_at_once(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    int status = 3;
    struct actor b = {.tag = "b"};
    OK(mtaio_on(em, "x", complete_at_once, &status));
    OK(mtaio_on(em, "y", defer_and_fail, &d));
    listen(em, "*", &b);
    assert_int_equal(start(em, "x"), 2);
    status = -3;
    assert_int_equal(start(em, "x"), MTAIO_EHANDLER);
    assert_int_equal(start(em, "y"), MTAIO_EHANDLER);
    assert_int_equal(mtaio_deferral_complete(d, 0), MTAIO_EALREADY);
    mtaio_deferral_unref(d);
    assert_noted("b b b");
    mtaio_emitter_unref(em);
}

static mtaio_event *kept;
static int keep_pointer(mtaio_event *event, struct actor *self) {
    (void)self;
    kept = event;
    return 0;
}

/* The event a handler was given stays where it is, and valid, until the deferral is completed; the next
 * handler is shown the same. Metadata cannot be changed meanwhile. */
static void test_event_stays(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    mtaio_metadata *m = NULL;
    struct actor w = {.tag = "w", .deferral = &d, .act = keep_pointer}, b = {.tag = "b", .act = keep_pointer};
    listen(em, "x", &w);
    listen(em, "x", &b);
    OK(mtaio_metadata_new(&m));
    OK(mtaio_metadata_set(m, "k", "v"));
    assert_int_equal(mtaio_emit_start(em, MTAIO_EMISSION(.name = "x", .data = em, .metadata = m), note_done),
                     MTAIO_EINPROGRESS);
    assert_int_equal(start(em, "nobody"), 0); /* uses what memory there is */
    mtaio_event *seen = kept;
    assert_ptr_equal(mtaio_deferral_event(d), seen);
    assert_string_equal(mtaio_event_name(seen), "x");
    assert_ptr_equal(mtaio_event_data(seen), em);
    assert_string_equal(mtaio_event_get(seen, "k"), "v");
    assert_int_equal(mtaio_metadata_set(m, "k", "w"), MTAIO_EBUSY);
    kept = NULL;
    complete(&d, 0);
    assert_ptr_equal(kept, seen);
    OK(mtaio_metadata_set(m, "k", "w"));
    mtaio_metadata_unref(m);
    assert_noted("w b done:2");
    mtaio_emitter_unref(em);
}

/* An owned event is kept until the end, and may rest in several emissions. */
static void test_owned_event(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d[2] = {NULL, NULL};
    mtaio_event *event = event_new("x", NULL);
    struct actor w = {.tag = "w", .deferral = &d[0]};
    listen(em, "x", &w);
    for (int i = 0; i < 2; i++) {
        w.deferral = &d[i];
        assert_int_equal(mtaio_emit_start(em, MTAIO_EMISSION(.event = event), note_done), MTAIO_EINPROGRESS);
    }
    mtaio_event_unref(event);
    assert_string_equal(mtaio_event_name(mtaio_deferral_event(d[0])), "x");
    complete(&d[1], 0);
    complete(&d[0], 0);
    assert_noted("w w done:1 done:1");
    mtaio_emitter_unref(em);
}

/* --- Derived emitters, hooks, batches ----------------------------------------------------------------------
 */

static int pass(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 1;
}

static int rename_to(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    (void)event;
    return mtaio_event_set_name(mapped, ctx);
}

static void before(const mtaio_event *event, void *ctx) {
    note("%s<%s", (char *)ctx, mtaio_event_name(event));
}

static void after(const mtaio_event *event, const mtaio_report *report, int64_t ns, void *ctx) {
    (void)ns;
    note("%s>%s(%u,%u)", (char *)ctx, mtaio_event_name(event), report->called, report->failed);
}

static void failed(const mtaio_failure *failure, void *ctx) { note("%s!%d", (char *)ctx, failure->status); }

static void hook(mtaio_emitter *em, char *tag) {
    OK(mtaio_emitter_hook(em, MTAIO_HOOK(.before = before, .after = after, .error = failed, .ctx = tag),
                          NULL));
}

/* Handlers defer in the source, behind a filter, a map behind that, and a pipe; each emitter has its hooks.
 * The first to defer takes all the outer walks, and their hooks, along. */
static void test_everywhere(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *other = emitter_new(), *filtered = NULL, *mapped = NULL;
    mtaio_deferral *d[4] = {0};
    struct actor source = {.tag = "s", .deferral = &d[0]}, f = {.tag = "f", .deferral = &d[1]};
    struct actor m = {.tag = "m", .deferral = &d[2]}, p = {.tag = "p", .deferral = &d[3]}, end = {.tag = "e"};
    hook(em, "S");
    hook(other, "O");
    OK(mtaio_emitter_filter(em, NULL, MTAIO_FILTER(.call = pass), &filtered));
    OK(mtaio_emitter_map(filtered, NULL, MTAIO_MAP(.call = rename_to, .ctx = "y"), &mapped));
    hook(filtered, "F");
    hook(mapped, "M");
    listen_at(em, "x", MTAIO_MONITOR, &end);
    listen(filtered, "x", &f);
    listen(mapped, "x", &m);
    for (int resting = 0; resting < 4; resting++) { /* the source's handler defers the first time only */
        if (resting == 0) listen(em, "x", &source);
        if (resting == 1) assert_int_equal(mtaio_off(em, "x", play, &source), 1);
        if (resting == 2) f.deferral = NULL;
        if (resting == 3)
            OK(mtaio_emitter_pipe(em, "x", other, NULL)), m.deferral = NULL, listen(other, "x", &p);
        assert_int_equal(start(em, "x"), MTAIO_EINPROGRESS);
        for (int i = 0; i < 4; i++)
            if (d[i]) complete(&d[i], i == resting ? -i : 0);
    }
    assert_noted("S<x s F<x f M<y m M>y(1,0) F>x(2,0) e S>x(4,0) done:4 "
                 "S<x F<x f F!-1 S!-1 M<y m M>y(1,0) F>x(2,1) e S>x(3,1) done:MTAIO_EHANDLER "
                 "S<x F<x f M<y m M!-2 F!-2 S!-2 M>y(1,1) F>x(2,1) e S>x(3,1) done:MTAIO_EHANDLER "
                 "S<x F<x f M<y m M>y(1,0) F>x(2,0) O<x p O!-3 S!-3 O>x(1,1) e S>x(4,1) done:MTAIO_EHANDLER");
    mtaio_emitter_unref(mapped);
    mtaio_emitter_unref(filtered);
    mtaio_emitter_unref(em);
    mtaio_emitter_unref(other);
}

static int show(mtaio_event *event, struct actor *self) {
    (void)self;
    note("%s*%zu", mtaio_event_name(event), mtaio_event_count(event));
    return 0;
}

static void show_after(const mtaio_event *event, const mtaio_report *report, int64_t ns, void *ctx) {
    (void)ns;
    (void)ctx;
    note("after %s*%zu(%u)", mtaio_event_name(event), mtaio_event_count(event), report->called);
}

static int take_batch(mtaio_event *event, void *ctx) {
    CHECK(mtaio_event_keep(event, ctx) == 0);
    return 0;
}

/* A batch, shown to each handler by its part, and whole to the hooks at the end. */
static void test_batch(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *to = emitter_new();
    mtaio_deferral *d = NULL;
    mtaio_batch *batch = NULL;
    mtaio_event *whole = NULL;
    struct actor x = {.tag = "x", .act = show, .deferral = &d}, all = {.tag = "all", .act = show};
    OK(mtaio_on(em, "*", take_batch, &whole));
    OK(mtaio_batch_new(em, &batch));
    OK(mtaio_batch_emit(batch, "x", NULL));
    OK(mtaio_batch_emit(batch, "y", NULL));
    OK(mtaio_batch_emit(batch, "x", NULL));
    assert_int_equal(mtaio_batch_end(batch, NULL), 1);
    mtaio_batch_unref(batch);
    listen(to, "x", &x);
    listen(to, "*", &all);
    OK(mtaio_emitter_hook(to, MTAIO_HOOK(.after = show_after), NULL));
    assert_int_equal(mtaio_emit_start(to, MTAIO_EMISSION(.event = whole), note_done), MTAIO_EINPROGRESS);
    assert_noted("x x*2");
    complete(&d, 0);
    assert_noted("all **3 after **3(2) done:2");
    mtaio_event_unref(whole);
    mtaio_emitter_unref(to);
    mtaio_emitter_unref(em);
}

/* --- Out of memory, depth ----------------------------------------------------------------------------------
 */

/* Hazard 20, for the memory of the emission itself: those to be used again are all resting. */
static void test_no_memory(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d[8] = {0};
    mtaio_event *event = event_new("x", NULL);
    struct actor w = {.tag = "w"}, a = {.tag = "a"};
    listen(em, "w", &w);
    listen(em, "x", &a);
    SWEEP(sweep) {
        for (unsigned i = 0; i < COUNT(d); i++) {
            w.deferral = &d[i];
            assert_int_equal(start(em, "w"), MTAIO_EINPROGRESS);
        }
        forget_notes();
        support_arm(&sweep);
        int r = mtaio_emit_start(em, MTAIO_EMISSION(.event = event), note_done);
        int async = mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done));
        bool any = support_disarm(&sweep);
        assert_int_equal(any, r == MTAIO_ENOMEM || async == MTAIO_ENOMEM);
        assert_true(r == 1 || r == MTAIO_ENOMEM);
        assert_true(async == 0 || async == MTAIO_ENOMEM);
        assert_int_equal(mtaio_emit_start(em, MTAIO_EMISSION(.event = event), note_done), 1);
        for (unsigned i = 0; i < COUNT(d); i++) complete(&d[i], 0);
        forget_notes();
        touch(0, NULL);
    }
    mtaio_event_unref(event);
    mtaio_emitter_unref(em);
}

static int deeper(mtaio_event *event, void *em) {
    (void)event;
    int r = start(em, "x");
    return r > 0 ? 0 : r;
}

/* Nested without end: EDEPTH, for the innermost, and from there outwards a failure. */
static void test_depth(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_report report = MTAIO_REPORT();
    OK(mtaio_on(em, "x", deeper, em));
    assert_int_equal(mtaio_emit_start(em, MTAIO_EMISSION(.name = "x", .report = &report), note_done),
                     MTAIO_EHANDLER);
    assert_int_equal(report.first_error, MTAIO_EHANDLER);
    mtaio_emitter_unref(em);
}

static int tell_ctx(mtaio_event *event, void *ctx) {
    void **ret = ctx;
    *ret = mtaio_event_ctx(event);
    return 0;
}

/* "Of the emission it is in: its struct's ctx, or NULL", whatever way it was begun. */
static void test_ctx(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_event *event;
    void *seen = em;
    int mine;
    OK(mtaio_on(em, "x", tell_ctx, &seen));
    OK(mtaio_event_new("x", NULL, NULL, &event));
    assert_null(mtaio_event_ctx(NULL));
    assert_null(mtaio_event_ctx(event)); /* in no emission */
    assert_int_equal(mtaio_emit(em, "x", &mine), 1);
    assert_null(seen);
    seen = em;
    OK(mtaio_emit_nowait(em, event));
    assert_null(seen);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = "x", .ctx = &mine)), 1);
    assert_ptr_equal(seen, &mine);
    seen = NULL;
    assert_int_equal(mtaio_emit_start(em, MTAIO_EMISSION(.event = event, .ctx = &mine), never_done), 1);
    assert_ptr_equal(seen, &mine);
    mtaio_event_unref(event);
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_as_emit_with),      TEST(test_what_is_emitted),
        TEST(test_refused),           TEST(test_held),
        TEST(test_allocates_nothing), TEST(test_rests_and_goes_on),
        TEST(test_failures),          TEST(test_completed_at_once),
        TEST(test_event_stays),       TEST(test_owned_event),
        TEST(test_everywhere),        TEST(test_batch),
        TEST(test_no_memory),         TEST(test_depth),
        TEST(test_ctx),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
