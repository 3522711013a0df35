/* test_channel_arguments.c - "Every public function checks its arguments and answers with an error": of the
 * functions of channels each argument wrong once, the documented answer, and nothing changed: neither the
 * channel nor *ret. Hazard 45. */
#include "channels.h"

static struct world {
    mtaio_channel *ch, *closed;
    mtaio_subscriber *sub, *ended;
    mtaio_pending *pending;
    mtaio_publisher *publisher;
    mtaio_emitter *em, *em_closed;
    mtaio_message message;
} w;

static int untouched_;
static void *const untouched = &untouched_;

static int take(int result, mtaio_message *message, void *ctx) {
    (void)result;
    (void)ctx;
    mtaio_message_clear(message);
    return 0;
}
static void be_told(int result, void *ctx) {
    (void)result;
    (void)ctx;
}
static void ready(void *ctx) { (void)ctx; }

static void make_world(void) {
    w = (struct world){.ch = channel_with(MTAIO_CHANNEL_OPTIONS(.name = "n", .buffer_size = 4)),
                       .closed = channel_new()};
    w.sub = subscribe(w.ch, "x.*");
    w.ended = subscribe(w.ch, NULL);
    publish(w.ch, "x.y", "1");
    publish(w.ch, "x.y", "2");
    OK(mtaio_receive(w.sub, &w.message));
    mtaio_unsubscribe(w.ended);
    mtaio_channel_close(w.closed);
    mtaio_subscriber *other = subscribe(w.ch, "y");
    OK(mtaio_subscriber_watch(other, MTAIO_WATCH(.ready = ready), &w.pending));
    mtaio_unsubscribe(other);
    mtaio_subscriber_unref(other);
    OK(mtaio_publisher_new(w.ch, MTAIO_PUBLISHER_OPTIONS(.topic = "x.p", .batch = 3), &w.publisher));
    w.em = emitter_new();
    w.em_closed = emitter_new();
    mtaio_emitter_close(w.em_closed);
}

static void end_world(void) {
    mtaio_message_clear(&w.message);
    mtaio_pending_unref(w.pending);
    mtaio_publisher_unref(w.publisher);
    mtaio_subscriber_unref(w.sub);
    mtaio_subscriber_unref(w.ended);
    mtaio_channel_unref(w.ch);
    mtaio_channel_unref(w.closed);
    mtaio_emitter_unref(w.em);
    mtaio_emitter_unref(w.em_closed);
    mtaio_reclaim();
}

static void describe(char *text) {
    mtaio_channel_stats s = sums_of(w.ch), c = sums_of(w.closed);
    mtaio_subscriber_stats sub = subscriber_sums_of(w.sub), ended = subscriber_sums_of(w.ended);
    sprintf(text, "%d %d %zu %d %d %s,", mtaio_channel_is_closed(w.ch), mtaio_channel_is_closed(w.closed),
            mtaio_channel_count(w.ch), mtaio_channel_reach(w.ch, "x.y"), mtaio_channel_reach(w.ch, NULL),
            (const char *)mtaio_message_data(&w.message));
    const uint64_t sums[] = {s.published,   s.reached,      s.delivered, s.dropped,
                             s.waiting,     s.refused,      c.published, sub.reached,
                             sub.delivered, sub.high_water, sub.waiting, ended.dropped};
    for (size_t i = 0; i < COUNT(sums); i++) sprintf(text + strlen(text), "%" PRIu64 " ", sums[i]);
    sprintf(text + strlen(text), "%zu", mtaio_emitter_count(w.em, NULL));
}

#define REFUSED(expected, call)                                                                              \
    do {                                                                                                     \
        char before_[512], after_[512];                                                                      \
        describe(before_);                                                                                   \
        assert_int_equal((call), (expected));                                                                \
        describe(after_);                                                                                    \
        assert_string_equal(after_, before_);                                                                \
    } while (0)

/* One that gives an object: the same, and *ret is not touched. T is what ret points to. */
#define REFUSED_RET(expected, T, call)                                                                       \
    do {                                                                                                     \
        T *ret = untouched;                                                                                  \
        REFUSED(expected, call);                                                                             \
        assert_ptr_equal(ret, untouched);                                                                    \
    } while (0)

/* A struct that carries its size: none, one byte too few, one too many. */
#define BAD_SIZES(args, refused)                                                                             \
    do {                                                                                                     \
        size_t right_ = (args).size;                                                                         \
        for (int i_ = 0; i_ < 3; i_++) {                                                                     \
            (args).size = i_ == 0 ? 0 : i_ == 1 ? right_ - 1 : right_ + 1;                                   \
            refused;                                                                                         \
        }                                                                                                    \
        (args).size = right_;                                                                                \
    } while (0)

/* --- Channels ---------------------------------------------------------------------------------- */

static void test_channels(void **state) {
    (void)state;
    make_world();
    mtaio_channel_options o = *MTAIO_CHANNEL_OPTIONS(.name = "o");
    REFUSED(MTAIO_EINVAL, mtaio_channel_new(NULL, NULL));
    BAD_SIZES(o, REFUSED_RET(MTAIO_EINVAL, mtaio_channel, mtaio_channel_new(&o, &ret)));
    o.overflow = (mtaio_overflow)(MTAIO_REFUSE + 1);
    REFUSED_RET(MTAIO_EINVAL, mtaio_channel, mtaio_channel_new(&o, &ret));
    o.overflow = (mtaio_overflow)-1;
    REFUSED_RET(MTAIO_EINVAL, mtaio_channel, mtaio_channel_new(&o, &ret));
    assert_null(mtaio_channel_ref(NULL));
    assert_null(mtaio_channel_unref(NULL));
    REFUSED(MTAIO_EINVAL, mtaio_channel_close(NULL));
    REFUSED(0, mtaio_channel_close(w.closed));
    assert_true(mtaio_channel_is_closed(NULL));
    assert_null(mtaio_channel_name(NULL));
    assert_int_equal(mtaio_channel_count(NULL), 0);
    REFUSED(MTAIO_EINVAL, mtaio_channel_reach(NULL, "x"));
    REFUSED(MTAIO_ENAME, mtaio_channel_reach(w.ch, "x.*"));
    REFUSED(MTAIO_ENAME, mtaio_channel_reach(w.ch, ""));
    REFUSED(0, mtaio_channel_reach(w.closed, "x"));
    mtaio_channel_stats s = {.size = sizeof s};
    REFUSED(MTAIO_EINVAL, mtaio_channel_stats_get(NULL, &s));
    REFUSED(MTAIO_EINVAL, mtaio_channel_stats_get(w.ch, NULL));
    BAD_SIZES(s, REFUSED(MTAIO_EINVAL, mtaio_channel_stats_get(w.ch, &s)));
    end_world();
}

static void test_messages(void **state) {
    (void)state;
    assert_null(mtaio_message_data(NULL));
    assert_int_equal(mtaio_message_bytes(NULL), 0);
    assert_null(mtaio_message_topic(NULL));
    assert_null(mtaio_message_metadata(NULL));
    assert_null(mtaio_event_message(NULL));
}

/* --- Publishing -------------------------------------------------------------------------------- */

static const char *const bad_names[] = {"",    ".",  "a.", ".a",   "a..b",     "*",
                                        "a.*", "**", "a*", "\xff", "a\xc0\x80"};

#define BAD_PUBLICATION(expected, channel, ...)                                                              \
    do {                                                                                                     \
        mtaio_publication bad_ = *MTAIO_PUBLICATION(__VA_ARGS__);                                            \
        REFUSED(expected, mtaio_channel_publish(channel, &bad_, 0));                                         \
        REFUSED(expected, mtaio_channel_publish_many(channel, &bad_, 1, 0));                                 \
        REFUSED_RET(expected, mtaio_pending, mtaio_channel_publish_async(channel, &bad_, NULL, &ret));       \
    } while (0)

static void released(void *data) {
    (void)data;
    support_check_failed("data stays the caller's", __FILE__, __LINE__);
}

static void test_publishing(void **state) {
    (void)state;
    make_world();
    mtaio_message none = {0};
    mtaio_publication p = *MTAIO_PUBLICATION(.data = "x", .bytes = 2, .release = released);
    REFUSED(MTAIO_EINVAL, mtaio_publish(NULL, "x", "x", 2));
    REFUSED(MTAIO_EINVAL, mtaio_publish(w.ch, "x", NULL, 1));
    REFUSED(MTAIO_ECLOSED, mtaio_publish(w.closed, "x", "x", 2));
    REFUSED(MTAIO_EINVAL, mtaio_channel_publish(w.ch, NULL, 0));
    REFUSED(MTAIO_EINVAL, mtaio_channel_publish_many(w.ch, NULL, 1, 0));
    REFUSED(MTAIO_EINVAL, mtaio_channel_publish_many(NULL, &p, 1, 0));
    REFUSED_RET(MTAIO_EINVAL, mtaio_pending, mtaio_channel_publish_async(w.ch, NULL, NULL, &ret));
    BAD_SIZES(p, REFUSED(MTAIO_EINVAL, mtaio_channel_publish(w.ch, &p, 0)));
    BAD_SIZES(p, REFUSED(MTAIO_EINVAL, mtaio_channel_publish_many(w.ch, &p, 1, 0)));
    BAD_SIZES(p, REFUSED_RET(MTAIO_EINVAL, mtaio_pending, mtaio_channel_publish_async(w.ch, &p, NULL, &ret)));
    BAD_PUBLICATION(MTAIO_EINVAL, NULL, .data = "x", .bytes = 2, .release = released);
    BAD_PUBLICATION(MTAIO_EINVAL, w.ch, .data = NULL, .bytes = 2);
    BAD_PUBLICATION(MTAIO_EINVAL, w.ch, .message = &w.message, .data = "x",
                    .bytes = 2); /* "instead of data" */
    BAD_PUBLICATION(MTAIO_EINVAL, w.ch, .message = &w.message, .bytes = 2);
    BAD_PUBLICATION(MTAIO_EINVAL, w.ch, .message = &w.message, .release = released);
    BAD_PUBLICATION(MTAIO_EINVAL, w.ch, .message = &none);
    BAD_PUBLICATION(MTAIO_ECLOSED, w.closed, .data = "x", .bytes = 2, .release = released);
    for (size_t i = 0; i < COUNT(bad_names); i++) {
        REFUSED(MTAIO_ENAME, mtaio_publish(w.ch, bad_names[i], "x", 2));
        BAD_PUBLICATION(MTAIO_ENAME, w.ch, .topic = bad_names[i], .data = "x", .bytes = 2,
                        .release = released);
    }
    mtaio_published how = *MTAIO_PUBLISHED(.call = be_told);
    BAD_SIZES(how,
              REFUSED_RET(MTAIO_EINVAL, mtaio_pending, mtaio_channel_publish_async(w.ch, &p, &how, &ret)));
    REFUSED(MTAIO_EINVAL, mtaio_pending_cancel(NULL));
    REFUSED(0, mtaio_pending_cancel(w.pending));
    assert_null(mtaio_pending_ref(NULL));
    assert_null(mtaio_pending_unref(NULL));
    end_world();
}

/* --- Subscribing ------------------------------------------------------------------------------- */

static const char *const bad_patterns[] = {"", ".", "a.", "a..b", "lo*g", "***", "a.**b", "\xff"};

static void test_subscribing(void **state) {
    (void)state;
    make_world();
    mtaio_subscription s = *MTAIO_SUBSCRIPTION(.buffer_size = 2);
    REFUSED_RET(MTAIO_EINVAL, mtaio_subscriber, mtaio_subscribe(NULL, "x", &ret));
    REFUSED(MTAIO_EINVAL, mtaio_subscribe(w.ch, "x", NULL));
    REFUSED_RET(MTAIO_ECLOSED, mtaio_subscriber, mtaio_subscribe(w.closed, "x", &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_subscriber, mtaio_channel_subscribe(NULL, &s, &ret));
    REFUSED(MTAIO_EINVAL, mtaio_channel_subscribe(w.ch, &s, NULL));
    REFUSED_RET(MTAIO_ECLOSED, mtaio_subscriber, mtaio_channel_subscribe(w.closed, &s, &ret));
    BAD_SIZES(s, REFUSED_RET(MTAIO_EINVAL, mtaio_subscriber, mtaio_channel_subscribe(w.ch, &s, &ret)));
    s.overflow = (mtaio_overflow)(MTAIO_REFUSE + 1);
    REFUSED_RET(MTAIO_EINVAL, mtaio_subscriber, mtaio_channel_subscribe(w.ch, &s, &ret));
    s.overflow = (mtaio_overflow)-1;
    REFUSED_RET(MTAIO_EINVAL, mtaio_subscriber, mtaio_channel_subscribe(w.ch, &s, &ret));
    for (size_t i = 0; i < COUNT(bad_patterns); i++) {
        const char *const patterns[] = {"good", "g.*", bad_patterns[i], "x", NULL};
        REFUSED_RET(MTAIO_EPATTERN, mtaio_subscriber, mtaio_subscribe(w.ch, bad_patterns[i], &ret));
        REFUSED_RET(MTAIO_EPATTERN, mtaio_subscriber,
                    mtaio_channel_subscribe(w.ch, MTAIO_SUBSCRIPTION(.patterns = patterns), &ret));
        REFUSED(MTAIO_EPATTERN, mtaio_subscriber_add(w.sub, bad_patterns[i]));
        REFUSED(MTAIO_EPATTERN, mtaio_subscriber_drop(w.sub, bad_patterns[i]));
    }
    REFUSED(0, mtaio_channel_reach(w.ch, "good"));
    REFUSED(MTAIO_EINVAL, mtaio_subscriber_add(NULL, "x"));
    REFUSED(MTAIO_EINVAL, mtaio_subscriber_add(w.sub, NULL));
    REFUSED(MTAIO_EINVAL, mtaio_subscriber_drop(NULL, "x"));
    REFUSED(MTAIO_EINVAL, mtaio_subscriber_drop(w.sub, NULL));
    REFUSED(MTAIO_ECLOSED, mtaio_subscriber_add(w.ended, "x"));
    assert_null(mtaio_subscriber_ref(NULL));
    assert_null(mtaio_subscriber_unref(NULL));
    REFUSED(MTAIO_EINVAL, mtaio_unsubscribe(NULL));
    REFUSED(0, mtaio_unsubscribe(w.ended));
    mtaio_subscriber_stats sums = {.size = sizeof sums};
    REFUSED(MTAIO_EINVAL, mtaio_subscriber_stats_get(NULL, &sums));
    REFUSED(MTAIO_EINVAL, mtaio_subscriber_stats_get(w.sub, NULL));
    BAD_SIZES(sums, REFUSED(MTAIO_EINVAL, mtaio_subscriber_stats_get(w.sub, &sums)));
    end_world();
}

/* --- Receiving --------------------------------------------------------------------------------- */

static void test_receiving(void **state) {
    (void)state;
    make_world();
    mtaio_message m = {0};
    mtaio_subscriber *list[] = {w.sub, NULL};
    REFUSED(MTAIO_EINVAL, mtaio_receive(NULL, &m));
    REFUSED(MTAIO_EINVAL, mtaio_receive(w.sub, NULL));
    REFUSED(MTAIO_ECLOSED, mtaio_receive(w.ended, &m));
    REFUSED(MTAIO_EINVAL, mtaio_subscriber_receive(NULL, 0, &m));
    REFUSED(MTAIO_EINVAL, mtaio_subscriber_receive(w.sub, 0, NULL));
    REFUSED(MTAIO_EINVAL, mtaio_subscriber_receive_many(NULL, 0, &m, 1));
    REFUSED(MTAIO_EINVAL, mtaio_subscriber_receive_many(w.sub, 0, NULL, 1));
    REFUSED(MTAIO_EINVAL, mtaio_subscriber_receive_many(w.sub, 0, &m, 0));
    REFUSED(MTAIO_ECLOSED, mtaio_subscriber_receive_many(w.ended, -1, &m, 1));
    REFUSED(MTAIO_EINVAL, mtaio_subscriber_fd(NULL));
    REFUSED(MTAIO_EINVAL, mtaio_select(NULL, 1, 0));
    REFUSED(MTAIO_EINVAL, mtaio_select(list, 0, 0));
    REFUSED(MTAIO_EINVAL, mtaio_select(list, 2, 0));
    REFUSED(MTAIO_EINVAL, mtaio_select(list + 1, 1, -1));
    mtaio_receiver r = *MTAIO_RECEIVER(.call = take);
    mtaio_watch watch = *MTAIO_WATCH(.ready = ready);
    REFUSED_RET(MTAIO_EINVAL, mtaio_pending, mtaio_subscriber_receive_async(NULL, &r, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_pending, mtaio_subscriber_receive_async(w.sub, NULL, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_pending,
                mtaio_subscriber_receive_async(w.sub, MTAIO_RECEIVER(.call = NULL), &ret));
    BAD_SIZES(r, REFUSED_RET(MTAIO_EINVAL, mtaio_pending, mtaio_subscriber_receive_async(w.sub, &r, &ret)));
    REFUSED_RET(MTAIO_EINVAL, mtaio_pending, mtaio_subscriber_watch(NULL, &watch, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_pending, mtaio_subscriber_watch(w.sub, NULL, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_pending, mtaio_subscriber_watch(w.sub, MTAIO_WATCH(.ready = NULL), &ret));
    BAD_SIZES(watch, REFUSED_RET(MTAIO_EINVAL, mtaio_pending, mtaio_subscriber_watch(w.sub, &watch, &ret)));
    end_world();
}

/* --- Publishers and bridges -------------------------------------------------------------------- */

static void test_publishers(void **state) {
    (void)state;
    make_world();
    mtaio_publisher_options o = *MTAIO_PUBLISHER_OPTIONS(.topic = "t");
    mtaio_publication p = *MTAIO_PUBLICATION(.data = "x", .bytes = 2, .release = released);
    REFUSED_RET(MTAIO_EINVAL, mtaio_publisher, mtaio_publisher_new(NULL, &o, &ret));
    REFUSED(MTAIO_EINVAL, mtaio_publisher_new(w.ch, &o, NULL));
    BAD_SIZES(o, REFUSED_RET(MTAIO_EINVAL, mtaio_publisher, mtaio_publisher_new(w.ch, &o, &ret)));
    o.linger_ns = -1;
    REFUSED_RET(MTAIO_EINVAL, mtaio_publisher, mtaio_publisher_new(w.ch, &o, &ret));
    o.linger_ns = 0;
    for (size_t i = 0; i < COUNT(bad_names); i++) {
        o.topic = bad_names[i];
        REFUSED_RET(MTAIO_ENAME, mtaio_publisher, mtaio_publisher_new(w.ch, &o, &ret));
        p.topic = bad_names[i];
        REFUSED(MTAIO_ENAME, mtaio_publisher_publish(w.publisher, &p, 0));
    }
    p.topic = NULL;
    REFUSED(MTAIO_EINVAL, mtaio_publisher_publish(NULL, &p, 0));
    REFUSED(MTAIO_EINVAL, mtaio_publisher_publish(w.publisher, NULL, 0));
    BAD_SIZES(p, REFUSED(MTAIO_EINVAL, mtaio_publisher_publish(w.publisher, &p, 0)));
    REFUSED(MTAIO_EINVAL, mtaio_publisher_publish(w.publisher, MTAIO_PUBLICATION(.bytes = 2), 0));
    REFUSED(MTAIO_EINVAL, mtaio_publisher_flush(NULL, 0));
    REFUSED(0, mtaio_publisher_flush(w.publisher, 0)); /* nothing was gathered */
    assert_null(mtaio_publisher_ref(NULL));
    assert_null(mtaio_publisher_unref(NULL));
    end_world();
}

static void test_bridges(void **state) {
    (void)state;
    make_world();
    REFUSED_RET(MTAIO_EINVAL, mtaio_listener, mtaio_emitter_to_channel(NULL, "x", w.ch, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_listener, mtaio_emitter_to_channel(w.em, "x", NULL, &ret));
    REFUSED_RET(MTAIO_EPATTERN, mtaio_listener, mtaio_emitter_to_channel(w.em, "x*", w.ch, &ret));
    REFUSED_RET(MTAIO_ECLOSED, mtaio_listener, mtaio_emitter_to_channel(w.em_closed, "x", w.ch, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_pending, mtaio_subscriber_to_emitter(NULL, w.em, "x", NULL, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_pending, mtaio_subscriber_to_emitter(w.sub, NULL, "x", NULL, &ret));
    REFUSED_RET(MTAIO_ENAME, mtaio_pending, mtaio_subscriber_to_emitter(w.sub, w.em, "x.*", NULL, &ret));
    REFUSED_RET(MTAIO_ENAME, mtaio_pending, mtaio_subscriber_to_emitter(w.sub, w.em, "", NULL, &ret));
    end_world();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_channels),  TEST(test_messages),   TEST(test_publishing), TEST(test_subscribing),
        TEST(test_receiving), TEST(test_publishers), TEST(test_bridges),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
