/* package_events_handlers.c - who listens to what, and what it does with it.
 *
 *   lines ──┬── handlers by priority
 *           ├── filter (libraries) ── count_library
 *           ├── map (line -> day) ─── count_day
 *           ├── collect_change ── a batch for each dpkg run ── runs ── study_run, on the thread pool
 *           └── publish ── the channel (package_events_feed.c) ── its subscribers, on the pool and at the end
 *
 * The table of handlers is at the end. Every handler runs on the reading thread, but for study_run. */
#define _POSIX_C_SOURCE 200809L

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "package_events.h"

static struct program *enter(void *ctx) {
    struct station *station = ctx;

    station->calls++;
    return station->program;
}

/* --- Handlers of lines, in the order in which they are called ---------------------------------- */

/* Once, HIGHEST: the first event of all. */
static int print_first(mtaio_event *event, void *ctx) {
    const struct entry *e = mtaio_event_data(event);

    enter(ctx);
    printf("First event: %s, line %s of %s\n", mtaio_event_name(event), grouped(e->number), e->source);
    return 0;
}

/* HIGHEST: what is ignored goes no further; only monitors see it. */
static int drop_ignored(mtaio_event *event, void *ctx) {
    struct program *p = enter(ctx);
    const struct entry *e = mtaio_event_data(event);

    for (size_t i = 0; i < p->ignored_count; i++) {
        if (fnmatch(p->ignored[i], e->package, 0) == 0) {
            p->figures.ignored++;
            return mtaio_event_set_propagate(event, false);
        }
    }
    return 0;
}

static int end_run(struct program *p);

/* HIGH: a dpkg run begins, so the one before is complete. */
static int begin_run(mtaio_event *event, void *ctx) {
    struct program *p = enter(ctx);

    (void)event;
    return end_run(p);
}

static int count_action(mtaio_event *event, void *ctx) {
    struct program *p = enter(ctx);
    const char *name = mtaio_event_name(event);
    struct row *row = table_row(&p->figures.actions, name, strlen(name));

    if (!row)
        return MTAIO_ENOMEM;
    row->count++;
    return 0;
}

/* The state a package was last seen in. */
static int follow_state(mtaio_event *event, void *ctx) {
    struct program *p = enter(ctx);
    const struct entry *e = mtaio_event_data(event);
    struct row *row = table_row(&p->figures.states, e->package, strlen(e->package));

    if (!row)
        return MTAIO_ENOMEM;
    row->note = kinds[e->kind].name + strlen("status.");
    return 0;
}

/* The error event: its data says what is wrong with which line. */
static int note_malformed(mtaio_event *event, void *ctx) {
    struct figures *f = &enter(ctx)->figures;
    const struct entry *e = mtaio_event_data(event);

    f->malformed++;
    if (f->sample_count < SAMPLES)
        snprintf(f->samples[f->sample_count++], sizeof f->samples[0], "%s:%zu %s: %.60s", e->source,
                 e->number, e->problem, e->text);
    return 0;
}

/* LOW: keeps the change for the batch of its run. The event is only lent to this handler and its strings are
 * in the reader's buffer, so the batch is given an event of its own with a copy. */
static int collect_change(mtaio_event *event, void *ctx) {
    struct program *p = enter(ctx);
    struct entry *copy = entry_copy(mtaio_event_data(event));
    mtaio_event *own;
    int r;

    if (!copy)
        return MTAIO_ENOMEM;
    r = mtaio_event_new(mtaio_event_name(event), copy, free, &own); /* which frees the copy, whatever comes */
    if (r < 0)
        return r;
    mtaio_event_set_change(own, mtaio_event_change(event));
    if (!p->run)
        r = mtaio_batch_new(p->runs, &p->run);
    if (r >= 0)
        r = mtaio_batch_emit_event(p->run, own);
    if (r >= 0)
        p->figures.collected++;
    mtaio_event_unref(own);
    return r;
}

/* MONITOR: sees everything, ignored or not, after all others. */
static int watch(mtaio_event *event, void *ctx) {
    struct figures *f = &enter(ctx)->figures;
    const struct entry *e = mtaio_event_data(event);
    const char *name = mtaio_event_name(event);
    struct row *row = table_row(&f->names, name, strlen(name));

    if (!row)
        return MTAIO_ENOMEM;
    row->count++;
    if (e->kind == KIND_ERROR)
        return 0;
    f->events++;
    if (!f->first[0] || strcmp(e->when, f->first) < 0)
        memcpy(f->first, e->when, sizeof f->first);
    if (strcmp(e->when, f->last) > 0)
        memcpy(f->last, e->when, sizeof f->last);
    return 0;
}

/* MONITOR: everything that was understood goes to the channel. */
static int publish(mtaio_event *event, void *ctx) {
    struct program *p = enter(ctx);
    const struct entry *e = mtaio_event_data(event);
    int r = e->kind == KIND_ERROR ? 0 : feed_publish(p, mtaio_event_name(event), e);

    return r < 0 ? r : 0;
}

/* --- Behind the filter: libraries -------------------------------------------------------------- */

static int is_library(const mtaio_event *event, void *ctx) {
    const struct entry *e = mtaio_event_data(event);

    (void)ctx;
    return strncmp(e->package, "lib", 3) == 0;
}

static int count_library(mtaio_event *event, void *ctx) {
    struct program *p = enter(ctx);
    const char *name = mtaio_event_name(event);
    struct row *row = table_row(&p->figures.actions, name, strlen(name));

    if (!row)
        return MTAIO_ENOMEM;
    row->part++;
    return 0;
}

/* --- Behind the map: days ---------------------------------------------------------------------- */

struct day {
    char date[11];
    const char *weekday;
};

/* The mapped event has the day for its data, and frees it when nobody uses it any more. */
static int to_day(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    static const char *const names[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const int shift[] = {0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4};
    const char *when = ((const struct entry *)mtaio_event_data(event))->when;
    struct day *day = malloc(sizeof *day);
    int year = atoi(when), month = atoi(when + 5);

    (void)ctx;
    if (!day)
        return MTAIO_ENOMEM;
    memcpy(day->date, when, 10);
    day->date[10] = '\0';
    year -= month < 3;
    day->weekday = names[(year + year / 4 - year / 100 + year / 400 + shift[month - 1] + atoi(when + 8)) % 7];
    return mtaio_event_set_data(mapped, day, free);
}

static int count_day(mtaio_event *event, void *ctx) {
    struct program *p = enter(ctx);
    const struct day *day = mtaio_event_data(event);
    struct row *row = table_row(&p->figures.days, day->date, 10);

    if (!row)
        return MTAIO_ENOMEM;
    row->count++;
    row->note = day->weekday;
    return 0;
}

/* --- A whole dpkg run as one batch, on the pool ------------------------------------------------ */

/* "1:2.66-4+deb12u1" and "1:2.66-4+deb12u2" are of the same upstream version. */
static bool is_same_upstream(const char *a, const char *b) {
    const char *end_a = strrchr(a, '-'), *end_b = strrchr(b, '-');
    size_t length = end_a ? (size_t)(end_a - a) : strlen(a);

    return length == (end_b ? (size_t)(end_b - b) : strlen(b)) && memcmp(a, b, length) == 0;
}

/* Called once for each run with all its changes. The pool has one thread: runs are studied one after another
 * while the main thread reads on, and nothing here needs a lock. */
static int study_run(mtaio_event *event, void *ctx) {
    struct figures *f = &enter(ctx)->figures;
    size_t count = mtaio_event_count(event);

    for (size_t i = 0; i < count; i++) {
        const struct entry *e = mtaio_event_data(mtaio_event_at(event, i));
        struct row *row = table_row(&f->changed, e->package, strlen(e->package));
        if (!row)
            return MTAIO_ENOMEM;
        row->count++;
        if (strcmp(mtaio_event_name(mtaio_event_at(event, i)), "package.upgrade") == 0)
            (*(is_same_upstream(e->old_version, e->version) ? &f->new_revision : &f->new_upstream))++;
        if (i == 0 && count > f->largest_run)
            memcpy(f->largest_when, e->when, sizeof f->largest_when);
    }
    f->largest_run = count > f->largest_run ? count : f->largest_run;
    f->studied += count;
    f->runs++;
    return 0;
}

static void run_is_studied(int result, const mtaio_report *report, void *ctx) {
    struct program *p = ctx;

    (void)report;
    if (result < 0)
        atomic_store(&p->run_result, result);
}

/* Delivers the batch and does not wait: the handler runs on the pool. */
static int end_run(struct program *p) {
    int r;

    if (!p->run)
        return 0;
    r = mtaio_batch_end(p->run, MTAIO_ASYNC(.done = run_is_studied, .ctx = p));
    p->run = mtaio_batch_unref(p->run);
    return r;
}

/* --- Who listens to what ----------------------------------------------------------------------- */

enum source { LINES, LIBRARIES, DAYS, RUNS };
static const struct {
    const char *place, *pattern, *purpose;
    enum source source;
    mtaio_call call;
    mtaio_priority priority;
    unsigned flags;
} table[STATIONS] = {
    {"highest", "*", "print the first event (once)", LINES, print_first, MTAIO_HIGHEST, MTAIO_ONCE},
    {"highest", "package.*", "stop what is ignored", LINES, drop_ignored, MTAIO_HIGHEST, 0},
    {"highest", "status.*", "stop what is ignored", LINES, drop_ignored, MTAIO_HIGHEST, 0},
    {"high", "startup.**", "end the batch of a run", LINES, begin_run, MTAIO_HIGH, 0},
    {"normal", "package.*", "count actions", LINES, count_action, MTAIO_NORMAL, 0},
    {"normal", "status.*", "follow states", LINES, follow_state, MTAIO_NORMAL, 0},
    {"normal", "error", "note malformed lines", LINES, note_malformed, MTAIO_NORMAL, 0},
    {"low", "package.*", "collect the batch of a run", LINES, collect_change, MTAIO_LOW, 0},
    {"filter", "package.*", "count libraries", LIBRARIES, count_library, MTAIO_NORMAL, 0},
    {"map", "package.*", "count days", DAYS, count_day, MTAIO_NORMAL, 0},
    {"monitor", "*", "watch everything", LINES, watch, MTAIO_MONITOR, 0},
    {"monitor", "*", "publish on the channel", LINES, publish, MTAIO_MONITOR, 0},
    {"pool", "package.*", "study runs (in batches)", RUNS, study_run, MTAIO_NORMAL, 0},
};

static int connect_handlers(struct program *p) {
    mtaio_emitter *const emitters[] = {p->lines, p->libraries, p->days, p->runs};
    int r;

    for (size_t i = 0; i < STATIONS; i++) {
        p->stations[i] = (struct station){.program = p};
        r = mtaio_emitter_on(emitters[table[i].source], table[i].pattern,
                             MTAIO_HANDLER(.call = table[i].call, .ctx = &p->stations[i],
                                           .priority = table[i].priority, .flags = table[i].flags,
                                           .executor = table[i].source == RUNS ? p->pool : NULL),
                             NULL);
        if (r < 0)
            return r;
    }
    return 0;
}

int program_start(struct program *p) {
    int r;

    r = mtaio_emitter_new(MTAIO_EMITTER_OPTIONS(.name = "lines"), &p->lines);
    if (r >= 0)
        r = mtaio_emitter_new(MTAIO_EMITTER_OPTIONS(.name = "runs"), &p->runs);
    if (r >= 0)
        r = mtaio_emitter_filter(p->lines, "package.*", MTAIO_FILTER(.call = is_library), &p->libraries);
    if (r >= 0)
        r = mtaio_emitter_map(p->lines, "package.*", MTAIO_MAP(.call = to_day), &p->days);
    if (r >= 0)
        r = mtaio_pool_new(1, 0, &p->pool);
    if (r >= 0)
        r = feed_start(p);
    for (size_t k = 0; r >= 0 && k < KINDS; k++)
        r = mtaio_emitter_resolve(p->lines, kinds[k].name, &p->names[k]);
    return r < 0 ? r : connect_handlers(p);
}

int program_finish(struct program *p) {
    int r = end_run(p), fed = feed_finish(p);

    mtaio_executor_close(p->pool); /* does what is queued, and returns when it is done */
    p->figures.feed.size = sizeof p->figures.feed;
    mtaio_channel_stats_get(p->feed, &p->figures.feed);
    r = r < 0 ? r : fed;
    return r < 0 ? r : atomic_load(&p->run_result);
}

void program_free(struct program *p) {
    struct figures *f = &p->figures;
    struct table *const tables[] = {&f->names, &f->actions, &f->days, &f->states,
                                    &f->changed, &f->hours, &f->commands, &f->minutes};

    mtaio_batch_unref(p->run);
    feed_free(p);
    for (size_t k = 0; k < KINDS; k++)
        mtaio_name_unref(p->names[k]);
    mtaio_emitter_unref(p->libraries);
    mtaio_emitter_unref(p->days);
    mtaio_emitter_unref(p->runs);
    mtaio_emitter_unref(p->lines);
    mtaio_executor_unref(p->pool);
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
        table_free(tables[i]);
}

void program_report_handlers(const struct program *p) {
    struct handler_line lines[STATIONS];

    for (size_t i = 0; i < STATIONS; i++)
        lines[i] = (struct handler_line){table[i].place, table[i].pattern, table[i].purpose,
                                         p->stations[i].calls};
    report_handlers(lines, STATIONS);
}
