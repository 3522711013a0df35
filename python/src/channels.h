/* channels.h - what the files of the channel half share.
 *
 * Everything here is guarded by the GIL, which is held in every call of the library, so also where that calls
 * back. Nothing blocks in the library: who has to wait asks to be told, and then waits without the GIL.
 *
 * Who refers to what: a channel and its subscribers share a `flight`, the list of the messages that the core
 * holds for them, through which the garbage collector sees those (all but bare data that it need not know).
 * The subscribers do not refer to the channel. An operation (what an asynchronous method returns) refers to
 * its channel or subscriber; that one knows those that wait only by a list from which they take themselves.
 * What is given to the core as a ctx is a `tether`, which each end may leave first. */
#ifndef MTAIO_PYTHON_CHANNELS_H
#define MTAIO_PYTHON_CHANNELS_H

#include "core.h"

#include <mtaio/channel.h>

/* --- Lists: a ring of links with a head of its own; a link that is alone is linked to itself */

struct link {
    struct link *next, *prev;
};

static inline void link_init(struct link *l) { l->next = l->prev = l; }
static inline bool link_is_alone(const struct link *l) { return l->next == l; }

/* Before `at`: at the end of the list whose head that is. */
static inline void link_add(struct link *l, struct link *at) {
    l->next = at;
    l->prev = at->prev;
    at->prev->next = l;
    at->prev = l;
}

static inline void link_remove(struct link *l) {
    l->next->prev = l->prev;
    l->prev->next = l->next;
    link_init(l);
}

#define LINK_OWNER(l, type, member) ((type *)(void *)((char *)(l)-offsetof(type, member)))

/* --- channel.c: what is looked up when the module is imported --------------------------------- */

extern struct core_names {
    PyObject *TimeoutError, *EmptyError; /* of mtaio.exceptions */
    PyObject *get_running_loop;          /* asyncio's, which raises where no loop runs */
    PyObject *BaseEventLoop, *Future, *InvalidStateError; /* asyncio's */
    PyObject *loop_keyword;                               /* ("loop",) */
#if PY_VERSION_HEX < 0x030C0000
    PyObject *current_tasks; /* asyncio's, loop -> task */
#endif
    /* Names of methods and attributes. */
    PyObject *create_future, *call_later, *call_soon_threadsafe, *cancel, *set_result, *blocking,
        *thread_id;
} core_names;

/* --- message.c -------------------------------------------------------------------------------- */

typedef struct core_message {
    PyObject_HEAD
    PyObject *data;
    PyObject *topic;    /* a str or None */
    PyObject *metadata; /* NULL: none was given, and nobody has asked for it */
    uint64_t missed;
    struct link flight; /* of the messages that the core holds a reference to */
} core_message;

typedef struct core_flight {
    PyObject_HEAD
    struct link messages;
} core_flight;

extern PyTypeObject core_message_type, core_flight_type;

PyObject *core_flight_new(void);
PyObject *core_set_message_class(PyObject *module, PyObject *attributes);
PyObject *core_message_new(PyObject *data, PyObject *topic, PyObject *metadata, uint64_t missed);

/* A load, from what the user has given: topic and metadata may be NULL or None; TypeError. */
PyObject *core_load_make(PyObject *data, PyObject *topic, PyObject *metadata);

/* Fills what is to be published, valid as long as the load, and hands a reference to the core. -1: raised,
 * and nothing was handed over. */
int core_load_launch(PyObject *load, PyObject *in_flight, mtaio_publication *ret);

/* Takes it back, where the core did not want it. */
void core_load_recall(PyObject *load);

/* What a message carries: borrowed. topic may be None, metadata NULL. */
void core_load_read(const mtaio_message *received, PyObject **ret_data, PyObject **ret_topic,
                    PyObject **ret_metadata);

/* The message that was received, a new reference; clears it. NULL: no memory, and nothing was done. */
PyObject *core_load_land(mtaio_message *received);

/* --- wakeup.c: how those who wait are woken --------------------------------------------------- */

/* A task, by a future of its loop, or a thread, by a lock. Wake-ups of a loop by other threads are gathered:
 * however many there are, the loop is called once. */
struct sleeper {
    PyObject *waker;         /* a task's: its loop's */
    PyObject *future;        /* a task's */
    PyThread_type_lock lock; /* a thread's */
    struct link woken_link;  /* of the futures that the loop is to see to */
    bool woken;
};

void core_sleeper_init(struct sleeper *s);
void core_sleeper_clear(struct sleeper *s);
int core_sleeper_visit(struct sleeper *s, visitproc visit, void *arg);

/* Makes ready to sleep, before anybody is told whom to wake. */
int core_sleeper_prepare_task(struct sleeper *s);
int core_sleeper_prepare_thread(struct sleeper *s);

/* What the task has to yield: a new reference. */
PyObject *core_sleeper_yield(struct sleeper *s);

/* Blocks the thread, without the GIL, until then. 1: woken. 0: the time is over. -1: a signal handler has
 * raised. */
int core_sleeper_block(struct sleeper *s, int64_t deadline_ns);

/* limit_ns from now; < 0: never. */
int64_t core_sleeper_deadline(int64_t limit_ns);

/* False: its loop is closed, nobody will see this. */
bool core_sleeper_wake(struct sleeper *s);

/* Calls callback() on the loop of a prepared task after so long: the timer, a new reference. */
PyObject *core_sleeper_timer(struct sleeper *s, int64_t delay_ns, PyObject *callback);

/* --- Tethers: what the core has as ctx where it answers later; each end may leave first ------- */

typedef struct tether tether;

/* *holder is this as long as `end` waits for the answer. NULL: raised. */
tether *core_tether_new(void *end, tether **holder);

/* After the call that has been given it: pending is what that gave (taken over), NULL: it failed. */
void core_tether_tie(tether *t, mtaio_pending *pending);

/* The core's destroy. */
void core_tether_release(void *ctx);

/* The core answers: `end`, which does not hold it any more; NULL: it has left. */
void *core_tether_answer(tether *t);

/* Cancels what is pending: that is then the answer, unless another is on its way. */
void core_tether_cancel(tether *t);

/* `end` leaves: it hears no answer, and what is pending is cancelled. */
void core_tether_cut(tether *t);

/* --- operation.c: the awaitable --------------------------------------------------------------- */

typedef struct core_operation core_operation;

/* What an operation does. */
struct verb {
    const char *name; /* "Channel.publish" */
    bool is_done; /* it was carried out by the call: awaiting it gives what that returned, and may be left out
                   */

    /* Tries to do it. PYGEN_NEXT: it has to wait; not where op->expired. */
    PySendResult (*attempt)(core_operation *op, PyObject **ret);

    /* After such an attempt: sees to it that the sleeper, which is prepared, is woken when another attempt is
     * worth while. -1: raised. */
    int (*wait)(core_operation *op);

    /* It waits no more, because it is done or was given up. Once, where it was WAITING. */
    void (*leave)(core_operation *op);
};

struct core_operation {
    PyObject_HEAD
    const struct verb *verb;
    PyObject *target; /* the channel or subscriber */
    PyObject *argument;
    Py_ssize_t count; /* of messages: at most, or so far; in a buffer */
    int choice;       /* of the arguments */
    enum { FRESH, WAITING, OVER } state;
    bool is_running;
    bool is_finalized;
    bool expired;       /* the time is over: the next attempt is the last */
    int64_t timeout_ns; /* < 0: none */

    /* From the moment at which it first waits. */
    PyObject *timer; /* NULL: none */
    struct sleeper sleeper;
    struct link turn; /* in the line of a subscriber */
    bool called;      /* was taken from that line, and woken */
    bool in_line;     /* a publication, which got a place in the channel's line */
    tether *sent;     /* and is still there; NULL: not any more, and what became of it: */
    int result;
};

extern PyTypeObject core_operation_type;

/* Takes over argument; NULL where that is NULL, an exception having been raised. */
PyObject *core_operation_new(const struct verb *verb, PyObject *target, PyObject *argument);

/* The attempt of what is_done, whose result is its argument. */
PySendResult core_operation_result(core_operation *op, PyObject **ret);

/* Carries it out on this thread; takes over op; NULL where that is NULL. */
PyObject *core_operation_run(PyObject *op);

/* How long it may wait; < 0: for ever. */
static inline void core_operation_limit(PyObject *op, int64_t timeout_ns) {
    ((core_operation *)op)->timeout_ns = timeout_ns;
    ((core_operation *)op)->expired = timeout_ns == 0;
}

/* --- channel.c, publish.c --------------------------------------------------------------------- */

typedef struct core_channel {
    PyObject_HEAD
    mtaio_channel *inner; /* NULL: __init__ was not called */
    PyObject *name;
    PyObject *flight;
    size_t max_subscribers, buffer_size;
    uint64_t lost_wakeups; /* of publications: the loop was closed */
    PyObject *weakrefs;
} core_channel;

extern PyTypeObject core_channel_type;

/* Raises what the library has answered to a publisher or receiver; name: the channel's. Returns NULL. */
PyObject *core_channel_raise(int error, PyObject *name);

extern PyMethodDef core_publish_methods[]; /* of channels, more of them */

/* --- subscriber.c, receive.c ------------------------------------------------------------------ */

typedef struct core_subscriber {
    PyObject_HEAD
    mtaio_subscriber *inner;
    PyObject *name; /* the channel's */
    PyObject *flight;
    PyObject *topics;    /* a set */
    struct link waiting; /* operations, by their turn */
    size_t called;       /* how many were taken from there, and woken, and have not looked yet */
    tether *watch;       /* the library calls when there is something to receive */
    mtaio_message kept;  /* one that was received when there was no memory for its copy */
    bool has_kept;
    uint64_t lost_wakeups; /* of receivers: the loop was closed */
    PyObject *weakrefs;
} core_subscriber;

extern PyTypeObject core_subscriber_type;

/* Takes over inner, on failure too. */
PyObject *core_subscriber_new(mtaio_subscriber *inner, const core_channel *ch, PyObject *topics);

extern PyMethodDef core_receive_methods[]; /* of subscribers, more of them */

PyObject *core_subscriber_next(PyObject *sub);

/* Nobody may wait for it any more. */
void core_subscriber_unwatch(core_subscriber *sub);

/* --- arguments.c ------------------------------------------------------------------------------ */

/* The two entries of a method table for a method with named arguments. */
#define FAST_METHOD(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

#define ARGUMENTS_MAX 6

struct arguments {
    const char *function;
    int positional, required; /* how many may be given by position, and how many have to be given */
    const char *names[ARGUMENTS_MAX + 1];
};

/* Of a METH_FASTCALL | METH_KEYWORDS method: ret has place for each, NULL: not given. -1: TypeError. */
int core_arguments(const struct arguments *a, PyObject *const *args, Py_ssize_t nargs, PyObject *names,
                   PyObject **ret);

/* A size: not negative. NULL and None: `none`. -1: raised. */
int core_size(PyObject *number, const char *what, size_t none, size_t *ret);

/* "block" and so on. NULL and None: MTAIO_OVERFLOW_DEFAULT. Negative: raised. */
int core_overflow(PyObject *policy);

/* --- statistics.c ----------------------------------------------------------------------------- */

int core_statistics_init(PyObject *module);
PyObject *core_channel_statistics(const core_channel *ch);
PyObject *core_subscriber_statistics(const core_subscriber *sub);

int core_wakeup_init(void);

#endif
