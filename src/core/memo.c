/* memo.c - a table of four places to a bucket; a bucket that is full gives way now and then. */
#include "core/memo.h"

#include <string.h>

#include "base/hash.h"
#include "core/segment.h"

enum {
    PLACES = 4,
    LINE = 64,
    BUCKETS_LEAST = 16,
    BUCKETS_MOST = 65536,
    CHANGES_LEAST = 64, /* so many cost less than a new memo, however small */
    MEMBERS_MOST = 64,  /* to remember more is no great gain */
    NAME_MOST = 255,
    MISSES = 16,    /* so many are counted: where a bucket is full, the last of them makes room */
    PART_BITS = 16, /* of a shape */
    PARTS = 4,
    ROW = 16,  /* places that are looked through together */
    WORD = 64, /* bits */
    COLUMNS_MOST = 512
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

    /* Guard. The shape of the entry in each place; 0: none. And a table of bits: which rows have a name whose
     * part hashes to which column. It is stored by columns, so that those of a pattern's parts are put
     * together word by word. */
    uint64_t *shapes;
    uint64_t *bits;
    size_t rows, words; /* words: of a column */
    size_t columns;     /* of each part */
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
    size_t rows = buckets * PLACES / ROW, words = (rows + WORD - 1) / WORD;
    size_t columns = rows < COLUMNS_MOST ? rows : COLUMNS_MOST;
    size_t bytes = buckets * (sizeof(struct bucket) + PLACES * sizeof m->shapes[0]) +
                   PARTS * columns * words * sizeof m->bits[0];
    m = mtaio__block_alloc(r, sizeof *m + LINE + bytes);
    if (!m) return NULL;
    m->mask = buckets - 1;
    m->turn = 0;
    m->buckets = (struct bucket *)(((uintptr_t)(m + 1) + LINE - 1) & ~(uintptr_t)(LINE - 1));
    m->shapes = (uint64_t *)(m->buckets + buckets);
    m->bits = m->shapes + buckets * PLACES;
    m->rows = rows;
    m->words = words;
    m->columns = columns;
    memset(m->buckets, 0, bytes);
    return m;
}

bool mtaio__memo_misfits(const struct memo *m, size_t patterns) {
    return patterns == 0 || (patterns > 2 * places(m) && m->mask + 1 < BUCKETS_MOST) ||
           (patterns < places(m) / 8 && m->mask + 1 > BUCKETS_LEAST);
}

bool mtaio__memo_overtaxed(const struct memo *m, size_t patterns) {
    return patterns > CHANGES_LEAST + places(m) / 256;
}

void mtaio__memo_retire(struct memo *m, struct reclaimer *r) {
    for (size_t i = 0; i < places(m); i++) {
        struct entry *e = load_relaxed(place_entry(m, i));
        if (e) mtaio__block_retire(r, &e->block);
    }
    mtaio__block_retire(r, &m->block);
}

/* --- Asking ------------------------------------------------------------------------------------ */

const struct entry *mtaio__memo_find(const struct memo *m, const struct topic *t) {
    const struct bucket *b = &m->buckets[bucket_at(m, t->hash)];
    unsigned equal = 0; /* a bit for each place: which it is cannot be predicted, so no branch asks */
#pragma GCC unroll 4
    for (int i = 0; i < PLACES; i++) equal |= (unsigned)(load_relaxed(&b->tag[i]) == tag_of(t->hash)) << i;
    for (; equal; equal &= equal - 1) {
        const struct entry *e = load_acquire(&b->entry[__builtin_ctz(equal)]); /* pairs with memo_put */
        if (e && e->length == t->length && hash_is_same_name(entry_name(e), t->name, t->length)) return e;
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

/* There are more names than words: they all count a little less. */
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
    uint32_t word = load_relaxed(missed_at(b, tag)), misses = word % MISSES;
    if (word / MISSES != tag / MISSES && misses > 0) {
        age(b);
        return false;
    }
    if (misses == MISSES - 1 || (misses > 0 && !is_full(b))) return true;
    set_missed(b, tag, misses + 1);
    return false;
}

/* --- Shapes ------------------------------------------------------------------------------------ */

/* Four parts: for the first three segments, and the last. A name's tell what these are, or ABSENT; a
 * pattern's, what they must be, or 0: anything. So a pattern does not match a name whose shape differs from
 * what it tells. The lowest bit is 0: NAME marks what is no shape, but a hash. */
enum { NAME = 1, ABSENT = 1 };

static uint64_t part_of(uint64_t shape, unsigned i) { return shape >> (i * PART_BITS) & 0xffff; }
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

/* --- Which rows have what ---------------------------------------------------------------------- */

/* The column for part i of the shape. */
static size_t column_of(const struct memo *m, uint64_t shape, unsigned i) {
    return i * m->columns + (part_of(shape, i) >> 1 & (m->columns - 1));
}

static uint64_t *bits_of(const struct memo *m, size_t column) { return m->bits + column * m->words; }

static bool row_has(const struct memo *m, size_t row, unsigned i, size_t column) {
    for (size_t at = row * ROW; at < (row + 1) * ROW; at++)
        if (m->shapes[at] && column_of(m, m->shapes[at], i) == column) return true;
    return false;
}

static void set_shape(struct memo *m, size_t place, uint64_t shape) {
    size_t row = place / ROW;
    m->shapes[place] = shape;
    for (unsigned i = 0; i < PARTS; i++)
        bits_of(m, column_of(m, shape, i))[row / WORD] |= UINT64_C(1) << row % WORD;
}

static void clear_shape(struct memo *m, size_t place) {
    size_t row = place / ROW;
    uint64_t shape = m->shapes[place];
    m->shapes[place] = 0;
    for (unsigned i = 0; i < PARTS; i++) {
        size_t column = column_of(m, shape, i);
        if (!row_has(m, row, i, column)) bits_of(m, column)[row / WORD] &= ~(UINT64_C(1) << row % WORD);
    }
}

/* --- Changing ---------------------------------------------------------------------------------- */

static void take_out(struct memo *m, struct reclaimer *r, size_t place) {
    struct entry *e = load_relaxed(place_entry(m, place));
    store_release(place_entry(m, place), NULL);
    mtaio__block_retire(r, &e->block);
    clear_shape(m, place);
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
    set_shape(m, place, shape_of(t->name, false));
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

/* Forgets those that seem to match. */
static void forget_in_row(struct memo *m, struct reclaimer *r, size_t row, uint64_t mark, uint64_t mask) {
    for (size_t i = row * ROW; i < (row + 1) * ROW; i++)
        if (((m->shapes[i] ^ mark) & mask) == 0 && m->shapes[i]) forget(m, r, i);
}

static void forget_matching(struct memo *m, struct reclaimer *r, uint64_t mark) {
    const uint64_t *bits[PARTS];
    unsigned count = 0;
    uint64_t mask = 0; /* of the parts that the pattern tells */
    for (unsigned i = 0; i < PARTS; i++) {
        if (part_of(mark, i) == 0) continue;
        mask |= part_at(0xffff, i);
        bits[count++] = bits_of(m, column_of(m, mark, i));
    }
    for (size_t word = 0; word < m->words; word++) {
        uint64_t rows = m->rows < WORD ? (UINT64_C(1) << m->rows) - 1 : UINT64_MAX;
        for (unsigned i = 0; i < count; i++) rows &= bits[i][word];
        for (; rows; rows &= rows - 1)
            forget_in_row(m, r, word * WORD + (size_t)__builtin_ctzll(rows), mark, mask);
    }
}

static void forget_name(struct memo *m, struct reclaimer *r, uint64_t hash) {
    size_t first = bucket_at(m, hash) * PLACES;
    const struct bucket *b = &m->buckets[first / PLACES];
    for (size_t i = 0; i < PLACES; i++)
        if (load_relaxed(&b->tag[i]) == tag_of(hash) && load_relaxed(&b->entry[i])) forget(m, r, first + i);
}

void mtaio__memo_prefetch(const struct memo *m, uint64_t mark) {
    if (mark & NAME) __builtin_prefetch(&m->buckets[bucket_at(m, mark)]);
}

void mtaio__memo_forget(struct memo *m, struct reclaimer *r, uint64_t mark) {
    if (mark & NAME)
        forget_name(m, r, mark);
    else
        forget_matching(m, r, mark);
}
