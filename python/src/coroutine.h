/* coroutine.h - what an awaitable made in C needs so as to be a coroutine to all who look at it. */
#ifndef MTAIO_PYTHON_COROUTINE_H
#define MTAIO_PYTHON_COROUTINE_H

#include "core.h"

/* Why it cannot be sent to, or thrown into: it is running, or over. Returns PYGEN_ERROR. */
PySendResult core_coroutine_refuse(bool is_running);

/* It has not begun, so it cannot be sent anything but None. Returns PYGEN_ERROR. */
PySendResult core_coroutine_refuse_value(void);

/* What send(), and __next__, return for what am_send gave: takes over value. */
PyObject *core_coroutine_sent(PySendResult result, PyObject *value);

/* Raises what throw(type[, value[, traceback]]) was called with, or that it was called wrongly. Returns NULL.
 */
PyObject *core_coroutine_raise(PyObject *const *args, Py_ssize_t nargs);

/* Warns, as coroutines do that were never awaited. Takes over the text, which may be NULL where there was no
 * memory. Keeps an exception that is set. */
void core_coroutine_warn(PyObject *coroutine, PyObject *text);

/* isinstance(..., collections.abc.Coroutine) is true. */
int core_coroutine_register(PyTypeObject *type);

#endif
