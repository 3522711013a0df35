/* fuzz_pattern.c - a pattern and a name, divided by a newline, against the plain meaning of patterns. */
#include <mtaio/base.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/topic_oracle.h"
#include "core/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool condition) {
    if (!condition)
        abort();
}

static bool is_ascii(const char *s) {
    for (; *s != '\0'; s++)
        if (*s & 0x80)
            return false;
    return true;
}

/* The plain matcher tries every way. */
static bool is_quick(const char *pattern, const char *name) {
    unsigned deep = 0;
    for (const char *p = pattern; (p = strstr(p, "**")) != NULL; p++)
        deep++;
    return deep <= 4 || (strlen(name) < 24 && deep <= 6);
}

/* Answers whether the text is a pattern, a name (2), or neither (0), and checks that both functions agree. */
static int classify(const char *s) {
    bool is_name = false, oracle_is_name;
    int pattern = mtaio__pattern_check(s, &is_name), name = mtaio__name_check(s), length = (int)strlen(s);
    expect(pattern == length || pattern == MTAIO_EPATTERN);
    expect(name == length || name == MTAIO_ENAME);
    expect((name > 0) == (pattern > 0 && is_name));
    if (is_ascii(s)) {
        expect((pattern > 0) == oracle_is_pattern(s, &oracle_is_name));
        expect(pattern <= 0 || is_name == oracle_is_name);
    }
    return name > 0 ? 2 : pattern > 0;
}

static bool count_visit(void *value, void *ctx) {
    (void)value;
    ++*(unsigned *)ctx;
    return true;
}

static unsigned matches_in_set(const char *pattern, const char *name) {
    struct reclaimer r = {0};
    unsigned found = 0;
    topics set;
    mtaio__topics_init(&set, &r);
    ATOMIC(void *) *slot = mtaio__topics_add(&set, pattern);
    expect(slot != NULL);
    store_release(slot, &set);
    mtaio__topics_match(&set, name, count_visit, &found);
    mtaio__topics_remove(&set, pattern);
    mtaio__topics_fini(&set);
    while (r.blocks != NULL) {
        struct retired *first = r.blocks;
        r.blocks = first->next;
        mtaio__block_free((struct block *)first);
    }
    return found;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size > 4096)
        return 0;
    const uint8_t *line = size > 0 ? memchr(data, '\n', size) : NULL;
    size_t length = line != NULL ? (size_t)(line - data) : size;
    size_t rest = line != NULL ? size - length - 1 : 0;
    char *pattern = calloc(length + 1, 1), *name = calloc(rest + 1, 1);
    expect(pattern != NULL && name != NULL);
    memcpy(pattern, data, length);
    if (rest > 0)
        memcpy(name, line + 1, rest);
    if (classify(pattern) > 0 && classify(name) == 2) {
        bool matches = mtaio__pattern_matches(pattern, name);
        expect(!is_quick(pattern, name) || matches == oracle_matches(pattern, name));
        expect(matches_in_set(pattern, name) == matches);
    }
    free(pattern);
    free(name);
    return 0;
}
