/* event.h - what an event is inside. */
#ifndef MTAIO_SRC_EVENT_H
#define MTAIO_SRC_EVENT_H

#include <mtaio/event.h>

#include "base/atomic.h"

struct walk;

/* Where any of these is set, the walk looks closer after the call. */
enum {
    EVENT_STOPPED = 1,  /* propagate is false */
    EVENT_DEFERRED = 2, /* the handler took a deferral, or runs elsewhere */
    EVENT_DESCEND = 4,  /* a derived emitter's walk is to be done first */
    EVENT_ERROR = 8,    /* its name is "error": who handled it is counted */
    EVENT_SPANS = 16,   /* a batch: each handler is shown its own part */
    EVENT_MISSED = 32,  /* the handler was not called after all: another emission's, or removed by now */
    EVENT_CANCELED = 64, /* the emission ends; set in the events of all outer walks too */
    EVENT_MARKED = 128   /* one of those was set while a handler ran: see event_is_plain */
};

enum { EVENT_OWNED = 1, EVENT_MAPPED = 2, EVENT_BATCH = 4 };

/* In an order in which a plain one is filled by few stores. */
struct mtaio_event {
    const char *name;
    void *data;
    mtaio_metadata *metadata;
    struct mtaio_event **events; /* of a batch */
    mtaio_event *origin;         /* the owned event that keeps all this alive, or NULL */
    uint32_t count;              /* of events; 1 where it is itself */
    uint8_t change;
    uint8_t kind;               /* EVENT_OWNED ... */
    ATOMIC(uint8_t) flow;       /* EVENT_STOPPED ...; who defers may stop it from another thread */
    ATOMIC(uint8_t) sealed;     /* owned, and emitted: no set_... any more */
    ATOMIC(struct walk *) walk; /* the emission it is in: see event_walk; NULL outside */
};

/* An event that has its own name, data and metadata: an owned one, or a map's, on the stack until it is kept.
 */
struct full_event {
    mtaio_event event;
    ATOMIC(uint32_t) refs;
    mtaio_release release;
    char *own_name;
    size_t bytes; /* of this block, a batch's list of events included */
};

static inline uint8_t event_flow(const mtaio_event *event) {
    return load_relaxed(&event->flow) & (EVENT_MARKED - 1);
}

/* Sets it, in an event that handlers are called with. */
static inline void event_mark(mtaio_event *event, uint8_t flow) {
    atomic_or(&event->flow, (uint8_t)(flow | EVENT_MARKED));
}

/* Of an event whose flow was 0: the handler returned r, and nothing is to be done about it. One test. */
static inline bool event_is_plain(const mtaio_event *event, int r) {
    return (r | (int8_t)load_relaxed(&event->flow)) >= 0;
}

static inline struct full_event *full_event(const mtaio_event *event) {
    return (struct full_event *)(uintptr_t)event;
}

/* A view of `from` for one emission, on the stack: it shows the same, and has a flow of its own. */
static inline void event_view(mtaio_event *view, const mtaio_event *from) {
    bool owned = from->kind & EVENT_OWNED;
    *view = (mtaio_event){.name = from->name,
                          .data = from->data,
                          .metadata = from->metadata,
                          .events = from->events,
                          .origin = owned ? (mtaio_event *)(uintptr_t)from : from->origin,
                          .count = from->count,
                          .change = from->change,
                          .flow = event_flow(from) & EVENT_STOPPED,
                          .kind = from->kind & EVENT_BATCH};
}

/* From now on nothing of it changes. True: it was not sealed before; undone where the emission cannot begin.
 */
static inline bool event_seal(mtaio_event *event) {
    if (load_relaxed(&event->sealed)) return false;
    store_relaxed(&event->sealed, 1);
    return true;
}
static inline void event_unseal(mtaio_event *event) { store_relaxed(&event->sealed, 0); }

/* An owned batch of owned events: takes a reference to each. NULL: out of memory. */
mtaio_event *mtaio__event_batch(mtaio_event *const *events, uint32_t count);

/* The name they have in common, or "*". */
const char *mtaio__event_common_name(mtaio_event *const *events, uint32_t count);

/* An owned event that copies the name and takes a reference to the metadata. NULL: out of memory. */
mtaio_event *mtaio__event_copy(const mtaio_event *from);

/* Owned events in a growing array. Adding takes over the reference; ENOMEM: it does not. */
struct event_list {
    mtaio_event **list;
    size_t count, capacity;
};
int mtaio__event_list_add(struct event_list *l, mtaio_event *event);
/* What was taken out of `to`, and not used, goes back to its front. */
void mtaio__event_list_return(struct event_list *to, struct event_list *older);
void mtaio__event_list_fini(struct event_list *l); /* drops the references, and is empty */

/* For a map: begins as a copy of from, a view or such an event, without owning its data. */
static inline void event_map_begin(struct full_event *mapped, const mtaio_event *from) {
    mapped->event = (mtaio_event){.name = from->name,
                                  .data = from->data,
                                  .metadata = from->metadata,
                                  .origin = from->origin,
                                  .count = 1,
                                  .change = from->change,
                                  .kind = EVENT_MAPPED};
    mapped->release = NULL;
    mapped->own_name = NULL;
    if (unlikely(from->metadata != NULL)) mtaio_metadata_ref(from->metadata);
    if (unlikely(mapped->event.origin != NULL)) mtaio_event_ref(mapped->event.origin);
}
void mtaio__event_map_end(struct full_event *mapped);
static inline void event_map_end(struct full_event *mapped) {
    uintptr_t owned = (uintptr_t)mapped->event.metadata | (uintptr_t)mapped->event.origin |
                      (uintptr_t)mapped->release | (uintptr_t)mapped->own_name;
    if (unlikely(owned != 0))
        mtaio__event_map_end(mapped);
}

#endif
