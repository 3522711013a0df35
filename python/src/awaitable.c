/* awaitable.c - what emit returns: a coroutine in every way but the type. What it does is in emission.c. */
#include "batch.h"
#include "coroutine.h"

#define SPARES_MAX 32
static core_emission *spares[SPARES_MAX]; /* over, empty, and tracked by the garbage collector all the time */
static unsigned spare_count;

/* --- Making ------------------------------------------------------------------------------------ */

static inline core_emission *spare_emission(void) {
    while (likely(spare_count > 0)) {
        core_emission *spare = spares[--spare_count];
        if (likely(Py_REFCNT(spare) == 1)) return spare;
        Py_DECREF(spare); /* somebody has got hold of it, by gc.get_objects() */
    }
    return NULL;
}

static core_emission *emission_alloc(void) {
    core_emission *e = PyObject_GC_New(core_emission, &core_emission_type);
    if (!e) return NULL;
    memset((char *)e + sizeof(PyObject), 0, sizeof *e - sizeof(PyObject));
    e->state = EMISSION_OVER;
    PyObject_GC_Track(e);
    return e;
}

/* A spare one begins anew: tracemalloc is to know where. */
static inline PyObject *renew(core_emission *e) { return PyObject_Init((PyObject *)e, &core_emission_type); }

static inline void fill(core_emission *e, core_emitter *em) {
    e->emitter = (core_emitter *)Py_NewRef((PyObject *)em);
    e->state = EMISSION_NEW;
    e->over = false;
}

static inline void fill_event(core_emission *e, core_emitter *em, PyObject *name, PyObject *data,
                              PyObject *metadata) {
    fill(e, em);
    e->name = Py_NewRef(name);
    e->data = Py_NewRef(data);
    if (metadata) e->metadata = Py_NewRef(metadata);
}

static __attribute__((noinline)) PyObject *alloc_event(core_emitter *em, PyObject *name, PyObject *data,
                                                       PyObject *metadata) {
    core_emission *e = emission_alloc();
    if (e) fill_event(e, em, name, data, metadata);
    return (PyObject *)e;
}

/* The only call comes last: nothing has to be saved for what comes after it. */
PyObject *core_emission_new(core_emitter *em, PyObject *name, PyObject *data, PyObject *metadata) {
    core_emission *e = spare_emission();
    if (unlikely(!e)) return alloc_event(em, name, data, metadata);
    fill_event(e, em, name, data, metadata);
    return renew(e);
}

PyObject *core_emission_of_batch(core_emitter *em, core_batch *batch) {
    core_emission *spare = spare_emission(), *e = spare ? spare : emission_alloc();
    if (!e) return NULL;
    fill(e, em);
    e->batch = (core_batch *)Py_XNewRef((PyObject *)batch);
    return spare ? renew(e) : (PyObject *)e;
}

/* --- The protocol of coroutines ---------------------------------------------------------------- */

static PySendResult refuse(const core_emission *e) {
    return core_coroutine_refuse(e->state == EMISSION_RUNNING);
}

/* Known to call nobody, as names are that nobody listens to. */
static inline bool is_idle(const core_emission *e) {
    const core_emitter *em = e->emitter;
    const struct name_entry *entry = e->name ? core_name_find(em, e->name) : NULL;
    return entry && core_name_is_idle(em, entry) && !core.open_batches && !em->unusual;
}

static PySendResult emission_send(PyObject *self, PyObject *arg, PyObject **ret) {
    core_emission *e = (core_emission *)self;
    *ret = NULL;
    if (likely(e->state == EMISSION_NEW)) {
        if (unlikely(arg != Py_None)) return core_coroutine_refuse_value();
        return is_idle(e) ? core_emission_pass(e, ret) : core_emission_begin(e, ret);
    }
    return e->state == EMISSION_RESTING ? core_emission_resume(e, arg, ret) : refuse(e);
}

static PyObject *send_method(PyObject *self, PyObject *arg) {
    PyObject *value;
    PySendResult status = emission_send(self, arg, &value);
    return core_coroutine_sent(status, value);
}

static PyObject *emission_next(PyObject *self) { return send_method(self, Py_None); }

static PyObject *emission_await(PyObject *self) {
    const core_emission *e = (const core_emission *)self;
    if (likely(e->state == EMISSION_NEW)) return Py_NewRef(self);
    if (e->state == EMISSION_OVER)
        core_coroutine_refuse(false);
    else
        PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
    return NULL;
}

/* Throws into what the running handler awaits. */
static PySendResult throw_into(PyObject *coroutine, PyObject *const *args, Py_ssize_t count, PyObject **ret) {
    PyObject *method = PyObject_GetAttrString(coroutine, "throw");
    *ret = NULL;
    if (!method) {
        if (!PyErr_ExceptionMatches(PyExc_AttributeError)) return PYGEN_ERROR;
        PyErr_Clear();
        core_coroutine_raise(args, count);
        return PYGEN_ERROR;
    }
    *ret = PyObject_Vectorcall(method, args, (size_t)count, NULL);
    Py_DECREF(method);
    if (*ret) return PYGEN_NEXT;
    if (!PyErr_ExceptionMatches(PyExc_StopIteration)) return PYGEN_ERROR;
    PyErr_Clear(); /* what a handler returns is of no interest */
    *ret = Py_NewRef(Py_None);
    return PYGEN_RETURN;
}

static PyObject *throw_method(PyObject *self, PyObject *const *args, Py_ssize_t count) {
    core_emission *e = (core_emission *)self;
    PyObject *value = NULL, *result = NULL;
    if (e->state == EMISSION_RUNNING || e->state == EMISSION_OVER) {
        refuse(e);
        return NULL;
    }
    if (!e->coroutine) { /* not begun, or nothing of ours is suspended */
        core_emission_end(e);
        core_coroutine_raise(args, count);
        return NULL;
    }
    e->state = EMISSION_RUNNING;
    PySendResult status = throw_into(e->coroutine, args, count, &value);
    status = core_emission_answered(e, status, value, &result);
    return core_coroutine_sent(status, result);
}

static PyObject *close_method(PyObject *self, PyObject *unused) {
    (void)unused;
    core_emission *e = (core_emission *)self;
    if (e->state == EMISSION_RUNNING) refuse(e);
    if (e->state == EMISSION_RUNNING || core_emission_end(e) < 0) return NULL;
    Py_RETURN_NONE;
}

/* --- The end ----------------------------------------------------------------------------------- */

static void warn_never_awaited(core_emission *e) {
    PyObject *text =
        e->name ? PyUnicode_FromFormat("coroutine 'EventEmitter.emit' of event %R was never awaited", e->name)
        : e->batch ? PyUnicode_FromString("coroutine that ends a batch was never awaited")
                   : PyUnicode_FromString("coroutine 'EventEmitter.flush' was never awaited");
    core_coroutine_warn((PyObject *)e, text);
}

static void emission_finalize(PyObject *self) {
    core_emission *e = (core_emission *)self;
    e->finalized = true;
    if (e->state == EMISSION_OVER) return;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (e->state == EMISSION_NEW) warn_never_awaited(e);
    if (core_emission_end(e) < 0) PyErr_WriteUnraisable(self);
    PyErr_Restore(type, value, traceback);
}

static int emission_traverse(PyObject *self, visitproc visit, void *arg) {
    core_emission *e = (core_emission *)self;
    Py_VISIT(e->emitter);
    Py_VISIT(e->data);
    Py_VISIT(e->metadata);
    Py_VISIT(e->event);
    Py_VISIT(e->batch);
    Py_VISIT(e->coroutine);
    Py_VISIT(e->yielded);
    Py_VISIT(e->listener);
    Py_VISIT(e->shown);
    Py_VISIT(e->late);
    Py_VISIT(e->late_shown);
    Py_VISIT(e->errors);
    Py_VISIT(e->raised);
    return 0;
}

/* After finalizing: it is over, and nothing else is left. */
static int emission_clear(PyObject *self) {
    core_emission *e = (core_emission *)self;
    Py_CLEAR(e->emitter);
    Py_CLEAR(e->name);
    return 0;
}

static __attribute__((noinline)) void dealloc_for_good(PyObject *self) {
    core_emission *e = (core_emission *)self;
    if (e->state != EMISSION_OVER && PyObject_CallFinalizerFromDealloc(self) < 0) return;
    PyObject_GC_UnTrack(self);
    if (e->weakrefs) PyObject_ClearWeakRefs(self);
    Py_SET_REFCNT(self, 1); /* what runs now may refer to it for a while */
    emission_clear(self);
    Py_SET_REFCNT(self, 0);
    PyObject_GC_Del(self);
}

/* One that was finalized would not be again, and what is weakly referred to has to be new. */
static void emission_dealloc(PyObject *self) {
    core_emission *e = (core_emission *)self;
    if (unlikely(e->state != EMISSION_OVER) || unlikely(e->finalized) || unlikely(e->weakrefs != NULL) ||
        unlikely(spare_count == SPARES_MAX)) {
        dealloc_for_good(self);
        return;
    }
    Py_SET_REFCNT(self, 1); /* the collector may see it while it is emptied, which may run anything */
    emission_clear(self);
    if (likely(spare_count < SPARES_MAX))
        spares[spare_count++] = e;
    else
        Py_DECREF(self);
}

/* --- The type ---------------------------------------------------------------------------------- */

static PyObject *emission_repr(PyObject *self) {
    static const char *const states[] = {"not begun", "running", "suspended", "over"};
    const core_emission *e = (const core_emission *)self;
    if (!e->name) return PyUnicode_FromFormat("<emission of a batch, %s, at %p>", states[e->state], self);
    return PyUnicode_FromFormat("<emission EventEmitter.emit of %R, %s, at %p>", e->name, states[e->state],
                                self);
}

static PyObject *get_running(PyObject *self, void *unused) {
    (void)unused;
    return PyBool_FromLong(((core_emission *)self)->state == EMISSION_RUNNING);
}

static PyObject *get_suspended(PyObject *self, void *unused) {
    (void)unused;
    return PyBool_FromLong(((core_emission *)self)->state == EMISSION_RESTING);
}

static PyObject *get_await(PyObject *self, void *unused) {
    (void)unused;
    PyObject *coroutine = ((core_emission *)self)->coroutine;
    return Py_NewRef(coroutine ? coroutine : Py_None);
}

/* There is no frame of its own: that of the handler's coroutine stands for it. */
static PyObject *get_frame(PyObject *self, void *unused) {
    (void)unused;
    PyObject *coroutine = ((core_emission *)self)->coroutine;
    if (coroutine && PyCoro_CheckExact(coroutine)) return PyObject_GetAttrString(coroutine, "cr_frame");
    Py_RETURN_NONE;
}

static PyObject *get_none(PyObject *self, void *unused) {
    (void)self;
    (void)unused;
    Py_RETURN_NONE;
}

static PyObject *get_name(PyObject *self, void *name) {
    (void)self;
    return PyUnicode_FromString(name);
}

static PyGetSetDef emission_getset[] = {
    {"cr_running", get_running, NULL, NULL, NULL},
    {"cr_suspended", get_suspended, NULL, NULL, NULL},
    {"cr_await", get_await, NULL, "The coroutine of the handler that is suspended.", NULL},
    {"cr_frame", get_frame, NULL, "The frame of that coroutine.", NULL},
    {"cr_code", get_none, NULL, NULL, NULL},
    {"cr_origin", get_none, NULL, NULL, NULL},
    {"__name__", get_name, NULL, NULL, "emit"},
    {"__qualname__", get_name, NULL, NULL, "EventEmitter.emit"},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef emission_methods[] = {
    {"send", send_method, METH_O, NULL},
    {"throw", CORE_METHOD(throw_method), METH_FASTCALL, NULL},
    {"close", close_method, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyAsyncMethods emission_async = {.am_await = emission_await, .am_send = emission_send};

PyTypeObject core_emission_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "mtaio._core.Emission",
    .tp_doc = PyDoc_STR("What emit returns, to be awaited: a coroutine."),
    .tp_basicsize = sizeof(core_emission),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_as_async = &emission_async,
    .tp_iternext = emission_next,
    .tp_finalize = emission_finalize,
    .tp_dealloc = emission_dealloc,
    .tp_traverse = emission_traverse,
    .tp_clear = emission_clear,
    .tp_repr = emission_repr,
    .tp_getset = emission_getset,
    .tp_methods = emission_methods,
    .tp_weaklistoffset = offsetof(core_emission, weakrefs),
};

int core_add_emissions(PyObject *module) {
    if (PyType_Ready(&core_emission_type) < 0 || core_coroutine_register(&core_emission_type) < 0) return -1;
    return PyModule_AddObjectRef(module, "Emission", (PyObject *)&core_emission_type);
}
