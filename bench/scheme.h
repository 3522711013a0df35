/* scheme.h - a snapshot of the handlers that is protected while it is walked: what the schemes have in
 * common.
 *
 * A scheme is a way of keeping the writer from freeing the snapshot under its readers. Its pin makes the
 * snapshot safe to use and returns it, its unpin gives it back. What a scheme costs is its time less that of
 * the bare loop. */
#ifndef BENCH_SCHEME_H
#define BENCH_SCHEME_H

#include "peers.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct shared {
    _Atomic(struct bare_list *) list;
    atomic_ulong clock; /* how often the list was changed */
    _Alignas(64) atomic_long references;
    _Alignas(64) pthread_mutex_t lock; /* the writer's, and in one scheme the readers' too */
};

static inline void *shared_open(size_t n, uint64_t *counters) {
    struct shared *s = bench_alloc(sizeof *s);
    atomic_store(&s->list, bare_list_new(n, counters));
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

static inline void shared_close(void *signal) {
    struct shared *s = signal;
    free(atomic_load(&s->list));
    free(s);
}

/* A copy with one handler more, or without its last one. */
static inline struct bare_list *shared_copy(const struct bare_list *old, bool more) {
    size_t n = more ? old->count + 1 : old->count - 1;
    struct bare_list *list = bench_alloc(sizeof *list + n * sizeof list->handlers[0]);
    list->count = n;
    memcpy(list->handlers, old->handlers, (n < old->count ? n : old->count) * sizeof list->handlers[0]);
    if (more)
        list->handlers[n - 1] = (struct bare_handler){.call = bare_count_thread};
    return list;
}

#define SCHEME_EMIT(emit, pin, unpin)                                                                        \
    static void emit(void *signal, size_t times) {                                                           \
        struct shared *s = signal;                                                                           \
        for (; times; times--) {                                                                             \
            BARE_FORGET();                                                                                   \
            bare_walk(pin(s), NULL);                                                                         \
            unpin(s);                                                                                        \
        }                                                                                                    \
    }
#endif
