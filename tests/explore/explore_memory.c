/* explore_memory.c - blocks, and who may touch them.
 *
 * Each thread allocates from an arena of its own, one block after the other; a freed block stays where it is.
 * A shadow byte for each eight bytes tells whether they belong to a block, or once did. */
#define _GNU_SOURCE 1

#include "explore_inner.h"

#include <mtaio/base.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/memory.h"

enum shadow { SHADOW_NONE, SHADOW_LIVE, SHADOW_FREED };
enum { FRESH = 0xA5, FREED = 0xDD };

struct head { /* before each block */
    uint64_t bytes;
    uint32_t freed;
    uint32_t mark; /* reached, in the search for leaks */
};

static char *arenas;            /* constant once made */
static unsigned char *shadows;

void *explore_arena(int thread) { return arenas + (size_t)thread * ARENA_BYTES; }
void *explore_shadow(int thread) { return shadows + (size_t)thread * ARENA_BYTES / GRAIN; }

static bool in_arenas(const volatile void *p) {
    return (uintptr_t)p - (uintptr_t)arenas < (size_t)THREADS_MAX * ARENA_BYTES;
}

static unsigned char *shadow_of(const volatile void *p) {
    return shadows + ((uintptr_t)p - (uintptr_t)arenas) / GRAIN;
}

size_t explore_grain(const volatile void *p) { return ((uintptr_t)p - (uintptr_t)arenas) / GRAIN; }

static size_t rounded(size_t bytes) { return (bytes + 15) / 16 * 16; }

/* --- Blocks ------------------------------------------------------------------------------------ */

/* The program's own start allocates as thread 0 will. */
static struct fiber *owner(void) {
    return explore_machine->current ? explore_machine->current : &explore_machine->world->threads[0];
}

static void *block_alloc(size_t bytes, void *ctx) {
    struct fiber *t = owner();
    char *arena = explore_arena(explore_index(t));
    struct head *head = (struct head *)(void *)(arena + t->arena_used);
    (void)ctx;
    if (bytes > ARENA_BYTES - sizeof *head || t->arena_used + sizeof *head + rounded(bytes) > ARENA_BYTES)
        explore_fail("an arena of the explorer is full");
    t->arena_used += sizeof *head + rounded(bytes);
    *head = (struct head){.bytes = bytes};
    memset(shadow_of(head), SHADOW_NONE, sizeof *head / GRAIN);
    memset(shadow_of(head + 1), SHADOW_LIVE, rounded(bytes) / GRAIN);
    memset(head + 1, FRESH, rounded(bytes));
    explore_trace("(alloc)", head + 1);
    explore_trace_value(bytes);
    return head + 1;
}

/* The block at p of that many bytes; fails where there is none. */
static struct head *head_of(void *p, size_t bytes) {
    struct head *head = (struct head *)p - 1;
    if (!in_arenas(p) || (uintptr_t)p % 16 != 0 || *shadow_of(head) != SHADOW_NONE)
        explore_fail("free of what is no block");
    if (*shadow_of(p) == SHADOW_FREED || head->freed) explore_fail("double free");
    if (head->bytes != bytes)
        explore_fail("free of %zu bytes, allocated were %zu", bytes, (size_t)head->bytes);
    return head;
}

static void block_free(void *p, size_t bytes, void *ctx) {
    explore_trace("(free)", p);
    struct head *head = head_of(p, bytes);
    (void)ctx;
    explore_forget_stores(p, bytes);
    for (size_t i = bytes; i < rounded(bytes); i++)
        if (((unsigned char *)p)[i] != FRESH)
            explore_fail("write behind the end of a block of %zu bytes", bytes);
    if (explore_machine->world->branching) explore_conflicts_free(p, rounded(bytes));
    head->freed = 1;
    memset(shadow_of(p), SHADOW_FREED, rounded(bytes) / GRAIN);
    memset(p, FREED, rounded(bytes));
}

static void *block_resize(void *old, size_t old_bytes, size_t bytes, void *ctx) {
    void *p = block_alloc(bytes, ctx);
    if (explore_machine->current) explore_see_own(old, old_bytes);
    memcpy(p, old, old_bytes < bytes ? old_bytes : bytes);
    block_free(old, old_bytes, ctx);
    return p;
}

void explore_memory_init(void) {
    static const mtaio_allocator allocator = {
        .size = sizeof allocator, .alloc = block_alloc, .resize = block_resize, .free = block_free};
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    arenas = mmap(NULL, (size_t)THREADS_MAX * ARENA_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
    shadows = mmap(NULL, (size_t)THREADS_MAX * ARENA_BYTES / GRAIN, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (arenas == MAP_FAILED || shadows == MAP_FAILED || mtaio_set_allocator(&allocator) != 0) abort();
    mtaio__free(mtaio__alloc(1), 1); /* what the library notes at the first allocation is noted */
}

/* --- Access ------------------------------------------------------------------------------------ */

/* In a function that another thread has left, or on the stack of one that has ended. */
static bool in_dead_stack(const volatile void *p) {
    int i = explore_stack_of(p);
    const struct fiber *t = &explore_machine->world->threads[i < 0 ? 0 : i];
    if (i < 0 || t == explore_machine->current) return false;
    return t->state != THREAD_ALIVE || (uintptr_t)p < (uintptr_t)t->context;
}

bool explore_check_access(const volatile void *p, size_t size, const char *what) {
    if ((uintptr_t)p < 4096) {
        explore_set_failure("%s at NULL", what);
        return false;
    }
    if (in_dead_stack(p)) {
        explore_set_failure("use after return: %s", what);
        return false;
    }
    if (!in_arenas(p)) return true;
    const unsigned char *first = shadow_of(p), *last = shadow_of((const volatile char *)p + size - 1);
    if (*first == SHADOW_LIVE && *last == SHADOW_LIVE) return true;
    bool freed = *first == SHADOW_FREED || *last == SHADOW_FREED;
    explore_set_failure("%s: %s", freed ? "use after free" : "outside of any block", what);
    return false;
}

/* What code compiled with -fsanitize=thread calls before each plain access. The first one after a scheduling
 * point to a block that another thread may free is one itself; for those after it nothing else could
 * happen. */
static void plain_access(const void *p, size_t size, const char *what) {
    struct fiber *t = explore_machine ? explore_machine->current : NULL;
    if (!t) return;
    explore_see_own(p, size);
    if (explore_machine->world->branching && explore_life_conflicts(p) && t->fresh) {
        explore_point_of(OP_ACCESS, p, 0);
        t->fresh = false;
    }
    if (!explore_check_access(p, size, what)) explore_fail("%s", explore_machine->failure);
}

#define HOOK(name, size)                                                                           \
    void __tsan_read##name(void *p);                                                               \
    void __tsan_read##name(void *p) { plain_access(p, size, "a plain read"); }                     \
    void __tsan_write##name(void *p);                                                              \
    void __tsan_write##name(void *p) { plain_access(p, size, "a plain write"); }
#define HOOK_UNALIGNED(size)                                                                       \
    void __tsan_unaligned_read##size(void *p);                                                     \
    void __tsan_unaligned_read##size(void *p) { plain_access(p, size, "a plain read"); }           \
    void __tsan_unaligned_write##size(void *p);                                                    \
    void __tsan_unaligned_write##size(void *p) { plain_access(p, size, "a plain write"); }
#define HOOK_RANGE(name, what)                                                                     \
    void __tsan_##name(void *p, unsigned long size);                                               \
    void __tsan_##name(void *p, unsigned long size) {                                              \
        if (size > 0) plain_access(p, size, what);                                                 \
    }
HOOK(1, 1)
HOOK(2, 2)
HOOK(4, 4)
HOOK(8, 8)
HOOK(16, 16)
HOOK_UNALIGNED(2)
HOOK_UNALIGNED(4)
HOOK_UNALIGNED(8)
HOOK_UNALIGNED(16)
HOOK_RANGE(read_range, "a plain read")
HOOK_RANGE(write_range, "a plain write")
void __tsan_init(void);
void __tsan_init(void) {}
void __tsan_func_entry(void *caller);
void __tsan_func_entry(void *caller) { (void)caller; }
void __tsan_func_exit(void);
void __tsan_func_exit(void) {
    if (explore_machine && explore_machine->current) explore_leave_function();
}

/* --- The end ----------------------------------------------------------------------------------- */

typedef void visit_block(struct head *head, int thread, size_t *count);

/* The count is visit's own. */
static size_t each_block(visit_block *visit) {
    size_t count = 0;
    for (int i = 0; i < THREADS_MAX; i++) {
        char *arena = explore_arena(i);
        for (size_t at = 0; at < explore_machine->world->threads[i].arena_used;) {
            struct head *head = (struct head *)(void *)(arena + at);
            visit(head, i, &count);
            at += sizeof *head + rounded(head->bytes);
        }
    }
    return count;
}

static void check_untouched(struct head *head, int thread, size_t *count) {
    const unsigned char *bytes = (const unsigned char *)(head + 1);
    (void)count;
    for (size_t i = 0; head->freed && i < head->bytes; i++)
        if (bytes[i] != FREED)
            explore_set_failure("use after free: byte %zu of %zu was written, in a block of thread %d", i,
                                (size_t)head->bytes, thread);
}

/* The live block that value points to or into. */
static struct head *live_head_of(uintptr_t value) {
    const char *p = (const char *)value;
    if (!in_arenas(p) || *shadow_of(p) != SHADOW_LIVE) return NULL;
    const unsigned char *s = shadow_of(p);
    while (*s == SHADOW_LIVE) s--; /* the head before it has none */
    return (struct head *)(void *)(arenas + (size_t)(s + 1 - shadows) * GRAIN) - 1;
}

/* Marks the blocks that the words from start to end lead to; how many were not yet. */
static size_t mark_from(const void *start, const void *end) {
    size_t count = 0;
    for (const uintptr_t *p = start; (uintptr_t)(p + 1) <= (uintptr_t)end; p++) {
        struct head *head = live_head_of(*p);
        if (!head || head->mark) continue;
        head->mark = 1;
        count++;
    }
    return count;
}

static void mark_within(struct head *head, int thread, size_t *count) {
    (void)thread;
    if (head->mark) *count += mark_from(head + 1, (char *)(head + 1) + rounded(head->bytes));
}

static void check_marked(struct head *head, int thread, size_t *count) {
    (void)count;
    if (!head->freed && !head->mark)
        explore_set_failure("leak: %zu bytes, allocated by thread %d", (size_t)head->bytes, thread);
}

/* The scenario's own variables are not roots: see EXPLORE_STATE. */
extern char state_start[] __asm__("__start_explore_state") __attribute__((weak));
extern char state_end[] __asm__("__stop_explore_state") __attribute__((weak));

void explore_check_end(void *statics, void *statics_end) {
    each_block(check_untouched);
    if (state_start) {
        mark_from(statics, (void *)((uintptr_t)state_start & ~(uintptr_t)7));
        statics = (void *)(((uintptr_t)state_end + 7) & ~(uintptr_t)7);
    }
    mark_from(statics, statics_end);
    while (each_block(mark_within) > 0) {}
    each_block(check_marked);
}

static void count_live(struct head *head, int thread, size_t *count) {
    (void)thread;
    *count += !head->freed;
}

size_t explore_live_blocks(void) { return each_block(count_live); }

void explore_describe(const volatile void *p, char *ret, size_t size) {
    if (!p) {
        snprintf(ret, size, "%s", "");
        return;
    }
    if (!in_arenas(p)) {
        snprintf(ret, size, "%p", (void *)(uintptr_t)p);
        return;
    }
    size_t at = (size_t)((uintptr_t)p - (uintptr_t)arenas), block = at % ARENA_BYTES;
    const unsigned char *s = shadow_of(p);
    while (block >= GRAIN && s[-1] == *s) s--, block -= GRAIN;
    block = block / GRAIN * GRAIN;
    snprintf(ret, size, "block %zu.%zx+%zu", at / ARENA_BYTES, block, at % ARENA_BYTES - block);
}
