/* loops.c - event loops, and times. */
#include "core.h"

#include <math.h>

PyObject *core_running_loop(void) { return PyObject_CallNoArgs(core.get_running_loop); }

bool core_timeout(PyObject *seconds, int64_t *ret_ns) {
    *ret_ns = -1;
    if (!seconds || seconds == Py_None) return true;
    double s = PyFloat_AsDouble(seconds);
    if (s == -1.0 && PyErr_Occurred()) return false;
    if (isnan(s)) {
        PyErr_SetString(PyExc_ValueError, "a time limit must not be NaN");
        return false;
    }
    if (s <= 0)
        *ret_ns = 0;
    else if (s < 9.2e9) /* 2^63 ns */
        *ret_ns = (int64_t)ceil(s * 1e9);
    return true;
}
