/* test_nats.c - mtaio/nats.h, sentence by sentence, over a server of its own. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test_server.h"

static struct server server;

/* --- Messages ---------------------------------------------------------------------------------- */

/* "prefix "shop", topic "order.paid" is the subject "shop.order.paid"". */
static void topics_are_subjects(void **state) {
    (void)state;
    struct side a;
    int raw = raw_connect(server.port);
    raw_send(raw, "SUB shop.order.* 1\r\n");
    side_begin(&a, server.url, NULL);
    side_says(&a, "order.paid", "42");
    CHECK(raw_reads(raw, "MSG shop.order.paid 1 _MTAIO."));
    CHECK(raw_reads(raw, " 2\r\n42\r\n"));
    side_expects(&a, "order.paid", "42"); /* by itself, on the channel */
    raw_send(raw, "PUB shop.order.sent 2\r\n43\r\n");
    side_expects(&a, "order.sent", "43");
    side_end(&a);
    close(raw);
}

/* "Nothing that came from the network goes back to it", "no binding takes its own". */
static void no_echo(void **state) {
    (void)state;
    struct side a, b;
    side_begin(&a, server.url, NULL);
    side_begin(&b, server.url, NULL);
    for (int i = 0; i < 100; i++) side_says(&a, "a", "x");
    for (int i = 0; i < 100; i++) side_expects(&b, "a", "x");
    side_says(&b, "b", "y");
    for (int i = 0; i < 100; i++) side_expects(&a, "a", "x"); /* its own, from the channel: once */
    side_expects(&a, "b", "y");
    side_expects(&b, "b", "y");
    side_expects_nothing(&a);
    side_expects_nothing(&b);
    CHECK(side_stats(&a).sent == 100 && side_stats(&a).taken == 1);
    CHECK(side_stats(&b).sent == 1 && side_stats(&b).taken == 100);
    side_end(&a);
    side_end(&b);
}

/* "Bytes and topic are sent, and metadata as headers"; "what has no bytes is an empty message"; "A message
 * without a topic reaches the peers that take everything". */
static void everything_travels(void **state) {
    (void)state;
    struct side a, b;
    mtaio_metadata *metadata;
    mtaio_message m;
    side_begin(&a, server.url, NULL);
    side_begin(&b, server.url, NULL);
    CHECK(mtaio_metadata_new(&metadata) == 0);
    CHECK(mtaio_metadata_set(metadata, "trace", "7") >= 0 &&
          mtaio_metadata_set(metadata, "who", "ärger : x") >= 0);
    CHECK(mtaio_channel_publish(
              a.channel, MTAIO_PUBLICATION(.topic = "t", .data = "a\0b", .bytes = 3, .metadata = metadata),
              -1) >= 0);
    mtaio_metadata_unref(metadata);
    CHECK(mtaio_subscriber_receive(b.sub, 5000 * MS, &m) >= 0);
    CHECK(mtaio_message_bytes(&m) == 3 && memcmp(mtaio_message_data(&m), "a\0b", 3) == 0);
    CHECK(mtaio_metadata_count(mtaio_message_metadata(&m)) == 2);
    CHECK(strcmp(mtaio_metadata_get(mtaio_message_metadata(&m), "trace"), "7") == 0);
    CHECK(strcmp(mtaio_metadata_get(mtaio_message_metadata(&m), "who"), "ärger : x") == 0);
    mtaio_message_clear(&m);
    CHECK(mtaio_publish(a.channel, "empty", NULL, 0) >= 0);
    side_expects(&b, "empty", "");
    side_says(&a, NULL, "to all");
    side_expects(&b, NULL, "to all");
    side_end(&a);
    side_end(&b);
}

/* "patterns of topics that go out", "that come in", also those that a subject cannot say. */
static void patterns(void **state) {
    (void)state;
    const char *const send[] = {"order.**", "log.*", NULL};
    const char *const *const takes[] = {
        (const char *const[]){"order.*", NULL}, (const char *const[]){"order.**", NULL},
        (const char *const[]){"**.paid", NULL},
        (const char *const[]){"order.*.paid", "log.*", "order.a.**", NULL}, EVERYTHING};
    static const char *const topics[] = {"order", "order.a", "order.a.paid", "log",
                                         "log.x", "log.x.y", "stock.paid"};
    static const char *const wanted[] = {"0100000", "1110000", "0010000", "0110100", "1110100"};
    struct side a, takers[5];
    side_begin(&a, server.url, &(struct side_how){.send = send});
    for (int i = 0; i < 5; i++) side_begin(&takers[i], server.url, &(struct side_how){.take = takes[i]});
    for (size_t i = 0; i < sizeof topics / sizeof *topics; i++) side_says(&a, topics[i], topics[i]);
    for (int i = 0; i < 5; i++) {
        for (size_t t = 0; t < 7; t++)
            if (wanted[i][t] == '1') side_expects(&takers[i], topics[t], topics[t]);
        side_expects_nothing(&takers[i]);
        CHECK(side_stats(&takers[i]).lost == 0 && side_stats(&takers[i]).refused == 0);
        side_end(&takers[i]);
    }
    CHECK(side_stats(&a).sent == 4);
    side_end(&a);
}

/* nats.refused: "what came, or was to go, was no valid message"; refused: "neither sent nor taken". */
static void refused_to_send(void **state) {
    (void)state;
    struct side a, b;
    mtaio_metadata *metadata;
    char *large = calloc(1, 2 << 20);
    side_begin(&a, server.url, NULL);
    side_begin(&b, server.url, NULL);
    side_says(&a, "a b", "x");
    side_says(&a, "a\r\nPUB shop.b 0", "x");
    side_says(&a, "a.>", "x");
    side_says(&a, "$mtaio-sent", "x");
    CHECK(mtaio_publish(a.channel, "large", large, 2 << 20) >= 0);
    static const char *const headers[][2] = {{"a:b", "c"}, {"a", "b\r\nc: d"}, {"a b", "c"}, {"a", "x\n"}};
    for (int i = 0; i < 4; i++) {
        CHECK(mtaio_metadata_new(&metadata) == 0 &&
              mtaio_metadata_set(metadata, headers[i][0], headers[i][1]) >= 0);
        CHECK(mtaio_channel_publish(a.channel, MTAIO_PUBLICATION(.topic = "m", .metadata = metadata), -1) >=
              0);
        mtaio_metadata_unref(metadata);
    }
    side_says(&a, "last", "x");
    side_expects(&b, "last", "x");
    CHECK(mtaio_nats_flush(a.binding, 5000 * MS) == 0);
    CHECK(side_stats(&a).refused == 9 && side_stats(&a).sent == 1 && a.refused == 9);
    CHECK(side_stats(&b).lost == 0);
    side_end(&a);
    side_end(&b);
    free(large);
}

/* "Waits until the server has got everything that was published on the channel before"; "Sends what is
 * waiting [...], then ends the binding"; "Twice is no error"; "The last one unbinds". */
static void flush_and_unbind(void **state) {
    (void)state;
    struct side a, b;
    side_begin(&a, server.url, NULL);
    side_begin(&b, server.url, NULL);
    for (int i = 0; i < 5000; i++) side_says(&a, "n", "x");
    CHECK(mtaio_nats_flush(a.binding, -1) == 0 && side_stats(&a).sent == 5000 && side_stats(&a).unsent == 0);
    for (int i = 0; i < 5000; i++) side_says(&a, "n", "x");
    CHECK(mtaio_nats_unbind(a.binding, -1) == 0 && side_stats(&a).sent == 10000);
    CHECK(mtaio_nats_unbind(a.binding, -1) == 0);
    CHECK(mtaio_nats_flush(a.binding, 1000 * MS) == 0 || mtaio_nats_flush(a.binding, 0) == MTAIO_ECLOSED);
    EVENTUALLY(side_stats(&b).taken == 10000);
    side_says(&a, "n", "nobody takes it");
    CHECK(mtaio_channel_count(a.channel) == 1);
    side_end(&a);
    CHECK(side_stats(&b).lost == 0);
    side_end(&b);
}

/* --- Without a connection ---------------------------------------------------------------------- */

/* "stays there while there is no connection: its size and policy are the binding's"; the events; nothing of
 * it is lost. */
static void waits_for_the_server(void **state) {
    (void)state;
    struct server own;
    struct side a, b;
    server_start(&own, NULL);
    side_begin(&b, own.url, &(struct side_how){.take = EVERYTHING});
    side_begin(&a, own.url,
               &(struct side_how){.send = EVERYTHING, .buffer_size = 100, .overflow = MTAIO_REFUSE});
    side_says(&a, "before", "x");
    side_expects(&b, "before", "x");
    server_kill(&own);
    EVENTUALLY(a.disconnected == 1 && b.disconnected == 1);
    CHECK(!mtaio_nats_is_connected(a.nats));
    support_sleep_ms(150); /* the sender has looked */
    unsigned accepted = 0;
    while (mtaio_publish(a.channel, "during", "y", 1) >= 0) accepted++;
    CHECK(accepted >= 100 && accepted <= 164 && mtaio_publish(a.channel, "during", "y", 1) == MTAIO_ELIMIT);
    CHECK(mtaio_nats_flush(a.binding, 50 * MS) == MTAIO_ETIMEDOUT);
    mtaio_nats_reply *reply = NULL;
    CHECK(mtaio_nats_ask(a.binding, "q", NULL, 0, 200 * MS, &reply) < 0 && !reply);
    server_restart(&own, NULL);
    for (unsigned i = 0; i < accepted; i++) side_expects(&b, "during", "y");
    EVENTUALLY(a.reconnected == 1 && b.reconnected == 1);
    CHECK(a.connected == 1 && mtaio_nats_is_connected(a.nats));
    CHECK(side_stats(&b).lost == 0);
    side_end(&a);
    side_end(&b);
    server_end(&own);
}

/* close: "ETIMEDOUT: something was left", within its limit, also while there is no server. */
static void close_without_server(void **state) {
    (void)state;
    struct server own;
    struct side a;
    server_start(&own, NULL);
    side_begin(&a, own.url, &(struct side_how){.send = EVERYTHING, .take = EVERYTHING, .timeout_ns = HOUR});
    server_kill(&own);
    EVENTUALLY(a.disconnected == 1);
    side_says(&a, "t", "x");
    CHECK(mtaio_nats_close(a.nats, 300 * MS) == MTAIO_ETIMEDOUT); /* and waits for no answer */
    CHECK(side_stats(&a).dropped == 1 && side_stats(&a).sent == 0);
    CHECK(a.closed == 1); /* nothing is called after it */
    CHECK(mtaio_nats_close(a.nats, -1) == 0);
    CHECK(mtaio_nats_bind(a.nats, a.channel, MTAIO_NATS_BINDING_OPTIONS(.prefix = "x", .take = EVERYTHING),
                          &a.binding) == MTAIO_ECLOSED);
    side_end(&a);
    server_end(&own);
}

/* "until the peers are back too": not longer, where they say so; those that ended before are not waited for.
 */
static void goes_on_with_its_peers(void **state) {
    enum { TAKERS = 3 };
    (void)state;
    struct server own;
    struct side a, b[TAKERS], ended;
    const struct side_how takes = {.take = EVERYTHING}, narrow = {.take = (const char *const[]){"t", NULL}};
    server_start(&own, NULL);
    side_begin(&b[0], own.url, &takes); /* it is there before, two come after */
    side_begin(&a, own.url, &(struct side_how){.send = EVERYTHING, .resume_ns = 3600000 * MS});
    side_begin(&b[1], own.url, &narrow);
    side_begin(&b[2], own.url, NULL);
    side_begin(&ended, own.url, &takes);
    side_says(&a, "t", "before");
    for (int i = 0; i < TAKERS; i++) side_expects(&b[i], "t", "before");
    side_expects(&ended, "t", "before");
    side_end(&ended);
    for (int kills = 0; kills < 3; kills++) {
        support_sleep_ms(50); /* what was said of all this has arrived */
        server_kill(&own);
        EVENTUALLY(a.disconnected == (unsigned)kills + 1);
        side_says(&a, "t", "during");
        server_restart(&own, NULL);
        for (int i = 0; i < TAKERS; i++) side_expects(&b[i], "t", "during");
    }
    for (int i = 0; i < TAKERS; i++) {
        CHECK(side_stats(&b[i]).lost == 0 && side_stats(&b[i]).refused == 0);
        side_end(&b[i]);
    }
    CHECK(mtaio_nats_flush(a.binding, 5000 * MS) == 0);
    side_end(&a);
    server_end(&own);
}

/* What is no line of a peer's is nothing: no wait, no message. */
static void hostile_peers(void **state) {
    (void)state;
    struct side a;
    int raw = raw_connect(server.port);
    side_begin(&a, server.url, NULL);
    static const char *const lines[] = {"",
                                        "here",
                                        "here ",
                                        "here x",
                                        "here 1x",
                                        "what 1",
                                        "who  zz",
                                        "gone ",
                                        "gone 1",
                                        "here 12345678901234567",
                                        "0123456789012345678901234567890"};
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        char line[96];
        snprintf(line, sizeof line, "PUB shop.$mtaio-peers %zu\r\n%s\r\n", strlen(lines[i]), lines[i]);
        raw_send(raw, line);
    }
    for (int i = 0; i < 300; i++) { /* more than are kept */
        char line[96];
        snprintf(line, sizeof line, "PUB shop.$mtaio-peers 9\r\nhere %04x\r\n", 0x1000 + i);
        raw_send(raw, line);
    }
    raw_send(raw, "SUB shop.$mtaio-peers 7\r\n");
    static const char who[] = "PUB shop.$mtaio-peers 6\r\nwho  1\r\n";
    raw_send_bytes(raw, who, strlen(who));
    CHECK(raw_reads(raw, "here "));
    side_expects_nothing(&a);
    CHECK(side_stats(&a).refused == 0 && side_stats(&a).lost == 0);
    side_says(&a, "t", "x");
    side_expects(&a, "t", "x");
    side_end(&a);
    close(raw);
}

struct restart {
    struct server *server;
    atomic_bool ends;
};

/* The server lives as long as the thread that started it. */
static void *restart(void *arg) {
    struct restart *r = arg;
    support_sleep_ms(200);
    server_restart(r->server, NULL);
    while (!r->ends) support_sleep_ms(5);
    return NULL;
}

/* close: "Sends what is waiting [...] as long as it takes": the server may come back meanwhile. */
static void close_waits_for_the_server(void **state) {
    (void)state;
    struct server own;
    struct side a, b;
    pthread_t thread;
    struct restart r = {.server = &own};
    server_start(&own, NULL);
    side_begin(&a, own.url, &(struct side_how){.send = EVERYTHING});
    side_begin(&b, own.url, &(struct side_how){.take = EVERYTHING});
    server_kill(&own);
    EVENTUALLY(a.disconnected == 1);
    side_says(&a, "t", "late");
    CHECK(pthread_create(&thread, NULL, restart, &r) == 0);
    CHECK(mtaio_nats_close(a.nats, -1) == 0 && side_stats(&a).sent == 1);
    side_expects(&b, "t", "late");
    side_end(&a);
    side_end(&b);
    r.ends = true;
    pthread_join(thread, NULL);
    server_end(&own);
}

static int close_it(mtaio_event *event, void *ctx) {
    struct side *s = ctx;
    (void)event;
    CHECK(mtaio_nats_unbind(s->binding, 0) <= 0 && mtaio_nats_close(s->nats, 0) <= 0);
    return 0;
}

/* "Any thread, any time": ends from within its own events, of the sender, of the client library's thread. */
static void close_from_events(void **state) {
    (void)state;
    struct server own;
    struct side a;
    server_start(&own, NULL);
    side_begin(&a, own.url, NULL);
    CHECK(mtaio_on(a.events, "nats.refused", close_it, &a) == 0);
    side_says(&a, "a b", "no subject");
    EVENTUALLY(a.closed == 1);
    side_end(&a);
    side_begin(&a, own.url, NULL);
    CHECK(mtaio_on(a.events, "nats.disconnected", close_it, &a) == 0);
    server_kill(&own);
    EVENTUALLY(a.closed == 1);
    side_end(&a);
    server_end(&own);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(topics_are_subjects),    cmocka_unit_test(no_echo),
        cmocka_unit_test(everything_travels),     cmocka_unit_test(patterns),
        cmocka_unit_test(refused_to_send),        cmocka_unit_test(flush_and_unbind),
        cmocka_unit_test(waits_for_the_server),   cmocka_unit_test(close_without_server),
        cmocka_unit_test(close_from_events),      cmocka_unit_test(close_waits_for_the_server),
        cmocka_unit_test(goes_on_with_its_peers), cmocka_unit_test(hostile_peers),
    };
    return RUN_WITH_SERVER(tests, &server, NULL);
}
