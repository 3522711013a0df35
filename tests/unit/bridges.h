/* bridges.h - what the tests of bridges share: an event noted with the message that it was made from, as
 * "name=data/topic", "name=data" where there is none. */
#ifndef MTAIO_TESTS_BRIDGES_H
#define MTAIO_TESTS_BRIDGES_H

#include "channels.h"
#include "loops.h"

static inline int note_event(mtaio_event *event, void *ctx) {
    const mtaio_message *m = mtaio_event_message(event);
    (void)ctx;
    unlocked();
    CHECK(mtaio_event_ctx(event) == NULL); /* nobody gave one */
    const char *data = mtaio_event_data(event), *topic = mtaio_message_topic(m),
               *k = mtaio_event_get(event, "k");
    note("%s=%s%s%s", mtaio_event_name(event), data != NULL ? data : "-", m != NULL ? "/" : "",
         topic != NULL ? topic : "");
    if (k != NULL) note("k=%s", k);
    return 0;
}

#endif
