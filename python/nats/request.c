/* request.c - asking and answering. What comes back, and what is asked of us, comes by the mailbox. */
#include "module.h"

#include <stdlib.h>
#include <string.h>

/* --- Asking ------------------------------------------------------------------------------------ */

void answer_unref(struct answer_mail *m) {
    if (atomic_fetch_sub(&m->refs, 1) != 1) return;
    mtaio_nats_reply_unref(m->reply);
    mailbox_unref(m->box);
    free(m);
}

static void answered(int result, mtaio_nats_reply *reply, void *ctx) {
    struct answer_mail *m = ctx;
    m->result = result;
    m->reply = reply;
    snprintf(m->words, sizeof m->words, "%s", mtaio_nats_error());
    atomic_fetch_add(&m->refs, 1); /* the mailbox's */
    mailbox_put(m->box, &m->mail);
}

static void release_answer(void *m) { answer_unref(m); }

static int ask(nats_binding *b, uint64_t id, const char *topic, const struct packed *p, int64_t timeout_ns,
               uint64_t *ret) {
    struct answer_mail *m = calloc(1, sizeof *m);
    if (!m) return MTAIO_ENOMEM;
    m->mail.kind = MAIL_ANSWER;
    m->refs = 1; /* the library's */
    m->box = mailbox_ref(((nats_connection *)b->connection)->box);
    m->id = id;
    return mtaio_nats_ask_async(b->inner, topic, p->data, p->bytes, timeout_ns,
                                MTAIO_NATS_ANSWER(.call = answered, .destroy = release_answer, .ctx = m),
                                ret);
}

/* ask(id, topic, data, timeout_ns): a number for cancel. The answer comes with the id. */
PyObject *binding_ask(PyObject *self, PyObject *args) {
    nats_binding *b = (nats_binding *)self;
    unsigned long long id;
    const char *topic;
    PyObject *data;
    long long timeout_ns;
    uint64_t number = 0;
    struct packed packed = {0};
    if (!PyArg_ParseTuple(args, "KsOL", &id, &topic, &data, &timeout_ns)) return NULL;
    if (packed_data(b, data, &packed) < 0) return NULL;
    int r = ask(b, id, topic, &packed, timeout_ns, &number);
    packed_clear(&packed);
    return r < 0 ? nats_raise(r, "cannot ask") : PyLong_FromUnsignedLongLong(number);
}

PyObject *binding_cancel(PyObject *self, PyObject *number) {
    unsigned long long n = PyLong_AsUnsignedLongLong(number);
    if (n == (unsigned long long)-1 && PyErr_Occurred()) return NULL;
    return PyBool_FromLong(mtaio_nats_ask_cancel(((nats_binding *)self)->inner, n) == 1);
}

/* decode(bytes): an answer's. */
PyObject *binding_decode(PyObject *self, PyObject *bytes) {
    if (!PyBytes_Check(bytes)) return PyErr_Format(PyExc_TypeError, "bytes are wanted");
    return unpack_data((nats_binding *)self, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
}

/* --- Serving: on a thread of the connection, without the GIL ------------------------------------ */

struct service {
    struct mailbox *box;
    uint64_t id;
};

static void on_request(mtaio_nats_request *request, void *ctx) {
    const struct service *service = ctx;
    struct request_mail *m = mailbox_admit(service->box) ? calloc(1, sizeof *m) : NULL;
    if (!m) {
        const mtaio_nats_state state = {"", "", "requests come faster than they are answered", 1};
        mailbox_tell(service->box, "nats.lagging", &state);
        mtaio_nats_respond_error(request, state.text);
        mtaio_nats_request_unref(request);
        return;
    }
    m->mail.kind = MAIL_REQUEST;
    m->box = service->box;
    m->service = service->id;
    m->request = request;
    mailbox_put(service->box, &m->mail);
}

static void release_service(void *ctx) {
    struct service *service = ctx;
    mailbox_unref(service->box);
    free(service);
}

/* serve(id, pattern, group or None). Waits. */
PyObject *binding_serve(PyObject *self, PyObject *args) {
    nats_binding *b = (nats_binding *)self;
    unsigned long long id;
    const char *pattern, *group;
    if (!PyArg_ParseTuple(args, "Ksz", &id, &pattern, &group)) return NULL;
    struct service *service = calloc(1, sizeof *service);
    if (!service) return PyErr_NoMemory();
    service->box = mailbox_ref(((nats_connection *)b->connection)->box);
    service->id = id;
    int r;
    Py_BEGIN_ALLOW_THREADS;
    r = mtaio_nats_serve(
        b->inner, pattern,
        MTAIO_NATS_SERVER(.call = on_request, .destroy = release_service, .ctx = service, .group = group));
    Py_END_ALLOW_THREADS;
    if (r < 0) return nats_raise(r, "cannot serve");
    Py_RETURN_NONE;
}

/* --- Requests ---------------------------------------------------------------------------------- */

typedef struct nats_request {
    PyObject_HEAD mtaio_nats_request *inner;
    struct mailbox *box;
} nats_request;

static PyTypeObject *request_type;

PyObject *nats_request_object(struct request_mail *mail) {
    nats_request *request = (nats_request *)request_type->tp_alloc(request_type, 0);
    if (!request) return NULL;
    PyObject *tuple = Py_BuildValue("(sKO)", "request", (unsigned long long)mail->service, request);
    if (tuple) {
        request->inner = mail->request;
        request->box = mailbox_ref(mail->box);
        mail->request = NULL;
    }
    Py_DECREF(request);
    return tuple;
}

/* One that was not answered is forgotten. */
static void request_dealloc(PyObject *self) {
    nats_request *request = (nats_request *)self;
    PyTypeObject *type = Py_TYPE(self);
    mtaio_nats_request_unref(request->inner);
    if (request->box) mailbox_dismiss(request->box);
    mailbox_unref(request->box);
    type->tp_free(self);
    Py_DECREF(type);
}

/* read(binding): topic and data, by the binding's codec. */
static PyObject *request_read(PyObject *self, PyObject *binding) {
    const mtaio_nats_request *request = ((nats_request *)self)->inner;
    PyObject *data = unpack_data((nats_binding *)binding, mtaio_nats_request_data(request),
                                 mtaio_nats_request_bytes(request));
    return data ? Py_BuildValue("(sN)", mtaio_nats_request_topic(request), data) : NULL;
}

/* answer(binding, data) */
static PyObject *request_answer(PyObject *self, PyObject *args) {
    PyObject *binding, *data;
    struct packed packed = {0};
    if (!PyArg_ParseTuple(args, "OO", &binding, &data)) return NULL;
    if (packed_data((nats_binding *)binding, data, &packed) < 0) return NULL;
    int r = mtaio_nats_respond(((nats_request *)self)->inner, packed.data, packed.bytes);
    packed_clear(&packed);
    if (r < 0) return nats_raise(r, "cannot answer");
    Py_RETURN_NONE;
}

/* fail(text): answers that it failed; UTF-8, without NUL. */
static PyObject *request_fail(PyObject *self, PyObject *text) {
    if (!PyBytes_Check(text)) return PyErr_Format(PyExc_TypeError, "bytes are wanted");
    int r = mtaio_nats_respond_error(((nats_request *)self)->inner, PyBytes_AS_STRING(text));
    if (r < 0) return nats_raise(r, "cannot answer");
    Py_RETURN_NONE;
}

static PyMethodDef request_methods[] = {
    {"read", request_read, METH_O, NULL},
    {"answer", request_answer, METH_VARARGS, NULL},
    {"fail", request_fail, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot request_slots[] = {
    {Py_tp_doc, "A request that came, see mtaio.nats."},
    {Py_tp_dealloc, SLOT(request_dealloc)},
    {Py_tp_methods, request_methods},
    {0, NULL},
};

static PyType_Spec request_spec = {
    .name = "mtaio._nats.Request",
    .basicsize = sizeof(nats_request),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = request_slots,
};

int nats_add_request(PyObject *module) {
    PyObject *type = PyType_FromSpec(&request_spec);
    if (!type) return -1;
    request_type = (PyTypeObject *)type; /* kept: there is one interpreter */
    return PyModule_AddObjectRef(module, "Request", type);
}
