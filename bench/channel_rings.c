/* channel_rings.c - rings to compare with: bare, with a mutex and conditions, and with a futex to sleep on. */
#define _GNU_SOURCE
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "channel.h"

static void pause_a_little(unsigned n) {
    if (n % 1024 == 1023) sched_yield(); /* the other one has no processor */
}

/* --- Bare: one ring for each receiver, and nobody ever sleeps ---------------------------------------- */

struct ring {
    _Alignas(64) _Atomic uint64_t tail;
    uint64_t head_seen;
    _Alignas(64) _Atomic uint64_t head;
    uint64_t tail_seen;
    _Alignas(64) struct message slots[CHANNEL_ROOM];
};
struct rings {
    size_t count;
    struct ring ring[];
};

static void *bare_open(size_t receivers) {
    struct rings *r = bench_alloc(sizeof *r + 64 + receivers * sizeof(struct ring));
    r->count = receivers;
    return r;
}

static inline void ring_put(struct ring *r, const struct message *m) {
    uint64_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    for (unsigned n = 0; tail - r->head_seen == CHANNEL_ROOM; n++) {
        r->head_seen = atomic_load_explicit(&r->head, memory_order_acquire);
        if (n > 0) pause_a_little(n);
    }
    r->slots[tail % CHANNEL_ROOM] = *m;
    atomic_store_explicit(&r->tail, tail + 1, memory_order_release);
}

static inline bool ring_get(struct ring *r, struct message *ret) {
    uint64_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (head == r->tail_seen) {
        r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
        if (head == r->tail_seen) return false;
    }
    *ret = r->slots[head % CHANNEL_ROOM];
    atomic_store_explicit(&r->head, head + 1, memory_order_release);
    return true;
}

static inline void bare_publish(void *channel, const struct message *m) {
    struct rings *r = channel;
    for (size_t i = 0; i < r->count; i++) ring_put(&r->ring[i], m);
}
static inline void bare_take(void *channel, size_t i, struct message *ret) {
    ring_get(&((struct rings *)channel)->ring[i], ret);
}
static inline void bare_receive(void *channel, size_t i, struct message *ret) {
    for (unsigned n = 0; !ring_get(&((struct rings *)channel)->ring[i], ret); n++) pause_a_little(n);
}
CHANNEL_PEER(bare)

void channel_bare_pass_bulk(void *transit, size_t times) {
    struct transit *t = transit;
    struct rings *r = t->channel;
    struct message m;
    if (channel_first) {
        bare_pass(t, times);
        return;
    }
    for (uint64_t end = t->got[t->receivers - 1] + times * CHANNEL_BURST; t->got[t->receivers - 1] < end;)
        for (size_t i = 0; i < t->receivers; i++)
            for (int n = 0; n < CHANNEL_MANY && t->got[i] < end && ring_get(&r->ring[i], &m); n++)
                channel_check(t, i, m.number);
}

const struct channel_peer channel_bare = {"bare ring", bare_open, bare_alone, bare_pass,
                                          bare_ping,   NULL,      NULL,       free};

/* --- A ring for all, behind a mutex, with conditions --------------------------------------------------- */

struct guarded {
    pthread_mutex_t lock;
    pthread_cond_t filled, emptied;
    size_t count, sleeping;
    uint64_t tail, head[CHANNEL_RECEIVERS];
    bool full; /* somebody waits for room */
    struct message slots[CHANNEL_ROOM];
};

static void *mutex_open(size_t receivers) {
    struct guarded *g = bench_alloc(sizeof *g);
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->filled, NULL);
    pthread_cond_init(&g->emptied, NULL);
    g->count = receivers;
    return g;
}

static inline bool has_room(const struct guarded *g) {
    for (size_t i = 0; i < g->count; i++)
        if (g->tail - g->head[i] == CHANNEL_ROOM) return false;
    return true;
}

static inline void mutex_store(struct guarded *g, const struct message *m) {
    g->slots[g->tail++ % CHANNEL_ROOM] = *m;
    if (g->sleeping > 0) pthread_cond_broadcast(&g->filled);
}

static inline void mutex_publish(void *channel, const struct message *m) {
    struct guarded *g = channel;
    pthread_mutex_lock(&g->lock);
    while (!has_room(g)) {
        g->full = true;
        pthread_cond_wait(&g->emptied, &g->lock);
    }
    mutex_store(g, m);
    pthread_mutex_unlock(&g->lock);
}

static inline bool mutex_try(void *channel, const struct message *m) {
    struct guarded *g = channel;
    pthread_mutex_lock(&g->lock);
    bool room = has_room(g);
    if (room) mutex_store(g, m);
    pthread_mutex_unlock(&g->lock);
    return room;
}

static inline void mutex_fetch(struct guarded *g, size_t i, struct message *ret) {
    *ret = g->slots[g->head[i]++ % CHANNEL_ROOM];
    if (!g->full) return;
    g->full = false;
    pthread_cond_signal(&g->emptied);
}

static inline void mutex_receive(void *channel, size_t i, struct message *ret) {
    struct guarded *g = channel;
    pthread_mutex_lock(&g->lock);
    while (g->head[i] == g->tail) {
        g->sleeping++;
        pthread_cond_wait(&g->filled, &g->lock);
        g->sleeping--;
    }
    mutex_fetch(g, i, ret);
    pthread_mutex_unlock(&g->lock);
}
static inline void mutex_take(void *channel, size_t i, struct message *ret) { mutex_receive(channel, i, ret); }


static inline bool mutex_look(void *channel, struct message *ret) {
    struct guarded *g = channel;
    pthread_mutex_lock(&g->lock);
    bool there = g->head[0] != g->tail;
    if (there) mutex_fetch(g, 0, ret);
    pthread_mutex_unlock(&g->lock);
    return there;
}
CHANNEL_PEER(mutex)
CHANNEL_TWO(mutex)

const struct channel_peer channel_mutex = {"mutex ring", mutex_open, mutex_alone, mutex_pass,
                                           mutex_ping,   mutex_nap,  mutex_two,   free};

/* --- A bare ring whose receiver sleeps on a futex, at once ---------------------------------------------- */

struct sleepy {
    struct ring ring;
    _Alignas(64) _Atomic uint32_t asleep;
};

static void *futex_open(size_t receivers) {
    (void)receivers; /* one */
    return bench_alloc(sizeof(struct sleepy));
}

static inline void futex_publish(void *channel, const struct message *m) {
    struct sleepy *s = channel;
    ring_put(&s->ring, m);
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&s->asleep, memory_order_relaxed) && atomic_exchange(&s->asleep, 0))
        syscall(SYS_futex, &s->asleep, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static inline void futex_receive(void *channel, size_t i, struct message *ret) {
    struct sleepy *s = channel;
    (void)i;
    while (!ring_get(&s->ring, ret)) {
        atomic_store(&s->asleep, 1);
        if (ring_get(&s->ring, ret)) {
            atomic_store(&s->asleep, 0);
            return;
        }
        syscall(SYS_futex, &s->asleep, FUTEX_WAIT_PRIVATE, 1, NULL, NULL, 0);
    }
}
static inline void futex_take(void *channel, size_t i, struct message *ret) { futex_receive(channel, i, ret); }
CHANNEL_PEER(futex)

const struct channel_peer channel_futex = {"futex ring", futex_open, futex_alone, futex_pass,
                                           futex_ping,   futex_nap,  NULL,        free};
