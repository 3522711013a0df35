/* organisation.c - handlers that belong together: one struct, which is the context of them all. */
#include "check.h"

struct user_handlers {
    mtaio_emitter *emitter;
    unsigned created, updated;
};

static int handle_user_created(mtaio_event *event, void *ctx) {
    struct user_handlers *self = ctx;

    printf("%s is new here\n", (const char *)mtaio_event_data(event));
    self->created++;
    return 0;
}

static int handle_user_updated(mtaio_event *event, void *ctx) {
    struct user_handlers *self = ctx;

    printf("%s has changed\n", (const char *)mtaio_event_data(event));
    self->updated++;
    return 0;
}

static int user_handlers_init(struct user_handlers *self, mtaio_emitter *emitter) {
    int r;

    *self = (struct user_handlers){.emitter = emitter};
    r = mtaio_on(emitter, "user.created", handle_user_created, self);
    return r < 0 ? r : mtaio_on(emitter, "user.updated", handle_user_updated, self);
}

int main(void) {
    mtaio_emitter *emitter;
    struct user_handlers handlers;

    check(mtaio_emitter_new(NULL, &emitter));
    check(user_handlers_init(&handlers, emitter));

    check(mtaio_emit(emitter, "user.created", "Ada"));
    check(mtaio_emit(emitter, "user.updated", "Ada"));
    check(mtaio_emit(emitter, "user.created", "Grace"));
    printf("%u created, %u updated\n", handlers.created, handlers.updated);

    mtaio_emitter_unref(emitter);
    return 0;
}
