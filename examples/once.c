/* once.c - a handler for the first event only, and one that is cancelled before it ever runs. */
#include "check.h"

static int greet(mtaio_event *event, void *ctx) {
    (void)ctx;
    printf("%s: the first of them is %s\n", mtaio_event_name(event), (const char *)mtaio_event_data(event));
    return 0;
}

int main(void) {
    mtaio_emitter *emitter;
    mtaio_listener *listener;

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_once(emitter, "guest", greet, NULL));
    for (int i = 0; i < 3; i++)
        printf("handlers called: %d\n", check(mtaio_emit(emitter, "guest", "Ada")));

    /* The full form gives a listener, which cancels just this registration. */
    check(mtaio_emitter_on(emitter, "guest", MTAIO_HANDLER(.call = greet, .flags = MTAIO_ONCE), &listener));
    printf("cancelled: %d\n", check(mtaio_listener_cancel(listener)));
    printf("cancelled again: %d\n", check(mtaio_listener_cancel(listener)));
    printf("handlers called: %d\n", check(mtaio_emit(emitter, "guest", "Grace")));

    mtaio_listener_unref(listener);
    mtaio_emitter_unref(emitter);
    return 0;
}
