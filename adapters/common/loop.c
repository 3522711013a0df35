/* loop.c - see loop.h: jobs, and the life of the executor. */
#include "../common/loop.h"

#include <stdlib.h>
#include <time.h>

struct waiting {
    struct waiting *next;
    mtaio_job *job;
};

int64_t mtaio__loop_now_ns(void) {
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void mtaio__loop_set_due_locked(struct loop *loop) {
    int64_t due_ns = loop->count > 0 ? 0 : loop->timer_count > 0 ? loop->timers[0]->due_ns : LOOP_NEVER;

    if (loop->closed || due_ns == loop->due_ns)
        return;
    loop->due_ns = due_ns;
    loop->kind->set_due(loop);
}

/* --- Jobs -------------------------------------------------------------------------------------- */

static int post(mtaio_job *job, void *ctx) {
    struct waiting *w = malloc(sizeof *w);
    struct loop *loop = ctx;
    bool closed;

    if (w == NULL)
        return MTAIO_ENOMEM;
    *w = (struct waiting){.job = job};
    pthread_mutex_lock(&loop->lock);
    closed = loop->closed;
    if (!closed) {
        *loop->end = w;
        loop->end = &w->next;
        loop->count++;
        mtaio__loop_set_due_locked(loop);
    }
    pthread_mutex_unlock(&loop->lock);
    if (closed)
        free(w);
    return closed ? MTAIO_ECLOSED : 0;
}

/* The oldest job, or NULL. */
static mtaio_job *take(struct loop *loop) {
    struct waiting *w;
    mtaio_job *job = NULL;

    pthread_mutex_lock(&loop->lock);
    w = loop->first;
    if (w != NULL) {
        job = w->job;
        loop->first = w->next;
        if (loop->first == NULL)
            loop->end = &loop->first;
        loop->count--;
        mtaio__loop_set_due_locked(loop);
    }
    pthread_mutex_unlock(&loop->lock);
    free(w);
    return job;
}

void mtaio__loop_turn(struct loop *loop) {
    mtaio_job *job;
    size_t n;

    pthread_mutex_lock(&loop->lock);
    n = loop->count;
    pthread_mutex_unlock(&loop->lock);
    for (; n > 0 && (job = take(loop)) != NULL; n--)
        mtaio_job_run(job);
    mtaio__timers_run(loop);
}

/* --- The executor ------------------------------------------------------------------------------ */

static bool is_current(void *ctx) {
    struct loop *loop = ctx;

    return loop->kind->is_current(loop);
}

bool mtaio__loop_close(struct loop *loop) {
    mtaio_job *job;
    bool first;

    pthread_mutex_lock(&loop->lock);
    first = !loop->closed;
    if (first) {
        loop->closed = true;
        loop->due_ns = 0;
        loop->kind->set_due(loop);
    }
    pthread_mutex_unlock(&loop->lock);
    if (!first)
        return false;
    while ((job = take(loop)) != NULL)
        mtaio_job_drop(job);
    mtaio__timers_end(loop);
    return true;
}

static void destroy(void *ctx) {
    struct loop *loop = ctx;

    mtaio__loop_close(loop);
    if (loop->kind->end != NULL)
        loop->kind->end(loop);
    mtaio__loop_drop(loop);
}

int mtaio__loop_open(struct loop *loop, const struct loop_kind *kind) {
    *loop = (struct loop){.kind = kind,
                          .lock = PTHREAD_MUTEX_INITIALIZER,
                          .holders = 2,
                          .due_ns = LOOP_NEVER,
                          .end = &loop->first};
    return mtaio_executor_new(
        MTAIO_LOOP(.post = post, .is_current = is_current, .destroy = destroy, .ctx = loop), &loop->executor);
}

void mtaio__loop_drop(struct loop *loop) {
    bool last;

    pthread_mutex_lock(&loop->lock);
    last = --loop->holders == 0;
    pthread_mutex_unlock(&loop->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&loop->lock);
    free(loop->timers);
    loop->kind->free(loop);
}
