/* test_nats_stream_codec.c - durable bindings whose messages are decoded. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_stream.h"

static struct server server;

struct thing {
    int number;
};
static struct thing one = {1}; /* of which there is only one: what "1" is decoded to */
static atomic_int things, ones;

static void thing_free(void *data) {
    if (data == &one) {
        ones--;
        return;
    }
    things--;
    free(data);
}

/* "0": refused; "1": the one; "2": lies within what came; else a new thing; not for the topic "bytes". */
static int decode(mtaio_publication *p, void *ctx) {
    (void)ctx;
    if (strcmp(p->topic, "bytes") == 0) return 0;
    int number = atoi(p->data);
    if (number == 0) return MTAIO_EINVAL;
    if (number == 2) {
        p->data = (const char *)p->data + 1;
        p->bytes--;
        return 0;
    }
    struct thing *thing = number == 1 ? &one : malloc(sizeof *thing);
    CHECK(thing != NULL);
    if (thing != &one) thing->number = number; /* others may be reading that one */
    *(number == 1 ? &ones : &things) += 1;
    p->data = thing;
    p->bytes = 0;
    p->release = thing_free;
    return 0;
}

static void expects_number(struct side *s, int number, mtaio_message *ret) {
    CHECK(mtaio_subscriber_receive(s->sub, 5000 * MS, ret) >= 0);
    CHECK(((const struct thing *)mtaio_message_data(ret))->number == number);
}

/* What decode has made is acknowledged when it is released; of one pointer that is several messages, when all
 * are. */
static void decoded_on_the_channel(void **state) {
    (void)state;
    struct side a, b;
    mtaio_message m[3];
    side_begin(&b, server.url,
               &(struct side_how){.prefix = "things",
                                  .take = EVERYTHING,
                                  .codec = MTAIO_NATS_CODEC(.decode = decode),
                                  .durable = MTAIO_NATS_STREAM(.consumer = "c")});
    side_begin(&a, server.url,
               &(struct side_how){.prefix = "things", .send = EVERYTHING, .durable = MTAIO_NATS_STREAM()});
    side_says(&a, "n", "7");
    expects_number(&b, 7, &m[0]);
    CHECK(things == 1 && consumer_open(server.url, "things", "c") == 1);
    mtaio_message_clear(&m[0]);
    EVENTUALLY(things == 0 && consumer_open(server.url, "things", "c") == 0);
    side_says(&a, "n", "1");
    side_says(&a, "n", "1");
    for (int i = 0; i < 2; i++) expects_number(&b, 1, &m[i]);
    mtaio_message_clear(&m[1]);
    support_sleep_ms(50);
    CHECK(ones == 1 && side_stats(&b).open == 2); /* which of them it was cannot be told */
    mtaio_message_clear(&m[0]);
    EVENTUALLY(ones == 0 && consumer_open(server.url, "things", "c") == 0);
    side_says(&a, "n", "2 within");
    side_expects(&b, "n", " within");
    side_says(&a, "bytes", "as they are");
    side_expects(&b, "bytes", "as they are");
    side_says(&a, "n", "0");
    EVENTUALLY(b.refused == 1 && consumer_open(server.url, "things", "c") == 0);
    CHECK(side_stats(&b).open == 0 && side_stats(&b).refused == 1 && side_stats(&b).taken == 5);
    CHECK(mtaio_channel_close(b.channel) == 0);
    side_says(&a, "n", "7");
    side_says(&a, "n", "1");
    side_says(&a, "bytes", "x");
    EVENTUALLY(b.troubled == 1);
    side_end(&a);
    side_end(&b);
    CHECK(things == 0 && ones == 0);
}

static int see(mtaio_event *event, void *ctx) {
    atomic_int *seen = ctx;
    const void *data = mtaio_event_data(event);
    if (strcmp(mtaio_event_name(event), "bytes") == 0)
        CHECK(strcmp(((const mtaio_nats_data *)data)->data, "as they are") == 0);
    else
        CHECK(((const struct thing *)data)->number > 0);
    *seen += 1;
    return mtaio_event_get(event, "mtaio-delivery") ? 0 : -1;
}

/* "The event's data: what the codec's decode made, else a mtaio_nats_data". */
static void decoded_events(void **state) {
    (void)state;
    struct side a, b;
    mtaio_emitter *em;
    atomic_int seen = 0;
    CHECK(mtaio_emitter_new(NULL, &em) == 0 && mtaio_on(em, "*", see, &seen) == 0);
    side_begin(&b, server.url,
               &(struct side_how){
                   .prefix = "events",
                   .take = EVERYTHING,
                   .codec = MTAIO_NATS_CODEC(.decode = decode),
                   .durable = MTAIO_NATS_STREAM(.consumer = "c", .emitter = em, .again_ns = 10 * MS)});
    side_begin(&a, server.url,
               &(struct side_how){.prefix = "events", .send = EVERYTHING, .durable = MTAIO_NATS_STREAM()});
    side_says(&a, "n", "7");
    side_says(&a, "n", "1");
    side_says(&a, "bytes", "as they are");
    EVENTUALLY(seen == 6 && side_stats(&b).open == 0 && things == 0 && ones == 0);
    CHECK(side_stats(&b).redelivered == 3);
    side_end(&a);
    side_end(&b);
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoded_on_the_channel),
        cmocka_unit_test(decoded_events),
    };
    return RUN_WITH_SERVER(tests, &server, JETSTREAM);
}
