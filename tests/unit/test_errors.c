/* test_errors.c - failing handlers, the event called "error", emissions that nobody awaits, the last resort.
 */
#include "record.h"

#include <unistd.h>

static void note_failure(const mtaio_failure *f, void *ctx) {
    (void)ctx;
    assert_true(f->call == play);
    assert_string_equal(mtaio_event_name(f->event), f->name);
    note("%s(%s,%d)", f->name, ((struct actor *)f->ctx)->tag, f->status);
}

/* --- Failing handlers ------------------------------------------------------------------------------------
 */

/* "A failing handler never keeps another from running. When all have run, emit reports: MTAIO_EHANDLER, and
 * can hand out every failure", as it happens. Any negative number is a failure, a monitor's too. */
static void test_failing_handlers(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_report report = MTAIO_REPORT();
    struct actor a = {.tag = "a", .result = -1}, b = {.tag = "b"}, c = {.tag = "c", .result = INT32_MIN};
    struct actor low = {.tag = "low", .result = MTAIO_ENOMEM}, m = {.tag = "m", .result = -5},
                 m2 = {.tag = "m2"};
    listen(em, "x", &a);
    listen(em, "*", &b);
    listen(em, "x", &c);
    listen_at(em, "x", MTAIO_LOW, &low);
    listen_at(em, "x", MTAIO_MONITOR, &m);
    listen_at(em, "*", MTAIO_MONITOR, &m2);
    assert_int_equal(
        mtaio_emit_with(em, MTAIO_EMISSION(.name = "x", .report = &report, .failure = note_failure)),
        MTAIO_EHANDLER);
    assert_noted("a x(a,-1) b c x(c,-2147483648) low x(low,-1004) m x(m,-5) m2");
    assert_int_equal(report.called, 6);
    assert_int_equal(report.failed, 4);
    assert_int_equal(report.first_error, -1);
    assert_int_equal(mtaio_emit(em, "x", NULL), MTAIO_EHANDLER);
    forget_notes();
    mtaio_emitter_unref(em);
}

/* A handler that fails and stops does both. */
static void test_fail_and_stop(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_report report = MTAIO_REPORT();
    struct actor a = {.tag = "a", .result = -4, .stops = true}, b = {.tag = "b"};
    listen(em, "x", &a);
    listen(em, "x", &b);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = "x", .report = &report)), MTAIO_EHANDLER);
    assert_noted("a");
    assert_true(report.stopped);
    assert_int_equal(report.first_error, -4);
    mtaio_emitter_unref(em);
}

static int emit_x(mtaio_event *event, struct actor *self) {
    (void)event;
    return mtaio_emit(self->em, self->name, NULL);
}

/* A nested emission's failure is the outer one's only if the handler says so. */
static void test_nested_failure(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor outer = {.tag = "outer", .act = emit_x, .em = em, .name = "x"},
                 inner = {.tag = "inner", .result = -9};
    listen(em, "outer", &outer);
    listen(em, "x", &inner);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = "outer", .failure = note_failure)),
                     MTAIO_EHANDLER);
    assert_noted("outer inner outer(outer,-1007)");
    mtaio_emitter_unref(em);
}

/* The failures of an asynchronous emission are told as they happen, its result when it is over. */
static void test_async_failures(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    mtaio_event *event = event_new("x", NULL);
    struct actor bad = {.tag = "bad", .result = -2}, waits = {.tag = "waits", .deferral = &d},
                 c = {.tag = "c"};
    listen(em, "x", &bad);
    listen(em, "x", &waits);
    listen(em, "x", &c);
    OK(mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done, .failure = note_failure)));
    mtaio_event_unref(event);
    assert_noted("bad x(bad,-2) waits");
    complete(&d, -3);
    assert_noted("x(waits,-3) c done:MTAIO_EHANDLER");
    mtaio_emitter_unref(em);
}

/* --- "error" ---------------------------------------------------------------------------------------------
 */

/* "error is an ordinary event, except that emitting it with no handler is an error": EUNHANDLED. Monitors
 * observe it all the same and do not count as handlers; one under a pattern does. */
static void test_error_event(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_name *name = NULL;
    struct actor m = {.tag = "m"}, a = {.tag = "a"};
    OK(mtaio_emitter_resolve(em, "error", &name));
    assert_int_equal(mtaio_emit(em, "error", NULL), MTAIO_EUNHANDLED);
    assert_int_equal(mtaio_emit_name(name, NULL), MTAIO_EUNHANDLED);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = "error")), MTAIO_EUNHANDLED);
    assert_int_equal(mtaio_emit(em, "error.other", NULL), 0);
    assert_int_equal(mtaio_emit(em, "Error", NULL), 0);
    listen_at(em, "*", MTAIO_MONITOR, &m);
    assert_int_equal(mtaio_emit(em, "error", NULL), MTAIO_EUNHANDLED);
    assert_noted("m");
    listen(em, "error", &a);
    assert_int_equal(mtaio_emit(em, "error", NULL), 2);
    assert_int_equal(mtaio_off(em, "error", play, &a), 1);
    listen(em, "**", &a);
    assert_int_equal(mtaio_emit_name(name, NULL), 2);
    assert_noted("a m a m");
    a.result = -1;
    assert_int_equal(mtaio_emit(em, "error", NULL), MTAIO_EHANDLER);
    assert_noted("a m");
    mtaio_name_unref(name);
    mtaio_emitter_unref(em);
}

/* The same for an asynchronous emission: told once, by the call or by done. */
static void test_error_event_async(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_event *event = event_new("error", NULL);
    int r = mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done));
    if (r == 0)
        assert_noted("done:MTAIO_EUNHANDLED");
    else
        assert_int_equal(r, MTAIO_EUNHANDLED);
    mtaio_event_unref(event);
    mtaio_emitter_unref(em);
}

/* --- Emissions that nobody awaits ------------------------------------------------------------------------
 */

static void note_trouble(const mtaio_trouble *t, void *ctx) {
    (void)ctx;
    note("trouble(%d,%s,%s,%s,%zu)", (int)t->kind, t->emitter, t->name, mtaio_error_name(t->status),
         t->count);
}

static void note_gone(void *ctx) { note("~%s", (const char *)ctx); }

static mtaio_emitter *troubled_new(size_t max_listeners) {
    mtaio_emitter *em = NULL;
    OK(mtaio_emitter_new(MTAIO_EMITTER_OPTIONS(.name = "shop", .max_listeners = max_listeners,
                                               .trouble = note_trouble, .destroy = note_gone,
                                               .ctx = "options"),
                         &em));
    return em;
}

static void emit_nowait(mtaio_emitter *em, const char *name) {
    mtaio_event *event = event_new(name, NULL);
    OK(mtaio_emit_nowait(em, event));
    mtaio_event_unref(event);
}

static int look_at_failure(mtaio_event *event, struct actor *self) {
    const mtaio_failure *f = mtaio_event_data(event);
    assert_string_equal(mtaio_event_name(event), "error");
    note_failure(f, NULL);
    return self->result;
}

/* "Emissions nobody awaits report their failures as an error event": one for each failure, whose data is the
 * failure. The last resort is not asked. */
static void test_nowait_failure(void **state) {
    (void)state;
    mtaio_emitter *em = troubled_new(0);
    struct actor bad = {.tag = "bad", .result = -6}, ok = {.tag = "ok"},
                 error = {.tag = "error", .act = look_at_failure};
    listen(em, "error", &error);
    listen(em, "x", &ok);
    emit_nowait(em, "x");
    assert_noted("ok");
    assert_int_equal(mtaio_off(em, "x", play, &ok), 1);
    listen(em, "x", &bad);
    emit_nowait(em, "x");
    assert_noted("bad error x(bad,-6)");
    listen(em, "x", &bad);
    emit_nowait(em, "x");
    assert_int_equal(error.calls, 3);
    assert_int_equal(bad.calls, 3);
    forget_notes();
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    assert_noted("~options");
}

/* "...or, with no handler for it, to the program's last resort": the emitter's trouble callback. Monitors of
 * "error" observe it and are no handlers. */
static void test_nowait_last_resort(void **state) {
    (void)state;
    mtaio_emitter *em = troubled_new(0);
    struct actor bad = {.tag = "bad", .result = MTAIO_ELIMIT}, m = {.tag = "m", .act = look_at_failure};
    listen(em, "x", &bad);
    emit_nowait(em, "x");
    assert_noted("bad trouble(0,shop,x,MTAIO_ELIMIT,0)");
    listen_at(em, "error", MTAIO_MONITOR, &m);
    emit_nowait(em, "x");
    assert_noted("bad m x(bad,-1016) trouble(0,shop,x,MTAIO_ELIMIT,0)");
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    assert_noted("~options");
}

/* A failure that comes with a deferral's completion, or because it was dropped, is reported the same way. */
static void test_nowait_deferred(void **state) {
    (void)state;
    mtaio_emitter *em = troubled_new(0);
    mtaio_deferral *d = NULL;
    struct actor waits = {.tag = "waits", .deferral = &d}, error = {.tag = "error", .act = look_at_failure};
    listen(em, "x", &waits);
    emit_nowait(em, "x");
    assert_noted("waits");
    complete(&d, -4);
    assert_noted("trouble(0,shop,x,MTAIO_E?,0)");
    listen(em, "error", &error);
    emit_nowait(em, "x");
    mtaio_deferral_unref(d);
    assert_noted("waits error x(waits,-1010)");
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    assert_noted("~options");
}

static unsigned count_word(const char *word) {
    unsigned n = 0;
    for (const char *p = notes.text; (p = strstr(p, word)) != NULL; p += strlen(word))
        n++;
    return n;
}

/* An error handler that fails goes to the last resort, without end neither there nor in a circle of error
 * events. An unawaited "error" that nobody handles does, too. */
static void test_nowait_error_fails(void **state) {
    (void)state;
    mtaio_emitter *em = troubled_new(0);
    struct actor bad = {.tag = "bad", .result = -6}, error = {.tag = "handler", .result = -7};
    emit_nowait(em, "error");
    assert_noted("trouble(0,shop,error,MTAIO_EUNHANDLED,0)");
    listen(em, "error", &error);
    listen(em, "x", &bad);
    emit_nowait(em, "x");
    assert_int_equal(error.calls, 1);
    assert_int_equal(count_word("trouble(0,shop,"), 1);
    forget_notes();
    emit_nowait(em, "error");
    assert_int_equal(error.calls, 2);
    assert_int_equal(count_word("trouble(0,shop,error,"), 1);
    forget_notes();
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    assert_noted("~options");
}

/* What cannot be carried out at all is answered at once. */
static void test_nowait_refused(void **state) {
    (void)state;
    mtaio_emitter *em = troubled_new(0);
    mtaio_event *event = event_new("x", NULL);
    OK(mtaio_emitter_close(em));
    assert_int_equal(mtaio_emit_nowait(em, event), MTAIO_ECLOSED);
    assert_int_equal(mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done)), MTAIO_ECLOSED);
    mtaio_event_unref(event);
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    assert_noted("~options");
}

/* --- stderr ----------------------------------------------------------------------------------------------
 */

static int saved_stderr;
static FILE *caught;

static void catch_stderr(void) {
    fflush(stderr);
    saved_stderr = dup(STDERR_FILENO);
    caught = tmpfile();
    assert_non_null(caught);
    assert_int_equal(dup2(fileno(caught), STDERR_FILENO), STDERR_FILENO);
}

static void caught_stderr(char *text, size_t room) {
    fflush(stderr);
    dup2(saved_stderr, STDERR_FILENO);
    close(saved_stderr);
    rewind(caught);
    text[fread(text, 1, room - 1, caught)] = '\0';
    fclose(caught);
}

/* The last resort's last resort: without a trouble callback, one line on stderr, naming emitter, event and
 * failure. */
static void test_stderr(void **state) {
    (void)state;
    mtaio_emitter *em = NULL;
    struct actor bad = {.tag = "bad", .result = MTAIO_ELIMIT};
    char text[512];
    OK(mtaio_emitter_new(MTAIO_EMITTER_OPTIONS(.name = "the-shop", .max_listeners = 1), &em));
    listen(em, "sold.out", &bad);
    catch_stderr();
    emit_nowait(em, "sold.out");
    caught_stderr(text, sizeof text);
    assert_non_null(strstr(text, "the-shop"));
    assert_non_null(strstr(text, "sold.out"));
    assert_non_null(strstr(text, mtaio_error_text(MTAIO_ELIMIT)));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1); /* one line */
    catch_stderr();
    listen(em, "sold.out", &bad);
    listen(em, "sold.out", &bad);
    caught_stderr(text, sizeof text);
    assert_non_null(strstr(text, "the-shop"));
    assert_non_null(strstr(text, "sold.out"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    assert_noted("bad");
    mtaio_emitter_unref(em);
}

/* --- The limit of listeners ------------------------------------------------------------------------------
 */

/* "An optional limit of listeners per name finds leaks: passing it is reported once, naming emitter and
 * event. Off by default." More are not refused. */
static void test_max_listeners(void **state) {
    (void)state;
    mtaio_emitter *em = troubled_new(2);
    struct actor a = {.tag = "a"};
    listen(em, "x", &a);
    listen(em, "x", &a);
    listen(em, "y", &a);
    listen(em, "y", &a);
    assert_noted("");
    listen(em, "x", &a);
    assert_noted("trouble(1,shop,x,MTAIO_ELIMIT,3)");
    listen(em, "x", &a);
    assert_noted("");
    listen(em, "y", &a);
    assert_noted("trouble(1,shop,y,MTAIO_ELIMIT,3)");
    assert_int_equal(mtaio_off(em, "x", play, &a), 4);
    for (int i = 0; i < 3; i++)
        OK(mtaio_once(em, "*", play, &a));
    assert_noted("trouble(1,shop,*,MTAIO_ELIMIT,3)");
    assert_int_equal(mtaio_emit(em, "y", NULL), 6);
    forget_notes();
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    assert_noted("~options");
}

/* The limit can be changed; 0 is none; an emitter has none by itself. */
static void test_set_max_listeners(void **state) {
    (void)state;
    mtaio_emitter *em = troubled_new(0);
    struct actor a = {.tag = "a"};
    for (int i = 0; i < 100; i++)
        listen(em, "x", &a);
    OK(mtaio_emitter_set_max_listeners(em, 1));
    assert_noted("");
    listen(em, "y", &a);
    listen(em, "y", &a);
    assert_noted("trouble(1,shop,y,MTAIO_ELIMIT,2)");
    OK(mtaio_emitter_set_max_listeners(em, 0));
    for (int i = 0; i < 100; i++)
        listen(em, "z", &a);
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    assert_noted("~options");
}

/* --- The list of errors ----------------------------------------------------------------------------------
 */

/* Enum, name and text are from one list: each error has all three, none is shared, and no other number has
 * one. */
static void test_list(void **state) {
    (void)state;
    static const struct {
        int value;
        const char *name, *text;
    } list[] = {
#define ROW(name, value, text) {value, "MTAIO_" #name, text},
        MTAIO_ERRORS(ROW)
#undef ROW
    };
    for (size_t i = 0; i < COUNT(list); i++) {
        assert_true(list[i].value < -1000); /* no errno value, no small number of a user's */
        assert_string_equal(mtaio_error_name(list[i].value), list[i].name);
        assert_string_equal(mtaio_error_text(list[i].value), list[i].text);
        for (size_t j = 0; j < i; j++)
            assert_int_not_equal(list[i].value, list[j].value);
    }
    static const int fine[] = {0, 1, 1000, INT32_MAX}, strange[] = {-1, -1000, -999999, INT32_MIN};
    for (size_t i = 0; i < COUNT(fine); i++) {
        assert_string_equal(mtaio_error_name(fine[i]), "MTAIO_OK");
        assert_non_null(mtaio_error_text(fine[i]));
        assert_string_equal(mtaio_error_name(strange[i]), "MTAIO_E?");
        assert_non_null(mtaio_error_text(strange[i]));
    }
    assert_string_equal(mtaio_version(), "0.1.0");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_failing_handlers),   TEST(test_fail_and_stop),      TEST(test_nested_failure),
        TEST(test_async_failures),     TEST(test_error_event),        TEST(test_error_event_async),
        TEST(test_nowait_failure),     TEST(test_nowait_last_resort), TEST(test_nowait_deferred),
        TEST(test_nowait_error_fails), TEST(test_nowait_refused),     TEST(test_stderr),
        TEST(test_max_listeners),      TEST(test_set_max_listeners),  TEST(test_list),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
