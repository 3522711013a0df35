/* reclaim.c - threads' pins, the scan of them, and owners that wait for one to go. */
#include "core/reclaim.h"

#include <mtaio/base.h>

#include "base/memory.h"
#include "core/fork.h"

static ATOMIC(struct thread *) threads; /* only ever grows at its head */
static ATOMIC(uint32_t) alone; /* how many threads change what readers see: nobody begins to read meanwhile */

/* Guards the list of resting pins. Innermost: nothing is called with it held. */
static os_mutex resting_lock = OS_MUTEX_STATIC;
static ATOMIC(struct resting *) resting_first;

/* Guards the list of pending owners. Innermost too. */
static os_mutex pending_lock = OS_MUTEX_STATIC;
static struct reclaimer *pending_first, *pending_last;
static size_t pending_count;
static void sweep_pending(void);

os_mutex mtaio__timers_lock = OS_MUTEX_STATIC;

/* --- Blocks ------------------------------------------------------------------------------------ */

void *mtaio__block_alloc(const struct reclaimer *r, size_t bytes) {
    struct block *b = mtaio__alloc(bytes);
    if (!b) return NULL;
    b->retired = (struct retired){.birth = reclaim_birth(load_relaxed(&r->clock))};
    b->bytes = bytes;
    return b;
}

void mtaio__block_free(struct block *b) {
    if (b) mtaio__free(b, b->bytes);
}

void mtaio__block_retire(struct reclaimer *r, struct block *b) {
    b->retired.when = (uint32_t)load_relaxed(&r->clock);
    b->retired.next = r->blocks;
    r->blocks = &b->retired;
    reclaim_waiting(r, +1);
}

/* --- Threads ----------------------------------------------------------------------------------- */

static unsigned thread_pins(const struct thread *t) {
    return load_acquire(&t->has_more) ? MTAIO_DEPTH_MAX : PINS_OWN; /* pairs with pin_more */
}

static struct pin *thread_pin(const struct thread *t, unsigned i) {
    if (i < PINS_OWN) return (struct pin *)&t->pins[i];
    return &t->more[i - PINS_OWN];
}

static void pins_clear(struct thread *t) {
    for (unsigned i = 0; i < thread_pins(t); i++) store_release(&thread_pin(t, i)->of, NULL);
    t->depth = 0;
    t->serving = NULL;
    t->running = NULL;
}

void mtaio__spare_keep(enum spare_kind kind, void *block, void (*drop)(void *block)) {
    struct thread *t = os_self();
    if (!t || t->spare_counts[kind] >= SPARES_MAX) {
        drop(block);
        return;
    }
    struct spare *s = block;
    *s = (struct spare){.next = t->spares[kind], .drop = drop};
    t->spares[kind] = s;
    t->spare_counts[kind]++;
}

static void spares_drop(struct thread *t) {
    for (int kind = 0; kind < SPARE_KINDS; kind++)
        for (struct spare *s; (s = spare_take(t, (enum spare_kind)kind));) s->drop(s);
}

/* A thread has ended, perhaps inside a handler: its pins go with it. */
static void thread_leave(void *record) {
    struct thread *t = record;
    bool inside = t->depth > 0;
    if (t->leave) t->leave(t);
    spares_drop(t);
    pins_clear(t);
    store_release(&t->taken, 0); /* pairs with the cas of the next thread to take it */
    if (inside) sweep_pending();
}

static void before_fork(void) {
    mtaio__fork_before();
    os_lock_inner(&mtaio__timers_lock);
    os_lock_inner(&pending_lock); /* may be taken under what the first has waited for */
    os_lock_inner(&resting_lock);
}

static void after_fork(void) {
    os_unlock(&resting_lock);
    os_unlock(&pending_lock);
    os_unlock(&mtaio__timers_lock);
    mtaio__fork_after();
}

/* In a forked child only the forking thread lives on: the others' pins hold nothing back. What owners of the
 * parent still keep is not swept here: another thread may have been doing so. */
static void forked(void) {
    mtaio__fork_child();
    for (struct reclaimer *r = pending_first, *next; r; r = next) {
        next = r->next_pending;
        r->next_pending = r->prev_pending = NULL;
        store_relaxed(&r->pending, false);
    }
    pending_first = pending_last = NULL;
    pending_count = 0;
    store_relaxed(&alone, 0);
    after_fork();
    struct thread *self = os_self();
    for (struct thread *t = load_acquire(&threads); t; t = t->next) {
        if (t == self || !load_relaxed(&t->taken)) continue;
        pins_clear(t);
        store_release(&t->taken, 0);
    }
}

int mtaio__reclaim_init(void) { return os_at_fork(before_fork, after_fork, forked); }

static struct thread *thread_reuse(void) {
    for (struct thread *t = load_acquire(&threads); t; t = t->next) {
        uint32_t free = 0;
        if (!load_relaxed(&t->taken) && atomic_cas(&t->taken, &free, 1)) return t;
    }
    return NULL;
}

struct thread *mtaio__thread_register(void) {
    os_fence_init();
    if (mtaio__reclaim_init() < 0) return NULL;
    struct thread *t = thread_reuse();
    if (!t) {
        t = mtaio__alloc_zeroed(sizeof *t);
        if (!t) return NULL;
        t->taken = 1;
        t->next = load_acquire(&threads);
        while (!atomic_cas(&threads, &t->next, t)) {} /* pairs with the acquire loads of the scan */
    }
    if (os_self_set(t, thread_leave) < 0) {
        store_release(&t->taken, 0);
        return NULL;
    }
    for (unsigned i = 0; load_acquire(&alone); i++) os_nap(i); /* after a cas: see reclaim_begin_alone */
    return t;
}

static bool make_more(struct thread *t) {
    t->more = mtaio__alloc_zeroed(sizeof *t->more * (MTAIO_DEPTH_MAX - PINS_OWN));
    if (t->more) store_release(&t->has_more, true); /* pairs with thread_pins */
    return t->more != NULL;
}

int mtaio__pin_push(struct thread *t, const struct reclaimer *of, struct pin **ret) {
    if (t->depth >= MTAIO_DEPTH_MAX) return MTAIO_EDEPTH;
    if (t->depth >= PINS_OWN && !t->more && !make_more(t)) return MTAIO_ENOMEM;
    struct pin *p = thread_pin(t, t->depth++);
    pin_set(p, of);
    *ret = p;
    return 0;
}

/* --- Resting ----------------------------------------------------------------------------------- */

static ATOMIC(int64_t) unknown_rests; /* of threads for whose record there was no memory */

static void count_rests(int change) {
    struct thread *t = os_self();
    if (t)
        store_release(&t->rests, load_relaxed(&t->rests) + change);
    else
        atomic_add(&unknown_rests, (int64_t)change);
}

void mtaio__rest_link(struct resting *rest) {
    rest->pin = (struct pin){0};
    os_lock_inner(&resting_lock);
    rest->prev = NULL;
    rest->next = load_relaxed(&resting_first);
    if (rest->next) rest->next->prev = rest;
    store_release(&resting_first, rest);
    os_unlock(&resting_lock);
    fence_full(); /* for a scan that finds the list empty: what it unlinked before is not found after this */
}

void mtaio__rest_unlink(struct resting *rest) {
    os_lock_inner(&resting_lock);
    if (rest->next) rest->next->prev = rest->prev;
    if (rest->prev)
        rest->prev->next = rest->next;
    else
        store_release(&resting_first, rest->next);
    os_unlock(&resting_lock);
}

void mtaio__rest_begin(struct resting *rest, const struct reclaimer *of) {
    count_rests(+1);
    pin_set(&rest->pin, of);
}

/* A scan looks at the pins of threads first: where it finds this one gone, it finds that one in the list. */
void mtaio__rest_move(struct resting *rest, struct pin *from) {
    count_rests(+1);
    store_release(&rest->pin.lower, load_relaxed(&from->lower));
    store_release(&rest->pin.upper, load_relaxed(&from->upper));
    store_release(&rest->pin.running, load_relaxed(&from->running));
    store_release(&rest->pin.of, load_relaxed(&from->of));
    store_release(&from->of, NULL); /* pairs with the scan */
}

void mtaio__rest_end(struct resting *rest) {
    pin_clear(&rest->pin);
    count_rests(-1);
}

/* --- Scanning ---------------------------------------------------------------------------------- */

/* Are the calling thread's record and unused ones all there are? `limit` bounds the look. Needs a fence
 * before. Then *ret_rests is how many pins rest: whoever counted has left, or is here. */
static bool is_alone(unsigned limit, int64_t *ret_rests) {
    const struct thread *self = os_self();
    int64_t rests = load_acquire(&unknown_rests);
    for (const struct thread *t = load_acquire(&threads); t; t = t->next) {
        if (limit-- == 0) return false;
        if (t != self && load_acquire(&t->taken)) return false; /* pairs with its leaving */
        rests += load_acquire(&t->rests);
    }
    *ret_rests = rests;
    return true;
}

bool mtaio__reclaim_is_idle(void) {
    const struct thread *self = os_self();
    int64_t rests;
    if (self && self->depth > 0) return false;
    /* A thread that takes a record after this fence sees what was unlinked before it: its cas is a fence too.
     * If it ends what rests, that pin has gone before it is counted. */
    fence_full();
    return is_alone(8, &rests) && rests == 0;
}

/* Either the second look sees a thread's record, or that thread, which has taken it by a cas, sees us. */
bool mtaio__reclaim_begin_alone(void) {
    if (!mtaio__reclaim_is_idle()) return false;
    atomic_add(&alone, 1);
    if (mtaio__reclaim_is_idle()) return true;
    mtaio__reclaim_end_alone();
    return false;
}

void mtaio__reclaim_end_alone(void) { atomic_sub(&alone, 1); /* pairs with thread_register */ }

static void scan_pin(struct scan *s, const struct reclaimer *of, struct pin *p, bool ask) {
    const struct reclaimer *marked = load_acquire(&p->of); /* pairs with pin_push and pin_clear */
    if (pin_owner(marked) != of) return;
    if (ask) store_release(&p->asked, 1);
    uint64_t lower = load_acquire(&p->lower), upper = load_acquire(&p->upper);
    if (pin_is_narrow(marked)) upper = lower;
    const void *running = load_acquire(&p->running);
    if (s->count < SCAN_MAX) {
        s->pins[s->count].lower = lower;
        s->pins[s->count].upper = upper;
        s->pins[s->count++].running = running;
        return;
    }
    s->crowded = true;
    if (lower < s->pins[SCAN_MAX - 1].lower) s->pins[SCAN_MAX - 1].lower = lower;
    if (upper > s->pins[SCAN_MAX - 1].upper) s->pins[SCAN_MAX - 1].upper = upper;
}

void mtaio__scan(const struct reclaimer *of, bool ask, struct scan *ret) {
    ret->count = 0;
    ret->crowded = false;
    fence_full();
    int64_t rests;
    if (!is_alone(8, &rests))
        os_fence_heavy(); /* pairs with os_fence_light in pin_push, walk and pin_clear */
    for (struct thread *t = load_acquire(&threads); t; t = t->next) {
        unsigned n = thread_pins(t);
        for (unsigned i = 0; i < n; i++) scan_pin(ret, of, thread_pin(t, i), ask);
    }
    if (load_acquire(&resting_first)) {
        os_lock_inner(&resting_lock);
        for (struct resting *r = load_relaxed(&resting_first); r; r = r->next)
            scan_pin(ret, of, &r->pin, ask);
        os_unlock(&resting_lock);
    }
    ret->clock = load_acquire(&of->clock);
}

bool mtaio__scan_holds(const struct scan *s, uint64_t birth, uint32_t when) {
    /* The latest clock value not after now with these low bits: not earlier than the true one. */
    uint64_t retired = s->clock - (uint32_t)((uint32_t)s->clock - when);
    for (unsigned i = 0; i < s->count; i++)
        if (s->pins[i].lower <= retired && s->pins[i].upper >= birth) return true;
    return false;
}

bool mtaio__scan_runs(const struct scan *s, const void *listener) {
    if (s->crowded) return true;
    for (unsigned i = 0; i < s->count; i++)
        if (s->pins[i].running == listener) return true;
    return false;
}

struct retired *mtaio__retired_split(struct retired **list, const struct scan *s) {
    struct retired *freed = NULL, *kept = NULL, *next;
    for (struct retired *r = *list; r; r = next) {
        next = r->next;
        struct retired **to =
            mtaio__scan_holds(s, (uint64_t)r->birth << BIRTH_SHIFT, r->when) ? &kept : &freed;
        r->next = *to;
        *to = r;
    }
    *list = kept;
    return freed;
}

/* --- Waiting ----------------------------------------------------------------------------------- */

static bool is_own(const struct thread *self, const struct pin *p) {
    if (!self) return false;
    for (const struct serving *s = self->serving; s; s = s->next)
        if (s->pin == p) return true;
    return false;
}

static bool is_calling(const struct pin *p, const void *listener) {
    return load_acquire(&p->of) &&
           load_acquire(&p->running) == listener; /* pair with pin_clear and the walk */
}

static bool is_running_elsewhere(const void *listener) {
    const struct thread *self = os_self();
    bool found = false;
    for (const struct thread *t = load_acquire(&threads); t && !found; t = t->next) {
        unsigned n = t == self ? 0 : thread_pins(t);
        for (unsigned i = 0; i < n && !found; i++) {
            const struct pin *p = thread_pin(t, i);
            found = is_calling(p, listener) && !is_own(self, p);
        }
    }
    if (found || !load_acquire(&resting_first)) return found;
    os_lock_inner(&resting_lock);
    for (struct resting *r = load_relaxed(&resting_first); r && !found; r = r->next)
        found = is_calling(&r->pin, listener) && !is_own(self, &r->pin);
    os_unlock(&resting_lock);
    return found;
}

void mtaio__wait_not_running(const void *listener) {
    fence_full();
    os_fence_heavy(); /* pairs with the light fence between storing `running` and reading the call */
    for (unsigned attempt = 0; is_running_elsewhere(listener); attempt++) os_nap(attempt);
}

/* --- Pending owners ---------------------------------------------------------------------------- */

void mtaio__reclaim_later(struct reclaimer *r) {
    os_lock_inner(&pending_lock);
    if (!r->pending) {
        r->hold(r);
        store_relaxed(&r->pending, true);
        r->next_pending = NULL;
        r->prev_pending = pending_last;
        if (pending_last)
            pending_last->next_pending = r;
        else
            pending_first = r;
        pending_last = r;
        pending_count++;
    }
    os_unlock(&pending_lock);
}

static void unlink_pending_locked(struct reclaimer *r) {
    store_relaxed(&r->pending, false);
    pending_count--;
    if (r->next_pending)
        r->next_pending->prev_pending = r->prev_pending;
    else
        pending_last = r->prev_pending;
    if (r->prev_pending)
        r->prev_pending->next_pending = r->next_pending;
    else
        pending_first = r->next_pending;
}

void mtaio__reclaim_forget(struct reclaimer *r) {
    if (!load_relaxed(&r->pending)) return; /* under the owner's lock, as what sets it */
    os_lock_inner(&pending_lock);
    bool removed = r->pending;
    if (removed) unlink_pending_locked(r);
    os_unlock(&pending_lock);
    if (removed) r->drop(r);
}

/* Sweeps each owner that is on the list now, once; one that still keeps something puts itself back at the
 * end. */
static void sweep_pending(void) {
    os_lock_inner(&pending_lock);
    for (size_t n = pending_count; n > 0 && pending_first; n--) {
        struct reclaimer *r = pending_first;
        unlink_pending_locked(r); /* its hold is ours now */
        os_unlock(&pending_lock);
        r->sweep(r);
        r->drop(r);
        os_lock_inner(&pending_lock);
    }
    os_unlock(&pending_lock);
}

void mtaio__pin_asked(struct pin *p) {
    store_release(&p->asked, 0);
    sweep_pending();
}

size_t mtaio_reclaim(void) {
    sweep_pending();
    size_t waiting = 0;
    os_lock_inner(&pending_lock);
    for (struct reclaimer *r = pending_first; r; r = r->next_pending) waiting += load_relaxed(&r->waiting);
    os_unlock(&pending_lock);
    return waiting;
}
