/* peer_bare.c - the bare loop over function pointers: no threads, no removal while it runs, nothing. Once in
 * this program, and once in a shared library, as calls between the two are slower on some processors. */
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
const bench_peer peer_far = {
    .name = "bare, from a .so", .concurrent = true, .open = open_bare, .emit = bench_far_emit, .close = free};
