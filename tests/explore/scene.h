/* scene.h - what the scenarios over the core share: one emitter, handlers that notice every misuse, threads
 * that the library knows already.
 *
 * Each handler's context is a block that its destroy frees: the explorer then finds every call that uses a
 * context after its end, and every context that is left. */
#ifndef MTAIO_EXPLORE_SCENE_H
#define MTAIO_EXPLORE_SCENE_H

#include <mtaio/mtaio.h>

#include "base/memory.h"
#include "core/reclaim.h"
#include "table.h"

/* What became of one handler. */
struct subject {
    int calls, running, destroyed;
};
struct context {
    struct subject *of;
};

enum { SCENE_THREADS = 3 };
static struct {
    mtaio_emitter *em, *derived;
    mtaio_name *name;
    mtaio_listener *listener, *other;
    struct subject a, b, c;
    ATOMIC(mtaio_deferral *) deferral;
    ATOMIC(int) flag;
    int result[SCENE_THREADS + 1]; /* by explore_self */
    struct thread *records[SCENE_THREADS + 1];
} s EXPLORE_STATE;

/* --- Handlers ---------------------------------------------------------------------------------- */

static inline int subject_call(mtaio_event *event, void *ctx) {
    const struct context *c = ctx;
    struct subject *subject = c->of;
    (void)event;
    subject->calls++;
    subject->running++;
    explore_point(); /* what others do while it runs */
    EXPLORE_CHECK(c->of == subject && subject->destroyed == 0);
    subject->running--;
    return 0;
}

/* Once, after the last call, and with no lock of ours held. */
static inline void subject_destroy(void *ctx) {
    struct context *c = ctx;
    EXPLORE_CHECK(c->of->running == 0 && ++c->of->destroyed == 1 && os_locks_held() == 0);
    mtaio__free(c, sizeof *c);
}

static inline struct context *context_new(struct subject *of) {
    struct context *c = mtaio__alloc(sizeof *c);
    c->of = of;
    return c;
}

static inline int listen_as(mtaio_emitter *em, const char *pattern, struct subject *of, mtaio_call call,
                            unsigned flags, mtaio_listener **ret) {
    mtaio_handler h = {.size = sizeof h, .call = call, .destroy = subject_destroy, .ctx = context_new(of)};
    h.flags = flags;
    return mtaio_emitter_on(em, pattern, &h, ret);
}
static inline int listen_to(const char *pattern, struct subject *of, mtaio_listener **ret) {
    return listen_as(s.em, pattern, of, subject_call, 0, ret);
}

/* --- Threads ----------------------------------------------------------------------------------- */

static inline void thread_stays(void *record) { (void)record; }

/* First in a scenario's thread: it has emitted before. */
static inline void enter(void) { os_self_set(s.records[explore_self()], thread_stays); }

static inline int *result_here(void) { return &s.result[explore_self()]; }

static inline void emit_x(void) {
    enter();
    *result_here() = mtaio_emit_name(s.name, NULL);
}
static inline void emit_x_by_name(void) {
    enter();
    *result_here() = mtaio_emit(s.em, "x", NULL);
}
static inline void cancel(void) {
    enter();
    *result_here() = mtaio_listener_cancel(s.listener);
}
static inline void close_emitter(void) {
    enter();
    *result_here() = mtaio_emitter_close(s.em);
}

/* --- Setting up and clearing away --------------------------------------------------------------- */

static inline void scene_new(void) {
    for (int i = SCENE_THREADS; i >= 0; i--) s.records[i] = mtaio__thread_register();
    EXPLORE_CHECK(mtaio_emitter_new(NULL, &s.em) == 0);
    EXPLORE_CHECK(mtaio_emitter_resolve(s.em, "x", &s.name) == 0);
}

/* a listens to x. */
static inline void scene_one(void) {
    scene_new();
    EXPLORE_CHECK(listen_to("x", &s.a, &s.listener) == 0);
}

/* Whatever has happened: every context has ended once, and the explorer finds what else is left. */
static inline void scene_end(void) {
    s.listener = mtaio_listener_unref(s.listener);
    s.other = mtaio_listener_unref(s.other);
    s.name = mtaio_name_unref(s.name);
    s.derived = mtaio_emitter_unref(s.derived);
    s.em = mtaio_emitter_unref(s.em);
    EXPLORE_CHECK(mtaio_reclaim() == 0);
}
static inline void scene_end_a(void) {
    scene_end();
    EXPLORE_CHECK(s.a.destroyed == 1 && s.a.running == 0);
}
static inline void scene_end_ab(void) {
    scene_end_a();
    EXPLORE_CHECK(s.b.destroyed == 1 && s.b.running == 0);
}

#endif
