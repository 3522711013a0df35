/* channel_mtaio.c - mtaio's channels, as the others are. */
#include <mtaio/mtaio.h>
#include <string.h>

#include "channel.h"

struct own_channel {
    size_t count;
    mtaio_channel *channel;
    mtaio_subscriber *subscriber[CHANNEL_RECEIVERS], *elsewhere;
};

static void *own_open(size_t receivers) {
    struct own_channel *c = bench_alloc(sizeof *c);
    c->count = receivers;
    bench_ok(mtaio_channel_new(MTAIO_CHANNEL_OPTIONS(.buffer_size = CHANNEL_ROOM), &c->channel));
    for (size_t i = 0; i < receivers; i++) bench_ok(mtaio_subscribe(c->channel, NULL, &c->subscriber[i]));
    return c;
}
static void own_close(void *channel) {
    struct own_channel *c = channel;
    for (size_t i = 0; i < c->count; i++) mtaio_subscriber_unref(c->subscriber[i]);
    mtaio_subscriber_unref(c->elsewhere);
    mtaio_channel_unref(c->channel);
    free(c);
}
static inline void own_publish(void *channel, const struct message *m) {
    bench_ok(mtaio_publish(((struct own_channel *)channel)->channel, NULL, m, sizeof *m));
}
static inline void own_read(mtaio_message *from, struct message *ret) {
    memcpy(ret, mtaio_message_data(from), sizeof *ret);
    mtaio_message_clear(from);
}
static inline void own_take(void *channel, size_t i, struct message *ret) {
    mtaio_message m;
    bench_ok(mtaio_subscriber_receive(((struct own_channel *)channel)->subscriber[i], 0, &m));
    own_read(&m, ret);
}
static inline void own_receive(void *channel, size_t i, struct message *ret) {
    mtaio_message m;
    bench_ok(mtaio_receive(((struct own_channel *)channel)->subscriber[i], &m));
    own_read(&m, ret);
}
static inline bool own_try(void *channel, const struct message *m) {
    const mtaio_publication p = {.size = sizeof p, .data = m, .bytes = sizeof *m};
    int r = mtaio_channel_publish(((struct own_channel *)channel)->channel, &p, 0);
    return r != MTAIO_EAGAIN && bench_ok(r) > 0;
}
static inline bool own_look(void *channel, struct message *ret) {
    mtaio_message m;
    int r = mtaio_subscriber_receive(((struct own_channel *)channel)->subscriber[0], 0, &m);
    if (r == MTAIO_EAGAIN) return false;
    bench_ok(r);
    own_read(&m, ret);
    return true;
}
CHANNEL_PEER(own)
CHANNEL_TWO(own)

const struct channel_peer channel_mtaio = {"mtaio",  own_open, own_alone, own_pass,
                                           own_ping, own_nap,  own_two,   own_close};

/* Published one by one, received as many at once as are there. */
void channel_mtaio_pass_bulk(void *transit, size_t times) {
    struct transit *t = transit;
    struct own_channel *c = t->channel;
    mtaio_message list[CHANNEL_MANY];
    if (channel_first) {
        own_pass(t, times);
        return;
    }
    for (uint64_t end = t->got[t->receivers - 1] + times * CHANNEL_BURST; t->got[t->receivers - 1] < end;)
        for (size_t i = 0; i < t->receivers; i++) {
            uint64_t left = end - t->got[i];
            size_t most = left < CHANNEL_MANY ? (size_t)left : CHANNEL_MANY;
            int n = most > 0 ? bench_ok(mtaio_subscriber_receive_many(c->subscriber[i], -1, list, most)) : 0;
            for (int k = 0; k < n; k++) {
                struct message m;
                own_read(&list[k], &m);
                channel_check(t, i, m.number);
            }
        }
}

/* One subscriber of the topic; another one has 1,000 patterns, none of which matches. */
void *channel_mtaio_open_topic(void) {
    struct own_channel *c = bench_alloc(sizeof *c);
    char pattern[32];
    c->count = 1;
    bench_ok(mtaio_channel_new(MTAIO_CHANNEL_OPTIONS(.buffer_size = CHANNEL_ROOM), &c->channel));
    bench_ok(mtaio_subscribe(c->channel, "user.created", &c->subscriber[0]));
    bench_ok(mtaio_subscribe(c->channel, "other", &c->elsewhere));
    for (int i = 0; i < 1000; i++) {
        snprintf(pattern, sizeof pattern, i % 10 ? "order.n%d.paid" : "order.*.n%d", i);
        bench_ok(mtaio_subscriber_add(c->elsewhere, pattern));
    }
    return c;
}

void channel_mtaio_topic(void *transit, size_t times) {
    struct transit *t = transit;
    struct own_channel *c = t->channel;
    for (; times; times--) {
        struct message m = {t->sent++, 0};
        if (bench_ok(mtaio_publish(c->channel, "user.created", &m, sizeof m)) != 1) abort();
        own_take(c, 0, &m);
        channel_check(t, 0, m.number);
    }
}
