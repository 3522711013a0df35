/* check.h - the small examples end at the first error. */
#ifndef EXAMPLES_CHECK_H
#define EXAMPLES_CHECK_H

#include <mtaio/mtaio.h>
#include <stdio.h>
#include <stdlib.h>

static inline int check(int result) {
    if (result < 0) {
        fprintf(stderr, "%s: %s\n", mtaio_error_name(result), mtaio_error_text(result));
        exit(EXIT_FAILURE);
    }
    return result;
}

#endif
