/* processing.c - event-driven data processing: each step of the work is an event. */
#include "check.h"

struct data {
    int input, result;
};

static int process_data(struct data *data) {
    if (data->input < 0)
        return MTAIO_EINVAL;
    data->result = data->input * data->input;
    return 0;
}

static int process(mtaio_emitter *emitter, struct data *data) {
    int r = mtaio_emit(emitter, "process.start", data);

    if (r < 0)
        return r;
    r = process_data(data);
    return mtaio_emit(emitter, r < 0 ? "process.error" : "process.complete", data);
}

static int show(mtaio_event *event, void *ctx) {
    const struct data *data = mtaio_event_data(event);

    (void)ctx;
    printf("%s: %d -> %d\n", mtaio_event_name(event), data->input, data->result);
    return 0;
}

int main(void) {
    mtaio_emitter *emitter;
    struct data good = {.input = 7}, bad = {.input = -7};

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_on(emitter, "process.*", show, NULL));
    check(process(emitter, &good));
    check(process(emitter, &bad));

    mtaio_emitter_unref(emitter);
    return 0;
}
