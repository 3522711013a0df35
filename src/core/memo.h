/* memo.h - remembers who gets the topics that are asked for again and again.
 *
 * What is in a memo is always true: each change of a pattern takes out the names that it matches, or seems to
 * match. A name gets in when it is asked for a second time, so that a stream of ever new ones takes no
 * memory, and a memo has no more places than its owner has patterns.
 *
 * Read without a lock under a wide pin of the owner (reclaim.h), written under the owner's guard. */
#ifndef MTAIO_SRC_MEMO_H
#define MTAIO_SRC_MEMO_H

#include "core/topic.h"

struct member;
struct memo;

/* Fixed once it is in. */
struct entry {
    struct block block;
    uint32_t count;
    uint16_t length;
    struct member *members[]; /* then the name, without its NUL */
};

static inline char *entry_name(const struct entry *e) { return (char *)(uintptr_t)(e->members + e->count); }

/* For so many patterns; NULL: out of memory. */
struct memo *mtaio__memo_new(const struct reclaimer *r, size_t patterns);

/* Is it far too small, or far too large, for so many? */
bool mtaio__memo_misfits(const struct memo *memo, size_t patterns);

/* Is it cheaper to drop it than to let it forget so many patterns? */
bool mtaio__memo_overtaxed(const struct memo *memo, size_t patterns);

/* Unlinked: it goes, with its entries, once nobody reads it. */
void mtaio__memo_retire(struct memo *memo, struct reclaimer *r);

/* NULL: not there. Reader. */
const struct entry *mtaio__memo_find(const struct memo *memo, const struct topic *topic);

/* Was it asked for, and not found, not long ago? Notes that it is now. Reader. */
bool mtaio__memo_missed(struct memo *memo, const struct topic *topic);

/* If it is worth it, and there is memory. */
void mtaio__memo_put(struct memo *memo, struct reclaimer *r, const struct topic *topic,
                     struct member *const *members, size_t count);

/* What a change of the valid pattern may make wrong: of a name its hash, else how a name must look like. */
uint64_t mtaio__memo_mark(const char *pattern);
void mtaio__memo_prefetch(const struct memo *memo, uint64_t mark); /* it is about to be forgotten */
void mtaio__memo_forget(struct memo *memo, struct reclaimer *r, uint64_t mark);

#endif
