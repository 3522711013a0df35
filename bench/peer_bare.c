/* peer_bare.c - the bare loop over function pointers: no threads, no removal while it runs, nothing. */
#include "peers.h"

#include <stdlib.h>

static void *open_bare(size_t n, uint64_t *counters) { return bare_list_new(n, counters); }

static void emit(void *signal, size_t times) {
    for (; times; times--) {
        BARE_FORGET();
        bare_walk(signal, NULL);
    }
}

const bench_peer peer_bare = {
    .name = "bare", .concurrent = true, .open = open_bare, .emit = emit, .close = free};
