/* batch.c - several events emitted together: each handler is called once, with all that match it. */
#include "check.h"

static int handle(mtaio_event *event, void *ctx) {
    size_t count = mtaio_event_count(event); /* 1 for an event that came alone, so this serves both */

    printf("%s, called for %s:", (const char *)ctx, mtaio_event_name(event));
    for (size_t i = 0; i < count; i++)
        printf(" %s", (const char *)mtaio_event_data(mtaio_event_at(event, i)));
    putchar('\n');
    return 0;
}

int main(void) {
    static char *items[] = {"apple", "bread", "cheese"};
    mtaio_emitter *emitter;
    mtaio_batch *batch;

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_on(emitter, "item.processed", handle, "items"));
    check(mtaio_on(emitter, "*", handle, "everything"));

    check(mtaio_batch_new(emitter, &batch));
    for (size_t i = 0; i < sizeof items / sizeof items[0]; i++)
        check(mtaio_batch_emit(batch, "item.processed", items[i]));
    check(mtaio_batch_emit(batch, "shop.closed", "good night"));
    printf("%zu events, no handler called yet\n", mtaio_batch_count(batch));
    check(mtaio_batch_end(batch, NULL));
    mtaio_batch_unref(batch);

    check(mtaio_emit(emitter, "item.processed", "dates"));

    mtaio_emitter_unref(emitter);
    return 0;
}
