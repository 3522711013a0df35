/* topic.h - names, patterns, and which patterns match a name: the one matcher of emitters and channels. */
#ifndef MTAIO_SRC_TOPIC_H
#define MTAIO_SRC_TOPIC_H

#include "core/reclaim.h"

/* A name that is asked for, valid or not. */
struct topic {
    const char *name;
    size_t length;
    uint64_t hash;
};

/* The length of a valid name / pattern, or MTAIO_ENAME / MTAIO_EPATTERN; NULL: MTAIO_EINVAL. Never reads
 * beyond the final NUL, nor beyond MTAIO_NAME_MAX + 1 bytes. ret_is_name may be NULL. */
int mtaio__name_check(const char *name);
int mtaio__name_refusal(const char *name, size_t length); /* whose length is known: 0, or MTAIO_ENAME */
int mtaio__pattern_check(const char *pattern, bool *ret_is_name);

/* Does the valid pattern match the valid name? No recursion, no allocation. It looks at a small multiple
 * of the segments that both have. Only where a long part between two "**" was made to differ late at every
 * place, it is a sixteenth of their product. */
bool mtaio__pattern_matches(const char *pattern, const char *name);

/* A set of patterns, each with one value. Writers hold the owner's lock, and tick its clock before they add.
 * Readers (topics_match) hold no lock, but a wide pin of the owner (reclaim.h): every block of the set begins
 * with a struct block, is made by mtaio__block_alloc, and when it is unlinked goes to mtaio__block_retire. */
typedef struct topics {
    ATOMIC(struct topic_table *) names; /* NULL: no pattern without '*' */
    ATOMIC(struct topic_table *) edges;
    ATOMIC(struct topic_node *) root; /* NULL: no pattern with '*' */
    ATOMIC(uint64_t) wildcards;       /* how many patterns with '*' have been added, ever */
    struct reclaimer *reclaimer;
} topics;

void mtaio__topics_init(topics *t, struct reclaimer *reclaimer);

/* Frees everything at once; no reader may be left. Values are the owner's business. */
void mtaio__topics_fini(topics *t);

/* The slot of the pattern's value, made (holding NULL) where it is not there; NULL: out of memory, nothing
 * changed. The pattern is valid. The slot stays where it is until the pattern is removed. Publish by
 * store_release. */
ATOMIC(void *) *mtaio__topics_add(topics *t, const char *pattern);

/* The slot of a pattern that is there, or NULL. Under the owner's lock. */
ATOMIC(void *) *mtaio__topics_find(const topics *t, const char *pattern);

/* Removes the pattern, if there, with whatever only it needed; that of a slot. Allocates nothing. */
void mtaio__topics_remove(topics *t, const char *pattern);
void mtaio__topics_remove_at(topics *t, ATOMIC(void *) *slot);

/* A match of this name is to come: where it begins to look may be far away in memory. A reader, or the owner. */
void mtaio__topics_prefetch(const topics *t, const struct topic *topic);

/* Calls visit(value) for each pattern that matches the valid name and has a value; a visit that answers false
 * ends the match. In no particular order, each pattern once. A pattern that is added or removed meanwhile may
 * or may not be among them. */
void mtaio__topics_match(const topics *t, const char *name, bool (*visit)(void *value, void *ctx), void *ctx);

#endif
