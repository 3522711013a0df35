/* derived.c - filters, maps, buffers and pipes.
 *
 * The functions derive(emitter, source, ...) make a fresh, uninitialised emitter the derived one: so what is
 * derived is of the class that Python code chooses. */
#include "emitter.h"

static bool is_derived(const core_emitter *em) { return em->source != NULL; }

static void attach(core_emitter *em, core_emitter *source, mtaio_emitter *inner) {
    em->inner = inner;
    em->unusual = 0;
    em->limit = source->limit;
    em->source = source;
    em->holds_source = is_derived(source);
    if (em->holds_source) Py_INCREF(source);
    em->next_derived = source->first_derived;
    em->prev_derived = NULL;
    if (em->next_derived) em->next_derived->prev_derived = em;
    source->first_derived = em;
    core_emitter_changed(source);
}

static void detach_from_source(core_emitter *em) {
    core_emitter *source = em->source;
    if (!source) return;
    Py_INCREF(source);
    if (em->next_derived) em->next_derived->prev_derived = em->prev_derived;
    if (em->prev_derived)
        em->prev_derived->next_derived = em->next_derived;
    else
        source->first_derived = em->next_derived;
    em->next_derived = em->prev_derived = NULL;
    em->source = NULL;
    core_emitter_changed(source);
    if (em->holds_source) Py_DECREF(source);
    em->holds_source = false;
    if (em->kept) {
        em->kept = false;
        core_emitter_shrink(source);
        Py_DECREF(em);
    }
    Py_DECREF(source);
}

void core_emitter_detach(core_emitter *em) {
    Py_INCREF(em);
    while (em->first_derived) {
        core_emitter *derived = (core_emitter *)Py_NewRef((PyObject *)em->first_derived);
        detach_from_source(derived);
        Py_DECREF(derived);
    }
    detach_from_source(em);
    Py_DECREF(em);
}

/* --- Deriving ---------------------------------------------------------------------------------- */

/* The parts that all of them have: a fresh emitter, its source, and a pattern, NULL for None. False with an
 * exception. */
static bool parse(PyObject *args, core_emitter **ret_em, core_emitter **ret_source, PyObject **ret_what,
                  const char **ret_pattern) {
    PyObject *em, *source, *what, *name;
    if (!PyArg_ParseTuple(args, "O!O!OO", &core_emitter_type, &em, &core_emitter_type, &source, &what, &name))
        return false;
    *ret_em = (core_emitter *)em;
    *ret_source = core_emitter_of(source);
    *ret_what = what;
    *ret_pattern = name == Py_None ? NULL : core_utf8(name, core.EventError);
    if ((*ret_em)->inner) {
        PyErr_SetString(PyExc_ValueError, "this emitter is in use already");
        return false;
    }
    return *ret_source && (*ret_pattern || name == Py_None);
}

static PyObject *derived(core_emitter *em, core_emitter *source, int r, mtaio_emitter *inner) {
    core_release_now();
    if (r < 0) return core_raise(core.EventError, r, "cannot derive an emitter");
    attach(em, source, inner);
    Py_RETURN_NONE;
}

static bool check_function(PyObject *function) {
    if (!PyCallable_Check(function))
        PyErr_Format(PyExc_TypeError, "a function is needed, not %.100s", Py_TYPE(function)->tp_name);
    return !PyErr_Occurred();
}

/* From now on what is emitted there, or comes through there, may be kept beyond its emission. */
static void will_keep(core_emitter *em) {
    for (; em; em = em->source) em->unusual |= EMITTER_KEEPS;
}

static PyObject *filter(PyObject *module, PyObject *args) {
    (void)module;
    core_emitter *em, *source;
    PyObject *function;
    const char *pattern;
    if (!parse(args, &em, &source, &function, &pattern) || !check_function(function)) return NULL;
    mtaio_emitter *inner = NULL;
    int r = mtaio_emitter_filter(
        source->inner, pattern,
        MTAIO_FILTER(.call = core_filter_call, .destroy = core_release_later, .ctx = Py_NewRef(function)),
        &inner);
    if (r == 0) em->function = function;
    return derived(em, source, r, inner);
}

static PyObject *map(PyObject *module, PyObject *args) {
    (void)module;
    core_emitter *em, *source;
    PyObject *function;
    const char *pattern;
    if (!parse(args, &em, &source, &function, &pattern) || !check_function(function)) return NULL;
    mtaio_emitter *inner = NULL;
    int r = mtaio_emitter_map(
        source->inner, pattern,
        MTAIO_MAP(.call = core_map_call, .destroy = core_release_later, .ctx = Py_NewRef(function)), &inner);
    if (r == 0) em->function = function;
    return derived(em, source, r, inner);
}

static PyObject *buffer(PyObject *module, PyObject *args) {
    (void)module;
    core_emitter *em, *source;
    PyObject *size;
    const char *pattern;
    if (!parse(args, &em, &source, &size, &pattern)) return NULL;
    size_t n = PyLong_AsSize_t(size);
    if (n == (size_t)-1 && PyErr_Occurred()) return NULL;
    if (n == 0) return PyErr_Format(PyExc_ValueError, "a buffer gathers one event or more");
    mtaio_emitter *inner = NULL;
    int r = mtaio_emitter_buffer(source->inner, pattern, n, &inner);
    if (r == 0) {
        em->is_buffer = true;
        will_keep(source);
    }
    return derived(em, source, r, inner);
}

/* flush(emitter): the awaitable that passes on what it has gathered. */
static PyObject *flush(PyObject *module, PyObject *emitter) {
    (void)module;
    if (PyObject_TypeCheck(emitter, &core_emitter_type) && ((core_emitter *)emitter)->is_buffer)
        return core_emission_of_batch((core_emitter *)emitter, NULL);
    return PyErr_Format(core.EventError, "%R is no buffer, and has nothing to flush", emitter);
}

/* pipe(source, target, pattern): a Listener. */
static PyObject *pipe_to(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *source, *target, *name;
    if (!PyArg_ParseTuple(args, "O!O!O", &core_emitter_type, &source, &core_emitter_type, &target, &name))
        return NULL;
    if (!core_emitter_of(source) || !core_emitter_of(target)) return NULL;
    if (source == target) return PyErr_Format(PyExc_ValueError, "an emitter cannot be piped to itself");
    will_keep((core_emitter *)source); /* behind the target there may be a buffer */
    return (PyObject *)core_listener_pipe((core_emitter *)source, name, (core_emitter *)target);
}

static PyMethodDef functions[] = {
    {"filter", filter, METH_VARARGS, NULL}, {"map", map, METH_VARARGS, NULL},
    {"buffer", buffer, METH_VARARGS, NULL}, {"flush", flush, METH_O, NULL},
    {"pipe", pipe_to, METH_VARARGS, NULL},  {NULL, NULL, 0, NULL},
};

int core_add_derived(PyObject *module) { return PyModule_AddFunctions(module, functions); }
