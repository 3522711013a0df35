/* hooks.c - functions around every emission of an emitter. The library has one hook for each emitter that has
 * any. */
#include "batch.h"

/* Calls the functions of a kind with the event and the exception, if there is one. What they raise changes
 * nothing. */
static void call_hooks(core_emitter *em, const char *kind, const mtaio_event *event, PyObject *exception) {
    core_event *shown = mtaio_event_data(event);
    PyObject *hooks = em->hooks ? PyList_AsTuple(em->hooks) : NULL;
    shown = shown ? (core_event *)Py_NewRef((PyObject *)shown) : core_batch_event(event);
    for (Py_ssize_t i = 0; hooks && shown && i < PyTuple_GET_SIZE(hooks); i++) {
        PyObject *hook = PyTuple_GET_ITEM(hooks, i), *function = PyTuple_GET_ITEM(hook, 1);
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(hook, 0), kind) != 0) continue;
        PyObject *result = PyObject_CallFunctionObjArgs(function, shown, exception, NULL);
        if (!result) PyErr_WriteUnraisable(function);
        Py_XDECREF(result);
    }
    if (PyErr_Occurred()) PyErr_WriteUnraisable((PyObject *)em);
    Py_XDECREF(hooks);
    Py_XDECREF(shown);
}

static void before(const mtaio_event *event, void *ctx) { call_hooks(ctx, "before_emit", event, NULL); }

static void after(const mtaio_event *event, const mtaio_report *report, int64_t duration_ns, void *ctx) {
    (void)report;
    (void)duration_ns;
    call_hooks(ctx, "after_emit", event, NULL);
}

/* The newest of the emission's failures, if it is a Python exception; else what the library says. */
static PyObject *exception_of(const mtaio_failure *failure) {
    const core_emission *e = mtaio_event_ctx(failure->event);
    Py_ssize_t count = e && e->errors && failure->status == MTAIO_EHANDLER ? PyList_GET_SIZE(e->errors) : 0;
    if (count == 0) return core_error_new(core.EventEmitError, failure->status);
    return Py_NewRef(PyTuple_GET_ITEM(PyList_GET_ITEM(e->errors, count - 1), 1));
}

static void failed(const mtaio_failure *failure, void *ctx) {
    struct core_raised raised = core_raised_swap((struct core_raised){0});
    PyObject *exception = raised.exception ? Py_NewRef(raised.exception) : exception_of(failure);
    if (exception)
        call_hooks(ctx, "on_error", failure->event, exception);
    else
        PyErr_WriteUnraisable(ctx);
    Py_XDECREF(exception);
    core_raised_swap(raised);
}

void core_hooks_end(core_emitter *em) {
    mtaio_listener *hook = em->hook;
    em->hook = NULL;
    if (hook) mtaio_listener_cancel(hook);
    mtaio_listener_unref(hook);
}

/* set_hooks(emitter, list of (kind, function)): these from now on. The list is used as it is. */
static PyObject *set_hooks(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *emitter, *list;
    if (!PyArg_ParseTuple(args, "O!O!", &core_emitter_type, &emitter, &PyList_Type, &list)) return NULL;
    core_emitter *em = core_emitter_of(emitter);
    if (!em) return NULL;
    bool any = PyList_GET_SIZE(list) > 0;
    int r = any && !em->hook
                ? mtaio_emitter_hook(em->inner,
                                     MTAIO_HOOK(.before = before, .after = after, .error = failed, .ctx = em),
                                     &em->hook)
                : 0;
    if (r < 0) return core_raise(core.EventError, r, "cannot add a hook");
    if (!any) core_hooks_end(em);
    Py_XSETREF(em->hooks, Py_NewRef(list));
    core_emitter_changed(em);
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"set_hooks", set_hooks, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

int core_add_hooks(PyObject *module) { return PyModule_AddFunctions(module, functions); }
