/* test_order.c - in which order handlers are called, and which handlers an emission works on. */
#include "record.h"

/* "HIGHEST, HIGH, NORMAL, LOW, LOWEST; then the MONITOR handlers", whatever the order of registration. */
static void test_priorities(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor lowest = {.tag = "lowest"}, low = {.tag = "low"}, normal = {.tag = "normal"};
    struct actor high = {.tag = "high"}, highest = {.tag = "highest"}, monitor = {.tag = "monitor"};
    listen_at(em, "x", MTAIO_LOW, &low);
    listen_at(em, "x", MTAIO_MONITOR, &monitor);
    listen_at(em, "x", MTAIO_HIGHEST, &highest);
    listen_at(em, "x", MTAIO_NORMAL, &normal);
    listen_at(em, "x", MTAIO_LOWEST, &lowest);
    listen_at(em, "x", MTAIO_HIGH, &high);
    assert_int_equal(mtaio_emit(em, "x", NULL), 6);
    assert_noted("highest high normal low lowest monitor");
    mtaio_emitter_unref(em);
}

/* "Within a priority, the order of registration": the same handler twice is called twice; removed and
 * registered again it comes last. */
static void test_registration_order(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"}, b = {.tag = "b"}, c = {.tag = "c"};
    listen(em, "x", &a);
    listen(em, "x", &b);
    listen(em, "x", &a);
    listen(em, "x", &c);
    assert_int_equal(mtaio_emit(em, "x", NULL), 4);
    assert_noted("a b a c");
    assert_int_equal(mtaio_off(em, "x", play, &b), 1);
    listen(em, "x", &b);
    assert_int_equal(mtaio_emit(em, "x", NULL), 4);
    assert_noted("a a c b");
    mtaio_emitter_unref(em);
}

/* Priority is the handler's, not the pattern's, and mtaio_on registers at NORMAL. */
static void test_short_form(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"}, b = {.tag = "b"}, low = {.tag = "low"}, high = {.tag = "high"};
    listen_at(em, "x", MTAIO_LOW, &low);
    listen(em, "*", &a);
    OK(mtaio_once(em, "x", play, &b));
    listen_at(em, "*", MTAIO_HIGH, &high);
    assert_int_equal(mtaio_emit(em, "x", NULL), 4);
    assert_noted("high a b low");
    assert_int_equal(mtaio_emit(em, "x", NULL), 3);
    assert_noted("high a low");
    mtaio_emitter_unref(em);
}

static const char *const matching[] = {"a.b", "*", "a.*", "**", "*.b"};
enum { MATCHING = COUNT(matching) };

static void swap(unsigned *a, unsigned *b) {
    unsigned t = *a;
    *a = *b;
    *b = t;
}

static bool next_permutation(unsigned *p, unsigned n) {
    unsigned i = n - 1, j = n - 1;
    while (i > 0 && p[i - 1] >= p[i])
        i--;
    if (i == 0)
        return false;
    while (p[j] <= p[i - 1])
        j--;
    swap(&p[i - 1], &p[j]);
    for (j = n - 1; i < j; i++, j--)
        swap(&p[i], &p[j]);
    return true;
}

/* "...whether a handler was registered for the exact name or for a pattern": every order of registering five
 * patterns is the order of calls; emitting before the last ones came makes no difference. */
static void test_exact_and_patterns(void **state) {
    (void)state;
    unsigned order[MATCHING] = {0, 1, 2, 3, 4}, permutations = 0;
    do {
        mtaio_emitter *em = emitter_new();
        struct actor actors[MATCHING];
        char expected[64] = "";
        for (unsigned i = 0; i < MATCHING; i++) {
            actors[order[i]] = (struct actor){.tag = matching[order[i]]};
            listen(em, matching[order[i]], &actors[order[i]]);
            strcat(strcat(expected, i > 0 ? " " : ""), matching[order[i]]);
            if (i == permutations % MATCHING)
                assert_int_equal(mtaio_emit(em, "a.b", NULL), i + 1);
        }
        forget_notes();
        assert_int_equal(mtaio_emit(em, "a.b", NULL), MATCHING);
        assert_noted(expected);
        mtaio_emitter_unref(em);
        permutations++;
    } while (next_permutation(order, MATCHING));
    assert_int_equal(permutations, 120);
}

static unsigned random_below(unsigned *seed, unsigned n) {
    *seed = *seed * 1664525u + 1013904223u;
    return (*seed >> 8) % n;
}

enum { CROWD = 40 };
struct member {
    struct actor actor;
    char tag[16];
    const char *pattern;
    mtaio_priority priority;
    mtaio_listener *listener;
};

/* The naive model: all of one priority in the order of registration, one priority after the other. */
static void expect_crowd(struct member *crowd, unsigned n, char *expected) {
    static const mtaio_priority order[] = {MTAIO_HIGHEST, MTAIO_HIGH,   MTAIO_NORMAL,
                                           MTAIO_LOW,     MTAIO_LOWEST, MTAIO_MONITOR};
    *expected = '\0';
    for (size_t p = 0; p < COUNT(order); p++)
        for (unsigned i = 0; i < n; i++)
            if (crowd[i].priority == order[p] && crowd[i].listener != NULL)
                strcat(strcat(expected, *expected != '\0' ? " " : ""), crowd[i].tag);
}

static void crowd_joins(mtaio_emitter *em, struct member *crowd, unsigned i, unsigned *seed) {
    struct member *m = &crowd[i];
    m->pattern = matching[random_below(seed, MATCHING)];
    m->priority = (mtaio_priority)(MTAIO_LOWEST + (int)random_below(seed, 6));
    snprintf(m->tag, sizeof m->tag, "%u", i);
    m->actor = (struct actor){.tag = m->tag};
    OK(mtaio_emitter_on(em, m->pattern,
                        MTAIO_HANDLER(.call = play, .ctx = &m->actor, .priority = m->priority),
                        &m->listener));
}

/* The order holds for any mixture of patterns and priorities, while handlers come and go. */
static void test_random_crowd(void **state) {
    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        mtaio_emitter *em = emitter_new();
        struct member crowd[CROWD] = {0};
        char expected[CROWD * 4];
        unsigned seed = round;
        for (unsigned i = 0; i < CROWD; i++) {
            crowd_joins(em, crowd, i, &seed);
            struct member *leaves = &crowd[random_below(&seed, CROWD)];
            if (leaves->listener != NULL && random_below(&seed, 3) == 0) {
                assert_int_equal(mtaio_listener_cancel(leaves->listener), 1);
                leaves->listener = mtaio_listener_unref(leaves->listener);
            }
            expect_crowd(crowd, i + 1, expected);
            assert_true(mtaio_emit(em, "a.b", NULL) >= 0);
            assert_noted(expected);
        }
        for (unsigned i = 0; i < CROWD; i++)
            mtaio_listener_unref(crowd[i].listener);
        mtaio_emitter_unref(em);
    }
}

/* --- The handlers that were registered when the emission began -------------------------------------------
 */

static int add_same(mtaio_event *event, struct actor *self) {
    (void)event;
    struct actor *added = self->more;
    OK(mtaio_on(self->em, self->name, play, added));
    return 0;
}

/* "One added meanwhile does not see the event", under the name or a pattern, at whatever priority; the next
 * emission it does. A handler that adds itself does not go on for ever. Hazard 3. */
static void test_added_meanwhile(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor late = {.tag = "late"};
    struct actor a = {.tag = "a", .act = add_same, .em = em, .name = "x", .more = &late}, b = a, self = a;
    b.tag = "b", b.name = "*";
    self.tag = "self", self.more = &self;
    OK(mtaio_once(em, "x", play, &a));
    OK(mtaio_once(em, "x", play, &b));
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    assert_noted("a b");
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    assert_noted("late late");
    assert_int_equal(mtaio_emitter_remove_all(em, NULL), 2);
    listen(em, "x", &self);
    for (int i = 1; i <= 8; i *= 2)
        assert_int_equal(mtaio_emit(em, "x", NULL), i);
    forget_notes();
    assert_int_equal(mtaio_emitter_count(em, "x"), 16);
    mtaio_emitter_unref(em);
}

static int add_and_emit(mtaio_event *event, struct actor *self) {
    add_same(event, self);
    return mtaio_emit(self->em, "x", NULL);
}

/* A nested emission begins later, so it does see what was added before it; the outer one still does not. */
static void test_added_then_nested(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor late = {.tag = "late"}, b = {.tag = "b"};
    struct actor a = {.tag = "a", .act = add_and_emit, .em = em, .name = "x", .more = &late};
    OK(mtaio_once(em, "x", play, &a));
    listen(em, "x", &b);
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    assert_noted("a b late b");
    mtaio_emitter_unref(em);
}

enum { FIVE = 5 };
static const char *const five_tags[] = {"0", "1", "2", "3", "4"};

static int remove_other(mtaio_event *event, struct actor *self) {
    (void)event;
    note("-%s", ((struct actor *)self->more)->tag);
    return mtaio_off(self->em, "x", play, self->more);
}

static void count_gone(void *ctx) { ((struct actor *)ctx)->gone++; }

/* "One removed meanwhile and not yet called is not called": of five handlers the i-th removes the j-th, for
 * every i and j, and j's destroy-notify runs once. Hazards 1 and 2. */
static void test_removed_meanwhile(void **state) {
    (void)state;
    for (unsigned i = 0; i < FIVE; i++)
        for (unsigned j = 0; j < FIVE; j++) {
            mtaio_emitter *em = emitter_new();
            struct actor actors[FIVE];
            char first[64] = "", second[64] = "";
            for (unsigned k = 0; k < FIVE; k++) {
                actors[k] = (struct actor){.tag = five_tags[k]};
                OK(mtaio_emitter_on(
                    em, "x", MTAIO_HANDLER(.call = play, .ctx = &actors[k], .destroy = count_gone), NULL));
                if (k <= i || k != j)
                    strcat(strcat(first, first[0] != '\0' ? " " : ""), five_tags[k]);
                if (k == i)
                    strcat(strcat(first, " -"), five_tags[j]);
                if (k != j)
                    strcat(strcat(second, second[0] != '\0' ? " " : ""), five_tags[k]);
            }
            actors[i].act = remove_other, actors[i].em = em, actors[i].more = &actors[j];
            assert_int_equal(mtaio_emit(em, "x", NULL), j > i ? FIVE - 1 : FIVE);
            assert_noted(first);
            mtaio_reclaim();
            assert_int_equal(actors[j].gone, 1);
            actors[i].act = NULL;
            assert_int_equal(mtaio_emit(em, "x", NULL), FIVE - 1);
            assert_noted(second);
            mtaio_emitter_unref(em);
            mtaio_reclaim();
            for (unsigned k = 0; k < FIVE; k++)
                assert_int_equal(actors[k].gone, 1);
        }
}

static int remove_everything(mtaio_event *event, struct actor *self) {
    (void)event;
    return mtaio_emitter_remove_all(self->em, NULL);
}

static int cancel_it(mtaio_event *event, struct actor *self) {
    (void)event;
    return mtaio_listener_cancel(self->listener);
}

/* It makes no difference how the others are removed, nor at which priority or under which pattern they stand.
 */
static void test_all_removed_meanwhile(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = remove_everything, .em = em}, b = {.tag = "b"}, m = {.tag = "m"};
    listen_at(em, "x", MTAIO_MONITOR, &m);
    listen(em, "*", &a);
    listen(em, "x", &b);
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    assert_noted("a");
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    a.act = cancel_it;
    listen(em, "x", &a);
    a.listener = listen_ref(em, "x", 0, &b);
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    mtaio_reclaim();
    assert_noted("a ~b");
    mtaio_listener_unref(a.listener);
    mtaio_emitter_unref(em);
}

static int remove_and_add_again(mtaio_event *event, struct actor *self) {
    remove_other(event, self);
    OK(mtaio_on(self->em, "x", play, self->more));
    return 0;
}

/* One removed and registered again meanwhile is a new registration: it waits for the next emission. */
static void test_removed_and_added(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor b = {.tag = "b"}, a = {.tag = "a", .act = remove_and_add_again, .em = em, .more = &b};
    listen(em, "x", &a);
    listen(em, "x", &b);
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    assert_noted("a -b");
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    assert_noted("a -b");
    mtaio_emitter_unref(em);
}

static int remove_then_emit(mtaio_event *event, struct actor *self) {
    remove_other(event, self);
    self->act = NULL;
    return mtaio_emit(self->em, "x", NULL);
}

/* Removed in a nested emission, it is not called by the outer one either. */
static void test_removed_in_nested(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor b = {.tag = "b"}, c = {.tag = "c"};
    struct actor a = {.tag = "a", .act = remove_then_emit, .em = em, .more = &b};
    listen(em, "x", &a);
    listen(em, "x", &b);
    listen(em, "x", &c);
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    assert_noted("a -b a c c");
    mtaio_emitter_unref(em);
}

static void async_emission_with(mtaio_emitter *em, mtaio_deferral **d, struct actor *waits) {
    *waits = (struct actor){.tag = "waits", .deferral = d};
    OK(mtaio_once(em, "x", play, waits));
    emit_later(em, "x");
}

/* The same for an emission that rests on a deferral, however much is registered and removed until it goes on.
 */
static void test_changes_while_resting(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_deferral *d = NULL;
    struct actor waits, a = {.tag = "a"}, b = {.tag = "b"}, filler = {.tag = "filler"};
    struct actor late = {.tag = "late"};
    OK(mtaio_emitter_on(em, "x", MTAIO_HANDLER(.call = play, .ctx = &a, .priority = MTAIO_LOW), NULL));
    OK(mtaio_emitter_on(em, "*", MTAIO_HANDLER(.call = play, .ctx = &b, .priority = MTAIO_LOW), NULL));
    async_emission_with(em, &d, &waits);
    for (int i = 0; i < 1000; i++)
        listen_at(em, i % 2 != 0 ? "x" : "*", MTAIO_LOWEST, &filler);
    assert_int_equal(mtaio_off(em, "x", play, &filler), 500);
    assert_int_equal(mtaio_off(em, "x", play, &a), 1);
    listen_at(em, "x", MTAIO_LOW, &late);
    mtaio_reclaim();
    complete(&d, 0);
    assert_noted("waits b done:2");
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_priorities),         TEST(test_registration_order), TEST(test_short_form),
        TEST(test_exact_and_patterns), TEST(test_random_crowd),       TEST(test_added_meanwhile),
        TEST(test_added_then_nested),  TEST(test_removed_meanwhile),  TEST(test_all_removed_meanwhile),
        TEST(test_removed_and_added),  TEST(test_removed_in_nested),  TEST(test_changes_while_resting),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
