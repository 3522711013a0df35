/* fuzz_api.c - sequences of calls of the public API, from outside and from handlers, against a model of plain arrays.
 *
 * An input is a script for each of eight handlers (a byte of flags, two operations), then operations: four bytes each, the
 * operation and its arguments, every byte valid. Each is done by the library, then by the model (api_model.h), which expects
 * the same calls in the same order, with the same results. At the end everything is given back, and no memory may be left. */
#include "../unit/topic_oracle.h"
#include "api_hold.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SCRIPT = 9, DEPTH = 5, FUEL = 24, SLOTS = 4 };

static const char *const text[PATTERNS] = {"a", "b", "a.b", "a.b.c", "error", "b.c", "*", "**", "a.*", "a.**", "*.b", "**.c"};
static const mtaio_priority priority[] = {MTAIO_HIGHEST, MTAIO_HIGH, MTAIO_NORMAL, MTAIO_LOW, MTAIO_LOWEST};

/* What the operations use, kept for the library and for the model alike: slots hold the number of a thing, or HANDLE. */
enum { EM, LISTENER, NAME, BATCH, HOLD, DEFERRAL, KINDS };
struct side {
    int slot[KINDS][SLOTS], made[KINDS];
    int root[EMITTERS], level[EMITTERS], kind[EMITTERS], name_of[HELD];
    bool plain[REGISTRATIONS]; /* registered without a handle */
    int depth, data, fuel; /* how many handlers may still do something */
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
    mtaio_emitter *kept[REGISTRATIONS]; /* once more: targets of pipes */
    int kept_count;
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
    if (s->depth < DEPTH && s->fuel-- > 0) {
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
    s->plain[n] = n % 3 == 0;
    bool once = how & 128;
    if (rank == PIPE)
        rank = 2;
    if (trace.modelling)
        return m_register((struct m_registration){.em = em, .pattern = pattern, .rank = rank, .actor = actor, .once = once});
    contexts[em][actor] = (struct context){em, actor};
    with_destroy += actor % 2;
    return mtaio_emitter_on(real.em[em], text[pattern],
                             MTAIO_HANDLER(.call = play, .ctx = &contexts[em][actor], .destroy = actor % 2 ? on_destroy : NULL,
                                           .priority = rank == WATCH ? MTAIO_MONITOR : priority[rank],
                                           .flags = once ? MTAIO_ONCE : 0),
                             s->plain[n] ? NULL : &real.listener[n]);
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
    real.kept[real.kept_count++] = mtaio_emitter_ref(real.em[target]);
    return r;
}

/* Every registration of the emitter under the pattern (HANDLE: all), of the actor or, with HANDLE, of all. */
static int m_remove_matching(int em, int pattern, int actor) {
    int removed = 0;
    for (int i = 0; i < m_registrations; i++) {
        const struct m_registration *r = &m_reg[i];
        if (!r->there || r->em != em || r->rank == HOOK || (pattern != ALL && r->pattern != pattern))
            continue;
        if (actor != HANDLE && (r->rank == PIPE || r->actor != actor))
            continue;
        m_remove(i);
        removed++;
    }
    after_removing(m_em[em].root);
    return removed;
}

static int op_off(int slot, int pattern, int actor) {
    int em = slot_of(EM, slot);
    if (em == HANDLE)
        return 0;
    if (trace.modelling)
        return m_remove_matching(em, pattern, actor);
    return mtaio_off(real.em[em], text[pattern], play, &contexts[em][actor]);
}

static int op_remove_all(int slot, int pattern) {
    int em = slot_of(EM, slot);
    if (em == HANDLE)
        return 0;
    if (trace.modelling)
        return m_remove_matching(em, pattern, HANDLE);
    return mtaio_emitter_remove_all(real.em[em], pattern == ALL ? NULL : text[pattern]);
}

static int op_cancel(int slot, int how) {
    int n = slot_of(LISTENER, slot);
    if (n == HANDLE)
        return 0;
    bool plain = s->plain[n];
    if (plain || how % 4 == 0) {
        s->slot[LISTENER][slot % SLOTS] = HANDLE; /* gives back the handle: the registration stays */
        if (!trace.modelling)
            real.listener[n] = mtaio_listener_unref(real.listener[n]);
        return 0;
    }
    if (trace.modelling) {
        bool there = m_reg[n].there;
        if (there && how % 4 != 1) {
            m_remove(n);
            after_removing(m_em[m_reg[n].em].root);
        }
        return there;
    }
    if (real.listener[n] == NULL) /* registering was refused */
        return 0;
    if (how % 4 == 1)
        return mtaio_listener_is_active(real.listener[n]);
    bool rests = false; /* then waiting might be for ever: nobody would complete it */
    for (int i = 0; i < SLOTS; i++)
        rests |= s->slot[DEFERRAL][i] != HANDLE;
    return how % 4 == 2 || rests ? mtaio_listener_cancel(real.listener[n]) : mtaio_listener_cancel_wait(real.listener[n]);
}

/* How many there are, and how many an emission would call. */
static int op_count(int slot, int pattern) {
    int em = slot_of(EM, slot), all = 0, own = 0, reach = 0;
    if (em == HANDLE)
        return 0;
    if (!trace.modelling) {
        int r = mtaio_emitter_reach(real.em[em], text[pattern]);
        expect(r == MTAIO_ENAME ? pattern >= NAMES : r >= 0);
        expect(mtaio_emitter_is_closed(real.em[em]) == mtaio_emitter_is_closed(real.em[em]));
        return (int)mtaio_emitter_count(real.em[em], NULL) * 10000 +
               (int)mtaio_emitter_count(real.em[em], text[pattern]) * 100 + (r < 0 ? 0 : r);
    }
    for (int i = 0; i < m_registrations; i++) {
        bool counts = m_reg[i].there && m_reg[i].em == em && m_reg[i].rank != HOOK;
        all += counts;
        own += counts && m_reg[i].pattern == pattern;
        reach += counts && pattern < NAMES && admits(m_reg[i].pattern, pattern);
    }
    return all * 10000 + own * 100 + reach;
}

/* --- Emitting -------------------------------------------------------------------------------------------------------- */

static int op_emit(int slot, int name, int how) {
    int em = slot_of(EM, slot), data = ++s->data, r;
    if (em == HANDLE)
        return 0;
    bool tells = how % 2;
    bool waited = s->waiting;
    s->waiting = true;
    if (trace.modelling) {
        struct m_event event = m_plain(name, data);
        r = m_emit(em, &event, false, tells);
    } else if (tells) {
        r = mtaio_emit_with(real.em[em], MTAIO_EMISSION(.name = text[name], .data = number(data), .failure = on_failure));
    } else {
        r = mtaio_emit(real.em[em], text[name], number(data));
    }
    s->waiting = waited;
    return r;
}

static int op_emit_async(int slot, int name) {
    int em = slot_of(EM, slot), data = ++s->data, r;
    if (em == HANDLE)
        return 0;
    bool waited = s->waiting;
    s->waiting = false;
    if (trace.modelling) {
        struct m_event event = m_plain(name, data);
        r = m_emit_async(em, &event);
    } else {
        mtaio_event *event;
        expect(mtaio_event_new(text[name], number(data), NULL, &event) == 0);
        r = mtaio_emit_async(real.em[em], event, MTAIO_ASYNC(.done = on_done, .ctx = number(em)));
        mtaio_event_unref(event);
    }
    s->waiting = waited;
    return r;
}

static int op_complete(int slot, int how) {
    int d = slot_of(DEFERRAL, slot), r = 0, status = how & 2 ? -66 : 0;
    if (d == HANDLE)
        return 0;
    if (how & 1)
        s->slot[DEFERRAL][slot % SLOTS] = HANDLE;
    if (trace.modelling)
        return how & 1 ? m_finish(d, MTAIO_EABANDONED, false), 0 : m_finish(d, status, false);
    if (how & 1)
        mtaio_deferral_unref(real.deferral[d]);
    else
        r = mtaio_deferral_complete(real.deferral[d], status);
    return r;
}

static int op_resolve(int slot, int name_slot, int name) {
    int em = slot_of(EM, slot), n = fresh(NAME, name_slot, HELD);
    if (em == HANDLE || n == HANDLE)
        return 0;
    s->made[NAME]++;
    int r = 0;
    if (!trace.modelling)
        r = mtaio_emitter_resolve(real.em[em], text[name], &real.name[n]);
    else if (m_em[em].closed)
        r = MTAIO_ECLOSED;
    else
        m_em[em].refs++;
    if (r < 0)
        return r;
    put(NAME, name_slot, n);
    s->name_of[n] = em * NAMES + name;
    return 0;
}

static int op_emit_name(int slot, int how) {
    int n = slot_of(NAME, slot), data = ++s->data, r = 0;
    if (n == HANDLE)
        return 0;
    int em = s->name_of[n] / NAMES, name = s->name_of[n] % NAMES;
    if (how % 4 == 0) {
        s->slot[NAME][slot % SLOTS] = HANDLE;
        if (trace.modelling)
            m_unref(em);
        else
            mtaio_name_unref(real.name[n]);
        return 0;
    }
    bool waited = s->waiting;
    s->waiting = true;
    if (trace.modelling) {
        struct m_event event = m_plain(name, data);
        r = m_emit(em, &event, false, false);
    } else {
        r = mtaio_emit_name(real.name[n], number(data));
    }
    s->waiting = waited;
    return r;
}

static int op_flush(int slot) {
    int em = slot_of(EM, slot);
    if (em == HANDLE)
        return 0;
    bool waited = s->waiting;
    s->waiting = true;
    int r = trace.modelling ? m_flush(em) : mtaio_emitter_flush(real.em[em]);
    s->waiting = waited;
    return r;
}

/* --- Holding back ---------------------------------------------------------------------------------------------------- */

static int op_suppress(int slot, int hold_slot, int pattern) {
    int em = slot_of(EM, slot), n = fresh(HOLD, hold_slot, HELD);
    if (em == HANDLE || n == HANDLE)
        return 0;
    int r = trace.modelling ? m_suppress(em, pattern)
                            : mtaio_emitter_suppress(real.em[em], pattern == ALL ? NULL : text[pattern], &real.hold[n]);
    if (r == 0)
        put(HOLD, hold_slot, n);
    return r;
}

static int op_release(int slot, int how) {
    int n = slot_of(HOLD, slot), r = 0;
    if (n == HANDLE)
        return 0;
    bool waited = s->waiting;
    s->waiting = true;
    if (how % 4 == 0) {
        s->slot[HOLD][slot % SLOTS] = HANDLE;
        if (trace.modelling) {
            m_drop(&m_suppression[n]);
            m_unref(m_suppression[n].em);
        } else {
            mtaio_suppression_unref(real.hold[n]);
        }
    } else if (how % 4 == 1) {
        r = trace.modelling ? m_drop(&m_suppression[n]) : mtaio_suppression_drop(real.hold[n]);
    } else if (how % 4 == 2) {
        r = trace.modelling ? m_suppression[n].held.count : (int)mtaio_suppression_count(real.hold[n]);
    } else {
        r = trace.modelling ? m_replay(&m_suppression[n]) : mtaio_suppression_replay(real.hold[n]);
    }
    s->waiting = waited;
    return r;
}

static int op_batch_new(int slot, int batch_slot, int outer_slot, bool nested) {
    int em = slot_of(EM, slot), n = fresh(BATCH, batch_slot, HELD), outer = nested ? slot_of(BATCH, outer_slot) : HANDLE, r;
    if ((nested ? outer : em) == HANDLE || n == HANDLE)
        return 0;
    if (trace.modelling)
        r = m_batch_new(nested ? m_batch[outer].em : em, outer);
    else
        r = nested ? mtaio_batch_nest(real.batch[outer], &real.batch[n]) : mtaio_batch_new(real.em[em], &real.batch[n]);
    if (r == 0)
        put(BATCH, batch_slot, n);
    return r;
}

static int op_batch(int slot, int name, int how) {
    int n = slot_of(BATCH, slot), r = 0, data = ++s->data;
    if (n == HANDLE)
        return 0;
    bool waited = s->waiting;
    s->waiting = true;
    if (how % 8 == 0) {
        s->slot[BATCH][slot % SLOTS] = HANDLE;
        if (trace.modelling)
            m_batch_unref(n);
        else
            mtaio_batch_unref(real.batch[n]);
    } else if (how % 8 == 1) {
        r = trace.modelling ? m_abandon(n) : mtaio_batch_abandon(real.batch[n]);
    } else if (how % 8 == 2) {
        r = trace.modelling ? m_batch_end(n) : mtaio_batch_end(real.batch[n], NULL);
    } else if (how % 8 == 3) {
        r = trace.modelling ? m_batch[n].items.count : (int)mtaio_batch_count(real.batch[n]);
    } else {
        r = trace.modelling ? m_batch_emit(n, (struct item){name, data}) : mtaio_batch_emit(real.batch[n], text[name], number(data));
    }
    s->waiting = waited;
    return r;
}

/* --- Sequences ------------------------------------------------------------------------------------------------------- */

static int operate(int a, int b, int c, int d) {
    int pattern = c % PATTERNS, optional = c % (PATTERNS + 1) - 1, name = c % NAMES;
    switch (a % 32) {
    case 0: return op_new(b);
    case 1: return op_unref(b);
    case 2: return op_close(b);
    case 3: return op_derive(FILTER, b, d, optional);
    case 4: return op_derive(MAP, b, d, optional);
    case 5: return op_derive(BUFFER, b, d, optional);
    case 6: return op_pipe(b, d, b / 4, pattern);
    case 7: return op_hook(b, d);
    case 8: return op_off(b, pattern, d % ACTORS);
    case 9: return op_remove_all(b, optional);
    case 10: return op_cancel(b, d);
    case 11: return op_count(b, pattern);
    case 12: return op_emit_async(b, name);
    case 13: return op_complete(b, d);
    case 14: return op_resolve(b, d, name);
    case 15: return op_emit_name(b, d);
    case 16: return op_flush(b);
    case 17: return op_suppress(b, d, optional);
    case 18: return op_release(b, d);
    case 19: return op_batch_new(b, d, b / 4, b & 16);
    case 20: return op_batch(b, name, d);
    case 21: return trace.modelling ? 0 : mtaio_reclaim() == SIZE_MAX;
    default: return a & 1 ? op_emit(b, name, d) : op_on(b, b / 4, pattern, d);
    }
}

static void do_operation(const uint8_t *op) {
    int r = operate(op[0], op[1], op[2], op[3]);
    saw(RESULT, op[0] % 32, r, 0);
}

static void *count_alloc(size_t bytes, void *ctx) {
    (void)ctx;
    blocks++;
    return malloc(bytes);
}
static void *count_resize(void *old, size_t old_bytes, size_t bytes, void *ctx) {
    (void)old_bytes;
    (void)ctx;
    blocks += old == NULL;
    return realloc(old, bytes);
}
static void count_free(void *block, size_t bytes, void *ctx) {
    (void)bytes;
    (void)ctx;
    blocks -= block != NULL;
    free(block);
}

static int deeper(mtaio_event *event, void *em) {
    int *left = mtaio_event_data(event);
    return --*left > 0 ? mtaio_emit(em, "a", left) : 0;
}

/* Once: the library's memory is counted, and what it keeps for the thread is there. */
static void prepare(void) {
    static const mtaio_allocator allocator = {sizeof allocator, count_alloc, count_resize, count_free, NULL};
    mtaio_emitter *em;
    int depth = 20;
    if (mtaio_set_allocator(&allocator) < 0)
        return;
    expect(mtaio_emitter_new(NULL, &em) == 0 && mtaio_on(em, "a", deeper, em) == 0 && mtaio_emit(em, "a", &depth) == 1);
    mtaio_emitter_unref(em);
    for (int p = 0; p < PATTERNS; p++)
        for (int n = 0; n < NAMES; n++)
            matching[p][n] = oracle_matches(text[p], text[n]);
}

static void begin(struct side *side) {
    *side = (struct side){.data = 0};
    memset(side->slot, 0xff, sizeof side->slot);
}

static void give_everything_back(void) {
    ending = true;
    trace.modelling = false;
    s = &sides[0];
    for (int i = 0; i < SLOTS; i++) {
        if (s->slot[DEFERRAL][i] != HANDLE)
            mtaio_deferral_unref(real.deferral[s->slot[DEFERRAL][i]]);
        if (s->slot[HOLD][i] != HANDLE)
            mtaio_suppression_unref(real.hold[s->slot[HOLD][i]]);
        if (s->slot[BATCH][i] != HANDLE)
            mtaio_batch_unref(real.batch[s->slot[BATCH][i]]);
        if (s->slot[NAME][i] != HANDLE)
            mtaio_name_unref(real.name[s->slot[NAME][i]]);
        if (s->slot[LISTENER][i] != HANDLE)
            mtaio_listener_unref(real.listener[s->slot[LISTENER][i]]);
        if (s->slot[EM][i] != HANDLE)
            mtaio_emitter_unref(real.em[s->slot[EM][i]]);
    }
    for (int i = 0; i < real.kept_count; i++)
        mtaio_emitter_unref(real.kept[i]);
    expect(mtaio_reclaim() == 0);
    expect(destroyed == with_destroy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const size_t scripts = SCRIPT * ACTORS;
    prepare();
    if (size < scripts || size > 1024)
        return 0;
    size_t blocks_before = blocks;
    script = data;
    memset(&real, 0, sizeof real);
    begin(&sides[0]);
    begin(&sides[1]);
    m_emitters = m_registrations = m_deferrals = m_suppressions = m_batches = 0;
    m_clock = 0;
    memset(m_emission, 0, sizeof m_emission);
    ending = false;
    with_destroy = destroyed = 0;
    if (setjmp(trace.undecided) == 0) {
        for (size_t at = scripts; at + 4 <= size; at += 4) {
            trace.count = trace.read = 0;
            trace.modelling = false;
            s = &sides[0];
            sides[0].fuel = sides[1].fuel = FUEL;
            do_operation(data + at);
            trace.modelling = true;
            s = &sides[1];
            do_operation(data + at);
            if (trace.read != trace.count)
                differs(NULL);
        }
    }
    give_everything_back();
    expect(blocks == blocks_before);
    return 0;
}
