/* error_events.c - "error" is an ordinary event, except that it does not vanish where nobody handles it. */
#include "check.h"

static int handle_error(mtaio_event *event, void *ctx) {
    (void)ctx;
    printf("Error occurred: %s\n", (const char *)mtaio_event_data(event));
    return 0;
}

static const char *process_data(void) { return "the disk is full"; }

int main(void) {
    mtaio_emitter *emitter;
    const char *problem = process_data();
    int r;

    check(mtaio_emitter_new(NULL, &emitter));

    r = mtaio_emit(emitter, "error", (void *)problem);
    printf("%s: %s\n", mtaio_error_name(r), mtaio_error_text(r));

    check(mtaio_on(emitter, "error", handle_error, NULL));
    check(mtaio_emit(emitter, "error", (void *)problem));

    mtaio_emitter_unref(emitter);
    return 0;
}
