/* hooks.c - around every emission of an emitter: before it, after it, and at each failure. */
#include "check.h"

static int succeed(mtaio_event *event, void *ctx) {
    (void)event, (void)ctx;
    puts("  handler");
    return 0;
}

static int fail(mtaio_event *event, void *ctx) {
    (void)event, (void)ctx;
    return -1;
}

static void before(const mtaio_event *event, void *ctx) {
    (void)ctx;
    printf("before %s\n", mtaio_event_name(event));
}

static void after(const mtaio_event *event, const mtaio_report *report, int64_t duration_ns, void *ctx) {
    (void)ctx;
    printf("after %s: %u called, %u failed, %s\n", mtaio_event_name(event), report->called, report->failed,
           duration_ns >= 0 ? "timed" : "not timed");
}

static void error(const mtaio_failure *failure, void *ctx) {
    (void)ctx;
    printf("  failure %d\n", failure->status);
}

int main(void) {
    mtaio_emitter *emitter;
    mtaio_listener *hook;

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_on(emitter, "event", succeed, NULL));
    check(mtaio_on(emitter, "event", fail, NULL));
    check(mtaio_emitter_hook(emitter, MTAIO_HOOK(.before = before, .after = after, .error = error), &hook));

    mtaio_emit(emitter, "event", NULL);
    mtaio_emit(emitter, "nobody.listens", NULL);
    mtaio_listener_cancel(hook);
    mtaio_emit(emitter, "event", NULL);

    mtaio_listener_unref(hook);
    mtaio_emitter_unref(emitter);
    return 0;
}
