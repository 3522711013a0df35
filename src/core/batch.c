/* batch.c - events recorded, and delivered together. */
#include "base/memory.h"
#include "base/sort.h"
#include "core/emitter.h"

/* An event and its place in the order of all that were emitted into the outermost batch. */
struct record {
    mtaio_event *event;
    uint64_t order;
};

struct records {
    struct record *list;
    size_t count, capacity;
};

struct mtaio_batch {
    ATOMIC(uint32_t) refs; /* the user's, and one for each batch nested in it */
    mtaio_emitter *em;     /* a reference */
    mtaio_batch *outer;    /* a reference; NULL: the outermost */
    /* Guarded by the family's lock: */
    unsigned nested; /* that are open */
    bool ended;
    uint64_t emitted; /* of the outermost: the order of the next */
    struct records records;
};

static os_mutex *lock_of(const mtaio_batch *b) { return &b->em->family->lock; }

/* Is it, or one it is nested in, over? */
static bool is_ended_locked(const mtaio_batch *b) {
    while (b && !b->ended) b = b->outer;
    return b != NULL;
}

static void records_fini(struct records *r) {
    for (size_t i = 0; i < r->count; i++) mtaio_event_unref(r->list[i].event);
    mtaio__free(r->list, sizeof *r->list * r->capacity);
    *r = (struct records){0};
}

static int batch_new(mtaio_emitter *em, mtaio_batch *outer, mtaio_batch **ret) {
    mtaio_batch *b = mtaio__alloc_zeroed(sizeof *b);
    if (!b) return MTAIO_ENOMEM;
    b->refs = 1;
    os_lock(&em->family->lock);
    bool closed = load_relaxed(&em->unusual) & EM_CLOSED || is_ended_locked(outer);
    if (!closed && outer) outer->nested++;
    os_unlock(&em->family->lock);
    if (closed) {
        mtaio__free(b, sizeof *b);
        return MTAIO_ECLOSED;
    }
    b->em = mtaio_emitter_ref(em);
    b->outer = outer;
    if (outer) atomic_add(&outer->refs, 1);
    *ret = b;
    return 0;
}

int mtaio_batch_new(mtaio_emitter *em, mtaio_batch **ret) {
    return em && ret ? batch_new(em, NULL, ret) : MTAIO_EINVAL;
}

int mtaio_batch_nest(mtaio_batch *outer, mtaio_batch **ret) {
    return outer && ret ? batch_new(outer->em, outer, ret) : MTAIO_EINVAL;
}

/* --- Recording --------------------------------------------------------------------------------- */

static int record_locked(mtaio_batch *b, mtaio_event *event) {
    if (load_relaxed(&b->em->unusual) & EM_CLOSED || is_ended_locked(b)) return MTAIO_ECLOSED;
    struct records *r = &b->records;
    if (r->count >= UINT32_MAX / 4) return MTAIO_ELIMIT;
    if (!mtaio__reserve(&r->list, sizeof *r->list, r->count, &r->capacity)) return MTAIO_ENOMEM;
    mtaio_batch *root = b;
    while (root->outer) root = root->outer;
    r->list[r->count++] = (struct record){event, root->emitted++};
    return 0;
}

/* Takes over the reference. */
static int record(mtaio_batch *b, mtaio_event *event) {
    bool sealed = event_seal(event);
    os_lock(lock_of(b));
    int r = record_locked(b, event);
    os_unlock(lock_of(b));
    if (r < 0 && sealed) event_unseal(event);
    if (r < 0) mtaio_event_unref(event);
    return r;
}

int mtaio_batch_emit(mtaio_batch *b, const char *name, void *data) {
    if (!b || !name) return MTAIO_EINVAL;
    mtaio_event *event;
    int r = mtaio_event_new(name, data, NULL, &event);
    return r < 0 ? r : record(b, event);
}

int mtaio_batch_emit_event(mtaio_batch *b, mtaio_event *event) {
    if (!b || !event || !(event->kind & EVENT_OWNED) || event->kind & EVENT_BATCH) return MTAIO_EINVAL;
    return record(b, mtaio_event_ref(event));
}

size_t mtaio_batch_count(const mtaio_batch *b) {
    if (!b) return 0;
    os_lock(lock_of(b));
    size_t count = b->records.count;
    os_unlock(lock_of(b));
    return count;
}

/* --- Ending ------------------------------------------------------------------------------------ */

static int check_open_locked(const mtaio_batch *b) {
    if (b->ended) return MTAIO_EALREADY;
    if (is_ended_locked(b)) return MTAIO_ECLOSED;
    return b->nested > 0 ? MTAIO_EBUSY : 0;
}

/* A nested batch leaves its events to the outer one. */
static int end_nested(mtaio_batch *b) {
    os_lock(lock_of(b));
    int r = check_open_locked(b);
    struct records *from = &b->records, *to = &b->outer->records;
    for (size_t i = 0; r == 0 && i < from->count; i++)
        if (!mtaio__reserve(&to->list, sizeof *to->list, to->count + i, &to->capacity)) r = MTAIO_ENOMEM;
    if (r == 0) {
        for (size_t i = 0; i < from->count; i++) to->list[to->count++] = from->list[i];
        from->count = 0;
        b->ended = true;
        b->outer->nested--;
    }
    os_unlock(lock_of(b));
    return r;
}

static bool is_earlier(const void *a, const void *b) {
    return ((const struct record *)a)->order < ((const struct record *)b)->order;
}

/* The records as a plain list of events, in order; those that a suppression takes are left to it. */
static int records_to_list(mtaio_emitter *em, struct records *from, struct event_list *to) {
    if (from->count == 0) return 0;
    to->list = mtaio__alloc(sizeof(mtaio_event *) * from->count);
    if (!to->list) return MTAIO_ENOMEM;
    to->capacity = from->count;
    mtaio__sort(from->list, from->count, sizeof *from->list, is_earlier);
    for (size_t i = 0; i < from->count; i++) {
        mtaio_event *event = from->list[i].event;
        bool suppressing = load_acquire(&em->unusual) & EM_SUPPRESSED;
        int r = suppressing ? mtaio__suppress_take(em, event) : 0;
        if (r > 0)
            mtaio_event_unref(event);
        else
            to->list[to->count++] = event; /* also where suppressing failed: better early than lost */
    }
    from->count = 0;
    return 0;
}

static int deliver(mtaio_emitter *em, struct event_list *events, const mtaio_async *async) {
    uint32_t count = (uint32_t)events->count;
    if (async) {
        mtaio_event *batch = mtaio__event_batch(events->list, count);
        if (!batch) return MTAIO_ENOMEM;
        int r = mtaio__emit_owned(em, batch, async);
        mtaio_event_unref(batch);
        return r;
    }
    mtaio_event view = {.name = mtaio__event_common_name(events->list, count),
                        .events = events->list,
                        .count = count,
                        .kind = EVENT_BATCH};
    return mtaio__emit(&(struct emit){.em = em, .view = &view});
}

static void done_with_nothing(const mtaio_async *async, bool held) {
    mtaio_report report = MTAIO_REPORT();
    report.held = held;
    async->done(0, &report, async->ctx);
}

/* Takes the records out, so that nobody else delivers them. */
static int take_records(mtaio_batch *b, struct records *ret) {
    os_lock(lock_of(b));
    int r = check_open_locked(b);
    if (r == 0) {
        *ret = b->records;
        b->records = (struct records){0};
        b->ended = true;
    }
    os_unlock(lock_of(b));
    return r;
}

/* The delivery could not begin: everything as before. */
static void restore(mtaio_batch *b, struct records *records, struct event_list *events) {
    for (size_t i = 0; i < events->count; i++) records->list[i] = (struct record){events->list[i], i};
    if (events->count) records->count = events->count;
    events->count = 0;
    os_lock(lock_of(b));
    b->records = *records;
    b->ended = false;
    os_unlock(lock_of(b));
    *records = (struct records){0};
}

static int end_outermost(mtaio_batch *b, const mtaio_async *async) {
    struct records records;
    struct event_list events = {0};
    int r = take_records(b, &records);
    if (r < 0) return r;
    bool any = records.count > 0;
    r = records_to_list(b->em, &records, &events);
    if (r == 0 && events.count > 0) {
        r = deliver(b->em, &events, async);
    } else if (r == 0 && async) {
        done_with_nothing(async, any);
    }
    if (r == MTAIO_ENOMEM || r == MTAIO_EDEPTH) restore(b, &records, &events);
    mtaio__event_list_fini(&events);
    records_fini(&records);
    return r;
}

int mtaio_batch_end(mtaio_batch *b, const mtaio_async *async) {
    if (!b || (async && (!MTAIO__CHECK_SIZE(async, mtaio_async) || !async->done))) return MTAIO_EINVAL;
    if (!b->outer) return end_outermost(b, async);
    return async ? MTAIO_EINVAL : end_nested(b);
}

int mtaio_batch_abandon(mtaio_batch *b) {
    if (!b) return MTAIO_EINVAL;
    struct records dropped = {0};
    os_lock(lock_of(b));
    bool was_open = !b->ended;
    if (was_open) {
        dropped = b->records;
        b->records = (struct records){0};
        b->ended = true;
        if (b->outer) b->outer->nested--;
    }
    os_unlock(lock_of(b));
    records_fini(&dropped);
    return was_open ? 0 : MTAIO_EALREADY;
}

mtaio_batch *mtaio_batch_unref(mtaio_batch *b) {
    while (b && atomic_sub(&b->refs, 1) == 1) {
        mtaio_batch *outer = b->outer;
        mtaio_batch_abandon(b);
        records_fini(&b->records);
        mtaio_emitter_unref(b->em);
        mtaio__free(b, sizeof *b);
        b = outer;
    }
    return NULL;
}

/* --- A buffer's batch -------------------------------------------------------------------------- */

static struct event_list take_gathered(mtaio_emitter *em, struct event_list *gathered) {
    os_lock(&em->family->lock);
    struct event_list taken = *gathered;
    *gathered = (struct event_list){0};
    os_unlock(&em->family->lock);
    return taken;
}

void mtaio__gathered_drop(mtaio_emitter *em) {
    struct event_list *gathered = mtaio__gathered(em);
    if (!gathered) return;
    struct event_list dropped = take_gathered(em, gathered);
    mtaio__event_list_fini(&dropped);
}

static int flush(mtaio_emitter *em, const mtaio_async *async) {
    struct event_list *gathered = mtaio__gathered(em);
    if (!gathered) return MTAIO_EINVAL;
    if (mtaio_emitter_is_closed(em)) return MTAIO_ECLOSED;
    struct event_list events = take_gathered(em, gathered);
    if (events.count == 0) {
        if (async) done_with_nothing(async, false);
        return 0;
    }
    int r = deliver(em, &events, async);
    if (r == MTAIO_ENOMEM || r == MTAIO_EDEPTH) {
        os_lock(&em->family->lock);
        mtaio__event_list_return(gathered, &events);
        os_unlock(&em->family->lock);
    }
    mtaio__event_list_fini(&events);
    return r;
}

int mtaio_emitter_flush(mtaio_emitter *buffered) { return flush(buffered, NULL); }

int mtaio_emitter_flush_async(mtaio_emitter *buffered, const mtaio_async *async) {
    if (!MTAIO__CHECK_SIZE(async, mtaio_async) || !async->done) return MTAIO_EINVAL;
    return flush(buffered, async);
}

/* The event, and the one whose data it shows, as far as nobody else has them. */
static void visit_kept(const mtaio_event *event, void (*visit)(const mtaio_event *event, void *ctx), void *ctx) {
    for (; event && load_acquire(&full_event(event)->refs) == 1; event = event->origin) /* pairs with unref */
        if (full_event(event)->release) visit(event, ctx);
}

int mtaio_emitter_each_gathered(const mtaio_emitter *buffered,
                                void (*visit)(const mtaio_event *event, void *ctx), void *ctx) {
    const struct event_list *gathered = mtaio__gathered(buffered);
    if (!gathered || !visit) return MTAIO_EINVAL;
    os_lock(&buffered->family->lock);
    for (size_t i = 0; i < gathered->count; i++) visit_kept(gathered->list[i], visit, ctx);
    os_unlock(&buffered->family->lock);
    return 0;
}
