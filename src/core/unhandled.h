/* unhandled.h - which "error" events of a batch a handler was called with. */
#ifndef MTAIO_SRC_UNHANDLED_H
#define MTAIO_SRC_UNHANDLED_H

#include "core/event.h"

struct unhandled {
    size_t count;
    struct error_mark {
        const mtaio_event *event;
        bool handled;
    } errors[]; /* by address */
};

/* Those of events[index[0]], events[index[1]] ...: NULL: out of memory. */
struct unhandled *mtaio__unhandled_new(mtaio_event *const *events, const uint32_t *index, uint32_t count);
void mtaio__unhandled_free(struct unhandled *u);

/* A handler was called with these: the batch's own, or what maps have made of them. */
void mtaio__unhandled_strike(struct unhandled *u, mtaio_event *const *events, uint32_t count);

bool mtaio__unhandled_any(const struct unhandled *u); /* u may be NULL: no */

#endif
