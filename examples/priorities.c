/* priorities.c - HIGHEST runs first; propagate = false ends the emission, though monitors see every event. */
#include "check.h"

static int say(mtaio_event *event, void *ctx) {
    (void)event;
    printf("%s ", (const char *)ctx);
    return 0;
}

static int handle_critical(mtaio_event *event, void *ctx) {
    say(event, ctx);
    if (mtaio_event_data(event)) /* serious: nobody after this handler needs to know */
        return mtaio_event_set_propagate(event, false);
    return 0;
}

int main(void) {
    mtaio_emitter *emitter;

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_on(emitter, "critical", say, "normal"));
    check(mtaio_emitter_on(emitter, "critical",
                           MTAIO_HANDLER(.call = say, .ctx = "monitor", .priority = MTAIO_MONITOR), NULL));
    check(mtaio_emitter_on(emitter, "critical",
                           MTAIO_HANDLER(.call = say, .ctx = "lowest", .priority = MTAIO_LOWEST), NULL));
    check(mtaio_emitter_on(
        emitter, "critical",
        MTAIO_HANDLER(.call = handle_critical, .ctx = "highest", .priority = MTAIO_HIGHEST), NULL));
    check(mtaio_on(emitter, "critical", say, "normal-too"));

    check(mtaio_emit(emitter, "critical", NULL));
    putchar('\n');
    check(mtaio_emit(emitter, "critical", "the house is on fire"));
    putchar('\n');

    mtaio_emitter_unref(emitter);
    return 0;
}
