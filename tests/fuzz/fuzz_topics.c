/* fuzz_topics.c - lines of operations on a set of patterns against a plain list of them:
 *
 *     +pattern   adds it (again)
 *     -pattern   removes it
 *     ?name      who matches?
 *     !pattern   adds it while the n-th allocation fails, n being the number of the line modulo 4
 */
#include <mtaio/base.h>
#include <stdlib.h>
#include <string.h>

#include "../unit/topic_oracle.h"
#include "core/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MODEL_MAX = 64, TEXT_MAX = 48 };

static struct {
    char pattern[MODEL_MAX][TEXT_MAX];
    unsigned found[MODEL_MAX];
    size_t count;
} model;

static unsigned fail_after; /* 0: no allocation fails */
static size_t blocks;

static void expect(bool condition) {
    if (!condition)
        abort();
}

static void *fuzz_alloc(size_t bytes, void *ctx) {
    (void)ctx;
    if (fail_after > 0 && --fail_after == 0)
        return NULL;
    blocks++;
    return malloc(bytes);
}

static void *fuzz_resize(void *old, size_t old_bytes, size_t bytes, void *ctx) {
    (void)old_bytes;
    (void)ctx;
    return realloc(old, bytes);
}

static void fuzz_free(void *block, size_t bytes, void *ctx) {
    (void)bytes;
    (void)ctx;
    blocks--;
    free(block);
}

static size_t model_index(const char *pattern) {
    size_t i = 0;
    while (i < model.count && strcmp(model.pattern[i], pattern) != 0)
        i++;
    return i;
}

static bool visit(void *value, void *ctx) {
    const char *pattern = value;
    (void)ctx;
    model.found[model_index(pattern)]++;
    return true;
}

static void add(topics *set, const char *pattern) {
    size_t i = model_index(pattern);
    if (i == MODEL_MAX)
        return;
    ATOMIC(void *) *slot = mtaio__topics_add(set, pattern);
    expect(slot != NULL || (fail_after == 0 && i == model.count));
    fail_after = 0;
    if (slot == NULL)
        return;
    expect((load_relaxed(slot) == NULL) == (i == model.count));
    if (i == model.count)
        memcpy(model.pattern[model.count++], pattern, strlen(pattern) + 1);
    /* By its number: removing moves the last pattern to the place of the one that went. */
    store_release(slot, model.pattern[i]);
}

static void take_away(topics *set, const char *pattern) {
    size_t i = model_index(pattern);
    mtaio__topics_remove(set, pattern);
    if (i == model.count)
        return;
    model.count--;
    if (i != model.count) {
        memcpy(model.pattern[i], model.pattern[model.count], TEXT_MAX);
        store_release(mtaio__topics_add(set, model.pattern[i]), model.pattern[i]);
    }
}

static void match(const topics *set, const char *name) {
    memset(model.found, 0, sizeof model.found);
    mtaio__topics_match(set, name, visit, NULL);
    for (size_t i = 0; i < model.count; i++)
        expect(model.found[i] == oracle_matches(model.pattern[i], name));
}

static void run_line(topics *set, const char *line, unsigned number) {
    bool is_name;
    if (strlen(line) > TEXT_MAX || line[0] == '\0' || mtaio__pattern_check(line + 1, &is_name) < 0)
        return;
    if (line[0] == '+')
        add(set, line + 1);
    if (line[0] == '-')
        take_away(set, line + 1);
    if (line[0] == '?' && is_name)
        match(set, line + 1);
    if (line[0] == '!') {
        fail_after = number % 4 + 1;
        add(set, line + 1);
        fail_after = 0;
    }
}

static void sweep(struct reclaimer *r) {
    while (r->blocks != NULL) {
        struct retired *first = r->blocks;
        r->blocks = first->next;
        mtaio__block_free((struct block *)first);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const mtaio_allocator allocator = {sizeof allocator, fuzz_alloc, fuzz_resize, fuzz_free, NULL};
    struct reclaimer r = {0};
    topics set;
    if (size > 4096)
        return 0;
    (void)mtaio_set_allocator(&allocator); /* EBUSY from the second time on */
    char *text = calloc(size + 1, 1);
    expect(text != NULL);
    memcpy(text, data, size);
    model.count = 0;
    blocks = 0;
    mtaio__topics_init(&set, &r);
    unsigned number = 0;
    for (char *line = text, *end; line != NULL; line = end) {
        end = strchr(line, '\n');
        if (end != NULL)
            *end++ = '\0';
        run_line(&set, line, number++);
        sweep(&r);
    }
    if (size % 2 != 0) /* both ways to the end */
        while (model.count > 0)
            take_away(&set, model.pattern[0]);
    sweep(&r);
    expect(blocks == 0 || model.count > 0);
    mtaio__topics_fini(&set);
    expect(blocks == 0);
    free(text);
    return 0;
}
