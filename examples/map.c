/* map.c - an emitter of new events made from those of another one; its source never sees them. */
#include "check.h"

struct data {
    int value;
    bool processed;
};

static int process(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    const struct data *old = mtaio_event_data(event);
    struct data *new = malloc(sizeof *new);

    (void)ctx;
    if (!new)
        return MTAIO_ENOMEM;
    *new = (struct data){.value = old->value, .processed = true};
    return mtaio_event_set_data(mapped, new, free); /* freed when nobody can use it any more */
}

static int show(mtaio_event *event, void *ctx) {
    const struct data *data = mtaio_event_data(event);

    printf("%s: %d, %s\n", (const char *)ctx, data->value, data->processed ? "processed" : "not processed");
    return 0;
}

int main(void) {
    mtaio_emitter *emitter, *transformed;
    struct data data = {.value = 42};

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_emitter_map(emitter, NULL, MTAIO_MAP(.call = process), &transformed));
    check(mtaio_on(transformed, "data_event", show, "transformed"));
    check(mtaio_on(emitter, "data_event", show, "source"));

    check(mtaio_emit(emitter, "data_event", &data));

    mtaio_emitter_unref(transformed);
    mtaio_emitter_unref(emitter);
    return 0;
}
