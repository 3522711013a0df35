/* pool.c - thread pools, and threads that wait.
 *
 * A pool's thread that has nothing of its own to do takes a step: it runs the oldest queued job, or sleeps on
 * its own condition until there is one. Its main function takes steps until the pool is closed and the queue
 * empty; a waiter on its stack takes steps until it is woken. So waiting threads help, by the same code; but
 * only with jobs for which no thread is free, because a job may hold up what they wait for.
 *
 * Each thread has its own condition, and those asleep are on a list: a new job calls exactly one of them (a
 * free one before a waiter), and waking a waiter wakes exactly its thread. A waiter that was called for a
 * job, and leaves without doing one because its own waiting is over, hands the call on.
 *
 * Threads outside of all pools join the threads of a pool they close. A pool's thread never joins (two pools
 * could wait for each other's end); if it drops the last reference, the last thread to leave frees it all.
 *
 * No lock is taken while another is held; threads are joined under join_lock. No user code runs under
 * either. */
#include "core/pool.h"

#include <assert.h>

#include "base/memory.h"

struct sleeper {
    struct sleeper *next, *prev; /* the pool's lock; NULL: not on the list */
};

struct worker {
    struct sleeper sleeper; /* first, so that one is the other */
    struct here here;
    struct pool *pool;
    os_thread thread;
    os_cond cond;   /* this thread alone sleeps on it */
    unsigned depth; /* jobs that run within each other; its own thread's */
};

/* A thread that waits for room in the queue, on its own stack. */
struct poster {
    struct poster *next; /* the pool's lock */
    struct mtaio_job *job;
    int result; /* written before it is woken */
    struct waiter waiter;
};

struct pool {
    long process; /* where its threads are: they are not in a process forked off it */
    size_t bytes;
    size_t capacity;

    os_mutex lock; /* the fields up to the next blank line */
    struct mtaio_job *first, **last;
    size_t queued;
    struct poster *first_poster, **last_poster; /* none while the queue has room */
    struct sleeper sleepers;                    /* a ring; first who is called first */
    unsigned alive;                             /* threads that have not left */
    unsigned idle; /* those not in a job: free ones, that look at the queue before they sleep */
    bool closed;
    bool abandoned; /* the last thread to leave frees the pool */

    os_mutex join_lock;
    unsigned joined; /* join_lock */

    unsigned threads; /* fixed once the pool is made */
    struct worker workers[];
};

/* The pool's thread that the calling thread is, or NULL. */
static struct worker *worker_here(void) {
    const struct here *here = os_here();
    struct worker *worker = here != NULL ? here->worker : NULL;

    return worker != NULL && worker->pool->process == os_process() ? worker : NULL;
}

/* --- The queue and who sleeps ------------------------------------------------------------------ */

/* Before next. The ring itself is the end. */
static void sleeper_insert(struct sleeper *s, struct sleeper *next) {
    s->next = next;
    s->prev = next->prev;
    s->prev->next = s->next->prev = s;
}

static void sleeper_remove(struct sleeper *s) {
    s->prev->next = s->next;
    s->next->prev = s->prev;
    s->next = s->prev = NULL;
}

static void call_one_locked(struct pool *p) {
    struct sleeper *s = p->sleepers.next;

    if (s == &p->sleepers)
        return;
    sleeper_remove(s);
    os_wake_one(&((struct worker *)s)->cond);
}

static void put_locked(struct pool *p, struct mtaio_job *job) {
    job->next = NULL;
    *p->last = job;
    p->last = &job->next;
    p->queued++;
    call_one_locked(p);
}

/* The oldest job, or NULL. The room it leaves goes to the first who waits for it: if *ret_moved is set, the
 * caller answers it without the lock. */
static struct mtaio_job *take_locked(struct pool *p, struct poster **ret_moved) {
    struct mtaio_job *job = p->first;
    struct poster *moved = p->first_poster;

    if (job == NULL)
        return NULL;
    p->first = job->next;
    if (p->first == NULL)
        p->last = &p->first;
    p->queued--;
    if (moved != NULL && p->queued < p->capacity) {
        p->first_poster = moved->next;
        if (p->first_poster == NULL)
            p->last_poster = &p->first_poster;
        put_locked(p, moved->job);
        *ret_moved = moved;
    }
    return job;
}

static void poster_answer(struct poster *poster, int result) {
    poster->result = result;
    mtaio__waiter_wake(&poster->waiter);
}

/* --- A pool's thread --------------------------------------------------------------------------- */

/* After a job that may have forked. In the child the other threads are gone, perhaps with the lock, and what was
 * queued is theirs: the pool is closed and empty. */
static void lock_after_job(struct pool *p) {
    if (p->process != os_process()) {
        os_mutex_reset(&p->lock);
        p->closed = true;
        p->first = NULL;
        p->first_poster = NULL;
        p->sleepers.next = p->sleepers.prev = &p->sleepers;
    }
    os_lock(&p->lock);
}

static void run_on(struct worker *self, struct mtaio_job *job) {
    assert(os_locks_held() == 0);
    self->depth++;
    job->run(job);
    self->depth--;
}

/* Runs a job, or sleeps until called or woken, perhaps for no reason. False: the deadline has passed. */
static bool step_locked(struct worker *self, int64_t deadline_ns) {
    struct pool *p = self->pool;
    bool idle = self->depth == 0, in_time;
    struct poster *moved = NULL;
    struct mtaio_job *job;

    if (deadline_ns != INT64_MAX && os_now_ns() >= deadline_ns)
        return false;
    job = idle || p->queued > p->idle ? take_locked(p, &moved) : NULL;
    if (job == NULL) {
        sleeper_insert(&self->sleeper, idle ? p->sleepers.next : &p->sleepers);
        in_time = os_wait_until(&self->cond, &p->lock, deadline_ns);
        if (self->sleeper.next != NULL)
            sleeper_remove(&self->sleeper);
        return in_time;
    }
    p->idle -= idle;
    os_unlock(&p->lock);
    if (moved != NULL)
        poster_answer(moved, 0);
    run_on(self, job);
    lock_after_job(p);
    p->idle += idle;
    return true;
}

static void pool_free(struct pool *p);

static void *worker_main(void *arg) {
    struct worker *self = arg;
    struct pool *p = self->pool;
    bool frees;

    os_here_set(&self->here);
    os_lock(&p->lock);
    while (!p->closed || p->first != NULL)
        step_locked(self, INT64_MAX);
    p->idle--;
    p->alive--;
    frees = p->alive == 0 && p->abandoned;
    os_unlock(&p->lock); /* the pool stays until this thread is joined, or frees it */
    os_here_set(NULL);
    if (frees)
        pool_free(p);
    return NULL;
}

/* --- Waiting ----------------------------------------------------------------------------------- */

int mtaio__waiter_init(struct waiter *w) {
    struct worker *self = worker_here();

    *w = (struct waiter){.done = false};
    os_parking_init(&w->parking);
    if (self == NULL)
        return 0;
    if (self->depth >= MTAIO_DEPTH_MAX)
        return MTAIO_EDEPTH;
    w->worker = self;
    return 0;
}

/* A pool's thread goes on as soon as the lock is released, so that nothing of the waiter is touched afterwards. */
void mtaio__waiter_wake(struct waiter *w) {
    struct worker *worker = w->worker;
    struct pool *p = worker != NULL ? worker->pool : NULL;

    if (p == NULL || p->process != os_process()) {
        os_unpark(&w->parking);
        return;
    }
    os_lock(&p->lock);
    w->done = true;
    os_wake_one(&worker->cond);
    os_unlock(&p->lock);
}

bool mtaio__waiter_wait(struct waiter *w, int64_t deadline_ns) {
    struct worker *self = worker_here();
    bool in_time = true, done;
    struct pool *p;

    if (self == NULL || w->worker == NULL) /* in the child of a fork it may be done already */
        return w->done || os_park(&w->parking, deadline_ns);
    p = self->pool;
    os_lock(&p->lock);
    while (!w->done && in_time && p->process == os_process()) /* a job may have forked */
        in_time = step_locked(self, deadline_ns);
    done = w->done;
    if (p->first != NULL)
        call_one_locked(p); /* this thread may have been called for that job */
    os_unlock(&p->lock);
    return done || (p->process != os_process() && os_park(&w->parking, deadline_ns));
}

/* --- Pools ------------------------------------------------------------------------------------- */

/* Under the lock, which it releases. */
static int wait_for_room_unlock(struct pool *p, struct mtaio_job *job) {
    struct poster poster = {.job = job};
    int r = mtaio__waiter_init(&poster.waiter);

    if (r < 0) {
        os_unlock(&p->lock);
        return r;
    }
    *p->last_poster = &poster;
    p->last_poster = &poster.next;
    os_unlock(&p->lock);
    mtaio__waiter_wait(&poster.waiter, INT64_MAX); /* the pool may be gone afterwards */
    return poster.result;
}

int mtaio__pool_submit(struct pool *p, struct mtaio_job *job, bool bounded) {
    struct worker *self = worker_here();
    bool own = self != NULL && self->pool == p;

    if (p->process != os_process())
        return MTAIO_ECLOSED;
    os_lock(&p->lock);
    if (p->closed) {
        os_unlock(&p->lock);
        return MTAIO_ECLOSED;
    }
    if (p->queued < p->capacity || !bounded || (own && self->depth >= MTAIO_DEPTH_MAX)) {
        put_locked(p, job);
        os_unlock(&p->lock); /* the pool may be gone afterwards */
        return 0;
    }
    if (!own)
        return wait_for_room_unlock(p, job);
    os_unlock(&p->lock);
    run_on(self, job);
    return 0;
}

/* Takes no more work. */
static void pool_shut(struct pool *p) {
    struct poster *refused, *next;

    os_lock(&p->lock);
    p->closed = true;
    refused = p->first_poster;
    p->first_poster = NULL;
    p->last_poster = &p->first_poster;
    for (struct sleeper *s = p->sleepers.next; s != &p->sleepers; s = s->next)
        os_wake_one(&((struct worker *)s)->cond);
    os_unlock(&p->lock);
    for (; refused != NULL; refused = next) {
        next = refused->next; /* it is gone once it is answered */
        poster_answer(refused, MTAIO_ECLOSED);
    }
}

/* Returns when every thread has ended, but for the calling one. */
static void pool_join(struct pool *p) {
    os_lock(&p->join_lock);
    for (; p->joined < p->threads; p->joined++) {
        os_thread thread = p->workers[p->joined].thread;
        if (os_thread_is_self(thread))
            os_thread_detach(thread);
        else
            os_thread_join(thread);
    }
    os_unlock(&p->join_lock);
}

static void pool_free(struct pool *p) {
    pool_join(p);
    for (unsigned i = 0; i < p->threads; i++)
        os_cond_destroy(&p->workers[i].cond);
    os_mutex_destroy(&p->join_lock);
    os_mutex_destroy(&p->lock);
    mtaio__free(p, p->bytes);
}

void mtaio__pool_close(struct pool *p) {
    if (p->process != os_process())
        return;
    pool_shut(p);
    if (worker_here() == NULL)
        pool_join(p);
}

/* Nobody refers to the pool any more, except its threads. */
void mtaio__pool_drop(struct pool *p) {
    bool abandoned;

    if (p->process != os_process())
        return; /* what its threads had in their hands when the process forked is lost, the pool with it */
    pool_shut(p);
    os_lock(&p->lock);
    abandoned = p->abandoned = p->alive > 0 && worker_here() != NULL;
    os_unlock(&p->lock);
    if (!abandoned)
        pool_free(p);
}

static int worker_start(struct pool *p, struct worker *w) {
    int r = os_cond_init(&w->cond);

    if (r < 0)
        return r;
    w->pool = p;
    w->here.worker = w;
    r = os_thread_start(&w->thread, worker_main, w);
    if (r < 0) {
        os_cond_destroy(&w->cond);
        return r;
    }
    p->threads++;
    p->alive++; /* no thread looks at these before there is a job, or the end */
    p->idle++;
    return 0;
}

int mtaio__pool_new(unsigned threads, size_t capacity, struct pool **ret) {
    size_t bytes = sizeof(struct pool) + threads * sizeof(struct worker);
    struct pool *p = mtaio__alloc_zeroed(bytes);
    int r;

    if (p == NULL)
        return MTAIO_ENOMEM;
    p->process = os_process();
    p->bytes = bytes;
    p->capacity = capacity;
    p->last = &p->first;
    p->last_poster = &p->first_poster;
    p->sleepers.next = p->sleepers.prev = &p->sleepers;
    r = os_mutex_init(&p->lock);
    if (r < 0)
        goto fail_lock;
    r = os_mutex_init(&p->join_lock);
    if (r < 0)
        goto fail_join_lock;
    while (r == 0 && p->threads < threads)
        r = worker_start(p, &p->workers[p->threads]);
    if (r < 0) {
        mtaio__pool_drop(p);
        return r;
    }
    *ret = p;
    return 0;

fail_join_lock:
    os_mutex_destroy(&p->lock);
fail_lock:
    mtaio__free(p, bytes);
    return r;
}

bool mtaio__pool_is_current(const struct pool *p) {
    struct worker *self = worker_here();

    return self != NULL && self->pool == p;
}
