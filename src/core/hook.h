/* hook.h - functions around every emission of an emitter. */
#ifndef MTAIO_SRC_HOOK_H
#define MTAIO_SRC_HOOK_H

#include "core/handlers.h"

/* The hooks of one emission: those that were registered when it began. */
struct hooks {
    struct pin *pin;
    ATOMIC(struct listener *) *entry;
    uint32_t count;
};

/* Under the pin, with the handlers; false: there are none. */
bool mtaio__hooks_gather(struct hooks *h, const mtaio_emitter *em, struct pin *pin);

void mtaio__hooks_before(const struct hooks *h, const mtaio_event *event);
void mtaio__hooks_after(const struct hooks *h, const mtaio_event *event, const mtaio_report *report,
                        int64_t ns);
void mtaio__hooks_error(const struct hooks *h, const mtaio_failure *failure);

#endif
