/* channel.c - channels, and what the channel half adds to the module. */
#include "channels.h"
#include "coroutine.h"

struct core_names core_names;

PyObject *core_channel_raise(int error, PyObject *name) {
    switch (error) {
    case MTAIO_ECLOSED:
        return PyErr_Format(core.ChannelClosedError, "channel %R is closed, or the subscription has ended",
                            name);
    case MTAIO_ETIMEDOUT:
        return PyErr_Format(core_names.TimeoutError, "the time limit passed, waiting for channel %R", name);
    case MTAIO_EAGAIN:
    case MTAIO_ELIMIT:
        return PyErr_Format(core.ChannelFullError, "a buffer of channel %R is full", name);
    default:
        return core_raise(core.ChannelError, error, "channel %R", name);
    }
}

/* --- Life ------------------------------------------------------------------------------------- */

static PyObject *channel_create(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)args, (void)kwargs;
    core_channel *ch = (core_channel *)type->tp_alloc(type, 0);
    if (!ch) return NULL;
    ch->name = PyUnicode_FromString("");
    ch->flight = core_flight_new();
    if (!ch->name || !ch->flight) Py_CLEAR(ch);
    return (PyObject *)ch;
}

static int channel_init(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"name",   "max_subscribers", "buffer_size", "overflow",
                            "replay", "replay_by_topic", NULL};
    core_channel *ch = (core_channel *)self;
    mtaio_channel_options o = {.size = sizeof o};
    PyObject *name = NULL, *max_subscribers = NULL, *buffer_size = NULL, *overflow = NULL, *replay = NULL;
    int by_topic = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|U$OOOOp:Channel", names, &name, &max_subscribers,
                                     &buffer_size, &overflow, &replay, &by_topic))
        return -1;
    if (core_size(max_subscribers, "max_subscribers", 0, &o.max_subscribers) < 0) return -1;
    if (core_size(buffer_size, "buffer_size", 0, &o.buffer_size) < 0) return -1;
    if (core_size(replay, "replay", 0, &o.replay) < 0) return -1;
    int policy = core_overflow(overflow);
    if (policy < 0 || (name && !(o.name = core_utf8(name, PyExc_ValueError)))) return -1;
    o.overflow = (mtaio_overflow)policy;
    o.replay_by_topic = by_topic;
    if (ch->inner) {
        PyErr_SetString(PyExc_RuntimeError, "this channel has begun already");
        return -1;
    }
    int r = mtaio_channel_new(&o, &ch->inner);
    if (r < 0) {
        core_raise(core.ChannelError, r, "cannot make a channel");
        return -1;
    }
    ch->max_subscribers = o.max_subscribers;
    ch->buffer_size = o.buffer_size;
    if (name) Py_SETREF(ch->name, Py_NewRef(name));
    return 0;
}

static int channel_traverse(PyObject *self, visitproc visit, void *arg) {
    Py_VISIT(((core_channel *)self)->flight);
    return 0;
}

/* Closes it. */
static int channel_clear(PyObject *self) {
    core_channel *ch = (core_channel *)self;
    mtaio_channel *inner = ch->inner;
    ch->inner = NULL;
    mtaio_channel_unref(inner);
    return 0;
}

static void channel_dealloc(PyObject *self) {
    core_channel *ch = (core_channel *)self;
    PyObject_GC_UnTrack(self);
    if (ch->weakrefs) PyObject_ClearWeakRefs(self);
    PyObject *error = core_take_error(); /* those who wait are woken */
    channel_clear(self);
    if (error) core_give_error(error);
    Py_XDECREF(ch->name);
    Py_XDECREF(ch->flight);
    Py_TYPE(self)->tp_free(self);
}

static PyObject *channel_repr(PyObject *self) {
    core_channel *ch = (core_channel *)self;
    return PyUnicode_FromFormat("<%s %R, %zu subscribers%s>", Py_TYPE(self)->tp_name, ch->name,
                                mtaio_channel_count(ch->inner),
                                mtaio_channel_is_closed(ch->inner) ? ", closed" : "");
}

/* --- Subscribing ------------------------------------------------------------------------------ */

/* A str, or an iterable of strs; NULL and None: everything. A tuple of strs that are UTF-8. */
static PyObject *make_topics(PyObject *topics) {
    if (!topics || topics == Py_None) return PyTuple_New(0);
    PyObject *tuple = PyUnicode_Check(topics) ? PyTuple_Pack(1, topics) : PySequence_Tuple(topics);
    for (Py_ssize_t i = 0; tuple && i < PyTuple_GET_SIZE(tuple); i++)
        if (!core_utf8(PyTuple_GET_ITEM(tuple, i), core.ChannelError)) Py_CLEAR(tuple);
    return tuple;
}

static PyObject *raise_subscribe(int error, const core_channel *ch, PyObject *topics) {
    if (error == MTAIO_EPATTERN)
        return core_raise(core.ChannelError, error, "cannot subscribe to %R", topics);
    if (error != MTAIO_ELIMIT) return core_channel_raise(error, ch->name);
    return PyErr_Format(core.ChannelFullError, "channel %R has %zu subscribers, as many as it may have",
                        ch->name, ch->max_subscribers);
}

static PyObject *subscribe_now(core_channel *ch, PyObject *topics, mtaio_subscription s) {
    Py_ssize_t n = PyTuple_GET_SIZE(topics);
    const char **patterns = PyMem_New(const char *, (size_t)n + 1);
    if (!patterns) return PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < n; i++)
        patterns[i] = PyUnicode_AsUTF8(PyTuple_GET_ITEM(topics, i)); /* known by now */
    patterns[n] = NULL;
    s.patterns = patterns;
    mtaio_subscriber *inner;
    int r = mtaio_channel_subscribe(ch->inner, &s, &inner);
    PyMem_Free(patterns);
    return r < 0 ? raise_subscribe(r, ch, topics) : core_subscriber_new(inner, ch, topics);
}

/* topics, buffer_size, overflow, replay: -1, or the topics as a new reference and the others in s. */
static PyObject *subscribe_arguments(PyObject *const *args, Py_ssize_t nargs, PyObject *names,
                                     mtaio_subscription *s) {
    static const struct arguments a = {
        "subscribe", 1, 0, {"topics", "buffer_size", "overflow", "replay", NULL}};
    PyObject *values[4];
    *s = (mtaio_subscription){.size = sizeof *s};
    if (core_arguments(&a, args, nargs, names, values) < 0) return NULL;
    if (core_size(values[1], "buffer_size", 0, &s->buffer_size) < 0) return NULL;
    if (values[1] && values[1] != Py_None && s->buffer_size == 0) s->buffer_size = MTAIO_UNBOUNDED;
    int policy = core_overflow(values[2]), replay = values[3] ? PyObject_IsTrue(values[3]) : 1;
    if (policy < 0 || replay < 0) return NULL;
    s->overflow = (mtaio_overflow)policy;
    s->no_replay = !replay;
    return make_topics(values[0]);
}

static PySendResult subscribe_attempt(core_operation *op, PyObject **ret) {
    mtaio_subscription s = {.size = sizeof s,
                            .buffer_size = (size_t)op->count,
                            .overflow = (mtaio_overflow)(op->choice / 2),
                            .no_replay = op->choice % 2};
    *ret = subscribe_now((core_channel *)op->target, op->argument, s);
    return *ret ? PYGEN_RETURN : PYGEN_ERROR;
}

static PyObject *subscribe(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const struct verb verb = {.name = "Channel.subscribe", .attempt = subscribe_attempt};
    mtaio_subscription s;
    PyObject *o = core_operation_new(&verb, self, subscribe_arguments(args, nargs, names, &s));
    if (!o) return NULL;
    core_operation *op = (core_operation *)o;
    op->count = (Py_ssize_t)s.buffer_size;
    op->choice = (int)s.overflow * 2 + s.no_replay;
    return o;
}

static PyObject *subscribe_nowait(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    mtaio_subscription s;
    PyObject *topics = subscribe_arguments(args, nargs, names, &s);
    PyObject *sub = topics ? subscribe_now((core_channel *)self, topics, s) : NULL;
    Py_XDECREF(topics);
    return sub;
}

static PyObject *unsubscribe(PyObject *self, PyObject *subscriber) {
    if (!PyObject_TypeCheck(subscriber, &core_subscriber_type))
        return PyErr_Format(PyExc_TypeError, "a Subscriber is wanted, not %.100s",
                            Py_TYPE(subscriber)->tp_name);
    if (((core_subscriber *)subscriber)->flight != ((core_channel *)self)->flight)
        return PyErr_Format(core.ChannelError, "%R is not of channel %R", subscriber,
                            ((core_channel *)self)->name);
    return PyObject_CallMethod(subscriber, "unsubscribe", NULL);
}

/* --- Closing ---------------------------------------------------------------------------------- */

static PyObject *channel_close(PyObject *self, PyObject *unused) {
    static const struct verb verb = {
        .name = "Channel.close", .is_done = true, .attempt = core_operation_result};
    (void)unused;
    mtaio_channel_close(((core_channel *)self)->inner);
    return core_operation_new(&verb, self, Py_NewRef(Py_None));
}

static PyObject *channel_aenter(PyObject *self, PyObject *unused) {
    static const struct verb verb = {
        .name = "Channel.__aenter__", .is_done = true, .attempt = core_operation_result};
    (void)unused;
    return core_operation_new(&verb, self, Py_NewRef(self));
}

static PyObject *channel_aexit(PyObject *self, PyObject *exception) {
    (void)exception;
    return channel_close(self, NULL);
}

static PyObject *channel_enter(PyObject *self, PyObject *unused) {
    (void)unused;
    return Py_NewRef(self);
}

static PyObject *channel_exit(PyObject *self, PyObject *exception) {
    (void)exception;
    mtaio_channel_close(((core_channel *)self)->inner);
    Py_RETURN_NONE;
}

/* --- What it shows ---------------------------------------------------------------------------- */

static PyObject *channel_reach(PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *names) {
    static const struct arguments a = {"reach", 1, 0, {"topic", NULL}};
    PyObject *topic = NULL;
    const char *name = NULL;
    if (core_arguments(&a, args, nargs, names, &topic) < 0) return NULL;
    if (topic && topic != Py_None && !(name = core_utf8(topic, core.ChannelError))) return NULL;
    int r = mtaio_channel_reach(((core_channel *)self)->inner, name);
    return r < 0 ? core_raise(core.ChannelError, r, "topic %R", topic) : PyLong_FromLong(r);
}

static PyObject *get_name(PyObject *self, void *unused) {
    (void)unused;
    return Py_NewRef(((core_channel *)self)->name);
}

static PyObject *get_count(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromSize_t(mtaio_channel_count(((core_channel *)self)->inner));
}

static PyObject *get_closed(PyObject *self, void *unused) {
    (void)unused;
    return PyBool_FromLong(mtaio_channel_is_closed(((core_channel *)self)->inner));
}

static PyObject *get_stats(PyObject *self, void *unused) {
    (void)unused;
    return core_channel_statistics((core_channel *)self);
}

static PyObject *get_max_subscribers(PyObject *self, void *unused) {
    (void)unused;
    size_t n = ((core_channel *)self)->max_subscribers;
    return n ? PyLong_FromSize_t(n) : Py_NewRef(Py_None);
}

static PyObject *get_buffer_size(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromSize_t(((core_channel *)self)->buffer_size);
}

/* --- The type --------------------------------------------------------------------------------- */

static PyMethodDef channel_methods[] = {
    {"subscribe", FAST_METHOD(subscribe),
     "subscribe($self, /, topics=None, *, buffer_size=None, overflow=None, replay=True)\n--\n\n"
     "Subscribe to the channel.\n\n"
     "Args:\n"
     "    topics: Patterns like [\"user.*\", \"system.**\"], or one of them as a str; none: everything\n"
     "    buffer_size: How many messages may wait, 0: any number; not given: as for the channel\n"
     "    overflow: What happens when they do, \"block\", \"drop_oldest\", \"drop_newest\" or \"error\";\n"
     "        not given: as for the channel\n"
     "    replay: Whether to begin with the messages that the channel keeps for late subscribers\n\n"
     "Returns:\n"
     "    A Subscriber: the subscription lives as long as it does\n\n"
     "Raises:\n"
     "    ChannelClosedError: The channel is closed\n"
     "    ChannelFullError: It has max_subscribers\n"
     "    ChannelError: A topic is no pattern"},
    {"subscribe_nowait", FAST_METHOD(subscribe_nowait),
     "subscribe_nowait($self, /, topics=None, *, buffer_size=None, overflow=None, replay=True)\n--\n\n"
     "subscribe() for any thread, with a loop or without."},
    {"unsubscribe", unsubscribe, METH_O,
     "unsubscribe($self, subscriber, /)\n--\n\n"
     "End a subscription, as subscriber.unsubscribe() does."},
    {"close", channel_close, METH_NOARGS,
     "close($self, /)\n--\n\n"
     "Close the channel: publishing raises ChannelClosedError from now on, receiving does when\n"
     "everything was received.\n\n"
     "It is done at once, in any thread; what is returned may be awaited. Closing again does nothing."},
    {"reach", FAST_METHOD(channel_reach),
     "reach($self, /, topic=None)\n--\n\n"
     "How many subscribers a message of this topic would reach now."},
    {"__aenter__", channel_aenter, METH_NOARGS, NULL},
    {"__aexit__", channel_aexit, METH_VARARGS, NULL},
    {"__enter__", channel_enter, METH_NOARGS, NULL},
    {"__exit__", channel_exit, METH_VARARGS, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "Channel[T]: its data are T."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef channel_getset[] = {
    {"name", get_name, NULL, "The channel's name.", NULL},
    {"subscriber_count", get_count, NULL, "How many subscribers there are now.", NULL},
    {"is_closed", get_closed, NULL, "Whether the channel is closed.", NULL},
    {"max_subscribers", get_max_subscribers, NULL, "How many there may be; None: any number.", NULL},
    {"buffer_size", get_buffer_size, NULL, "How many messages may wait for a subscriber; 0: any number.",
     NULL},
    {"stats", get_stats, NULL, "What was counted: reached = delivered + dropped + waiting.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject core_channel_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "mtaio.events.Channel",
    .tp_basicsize = sizeof(core_channel),
    .tp_doc =
        "Channel(name='', *, max_subscribers=None, buffer_size=0, overflow='block', replay=0,\n"
        "        replay_by_topic=False)\n--\n\n"
        "A broadcast: each message goes to every subscriber whose topics match, in one order for all.\n\n"
        "Args:\n"
        "    name: Channel name\n"
        "    max_subscribers: How many there may be at a time; None: any number\n"
        "    buffer_size: How many messages may wait for a subscriber; 0: any number\n"
        "    overflow: What publishing does when they do: \"block\" waits for room, \"drop_oldest\" and\n"
        "        \"drop_newest\" drop a message of this subscriber, \"error\" raises ChannelFullError\n"
        "    replay: How many messages are kept for late subscribers\n"
        "    replay_by_topic: Keep the last message of each topic instead, of `replay` topics\n\n"
        "It may be used in any number of tasks, loops and threads at once. When nobody refers to it any\n"
        "more it is closed; subscribers do not refer to it.",
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .tp_new = channel_create,
    .tp_init = channel_init,
    .tp_dealloc = channel_dealloc,
    .tp_traverse = channel_traverse,
    .tp_clear = channel_clear,
    .tp_repr = channel_repr,
    .tp_methods = channel_methods,
    .tp_getset = channel_getset,
    .tp_weaklistoffset = offsetof(core_channel, weakrefs),
};

/* --- The module ------------------------------------------------------------------------------- */

static int find_names(void) {
    const struct {
        const char *module, *name;
        PyObject **to;
    } wanted[] = {{"mtaio.exceptions", "ChannelTimeoutError", &core_names.TimeoutError},
                  {"mtaio.exceptions", "ChannelEmptyError", &core_names.EmptyError},
                  {"asyncio.events", "get_running_loop", &core_names.get_running_loop},
                  {"asyncio.base_events", "BaseEventLoop", &core_names.BaseEventLoop},
                  {"asyncio.futures", "Future", &core_names.Future},
                  {"asyncio.exceptions", "InvalidStateError", &core_names.InvalidStateError},
#if PY_VERSION_HEX < 0x030C0000
                  {"asyncio.tasks", "_current_tasks", &core_names.current_tasks},
#endif
                  {NULL, "create_future", &core_names.create_future},
                  {NULL, "call_later", &core_names.call_later},
                  {NULL, "call_soon_threadsafe", &core_names.call_soon_threadsafe},
                  {NULL, "cancel", &core_names.cancel},
                  {NULL, "set_result", &core_names.set_result},
                  {NULL, "_asyncio_future_blocking", &core_names.blocking},
                  {NULL, "_thread_id", &core_names.thread_id}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        PyObject *module = wanted[i].module ? PyImport_ImportModule(wanted[i].module) : NULL, *found = NULL;
        if (module)
            found = PyObject_GetAttrString(module, wanted[i].name);
        else if (!wanted[i].module)
            found = PyUnicode_InternFromString(wanted[i].name);
        Py_XDECREF(module);
        if (!found) return -1;
        Py_XSETREF(*wanted[i].to, found);
    }
    Py_XSETREF(core_names.loop_keyword, Py_BuildValue("(s)", "loop"));
    return core_names.loop_keyword ? 0 : -1;
}

/* A type whose methods stand in two files. */
static int add_type(PyObject *module, const char *name, PyTypeObject *type, PyMethodDef *more) {
    if (PyType_Ready(type) < 0) return -1;
    for (; more && more->ml_name; more++) {
        PyObject *method = PyDescr_NewMethod(type, more);
        int r = method ? PyDict_SetItemString(type->tp_dict, more->ml_name, method) : -1;
        Py_XDECREF(method);
        if (r < 0) return -1;
    }
    PyType_Modified(type);
    return name ? PyModule_AddObjectRef(module, name, (PyObject *)type) : 0;
}

static PyMethodDef functions[] = {
    {"set_message_class", core_set_message_class, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

int core_add_channels(PyObject *module) {
    if (PyModule_AddFunctions(module, functions) < 0) return -1;
    if (find_names() < 0 || core_wakeup_init() < 0 || core_statistics_init(module) < 0) return -1;
    if (add_type(module, NULL, &core_operation_type, NULL) < 0 ||
        core_coroutine_register(&core_operation_type) < 0)
        return -1;
    if (add_type(module, NULL, &core_flight_type, NULL) < 0) return -1;
    if (add_type(module, "Message", &core_message_type, NULL) < 0) return -1;
    if (add_type(module, "Subscriber", &core_subscriber_type, core_receive_methods) < 0) return -1;
    return add_type(module, "Channel", &core_channel_type, core_publish_methods);
}
