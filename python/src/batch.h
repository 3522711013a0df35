/* batch.h - batches, see batch.c. */
#ifndef MTAIO_PYTHON_BATCH_H
#define MTAIO_PYTHON_BATCH_H

#include "emitter.h"

typedef struct core_batch {
    PyObject_HEAD core_emitter *emitter;
    struct core_batch *outer; /* what was open around it, of whichever emitter */
    core_event **events;      /* recorded: references, each event with its order here */
    size_t count, capacity;
    bool open;
} core_batch;

/* The batch that the running task emits into; borrowed, or NULL: none, or with an exception. */
core_batch *core_batch_current(const core_emitter *em);

/* Records the event, which is taken over: 0; or -1 with an exception, and it is not. */
int core_batch_record(core_batch *batch, core_event *ev);

/* The library's batch, with all that was recorded, to be ended. NULL with an exception. */
mtaio_batch *core_batch_given(core_batch *batch);

/* The event that one handler, or a hook, is shown of a batch: what matches, together; and the one of all that
 * was recorded. A new reference; NULL with an exception. */
core_event *core_batch_event(const mtaio_event *event);
core_event *core_batch_whole(const core_batch *batch);

/* The first "error" event in it, borrowed; NULL: there is none. */
const core_event *core_batch_error(const core_batch *batch);

/* From now on the garbage collector has to know what was recorded. */
void core_batch_track(core_batch *batch);

/* Drops what was recorded. */
void core_batch_clear(core_batch *batch);

#endif
