/* sort.c - heapsort (Williams 1964), bottom-up in place. */
#include "base/sort.h"

#include <string.h>

static void sift_down(char *a, size_t at, size_t n, size_t bytes,
                      bool (*before)(const void *, const void *)) {
    char moved[SORT_BYTES_MAX];
    memcpy(moved, a + at * bytes, bytes);
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && before(a + child * bytes, a + (child + 1) * bytes)) child++;
        if (!before(moved, a + child * bytes)) break;
        memcpy(a + at * bytes, a + child * bytes, bytes);
    }
    memcpy(a + at * bytes, moved, bytes);
}

void mtaio__sort(void *array, size_t count, size_t bytes, bool (*before)(const void *, const void *)) {
    char *a = array, moved[SORT_BYTES_MAX];
    size_t sorted = 1; /* it often is */
    while (sorted < count && !before(a + sorted * bytes, a + (sorted - 1) * bytes)) sorted++;
    if (sorted >= count) return;
    for (size_t i = count / 2; i-- > 0;) sift_down(a, i, count, bytes, before);
    while (count > 1) {
        memcpy(moved, a, bytes);
        count--;
        memcpy(a, a + count * bytes, bytes);
        memcpy(a + count * bytes, moved, bytes);
        sift_down(a, 0, count, bytes, before);
    }
}
