/* hash.h - a keyed hash of names: names come from outside, so the key is drawn per process. */
#ifndef MTAIO_SRC_HASH_H
#define MTAIO_SRC_HASH_H

#include <stddef.h>
#include <stdint.h>

#define HASH_KEY_BYTES 192

/* Sets the key: done once, with random bytes, when the library is loaded (os_linux.c), before the first hash.
 * Where nobody does it (the explorer) the key is all zeros and every run hashes alike. */
void mtaio__hash_set_key(const unsigned char *random);

/* XXH3 with a secret of our own (https://xxhash.com). */
uint64_t mtaio__hash(const char *bytes, size_t count);

#endif
