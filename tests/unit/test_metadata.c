/* test_metadata.c - string keys and values beside an event. */
#include "support.h"

#include <mtaio/event.h>
#include <stdio.h>
#include <string.h>

static mtaio_metadata *new_metadata(void) {
    mtaio_metadata *m = NULL;

    assert_int_equal(mtaio_metadata_new(&m), 0);
    assert_non_null(m);
    return m;
}

static void set(mtaio_metadata *m, const char *key, const char *value) {
    assert_int_equal(mtaio_metadata_set(m, key, value), 0);
}

/* expected: "key=value key=value" */
static void assert_contents(const mtaio_metadata *m, const char *expected) {
    char text[256] = "";
    size_t length = 0;

    for (size_t i = 0; i < mtaio_metadata_count(m); i++) {
        const char *key, *value;
        assert_int_equal(mtaio_metadata_at(m, i, &key, &value), 0);
        assert_string_equal(mtaio_metadata_get(m, key), value);
        length +=
            (size_t)snprintf(text + length, sizeof text - length, "%s%s=%s", i > 0 ? " " : "", key, value);
    }
    assert_string_equal(text, expected);
}

/* "string keys and values, in the order they were first set" */
static void test_order(void **state) {
    mtaio_metadata *m = new_metadata();

    (void)state;
    assert_contents(m, "");
    set(m, "source", "dpkg");
    set(m, "arch", "amd64");
    set(m, "line", "17");
    assert_contents(m, "source=dpkg arch=amd64 line=17");
    set(m, "source", "apt"); /* keeps its place */
    assert_contents(m, "source=apt arch=amd64 line=17");
    set(m, "source", NULL);
    set(m, "source", "again"); /* was away: now the last */
    assert_contents(m, "arch=amd64 line=17 source=again");
    mtaio_metadata_unref(m);
}

/* "value NULL removes the key": the first, one between, the last, one that is not there, by its own
 * string. */
static void test_remove(void **state) {
    mtaio_metadata *m = new_metadata();
    const char *key, *value;

    (void)state;
    set(m, "a", "1");
    set(m, "b", "2");
    set(m, "c", "3");
    set(m, "d", "4");
    set(m, "b", NULL);
    assert_contents(m, "a=1 c=3 d=4");
    set(m, "a", NULL);
    assert_contents(m, "c=3 d=4");
    set(m, "d", NULL);
    assert_contents(m, "c=3");
    set(m, "z", NULL);
    assert_contents(m, "c=3");
    assert_int_equal(mtaio_metadata_at(m, 0, &key, &value), 0);
    set(m, key, NULL);
    assert_contents(m, "");
    assert_null(mtaio_metadata_get(m, "c"));
    mtaio_metadata_unref(m);
}

/* "strings are copied": changing the caller's afterwards changes nothing, and its own strings may be
 * given. */
static void test_copies(void **state) {
    mtaio_metadata *m = new_metadata();
    char key[] = "key", value[] = "value";

    (void)state;
    set(m, key, value);
    key[0] = value[0] = 'x';
    assert_contents(m, "key=value");
    set(m, "key", mtaio_metadata_get(m, "key"));
    set(m, "key", mtaio_metadata_get(m, "key") + 2);
    assert_contents(m, "key=lue");
    mtaio_metadata_unref(m);
}

/* Any strings: an empty value, other bytes than ASCII, a long one; keys that begin alike are not confused. */
static void test_strings(void **state) {
    mtaio_metadata *m = new_metadata();
    static char big[1 << 20];

    (void)state;
    memset(big, 'v', sizeof big - 1);
    set(m, "empty", "");
    set(m,
        "gr\xc3\xb6\xc3\x9f"
        "e",
        "\xff\xfe");
    set(m, "e", big);
    assert_string_equal(mtaio_metadata_get(m, "empty"), "");
    assert_string_equal(mtaio_metadata_get(m, "gr\xc3\xb6\xc3\x9f"
                                              "e"),
                        "\xff\xfe");
    assert_string_equal(mtaio_metadata_get(m, "e"), big);
    assert_null(mtaio_metadata_get(m, "em"));
    assert_null(mtaio_metadata_get(m, "E"));
    assert_null(mtaio_metadata_get(m, ""));
    mtaio_metadata_unref(m);
}

/* No limit but memory: many keys, set, replaced and removed from the front. */
static void test_many(void **state) {
    mtaio_metadata *m = new_metadata();
    enum { KEYS = 500 };
    char key[16], value[16];

    (void)state;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < KEYS; i++) {
            snprintf(key, sizeof key, "key%d", i);
            snprintf(value, sizeof value, "%d.%d", i, round);
            set(m, key, value);
        }
    assert_int_equal(mtaio_metadata_count(m), KEYS);
    for (int i = 0; i < KEYS; i++) {
        snprintf(key, sizeof key, "key%d", i);
        snprintf(value, sizeof value, "%d.1", i);
        assert_string_equal(mtaio_metadata_get(m, key), value);
        set(m, key, NULL);
        assert_int_equal(mtaio_metadata_count(m), KEYS - 1 - i);
    }
    mtaio_metadata_unref(m);
}

/* "Every public function checks its arguments"; "MTAIO_E...: failure, and *ret is not touched"; "EINVAL
 * beyond the last"; unref "takes NULL too and returns NULL". */
static void test_arguments(void **state) {
    mtaio_metadata *m = new_metadata();
    const char *key = "untouched", *value = "untouched";

    (void)state;
    set(m, "k", "v");
    assert_int_equal(mtaio_metadata_new(NULL), MTAIO_EINVAL);
    assert_int_equal(mtaio_metadata_set(NULL, "k", "v"), MTAIO_EINVAL);
    assert_int_equal(mtaio_metadata_set(m, NULL, "v"), MTAIO_EINVAL);
    assert_int_equal(mtaio_metadata_set(m, NULL, NULL), MTAIO_EINVAL);
    assert_int_equal(mtaio_metadata_set(m, "", "v"), MTAIO_EINVAL);
    assert_int_equal(mtaio_metadata_set(m, "", NULL), MTAIO_EINVAL);
    assert_null(mtaio_metadata_get(NULL, "k"));
    assert_null(mtaio_metadata_get(m, NULL));
    assert_int_equal(mtaio_metadata_count(NULL), 0);
    assert_int_equal(mtaio_metadata_at(NULL, 0, &key, &value), MTAIO_EINVAL);
    assert_int_equal(mtaio_metadata_at(m, 1, &key, &value), MTAIO_EINVAL);
    assert_int_equal(mtaio_metadata_at(m, SIZE_MAX, &key, &value), MTAIO_EINVAL);
    assert_int_equal(mtaio_metadata_at(m, 0, NULL, &value), MTAIO_EINVAL);
    assert_int_equal(mtaio_metadata_at(m, 0, &key, NULL), MTAIO_EINVAL);
    assert_string_equal(key, "untouched");
    assert_string_equal(value, "untouched");
    assert_null(mtaio_metadata_ref(NULL));
    assert_null(mtaio_metadata_unref(NULL));
    assert_contents(m, "k=v");
    mtaio_metadata_unref(m);
}

/* "EBUSY while anything but the caller holds a reference" */
static void test_busy(void **state) {
    mtaio_metadata *m = new_metadata();

    (void)state;
    set(m, "k", "v");
    assert_ptr_equal(mtaio_metadata_ref(m), m);
    assert_int_equal(mtaio_metadata_set(m, "k", "w"), MTAIO_EBUSY);
    assert_int_equal(mtaio_metadata_set(m, "k", NULL), MTAIO_EBUSY);
    assert_int_equal(mtaio_metadata_set(m, "new", "w"), MTAIO_EBUSY);
    assert_int_equal(mtaio_metadata_set(m, "", "w"), MTAIO_EINVAL);
    assert_contents(m, "k=v");
    assert_null(mtaio_metadata_unref(m));
    set(m, "k", "w");
    assert_contents(m, "k=w");
    assert_null(mtaio_metadata_unref(m));
}

/* "Out of memory is an error return that leaves everything as it was": making, adding (with growth),
 * replacing. */
static void test_out_of_memory(void **state) {
    enum { KEYS = 9 }; /* past several growths of the array */

    (void)state;
    SWEEP(sweep) {
        mtaio_metadata *m = NULL;
        support_arm(&sweep);
        int r = mtaio_metadata_new(&m);
        bool failed = support_disarm(&sweep);
        assert_int_equal(r, failed ? MTAIO_ENOMEM : 0);
        assert_true(failed == (m == NULL));
        mtaio_metadata_unref(m);
    }
    SWEEP(sweep) {
        mtaio_metadata *m = new_metadata();
        char key[2] = "a";
        size_t done = 0;
        support_arm(&sweep);
        for (; done < KEYS && mtaio_metadata_set(m, key, "v") == 0; done++)
            key[0]++;
        int r = mtaio_metadata_set(m, "a", "changed");
        bool failed = support_disarm(&sweep);
        assert_true(failed || (done == KEYS && r == 0));
        assert_true(r == 0 || r == MTAIO_ENOMEM);
        assert_int_equal(mtaio_metadata_count(m), done + (done == 0 && r == 0));
        if (r == MTAIO_ENOMEM && done > 0)
            assert_string_equal(mtaio_metadata_get(m, "a"), "v");
        set(m, "z", "recovered");
        mtaio_metadata_unref(m);
    }
}

/* Removing and dropping allocate nothing. */
static void test_removing_allocates_nothing(void **state) {
    mtaio_metadata *m = new_metadata();
    size_t before;

    (void)state;
    set(m, "a", "1");
    set(m, "b", "2");
    before = support_allocations();
    set(m, "a", NULL);
    set(m, "a", NULL);
    mtaio_metadata_unref(mtaio_metadata_ref(m));
    mtaio_metadata_unref(m);
    assert_int_equal(support_allocations(), before);
}

struct shared {
    mtaio_metadata *m;
    atomic_uint reading;
};

static void read_and_drop(unsigned index, void *ctx) {
    struct shared *s = ctx;
    int r;

    if (index == 0) { /* the owner: changes it as soon as the readers are gone */
        while ((r = mtaio_metadata_set(s->m, "k", "after")) == MTAIO_EBUSY)
            CHECK(strcmp(mtaio_metadata_get(s->m, "k"), "before") == 0);
        CHECK(r == 0 && atomic_load(&s->reading) == 0);
        return;
    }
    for (int i = 0; i < 10; i++)
        mtaio_metadata_unref(mtaio_metadata_ref(s->m));
    CHECK(strcmp(mtaio_metadata_get(s->m, "k"), "before") == 0);
    atomic_fetch_sub(&s->reading, 1);
    mtaio_metadata_unref(s->m);
}

/* "shared metadata does not change under its readers": what readers on other threads did comes before the
 * first change that is not refused. */
static void test_threads(void **state) {
    enum { READERS = 2 };

    (void)state;
    for (int round = 0; round < 300; round++) {
        struct shared s = {.m = new_metadata(), .reading = READERS};
        set(s.m, "k", "before");
        for (int i = 0; i < READERS; i++)
            mtaio_metadata_ref(s.m);
        support_threads(READERS + 1, read_and_drop, &s);
        assert_contents(s.m, "k=after");
        mtaio_metadata_unref(s.m);
    }
}

static int nothing_left(void **state) {
    (void)state;
    return support_live_blocks() == 0 ? 0 : -1;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_order, nothing_left),
        cmocka_unit_test_teardown(test_remove, nothing_left),
        cmocka_unit_test_teardown(test_copies, nothing_left),
        cmocka_unit_test_teardown(test_strings, nothing_left),
        cmocka_unit_test_teardown(test_many, nothing_left),
        cmocka_unit_test_teardown(test_arguments, nothing_left),
        cmocka_unit_test_teardown(test_busy, nothing_left),
        cmocka_unit_test_teardown(test_out_of_memory, nothing_left),
        cmocka_unit_test_teardown(test_removing_allocates_nothing, nothing_left),
        cmocka_unit_test_teardown(test_threads, nothing_left),
    };

    support_init();
    return cmocka_run_group_tests_name("metadata", tests, NULL, NULL);
}
