/* wait.c - wait_for: an operation, as those of channels are, that is woken by a handler of its own. */
#include "channels.h"
#include "emitter.h"

/* What the operation has as its argument, and the emitter as the handler. */
typedef struct wait {
    PyObject_HEAD vectorcallfunc vectorcall;
    PyObject *name, *check; /* check: NULL for none */
    core_listener *listener;
    core_operation *operation; /* borrowed; NULL: it waits no more */
    PyObject *event;           /* the one that it waited for, or NULL */
    bool is_removed;           /* somebody else has removed the listener */
} wait;

static PyTypeObject wait_type;

#define SPARES_MAX 16
static wait *spares[SPARES_MAX]; /* memory */
static unsigned spare_count;

/* --- As a handler ------------------------------------------------------------------------------ */

/* 1: it is the event. */
static int is_the_one(wait *w, PyObject *event) {
    if (!w->operation || w->event) return 0;
    if (!w->check) return 1;
    PyObject *check = Py_NewRef(w->check), *answer = PyObject_CallOneArg(check, event);
    int truth = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    Py_DECREF(check);
    return truth > 0 ? w->operation && !w->event : truth;
}

static PyObject *wait_call(PyObject *self, PyObject *const *args, size_t nargsf, PyObject *names) {
    wait *w = (wait *)self;
    if (PyVectorcall_NARGS(nargsf) != 1 || names)
        return PyErr_Format(PyExc_TypeError, "a handler takes one event");
    int found = is_the_one(w, args[0]);
    if (found < 0) return NULL;
    if (found) {
        w->event = Py_NewRef(args[0]);
        core_sleeper_wake(&w->operation->sleeper);
    }
    Py_RETURN_NONE;
}

/* The emitter is closed, or its listeners were removed. */
static PyObject *wait_removed(PyObject *self, PyObject *unused) {
    (void)unused;
    wait *w = (wait *)self;
    w->is_removed = true;
    if (w->operation) core_sleeper_wake(&w->operation->sleeper);
    Py_RETURN_NONE;
}

/* --- As an operation --------------------------------------------------------------------------- */

static PySendResult attempt(core_operation *op, PyObject **ret) {
    wait *w = (wait *)op->argument;
    if (w->event) {
        *ret = Py_NewRef(w->event);
        return PYGEN_RETURN;
    }
    if (w->is_removed)
        PyErr_Format(core.EventError, "waiting for %R: the emitter was closed, or its listeners were removed",
                     w->name);
    else if (op->expired)
        PyErr_Format(core.EventTimeoutError, "no event %R came in time", w->name);
    return PyErr_Occurred() ? PYGEN_ERROR : PYGEN_NEXT;
}

/* The first event is the one, unless it is to be checked: so that nobody has to look for the listener. */
static int begin(core_operation *op) {
    wait *w = (wait *)op->argument;
    core_emitter *em = core_emitter_of(op->target);
    if (!em || w->listener) return em ? 0 : -1;
    w->operation = op;
    unsigned flags = LISTENER_TOLD | (w->check ? 0 : LISTENER_ONCE);
    w->listener = core_listener_new(em, w->name, (PyObject *)w, MTAIO_NORMAL, flags, w->check != NULL);
    return w->listener ? 0 : -1;
}

static void leave(core_operation *op) {
    wait *w = (wait *)op->argument;
    core_listener *l = w->listener;
    w->operation = NULL;
    w->listener = NULL;
    if (!l) return;
    core_listener_cancel(l);
    Py_DECREF(l);
}

static const struct verb verb = {
    .name = "EventEmitter.wait_for", .attempt = attempt, .wait = begin, .leave = leave};

PyObject *core_wait_new(PyObject *emitter, PyObject *name, PyObject *check) {
    wait *w = spare_count > 0 ? (wait *)PyObject_Init((PyObject *)spares[--spare_count], &wait_type)
                              : PyObject_GC_New(wait, &wait_type);
    if (!w) return NULL;
    w->vectorcall = wait_call;
    w->name = Py_NewRef(name);
    w->check = Py_XNewRef(check);
    w->listener = NULL;
    w->operation = NULL;
    w->event = NULL;
    w->is_removed = false;
    PyObject_GC_Track(w);
    return core_operation_new(&verb, emitter, (PyObject *)w);
}

/* wait_for(emitter, name, timeout, check) */
static PyObject *wait_for(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *emitter, *name, *timeout, *check;
    int64_t ns;
    if (!PyArg_ParseTuple(args, "O!OOO", &core_emitter_type, &emitter, &name, &timeout, &check)) return NULL;
    if (!core_timeout(timeout, &ns)) return NULL;
    PyObject *op = core_wait_new(emitter, name, check == Py_None ? NULL : check);
    if (op) core_operation_limit(op, ns);
    return op;
}

/* --- The type ---------------------------------------------------------------------------------- */

static int wait_traverse(PyObject *self, visitproc visit, void *arg) {
    wait *w = (wait *)self;
    Py_VISIT(w->name);
    Py_VISIT(w->check);
    Py_VISIT(w->listener);
    Py_VISIT(w->event);
    return 0;
}

static int wait_clear(PyObject *self) {
    wait *w = (wait *)self;
    Py_CLEAR(w->check);
    Py_CLEAR(w->listener);
    Py_CLEAR(w->event);
    return 0;
}

static void wait_dealloc(PyObject *self) {
    PyObject_GC_UnTrack(self);
    wait_clear(self);
    Py_DECREF(((wait *)self)->name);
    if (spare_count < SPARES_MAX)
        spares[spare_count++] = (wait *)self;
    else
        PyObject_GC_Del(self);
}

static PyObject *wait_repr(PyObject *self) {
    return PyUnicode_FromFormat("<wait_for(%R)>", ((wait *)self)->name);
}

static PyMethodDef wait_methods[] = {
    {"removed", wait_removed, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject wait_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "mtaio._core.Wait",
    .tp_doc = PyDoc_STR("The handler by which wait_for waits."),
    .tp_basicsize = sizeof(wait),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_vectorcall_offset = offsetof(wait, vectorcall),
    .tp_call = PyVectorcall_Call,
    .tp_repr = wait_repr,
    .tp_dealloc = wait_dealloc,
    .tp_traverse = wait_traverse,
    .tp_clear = wait_clear,
    .tp_methods = wait_methods,
};

static PyMethodDef functions[] = {
    {"wait_for", wait_for, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int core_add_waits(PyObject *module) {
    if (PyType_Ready(&wait_type) < 0) return -1;
    return PyModule_AddFunctions(module, functions);
}
