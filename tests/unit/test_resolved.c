/* test_resolved.c - names looked up once: emitting and registering by them. */
#include "record.h"

/* A resolved name emits like its name, also to handlers that came after it, for the name or a pattern. */
static void test_emitting(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_name *name = NULL, *other = NULL;
    struct actor a = {.tag = "a"}, b = {.tag = "b"};
    mtaio_report report = MTAIO_REPORT();
    OK(mtaio_emitter_resolve(em, "x.y", &name));
    assert_int_equal(mtaio_emit_name(name, NULL), 0);
    listen(em, "x.y", &a);
    assert_int_equal(mtaio_emit_name(name, NULL), 1);
    listen(em, "x.*", &b);
    assert_int_equal(mtaio_emit_name(name, NULL), 2);
    assert_int_equal(mtaio_off(em, "x.y", play, &a), 1);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.resolved = name, .report = &report)), 1);
    assert_int_equal(report.called, 1);
    assert_noted("a a b b");
    OK(mtaio_emitter_resolve(em, "x.y", &other)); /* a second handle of the same name */
    assert_int_equal(mtaio_emit_name(other, NULL), 1);
    mtaio_name_unref(name);
    assert_int_equal(mtaio_emit_name(other, NULL), 1);
    assert_noted("b b");
    mtaio_name_unref(other);
    mtaio_emitter_unref(em);
}

static int same_as_resolved(mtaio_event *event, struct actor *self) {
    assert_string_equal(mtaio_event_name(event), "x");
    assert_ptr_equal(mtaio_event_data(event), self);
    return 0;
}

/* A resolved name keeps its emitter alive; one reference for each ref; after close it answers ECLOSED. */
static void test_lives(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_name *name = NULL;
    struct actor a = {.tag = "a", .act = same_as_resolved};
    listen(em, "x", &a);
    OK(mtaio_emitter_resolve(em, "x", &name));
    assert_ptr_equal(mtaio_name_ref(name), name);
    assert_null(mtaio_name_unref(name));
    mtaio_emitter_ref(em);
    assert_null(mtaio_emitter_unref(em));
    mtaio_emitter_unref(em);
    assert_int_equal(mtaio_emit_name(name, &a), 1);
    assert_noted("a");
    mtaio_name_unref(name);

    em = emitter_new();
    OK(mtaio_emitter_resolve(em, "x", &name));
    mtaio_emitter_close(em);
    assert_int_equal(mtaio_emit_name(name, NULL), MTAIO_ECLOSED);
    mtaio_emitter_unref(em);
    mtaio_name_unref(name);
}

static int pass_all(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 1;
}

/* Handlers of a resolved name are handlers of the name: in the order of registration, once or not, cancelled
 * by listener or by function. */
static void test_listening(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_name *name = NULL;
    mtaio_listener *listener = NULL;
    struct actor a = {.tag = "a"}, b = {.tag = "b"}, c = {.tag = "c"}, d = {.tag = "d"};
    OK(mtaio_emitter_resolve(em, "x.y", &name));
    OK(mtaio_name_on(name, MTAIO_HANDLER(.call = play, .ctx = &a), NULL));
    listen(em, "x.*", &b);
    OK(mtaio_name_on(name, MTAIO_HANDLER(.call = play, .ctx = &c, .flags = MTAIO_ONCE), NULL));
    OK(mtaio_name_on(name, MTAIO_HANDLER(.call = play, .ctx = &d, .priority = MTAIO_HIGH), &listener));
    assert_int_equal(mtaio_emitter_count(em, "x.y"), 3);
    assert_int_equal(mtaio_emit(em, "x.y", NULL), 4);
    assert_int_equal(mtaio_emit_name(name, NULL), 3);
    assert_noted("d a b c d a b");
    assert_int_equal(mtaio_listener_cancel(listener), 1);
    assert_int_equal(mtaio_off(em, "x.y", play, &a), 1);
    assert_int_equal(mtaio_emitter_count(em, "x.y"), 0);
    assert_int_equal(mtaio_emit_name(name, NULL), 1);
    assert_noted("b");
    mtaio_listener_unref(listener);
    mtaio_emitter_close(em);
    assert_int_equal(mtaio_name_on(name, MTAIO_HANDLER(.call = play, .ctx = &a), NULL), MTAIO_ECLOSED);
    mtaio_name_unref(name);
    mtaio_emitter_unref(em);
}

/* On a derived emitter, the source learns of them. */
static void test_listening_derived(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *derived = NULL;
    mtaio_name *name = NULL;
    struct actor a = {.tag = "a"};
    OK(mtaio_emitter_filter(em, "**", MTAIO_FILTER(.call = pass_all), &derived));
    OK(mtaio_emitter_resolve(derived, "x.y", &name));
    assert_int_equal(mtaio_emit(em, "x.y", NULL), 0);
    for (int i = 0; i < 3; i++) {
        OK(mtaio_name_on(name, MTAIO_HANDLER(.call = play, .ctx = &a), NULL));
        assert_int_equal(mtaio_emit(em, "x.y", NULL), 1);
        assert_int_equal(mtaio_off(derived, "x.y", play, &a), 1);
        assert_int_equal(mtaio_emit(em, "x.y", NULL), 0);
    }
    assert_noted("a a a");
    mtaio_name_unref(name);
    mtaio_emitter_unref(derived);
    mtaio_emitter_unref(em);
}

/* Whether registering fails for want of memory or not: nothing is left of it, and the name serves as before.
 */
static void test_no_memory(void **state) {
    (void)state;
    SWEEP(sweep) {
        mtaio_emitter *em = emitter_new(), *derived = NULL;
        mtaio_name *name = NULL;
        mtaio_listener *listener = NULL;
        struct actor a = {.tag = "a"};
        OK(mtaio_emitter_filter(em, "**", MTAIO_FILTER(.call = pass_all), &derived));
        OK(mtaio_emitter_resolve(derived, "x.y", &name));
        support_arm(&sweep);
        int r = mtaio_name_on(name, MTAIO_HANDLER(.call = play, .ctx = &a), &listener);
        bool failed = support_disarm(&sweep);
        assert_int_equal(r, failed ? MTAIO_ENOMEM : 0);
        assert_int_equal(mtaio_emit(em, "x.y", NULL), failed ? 0 : 1);
        assert_noted(failed ? "" : "a");
        mtaio_listener_unref(listener);
        mtaio_name_unref(name);
        mtaio_emitter_unref(derived);
        mtaio_emitter_unref(em);
    }
}

static void test_bad_input(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_name *name = NULL;
    mtaio_handler h = *MTAIO_HANDLER(.call = play), bad = h;
    bad.call = NULL;
    OK(mtaio_emitter_resolve(em, "x", &name));
    assert_int_equal(mtaio_name_on(NULL, &h, NULL), MTAIO_EINVAL);
    assert_int_equal(mtaio_name_on(name, NULL, NULL), MTAIO_EINVAL);
    assert_int_equal(mtaio_name_on(name, &bad, NULL), MTAIO_EINVAL);
    assert_int_equal(mtaio_emitter_count(em, NULL), 0);
    mtaio_name_unref(name);
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_emitting),          TEST(test_lives),     TEST(test_listening),
        TEST(test_listening_derived), TEST(test_no_memory), TEST(test_bad_input),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
