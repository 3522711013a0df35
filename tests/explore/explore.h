/* explore.h - a deterministic explorer of thread interleavings, for scenarios that use the core.
 *
 * The unmodified core is compiled with MTAIO_EXPLORE: its atomics (base/atomic.h), locks, conditions, threads
 * and naps (os/os.h) become scheduling points, its threads fibers of one real thread. At every scheduling
 * point the explorer tries each thread that can go on, and each thing that hardware or system may do by
 * itself:
 *
 *   stores     go into a buffer of the thread and reach memory at any later moment: release stores in order,
 *              relaxed ones may overtake. Read-modify-writes, locks and full fences empty the buffer,
 *              os_fence_heavy everybody's, os_fence_light none.
 *   waits      A waker of one wakes any of those who wait. A wait may end for no reason (once per thread), or
 *              because its time passes.
 *   memory     A freed block is never given again: every access to one is found, also plain accesses, where
 *              the code is compiled with -fsanitize=thread, whose calls the explorer answers itself; so are
 *              those to functions' variables of other threads that have returned. Double frees, wrong sizes,
 *              and blocks still there at the end that no static variable of the core leads to, are found too.
 *
 * Only accesses by which threads meet are scheduling points; see explore_conflicts.c.
 *
 * It fails a scenario for these, for deadlocks, for threads left over, crashes, executions without end, and
 * what the scenario checks. The search is over states, not schedules: a state (static variables, blocks,
 * stacks, buffers) that was seen before is not entered again. So two threads are exhausted with any number of
 * preemptions, and what passes holds for every schedule within the scenario's bound. Not explored: loads that
 * overtake each other, plain accesses that race (ThreadSanitizer's part), the reuse of freed addresses.
 *
 * By hand:
 *   cd /tmp/x; C="cc -std=c17 -g -O1 -DMTAIO_EXPLORE -I$S/include -I$S/src -I$S/tests/explore -c"
 *   $C $S/tests/explore/explore*.c $S/tests/explore/os_explore.c
 *   $C -fsanitize=thread $S/src/base/[a-z]*.c $S/src/core/[a-z]*.c $S/tests/explore/scenarios_emit.c
 *   cc *.o -o explore        # without -fsanitize
 *   ./explore                # all scenarios, TAP; -l lists them
 *   ./explore NAME           # one of them
 *   ./explore NAME SCHEDULE  # follows the schedule that a failure printed, step by step */
#ifndef MTAIO_EXPLORE_H
#define MTAIO_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { EXPLORE_THREADS = 4 };

/* setup and check run undisturbed, on a thread of their own (0), the first until all threads it started
 * wait, the second when the scenario's threads have ended. Static variables have their initial values at the
 * start of every execution. */
struct explore_scenario {
    const char *name;
    void (*setup)(void);
    void (*threads[EXPLORE_THREADS])(void);
    void (*check)(void); /* looks at the outcome and frees everything */
    int preemptions;     /* how many, at most; EXPLORE_ALL: any number */
    unsigned stores;     /* that a buffer holds, at most 4; 0: EXPLORE_STORES */
    const char *expect;  /* NULL: all is well. Else the scenario passes if this failure is found */
};
#define EXPLORE_ALL (-1)
#define EXPLORE_STORES 2

int explore_main(const struct explore_scenario *scenarios, size_t count, int argc, char **argv);

/* Scenario state in static variables is marked so: blocks that only it leads to are leaks. */
#define EXPLORE_STATE __attribute__((section("explore_state")))

#define EXPLORE_CHECK(condition)                                                                   \
    ((condition) ? (void)0 : explore_fail("check failed: %s, line %d", #condition, __LINE__))
_Noreturn void explore_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A scheduling point without effect: in a handler, what others do while it runs. */
void explore_point(void);

size_t explore_live_blocks(void);
int explore_self(void); /* 0: setup and check; then the threads setup starts, then the scenario's */
bool explore_fd_is_set(int fd);   /* what poll would say of an os_event_fd */
unsigned explore_complaints(void); /* calls of os_complain */

#endif
