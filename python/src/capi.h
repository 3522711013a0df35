/* capi.h - what mtaio's other extension modules get from mtaio._core: the C library itself, and Python's
 * channels.
 *
 * There is one mtaio in a Python process, the one that is linked into mtaio._core. That module exports the
 * public functions of mtaio/mtaio.h, under a symbol version of its own (_core.map), so that a libmtaio which
 * is loaded besides does not take their place; another extension module of the package is linked with the
 * very file, and this capsule gives it what has to do with Python's objects.
 *
 * Both are made and installed together: this is for nobody else, and is the same only within one build.
 *
 * The channel behind a Channel is used with the GIL held, as everything of it is: whatever the library calls
 * back in such a call belongs to Python. So no call may wait. */
#ifndef MTAIO_PYTHON_CAPI_H
#define MTAIO_PYTHON_CAPI_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <mtaio/mtaio.h>

#define CORE_API "mtaio._core._C_API" /* the capsule's name */

struct core_api {
    size_t size;

    /* The channel of a Channel, borrowed from that. NULL: TypeError. */
    mtaio_channel *(*channel)(PyObject *channel);

    /* What a message says that was received from it; borrowed, as long as the message. topic may be None,
     * metadata NULL. */
    void (*read)(const mtaio_message *message, PyObject **ret_data, PyObject **ret_topic,
                 PyObject **ret_metadata);

    /* What is to be published on it, as one object: topic and metadata may be NULL. NULL: raised. */
    PyObject *(*load)(PyObject *data, PyObject *topic, PyObject *metadata);

    /* Fills a publication of that, valid as long as the load, and hands a reference to the library; recall
     * takes it back, where the library did not want it. -1: raised, and nothing was handed over. */
    int (*launch)(PyObject *channel, PyObject *load, mtaio_publication *ret);
    void (*recall)(PyObject *load);
};

#endif
