/* emitter.c - emitters: their life, and registering. What only sugars this is in mtaio/events.py. */
#include "emitter.h"

core_emitter *core_emitter_of(PyObject *self) {
    core_emitter *em = (core_emitter *)self;
    if (likely(em->inner != NULL)) return em;
    PyErr_SetString(PyExc_RuntimeError, em->unusual & EMITTER_NEW ? "this emitter's __init__ was never called"
                                                                  : "this emitter is gone");
    return NULL;
}

/* --- Life -------------------------------------------------------------------------------------- */

void core_emitter_grow(core_emitter *em) {
    for (; em && em->population++ == 0 && em->source; em = em->source) {
        em->kept = true;
        Py_INCREF(em);
    }
}

void core_emitter_shrink(core_emitter *em) {
    if (--em->population > 0 || !em->kept) return;
    em->kept = false;
    core_emitter_shrink(em->source);
    Py_DECREF(em);
}

static PyObject *emitter_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)args;
    (void)kwargs;
    core_emitter *em = (core_emitter *)type->tp_alloc(type, 0);
    if (em) em->unusual = EMITTER_NEW;
    return (PyObject *)em;
}

static int emitter_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {NULL};
    core_emitter *em = (core_emitter *)self;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, ":EventEmitter", names)) return -1;
    if (em->inner) return 0;
    int r = mtaio_emitter_new(NULL, &em->inner);
    if (r < 0) {
        core_raise(core.EventError, r, "cannot make an emitter");
        return -1;
    }
    em->unusual = 0;
    return 0;
}

/* For all at once, because the library would have to look for each. */
static void close_emitter(core_emitter *em, bool tell) {
    if (!em->inner || em->unusual & EMITTER_CLOSED) return;
    em->unusual |= EMITTER_CLOSED; /* nothing is registered from now on */
    core_hooks_end(em);
    mtaio_emitter_close(em->inner); /* what rests, is ended */
    while (em->listeners) core_listener_unlink(em->listeners, tell);
    core_emitter_detach(em);
    Py_CLEAR(em->hold);
    core_release_now();
}

static void emitter_finalize(PyObject *self) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    close_emitter((core_emitter *)self, false);
    PyErr_Restore(type, value, traceback);
}

struct visitor {
    visitproc visit;
    void *arg;
    int result;
};

static void visit_gathered(const mtaio_event *event, void *visitor) {
    struct visitor *v = visitor;
    if (v->result == 0) v->result = v->visit(mtaio_event_data(event), v->arg);
}

static int emitter_traverse(PyObject *self, visitproc visit, void *arg) {
    core_emitter *em = (core_emitter *)self;
    struct visitor visitor = {.visit = visit, .arg = arg};
    if (unlikely(em->is_buffer)) mtaio_emitter_each_gathered(em->inner, visit_gathered, &visitor);
    if (visitor.result != 0) return visitor.result;
    for (core_listener *l = em->listeners; l; l = l->next) Py_VISIT(l);
    for (core_emitter *derived = em->first_derived; derived; derived = derived->next_derived)
        if (derived->kept) Py_VISIT(derived);
    if (em->holds_source) Py_VISIT(em->source);
    Py_VISIT(em->function);
    Py_VISIT(em->hold);
    Py_VISIT(em->hooks);
    return 0;
}

static int emitter_clear(PyObject *self) {
    core_emitter *em = (core_emitter *)self;
    mtaio_emitter *inner = em->inner;
    emitter_finalize(self);
    core_names_forget(em);
    em->inner = NULL;
    em->function = NULL;
    mtaio_emitter_unref(inner);
    Py_CLEAR(em->hooks);
    core_release_now();
    return 0;
}

static void emitter_dealloc(PyObject *self) {
    core_emitter *em = (core_emitter *)self;
    PyObject_GC_UnTrack(self);
    if (em->weakrefs) PyObject_ClearWeakRefs(self);
    Py_SET_REFCNT(self, 1); /* what runs now may refer to it for a while */
    emitter_clear(self);
    Py_SET_REFCNT(self, 0);
    Py_TYPE(self)->tp_free(self);
}

/* --- Emitting ---------------------------------------------------------------------------------- */

/* The value of the argument in the given place, by position or by name. */
static PyObject *argument(PyObject *const *args, Py_ssize_t count, PyObject *names, Py_ssize_t place,
                          const char *name) {
    if (place < count) return args[place];
    for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names); i++)
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i), name) == 0) return args[count + i];
    return NULL;
}

static __attribute__((noinline)) PyObject *emit_by_names(PyObject *self, PyObject *const *args,
                                                         Py_ssize_t count, PyObject *names) {
    PyObject *name = argument(args, count, names, 0, "event_name");
    PyObject *data = argument(args, count, names, 1, "data");
    PyObject *metadata = argument(args, count, names, 2, "metadata");
    Py_ssize_t given = count + (names ? PyTuple_GET_SIZE(names) : 0);
    if (!name || !data || given != 2 + (metadata != NULL)) {
        PyErr_SetString(PyExc_TypeError, "emit() takes event_name, data and, optionally, metadata");
        return NULL;
    }
    return core_emission_new((core_emitter *)self, name, data, metadata == Py_None ? NULL : metadata);
}

static PyObject *emitter_emit(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names) {
    if (likely(count == 2) && likely(!names))
        return core_emission_new((core_emitter *)self, args[0], args[1], NULL);
    return emit_by_names(self, args, count, names);
}

/* --- Registering ------------------------------------------------------------------------------- */

/* listen(name, handler, priority, flags, by_handle): registers; a Listener. The priority is EventPriority's
 * value. */
static PyObject *emitter_listen(PyObject *self, PyObject *args) {
    static const int priorities[] = {MTAIO_LOWEST, MTAIO_LOW,     MTAIO_NORMAL,
                                     MTAIO_HIGH,   MTAIO_HIGHEST, MTAIO_MONITOR};
    core_emitter *em = core_emitter_of(self);
    PyObject *name, *handler;
    int priority, by_handle;
    unsigned flags;
    if (!em || !PyArg_ParseTuple(args, "OOiIp", &name, &handler, &priority, &flags, &by_handle)) return NULL;
    if (priority < 1 || priority > 6) {
        PyErr_SetString(PyExc_ValueError, "no such priority");
        return NULL;
    }
    return (PyObject *)core_listener_new(em, name, handler, priorities[priority - 1], flags, by_handle);
}

/* --- Looking ----------------------------------------------------------------------------------- */

static int collect_listener(const mtaio_listener_info *info, void *list) {
    if (!info->call) return 0; /* a pipe */
    return PyList_Append(list, info->ctx) < 0 ? MTAIO_ENOMEM : 0;
}

/* The listeners of a pattern (NULL: all), as a list in the order of registration within each priority. */
static PyObject *listeners_of(core_emitter *em, const char *pattern) {
    PyObject *list = PyList_New(0);
    int r = list ? mtaio_emitter_each_listener(em->inner, pattern, collect_listener, list) : 0;
    if (r < 0) {
        Py_CLEAR(list);
        if (!PyErr_Occurred()) core_raise(core.EventError, r, "cannot look at the listeners");
    }
    return list;
}

/* The pattern that a str or None says; false with an exception. */
static bool pattern_of(PyObject *name, const char **ret) {
    *ret = name == Py_None ? NULL : core_utf8(name, core.EventError);
    return *ret || name == Py_None;
}

static PyObject *emitter_listeners(PyObject *self, PyObject *name) {
    core_emitter *em = core_emitter_of(self);
    const char *pattern;
    if (!em || !pattern_of(name, &pattern)) return NULL;
    PyObject *list = listeners_of(em, pattern);
    for (Py_ssize_t i = 0; list && i < PyList_GET_SIZE(list); i++) {
        PyObject *function = core_listener_function((core_listener *)PyList_GET_ITEM(list, i));
        if (!function || PyList_SetItem(list, i, function) < 0) Py_CLEAR(list);
    }
    return list;
}

static PyObject *emitter_count(PyObject *self, PyObject *name) {
    core_emitter *em = core_emitter_of(self);
    const char *pattern;
    if (!em || !pattern_of(name, &pattern)) return NULL;
    return PyLong_FromSize_t(mtaio_emitter_count(em->inner, pattern));
}

static int collect_name(const char *pattern, size_t count, void *list) {
    (void)count;
    PyObject *name = PyUnicode_FromString(pattern);
    int r = name ? PyList_Append(list, name) : -1;
    Py_XDECREF(name);
    return r < 0 ? MTAIO_ENOMEM : 0;
}

static PyObject *emitter_names(PyObject *self, PyObject *unused) {
    (void)unused;
    core_emitter *em = core_emitter_of(self);
    PyObject *list = em ? PyList_New(0) : NULL;
    if (list && mtaio_emitter_each_name(em->inner, collect_name, list) < 0) {
        Py_CLEAR(list);
        if (!PyErr_Occurred()) PyErr_NoMemory();
    }
    return list;
}

/* How many handlers an emission of the name would call: EventEmitError where it is none. */
static PyObject *emitter_reach(PyObject *self, PyObject *name) {
    core_emitter *em = core_emitter_of(self);
    const char *utf8 = em ? core_utf8(name, core.EventEmitError) : NULL;
    int r = utf8 ? mtaio_emitter_reach(em->inner, utf8) : 0;
    if (r < 0) core_raise(core.EventEmitError, r, "cannot emit %R", name);
    return utf8 && r >= 0 ? PyLong_FromLong(r) : NULL;
}

/* --- Removing ---------------------------------------------------------------------------------- */

/* Whether the listener's handler is the one; -1 with an exception. */
static int is_of(core_listener *l, PyObject *handler) {
    PyObject *function = core_listener_function(l);
    int same = function ? PyObject_RichCompareBool(function, handler, Py_EQ) : -1;
    Py_XDECREF(function);
    return same;
}

/* Those of the list that have this handler; NULL with an exception. */
static PyObject *select_handler(PyObject *list, PyObject *handler) {
    PyObject *selected = PyList_New(0);
    int same = selected ? 0 : -1;
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(list) && same >= 0; i++) {
        core_listener *l = (core_listener *)PyList_GET_ITEM(list, i);
        same = is_of(l, handler);
        if (same > 0 && PyList_Append(selected, (PyObject *)l) < 0) same = -1;
    }
    if (same < 0) Py_CLEAR(selected);
    return selected;
}

/* Can the two be equal, although they are not the same? */
static bool may_equal(const PyObject *a, const PyObject *b) {
    return Py_TYPE(a)->tp_richcompare != PyBaseObject_Type.tp_richcompare ||
           Py_TYPE(b)->tp_richcompare != PyBaseObject_Type.tp_richcompare;
}

static bool may_be_of(const core_listener *l, const PyObject *handler) {
    return l->flags & LISTENER_WRAPPED || l->handler == handler || may_equal(l->handler, handler);
}

#define FEW 32 /* are not worth an index */

/* The listeners of a pattern that may have the handler, the newest last. Where most of the emitter's listen
 * to it, our own list is the shortest way to them. */
static PyObject *candidates(core_emitter *em, PyObject *name, const char *pattern, PyObject *handler) {
    size_t count = mtaio_emitter_count(em->inner, pattern);
    PyObject *list = PyList_New(0);
    int r = list ? 0 : -1;
    struct core_search search;
    bool indexed = list && count > FEW && core_search_begin(&search, em, name, handler);
    if (list && !indexed && em->population / 4 > count) {
        Py_DECREF(list);
        return listeners_of(em, pattern);
    }
    core_listener *l = indexed ? core_search_next(&search) : em->listeners;
    for (; l && r == 0; l = indexed ? core_search_next(&search) : l->next) { /* no Python code runs in this */
        if (l->flags & LISTENER_PIPE || !may_be_of(l, handler)) continue;
        if (l->name == name || strcmp(PyUnicode_AsUTF8(l->name), pattern) == 0)
            r = PyList_Append(list, (PyObject *)l);
    }
    if (r == 0) r = PyList_Reverse(list);
    if (r < 0) Py_CLEAR(list);
    return list;
}

/* Adds the pipes of a pattern (NULL: all), which the library's lists do not tell. */
static int add_pipes(core_emitter *em, const char *pattern, PyObject *list) {
    if (!(em->unusual & EMITTER_KEEPS)) return 0;
    int r = 0;
    for (core_listener *l = em->listeners; l && r == 0; l = l->next)
        if (l->flags & LISTENER_PIPE && (!pattern || strcmp(PyUnicode_AsUTF8(l->name), pattern) == 0))
            r = PyList_Append(list, (PyObject *)l);
    return r;
}

/* Removes those of the list, which are all that there are of the pattern, or not; takes it over. How many. */
static PyObject *remove_list(core_emitter *em, const char *pattern, PyObject *list, bool all) {
    int removed = all ? mtaio_emitter_remove_all(em->inner, pattern) : 0;
    if (removed < 0) removed = 0; /* closed */
    for (Py_ssize_t i = PyList_GET_SIZE(list); i-- > 0;) { /* the newest first: they are found first */
        core_listener *l = (core_listener *)PyList_GET_ITEM(list, i);
        if (all)
            core_listener_unlink(l, true);
        else
            removed += core_listener_remove(l);
    }
    Py_DECREF(list);
    core_release_now();
    return PyLong_FromLong(removed);
}

/* Are these all that there are of the pattern, now? Handlers have been compared since it was read. */
static bool is_whole(const core_emitter *em, const char *pattern, PyObject *list) {
    Py_ssize_t i = PyList_GET_SIZE(list);
    if (em->unusual & EMITTER_KEEPS || mtaio_emitter_count(em->inner, pattern) != (size_t)i) return false;
    while (i > 0 && ((core_listener *)PyList_GET_ITEM(list, i - 1))->emitter) i--;
    return i == 0;
}

static PyObject *emitter_remove(PyObject *self, PyObject *args) {
    core_emitter *em = core_emitter_of(self);
    PyObject *name, *handler;
    const char *pattern;
    if (!em || !PyArg_ParseTuple(args, "UO", &name, &handler) || !pattern_of(name, &pattern)) return NULL;
    PyObject *some = candidates(em, name, pattern, handler);
    PyObject *list = some ? select_handler(some, handler) : NULL;
    Py_XDECREF(some);
    return list ? remove_list(em, pattern, list, is_whole(em, pattern, list)) : NULL;
}

static PyObject *emitter_remove_all(PyObject *self, PyObject *name) {
    core_emitter *em = core_emitter_of(self);
    const char *pattern;
    if (!em || !pattern_of(name, &pattern)) return NULL;
    PyObject *list = listeners_of(em, pattern);
    if (list && add_pipes(em, pattern, list) < 0) Py_CLEAR(list);
    return list ? remove_list(em, pattern, list, true) : NULL;
}

static PyObject *emitter_close(PyObject *self, PyObject *unused) {
    (void)unused;
    core_emitter *em = core_emitter_of(self);
    if (!em) return NULL;
    close_emitter(em, true);
    Py_RETURN_NONE;
}

static PyObject *get_closed(PyObject *self, void *unused) {
    (void)unused;
    const core_emitter *em = (const core_emitter *)self;
    return PyBool_FromLong(em->unusual & EMITTER_CLOSED);
}

/* set_hold(function or None): while there is one, hold(event) tells of each emission whether it is held back.
 */
static PyObject *emitter_set_hold(PyObject *self, PyObject *hold) {
    core_emitter *em = core_emitter_of(self);
    if (!em) return NULL;
    Py_XSETREF(em->hold, hold == Py_None ? NULL : Py_NewRef(hold));
    if (em->hold)
        em->unusual |= EMITTER_HOLDS;
    else
        em->unusual &= ~(unsigned)EMITTER_HOLDS;
    Py_RETURN_NONE;
}

/* set_limit(int): how many listeners a name may have before _passed_limit(name, count) is called. */
static PyObject *emitter_set_limit(PyObject *self, PyObject *limit) {
    Py_ssize_t value = PyLong_AsSsize_t(limit);
    if (value < 0 && !PyErr_Occurred())
        PyErr_SetString(PyExc_ValueError, "max_listeners must not be negative");
    if (value < 0) return NULL;
    ((core_emitter *)self)->limit = (size_t)value;
    Py_RETURN_NONE;
}

/* --- The type ---------------------------------------------------------------------------------- */

static PyGetSetDef emitter_getset[] = {
    {"is_closed", get_closed, NULL, "Whether the emitter is closed.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef emitter_methods[] = {
    {"emit", CORE_METHOD(emitter_emit), METH_FASTCALL | METH_KEYWORDS,
     PyDoc_STR("emit($self, event_name, data, metadata=None)\n--\n\n"
               "Emit an event. To be awaited: that calls the handlers, one after another.\n\n"
               "Args:\n"
               "    event_name: Name of the event\n"
               "    data: Event data\n"
               "    metadata: Optional event metadata\n\n"
               "Raises:\n"
               "    EventHandlerError: handlers failed; all the others have run\n"
               "    EventEmitError: the emission could not be carried out")},
    {"_listen", emitter_listen, METH_VARARGS, NULL},
    {"_listeners", emitter_listeners, METH_O, NULL},
    {"_count", emitter_count, METH_O, NULL},
    {"_names", emitter_names, METH_NOARGS, NULL},
    {"_reach", emitter_reach, METH_O, NULL},
    {"_remove", emitter_remove, METH_VARARGS, NULL},
    {"_remove_all", emitter_remove_all, METH_O, NULL},
    {"_close", emitter_close, METH_NOARGS, NULL},
    {"_set_hold", emitter_set_hold, METH_O, NULL},
    {"_set_limit", emitter_set_limit, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject core_emitter_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "mtaio._core.Emitter",
    .tp_doc = PyDoc_STR("What EventEmitter is made of."),
    .tp_basicsize = sizeof(core_emitter),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    .tp_new = emitter_new,
    .tp_init = emitter_init,
    .tp_finalize = emitter_finalize,
    .tp_dealloc = emitter_dealloc,
    .tp_traverse = emitter_traverse,
    .tp_clear = emitter_clear,
    .tp_getset = emitter_getset,
    .tp_methods = emitter_methods,
    .tp_weaklistoffset = offsetof(core_emitter, weakrefs),
};

int core_add_emitters(PyObject *module) {
    if (PyType_Ready(&core_emitter_type) < 0) return -1;
    return PyModule_AddObjectRef(module, "Emitter", (PyObject *)&core_emitter_type);
}
