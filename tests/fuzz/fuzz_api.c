/* fuzz_api.c - sequences of calls of the public API, from outside and from handlers, against a model of plain arrays.
 *
 * An input is a script for each of eight handlers (a byte of flags, two operations), then operations: four bytes each, the
 * operation and its arguments, every byte valid. Each is done by the library, then by the model (api_model.h), which expects
 * the same calls in the same order, with the same results. At the end everything is given back, and no memory may be left. */
#include "../unit/topic_oracle.h"
#include "api_hold.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SCRIPT = 9, DEPTH = 5, FUEL = 40, SLOTS = 4 };

static const char *const text[PATTERNS] = {"a", "b", "a.b", "a.b.c", "error", "b.c", "*", "**", "a.*", "a.**", "*.b", "**.c"};
static const mtaio_priority priority[] = {MTAIO_HIGHEST, MTAIO_HIGH, MTAIO_NORMAL, MTAIO_LOW, MTAIO_LOWEST};

/* What the operations use, kept for the library and for the model alike: slots hold the number of a thing, or HANDLE. */
enum { EM, LISTENER, NAME, BATCH, HOLD, DEFERRAL, KINDS };
struct side {
    int slot[KINDS][SLOTS], made[KINDS];
    int root[EMITTERS], level[EMITTERS], kind[EMITTERS], listener_em[REGISTRATIONS], name_em[HELD], name_of[HELD], batch_em[HELD];
    int held_em[HELD], level_of_batch[HELD];
    int fuel, depth, data;
    bool waiting;
};
static struct side sides[2], *s;

static struct {
    mtaio_emitter *em[EMITTERS];
    mtaio_listener *listener[REGISTRATIONS];
    mtaio_name *name[HELD];
    mtaio_batch *batch[HELD];
    mtaio_suppression *hold[HELD];
    mtaio_deferral *deferral[DEFERRALS];
} real;

struct context {
    int em, actor;
} contexts[EMITTERS][ACTORS];

static const uint8_t *script;
static bool ending;
static int with_destroy, destroyed;
static size_t blocks;

static void do_operation(const uint8_t *op);

/* --- Handlers ------------------------------------------------------------------------------------------------------ */

static int data_of(const mtaio_event *event) { return (int)(intptr_t)mtaio_event_data(event); }

static int name_of(const char *name) {
    int i = 0;
    while (i < NAMES && strcmp(text[i], name) != 0)
        i++;
    expect(i < NAMES);
    return i;
}

/* Completes at once, in one of three ways, or leaves it in a slot. */
static int defer_now(void *event, unsigned how, int em, bool batch) {
    int slot = em % SLOTS, d = s->made[DEFERRAL];
    (void)batch;
    if (d == DEFERRALS)
        return HANDLE;
    bool keep = how == 3 && !s->waiting && s->slot[DEFERRAL][slot] == HANDLE;
    s->made[DEFERRAL]++;
    int status = how == 1 ? 0 : how == 2 ? -55 : MTAIO_EABANDONED;
    if (keep)
        s->slot[DEFERRAL][slot] = d;
    if (trace.modelling) {
        m_deferral[d] = (struct m_deferral){.done = !keep, .status = how == 3 ? 0 : status};
        m_deferrals = d + 1;
        return d;
    }
    expect(mtaio_event_defer(event, &real.deferral[d]) == 0);
    mtaio_deferral *extra;
    expect(mtaio_event_defer(event, &extra) == MTAIO_EALREADY);
    if (!keep) {
        expect(mtaio_deferral_complete(real.deferral[d], how == 3 ? 0 : status) == 0);
        mtaio_deferral_unref(real.deferral[d]);
    }
    return d;
}

static int run_actor(int em, int actor, void *event, const struct items *items, bool batch, int *ret_deferral) {
    const uint8_t *own = script + actor * SCRIPT;
    saw(CALL, em, actor, batch ? items->count : 0);
    for (int i = 0; i < items->count; i++)
        saw(ITEM, em, items->list[i].name, items->list[i].data);
    if (own[0] & 4 && trace.modelling && event != NULL)
        *(bool *)event = true;
    if (own[0] & 4 && !trace.modelling)
        expect(mtaio_event_set_propagate(event, false) == 0);
    if (own[0] & 24)
        *ret_deferral = defer_now(event, own[0] >> 3 & 3, em, batch);
    if (s->depth < DEPTH) {
        s->depth++;
        if (own[0] & 32)
            do_operation(own + 1);
        if (own[0] & 64)
            do_operation(own + 5);
        s->depth--;
    }
    return own[0] % 4 == 3 ? -10 - actor : 0;
}

static int play(mtaio_event *event, void *ctx) {
    const struct context *c = ctx;
    struct items items = {.count = 0};
    int deferral;
    if (ending)
        return 0;
    for (size_t i = 0; i < mtaio_event_count(event); i++) {
        const mtaio_event *one = mtaio_event_at(event, i);
        expect(items.count < ITEMS);
        items.list[items.count++] = (struct item){name_of(mtaio_event_name(one)), data_of(one)};
    }
    return run_actor(c->em, c->actor, event, &items, mtaio_event_is_batch(event), &deferral);
}

static void on_destroy(void *ctx) {
    (void)ctx;
    destroyed++;
}

static int filter(const mtaio_event *event, void *ctx) {
    int em = (int)(intptr_t)ctx;
    if (ending)
        return 1;
    saw(PASS, em, name_of(mtaio_event_name(event)), data_of(event));
    return predicate(em, data_of(event));
}

static int map(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    int r = filter(event, ctx);
    expect(mtaio_event_set_data(mapped, (char *)mtaio_event_data(event) + MAPPED, NULL) == 0);
    return r;
}

static void on_done(int result, const mtaio_report *report, void *ctx) {
    if (!ending)
        saw(DONE, (int)(intptr_t)ctx, result, (int)report->called);
}

static void on_failure(const mtaio_failure *failure, void *ctx) {
    (void)ctx;
    saw(FAILED, 0, failure->status, 0);
}

static void before(const mtaio_event *event, void *ctx) {
    (void)event;
    if (!ending)
        saw(BEFORE, (int)(intptr_t)ctx, 0, 0);
}
static void after(const mtaio_event *event, const mtaio_report *report, int64_t ns, void *ctx) {
    (void)event;
    expect(ns >= 0);
    if (!ending)
        saw(AFTER, (int)(intptr_t)ctx, (int)report->called, (int)report->failed);
}
static void wrong(const mtaio_failure *failure, void *ctx) {
    if (!ending)
        saw(WRONG, (int)(intptr_t)ctx, failure->status, 0);
}

/* --- Emitters ------------------------------------------------------------------------------------------------------ */

static void *number(int n) { return (void *)(intptr_t)n; }

static int slot_of(int kind, int slot) { return s->slot[kind][slot % SLOTS]; }

/* A new one for an empty slot, or HANDLE. */
static int fresh(int kind, int slot, int limit) {
    return slot_of(kind, slot) == HANDLE && s->made[kind] < limit ? s->made[kind] : HANDLE;
}

static void put(int kind, int slot, int n) {
    s->slot[kind][slot % SLOTS] = n;
    s->made[kind] = n + 1;
}

static int new_derived(int kind, int source, int pattern, int n) {
    mtaio_emitter *of = real.em[source];
    const char *p = pattern == ALL ? NULL : text[pattern];
    with_destroy += kind == FILTER || kind == MAP;
    if (kind == FILTER)
        return mtaio_emitter_filter(of, p, MTAIO_FILTER(.call = filter, .destroy = on_destroy, .ctx = number(n)), &real.em[n]);
    if (kind == MAP)
        return mtaio_emitter_map(of, p, MTAIO_MAP(.call = map, .destroy = on_destroy, .ctx = number(n)), &real.em[n]);
    return mtaio_emitter_buffer(of, p, (size_t)n % 3 + 1, &real.em[n]);
}

static int m_new_derived(int kind, int source, int pattern, int n) {
    m_emitters = n + 1;
    m_em[n] = (struct m_emitter){.source = source, .kind = kind, .pattern = pattern, .enough = n % 3 + 1, .refs = 1,
                                 .root = m_em[source].root, .closed = m_em[source].closed};
    if (m_em[source].closed) {
        m_em[n].source = -1;
        return MTAIO_ECLOSED;
    }
    m_em[n].keeps_source = m_em[source].source >= 0;
    m_em[source].refs += m_em[n].keeps_source;
    return 0;
}

static int op_new(int slot) {
    int n = fresh(EM, slot, EMITTERS);
    if (n == HANDLE)
        return 0;
    put(EM, slot, n);
    s->root[n] = n;
    s->level[n] = 0;
    s->kind[n] = ROOT;
    if (!trace.modelling)
        return mtaio_emitter_new(NULL, &real.em[n]);
    m_em[n] = (struct m_emitter){.source = -1, .pattern = ALL, .refs = 1, .root = n};
    m_emitters = n + 1;
    return 0;
}

static int op_derive(int kind, int from, int slot, int pattern) {
    int source = slot_of(EM, from), n = fresh(EM, slot, EMITTERS);
    if (source == HANDLE || n == HANDLE || s->level[source] >= 4)
        return 0;
    int r = trace.modelling ? m_new_derived(kind, source, pattern, n) : new_derived(kind, source, pattern, n);
    s->made[EM]++;
    if (r < 0)
        return r;
    put(EM, slot, n);
    s->root[n] = s->root[source];
    s->level[n] = s->level[source] + 1;
    s->kind[n] = kind;
    return r;
}

static int op_unref(int slot) {
    int em = slot_of(EM, slot);
    if (em == HANDLE)
        return 0;
    s->slot[EM][slot % SLOTS] = HANDLE;
    if (trace.modelling)
        m_unref(em);
    else
        real.em[em] = mtaio_emitter_unref(real.em[em]);
    return 1;
}

static int op_close(int slot) {
    int em = slot_of(EM, slot);
    if (em == HANDLE)
        return 0;
    if (!trace.modelling)
        return mtaio_emitter_close(real.em[em]);
    m_close(em);
    return 0;
}

/* --- Registering ----------------------------------------------------------------------------------------------------- */

static int op_on(int slot, int listener_slot, int pattern, int how) {
    int em = slot_of(EM, slot), n = fresh(LISTENER, listener_slot, REGISTRATIONS), actor = how % ACTORS, rank = how / 8 % 7;
    if (em == HANDLE || n == HANDLE)
        return 0;
    put(LISTENER, listener_slot, n);
    bool once = how & 128;
    if (rank == PIPE)
        rank = 2;
    if (trace.modelling)
        return m_register((struct m_registration){.em = em, .pattern = pattern, .rank = rank, .actor = actor, .once = once});
    contexts[em][actor] = (struct context){em, actor};
    with_destroy += actor % 2;
    int r = mtaio_emitter_on(real.em[em], text[pattern],
                             MTAIO_HANDLER(.call = play, .ctx = &contexts[em][actor], .destroy = actor % 2 ? on_destroy : NULL,
                                           .priority = rank == WATCH ? MTAIO_MONITOR : priority[rank],
                                           .flags = once ? MTAIO_ONCE : 0),
                             &real.listener[n]);
    if (r == 0 && n % 3 == 0) /* the slot only says that it is there */
        real.listener[n] = mtaio_listener_unref(real.listener[n]);
    return r;
}

static int op_hook(int slot, int listener_slot) {
    int em = slot_of(EM, slot), n = fresh(LISTENER, listener_slot, REGISTRATIONS);
    if (em == HANDLE || n == HANDLE)
        return 0;
    put(LISTENER, listener_slot, n);
    if (trace.modelling)
        return m_register((struct m_registration){.em = em, .pattern = ALL, .rank = HOOK});
    with_destroy++;
    return mtaio_emitter_hook(
        real.em[em],
        MTAIO_HOOK(.before = before, .after = after, .error = wrong, .destroy = on_destroy, .ctx = number(em)),
        &real.listener[n]);
}

/* Only towards emitters of a younger family: no circle. The target stays, so that it is known when it closes. */
static int op_pipe(int from, int to, int listener_slot, int pattern) {
    int em = slot_of(EM, from), target = slot_of(EM, to), n = fresh(LISTENER, listener_slot, REGISTRATIONS);
    if (em == HANDLE || target == HANDLE || n == HANDLE || s->root[em] >= s->root[target])
        return 0;
    put(LISTENER, listener_slot, n);
    if (trace.modelling) {
        m_em[target].refs++;
        return m_register((struct m_registration){.em = em, .pattern = pattern, .rank = PIPE, .target = target});
    }
    int r = mtaio_emitter_pipe(real.em[em], text[pattern], real.em[target], &real.listener[n]);
    mtaio_emitter_ref(real.em[target]);
    return r;
}
