/* publish.c - publishing: one message or many, awaited, at once, or by a plain thread.
 *
 * A publication is tried under the GIL. Where it would have to wait, it gets a place in the channel's line,
 * in which the order of the publishers is kept, and the core tells when it has been carried out. */
#include "channels.h"

enum { CHUNK = 64 }; /* of many messages, how many are handed over at a time */

static core_channel *channel_of(core_operation *op) { return (core_channel *)op->target; }

/* --- One message ------------------------------------------------------------------------------ */

/* How many were reached; the library's errors, or -1 where an exception is set already. */
static int try_publish(core_channel *ch, PyObject *load) {
    mtaio_publication p;
    if (unlikely(core_load_launch(load, ch->flight, &p) < 0)) return -1;
    int r = mtaio_channel_publish(ch->inner, &p, 0);
    if (unlikely(r < 0)) core_load_recall(load);
    return r;
}

static PyObject *raise_error(int error, const core_channel *ch, PyObject *load) {
    if (error == -1) return NULL;
    if (error != MTAIO_ENAME) return core_channel_raise(error, ch->name);
    return core_raise(core.ChannelError, error, "cannot publish to topic %R", ((core_message *)load)->topic);
}

static PyObject *as_result(int r, const core_channel *ch, PyObject *load) {
    return likely(r >= 0) ? PyLong_FromLong(r) : raise_error(r, ch, load);
}

/* --- In the line ------------------------------------------------------------------------------ */

static void published(int result, void *ctx) {
    core_operation *op = core_tether_answer(ctx);
    if (!op) return;
    op->result = result;
    Py_INCREF(op);
    if (!core_sleeper_wake(&op->sleeper)) channel_of(op)->lost_wakeups++;
    Py_DECREF(op);
}

static int get_in_line(core_operation *op, PyObject *load) {
    core_channel *ch = channel_of(op);
    mtaio_publication p;
    mtaio_pending *pending = NULL;
    if (core_load_launch(load, ch->flight, &p) < 0) return -1;
    tether *t = core_tether_new(op, &op->sent);
    if (!t) {
        core_load_recall(load);
        return -1;
    }
    int r = mtaio_channel_publish_async(
        ch->inner, &p, MTAIO_PUBLISHED(.call = published, .destroy = core_tether_release, .ctx = t),
        &pending);
    core_tether_tie(t, pending);
    op->in_line = r >= 0;
    if (op->in_line) return 0;
    core_load_recall(load);
    raise_error(r, ch, load);
    return -1;
}

/* What has become of it: EAGAIN, it is still there. */
static int look_in_line(core_operation *op) {
    if (op->sent && op->expired) core_tether_cancel(op->sent);
    if (op->sent) return MTAIO_EAGAIN;
    op->in_line = false;
    return op->result == MTAIO_ECANCELED && op->expired ? MTAIO_ETIMEDOUT : op->result;
}

static bool is_in_line(const core_operation *op) { return op->state == WAITING && op->in_line; }

static void publish_leave(core_operation *op) {
    if (op->sent) core_tether_cut(op->sent);
}

/* --- The operations --------------------------------------------------------------------------- */

static PySendResult publish_attempt(core_operation *op, PyObject **ret) {
    core_channel *ch = channel_of(op);
    int r = is_in_line(op) ? look_in_line(op) : try_publish(ch, op->argument);
    if (r == MTAIO_EAGAIN) {
        if (!op->expired || is_in_line(op)) return PYGEN_NEXT;
        r = MTAIO_ETIMEDOUT;
    }
    *ret = as_result(r, ch, op->argument);
    return likely(*ret) ? PYGEN_RETURN : PYGEN_ERROR;
}

static int publish_wait(core_operation *op) { return op->in_line ? 0 : get_in_line(op, op->argument); }

static const struct verb publish_verb = {
    .name = "Channel.publish", .attempt = publish_attempt, .wait = publish_wait, .leave = publish_leave};
static const struct verb broadcast_verb = {
    .name = "Channel.broadcast", .attempt = publish_attempt, .wait = publish_wait, .leave = publish_leave};

/* --- Many messages: the list of those that are still to be published -------------------------- */

/* One that can be handed to the core, which has each message object once at most. A new reference. */
static PyObject *load_at(PyObject *list, Py_ssize_t i) {
    PyObject *item = PyList_GET_ITEM(list, i);
    if (!PyObject_TypeCheck(item, &core_message_type)) {
        PyErr_Format(PyExc_TypeError, "messages must be Message objects, not %.100s", Py_TYPE(item)->tp_name);
        return NULL;
    }
    core_message *m = (core_message *)item;
    if (link_is_alone(&m->flight) && m->missed == 0) return Py_NewRef(item);
    return core_message_new(m->data, m->topic, m->metadata, 0);
}

/* Those from `from` on, as many as a chunk takes: how many were published, as the library says it. */
static int try_chunk(core_channel *ch, PyObject *list, Py_ssize_t from) {
    mtaio_publication p[CHUNK];
    int n = 0, r = 0;
    for (; n < CHUNK && from + n < PyList_GET_SIZE(list); n++) {
        PyObject *load = load_at(list, from + n);
        r = load ? core_load_launch(load, ch->flight, &p[n]) : -1;
        Py_XDECREF(load);
        if (r < 0) break;
    }
    if (n == 0) return -1;
    PyErr_Clear(); /* those before are published; the error comes when it is the turn of this one */
    r = mtaio_channel_publish_many(ch->inner, p, (size_t)n, 0);
    for (int i = r < 0 ? 0 : r; i < n; i++) core_load_recall((PyObject *)p[i].data);
    return r;
}

static PyObject *raise_first(int error, const core_channel *ch, PyObject *list) {
    if (error == -1) return NULL;
    return raise_error(error, ch, PyList_GET_ITEM(list, 0));
}

static PySendResult many_attempt(core_operation *op, PyObject **ret) {
    core_channel *ch = channel_of(op);
    PyObject *list = op->argument;
    Py_ssize_t taken = 0;
    int r = 0;
    if (is_in_line(op)) {
        r = look_in_line(op);
        taken = r >= 0;
    }
    while (r >= 0 && taken < PyList_GET_SIZE(list)) {
        r = try_chunk(ch, list, taken);
        taken += r > 0 ? r : 0;
    }
    op->count += taken;
    if (taken && PyList_SetSlice(list, 0, taken, NULL) < 0) return PYGEN_ERROR;
    if (r == MTAIO_EAGAIN) return PYGEN_NEXT;
    *ret = r >= 0 ? PyLong_FromSsize_t(op->count) : raise_first(r, ch, list);
    return *ret ? PYGEN_RETURN : PYGEN_ERROR;
}

static int many_wait(core_operation *op) {
    if (op->in_line) return 0;
    PyObject *load = load_at(op->argument, 0);
    int r = load ? get_in_line(op, load) : -1;
    Py_XDECREF(load);
    return r;
}

/* What is in the line is cancelled, unless that is just when it is carried out: then it is published. */
static void many_leave(core_operation *op) {
    if (op->sent) core_tether_cancel(op->sent);
    bool is_published = op->in_line && (op->sent || op->result >= 0);
    publish_leave(op);
    if (is_published && PyList_SetSlice(op->argument, 0, 1, NULL) < 0) PyErr_WriteUnraisable((PyObject *)op);
}

static const struct verb many_verb = {
    .name = "Channel.publish_many", .attempt = many_attempt, .wait = many_wait, .leave = many_leave};

static PyObject *many_new(PyObject *self, PyObject *list) {
    PyObject *op = core_operation_new(&many_verb, self, list);
    if (op) ((core_operation *)op)->count = 0;
    return op;
}

/* --- The methods ------------------------------------------------------------------------------ */

/* data, topic, metadata, perhaps timeout. */
static PyObject *make_load(const struct arguments *a, PyObject *const *args, Py_ssize_t nargs,
                           PyObject *names, PyObject **values) {
    if (likely(nargs == 1 && !names)) return core_load_make(args[0], NULL, NULL);
    return core_arguments(a, args, nargs, names, values) < 0
               ? NULL
               : core_load_make(values[0], values[1], values[2]);
}

static PyObject *publish(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const struct arguments a = {"publish", 3, 1, {"data", "topic", "metadata", NULL}};
    PyObject *values[3];
    return core_operation_new(&publish_verb, self, make_load(&a, args, nargs, names, values));
}

static PyObject *broadcast(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const struct arguments a = {"broadcast", 2, 1, {"data", "metadata", NULL}};
    PyObject *values[2];
    if (core_arguments(&a, args, nargs, names, values) < 0) return NULL;
    return core_operation_new(&broadcast_verb, self, core_load_make(values[0], NULL, values[1]));
}

static PyObject *publish_nowait(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const struct arguments a = {"publish_nowait", 3, 1, {"data", "topic", "metadata", NULL}};
    PyObject *values[3], *load = make_load(&a, args, nargs, names, values);
    if (unlikely(!load)) return NULL;
    core_channel *ch = (core_channel *)self;
    PyObject *result = as_result(try_publish(ch, load), ch, load);
    Py_DECREF(load);
    return result;
}

/* Only where it has to wait there is an operation that does so. */
static PyObject *publish_blocking(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const struct arguments a = {
        "publish_blocking", 4, 1, {"data", "topic", "metadata", "timeout", NULL}};
    PyObject *values[4] = {NULL}, *load = make_load(&a, args, nargs, names, values);
    core_channel *ch = (core_channel *)self;
    int64_t timeout_ns = -1;
    if (unlikely(!load)) return NULL;
    if (!core_timeout(values[3], &timeout_ns)) {
        Py_DECREF(load);
        return NULL;
    }
    int r = try_publish(ch, load);
    if (r != MTAIO_EAGAIN) {
        PyObject *result = as_result(r, ch, load);
        Py_DECREF(load);
        return result;
    }
    PyObject *op = core_operation_new(&publish_verb, self, load);
    if (op) core_operation_limit(op, timeout_ns);
    return core_operation_run(op);
}

static PyObject *publish_many(PyObject *self, PyObject *messages) {
    return many_new(self, PySequence_List(messages));
}

static PyObject *publish_list(PyObject *self, PyObject *list) {
    if (PyList_Check(list)) return many_new(self, Py_NewRef(list));
    return PyErr_Format(PyExc_TypeError, "a list is wanted, not %.100s", Py_TYPE(list)->tp_name);
}

PyMethodDef core_publish_methods[] = {
    {"publish", FAST_METHOD(publish),
     "publish($self, /, data, topic=None, metadata=None)\n--\n\n"
     "Give a message to every subscriber of the topic; one without topic to every subscriber.\n\n"
     "Waits while the buffer of one of them is full and its policy is \"block\".\n\n"
     "Args:\n"
     "    data: Message data\n"
     "    topic: A name like \"user.login\"\n"
     "    metadata: Optional message metadata, a mapping\n\n"
     "Returns:\n"
     "    The number of subscribers reached\n\n"
     "Raises:\n"
     "    ChannelClosedError: The channel is closed, or was closed meanwhile\n"
     "    ChannelFullError: A buffer is full and its policy is \"error\": nobody has got the message\n"
     "    ChannelError: The topic is no name\n\n"
     "A publish that is cancelled while it waits reaches nobody, or it was just being carried out."},
    {"broadcast", FAST_METHOD(broadcast),
     "broadcast($self, /, data, metadata=None)\n--\n\n"
     "Give a message to every subscriber, whatever topics it has: publish() without a topic."},
    {"publish_nowait", FAST_METHOD(publish_nowait),
     "publish_nowait($self, /, data, topic=None, metadata=None)\n--\n\n"
     "Publish at once, in any thread, with a loop or without.\n\n"
     "Raises ChannelFullError where it would have to wait."},
    {"publish_blocking", FAST_METHOD(publish_blocking),
     "publish_blocking($self, /, data, topic=None, metadata=None, timeout=None)\n--\n\n"
     "Publish from a plain thread, which is blocked while it has to wait.\n\n"
     "Raises ChannelTimeoutError after `timeout` seconds: then nobody has got the message."},
    {"publish_many", publish_many, METH_O,
     "publish_many($self, messages, /)\n--\n\n"
     "Publish several Message objects in order, with one wake-up for each subscriber.\n\n"
     "Returns how many were published: all, or an exception says why the next one could not be."},
    {"_publish_list", publish_list, METH_O,
     "_publish_list($self, messages, /)\n--\n\n"
     "publish_many, which takes from the list what was published."},
    {NULL, NULL, 0, NULL},
};
