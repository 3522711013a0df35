/* pipe.c - what one emitter emits is emitted on another one too. */
#include "check.h"

static int show(mtaio_event *event, void *ctx) {
    printf("%s: %s %s\n", (const char *)ctx, mtaio_event_name(event), (const char *)mtaio_event_data(event));
    return 0;
}

int main(void) {
    mtaio_emitter *kitchen, *house;
    mtaio_listener *pipe;

    check(mtaio_emitter_new(NULL, &kitchen));
    check(mtaio_emitter_new(NULL, &house));
    check(mtaio_on(kitchen, "*", show, "kitchen"));
    check(mtaio_on(house, "*", show, "house"));

    check(mtaio_emitter_pipe(kitchen, "alarm.*", house, &pipe));
    check(mtaio_emit(kitchen, "alarm.smoke", "from the oven"));
    check(mtaio_emit(kitchen, "kettle", "boils"));

    check(mtaio_listener_cancel(pipe));
    mtaio_listener_unref(pipe);
    check(mtaio_emit(kitchen, "alarm.smoke", "again"));

    mtaio_emitter_unref(house);
    mtaio_emitter_unref(kitchen);
    return 0;
}
