/* release.c - giving back references from anywhere.
 *
 * The library releases what it was given on whatever thread is the last to need it: as a rule one that holds
 * the GIL, for all our calls do; but also one that is just ending, or that waits for room in a channel
 * without the GIL. To wait for the GIL there could be for ever, when the interpreter is ending. So such
 * references are put on a list, and the interpreter is asked to have a look at it.
 *
 * With the GIL, giving back a reference may run any Python code. Where the library gives one back in the
 * midst of something, when it frees what was removed earlier, the reference goes on the list, too, until we
 * are out of the library again: so no Python code runs in it but handlers, predicates, transforms and hooks.
 */
#include "core.h"

#include <stdatomic.h>
#include <stdlib.h>

#if PY_VERSION_HEX >= 0x030D0000
#define THREAD_STATE PyThreadState_GetUnchecked
#else
#define THREAD_STATE _PyThreadState_UncheckedGet
#endif

struct later {
    PyObject *object;
    struct later *next;
};
static _Atomic(struct later *) waiting;

static bool has_gil(void) {
    const PyThreadState *own = PyGILState_GetThisThreadState();
    return own && own == THREAD_STATE();
}

/* With the GIL. An exception that is set stays. */
static int release_waiting(void *unused) {
    (void)unused;
    struct later *l =
        atomic_exchange_explicit(&waiting, NULL, memory_order_acquire); /* pairs with the push */
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    while (l) {
        struct later *next = l->next;
        Py_DECREF(l->object);
        free(l);
        l = next;
    }
    PyErr_Restore(type, value, traceback);
    return 0;
}

static void push(PyObject *object) {
    struct later *l = malloc(sizeof *l);
    if (!l) return; /* it leaks: better than to wait for the GIL, or to run Python code now */
    l->object = object;
    l->next = atomic_load_explicit(&waiting, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&waiting, &l->next, l, memory_order_release,
                                                  memory_order_relaxed)) {}
}

void core_release(void *object) {
    if (has_gil()) {
        Py_DECREF((PyObject *)object);
    } else if (Py_IsInitialized()) {
        push(object);
        Py_AddPendingCall(release_waiting, NULL); /* where its queue is full, somebody has asked before us */
    }
}

void core_release_later(void *object) {
    if (has_gil())
        push(object);
    else
        core_release(object);
}

void core_release_now(void) {
    if (unlikely(atomic_load_explicit(&waiting, memory_order_relaxed) != NULL)) release_waiting(NULL);
}
