/* os.h - the only door to threads, locks, the clock and what else the system gives.
 *
 * os_linux.c keeps these promises natively; tests/explore keeps them under the explorer. Nothing here
 * allocates, except os_thread_start. Locks are not recursive. */
#ifndef MTAIO_SRC_OS_H
#define MTAIO_SRC_OS_H

#include "base/atomic.h"

#ifndef MTAIO_EXPLORE
#include <pthread.h>
typedef pthread_mutex_t os_mutex;
typedef pthread_cond_t os_cond;
typedef pthread_t os_thread;
typedef struct os_parking {
    ATOMIC(uint32_t) state;
} os_parking;
#define OS_MUTEX_STATIC PTHREAD_MUTEX_INITIALIZER /* for a mutex that lives as long as the process */
#else
#include "explore_types.h"
#endif

/* 0 or MTAIO_ESYSTEM. */
int os_mutex_init(os_mutex *m);
void os_mutex_destroy(os_mutex *m);
void os_lock(os_mutex *m); /* no other is held */
void os_unlock(os_mutex *m);

/* Around a fork: from os_locks_stop on, until os_locks_go, os_lock lets nobody in whom os_lock_inner, by the one who
 * stops, has not waited for. Only os_lock_inner takes a lock then: it is also for what is locked under another. In the
 * child os_mutex_reset makes a lock free that os_lock had, for a moment, to find that it may not. */
void os_locks_stop(void);
void os_locks_go(void);
void os_lock_inner(os_mutex *m);
void os_mutex_reset(os_mutex *m);

/* How many of our locks the calling thread holds: counted in debug builds (else always 0), so that
 * every call of a user's function can assert that there is none. */
int os_locks_held(void);

/* A lock that is not made of these (core/guard.h) was taken (+1), or released (-1). */
#if defined(MTAIO_DEBUG) || defined(MTAIO_EXPLORE)
void os_count_locks(int change);
#else
static inline void os_count_locks(int change) { (void)change; }
#endif

int os_cond_init(os_cond *c);
void os_cond_destroy(os_cond *c);
void os_wait(os_cond *c, os_mutex *m);                           /* may wake for no reason */
bool os_wait_until(os_cond *c, os_mutex *m, int64_t deadline_ns); /* false: the deadline passed */
void os_wake_one(os_cond *c);
void os_wake_all(os_cond *c);

/* Where one thread sleeps until another lets it go, once. It needs nothing of the system. os_unpark touches
 * nothing of it once the thread may go on; false: the deadline passed. What was written before os_unpark is seen
 * after os_park. */
void os_parking_init(os_parking *p);
bool os_park(os_parking *p, int64_t deadline_ns);
void os_unpark(os_parking *p);

/* 0 or MTAIO_ESYSTEM. Signals are blocked in the new thread. */
int os_thread_start(os_thread *ret, void *(*run)(void *arg), void *arg);
void os_thread_join(os_thread thread);
void os_thread_detach(os_thread thread);
bool os_thread_is_self(os_thread thread);

/* Monotonic; not moved by changes of the date. */
int64_t os_now_ns(void);

/* now + timeout, saturating; timeout < 0: INT64_MAX. */
int64_t os_deadline_ns(int64_t timeout_ns);

/* Waits a moment in a loop that polls: a yield at first, then longer naps, 1 ms at most. */
void os_nap(unsigned attempt);

/* Tells the processor that the calling loop only looks again and again; for a few rounds, then sleep. */
void os_pause(void);

/* A descriptor that poll and its kin find readable while it is set, whatever is said twice. It is never waited
 * on here: setting and clearing return at once. What was written before a set is seen after a clear that found it
 * set. >= 0, or MTAIO_ESYSTEM. */
int os_event_fd_new(void);
void os_event_fd_set(int fd);
void os_event_fd_clear(int fd);
void os_event_fd_close(int fd);

/* Unpredictable bytes; falls back on the clock and addresses where the system has none. */
void os_random(void *ret, size_t bytes);

/* Writes one line to the standard error: the last resort for what nobody else takes. */
void os_complain(const char *line);

/* One pointer for each thread. The one destructor given to os_self_set runs with it when the thread ends. It
 * returns 0 or MTAIO_ESYSTEM. */
#ifndef MTAIO_EXPLORE
extern _Thread_local void *mtaio__self __attribute__((tls_model("initial-exec")));
static inline void *os_self(void) { return mtaio__self; }
#else
void *os_self(void);
#endif
int os_self_set(void *value, void (*at_thread_exit)(void *value));

/* A second one, without a destructor: which executor's work the thread is doing. */
#ifndef MTAIO_EXPLORE
extern _Thread_local void *mtaio__here __attribute__((tls_model("initial-exec")));
static inline void *os_here(void) { return mtaio__here; }
static inline void os_here_set(void *value) { mtaio__here = value; }
#else
void *os_here(void);
void os_here_set(void *value);
#endif

/* What tells the calling thread from all others that are alive; never NULL. */
#ifndef MTAIO_EXPLORE
static inline const void *os_thread_mark(void) { return &mtaio__self; }
#else
const void *os_thread_mark(void);
#endif

/* Tells this process from one that was forked off it. */
long os_process(void);

/* Around each fork, from the first call on: before it, and after it in the parent and in the child. Any may be NULL.
 * Those of the first call count, for the process. 0 or MTAIO_ESYSTEM. */
int os_at_fork(void (*before)(void), void (*parent)(void), void (*child)(void));

/* The two halves of an asymmetric fence: between a store and a later load by a thread that does it often
 * (light: nearly free) and by a thread that does it rarely (heavy: makes every thread of the process pass a full
 * fence). After a heavy fence, either it sees the store before the light one, or the loads after the
 * light one see what was stored before the heavy. Linux: membarrier(2), private expedited; without it light is a full
 * fence too. */
#ifndef MTAIO_EXPLORE
extern ATOMIC(bool) mtaio__asymmetric; /* set once, before the second thread can matter */
static inline bool os_is_asymmetric(void) { return load_relaxed(&mtaio__asymmetric); }

/* For a loop that has asked os_is_asymmetric before: full, or not. */
static inline void os_fence_light_as(bool full) {
    if (full)
        fence_full();
    else
        fence_compiler();
}
static inline void os_fence_light(void) { os_fence_light_as(!likely(os_is_asymmetric())); }
#else
void os_fence_light(void);
static inline bool os_is_asymmetric(void) { return true; }
static inline void os_fence_light_as(bool full) {
    (void)full;
    os_fence_light();
}
#endif
void os_fence_heavy(void);
void os_fence_init(void);

#endif
