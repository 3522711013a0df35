/* topic_match.c - which patterns of a set match a name. */
#include <string.h>

#include "base/hash.h"
#include "core/topic_set.h"

static bool key_is(const struct key *k, const struct topic_node *node) {
    return node->kind == k->kind && node->length == k->length &&
           (k->kind == WHOLE || node->parent == k->parent) &&
           memcmp((const char *)node + node_bytes(k->kind), k->text, k->length) == 0;
}

struct topic_node *mtaio__topic_find(const struct topic_table *table, const struct key *k, uint32_t hash) {
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

/* --- The walk ---------------------------------------------------------------------------------- */

enum { KNOWN_MAX = 16 };
struct match {
    const struct topic_table *edges;
    const char *name, *end; /* behind its NUL */
    bool (*visit)(void *value, void *ctx);
    void *ctx;
    bool matched; /* a pattern */

    /* What the way to the node has not taken of the name, and the numbers of the segments it begins and ends
     * with, if known. */
    struct rest rest;
    unsigned left, right;

    /* Where the segments begin, and their hashes; 0 known: they are too many, and looked for as we go. */
    unsigned known;
    const char *begin[KNOWN_MAX + 1];
    uint64_t hash[KNOWN_MAX];
};

static void learn(struct match *m) {
    const char *s = m->name;
    unsigned n = 0;
    for (; s < m->end && n < KNOWN_MAX; n++) {
        const char *end = segment_end(s);
        m->begin[n] = s;
        m->hash[n] = mtaio__hash(s, (size_t)(end - s));
        s = end + 1;
    }
    m->begin[n] = s;
    m->known = s == m->end ? n : 0;
    m->left = 0;
    m->right = m->known;
}

/* These answer false where a visit ends the match. */
static bool show(struct match *m, const struct topic_node *node) {
    void *value = load_acquire(&node->value); /* pairs with the owner's store */
    if (value || load_relaxed(&node->present)) m->matched = true;
    return !value || m->visit(value, m->ctx);
}

static bool show_node(struct match *m, const struct topic_node *node) {
    const struct rest *r = &m->rest;
    if (!is_backward(node)) return r->left < r->right || show(m, node);
    if (!show(m, node)) return false;
    const char *rest = r->left < m->end ? r->left : "";
    const struct topic_node *tail = load_acquire(&node->tails); /* pairs with list_tail, unlist_tail */
    for (; tail; tail = load_acquire(&tail->next))
        if (mtaio__pattern_matches(node_text(tail), rest) && !show(m, tail)) return false;
    return true;
}

static struct key literal_key(const struct match *m, struct topic_node *node) {
    const struct rest *r = &m->rest;
    bool backward = is_backward(node);
    enum kind kind = backward ? BACK_SEGMENT : SEGMENT;
    if (likely(m->known)) {
        unsigned i = backward ? m->right - 1 : m->left;
        const char *begin = m->begin[i];
        return (struct key){node, begin, (size_t)(m->begin[i + 1] - 1 - begin), kind, m->hash[i]};
    }
    const char *begin = backward ? last_begin(r) : r->left, *end = backward ? r->right - 1 : first_end(r);
    size_t length = (size_t)(end - begin);
    return (struct key){node, begin, length, kind, mtaio__hash(begin, length)};
}

static struct topic_node *literal_child(const struct match *m, struct topic_node *node) {
    if (load_relaxed(&node->segments) == 0) return NULL;
    const struct key k = literal_key(m, node);
    return mtaio__topic_find(m->edges, &k, key_hash(&k));
}

/* The first child on the name's way, or the first behind `after`: literal segment, then "*", then "**". */
static struct topic_node *next_child(const struct match *m, struct topic_node *node,
                                     const struct topic_node *after) {
    struct topic_node *child = NULL;
    if (m->rest.left < m->rest.right) {
        if (!after) child = literal_child(m, node);
        if (!child && (!after || is_literal((enum kind)after->kind))) child = load_acquire(&node->star);
    }
    if (!child && !is_backward(node) && (!after || after->kind != DEEP)) child = load_acquire(&node->deep);
    return child;
}

/* To a child, and back: takes its segment from the rest of the name, or gives it back. */
static void enter(struct match *m, const struct topic_node *child) {
    struct rest *r = &m->rest;
    if (child->kind == SEGMENT || child->kind == STAR) {
        m->left++;
        r->left = m->known ? m->begin[m->left] : first_end(r) + 1;
    } else if (child->kind == BACK_SEGMENT || child->kind == BACK_STAR) {
        m->right--;
        r->right = m->known ? m->begin[m->right] : last_begin(r);
    }
}

static void leave(struct match *m, const struct topic_node *child) {
    struct rest *r = &m->rest;
    if (child->kind == SEGMENT || child->kind == STAR) {
        m->left--;
        r->left = m->known ? m->begin[m->left] : last_begin(&(struct rest){m->name, r->left});
    } else if (child->kind == BACK_SEGMENT || child->kind == BACK_STAR) {
        m->right++;
        r->right = m->known ? m->begin[m->right] : segment_end(r->right) + 1;
    }
}

/* Depth first; the way back is found by the parents. */
static bool walk(struct match *m, struct topic_node *root) {
    struct topic_node *node = root, *after = NULL;
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

/* The patterns with '*'. *ret_matched: is there any that matches? */
static bool match_wildcards(const topics *t, const char *name, size_t length,
                            bool (*visit)(void *value, void *ctx), void *ctx, bool *ret_matched) {
    struct topic_node *root = load_acquire(&t->root); /* pairs with node_add */
    struct match m;                                   /* not all of it is used */
    *ret_matched = false;
    if (!root) return true;
    m.edges = load_acquire(&t->edges); /* pairs with table_fit */
    m.name = name;
    m.end = name + length + 1;
    m.visit = visit;
    m.ctx = ctx;
    m.matched = false;
    m.rest = (struct rest){name, m.end};
    learn(&m);
    bool goes_on = walk(&m, root);
    *ret_matched = m.matched;
    return goes_on;
}

void mtaio__topics_prefetch(const topics *t, const struct topic *topic) {
    const struct topic_table *names = load_acquire(&t->names); /* pairs with table_fit */
    const struct key whole = {
        .text = topic->name, .length = topic->length, .kind = WHOLE, .hash = topic->hash};
    if (names) __builtin_prefetch(&names->buckets[key_hash(&whole) & names->mask]);
}

void mtaio__topics_match(const topics *t, const char *name, bool (*visit)(void *value, void *ctx),
                         void *ctx) {
    size_t length = strlen(name);
    uint64_t wildcards = load_acquire(&t->wildcards);          /* pairs with topics_add */
    const struct topic_table *names = load_acquire(&t->names); /* pairs with table_fit */
    struct topic_node *node = NULL;
    bool matched;
    if (names) {
        const struct key whole = {NULL, name, length, WHOLE, mtaio__hash(name, length)};
        node = mtaio__topic_find(names, &whole, key_hash(&whole));
    }
    void *value = node ? load_acquire(&node->value) : NULL; /* pairs with the owner's store */
    if (value && !visit(value, ctx)) return;
    if (node && load_relaxed(&node->alone) == wildcards + 1) return;
    if (match_wildcards(t, name, length, visit, ctx, &matched) && node && !matched)
        store_relaxed(&node->alone, wildcards + 1); /* a number that says all: no order */
}
