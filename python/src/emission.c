/* emission.c - driving an emission: what happens in each send of the awaitable that emit returns.
 *
 * The first send begins the library's emission, whose handlers run within it, one after another. Where one of
 * them is suspended, the library's emission rests on a deferral, and we hand on what the handler's coroutine
 * has yielded; the next send goes into that coroutine, and when it ends, the deferral is completed and the
 * rest of the handlers are called within that send. Without suspension there is neither Task nor Future, nor
 * anything but the awaitable itself. */
#include "batch.h"

void core_emission_drop(core_emission *e) {
    core_event *event = e->event;
    e->event = NULL;
    if (likely(event != NULL)) {
        event->emission = NULL;
        event->is_shown = false;
        core_event_drop(event);
    }
    Py_CLEAR(e->data);
    Py_CLEAR(e->metadata);
    if (unlikely(e->batch != NULL)) {
        core_batch_clear(e->batch);
        Py_CLEAR(e->batch);
    }
    if (unlikely(e->errors != NULL)) Py_CLEAR(e->errors);
    if (unlikely(e->raised != NULL)) Py_CLEAR(e->raised);
}

/* --- The result -------------------------------------------------------------------------------- */

/* Handlers failed: EventHandlerError, with the first failure as its cause. */
static void raise_handler_error(core_emission *e) {
    if (e->batch && !e->event && !(e->event = core_batch_whole(e->batch))) return;
    PyObject *event = e->event ? (PyObject *)e->event : Py_None;
    PyObject *error =
        e->errors ? PyObject_CallMethod(core.EventHandlerError, "of", "OO", event, e->errors) : NULL;
    if (error)
        core_give_error(error);
    else if (!PyErr_Occurred())
        PyErr_SetString(core.EventHandlerError, "a handler failed");
}

/* Gives the exception that is set a cause, if there is one; borrowed. */
static void set_cause(PyObject *cause) {
    PyObject *error = cause ? core_take_error() : NULL;
    if (!error) return;
    PyException_SetCause(error, Py_NewRef(cause));
    core_give_error(error);
}

/* An "error" event that nothing handled: what it carried is the cause. */
static void raise_unhandled(core_emission *e) {
    const core_event *event = e->batch ? core_batch_error(e->batch) : e->event;
    PyObject *data = event ? event->data : NULL;
    PyErr_Format(core.EventEmitError, "nothing handles the event 'error': %R", data ? data : Py_None);
    set_cause(data && PyExceptionInstance_Check(data) ? data : NULL);
}

/* The emission could not be carried out, or not to its end. */
static void raise_emit_error(core_emission *e) {
    if (e->name)
        core_raise(core.EventEmitError, e->result, "cannot emit %R", e->name);
    else
        core_raise(core.EventEmitError, e->result, "cannot deliver the batch");
    set_cause(e->errors ? PyTuple_GET_ITEM(PyList_GET_ITEM(e->errors, 0), 1) : NULL);
}

static __attribute__((noinline)) void raise_result(core_emission *e) {
    if (e->raised) {
        core_give_error(e->raised);
        e->raised = NULL;
    } else if (e->result == MTAIO_EHANDLER) {
        raise_handler_error(e);
    } else if (e->result == MTAIO_EUNHANDLED) {
        raise_unhandled(e);
    } else {
        raise_emit_error(e);
    }
}

static PySendResult conclude(core_emission *e, PyObject **ret) {
    bool failed = e->result < 0 || e->raised;
    e->state = EMISSION_OVER;
    e->emitter->active--;
    if (unlikely(failed)) raise_result(e);
    *ret = unlikely(failed) ? NULL : Py_NewRef(Py_None);
    core_emission_drop(e);
    return unlikely(failed) ? PYGEN_ERROR : PYGEN_RETURN;
}

/* --- Going on ---------------------------------------------------------------------------------- */

/* Lets the library go on after a handler that had been suspended. */
static void complete(core_emission *e, int status) {
    mtaio_deferral *deferral = e->deferral;
    if (!deferral) return; /* closed meanwhile: it has gone on already */
    e->deferral = NULL;
    e->driving = true;
    mtaio_deferral_complete(deferral, status);
    e->driving = false;
    mtaio_deferral_unref(deferral);
    core_release_now();
}

static mtaio_event *event_of(const core_emission *e) {
    return e->deferral ? mtaio_deferral_event(e->deferral) : NULL;
}

/* The coroutine is at its end: status and value say how it ended. */
static void coroutine_ended(core_emission *e, PySendResult status, PyObject *value) {
    PyObject *coroutine = e->coroutine;
    core_listener *l = e->listener;
    core_event *shown = e->shown;
    e->coroutine = NULL;
    e->listener = NULL;
    e->shown = NULL;
    int r = core_handler_end(e, l, shown, event_of(e), status, value);
    Py_DECREF(coroutine);
    Py_DECREF(l);
    Py_DECREF(shown);
    complete(e, r);
}

/* A handler that came up outside of our send. */
static __attribute__((noinline)) void call_late(core_emission *e) {
    core_listener *l = e->late;
    core_event *shown = e->late_shown;
    PyObject *value = NULL;
    e->deferral = e->late_deferral;
    e->late_deferral = NULL;
    e->late = NULL;
    e->late_shown = NULL;
    bool removed = !l->emitter && !(l->flags & LISTENER_ONCE); /* one that is called once is out already */
    PySendResult status = removed ? PYGEN_RETURN : core_handler_begin(e, l, shown, &value);
    if (status == PYGEN_NEXT)
        e->yielded = value;
    else
        complete(e, core_handler_end(e, l, shown, event_of(e), status, value));
    Py_DECREF(l);
    Py_DECREF(shown);
}

/* Up to the next suspension, or the end. Neither: the library, nested too deep, will go on when it is less
 * so. */
static PySendResult go_on(core_emission *e, PyObject **ret) {
    while (unlikely(e->late != NULL) && !e->coroutine) call_late(e);
    if (likely(!e->coroutine) && likely(e->over)) return conclude(e, ret);
    *ret = e->yielded ? e->yielded : Py_NewRef(Py_None);
    e->yielded = NULL;
    e->state = EMISSION_RESTING;
    if (e->event) core_event_track(e->event);
    if (unlikely(e->batch != NULL)) core_batch_track(e->batch);
    return PYGEN_NEXT;
}

PySendResult core_emission_answered(core_emission *e, PySendResult status, PyObject *value, PyObject **ret) {
    if (status == PYGEN_NEXT)
        e->yielded = value;
    else
        coroutine_ended(e, status, value);
    return go_on(e, ret);
}

PySendResult core_emission_resume(core_emission *e, PyObject *arg, PyObject **ret) {
    PyObject *value = NULL;
    if (Py_EnterRecursiveCall(" while an emission goes on")) return PYGEN_ERROR;
    e->state = EMISSION_RUNNING;
    PySendResult status;
    if (likely(e->coroutine != NULL)) {
        status = PyIter_Send(e->coroutine, arg, &value);
        status = core_emission_answered(e, status, value, ret);
    } else {
        status = go_on(e, ret);
    }
    Py_LeaveRecursiveCall();
    return status;
}

/* --- Beginning --------------------------------------------------------------------------------- */

/* What the library is to emit where some of its emitters keep events beyond their emission: one of its own,
 * that has a reference to ours. */
static int start_owned(core_emission *e, const char *utf8) {
    mtaio_event *owned;
    int r = mtaio_event_new(utf8, Py_NewRef((PyObject *)e->event), core_release_later, &owned);
    if (r < 0) return r;
    e->event->emission = NULL; /* another emission may show it later, at the same time even */
    core_event_track(e->event);
    r = mtaio_emit_start(e->emitter->inner, MTAIO_EMISSION(.event = owned, .failure = core_failure, .ctx = e),
                         core_done);
    mtaio_event_unref(owned);
    return r;
}

static __attribute__((noinline)) int start_by_name(core_emission *e) {
    const char *utf8 = core_utf8(e->name, core.EventEmitError);
    if (!utf8) {
        e->raised = core_take_error();
        return MTAIO_EINVAL;
    }
    if (e->emitter->unusual & EMITTER_KEEPS) return start_owned(e, utf8);
    int r = mtaio_emit_start(
        e->emitter->inner, MTAIO_EMISSION(.name = utf8, .data = e->event, .failure = core_failure, .ctx = e),
        core_done);
    core_name_learn(e->emitter, e->name, utf8, r);
    return r;
}

static int start_flush(core_emission *e) {
    if (!core_emitter_of((PyObject *)e->emitter)) {
        e->raised = core_take_error();
        return MTAIO_EINVAL;
    }
    int r = mtaio_emitter_flush_async(e->emitter->inner,
                                      MTAIO_ASYNC(.done = core_done, .failure = core_failure, .ctx = e));
    return r < 0 ? r : MTAIO_EINPROGRESS; /* or over already, as done has told */
}

static __attribute__((noinline)) int start_batch(core_emission *e) {
    if (!e->batch) return start_flush(e);
    if (e->batch->count == 0) return 0; /* nothing, which a closed emitter can deliver too */
    mtaio_batch *inner = core_batch_given(e->batch);
    if (!inner) {
        e->raised = core_take_error();
        return MTAIO_EINVAL;
    }
    int r = mtaio_batch_end(inner, MTAIO_ASYNC(.done = core_done, .failure = core_failure, .ctx = e));
    mtaio_batch_unref(inner);
    return r < 0 ? r : MTAIO_EINPROGRESS; /* or over already, as done has told */
}

/* Begins; known may be NULL. */
static PySendResult start(core_emission *e, const struct name_entry *known, PyObject **ret) {
    e->driving = true;
    e->emitter->active++;
    int r = !e->name ? start_batch(e)
            : known  ? mtaio_emit_start(e->emitter->inner,
                                        MTAIO_EMISSION(.resolved = known->resolved, .data = e->event,
                                                       .failure = core_failure, .ctx = e),
                                        core_done)
                     : start_by_name(e);
    e->driving = false;
    if (likely(r != MTAIO_EINPROGRESS)) core_done(r, NULL, e);
    core_release_now();
    return go_on(e, ret);
}

/* Over before it began: with what is set, or with nothing to do. */
static __attribute__((noinline)) PySendResult not_begun(core_emission *e, bool failed, PyObject **ret) {
    e->state = EMISSION_OVER;
    *ret = failed ? NULL : Py_NewRef(Py_None);
    core_emission_drop(e);
    return failed ? PYGEN_ERROR : PYGEN_RETURN;
}

/* Whether the event is held back: 1; or -1 with an exception. */
static __attribute__((noinline)) int hold_back(core_emission *e) {
    core_emitter *em = e->emitter;
    if (!core_emitter_of((PyObject *)em)) return -1;
    if (em->unusual & EMITTER_CLOSED) {
        core_raise(core.EventEmitError, MTAIO_ECLOSED, "cannot emit %R", e->name);
        return -1;
    }
    if (!(em->unusual & EMITTER_HOLDS)) return 0;
    PyObject *hold = Py_NewRef(em->hold);
    PyObject *answer = PyObject_CallOneArg(hold, (PyObject *)e->event);
    int held = answer ? PyObject_IsTrue(answer) : -1;
    Py_XDECREF(answer);
    Py_DECREF(hold);
    return held;
}

/* Whether it is recorded in a batch, which takes it over: 1; or -1 with an exception. */
static __attribute__((noinline)) int record(core_emission *e) {
    core_batch *batch = core_batch_current(e->emitter);
    if (!batch) return PyErr_Occurred() ? -1 : 0;
    if (core_batch_record(batch, e->event) < 0) return -1;
    e->event->emission = NULL;
    e->event->is_shown = false;
    e->event = NULL;
    return 1;
}

PySendResult core_emission_begin(core_emission *e, PyObject **ret) {
    core_emitter *em = e->emitter;
    int diverted = 0;
    e->state = EMISSION_RUNNING;
    if (unlikely(!e->name)) return start(e, NULL, ret);
    e->event = core_event_new(e->name, e->data, e->metadata);
    if (unlikely(!e->event)) return not_begun(e, true, ret);
    e->event->emission = e;
    e->event->is_shown = true;
    if (unlikely(em->unusual)) diverted = hold_back(e);
    if (unlikely(core.open_batches) && diverted == 0) {
        diverted = record(e);
        if (likely(diverted > 0)) return core_emission_pass(e, ret);
    }
    if (unlikely(diverted != 0)) return not_begun(e, diverted < 0, ret);
    struct name_entry *known = likely(!em->unusual) ? core_name_find(em, e->name) : NULL;
    if (likely(known != NULL)) {
        known->used = true;
        if (unlikely(!known->resolved)) known = NULL;
    }
    return start(e, known, ret);
}

/* --- Ending early ------------------------------------------------------------------------------ */

static int close_coroutine(PyObject *coroutine) {
    PyObject *close = PyObject_GetAttrString(coroutine, "close"), *result = NULL;
    if (close)
        result = PyObject_CallNoArgs(close);
    else if (PyErr_ExceptionMatches(PyExc_AttributeError)) /* what drives a Future has none */
        PyErr_Clear();
    int r = result || !PyErr_Occurred() ? 0 : -1;
    Py_XDECREF(result);
    Py_XDECREF(close);
    return r;
}

int core_emission_end(core_emission *e) {
    bool begun = e->state != EMISSION_NEW;
    int r = 0;
    if (e->state == EMISSION_OVER) return 0;
    e->state = EMISSION_RUNNING;
    if (e->coroutine) r = close_coroutine(e->coroutine);
    PyObject *error = r < 0 ? core_take_error() : NULL;
    if (e->late) { /* it is what the library waits for, and not the coroutine */
        e->deferral = e->late_deferral;
        e->late_deferral = NULL;
        Py_CLEAR(e->late);
        Py_CLEAR(e->late_shown);
    }
    mtaio_event_cancel(event_of(e));
    complete(e, MTAIO_ECANCELED);
    Py_CLEAR(e->coroutine);
    Py_CLEAR(e->listener);
    Py_CLEAR(e->shown);
    e->state = EMISSION_OVER;
    if (begun && !e->over) { /* the library is nested too deep to end it now: it does so later */
        e->orphaned = true;
        Py_INCREF(e);
    } else {
        if (begun) e->emitter->active--;
        core_emission_drop(e);
    }
    if (error) core_give_error(error);
    return r;
}
