/* metadata.c - string keys and values that travel with an event, and the kind of change it reports. */
#include "check.h"

static int show(mtaio_event *event, void *ctx) {
    static const char *const changes[] = {"no change", "create", "update", "delete", "reset"};
    const mtaio_metadata *metadata = mtaio_event_metadata(event);
    const char *request = mtaio_event_get(event, "request"), *key, *value;

    (void)ctx;
    printf("%s, request %s\n", changes[mtaio_event_change(event)], request ? request : "unknown");
    for (size_t i = 0; i < mtaio_metadata_count(metadata); i++) {
        check(mtaio_metadata_at(metadata, i, &key, &value));
        printf("  %s = %s\n", key, value);
    }
    return 0;
}

int main(void) {
    mtaio_emitter *emitter;
    mtaio_metadata *metadata;

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_on(emitter, "user.*", show, NULL));

    check(mtaio_metadata_new(&metadata));
    check(mtaio_metadata_set(metadata, "request", "4711"));
    check(mtaio_metadata_set(metadata, "host", "example.org"));
    check(mtaio_emit_with(emitter, MTAIO_EMISSION(.name = "user.deleted", .data = "John",
                                                  .change = MTAIO_DELETE, .metadata = metadata)));
    mtaio_metadata_unref(metadata);
    check(mtaio_emit(emitter, "user.seen", "Jane")); /* without metadata, at no cost */

    mtaio_emitter_unref(emitter);
    return 0;
}
