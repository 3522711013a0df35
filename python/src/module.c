/* module.c - the module mtaio._core. */
#include "core.h"

struct core core;

/* --- What is needed of Python ------------------------------------------------------------------ */

static int look_up(PyObject *module, const char *name, PyObject **ret) {
    Py_XSETREF(*ret, PyObject_GetAttrString(module, name));
    return *ret ? 0 : -1;
}

static int find_exceptions(void) {
    const struct {
        const char *name;
        PyObject **to;
    } wanted[] = {{"MTAIOError", &core.Error},
                  {"EventError", &core.EventError},
                  {"EventEmitError", &core.EventEmitError},
                  {"EventHandlerError", &core.EventHandlerError},
                  {"EventTimeoutError", &core.EventTimeoutError},
                  {"ChannelError", &core.ChannelError},
                  {"ChannelClosedError", &core.ChannelClosedError},
                  {"ChannelFullError", &core.ChannelFullError}};
    PyObject *exceptions = PyImport_ImportModule("mtaio.exceptions");
    int r = exceptions ? 0 : -1;
    for (size_t i = 0; r == 0 && i < sizeof wanted / sizeof *wanted; i++)
        r = look_up(exceptions, wanted[i].name, wanted[i].to);
    Py_XDECREF(exceptions);
    return r;
}

static int find_asyncio(void) {
    PyObject *events = PyImport_ImportModule("asyncio.events");
    int r = events ? look_up(events, "_get_running_loop", &core.get_running_loop) : -1;
    Py_XDECREF(events);
    return r;
}

/* --- The module -------------------------------------------------------------------------------- */

/* The module's objects are shared by all its users, so there is one interpreter that has them. */
static int check_interpreter(void) {
    if (PyInterpreterState_Get() == PyInterpreterState_Main()) return 0;
    PyErr_SetString(PyExc_ImportError, "mtaio does not support subinterpreters");
    return -1;
}

static int module_exec(PyObject *module) {
    if (check_interpreter() < 0 || find_exceptions() < 0 || find_asyncio() < 0) return -1;
    if (PyModule_AddStringConstant(module, "version", mtaio_version()) < 0) return -1;
    int (*const parts[])(PyObject *) = {core_add_events,   core_add_listeners, core_add_emitters,
                                        core_add_derived,  core_add_hooks,     core_add_emissions,
                                        core_add_batches,  core_add_methods,   core_add_waits,
                                        core_add_channels, core_add_capi};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (parts[i](module) < 0) return -1;
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, CORE_SLOT(module_exec)},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "mtaio._core",
    .m_doc = "The C side of mtaio: use mtaio.events.",
    .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__core(void);
PyMODINIT_FUNC PyInit__core(void) { return PyModuleDef_Init(&module_def); }
