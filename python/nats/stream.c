/* stream.c - durable bindings: what a stream is to be like, and messages that handlers are given.
 *
 * With an emitter each message is emitted by the event loop. On the thread of the connection its emission is
 * deferred; it ends when the loop says how that of Python ended, or when nobody can say it any more, which is
 * a failure: the message comes again. */
#include "module.h"

#include <stdlib.h>
#include <string.h>

int stream_read(PyObject *tuple, mtaio_nats_stream *ret, int *ret_emits) {
    long long max_messages, max_bytes, max_age_ns, duplicates_ns, start_time_ns, ack_wait_ns, again_ns;
    unsigned long long start_sequence;
    Py_ssize_t window, max_open;
    int refuses, in_memory, start;
    *ret = (mtaio_nats_stream){.size = sizeof *ret};
    if (!PyArg_ParseTuple(tuple, "zLLLppiLnziLKnLLIzp", &ret->name, &max_messages, &max_bytes, &max_age_ns,
                          &refuses, &in_memory, &ret->replicas, &duplicates_ns, &window, &ret->consumer,
                          &start, &start_time_ns, &start_sequence, &max_open, &ack_wait_ns, &again_ns,
                          &ret->max_deliveries, &ret->dead_topic, ret_emits))
        return -1;
    ret->max_messages = max_messages;
    ret->max_bytes = max_bytes;
    ret->max_age_ns = max_age_ns;
    ret->refuses_when_full = refuses;
    ret->is_in_memory = in_memory;
    ret->duplicates_ns = duplicates_ns;
    ret->window = (size_t)window;
    ret->start = (mtaio_nats_start)start;
    ret->start_time_ns = start_time_ns;
    ret->start_sequence = start_sequence;
    ret->max_open = (size_t)max_open;
    ret->ack_wait_ns = ack_wait_ns;
    ret->again_ns = again_ns;
    return 0;
}

/* --- On a thread of the connection, without the GIL --------------------------------------------- */

struct desk { /* where messages are handed over */
    struct mailbox *box;
    uint64_t binding;
};

static struct delivery *delivery_new(const char *topic, const mtaio_nats_data *data) {
    size_t length = strlen(topic) + 1;
    struct delivery *d = calloc(1, sizeof *d + length + data->bytes);
    if (!d) return NULL;
    char *after = (char *)(d + 1);
    d->topic = memcpy(after, topic, length);
    d->bytes = data->bytes;
    d->data = after + length;
    if (data->bytes > 0) memcpy(after + length, data->data, data->bytes);
    return d;
}

/* One that was not completed has failed. */
void delivery_free(struct delivery *d) {
    if (!d) return;
    mtaio_deferral_unref(d->deferral);
    mtaio_metadata_unref(d->metadata);
    free(d);
}

static int hand_over(mtaio_event *event, void *ctx) {
    const struct desk *desk = ctx;
    struct delivery_mail *m = calloc(1, sizeof *m);
    struct delivery *d = m ? delivery_new(mtaio_event_name(event), mtaio_event_data(event)) : NULL;
    int r = d ? mtaio_event_defer(event, &d->deferral) : MTAIO_ENOMEM;
    if (r < 0) {
        delivery_free(d);
        free(m);
        return r;
    }
    d->metadata = mtaio_metadata_ref((mtaio_metadata *)(uintptr_t)mtaio_event_metadata(event));
    m->mail.kind = MAIL_DELIVERY;
    m->binding = desk->binding;
    m->delivery = d;
    mailbox_put(desk->box, &m->mail);
    return 0;
}

static void desk_release(void *ctx) {
    struct desk *desk = ctx;
    mailbox_unref(desk->box);
    free(desk);
}

int stream_make_emitter(struct mailbox *box, uint64_t binding, mtaio_emitter **ret) {
    struct desk *desk = calloc(1, sizeof *desk);
    if (!desk) return MTAIO_ENOMEM;
    int r = mtaio_emitter_new(NULL, ret);
    if (r < 0) {
        free(desk);
        return r;
    }
    desk->box = mailbox_ref(box);
    desk->binding = binding;
    return mtaio_emitter_on(*ret, "*", MTAIO_HANDLER(.call = hand_over, .destroy = desk_release, .ctx = desk),
                            NULL);
}

/* --- In the loop ------------------------------------------------------------------------------- */

typedef struct nats_delivery {
    PyObject_HEAD struct delivery *inner;
} nats_delivery;

static PyTypeObject *delivery_type;

PyObject *nats_delivery_object(struct delivery_mail *mail) {
    nats_delivery *delivery = (nats_delivery *)delivery_type->tp_alloc(delivery_type, 0);
    if (!delivery) return NULL;
    PyObject *tuple = Py_BuildValue("(sKO)", "delivery", (unsigned long long)mail->binding, delivery);
    if (tuple) {
        delivery->inner = mail->delivery;
        mail->delivery = NULL;
    }
    Py_DECREF(delivery);
    return tuple;
}

static void delivery_dealloc(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    delivery_free(((nats_delivery *)self)->inner);
    type->tp_free(self);
    Py_DECREF(type);
}

/* read(binding): topic or None, data, metadata, by the binding's codec. */
static PyObject *delivery_read(PyObject *self, PyObject *binding) {
    const struct delivery *d = ((nats_delivery *)self)->inner;
    PyObject *data = unpack_data((nats_binding *)binding, d->data, d->bytes);
    PyObject *metadata = data ? unpack_metadata(d->metadata) : NULL;
    if (metadata) return Py_BuildValue("(sNN)", d->topic, data, metadata);
    Py_XDECREF(data);
    return NULL;
}

/* end(good): the emission is over. */
static PyObject *delivery_end(PyObject *self, PyObject *good) {
    mtaio_deferral_complete(((nats_delivery *)self)->inner->deferral, good == Py_True ? 0 : MTAIO_EHANDLER);
    Py_RETURN_NONE;
}

static PyMethodDef delivery_methods[] = {
    {"read", delivery_read, METH_O, NULL},
    {"end", delivery_end, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot delivery_slots[] = {
    {Py_tp_doc, "A message that is to be emitted, see mtaio.nats."},
    {Py_tp_dealloc, SLOT(delivery_dealloc)},
    {Py_tp_methods, delivery_methods},
    {0, NULL},
};

static PyType_Spec delivery_spec = {
    .name = "mtaio._nats.Delivery",
    .basicsize = sizeof(nats_delivery),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = delivery_slots,
};

int nats_add_delivery(PyObject *module) {
    PyObject *type = PyType_FromSpec(&delivery_spec);
    if (!type) return -1;
    delivery_type = (PyTypeObject *)type; /* kept: there is one interpreter */
    return PyModule_AddObjectRef(module, "Delivery", type);
}
