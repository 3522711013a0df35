/* scheme_urcu.c - snapshots protected by liburcu: memb (threads register) and bp (they do not have to). Both
 * use membarrier(2) where the system has it. */
#include "scheme.h"

#ifdef BENCH_URCU
#define _LGPL_SOURCE /* the readers' side inline, as fast as it gets */
#include <urcu/urcu-bp.h>
#include <urcu/urcu-memb.h>

static __thread bool registered;

static const struct bare_list *memb_pin(struct shared *s) {
    urcu_memb_read_lock();
    return atomic_load_explicit(&s->list, memory_order_acquire);
}

static void memb_unpin(struct shared *s) {
    (void)s;
    urcu_memb_read_unlock();
}

static const struct bare_list *bp_pin(struct shared *s) {
    urcu_bp_read_lock();
    return atomic_load_explicit(&s->list, memory_order_acquire);
}

static void bp_unpin(struct shared *s) {
    (void)s;
    urcu_bp_read_unlock();
}

SCHEME_EMIT(memb_emit_registered, memb_pin, memb_unpin)
SCHEME_EMIT(bp_emit, bp_pin, bp_unpin)

/* Registered all its life, a thread that sleeps in no read section holds back nothing. */
static void memb_emit(void *signal, size_t times) {
    if (!registered) {
        urcu_memb_register_thread();
        registered = true;
    }
    memb_emit_registered(signal, times);
}

/* A grace period for many snapshots at once; the writer is one thread. */
static void change(struct shared *s, bool more) {
    static struct bare_list *old[1024];
    static size_t count;
    old[count] = atomic_load(&s->list);
    atomic_store(&s->list, shared_copy(old[count], more));
    if (++count < sizeof old / sizeof old[0])
        return;
    urcu_memb_synchronize_rcu();
    while (count)
        free(old[--count]);
}

static void memb_add_remove(void *signal, size_t times) {
    for (; times; times--) {
        change(signal, true);
        change(signal, false);
    }
}

const bench_peer scheme_urcu_memb = {.name = "urcu-memb",
                                     .concurrent = true,
                                     .open = shared_open,
                                     .emit = memb_emit,
                                     .add_remove = memb_add_remove,
                                     .close = shared_close};
const bench_peer scheme_urcu_bp = {
    .name = "urcu-bp", .concurrent = true, .open = shared_open, .emit = bp_emit, .close = shared_close};
#else
const bench_peer scheme_urcu_memb = {0}, scheme_urcu_bp = {0};
#endif
