/* names.c - the names that an emitter has been asked to emit, remembered by identity.
 *
 * A name in a program is mostly the same str object again. Names that are made for one emission, as those
 * that come from outside are, are never the same: so a name is resolved when it comes for the second time,
 * and there are few places. */
#include "emitter.h"

#define SEEN SIZE_MAX /* registrations of an entry that only says so: no emitter has so many */

/* The name's place where it has come again. One that is used, or of which an emission is under way, stays. */
static struct name_entry *place_again(core_emitter *em, PyObject *name) {
    if (!em->names && !(em->names = PyMem_Calloc(NAME_ENTRIES, sizeof *em->names))) return NULL;
    struct name_entry *entry = &em->names[(uintptr_t)name / 16 % NAME_ENTRIES];
    if (entry->name == name) return entry;
    bool used = entry->used;
    entry->used = false;
    if (used || (entry->resolved && em->active > 1)) return NULL;
    entry->resolved = mtaio_name_unref(entry->resolved);
    Py_XSETREF(entry->name, Py_NewRef(name));
    entry->registrations = SEEN;
    return NULL;
}

static bool is_idle(const core_emitter *em, const char *utf8) {
    return !em->hook && !em->first_derived && mtaio_emitter_reach(em->inner, utf8) == 0;
}

void core_name_learn(core_emitter *em, PyObject *name, const char *utf8, int r) {
    bool called = r > 0 || r == MTAIO_EINPROGRESS || r == MTAIO_EHANDLER;
    if ((!called && r != 0) || !PyUnicode_CheckExact(name) || PyUnicode_GET_LENGTH(name) > NAME_LENGTH_MAX)
        return;
    struct name_entry *entry = place_again(em, name);
    if (!entry || entry->resolved) return;
    if (called)
        mtaio_emitter_resolve(em->inner, utf8, &entry->resolved); /* if it cannot be, all stays as it is */
    else if (is_idle(em, utf8))
        entry->registrations = em->registrations;
}

void core_names_forget(core_emitter *em) {
    struct name_entry *names = em->names;
    em->names = NULL;
    for (size_t i = 0; names && i < NAME_ENTRIES; i++) {
        mtaio_name_unref(names[i].resolved);
        Py_XDECREF(names[i].name);
    }
    PyMem_Free(names);
}
