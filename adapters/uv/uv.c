/* uv.c - see mtaio/uv.h.
 *
 * An asynchronous handle makes the loop turn, or a timer where nothing is to be done before a certain time.
 * Both are started, stopped and closed by turns alone, on the loop's thread. */
#include <mtaio/uv.h>

#include <stdatomic.h>
#include <stdlib.h>

#include "../common/loop.h"

struct mtaio_uv {
    struct loop loop;
    uv_async_t async;
    uv_timer_t timer;
    _Atomic(pthread_t) thread; /* that ran the loop last; relaxed: a thread looks for what it wrote itself */
    int64_t armed_ns;          /* a turn comes then at the latest; guarded by loop.lock, as what follows */
    bool closing;              /* and this is to be called at the end: */
    void (*closed)(void *ctx);
    void *ctx;
    int handles; /* that are not closed; used in the loop alone */
};

/* --- In the loop ------------------------------------------------------------------------------- */

static void handle_closed(uv_handle_t *handle) {
    mtaio_uv *uv = handle->data;

    if (--uv->handles > 0)
        return;
    if (uv->closed != NULL)
        uv->closed(uv->ctx);
    mtaio__loop_drop(&uv->loop);
}

static void close_handles(mtaio_uv *uv) {
    if (uv_is_closing((uv_handle_t *)&uv->async))
        return;
    uv_close((uv_handle_t *)&uv->async, handle_closed);
    uv_close((uv_handle_t *)&uv->timer, handle_closed);
}

static void turn(mtaio_uv *uv);
static void timer_fired(uv_timer_t *handle) { turn(handle->data); }

/* The next turn. libuv counts in milliseconds: one that comes a moment too early arms it again. */
static void arm(mtaio_uv *uv, int64_t due_ns) {
    int64_t delay_ns = due_ns - mtaio__loop_now_ns();

    if (due_ns == 0 || delay_ns <= 0) {
        uv_async_send(&uv->async); /* the loop's other handles first */
    } else if (due_ns == LOOP_NEVER) {
        uv_timer_stop(&uv->timer);
    } else {
        uv_update_time(uv->async.loop);
        uv_timer_start(&uv->timer, timer_fired, (uint64_t)(delay_ns - 1) / 1000000 + 1, 0);
    }
}

static void turn(mtaio_uv *uv) {
    int64_t due_ns;
    bool closed;

    atomic_store_explicit(&uv->thread, pthread_self(), memory_order_relaxed);
    pthread_mutex_lock(&uv->loop.lock);
    uv->armed_ns = 0; /* whatever comes now is seen at the end */
    pthread_mutex_unlock(&uv->loop.lock);
    mtaio__loop_turn(&uv->loop);
    pthread_mutex_lock(&uv->loop.lock);
    closed = uv->loop.closed;
    uv->armed_ns = due_ns = uv->loop.due_ns;
    pthread_mutex_unlock(&uv->loop.lock);
    if (closed)
        close_handles(uv);
    else
        arm(uv, due_ns);
}

static void woken(uv_async_t *handle) { turn(handle->data); }

/* --- From any thread --------------------------------------------------------------------------- */

/* The handle is open: a turn that closes it has the lock after this. */
static void set_due(struct loop *loop) {
    mtaio_uv *uv = (mtaio_uv *)loop;

    if (loop->due_ns >= uv->armed_ns && !loop->closed)
        return;
    uv->armed_ns = 0;
    uv_async_send(&uv->async);
}

static bool is_current(struct loop *loop) {
    mtaio_uv *uv = (mtaio_uv *)loop;

    return pthread_equal(atomic_load_explicit(&uv->thread, memory_order_relaxed), pthread_self()) != 0;
}

static void free_all(struct loop *loop) { free(loop); }

/* --- What the user sees ------------------------------------------------------------------------ */

int mtaio_uv_new(uv_loop_t *loop, mtaio_uv **ret) {
    static const struct loop_kind kind = {.set_due = set_due, .is_current = is_current, .free = free_all};
    mtaio_uv *uv;
    int r;

    if (loop == NULL || ret == NULL)
        return MTAIO_EINVAL;
    uv = calloc(1, sizeof *uv);
    if (uv == NULL)
        return MTAIO_ENOMEM;
    if (uv_async_init(loop, &uv->async, woken) < 0) {
        free(uv);
        return MTAIO_ESYSTEM;
    }
    uv_timer_init(loop, &uv->timer);
    uv->async.data = uv->timer.data = uv;
    uv->handles = 2;
    uv->armed_ns = LOOP_NEVER;
    uv->thread = pthread_self();
    r = mtaio__loop_open(&uv->loop, &kind); /* on failure a turn closes the handles */
    if (r >= 0)
        *ret = uv;
    return r;
}

mtaio_uv *mtaio_uv_ref(mtaio_uv *uv) {
    if (uv != NULL)
        mtaio_executor_ref(uv->loop.executor);
    return uv;
}

mtaio_uv *mtaio_uv_unref(mtaio_uv *uv) {
    if (uv != NULL)
        mtaio_executor_unref(uv->loop.executor);
    return NULL;
}

mtaio_executor *mtaio_uv_executor(const mtaio_uv *uv) { return uv != NULL ? uv->loop.executor : NULL; }

uv_handle_t *mtaio_uv_handle(const mtaio_uv *uv) { return uv != NULL ? (uv_handle_t *)&uv->async : NULL; }

int mtaio_uv_close(mtaio_uv *uv, void (*closed)(void *ctx), void *ctx) {
    bool first;

    if (uv == NULL)
        return MTAIO_EINVAL;
    pthread_mutex_lock(&uv->loop.lock);
    first = !uv->closing;
    if (first) {
        uv->closing = true;
        uv->closed = closed;
        uv->ctx = ctx;
    }
    pthread_mutex_unlock(&uv->loop.lock);
    if (!first)
        return MTAIO_EALREADY;
    mtaio__loop_close(&uv->loop);
    return 0;
}

int mtaio_uv_emit_after(mtaio_uv *uv, mtaio_emitter *em, mtaio_event *event, int64_t delay_ns,
                        mtaio_uv_timer **ret) {
    return mtaio__timer_start((struct loop *)uv, em, event, delay_ns, 0, ret);
}

int mtaio_uv_emit_periodic(mtaio_uv *uv, mtaio_emitter *em, mtaio_event *event, int64_t period_ns,
                           mtaio_uv_timer **ret) {
    if (period_ns <= 0)
        return MTAIO_EINVAL;
    return mtaio__timer_start((struct loop *)uv, em, event, period_ns, period_ns, ret);
}

int mtaio_uv_timer_cancel(mtaio_uv_timer *timer) { return mtaio__timer_cancel(timer); }
mtaio_uv_timer *mtaio_uv_timer_ref(mtaio_uv_timer *timer) { return mtaio__timer_ref(timer); }
mtaio_uv_timer *mtaio_uv_timer_unref(mtaio_uv_timer *timer) { return mtaio__timer_unref(timer); }
