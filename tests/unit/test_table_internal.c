/* test_table_internal.c - the table of names: the hash, what shares a bucket, and a bucket that very many passed. */
#include "support.h"

#include "core/handlers.h"

#include <stdio.h>

enum { FILLING = 1500, SAME = 300 };

/* Of every length, of which some are hashed in another way: each byte counts, and what follows does not. */
static void test_hash_lengths(void **state) {
    enum { LONGEST = 40 };
    uint64_t seen[LONGEST + 1];
    (void)state;
    for (size_t n = 0; n <= LONGEST; n++) {
        char bytes[LONGEST + 1];
        memset(bytes, 'a', sizeof bytes);
        seen[n] = mtaio__hash(bytes, n);
        for (size_t other = 0; other < n; other++)
            assert_true(seen[other] != seen[n]);
        bytes[n] = 'b';
        assert_true(mtaio__hash(bytes, n) == seen[n]);
        for (size_t i = 0; i < n; i++) {
            bytes[i] = 'b';
            assert_true(mtaio__hash(bytes, n) != seen[n]);
            bytes[i] = 'a';
        }
    }
}

static struct node *node_new(const struct reclaimer *r, const char *kind, int i) {
    char name[64];
    int length = snprintf(name, sizeof name, "%s.%d", kind, i);
    struct node *n = mtaio__node_new(r, name, (size_t)length, 0);
    assert_non_null(n);
    return n;
}

static uint64_t hash_of(const struct node *n) { return mtaio__hash(node_name(n), n->length); }

static struct node *find(const struct table *t, const struct node *n, uint64_t hash) {
    return mtaio__table_find(t, node_name(n), n->length, hash);
}

/* Nodes of one hash fill bucket after bucket: each is found among those of the same tag, and none that is gone, in
 * whatever order they go. More pass the first bucket than it can count. */
static void test_one_hash_for_many(void **state) {
    struct reclaimer r = {.clock = 1};
    ATOMIC(struct table *) table = NULL;
    struct node *filling[FILLING], *same[SAME];
    (void)state;
    for (int i = 0; i < FILLING; i++) { /* only to make it large */
        filling[i] = node_new(&r, "filling", i);
        assert_int_equal(mtaio__table_reserve(&table, &r), 0);
        mtaio__table_insert(table, filling[i], hash_of(filling[i]));
    }
    for (int i = 0; i < FILLING; i++) {
        assert_ptr_equal(find(table, filling[i], hash_of(filling[i])), filling[i]);
        if (i > 0)
            mtaio__table_remove(&table, filling[i], hash_of(filling[i]), &r);
    }
    for (int i = 0; i < SAME; i++) {
        same[i] = node_new(&r, i % 2 ? "x" : "of.the.same.hash.and.of.a.longer.name", i);
        mtaio__table_insert(table, same[i], 0);
    }
    for (int step = 0; step < SAME; step++) {
        int i = step * 7 % SAME; /* neither from the front nor from the end */
        assert_ptr_equal(find(table, same[i], 0), same[i]);
        mtaio__table_remove(&table, same[i], 0, &r);
        assert_null(find(table, same[i], 0));
    }
    assert_ptr_equal(find(table, filling[0], hash_of(filling[0])), filling[0]);
    mtaio__table_remove(&table, filling[0], hash_of(filling[0]), &r);
    assert_null(table);
    for (int i = 0; i < FILLING; i++)
        mtaio__node_free(filling[i]);
    for (int i = 0; i < SAME; i++)
        mtaio__node_free(same[i]);
    for (struct retired *next; r.blocks; r.blocks = next) {
        next = r.blocks->next;
        mtaio__block_free((struct block *)(void *)r.blocks);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hash_lengths),
        cmocka_unit_test(test_one_hash_for_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
