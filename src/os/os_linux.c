/* os_linux.c - the promises of os.h by POSIX threads and Linux system calls.
 *
 * What is set up once per process goes through pthread_once, which stays usable in the child of a fork that
 * came in the middle. The waits below are no cancellation points: a thread cancelled there would leave with a
 * lock of ours. */
#define _GNU_SOURCE 1

#include "os/os.h"

#include <assert.h>
#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <mtaio/base.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"

#define NS_PER_S INT64_C(1000000000)

static int system_result(int error) { return error == 0 ? 0 : MTAIO_ESYSTEM; }

/* --- Locks ------------------------------------------------------------------------------------- */

#ifdef MTAIO_DEBUG
static _Thread_local int locks_held;
#define COUNT_LOCKS(change) os_count_locks(change)
void os_count_locks(int change) { locks_held += change; }
int os_locks_held(void) { return locks_held; }
#else
#define COUNT_LOCKS(change) ((void)0)
int os_locks_held(void) { return 0; }
#endif

int os_mutex_init(os_mutex *m) { return system_result(pthread_mutex_init(m, NULL)); }

void os_mutex_destroy(os_mutex *m) { pthread_mutex_destroy(m); }

static ATOMIC(bool) locks_stopped; /* read after each lock: who has got one since it was set sees it */

void os_locks_stop(void) { store_relaxed(&locks_stopped, true); }
void os_locks_go(void) { store_relaxed(&locks_stopped, false); }

void os_lock_inner(os_mutex *m) {
    pthread_mutex_lock(m);
    COUNT_LOCKS(1);
}

void os_lock(os_mutex *m) {
    assert(os_locks_held() == 0);
    os_lock_inner(m);
    for (unsigned attempt = 0; unlikely(load_relaxed(&locks_stopped)); attempt++) {
        os_unlock(m);
        os_nap(attempt);
        os_lock_inner(m);
    }
}

void os_mutex_reset(os_mutex *m) { pthread_mutex_init(m, NULL); }

void os_unlock(os_mutex *m) {
    COUNT_LOCKS(-1);
    pthread_mutex_unlock(m);
}

int os_cond_init(os_cond *c) {
    pthread_condattr_t monotonic;
    int r;

    if (pthread_condattr_init(&monotonic) != 0)
        return MTAIO_ESYSTEM;
    r = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    if (r == 0)
        r = pthread_cond_init(c, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return system_result(r);
}

void os_cond_destroy(os_cond *c) { pthread_cond_destroy(c); }

static int cancellation_off(void) {
    int before;

    pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
    return before;
}

static void cancellation_restore(int before) { pthread_setcancelstate(before, NULL); }

void os_wait(os_cond *c, os_mutex *m) {
    int cancellation = cancellation_off();

    pthread_cond_wait(c, m);
    cancellation_restore(cancellation);
}

bool os_wait_until(os_cond *c, os_mutex *m, int64_t deadline_ns) {
    int64_t ns = deadline_ns > 0 ? deadline_ns : 0;
    struct timespec deadline = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
    int cancellation, r;

    if (deadline_ns == INT64_MAX) {
        os_wait(c, m);
        return true;
    }
    cancellation = cancellation_off();
    r = pthread_cond_timedwait(c, m, &deadline);
    cancellation_restore(cancellation);
    return r != ETIMEDOUT;
}

void os_wake_one(os_cond *c) { pthread_cond_signal(c); }

void os_wake_all(os_cond *c) { pthread_cond_broadcast(c); }

/* --- Parking ----------------------------------------------------------------------------------- */

enum { PARKING_EMPTY, PARKING_ASLEEP, PARKING_GO };

void os_parking_init(os_parking *p) { p->state = PARKING_EMPTY; }

/* The thread may be gone, and its parking with it, as soon as it sees GO. Waking whoever sleeps at that address then
 * is a wake-up for no reason, as everybody who sleeps so has to expect. */
void os_unpark(os_parking *p) {
    if (atomic_swap(&p->state, PARKING_GO) == PARKING_ASLEEP)
        syscall(SYS_futex, &p->state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

bool os_park(os_parking *p, int64_t deadline_ns) {
    int64_t ns = deadline_ns > 0 ? deadline_ns : 0;
    struct timespec deadline = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
    uint32_t state = PARKING_EMPTY;
    bool in_time = true;

    atomic_cas(&p->state, &state, PARKING_ASLEEP);
    while (in_time && load_acquire(&p->state) != PARKING_GO) { /* pairs with the swap of os_unpark */
        long r = syscall(SYS_futex, &p->state, FUTEX_WAIT_BITSET_PRIVATE, PARKING_ASLEEP,
                         deadline_ns != INT64_MAX ? &deadline : NULL, NULL, FUTEX_BITSET_MATCH_ANY);
        in_time = r == 0 || errno != ETIMEDOUT;
    }
    return load_acquire(&p->state) == PARKING_GO;
}

/* --- Threads ----------------------------------------------------------------------------------- */

int os_thread_start(os_thread *ret, void *(*run)(void *arg), void *arg) {
    sigset_t all, before;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* inherited by the new thread */
    r = pthread_create(ret, NULL, run, arg);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return system_result(r);
}

void os_thread_join(os_thread thread) {
    int cancellation = cancellation_off();

    pthread_join(thread, NULL);
    cancellation_restore(cancellation);
}

void os_thread_detach(os_thread thread) { pthread_detach(thread); }

bool os_thread_is_self(os_thread thread) { return pthread_equal(thread, pthread_self()) != 0; }

/* The thread-local pointer itself is mtaio__self; the key is there for its destructor only. */
_Thread_local void *mtaio__self;
static _Thread_local void (*self_destructor)(void *value);
static pthread_key_t self_key;
static int self_key_result;
static pthread_once_t self_once = PTHREAD_ONCE_INIT;

static void self_end(void *value) {
    mtaio__self = NULL; /* what the destructor calls, or a later one of the user's, starts afresh */
    self_destructor(value);
}

static void self_init(void) { self_key_result = pthread_key_create(&self_key, self_end); }

int os_self_set(void *value, void (*at_thread_exit)(void *value)) {
    self_destructor = at_thread_exit;
    pthread_once(&self_once, self_init);
    if (self_key_result != 0 || pthread_setspecific(self_key, value) != 0)
        return MTAIO_ESYSTEM;
    mtaio__self = value;
    return 0;
}

_Thread_local void *mtaio__here;

long os_process(void) { return getpid(); }

static _Thread_local void (*fork_before)(void), (*fork_parent)(void), (*fork_child)(void); /* for fork_init */
static int fork_result;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void fork_init(void) { fork_result = pthread_atfork(fork_before, fork_parent, fork_child); }

int os_at_fork(void (*before)(void), void (*parent)(void), void (*child)(void)) {
    fork_before = before;
    fork_parent = parent;
    fork_child = child;
    pthread_once(&fork_once, fork_init);
    return system_result(fork_result);
}

/* --- Clock ------------------------------------------------------------------------------------- */

int64_t os_now_ns(void) {
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * NS_PER_S + now.tv_nsec;
}

int64_t os_deadline_ns(int64_t timeout_ns) {
    int64_t now = os_now_ns();

    return timeout_ns < 0 || timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
}

void os_nap(unsigned attempt) {
    static const unsigned yields = 16, longest = 10; /* 2^10 us */
    unsigned doublings = attempt < yields ? 0 : attempt - yields;
    struct timespec nap = {.tv_nsec = doublings < longest ? 1000L << doublings : 1000000L};
    int cancellation;

    if (attempt < yields) {
        sched_yield();
        return;
    }
    cancellation = cancellation_off();
    nanosleep(&nap, NULL); /* a signal may cut it short */
    cancellation_restore(cancellation);
}

void os_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#else
    fence_compiler();
#endif
}

/* --- Descriptors ------------------------------------------------------------------------------- */

int os_event_fd_new(void) {
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

    return fd >= 0 ? fd : MTAIO_ESYSTEM;
}

void os_event_fd_set(int fd) {
    int cancellation = cancellation_off();

    eventfd_write(fd, 1); /* fails where the count is full: then it is set */
    cancellation_restore(cancellation);
}

void os_event_fd_clear(int fd) {
    int cancellation = cancellation_off();
    eventfd_t count;

    eventfd_read(fd, &count); /* fails where it is not set */
    cancellation_restore(cancellation);
}

void os_event_fd_close(int fd) {
    int cancellation = cancellation_off();

    close(fd);
    cancellation_restore(cancellation);
}

/* --- What else --------------------------------------------------------------------------------- */

/* Steps of splitmix64 (Steele, Lea, Flood 2014). */
static void random_fallback(unsigned char *ret, size_t bytes) {
    uint64_t state = (uint64_t)os_now_ns() ^ (uint64_t)(uintptr_t)ret << 16 ^ (uint64_t)(uintptr_t)&os_random;

    for (size_t i = 0; i < bytes; i++) {
        uint64_t z = (state += UINT64_C(0x9e3779b97f4a7c15));
        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        ret[i] = (unsigned char)(z >> 56);
    }
}

void os_random(void *ret, size_t bytes) {
    unsigned char *at = ret;

    while (bytes > 0) {
        ssize_t got = getrandom(at, bytes, GRND_NONBLOCK);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            random_fallback(at, bytes);
            return;
        }
        at += got;
        bytes -= (size_t)got;
    }
}

void os_complain(const char *line) {
    char newline = '\n';
    struct iovec parts[2] = {{.iov_base = (void *)(uintptr_t)line, .iov_len = strlen(line)},
                             {.iov_base = &newline, .iov_len = 1}};
    int cancellation = cancellation_off();
    ssize_t r;

    do
        r = writev(STDERR_FILENO, parts, 2);
    while (r < 0 && errno == EINTR);
    cancellation_restore(cancellation);
}

/* --- Fences ------------------------------------------------------------------------------------ */

ATOMIC(bool) mtaio__asymmetric;

static int membarrier(int command) { return (int)syscall(SYS_membarrier, command, 0, 0); }

/* The registration belongs to the address space: a forked child inherits it with the flag. */
static void fence_register(void) {
#ifndef MTAIO_TSAN /* ThreadSanitizer does not know membarrier: there light stays a read-modify-write */
    if (membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0)
        store_relaxed(&mtaio__asymmetric, true);
#endif
}

void os_fence_init(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, fence_register);
}

/* Pairs with every os_fence_light. */
void os_fence_heavy(void) {
    fence_full();
    if (load_relaxed(&mtaio__asymmetric))
        membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

/* Before any other code of ours, and before constructors of the program that may call us. */
__attribute__((constructor(101))) static void os_load(void) {
    unsigned char key[HASH_KEY_BYTES];

    os_random(key, sizeof key);
    mtaio__hash_set_key(key);
    os_fence_init();
}
