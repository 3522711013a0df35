/* unhandled.c - see unhandled.h. Events may be emitted in several batches at once, so the marks are not
 * theirs. */
#include "core/unhandled.h"

#include "base/memory.h"
#include "base/sort.h"

static bool is_before(const void *a, const void *b) {
    return (uintptr_t)((const struct error_mark *)a)->event <
           (uintptr_t)((const struct error_mark *)b)->event;
}

static size_t bytes_of(size_t count) { return sizeof(struct unhandled) + sizeof(struct error_mark) * count; }

struct unhandled *mtaio__unhandled_new(mtaio_event *const *events, const uint32_t *index, uint32_t count) {
    struct unhandled *u = mtaio__alloc(bytes_of(count));
    if (!u) return NULL;
    u->count = count;
    for (uint32_t i = 0; i < count; i++) u->errors[i] = (struct error_mark){.event = events[index[i]]};
    mtaio__sort(u->errors, count, sizeof *u->errors, is_before);
    return u;
}

void mtaio__unhandled_free(struct unhandled *u) {
    if (u) mtaio__free(u, bytes_of(u->count));
}

/* The first with this address; one that was emitted twice has two marks, of which the first is used. */
static struct error_mark *find(struct unhandled *u, const mtaio_event *event) {
    size_t low = 0, high = u->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if ((uintptr_t)u->errors[middle].event < (uintptr_t)event)
            low = middle + 1;
        else
            high = middle;
    }
    return low < u->count && u->errors[low].event == event ? &u->errors[low] : NULL;
}

void mtaio__unhandled_strike(struct unhandled *u, mtaio_event *const *events, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        struct error_mark *mark = NULL;
        for (const mtaio_event *e = events[i]; e && !mark; e = e->origin) mark = find(u, e);
        if (mark) mark->handled = true;
    }
}

bool mtaio__unhandled_any(const struct unhandled *u) {
    const mtaio_event *before = NULL;
    for (size_t i = 0; u && i < u->count; before = u->errors[i++].event)
        if (u->errors[i].event != before && !u->errors[i].handled) return true;
    return false;
}
