/* arguments.c - the arguments of the methods of channels. */
#include "channels.h"

static Py_ssize_t index_of(const struct arguments *a, PyObject *name) {
    for (Py_ssize_t i = 0; a->names[i]; i++)
        if (PyUnicode_CompareWithASCIIString(name, a->names[i]) == 0) return i;
    return -1;
}

static int take_named(const struct arguments *a, PyObject *const *values, PyObject *names, PyObject **ret) {
    for (Py_ssize_t k = 0; names && k < PyTuple_GET_SIZE(names); k++) {
        PyObject *name = PyTuple_GET_ITEM(names, k);
        Py_ssize_t i = index_of(a, name);
        if (i < 0) {
            PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", a->function, name);
            return -1;
        }
        if (ret[i]) {
            PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%U'", a->function, name);
            return -1;
        }
        ret[i] = values[k];
    }
    return 0;
}

int core_arguments(const struct arguments *a, PyObject *const *args, Py_ssize_t nargs, PyObject *names,
                   PyObject **ret) {
    if (nargs > a->positional) {
        PyErr_Format(PyExc_TypeError, "%s() takes at most %d positional arguments (%zd given)", a->function,
                     a->positional, nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; a->names[i]; i++) ret[i] = i < nargs ? args[i] : NULL;
    if (take_named(a, args + nargs, names, ret) < 0) return -1;
    for (Py_ssize_t i = 0; i < a->required; i++) {
        if (ret[i]) continue;
        PyErr_Format(PyExc_TypeError, "%s() missing required argument: '%s'", a->function, a->names[i]);
        return -1;
    }
    return 0;
}

int core_size(PyObject *number, const char *what, size_t none, size_t *ret) {
    *ret = none;
    if (!number || number == Py_None) return 0;
    Py_ssize_t n = PyNumber_AsSsize_t(number, PyExc_OverflowError);
    if (n == -1 && PyErr_Occurred()) return -1;
    if (n < 0) {
        PyErr_Format(PyExc_ValueError, "%s must not be negative", what);
        return -1;
    }
    *ret = (size_t)n;
    return 0;
}

int core_overflow(PyObject *policy) {
    static const char *const names[] = {"block", "drop_oldest", "drop_newest", "error"};
    static const mtaio_overflow policies[] = {MTAIO_BLOCK, MTAIO_DROP_OLDEST, MTAIO_DROP_NEWEST,
                                              MTAIO_REFUSE};
    if (!policy || policy == Py_None) return MTAIO_OVERFLOW_DEFAULT;
    for (size_t i = 0; PyUnicode_Check(policy) && i < sizeof names / sizeof *names; i++)
        if (PyUnicode_CompareWithASCIIString(policy, names[i]) == 0) return (int)policies[i];
    PyErr_Format(PyExc_ValueError,
                 "overflow must be 'block', 'drop_oldest', 'drop_newest' or 'error', not %R", policy);
    return -1;
}
