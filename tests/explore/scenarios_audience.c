/* scenarios_audience.c - asking who gets a topic, without a lock, against members that come and go, on the unmodified
 * core. Hazards 4, 42: nothing is read that was freed, and who is there all the time is counted. */
#include <mtaio/base.h>

#include "core/audience.h"
#include "core/guard.h"
#include "table.h"

enum { THREADS = 3, MEMBERS = 4 };
static struct {
    struct reclaimer reclaimer;
    struct guard guard;
    struct audiences audiences;
    struct member member[MEMBERS];
    struct thread *records[THREADS + 1];
    int reached[THREADS + 1]; /* by explore_self */
    int holds;
} s EXPLORE_STATE;

/* --- The owner --------------------------------------------------------------------------------- */

static void sweep(struct reclaimer *r) {
    (void)r;
    guard_lock(&s.guard);
    mtaio__audiences_sweep(&s.audiences);
    guard_unlock(&s.guard);
}
static void hold(struct reclaimer *r) {
    (void)r;
    atomic_add(&s.holds, 1);
}
static void drop_hold(struct reclaimer *r) {
    (void)r;
    atomic_sub(&s.holds, 1);
}

/* What is taken out is freed at the first opportunity, not in heaps. */
static void lock(void) {
    guard_lock(&s.guard);
    s.reclaimer.enough = 1;
}

static void add(int who, const char *pattern) {
    lock();
    EXPLORE_CHECK(mtaio__audiences_add(&s.audiences, &s.member[who], pattern) == 1);
    guard_unlock(&s.guard);
}
static void drop(int who, const char *pattern) {
    lock();
    EXPLORE_CHECK(mtaio__audiences_drop(&s.audiences, &s.member[who], pattern) == 1);
    guard_unlock(&s.guard);
}
static void leave(int who) {
    lock();
    mtaio__audiences_leave(&s.audiences, &s.member[who]);
    guard_unlock(&s.guard);
}
static size_t count_of(const char *topic) {
    struct member *const *list;
    size_t count;
    guard_lock(&s.guard);
    EXPLORE_CHECK(mtaio__audiences_of(&s.audiences, topic, &list, &count) == 0);
    guard_unlock(&s.guard);
    return count;
}

static void thread_stays(void *record) { (void)record; }

/* First in a scenario's thread: the library knows it already. */
static void enter(void) { os_self_set(s.records[explore_self()], thread_stays); }

static void setup(void) {
    for (int i = THREADS; i >= 0; i--) s.records[i] = mtaio__thread_register();
    s.reclaimer.sweep = sweep;
    s.reclaimer.hold = hold;
    s.reclaimer.drop = drop_hold;
    mtaio__audiences_init(&s.audiences, &s.reclaimer, &s.guard);
    add(0, "x.y");
}

/* Whatever happened: afterwards everybody is counted once, and nothing is left. */
static void finish(size_t expected) {
    EXPLORE_CHECK(count_of("x.y") == expected && count_of("x.y") == expected);
    EXPLORE_CHECK(mtaio__audiences_reach(&s.audiences, "x.y") == (int)expected);
    for (int i = 0; i < MEMBERS; i++) leave(i);
    mtaio_reclaim();
    EXPLORE_CHECK(s.holds == 0 && s.reclaimer.waiting == 0);
    mtaio__audiences_fini(&s.audiences);
}

/* --- What they do ------------------------------------------------------------------------------ */

static void reach(void) {
    enter();
    s.reached[explore_self()] = mtaio__audiences_reach(&s.audiences, "x.y");
}
static void check_between(int least, int most) {
    for (int i = 1; i <= THREADS; i++)
        EXPLORE_CHECK(s.reached[i] == -1 || (s.reached[i] >= least && s.reached[i] <= most));
}
static void nobody_asked(void) {
    for (int i = 0; i <= THREADS; i++) s.reached[i] = -1;
}

/* Both go: one by dropping its pattern, one altogether. */
static void drop_and_leave(void) {
    enter();
    drop(1, "*.y");
    leave(0);
}
static void setup_pair(void) {
    setup();
    nobody_asked();
    add(1, "*.y");
}
/* The name is remembered. */
static void setup_pair_remembered(void) {
    setup_pair();
    EXPLORE_CHECK(count_of("x.y") == 2 && count_of("x.y") == 2 && s.audiences.memo);
}
/* It was asked for once: who asks now without a lock does so again with it, and puts it in. */
static void setup_pair_asked(void) {
    setup_pair();
    EXPLORE_CHECK(count_of("x.y") == 2);
}
static void check_gone(void) {
    check_between(0, 2);
    finish(0);
}

/* The others stay while one leaves the crowd, so that the last takes its place, and joins again. It has another pattern
 * that matches all the time: so there are always four, and none is missed or counted twice. */
static void setup_crowd(void) {
    setup();
    nobody_asked();
    for (int i = 1; i < MEMBERS; i++) add(i, "x.y");
    add(1, "*.y");
    EXPLORE_CHECK(count_of("a.b") == 0); /* there is a memo, and the name is new to it */
}
static void swap_places(void) {
    enter();
    drop(1, "x.y");
    add(1, "x.y");
}
static void check_crowd(void) {
    check_between(4, 4);
    finish(4);
}

/* The crowd becomes one member, and a crowd again. */
static void setup_small_crowd(void) {
    setup();
    nobody_asked();
    add(1, "x.y");
    EXPLORE_CHECK(count_of("a.b") == 0);
}
static void shrink_and_grow(void) {
    enter();
    drop(1, "x.y");
    add(2, "x.y");
}
static void check_small_crowd(void) {
    check_between(1, 2);
    finish(2);
}

/* Who has seen a member come does not see it missing later. */
static void join(void) {
    enter();
    add(2, "x.*");
}
static void reach_twice(void) {
    enter();
    int first = mtaio__audiences_reach(&s.audiences, "x.y");
    int second = mtaio__audiences_reach(&s.audiences, "x.y");
    EXPLORE_CHECK(first >= 2 && first <= second && second <= 3);
}
static void check_joined(void) { finish(3); }

/* A name that nothing but itself matches remembers that, though not beyond a pattern that comes. */
static void setup_alone(void) {
    setup();
    nobody_asked();
    EXPLORE_CHECK(count_of("a.b") == 0);
}
static void reach_twice_alone(void) {
    enter();
    int first = mtaio__audiences_reach(&s.audiences, "x.y");
    int second = mtaio__audiences_reach(&s.audiences, "x.y");
    EXPLORE_CHECK(first >= 1 && first <= second && second <= 2);
}
static void check_alone(void) { finish(2); }

static const struct bounded scenarios[] = {
    UP_TO(2, 5, "reach-drop-leave", .setup = setup_pair_remembered, TWO(reach, drop_and_leave), .check = check_gone),
    UP_TO(2, 5, "reach-drop-leave-asked", .setup = setup_pair_asked, TWO(reach, drop_and_leave), .check = check_gone),
    ALL("reach-drop-leave-unasked", .setup = setup_pair, TWO(reach, drop_and_leave), .check = check_gone),
    ALL("reach-crowd", .setup = setup_crowd, TWO(reach, swap_places), .check = check_crowd),
    ALL("reach-small-crowd", .setup = setup_small_crowd, TWO(reach, shrink_and_grow),
          .check = check_small_crowd),
    ALL("reach-twice-join", .setup = setup_pair_remembered, TWO(reach_twice, join), .check = check_joined),
    ALL("reach-alone-join", .setup = setup_alone, TWO(reach_twice_alone, join), .check = check_alone),
    UP_TO(1, 2, "reach-reach-drop-leave", .setup = setup_pair_asked, THREE(reach, reach, drop_and_leave),
          .check = check_gone),
};

int main(int argc, char **argv) {
    return scene_main(scenarios, sizeof scenarios / sizeof *scenarios, argc, argv);
}
