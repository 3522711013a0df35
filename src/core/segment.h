/* segment.h - the segments of names and patterns. */
#ifndef MTAIO_SRC_SEGMENT_H
#define MTAIO_SRC_SEGMENT_H

#include <stdbool.h>

#ifndef SEGMENT_STEP
#define SEGMENT_STEP() ((void)0) /* a test counts here how many segments are looked at */
#endif

static inline bool is_end(char c) { return c == '.' || c == '\0'; }

static inline const char *segment_end(const char *s) {
    SEGMENT_STEP();
    while (!is_end(*s)) s++;
    return s;
}

/* Does the pattern begin with "**"? */
static inline bool is_deep(const char *pattern) { return pattern[0] == '*' && pattern[1] == '*'; }

#endif
