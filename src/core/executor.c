/* executor.c - what the user sees of thread pools, and users' loops.
 *
 * An executor is a loop, or a handle for a pool (which may outlive it until its threads have ended). */
#include "core/executor.h"

#include <assert.h>

#include "base/memory.h"

#define THREADS_MAX 1024
#define QUEUE_DEFAULT 1024

struct mtaio_executor {
    ATOMIC(size_t) refs;
    ATOMIC(bool) closed; /* a loop's; a pool has its own */
    struct pool *pool;   /* NULL: a loop */
    mtaio_loop loop;
};

/* --- Loops ------------------------------------------------------------------------------------- */

static int loop_submit(mtaio_executor *ex, struct mtaio_job *job) {
    int r;

    if (load_acquire(&ex->closed)) /* pairs with the store of close */
        return MTAIO_ECLOSED;
    job->executor = ex;
    atomic_add(&ex->refs, 2); /* the job's, and one for the call of post, which may outlast the job */
    assert(os_locks_held() == 0);
    r = ex->loop.post(job, ex->loop.ctx);
    if (r < 0)
        mtaio_executor_unref(ex);
    mtaio_executor_unref(ex);
    return r < 0 ? r : 0;
}

void mtaio_job_run(mtaio_job *job) {
    struct here *outer = os_here();
    struct here here = {.outer = outer, .worker = outer != NULL ? outer->worker : NULL};
    mtaio_executor *ex;

    if (job == NULL)
        return;
    ex = job->executor;
    here.loop = ex;
    os_here_set(&here);
    job->run(job);
    os_here_set(outer);
    mtaio_executor_unref(ex);
}

void mtaio_job_drop(mtaio_job *job) {
    mtaio_executor *ex;

    if (job == NULL)
        return;
    ex = job->executor;
    job->drop(job);
    mtaio_executor_unref(ex);
}

static bool loop_is_current(const mtaio_executor *ex) {
    for (const struct here *here = os_here(); here != NULL; here = here->outer)
        if (here->loop == ex)
            return true;
    assert(os_locks_held() == 0);
    return ex->loop.is_current(ex->loop.ctx);
}

/* --- Executors --------------------------------------------------------------------------------- */

static mtaio_executor *executor_new(void) {
    mtaio_executor *ex = mtaio__alloc_zeroed(sizeof *ex);

    if (ex != NULL)
        ex->refs = 1;
    return ex;
}

static int loop_new(const mtaio_loop *loop, mtaio_executor **ret) {
    mtaio_executor *ex;

    if (loop->post == NULL || loop->is_current == NULL || ret == NULL)
        return MTAIO_EINVAL;
    ex = executor_new();
    if (ex == NULL)
        return MTAIO_ENOMEM;
    ex->loop = *loop;
    *ret = ex;
    return 0;
}

int mtaio_executor_new(const mtaio_loop *loop, mtaio_executor **ret) {
    int r;

    if (loop == NULL || loop->size < sizeof *loop)
        return MTAIO_EINVAL;
    r = loop_new(loop, ret);
    if (r < 0 && loop->destroy != NULL)
        loop->destroy(loop->ctx);
    return r;
}

int mtaio_pool_new(unsigned threads, size_t queue, mtaio_executor **ret) {
    mtaio_executor *ex;
    int r;

    if (threads == 0 || threads > THREADS_MAX || ret == NULL)
        return MTAIO_EINVAL;
    ex = executor_new();
    if (ex == NULL)
        return MTAIO_ENOMEM;
    r = mtaio__pool_new(threads, queue != 0 ? queue : QUEUE_DEFAULT, &ex->pool);
    if (r < 0) {
        mtaio__free(ex, sizeof *ex);
        return r;
    }
    *ret = ex;
    return 0;
}

mtaio_executor *mtaio_executor_ref(mtaio_executor *ex) {
    if (ex != NULL)
        atomic_add(&ex->refs, 1);
    return ex;
}

mtaio_executor *mtaio_executor_unref(mtaio_executor *ex) {
    /* What each holder did comes before its own decrement, and so before the last one. */
    if (ex == NULL || atomic_sub(&ex->refs, 1) > 1)
        return NULL;
    assert(os_locks_held() == 0);
    if (ex->pool != NULL)
        mtaio__pool_drop(ex->pool);
    else if (ex->loop.destroy != NULL)
        ex->loop.destroy(ex->loop.ctx);
    mtaio__free(ex, sizeof *ex);
    return NULL;
}

int mtaio_executor_close(mtaio_executor *ex) {
    if (ex == NULL)
        return MTAIO_EINVAL;
    if (ex->pool != NULL)
        mtaio__pool_close(ex->pool);
    else
        store_release(&ex->closed, true); /* pairs with the load of submit */
    return 0;
}

bool mtaio_executor_is_current(const mtaio_executor *ex) {
    if (ex == NULL)
        return false;
    return ex->pool != NULL ? mtaio__pool_is_current(ex->pool) : loop_is_current(ex);
}

int mtaio__executor_submit(mtaio_executor *ex, struct mtaio_job *job) {
    return ex->pool != NULL ? mtaio__pool_submit(ex->pool, job, true) : loop_submit(ex, job);
}

int mtaio__executor_put(mtaio_executor *ex, struct mtaio_job *job) {
    return ex->pool != NULL ? mtaio__pool_submit(ex->pool, job, false) : loop_submit(ex, job);
}

/* --- Posting a function ------------------------------------------------------------------------ */

struct posted {
    struct mtaio_job job;
    void (*call)(void *arg);
    void (*dropped)(void *arg);
    void *arg;
};

/* Frees the block first: the function may do as it likes. */
static void posted_end(struct mtaio_job *job, bool run) {
    struct posted posted = *(struct posted *)job;
    void (*call)(void *arg) = run ? posted.call : posted.dropped;

    mtaio__free(job, sizeof posted);
    assert(os_locks_held() == 0);
    if (call != NULL)
        call(posted.arg);
}

static void posted_run(struct mtaio_job *job) { posted_end(job, true); }
static void posted_drop(struct mtaio_job *job) { posted_end(job, false); }

int mtaio_executor_post(mtaio_executor *ex, void (*call)(void *arg), void (*dropped)(void *arg), void *arg) {
    struct posted *posted;
    int r;

    if (ex == NULL || call == NULL)
        return MTAIO_EINVAL;
    posted = mtaio__alloc(sizeof *posted);
    if (posted == NULL)
        return MTAIO_ENOMEM;
    *posted = (struct posted){{.run = posted_run, .drop = posted_drop}, call, dropped, arg};
    r = mtaio__executor_submit(ex, &posted->job);
    if (r < 0)
        mtaio__free(posted, sizeof *posted);
    return r;
}
