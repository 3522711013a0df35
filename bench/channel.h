/* channel.h - what every competitor of a channel does: gives each message to every receiver.
 *
 * CHANNEL_PEER(p) makes of p_open, p_publish, p_take, p_receive and p_close, which the file defines before, the loops
 * that are measured, so that no call stands between them. take: a message is there; receive: waits for one; publish
 * waits for room. Each message tells its number, and each receiver checks that none is missing.
 *
 * CHANNEL_TWO(p) is for those where several can publish at once, and needs p_try and p_look besides: publishing and
 * taking that do not wait, but answer false. */
#ifndef BENCH_CHANNEL_H
#define BENCH_CHANNEL_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"

enum { CHANNEL_RECEIVERS = 3, CHANNEL_ROOM = 1024, CHANNEL_MANY = 64 };
enum { CHANNEL_BURST = 1000, CHANNEL_TRIPS = 20 }; /* in one of two threads' `times`: starting them weighs little */

struct message {
    uint64_t number, more;
};

/* One competitor's channel, and where its two sides are. */
struct transit {
    void *channel;
    size_t receivers;
    _Alignas(64) uint64_t sent;                   /* the publisher's */
    _Alignas(64) uint64_t got[CHANNEL_RECEIVERS]; /* the receivers' */
};

struct channel_peer {
    const char *name; /* NULL: it is not there */
    void *(*open)(size_t receivers);
    void (*alone)(void *transit, size_t times); /* one thread publishes and takes in turn */
    void (*pass)(void *transit, size_t times);  /* the first thread publishes, the second receives; NULL: cannot */
    void (*ping)(void *transits, size_t times); /* there and back, by two of them; NULL: cannot */
    void (*nap)(void *transits, size_t times);  /* the same, and each side first lets the other fall asleep */
    void (*two)(void *transit, size_t times);   /* both threads publish, the second receives too; NULL: cannot */
    void (*close)(void *channel);
};
extern const struct channel_peer channel_mtaio, channel_bare, channel_mutex, channel_futex, channel_glib, channel_zmq,
    channel_nng;

/* What only some do, and mtaio in its own ways. */
void channel_mtaio_pass_bulk(void *transit, size_t times);
void channel_bare_pass_bulk(void *transit, size_t times);
void channel_mtaio_topic(void *transit, size_t times);
void *channel_mtaio_open_topic(void);

/* Is this the first of the two measuring threads? */
extern __thread bool channel_first;

enum { CHANNEL_NAP_NS = 100000 }; /* so long nobody is awake */
void channel_nap(void);

static inline void channel_check_next(uint64_t *next, uint64_t number) {
    if (number == (*next)++) return;
    fprintf(stderr, "bench: a receiver got message %llu, not %llu\n", (unsigned long long)number,
            (unsigned long long)*next - 1);
    abort();
}
static inline void channel_check(struct transit *t, size_t receiver, uint64_t number) {
    channel_check_next(&t->got[receiver], number);
}

#define CHANNEL_PEER(p)                                                                                       \
    static inline void p##_send(struct transit *t) {                                                          \
        struct message m = {t->sent++, 0};                                                                    \
        p##_publish(t->channel, &m);                                                                          \
    }                                                                                                         \
    static inline void p##_get(struct transit *t, size_t i) {                                                 \
        struct message m;                                                                                     \
        p##_receive(t->channel, i, &m);                                                                       \
        channel_check(t, i, m.number);                                                                        \
    }                                                                                                         \
    static __attribute__((unused)) void p##_alone(void *transit, size_t times) {                              \
        struct transit *t = transit;                                                                          \
        for (size_t n = times; n > 0; n--) {                                                                  \
            p##_send(t);                                                                                      \
            for (size_t i = 0; i < t->receivers; i++) {                                                       \
                struct message m = {0, 0};                                                                    \
                p##_take(t->channel, i, &m);                                                                  \
                channel_check(t, i, m.number);                                                                \
            }                                                                                                 \
        }                                                                                                     \
    }                                                                                                         \
    static __attribute__((unused)) void p##_pass(void *transit, size_t times) {                               \
        struct transit *t = transit;                                                                          \
        if (channel_first) {                                                                                  \
            for (size_t n = times * CHANNEL_BURST; n > 0; n--) p##_send(t);                                   \
            return;                                                                                           \
        }                                                                                                     \
        for (size_t n = times * CHANNEL_BURST; n > 0; n--)                                                    \
            for (size_t i = 0; i < t->receivers; i++) p##_get(t, i);                                          \
    }                                                                                                         \
    static inline void p##_trips(struct transit *t, size_t times, bool naps) {                                \
        struct transit *mine = &t[!channel_first], *other = &t[channel_first];                                \
        for (size_t n = times; n > 0; n--) {                                                                  \
            if (!channel_first) p##_get(other, 0);                                                            \
            if (naps) channel_nap();                                                                          \
            p##_send(mine);                                                                                   \
            if (channel_first) p##_get(other, 0);                                                             \
        }                                                                                                     \
    }                                                                                                         \
    static __attribute__((unused)) void p##_ping(void *transits, size_t times) {                              \
        p##_trips(transits, times * CHANNEL_TRIPS, false);                                                    \
    }                                                                                                         \
    static __attribute__((unused)) void p##_nap(void *transits, size_t times) {                               \
        p##_trips(transits, times, true);                                                                     \
    }

/* Who receives must not wait for room: the other may have filled the buffer. Numbers are even or odd, by publisher. */
#define CHANNEL_TWO(p)                                                                                        \
    static inline bool p##_look_and_check(struct transit *t, uint64_t next[2]) {                              \
        struct message m;                                                                                     \
        if (!p##_look(t->channel, &m)) return false;                                                          \
        channel_check_next(&next[m.number % 2], m.number / 2);                                                \
        return true;                                                                                          \
    }                                                                                                         \
    static void p##_two(void *transit, size_t times) {                                                        \
        struct transit *t = transit;                                                                          \
        struct message m = {channel_first, 0};                                                                \
        uint64_t end = times * CHANNEL_BURST * 2, next[2] = {0, 0};                                           \
        if (channel_first) {                                                                                  \
            for (; m.number < end; m.number += 2) p##_publish(t->channel, &m);                                \
            return;                                                                                           \
        }                                                                                                     \
        while (m.number < end) {                                                                              \
            if (p##_try(t->channel, &m)) m.number += 2;                                                       \
            for (int k = 0; k < 3 && p##_look_and_check(t, next); k++) {}                                     \
        }                                                                                                     \
        while (next[0] + next[1] < end) {                                                                     \
            p##_receive(t->channel, 0, &m);                                                                   \
            channel_check_next(&next[m.number % 2], m.number / 2);                                            \
        }                                                                                                     \
    }

#endif
