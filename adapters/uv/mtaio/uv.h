/* mtaio/uv.h - libuv: handlers, receivers and timers in a uv_loop_t.
 *
 * The rules of mtaio/base.h hold: any thread may call any function, unless its comment says otherwise. uv.h
 * wants POSIX: -std=gnu17, or _POSIX_C_SOURCE defined first. */
#ifndef MTAIO_UV_H
#define MTAIO_UV_H

#include <mtaio/mtaio.h>
#include <uv.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One loop as mtaio sees it; a loop may have several. It lives as long as its executor: they share their
 * references, those of handlers, receivers, jobs and timers too, and the last one closes it. */
typedef struct mtaio_uv mtaio_uv;

/* On the thread that runs the loop. Like an active handle it keeps uv_run from returning, until it is closed.
 * EINVAL, ENOMEM, ESYSTEM: libuv refused. */
MTAIO_API int mtaio_uv_new(uv_loop_t *loop, mtaio_uv **ret);
MTAIO_API mtaio_uv *mtaio_uv_ref(mtaio_uv *uv);
MTAIO_API mtaio_uv *mtaio_uv_unref(mtaio_uv *uv);

/* Runs jobs in the loop, in the order in which they were posted: for MTAIO_HANDLER, MTAIO_RECEIVER,
 * MTAIO_PUBLISHED. Borrowed. An emission on the loop's own thread calls the handler directly. */
MTAIO_API mtaio_executor *mtaio_uv_executor(const mtaio_uv *uv);

/* For uv_unref and uv_ref, on the loop's thread: an unreferenced one lets uv_run return. Not to be closed. */
MTAIO_API uv_handle_t *mtaio_uv_handle(const mtaio_uv *uv);

/* The executor answers ECLOSED from now on, timers end, and the jobs that wait are dropped, on this thread:
 * who waits for them is told ECANCELED. closed(ctx) is called in the loop when the handles are closed, until
 * when the loop has to run; it may be NULL. EALREADY: it was closed before, and closed is not called.
 * EINVAL. */
MTAIO_API int mtaio_uv_close(mtaio_uv *uv, void (*closed)(void *ctx), void *ctx);

/* --- Timers. Emits the owned event in the loop once, delay_ns from now, or every period_ns, first after one:
 * as mtaio_emit_nowait, by the monotonic clock. The n-th time is always start + n * period, however late the
 * one before came; times that have passed together are one emission. Where there is no memory for an
 * emission, it is tried again a millisecond, or a period, later. mtaio_emit_after and mtaio_emit_periodic do
 * the same on any executor; these need no thread beside the loop.
 *
 * A timer ends with its only emission, when it is cancelled, when the loop is closed, and when its time comes
 * and its emitter is closed. Until then it keeps both. ret may be NULL. EINVAL (also a negative time, or a
 * period of 0), ECLOSED (the loop), ENOMEM. */
typedef struct mtaio__loop_timer mtaio_uv_timer;
MTAIO_API int mtaio_uv_emit_after(mtaio_uv *uv, mtaio_emitter *em, mtaio_event *event, int64_t delay_ns,
                                  mtaio_uv_timer **ret);
MTAIO_API int mtaio_uv_emit_periodic(mtaio_uv *uv, mtaio_emitter *em, mtaio_event *event, int64_t period_ns,
                                     mtaio_uv_timer **ret);

/* 1: there will be no further emission, though one may be under way. 0: it had ended, or is just being
 * carried out for the only time. EINVAL. */
MTAIO_API int mtaio_uv_timer_cancel(mtaio_uv_timer *timer);
MTAIO_API mtaio_uv_timer *mtaio_uv_timer_ref(mtaio_uv_timer *timer);
MTAIO_API mtaio_uv_timer *mtaio_uv_timer_unref(mtaio_uv_timer *timer); /* does not cancel */

#ifdef __cplusplus
}
#endif
#endif
