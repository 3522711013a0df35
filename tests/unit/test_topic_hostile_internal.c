/* test_topic_hostile_internal.c - names and patterns made to be slow, or to overflow the stack: "no
 * pattern or name, however hostile, takes more than a small multiple of its length to match or refuse";
 * hazard 40. The steps are counted in a build of the matcher of our own, so that no slow machine matters. */
#include "support.h"

static _Thread_local size_t steps; /* segments looked at */
#define SEGMENT_STEP() (steps++)
#include "core/topic.c"
#include "core/topic_match.c"
#include "core/topic_set.c"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

/* first, then `middle` as often as there is room for in `segments` segments, then last. */
static char *repeat(const char *first, const char *middle, const char *last, size_t segments) {
    size_t room = strlen(first) + segments * strlen(middle) + strlen(last) + 1;
    char *s = malloc(room), *at = s;
    CHECK(s != NULL);
    at = stpcpy(at, first);
    for (size_t i = 0; i < segments; i++)
        at = stpcpy(at, middle);
    strcpy(at, last);
    return s;
}

static size_t count_segments(const char *s) {
    size_t n = 1;
    for (; *s != '\0'; s++)
        n += *s == '.';
    return n;
}

static bool count_visit(void *value, void *ctx) {
    (void)value;
    ++*(size_t *)ctx;
    return true;
}

/* No reader is left. */
static void sweep(struct reclaimer *r) {
    while (r->blocks != NULL) {
        struct retired *first = r->blocks;
        r->blocks = first->next;
        mtaio__block_free((struct block *)first);
    }
}

struct outcome {
    bool matches;
    size_t steps, pattern_segments, name_segments;
};

/* Matches by itself and in a set: the same answer; the steps are those of both together. Frees both. */
static struct outcome try_pair(char *pattern, char *name) {
    struct outcome o = {.pattern_segments = count_segments(pattern), .name_segments = count_segments(name)};
    struct reclaimer r = {0};
    size_t found = 0;
    bool is_name;
    topics set;
    CHECK(mtaio__pattern_check(pattern, &is_name) > 0);
    CHECK(mtaio__name_check(name) > 0);
    mtaio__topics_init(&set, &r);
    store_release(mtaio__topics_add(&set, pattern), &set);
    steps = 0;
    o.matches = mtaio__pattern_matches(pattern, name);
    mtaio__topics_match(&set, name, count_visit, &found);
    o.steps = steps;
    CHECK(found == o.matches);
    mtaio__topics_remove(&set, pattern);
    sweep(&r);
    mtaio__topics_fini(&set);
    free(pattern);
    free(name);
    return o;
}

/* At most a small multiple of the two lengths. */
static void assert_linear(struct outcome o, bool matches) {
    assert_int_equal(o.matches, matches);
    assert_true(o.steps <= 12 * (o.pattern_segments + o.name_segments));
}

enum { LONG = 10000, LONGEST = 32767 };

/* Patterns without "**", and with one: "10,000 segments, *.*.*". */
static void test_stars(void **state) {
    (void)state;
    assert_linear(try_pair(repeat("*", ".*", "", LONG), repeat("a", ".a", "", LONG)), true);
    assert_linear(try_pair(repeat("*", ".*", ".b", LONG), repeat("a", ".a", "", LONG)), false);
    assert_linear(try_pair(repeat("*", ".*", "", LONG), repeat("a", ".a", "", LONG - 1)), false);
    assert_linear(try_pair(repeat("a", ".*.a", "", LONG / 2), repeat("a", ".a", "", LONG)), true);
    assert_linear(try_pair(repeat("a", ".a", ".**", LONG), repeat("a", ".a", "", LONG)), true);
    assert_linear(try_pair(repeat("**", ".a", "", LONG), repeat("b", ".a", "", LONG)), true);
    assert_linear(try_pair(repeat("**", ".a", ".b", LONG / 2), repeat("a", ".a", "", LONG)), false);
    assert_linear(try_pair(repeat("**", ".*", ".b", LONG / 2), repeat("a", ".a", "", LONG)), false);
    assert_linear(try_pair(repeat("**.b", ".*", "", LONG / 2), repeat("a", ".a", "", LONG)), false);
    assert_linear(try_pair(repeat("*", ".*", ".**.b", LONG / 2), repeat("a", ".a", "", LONG)), false);
    assert_linear(try_pair(repeat("*", ".*", "", LONGEST), repeat("a", ".a", "", LONGEST)), true);
}

/* Chains of "**", for which trying every way would take for ever. */
static void test_deep_chains(void **state) {
    (void)state;
    assert_linear(try_pair(repeat("**", ".**", "", LONG), repeat("a", ".a", "", LONG)), true);
    assert_linear(try_pair(repeat("**", ".**", ".b", LONG), repeat("a", ".a", "", LONG)), false);
    assert_linear(try_pair(repeat("**", ".a.**", "", LONG / 4), repeat("a", ".a", "", LONG)), true);
    assert_linear(try_pair(repeat("**", ".a.**", ".b.**", LONG / 4), repeat("a", ".a", "", LONG)), false);
    assert_linear(try_pair(repeat("**", ".*.**", "", LONG / 4), repeat("a", ".a", "", LONG)), true);
    assert_linear(try_pair(repeat("**", ".a.*.**", ".b.**.c", LONG / 8), repeat("a", ".a", ".c", LONG)),
                  false);
    assert_linear(try_pair(repeat("**", ".b.**", "", LONG / 4), repeat("a", ".a", "", LONG)), false);
    assert_linear(try_pair(repeat("a", ".**.a", "", LONG / 4), repeat("a", ".a", "", LONG)), true);
}

/* Between two "**" the pattern is searched for. What differs late at every place, and is long, does not
 * make it try each of them to the end. */
static void test_worst_search(void **state) {
    (void)state;
    for (size_t length = 10; length <= LONG; length *= 10) {
        struct outcome o[] = {
            try_pair(repeat("**", ".a", ".b.**", length / 2), repeat("a", ".a", "", length)),
            try_pair(repeat("**.b", ".a", ".**", length / 2), repeat("a", ".a", "", length)),
            try_pair(repeat("**", ".*.a", ".b.**", length / 4), repeat("a", ".a", "", length)),
            try_pair(repeat("**.a", ".*", ".b.**.c", length / 2), repeat("a", ".a", ".c", length)),
        };
        for (size_t i = 0; i < sizeof o / sizeof *o; i++) {
            size_t product = o[i].pattern_segments * o[i].name_segments;
            assert_false(o[i].matches);
            assert_true(o[i].steps <= 2 * product + 12 * (o[i].pattern_segments + o[i].name_segments));
            assert_true(length < LONG || o[i].steps <= 2 * product / 16); /* matched twice */
        }
    }
}

/* One segment as long as a name can be. */
static void test_long_segments(void **state) {
    (void)state;
    assert_linear(
        try_pair(repeat("a", "a", "", MTAIO_NAME_MAX - 1), repeat("a", "a", "", MTAIO_NAME_MAX - 1)), true);
    assert_linear(
        try_pair(repeat("a", "a", "b", MTAIO_NAME_MAX - 2), repeat("a", "a", "", MTAIO_NAME_MAX - 1)), false);
    assert_linear(
        try_pair(repeat("**.a", "a", ".**", MTAIO_NAME_MAX - 7), repeat("a", "a", "", MTAIO_NAME_MAX - 1)),
        false);
    assert_linear(
        try_pair(repeat("**.", "a", ".*", MTAIO_NAME_MAX - 5), repeat("", "a", ".b", MTAIO_NAME_MAX - 5)),
        true);
}

/* A name that leads everywhere in a set walks over each of its nodes once at most. */
static void test_bushy_set(void **state) {
    enum { BITS = 10 };
    struct reclaimer r = {0};
    size_t found = 0;
    topics set;
    (void)state;
    mtaio__topics_init(&set, &r);
    for (unsigned n = 0; n < 1u << BITS;
         n++) { /* "a" or "*" at each of ten places, then "**", then one of them again */
        char pattern[64], *at = pattern;
        for (unsigned bit = 0; bit < BITS; bit++)
            at = stpcpy(at, n >> bit & 1 ? "a." : "*.");
        strcpy(at, n & 1 ? "**.a" : "**.*");
        store_release(mtaio__topics_add(&set, pattern), &set);
    }
    char *name = repeat("a", ".a", "", LONG);
    steps = 0;
    mtaio__topics_match(&set, name, count_visit, &found);
    assert_int_equal(found, 1u << BITS);
    assert_true(steps <= 10 * 4u * (1u << BITS)); /* fewer than four nodes for each pattern */
    free(name);
    mtaio__topics_fini(&set);
    sweep(&r);
}

/* Names whose hashes are the same are told apart: by text, length, kind and parent. */
static void test_colliding_keys(void **state) {
    struct topic_node parent = {.kind = SEGMENT};
    struct reclaimer r = {0};
    const topics none = {.reclaimer = &r};
    const struct key key = {&parent, "abc", 3, SEGMENT, 0};
    struct topic_node *node = node_new(&none, &key);
    (void)state;
    CHECK(node != NULL);
    assert_true(key_is(&key, node));
    assert_false(key_is(&(struct key){&parent, "abd", 3, SEGMENT, 0}, node));
    assert_false(key_is(&(struct key){&parent, "ab", 2, SEGMENT, 0}, node));
    assert_false(key_is(&(struct key){&parent, "abc", 3, BACK_SEGMENT, 0}, node));
    assert_false(key_is(&(struct key){NULL, "abc", 3, SEGMENT, 0}, node));
    mtaio__block_free(&node->block);
}

/* Names that come and go leave no marks that later look-ups would follow. */
static void test_no_marks_left(void **state) {
    enum { LIVE = 60, ROUNDS = 5000 };
    struct reclaimer r = {0};
    size_t marks = 0;
    char name[16];
    topics set;
    (void)state;
    mtaio__topics_init(&set, &r);
    for (unsigned i = 0; i < LIVE + ROUNDS; i++) {
        snprintf(name, sizeof name, "n%u", i);
        CHECK(i >= ROUNDS || mtaio__topics_add(&set, name) != NULL);
        snprintf(name, sizeof name, "n%u", i - LIVE);
        mtaio__topics_remove(&set, i == LIVE ? "none" : name);
    }
    const struct topic_table *table = set.names;
    assert_int_equal(table->used, 1); /* n0 */
    for (size_t i = 0; i <= table->mask; i++)
        marks += table->buckets[i].passed;
    assert_true(marks < 4); /* those of n0 itself */
    mtaio__topics_fini(&set);
    sweep(&r);
}

static void *match_longest(void *arg) {
    (void)arg;
    CHECK(try_pair(repeat("*", ".*", "", LONGEST), repeat("a", ".a", "", LONGEST)).matches);
    CHECK(try_pair(repeat("**", ".**", "", 20000), repeat("a", ".a", "", LONGEST)).matches);
    CHECK(try_pair(repeat("**", ".*", "", LONGEST - 1), repeat("a", ".a", "", LONGEST)).matches);
    CHECK(!try_pair(repeat("**", ".a.**", ".b", 10000), repeat("a", ".a", "", LONGEST)).matches);
    return NULL;
}

/* "No recursion": the longest names, patterns and sets of them do with a stack of 64 KiB. */
static void test_small_stack(void **state) {
    pthread_attr_t attributes;
    pthread_t thread;
    (void)state;
    assert_int_equal(pthread_attr_init(&attributes), 0);
    assert_int_equal(pthread_attr_setstacksize(&attributes, 65536), 0);
    assert_int_equal(pthread_create(&thread, &attributes, match_longest, NULL), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    pthread_attr_destroy(&attributes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stars),          cmocka_unit_test(test_deep_chains),
        cmocka_unit_test(test_worst_search),   cmocka_unit_test(test_long_segments),
        cmocka_unit_test(test_bushy_set),      cmocka_unit_test(test_small_stack),
        cmocka_unit_test(test_colliding_keys), cmocka_unit_test(test_no_marks_left),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
