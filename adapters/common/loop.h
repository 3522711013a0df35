/* loop.h - what every loop of another library needs: the jobs that wait for its next turn, its timers, and
 * the end.
 *
 * A turn is a call of mtaio__loop_turn by the foreign loop, on its thread; the rest may be called by any
 * thread. struct loop begins the adapter's object, and is freed with it when the last of its holders is gone:
 * the executor, whose context it is; what the adapter has in the foreign loop; each timer. A job or a timer
 * that waits keeps the executor. Memory is malloc's. The lock is not held while the user's code or the core's
 * runs. */
#ifndef MTAIO_ADAPTERS_LOOP_H
#define MTAIO_ADAPTERS_LOOP_H

#include <mtaio/mtaio.h>
#include <pthread.h>

#define LOOP_NEVER INT64_MAX /* as a time */

struct loop;
typedef struct mtaio__loop_timer loop_timer;

struct loop_kind {
    void (*set_due)(struct loop *loop);    /* due_ns has changed; with the lock held, last by the close */
    bool (*is_current)(struct loop *loop); /* as in mtaio_loop */
    void (*end)(struct loop *loop);        /* the executor is gone, and the loop closed; may be NULL */
    void (*free)(struct loop *loop);
};

struct loop {
    const struct loop_kind *kind;
    mtaio_executor *executor; /* not kept: it keeps this */
    pthread_mutex_t lock;     /* guards what follows */
    unsigned holders;
    bool closed;
    int64_t due_ns;               /* when a turn has something to do, 0: now */
    struct waiting *first, **end; /* jobs, oldest first */
    size_t count;
    loop_timer **timers; /* a heap: none is due before the one at (index - 1) / 2 */
    size_t timer_count, timer_capacity;
};

/* Makes the executor. Two holders, that and the foreign loop. ENOMEM: the executor has come to its end
 * already. */
int mtaio__loop_open(struct loop *loop, const struct loop_kind *kind);

void mtaio__loop_drop(struct loop *loop); /* a holder is gone */

/* Does what there was to do when it began: jobs in the order in which they came, then timers. Turns may nest.
 * */
void mtaio__loop_turn(struct loop *loop);

/* Drops the jobs that wait, on this thread, and ends the timers. Posting answers ECLOSED from now on. False:
 * it was closed before. */
bool mtaio__loop_close(struct loop *loop);

/* CLOCK_MONOTONIC: both loops go by it. */
int64_t mtaio__loop_now_ns(void);

/* With the lock held: from the jobs and timers there are. */
void mtaio__loop_set_due_locked(struct loop *loop);

/* --- timers.c ---------------------------------------------------------------------------------- */

struct mtaio__loop_timer {
    struct loop *loop;
    mtaio_emitter *emitter;
    mtaio_event *event;
    int64_t period_ns; /* 0: once */
    int64_t due_ns;    /* guarded by the loop's lock, as what follows */
    size_t place;      /* its index in the heap + 1; 0: it has ended */
    unsigned refs;     /* the users', one while it is in the heap, one while it emits */
};

/* ret may be NULL. EINVAL, ECLOSED, ENOMEM. */
int mtaio__timer_start(struct loop *loop, mtaio_emitter *em, mtaio_event *event, int64_t delay_ns,
                       int64_t period_ns, loop_timer **ret);
int mtaio__timer_cancel(loop_timer *t);
loop_timer *mtaio__timer_ref(loop_timer *t);
loop_timer *mtaio__timer_unref(loop_timer *t);

void mtaio__timers_run(struct loop *loop); /* those that are due now */
void mtaio__timers_end(struct loop *loop); /* all of them */

#endif
