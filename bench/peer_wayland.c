/* peer_wayland.c - libwayland's wl_signal: an intrusive list, for one thread. */
#include "peers.h"

#ifdef BENCH_WAYLAND
#include <stdlib.h>
#include <wayland-server-core.h>

struct slot {
    struct wl_listener listener;
    uint64_t *counter;
};

struct signal {
    struct wl_signal signal;
    struct slot extra;
    size_t count;
    struct slot slots[];
};

static void count_call(struct wl_listener *listener, void *data) {
    (void)data;
    struct slot *slot = wl_container_of(listener, slot, listener);
    ++*slot->counter;
}

static void count_thread_call(struct wl_listener *listener, void *data) {
    (void)listener;
    (void)data;
    bench_thread_calls++;
}

static void add(struct signal *s, struct slot *slot, uint64_t *counter) {
    slot->listener.notify = counter ? count_call : count_thread_call;
    slot->counter = counter;
    wl_signal_add(&s->signal, &slot->listener);
}

static void *open_signal(size_t n, uint64_t *counters) {
    struct signal *s = bench_alloc(sizeof *s + n * sizeof s->slots[0]);
    wl_signal_init(&s->signal);
    s->count = n;
    for (size_t i = 0; i < n; i++)
        add(s, &s->slots[i], counters ? &counters[i] : NULL);
    return s;
}

/* The form of emit that lets handlers remove any handler, as all the others do. */
static void emit(void *signal, size_t times) {
    struct signal *s = signal;
    for (; times; times--)
        wl_signal_emit_mutable(&s->signal, NULL);
}

static void add_remove(void *signal, size_t times) {
    struct signal *s = signal;
    for (; times; times--) {
        add(s, &s->extra, NULL);
        wl_list_remove(&s->extra.listener.link);
    }
}

static void fill(void *signal, size_t n, const uint32_t *order) {
    struct slot *slots = bench_alloc(n * sizeof *slots);
    for (size_t i = 0; i < n; i++)
        add(signal, &slots[i], NULL);
    for (size_t i = 0; i < n; i++)
        wl_list_remove(&slots[order[i]].listener.link);
    free(slots);
}

const bench_peer peer_wayland = {.name = "wl_signal",
                                 .open = open_signal,
                                 .emit = emit,
                                 .add_remove = add_remove,
                                 .fill = fill,
                                 .close = free};
#else
const bench_peer peer_wayland = {0};
#endif
