/* choose.c - which handlers an emission will call. */
#include "base/hash.h"
#include "base/memory.h"
#include "base/sort.h"
#include "core/emission.h"

#include <string.h>

/* --- Plans ------------------------------------------------------------------------------------- */

void mtaio__plan_init(struct plan *p) {
    p->limit = 0;
    p->lanes = p->own_lanes;
    p->lane_capacity = PLAN_LANES;
    p->list = p->own_list;
    p->capacity = PLAN_LINKS;
    p->lane_count = p->count = p->spare_bytes = 0;
    p->spans = NULL;
    p->spare = NULL;
    p->unhandled = NULL;
}

void mtaio__plan_free(struct plan *p) {
    if (p->lanes != p->own_lanes) mtaio__free(p->lanes, sizeof *p->lanes * p->lane_capacity);
    if (p->list != p->own_list) mtaio__free(p->list, sizeof *p->list * p->capacity);
    mtaio__free(p->spare, p->spare_bytes);
    mtaio__unhandled_free(p->unhandled);
    mtaio__plan_init(p);
}

/* Room for one more element of an array that begins in the plan itself. */
static int plan_reserve(void *array, const void *own, size_t bytes, size_t count, size_t *capacity) {
    void *old, *fresh;
    memcpy(&old, array, sizeof old);
    if (count < *capacity) return 0;
    if (old != own) return mtaio__reserve(array, bytes, count, capacity) ? 0 : MTAIO_ENOMEM;
    fresh = mtaio__alloc(bytes * *capacity * 2);
    if (!fresh) return MTAIO_ENOMEM;
    memcpy(fresh, own, bytes * count);
    memcpy(array, &fresh, sizeof fresh);
    *capacity *= 2;
    return 0;
}

static int plan_add(struct plan *p, struct listener *l) {
    int r = plan_reserve(&p->list, p->own_list, sizeof *p->list, p->count, &p->capacity);
    if (r == 0) p->list[p->count++] = l;
    return r;
}

static bool is_live(const struct listener *l, uint64_t limit) {
    return l && listener_seq(l) <= limit && load_relaxed(&l->call);
}

/* By rank, then by registration; links by when their emitters were derived, so that several to one stand
 * together. */
static uint64_t sort_key(const struct listener *l) {
    const mtaio_emitter *derived = listener_link(l);
    return derived ? derived->born : listener_seq(l);
}

static bool listener_before(const struct listener *a, const struct listener *b) {
    if (listener_rank(a) != listener_rank(b)) return listener_rank(a) < listener_rank(b);
    return sort_key(a) < sort_key(b);
}

static bool before(const void *a, const void *b) {
    return listener_before(*(struct listener *const *)a, *(struct listener *const *)b);
}

static bool is_same_target(const struct listener *a, const struct listener *b) {
    return a == b || (listener_link(a) && listener_link(a) == listener_link(b));
}

/* Of several links to one derived emitter one is enough: it will choose its own handlers. */
static void drop_double_links(struct plan *p) {
    size_t kept = 0;
    for (size_t i = 0; i < p->count; i++)
        if (kept == 0 || !is_same_target(p->list[kept - 1], p->list[i])) p->list[kept++] = p->list[i];
    p->count = kept;
}

/* --- Merging ----------------------------------------------------------------------------------- */

static bool cursor_before(const struct cursor *a, const struct cursor *b) {
    return listener_before(a->head, b->head);
}

static void sift_down(struct plan *p, size_t at) {
    struct cursor moved = p->lanes[at];
    for (size_t child; (child = 2 * at + 1) < p->lane_count; at = child) {
        if (child + 1 < p->lane_count && cursor_before(&p->lanes[child + 1], &p->lanes[child])) child++;
        if (!cursor_before(&p->lanes[child], &moved)) break;
        p->lanes[at] = p->lanes[child];
    }
    p->lanes[at] = moved;
}

/* False: the lane has no more. */
static bool cursor_step(struct cursor *c, uint64_t limit) {
    while (c->entry < c->end) {
        c->head = load_acquire(c->entry++);
        if (is_live(c->head, limit)) return true;
    }
    return false;
}

struct listener *mtaio__plan_next(struct plan *p) {
    if (p->lane_count == 0) return NULL;
    struct listener *next = p->lanes[0].head;
    if (!cursor_step(&p->lanes[0], p->limit)) p->lanes[0] = p->lanes[--p->lane_count];
    if (p->lane_count > 0) sift_down(p, 0);
    return next;
}

bool mtaio__walk_merge(struct walk *w) {
    struct plan *p = w->rest.merging;
    uint32_t n = 0;
    while (n < PLAN_PIECE && (p->piece[n] = mtaio__plan_next(p))) n++;
    w->part[0] = (struct part){.entry = p->piece, .count = n};
    w->segments = 1;
    w->segment = w->index = 0;
    return n > 0;
}

struct collecting {
    struct plan *plan;
    int r;
};

/* Adds a lane; of the derived its entries, to be put in order. */
static int collect_part(struct plan *p, const struct part *part) {
    struct cursor c = {.entry = part->entry, .end = part->entry + part->count};
    int r = 0;
    if (!cursor_step(&c, p->limit)) return 0;
    if (listener_rank(c.head) != RANK_DERIVED) {
        r = plan_reserve(&p->lanes, p->own_lanes, sizeof *p->lanes, p->lane_count, &p->lane_capacity);
        if (r == 0) p->lanes[p->lane_count++] = c;
        return r;
    }
    do {
        r = plan_add(p, c.head);
    } while (r == 0 && cursor_step(&c, p->limit));
    return r;
}

static bool collect(void *value, void *ctx) {
    struct collecting *c = ctx;
    struct walk parts;
    walk_gather(&parts, value);
    for (uint32_t s = 0; s < parts.segments && c->r == 0; s++) c->r = collect_part(c->plan, &parts.part[s]);
    return c->r == 0;
}

int mtaio__plan_patterns(struct plan *p, const mtaio_emitter *em, const char *name, uint64_t limit) {
    struct collecting c = {.plan = p};
    p->limit = limit;
    p->lane_count = p->count = 0;
    mtaio__topics_match(&em->patterns, name, collect, &c);
    if (c.r < 0) return c.r;
    mtaio__sort(p->list, p->count, sizeof *p->list, before);
    drop_double_links(p);
    struct cursor derived = {.entry = p->list, .end = p->list + p->count};
    if (cursor_step(&derived, limit)) {
        int r = plan_reserve(&p->lanes, p->own_lanes, sizeof *p->lanes, p->lane_count, &p->lane_capacity);
        if (r < 0) return r;
        p->lanes[p->lane_count++] = derived;
    }
    for (size_t i = p->lane_count / 2; i-- > 0;) sift_down(p, i);
    return 0;
}

/* --- One event --------------------------------------------------------------------------------- */

/* What was registered after the beginning stands at the end of each part. */
static void walk_trim(struct walk *w, uint64_t limit) {
    for (uint32_t s = 0; s < w->segments; s++) {
        uint32_t count = w->part[s].count;
        for (; count > 0; count--) {
            const struct listener *l = load_acquire(&w->part[s].entry[count - 1]);
            if (l && listener_seq(l) <= limit) break;
        }
        w->part[s].count = count;
    }
}

struct target mtaio__target_of(const char *name) {
    size_t length = strlen(name);
    return (struct target){.name = name, .length = length, .hash = mtaio__hash(name, length)};
}

static struct node *find(const mtaio_emitter *em, const struct target *target) {
    if (target->node) return target->node;
    const struct table *t = load_acquire(&em->table); /* pairs with table_reserve */
    return t ? mtaio__table_find(t, target->name, target->length, target->hash) : NULL;
}

static int choose_once(struct walk *w, mtaio_emitter *em, const struct target *target, struct plan *plan) {
    uint64_t limit = load_relaxed(&w->pin->lower);
    struct node *n = find(em, target);
    if (n) {
        walk_gather(w, n);
        if (w->segments == 0 && target->node && w->rest.outer) {
            /* The link's own node has been emptied meanwhile, but others of the derived emitter's may match.
             */
            struct target again = mtaio__target_of(target->name);
            return choose_once(w, em, &again, plan);
        }
        if (load_acquire(&em->family->reclaimer.clock) != limit) walk_trim(w, limit);
        return 0;
    }
    w->segments = w->segment = w->index = 0;
    if (!load_acquire(&em->patterns.root)) return 0;
    int r = mtaio__plan_patterns(plan, em, target->name, limit);
    if (r < 0) return r;
    w->rest.merging = plan;
    walk_refill(w);
    return 0;
}

int mtaio__walk_choose(struct walk *w, mtaio_emitter *em, const struct target *target, struct plan *plan) {
    pin_widen(w->pin); /* it may be narrow since the source's handlers were chosen */
    int r = choose_once(w, em, target, plan);
    pin_narrow(w->pin, &em->family->reclaimer);
    return r;
}

/* --- A batch ----------------------------------------------------------------------------------- */

/* A handler, and a group of events of one name that it is to see. */
struct pick {
    struct listener *listener;
    uint32_t group;
};

/* The events by name: groups[g] begins at first[g] in order[], which holds indices into the batch. */
struct groups {
    mtaio_event **list;
    const struct named *named; /* as in the walk */
    uint32_t count, events;
    uint32_t *group_of; /* of each event */
    uint32_t *first;    /* of each group, and one past the last */
    uint32_t *order;
};

static const char *name_at(const struct groups *g, uint32_t i) {
    return g->named ? g->named[i].name : g->list[i]->name;
}

static bool pick_before(const void *a, const void *b) {
    const struct pick *x = a, *y = b;
    if (!is_same_target(x->listener, y->listener)) return listener_before(x->listener, y->listener);
    return x->group < y->group;
}

/* Groups by name, in the order of first appearance, through a small hash table of event indices. */
static void group_events(struct groups *g, uint32_t *slots, uint32_t mask) {
    for (uint32_t i = 0; i <= mask; i++) slots[i] = UINT32_MAX;
    for (uint32_t i = 0; i < g->events; i++) {
        const char *name = name_at(g, i);
        if (i > 0 && strcmp(name, name_at(g, i - 1)) == 0) { /* most often */
            g->group_of[i] = g->group_of[i - 1];
            continue;
        }
        uint32_t at = (uint32_t)mtaio__hash(name, strlen(name)) & mask;
        while (slots[at] != UINT32_MAX && strcmp(name_at(g, slots[at]), name) != 0) at = (at + 1) & mask;
        if (slots[at] == UINT32_MAX) {
            slots[at] = i;
            g->group_of[i] = g->count++;
        } else {
            g->group_of[i] = g->group_of[slots[at]];
        }
    }
    memset(g->first, 0, sizeof *g->first * (g->count + 1));
    for (uint32_t i = 0; i < g->events; i++) g->first[g->group_of[i] + 1]++;
    for (uint32_t k = 0; k < g->count; k++) g->first[k + 1] += g->first[k];
    for (uint32_t i = 0; i < g->events; i++) g->order[g->first[g->group_of[i]]++] = i;
    for (uint32_t k = g->count; k > 0; k--) g->first[k] = g->first[k - 1];
    g->first[0] = 0;
}

struct picks {
    struct pick *list;
    size_t count, capacity;
};

static int pick(struct picks *p, struct listener *l, uint32_t group) {
    if (!mtaio__reserve(&p->list, sizeof *p->list, p->count, &p->capacity)) return MTAIO_ENOMEM;
    p->list[p->count++] = (struct pick){l, group};
    return 0;
}

static int pick_node(struct picks *p, const struct node *n, uint32_t group, uint64_t limit) {
    struct walk parts;
    int r = 0;
    walk_gather(&parts, n);
    for (uint32_t s = 0; s < parts.segments; s++) {
        for (uint32_t i = 0; i < parts.part[s].count && r == 0; i++) {
            struct listener *l = load_acquire(&parts.part[s].entry[i]);
            if (is_live(l, limit)) r = pick(p, l, group);
        }
    }
    return r;
}

static int pick_group(struct picks *p, struct walk *w, const struct groups *g, uint32_t group) {
    const char *name = name_at(g, g->order[g->first[group]]);
    struct target target = mtaio__target_of(name);
    uint64_t limit = load_relaxed(&w->pin->lower);
    struct plan plan;
    mtaio__plan_init(&plan);
    struct node *n = find(w->em, &target);
    int r = n ? pick_node(p, n, group, limit) : mtaio__plan_patterns(&plan, w->em, name, limit);
    for (struct listener *l; r == 0 && (l = mtaio__plan_next(&plan));) r = pick(p, l, group);
    plan_fini(&plan);
    return r;
}

static bool index_before(const void *a, const void *b) { return *(const uint32_t *)a < *(const uint32_t *)b; }

/* The events of several groups, in the order they were emitted. */
static void merge_groups(mtaio_event **to, const struct groups *g, const struct pick *run, size_t n,
                         uint32_t *index) {
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = g->first[run[i].group]; k < g->first[run[i].group + 1]; k++)
            index[count++] = g->order[k];
    mtaio__sort(index, count, sizeof *index, index_before);
    for (uint32_t i = 0; i < count; i++) to[i] = g->list[index[i]];
}

static size_t run_length(const struct picks *p, size_t at, const struct groups *g, uint32_t *ret_events) {
    size_t n = 0;
    *ret_events = 0;
    for (; at + n < p->count && is_same_target(p->list[at].listener, p->list[at + n].listener); n++) {
        uint32_t group = p->list[at + n].group;
        *ret_events += g->first[group + 1] - g->first[group];
    }
    return n;
}

/* One span for each handler: of one group, the group's part of `sorted`; of all, the batch; else a list of
 * its own. */
static int spread(struct plan *plan, const struct picks *p, const struct groups *g, uint32_t *index) {
    size_t handlers = 0, merged = 0;
    uint32_t n;
    for (size_t at = 0, run; at < p->count; at += run, handlers++) {
        run = run_length(p, at, g, &n);
        if (run > 1 && n < g->events) merged += n;
    }
    plan->spare_bytes = handlers * sizeof(struct span) + (g->events + merged) * sizeof(mtaio_event *);
    plan->spare = mtaio__alloc(plan->spare_bytes);
    if (!plan->spare) return MTAIO_ENOMEM;
    plan->spans = plan->spare;
    mtaio_event **sorted = (mtaio_event **)(void *)(plan->spans + handlers), **own = sorted + g->events;
    for (uint32_t i = 0; i < g->events; i++) sorted[i] = g->list[g->order[i]];
    for (size_t at = 0, run; at < p->count; at += run) {
        run = run_length(p, at, g, &n);
        struct span *span = &plan->spans[plan->count];
        span->count = n;
        span->events = n == g->events ? g->list : run == 1 ? sorted + g->first[p->list[at].group] : own;
        if (span->events == own) {
            merge_groups(own, g, &p->list[at], run, index);
            own += n;
        }
        int r = plan_add(plan, p->list[at].listener);
        if (r < 0) return r;
    }
    return 0;
}

/* The "error"s among them are to be handled by somebody: by whom, is seen as they are called. */
static int note_errors(struct walk *w, const struct groups *g, struct plan *plan) {
    uint32_t at = 0;
    while (at < g->count && strcmp(name_at(g, g->order[g->first[at]]), "error") != 0) at++;
    if (at == g->count) return 0;
    const uint32_t *index = g->order + g->first[at];
    plan->unhandled = mtaio__unhandled_new(g->list, index, g->first[at + 1] - g->first[at]);
    w->tally->unhandled = plan->unhandled;
    return plan->unhandled ? 0 : MTAIO_ENOMEM;
}

int mtaio__walk_choose_batch(struct walk *w, mtaio_emitter *em, mtaio_event **events, uint32_t count,
                             struct plan *plan) {
    uint32_t slots = 2;
    while (slots < count * 2) slots *= 2;
    size_t bytes = sizeof(uint32_t) * ((size_t)count * 3 + 1 + slots);
    uint32_t *memory = mtaio__alloc(bytes);
    if (!memory) return MTAIO_ENOMEM;
    struct groups g = {.list = events,
                       .named = w->rest.named,
                       .events = count,
                       .group_of = memory,
                       .order = memory + count,
                       .first = memory + 2 * (size_t)count};
    group_events(&g, memory + 3 * (size_t)count + 1, slots - 1);
    struct picks picks = {0};
    int r = w->rest.outer ? 0 : note_errors(w, &g, plan);
    w->em = em;
    pin_widen(w->pin);
    for (uint32_t k = 0; k < g.count && r >= 0; k++) r = pick_group(&picks, w, &g, k);
    pin_narrow(w->pin, &em->family->reclaimer);
    mtaio__sort(picks.list, picks.count, sizeof *picks.list, pick_before);
    if (r >= 0) r = spread(plan, &picks, &g, g.group_of);
    if (r >= 0) {
        w->part[0] = (struct part){.entry = plan->list, .count = (uint32_t)plan->count};
        w->segments = 1;
        w->segment = w->index = 0;
        w->rest.spans = plan->spans;
    }
    mtaio__free(picks.list, sizeof *picks.list * picks.capacity);
    mtaio__free(memory, bytes);
    return r;
}
