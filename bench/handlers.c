/* handlers.c - the handlers of the bare loop, in a file of their own: see peers.h. */
#include "peers.h"

int bare_count(void *event, void *ctx) {
    (void)event;
    ++*(uint64_t *)ctx;
    return 0;
}

int bare_count_thread(void *event, void *ctx) {
    (void)event;
    (void)ctx;
    bench_thread_calls++;
    return 0;
}

struct bare_list *bare_list_new(size_t n, uint64_t *counters) {
    struct bare_list *list = bench_alloc(sizeof *list + n * sizeof list->handlers[0]);
    list->count = n;
    for (size_t i = 0; i < n; i++) {
        list->handlers[i].call = counters ? bare_count : bare_count_thread;
        list->handlers[i].ctx = counters ? &counters[i] : NULL;
    }
    return list;
}
