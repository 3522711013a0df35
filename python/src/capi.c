/* capi.c - the capsule for the other extension modules, see capi.h. */
#include "capi.h"

#include "channels.h"

static mtaio_channel *channel(PyObject *object) {
    if (PyObject_TypeCheck(object, &core_channel_type) && ((core_channel *)object)->inner)
        return ((core_channel *)object)->inner;
    PyErr_Format(PyExc_TypeError, "a Channel is wanted, not %.100s", Py_TYPE(object)->tp_name);
    return NULL;
}

static int launch(PyObject *object, PyObject *load, mtaio_publication *ret) {
    return core_load_launch(load, ((core_channel *)object)->flight, ret);
}

int core_add_capi(PyObject *module) {
    static const struct core_api api = {
        .size = sizeof api,
        .channel = channel,
        .read = core_load_read,
        .load = core_load_make,
        .launch = launch,
        .recall = core_load_recall,
    };
    PyObject *capsule = PyCapsule_New((void *)(uintptr_t)&api, CORE_API, NULL);
    int r = capsule ? PyModule_AddObjectRef(module, "_C_API", capsule) : -1;
    Py_XDECREF(capsule);
    return r;
}
