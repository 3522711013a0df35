/* message.c - messages: what a channel carries, and what the core holds of it.
 *
 * A message is an object with the four fields of a frozen dataclass. What the core carries, and shares
 * between all who receive it, is one of two things: the message object, of which who has missed others
 * receives a copy that says so; or the bare data, where there is nothing else and it is of a kind that the
 * garbage collector need not know, a str or a number; the message around it is made when it is received. Both
 * are called a load. */
#include "channels.h"

#include <structmember.h>

enum { SPARE_MAX = 256 };

static struct {
    core_message *objects[SPARE_MAX];
    int count;
} spare;

/* --- Making and freeing ----------------------------------------------------------------------- */

static core_message *message_alloc(void) {
    if (spare.count == 0) return PyObject_GC_New(core_message, &core_message_type);
    return (core_message *)PyObject_Init((PyObject *)spare.objects[--spare.count], &core_message_type);
}

/* Only then the garbage collector has to know a message. */
static inline bool may_be_cyclic(PyObject *data, PyObject *metadata) {
    return metadata || PyType_IS_GC(Py_TYPE(data));
}

static void message_track(core_message *m) {
    if (may_be_cyclic(m->data, m->metadata) && !PyObject_GC_IsTracked((PyObject *)m)) PyObject_GC_Track(m);
}

static void message_fill(core_message *m, PyObject *data, PyObject *topic, PyObject *metadata,
                         uint64_t missed) {
    m->data = Py_NewRef(data);
    m->topic = Py_NewRef(topic);
    m->metadata = Py_XNewRef(metadata);
    m->missed = missed;
    link_init(&m->flight);
}

PyObject *core_message_new(PyObject *data, PyObject *topic, PyObject *metadata, uint64_t missed) {
    core_message *m = message_alloc();
    if (!m) return NULL;
    message_fill(m, data, topic, metadata, missed);
    if (may_be_cyclic(data, metadata)) PyObject_GC_Track(m);
    return (PyObject *)m;
}

static int message_traverse(core_message *m, visitproc visit, void *arg) {
    Py_VISIT(m->data);
    Py_VISIT(m->metadata);
    return 0;
}

static int message_clear(core_message *m) {
    Py_CLEAR(m->metadata);
    Py_SETREF(m->data, Py_NewRef(Py_None));
    return 0;
}

static void message_free(core_message *m) {
    Py_DECREF(m->topic);
    Py_XDECREF(m->metadata);
    Py_DECREF(m->data);
    if (Py_IS_TYPE(m, &core_message_type) && spare.count < SPARE_MAX)
        spare.objects[spare.count++] = m;
    else
        Py_TYPE(m)->tp_free(m);
}

/* One that may hold others is freed in turn, however deep they are nested. */
static void message_dealloc(core_message *m) {
    if (likely(!PyObject_GC_IsTracked((PyObject *)m))) {
        message_free(m);
        return;
    }
    PyObject_GC_UnTrack(m);
    Py_TRASHCAN_BEGIN(m, message_dealloc);
    message_free(m);
    Py_TRASHCAN_END
}

static PyObject *message_create(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    (void)args, (void)kwargs;
    if (type == &core_message_type) return core_message_new(Py_None, Py_None, NULL, 0);
    core_message *m = (core_message *)type->tp_alloc(type, 0);
    if (m) message_fill(m, Py_None, Py_None, NULL, 0);
    return (PyObject *)m;
}

static bool is_mapping(PyObject *o) {
    return PyDict_Check(o) || (PyMapping_Check(o) && PyObject_HasAttrString(o, "keys"));
}

/* NULL and None: not given. */
static int check_parts(PyObject *topic, PyObject *metadata) {
    if (topic && topic != Py_None && !PyUnicode_Check(topic)) {
        PyErr_Format(PyExc_TypeError, "topic must be a str or None, not %.100s", Py_TYPE(topic)->tp_name);
        return -1;
    }
    if (metadata && metadata != Py_None && !is_mapping(metadata)) {
        PyErr_Format(PyExc_TypeError, "metadata must be a mapping or None, not %.100s",
                     Py_TYPE(metadata)->tp_name);
        return -1;
    }
    return 0;
}

static bool is_message(PyObject *load) { return PyType_IS_GC(Py_TYPE(load)); }

PyObject *core_load_make(PyObject *data, PyObject *topic, PyObject *metadata) {
    if (topic == Py_None) topic = NULL;
    if (metadata == Py_None) metadata = NULL;
    if (!topic && !metadata && !PyType_IS_GC(Py_TYPE(data))) return Py_NewRef(data);
    if (unlikely(check_parts(topic, metadata) < 0)) return NULL;
    return core_message_new(data, topic ? topic : Py_None, metadata, 0);
}

static int message_init(core_message *m, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"data", "topic", "metadata", "missed", NULL};
    PyObject *data, *topic = Py_None, *metadata = Py_None;
    unsigned long long missed = 0;
    PyObject *count = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OOO!:Message", names, &data, &topic, &metadata,
                                     &PyLong_Type, &count))
        return -1;
    if (check_parts(topic, metadata) < 0) return -1;
    if (count) missed = PyLong_AsUnsignedLongLong(count);
    if (missed == (unsigned long long)-1 && PyErr_Occurred()) return -1;
    m->missed = missed;
    Py_XSETREF(m->data, Py_NewRef(data));
    Py_XSETREF(m->topic, Py_NewRef(topic));
    Py_XSETREF(m->metadata, metadata == Py_None ? NULL : Py_NewRef(metadata));
    message_track(m);
    return 0;
}

/* --- Reading ---------------------------------------------------------------------------------- */

static PyObject *message_metadata(core_message *m, void *unused) {
    (void)unused;
    if (!m->metadata) {
        m->metadata = PyDict_New();
        if (!m->metadata) return NULL;
        message_track(m);
    }
    return Py_NewRef(m->metadata);
}

/* The fields as a tuple. */
static PyObject *message_fields(core_message *m) {
    PyObject *metadata = message_metadata(m, NULL);
    if (!metadata) return NULL;
    return Py_BuildValue("(OONK)", m->data, m->topic, metadata, (unsigned long long)m->missed);
}

static PyObject *message_repr(core_message *m) {
    int r = Py_ReprEnter((PyObject *)m);
    if (r != 0) return r < 0 ? NULL : PyUnicode_FromString("...");
    PyObject *text = NULL, *metadata = message_metadata(m, NULL);
    PyObject *name = PyObject_GetAttrString((PyObject *)Py_TYPE(m), "__qualname__");
    if (metadata && name)
        text = PyUnicode_FromFormat("%U(data=%R, topic=%R, metadata=%R, missed=%llu)", name, m->data,
                                    m->topic, metadata, (unsigned long long)m->missed);
    Py_XDECREF(name);
    Py_XDECREF(metadata);
    Py_ReprLeave((PyObject *)m);
    return text;
}

static PyObject *message_compare(PyObject *a, PyObject *b, int how) {
    if ((how != Py_EQ && how != Py_NE) || Py_TYPE(a) != Py_TYPE(b)) Py_RETURN_NOTIMPLEMENTED;
    PyObject *ours = message_fields((core_message *)a), *theirs = message_fields((core_message *)b);
    PyObject *result = ours && theirs ? PyObject_RichCompare(ours, theirs, how) : NULL;
    Py_XDECREF(ours);
    Py_XDECREF(theirs);
    return result;
}

static Py_hash_t message_hash(core_message *m) {
    PyObject *fields = message_fields(m);
    Py_hash_t hash = fields ? PyObject_Hash(fields) : -1;
    Py_XDECREF(fields);
    return hash;
}

/* What a subclass has added is in its __dict__. */
static PyObject *message_reduce(PyObject *self, PyObject *unused) {
    (void)unused;
    PyObject *fields = message_fields((core_message *)self);
    if (!fields) return NULL;
    PyObject *more = PyObject_GetAttrString(self, "__dict__");
    if (more) return Py_BuildValue("(ONN)", Py_TYPE(self), fields, more);
    PyErr_Clear();
    return Py_BuildValue("(ON)", Py_TYPE(self), fields);
}

/* --- Through the core ------------------------------------------------------------------------- */

static void data_release(void *data) { Py_DECREF((PyObject *)data); }

static void message_release(void *data) {
    core_message *m = data;
    link_remove(&m->flight);
    Py_DECREF(m);
}

int core_load_launch(PyObject *load, PyObject *in_flight, mtaio_publication *ret) {
    core_message *m = (core_message *)load;
    *ret = (mtaio_publication){.size = sizeof *ret, .data = load, .release = data_release};
    if (is_message(load)) {
        if (m->topic != Py_None && !(ret->topic = core_utf8(m->topic, core.ChannelError))) return -1;
        ret->release = message_release;
        link_add(&m->flight, &((core_flight *)in_flight)->messages);
    }
    Py_INCREF(load);
    return 0;
}

void core_load_recall(PyObject *load) {
    if (is_message(load))
        message_release(load);
    else
        Py_DECREF(load);
}

void core_load_read(const mtaio_message *received, PyObject **ret_data, PyObject **ret_topic,
                    PyObject **ret_metadata) {
    PyObject *load = (PyObject *)mtaio_message_data(received);
    core_message *m = is_message(load) ? (core_message *)load : NULL;
    *ret_data = m ? m->data : load;
    *ret_topic = m ? m->topic : Py_None;
    *ret_metadata = m ? m->metadata : NULL;
}

PyObject *core_load_land(mtaio_message *received) {
    PyObject *load = (PyObject *)mtaio_message_data(received), *landed;
    core_message *m = (core_message *)load;
    if (!is_message(load))
        landed = core_message_new(load, Py_None, NULL, received->missed);
    else if (unlikely(received->missed > 0))
        landed = core_message_new(m->data, m->topic, m->metadata, received->missed);
    else
        landed = Py_NewRef(load);
    if (likely(landed)) mtaio_message_clear(received);
    return landed;
}

/* --- Flights ---------------------------------------------------------------------------------- */

PyObject *core_flight_new(void) {
    core_flight *f = PyObject_GC_New(core_flight, &core_flight_type);
    if (!f) return NULL;
    link_init(&f->messages);
    PyObject_GC_Track(f);
    return (PyObject *)f;
}

/* The core's reference to each message counts as the flight's. */
static int flight_traverse(core_flight *f, visitproc visit, void *arg) {
    for (struct link *l = f->messages.next; l != &f->messages; l = l->next)
        Py_VISIT(LINK_OWNER(l, core_message, flight));
    return 0;
}

/* The core may still hold messages: for the rest of their time the collector does not see that reference. */
static void flight_dealloc(core_flight *f) {
    PyObject_GC_UnTrack(f);
    while (!link_is_alone(&f->messages)) link_remove(f->messages.next);
    PyObject_GC_Del(f);
}

PyTypeObject core_flight_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "mtaio._core.Flight",
    .tp_basicsize = sizeof(core_flight),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)flight_dealloc,
    .tp_traverse = (traverseproc)flight_traverse,
};

/* --- The type --------------------------------------------------------------------------------- */

PyDoc_STRVAR(message_doc,
             "Message(data, topic=None, metadata=None, missed=0)\n--\n\n"
             "What a subscriber receives: a frozen dataclass.\n\n"
             "data      what was published: this very object\n"
             "topic     the topic it was published to, or None\n"
             "metadata  the mapping that was given, an empty dict where none was\n"
             "missed    how many messages this subscriber lost between the one before and this one\n\n"
             "Subscribers may share it: data and metadata are the very objects that were published.");

static PyMemberDef message_members[] = {
    {"data", T_OBJECT, offsetof(core_message, data), READONLY, "What was published."},
    {"topic", T_OBJECT, offsetof(core_message, topic), READONLY, "The topic, or None."},
    {"missed", T_ULONGLONG, offsetof(core_message, missed), READONLY,
     "How many messages were lost before this one."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef message_getset[] = {
    {"metadata", (getter)(void (*)(void))message_metadata, NULL, "The mapping that was published with it.",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef message_methods[] = {
    {"__reduce__", message_reduce, METH_NOARGS, NULL},
    {"__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, "Message[T]: the type of its data."},
    {NULL, NULL, 0, NULL},
};

/* set_message_class(dict): what a dataclass has of its own becomes Message's. */
PyObject *core_set_message_class(PyObject *module, PyObject *attributes) {
    (void)module;
    if (PyDict_Update(core_message_type.tp_dict, attributes) < 0) return NULL;
    PyType_Modified(&core_message_type);
    Py_RETURN_NONE;
}

PyTypeObject core_message_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "mtaio.events.Message",
    .tp_basicsize = sizeof(core_message),
    .tp_doc = message_doc,
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
    .tp_new = message_create,
    .tp_init = (initproc)message_init,
    .tp_dealloc = (destructor)message_dealloc,
    .tp_traverse = (traverseproc)message_traverse,
    .tp_clear = (inquiry)message_clear,
    .tp_repr = (reprfunc)message_repr,
    .tp_richcompare = message_compare,
    .tp_hash = (hashfunc)message_hash,
    .tp_members = message_members,
    .tp_getset = message_getset,
    .tp_methods = message_methods,
};
