/* api_hold.h - the model of emitting, of suppressions, batches and buffers: what holds events back. */
#ifndef MTAIO_TESTS_API_HOLD_H
#define MTAIO_TESTS_API_HOLD_H

#include "api_walk.h"

enum { HELD = 24 };
static struct m_suppression {
    int em, pattern;
    bool ended, replaying;
    struct items held;
} m_suppression[HELD];
static int m_suppressions;

static struct m_batch {
    int em, outer, refs, nested, emitted;
    bool ended;
    struct items items;
    int order[ITEMS];
} m_batch[HELD];
static int m_batches;

static void m_drop_held(int em) {
    for (int i = 0; i < m_suppressions; i++)
        if (m_suppression[i].em == em) {
            m_suppression[i].ended = true;
            m_suppression[i].held.count = 0;
        }
}

/* --- Emitting
 * ------------------------------------------------------------------------------------------------------ */

/* The suppression that takes an event of the name, or HANDLE. */
static int taker(int em, int name) {
    int replaying = HANDLE;
    for (int i = 0; i < m_suppressions; i++) {
        const struct m_suppression *s = &m_suppression[i];
        if (s->em != em || s->ended || !admits(s->pattern, name)) continue;
        if (!s->replaying) return i;
        if (replaying == HANDLE) replaying = i;
    }
    return replaying;
}

static bool is_error(int name) { return name == 4; }

/* 1: held back. Else *ret is the emission that begins. */
static int m_start(int em, const struct m_event *event, bool unheld, bool tells, struct m_emission **ret) {
    if (m_em[em].closed) return MTAIO_ECLOSED;
    int holder = event->batch || unheld ? HANDLE : taker(em, event->items.list[0].name);
    if (holder != HANDLE) {
        add_item(&m_suppression[holder].held, event->items.list[0]);
        return 1;
    }
    struct m_emission *e = m_begin();
    e->tells = tells;
    e->first = event->items.list[0].emitted;
    enter(e, em, event, m_clock);
    *ret = e;
    return 0;
}

static struct m_event m_plain(int name, int data) {
    return (struct m_event){.items = {.list = {{.name = name, .data = data}}, .count = 1},
                            .error = is_error(name)};
}

static int m_emit(int em, const struct m_event *event, bool unheld, bool tells) {
    struct m_emission *e;
    int result = 0, r = m_start(em, event, unheld, tells, &e);
    if (r != 0) return r > 0 ? 0 : r;
    (void)m_drive(e, &result);
    return result;
}

static int m_emit_async(int em, const struct m_event *event) {
    struct m_emission *e;
    int r = m_start(em, event, false, false, &e);
    if (r > 0) saw(DONE, em, 0, 0);
    if (r != 0) return r > 0 ? 0 : r;
    e->async = true;
    m_em[em].refs++;
    m_continue(e);
    return 0;
}

/* A list as one event. */
static int m_emit_batch(int em, const struct items *items) {
    struct m_event event = {.items = *items, .batch = true};
    static int emitted;
    for (int i = 0; i < items->count; i++) event.items.list[i].emitted = ++emitted;
    return m_emit(em, &event, false, false);
}

static int m_flush(int em) {
    struct items items = m_em[em].gathered;
    if (m_em[em].kind != BUFFER) return MTAIO_EINVAL;
    if (items.count == 0) return m_em[em].closed ? MTAIO_ECLOSED : 0;
    m_em[em].gathered.count = 0;
    return m_emit_batch(em, &items);
}

/* --- Suppressions
 * -------------------------------------------------------------------------------------------------- */

static int m_suppress(int em, int pattern) {
    if (m_em[em].closed) return MTAIO_ECLOSED;
    m_suppression[m_suppressions++] = (struct m_suppression){.em = em, .pattern = pattern};
    m_em[em].refs++;
    return 0;
}

static int m_drop(struct m_suppression *s) {
    int count = s->held.count;
    if (s->ended) return MTAIO_EALREADY;
    s->ended = true;
    s->replaying = false;
    s->held.count = 0;
    return count;
}

static int m_replay_list(int em, const struct items *items) {
    int first = 0;
    for (int i = 0; i < items->count; i++) {
        struct m_event event = m_plain(items->list[i].name, items->list[i].data);
        int r = m_emit(em, &event, true, false);
        if (r < 0 && first == 0) first = r;
    }
    return first;
}

static int m_replay(struct m_suppression *s) {
    struct items held = s->held;
    if (s->ended) return MTAIO_EALREADY;
    s->held.count = 0;
    s->replaying = true;
    int count = held.count, first = m_replay_list(s->em, &held);
    held = s->held;
    s->held.count = 0;
    s->ended = true;
    s->replaying = false;
    count += held.count;
    int second = m_replay_list(s->em, &held);
    return first < 0 ? first : second < 0 ? second : count;
}

/* --- Batches
 * ------------------------------------------------------------------------------------------------------- */

static bool is_over(int batch) {
    while (batch >= 0 && !m_batch[batch].ended) batch = m_batch[batch].outer;
    return batch >= 0;
}

static int m_batch_new(int em, int outer) {
    if (m_em[em].closed || is_over(outer)) return MTAIO_ECLOSED;
    m_batch[m_batches++] = (struct m_batch){.em = em, .outer = outer, .refs = 1};
    m_em[em].refs++;
    if (outer >= 0) {
        m_batch[outer].nested++;
        m_batch[outer].refs++;
    }
    return 0;
}

static int m_batch_emit(int batch, struct item item) {
    struct m_batch *b = &m_batch[batch], *root = b;
    if (m_em[b->em].closed || is_over(batch)) return MTAIO_ECLOSED;
    while (root->outer >= 0) root = &m_batch[root->outer];
    add_item(&b->items, item);
    b->order[b->items.count - 1] = root->emitted++;
    return 0;
}

static int m_batch_end(int batch) {
    struct m_batch *b = &m_batch[batch];
    if (b->ended) return MTAIO_EALREADY;
    if (is_over(batch)) return MTAIO_ECLOSED;
    if (b->nested > 0) return MTAIO_EBUSY;
    b->ended = true;
    if (b->outer >= 0) {
        struct m_batch *outer = &m_batch[b->outer];
        outer->nested--;
        for (int i = 0; i < b->items.count; i++) {
            add_item(&outer->items, b->items.list[i]);
            outer->order[outer->items.count - 1] = b->order[i];
        }
        b->items.count = 0;
        return 0;
    }
    struct items delivered = {.count = 0};
    for (int n = 0; n < b->emitted; n++) /* in order; those of abandoned batches are not there */
        for (int i = 0; i < b->items.count; i++) {
            int holder = b->order[i] == n ? taker(b->em, b->items.list[i].name) : HANDLE;
            if (b->order[i] == n)
                add_item(holder == HANDLE ? &delivered : &m_suppression[holder].held, b->items.list[i]);
        }
    b->items.count = 0;
    return delivered.count == 0 ? 0 : m_emit_batch(b->em, &delivered);
}

static int m_abandon(int batch) {
    struct m_batch *b = &m_batch[batch];
    if (b->ended) return MTAIO_EALREADY;
    b->ended = true;
    b->items.count = 0;
    if (b->outer >= 0) m_batch[b->outer].nested--;
    return 0;
}

static void m_batch_unref(int batch) {
    while (batch >= 0 && --m_batch[batch].refs == 0) {
        m_abandon(batch);
        m_unref(m_batch[batch].em);
        batch = m_batch[batch].outer;
    }
}

#endif
