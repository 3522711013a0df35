/* test_channel_alloc_sweep.c - "Out of memory is an error return that leaves everything as it was": each
 * function of channels that may allocate, with every one of its allocations failing in turn, once and from
 * then on (hazard 20). And what ends things allocates nothing (hazard 21). */
#include "channels.h"

struct world {
    mtaio_channel *ch;
    mtaio_subscriber *all, *some, *full; /* full: publishing without a topic has to wait for it */
    mtaio_message message;               /* handed over, with a topic */
    mtaio_metadata *metadata;
    mtaio_publisher *publisher;
    mtaio_emitter *em;
    struct payload p, q;
    void *made; /* what the scenario's call gave */
    mtaio_subscriber *many[40];
};

struct scenario {
    const char *name;
    int (*call)(struct world *w);
    void (*undo)(struct world *w); /* gives back what the call made; may be NULL */
    int expected;                  /* where there is memory */
};

static void make_world(struct world *w) {
    static const char *const some[] = {"a.*", "b", NULL};
    *w = (struct world){.ch = channel_with(MTAIO_CHANNEL_OPTIONS(.name = "world", .replay = 3))};
    w->all = subscribe(w->ch, "**");
    w->some = subscribe_with(w->ch, MTAIO_SUBSCRIPTION(.patterns = some, .buffer_size = 100));
    for (int i = 0; i < 4; i++) CHECK(publish(w->ch, i % 2 != 0 ? "a.b" : "c", "small") == 1 + i % 2);
    strcpy(w->p.text, "payload");
    CHECK(publish_payload(w->ch, "b", &w->p, 0) == 2);
    mtaio_message m;
    for (int i = 0; i < 3; i++) {
        OK(mtaio_receive(w->some, i < 2 ? &m : &w->message));
        if (i < 2) mtaio_message_clear(&m);
    }
    w->full = subscribe_with(w->ch, MTAIO_SUBSCRIPTION(.patterns = (const char *const[]){"full", NULL},
                                                       .buffer_size = 1, .no_replay = true));
    CHECK(publish(w->ch, "full", "fills") == 2);
    OK(mtaio_metadata_new(&w->metadata));
    OK(mtaio_metadata_set(w->metadata, "k", "v"));
    OK(mtaio_publisher_new(w->ch, MTAIO_PUBLISHER_OPTIONS(.topic = "c", .batch = 100), &w->publisher));
    CHECK(mtaio_publisher_publish(w->publisher, MTAIO_PUBLICATION(.data = "1", .bytes = 2), 0) == 0);
    w->em = emitter_new();
    for (size_t i = 0; i < COUNT(w->many); i++)
        w->many[i] = subscribe_with(
            w->ch, MTAIO_SUBSCRIPTION(.patterns = (const char *const[]){"none", NULL}, .no_replay = true));
}

static void end_world(struct world *w) {
    mtaio_message_clear(&w->message);
    mtaio_metadata_unref(w->metadata);
    mtaio_publisher_unref(w->publisher);
    mtaio_emitter_unref(w->em);
    for (size_t i = 0; i < COUNT(w->many); i++) mtaio_subscriber_unref(w->many[i]);
    mtaio_subscriber_unref(w->all);
    mtaio_subscriber_unref(w->some);
    mtaio_subscriber_unref(w->full);
    check_balance(w->ch);
    mtaio_channel_unref(w->ch);
    mtaio_reclaim();
    CHECK(w->p.released == 1);
    forget_notes();
}

static void describe(struct world *w, char *text) {
    static const char *const names[] = {"a.b", "b", "c", "full", "new", NULL};
    mtaio_channel_stats s = sums_of(w->ch);
    sprintf(text, "%zu %zu, %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 ",",
            mtaio_channel_count(w->ch), mtaio_emitter_count(w->em, NULL), s.published, s.reached, s.delivered,
            s.dropped, s.waiting, s.refused);
    for (size_t i = 0; i < COUNT(names); i++)
        sprintf(text + strlen(text), " %d", mtaio_channel_reach(w->ch, names[i]));
    const mtaio_subscriber *subs[] = {w->all, w->some, w->full};
    for (size_t i = 0; i < COUNT(subs); i++) {
        mtaio_subscriber_stats sub = subscriber_sums_of(subs[i]);
        sprintf(text + strlen(text), ", %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, sub.reached,
                sub.delivered, sub.waiting, sub.high_water);
    }
    sprintf(text + strlen(text), ", %d %d", w->p.released, w->q.released);
    sprintf(text + strlen(text), " %s %s", (const char *)mtaio_message_data(&w->message),
            mtaio_message_topic(&w->message));
}

/* --- Scenarios: making ------------------------------------------------------------------------- */

static int call_channel(struct world *w) {
    return mtaio_channel_new(MTAIO_CHANNEL_OPTIONS(.name = "n", .replay = 5, .replay_by_topic = true),
                             (mtaio_channel **)&w->made);
}
static void undo_channel(struct world *w) { w->made = mtaio_channel_unref(w->made); }

static int call_subscribe(struct world *w) {
    return mtaio_subscribe(w->ch, "new.*", (mtaio_subscriber **)&w->made);
}
static int call_subscribe_all(struct world *w) {
    return mtaio_channel_subscribe(w->ch, NULL, (mtaio_subscriber **)&w->made);
}
static int call_subscribe_many(struct world *w) {
    static const char *const patterns[] = {"new", "a.b", "x.**", "*.y.*", "a.*", "**.z", NULL};
    return mtaio_channel_subscribe(w->ch, MTAIO_SUBSCRIPTION(.patterns = patterns, .buffer_size = 2),
                                   (mtaio_subscriber **)&w->made);
}
static void undo_subscriber(struct world *w) { w->made = mtaio_subscriber_unref(w->made); }

static int call_add(struct world *w) { return mtaio_subscriber_add(w->some, "new"); }
static int call_add_pattern(struct world *w) { return mtaio_subscriber_add(w->some, "x.*.**"); }
static int call_add_first(struct world *w) { return mtaio_subscriber_add(w->all, "a.b"); }
static int call_reach(struct world *w) { return mtaio_channel_reach(w->ch, "a.unseen"); }

static int call_publisher(struct world *w) {
    return mtaio_publisher_new(w->ch, MTAIO_PUBLISHER_OPTIONS(.topic = "c", .batch = 2),
                               (mtaio_publisher **)&w->made);
}
static void undo_publisher(struct world *w) { w->made = mtaio_publisher_unref(w->made); }

static int call_to_channel(struct world *w) {
    return mtaio_emitter_to_channel(w->em, "x.*", w->ch, (mtaio_listener **)&w->made);
}
static void undo_listener(struct world *w) {
    assert_int_equal(mtaio_listener_cancel(w->made), 1);
    w->made = mtaio_listener_unref(w->made);
}
static int call_to_emitter(struct world *w) {
    return mtaio_subscriber_to_emitter(w->many[0], w->em, "n", NULL, (mtaio_pending **)&w->made);
}
static void undo_pending(struct world *w) {
    mtaio_pending_cancel(w->made);
    w->made = mtaio_pending_unref(w->made);
}

/* --- Scenarios: publishing --------------------------------------------------------------------- */

static int call_publish(struct world *w) { return publish_now(w->ch, NULL, "x"); }
static int call_publish_topic(struct world *w) { return mtaio_publish(w->ch, "a.new", "x", 2); }
static int call_publish_big(struct world *w) {
    char big[3000] = {0};
    return mtaio_publish(w->ch, "a.b", big, sizeof big);
}
static int call_publish_payload(struct world *w) { return publish_payload(w->ch, "b", &w->q, 0); }
static int call_publish_metadata(struct world *w) {
    return mtaio_channel_publish(
        w->ch, MTAIO_PUBLICATION(.topic = "a.b", .data = "x", .bytes = 2, .metadata = w->metadata), 0);
}
static int call_publish_message(struct world *w) {
    return mtaio_channel_publish(w->ch, MTAIO_PUBLICATION(.message = &w->message), 0);
}
static int call_publish_message_topic(struct world *w) {
    return mtaio_channel_publish(w->ch, MTAIO_PUBLICATION(.message = &w->message, .topic = "a.other"), 0);
}

static void be_told(int result, void *ctx) {
    (void)ctx;
    CHECK(result > 0 || result == MTAIO_ECANCELED);
}
static int call_async(struct world *w) {
    return mtaio_channel_publish_async(w->ch, MTAIO_PUBLICATION(.topic = "a.b", .data = "x", .bytes = 2),
                                       MTAIO_PUBLISHED(.call = be_told), (mtaio_pending **)&w->made);
}
static int call_async_waits(struct world *w) {
    return mtaio_channel_publish_async(w->ch,
                                       MTAIO_PUBLICATION(.topic = "full", .data = w->q.text, .bytes = 2,
                                                         .release = release_payload, .metadata = w->metadata),
                                       MTAIO_PUBLISHED(.call = be_told), (mtaio_pending **)&w->made);
}
static int call_gather(struct world *w) {
    char big[500] = {0};
    return mtaio_publisher_publish(w->publisher, MTAIO_PUBLICATION(.data = big, .bytes = sizeof big), 0);
}
static int call_flush(struct world *w) { return mtaio_publisher_flush(w->publisher, 0); }

/* --- Scenarios: receiving ---------------------------------------------------------------------- */

static int take(int result, mtaio_message *message, void *ctx) {
    (void)ctx;
    if (result == 0) mtaio_message_clear(message);
    return 1;
}
static void ready(void *ctx) { (void)ctx; }

static int call_receive_async(struct world *w) {
    return mtaio_subscriber_receive_async(w->many[0], MTAIO_RECEIVER(.call = take),
                                          (mtaio_pending **)&w->made);
}
static int call_watch(struct world *w) {
    return mtaio_subscriber_watch(w->many[0], MTAIO_WATCH(.ready = ready), (mtaio_pending **)&w->made);
}
static int call_fd(struct world *w) { return mtaio_subscriber_fd(w->all) < 0 ? -1 : 0; }
static int call_select(struct world *w) { return mtaio_select(w->many, COUNT(w->many), 1000); }
static int call_receive(struct world *w) {
    mtaio_message m;
    return mtaio_subscriber_receive(w->many[0], 1000, &m);
}

static const struct scenario scenarios[] = {
    {"channel", call_channel, undo_channel, 0},
    {"subscribe", call_subscribe, undo_subscriber, 0},
    {"subscribe, everything and replayed", call_subscribe_all, undo_subscriber, 0},
    {"subscribe, many patterns", call_subscribe_many, undo_subscriber, 0},
    {"add", call_add, NULL, 1},
    {"add, pattern", call_add_pattern, NULL, 1},
    {"add, another", call_add_first, NULL, 1},
    {"reach", call_reach, NULL, 2},
    {"publisher", call_publisher, undo_publisher, 0},
    {"emitter to channel", call_to_channel, undo_listener, 0},
    {"channel to emitter", call_to_emitter, undo_pending, 0},
    {"publish, no room", call_publish, NULL, MTAIO_EAGAIN},
    {"publish, topic", call_publish_topic, NULL, 2},
    {"publish, big", call_publish_big, NULL, 2},
    {"publish, handed over", call_publish_payload, NULL, 2},
    {"publish, metadata", call_publish_metadata, NULL, 2},
    {"publish, message", call_publish_message, NULL, 2},
    {"publish, message with another topic", call_publish_message_topic, NULL, 2},
    {"publish async", call_async, undo_pending, 0},
    {"publish async, waits", call_async_waits, undo_pending, 0},
    {"gather", call_gather, NULL, 0},
    {"flush", call_flush, NULL, 1},
    {"receive async", call_receive_async, undo_pending, 0},
    {"watch", call_watch, undo_pending, 0},
    {"descriptor", call_fd, NULL, 0},
    {"select", call_select, NULL, MTAIO_ETIMEDOUT},
    {"receive", call_receive, NULL, MTAIO_ETIMEDOUT},
};

static void run_scenario(const struct scenario *s, struct support_sweep *sweep) {
    struct world w;
    char before[1024], after[1024];
    make_world(&w);
    describe(&w, before);
    support_arm(sweep);
    int r = s->call(&w);
    bool failed = support_disarm(sweep);
    if (failed && r != s->expected) {
        assert_int_equal(r, MTAIO_ENOMEM);
        describe(&w, after);
        assert_string_equal(after, before);
        OK(mtaio_metadata_set(w.metadata, "k", "v")); /* nobody holds it */
        r = s->call(&w);                              /* there is memory again */
    }
    assert_int_equal(r, s->expected);
    if (s->undo != NULL) s->undo(&w);
    end_world(&w);
}

static void test_scenarios(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(scenarios); i++) {
        print_message("# %s\n", scenarios[i].name);
        SWEEP(sweep)
        run_scenario(&scenarios[i], &sweep);
    }
}

/* --- What allocates nothing -------------------------------------------------------------------- */

/* Receiving, dropping a pattern, unsubscribing, cancelling, closing and giving back. Hazard 21. */
static void test_ending(void **state) {
    (void)state;
    struct world w;
    mtaio_pending *pending[3];
    mtaio_message m[4];
    make_world(&w);
    OK(call_async_waits(&w));
    pending[0] = w.made;
    OK(call_receive_async(&w));
    pending[1] = w.made;
    OK(call_watch(&w));
    pending[2] = w.made;
    assert_true(mtaio_subscriber_fd(w.all) >= 0);
    size_t before = support_allocations();
    support_fail_at(1, true);
    for (int i = 0; i < 3; i++) assert_int_equal(mtaio_pending_cancel(pending[i]), 1);
    assert_int_equal(mtaio_subscriber_drop(w.some, "a.*"), 1);
    OK(mtaio_subscriber_receive(w.all, -1, m));
    mtaio_message_clear(m);
    int r = mtaio_subscriber_receive_many(w.all, -1, m, 4);
    assert_true(r > 0);
    while (r > 0) mtaio_message_clear(&m[--r]);
    assert_int_equal(mtaio_unsubscribe(w.some), 1);
    OK(mtaio_channel_close(w.ch));
    for (int i = 0; i < 3; i++) mtaio_pending_unref(pending[i]);
    end_world(&w);
    assert_int_equal(support_allocations(), before);
    support_fail_at(0, false);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_scenarios), TEST(test_ending)};
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
