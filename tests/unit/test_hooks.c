/* test_hooks.c - hooks around every emission of an emitter. */
#include "record.h"

struct hook {
    const char *tag;
    mtaio_report last;
};

static void before(const mtaio_event *event, void *ctx) {
    note("%s<%s", ((struct hook *)ctx)->tag, mtaio_event_name(event));
}

static void after(const mtaio_event *event, const mtaio_report *report, int64_t duration_ns, void *ctx) {
    struct hook *h = ctx;
    CHECK(duration_ns >= 0);
    CHECK(report->size >= sizeof *report);
    h->last = *report;
    note("%s>%s(%u,%u,%d)", h->tag, mtaio_event_name(event), report->called, report->failed,
         report->first_error);
}

static void error(const mtaio_failure *f, void *ctx) {
    note("%s!%s(%s,%d)", ((struct hook *)ctx)->tag, f->name, ((struct actor *)f->ctx)->tag, f->status);
}

static void hook_gone(void *ctx) { note("~%s", ((struct hook *)ctx)->tag); }

static mtaio_listener *hook(mtaio_emitter *em, struct hook *h) {
    mtaio_listener *listener = NULL;
    OK(mtaio_emitter_hook(
        em, MTAIO_HOOK(.before = before, .after = after, .error = error, .destroy = hook_gone, .ctx = h),
        &listener));
    assert_non_null(listener);
    return listener;
}

/* "Before emit, after emit (with the counts and duration), on handler error", "around every emission of an
 * emitter that has a handler or not." */
static void test_around(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_name *name = NULL;
    struct hook h = {.tag = "h"};
    struct actor a = {.tag = "a"}, bad = {.tag = "bad", .result = -3, .stops = true}, m = {.tag = "m"};
    mtaio_listener *listener = hook(em, &h);
    OK(mtaio_emitter_resolve(em, "x", &name));
    assert_int_equal(mtaio_emit(em, "nobody", NULL), 0);
    assert_noted("h<nobody h>nobody(0,0,0)");
    listen(em, "x", &a);
    listen_at(em, "x", MTAIO_MONITOR, &m);
    assert_int_equal(mtaio_emit_name(name, NULL), 2);
    assert_noted("h<x a m h>x(2,0,0)");
    assert_false(h.last.stopped);
    listen(em, "x", &bad);
    assert_int_equal(mtaio_emit(em, "x", NULL), MTAIO_EHANDLER);
    assert_noted("h<x a bad h!x(bad,-3) m h>x(3,1,-3)");
    assert_true(h.last.stopped);
    assert_int_equal(mtaio_listener_cancel(listener), 1);
    assert_int_equal(mtaio_listener_cancel(listener), 0);
    mtaio_listener_unref(listener);
    mtaio_reclaim();
    assert_noted("~h");
    assert_int_equal(mtaio_emit(em, "nobody", NULL), 0);
    assert_noted("");
    mtaio_name_unref(name);
    mtaio_emitter_unref(em);
}

/* Several hooks, in the order they were given; a hook is no handler: not counted, not removed with the
 * handlers. */
static void test_several(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct hook h1 = {.tag = "1"}, h2 = {.tag = "2"};
    struct actor a = {.tag = "a"};
    mtaio_listener *first = hook(em, &h1), *second = hook(em, &h2);
    assert_int_equal(mtaio_emitter_count(em, NULL), 0);
    assert_int_equal(mtaio_emitter_reach(em, "x"), 0);
    listen(em, "x", &a);
    assert_int_equal(mtaio_emitter_remove_all(em, NULL), 1);
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    assert_noted("1<x 2<x 1>x(0,0,0) 2>x(0,0,0)");
    assert_int_equal(mtaio_listener_cancel(first), 1);
    mtaio_reclaim();
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    assert_noted("~1 2<x 2>x(0,0,0)");
    mtaio_listener_unref(first);
    mtaio_listener_unref(second);
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    assert_noted("~2"); /* the emitter's end is the hook's */
}

/* Each function may be NULL. */
static void test_partial(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct hook h = {.tag = "h"};
    struct actor bad = {.tag = "bad", .result = -1};
    OK(mtaio_emitter_hook(em, MTAIO_HOOK(.before = before, .ctx = &h), NULL));
    OK(mtaio_emitter_hook(em, MTAIO_HOOK(.after = after, .ctx = &h), NULL));
    OK(mtaio_emitter_hook(em, MTAIO_HOOK(.error = error, .ctx = &h), NULL));
    assert_int_equal(mtaio_emitter_hook(em, MTAIO_HOOK(.ctx = &h), NULL), MTAIO_EINVAL); /* not all of them */
    listen(em, "x", &bad);
    assert_int_equal(mtaio_emit(em, "x", NULL), MTAIO_EHANDLER);
    assert_noted("h<x bad h!x(bad,-1) h>x(1,1,-1)");
    mtaio_emitter_unref(em);
}

/* An emission that rests ends, for its hooks, when it is over. */
static void test_async(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    struct hook h = {.tag = "h"};
    struct actor w = {.tag = "w", .deferral = &d}, b = {.tag = "b"};
    mtaio_listener_unref(hook(em, &h));
    listen(em, "x", &w);
    listen(em, "x", &b);
    emit_later(em, "x");
    assert_noted("h<x w");
    complete(&d, -2);
    assert_noted("h!x(w,-2) b h>x(2,1,-2) done:MTAIO_EHANDLER");
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    forget_notes();
}

static int emit_y(mtaio_event *event, struct actor *self) {
    (void)event;
    return mtaio_emit(self->em, "y", NULL);
}

/* Nested emissions are within the outer one's hooks; a batch has them around it once. */
static void test_nested_and_batch(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_batch *batch = NULL;
    struct hook h = {.tag = "h"};
    struct actor a = {.tag = "a", .act = emit_y, .em = em}, y = {.tag = "y"};
    mtaio_listener_unref(hook(em, &h));
    listen(em, "x", &a);
    listen(em, "y", &y);
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    assert_noted("h<x a h<y y h>y(1,0,0) h>x(1,0,0)");
    OK(mtaio_batch_new(em, &batch));
    OK(mtaio_batch_emit(batch, "y", NULL));
    OK(mtaio_batch_emit(batch, "z", NULL));
    assert_noted("");
    assert_int_equal(mtaio_batch_end(batch, NULL), 1);
    assert_noted("h<* y h>*(1,0,0)");
    mtaio_batch_unref(batch);
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    forget_notes();
}

static mtaio_emitter *busy_em;

static void meddle(const mtaio_event *event, void *ctx) {
    note("meddle");
    if (strcmp(mtaio_event_name(event), "x") == 0) {
        CHECK(mtaio_emit(busy_em, "y", NULL) == 0);
        CHECK(mtaio_on(busy_em, "z", play, ctx) == 0);
        CHECK(mtaio_off(busy_em, "z", play, ctx) == 1);
        mtaio_listener_cancel(*(mtaio_listener **)ctx);
    }
}

/* A hook may do anything, cancel itself included: no lock of ours is held. Hazard 62. */
static void test_reentry(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_listener *listener = NULL;
    busy_em = em;
    OK(mtaio_emitter_hook(em, MTAIO_HOOK(.before = meddle, .ctx = &listener), &listener));
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    assert_noted("meddle meddle");
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    assert_noted("");
    mtaio_listener_unref(listener);
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_around), TEST(test_several),          TEST(test_partial),
        TEST(test_async),  TEST(test_nested_and_batch), TEST(test_reentry),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
