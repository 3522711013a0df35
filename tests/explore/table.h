/* table.h - how scenarios are listed: each with its bound, and a deeper one for where there is time. */
#ifndef MTAIO_EXPLORE_TABLE_H
#define MTAIO_EXPLORE_TABLE_H

#include <stdlib.h>

#include "explore.h"

#define TWO(a, b) .threads = {a, b}
#define THREE(a, b, c) .threads = {a, b, c}

/* With any number of preemptions; or with so many, and so many where MTAIO_STRESS is set. */
struct bounded {
    struct explore_scenario scenario;
    int deeper;
};
#define ALL(called, ...)                                                                                     \
    { {.name = called, .preemptions = EXPLORE_ALL, __VA_ARGS__}, EXPLORE_ALL }
#define UP_TO(most, deeper, called, ...)                                                                     \
    { {.name = called, .preemptions = most, .stores = 1, __VA_ARGS__}, deeper }

static inline int scene_main(const struct bounded *table, size_t count, int argc, char **argv) {
    struct explore_scenario *scenarios = calloc(count, sizeof *scenarios);
    const char *stress = getenv("MTAIO_STRESS");
    if (!scenarios) return 1;
    for (size_t i = 0; i < count; i++) {
        scenarios[i] = table[i].scenario;
        if (stress) scenarios[i].preemptions = table[i].deeper;
    }
    int r = explore_main(scenarios, count, argc, argv);
    free(scenarios);
    return r;
}

#endif
