/* emit_start.c - emitting without waiting: the result at once where no handler defers, else later; and a handler
 * that ends the emission. */
#include "check.h"

#include <string.h>

static mtaio_deferral *waiting;

static int answer(mtaio_event *event, void *ctx) {
    const char *question = mtaio_event_data(event);
    (void)ctx;
    if (strcmp(question, "never mind") == 0)
        return mtaio_event_cancel(event);
    return strcmp(question, "6 * 9") == 0 ? mtaio_event_defer(event, &waiting) : 0;
}

static int show(mtaio_event *event, void *ctx) {
    (void)ctx;
    printf("'%s' is answered\n", (const char *)mtaio_event_data(event));
    return 0;
}

static void done(int result, const mtaio_report *report, void *ctx) {
    (void)report;
    printf("%s: result %d\n", (const char *)ctx, result);
}

static void ask(mtaio_emitter *emitter, char *question) {
    int r = mtaio_emit_start(emitter, MTAIO_EMISSION(.name = "question", .data = question, .ctx = "later"), done);

    printf("'%s': %s\n", question, mtaio_error_name(r));
}

int main(void) {
    mtaio_emitter *emitter;

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_on(emitter, "question", answer, NULL));
    check(mtaio_on(emitter, "question", show, NULL));
    ask(emitter, "1 + 1");
    ask(emitter, "6 * 9");
    ask(emitter, "never mind");

    check(mtaio_deferral_complete(waiting, 0));
    mtaio_deferral_unref(waiting);
    mtaio_emitter_unref(emitter);
    return 0;
}
