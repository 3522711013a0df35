/* emit_nowait.c - an emission nobody awaits: its failures become "error" events, or reach the last resort. */
#include "check.h"

static int fail(mtaio_event *event, void *ctx) {
    (void)event, (void)ctx;
    return -5;
}

static int handle_error(mtaio_event *event, void *ctx) {
    const mtaio_failure *failure = mtaio_event_data(event);

    (void)ctx;
    printf("error event: %s failed with %d\n", failure->name, failure->status);
    return 0;
}

static void trouble(const mtaio_trouble *trouble, void *ctx) {
    (void)ctx;
    printf("last resort of %s: %s failed with %d\n", trouble->emitter, trouble->name, trouble->status);
}

int main(void) {
    mtaio_emitter *emitter;
    mtaio_event *event;

    check(mtaio_emitter_new(MTAIO_EMITTER_OPTIONS(.name = "shop", .trouble = trouble), &emitter));
    check(mtaio_on(emitter, "sale", fail, NULL));
    check(mtaio_event_new("sale", NULL, NULL, &event));

    check(mtaio_emit_nowait(emitter, event));
    check(mtaio_on(emitter, "error", handle_error, NULL));
    check(mtaio_emit_nowait(emitter, event));

    mtaio_event_unref(event);
    mtaio_emitter_unref(emitter);
    return 0;
}
