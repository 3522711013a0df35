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
#define OS_MUTEX_STATIC PTHREAD_MUTEX_INITIALIZER /* for a mutex that lives as long as the process */
#else
#include "explore_types.h"
#endif

/* 0 or MTAIO_ESYSTEM. */
int os_mutex_init(os_mutex *m);
void os_mutex_destroy(os_mutex *m);
void os_lock(os_mutex *m);
void os_unlock(os_mutex *m);

/* How many of our locks the calling thread holds: counted in debug builds (else always 0), so that
 * every call of a user's function can assert that there is none. */
int os_locks_held(void);

int os_cond_init(os_cond *c);
void os_cond_destroy(os_cond *c);
void os_wait(os_cond *c, os_mutex *m);                           /* may wake for no reason */
bool os_wait_until(os_cond *c, os_mutex *m, int64_t deadline_ns); /* false: the deadline passed */
void os_wake_one(os_cond *c);
void os_wake_all(os_cond *c);

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

/* Tells this process from one that was forked off it. */
long os_process(void);

/* Runs in the child after each fork, from the first call on. 0 or MTAIO_ESYSTEM. */
int os_at_fork(void (*child)(void));

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
