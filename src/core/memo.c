/* memo.c - a table of four places to a bucket; a bucket that is full gives way now and then. */
#include "core/memo.h"

#include <string.h>

#include "base/hash.h"
#include "core/segment.h"

enum {
    PLACES = 4,
    LINE = 64,
    BUCKETS_LEAST = 16,
    BUCKETS_MOST = 2048,
    MEMBERS_MOST = 64, /* to remember more is no great gain */
    NAME_MOST = 255,
    MISSES = 16,    /* so many are counted: where a bucket is full, the last of them makes room */
    PART_BITS = 16, /* of a shape */
    PARTS = 4,
    ROW = 16 /* places that are looked through together */
};

struct bucket {                      /* one cache line */
    ATOMIC(uint32_t) tag[PLACES];    /* upper half of the hash; right only where there is an entry */
    ATOMIC(uint32_t) missed[PLACES]; /* of names that were not found: the tag, less what tells how often */
    ATOMIC(struct entry *) entry[PLACES];
};

struct memo {
    struct block block;
    size_t mask; /* buckets - 1 */
    struct bucket *buckets;
    unsigned turn; /* guard */

    /* Guard. The shape of the entry in each place, and for each row a set of what there is of each part. */
    uint64_t *shapes;
    uint64_t (*outlines)[PARTS];
};

static uint32_t tag_of(uint64_t hash) { return (uint32_t)(hash >> 32); }
static size_t places(const struct memo *m) { return (m->mask + 1) * PLACES; }
static size_t bucket_at(const struct memo *m, uint64_t hash) {
    return hash >> 1 & m->mask;
} /* see memo_mark */
static ATOMIC(struct entry *) *place_entry(const struct memo *m, size_t place) {
    return &m->buckets[place / PLACES].entry[place % PLACES];
}

/* --- The table --------------------------------------------------------------------------------- */

struct memo *mtaio__memo_new(const struct reclaimer *r, size_t patterns) {
    struct memo *m;
    size_t buckets = BUCKETS_LEAST;
    while (buckets < BUCKETS_MOST && buckets * PLACES < patterns) buckets *= 2;
    size_t rows = buckets * PLACES / ROW;
    size_t bytes =
        buckets * (sizeof(struct bucket) + PLACES * sizeof m->shapes[0]) + rows * sizeof m->outlines[0];
    m = mtaio__block_alloc(r, sizeof *m + LINE + bytes);
    if (!m) return NULL;
    m->mask = buckets - 1;
    m->turn = 0;
    m->buckets = (struct bucket *)(((uintptr_t)(m + 1) + LINE - 1) & ~(uintptr_t)(LINE - 1));
    m->shapes = (uint64_t *)(m->buckets + buckets);
    m->outlines = (uint64_t(*)[PARTS])(m->shapes + buckets * PLACES);
    memset(m->buckets, 0, bytes);
    return m;
}

bool mtaio__memo_misfits(const struct memo *m, size_t patterns) {
    return patterns == 0 || (patterns > 2 * places(m) && m->mask + 1 < BUCKETS_MOST) ||
           (patterns < places(m) / 8 && m->mask + 1 > BUCKETS_LEAST);
}

void mtaio__memo_retire(struct memo *m, struct reclaimer *r) {
    for (size_t i = 0; i < places(m); i++) {
        struct entry *e = load_relaxed(place_entry(m, i));
        if (e) mtaio__block_retire(r, &e->block);
    }
    mtaio__block_retire(r, &m->block);
}

void mtaio__memo_free(struct memo *m) {
    if (!m) return;
    for (size_t i = 0; i < places(m); i++) {
        struct entry *e = load_relaxed(place_entry(m, i));
        if (e) mtaio__block_free(&e->block);
    }
    mtaio__block_free(&m->block);
}

/* --- Asking ------------------------------------------------------------------------------------ */

static char *entry_name(const struct entry *e) { return (char *)(uintptr_t)(e->members + e->count); }

const struct entry *mtaio__memo_find(const struct memo *m, const struct topic *t) {
    const struct bucket *b = &m->buckets[bucket_at(m, t->hash)];
    unsigned equal = 0; /* a bit for each place: which it is cannot be predicted, so no branch asks */
#pragma GCC unroll 4
    for (int i = 0; i < PLACES; i++) equal |= (unsigned)(load_relaxed(&b->tag[i]) == tag_of(t->hash)) << i;
    for (; equal; equal &= equal - 1) {
        const struct entry *e = load_acquire(&b->entry[__builtin_ctz(equal)]); /* pairs with memo_put */
        if (e && e->length == t->length && memcmp(entry_name(e), t->name, t->length) == 0) return e;
    }
    return NULL;
}

static bool is_full(const struct bucket *b) {
    for (int i = 0; i < PLACES; i++)
        if (!load_relaxed(&b->entry[i])) return false;
    return true;
}

/* The word that counts how often the name was not found: its own, or the one that counts least. */
static ATOMIC(uint32_t) *missed_at(struct bucket *b, uint32_t tag) {
    unsigned least = 0;
    for (unsigned i = 0; i < PLACES; i++) {
        uint32_t word = load_relaxed(&b->missed[i]);
        if (word / MISSES == tag / MISSES) return &b->missed[i];
        if (word % MISSES < load_relaxed(&b->missed[least]) % MISSES) least = i;
    }
    return &b->missed[least];
}

static void set_missed(struct bucket *b, uint32_t tag, unsigned count) {
    store_relaxed(missed_at(b, tag), tag / MISSES * MISSES + count);
}

/* Another name comes: the others count a little less. */
static void age(struct bucket *b) {
    for (unsigned i = 0; i < PLACES; i++) {
        uint32_t word = load_relaxed(&b->missed[i]);
        if (word % MISSES > 0) store_relaxed(&b->missed[i], word - 1);
    }
}

/* In no order with anything: to lose a word of it does no harm. */
bool mtaio__memo_missed(struct memo *m, const struct topic *t) {
    uint32_t tag = tag_of(t->hash);
    struct bucket *b = &m->buckets[bucket_at(m, t->hash)];
    uint32_t word = load_relaxed(missed_at(b, tag)), misses = 0;
    if (word / MISSES == tag / MISSES)
        misses = word % MISSES;
    else
        age(b);
    if (misses == MISSES - 1 || (misses > 0 && !is_full(b))) return true;
    set_missed(b, tag, misses + 1);
    return false;
}

/* --- Shapes ------------------------------------------------------------------------------------ */

/* Four parts: for the first three segments, and the last. A name's tell what these are, or ABSENT; a
 * pattern's, what they must be, or 0: anything. So a pattern does not match a name whose shape differs from
 * what it tells. The lowest bit is 0: NAME marks what is no shape, but a hash. */
enum { NAME = 1, ABSENT = 1 };

static uint64_t part_of(uint64_t shape, int i) { return shape >> (i * PART_BITS) & 0xffff; }
static uint64_t part_at(uint64_t part, unsigned i) { return part << (i * PART_BITS); }

static uint64_t segment_part(const char *begin, const char *end) {
    uint64_t part = mtaio__hash(begin, (size_t)(end - begin)) & 0xfffe;
    return part ? part : 2;
}

static uint64_t shape_of(const char *s, bool is_pattern) {
    uint64_t shape = 0;
    if (is_pattern && s[0] == '*' && s[1] == '\0') return 0;
    for (unsigned i = 0;; i++) {
        const char *end = segment_end(s);
        if (is_pattern && is_deep(s)) i = PARTS; /* what follows has no place of its own, but for the last */
        uint64_t part = is_pattern && *s == '*' ? 0 : segment_part(s, end);
        if (i < PARTS - 1) shape |= part_at(part, i);
        if (*end == '\0') {
            for (i++; i < PARTS - 1 && !is_pattern; i++) shape |= part_at(ABSENT, i);
            return shape | part_at(part, PARTS - 1);
        }
        s = end + 1;
    }
}

uint64_t mtaio__memo_mark(const char *pattern) {
    if (!strchr(pattern, '*')) return mtaio__hash(pattern, strlen(pattern)) | NAME;
    return shape_of(pattern, true);
}

/* What of a shape a pattern tells; and which bit of the outline stands for each part, any if it tells none.
 */
struct outline {
    uint64_t mask;
    uint64_t bits[PARTS];
};

static uint64_t part_bit(uint64_t part) { return UINT64_C(1) << (part >> 1 & 63); }

static struct outline outline_of(uint64_t mark) {
    struct outline o = {0};
    for (int i = 0; i < PARTS; i++) {
        uint64_t part = part_of(mark, i);
        o.bits[i] = part ? part_bit(part) : ~UINT64_C(0);
        if (part) o.mask |= part_at(0xffff, (unsigned)i);
    }
    return o;
}

static void add_to_outline(uint64_t outline[PARTS], uint64_t shape) {
    for (int i = 0; i < PARTS; i++) outline[i] |= part_bit(part_of(shape, i));
}

static bool row_may_match(const uint64_t outline[PARTS], const struct outline *o) {
    bool matches = true;
    for (int i = 0; i < PARTS; i++) matches &= (outline[i] & o->bits[i]) != 0;
    return matches;
}

/* --- Changing ---------------------------------------------------------------------------------- */

static void take_out(struct memo *m, struct reclaimer *r, size_t place) {
    struct entry *e = load_relaxed(place_entry(m, place));
    store_release(place_entry(m, place), NULL);
    mtaio__block_retire(r, &e->block);
}

static size_t find_place(struct memo *m, struct reclaimer *r, uint64_t hash) {
    size_t first = bucket_at(m, hash) * PLACES;
    for (size_t i = first; i < first + PLACES; i++)
        if (!load_relaxed(place_entry(m, i))) return i;
    size_t place =
        first + m->turn++ % PLACES; /* not always the same, so that two do not go on replacing each other */
    take_out(m, r, place);
    return place;
}

void mtaio__memo_put(struct memo *m, struct reclaimer *r, const struct topic *t,
                     struct member *const *members, size_t count) {
    if (count > MEMBERS_MOST || t->length > NAME_MOST) return;
    struct entry *e = mtaio__block_alloc(r, sizeof *e + count * sizeof(struct member *) + t->length);
    if (!e) return;
    e->count = (uint32_t)count;
    e->length = (uint16_t)t->length;
    if (count > 0) memcpy(e->members, members, count * sizeof *members);
    memcpy(entry_name(e), t->name, t->length);

    size_t place = find_place(m, r, t->hash);
    struct bucket *b = &m->buckets[place / PLACES];
    m->shapes[place] = shape_of(t->name, false);
    add_to_outline(m->outlines[place / ROW], m->shapes[place]);
    set_missed(b, tag_of(t->hash), 0);
    store_relaxed(&b->tag[place % PLACES], tag_of(t->hash));
    store_release(&b->entry[place % PLACES], e); /* pairs with memo_find */
}

/* It was in use: the next who asks for it puts it in again. */
static void forget(struct memo *m, struct reclaimer *r, size_t place) {
    struct bucket *b = &m->buckets[place / PLACES];
    uint32_t tag = load_relaxed(&b->tag[place % PLACES]);
    set_missed(b, tag, MISSES - 1);
    take_out(m, r, place);
}

/* Forgets those that seem to match, and draws the outline anew. */
static void forget_in_row(struct memo *m, struct reclaimer *r, size_t row, uint64_t mark, uint64_t mask) {
    uint64_t *outline = m->outlines[row];
    memset(outline, 0, sizeof m->outlines[row]);
    for (size_t i = row * ROW; i < (row + 1) * ROW; i++) {
        if (!load_relaxed(place_entry(m, i))) continue;
        if (((m->shapes[i] ^ mark) & mask) == 0)
            forget(m, r, i);
        else
            add_to_outline(outline, m->shapes[i]);
    }
}

static void forget_name(struct memo *m, struct reclaimer *r, uint64_t hash) {
    size_t first = bucket_at(m, hash) * PLACES;
    const struct bucket *b = &m->buckets[first / PLACES];
    for (size_t i = 0; i < PLACES; i++)
        if (load_relaxed(&b->tag[i]) == tag_of(hash) && load_relaxed(&b->entry[i])) forget(m, r, first + i);
}

void mtaio__memo_forget(struct memo *m, struct reclaimer *r, uint64_t mark) {
    if (mark & NAME) {
        forget_name(m, r, mark);
        return;
    }
    const struct outline o = outline_of(mark);
    for (size_t row = 0; row < places(m) / ROW; row++)
        if (row_may_match(m->outlines[row], &o)) forget_in_row(m, r, row, mark, o.mask);
}
