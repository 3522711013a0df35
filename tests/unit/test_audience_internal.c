/* test_audience_internal.c - which members get a topic: "publish gives the message to every subscriber whose
 * patterns match", "a subscriber gets a message once however many of its patterns match", "subscriptions can be
 * changed, and ended, at any time from any thread". */
#include "audiences.h"

/* --- Joining and leaving ----------------------------------------------------------------------- */

/* 1 and 0 of adding and dropping; nobody gets what nobody has a pattern for; an empty place keeps nothing. */
static void test_add_drop(void **state) {
    struct member m[2] = {{0}};
    bool got[2];
    FIXTURE(f);
    (void)state;
    assert_int_equal(count(&f, "a.b", m, 2, got), 0);
    assert_int_equal(drop(&f, &m[0], "a.b"), 0);
    assert_int_equal(add(&f, &m[0], "a.b"), 1);
    assert_int_equal(add(&f, &m[0], "a.b"), 0);
    assert_int_equal(drop(&f, &m[1], "a.b"), 0);
    assert_int_equal(drop(&f, &m[0], "a"), 0);
    assert_int_equal(drop(&f, &m[0], "a.b.*"), 0);
    assert_int_equal(add(&f, &m[1], "a.*"), 1);
    assert_int_equal(drop(&f, &m[0], "a.*"), 0);
    assert_int_equal(m[0].count, 1);
    assert_int_equal(count(&f, "a.b", m, 2, got), 2);
    assert_int_equal(count(&f, "a.c", m, 2, got), 1);
    assert_true(got[1]);
    assert_int_equal(count(&f, "a", m, 2, got), 0);
    assert_int_equal(drop(&f, &m[0], "a.b"), 1);
    assert_int_equal(drop(&f, &m[0], "a.b"), 0);
    leave(&f, &m[1]);
    leave(&f, &m[1]);
    assert_int_equal(m[1].count, 0);
    assert_int_equal(f.a.count, 0);
    assert_int_equal(support_live_blocks(), blocks);
    END(f);
}

/* "A subscriber gets a message once however many of its patterns match", beside others and alone. */
static void test_once(void **state) {
    static const char *const patterns[] = {"a.b", "a.*", "*.b", "**", "*", "a.**", "**.b", "a.**.b", "**.a.**.b"};
    struct member m[3] = {{0}};
    bool got[3];
    FIXTURE(f);
    (void)state;
    for (size_t i = 0; i < COUNT(patterns); i++) {
        assert_int_equal(add(&f, &m[0], patterns[i]), 1);
        assert_int_equal(count(&f, "a.b", m, 3, got), 1);
    }
    for (size_t i = 0; i < COUNT(patterns); i++)
        assert_int_equal(add(&f, &m[1 + i % 2], patterns[i]), 1);
    for (size_t i = COUNT(patterns); i-- > 0;) {
        assert_int_equal(count(&f, "a.b", m, 3, got), i == 0 ? 2 : 3);
        assert_int_equal(drop(&f, &m[1 + i % 2], patterns[i]), 1);
    }
    leave(&f, &m[0]);
    END(f);
}

/* Many with the same pattern, which leave in any order: who is there is there. */
static void test_crowd(void **state) {
    enum { MEMBERS = 100 };
    static struct member m[MEMBERS];
    bool got[MEMBERS], there[MEMBERS] = {0};
    uint32_t seed = 1;
    int n = 0;
    FIXTURE(f);
    (void)state;
    for (unsigned round = 0; round < 4000; round++) {
        uint32_t i = oracle_draw(&seed, MEMBERS);
        bool joins = oracle_draw(&seed, 1000) < (round / 500 % 2 != 0 ? 100 : 900);
        int r = joins ? add(&f, &m[i], "x") : drop(&f, &m[i], "x");
        CHECK(r == (there[i] != joins));
        there[i] = joins;
        n += joins ? r : -r;
        if (round % 16 == 0) {
            CHECK(count(&f, "x", m, MEMBERS, got) == n);
            CHECK(memcmp(got, there, sizeof there) == 0);
        }
    }
    for (size_t i = 0; i < MEMBERS; i++)
        leave(&f, &m[i]);
    assert_int_equal(count(&f, "x", m, MEMBERS, got), 0);
    END(f);
}

/* A member of many patterns: they are all dropped when it leaves, in time in proportion to them, and what others
 * have stays. */
static void test_leave_many(void **state) {
    enum { PATTERNS = 20000 };
    struct member m[2] = {{0}};
    char pattern[32];
    bool got[2];
    FIXTURE(f);
    (void)state;
    for (unsigned i = 0; i < PATTERNS; i++) {
        snprintf(pattern, sizeof pattern, i % 10 != 0 ? "p.%u" : "p.%u.*", i);
        CHECK(add(&f, &m[0], pattern) == 1);
        CHECK(i % 100 != 0 || add(&f, &m[1], pattern) == 1);
    }
    assert_int_equal(m[0].count, PATTERNS);
    assert_int_equal(count(&f, "p.1", m, 2, got), 1);
    assert_int_equal(count(&f, "p.100.x", m, 2, got), 2);
    leave(&f, &m[0]);
    assert_int_equal(count(&f, "p.1", m, 2, got), 0);
    assert_int_equal(count(&f, "p.100.x", m, 2, got), 1);
    assert_int_equal(m[1].count, PATTERNS / 100);
    leave(&f, &m[1]);
    END(f);
}

/* --- Against an oracle ------------------------------------------------------------------------- */

static void draw_topic(uint32_t *seed, bool wild, char ret[32]) {
    static const char *const literal[] = {"a", "b", "ab", "x"};
    unsigned segments = 1 + oracle_draw(seed, 4);
    ret[0] = '\0';
    for (unsigned i = 0; i < segments; i++) {
        uint32_t kind = wild ? oracle_draw(seed, 8) : 0;
        strcat(ret, i > 0 ? "." : "");
        strcat(ret, kind >= 7 ? "**" : kind >= 5 ? "*" : literal[oracle_draw(seed, COUNT(literal))]);
    }
}

enum { CAST = 7, REPERTOIRE = 60 };
static struct {
    struct member member[CAST];
    char pattern[REPERTOIRE][32];
    bool has[CAST][REPERTOIRE];
} play;

static size_t index_of_pattern(const char *pattern) {
    size_t i = 0;
    while (strcmp(play.pattern[i], pattern) != 0)
        i++;
    return i; /* drawn twice, it is the first */
}

static void check_topic(struct fixture *f, const char *topic) {
    bool got[CAST], should[CAST] = {0};
    int n = 0;
    for (size_t i = 0; i < CAST; i++) {
        for (size_t p = 0; p < REPERTOIRE; p++)
            should[i] = should[i] || (play.has[i][p] && oracle_matches(play.pattern[p], topic));
        n += should[i];
    }
    CHECK(count(f, topic, play.member, CAST, got) == n);
    CHECK(memcmp(got, should, sizeof got) == 0);
}

/* Any mix of adding, dropping and leaving, with names that are asked for again and again in between: so also what
 * is remembered of them is right at any time. */
static void test_random(void **state) {
    uint32_t seed = 7;
    char topic[32];
    FIXTURE(f);
    (void)state;
    for (unsigned act = 0; act < 20; act++) {
        for (size_t p = 0; p < REPERTOIRE; p++)
            draw_topic(&seed, oracle_draw(&seed, 3) != 0, play.pattern[p]);
        for (unsigned i = 0; i < 1500; i++) {
            size_t who = oracle_draw(&seed, CAST), p = oracle_draw(&seed, REPERTOIRE);
            p = index_of_pattern(play.pattern[p]);
            uint32_t what = oracle_draw(&seed, 100);
            if (what < 10) {
                CHECK(add(&f, &play.member[who], play.pattern[p]) == !play.has[who][p]);
                play.has[who][p] = true;
            } else if (what < 20) {
                CHECK(drop(&f, &play.member[who], play.pattern[p]) == play.has[who][p]);
                play.has[who][p] = false;
            } else if (what < 21) {
                leave(&f, &play.member[who]);
                memset(play.has[who], 0, sizeof play.has[who]);
            } else {
                draw_topic(&seed, false, topic);
                check_topic(&f, topic);
            }
        }
        for (size_t i = 0; i < CAST; i++)
            leave(&f, &play.member[i]);
        memset(play.has, 0, sizeof play.has);
    }
    END(f);
}

/* --- Out of memory ----------------------------------------------------------------------------- */

/* "Out of memory is an error return that leaves everything as it was"; hazard 20. */
static void test_out_of_memory(void **state) {
    static const char *const patterns[] = {"a.b", "a.*", "**.b", "c.d.e", "a.**.b.**"};
    (void)state;
    SWEEP(sweep) {
        struct member m[6] = {{0}};
        bool got[6];
        struct fixture f;
        begin(&f);
        for (size_t i = 0; i < COUNT(patterns); i++)
            for (size_t k = 0; k < COUNT(m); k++) {
                size_t had = m[k].count, all = f.a.count;
                support_arm(&sweep);
                int r = add(&f, &m[k], patterns[i]);
                bool failed = support_disarm(&sweep);
                CHECK(r == 1 || (r == MTAIO_ENOMEM && failed));
                CHECK(m[k].count == had + (r == 1) && f.a.count == all + (r == 1));
                if (r < 0) {
                    CHECK(drop(&f, &m[k], patterns[i]) == 0);
                    CHECK(add(&f, &m[k], patterns[i]) == 1);
                }
            }
        for (int i = 0; i < 3; i++) { /* not to remember is no error */
            struct member *const *list;
            size_t n;
            support_arm(&sweep);
            guard_lock(&f.guard);
            int r = mtaio__audiences_of(&f.a, "a.b", &list, &n);
            guard_unlock(&f.guard);
            int reached = mtaio__audiences_reach(&f.a, i == 0 ? "x.b" : "a.b");
            bool failed = support_disarm(&sweep);
            CHECK(r == 0 ? n == COUNT(m) : r == MTAIO_ENOMEM && failed);
            CHECK(reached == (int)COUNT(m) || (reached == MTAIO_ENOMEM && failed));
        }
        CHECK(count(&f, "a.b", m, COUNT(m), got) == (int)COUNT(m));
        for (size_t k = 0; k < COUNT(m); k++)
            leave(&f, &m[k]);
        end(&f);
    }
}

/* "Dropping allocates nothing"; hazard 21. */
static void test_leaving_allocates_nothing(void **state) {
    enum { MEMBERS = 50 };
    static struct member m[MEMBERS];
    char pattern[32];
    bool got[MEMBERS];
    FIXTURE(f);
    (void)state;
    for (unsigned i = 0; i < MEMBERS; i++)
        for (unsigned p = 0; p < 20; p++) {
            snprintf(pattern, sizeof pattern, p % 2 != 0 ? "a.%u" : "a.*.%u", p * (i % 3));
            CHECK(add(&f, &m[i], pattern) >= 0);
        }
    count(&f, "a.0", m, MEMBERS, got);
    count(&f, "a.0", m, MEMBERS, got);
    size_t before = support_allocations();
    for (unsigned i = 0; i < MEMBERS / 2; i++)
        for (unsigned p = 0; p < 20; p++) {
            snprintf(pattern, sizeof pattern, p % 2 != 0 ? "a.%u" : "a.*.%u", p * (i % 3));
            CHECK(drop(&f, &m[i], pattern) >= 0);
        }
    for (unsigned i = MEMBERS / 2; i < MEMBERS; i++)
        leave(&f, &m[i]);
    assert_int_equal(support_allocations(), before);
    END(f);
}

/* --- Hostile patterns and names ---------------------------------------------------------------- */

/* Patterns and names however hostile are found, and gone, as others are; hazard 40. How many steps that takes is
 * counted in test_topic_hostile_internal. */
static void test_hostile(void **state) {
    static char pattern[MTAIO_NAME_MAX + 1], name[MTAIO_NAME_MAX + 1];
    static const char *const parts[] = {"*.", "**.", "a.", "**.a.", "a.*.", "*.**.a."};
    struct member m = {0};
    bool got[1];
    FIXTURE(f);
    (void)state;
    for (size_t i = 0; i < MTAIO_NAME_MAX - 1; i++)
        name[i] = i % 2 != 0 ? '.' : 'a';
    name[MTAIO_NAME_MAX - 2] = 'a';
    for (size_t i = 0; i < COUNT(parts); i++) {
        size_t length = 0;
        for (int n = 0; n < 10000 && length < MTAIO_NAME_MAX - 8; n++)
            length += (size_t)snprintf(pattern + length, 9, "%s", parts[i]);
        strcpy(pattern + length, "**");
        CHECK(mtaio__pattern_check(pattern, NULL) > 0 && mtaio__name_check(name) > 0);
        assert_int_equal(add(&f, &m, pattern), 1);
        for (int n = 0; n < 3; n++)
            assert_int_equal(count(&f, name, &m, 1, got), mtaio__pattern_matches(pattern, name));
        assert_int_equal(drop(&f, &m, pattern), 1);
    }
    END(f);
}

/* --- Threads ----------------------------------------------------------------------------------- */

enum { COMERS = 8, STAYERS = 3 };
static struct {
    struct fixture f;
    struct member stayer[STAYERS], comer[COMERS];
    atomic_bool over;
    atomic_size_t asked;
} race;

static void come_and_go(void) {
    static const char *const patterns[] = {"a.b", "a.*", "**.b", "x.*", "a.b.c"};
    char name[16];
    uint32_t seed = 3;
    for (unsigned i = 0; i < 20000; i++) {
        struct member *m = &race.comer[oracle_draw(&seed, COMERS)];
        const char *pattern = patterns[oracle_draw(&seed, COUNT(patterns))];
        snprintf(name, sizeof name, "n%u", oracle_draw(&seed, 64)); /* makes the tables grow and shrink */
        CHECK(add(&race.f, m, oracle_draw(&seed, 2) != 0 ? pattern : name) >= 0);
        CHECK(drop(&race.f, m, oracle_draw(&seed, 2) != 0 ? pattern : name) >= 0);
        if (oracle_draw(&seed, 20) == 0)
            leave(&race.f, m);
    }
    atomic_store(&race.over, true);
}

/* Who is there all the time is counted, whoever comes and goes, and nobody twice. */
static void keep_asking(void) {
    uint32_t seed = 5;
    char name[16];
    while (!atomic_load(&race.over)) {
        int r = mtaio__audiences_reach(&race.f.a, "a.b");
        CHECK(r >= STAYERS && r <= STAYERS + COMERS);
        snprintf(name, sizeof name, "n%u", oracle_draw(&seed, 64));
        r = mtaio__audiences_reach(&race.f.a, name);
        CHECK(r >= 0 && r <= COMERS);
        atomic_fetch_add(&race.asked, 1);
    }
}

static void run_race(unsigned index, void *ctx) {
    (void)ctx;
    if (index == 0)
        come_and_go();
    else
        keep_asking();
}

/* "Subscriptions can be changed, and ended, at any time from any thread", while others ask without a lock; hazards
 * 4 and 42, for ThreadSanitizer and AddressSanitizer. */
static void test_race(void **state) {
    (void)state;
    begin(&race.f);
    for (size_t i = 0; i < STAYERS; i++) {
        add(&race.f, &race.stayer[i], "a.b");
        add(&race.f, &race.stayer[i], "*.b");
    }
    support_threads(3, run_race, NULL);
    assert_true(atomic_load(&race.asked) > 0);
    for (size_t i = 0; i < COMERS; i++)
        leave(&race.f, &race.comer[i]);
    for (size_t i = 0; i < STAYERS; i++)
        leave(&race.f, &race.stayer[i]);
    end(&race.f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_add_drop),
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_crowd),
        cmocka_unit_test(test_leave_many),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_leaving_allocates_nothing),
        cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_race),
    };
    audiences_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
