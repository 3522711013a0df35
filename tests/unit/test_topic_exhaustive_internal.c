/* test_topic_exhaustive_internal.c - every short pattern with every short name, against the plain meaning. */
#include "support.h"

#include <mtaio/base.h>
#include <stdlib.h>

#include "core/topic.h"
#include "topic_oracle.h"

static const char symbols[] = {'a', 'b', '.', '*'};

/* Symbols in all strings, and in the valid ones. ThreadSanitizer has nothing to see here, and takes long. */
#ifdef MTAIO_TSAN
enum { ALL = 5, LONGEST = 6 };
#else
enum { ALL = 6, LONGEST = 8 };
#endif

struct word {
    char text[LONGEST + 1];
    bool is_pattern, is_name;
};

/* All strings of 1 to longest symbols, shortest first. */
static struct word *all_words(unsigned longest, size_t *ret_count) {
    size_t count = 0, n = 0;
    for (unsigned length = 1; length <= longest; length++)
        count += (size_t)1 << 2 * length;
    struct word *words = calloc(count, sizeof *words);
    CHECK(words != NULL);
    for (unsigned length = 1; length <= longest; length++)
        for (size_t number = 0; number < (size_t)1 << 2 * length; number++, n++) {
            struct word *w = &words[n];
            for (unsigned i = 0; i < length; i++)
                w->text[i] = symbols[number >> 2 * i & 3];
            w->is_pattern = oracle_is_pattern(w->text, &w->is_name);
            w->is_name = w->is_name && w->is_pattern;
        }
    *ret_count = count;
    return words;
}

/* "Segments separated by '.'; a whole segment may be '*' or '**'; a '*' inside a segment is refused": what is
 * a pattern and what a name, for all 87,380 strings of up to 8 symbols. */
static void test_checks(void **state) {
    size_t count;
    struct word *words = all_words(LONGEST, &count);
    (void)state;
    for (size_t i = 0; i < count; i++) {
        const struct word *w = &words[i];
        int length = (int)strlen(w->text);
        bool is_name = !w->is_name;
        CHECK(mtaio__name_check(w->text) == (w->is_name ? length : MTAIO_ENAME));
        CHECK(mtaio__pattern_check(w->text, &is_name) == (w->is_pattern ? length : MTAIO_EPATTERN));
        CHECK(is_name == (w->is_pattern ? w->is_name : !w->is_name));
    }
    free(words);
}

/* What a caller sees of a pattern and a name. */
enum answer { NO_PATTERN, NO_NAME, NO_MATCH, MATCH };

static enum answer answer(const char *pattern, const char *name) {
    bool is_name;
    if (mtaio__pattern_check(pattern, &is_name) < 0)
        return NO_PATTERN;
    if (mtaio__name_check(name) < 0)
        return NO_NAME;
    return mtaio__pattern_matches(pattern, name) ? MATCH : NO_MATCH;
}

static enum answer true_answer(const struct word *pattern, const struct word *name) {
    if (!pattern->is_pattern)
        return NO_PATTERN;
    if (!name->is_name)
        return NO_NAME;
    return oracle_matches(pattern->text, name->text) ? MATCH : NO_MATCH;
}

/* All 5,460 * 5,460 pairs of strings of up to 6 symbols; invalid ones are refused in any company. */
static void test_all_pairs(void **state) {
    size_t count, matches = 0;
    struct word *words = all_words(ALL, &count);
    (void)state;
    assert_int_equal(count, ALL == 6 ? 5460 : 1364);
    for (size_t p = 0; p < count; p++)
        for (size_t n = 0; n < count; n++) {
            enum answer a = answer(words[p].text, words[n].text);
            CHECK(a == true_answer(&words[p], &words[n]));
            matches += a == MATCH;
        }
    assert_true(matches > 500);
    free(words);
}

/* Every valid pattern of up to 8 symbols with every name of up to 8: longer ways through "**". */
static void test_all_valid_pairs(void **state) {
    size_t count, patterns = 0, names = 0;
    struct word *words = all_words(LONGEST, &count), **pattern = calloc(count, sizeof(void *)),
                **name = calloc(count, sizeof(void *));
    (void)state;
    CHECK(pattern != NULL && name != NULL);
    for (size_t i = 0; i < count; i++) {
        if (words[i].is_pattern)
            pattern[patterns++] = &words[i];
        if (words[i].is_name)
            name[names++] = &words[i];
    }
    for (size_t p = 0; p < patterns; p++)
        for (size_t n = 0; n < names; n++)
            CHECK(mtaio__pattern_matches(pattern[p]->text, name[n]->text) ==
                  oracle_matches(pattern[p]->text, name[n]->text));
    free(pattern);
    free(name);
    free(words);
}

struct found {
    const struct word *name;
    size_t count;
};

static bool check_found(void *value, void *ctx) {
    const struct word *pattern = value;
    struct found *found = ctx;
    found->count++;
    CHECK(oracle_matches(pattern->text, found->name->text));
    return true;
}

/* "Emitters and channels take patterns in the same way": a set that holds every pattern of up to 6 symbols
 * at once finds for each name just those that match, each once. */
static void test_set_of_all(void **state) {
    size_t count;
    struct word *words = all_words(ALL, &count);
    struct reclaimer r = {0};
    topics set;
    (void)state;
    mtaio__topics_init(&set, &r);
    for (size_t i = 0; i < count; i++)
        if (words[i].is_pattern)
            store_release(mtaio__topics_add(&set, words[i].text), &words[i]);
    for (size_t n = 0; n < count; n++) {
        struct found found = {.name = &words[n]};
        size_t expected = 0;
        if (!words[n].is_name)
            continue;
        for (size_t p = 0; p < count; p++)
            expected += words[p].is_pattern && oracle_matches(words[p].text, words[n].text);
        mtaio__topics_match(&set, words[n].text, check_found, &found);
        assert_int_equal(found.count, expected);
    }
    mtaio__topics_fini(&set);
    while (r.blocks != NULL) {
        struct retired *next = r.blocks->next;
        mtaio__block_free((struct block *)r.blocks);
        r.blocks = next;
    }
    free(words);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_checks),
        cmocka_unit_test(test_all_pairs),
        cmocka_unit_test(test_all_valid_pairs),
        cmocka_unit_test(test_set_of_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
