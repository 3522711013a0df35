/* method.c - methods that exist twice: in Python, with their signature, their documentation and all their
 * arguments, and in C for the calls that programs are full of, emitter.on(name) and the like. What C does not
 * know, Python does. */
#include "emitter.h"

#include <structmember.h>

/* --- What on(name) returns: registers the function that it is called with, and returns that -------- */

typedef struct registrar {
    PyObject_HEAD vectorcallfunc vectorcall;
    core_emitter *emitter;
    PyObject *name;
    int priority;
    unsigned flags;
} registrar;

static PyTypeObject registrar_type;

#define SPARES_MAX 16
static registrar *spares[SPARES_MAX]; /* empty, and tracked by the garbage collector all the time */
static unsigned spare_count;

static PyObject *listen(core_emitter *em, PyObject *name, PyObject *handler, int priority, unsigned flags) {
    core_listener *l =
        core_emitter_of((PyObject *)em) ? core_listener_new(em, name, handler, priority, flags, false) : NULL;
    if (!l) return NULL;
    Py_DECREF(l);
    return Py_NewRef(handler);
}

static PyObject *registrar_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names) {
    registrar *r = (registrar *)self;
    if (likely(PyVectorcall_NARGS(nargsf) == 1) && likely(!names) && likely(r->emitter != NULL))
        return listen(r->emitter, r->name, args[0], r->priority, r->flags);
    PyErr_SetString(PyExc_TypeError, "this takes one argument: the handler");
    return NULL;
}

static registrar *registrar_alloc(void) {
    while (likely(spare_count > 0)) {
        registrar *r = spares[--spare_count];
        if (likely(Py_REFCNT(r) == 1)) return r;
        Py_DECREF(r); /* somebody has got hold of it, by gc.get_objects() */
    }
    registrar *r = PyObject_GC_New(registrar, &registrar_type);
    if (!r) return NULL;
    r->vectorcall = registrar_call;
    r->emitter = NULL;
    r->name = NULL;
    PyObject_GC_Track(r);
    return r;
}

static PyObject *registrar_new(core_emitter *em, PyObject *name, int priority, unsigned flags) {
    registrar *r = registrar_alloc();
    if (!r) return NULL;
    r->emitter = (core_emitter *)Py_NewRef((PyObject *)em);
    r->name = Py_NewRef(name);
    r->priority = priority;
    r->flags = flags;
    return (PyObject *)r;
}

static int registrar_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(((registrar *)self)->emitter);
    Py_VISIT(((registrar *)self)->name);
    return 0;
}

/* Neither changes in its life, so there is nothing to clear in a cycle: the emitter does. */
static void registrar_dealloc(PyObject *self) {
    registrar *r = (registrar *)self;
    Py_SET_REFCNT(self, 1); /* the collector may see it while it is emptied, which may run anything */
    Py_CLEAR(r->emitter);
    Py_CLEAR(r->name);
    if (likely(spare_count < SPARES_MAX)) {
        spares[spare_count++] = r;
        return;
    }
    PyObject_GC_UnTrack(self);
    Py_SET_REFCNT(self, 0);
    PyObject_GC_Del(self);
}

static PyTypeObject registrar_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "mtaio._core.Registrar",
    .tp_doc = PyDoc_STR("Registers the function it is called with, and returns it: a decorator."),
    .tp_basicsize = sizeof(registrar),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_vectorcall_offset = offsetof(registrar, vectorcall),
    .tp_call = PyVectorcall_Call,
    .tp_dealloc = registrar_dealloc,
    .tp_traverse = registrar_traverse,
};

/* --- The plain calls. NULL without an exception: it is none ------------------------------------- */

/* on(self, name) or on(self, name, handler). */
static PyObject *on_plain(PyObject *const *args, Py_ssize_t count, unsigned flags) {
    core_emitter *em = (core_emitter *)args[0];
    if (count == 2 && PyUnicode_Check(args[1])) return registrar_new(em, args[1], MTAIO_NORMAL, flags);
    return count == 3 && PyFunction_Check(args[2]) ? listen(em, args[1], args[2], MTAIO_NORMAL, flags) : NULL;
}

static PyObject *plain_on(PyObject *const *args, Py_ssize_t count) { return on_plain(args, count, 0); }
static PyObject *plain_once(PyObject *const *args, Py_ssize_t count) {
    return on_plain(args, count, LISTENER_ONCE);
}

static PyObject *plain_add_listener(PyObject *const *args, Py_ssize_t count) {
    if (count != 3 || !core_emitter_of(args[0])) return NULL;
    return (PyObject *)core_listener_new((core_emitter *)args[0], args[1], args[2], MTAIO_NORMAL, 0, true);
}

/* wait_for(self, name). */
static PyObject *plain_wait_for(PyObject *const *args, Py_ssize_t count) {
    return count == 2 ? core_wait_new(args[0], args[1], NULL) : NULL;
}

static const struct plain {
    const char *name;
    PyObject *(*call)(PyObject *const *args, Py_ssize_t count);
} plain_calls[] = {{"on", plain_on},
                   {"once", plain_once},
                   {"add_listener", plain_add_listener},
                   {"wait_for", plain_wait_for}};

/* --- The method -------------------------------------------------------------------------------- */

typedef struct method {
    PyObject_HEAD vectorcallfunc vectorcall;
    PyObject *function;
    const struct plain *plain;
} method;

/* Mostly an EventEmitter, which is derived from ours directly. */
static inline bool is_emitter(PyObject *object) {
    return likely(Py_TYPE(object)->tp_base == &core_emitter_type) ||
           PyObject_TypeCheck(object, &core_emitter_type);
}

static PyObject *method_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names) {
    method *m = (method *)self;
    Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    if (likely(!names) && likely(count > 0) && likely(is_emitter(args[0]))) {
        PyObject *result = m->plain->call(args, count);
        if (result || PyErr_Occurred()) return result;
    }
    return PyObject_Vectorcall(m->function, args, nargsf, names);
}

static PyObject *method_get(PyObject *self, PyObject *object, PyObject *type) {
    (void)type;
    return object && object != Py_None ? PyMethod_New(self, object) : Py_NewRef(self);
}

/* Its name and its like are the function's. */
static PyObject *method_getattr(PyObject *self, PyObject *name) {
    PyObject *value = PyObject_GenericGetAttr(self, name);
    if (value || !PyErr_ExceptionMatches(PyExc_AttributeError)) return value;
    PyErr_Clear();
    return PyObject_GetAttr(((method *)self)->function, name);
}

static PyObject *get_doc(PyObject *self, void *unused) {
    (void)unused;
    return PyObject_GetAttrString(((method *)self)->function, "__doc__");
}

static PyObject *method_repr(PyObject *self) { return PyObject_Repr(((method *)self)->function); }

static int method_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(((method *)self)->function);
    return 0;
}

static int method_clear(PyObject *self) {
    Py_CLEAR(((method *)self)->function);
    return 0;
}

static void method_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    method_clear(self);
    PyObject_GC_Del(self);
}

static PyMemberDef method_members[] = {
    {"__wrapped__", T_OBJECT, offsetof(method, function), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef method_getset[] = {
    {"__doc__", get_doc, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyTypeObject method_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "mtaio._core.Method",
    .tp_basicsize = sizeof(method),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_vectorcall_offset = offsetof(method, vectorcall),
    .tp_call = PyVectorcall_Call,
    .tp_descr_get = method_get,
    .tp_getattro = method_getattr,
    .tp_repr = method_repr,
    .tp_dealloc = method_dealloc,
    .tp_traverse = method_traverse,
    .tp_clear = method_clear,
    .tp_members = method_members,
    .tp_getset = method_getset,
};

/* plainly_in_c(function): the method of this name. */
static PyObject *plainly_in_c(PyObject *module, PyObject *function) {
    (void)module;
    PyObject *name = PyObject_GetAttrString(function, "__name__");
    const struct plain *plain = NULL;
    for (size_t i = 0; name && i < sizeof plain_calls / sizeof *plain_calls; i++)
        if (PyUnicode_CompareWithASCIIString(name, plain_calls[i].name) == 0) plain = &plain_calls[i];
    if (name && !plain) PyErr_Format(PyExc_ValueError, "%R has no form in C", name);
    Py_XDECREF(name);
    method *m = plain ? PyObject_GC_New(method, &method_type) : NULL;
    if (!m) return NULL;
    m->vectorcall = method_call;
    m->function = Py_NewRef(function);
    m->plain = plain;
    PyObject_GC_Track(m);
    return (PyObject *)m;
}

static PyMethodDef functions[] = {
    {"plainly_in_c", plainly_in_c, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int core_add_methods(PyObject *module) {
    if (PyType_Ready(&registrar_type) < 0 || PyType_Ready(&method_type) < 0) return -1;
    return PyModule_AddFunctions(module, functions);
}
