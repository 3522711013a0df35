/* emission.h - an emission: a walk over the handlers that were registered when it began, which can rest.
 *
 * The walk (struct walk) is the one state machine: it calls, and knows what is left to call. Who drives it
 * decides what happens where a handler defers: a waiting emission (mtaio_emit) keeps the walk on its stack
 * and waits; a resting one (mtaio_emit_start, mtaio_emit_async) has it in memory, and whoever completes the
 * deferral drives it on. */
#ifndef MTAIO_SRC_EMISSION_H
#define MTAIO_SRC_EMISSION_H

#include "core/event.h"
#include "core/executor.h"
#include "core/hook.h"
#include "core/unhandled.h"

/* What the walks of one emission have done so far. */
struct tally {
    unsigned called, failed;
    unsigned watched; /* of those called, monitors; counted for "error" and batches only */
    int first_error;
    int ended;                   /* before all had run: ECLOSED, ECANCELED */
    bool is_ours;                /* ctx: not to be shown to handlers */
    struct unhandled *unhandled; /* of a batch with "error"s, its plan's; else NULL */
    void (*failure)(const mtaio_failure *failure, void *ctx);
    void *ctx;
};

/* The part of a batch that one handler is shown. */
struct span {
    mtaio_event **events;
    uint32_t count;
};

/* Handlers chosen for this emission alone. Of a batch: a list, with a span for each. Of a name that no node
 * stands for: the lanes of every pattern that matches it, merged piece by piece as the walk comes to them; so
 * however many handlers there are, only very many patterns, or very many emitters derived, take memory. */
#define PLAN_LANES 12
#define PLAN_LINKS 6
#define PLAN_PIECE 12
struct cursor {
    struct listener *head; /* the next of its lane */
    ATOMIC(struct listener *) *entry;
    ATOMIC(struct listener *) *end;
};
struct plan {
    uint64_t limit;       /* the clock of the beginning */
    struct cursor *lanes; /* a heap: the next to be called on top */
    size_t lane_count, lane_capacity;
    struct listener **list; /* of a batch, all; else what comes between own handlers and monitors */
    size_t count, capacity;
    struct span *spans;
    void *spare; /* memory of the spans */
    size_t spare_bytes;
    struct unhandled *unhandled; /* of a batch, the outermost walk's */
    struct cursor own_lanes[PLAN_LANES];
    struct listener *own_list[PLAN_LINKS];
    struct listener *piece[PLAN_PIECE];
};

struct walk {
    mtaio_event *event;
    mtaio_emitter *em;
    struct pin *pin;
    struct tally *tally;    /* of the outermost walk */
    struct walk_rest {      /* nothing of this in a plain emission */
        struct walk *outer; /* of the source, where em is a derived emitter */
        const char *name;   /* that was emitted, where a map may have given another; NULL: the event's */
        const struct named *named; /* the same of a batch; NULL: the events' */
        struct emission *emission; /* NULL: a waiting emission */
        mtaio_deferral *deferral;  /* of the handler being called */
        const struct span *spans;
        struct hooks *hooks;  /* of em; NULL: none */
        struct plan *merging; /* more parts come from there */
        unsigned level;       /* how many outer walks there are */
    } rest;
    uint32_t segments, segment, index; /* what comes next */
    struct part {
        ATOMIC(struct listener *) *entry;
        uint32_t count;
    } part[RANKS];
};

/* What the short way of emitting has on its stack. The event's walk is at first the pin, marked by BRIEF; the
 * true one, but for its emitter, and the tally are filled when somebody needs them. */
struct brief {
    mtaio_event event;
    struct walk walk;
    struct tally tally;
    unsigned called; /* until the walk takes over */
};

/* The same where a plain event passes into a derived emitter (step.c): the walk of what passes is at first
 * the step, marked by STEP; of the true one em and pin are there. */
struct step {
    struct walk walk;
    mtaio_event *source;         /* what the source's handlers are shown; a filter passes it on */
    ATOMIC(struct walk *) outer; /* its walk, perhaps marked */
};

enum { BRIEF = 1, STEP = 2 };
static inline struct walk *brief_mark(struct pin *pin) {
    return (struct walk *)(void *)((char *)pin + BRIEF);
}
static inline struct walk *step_mark(struct step *s) { return (struct walk *)(void *)((char *)s + STEP); }
static inline bool walk_is_brief(const struct walk *w) { return (uintptr_t)w & BRIEF; }
static inline bool walk_is_step(const struct walk *w) { return (uintptr_t)w & STEP; }
static inline bool walk_is_marked(const struct walk *w) { return (uintptr_t)w & (BRIEF | STEP); }
static inline struct step *walk_step(struct walk *w) { return (struct step *)(void *)((char *)w - STEP); }
static inline struct pin *walk_pin(struct walk *w) {
    if (walk_is_step(w)) return walk_step(w)->walk.pin;
    return walk_is_brief(w) ? (struct pin *)(void *)((char *)w - BRIEF) : w->pin;
}

/* The true walk of the event, whose walk is, or was before it passed on, the marked w. */
struct walk *mtaio__walk_fill(mtaio_event *event, struct walk *w);

/* The walk of an event that is in one. For who goes on with it, on its thread: else see walk_is_marked. */
static inline struct walk *event_walk(const mtaio_event *event) {
    struct walk *w = load_acquire(&event->walk); /* pairs with walk_fill */
    return unlikely(walk_is_marked(w)) ? mtaio__walk_fill((mtaio_event *)(uintptr_t)event, w) : w;
}

/* By which handlers are chosen. */
static inline const char *walk_name(const struct walk *w) {
    return w->rest.name ? w->rest.name : w->event->name;
}

/* An event of a batch, and the name that was emitted. */
struct named {
    mtaio_event *event;
    const char *name;
};

enum walk_result { WALK_DONE, WALK_RESTS, WALK_DESCENDS };

/* Calls what is left, part by part. RESTS: a deferral was parked, and the walk may already go on in another
 * thread. DESCENDS: the emission has a new inner walk to be done first. */
enum walk_result mtaio__walk_run(struct walk *w);

/* The handler l failed or the event's flow is not plain: what a walk does then, and all that is left of it.
 */
enum walk_result mtaio__walk_on(struct walk *w, const struct listener *l, int r);

/* Counts a failure, and tells whoever wants to know. l may be a link: then no handler is named. */
void mtaio__walk_failed(struct walk *w, const struct listener *l, int status);

/* Runs the handler of l on its executor: the walk waits or rests meanwhile. */
int mtaio__call_on_executor(mtaio_event *event, struct listener *l);

/* The result of mtaio_emit. */
static inline int tally_result(const struct tally *t) {
    if (unlikely(t->failed) || unlikely(t->ended)) return t->ended ? t->ended : MTAIO_EHANDLER;
    return t->called > INT32_MAX ? INT32_MAX : (int)t->called;
}

/* --- Choosing the handlers, under a pin -------------------------------------------------------- */

/* The emission's name: node where it is known. */
struct target {
    const char *name;
    size_t length;
    uint64_t hash;
    struct node *node;
};

struct target mtaio__target_of(const char *name);

/* The node's lanes as they are now. */
static inline void walk_gather(struct walk *w, const struct node *n) {
    uint32_t parts = 0;
    for (struct lane *lane = load_acquire(&n->lanes); lane && parts < RANKS;
         lane = load_acquire(&lane->next)) {
        w->part[parts].entry = lane_entries(lane);
        w->part[parts++].count = load_acquire(&lane->count); /* pairs with node_append */
    }
    w->segments = parts;
    w->segment = w->index = 0;
}

/* The same under a narrow pin, which is wide meanwhile: each lane is to be looked into to find the next. False:
 * something was added or removed since the pin was set, and it stays wide. */
static inline bool walk_gather_steady(struct walk *w, const struct node *n, struct pin *pin,
                                      const struct reclaimer *of) {
    uint64_t began = load_relaxed(&pin->lower);
    pin_widen(pin);
    walk_gather(w, n);
    if (clock_moved(of, began)) return false;
    pin_narrow_to(pin, began);
    return true;
}

void mtaio__plan_init(struct plan *p);
void mtaio__plan_free(struct plan *p);
static inline void plan_fini(struct plan *p) {
    if (unlikely(p->lanes != p->own_lanes || p->list != p->own_list || p->spare || p->unhandled || p->count))
        mtaio__plan_free(p);
}

/* The handlers of all patterns that match the name and were registered at the clock `limit`: 0 or ENOMEM.
 * Under a pin or the lock. Then, in order, the next one, until there is none. */
int mtaio__plan_patterns(struct plan *plan, const mtaio_emitter *em, const char *name, uint64_t limit);
struct listener *mtaio__plan_next(struct plan *plan);

/* The next piece of the plan becomes the walk's only part; false: there is none. */
bool mtaio__walk_merge(struct walk *w);
static inline bool walk_refill(struct walk *w) {
    return unlikely(w->rest.merging != NULL) && mtaio__walk_merge(w);
}

/* Fills the parts of w for the target: its node's lanes, else by the patterns, in plan. 0 or ENOMEM. */
int mtaio__walk_choose(struct walk *w, mtaio_emitter *em, const struct target *target, struct plan *plan);

/* Only what was registered at the clock of the pin's lower end is chosen, so that a derived emitter's
 * handlers are those of the beginning too. */

/* The same for a batch of events. */
int mtaio__walk_choose_batch(struct walk *w, mtaio_emitter *em, mtaio_event **events, uint32_t count,
                             struct plan *plan);

/* --- Resting emissions ------------------------------------------------------------------------- */

/* Until a handler defers, it runs under a pin of the thread where it began; then under its own. */
struct emission {
    struct walk walk; /* the outermost */
    struct walk *top; /* the one to be run */
    struct resting rest;
    struct tally tally;
    struct plan plan;
    struct hooks hooks;
    mtaio_event view;
    mtaio_event *event;   /* a reference to what the view shows; NULL: to its metadata */
    mtaio_emitter *held;  /* a reference, or NULL */
    mtaio_report *report; /* the caller's, or NULL */
    int64_t began_ns;
    void (*done)(int result, const mtaio_report *report, void *ctx); /* ctx is the tally's */
    struct emission *next;                  /* on a thread's list of those postponed */
    struct emission *outer;                 /* that this thread runs too */
    void (*inner_done)(struct walk *inner); /* frees an inner walk */
    void (*finished)(struct emission *e);   /* tells, and frees */
    void (*abandoned)(struct emission *e);  /* the thread has ended inside of a handler: frees */
};

/* Runs it on the calling thread until it rests, and is not the caller's any more, or is over. */
enum walk_result mtaio__emission_run(struct emission *e, struct thread *t);

/* A handler is about to defer: from now on the walk may go on in another thread. */
void mtaio__emission_rest(struct emission *e);

/* A reference, unless the last one has been dropped just now: then it is closed, and NULL. */
mtaio_emitter *mtaio__emitter_ref_living(mtaio_emitter *em);

/* Runs an emission that has rested; where it is over, calls finished. */
void mtaio__emission_drive(struct emission *e);

/* After a walk has come to its end: the thread is less deep now. */
void mtaio__drive_postponed(struct thread *t);

/* Ends what rests in em or behind it with ECLOSED. */
void mtaio__deferrals_close(struct family *f, const mtaio_emitter *em);

#endif
