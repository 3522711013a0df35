/* cases.h - the cases, by file. Each function sets up, measures and takes down what bench_wanted. */
#ifndef BENCH_CASES_H
#define BENCH_CASES_H

#include "peers.h"

void cases_of_peers(void);    /* what every competitor does */
void cases_of_names(void);    /* finding a name, patterns */
void cases_of_features(void); /* what only mtaio does */

/* In a process of its own, with an allocator that counts: "one", "many", "emit" and the rest. 1: unknown. */
int measure_memory(const char *what, const char *who, size_t n);

/* A side for one thread whose handler calls are counted in bench_thread_calls. */
static inline bench_side side_of(const char *who, void (*run)(void *state, size_t times), void *state,
                                 size_t calls) {
    return (bench_side){.who = who, .variant = "", .run = run, .state = state, .calls = calls};
}

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])
#endif
