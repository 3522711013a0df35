/* package_events_uv.c - package_events in a libuv loop: the lines are taken, and their events emitted, on the
 * loop's thread, which never waits for the log; a timer of the loop shows the progress. */
#define _POSIX_C_SOURCE 200809L /* for uv.h */
#include <mtaio/uv.h>

#include "../common/package_events_lines.h"

#define PROGRESS_NS 100000000

struct reading {
    struct lines lines; /* first: what the receiver's call is given */
    uv_loop_t loop;
    mtaio_uv *uv;
};

/* After the last line: nothing keeps the loop from ending. */
static void reading_over(void *ctx) {
    struct reading *reading = ctx;

    mtaio_uv_close(reading->uv, NULL, NULL);
}

static int begin(struct reading *reading, struct program *p, const struct sources *s) {
    struct lines *l = &reading->lines;
    int r = lines_start(l, p, s);

    if (r >= 0)
        r = mtaio_uv_emit_periodic(reading->uv, l->clock, l->progress, PROGRESS_NS, NULL);
    if (r >= 0)
        r = mtaio_subscriber_receive_async(
            l->subscriber,
            MTAIO_RECEIVER(.call = lines_take, .destroy = reading_over, .ctx = reading,
                           .executor = mtaio_uv_executor(reading->uv)),
            NULL);
    if (r < 0)
        mtaio_uv_close(reading->uv, NULL, NULL);
    return r;
}

int read_sources(struct program *p, const struct sources *s) {
    struct reading reading;
    int r, finished;

    if (uv_loop_init(&reading.loop) < 0)
        return MTAIO_ESYSTEM;
    r = mtaio_uv_new(&reading.loop, &reading.uv);
    if (r >= 0) {
        r = begin(&reading, p, s);
        uv_run(&reading.loop, UV_RUN_DEFAULT);
        finished = lines_finish(&reading.lines);
        mtaio_uv_unref(reading.uv);
        r = r < 0 ? r : finished;
    }
    uv_run(&reading.loop, UV_RUN_DEFAULT);
    uv_loop_close(&reading.loop);
    return r;
}
