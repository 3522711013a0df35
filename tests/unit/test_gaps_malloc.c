/* test_gaps_malloc.c - without an allocator of the user's: memory comes from malloc, and goes back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <mtaio/mtaio.h>

static int count_events(mtaio_event *event, void *ctx) {
    *(size_t *)ctx += mtaio_event_count(event);
    return 0;
}

/* "NULL: malloc", for growing arrays too; and once the library has allocated it cannot be changed: EBUSY. */
static void test_default_allocator(void **state) {
    (void)state;
    mtaio_emitter *em = NULL;
    mtaio_batch *batch = NULL;
    size_t seen = 0;
    assert_int_equal(mtaio_set_allocator(NULL), 0);
    assert_int_equal(mtaio_emitter_new(NULL, &em), 0);
    assert_int_equal(mtaio_set_allocator(NULL), MTAIO_EBUSY);
    assert_int_equal(mtaio_on(em, "*", count_events, &seen), 0);
    assert_int_equal(mtaio_batch_new(em, &batch), 0);
    for (int i = 0; i < 1000; i++) assert_int_equal(mtaio_batch_emit(batch, "x", NULL), 0);
    assert_int_equal(mtaio_batch_end(batch, NULL), 1);
    assert_int_equal(seen, 1000);
    mtaio_batch_unref(batch);
    mtaio_emitter_unref(em);
    assert_int_equal(mtaio_reclaim(), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_default_allocator)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
