/* far.c - the bare loop once more, in a shared library of its own. */
#include "peers.h"

void bench_far_emit(void *signal, size_t times) {
    for (; times; times--) {
        BARE_FORGET();
        bare_walk(signal, NULL);
    }
}
