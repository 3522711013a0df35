/* test_gaps_derived.c - corners of derived emitters that the coverage report pointed at. */
#include "record.h"

static int pass(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 1;
}

static int map_fails_at_two(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    (void)mapped;
    (void)ctx;
    return mtaio_event_data(event) == (void *)2 ? -7 : 0;
}

static mtaio_emitter *filter_new(mtaio_emitter *em) {
    mtaio_emitter *derived = NULL;
    OK(mtaio_emitter_filter(em, NULL, MTAIO_FILTER(.call = pass), &derived));
    return derived;
}

static mtaio_emitter *map_new(mtaio_emitter *em) {
    mtaio_emitter *derived = NULL;
    OK(mtaio_emitter_map(em, NULL, MTAIO_MAP(.call = map_fails_at_two), &derived));
    return derived;
}

static void on_before(const mtaio_event *event, void *ctx) {
    (void)ctx;
    note("<%s", mtaio_event_name(event));
}
static void on_after(const mtaio_event *event, const mtaio_report *report, int64_t ns, void *ctx) {
    (void)event;
    (void)ctx;
    CHECK(ns >= 0);
    note(">%u/%u/%d%s", report->called, report->failed, report->first_error, report->stopped ? "!" : "");
}
static void on_error(const mtaio_failure *failure, void *ctx) {
    (void)ctx;
    note("?%d", failure->status);
}

/* Hooks are "around every emission of an emitter": of a derived one, around what comes through from its
 * source, with what was called there; a failure is told to its hooks and to the source's. */
static void test_hooks(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *derived = filter_new(em);
    struct actor own = {.tag = "own"}, fails = {.tag = "fails", .result = -5},
                 stops = {.tag = "stops", .stops = true};
    listen(em, "x", &own);
    listen(derived, "x", &fails);
    listen(derived, "x", &stops);
    OK(mtaio_emitter_hook(derived, MTAIO_HOOK(.before = on_before, .after = on_after, .error = on_error),
                          NULL));
    assert_int_equal(mtaio_emit(em, "x", NULL), MTAIO_EHANDLER);
    assert_noted("own <x fails ?-5 stops >2/1/-5!");
    emit_later(em, "x"); /* and where it may rest */
    assert_noted("own <x fails ?-5 stops >2/1/-5! done:MTAIO_EHANDLER");
    assert_int_equal(mtaio_off(derived, "x", play, &fails), 1);
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    assert_noted("own <x stops >1/0/0!");
    mtaio_emitter_unref(derived);
    mtaio_emitter_unref(em);
}

static int remove_from_derived(mtaio_event *event, struct actor *self) {
    (void)event;
    assert_int_equal(mtaio_off(self->em, "x", play, self->more), 1);
    return 0;
}

/* Of several patterns of one derived emitter one link is enough; the one that goes is replaced by another
 * that matches, also while an emission has it in view. */
static void test_links_replace_each_other(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *derived = filter_new(em);
    struct actor name = {.tag = "name"}, any = {.tag = "any"};
    struct actor remover = {.tag = "remover", .act = remove_from_derived, .em = derived, .more = &name};
    listen(em, "x", &remover);
    listen(derived, "x", &name);
    listen(derived, "*", &any);
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    assert_noted("remover any");
    assert_int_equal(mtaio_off(em, "x", play, &remover), 1);
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    assert_noted("any");
    listen(derived, "x", &name); /* after the other: still one link */
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    assert_noted("any name");
    assert_int_equal(mtaio_off(derived, "*", play, &any), 1);
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    assert_noted("name");
    mtaio_emitter_unref(derived);
    mtaio_emitter_unref(em);
}

static int close_source(mtaio_event *event, struct actor *self) {
    (void)event;
    return mtaio_emitter_close(self->em);
}

/* "Detaches": once the source is closed, nothing comes through any more, of the emission that is under way
 * neither. What is emitted on the derived emitter itself still arrives. */
static void test_source_closed_inside(void **state) {
    (void)state;
    for (int resting = 0; resting < 2; resting++) {
        mtaio_emitter *em = emitter_new(), *derived = filter_new(em);
        struct actor closer = {.tag = "closer", .act = close_source, .em = em}, behind = {.tag = "behind"};
        listen(em, "x", &closer);
        listen(derived, "x", &behind);
        if (resting)
            emit_later(em, "x");
        else
            assert_int_equal(mtaio_emit(em, "x", NULL), 1);
        assert_noted(resting ? "closer done:1" : "closer");
        assert_int_equal(mtaio_emit(derived, "x", NULL), 1);
        assert_noted("behind");
        mtaio_emitter_unref(derived);
        mtaio_emitter_unref(em);
    }
}

static void batch_of_two(mtaio_emitter *em, int expected) {
    mtaio_batch *batch = NULL;
    OK(mtaio_batch_new(em, &batch));
    OK(mtaio_batch_emit(batch, "x", (void *)1));
    OK(mtaio_batch_emit(batch, "x", (void *)2));
    assert_int_equal(mtaio_batch_end(batch, NULL), expected);
    mtaio_batch_unref(batch);
}

/* A transform that fails for one event of a batch: that is reported, the others pass. */
static void test_map_fails_in_batch(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *mapped = map_new(em);
    struct actor own = {.tag = "own"}, behind = {.tag = "behind"};
    listen(em, "x", &own);
    listen(mapped, "x", &behind);
    batch_of_two(em, MTAIO_EHANDLER);
    assert_noted("own behind");
    mtaio_emitter_unref(mapped);
    mtaio_emitter_unref(em);
}

/* "map a new one (stopping it there stays there)": of a batch too. */
static void test_map_of_batch_stopped(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *mapped = map_new(em);
    struct actor stops = {.tag = "stops", .stops = true};
    OK(mtaio_emitter_hook(em, MTAIO_HOOK(.after = on_after), NULL));
    listen(mapped, "x", &stops);
    batch_of_two(em, MTAIO_EHANDLER);
    assert_noted("stops >1/1/-7");
    mtaio_emitter_unref(mapped);
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_hooks),
        TEST(test_links_replace_each_other),
        TEST(test_source_closed_inside),
        TEST(test_map_fails_in_batch),
        TEST(test_map_of_batch_stopped),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
