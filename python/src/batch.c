/* batch.c - batches: bound to the flow of control that opened them by a context variable.
 *
 * What is emitted into one is kept here until its end. Then the library gets it, and chooses the handlers.
 * Where nothing but handlers of the emitter itself can look at the events, the library gets one event for
 * each name, whose data is the list of ours with that name, because handlers are chosen by names; else, as
 * filters look at each, all of them. */
#include "batch.h"

static PyObject *variable; /* the innermost batch of the running context, or None */

static PyTypeObject batch_type;

core_batch *core_batch_current(const core_emitter *em) {
    PyObject *value;
    if (PyContextVar_Get(variable, NULL, &value) < 0 || !value) return NULL;
    Py_DECREF(value); /* the context holds it, and each batch the next */
    core_batch *batch = value == Py_None ? NULL : (core_batch *)value;
    while (batch && (batch->emitter != em || !batch->open)) batch = batch->outer;
    return batch;
}

/* --- Recording --------------------------------------------------------------------------------- */

static int reserve(core_batch *batch) {
    if (likely(batch->count < batch->capacity)) return 0;
    size_t capacity = batch->capacity ? batch->capacity * 2 : 16;
    core_event **larger = PyMem_Realloc(batch->events, capacity * sizeof *larger);
    if (!larger) {
        PyErr_NoMemory();
        return -1;
    }
    batch->events = larger;
    batch->capacity = capacity;
    return 0;
}

/* Is it a name, and the emitter open? A name that is remembered is one. */
static int check_name(core_emitter *em, PyObject *name) {
    if (likely(core_name_find(em, name) != NULL)) return 0;
    const char *utf8 = core_utf8(name, core.EventEmitError);
    if (!utf8) return -1;
    int r = mtaio_emitter_reach(em->inner, utf8);
    if (r >= 0) core_name_learn(em, name, utf8, 0);
    if (r < 0) core_raise(core.EventEmitError, r, "cannot emit %R", name);
    return r < 0 ? -1 : 0;
}

int core_batch_record(core_batch *batch, core_event *ev) {
    if (check_name(batch->emitter, ev->name) < 0 || reserve(batch) < 0) return -1;
    ev->order = batch->count;
    batch->events[batch->count++] = ev; /* tracked once somebody keeps it, or its delivery rests */
    return 0;
}

/* --- Delivering -------------------------------------------------------------------------------- */

static int give(mtaio_batch *inner, PyObject *name, PyObject *data) {
    mtaio_event *event;
    const char *utf8 = core_utf8(name, core.EventEmitError);
    if (!utf8) return -1;
    int r = mtaio_event_new(utf8, Py_NewRef(data), core_release, &event);
    if (r == 0) {
        r = mtaio_batch_emit_event(inner, event);
        mtaio_event_unref(event);
    }
    if (r < 0) core_raise(core.EventEmitError, r, "cannot deliver the batch");
    return r < 0 ? -1 : 0;
}

static int give_each(core_batch *batch, mtaio_batch *inner) {
    int r = 0;
    for (size_t i = 0; i < batch->count && r == 0; i++)
        r = give(inner, batch->events[i]->name, (PyObject *)batch->events[i]);
    return r;
}

/* The list of the name, a new one where it has none; borrowed. index: name -> list. */
static PyObject *list_of(PyObject *index, PyObject *name) {
    PyObject *key = PyUnicode_FromObject(name); /* exactly a str: its hash and equality are */
    PyObject *list = key ? PyDict_GetItemWithError(index, key) : NULL;
    if (key && !list && !PyErr_Occurred() && (list = PyList_New(0))) {
        int r = PyDict_SetItem(index, key, list);
        Py_DECREF(list);
        if (r < 0) list = NULL;
    }
    Py_XDECREF(key);
    return list;
}

static bool is_of_one_name(const core_batch *batch) {
    size_t i = 1;
    while (i < batch->count && batch->events[i]->name == batch->events[0]->name) i++;
    return i == batch->count;
}

static int give_together(core_batch *batch, mtaio_batch *inner) {
    PyObject *name = Py_NewRef(batch->events[0]->name), *list = PyList_New((Py_ssize_t)batch->count);
    for (size_t i = 0; list && i < batch->count; i++)
        PyList_SET_ITEM(list, (Py_ssize_t)i, Py_NewRef((PyObject *)batch->events[i]));
    int r = list ? give(inner, name, list) : -1;
    Py_XDECREF(list);
    Py_DECREF(name);
    return r;
}

static int give_by_name(core_batch *batch, mtaio_batch *inner) {
    if (is_of_one_name(batch)) return give_together(batch, inner);
    PyObject *index = PyDict_New(), *list = NULL, *name = NULL;
    int r = index ? 0 : -1;
    for (size_t i = 0; i < batch->count && r == 0; i++) {
        core_event *ev = batch->events[i];
        if (ev->name != name) list = list_of(index, ev->name);
        name = ev->name;
        r = list ? PyList_Append(list, (PyObject *)ev) : -1;
    }
    Py_ssize_t at = 0;
    while (r == 0 && PyDict_Next(index, &at, &name, &list)) r = give(inner, name, list);
    Py_XDECREF(index);
    return r;
}

mtaio_batch *core_batch_given(core_batch *batch) {
    core_emitter *em = batch->emitter;
    mtaio_batch *inner;
    int r = mtaio_batch_new(em->inner, &inner);
    if (r < 0) {
        core_raise(core.EventEmitError, r, "cannot deliver the batch");
        return NULL;
    }
    r = em->first_derived || em->unusual & EMITTER_KEEPS ? give_each(batch, inner)
                                                         : give_by_name(batch, inner);
    return r < 0 ? mtaio_batch_unref(inner) : inner;
}

/* --- What a handler is shown ------------------------------------------------------------------- */

static int by_order(const void *a, const void *b) {
    size_t x = (*(core_event *const *)a)->order, y = (*(core_event *const *)b)->order;
    return (x > y) - (x < y);
}

/* The events that the library's event stands for, as a new list, in their order. */
static PyObject *events_of(const mtaio_event *event) {
    size_t count = mtaio_event_count(event);
    PyObject *first = mtaio_event_data(mtaio_event_at(event, 0));
    if (count == 1 && PyList_CheckExact(first)) return PyList_GetSlice(first, 0, PyList_GET_SIZE(first));
    PyObject *events = PyList_New(0);
    int r = events ? 0 : -1;
    for (size_t i = 0; i < count && r == 0; i++) {
        PyObject *data = mtaio_event_data(mtaio_event_at(event, i));
        Py_ssize_t end = PyList_GET_SIZE(events);
        r = PyList_CheckExact(data) ? PyList_SetSlice(events, end, end, data) : PyList_Append(events, data);
    }
    if (r == 0 && PyList_CheckExact(first))
        qsort(((PyListObject *)events)->ob_item, (size_t)PyList_GET_SIZE(events), sizeof(PyObject *),
              by_order);
    if (r < 0) Py_CLEAR(events);
    return events;
}

core_event *core_batch_event(const mtaio_event *event) {
    PyObject *events = events_of(event), *name = PyUnicode_FromString(mtaio_event_name(event));
    core_event *shown = events && name ? core_event_of(name, events) : NULL;
    if (shown && !mtaio_event_propagates(event)) Py_SETREF(shown->propagate, Py_NewRef(Py_False));
    Py_XDECREF(events);
    Py_XDECREF(name);
    return shown;
}

core_event *core_batch_whole(const core_batch *batch) {
    PyObject *events = PyList_New((Py_ssize_t)batch->count), *name = NULL;
    for (size_t i = 0; events && i < batch->count; i++) {
        core_event *ev = batch->events[i];
        PyList_SET_ITEM(events, (Py_ssize_t)i, Py_NewRef((PyObject *)ev));
        if (i == 0) name = Py_NewRef(ev->name);
        if (name && name != ev->name && PyUnicode_Compare(name, ev->name) != 0) Py_SETREF(name, NULL);
    }
    if (!name && !PyErr_Occurred()) name = PyUnicode_FromString("*");
    core_event *whole = events && name ? core_event_of(name, events) : NULL;
    Py_XDECREF(name);
    Py_XDECREF(events);
    return whole;
}

const core_event *core_batch_error(const core_batch *batch) {
    for (size_t i = 0; i < batch->count; i++)
        if (PyUnicode_CompareWithASCIIString(batch->events[i]->name, "error") == 0) return batch->events[i];
    return NULL;
}

/* --- Opening and ending ------------------------------------------------------------------------ */

static void set_open(core_batch *batch, bool open) {
    if (batch->open == open) return;
    batch->open = open;
    core.open_batches += open ? 1 : (size_t)-1;
}

static int set_current(core_batch *batch) {
    PyObject *token = PyContextVar_Set(variable, batch ? (PyObject *)batch : Py_None);
    Py_XDECREF(token);
    return token ? 0 : -1;
}

static core_batch *batch_alloc(core_emitter *em, core_batch *outer) {
    core_batch *batch = PyObject_GC_New(core_batch, &batch_type);
    if (!batch) return NULL;
    batch->emitter = (core_emitter *)Py_NewRef((PyObject *)em);
    batch->outer = (core_batch *)Py_XNewRef((PyObject *)outer);
    batch->events = NULL;
    batch->count = batch->capacity = 0;
    batch->open = false;
    PyObject_GC_Track(batch);
    return batch;
}

/* open_batch(emitter): a new one for the running context, or None, where it is in one of this emitter
 * already. */
static PyObject *open_batch(PyObject *module, PyObject *emitter) {
    (void)module;
    core_emitter *em = PyObject_TypeCheck(emitter, &core_emitter_type) ? core_emitter_of(emitter) : NULL;
    if (!em) return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_TypeError, "a batch needs an emitter");
    if (em->unusual & EMITTER_CLOSED)
        return core_raise(core.EventError, MTAIO_ECLOSED, "cannot open a batch");
    if (core_batch_current(em)) Py_RETURN_NONE;
    PyObject *outer = NULL;
    if (PyErr_Occurred() || PyContextVar_Get(variable, NULL, &outer) < 0) return NULL;
    core_batch *batch = batch_alloc(em, outer == Py_None ? NULL : (core_batch *)outer);
    Py_XDECREF(outer);
    if (batch && set_current(batch) < 0) Py_CLEAR(batch);
    if (batch) set_open(batch, true);
    return (PyObject *)batch;
}

/* What is emitted from now on is not recorded. Returns the awaitable that delivers what was. */
static PyObject *batch_end(PyObject *self, PyObject *unused) {
    (void)unused;
    core_batch *batch = (core_batch *)self;
    PyObject *innermost;
    set_open(batch, false);
    if (PyContextVar_Get(variable, NULL, &innermost) < 0) return NULL;
    int r = innermost == self ? set_current(batch->outer) : 0;
    Py_XDECREF(innermost);
    return r < 0 ? NULL : core_emission_of_batch(batch->emitter, batch);
}

/* --- The type ---------------------------------------------------------------------------------- */

static int batch_traverse(PyObject *self, visitproc visit, void *arg) {
    core_batch *batch = (core_batch *)self;
    for (size_t i = 0; i < batch->count; i++) {
        core_event *ev = batch->events[i];
        int r = !ev->tracked && Py_REFCNT(ev) == 1 ? core_event_visit(ev, visit, arg)
                                                   : visit((PyObject *)ev, arg);
        if (r != 0) return r;
    }
    Py_VISIT(batch->emitter);
    Py_VISIT(batch->outer);
    return 0;
}

void core_batch_track(core_batch *batch) {
    for (size_t i = 0; i < batch->count; i++) core_event_track(batch->events[i]);
}

void core_batch_clear(core_batch *batch) {
    core_event **events = batch->events;
    size_t count = batch->count;
    batch->events = NULL;
    batch->count = batch->capacity = 0;
    for (size_t i = 0; i < count; i++) core_event_drop(events[i]);
    PyMem_Free(events);
}

static int batch_clear(PyObject *self) {
    core_batch *batch = (core_batch *)self;
    set_open(batch, false);
    core_batch_clear(batch);
    Py_CLEAR(batch->emitter);
    Py_CLEAR(batch->outer);
    return 0;
}

static void batch_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    batch_clear(self);
    PyObject_GC_Del(self);
}

static PyMethodDef batch_methods[] = {
    {"end", batch_end, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject batch_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "mtaio._core.Batch",
    .tp_basicsize = sizeof(core_batch),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = batch_dealloc,
    .tp_traverse = batch_traverse,
    .tp_clear = batch_clear,
    .tp_methods = batch_methods,
};

static PyMethodDef functions[] = {
    {"open_batch", open_batch, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int core_add_batches(PyObject *module) {
    if (PyType_Ready(&batch_type) < 0) return -1;
    if (!variable && !(variable = PyContextVar_New("mtaio_batch", NULL))) return -1;
    return PyModule_AddFunctions(module, functions);
}
