/* mtaio/timer.h - calling a function, or emitting an event, later: once, or again and again.
 *
 * Times are of the monotonic clock. One thread waits for all timers of the process: it is started with the first timer
 * and ends with the last. In the child of a fork the parent's timers never go off, and cancelling them answers 0. */
#ifndef MTAIO_TIMER_H
#define MTAIO_TIMER_H

#include <mtaio/emitter.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mtaio_timer mtaio_timer;

typedef struct mtaio_timer_options {
    size_t size;       /* set by MTAIO_TIMER */
    int64_t delay_ns;  /* until it is due first: not earlier; INT64_MAX: never */
    int64_t period_ns; /* from each time it is due to the next, however long calls take; 0: only once */

    /* count: how many times it has been due since the call before; 1 as long as the calls keep up. One at a time. */
    void (*call)(uint64_t count, void *ctx);
    void (*failed)(int error, void *ctx); /* instead: what the executor refused, or dropped (ECANCELED); may be NULL */
    void (*destroy)(void *ctx);
    void *ctx;
    mtaio_executor *executor; /* where they run; NULL: the thread of all timers, which wait for it meanwhile */
} mtaio_timer_options;
#define MTAIO_TIMER(...) (&(mtaio_timer_options){.size = sizeof(mtaio_timer_options), __VA_ARGS__})

/* The timer is over after its call, if it has no period, when it is cancelled, and when its executor is closed; then
 * destroy runs. A call must not end its thread. It keeps its executor, and never waits for room in a pool's queue. ret
 * may be NULL; else *ret is there when call runs. EINVAL (also a negative time), ENOMEM; ESYSTEM: no thread. */
MTAIO_API int mtaio_timer_start(const mtaio_timer_options *options, mtaio_timer **ret);
MTAIO_API mtaio_timer *mtaio_timer_ref(mtaio_timer *timer);
MTAIO_API mtaio_timer *mtaio_timer_unref(mtaio_timer *timer); /* does not cancel */

/* 1: there will be no further call, though one may be under way. 0: it was over, or cancelled, or is just being called
 * for the only time. The second returns when no call is under way, except the one it is called from. EINVAL. */
MTAIO_API int mtaio_timer_cancel(mtaio_timer *timer);
MTAIO_API int mtaio_timer_cancel_wait(mtaio_timer *timer);

/* Emits the owned event once, after delay_ns; or every period_ns, the first time after one. As mtaio_emit_nowait on the
 * executor (NULL: the timers' thread). An emission that cannot begin, and a call that the executor refuses, go to the
 * emitter's last resort. Closing the emitter, which the timer does not keep, cancels it. ret may be NULL. EINVAL (also
 * a negative time, or a period of 0), ECLOSED, ENOMEM, ESYSTEM. */
MTAIO_API int mtaio_emit_after(mtaio_emitter *em, mtaio_event *event, int64_t delay_ns, mtaio_executor *executor,
                               mtaio_timer **ret);
MTAIO_API int mtaio_emit_periodic(mtaio_emitter *em, mtaio_event *event, int64_t period_ns, mtaio_executor *executor,
                                  mtaio_timer **ret);

#ifdef __cplusplus
}
#endif
#endif
