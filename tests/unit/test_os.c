/* test_os.c - the bottom layers: memory, hash, locks, threads, clock, fences. */
#define _GNU_SOURCE 1

#include "support.h"

#include <errno.h>
#include <mtaio/base.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/memory.h"
#include "os/os.h"

#define MS INT64_C(1000000)

/* --- Memory ------------------------------------------------------------------------------------ */

static void *no_alloc(size_t bytes, void *ctx) {
    (void)bytes;
    (void)ctx;
    return NULL;
}
static void *no_resize(void *old, size_t old_bytes, size_t bytes, void *ctx) {
    (void)old;
    (void)old_bytes;
    (void)bytes;
    (void)ctx;
    return NULL;
}
static void no_free(void *block, size_t bytes, void *ctx) {
    (void)block;
    (void)bytes;
    (void)ctx;
}

/* "Every public function checks its arguments": half an allocator is refused. Runs first, before anything is
 * allocated, and leaves the counting allocator of support.c in place. */
static void test_allocator_checked(void **state) {
    const mtaio_allocator good = {sizeof good, no_alloc, no_resize, no_free, NULL};
    mtaio_allocator a;

    (void)state;
    a = good, a.size = sizeof a - 1;
    assert_int_equal(mtaio_set_allocator(&a), MTAIO_EINVAL);
    a = good, a.alloc = NULL;
    assert_int_equal(mtaio_set_allocator(&a), MTAIO_EINVAL);
    a = good, a.resize = NULL;
    assert_int_equal(mtaio_set_allocator(&a), MTAIO_EINVAL);
    a = good, a.free = NULL;
    assert_int_equal(mtaio_set_allocator(&a), MTAIO_EINVAL);
    assert_int_equal(mtaio_set_allocator(&good), 0);
    assert_int_equal(mtaio_set_allocator(NULL), 0);
    support_init();
}

/* "EBUSY once the library has allocated"; sizes are told again on resize and free (support.c checks them). */
static void test_memory(void **state) {
    size_t live = support_live_blocks();
    char *block = mtaio__alloc(10);
    unsigned char *zeroed = mtaio__alloc_zeroed(100);

    (void)state;
    assert_int_equal(mtaio_set_allocator(NULL), MTAIO_EBUSY);
    for (int i = 0; i < 100; i++)
        assert_int_equal(zeroed[i], 0);
    memcpy(block, "123456789", 10);
    block = mtaio__resize(block, 10, 1000);
    assert_string_equal(block, "123456789");
    mtaio__free(block, 1000);
    mtaio__free(zeroed, 100);
    mtaio__free(NULL, 0);
    block = mtaio__copy_string("");
    assert_string_equal(block, "");
    mtaio__free_string(block);
    mtaio__free_string(NULL);
    assert_int_equal(support_live_blocks(), live);
}

/* A growing array costs O(log n) allocations and keeps its elements. */
static void test_reserve(void **state) {
    size_t capacity = 0, before = support_allocations();
    int *array = NULL;

    (void)state;
    for (int i = 0; i < 10000; i++) {
        assert_true(mtaio__reserve(&array, sizeof *array, (size_t)i, &capacity));
        array[i] = i;
    }
    for (int i = 0; i < 10000; i++)
        assert_int_equal(array[i], i);
    assert_true(support_allocations() - before < 30);
    mtaio__free(array, capacity * sizeof *array);
}

/* Hazard 20: without memory nothing changes. */
static void test_memory_fails(void **state) {
    size_t capacity = 0, huge = SIZE_MAX / 4;
    int *array = NULL;
    void *nothing = NULL;

    (void)state;
    SWEEP(sweep) {
        void *block = mtaio__alloc(10);
        support_arm(&sweep);
        bool grown = mtaio__reserve(&array, sizeof *array, capacity, &capacity);
        char *copy = mtaio__copy_string("text");
        void *zeroed = mtaio__alloc_zeroed(10), *resized = mtaio__resize(block, 10, 20);
        support_disarm(&sweep);
        assert_int_equal(grown, array != NULL && capacity > 0);
        mtaio__free_string(copy);
        mtaio__free(zeroed, 10);
        mtaio__free(resized != NULL ? resized : block, resized != NULL ? 20 : 10);
        mtaio__free(array, capacity * sizeof *array);
        array = NULL, capacity = 0;
    }
    assert_false(mtaio__reserve(&nothing, 16, huge, &huge)); /* more bytes than there are */
    assert_null(nothing);
    assert_true(huge == SIZE_MAX / 4);
}

/* --- Hash -------------------------------------------------------------------------------------- */

/* Keyed: equal within the process, different in another one (hazard 41). */
static void test_hash(void **state) {
    unsigned char key[HASH_KEY_BYTES];
    uint64_t a = mtaio__hash("user.created", 12);

    (void)state;
    assert_true(a == mtaio__hash("user.created!", 12));
    assert_true(a != mtaio__hash("user.create", 11));
    os_random(key, sizeof key);
    mtaio__hash_set_key(key);
    assert_true(a != mtaio__hash("user.created", 12));
}

/* Random bytes differ, and a request larger than the kernel gives at once is filled to its end. */
static void test_random(void **state) {
    static unsigned char bytes[100000];
    unsigned zeros = 0;

    (void)state;
    os_random(bytes, sizeof bytes);
    for (size_t i = sizeof bytes - 10000; i < sizeof bytes; i++)
        zeros += bytes[i] == 0;
    assert_true(zeros < 200);
}

/* --- Locks ------------------------------------------------------------------------------------- */

struct shared {
    os_mutex lock;
    os_cond cond;
    int turn, sum;
};

static void shared_init(struct shared *s) {
    *s = (struct shared){0};
    assert_int_equal(os_mutex_init(&s->lock), 0);
    assert_int_equal(os_cond_init(&s->cond), 0);
}

static void shared_fini(struct shared *s) {
    os_cond_destroy(&s->cond);
    os_mutex_destroy(&s->lock);
}

static void add_locked(unsigned index, void *ctx) {
    struct shared *s = ctx;

    (void)index;
    for (int i = 0; i < 10000; i++) {
        os_lock(&s->lock);
        s->sum++;
        os_unlock(&s->lock);
    }
}

static void test_mutex(void **state) {
    struct shared s;

    (void)state;
    shared_init(&s);
    support_threads(3, add_locked, &s);
    assert_int_equal(s.sum, 30000);
    shared_fini(&s);
}

/* Hazard 62: debug builds count the locks the thread holds, also across a wait. */
static void test_locks_held(void **state) {
    struct shared s;
#ifdef MTAIO_DEBUG
    const int one = 1;
#else
    const int one = 0;
#endif

    (void)state;
    shared_init(&s);
    assert_int_equal(os_locks_held(), 0);
    os_lock(&s.lock);
    assert_int_equal(os_locks_held(), one);
    os_wait_until(&s.cond, &s.lock, 0);
    assert_int_equal(os_locks_held(), one);
    os_unlock(&s.lock);
    assert_int_equal(os_locks_held(), 0);
    shared_fini(&s);
}

static void take_turns(unsigned index, void *ctx) {
    struct shared *s = ctx;

    for (int i = 0; i < 500; i++) {
        os_lock(&s->lock);
        while (s->turn != (int)index)
            os_wait_until(&s->cond, &s->lock, i % 2 == 0 ? INT64_MAX : os_now_ns() + 10000 * MS);
        s->turn = !s->turn;
        os_wake_one(&s->cond);
        os_unlock(&s->lock);
    }
}

static void test_cond(void **state) {
    struct shared s;

    (void)state;
    shared_init(&s);
    support_threads(2, take_turns, &s);
    os_wake_all(&s.cond);
    shared_fini(&s);
}

/* --- Clock: hazards 36 and 37 ------------------------------------------------------------------ */

static void test_wait_until(void **state) {
    struct shared s;
    int64_t start = os_now_ns();

    (void)state;
    shared_init(&s);
    os_lock(&s.lock);
    while (os_wait_until(&s.cond, &s.lock, start + 30 * MS))
        ;
    assert_true(os_now_ns() >= start + 30 * MS);
    assert_true(os_now_ns() < start + 5000 * MS);
    assert_false(os_wait_until(&s.cond, &s.lock, 0));
    assert_false(os_wait_until(&s.cond, &s.lock, INT64_MIN));
    os_unlock(&s.lock);
    shared_fini(&s);
}

static void test_deadline(void **state) {
    int64_t now = os_now_ns(), soon = os_deadline_ns(1000 * MS);

    (void)state;
    assert_true(soon >= now + 1000 * MS && soon < now + 6000 * MS);
    assert_true(os_deadline_ns(0) >= now && os_deadline_ns(0) < now + 5000 * MS);
    assert_true(os_deadline_ns(-1) == INT64_MAX);
    assert_true(os_deadline_ns(INT64_MIN) == INT64_MAX);
    assert_true(os_deadline_ns(INT64_MAX) == INT64_MAX);
    assert_true(os_deadline_ns(INT64_MAX - 1) == INT64_MAX);
}

static void test_nap(void **state) {
    int64_t start = os_now_ns();

    (void)state;
    for (unsigned i = 0; i < 40; i++)
        os_nap(i);
    os_nap(UINT32_MAX);
    assert_true(os_now_ns() - start > 10 * MS);   /* it does wait */
    assert_true(os_now_ns() - start < 5000 * MS); /* some 16 of them, 1 ms each */
}

static void on_alarm(int signal) { (void)signal; }

/* Hazard 31: signals without SA_RESTART every 100 us change nothing. */
static void test_signals(void **state) {
    struct sigaction action = {.sa_handler = on_alarm}, before;
    struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};

    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    test_wait_until(state);
    test_cond(state);
    test_random(state);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
}

/* --- Threads ----------------------------------------------------------------------------------- */

static atomic_int ended;
static void *ended_value;
static os_thread main_thread;

static void at_thread_end(void *value) {
    CHECK(os_self() == NULL);
    ended_value = value;
    atomic_fetch_add(&ended, 1);
}

static void *thread_with_self(void *arg) {
    sigset_t blocked;

    CHECK(pthread_sigmask(SIG_SETMASK, NULL, &blocked) == 0);
    CHECK(sigismember(&blocked, SIGALRM) == 1);
    CHECK(!os_thread_is_self(main_thread));
    CHECK(os_self() == NULL && os_here() == NULL);
    os_here_set(&blocked);
    CHECK(os_here() == &blocked);
    CHECK(os_self_set(arg, at_thread_end) == 0);
    CHECK(os_self() == arg);
    return arg;
}

/* Signals are blocked in the new thread alone; its pointer is its own, and destroyed once with it. */
static void test_thread(void **state) {
    int value = 0, before = atomic_load(&ended);
    sigset_t blocked;
    os_thread thread;

    (void)state;
    main_thread = pthread_self();
    assert_true(os_thread_is_self(main_thread));
    assert_int_equal(os_thread_start(&thread, thread_with_self, &value), 0);
    os_thread_join(thread);
    assert_int_equal(atomic_load(&ended), before + 1);
    assert_ptr_equal(ended_value, &value);
    assert_null(os_self());
    assert_null(os_here());
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &blocked), 0);
    assert_int_equal(sigismember(&blocked, SIGALRM), 0);
    assert_int_equal(os_thread_start(&thread, thread_with_self, &value), 0);
    os_thread_detach(thread);
    EVENTUALLY(atomic_load(&ended) == before + 2);
}

static void *wait_for_ever(void *arg) {
    struct shared *s = arg;

    os_lock(&s->lock);
    s->turn = 1;
    while (s->turn == 1)
        os_wait(&s->cond, &s->lock);
    os_unlock(&s->lock);
    pthread_testcancel();
    return NULL;
}

/* Hazard 33: a thread that is cancelled while it waits does not take a lock of ours with it. */
static void test_cancel(void **state) {
    struct shared s;
    pthread_t thread;
    void *result;

    (void)state;
    shared_init(&s);
    assert_int_equal(pthread_create(&thread, NULL, wait_for_ever, &s), 0);
    os_lock(&s.lock);
    while (s.turn == 0) {
        os_unlock(&s.lock);
        os_nap(20);
        os_lock(&s.lock);
    }
    assert_int_equal(pthread_cancel(thread), 0);
    s.turn = 2;
    os_wake_all(&s.cond);
    os_unlock(&s.lock);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_ptr_equal(result, PTHREAD_CANCELED);
    shared_fini(&s);
}

/* --- Fork: hazard 29 --------------------------------------------------------------------------- */

static int forked;
static void in_child(void) { forked++; }

/* The hook runs in the child, once, and the child can use locks and fences (it inherits membarrier). */
static void test_fork(void **state) {
    struct shared s;
    long parent = os_process();
    int status;
    pid_t child;

    (void)state;
    shared_init(&s);
    assert_int_equal(os_at_fork(NULL, NULL, in_child), 0);
    assert_int_equal(os_at_fork(NULL, NULL, in_child), 0);
    child = fork();
    if (child == 0) {
        os_lock(&s.lock);
        os_unlock(&s.lock);
        errno = 0;
        os_fence_heavy();
        _exit(forked == 1 && errno == 0 && os_process() != parent ? 0 : 1);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_int_equal(forked, 0);
    assert_int_equal(os_process(), parent);
    shared_fini(&s);
}

/* --- Fences ------------------------------------------------------------------------------------ */

static ATOMIC(int) x, y;
static int saw_x, saw_y;
static int fence_errors;

static void fence_side(unsigned index, void *ctx) {
    support_barrier_wait(ctx);
    if (index == 0) {
        store_relaxed(&x, 1);
        os_fence_light();
        saw_y = load_relaxed(&y);
    } else {
        store_relaxed(&y, 1);
        os_fence_heavy();
        saw_x = load_relaxed(&x);
    }
    support_barrier_wait(ctx);
}

static void fence_rounds(unsigned index, void *ctx) {
    for (int i = 0; i < 20000; i++) {
        fence_side(index, ctx);
        if (index == 0) {
            fence_errors += !saw_x && !saw_y;
            store_relaxed(&x, 0);
            store_relaxed(&y, 0);
        }
    }
}

/* "Either it sees the store before the light one, or the loads after the light one see what was stored before
 * the heavy": never neither. */
static void test_fences(void **state) {
    struct support_barrier barrier;

    (void)state;
    os_fence_init();
    os_fence_init();
    support_barrier_init(&barrier, 2);
    support_threads(2, fence_rounds, &barrier);
    assert_int_equal(fence_errors, 0);
}

/* --- Complaints -------------------------------------------------------------------------------- */

static void test_complain(void **state) {
    char text[64] = "";
    int ends[2], before = dup(STDERR_FILENO);

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    os_complain("mtaio: a line");
    assert_int_equal(dup2(before, STDERR_FILENO), STDERR_FILENO);
    assert_int_equal(read(ends[0], text, sizeof text - 1), 14);
    assert_string_equal(text, "mtaio: a line\n");
    close(before), close(ends[0]), close(ends[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocator_checked), /* first */
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_reserve),
        cmocka_unit_test(test_memory_fails),
        cmocka_unit_test(test_hash),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_mutex),
        cmocka_unit_test(test_locks_held),
        cmocka_unit_test(test_cond),
        cmocka_unit_test(test_wait_until),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_nap),
        cmocka_unit_test(test_signals),
        cmocka_unit_test(test_thread),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_fences),
        cmocka_unit_test(test_complain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
