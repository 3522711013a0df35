/* executor.h - giving jobs to an executor. */
#ifndef MTAIO_SRC_EXECUTOR_H
#define MTAIO_SRC_EXECUTOR_H

#include "core/pool.h" /* struct mtaio_job, struct waiter */

/* Gives job to the executor, which then lives until the job is over; the caller keeps it alive until the job
 * begins. A full pool queue: waits for room (helping meanwhile, on a thread of another pool). On a thread of
 * the pool itself the job is queued too if there is room, else run right here. 0, or the job was not taken:
 * ECLOSED, what post returned, or waiter_init's errors. */
int mtaio__executor_submit(mtaio_executor *ex, struct mtaio_job *job);

/* The same, but a full pool queue grows: for jobs of which there are only so many. */
int mtaio__executor_put(mtaio_executor *ex, struct mtaio_job *job);

#endif
