/* event.c - Event: a dataclass to all who look at it, made in C.
 *
 * What makes it a dataclass (fields, parameters) is taken from a real one when mtaio.events is imported. An
 * event is tracked by the garbage collector only once it outlives its emission, or rests in one: most never
 * do. */
#include "event.h"

#include <structmember.h>

PyTypeObject *core_event_type;

#define SPARES_MAX 128
static core_event *spares[SPARES_MAX]; /* empty ones, alive: the list has the reference */
static unsigned spare_count;

/* --- Making ------------------------------------------------------------------------------------ */

core_event *core_event_new(PyObject *name, PyObject *data, PyObject *metadata) {
    core_event *ev;
    if (likely(spare_count > 0)) {
        ev = spares[--spare_count];
    } else {
        ev = PyObject_GC_New(core_event, core_event_type);
        if (!ev) return NULL;
        ev->events = ev->dict = ev->weakrefs = NULL;
        ev->emission = NULL;
        ev->is_shown = ev->tracked = false;
    }
    ev->name = Py_NewRef(name);
    ev->data = Py_NewRef(data);
    ev->propagate = Py_NewRef(Py_True);
    ev->metadata = Py_XNewRef(metadata);
    return ev;
}

core_event *core_event_of(PyObject *name, PyObject *events) {
    Py_ssize_t count = PyList_GET_SIZE(events);
    PyObject *data = PyList_New(count);
    for (Py_ssize_t i = 0; data && i < count; i++) {
        const core_event *one = (const core_event *)PyList_GET_ITEM(events, i);
        PyList_SET_ITEM(data, i, Py_NewRef(one->data ? one->data : Py_None));
    }
    core_event *ev = data ? core_event_new(name, data, NULL) : NULL;
    Py_XDECREF(data);
    if (!ev) return NULL;
    ev->events = Py_NewRef(events);
    core_event_track(ev);
    return ev;
}

void core_event_drop(core_event *ev) {
    if (Py_REFCNT(ev) > 1 || ev->dict || ev->weakrefs || ev->events || spare_count == SPARES_MAX) {
        core_event_track(ev);
        Py_DECREF(ev);
        return;
    }
    if (ev->tracked) PyObject_GC_UnTrack(ev);
    ev->tracked = false;
    Py_CLEAR(ev->name);
    Py_CLEAR(ev->data);
    Py_CLEAR(ev->propagate);
    if (ev->metadata) Py_CLEAR(ev->metadata);
    if (likely(spare_count < SPARES_MAX))
        spares[spare_count++] = ev;
    else
        Py_DECREF(ev); /* what it held has filled the list meanwhile */
}

/* Of any class, empty. */
static core_event *event_alloc(PyTypeObject *type) {
    core_event *ev = (core_event *)type->tp_alloc(type, 0);
    if (ev) ev->tracked = true;
    return ev;
}

core_event *core_event_copy(const core_event *from) {
    core_event *ev = event_alloc(Py_TYPE(from));
    if (!ev) return NULL;
    ev->name = Py_XNewRef(from->name);
    ev->data = Py_XNewRef(from->data);
    ev->propagate = Py_XNewRef(from->propagate);
    ev->metadata = Py_XNewRef(from->metadata);
    ev->events = Py_XNewRef(from->events);
    if (from->dict && !(ev->dict = PyDict_Copy(from->dict))) Py_CLEAR(ev);
    return ev;
}

static PyObject *event_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)args;
    (void)kwargs;
    core_event *ev = event_alloc(type);
    if (ev) ev->propagate = Py_NewRef(Py_True);
    return (PyObject *)ev;
}

static int event_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"name", "data", "propagate", "metadata", NULL};
    core_event *ev = (core_event *)self;
    PyObject *name, *data, *propagate = Py_True, *metadata = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OO:Event", names, &name, &data, &propagate, &metadata))
        return -1;
    Py_XSETREF(ev->name, Py_NewRef(name));
    Py_XSETREF(ev->data, Py_NewRef(data));
    Py_XSETREF(ev->propagate, Py_NewRef(propagate));
    Py_XSETREF(ev->metadata, Py_XNewRef(metadata));
    return 0;
}

static PyObject *field_names[4]; /* interned */

/* By new and init, which also say what is wrong. */
static PyObject *make_slowly(PyObject *type, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    PyObject *tuple = PyTuple_New(count), *dict = PyDict_New(), *event = NULL;
    bool good = tuple && dict;
    for (Py_ssize_t i = 0; good && i < count; i++) PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    for (Py_ssize_t i = 0; good && names && i < PyTuple_GET_SIZE(names); i++)
        good = PyDict_SetItem(dict, PyTuple_GET_ITEM(names, i), args[count + i]) == 0;
    if (good) event = event_new((PyTypeObject *)type, NULL, NULL);
    if (event && event_init(event, tuple, dict) < 0) Py_CLEAR(event);
    Py_XDECREF(tuple);
    Py_XDECREF(dict);
    return event;
}

/* What Event(...) calls for Event itself: the same as new and init, without a tuple and a dict in between. */
static PyObject *event_vectorcall(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names) {
    PyObject *fields[4] = {NULL};
    Py_ssize_t count = PyVectorcall_NARGS(nargsf), named = names ? PyTuple_GET_SIZE(names) : 0;
    bool good = count <= 4;
    for (Py_ssize_t i = 0; good && i < count; i++) fields[i] = args[i];
    for (Py_ssize_t i = 0; good && i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        unsigned at = 0;
        while (at < 4 && name != field_names[at]) at++; /* both are interned */
        good = at < 4 && !fields[at];
        if (good) fields[at] = args[count + i];
    }
    if (unlikely(!good) || unlikely(!fields[0]) || unlikely(!fields[1]))
        return make_slowly(type, args, count, names);
    core_event *ev = core_event_new(fields[0], fields[1], fields[3]);
    if (!ev) return NULL;
    if (fields[2]) Py_SETREF(ev->propagate, Py_NewRef(fields[2]));
    core_event_track(ev);
    return (PyObject *)ev;
}

/* --- The end ----------------------------------------------------------------------------------- */

int core_event_visit(core_event *ev, visitproc visit, void *arg) {
    Py_VISIT(ev->name);
    Py_VISIT(ev->data);
    Py_VISIT(ev->propagate);
    Py_VISIT(ev->metadata);
    Py_VISIT(ev->events);
    Py_VISIT(ev->dict);
    return 0;
}

static int event_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(Py_TYPE(self));
    return core_event_visit((core_event *)self, visit, arg);
}

static int event_clear(PyObject *self) {
    core_event *ev = (core_event *)self;
    Py_CLEAR(ev->name);
    Py_CLEAR(ev->data);
    Py_CLEAR(ev->propagate);
    Py_CLEAR(ev->metadata);
    Py_CLEAR(ev->events);
    Py_CLEAR(ev->dict);
    return 0;
}

/* One that somebody kept is used again too. */
static void event_dealloc(PyObject *self) {
    core_event *ev = (core_event *)self;
    if (ev->tracked) PyObject_GC_UnTrack(self);
    ev->tracked = false;
    Py_TRASHCAN_BEGIN(self, event_dealloc) if (unlikely(ev->weakrefs != NULL)) PyObject_ClearWeakRefs(self);
    PyTypeObject *type = Py_TYPE(self);
    event_clear(self);
    if (likely(type == core_event_type) && likely(spare_count < SPARES_MAX)) {
        Py_SET_REFCNT(self, 1);
        spares[spare_count++] = ev;
    } else {
        type->tp_free(self);
        Py_DECREF(type);
    }
    Py_TRASHCAN_END
}

/* --- What it shows ----------------------------------------------------------------------------- */

PyObject *core_event_metadata(core_event *ev) {
    if (!ev->metadata && !(ev->metadata = PyDict_New())) return NULL;
    return Py_NewRef(ev->metadata);
}

static PyObject *get_metadata(PyObject *self, void *unused) {
    (void)unused;
    return core_event_metadata((core_event *)self);
}

static int set_metadata(PyObject *self, PyObject *value, void *unused) {
    (void)unused;
    Py_XSETREF(((core_event *)self)->metadata, Py_XNewRef(value));
    return 0;
}

static PyObject *get_events(PyObject *self, void *unused) {
    (void)unused;
    PyObject *events = ((core_event *)self)->events;
    if (events) return Py_NewRef(events);
    events = PyList_New(1);
    if (events) PyList_SET_ITEM(events, 0, Py_NewRef(self));
    return events;
}

/* The four fields, in a tuple; one that was deleted is an AttributeError. */
static PyObject *fields_of(PyObject *self) {
    core_event *ev = (core_event *)self;
    PyObject *metadata = core_event_metadata(ev), *fields = NULL;
    if (!metadata) return NULL;
    if (ev->name && ev->data && ev->propagate)
        fields = PyTuple_Pack(4, ev->name, ev->data, ev->propagate, metadata);
    else
        PyErr_SetString(PyExc_AttributeError, "a field of this event was deleted");
    Py_DECREF(metadata);
    return fields;
}

static PyObject *event_repr(PyObject *self) {
    int r = Py_ReprEnter(self);
    if (r != 0) return r > 0 ? PyUnicode_FromString("...") : NULL;
    PyObject *text = NULL, *fields = fields_of(self);
    PyObject *name = fields ? PyObject_GetAttrString((PyObject *)Py_TYPE(self), "__qualname__") : NULL;
    if (name)
        text = PyUnicode_FromFormat("%U(name=%R, data=%R, propagate=%R, metadata=%R)", name,
                                    PyTuple_GET_ITEM(fields, 0), PyTuple_GET_ITEM(fields, 1),
                                    PyTuple_GET_ITEM(fields, 2), PyTuple_GET_ITEM(fields, 3));
    Py_XDECREF(fields);
    Py_XDECREF(name);
    Py_ReprLeave(self);
    return text;
}

static PyObject *event_compare(PyObject *self, PyObject *other, int op) {
    if ((op != Py_EQ && op != Py_NE) || Py_TYPE(self) != Py_TYPE(other)) Py_RETURN_NOTIMPLEMENTED;
    PyObject *result = NULL, *a = fields_of(self), *b = a ? fields_of(other) : NULL;
    if (b) result = PyObject_RichCompare(a, b, op);
    Py_XDECREF(a);
    Py_XDECREF(b);
    return result;
}

/* --- Pickling and copying ---------------------------------------------------------------------- */

/* copyreg.__newobj__, (class,), (what was added to it or None, fields, events or None) */
static PyObject *event_reduce(PyObject *self, PyObject *unused) {
    (void)unused;
    core_event *ev = (core_event *)self;
    PyObject *copyreg = PyImport_ImportModule("copyreg"), *result = NULL;
    PyObject *make = copyreg ? PyObject_GetAttrString(copyreg, "__newobj__") : NULL;
    PyObject *fields = make ? fields_of(self) : NULL;
    if (fields)
        result = Py_BuildValue("O(O)(OOO)", make, Py_TYPE(self), ev->dict ? ev->dict : Py_None, fields,
                               ev->events ? ev->events : Py_None);
    Py_XDECREF(fields);
    Py_XDECREF(make);
    Py_XDECREF(copyreg);
    return result;
}

static PyObject *event_setstate(PyObject *self, PyObject *state) {
    core_event *ev = (core_event *)self;
    PyObject *dict, *name, *data, *propagate, *metadata, *events;
    if (!PyArg_ParseTuple(state, "O(OOOO)O;an Event's state", &dict, &name, &data, &propagate, &metadata,
                          &events))
        return NULL;
    Py_XSETREF(ev->name, Py_NewRef(name));
    Py_XSETREF(ev->data, Py_NewRef(data));
    Py_XSETREF(ev->propagate, Py_NewRef(propagate));
    Py_XSETREF(ev->metadata, Py_NewRef(metadata));
    Py_XSETREF(ev->events, events == Py_None ? NULL : Py_NewRef(events));
    if (dict == Py_None) Py_RETURN_NONE;
    PyObject *own = PyObject_GenericGetDict(self, NULL);
    int r = own ? PyDict_Update(own, dict) : -1;
    Py_XDECREF(own);
    if (r < 0) return NULL;
    Py_RETURN_NONE;
}

static PyObject *event_replace(PyObject *self, PyObject *args, PyObject *kwargs) {
    (void)args;
    PyObject *dataclasses = PyImport_ImportModule("dataclasses"), *result = NULL;
    PyObject *replace = dataclasses ? PyObject_GetAttrString(dataclasses, "replace") : NULL;
    PyObject *event = replace ? PyTuple_Pack(1, self) : NULL;
    if (event) result = PyObject_Call(replace, event, kwargs);
    Py_XDECREF(event);
    Py_XDECREF(replace);
    Py_XDECREF(dataclasses);
    return result;
}

/* --- The type ---------------------------------------------------------------------------------- */

static PyMemberDef members[] = {
    {"name", T_OBJECT_EX, offsetof(core_event, name), 0, "The event's name."},
    {"data", T_OBJECT_EX, offsetof(core_event, data), 0, "What was emitted."},
    {"propagate", T_OBJECT_EX, offsetof(core_event, propagate), 0,
     "Set to False, no further handler is called, but for monitors."},
    {"__dictoffset__", T_PYSSIZET, offsetof(core_event, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(core_event, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef getset[] = {
    {"metadata", get_metadata, set_metadata, "The mapping given with the event, else an empty dict.", NULL},
    {"events", get_events, NULL, "The events of a batch, in the order they were emitted; of another, itself.",
     NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef methods[] = {
    {"__reduce__", event_reduce, METH_NOARGS, NULL},
    {"__setstate__", event_setstate, METH_O, NULL},
    {"__replace__", CORE_METHOD(event_replace), METH_VARARGS | METH_KEYWORDS, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "Event[T]: an event whose data is a T."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_doc, "What handlers are given: a name, data, metadata; in a batch, several of them.\n\n"
                "Args:\n"
                "    name: The event's name\n"
                "    data: Event data\n"
                "    propagate: Whether to continue propagation\n"
                "    metadata: Event metadata, a dict of its own where none is given"},
    {Py_tp_new, CORE_SLOT(event_new)},
    {Py_tp_init, CORE_SLOT(event_init)},
    {Py_tp_dealloc, CORE_SLOT(event_dealloc)},
    {Py_tp_traverse, CORE_SLOT(event_traverse)},
    {Py_tp_clear, CORE_SLOT(event_clear)},
    {Py_tp_repr, CORE_SLOT(event_repr)},
    {Py_tp_richcompare, CORE_SLOT(event_compare)},
    {Py_tp_hash, CORE_SLOT(PyObject_HashNotImplemented)},
    {Py_tp_members, members},
    {Py_tp_getset, getset},
    {Py_tp_methods, methods},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "mtaio.events.Event",
    .basicsize = sizeof(core_event),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = slots,
};

/* set_event_class(dict): what a dataclass has of its own becomes Event's. */
static PyObject *set_event_class(PyObject *module, PyObject *attributes) {
    (void)module;
    if (PyDict_Update(core_event_type->tp_dict, attributes) < 0) return NULL;
    PyType_Modified(core_event_type);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"set_event_class", set_event_class, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int core_add_events(PyObject *module) {
    static const char *const names[] = {"name", "data", "propagate", "metadata"};
    for (unsigned i = 0; i < 4; i++)
        if (!field_names[i] && !(field_names[i] = PyUnicode_InternFromString(names[i]))) return -1;
    if (!core_event_type && (core_event_type = (PyTypeObject *)PyType_FromSpec(&spec)))
        core_event_type->tp_vectorcall = event_vectorcall;
    if (!core_event_type || PyModule_AddFunctions(module, functions) < 0) return -1;
    return PyModule_AddObjectRef(module, "Event", (PyObject *)core_event_type);
}
