/* package_events_lines.c - see package_events_lines.h. */
#include "../common/package_events_lines.h"

#include <stdlib.h>
#include <string.h>

enum { AHEAD = 1024 }; /* lines that were read and not yet taken */

/* --- The reader -------------------------------------------------------------------------------- */

static int publish_source(struct lines *l, size_t index) {
    const char *path = l->sources->paths[index];
    struct input in;
    char *line;
    size_t length;
    int got, r;

    if (input_open(&in, path) < 0)
        return 1;
    r = mtaio_publish(l->channel, "source", &index, sizeof index);
    while (r >= 0 && (got = input_line(&in, &line, &length)) > 0)
        r = mtaio_publish(l->channel, "line", line, length + 1);
    if (r >= 0)
        r = got < 0;
    return input_close(&in) < 0 && r == 0 ? 1 : r;
}

static void *read_all(void *arg) {
    struct lines *l = arg;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < l->sources->count; i++) {
        r = publish_source(l, i);
        l->trouble |= r > 0;
    }
    mtaio_channel_close(l->channel);
    return NULL;
}

/* --- In the loop ------------------------------------------------------------------------------- */

static int take_line(struct lines *l, const mtaio_message *message) {
    size_t bytes = mtaio_message_bytes(message);
    char *copy = bytes > l->room ? realloc(l->copy, bytes) : l->copy;

    if (!copy)
        return MTAIO_ENOMEM;
    l->room = bytes > l->room ? bytes : l->room;
    l->copy = memcpy(copy, mtaio_message_data(message), bytes);
    return emit_line(l->program, &l->entry, copy, bytes - 1);
}

int lines_take(int result, mtaio_message *message, void *lines) {
    struct lines *l = lines;
    size_t index;

    if (result < 0) /* ECLOSED: the end */
        return 0;
    if (strcmp(mtaio_message_topic(message), "source") == 0) {
        memcpy(&index, mtaio_message_data(message), sizeof index);
        l->entry = (struct entry){.source = source_name(l->sources->paths[index])};
    } else {
        l->result = take_line(l, message);
    }
    mtaio_message_clear(message);
    return l->result >= 0;
}

static int progress(mtaio_event *event, void *ctx) {
    struct lines *l = ctx;

    (void)event;
    if (l->entry.source)
        show_progress(l->program, &l->entry);
    return 0;
}

/* --- Begin and end ----------------------------------------------------------------------------- */

int lines_start(struct lines *l, struct program *p, const struct sources *s) {
    int r;

    *l = (struct lines){.program = p, .sources = s};
    r = mtaio_channel_new(MTAIO_CHANNEL_OPTIONS(.buffer_size = AHEAD), &l->channel);
    if (r >= 0)
        r = mtaio_subscribe(l->channel, NULL, &l->subscriber);
    if (r >= 0)
        r = mtaio_emitter_new(NULL, &l->clock);
    if (r >= 0)
        r = mtaio_on(l->clock, "progress", progress, l);
    if (r >= 0)
        r = mtaio_event_new("progress", NULL, NULL, &l->progress);
    if (r < 0)
        return r;
    l->reading = pthread_create(&l->reader, NULL, read_all, l) == 0;
    return l->reading ? 0 : MTAIO_ESYSTEM;
}

int lines_finish(struct lines *l) {
    if (l->reading) {
        mtaio_channel_close(l->channel); /* so that the reader ends also where the loop ended early */
        pthread_join(l->reader, NULL);
    }
    mtaio_event_unref(l->progress);
    mtaio_emitter_unref(l->clock);
    mtaio_subscriber_unref(l->subscriber);
    mtaio_channel_unref(l->channel);
    free(l->copy);
    return l->result < 0 ? l->result : l->trouble;
}
