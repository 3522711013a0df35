/* brief.c - the short way to emit: a node, and nothing unusual. What it writes is what it costs. */
#include "base/hash.h"
#include "core/emitter.h"

#include <string.h>

static __attribute__((noinline)) int emit_long(mtaio_emitter *em, const struct target *target, void *data) {
    mtaio_event view = {.name = target->name, .data = data, .count = 1};
    struct emit emit = {.em = em, .target = *target, .view = &view};
    return mtaio__emit(&emit);
}

/* The calling thread's record where the short way is open to it: not nested deep, nothing unusual, light
 * fences. */
static inline struct thread *short_thread(const mtaio_emitter *em) {
    struct thread *t = os_self();
    if (unlikely(!t) || unlikely(t->depth >= PINS_OWN) || unlikely(load_acquire(&em->unusual))) return NULL;
    return t;
}

/* A call was not plain: the walk takes over, and finishes, with what is left of the part w->segment. */
static __attribute__((noinline)) void go_on(struct brief *b, const struct listener *l, int r,
                                            struct part left) {
    struct walk *w = event_walk(&b->event);
    w->part[w->segment] = left;
    w->index = 0;
    mtaio__walk_on(w, l, r);
}
static __attribute__((noinline)) void go_on_alone(struct brief *b, const struct listener *l, int r,
                                                  struct part left) {
    b->walk.segments = 1;
    b->walk.segment = 0;
    go_on(b, l, r, left);
}

/* The walk's loop without what is not plain. False: the walk has taken over, and has finished. */
static inline __attribute__((always_inline)) bool run_plain(struct brief *b, struct pin *pin,
                                                            ATOMIC(struct listener *) *entry, uint32_t count,
                                                            bool alone) {
    ATOMIC(struct listener *) *end = entry + count;
    b->called += count; /* few are not called; where there are, it is put right */
    if (unlikely(count == 0)) return true;
    do {
        struct listener *l = load_acquire(entry); /* as in the walk */
        mtaio_call call = NULL;
        if (likely(l != NULL)) {
            store_release(&pin->running, l);
            os_fence_light_as(false);
            call = load_acquire(&l->call);
        }
        if (unlikely(!call)) {
            b->called--;
            continue;
        }
        int r = call(&b->event, l->ctx);
        if (likely(event_is_plain(&b->event, r))) continue;
        struct part left = {.entry = entry + 1, .count = (uint32_t)(end - entry) - 1};
        b->called -= left.count;
        if (alone)
            go_on_alone(b, load_relaxed(&pin->running), r, left);
        else
            go_on(b, load_relaxed(&pin->running), r, left);
        return false;
    } while (++entry < end);
    return true;
}

/* Nothing in it is more than a plain emission needs. The thread is one walk deeper. */
static inline __attribute__((always_inline)) void brief_begin(struct brief *b, struct thread *t,
                                                              mtaio_emitter *em, struct pin *pin,
                                                              struct node *n, void *data) {
    t->depth++;
    b->event = (mtaio_event){.name = node_name(n), .data = data, .count = 1, .walk = brief_mark(pin)};
    b->walk.em = em;
}

/* The thread is asked for again, so that it need not be kept beside the calls. */
static inline __attribute__((always_inline)) int brief_end(struct brief *b, struct pin *pin,
                                                           unsigned called) {
    struct thread *t = os_self();
    t->depth--;
    pin_clear_as(pin, false);
    if (likely(walk_is_brief(b->event.walk))) return called > INT32_MAX ? INT32_MAX : (int)called;
    b->tally.called += called;
    return tally_result(&b->tally);
}

static __attribute__((noinline)) int emit_name_long(mtaio_emitter *em, const char *name, void *data) {
    struct target target = mtaio__target_of(name);
    return emit_long(em, &target, data);
}

static __attribute__((noinline)) int emit_node_long(mtaio_emitter *em, struct node *n, void *data) {
    struct target target = {.name = node_name(n), .length = n->length, .node = n};
    return emit_long(em, &target, data);
}

/* The long way after all: nothing has been called. name NULL: a resolved one, which keeps its node. */
static __attribute__((noinline)) int emit_again(mtaio_emitter *em, struct pin *pin, struct node *n,
                                                void *data, const char *name) {
    pin_clear_as(pin, false);
    return name ? emit_name_long(em, name, data) : emit_node_long(em, n, data);
}

/* The handlers of several lanes. */
static __attribute__((noinline)) int emit_lanes(mtaio_emitter *em, struct pin *pin, struct node *n,
                                                void *data, const char *name) {
    struct brief b;
    struct walk *w = &b.walk;
    if (!walk_gather_steady(w, n, pin, &em->family->reclaimer)) return emit_again(em, pin, n, data, name);
    brief_begin(&b, os_self(), em, pin, n, data);
    b.called = 0;
    for (; w->segment < w->segments; w->segment++) {
        const struct part *part = &w->part[w->segment];
        if (!run_plain(&b, pin, part->entry, part->count, false)) break;
    }
    return brief_end(&b, pin, b.called);
}

/* Under the pin, which is narrow, and cleared at the end. What was found before the clock is seen not to have
 * moved is as old as the pin, and so kept by it. */
static __attribute__((noinline)) int emit_lane(mtaio_emitter *em, void *data, struct thread *t,
                                               struct pin *pin, struct node *n, const char *name) {
    const struct reclaimer *of = &em->family->reclaimer;
    uint64_t now = load_relaxed(&pin->lower);
    struct brief b;
    const struct lane *lane = load_acquire(&n->lanes);
    if (clock_moved(of, now) || unlikely(n->flags & NODE_ERROR)) return emit_again(em, pin, n, data, name);
    if (unlikely(!lane)) {
        pin_clear_as(pin, false);
        return 0;
    }
    if (unlikely(load_acquire(&lane->next))) return emit_lanes(em, pin, n, data, name);
    ATOMIC(struct listener *) *entry = lane_entries(lane);
    uint32_t count = load_acquire(&lane->count); /* pairs with node_append */
    if (clock_moved(of, now)) return emit_again(em, pin, n, data, name);
    brief_begin(&b, t, em, pin, n, data);
    b.called = 0;
    run_plain(&b, pin, entry, count, true);
    return brief_end(&b, pin, b.called);
}

/* The handler failed, or the event's flow is not plain. */
static __attribute__((noinline)) int end_one(struct brief *b, struct pin *pin, int r) {
    go_on_alone(b, load_relaxed(&pin->running), r, (struct part){0});
    return brief_end(b, pin, 1);
}

/* The same where l is the only one there, as most are: a loop of one costs more than the call. Little is kept
 * beside the call, for each register takes two instructions. */
static __attribute__((noinline)) int emit_one(mtaio_emitter *em, void *data, struct thread *t,
                                              struct pin *pin, struct node *n, struct listener *l) {
    struct brief b;
    store_release(&pin->running, l); /* as in the walk */
    os_fence_light_as(false);
    mtaio_call call = load_acquire(&l->call);
    if (unlikely(!call)) {
        pin_clear_as(pin, false);
        return 0;
    }
    brief_begin(&b, t, em, pin, n, data);
    int r = call(&b.event, l->ctx);
    if (unlikely(!event_is_plain(&b.event, r))) return end_one(&b, pin, r);
    return brief_end(&b, pin, 1);
}

/* Nobody has registered for any name or pattern that the name could be. */
static __attribute__((noinline)) int emit_unheard(mtaio_emitter *em, const char *name, size_t length,
                                                  void *data) {
    if (length == 5 && is_error_name(name)) return emit_name_long(em, name, data);
    return mtaio__name_refusal(name, length);
}

/* By a name that no node stands for, under the pin. */
static __attribute__((noinline)) int emit_unfound(mtaio_emitter *em, struct pin *pin, const char *name,
                                                  size_t length, void *data) {
    bool nobody = !load_acquire(&em->patterns.root);
    pin_clear_as(pin, false);
    return nobody ? emit_unheard(em, name, length, data) : emit_name_long(em, name, data);
}

/* The node of the name is found, under the pin, which is wide. */
static inline __attribute__((always_inline)) int emit_found(mtaio_emitter *em, void *data, struct thread *t,
                                                            struct pin *pin, uint64_t now, struct node *n,
                                                            const char *name) {
    const struct reclaimer *of = &em->family->reclaimer;
    struct listener *l = only_listener(n);
    if (clock_moved(of, now)) return emit_again(em, pin, n, data, name);
    pin_narrow_to(pin, now);
    if (likely(l != NULL)) return emit_one(em, data, t, pin, n, l);
    return emit_lane(em, data, t, pin, n, name);
}

/* By a name so short, or so long, that it is hashed in another way. */
static __attribute__((noinline)) int emit_uncommon(mtaio_emitter *em, const char *name, size_t length,
                                                   void *data) {
    struct thread *t = os_self();
    struct pin *pin = &t->pins[t->depth];
    uint64_t hash = mtaio__hash(name, length), now = pin_set_as(pin, &em->family->reclaimer, false);
    const struct table *table = load_acquire(&em->table); /* pairs with table_reserve */
    struct node *n = table ? mtaio__table_find(table, name, length, hash) : NULL;
    if (!n) return emit_unfound(em, pin, name, length, data);
    return emit_found(em, data, t, pin, now, n, name);
}

/* No call after strlen but the last: what lives beside it would have to be saved. */
int mtaio_emit(mtaio_emitter *em, const char *name, void *data) {
    if (unlikely(!em || !name)) return MTAIO_EINVAL;
    size_t length = strlen(name);
    struct thread *t = short_thread(em);
    if (unlikely(!t)) return emit_name_long(em, name, data);
    if (!load_acquire(&em->table) && !load_acquire(&em->patterns.root))
        return emit_unheard(em, name, length, data);
    if (unlikely(!hash_is_usual(length))) return emit_uncommon(em, name, length, data);
    uint64_t hash = hash_usual(name, length);
    struct pin *pin = &t->pins[t->depth];
    uint64_t now = pin_set_as(pin, &em->family->reclaimer, false);
    const struct table *table = load_acquire(&em->table); /* as in emit_uncommon */
    struct node *n = likely(table != NULL) ? table_look(table, name, length, hash) : NULL;
    if (unlikely(!n)) return emit_unfound(em, pin, name, length, data);
    return emit_found(em, data, t, pin, now, n, name);
}

int mtaio_emit_name(mtaio_name *name, void *data) {
    if (unlikely(!name)) return MTAIO_EINVAL;
    struct node *n = name->node;
    mtaio_emitter *em = name->em;
    struct thread *t = short_thread(em);
    if (unlikely(!t)) return emit_node_long(em, n, data);
    if (!load_acquire(&n->lanes)) return n->flags & NODE_ERROR ? emit_node_long(em, n, data) : 0;
    const struct reclaimer *of = &em->family->reclaimer;
    struct pin *pin = &t->pins[t->depth];
    uint64_t now = load_acquire(&of->clock); /* as in pin_set_as */
    pin_set_narrow(pin, of, now);
    struct listener *l = only_listener(n);
    if (likely(l != NULL) && !clock_moved(of, now)) return emit_one(em, data, t, pin, n, l);
    return emit_lane(em, data, t, pin, n, NULL);
}
