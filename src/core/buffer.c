/* buffer.c - a subscriber's ring of slots, where it is not simply putting one in: growing, full, emptied. */
#include "base/memory.h"
#include "core/subscriber.h"

enum {
    RING_FIRST = 8,   /* slots, where the limit is not less */
    RING_KEPT = 4096, /* a larger ring is given back when it was emptied */
    RING_ALIGN = 64   /* a slot is one cache line */
};
#define RING_MAX ((size_t)1 << 31)

static size_t block_bytes(size_t capacity) { return capacity * sizeof(struct slot) + RING_ALIGN; }

static size_t first_capacity(size_t limit) {
    size_t capacity = 1;
    while (capacity < RING_FIRST && capacity < limit) capacity *= 2;
    return capacity;
}

static void set_usual(mtaio_subscriber *sub) {
    sub->usual = sub->high_water < sub->capacity ? sub->high_water : sub->capacity;
}

static void set_ring(mtaio_subscriber *sub, void *block, size_t capacity) {
    uintptr_t at = ((uintptr_t)block + RING_ALIGN - 1) & ~(uintptr_t)(RING_ALIGN - 1);
    sub->block = block;
    sub->ring = sub->ring_here = capacity ? (struct slot *)at : NULL;
    sub->capacity = sub->capacity_here = capacity;
    set_usual(sub);
    sub->attention = (uint8_t)(sub->attention & ~ATTEND_LARGE);
    if (capacity > RING_KEPT) sub->attention |= ATTEND_LARGE;
}

/* --- Growing ----------------------------------------------------------------------------------- */

static int grow(mtaio_subscriber *sub) {
    struct slot *old = sub->ring;
    void *old_block = sub->block;
    size_t before = sub->capacity, capacity = before > 0 ? before * 2 : first_capacity(sub->limit);
    void *block = capacity <= RING_MAX ? mtaio__alloc(block_bytes(capacity)) : NULL;
    if (!block) return MTAIO_ENOMEM;
    guard_lock(&sub->guard);
    set_ring(sub, block, capacity);
    for (uint64_t at = load_relaxed(&sub->head); at != load_relaxed(&sub->tail); at++)
        sub->ring[at & (capacity - 1)] = old[at & (before - 1)];
    guard_unlock(&sub->guard);
    if (old_block) mtaio__free(old_block, block_bytes(before));
    return 0;
}

/* --- At the mark ------------------------------------------------------------------------------- */

static uint64_t level_of(const mtaio_subscriber *sub) {
    return load_relaxed(&sub->tail) - load_acquire(&sub->head); /* as in buffer_look */
}

int mtaio__buffer_look(mtaio_subscriber *sub) {
    uint64_t level = level_of(sub);
    if (level >= sub->limit) {
        if (sub->policy == MTAIO_BLOCK) return MTAIO_EAGAIN;
        return sub->policy == MTAIO_REFUSE ? MTAIO_ELIMIT : 0;
    }
    return level < sub->capacity ? 0 : grow(sub);
}

/* The oldest message makes room, if it is still there. The next tells that it is missing. */
static void overtake(mtaio_subscriber *sub, struct after *after) {
    uint64_t tail = load_relaxed(&sub->tail);
    guard_lock(&sub->guard);
    uint64_t head = load_relaxed(&sub->head);
    if (tail - head >= sub->limit) {
        struct slot *oldest = &sub->ring[head & (sub->capacity - 1)];
        uint64_t missed = oldest->missed + 1;
        mtaio__slot_throw(oldest, 1, &after->garbage);
        if (++head != tail)
            sub->ring[head & (sub->capacity - 1)].missed += missed;
        else
            sub->gap += missed;
        sub->overtaken++;
        sub->tail_seen = tail;
        store_release(&sub->head, head);
    }
    guard_unlock(&sub->guard);
}

bool mtaio__buffer_edge(mtaio_subscriber *sub, struct after *after) {
    uint64_t level = level_of(sub);
    if (level >= sub->limit && sub->policy == MTAIO_DROP_NEWEST) {
        sub->gap++;
        sub->skipped++;
        return false;
    }
    if (level >= sub->limit) {
        overtake(sub, after);
        level = level_of(sub);
    }
    if (level + 1 > sub->high_water) {
        sub->high_water = level + 1;
        set_usual(sub);
    }
    sub->mark = load_relaxed(&sub->tail) - level + sub->usual;
    return true;
}

bool mtaio__buffer_want(mtaio_subscriber *sub) {
    guard_lock(&sub->guard);
    bool full = level_of(sub) >= sub->limit;
    if (full) sub->attention |= ATTEND_WANTED;
    guard_unlock(&sub->guard);
    return full;
}

/* --- Giving it back ---------------------------------------------------------------------------- */

struct buffer mtaio__buffer_take_off(mtaio_subscriber *sub) {
    struct buffer b = {.block = sub->block,
                       .ring = sub->ring,
                       .capacity = sub->capacity,
                       .head = load_relaxed(&sub->head),
                       .tail = load_relaxed(&sub->tail)};
    set_ring(sub, NULL, 0);
    store_release(&sub->head, b.tail);
    sub->tail_seen = sub->mark = b.tail;
    return b;
}

void mtaio__buffer_clear(struct buffer *b) {
    for (; b->head != b->tail; b->head++) slot_clear(&b->ring[b->head & (b->capacity - 1)]);
    if (b->block) mtaio__free(b->block, block_bytes(b->capacity));
}
