/* register.c - putting handlers in, taking them out, and keeping the merged lanes right. All under the
 * family's lock.
 *
 * A derived emitter that listens to a pattern has one link under the same pattern in its source; so a source
 * knows for each name whether anybody behind it listens, however long the chain. */
#include "base/hash.h"
#include "base/memory.h"
#include "core/emitter.h"

#include <string.h>

#define IDLE_MASK 16 /* a node without handlers is kept only in a table smaller than this */

static bool is_link(const struct listener *l) { return listener_link(l) != NULL; }
static bool is_needed(const struct node *n) { return n->handlers || n->links || n->refs; }

/* --- Nodes ------------------------------------------------------------------------------------- */

static ATOMIC(struct table *) *table_of(mtaio_emitter *em, bool pattern) {
    return pattern ? &em->pattern_table : &em->table;
}

int mtaio__key_init(struct key *key, const char *pattern) {
    bool is_name;
    int r = mtaio__pattern_check(pattern, &is_name);
    if (r < 0) return r;
    *key = (struct key){.text = pattern,
                        .length = (size_t)r,
                        .hash = mtaio__hash(pattern, (size_t)r),
                        .is_pattern = !is_name};
    return 0;
}

struct node *mtaio__node_find_locked(const mtaio_emitter *em, const struct key *key) {
    const struct table *t = key->is_pattern ? em->pattern_table : load_relaxed(&em->table);
    return t ? mtaio__table_find(t, key->text, key->length, key->hash) : NULL;
}

/* A name's lanes begin with the handlers of the patterns that match it. */
static int fill_from_patterns(mtaio_emitter *em, struct node *n) {
    struct plan plan;
    mtaio__plan_init(&plan);
    int r = mtaio__plan_patterns(&plan, em, node_name(n), UINT64_MAX);
    for (struct listener *l; r == 0 && (l = mtaio__plan_next(&plan));) {
        r = mtaio__node_reserve(em->family, n, listener_rank(l));
        if (r == 0) mtaio__node_append(n, l);
    }
    plan_fini(&plan);
    return r;
}

static void remove_node(mtaio_emitter *em, struct node *n) {
    struct reclaimer *r = &em->family->reclaimer;
    mtaio__table_remove(table_of(em, n->flags & NODE_PATTERN), n, mtaio__hash(node_name(n), n->length), r);
    if (n->flags & NODE_PATTERN) mtaio__topics_remove(&em->patterns, node_name(n));
    mtaio__node_retire(em->family, n);
    reclaim_tick(r);
}

int mtaio__node_obtain_locked(mtaio_emitter *em, const struct key *key, struct node **ret) {
    struct node *n = mtaio__node_find_locked(em, key);
    if (n) {
        if (em->idle == n) em->idle = NULL;
        *ret = n;
        return 0;
    }
    struct reclaimer *clock = &em->family->reclaimer;
    unsigned flags = (key->is_pattern ? NODE_PATTERN : 0u) | (em->derivation ? NODE_DERIVED : 0u) |
                     (strcmp(key->text, "error") == 0 ? NODE_ERROR : 0u);
    ATOMIC(struct table *) *table = table_of(em, flags & NODE_PATTERN);
    int r = mtaio__table_reserve(table, clock);
    if (r < 0) return r;
    reclaim_tick(clock);
    n = mtaio__node_new(clock, key->text, key->length, flags);
    if (!n) return MTAIO_ENOMEM;
    if (flags & NODE_PATTERN) {
        ATOMIC(void *) *slot = mtaio__topics_add(&em->patterns, key->text);
        r = slot ? 0 : MTAIO_ENOMEM;
        if (slot) store_release(slot, n); /* pairs with topics_match */
    } else {
        r = fill_from_patterns(em, n);
    }
    if (r < 0) {
        mtaio__node_clear(em->family, n);
        mtaio__node_free(n);
        return r;
    }
    mtaio__table_insert(load_relaxed(table), n, key->hash);
    *ret = n;
    return 0;
}

static void unlink_from_source(mtaio_emitter *em, struct node *n) {
    if (!(n->flags & NODE_DERIVED) || !*node_link(n)) return;
    struct listener *link = *node_link(n);
    *node_link(n) = NULL;
    em->links_up--;
    mtaio__unregister_locked(em->source, link);
}

void mtaio__node_release_locked(mtaio_emitter *em, struct node *n) {
    if (!n->handlers && !n->links) unlink_from_source(em, n);
    if (is_needed(n)) return;
    struct node *old = em->idle;
    const struct table *t = load_relaxed(table_of(em, n->flags & NODE_PATTERN));
    bool keep = t->mask < IDLE_MASK && !(load_relaxed(&em->unusual) & EM_CLOSED);
    em->idle = keep ? n : NULL;
    if (!keep) remove_node(em, n);
    if (old && old != n) remove_node(em, old);
}

/* --- Adding ------------------------------------------------------------------------------------ */

/* The names a pattern's handlers are merged into. */
static struct node *next_matching(const mtaio_emitter *em, const struct node *pattern, uint32_t *at) {
    for (struct node *n; (n = mtaio__table_next(load_relaxed(&em->table), at));)
        if (mtaio__pattern_matches(node_name(pattern), node_name(n))) return n;
    return NULL;
}

static __attribute__((noinline)) int reserve_matching(mtaio_emitter *em, const struct node *pattern,
                                                      enum rank rank) {
    int r = 0;
    uint32_t at = 0;
    for (struct node *n; r == 0 && (n = next_matching(em, pattern, &at));)
        r = mtaio__node_reserve(em->family, n, rank);
    return r;
}

static int reserve_all(mtaio_emitter *em, struct node *n, enum rank rank) {
    int r = mtaio__node_reserve(em->family, n, rank);
    return r == 0 && n->flags & NODE_PATTERN ? reserve_matching(em, n, rank) : r;
}

/* Where a node has a link to the same derived emitter already, one is enough. */
static void append_to(struct node *n, struct listener *l) {
    mtaio_emitter *derived = listener_link(l);
    if (derived && derived->links_up > 0 && mtaio__node_link_to(n, derived)) {
        if (l->node == n) l->index = UINT32_MAX;
        return;
    }
    mtaio__node_append(n, l);
}

static __attribute__((noinline)) void append_to_matching(mtaio_emitter *em, const struct node *pattern,
                                                         struct listener *l) {
    uint32_t at = 0;
    for (struct node *n; (n = next_matching(em, pattern, &at));) append_to(n, l);
}

static inline __attribute__((always_inline)) void commit(mtaio_emitter *em, struct node *n,
                                                         struct listener *l) {
    l->node = n;
    l->order |= reclaim_tick(&em->family->reclaimer) << 16;
    append_to(n, l);
    if (n->flags & NODE_PATTERN) append_to_matching(em, n, l);
    if (is_link(l)) {
        n->links++;
    } else {
        n->handlers++;
        em->handlers++;
    }
    if (em->population++ == 0 && em->source && !em->held) {
        em->held = true;
        atomic_add(&em->refs, 1);
    }
}

static __attribute__((noinline)) int link_to_source(mtaio_emitter *em, struct node *n, const struct key *key);

/* A node with room for l everywhere, and a link to it in the source. */
static inline __attribute__((always_inline)) int prepare(mtaio_emitter *em, const struct key *key,
                                                         enum rank rank, struct node **ret) {
    struct node *n = key->node;
    if (load_relaxed(&em->family->reclaimer.clock) > CLOCK_MAX - UINT32_MAX) return MTAIO_ELIMIT;
    int r = n ? 0 : mtaio__node_obtain_locked(em, key, &n);
    if (r < 0) return r;
    r = reserve_all(em, n, rank);
    if (r == 0 && em->source) r = link_to_source(em, n, key);
    if (r < 0)
        mtaio__node_release_locked(em, n);
    else
        *ret = n;
    return r;
}

static __attribute__((noinline)) int link_to_source(mtaio_emitter *em, struct node *n,
                                                    const struct key *key) {
    if (*node_link(n) || !mtaio__derivation_admits(em->derivation, key->text, !key->is_pattern)) return 0;
    mtaio_handler h = {.size = sizeof h, .ctx = em};
    struct listener *link = mtaio__listener_new(&h, mtaio__link_call(em, n), RANK_DERIVED, true);
    if (!link) return MTAIO_ENOMEM;
    listener_more(link)->target = n;
    struct key theirs = *key;
    theirs.node = NULL;
    struct node *above;
    int r = prepare(em->source, &theirs, RANK_DERIVED, &above);
    if (r < 0) {
        mtaio__listener_free(link);
        return r;
    }
    commit(em->source, above, link);
    *node_link(n) = link;
    em->links_up++;
    return 0;
}

int mtaio__register(mtaio_emitter *em, const struct key *key, struct listener *l, mtaio_listener **ret) {
    struct family *f = em->family;
    mtaio_listener *handle = NULL;
    if (ret && !(handle = mtaio__alloc_zeroed(sizeof *handle))) return MTAIO_ENOMEM;
    struct node *n = NULL;
    size_t too_many = 0;
    os_lock(&f->lock);
    int r = load_relaxed(&em->unusual) & EM_CLOSED ? MTAIO_ECLOSED : prepare(em, key, listener_rank(l), &n);
    if (r == 0) {
        if (handle) {
            *handle = (mtaio_listener){.refs = 1, .family = f, .em = em, .listener = l, .was = l};
            listener_more(l)->handle = handle;
            mtaio__family_hold(f);
            *ret = handle;
        }
        commit(em, n, l);
        if (em->max_listeners && n->handlers > em->max_listeners && !(n->marks & MARK_REPORTED)) {
            n->marks |= MARK_REPORTED;
            too_many = n->handlers;
        }
    }
    mtaio__family_unlock(f);
    if (r < 0) mtaio__free(handle, sizeof *handle);
    mtaio__after_removing(f, false); /* lanes and tables that were replaced */
    if (too_many)
        mtaio__trouble(em, &(mtaio_trouble){.kind = MTAIO_TROUBLE_LISTENERS,
                                            .emitter = mtaio_emitter_name(em),
                                            .name = key->text,
                                            .status = MTAIO_ELIMIT,
                                            .count = too_many});
    return r;
}

/* --- Removing ---------------------------------------------------------------------------------- */

/* References cannot be dropped under the lock: see let_them_go. */
static void drop_later(mtaio_emitter *em) {
    if (em->letting_go) return;
    em->letting_go = true;
    em->next_letting_go = em->family->letting_go;
    store_relaxed(&em->family->letting_go, em);
}

/* A derived emitter without handlers, or without a source, does not keep itself any more. */
static void let_go(mtaio_emitter *em) {
    if (em->held) drop_later(em);
}

static void unkeep_source(mtaio_emitter *em) {
    if (!em->keeps_source) return;
    em->keeps_source = false;
    em->source->owed++;
    drop_later(em->source);
}

/* Off the books: nobody will call it any more. A link stays callable for the emissions that have it in view:
 * the derived emitter knows best who is left there. */
static void retire_listener(mtaio_emitter *em, struct listener *l) {
    struct family *f = em->family;
    struct listener_more *m = listener_more(l);
    struct node *n = l->node;
    bool hook = n == load_relaxed(&em->hooks);
    if (is_link(l)) {
        n->links--;
    } else {
        store_release(&l->call, NULL); /* pairs with the walk's reading of it */
        n->handlers--;
        em->handlers -= !hook;
    }
    if (m && m->handle) m->handle->listener = NULL;
    l->when = (uint32_t)load_relaxed(&f->reclaimer.clock);
    l->next = f->gone_listeners;
    f->gone_listeners = l;
    reclaim_waiting(&f->reclaimer, +1);
    if (hook && n->handlers == 0) atomic_sub(&em->unusual, EM_HOOKED);
    if (!hook && --em->population == 0) let_go(em);
}

/* Another link of the same derived emitter that matches the name takes the place of one that goes. */
static struct listener *other_link(const mtaio_emitter *derived, const struct node *n) {
    struct nodes nodes = NODES_OF(derived);
    for (struct node *theirs; derived->links_up > 0 && (theirs = nodes_next(&nodes));)
        if (*node_link(theirs) && mtaio__pattern_matches(node_name(theirs), node_name(n)))
            return *node_link(theirs);
    return NULL;
}

static __attribute__((noinline)) bool replace_link(struct node *n, struct listener *l) {
    const mtaio_emitter *derived = listener_link(l);
    if (n->flags & NODE_PATTERN || mtaio__node_link_to(n, derived) != l) return false;
    struct listener *other = other_link(derived, n);
    if (other) mtaio__node_substitute(n, l, other);
    return other != NULL;
}

static void erase_from(struct family *f, struct node *n, struct listener *l) {
    if (!is_link(l) || !replace_link(n, l)) mtaio__node_erase(f, n, l);
}

static __attribute__((noinline)) void erase_from_matching(mtaio_emitter *em, const struct node *pattern,
                                                          struct listener *l) {
    uint32_t at = 0;
    for (struct node *n; (n = next_matching(em, pattern, &at));) erase_from(em->family, n, l);
}

void mtaio__unregister_locked(mtaio_emitter *em, struct listener *l) {
    struct node *n = l->node;
    if (n->flags & NODE_PATTERN) erase_from_matching(em, n, l);
    erase_from(em->family, n, l);
    retire_listener(em, l);
    reclaim_tick(&em->family->reclaimer);
    mtaio__node_release_locked(em, n);
}

/* Every registration of the node's own. */
static void retire_own(mtaio_emitter *em, struct node *n) {
    struct walk parts;
    walk_gather(&parts, n);
    for (uint32_t s = 0; s < parts.segments; s++) {
        for (uint32_t i = 0; i < parts.part[s].count; i++) {
            struct listener *l = load_relaxed(&parts.part[s].entry[i]);
            if (l && l->node == n && !is_link(l)) retire_listener(em, l);
        }
    }
}

/* A derived emitter loses its source, and its links go with that. */
static void orphan(mtaio_emitter *derived) {
    struct nodes nodes = NODES_OF(derived);
    for (struct node *n; (n = nodes_next(&nodes));) {
        struct listener *link = *node_link(n);
        if (!link) continue;
        store_release(&link->call,
                      NULL); /* unlike one that is only not needed: emissions under way do not come through */
        retire_listener(derived->source, link);
        *node_link(n) = NULL;
    }
    derived->links_up = 0;
    unkeep_source(derived);
    derived->source = NULL;
    let_go(derived);
    /* Only its users keep it now, not what is derived from it: nothing comes through any more but what they
     * emit. */
    for (mtaio_emitter *d = derived->first_derived; d; d = d->next_derived) unkeep_source(d);
}

static void leave_source(mtaio_emitter *em) {
    if (!em->source) return;
    struct nodes nodes = NODES_OF(em);
    for (struct node *n; (n = nodes_next(&nodes));) unlink_from_source(em, n);
    if (em->next_derived) em->next_derived->prev_derived = em->prev_derived;
    if (em->prev_derived)
        em->prev_derived->next_derived = em->next_derived;
    else
        em->source->first_derived = em->next_derived;
    unkeep_source(em);
    em->source = NULL;
}

void mtaio__unregister_all_locked(mtaio_emitter *em) {
    struct family *f = em->family;
    const struct nodes all = NODES_OF(em);
    struct nodes nodes = all;
    leave_source(em);
    for (mtaio_emitter *d; (d = em->first_derived); d->next_derived = d->prev_derived = NULL) {
        em->first_derived = d->next_derived;
        orphan(d);
    }
    for (struct node *n; (n = nodes_next(&nodes));) retire_own(em, n);
    struct node *hooks = load_relaxed(&em->hooks);
    if (hooks) {
        retire_own(em, hooks);
        mtaio__node_clear(f, hooks);
    }
    nodes = all;
    for (struct node *n; (n = nodes_next(&nodes));) {
        mtaio__node_clear(f, n);
        if (!is_needed(n)) remove_node(em, n);
    }
    em->idle = NULL;
    let_go(em);
    reclaim_tick(&f->reclaimer);
}
