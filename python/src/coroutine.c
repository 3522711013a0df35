/* coroutine.c - what coroutines made in C have in common. */
#include "coroutine.h"

PySendResult core_coroutine_refuse(bool is_running) {
    if (is_running)
        PyErr_SetString(PyExc_ValueError, "coroutine already executing");
    else
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
    return PYGEN_ERROR;
}

PySendResult core_coroutine_refuse_value(void) {
    PyErr_SetString(PyExc_TypeError, "can't send non-None value to a just-started coroutine");
    return PYGEN_ERROR;
}

PyObject *core_coroutine_sent(PySendResult result, PyObject *value) {
    if (result != PYGEN_RETURN) return value;
    PyObject *stop =
        PyObject_CallOneArg(PyExc_StopIteration, value); /* a tuple is to be its value, not its arguments */
    Py_DECREF(value);
    if (stop) PyErr_SetObject(PyExc_StopIteration, stop);
    Py_XDECREF(stop);
    return NULL;
}

/* type(), type(value), type(*value), or value itself where that is one: as generators make it. */
static PyObject *make_thrown(PyObject *type, PyObject *value) {
    if (PyExceptionInstance_Check(type) && value == Py_None) return Py_NewRef(type);
    if (!PyExceptionClass_Check(type))
        return PyErr_Format(PyExc_TypeError,
                            "exceptions must be classes or instances deriving from BaseException, not %.100s",
                            Py_TYPE(type)->tp_name);
    int is_one = PyObject_IsInstance(value, type);
    if (is_one) return is_one > 0 ? Py_NewRef(value) : NULL;
    if (value == Py_None) return PyObject_CallNoArgs(type);
    return PyTuple_Check(value) ? PyObject_CallObject(type, value) : PyObject_CallOneArg(type, value);
}

PyObject *core_coroutine_raise(PyObject *const *args, Py_ssize_t nargs) {
    if (nargs < 1 || nargs > 3)
        return PyErr_Format(PyExc_TypeError, "throw expected 1 to 3 arguments, got %zd", nargs);
    PyObject *traceback = nargs > 2 ? args[2] : Py_None;
    if (traceback != Py_None && !PyTraceBack_Check(traceback))
        return PyErr_Format(PyExc_TypeError, "throw() third argument must be a traceback object");
    PyObject *thrown = make_thrown(args[0], nargs > 1 ? args[1] : Py_None);
    if (!thrown) return NULL;
    if (!PyExceptionInstance_Check(thrown)) {
        PyErr_Format(PyExc_TypeError, "%R should have returned an instance of BaseException", args[0]);
        Py_DECREF(thrown);
        return NULL;
    }
    if (traceback != Py_None) PyException_SetTraceback(thrown, traceback);
    return core_give_error(thrown);
}

void core_coroutine_warn(PyObject *coroutine, PyObject *text) {
    PyObject *error = core_take_error(), *result = NULL;
    PyObject *warnings = PyImport_ImportModule("warnings");
    if (!warnings)
        PyErr_Clear(); /* the interpreter is ending */
    else if (text)     /* the source tells where it was made, if tracemalloc knows */
        result = PyObject_CallMethod(warnings, "warn", "OOiO", text, PyExc_RuntimeWarning, 1, coroutine);
    if (PyErr_Occurred()) PyErr_WriteUnraisable(coroutine);
    Py_XDECREF(result);
    Py_XDECREF(warnings);
    Py_XDECREF(text);
    if (error) core_give_error(error);
}

int core_coroutine_register(PyTypeObject *type) {
    PyObject *abc = PyImport_ImportModule("collections.abc");
    PyObject *coroutine = abc ? PyObject_GetAttrString(abc, "Coroutine") : NULL;
    PyObject *result = coroutine ? PyObject_CallMethod(coroutine, "register", "O", type) : NULL;
    Py_XDECREF(abc);
    Py_XDECREF(coroutine);
    Py_XDECREF(result);
    return result ? 0 : -1;
}
