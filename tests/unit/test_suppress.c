/* test_suppress.c - events held back for a while, then dropped or replayed. */
#include "record.h"

static mtaio_suppression *suppress(mtaio_emitter *em, const char *pattern) {
    mtaio_suppression *s = NULL;
    OK(mtaio_emitter_suppress(em, pattern, &s));
    assert_non_null(s);
    return s;
}

static int look(mtaio_event *event, struct actor *self) {
    const char *data = mtaio_event_data(event);
    note("%s=%s", mtaio_event_name(event), data != NULL ? data : "-");
    return self->result;
}

/* "Hold back events of a name for a while, then replay them": in order, as if they were emitted then. Others
 * pass. The report of a held event says so. */
static void test_replay(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_report report = MTAIO_REPORT();
    mtaio_name *resolved = NULL;
    struct actor a = {.tag = "a", .act = look}, m = {.tag = "m", .act = look};
    listen(em, "x.**", &a);
    listen_at(em, "*", MTAIO_MONITOR, &m);
    OK(mtaio_emitter_resolve(em, "x.a", &resolved));
    mtaio_suppression *s = suppress(em, "x.*");
    assert_int_equal(mtaio_suppression_count(s), 0);
    assert_int_equal(mtaio_emit(em, "x.a", "1"), 0);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = "x.b", .data = "2", .report = &report)), 0);
    assert_true(report.held);
    assert_int_equal(report.called, 0);
    assert_int_equal(mtaio_emit_name(resolved, "3"), 0);
    assert_int_equal(mtaio_suppression_count(s), 3);
    assert_noted("");
    assert_int_equal(mtaio_emit(em, "x", "4"), 2);
    assert_int_equal(mtaio_emit(em, "y", "5"), 1);
    assert_noted("a x=4 m x=4 m y=5");
    assert_int_equal(mtaio_suppression_replay(s), 3);
    assert_noted("a x.a=1 m x.a=1 a x.b=2 m x.b=2 a x.a=3 m x.a=3");
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = "x.b", .data = "6", .report = &report)), 2);
    assert_false(report.held);
    assert_noted("a x.b=6 m x.b=6");
    mtaio_suppression_unref(s);
    mtaio_name_unref(resolved);
    mtaio_emitter_unref(em);
}

/* "...or all", "...then drop": they are gone. Giving back the suppression drops too. */
static void test_drop(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = look};
    listen(em, "*", &a);
    mtaio_suppression *s = suppress(em, NULL);
    OK(mtaio_emit(em, "x", "1"));
    OK(mtaio_emit(em, "y", "2"));
    assert_int_equal(mtaio_suppression_drop(s), 2);
    assert_int_equal(mtaio_emit(em, "x", "3"), 1);
    mtaio_suppression_unref(s);
    s = suppress(em, NULL);
    OK(mtaio_emit(em, "x", "4"));
    assert_null(mtaio_suppression_unref(s));
    assert_int_equal(mtaio_emit(em, "x", "5"), 1);
    assert_noted("a x=3 a x=5");
    mtaio_emitter_unref(em);
}

/* A suppression ends once: EALREADY afterwards. Hazard 45. */
static void test_ends_once(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    for (int way = 0; way < 2; way++) {
        mtaio_suppression *s = suppress(em, "x");
        OK(mtaio_emit(em, "x", NULL));
        assert_int_equal(way == 0 ? mtaio_suppression_drop(s) : mtaio_suppression_replay(s), 1);
        assert_int_equal(mtaio_suppression_drop(s), MTAIO_EALREADY);
        assert_int_equal(mtaio_suppression_replay(s), MTAIO_EALREADY);
        assert_int_equal(mtaio_suppression_count(s), 0);
        mtaio_suppression_unref(s);
    }
    mtaio_suppression *s = suppress(em, "x");
    assert_int_equal(mtaio_suppression_replay(s), 0);
    mtaio_suppression_unref(s);
    mtaio_emitter_unref(em);
}

/* "Suppressions may overlap: the oldest that matches holds the event." */
static void test_overlap(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = look};
    listen(em, "*", &a);
    mtaio_suppression *first = suppress(em, "x.a"), *second = suppress(em, "x.*"),
                      *third = suppress(em, "x.a");
    OK(mtaio_emit(em, "x.a", "1"));
    OK(mtaio_emit(em, "x.b", "2"));
    assert_int_equal(mtaio_suppression_count(first), 1);
    assert_int_equal(mtaio_suppression_count(second), 1);
    assert_int_equal(mtaio_suppression_count(third), 0);
    assert_int_equal(mtaio_suppression_drop(first), 1);
    OK(mtaio_emit(em, "x.a", "3"));
    assert_int_equal(mtaio_suppression_count(second), 2);
    assert_int_equal(mtaio_suppression_drop(third), 0);
    assert_int_equal(mtaio_suppression_replay(second), 2);
    assert_noted("a x.b=2 a x.a=3");
    mtaio_suppression_unref(first);
    mtaio_suppression_unref(second);
    mtaio_suppression_unref(third);
    mtaio_emitter_unref(em);
}

static int emit_again(mtaio_event *event, struct actor *self) {
    look(event, self);
    if (strcmp(mtaio_event_data(event), "1") == 0)
        note("(%d)", mtaio_emit(self->em, "x", "late"));
    return 0;
}

/* "What is emitted during the replay comes after it." */
static void test_emit_during_replay(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = emit_again, .em = em};
    listen(em, "x", &a);
    mtaio_suppression *s = suppress(em, "x");
    OK(mtaio_emit(em, "x", "1"));
    OK(mtaio_emit(em, "x", "2"));
    assert_true(mtaio_suppression_replay(s) >= 2);
    assert_noted("a x=1 (0) a x=2 a x=late");
    mtaio_suppression_unref(s);
    mtaio_emitter_unref(em);
}

/* All are replayed though some handler fails, and the replay says so. An "error" held back is an error when
 * it is replayed, not before. */
static void test_failures(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = look, .result = -2};
    listen(em, "x", &a);
    mtaio_suppression *s = suppress(em, NULL);
    OK(mtaio_emit(em, "x", "1"));
    OK(mtaio_emit(em, "x", "2"));
    assert_int_equal(mtaio_suppression_replay(s), MTAIO_EHANDLER);
    assert_noted("a x=1 a x=2");
    mtaio_suppression_unref(s);
    s = suppress(em, NULL);
    OK(mtaio_emit(em, "error", "1"));
    assert_int_equal(mtaio_suppression_drop(s), 1);
    mtaio_suppression_unref(s);
    mtaio_emitter_unref(em);
}

static void note_release(void *data) { note("free(%s)", (char *)data); }

static mtaio_event *owned(const char *data) {
    mtaio_event *event = NULL;
    OK(mtaio_event_new("x", (void *)(uintptr_t)data, note_release, &event));
    return event;
}

/* An owned event held back keeps its data until it is dropped or was replayed; emitting it is over at once.
 */
static void test_owned_events(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = look};
    listen(em, "x", &a);
    mtaio_suppression *s = suppress(em, "x");
    mtaio_event *one = owned("one"), *two = owned("two");
    OK(mtaio_emit_async(em, one, MTAIO_ASYNC(.done = note_done)));
    OK(mtaio_emit_nowait(em, two));
    mtaio_event_unref(one);
    mtaio_event_unref(two);
    assert_noted("done:0");
    assert_int_equal(mtaio_suppression_replay(s), 2);
    assert_noted("a x=one a x=two free(one) free(two)");
    mtaio_suppression_unref(s);
    s = suppress(em, "x");
    one = owned("one");
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.event = one)), 0);
    mtaio_event_unref(one);
    assert_noted("");
    mtaio_suppression_unref(s);
    assert_noted("free(one)");
    mtaio_emitter_unref(em);
}

/* Metadata and change of a plain emission are kept with the event; the name is copied. */
static int look_closer(mtaio_event *event, struct actor *self) {
    look(event, self);
    note("%s/%d", mtaio_event_get(event, "k"), (int)mtaio_event_change(event));
    return 0;
}

static void test_all_is_kept(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_metadata *m = NULL;
    struct actor a = {.tag = "a", .act = look_closer};
    char name[] = "some.name";
    OK(mtaio_metadata_new(&m));
    OK(mtaio_metadata_set(m, "k", "v"));
    listen(em, "*", &a);
    mtaio_suppression *s = suppress(em, NULL);
    OK(mtaio_emit_with(em, MTAIO_EMISSION(.name = name, .data = "d", .metadata = m, .change = MTAIO_CREATE)));
    mtaio_metadata_unref(m);
    memset(name, 'z', sizeof name - 1);
    assert_int_equal(mtaio_suppression_replay(s), 1);
    assert_noted("a some.name=d v/1");
    mtaio_suppression_unref(s);
    mtaio_emitter_unref(em);
}

/* Handlers are those of the replay: the emission begins then. */
static void test_handlers_of_the_replay(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"}, b = {.tag = "b"};
    listen(em, "x", &a);
    mtaio_suppression *s = suppress(em, "x");
    OK(mtaio_emit(em, "x", NULL));
    assert_int_equal(mtaio_off(em, "x", play, &a), 1);
    listen(em, "x", &b);
    assert_int_equal(mtaio_suppression_replay(s), 1);
    assert_noted("b");
    mtaio_suppression_unref(s);
    mtaio_emitter_unref(em);
}

/* A closed emitter holds nothing back: emitting is ECLOSED, and so is suppressing. What was held is freed at
 * the end. */
static void test_closed(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_suppression *s = suppress(em, NULL), *late = NULL;
    mtaio_event *one = owned("one");
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.event = one)), 0);
    mtaio_event_unref(one);
    OK(mtaio_emitter_close(em));
    assert_int_equal(mtaio_emit(em, "x", NULL), MTAIO_ECLOSED);
    assert_int_equal(mtaio_emitter_suppress(em, NULL, &late), MTAIO_ECLOSED);
    assert_null(late);
    mtaio_emitter_unref(em);
    mtaio_suppression_unref(s);
    mtaio_reclaim();
    assert_noted("free(one)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_replay),
        TEST(test_drop),
        TEST(test_ends_once),
        TEST(test_overlap),
        TEST(test_emit_during_replay),
        TEST(test_failures),
        TEST(test_owned_events),
        TEST(test_all_is_kept),
        TEST(test_handlers_of_the_replay),
        TEST(test_closed),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
