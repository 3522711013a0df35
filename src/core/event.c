/* event.c - events: reading, keeping, filling. */
#include "core/event.h"

#include <string.h>

#include "base/memory.h"
#include "core/topic.h"

const char *mtaio_event_name(const mtaio_event *event) { return event ? event->name : NULL; }
void *mtaio_event_data(const mtaio_event *event) { return event ? event->data : NULL; }

mtaio_change mtaio_event_change(const mtaio_event *event) {
    return event ? (mtaio_change)event->change : MTAIO_NO_CHANGE;
}

const mtaio_metadata *mtaio_event_metadata(const mtaio_event *event) {
    return event ? event->metadata : NULL;
}

const char *mtaio_event_get(const mtaio_event *event, const char *key) {
    return event && event->metadata ? mtaio_metadata_get(event->metadata, key) : NULL;
}

size_t mtaio_event_count(const mtaio_event *event) { return event ? event->count : 0; }

const mtaio_event *mtaio_event_at(const mtaio_event *event, size_t index) {
    if (!event || index >= event->count) return NULL;
    return event->events ? event->events[index] : event;
}

bool mtaio_event_is_batch(const mtaio_event *event) { return event && event->kind & EVENT_BATCH; }

bool mtaio_event_propagates(const mtaio_event *event) {
    return event && !(event_flow(event) & EVENT_STOPPED);
}

/* --- Owned events ------------------------------------------------------------------------------ */

static struct full_event *full_event_new(size_t more_bytes) {
    struct full_event *e = mtaio__alloc_zeroed(sizeof *e + more_bytes);
    if (!e) return NULL;
    e->bytes = sizeof *e + more_bytes;
    e->refs = 1;
    e->event.kind = EVENT_OWNED;
    e->event.count = 1;
    return e;
}

int mtaio_event_new(const char *name, void *data, mtaio_release release, mtaio_event **ret) {
    int r = ret ? mtaio__name_check(name) : MTAIO_EINVAL;
    struct full_event *e = NULL;
    if (r >= 0 && !(e = full_event_new((size_t)r + 1))) r = MTAIO_ENOMEM;
    if (r < 0) {
        if (release) release(data);
        return r;
    }
    e->event.name = memcpy(e + 1, name, (size_t)r + 1);
    e->event.data = data;
    e->release = release;
    *ret = &e->event;
    return 0;
}

mtaio_event *mtaio_event_ref(mtaio_event *event) {
    if (!event || !(event->kind & EVENT_OWNED)) return NULL;
    atomic_add(&full_event(event)->refs, 1);
    return event;
}

/* What a full event has of its own: its list of events, its metadata, its data, its name. */
static void full_event_empty(struct full_event *e) {
    for (uint32_t i = 0; e->event.events && i < e->event.count; i++) mtaio_event_unref(e->event.events[i]);
    mtaio_metadata_unref(e->event.metadata);
    mtaio_event_unref(e->event.origin);
    if (e->release) e->release(e->event.data);
    mtaio__free_string(e->own_name);
}

mtaio_event *mtaio_event_unref(mtaio_event *event) {
    if (!event || !(event->kind & EVENT_OWNED)) return NULL;
    struct full_event *e = full_event(event);
    if (atomic_sub(&e->refs, 1) == 1) {
        full_event_empty(e);
        mtaio__free(e, e->bytes);
    }
    return NULL;
}

mtaio_event *mtaio__event_copy(const mtaio_event *from) {
    size_t length = strlen(from->name) + 1;
    struct full_event *e = full_event_new(length);
    if (!e) return NULL;
    e->event.name = memcpy(e + 1, from->name, length);
    e->event.data = from->data;
    e->event.change = from->change;
    e->event.flow = event_flow(from) & EVENT_STOPPED;
    e->event.metadata = mtaio_metadata_ref(from->metadata);
    bool owned = from->kind & EVENT_OWNED; /* then the data is its own */
    e->event.origin = mtaio_event_ref(owned ? (mtaio_event *)(uintptr_t)from : from->origin);
    return &e->event;
}

const char *mtaio__event_common_name(mtaio_event *const *events, uint32_t count) {
    for (uint32_t i = 1; i < count; i++)
        if (strcmp(events[i]->name, events[0]->name) != 0) return "*";
    return events[0]->name;
}

mtaio_event *mtaio__event_batch(mtaio_event *const *events, uint32_t count) {
    struct full_event *e = full_event_new(sizeof *events * count);
    if (!e) return NULL;
    e->event.kind |= EVENT_BATCH;
    e->event.count = count;
    e->event.events = (mtaio_event **)(e + 1);
    for (uint32_t i = 0; i < count; i++) e->event.events[i] = mtaio_event_ref(events[i]);
    e->event.name = mtaio__event_common_name(e->event.events, count);
    return &e->event;
}

/* A map's event that is kept moves into an owned one, which the event on the stack shows from then on. */
static mtaio_event *keep_mapped(struct full_event *mapped) {
    mtaio_event *kept = mtaio__event_copy(&mapped->event);
    if (!kept) return NULL;
    full_event(kept)->release = mapped->release;
    mapped->release = NULL;
    mtaio_event_unref(mapped->event.origin);
    mapped->event.origin = kept;
    mapped->event.kind = 0;
    return mtaio_event_ref(kept);
}

int mtaio_event_keep(const mtaio_event *event, mtaio_event **ret) {
    if (!event || !ret) return MTAIO_EINVAL;
    mtaio_event *kept;
    if (event->kind & EVENT_OWNED)
        kept = mtaio_event_ref((mtaio_event *)(uintptr_t)event);
    else if (event->kind & EVENT_BATCH)
        kept = mtaio__event_batch(event->events, event->count);
    else if (event->kind & EVENT_MAPPED)
        kept = keep_mapped(full_event(event));
    else
        kept = event->origin ? mtaio_event_ref(event->origin) : mtaio__event_copy(event);
    if (!kept) return MTAIO_ENOMEM;
    *ret = kept;
    return 0;
}

int mtaio__event_list_add(struct event_list *l, mtaio_event *event) {
    if (!mtaio__reserve(&l->list, sizeof(mtaio_event *), l->count, &l->capacity)) return MTAIO_ENOMEM;
    l->list[l->count++] = event;
    return 0;
}

void mtaio__event_list_return(struct event_list *to, struct event_list *older) {
    size_t kept = older->count, moved = 0;
    while (moved < to->count && mtaio__event_list_add(older, to->list[moved]) == 0) moved++;
    if (moved < to->count) {
        older->count =
            kept; /* no memory even for that: those that came since stay, the older go with the error told */
        return;
    }
    to->count = 0;
    struct event_list empty = *to;
    *to = *older;
    *older = empty;
}

void mtaio__event_list_fini(struct event_list *l) {
    for (size_t i = 0; i < l->count; i++) mtaio_event_unref(l->list[i]);
    mtaio__free(l->list, sizeof(mtaio_event *) * l->capacity);
    *l = (struct event_list){0};
}

/* --- Filling ----------------------------------------------------------------------------------- */

static int check_fillable(const mtaio_event *event) {
    if (!event) return MTAIO_EINVAL;
    return load_relaxed(&event->sealed) || !(event->kind & (EVENT_OWNED | EVENT_MAPPED)) ? MTAIO_EBUSY : 0;
}

int mtaio_event_set_name(mtaio_event *event, const char *name) {
    int r = check_fillable(event);
    if (r == 0) r = mtaio__name_check(name);
    if (r < 0) return r;
    char *copy = mtaio__copy_string(name);
    if (!copy) return MTAIO_ENOMEM;
    struct full_event *e = full_event(event);
    mtaio__free_string(e->own_name);
    event->name = e->own_name = copy;
    return 0;
}

int mtaio_event_set_data(mtaio_event *event, void *data, mtaio_release release) {
    int r = check_fillable(event);
    if (r < 0) {
        if (release) release(data);
        return r;
    }
    struct full_event *e = full_event(event);
    void *old = event->data;
    mtaio_release old_release = e->release;
    event->data = data;
    e->release = release;
    if (old_release) old_release(old);
    return 0;
}

int mtaio_event_set_change(mtaio_event *event, mtaio_change change) {
    int r = check_fillable(event);
    if (r < 0) return r;
    if (change < MTAIO_NO_CHANGE || change > MTAIO_RESET) return MTAIO_EINVAL;
    event->change = (uint8_t)change;
    return 0;
}

int mtaio_event_set_metadata(mtaio_event *event, mtaio_metadata *metadata) {
    int r = check_fillable(event);
    if (r < 0) return r;
    mtaio_metadata *old = event->metadata;
    event->metadata = mtaio_metadata_ref(metadata);
    mtaio_metadata_unref(old);
    return 0;
}

void mtaio__event_map_end(struct full_event *mapped) { full_event_empty(mapped); }
