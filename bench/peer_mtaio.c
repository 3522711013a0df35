/* peer_mtaio.c - mtaio in the general cases, in three ways: emitting by a resolved name and removing by
 * listener, by name and by function. */
#include "peers.h"

#include <mtaio/mtaio.h>
#include <stdlib.h>

struct signal {
    mtaio_emitter *em;
    mtaio_name *name;
};

static int count_call(mtaio_event *event, void *ctx) {
    (void)event;
    ++*(uint64_t *)ctx;
    return 0;
}

static int count_thread_call(mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    bench_thread_calls++;
    return 0;
}

static void *open_signal(size_t n, uint64_t *counters) {
    struct signal *s = bench_alloc(sizeof *s);
    bench_ok(mtaio_emitter_new(NULL, &s->em));
    for (size_t i = 0; i < n; i++)
        bench_ok(mtaio_on(s->em, "changed", counters ? count_call : count_thread_call,
                          counters ? &counters[i] : NULL));
    bench_ok(mtaio_emitter_resolve(s->em, "changed", &s->name));
    return s;
}

static void close_signal(void *signal) {
    struct signal *s = signal;
    mtaio_name_unref(s->name);
    mtaio_emitter_unref(s->em);
    free(s);
}

static void emit(void *signal, size_t times) {
    struct signal *s = signal;
    for (; times; times--)
        mtaio_emit_name(s->name, NULL);
}

static void emit_by_name(void *signal, size_t times) {
    struct signal *s = signal;
    for (; times; times--)
        mtaio_emit(s->em, "changed", NULL);
}

static mtaio_listener *add(struct signal *s) {
    mtaio_listener *listener = NULL;
    bench_ok(mtaio_emitter_on(s->em, "changed", MTAIO_HANDLER(.call = count_thread_call), &listener));
    return listener;
}

static void cancel(mtaio_listener *listener) {
    bench_ok(mtaio_listener_cancel(listener));
    mtaio_listener_unref(listener);
}

static void add_cancel(void *signal, size_t times) {
    for (; times; times--)
        cancel(add(signal));
}

static void add_off(void *signal, size_t times) {
    struct signal *s = signal;
    for (; times; times--) {
        bench_ok(mtaio_on(s->em, "changed", count_thread_call, &times));
        bench_ok(mtaio_off(s->em, "changed", count_thread_call, &times));
    }
}

static void fill_cancel(void *signal, size_t n, const uint32_t *order) {
    mtaio_listener **listeners = bench_alloc(n * sizeof(mtaio_listener *));
    for (size_t i = 0; i < n; i++)
        listeners[i] = add(signal);
    for (size_t i = 0; i < n; i++)
        cancel(listeners[order[i]]);
    free(listeners);
}

static void fill_off(void *signal, size_t n, const uint32_t *order) {
    struct signal *s = signal;
    char *ctx = bench_alloc(n); /* an address for each */
    for (size_t i = 0; i < n; i++)
        bench_ok(mtaio_on(s->em, "changed", count_thread_call, &ctx[i]));
    for (size_t i = 0; i < n; i++)
        if (bench_ok(mtaio_off(s->em, "changed", count_thread_call, &ctx[order[i]])) != 1)
            bench_ok(-1);
    free(ctx);
}

const bench_peer peer_mtaio = {.name = "mtaio",
                               .concurrent = true,
                               .open = open_signal,
                               .emit = emit,
                               .add_remove = add_cancel,
                               .fill = fill_cancel,
                               .close = close_signal};
const bench_peer peer_mtaio_by_name = {.name = "mtaio by name",
                                       .concurrent = true,
                                       .open = open_signal,
                                       .emit = emit_by_name,
                                       .close = close_signal};
const bench_peer peer_mtaio_off = {.name = "mtaio_off",
                                   .concurrent = true,
                                   .open = open_signal,
                                   .emit = emit,
                                   .add_remove = add_off,
                                   .fill = fill_off,
                                   .close = close_signal};
