/* loops.h - a loop turned by hand, as an executor: post queues a job, take_job runs or drops the oldest. */
#ifndef MTAIO_TESTS_LOOPS_H
#define MTAIO_TESTS_LOOPS_H

#include "record.h"

static struct loop {
    mtaio_job *jobs[64];
    size_t count;
    int refuse; /* what post answers, if not 0 */
    bool current;
    bool quiet; /* does not note each post */
} loop;

static inline int post(mtaio_job *job, void *ctx) {
    (void)ctx;
    if (!loop.quiet) note("post");
    if (loop.refuse != 0) return loop.refuse;
    CHECK(loop.count < COUNT(loop.jobs));
    loop.jobs[loop.count++] = job;
    return 0;
}

static inline bool is_current(void *ctx) {
    (void)ctx;
    return loop.current;
}

static inline void take_job(void (*what)(mtaio_job *job)) {
    assert_true(loop.count > 0);
    mtaio_job *job = loop.jobs[0];
    memmove(loop.jobs, loop.jobs + 1, --loop.count * sizeof *loop.jobs);
    what(job);
}

static inline void take_jobs(void (*what)(mtaio_job *job)) {
    while (loop.count > 0) take_job(what);
}

static inline mtaio_executor *loop_new(void) {
    mtaio_executor *ex = NULL;
    loop = (struct loop){0};
    OK(mtaio_executor_new(MTAIO_LOOP(.post = post, .is_current = is_current), &ex));
    return ex;
}

#endif
