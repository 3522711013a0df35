/* test_uv.c - mtaio/uv.h: the cases that hold of any loop, and what is libuv's own. */
#include <mtaio/uv.h>
#include <stdlib.h>

#include "../common/loop_cases.h"

/* --- The stage --------------------------------------------------------------------------------- */

struct stage {
    uv_loop_t loop;
    mtaio_uv *uv;
    uv_idle_t idle;
    void (*later)(void *arg);
    void *arg;
};

struct stage *stage_new(void) {
    struct stage *s = calloc(1, sizeof *s);

    CHECK(s != NULL);
    CHECK(uv_loop_init(&s->loop) == 0);
    CHECK(uv_idle_init(&s->loop, &s->idle) == 0);
    CHECK(mtaio_uv_new(&s->loop, &s->uv) == 0);
    return s;
}

mtaio_executor *stage_executor(struct stage *s) { return mtaio_uv_executor(s->uv); }
void stage_run(struct stage *s) { uv_run(&s->loop, UV_RUN_DEFAULT); }
void stage_stop(struct stage *s) { uv_stop(&s->loop); }
int stage_close(struct stage *s) { return mtaio_uv_close(s->uv, NULL, NULL); }

static void idle(uv_idle_t *handle) {
    struct stage *s = handle->data;

    uv_idle_stop(handle);
    s->later(s->arg);
}

void stage_later(struct stage *s, void (*call)(void *arg), void *arg) {
    s->later = call;
    s->arg = arg;
    s->idle.data = s;
    uv_idle_start(&s->idle, idle);
}

int stage_try(struct stage *s) {
    mtaio_uv *uv = NULL;
    int r = mtaio_uv_new(&s->loop, &uv);

    CHECK((r == 0) == (uv != NULL));
    mtaio_uv_unref(uv);
    return r;
}

int stage_emit_after(struct stage *s, mtaio_emitter *em, mtaio_event *event, int64_t delay_ns,
                     loop_timer **ret) {
    return mtaio_uv_emit_after(s->uv, em, event, delay_ns, ret);
}

int stage_emit_periodic(struct stage *s, mtaio_emitter *em, mtaio_event *event, int64_t period_ns,
                        loop_timer **ret) {
    return mtaio_uv_emit_periodic(s->uv, em, event, period_ns, ret);
}

int stage_timer_cancel(loop_timer *timer) { return mtaio_uv_timer_cancel(timer); }
loop_timer *stage_timer_ref(loop_timer *timer) { return mtaio_uv_timer_ref(timer); }
loop_timer *stage_timer_unref(loop_timer *timer) { return mtaio_uv_timer_unref(timer); }

void stage_unref(struct stage *s) { s->uv = mtaio_uv_unref(s->uv); }

void stage_free(struct stage *s) {
    stage_unref(s);
    uv_close((uv_handle_t *)&s->idle, NULL);
    while (uv_run(&s->loop, UV_RUN_DEFAULT) != 0) /* it was stopped before it ran */
        ;
    CHECK(uv_loop_close(&s->loop) == 0);
    free(s);
}

/* --- What is libuv's own ----------------------------------------------------------------------- */

static void count(void *ctx) { ++*(int *)ctx; }

/* "closed(ctx) is called in the loop when the handles are closed"; "EALREADY: it was closed before, and
 * closed is not called". */
static void test_closed(void **state) {
    struct stage *s = stage_new();
    int first = 0, second = 0;

    (void)state;
    assert_int_equal(mtaio_uv_close(s->uv, count, &first), 0);
    assert_int_equal(mtaio_uv_close(s->uv, count, &second), MTAIO_EALREADY);
    assert_int_equal(first, 0);
    assert_int_equal(uv_run(&s->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(first, 1);
    assert_int_equal(second, 0);
    assert_int_equal(mtaio_uv_close(s->uv, count, &second), MTAIO_EALREADY);
    stage_free(s);
    assert_int_equal(second, 0);
}

static void unref_in_closed(void *ctx) { stage_unref(ctx); }

/* "drop whatever called it": the last reference goes in closed. */
static void test_unref_in_closed(void **state) {
    struct stage *s = stage_new();

    (void)state;
    assert_int_equal(mtaio_uv_close(s->uv, unref_in_closed, s), 0);
    stage_run(s);
    assert_null(s->uv);
    stage_free(s);
}

/* "As an active handle does, it keeps uv_run from returning"; "an unreferenced one lets uv_run return". */
static void test_handle(void **state) {
    struct stage *s = stage_new();

    (void)state;
    assert_true(uv_run(&s->loop, UV_RUN_NOWAIT) != 0);
    uv_unref(mtaio_uv_handle(s->uv));
    assert_int_equal(uv_run(&s->loop, UV_RUN_DEFAULT), 0);
    uv_ref(mtaio_uv_handle(s->uv));
    stage_free(s);
}

/* Hazard 45. */
static void test_arguments(void **state) {
    struct stage *s = stage_new();
    mtaio_uv *uv = NULL;

    (void)state;
    assert_int_equal(mtaio_uv_new(NULL, &uv), MTAIO_EINVAL);
    assert_int_equal(mtaio_uv_new(&s->loop, NULL), MTAIO_EINVAL);
    assert_null(uv);
    assert_null(mtaio_uv_ref(NULL));
    assert_null(mtaio_uv_unref(NULL));
    assert_null(mtaio_uv_executor(NULL));
    assert_null(mtaio_uv_handle(NULL));
    assert_int_equal(mtaio_uv_close(NULL, NULL, NULL), MTAIO_EINVAL);
    assert_ptr_equal(mtaio_uv_ref(s->uv), s->uv);
    assert_null(mtaio_uv_unref(s->uv));
    stage_free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        LOOP_CASES,
        cmocka_unit_test(test_closed),
        cmocka_unit_test(test_unref_in_closed),
        cmocka_unit_test(test_handle),
        cmocka_unit_test(test_arguments),
    };

    return cmocka_run_group_tests(tests, cases_begin, NULL);
}
