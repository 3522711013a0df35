/* api_model.h - emitters as plain arrays: what fuzz_api.c compares the library with.
 *
 * The library runs each operation first and writes down what it called; the model then runs the same
 * operation and reads along: every entry must be the one it would have made. Only where the library may
 * choose (the order of what is derived from one emitter, a predicate behind which nobody listens any more)
 * does the model look at what was chosen. */
#ifndef MTAIO_TESTS_API_MODEL_H
#define MTAIO_TESTS_API_MODEL_H

#include <mtaio/mtaio.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NAMES = 6,
    PATTERNS = 12,
    ALL = -1,
    EMITTERS = 48,
    REGISTRATIONS = 128,
    ITEMS = 96,
    FRAMES = 16,
    ACTORS = 8
};
enum {
    HANDLE = -1,
    PIPE = 5,
    WATCH = 6,
    HOOK = 7
}; /* ranks from 0 (highest); PIPE stands for what is derived */
enum { ROOT, FILTER, MAP, BUFFER };
enum { MAPPED = 100000 };

/* --- The trace. An entry names the emitter it happens at.
 * ---------------------------------------------------- */

enum { RESULT, CALL, ITEM, PASS, BEFORE, AFTER, WRONG, FAILED, DONE };
struct entry {
    int what, em, a, b;
};
static struct {
    struct entry list[1 << 16];
    size_t count, read;
    bool modelling;
    jmp_buf undecided; /* the model cannot tell: the comparison ends here */
} trace;

static void expect(bool condition) {
    if (!condition) abort();
}

/* What the library did, in the operation that differs, and what the model would have: NULL: nothing more. */
static void differs(const struct entry *expected) {
    static const char *const what[] = {"result", "call",  "item",   "pass", "before",
                                       "after",  "wrong", "failed", "done"};
    for (size_t i = 0; i < trace.count; i++) {
        const struct entry *e = &trace.list[i];
        fprintf(stderr, "%s %s %d: %d %d\n", i == trace.read ? "-" : " ", what[e->what], e->em, e->a, e->b);
    }
    if (expected != NULL)
        fprintf(stderr, "+ %s %d: %d %d\n", what[expected->what], expected->em, expected->a, expected->b);
    abort();
}

static void saw(int what, int em, int a, int b) {
    struct entry e = {what, em, a, b};
    if (!trace.modelling) {
        expect(trace.count < sizeof trace.list / sizeof *trace.list);
        trace.list[trace.count++] = e;
        return;
    }
    if (trace.read == trace.count || memcmp(&trace.list[trace.read], &e, sizeof e) != 0) differs(&e);
    trace.read++;
}

static const struct entry *next_entry(void) {
    return trace.read < trace.count ? &trace.list[trace.read] : NULL;
}

/* --- What there is
 * --------------------------------------------------------------------------------------------- */

struct item {
    int name, data;
    int emitted; /* as what, when it was last emitted in a batch */
};
struct items {
    struct item list[ITEMS];
    int count;
};

struct m_event {
    struct items items; /* of a plain event one */
    bool batch, stopped, error;
};

static struct m_emitter {
    int source, kind, pattern, root, enough, refs;
    bool closed, held, keeps_source, letting_go;
    int owed;
    unsigned letting_order;
    struct items gathered;
} m_em[EMITTERS];
static int m_emitters;

static struct m_registration {
    int em, pattern, rank, actor, target;
    bool once, there;
    unsigned seq;
} m_reg[REGISTRATIONS];
static int m_registrations;
static unsigned m_clock;

static bool matching[PATTERNS][NAMES];
static bool admits(int pattern, int name) { return pattern == ALL || matching[pattern][name]; }

static void add_item(struct items *to, struct item item) {
    if (to->count == ITEMS) longjmp(trace.undecided, 1);
    to->list[to->count++] = item;
}

/* --- Who is behind whom
 * ---------------------------------------------------------------------------------------- */

static bool lets_listen(int em, int pattern) { return pattern >= NAMES || admits(m_em[em].pattern, pattern); }

/* Does the registration stand at em, or behind it so that em's source is told? */
static bool stands_behind(const struct m_registration *r, int em) {
    int at = r->em;
    while (at >= 0 && at != em) {
        if (!lets_listen(at, r->pattern)) return false;
        at = m_em[at].source;
    }
    return at == em;
}

static bool is_populated(int em) {
    for (int i = 0; i < m_registrations; i++)
        if (m_reg[i].there && m_reg[i].rank != HOOK && stands_behind(&m_reg[i], em)) return true;
    return false;
}

/* Does anybody who was there at the limit, and still is, listen behind the derived emitter for the name?
 * ever: or was once. */
static bool listens(int derived, int name, unsigned limit, bool ever) {
    for (int i = 0; i < m_registrations; i++) {
        const struct m_registration *r = &m_reg[i];
        if (r->rank == HOOK || !admits(r->pattern, name) || !lets_listen(derived, r->pattern)) continue;
        if ((ever || (r->there && r->seq <= limit)) && stands_behind(r, derived)) return true;
    }
    return false;
}

static bool reaches(int em, int other) {
    for (int at = other; at >= 0; at = m_em[at].source)
        if (at == em) return true;
    for (int i = 0; i < m_registrations; i++) {
        if (m_reg[i].rank != PIPE) continue;
        for (int at = m_reg[i].em; at >= 0; at = m_em[at].source)
            if (at == em && reaches(m_reg[i].target, other)) return true;
    }
    return false;
}

/* --- Lives
 * ------------------------------------------------------------------------------------------------------- */

static void m_unref(int em);
static void m_end_resting(int em);
static void m_drop_held(int em);

static void let_go_later(int em) {
    static unsigned order;
    if (!m_em[em].letting_go) m_em[em].letting_order = ++order;
    m_em[em].letting_go = true;
}

static void after_removing(int root) {
    for (;;) {
        int last = -1;
        for (int i = 0; i < m_emitters; i++)
            if (m_em[i].root == root && m_em[i].letting_go &&
                (last < 0 || m_em[i].letting_order > m_em[last].letting_order))
                last = i;
        if (last < 0) return;
        struct m_emitter *e = &m_em[last];
        int drop = e->owed;
        e->letting_go = false;
        e->owed = 0;
        if (e->held && (e->source < 0 || !is_populated(last))) {
            e->held = false;
            drop++;
        }
        while (drop-- > 0) m_unref(last);
    }
}

static void unkeep_source(int em) {
    if (!m_em[em].keeps_source) return;
    m_em[em].keeps_source = false;
    m_em[m_em[em].source].owed++;
    let_go_later(m_em[em].source);
}

static void m_orphan(int em) {
    unkeep_source(em);
    m_em[em].source = -1;
    if (m_em[em].held) let_go_later(em);
    for (int i = m_emitters; i-- > 0;)
        if (m_em[i].source == em) unkeep_source(i);
}

static void let_go_upwards(int em) {
    for (; em >= 0; em = m_em[em].source)
        if (m_em[em].held && !is_populated(em)) let_go_later(em);
}

static void m_close(int em) {
    if (m_em[em].closed) return;
    int source = m_em[em].source;
    m_em[em].closed = true;
    if (source >= 0) unkeep_source(em);
    m_em[em].source = -1;
    for (int i = m_emitters; i-- > 0;)
        if (m_em[i].source == em) m_orphan(i);
    for (int i = 0; i < m_registrations; i++)
        if (m_reg[i].em == em) m_reg[i].there = false;
    if (m_em[em].held) let_go_later(em);
    if (source >= 0) let_go_upwards(source);
    m_drop_held(em);
    m_end_resting(em);
    after_removing(m_em[em].root);
}

static void m_unref(int em) {
    if (--m_em[em].refs > 0) return;
    m_close(em);
    after_removing(m_em[em].root);
}

static void m_remove(int reg) {
    m_reg[reg].there = false;
    if (m_reg[reg].rank != HOOK) let_go_upwards(m_reg[reg].em);
}

static int m_register(struct m_registration r) {
    r.seq = ++m_clock;
    r.there = !m_em[r.em].closed;
    m_reg[m_registrations++] = r;
    if (!r.there) return MTAIO_ECLOSED;
    for (int at = r.em; r.rank != HOOK && at >= 0 && m_em[at].source >= 0; at = m_em[at].source) {
        if (!m_em[at].held) m_em[at].refs++;
        m_em[at].held = true;
        if (!lets_listen(at, r.pattern)) break;
    }
    return 0;
}

#endif
