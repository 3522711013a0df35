/* memory.c - all memory of the library: the user's allocator, or malloc, which nothing else here calls. */
#include "base/memory.h"

#include <mtaio/base.h>
#include <stdlib.h>
#include <string.h>

#include "base/atomic.h"

static void *default_alloc(size_t bytes, void *ctx) {
    (void)ctx;
    return malloc(bytes);
}

static void *default_resize(void *old, size_t old_bytes, size_t bytes, void *ctx) {
    (void)old_bytes;
    (void)ctx;
    return realloc(old, bytes);
}

static void default_free(void *block, size_t bytes, void *ctx) {
    (void)bytes;
    (void)ctx;
    free(block);
}

#define DEFAULT_ALLOCATOR                                                                          \
    {                                                                                              \
        .size = sizeof(mtaio_allocator), .alloc = default_alloc, .resize = default_resize,         \
        .free = default_free                                                                       \
    }

/* Changed only while nothing is allocated, which the user promises to do before any other call: read without
 * order. */
static mtaio_allocator allocator = DEFAULT_ALLOCATOR;

/* Has anything been allocated? Relaxed: it orders nothing, it only finds a late mtaio_set_allocator. */
static ATOMIC(bool) used;

/* Written once, so that the line stays shared. */
static void mark_used(void) {
    if (unlikely(!load_relaxed(&used)))
        store_relaxed(&used, true);
}

int mtaio_set_allocator(const mtaio_allocator *a) {
    static const mtaio_allocator standard = DEFAULT_ALLOCATOR;

    if (a != NULL && (a->size < sizeof *a || a->alloc == NULL || a->resize == NULL || a->free == NULL))
        return MTAIO_EINVAL;
    if (load_relaxed(&used))
        return MTAIO_EBUSY;
    allocator = a != NULL ? *a : standard;
    return 0;
}

void *mtaio__alloc(size_t bytes) {
    mark_used();
    return allocator.alloc(bytes, allocator.ctx);
}

void *mtaio__alloc_zeroed(size_t bytes) {
    void *block = mtaio__alloc(bytes);

    if (block != NULL)
        memset(block, 0, bytes);
    return block;
}

void *mtaio__resize(void *old, size_t old_bytes, size_t bytes) {
    if (old == NULL)
        return mtaio__alloc(bytes);
    return allocator.resize(old, old_bytes, bytes, allocator.ctx);
}

void mtaio__free(void *block, size_t bytes) {
    if (block != NULL)
        allocator.free(block, bytes, allocator.ctx);
}

char *mtaio__copy_string(const char *s) {
    size_t bytes = strlen(s) + 1;
    char *copy = mtaio__alloc(bytes);

    if (copy != NULL)
        memcpy(copy, s, bytes);
    return copy;
}

void mtaio__free_string(char *s) {
    if (s != NULL)
        mtaio__free(s, strlen(s) + 1);
}

bool mtaio__reserve(void *array, size_t element_bytes, size_t count, size_t *capacity) {
    size_t more = *capacity + *capacity / 2 + 4;
    void *grown;

    if (count < *capacity)
        return true;
    if (more > SIZE_MAX / 2 / element_bytes)
        return false;
    memcpy(&grown, array, sizeof grown); /* a T ** of any T */
    grown = mtaio__resize(grown, *capacity * element_bytes, more * element_bytes);
    if (grown == NULL)
        return false;
    memcpy(array, &grown, sizeof grown);
    *capacity = more;
    return true;
}
