/* bench.h - the harness: every competitor of a case is measured in turn, round after round.
 *
 * A case has sides: ways of doing the same thing. One round takes one sample of about half a millisecond from
 * each side, so that whatever else happens on the machine hits all sides alike; there are many rounds, and
 * what counts is the median. The measuring threads are pinned, one to a processor. A sample in which the
 * kernel took the processor away is taken again. A second thread exists from the start: libraries that skip
 * their atomic operations in processes of one thread do not get to.
 *
 * Every handler counts its calls, and after each sample the count is compared with what it must be.
 *
 * Results go to the standard output, one line of JSON for each side of a case. */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct bench_side {
    const char *who;
    const char *variant; /* what distinguishes sides of the same who; "" */
    void *state;
    void (*run)(void *state, size_t times);    /* what is measured */
    void (*beside)(void *state, size_t times); /* what the second thread does meanwhile; NULL: it sleeps */
    void *beside_state;
    bool outside;             /* other threads or processes do part of it: no sample of it is undisturbed */
    unsigned threads;         /* 0, 1: one; 2: both threads run, each its times */
    double unit;              /* operations in one of times; 0: 1 */
    size_t calls;             /* handler calls in one of times; 0: not checked */
    const uint64_t *counters; /* where the calls are counted; NULL: in bench_thread_calls */
    size_t counter_count;
} bench_side;

/* Handlers that are called on two threads at once count here. */
extern __thread uint64_t bench_thread_calls; /* not thread_local: C++ would call a function to reach it */

/* Takes pairs of arguments: --sample-us N, --rounds N, --budget-ms N (for a case), --only BEGINNING-OF-CASE.
 */
void bench_init(int argc, char **argv);

/* Is the case asked for? Then set it up and measure it. */
bool bench_wanted(const char *name);
void bench_case(const char *name, const bench_side *sides, size_t count);

/* One value that is measured otherwise. */
void bench_value(const char *name, const char *who, const char *variant, double value, const char *unit);

double bench_now_ns(void);

/* Ends the second thread; 1 if any check failed, else 0. */
int bench_end(void);

/* False: there is one processor, and cases with two threads mean nothing. */
bool bench_two_processors(void);

/* Moves this thread, and those it starts from now on, to the first or second (1) processor. */
void bench_pin(int which);

/* Zeroed memory on a cache line of its own, or the end of the program. */
void *bench_alloc(size_t bytes);

/* r, or the end of the program where it is negative: what is measured must not fail. */
void bench_not_ok(int r);
static inline int bench_ok(int r) {
    if (r < 0) bench_not_ok(r);
    return r;
}

/* A permutation of 0 .. n-1, the same in every run. */
uint32_t *bench_permutation(size_t n);

#ifdef __cplusplus
}
#endif
#endif
