/* mtaio/executor.h - where a handler runs: a thread pool, or any loop through one post function. */
#ifndef MTAIO_EXECUTOR_H
#define MTAIO_EXECUTOR_H

#include <mtaio/base.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mtaio_executor mtaio_executor;

/* One piece of work given to an executor's post: to be run or dropped, exactly once, and not touched after that. */
typedef struct mtaio_job mtaio_job;
MTAIO_API void mtaio_job_run(mtaio_job *job); /* on the loop's thread */
MTAIO_API void mtaio_job_drop(mtaio_job *job); /* who waits for it is told MTAIO_ECANCELED */

/* A user's loop. post hands the job to the loop's thread and returns 0, or returns a negative status and forgets
 * the job (its handler is then reported to have failed with that status). is_current tells whether the calling
 * thread may run the loop's jobs itself: a mtaio_emit there calls the loop's handlers directly instead of waiting
 * for itself. Both are required. */
typedef struct mtaio_loop {
    size_t size; /* set by MTAIO_LOOP */
    int (*post)(mtaio_job *job, void *ctx);
    bool (*is_current)(void *ctx);
    void (*destroy)(void *ctx); /* may be NULL */
    void *ctx;
} mtaio_loop;
#define MTAIO_LOOP(...) (&(mtaio_loop){.size = sizeof(mtaio_loop), __VA_ARGS__})

/* destroy runs when neither a user nor a handler nor a job refers to the executor any more. EINVAL, ENOMEM. */
MTAIO_API int mtaio_executor_new(const mtaio_loop *loop, mtaio_executor **ret);

/* A pool of 1 to 1024 threads and a queue of at most `queue` jobs (0: 1024); posting to a full queue waits for
 * room, except on a thread of the same pool, which runs the job itself (and queues it all the same once
 * MTAIO_DEPTH_MAX jobs run within each other there). A pool thread that has to wait for an emission of its own runs
 * queued jobs meanwhile, those for which no thread is free: a job must not need a lock, or anything else, that only
 * another job which waits can give. A job, and so a handler that runs here, must not end its thread. In the child
 * of a fork the threads are not there: the pool appears closed, and what was queued is lost to it. EINVAL, ENOMEM,
 * ESYSTEM. */
MTAIO_API int mtaio_pool_new(unsigned threads, size_t queue, mtaio_executor **ret);

MTAIO_API mtaio_executor *mtaio_executor_ref(mtaio_executor *executor);

/* The last reference closes a pool; from a pool's thread, its own or another's, it closes behind itself. */
MTAIO_API mtaio_executor *mtaio_executor_unref(mtaio_executor *executor);

/* A pool takes no more work (posting, also when it waits for room: ECLOSED), does what is queued, and its threads
 * end; returns when they have, except on a pool's thread, its own or another's (0 at once: two pools could wait for
 * each other's end). Then every emission whose last handler ran there has called its done. A handler that is to run
 * there from now on has failed with ECLOSED. Twice is no error. A loop only refuses further work. EINVAL. */
MTAIO_API int mtaio_executor_close(mtaio_executor *executor);

/* Runs call(arg) there, once, and returns without waiting for it; dropped(arg), if given, runs instead where the
 * loop drops the job; neither where an error is returned. EINVAL, ECLOSED, ENOMEM, what post returned; where it
 * would have to wait for room, ESYSTEM, or EDEPTH: this thread, of another pool, runs MTAIO_DEPTH_MAX jobs within
 * each other already. */
MTAIO_API int mtaio_executor_post(mtaio_executor *executor, void (*call)(void *arg),
                                  void (*dropped)(void *arg), void *arg);

/* Is the calling thread one of the executor's? */
MTAIO_API bool mtaio_executor_is_current(const mtaio_executor *executor);

#ifdef __cplusplus
}
#endif
#endif
