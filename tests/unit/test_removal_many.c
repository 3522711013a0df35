/* test_removal_many.c - removing by function where a name has very many handlers: found by an index, which nobody may
 * notice but by the time it saves. */
#include "record.h"

/* --- Beside a plain list ---------------------------------------------------------------------------------- */

enum { CONTEXTS = 30, MOST = 600, STEPS = 30000, CALLED_MOST = 4 * MOST };

struct model {
    mtaio_emitter *em;
    struct entry {
        bool pattern, second, once;
        int priority, context;
        mtaio_listener *listener; /* or NULL */
    } list[MOST];
    int count;
};

static char contexts[CONTEXTS];
static int called[CALLED_MOST], calls;
static unsigned seed;

static int pick(int n) {
    seed = seed * 1103515245u + 12345u;
    return (int)(seed >> 8) % n;
}

static int note_call(int which, const void *ctx) {
    CHECK(calls < CALLED_MOST);
    called[calls++] = which * CONTEXTS + (int)((const char *)ctx - contexts);
    return 0;
}
static int first_call(mtaio_event *event, void *ctx) { return (void)event, note_call(0, ctx); }
static int second_call(mtaio_event *event, void *ctx) { return (void)event, note_call(1, ctx); }

static const char *text_of(bool pattern) { return pattern ? "x.*" : "x.y"; }

static void add(struct model *m) {
    static const mtaio_priority priorities[] = {MTAIO_HIGH, MTAIO_NORMAL, MTAIO_NORMAL, MTAIO_MONITOR};
    if (m->count == MOST) return;
    struct entry *e = &m->list[m->count++];
    *e = (struct entry){.pattern = pick(4) == 0, .second = pick(3) == 0, .once = pick(9) == 0};
    e->priority = priorities[pick(4)];
    e->context = pick(4) == 0 ? 0 : pick(CONTEXTS);
    const mtaio_handler *h = MTAIO_HANDLER(.call = e->second ? second_call : first_call, .ctx = &contexts[e->context],
                                           .priority = e->priority, .flags = e->once ? MTAIO_ONCE : 0);
    OK(mtaio_emitter_on(m->em, text_of(e->pattern), h, pick(2) == 0 ? &e->listener : NULL));
}

static void forget(struct model *m, int i) {
    mtaio_listener_unref(m->list[i].listener);
    m->count--;
    memmove(&m->list[i], &m->list[i + 1], sizeof m->list[0] * (size_t)(m->count - i));
}

static void cancel(struct model *m) {
    int i = m->count > 0 ? pick(m->count) : 0;
    if (m->count == 0 || !m->list[i].listener) return;
    assert_int_equal(mtaio_listener_cancel(m->list[i].listener), 1);
    forget(m, i);
}

/* By function, at times where there is no memory; or all. */
static void off(struct model *m, bool all) {
    bool pattern = pick(4) == 0, second = pick(3) == 0;
    int context = pick(CONTEXTS), removed = 0;
    for (int i = m->count; i-- > 0;) {
        const struct entry *e = &m->list[i];
        if (e->pattern != pattern || (!all && (e->second != second || e->context != context))) continue;
        forget(m, i);
        removed++;
    }
    if (pick(4) == 0) support_fail_at(1, true);
    int r = all ? mtaio_emitter_remove_all(m->em, text_of(pattern))
                : mtaio_off(m->em, text_of(pattern), second ? second_call : first_call, &contexts[context]);
    support_fail_at(0, false);
    assert_int_equal(r, removed);
}

/* All in their order; those that are to be called once are gone. */
static void emit(struct model *m) {
    static const int order[] = {MTAIO_HIGH, MTAIO_NORMAL, MTAIO_MONITOR};
    int at = 0, expected = m->count;
    calls = 0;
    assert_int_equal(mtaio_emit(m->em, "x.y", NULL), expected);
    assert_int_equal(calls, expected);
    for (size_t p = 0; p < COUNT(order); p++)
        for (int i = 0; i < m->count; i++)
            if (m->list[i].priority == order[p])
                assert_int_equal(called[at++], m->list[i].second * CONTEXTS + m->list[i].context);
    for (int i = m->count; i-- > 0;)
        if (m->list[i].once) forget(m, i);
    assert_int_equal(mtaio_emitter_reach(m->em, "x.y"), m->count);
}

static void step(struct model *m, bool growing) {
    int what = pick(100);
    if (what < (growing ? 60 : 20))
        add(m);
    else if (what < 80)
        off(m, false);
    else if (what < 99)
        cancel(m);
    else if (pick(20) == 0)
        off(m, true);
    else
        emit(m);
}

static int defer(mtaio_event *event, void *deferral) { return mtaio_event_defer(event, deferral); }

/* Handlers of two functions and few contexts, by name and pattern, of three priorities, come and go by all ways there
 * are: as many are removed as a plain list says, and the others are called in their order. At times an emission rests,
 * which keeps gaps from being closed. */
static void test_beside_a_list(void **state) {
    static struct model m;
    (void)state;
    mtaio_deferral *deferral = NULL;
    m = (struct model){.em = emitter_new()};
    seed = 1;
    OK(mtaio_on(m.em, "rests", defer, &deferral));
    for (int i = 0; i < STEPS; i++) {
        if (i % 500 == 0) emit(&m);
        if (i % 3000 == 1000) emit_later(m.em, "rests");
        if (i % 3000 == 2500) complete(&deferral, 0);
        step(&m, i / 1500 % 2 == 0);
    }
    while (m.count > 0) off(&m, true);
    assert_int_equal(mtaio_emitter_count(m.em, NULL), 1);
    mtaio_emitter_unref(m.em);
    forget_notes();
}

/* --- Without memory --------------------------------------------------------------------------------------- */

/* Removing asks for memory only where it looks for one among many, and does without it. */
static void test_without_memory(void **state) {
    enum { MANY = 200 };
    static char ctx[MANY];
    (void)state;
    SWEEP(sweep) {
        mtaio_emitter *em = emitter_new();
        for (int i = 0; i < MANY; i++) OK(mtaio_on(em, "x", first_call, &ctx[i]));
        support_arm(&sweep);
        for (int i = 0; i < MANY; i += 2) assert_int_equal(mtaio_off(em, "x", first_call, &ctx[i]), 1);
        support_disarm(&sweep);
        for (int i = 0; i < MANY; i++) assert_int_equal(mtaio_off(em, "x", first_call, &ctx[i]), i % 2);
        mtaio_emitter_unref(em);
    }
}

/* Who has few handlers to a name pays nothing; who has many, pays no more than 12 bytes for each, and only once he has
 * removed one by function, until they are gone. */
static void test_what_it_takes(void **state) {
    enum { MANY = 1000 };
    static char ctx[MANY];
    (void)state;
    mtaio_emitter *em = emitter_new();
    for (int i = 0; i < 32; i++) OK(mtaio_on(em, "few", first_call, &ctx[i]));
    size_t asked = support_allocations();
    for (int i = 0; i < 32; i++) assert_int_equal(mtaio_off(em, "few", first_call, &ctx[i]), 1);
    assert_int_equal(support_allocations(), asked);
    size_t before = support_live_bytes();
    for (int i = 0; i < MANY; i++) OK(mtaio_on(em, "many", first_call, &ctx[i]));
    size_t without = support_live_bytes();
    assert_int_equal(mtaio_off(em, "many", second_call, ctx), 0);
    size_t with = support_live_bytes();
    assert_in_range(with - without, 1, 12 * MANY);
    asked = support_allocations();
    for (int i = 0; i < MANY / 4; i++) assert_int_equal(mtaio_off(em, "many", first_call, &ctx[i]), 1);
    assert_int_equal(support_allocations(), asked);
    assert_int_equal(mtaio_emitter_remove_all(em, "many"), MANY - MANY / 4);
    mtaio_reclaim();
    assert_in_range(support_live_bytes(), 0, before + 200);
    mtaio_emitter_unref(em);
}

/* --- Time ------------------------------------------------------------------------------------------------- */

/* Each of these takes a fraction of a second, and hours where each step looks at every handler. */
enum { VERY_MANY = 100000 };
static char places[VERY_MANY];

static void test_very_many(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < VERY_MANY; i++) OK(mtaio_on(em, "x", first_call, &places[i]));
        for (int i = 0; i < VERY_MANY; i++) { /* from the oldest, from the newest, and neither */
            int which = round == 0 ? i : round == 1 ? VERY_MANY - 1 - i : (int)(i * INT64_C(7919) % VERY_MANY);
            assert_int_equal(mtaio_off(em, "x", first_call, &places[which]), 1);
        }
        assert_int_equal(mtaio_emitter_count(em, NULL), 0);
    }
    mtaio_emitter_unref(em);
}

/* One comes and goes beside those that stay. */
static void test_one_beside_very_many(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    for (int i = 0; i < VERY_MANY; i++) OK(mtaio_on(em, "x", first_call, &places[i]));
    for (int i = 0; i < VERY_MANY; i++) {
        OK(mtaio_once(em, "x", second_call, &places[i % 10]));
        assert_int_equal(mtaio_off(em, "x", second_call, &places[i % 10]), 1);
    }
    assert_int_equal(mtaio_emitter_count(em, NULL), VERY_MANY);
    mtaio_emitter_unref(em);
}

/* The same handler, very often: cancelled one by one, by listener, while others of it come and go by function. */
static void test_one_very_often(void **state) {
    static mtaio_listener *listeners[VERY_MANY];
    (void)state;
    mtaio_emitter *em = emitter_new();
    for (int i = 0; i < VERY_MANY; i++)
        OK(mtaio_emitter_on(em, "x", MTAIO_HANDLER(.call = first_call, .ctx = places), &listeners[i]));
    for (int i = 0; i < VERY_MANY; i++) {
        assert_int_equal(mtaio_off(em, "x", second_call, places), 0);
        OK(mtaio_on(em, "x", second_call, places));
        assert_int_equal(mtaio_listener_cancel(listeners[i]), 1);
        assert_int_equal(mtaio_off(em, "x", second_call, places), 1);
        mtaio_listener_unref(listeners[i]);
        if (i == VERY_MANY / 2) assert_int_equal(mtaio_off(em, "x", first_call, places), VERY_MANY - i - 1);
        if (i == VERY_MANY / 2) break;
    }
    for (int i = VERY_MANY / 2 + 1; i < VERY_MANY; i++) {
        assert_int_equal(mtaio_listener_cancel(listeners[i]), 0);
        mtaio_listener_unref(listeners[i]);
    }
    assert_int_equal(mtaio_emitter_count(em, NULL), 0);
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_beside_a_list),
        TEST(test_without_memory),
        TEST(test_what_it_takes),
        TEST(test_very_many),
        TEST(test_one_beside_very_many),
        TEST(test_one_very_often),
    };
    support_init(); /* no other thread has ever emitted: gaps are closed in place */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
