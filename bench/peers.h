/* peers.h - what every competitor does: hold handlers, call them, take one more, give it back. */
#ifndef BENCH_PEERS_H
#define BENCH_PEERS_H

#include "bench.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bench_peer {
    const char *name;
    bool concurrent; /* every function may run on two threads at once */

    /* A signal with n handlers. Handler i adds one to counters[i], or without counters to bench_thread_calls.
     */
    void *(*open)(size_t n, uint64_t *counters);
    void (*emit)(void *signal, size_t times);
    void (*add_remove)(void *signal, size_t times); /* one more handler, and away with it; NULL: cannot */

    /* n more handlers, which are then removed in that order; NULL: cannot. */
    void (*fill)(void *signal, size_t n, const uint32_t *order);
    void (*close)(void *signal);
} bench_peer;

/* Those that are not there have no name. */
extern const bench_peer peer_bare, peer_far, peer_glib, peer_wayland, peer_sigc, peer_boost;
extern const bench_peer peer_mtaio, peer_mtaio_off, peer_mtaio_by_name;

/* Ways of protecting a snapshot of the handlers from being freed while they are called. */
extern const bench_peer scheme_mutex, scheme_refcount, scheme_pin, scheme_pin_fence;
extern const bench_peer scheme_urcu_memb, scheme_urcu_bp, scheme_ck_epoch, scheme_ck_hazard;

/* From a shared library. */
void bench_far_emit(void *signal, size_t times);

#ifdef __cplusplus
}
#endif

#ifndef __cplusplus
/* The bare loop over function pointers, which the schemes protect. */
typedef int bare_call(void *event, void *ctx);
struct bare_handler {
    bare_call *call;
    void *ctx;
};
struct bare_list {
    size_t count;
    struct bare_handler handlers[];
};

/* From another file, so that no compiler sees what is called. */
bare_call bare_count, bare_count_thread;
struct bare_list *bare_list_new(size_t n, uint64_t *counters);

static inline void bare_walk(const struct bare_list *list, void *event) {
    for (size_t i = 0; i < list->count; i++)
        list->handlers[i].call(event, list->handlers[i].ctx);
}

/* Nothing about the list is known from the time before. */
#define BARE_FORGET() __asm__ volatile("" ::: "memory")
#endif
#endif
