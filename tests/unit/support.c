/* support.c - see support.h. */
#define _POSIX_C_SOURCE 200809L

#include "support.h"

#include <mtaio/base.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

_Noreturn void support_check_failed(const char *condition, const char *file, int line) {
    fprintf(stderr, "%s:%d: CHECK failed: %s\n", file, line, condition);
    abort();
}

/* --- Memory. Each block: its head, the bytes, then GUARD bytes that nobody may write. ------------------- */

struct head {
    size_t bytes;
    size_t magic;
};
enum { GUARD = 8, FRESH = 0xA5, FREED = 0xDD, FENCE = 0x5A };
#define MAGIC ((size_t)0x6d7461696f626c6b)

static atomic_size_t allocations, failures, live_blocks, live_bytes;
static atomic_size_t fail_number; /* the allocation that fails, counted as `allocations` is; 0: none */
static atomic_bool fail_sticky;

static bool fails(void) {
    size_t number = atomic_fetch_add(&allocations, 1) + 1;
    size_t at = atomic_load(&fail_number);
    if (at == 0 || number < at || (number > at && !atomic_load(&fail_sticky)))
        return false;
    atomic_fetch_add(&failures, 1);
    return true;
}

static unsigned char *guard_of(struct head *head) { return (unsigned char *)(head + 1) + head->bytes; }

static void *give(size_t bytes) {
    struct head *head = malloc(sizeof *head + bytes + GUARD);
    CHECK(head != NULL); /* only planned failures */
    *head = (struct head){bytes, MAGIC};
    memset(head + 1, FRESH, bytes);
    memset(guard_of(head), FENCE, GUARD);
    atomic_fetch_add(&live_blocks, 1);
    atomic_fetch_add(&live_bytes, bytes);
    return head + 1;
}

static void take_back(void *block, size_t bytes) {
    struct head *head = (struct head *)block - 1;
    CHECK(head->magic == MAGIC);
    CHECK(head->bytes == bytes);
    for (int i = 0; i < GUARD; i++)
        CHECK(guard_of(head)[i] == FENCE);
    head->magic = 0;
    memset(block, FREED, bytes);
    atomic_fetch_sub(&live_blocks, 1);
    atomic_fetch_sub(&live_bytes, bytes);
    free(head);
}

static void *counted_alloc(size_t bytes, void *ctx) {
    (void)ctx;
    return fails() ? NULL : give(bytes);
}

static void *counted_resize(void *old, size_t old_bytes, size_t bytes, void *ctx) {
    (void)ctx;
    if (fails())
        return NULL;
    void *block = give(bytes);
    if (old != NULL) {
        memcpy(block, old, old_bytes < bytes ? old_bytes : bytes);
        take_back(old, old_bytes);
    }
    return block;
}

static void counted_free(void *block, size_t bytes, void *ctx) {
    (void)ctx;
    CHECK(block != NULL);
    take_back(block, bytes);
}

void support_init(void) {
    static const mtaio_allocator allocator = {
        .size = sizeof allocator, .alloc = counted_alloc, .resize = counted_resize, .free = counted_free};
    CHECK(mtaio_set_allocator(&allocator) == 0);
}

void support_fail_at(size_t n, bool sticky) {
    atomic_store(&fail_number, 0);
    atomic_store(&failures, 0);
    atomic_store(&fail_sticky, sticky);
    if (n != 0)
        atomic_store(&fail_number, atomic_load(&allocations) + n);
}

size_t support_allocations(void) { return atomic_load(&allocations); }
size_t support_failures(void) { return atomic_load(&failures); }
size_t support_live_blocks(void) { return atomic_load(&live_blocks); }
size_t support_live_bytes(void) { return atomic_load(&live_bytes); }

bool support_next(struct support_sweep *s) {
    CHECK(!s->armed);
    if (s->n > 0) {
        CHECK(support_live_blocks() == s->live);
        if (!s->failed && s->sticky)
            return false;
    }
    if (s->n > 0 && !s->failed) { /* all single failures seen: now from the n-th on */
        s->sticky = true;
        s->n = 0;
    }
    s->n++;
    s->live = support_live_blocks();
    s->failed = false;
    return true;
}

void support_arm(struct support_sweep *s) {
    s->armed = true;
    support_fail_at(s->n, s->sticky);
}

bool support_disarm(struct support_sweep *s) {
    CHECK(s->armed);
    s->armed = false;
    s->failed = support_failures() > 0;
    support_fail_at(0, false);
    return s->failed;
}

/* --- Threads -------------------------------------------------------------------------------------------- */

void support_barrier_init(struct support_barrier *b, unsigned threads) {
    b->threads = threads;
    atomic_init(&b->arrived, 0);
    atomic_init(&b->round, 0);
}

/* Spins, so that all leave within nanoseconds of each other; yields where there are too few processors. */
void support_barrier_wait(struct support_barrier *b) {
    unsigned round = atomic_load(&b->round);
    if (atomic_fetch_add(&b->arrived, 1) + 1 == b->threads) {
        atomic_store(&b->arrived, 0);
        atomic_fetch_add(&b->round, 1);
        return;
    }
    for (unsigned spins = 1; atomic_load(&b->round) == round; spins++)
        if (spins % 1024 == 0)
            sched_yield();
}

struct runner {
    void (*run)(unsigned index, void *ctx);
    void *ctx;
    unsigned index;
    struct support_barrier *start;
    pthread_t thread;
};

static void *runner_main(void *arg) {
    struct runner *r = arg;
    support_barrier_wait(r->start);
    r->run(r->index, r->ctx);
    return NULL;
}

void support_threads(unsigned threads, void (*run)(unsigned index, void *ctx), void *ctx) {
    struct support_barrier start;
    support_barrier_init(&start, threads);
    struct runner *runners = calloc(threads, sizeof *runners);
    CHECK(runners != NULL);
    for (unsigned i = 0; i < threads; i++) {
        runners[i] = (struct runner){.run = run, .ctx = ctx, .index = i, .start = &start};
        CHECK(pthread_create(&runners[i].thread, NULL, runner_main, &runners[i]) == 0);
    }
    for (unsigned i = 0; i < threads; i++)
        CHECK(pthread_join(runners[i].thread, NULL) == 0);
    free(runners);
}

void support_sleep_ms(unsigned ms) {
    struct timespec left = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0)
        ;
}

int64_t support_now_ms(void) {
    struct timespec now;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
