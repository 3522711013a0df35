/* explore_machine.c - the machine that scenarios run on: threads as fibers, and what they may do next.
 *
 * A thread that comes to a scheduling point writes down what it is about to do and switches to the explorer.
 * When it is chosen it does it, and runs on to the next point. Nothing but *explore_machine changes here
 * outside of what explore.c saves and restores. */
#define _GNU_SOURCE 1

#include "explore_inner.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    BELOW = 512,      /* the frame that keeps a context may reach that far below it, where we cannot tell */
    SWEPT = 24 * 1024 /* stack that is cleared before a thread runs on, see run */
};

struct machine *explore_machine;
static char *stacks; /* constant, too */

static void *map(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) abort();
    return p;
}

void explore_machine_init(void) {
    explore_machine = map(sizeof *explore_machine);
    explore_machine->world = map(sizeof *explore_machine->world);
    stacks = map((size_t)THREADS_MAX * STACK_BYTES);
    for (int i = 0; i < THREADS_MAX; i++) mprotect(stacks + (size_t)i * STACK_BYTES, 4096, PROT_NONE);
}

/* --- Failures ---------------------------------------------------------------------------------- */

void explore_set_failure(const char *format, ...) {
    va_list args;
    va_start(args, format);
    if (!explore_machine->failed)
        vsnprintf(explore_machine->failure, sizeof explore_machine->failure, format, args);
    explore_machine->failed = true;
    va_end(args);
}

/* The failed thread is left where it is: the search goes on, if at all, from a snapshot. */
_Noreturn void explore_fail(const char *format, ...) {
    va_list args;
    char text[sizeof explore_machine->failure];
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    explore_set_failure("%s", text);
    if (explore_machine->current) setcontext(&explore_machine->scheduler);
    fprintf(stderr, "explore: %s\n", text);
    abort();
}

/* --- Fibers ------------------------------------------------------------------------------------ */

static char *stack_of(const struct fiber *t) { return stacks + (size_t)explore_index(t) * STACK_BYTES; }
void *explore_stack_top(const struct fiber *t) { return stack_of(t) + STACK_BYTES; }

int explore_stack_of(const volatile void *p) {
    size_t at = (size_t)((uintptr_t)p - (uintptr_t)stacks);
    return at < (size_t)THREADS_MAX * STACK_BYTES ? (int)(at / STACK_BYTES) : -1;
}

static __attribute__((noinline)) void switch_to_scheduler(struct fiber *t) {
    ucontext_t here;
    memset(&here, 0, sizeof here); /* what swapcontext leaves out should not tell states apart */
    t->context = &here;
    swapcontext(&here, &explore_machine->scheduler);
}

static void fiber_end(struct fiber *t) {
    while (t->self) { /* as the destructors of thread-local values: again, if they set one */
        void *value = t->self;
        t->self = NULL;
        t->self_end(value);
    }
    explore_point_of(OP_END, NULL, 0);
    explore_drain_all(t);
    if (t->locks != 0) explore_fail("thread %d ended with %d locks held", explore_index(t), t->locks);
    t->state = THREAD_ENDED;
    explore_progress(t);
}

static void fiber_main(void) {
    struct fiber *t = explore_machine->current;
    explore_trace("start", NULL);
    t->run(t->arg);
    fiber_end(t);
    setcontext(&explore_machine->scheduler);
}

int explore_thread_new(void *(*run)(void *arg), void *arg, bool scenario) {
    struct world *w = explore_machine->world;
    if (w->thread_count == THREADS_MAX) return -1;
    struct fiber *t = &w->threads[w->thread_count];
    *t = (struct fiber){.state = THREAD_ALIVE, .run = run, .arg = arg, .scenario = scenario, .news = true};
    t->op.kind = OP_START;
    t->fresh = true;
    t->context = (ucontext_t *)((uintptr_t)explore_stack_top(t) - sizeof(ucontext_t)) - 1;
    t->stack_low = (char *)t->context - BELOW;
    getcontext(t->context);
    t->context->uc_stack.ss_sp = stack_of(t);
    t->context->uc_stack.ss_size = STACK_BYTES - 4 * sizeof(ucontext_t);
    t->context->uc_link = NULL;
    makecontext(t->context, fiber_main, 0);
    return w->thread_count++;
}

/* Where the stack of a thread that has just stopped ends. What its context keeps of registers that a call may
 * change is of no use: it should not tell states apart. */
static char *stopped_at(ucontext_t *context) {
#ifdef __x86_64__
    static const int dead[] = {REG_RDI, REG_RSI, REG_RDX, REG_RCX, REG_R8, REG_R9};
    for (size_t i = 0; i < sizeof dead / sizeof *dead; i++) context->uc_mcontext.gregs[dead[i]] = 0;
    return (char *)(uintptr_t)context->uc_mcontext.gregs[REG_RSP];
#else
    return (char *)context - BELOW;
#endif
}

/* Clears the stack below what is in use: what a function finds in a variable it has not written must not
 * depend on what other executions left there, or equal states look different. */
static void run(struct fiber *t) {
    char *end = stack_of(t) + 4096, *low = t->stack_low;
    size_t swept = low - end > SWEPT ? SWEPT : (size_t)(low - end);
    memset(low - swept, 0, swept);
    explore_machine->current = t;
    swapcontext(&explore_machine->scheduler, t->context);
    explore_machine->current = NULL;
    if (t->state == THREAD_ALIVE) t->stack_low = stopped_at(t->context);
}

/* --- The scenario's own thread ----------------------------------------------------------------- */

static void *thread_main(void *arg) {
    explore_machine->scenario->threads[(uintptr_t)arg]();
    return NULL;
}

static void *scenario_main(void *arg) {
    const struct explore_scenario *s = explore_machine->scenario;
    struct world *w = explore_machine->world;
    if (s->setup) s->setup();
    explore_point_of(OP_SETTLE, NULL, 0);
    for (uintptr_t i = 0; i < EXPLORE_THREADS && s->threads[i]; i++)
        explore_thread_new(thread_main, (void *)i, true);
    w->started = w->branching = true;
    explore_point_of(OP_JOIN_ALL, NULL, 0);
    w->branching = false;
    for (int i = 0; i < w->thread_count; i++) explore_drain_all(&w->threads[i]);
    if (s->check) s->check();
    return arg;
}

void explore_world_init(void) {
    memset(explore_machine->world, 0, sizeof *explore_machine->world);
    explore_machine->world->now_ns = INT64_C(1000000000);
    explore_machine->failed = false;
    explore_thread_new(scenario_main, NULL, false);
}

/* --- Choices ----------------------------------------------------------------------------------- */

static unsigned store_room(void) {
    unsigned stores = explore_machine->scenario->stores;
    return stores ? stores : EXPLORE_STORES;
}

static bool all_ended(void) {
    const struct world *w = explore_machine->world;
    for (int i = 0; i < w->thread_count; i++)
        if (w->threads[i].scenario && w->threads[i].state != THREAD_ENDED) return false;
    return true;
}

static bool others_rest(const struct fiber *t) {
    const struct world *w = explore_machine->world;
    for (int i = 0; i < w->thread_count; i++)
        if (&w->threads[i] != t && explore_runnable(&w->threads[i])) return false;
    return true;
}

bool explore_runnable(const struct fiber *t) {
    if (t->state != THREAD_ALIVE || t->waits) return false;
    const os_mutex *m = (const os_mutex *)(uintptr_t)t->op.address;
    switch (t->op.kind) {
    case OP_STORE: return !explore_machine->world->branching || t->stored < store_room();
    case OP_LOCK: return m->magic != EXPLORE_MUTEX_MAGIC || m->owner == 0; /* no mutex: os_lock will say so */
    case OP_JOIN: return explore_machine->world->threads[t->op.thread].state == THREAD_ENDED;
    case OP_JOIN_ALL: return all_ended();
    case OP_NAP: return t->news;
    case OP_SETTLE: return others_rest(t);
    default: return true;
    }
}

/* Does another thread care whether the store has arrived: is about to look, or has one to the same place? */
static bool is_awaited(const struct fiber *t, const struct store *s) {
    const struct world *w = explore_machine->world;
    for (int i = 0; i < w->thread_count; i++) {
        const struct fiber *u = &w->threads[i];
        if (u == t || u->state != THREAD_ALIVE) continue;
        if (u->op.address == s->address || (u->op.kind == OP_NAP && !u->news)) return true;
        for (unsigned k = 0; k < u->stored; k++)
            if (u->stores[k].address == s->address) return true;
    }
    return false;
}

/* Until then arriving can wait: it makes no difference. */
static bool must_drain(const struct fiber *t, bool others_run) {
    if (!others_run || (t->op.kind == OP_STORE && t->stored == store_room())) return true;
    for (unsigned i = 0; i < t->stored; i++)
        if (is_awaited(t, &t->stores[i])) return true;
    return false;
}

/* A release store waits for all before it, a relaxed one for those to the same place. */
static bool drainable(const struct fiber *t, unsigned n) {
    for (unsigned i = 0; i < n; i++)
        if (t->stores[n].release || t->stores[i].address == t->stores[n].address) return false;
    return true;
}

static unsigned waiters(const volatile void *cond) {
    const struct world *w = explore_machine->world;
    unsigned n = 0;
    for (int i = 0; i < w->thread_count; i++) n += w->threads[i].waits && w->threads[i].waits == cond;
    return n;
}

/* In how many ways the thread can go on. One wake-up may go to any waiter. A heavy fence may have come before
 * any of the stores that the others have made since their last scheduling points. */
static unsigned variants(const struct fiber *t) {
    const struct world *w = explore_machine->world;
    unsigned n = 1;
    if (!w->branching) return 1;
    if (t->op.kind == OP_WAKE_ONE) n = waiters(t->op.address);
    for (int i = 0; i < w->thread_count && t->op.kind == OP_FENCE_HEAVY; i++)
        if (&w->threads[i] != t) n *= w->threads[i].recent + 1;
    return n > 0 ? n : 1;
}

/* A wait that ends without a wake-up: makes no difference while the lock is held and no wake-up is near. */
static bool can_wake(const struct fiber *t, bool others_run) {
    const struct world *w = explore_machine->world;
    const os_mutex *m = (const os_mutex *)(uintptr_t)t->op.address;
    if (!t->waits) return false;
    if (!others_run || (w->branching && m->owner == 0)) return true;
    for (int i = 0; i < w->thread_count && w->branching; i++)
        if (w->threads[i].op.address == t->waits) return true;
    return false;
}

static void add(struct choice *list, unsigned *n, int thread, enum choice_kind kind, unsigned variant) {
    list[(*n)++] = (struct choice){(uint8_t)thread, (uint8_t)kind, (uint8_t)variant};
}

unsigned explore_choices(struct choice *ret, unsigned *ret_real) {
    const struct world *w = explore_machine->world;
    const struct fiber *threads = w->threads;
    unsigned n = 0, running;
    for (int i = 0; i < w->thread_count; i++) {
        if (!explore_runnable(&threads[i])) continue;
        if (threads[i].op.kind == OP_START) { /* up to its first visible step it is alone */
            n = 0;
            add(ret, &n, i, CHOOSE_RUN, 0);
            return *ret_real = n;
        }
        for (unsigned v = 0, count = variants(&threads[i]); v < count; v++) add(ret, &n, i, CHOOSE_RUN, v);
    }
    running = n;
    for (int i = 0; i < w->thread_count; i++)
        for (unsigned s = 0; s < threads[i].stored && must_drain(&threads[i], running > 0); s++)
            if (drainable(&threads[i], s)) add(ret, &n, i, CHOOSE_DRAIN, s);
    for (int i = 0; i < w->thread_count; i++)
        if (threads[i].deadline != INT64_MAX && can_wake(&threads[i], n > 0))
            add(ret, &n, i, CHOOSE_TIMEOUT, 0);
    *ret_real = n;
    for (int i = 0; i < w->thread_count && w->branching; i++)
        if (!threads[i].spurious && can_wake(&threads[i], n > 0)) add(ret, &n, i, CHOOSE_SPURIOUS, 0);
    return n;
}

void explore_take(struct choice c) {
    struct world *w = explore_machine->world;
    struct fiber *t = &w->threads[c.thread];
    switch ((enum choice_kind)c.kind) {
    case CHOOSE_RUN:
        explore_machine->variant = c.variant;
        run(t);
        break;
    case CHOOSE_DRAIN: explore_drain(t, c.variant); break;
    case CHOOSE_TIMEOUT:
        explore_trace_of(t, "(its time passes)", t->waits);
        if (w->now_ns < t->deadline) w->now_ns = t->deadline;
        t->timed_out = true;
        t->waits = NULL;
        break;
    case CHOOSE_SPURIOUS:
        explore_trace_of(t, "(wakes for no reason)", t->waits);
        t->spurious = true;
        t->waits = NULL;
        break;
    }
}

/* --- Scheduling points ------------------------------------------------------------------------- */

static const char *const op_names[] = {
    "start", "load", "store",    "update",   "access", "fence",    "heavy fence", "lock",  "unlock",
    "wait",  "wake one", "wake all", "join", "join all", "nap", "point", "settle", "end"};

static bool nothing_stored(void) {
    const struct world *w = explore_machine->world;
    for (int i = 0; i < w->thread_count; i++)
        if (w->threads[i].stored > 0) return false;
    return true;
}

/* Might it make a difference whether others go on before? Giving back a lock does not: until then nobody
 * could take it. A fence that finds nothing to do does not: what is stored later can still arrive at once. */
static bool is_visible(const struct fiber *t) {
    switch (t->op.kind) {
    case OP_LOAD: return explore_conflicts(t->op.address, false);
    case OP_STORE: return explore_life_conflicts(t->op.address); /* it only goes into the buffer */
    case OP_UPDATE:
    case OP_LOCK: return explore_conflicts(t->op.address, true) || t->stored > 0;
    case OP_UNLOCK: return explore_life_conflicts(t->op.address) || t->stored > 0;
    case OP_FENCE:
    case OP_END: return t->stored > 0;
    case OP_FENCE_HEAVY: return !nothing_stored();
    default: return true;
    }
}

void explore_point_of(enum op_kind kind, const volatile void *address, int thread) {
    struct fiber *t = explore_machine->current;
    if (!t) return; /* the program's own start */
    t->op = (struct op){.kind = kind, .thread = thread, .address = address};
    explore_machine->variant = 0;
    bool branching = explore_machine->world->branching;
    if ((branching && (is_visible(t) || ++t->quiet > QUIET_MAX)) || !explore_runnable(t)) {
        t->quiet = 0;
        t->fresh = true;
        switch_to_scheduler(t);
        t->recent = 0;
    }
    explore_trace(op_names[kind], address);
}

void explore_point(void) { explore_point_of(OP_POINT, NULL, 0); }

void explore_progress(const struct fiber *t) {
    struct world *w = explore_machine->world;
    for (int i = 0; i < w->thread_count; i++)
        if (&w->threads[i] != t) w->threads[i].news = true;
}
