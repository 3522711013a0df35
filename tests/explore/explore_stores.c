/* explore_stores.c - memory as the threads see it: atomics, and the buffers of stores that have not arrived
 * yet. */
#define _GNU_SOURCE 1

#include "explore_inner.h"

#include <string.h>

static uint64_t peek(const volatile void *p, size_t size) {
    uint64_t value = 0;
    memcpy(&value, (const void *)(uintptr_t)p, size); /* little endian */
    return value;
}

static void poke(volatile void *p, size_t size, uint64_t value) {
    memcpy((void *)(uintptr_t)p, &value, size);
}

static void remove_store(struct fiber *t, unsigned n) {
    if (n >= t->stored - t->recent) t->recent--;
    memmove(&t->stores[n], &t->stores[n + 1], (t->stored - n - 1) * sizeof t->stores[0]);
    t->stores[--t->stored] = (struct store){0};
}

void explore_drain(struct fiber *t, unsigned n) {
    struct store s = t->stores[n];
    remove_store(t, n);
    if (t->recent > t->stored - n) t->recent = t->stored - n; /* those before it are made, too */
    if (explore_check_access(s.address, s.size, "a store that was buffered"))
        poke(s.address, s.size, s.value);
    explore_progress(t);
    explore_trace_of(t, "(buffered store arrives)", s.address);
    explore_trace_value(s.value);
}

void explore_drain_first(struct fiber *t, unsigned n) {
    while (n-- > 0) explore_drain(t, 0);
    if (explore_machine->failed && explore_machine->current) setcontext(&explore_machine->scheduler);
}

void explore_drain_all(struct fiber *t) {
    if (t) explore_drain_first(t, t->stored);
}

static bool is_in(const struct store *s, const volatile void *p, size_t size) {
    uintptr_t a = (uintptr_t)s->address, b = (uintptr_t)p;
    return a < b + size && b < a + s->size;
}

void explore_see_own(const volatile void *p, size_t size) {
    struct fiber *t = explore_machine->current;
    for (unsigned i = 0; i < t->stored; i++) {
        if (!is_in(&t->stores[i], p, size)) continue;
        explore_point_of(OP_FENCE, NULL, 0);
        explore_drain_all(t);
    }
}

void explore_leave_function(void) {
    const struct fiber *t = explore_machine->current;
    for (unsigned i = 0; i < t->stored; i++)
        if (explore_stack_of(t->stores[i].address) == explore_index(t))
            explore_see_own(t->stores[i].address, t->stores[i].size);
}

void explore_forget_stores(const volatile void *p, size_t size) {
    struct fiber *t = explore_machine->current;
    for (unsigned i = t ? t->stored : 0; i-- > 0;)
        if (is_in(&t->stores[i], p, size)) remove_store(t, i);
}

static void check(const volatile void *p, size_t size, const char *what) {
    if (!explore_check_access(p, size, what)) explore_fail("%s", explore_machine->failure);
}

/* Its own buffered store, if there is one. */
static uint64_t see(const struct fiber *t, const volatile void *p, size_t size) {
    for (unsigned i = t ? t->stored : 0; i-- > 0;) {
        if (t->stores[i].address == p && t->stores[i].size == size) return t->stores[i].value;
        if (is_in(&t->stores[i], p, size)) explore_fail("atomics of different sizes overlap");
    }
    return peek(p, size);
}

static uint64_t truncate(uint64_t value, size_t size) {
    return size == 8 ? value : value & ((UINT64_C(1) << 8 * size) - 1);
}

uint64_t explore_load(const volatile void *p, size_t size) {
    explore_point_of(OP_LOAD, p, 0);
    check(p, size, "an atomic load");
    uint64_t value = see(explore_machine->current, p, size);
    explore_trace_value(value);
    return value;
}

/* A store that nobody else will see: into memory, or into the one to the same place that still waits. */
static void store_unseen(struct fiber *t, volatile void *p, size_t size, uint64_t value) {
    for (unsigned i = t ? t->stored : 0; i-- > 0;) {
        if (t->stores[i].address != p) continue;
        t->stores[i].value = value;
        return;
    }
    poke(p, size, value);
}

static void push(struct fiber *t, struct store s) {
    if (t->stored == STORES_MAX) explore_fail("no room in the buffer of stores");
    t->stores[t->stored++] = s;
    t->recent++;
}

void explore_store(volatile void *p, size_t size, uint64_t value, bool release) {
    struct fiber *t = explore_machine->current;
    value = truncate(value, size);
    explore_point_of(OP_STORE, p, 0);
    check(p, size, "an atomic store");
    explore_trace_value(value);
    see(t, p, size); /* checks the sizes */
    if (t && explore_machine->world->branching && explore_conflicts(p, true))
        push(t, (struct store){p, value, (uint32_t)size, release});
    else
        store_unseen(t, p, size, value);
}

/* The start of a read-modify-write: the value before. */
static uint64_t update(volatile void *p, size_t size) {
    explore_point_of(OP_UPDATE, p, 0);
    check(p, size, "an atomic update");
    explore_drain_all(explore_machine->current);
    return peek(p, size);
}

static void update_end(volatile void *p, size_t size, uint64_t before, uint64_t value) {
    explore_trace_value(truncate(value, size));
    if (before == truncate(value, size)) return;
    poke(p, size, value);
    explore_progress(explore_machine->current);
}

uint64_t explore_swap(volatile void *p, size_t size, uint64_t value) {
    uint64_t before = update(p, size);
    update_end(p, size, before, value);
    return before;
}

bool explore_cas(volatile void *p, size_t size, void *expected, uint64_t desired) {
    uint64_t before = update(p, size), wanted = peek(expected, size);
    if (before != wanted) {
        poke(expected, size, before);
        explore_trace_value(before);
        return false;
    }
    update_end(p, size, before, desired);
    return true;
}

uint64_t explore_add(volatile void *p, size_t size, uint64_t value) {
    uint64_t before = update(p, size);
    update_end(p, size, before, before + value);
    return before;
}

uint64_t explore_or(volatile void *p, size_t size, uint64_t value) {
    uint64_t before = update(p, size);
    update_end(p, size, before, before | value);
    return before;
}

void explore_fence_full(void) {
    explore_point_of(OP_FENCE, NULL, 0);
    explore_drain_all(explore_machine->current);
}
