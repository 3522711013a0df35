/* errors.c - exceptions for what the library answers, and words for exceptions. */
#include "module.h"

#include <string.h>

static PyObject *class_of(int status) {
    switch (status) {
    case MTAIO_ETIMEDOUT:
        return nats_module.TimeoutError;
    case MTAIO_ECLOSED:
        return nats_module.ClosedError;
    case MTAIO_EABANDONED:
        return nats_module.NoRespondersError;
    case MTAIO_EHANDLER:
        return nats_module.HandlerError;
    default:
        return nats_module.Error;
    }
}

static const char *text_of(int status, const char *words) {
    if ((status == MTAIO_ESYSTEM || status == MTAIO_EHANDLER) && *words) return words;
    if (status == MTAIO_EAGAIN) return "there is no connection at the moment";
    if (status == MTAIO_EABANDONED) return "nobody answers requests of this topic";
    return mtaio_error_text(status);
}

PyObject *nats_raise(int status, const char *doing) {
    if (status == MTAIO_ENOMEM) return PyErr_NoMemory();
    return PyErr_Format(class_of(status), "%s: %s", doing, text_of(status, mtaio_nats_error()));
}

PyObject *nats_error_new(int status, const char *words) {
    if (status == MTAIO_ENOMEM) return PyObject_CallNoArgs(PyExc_MemoryError);
    const char *utf8 = text_of(status, words); /* or not quite: it may come from the network */
    PyObject *text = PyUnicode_DecodeUTF8(utf8, (Py_ssize_t)strlen(utf8), "replace");
    PyObject *error = text ? PyObject_CallOneArg(class_of(status), text) : NULL;
    Py_XDECREF(text);
    return error;
}

bool nats_take_words(char *ret, size_t size) {
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt) || PyErr_ExceptionMatches(PyExc_SystemExit))
        return false;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *text = value ? PyObject_Str(value) : NULL;
    const char *utf8 = text ? PyUnicode_AsUTF8(text) : NULL;
    const char *name = ((PyTypeObject *)type)->tp_name;
    snprintf(ret, size, "%s%s%s", name, utf8 && *utf8 ? ": " : "", utf8 ? utf8 : "");
    PyErr_Clear(); /* of making the words */
    Py_XDECREF(text);
    Py_XDECREF(type);
    Py_XDECREF(value);
    Py_XDECREF(traceback);
    return true;
}

const char *nats_utf8(PyObject *text, const char *what) {
    Py_ssize_t length;
    if (!PyUnicode_Check(text)) {
        PyErr_Format(PyExc_TypeError, "%s must be a str, not %.100s", what, Py_TYPE(text)->tp_name);
        return NULL;
    }
    const char *utf8 = PyUnicode_AsUTF8AndSize(text, &length);
    if (utf8 && strlen(utf8) == (size_t)length) return utf8;
    if (utf8) PyErr_Format(PyExc_ValueError, "%s must not contain NUL", what);
    return NULL;
}
