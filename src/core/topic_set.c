/* topic_set.c - the set of patterns that answers which of them match a name.
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
#include <string.h>

#include "base/hash.h"
#include "core/segment.h"
#include "core/topic.h"

/* --- Nodes and tables -------------------------------------------------------------------------- */

enum kind { WHOLE, ROOT, SEGMENT, STAR, DEEP, BACK_SEGMENT, BACK_STAR, TAIL };

struct topic_node {
    struct block block;
    struct topic_node *parent; /* of WHOLE and ROOT: NULL */
    ATOMIC(void *) value;      /* the owner's */

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
    ATOMIC(uint32_t) segments; /* how many children are literal. Relaxed, as `passed` of a bucket: what
                                * tells a reader of a child tells it of the count too */
    uint16_t length;
    uint8_t kind;
    bool present; /* a pattern of the set ends here, with a value or not yet; owner's lock */
    char text[];
};

struct key {
    struct topic_node *parent;
    const char *text;
    size_t length;
    enum kind kind;
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

static bool is_backward(const struct topic_node *node) { return node->kind >= DEEP; }
static bool is_literal(enum kind kind) { return kind == SEGMENT || kind == BACK_SEGMENT; }
static bool is_star(enum kind kind) { return kind == STAR || kind == BACK_STAR; }

static uint32_t key_hash(const struct key *k) {
    uint64_t h = mtaio__hash(k->text, k->length) ^ ((uint64_t)(uintptr_t)k->parent + k->kind);
    return (uint32_t)(h * UINT64_C(0x9E3779B97F4A7C15) >> 32); /* spreads the same text below many parents */
}

static bool key_is(const struct key *k, const struct topic_node *node) {
    return node->parent == k->parent && node->kind == k->kind && node->length == k->length &&
           memcmp(node->text, k->text, k->length) == 0;
}

static struct topic_node *table_find(const struct topic_table *table, const struct key *k, uint32_t hash) {
    if (!table) return NULL;
    for (size_t n = 0; n <= table->mask; n++) {
        const struct bucket *b = &table->buckets[(hash + n) & table->mask];
        for (int i = 0; i < PLACES; i++) {
            if (load_relaxed(&b->hash[i]) != hash) continue;
            struct topic_node *node = load_acquire(&b->node[i]); /* pairs with table_insert */
            if (node && key_is(k, node)) return node;
        }
        if (likely(load_relaxed(&b->passed) == 0)) break;
    }
    return NULL;
}

static struct topic_node *find(const topics *t, const struct key *k) {
    if (k->kind == ROOT) return load_acquire(&t->root); /* these three pair with node_add */
    if (k->kind == DEEP) return load_acquire(&k->parent->deep);
    if (is_star(k->kind)) return load_acquire(&k->parent->star);
    const struct topic_table *table = load_acquire(k->kind == WHOLE ? &t->names : &t->edges);
    return table_find(table, k, key_hash(k)); /* this one with table_fit */
}

/* --- Changing them, under the owner's lock ------------------------------------------------------ */

static bool is_in_table(enum kind kind) { return kind == WHOLE || is_literal(kind) || kind == TAIL; }

static ATOMIC(struct topic_table *) *table_of(topics *t, enum kind kind) {
    return kind == WHOLE ? &t->names : &t->edges;
}

static void add_to(ATOMIC(uint32_t) *count, int change) {
    store_relaxed(count, load_relaxed(count) + (uint32_t)change);
}

/* There is room. What a reader finds half stored belongs to a node that is just being added. */
static void table_insert(struct topic_table *table, uint32_t hash, struct topic_node *node) {
    table->used++;
    for (size_t at = hash;; at++) {
        struct bucket *b = &table->buckets[at & table->mask];
        for (int i = 0; i < PLACES; i++) {
            if (load_relaxed(&b->node[i])) continue;
            store_relaxed(&b->hash[i], hash);
            store_release(&b->node[i], node); /* pairs with table_find */
            return;
        }
        add_to(&b->passed, 1);
    }
}

static void table_remove(struct topic_table *table, uint32_t hash, const struct topic_node *node) {
    table->used--;
    for (size_t at = hash;; at++) {
        struct bucket *b = &table->buckets[at & table->mask];
        for (int i = 0; i < PLACES; i++) {
            if (load_relaxed(&b->node[i]) != node) continue;
            store_release(&b->node[i], NULL);
            return;
        }
        add_to(&b->passed, -1);
    }
}

static struct topic_table *table_new(const topics *t, size_t buckets) {
    size_t bytes = buckets * sizeof(struct bucket);
    struct topic_table *table = mtaio__block_alloc(t->reclaimer, sizeof *table + LINE + bytes);
    if (!table) return NULL;
    table->mask = buckets - 1;
    table->used = 0;
    table->buckets = (struct bucket *)(((uintptr_t)(table + 1) + LINE - 1) & ~(uintptr_t)(LINE - 1));
    memset(table->buckets, 0, bytes);
    return table;
}

/* The table, with room for one more node: replaced where four fifths are full, or far too little. NULL: out
 * of memory. */
static struct topic_table *table_fit(topics *t, ATOMIC(struct topic_table *) *at) {
    struct topic_table *old = load_relaxed(at);
    size_t used = old ? old->used : 0, buckets = 1;
    if (old && used < (old->mask + 1) * 4 && used >= (old->mask + 1) / 4) return old;
    while (buckets * 2 < used) buckets *= 2;
    struct topic_table *table = table_new(t, buckets);
    if (!table) return NULL;
    for (size_t i = 0; old && i <= old->mask; i++)
        for (int j = 0; j < PLACES; j++) {
            struct topic_node *node = load_relaxed(&old->buckets[i].node[j]);
            if (node) table_insert(table, load_relaxed(&old->buckets[i].hash[j]), node);
        }
    store_release(at, table); /* pairs with find and topics_match */
    if (old) mtaio__block_retire(t->reclaimer, &old->block);
    return table;
}

static void list_tail(struct topic_node *tail) {
    struct topic_node *first = load_relaxed(&tail->parent->tails);
    tail->next = first;
    if (first) first->previous = tail;
    store_release(&tail->parent->tails, tail); /* pairs with show_node */
}

/* The tail's own next stays as it is: a reader may stand here. */
static void unlist_tail(const struct topic_node *tail) {
    struct topic_node *next = load_relaxed(&tail->next);
    if (next) next->previous = tail->previous;
    store_release(tail->previous ? &tail->previous->next : &tail->parent->tails, next);
}

static struct topic_node *node_new(const topics *t, const struct key *k) {
    struct topic_node *node = mtaio__block_alloc(t->reclaimer, sizeof *node + k->length + 1);
    if (!node) return NULL;
    node->parent = k->parent;
    node->value = NULL;
    node->star = NULL;
    node->deep = NULL; /* for a TAIL previous */
    node->segments = 0;
    node->length = (uint16_t)k->length;
    node->kind = (uint8_t)k->kind;
    node->present = false;
    memcpy(node->text, k->text, k->length);
    node->text[k->length] = '\0';
    return node;
}

/* NULL: out of memory. */
static struct topic_node *node_add(topics *t, const struct key *k) {
    struct topic_node *node = node_new(t, k);
    if (!node) return NULL;
    if (is_in_table(k->kind)) {
        struct topic_table *table = table_fit(t, table_of(t, k->kind));
        if (!table) {
            mtaio__block_free(&node->block);
            return NULL;
        }
        table_insert(table, key_hash(k), node);
    }
    if (k->kind == ROOT) store_release(&t->root, node); /* these three pair with find */
    if (k->kind == DEEP) store_release(&k->parent->deep, node);
    if (is_star(k->kind)) store_release(&k->parent->star, node);
    if (is_literal(k->kind)) add_to(&k->parent->segments, 1);
    if (k->kind == TAIL) list_tail(node);
    return node;
}

static void node_remove(topics *t, struct topic_node *node) {
    const struct key k = {node->parent, node->text, node->length, node->kind};
    if (k.kind == ROOT) store_release(&t->root, NULL);
    if (k.kind == DEEP) store_release(&k.parent->deep, NULL);
    if (is_star(k.kind)) store_release(&k.parent->star, NULL);
    if (is_literal(k.kind)) add_to(&k.parent->segments, -1);
    if (k.kind == TAIL) unlist_tail(node);
    if (is_in_table(k.kind)) {
        ATOMIC(struct topic_table *) *at = table_of(t, k.kind);
        struct topic_table *table = load_relaxed(at);
        table_remove(table, key_hash(&k), node);
        if (table->used == 0) {
            store_release(at, NULL);
            mtaio__block_retire(t->reclaimer, &table->block);
        }
    }
    mtaio__block_retire(t->reclaimer, &node->block);
}

static bool is_needed(const struct topic_node *node) {
    if (node->present || node->kind == TAIL) return node->present;
    return load_relaxed(&node->star) || load_relaxed(&node->deep) /* or tails */ ||
           load_relaxed(&node->segments) != 0;
}

/* Removes the node and those above it that serve no pattern. */
static void prune(topics *t, struct topic_node *node) {
    while (node && !is_needed(node)) {
        struct topic_node *parent = node->parent;
        node_remove(t, node);
        node = parent;
    }
}

/* --- The set ----------------------------------------------------------------------------------- */

void mtaio__topics_init(topics *t, struct reclaimer *reclaimer) {
    *t = (topics){.reclaimer = reclaimer};
}

/* Frees the node and those below it that are in no table. What is below a DEEP has no other DEEP below. */
static void free_node(struct topic_node *node) {
    while (node) {
        struct topic_node *star = node->kind == TAIL ? NULL : load_relaxed(&node->star);
        if (!is_backward(node)) free_node(load_relaxed(&node->deep));
        mtaio__block_free(&node->block);
        node = star;
    }
}

static void free_table(struct topic_table *table) {
    if (!table) return;
    for (size_t i = 0; i <= table->mask; i++)
        for (int j = 0; j < PLACES; j++) free_node(load_relaxed(&table->buckets[i].node[j]));
    mtaio__block_free(&table->block);
}

void mtaio__topics_fini(topics *t) {
    free_table(load_relaxed(&t->names));
    free_table(load_relaxed(&t->edges));
    free_node(load_relaxed(&t->root));
    mtaio__topics_init(t, t->reclaimer);
}

/* What is left of a pattern or name between two places: whole segments, each with its '.' or NUL. */
struct rest {
    const char *left, *right;
};

static const char *first_end(const struct rest *r) { return segment_end(r->left); }

static const char *last_begin(const struct rest *r) {
    SEGMENT_STEP();
    const char *s = r->right - 1;
    while (s > r->left && s[-1] != '.') s--;
    return s;
}

static struct key first_key(const char *pattern) {
    bool is_name = !strchr(pattern, '*');
    return (struct key){NULL, pattern, is_name ? strlen(pattern) : 0, is_name ? WHOLE : ROOT};
}

/* The key of the next node on the way of a pattern; false: the way ends at node. *rest is what is left of the
 * pattern; from DEEP on it begins with the first "**". */
static bool next_key(struct rest *rest, struct topic_node *node, struct key *ret) {
    const char *begin = rest->left, *end;
    if (node->kind == WHOLE || node->kind == TAIL || begin == rest->right) return false;
    if (node->kind == ROOT && strcmp(begin, "*") == 0) return false;
    *ret = (struct key){.parent = node, .text = begin, .kind = DEEP};
    if (!is_backward(node)) {
        if (is_deep(begin)) return true;
        end = first_end(rest);
        rest->left = end + 1;
        ret->kind = *begin == '*' ? STAR : SEGMENT;
    } else {
        begin = last_begin(rest);
        if (begin == rest->left) return false;
        end = rest->right - 1;
        rest->right = begin;
        ret->kind = is_deep(begin) ? TAIL : *begin == '*' ? BACK_STAR : BACK_SEGMENT;
        if (ret->kind == TAIL) {
            begin = rest->left;
            end = begin + strlen(begin);
        }
    }
    ret->text = begin;
    ret->length = (size_t)(end - begin);
    return true;
}

ATOMIC(void *) *mtaio__topics_add(topics *t, const char *pattern) {
    struct rest rest = {pattern, pattern + strlen(pattern) + 1};
    struct key k = first_key(pattern);
    struct topic_node *node = NULL;
    do {
        struct topic_node *child = find(t, &k);
        if (!child) child = node_add(t, &k);
        if (!child) {
            prune(t, node);
            return NULL;
        }
        node = child;
    } while (next_key(&rest, node, &k));
    node->present = true;
    return &node->value;
}

void mtaio__topics_remove(topics *t, const char *pattern) {
    struct rest rest = {pattern, pattern + strlen(pattern) + 1};
    struct key k = first_key(pattern);
    struct topic_node *node;
    do {
        node = find(t, &k);
        if (!node) return;
    } while (next_key(&rest, node, &k));
    node->present = false;
    store_release(&node->value, NULL);
    prune(t, node);
}

/* --- Matching a set ---------------------------------------------------------------------------- */

struct match {
    const topics *set;
    const char *name, *end; /* behind its NUL */
    struct rest rest;       /* what the way to the node has not taken of it */
    bool (*visit)(void *value, void *ctx);
    void *ctx;
};

/* These answer false where a visit ends the match. */
static bool show(const struct match *m, const struct topic_node *node) {
    void *value = load_acquire(&node->value); /* pairs with the owner's store */
    return !value || m->visit(value, m->ctx);
}

static bool show_node(const struct match *m, const struct topic_node *node) {
    const struct rest *r = &m->rest;
    if (!is_backward(node)) return r->left < r->right || show(m, node);
    if (!show(m, node)) return false;
    const char *rest = r->left < m->end ? r->left : "";
    const struct topic_node *tail = load_acquire(&node->tails); /* pairs with list_tail, unlist_tail */
    for (; tail; tail = load_acquire(&tail->next))
        if (mtaio__pattern_matches(tail->text, rest) && !show(m, tail)) return false;
    return true;
}

static struct topic_node *literal_child(const struct match *m, struct topic_node *node) {
    const struct rest *r = &m->rest;
    if (load_relaxed(&node->segments) == 0) return NULL;
    bool backward = is_backward(node);
    const char *begin = backward ? last_begin(r) : r->left, *end = backward ? r->right - 1 : first_end(r);
    struct key k = {node, begin, (size_t)(end - begin), backward ? BACK_SEGMENT : SEGMENT};
    return find(m->set, &k);
}

/* The first child on the name's way, or the first behind `after`: literal segment, then "*", then "**". */
static struct topic_node *next_child(const struct match *m, struct topic_node *node,
                                     const struct topic_node *after) {
    struct topic_node *child = NULL;
    if (m->rest.left < m->rest.right) {
        if (!after) child = literal_child(m, node);
        if (!child && (!after || is_literal(after->kind))) child = load_acquire(&node->star);
    }
    if (!child && !is_backward(node) && (!after || after->kind != DEEP)) child = load_acquire(&node->deep);
    return child;
}

/* To a child, and back: takes its segment from the rest of the name, or gives it back. */
static void enter(struct match *m, const struct topic_node *child) {
    struct rest *r = &m->rest;
    if (child->kind == SEGMENT || child->kind == STAR) r->left = first_end(r) + 1;
    if (child->kind == BACK_SEGMENT || child->kind == BACK_STAR) r->right = last_begin(r);
}

static void leave(struct match *m, const struct topic_node *child) {
    struct rest *r = &m->rest;
    if (child->kind == SEGMENT || child->kind == STAR) r->left = last_begin(&(struct rest){m->name, r->left});
    if (child->kind == BACK_SEGMENT || child->kind == BACK_STAR) r->right = segment_end(r->right) + 1;
}

/* Depth first; the way back is found by the parents. */
static bool walk(struct match *m) {
    struct topic_node *node = load_acquire(&m->set->root), *after = NULL; /* pairs with node_add */
    if (node && !show(m, node)) return false;
    while (node) {
        struct topic_node *child = next_child(m, node, after);
        if (child) {
            enter(m, child);
            if (!show_node(m, child)) return false;
            node = child;
            after = NULL;
        } else {
            leave(m, node);
            after = node;
            node = node->parent;
        }
    }
    return true;
}

void mtaio__topics_match(const topics *t, const char *name, bool (*visit)(void *value, void *ctx),
                         void *ctx) {
    size_t length = strlen(name);
    const struct topic_table *names = load_acquire(&t->names); /* pairs with table_fit */
    const struct key whole = {NULL, name, length, WHOLE};
    uint32_t hash = key_hash(&whole);
    if (names) __builtin_prefetch(&names->buckets[hash & names->mask]); /* comes while we walk */

    const char *end = name + length + 1;
    struct match m = {t, name, end, {name, end}, visit, ctx};
    if (!walk(&m)) return;
    const struct topic_node *node = table_find(names, &whole, hash);
    if (node) show(&m, node);
}
