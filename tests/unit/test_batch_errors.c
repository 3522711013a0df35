/* test_batch_errors.c - "error" events: handled is what a handler but a monitor was called with; in a batch
 * each for itself, and behind what is derived as at the source. */
#include "record.h"

/* --- What is derived -------------------------------------------------------------------------------------
 */

/* Lets all pass but what has the data that ctx is. */
static int refuse(const mtaio_event *event, void *ctx) {
    return ctx == NULL || mtaio_event_data(event) != ctx;
}
static int refuse_all(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 0;
}
static int map_to_nothing(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    (void)event;
    (void)ctx;
    return mtaio_event_set_data(mapped, NULL, NULL);
}

static mtaio_emitter *filter(mtaio_emitter *em, int (*call)(const mtaio_event *event, void *ctx), void *ctx) {
    mtaio_emitter *derived = NULL;
    OK(mtaio_emitter_filter(em, NULL, MTAIO_FILTER(.call = call, .ctx = ctx), &derived));
    return derived;
}
static mtaio_emitter *map(mtaio_emitter *em) {
    mtaio_emitter *derived = NULL;
    OK(mtaio_emitter_map(em, NULL, MTAIO_MAP(.call = map_to_nothing), &derived));
    return derived;
}
static mtaio_emitter *map_twice(mtaio_emitter *em) {
    mtaio_emitter *once = map(em), *twice = map(once);
    mtaio_emitter_unref(once);
    return twice;
}
static mtaio_emitter *buffer(mtaio_emitter *em, size_t n) {
    mtaio_emitter *derived = NULL;
    OK(mtaio_emitter_buffer(em, NULL, n, &derived));
    return derived;
}
static mtaio_emitter *pass_all(mtaio_emitter *em) { return filter(em, refuse, NULL); }
static mtaio_emitter *pass_none(mtaio_emitter *em) { return filter(em, refuse_all, NULL); }
static mtaio_emitter *buffer_one(mtaio_emitter *em) { return buffer(em, 1); }
static mtaio_emitter *buffer_many(mtaio_emitter *em) { return buffer(em, 100); }
static mtaio_emitter *pipe_to(mtaio_emitter *em) {
    mtaio_emitter *target = emitter_new();
    OK(mtaio_emitter_pipe(em, NULL, target, NULL));
    return target;
}
static mtaio_emitter *itself(mtaio_emitter *em) { return mtaio_emitter_ref(em); }

/* --- One "error", in every way to emit it ------------------------------------------------------------------
 */

static mtaio_batch *batch_new(mtaio_emitter *em) {
    mtaio_batch *batch = NULL;
    OK(mtaio_batch_new(em, &batch));
    return batch;
}

static int end_batch(mtaio_batch *batch) {
    int r = mtaio_batch_end(batch, NULL);
    mtaio_batch_unref(batch);
    return r;
}

static void keep_result(int result, const mtaio_report *report, void *ctx) {
    (void)report;
    *(int *)ctx = result;
}

static int emit_in_batch(mtaio_emitter *em, bool asynchronous) {
    mtaio_batch *batch = batch_new(em);
    int result = 1;
    OK(mtaio_batch_emit(batch, "error", NULL));
    OK(mtaio_batch_emit(batch, "x", NULL));
    if (!asynchronous) return end_batch(batch);
    OK(mtaio_batch_end(batch, MTAIO_ASYNC(.done = keep_result, .ctx = &result)));
    mtaio_batch_unref(batch);
    return result;
}

/* "error is an ordinary event, except that emitting it with no handler is an error": no handler but monitors
 * was called with it, whatever is derived. Alone and in a batch alike. */
static void test_one(void **state) {
    (void)state;
    static const struct {
        mtaio_emitter *(*derive)(mtaio_emitter *em);
        mtaio_priority priority;
        bool handled;
    } table[] = {
        {itself, MTAIO_LOWEST, true},       {itself, MTAIO_MONITOR, false},
        {pass_all, MTAIO_NORMAL, true},     {pass_all, MTAIO_MONITOR, false},
        {pass_none, MTAIO_NORMAL, false},   {map, MTAIO_NORMAL, true},
        {map, MTAIO_MONITOR, false},        {map_twice, MTAIO_NORMAL, true},
        {map_twice, MTAIO_MONITOR, false},  {buffer_one, MTAIO_NORMAL, true},
        {buffer_one, MTAIO_MONITOR, false}, {buffer_many, MTAIO_NORMAL, false},
        {pipe_to, MTAIO_NORMAL, true},      {pipe_to, MTAIO_MONITOR, false},
    };
    for (size_t i = 0; i < COUNT(table); i++) {
        mtaio_emitter *em = emitter_new(), *derived = table[i].derive(em);
        struct actor a = {.tag = "a"};
        int expected = table[i].handled ? 1 : MTAIO_EUNHANDLED;
        listen_at(derived, "error", table[i].priority, &a);
        assert_int_equal(mtaio_emit(em, "error", NULL), expected);
        assert_int_equal(emit_in_batch(em, false), expected);
        assert_int_equal(emit_in_batch(em, true), expected);
        forget_notes();
        mtaio_emitter_unref(derived);
        mtaio_emitter_unref(em);
    }
}

/* A pipe to an emitter that nobody listens to handles nothing. */
static void test_pipe_to_nobody(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *target = pipe_to(em);
    assert_int_equal(mtaio_emit(em, "error", NULL), MTAIO_EUNHANDLED);
    assert_int_equal(emit_in_batch(em, false), MTAIO_EUNHANDLED);
    mtaio_emitter_unref(target);
    mtaio_emitter_unref(em);
}

/* A once handler that somebody else takes away just before it is called was not called. */
static int take_away(mtaio_event *event, struct actor *self) {
    (void)event;
    assert_int_equal(mtaio_emitter_remove_all(self->em, "error"), 1);
    return 0;
}

static void test_removed_meanwhile(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"}, taker = {.tag = "taker", .act = take_away, .em = em};
    listen_at(em, "x", MTAIO_HIGH, &taker);
    listen(em, "error", &a);
    assert_int_equal(emit_in_batch(em, false), MTAIO_EUNHANDLED);
    assert_noted("taker");
    mtaio_emitter_unref(em);
}

/* --- Several ---------------------------------------------------------------------------------------------
 */

/* "Errors do not vanish": one that the filter refuses is not handled because another passes. */
static void test_each_for_itself(void **state) {
    (void)state;
    static char refused[] = "refused", passed[] = "passed";
    mtaio_emitter *em = emitter_new(), *derived = filter(em, refuse, refused);
    struct actor a = {.tag = "a"};
    listen(derived, "error", &a);
    mtaio_batch *batch = batch_new(em);
    for (int i = 0; i < 3; i++) OK(mtaio_batch_emit(batch, "error", passed));
    assert_int_equal(end_batch(batch), 1);
    for (int at = 0; at < 3; at++) {
        batch = batch_new(em);
        for (int i = 0; i < 3; i++) OK(mtaio_batch_emit(batch, "error", i == at ? refused : passed));
        assert_int_equal(end_batch(batch), MTAIO_EUNHANDLED);
    }
    assert_noted("a a a a");
    mtaio_emitter_unref(derived);
    mtaio_emitter_unref(em);
}

/* The same event twice in a batch, and in two at once: each batch knows of its own. */
static void test_same_event(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *other = emitter_new();
    mtaio_event *event = event_new("error", NULL);
    struct actor a = {.tag = "a"};
    listen(em, "error", &a);
    mtaio_batch *batch = batch_new(em), *unheard = batch_new(other);
    OK(mtaio_batch_emit_event(batch, event));
    OK(mtaio_batch_emit_event(unheard, event));
    OK(mtaio_batch_emit_event(batch, event));
    assert_int_equal(end_batch(batch), 1);
    assert_int_equal(end_batch(unheard), MTAIO_EUNHANDLED);
    assert_noted("a");
    mtaio_event_unref(event);
    mtaio_emitter_unref(em);
    mtaio_emitter_unref(other);
}

/* Two filters, each of which refuses what the other lets pass: all is handled. */
static void test_between_two(void **state) {
    (void)state;
    static char one[] = "1", two[] = "2";
    mtaio_emitter *em = emitter_new(), *first = filter(em, refuse, one), *second = filter(em, refuse, two);
    struct actor a = {.tag = "a"};
    listen(first, "error", &a);
    listen(second, "*", &a);
    mtaio_batch *batch = batch_new(em);
    OK(mtaio_batch_emit(batch, "error", one));
    OK(mtaio_batch_emit(batch, "error", two));
    assert_int_equal(end_batch(batch), 2);
    assert_noted("a a");
    mtaio_emitter_unref(first);
    mtaio_emitter_unref(second);
    mtaio_emitter_unref(em);
}

/* A failure goes before: it is reported as one, and the "error" was handled by who failed. */
static void test_failing_handler(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor bad = {.tag = "bad", .result = -3};
    listen(em, "error", &bad);
    assert_int_equal(mtaio_emit(em, "error", NULL), MTAIO_EHANDLER);
    assert_int_equal(emit_in_batch(em, false), MTAIO_EHANDLER);
    assert_int_equal(emit_in_batch(em, true), MTAIO_EHANDLER);
    assert_noted("bad bad bad");
    mtaio_emitter_unref(em);
}

/* A handler that finishes later handles it, too. */
static void test_deferred(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    struct actor waits = {.tag = "waits", .deferral = &d};
    listen(em, "error", &waits);
    mtaio_batch *batch = batch_new(em);
    OK(mtaio_batch_emit(batch, "error", NULL));
    OK(mtaio_batch_end(batch, MTAIO_ASYNC(.done = note_done)));
    mtaio_batch_unref(batch);
    assert_noted("waits");
    complete(&d, 0);
    assert_noted("done:1");
    mtaio_emitter_unref(em);
}

/* --- What a map makes of a batch's events ------------------------------------------------------------------
 */

static void note_release(void *data) { note("free(%s)", (char *)data); }
static int change_nothing(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    (void)event;
    (void)mapped;
    (void)ctx;
    return 0;
}
static int keep(mtaio_event *event, struct actor *self) {
    return mtaio_event_keep(mtaio_event_at(event, 0), (mtaio_event **)self->more);
}

/* A kept event keeps its data, also where a map has passed it on in a batch. */
static void test_mapped_and_kept(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *mapped = NULL;
    mtaio_event *event = NULL, *kept = NULL;
    struct actor keeper = {.tag = "keeper", .act = keep, .more = &kept};
    OK(mtaio_emitter_map(em, NULL, MTAIO_MAP(.call = change_nothing), &mapped));
    listen(mapped, "x", &keeper);
    mtaio_batch *batch = batch_new(em);
    OK(mtaio_event_new("x", "data", note_release, &event));
    OK(mtaio_batch_emit_event(batch, event));
    mtaio_event_unref(event);
    assert_int_equal(end_batch(batch), 1);
    assert_noted("keeper");
    assert_string_equal(mtaio_event_data(kept), "data");
    mtaio_event_unref(kept);
    assert_noted("free(data)");
    mtaio_emitter_unref(mapped);
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_one),
        TEST(test_pipe_to_nobody),
        TEST(test_removed_meanwhile),
        TEST(test_each_for_itself),
        TEST(test_same_event),
        TEST(test_between_two),
        TEST(test_failing_handler),
        TEST(test_deferred),
        TEST(test_mapped_and_kept),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
