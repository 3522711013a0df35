/* os_explore.c - the promises of os.h, kept by the explorer's machine. */
#include "explore_inner.h"

#include <mtaio/base.h>
#include <string.h>

static struct fiber *self(void) { return explore_machine->current; }

static void check_mutex(const os_mutex *m, const char *what) {
    if (!explore_check_access(m, sizeof *m, what)) explore_fail("%s", explore_machine->failure);
    if (m->magic != EXPLORE_MUTEX_MAGIC) explore_fail("%s of a mutex that was not initialised", what);
}

static void check_cond(const os_cond *c, const char *what) {
    if (!explore_check_access(c, sizeof *c, what)) explore_fail("%s", explore_machine->failure);
    if (c->magic != EXPLORE_COND_MAGIC) explore_fail("%s of a condition that was not initialised", what);
}

/* --- Locks ------------------------------------------------------------------------------------- */

int os_mutex_init(os_mutex *m) {
    *m = (os_mutex)OS_MUTEX_STATIC;
    return 0;
}

void os_mutex_destroy(os_mutex *m) {
    check_mutex(m, "destruction");
    if (m->owner != 0) explore_fail("destruction of a mutex that is locked");
    m->magic = 0;
}

static void take(os_mutex *m) {
    check_mutex(m, "locking");
    explore_drain_all(self());
    m->owner = explore_index(self()) + 1;
    self()->locks++;
    explore_progress(self());
}

static void give(os_mutex *m) {
    check_mutex(m, "unlocking");
    if (m->owner != explore_index(self()) + 1) explore_fail("unlocking of another's mutex");
    explore_drain_all(self());
    m->owner = 0;
    self()->locks--;
    explore_progress(self());
}

void os_lock(os_mutex *m) {
    explore_point_of(OP_LOCK, m, 0);
    take(m);
}

void os_lock_inner(os_mutex *m) { os_lock(m); }
void os_locks_stop(void) {} /* nobody forks here */
void os_locks_go(void) {}
void os_mutex_reset(os_mutex *m) { *m = (os_mutex)OS_MUTEX_STATIC; }

void os_unlock(os_mutex *m) {
    explore_point_of(OP_UNLOCK, m, 0);
    give(m);
}

int os_locks_held(void) { return self() ? self()->locks : 0; }
void os_count_locks(int change) { self()->locks += change; }
const void *os_thread_mark(void) { return self(); }

/* --- Conditions -------------------------------------------------------------------------------- */

int os_cond_init(os_cond *c) {
    c->magic = EXPLORE_COND_MAGIC;
    return 0;
}

void os_cond_destroy(os_cond *c) {
    const struct world *w = explore_machine->world;
    check_cond(c, "destruction");
    for (int i = 0; i < w->thread_count; i++)
        if (w->threads[i].waits == c) explore_fail("destruction of a condition that thread %d waits for", i);
    c->magic = 0;
}

bool os_wait_until(os_cond *c, os_mutex *m, int64_t deadline_ns) {
    struct fiber *t = self();
    explore_point_of(OP_WAIT, c, 0);
    check_cond(c, "waiting");
    give(m);
    t->timed_out = false;
    t->deadline = deadline_ns;
    t->waits = c;
    explore_point_of(OP_LOCK, m, 0); /* once it is woken, see explore_runnable */
    take(m);
    t->deadline = 0;
    return !t->timed_out;
}

void os_wait(os_cond *c, os_mutex *m) { os_wait_until(c, m, INT64_MAX); }

/* Of those that wait for c, numbered from 0: the ones from first to last. */
static void wake(os_cond *c, unsigned first, unsigned last) {
    struct world *w = explore_machine->world;
    unsigned n = 0;
    check_cond(c, "waking");
    explore_drain_all(self());
    for (int i = 0; i < w->thread_count; i++) {
        if (w->threads[i].waits != c) continue;
        if (n >= first && n <= last) w->threads[i].waits = NULL;
        n++;
    }
    explore_progress(self());
}

void os_wake_one(os_cond *c) {
    explore_point_of(OP_WAKE_ONE, c, 0);
    wake(c, explore_machine->variant, explore_machine->variant);
}

void os_wake_all(os_cond *c) {
    explore_point_of(OP_WAKE_ALL, c, 0);
    wake(c, 0, THREADS_MAX);
}

/* --- Parking ----------------------------------------------------------------------------------- */

void os_parking_init(os_parking *p) { *p = (os_parking){.lock = OS_MUTEX_STATIC, .cond = {EXPLORE_COND_MAGIC}}; }

void os_unpark(os_parking *p) {
    os_lock(&p->lock);
    p->go = true;
    os_wake_one(&p->cond);
    os_unlock(&p->lock);
}

bool os_park(os_parking *p, int64_t deadline_ns) {
    bool in_time = true;
    os_lock(&p->lock);
    while (!p->go && in_time) in_time = os_wait_until(&p->cond, &p->lock, deadline_ns);
    bool go = p->go;
    os_unlock(&p->lock);
    return go;
}

/* --- Threads ----------------------------------------------------------------------------------- */

int os_thread_start(os_thread *ret, void *(*run)(void *arg), void *arg) {
    explore_drain_all(self());
    int thread = explore_thread_new(run, arg, false);
    if (thread < 0) return MTAIO_ESYSTEM;
    *ret = thread;
    return 0;
}

void os_thread_join(os_thread thread) { explore_point_of(OP_JOIN, NULL, thread); }
void os_thread_detach(os_thread thread) { (void)thread; }
bool os_thread_is_self(os_thread thread) { return thread == explore_index(self()); }

void *os_self(void) { return self() ? self()->self : NULL; }

int os_self_set(void *value, void (*at_thread_exit)(void *value)) {
    self()->self = value;
    self()->self_end = at_thread_exit;
    return 0;
}

void *os_here(void) { return self() ? self()->here : NULL; }
void os_here_set(void *value) { self()->here = value; }

long os_process(void) { return 1; }

int os_at_fork(void (*before)(void), void (*parent)(void), void (*child)(void)) {
    (void)before;
    (void)parent;
    (void)child;
    return 0;
}

/* --- Clock: stands still but for waits whose time passes ---------------------------------------- */

int64_t os_now_ns(void) { return explore_machine->world->now_ns; }

int64_t os_deadline_ns(int64_t timeout_ns) {
    int64_t now = os_now_ns();
    return timeout_ns < 0 || timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
}

/* A loop that polls goes round again only if others have written since it last did. */
void os_nap(unsigned attempt) {
    (void)attempt;
    explore_point_of(OP_NAP, NULL, 0);
    self()->news = false;
}

/* A loop of so many rounds, then: what it looks at is a scheduling point, the pause is none. */
void os_pause(void) {}

/* --- Descriptors ------------------------------------------------------------------------------- */

enum { FDS = 8, FD_FIRST = 1000, FD_OPEN = 1, FD_SET = 2 };
static ATOMIC(uint32_t) fds[FDS];

static ATOMIC(uint32_t) * fd_state(int fd) {
    if (fd < FD_FIRST || fd >= FD_FIRST + FDS) explore_fail("%d is no descriptor", fd);
    return &fds[fd - FD_FIRST];
}

static void check_open(uint32_t before, const char *what) {
    if (!(before & FD_OPEN)) explore_fail("%s of a descriptor that is closed", what);
}

int os_event_fd_new(void) {
    for (int i = 0; i < FDS; i++) {
        uint32_t closed = 0;
        if (atomic_cas(&fds[i], &closed, FD_OPEN)) return FD_FIRST + i;
    }
    return MTAIO_ESYSTEM;
}

void os_event_fd_set(int fd) { check_open(atomic_or(fd_state(fd), FD_SET), "setting"); }
void os_event_fd_clear(int fd) { check_open(atomic_swap(fd_state(fd), FD_OPEN), "clearing"); }
void os_event_fd_close(int fd) { check_open(atomic_swap(fd_state(fd), 0), "closing"); }

bool explore_fd_is_set(int fd) {
    uint32_t state = load_acquire(fd_state(fd));
    check_open(state, "polling");
    return state & FD_SET;
}

bool explore_fds_open(void) {
    for (int i = 0; i < FDS; i++)
        if (fds[i]) return true;
    return false;
}

/* --- What else --------------------------------------------------------------------------------- */

void os_random(void *ret, size_t bytes) { memset(ret, 0x5a, bytes); }

void os_complain(const char *line) {
    (void)line;
    explore_machine->world->complaints++;
}

unsigned explore_complaints(void) { return explore_machine->world->complaints; }
int explore_self(void) { return explore_index(self()); }

/* --- Fences: the light one does nothing at all --------------------------------------------------- */

void os_fence_init(void) {}
void os_fence_light(void) {}

void os_fence_heavy(void) {
    struct world *w = explore_machine->world;
    explore_point_of(OP_FENCE_HEAVY, NULL, 0);
    unsigned variant = explore_machine->variant;
    for (int i = 0; i < w->thread_count; i++) {
        struct fiber *t = &w->threads[i];
        unsigned ways = t == self() ? 1 : t->recent + 1, later = variant % ways;
        variant /= ways;
        explore_drain_first(t, t->stored - later);
    }
}
