/* short_memory.c - see the header. */
#include "../common/short_memory.h"

#include <mtaio/mtaio.h>
#include <stdatomic.h>
#include <stdlib.h>

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
char *__real_strdup(const char *text);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
char *__wrap_strdup(const char *text);

static atomic_long anywhere;
static _Thread_local long here;

static bool fails(void) {
    if (here > 0) return --here == 0;
    for (long left = anywhere; left > 0;)
        if (atomic_compare_exchange_weak(&anywhere, &left, left - 1)) return left == 1;
    return false;
}

void *__wrap_malloc(size_t bytes) { return fails() ? NULL : __real_malloc(bytes); }
void *__wrap_calloc(size_t n, size_t bytes) { return fails() ? NULL : __real_calloc(n, bytes); }
void *__wrap_realloc(void *old, size_t bytes) { return fails() ? NULL : __real_realloc(old, bytes); }
char *__wrap_strdup(const char *text) { return fails() ? NULL : __real_strdup(text); }

static void *core_alloc(size_t bytes, void *ctx) {
    (void)ctx;
    return malloc(bytes);
}

static void *core_resize(void *old, size_t old_bytes, size_t bytes, void *ctx) {
    (void)old_bytes, (void)ctx;
    return realloc(old, bytes);
}

static void core_free(void *block, size_t bytes, void *ctx) {
    (void)bytes, (void)ctx;
    free(block);
}

int memory_begin(void) {
    const mtaio_allocator allocator = {sizeof allocator, core_alloc, core_resize, core_free, NULL};
    return mtaio_set_allocator(&allocator);
}

void memory_fails_in(long n) { anywhere = n; }
void memory_fails_here_in(long n) { here = n; }
long memory_left(void) { return here > 0 ? here : anywhere; }
void *memory_get(size_t bytes) { return __real_malloc(bytes); }
