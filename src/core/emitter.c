/* emitter.c - the life of emitters and their families. */
#include "core/emitter.h"

#include <stdio.h>

#include "base/memory.h"

#define WAITING_LEAST                                                                                        \
    64 /* objects without a destroy that are left for later, where other threads may be reading */

/* --- Families ---------------------------------------------------------------------------------- */

void mtaio__family_hold(struct family *f) { atomic_add(&f->holds, 1); }

void mtaio__family_drop(struct family *f) {
    if (atomic_sub(&f->holds, 1) != 1) return;
    mtaio__fork_leave(&f->forkable);
    os_mutex_destroy(&f->lock);
    mtaio__free(f, sizeof *f);
}

static void family_sweep(struct reclaimer *r) { mtaio__family_sweep((struct family *)r); }
static void family_hold(struct reclaimer *r) { mtaio__family_hold((struct family *)r); }
static void family_drop(struct reclaimer *r) { mtaio__family_drop((struct family *)r); }

static struct family *forkable_family(struct forkable *forkable) {
    return (struct family *)(void *)((char *)forkable - offsetof(struct family, forkable));
}

/* Not held until the fork is over: ThreadSanitizer ends a program of which a thread holds more than 64. */
static void family_before_fork(struct forkable *f) {
    os_lock_inner(&forkable_family(f)->lock);
    os_unlock(&forkable_family(f)->lock);
}

static void family_in_child(struct forkable *f) { os_mutex_reset(&forkable_family(f)->lock); }

static struct family *family_new(void) {
    static const struct fork_ops ops = {family_before_fork, family_in_child, NULL};
    if (mtaio__reclaim_init() < 0) return NULL;
    struct family *f = mtaio__alloc_zeroed(sizeof *f);
    if (!f) return NULL;
    if (os_mutex_init(&f->lock) < 0) {
        mtaio__free(f, sizeof *f);
        return NULL;
    }
    f->reclaimer.sweep = family_sweep;
    f->reclaimer.hold = family_hold;
    f->reclaimer.drop = family_drop;
    f->reclaimer.clock = 1;
    f->reclaimer.enough = WAITING_LEAST;
    mtaio__fork_enter(&f->forkable, FORK_FAMILY, &ops);
    return f;
}

/* --- Freeing what was removed ------------------------------------------------------------------ */

/* On the list of those to be swept, as long as something is kept. The caller holds the family. */
static void list_pending_locked(struct family *f) {
    if (load_relaxed(&f->reclaimer.waiting) > 0)
        mtaio__reclaim_later(&f->reclaimer);
    else
        mtaio__reclaim_forget(&f->reclaimer);
}

static void free_plain_listeners(struct family *f, unsigned *freed) {
    struct listener **at = &f->gone_listeners;
    for (struct listener *l; (l = *at);) {
        const struct listener_more *m = listener_more(l);
        if (m && !m->ended && (m->destroy || m->executor)) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        mtaio__listener_free(l);
        ++*freed;
    }
}

void mtaio__family_unlock(struct family *f) {
    unsigned freed = 0;
    if (load_relaxed(&f->reclaimer.waiting) > 0 && mtaio__reclaim_is_idle()) {
        free_plain_listeners(f, &freed);
        for (struct retired *r; (r = f->gone_nodes); freed++) {
            f->gone_nodes = r->next;
            mtaio__node_free((struct node *)r);
        }
        for (struct retired *r; (r = f->reclaimer.blocks); freed++) {
            f->reclaimer.blocks = r->next;
            mtaio__block_free((struct block *)r);
        }
        reclaim_waiting(&f->reclaimer, -(int)freed);
        /* Where nothing is left it stays on the list of those to be swept, for the next sweep to find that:
         * what comes and goes need not put it there each time. */
        if (load_relaxed(&f->reclaimer.waiting) > 0) mtaio__reclaim_later(&f->reclaimer);
    }
    os_unlock(&f->lock);
}

/* What is retired, taken off the family while it is looked at. */
struct retirees {
    struct listener *listeners;
    struct retired *nodes, *emitters, *blocks;
};

static bool is_empty(const struct retirees *g) {
    return !g->listeners && !g->nodes && !g->emitters && !g->blocks;
}

static struct retirees take_retirees(struct family *f) {
    os_lock(&f->lock);
    struct retirees g = {f->gone_listeners, f->gone_nodes, f->gone_emitters, f->reclaimer.blocks};
    f->gone_listeners = NULL;
    f->gone_nodes = f->gone_emitters = f->reclaimer.blocks = NULL;
    os_unlock(&f->lock);
    return g;
}

static void give_back_list(struct retired **to, struct retired *list) {
    struct retired **end = &list;
    while (*end) end = &(*end)->next;
    *end = *to;
    *to = list;
}

static void give_back(struct family *f, struct retirees *kept, unsigned freed) {
    os_lock(&f->lock);
    struct listener **end = &kept->listeners;
    while (*end) end = &(*end)->next;
    *end = f->gone_listeners;
    f->gone_listeners = kept->listeners;
    give_back_list(&f->gone_nodes, kept->nodes);
    give_back_list(&f->gone_emitters, kept->emitters);
    give_back_list(&f->reclaimer.blocks, kept->blocks);
    reclaim_waiting(&f->reclaimer, -(int)freed);
    store_relaxed(&f->reclaimer.enough, load_relaxed(&f->reclaimer.waiting) * 2 + WAITING_LEAST);
    list_pending_locked(f);
    os_unlock(&f->lock);
}

/* No call can be using the context any more. */
static void listener_end(struct listener *l) {
    struct listener_more *m = listener_more(l);
    if (!m || m->ended) return;
    m->ended = true;
    mtaio_executor_unref(m->executor);
    if (m->destroy) m->destroy(m->ctx);
}

/* Frees the listeners no pin holds; of the others, ends those that nobody is calling. */
static unsigned sweep_listeners(struct listener **list, const struct scan *s) {
    struct listener *kept = NULL, *next;
    unsigned freed = 0;
    for (struct listener *l = *list; l; l = next) {
        next = l->next;
        bool held = mtaio__scan_holds(s, listener_seq(l), l->when);
        if (!held || !mtaio__scan_runs(s, l)) listener_end(l);
        if (held) {
            l->next = kept;
            kept = l;
        } else {
            mtaio__listener_free(l);
            freed++;
        }
    }
    *list = kept;
    return freed;
}

static void emitter_free(mtaio_emitter *em) {
    struct family *f = em->family;
    if (load_relaxed(&em->hooks)) mtaio__node_free(em->hooks);
    mtaio__derivation_free(em->derivation);
    mtaio__topics_fini(&em->patterns);
    mtaio__block_free(em->table ? &em->table->block : NULL);
    mtaio__block_free(em->pattern_table ? &em->pattern_table->block : NULL);
    mtaio__free_string(em->name);
    mtaio__free(em, sizeof *em);
    if (atomic_sub(&f->members, 1) == 1 && f->destroy) f->destroy(f->ctx);
    mtaio__family_drop(f);
}

static unsigned sweep_rest(struct retirees *g, const struct scan *s) {
    unsigned freed = 0;
    struct retired *next;
    for (struct retired *r = mtaio__retired_split(&g->blocks, s); r; r = next, freed++) {
        next = r->next;
        mtaio__block_free((struct block *)r);
    }
    for (struct retired *r = mtaio__retired_split(&g->nodes, s); r; r = next, freed++) {
        next = r->next;
        mtaio__node_free((struct node *)r);
    }
    for (struct retired *r = mtaio__retired_split(&g->emitters, s); r; r = next, freed++) {
        next = r->next;
        emitter_free(retired_emitter(r));
    }
    return freed;
}

/* Twice at most: what a pin holds the first time asks that pin's owner to sweep again, and is looked at once
 * more, for the pin may have gone before it was asked. */
void mtaio__family_sweep(struct family *f) {
    mtaio__family_hold(f);
    for (int attempt = 0; attempt < 2; attempt++) {
        struct retirees g = take_retirees(f);
        if (is_empty(&g)) break;
        struct scan s = {.clock = load_acquire(&f->reclaimer.clock)};
        if (!mtaio__reclaim_is_idle()) mtaio__scan(&f->reclaimer, attempt == 0, &s);
        unsigned freed = sweep_listeners(&g.listeners, &s);
        freed += sweep_rest(&g, &s);
        bool done = is_empty(&g);
        give_back(f, &g, freed);
        if (done) break;
    }
    mtaio__family_drop(f);
}

static void let_them_go(struct family *f) {
    for (;;) {
        os_lock(&f->lock);
        mtaio_emitter *em = load_relaxed(&f->letting_go);
        uint32_t drop = 0;
        if (em) {
            store_relaxed(&f->letting_go, em->next_letting_go);
            em->letting_go = false;
            drop = em->owed;
            em->owed = 0;
            if (em->held && (em->population == 0 || !em->source)) {
                em->held = false;
                drop++;
            }
        }
        os_unlock(&f->lock);
        if (!em) return;
        while (drop-- > 0) mtaio_emitter_unref(em);
    }
}

static bool is_sweep_due(const struct family *f, bool eager) {
    unsigned waiting = load_relaxed(&f->reclaimer.waiting);
    return waiting > 0 &&
           (eager || waiting >= load_relaxed(&f->reclaimer.enough) || mtaio__reclaim_is_idle());
}

/* Something waits, and nobody has been told to sweep. */
static bool is_unlisted(const struct family *f) {
    return load_relaxed(&f->reclaimer.waiting) > 0 && !load_relaxed(&f->reclaimer.pending);
}

void mtaio__free_removed(struct family *f, bool eager) {
    if (!load_relaxed(&f->letting_go) && !is_unlisted(f) && !is_sweep_due(f, eager)) return;
    mtaio__family_hold(f);
    if (load_relaxed(&f->letting_go)) let_them_go(f);
    if (is_sweep_due(f, eager)) {
        mtaio__family_sweep(f);
    } else if (is_unlisted(f)) {
        os_lock(&f->lock);
        list_pending_locked(f);
        os_unlock(&f->lock);
    }
    mtaio__family_drop(f);
}

/* --- Emitters ---------------------------------------------------------------------------------- */

static int enter_source(mtaio_emitter *em, mtaio_emitter *source) {
    struct family *f = source->family;
    os_lock(&f->lock);
    bool closed = load_relaxed(&source->unusual) & EM_CLOSED;
    em->born = reclaim_tick(&f->reclaimer);
    em->retired.birth = reclaim_birth(em->born);
    if (!closed) {
        em->source = source;
        em->level = source->level + 1;
        em->keeps_source = source->source != NULL;
        if (em->keeps_source) atomic_add(&source->refs, 1);
        em->max_listeners = source->max_listeners;
        em->next_derived = source->first_derived;
        if (em->next_derived) em->next_derived->prev_derived = em;
        source->first_derived = em;
    }
    os_unlock(&f->lock);
    return closed ? MTAIO_ECLOSED : 0;
}

int mtaio__emitter_create(const mtaio_emitter_options *options, mtaio_emitter *source,
                          struct derivation *derivation, mtaio_emitter **ret) {
    if (source && source->level + 1 >= MTAIO_DEPTH_MAX) return MTAIO_EDEPTH;
    mtaio_emitter *em = mtaio__alloc_zeroed(sizeof *em);
    int r = MTAIO_ENOMEM;
    if (!em) return r;
    em->refs = 1;
    em->unusual = os_is_asymmetric() ? 0 : EM_FENCED;
    if (options && options->name && !(em->name = mtaio__copy_string(options->name))) goto fail;
    em->family = source ? source->family : family_new();
    if (!em->family) goto fail;
    mtaio__family_hold(em->family);
    mtaio__topics_init(&em->patterns, &em->family->reclaimer);
    r = source ? enter_source(em, source) : 0;
    if (r < 0) goto fail;
    em->derivation = derivation;
    atomic_add(&em->family->members, 1);
    if (options) {
        em->max_listeners = options->max_listeners;
        em->family->trouble = options->trouble;
        em->family->destroy = options->destroy;
        em->family->ctx = options->ctx;
    }
    *ret = em;
    return 0;
fail:
    if (em->family) mtaio__family_drop(em->family);
    mtaio__free_string(em->name);
    mtaio__free(em, sizeof *em);
    return r;
}

int mtaio_emitter_new(const mtaio_emitter_options *options, mtaio_emitter **ret) {
    int r = !ret || (options && options->size != sizeof *options) ? MTAIO_EINVAL : 0;
    if (r == 0) r = mtaio__emitter_create(options, NULL, NULL, ret);
    if (r < 0 && options && options->size == sizeof *options && options->destroy)
        options->destroy(options->ctx);
    return r;
}

mtaio_emitter *mtaio_emitter_ref(mtaio_emitter *em) {
    if (em) atomic_add(&em->refs, 1);
    return em;
}

mtaio_emitter *mtaio_emitter_unref(mtaio_emitter *em) {
    if (!em || atomic_sub(&em->refs, 1) != 1) return NULL;
    struct family *f = em->family;
    mtaio__family_hold(f);
    mtaio_emitter_close(em);
    os_lock(&f->lock);
    em->retired.when = (uint32_t)load_relaxed(&f->reclaimer.clock);
    em->retired.next = f->gone_emitters;
    f->gone_emitters = &em->retired;
    reclaim_waiting(&f->reclaimer, +1);
    reclaim_tick(&f->reclaimer);
    os_unlock(&f->lock);
    mtaio__after_removing(f, true);
    mtaio__family_drop(f);
    return NULL;
}

int mtaio_emitter_close(mtaio_emitter *em) {
    if (!em) return MTAIO_EINVAL;
    struct family *f = em->family;
    mtaio__family_hold(f);
    os_lock(&f->lock);
    bool first = !(atomic_or(&em->unusual, EM_CLOSED) & EM_CLOSED); /* pairs with the emissions' looking */
    if (first) mtaio__unregister_all_locked(em);
    os_unlock(&f->lock);
    if (first) {
        mtaio__suppressed_close(em);
        mtaio__gathered_drop(em);
        mtaio__deferrals_close(f, em);
        mtaio__delayed_close(em);
        mtaio__after_removing(f, true);
    }
    mtaio__family_drop(f);
    return 0;
}

bool mtaio_emitter_is_closed(const mtaio_emitter *em) {
    return !em || load_acquire(&em->unusual) & EM_CLOSED;
}
const char *mtaio_emitter_name(const mtaio_emitter *em) { return em && em->name ? em->name : ""; }

int mtaio_emitter_set_max_listeners(mtaio_emitter *em, size_t limit) {
    if (!em) return MTAIO_EINVAL;
    os_lock(&em->family->lock);
    em->max_listeners = limit;
    os_unlock(&em->family->lock);
    return 0;
}

void mtaio__trouble(const mtaio_emitter *em, const mtaio_trouble *trouble) {
    if (em->family->trouble) {
        em->family->trouble(trouble, em->family->ctx);
        return;
    }
    char line[256];
    if (trouble->kind == MTAIO_TROUBLE_LISTENERS)
        (void)snprintf(line, sizeof line, "mtaio: emitter '%.60s' has %zu listeners for '%.100s': a leak?",
                       trouble->emitter, trouble->count, trouble->name);
    else
        (void)snprintf(line, sizeof line, "mtaio: emitter '%.60s': '%.100s' failed and nobody handles it: %s",
                       trouble->emitter, trouble->name, mtaio_error_text(trouble->status));
    os_complain(line);
}
