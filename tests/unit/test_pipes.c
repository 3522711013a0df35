/* test_pipes.c - buffers, which pass events on n at a time, and pipes to other emitters. */
#include "record.h"

/* What came, in one word: name[data,data]. */
static int look(mtaio_event *event, struct actor *self) {
    char text[256] = "";
    for (size_t i = 0; i < mtaio_event_count(event); i++) {
        const char *data = mtaio_event_data(mtaio_event_at(event, i));
        snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s", i > 0 ? "," : "", data);
    }
    note("%s[%s]%s", mtaio_event_name(event), text, mtaio_event_is_batch(event) ? "" : "!");
    return self->result;
}

static mtaio_emitter *buffer(mtaio_emitter *em, const char *pattern, size_t n) {
    mtaio_emitter *buffered = NULL;
    OK(mtaio_emitter_buffer(em, pattern, n, &buffered));
    return buffered;
}

/* --- Buffers ---------------------------------------------------------------------------------------------
 */

/* "buffer(n) passes events on n at a time", as one batch, in order; each handler gets those that match it. */
static void test_buffer(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = look}, all = {.tag = "all", .act = look}, own = {.tag = "own"},
                 m = {.tag = "m"};
    mtaio_emitter *buffered = buffer(em, "x.*", 3);
    listen(buffered, "x.a", &a);
    listen(buffered, "*", &all);
    listen(em, "x.b", &own);
    listen_at(em, "x.a", MTAIO_MONITOR, &m);
    assert_int_equal(mtaio_emit(em, "x.a", "1"), 1);
    assert_int_equal(mtaio_emit(em, "y", "-"), 0);
    assert_int_equal(mtaio_emit(em, "x.b", "2"), 1);
    assert_noted("m own");
    assert_int_equal(mtaio_emit(em, "x.a", "3"), 3);
    assert_noted("a x.a[1,3] all *[1,2,3] m");
    for (int i = 0; i < 5; i++)
        assert_true(mtaio_emit(em, "x.b", "4") >= 1);
    assert_noted("own own own all x.b[4,4,4] own own");
    mtaio_emitter_unref(buffered);
    mtaio_emitter_unref(em);
}

/* "flush passes on what is there"; n of 1 is a batch of one, each time. */
static void test_flush(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = look}, b = {.tag = "b", .act = look};
    mtaio_emitter *buffered = buffer(em, NULL, 100), *single = buffer(em, NULL, 1);
    listen(buffered, "*", &a);
    listen(single, "*", &b);
    assert_int_equal(mtaio_emitter_flush(buffered), 0);
    assert_int_equal(mtaio_emit(em, "x", "1"), 1);
    assert_int_equal(mtaio_emit(em, "x", "2"), 1);
    assert_noted("b x[1] b x[2]");
    assert_int_equal(mtaio_emitter_flush(buffered), 1);
    assert_int_equal(mtaio_emitter_flush(buffered), 0);
    assert_noted("a x[1,2]");
    assert_int_equal(mtaio_emitter_flush(single), 0);
    mtaio_emitter_unref(buffered);
    mtaio_emitter_unref(single);
    mtaio_emitter_unref(em);
}

static void note_release(void *data) { note("free(%s)", (char *)data); }

/* What a buffer holds is freed with it, and failures behind it are those of the emission that filled it. */
static void test_buffer_ends(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_event *event = NULL;
    struct actor bad = {.tag = "bad", .result = -4};
    mtaio_emitter *buffered = buffer(em, NULL, 2);
    listen(buffered, "*", &bad);
    OK(mtaio_event_new("x", "data", note_release, &event));
    assert_int_equal(mtaio_emit(em, "x", "1"), 0);
    assert_int_equal(mtaio_emit(em, "x", "2"), MTAIO_EHANDLER);
    assert_noted("bad");
    OK(mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done)));
    mtaio_event_unref(event);
    assert_noted("done:0");
    mtaio_emitter_close(em);
    mtaio_emitter_unref(buffered);
    mtaio_reclaim();
    assert_noted("free(data)");
    mtaio_emitter_unref(em);
}

enum { THREADS = 3, EACH = 1000 };

static int sum(mtaio_event *event, void *ctx) {
    size_t *seen = ctx; /* batches of one buffer may arrive at once */
    __atomic_fetch_add(&seen[0], mtaio_event_count(event), __ATOMIC_RELAXED);
    __atomic_fetch_add(&seen[1], mtaio_event_count(event) == 7, __ATOMIC_RELAXED);
    return 0;
}

static void emit_each(unsigned index, void *em) {
    (void)index;
    for (int i = 0; i < EACH; i++)
        CHECK(mtaio_emit(em, "x", em) >= 0);
}

/* From several threads: every event is passed on once. */
static void test_buffer_threads(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_emitter *buffered = buffer(em, NULL, 7);
    size_t seen[2] = {0, 0};
    OK(mtaio_on(buffered, "x", sum, seen));
    support_threads(THREADS, emit_each, em);
    assert_int_equal(seen[0], THREADS * EACH / 7 * 7);
    assert_int_equal(seen[1], THREADS * EACH / 7);
    assert_int_equal(mtaio_emitter_flush(buffered), 1);
    assert_int_equal(seen[0], THREADS * EACH);
    mtaio_emitter_unref(buffered);
    mtaio_emitter_unref(em);
}

/* --- Pipes -----------------------------------------------------------------------------------------------
 */

/* A pipe "emits every event of the pattern on target too": after the source's own handlers, before its
 * monitors; stopped there it goes on here. */
static void test_pipe(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *target = emitter_new();
    mtaio_listener *pipe = NULL;
    struct actor a = {.tag = "a"}, m = {.tag = "m"}, t = {.tag = "t", .act = look, .stops = true},
                 tm = {.tag = "tm"};
    OK(mtaio_emitter_pipe(em, "x.*", target, &pipe));
    listen_at(em, "*", MTAIO_MONITOR, &m);
    listen_at(em, "x.y", MTAIO_LOWEST, &a);
    listen(target, "**", &t);
    listen_at(target, "*", MTAIO_MONITOR, &tm);
    assert_true(mtaio_emit(em, "x.y", "1") >= 2);
    assert_noted("a t x.y[1]! tm m");
    assert_int_equal(mtaio_emit(em, "y", "2"), 1);
    assert_noted("m");
    assert_int_equal(mtaio_emit(target, "x.y", "3"), 2);
    assert_noted("t x.y[3]! tm");
    assert_int_equal(mtaio_listener_cancel(pipe), 1);
    assert_int_equal(mtaio_emit(em, "x.y", "4"), 2);
    assert_noted("a m");
    mtaio_listener_unref(pipe);
    mtaio_emitter_unref(em);
    mtaio_emitter_unref(target);
}

/* "The pipe keeps target alive": until it is cancelled or its source is gone. */
static void test_pipe_lives(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *target = emitter_new();
    struct actor t = {.tag = "t"};
    mtaio_listener_unref(listen_ref(target, "x", 0, &t));
    OK(mtaio_emitter_pipe(em, "**", target, NULL));
    mtaio_emitter_unref(target);
    assert_true(mtaio_emit(em, "x", NULL) >= 0);
    assert_noted("t");
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    assert_noted("~t");
}

static void note_failure(const mtaio_failure *f, void *ctx) {
    (void)ctx;
    note("%s(%s,%d)", f->name, f->call == NULL ? "pipe" : ((struct actor *)f->ctx)->tag, f->status);
}

/* What fails behind a pipe is a failure of the source's emission; what runs in a circle ends in a clear
 * error. */
static void test_pipe_fails(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *target = emitter_new(), *one = emitter_new(), *two = emitter_new();
    mtaio_report report = MTAIO_REPORT();
    struct actor bad = {.tag = "bad", .result = -3}, m = {.tag = "m"};
    OK(mtaio_emitter_pipe(em, "*", target, NULL));
    listen(target, "x", &bad);
    listen_at(em, "*", MTAIO_MONITOR, &m);
    assert_int_equal(
        mtaio_emit_with(em, MTAIO_EMISSION(.name = "x", .report = &report, .failure = note_failure)),
        MTAIO_EHANDLER);
    assert_noted("bad x(bad,-3) m");
    assert_int_equal(report.failed, 1);
    OK(mtaio_emitter_pipe(one, "*", two, NULL));
    mtaio_listener *back = NULL;
    OK(mtaio_emitter_pipe(two, "*", one, &back));
    assert_int_equal(mtaio_emit(one, "x", NULL), MTAIO_EHANDLER);
    mtaio_listener_cancel(back); /* or they would keep each other alive */
    mtaio_listener_unref(back);
    mtaio_emitter_unref(one);
    mtaio_emitter_unref(two);
    mtaio_emitter_unref(em);
    mtaio_emitter_unref(target);
}

/* A handler behind a pipe may defer: the source's emission rests, too. */
static void test_pipe_defers(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *target = emitter_new();
    mtaio_deferral *d = NULL;
    struct actor w = {.tag = "w", .deferral = &d}, m = {.tag = "m"};
    OK(mtaio_emitter_pipe(em, "*", target, NULL));
    listen(target, "x", &w);
    listen_at(em, "x", MTAIO_MONITOR, &m);
    emit_later(em, "x");
    assert_noted("w");
    complete(&d, 0);
    assert_int_equal(strncmp(notes.text, "m done:", 7), 0);
    forget_notes();
    mtaio_emitter_unref(em);
    mtaio_emitter_unref(target);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_buffer), TEST(test_flush),      TEST(test_buffer_ends), TEST(test_buffer_threads),
        TEST(test_pipe),   TEST(test_pipe_lives), TEST(test_pipe_fails),  TEST(test_pipe_defers),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
