/* table.c - an emitter's nodes by name: a hash table that readers search without a lock. */
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "core/handlers.h"

#define LINE 64
#define PASSED_MAX 255 /* as many, or more: it is not counted down any more */

struct node *mtaio__table_find(const struct table *t, const char *name, size_t length, uint64_t hash) {
    uint32_t at = (uint32_t)hash;
    for (uint32_t tries = 0; tries <= t->mask; tries++, at++) {
        const struct bucket *b = &t->buckets[at & t->mask];
        uint64_t tags = load_relaxed(&b->tags); /* ordered by what tells the reader of the node */
        for (uint64_t equal = bucket_equal(tags, table_tag(hash)); equal; equal &= equal - 1) {
            struct node *n = bucket_first(b, equal);
            if (n && n->length == length && hash_is_same_name(node_name(n), name, length)) return n;
        }
        if (likely(!bucket_passed(tags))) return NULL;
    }
    return NULL;
}

static struct table *table_new(const struct reclaimer *r, uint32_t buckets) {
    size_t bytes = sizeof(struct table) + LINE + sizeof(struct bucket) * buckets;
    struct table *t = mtaio__block_alloc(r, bytes);
    if (!t) return NULL;
    t->mask = buckets - 1;
    t->used = 0;
    t->buckets = (struct bucket *)(((uintptr_t)(t + 1) + LINE - 1) & ~(uintptr_t)(LINE - 1));
    memset(t->buckets, 0, sizeof(struct bucket) * buckets);
    return t;
}

static void set_tag(struct bucket *b, int slot, uint64_t tag) {
    uint64_t tags = load_relaxed(&b->tags) & ~(UINT64_C(0xFF) << slot * 8);
    store_relaxed(&b->tags, tags | tag << slot * 8);
}

static void count_passed(struct bucket *b, int change) {
    uint64_t tags = load_relaxed(&b->tags);
    if (bucket_passed(tags) == PASSED_MAX) return;
    store_relaxed(&b->tags, tags + ((uint64_t)(int64_t)change << BUCKET_SLOTS * 8));
}

void mtaio__table_insert(struct table *t, struct node *n, uint64_t hash) {
    t->used++;
    for (uint32_t at = (uint32_t)hash;; at++) {
        struct bucket *b = &t->buckets[at & t->mask];
        for (int i = 0; i < BUCKET_SLOTS; i++) {
            if (load_relaxed(&b->node[i])) continue;
            set_tag(b, i, table_tag(hash));
            store_release(&b->node[i], n); /* pairs with table_look */
            return;
        }
        count_passed(b, +1);
    }
}

struct node *mtaio__table_next(const struct table *t, uint32_t *at) {
    if (!t) return NULL;
    while (*at / BUCKET_SLOTS <= t->mask) {
        uint32_t i = (*at)++;
        struct node *n = load_relaxed(&t->buckets[i / BUCKET_SLOTS].node[i % BUCKET_SLOTS]);
        if (n) return n;
    }
    return NULL;
}

/* Between one and five nodes to a bucket: replaced where one more would be too many, or far too few are left. */
int mtaio__table_reserve(ATOMIC(struct table *) *table, struct reclaimer *r) {
    struct table *old = load_relaxed(table);
    uint32_t wanted = old ? old->used + 1 : 1, buckets = 1;
    if (old && wanted <= (old->mask + 1) * 5 && wanted >= (old->mask + 1) / 4) return 0;
    while (buckets * 3 < wanted) {
        if (buckets > UINT32_MAX / 2 / BUCKET_SLOTS) return MTAIO_ELIMIT;
        buckets *= 2;
    }
    struct table *t = table_new(r, buckets);
    if (!t) return MTAIO_ENOMEM;
    uint32_t at = 0;
    for (struct node *n; (n = mtaio__table_next(old, &at));)
        mtaio__table_insert(t, n, mtaio__hash(node_name(n), n->length));
    reclaim_tick(r); /* readers that began before do not see the new table, and hold the old one */
    store_release(table, t);
    if (old) mtaio__block_retire(r, &old->block);
    return 0;
}

void mtaio__table_remove(ATOMIC(struct table *) *table, struct node *n, uint64_t hash, struct reclaimer *r) {
    struct table *t = load_relaxed(table);
    for (uint32_t at = (uint32_t)hash;; at++) {
        struct bucket *b = &t->buckets[at & t->mask];
        for (int i = 0; i < BUCKET_SLOTS; i++) {
            if (load_relaxed(&b->node[i]) != n) continue;
            store_release(&b->node[i], NULL);
            for (uint32_t from = (uint32_t)hash; from != at; from++)
                count_passed(&t->buckets[from & t->mask], -1);
            if (--t->used == 0) {
                store_release(table, NULL);
                mtaio__block_retire(r, &t->block);
            }
            return;
        }
    }
}
