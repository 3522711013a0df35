/* hash.c - XXH3 of names under a secret key. The whole secret is random, not just a 64-bit seed: who can
 * choose names but not see hashes cannot aim for collisions. */
#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t mtaio__hash_key[HASH_KEY_BYTES / 8]; /* written before any other thread can be here, then read only */

void mtaio__hash_set_key(const unsigned char *random) {
    memcpy(mtaio__hash_key, random, sizeof mtaio__hash_key);
}

uint64_t mtaio__hash(const char *bytes, size_t count) {
    if (!hash_is_usual(count))
        return XXH3_64bits_withSecret(bytes, count, mtaio__hash_key, sizeof mtaio__hash_key);
    return hash_usual(bytes, count);
}
