/* stress_threads.c - two threads at one thing, aligned on a barrier each round: emissions against everything
 * that changes or ends what they use; `once`; removing twice; completing twice. MTAIO_STRESS=1 runs as many
 * rounds as find rare races. */
#include "record.h"

static unsigned rounds_of(unsigned few, unsigned many) { return getenv("MTAIO_STRESS") != NULL ? many : few; }

/* --- A context that knows whether it may be used ---------------------------------------------------------
 */

#define ALIVE 0x616c6976u

struct ctx {
    atomic_uint magic;
    atomic_int running, calls, gone;
};

static int use(mtaio_event *event, void *arg) {
    struct ctx *c = arg;
    (void)event;
    atomic_fetch_add(&c->running, 1);
    CHECK(atomic_load(&c->magic) == ALIVE);
    atomic_fetch_add(&c->calls, 1);
    CHECK(atomic_load(&c->gone) == 0);
    atomic_fetch_sub(&c->running, 1);
    return 0;
}

static void release(void *arg) {
    struct ctx *c = arg;
    CHECK(atomic_load(&c->running) == 0);
    CHECK(atomic_fetch_add(&c->gone, 1) == 0);
    atomic_store(&c->magic, 0);
}

static void ctx_init(struct ctx *c) {
    atomic_store(&c->magic, ALIVE);
    atomic_store(&c->running, 0);
    atomic_store(&c->calls, 0);
    atomic_store(&c->gone, 0);
}

/* --- Once ------------------------------------------------------------------------------------------------
 */

struct once_race {
    struct support_barrier barrier;
    mtaio_emitter *em;
    struct ctx ctx;
    unsigned rounds;
    int results[2];
};

static void race_once(unsigned index, void *arg) {
    struct once_race *race = arg;
    for (unsigned i = 0; i < race->rounds; i++) {
        if (index == 0)
            CHECK(mtaio_once(race->em, i % 2 != 0 ? "x" : "*", use, &race->ctx) == 0);
        support_barrier_wait(&race->barrier);
        race->results[index] = mtaio_emit(race->em, "x", NULL);
        support_barrier_wait(&race->barrier);
        if (index == 0) {
            CHECK(atomic_exchange(&race->ctx.calls, 0) == 1);
            CHECK(race->results[0] + race->results[1] == 1);
            CHECK(mtaio_emitter_count(race->em, NULL) == 0);
        }
    }
}

/* "Called exactly once however many emissions race." Hazard 9. */
static void test_once(void **state) {
    (void)state;
    struct once_race race = {.em = emitter_new(), .rounds = rounds_of(20000, 1200000)};
    ctx_init(&race.ctx);
    support_barrier_init(&race.barrier, 2);
    support_threads(2, race_once, &race);
    mtaio_emitter_unref(race.em);
}

/* --- Emissions against changes ---------------------------------------------------------------------------
 */

enum { HANDLERS = 3 };

struct round;
struct pair {
    const char *name;
    void (*other)(struct round *r); /* what the second thread does meanwhile */
    bool last;                      /* it gives back the last reference: the first holds one of its own */
};

struct round {
    struct support_barrier barrier;
    const struct pair *pair;
    mtaio_emitter *em;
    mtaio_name *name;
    mtaio_listener *listeners[HANDLERS];
    struct ctx ctx[HANDLERS + 1];
    unsigned number, rounds;
    int result;
};

static int register_ctx(struct round *r, unsigned i, unsigned flags, mtaio_listener **ret) {
    const mtaio_handler *h = MTAIO_HANDLER(.call = use, .destroy = release, .ctx = &r->ctx[i], .flags = flags,
                                           .priority = i == 1 ? MTAIO_HIGH : MTAIO_NORMAL);
    return mtaio_emitter_on(r->em, i == 2 ? "*" : "x", h, ret);
}

static void other_adds(struct round *r) { CHECK(register_ctx(r, HANDLERS, 0, NULL) == 0); }
static void other_adds_once(struct round *r) { CHECK(register_ctx(r, HANDLERS, MTAIO_ONCE, NULL) == 0); }
static void other_offs(struct round *r) { CHECK(mtaio_off(r->em, "x", use, &r->ctx[0]) == 1); }
static void other_cancels(struct round *r) {
    CHECK(mtaio_listener_cancel(r->listeners[r->number % HANDLERS]) == 1);
}
static void other_removes_all(struct round *r) { CHECK(mtaio_emitter_remove_all(r->em, NULL) == HANDLERS); }
static void other_closes(struct round *r) { CHECK(mtaio_emitter_close(r->em) == 0); }
static void other_unrefs(struct round *r) { mtaio_emitter_unref(r->em); }
static void other_emits(struct round *r) { CHECK(mtaio_emit(r->em, "x", NULL) == HANDLERS); }

static void other_cancels_and_waits(struct round *r) {
    struct ctx *c = &r->ctx[r->number % HANDLERS];
    CHECK(mtaio_listener_cancel_wait(r->listeners[r->number % HANDLERS]) == 1);
    CHECK(atomic_load(&c->running) == 0);
    int calls = atomic_load(&c->calls);
    CHECK(mtaio_emit(r->em, "x", NULL) >= HANDLERS - 1);
    CHECK(atomic_load(&c->calls) == calls); /* nothing began afterwards */
}

/* What other_adds_many registers. */
static int nothing(mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 0;
}

static void other_adds_many(struct round *r) {
    for (unsigned i = 0; i < 20; i++)
        CHECK(mtaio_on(r->em, i % 4 != 0 ? "x" : "**", nothing, r) == 0);
    CHECK(mtaio_off(r->em, "x", nothing, r) == 15);
    CHECK(mtaio_off(r->em, "**", nothing, r) == 5);
}

static void other_suppresses(struct round *r) {
    mtaio_suppression *s = NULL;
    CHECK(mtaio_emitter_suppress(r->em, "x", &s) == 0);
    CHECK(mtaio_suppression_replay(s) >= 0);
    mtaio_suppression_unref(s);
}

static void use_hook(const mtaio_event *event, void *arg) {
    (void)event;
    use(NULL, arg);
}

static void other_hooks(struct round *r) {
    mtaio_listener *hook = NULL;
    struct ctx *c = &r->ctx[HANDLERS];
    CHECK(mtaio_emitter_hook(r->em, MTAIO_HOOK(.before = use_hook, .destroy = release, .ctx = c), &hook) ==
          0);
    CHECK(mtaio_listener_cancel(hook) == 1);
    mtaio_listener_unref(hook);
}

static int pass(const mtaio_event *event, void *arg) {
    struct ctx *c = arg;
    (void)event;
    CHECK(atomic_load(&c->magic) == ALIVE);
    return 1;
}

static void other_derives(struct round *r) {
    mtaio_emitter *filtered = NULL;
    const mtaio_filter *f = MTAIO_FILTER(.call = pass, .destroy = release, .ctx = &r->ctx[HANDLERS]);
    CHECK(mtaio_emitter_filter(r->em, NULL, f, &filtered) == 0);
    CHECK(mtaio_on(filtered, "x", use, &r->ctx[0]) == 0);
    mtaio_emitter_close(filtered);
    mtaio_emitter_unref(filtered);
}

static void begin_round(struct round *r) {
    r->em = NULL;
    CHECK(mtaio_emitter_new(NULL, &r->em) == 0);
    for (unsigned i = 0; i <= HANDLERS; i++)
        ctx_init(&r->ctx[i]);
    for (unsigned i = 0; i < HANDLERS; i++)
        CHECK(register_ctx(r, i, 0, &r->listeners[i]) == 0);
    if (r->pair->last)
        CHECK(mtaio_emitter_resolve(r->em, "x", &r->name) == 0);
}

static void end_round(struct round *r) {
    for (unsigned i = 0; i < HANDLERS; i++)
        mtaio_listener_unref(r->listeners[i]);
    if (r->pair->last)
        mtaio_name_unref(r->name);
    else
        mtaio_emitter_unref(r->em);
    CHECK(mtaio_reclaim() == 0);
    for (unsigned i = 0; i < HANDLERS; i++)
        CHECK(atomic_load(&r->ctx[i].gone) == 1);
    CHECK(atomic_load(&r->ctx[HANDLERS].gone) <= 1);
}

static void run_pair(unsigned index, void *arg) {
    struct round *r = arg;
    for (unsigned i = 0; i < r->rounds; i++) {
        if (index == 0) {
            r->number = i;
            begin_round(r);
        }
        support_barrier_wait(&r->barrier);
        if (index != 0)
            r->pair->other(r);
        else if (r->pair->last)
            r->result = mtaio_emit_name(r->name, NULL);
        else
            r->result = mtaio_emit(r->em, "x", NULL);
        support_barrier_wait(&r->barrier);
        if (index == 0) {
            CHECK(r->result >= 0 || r->result == MTAIO_ECLOSED);
            end_round(r);
        }
    }
}

static const struct pair pairs[] = {
    {"emit", other_emits, false},
    {"add", other_adds, false},
    {"add many", other_adds_many, false},
    {"once", other_adds_once, false},
    {"off", other_offs, false},
    {"cancel", other_cancels, false},
    {"cancel and wait", other_cancels_and_waits, false},
    {"remove all", other_removes_all, false},
    {"close", other_closes, false},
    {"unref", other_unrefs, true},
    {"suppress", other_suppresses, false},
    {"hook", other_hooks, false},
    {"derive", other_derives, false},
};

/* "Every object may be used from any number of threads at once": an emission, and in another thread whatever
 * changes or ends what it uses. The context of a handler is released exactly once, and never while a call
 * uses it. Hazards 4, 7, 12. */
static void test_pairs(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(pairs); i++) {
        struct round r = {.pair = &pairs[i], .rounds = rounds_of(1000, 100000)};
        print_message("# emit and %s\n", pairs[i].name);
        support_barrier_init(&r.barrier, 2);
        support_threads(2, run_pair, &r);
    }
}

/* --- Removing the same handler ---------------------------------------------------------------------------
 */

struct removal {
    struct support_barrier barrier;
    mtaio_emitter *em;
    mtaio_listener *listener;
    struct ctx ctx;
    unsigned rounds, way;
    int results[2];
};

static int remove_in_way(struct removal *r, unsigned way) {
    switch (way) {
    case 0:
        return mtaio_listener_cancel(r->listener);
    case 1:
        return mtaio_off(r->em, "x", use, &r->ctx);
    case 2:
        return mtaio_listener_cancel_wait(r->listener);
    default:
        return mtaio_emit(r->em, "x", NULL); /* consumes it */
    }
}

static void race_removal(unsigned index, void *arg) {
    struct removal *r = arg;
    for (unsigned i = 0; i < r->rounds; i++) {
        unsigned way = index == 0 ? i % 3 : i / 3 % 4;
        if (index == 0) {
            const mtaio_handler *h = MTAIO_HANDLER(.call = use, .destroy = release, .ctx = &r->ctx,
                                                   .flags = i / 3 % 4 == 3 ? MTAIO_ONCE : 0u);
            ctx_init(&r->ctx);
            CHECK(mtaio_emitter_on(r->em, "x", h, &r->listener) == 0);
        }
        support_barrier_wait(&r->barrier);
        r->results[index] = remove_in_way(r, way);
        support_barrier_wait(&r->barrier);
        if (index == 0) {
            CHECK(r->results[0] + r->results[1] == 1);
            mtaio_listener_unref(r->listener);
            CHECK(mtaio_reclaim() == 0);
            CHECK(atomic_load(&r->ctx.gone) == 1);
            CHECK(atomic_load(&r->ctx.calls) == (i / 3 % 4 == 3 ? r->results[1] : 0));
        }
    }
}

/* "Counts are always true": two threads remove the same handler, in any two ways, and exactly one is told 1;
 * or one of them is an emission that consumes it, and it was called exactly if nobody removed it. Hazards 5
 * and 11. */
static void test_removed_twice(void **state) {
    (void)state;
    struct removal r = {.em = emitter_new(), .rounds = rounds_of(12000, 600000)};
    support_barrier_init(&r.barrier, 2);
    support_threads(2, race_removal, &r);
    mtaio_emitter_unref(r.em);
}

/* --- Completing a deferral twice -------------------------------------------------------------------------
 */

struct completion {
    struct support_barrier barrier;
    mtaio_emitter *em;
    mtaio_deferral *deferral;
    unsigned rounds;
    int results[2];
    atomic_int done;
};

static int take_deferral(mtaio_event *event, void *arg) {
    return mtaio_event_defer(event, &((struct completion *)arg)->deferral);
}

static void note_end(int result, const mtaio_report *report, void *arg) {
    (void)result;
    (void)report;
    atomic_fetch_add(&((struct completion *)arg)->done, 1);
}

static void race_completion(unsigned index, void *arg) {
    struct completion *c = arg;
    for (unsigned i = 0; i < c->rounds; i++) {
        if (index == 0) {
            mtaio_event *event = NULL;
            CHECK(mtaio_event_new("x", NULL, NULL, &event) == 0);
            atomic_store(&c->done, 0);
            CHECK(mtaio_emit_async(c->em, event, MTAIO_ASYNC(.done = note_end, .ctx = c)) == 0);
            mtaio_event_unref(event);
        }
        support_barrier_wait(&c->barrier);
        c->results[index] = mtaio_deferral_complete(c->deferral, 0);
        support_barrier_wait(&c->barrier);
        if (index == 0) {
            CHECK((c->results[0] == 0) != (c->results[1] == 0));
            CHECK(c->results[0] + c->results[1] == MTAIO_EALREADY);
            CHECK(atomic_load(&c->done) == 1);
            mtaio_deferral_unref(c->deferral);
        }
    }
}

/* "Completed once, from any thread": of two at once, one is told EALREADY. Hazard 16. */
static void test_completed_twice(void **state) {
    (void)state;
    struct completion c = {.em = emitter_new(), .rounds = rounds_of(5000, 500000)};
    OK(mtaio_on(c.em, "x", take_deferral, &c));
    support_barrier_init(&c.barrier, 2);
    support_threads(2, race_completion, &c);
    mtaio_emitter_unref(c.em);
}

static void race_completion_with_close(unsigned index, void *arg) {
    struct completion *c = arg;
    for (unsigned i = 0; i < c->rounds; i++) {
        if (index == 0) {
            mtaio_event *event = NULL;
            CHECK(mtaio_emitter_new(NULL, &c->em) == 0);
            CHECK(mtaio_on(c->em, "x", take_deferral, c) == 0);
            CHECK(mtaio_event_new("x", NULL, NULL, &event) == 0);
            atomic_store(&c->done, 0);
            CHECK(mtaio_emit_async(c->em, event, MTAIO_ASYNC(.done = note_end, .ctx = c)) == 0);
            mtaio_event_unref(event);
        }
        support_barrier_wait(&c->barrier);
        c->results[index] = index == 0 ? mtaio_emitter_close(c->em) : mtaio_deferral_complete(c->deferral, 0);
        support_barrier_wait(&c->barrier);
        if (index == 0) {
            CHECK(c->results[0] == 0);
            CHECK(c->results[1] == 0 || c->results[1] == MTAIO_ECLOSED);
            CHECK(atomic_load(&c->done) == 1);
            mtaio_deferral_unref(c->deferral);
            mtaio_emitter_unref(c->em);
            CHECK(mtaio_reclaim() == 0);
        }
    }
}

/* A completion and a close: the emission is over, once, whoever came first. Hazards 15 and 17. */
static void test_completed_and_closed(void **state) {
    (void)state;
    struct completion c = {.rounds = rounds_of(2000, 200000)};
    support_barrier_init(&c.barrier, 2);
    support_threads(2, race_completion_with_close, &c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_once),
        TEST(test_pairs),
        TEST(test_removed_twice),
        TEST(test_completed_twice),
        TEST(test_completed_and_closed),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
