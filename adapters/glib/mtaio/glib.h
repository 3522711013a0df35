/* mtaio/glib.h - GLib: handlers, receivers and timers in a GMainContext.
 *
 * The rules of mtaio/base.h hold: any thread may call any function. Where memory runs out GLib itself ends
 * the process, also within mtaio_glib_new. */
#ifndef MTAIO_GLIB_H
#define MTAIO_GLIB_H

#include <glib.h>
#include <mtaio/mtaio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A GSource of a context; a context may have several. It lives as long as its executor: they share their
 * references, those of handlers, receivers, jobs and timers too, and the last one closes it. */
typedef struct mtaio_glib mtaio_glib;

/* On the thread that runs the context, or is going to. context NULL: the default one. priority: as of any
 * GSource; main loops that run within a handler serve it too. EINVAL, ENOMEM. */
MTAIO_API int mtaio_glib_new(GMainContext *context, int priority, mtaio_glib **ret);
MTAIO_API mtaio_glib *mtaio_glib_ref(mtaio_glib *glib);
MTAIO_API mtaio_glib *mtaio_glib_unref(mtaio_glib *glib);

/* Runs jobs in the context, in the order in which they were posted: for MTAIO_HANDLER, MTAIO_RECEIVER,
 * MTAIO_PUBLISHED. Borrowed. An emission on the context's own thread calls the handler directly. */
MTAIO_API mtaio_executor *mtaio_glib_executor(const mtaio_glib *glib);

/* Takes the source out of the context. The executor answers ECLOSED from now on, timers end, and the jobs
 * that wait are dropped, on this thread: who waits for them is told ECANCELED. Twice is no error. EINVAL. */
MTAIO_API int mtaio_glib_close(mtaio_glib *glib);

/* --- Timers. Emits the owned event in the loop once, delay_ns from now, or every period_ns, first after one:
 * as mtaio_emit_nowait, by the monotonic clock. The n-th time is always start + n * period, however late the
 * one before came; times that have passed together are one emission. Where there is no memory for an
 * emission, it is tried again a millisecond, or a period, later. mtaio_emit_after and mtaio_emit_periodic do
 * the same on any executor; these need no thread beside the loop.
 *
 * A timer ends with its only emission, when it is cancelled, when the loop is closed, and when its time comes
 * and its emitter is closed. Until then it keeps both. ret may be NULL. EINVAL (also a negative time, or a
 * period of 0), ECLOSED (the loop), ENOMEM. */
typedef struct mtaio__loop_timer mtaio_glib_timer;
MTAIO_API int mtaio_glib_emit_after(mtaio_glib *glib, mtaio_emitter *em, mtaio_event *event,
                                    int64_t delay_ns, mtaio_glib_timer **ret);
MTAIO_API int mtaio_glib_emit_periodic(mtaio_glib *glib, mtaio_emitter *em, mtaio_event *event,
                                       int64_t period_ns, mtaio_glib_timer **ret);

/* 1: there will be no further emission, though one may be under way. 0: it had ended, or is just being
 * carried out for the only time. EINVAL. */
MTAIO_API int mtaio_glib_timer_cancel(mtaio_glib_timer *timer);
MTAIO_API mtaio_glib_timer *mtaio_glib_timer_ref(mtaio_glib_timer *timer);
MTAIO_API mtaio_glib_timer *mtaio_glib_timer_unref(mtaio_glib_timer *timer); /* does not cancel */

#ifdef __cplusplus
}
#endif
#endif
