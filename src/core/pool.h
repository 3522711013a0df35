/* pool.h - jobs, the pools whose threads run them, and threads that wait. */
#ifndef MTAIO_SRC_POOL_H
#define MTAIO_SRC_POOL_H

#include <mtaio/executor.h>

#include "os/os.h"

/* Embedded in what its owner wants done; nothing is allocated for it. Exactly one of run and drop is called,
 * once; the job may be gone when it returns. */
struct mtaio_job {
    struct mtaio_job *next;   /* the pool's queue */
    mtaio_executor *executor; /* the loop's; kept by the job */
    void (*run)(struct mtaio_job *job);
    void (*drop)(struct mtaio_job *job);
};

/* What the calling thread is doing (os_here): the innermost of a chain. A pool thread's chain begins with the
 * thread itself, and every job of a loop adds a link while it runs. Only its own thread looks at it. */
struct here {
    struct here *outer;
    const mtaio_executor *loop; /* NULL: no loop's job */
    struct worker *worker;      /* handed on from link to link; NULL: no pool's thread */
    struct calling *calling;    /* messages' calls, within one of which it is (after.c); or NULL */
};

/* --- Waiting. One thread that waits for one thing, on its own stack. On a pool's thread waiting runs the
 * pool's queued jobs meanwhile, so a pool never waits for itself. */

struct waiter {
    os_parking parking;    /* where it sleeps, if it is no pool's thread, or not any more: it has forked */
    struct worker *worker; /* the pool's thread, or NULL */
    bool done;             /* guarded by the pool's lock */
};

/* On the thread that will wait. EDEPTH: MTAIO_DEPTH_MAX jobs run within each other on it. */
int mtaio__waiter_init(struct waiter *w);

/* Any thread, once; the waiter may be gone when it returns. */
void mtaio__waiter_wake(struct waiter *w);

/* Until woken, or the deadline (os_deadline_ns; INT64_MAX: none) has passed: false. Helping may overrun the
 * deadline by the length of one job. */
bool mtaio__waiter_wait(struct waiter *w, int64_t deadline_ns);

/* --- Pools: a bounded queue and the threads that empty it. */

struct pool;

/* ENOMEM, ESYSTEM. */
int mtaio__pool_new(unsigned threads, size_t capacity, struct pool **ret);

/* As mtaio__executor_submit; not bounded: as mtaio__executor_put. */
int mtaio__pool_submit(struct pool *p, struct mtaio_job *job, bool bounded);

/* As mtaio_executor_close. */
void mtaio__pool_close(struct pool *p);

/* Closes and frees: now or, from a pool's thread, as soon as the threads have ended. */
void mtaio__pool_drop(struct pool *p);

bool mtaio__pool_is_current(const struct pool *p);

#endif
