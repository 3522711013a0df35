/* cleanup.c - resource management: taking handlers away again, and contexts that free themselves. */
#include <string.h>

#include "check.h"

static int use(mtaio_event *event, void *ctx) {
    printf("%s: %s\n", mtaio_event_name(event), (const char *)ctx);
    return 0;
}

static void destroy(void *ctx) {
    printf("nothing uses \"%s\" any more\n", (const char *)ctx);
    free(ctx);
}

static char *copy(const char *s) {
    char *copied = malloc(strlen(s) + 1);

    return copied ? strcpy(copied, s) : NULL;
}

int main(void) {
    mtaio_emitter *emitter;
    mtaio_listener *listener;
    char shared[] = "our context";

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_on(emitter, "event", use, shared));
    check(mtaio_on(emitter, "other", use, shared));
    check(mtaio_emitter_on(emitter, "event",
                           MTAIO_HANDLER(.call = use, .ctx = copy("its own context"), .destroy = destroy),
                           &listener));
    check(mtaio_emit(emitter, "event", NULL));

    /* By function and context, by listener, or all at once. */
    printf("removed: %d\n", check(mtaio_off(emitter, "event", use, shared)));
    mtaio_listener_cancel_wait(listener); /* also waits for a call in another thread */
    mtaio_listener_unref(listener);
    printf("left: %zu\n", mtaio_emitter_count(emitter, NULL));
    printf("removed: %d\n", check(mtaio_emitter_remove_all(emitter, NULL)));

    mtaio_emitter_unref(emitter);
    return 0;
}
