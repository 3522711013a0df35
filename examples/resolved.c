/* resolved.c - a name looked up once, for an event that is emitted very often. */
#include "check.h"

static int count(mtaio_event *event, void *ctx) {
    (void)event;
    ++*(unsigned *)ctx;
    return 0;
}

int main(void) {
    mtaio_emitter *emitter;
    mtaio_name *tick;
    unsigned ticks = 0;

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_emitter_resolve(emitter, "clock.tick", &tick));
    check(mtaio_on(emitter, "clock.*", count, &ticks)); /* handlers may come and go afterwards */

    for (int i = 0; i < 1000000; i++)
        check(mtaio_emit_name(tick, NULL));
    printf("%u ticks\n", ticks);

    mtaio_name_unref(tick);
    mtaio_emitter_unref(emitter);
    return 0;
}
