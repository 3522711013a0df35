/* test_depth.c - "An emission nested too deep ends in a clear error, never in a crashed stack": in every way
 * in which emissions can nest, on small stacks. Hazard 8. */
#include "record.h"

/* Runs on a thread whose stack is small; what is without end must meet the limit before the stack's. */
static void on_small_stack(void *(*run)(void *arg), void *arg) {
    pthread_attr_t attr;
    pthread_t thread;
    OK(pthread_attr_init(&attr));
    OK(pthread_attr_setstacksize(&attr, SANITIZED ? 4 << 20 : 512 << 10));
    OK(pthread_create(&thread, &attr, run, arg));
    OK(pthread_join(thread, NULL));
    OK(pthread_attr_destroy(&attr));
}

struct dive {
    mtaio_emitter *em;
    int (*emit)(struct dive *d); /* emits "x" once more */
    unsigned depth, deepest, wanted, calls;
    int last;         /* what the innermost emit answered */
    unsigned refused; /* how often it was not 0 or more */
    mtaio_name *name;
};

static int dive(mtaio_event *event, void *ctx) {
    struct dive *d = ctx;
    (void)event;
    d->calls++;
    if (d->depth == d->wanted)
        return 0;
    d->depth++;
    d->deepest = d->depth > d->deepest ? d->depth : d->deepest;
    int r = d->emit(d);
    if (r < 0) {
        d->last = r;
        d->refused++;
    }
    d->depth--;
    return 0;
}

/* --- Ways to nest ----------------------------------------------------------------------------------------
 */

static int emit_plain(struct dive *d) { return mtaio_emit(d->em, "x", NULL); }
static int emit_other(struct dive *d) { return mtaio_emit(d->em, d->depth % 2 != 0 ? "x" : "y", NULL); }
static int emit_resolved(struct dive *d) { return mtaio_emit_name(d->name, NULL); }
static int emit_full(struct dive *d) { return mtaio_emit_with(d->em, MTAIO_EMISSION(.name = "x")); }

static void ignore_done(int result, const mtaio_report *report, void *ctx) {
    (void)result;
    (void)report;
    (void)ctx;
}

static int emit_async(struct dive *d) {
    mtaio_event *event = NULL;
    CHECK(mtaio_event_new("x", NULL, NULL, &event) == 0);
    int r = mtaio_emit_async(d->em, event, MTAIO_ASYNC(.done = ignore_done));
    mtaio_event_unref(event);
    return r;
}

static int emit_nowait(struct dive *d) {
    mtaio_event *event = NULL;
    CHECK(mtaio_event_new("x", NULL, NULL, &event) == 0);
    int r = mtaio_emit_nowait(d->em, event);
    mtaio_event_unref(event);
    return r;
}

static int emit_batch(struct dive *d) {
    mtaio_batch *batch = NULL;
    CHECK(mtaio_batch_new(d->em, &batch) == 0);
    CHECK(mtaio_batch_emit(batch, "x", NULL) == 0);
    int r = mtaio_batch_end(batch, NULL);
    if (r == MTAIO_EDEPTH)
        CHECK(mtaio_batch_count(batch) == 1); /* nothing is lost */
    mtaio_batch_unref(batch);
    return r;
}

static int emit_replay(struct dive *d) {
    mtaio_suppression *s = NULL;
    CHECK(mtaio_emitter_suppress(d->em, "x", &s) == 0);
    CHECK(mtaio_emit(d->em, "x", NULL) == 0);
    int r = mtaio_suppression_replay(s);
    if (r == MTAIO_EDEPTH)
        CHECK(mtaio_suppression_count(s) == 1); /* nothing is lost */
    mtaio_suppression_unref(s);
    return r;
}

static const struct way {
    const char *name;
    int (*emit)(struct dive *d);
} ways[] = {
    {"emit", emit_plain},      {"emit x and y", emit_other}, {"emit name", emit_resolved},
    {"emit with", emit_full},  {"emit async", emit_async},   {"emit nowait", emit_nowait},
    {"batch end", emit_batch}, {"replay", emit_replay},
};

static void *dive_deep(void *arg) {
    struct dive *d = arg;
    for (d->wanted = 1; d->wanted < MTAIO_DEPTH_MAX; d->wanted = 2 * d->wanted + 1) { /* 255, too */
        d->deepest = d->calls = d->refused = 0;
        CHECK(mtaio_emit(d->em, "x", NULL) == 1);
        CHECK(d->refused == 0 && d->deepest == d->wanted && d->calls == d->wanted + 1);
    }
    d->wanted = UINT32_MAX; /* without end */
    d->deepest = d->calls = d->refused = 0;
    CHECK(mtaio_emit(d->em, "x", NULL) == 1);
    CHECK(d->refused == 1 && d->last == MTAIO_EDEPTH);
    CHECK(d->deepest == MTAIO_DEPTH_MAX && d->calls == MTAIO_DEPTH_MAX);
    return NULL;
}

/* A handler emitting itself, or in a circle: MTAIO_DEPTH_MAX emissions run, the next is refused with EDEPTH.
 */
static void test_handlers(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(ways); i++) {
        struct dive d = {.em = emitter_new(), .emit = ways[i].emit};
        print_message("# %s\n", ways[i].name);
        OK(mtaio_on(d.em, "x", dive, &d));
        OK(mtaio_on(d.em, "y", dive, &d));
        OK(mtaio_emitter_resolve(d.em, "x", &d.name));
        on_small_stack(dive_deep, &d);
        mtaio_name_unref(d.name);
        mtaio_emitter_unref(d.em);
    }
    blocks_before = support_live_blocks(); /* the library keeps room for deep nesting */
}

/* --- Derived emitters ------------------------------------------------------------------------------------
 */

static int pass(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 1;
}

static int same(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    (void)event;
    (void)mapped;
    (void)ctx;
    return 0;
}

static void *emit_through(void *arg) {
    mtaio_report report = MTAIO_REPORT();
    int r = mtaio_emit_with(arg, MTAIO_EMISSION(.name = "x", .report = &report));
    CHECK(r >= 1 || (r == MTAIO_EHANDLER && report.first_error == MTAIO_EDEPTH));
    return NULL;
}

/* A chain of filters and maps of any length: either refused when it is made, or the emission ends in EDEPTH.
 */
static void test_chain(void **state) {
    (void)state;
    enum { LINKS = 1000 };
    static mtaio_emitter *chain[LINKS + 1];
    struct actor a = {.tag = "a"};
    int n = 0, r = 0;
    chain[0] = emitter_new();
    while (n < LINKS && r == 0) {
        r = n % 2 != 0 ? mtaio_emitter_filter(chain[n], NULL, MTAIO_FILTER(.call = pass), &chain[n + 1])
                       : mtaio_emitter_map(chain[n], NULL, MTAIO_MAP(.call = same), &chain[n + 1]);
        assert_true(r == 0 || r == MTAIO_EDEPTH);
        n += r == 0;
    }
    assert_true(n >= 50);
    listen(chain[50], "x", &a);
    on_small_stack(emit_through, chain[0]);
    assert_noted("a");
    listen(chain[n], "x", &a);
    on_small_stack(emit_through, chain[0]);
    forget_notes();
    for (; n >= 0; n--)
        mtaio_emitter_unref(chain[n]);
    mtaio_reclaim();
}

static void *emit_circle(void *arg) {
    mtaio_report report = MTAIO_REPORT();
    CHECK(mtaio_emit_with(arg, MTAIO_EMISSION(.name = "x", .report = &report)) == MTAIO_EHANDLER);
    CHECK(report.first_error == MTAIO_EDEPTH);
    mtaio_event *event = NULL;
    CHECK(mtaio_event_new("x", NULL, NULL, &event) == 0);
    support_fail_at(100000, true); /* a circle without end must not take all the memory there is */
    CHECK(mtaio_emit_async(arg, event, MTAIO_ASYNC(.done = note_done)) == 0);
    CHECK(support_failures() == 0);
    support_fail_at(0, false);
    mtaio_event_unref(event);
    return NULL;
}

/* Pipes in a circle. */
static void test_circle(void **state) {
    (void)state;
    mtaio_emitter *one = emitter_new(), *two = emitter_new();
    mtaio_listener *back = NULL;
    OK(mtaio_emitter_pipe(one, "*", two, NULL));
    OK(mtaio_emitter_pipe(two, "*", one, &back));
    on_small_stack(emit_circle, one);
    assert_noted("done:MTAIO_EHANDLER");
    assert_int_equal(mtaio_listener_cancel(back), 1); /* or they would keep each other alive */
    mtaio_listener_unref(back);
    mtaio_emitter_unref(one);
    mtaio_emitter_unref(two);
    mtaio_reclaim();
}

/* --- One after another -----------------------------------------------------------------------------------
 */

struct relay {
    mtaio_emitter *em;
    unsigned left, done;
    int last;
};

static void start_next(int result, const mtaio_report *report, void *ctx) {
    struct relay *relay = ctx;
    (void)report;
    CHECK(result >= 0);
    relay->done++;
    if (relay->left == 0)
        return;
    relay->left--;
    mtaio_event *event = NULL;
    CHECK(mtaio_event_new("x", NULL, NULL, &event) == 0);
    int r = mtaio_emit_async(relay->em, event, MTAIO_ASYNC(.done = start_next, .ctx = relay));
    if (r < 0)
        relay->last = r;
    mtaio_event_unref(event);
}

static void *run_relay(void *arg) {
    struct relay *relay = arg;
    start_next(0, NULL, relay);
    return NULL;
}

/* An emission that is started when the one before is done: as often as one likes, or an EDEPTH. */
static void test_relay(void **state) {
    (void)state;
    struct relay relay = {.em = emitter_new(), .left = 20000};
    on_small_stack(run_relay, &relay);
    if (relay.last != 0)
        assert_int_equal(relay.last, MTAIO_EDEPTH);
    else
        assert_int_equal(relay.done, 20001);
    mtaio_emitter_unref(relay.em);
    blocks_before = support_live_blocks();
}

enum { DOMINOES = 20000 };

struct dominoes {
    mtaio_emitter *em;
    mtaio_deferral *deferrals[DOMINOES];
    unsigned standing, fallen, done;
};

static int stand(mtaio_event *event, void *ctx) {
    struct dominoes *d = ctx;
    return mtaio_event_defer(event, &d->deferrals[d->standing++]);
}

/* The second handler of each emission, when the first is completed, completes the next emission's. */
static int push_next(mtaio_event *event, void *ctx) {
    struct dominoes *d = ctx;
    (void)event;
    unsigned next = ++d->fallen;
    if (next < DOMINOES)
        CHECK(mtaio_deferral_complete(d->deferrals[next], 0) == 0);
    return 0;
}

static void count_done(int result, const mtaio_report *report, void *ctx) {
    (void)report;
    CHECK(result == 2);
    ((struct dominoes *)ctx)->done++;
}

static void *push_first(void *arg) {
    struct dominoes *d = arg;
    CHECK(mtaio_deferral_complete(d->deferrals[0], 0) == 0);
    return NULL;
}

/* Emissions that rest, each completing the next: completing always works, so it must not use up the stack. */
static void test_dominoes(void **state) {
    (void)state;
    static struct dominoes d;
    d = (struct dominoes){.em = emitter_new()};
    mtaio_event *event = event_new("x", NULL);
    OK(mtaio_on(d.em, "x", stand, &d));
    OK(mtaio_on(d.em, "x", push_next, &d));
    for (unsigned i = 0; i < DOMINOES; i++)
        OK(mtaio_emit_async(d.em, event, MTAIO_ASYNC(.done = count_done, .ctx = &d)));
    on_small_stack(push_first, &d);
    assert_int_equal(d.done, DOMINOES);
    for (unsigned i = 0; i < DOMINOES; i++)
        mtaio_deferral_unref(d.deferrals[i]);
    mtaio_event_unref(event);
    mtaio_emitter_unref(d.em);
}

/* Jobs of a pool within each other, as deep as they may be: waiting would run one more, and answers that instead. */
struct jobs {
    mtaio_executor *pool, *other;
    mtaio_emitter *em;
    mtaio_channel *ch;
    mtaio_subscriber *full, *empty;
    mtaio_deferral *deferral;
    int depth, status;
    atomic_bool open, done;
};

static int promise(mtaio_event *event, void *ctx) { return mtaio_event_defer(event, &((struct jobs *)ctx)->deferral); }

static void note_status(const mtaio_failure *failure, void *ctx) { ((struct jobs *)ctx)->status = failure->status; }

static void do_nothing(void *arg) { (void)arg; }

static void wait_for_gate(void *arg) { EVENTUALLY(atomic_load(&((struct jobs *)arg)->open)); }

static void wait_in_every_way(struct jobs *j) {
    mtaio_event *event = NULL;
    mtaio_message m;
    CHECK(mtaio_emitter_wait(j->em, "x", NULL, NULL, -1, &event) == MTAIO_EDEPTH);
    CHECK(mtaio_emit_with(j->em, MTAIO_EMISSION(.name = "x", .failure = note_status, .ctx = j)) == MTAIO_EHANDLER);
    CHECK(j->status == MTAIO_EDEPTH && mtaio_deferral_complete(j->deferral, 0) == MTAIO_EALREADY);
    CHECK(mtaio_receive(j->empty, &m) == MTAIO_EDEPTH);
    CHECK(mtaio_select(&j->empty, 1, -1) == MTAIO_EDEPTH);
    CHECK(mtaio_publish(j->ch, "full", "y", 2) == MTAIO_EDEPTH);
    CHECK(mtaio_executor_post(j->other, do_nothing, do_nothing, j) == MTAIO_EDEPTH);
}

static void go_deeper(void *arg) {
    struct jobs *j = arg;
    if (++j->depth < MTAIO_DEPTH_MAX) {
        CHECK(mtaio_executor_post(j->pool, go_deeper, do_nothing, j) == 0); /* the queue is full: it runs at once */
        return;
    }
    wait_in_every_way(j);
    atomic_store(&j->done, true);
}

static void begin_to_go_deep(void *arg) {
    struct jobs *j = arg;
    j->depth = 1;
    CHECK(mtaio_executor_post(j->pool, do_nothing, do_nothing, j) == 0); /* fills the queue */
    CHECK(mtaio_executor_post(j->pool, go_deeper, do_nothing, j) == 0);
}

static void test_jobs(void **state) {
    (void)state;
    struct jobs j = {.em = emitter_new()};
    OK(mtaio_on(j.em, "x", promise, &j));
    OK(mtaio_channel_new(NULL, &j.ch));
    OK(mtaio_channel_subscribe(
        j.ch, MTAIO_SUBSCRIPTION(.patterns = (const char *[]){"full", NULL}, .buffer_size = 1), &j.full));
    OK(mtaio_subscribe(j.ch, "empty", &j.empty));
    assert_int_equal(mtaio_publish(j.ch, "full", "x", 2), 1);
    OK(mtaio_pool_new(1, 1, &j.pool));
    OK(mtaio_pool_new(1, 1, &j.other));
    OK(mtaio_executor_post(j.other, wait_for_gate, do_nothing, &j));
    OK(mtaio_executor_post(j.other, do_nothing, do_nothing, &j)); /* waits for room until the first has begun */
    OK(mtaio_executor_post(j.pool, begin_to_go_deep, do_nothing, &j));
    EVENTUALLY(atomic_load(&j.done));
    atomic_store(&j.open, true);
    mtaio_executor_unref(j.pool);
    mtaio_executor_unref(j.other);
    mtaio_deferral_unref(j.deferral);
    mtaio_subscriber_unref(j.full);
    mtaio_subscriber_unref(j.empty);
    mtaio_channel_unref(j.ch);
    mtaio_emitter_unref(j.em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_handlers), TEST(test_chain), TEST(test_circle), TEST(test_relay), TEST(test_dominoes),
        TEST(test_jobs),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
