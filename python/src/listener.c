/* listener.c - registrations. Most are made by on and once, and nobody ever sees them: they are small. A
 * Listener, which add_listener returns, knows the library's handle, too. */
#include "emitter.h"

#include <structmember.h>

typedef struct held_listener {
    core_listener base;
    mtaio_listener *inner; /* NULL: it was not registered */
} held_listener;

static PyTypeObject registration_type;

#define SPARES_MAX 16
static core_listener *spares[SPARES_MAX]; /* empty, and tracked by the collector all the time */
static unsigned spare_count;

static mtaio_listener *inner_of(const core_listener *l) {
    return l->flags & LISTENER_HELD ? ((const held_listener *)l)->inner : NULL;
}

/* --- The emitter's list ------------------------------------------------------------------------ */

static void link_listener(core_emitter *em, core_listener *l) {
    l->emitter = em;
    l->prev = NULL;
    l->next = em->listeners;
    if (l->next) l->next->prev = l;
    em->listeners = (core_listener *)Py_NewRef((PyObject *)l);
    core_emitter_changed(em);
    core_emitter_grow(em);
}

/* Whoever waits for it is told that somebody else has removed it. */
static void tell_removed(core_listener *l) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *result = PyObject_CallMethod(l->handler, "removed", NULL);
    if (!result) PyErr_WriteUnraisable(l->handler);
    Py_XDECREF(result);
    PyErr_Restore(type, value, traceback);
}

void core_listener_unlink(core_listener *l, bool tell) {
    core_emitter *em = l->emitter;
    if (!em) return;
    if (l->next) l->next->prev = l->prev;
    if (l->prev)
        l->prev->next = l->next;
    else
        em->listeners = l->next;
    l->emitter = NULL;
    l->next = l->prev = NULL;
    if (unlikely(l->place)) core_index_leave(em, l);
    core_emitter_changed(em);
    core_emitter_shrink(em); /* the last: it may be the end of em */
    if (tell && l->flags & LISTENER_TOLD) tell_removed(l);
    Py_DECREF(l);
}

/* --- Registering ------------------------------------------------------------------------------- */

static core_listener *spare_listener(void) {
    while (spare_count > 0) {
        core_listener *l = spares[--spare_count];
        if (likely(Py_REFCNT(l) == 1)) return l;
        Py_DECREF(l); /* somebody has got hold of it, by gc.get_objects() */
    }
    return NULL;
}

static __attribute__((noinline)) core_listener *new_listener(unsigned flags) {
    core_listener *l;
    if (flags & LISTENER_HELD) {
        l = (core_listener *)PyObject_GC_New(held_listener, &core_listener_type);
        if (l) ((held_listener *)l)->inner = NULL;
    } else {
        l = PyObject_GC_New(core_listener, &registration_type);
    }
    if (!l) return NULL;
    l->handler = l->name = NULL;
    l->emitter = NULL;
    l->next = l->prev = NULL;
    l->place = 0;
    PyObject_GC_Track(l);
    return l;
}

static core_listener *listener_alloc(PyObject *name, PyObject *handler, unsigned flags) {
    core_listener *l = flags & LISTENER_HELD ? NULL : spare_listener();
    if (!l && !(l = new_listener(flags))) return NULL;
    l->handler = Py_NewRef(handler);
    l->name = Py_NewRef(name);
    l->flags = flags;
    return l;
}

/* r: what registering answered. */
static core_listener *registered(core_emitter *em, core_listener *l, int r) {
    if (r >= 0) {
        link_listener(em, l);
        return l;
    }
    core_raise(core.EventError, r, "cannot listen to %R", l->name);
    Py_DECREF(l);
    return NULL;
}

/* Whoever looks for leaks is told. He may refuse: then -1 with his exception, and it is gone. */
static __attribute__((noinline)) int check_limit(core_emitter *em, core_listener *l) {
    size_t count = mtaio_emitter_count(em->inner, PyUnicode_AsUTF8(l->name));
    if (count <= em->limit) return 0;
    PyObject *result = PyObject_CallMethod((PyObject *)em, "_passed_limit", "On", l->name, (Py_ssize_t)count);
    Py_XDECREF(result);
    if (result) return 0;
    core_listener_cancel(l);
    Py_DECREF(l);
    return -1;
}

/* With the library, by the name as it was resolved, if it was. */
static int listen(core_emitter *em, core_listener *l, int priority) {
    const struct name_entry *known = core_name_find(em, l->name);
    const mtaio_handler *h =
        MTAIO_HANDLER(.call = core_call_of(l), .ctx = l, .priority = (mtaio_priority)priority,
                      .flags = l->flags & LISTENER_ONCE ? MTAIO_ONCE : 0);
    mtaio_listener **inner = l->flags & LISTENER_HELD ? &((held_listener *)l)->inner : NULL;
    if (likely(known != NULL) && likely(known->resolved != NULL))
        return mtaio_name_on(known->resolved, h, inner);
    return mtaio_emitter_on(em->inner, PyUnicode_AsUTF8(l->name), h, inner);
}

/* by_handle: cancelling then needs to find nothing, and the registration takes some memory more. */
core_listener *core_listener_new(core_emitter *em, PyObject *name, PyObject *handler, int priority,
                                 unsigned flags, bool by_handle) {
    if (!core_name_find(em, name) && !core_utf8(name, core.EventError)) return NULL;
    if (!PyCallable_Check(handler)) {
        PyErr_Format(PyExc_TypeError, "a handler must be callable, not %.100s", Py_TYPE(handler)->tp_name);
        return NULL;
    }
    if (priority == MTAIO_MONITOR) flags |= LISTENER_MONITOR;
    if (by_handle) flags |= LISTENER_HELD;
    core_listener *l = listener_alloc(name, handler, flags);
    if (!l) return NULL;
    int r = em->unusual & EMITTER_CLOSED ? MTAIO_ECLOSED : listen(em, l, priority);
    l = registered(em, l, r);
    return l && em->limit && check_limit(em, l) < 0 ? NULL : l;
}

core_listener *core_listener_pipe(core_emitter *em, PyObject *name, core_emitter *target) {
    const char *utf8 = core_utf8(name, core.EventError);
    core_listener *l = utf8 ? listener_alloc(name, (PyObject *)target, LISTENER_PIPE | LISTENER_HELD) : NULL;
    if (!l) return NULL;
    return registered(em, l,
                      mtaio_emitter_pipe(em->inner, utf8, target->inner, &((held_listener *)l)->inner));
}

/* --- Removing ---------------------------------------------------------------------------------- */

static int remove_listener(core_listener *l, bool tell) {
    if (!l->emitter) return 0;
    Py_INCREF(l);
    mtaio_listener *inner = inner_of(l);
    int r = inner ? mtaio_listener_cancel(inner)
                  : mtaio_off(l->emitter->inner, PyUnicode_AsUTF8(l->name), core_call_of(l), l);
    if (r > 0) core_listener_unlink(l, tell);
    Py_DECREF(l);
    core_release_now();
    return r > 0;
}

int core_listener_cancel(core_listener *l) { return remove_listener(l, false); }

int core_listener_remove(core_listener *l) { return remove_listener(l, true); }

PyObject *core_listener_function(core_listener *l) {
    if (!l->handler) Py_RETURN_NONE;
    return l->flags & LISTENER_WRAPPED ? PyObject_GetAttrString(l->handler, "__wrapped__")
                                       : Py_NewRef(l->handler);
}

/* --- The type ---------------------------------------------------------------------------------- */

static int listener_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(((core_listener *)self)->handler);
    Py_VISIT(((core_listener *)self)->name);
    return 0;
}

/* Where it is still registered, its emitter is garbage too. */
static int listener_clear(PyObject *self) {
    core_listener *l = (core_listener *)self;
    core_listener_cancel(l);
    Py_CLEAR(l->handler);
    return 0;
}

static void listener_dealloc(PyObject *self);

/* With the last reference to the handler other objects may go, and so on: it may be put off. */
static void dealloc_nested(PyObject *self) {
    core_listener *l = (core_listener *)self;
    PyObject_GC_UnTrack(self);
    l->flags |= LISTENER_ENDING;
    Py_TRASHCAN_BEGIN(self, listener_dealloc) mtaio_listener_unref(inner_of(l));
    Py_CLEAR(l->handler);
    Py_CLEAR(l->name);
    if (spare_count < SPARES_MAX && !(l->flags & LISTENER_HELD)) {
        Py_SET_REFCNT(self, 1);
        PyObject_GC_Track(self);
        spares[spare_count++] = l;
    } else {
        PyObject_GC_Del(self);
    }
    Py_TRASHCAN_END
}

static void listener_dealloc(PyObject *self) {
    core_listener *l = (core_listener *)self;
    bool lives_on = l->handler && Py_REFCNT(l->handler) > 1; /* the handler: as a rule */
    if (!lives_on || l->flags & (LISTENER_HELD | LISTENER_ENDING) || spare_count == SPARES_MAX) {
        dealloc_nested(self);
        return;
    }
    Py_SET_REFCNT(self, 1); /* the collector may see it while it is emptied */
    Py_CLEAR(l->handler);
    Py_CLEAR(l->name);
    if (likely(spare_count < SPARES_MAX))
        spares[spare_count++] = l;
    else
        Py_DECREF(self);
}

static PyObject *listener_cancel(PyObject *self, PyObject *unused) {
    (void)unused;
    return PyBool_FromLong(core_listener_cancel((core_listener *)self));
}

static PyObject *listener_exit(PyObject *self, PyObject *args) {
    (void)args;
    core_listener_cancel((core_listener *)self);
    Py_RETURN_NONE;
}

static PyObject *listener_enter(PyObject *self, PyObject *unused) {
    (void)unused;
    return Py_NewRef(self);
}

static PyObject *get_handler(PyObject *self, void *unused) {
    (void)unused;
    return core_listener_function((core_listener *)self);
}

static PyObject *get_active(PyObject *self, void *unused) {
    (void)unused;
    const core_listener *l = (const core_listener *)self;
    return PyBool_FromLong(l->emitter && (!inner_of(l) || mtaio_listener_is_active(inner_of(l))));
}

static PyObject *listener_repr(PyObject *self) {
    const core_listener *l = (const core_listener *)self;
    if (!l->name) return PyUnicode_FromString("<listener that was used up>");
    return PyUnicode_FromFormat("<%slistener to %R: %R>", l->emitter ? "" : "removed ", l->name, l->handler);
}

static PyMemberDef listener_members[] = {
    {"event_name", T_OBJECT, offsetof(core_listener, name), READONLY, "The name or pattern it listens to."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef listener_getset[] = {
    {"handler", get_handler, NULL, "The handler; None for one held weakly that is gone.", NULL},
    {"active", get_active, NULL, "Whether it is still registered.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef listener_methods[] = {
    {"cancel", listener_cancel, METH_NOARGS,
     PyDoc_STR("cancel($self, /)\n--\n\nRemove just this registration. Returns whether it was there.")},
    {"__enter__", listener_enter, METH_NOARGS, NULL},
    {"__exit__", listener_exit, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyTypeObject registration_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "mtaio._core.Registration",
    .tp_doc = PyDoc_STR("A registration."),
    .tp_basicsize = sizeof(core_listener),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = listener_dealloc,
    .tp_traverse = listener_traverse,
    .tp_clear = listener_clear,
    .tp_repr = listener_repr,
    .tp_members = listener_members,
    .tp_getset = listener_getset,
    .tp_methods = listener_methods,
};

PyTypeObject core_listener_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "mtaio.events.Listener",
    .tp_doc =
        PyDoc_STR("A registration, as add_listener returns it. In a with statement it ends with the block."),
    .tp_basicsize = sizeof(held_listener),
    .tp_base = &registration_type,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = listener_dealloc,
    .tp_traverse = listener_traverse,
    .tp_clear = listener_clear,
};

int core_add_listeners(PyObject *module) {
    if (PyType_Ready(&registration_type) < 0 || PyType_Ready(&core_listener_type) < 0) return -1;
    return PyModule_AddObjectRef(module, "Listener", (PyObject *)&core_listener_type);
}
