/* pending.c - what users do with what was begun and ends later. */
#include "core/pending.h"

int mtaio_pending_cancel(mtaio_pending *pending) { return pending ? pending->cancel(pending) : MTAIO_EINVAL; }

mtaio_pending *mtaio_pending_ref(mtaio_pending *pending) {
    if (pending) atomic_add(&pending->refs, 1);
    return pending;
}

mtaio_pending *mtaio_pending_unref(mtaio_pending *pending) {
    if (pending && atomic_sub(&pending->refs, 1) == 1) pending->free(pending);
    return NULL;
}
