/* cases_features.c - what only mtaio does: chains, deferrals, batches, asynchronous emission, once, pools. */
#include "cases.h"

#include <mtaio/mtaio.h>
#include <pthread.h>
#include <stdlib.h>

enum { BATCH = 100 };

static int count_call(mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    bench_thread_calls++;
    return 0;
}

static mtaio_emitter *emitter_new(mtaio_call call) {
    mtaio_emitter *em = NULL;
    bench_ok(mtaio_emitter_new(NULL, &em));
    if (call)
        bench_ok(mtaio_on(em, "changed", call, NULL));
    return em;
}

static mtaio_name *resolve(mtaio_emitter *em) {
    mtaio_name *name = NULL;
    bench_ok(mtaio_emitter_resolve(em, "changed", &name));
    return name;
}

static void emit_resolved(void *name, size_t times) {
    for (; times; times--)
        mtaio_emit_name(name, NULL);
}

/* --- filter, map, filter, one handler, beside the same four functions called by their pointers ---------- */

static int accept_all(const mtaio_event *event, void *ctx) {
    (void)event;
    ++*(uint64_t *)ctx;
    return 1;
}

static int map_nothing(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    (void)event;
    (void)mapped;
    ++*(uint64_t *)ctx;
    return 0;
}

static void chain_case(void) {
    if (!bench_wanted("chain/3"))
        return;
    static uint64_t counters[3];
    mtaio_emitter *em = emitter_new(NULL), *derived[3];
    bench_ok(
        mtaio_emitter_filter(em, NULL, MTAIO_FILTER(.call = accept_all, .ctx = &counters[0]), &derived[0]));
    bench_ok(mtaio_emitter_map(derived[0], NULL, MTAIO_MAP(.call = map_nothing, .ctx = &counters[1]),
                               &derived[1]));
    bench_ok(mtaio_emitter_filter(derived[1], NULL, MTAIO_FILTER(.call = accept_all, .ctx = &counters[2]),
                                  &derived[2]));
    bench_ok(mtaio_on(derived[2], "changed", count_call, NULL));
    mtaio_name *name = resolve(em);
    void *bare = peer_bare.open(1, NULL), *four = peer_bare.open(4, NULL);
    const bench_side sides[] = {side_of("bare", peer_bare.emit, bare, 1),
                                side_of("bare, 4 calls", peer_bare.emit, four, 4),
                                side_of("mtaio", emit_resolved, name, 1)};
    bench_case("chain/3", sides, COUNT_OF(sides));
    mtaio_name_unref(name);
    for (size_t i = 0; i < COUNT_OF(derived); i++)
        mtaio_emitter_unref(derived[i]);
    mtaio_emitter_unref(em);
    peer_bare.close(bare);
    peer_bare.close(four);
}

/* --- A deferral that the handler completes itself ------------------------------------------------------ */

static int defer_and_complete(mtaio_event *event, void *ctx) {
    (void)ctx;
    mtaio_deferral *deferral = NULL;
    bench_thread_calls++;
    bench_ok(mtaio_event_defer(event, &deferral));
    bench_ok(mtaio_deferral_complete(deferral, 0));
    mtaio_deferral_unref(deferral);
    return 0;
}

static void deferral_case(void) {
    if (!bench_wanted("deferral"))
        return;
    mtaio_emitter *em = emitter_new(defer_and_complete), *plain = emitter_new(count_call);
    mtaio_name *name = resolve(em), *plain_name = resolve(plain);
    bench_side sides[] = {side_of("mtaio", emit_resolved, name, 1),
                          side_of("mtaio", emit_resolved, plain_name, 1)};
    sides[0].variant = "completed at once";
    sides[1].variant = "no deferral";
    bench_case("deferral", sides, COUNT_OF(sides));
    mtaio_name_unref(name);
    mtaio_name_unref(plain_name);
    mtaio_emitter_unref(em);
    mtaio_emitter_unref(plain);
}

/* --- Batches, owned events, once ------------------------------------------------------------------------ */

static void emit_batch(void *em, size_t times) {
    for (; times; times--) {
        mtaio_batch *batch = NULL;
        bench_ok(mtaio_batch_new(em, &batch));
        for (size_t i = 0; i < BATCH; i++)
            bench_ok(mtaio_batch_emit(batch, "changed", NULL));
        bench_ok(mtaio_batch_end(batch, NULL));
        mtaio_batch_unref(batch);
    }
}

static void count_done(int result, const mtaio_report *report, void *ctx) {
    (void)report;
    (void)ctx;
    bench_ok(result);
    bench_thread_calls++;
}

static void emit_async(void *em, size_t times) {
    for (; times; times--) {
        mtaio_event *event = NULL;
        bench_ok(mtaio_event_new("changed", NULL, NULL, &event));
        bench_ok(mtaio_emit_async(em, event, MTAIO_ASYNC(.done = count_done)));
        mtaio_event_unref(event);
    }
}

static void emit_nowait(void *em, size_t times) {
    for (; times; times--) {
        mtaio_event *event = NULL;
        bench_ok(mtaio_event_new("changed", NULL, NULL, &event));
        bench_ok(mtaio_emit_nowait(em, event));
        mtaio_event_unref(event);
    }
}

static void emit_plain(void *em, size_t times) {
    for (; times; times--)
        bench_ok(mtaio_emit(em, "changed", NULL));
}

static void emit_reported(void *em, size_t times) {
    for (; times; times--) {
        mtaio_report report = MTAIO_REPORT();
        bench_ok(mtaio_emit_with(em, MTAIO_EMISSION(.name = "changed", .report = &report)));
    }
}

static void once_and_emit(void *em, size_t times) {
    for (; times; times--) {
        bench_ok(mtaio_once(em, "changed", count_call, NULL));
        bench_ok(mtaio_emit(em, "changed", NULL));
    }
}

static void forms_case(void) {
    if (!bench_wanted("forms"))
        return;
    mtaio_emitter *em = emitter_new(count_call), *unheard = emitter_new(NULL);
    bench_side sides[] = {side_of("mtaio", emit_plain, em, 1), side_of("mtaio", emit_reported, em, 1),
                          side_of("mtaio", emit_async, em, 2), side_of("mtaio", emit_nowait, em, 1),
                          side_of("mtaio", emit_batch, em, 1), side_of("mtaio", once_and_emit, unheard, 1)};
    static const char *const variants[] = {"emit",        "emit_with, report", "emit_async",
                                           "emit_nowait", "batch of 100",      "once + emit"};
    for (size_t i = 0; i < COUNT_OF(sides); i++)
        sides[i].variant = variants[i];
    sides[4].unit = BATCH;
    bench_case("forms", sides, COUNT_OF(sides));
    mtaio_emitter_unref(em);
    mtaio_emitter_unref(unheard);
}

/* --- A handler on a pool of one thread, and back ---------------------------------------------------------
 */

/* The same with nothing but a mutex and two conditions, for comparison. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t asked, answered;
    unsigned requests, answers; /* guarded by lock */
    bool quit;                  /* guarded by lock */
} hand = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0, false};

static void *hand_main(void *arg) {
    (void)arg;
    pthread_mutex_lock(&hand.lock);
    while (!hand.quit) {
        if (hand.answers != hand.requests) {
            hand.answers++;
            pthread_cond_signal(&hand.answered);
        } else {
            pthread_cond_wait(&hand.asked, &hand.lock);
        }
    }
    pthread_mutex_unlock(&hand.lock);
    return NULL;
}

static void hand_over(void *state, size_t times) {
    (void)state;
    pthread_mutex_lock(&hand.lock);
    for (; times; times--) {
        hand.requests++;
        pthread_cond_signal(&hand.asked);
        while (hand.answers != hand.requests)
            pthread_cond_wait(&hand.answered, &hand.lock);
    }
    pthread_mutex_unlock(&hand.lock);
}

static int count_in_ctx(mtaio_event *event, void *ctx) {
    (void)event;
    ++*(uint64_t *)ctx;
    return 0;
}

static void pool_case(void) {
    static uint64_t counter;
    pthread_t thread;
    mtaio_executor *pool = NULL;
    if (!bench_wanted("pool"))
        return;
    mtaio_emitter *em = emitter_new(NULL);
    bench_pin(1); /* the threads started here stay on the second processor */
    bench_ok(mtaio_pool_new(1, 0, &pool));
    bench_ok(-pthread_create(&thread, NULL, hand_main, NULL));
    bench_pin(0);
    bench_ok(mtaio_emitter_on(em, "changed",
                              MTAIO_HANDLER(.call = count_in_ctx, .ctx = &counter, .executor = pool), NULL));
    mtaio_name *name = resolve(em);
    bench_side sides[] = {side_of("bare", hand_over, NULL, 0), side_of("mtaio", emit_resolved, name, 1)};
    sides[1].counters = &counter;
    sides[1].counter_count = 1;
    bench_case("pool", sides, COUNT_OF(sides));
    pthread_mutex_lock(&hand.lock);
    hand.quit = true;
    pthread_cond_signal(&hand.asked);
    pthread_mutex_unlock(&hand.lock);
    pthread_join(thread, NULL);
    mtaio_name_unref(name);
    mtaio_emitter_unref(em);
    mtaio_executor_unref(pool);
}

void cases_of_features(void) {
    chain_case();
    deferral_case();
    forms_case();
    pool_case();
}
