/* publish_async.c - publishing without a thread that waits. */
#include <assert.h>

#include "base/memory.h"
#include "core/channel.h"
#include "core/executor.h"
#include "core/pending.h"

struct publishing {
    struct mtaio_pending pending; /* first */
    struct entry entry;
    mtaio_channel *channel; /* holds its memory */
    mtaio_published how;
    struct mtaio_job job;
};

static void publishing_free(mtaio_pending *pending) {
    mtaio__channel_drop(((struct publishing *)pending)->channel);
    mtaio__free(pending, sizeof(struct publishing));
}

/* The result is there: tells it. */
static void end(struct publishing *p) {
    assert(os_locks_held() == 0);
    slot_clear(&p->entry.slot);
    if (p->how.call) p->how.call(p->entry.result, p->how.ctx);
    if (p->how.destroy) p->how.destroy(p->how.ctx);
    mtaio_executor_unref(p->how.executor);
    mtaio_pending_unref(&p->pending);
}

static void job_end(struct mtaio_job *job) {
    end((struct publishing *)(void *)((char *)job - offsetof(struct publishing, job)));
}

/* Where the executor does not take it, the result is no other for that: it is told right here. */
static void finish(struct publishing *p) {
    if (!p->how.executor || mtaio__executor_submit(p->how.executor, &p->job) < 0) end(p);
}

static void publishing_wake(struct wake *w) {
    finish((struct publishing *)(void *)((char *)w - offsetof(struct publishing, entry.wake)));
}

static int publishing_cancel(mtaio_pending *pending) {
    struct publishing *p = (struct publishing *)pending;
    mtaio_channel *ch = p->channel;
    struct after after;
    after_init(&after);
    guard_lock(&ch->guard);
    bool ends = mtaio__line_leave(ch, &p->entry, MTAIO_ECANCELED);
    if (ends) {
        wakes_add(&after.calls, &p->entry.wake);
        mtaio__line_carry_on(ch, &after); /* it may have held up others */
    }
    channel_unlock(ch, &after);
    return ends;
}

static struct publishing *publishing_new(mtaio_channel *ch, const mtaio_published *how, mtaio_pending **ret) {
    struct publishing *p = mtaio__alloc(sizeof *p);
    if (!p) return NULL;
    *p = (struct publishing){
        .pending = {.refs = ret ? 2 : 1, .cancel = publishing_cancel, .free = publishing_free},
        .entry = {.holds_up = true, .wake = {.run = publishing_wake}},
        .channel = ch,
        .how = *how,
        .job = {.run = job_end, .drop = job_end}};
    channel_hold(ch);
    return p;
}

/* It has begun once it is in the line, or its result is one to be told. */
static bool has_begun(int r) { return r >= 0 || r == MTAIO_EAGAIN || r == MTAIO_ELIMIT; }

static int begin(struct publishing *p, mtaio_pending **ret) {
    mtaio_channel *ch = p->channel;
    struct after after;
    after_init(&after);
    guard_lock(&ch->guard);
    int r = mtaio__line_enter(ch, &p->entry, &after);
    if (has_begun(r)) {
        mtaio_executor_ref(p->how.executor);
        if (ret)
            *ret = &p->pending; /* the entry may be published, and p be over, as soon as the guard is free */
        if (r != MTAIO_EAGAIN) wakes_add(&after.calls, &p->entry.wake);
    }
    channel_unlock(ch, &after);
    return has_begun(r) ? 0 : r;
}

static int publish_async(mtaio_channel *ch, const mtaio_publication *publication, const mtaio_published *how,
                         mtaio_pending **ret) {
    if (!ch || !publication) return MTAIO_EINVAL;
    struct publishing *p = publishing_new(ch, how, ret);
    if (!p) return MTAIO_ENOMEM;
    int r = mtaio__slot_make(publication, &p->entry.slot);
    if (r == 0) {
        r = begin(p, ret);
        if (r == 0) return 0;
        mtaio__slot_unmake(&p->entry.slot, publication);
    }
    publishing_free(&p->pending);
    return r;
}

int mtaio_channel_publish_async(mtaio_channel *ch, const mtaio_publication *p, const mtaio_published *how,
                                mtaio_pending **ret) {
    static const mtaio_published nobody = {.size = sizeof nobody};
    if (how && how->size != sizeof *how) return MTAIO_EINVAL;
    int r = publish_async(ch, p, how ? how : &nobody, ret);
    if (r < 0 && how && how->destroy) how->destroy(how->ctx);
    return r;
}
