/* mtaio/emitter.h - emitters: handlers by name and pattern, emissions, derived emitters, batches. */
#ifndef MTAIO_EMITTER_H
#define MTAIO_EMITTER_H

#include <mtaio/event.h>
#include <mtaio/executor.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mtaio_emitter mtaio_emitter;
typedef struct mtaio_listener mtaio_listener;

/* What a handler is. 0 or more from call: fine. Negative: it failed, and the emission reports it; the other
 * handlers run all the same. */
typedef int (*mtaio_call)(mtaio_event *event, void *ctx);
enum { MTAIO_ONCE = 1u };
typedef struct mtaio_handler {
    size_t size; /* set by MTAIO_HANDLER, lets this struct grow */
    mtaio_call call;
    void (*destroy)(void *ctx); /* may be NULL */
    void *ctx;
    mtaio_priority priority;
    unsigned flags;           /* MTAIO_ONCE */
    mtaio_executor *executor; /* where call runs; NULL: the emitting thread */
} mtaio_handler;
#define MTAIO_HANDLER(...) (&(mtaio_handler){.size = sizeof(mtaio_handler), __VA_ARGS__})

/* A handler's failure: handed to whoever asks, on the thread where the emission is, valid during that call. */
typedef struct mtaio_failure {
    const char *name; /* the event's */
    int status;       /* what the handler, predicate or transform answered */
    mtaio_call call;  /* NULL: a predicate or a transform, or an emitter behind a pipe that could not emit */
    void *ctx;
    const mtaio_event *event;
} mtaio_failure;

/* What an emission did. */
typedef struct mtaio_report {
    size_t size;     /* set by MTAIO_REPORT */
    unsigned called; /* handlers called, behind filters, maps and pipes too; in a batch each once */
    unsigned failed; /* handlers, predicates and transforms */
    int first_error; /* the first failure's status, 0: none */
    bool stopped;    /* a handler set propagate to false */
    bool held;       /* suppressed: nothing was called yet */
} mtaio_report;
#define MTAIO_REPORT() ((mtaio_report){.size = sizeof(mtaio_report)})

/* --- Emitters ---------------------------------------------------------------------------------- */

typedef enum mtaio_trouble_kind {
    MTAIO_TROUBLE_UNAWAITED, /* an emission that nobody awaits failed, and no 'error' handler took it */
    MTAIO_TROUBLE_LISTENERS  /* a name passed the limit of listeners: reported once for each name */
} mtaio_trouble_kind;
typedef struct mtaio_trouble {
    mtaio_trouble_kind kind;
    const char *emitter; /* its name, "" where it has none */
    const char *name;    /* the event's, or the pattern listened to */
    int status;          /* UNAWAITED: the failure; LISTENERS: MTAIO_ELIMIT */
    size_t count;        /* LISTENERS: how many there are now */
} mtaio_trouble;

typedef struct mtaio_emitter_options {
    size_t size;          /* set by MTAIO_EMITTER_OPTIONS */
    const char *name;     /* for reports; NULL: "" */
    size_t max_listeners; /* per name, 0: no limit; more are only reported, not refused */
    /* The last resort, for the emitters derived from this one too. NULL: one line on stderr. */
    void (*trouble)(const mtaio_trouble *trouble, void *ctx);
    void (*destroy)(void *ctx); /* once this emitter and all derived from it are freed */
    void *ctx;
} mtaio_emitter_options;
#define MTAIO_EMITTER_OPTIONS(...)                                                                 \
    (&(mtaio_emitter_options){.size = sizeof(mtaio_emitter_options), __VA_ARGS__})

/* options may be NULL. EINVAL, ENOMEM. */
MTAIO_API int mtaio_emitter_new(const mtaio_emitter_options *options, mtaio_emitter **ret);
MTAIO_API mtaio_emitter *mtaio_emitter_ref(mtaio_emitter *em);

/* The last reference closes and frees; from inside a handler, once the emissions are over. */
MTAIO_API mtaio_emitter *mtaio_emitter_unref(mtaio_emitter *em);

/* Removes every handler and hook, ends the emissions that rest on a deferral with ECLOSED (where a handler is
 * running on an executor, once it returns), drops what is suppressed, detaches from the source and from what is
 * derived from it. Emitting and registering answer ECLOSED from now on. Twice is no error. */
MTAIO_API int mtaio_emitter_close(mtaio_emitter *em);
MTAIO_API bool mtaio_emitter_is_closed(const mtaio_emitter *em); /* NULL is closed */
MTAIO_API const char *mtaio_emitter_name(const mtaio_emitter *em); /* "" where it has none, as derived ones */
MTAIO_API int mtaio_emitter_set_max_listeners(mtaio_emitter *em, size_t limit);

/* --- Registering ------------------------------------------------------------------------------- */

/* The short forms: normal priority, no destroy. */
MTAIO_API int mtaio_on(mtaio_emitter *em, const char *pattern, mtaio_call call, void *ctx);
MTAIO_API int mtaio_once(mtaio_emitter *em, const char *pattern, mtaio_call call, void *ctx);

/* The full form. ret may be NULL; else it receives a reference to the registration. The handler keeps its executor.
 * EPATTERN, EINVAL, ENOMEM, ECLOSED; ELIMIT after some 4e12 changes. For a pattern with '*' it takes time in
 * proportion to the names known to the emitter. */
MTAIO_API int mtaio_emitter_on(mtaio_emitter *em, const char *pattern, const mtaio_handler *h,
                               mtaio_listener **ret);

/* Removes every registration of call + ctx under this very pattern; returns how many (0 is no error). Where the pattern
 * has many handlers, it finds them by an index, for which it allocates, or without memory looks at each. */
MTAIO_API int mtaio_off(mtaio_emitter *em, const char *pattern, mtaio_call call, void *ctx);

/* Removes every handler and pipe of the pattern, or with NULL of the emitter; returns how many. What is derived,
 * and hooks, stay. */
MTAIO_API int mtaio_emitter_remove_all(mtaio_emitter *em, const char *pattern);

/* Cancels just this registration: 1 if it was there, 0 if it was gone already. Nothing that begins afterwards calls
 * the handler; another thread may be just making its call. Allocates nothing. */
MTAIO_API int mtaio_listener_cancel(mtaio_listener *listener);

/* The same, and returns only when no call of the handler is running (a deferred call runs until it is completed).
 * Called from within the handler it does not wait for itself; two handlers that wait for each other never end. */
MTAIO_API int mtaio_listener_cancel_wait(mtaio_listener *listener);
MTAIO_API mtaio_listener *mtaio_listener_ref(mtaio_listener *listener);

/* Giving back the reference does not cancel. */
MTAIO_API mtaio_listener *mtaio_listener_unref(mtaio_listener *listener);
MTAIO_API bool mtaio_listener_is_active(const mtaio_listener *listener);

/* How many handlers are registered under this very pattern; NULL: all of the emitter. A pipe is one, here and
 * below; derived emitters and hooks are not. 0 for what is no pattern. */
MTAIO_API size_t mtaio_emitter_count(const mtaio_emitter *em, const char *pattern);

/* How many handlers an emission of this name would call now (not those behind derived emitters). ENAME. */
MTAIO_API int mtaio_emitter_reach(const mtaio_emitter *em, const char *name);

typedef struct mtaio_listener_info {
    const char *pattern;
    mtaio_call call;
    void *ctx;
    mtaio_priority priority;
    unsigned flags;
    mtaio_executor *executor;
} mtaio_listener_info;

/* Calls visit for each pattern listened to (once each, in no particular order), or each handler (of one pattern, or
 * NULL: all; in the order of registration within a pattern and priority), as they were at the start. A pipe is
 * listed with call NULL, its target as ctx, and MTAIO_LOWEST. What info points at is valid during the visit. A
 * visit that does not return 0 ends the walk, which returns what it returned. ENOMEM, EPATTERN. */
MTAIO_API int mtaio_emitter_each_name(const mtaio_emitter *em,
                                      int (*visit)(const char *pattern, size_t count, void *ctx),
                                      void *ctx);
MTAIO_API int mtaio_emitter_each_listener(const mtaio_emitter *em, const char *pattern,
                                          int (*visit)(const mtaio_listener_info *info, void *ctx),
                                          void *ctx);

/* --- Emitting ---------------------------------------------------------------------------------- */

/* Calls the handlers one after another and returns how many ran, those behind filters, maps and pipes too; 0 also
 * where the event is suppressed. EHANDLER: some failed, all ran. ENAME, ECLOSED, EDEPTH, ENOMEM: the emission could
 * not be carried out, or was ended by close (ECLOSED). EUNHANDLED: the name is "error" and no handler but monitors
 * ran. A handler that defers, or runs elsewhere, is waited for. */
MTAIO_API int mtaio_emit(mtaio_emitter *em, const char *name, void *data);

/* A name looked up once, for hot paths. It keeps its emitter alive. ENAME, ECLOSED, ENOMEM. */
typedef struct mtaio_name mtaio_name;
MTAIO_API int mtaio_emitter_resolve(mtaio_emitter *em, const char *name, mtaio_name **ret);
MTAIO_API mtaio_name *mtaio_name_ref(mtaio_name *name);
MTAIO_API mtaio_name *mtaio_name_unref(mtaio_name *name);
MTAIO_API int mtaio_emit_name(mtaio_name *name, void *data);

/* As mtaio_emitter_on with the name, which is not looked up again: for handlers that come and go often. */
MTAIO_API int mtaio_name_on(mtaio_name *name, const mtaio_handler *h, mtaio_listener **ret);

/* Everything that can be said about an emission. Exactly one of name, resolved, event; with event none of data,
 * change and metadata; a resolved name must belong to em: else EINVAL. All of it is borrowed for the call. */
typedef struct mtaio_emission {
    size_t size; /* set by MTAIO_EMISSION */
    const char *name;
    mtaio_name *resolved;
    mtaio_event *event; /* an owned one, a batch too: its name, data, change, metadata and propagate are taken */
    void *data;
    mtaio_change change;
    mtaio_metadata *metadata; /* NULL: none */
    mtaio_report *report;     /* filled on success and on EHANDLER; may be NULL */
    void (*failure)(const mtaio_failure *failure, void *ctx); /* each one, as it happens; may be NULL */
    void *ctx;
} mtaio_emission;
#define MTAIO_EMISSION(...) (&(mtaio_emission){.size = sizeof(mtaio_emission), __VA_ARGS__})
MTAIO_API int mtaio_emit_with(mtaio_emitter *em, const mtaio_emission *emission);

/* Starts the emission on this thread and returns 0 where it first has to wait; done is called exactly once (during
 * this call, or later on the thread that completed the last deferral, or closed) with what mtaio_emit would have
 * returned. The event is owned, and kept until then, as is the emitter. failure may be NULL. On an error returned
 * from here (EINVAL, ENAME, ECLOSED, EDEPTH, ENOMEM), done is not called. */
typedef struct mtaio_async {
    size_t size; /* set by MTAIO_ASYNC */
    void (*done)(int result, const mtaio_report *report, void *ctx);
    void (*failure)(const mtaio_failure *failure, void *ctx);
    void *ctx;
} mtaio_async;
#define MTAIO_ASYNC(...) (&(mtaio_async){.size = sizeof(mtaio_async), __VA_ARGS__})
MTAIO_API int mtaio_emit_async(mtaio_emitter *em, mtaio_event *event, const mtaio_async *async);

/* Begins as mtaio_emit_with does, and does not wait: where it has to, it answers EINPROGRESS, and done is called later,
 * once, as above, with the emission's ctx. Else it answers what mtaio_emit_with does, and done is not called. The
 * struct is copied; all that it refers to, report too, must be valid until the end. The cheapest way for those who
 * complete the deferrals of their handlers themselves, as the coroutines of another language do. EINVAL also where
 * done is NULL. */
MTAIO_API int mtaio_emit_start(mtaio_emitter *em, const mtaio_emission *emission,
                               void (*done)(int result, const mtaio_report *report, void *ctx));

/* As mtaio_emit_async, and nobody awaits it: each failure is emitted as an 'error' event whose data points to the
 * mtaio_failure, valid during that emission, and goes to the emitter's last resort where nothing handles that. An
 * emission that cannot begin is an error returned from here. */
MTAIO_API int mtaio_emit_nowait(mtaio_emitter *em, mtaio_event *event);

/* Waits until an event of the pattern is emitted for which accept(event, ctx) is true (NULL: any) and keeps it;
 * accept runs as a handler of normal priority, on the emitting thread, and not any more after the return.
 * timeout_ns < 0: for ever. ETIMEDOUT; ECLOSED, also where remove_all took it away; EPATTERN, EINVAL, ENOMEM;
 * EDEPTH: on a pool's thread, MTAIO_DEPTH_MAX jobs within each other. */
MTAIO_API int mtaio_emitter_wait(mtaio_emitter *em, const char *pattern,
                                 bool (*accept)(const mtaio_event *event, void *ctx), void *ctx,
                                 int64_t timeout_ns, mtaio_event **ret);

/* --- Derived emitters. They receive an event after the source's own handlers and before its monitors. Each is an
 * emitter like any other; it lives while it has a reference, or listeners and a source, and keeps the derived
 * emitters between it and the first one, which it does not keep. pattern (NULL: all) restricts which events pass.
 * Handlers behind it are chosen by the source event's name, also where a map gives another. Siblings receive an
 * event in no particular order. What nobody behind listens to is not even filtered or mapped. EINVAL, EPATTERN,
 * ECLOSED, ENOMEM; a chain of MTAIO_DEPTH_MAX: EDEPTH. */

typedef struct mtaio_filter {
    size_t size;                                      /* set by MTAIO_FILTER */
    int (*call)(const mtaio_event *event, void *ctx); /* 1: passes, 0: does not, negative: failed */
    void (*destroy)(void *ctx);
    void *ctx;
} mtaio_filter;
#define MTAIO_FILTER(...) (&(mtaio_filter){.size = sizeof(mtaio_filter), __VA_ARGS__})
MTAIO_API int mtaio_emitter_filter(mtaio_emitter *em, const char *pattern, const mtaio_filter *f,
                                   mtaio_emitter **ret);

typedef struct mtaio_map {
    size_t size; /* set by MTAIO_MAP */
    /* mapped begins as a copy of event, to be changed by mtaio_event_set_...; negative: failed. Stopping mapped stops
     * nothing at the source; stopping what a filter or a pipe passes on does. */
    int (*call)(const mtaio_event *event, mtaio_event *mapped, void *ctx);
    void (*destroy)(void *ctx);
    void *ctx;
} mtaio_map;
#define MTAIO_MAP(...) (&(mtaio_map){.size = sizeof(mtaio_map), __VA_ARGS__})
MTAIO_API int mtaio_emitter_map(mtaio_emitter *em, const char *pattern, const mtaio_map *m,
                                mtaio_emitter **ret);

/* Gathers n events (1 or more), then passes them on as one batch, in the emission of the last; a batch that comes in is
 * not split. flush passes on what is there, with mtaio_emit's results; EINVAL: no buffer. Closing drops it. */
MTAIO_API int mtaio_emitter_buffer(mtaio_emitter *em, const char *pattern, size_t n, mtaio_emitter **ret);
MTAIO_API int mtaio_emitter_flush(mtaio_emitter *buffered);

/* Does not wait, as mtaio_emit_async. Where nothing is there, done is called at once, with an empty report. ENOMEM,
 * EDEPTH: everything is still there. */
MTAIO_API int mtaio_emitter_flush_async(mtaio_emitter *buffered, const mtaio_async *async);

/* Shows each event that the buffer keeps and nobody else refers to, and whose data has a release; with one that a map
 * made, the one it was made from. Made for the garbage collectors of other languages: it takes no memory, and visit is
 * called under a lock, so it must call nothing but mtaio_event_data. EINVAL: no buffer. */
MTAIO_API int mtaio_emitter_each_gathered(const mtaio_emitter *buffered,
                                          void (*visit)(const mtaio_event *event, void *ctx), void *ctx);

/* Emits every event of the pattern (NULL: all) on target too, as part of the emission, until the listener is
 * cancelled (ret may be NULL). The pipe keeps target alive; one that is closed is passed over. What rests behind
 * a pipe is ended by closing target, not em. In a ring of pipes the one too deep fails, with EDEPTH.
 * EINVAL (em itself too), EPATTERN, ECLOSED, ENOMEM. */
MTAIO_API int mtaio_emitter_pipe(mtaio_emitter *em, const char *pattern, mtaio_emitter *target,
                                 mtaio_listener **ret);

/* --- Batches. Events emitted into a batch are kept until its outermost end; then each handler that matches one of
 * them is called once, with all that match. Any thread may emit into it. Data given by pointer must stay valid
 * until then; an owned event takes care of its own. */

typedef struct mtaio_batch mtaio_batch;
MTAIO_API int mtaio_batch_new(mtaio_emitter *em, mtaio_batch **ret); /* it keeps em. ECLOSED, ENOMEM */
MTAIO_API int mtaio_batch_nest(mtaio_batch *outer, mtaio_batch **ret);

/* ENAME, ECLOSED (the emitter, or the batch or an outer one has ended), ENOMEM, ELIMIT beyond 2^30 events. The
 * event is an owned one, no batch (EINVAL), and the batch takes a reference of its own. */
MTAIO_API int mtaio_batch_emit(mtaio_batch *batch, const char *name, void *data);
MTAIO_API int mtaio_batch_emit_event(mtaio_batch *batch, mtaio_event *event);
MTAIO_API size_t mtaio_batch_count(const mtaio_batch *batch);

/* Delivers (the outermost; async NULL: waits) or leaves the events to the outer batch (a nested one; async must be
 * NULL), with mtaio_emit's results: handlers are counted, each once, not events, and so in async's report. An empty
 * batch, or one that suppressions took whole, calls done at once, with an empty report. ENOMEM, EDEPTH: nothing was
 * delivered, done is not called, and the batch is as it was. EALREADY: ended or abandoned before. ECLOSED: the
 * emitter, or an outer batch, has. EBUSY: a nested batch is open. */
MTAIO_API int mtaio_batch_end(mtaio_batch *batch, const mtaio_async *async);
MTAIO_API int mtaio_batch_abandon(mtaio_batch *batch); /* drops what was emitted into it and batches nested in it */
MTAIO_API mtaio_batch *mtaio_batch_unref(mtaio_batch *batch); /* abandons a batch that was not ended */

/* --- Suppressing: events of a pattern (NULL: all) that are emitted on em are held back until the end, then dropped or
 * replayed in order; what comes to em from its source or by a pipe is not. Data given by pointer must stay valid until
 * then. Suppressions may overlap: the oldest that matches holds the event. EINVAL, EPATTERN, ECLOSED, ENOMEM. */

typedef struct mtaio_suppression mtaio_suppression;
MTAIO_API int mtaio_emitter_suppress(mtaio_emitter *em, const char *pattern, mtaio_suppression **ret);
MTAIO_API size_t mtaio_suppression_count(const mtaio_suppression *suppression);

/* Returns how many events were dropped, or replayed; EHANDLER: all were replayed and some handler failed. EALREADY,
 * also after close. ENOMEM, EDEPTH: the rest is still held. What is emitted during the replay is held until that is
 * over, then replayed and counted too; during this second part the suppression has ended. */
MTAIO_API int mtaio_suppression_drop(mtaio_suppression *suppression);
MTAIO_API int mtaio_suppression_replay(mtaio_suppression *suppression);
MTAIO_API mtaio_suppression *mtaio_suppression_unref(mtaio_suppression *suppression); /* drops */

/* --- Hooks: around every emission of an emitter, with handlers or not, and around what comes to it from its source.
 * They run on the thread where the emission is, see everything and change nothing. Each function may be NULL. */

typedef struct mtaio_hook {
    size_t size;                                         /* set by MTAIO_HOOK */
    void (*before)(const mtaio_event *event, void *ctx); /* before the first handler */
    void (*after)(const mtaio_event *event, const mtaio_report *report, int64_t duration_ns, void *ctx);
    void (*error)(const mtaio_failure *failure, void *ctx); /* each failure, as it happens */
    void (*destroy)(void *ctx);
    void *ctx;
} mtaio_hook;
#define MTAIO_HOOK(...) (&(mtaio_hook){.size = sizeof(mtaio_hook), __VA_ARGS__})

/* The listener cancels it; ret may be NULL. EINVAL, ECLOSED, ENOMEM. */
MTAIO_API int mtaio_emitter_hook(mtaio_emitter *em, const mtaio_hook *hook, mtaio_listener **ret);

#ifdef __cplusplus
}
#endif
#endif
