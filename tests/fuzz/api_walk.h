/* api_walk.h - the model of an emission: frames, one for each emitter the event is in, that can rest on a
 * deferral. */
#ifndef MTAIO_TESTS_API_WALK_H
#define MTAIO_TESTS_API_WALK_H

#include "api_model.h"

struct m_frame {
    int em, by; /* by: the registration of a pipe, or HANDLE */
    struct m_event event;
    unsigned limit;
    int rank; /* of the handler called last */
    unsigned seq;
    uint64_t linked, done; /* derived emitters */
    bool pipe_done[REGISTRATIONS];
    bool hooked, is_map;
    unsigned hook_limit;
    int called, failed; /* of the emission, before */
};

enum { DEFERRALS = 64 };
static struct m_deferral {
    struct m_emission *emission;
    bool done, ended, resting;
    int status, frames;
} m_deferral[DEFERRALS];
static int m_deferrals;

struct m_emission {
    struct m_frame frame[FRAMES];
    int frames, called, watched, failed;
    bool closed, used, async, tells;
    int first; /* of a batch: as what its first event was emitted */
    bool handled[ITEMS];
    int rests; /* on a deferral, or HANDLE */
};
static struct m_emission m_emission[32];

/* fuzz_api.c: what a handler does. ret_deferral: the one it has taken, or HANDLE. */
static int run_actor(int em, int actor, void *event, const struct items *items, bool batch,
                     int *ret_deferral);

static int predicate(int derived, int data) {
    return (data + derived) % 8 == 0 ? -77 : (data + derived) % 8 != 1;
}

/* --- Hooks and failures
 * ------------------------------------------------------------------------------------------ */

static void hooks(const struct m_frame *f, int what, int a, int b) {
    for (int i = 0; f->hooked && i < m_registrations; i++)
        if (m_reg[i].there && m_reg[i].rank == HOOK && m_reg[i].em == f->em && m_reg[i].seq <= f->hook_limit)
            saw(what, f->em, a, b);
}

static void m_failed(struct m_emission *e, int frames, int status) {
    e->failed++;
    for (int i = frames; i-- > 0;) hooks(&e->frame[i], WRONG, status, 0);
    if (e->tells) saw(FAILED, 0, status, 0);
}

static struct m_frame *enter(struct m_emission *e, int em, const struct m_event *event, unsigned limit) {
    if (e->frames == FRAMES) longjmp(trace.undecided, 1);
    struct m_frame *f = &e->frame[e->frames++];
    *f = (struct m_frame){.em = em,
                          .by = HANDLE,
                          .event = *event,
                          .limit = limit,
                          .rank = -1,
                          .called = e->called,
                          .failed = e->failed};
    for (int d = 0; d < m_emitters; d++)
        for (int i = 0; m_em[d].source == em && i < event->items.count; i++)
            if (listens(d, event->items.list[i].name, limit, false)) f->linked |= UINT64_C(1) << d;
    f->hook_limit = m_clock;
    for (int i = 0; i < m_registrations; i++)
        f->hooked |= m_reg[i].there && m_reg[i].rank == HOOK && m_reg[i].em == em;
    hooks(f, BEFORE, 0, 0);
    return f;
}

static void leave(struct m_emission *e) {
    struct m_frame *f = &e->frame[--e->frames];
    hooks(f, AFTER, e->called - f->called, e->failed - f->failed);
    if (e->frames > 0 && !f->is_map) e->frame[e->frames - 1].event.stopped |= f->event.stopped;
}

/* What of the event a registration of the pattern is shown. */
static struct m_event shown(const struct m_event *event, int pattern) {
    struct m_event part = *event;
    part.items.count = 0;
    for (int i = 0; i < event->items.count; i++)
        if (admits(pattern, event->items.list[i].name))
            part.items.list[part.items.count++] = event->items.list[i];
    return part;
}

/* --- Handlers
 * ------------------------------------------------------------------------------------------------------ */

/* The next of the frame: before the derived ones, or after. */
static int next_registration(const struct m_frame *f, bool watching) {
    int best = -1;
    for (int i = 0; i < m_registrations; i++) {
        const struct m_registration *r = &m_reg[i];
        if (!r->there || r->em != f->em || r->seq > f->limit || r->rank == HOOK || r->rank == PIPE) continue;
        if ((r->rank == WATCH) != watching || r->rank < f->rank || (r->rank == f->rank && r->seq <= f->seq))
            continue;
        if (shown(&f->event, r->pattern).items.count == 0) continue;
        if (best < 0 || r->rank < m_reg[best].rank ||
            (r->rank == m_reg[best].rank && r->seq < m_reg[best].seq))
            best = i;
    }
    return best;
}

static void settle(struct m_emission *e, int frames, int status, bool ended) {
    e->closed |= ended;
    if (status < 0) m_failed(e, frames, status);
}

static bool is_any_closed(const struct m_emission *e) {
    for (int i = 0; i < e->frames; i++)
        if (m_em[e->frame[i].em].closed) return true;
    return false;
}

/* False: it rests. */
static bool m_call(struct m_emission *e, int reg) {
    struct m_frame *f = &e->frame[e->frames - 1];
    struct m_registration *r = &m_reg[reg];
    f->rank = r->rank;
    f->seq = r->seq;
    if (f->event.stopped && r->rank != WATCH) return true;
    struct m_event part = shown(&f->event, r->pattern);
    if (r->once) {
        m_remove(reg);
        after_removing(m_em[r->em].root);
    }
    e->called++;
    int deferral = HANDLE;
    bool *stopped = r->rank == WATCH ? NULL : &f->event.stopped;
    int status = run_actor(r->em, r->actor, stopped, &part.items, part.batch, &deferral);
    e->watched += r->rank == WATCH;
    for (int i = 0; i < part.items.count && r->rank != WATCH; i++) {
        int at = part.items.list[i].emitted - e->first;
        if (part.batch && at >= 0 && at < ITEMS) e->handled[at] = true;
    }
    bool ended = false;
    if (deferral != HANDLE) {
        struct m_deferral *d = &m_deferral[deferral];
        d->emission = e;
        if (!d->done && status < 0) {
            d->done = true;
            d->status = status;
        }
        if (!d->done && is_any_closed(e)) {
            d->done = d->ended = true;
            d->status = MTAIO_ECLOSED;
        }
        if (!d->done) {
            d->resting = true;
            d->frames = e->frames;
            e->rests = deferral;
            return false;
        }
        status = d->status;
        ended = d->ended;
    }
    settle(e, e->frames, status, ended);
    return true;
}

/* --- What is derived
 * ----------------------------------------------------------------------------------------------- */

/* Whether the item is shown to the derived emitter: where somebody listens. */
static bool comes_through(const struct m_frame *f, int derived, struct item item) {
    bool attached = m_em[derived].source == f->em, listened = listens(derived, item.name, f->limit, false);
    if (!admits(m_em[derived].pattern, item.name)) return false;
    if (m_em[derived].kind != BUFFER) return attached && listened;
    if ((attached && listened) != (attached && listens(derived, item.name, UINT32_MAX, true)))
        longjmp(trace.undecided, 1); /* a link in view, but nobody behind it: a buffer does not tell */
    return attached && listened;
}

static void m_gather(int derived, struct item item) { add_item(&m_em[derived].gathered, item); }

/* Passes the event of the topmost frame to what is derived from it. */
static void m_pass(struct m_emission *e, int derived) {
    struct m_frame *f = &e->frame[e->frames - 1];
    struct m_event passed = f->event;
    const struct m_emitter *d = &m_em[derived];
    passed.items.count = 0;
    passed.stopped = false;
    f->done |= UINT64_C(1) << derived;
    for (int i = 0; i < f->event.items.count; i++) {
        struct item item = f->event.items.list[i];
        if (d->closed || !comes_through(f, derived, item)) continue;
        if (d->kind == BUFFER) {
            m_gather(derived, item);
            continue;
        }
        saw(PASS, derived, item.name, item.data);
        int r = predicate(derived, item.data);
        if (r < 0) m_failed(e, e->frames, r);
        if (d->kind == MAP) item.data += MAPPED;
        if (r > 0 || (d->kind == MAP && r == 0)) add_item(&passed.items, item);
    }
    if (d->kind == BUFFER && !d->closed && d->gathered.count >= d->enough) {
        passed.items = d->gathered;
        passed.batch = true;
        passed.error = false;
        m_em[derived].gathered.count = 0;
    }
    if (passed.items.count > 0) enter(e, derived, &passed, f->limit)->is_map = d->kind == MAP;
}

static void m_pipe(struct m_emission *e, int reg) {
    struct m_frame *f = &e->frame[e->frames - 1];
    struct m_event part = shown(&f->event, m_reg[reg].pattern);
    f->pipe_done[reg] = true;
    if (!m_em[m_reg[reg].target].closed) enter(e, m_reg[reg].target, &part, m_clock);
}

/* A buffer beside others: it keeps silent about when its turn was. */
static bool is_ambiguous(const struct m_frame *f) {
    int others = 0, buffers = 0;
    for (int d = 0; d < m_emitters; d++) {
        others += m_em[d].source == f->em && m_em[d].kind != BUFFER;
        buffers += m_em[d].source == f->em && m_em[d].kind == BUFFER;
    }
    for (int i = 0; i < m_registrations; i++)
        others += m_reg[i].there && m_reg[i].em == f->em && m_reg[i].rank == PIPE;
    return buffers > 1 || (buffers > 0 && others > 0);
}

/* Of those that are left the one the library chose: true, if there was one. */
static bool pass_on(struct m_emission *e) {
    struct m_frame *f = &e->frame[e->frames - 1];
    const struct entry *next = next_entry();
    int best = -1, best_pipe = -1;
    bool sure = false;
    if (f->event.stopped) return false;
    if (is_ambiguous(f)) longjmp(trace.undecided, 1);
    for (int d = 0; d < m_emitters; d++) {
        if (f->done >> d & 1 || (m_em[d].source != f->em && !(f->linked >> d & 1))) continue;
        bool chosen = next != NULL && next->what != RESULT && reaches(d, next->em);
        if (best < 0 || (chosen && !sure)) best = d;
        sure |= chosen;
    }
    for (int i = 0; i < m_registrations && !sure; i++) {
        const struct m_registration *r = &m_reg[i];
        if (r->rank != PIPE || r->em != f->em || !r->there || r->seq > f->limit || f->pipe_done[i] ||
            shown(&f->event, r->pattern).items.count == 0)
            continue;
        sure = next != NULL && next->what != RESULT && reaches(r->target, next->em);
        if (best < 0 || sure) best_pipe = i;
    }
    if (best_pipe >= 0)
        m_pipe(e, best_pipe);
    else if (best >= 0)
        m_pass(e, best);
    return best_pipe >= 0 || best >= 0;
}

/* --- The whole
 * ----------------------------------------------------------------------------------------------------- */

static void step(struct m_emission *e, bool *ret_rests) {
    struct m_frame *f = &e->frame[e->frames - 1];
    int reg = f->rank < PIPE ? next_registration(f, false) : -1;
    if (reg < 0 && f->rank <= PIPE) {
        if (f->rank < PIPE) f->rank = PIPE;
        if (pass_on(e)) return;
    }
    if (reg < 0) reg = next_registration(f, true);
    if (reg >= 0)
        *ret_rests = !m_call(e, reg);
    else
        leave(e);
}

static int m_result(const struct m_emission *e, const struct m_event *event) {
    if (event->error && e->called == e->watched) return MTAIO_EUNHANDLED;
    int r = e->failed == 0 ? e->called : e->closed ? MTAIO_ECLOSED : MTAIO_EHANDLER;
    for (int i = 0; event->batch && i < event->items.count && r >= 0; i++)
        if (event->items.list[i].name == 4 && !e->handled[i]) return MTAIO_EUNHANDLED;
    return r;
}

/* Until it is over, or rests. */
static bool m_drive(struct m_emission *e, int *ret_result) {
    bool rests = false;
    if (e->rests != HANDLE) {
        struct m_deferral *d = &m_deferral[e->rests];
        e->rests = HANDLE;
        d->resting = false;
        settle(e, e->frames, d->status, d->ended);
    }
    while (e->frames > 0 && !rests) step(e, &rests);
    if (rests) return false;
    *ret_result = m_result(e, &e->frame[0].event);
    e->used = false;
    return true;
}

static struct m_emission *m_begin(void) {
    for (int i = 0; i < 32; i++) {
        struct m_emission *e = &m_emission[i];
        if (e->used) continue;
        *e = (struct m_emission){.used = true, .rests = HANDLE};
        return e;
    }
    longjmp(trace.undecided, 1);
}

static void m_continue(struct m_emission *e) {
    int result, em = e->frame[0].em;
    if (!m_drive(e, &result)) return;
    saw(DONE, em, result, e->called);
    m_unref(em);
}

static int m_finish(int deferral, int status, bool ended) {
    struct m_deferral *d = &m_deferral[deferral];
    if (d->done) return d->ended ? MTAIO_ECLOSED : MTAIO_EALREADY;
    d->done = true;
    d->ended = ended;
    d->status = status;
    if (d->resting) m_continue(d->emission);
    return 0;
}

static void m_end_resting(int em) {
    bool ends[DEFERRALS] = {false};
    for (int i = 0; i < m_deferrals; i++) {
        struct m_deferral *d = &m_deferral[i];
        for (int k = 0; d->resting && !d->done && k < d->frames; k++)
            ends[i] |= d->emission->frame[k].em == em;
        if (ends[i]) {
            d->done = d->ended = true;
            d->status = MTAIO_ECLOSED;
        }
    }
    for (int i = 0; i < DEFERRALS; i++)
        if (ends[i]) m_continue(m_deferral[i].emission);
}

#endif
