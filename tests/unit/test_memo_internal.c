/* test_memo_internal.c - what is remembered of who gets which topic, and forgotten in time: "no stream of unseen names
 * grows memory without bound". */
#include "audiences.h"

#include "base/hash.h"
#include "core/memo.h"

static bool is_remembered(struct fixture *f, const char *name) {
    struct topic topic = {name, strlen(name), mtaio__hash(name, strlen(name))};
    return f->a.memo != NULL && mtaio__memo_find(f->a.memo, &topic) != NULL;
}

static void ask(struct fixture *f, const char *topic) {
    struct member *const *list;
    size_t n;
    guard_lock(&f->guard);
    CHECK(mtaio__audiences_of(&f->a, topic, &list, &n) == 0);
    guard_unlock(&f->guard);
}

/* At the second time, or where other names of its bucket were asked for more often, some sixteenth. */
static void ask_until_remembered(struct fixture *f, const char *name) {
    for (int n = 0; !is_remembered(f, name); n++) {
        CHECK(n < 64);
        ask(f, name);
    }
}

/* An entry only for a name asked for again; from then on nothing is allocated for it. By reach alone too. */
static void test_remembered(void **state) {
    struct member m = {0};
    FIXTURE(f);
    (void)state;
    add(&f, &m, "a.*");
    ask(&f, "a.b");
    assert_false(is_remembered(&f, "a.b"));
    ask(&f, "a.b");
    assert_true(is_remembered(&f, "a.b"));
    size_t before = support_allocations();
    ask(&f, "a.b");
    assert_int_equal(mtaio__audiences_reach(&f.a, "a.b"), 1);
    assert_int_equal(support_allocations(), before);
    for (int i = 0; i < 3; i++)
        assert_int_equal(mtaio__audiences_reach(&f.a, "a.c"), 1);
    assert_true(is_remembered(&f, "a.c"));
    for (int i = 0; i < 3; i++)
        ask(&f, "b.c"); /* that nobody gets it is worth to know too */
    assert_true(is_remembered(&f, "b.c"));
    leave(&f, &m);
    assert_null(f.a.memo);
    END(f);
}

/* A change makes forgotten what it matches, whatever the pattern; and hardly more: of the names, only those that
 * the pattern could match by their first three segments and the last. */
static void test_forgotten(void **state) {
    struct member keeper = {0}, m = {0};
    FIXTURE(f);
    (void)state;
    add(&f, &keeper, "**");
    for (size_t i = 0; i < COUNT(oracle_table); i++)
        for (int change = 0; change < 2; change++) {
            const char *pattern = oracle_table[i].pattern, *name = oracle_table[i].name;
            ask_until_remembered(&f, name);
            ask(&f, "z.z.z.z");
            ask(&f, "z.z.z.z");
            CHECK((change == 0 ? add(&f, &m, pattern) : drop(&f, &m, pattern)) == 1);
            CHECK(!oracle_table[i].matches || !is_remembered(&f, name));
            CHECK(strchr(pattern, '*') != NULL || is_remembered(&f, name) == !oracle_table[i].matches);
        }
    static const char *const others[] = {"b.*.c.d.e", "a.*.b.d.e", "*.c.**",   "**.d",
                                         "a.b.d.**",  "a.b.c.d",   "a.*.*.*.d"};
    for (size_t i = 0; i < COUNT(others); i++) {
        ask_until_remembered(&f, "a.b.c.d.e");
        add(&f, &m, others[i]);
        assert_true(is_remembered(&f, "a.b.c.d.e"));
    }
    leave(&f, &m);
    leave(&f, &keeper);
    END(f);
}

/* The one that was recalled last is not looked for again, and is as true as all others: after each change of a
 * pattern, and where other names take its place. */
static void test_recalled(void **state) {
    enum { NAMES = 1000 };
    struct member m[2] = {{0}};
    char name[32];
    FIXTURE(f);
    (void)state;
    assert_int_equal(recall(&f, ""), -1);
    add(&f, &m[0], "**");
    for (int change = 0; change < 4; change++) {
        int expected = change % 2 == 0 ? 1 : 2;
        assert_int_equal(recall(&f, "user.created"), -1);
        ask_until_remembered(&f, "user.created");
        for (int n = 0; n < 3; n++) {
            assert_int_equal(recall(&f, "user.created"), expected);
            assert_int_equal(recall(&f, n == 0 ? "user.creates" : ""), -1);
        }
        assert_int_equal(recall(&f, "user.created"), expected);
        CHECK((change % 2 == 0 ? add(&f, &m[1], "user.*") : drop(&f, &m[1], "user.*")) == 1);
        assert_null(f.a.last.name); /* what it was is freed, and reading it might go well */
    }
    ask_until_remembered(&f, "user.created");
    for (unsigned i = 0; i < 20 * NAMES; i++) {
        CHECK(recall(&f, "user.created") == (is_remembered(&f, "user.created") ? 1 : -1));
        snprintf(name, sizeof name, "n.%u", i % NAMES);
        ask(&f, name);
    }
    ask_until_remembered(&f, "user.created");
    assert_int_equal(recall(&f, "user.created"), 1);
    leave(&f, &m[0]);
    assert_int_equal(recall(&f, "user.created"), -1);
    END(f);
}

/* So it is among many names, which are all remembered though they take turns in being asked for. */
static void test_forgotten_among_many(void **state) {
    enum { NAMES = 4000 };
    static const char *const patterns[] = {"a3.*.c103", "a3.b3.**",  "*.b7.*", "**.c500",
                                           "a5.**",     "a1.b1.c1", "a9.*.e", "*.*.c7"};
    static char names[NAMES][32];
    static bool before[NAMES];
    struct member m[2] = {{0}};
    char pattern[32];
    FIXTURE(f);
    (void)state;
    for (unsigned i = 0; i < 5 * NAMES; i++) {
        snprintf(pattern, sizeof pattern, "p.%u", i);
        CHECK(add(&f, &m[0], pattern) == 1);
    }
    for (unsigned i = 0; i < NAMES; i++)
        snprintf(names[i], sizeof names[i], "a%u.b%u.c%u", i % 20, i % 50, i);
    for (size_t i = 0; i < 2 * COUNT(patterns); i++) {
        const char *changed = patterns[i / 2];
        size_t remembered = 0, wrong = 0;
        for (unsigned n = 0; n < 4 * NAMES; n++)
            ask(&f, names[n % NAMES]);
        for (unsigned n = 0; n < NAMES; n++)
            remembered += before[n] = is_remembered(&f, names[n]);
        assert_true(remembered > NAMES - NAMES / 10);
        CHECK((i % 2 == 0 ? add(&f, &m[1], changed) : drop(&f, &m[1], changed)) == 1);
        for (unsigned n = 0; n < NAMES; n++) {
            bool matches = oracle_matches(changed, names[n]), remains = is_remembered(&f, names[n]);
            CHECK(!matches || !remains);
            wrong += !matches && before[n] && !remains;
        }
        assert_true(wrong <= NAMES / 100); /* segments of the same hash */
    }
    leave(&f, &m[0]);
    END(f);
}

/* Who leaves with a few patterns makes forgotten what they match; with very many, everything. */
static void test_leaving(void **state) {
    enum { PATTERNS = 2000 };
    struct member m[2] = {{0}};
    char name[32];
    FIXTURE(f);
    (void)state;
    for (unsigned few = 0; few < 2; few++) {
        add(&f, &m[0], "keep");
        for (unsigned i = 0; i < PATTERNS; i++) {
            snprintf(name, sizeof name, "p.%u", i);
            CHECK(add(&f, &m[few == 1 && i >= 50 ? 0 : 1], name) == 1);
        }
        for (int n = 0; n < 3; n++) {
            ask(&f, "keep");
            ask(&f, "p.1");
        }
        assert_true(is_remembered(&f, "keep") && is_remembered(&f, "p.1"));
        leave(&f, &m[1]);
        assert_int_equal(is_remembered(&f, "keep"), few);
        assert_false(is_remembered(&f, "p.1"));
    }
    leave(&f, &m[0]);
    END(f);
}

/* "No stream of unseen names grows memory without bound": none of them leaves anything behind, and those that
 * are asked for again no more than a place for each pattern. */
static void test_unseen_names(void **state) {
    enum { NAMES = 50000, PATTERNS = 1000 };
    struct member m = {0};
    char name[32];
    FIXTURE(f);
    (void)state;
    for (unsigned i = 0; i < PATTERNS; i++) {
        snprintf(name, sizeof name, i % 10 != 0 ? "known.%u" : "known.%u.*", i);
        add(&f, &m, name);
    }
    ask(&f, "new");
    size_t before = support_live_bytes(), allocations = support_allocations();
    for (unsigned i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "new.%u", i);
        ask(&f, name);
        CHECK(mtaio__audiences_reach(&f.a, "known.1") == 1);
    }
    assert_true(support_allocations() - allocations <= 4);
    for (unsigned i = 0; i < NAMES * 20; i++) {
        snprintf(name, sizeof name, "new.%u", i / 20);
        ask(&f, name);
    }
    assert_true(support_live_bytes() - before <= 2 * PATTERNS * 100);
    leave(&f, &m);
    END(f);
}

/* Where many names take turns in a bucket that is full, few of them cost an allocation. */
static void test_turns(void **state) {
    enum { NAMES = 1000 };
    struct member m = {0};
    char name[32];
    FIXTURE(f);
    (void)state;
    add(&f, &m, "**");
    for (unsigned i = 0; i < 20 * NAMES; i++) {
        snprintf(name, sizeof name, "n.%u", i % NAMES);
        ask(&f, name);
    }
    size_t allocations = support_allocations();
    for (unsigned i = 0; i < 20 * NAMES; i++) {
        snprintf(name, sizeof name, "n.%u", i % NAMES);
        ask(&f, name);
    }
    assert_true(support_allocations() - allocations <= 20 * NAMES / 10);
    leave(&f, &m);
    END(f);
}

/* The table of the memo follows the number of patterns. */
static void test_memo_fits(void **state) {
    enum { PATTERNS = 1000 };
    struct member m = {0};
    char name[32];
    FIXTURE(f);
    (void)state;
    for (unsigned i = 0; i < PATTERNS; i++) {
        snprintf(name, sizeof name, "p.%u", i);
        add(&f, &m, name);
        ask(&f, "x");
        ask(&f, "x");
    }
    assert_true(is_remembered(&f, "x"));
    assert_false(mtaio__memo_misfits(f.a.memo, PATTERNS));
    assert_true(mtaio__memo_misfits(f.a.memo, PATTERNS * 4));
    for (unsigned i = 0; i < PATTERNS; i++) {
        snprintf(name, sizeof name, "p.%u", i);
        drop(&f, &m, name);
        CHECK(f.a.memo == NULL || !mtaio__memo_misfits(f.a.memo, f.a.count));
    }
    END(f);
}

/* Names and lists too long to be remembered are found all the same. */
static void test_too_long(void **state) {
    enum { MEMBERS = 200 };
    static struct member m[MEMBERS];
    char name[400];
    bool got[MEMBERS];
    FIXTURE(f);
    (void)state;
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    add(&f, &m[0], "*");
    for (int i = 0; i < 40; i++)
        assert_int_equal(count(&f, name, m, MEMBERS, got), 1);
    assert_false(is_remembered(&f, name));
    for (int i = 0; i < MEMBERS; i++) {
        add(&f, &m[i], "x.y");
        add(&f, &m[i], "x.*");
    }
    for (int i = 0; i < 40; i++)
        assert_int_equal(count(&f, "x.y", m, MEMBERS, got), MEMBERS);
    assert_false(is_remembered(&f, "x.y"));
    for (int i = 0; i < MEMBERS; i++)
        leave(&f, &m[i]);
    END(f);
}

/* Always the same: how many segments have equal hashes depends on it. */
static void set_key(void) {
    unsigned char key[HASH_KEY_BYTES];
    for (uint32_t i = 0, x = 1; i < sizeof key; i++, x = x * 1664525 + 1013904223)
        key[i] = (unsigned char)(x >> 24);
    mtaio__hash_set_key(key);
}

int main(void) {
    set_key();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_remembered),
        cmocka_unit_test(test_forgotten),
        cmocka_unit_test(test_recalled),
        cmocka_unit_test(test_forgotten_among_many),
        cmocka_unit_test(test_leaving),
        cmocka_unit_test(test_unseen_names),
        cmocka_unit_test(test_turns),
        cmocka_unit_test(test_memo_fits),
        cmocka_unit_test(test_too_long),
    };
    audiences_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
