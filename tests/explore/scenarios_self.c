/* scenarios_self.c - the explorer's own tests: known faults must be found, correct code must pass. */
#include "explore.h"

#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "os/os.h"

static struct {
    ATOMIC(int) x, y, z;
    int a, b, c;
    int *p;
    ATOMIC(int *) q;
    os_mutex lock, lock2;
    os_cond cond;
    os_thread thread;
} s EXPLORE_STATE;

static void setup_locks(void) {
    os_mutex_init(&s.lock);
    os_mutex_init(&s.lock2);
    os_cond_init(&s.cond);
}

static void check_locks(void) {
    os_cond_destroy(&s.cond);
    os_mutex_destroy(&s.lock2);
    os_mutex_destroy(&s.lock);
}

/* --- Dekker's entry: each says "I", then looks whether the other has; between, a fence is needed --- */

#define DEKKER(name, fence1, fence2)                                                               \
    static void name##_1(void) {                                                                   \
        store_release(&s.x, 1);                                                                    \
        fence1;                                                                                    \
        s.a = load_acquire(&s.y);                                                                  \
    }                                                                                              \
    static void name##_2(void) {                                                                   \
        store_release(&s.y, 1);                                                                    \
        fence2;                                                                                    \
        s.b = load_acquire(&s.x);                                                                  \
    }
DEKKER(dekker_none, (void)0, (void)0)
DEKKER(dekker_full, fence_full(), fence_full())
DEKKER(dekker_one, fence_full(), (void)0)
DEKKER(dekker_asymmetric, os_fence_light(), os_fence_heavy())
DEKKER(dekker_light, os_fence_light(), os_fence_light())
static void check_dekker(void) { EXPLORE_CHECK(s.a == 1 || s.b == 1); }

/* Every outcome of store buffering is reached, so the search is complete here. */
static void not_00(void) { EXPLORE_CHECK(!(s.a == 0 && s.b == 0)); }
static void not_01(void) { EXPLORE_CHECK(!(s.a == 0 && s.b == 1)); }
static void not_10(void) { EXPLORE_CHECK(!(s.a == 1 && s.b == 0)); }
static void not_11(void) { EXPLORE_CHECK(!(s.a == 1 && s.b == 1)); }

/* --- Publication: what was stored before must be seen with it ----------------------------------- */

static void publish_relaxed(void) {
    store_relaxed(&s.x, 7);
    store_relaxed(&s.y, 1);
}
static void publish_release(void) {
    store_relaxed(&s.x, 7);
    store_release(&s.y, 1);
}
static void subscribe(void) {
    if (load_acquire(&s.y) == 1) EXPLORE_CHECK(load_relaxed(&s.x) == 7);
}
static void store_twice(void) {
    store_relaxed(&s.x, 1);
    store_relaxed(&s.x, 2);
    EXPLORE_CHECK(load_relaxed(&s.x) == 2); /* its own stores it sees at once */
}
static void load_twice(void) {
    int first = load_relaxed(&s.x);
    EXPLORE_CHECK(load_relaxed(&s.x) >= first);
}

/* --- Counting ----------------------------------------------------------------------------------- */

static void count_badly(void) { store_release(&s.x, load_relaxed(&s.x) + 1); }
static void count_well(void) { atomic_add(&s.x, 1); }
static void count_by_cas(void) {
    int seen = load_relaxed(&s.x);
    while (!atomic_cas(&s.x, &seen, seen + 1)) {}
}
static void count_locked(void) {
    os_lock(&s.lock);
    s.a++;
    explore_point();
    s.b++;
    os_unlock(&s.lock);
}
static void check_two(void) { EXPLORE_CHECK(load_relaxed(&s.x) == 2); }
static void check_three(void) { EXPLORE_CHECK(load_relaxed(&s.x) == 3); }
static void check_locked_three(void) {
    EXPLORE_CHECK(s.a == 3 && s.b == 3);
    check_locks();
}
static void other_updates(void) {
    EXPLORE_CHECK(atomic_sub(&s.y, 1) == 0 && load_relaxed(&s.y) == -1);
    EXPLORE_CHECK(atomic_or(&s.z, 6) == 0 && atomic_swap(&s.z, 1) == 6 && load_relaxed(&s.z) == 1);
}

/* --- Locks and conditions ----------------------------------------------------------------------- */

static void lock_ab(void) {
    os_lock(&s.lock);
    os_lock(&s.lock2);
    os_unlock(&s.lock2);
    os_unlock(&s.lock);
}
static void lock_ba(void) {
    os_lock(&s.lock2);
    os_lock(&s.lock);
    os_unlock(&s.lock);
    os_unlock(&s.lock2);
}
static void lock_twice(void) {
    os_lock(&s.lock);
    os_lock(&s.lock);
}
static void lock_and_leave(void) { os_lock(&s.lock); }
static void unlock_only(void) { os_unlock(&s.lock); }
static void locks_counted(void) {
    os_lock(&s.lock);
    EXPLORE_CHECK(os_locks_held() == 1);
    os_unlock(&s.lock);
    EXPLORE_CHECK(os_locks_held() == 0);
}

static void wait_well(void) {
    os_lock(&s.lock);
    while (s.a == 0) os_wait(&s.cond, &s.lock);
    os_unlock(&s.lock);
}
static void wait_if(void) {
    os_lock(&s.lock);
    if (s.a == 0) os_wait(&s.cond, &s.lock);
    EXPLORE_CHECK(s.a == 1);
    os_unlock(&s.lock);
}
static void wait_late(void) { /* looks without the lock */
    if (load_relaxed(&s.x) == 1) return;
    os_lock(&s.lock);
    os_wait(&s.cond, &s.lock);
    os_unlock(&s.lock);
}
static void wait_timed(void) {
    int64_t deadline = os_deadline_ns(1000);
    os_lock(&s.lock);
    while (s.a == 0 && os_wait_until(&s.cond, &s.lock, deadline)) {}
    s.c = s.a;
    EXPLORE_CHECK(s.a == 1 || os_now_ns() >= deadline);
    os_unlock(&s.lock);
}
static void wait_turn(int *mine) {
    os_lock(&s.lock);
    while (*mine == 0) os_wait(&s.cond, &s.lock);
    os_unlock(&s.lock);
}
static void wait_a(void) { wait_turn(&s.a); }
static void wait_b(void) { wait_turn(&s.b); }
static void wake_one(void) {
    os_lock(&s.lock);
    s.a = s.b = 1;
    os_wake_one(&s.cond);
    os_unlock(&s.lock);
}
static void wake_all(void) {
    os_lock(&s.lock);
    s.a = s.b = 1;
    os_wake_all(&s.cond);
    os_unlock(&s.lock);
}
static void wake_late(void) {
    store_release(&s.x, 1);
    os_lock(&s.lock);
    os_wake_one(&s.cond);
    os_unlock(&s.lock);
}
static void timeout_seen(void) { EXPLORE_CHECK(s.c == 1); }

/* --- Polling ------------------------------------------------------------------------------------ */

static void poll_x(void) {
    for (unsigned i = 0; load_acquire(&s.x) == 0; i++) os_nap(i);
}
static void set_x(void) { store_release(&s.x, 1); }
static void spin_alone(void) {
    while (load_acquire(&s.y) == 0) store_release(&s.z, load_relaxed(&s.z) + 1);
}

/* --- Memory ------------------------------------------------------------------------------------- */

static void setup_block(void) {
    s.p = mtaio__alloc_zeroed(sizeof *s.p);
    store_release(&s.q, s.p);
}
static void free_p(void) { mtaio__free(s.p, sizeof *s.p); }
static void read_atomic(void) { load_relaxed(s.p); }
static void read_plain(void) {
    int *p = load_acquire(&s.q);
    s.a = p ? *p : 0;
}
static void write_plain(void) {
    int *p = load_acquire(&s.q);
    explore_point();
    *p = 1;
}
static void write_library(void) {
    void *p = load_acquire(&s.q);
    explore_point();
    memset(p, 1, sizeof(int)); /* no access of ours: found at the end */
}
static void write_buffered(void) { store_release(s.p, 1); }
static void free_twice(void) {
    int *p = load_acquire(&s.q); /* should take it by a swap */
    if (p) {
        store_release(&s.q, NULL);
        mtaio__free(p, sizeof *p);
    }
}
static void free_once(void) {
    int *p = atomic_swap(&s.q, NULL);
    if (p) mtaio__free(p, sizeof *p);
}
static void free_wrong_size(void) { mtaio__free(s.p, 1); }
static void free_inside(void) { mtaio__free((char *)s.p + 1, 1); }
static void leak(void) { s.p = mtaio__alloc(10); }
static void write_behind(void) {
    char *p = mtaio__alloc(10);
    p[10] = 1;
    mtaio__free(p, 10);
}
static ATOMIC(void *) kept; /* as the core's own statics: what they lead to is no leak */
static void keep(void) {
    void **p = mtaio__alloc(sizeof *p);
    *p = mtaio__copy_string("kept");
    EXPLORE_CHECK(explore_live_blocks() == 2 && load_relaxed(&kept) == NULL); /* anew in every execution */
    store_release(&kept, p);
}
static void resize(void) {
    int *p = mtaio__alloc(4);
    *p = 5;
    p = mtaio__resize(p, 4, 400);
    EXPLORE_CHECK(*p == 5);
    mtaio__free(p, 400);
}
static void lend_stack(void) { /* like a wait that ends without looking back */
    ATOMIC(int) mine = 0;
    store_release(&s.q, &mine);
    while (load_acquire(&mine) == 0) os_nap(0);
}
static int *borrow_stack(void) {
    int *p;
    while (!(p = load_acquire(&s.q))) os_nap(0);
    store_release(p, 1); /* now it may be gone */
    return p;
}
static void use_stack(void) { borrow_stack(); }
static void use_stack_again(void) { s.a = load_acquire(borrow_stack()); }
static void crash(void) {
    if (load_relaxed(&s.x) == 1) abort();
}

/* --- Threads ------------------------------------------------------------------------------------ */

static void self_ends(void *value) {
    EXPLORE_CHECK(value == &s.c && os_self() == NULL);
    s.c++;
}
static void *started(void *arg) {
    EXPLORE_CHECK(os_self() == NULL && os_self_set(arg, self_ends) == 0 && os_self() == arg);
    store_release(&s.x, 1);
    return NULL;
}
static void start_and_join(void) {
    EXPLORE_CHECK(os_thread_start(&s.thread, started, &s.c) == 0);
    EXPLORE_CHECK(!os_thread_is_self(s.thread));
    os_thread_join(s.thread);
    EXPLORE_CHECK(load_relaxed(&s.x) == 1 && s.c == 1);
}
static void start_and_forget(void) {
    os_lock(&s.lock);
    EXPLORE_CHECK(os_thread_start(&s.thread, (void *(*)(void *))(void (*)(void))wait_well, NULL) == 0);
    os_unlock(&s.lock);
}

/* A fault that takes three preemptions: of thread 1 twice, of thread 2 between its updates. */
static void differs_twice(void) {
    int first = load_relaxed(&s.z), second = load_relaxed(&s.z), third = load_relaxed(&s.z);
    EXPLORE_CHECK(first == second || second == third);
}
static void update_twice(void) {
    atomic_add(&s.z, 1);
    atomic_add(&s.z, 1);
}

#define SELF(called, ...) {.name = called, .preemptions = EXPLORE_ALL, __VA_ARGS__}
#define TWO(a, b) .threads = {a, b}
#define THREE(a, b, c) .threads = {a, b, c}
#define FINDS(failure) .expect = failure
#define BLOCK .setup = setup_block
#define LOCKS .setup = setup_locks, .check = check_locks

static const struct explore_scenario scenarios[] = {
    SELF("dekker-no-fence", TWO(dekker_none_1, dekker_none_2), .check = check_dekker, FINDS("check failed")),
    SELF("dekker-full-fences", TWO(dekker_full_1, dekker_full_2), .check = check_dekker),
    SELF("dekker-one-fence", TWO(dekker_one_1, dekker_one_2), .check = check_dekker, FINDS("check failed")),
    SELF("dekker-light-and-heavy", TWO(dekker_asymmetric_1, dekker_asymmetric_2), .check = check_dekker),
    SELF("dekker-light", TWO(dekker_light_1, dekker_light_2), .check = check_dekker, FINDS("check failed")),
    SELF("outcome-00", TWO(dekker_none_1, dekker_none_2), .check = not_00, FINDS("check failed")),
    SELF("outcome-01", TWO(dekker_none_1, dekker_none_2), .check = not_01, FINDS("check failed")),
    SELF("outcome-10", TWO(dekker_none_1, dekker_none_2), .check = not_10, FINDS("check failed")),
    SELF("outcome-11", TWO(dekker_none_1, dekker_none_2), .check = not_11, FINDS("check failed")),

    SELF("relaxed-publication", TWO(publish_relaxed, subscribe), FINDS("check failed")),
    SELF("release-publication", TWO(publish_release, subscribe)),
    SELF("stores-to-one-place-in-order", TWO(store_twice, load_twice)),

    SELF("lost-update", TWO(count_badly, count_badly), .check = check_two, FINDS("check failed")),
    SELF("atomic-add", THREE(count_well, count_well, count_well), .check = check_three),
    SELF("cas-loop", THREE(count_by_cas, count_by_cas, count_by_cas), .check = check_three),
    SELF("other-updates", TWO(other_updates, count_well)),
    SELF("locked-counts", THREE(count_locked, count_locked, count_locked), .setup = setup_locks,
         .check = check_locked_three),

    SELF("lock-order", LOCKS, TWO(lock_ab, lock_ba), FINDS("deadlock")),
    SELF("lock-order-kept", LOCKS, THREE(lock_ab, lock_ab, lock_ab)),
    SELF("lock-twice", LOCKS, TWO(lock_twice, count_well), FINDS("deadlock")),
    SELF("lock-never-given-back", LOCKS, TWO(lock_and_leave, count_well), FINDS("locks held")),
    SELF("unlock-of-another's", LOCKS, TWO(lock_ab, unlock_only), FINDS("another's mutex")),
    SELF("lock-not-initialised", TWO(lock_ab, count_well), FINDS("not initialised")),
    SELF("locks-counted", LOCKS, TWO(locks_counted, locks_counted)),

    SELF("condition", LOCKS, THREE(wait_well, wait_well, wake_all)),
    SELF("condition-looked-at-once", LOCKS, TWO(wait_if, wake_all), FINDS("check failed")),
    SELF("lost-wake-up", LOCKS, TWO(wait_late, wake_late), FINDS("deadlock")),
    SELF("one-woken-of-two", LOCKS, THREE(wait_a, wait_b, wake_one), FINDS("deadlock")),
    SELF("time-limit", LOCKS, TWO(wait_timed, wake_all)),
    SELF("time-limit-can-pass", TWO(wait_timed, wake_all), .setup = setup_locks, .check = timeout_seen,
         FINDS("check failed")),

    SELF("polling", THREE(poll_x, poll_x, set_x)),
    SELF("polling-a-count", TWO(poll_x, count_badly)),
    SELF("polling-for-ever", TWO(poll_x, read_plain), FINDS("waits for a change it polls for")),
    SELF("endless", TWO(spin_alone, read_plain), FINDS("endless")),

    SELF("use-after-free-atomic", TWO(read_atomic, free_p), BLOCK, FINDS("use after free")),
    SELF("use-after-free-library", TWO(write_library, free_p), BLOCK, FINDS("use after free")),
    SELF("use-after-free-buffered", TWO(write_buffered, free_p), BLOCK, FINDS("use after free")),
    SELF("use-after-free-read", TWO(read_plain, free_p), BLOCK, FINDS("a plain read")),
    SELF("use-after-free-unlinked", TWO(read_plain, free_once), BLOCK, FINDS("a plain read")),
    SELF("use-after-free-write", TWO(write_plain, free_p), BLOCK, FINDS("a plain write")),
    SELF("double-free", TWO(free_twice, free_twice), BLOCK, FINDS("double free")),
    SELF("free-once", THREE(free_once, free_once, free_once), BLOCK),
    SELF("free-of-wrong-size", TWO(free_wrong_size, count_well), BLOCK, FINDS("free of 1 bytes")),
    SELF("free-of-no-block", TWO(free_inside, count_well), BLOCK, FINDS("no block")),
    SELF("write-behind-a-block", TWO(write_behind, count_well), FINDS("block")),
    SELF("leak", TWO(leak, count_well), FINDS("leak")),
    SELF("kept-by-a-static", TWO(keep, count_well)),
    SELF("resize", TWO(resize, resize)),
    SELF("stack-lent", TWO(lend_stack, use_stack)),
    SELF("use-after-return", TWO(lend_stack, use_stack_again), FINDS("use after return")),
    SELF("crash", TWO(crash, set_x), FINDS("crash: signal 6")),

    SELF("thread", TWO(start_and_join, other_updates)),
    SELF("thread-left-over", TWO(start_and_forget, count_well), .setup = setup_locks, FINDS("left over")),

    {"bound-2-misses-it", NULL, {differs_twice, update_twice}, NULL, 2, 0, NULL},
    {"bound-3-finds-it", NULL, {differs_twice, update_twice}, NULL, 3, 0, "check failed"},
};

int main(int argc, char **argv) {
    return explore_main(scenarios, sizeof scenarios / sizeof *scenarios, argc, argv);
}
