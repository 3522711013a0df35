/* stress_memory.c - very many of everything, made and dropped: memory comes back, time stays in proportion.
 */
#include "record.h"

static unsigned rounds_of(unsigned few, unsigned many) { return getenv("MTAIO_STRESS") != NULL ? many : few; }

static int nothing(mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 0;
}

static int pass(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 1;
}

/* 1,000,000 handlers on one name: added, called, counted, removed, and their memory is back. Hazard 42. */
static void test_many_handlers(void **state) {
    (void)state;
    unsigned n = rounds_of(100000, 1000000);
    mtaio_emitter *em = emitter_new();
    OK(mtaio_on(em, "x", nothing, NULL));
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    size_t bytes = support_live_bytes();
    for (unsigned i = 0; i < n; i++)
        OK(mtaio_on(em, "x", nothing, em));
    assert_int_equal(mtaio_emitter_count(em, "x"), n + 1);
    assert_int_equal(mtaio_emit(em, "x", NULL), n + 1);
    assert_int_equal(mtaio_off(em, "x", nothing, em), n);
    assert_int_equal(mtaio_emitter_count(em, "x"), 1);
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    OK(mtaio_on(em, "x", nothing, em)); /* removing allocates nothing: the next registration gives the room back */
    assert_int_equal(mtaio_off(em, "x", nothing, em), 1);
    mtaio_reclaim();
    assert_in_range(support_live_bytes(), 0, bytes + 4096);
    mtaio_emitter_unref(em);
}

/* As many removed one by one, from the middle: each finds its own. */
static void test_removed_in_any_order(void **state) {
    (void)state;
    unsigned n = rounds_of(50000, 500000);
    mtaio_emitter *em = emitter_new();
    mtaio_listener **listeners = calloc(n, sizeof *listeners);
    assert_non_null(listeners);
    for (unsigned i = 0; i < n; i++)
        OK(mtaio_emitter_on(em, "x", MTAIO_HANDLER(.call = nothing, .ctx = em), &listeners[i]));
    for (unsigned i = 0, at = 0; i < n; i++, at = (at + 7919) % n) { /* a prime: all of them, scattered */
        assert_int_equal(mtaio_listener_cancel(listeners[at]), 1);
        listeners[at] = mtaio_listener_unref(listeners[at]);
        if (i % (n / 10) == 0)
            assert_int_equal(mtaio_emit(em, "x", NULL), n - i - 1);
    }
    assert_int_equal(mtaio_emitter_count(em, NULL), 0);
    free(listeners);
    mtaio_emitter_unref(em);
}

/* 1,000,000 names and patterns listened to, and none again. Hazard 42. */
static void test_many_names(void **state) {
    (void)state;
    unsigned n = rounds_of(6000, 1000000);
    char name[48];
    mtaio_emitter *em = emitter_new();
    size_t bytes = support_live_bytes();
    for (unsigned i = 0; i < n; i++) {
        snprintf(name, sizeof name, i % 2 != 0 ? "topic.%u.event" : "topic.%u.*", i / 2);
        OK(mtaio_on(em, name, nothing, em));
    }
    for (unsigned i = 0; i < n; i += 2) {
        snprintf(name, sizeof name, "topic.%u.event", i / 2);
        assert_int_equal(mtaio_emit(em, name, NULL), i + 1 < n ? 2 : 1);
    }
    for (unsigned i = 0; i < n; i++) {
        snprintf(name, sizeof name, i % 2 != 0 ? "topic.%u.event" : "topic.%u.*", i / 2);
        assert_int_equal(mtaio_off(em, name, nothing, em), 1);
    }
    assert_int_equal(mtaio_emitter_count(em, NULL), 0);
    mtaio_reclaim();
    assert_in_range(support_live_bytes(), 0,
                    bytes + 65536 + 32 * (size_t)n); /* a table may stay as large as it was */
    mtaio_emitter_unref(em);
}

/* Adding and removing for ever: nothing runs full, nothing is confused with what was there before. Hazard 43.
 */
static void test_add_and_remove(void **state) {
    (void)state;
    unsigned n = rounds_of(300000, 30000000);
    mtaio_emitter *em = emitter_new();
    mtaio_listener *old = NULL;
    size_t bytes = 0;
    OK(mtaio_on(em, "x", nothing, NULL));
    for (unsigned i = 0; i < n; i++) {
        mtaio_listener *listener = NULL;
        OK(mtaio_emitter_on(em, "x", MTAIO_HANDLER(.call = nothing, .ctx = em), &listener));
        if (i % 2 == 0)
            assert_int_equal(mtaio_listener_cancel(listener), 1);
        else
            assert_int_equal(mtaio_off(em, "x", nothing, em), 1);
        assert_int_equal(old != NULL ? mtaio_listener_cancel(old) : 0, 0); /* not the new one */
        mtaio_listener_unref(old);
        old = listener;
        bytes = i == 1000 ? support_live_bytes() : bytes;
    }
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    assert_in_range(support_live_bytes(), 0, bytes + 4096);
    mtaio_listener_unref(old);
    mtaio_emitter_unref(em);
}

/* "Nothing leaks when 1,000,000 derived emitters are made and dropped." */
static void test_derived(void **state) {
    (void)state;
    unsigned n = rounds_of(10000, 1000000);
    mtaio_emitter *em = emitter_new();
    size_t bytes = 0;
    for (unsigned i = 0; i < n; i++) {
        mtaio_emitter *derived = NULL;
        OK(mtaio_emitter_filter(em, "x", MTAIO_FILTER(.call = pass), &derived));
        OK(mtaio_on(derived, "x", nothing, em));
        if (i % 2 == 0)
            assert_int_equal(mtaio_off(derived, "x", nothing, em), 1);
        else
            OK(mtaio_emitter_close(derived));
        mtaio_emitter_unref(derived);
        bytes = i == 1000 ? support_live_bytes() : bytes;
    }
    mtaio_reclaim();
    assert_in_range(support_live_bytes(), 0, bytes + 4096);
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_many_handlers), TEST(test_removed_in_any_order),
        TEST(test_many_names),    TEST(test_add_and_remove),
        TEST(test_derived),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
