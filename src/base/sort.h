/* sort.h - sorting in place without memory of its own. */
#ifndef MTAIO_SRC_SORT_H
#define MTAIO_SRC_SORT_H

#include <stdbool.h>
#include <stddef.h>

#define SORT_BYTES_MAX 16 /* the largest element */

/* Heapsort: never slow, not stable; what is in order already takes one look. */
void mtaio__sort(void *array, size_t count, size_t element_bytes,
                 bool (*before)(const void *a, const void *b));

#endif
