/* test_batch.c - several events delivered as one. */
#include "record.h"

static mtaio_batch *batch_new(mtaio_emitter *em) {
    mtaio_batch *batch = NULL;
    OK(mtaio_batch_new(em, &batch));
    assert_non_null(batch);
    return batch;
}

static mtaio_batch *batch_nest(mtaio_batch *outer) {
    mtaio_batch *batch = NULL;
    OK(mtaio_batch_nest(outer, &batch));
    return batch;
}

/* The events of a batch in one word: name=data,name=data. */
static int look(mtaio_event *event, struct actor *self) {
    char text[512] = "";
    size_t count = mtaio_event_count(event);
    for (size_t i = 0; i < count; i++) {
        const mtaio_event *e = mtaio_event_at(event, i);
        const char *data = mtaio_event_data(e);
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s=%s", i > 0 ? "," : "",
                 mtaio_event_name(e), data != NULL ? data : "-");
    }
    CHECK(mtaio_event_at(event, count) == NULL);
    note("%s[%s]%s", mtaio_event_name(event), text, mtaio_event_is_batch(event) ? "" : "!");
    return self->result;
}

/* "Inside a batch, emit records the event and returns. When it ends, each handler that matches at least one
 * recorded event is called once, in the usual order, with all events that match it, in the order they were
 * emitted." Its name is "their common name (or * where they differ)". */
static void test_delivery(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = look}, b = {.tag = "b", .act = look},
                 all = {.tag = "all", .act = look};
    struct actor m = {.tag = "m", .act = look}, high = {.tag = "high", .act = look}, none = {.tag = "none"};
    listen_at(em, "*", MTAIO_MONITOR, &m);
    listen(em, "x.a", &a);
    listen(em, "x.*", &all);
    listen(em, "x.b", &b);
    listen(em, "y.**", &none);
    listen_at(em, "x.b", MTAIO_HIGH, &high);
    mtaio_batch *batch = batch_new(em);
    OK(mtaio_batch_emit(batch, "x.a", "1"));
    OK(mtaio_batch_emit(batch, "x.b", "2"));
    OK(mtaio_batch_emit(batch, "z", "3"));
    OK(mtaio_batch_emit(batch, "x.a", "4"));
    assert_int_equal(mtaio_batch_count(batch), 4);
    assert_noted("");
    assert_int_equal(mtaio_batch_end(batch, NULL), 5);
    assert_noted("high x.b[x.b=2] a x.a[x.a=1,x.a=4] all *[x.a=1,x.b=2,x.a=4] b x.b[x.b=2] "
                 "m *[x.a=1,x.b=2,z=3,x.a=4]");
    mtaio_batch_unref(batch);
    mtaio_emitter_unref(em);
}

/* A batch of one is a batch, an empty one calls nobody; a handler serves plain events and batches alike. */
static void test_small_batches(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = look};
    listen(em, "*", &a);
    mtaio_batch *batch = batch_new(em);
    assert_int_equal(mtaio_batch_count(batch), 0);
    assert_int_equal(mtaio_batch_end(batch, NULL), 0);
    mtaio_batch_unref(batch);
    assert_noted("");
    batch = batch_new(em);
    OK(mtaio_batch_emit(batch, "x", "1"));
    assert_int_equal(mtaio_batch_end(batch, NULL), 1);
    mtaio_batch_unref(batch);
    assert_int_equal(mtaio_emit(em, "x", "2"), 1);
    assert_noted("a x[x=1] a x[x=2]!");
    mtaio_emitter_unref(em);
}

/* The handlers are those registered when the batch ends: its emission begins then. A once handler gets its
 * one call with all its events. */
static void test_handlers_of_the_end(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = look}, b = {.tag = "b", .act = look},
                 once = {.tag = "once", .act = look};
    listen(em, "x", &a);
    mtaio_batch *batch = batch_new(em);
    OK(mtaio_batch_emit(batch, "x", "1"));
    OK(mtaio_batch_emit(batch, "x", "2"));
    assert_int_equal(mtaio_off(em, "x", play, &a), 1);
    listen(em, "x", &b);
    OK(mtaio_once(em, "*", play, &once));
    assert_int_equal(mtaio_batch_end(batch, NULL), 2);
    assert_noted("b x[x=1,x=2] once x[x=1,x=2]");
    assert_int_equal(mtaio_emitter_count(em, NULL), 1);
    mtaio_batch_unref(batch);
    mtaio_emitter_unref(em);
}

/* "Other emissions are not held up": what is emitted beside the batch arrives at once. */
static void test_others_not_held_up(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = look};
    listen(em, "x", &a);
    mtaio_batch *batch = batch_new(em), *second = batch_new(em);
    OK(mtaio_batch_emit(batch, "x", "1"));
    OK(mtaio_batch_emit(second, "x", "2"));
    assert_int_equal(mtaio_emit(em, "x", "3"), 1);
    assert_int_equal(mtaio_batch_end(second, NULL), 1);
    assert_int_equal(mtaio_batch_end(batch, NULL), 1);
    assert_noted("a x[x=3]! a x[x=2] a x[x=1]");
    mtaio_batch_unref(batch);
    mtaio_batch_unref(second);
    mtaio_emitter_unref(em);
}

/* --- Nesting and ending ----------------------------------------------------------------------------------
 */

/* "When the outermost batch ends": a nested one leaves its events to it, in the order all were emitted. The
 * outer one cannot end before. */
static void test_nested(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = look};
    listen(em, "x", &a);
    mtaio_batch *outer = batch_new(em);
    OK(mtaio_batch_emit(outer, "x", "1"));
    mtaio_batch *inner = batch_nest(outer);
    OK(mtaio_batch_emit(inner, "x", "2"));
    mtaio_batch *innermost = batch_nest(inner);
    OK(mtaio_batch_emit(innermost, "x", "3"));
    assert_int_equal(mtaio_batch_end(outer, NULL), MTAIO_EBUSY);
    assert_int_equal(mtaio_batch_end(inner, NULL), MTAIO_EBUSY);
    OK(mtaio_batch_end(innermost, NULL));
    OK(mtaio_batch_emit(inner, "x", "4"));
    OK(mtaio_batch_end(inner, NULL));
    OK(mtaio_batch_emit(outer, "x", "5"));
    assert_noted("");
    assert_int_equal(mtaio_batch_end(outer, NULL), 1);
    assert_noted("a x[x=1,x=2,x=3,x=4,x=5]");
    mtaio_batch_unref(innermost);
    mtaio_batch_unref(inner);
    mtaio_batch_unref(outer);
    mtaio_emitter_unref(em);
}

/* Abandoning drops what was emitted into the batch and those nested in it, ended or not, and nothing else. */
static void test_abandon(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = look};
    listen(em, "x", &a);
    mtaio_batch *outer = batch_new(em);
    OK(mtaio_batch_emit(outer, "x", "1"));
    mtaio_batch *inner = batch_nest(outer), *innermost = batch_nest(inner);
    OK(mtaio_batch_emit(inner, "x", "2"));
    OK(mtaio_batch_emit(innermost, "x", "3"));
    OK(mtaio_batch_emit(outer, "x", "4"));
    OK(mtaio_batch_end(innermost, NULL));
    OK(mtaio_batch_abandon(inner));
    assert_int_equal(mtaio_batch_end(outer, NULL), 1);
    assert_noted("a x[x=1,x=4]");
    mtaio_batch_unref(innermost);
    mtaio_batch_unref(inner);
    mtaio_batch_unref(outer);

    outer = batch_new(em);
    OK(mtaio_batch_emit(outer, "x", "1"));
    OK(mtaio_batch_abandon(outer));
    mtaio_batch_unref(outer);
    outer = batch_new(em);
    OK(mtaio_batch_emit(outer, "x", "1"));
    mtaio_batch_unref(outer); /* the same */
    assert_noted("");
    mtaio_emitter_unref(em);
}

/* A batch that is over: ending it again is EALREADY, emitting into it ECLOSED, and neither does anything.
 * Hazard 45. */
static void test_over(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = look};
    mtaio_event *event = event_new("x", NULL);
    mtaio_batch *nested = NULL;
    listen(em, "x", &a);
    for (int way = 0; way < 2; way++) {
        mtaio_batch *batch = batch_new(em);
        OK(mtaio_batch_emit(batch, "x", "1"));
        if (way == 0)
            assert_int_equal(mtaio_batch_end(batch, NULL), 1);
        else
            OK(mtaio_batch_abandon(batch));
        assert_int_equal(mtaio_batch_end(batch, NULL), MTAIO_EALREADY);
        assert_int_equal(mtaio_batch_end(batch, MTAIO_ASYNC(.done = note_done)), MTAIO_EALREADY);
        assert_int_equal(mtaio_batch_abandon(batch), MTAIO_EALREADY);
        assert_int_equal(mtaio_batch_emit(batch, "x", "2"), MTAIO_ECLOSED);
        assert_int_equal(mtaio_batch_emit_event(batch, event), MTAIO_ECLOSED);
        assert_int_equal(mtaio_batch_nest(batch, &nested), MTAIO_ECLOSED);
        assert_null(nested);
        mtaio_batch_unref(batch);
    }
    assert_noted("a x[x=1]");
    mtaio_event_unref(event);
    mtaio_emitter_unref(em);
}

/* --- What handlers do with a batch -----------------------------------------------------------------------
 */

/* A batch is one event: a handler that stops it stops it for all further handlers but monitors. */
static void test_stop(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor stop = {.tag = "stop", .stops = true}, a = {.tag = "a"}, b = {.tag = "b"}, m = {.tag = "m"};
    mtaio_batch *batch = batch_new(em);
    listen(em, "x", &a);
    listen(em, "x", &stop);
    listen(em, "*", &b);
    listen_at(em, "x", MTAIO_MONITOR, &m);
    OK(mtaio_batch_emit(batch, "x", NULL));
    OK(mtaio_batch_emit(batch, "y", NULL));
    assert_int_equal(mtaio_batch_end(batch, NULL), 3);
    assert_noted("a stop m");
    mtaio_batch_unref(batch);
    mtaio_emitter_unref(em);
}

/* A failing handler does not keep the others from their events; the end reports it. An "error" event in a
 * batch that nobody handles is reported like any other. */
static void test_failures(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor bad = {.tag = "bad", .result = -5}, a = {.tag = "a", .act = look};
    mtaio_batch *batch = batch_new(em);
    listen(em, "x", &bad);
    listen(em, "x", &a);
    OK(mtaio_batch_emit(batch, "x", "1"));
    assert_int_equal(mtaio_batch_end(batch, NULL), MTAIO_EHANDLER);
    assert_noted("bad a x[x=1]");
    mtaio_batch_unref(batch);
    batch = batch_new(em);
    OK(mtaio_batch_emit(batch, "error", "1"));
    assert_int_equal(mtaio_batch_end(batch, NULL), MTAIO_EUNHANDLED);
    mtaio_batch_unref(batch);
    batch = batch_new(em);
    OK(mtaio_batch_emit(batch, "error", "1"));
    OK(mtaio_batch_emit(batch, "y", "1"));
    OK(mtaio_batch_end(batch, MTAIO_ASYNC(.done = note_done)));
    assert_noted("done:MTAIO_EUNHANDLED");
    mtaio_batch_unref(batch);
    mtaio_emitter_unref(em);
}

static int stop_second(const mtaio_event *event, void *ctx) {
    (void)ctx;
    CHECK(!mtaio_event_is_batch(event));
    note("?%s", (const char *)mtaio_event_data(event));
    return strcmp(mtaio_event_data(event), "2") != 0;
}

static int add_bang(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    (void)ctx;
    CHECK(!mtaio_event_is_batch(event));
    note("!%s", (const char *)mtaio_event_data(event));
    return mtaio_event_set_data(mapped, "mapped", NULL);
}

/* "Filters see each recorded event; a derived handler gets those that passed": in one batch. */
static void test_derived(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *filtered = NULL, *mapped = NULL;
    struct actor own = {.tag = "own", .act = look}, f = {.tag = "f", .act = look},
                 m = {.tag = "m", .act = look};
    mtaio_batch *batch = batch_new(em);
    OK(mtaio_emitter_filter(em, NULL, MTAIO_FILTER(.call = stop_second), &filtered));
    OK(mtaio_emitter_map(filtered, NULL, MTAIO_MAP(.call = add_bang), &mapped));
    listen(em, "*", &own);
    listen(filtered, "x", &f);
    listen(mapped, "*", &m);
    OK(mtaio_batch_emit(batch, "x", "1"));
    OK(mtaio_batch_emit(batch, "x", "2"));
    OK(mtaio_batch_emit(batch, "x", "3"));
    assert_int_equal(mtaio_batch_end(batch, NULL), 3);
    assert_noted("own x[x=1,x=2,x=3] ?1 ?2 ?3 f x[x=1,x=3] !1 !3 m x[x=mapped,x=mapped]");
    mtaio_batch_unref(batch);
    batch = batch_new(em);
    OK(mtaio_batch_emit(batch, "x", "2"));
    assert_int_equal(mtaio_batch_end(batch, NULL), 1); /* nothing passed: nobody behind is called */
    assert_noted("own x[x=2] ?2");
    mtaio_batch_unref(batch);
    mtaio_emitter_unref(filtered);
    mtaio_emitter_unref(mapped);
    mtaio_emitter_unref(em);
}

/* With an mtaio_async the end does not wait for who defers: done tells the result. */
static void test_async_end(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    struct actor waits = {.tag = "waits", .deferral = &d}, b = {.tag = "b", .act = look};
    mtaio_batch *batch = batch_new(em);
    listen(em, "x", &waits);
    listen(em, "x", &b);
    OK(mtaio_batch_emit(batch, "x", "1"));
    OK(mtaio_batch_emit(batch, "x", "2"));
    OK(mtaio_batch_end(batch, MTAIO_ASYNC(.done = note_done)));
    mtaio_batch_unref(batch);
    assert_noted("waits");
    assert_int_equal(mtaio_event_count(mtaio_deferral_event(d)), 2);
    complete(&d, 0);
    assert_noted("b x[x=1,x=2] done:2");
    mtaio_emitter_unref(em);
}

static int emit_into(mtaio_event *event, struct actor *self) {
    (void)event;
    note("%s", mtaio_error_name(mtaio_batch_emit(self->more, "x", "late")));
    note("%s", mtaio_error_name(mtaio_batch_end(self->more, NULL)));
    return mtaio_emit(self->em, "y", "now");
}

/* A handler of the batch may emit: at once, as ever. Into the batch it comes too late. */
static void test_emit_inside(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = emit_into, .em = em}, y = {.tag = "y", .act = look};
    mtaio_batch *batch = batch_new(em);
    a.more = batch;
    listen(em, "x", &a);
    listen(em, "y", &y);
    OK(mtaio_batch_emit(batch, "x", "1"));
    assert_int_equal(mtaio_batch_end(batch, NULL), 1);
    assert_noted("a MTAIO_ECLOSED MTAIO_EALREADY y y[y=now]!");
    mtaio_batch_unref(batch);
    mtaio_emitter_unref(em);
}

static int keep_it(mtaio_event *event, struct actor *self) {
    mtaio_event *kept = NULL;
    CHECK(mtaio_event_keep(event, &kept) == 0);
    self->more = kept;
    return 0;
}

static void note_release(void *data) { note("free(%s)", (char *)data); }

/* Recorded events "are freed at the end", unless a handler keeps the batch: it keeps its events. */
static void test_owned_events(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = keep_it};
    mtaio_event *event = NULL, *dropped = NULL;
    mtaio_batch *batch = batch_new(em), *abandoned = batch_new(em);
    OK(mtaio_event_new("x", "data", note_release, &event));
    OK(mtaio_event_new("x", "dropped", note_release, &dropped));
    listen(em, "x", &a);
    OK(mtaio_batch_emit_event(batch, event));
    OK(mtaio_batch_emit_event(batch, event)); /* twice the same is two */
    OK(mtaio_batch_emit_event(abandoned, dropped));
    mtaio_event_unref(event);
    mtaio_event_unref(dropped);
    assert_int_equal(mtaio_batch_count(batch), 2);
    mtaio_batch_unref(abandoned);
    assert_noted("free(dropped)");
    assert_int_equal(mtaio_batch_end(batch, NULL), 1);
    mtaio_batch_unref(batch);
    mtaio_emitter_unref(em);
    assert_noted("a");
    assert_true(mtaio_event_is_batch(a.more));
    assert_int_equal(mtaio_event_count(a.more), 2);
    assert_string_equal(mtaio_event_data(mtaio_event_at(a.more, 1)), "data");
    mtaio_event_unref(a.more);
    assert_noted("free(data)");
}

/* --- Closed, many, from many threads ---------------------------------------------------------------------
 */

/* The batch keeps its emitter alive, not open. */
static void test_emitter_closed(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = look};
    mtaio_batch *batch = batch_new(em), *closed = batch_new(em), *late = NULL;
    listen(em, "x", &a);
    OK(mtaio_batch_emit(batch, "x", "1"));
    OK(mtaio_batch_emit(closed, "x", "1"));
    assert_int_equal(mtaio_batch_end(batch, NULL), 1);
    assert_noted("a x[x=1]");
    OK(mtaio_emitter_close(em));
    assert_int_equal(mtaio_batch_emit(closed, "x", "2"), MTAIO_ECLOSED);
    assert_int_equal(mtaio_batch_end(closed, NULL), MTAIO_ECLOSED);
    assert_int_equal(mtaio_batch_new(em, &late), MTAIO_ECLOSED);
    assert_null(late);
    mtaio_emitter_unref(em);
    mtaio_batch_unref(batch);
    mtaio_batch_unref(closed);
}

static int sum(mtaio_event *event, void *ctx) {
    size_t *sums = ctx;
    for (size_t i = 0; i < mtaio_event_count(event); i++) {
        const void *data = mtaio_event_data(mtaio_event_at(event, i));
        sums[data == NULL ? 0 : 1]++;
    }
    return 0;
}

/* "Recorded events are bounded by memory alone." */
static void test_many(void **state) {
    (void)state;
    enum { N = 200000 };
    mtaio_emitter *em = emitter_new();
    size_t sums[2] = {0, 0};
    OK(mtaio_on(em, "x.*", sum, sums));
    mtaio_batch *batch = batch_new(em);
    for (int i = 0; i < N; i++)
        OK(mtaio_batch_emit(batch, i % 2 != 0 ? "x.a" : "x.b", i % 4 == 0 ? &sums : NULL));
    assert_int_equal(mtaio_batch_count(batch), N);
    assert_int_equal(mtaio_batch_end(batch, NULL), 1);
    assert_int_equal(sums[0], N - N / 4);
    assert_int_equal(sums[1], N / 4);
    mtaio_batch_unref(batch);
    mtaio_emitter_unref(em);
}

enum { THREADS = 4, EACH = 2000 };
static const char *const numbers[] = {"0", "1", "2", "3"};

static void emit_many(unsigned index, void *ctx) {
    for (int i = 0; i < EACH; i++)
        CHECK(mtaio_batch_emit(ctx, numbers[index], NULL) == 0);
}

/* Several threads emit into one batch: all is there. */
static void test_threads(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    size_t sums[THREADS][2] = {0};
    for (int i = 0; i < THREADS; i++)
        OK(mtaio_on(em, numbers[i], sum, sums[i]));
    mtaio_batch *batch = batch_new(em);
    support_threads(THREADS, emit_many, batch);
    assert_int_equal(mtaio_batch_count(batch), THREADS * EACH);
    assert_int_equal(mtaio_batch_end(batch, NULL), THREADS);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(sums[i][0], EACH);
    mtaio_batch_unref(batch);
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_delivery),
        TEST(test_small_batches),
        TEST(test_handlers_of_the_end),
        TEST(test_others_not_held_up),
        TEST(test_nested),
        TEST(test_abandon),
        TEST(test_over),
        TEST(test_stop),
        TEST(test_failures),
        TEST(test_derived),
        TEST(test_async_end),
        TEST(test_emit_inside),
        TEST(test_owned_events),
        TEST(test_emitter_closed),
        TEST(test_many),
        TEST(test_threads),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
