/* test_nats_stream.c - durable bindings, sentence by sentence, over a server of its own with JetStream. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "test_stream.h"

static struct server server;

/* Each test has a prefix, and so a stream, of its own. */
static void begin(struct side *s, const char *prefix, const char *const *send, const char *const *take,
                  const mtaio_nats_stream *how) {
    side_begin(s, server.url,
               &(struct side_how){.prefix = prefix, .send = send, .take = take, .durable = how});
}

/* --- Publishing and taking --------------------------------------------------------------------- */

/* "The same over a stream": topics, data, metadata; "No binding takes its own"; acknowledged when cleared. */
static void everything_travels(void **state) {
    (void)state;
    struct side a, b;
    mtaio_metadata *metadata;
    mtaio_message m;
    const mtaio_nats_stream *how = MTAIO_NATS_STREAM();
    begin(&a, "travels", EVERYTHING, EVERYTHING, how);
    begin(&b, "travels", EVERYTHING, EVERYTHING, how);
    CHECK(mtaio_metadata_new(&metadata) == 0 && mtaio_metadata_set(metadata, "trace", "7") >= 0);
    CHECK(mtaio_channel_publish(
              a.channel, MTAIO_PUBLICATION(.topic = "t.u", .data = "a\0b", .bytes = 3, .metadata = metadata),
              -1) >= 0);
    mtaio_metadata_unref(metadata);
    CHECK(mtaio_subscriber_receive(b.sub, 5000 * MS, &m) >= 0);
    CHECK(strcmp(mtaio_message_topic(&m), "t.u") == 0);
    CHECK(mtaio_message_bytes(&m) == 3 && memcmp(mtaio_message_data(&m), "a\0b", 4) == 0);
    CHECK(mtaio_metadata_count(mtaio_message_metadata(&m)) == 1);
    CHECK(strcmp(mtaio_metadata_get(mtaio_message_metadata(&m), "trace"), "7") == 0);
    CHECK(side_stats(&b).open == 1);
    support_sleep_ms(50);
    CHECK(side_stats(&b).open == 1);
    mtaio_message_clear(&m);
    EVENTUALLY(side_stats(&b).open == 0);
    CHECK(mtaio_publish(a.channel, "empty", NULL, 0) >= 0 && mtaio_publish(a.channel, NULL, "x", 1) >= 0);
    side_expects(&b, "empty", "");
    side_expects(&b, NULL, "x");
    CHECK(mtaio_publish(b.channel, "back", "y", 1) >= 0);
    side_expects(&a, "t.u", NULL); /* its own, from the channel */
    side_expects(&a, "empty", "");
    side_expects(&a, NULL, "x");
    side_expects(&a, "back", "y");
    side_expects(&b, "back", "y");
    side_expects_nothing(&a);
    side_expects_nothing(&b);
    CHECK(mtaio_nats_flush(a.binding, -1) == 0);
    mtaio_nats_stats stats = side_stats(&a);
    CHECK(stats.sent == 3 && stats.acknowledged == 3 && stats.unacknowledged == 0 && stats.taken == 1 &&
          stats.refused == 0);
    CHECK(stream_count(server.url, "travels") == 4);
    side_end(&a);
    side_end(&b);
}

/* Publishes them one after another, all stored. */
static void store(const char *prefix, const char *const *topics) {
    struct side a;
    begin(&a, prefix, EVERYTHING, NULL, MTAIO_NATS_STREAM());
    for (; *topics; topics++) side_says(&a, *topics, *topics);
    CHECK(mtaio_nats_flush(a.binding, -1) == 0);
    side_end(&a);
}

/* Stored at a time whose fraction begins with a zero, and some more messages shortly before. */
static void store_early_in_a_second(const char *prefix, const char *const *topics) {
    struct timespec t;
    do {
        support_sleep_ms(1);
        clock_gettime(CLOCK_REALTIME, &t);
    } while (t.tv_nsec < 20000000 || t.tv_nsec > 30000000);
    store(prefix, topics);
}

/* What a consumer that begins so is given: these topics, and nothing more. */
static void replays(const char *prefix, const mtaio_nats_stream *how, const char *const *take,
                    const char *const *wanted) {
    struct side b;
    begin(&b, prefix, NULL, take, how);
    for (; *wanted; wanted++) side_expects(&b, *wanted, *wanted);
    side_expects_nothing(&b);
    CHECK(side_stats(&b).redelivered == 0);
    side_end(&b);
}

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

/* mtaio_nats_start: each of them, with a filter, too. */
static void replay(void **state) {
    (void)state;
    static const char *const nothing[] = {NULL};
    const char *url = server.url;
    store("replay", LIST("a.1", "a.2", "b.1", "a.1"));
    support_sleep_ms(20);
    store_early_in_a_second("replay", LIST("a.3", "b.2"));
    int64_t middle = stream_time(url, "replay", 5);
    replays("replay", MTAIO_NATS_STREAM(), EVERYTHING, nothing);
    replays("replay", MTAIO_NATS_STREAM(.start = MTAIO_NATS_ALL), EVERYTHING,
            LIST("a.1", "a.2", "b.1", "a.1", "a.3", "b.2"));
    replays("replay", MTAIO_NATS_STREAM(.start = MTAIO_NATS_ALL), LIST("b.*"), LIST("b.1", "b.2"));
    replays("replay", MTAIO_NATS_STREAM(.start = MTAIO_NATS_ALL), LIST("b.*", "a.2"),
            LIST("a.2", "b.1", "b.2"));
    replays("replay", MTAIO_NATS_STREAM(.start = MTAIO_NATS_ALL), LIST("**.1"), LIST("a.1", "b.1", "a.1"));
    replays("replay", MTAIO_NATS_STREAM(.start = MTAIO_NATS_LAST), EVERYTHING,
            LIST("a.2", "b.1", "a.1", "a.3", "b.2"));
    replays("replay", MTAIO_NATS_STREAM(.start = MTAIO_NATS_LAST), LIST("b.1"), LIST("b.1"));
    replays("replay", MTAIO_NATS_STREAM(.start = MTAIO_NATS_SEQUENCE, .start_sequence = 4), EVERYTHING,
            LIST("a.1", "a.3", "b.2"));
    replays("replay", MTAIO_NATS_STREAM(.start = MTAIO_NATS_SINCE, .start_time_ns = middle), EVERYTHING,
            LIST("a.3", "b.2"));
    replays("replay",
            MTAIO_NATS_STREAM(.start = MTAIO_NATS_SINCE, .start_time_ns = middle + INT64_C(1000000000)),
            EVERYTHING, nothing);
}

/* consumer: "goes on where it was"; start is of one that is not there yet; its limits are those given last.
 */
static void durable_consumer(void **state) {
    (void)state;
    store("goes", LIST("1", "2"));
    replays("goes", MTAIO_NATS_STREAM(.consumer = "c", .start = MTAIO_NATS_ALL), EVERYTHING, LIST("1", "2"));
    store("goes", LIST("3"));
    replays("goes", MTAIO_NATS_STREAM(.consumer = "c", .start = MTAIO_NATS_ALL), EVERYTHING, LIST("3"));
    store("goes", LIST("4", "5"));
    replays("goes", MTAIO_NATS_STREAM(.consumer = "c", .max_open = 1, .ack_wait_ns = INT64_C(60000000000)),
            EVERYTHING, LIST("4", "5"));
    EVENTUALLY(consumer_open(server.url, "goes", "c") == 0 && consumer_waiting(server.url, "goes", "c") == 0);
}

/* "to another process of the same consumer": each message goes to one of them. */
static void shared_consumer(void **state) {
    enum { COUNT = 200 };
    (void)state;
    struct side a, b[2];
    const mtaio_nats_stream *how = MTAIO_NATS_STREAM(.consumer = "c", .max_open = 8);
    for (int i = 0; i < 2; i++) begin(&b[i], "shared", NULL, EVERYTHING, how);
    begin(&a, "shared", EVERYTHING, NULL, how);
    bool had[COUNT] = {false};
    for (int i = 0; i < COUNT; i++) CHECK(mtaio_publish(a.channel, "n", &i, sizeof i) >= 0);
    for (int left = COUNT; left > 0;) {
        mtaio_subscriber *subs[] = {b[0].sub, b[1].sub};
        int which = mtaio_select(subs, 2, 5000 * MS), number;
        mtaio_message m;
        CHECK(which >= 0 && mtaio_subscriber_receive(subs[which], 0, &m) >= 0);
        memcpy(&number, mtaio_message_data(&m), sizeof number);
        CHECK(number >= 0 && number < COUNT && !had[number]);
        had[number] = true;
        left--;
        mtaio_message_clear(&m);
    }
    CHECK(side_stats(&b[0]).taken + side_stats(&b[1]).taken == COUNT);
    CHECK(side_stats(&b[0]).taken > 0 && side_stats(&b[1]).taken > 0);
    for (int i = 0; i < 2; i++) side_end(&b[i]);
    side_end(&a);
}

/* "acknowledged when the last receiver on the channel has cleared it, or has dropped it"; max_open: "at
 * most". */
static void receivers(void **state) {
    (void)state;
    struct side a, b;
    mtaio_subscriber *small;
    mtaio_message m[4];
    begin(&b, "receivers", NULL, EVERYTHING, MTAIO_NATS_STREAM(.consumer = "c", .max_open = 4));
    begin(&a, "receivers", EVERYTHING, NULL, MTAIO_NATS_STREAM());
    CHECK(mtaio_channel_subscribe(
              b.channel, MTAIO_SUBSCRIPTION(.buffer_size = 1, .overflow = MTAIO_DROP_OLDEST), &small) == 0);
    for (int i = 0; i < 10; i++) side_says(&a, "n", "x");
    for (int i = 0; i < 4; i++) CHECK(mtaio_subscriber_receive(b.sub, 5000 * MS, &m[i]) >= 0);
    CHECK(mtaio_subscriber_receive(b.sub, 100 * MS, &m[0]) == MTAIO_ETIMEDOUT); /* four are open */
    CHECK(side_stats(&b).open == 4 && consumer_open(server.url, "receivers", "c") == 4);
    for (int i = 0; i < 4; i++)
        mtaio_message_clear(&m[i]); /* of three, the other's buffer has dropped its own */
    for (int i = 0; i < 6; i++) side_expects(&b, "n", "x");
    EVENTUALLY(side_stats(&b).open == 1); /* the last, in the other's buffer */
    CHECK(mtaio_unsubscribe(small) == 1);
    EVENTUALLY(side_stats(&b).open == 0);
    EVENTUALLY(consumer_open(server.url, "receivers", "c") == 0);
    mtaio_subscriber_unref(small);
    side_end(&a);
    side_end(&b);
}

/* What a receiver has when its process ends comes again, marked; what was still on the way, too. */
static void comes_again(void **state) {
    (void)state;
    struct side b;
    mtaio_message m;
    const mtaio_nats_stream *how =
        MTAIO_NATS_STREAM(.consumer = "c", .start = MTAIO_NATS_ALL, .ack_wait_ns = 300 * MS);
    store("again", LIST("1", "2", "3"));
    begin(&b, "again", NULL, EVERYTHING, how);
    side_expects(&b, "1", "1");
    CHECK(mtaio_subscriber_receive(b.sub, 5000 * MS, &m) >= 0);
    EVENTUALLY(side_stats(&b).taken == 3);
    CHECK(mtaio_nats_close(b.nats, -1) == 0);
    mtaio_message_clear(&m); /* too late */
    side_end(&b);
    begin(&b, "again", NULL, EVERYTHING, how);
    for (int seen[4] = {0}, i = 0; i < 2; i++) { /* in whichever order */
        CHECK(mtaio_subscriber_receive(b.sub, 5000 * MS, &m) >= 0);
        int number = atoi(mtaio_message_topic(&m));
        CHECK((number == 2 || number == 3) && seen[number]++ == 0);
        const char *times = mtaio_metadata_get(mtaio_message_metadata(&m), "mtaio-delivery");
        CHECK(times && atoi(times) >= 2);
        mtaio_message_clear(&m);
    }
    CHECK(side_stats(&b).redelivered == 2);
    side_expects_nothing(&b);
    side_end(&b);
}

/* "While a receiver [...] has a message, the server is told so, however long that takes." */
static void held_for_long(void **state) {
    (void)state;
    struct side b;
    mtaio_message m;
    store("held", LIST("1"));
    begin(&b, "held", NULL, EVERYTHING,
          MTAIO_NATS_STREAM(.consumer = "c", .start = MTAIO_NATS_ALL, .ack_wait_ns = 400 * MS));
    CHECK(mtaio_subscriber_receive(b.sub, 5000 * MS, &m) >= 0);
    support_sleep_ms(1500);
    CHECK(consumer_open(server.url, "held", "c") == 1);
    mtaio_message_clear(&m);
    side_expects_nothing(&b);
    CHECK(side_stats(&b).taken == 1 && side_stats(&b).redelivered == 0);
    EVENTUALLY(consumer_open(server.url, "held", "c") == 0);
    side_end(&b);
}

/* --- Sending ----------------------------------------------------------------------------------- */

/* "nats.refused (what came, or was to go, was no valid message)"; keys that the stream would obey; the others
 * pass. */
static void refused_to_send(void **state) {
    (void)state;
    struct side a;
    mtaio_metadata *metadata;
    char *large = calloc(1, 2 << 20);
    begin(&a, "refused", EVERYTHING, NULL, MTAIO_NATS_STREAM(.window = 4));
    for (int i = 0; i < 10; i++) {
        side_says(&a, "a b", "x");
        CHECK(mtaio_publish(a.channel, "large", large, i % 2 ? 2 << 20 : (1 << 20) - 5) >=
              0); /* with its headers */
        for (const char *const *key = LIST("Nats-Rollup", "nats-expected-stream", "a:b"); *key; key++) {
            CHECK(mtaio_metadata_new(&metadata) == 0 && mtaio_metadata_set(metadata, *key, "sub") >= 0);
            CHECK(mtaio_channel_publish(a.channel, MTAIO_PUBLICATION(.topic = "m", .metadata = metadata),
                                        -1) >= 0);
            mtaio_metadata_unref(metadata);
        }
        side_says(&a, "good", "x");
    }
    CHECK(mtaio_nats_flush(a.binding, -1) == 0);
    CHECK(side_stats(&a).refused == 50 && a.refused == 50 && side_stats(&a).acknowledged == 10);
    CHECK(side_stats(&a).sent == 10 && stream_count(server.url, "refused") == 10);
    side_end(&a);
    free(large);
}

/* "What the server refuses (the stream is full [...]) is refused, counted and told"; "false: the oldest
 * messages make room"; a message that is too large for the stream. */
static void full_stream(void **state) {
    (void)state;
    struct side a;
    begin(&a, "full", EVERYTHING, NULL, MTAIO_NATS_STREAM(.max_messages = 10, .refuses_when_full = true));
    for (int i = 0; i < 25; i++) side_says(&a, "n", "x");
    CHECK(mtaio_nats_flush(a.binding, -1) == 0);
    CHECK(side_stats(&a).acknowledged == 10 && side_stats(&a).refused == 15 && a.refused == 15);
    CHECK(side_stats(&a).unacknowledged == 0 && side_stats(&a).dropped == 0);
    side_end(&a);
    begin(&a, "rolls", EVERYTHING, NULL,
          MTAIO_NATS_STREAM(.max_messages = 10, .max_bytes = 100000, .max_age_ns = 3600000 * MS,
                            .is_in_memory = true, .replicas = 1, .duplicates_ns = 60000 * MS));
    for (int i = 0; i < 25; i++) side_says(&a, "n", "x");
    CHECK(mtaio_nats_flush(a.binding, -1) == 0);
    CHECK(side_stats(&a).acknowledged == 25 && side_stats(&a).refused == 0);
    CHECK(stream_count(server.url, "rolls") == 10 && stream_last(server.url, "rolls") == 25);
    side_end(&a);
}

/* A stream that is taken away: what is sent meanwhile is sent again, until there is one again, and told once
 * each time. */
static void stream_that_comes_back(void **state) {
    (void)state;
    struct side a;
    begin(&a, "back", EVERYTHING, NULL, MTAIO_NATS_STREAM());
    side_says(&a, "n", "x");
    CHECK(mtaio_nats_flush(a.binding, -1) == 0);
    stream_delete(server.url, "back");
    for (int i = 0; i < 100; i++) side_says(&a, "n", "x");
    EVENTUALLY(a.troubled >= 2);
    CHECK(mtaio_nats_flush(a.binding, 50 * MS) == MTAIO_ETIMEDOUT);
    CHECK(side_stats(&a).unacknowledged + side_stats(&a).unsent == 100 && side_stats(&a).acknowledged == 1);
    stream_make(server.url, "back", LIST("back.>"), 0);
    CHECK(mtaio_nats_flush(a.binding, -1) == 0);
    CHECK(side_stats(&a).acknowledged == 101 && stream_count(server.url, "back") == 100);
    CHECK(side_stats(&a).sent == 101 && side_stats(&a).refused == 0);
    stream_delete(server.url, "back");
    side_says(&a, "n", "x");
    EVENTUALLY(side_stats(&a).unacknowledged == 1);
    int64_t start = support_now_ms();
    CHECK(mtaio_nats_unbind(a.binding, 200 * MS) == MTAIO_ETIMEDOUT && support_now_ms() - start < 3000);
    CHECK(side_stats(&a).dropped == 1 && mtaio_nats_flush(a.binding, -1) == MTAIO_ECLOSED);
    side_end(&a);
}

/* "one that was stored already is recognised by its id". */
static void duplicates(void **state) {
    (void)state;
    struct side b;
    int raw = raw_connect(server.port);
    begin(&b, "twice", NULL, EVERYTHING, MTAIO_NATS_STREAM());
    for (int i = 0; i < 3; i++)
        raw_send(raw, "HPUB twice.n 39 40\r\nNATS/1.0\r\nNats-Msg-Id: _MTAIO.abc.1\r\n\r\nx\r\n");
    raw_send(raw, "HPUB twice.n 39 40\r\nNATS/1.0\r\nNats-Msg-Id: _MTAIO.abc.2\r\n\r\ny\r\n");
    side_expects(&b, "n", "x");
    side_expects(&b, "n", "y");
    side_expects_nothing(&b);
    side_end(&b);
    close(raw);
}

/* --- Streams that are there, or cannot be ------------------------------------------------------ */

#define BIND(s, pre, ...)                                                                                    \
    side_bind(s, MTAIO_NATS_BINDING_OPTIONS(.prefix = (pre), .send = EVERYTHING, .take = EVERYTHING,         \
                                            .durable = MTAIO_NATS_STREAM(__VA_ARGS__)))

/* "a stream of the name that lacks some of the topics, or of another name that has them"; one that has more
 * is fine; a consumer of another kind. */
static void foreign_streams(void **state) {
    (void)state;
    struct side s;
    side_begin(&s, server.url, NULL);
    stream_make(server.url, "part", LIST("foreign.a.*", "foreign.b.>", "foreign.a.*.c"), 0);
    CHECK(BIND(&s, "foreign", .name = "part") == MTAIO_ESYSTEM);
    CHECK(strstr(mtaio_nats_error(), "part is there, and does not have all the topics"));
    CHECK(BIND(&s, "foreign", .name = NULL) == MTAIO_ESYSTEM && strstr(mtaio_nats_error(), "overlap"));
    const char *const *good[] = {LIST("a.*"), LIST("a.x"), LIST("b.x.y"), LIST("a.x.c"), LIST("a.*.c")};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(side_bind(&s, MTAIO_NATS_BINDING_OPTIONS(.prefix = "foreign", .take = good[i],
                                                       .durable = MTAIO_NATS_STREAM(.name = "part"))) == 0);
    const char *const *bad[] = {LIST("a"), LIST("a.x.y"), LIST("a.**"),  LIST("b"),
                                LIST("c"), LIST("*.x"),   LIST("b.x.**")};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(side_bind(&s, MTAIO_NATS_BINDING_OPTIONS(.prefix = "foreign", .send = bad[i],
                                                       .durable = MTAIO_NATS_STREAM(.name = "part"))) ==
              MTAIO_ESYSTEM);
    CHECK(side_bind(&s, MTAIO_NATS_BINDING_OPTIONS(.prefix = "foreign", .take = LIST("a.*"),
                                                   .durable = MTAIO_NATS_STREAM(.name = "part",
                                                                                .dead_topic = "dead"))) ==
          MTAIO_ESYSTEM);
    stream_delete(server.url, "part");
    stream_make(server.url, "more", LIST("foreign.>", "other.>"), 0);
    CHECK(BIND(&s, "foreign", .name = "more") == 0);
    consumer_make(server.url, "more", "pushed", "somewhere");
    CHECK(BIND(&s, "foreign", .name = "more", .consumer = "pushed") == MTAIO_ESYSTEM);
    CHECK(strstr(mtaio_nats_error(), "of another kind"));
    stream_delete(server.url, "more");
    side_end(&s);
}

/* "ESYSTEM (durable: no JetStream there [...])", in words. */
static void no_jetstream(void **state) {
    (void)state;
    struct server own;
    struct side s;
    server_start(&own, NULL);
    side_begin(&s, own.url, NULL);
    CHECK(BIND(&s, "none", .name = NULL) == MTAIO_ESYSTEM && strstr(mtaio_nats_error(), "no JetStream"));
    server_kill(&own);
    EVENTUALLY(!mtaio_nats_is_connected(s.nats));
    int r = BIND(&s, "none", .name = NULL);
    CHECK(r == MTAIO_EAGAIN || r == MTAIO_ETIMEDOUT);
    CHECK(mtaio_nats_close(s.nats, 0) == 0);
    CHECK(BIND(&s, "none", .name = NULL) == MTAIO_ECLOSED);
    side_end(&s);
    server_end(&own);
}

/* EINVAL, ENAME; requests: "Not for durable bindings (EINVAL)". */
static void wrong_arguments(void **state) {
    (void)state;
    struct side s;
    mtaio_emitter *closed;
    mtaio_nats_reply *reply;
    begin(&s, "wrong", EVERYTHING, EVERYTHING, MTAIO_NATS_STREAM());
    CHECK(mtaio_emitter_new(NULL, &closed) == 0 && mtaio_emitter_close(closed) >= 0);
    CHECK(side_bind(&s, MTAIO_NATS_BINDING_OPTIONS(.prefix = "w", .take = EVERYTHING,
                                                   .durable = &(mtaio_nats_stream){.size = 1})) ==
          MTAIO_EINVAL);
    CHECK(BIND(&s, "w", .max_messages = -1) == MTAIO_EINVAL &&
          BIND(&s, "w", .max_bytes = -1) == MTAIO_EINVAL);
    CHECK(BIND(&s, "w", .max_age_ns = -1) == MTAIO_EINVAL &&
          BIND(&s, "w", .duplicates_ns = -1) == MTAIO_EINVAL);
    CHECK(BIND(&s, "w", .replicas = -1) == MTAIO_EINVAL && BIND(&s, "w", .replicas = 6) == MTAIO_EINVAL);
    CHECK(BIND(&s, "w", .window = (1 << 20) + 1) == MTAIO_EINVAL);
    CHECK(BIND(&s, "w", .max_open = (1 << 20) + 1) == MTAIO_EINVAL);
    CHECK(BIND(&s, "w", .ack_wait_ns = -1) == MTAIO_EINVAL && BIND(&s, "w", .again_ns = -1) == MTAIO_EINVAL);
    CHECK(BIND(&s, "w", .start = 99) == MTAIO_EINVAL &&
          BIND(&s, "w", .start = MTAIO_NATS_SINCE) == MTAIO_EINVAL);
    CHECK(BIND(&s, "w", .start = MTAIO_NATS_SEQUENCE) == MTAIO_EINVAL);
    CHECK(BIND(&s, "w", .emitter = closed) == MTAIO_EINVAL);
    for (const char *const *name = LIST("", "a.b", "a b", "a*", ">", "a/b", "a\\b"); *name; name++)
        CHECK(BIND(&s, "w", .name = *name) == MTAIO_ENAME && BIND(&s, "w", .consumer = *name) == MTAIO_ENAME);
    for (const char *const *topic = LIST("", "a b", "a.*", "a..b", "$mtaio-x"); *topic; topic++)
        CHECK(BIND(&s, "w", .dead_topic = *topic) == MTAIO_ENAME);
    CHECK(BIND(&s, "w", .replicas = 3) == MTAIO_ESYSTEM && *mtaio_nats_error()); /* of one server */
    CHECK(stream_count(server.url, "w") == 0);
    CHECK(side_bind(&s, MTAIO_NATS_BINDING_OPTIONS(.prefix = "w", .take = EVERYTHING, .pack = true,
                                                   .durable = MTAIO_NATS_STREAM(.name = "w"))) ==
          MTAIO_EINVAL);
    CHECK(mtaio_nats_ask(s.binding, "a", NULL, 0, 0, &reply) == MTAIO_EINVAL);
    CHECK(mtaio_nats_serve(s.binding, "a", MTAIO_NATS_SERVER(.call = NULL)) == MTAIO_EINVAL);
    CHECK(BIND(&s, "deep.name", .name = NULL) == 0); /* the stream deep_name */
    side_says(&s, "n", "x");
    CHECK(mtaio_nats_flush(s.binding, -1) == 0 && stream_count(server.url, "wrong") == 1);
    mtaio_emitter_unref(closed);
    side_end(&s);
}

/* --- The example ------------------------------------------------------------------------------- */

static const char *program; /* NULL: it was not built */

/* It says what it is to say: twice, since it leaves the server as it was. */
static void example(void **state) {
    static const char *const wanted[] = {"order.tea: two\n",
                                         "order.broken: ?\n",
                                         "order.cake: one\n",
                                         "order.broken: ?, delivery 2\n",
                                         "order.broken: ?, delivery 3\n",
                                         "dead: order.broken: a handler failed with -1\n"};
    (void)state;
    char command[512], line[128];
    if (!program) skip();
    snprintf(command, sizeof command, "'%s' %s", program, server.url);
    for (int i = 0; i < 2; i++) {
        FILE *output = popen(command, "r");
        CHECK(output != NULL);
        for (size_t at = 0; at < sizeof wanted / sizeof *wanted; at++)
            CHECK(fgets(line, sizeof line, output) && strcmp(line, wanted[at]) == 0);
        CHECK(!fgets(line, sizeof line, output) && pclose(output) == 0);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_travels),
        cmocka_unit_test(replay),
        cmocka_unit_test(durable_consumer),
        cmocka_unit_test(shared_consumer),
        cmocka_unit_test(receivers),
        cmocka_unit_test(comes_again),
        cmocka_unit_test(held_for_long),
        cmocka_unit_test(refused_to_send),
        cmocka_unit_test(full_stream),
        cmocka_unit_test(stream_that_comes_back),
        cmocka_unit_test(duplicates),
        cmocka_unit_test(foreign_streams),
        cmocka_unit_test(no_jetstream),
        cmocka_unit_test(wrong_arguments),
        cmocka_unit_test(example),
    };
    program = argc > 1 ? argv[1] : NULL;
    return RUN_WITH_SERVER(tests, &server, JETSTREAM);
}
