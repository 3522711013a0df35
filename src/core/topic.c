/* topic.c - what a name and a pattern are, and whether one matches the other. */
#include "core/topic.h"

#include <mtaio/base.h>
#include <string.h>

#include "base/hash.h"
#include "core/segment.h"

/* --- Checking ---------------------------------------------------------------------------------- */

/* Two words of a name beside each other: compilers know what to do with them at once. */
typedef uint64_t words __attribute__((vector_size(16)));
typedef signed char octets __attribute__((vector_size(16)));

/* Less than eight bytes, then zeros. */
static uint64_t short_word(const char *s, size_t length) {
    uint64_t word = 0;
    if (length >= 4) { /* two that overlap */
        uint32_t low, high;
        memcpy(&low, s, 4);
        memcpy(&high, s + length - 4, 4);
        return low | (uint64_t)high << (length - 4) * 8;
    }
    while (length-- > 0) word = word << 8 | (unsigned char)s[length];
    return word;
}

/* A high bit in either: a byte that is not ASCII, a '*', or two dots after each other. */
static inline words odd_bytes(uint64_t first, uint64_t second) {
    words w = {first, second}, dots = (words)((octets)w == '.'), stars = (words)((octets)w == '*');
    return w | stars | (dots & dots << 8);
}

/* Is it a name in plain ASCII? Each word begins with a byte of the one before, or more. Where false, it may
 * be a name all the same. */
static inline bool is_plain_name(const char *s, size_t length) {
    if (__BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__ || s[0] == '.' || s[length - 1] == '.') return false;
    words odd = {0};
    if (length < 8) {
        odd = odd_bytes(short_word(s, length), 0);
    } else {
        size_t second = length < 15 ? length - 8 : 7, last = length - 8 - second;
        uint64_t word[2];
        for (size_t i = 0;; i = i + 14 < last ? i + 14 : last) {
            memcpy(&word[0], s + i, 8);
            memcpy(&word[1], s + i + second, 8);
            odd |= odd_bytes(word[0], word[1]);
            if (i == last) break;
        }
    }
    return ((odd[0] | odd[1]) & UINT64_C(0x8080808080808080)) == 0;
}

/* The length of the UTF-8 sequence of more than one byte; 0: none is valid here. RFC 3629, table 4. */
static size_t sequence_length(const unsigned char *s) {
    unsigned char low = 0x80, high = 0xBF; /* of the second byte */
    size_t length = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    if (s[0] < 0xC2 || s[0] > 0xF4) return 0;
    if (s[0] == 0xE0) low = 0xA0;  /* else it would fit in two bytes */
    if (s[0] == 0xED) high = 0x9F; /* else a surrogate */
    if (s[0] == 0xF0) low = 0x90;  /* else it would fit in three */
    if (s[0] == 0xF4) high = 0x8F; /* else above U+10FFFF */
    if (s[1] < low || s[1] > high) return 0;
    for (size_t i = 2; i < length; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    return length;
}

/* The length of what begins here: a whole "*" or "**", a plain byte, a sequence. 0: not in a pattern. */
static size_t piece_length(const char *s, bool begins_segment) {
    if (*s == '*') {
        size_t stars = s[1] == '*' ? 2 : 1;
        return begins_segment && is_end(s[stars]) ? stars : 0;
    }
    return (unsigned char)*s < 0x80 ? 1 : sequence_length((const unsigned char *)s);
}

static bool is_pattern(const char *s, size_t length, bool *ret_is_name) {
    size_t segment = 0; /* where it begins */
    *ret_is_name = true;
    for (size_t i = 0, piece; i < length; i += piece) {
        if (s[i] == '.') {
            if (i == segment) return false;
            segment = i + 1;
        }
        if (s[i] == '*') *ret_is_name = false;
        piece = piece_length(s + i, i == segment);
        if (piece == 0) return false;
    }
    return segment < length;
}

/* The length; 0: empty, or longer than MTAIO_NAME_MAX. memchr stops at the first byte that it finds. */
static size_t bounded_length(const char *s) {
    const char *end = memchr(s, '\0', MTAIO_NAME_MAX + 1);
    return end ? (size_t)(end - s) : 0;
}

/* Of what is not plain. Apart, so that what is needs no stack. */
static __attribute__((noinline)) int other_refusal(const char *name, size_t length) {
    bool is_name;
    return is_pattern(name, length, &is_name) && is_name ? 0 : MTAIO_ENAME;
}

int mtaio__name_refusal(const char *name, size_t length) {
    if (unlikely(length == 0) || unlikely(length > MTAIO_NAME_MAX)) return MTAIO_ENAME;
    return likely(is_plain_name(name, length)) ? 0 : other_refusal(name, length);
}

int mtaio__name_check(const char *name) {
    if (!name) return MTAIO_EINVAL;
    size_t length = bounded_length(name);
    int r = mtaio__name_refusal(name, length);
    return r < 0 ? r : (int)length;
}

int mtaio__pattern_check(const char *pattern, bool *ret_is_name) {
    bool is_name;
    if (!pattern) return MTAIO_EINVAL;
    size_t length = bounded_length(pattern);
    if (length == 0) return MTAIO_EPATTERN;
    is_name = is_plain_name(pattern, length);
    if (unlikely(!is_name) && !is_pattern(pattern, length, &is_name)) return MTAIO_EPATTERN;
    if (ret_is_name) *ret_is_name = is_name;
    return (int)length;
}

/* --- One pattern ------------------------------------------------------------------------------- */

/* Neither has an empty segment: what is left is "" only where nothing is left. */
static const char *segment_after(const char *end) { return *end == '.' ? end + 1 : end; }
static const char *segment_next(const char *s) { return segment_after(segment_end(s)); }

/* Steps over a segment of both, if they match. */
static bool step(const char **pattern, const char **name) {
    const char *p = *pattern, *n = *name;
    SEGMENT_STEP();
    if (*n == '\0') return false;
    if (*p == '*') {
        p++;
        n = segment_end(n);
    } else {
        while (*p == *n && !is_end(*p)) p++, n++;
        if (!is_end(*p) || !is_end(*n)) return false;
    }
    *pattern = segment_after(p);
    *name = segment_after(n);
    return true;
}

/* The hash of the segment at *s; steps over it. */
static uint64_t hash_step(const char **s) {
    const char *begin = *s, *end = segment_end(begin);
    *s = segment_after(end);
    return mtaio__hash(begin, (size_t)(end - begin));
}

/* A window of 64 segments, as eight bits of the hash of each: bit i of plane[k] is bit k of the i-th. */
static void window_move(uint64_t plane[8], const char **next) {
    uint64_t hash = hash_step(next);
    for (int k = 0; k < 8; k++) plane[k] = plane[k] >> 1 | (hash >> k & 1) << 63;
}

/* Bit i: the part of a pattern up to its next "**" may match the name from its i-th segment on. */
static uint64_t part_places(const char *part, const char *name) {
    uint64_t places = UINT64_MAX, plane[8] = {0};
    for (int i = 0; i < 64; i++) window_move(plane, &name);
    while (!is_deep(part) && places != 0) {
        bool is_star = *part == '*';
        uint64_t hash = hash_step(&part);
        for (int k = 0; k < 8 && !is_star; k++) places &= ~plane[k] ^ (0 - (hash >> k & 1));
        window_move(plane, &name);
    }
    return places;
}

/* Finds the part of the pattern up to its next "**" in the name, as far to the left as it can be within
 * `room` segments; steps over both. Parts and names made to differ late at every place are met by looking
 * at 64 places together. */
static bool part_find(const char **pattern, const char **name, size_t *room) {
    uint64_t places = UINT64_MAX;
    bool is_slow = false;
    for (size_t i = 0;; i++) {
        if (is_slow && i % 64 == 0) places = part_places(*pattern, *name);
        if (places >> i % 64 & 1) {
            const char *p = *pattern, *n = *name;
            size_t taken = 0;
            while (!is_deep(p) && taken < *room && step(&p, &n)) taken++;
            if (is_deep(p)) {
                *pattern = p;
                *name = n;
                *room -= taken;
                return true;
            }
            is_slow = is_slow || taken > 64;
            if (taken == *room) return false;
        }
        if (--*room == 0) return false;
        *name = segment_next(*name);
    }
}

/* For a pattern that begins with "**". What follows its last "**" can only match the end of the name; each of
 * the parts between two is matched as far to the left as it can be, which leaves most to those after it. */
static bool deep_matches(const char *p, const char *n) {
    if (p[2] == '\0') return true;
    const char *last = p;
    size_t ending = 0, room = 0;
    for (const char *q = p; *q; q = segment_next(q)) {
        ending++;
        if (is_deep(q)) last = q, ending = 0;
    }
    for (const char *m = n; *m; m = segment_next(m)) room++;
    if (room < ending) return false;
    room -= ending; /* segments of the name that are left for all up to `last` */

    const char *q = segment_next(last), *m = n;
    for (size_t i = 0; i < room; i++) m = segment_next(m);
    while (*q)
        if (!step(&q, &m)) return false;

    while (p != last) {
        p = segment_next(p);
        if (!part_find(&p, &n, &room)) return false;
    }
    return true;
}

bool mtaio__pattern_matches(const char *pattern, const char *name) {
    if (pattern[0] == '*' && pattern[1] == '\0') return true;
    while (*pattern && !is_deep(pattern))
        if (!step(&pattern, &name)) return false;
    return *pattern ? deep_matches(pattern, name) : *name == '\0';
}

int mtaio_pattern_matches(const char *pattern, const char *name) {
    int r = mtaio__pattern_check(pattern, NULL);
    if (r >= 0) r = mtaio__name_check(name);
    return r < 0 ? r : mtaio__pattern_matches(pattern, name);
}
