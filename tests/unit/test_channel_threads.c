/* test_channel_threads.c - "All subscribers see the messages of a channel in one order, and those of one
 * publisher in the order in which it published them", from any number of threads; races with everything that
 * ends. */
#include "channels.h"

static unsigned rounds_of(unsigned few, unsigned many) { return getenv("MTAIO_STRESS") != NULL ? many : few; }

/* --- One order --------------------------------------------------------------------------------- */

enum { PUBLISHERS = 3, SUBSCRIBERS = 3, EACH = 3000, ALL_MESSAGES = PUBLISHERS * EACH };
struct orders {
    mtaio_channel *ch;
    mtaio_subscriber *subs[SUBSCRIBERS];
    uint64_t seen[SUBSCRIBERS][ALL_MESSAGES];
};

static uint64_t number_of(unsigned publisher, uint64_t n) { return (uint64_t)publisher << 32 | n; }

static void publish_in_turn(struct orders *o, unsigned publisher) {
    mtaio_publication list[8];
    uint64_t numbers[8];
    for (uint64_t i = 0; i < EACH;) {
        uint64_t n = publisher == 0 ? 1 : i % 8 + 1; /* singly, and several at once */
        if (n > EACH - i) n = EACH - i;
        for (uint64_t k = 0; k < n; k++) {
            numbers[k] = number_of(publisher, i + k);
            list[k] = *MTAIO_PUBLICATION(.data = &numbers[k], .bytes = sizeof numbers[k]);
        }
        CHECK(mtaio_channel_publish_many(o->ch, list, n, -1) == (int)n);
        i += n;
    }
}

static void receive_all(struct orders *o, unsigned subscriber) {
    mtaio_message m[16];
    for (size_t got = 0; got < ALL_MESSAGES;) {
        int r = subscriber == 0 ? mtaio_subscriber_receive(o->subs[0], -1, m) + 1
                                : mtaio_subscriber_receive_many(o->subs[subscriber], -1, m, 16);
        CHECK(r > 0);
        for (int i = 0; i < r; i++) {
            CHECK(m[i].missed == 0);
            memcpy(&o->seen[subscriber][got++], mtaio_message_data(&m[i]), sizeof(uint64_t));
            mtaio_message_clear(&m[i]);
        }
    }
}

static void publish_or_receive(unsigned index, void *arg) {
    if (index < PUBLISHERS)
        publish_in_turn(arg, index);
    else
        receive_all(arg, index - PUBLISHERS);
}

static void test_one_order(void **state) {
    (void)state;
    static struct orders o;
    static const size_t limits[SUBSCRIBERS] = {MTAIO_UNBOUNDED, 3, 64};
    o.ch = channel_new();
    for (size_t i = 0; i < SUBSCRIBERS; i++) o.subs[i] = subscribe_limited(o.ch, limits[i], MTAIO_BLOCK);
    support_threads(PUBLISHERS + SUBSCRIBERS, publish_or_receive, &o);
    for (size_t i = 1; i < SUBSCRIBERS; i++) assert_memory_equal(o.seen[i], o.seen[0], sizeof o.seen[0]);
    uint64_t next[PUBLISHERS] = {0};
    for (size_t i = 0; i < ALL_MESSAGES; i++) {
        uint64_t publisher = o.seen[0][i] >> 32;
        assert_int_equal(o.seen[0][i] & UINT32_MAX, next[publisher]++);
    }
    for (size_t i = 0; i < SUBSCRIBERS; i++) mtaio_subscriber_unref(o.subs[i]);
    check_balance(o.ch);
    mtaio_channel_unref(o.ch);
}

/* A publisher that waits keeps its order, also behind its own publication that waits in line. */
static void test_order_of_one(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe_limited(ch, 1, MTAIO_BLOCK);
    publish(ch, NULL, "1");
    OK(mtaio_channel_publish_async(ch, MTAIO_PUBLICATION(.data = "2", .bytes = 2), NULL, NULL));
    struct waiting_publish w = {.ch = ch, .text = "3", .timeout_ns = -1};
    call_begin(&w.call, run_publish, &w);
    assert_waits(&w.call);
    note_next(sub);
    assert_waits(&w.call);
    note_next(sub);
    assert_int_equal(call_end(&w.call), 1);
    note_next(sub);
    assert_noted("1 2 3");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* --- Races: two threads at one channel, aligned each round -------------------------------------- */

struct race;
struct pair {
    const char *name;
    void (*first)(struct race *r), (*second)(struct race *r);
};
struct race {
    struct support_barrier barrier;
    const struct pair *pair;
    mtaio_channel *ch;
    mtaio_subscriber *sub, *other;
    unsigned rounds;
    int published, received, subscribed;
    struct payload p;
};

static void do_publish(struct race *r) { r->published = publish_payload(r->ch, "t", &r->p, 0); }
static void do_publish_text(struct race *r) { CHECK(publish_for(r->ch, "t", "text", 60 * SECOND) == 1); }
static void do_receive(struct race *r) {
    mtaio_message m;
    r->received += mtaio_subscriber_receive(r->sub, 0, &m) == 0;
    if (r->received > 0) mtaio_message_clear(&m);
}
static void do_receive_waiting(struct race *r) {
    mtaio_message m;
    int result;
    while ((result = mtaio_subscriber_receive(r->sub, 60 * SECOND, &m)) == 0) {
        r->received++;
        mtaio_message_clear(&m);
        if (r->pair->second != do_receive_waiting) continue;
        mtaio_channel_close(r->ch); /* the message has come */
    }
    CHECK(result == MTAIO_ECLOSED);
}
static void do_close(struct race *r) { CHECK(mtaio_channel_close(r->ch) == 0); }
static void do_unsubscribe(struct race *r) { CHECK(mtaio_unsubscribe(r->sub) == 1); }
static void do_drop(struct race *r) { r->sub = mtaio_subscriber_unref(r->sub); }
static void do_subscribe(struct race *r) { r->subscribed = mtaio_subscribe(r->ch, "t", &r->other); }
static void do_change(struct race *r) {
    CHECK(mtaio_subscriber_add(r->sub, "u") == 1);
    CHECK(mtaio_subscriber_drop(r->sub, "t") == 1);
}

static const struct pair pairs[] = {
    {"publish, publish", do_publish, do_publish_text},
    {"publish, receive", do_publish, do_receive},
    {"publish, close", do_publish, do_close},
    {"publish, unsubscribe", do_publish, do_unsubscribe},
    {"publish, drop", do_publish, do_drop},
    {"publish, subscribe", do_publish, do_subscribe},
    {"publish, change", do_publish, do_change},
    {"receive waiting, publish", do_publish, do_receive_waiting},
    {"receive waiting, close", do_receive_waiting, do_close},
    {"receive waiting, unsubscribe", do_receive_waiting, do_unsubscribe},
    {"close, unsubscribe", do_close, do_unsubscribe},
    {"close, subscribe", do_close, do_subscribe},
    {"close, drop", do_close, do_drop},
};

static void race_begin(struct race *r) {
    r->ch = NULL;
    r->other = NULL;
    CHECK(mtaio_channel_new(NULL, &r->ch) == 0);
    CHECK(mtaio_subscribe(r->ch, "t", &r->sub) == 0);
    r->received = r->published = 0;
    atomic_store(&r->p.released, 0);
}

/* Whatever happened: the message was delivered, dropped, or refused, and its data released once, or not
 * taken. */
static void race_end(struct race *r) {
    mtaio_subscriber_unref(r->sub);
    if (r->subscribed == 0) mtaio_subscriber_unref(r->other);
    mtaio_channel_stats s = sums_of(r->ch);
    CHECK(s.reached == s.delivered + s.dropped && s.waiting == 0);
    CHECK(s.delivered == (uint64_t)r->received);
    CHECK(r->published >= 0 || r->published == MTAIO_ECLOSED);
    mtaio_channel_unref(r->ch);
    bool tried = r->pair->first == do_publish;
    CHECK(atomic_load(&r->p.released) == (tried && r->published >= 0));
}

static void run_pair(unsigned index, void *arg) {
    struct race *r = arg;
    for (unsigned i = 0; i < r->rounds; i++) {
        if (index == 0) race_begin(r);
        support_barrier_wait(&r->barrier);
        (index == 0 ? r->pair->first : r->pair->second)(r);
        support_barrier_wait(&r->barrier);
        if (index == 0) race_end(r);
    }
}

/* "Every object may be used from any number of threads at once." Hazard 23. */
static void test_pairs(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(pairs); i++) {
        static struct race r;
        r = (struct race){
            .pair = &pairs[i], .rounds = rounds_of(SANITIZED ? 300 : 800, 100000), .subscribed = -1};
        print_message("# %s\n", pairs[i].name);
        support_barrier_init(&r.barrier, 2);
        support_threads(2, run_pair, &r);
    }
    mtaio_reclaim();
}

/* --- On a pool's threads ----------------------------------------------------------------------- */

struct pooled {
    mtaio_executor *pool;
    mtaio_channel *requests, *answers;
    mtaio_subscriber *sub;
    atomic_int done;
};
static int serve(int result, mtaio_message *message, void *ctx) {
    struct pooled *p = ctx;
    if (result < 0) return 0;
    CHECK(mtaio_executor_is_current(p->pool));
    CHECK(mtaio_channel_publish(p->answers, MTAIO_PUBLICATION(.message = message), -1) == 1);
    mtaio_message_clear(message);
    return 1;
}
static void ask(void *arg) {
    struct pooled *p = arg;
    mtaio_message m;
    CHECK(publish(p->requests, NULL, "ask") == 1);
    CHECK(mtaio_receive(p->sub, &m) == 0); /* meanwhile this thread does other jobs: those that answer it */
    mtaio_message_clear(&m);
    atomic_fetch_add(&p->done, 1);
}

/* A pool's thread that waits for a message runs the jobs for which no thread is free: a pool never waits for
 * itself. */
static void test_pool(void **state) {
    (void)state;
    struct pooled p = {.requests = channel_new(), .answers = channel_new()};
    OK(mtaio_pool_new(1, 0, &p.pool));
    mtaio_subscriber *in = subscribe(p.requests, NULL);
    p.sub = subscribe(p.answers, NULL);
    OK(mtaio_subscriber_receive_async(in, MTAIO_RECEIVER(.call = serve, .ctx = &p, .executor = p.pool),
                                      NULL));
    for (int i = 0; i < 50; i++) OK(mtaio_executor_post(p.pool, ask, NULL, &p));
    EVENTUALLY(atomic_load(&p.done) == 50);
    mtaio_channel_unref(p.requests);
    mtaio_subscriber_unref(in);
    OK(mtaio_executor_close(p.pool)); /* the receiver has been told of the end */
    mtaio_executor_unref(p.pool);
    mtaio_subscriber_unref(p.sub);
    mtaio_channel_unref(p.answers);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_one_order),
        TEST(test_order_of_one),
        TEST(test_pairs),
        TEST(test_pool),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
