/* search.c - which of an emitter's listeners have a handler, where there are very many: by an index that is
 * made when somebody looks, and filled up when somebody looks again. Registering knows nothing of it; who
 * goes leaves a gap.
 *
 * It is by name and by what is the same of handlers that are equal: functions and the like, bound methods of
 * them, and builtin ones. Whatever has an == of its own, or may get one, stands apart, and is looked at each
 * time. */
#include "emitter.h"

struct core_index {
    uint32_t mask;             /* heads - 1; one more head is that of those apart */
    uint32_t capacity;         /* places */
    uint32_t used;             /* of these */
    uint32_t there;            /* not gone since */
    uint32_t *head;            /* the last place of each, from 1; 0: none */
    uint32_t *before;          /* of each place the one before it of the same head */
    core_listener *listener[]; /* NULL: gone */
};

static void index_free(core_emitter *em) {
    PyMem_Free(em->index);
    em->index = NULL;
}

void core_index_leave(core_emitter *em, core_listener *l) {
    em->index->listener[l->place - 1] = NULL;
    l->place = 0;
    if (--em->index->there == 0) index_free(em);
}

/* --- Where a handler is ------------------------------------------------------------------------- */

/* Its type has no == of its own, and never will. */
static bool is_only_itself(const PyObject *o) {
    const PyTypeObject *type = Py_TYPE(o);
    return type->tp_richcompare == PyBaseObject_Type.tp_richcompare &&
           (type->tp_flags & (Py_TPFLAGS_HEAPTYPE | Py_TPFLAGS_IMMUTABLETYPE)) != Py_TPFLAGS_HEAPTYPE;
}

/* What tells it from others; false: it stands apart. */
static bool identity_of(PyObject *handler, uintptr_t id[2]) {
    if (is_only_itself(handler)) {
        id[0] = (uintptr_t)handler;
        id[1] = 0;
    } else if (PyMethod_Check(handler) && is_only_itself(PyMethod_GET_FUNCTION(handler))) {
        id[0] = (uintptr_t)PyMethod_GET_FUNCTION(handler);
        id[1] = (uintptr_t)PyMethod_GET_SELF(handler);
    } else if (PyCFunction_CheckExact(handler)) {
        id[0] = (uintptr_t)PyCFunction_GET_FUNCTION(handler);
        id[1] = (uintptr_t)((PyCFunctionObject *)handler)->m_self;
    } else {
        return false;
    }
    return true;
}

static uint32_t *head_apart(struct core_index *x) { return &x->head[x->mask + 1]; }

/* NULL: it stands apart. */
static uint32_t *head_of(struct core_index *x, PyObject *name, PyObject *handler) {
    uintptr_t id[2];
    if (!identity_of(handler, id)) return NULL;
    uint64_t hash = (uint64_t)PyUnicode_Type.tp_hash(name); /* which it keeps */
    for (int i = 0; i < 2; i++) {
        hash = (hash ^ id[i]) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 32;
    }
    return &x->head[(uint32_t)hash & x->mask];
}

/* --- Filling it --------------------------------------------------------------------------------- */

static void enter(struct core_index *x, core_listener *l) {
    uint32_t *head = l->flags & LISTENER_WRAPPED ? NULL : head_of(x, l->name, l->handler);
    if (!head) head = head_apart(x);
    x->listener[x->used] = l;
    x->before[x->used] = *head;
    *head = l->place = ++x->used;
    x->there++;
}

static struct core_index *index_new(size_t population) {
    size_t capacity = population + population / 2, heads = 1;
    while (heads < capacity / 2) heads *= 2;
    size_t bytes = sizeof(struct core_index) + capacity * sizeof(core_listener *) +
                   (capacity + heads + 1) * sizeof(uint32_t);
    struct core_index *x = capacity > UINT32_MAX / 2 ? NULL : PyMem_Calloc(1, bytes);
    if (!x) return NULL;
    x->mask = (uint32_t)heads - 1;
    x->capacity = (uint32_t)capacity;
    x->before = (uint32_t *)(x->listener + capacity);
    x->head = x->before + capacity;
    return x;
}

/* All that are not in it, which are the newest, are entered, the oldest first. Where there is no room for
 * them, or far too much, it is made anew. False: there are none, or there is no memory. */
static bool index_fill(core_emitter *em) {
    struct core_index *x = em->index;
    core_listener *l = em->listeners, *oldest = NULL;
    size_t missing = 0;
    if (!l) return false; /* an index goes with the last that is in it */
    for (; l && (!x || !l->place); l = l->next, missing++) oldest = l;
    if (!x || x->used + missing > x->capacity || em->population < x->capacity / 4) {
        if (!(x = index_new(em->population))) return false;
        for (; l; l = l->next) oldest = l;
        index_free(em);
        em->index = x;
    }
    for (l = oldest; l; l = l->prev) enter(x, l);
    return true;
}

/* --- Looking ------------------------------------------------------------------------------------ */

bool core_search_begin(struct core_search *s, core_emitter *em, PyObject *name, PyObject *handler) {
    uintptr_t id[2];
    if (!identity_of(handler, id) || !index_fill(em)) return false;
    s->index = em->index;
    s->place[0] = head_of(em->index, name, handler);
    s->place[1] = head_apart(em->index);
    return true;
}

core_listener *core_search_next(struct core_search *s) {
    struct core_index *x = s->index;
    for (int i = 0; i < 2; i++)
        while (*s->place[i] && !x->listener[*s->place[i] - 1]) *s->place[i] = x->before[*s->place[i] - 1];
    uint32_t **later = *s->place[0] > *s->place[1] ? &s->place[0] : &s->place[1];
    if (**later == 0) return NULL;
    core_listener *l = x->listener[**later - 1];
    *later = &x->before[**later - 1];
    return l;
}
