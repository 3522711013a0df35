/* introspection.c - what is listened to, and by whom; and finding leaks by a limit of listeners. */
#include "check.h"

static int handle(mtaio_event *event, void *ctx) {
    (void)event, (void)ctx;
    return 0;
}

static int show_listener(const mtaio_listener_info *info, void *ctx) {
    (void)ctx;
    printf("  %s, priority %d%s\n", info->pattern, (int)info->priority,
           info->flags & MTAIO_ONCE ? ", once" : "");
    return 0; /* anything else ends the walk */
}

static int count_name(const char *pattern, size_t count, void *ctx) {
    (void)pattern;
    *(size_t *)ctx += count;
    return 0;
}

static void trouble(const mtaio_trouble *trouble, void *ctx) {
    (void)ctx;
    if (trouble->kind == MTAIO_TROUBLE_LISTENERS)
        printf("%s has %zu listeners for %s: a leak?\n", trouble->emitter, trouble->count, trouble->name);
}

int main(void) {
    mtaio_emitter *emitter;
    size_t sum = 0;

    check(mtaio_emitter_new(MTAIO_EMITTER_OPTIONS(.name = "shop", .max_listeners = 2, .trouble = trouble),
                            &emitter));
    check(mtaio_emitter_on(emitter, "sale", MTAIO_HANDLER(.call = handle, .priority = MTAIO_HIGH), NULL));
    check(mtaio_once(emitter, "sale", handle, NULL));
    check(mtaio_on(emitter, "*", handle, NULL));
    check(mtaio_on(emitter, "sale", handle, NULL));

    check(mtaio_emitter_each_listener(emitter, "sale", show_listener, NULL));
    check(mtaio_emitter_each_name(emitter, count_name, &sum));
    printf("%zu under sale, %zu in all; ", mtaio_emitter_count(emitter, "sale"), sum);
    printf("a sale calls %d\n", check(mtaio_emitter_reach(emitter, "sale")));

    mtaio_emitter_unref(emitter);
    return 0;
}
