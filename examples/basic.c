/* basic.c - the first steps: an emitter, a handler, an event. */
#include "check.h"

struct user {
    const char *name, *id;
};

static int handle_login(mtaio_event *event, void *ctx) {
    const struct user *user = mtaio_event_data(event);

    (void)ctx;
    printf("User %s logged in\n", user->name);
    return 0; /* negative: the handler failed */
}

int main(void) {
    mtaio_emitter *emitter;
    struct user john = {"John", "123"};
    int called;

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_on(emitter, "user_login", handle_login, NULL));

    called = check(mtaio_emit(emitter, "user_login", &john));
    printf("%d handler was called\n", called);

    mtaio_emitter_unref(emitter);
    return 0;
}
