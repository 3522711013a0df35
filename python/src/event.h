/* event.h - the Event of handlers, see event.c. */
#ifndef MTAIO_PYTHON_EVENT_H
#define MTAIO_PYTHON_EVENT_H

#include "core.h"

typedef struct core_event {
    PyObject_HEAD PyObject *name, *data, *propagate; /* NULL: deleted */
    PyObject *metadata;                              /* NULL: a new dict when it is asked for */
    PyObject *events;                                /* of a batch, a list; NULL: itself */
    PyObject *dict, *weakrefs;
    size_t order;                   /* in the batch that it was recorded in */
    struct core_emission *emission; /* NULL, or the only one that shows it; borrowed */
    bool is_shown;                  /* by the emission that it was made for */
    bool tracked;                   /* by the garbage collector */
} core_event;
extern PyTypeObject *core_event_type;

/* A new event, not tracked by the garbage collector; metadata may be NULL. NULL: no memory. */
core_event *core_event_new(PyObject *name, PyObject *data, PyObject *metadata);

/* That of a batch: events is a list of them, which it keeps. NULL: no memory. */
core_event *core_event_of(PyObject *name, PyObject *events);

/* A shallow copy of the same class, tracked. */
core_event *core_event_copy(const core_event *from);

/* A strong reference to the metadata, made where there is none. */
PyObject *core_event_metadata(core_event *ev);

/* Somebody may keep it: from now on the garbage collector has to know it. */
static inline void core_event_track(core_event *ev) {
    if (ev->tracked) return;
    ev->tracked = true;
    PyObject_GC_Track(ev);
}

/* What it refers to, for whoever holds one that is not tracked, alone. */
int core_event_visit(core_event *ev, visitproc visit, void *arg);

/* Gives back a reference, of the emission that it was made for. */
void core_event_drop(core_event *ev);

#endif
