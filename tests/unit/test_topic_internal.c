/* test_topic_internal.c - names, patterns, and the matcher of one with the other. */
#include "support.h"

#include <mtaio/base.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/topic.h"
#include "topic_oracle.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* A copy that ends where its block ends, so that AddressSanitizer sees each byte read too far. */
static char *exact_copy(const char *s) {
    char *copy = malloc(strlen(s) + 1);
    CHECK(copy != NULL);
    return strcpy(copy, s);
}

static bool is_name(const char *s) {
    char *copy = exact_copy(s);
    int r = mtaio__name_check(copy);
    free(copy);
    CHECK(r == MTAIO_ENAME || r == (int)strlen(s));
    return r > 0;
}

/* 0: no pattern, 1: a pattern, 2: a pattern that is a name. */
static int pattern_kind(const char *s) {
    char *copy = exact_copy(s);
    bool name = false;
    int r = mtaio__pattern_check(copy, &name);
    free(copy);
    CHECK(r == MTAIO_EPATTERN || r == (int)strlen(s));
    return r < 0 ? 0 : name ? 2 : 1;
}

/* --- Names and patterns ------------------------------------------------------------------------ */

/* "A name is non-empty UTF-8, segments separated by '.'"; hazards 38 and 39. */
static void test_names(void **state) {
    static const char *const good[] = {
        "a", "user_login", "user.created", "a.b.c.d.e.f.g.h", "1.2", " ", "a b", "\t", "\x01\x7f",
        "eightchr", "ninechars", "seven_c.x", "sixteen_chars_ab", "status.half-configured", "\xC3\xA9",
        "\xC3\xBC.welt", "\xF0\x9F\x98\x80", "a.\xE2\x82\xAC", "a.\xE2\x82\xAC.b", "\xEF\xBF\xBF",
        "\xEE\x80\x80", "\xED\x9F\xBF", "\xF4\x8F\xBF\xBF", "\xC2\x80", "\xE0\xA0\x80", "\xF0\x90\x80\x80"};
    static const char *const bad[] = {
        "", ".", "..", ".a", "a.", "a..b", "eightchr.", ".eightchr", "sevench..x", "seven_c..x",
        "sixteen_chars_b.", "a.b..", "*", "**", "a.*", "*.a", "a.**", "a*", "*a", "eightchr*", "a.b*c.d",
        "\xC3\xA9*", "\xC3\xA9..a", ".\xC3\xA9", "\xC3\xA9.", "\x80", "\xBF", "a\x80", "\xC0\x80",
        "\xC1\xBF", "\xC2", "\xC2.", "a.\xC2", "\xC2\x7F", "\xC2\xC0", "\xE0\x80\x80", "\xE0\x9F\xBF",
        "\xE2\x82", "\xE2\x82.", "\xE2.\xAC", "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x80\x80\x80",
        "\xF0\x8F\xBF\xBF", "\xF0\x9F\x98", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
        "\xF8\x88\x80\x80\x80", "\xFE", "\xFF"};
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        CHECK(is_name(good[i]));
        CHECK(pattern_kind(good[i]) == 2);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        CHECK(!is_name(bad[i]));
        CHECK(pattern_kind(bad[i]) != 2);
    }
    assert_int_equal(mtaio__name_check(NULL), MTAIO_EINVAL);
}

/* "A pattern is a name in which a whole segment may be '*' or '**'; a '*' inside a segment (log*) is
 * refused." */
static void test_patterns(void **state) {
    static const char *const good[] = {
        "*", "**", "*.a", "a.*", "**.a", "a.**", "a.*.b", "a.**.b", "*.*", "**.**", "*.**", "**.*.**",
        "a.*.**.b.*", "\xC3\xA9.*", "*.\xC3\xA9", "**.\xC3\xA9"};
    static const char *const bad[] = {
        "", ".", "log*", "*log", "l*g", "***", "****", "a.***", "***.a", "a.b*", "a.*b", "**a", "a**",
        "a**.b", "*.", ".*", "*..*", "**.", ".**", "**..a", "*\xC3\xA9", "\xC3\xA9*", "*\x80", "**\x80",
        "\x80.*", "*.\xED\xA0\x80"};
    bool name = true;
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++)
        CHECK(pattern_kind(good[i]) == 1);
    for (size_t i = 0; i < COUNT(bad); i++)
        CHECK(pattern_kind(bad[i]) == 0);
    assert_int_equal(mtaio__pattern_check(NULL, &name), MTAIO_EINVAL);
    assert_int_equal(mtaio__pattern_check("a*", &name), MTAIO_EPATTERN);
    assert_true(name); /* "negative: *ret is not touched" */
    assert_int_equal(mtaio__pattern_check("a.*", NULL), 3);
}

/* "At most MTAIO_NAME_MAX bytes"; "1 MB" is refused, and refused without reading it; hazard 38. */
static void test_lengths(void **state) {
    size_t huge = 1 << 20;
    char *s = malloc(huge + 1);
    bool name = false;
    (void)state;
    CHECK(s != NULL);
    memset(s, 'a', huge);
    s[huge] = '\0';
    assert_int_equal(mtaio__name_check(s), MTAIO_ENAME);
    assert_int_equal(mtaio__pattern_check(s, &name), MTAIO_EPATTERN);
    s[MTAIO_NAME_MAX + 1] = '\0';
    assert_int_equal(mtaio__name_check(s), MTAIO_ENAME);
    assert_int_equal(mtaio__pattern_check(s, &name), MTAIO_EPATTERN);
    s[MTAIO_NAME_MAX] = '\0';
    assert_int_equal(mtaio__name_check(s), MTAIO_NAME_MAX);
    assert_int_equal(mtaio__pattern_check(s, &name), MTAIO_NAME_MAX);
    assert_true(name);
    free(s);

    s = malloc(MTAIO_NAME_MAX + 1); /* without a NUL: nothing behind it may be read */
    CHECK(s != NULL);
    memset(s, 'a', MTAIO_NAME_MAX + 1);
    assert_int_equal(mtaio__name_check(s), MTAIO_ENAME);
    assert_int_equal(mtaio__pattern_check(s, &name), MTAIO_EPATTERN);
    free(s);
}

/* The same rules at every place of the words that are read at once: each byte at each place, and two dots
 * at each two places, of names of each length up to 34. */
static void test_names_at_every_place(void **state) {
    char s[64];
    (void)state;
    for (size_t length = 1; length <= 34; length++) {
        memset(s, 'a', length);
        s[length] = '\0';
        CHECK(is_name(s));
        for (size_t i = 0; i < length; i++) {
            for (int byte = 1; byte < 256; byte++) {
                bool dot_inside = byte == '.' && i > 0 && i < length - 1;
                s[i] = (char)byte;
                CHECK(is_name(s) == (dot_inside || (byte < 0x80 && byte != '.' && byte != '*')));
            }
            s[i] = '.';
            for (size_t j = 0; j < i; j++) {
                s[j] = '.';
                CHECK(is_name(s) == (j > 0 && i > j + 1 && i < length - 1));
                s[j] = 'a';
            }
            s[i] = 'a';
        }
    }
}

/* The length of the well-formed UTF-8 sequence at s by decoding and encoding it again; 0: none. */
static size_t decoded_length(const unsigned char *s, size_t count) {
    size_t length = s[0] < 0x80 ? 1 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    unsigned long code = length == 1 ? s[0] : s[0] & (0xFFul >> (length + 1));
    if (length > count || (s[0] >= 0x80 && s[0] < 0xC0) || s[0] >= 0xF8)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if (s[i] >> 6 != 2)
            return 0;
        code = code << 6 | (s[i] & 0x3F);
    }
    size_t needed = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    bool surrogate = code >= 0xD800 && code <= 0xDFFF;
    return needed == length && !surrogate && code <= 0x10FFFF ? length : 0;
}

/* "UTF-8": a lone sequence of up to four bytes, each of the values at which the rules change and all
 * leading bytes, is accepted just where decoding it makes sense; hazard 38. */
static void test_utf8(void **state) {
    static const unsigned char next[] = {0x01, 'a',  0x7F, 0x80, 0x81, 0x8F, 0x90,
                                         0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xFF};
    const size_t n = COUNT(next), tails = n * n * n;
    (void)state;
    for (unsigned lead = 0x80; lead < 0x100; lead++)
        for (size_t tail = 0; tail < tails; tail++)
            for (size_t count = 1; count <= 4; count++) {
                const unsigned char bytes[4] = {(unsigned char)lead, next[tail % n], next[tail / n % n],
                                                next[tail / n / n]};
                char s[5] = {0};
                bool good = true;
                memcpy(s, bytes, count);
                for (size_t i = 0, length; i < count && good; i += length) {
                    length = decoded_length(bytes + i, count - i);
                    good = length > 0;
                }
                CHECK((mtaio__name_check(s) > 0) == good);
            }
}

/* --- One pattern ------------------------------------------------------------------------------- */

/* "A pattern is a name in which a whole segment may be '*' (exactly one segment) or '**' (zero or more
 * segments, anywhere)." */
static void test_matches(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(oracle_table); i++) {
        char *pattern = exact_copy(oracle_table[i].pattern), *name = exact_copy(oracle_table[i].name);
        if (mtaio__pattern_matches(pattern, name) != oracle_table[i].matches)
            fail_msg("%s %s", pattern, name);
        CHECK(oracle_matches(pattern, name) == oracle_table[i].matches);
        free(pattern);
        free(name);
    }
}

/* A long part between two "**" is found where it stands, however alike what stands before it is. */
static void test_long_parts(void **state) {
    static char pattern[2048], name[8192];
    uint32_t seed = 7;
    size_t found = 0;
    (void)state;
    for (unsigned round = 0; round < 2000; round++) {
        uint32_t length = 60 + oracle_draw(&seed, 120), before = oracle_draw(&seed, 300),
                 changed = oracle_draw(&seed, 2 * length);
        char *p = stpcpy(pattern, "**"), *n = name;
        for (uint32_t i = 0; i < before; i++)
            n = stpcpy(n, oracle_draw(&seed, 200) != 0 ? "a." : "b.");
        for (uint32_t i = 0; i < length; i++) {
            bool b = oracle_draw(&seed, 100) == 0;
            p = stpcpy(p, oracle_draw(&seed, 4) == 0 ? ".*" : b ? ".b" : ".a");
            n = stpcpy(n, b != (i == changed) ? "b." : "a.");
        }
        strcpy(p, oracle_draw(&seed, 2) != 0 ? ".**" : ".**.c.**");
        strcpy(n, oracle_draw(&seed, 4) != 0 ? "a.c" : "c");
        bool matches = oracle_matches(pattern, name);
        CHECK(mtaio__pattern_matches(pattern, name) == matches);
        found += matches;
    }
    assert_true(found > 500 && found < 1800);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),      cmocka_unit_test(test_patterns),
        cmocka_unit_test(test_lengths),    cmocka_unit_test(test_names_at_every_place),
        cmocka_unit_test(test_utf8),       cmocka_unit_test(test_matches),
        cmocka_unit_test(test_long_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
