/* timer.c - timers, and the one thread that waits for them.
 *
 * What waits is in a heap, the one that is due first on top. The thread sleeps until then, takes it out and
 * calls it, or hands it to its executor; when the call is over, whoever made it puts a periodic one back. So
 * nothing of a timer but its state is looked at by more than one thread at a time. A timer that is due again
 * when its call returns is called again at once, and told how many times it was due: it never owes more than
 * one call, and the n-th time is always start + n * period.
 *
 * The heap has room for every timer there is, in it or not: putting one back cannot fail. No lock is taken
 * under this one, and no user code runs under it. */
#include "core/timer.h"

#include <assert.h>

#include "base/memory.h"
#include "core/executor.h"
#include "core/reclaim.h"

/* MADE, then WAITING in the heap; QUEUED at the executor, if it has one; CALLING; then WAITING again, or
 * OVER. */
enum timer_state { MADE, WAITING, QUEUED, CALLING, OVER };

struct mtaio_timer {
    struct mtaio_job job; /* first, so that one is the other */
    mtaio_timer_options how;
    ATOMIC(uint32_t) refs; /* the users', and one until it is over */
    long process;          /* in others it never goes off */
    int64_t due_ns;        /* the next time; changed only where it is CALLING */
    uint64_t order;        /* of those due at the same time, the one that began first */

    /* Guarded by the lock: */
    enum timer_state state;
    bool canceled;
    size_t at;                   /* WAITING: its place in the heap */
    const struct thread *caller; /* CALLING: the thread */
};

static struct { /* guarded by mtaio__timers_lock: "the lock" */
    long process;    /* where all this is true */
    os_cond changed; /* there while the thread runs: another is due first, or none is left */
    bool runs;
    size_t count; /* of those that are neither MADE nor OVER; 0: the thread ends */
    mtaio_timer **heap;
    size_t waiting, capacity; /* of the heap */
    uint64_t begun;
} all;

/* --- The heap: each is due before the two at 2i + 1 and 2i + 2 --------------------------------------- */

static bool is_before(const mtaio_timer *a, const mtaio_timer *b) {
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static void place(mtaio_timer *t, size_t at) {
    all.heap[at] = t;
    t->at = at;
}

/* Puts t into the gap at `at`, or above. */
static void sift_up(mtaio_timer *t, size_t at) {
    for (; at > 0 && is_before(t, all.heap[(at - 1) / 2]); at = (at - 1) / 2)
        place(all.heap[(at - 1) / 2], at);
    place(t, at);
}

static void heap_insert(mtaio_timer *t) {
    t->state = WAITING;
    sift_up(t, all.waiting++);
    if (t->at == 0) os_wake_one(&all.changed);
}

static void heap_remove(mtaio_timer *t) {
    mtaio_timer *last = all.heap[--all.waiting];
    size_t at = t->at;
    if (last == t) return;
    for (size_t child; (child = 2 * at + 1) < all.waiting; at = child) {
        if (child + 1 < all.waiting && is_before(all.heap[child + 1], all.heap[child])) child++;
        if (!is_before(all.heap[child], last)) break;
        place(all.heap[child], at);
    }
    sift_up(last, at);
}

/* --- The end of a timer ------------------------------------------------------------------------------ */

static void over_locked(mtaio_timer *t) {
    t->state = OVER;
    if (--all.count == 0) os_wake_one(&all.changed);
}

/* Without the lock, by who has set it OVER. */
static void timer_end(mtaio_timer *t) {
    mtaio_executor_unref(t->how.executor);
    assert(os_locks_held() == 0);
    if (t->how.destroy) t->how.destroy(t->how.ctx);
    mtaio_timer_unref(t);
}

/* --- Calling ----------------------------------------------------------------------------------------- */

/* False: it was cancelled before, and has ended. */
static bool call_begin(mtaio_timer *t, const struct thread *caller) {
    os_lock(&mtaio__timers_lock);
    bool canceled = t->canceled;
    if (canceled) {
        over_locked(t);
    } else {
        t->state = CALLING;
        t->caller = caller;
    }
    os_unlock(&mtaio__timers_lock);
    if (canceled) timer_end(t);
    return !canceled;
}

/* How many times it has been due until now; it is next due after that. */
static uint64_t count_due(mtaio_timer *t) {
    uint64_t period = (uint64_t)t->how.period_ns;
    if (period == 0) return 1;
    uint64_t count = 1 + (uint64_t)(os_now_ns() - t->due_ns) / period,
             next = (uint64_t)t->due_ns + count * period;
    t->due_ns = next > INT64_MAX ? INT64_MAX : (int64_t)next;
    return count;
}

/* closed: there can be no other. */
static void call_end(mtaio_timer *t, bool closed) {
    if (t->process != os_process()) return; /* the call has forked: here it was the last */
    os_lock(&mtaio__timers_lock);
    bool over = closed || t->canceled || t->how.period_ns == 0;
    if (over)
        over_locked(t);
    else
        heap_insert(t);
    os_unlock(&mtaio__timers_lock);
    if (over) timer_end(t);
}

static void call(mtaio_timer *t) {
    uint64_t count = count_due(t);
    assert(os_locks_held() == 0);
    t->how.call(count, t->how.ctx);
    call_end(t, false);
}

static void call_failed(mtaio_timer *t, int error) {
    if (!call_begin(t, thread_here())) return;
    count_due(t);
    assert(os_locks_held() == 0);
    if (t->how.failed) t->how.failed(error, t->how.ctx);
    call_end(t, error == MTAIO_ECLOSED);
}

static void job_run(struct mtaio_job *job) {
    mtaio_timer *t = (mtaio_timer *)job;
    if (call_begin(t, thread_here())) call(t);
}

static void job_drop(struct mtaio_job *job) { call_failed((mtaio_timer *)job, MTAIO_ECANCELED); }

/* --- The thread -------------------------------------------------------------------------------------- */

/* The first in the heap is due. The lock is released meanwhile. */
static void go_off_unlock(const struct thread *self) {
    mtaio_timer *t = all.heap[0];
    heap_remove(t);
    t->state = t->how.executor ? QUEUED : CALLING;
    t->caller = self;
    os_unlock(&mtaio__timers_lock);
    if (!t->how.executor) {
        call(t);
        return;
    }
    int r = mtaio__executor_put(t->how.executor, &t->job); /* else it may be gone already */
    if (r < 0) call_failed(t, r);
}

static void *timers_main(void *arg) {
    const struct thread *self = thread_here();
    long process = os_process();
    os_lock(&mtaio__timers_lock);
    while (all.count > 0) {
        int64_t due_ns = all.waiting > 0 ? all.heap[0]->due_ns : INT64_MAX;
        if (due_ns > os_now_ns()) {
            os_wait_until(&all.changed, &mtaio__timers_lock, due_ns);
            continue;
        }
        go_off_unlock(self);
        if (process != os_process()) return arg; /* a call has forked: the child is not here for our timers */
        os_lock(&mtaio__timers_lock);
    }
    os_cond_destroy(&all.changed);
    mtaio__free(all.heap, sizeof *all.heap * all.capacity);
    all.heap = NULL;
    all.capacity = 0;
    all.runs = false;
    os_unlock(&mtaio__timers_lock);
    return arg;
}

/* In the child of a fork nothing is here yet, and what the parent left is lost. */
static void arrive_locked(void) {
    long process = os_process();
    if (all.process == process) return;
    all.process = process;
    all.runs = false;
    all.count = all.waiting = all.capacity = 0;
    all.heap = NULL;
}

static int thread_start_locked(void) {
    os_thread thread;
    if (all.runs) return 0;
    int r = os_cond_init(&all.changed);
    if (r < 0) return r;
    r = os_thread_start(&thread, timers_main, NULL);
    if (r < 0) {
        os_cond_destroy(&all.changed);
        return r;
    }
    os_thread_detach(thread);
    all.runs = true;
    return 0;
}

/* --- Beginning --------------------------------------------------------------------------------------- */

mtaio_timer *mtaio__timer_new(const mtaio_timer_options *options) {
    mtaio_timer *t = mtaio__alloc_zeroed(sizeof *t);
    if (!t) return NULL;
    t->how = *options;
    t->refs = 2;
    t->process = os_process();
    t->job.run = job_run;
    t->job.drop = job_drop;
    mtaio_executor_ref(options->executor);
    return t;
}

void mtaio__timer_drop(mtaio_timer *t) {
    mtaio_executor_unref(t->how.executor);
    mtaio_timer_unref(t);
    mtaio_timer_unref(t);
}

static int begin_locked(mtaio_timer *t) {
    if (t->canceled) return MTAIO_ECLOSED;
    arrive_locked();
    int r = thread_start_locked(); /* which ends again where nothing comes of this */
    if (r < 0) return r;
    if (!mtaio__reserve(&all.heap, sizeof(mtaio_timer *), all.count, &all.capacity)) return MTAIO_ENOMEM;
    all.count++;
    t->order = all.begun++;
    t->due_ns = os_deadline_ns(t->how.delay_ns);
    heap_insert(t);
    return 0;
}

int mtaio__timer_begin(mtaio_timer *t, mtaio_timer **ret) {
    os_lock(&mtaio__timers_lock);
    int r = begin_locked(t);
    if (r == 0 && ret) *ret = t; /* before the first call, which may look for it there */
    os_unlock(&mtaio__timers_lock);
    if (r == 0 && !ret) mtaio_timer_unref(t);
    return r;
}

static bool is_sound(const mtaio_timer_options *o) {
    return o->call && o->delay_ns >= 0 && o->period_ns >= 0;
}

int mtaio_timer_start(const mtaio_timer_options *options, mtaio_timer **ret) {
    if (!options || options->size != sizeof *options) return MTAIO_EINVAL;
    mtaio_timer *t = NULL;
    int r = !is_sound(options) ? MTAIO_EINVAL : !(t = mtaio__timer_new(options)) ? MTAIO_ENOMEM : 0;
    if (r == 0) r = mtaio__timer_begin(t, ret);
    if (r == 0) return 0;
    if (t) mtaio__timer_drop(t);
    if (options->destroy) options->destroy(options->ctx);
    return r;
}

/* --- Users' references ------------------------------------------------------------------------------- */

mtaio_timer *mtaio_timer_ref(mtaio_timer *timer) {
    if (timer) atomic_add(&timer->refs, 1);
    return timer;
}

mtaio_timer *mtaio_timer_unref(mtaio_timer *timer) {
    if (timer && atomic_sub(&timer->refs, 1) == 1) mtaio__free(timer, sizeof *timer);
    return NULL;
}

static int cancel_locked(mtaio_timer *t) {
    bool only = t->state == CALLING && t->how.period_ns == 0;
    if (t->process != os_process() || t->canceled || t->state == OVER || only) return 0;
    t->canceled = true; /* if it is not in the heap, whoever has it looks */
    if (t->state == WAITING) {
        heap_remove(t);
        over_locked(t);
    }
    return 1;
}

int mtaio_timer_cancel(mtaio_timer *timer) {
    if (!timer) return MTAIO_EINVAL;
    os_lock(&mtaio__timers_lock);
    int r = cancel_locked(timer);
    bool over = r > 0 && timer->state == OVER;
    os_unlock(&mtaio__timers_lock);
    if (over) timer_end(timer);
    return r;
}

static bool is_called_elsewhere(const mtaio_timer *t) {
    os_lock(&mtaio__timers_lock);
    bool called = t->state == CALLING && t->caller != os_self() && t->process == os_process();
    os_unlock(&mtaio__timers_lock);
    return called;
}

int mtaio_timer_cancel_wait(mtaio_timer *timer) {
    int r = mtaio_timer_cancel(timer);
    for (unsigned attempt = 0; r >= 0 && is_called_elsewhere(timer); attempt++) os_nap(attempt);
    return r;
}
