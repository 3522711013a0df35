/* timers.c - see loop.h: events that a loop emits later, and again. */
#include "../common/loop.h"

#include <stdlib.h>

#define RETRY_NS 1000000

/* --- The heap, with the lock held -------------------------------------------------------------- */

static void put(struct loop *loop, loop_timer *t, size_t index) {
    loop->timers[index] = t;
    t->place = index + 1;
}

/* t goes to where it belongs, from index, which is free. */
static void sift(struct loop *loop, loop_timer *t, size_t index) {
    loop_timer **timers = loop->timers;

    for (; index > 0 && t->due_ns < timers[(index - 1) / 2]->due_ns; index = (index - 1) / 2)
        put(loop, timers[(index - 1) / 2], index);
    for (size_t child; (child = 2 * index + 1) < loop->timer_count; index = child) {
        if (child + 1 < loop->timer_count && timers[child + 1]->due_ns < timers[child]->due_ns)
            child++;
        if (t->due_ns <= timers[child]->due_ns)
            break;
        put(loop, timers[child], index);
    }
    put(loop, t, index);
}

static int heap_add(struct loop *loop, loop_timer *t) {
    if (loop->timer_count == loop->timer_capacity) {
        size_t capacity = loop->timer_capacity > 0 ? 2 * loop->timer_capacity : 8;
        loop_timer **timers = realloc(loop->timers, capacity * sizeof *timers);
        if (timers == NULL)
            return MTAIO_ENOMEM;
        loop->timers = timers;
        loop->timer_capacity = capacity;
    }
    sift(loop, t, loop->timer_count++);
    return 0;
}

static void heap_remove(struct loop *loop, loop_timer *t) {
    size_t index = t->place - 1;
    loop_timer *last = loop->timers[--loop->timer_count];

    t->place = 0;
    if (last != t)
        sift(loop, last, index);
}

/* --- Life -------------------------------------------------------------------------------------- */

loop_timer *mtaio__timer_ref(loop_timer *t) {
    if (t == NULL)
        return NULL;
    pthread_mutex_lock(&t->loop->lock);
    t->refs++;
    pthread_mutex_unlock(&t->loop->lock);
    return t;
}

loop_timer *mtaio__timer_unref(loop_timer *t) {
    bool last;

    if (t == NULL)
        return NULL;
    pthread_mutex_lock(&t->loop->lock);
    last = --t->refs == 0;
    pthread_mutex_unlock(&t->loop->lock);
    if (last) {
        mtaio_event_unref(t->event);
        mtaio_emitter_unref(t->emitter);
        mtaio__loop_drop(t->loop);
        free(t);
    }
    return NULL;
}

static int64_t later(int64_t ns, int64_t by_ns) { return ns < LOOP_NEVER - by_ns ? ns + by_ns : LOOP_NEVER; }

static int add(struct loop *loop, loop_timer *t) {
    int r = MTAIO_ECLOSED;

    pthread_mutex_lock(&loop->lock);
    if (!loop->closed)
        r = heap_add(loop, t);
    if (r >= 0) {
        loop->holders++;
        mtaio__loop_set_due_locked(loop);
    }
    pthread_mutex_unlock(&loop->lock);
    return r;
}

int mtaio__timer_start(struct loop *loop, mtaio_emitter *em, mtaio_event *event, int64_t delay_ns,
                       int64_t period_ns, loop_timer **ret) {
    loop_timer *t;
    int r;

    if (loop == NULL || em == NULL || delay_ns < 0 || period_ns < 0 || mtaio_event_ref(event) == NULL)
        return MTAIO_EINVAL;
    t = malloc(sizeof *t);
    if (t == NULL) {
        mtaio_event_unref(event);
        return MTAIO_ENOMEM;
    }
    *t = (loop_timer){.loop = loop,
                      .emitter = mtaio_emitter_ref(em),
                      .event = event,
                      .period_ns = period_ns,
                      .due_ns = later(mtaio__loop_now_ns(), delay_ns),
                      .refs = ret != NULL ? 2 : 1};
    mtaio_executor_ref(loop->executor);
    r = add(loop, t);
    if (r >= 0) {
        if (ret != NULL)
            *ret = t;
        return 0;
    }
    mtaio_executor_unref(loop->executor);
    mtaio_emitter_unref(em);
    mtaio_event_unref(event);
    free(t);
    return r;
}

/* It was taken out of the heap. */
static void end(loop_timer *t) {
    mtaio_executor_unref(t->loop->executor);
    mtaio__timer_unref(t);
}

int mtaio__timer_cancel(loop_timer *t) {
    bool waits;

    if (t == NULL)
        return MTAIO_EINVAL;
    pthread_mutex_lock(&t->loop->lock);
    waits = t->place > 0;
    if (waits) {
        heap_remove(t->loop, t);
        mtaio__loop_set_due_locked(t->loop);
    }
    pthread_mutex_unlock(&t->loop->lock);
    if (waits)
        end(t);
    return waits;
}

void mtaio__timers_end(struct loop *loop) {
    loop_timer *t;

    do {
        pthread_mutex_lock(&loop->lock);
        t = loop->timer_count > 0 ? loop->timers[0] : NULL;
        if (t != NULL)
            heap_remove(loop, t);
        pthread_mutex_unlock(&loop->lock);
        if (t != NULL)
            end(t);
    } while (t != NULL);
}

/* --- Emitting ---------------------------------------------------------------------------------- */

/* A timer that is due, or NULL; kept by the caller, and waiting for its next time if it has one. That is of
 * the times that were fixed when it started, the first that is not over yet. */
static loop_timer *take_due(struct loop *loop, int64_t now_ns) {
    loop_timer *t = NULL;

    pthread_mutex_lock(&loop->lock);
    if (loop->timer_count > 0 && loop->timers[0]->due_ns <= now_ns) {
        t = loop->timers[0];
        heap_remove(loop, t);
        if (t->period_ns > 0) {
            t->refs++;
            t->due_ns = later(t->due_ns, (now_ns - t->due_ns) / t->period_ns * t->period_ns);
            t->due_ns = later(t->due_ns, t->period_ns);
            heap_add(loop, t); /* there is room: it was there before */
        }
        mtaio__loop_set_due_locked(loop);
    }
    pthread_mutex_unlock(&loop->lock);
    return t;
}

/* False: the loop has been closed, or there is no memory for that either. */
static bool put_back(struct loop *loop, loop_timer *t, int64_t due_ns) {
    bool done;

    pthread_mutex_lock(&loop->lock);
    t->due_ns = due_ns;
    done = !loop->closed && heap_add(loop, t) == 0;
    if (done)
        mtaio__loop_set_due_locked(loop);
    pthread_mutex_unlock(&loop->lock);
    return done;
}

void mtaio__timers_run(struct loop *loop) {
    int64_t now_ns = mtaio__loop_now_ns();
    loop_timer *t;

    while ((t = take_due(loop, now_ns)) != NULL) {
        int r = mtaio_emit_nowait(t->emitter, t->event);
        if (r == MTAIO_ECLOSED)
            mtaio__timer_cancel(t);
        if (t->period_ns > 0)
            mtaio__timer_unref(t);
        else if (r != MTAIO_ENOMEM || !put_back(loop, t, now_ns + RETRY_NS))
            end(t);
    }
}
