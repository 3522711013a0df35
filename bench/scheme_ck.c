/* scheme_ck.c - snapshots protected by Concurrency Kit: an epoch, and a hazard pointer. */
#include "scheme.h"

#ifdef BENCH_CK
#include <ck_epoch.h>
#include <ck_hp.h>

static ck_epoch_t epoch;
static ck_hp_t hazards;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static __thread ck_epoch_record_t *record;
static __thread ck_hp_record_t *hazard;

static void start(void) {
    ck_epoch_init(&epoch);
    ck_hp_init(&hazards, 1, 1024, free);
}

/* Records live as long as the program: Concurrency Kit keeps them in its lists. */
static void thread_start(void) {
    static ck_epoch_record_t records[2];
    static ck_hp_record_t hazard_records[2];
    static void *pointers[2][8];
    static atomic_int next;
    if (record)
        return;
    pthread_once(&once, start);
    int mine = atomic_fetch_add(&next, 1) % 2;
    ck_epoch_register(&epoch, &records[mine], NULL);
    ck_hp_register(&hazards, &hazard_records[mine], pointers[mine]);
    record = &records[mine];
    hazard = &hazard_records[mine];
}

static const struct bare_list *epoch_pin(struct shared *s) {
    ck_epoch_begin(record, NULL);
    return atomic_load_explicit(&s->list, memory_order_acquire);
}

static void epoch_unpin(struct shared *s) {
    (void)s;
    ck_epoch_end(record, NULL);
}

static const struct bare_list *hazard_pin(struct shared *s) {
    struct bare_list *list = atomic_load_explicit(&s->list, memory_order_acquire), *again;
    for (;; list = again) {
        ck_hp_set_fence(hazard, 0, list);
        again = atomic_load_explicit(&s->list, memory_order_acquire);
        if (again == list)
            return list;
    }
}

static void hazard_unpin(struct shared *s) {
    (void)s;
    ck_pr_fence_release();
    ck_hp_set(hazard, 0, NULL);
}

SCHEME_EMIT(epoch_walk, epoch_pin, epoch_unpin)
SCHEME_EMIT(hazard_walk, hazard_pin, hazard_unpin)

static void epoch_emit(void *signal, size_t times) {
    thread_start();
    epoch_walk(signal, times);
}

static void hazard_emit(void *signal, size_t times) {
    thread_start();
    hazard_walk(signal, times);
}

const bench_peer scheme_ck_epoch = {
    .name = "ck_epoch", .concurrent = true, .open = shared_open, .emit = epoch_emit, .close = shared_close};
const bench_peer scheme_ck_hazard = {
    .name = "ck_hp", .concurrent = true, .open = shared_open, .emit = hazard_emit, .close = shared_close};
#else
const bench_peer scheme_ck_epoch = {0}, scheme_ck_hazard = {0};
#endif
