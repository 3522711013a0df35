/* handlers.c - listeners, and the lanes they stand in. */
#include "core/handlers.h"

#include <string.h>

#include "base/memory.h"

/* --- Lanes ------------------------------------------------------------------------------------- */

#define LANE_LEAST 4   /* entries in the smallest lane on its own */
#define THIN_LEAST 64  /* smaller lanes are not worth tidying */
#define INDEX_LEAST 32 /* shorter lanes are walked, not indexed */

static struct lane_block *lane_block(struct lane *lane) {
    return (struct lane_block *)(void *)((char *)lane - offsetof(struct lane_block, lane));
}

/* The places of a lane's own handlers, by call and ctx. Made when somebody first looks for one in a long
 * lane, and filled up when somebody looks again: adding and removing know nothing of it. What was removed
 * since is NULL in the lane, and is left out when it is come upon. Where entries get other places it is
 * dropped. */
struct lane_index {
    uint32_t mask;    /* heads - 1 */
    uint32_t known;   /* so many entries of the lane are in it */
    uint32_t place[]; /* entry + 1, 0: none. The last of each head, then the one before each entry */
};

static uint32_t index_heads(const struct lane_block *b) {
    return UINT32_C(1) << (31 - __builtin_clz(b->capacity));
}
static size_t index_bytes(const struct lane_block *b) {
    return sizeof(struct lane_index) + sizeof(uint32_t) * ((size_t)index_heads(b) + b->capacity);
}

static void index_drop(struct lane_block *b) {
    mtaio__free(b->index, index_bytes(b));
    b->index = NULL;
}

/* Where the lane of the rank is linked, or would be. */
static ATOMIC(struct lane *) *lane_link(struct node *n, enum rank rank) {
    ATOMIC(struct lane *) *link = &n->lanes;
    for (struct lane *l; (l = load_relaxed(link)) && l->rank < rank;) link = &l->next;
    return link;
}

static struct lane *lane_of(struct node *n, enum rank rank) {
    struct lane *lane = load_relaxed(lane_link(n, rank));
    return lane && lane->rank == rank ? lane : NULL;
}

static struct lane *lane_alloc(const struct family *f, enum rank rank, uint32_t capacity) {
    struct lane_block *b =
        mtaio__block_alloc(&f->reclaimer, sizeof *b + sizeof(struct listener *) * capacity);
    if (!b) return NULL;
    b->index = NULL;
    b->capacity = capacity;
    b->dead = 0;
    b->lane = (struct lane){.rank = (uint8_t)rank};
    return &b->lane;
}

static void lane_retire(struct family *f, struct lane *lane) {
    if (lane->inside) return;
    index_drop(lane_block(lane));
    mtaio__block_retire(&f->reclaimer, &lane_block(lane)->block);
}

static void lane_unlink(struct family *f, ATOMIC(struct lane *) *link, struct lane *lane) {
    store_release(link, load_relaxed(&lane->next));
    lane_retire(f, lane);
}

/* Copies what is alive, and takes the other's place; readers that began before hold the old one. */
static int lane_replace(struct family *f, struct node *n, ATOMIC(struct lane *) *link, struct lane *old) {
    uint32_t count = old->count, live = count - (old->inside ? 0 : lane_block(old)->dead);
    uint32_t capacity = live + live / 2 + 1;
    struct lane *lane = lane_alloc(f, old->rank, capacity < LANE_LEAST ? LANE_LEAST : capacity);
    if (!lane) return MTAIO_ENOMEM;
    ATOMIC(struct listener *) *from = lane_entries(old);
    ATOMIC(struct listener *) *to = lane_entries(lane);
    uint32_t copied = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct listener *l = load_relaxed(&from[i]);
        if (!l) continue;
        if (l->node == n) l->index = copied;
        to[copied++] = l;
    }
    lane->count = copied;
    lane->next = load_relaxed(&old->next);
    reclaim_tick(&f->reclaimer);
    store_release(link, lane); /* pairs with the walk's reading of lanes */
    lane_retire(f, old);
    return 0;
}

/* Closes the gaps in place, where nobody reads: removing must not allocate. The memory goes back with the
 * next registration. */
static void lane_tidy(struct node *n, struct lane *lane) {
    ATOMIC(struct listener *) *entry = lane_entries(lane);
    uint32_t kept = 0;
    if (!mtaio__reclaim_begin_alone()) return;
    for (uint32_t i = 0; i < lane->count; i++) {
        struct listener *l = load_relaxed(&entry[i]);
        if (!l) continue;
        if (l->node == n) l->index = kept;
        store_relaxed(&entry[kept++], l);
    }
    store_release(&lane->count, kept);
    index_drop(lane_block(lane));
    lane_block(lane)->dead = 0;
    mtaio__reclaim_end_alone();
}

int mtaio__node_reserve(struct family *f, struct node *n, enum rank rank) {
    ATOMIC(struct lane *) *link = lane_link(n, rank);
    struct lane *lane = load_relaxed(link);
    if (lane && lane->rank == rank) {
        if (lane->inside) return lane->count == 0 ? 0 : lane_replace(f, n, link, lane);
        const struct lane_block *b = lane_block(lane);
        bool thin = b->capacity > THIN_LEAST && lane->count - b->dead < b->capacity / 4;
        return lane->count < b->capacity && !thin ? 0 : lane_replace(f, n, link, lane);
    }
    struct lane *fresh;
    if (!(n->marks & MARK_INNER_USED)) {
        n->marks |= MARK_INNER_USED;
        fresh = &n->first;
        *fresh = (struct lane){.rank = (uint8_t)rank, .inside = 1};
    } else if (!(fresh = lane_alloc(f, rank, LANE_LEAST))) {
        return MTAIO_ENOMEM;
    }
    fresh->next = lane;
    reclaim_tick(&f->reclaimer);
    store_release(link, fresh); /* empty: nobody sees a difference */
    return 0;
}

void mtaio__node_append(struct node *n, struct listener *l) {
    struct lane *lane = lane_of(n, listener_rank(l));
    uint32_t at = lane->count;
    if (l->node == n) l->index = at;
    store_release(&lane_entries(lane)[at], l); /* pairs with only_listener, which needs no count */
    store_release(&lane->count, at + 1); /* pairs with the walk's reading of it */
}

/* The place of a listener that is registered elsewhere: entries are in the order of registration, but for
 * links, which are substituted for each other. */
static uint32_t lane_search(const struct lane *lane, const struct listener *l) {
    ATOMIC(struct listener *) *entry = lane_entries(lane);
    uint32_t low = 0, high = lane->count;
    if (lane->rank == RANK_DERIVED) {
        while (low < high && entry[low] != l) low++;
        return low;
    }
    while (low < high) {
        uint32_t middle = low + (high - low) / 2, at = middle;
        while (at < high && !entry[at]) at++;
        if (at == high)
            high = middle;
        else if (listener_seq(entry[at]) < listener_seq(l))
            low = at + 1;
        else if (entry[at] == l)
            return at;
        else
            high = middle;
    }
    return low;
}

void mtaio__node_erase(struct family *f, struct node *n, struct listener *l) {
    ATOMIC(struct lane *) *link = lane_link(n, listener_rank(l));
    struct lane *lane = load_relaxed(link);
    if (!lane || lane->rank != listener_rank(l)) return;
    uint32_t at = l->node == n ? l->index : lane_search(lane, l);
    ATOMIC(struct listener *) *entry = lane_entries(lane);
    if (at >= lane->count || load_relaxed(&entry[at]) != l) return;
    store_release(&entry[at], NULL);
    if (lane->inside) {
        lane_unlink(f, link, lane);
        return;
    }
    struct lane_block *b = lane_block(lane);
    if (++b->dead == lane->count && lane->count > LANE_LEAST)
        lane_unlink(f, link, lane);
    else if (lane->count > THIN_LEAST && b->dead > lane->count / 2)
        lane_tidy(n, lane);
}

/* --- Finding by call and ctx -------------------------------------------------------------------- */

static uint32_t *index_head(struct lane_index *x, mtaio_call call, const void *ctx) {
    uint64_t hash = hash_mix((uintptr_t)call ^ mtaio__hash_key[0], (uintptr_t)ctx ^ mtaio__hash_key[1]);
    return &x->place[(uint32_t)hash & x->mask];
}
static uint32_t *index_before(struct lane_index *x, uint32_t entry) { return &x->place[x->mask + 1 + entry]; }

/* Complete. NULL: the lane is short, or there is no memory. */
static struct lane_index *index_of(const struct node *n, struct lane *lane) {
    if (lane->count <= INDEX_LEAST) return NULL;
    struct lane_block *b = lane_block(lane);
    if (b->dead == lane->count) return NULL; /* it has been retired */
    if (!b->index) {
        if (!(b->index = mtaio__alloc_zeroed(index_bytes(b)))) return NULL;
        b->index->mask = index_heads(b) - 1;
    }
    struct lane_index *x = b->index;
    for (; x->known < lane->count; x->known++) {
        const struct listener *l = load_relaxed(&lane_entries(lane)[x->known]);
        if (!l || !node_owns(n, l)) continue;
        uint32_t *head = index_head(x, listener_user_call(l), listener_user_ctx(l));
        *index_before(x, x->known) = *head;
        *head = x->known + 1;
    }
    return x;
}

static bool is_of(const struct listener *l, mtaio_call call, const void *ctx) {
    return listener_user_call(l) == call && listener_user_ctx(l) == ctx;
}

/* Takes it out, as all it meets that are not there any more. */
static struct listener *index_take(struct lane_index *x, const struct lane *lane, mtaio_call call,
                                   const void *ctx) {
    for (uint32_t *place = index_head(x, call, ctx); *place;) {
        struct listener *l = load_relaxed(&lane_entries(lane)[*place - 1]);
        uint32_t *before = index_before(x, *place - 1);
        if (l && !is_of(l, call, ctx)) {
            place = before;
            continue;
        }
        *place = *before;
        if (l) return l;
    }
    return NULL;
}

struct listener *mtaio__lane_find(const struct node *n, struct lane *lane, mtaio_call call, const void *ctx,
                                  uint32_t *at) {
    struct lane_index *x = call ? index_of(n, lane) : NULL;
    if (x) return index_take(x, lane, call, ctx);
    ATOMIC(struct listener *) *entry = lane_entries(lane);
    uint32_t i = *at < lane->count ? *at : lane->count;
    struct listener *l = NULL;
    while (i > 0) { /* from the end, because removing may close the gaps before it */
        l = load_relaxed(&entry[--i]);
        if (l && (!call || is_of(l, call, ctx)) && node_owns(n, l)) break;
        l = NULL;
    }
    *at = i;
    return l;
}

/* --- Nodes ------------------------------------------------------------------------------------- */

static size_t node_prefix(unsigned flags) { return flags & NODE_DERIVED ? sizeof(struct listener *) : 0; }

static size_t node_bytes(unsigned flags, size_t length) {
    return node_prefix(flags) + sizeof(struct node) + sizeof(struct listener *) + length + 1;
}

struct node *mtaio__node_new(const struct reclaimer *r, const char *name, size_t length, unsigned flags) {
    char *memory = mtaio__alloc_zeroed(node_bytes(flags, length));
    if (!memory) return NULL;
    struct node *n = (struct node *)(void *)(memory + node_prefix(flags));
    n->birth = reclaim_birth(load_relaxed(&r->clock));
    n->length = (uint16_t)length;
    n->flags = (uint8_t)flags;
    if (flags & NODE_ERROR) n->marks = MARK_INNER_USED; /* what is in there is called with no further look */
    memcpy(node_name(n), name, length);
    return n;
}

void mtaio__node_free(struct node *n) {
    mtaio__free((char *)n - node_prefix(n->flags), node_bytes(n->flags, n->length));
}

void mtaio__node_clear(struct family *f, struct node *n) {
    struct lane *lane = n->lanes;
    store_release(&n->lanes, NULL);
    for (; lane; lane = lane->next) lane_retire(f, lane);
}

struct listener *mtaio__node_link_to(struct node *n, const mtaio_emitter *derived) {
    const struct lane *lane = lane_of(n, RANK_DERIVED);
    for (uint32_t i = 0; lane && i < lane->count; i++) {
        struct listener *l = lane_entries(lane)[i];
        if (l && listener_link(l) == derived) return l;
    }
    return NULL;
}

void mtaio__node_substitute(struct node *n, struct listener *old, struct listener *l) {
    struct lane *lane = lane_of(n, RANK_DERIVED);
    uint32_t at = lane_search(lane, old);
    if (l->node == n) l->index = at;
    store_release(&lane_entries(lane)[at], l);
}

void mtaio__node_retire(struct family *f, struct node *n) {
    mtaio__node_clear(f, n);
    n->retired.when = (uint32_t)f->reclaimer.clock;
    n->retired.next = f->gone_nodes;
    f->gone_nodes = &n->retired;
    reclaim_waiting(&f->reclaimer, +1);
}

/* --- Listeners --------------------------------------------------------------------------------- */

static size_t listener_bytes(bool more) {
    return sizeof(struct listener) + (more ? sizeof(struct listener_more) : 0);
}

struct listener *mtaio__listener_new(const mtaio_handler *h, mtaio_call call, enum rank rank, bool more) {
    struct listener *l = mtaio__alloc(listener_bytes(more));
    if (!l) return NULL;
    bool ours = call != h->call;
    *l = (struct listener){.call = call,
                           .ctx = ours ? l : h->ctx,
                           .order = (uint64_t)rank << 8 | (more ? L_MORE : 0u) |
                                    (h->flags & MTAIO_ONCE ? L_ONCE : 0u)};
    if (more)
        *listener_more(l) = (struct listener_more){.call = h->call,
                                                   .ctx = h->ctx,
                                                   .destroy = h->destroy,
                                                   .executor = mtaio_executor_ref(h->executor)};
    return l;
}

void mtaio__listener_free(struct listener *l) { mtaio__free(l, listener_bytes(l->order & L_MORE)); }
