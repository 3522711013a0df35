/* reclaim.h - when memory that readers may still be in can be freed.
 *
 * Readers (emissions) take no lock and write no shared line. Everything a reader can reach belongs to one
 * owner (an emitter, a channel), whose struct reclaimer has a clock: the number of registrations and removals
 * so far. A reader publishes in a slot of its own thread, the pin, which owner it is in and at which clock.
 * An object is born at one clock value and retired, after it was unlinked, at another; it may be freed when
 * no pin of its owner lies between the two. So a reader that rests for hours holds back only what it can
 * reach: neither younger objects nor other owners'. (The rule is that of hazard eras, Ramalhete and Correia
 * 2017, with a clock per owner.)
 *
 * A pin is [lower, upper]. lower is the clock read at the start: the emission works on what was registered
 * then. While the reader looks things up it may come upon younger ones, so upper is PIN_WIDE; then it is
 * narrowed to the clock of that moment, for nothing younger is needed.
 *
 * Writers hold the owner's lock. To publish: tick the clock, then store (release). To remove: unlink, then
 * retire, then tick. The store of a pin and the loads after it are ordered against unlinking and the scan of
 * pins by os_fence_light / os_fence_heavy. */
#ifndef MTAIO_SRC_RECLAIM_H
#define MTAIO_SRC_RECLAIM_H

#include "os/os.h"

#define PIN_WIDE UINT64_MAX
#define BIRTH_SHIFT 10
#define CLOCK_MAX ((UINT64_C(1) << (32 + BIRTH_SHIFT)) - 1)

/* In every object that is retired. birth is the clock in units of 2^BIRTH_SHIFT, rounded down; when are its
 * low 32 bits, at the time of retiring. Both err towards keeping. */
struct retired {
    struct retired *next;
    uint32_t birth;
    uint32_t when;
};

/* The head of a plain block of memory that is retired and then simply freed. */
struct block {
    struct retired retired;
    size_t bytes; /* of the whole block, head included */
};

struct reclaimer {
    ATOMIC(uint64_t) clock;   /* written under the owner's lock */
    struct retired *blocks;   /* retired struct block; owner's lock */
    ATOMIC(unsigned) waiting; /* retired objects of any kind not yet freed; owner's lock */
    ATOMIC(unsigned) enough; /* so many that they are worth a sweep: twice what the last one left, and some */

    /* Frees what can be freed. Called without locks, when a pin that was asked has gone, and by
     * mtaio_reclaim. */
    void (*sweep)(struct reclaimer *r);
    struct reclaimer *next_pending, *prev_pending; /* owners that keep something; pending_lock */
    ATOMIC(bool) pending;                          /* ... it is one of them; read without the lock too */
    void (*hold)(struct reclaimer *r); /* keeps the owner's memory while it is on that list, or being swept */
    void (*drop)(struct reclaimer *r);
};

/* --- Blocks ------------------------------------------------------------------------------------ */

static inline uint32_t reclaim_birth(uint64_t clock) { return (uint32_t)(clock >> BIRTH_SHIFT); }

/* A block of at least sizeof(struct block), born now. NULL: out of memory. Owner's lock. */
void *mtaio__block_alloc(const struct reclaimer *r, size_t bytes);
void mtaio__block_free(struct block *b);

/* After the block was unlinked. Owner's lock. Allocates nothing. */
void mtaio__block_retire(struct reclaimer *r, struct block *b);

/* The next value of the clock: before publishing, and after unlinking. Owner's lock. */
static inline void reclaim_waiting(struct reclaimer *r, int more) {
    store_relaxed(&r->waiting, load_relaxed(&r->waiting) + (unsigned)more);
}

static inline uint64_t reclaim_tick(struct reclaimer *r) {
    uint64_t now = load_relaxed(&r->clock) + 1;
    store_release(&r->clock, now); /* pairs with the pin's reading of it */
    return now;
}

/* Has it moved since a pin was set? Then younger objects may be among those that were found. */
static inline bool clock_moved(const struct reclaimer *of, uint64_t since) {
    return unlikely(load_acquire(&of->clock) != since);
}

/* --- Pins -------------------------------------------------------------------------------------- */

struct pin {
    ATOMIC(const struct reclaimer *) of; /* NULL: free; stored last, cleared first; perhaps with PIN_NARROW */
    ATOMIC(uint64_t) lower;
    ATOMIC(uint64_t) upper; /* with PIN_NARROW it is lower, whatever stands here */
    ATOMIC(void *)
    running; /* while not free: the listener called last; perhaps still, its context is in use */
    ATOMIC(uint32_t) asked; /* somebody waits for this pin to go: sweep the pending owners */
};

/* A bit of pin.of: one store less. */
#define PIN_NARROW 1u
static inline const struct reclaimer *pin_mark_narrow(const struct reclaimer *of) {
    return (const struct reclaimer *)(const void *)((const char *)of + PIN_NARROW);
}
static inline bool pin_is_narrow(const struct reclaimer *of) { return (uintptr_t)of & PIN_NARROW; }
static inline const struct reclaimer *pin_owner(const struct reclaimer *of) {
    return (const struct reclaimer *)((uintptr_t)of & ~(uintptr_t)PIN_NARROW); /* of may be NULL */
}

#define PINS_OWN 8

/* Memory that a thread keeps a few blocks of, to use them again: for what begins and ends with every emission
 * that is not plain. Dropped when the thread ends. */
enum spare_kind { SPARE_EMISSION, SPARE_DEFERRAL, SPARE_INNER, SPARE_KINDS };
#define SPARES_MAX 4
struct spare {
    struct spare *next;
    void (*drop)(void *block);
};

/* One for each thread that ever emitted; given to the next thread when that ends, never freed before the
 * library. */
struct thread {
    struct pin pins[PINS_OWN];
    struct pin *more;      /* MTAIO_DEPTH_MAX - PINS_OWN others, made when first needed */
    unsigned depth;        /* nested walks on this thread, and the next one's pin; private */
    ATOMIC(bool) has_more; /* they are there */
    ATOMIC(uint32_t) taken;
    struct thread *next; /* fixed once published */

    /* Private: */
    struct serving *serving;    /* emissions this thread runs for others */
    struct emission *postponed; /* to be driven on once this thread is less deep */
    struct emission *running;   /* those it is inside of that are not on its stack, the innermost first */
    void (*leave)(struct thread *t); /* the thread ends: lets go of both; set before there are any */
    struct spare *spares[SPARE_KINDS];
    unsigned spare_counts[SPARE_KINDS];

    ATOMIC(int64_t)
    rests; /* how many pins came to rest here, less those that ended here; written by the thread */
};

/* An emission whose pin is not one of this thread's own: it rests at times, or it is another thread's that
 * waits for this one. On the stack of the function that runs it. */
struct serving {
    const struct pin *pin;
    struct serving *next;
};

/* The timers'. Here, for it is held around a fork, as the locks of reclaim.c are: the child can use them. */
extern os_mutex mtaio__timers_lock;

struct thread *mtaio__thread_register(void);

/* Before the first owner that threads use without that: a child that is forked from now on finds our locks
 * free. 0 or ESYSTEM. */
int mtaio__reclaim_init(void);

/* The calling thread's record; NULL: out of memory. */
static inline struct thread *thread_here(void) {
    struct thread *t = os_self();
    return likely(t != NULL) ? t : mtaio__thread_register();
}

/* NULL: there is none. Its first bytes, of the size of struct spare, are not what they were. */
static inline void *spare_take(struct thread *t, enum spare_kind kind) {
    struct spare *s = t->spares[kind];
    if (!s) return NULL;
    t->spares[kind] = s->next;
    t->spare_counts[kind]--;
    return s;
}

/* Keeps the block on the calling thread; where that has enough, or no record, drops it. */
void mtaio__spare_keep(enum spare_kind kind, void *block, void (*drop)(void *block));

/* A wide pin at the owner's clock. The store of `of` comes last; all pair with the acquire loads of the scan.
 * fenced: light fences are full ones. */
static inline uint64_t pin_set_as(struct pin *p, const struct reclaimer *of, bool fenced) {
    uint64_t now = load_acquire(&of->clock); /* pairs with reclaim_tick */
    store_release(&p->lower, now);
    store_release(&p->upper, PIN_WIDE);
    store_release(&p->of, of);
    os_fence_light_as(fenced); /* pairs with the heavy fence between unlinking and scanning */
    return now;
}
static inline uint64_t pin_set(struct pin *p, const struct reclaimer *of) {
    return pin_set_as(p, of, !os_is_asymmetric());
}

/* A narrow one at the clock `now`, which is to be looked at again before anything else is. */
static inline void pin_set_narrow(struct pin *p, const struct reclaimer *of, uint64_t now) {
    store_release(&p->lower, now);
    store_release(&p->of, pin_mark_narrow(of));
    os_fence_light_as(false); /* as in pin_set_as */
}

/* One walk deeper, with a pin. EDEPTH, ENOMEM. Popped in the opposite order. */
int mtaio__pin_push(struct thread *t, const struct reclaimer *of, struct pin **ret);
static inline int pin_push(struct thread *t, const struct reclaimer *of, struct pin **ret) {
    if (unlikely(t->depth >= PINS_OWN)) return mtaio__pin_push(t, of, ret);
    *ret = &t->pins[t->depth++];
    pin_set(*ret, of);
    return 0;
}

/* Before something more is looked up. */
static inline void pin_widen(struct pin *p) {
    store_release(&p->upper, PIN_WIDE);
    store_release(&p->of, pin_owner(load_relaxed(&p->of)));
    os_fence_light(); /* as in pin_set */
}

/* After the look-up: nothing born after this clock is needed. */
static inline void pin_narrow_to(struct pin *p, uint64_t clock) { store_release(&p->upper, clock); }

static inline void pin_narrow(struct pin *p, const struct reclaimer *of) {
    pin_narrow_to(p, load_acquire(&of->clock));
}

void mtaio__pin_asked(struct pin *p);

static inline void pin_clear_as(struct pin *p, bool fenced) {
    store_release(&p->of, NULL); /* what was read under the pin was read before: pairs with the scan */
    os_fence_light_as(fenced);   /* pairs with the heavy fence between asking and the second scan */
    if (unlikely(load_relaxed(&p->asked))) mtaio__pin_asked(p);
}
static inline void pin_clear(struct pin *p) { pin_clear_as(p, !os_is_asymmetric()); }

static inline void pin_pop(struct thread *t, struct pin *p) {
    t->depth--;
    pin_clear(p);
}

/* A pin that does not belong to a thread, for an emission that may rest: in a list, under one lock. It stays
 * there while the memory of the emission is kept to be used again, so that coming to rest takes no lock. */
struct resting {
    struct pin pin;
    struct resting *next, *prev;
};
void mtaio__rest_link(struct resting *rest);
void mtaio__rest_unlink(struct resting *rest);

void mtaio__rest_begin(struct resting *rest, const struct reclaimer *of);

/* The walk under the calling thread's pin `from` rests from now on: the same pin, in the list. Cannot fail,
 * and at every moment one of the two is found. `from` is still to be popped. */
void mtaio__rest_move(struct resting *rest, struct pin *from);
void mtaio__rest_end(struct resting *rest);

/* --- Scanning ---------------------------------------------------------------------------------- */

#define SCAN_MAX 32

/* The pins of one owner, copied. Past SCAN_MAX the last entry spans all the others and runs everything. */
struct scan {
    unsigned count;
    bool crowded;
    uint64_t clock;
    struct {
        uint64_t lower, upper;
        const void *running;
    } pins[SCAN_MAX];
};

/* Copies the pins of the owner, after a heavy fence; with ask, leaves word in each that it stands in the way.
 */
void mtaio__scan(const struct reclaimer *of, bool ask, struct scan *ret);
bool mtaio__scan_holds(const struct scan *s, uint64_t birth, uint32_t when);
bool mtaio__scan_runs(const struct scan *s, const void *listener);

/* Is nobody but perhaps the calling thread, outside of every emission, there? Then what is unlinked can be
 * freed at once. A cheap look: false may be wrong. */
bool mtaio__reclaim_is_idle(void);

/* The same for what readers see to be changed in place: where true, no thread reads before
 * mtaio__reclaim_end_alone, not even one that was not known here. */
bool mtaio__reclaim_begin_alone(void);
void mtaio__reclaim_end_alone(void);

/* Waits until no pin but the calling thread's own (and those it serves) runs the listener. */
void mtaio__wait_not_running(const void *listener);

/* The list of owners that keep something retired. Under the owner's lock. */
void mtaio__reclaim_later(struct reclaimer *r);
void mtaio__reclaim_forget(struct reclaimer *r);

/* Splits the list of retired objects: those a pin holds are left in *list, the others returned. */
struct retired *mtaio__retired_split(struct retired **list, const struct scan *s);

#endif
