/* explore_conflicts.c - which accesses matter to other threads.
 *
 * Only those need scheduling points: an access to what no other thread ever touches, or all only read, can be
 * made at once. What matters is learnt. Every access is noted; where two threads meet, one of them writing,
 * it is a conflict from then on, and since schedules before that may have been passed over, the scenario is
 * explored once more, until nothing new is learnt. (The first access that makes a conflict is always met:
 * what comes before it in its thread does not depend on the schedules passed over.)
 *
 * Freeing a block is a write to all of it, and touching it in any way a read of its being there. */
#define _GNU_SOURCE 1

#include "explore_inner.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PLACES_MAX = 1 << 16, GRAINS = THREADS_MAX * ARENA_BYTES / GRAIN };

/* Sets of threads, a bit each. */
struct place {
    const volatile void *address; /* of an atomic or a lock; NULL: unused */
    uint8_t readers, writers;
};
struct life {
    uint8_t users, freers; /* of a grain of an arena */
};

static struct learnt {
    struct place places[PLACES_MAX];
    struct life lives[GRAINS];
    unsigned count;
} *learnt; /* constant */

void explore_conflicts_init(void) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    learnt = mmap(NULL, sizeof *learnt, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (learnt == MAP_FAILED) abort();
}

void explore_conflicts_forget(void) {
    memset(learnt->places, 0, sizeof learnt->places);
    memset(learnt->lives, 0, sizeof learnt->lives);
    learnt->count = 0;
}

static uint8_t own_bit(void) { return (uint8_t)(1u << explore_index(explore_machine->current)); }

static uint8_t alive(void) {
    const struct world *w = explore_machine->world;
    unsigned set = 0;
    for (int i = 0; i < w->thread_count; i++) set |= (w->threads[i].state == THREAD_ALIVE ? 1u : 0u) << i;
    return (uint8_t)set;
}

/* Adds the thread to the set, and tells whether there is a conflict with one that has not ended yet. */
static bool meet(uint8_t *readers, uint8_t *writers, bool writes) {
    uint8_t *set = writes ? writers : readers, own = own_bit();
    unsigned others = (writes ? *readers | *writers : *writers) & ~(unsigned)own;
    if (!(*set & own) && others != 0) explore_machine->learning = true;
    *set |= own;
    return (others & alive()) != 0;
}

static struct place *place_of(const volatile void *p) {
    size_t at = ((uintptr_t)p * UINT64_C(0x9e3779b97f4a7c15)) >> 48;
    while (learnt->places[at].address && learnt->places[at].address != p) at = (at + 1) % PLACES_MAX;
    if (!learnt->places[at].address && ++learnt->count > PLACES_MAX / 2) explore_fail("too many atomics");
    learnt->places[at].address = p;
    return &learnt->places[at];
}

bool explore_conflicts(const volatile void *p, bool writes) {
    struct place *place = place_of(p);
    bool conflict = meet(&place->readers, &place->writers, writes);
    return explore_life_conflicts(p) || conflict;
}

bool explore_life_conflicts(const volatile void *p) {
    size_t grain = explore_grain(p);
    int stack = explore_stack_of(p);
    if (stack >= 0) return stack != explore_index(explore_machine->current); /* it may return meanwhile */
    if (grain >= GRAINS) return false;
    return meet(&learnt->lives[grain].users, &learnt->lives[grain].freers, false);
}

void explore_conflicts_free(const volatile void *p, size_t size) {
    for (size_t grain = explore_grain(p), end = grain + size / GRAIN; grain < end; grain++)
        meet(&learnt->lives[grain].users, &learnt->lives[grain].freers, true);
}
