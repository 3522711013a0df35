/* errors.c - exceptions for what the library answers, and names as it wants them. */
#include "core.h"

PyObject *core_take_error(void) {
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    if (!type) return NULL;
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback) PyException_SetTraceback(value, traceback);
    Py_DECREF(type);
    Py_XDECREF(traceback);
    return value;
}

PyObject *core_give_error(PyObject *exception) {
    PyErr_Restore(Py_NewRef(Py_TYPE(exception)), exception, PyException_GetTraceback(exception));
    return NULL;
}

PyObject *core_error_new(PyObject *type, int status) {
    if (status == MTAIO_ENOMEM) return PyObject_CallNoArgs(PyExc_MemoryError);
    return PyObject_CallFunction(type, "s", mtaio_error_text(status));
}

PyObject *core_raise(PyObject *type, int status, const char *format, ...) {
    if (status == MTAIO_ENOMEM) return PyErr_NoMemory();
    va_list arguments;
    va_start(arguments, format);
    PyObject *text = PyUnicode_FromFormatV(format, arguments);
    va_end(arguments);
    if (text) PyErr_Format(type, "%U: %s", text, mtaio_error_text(status));
    Py_XDECREF(text);
    return NULL;
}

/* What Python says becomes the cause of what we say. */
static void raise_from(PyObject *type, const char *text) {
    PyObject *cause = core_take_error();
    PyErr_SetString(type, text);
    PyObject *error = core_take_error();
    if (!error) return;
    PyException_SetCause(error, cause);
    core_give_error(error);
}

const char *core_utf8(PyObject *name, PyObject *type) {
    Py_ssize_t length;
    if (!PyUnicode_Check(name)) {
        PyErr_Format(PyExc_TypeError, "a name must be a str, not %.100s", Py_TYPE(name)->tp_name);
        return NULL;
    }
    const char *utf8 = PyUnicode_AsUTF8AndSize(name, &length);
    if (!utf8) {
        if (PyErr_ExceptionMatches(PyExc_UnicodeError)) raise_from(type, "a name must be valid Unicode");
        return NULL;
    }
    if (strlen(utf8) != (size_t)length) {
        PyErr_SetString(type, "a name must not contain NUL");
        return NULL;
    }
    return utf8;
}
