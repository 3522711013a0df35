/* module.c - the module mtaio._nats. */
#include "module.h"

struct nats_module nats_module;

static int find_exceptions(void) {
    const struct {
        const char *name;
        PyObject **to;
    } wanted[] = {{"NatsError", &nats_module.Error},
                  {"NatsTimeoutError", &nats_module.TimeoutError},
                  {"NatsClosedError", &nats_module.ClosedError},
                  {"NatsNoRespondersError", &nats_module.NoRespondersError},
                  {"NatsHandlerError", &nats_module.HandlerError}};
    PyObject *exceptions = PyImport_ImportModule("mtaio.exceptions");
    int r = exceptions ? 0 : -1;
    for (size_t i = 0; r == 0 && i < sizeof wanted / sizeof *wanted; i++) {
        Py_XSETREF(*wanted[i].to, PyObject_GetAttrString(exceptions, wanted[i].name));
        r = *wanted[i].to ? 0 : -1;
    }
    Py_XDECREF(exceptions);
    return r;
}

/* The core imports nothing in a subinterpreter, so nor do we. */
static int find_core(void) {
    PyObject *core = PyImport_ImportModule("mtaio._core");
    if (!core) return -1;
    Py_DECREF(core);
    nats_module.core = PyCapsule_Import(CORE_API, 0);
    if (!nats_module.core) return -1;
    if (nats_module.core->size == sizeof *nats_module.core) return 0;
    PyErr_SetString(PyExc_ImportError, "mtaio._nats and mtaio._core are not of one build");
    return -1;
}

/* check_pattern(str): True, or NatsError. */
static PyObject *check_pattern(PyObject *module, PyObject *pattern) {
    (void)module;
    const char *utf8 = nats_utf8(pattern, "a pattern");
    int r = utf8 ? mtaio_pattern_matches(utf8, "a") : -1;
    if (!utf8) return NULL;
    return r < 0 ? nats_raise(r, utf8) : Py_NewRef(Py_True);
}

static PyMethodDef functions[] = {{"check_pattern", check_pattern, METH_O, NULL}, {NULL, NULL, 0, NULL}};

static int module_exec(PyObject *module) {
    if (find_core() < 0 || find_exceptions() < 0) return -1;
    if (nats_add_connection(module) < 0 || nats_add_binding(module) < 0) return -1;
    if (nats_add_request(module) < 0) return -1;
    return nats_add_delivery(module);
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, SLOT(module_exec)},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,  .m_name = "mtaio._nats", .m_doc = "Channels over NATS: use mtaio.nats.",
    .m_methods = functions, .m_slots = module_slots,
};

PyMODINIT_FUNC PyInit__nats(void);
PyMODINIT_FUNC PyInit__nats(void) { return PyModuleDef_Init(&module_def); }
