/* topic_oracle.h - what patterns mean, by examples, and said as plainly and slowly as possible: what the
 * tests compare with. Written for short strings; shares nothing with the library. */
#ifndef MTAIO_TESTS_TOPIC_ORACLE_H
#define MTAIO_TESTS_TOPIC_ORACLE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* Length of the segment at s. */
static inline size_t oracle_segment(const char *s) { return strcspn(s, "."); }

static inline bool oracle_segment_is(const char *s, const char *text) {
    return oracle_segment(s) == strlen(text) && strncmp(s, text, strlen(text)) == 0;
}

/* "A name is non-empty, segments separated by '.'; a pattern is a name in which a whole segment may be '*' or
 * '**'." */
static inline bool oracle_is_pattern(const char *s, bool *ret_is_name) {
    *ret_is_name = strchr(s, '*') == NULL;
    for (;; s += oracle_segment(s) + 1) {
        bool wild = oracle_segment_is(s, "*") || oracle_segment_is(s, "**");
        if (oracle_segment(s) == 0 || (!wild && memchr(s, '*', oracle_segment(s)) != NULL))
            return false;
        if (s[oracle_segment(s)] == '\0')
            return true;
    }
}

/* The next segment, or NULL after the last. */
static inline const char *oracle_next(const char *s) {
    s += oracle_segment(s);
    return *s == '.' ? s + 1 : NULL;
}

/* p and n: the segments left of pattern and name, NULL: none. */
static inline bool oracle_rest_matches(const char *p, const char *n) {
    if (p == NULL)
        return n == NULL;
    if (oracle_segment_is(p, "**"))
        return oracle_rest_matches(oracle_next(p), n) ||
               (n != NULL && oracle_rest_matches(p, oracle_next(n)));
    if (n == NULL)
        return false;
    bool same = oracle_segment(p) == oracle_segment(n) && strncmp(p, n, oracle_segment(p)) == 0;
    return (same || oracle_segment_is(p, "*")) && oracle_rest_matches(oracle_next(p), oracle_next(n));
}

static inline bool oracle_matches(const char *pattern, const char *name) {
    return strcmp(pattern, "*") == 0 || oracle_rest_matches(pattern, name);
}

/* A number below `below`, the same in each run. */
static inline uint32_t oracle_draw(uint32_t *seed, uint32_t below) {
    *seed = *seed * 1664525 + 1013904223;
    return (uint32_t)((uint64_t)(*seed >> 8) * below >> 24);
}

// clang-format off
/* Pattern, name, do they match? */
static const struct {
    const char *pattern, *name;
    bool matches;
} oracle_table[] = {
    /* literal: the whole name, byte by byte */
    {"a", "a", true}, {"a", "b", false}, {"a", "aa", false}, {"aa", "a", false}, {"a.b", "a.b", true},
    {"a.b", "a", false}, {"a", "a.b", false}, {"a.b", "ab", false}, {"A", "a", false},
    {"gr\xC3\xBC", "gr\xC3\xBC", true}, {"ab.c", "a.bc", false}, {"user.created", "user.create", false},
    {"user.create", "user.created", false},
    /* "'*': exactly one segment" */
    {"*.a", "x.a", true}, {"*.a", "a", false}, {"*.a", "x.y.a", false}, {"a.*", "a.x", true},
    {"a.*", "a", false}, {"a.*", "a.x.y", false}, {"a.*.c", "a.b.c", true}, {"a.*.c", "a.c", false},
    {"*.*", "a.b", true}, {"*.*", "a", false}, {"*.*", "a.b.c", false}, {"a.*", "b.x", false},
    {"a.*", "a.\xE2\x82\xAC", true},
    /* "The pattern '*' alone matches every name" */
    {"*", "a", true}, {"*", "a.b", true}, {"*", "a.b.c.d", true}, {"**", "a", true}, {"**", "a.b.c", true},
    /* "'**': zero or more segments, anywhere" */
    {"a.**", "a", true}, {"a.**", "a.b", true}, {"a.**", "a.b.c", true}, {"a.**", "b", false},
    {"a.**", "ab", false}, {"**.a", "a", true}, {"**.a", "b.a", true}, {"**.a", "c.b.a", true},
    {"**.a", "ba", false}, {"**.a", "a.b", false}, {"a.**.b", "a.b", true}, {"a.**.b", "a.x.b", true},
    {"a.**.b", "a.b.b", true}, {"a.**.b", "a", false}, {"a.**.b", "a.b.x", false}, {"a.**.a", "a", false},
    {"a.**.a", "a.a", true}, {"**.**", "a", true}, {"**.**", "a.b", true}, {"a.**.**.b", "a.b", true},
    {"a.**.**", "a", true}, {"**.*", "a", true}, {"*.**", "a", true}, {"**.*.*", "a", false},
    {"**.*.*", "a.b", true}, {"*.**.*", "a", false}, {"*.**.*", "a.b", true}, {"**.a.**", "a", true},
    {"**.a.**", "x.a.y", true}, {"**.a.**", "x.b.y", false}, {"**.a.**.b", "x.a.y.b", true},
    {"**.a.**.b", "x.b.a", false}, {"**.a.b.**", "a.a.b", true}, {"**.a.b.**", "a.x.b", false},
    {"**.a.*.b.**.c", "a.a.x.b.c", true}, {"**.a.*.b.**.c", "a.a.x.b", false}, {"**.a.**.a", "a", false},
    {"a.**.b.**.c", "a.x.b.y.b.c", true}, {"a.**.b.**.b.c", "a.b.c", false},
    {"a.**.b.**.b.c", "a.b.b.c", true}, {"**.a.b.c.**", "a.b", false}, {"**.a.**.b.**.c.**", "a.b.c", true},
    {"**.a.**.b.**.c.**", "a.c.b", false}, {"**.a.**.b.**.b", "a.b", false}, {"**.a.**.b.**.b", "a.b.b", true},
};
// clang-format on

#endif
