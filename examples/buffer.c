/* buffer.c - events gathered and passed on n at a time. */
#include "check.h"

static int store(mtaio_event *event, void *ctx) {
    (void)ctx;
    printf("storing");
    for (size_t i = 0; i < mtaio_event_count(event); i++)
        printf(" %s", (const char *)mtaio_event_data(mtaio_event_at(event, i)));
    putchar('\n');
    return 0;
}

static void stored(int result, const mtaio_report *report, void *ctx) {
    (void)report;
    (void)ctx;
    printf("done, by %d handler\n", result);
}

int main(void) {
    static char *measured[] = {"one", "two", "three", "four", "five", "six", "seven"};
    mtaio_emitter *emitter, *buffered;

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_emitter_buffer(emitter, "measured", 3, &buffered));
    check(mtaio_on(buffered, "measured", store, NULL));

    for (size_t i = 0; i < sizeof measured / sizeof measured[0]; i++)
        check(mtaio_emit(emitter, "measured", measured[i]));
    puts("the rest:");
    check(mtaio_emitter_flush(buffered));
    check(mtaio_emit(emitter, "measured", "eight"));
    check(mtaio_emitter_flush_async(buffered, MTAIO_ASYNC(.done = stored))); /* where a handler may take its time */

    mtaio_emitter_unref(buffered);
    mtaio_emitter_unref(emitter);
    return 0;
}
