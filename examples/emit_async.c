/* emit_async.c - emitting without waiting, and being told when it is over. */
#include "check.h"

static mtaio_deferral *waiting;

static int ask(mtaio_event *event, void *ctx) {
    (void)ctx;
    return mtaio_event_defer(event, &waiting);
}

static int show(mtaio_event *event, void *ctx) {
    (void)ctx;
    printf("%s goes on\n", mtaio_event_name(event));
    return 0;
}

static void done(int result, const mtaio_report *report, void *ctx) {
    printf("%s: result %d, %u handlers called, %u failed\n", (const char *)ctx, result, report->called,
           report->failed);
}

int main(void) {
    mtaio_emitter *emitter;
    mtaio_event *event;

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_on(emitter, "question", ask, NULL));
    check(mtaio_on(emitter, "question", show, NULL));

    check(mtaio_event_new("question", NULL, NULL, &event));
    check(mtaio_emit_async(emitter, event, MTAIO_ASYNC(.done = done, .ctx = "done")));
    mtaio_event_unref(event);
    puts("the emission waits, we do not");

    check(mtaio_deferral_complete(waiting, 0));
    mtaio_deferral_unref(waiting);
    mtaio_emitter_unref(emitter);
    return 0;
}
