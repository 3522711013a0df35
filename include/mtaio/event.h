/* mtaio/event.h - what handlers are given: a name, data, metadata; several of them in a batch. */
#ifndef MTAIO_EVENT_H
#define MTAIO_EVENT_H

#include <mtaio/base.h>

#ifdef __cplusplus
extern "C" {
#endif

/* When a handler runs: HIGHEST first, MONITOR last and only to watch. */
typedef enum mtaio_priority {
    MTAIO_LOWEST = -2,
    MTAIO_LOW = -1,
    MTAIO_NORMAL = 0,
    MTAIO_HIGH = 1,
    MTAIO_HIGHEST = 2,
    MTAIO_MONITOR = 3
} mtaio_priority;

/* The kind of change an event reports. */
typedef enum mtaio_change {
    MTAIO_NO_CHANGE = 0,
    MTAIO_CREATE,
    MTAIO_UPDATE,
    MTAIO_DELETE,
    MTAIO_RESET
} mtaio_change;

typedef struct mtaio_event mtaio_event;
typedef struct mtaio_metadata mtaio_metadata;
typedef struct mtaio_deferral mtaio_deferral;

/* Called once when nothing can use the data any more, on whatever thread that is. */
typedef void (*mtaio_release)(void *data);

/* --- Reading. An event given to a handler is borrowed: valid until the handler returns, or, if it deferred, until
 * the deferral is completed. Strings and metadata live as long as the event. */
MTAIO_API const char *mtaio_event_name(const mtaio_event *event);
MTAIO_API void *mtaio_event_data(const mtaio_event *event);
MTAIO_API void *mtaio_event_ctx(const mtaio_event *event); /* of the emission it is in: its struct's ctx, or NULL */
MTAIO_API mtaio_change mtaio_event_change(const mtaio_event *event);
MTAIO_API const mtaio_metadata *mtaio_event_metadata(const mtaio_event *event); /* NULL: none */
MTAIO_API const char *mtaio_event_get(const mtaio_event *event, const char *key); /* or NULL */

/* The events of a batch, in the order they were emitted; a plain event has one, itself. mtaio_event_at: NULL beyond
 * the last. mtaio_event_is_batch tells a batch of one from a plain event. */
MTAIO_API size_t mtaio_event_count(const mtaio_event *event);
MTAIO_API const mtaio_event *mtaio_event_at(const mtaio_event *event, size_t index);
MTAIO_API bool mtaio_event_is_batch(const mtaio_event *event);

/* False ends the emission for all further handlers except monitors. A monitor is answered 0, and ignored. An owned
 * event that is stopped before it is emitted reaches monitors only. */
MTAIO_API bool mtaio_event_propagates(const mtaio_event *event);
MTAIO_API int mtaio_event_set_propagate(mtaio_event *event, bool propagate);

/* Ends the emission at once: no further handler is called, monitors neither, nor those of other emitters behind or
 * before this one, and what emitted it is told ECANCELED. For the handler, while it has the event: until it returns, or
 * until its deferral is completed. EINVAL; EBUSY where the event is in no emission. */
MTAIO_API int mtaio_event_cancel(mtaio_event *event);

/* --- Keeping. An owned event lives by reference count, on any thread. It may be emitted more than once. */

/* The event does not copy data; release may be NULL. On failure release is called too. EINVAL, ENAME, ENOMEM. */
MTAIO_API int mtaio_event_new(const char *name, void *data, mtaio_release release,
                              mtaio_event **ret);
MTAIO_API mtaio_event *mtaio_event_ref(mtaio_event *event); /* owned events only; NULL otherwise */
MTAIO_API mtaio_event *mtaio_event_unref(mtaio_event *event); /* does nothing to others */

/* A reference that outlives the call: the same event if it is owned, else an owned copy, whose data pointer is as
 * valid as its emitter promised (nobody's, for a plain mtaio_emit). A batch keeps its events too. ENOMEM. */
MTAIO_API int mtaio_event_keep(const mtaio_event *event, mtaio_event **ret);

/* --- Filling, by one thread, before an owned event is emitted or put into a batch, and for the new event of a map,
 * by its transform only. EBUSY afterwards and for borrowed events; EINVAL; of set_name ENAME and ENOMEM too.
 * set_data releases the data that it replaces; where it fails, the new data instead. */
MTAIO_API int mtaio_event_set_name(mtaio_event *event, const char *name);
MTAIO_API int mtaio_event_set_data(mtaio_event *event, void *data, mtaio_release release);
MTAIO_API int mtaio_event_set_change(mtaio_event *event, mtaio_change change);
MTAIO_API int mtaio_event_set_metadata(mtaio_event *event, mtaio_metadata *metadata); /* takes a ref */

/* --- Metadata: string keys and values, both copied, in the order the keys were first set. What is read of it is
 * valid until it is set again or freed. ENOMEM. */
MTAIO_API int mtaio_metadata_new(mtaio_metadata **ret);
MTAIO_API mtaio_metadata *mtaio_metadata_ref(mtaio_metadata *metadata);
MTAIO_API mtaio_metadata *mtaio_metadata_unref(mtaio_metadata *metadata);

/* value NULL removes the key (no error where it is not there); an empty key is EINVAL. EBUSY while anything but the
 * caller holds a reference (an event does, mtaio_emit_with during its call): shared metadata does not change under
 * its readers. ENOMEM. */
MTAIO_API int mtaio_metadata_set(mtaio_metadata *metadata, const char *key, const char *value);
MTAIO_API const char *mtaio_metadata_get(const mtaio_metadata *metadata, const char *key); /* or NULL */
MTAIO_API size_t mtaio_metadata_count(const mtaio_metadata *metadata); /* of NULL, which is no metadata: 0 */
MTAIO_API int mtaio_metadata_at(const mtaio_metadata *metadata, size_t index, const char **ret_key,
                                const char **ret_value); /* EINVAL beyond the last */

/* --- Deferring. A handler that cannot finish now takes a deferral and returns 0; the emission rests until the
 * deferral is completed, then goes on from there, on the thread that completes it, or on the one that waits in
 * mtaio_emit. That one is blocked meanwhile: if it is to complete the deferral itself, emit by mtaio_emit_async.
 * Returning a negative status completes it with that. Once per call of a handler (EALREADY). The caller owns the
 * reference. EINVAL, ENOMEM. EBUSY outside of a handler's call. */
MTAIO_API int mtaio_event_defer(mtaio_event *event, mtaio_deferral **ret);

/* Any thread, once: a second call answers EALREADY. status is the handler's result, negative: it failed. The rest
 * of an asynchronous emission may run during this call. Completing after the emission has been ended by close
 * answers ECLOSED. The reference stays the caller's. */
MTAIO_API int mtaio_deferral_complete(mtaio_deferral *deferral, int status);
MTAIO_API mtaio_deferral *mtaio_deferral_ref(mtaio_deferral *deferral);

/* Dropping the last reference to a deferral that nobody completed completes it with EABANDONED: no emission waits
 * for ever unnoticed. */
MTAIO_API mtaio_deferral *mtaio_deferral_unref(mtaio_deferral *deferral);

/* The deferral's event: valid until the deferral is completed. */
MTAIO_API mtaio_event *mtaio_deferral_event(const mtaio_deferral *deferral);

#ifdef __cplusplus
}
#endif
#endif
