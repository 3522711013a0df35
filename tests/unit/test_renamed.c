/* test_renamed.c - "Handlers behind a map are chosen by the name of the source's event, even where the map gives
 * another name": and those behind what is behind it; of a batch too. */
#include "record.h"

/* x becomes renamed, all else y. */
static int rename_event(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    (void)ctx;
    return mtaio_event_set_name(mapped, strcmp(mtaio_event_name(event), "x") == 0 ? "renamed" : "y");
}

static int pass_but_2(const mtaio_event *event, void *ctx) {
    (void)ctx;
    return strcmp(mtaio_event_data(event), "2") != 0;
}

static mtaio_emitter *renamed(mtaio_emitter *em) {
    mtaio_emitter *mapped = NULL;
    OK(mtaio_emitter_map(em, NULL, MTAIO_MAP(.call = rename_event), &mapped));
    return mapped;
}

static mtaio_emitter *filtered(mtaio_emitter *em, const char *pattern) {
    mtaio_emitter *derived = NULL;
    OK(mtaio_emitter_filter(em, pattern, MTAIO_FILTER(.call = pass_but_2), &derived));
    return derived;
}

static int look(mtaio_event *event, struct actor *self) {
    char text[100] = "";
    for (size_t i = 0; i < mtaio_event_count(event); i++)
        strcat(text, mtaio_event_data(mtaio_event_at(event, i)));
    note("%s:%s", mtaio_event_name(event), text);
    return self->result;
}

static void test_single(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *mapped = renamed(em), *all = filtered(mapped, NULL);
    struct actor a = {.tag = "a", .act = look}, b = {.tag = "b", .act = look}, never = {.tag = "never"};
    listen(mapped, "x", &a);
    listen(all, "**", &b);
    listen(all, "renamed", &never);
    assert_int_equal(mtaio_emit(em, "x", "1"), 2);
    assert_noted("a renamed:1 b renamed:1");
    mtaio_emitter_unref(all);
    mtaio_emitter_unref(mapped);
    mtaio_emitter_unref(em);
}

/* Whom a derived emitter with a pattern of its own is for. */
static void test_pattern(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *mapped = renamed(em), *of_x = filtered(mapped, "x"),
                  *of_new = filtered(mapped, "renamed");
    struct actor a = {.tag = "a", .act = look}, never = {.tag = "never"};
    mtaio_batch *batch = NULL;
    listen(of_x, "**", &a);
    listen(of_new, "**", &never);
    assert_int_equal(mtaio_emit(em, "x", "1"), 1);
    OK(mtaio_batch_new(em, &batch));
    OK(mtaio_batch_emit(batch, "z", "3"));
    OK(mtaio_batch_emit(batch, "x", "4"));
    assert_int_equal(mtaio_batch_end(batch, NULL), 1);
    assert_noted("a renamed:1 a renamed:4");
    mtaio_batch_unref(batch);
    mtaio_emitter_unref(of_new);
    mtaio_emitter_unref(of_x);
    mtaio_emitter_unref(mapped);
    mtaio_emitter_unref(em);
}

/* Behind a pipe it is the name that the event has there. */
static void test_batch(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *first = renamed(em), *middle = filtered(first, NULL),
                  *second = renamed(middle), *piped = emitter_new();
    struct actor a = {.tag = "a", .act = look}, b = {.tag = "b", .act = look}, c = {.tag = "c", .act = look},
                 d = {.tag = "d", .act = look}, p = {.tag = "p", .act = look}, never = {.tag = "never"};
    mtaio_batch *batch = NULL;
    OK(mtaio_emitter_pipe(second, "*", piped, NULL));
    listen(first, "x", &a);
    listen(first, "renamed", &never);
    listen(middle, "z", &b);
    listen(second, "x", &c);
    listen(second, "z", &d);
    listen(second, "y", &never);
    listen(piped, "y", &p);
    listen(piped, "x", &never);
    OK(mtaio_batch_new(em, &batch));
    OK(mtaio_batch_emit(batch, "x", "1"));
    OK(mtaio_batch_emit(batch, "z", "2"));
    OK(mtaio_batch_emit(batch, "z", "3"));
    OK(mtaio_batch_emit(batch, "x", "4"));
    assert_int_equal(mtaio_batch_end(batch, NULL), 5);
    assert_noted("a renamed:14 b y:3 c y:14 d y:3 p y:134");
    mtaio_batch_unref(batch);
    mtaio_emitter_unref(second);
    mtaio_emitter_unref(middle);
    mtaio_emitter_unref(first);
    mtaio_emitter_unref(piped);
    mtaio_emitter_unref(em);
}

static int add_up(mtaio_event *event, void *ctx) {
    *(size_t *)ctx += mtaio_event_count(event);
    return 0;
}

/* "Of a batch, the events that did not fail pass": whatever memory there is. */
static void test_no_memory(void **state) {
    (void)state;
    SWEEP(sweep) {
        mtaio_emitter *em = emitter_new(), *mapped = renamed(em), *all = filtered(mapped, NULL);
        mtaio_batch *batch = NULL;
        size_t seen = 0;
        OK(mtaio_on(all, "x", add_up, &seen));
        OK(mtaio_batch_new(em, &batch));
        for (int i = 0; i < 2; i++) OK(mtaio_batch_emit(batch, "x", "1"));
        support_arm(&sweep);
        int r = mtaio_batch_end(batch, NULL);
        bool failed = support_disarm(&sweep);
        assert_true(failed ? r == MTAIO_EHANDLER || r == MTAIO_ENOMEM : r == 1);
        assert_true(r == 1 ? seen == 2 : r == MTAIO_EHANDLER ? seen <= 1 : seen == 0);
        mtaio_batch_unref(batch);
        mtaio_emitter_unref(all);
        mtaio_emitter_unref(mapped);
        mtaio_emitter_unref(em);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_single),
        TEST(test_pattern),
        TEST(test_batch),
        TEST(test_no_memory),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
