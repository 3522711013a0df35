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
                                                            ATOMIC(struct listener *) *entry,
                                                            ATOMIC(struct listener *) *end, bool alone,
                                                            unsigned *called) {
    for (; entry < end; entry++) {
        struct listener *l = load_acquire(entry); /* as in the walk */
        if (unlikely(!l)) continue;
        store_release(&pin->running, l);
        os_fence_light_as(false);
        mtaio_call call = load_acquire(&l->call);
        if (unlikely(!call)) continue;
        int r = call(&b->event, l->ctx);
        ++*called;
        if (likely(r >= 0) && likely(!event_flow(&b->event))) continue;
        struct part left = {.entry = entry + 1, .count = (uint32_t)(end - entry) - 1};
        if (alone)
            go_on_alone(b, l, r, left);
        else
            go_on(b, l, r, left);
        return false;
    }
    return true;
}

/* Nothing in it is more than a plain emission needs. */
static inline __attribute__((always_inline)) void brief_begin(struct brief *b, struct pin *pin,
                                                              struct node *n, void *data) {
    b->event = (mtaio_event){.name = node_name(n), .data = data, .count = 1, .walk = brief_mark(pin)};
}

static inline __attribute__((always_inline)) int brief_end(struct brief *b, struct pin *pin,
                                                           unsigned called) {
    pin_clear_as(pin, false);
    if (likely(b->event.walk != &b->walk)) return called > INT32_MAX ? INT32_MAX : (int)called;
    b->tally.called += called;
    return tally_result(&b->tally);
}

/* The handlers of one lane. */
static __attribute__((noinline)) int emit_lane(struct thread *t, struct pin *pin, struct node *n, void *data,
                                               ATOMIC(struct listener *) *entry,
                                               ATOMIC(struct listener *) *end) {
    struct brief b;
    unsigned called = 0, depth = t->depth;
    t->depth = depth + 1;
    brief_begin(&b, pin, n, data);
    run_plain(&b, pin, entry, end, true, &called);
    t->depth = depth;
    return brief_end(&b, pin, called);
}

/* Of one that is alone in its lane, as most are: a loop of one costs more than the call. */
static __attribute__((noinline)) int emit_one(struct thread *t, struct pin *pin, struct node *n, void *data,
                                              struct listener *l) {
    struct brief b;
    unsigned depth = t->depth;
    store_release(&pin->running, l); /* as in the walk */
    os_fence_light_as(false);
    mtaio_call call = load_acquire(&l->call);
    if (unlikely(!call)) {
        pin_clear_as(pin, false);
        return 0;
    }
    t->depth = depth + 1;
    brief_begin(&b, pin, n, data);
    int r = call(&b.event, l->ctx);
    if (unlikely(r < 0) || unlikely(event_flow(&b.event))) go_on_alone(&b, l, r, (struct part){0});
    t->depth = depth;
    return brief_end(&b, pin, 1);
}

/* Has the clock moved since the pin was set? Then younger handlers may be among those that were found. */
static inline bool is_late(const struct reclaimer *of, uint64_t now) {
    return unlikely(load_acquire(&of->clock) != now);
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
    struct thread *t = os_self();
    uint64_t now = load_relaxed(&pin->lower);
    unsigned called = 0, depth = t->depth;
    pin_widen(pin); /* each is to be looked into to find the next */
    walk_gather(w, n);
    if (is_late(&em->family->reclaimer, now)) return emit_again(em, pin, n, data, name);
    pin_narrow_to(pin, now);
    t->depth = depth + 1;
    brief_begin(&b, pin, n, data);
    for (; w->segment < w->segments; w->segment++) {
        const struct part *part = &w->part[w->segment];
        if (!run_plain(&b, pin, part->entry, part->entry + part->count, false, &called)) break;
    }
    t->depth = depth;
    return brief_end(&b, pin, called);
}

/* A node, and nothing unusual: no lock, no allocation, no shared line written. Under the pin, set at `now`,
 * which is cleared. What was found before the clock is seen not to have moved is as old as the pin, and so
 * kept by it. Only tail calls: nothing is saved on the stack twice. */
static inline __attribute__((always_inline)) int emit_short(mtaio_emitter *em, const struct reclaimer *of,
                                                            struct thread *t, struct pin *pin, uint64_t now,
                                                            struct node *n, void *data, const char *name) {
    const struct lane *lane = load_acquire(&n->lanes);
    if (is_late(of, now) || unlikely(!lane)) return emit_again(em, pin, n, data, name);
    if (unlikely(load_acquire(&lane->next))) return emit_lanes(em, pin, n, data, name);
    ATOMIC(struct listener *) *entry = lane_entries(lane);
    uint32_t count = load_acquire(&lane->count);
    struct listener *first = load_acquire(entry);
    if (is_late(of, now)) return emit_again(em, pin, n, data, name);
    if (count == 1 && likely(first != NULL)) return emit_one(t, pin, n, data, first);
    return emit_lane(t, pin, n, data, entry, entry + count);
}

int mtaio_emit(mtaio_emitter *em, const char *name, void *data) {
    if (unlikely(!em || !name)) return MTAIO_EINVAL;
    struct thread *t = short_thread(em);
    if (unlikely(!t)) return emit_name_long(em, name, data);
    size_t length = strlen(name);
    uint64_t hash = mtaio__hash(name, length);
    const struct reclaimer *of = &em->family->reclaimer;
    struct pin *pin = &t->pins[t->depth];
    uint64_t now = pin_set_as(pin, of, false);
    const struct table *table = load_acquire(&em->table); /* pairs with table_reserve */
    struct node *n = table ? mtaio__table_find(table, name, length, hash) : NULL;
    if (likely(n != NULL) && likely(!(n->flags & NODE_ERROR)) && !is_late(of, now)) {
        pin->em = em;
        pin_narrow_to(pin, now);
        return emit_short(em, of, t, pin, now, n, data, name);
    }
    bool nobody = !n && !load_acquire(&em->patterns.root);
    pin_clear_as(pin, false);
    if (!nobody || is_error_name(name)) return emit_name_long(em, name, data);
    int r = mtaio__name_check_length(name, length);
    return r < 0 ? r : 0;
}

int mtaio_emit_name(mtaio_name *name, void *data) {
    if (unlikely(!name)) return MTAIO_EINVAL;
    struct node *n = name->node;
    mtaio_emitter *em = name->em;
    struct thread *t = short_thread(em);
    if (unlikely(!t) || unlikely(n->flags & NODE_ERROR)) return emit_node_long(em, n, data);
    if (!load_acquire(&n->lanes)) return 0;
    const struct reclaimer *of = &em->family->reclaimer;
    struct pin *pin = &t->pins[t->depth];
    uint64_t now = pin_set_short(pin, em, of);
    return emit_short(em, of, t, pin, now, n, data, NULL);
}
