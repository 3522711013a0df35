/* test_topic_set_internal.c - sets of patterns: which of them match a name. */
#include "support.h"

#include <mtaio/base.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/topic.h"
#include "topic_oracle.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A copy that ends where its block ends, so that AddressSanitizer sees each byte read too far. */
static char *exact_copy(const char *s) {
    char *copy = malloc(strlen(s) + 1);
    CHECK(copy != NULL);
    return strcpy(copy, s);
}

/* --- Sets -------------------------------------------------------------------------------------- */

/* A set without readers: what is retired can go at once. */
struct fixture {
    struct reclaimer reclaimer;
    topics set;
    size_t blocks; /* at the start */
};

static void sweep(struct fixture *f) {
    while (f->reclaimer.blocks != NULL) {
        struct retired *first = f->reclaimer.blocks;
        f->reclaimer.blocks = first->next;
        mtaio__block_free((struct block *)first);
    }
}

static struct fixture begin(void) { return (struct fixture){.blocks = support_live_blocks()}; }

static void end(struct fixture *f) {
    mtaio__topics_fini(&f->set);
    sweep(f);
    assert_int_equal(support_live_blocks(), f->blocks);
}

#define FIXTURE(f)                                                                                           \
    struct fixture f = begin();                                                                              \
    mtaio__topics_init(&f.set, &f.reclaimer)

static bool set_add(struct fixture *f, const char *pattern, const void *value) {
    reclaim_tick(&f->reclaimer);
    ATOMIC(void *) *slot = mtaio__topics_add(&f->set, pattern);
    if (slot != NULL)
        store_release(slot, (void *)(uintptr_t)value);
    return slot != NULL;
}

/* What a match found: the values are strings. */
struct seen {
    size_t count;
    size_t limit; /* 0: none */
    const char *text[64];
};

static bool see(void *value, void *ctx) {
    struct seen *seen = ctx;
    CHECK(seen->count < COUNT(seen->text));
    seen->text[seen->count++] = value;
    return seen->count != seen->limit;
}

static bool saw(const struct seen *seen, const char *text) {
    for (size_t i = 0; i < seen->count; i++)
        if (strcmp(seen->text[i], text) == 0)
            return true;
    return false;
}

static struct seen set_match(const struct fixture *f, const char *name) {
    struct seen seen = {0};
    char *copy = exact_copy(name);
    mtaio__topics_match(&f->set, copy, see, &seen);
    free(copy);
    return seen;
}

/* "Emitters and channels take patterns in the same way, through one matcher": each rule of the table, with
 * the pattern alone in a set. */
static void test_set_of_one(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(oracle_table); i++) {
        FIXTURE(f);
        assert_true(set_add(&f, oracle_table[i].pattern, oracle_table[i].pattern));
        assert_int_equal(set_match(&f, oracle_table[i].name).count, oracle_table[i].matches);
        mtaio__topics_remove(&f.set, oracle_table[i].pattern);
        assert_int_equal(set_match(&f, oracle_table[i].name).count, 0);
        sweep(&f);
        assert_int_equal(support_live_blocks(), f.blocks); /* an empty set keeps nothing */
        end(&f);
    }
}

/* The same with all patterns of the table in one set: each matching one is visited once. */
static void test_set_of_table(void **state) {
    FIXTURE(f);
    (void)state;
    for (size_t i = 0; i < COUNT(oracle_table); i++)
        assert_true(set_add(&f, oracle_table[i].pattern, oracle_table[i].pattern));
    for (size_t i = 0; i < COUNT(oracle_table); i++) {
        struct seen seen = set_match(&f, oracle_table[i].name);
        for (size_t j = 0; j < seen.count; j++) {
            CHECK(oracle_matches(seen.text[j], oracle_table[i].name));
            for (size_t k = 0; k < j; k++)
                CHECK(strcmp(seen.text[j], seen.text[k]) != 0);
        }
        for (size_t j = 0; j < COUNT(oracle_table); j++)
            CHECK(saw(&seen, oracle_table[j].pattern) ==
                  oracle_matches(oracle_table[j].pattern, oracle_table[i].name));
    }
    end(&f);
}

/* One slot for a pattern: it is the same when the pattern is added again, stays where it is while others
 * come and go, holds NULL at first, and is not visited while it does. */
static void test_slots(void **state) {
    static const char *const patterns[] = {"a",    "a.b",       "*.b", "a.*",     "a.**",
                                           "**.b", "a.**.b.**", "**",  "a.b.**.c"};
    ATOMIC(void *) *slots[COUNT(patterns)];
    char other[16];
    FIXTURE(f);
    (void)state;
    for (size_t i = 0; i < COUNT(patterns); i++) {
        slots[i] = mtaio__topics_add(&f.set, patterns[i]);
        assert_non_null(slots[i]);
        assert_null(load_relaxed(slots[i]));
    }
    assert_int_equal(set_match(&f, "a.b").count, 0);
    for (size_t i = 0; i < COUNT(patterns); i++)
        store_release(slots[i], (void *)(uintptr_t)patterns[i]);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(other, sizeof other, i % 2 != 0 ? "a.%u" : "a.*.%u", i);
        assert_true(set_add(&f, other, ""));
    }
    for (unsigned i = 0; i < 100; i++) {
        snprintf(other, sizeof other, i % 2 != 0 ? "a.%u" : "a.*.%u", i);
        mtaio__topics_remove(&f.set, other);
    }
    for (size_t i = 0; i < COUNT(patterns); i++)
        assert_ptr_equal(mtaio__topics_add(&f.set, patterns[i]), slots[i]);
    assert_int_equal(set_match(&f, "a.b").count, 7); /* all but "a" and "a.b.**.c" */
    store_release(slots[1], NULL);
    assert_int_equal(set_match(&f, "a.b").count, 6);
    end(&f);
}

/* "The pattern '*' alone matches every name", as "**" does; they are two patterns all the same. */
static void test_lone_star(void **state) {
    FIXTURE(f);
    (void)state;
    set_add(&f, "*", "star");
    set_add(&f, "**", "deep");
    assert_int_equal(set_match(&f, "a").count, 2);
    assert_int_equal(set_match(&f, "a.b.c").count, 2);
    mtaio__topics_remove(&f.set, "*");
    assert_int_equal(set_match(&f, "a.b").count, 1);
    assert_true(saw((struct seen[]){set_match(&f, "a")}, "deep"));
    set_add(&f, "*", "star");
    mtaio__topics_remove(&f.set, "**");
    assert_int_equal(set_match(&f, "a.b").count, 1);
    assert_true(saw((struct seen[]){set_match(&f, "a")}, "star"));
    end(&f);
}

/* A name remembers that no pattern with '*' matches it, until one more is added: also where its value comes later, and
 * where it was there before. */
static void test_alone(void **state) {
    FIXTURE(f);
    (void)state;
    set_add(&f, "a.b", "exact");
    set_add(&f, "x.*", "other");
    for (int round = 0; round < 3; round++) {
        assert_int_equal(set_match(&f, "a.b").count, 1);
        assert_int_equal(set_match(&f, "a.b").count, 1);
        ATOMIC(void *) *slot = mtaio__topics_add(&f.set, "a.*");
        assert_int_equal(set_match(&f, "a.b").count, 1);
        store_release(slot, "star");
        assert_int_equal(set_match(&f, "a.b").count, 2);
        mtaio__topics_remove(&f.set, "a.*");
    }
    set_add(&f, "a.*.c", "longer"); /* the node of "a.*" is there for it */
    assert_int_equal(set_match(&f, "a.b").count, 1);
    set_add(&f, "a.*", "star");
    assert_int_equal(set_match(&f, "a.b").count, 2);
    mtaio__topics_remove(&f.set, "a.b");
    set_add(&f, "a.b", "exact");
    assert_int_equal(set_match(&f, "a.b").count, 2);
    end(&f);
}

/* A visit that answers false ends the match, wherever it stands. */
static void test_visit_ends(void **state) {
    static const char *const patterns[] = {"a.b.c",  "a.*.c",   "*.b.*", "a.**",      "**.c",    "*",
                                           "a.**.c", "**.b.**", "**",    "*.**.b.**", "a.b.c.**"};
    FIXTURE(f);
    (void)state;
    for (size_t i = 0; i < COUNT(patterns); i++)
        set_add(&f, patterns[i], patterns[i]);
    for (size_t limit = 1; limit <= COUNT(patterns); limit++) {
        struct seen seen = {.limit = limit};
        mtaio__topics_match(&f.set, "a.b.c", see, &seen);
        assert_int_equal(seen.count, limit);
    }
    assert_int_equal(set_match(&f, "a.b.c").count, COUNT(patterns));
    end(&f);
}

/* Removing what is not there (a prefix, a longer one, one that shares its way) changes nothing. */
static void test_remove_absent(void **state) {
    static const char *const absent[] = {"a",    "a.b",    "a.*",         "a.*.c.d", "*",         "**",
                                         "a.**", "a.**.d", "a.**.b.**.c", "x",       "a.**.c.**", "b.**.c"};
    FIXTURE(f);
    (void)state;
    mtaio__topics_remove(&f.set, "a");
    mtaio__topics_remove(&f.set, "a.*");
    set_add(&f, "a.*.c", "1");
    set_add(&f, "a.**.b.c", "2");
    set_add(&f, "a.**.b.**.d", "3");
    set_add(&f, "a.b.c", "4");
    for (size_t i = 0; i < COUNT(absent); i++)
        mtaio__topics_remove(&f.set, absent[i]);
    assert_int_equal(set_match(&f, "a.b.c").count, 3);
    assert_int_equal(set_match(&f, "a.b.d").count, 1);
    end(&f);
}

/* --- Random sets ------------------------------------------------------------------------------- */

static void draw_topic(uint32_t *seed, bool wild, char ret[32]) {
    static const char *const literal[] = {"a", "b", "ab", "x"};
    unsigned segments = 1 + oracle_draw(seed, 5);
    ret[0] = '\0';
    for (unsigned i = 0; i < segments; i++) {
        uint32_t kind = wild ? oracle_draw(seed, 8) : 0;
        strcat(ret, i > 0 ? "." : "");
        strcat(ret, kind >= 7 ? "**" : kind >= 5 ? "*" : literal[oracle_draw(seed, COUNT(literal))]);
    }
}

enum { POOL = 400 };

struct pool {
    char pattern[POOL][32];
    bool in_set[POOL];
    unsigned found[POOL];
};

static bool find_in_pool(void *value, void *ctx) {
    struct pool *pool = ctx;
    pool->found[(char(*)[32])value - pool->pattern]++;
    return true;
}

static void check_pool(const struct fixture *f, struct pool *pool, const char *name) {
    memset(pool->found, 0, sizeof pool->found);
    mtaio__topics_match(&f->set, name, find_in_pool, pool);
    for (size_t i = 0; i < POOL; i++)
        CHECK(pool->found[i] == (pool->in_set[i] && oracle_matches(pool->pattern[i], name)));
}

static bool is_new(const struct pool *pool, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (strcmp(pool->pattern[i], pool->pattern[n]) == 0)
            return false;
    return true;
}

/* Random sets, growing and shrinking and growing again, agree with the plain matcher on random names. */
static void test_random_sets(void **state) {
    struct pool *pool = calloc(1, sizeof *pool);
    uint32_t seed = 1;
    char name[32];
    FIXTURE(f);
    (void)state;
    CHECK(pool != NULL);
    for (size_t i = 0; i < POOL; i++)
        do
            draw_topic(&seed, true, pool->pattern[i]);
        while (!is_new(pool, i));
    for (unsigned round = 0; round < 4000; round++) {
        size_t i = oracle_draw(&seed, POOL);
        bool add = oracle_draw(&seed, 10) < (round / 1000 % 2 == 0 ? 8 : 2);
        if (add)
            assert_true(set_add(&f, pool->pattern[i], pool->pattern[i]));
        else
            mtaio__topics_remove(&f.set, pool->pattern[i]);
        pool->in_set[i] = add;
        if (round % 4 == 0) {
            draw_topic(&seed, false, name);
            check_pool(&f, pool, name);
        }
        if (round % 64 == 0)
            sweep(&f);
    }
    for (size_t i = 0; i < POOL; i++)
        mtaio__topics_remove(&f.set, pool->pattern[i]);
    sweep(&f);
    assert_int_equal(support_live_blocks(), f.blocks);
    end(&f);
    free(pool);
}

/* --- Memory ------------------------------------------------------------------------------------ */

/* "Out of memory is an error return that leaves everything as it was": each allocation of add fails, in an
 * empty set and beside others, and when a table must grow; hazard 20. Removing allocates nothing; hazard
 * 21. */
static void test_out_of_memory(void **state) {
    static const char *const patterns[] = {"p",    "p.b.c",      "p.*.b",           "p.**",
                                           "**.p", "p.b.**.c.d", "*.p.**.b.**.*.c", "*"};
    static const char *const names[] = {"p", "p.b.c", "p.x.b", "p", "x.p", "p.b.c.d", "x.p.b.x.c", "y"};
    (void)state;
    for (size_t i = 0; i < COUNT(patterns); i++)
        for (unsigned others = 0; others < 20; others++)
            SWEEP(s) {
                char other[32];
                FIXTURE(f);
                for (unsigned j = 0; j < others; j++) {
                    snprintf(other, sizeof other, "a.%s%u", j % 2 != 0 ? "" : "*.", j);
                    assert_true(set_add(&f, other, "other"));
                }
                sweep(&f);
                size_t before = support_live_blocks();
                support_arm(&s);
                bool added = set_add(&f, patterns[i], "new");
                bool failed = support_disarm(&s);
                assert_int_equal(added, !failed);
                sweep(&f);
                if (!added) {
                    assert_int_equal(set_match(&f, names[i]).count, 0);
                    assert_int_equal(support_live_blocks(), before);
                    assert_true(set_add(&f, patterns[i], "new"));
                }
                assert_int_equal(set_match(&f, names[i]).count, 1);
                for (unsigned j = 0; j < others; j++) {
                    snprintf(other, sizeof other, "a.%s%u", j % 2 != 0 ? "" : "x.", j);
                    assert_true(saw((struct seen[]){set_match(&f, other)}, "other"));
                }
                size_t allocations = support_allocations();
                mtaio__topics_remove(&f.set, patterns[i]);
                assert_int_equal(support_allocations(), allocations);
                end(&f);
            }
}

/* Adding and removing for ever (ABA, marks left behind) neither grows a small set nor makes its look-ups
 * miss; hazard 43. */
static void test_churn(void **state) {
    char pattern[32];
    FIXTURE(f);
    (void)state;
    set_add(&f, "keep.me", "1");
    set_add(&f, "keep.*", "2");
    for (unsigned i = 0; i < 20000; i++) {
        snprintf(pattern, sizeof pattern, i % 3 == 0 ? "c%u" : i % 3 == 1 ? "c%u.*" : "**.c%u.**", i);
        assert_true(set_add(&f, pattern, "3"));
        if (i % 7 == 0)
            assert_int_equal(set_match(&f, "keep.me").count, 2);
        mtaio__topics_remove(&f.set, pattern);
        sweep(&f);
    }
    assert_int_equal(set_match(&f, "not.there").count, 0);
    assert_true(support_live_blocks() - f.blocks < 10);
    end(&f);
}

/* What was large becomes small again when what filled it is gone, the last one too; hazard 42. And 100,000
 * names, one more pattern each, that differ in a digit are as quick as any; hazard 41. */
static void test_many(void **state) {
    enum { N = 100000 };
    char topic[32];
    size_t empty = support_live_bytes();
    FIXTURE(f);
    (void)state;
    for (unsigned i = 0; i < N; i++) {
        snprintf(topic, sizeof topic, i % 10 != 0 ? "n.%u.x" : i % 20 != 0 ? "n.%u.*" : "**.%u.*", i);
        assert_true(set_add(&f, topic, "1"));
        sweep(&f);
    }
    for (unsigned i = 0; i < N; i++) {
        snprintf(topic, sizeof topic, "n.%u.x", i);
        assert_int_equal(set_match(&f, topic).count, 1);
    }
    assert_true(support_live_bytes() - empty < (size_t)N * 200);
    for (unsigned i = 1; i < N; i++) {
        snprintf(topic, sizeof topic, i % 10 != 0 ? "n.%u.x" : i % 20 != 0 ? "n.%u.*" : "**.%u.*", i);
        mtaio__topics_remove(&f.set, topic);
        sweep(&f);
    }
    set_add(&f, "n.1", "2");
    set_add(&f, "n.*.1", "3");
    sweep(&f);
    assert_true(support_live_bytes() - empty < 4096);
    assert_int_equal(set_match(&f, "n.0.x").count, 1);
    end(&f);
}

/* --- Readers and a writer ---------------------------------------------------------------------- */

struct race {
    struct fixture f;
    atomic_bool over;
    atomic_size_t matches;
};

static void free_unpinned(struct reclaimer *r) {
    struct scan scan;
    mtaio__scan(r, false, &scan);
    struct retired *next, *freed = mtaio__retired_split(&r->blocks, &scan);
    for (; freed != NULL; freed = next) {
        next = freed->next;
        mtaio__block_free((struct block *)freed);
    }
}

static void write_topics(struct race *race) {
    static const char *const patterns[] = {"a.b.*",     "a.*.c",   "*.b",     "a.**", "**.b",
                                           "a.**.b.**", "**.b.**", "a.b.c.d", "**"};
    char name[16];
    uint32_t seed = 1;
    for (unsigned i = 0; i < 30000; i++) {
        const char *pattern = patterns[oracle_draw(&seed, COUNT(patterns))];
        snprintf(name, sizeof name, "n%u", oracle_draw(&seed, 64)); /* makes the tables grow and shrink */
        CHECK(set_add(&race->f, oracle_draw(&seed, 2) != 0 ? pattern : name, "comes and goes"));
        mtaio__topics_remove(&race->f.set, oracle_draw(&seed, 2) != 0 ? pattern : name);
        reclaim_tick(&race->f.reclaimer);
        if (i % 8 == 0)
            free_unpinned(&race->f.reclaimer);
    }
    atomic_store(&race->over, true);
}

static void read_topics(struct race *race) {
    struct thread *here = thread_here();
    CHECK(here != NULL);
    while (!atomic_load(&race->over)) {
        struct seen seen = {0};
        struct pin *pin;
        CHECK(mtaio__pin_push(here, &race->f.reclaimer, &pin) == 0);
        pin_widen(pin);
        mtaio__topics_match(&race->f.set, "a.b", see, &seen);
        CHECK(saw(&seen, "exact") && saw(&seen, "star") && saw(&seen, "deep") && saw(&seen, "tail"));
        CHECK(seen.count <= 4 + 9);
        pin_pop(here, pin);
        atomic_fetch_add(&race->matches, 1);
    }
}

static void run_race(unsigned index, void *ctx) {
    if (index == 0)
        write_topics(ctx);
    else
        read_topics(ctx);
}

/* "Emitting takes no lock": readers that match while a writer adds and removes beside them always find
 * what was there all the time, never what was freed; hazards 4 and 42, for ThreadSanitizer and
 * AddressSanitizer. */
static void test_race(void **state) {
    static struct race race;
    (void)state;
    mtaio__topics_init(&race.f.set, &race.f.reclaimer);
    set_add(&race.f, "a.b", "exact");
    set_add(&race.f, "a.*", "star");
    set_add(&race.f, "a.**.b", "deep");
    set_add(&race.f, "**.a.**", "tail");
    support_threads(3, run_race, &race);
    assert_true(atomic_load(&race.matches) > 0);
    mtaio__topics_fini(&race.f.set);
    sweep(&race.f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set_of_one),  cmocka_unit_test(test_set_of_table),
        cmocka_unit_test(test_slots),       cmocka_unit_test(test_lone_star),
        cmocka_unit_test(test_visit_ends),  cmocka_unit_test(test_remove_absent),
        cmocka_unit_test(test_random_sets), cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_churn),       cmocka_unit_test(test_many),
        cmocka_unit_test(test_race),        cmocka_unit_test(test_alone),
    };
    support_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
