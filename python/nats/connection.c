/* connection.c - the type mtaio._nats.Connection, and how its mails become objects. */
#include "module.h"

#include <string.h>

PyTypeObject *nats_connection_type;

/* --- What the connection tells: on its threads, without the GIL --------------------------------- */

static int tell(mtaio_event *event, void *box) {
    mailbox_tell(box, mtaio_event_name(event), mtaio_event_data(event));
    return 0;
}

static void release_box(void *box) { mailbox_unref(box); }

static int make_emitter(nats_connection *c) {
    int r = mtaio_emitter_new(NULL, &c->events);
    if (r < 0) return r;
    return mtaio_emitter_on(c->events, "nats.*",
                            MTAIO_HANDLER(.call = tell, .destroy = release_box, .ctx = mailbox_ref(c->box)),
                            NULL);
}

/* --- Life -------------------------------------------------------------------------------------- */

static int open_connection(nats_connection *c, mtaio_nats_options *o) {
    c->box = mailbox_new();
    if (!c->box) {
        PyErr_SetFromErrno(PyExc_OSError);
        return -1;
    }
    int r = make_emitter(c);
    o->events = c->events;
    if (r >= 0) {
        Py_BEGIN_ALLOW_THREADS;
        r = mtaio_nats_open(o, &c->inner);
        Py_END_ALLOW_THREADS;
    }
    if (r < 0) nats_raise(r, "cannot connect");
    return r < 0 ? -1 : 0;
}

/* Connection(servers, name, user, password, token, credentials, tls_ca, tls_certificate, tls_key, timeout_ns,
 * retry_ns, resume_ns, send_asap): strs or None, and numbers. Waits. */
static PyObject *connection_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    mtaio_nats_options o = {.size = sizeof o};
    long long timeout_ns, retry_ns, resume_ns;
    int send_asap;
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "zzzzzzzzzLLLp", &o.servers, &o.name, &o.user, &o.password, &o.token,
                          &o.credentials, &o.tls_ca, &o.tls_certificate, &o.tls_key, &timeout_ns, &retry_ns,
                          &resume_ns, &send_asap))
        return NULL;
    o.timeout_ns = timeout_ns;
    o.retry_ns = retry_ns;
    o.resume_ns = resume_ns;
    o.send_asap = send_asap;
    nats_connection *c = (nats_connection *)type->tp_alloc(type, 0);
    if (c && open_connection(c, &o) < 0) Py_CLEAR(c);
    return (PyObject *)c;
}

static void connection_dealloc(PyObject *self) {
    nats_connection *c = (nats_connection *)self;
    PyTypeObject *type = Py_TYPE(self);
    Py_BEGIN_ALLOW_THREADS;
    mtaio_nats_unref(c->inner);
    mtaio_emitter_unref(c->events);
    Py_END_ALLOW_THREADS;
    while (c->unread) {
        struct mail *mail = c->unread;
        c->unread = mail->next;
        mail_discard(mail);
    }
    if (c->box) mailbox_close(c->box);
    mailbox_unref(c->box);
    type->tp_free(self);
    Py_DECREF(type);
}

/* close(timeout_ns): sends what is on the wires, and ends all. Waits. False: something was left. */
static PyObject *connection_close(PyObject *self, PyObject *timeout) {
    nats_connection *c = (nats_connection *)self;
    long long timeout_ns = PyLong_AsLongLong(timeout);
    int r;
    if (timeout_ns == -1 && PyErr_Occurred()) return NULL;
    Py_BEGIN_ALLOW_THREADS;
    r = mtaio_nats_close(c->inner, timeout_ns);
    Py_END_ALLOW_THREADS;
    if (r < 0 && r != MTAIO_ETIMEDOUT) return nats_raise(r, "cannot close the connection");
    return PyBool_FromLong(r >= 0);
}

/* --- Reading ----------------------------------------------------------------------------------- */

static PyObject *state_object(struct state_mail *m) {
    return Py_BuildValue("(sNNNNKK)", "state",
                         PyUnicode_DecodeUTF8(m->name, (Py_ssize_t)strlen(m->name), "replace"),
                         PyUnicode_DecodeUTF8(m->server, (Py_ssize_t)strlen(m->server), "replace"),
                         PyUnicode_DecodeUTF8(m->prefix, (Py_ssize_t)strlen(m->prefix), "replace"),
                         PyUnicode_DecodeUTF8(m->text, (Py_ssize_t)strlen(m->text), "replace"),
                         (unsigned long long)m->count, (unsigned long long)m->missed);
}

static PyObject *signal_object(const struct signal_mail *m) {
    return Py_BuildValue("(sKN)", "signal", (unsigned long long)m->binding, PyBool_FromLong(m->is_incoming));
}

/* The reply as bytes, or the exception. */
static PyObject *answer_object(struct answer_mail *m) {
    PyObject *answer = m->result < 0
                           ? nats_error_new(m->result, m->words)
                           : PyBytes_FromStringAndSize(mtaio_nats_reply_data(m->reply),
                                                       (Py_ssize_t)mtaio_nats_reply_bytes(m->reply));
    return answer ? Py_BuildValue("(sKN)", "answer", (unsigned long long)m->id, answer) : NULL;
}

static PyObject *mail_object(struct mail *mail) {
    switch (mail->kind) {
    case MAIL_STATE:
        return state_object((struct state_mail *)mail);
    case MAIL_SIGNAL:
        return signal_object((struct signal_mail *)mail);
    case MAIL_ANSWER:
        return answer_object((struct answer_mail *)mail);
    case MAIL_DELIVERY:
        return nats_delivery_object((struct delivery_mail *)mail);
    default:
        return nats_request_object((struct request_mail *)mail);
    }
}

/* What is in the mailbox: the rest of it stays, where there is no memory. */
static struct mail **mails_of(nats_connection *c) {
    struct mail **end = &c->unread;
    while (*end) end = &(*end)->next;
    *end = mailbox_take(c->box);
    return &c->unread;
}

/* read(): a list of tuples, ("state", ...) and so on. */
static PyObject *connection_read(PyObject *self, PyObject *unused) {
    PyObject *list = PyList_New(0);
    (void)unused;
    if (!list) return NULL;
    struct mail **first = mails_of((nats_connection *)self);
    while (*first) {
        struct mail *mail = *first;
        Py_ssize_t place = PyList_GET_SIZE(list);
        if (PyList_Append(list, Py_None) < 0) break; /* first: what is made has its place */
        PyObject *object = mail_object(mail);
        if (!object) {
            Py_SET_SIZE(list, place);
            break;
        }
        PyList_SetItem(list, place, object);
        *first = mail->next;
        mail_discard(mail);
    }
    if (!PyErr_Occurred()) return list;
    if (PyList_GET_SIZE(list) > 0) {
        PyErr_Clear(); /* it comes again with the next call */
        return list;
    }
    Py_DECREF(list);
    return NULL;
}

static PyObject *connection_fileno(PyObject *self, PyObject *unused) {
    (void)unused;
    return PyLong_FromLong(mailbox_fd(((nats_connection *)self)->box));
}

static PyObject *connection_is_connected(PyObject *self, PyObject *unused) {
    (void)unused;
    return PyBool_FromLong(mtaio_nats_is_connected(((nats_connection *)self)->inner));
}

/* Is something unread of which the descriptor does not tell? */
static PyObject *connection_has_unread(PyObject *self, PyObject *unused) {
    (void)unused;
    return PyBool_FromLong(((nats_connection *)self)->unread != NULL);
}

static PyMethodDef connection_methods[] = {
    {"close", connection_close, METH_O, NULL},
    {"read", connection_read, METH_NOARGS, NULL},
    {"fileno", connection_fileno, METH_NOARGS, NULL},
    {"is_connected", connection_is_connected, METH_NOARGS, NULL},
    {"has_unread", connection_has_unread, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot connection_slots[] = {
    {Py_tp_doc, "The connections to the servers, see mtaio.nats."},
    {Py_tp_new, SLOT(connection_new)},
    {Py_tp_dealloc, SLOT(connection_dealloc)},
    {Py_tp_methods, connection_methods},
    {0, NULL},
};

static PyType_Spec connection_spec = {
    .name = "mtaio._nats.Connection",
    .basicsize = sizeof(nats_connection),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = connection_slots,
};

int nats_add_connection(PyObject *module) {
    PyObject *type = PyType_FromSpec(&connection_spec);
    if (!type) return -1;
    nats_connection_type = (PyTypeObject *)type; /* kept: there is one interpreter */
    return PyModule_AddObjectRef(module, "Connection", type);
}
