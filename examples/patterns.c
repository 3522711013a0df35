/* patterns.c - "*" stands for one segment of a name, "**" for any number, "*" alone for every name. */
#include "check.h"

static int say(mtaio_event *event, void *ctx) {
    (void)event;
    printf("  %s\n", (const char *)ctx);
    return 0;
}

int main(void) {
    static const char *const names[] = {"user", "user.created", "user.created.admin", "order.created"};
    static char *patterns[] = {"user.created", "user.*", "user.**", "**.created", "*"};
    mtaio_emitter *emitter;
    int r;

    check(mtaio_emitter_new(NULL, &emitter));
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++)
        check(mtaio_on(emitter, patterns[i], say, patterns[i]));
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        printf("%s:\n", names[i]);
        check(mtaio_emit(emitter, names[i], NULL));
    }

    r = mtaio_on(emitter, "user.cr*", say, NULL);
    printf("user.cr*: %s\n", mtaio_error_name(r));
    r = mtaio_emit(emitter, "user.*", NULL);
    printf("emitting user.*: %s\n", mtaio_error_name(r));

    mtaio_emitter_unref(emitter);
    return 0;
}
