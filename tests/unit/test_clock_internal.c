/* test_clock_internal.c - the clock of reclamation where it wraps and where it ends: set by hand, for nobody
 * waits for 2^32 registrations. Hazards 26 and 43. */
#include "record.h"

#include "core/handlers.h"

static void set_clock(mtaio_emitter *em, uint64_t clock) { em->family->reclaimer.clock = clock; }

/* What rests holds back what it can reach, and only that, also where the low half of the clock wraps
 * meanwhile. */
static void test_wraps(void **state) {
    (void)state;
    for (uint64_t before = 1; before < 64; before += 9) {
        mtaio_emitter *em = emitter_new();
        mtaio_deferral *deferral = NULL;
        struct actor rests = {.tag = "rests", .deferral = &deferral}, old = {.tag = "old"},
                     young = {.tag = "young"};
        set_clock(em, UINT32_MAX - before);
        listen(em, "x", &rests);
        mtaio_listener *last = listen_ref(em, "x", 0, &old);
        emit_later(em, "x");
        for (int i = 0; i < 40; i++) { /* born after the emission began: gone at once */
            mtaio_listener *listener = listen_ref(em, "y", 0, &young);
            assert_int_equal(mtaio_listener_cancel(listener), 1);
            mtaio_listener_unref(listener);
        }
        assert_int_equal(young.gone, 40);
        assert_int_equal(mtaio_listener_cancel(last), 1);
        assert_true(mtaio_reclaim() > 0); /* the emission has it in view, though nobody will call it */
        forget_notes();
        complete(&deferral, 0);
        assert_noted("done:1");
        assert_int_equal(old.gone, 1);
        assert_int_equal(mtaio_reclaim(), 0);
        mtaio_listener_unref(last);
        mtaio_emitter_unref(em);
    }
}

/* Order of registration across the wrap, on a name and by patterns. */
static void test_order_across(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"}, b = {.tag = "b"}, c = {.tag = "c"};
    set_clock(em, UINT32_MAX - 6);
    listen(em, "*", &a);
    listen(em, "x", &b);
    listen(em, "**", &c);
    assert_int_equal(mtaio_emit(em, "x", NULL), 3);
    assert_noted("a b c");
    assert_int_equal(mtaio_emit(em, "y", NULL), 2);
    assert_noted("a c");
    mtaio_emitter_unref(em);
}

/* At its end registering is refused with ELIMIT, and destroy runs; all else goes on. */
static void test_ends(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"}, b = {.tag = "b"};
    mtaio_listener *listener = (mtaio_listener *)&a, *was = listener;
    listen(em, "x", &a);
    set_clock(em, CLOCK_MAX - UINT32_MAX + 1);
    assert_int_equal(
        mtaio_emitter_on(em, "x", MTAIO_HANDLER(.call = play, .ctx = &b, .destroy = gone), &listener),
        MTAIO_ELIMIT);
    assert_ptr_equal(listener, was); /* *ret is not touched */
    assert_noted("~b");
    assert_int_equal(mtaio_on(em, "new.*", play, &b), MTAIO_ELIMIT);
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    assert_noted("a");
    assert_int_equal(mtaio_off(em, "x", play, &a), 1);
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    OK(mtaio_emitter_close(em));
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_wraps), TEST(test_order_across), TEST(test_ends)};
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
