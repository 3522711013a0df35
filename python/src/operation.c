/* operation.c - what the asynchronous methods of channels and subscribers return: a coroutine made in C.
 *
 * Nothing happens before it is awaited. Awaited, it makes an attempt, and if that succeeds it ends there and
 * then, without a future and without a look at the loop. Else it lets itself be told when another attempt is
 * worth while, and sleeps: on a future, or, where a plain thread carries it out by one of the blocking
 * methods, on a lock. */
#include "channels.h"
#include "coroutine.h"

enum { SPARE_MAX = 64 };

static struct {
    core_operation *objects[SPARE_MAX];
    int count;
} spare;

/* --- Life ------------------------------------------------------------------------------------- */

static core_operation *operation_alloc(void) {
    if (spare.count == 0) return PyObject_GC_New(core_operation, &core_operation_type);
    return (core_operation *)PyObject_Init((PyObject *)spare.objects[--spare.count], &core_operation_type);
}

/* Nothing of it has happened yet, so an argument that is none ends it here. */
PyObject *core_operation_new(const struct verb *verb, PyObject *target, PyObject *argument) {
    core_operation *op = likely(argument) ? operation_alloc() : NULL;
    if (unlikely(!op)) {
        Py_XDECREF(argument);
        return NULL;
    }
    op->verb = verb;
    op->target = Py_NewRef(target);
    op->argument = argument;
    op->state = FRESH;
    op->is_running = op->is_finalized = op->expired = false;
    op->timeout_ns = -1;
    PyObject_GC_Track(op);
    return (PyObject *)op;
}

/* What only those need that have to wait. */
static void begin_waiting(core_operation *op) {
    op->called = op->in_line = false;
    op->timer = NULL;
    op->sent = NULL;
    core_sleeper_init(&op->sleeper);
    link_init(&op->turn);
    op->state = WAITING;
}

static void cancel_timer(core_operation *op) {
    PyObject *timer = op->timer;
    if (!timer) return;
    op->timer = NULL;
    PyObject *result = PyObject_CallMethodNoArgs(timer, core_names.cancel);
    if (!result) PyErr_WriteUnraisable(timer);
    Py_XDECREF(result);
    Py_DECREF(timer);
}

/* It is over. The exception that is set stays. */
static void finish(core_operation *op) {
    bool has_waited = op->state == WAITING;
    op->state = OVER;
    if (likely(!has_waited)) return;
    PyObject *error = core_take_error();
    op->verb->leave(op);
    cancel_timer(op);
    core_sleeper_clear(&op->sleeper);
    if (error) core_give_error(error);
}

/* Never awaited, or dropped while it waits. */
static void operation_finalize(core_operation *op) {
    op->is_finalized = true;
    if (op->state == FRESH && !op->verb->is_done)
        core_coroutine_warn((PyObject *)op,
                            PyUnicode_FromFormat("coroutine '%s' was never awaited", op->verb->name));
    finish(op);
}

static void operation_dealloc(core_operation *op) {
    if (unlikely(op->state != OVER) && PyObject_CallFinalizerFromDealloc((PyObject *)op) < 0) return;
    PyObject_GC_UnTrack(op);
    Py_CLEAR(op->target);
    Py_CLEAR(op->argument);
    if (spare.count < SPARE_MAX && !op->is_finalized)
        spare.objects[spare.count++] = op;
    else
        PyObject_GC_Del(op);
}

static int operation_traverse(core_operation *op, visitproc visit, void *arg) {
    Py_VISIT(op->target);
    Py_VISIT(op->argument);
    if (op->state != WAITING) return 0;
    Py_VISIT(op->timer);
    return core_sleeper_visit(&op->sleeper, visit, arg);
}

/* Its finalizer has run. */
static int operation_clear(core_operation *op) {
    Py_CLEAR(op->target);
    Py_CLEAR(op->argument);
    return 0;
}

PySendResult core_operation_result(core_operation *op, PyObject **ret) {
    *ret = Py_NewRef(op->argument);
    return PYGEN_RETURN;
}

/* --- Running ---------------------------------------------------------------------------------- */

static PyObject *expire(PyObject *self, PyObject *unused) {
    (void)unused;
    core_operation *op = (core_operation *)self;
    op->expired = true;
    if (op->state == WAITING) core_sleeper_wake(&op->sleeper);
    Py_RETURN_NONE;
}

static int start_timer(core_operation *op) {
    static PyMethodDef def = {"expire", expire, METH_NOARGS, NULL};
    if (op->timeout_ns < 0 || op->timer) return 0;
    PyObject *callback = PyCFunction_New(&def, (PyObject *)op);
    if (!callback) return -1;
    op->timer = core_sleeper_timer(&op->sleeper, op->timeout_ns, callback);
    Py_DECREF(callback);
    return op->timer ? 0 : -1;
}

static PySendResult sleep_on_future(core_operation *op, PyObject **ret) {
    if (op->state == FRESH) begin_waiting(op);
    if (core_sleeper_prepare_task(&op->sleeper) < 0 || op->verb->wait(op) < 0 || start_timer(op) < 0)
        return PYGEN_ERROR;
    *ret = core_sleeper_yield(&op->sleeper);
    return *ret ? PYGEN_NEXT : PYGEN_ERROR;
}

/* Is it in a state in which it can be sent to, or thrown into? */
static int check_state(const core_operation *op) {
    if (likely(op->state != OVER && !op->is_running)) return 0;
    core_coroutine_refuse(op->is_running);
    return -1;
}

static PySendResult operation_send(PyObject *self, PyObject *value, PyObject **ret) {
    core_operation *op = (core_operation *)self;
    *ret = NULL;
    if (check_state(op) < 0) return PYGEN_ERROR;
    if (op->state == FRESH && unlikely(value != Py_None)) return core_coroutine_refuse_value();
    op->is_running = true;
    PySendResult result = op->verb->attempt(op, ret);
    if (unlikely(result == PYGEN_NEXT)) result = sleep_on_future(op, ret);
    if (likely(result != PYGEN_NEXT)) finish(op);
    op->is_running = false;
    return result;
}

/* One sleep. The time limit ends the operation by its next attempt, which may find that it is over all the
 * same. */
static PySendResult sleep_on_lock(core_operation *op, int64_t *deadline_ns) {
    if (op->state == FRESH) {
        begin_waiting(op);
        *deadline_ns = core_sleeper_deadline(op->timeout_ns);
    }
    if (core_sleeper_prepare_thread(&op->sleeper) < 0 || op->verb->wait(op) < 0) return PYGEN_ERROR;
    int r = core_sleeper_block(&op->sleeper, op->expired ? INT64_MAX : *deadline_ns);
    if (r == 0) op->expired = true;
    return r < 0 ? PYGEN_ERROR : PYGEN_NEXT;
}

PyObject *core_operation_run(PyObject *o) {
    if (!o) return NULL;
    core_operation *op = (core_operation *)o;
    PyObject *value = NULL;
    PySendResult result;
    int64_t deadline_ns = 0;
    op->is_running = true;
    do {
        result = op->verb->attempt(op, &value);
        if (result == PYGEN_NEXT) result = sleep_on_lock(op, &deadline_ns);
    } while (result == PYGEN_NEXT);
    finish(op);
    op->is_running = false;
    Py_DECREF(op);
    return result == PYGEN_RETURN ? value : NULL;
}

/* --- As a coroutine --------------------------------------------------------------------------- */

static PyObject *operation_send_method(PyObject *self, PyObject *value) {
    PyObject *sent;
    PySendResult result = operation_send(self, value, &sent);
    return core_coroutine_sent(result, sent);
}

/* None needs no StopIteration. */
static PyObject *operation_next(PyObject *self) {
    PyObject *sent;
    PySendResult result = operation_send(self, Py_None, &sent);
    if (result != PYGEN_RETURN || sent != Py_None) return core_coroutine_sent(result, sent);
    Py_DECREF(sent);
    return NULL;
}

static PyObject *operation_throw(PyObject *self, PyObject *const *args, Py_ssize_t nargs) {
    core_operation *op = (core_operation *)self;
    if (check_state(op) < 0) return NULL;
    finish(op);
    return core_coroutine_raise(args, nargs);
}

static PyObject *operation_close(PyObject *self, PyObject *unused) {
    (void)unused;
    core_operation *op = (core_operation *)self;
    if (op->is_running) {
        check_state(op);
        return NULL;
    }
    finish(op);
    Py_RETURN_NONE;
}

static PyObject *operation_repr(PyObject *self) {
    return PyUnicode_FromFormat("<coroutine object %s at %p>", ((core_operation *)self)->verb->name,
                                (void *)self);
}

static PyObject *get_qualname(PyObject *self, void *unused) {
    (void)unused;
    return PyUnicode_FromString(((core_operation *)self)->verb->name);
}

static PyObject *get_name(PyObject *self, void *unused) {
    (void)unused;
    return PyUnicode_FromString(strchr(((core_operation *)self)->verb->name, '.') + 1);
}

static PyObject *get_awaited(PyObject *self, void *unused) {
    (void)unused;
    core_operation *op = (core_operation *)self;
    return Py_NewRef(op->state == WAITING && op->sleeper.future ? op->sleeper.future : Py_None);
}

static PyObject *is_running(PyObject *self, void *unused) {
    (void)unused;
    return PyBool_FromLong(((core_operation *)self)->is_running);
}

static PyObject *is_suspended(PyObject *self, void *unused) {
    (void)unused;
    const core_operation *op = (core_operation *)self;
    return PyBool_FromLong(op->state == WAITING && !op->is_running);
}

static PyObject *get_none(PyObject *self, void *unused) {
    (void)self, (void)unused;
    Py_RETURN_NONE;
}

static PyMethodDef operation_methods[] = {
    {"send", operation_send_method, METH_O, "send(arg) -> resumes the coroutine."},
    {"throw", (PyCFunction)(void (*)(void))operation_throw, METH_FASTCALL,
     "throw(value): ends it with an exception."},
    {"close", operation_close, METH_NOARGS, "close(): ends it."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef operation_getset[] = {
    {"__name__", get_name, NULL, NULL, NULL},
    {"__qualname__", get_qualname, NULL, NULL, NULL},
    {"cr_await", get_awaited, NULL, "What it waits for, or None.", NULL},
    {"cr_running", is_running, NULL, NULL, NULL},
    {"cr_suspended", is_suspended, NULL, NULL, NULL},
    {"cr_frame", get_none, NULL, "None: it is made in C.", NULL},
    {"cr_code", get_none, NULL, "None: it is made in C.", NULL},
    {"cr_origin", get_none, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyObject *operation_await(PyObject *self) {
    if (likely(((core_operation *)self)->state != WAITING)) return Py_NewRef(self);
    PyErr_SetString(PyExc_RuntimeError, "coroutine is being awaited already");
    return NULL;
}

static PyAsyncMethods operation_async = {.am_await = operation_await, .am_send = operation_send};

PyTypeObject core_operation_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "mtaio._core.Operation",
    .tp_basicsize = sizeof(core_operation),
    .tp_doc = "A coroutine of a channel or a subscriber.",
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)operation_dealloc,
    .tp_finalize = (destructor)operation_finalize,
    .tp_traverse = (traverseproc)operation_traverse,
    .tp_clear = (inquiry)operation_clear,
    .tp_repr = operation_repr,
    .tp_as_async = &operation_async,
    .tp_iternext = operation_next,
    .tp_methods = operation_methods,
    .tp_getset = operation_getset,
};
