/* scheme_plain.c - what needs no library: a mutex, a shared count of references, and pins of our own. */
#include "scheme.h"

/* --- The readers hold the writer's mutex all the while ------------------------------------------------ */

static const struct bare_list *mutex_pin(struct shared *s) {
    pthread_mutex_lock(&s->lock);
    return atomic_load_explicit(&s->list, memory_order_relaxed);
}

static void mutex_unpin(struct shared *s) { pthread_mutex_unlock(&s->lock); }

SCHEME_EMIT(mutex_emit, mutex_pin, mutex_unpin)

static void mutex_change(struct shared *s, bool more) {
    pthread_mutex_lock(&s->lock);
    struct bare_list *old = atomic_load(&s->list);
    atomic_store(&s->list, shared_copy(old, more));
    pthread_mutex_unlock(&s->lock);
    free(old);
}

static void mutex_add_remove(void *signal, size_t times) {
    for (; times; times--) {
        mutex_change(signal, true);
        mutex_change(signal, false);
    }
}

/* --- A count of references that all readers share: the least that such a scheme can cost, as a real one has
 * to get the pointer and the reference in one step
 * ------------------------------------------------------------ */

static const struct bare_list *refcount_pin(struct shared *s) {
    atomic_fetch_add(&s->references, 1);
    return atomic_load_explicit(&s->list, memory_order_acquire);
}

static void refcount_unpin(struct shared *s) { atomic_fetch_sub(&s->references, 1); }

SCHEME_EMIT(refcount_emit, refcount_pin, refcount_unpin)

/* --- Each thread says in a slot of its own what it reads and since when; the writer looks at all slots.
 * Between the store to the slot and the loads after it stands a fence, or nothing but the compiler's, when
 * the writer makes all threads pass a fence (membarrier) before it looks
 * -------------------------------------------------- */

static __thread struct {
    struct {
        _Atomic(void *) owner;
        atomic_ulong lower;
    } slots[8];
    unsigned depth;
} pins;

static inline const struct bare_list *pin_with(struct shared *s, bool fence) {
    unsigned slot = pins.depth++ % 8;
    unsigned long clock = atomic_load_explicit(&s->clock, memory_order_acquire);
    for (;;) {
        atomic_store_explicit(&pins.slots[slot].lower, clock, memory_order_relaxed);
        atomic_store_explicit(&pins.slots[slot].owner, s, memory_order_release);
        if (fence)
            atomic_thread_fence(memory_order_seq_cst);
        else
            atomic_signal_fence(memory_order_seq_cst);
        const struct bare_list *list = atomic_load_explicit(&s->list, memory_order_acquire);
        unsigned long again = atomic_load_explicit(&s->clock, memory_order_acquire);
        if (again == clock)
            return list;
        clock = again;
    }
}

static const struct bare_list *pin(struct shared *s) { return pin_with(s, false); }

static const struct bare_list *pin_fence(struct shared *s) { return pin_with(s, true); }

static void unpin(struct shared *s) {
    (void)s;
    atomic_store_explicit(&pins.slots[--pins.depth % 8].owner, NULL, memory_order_release);
}

SCHEME_EMIT(pin_emit, pin, unpin)
SCHEME_EMIT(pin_fence_emit, pin_fence, unpin)

const bench_peer scheme_mutex = {.name = "mutex",
                                 .concurrent = true,
                                 .open = shared_open,
                                 .emit = mutex_emit,
                                 .add_remove = mutex_add_remove,
                                 .close = shared_close};
const bench_peer scheme_refcount = {.name = "shared refcount",
                                    .concurrent = true,
                                    .open = shared_open,
                                    .emit = refcount_emit,
                                    .close = shared_close};
const bench_peer scheme_pin = {.name = "pin, membarrier",
                               .concurrent = true,
                               .open = shared_open,
                               .emit = pin_emit,
                               .close = shared_close};
const bench_peer scheme_pin_fence = {.name = "pin, full fence",
                                     .concurrent = true,
                                     .open = shared_open,
                                     .emit = pin_fence_emit,
                                     .close = shared_close};
