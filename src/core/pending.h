/* pending.h - what every mtaio_pending begins with. */
#ifndef MTAIO_SRC_PENDING_H
#define MTAIO_SRC_PENDING_H

#include <mtaio/channel.h>

#include "base/atomic.h"

/* The user's references, and one as long as it is under way. */
struct mtaio_pending {
    ATOMIC(uint32_t) refs;
    int (*cancel)(mtaio_pending *pending); /* as mtaio_pending_cancel */
    void (*free)(mtaio_pending *pending);  /* it is over, and nobody refers to it */
};

#endif
