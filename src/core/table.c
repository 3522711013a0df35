/* table.c - an emitter's nodes by name: a hash table that readers search without a lock. */
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "core/handlers.h"

#define SLOTS 5
#define LINE 64

static uint32_t tag_of(uint64_t hash) { return (uint32_t)(hash >> 32); }

static __attribute__((noinline)) bool is_same_long(const char *a, const char *b, size_t n) {
    return memcmp(a, b, n) == 0;
}

/* memcmp for names, most of which are short: two loads that may overlap instead of a call. */
static inline bool is_same(const char *a, const char *b, size_t n) {
    uint64_t x, y, u, v;
    uint32_t s, t, p, q;
    if (n > 16) return is_same_long(a, b, n);
    if (n >= 8) {
        memcpy(&x, a, 8);
        memcpy(&y, b, 8);
        memcpy(&u, a + n - 8, 8);
        memcpy(&v, b + n - 8, 8);
        return ((x ^ y) | (u ^ v)) == 0;
    }
    if (n >= 4) {
        memcpy(&s, a, 4);
        memcpy(&t, b, 4);
        memcpy(&p, a + n - 4, 4);
        memcpy(&q, b + n - 4, 4);
        return ((s ^ t) | (p ^ q)) == 0;
    }
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i]) return false;
    return true;
}

/* A bit for each slot with the tag: which it is cannot be predicted, so no branch asks. */
static inline unsigned equal_tags(const struct bucket *b, uint32_t tag) {
    _Static_assert(SLOTS == 5, "each is named");
    return (unsigned)(load_relaxed(&b->tag[0]) == tag) | (unsigned)(load_relaxed(&b->tag[1]) == tag) << 1 |
           (unsigned)(load_relaxed(&b->tag[2]) == tag) << 2 |
           (unsigned)(load_relaxed(&b->tag[3]) == tag) << 3 |
           (unsigned)(load_relaxed(&b->tag[4]) == tag) << 4;
}

struct node *mtaio__table_find(const struct table *t, const char *name, size_t length, uint64_t hash) {
    uint32_t tag = tag_of(hash), at = (uint32_t)hash;
    for (uint32_t tries = 0; tries <= t->mask; tries++, at++) {
        const struct bucket *b = &t->buckets[at & t->mask];
        for (unsigned equal = equal_tags(b, tag); equal; equal &= equal - 1) {
            struct node *n = load_acquire(&b->node[__builtin_ctz(equal)]); /* pairs with table_insert */
            if (n && n->length == length && is_same(node_name(n), name, length)) return n;
        }
        if (likely(!load_relaxed(&b->passed))) return NULL; /* ordered by what tells the reader of the node */
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

void mtaio__table_insert(struct table *t, struct node *n, uint64_t hash) {
    t->used++;
    for (uint32_t at = (uint32_t)hash;; at++) {
        struct bucket *b = &t->buckets[at & t->mask];
        for (int i = 0; i < SLOTS; i++) {
            if (load_relaxed(&b->node[i])) continue;
            store_relaxed(&b->tag[i], tag_of(hash));
            store_release(&b->node[i], n); /* pairs with table_find */
            return;
        }
        store_relaxed(&b->passed, load_relaxed(&b->passed) + 1);
    }
}

struct node *mtaio__table_next(const struct table *t, uint32_t *at) {
    if (!t) return NULL;
    while (*at / SLOTS <= t->mask) {
        uint32_t i = (*at)++;
        struct node *n = load_relaxed(&t->buckets[i / SLOTS].node[i % SLOTS]);
        if (n) return n;
    }
    return NULL;
}

/* Between one and four nodes to a bucket: replaced where one more would be too many, or far too few are left.
 */
int mtaio__table_reserve(ATOMIC(struct table *) *table, struct reclaimer *r) {
    struct table *old = load_relaxed(table);
    uint32_t wanted = old ? old->used + 1 : 1, buckets = 1;
    if (old && wanted <= (old->mask + 1) * 4 && wanted >= (old->mask + 1) / 4) return 0;
    while (buckets * 3 < wanted) {
        if (buckets > UINT32_MAX / 2 / SLOTS) return MTAIO_ELIMIT;
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
        for (int i = 0; i < SLOTS; i++) {
            if (load_relaxed(&b->node[i]) != n) continue;
            store_release(&b->node[i], NULL);
            for (uint32_t from = (uint32_t)hash; from != at; from++) {
                struct bucket *passed = &t->buckets[from & t->mask];
                store_relaxed(&passed->passed, load_relaxed(&passed->passed) - 1);
            }
            if (--t->used == 0) {
                store_release(table, NULL);
                mtaio__block_retire(r, &t->block);
            }
            return;
        }
    }
}
