/* test_nats_packs.c - messages that travel together, over a server of its own. */
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test_server.h"

static struct server server;

/* --- Sending ----------------------------------------------------------------------------------- */

/* Holds up the sending thread, so that what is published meanwhile waits together. */
struct hold {
    sem_t reached, go;
};

static int hold(mtaio_event *event, void *ctx) {
    struct hold *h = ctx;
    (void)event;
    sem_post(&h->reached);
    while (sem_wait(&h->go) != 0) continue;
    return 0;
}

static void hold_begin(struct side *s, struct hold *h) {
    sem_init(&h->reached, 0, 0);
    sem_init(&h->go, 0, 0);
    CHECK(mtaio_on(s->events, "nats.refused", hold, h) == 0);
    CHECK(mtaio_publish(s->channel, "no subject", "x", 1) >= 0);
    while (sem_wait(&h->reached) != 0) continue;
}

static void say_with_metadata(struct side *s, const char *topic) {
    mtaio_metadata *metadata;
    CHECK(mtaio_metadata_new(&metadata) == 0 && mtaio_metadata_set(metadata, "a", "b") >= 0);
    CHECK(mtaio_channel_publish(s->channel, MTAIO_PUBLICATION(.topic = topic, .metadata = metadata), -1) >=
          0);
    mtaio_metadata_unref(metadata);
}

/* "those of one topic that wait together travel as one", each of them is taken, in order; what has metadata,
 * or is large, or the only one of its topic, goes as it is. */
static void packs(void **state) {
    (void)state;
    struct side a, b, narrow;
    struct hold h;
    char *large = calloc(1, 20001);
    int raw = raw_connect(server.port);
    CHECK(large != NULL);
    memset(large, 'x', 20000);
    raw_send(raw, "SUB shop.> 1\r\n");
    side_begin(&a, server.url, &(struct side_how){.send = EVERYTHING, .pack = true});
    side_begin(&b, server.url, &(struct side_how){.take = EVERYTHING});
    side_begin(&narrow, server.url, &(struct side_how){.take = (const char *const[]){"t", NULL}});
    hold_begin(&a, &h);
    for (const char *const *p = (const char *const[]){"1", "", "345", NULL}; *p; p++) side_says(&a, "t", *p);
    for (int i = 0; i < 2; i++) side_says(&a, "u", "u");
    say_with_metadata(&a, "u");
    side_says(&a, "t", "alone");
    side_says(&a, NULL, "none");
    side_says(&a, NULL, "none");
    side_says(&a, "t", large);
    side_says(&a, "t", "last");
    sem_post(&h.go);
    CHECK(raw_reads(raw, "MSG shop.t 1 _MTAIO."));
    CHECK(raw_reads(raw, ".1.3 16\r\n"));
    CHECK(raw_reads(raw, "MSG shop.u 1 _MTAIO."));
    CHECK(raw_reads(raw, ".4.2 10\r\n"));
    CHECK(raw_reads(raw, "HMSG shop.u 1 _MTAIO."));
    CHECK(raw_reads(raw, "MSG shop.t 1 _MTAIO."));
    CHECK(raw_reads(raw, ".7 5\r\nalone\r\n"));
    for (const char *const *p = (const char *const[]){"1", "", "345", NULL}; *p; p++) {
        side_expects(&b, "t", *p);
        side_expects(&narrow, "t", *p);
    }
    for (int i = 0; i < 2; i++) side_expects(&b, "u", "u");
    side_expects(&b, "u", "");
    for (int i = 0; i < 2; i++) side_expects(i ? &b : &narrow, "t", "alone");
    for (int i = 0; i < 2; i++) side_expects(&b, NULL, "none");
    for (int i = 0; i < 2; i++) side_expects(i ? &b : &narrow, "t", large);
    for (int i = 0; i < 2; i++) side_expects(i ? &b : &narrow, "t", "last");
    CHECK(mtaio_nats_flush(a.binding, 5000 * MS) == 0);
    EVENTUALLY(side_stats(&a).sent == 11 && side_stats(&b).taken == 11 && side_stats(&narrow).taken == 6);
    CHECK(side_stats(&b).lost == 0 && side_stats(&b).refused == 0);
    side_end(&a);
    side_end(&b);
    side_end(&narrow);
    close(raw);
    free(large);
}

/* The most that one holds; and a binding that sends and takes does not take its own packs. */
static void many(void **state) {
    enum { COUNT = 1000 };
    (void)state;
    struct side a, b;
    struct hold h;
    char text[16];
    side_begin(&a, server.url, &(struct side_how){.send = EVERYTHING, .take = EVERYTHING, .pack = true});
    side_begin(&b, server.url, &(struct side_how){.send = EVERYTHING, .take = EVERYTHING, .pack = true});
    hold_begin(&a, &h);
    mtaio_subscriber_unref(a.sub); /* of its own */
    CHECK(mtaio_subscribe(a.channel, NULL, &a.sub) == 0);
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof text, "%d", i);
        side_says(&a, "t", text);
    }
    sem_post(&h.go);
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof text, "%d", i);
        side_expects(&b, "t", text);
        side_expects(&a, "t", text);
    }
    side_expects_nothing(&a);
    side_expects_nothing(&b);
    CHECK(side_stats(&a).sent == COUNT && side_stats(&a).taken == 0 && side_stats(&b).taken == COUNT);
    side_end(&a);
    side_end(&b);
}

/* --- Taking ------------------------------------------------------------------------------------ */

static void raw_pack(int raw, const char *reply, const void *bytes, size_t n) {
    char line[128];
    int length = snprintf(line, sizeof line, "PUB shop.p _MTAIO.%s %zu\r\n", reply, n);
    raw_send_bytes(raw, line, (size_t)length);
    raw_send_bytes(raw, bytes, n);
    raw_send(raw, "\r\n");
}
#define RAW_PACK(reply, text) raw_pack(raw, reply, text, sizeof(text) - 1)

/* What is no pack is refused, nothing of it is taken; its numbers are noted: "exactly". */
static void hostile_packs(void **state) {
    (void)state;
    struct side a;
    int raw = raw_connect(server.port);
    side_begin(&a, server.url, NULL);
    RAW_PACK("9.1.2", "\0\0\0\1a\0\0\0\2bc");
    side_expects(&a, "p", "a");
    side_expects(&a, "p", "bc");
    RAW_PACK("9.1.2", "\0\0\0\1a\0\0\0\2bc"); /* again */
    RAW_PACK("9.2.2", "\0\0\0\1a\0\0\0\2bc"); /* the half of it */
    CHECK(a.refused == 0);
    static const struct {
        const char *bytes;
        size_t n;
    } bad[] = {{"", 0},
               {"\0\0\0\1a", 5},
               {"\0\0\0\1a\0\0\0\2b", 10},
               {"\0\0\0\1a\0\0\0", 8},
               {"\0\0\0\1a\0\0\0\2bc\0", 12},
               {"\xff\xff\xff\xff\0\0\0\0", 8},
               {"\0\0\0\1a\x7f\xff\xff\xff", 9}};
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
        char reply[16];
        snprintf(reply, sizeof reply, "9.%x.2", 5 + 2 * i); /* 3 and 4 are missing */
        raw_pack(raw, reply, bad[i].bytes, bad[i].n);
    }
    RAW_PACK("9.13.2", "\0\0\0\0\0\0\0\1z");
    side_expects(&a, "p", "");
    side_expects(&a, "p", "z");
    side_expects_nothing(&a);
    EVENTUALLY(side_stats(&a).refused == 7 && side_stats(&a).taken == 4 && a.refused == 7);
    CHECK(side_stats(&a).lost == 2);
    side_end(&a);
    close(raw);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(packs), cmocka_unit_test(many),
                                       cmocka_unit_test(hostile_packs)};
    return RUN_WITH_SERVER(tests, &server, NULL);
}
