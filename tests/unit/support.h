/* support.h - what the unit tests share: memory that counts, checks and fails on demand, and threads that
 * start together. Includes cmocka. */
#ifndef MTAIO_TESTS_SUPPORT_H
#define MTAIO_TESTS_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* For any thread (cmocka's own assertions are for the thread that runs the test): ends the program. */
#define CHECK(condition) ((condition) ? (void)0 : support_check_failed(#condition, __FILE__, __LINE__))
_Noreturn void support_check_failed(const char *condition, const char *file, int line);

/* First in main: makes the library take its memory here. Every block is filled with rubbish when it is
 * given and when it is freed; the size told on resize and free, a double free and an overrun are checked. */
void support_init(void);

/* From now on the n-th allocation (1: the next one; a resize counts too) fails, and with sticky all after it.
 * 0: none fails. */
void support_fail_at(size_t n, bool sticky);

size_t support_allocations(void); /* asked for so far, failed ones too */
size_t support_failures(void);    /* failed since the last support_fail_at */
size_t support_live_blocks(void);
size_t support_live_bytes(void);

/* Runs the block with the 1st, 2nd, 3rd... allocation between arm and disarm failing (alone, then with all
 * after it), until it needs no more of them. Whatever a round allocates it must have freed at its end: run
 * the scenario once before, if the library keeps something of the first call in a thread.
 *
 *     SWEEP(sweep) {
 *         ... prepare ...
 *         support_arm(&sweep);
 *         int r = mtaio_...;
 *         bool failed = support_disarm(&sweep);   // did an allocation fail?
 *         ... compare r and the state; clean up ...
 *     } */
struct support_sweep {
    size_t n;
    bool sticky, armed, failed;
    size_t live; /* blocks at the start of the round */
};
#define SWEEP(s) for (struct support_sweep s = {.failed = true}; support_next(&s);)
bool support_next(struct support_sweep *s);
void support_arm(struct support_sweep *s);
bool support_disarm(struct support_sweep *s);

/* Lets n threads go on at the same instant, any number of rounds. */
struct support_barrier {
    unsigned threads;
    atomic_uint arrived;
    atomic_uint round;
};
void support_barrier_init(struct support_barrier *b, unsigned threads);
void support_barrier_wait(struct support_barrier *b);

/* run(0, ctx) ... run(threads - 1, ctx), each on its own thread, started together; returns when all have. */
void support_threads(unsigned threads, void (*run)(unsigned index, void *ctx), void *ctx);

/* execl, for a child process that is to count for coverage. */
#ifdef __clang__
#define replace_process execl
#else
#define replace_process __builtin_execl /* by this name gcc saves before what coverage has counted */
#endif

void support_sleep_ms(unsigned ms);
int64_t support_now_ms(void); /* monotonic */

/* Waits for what another thread is about to make true; CHECKs that it does within a minute. */
#define EVENTUALLY(condition)                                                                                \
    do {                                                                                                     \
        int64_t support_limit_ms_ = support_now_ms() + 60000;                                                \
        while (!(condition)) {                                                                               \
            CHECK(support_now_ms() < support_limit_ms_);                                                     \
            support_sleep_ms(1);                                                                             \
        }                                                                                                    \
    } while (0)

#endif
