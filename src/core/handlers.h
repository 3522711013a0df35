/* handlers.h - who listens to what: listeners, in lanes by priority, on nodes by name and pattern.
 *
 * A node stands for one name or pattern of one emitter. A name's lanes are already merged: they hold the
 * handlers registered for exactly that name and those of every pattern that matches it, each lane in the
 * order of registration, so that an emission of a known name is one walk over arrays. A pattern's lanes hold
 * its own handlers only.
 *
 * Everything here is written under the family's lock and read by emissions under a pin (reclaim.h). A lane is
 * only ever appended to; a handler that is removed leaves NULL in its place; a full lane is replaced by a
 * copy. */
#ifndef MTAIO_SRC_HANDLERS_H
#define MTAIO_SRC_HANDLERS_H

#include <mtaio/emitter.h>

#include "base/hash.h"
#include "core/fork.h"
#include "core/topic.h"

/* Emitters derived from each other, directly or not, are one family: one lock, one clock, so that one pin
 * covers an emission through all of them. */
struct family {
    struct reclaimer reclaimer;
    struct forkable forkable;
    os_mutex lock;
    ATOMIC(uint32_t) holds; /* one for each emitter, listener handle and pending sweep */
    struct listener *gone_listeners;
    struct retired *gone_nodes;
    struct retired *gone_emitters;
    struct mtaio_deferral *parked; /* deferrals an emission rests on */
    ATOMIC(uint32_t) members;      /* emitters; the last to be freed takes the trouble context with it */
    void (*trouble)(const mtaio_trouble *trouble, void *ctx);
    void (*destroy)(void *ctx);
    void *ctx;
    ATOMIC(mtaio_emitter *) letting_go; /* emitters that are to be unreferenced, without the lock */
};
/* Unlocks, after freeing what was retired, if there is nobody that could still be reading: only plain memory,
 * for nothing of the user's runs under the lock. The rest is mtaio__after_removing's. */
void mtaio__family_unlock(struct family *f);
void mtaio__family_hold(struct family *f);
void mtaio__family_drop(struct family *f);

/* In the order in which they run. DERIVED: filters, maps, buffers, pipes. */
enum rank { RANK_HIGHEST, RANK_HIGH, RANK_NORMAL, RANK_LOW, RANK_LOWEST, RANK_DERIVED, RANK_MONITOR, RANKS };

enum { L_MORE = 1, L_ONCE = 2 };

/* A registration. 40 bytes where nothing special was asked for. */
struct listener {
    ATOMIC(mtaio_call) call; /* NULL: removed */
    void *ctx;               /* what call is given; for our own calls the listener itself */
    union {
        struct node *node;     /* where it is registered */
        struct listener *next; /* once removed: the list of those gone */
    };
    uint64_t order; /* clock << 16 | rank << 8 | flags */
    uint32_t index; /* in its node's lane */
    uint32_t when;  /* once gone: as in struct retired */
};

/* What follows it with L_MORE. */
struct listener_more {
    mtaio_call call; /* the user's, where listener.call is one of ours */
    void *ctx;       /* the user's */
    void (*destroy)(void *ctx);
    mtaio_executor *executor;
    struct mtaio_listener *handle; /* the user's reference to it; family's lock */
    bool ended;                    /* destroy has run */
    struct node *target;           /* of a link: the derived emitter's node of the same pattern */
};

static inline uint64_t listener_seq(const struct listener *l) { return l->order >> 16; }
static inline enum rank listener_rank(const struct listener *l) { return (enum rank)(l->order >> 8 & 0xff); }
static inline struct listener_more *listener_more(const struct listener *l) {
    return l->order & L_MORE ? (struct listener_more *)(l + 1) : NULL;
}

/* As the user gave them. */
static inline mtaio_call listener_user_call(const struct listener *l) {
    const struct listener_more *m = listener_more(l);
    return m ? m->call : load_relaxed(&l->call);
}
static inline void *listener_user_ctx(const struct listener *l) {
    const struct listener_more *m = listener_more(l);
    return m ? m->ctx : l->ctx;
}

struct lane {
    ATOMIC(struct lane *) next; /* of a later rank */
    ATOMIC(uint32_t) count;
    uint8_t rank;
    uint8_t inside; /* it is part of its node: room for one */
};
static inline ATOMIC(struct listener *) *lane_entries(const struct lane *lane) {
    return (ATOMIC(struct listener *) *)(uintptr_t)(lane + 1);
}

struct lane_block { /* a lane on its own */
    union {
        struct block block;
        struct lane_index *index; /* until it retires; NULL: there is none. Family's lock */
    };
    uint32_t capacity;
    uint32_t dead; /* entries that are NULL */
    struct lane lane;
};

enum { NODE_PATTERN = 1, NODE_DERIVED = 2, NODE_ERROR = 4 }; /* fixed */
enum { MARK_INNER_USED = 1, MARK_REPORTED = 2 };             /* the inner lane; too many listeners */

struct node {
    union {
        struct retired retired;
        struct {
            uint32_t refs;  /* resolved names */
            uint32_t links; /* of derived emitters */
            uint32_t birth; /* as in retired */
            uint32_t handlers;
        };
    };
    ATOMIC(struct lane *) lanes;
    uint16_t length;
    uint8_t flags;
    uint8_t marks; /* MARK_...; family's lock */
    /* The inner lane, then the name with its NUL. With NODE_DERIVED a pointer to the link in the source
     * stands before the node. */
    struct lane first;
};
_Static_assert(offsetof(struct node, retired.birth) == offsetof(struct node, birth),
               "birth stays when it retires");

static inline char *node_name(const struct node *n) { return (char *)(n + 1) + sizeof(struct listener *); }
static inline struct listener **node_link(struct node *n) { return (struct listener **)(void *)n - 1; }

/* The listener that is alone in a node, in the lane within it; NULL: it is not so simple. The clock was read
 * before, and is to be looked at again before anything of the listener is. Never of "error". */
static inline struct listener *only_listener(struct node *n) {
    if (unlikely(load_acquire(&n->lanes) != &n->first) || unlikely(load_acquire(&n->first.next))) return NULL;
    return load_acquire(lane_entries(&n->first));
}

/* The table of an emitter's nodes, by name or pattern. Seven nodes to a cache line; a full bucket counts the
 * nodes that passed on to the next, so that removing leaves no marks. Replaced by a copy when it gets too
 * full. */
#define BUCKET_SLOTS 7
struct bucket {
    /* A byte of the hash for each slot, the first lowest, right only where node is not NULL; then the count. */
    ATOMIC(uint64_t) tags;
    ATOMIC(struct node *) node[BUCKET_SLOTS];
};
struct table {
    struct block block;
    uint32_t mask; /* buckets - 1 */
    uint32_t used;
    struct bucket *buckets; /* on a cache line */
};

static inline uint64_t bucket_passed(uint64_t tags) { return tags >> BUCKET_SLOTS * 8; }
static inline uint64_t table_tag(uint64_t hash) { return hash >> 56; }

/* Not 0: the highest bit of the byte of the first slot that has the tag, and of some others that may have it. */
static inline uint64_t bucket_equal(uint64_t tags, uint64_t tag) {
    const uint64_t ones = UINT64_C(0x0001010101010101);
    uint64_t differ = tags ^ tag * ones;
    return (differ - ones) & ~differ & ones * 0x80;
}
static inline struct node *bucket_first(const struct bucket *b, uint64_t equal) {
    return load_acquire(&b->node[__builtin_ctzll(equal) / 8]); /* pairs with table_insert */
}

/* A reader under a pin, or the lock. NULL: not there. */
struct node *mtaio__table_find(const struct table *t, const char *name, size_t length, uint64_t hash);

/* The same for a usual name: what is where it is looked for first, as most are, is found without a call. */
static inline struct node *table_look(const struct table *t, const char *name, size_t length, uint64_t hash) {
    const struct bucket *b = &t->buckets[(uint32_t)hash & t->mask];
    uint64_t tags = load_relaxed(&b->tags), equal = bucket_equal(tags, table_tag(hash));
    if (equal == 0 && likely(bucket_passed(tags) == 0)) return NULL;
    if (likely(equal != 0)) {
        struct node *n = bucket_first(b, equal);
        if (likely(n != NULL) && likely(n->length == length) &&
            likely(hash_is_same(node_name(n), name, length)))
            return n;
    }
    return mtaio__table_find(t, name, length, hash);
}

/* The same lock for all that follows. Makes sure that one more node goes in: 0 or ENOMEM. */
int mtaio__table_reserve(ATOMIC(struct table *) *table, struct reclaimer *r);
void mtaio__table_insert(struct table *t, struct node *n, uint64_t hash);
void mtaio__table_remove(ATOMIC(struct table *) *table, struct node *n, uint64_t hash, struct reclaimer *r);

/* Walks the nodes: *at begins with 0; NULL at the end. */
struct node *mtaio__table_next(const struct table *t, uint32_t *at);

struct node *mtaio__node_new(const struct reclaimer *r, const char *name, size_t length, unsigned flags);
void mtaio__node_free(struct node *n);
void mtaio__node_retire(struct family *f, struct node *n); /* with its lanes */
void mtaio__node_clear(struct family *f, struct node *n);  /* of its lanes */

/* The link to the derived emitter among the node's; NULL: none. Substituting keeps the place. */
struct listener *mtaio__node_link_to(struct node *n, const mtaio_emitter *derived);
void mtaio__node_substitute(struct node *n, struct listener *old, struct listener *l);

/* Room for one more of the rank: 0 or ENOMEM. Then appending cannot fail. */
int mtaio__node_reserve(struct family *f, struct node *n, enum rank rank);
void mtaio__node_append(struct node *n, struct listener *l);
void mtaio__node_erase(struct family *f, struct node *n, struct listener *l); /* if it is there */

/* The last of the node's own in its lane with this call and ctx; call NULL: the last at all. *at begins with
 * the lane's count, for what was found is unregistered before the next is looked for. One call of a long lane
 * takes time in proportion to what was added since the last, if there is memory for that. Not after the
 * node's last. */
struct listener *mtaio__lane_find(const struct node *n, struct lane *lane, mtaio_call call, const void *ctx,
                                  uint32_t *at);

struct listener *mtaio__listener_new(const mtaio_handler *h, mtaio_call call, enum rank rank, bool more);
void mtaio__listener_free(struct listener *l); /* the memory only */

/* --- Emitters ---------------------------------------------------------------------------------- */

/* What makes an emission leave the short path. */
enum { EM_CLOSED = 1, EM_HOOKED = 2, EM_SUPPRESSED = 4, EM_FENCED = 8 /* light fences are not light here */ };

struct mtaio_emitter {
    struct family *family;
    ATOMIC(struct table *) table; /* the names */
    struct table *pattern_table;  /* the patterns, by their text; family's lock */
    topics patterns;              /* pattern -> node */
    ATOMIC(unsigned) unusual;
    ATOMIC(struct node *) hooks; /* a node without a name: its handlers are hooks */
    ATOMIC(uint32_t) refs;

    /* Guarded by the family's lock: */
    size_t handlers;   /* registered, hooks and links not counted */
    size_t population; /* registered, links included */
    bool held;         /* a derived emitter with a population and a source has a reference of its own */
    bool keeps_source; /* it has a reference to its source: that is derived too, and itself has a source */
    bool letting_go;   /* on the family's list: references are to be dropped */
    uint32_t owed;     /* how many, but for its own */
    size_t links_up;   /* nodes that have a link in the source */
    mtaio_emitter *next_letting_go;
    struct node *idle; /* one node without handlers is kept: the next to be registered may be the same */
    mtaio_emitter *source, *first_derived, *next_derived, *prev_derived;
    struct mtaio_suppression *suppressed; /* the oldest first */
    struct delayed *delayed;              /* emissions to come */
    size_t max_listeners;

    /* Fixed: */
    uint64_t born;                 /* the family's clock then: the order of derived emitters */
    struct derivation *derivation; /* what stands between source and this; NULL: nothing */
    unsigned level;                /* how many sources there are */
    char *name;
    struct retired retired;
};

/* All nodes of an emitter, names first. *walk begins as NODES_OF(em), and is not upset by removing. Family's
 * lock. */
struct nodes {
    const struct table *table, *then;
    uint32_t at;
};
#define NODES_OF(em) ((struct nodes){.table = load_relaxed(&(em)->table), .then = (em)->pattern_table})
static inline struct node *nodes_next(struct nodes *walk) {
    struct node *n = mtaio__table_next(walk->table, &walk->at);
    if (n || !walk->then) return n;
    *walk = (struct nodes){.table = walk->then};
    return mtaio__table_next(walk->table, &walk->at);
}

/* A link stands in the source's lanes for a derived emitter that listens to the same pattern. */
static inline mtaio_emitter *listener_link(const struct listener *l) {
    const struct listener_more *m = listener_more(l);
    return m && m->target ? m->ctx : NULL;
}

/* What a registration is to its owner: not a link, and registered here, not merged in. */
static inline bool node_owns(const struct node *n, const struct listener *l) {
    return l->node == n && !listener_link(l);
}

static inline mtaio_emitter *retired_emitter(struct retired *r) {
    return (mtaio_emitter *)(void *)((char *)r - offsetof(struct mtaio_emitter, retired));
}

#endif
