/* test_flush.c - flushing a buffer without waiting, what it keeps, and that closing drops that. */
#include "record.h"

static mtaio_emitter *buffer(mtaio_emitter *em, const char *pattern, size_t n) {
    mtaio_emitter *buffered = NULL;
    OK(mtaio_emitter_buffer(em, pattern, n, &buffered));
    return buffered;
}

static int count_events(mtaio_event *event, struct actor *self) {
    note("%zu", mtaio_event_count(event));
    return self->result;
}

/* --- Flushing -------------------------------------------------------------------------------------------- */

static void note_report(int result, const mtaio_report *report, void *ctx) {
    (void)ctx;
    note("done:%d,%u", result, (unsigned)report->called);
}

/* "Does not wait": a handler may take its time; and "where nothing is there, done is called at once". */
static void test_flush_async(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    struct actor a = {.tag = "a", .deferral = &d}, b = {.tag = "b", .act = count_events};
    mtaio_emitter *buffered = buffer(em, NULL, 3);
    listen(buffered, "*", &a);
    listen(buffered, "*", &b);
    OK(mtaio_emitter_flush_async(buffered, MTAIO_ASYNC(.done = note_report)));
    assert_noted("done:0,0");
    assert_int_equal(mtaio_emit(em, "x", "1"), 0);
    assert_int_equal(mtaio_emit(em, "x", "2"), 0);
    OK(mtaio_emitter_flush_async(buffered, MTAIO_ASYNC(.done = note_report)));
    assert_noted("a");
    OK(mtaio_emitter_flush_async(buffered, MTAIO_ASYNC(.done = note_report)));
    assert_noted("done:0,0");
    complete(&d, 0);
    assert_noted("b 2 done:2,2");
    OK(mtaio_emitter_close(buffered));
    assert_int_equal(mtaio_emitter_flush_async(buffered, MTAIO_ASYNC(.done = note_report)), MTAIO_ECLOSED);
    assert_noted("");
    mtaio_emitter_unref(buffered);
    mtaio_emitter_unref(em);
}

static void refuse_gathered(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    CHECK(false);
}

/* "EINVAL: no buffer", no done, a struct that is none, nobody to be shown anything. */
static void test_arguments(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *buffered = buffer(em, "x", 2);
    mtaio_async async = *MTAIO_ASYNC(.done = note_done);
    assert_int_equal(mtaio_emit(em, "x", "1"), 0);
    assert_int_equal(mtaio_emitter_flush_async(NULL, &async), MTAIO_EINVAL);
    assert_int_equal(mtaio_emitter_flush_async(em, &async), MTAIO_EINVAL);
    assert_int_equal(mtaio_emitter_flush_async(buffered, NULL), MTAIO_EINVAL);
    assert_int_equal(mtaio_emitter_flush_async(buffered, MTAIO_ASYNC(.done = NULL)), MTAIO_EINVAL);
    async.size = 1;
    assert_int_equal(mtaio_emitter_flush_async(buffered, &async), MTAIO_EINVAL);
    assert_int_equal(mtaio_emitter_each_gathered(NULL, refuse_gathered, NULL), MTAIO_EINVAL);
    assert_int_equal(mtaio_emitter_each_gathered(em, refuse_gathered, NULL), MTAIO_EINVAL);
    assert_int_equal(mtaio_emitter_each_gathered(buffered, NULL, NULL), MTAIO_EINVAL);
    assert_noted("");
    OK(mtaio_emitter_flush_async(buffered, MTAIO_ASYNC(.done = note_done)));
    assert_noted("done:0");
    mtaio_emitter_unref(buffered);
    mtaio_emitter_unref(em);
}

static void note_sum(int result, const mtaio_report *report, void *ctx) {
    (void)report;
    *(int *)ctx += result;
}

/* "ENOMEM: everything is still there": flushed again, it passes as one batch. */
static void test_no_memory(void **state) {
    (void)state;
    SWEEP(sweep) {
        mtaio_emitter *em = emitter_new(), *buffered = buffer(em, NULL, 3);
        struct actor a = {.tag = "a", .act = count_events};
        int done = 0;
        listen(buffered, "x", &a);
        assert_true(mtaio_emit(em, "x", NULL) >= 0);
        assert_true(mtaio_emit(em, "x", NULL) >= 0);
        support_arm(&sweep);
        int r = mtaio_emitter_flush_async(buffered, MTAIO_ASYNC(.done = note_sum, .ctx = &done));
        bool failed = support_disarm(&sweep);
        assert_int_equal(r, done ? 0 : MTAIO_ENOMEM);
        assert_true(failed || done);
        if (!done)
            OK(mtaio_emitter_flush_async(buffered, MTAIO_ASYNC(.done = note_sum, .ctx = &done)));
        assert_int_equal(done, 1);
        assert_noted("a 2");
        mtaio_emitter_unref(buffered);
        mtaio_emitter_unref(em);
    }
}

/* --- What is gathered ------------------------------------------------------------------------------------ */

static void note_data(const mtaio_event *event, void *ctx) {
    note("%s%s", (const char *)ctx, (const char *)mtaio_event_data(event));
}

static void ignore_data(void *data) { (void)data; }

static void emit_owned(mtaio_emitter *em, const char *name, void *data, mtaio_event **ret) {
    mtaio_event *event = NULL;
    OK(mtaio_event_new(name, data, ignore_data, &event));
    OK(mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done)));
    if (ret != NULL)
        *ret = event;
    else
        mtaio_event_unref(event);
}

/* "Each event that the buffer keeps and nobody else refers to, and whose data has a release". */
static void test_gathered(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_emitter *buffered = buffer(em, "x", 9), *other = buffer(em, "y", 9);
    struct actor a = {.tag = "a"};
    listen(buffered, "*", &a);
    listen(other, "*", &a);
    OK(mtaio_emitter_each_gathered(buffered, note_data, ""));
    assert_noted("");
    mtaio_event *held = NULL;
    emit_owned(em, "x", "1", NULL);
    emit_owned(em, "x", "2", &held);
    emit_owned(em, "y", "3", NULL);
    assert_int_equal(mtaio_emit(em, "x", "4"), 0);
    assert_noted("done:0 done:0 done:0");
    OK(mtaio_emitter_each_gathered(buffered, note_data, "."));
    assert_noted(".1");
    mtaio_event_unref(held);
    OK(mtaio_emitter_each_gathered(buffered, note_data, "."));
    assert_noted(".1 .2");
    assert_int_equal(mtaio_emitter_flush(buffered), 1);
    assert_noted("a");
    OK(mtaio_emitter_each_gathered(buffered, note_data, "."));
    assert_noted("");
    mtaio_emitter_unref(buffered);
    mtaio_emitter_unref(other);
    mtaio_emitter_unref(em);
}

static int change_data(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    (void)event;
    return mtaio_event_set_data(mapped, ctx, ignore_data);
}

/* "With one that a map made, the one it was made from": unless somebody else refers to that. */
static void test_gathered_mapped(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *mapped = NULL;
    OK(mtaio_emitter_map(em, NULL, MTAIO_MAP(.call = change_data, .ctx = "new"), &mapped));
    mtaio_emitter *buffered = buffer(mapped, NULL, 9);
    struct actor a = {.tag = "a"};
    listen(buffered, "*", &a);
    mtaio_event *held = NULL;
    emit_owned(em, "x", "old", NULL);
    emit_owned(em, "x", "held", &held);
    assert_noted("done:0 done:0");
    OK(mtaio_emitter_each_gathered(buffered, note_data, "."));
    assert_noted(".new .old .new");
    mtaio_event_unref(held);
    OK(mtaio_emitter_each_gathered(buffered, note_data, "."));
    assert_noted(".new .old .new .held");
    mtaio_emitter_unref(buffered);
    mtaio_emitter_unref(mapped);
    mtaio_emitter_unref(em);
}

static void note_release(void *data) { note("free(%s)", (char *)data); }

/* "Closing drops it": at once. */
static void test_buffer_closed(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_event *event = NULL;
    struct actor a = {.tag = "a"};
    mtaio_emitter *buffered = buffer(em, NULL, 2);
    listen(buffered, "*", &a);
    OK(mtaio_event_new("x", "data", note_release, &event));
    OK(mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done)));
    mtaio_event_unref(event);
    assert_noted("done:0");
    OK(mtaio_emitter_close(buffered));
    assert_noted("free(data)");
    assert_int_equal(mtaio_emitter_flush(buffered), MTAIO_ECLOSED);
    mtaio_emitter_unref(buffered);
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_flush_async), TEST(test_arguments),       TEST(test_no_memory),
        TEST(test_gathered),    TEST(test_gathered_mapped), TEST(test_buffer_closed),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
