/* channel_model.h - channels as plain arrays: what fuzz_channel.c compares the library with.
 *
 * Where one call leads to several calls of the user's, their order among different subscribers is the
 * library's business: the events of an operation are compared as a set. */
#ifndef MTAIO_TESTS_CHANNEL_MODEL_H
#define MTAIO_TESTS_CHANNEL_MODEL_H

#include <mtaio/mtaio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHANNELS = 2,
    SUBSCRIBERS = 64,
    PENDINGS = 64,
    QUEUE = 512,
    LINE = 32,
    PATTERNS = 8,
    TOPICS = 5,
    REPLAY = 4
};
enum { NOBODY = -1, NO_TOPIC = -1 };

static const char *const patterns[PATTERNS] = {"a", "a.b", "a.*", "*", "**.b", "a.**", "b", "*.b"};
static const char *const topics[TOPICS] = {"a", "a.b", "b", "b.a", "a.b.c"};
static bool matching[PATTERNS][TOPICS];

static void expect_at(bool condition, const char *what, int line) {
    if (condition) return;
    fprintf(stderr, "line %d: not so: %s\n", line, what);
    abort();
}
#define EXPECT(condition) expect_at((condition), #condition, __LINE__)

static void expect_result(int got, int expected, int line) {
    if (got == expected) return;
    fprintf(stderr, "line %d: %d, not %d\n", line, got, expected);
    abort();
}
#define EXPECT_RESULT(got, expected) expect_result((got), (expected), __LINE__)

/* --- Events ------------------------------------------------------------------------------------ */

enum { RECEIVED, ENDED, PUBLISHED, READY, GONE };
struct event {
    int what, pending, result, topic;
    uint64_t missed;
};
struct events {
    struct event list[2048];
    int count;
};
static struct events seen, expected;

static void log_event(struct events *l, struct event e) {
    EXPECT(l->count < (int)(sizeof l->list / sizeof *l->list));
    l->list[l->count++] = e;
}
static int compare_events(const void *a, const void *b) { return memcmp(a, b, sizeof(struct event)); }

static void compare_sets(void) {
    qsort(seen.list, (size_t)seen.count, sizeof *seen.list, compare_events);
    qsort(expected.list, (size_t)expected.count, sizeof *expected.list, compare_events);
    for (int i = 0; i < seen.count || i < expected.count; i++) {
        const struct event *s = &seen.list[i], *e = &expected.list[i];
        if (i < seen.count && i < expected.count && memcmp(s, e, sizeof *s) == 0) continue;
        if (i < seen.count)
            fprintf(stderr, "- %d of %d: %d (%d)\n", s->what, s->pending, s->result, s->topic);
        if (i < expected.count)
            fprintf(stderr, "+ %d of %d: %d (%d)\n", e->what, e->pending, e->result, e->topic);
        abort();
    }
    seen.count = expected.count = 0;
}

/* --- What there is ----------------------------------------------------------------------------- */

struct m_message {
    int id, topic;
    uint64_t missed;
};

struct m_pending {
    enum { NOTHING, TAKER, WATCH, IN_LINE } kind; /* NOTHING: over */
    int sub, channel, left;                       /* left: messages it will take, < 0: all */
    bool runs;                                    /* a taker that is taking: it is told of nothing */
    struct m_message message;
};

struct m_sub {
    int channel, refs;
    bool ended, everything, has[PATTERNS];
    size_t limit;
    mtaio_overflow overflow;
    struct m_message queue[QUEUE];
    size_t count;
    uint64_t gap, reached, delivered, dropped, high_water;
};

struct m_channel {
    bool closed, by_topic;
    size_t limit, max, replay;
    mtaio_overflow overflow;
    struct m_message kept[REPLAY];
    size_t kept_count;
    int line[LINE], waiting; /* pendings */
    uint64_t published, refused;
};

static struct {
    struct m_channel channel[CHANNELS];
    struct m_sub sub[SUBSCRIBERS];
    struct m_pending pending[PENDINGS];
    int subs, pendings;
} m;

static struct m_channel *m_channel_of(const struct m_sub *s) { return &m.channel[s->channel]; }

static bool m_wants(const struct m_sub *s, int channel, int topic) {
    if (s->ended || s->channel != channel) return false;
    if (s->everything || topic == NO_TOPIC) return true;
    for (int p = 0; p < PATTERNS; p++)
        if (s->has[p] && matching[p][topic]) return true;
    return false;
}

static int m_reach(int channel, int topic) {
    int n = 0;
    for (int i = 0; i < m.subs; i++) n += m_wants(&m.sub[i], channel, topic);
    return n;
}

static int m_count(int channel) { return m_reach(channel, NO_TOPIC); }

/* --- Messages ---------------------------------------------------------------------------------- */

static void m_push(struct m_sub *s, struct m_message message) {
    s->reached++;
    if (s->count == s->limit && s->overflow == MTAIO_DROP_NEWEST) {
        s->gap++;
        s->dropped++;
        return;
    }
    if (s->count == s->limit) {
        uint64_t lost = s->queue[0].missed + 1;
        memmove(s->queue, s->queue + 1, --s->count * sizeof *s->queue);
        s->dropped++;
        if (s->count > 0)
            s->queue[0].missed += lost;
        else
            s->gap += lost;
    }
    EXPECT(s->count < QUEUE);
    message.missed = s->gap;
    s->gap = 0;
    s->queue[s->count++] = message;
    if (s->count > s->high_water) s->high_water = s->count;
}

static void m_keep(struct m_channel *c, struct m_message message) {
    size_t at = 0;
    if (c->replay == 0) return;
    while (at < c->kept_count && !(c->by_topic && c->kept[at].topic == message.topic)) at++;
    if (at == c->kept_count && at == c->replay) at = 0;
    if (at < c->kept_count) memmove(c->kept + at, c->kept + at + 1, (--c->kept_count - at) * sizeof *c->kept);
    c->kept[c->kept_count++] = message;
}

/* All or nothing, without waiting. */
static int m_put(int channel, struct m_message message) {
    struct m_channel *c = &m.channel[channel];
    int n = 0;
    bool waits = false;
    if (c->closed) return MTAIO_ECLOSED;
    for (int i = 0; i < m.subs; i++) {
        const struct m_sub *s = &m.sub[i];
        if (!m_wants(s, channel, message.topic) || s->count < s->limit) continue;
        if (s->overflow == MTAIO_REFUSE) return MTAIO_ELIMIT; /* whoever else is full */
        waits |= s->overflow == MTAIO_BLOCK;
    }
    if (waits) return MTAIO_EAGAIN;
    for (int i = 0; i < m.subs; i++) {
        if (!m_wants(&m.sub[i], channel, message.topic)) continue;
        m_push(&m.sub[i], message);
        n++;
    }
    m_keep(c, message);
    c->published++;
    return n;
}

static int m_publish_one(int channel, struct m_message message) {
    struct m_channel *c = &m.channel[channel];
    int r = c->closed ? MTAIO_ECLOSED : c->waiting > 0 ? MTAIO_EAGAIN : m_put(channel, message);
    c->refused += r == MTAIO_EAGAIN || r == MTAIO_ELIMIT;
    return r;
}

/* Has somebody a buffer that refuses? Then nobody is to wait in line: when the library tries again, and is
 * refused, is its own business. */
static bool m_refuses(int channel) {
    for (int i = 0; i < m.subs; i++)
        if (m_wants(&m.sub[i], channel, NO_TOPIC) && m.sub[i].overflow == MTAIO_REFUSE) return true;
    return false;
}

/* --- What waits -------------------------------------------------------------------------------- */

static void m_unsubscribe(int sub);

static void m_told(int pending, int what, int result) {
    m.pending[pending].kind = NOTHING;
    log_event(&expected, (struct event){.what = what, .pending = pending, .result = result});
    log_event(&expected, (struct event){.what = GONE, .pending = pending});
}

/* From the front, as many as can go; then those they went to are told. */
static void m_tell(int channel);
static void m_carry_on(int channel) {
    struct m_channel *c = &m.channel[channel];
    while (c->waiting > 0) {
        int first = c->line[0], r = m_put(channel, m.pending[first].message);
        if (r == MTAIO_EAGAIN) break;
        EXPECT(r != MTAIO_ELIMIT); /* see m_refuses */
        memmove(c->line, c->line + 1, (size_t)--c->waiting * sizeof *c->line);
        m_told(first, PUBLISHED, r);
    }
    m_tell(channel);
}

static struct m_message m_take_first(struct m_sub *s) {
    struct m_message first = s->queue[0];
    memmove(s->queue, s->queue + 1, --s->count * sizeof *s->queue);
    s->delivered++;
    return first;
}

static void m_sub_unref(int sub) {
    if (--m.sub[sub].refs == 0 && !m.sub[sub].ended) m_unsubscribe(sub);
}

/* The channel's taker, or NOBODY. There is one at most: of two the order in which they take, and others go on
 * behind them, is the library's business. */
static int m_taker(int channel) {
    for (int i = 0; i < m.pendings; i++)
        if (m.pending[i].kind == TAKER && m.sub[m.pending[i].sub].channel == channel) return i;
    return NOBODY;
}

static void m_run_taker(int pending) {
    struct m_pending *p = &m.pending[pending];
    struct m_sub *s = &m.sub[p->sub];
    if (p->runs) return;
    p->runs = true;
    while (p->kind == TAKER && s->count > 0) {
        struct m_message message = m_take_first(s);
        m_carry_on(s->channel);
        log_event(&expected, (struct event){RECEIVED, pending, message.id, message.topic, message.missed});
        if (--p->left != 0) continue;
        p->kind = NOTHING;
        log_event(&expected, (struct event){.what = GONE, .pending = pending});
        m_sub_unref(p->sub);
    }
    if (p->kind == TAKER && (s->ended || m_channel_of(s)->closed)) {
        m_told(pending, ENDED, MTAIO_ECLOSED);
        m_sub_unref(p->sub);
    }
    p->runs = false;
}

static bool m_is_ready(const struct m_sub *s) { return s->count > 0 || s->ended || m_channel_of(s)->closed; }

static void m_tell(int channel) {
    for (int i = 0; i < m.pendings; i++) {
        struct m_pending *p = &m.pending[i];
        if (p->kind == WATCH && m.sub[p->sub].channel == channel && m_is_ready(&m.sub[p->sub]))
            m_told(i, READY, 0);
    }
    for (int i = 0; i < m.pendings; i++)
        if (m.pending[i].kind == TAKER && m.sub[m.pending[i].sub].channel == channel) m_run_taker(i);
}

static void m_unsubscribe(int sub) {
    struct m_sub *s = &m.sub[sub];
    s->ended = true;
    s->dropped += s->count;
    s->count = 0;
    m_carry_on(s->channel);
}

static void m_close(int channel) {
    struct m_channel *c = &m.channel[channel];
    c->closed = true;
    while (c->waiting > 0) {
        int first = c->line[0];
        memmove(c->line, c->line + 1, (size_t)--c->waiting * sizeof *c->line);
        m_told(first, PUBLISHED, MTAIO_ECLOSED);
    }
    m_tell(channel);
}

static int m_cancel(int pending) {
    struct m_pending *p = &m.pending[pending];
    int kind = (int)p->kind;
    if (kind == NOTHING) return 0;
    if (kind == WATCH) {
        p->kind = NOTHING;
        log_event(&expected, (struct event){.what = GONE, .pending = pending});
        return 1;
    }
    m_told(pending, kind == TAKER ? ENDED : PUBLISHED, MTAIO_ECANCELED);
    if (kind == TAKER) {
        m_sub_unref(p->sub);
        return 1;
    }
    struct m_channel *c = &m.channel[p->channel];
    int at = 0;
    while (c->line[at] != pending) at++;
    memmove(c->line + at, c->line + at + 1, (size_t)(--c->waiting - at) * sizeof *c->line);
    c->refused++;
    m_carry_on(p->channel);
    return 1;
}

/* Is there a queue that the next operation might overrun? */
static bool m_is_full(void) {
    for (int i = 0; i < m.subs; i++)
        if (m.sub[i].count + 2 * LINE > QUEUE) return true;
    return false;
}

/* --- Sums -------------------------------------------------------------------------------------- */

static void m_compare_sub(const struct m_sub *s, const mtaio_subscriber *real) {
    mtaio_subscriber_stats r = {.size = sizeof r};
    EXPECT(mtaio_subscriber_stats_get(real, &r) == 0);
    EXPECT(r.reached == s->reached && r.delivered == s->delivered && r.dropped == s->dropped);
    EXPECT(r.waiting == s->count && r.high_water == s->high_water);
}

static void m_compare_channel(int channel, const mtaio_channel *real) {
    const struct m_channel *c = &m.channel[channel];
    mtaio_channel_stats r = {.size = sizeof r};
    uint64_t reached = 0, delivered = 0, dropped = 0, waiting = 0;
    for (int i = 0; i < m.subs; i++) {
        if (m.sub[i].channel != channel) continue;
        reached += m.sub[i].reached;
        delivered += m.sub[i].delivered;
        dropped += m.sub[i].dropped;
        waiting += m.sub[i].count;
    }
    EXPECT(mtaio_channel_stats_get(real, &r) == 0);
    EXPECT(r.published == c->published && r.refused == c->refused);
    EXPECT(r.reached == reached && r.delivered == delivered && r.dropped == dropped && r.waiting == waiting);
    EXPECT(mtaio_channel_count(real) == (size_t)m_count(channel));
    EXPECT(mtaio_channel_is_closed(real) == c->closed);
}

#endif
