/* emitter.h - emitters, listeners and emissions: what emitter.c, listener.c, emission.c and their like share.
 *
 * Who holds whom. An emitter holds its listeners, on a list of its own; the library knows each only as the
 * context of a handler, a borrowed pointer. That is enough, because nothing of the library runs without the
 * GIL, and the GIL changes hands only within calls of Python code: between the moment at which the library
 * picks a handler and our function beginning, nobody can have cancelled it (release.c). A call under way
 * holds its listener itself. A derived emitter with listeners is held by its source (`kept`), and holds its
 * source if that is derived too. So everything can be seen by the garbage collector. */
#ifndef MTAIO_PYTHON_EMITTER_H
#define MTAIO_PYTHON_EMITTER_H

#include "event.h"

typedef struct core_emitter core_emitter;

enum {
    LISTENER_ONCE = 1,
    LISTENER_MONITOR = 2,
    LISTENER_WRAPPED = 4, /* handler.__wrapped__ is what the user gave, or None where that is gone */
    LISTENER_TOLD = 8,    /* handler.removed() is called when somebody else has removed it */
    LISTENER_PIPE = 16,   /* handler is the target, an emitter */
    LISTENER_HELD = 32,   /* by the library's handle too; else it is found by pattern, call and context */
    LISTENER_ENDING = 64  /* the collector does not know it any more */
};

typedef struct core_listener {
    PyObject_HEAD PyObject *handler;
    PyObject *name;                    /* the pattern */
    core_emitter *emitter;             /* borrowed; NULL: not registered any more */
    struct core_listener *next, *prev; /* of the emitter */
    unsigned flags;
    uint32_t place; /* in the emitter's index, from 1; 0: it is not there */
} core_listener;
extern PyTypeObject core_listener_type;

/* A name that was emitted, identified by the str object, which is kept: no hashing, no UTF-8. */
struct name_entry {
    PyObject *name;
    mtaio_name *resolved;
    size_t registrations; /* not resolved: while the emitter's are these, nobody listens */
    bool used;            /* since another name wanted this place */
};
#define NAME_ENTRIES 16
#define NAME_LENGTH_MAX 256

struct core_emitter {
    PyObject_HEAD mtaio_emitter *inner;
    unsigned unusual;         /* EMITTER_...: emit looks closer */
    size_t registrations;     /* a count of all that has changed what an emission would do */
    struct name_entry *names; /* NULL, or NAME_ENTRIES */
    size_t active;            /* emissions under way: what they have resolved stays */
    core_listener *listeners; /* the newest first; pipes too */
    struct core_index *index; /* of them, by name and handler; NULL: there is none */
    core_emitter *source;     /* a reference if holds_source */
    core_emitter *first_derived, *next_derived, *prev_derived;
    PyObject *function; /* what filters or maps; the library's reference, ours to traverse */
    size_t population;  /* listeners, and derived emitters that are kept */
    bool kept;          /* by its source, which has a reference to it */
    bool holds_source;  /* it is derived too */
    bool is_buffer;
    size_t limit;    /* of listeners to a name, 0: none */
    PyObject *hold;  /* where EMITTER_HOLDS: hold(event) tells whether it is held back */
    PyObject *hooks; /* a list of (kind, function), or NULL */
    mtaio_listener *hook;
    PyObject *weakrefs;
};
enum { EMITTER_NEW = 1, EMITTER_HOLDS = 2, EMITTER_CLOSED = 4, EMITTER_KEEPS = 8 };
extern PyTypeObject core_emitter_type;

/* An emission, which is what emit returns: a coroutine in all that matters. */
typedef struct core_emission {
    PyObject_HEAD core_emitter *emitter;
    PyObject *name;            /* the library borrows its UTF-8 */
    PyObject *data, *metadata; /* until it begins; metadata may be NULL */
    core_event *event;         /* from then on */
    struct core_batch *batch;  /* what it delivers, instead of name and data; else NULL: what a buffer has */
    PyObject *coroutine;       /* of the handler that is suspended or being resumed */
    PyObject *yielded;         /* what it has just yielded, to be handed on */
    core_listener *listener;   /* whose coroutine that is */
    core_event *shown;         /* what that was given */
    mtaio_deferral *deferral;  /* which the library waits for; NULL: not any more, close has ended it */
    core_listener *late;       /* to be called next: it came up outside of our send */
    core_event *late_shown;
    mtaio_deferral *late_deferral;
    PyObject *errors; /* a list of (handler, exception), or NULL */
    PyObject *raised; /* what passes through: CancelledError and its kind */
    PyObject *weakrefs;
    int result;
    enum { EMISSION_NEW, EMISSION_RUNNING, EMISSION_RESTING, EMISSION_OVER } state;
    bool driving;  /* the library is at work for us, inside our send */
    bool over;     /* it has told the result */
    bool orphaned; /* it has a reference, until it does */
    bool finalized;
} core_emission;
extern PyTypeObject core_emission_type;

/* --- listener.c -------------------------------------------------------------------------------- */

/* Registers: a listener with a reference for the caller. NULL with an exception. */
core_listener *core_listener_new(core_emitter *em, PyObject *name, PyObject *handler, int priority,
                                 unsigned flags, bool by_handle);
core_listener *core_listener_pipe(core_emitter *em, PyObject *name, core_emitter *target);

/* 1: it was registered. Never fails. Removing also tells the handler, if that wants to know. */
int core_listener_cancel(core_listener *l);
int core_listener_remove(core_listener *l);

/* It is registered no more: takes it from its emitter's list, which gives back its reference; tells the
 * handler, or not. */
void core_listener_unlink(core_listener *l, bool tell);

/* What the user gave: a strong reference. */
PyObject *core_listener_function(core_listener *l);

/* --- search.c ---------------------------------------------------------------------------------- */

/* The listeners that may have a handler under a name, the newest first, among them some that have not. False:
 * they are to be looked for otherwise. No Python code may run until the last was found. */
struct core_search {
    struct core_index *index;
    uint32_t *place[2];
};
bool core_search_begin(struct core_search *s, core_emitter *em, PyObject *name, PyObject *handler);
core_listener *core_search_next(struct core_search *s); /* NULL: no more */

/* It goes from its emitter's list. It has a place. */
void core_index_leave(core_emitter *em, core_listener *l);

/* --- emitter.c --------------------------------------------------------------------------------- */

/* One registration more or less: kept by the source while there are any. Shrinking may free it. */
void core_emitter_grow(core_emitter *em);
void core_emitter_shrink(core_emitter *em);

/* Nothing that is remembered about names holds any more. */
static inline void core_emitter_changed(core_emitter *em) { em->registrations++; }

/* self as an emitter that was initialised; NULL with an exception. */
core_emitter *core_emitter_of(PyObject *self);

/* --- derived.c, hooks.c ------------------------------------------------------------------------ */

/* From its source, and those that are derived from it from it. */
void core_emitter_detach(core_emitter *em);

void core_hooks_end(core_emitter *em);

/* --- names.c ----------------------------------------------------------------------------------- */

/* The entry of a name; NULL: it is not there. */
static inline struct name_entry *core_name_find(const core_emitter *em, const PyObject *name) {
    if (unlikely(!em->names)) return NULL;
    struct name_entry *entry = &em->names[(uintptr_t)name / 16 % NAME_ENTRIES];
    return likely(entry->name == name) ? entry : NULL;
}

/* Nobody would be called. */
static inline bool core_name_is_idle(const core_emitter *em, const struct name_entry *entry) {
    return !entry->resolved && entry->registrations == em->registrations;
}

/* After an emission of the name, which answered r: remembers it if it comes again. Never fails. */
void core_name_learn(core_emitter *em, PyObject *name, const char *utf8, int r);
void core_names_forget(core_emitter *em);

/* --- calls.c: what the library calls ------------------------------------------------------------ */

/* The function that the library is given for a listener's handler. */
mtaio_call core_call_of(const core_listener *l);

int core_filter_call(const mtaio_event *event, void *function);
int core_map_call(const mtaio_event *event, mtaio_event *mapped, void *function);
void core_failure(const mtaio_failure *failure, void *emission);
void core_done(int result, const mtaio_report *report, void *emission);

/* What a predicate or a transform has raised, and is not yet known to its emission: whoever runs Python code
 * before that, puts it aside. */
struct core_raised {
    PyObject *function, *exception;
};
struct core_raised core_raised_swap(struct core_raised other);

/* Calls the handler, and its coroutine up to its first suspension: then e->coroutine is set. NEXT, RETURN,
 * ERROR. */
PySendResult core_handler_begin(core_emission *e, core_listener *l, core_event *shown, PyObject **ret);

/* The handler has ended so: the status to tell the library; event may be NULL, where there is none any more.
 * Takes over the value. */
int core_handler_end(core_emission *e, core_listener *l, core_event *shown, mtaio_event *event,
                     PySendResult status, PyObject *value);

/* --- wait.c ------------------------------------------------------------------------------------ */

/* What wait_for returns; check may be NULL. */
PyObject *core_wait_new(PyObject *emitter, PyObject *name, PyObject *check);

/* --- emission.c, awaitable.c ------------------------------------------------------------------- */

PyObject *core_emission_new(core_emitter *em, PyObject *name, PyObject *data, PyObject *metadata);
PyObject *core_emission_of_batch(core_emitter *em, struct core_batch *batch);

/* The first send, and one that goes to a suspended handler. */
PySendResult core_emission_begin(core_emission *e, PyObject **ret);
PySendResult core_emission_resume(core_emission *e, PyObject *arg, PyObject **ret);

/* The suspended handler's coroutine has answered what was sent to it, or thrown into it: goes on from there.
 */
PySendResult core_emission_answered(core_emission *e, PySendResult status, PyObject *value, PyObject **ret);

/* Closes the coroutine of the handler that is suspended; no further handler is called. 0, or -1 with an
 * exception that came out of the coroutine. */
int core_emission_end(core_emission *e);

/* Gives back what is not needed any more once it is over. */
void core_emission_drop(core_emission *e);

/* The same, and success, of one that has nothing yet but what it was made with. */
static inline PySendResult core_emission_pass(core_emission *e, PyObject **ret) {
    e->state = EMISSION_OVER;
    if (e->metadata) Py_CLEAR(e->metadata);
    Py_CLEAR(e->data);
    *ret = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

#endif
