/* explore_inner.h - what the parts of the explorer share.
 *
 *   explore.c            the search: states, snapshots, reports
 *   explore_machine.c    threads as fibers, scheduling points, choices
 *   explore_stores.c     atomics and store buffers
 *   explore_memory.c     blocks, and who may touch them
 *   explore_conflicts.c  which accesses need scheduling points
 *   os_explore.c         os.h */
#ifndef MTAIO_EXPLORE_INNER_H
#define MTAIO_EXPLORE_INNER_H

#include "explore.h"

#include <ucontext.h>

#include "os/os.h"

enum {
    THREADS_MAX = 8,
    STORES_MAX = 4,
    STACK_BYTES = 256 * 1024,
    ARENA_BYTES = 256 * 1024, /* of each thread: addresses then do not depend on the others' allocations */
    GRAIN = 8,                /* bytes that one byte of shadow tells about */
    STEPS_MAX = 20000,        /* longer executions are taken for endless ones */
    QUIET_MAX = 200,          /* steps of a thread without a scheduling point */
};

/* What a thread is about to do. */
enum op_kind {
    OP_START, OP_LOAD, OP_STORE, OP_UPDATE, OP_ACCESS, OP_FENCE, OP_FENCE_HEAVY, OP_LOCK, OP_UNLOCK, OP_WAIT,
    OP_WAKE_ONE, OP_WAKE_ALL, OP_JOIN, OP_JOIN_ALL, OP_NAP, OP_POINT, OP_SETTLE, OP_END
};
struct op {
    enum op_kind kind;
    int thread; /* to join */
    const volatile void *address;
};

struct store {
    volatile void *address;
    uint64_t value;
    uint32_t size;
    bool release;
};

enum thread_state { THREAD_NONE, THREAD_ALIVE, THREAD_ENDED };
struct fiber {
    enum thread_state state;
    struct op op;
    void *(*run)(void *arg);
    void *arg;
    ucontext_t *context; /* on its own stack, when it does not run */
    char *stack_low;     /* from here to the top it is in use */
    void *self;          /* os_self */
    void (*self_end)(void *value);
    void *here; /* os_here */
    struct store stores[STORES_MAX]; /* oldest first */
    unsigned stored;
    unsigned recent; /* of them, since its last scheduling point */
    int locks;
    unsigned quiet;   /* steps since its last scheduling point */
    bool fresh;       /* has made no plain access since then that had to be one */
    bool scenario;    /* one of the scenario's threads */
    bool news;        /* others have written since its last nap */
    bool spurious;    /* has had its wake-up for no reason */
    bool timed_out;   /* its last wait */
    os_cond *waits;   /* not NULL: until woken */
    int64_t deadline; /* of that wait */
    size_t arena_used;
};

/* All that makes a state besides static variables, arenas and stacks: saved, restored and hashed with
 * them. */
struct world {
    struct fiber threads[THREADS_MAX];
    int thread_count;
    bool started;   /* setup is over */
    bool branching; /* the scenario's threads run: every choice is explored */
    int64_t now_ns;
    unsigned complaints;
};

enum choice_kind { CHOOSE_RUN, CHOOSE_DRAIN, CHOOSE_TIMEOUT, CHOOSE_SPURIOUS };
struct choice {
    uint8_t thread, kind, variant; /* which store to drain, which waiter to wake */
};

/* A step of the execution that is being followed. */
enum { PLACES = 16 };
struct trace {
    int thread;
    const char *what;
    char where[40], value[24];
    void *places[PLACES]; /* where it came from, innermost first */
    int place_count;
};

extern struct machine {
    struct world *world;
    struct fiber *current; /* NULL: the explorer itself */
    ucontext_t scheduler;
    const struct explore_scenario *scenario;
    unsigned variant;      /* of the choice being taken */
    bool failed;
    bool learning;         /* a conflict was found that was not known */
    bool tracing;
    char failure[256];
} *explore_machine; /* set once, then constant: static variables are restored again and again */

/* explore_machine.c */
void explore_machine_init(void);
void explore_world_init(void); /* with thread 0, which runs the scenario */
unsigned explore_choices(struct choice *ret, unsigned *ret_real); /* real: without spurious wake-ups */
void explore_take(struct choice c);
bool explore_runnable(const struct fiber *t);
int explore_thread_new(void *(*run)(void *arg), void *arg, bool scenario);
void *explore_stack_top(const struct fiber *t);
static inline int explore_index(const struct fiber *t) { return (int)(t - explore_machine->world->threads); }

/* Returns when the current thread may do it. */
void explore_point_of(enum op_kind kind, const volatile void *address, int thread);

int explore_stack_of(const volatile void *p); /* whose stack p is in; -1: no stack */
void explore_progress(const struct fiber *t); /* t has written: who polls may look again */
void explore_set_failure(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* explore_stores.c. These let buffered stores arrive: the n-th, the first n, all. */
void explore_drain(struct fiber *t, unsigned n);
void explore_drain_first(struct fiber *t, unsigned n);
void explore_drain_all(struct fiber *t);

/* A thread's plain accesses, and its leaving of a function whose variables it stored to, come after those
 * stores; what it stored to a block that it frees does not matter any more. */
void explore_see_own(const volatile void *p, size_t size);
void explore_leave_function(void);
void explore_forget_stores(const volatile void *p, size_t size);

/* explore_memory.c */
void explore_memory_init(void);
void *explore_arena(int thread);
void *explore_shadow(int thread);
bool explore_check_access(const volatile void *p, size_t size, const char *what); /* false: failed */
void explore_check_end(void *statics, void *statics_end); /* freed blocks untouched, nothing leaked */
void explore_describe(const volatile void *p, char *ret, size_t size);

/* explore_conflicts.c: each notes an access by the current thread; true: it needs a scheduling point */
void explore_conflicts_init(void);
void explore_conflicts_forget(void);
bool explore_conflicts(const volatile void *p, bool writes); /* an atomic or a lock */
bool explore_life_conflicts(const volatile void *p);         /* any access to a block */
void explore_conflicts_free(const volatile void *p, size_t size);
size_t explore_grain(const volatile void *p); /* explore_memory.c: its number; beyond all: in no arena */

/* os_explore.c */
bool explore_fds_open(void); /* any, still */

/* explore.c */
struct trace *explore_trace(const char *what, const volatile void *address); /* NULL: not tracing */
void explore_trace_value(uint64_t value);
/* What happens to a thread, rather than what it does. */
void explore_trace_of(const struct fiber *t, const char *what, const volatile void *address);

#endif
