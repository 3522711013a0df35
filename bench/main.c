/* main.c - the program of the benchmarks; run.py runs it and makes the table.
 *
 *     mtaio-bench [--sample-us N] [--rounds N] [--budget-ms N] [--only BEGINNING-OF-CASE]
 *     mtaio-bench --memory one|many|emit [WHO [N]]      it looks at its whole process */
#include "cases.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "--memory") == 0)
        return measure_memory(argv[2], argc > 3 ? argv[3] : "mtaio",
                              argc > 4 ? strtoul(argv[4], NULL, 10) : 1000000);
    bench_init(argc, argv);
    cases_of_peers();
    cases_of_names();
    cases_of_features();
    return bench_end();
}
