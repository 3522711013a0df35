/* binding.c - the type mtaio._nats.Binding: its life, and what it counts. */
#include "module.h"

#include <stdlib.h>
#include <string.h>

enum {
    WIRE_IN = 4096
}; /* messages that came and are not decoded yet, before the client library keeps more */

static const char *const all[] = {"*", NULL};

static void tell(nats_binding *b, const char *name, const char *text) {
    const mtaio_nats_state state = {.server = "", .prefix = b->prefix, .text = text, .count = 1};
    mailbox_tell(((nats_connection *)b->connection)->box, name, &state);
}

void binding_refuse(nats_binding *b, const char *text) {
    b->refused++;
    tell(b, "nats.refused", text);
}

void binding_lose(nats_binding *b, int error) {
    b->lost++;
    tell(b, "nats.lost", mtaio_error_text(error));
}

/* --- Beginning --------------------------------------------------------------------------------- */

struct wishes {
    const char *prefix;
    const char **send, **take; /* NULL: nothing */
    size_t buffer_size;
    mtaio_overflow overflow;
    int pack;
    mtaio_nats_stream *stream; /* NULL: not durable */
    int emits;                 /* the stream's messages: they are not published on the channel */
};

/* The UTF-8 of a tuple of strs; *ret NULL where it is empty. Valid as long as the tuple. */
static int read_patterns(PyObject *tuple, const char ***ret) {
    Py_ssize_t n = PyTuple_GET_SIZE(tuple);
    *ret = NULL;
    if (n == 0) return 0;
    const char **patterns = PyMem_New(const char *, (size_t)n + 1);
    if (!patterns) {
        PyErr_NoMemory();
        return -1;
    }
    *ret = patterns;
    for (Py_ssize_t i = 0; i < n; i++)
        if (!(patterns[i] = nats_utf8(PyTuple_GET_ITEM(tuple, i), "a pattern"))) return -1;
    patterns[n] = NULL;
    return 0;
}

static int make_wire(nats_binding *b, struct wishes *w) {
    struct mailbox *box = ((nats_connection *)b->connection)->box;
    int r = (b->prefix = strdup(w->prefix)) ? 0 : MTAIO_ENOMEM;
    if (r >= 0) r = mtaio_channel_new(NULL, &b->wire);
    if (r >= 0 && w->emits) {
        r = stream_make_emitter(box, b->id, &b->emitter);
        w->stream->emitter = b->emitter;
    }
    if (r >= 0 && w->take && !w->emits)
        r = mtaio_channel_subscribe(
            b->wire, MTAIO_SUBSCRIPTION(.buffer_size = WIRE_IN, .overflow = MTAIO_BLOCK, .origin = b),
            &b->in);
    if (r >= 0 && !(b->room_out = signal_new(box, b->id, false))) r = MTAIO_ENOMEM;
    if (r >= 0 && !(b->room_in = signal_new(box, b->id, true))) r = MTAIO_ENOMEM;
    return r;
}

/* What the binding sends is chosen before the wire, from which all is sent. */
static int bind_wire(nats_binding *b, const struct wishes *w, size_t buffer_size, mtaio_overflow overflow) {
    mtaio_nats *nats = ((nats_connection *)b->connection)->inner;
    int r;
    Py_BEGIN_ALLOW_THREADS;
    r = mtaio_nats_bind(nats, b->wire,
                        MTAIO_NATS_BINDING_OPTIONS(.prefix = w->prefix, .send = w->send ? all : NULL,
                                                   .take = w->take, .buffer_size = buffer_size,
                                                   .overflow = overflow, .pack = w->pack,
                                                   .durable = w->stream),
                        &b->inner);
    Py_END_ALLOW_THREADS;
    return r;
}

static int begin(nats_binding *b, struct wishes *w) {
    size_t before, on_wire;
    mtaio_overflow overflow = outgoing_divide(w->buffer_size, w->overflow, &before, &on_wire);
    int r = make_wire(b, w);
    for (const char **p = w->send; r >= 0 && p && *p; p++) r = mtaio_pattern_matches(*p, "a");
    if (r >= 0) r = bind_wire(b, w, on_wire, overflow);
    if (r < 0) {
        nats_raise(r, "cannot bind the channel");
        return -1;
    }
    return w->send ? outgoing_start(b, w->send, before, w->overflow) : 0;
}

static int use_codec(nats_binding *b, PyObject *codec) {
    bool is_name = PyUnicode_Check(codec);
    if (is_name && PyUnicode_CompareWithASCIIString(codec, "bytes") == 0)
        b->codec = CODEC_BYTES;
    else if (is_name && PyUnicode_CompareWithASCIIString(codec, "str") == 0)
        b->codec = CODEC_STR;
    else {
        b->codec = CODEC_OTHER;
        b->encode = PyObject_GetAttrString(codec, "encode");
        b->decode = b->encode ? PyObject_GetAttrString(codec, "decode") : NULL;
        return b->decode ? 0 : -1;
    }
    return 0;
}

/* Binding(connection, channel, id, prefix, send, take, codec, buffer_size, overflow, pack, stream): send and
 * take are tuples of patterns; the codec is "bytes", "str" or an object; buffer_size < 0: any number;
 * overflow is the library's; stream is a tuple, see stream.c, or None. Waits. */
static PyObject *binding_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    PyObject *connection, *channel, *send, *take, *codec, *stream;
    mtaio_nats_stream how;
    unsigned long long id;
    Py_ssize_t buffer_size;
    int overflow;
    struct wishes w = {0};
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "O!OKsO!O!OnipO", nats_connection_type, &connection, &channel, &id, &w.prefix,
                          &PyTuple_Type, &send, &PyTuple_Type, &take, &codec, &buffer_size, &overflow,
                          &w.pack, &stream))
        return NULL;
    mtaio_channel *target = nats_module.core->channel(channel);
    nats_binding *b = target ? (nats_binding *)type->tp_alloc(type, 0) : NULL;
    if (!b) return NULL;
    b->connection = Py_NewRef(connection);
    b->channel = Py_NewRef(channel);
    b->target = target;
    b->id = id;
    w.buffer_size = buffer_size < 0 ? MTAIO_UNBOUNDED : (size_t)buffer_size;
    w.overflow = (mtaio_overflow)overflow;
    int r = use_codec(b, codec);
    if (r == 0) r = read_patterns(send, &w.send);
    if (r == 0) r = read_patterns(take, &w.take);
    if (r == 0 && stream != Py_None) {
        w.stream = &how;
        r = stream_read(stream, &how, &w.emits);
    }
    if (r == 0) r = begin(b, &w);
    PyMem_Free(w.send);
    PyMem_Free(w.take);
    if (r < 0) Py_CLEAR(b);
    return (PyObject *)b;
}

/* --- The end ----------------------------------------------------------------------------------- */

static int binding_traverse(PyObject *self, visitproc visit, void *arg) {
    nats_binding *b = (nats_binding *)self;
    Py_VISIT(b->connection);
    Py_VISIT(b->channel);
    Py_VISIT(b->encode);
    Py_VISIT(b->decode);
    Py_VISIT(Py_TYPE(self));
    return 0;
}

/* Nothing of Python's is used by the library any more. */
static void let_go(nats_binding *b) {
    outgoing_stop(b);
    if (b->in_line_in) mtaio_pending_cancel(b->in_line_in);
    b->in_line_in = mtaio_pending_unref(b->in_line_in);
    b->out = mtaio_subscriber_unref(b->out);
}

static int binding_clear(PyObject *self) {
    nats_binding *b = (nats_binding *)self;
    let_go(b);
    Py_CLEAR(b->channel);
    Py_CLEAR(b->encode);
    Py_CLEAR(b->decode);
    return 0;
}

static void free_wire(nats_binding *b) {
    if (b->has_kept) mtaio_message_clear(&b->kept);
    Py_BEGIN_ALLOW_THREADS;
    mtaio_nats_binding_unref(b->inner);
    mtaio_emitter_unref(b->emitter);
    mtaio_subscriber_unref(b->in);
    mtaio_channel_unref(b->wire);
    Py_END_ALLOW_THREADS;
    signal_unref(b->room_out);
    signal_unref(b->room_in);
    free(b->prefix);
}

static void binding_dealloc(PyObject *self) {
    nats_binding *b = (nats_binding *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject *error_type, *error, *traceback;
    PyObject_GC_UnTrack(self);
    PyErr_Fetch(&error_type, &error, &traceback);
    binding_clear(self);
    free_wire(b);
    PyErr_Restore(error_type, error, traceback);
    Py_XDECREF(b->connection);
    type->tp_free(self);
    Py_DECREF(type);
}

/* close(timeout_ns): sends what is on the wire, and ends the binding. Waits. False: something was left. */
static PyObject *binding_close(PyObject *self, PyObject *timeout) {
    nats_binding *b = (nats_binding *)self;
    long long timeout_ns = PyLong_AsLongLong(timeout);
    int r;
    if (timeout_ns == -1 && PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    r = mtaio_nats_unbind(b->inner, timeout_ns);
    Py_END_ALLOW_THREADS;
    if (r < 0 && r != MTAIO_ETIMEDOUT) return nats_raise(r, "cannot end the binding");
    return PyBool_FromLong(r >= 0);
}

static PyObject *binding_stop_sending(PyObject *self, PyObject *unused) {
    (void)unused;
    outgoing_stop((nats_binding *)self);
    Py_RETURN_NONE;
}

static PyObject *binding_stop_taking(PyObject *self, PyObject *unused) {
    (void)unused;
    incoming_stop((nats_binding *)self);
    Py_RETURN_NONE;
}

/* --- While it lasts ---------------------------------------------------------------------------- */

/* take(most): how many; -1: it waits for room. */
static PyObject *binding_take(PyObject *self, PyObject *most) {
    int limit = (int)PyLong_AsLong(most);
    if (limit == -1 && PyErr_Occurred()) return NULL;
    int r = incoming_take((nats_binding *)self, limit);
    return r == -2 ? NULL : PyLong_FromLong(r);
}

/* go_on(is_incoming): after its signal. */
static PyObject *binding_go_on(PyObject *self, PyObject *is_incoming) {
    if (is_incoming == Py_True)
        incoming_go_on((nats_binding *)self);
    else if (outgoing_go_on((nats_binding *)self) < 0)
        return NULL;
    Py_RETURN_NONE;
}

/* refuse(text): a request. */
static PyObject *binding_refuse_text(PyObject *self, PyObject *text) {
    const char *utf8 = PyUnicode_Check(text) ? PyUnicode_AsUTF8(text) : NULL;
    if (!utf8) PyErr_Clear();
    binding_refuse((nats_binding *)self, utf8 ? utf8 : "");
    Py_RETURN_NONE;
}

/* flush(timeout_ns): what is on the wire. Waits. */
static PyObject *binding_flush(PyObject *self, PyObject *timeout) {
    nats_binding *b = (nats_binding *)self;
    long long timeout_ns = PyLong_AsLongLong(timeout);
    int r;
    if (timeout_ns == -1 && PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    r = mtaio_nats_flush(b->inner, timeout_ns);
    Py_END_ALLOW_THREADS;
    if (r < 0) return nats_raise(r, "flushing");
    Py_RETURN_NONE;
}

static PyObject *binding_fileno(PyObject *self, PyObject *unused) {
    (void)unused;
    nats_binding *b = (nats_binding *)self;
    int fd = b->in ? mtaio_subscriber_fd(b->in) : -1;
    return b->in && fd < 0 ? nats_raise(fd, "no descriptor") : PyLong_FromLong(fd);
}

static mtaio_subscriber_stats waiting_before(const nats_binding *b) {
    mtaio_subscriber_stats s = {.size = sizeof s};
    if (b->out) mtaio_subscriber_stats_get(b->out, &s);
    return s;
}

/* The numbers of all messages that were to be sent, and of those that are on the wire, or were; and whether
 * one is in its line. */
static PyObject *binding_progress(PyObject *self, PyObject *unused) {
    (void)unused;
    nats_binding *b = (nats_binding *)self;
    mtaio_subscriber_stats s = waiting_before(b);
    unsigned long long wanted = s.reached - s.dropped, moved = b->moved;
    return Py_BuildValue("(KKN)", wanted, moved, PyBool_FromLong(b->in_line_out));
}

/* sent, unsent, dropped, taken, lost, refused, acknowledged, unacknowledged, open, redelivered, dead */
static PyObject *binding_stats(PyObject *self, PyObject *unused) {
    (void)unused;
    nats_binding *b = (nats_binding *)self;
    mtaio_subscriber_stats before = waiting_before(b);
    mtaio_nats_stats s = {.size = sizeof s};
    int r = mtaio_nats_stats_get(b->inner, &s);
    if (r < 0) return nats_raise(r, "no statistics");
    const uint64_t values[] = {s.sent,
                               s.unsent + before.waiting + b->in_line_out,
                               s.dropped + before.dropped + b->dropped,
                               b->emitter ? s.taken : b->taken,
                               s.lost + b->lost,
                               s.refused + b->refused,
                               s.acknowledged,
                               s.unacknowledged,
                               s.open,
                               s.redelivered,
                               s.dead};
    const Py_ssize_t count = sizeof values / sizeof *values;
    PyObject *tuple = PyTuple_New(count);
    for (Py_ssize_t i = 0; tuple && i < count; i++) {
        PyObject *value = PyLong_FromUnsignedLongLong(values[i]);
        if (value)
            PyTuple_SET_ITEM(tuple, i, value);
        else
            Py_CLEAR(tuple);
    }
    return tuple;
}

static PyMethodDef binding_methods[] = {
    {"close", binding_close, METH_O, NULL},
    {"stop_sending", binding_stop_sending, METH_NOARGS, NULL},
    {"stop_taking", binding_stop_taking, METH_NOARGS, NULL},
    {"take", binding_take, METH_O, NULL},
    {"go_on", binding_go_on, METH_O, NULL},
    {"flush", binding_flush, METH_O, NULL},
    {"fileno", binding_fileno, METH_NOARGS, NULL},
    {"progress", binding_progress, METH_NOARGS, NULL},
    {"stats", binding_stats, METH_NOARGS, NULL},
    {"refuse", binding_refuse_text, METH_O, NULL},
    {"ask", binding_ask, METH_VARARGS, NULL},
    {"cancel", binding_cancel, METH_O, NULL},
    {"serve", binding_serve, METH_VARARGS, NULL},
    {"decode", binding_decode, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot binding_slots[] = {
    {Py_tp_doc, "A channel that is bound, see mtaio.nats."},
    {Py_tp_new, SLOT(binding_new)},
    {Py_tp_dealloc, SLOT(binding_dealloc)},
    {Py_tp_traverse, SLOT(binding_traverse)},
    {Py_tp_clear, SLOT(binding_clear)},
    {Py_tp_methods, binding_methods},
    {0, NULL},
};

static PyType_Spec binding_spec = {
    .name = "mtaio._nats.Binding",
    .basicsize = sizeof(nats_binding),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .slots = binding_slots,
};

int nats_add_binding(PyObject *module) {
    PyObject *type = PyType_FromSpec(&binding_spec);
    int r = type ? PyModule_AddObjectRef(module, "Binding", type) : -1;
    Py_XDECREF(type);
    return r;
}
