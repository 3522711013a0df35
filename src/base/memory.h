/* memory.h - the only door to memory: the user's allocator, or malloc. */
#ifndef MTAIO_SRC_MEMORY_H
#define MTAIO_SRC_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

/* NULL when there is none. Contents are undefined. */
void *mtaio__alloc(size_t bytes);
void *mtaio__alloc_zeroed(size_t bytes);

/* NULL, and old stays as it was, when there is none. old may be NULL (old_bytes 0). */
void *mtaio__resize(void *old, size_t old_bytes, size_t bytes);

/* block may be NULL; bytes is what was asked for. */
void mtaio__free(void *block, size_t bytes);

/* A copy of a string with its final NUL; free with mtaio__free_string. */
char *mtaio__copy_string(const char *s);
void mtaio__free_string(char *s);

/* Room for one more element in a plain growing array (not shared with readers): grows by half. array is the
 * address of the pointer to the first element, NULL with capacity 0 at the start; it is freed with
 * capacity * element_bytes. Returns false, and changes nothing, when there is no memory. */
bool mtaio__reserve(void *array, size_t element_bytes, size_t count, size_t *capacity);

#endif
