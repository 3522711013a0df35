/* core.h - what the files of the extension module mtaio._core share.
 *
 * The extension is a user of the public C API like any other: it includes mtaio/mtaio.h and nothing else of
 * the library. Everything here runs with the GIL held, unless its comment says otherwise; what the library
 * calls back is called with the GIL held too, because every function of the library that may call back is
 * called so.
 *
 * There is one interpreter: a subinterpreter is refused at import, and so plain statics are the module's
 * state. */
#ifndef MTAIO_PYTHON_CORE_H
#define MTAIO_PYTHON_CORE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <mtaio/mtaio.h>

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* What the module needs of Python, looked up when it is imported. Strong references. */
struct core {
    PyObject *Error, *EventError, *EventEmitError, *EventHandlerError,
        *EventTimeoutError; /* of mtaio.exceptions */
    PyObject *ChannelError, *ChannelClosedError, *ChannelFullError;
    PyObject *get_running_loop; /* asyncio's, which answers None where no loop runs */
    size_t open_batches;
};
extern struct core core;

/* Each adds its types and functions to the module: 0, or -1 with an exception. */
int core_add_events(PyObject *module);
int core_add_emitters(PyObject *module);
int core_add_listeners(PyObject *module);
int core_add_emissions(PyObject *module);
int core_add_derived(PyObject *module);
int core_add_hooks(PyObject *module);
int core_add_batches(PyObject *module);
int core_add_methods(PyObject *module);
int core_add_waits(PyObject *module);
int core_add_channels(PyObject *module);
int core_add_capi(PyObject *module);

/* A function as the tables of modules and of methods want it: ISO C has no direct way. */
#define CORE_SLOT(function) ((void *)(uintptr_t)(function))
#define CORE_METHOD(function) ((PyCFunction)(void (*)(void))(function))

/* --- errors.c ---------------------------------------------------------------------------------- */

/* Raises what a negative status of the library says: MemoryError for ENOMEM, else `type`, with the formatted
 * text (PyErr_Format's rules) followed by ": " and what the library says. Returns NULL. */
PyObject *core_raise(PyObject *type, int status, const char *format, ...);

/* The exception of a status as an object: of `type`, or MemoryError. NULL with an exception set. */
PyObject *core_error_new(PyObject *type, int status);

/* The UTF-8 of a name or pattern, valid as long as the str. NULL: TypeError where it is no str, else `type`:
 * it contains a NUL or a lone surrogate. Whether it is a good name is the library's to say. */
const char *core_utf8(PyObject *name, PyObject *type);

/* Takes the exception that is set: a strong reference, with its traceback. */
PyObject *core_take_error(void);

/* The other way round; takes over the reference. Returns NULL. */
PyObject *core_give_error(PyObject *exception);

/* --- release.c --------------------------------------------------------------------------------- */

/* Gives back a reference from any thread, with the GIL or without, also while the interpreter ends: a
 * mtaio_release. Never waits for the GIL: without it the reference is given back a little later. */
void core_release(void *object);

/* A destroy, or a release of what the library may free at any time: gives it back when core_release_now is
 * called, which is to be done after whatever may have freed something. */
void core_release_later(void *object);
void core_release_now(void);

/* --- loops.c ----------------------------------------------------------------------------------- */

/* The loop that runs in this thread: a strong reference; None where there is none; NULL with an exception. */
PyObject *core_running_loop(void);

/* Seconds, a Python number or None, as the library's nanoseconds: None is -1, for ever; negative ones are 0;
 * beyond what fits is for ever. False with an exception: no number, or NaN. */
bool core_timeout(PyObject *seconds, int64_t *ret_ns);

#endif
