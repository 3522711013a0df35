/* test_nats_stream_faults.c - durable bindings where memory is short, or peers write what they like. Every
 * allocation of the adapter and of the library can fail here; those of the client library cannot. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "short_memory.h"
#include "test_stream.h"

static struct server server;

/* --- Memory that fails ------------------------------------------------------------------------- */

/* Binding: ENOMEM, and nothing of it stays; the next time it is bound. */
static void binding(void **state) {
    (void)state;
    struct side s;
    mtaio_emitter *em;
    long n = 0, left;
    side_begin(&s, server.url, NULL);
    CHECK(mtaio_emitter_new(NULL, &em) == 0);
    do {
        mtaio_nats_binding *b = NULL;
        memory_fails_in(++n);
        int r = mtaio_nats_bind(
            s.nats, s.channel,
            MTAIO_NATS_BINDING_OPTIONS(.prefix = "short", .send = EVERYTHING, .take = EVERYTHING,
                                       .durable = MTAIO_NATS_STREAM(.consumer = n % 2 ? "c" : NULL,
                                                                    .emitter = em, .dead_topic = "dead")),
            &b);
        left = memory_left();
        memory_fails_in(0);
        CHECK((r == 0) == (b != NULL) && (r == 0 || r == MTAIO_ENOMEM));
        CHECK(left > 0 || r == MTAIO_ENOMEM || n > 10);
        mtaio_nats_binding_unref(b);
    } while (left == 0);
    CHECK(n > 10);
    print_message("# %ld allocations\n", n - 1);
    mtaio_emitter_unref(em);
    side_end(&s);
}

static atomic_uint handled;

static int handle(mtaio_event *event, void *ctx) {
    (void)event, (void)ctx;
    handled++;
    return 0;
}

static int decode(mtaio_publication *p, void *ctx) {
    (void)ctx;
    char *copy = memory_get(p->bytes + 1);
    memcpy(copy, p->data, p->bytes);
    p->data = copy;
    p->release = free;
    return 0;
}

/* Publishes n messages by hand, each while the next, the second next ... allocation fails; all are handled
 * once. */
static void with_failures(struct side *s, const char *prefix, unsigned n, unsigned (*seen)(struct side *s)) {
    int raw = raw_connect(server.port);
    char line[128];
    for (unsigned i = 1; i <= n; i++) {
        memory_fails_in(i % 20 + 1);
        snprintf(line, sizeof line, "HPUB %s.n 21 22\r\nNATS/1.0\r\nk: vvvv\r\n\r\nx\r\n", prefix);
        raw_send(raw, line);
        for (int64_t limit = support_now_ms() + 10000; seen(s) < i || side_stats(s).open > 0;
             support_sleep_ms(1))
            CHECK(support_now_ms() < limit);
        memory_fails_in(0);
        CHECK(seen(s) == i);
    }
    CHECK(side_stats(s).redelivered > 0 && side_stats(s).refused == 0);
    close(raw);
}

static unsigned seen_by_handler(struct side *s) {
    (void)s;
    return handled;
}

static unsigned seen_by_receiver(struct side *s) {
    mtaio_message m;
    if (mtaio_subscriber_receive(s->sub, 0, &m) >= 0) {
        handled++;
        mtaio_message_clear(&m);
    }
    return handled;
}

/* Taking: what there is no memory for comes again. */
static void taking(void **state) {
    (void)state;
    struct side s;
    mtaio_emitter *em;
    CHECK(mtaio_emitter_new(NULL, &em) == 0 && mtaio_on(em, "n", handle, NULL) == 0);
    const mtaio_nats_stream *how = MTAIO_NATS_STREAM(.consumer = "c", .again_ns = 5 * MS, .emitter = em);
    side_begin(&s, server.url, &(struct side_how){.prefix = "emit", .take = EVERYTHING, .durable = how});
    with_failures(&s, "emit", 60, seen_by_handler);
    side_end(&s);
    mtaio_emitter_unref(em);
    handled = 0;
    how = MTAIO_NATS_STREAM(.consumer = "c", .again_ns = 5 * MS);
    side_begin(&s, server.url,
               &(struct side_how){.prefix = "decode",
                                  .take = EVERYTHING,
                                  .durable = how,
                                  .codec = MTAIO_NATS_CODEC(.decode = decode)});
    with_failures(&s, "decode", 60, seen_by_receiver);
    side_end(&s);
}

/* --- What others write ------------------------------------------------------------------------- */

/* "whatever arrives from the wire is validated": what is no message of ours is refused, counted, and not
 * asked for again. */
static void hostile_messages(void **state) {
    (void)state;
    static const char *const bad[] = {
        "PUB hostile.\xff\xfe 1\r\nx\r\n",
        "PUB hostile.\xc0\xaf 1\r\nx\r\n",
        "HPUB hostile.h 20 21\r\nNATS/1.0\r\na: \x01\x02\x1b\r\n\r\nx\r\n",
    };
    struct side s;
    int raw = raw_connect(server.port);
    side_begin(&s, server.url,
               &(struct side_how){.prefix = "hostile",
                                  .take = EVERYTHING,
                                  .durable = MTAIO_NATS_STREAM(.consumer = "c", .ack_wait_ns = 300 * MS)});
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) raw_send(raw, bad[i]);
    raw_send(raw, "HPUB hostile.ok 38 39\r\nNATS/1.0\r\nNats-Msg-Id: _MTAIO.zz.q\r\n\r\nx\r\n");
    raw_send(raw,
             "HPUB hostile.ok 33 34\r\nNATS/1.0\r\nmtaio-delivery: 999\r\n\r\ny\r\n"); /* no mark of ours */
    raw_send(raw, "PUB hostile.$mtaio-sent 0\r\n\r\n");
    side_expects(&s, "ok", "x");
    mtaio_message m;
    CHECK(mtaio_subscriber_receive(s.sub, 5000 * MS, &m) >= 0 && !mtaio_message_metadata(&m));
    mtaio_message_clear(&m);
    EVENTUALLY(s.refused == 3);
    support_sleep_ms(500);
    CHECK(side_stats(&s).refused == 3 && side_stats(&s).open == 0 && side_stats(&s).taken == 2);
    EVENTUALLY(consumer_open(server.url, "hostile", "c") == 0 &&
               consumer_waiting(server.url, "hostile", "c") == 0);
    side_end(&s);
    close(raw);
}

/* Who learns of the subjects on which acknowledgements and messages come may write there: what is neither is
 * passed over, and what follows arrives. */
static void hostile_answers(void **state) {
    (void)state;
    static const char *const texts[] = {
        "PUB %s 0\r\n\r\n",
        "PUB %s 3\r\nabc\r\n",
        "PUB %s 20\r\n{\"error\":{\"code\":999}\r\n",
        "PUB %s 10\r\n{\"stream\":\r\n",
        "PUB %s $JS.ACK.a.b.1.1.1.1 1\r\nx\r\n",
        "PUB %s $JS.ACK.a.b.1.0.1.1.1 1\r\nx\r\n",
        "PUB %s $JS.ACK.a.b.1.99999999999999999999999.1.1.1 1\r\nx\r\n",
        "PUB %s $JS.ACK.a.b.c.d.e.f.g 1\r\nx\r\n",
        "HPUB %s 28 28\r\nNATS/1.0 404 No Messages\r\n\r\n\r\n",
        "HPUB %s 33 33\r\nNATS/1.0 409 Consumer Deleted\r\n\r\n\r\n",
        "HPUB %s 16 16\r\nNATS/1.0 503\r\n\r\n\r\n",
        "HPUB %s 16 16\r\nNATS/1.0 xyz\r\n\r\n\r\n",
    };
    struct side s;
    char acks[256], asks[256], line[512];
    int raw = raw_connect(server.port);
    raw_send(raw, "SUB answers.> 1\r\nSUB $JS.API.CONSUMER.MSG.NEXT.answers.> 2\r\n");
    side_begin(&s, server.url,
               &(struct side_how){.prefix = "answers",
                                  .send = EVERYTHING,
                                  .take = EVERYTHING,
                                  .durable = MTAIO_NATS_STREAM(.consumer = "c")});
    raw_read_word(raw, "_INBOX.", asks, sizeof asks);
    CHECK(mtaio_publish(s.channel, "first", "x", 1) >= 0);
    side_expects(&s, "first", "x");
    raw_read_word(raw, "_INBOX.", acks, sizeof acks);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        for (int which = 0; which < 2; which++) {
            snprintf(line, sizeof line, texts[i], which ? acks : asks);
            raw_send_bytes(raw, line, strlen(line));
        }
    }
    strrchr(acks, '.')[1] = 'z'; /* no number; then one that is not sent yet */
    snprintf(line, sizeof line, "PUB %s 20\r\n{\"stream\":\"x\",\"seq\":1\r\nPUB %.*sfff 0\r\n\r\n", acks,
             (int)(strrchr(acks, '.') - acks + 1), acks);
    raw_send_bytes(raw, line, strlen(line));
    for (int i = 0; i < 100; i++) CHECK(mtaio_publish(s.channel, "next", "y", 1) >= 0);
    CHECK(mtaio_nats_flush(s.binding, 10000 * MS) == 0);
    CHECK(side_stats(&s).acknowledged == 101 && stream_count(server.url, "answers") == 101);
    close(raw);
    raw = raw_connect(server.port);
    raw_send(raw, "PUB answers.other 1\r\nz\r\n");
    for (int i = 0; i < 100; i++) side_expects(&s, "next", "y");
    side_expects(&s, "other", "z");
    side_end(&s);
    close(raw);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(binding),
        cmocka_unit_test(taking),
        cmocka_unit_test(hostile_messages),
        cmocka_unit_test(hostile_answers),
    };
    CHECK(memory_begin() == 0);
    return RUN_WITH_SERVER(tests, &server, JETSTREAM);
}
