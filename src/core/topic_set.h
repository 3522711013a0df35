/* topic_set.h - what a set of patterns is made of: for topic_set.c, which changes it, and topic_match.c.
 *
 * A pattern without '*' is one WHOLE node, found at once in the hash table `names`. The others are ways
 * through a trie over segments: from the pattern's start forward to its first "**", then from its end
 * backward to its last "**". What stands between is left to the matcher of single patterns. Kinds of node:
 *
 *     ROOT                     where the ways begin, and the pattern "*" alone ends
 *     SEGMENT, STAR            a literal segment, "*", from the left
 *     DEEP                     the first "**": below it the rest of the name is read from its end
 *     BACK_SEGMENT, BACK_STAR  a literal segment, "*", from the right
 *     TAIL                     a pattern with a second "**": all from the first one on, to be matched
 *
 * So the way of "a.*.c" is SEGMENT a, STAR, SEGMENT c; of "a.**.b.*" it is SEGMENT a, DEEP, BACK_STAR,
 * BACK_SEGMENT b; of "a.**.b.**.c" it is SEGMENT a, DEEP, BACK_SEGMENT c, TAIL "**.b.**.c". Edges to literal
 * segments and tails are in one hash table for the whole trie, `edges`, keyed by (parent, kind, text); a node
 * points at its other children, of which there is one of a kind.
 *
 * Readers follow pointers without a lock. A node's key and parent never change, an unlinked node has no child
 * left, and what is unlinked stays readable until the readers' pins are gone. A full table is replaced by a
 * copy. */
#ifndef MTAIO_SRC_TOPIC_SET_H
#define MTAIO_SRC_TOPIC_SET_H

#include "core/segment.h"
#include "core/topic.h"

enum kind { WHOLE, ROOT, SEGMENT, STAR, DEEP, BACK_SEGMENT, BACK_STAR, TAIL };

/* Then its text. A WHOLE node, of which there are most, ends after `present`: it has none, and no child. It remembers
 * that no pattern with '*' matches it, until one more is added. */
struct topic_node {
    struct block block;
    ATOMIC(void *) value; /* the owner's */
    union {
        ATOMIC(uint64_t) segments; /* how many children are literal. Relaxed, as `passed` of a bucket: what
                                    * tells a reader of a child tells it of the count too */
        ATOMIC(uint64_t) alone;    /* of a WHOLE: 1 more than `wildcards` of the set was, when none of them matched */
    };
    uint16_t length; /* of the text, which has a final NUL too */
    uint8_t kind;
    ATOMIC(bool) present; /* a pattern of the set ends here, with a value or not yet; written with the owner's lock */

    struct topic_node *parent; /* of ROOT: NULL */

    /* Stored under the owner's lock; each release pairs with the readers' acquire. */
    union {
        ATOMIC(struct topic_node *) star;
        ATOMIC(struct topic_node *) next; /* of a TAIL: the next of its parent */
    };
    union {
        ATOMIC(struct topic_node *) deep;
        ATOMIC(struct topic_node *) tails; /* from DEEP on */
        struct topic_node *previous;       /* of a TAIL; owner's lock */
    };
};

static inline bool is_backward(const struct topic_node *node) { return node->kind >= DEEP; }
static inline bool is_literal(enum kind kind) { return kind == SEGMENT || kind == BACK_SEGMENT; }

static inline size_t node_bytes(enum kind kind) {
    return kind == WHOLE ? offsetof(struct topic_node, present) + 1 : sizeof(struct topic_node);
}
static inline const char *node_text(const struct topic_node *node) {
    return (const char *)node + node_bytes((enum kind)node->kind);
}

/* --- Finding ----------------------------------------------------------------------------------- */

struct key {
    struct topic_node *parent; /* NULL: of a WHOLE or ROOT */
    const char *text;
    size_t length;
    enum kind kind;
    uint64_t hash; /* of the text */
};

/* One cache line. A node is in the bucket its hash says or, if that was full, in the next that was not. */
enum { PLACES = 5, LINE = 64 };
struct bucket {
    ATOMIC(uint32_t) hash[PLACES]; /* of the node, where there is one */
    ATOMIC(uint32_t) passed;       /* nodes that passed this bucket by: of none, none is further on */
    ATOMIC(struct topic_node *) node[PLACES];
};

struct topic_table {
    struct block block;
    size_t mask; /* buckets - 1 */
    size_t used; /* nodes; owner's lock */
    struct bucket *buckets;
};

static inline uint32_t key_hash(const struct key *k) {
    uint64_t h = k->hash ^ ((uint64_t)(uintptr_t)k->parent + k->kind);
    return (uint32_t)(h * UINT64_C(0x9E3779B97F4A7C15) >> 32); /* spreads the same text below many parents */
}

/* By its key, and the hash of that. table may be NULL. */
struct topic_node *mtaio__topic_find(const struct topic_table *table, const struct key *k, uint32_t hash);

/* --- What is left of a pattern or name between two places: whole segments, each with its '.' or NUL. --- */

struct rest {
    const char *left, *right;
};

static inline const char *first_end(const struct rest *r) { return segment_end(r->left); }

static inline const char *last_begin(const struct rest *r) {
    SEGMENT_STEP();
    const char *s = r->right - 1;
    while (s > r->left && s[-1] != '.') s--;
    return s;
}

#endif
