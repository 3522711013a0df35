/* test_nats_codec.c - messages that are more than bytes, over a server of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "test_server.h"

static struct server server;

/* What is published: by its pointer. */
struct thing {
    int number;
};
static atomic_int things; /* that live */

static struct thing *thing_new(int number) {
    struct thing *thing = malloc(sizeof *thing);
    CHECK(thing != NULL);
    thing->number = number;
    things++;
    return thing;
}

static void thing_free(void *thing) {
    things--;
    free(thing);
}

/* How they travel: as digits. */
struct digits {
    atomic_uint encoded, decoded, released, runs, destroyed;
};

static _Thread_local int inside; /* between begin and end */

static void begin(void *ctx) {
    ((struct digits *)ctx)->runs++;
    CHECK(inside++ == 0);
}

static void end(void *ctx) {
    (void)ctx;
    CHECK(--inside == 0);
}

static void text_free(void *owner) {
    struct digits *d = *(struct digits **)owner;
    CHECK(inside == 1);
    d->released++;
    free(owner);
}

static int encode(const mtaio_message *message, mtaio_nats_bytes *ret, void *ctx) {
    struct digits *d = ctx;
    const struct thing *thing = mtaio_message_data(message);
    CHECK(inside == 1 && ret->data == thing && ret->bytes == mtaio_message_bytes(message));
    d->encoded++;
    if (ret->bytes > 0) return 0; /* as it is */
    if (thing->number < 0) return MTAIO_EINVAL;
    char *owner = malloc(sizeof d + 32);
    CHECK(owner != NULL);
    memcpy(owner, &d, sizeof d);
    ret->owner = owner;
    ret->data = owner + sizeof d;
    ret->bytes = (size_t)snprintf(owner + sizeof d, 32, "%d", thing->number);
    ret->release = text_free;
    CHECK(mtaio_metadata_new(&ret->metadata) == 0 && mtaio_metadata_set(ret->metadata, "kind", "thing") >= 0);
    return 0;
}

static int decode(mtaio_publication *p, void *ctx) {
    struct digits *d = ctx;
    char text[16];
    CHECK(inside == 1 && p->topic && p->data && !p->release);
    d->decoded++;
    if (!p->metadata) return 0; /* bytes */
    CHECK(strcmp(mtaio_metadata_get(p->metadata, "kind"), "thing") == 0 && p->bytes < sizeof text);
    memcpy(text, p->data, p->bytes);
    text[p->bytes] = '\0';
    if (strcmp(text, "13") == 0) return MTAIO_ECANCELED;
    p->data = thing_new(atoi(text));
    p->bytes = 0;
    p->release = thing_free;
    if (strcmp(text, "7") == 0) return 0; /* with the metadata that came */
    CHECK(mtaio_metadata_new(&p->metadata) == 0 && mtaio_metadata_set(p->metadata, "of", p->topic) >= 0);
    return 0;
}

static void destroy(void *ctx) { ((struct digits *)ctx)->destroyed++; }

#define DIGITS(d)                                                                                            \
    MTAIO_NATS_CODEC(.encode = encode, .decode = decode, .begin = begin, .end = end, .destroy = destroy,     \
                     .ctx = (d))

static int publish_thing(struct side *s, const char *topic, int number) {
    return mtaio_channel_publish(
        s->channel, MTAIO_PUBLICATION(.topic = topic, .data = thing_new(number), .release = thing_free), -1);
}

/* The next message is the thing, with this metadata. */
static void expects_thing(struct side *s, int number, const char *key, const char *value) {
    mtaio_message m;
    CHECK(mtaio_subscriber_receive(s->sub, 5000 * MS, &m) >= 0);
    CHECK(mtaio_message_bytes(&m) == 0 && ((const struct thing *)mtaio_message_data(&m))->number == number);
    CHECK(mtaio_metadata_count(mtaio_message_metadata(&m)) == 1);
    CHECK(strcmp(mtaio_metadata_get(mtaio_message_metadata(&m), key), value) == 0);
    mtaio_message_clear(&m);
}

/* "encode changes *ret, or leaves it. decode changes the publication, which has what came"; metadata that is
 * put in is taken; each owner is released once, and so is each decoded datum. */
static void things_travel(void **state) {
    (void)state;
    struct digits da = {0}, db = {0};
    struct side a, b;
    side_begin(&a, server.url, &(struct side_how){.send = EVERYTHING, .codec = DIGITS(&da)});
    side_begin(&b, server.url, &(struct side_how){.take = EVERYTHING, .codec = DIGITS(&db)});
    CHECK(publish_thing(&a, "t", 42) >= 0 && publish_thing(&a, "u", 7) >= 0);
    CHECK(mtaio_publish(a.channel, "bytes", "plain", 5) >= 0);
    expects_thing(&b, 42, "of", "t");
    expects_thing(&b, 7, "kind", "thing");
    side_expects(&b, "bytes", "plain");
    side_end(&a);
    side_end(&b);
    CHECK(da.encoded == 3 && da.released == 2 && da.decoded == 0 && da.destroyed == 1);
    CHECK(db.decoded == 3 && db.encoded == 0 && db.destroyed == 1);
    CHECK(things == 0);
}

/* "Negative: the message is refused": counted, told, not a loss; those around it travel. */
static void refused(void **state) {
    (void)state;
    struct digits da = {0}, db = {0};
    struct side a, b;
    side_begin(&a, server.url, &(struct side_how){.send = EVERYTHING, .codec = DIGITS(&da)});
    side_begin(&b, server.url, &(struct side_how){.take = EVERYTHING, .codec = DIGITS(&db)});
    static const int numbers[] = {1, -1, 13, 2, 13, -1, 3};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        CHECK(publish_thing(&a, "t", numbers[i]) >= 0);
    for (int i = 1; i <= 3; i++) expects_thing(&b, i, "of", "t");
    EVENTUALLY(a.refused == 2 && b.refused == 2);
    CHECK(mtaio_nats_flush(a.binding, 5000 * MS) == 0);
    CHECK(side_stats(&a).refused == 2 && side_stats(&a).sent == 5);
    EVENTUALLY(side_stats(&b).taken == 3);
    CHECK(side_stats(&b).refused == 2 && side_stats(&b).lost == 0);
    side_end(&a);
    side_end(&b);
    CHECK(da.released == 5 && things == 0);
}

/* "begin and end enclose each run of such calls": far fewer than messages, where many wait; in their order.
 */
static void runs(void **state) {
    enum { COUNT = 20000 };
    (void)state;
    struct digits da = {0}, db = {0};
    struct side a, b;
    side_begin(&b, server.url, &(struct side_how){.take = EVERYTHING, .codec = DIGITS(&db)});
    side_begin(&a, server.url, &(struct side_how){.send = EVERYTHING, .codec = DIGITS(&da)});
    for (int i = 100; i < 100 + COUNT; i++) CHECK(publish_thing(&a, "t", i) >= 0);
    for (int i = 100; i < 100 + COUNT; i++) expects_thing(&b, i, "of", "t");
    side_end(&a);
    side_end(&b);
    CHECK(da.encoded == COUNT && db.decoded == COUNT && things == 0);
    CHECK(da.runs < 2 * COUNT && db.runs <= COUNT);
    print_message("# %d messages: %u runs out, %u in\n", COUNT, da.runs, db.runs);
}

/* What was decoded and cannot be published is released. */
static void closed_channel(void **state) {
    (void)state;
    struct digits da = {0}, db = {0};
    struct side a, b;
    side_begin(&a, server.url, &(struct side_how){.send = EVERYTHING, .codec = DIGITS(&da)});
    side_begin(&b, server.url, &(struct side_how){.take = EVERYTHING, .codec = DIGITS(&db)});
    CHECK(mtaio_channel_close(b.channel) == 0);
    CHECK(publish_thing(&a, "t", 42) >= 0);
    EVENTUALLY(side_stats(&b).lost == 1);
    side_end(&a);
    side_end(&b);
    CHECK(db.decoded == 1 && things == 0);
}

/* "destroy: with the binding, also if binding failed"; another size: "nothing in the struct is looked at". */
static void destroyed_once(void **state) {
    (void)state;
    struct digits d = {0};
    struct side a;
    mtaio_nats_binding *b = NULL;
    side_begin(&a, server.url, NULL);
    CHECK(
        mtaio_nats_bind(a.nats, a.channel,
                        MTAIO_NATS_BINDING_OPTIONS(.prefix = "a b", .take = EVERYTHING, .codec = DIGITS(&d)),
                        &b) == MTAIO_ENAME);
    CHECK(d.destroyed == 1);
    CHECK(mtaio_nats_bind(NULL, a.channel,
                          MTAIO_NATS_BINDING_OPTIONS(.prefix = "p", .take = EVERYTHING, .codec = DIGITS(&d)),
                          &b) == MTAIO_EINVAL);
    CHECK(d.destroyed == 2);
    mtaio_nats_codec other = *DIGITS(&d);
    other.size--;
    CHECK(mtaio_nats_bind(a.nats, a.channel,
                          MTAIO_NATS_BINDING_OPTIONS(.prefix = "p", .take = EVERYTHING, .codec = &other),
                          &b) == MTAIO_EINVAL);
    CHECK(d.destroyed == 2);
    mtaio_nats_binding_options wrong =
        *MTAIO_NATS_BINDING_OPTIONS(.prefix = "p", .take = EVERYTHING, .codec = DIGITS(&d));
    wrong.size--;
    CHECK(mtaio_nats_bind(a.nats, a.channel, &wrong, &b) == MTAIO_EINVAL && d.destroyed == 2);
    CHECK(mtaio_channel_close(a.channel) == 0);
    CHECK(mtaio_nats_bind(a.nats, a.channel,
                          MTAIO_NATS_BINDING_OPTIONS(.prefix = "p", .send = EVERYTHING, .codec = DIGITS(&d)),
                          &b) == MTAIO_ECLOSED);
    CHECK(d.destroyed == 3 && !b);
    CHECK(
        mtaio_nats_bind(a.nats, a.channel,
                        MTAIO_NATS_BINDING_OPTIONS(.prefix = "p", .take = EVERYTHING,
                                                   .codec = MTAIO_NATS_CODEC(.destroy = destroy, .ctx = &d)),
                        &b) == 0);
    mtaio_nats_binding_unref(b);
    EVENTUALLY(d.destroyed == 4);
    side_end(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(things_travel),  cmocka_unit_test(refused),        cmocka_unit_test(runs),
        cmocka_unit_test(closed_channel), cmocka_unit_test(destroyed_once),
    };
    return RUN_WITH_SERVER(tests, &server, NULL);
}
