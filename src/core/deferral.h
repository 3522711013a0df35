/* deferral.h - a handler that finishes later. */
#ifndef MTAIO_SRC_DEFERRAL_H
#define MTAIO_SRC_DEFERRAL_H

#include "core/emission.h"

/* Each bit is set once. CLAIMED: who set it decides the status. DONE: the status is there. PARKED: the walk
 * rests, and whoever sets the second of DONE and PARKED drives it on. */
enum {
    DEFERRAL_CLAIMED = 1,
    DEFERRAL_DONE = 2,
    DEFERRAL_PARKED = 4,
    DEFERRAL_CLOSED = 8 /* claimed by close */
};

struct mtaio_deferral {
    ATOMIC(uint32_t) refs;  /* the user's; the last completes it */
    ATOMIC(uint32_t) holds; /* of the memory: the users together, the walk, and close while it looks */
    ATOMIC(uint32_t) state;
    int status;
    mtaio_event *event;
    struct walk *walk;
    struct waiter *waiter; /* of a waiting emission that rests */

    struct mtaio_job
        job; /* a call on an executor: the handler's return completes, unless it took the deferral */
    struct listener *listener;
    struct family *family; /* of the walk; held while the job runs */
    bool by_job;
    bool shared;  /* by_job: the handler took it; before the job is over: only its thread looks */
    bool skipped; /* by_job: the handler was removed before the job ran, and not called */
    bool running; /* by_job: not over, close leaves it alone; family's lock */

    struct mtaio_deferral *next, *prev; /* the family's parked ones; its lock */
    bool listed;
    struct mtaio_deferral *next_closing;
};

/* After the call: true where it is completed already or a waiting emission has waited for it; false: a
 * resting emission now rests. A negative r completes it. */
bool mtaio__deferral_settle(mtaio_deferral *d, int r);

/* The status; lets go of it. */
int mtaio__deferral_take(struct walk *w);

#endif
