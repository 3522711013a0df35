/* topic_set.c - sets of patterns: adding, removing, finding. What they are made of is said in topic_set.h. */
#include "core/topic_set.h"

#include <string.h>

#include "base/hash.h"

static bool is_star(enum kind kind) { return kind == STAR || kind == BACK_STAR; }

static struct topic_node *find(const topics *t, const struct key *k) {
    if (k->kind == ROOT) return load_acquire(&t->root); /* these three pair with node_add */
    if (k->kind == DEEP) return load_acquire(&k->parent->deep);
    if (is_star(k->kind)) return load_acquire(&k->parent->star);
    const struct topic_table *table = load_acquire(k->kind == WHOLE ? &t->names : &t->edges);
    return mtaio__topic_find(table, k, key_hash(k)); /* this one with table_fit */
}

/* --- Changing them, under the owner's lock ------------------------------------------------------ */

static bool is_in_table(enum kind kind) { return kind == WHOLE || is_literal(kind) || kind == TAIL; }

static ATOMIC(struct topic_table *) *table_of(topics *t, enum kind kind) {
    return kind == WHOLE ? &t->names : &t->edges;
}

static void add_to(ATOMIC(uint32_t) *count, int change) {
    store_relaxed(count, load_relaxed(count) + (uint32_t)change);
}

static void add_segment(struct topic_node *parent, int change) {
    store_relaxed(&parent->segments, load_relaxed(&parent->segments) + (uint64_t)(int64_t)change);
}

/* There is room. What a reader finds half stored belongs to a node that is just being added. */
static void table_insert(struct topic_table *table, uint32_t hash, struct topic_node *node) {
    table->used++;
    for (size_t at = hash;; at++) {
        struct bucket *b = &table->buckets[at & table->mask];
        for (int i = 0; i < PLACES; i++) {
            if (load_relaxed(&b->node[i])) continue;
            store_relaxed(&b->hash[i], hash);
            store_release(&b->node[i], node); /* pairs with topic_find */
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
    size_t bytes = node_bytes(k->kind);
    struct topic_node *node = mtaio__block_alloc(t->reclaimer, bytes + k->length + 1);
    if (!node) return NULL;
    node->value = NULL;
    node->segments = 0;
    node->length = (uint16_t)k->length;
    node->kind = (uint8_t)k->kind;
    node->present = false;
    if (k->kind != WHOLE) {
        node->parent = k->parent;
        node->star = NULL;
        node->deep = NULL; /* for a TAIL previous */
    }
    char *text = (char *)node + bytes;
    memcpy(text, k->text, k->length);
    text[k->length] = '\0';
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
    if (is_literal(k->kind)) add_segment(k->parent, 1);
    if (k->kind == TAIL) list_tail(node);
    return node;
}

static struct topic_node *node_parent(const struct topic_node *node) {
    return node->kind == WHOLE ? NULL : node->parent;
}

static struct key node_key(const struct topic_node *node) {
    const char *text = node_text(node);
    return (struct key){node_parent(node), text, node->length, (enum kind)node->kind,
                        mtaio__hash(text, node->length)};
}

static void node_remove(topics *t, struct topic_node *node) {
    const struct key k = node_key(node);
    if (k.kind == ROOT) store_release(&t->root, NULL);
    if (k.kind == DEEP) store_release(&k.parent->deep, NULL);
    if (is_star(k.kind)) store_release(&k.parent->star, NULL);
    if (is_literal(k.kind)) add_segment(k.parent, -1);
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
    if (load_relaxed(&node->present)) return true;
    if (node->kind == TAIL || node->kind == WHOLE) return false;
    return load_relaxed(&node->star) || load_relaxed(&node->deep) /* or tails */ ||
           load_relaxed(&node->segments) != 0;
}

/* Removes the node and those above it that serve no pattern. */
static void prune(topics *t, struct topic_node *node) {
    while (node && !is_needed(node)) {
        struct topic_node *parent = node_parent(node);
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
        bool is_branch = node->kind != TAIL && node->kind != WHOLE;
        struct topic_node *star = is_branch ? load_relaxed(&node->star) : NULL;
        if (is_branch && !is_backward(node)) free_node(load_relaxed(&node->deep));
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

static struct key first_key(const char *pattern) {
    bool is_name = !strchr(pattern, '*');
    size_t length = is_name ? strlen(pattern) : 0;
    return (struct key){NULL, pattern, length, is_name ? WHOLE : ROOT, mtaio__hash(pattern, length)};
}

/* The key of the next node on the way of a pattern; false: the way ends at node. *rest is what is left of the
 * pattern; from DEEP on it begins with the first "**". */
static bool next_key(struct rest *rest, struct topic_node *node, struct key *ret) {
    const char *begin = rest->left, *end;
    if (node->kind == WHOLE || node->kind == TAIL || begin == rest->right) return false;
    if (node->kind == ROOT && strcmp(begin, "*") == 0) return false;
    *ret = (struct key){.parent = node, .text = begin, .kind = DEEP}; /* of a DEEP nobody asks the hash */
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
    ret->hash = mtaio__hash(begin, ret->length);
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
    if (!load_relaxed(&node->present)) {
        store_relaxed(&node->present, true);
        if (node->kind != WHOLE) /* who reads this number comes upon the node too: pairs with topics_match */
            store_release(&t->wildcards, load_relaxed(&t->wildcards) + 1);
    }
    return &node->value;
}

ATOMIC(void *) *mtaio__topics_find(const topics *t, const char *pattern) {
    struct rest rest = {pattern, pattern + strlen(pattern) + 1};
    struct key k = first_key(pattern);
    struct topic_node *node;
    do {
        node = find(t, &k);
        if (!node) return NULL;
    } while (next_key(&rest, node, &k));
    return load_relaxed(&node->present) ? &node->value : NULL;
}

void mtaio__topics_remove_at(topics *t, ATOMIC(void *) *slot) {
    struct topic_node *node = (struct topic_node *)(void *)((char *)slot - offsetof(struct topic_node, value));
    store_relaxed(&node->present, false);
    store_release(&node->value, NULL);
    prune(t, node);
}

void mtaio__topics_remove(topics *t, const char *pattern) {
    ATOMIC(void *) *slot = mtaio__topics_find(t, pattern);
    if (slot) mtaio__topics_remove_at(t, slot);
}
