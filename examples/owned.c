/* owned.c - events that outlive the call: they own their data, and can be kept by a handler. */
#include <string.h>

#include "check.h"

static mtaio_event *last;

static void release(void *data) {
    printf("\"%s\" is not needed any more\n", (char *)data);
    free(data);
}

static int keep(mtaio_event *event, void *ctx) {
    (void)ctx;
    mtaio_event_unref(last);
    last = NULL;
    return mtaio_event_keep(event, &last); /* this very event, as it is an owned one */
}

static int emit_message(mtaio_emitter *emitter, const char *text) {
    char *copy = malloc(strlen(text) + 1);
    mtaio_event *event;
    int r;

    if (!copy)
        return MTAIO_ENOMEM;
    strcpy(copy, text);
    r = mtaio_event_new("message", copy, release, &event); /* calls release if it fails, too */
    if (r < 0)
        return r;
    mtaio_event_set_change(event, MTAIO_CREATE);
    r = mtaio_emit_with(emitter, MTAIO_EMISSION(.event = event));
    mtaio_event_unref(event);
    return r;
}

int main(void) {
    mtaio_emitter *emitter;

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_on(emitter, "message", keep, NULL));
    check(emit_message(emitter, "first"));
    check(emit_message(emitter, "second"));
    mtaio_emitter_unref(emitter);

    printf("kept: %s, %s\n", (char *)mtaio_event_data(last),
           mtaio_event_change(last) == MTAIO_CREATE ? "something was created" : "?");
    mtaio_event_unref(last);
    return 0;
}
