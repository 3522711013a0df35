/* api_side.h - what an input works on, in the library and in the model, and the handlers it registers. */
#ifndef MTAIO_TESTS_API_SIDE_H
#define MTAIO_TESTS_API_SIDE_H

#include "api_hold.h"

enum { SCRIPT = 9, DEPTH = 5, FUEL = 24, SLOTS = 4 };

static const char *const text[PATTERNS] = {"a", "b",  "a.b", "a.b.c", "error", "b.c",
                                           "*", "**", "a.*", "a.**",  "*.b",   "**.c"};
static const mtaio_priority priority[] = {MTAIO_HIGHEST, MTAIO_HIGH, MTAIO_NORMAL, MTAIO_LOW, MTAIO_LOWEST};

/* What the operations use, kept for the library and for the model alike: slots hold the number of a thing, or
 * HANDLE. */
enum { EM, LISTENER, NAME, BATCH, HOLD, DEFERRAL, KINDS };
struct side {
    int slot[KINDS][SLOTS], made[KINDS];
    int root[EMITTERS], level[EMITTERS], kind[EMITTERS], name_of[HELD];
    bool plain[REGISTRATIONS]; /* registered without a handle */
    int depth, data, fuel;     /* how many handlers may still do something */
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

/* --- Handlers
 * ------------------------------------------------------------------------------------------------------ */

static int data_of(const mtaio_event *event) { return (int)(intptr_t)mtaio_event_data(event); }

static int name_of(const char *name) {
    int i = 0;
    while (i < NAMES && strcmp(text[i], name) != 0) i++;
    expect(i < NAMES);
    return i;
}

/* Completes at once, in one of three ways, or leaves it in a slot. */
static int defer_now(void *event, unsigned how, int em, bool batch) {
    int slot = em % SLOTS, d = s->made[DEFERRAL];
    (void)batch;
    if (d == DEFERRALS) return HANDLE;
    bool keep = how == 3 && !s->waiting && s->slot[DEFERRAL][slot] == HANDLE;
    s->made[DEFERRAL]++;
    int status = how == 1 ? 0 : how == 2 ? -55 : MTAIO_EABANDONED;
    if (keep) s->slot[DEFERRAL][slot] = d;
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

static int run_actor(int em, int actor, void *event, const struct items *items, bool batch,
                     int *ret_deferral) {
    const uint8_t *own = script + actor * SCRIPT;
    saw(CALL, em, actor, batch ? items->count : 0);
    for (int i = 0; i < items->count; i++) saw(ITEM, em, items->list[i].name, items->list[i].data);
    if (own[0] & 4 && trace.modelling && event != NULL) *(bool *)event = true;
    if (own[0] & 4 && !trace.modelling) expect(mtaio_event_set_propagate(event, false) == 0);
    if (own[0] & 24) *ret_deferral = defer_now(event, own[0] >> 3 & 3, em, batch);
    if (s->depth < DEPTH && s->fuel-- > 0) {
        s->depth++;
        if (own[0] & 32) do_operation(own + 1);
        if (own[0] & 64) do_operation(own + 5);
        s->depth--;
    }
    return own[0] % 4 == 3 ? -10 - actor : 0;
}

static int play(mtaio_event *event, void *ctx) {
    const struct context *c = ctx;
    struct items items = {.count = 0};
    int deferral;
    if (ending) return 0;
    for (size_t i = 0; i < mtaio_event_count(event); i++) {
        const mtaio_event *one = mtaio_event_at(event, i);
        expect(items.count < ITEMS);
        items.list[items.count++] =
            (struct item){.name = name_of(mtaio_event_name(one)), .data = data_of(one)};
    }
    return run_actor(c->em, c->actor, event, &items, mtaio_event_is_batch(event), &deferral);
}

static void on_destroy(void *ctx) {
    (void)ctx;
    destroyed++;
}

static int filter(const mtaio_event *event, void *ctx) {
    int em = (int)(intptr_t)ctx;
    if (ending) return 1;
    saw(PASS, em, name_of(mtaio_event_name(event)), data_of(event));
    return predicate(em, data_of(event));
}

static int map(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    int r = filter(event, ctx);
    expect(mtaio_event_set_data(mapped, (char *)mtaio_event_data(event) + MAPPED, NULL) == 0);
    return r;
}

static void on_done(int result, const mtaio_report *report, void *ctx) {
    if (!ending) saw(DONE, (int)(intptr_t)ctx, result, (int)report->called);
}

static void on_failure(const mtaio_failure *failure, void *ctx) {
    (void)ctx;
    saw(FAILED, 0, failure->status, 0);
}

static void before(const mtaio_event *event, void *ctx) {
    (void)event;
    if (!ending) saw(BEFORE, (int)(intptr_t)ctx, 0, 0);
}
static void after(const mtaio_event *event, const mtaio_report *report, int64_t ns, void *ctx) {
    (void)event;
    expect(ns >= 0);
    if (!ending) saw(AFTER, (int)(intptr_t)ctx, (int)report->called, (int)report->failed);
}
static void wrong(const mtaio_failure *failure, void *ctx) {
    if (!ending) saw(WRONG, (int)(intptr_t)ctx, failure->status, 0);
}

#endif
