/* allocator.c - where all memory of the library comes from. */
#include "check.h"

static void *count_alloc(size_t bytes, void *ctx) {
    void *block = malloc(bytes);

    *(size_t *)ctx += block ? bytes : 0;
    return block;
}

static void *count_resize(void *old, size_t old_bytes, size_t bytes, void *ctx) {
    void *block = realloc(old, bytes);

    *(size_t *)ctx += block ? bytes - old_bytes : 0;
    return block;
}

static void count_free(void *block, size_t bytes, void *ctx) {
    *(size_t *)ctx -= bytes;
    free(block);
}

static int handle(mtaio_event *event, void *ctx) {
    (void)event, (void)ctx;
    return 0;
}

int main(void) {
    static size_t in_use; /* one thread here; else it would have to be atomic */
    mtaio_allocator allocator = {sizeof allocator, count_alloc, count_resize, count_free, &in_use};
    mtaio_emitter *emitter;
    size_t before;

    check(mtaio_set_allocator(&allocator));
    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_on(emitter, "event", handle, NULL));
    check(mtaio_emit(emitter, "event", NULL)); /* the first emission prepares what the others find */
    before = in_use;
    check(mtaio_emit(emitter, "event", NULL));
    printf("in use: %s, more by emitting: %zu\n", in_use > 0 ? "some" : "none", in_use - before);
    printf("too late: %s\n", mtaio_error_name(mtaio_set_allocator(NULL)));

    mtaio_emitter_unref(emitter);
    return 0;
}
