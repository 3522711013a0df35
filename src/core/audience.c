/* audience.c - patterns and those who have them, looked at from both sides.
 *
 * Each pattern's value in the topic set is its audience: a single member, marked by the lowest bit, or a
 * crowd. Readers without the guard see no more of a member than its address. A crowd is a dense array: the
 * one that leaves is replaced by the last, in place. So a reader goes through it from its end: whoever is
 * there all the time is met at least once, for nobody ever moves up.
 *
 * A member's memberships tell the patterns that it has, and where it stands in their crowds. */
#include "core/audience.h"

#include <assert.h>
#include <limits.h>
#include <mtaio/base.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/sort.h"
#include "core/guard.h"
#include "core/memo.h"

enum { WAITING_LEAST = 64, CROWD_LEAST = 4, MEMBERSHIPS_LEAST = 4 };
enum {
    TICK_AFTER = 8
}; /* retired: a reader holds a few more than it could see, but its cache keeps the clock */

/* --- Audiences --------------------------------------------------------------------------------- */

struct crowd {
    struct block block;
    ATOMIC(uint32_t) count;
    uint32_t capacity;
    ATOMIC(struct member *) member[];
};

static void *audience_single(struct member *m) { return (void *)((uintptr_t)m | 1); }

/* Of an audience that is no crowd; else NULL. */
static struct member *single_of(void *audience) {
    return (uintptr_t)audience & 1 ? (struct member *)((uintptr_t)audience & ~(uintptr_t)1) : NULL;
}

static uint32_t audience_size(void *audience) {
    if (single_of(audience)) return 1;
    return load_acquire(&((struct crowd *)audience)->count); /* pairs with crowd_join */
}

static struct crowd *crowd_new(const struct reclaimer *r, uint32_t capacity) {
    struct crowd *c = mtaio__block_alloc(r, sizeof *c + capacity * sizeof c->member[0]);
    if (!c) return NULL;
    c->count = 0;
    c->capacity = capacity;
    return c;
}

/* There is room. */
static void crowd_join(struct crowd *c, struct member *m) {
    uint32_t at = load_relaxed(&c->count);
    store_release(&c->member[at], m); /* who was there before has moved down: pairs with reading each() */
    store_release(&c->count, at + 1);
}

/* A crowd of the same with room for one more; replaced where it is full, or far too large. NULL: no memory.
 */
static struct crowd *crowd_fit(struct reclaimer *r, void *audience) {
    struct crowd *old = single_of(audience) ? NULL : audience;
    uint32_t count = old ? load_relaxed(&old->count) : 1;
    if (old && count < old->capacity && (count >= old->capacity / 4 || old->capacity <= CROWD_LEAST))
        return old;
    struct crowd *c = crowd_new(r, count * 2 > CROWD_LEAST ? count * 2 : CROWD_LEAST);
    if (!c) return NULL;
    if (!old) crowd_join(c, single_of(audience));
    for (uint32_t i = 0; old && i < count; i++) crowd_join(c, load_relaxed(&old->member[i]));
    return c;
}

/* --- Memberships ------------------------------------------------------------------------------- */

struct membership {
    ATOMIC(void *) *slot; /* of the pattern's audience; NULL: nothing here */
    uint64_t mark;        /* what the memo has to forget when it changes */
    uint32_t index;       /* in the crowd */
};

static size_t home_of(const struct member *m, ATOMIC(void *) *slot) {
    return ((uint64_t)(uintptr_t)slot * UINT64_C(0x9E3779B97F4A7C15) >> 32) & (m->capacity - 1);
}

/* Where it is, or would be: its slot tells. There are always places free. */
static struct membership *place_of(const struct member *m, ATOMIC(void *) *slot) {
    size_t at = home_of(m, slot);
    while (m->memberships[at].slot && m->memberships[at].slot != slot) at = (at + 1) & (m->capacity - 1);
    return &m->memberships[at];
}

static struct membership *membership_of(const struct member *m, ATOMIC(void *) *slot) {
    struct membership *found = m->count > 0 ? place_of(m, slot) : NULL;
    return found && found->slot ? found : NULL;
}

static void memberships_free(struct member *m) {
    mtaio__free(m->memberships, m->capacity * sizeof *m->memberships);
    m->memberships = NULL;
    m->capacity = 0;
}

/* Room for one more, where three quarters are the most. */
static bool memberships_fit(struct member *m) {
    size_t capacity = MEMBERSHIPS_LEAST;
    if (m->count + 1 <= m->capacity / 4 * 3 &&
        (m->count >= m->capacity / 8 || m->capacity <= MEMBERSHIPS_LEAST))
        return true;
    while (m->count + 1 > capacity / 2) capacity *= 2;
    struct membership *all = mtaio__alloc_zeroed(capacity * sizeof *all);
    if (!all) return false;
    struct member fresh = {.memberships = all, .capacity = capacity};
    for (size_t i = 0; i < m->capacity; i++)
        if (m->memberships[i].slot) *place_of(&fresh, m->memberships[i].slot) = m->memberships[i];
    memberships_free(m);
    m->memberships = all;
    m->capacity = capacity;
    return true;
}

/* Those behind it that had to go on are moved back. */
static void membership_erase(struct member *m, struct membership *gone) {
    size_t mask = m->capacity - 1, hole = (size_t)(gone - m->memberships);
    for (size_t at = (hole + 1) & mask; m->memberships[at].slot; at = (at + 1) & mask) {
        size_t home = home_of(m, m->memberships[at].slot);
        if (((at - home) & mask) < ((at - hole) & mask)) continue;
        m->memberships[hole] = m->memberships[at];
        hole = at;
    }
    m->memberships[hole].slot = NULL;
    if (--m->count == 0) memberships_free(m);
}

/* --- Freeing ----------------------------------------------------------------------------------- */

static void free_blocks(struct reclaimer *r, struct retired *list) {
    int freed = 0;
    for (struct retired *next; list; list = next, freed++) {
        next = list->next;
        mtaio__block_free((struct block *)list);
    }
    reclaim_waiting(r, -freed);
}

/* ask: who stands in the way is to sweep when it goes; it may have gone before it was asked. */
static void sweep(struct reclaimer *r, bool ask) {
    reclaim_tick(r);
    for (int attempt = 0; attempt < 1 + ask && r->blocks; attempt++) {
        struct scan s;
        mtaio__scan(r, ask && attempt == 0, &s);
        free_blocks(r, mtaio__retired_split(&r->blocks, &s));
    }
    store_relaxed(&r->enough, load_relaxed(&r->waiting) * 2 + WAITING_LEAST);
}

static void list_pending(struct reclaimer *r) {
    if (load_relaxed(&r->waiting) == 0)
        mtaio__reclaim_forget(r);
    else if (!load_relaxed(&r->pending))
        mtaio__reclaim_later(r);
}

static void memo_drop(struct audiences *a) {
    struct memo *memo = load_relaxed(&a->memo);
    a->last = (struct recalled){0};
    store_release(&a->memo, NULL);
    if (memo) mtaio__memo_retire(memo, a->patterns.reclaimer);
}

static void found_free(struct audiences *a) {
    mtaio__free(a->found, a->found_capacity * sizeof *a->found);
    a->found = NULL;
    a->found_capacity = 0;
}

/* After every change. */
static void settle(struct audiences *a) {
    struct reclaimer *r = a->patterns.reclaimer;
    const struct memo *memo = load_relaxed(&a->memo);
    if (memo && mtaio__memo_misfits(memo, a->count)) memo_drop(a);
    if (a->count == 0) found_free(a);
    unsigned waiting = load_relaxed(&r->waiting);
    if (waiting == 0) return;
    if (mtaio__reclaim_is_idle()) {
        struct retired *all = r->blocks;
        r->blocks = NULL;
        free_blocks(r, all);
    } else if (a->count == 0 || waiting >= load_relaxed(&r->enough)) {
        sweep(r, a->count == 0);
    } else if (waiting % TICK_AFTER == 0) {
        reclaim_tick(r);
    }
    list_pending(r);
}

void mtaio__audiences_sweep(struct audiences *a) {
    sweep(a->patterns.reclaimer, true);
    list_pending(a->patterns.reclaimer);
}

/* --- Joining and leaving ----------------------------------------------------------------------- */

void mtaio__audiences_init(struct audiences *a, struct reclaimer *reclaimer, struct guard *guard) {
    *a = (struct audiences){.guard = guard};
    mtaio__topics_init(&a->patterns, reclaimer);
    reclaimer->clock = 1;
    reclaimer->enough = WAITING_LEAST;
}

void mtaio__audiences_fini(struct audiences *a) {
    struct reclaimer *r = a->patterns.reclaimer;
    assert(!a->memo); /* it goes with the last pattern: settle */
    mtaio__topics_fini(&a->patterns);
    found_free(a);
    free_blocks(r, r->blocks);
    r->blocks = NULL;
}

/* What the memo has to forget, which is on its way from memory meanwhile. */
static uint64_t mark_of(const struct audiences *a, const char *pattern) {
    const struct memo *memo = load_relaxed(&a->memo);
    uint64_t mark = mtaio__memo_mark(pattern);
    if (memo) mtaio__memo_prefetch(memo, mark);
    return mark;
}

static void forget(struct audiences *a, uint64_t mark) {
    struct memo *memo = load_relaxed(&a->memo);
    a->last = (struct recalled){0};
    if (memo) mtaio__memo_forget(memo, a->patterns.reclaimer, mark);
}

/* Puts the member in: its index, or ENOMEM. */
static int64_t audience_join(struct audiences *a, ATOMIC(void *) *slot, struct member *m) {
    struct reclaimer *r = a->patterns.reclaimer;
    void *old = load_relaxed(slot);
    if (!old) {
        store_release(slot, audience_single(m)); /* these two pair with topics_match */
        return 0;
    }
    struct crowd *c = crowd_fit(r, old);
    if (!c) return MTAIO_ENOMEM;
    crowd_join(c, m);
    if (c != old) store_release(slot, c);
    if (c != old && !single_of(old)) mtaio__block_retire(r, old);
    return (int64_t)c->count - 1;
}

int mtaio__audiences_add(struct audiences *a, struct member *m, const char *pattern) {
    uint64_t mark = mark_of(a, pattern);
    ATOMIC(void *) *slot = mtaio__topics_add(&a->patterns, pattern);
    if (!slot) return MTAIO_ENOMEM;
    if (membership_of(m, slot)) return 0;
    int64_t index = memberships_fit(m) ? audience_join(a, slot, m) : MTAIO_ENOMEM;
    if (index < 0) {
        if (!load_relaxed(slot)) mtaio__topics_remove_at(&a->patterns, slot);
        settle(a);
        return MTAIO_ENOMEM;
    }
    *place_of(m, slot) = (struct membership){slot, mark, (uint32_t)index};
    m->count++;
    a->count++;
    forget(a, mark);
    settle(a);
    return 1;
}

static void audience_leave(struct audiences *a, const struct membership *from) {
    void *audience = load_relaxed(from->slot);
    struct crowd *c = single_of(audience) ? NULL : audience;
    uint32_t left = audience_size(audience) - 1;
    a->count--;
    if (left == 0) {
        mtaio__topics_remove_at(&a->patterns, from->slot);
    } else if (left == 1) {
        struct member *other = load_relaxed(&c->member[1 - from->index]);
        membership_of(other, from->slot)->index = 0;
        store_release(from->slot, audience_single(other));
    } else {
        struct member *last = load_relaxed(&c->member[left]);
        membership_of(last, from->slot)->index = from->index;
        store_release(&c->member[from->index], last); /* before anybody takes its place: see crowd_join */
        store_release(&c->count, left);
    }
    if (c && left <= 1) mtaio__block_retire(a->patterns.reclaimer, &c->block);
}

int mtaio__audiences_drop(struct audiences *a, struct member *m, const char *pattern) {
    uint64_t mark = mark_of(a, pattern);
    ATOMIC(void *) *slot = mtaio__topics_find(&a->patterns, pattern);
    struct membership *found = slot ? membership_of(m, slot) : NULL;
    if (!found) return 0;
    forget(a, mark);
    audience_leave(a, found);
    membership_erase(m, found);
    settle(a);
    return 1;
}

void mtaio__audiences_leave(struct audiences *a, struct member *m) {
    const struct memo *memo = load_relaxed(&a->memo);
    if (memo && mtaio__memo_overtaxed(memo, m->count)) memo_drop(a);
    for (size_t i = 0; i < m->capacity; i++) {
        if (!m->memberships[i].slot) continue;
        forget(a, m->memberships[i].mark);
        audience_leave(a, &m->memberships[i]);
    }
    memberships_free(m);
    m->count = 0;
    settle(a);
}

/* --- Asking ------------------------------------------------------------------------------------ */

/* The audiences that match. While it is only one, no list is made of it. */
struct search {
    uint64_t number; /* marks who is in the list; 0: without the guard, and nobody is marked */
    void *only;
    struct member **list;
    size_t count, capacity;
    bool failed; /* no memory */
};

static void list_member(struct search *s, struct member *m) {
    if (s->number != 0 && m->seen == s->number) return;
    if (!mtaio__reserve(&s->list, sizeof *s->list, s->count, &s->capacity)) {
        s->failed = true;
        return;
    }
    if (s->number != 0) m->seen = s->number;
    s->list[s->count++] = m;
}

static void list_audience(struct search *s, void *audience) {
    if (single_of(audience)) {
        list_member(s, single_of(audience));
        return;
    }
    struct crowd *c = audience;
    for (uint32_t i = load_acquire(&c->count); i > 0 && !s->failed; i--)
        list_member(s, load_acquire(&c->member[i - 1])); /* pairs with crowd_join */
}

static bool visit(void *audience, void *ctx) {
    struct search *s = ctx;
    if (!s->only && s->count == 0) {
        s->only = audience;
        return true;
    }
    if (s->only) list_audience(s, s->only);
    s->only = NULL;
    list_audience(s, audience);
    return !s->failed;
}

static struct topic topic_of(const char *name, size_t length) {
    return (struct topic){name, length, mtaio__hash(name, length)};
}

/* NULL: no memory; then nothing is remembered. */
static struct memo *memo_fit(struct audiences *a) {
    struct memo *memo = load_relaxed(&a->memo);
    if (memo) return memo;
    memo = mtaio__memo_new(a->patterns.reclaimer, a->count);
    store_release(&a->memo, memo); /* pairs with reach */
    return memo;
}

static int search(struct audiences *a, const char *name, struct member *const **ret, size_t *ret_count) {
    struct search s = {.number = ++a->searches, .list = a->found, .capacity = a->found_capacity};
    mtaio__topics_match(&a->patterns, name, visit, &s);
    if (s.only && single_of(s.only)) list_audience(&s, s.only);
    a->found = s.list;
    a->found_capacity = s.capacity;
    if (s.failed) return MTAIO_ENOMEM;
    *ret = s.list;
    *ret_count = s.count;
    if (s.only && !single_of(s.only)) {
        *ret = ((struct crowd *)s.only)->member;
        *ret_count = audience_size(s.only);
    }
    return 0;
}

/* NULL: it is not remembered, and to be matched. A reader, or under the guard. */
static const struct entry *recall(const struct audiences *a, const struct topic *topic) {
    const struct memo *memo = load_acquire(&a->memo); /* pairs with memo_fit */
    const struct entry *e = memo ? mtaio__memo_find(memo, topic) : NULL;
    if (!e) mtaio__topics_prefetch(&a->patterns, topic);
    return e;
}

static __attribute__((noinline)) struct audience recall_another(struct audiences *a, const char *name,
                                                                size_t length) {
    const struct topic topic = topic_of(name, length);
    const struct entry *e = recall(a, &topic);
    a->last = e ? (struct recalled){entry_name(e), length, {e->members, e->count}} : (struct recalled){0};
    return a->last.audience;
}

/* Who publishes often stays with a topic for a while: then it need not be hashed, nor looked for. */
struct audience mtaio__audiences_recall(struct audiences *a, const char *name, size_t length) {
    const struct recalled *last = &a->last;
    if (likely(last->name && last->length == length) && likely(hash_is_same_name(last->name, name, length)))
        return last->audience;
    return recall_another(a, name, length);
}

int mtaio__audiences_of(struct audiences *a, const char *name, struct member *const **ret,
                        size_t *ret_count) {
    *ret = NULL;
    *ret_count = 0;
    if (a->count == 0) return 0;
    const struct topic topic = topic_of(name, strlen(name));
    struct memo *memo = memo_fit(a);
    const struct entry *known = recall(a, &topic);
    if (known) {
        *ret = known->members;
        *ret_count = known->count;
        return 0;
    }
    int r = search(a, name, ret, ret_count);
    if (r < 0 || !memo || !mtaio__memo_missed(memo, &topic)) return r;
    a->last = (struct recalled){0};
    mtaio__memo_put(memo, a->patterns.reclaimer, &topic, *ret, *ret_count);
    settle(a);
    return 0;
}

static bool is_before(const void *a, const void *b) {
    return (uintptr_t) * (struct member *const *)a < (uintptr_t) * (struct member *const *)b;
}

/* Under a pin. */
static int count_audience(const struct audiences *a, const char *name) {
    struct search s = {0};
    size_t count = 0;
    mtaio__topics_match(&a->patterns, name, visit, &s);
    if (s.only) count = audience_size(s.only);
    mtaio__sort(s.list, s.count, sizeof *s.list, is_before);
    for (size_t i = 0; i < s.count; i++) count += i == 0 || s.list[i] != s.list[i - 1];
    mtaio__free(s.list, s.capacity * sizeof *s.list);
    if (s.failed) return MTAIO_ENOMEM;
    return count < INT_MAX ? (int)count : INT_MAX;
}

enum { UNDER_GUARD = INT_MIN }; /* to be asked again there */

/* What is remembered is valid. */
static int reach_under_pin(struct audiences *a, const char *name) {
    const char *end = memchr(name, '\0', MTAIO_NAME_MAX + 1);
    if (!end) return MTAIO_ENAME;
    const struct topic topic = topic_of(name, (size_t)(end - name));
    const struct entry *known = recall(a, &topic);
    if (known) return (int)known->count;
    int r = mtaio__name_check(name);
    if (r < 0) return r;
    struct memo *memo = load_acquire(&a->memo); /* pairs with memo_fit */
    return !memo || mtaio__memo_missed(memo, &topic) ? UNDER_GUARD : count_audience(a, name);
}

static int reach_pinned(struct audiences *a, const char *name) {
    struct thread *t = thread_here();
    struct pin *pin;
    if (t && pin_push(t, a->patterns.reclaimer, &pin) == 0) {
        int r = reach_under_pin(a, name);
        pin_pop(t, pin);
        return r;
    }
    int r = mtaio__name_check(name);
    return r < 0 ? r : UNDER_GUARD;
}

int mtaio__audiences_reach(struct audiences *a, const char *topic) {
    if (!load_relaxed(&a->patterns.names) && !load_relaxed(&a->patterns.root)) {
        int r = mtaio__name_check(topic);
        return r < 0 ? r : 0;
    }
    int r = reach_pinned(a, topic);
    if (r != UNDER_GUARD) return r;
    struct member *const *list;
    size_t count;
    guard_lock(a->guard);
    r = mtaio__audiences_of(a, topic, &list, &count);
    guard_unlock(a->guard);
    if (r < 0) return r;
    return count < INT_MAX ? (int)count : INT_MAX;
}
