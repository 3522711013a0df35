/* hash.c - XXH3 of names under a secret key. The whole secret is random, not just a 64-bit seed: who can
 * choose names but not see hashes cannot aim for collisions. */
#include "base/hash.h"

#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

static unsigned char key[HASH_KEY_BYTES]; /* written before any other thread can be here, then read only */

void mtaio__hash_set_key(const unsigned char *random) { memcpy(key, random, sizeof key); }

uint64_t mtaio__hash(const char *bytes, size_t count) {
    return XXH3_64bits_withSecret(bytes, count, key, sizeof key);
}
