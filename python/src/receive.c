/* receive.c - receiving: one message or many, awaited, at once, or by a plain thread.
 *
 * Who has to wait stands in a line of the subscriber. While somebody does, either the library is asked to
 * call when there is something (the watch), or those who were called on have not looked yet. Who was called
 * takes a message only when he looks himself; when he has done so, or will not do it any more, he sees to it
 * that others are called. So no message is lost with a receiver that was cancelled, and as many are called as
 * there are messages. */
#include "channels.h"

static core_subscriber *subscriber_of(core_operation *op) { return (core_subscriber *)op->target; }

/* --- Taking ----------------------------------------------------------------------------------- */

/* 0 and a new reference; -1, where an exception was raised; else the library's error. */
static int take(core_subscriber *sub, PyObject **ret) {
    mtaio_message m;
    if (unlikely(sub->has_kept)) {
        m = sub->kept;
        sub->has_kept = false;
    } else {
        int r = mtaio_subscriber_receive(sub->inner, 0, &m);
        if (r < 0) return r;
    }
    *ret = core_load_land(&m);
    if (likely(*ret)) return 0;
    sub->kept = m;
    sub->has_kept = true;
    return -1;
}

static size_t available(const core_subscriber *sub) {
    mtaio_subscriber_stats s = {.size = sizeof s};
    mtaio_subscriber_stats_get(sub->inner, &s);
    return (size_t)s.waiting + sub->has_kept;
}

/* As take, a list of all that is there, limit at most. Makes room first, and so loses nothing. */
static int take_many(core_subscriber *sub, Py_ssize_t limit, PyObject **ret) {
    size_t there = available(sub);
    Py_ssize_t n = 0, most = there > (size_t)limit ? limit : there > 0 ? (Py_ssize_t)there : 1;
    PyObject *list = PyList_New(most), *message;
    int r = list ? 0 : -1;
    while (r == 0 && n < most) {
        r = take(sub, &message);
        if (r == 0) PyList_SET_ITEM(list, n++, message);
    }
    if (n == 0) {
        Py_XDECREF(list);
        return r;
    }
    PyErr_Clear(); /* what has ended it comes again, or is over */
    Py_SET_SIZE(list, n);
    *ret = list;
    return 0;
}

/* --- The line --------------------------------------------------------------------------------- */

static void call_first(core_subscriber *sub) {
    core_operation *op = LINK_OWNER(sub->waiting.next, core_operation, turn);
    link_remove(&op->turn);
    op->called = true;
    sub->called++;
    Py_INCREF(op);
    if (!core_sleeper_wake(&op->sleeper)) {
        sub->lost_wakeups++;
        if (op->called) sub->called--;
        op->called = false;
    }
    Py_DECREF(op);
}

/* As many as there are messages; at least so many. */
static void call_some(core_subscriber *sub, size_t least) {
    size_t n = available(sub);
    if (n < least) n = least;
    while (sub->called < n && !link_is_alone(&sub->waiting)) call_first(sub);
}

/* There is a message, or there will be none any more: who is called will see. */
static void ready(void *ctx) {
    core_subscriber *sub = core_tether_answer(ctx);
    if (!sub) return;
    Py_INCREF(sub);
    call_some(sub, 1);
    Py_DECREF(sub);
}

/* Somebody waits, and nobody was called who will look after that. */
static int watch(core_subscriber *sub) {
    if (link_is_alone(&sub->waiting) || sub->called > 0 || sub->watch) return 0;
    tether *t = core_tether_new(sub, &sub->watch);
    if (!t) return -1;
    mtaio_pending *pending = NULL;
    int r = mtaio_subscriber_watch(
        sub->inner, MTAIO_WATCH(.ready = ready, .destroy = core_tether_release, .ctx = t), &pending);
    core_tether_tie(t, pending);
    if (r < 0) core_channel_raise(r, sub->name);
    return r < 0 ? -1 : 0;
}

void core_subscriber_unwatch(core_subscriber *sub) {
    if (sub->watch) core_tether_cut(sub->watch);
}

/* --- The operations --------------------------------------------------------------------------- */

static PySendResult end_attempt(core_operation *op, int r) {
    if (r == MTAIO_EAGAIN && !op->expired) return PYGEN_NEXT;
    if (r == MTAIO_EAGAIN) r = MTAIO_ETIMEDOUT;
    if (r < -1) core_channel_raise(r, subscriber_of(op)->name);
    return r < 0 ? PYGEN_ERROR : PYGEN_RETURN;
}

static PySendResult receive_attempt(core_operation *op, PyObject **ret) {
    int r = take(subscriber_of(op), ret);
    return likely(r == 0) ? PYGEN_RETURN : end_attempt(op, r);
}

static PySendResult next_attempt(core_operation *op, PyObject **ret) {
    int r = take(subscriber_of(op), ret);
    if (unlikely(r == MTAIO_ECLOSED)) {
        PyErr_SetNone(PyExc_StopAsyncIteration);
        return PYGEN_ERROR;
    }
    return likely(r == 0) ? PYGEN_RETURN : end_attempt(op, r);
}

static PySendResult many_attempt(core_operation *op, PyObject **ret) {
    return end_attempt(op, take_many(subscriber_of(op), op->count, ret));
}

/* Who was called and came too late keeps his place. */
static int receive_wait(core_operation *op) {
    core_subscriber *sub = subscriber_of(op);
    if (!link_is_alone(&op->turn)) return 0;
    link_add(&op->turn, op->called ? sub->waiting.next : &sub->waiting);
    if (op->called) sub->called--;
    op->called = false;
    call_some(sub, 0);
    return watch(sub);
}

static void receive_leave(core_operation *op) {
    core_subscriber *sub = subscriber_of(op);
    link_remove(&op->turn);
    if (op->called) sub->called--;
    op->called = false;
    call_some(sub, 0);
    if (watch(sub) < 0) { /* no memory: those who wait find out */
        PyErr_Clear();
        call_some(sub, SIZE_MAX);
    }
    if (link_is_alone(&sub->waiting)) core_subscriber_unwatch(sub);
}

#define RECEIVE_VERB(title, how)                                                                             \
    { .name = title, .attempt = how, .wait = receive_wait, .leave = receive_leave }
static const struct verb receive_verb = RECEIVE_VERB("Subscriber.receive", receive_attempt);
static const struct verb next_verb = RECEIVE_VERB("Subscriber.__anext__", next_attempt);
static const struct verb many_verb = RECEIVE_VERB("Subscriber.receive_many", many_attempt);

/* --- The methods ------------------------------------------------------------------------------ */

PyObject *core_subscriber_next(PyObject *self) {
    return core_operation_new(&next_verb, self, Py_NewRef(Py_None));
}

static PyObject *receive_new(const struct verb *verb, PyObject *self, PyObject *timeout) {
    int64_t timeout_ns = -1;
    if (timeout && !core_timeout(timeout, &timeout_ns)) return NULL;
    PyObject *op = core_operation_new(verb, self, Py_NewRef(Py_None));
    if (op) core_operation_limit(op, timeout_ns);
    return op;
}

static PyObject *receive(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const struct arguments a = {"receive", 1, 0, {"timeout", NULL}};
    PyObject *timeout = NULL;
    if (likely(nargs == 0 && !names)) return core_operation_new(&receive_verb, self, Py_NewRef(Py_None));
    if (core_arguments(&a, args, nargs, names, &timeout) < 0) return NULL;
    return receive_new(&receive_verb, self, timeout);
}

static PyObject *receive_blocking(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    return core_operation_run(receive(self, args, nargs, names));
}

static PyObject *receive_nowait(PyObject *self, PyObject *unused) {
    (void)unused;
    core_subscriber *sub = (core_subscriber *)self;
    PyObject *message = NULL;
    int r = take(sub, &message);
    if (unlikely(r == MTAIO_EAGAIN))
        return PyErr_Format(core_names.EmptyError, "nothing waits in channel %R", sub->name);
    return unlikely(r < -1) ? core_channel_raise(r, sub->name) : message;
}

static PyObject *receive_many(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const struct arguments a = {"receive_many", 2, 0, {"limit", "timeout", NULL}};
    PyObject *values[2];
    size_t limit;
    if (core_arguments(&a, args, nargs, names, values) < 0 ||
        core_size(values[0], "limit", PY_SSIZE_T_MAX, &limit) < 0)
        return NULL;
    if (limit == 0) return PyErr_Format(PyExc_ValueError, "limit must be at least 1");
    PyObject *op = receive_new(&many_verb, self, values[1]);
    if (op) ((core_operation *)op)->count = (Py_ssize_t)limit;
    return op;
}

static PyObject *receive_many_blocking(PyObject *self, PyObject *const *args, Py_ssize_t nargs,
                                       PyObject *names) {
    return core_operation_run(receive_many(self, args, nargs, names));
}

PyMethodDef core_receive_methods[] = {
    {"receive", FAST_METHOD(receive),
     "receive($self, /, timeout=None)\n--\n\n"
     "Receive the next message, waiting for it if there is none, `timeout` seconds at most.\n\n"
     "Returns:\n"
     "    A Message\n\n"
     "Raises:\n"
     "    ChannelClosedError: Everything was received and the channel is closed, or unsubscribed\n"
     "    ChannelTimeoutError: The time is over\n\n"
     "A receive that is cancelled, or whose time is over, has taken no message."},
    {"receive_nowait", receive_nowait, METH_NOARGS,
     "receive_nowait($self, /)\n--\n\n"
     "Receive at once, in any thread, with a loop or without: ChannelEmptyError where nothing is there."},
    {"receive_blocking", FAST_METHOD(receive_blocking),
     "receive_blocking($self, /, timeout=None)\n--\n\n"
     "Receive in a plain thread, which is blocked while it has to wait."},
    {"receive_many", FAST_METHOD(receive_many),
     "receive_many($self, /, limit=None, timeout=None)\n--\n\n"
     "Receive all messages that are there, `limit` at most, waiting for the first: a list."},
    {"receive_many_blocking", FAST_METHOD(receive_many_blocking),
     "receive_many_blocking($self, /, limit=None, timeout=None)\n--\n\n"
     "receive_many() for a plain thread, which is blocked while it has to wait."},
    {NULL, NULL, 0, NULL},
};
