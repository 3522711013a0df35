/* channel_others.c - GAsyncQueue, one for each receiver; ZeroMQ's PUB and SUB, nng's pub0 and sub0, within the
 * process. */
#include "channel.h"

#ifdef BENCH_GLIB
#include <glib.h>

/* Nothing is allocated for a message: what is queued is a pointer into a large array, as many receivers would share
 * one. */
enum { GLIB_MESSAGES = 1 << 20 };
struct glib_channel {
    size_t count;
    GAsyncQueue *queue[CHANNEL_RECEIVERS];
    struct message *messages;
};

static void *glib_open(size_t receivers) {
    struct glib_channel *c = bench_alloc(sizeof *c);
    c->count = receivers;
    c->messages = bench_alloc(GLIB_MESSAGES * sizeof(struct message));
    for (size_t i = 0; i < receivers; i++) c->queue[i] = g_async_queue_new();
    return c;
}
static void glib_close(void *channel) {
    struct glib_channel *c = channel;
    for (size_t i = 0; i < c->count; i++) g_async_queue_unref(c->queue[i]);
    free(c->messages);
    free(c);
}
static inline void glib_publish(void *channel, const struct message *m) {
    struct glib_channel *c = channel;
    struct message *copy = &c->messages[m->number % GLIB_MESSAGES];
    *copy = *m;
    for (size_t i = 0; i < c->count; i++) g_async_queue_push(c->queue[i], copy);
}
static inline void glib_take(void *channel, size_t i, struct message *ret) {
    *ret = *(struct message *)g_async_queue_try_pop(((struct glib_channel *)channel)->queue[i]);
}
static inline void glib_receive(void *channel, size_t i, struct message *ret) {
    *ret = *(struct message *)g_async_queue_pop(((struct glib_channel *)channel)->queue[i]);
}
static inline bool glib_try(void *channel, const struct message *m) {
    glib_publish(channel, m); /* it is never full */
    return true;
}
static inline bool glib_look(void *channel, struct message *ret) {
    const struct message *m = g_async_queue_try_pop(((struct glib_channel *)channel)->queue[0]);
    if (m) *ret = *m;
    return m;
}
CHANNEL_PEER(glib)
CHANNEL_TWO(glib)

const struct channel_peer channel_glib = {"GAsyncQueue", glib_open, glib_alone, glib_pass,
                                          glib_ping,     glib_nap,  glib_two,   glib_close};
#else
const struct channel_peer channel_glib;
#endif

#ifdef BENCH_ZMQ
#include <zmq.h>

struct zmq_channel {
    size_t count;
    void *context, *publisher, *subscriber[CHANNEL_RECEIVERS];
};

static void *zero_open(size_t receivers) {
    static int number;
    char where[32];
    int none = 0;
    struct zmq_channel *c = bench_alloc(sizeof *c);
    snprintf(where, sizeof where, "inproc://%d", number++);
    c->count = receivers;
    c->context = zmq_ctx_new();
    c->publisher = zmq_socket(c->context, ZMQ_PUB);
    bench_ok(zmq_setsockopt(c->publisher, ZMQ_SNDHWM, &none, sizeof none)); /* it would drop */
    bench_ok(zmq_bind(c->publisher, where));
    for (size_t i = 0; i < receivers; i++) {
        c->subscriber[i] = zmq_socket(c->context, ZMQ_SUB);
        bench_ok(zmq_setsockopt(c->subscriber[i], ZMQ_RCVHWM, &none, sizeof none));
        bench_ok(zmq_setsockopt(c->subscriber[i], ZMQ_SUBSCRIBE, "", 0));
        bench_ok(zmq_connect(c->subscriber[i], where));
    }
    for (size_t i = 0; i < receivers; i++) { /* until the subscription has arrived */
        char byte;
        do zmq_send(c->publisher, "", 1, 0);
        while (zmq_recv(c->subscriber[i], &byte, 1, ZMQ_DONTWAIT) < 0);
        while (zmq_recv(c->subscriber[i], &byte, 1, ZMQ_DONTWAIT) >= 0) {}
    }
    for (size_t i = 0; i < receivers; i++)
        for (char byte; zmq_recv(c->subscriber[i], &byte, 1, ZMQ_DONTWAIT) >= 0;) {}
    return c;
}
static void zero_close(void *channel) {
    struct zmq_channel *c = channel;
    zmq_close(c->publisher);
    for (size_t i = 0; i < c->count; i++) zmq_close(c->subscriber[i]);
    zmq_ctx_term(c->context);
    free(c);
}
static inline void zero_publish(void *channel, const struct message *m) {
    bench_ok(zmq_send(((struct zmq_channel *)channel)->publisher, m, sizeof *m, 0));
}
static inline void zero_receive(void *channel, size_t i, struct message *ret) {
    bench_ok(zmq_recv(((struct zmq_channel *)channel)->subscriber[i], ret, sizeof *ret, 0));
}
static inline void zero_take(void *channel, size_t i, struct message *ret) { zero_receive(channel, i, ret); }
CHANNEL_PEER(zero)

const struct channel_peer channel_zmq = {"ZeroMQ",  zero_open, zero_alone, zero_pass,
                                         zero_ping, zero_nap,  NULL,       zero_close};
#else
const struct channel_peer channel_zmq;
#endif

#ifdef BENCH_NNG
#include <nng/nng.h>
#include <nng/protocol/pubsub0/pub.h>
#include <nng/protocol/pubsub0/sub.h>
#include <nng/supplemental/util/platform.h>

/* It drops what a receiver has no room for, and so takes part only where each message is taken at once. */
struct nng_channel {
    size_t count;
    nng_socket publisher, subscriber[CHANNEL_RECEIVERS];
};

static void nng_ok(int r) { bench_ok(-r); }

static void *pubsub_open(size_t receivers) {
    static int number;
    char where[32];
    struct nng_channel *c = bench_alloc(sizeof *c);
    snprintf(where, sizeof where, "inproc://%d", number++);
    c->count = receivers;
    nng_ok(nng_pub0_open(&c->publisher));
    nng_ok(nng_listen(c->publisher, where, NULL, 0));
    for (size_t i = 0; i < receivers; i++) {
        nng_ok(nng_sub0_open(&c->subscriber[i]));
        nng_ok(nng_socket_set(c->subscriber[i], NNG_OPT_SUB_SUBSCRIBE, "", 0));
        nng_ok(nng_dial(c->subscriber[i], where, NULL, 0));
    }
    nng_msleep(100); /* until the publisher knows them */
    return c;
}
static void pubsub_close(void *channel) {
    struct nng_channel *c = channel;
    for (size_t i = 0; i < c->count; i++) nng_close(c->subscriber[i]);
    nng_close(c->publisher);
    free(c);
}
static inline void pubsub_publish(void *channel, const struct message *m) {
    struct message copy = *m;
    nng_ok(nng_send(((struct nng_channel *)channel)->publisher, &copy, sizeof copy, 0));
}
static inline void pubsub_receive(void *channel, size_t i, struct message *ret) {
    size_t bytes = sizeof *ret;
    nng_ok(nng_recv(((struct nng_channel *)channel)->subscriber[i], ret, &bytes, 0));
}
static inline void pubsub_take(void *channel, size_t i, struct message *ret) { pubsub_receive(channel, i, ret); }
CHANNEL_PEER(pubsub)

const struct channel_peer channel_nng = {"nng",       pubsub_open, pubsub_alone, NULL,
                                         pubsub_ping, pubsub_nap,  NULL,         pubsub_close};
#else
const struct channel_peer channel_nng;
#endif
