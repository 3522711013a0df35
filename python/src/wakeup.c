/* wakeup.c - how those who wait are woken: tasks of any loop, and threads.
 *
 * A task sleeps on a future. On the thread that runs its loop the future is given its result there and then.
 * From anywhere else it is put on the list of the loop's waker, which is called on the loop by
 * call_soon_threadsafe, and not once more while that call is still to come: however many tasks are to be
 * woken, and however often, the loop is called once for all of them. */
#include "channels.h"

#include <pthread.h>
#include <time.h>

/* --- Wakers ----------------------------------------------------------------------------------- */

/* One for each loop in which somebody sleeps. */
typedef struct waker {
    PyObject_HEAD
    PyObject *loop;
    struct link link;  /* of all wakers */
    struct link woken; /* sleepers whose futures the loop is to see to */
    bool scheduled;    /* the loop is going to call us */
} waker;

static void note_fork(void);
static PyTypeObject waker_type;
static struct link wakers = {&wakers, &wakers};
static waker *spare; /* memory of one, or NULL: often it is made for one sleeper after the other */

static waker *waker_alloc(void) {
    waker *w = spare;
    spare = NULL;
    return w ? (waker *)PyObject_Init((PyObject *)w, &waker_type) : PyObject_GC_New(waker, &waker_type);
}

static PyObject *waker_of(PyObject *loop) {
    for (struct link *l = wakers.next; l != &wakers; l = l->next) {
        waker *w = LINK_OWNER(l, waker, link);
        if (w->loop == loop) return Py_NewRef((PyObject *)w);
    }
    waker *w = waker_alloc();
    if (!w) return NULL;
    w->loop = Py_NewRef(loop);
    w->scheduled = false;
    link_init(&w->woken);
    link_add(&w->link, &wakers);
    PyObject_GC_Track(w);
    return (PyObject *)w;
}

static int waker_traverse(waker *w, visitproc visit, void *arg) {
    Py_VISIT(w->loop);
    return 0;
}

/* Sleepers keep their waker, so nobody is on its list. */
static void waker_dealloc(waker *w) {
    PyObject_GC_UnTrack(w);
    link_remove(&w->link);
    Py_DECREF(w->loop);
    if (spare)
        PyObject_GC_Del(w);
    else
        spare = w;
}

/* --- What a loop does for us. In the main thread a signal handler may run within it, and raise. --- */

static int raise_again(void *error) {
    core_give_error(error);
    return -1;
}

/* False: the loop is closed. What a signal handler has raised is put off until the library has returned. */
static bool carry_out(bool (*attempt)(PyObject *), PyObject *object) {
    if (likely(attempt(object))) return true;
    if (PyErr_ExceptionMatches(PyExc_RuntimeError)) {
        PyErr_Clear();
        return false;
    }
    PyObject *error = core_take_error();
    bool is_done = attempt(object);
    PyErr_Clear();
    if (PyErr_GivenExceptionMatches(error, PyExc_MemoryError) || Py_AddPendingCall(raise_again, error) < 0)
        Py_DECREF(error);
    return is_done;
}

/* A future that is done already is that of a task being cancelled. */
static bool set_future(PyObject *future) {
    PyObject *result = PyObject_CallMethodOneArg(future, core_names.set_result, Py_None);
    Py_XDECREF(result);
    if (likely(result != NULL)) return true;
    if (!PyErr_ExceptionMatches(core_names.InvalidStateError)) return false;
    PyErr_Clear();
    return true;
}

static bool call_waker_soon(PyObject *w) {
    PyObject *loop = ((waker *)w)->loop;
    PyObject *handle = PyObject_CallMethodOneArg(loop, core_names.call_soon_threadsafe, w);
    Py_XDECREF(handle);
    return handle;
}

static bool waker_schedule(waker *w) {
    if (w->scheduled) return true;
    w->scheduled = true;
    if (carry_out(call_waker_soon, (PyObject *)w)) return true;
    w->scheduled = false;
    return false;
}

/* On the loop. What is woken during this is seen to at once or by the next call. */
static PyObject *waker_call(PyObject *self, PyObject *args, PyObject *kwargs) {
    (void)args, (void)kwargs;
    waker *w = (waker *)self;
    w->scheduled = false;
    while (!link_is_alone(&w->woken)) {
        struct sleeper *s = LINK_OWNER(w->woken.next, struct sleeper, woken_link);
        link_remove(&s->woken_link);
        PyObject *future = Py_NewRef(s->future);
        carry_out(set_future, future);
        Py_DECREF(future);
    }
    Py_RETURN_NONE;
}

static PyTypeObject waker_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "mtaio._core.Waker",
    .tp_basicsize = sizeof(waker),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = (destructor)waker_dealloc,
    .tp_traverse = (traverseproc)waker_traverse,
    .tp_call = waker_call,
};

int core_wakeup_init(void) {
    static bool watching;
    if (!watching && pthread_atfork(NULL, NULL, note_fork) != 0) {
        PyErr_NoMemory();
        return -1;
    }
    watching = true;
    return PyType_Ready(&waker_type);
}

/* --- Loops of asyncio's own, which need not be asked in the slow ways that all loops can be asked in --- */

static PyTypeObject *asyncios_type; /* the last type of such loops that was seen */

/* 1: its create_future is BaseEventLoop's. -1 with an exception. */
static int is_asyncios(PyObject *loop) {
    if (likely(Py_TYPE(loop) == asyncios_type)) return 1;
    PyObject *own = PyObject_GetAttr((PyObject *)Py_TYPE(loop), core_names.create_future);
    PyObject *asyncios = own ? PyObject_GetAttr(core_names.BaseEventLoop, core_names.create_future) : NULL;
    int same = asyncios ? own == asyncios : -1;
    Py_XDECREF(own);
    Py_XDECREF(asyncios);
    if (same > 0) Py_XSETREF(asyncios_type, (PyTypeObject *)Py_NewRef((PyObject *)Py_TYPE(loop)));
    return same;
}

/* loop.create_future(), or, where that is asyncio's own, what that does. */
static PyObject *make_future(PyObject *loop) {
    int asyncios = is_asyncios(loop);
    if (asyncios <= 0) return asyncios < 0 ? NULL : PyObject_CallMethodNoArgs(loop, core_names.create_future);
    return PyObject_Vectorcall(core_names.Future, &loop, 0, core_names.loop_keyword);
}

/* Does this thread run the loop? To ask for the running loop is a system call up to Python 3.11. */
static bool runs_here(PyObject *loop) {
    int asyncios = is_asyncios(loop);
    PyObject *here = asyncios > 0    ? PyObject_GetAttr(loop, core_names.thread_id)
                     : asyncios == 0 ? core_running_loop()
                                     : NULL;
    bool same = asyncios == 0 ? here == loop
                              : here && PyLong_CheckExact(here) &&
                                    PyLong_AsUnsignedLongMask(here) == PyThread_get_thread_ident();
    if (!here) PyErr_Clear();
    Py_XDECREF(here);
    return same;
}

#if PY_VERSION_HEX < 0x030C0000
static bool forked; /* no loop runs in a child, though it looks so */

static void note_fork(void) { forked = true; }

/* The loop that runs, without a system call where one task alone is being run: by it, and in this thread. */
static PyObject *running_loop(void) {
    PyObject *loop, *task;
    Py_ssize_t at = 0;
    bool alone = !forked && PyDict_CheckExact(core_names.current_tasks) &&
                 PyDict_GET_SIZE(core_names.current_tasks) == 1 &&
                 PyDict_Next(core_names.current_tasks, &at, &loop, &task);
    if (alone && Py_TYPE(loop) == asyncios_type) {
        Py_INCREF(loop);
        if (runs_here(loop)) return loop;
        Py_DECREF(loop);
    }
    return PyObject_CallNoArgs(core_names.get_running_loop);
}
#else
static void note_fork(void) {}

static PyObject *running_loop(void) { return PyObject_CallNoArgs(core_names.get_running_loop); }
#endif

/* --- Sleepers --------------------------------------------------------------------------------- */

void core_sleeper_init(struct sleeper *s) {
    *s = (struct sleeper){.woken = true};
    link_init(&s->woken_link);
}

void core_sleeper_clear(struct sleeper *s) {
    link_remove(&s->woken_link);
    Py_CLEAR(s->waker);
    Py_CLEAR(s->future);
    if (s->lock) PyThread_free_lock(s->lock);
    s->lock = NULL;
}

int core_sleeper_visit(struct sleeper *s, visitproc visit, void *arg) {
    Py_VISIT(s->waker);
    Py_VISIT(s->future);
    return 0;
}

/* A future serves until it is done: an attempt that nobody was woken for leaves it as it is. */
int core_sleeper_prepare_task(struct sleeper *s) {
    if (!s->woken) return 0;
    PyObject *loop = running_loop();
    if (!loop) return -1;
    PyObject *future = make_future(loop);
    if (future && !s->waker) s->waker = waker_of(loop);
    Py_DECREF(loop);
    Py_XSETREF(s->future, future);
    s->woken = !future || !s->waker;
    return s->woken ? -1 : 0;
}

int core_sleeper_prepare_thread(struct sleeper *s) {
    if (!s->woken) return 0;
    if (!s->lock) s->lock = PyThread_allocate_lock();
    if (!s->lock) {
        PyErr_SetString(PyExc_RuntimeError, "can't allocate lock");
        return -1;
    }
    PyThread_acquire_lock(s->lock, NOWAIT_LOCK); /* who wakes releases it */
    s->woken = false;
    return 0;
}

/* As Future.__await__ does. */
PyObject *core_sleeper_yield(struct sleeper *s) {
    if (PyObject_SetAttr(s->future, core_names.blocking, Py_True) < 0) return NULL;
    return Py_NewRef(s->future);
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int64_t core_sleeper_deadline(int64_t limit_ns) {
    int64_t now = now_ns();
    return limit_ns < 0 || limit_ns > INT64_MAX - now ? INT64_MAX : now + limit_ns;
}

int core_sleeper_block(struct sleeper *s, int64_t deadline_ns) {
    for (;;) {
        PY_TIMEOUT_T limit_us = -1;
        if (deadline_ns != INT64_MAX) {
            int64_t left = deadline_ns - now_ns();
            limit_us = left > 0 ? (left - 1) / 1000 + 1 : 0;
            if (limit_us > PY_TIMEOUT_MAX) limit_us = -1;
        }
        PyLockStatus status;
        Py_BEGIN_ALLOW_THREADS status = PyThread_acquire_lock_timed(s->lock, limit_us, 1);
        Py_END_ALLOW_THREADS if (status != PY_LOCK_INTR) return s->woken;
        if (PyErr_CheckSignals() < 0) return -1;
    }
}

/* The sleeper may be cleared while its loop is at work for us, but its owner is held by the caller. */
bool core_sleeper_wake(struct sleeper *s) {
    if (s->woken) return true;
    s->woken = true;
    if (s->lock) {
        PyThread_release_lock(s->lock);
        return true;
    }
    PyObject *future = Py_NewRef(s->future), *w = Py_NewRef(s->waker);
    bool is_woken;
    if (runs_here(((waker *)w)->loop)) {
        is_woken = carry_out(set_future, future);
    } else {
        link_add(&s->woken_link, &((waker *)w)->woken); /* first: the loop may run before we go on */
        is_woken = waker_schedule((waker *)w);
        if (!is_woken) link_remove(&s->woken_link);
    }
    Py_DECREF(w);
    Py_DECREF(future);
    return is_woken;
}

PyObject *core_sleeper_timer(struct sleeper *s, int64_t delay_ns, PyObject *callback) {
    PyObject *delay = PyFloat_FromDouble((double)delay_ns * 1e-9);
    if (!delay) return NULL;
    PyObject *args[] = {((waker *)s->waker)->loop, delay, callback};
    PyObject *timer = PyObject_VectorcallMethod(core_names.call_later, args, 3, NULL);
    Py_DECREF(delay);
    return timer;
}

/* --- Tethers ---------------------------------------------------------------------------------- */

struct tether {
    void *end;       /* NULL: it has left, or been answered */
    tether **holder; /* where `end` keeps this */
    mtaio_pending *pending;
    int refs;
};

tether *core_tether_new(void *end, tether **holder) {
    tether *t = PyMem_Malloc(sizeof *t);
    if (!t) {
        PyErr_NoMemory();
        return NULL;
    }
    *t = (tether){.end = end, .holder = holder, .refs = 3}; /* the holder's, the core's, the caller's */
    *holder = t;
    return t;
}

void core_tether_release(void *ctx) {
    tether *t = ctx;
    if (--t->refs > 0) return;
    mtaio_pending_unref(t->pending);
    PyMem_Free(t);
}

void *core_tether_answer(tether *t) {
    void *end = t->end;
    if (!end) return NULL;
    t->end = NULL;
    *t->holder = NULL;
    core_tether_release(t);
    return end;
}

void core_tether_tie(tether *t, mtaio_pending *pending) {
    if (pending)
        t->pending = pending;
    else
        core_tether_answer(t);
    core_tether_release(t);
}

void core_tether_cancel(tether *t) {
    t->refs++; /* the answer, which comes now, gives back the others */
    mtaio_pending_cancel(t->pending);
    core_tether_release(t);
}

void core_tether_cut(tether *t) {
    t->refs++;
    core_tether_answer(t);
    core_tether_cancel(t);
    core_tether_release(t);
}
