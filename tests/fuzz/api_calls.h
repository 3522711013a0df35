/* api_calls.h - the operations: each is one call of the library, or the same of the model. */
#ifndef MTAIO_TESTS_API_CALLS_H
#define MTAIO_TESTS_API_CALLS_H

#include "api_side.h"

/* --- Emitters
 * ------------------------------------------------------------------------------------------------------ */

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
        return mtaio_emitter_filter(
            of, p, MTAIO_FILTER(.call = filter, .destroy = on_destroy, .ctx = number(n)), &real.em[n]);
    if (kind == MAP)
        return mtaio_emitter_map(of, p, MTAIO_MAP(.call = map, .destroy = on_destroy, .ctx = number(n)),
                                 &real.em[n]);
    return mtaio_emitter_buffer(of, p, (size_t)n % 3 + 1, &real.em[n]);
}

static int m_new_derived(int kind, int source, int pattern, int n) {
    m_emitters = n + 1;
    m_em[n] = (struct m_emitter){.source = source,
                                 .kind = kind,
                                 .pattern = pattern,
                                 .enough = n % 3 + 1,
                                 .refs = 1,
                                 .root = m_em[source].root,
                                 .closed = m_em[source].closed};
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
    if (n == HANDLE) return 0;
    put(EM, slot, n);
    s->root[n] = n;
    s->level[n] = 0;
    s->kind[n] = ROOT;
    if (!trace.modelling) return mtaio_emitter_new(NULL, &real.em[n]);
    m_em[n] = (struct m_emitter){.source = -1, .pattern = ALL, .refs = 1, .root = n};
    m_emitters = n + 1;
    return 0;
}

static int op_derive(int kind, int from, int slot, int pattern) {
    int source = slot_of(EM, from), n = fresh(EM, slot, EMITTERS);
    if (source == HANDLE || n == HANDLE || s->level[source] >= 4) return 0;
    int r = trace.modelling ? m_new_derived(kind, source, pattern, n) : new_derived(kind, source, pattern, n);
    s->made[EM]++;
    if (r < 0) return r;
    put(EM, slot, n);
    s->root[n] = s->root[source];
    s->level[n] = s->level[source] + 1;
    s->kind[n] = kind;
    return r;
}

static int op_unref(int slot) {
    int em = slot_of(EM, slot);
    if (em == HANDLE) return 0;
    s->slot[EM][slot % SLOTS] = HANDLE;
    if (trace.modelling)
        m_unref(em);
    else
        real.em[em] = mtaio_emitter_unref(real.em[em]);
    return 1;
}

static int op_close(int slot) {
    int em = slot_of(EM, slot);
    if (em == HANDLE) return 0;
    if (!trace.modelling) return mtaio_emitter_close(real.em[em]);
    m_close(em);
    return 0;
}

/* --- Registering
 * ----------------------------------------------------------------------------------------------------- */

static int op_on(int slot, int listener_slot, int pattern, int how) {
    int em = slot_of(EM, slot), n = fresh(LISTENER, listener_slot, REGISTRATIONS), actor = how % ACTORS,
        rank = how / 8 % 7;
    if (em == HANDLE || n == HANDLE) return 0;
    put(LISTENER, listener_slot, n);
    s->plain[n] = n % 3 == 0;
    bool once = how & 128;
    if (rank == PIPE) rank = 2;
    if (trace.modelling)
        return m_register((struct m_registration){
            .em = em, .pattern = pattern, .rank = rank, .actor = actor, .once = once});
    contexts[em][actor] = (struct context){em, actor};
    with_destroy += actor % 2;
    return mtaio_emitter_on(real.em[em], text[pattern],
                            MTAIO_HANDLER(.call = play, .ctx = &contexts[em][actor],
                                          .destroy = actor % 2 ? on_destroy : NULL,
                                          .priority = rank == WATCH ? MTAIO_MONITOR : priority[rank],
                                          .flags = once ? MTAIO_ONCE : 0),
                            s->plain[n] ? NULL : &real.listener[n]);
}

static int op_hook(int slot, int listener_slot) {
    int em = slot_of(EM, slot), n = fresh(LISTENER, listener_slot, REGISTRATIONS);
    if (em == HANDLE || n == HANDLE) return 0;
    put(LISTENER, listener_slot, n);
    if (trace.modelling) return m_register((struct m_registration){.em = em, .pattern = ALL, .rank = HOOK});
    with_destroy++;
    return mtaio_emitter_hook(real.em[em],
                              MTAIO_HOOK(.before = before, .after = after, .error = wrong,
                                         .destroy = on_destroy, .ctx = number(em)),
                              &real.listener[n]);
}

/* Only towards emitters of a younger family: no circle. The target stays, so that it is known when it closes.
 */
static int op_pipe(int from, int to, int listener_slot, int pattern) {
    int em = slot_of(EM, from), target = slot_of(EM, to), n = fresh(LISTENER, listener_slot, REGISTRATIONS);
    if (em == HANDLE || target == HANDLE || n == HANDLE || s->root[em] >= s->root[target]) return 0;
    put(LISTENER, listener_slot, n);
    if (trace.modelling) {
        m_em[target].refs++;
        return m_register(
            (struct m_registration){.em = em, .pattern = pattern, .rank = PIPE, .target = target});
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
        if (actor != HANDLE && (r->rank == PIPE || r->actor != actor)) continue;
        m_remove(i);
        removed++;
    }
    after_removing(m_em[em].root);
    return removed;
}

static int op_off(int slot, int pattern, int actor) {
    int em = slot_of(EM, slot);
    if (em == HANDLE) return 0;
    if (trace.modelling) return m_remove_matching(em, pattern, actor);
    return mtaio_off(real.em[em], text[pattern], play, &contexts[em][actor]);
}

static int op_remove_all(int slot, int pattern) {
    int em = slot_of(EM, slot);
    if (em == HANDLE) return 0;
    if (trace.modelling) return m_remove_matching(em, pattern, HANDLE);
    return mtaio_emitter_remove_all(real.em[em], pattern == ALL ? NULL : text[pattern]);
}

static int op_cancel(int slot, int how) {
    int n = slot_of(LISTENER, slot);
    if (n == HANDLE) return 0;
    bool plain = s->plain[n];
    if (plain || how % 4 == 0) {
        s->slot[LISTENER][slot % SLOTS] = HANDLE; /* gives back the handle: the registration stays */
        if (!trace.modelling) real.listener[n] = mtaio_listener_unref(real.listener[n]);
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
    if (how % 4 == 1) return mtaio_listener_is_active(real.listener[n]);
    bool rests = false; /* then waiting might be for ever: nobody would complete it */
    for (int i = 0; i < SLOTS; i++) rests |= s->slot[DEFERRAL][i] != HANDLE;
    return how % 4 == 2 || rests ? mtaio_listener_cancel(real.listener[n])
                                 : mtaio_listener_cancel_wait(real.listener[n]);
}

/* How many there are, and how many an emission would call. */
static int op_count(int slot, int pattern) {
    int em = slot_of(EM, slot), all = 0, own = 0, reach = 0;
    if (em == HANDLE) return 0;
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

/* --- Emitting
 * -------------------------------------------------------------------------------------------------------- */

static int op_emit(int slot, int name, int how) {
    int em = slot_of(EM, slot), data = ++s->data, r;
    if (em == HANDLE) return 0;
    bool tells = how % 2;
    bool waited = s->waiting;
    s->waiting = true;
    if (trace.modelling) {
        struct m_event event = m_plain(name, data);
        r = m_emit(em, &event, false, tells);
    } else if (tells) {
        r = mtaio_emit_with(real.em[em],
                            MTAIO_EMISSION(.name = text[name], .data = number(data), .failure = on_failure));
    } else {
        r = mtaio_emit(real.em[em], text[name], number(data));
    }
    s->waiting = waited;
    return r;
}

static int op_emit_async(int slot, int name) {
    int em = slot_of(EM, slot), data = ++s->data, r;
    if (em == HANDLE) return 0;
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
    if (d == HANDLE) return 0;
    if (how & 1) s->slot[DEFERRAL][slot % SLOTS] = HANDLE;
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
    if (em == HANDLE || n == HANDLE) return 0;
    s->made[NAME]++;
    int r = 0;
    if (!trace.modelling)
        r = mtaio_emitter_resolve(real.em[em], text[name], &real.name[n]);
    else if (m_em[em].closed)
        r = MTAIO_ECLOSED;
    else
        m_em[em].refs++;
    if (r < 0) return r;
    put(NAME, name_slot, n);
    s->name_of[n] = em * NAMES + name;
    return 0;
}

static int op_emit_name(int slot, int how) {
    int n = slot_of(NAME, slot), data = ++s->data, r = 0;
    if (n == HANDLE) return 0;
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
    if (em == HANDLE) return 0;
    bool waited = s->waiting;
    s->waiting = true;
    int r = trace.modelling ? m_flush(em) : mtaio_emitter_flush(real.em[em]);
    s->waiting = waited;
    return r;
}

/* --- Holding back
 * ---------------------------------------------------------------------------------------------------- */

static int op_suppress(int slot, int hold_slot, int pattern) {
    int em = slot_of(EM, slot), n = fresh(HOLD, hold_slot, HELD);
    if (em == HANDLE || n == HANDLE) return 0;
    int r = trace.modelling
                ? m_suppress(em, pattern)
                : mtaio_emitter_suppress(real.em[em], pattern == ALL ? NULL : text[pattern], &real.hold[n]);
    if (r == 0) put(HOLD, hold_slot, n);
    return r;
}

static int op_release(int slot, int how) {
    int n = slot_of(HOLD, slot), r = 0;
    if (n == HANDLE) return 0;
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
    int em = slot_of(EM, slot), n = fresh(BATCH, batch_slot, HELD),
        outer = nested ? slot_of(BATCH, outer_slot) : HANDLE, r;
    if ((nested ? outer : em) == HANDLE || n == HANDLE) return 0;
    if (trace.modelling)
        r = m_batch_new(nested ? m_batch[outer].em : em, outer);
    else
        r = nested ? mtaio_batch_nest(real.batch[outer], &real.batch[n])
                   : mtaio_batch_new(real.em[em], &real.batch[n]);
    if (r == 0) put(BATCH, batch_slot, n);
    return r;
}

static int op_batch(int slot, int name, int how) {
    int n = slot_of(BATCH, slot), r = 0, data = ++s->data;
    if (n == HANDLE) return 0;
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
        r = trace.modelling ? m_batch_emit(n, (struct item){.name = name, .data = data})
                            : mtaio_batch_emit(real.batch[n], text[name], number(data));
    }
    s->waiting = waited;
    return r;
}

#endif
