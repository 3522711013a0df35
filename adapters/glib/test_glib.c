/* test_glib.c - mtaio/glib.h: the cases that hold of any loop, and what is GLib's own. */
#include <mtaio/glib.h>
#include <stdlib.h>

#include "../common/loop_cases.h"

/* --- The stage --------------------------------------------------------------------------------- */

struct stage {
    GMainContext *context;
    GMainLoop *loop;
    mtaio_glib *glib;
    void (*later)(void *arg);
    void *arg;
};

struct stage *stage_new(void) {
    struct stage *s = calloc(1, sizeof *s);

    CHECK(s != NULL);
    s->context = g_main_context_new();
    s->loop = g_main_loop_new(s->context, FALSE);
    CHECK(mtaio_glib_new(s->context, G_PRIORITY_DEFAULT, &s->glib) == 0);
    return s;
}

mtaio_executor *stage_executor(struct stage *s) { return mtaio_glib_executor(s->glib); }
void stage_run(struct stage *s) { g_main_loop_run(s->loop); }
void stage_stop(struct stage *s) { g_main_loop_quit(s->loop); }
int stage_close(struct stage *s) { return mtaio_glib_close(s->glib); }

static gboolean idle(void *ctx) {
    struct stage *s = ctx;

    s->later(s->arg);
    return G_SOURCE_REMOVE;
}

static void attach_idle(GMainContext *context, int priority, GSourceFunc call, void *ctx) {
    GSource *source = g_idle_source_new();

    g_source_set_priority(source, priority);
    g_source_set_callback(source, call, ctx, NULL);
    g_source_attach(source, context);
    g_source_unref(source);
}

void stage_later(struct stage *s, void (*call)(void *arg), void *arg) {
    s->later = call;
    s->arg = arg;
    attach_idle(s->context, G_PRIORITY_DEFAULT, idle, s);
}

int stage_try(struct stage *s) {
    mtaio_glib *glib = NULL;
    int r = mtaio_glib_new(s->context, G_PRIORITY_DEFAULT, &glib);

    CHECK((r == 0) == (glib != NULL));
    mtaio_glib_unref(glib);
    return r;
}

int stage_emit_after(struct stage *s, mtaio_emitter *em, mtaio_event *event, int64_t delay_ns,
                     loop_timer **ret) {
    return mtaio_glib_emit_after(s->glib, em, event, delay_ns, ret);
}

int stage_emit_periodic(struct stage *s, mtaio_emitter *em, mtaio_event *event, int64_t period_ns,
                        loop_timer **ret) {
    return mtaio_glib_emit_periodic(s->glib, em, event, period_ns, ret);
}

int stage_timer_cancel(loop_timer *timer) { return mtaio_glib_timer_cancel(timer); }
loop_timer *stage_timer_ref(loop_timer *timer) { return mtaio_glib_timer_ref(timer); }
loop_timer *stage_timer_unref(loop_timer *timer) { return mtaio_glib_timer_unref(timer); }

void stage_unref(struct stage *s) { s->glib = mtaio_glib_unref(s->glib); }

void stage_free(struct stage *s) {
    stage_unref(s);
    while (g_main_context_iteration(s->context, FALSE))
        ;
    g_main_loop_unref(s->loop);
    g_main_context_unref(s->context);
    free(s);
}

/* --- What is GLib's own ------------------------------------------------------------------------ */

static void append(char *log, char c) {
    while (*log != '\0')
        log++;
    *log = c;
}

static void append_l(void *log) { append(log, 'l'); }
static void append_h(void *log) { append(log, 'h'); }
static gboolean append_m(void *log) {
    append(log, 'm');
    return G_SOURCE_REMOVE;
}

/* "priority: as of any GSource": before and after a source between the two. */
static void test_priority(void **state) {
    GMainContext *context = g_main_context_new();
    mtaio_glib *low, *high;
    char log[8] = "";

    (void)state;
    assert_int_equal(mtaio_glib_new(context, G_PRIORITY_LOW, &low), 0);
    assert_int_equal(mtaio_glib_new(context, G_PRIORITY_HIGH, &high), 0);
    attach_idle(context, G_PRIORITY_DEFAULT, append_m, log);
    assert_int_equal(mtaio_executor_post(mtaio_glib_executor(low), append_l, NULL, log), 0);
    assert_int_equal(mtaio_executor_post(mtaio_glib_executor(high), append_h, NULL, log), 0);
    while (g_main_context_iteration(context, FALSE))
        ;
    assert_string_equal(log, "hml");
    mtaio_glib_unref(low);
    mtaio_glib_unref(high);
    g_main_context_unref(context);
}

struct nested {
    struct stage *stage;
    int level;
};

static void end_nested(void *arg) {
    ((struct nested *)arg)->level++;
}

static void run_nested(void *arg) {
    struct nested *n = arg;

    while (n->level == 0)
        g_main_context_iteration(n->stage->context, TRUE);
    n->level++;
    stage_stop(n->stage);
}

/* "Main loops that run within a handler serve it too": the job that was queued behind. */
static void test_nested(void **state) {
    struct nested n = {.stage = stage_new()};

    (void)state;
    assert_int_equal(mtaio_executor_post(stage_executor(n.stage), run_nested, NULL, &n), 0);
    assert_int_equal(mtaio_executor_post(stage_executor(n.stage), end_nested, NULL, &n), 0);
    stage_run(n.stage);
    assert_int_equal(n.level, 2);
    stage_free(n.stage);
}

static void *ask_is_current(void *arg) { return mtaio_executor_is_current(arg) ? arg : NULL; }

static bool is_current_elsewhere(mtaio_executor *executor) {
    pthread_t thread;
    void *answer;

    CHECK(pthread_create(&thread, NULL, ask_is_current, executor) == 0);
    CHECK(pthread_join(thread, &answer) == 0);
    return answer != NULL;
}

/* "On the thread that runs the context, or is going to"; "context NULL: the default one". Whoever has
 * acquired the context is its thread. */
static void test_thread(void **state) {
    GMainContext *context = g_main_context_default();
    mtaio_glib *glib;
    mtaio_executor *executor;

    (void)state;
    assert_int_equal(mtaio_glib_new(NULL, 0, &glib), 0);
    executor = mtaio_glib_executor(glib);
    assert_true(mtaio_executor_is_current(executor));
    assert_false(is_current_elsewhere(executor));
    assert_true(g_main_context_acquire(context));
    assert_true(mtaio_executor_is_current(executor));
    g_main_context_release(context);
    mtaio_glib_unref(glib);
}

/* "Takes the source out of the context ... Twice is no error." */
static void test_close_twice(void **state) {
    struct stage *s = stage_new();

    (void)state;
    assert_int_equal(stage_close(s), 0);
    assert_int_equal(stage_close(s), 0);
    stage_free(s);
}

/* Hazard 45. */
static void test_arguments(void **state) {
    struct stage *s = stage_new();

    (void)state;
    assert_int_equal(mtaio_glib_new(s->context, 0, NULL), MTAIO_EINVAL);
    assert_null(mtaio_glib_ref(NULL));
    assert_null(mtaio_glib_unref(NULL));
    assert_null(mtaio_glib_executor(NULL));
    assert_int_equal(mtaio_glib_close(NULL), MTAIO_EINVAL);
    assert_ptr_equal(mtaio_glib_ref(s->glib), s->glib);
    assert_null(mtaio_glib_unref(s->glib));
    stage_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LOOP_CASES,
        cmocka_unit_test(test_priority),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_thread),
        cmocka_unit_test(test_close_twice),
        cmocka_unit_test(test_arguments),
    };

    return cmocka_run_group_tests(tests, cases_begin, NULL);
}
