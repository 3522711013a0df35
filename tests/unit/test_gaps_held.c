/* test_gaps_held.c - corners of batches and suppressions that the coverage report pointed at. */
#include "record.h"

static mtaio_batch *batch_new(mtaio_emitter *em) {
    mtaio_batch *batch = NULL;
    OK(mtaio_batch_new(em, &batch));
    return batch;
}

/* Ending an empty batch calls nobody, and says that it is over: at once, to done. A nested one takes no
 * async. */
static void test_empty_async(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_batch *outer = batch_new(em), *nested = NULL;
    OK(mtaio_batch_nest(outer, &nested));
    assert_int_equal(mtaio_batch_end(nested, MTAIO_ASYNC(.done = note_done)), MTAIO_EINVAL);
    assert_int_equal(mtaio_batch_end(outer, NULL), MTAIO_EBUSY);
    assert_int_equal(mtaio_batch_end(outer, &(mtaio_async){.size = 1, .done = note_done}), MTAIO_EINVAL);
    assert_int_equal(mtaio_batch_end(outer, MTAIO_ASYNC(.ctx = NULL)), MTAIO_EINVAL);
    OK(mtaio_batch_end(nested, NULL));
    OK(mtaio_batch_end(outer, MTAIO_ASYNC(.done = note_done)));
    assert_noted("done:0");
    mtaio_batch_unref(nested);
    mtaio_batch_unref(outer);
    mtaio_emitter_unref(em);
}

/* A batch within one that was abandoned is over too: ECLOSED. */
static void test_outer_abandoned(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_batch *outer = batch_new(em), *nested = NULL, *third = NULL;
    OK(mtaio_batch_nest(outer, &nested));
    OK(mtaio_batch_emit(nested, "x", NULL));
    OK(mtaio_batch_abandon(outer));
    assert_int_equal(mtaio_batch_emit(nested, "x", NULL), MTAIO_ECLOSED);
    assert_int_equal(mtaio_batch_end(nested, NULL), MTAIO_ECLOSED);
    assert_int_equal(mtaio_batch_nest(nested, &third), MTAIO_ECLOSED);
    mtaio_batch_unref(nested);
    mtaio_batch_unref(outer);
    mtaio_emitter_unref(em);
}

/* A batch meets a suppression at its end: what that matches is held back, the rest is delivered. */
static void test_batch_suppressed(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"}, b = {.tag = "b"};
    mtaio_suppression *held = NULL;
    mtaio_batch *batch = batch_new(em);
    listen(em, "a", &a);
    listen(em, "b", &b);
    OK(mtaio_emitter_suppress(em, "a", &held));
    OK(mtaio_batch_emit(batch, "a", NULL));
    OK(mtaio_batch_emit(batch, "b", NULL));
    assert_int_equal(mtaio_batch_end(batch, NULL), 1);
    assert_noted("b");
    assert_int_equal(mtaio_suppression_count(held), 1);
    assert_int_equal(mtaio_suppression_replay(held), 1);
    assert_noted("a");
    mtaio_suppression_unref(held);
    mtaio_batch_unref(batch);
    mtaio_emitter_unref(em);
}

/* "The name is 'error' and no handler but monitors listens": of an "error" in a batch, by exact name or
 * pattern. */
static void test_error_in_batch(void **state) {
    (void)state;
    static const struct {
        const char *pattern;
        mtaio_priority priority;
        int expected;
    } table[] = {{"error", MTAIO_NORMAL, 1},
                 {"error", MTAIO_MONITOR, MTAIO_EUNHANDLED},
                 {"*", MTAIO_LOW, 1},
                 {"*", MTAIO_MONITOR, MTAIO_EUNHANDLED},
                 {"x", MTAIO_NORMAL, MTAIO_EUNHANDLED}};
    for (size_t i = 0; i < COUNT(table); i++) {
        mtaio_emitter *em = emitter_new();
        mtaio_batch *batch = batch_new(em);
        struct actor a = {.tag = "a"};
        listen_at(em, table[i].pattern, table[i].priority, &a);
        OK(mtaio_batch_emit(batch, "x", NULL));
        OK(mtaio_batch_emit(batch, "error", NULL));
        assert_int_equal(mtaio_batch_end(batch, NULL), table[i].expected);
        assert_noted("a");
        mtaio_batch_unref(batch);
        mtaio_emitter_unref(em);
    }
}

/* An owned batch cannot be put into a batch: EINVAL. */
static int put_into(mtaio_event *event, struct actor *self) {
    mtaio_event *kept = NULL;
    OK(mtaio_event_keep(event, &kept));
    assert_true(mtaio_event_is_batch(kept));
    assert_int_equal(mtaio_batch_emit_event(self->more, kept), MTAIO_EINVAL);
    mtaio_event_unref(kept);
    return 0;
}

static void test_batch_in_batch(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_batch *batch = batch_new(em), *other = batch_new(em);
    struct actor a = {.tag = "a", .act = put_into, .more = other};
    listen(em, "x", &a);
    OK(mtaio_batch_emit(batch, "x", NULL));
    assert_int_equal(mtaio_batch_end(batch, NULL), 1);
    assert_noted("a");
    mtaio_batch_unref(batch);
    mtaio_batch_unref(other);
    mtaio_emitter_unref(em);
}

/* "EDEPTH: the rest is still held": a replay from within as many emissions as there may be. */
static int replay_at_the_bottom(mtaio_event *event, struct actor *self) {
    int *left = mtaio_event_data(event);
    if (--*left > 0) return mtaio_emit(self->em, "down", left) < 0 ? -1 : 0;
    assert_int_equal(mtaio_suppression_replay(self->more), MTAIO_EDEPTH);
    assert_int_equal(mtaio_suppression_count(self->more), 2);
    return 0;
}

static void test_replay_too_deep(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_suppression *held = NULL;
    int left = MTAIO_DEPTH_MAX;
    struct actor down = {.tag = "-", .act = replay_at_the_bottom, .em = em}, a = {.tag = "a"};
    listen(em, "down", &down);
    listen(em, "a", &a);
    OK(mtaio_emitter_suppress(em, "a", &held));
    down.more = held;
    OK(mtaio_emit(em, "a", NULL));
    OK(mtaio_emit(em, "a", NULL));
    assert_int_equal(mtaio_emit(em, "down", &left), 1);
    forget_notes();
    assert_int_equal(mtaio_suppression_replay(held), 2);
    assert_noted("a a");
    mtaio_suppression_unref(held);
    mtaio_emitter_unref(em);
}

/* "Your code may ... drop whatever called it": a handler that gives back the suppression which is being
 * replayed. */
static int unref_held(mtaio_event *event, struct actor *self) {
    (void)event;
    self->more = mtaio_suppression_unref(self->more);
    return 0;
}

static void test_dropped_while_replayed(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_suppression *held = NULL;
    struct actor a = {.tag = "a", .act = unref_held};
    listen(em, "a", &a);
    OK(mtaio_emitter_suppress(em, "a", &held));
    a.more = held;
    OK(mtaio_emit(em, "a", NULL));
    OK(mtaio_emit(em, "a", NULL));
    assert_int_equal(mtaio_suppression_replay(held), 2);
    assert_noted("a a");
    mtaio_emitter_unref(em);
}

/* "What is emitted meanwhile is still held, and comes second": without memory for it, it stays held, and a later replay
 * has it. A name to which twelve patterns lead wants memory. */
static int emit_then_no_memory(mtaio_event *event, struct actor *self) {
    (void)event;
    OK(mtaio_emit(self->em, "x.y", NULL));
    support_fail_at(1, true);
    return 0;
}

static void test_second_half_without_memory(void **state) {
    static const char *const patterns[] = {"*.y", "x.*", "*.*", "**", "x.**", "**.y", "*.**", "**.*"};
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_suppression *held = NULL;
    struct actor first = {.tag = "first", .act = emit_then_no_memory, .em = em}, second = {.tag = "+"};
    listen(em, "first", &first);
    for (size_t i = 0; i < COUNT(patterns); i++) {
        listen(em, patterns[i], &second);
        listen_at(em, patterns[i], MTAIO_LOW, &second);
    }
    OK(mtaio_emitter_suppress(em, "**", &held));
    OK(mtaio_emit(em, "first", NULL));
    forget_notes();
    assert_int_equal(mtaio_suppression_replay(held), MTAIO_ENOMEM);
    support_fail_at(0, false);
    assert_int_equal(mtaio_suppression_count(held), 1);
    forget_notes();
    assert_int_equal(mtaio_suppression_replay(held), 1);
    assert_noted("+ + + + + + + + + + + + + + + +");
    mtaio_suppression_unref(held);
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_empty_async),
        TEST(test_outer_abandoned),
        TEST(test_batch_suppressed),
        TEST(test_error_in_batch),
        TEST(test_batch_in_batch),
        TEST(test_replay_too_deep),
        TEST(test_dropped_while_replayed),
        TEST(test_second_half_without_memory),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
