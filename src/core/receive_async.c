/* receive_async.c - receiving by a call instead of a thread that waits.
 *
 * Between messages the receiver is a watcher. Fired, it goes: on the thread that fired it, or as a job of its
 * executor. It claims the call before it takes a message, so a cancel comes before that, and no message is
 * taken, or too late for this one. */
#include <assert.h>

#include "base/memory.h"
#include "core/channel.h"
#include "core/executor.h"
#include "core/pending.h"

enum { JOB_MESSAGES = 64 }; /* then other jobs have their turn */

/* A cancelled receiver calls for no further message; one that is over has told so. */
enum { CALLING = 1, CANCELED = 2, OVER = 4 };

struct receiver {
    struct mtaio_pending pending; /* first */
    struct watcher watcher;
    ATOMIC(uint32_t) state;
    mtaio_subscriber *sub; /* holds its memory; and a user's reference until it is over */
    mtaio_receiver how;
    bool pauses;          /* how.call may answer RECEIVER_PAUSES */
    struct mtaio_job job; /* queued once at a time: while it neither watches nor runs */
};

static void receiver_free(mtaio_pending *pending) {
    mtaio__subscriber_drop(((struct receiver *)pending)->sub);
    mtaio__free(pending, sizeof(struct receiver));
}

/* It was told of a message and has not taken it: another is told instead. */
static void hand_on(mtaio_subscriber *sub) {
    struct after after;
    after_init(&after);
    guard_lock(&sub->channel->guard);
    if (sub->watched && subscriber_is_ready(sub)) mtaio__watchers_fire(sub, &after);
    channel_unlock(sub->channel, &after);
}

/* result negative: the last call. */
static void end(struct receiver *r, int result) {
    atomic_or(&r->state, OVER);
    if (result < 0) r->how.call(result, NULL, r->how.ctx);
    if (r->how.destroy) r->how.destroy(r->how.ctx);
    mtaio_executor_unref(r->how.executor);
    hand_on(r->sub);
    mtaio_subscriber_unref(r->sub);
    mtaio_pending_unref(&r->pending);
}

/* There was nothing to take. True: it watches, and may be gone. */
static bool rest(struct receiver *r, int *ret) {
    struct guard *guard = &r->sub->channel->guard;
    guard_lock(guard);
    bool canceled = atomic_sub(&r->state, CALLING) & CANCELED;
    bool watching = !canceled && mtaio__watch(r->sub, &r->watcher);
    guard_unlock(guard);
    *ret = canceled ? MTAIO_ECANCELED : MTAIO_EAGAIN;
    return watching;
}

/* The next message is given to the call. 1: and so on; 0: that was the last; RECEIVER_PAUSES; EAGAIN: none is
 * there now; else the result that it ends with. */
static int step(struct receiver *r) {
    mtaio_message message;
    if (atomic_or(&r->state, CALLING) & CANCELED) return MTAIO_ECANCELED;
    int taken = mtaio__take(r->sub, &message, 1);
    if (taken < 0) return taken;
    assert(os_locks_held() == 0);
    int answer = r->how.call(0, &message, r->how.ctx);
    return answer == 1 || (answer == RECEIVER_PAUSES && r->pauses) ? answer : 0;
}

static void go(struct receiver *r);

static void run(struct receiver *r) {
    for (unsigned n = 0;; n++) {
        if (n == JOB_MESSAGES && r->how.executor) {
            go(r);
            return;
        }
        int result = step(r);
        if (result == RECEIVER_PAUSES) return; /* it may have been resumed, and be over, already */
        if (result == MTAIO_EAGAIN && rest(r, &result)) return;
        if (result == 1 || result == MTAIO_EAGAIN) continue;
        end(r, result);
        return;
    }
}

static struct receiver *job_receiver(struct mtaio_job *job) {
    return (struct receiver *)(void *)((char *)job - offsetof(struct receiver, job));
}

static void job_run(struct mtaio_job *job) { run(job_receiver(job)); }
static void job_drop(struct mtaio_job *job) { end(job_receiver(job), MTAIO_ECANCELED); }

/* Where it is to run. */
static void go(struct receiver *r) {
    assert(os_locks_held() == 0);
    if (!r->how.executor) {
        run(r);
        return;
    }
    int posted = mtaio__executor_submit(r->how.executor, &r->job);
    if (posted < 0) end(r, posted);
}

void mtaio__receiver_resume(mtaio_pending *receiver) { go((struct receiver *)receiver); }

static void receiver_wake(struct wake *w) {
    go((struct receiver *)(void *)((char *)w - offsetof(struct receiver, watcher.wake)));
}

static int receiver_cancel(mtaio_pending *pending) {
    struct receiver *r = (struct receiver *)pending;
    struct guard *guard = &r->sub->channel->guard;
    guard_lock(guard);
    uint32_t before = atomic_or(&r->state, CANCELED);
    bool watched = before == 0 && mtaio__unwatch(r->sub, &r->watcher);
    guard_unlock(guard);
    if (watched) go(r);
    return before == 0;
}

int mtaio__receive_async(mtaio_subscriber *sub, const mtaio_receiver *how, mtaio_pending **paused,
                         mtaio_pending **ret) {
    struct after after;
    struct receiver *r = mtaio__alloc(sizeof *r);
    if (!r) return MTAIO_ENOMEM;
    *r = (struct receiver){.pending = {.refs = ret ? 2 : 1, .cancel = receiver_cancel, .free = receiver_free},
                           .watcher = {.wake = {.run = receiver_wake}, .takes = true, .calls = true},
                           .sub = mtaio_subscriber_ref(sub),
                           .how = *how,
                           .pauses = paused,
                           .job = {.run = job_run, .drop = job_drop}};
    subscriber_hold(sub);
    mtaio_executor_ref(how->executor);
    if (ret) *ret = &r->pending;
    if (paused) *paused = &r->pending;
    after_init(&after);
    wakes_add(&after.calls, &r->watcher.wake); /* as if it had been fired */
    after_run(&after);
    return 0;
}

int mtaio_subscriber_receive_async(mtaio_subscriber *sub, const mtaio_receiver *r, mtaio_pending **ret) {
    if (!r || r->size != sizeof *r) return MTAIO_EINVAL;
    int result = sub && r->call ? mtaio__receive_async(sub, r, NULL, ret) : MTAIO_EINVAL;
    if (result < 0 && r->destroy) r->destroy(r->ctx);
    return result;
}
