/* memory.c - bytes for each registered handler, and allocations for each emission.
 *
 * Bytes are told in three ways: asked for (by an allocator that counts, mtaio only), handed out (by malloc,
 * with its overhead), and resident (in memory, with what is fragmented). The process does nothing else. */
#include "cases.h"

#include <malloc.h>
#include <mtaio/mtaio.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_size_t counted_bytes, counted_allocations;

static void *count_alloc(size_t bytes, void *ctx) {
    (void)ctx;
    atomic_fetch_add(&counted_bytes, bytes);
    atomic_fetch_add(&counted_allocations, 1);
    return malloc(bytes);
}

static void *count_resize(void *old, size_t old_bytes, size_t bytes, void *ctx) {
    (void)ctx;
    atomic_fetch_add(&counted_bytes, bytes - old_bytes);
    atomic_fetch_add(&counted_allocations, 1);
    return realloc(old, bytes);
}

static void count_free(void *block, size_t bytes, void *ctx) {
    (void)ctx;
    atomic_fetch_sub(&counted_bytes, bytes);
    free(block);
}

struct usage {
    double asked, handed_out, resident;
};

static struct usage usage_now(void) {
    struct mallinfo2 info = mallinfo2();
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%*u %lu", &pages) != 1)
        pages = 0;
    if (f)
        fclose(f);
    return (struct usage){.asked = (double)atomic_load(&counted_bytes),
                          .handed_out = (double)(info.uordblks + info.hblkhd),
                          .resident = (double)pages * (double)sysconf(_SC_PAGESIZE)};
}

static void report(const char *name, const char *who, struct usage before, double n) {
    struct usage now = usage_now();
    if (now.asked > 0)
        bench_value(name, who, "asked for", (now.asked - before.asked) / n, "bytes per handler");
    bench_value(name, who, "handed out", (now.handed_out - before.handed_out) / n, "bytes per handler");
    bench_value(name, who, "resident", (now.resident - before.resident) / n, "bytes per handler");
}

static int count_call(mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    bench_thread_calls++;
    return 0;
}

static mtaio_emitter *emitter_new(void) {
    mtaio_emitter *em = NULL;
    bench_ok(mtaio_emitter_new(NULL, &em));
    return em;
}

/* n handlers in one emitter, on one name or on as many; and what is left when they are gone. */
static void measure_mtaio(const char *name, bool many, size_t n) {
    mtaio_emitter *em = emitter_new();
    char event[32] = "changed";
    struct usage before = usage_now();
    for (size_t i = 0; i < n; i++) {
        if (many)
            snprintf(event, sizeof event, "event.%07zu", i);
        bench_ok(mtaio_on(em, event, count_call, NULL));
    }
    report(name, "mtaio", before, (double)n);
    bench_ok(mtaio_emitter_remove_all(em, NULL));
    mtaio_reclaim();
    report(name, "mtaio, all removed", before, (double)n);
    mtaio_emitter_unref(em);
}

/* n handlers on one signal, or on as many signals. */
static void measure_peer(const char *name, const bench_peer *peer, bool many, size_t n) {
    size_t count = many ? n : 1;
    void **signals = bench_alloc(count * sizeof(void *));
    struct usage before = usage_now();
    for (size_t i = 0; i < count; i++)
        signals[i] = peer->open(n / count, NULL);
    report(name, peer->name, before, (double)n);
}

/* --- Allocations of a synchronous emission ----------------------------------------------------------------
 */

static int accept_all(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 1;
}

static int map_nothing(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    (void)event;
    (void)mapped;
    (void)ctx;
    return 0;
}

static void count_emissions(const char *variant, mtaio_emitter *em, const char *name) {
    enum { TIMES = 10000 };
    mtaio_name *resolved = NULL;
    bench_ok(mtaio_emitter_resolve(em, name, &resolved));
    bench_ok(mtaio_emit_name(resolved, NULL)); /* the first one on a thread may set it up */
    bench_ok(mtaio_emit(em, name, NULL));
    size_t before = atomic_load(&counted_allocations);
    for (int i = 0; i < TIMES; i++) {
        bench_ok(mtaio_emit_name(resolved, NULL));
        bench_ok(mtaio_emit(em, name, NULL));
    }
    bench_value("allocations", "mtaio", variant,
                (double)(atomic_load(&counted_allocations) - before) / (2.0 * TIMES),
                "allocations per emission");
    mtaio_name_unref(resolved);
}

static void measure_emissions(void) {
    mtaio_emitter *em = emitter_new(), *source = emitter_new(), *filtered = NULL, *mapped = NULL;
    count_emissions("no handler", em, "a.b");
    for (int i = 0; i < 10; i++)
        bench_ok(mtaio_on(em, "a.b", count_call, NULL));
    count_emissions("10 handlers", em, "a.b");
    bench_ok(mtaio_on(em, "a.*", count_call, NULL));
    count_emissions("10 handlers and a pattern", em, "a.b");
    count_emissions("unregistered name, a pattern", em, "a.c");
    bench_ok(mtaio_emitter_filter(source, NULL, MTAIO_FILTER(.call = accept_all), &filtered));
    bench_ok(mtaio_on(filtered, "a.b", count_call, NULL));
    count_emissions("filter", source, "a.b");
    bench_ok(mtaio_emitter_map(filtered, NULL, MTAIO_MAP(.call = map_nothing), &mapped));
    bench_ok(mtaio_on(mapped, "a.b", count_call, NULL));
    count_emissions("filter and map", source, "a.b");
    mtaio_emitter_unref(mapped);
    mtaio_emitter_unref(filtered);
    mtaio_emitter_unref(source);
    mtaio_emitter_unref(em);
}

int measure_memory(const char *what, const char *who, size_t n) {
    static const bench_peer *const peers[] = {&peer_glib, &peer_wayland, &peer_sigc, &peer_boost};
    static const mtaio_allocator allocator = {
        .size = sizeof allocator, .alloc = count_alloc, .resize = count_resize, .free = count_free};
    bool many = strcmp(what, "many") == 0, emit = strcmp(what, "emit") == 0;
    const char *name = many ? "memory/many names" : "memory/one name";
    if (strcmp(who, "mtaio") == 0) {
        bench_ok(mtaio_set_allocator(&allocator));
        if (emit)
            measure_emissions();
        else
            measure_mtaio(name, many, n);
        return 0;
    }
    for (size_t i = 0; i < COUNT_OF(peers); i++) {
        if (peers[i]->name && strcmp(peers[i]->name, who) == 0) {
            measure_peer(name, peers[i], many, n);
            return 0;
        }
    }
    return 1;
}
