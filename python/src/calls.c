/* calls.c - what the library calls: handlers, predicates and transforms, and the news of an emission. */
#include "batch.h"

/* What a handler's status is where a Python exception says what happened. */
#define FAILED MTAIO_EHANDLER

/* --- Failures ---------------------------------------------------------------------------------- */

/* One more (handler, exception), which is taken over; handler may be NULL. */
static void add_failure(core_emission *e, PyObject *handler, PyObject *exception) {
    PyObject *pair = exception ? PyTuple_Pack(2, handler ? handler : Py_None, exception) : NULL;
    Py_XDECREF(exception);
    if (!e->errors) e->errors = PyList_New(0);
    if (!pair || !e->errors || PyList_Append(e->errors, pair) < 0) {
        PyObject *no_memory = core_take_error();
        Py_XSETREF(e->raised, no_memory);
    }
    Py_XDECREF(pair);
}

/* Takes over the exception. One that is no Exception ends the emission, and passes through. */
static int fail(core_emission *e, const mtaio_event *event, PyObject *handler, PyObject *exception) {
    if (PyErr_GivenExceptionMatches(exception, PyExc_Exception)) {
        add_failure(e, handler, exception);
    } else {
        Py_XSETREF(e->raised, exception);
        mtaio_event_cancel((mtaio_event *)(uintptr_t)event);
    }
    return FAILED;
}

/* What a predicate or a transform has raised, which does not know its emission, until core_failure is called
 * for it. Only hooks come between, so it is one for all threads. Both are references. */
static struct core_raised raised;

static int fail_later(PyObject *function) {
    raised = (struct core_raised){.function = Py_NewRef(function), .exception = core_take_error()};
    return FAILED;
}

struct core_raised core_raised_swap(struct core_raised other) {
    struct core_raised was = raised;
    raised = other;
    return was;
}

/* Of the library: what failed there, and, as ECLOSED, that the handler is not waited for any more. */
void core_failure(const mtaio_failure *failure, void *emission) {
    core_emission *e = emission;
    if (failure->status == MTAIO_ECLOSED && !e->late) {
        e->deferral = mtaio_deferral_unref(e->deferral);
    } else if (failure->status == MTAIO_ECLOSED) {
        e->late_deferral = mtaio_deferral_unref(e->late_deferral);
        Py_CLEAR(e->late);
        Py_CLEAR(e->late_shown);
    } else if (failure->status != FAILED) {
        add_failure(e, NULL, core_error_new(core.EventEmitError, failure->status));
    } else if (raised.exception) {
        struct core_raised mine = core_raised_swap((struct core_raised){0});
        fail(e, failure->event, mine.function, mine.exception);
        Py_DECREF(mine.function);
    }
}

void core_done(int result, const mtaio_report *report, void *emission) {
    (void)report;
    core_emission *e = emission;
    e->over = true;
    e->result = result;
    if (unlikely(e->orphaned)) {
        e->orphaned = false;
        e->emitter->active--;
        core_emission_drop(e);
        Py_DECREF(e);
    }
}

/* --- Results of handlers ----------------------------------------------------------------------- */

/* What drives an awaitable: itself, if it is a coroutine. A strong reference. */
static PyObject *iterator_of(PyObject *awaitable) {
    PyTypeObject *type = Py_TYPE(awaitable);
    if (PyCoro_CheckExact(awaitable)) return Py_NewRef(awaitable);
    if (type->tp_as_async && type->tp_as_async->am_await) {
        PyObject *iterator = type->tp_as_async->am_await(awaitable);
        if (!iterator || PyIter_Check(iterator)) return iterator;
        PyErr_SetString(PyExc_TypeError, "__await__() returned what is no iterator");
        Py_DECREF(iterator);
        return NULL;
    }
    PyObject *code = PyGen_CheckExact(awaitable) ? PyObject_GetAttrString(awaitable, "gi_code") : NULL;
    bool is_coroutine = code && ((PyCodeObject *)code)->co_flags & CO_ITERABLE_COROUTINE;
    Py_XDECREF(code);
    if (is_coroutine) return Py_NewRef(awaitable);
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_TypeError, "a handler returned %.100s, which would never run", type->tp_name);
    return NULL;
}

static bool is_to_be_driven(PyObject *result) {
    PyTypeObject *type = Py_TYPE(result);
    return (type->tp_as_async && type->tp_as_async->am_await) || PyGen_CheckExact(result) ||
           PyAsyncGen_CheckExact(result);
}

/* The coroutine is suspended. */
static PySendResult remember(core_emission *e, core_listener *l, core_event *shown, PyObject *coroutine) {
    e->coroutine = coroutine;
    e->listener = (core_listener *)Py_NewRef((PyObject *)l);
    e->shown = (core_event *)Py_NewRef((PyObject *)shown);
    return PYGEN_NEXT;
}

static __attribute__((noinline)) PySendResult drive(core_emission *e, core_listener *l, core_event *shown,
                                                    PyObject *result, PyObject **ret) {
    if (!is_to_be_driven(result)) {
        *ret = result;
        return PYGEN_RETURN;
    }
    PyObject *iterator = iterator_of(result);
    *ret = NULL;
    Py_DECREF(result);
    if (!iterator) return PYGEN_ERROR;
    PySendResult status = PyIter_Send(iterator, Py_None, ret);
    if (status == PYGEN_NEXT) return remember(e, l, shown, iterator);
    Py_DECREF(iterator);
    return status;
}

/* handler(shown), without the detour of PyObject_Vectorcall where it can be avoided. */
static inline PyObject *call_function(PyObject *handler, core_event *shown) {
    PyObject *args[] = {NULL, (PyObject *)shown};
    PyTypeObject *type = Py_TYPE(handler);
    vectorcallfunc call = NULL;
    if (likely(PyType_HasFeature(type, Py_TPFLAGS_HAVE_VECTORCALL)))
        memcpy(&call, (char *)handler + type->tp_vectorcall_offset, sizeof call);
    if (unlikely(!call)) return PyObject_CallOneArg(handler, args[1]);
    return call(handler, args + 1, 1 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
}

/* The handler has returned the result, which is taken over: runs it, if it is a coroutine, up to its first
 * suspension. */
static inline PySendResult run_result(core_emission *e, core_listener *l, core_event *shown, PyObject *result,
                                      PyObject **ret) {
    *ret = result;
    if (unlikely(!result)) return PYGEN_ERROR;
    if (result == Py_None) return PYGEN_RETURN;
    if (unlikely(!PyCoro_CheckExact(result))) return drive(e, l, shown, result, ret);
    PySendResult status = PyIter_Send(result, Py_None, ret);
    if (unlikely(status == PYGEN_NEXT)) return remember(e, l, shown, result);
    Py_DECREF(result);
    return status;
}

PySendResult core_handler_begin(core_emission *e, core_listener *l, core_event *shown, PyObject **ret) {
    return run_result(e, l, shown, call_function(l->handler, shown), ret);
}

static void restore_propagate(core_event *shown, const mtaio_event *event) {
    Py_XSETREF(shown->propagate, PyBool_FromLong(mtaio_event_propagates(event)));
}

/* What a handler did to propagate is handed on; what a monitor did is undone. -1 with an exception of its
 * truth. */
static int hand_on_propagate(const core_listener *l, core_event *shown, mtaio_event *event) {
    if (l->flags & LISTENER_MONITOR) {
        restore_propagate(shown, event);
        return 0;
    }
    if (shown->propagate == Py_True && mtaio_event_propagates(event)) return 0;
    PyObject *propagate = Py_NewRef(shown->propagate ? shown->propagate : Py_True);
    int truth = PyObject_IsTrue(propagate);
    Py_DECREF(propagate);
    return truth < 0 ? -1 : mtaio_event_set_propagate(event, truth);
}

int core_handler_end(core_emission *e, core_listener *l, core_event *shown, mtaio_event *event,
                     PySendResult status, PyObject *value) {
    PyObject *exception = status == PYGEN_ERROR ? core_take_error() : NULL;
    int r = event ? hand_on_propagate(l, shown, event) : 0;
    Py_XDECREF(value);
    if (r == 0 && !exception) return 0;
    if (!exception) exception = core_take_error();
    PyErr_Clear();
    if (!e->event && !e->batch) e->event = (core_event *)Py_NewRef((PyObject *)shown); /* of a buffer */
    PyObject *function = core_listener_function(l);
    r = fail(e, event, function, exception);
    Py_XDECREF(function);
    return r;
}

/* --- Handlers ---------------------------------------------------------------------------------- */

/* The call came up while somebody else was driving the emission on, because he closed what it rested behind:
 * it waits for the task that awaits the emission. */
static int call_later(core_emission *e, mtaio_event *event, core_listener *l, core_event *shown) {
    if (e && e->orphaned) return mtaio_event_cancel(event); /* nobody awaits it any more */
    int r = e ? mtaio_event_defer(event, &e->late_deferral) : MTAIO_ECLOSED;
    if (r < 0) return r;
    e->late = (core_listener *)Py_NewRef((PyObject *)l);
    e->late_shown = (core_event *)Py_NewRef((PyObject *)shown);
    return 0;
}

/* The handler does not end at once. */
static int suspend(core_emission *e, mtaio_event *event, PyObject *yielded) {
    int r = mtaio_event_defer(event, &e->deferral);
    if (r < 0) {
        Py_CLEAR(e->coroutine);
        Py_CLEAR(e->listener);
        Py_CLEAR(e->shown);
        Py_DECREF(yielded);
        add_failure(e, NULL, core_error_new(core.EventEmitError, r));
        return FAILED;
    }
    e->yielded = yielded;
    return 0;
}

static int call_shown(core_emission *e, mtaio_event *event, core_listener *l, core_event *shown) {
    if (unlikely(!e || !e->driving)) return call_later(e, event, l, shown);
    PyObject *value;
    int r = 0;
    Py_INCREF(l); /* it may remove itself */
    PySendResult status = run_result(e, l, shown, call_function(l->handler, shown), &value);
    if (likely(status == PYGEN_RETURN) && likely(shown->propagate == Py_True))
        Py_DECREF(value);
    else if (status == PYGEN_NEXT)
        r = suspend(e, event, value);
    else
        r = core_handler_end(e, l, shown, event, status, value);
    Py_DECREF(l);
    return r;
}

static __attribute__((noinline)) int call_batch(core_emission *e, mtaio_event *event, core_listener *l) {
    core_event *shown = core_batch_event(event);
    if (!shown) return e ? fail(e, event, NULL, core_take_error()) : MTAIO_ENOMEM;
    int r = call_shown(e, event, l, shown);
    Py_DECREF(shown);
    return r;
}

static int handler_call(mtaio_event *event, void *ctx) {
    core_event *shown = mtaio_event_data(event); /* none in a batch */
    if (unlikely(!shown)) return call_batch(mtaio_event_ctx(event), event, ctx);
    core_emission *e = likely(shown->emission != NULL) ? shown->emission : mtaio_event_ctx(event);
    return call_shown(e, event, ctx, shown);
}

/* What a monitor does to propagate is undone: now, or where it is suspended, at its end. */
static int monitor_call(mtaio_event *event, void *ctx) {
    int r = handler_call(event, ctx);
    core_event *shown = mtaio_event_data(event);
    if (shown) restore_propagate(shown, event);
    return r;
}

/* The library has taken it out already. */
static int once_call(mtaio_event *event, void *ctx) {
    core_listener *l = ctx;
    Py_INCREF(l);
    core_listener_unlink(l, false);
    int r = l->flags & LISTENER_MONITOR ? monitor_call(event, l) : handler_call(event, l);
    Py_DECREF(l);
    return r;
}

mtaio_call core_call_of(const core_listener *l) {
    return l->flags & LISTENER_ONCE ? once_call : l->flags & LISTENER_MONITOR ? monitor_call : handler_call;
}

/* --- Filters and maps -------------------------------------------------------------------------- */

/* function(event), which must not be async. */
static PyObject *call_plain(PyObject *function, core_event *shown) {
    Py_INCREF(function); /* the call may drop the emitter that holds it */
    PyObject *result = PyObject_CallOneArg(function, (PyObject *)shown);
    if (result && PyCoro_CheckExact(result)) {
        PyObject *closed = PyObject_CallMethod(result, "close", NULL);
        Py_XDECREF(closed);
        Py_CLEAR(result);
        if (closed)
            PyErr_SetString(PyExc_TypeError, "a predicate or a transform must not be an async function");
    }
    Py_DECREF(function);
    return result;
}

int core_filter_call(const mtaio_event *event, void *function) {
    PyObject *result = call_plain(function, mtaio_event_data(event));
    int passes = result ? PyObject_IsTrue(result) : -1;
    Py_XDECREF(result);
    return passes < 0 ? fail_later(function) : passes;
}

/* Gives what the transform made to the library. */
static int set_mapped(mtaio_event *mapped, const core_event *from, core_event *made) {
    const char *name =
        made->name == from->name ? NULL : core_utf8(made->name ? made->name : Py_None, core.EventEmitError);
    if (!name && made->name != from->name) return -1;
    int r = name ? mtaio_event_set_name(mapped, name) : 0;
    int propagate = made->propagate ? PyObject_IsTrue(made->propagate) : 1;
    if (propagate < 0) return -1;
    if (r == 0 && !propagate) r = mtaio_event_set_propagate(mapped, false);
    if (r == 0) r = mtaio_event_set_data(mapped, Py_NewRef((PyObject *)made), core_release);
    if (r < 0) core_raise(core.EventEmitError, r, "cannot map to %R", made->name);
    return r;
}

int core_map_call(const mtaio_event *event, mtaio_event *mapped, void *function) {
    core_event *shown = mtaio_event_data(event);
    PyObject *result = call_plain(function, shown);
    if (result && !PyObject_TypeCheck(result, core_event_type)) {
        PyErr_Format(PyExc_TypeError, "a transform must return an Event, not %.100s",
                     Py_TYPE(result)->tp_name);
        Py_CLEAR(result);
    }
    /* One that an emission shows, as a rule this one: a copy, for stopping it stays there. */
    if (result && (result == (PyObject *)shown || ((core_event *)result)->is_shown))
        Py_SETREF(result, (PyObject *)core_event_copy((core_event *)result));
    int r = result ? set_mapped(mapped, shown, (core_event *)result) : -1;
    Py_XDECREF(result);
    return r < 0 ? fail_later(function) : 0;
}
