/* filter.c - an emitter of those events only for which a predicate holds. */
#include <string.h>

#include "check.h"

struct alert {
    const char *message, *priority;
};

static int is_high(const mtaio_event *event, void *ctx) {
    const struct alert *alert = mtaio_event_data(event);

    (void)ctx;
    return strcmp(alert->priority, "high") == 0; /* 1: passes, 0: does not, negative: failed */
}

static int handle_high_priority_alert(mtaio_event *event, void *ctx) {
    const struct alert *alert = mtaio_event_data(event);

    (void)ctx;
    printf("High priority alert: %s\n", alert->message);
    return 0;
}

int main(void) {
    mtaio_emitter *emitter, *filtered;
    struct alert tea = {"the tea is ready", "low"}, fire = {"the kettle is on fire", "high"};

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_emitter_filter(emitter, NULL, MTAIO_FILTER(.call = is_high), &filtered));
    check(mtaio_on(filtered, "alert", handle_high_priority_alert, NULL));
    mtaio_emitter_unref(filtered); /* it lives on, as it has a listener */

    check(mtaio_emit(emitter, "alert", &tea));
    check(mtaio_emit(emitter, "alert", &fire));

    mtaio_emitter_unref(emitter);
    return 0;
}
