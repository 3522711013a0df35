/* choose.c - which handlers an emission will call. */
#include "base/hash.h"
#include "base/memory.h"
#include "base/sort.h"
#include "core/emission.h"

#include <string.h>

/* --- Plans ------------------------------------------------------------------------------------- */

void mtaio__plan_fini(struct plan *p) {
    if (p->list != p->own) mtaio__free(p->list, sizeof *p->list * p->capacity);
    mtaio__free(p->spare, p->spare_bytes);
    plan_init(p);
}

static int plan_add(struct plan *p, struct listener *l) {
    if (p->count == p->capacity) {
        size_t capacity = p->capacity * 2, bytes = sizeof *p->list * capacity;
        bool own = p->list == p->own;
        struct listener **list =
            own ? mtaio__alloc(bytes) : mtaio__resize(p->list, sizeof *p->list * p->capacity, bytes);
        if (!list) return MTAIO_ENOMEM;
        if (own) memcpy(list, p->own, sizeof p->own);
        p->list = list;
        p->capacity = capacity;
    }
    p->list[p->count++] = l;
    return 0;
}

struct collecting {
    struct plan *plan;
    uint64_t limit; /* the clock of the beginning */
    int r;
};

/* Adds the live handlers of a node, as of the limit. */
static bool collect(void *value, void *ctx) {
    struct collecting *c = ctx;
    struct walk parts;
    walk_gather(&parts, value);
    for (uint32_t s = 0; s < parts.segments; s++) {
        for (uint32_t i = 0; i < parts.part[s].count; i++) {
            struct listener *l = load_acquire(&parts.part[s].entry[i]);
            if (!l || listener_seq(l) > c->limit || !load_relaxed(&l->call)) continue;
            if ((c->r = plan_add(c->plan, l)) < 0) return false;
        }
    }
    return true;
}

/* By rank, then by registration; links by when their emitters were derived, so that several to one stand together. */
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

static void walk_plan(struct walk *w, const struct plan *plan) {
    w->part[0].entry = plan->list;
    w->part[0].count = (uint32_t)plan->count;
    w->segments = 1;
    w->segment = w->index = 0;
    w->rest.spans = plan->spans;
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

int mtaio__plan_patterns(struct plan *plan, const mtaio_emitter *em, const char *name, uint64_t limit) {
    struct collecting c = {.plan = plan, .limit = limit};
    plan->count = 0;
    mtaio__topics_match(&em->patterns, name, collect, &c);
    if (c.r < 0) return c.r;
    mtaio__sort(plan->list, plan->count, sizeof *plan->list, before);
    drop_double_links(plan);
    return 0;
}

static int choose_once(struct walk *w, mtaio_emitter *em, const struct target *target, struct plan *plan) {
    uint64_t limit = load_relaxed(&w->pin->lower);
    struct node *n = find(em, target);
    if (n) {
        walk_gather(w, n);
        if (w->segments == 0 && target->node && w->rest.outer) {
            /* The link's own node has been emptied meanwhile, but others of the derived emitter's may match. */
            struct target again = mtaio__target_of(target->name);
            return choose_once(w, em, &again, plan);
        }
        if (load_relaxed(&w->pin->upper) == PIN_WIDE) walk_trim(w, limit);
        return 0;
    }
    w->segments = w->segment = w->index = 0;
    if (!load_acquire(&em->patterns.root)) return 0;
    int r = mtaio__plan_patterns(plan, em, target->name, limit);
    if (r == 0) walk_plan(w, plan);
    return r;
}

/* Under a pin that may be older than what there is now. */
int mtaio__walk_choose(struct walk *w, mtaio_emitter *em, const struct target *target, struct plan *plan) {
    const struct reclaimer *clock = &em->family->reclaimer;
    if (pin_upper(w->pin) == load_acquire(&clock->clock)) {
        int r = choose_once(w, em, target, plan);
        if (r < 0 || load_acquire(&clock->clock) == pin_upper(w->pin)) return r;
    }
    pin_widen(w->pin);
    int r = choose_once(w, em, target, plan);
    pin_narrow(w->pin, clock);
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
    uint32_t count, events;
    uint32_t *group_of; /* of each event */
    uint32_t *first;    /* of each group, and one past the last */
    uint32_t *order;
};

static bool pick_before(const void *a, const void *b) {
    const struct pick *x = a, *y = b;
    if (!is_same_target(x->listener, y->listener)) return listener_before(x->listener, y->listener);
    return x->group < y->group;
}

/* Groups by name, in the order of first appearance, through a small hash table of event indices. */
static void group_events(struct groups *g, mtaio_event **events, uint32_t *slots, uint32_t mask) {
    for (uint32_t i = 0; i <= mask; i++) slots[i] = UINT32_MAX;
    for (uint32_t i = 0; i < g->events; i++) {
        uint32_t at = (uint32_t)mtaio__hash(events[i]->name, strlen(events[i]->name)) & mask;
        while (slots[at] != UINT32_MAX && strcmp(events[slots[at]]->name, events[i]->name) != 0) at = (at + 1) & mask;
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

static int pick_group(struct picks *p, struct walk *w, const struct groups *g, uint32_t group, mtaio_event **events) {
    const char *name = events[g->order[g->first[group]]]->name;
    struct target target = mtaio__target_of(name);
    struct plan plan;
    plan_init(&plan);
    struct collecting c = {.plan = &plan, .limit = load_relaxed(&w->pin->lower)};
    struct node *n = find(w->em, &target);
    if (n)
        collect(n, &c);
    else
        mtaio__topics_match(&w->em->patterns, name, collect, &c);
    for (size_t i = 0; i < plan.count && c.r >= 0; i++) {
        if (!mtaio__reserve(&p->list, sizeof *p->list, p->count, &p->capacity))
            c.r = MTAIO_ENOMEM;
        else
            p->list[p->count++] = (struct pick){plan.list[i], group};
    }
    mtaio__plan_fini(&plan);
    return c.r;
}

static bool index_before(const void *a, const void *b) { return *(const uint32_t *)a < *(const uint32_t *)b; }

/* The events of several groups, in the order they were emitted. */
static void merge_groups(mtaio_event **to, const struct groups *g, const struct pick *run, size_t n, mtaio_event **events,
                         uint32_t *index) {
    uint32_t count = 0;
    for (size_t i = 0; i < n; i++)
        for (uint32_t k = g->first[run[i].group]; k < g->first[run[i].group + 1]; k++) index[count++] = g->order[k];
    mtaio__sort(index, count, sizeof *index, index_before);
    for (uint32_t i = 0; i < count; i++) to[i] = events[index[i]];
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

/* One span for each handler: of one group, the group's part of `sorted`; of all, the batch; else a list of its own. */
static int spread(struct plan *plan, const struct picks *p, const struct groups *g, mtaio_event **events, uint32_t *index) {
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
    for (uint32_t i = 0; i < g->events; i++) sorted[i] = events[g->order[i]];
    for (size_t at = 0, run; at < p->count; at += run) {
        run = run_length(p, at, g, &n);
        struct span *span = &plan->spans[plan->count];
        span->count = n;
        span->events = n == g->events ? events : run == 1 ? sorted + g->first[p->list[at].group] : own;
        if (span->events == own) {
            merge_groups(own, g, &p->list[at], run, events, index);
            own += n;
        }
        int r = plan_add(plan, p->list[at].listener);
        if (r < 0) return r;
    }
    return 0;
}

int mtaio__walk_choose_batch(struct walk *w, mtaio_emitter *em, mtaio_event **events, uint32_t count, struct plan *plan) {
    uint32_t slots = 2;
    while (slots < count * 2) slots *= 2;
    size_t bytes = sizeof(uint32_t) * ((size_t)count * 3 + 1 + slots);
    uint32_t *memory = mtaio__alloc(bytes);
    if (!memory) return MTAIO_ENOMEM;
    struct groups g = {.events = count, .group_of = memory, .order = memory + count, .first = memory + 2 * count};
    group_events(&g, events, memory + 3 * (size_t)count + 1, slots - 1);
    struct picks picks = {0};
    int r = 0;
    w->em = em;
    pin_widen(w->pin);
    for (uint32_t k = 0; k < g.count && r >= 0; k++) r = pick_group(&picks, w, &g, k, events);
    pin_narrow(w->pin, &em->family->reclaimer);
    mtaio__sort(picks.list, picks.count, sizeof *picks.list, pick_before);
    if (r >= 0) r = spread(plan, &picks, &g, events, g.group_of);
    if (r >= 0) walk_plan(w, plan);
    mtaio__free(picks.list, sizeof *picks.list * picks.capacity);
    mtaio__free(memory, bytes);
    return r;
}
