/* atomic.h - the only door to atomic operations and fences.
 *
 * Built natively the macros are the compiler's builtins. Built with MTAIO_EXPLORE every one is a scheduling
 * point of the explorer in tests/explore, which also gives each thread a store buffer, so that the same
 * unmodified core is checked under every interleaving.
 *
 * A shared field is declared ATOMIC(T): it is touched by these macros alone, except before it is published.
 * Orders: load_acquire pairs with store_release / exchange / cas / add; relaxed where a lock or another pair
 * already orders. The read-modify-writes are sequentially consistent: on the machines we know the weaker ones cost
 * the same. */
#ifndef MTAIO_SRC_ATOMIC_H
#define MTAIO_SRC_ATOMIC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ATOMIC(T) T
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#ifndef MTAIO_EXPLORE

#define load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define atomic_swap(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
#define atomic_cas(p, expected, desired)                                                           \
    __atomic_compare_exchange_n((p), (expected), (desired), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
#define atomic_add(p, v) __atomic_fetch_add((p), (v), __ATOMIC_SEQ_CST) /* the value before */
#define atomic_sub(p, v) __atomic_fetch_sub((p), (v), __ATOMIC_SEQ_CST)
#define atomic_or(p, v) __atomic_fetch_or((p), (v), __ATOMIC_SEQ_CST)

/* Keeps the compiler, not the processor, from moving a store behind a later load. */
#define fence_compiler() __atomic_signal_fence(__ATOMIC_SEQ_CST)

#if defined(__SANITIZE_THREAD__)
#define MTAIO_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define MTAIO_TSAN 1
#endif
#endif

#ifdef MTAIO_TSAN /* ThreadSanitizer knows read-modify-writes, not fences */
static inline void fence_full(void) {
    static ATOMIC(int) dummy;
    atomic_add(&dummy, 0);
}
#else
#define fence_full() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#endif

#else /* MTAIO_EXPLORE */

#pragma GCC diagnostic ignored "-Wunused-value" /* a builtin's result may be dropped, a cast's is warned of */

uint64_t explore_load(const volatile void *p, size_t size);
void explore_store(volatile void *p, size_t size, uint64_t value, bool release);
uint64_t explore_swap(volatile void *p, size_t size, uint64_t value);
bool explore_cas(volatile void *p, size_t size, void *expected, uint64_t desired);
uint64_t explore_add(volatile void *p, size_t size, uint64_t value);
uint64_t explore_or(volatile void *p, size_t size, uint64_t value);
void explore_fence_full(void);

#define load_relaxed(p) ((__typeof__(*(p)))explore_load((p), sizeof *(p)))
#define load_acquire(p) ((__typeof__(*(p)))explore_load((p), sizeof *(p)))
#define store_relaxed(p, v) explore_store((p), sizeof *(p), (uint64_t)(__typeof__(*(p)))(v), false)
#define store_release(p, v) explore_store((p), sizeof *(p), (uint64_t)(__typeof__(*(p)))(v), true)
#define atomic_swap(p, v) ((__typeof__(*(p)))explore_swap((p), sizeof *(p), (uint64_t)(__typeof__(*(p)))(v)))
#define atomic_cas(p, expected, desired)                                                           \
    explore_cas((p), sizeof *(p), (expected), (uint64_t)(__typeof__(*(p)))(desired))
#define atomic_add(p, v) ((__typeof__(*(p)))explore_add((p), sizeof *(p), (uint64_t)(v)))
#define atomic_sub(p, v) ((__typeof__(*(p)))explore_add((p), sizeof *(p), (uint64_t)0 - (uint64_t)(v)))
#define atomic_or(p, v) ((__typeof__(*(p)))explore_or((p), sizeof *(p), (uint64_t)(v)))
#define fence_compiler() ((void)0)
#define fence_full() explore_fence_full()

#endif
#endif
