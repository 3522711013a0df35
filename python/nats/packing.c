/* packing.c - what Python publishes as bytes and headers, and the other way round. */
#include "module.h"

/* --- Data to bytes ----------------------------------------------------------------------------- */

/* Takes over owner; NULL: raised. */
static int own_bytes(PyObject *owner, struct packed *ret) {
    if (!owner) return -1;
    if (!PyBytes_Check(owner)) {
        PyErr_Format(PyExc_TypeError, "encode must return bytes, not %.100s", Py_TYPE(owner)->tp_name);
        Py_DECREF(owner);
        return -1;
    }
    ret->owner = owner;
    ret->data = PyBytes_AS_STRING(owner);
    ret->bytes = (size_t)PyBytes_GET_SIZE(owner);
    return 0;
}

static int own_buffer(PyObject *data, struct packed *ret) {
    if (PyBytes_Check(data)) return own_bytes(Py_NewRef(data), ret);
    if (PyObject_CheckBuffer(data)) return own_bytes(PyBytes_FromObject(data), ret);
    PyErr_Format(PyExc_TypeError, "the codec is \"bytes\", and this is a %.100s", Py_TYPE(data)->tp_name);
    return -1;
}

static int own_text(PyObject *data, struct packed *ret) {
    Py_ssize_t length;
    if (!PyUnicode_Check(data)) {
        PyErr_Format(PyExc_TypeError, "the codec is \"str\", and this is a %.100s", Py_TYPE(data)->tp_name);
        return -1;
    }
    ret->data = PyUnicode_AsUTF8AndSize(data, &length);
    if (!ret->data) return -1;
    ret->bytes = (size_t)length;
    ret->owner = Py_NewRef(data);
    return 0;
}

int packed_data(const nats_binding *b, PyObject *data, struct packed *ret) {
    if (b->codec == CODEC_OTHER) return own_bytes(PyObject_CallOneArg(b->encode, data), ret);
    if (data == Py_None) return 0;
    return b->codec == CODEC_BYTES ? own_buffer(data, ret) : own_text(data, ret);
}

void packed_clear(struct packed *p) {
    Py_CLEAR(p->owner);
    p->metadata = mtaio_metadata_unref(p->metadata);
}

/* --- Metadata to headers ----------------------------------------------------------------------- */

static int set_header(mtaio_metadata *headers, PyObject *item) {
    PyObject *key, *value;
    if (!PyArg_ParseTuple(item, "OO", &key, &value)) return -1;
    const char *name = nats_utf8(key, "a key of metadata that is to be sent");
    const char *text = name ? nats_utf8(value, "metadata that is to be sent") : NULL;
    if (!text) return -1;
    int r = mtaio_metadata_set(headers, name, text);
    if (r < 0) nats_raise(r, "metadata");
    return r < 0 ? -1 : 0;
}

static int make_headers(PyObject *metadata, mtaio_metadata **ret) {
    if (!metadata) return 0;
    PyObject *items = PyMapping_Items(metadata);
    if (!items) return -1;
    Py_ssize_t n = PyList_GET_SIZE(items);
    int r = n > 0 ? mtaio_metadata_new(ret) : 0;
    if (r < 0) PyErr_NoMemory();
    for (Py_ssize_t i = 0; r >= 0 && i < n; i++) r = set_header(*ret, PyList_GET_ITEM(items, i));
    Py_DECREF(items);
    return r < 0 ? -1 : 0;
}

int packed_message(const nats_binding *b, const mtaio_message *m, struct packed *ret,
                   const char **ret_topic) {
    PyObject *data, *topic, *metadata;
    nats_module.core->read(m, &data, &topic, &metadata);
    *ret_topic = topic == Py_None ? NULL : PyUnicode_AsUTF8(topic); /* known by now */
    if (packed_data(b, data, ret) == 0 && make_headers(metadata, &ret->metadata) == 0) return 0;
    packed_clear(ret);
    return -1;
}

/* --- And back ---------------------------------------------------------------------------------- */

PyObject *unpack_data(const nats_binding *b, const void *data, size_t bytes) {
    if (b->codec == CODEC_STR) return PyUnicode_DecodeUTF8(data, (Py_ssize_t)bytes, NULL);
    PyObject *object = PyBytes_FromStringAndSize(data, (Py_ssize_t)bytes);
    if (!object || b->codec == CODEC_BYTES) return object;
    PyObject *decoded = PyObject_CallOneArg(b->decode, object);
    Py_DECREF(object);
    return decoded;
}

PyObject *unpack_metadata(const mtaio_metadata *headers) {
    PyObject *dict = PyDict_New();
    const char *key, *text;
    for (size_t i = 0; dict && mtaio_metadata_at(headers, i, &key, &text) >= 0; i++) {
        PyObject *value = PyUnicode_FromString(text);
        if (!value || PyDict_SetItemString(dict, key, value) < 0) Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    return dict;
}

PyObject *unpack_message(const nats_binding *b, const mtaio_message *m) {
    const mtaio_metadata *headers = mtaio_message_metadata(m);
    const char *name = mtaio_message_topic(m);
    PyObject *data = unpack_data(b, mtaio_message_data(m), mtaio_message_bytes(m)), *load = NULL;
    PyObject *topic = data && name ? PyUnicode_FromString(name) : NULL;
    PyObject *metadata = data && headers ? unpack_metadata(headers) : NULL;
    if (data && (topic || !name) && (metadata || !headers))
        load = nats_module.core->load(data, topic, metadata);
    Py_XDECREF(metadata);
    Py_XDECREF(topic);
    Py_XDECREF(data);
    return load;
}
