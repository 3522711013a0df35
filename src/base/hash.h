/* hash.h - a keyed hash of names: names come from outside, so the key is drawn per process. */
#ifndef MTAIO_SRC_HASH_H
#define MTAIO_SRC_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HASH_KEY_BYTES 192

/* Sets the key: done once, with random bytes, when the library is loaded (os_linux.c), before the first hash.
 * Where nobody does it (the explorer) the key is all zeros and every run hashes alike. */
void mtaio__hash_set_key(const unsigned char *random);

/* XXH3 with a secret of our own (https://xxhash.com); of usual names what XXH3 does with 17 to 32 bytes. */
uint64_t mtaio__hash(const char *bytes, size_t count);

/* --- Usual names: between 8 and 32 bytes -------------------------------------------------------- */

#ifdef __SIZEOF_INT128__
__extension__ typedef unsigned __int128 hash_wide;
static inline bool hash_is_usual(size_t count) { return count - 8 <= 32 - 8; }
#else
typedef uint64_t hash_wide;
static inline bool hash_is_usual(size_t count) {
    (void)count;
    return false;
}
#endif

/* Four words that together hold all bytes, some twice: no branch asks how many there are, for that cannot be
 * predicted where names change. */
struct hash_words {
    uint64_t word[4];
};
static inline struct hash_words hash_words(const char *bytes, size_t count) {
    size_t second = count < 16 ? count - 8 : 8, third = count < 16 ? 0 : count - 16;
    struct hash_words w;
    memcpy(&w.word[0], bytes, 8);
    memcpy(&w.word[1], bytes + second, 8);
    memcpy(&w.word[2], bytes + third, 8);
    memcpy(&w.word[3], bytes + count - 8, 8);
    return w;
}

/* memcmp of usual names. */
static inline bool hash_is_same(const char *a, const char *b, size_t count) {
    struct hash_words x = hash_words(a, count), y = hash_words(b, count);
    return ((x.word[0] ^ y.word[0]) | (x.word[1] ^ y.word[1]) | (x.word[2] ^ y.word[2]) |
            (x.word[3] ^ y.word[3])) == 0;
}

/* memcmp of two names, most of which are short: few loads, which may overlap, instead of a call. */
static inline bool hash_is_same_name(const char *a, const char *b, size_t length) {
    if (hash_is_usual(length)) return hash_is_same(a, b, length);
    if (length < 4 || length > 8) return memcmp(a, b, length) == 0;
    uint32_t s, t, u, v;
    memcpy(&s, a, 4);
    memcpy(&t, b, 4);
    memcpy(&u, a + length - 4, 4);
    memcpy(&v, b + length - 4, 4);
    return ((s ^ t) | (u ^ v)) == 0;
}

extern uint64_t mtaio__hash_key[HASH_KEY_BYTES / 8]; /* fixed */

static inline uint64_t hash_mix(uint64_t a, uint64_t b) {
    hash_wide product = (hash_wide)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> (sizeof product * 4));
}

/* mtaio__hash of a usual name. */
static inline uint64_t hash_usual(const char *bytes, size_t count) {
    const uint64_t *key = mtaio__hash_key;
    struct hash_words w = hash_words(bytes, count);
    uint64_t hash = count * UINT64_C(0x9E3779B185EBCA87);
    hash += hash_mix(w.word[0] ^ key[0], w.word[1] ^ key[1]);
    hash += hash_mix(w.word[2] ^ key[2], w.word[3] ^ key[3]);
    hash ^= hash >> 37;
    hash *= UINT64_C(0x165667919E3779F9);
    return hash ^ hash >> 32;
}

#endif
