/* glib.c - see mtaio/glib.h.
 *
 * The source is ready from the time at which the loop has something to do. */
#include <mtaio/glib.h>

#include <stdlib.h>

#include "../common/loop.h"

struct mtaio_glib {
    struct loop loop;
    GMainContext *context;
    GSource *source;
    pthread_t thread; /* that made it */
};

/* --- The source -------------------------------------------------------------------------------- */

static gboolean turn(void *ctx) {
    mtaio__loop_turn(ctx);
    return G_SOURCE_CONTINUE;
}

static gboolean dispatch(GSource *source, GSourceFunc callback, void *ctx) {
    (void)source;
    return callback(ctx);
}

static void drop(void *ctx) { mtaio__loop_drop(ctx); }

static GSource *source_new(mtaio_glib *glib, int priority) {
    static GSourceFuncs functions = {.dispatch = dispatch};
    GSource *source = g_source_new(&functions, sizeof *source);

    g_source_set_name(source, "mtaio");
    g_source_set_priority(source, priority);
    g_source_set_can_recurse(source, TRUE);
    g_source_set_callback(source, turn, glib, drop); /* drop: when it is destroyed and no turn is running */
    return source;
}

/* --- From any thread --------------------------------------------------------------------------- */

static void set_due(struct loop *loop) {
    gint64 us = loop->due_ns / 1000 + (loop->due_ns % 1000 > 0);

    g_source_set_ready_time(((mtaio_glib *)loop)->source, loop->due_ns == LOOP_NEVER ? -1 : us);
}

/* While nobody runs the context it belongs to the thread that made this: nobody else is going to run it. */
static bool is_current(struct loop *loop) {
    mtaio_glib *glib = (mtaio_glib *)loop;

    if (g_main_context_is_owner(glib->context))
        return true;
    if (!pthread_equal(glib->thread, pthread_self()) || !g_main_context_acquire(glib->context))
        return false;
    g_main_context_release(glib->context);
    return true;
}

static void end(struct loop *loop) {
    mtaio_glib *glib = (mtaio_glib *)loop;

    g_source_destroy(glib->source);
    g_source_unref(glib->source);
}

static void free_all(struct loop *loop) {
    g_main_context_unref(((mtaio_glib *)loop)->context);
    free(loop);
}

/* --- What the user sees ------------------------------------------------------------------------ */

int mtaio_glib_new(GMainContext *context, int priority, mtaio_glib **ret) {
    static const struct loop_kind kind = {set_due, is_current, end, free_all};
    mtaio_glib *glib;
    int r;

    if (ret == NULL)
        return MTAIO_EINVAL;
    glib = calloc(1, sizeof *glib);
    if (glib == NULL)
        return MTAIO_ENOMEM;
    glib->context = g_main_context_ref(context != NULL ? context : g_main_context_default());
    glib->source = source_new(glib, priority);
    glib->thread = pthread_self();
    r = mtaio__loop_open(&glib->loop, &kind);
    if (r < 0)
        return r;
    g_source_attach(glib->source, glib->context);
    *ret = glib;
    return 0;
}

mtaio_glib *mtaio_glib_ref(mtaio_glib *glib) {
    if (glib != NULL)
        mtaio_executor_ref(glib->loop.executor);
    return glib;
}

mtaio_glib *mtaio_glib_unref(mtaio_glib *glib) {
    if (glib != NULL)
        mtaio_executor_unref(glib->loop.executor);
    return NULL;
}

mtaio_executor *mtaio_glib_executor(const mtaio_glib *glib) {
    return glib != NULL ? glib->loop.executor : NULL;
}

int mtaio_glib_close(mtaio_glib *glib) {
    if (glib == NULL)
        return MTAIO_EINVAL;
    mtaio__loop_close(&glib->loop);
    g_source_destroy(glib->source);
    return 0;
}

int mtaio_glib_emit_after(mtaio_glib *glib, mtaio_emitter *em, mtaio_event *event, int64_t delay_ns,
                        mtaio_glib_timer **ret) {
    return mtaio__timer_start((struct loop *)glib, em, event, delay_ns, 0, ret);
}

int mtaio_glib_emit_periodic(mtaio_glib *glib, mtaio_emitter *em, mtaio_event *event, int64_t period_ns,
                           mtaio_glib_timer **ret) {
    if (period_ns <= 0)
        return MTAIO_EINVAL;
    return mtaio__timer_start((struct loop *)glib, em, event, period_ns, period_ns, ret);
}

int mtaio_glib_timer_cancel(mtaio_glib_timer *timer) { return mtaio__timer_cancel(timer); }
mtaio_glib_timer *mtaio_glib_timer_ref(mtaio_glib_timer *timer) { return mtaio__timer_ref(timer); }
mtaio_glib_timer *mtaio_glib_timer_unref(mtaio_glib_timer *timer) { return mtaio__timer_unref(timer); }
