/* mtaio/mtaio.h - everything. */
#ifndef MTAIO_MTAIO_H
#define MTAIO_MTAIO_H

#include <mtaio/base.h>
#include <mtaio/event.h>
#include <mtaio/executor.h>
#include <mtaio/emitter.h>
#include <mtaio/channel.h>
#include <mtaio/timer.h>

#endif
