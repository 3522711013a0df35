/* timer.h - timers that are made before they are started. */
#ifndef MTAIO_SRC_TIMER_H
#define MTAIO_SRC_TIMER_H

#include <mtaio/timer.h>

/* With checked options, and two references: the caller's, and one that goes when the timer is over. NULL: out
 * of memory. */
mtaio_timer *mtaio__timer_new(const mtaio_timer_options *options);

/* Once; the caller's reference is given to *ret, or dropped. Where it fails (ENOMEM, ESYSTEM; ECLOSED: it has
 * been cancelled meanwhile) nothing was called, nor will be, and the caller has both references:
 * mtaio__timer_drop. */
int mtaio__timer_begin(mtaio_timer *t, mtaio_timer **ret);
void mtaio__timer_drop(mtaio_timer *t);

#endif
