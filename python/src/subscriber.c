/* subscriber.c - subscriptions. They live as long as they are referenced: the last reference unsubscribes. */
#include "channels.h"

static void drop_kept(core_subscriber *sub) {
    if (sub->has_kept) mtaio_message_clear(&sub->kept);
    sub->has_kept = false;
}

PyObject *core_subscriber_new(mtaio_subscriber *inner, const core_channel *ch, PyObject *topics) {
    core_subscriber *sub = PyObject_GC_New(core_subscriber, &core_subscriber_type);
    if (!sub) {
        mtaio_subscriber_unref(inner);
        return NULL;
    }
    sub->inner = inner;
    sub->name = Py_NewRef(ch->name);
    sub->flight = Py_NewRef(ch->flight);
    sub->called = 0;
    sub->watch = NULL;
    sub->has_kept = false;
    sub->lost_wakeups = 0;
    sub->weakrefs = NULL;
    link_init(&sub->waiting);
    sub->topics = PySet_New(topics);
    PyObject_GC_Track(sub);
    if (!sub->topics) Py_CLEAR(sub);
    return (PyObject *)sub;
}

static int subscriber_traverse(PyObject *self, visitproc visit, void *arg) {
    core_subscriber *sub = (core_subscriber *)self;
    Py_VISIT(sub->flight);
    Py_VISIT(sub->topics);
    return 0;
}

/* Ends the subscription: what is in the buffer is part of the cycle, or nobody will ever see it. */
static int subscriber_clear(PyObject *self) {
    core_subscriber *sub = (core_subscriber *)self;
    mtaio_subscriber *inner = sub->inner;
    core_subscriber_unwatch(sub);
    sub->inner = NULL;
    drop_kept(sub);
    mtaio_subscriber_unref(inner);
    return 0;
}

static void subscriber_dealloc(PyObject *self) {
    core_subscriber *sub = (core_subscriber *)self;
    PyObject_GC_UnTrack(self);
    if (sub->weakrefs) PyObject_ClearWeakRefs(self);
    PyObject *error = core_take_error(); /* publishers that waited for us are woken */
    subscriber_clear(self);
    if (error) core_give_error(error);
    Py_DECREF(sub->name);
    Py_DECREF(sub->flight);
    Py_XDECREF(sub->topics);
    PyObject_GC_Del(self);
}

static PyObject *subscriber_repr(PyObject *self) {
    core_subscriber *sub = (core_subscriber *)self;
    return PyUnicode_FromFormat("<Subscriber of %R at %p>", sub->name, (void *)self);
}

/* --- Topics ----------------------------------------------------------------------------------- */

/* change: mtaio_subscriber_add or _drop, which tells whether there was anything to do. */
static PyObject *change_topics(PyObject *self, PyObject *topic,
                               int (*change)(mtaio_subscriber *, const char *),
                               int (*note)(PyObject *, PyObject *)) {
    core_subscriber *sub = (core_subscriber *)self;
    const char *pattern = core_utf8(topic, core.ChannelError);
    if (!pattern) return NULL;
    int r = change(sub->inner, pattern);
    if (r == MTAIO_ECLOSED) return core_channel_raise(r, sub->name);
    if (r < 0) return core_raise(core.ChannelError, r, "topic %R", topic);
    if (r > 0 && note(sub->topics, topic) < 0) return NULL;
    return PyBool_FromLong(r);
}

static PyObject *subscriber_add(PyObject *self, PyObject *topic) {
    return change_topics(self, topic, mtaio_subscriber_add, PySet_Add);
}

static PyObject *subscriber_drop(PyObject *self, PyObject *topic) {
    return change_topics(self, topic, mtaio_subscriber_drop, PySet_Discard);
}

static PyObject *get_topics(PyObject *self, void *unused) {
    (void)unused;
    return PyFrozenSet_New(((core_subscriber *)self)->topics);
}

/* --- The end ---------------------------------------------------------------------------------- */

static void end_subscription(PyObject *self) {
    core_subscriber *sub = (core_subscriber *)self;
    drop_kept(sub);
    mtaio_unsubscribe(sub->inner);
}

static PyObject *subscriber_unsubscribe(PyObject *self, PyObject *unused) {
    static const struct verb verb = {"Subscriber.unsubscribe", .is_done = true,
                                     .attempt = core_operation_result};
    (void)unused;
    end_subscription(self);
    return core_operation_new(&verb, self, Py_NewRef(Py_None));
}

static PyObject *subscriber_aenter(PyObject *self, PyObject *unused) {
    static const struct verb verb = {"Subscriber.__aenter__", .is_done = true,
                                     .attempt = core_operation_result};
    (void)unused;
    return core_operation_new(&verb, self, Py_NewRef(self));
}

static PyObject *subscriber_aexit(PyObject *self, PyObject *exception) {
    (void)exception;
    return subscriber_unsubscribe(self, NULL);
}

static PyObject *subscriber_enter(PyObject *self, PyObject *unused) {
    (void)unused;
    return Py_NewRef(self);
}

static PyObject *subscriber_exit(PyObject *self, PyObject *exception) {
    (void)exception;
    end_subscription(self);
    Py_RETURN_NONE;
}

/* --- The type --------------------------------------------------------------------------------- */

static PyObject *get_stats(PyObject *self, void *unused) {
    (void)unused;
    return core_subscriber_statistics((core_subscriber *)self);
}

static PyObject *subscriber_fileno(PyObject *self, PyObject *unused) {
    (void)unused;
    int fd = mtaio_subscriber_fd(((core_subscriber *)self)->inner);
    return fd >= 0 ? PyLong_FromLong(fd) : core_raise(core.ChannelError, fd, "no descriptor");
}

static PyMethodDef subscriber_methods[] = {
    {"add", subscriber_add, METH_O,
     "add($self, topic, /)\n--\n\n"
     "Add a topic, or a pattern of topics: False where it was there.\n\n"
     "The first one restricts a subscriber of everything to it."},
    {"drop", subscriber_drop, METH_O,
     "drop($self, topic, /)\n--\n\n"
     "Drop a topic: False where it was not there. Without any, only messages without a topic come."},
    {"unsubscribe", subscriber_unsubscribe, METH_NOARGS,
     "unsubscribe($self, /)\n--\n\n"
     "End the subscription: what waits is dropped, and receiving raises ChannelClosedError.\n\n"
     "It is done at once, in any thread; what is returned may be awaited."},
    {"fileno", subscriber_fileno, METH_NOARGS,
     "fileno($self, /)\n--\n\n"
     "A descriptor for select, poll and epoll: readable while a receive would not have to wait."},
    {"__aenter__", subscriber_aenter, METH_NOARGS, NULL},
    {"__aexit__", subscriber_aexit, METH_VARARGS, NULL},
    {"__enter__", subscriber_enter, METH_NOARGS, NULL},
    {"__exit__", subscriber_exit, METH_VARARGS, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS,
     "Subscriber[T]: of a channel whose data are T."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef subscriber_getset[] = {
    {"topics", get_topics, NULL, "The topics and patterns that it was given; none: everything.", NULL},
    {"stats", get_stats, NULL, "What was counted: reached = delivered + dropped + waiting.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyAsyncMethods subscriber_async = {.am_aiter = Py_NewRef, .am_anext = core_subscriber_next};

PyTypeObject core_subscriber_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "mtaio.events.Subscriber",
    .tp_basicsize = sizeof(core_subscriber),
    .tp_doc = "What Channel.subscribe() returns: it receives messages, by `async for` until the end.\n\n"
              "The subscription lives as long as this object is referenced, or until it is ended. It may\n"
              "be used in several tasks, loops and threads: then each message goes to one of them.",
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = subscriber_dealloc,
    .tp_traverse = subscriber_traverse,
    .tp_clear = subscriber_clear,
    .tp_repr = subscriber_repr,
    .tp_as_async = &subscriber_async,
    .tp_methods = subscriber_methods,
    .tp_getset = subscriber_getset,
    .tp_weaklistoffset = offsetof(core_subscriber, weakrefs),
};
