/* package_events_glib.c - package_events in a GMainContext: the lines are taken, and their events emitted, on
 * the thread of the context, which never waits for the log; a timer of the loop shows the progress. */
#include <mtaio/glib.h>

#include "../common/package_events_lines.h"

#define PROGRESS_NS 100000000

struct reading {
    struct lines lines; /* first: what the receiver's call is given */
    GMainLoop *loop;
    mtaio_glib *glib;
};

/* After the last line. */
static void reading_over(void *ctx) { g_main_loop_quit(((struct reading *)ctx)->loop); }

static int begin(struct reading *reading, struct program *p, const struct sources *s) {
    struct lines *l = &reading->lines;
    int r = lines_start(l, p, s);

    if (r >= 0)
        r = mtaio_glib_emit_periodic(reading->glib, l->clock, l->progress, PROGRESS_NS, NULL);
    if (r >= 0)
        r = mtaio_subscriber_receive_async(
            l->subscriber,
            MTAIO_RECEIVER(.call = lines_take, .destroy = reading_over, .ctx = reading,
                           .executor = mtaio_glib_executor(reading->glib)),
            NULL);
    return r;
}

int read_sources(struct program *p, const struct sources *s) {
    struct reading reading = {.loop = g_main_loop_new(NULL, FALSE)};
    int finished, r = mtaio_glib_new(NULL, G_PRIORITY_DEFAULT, &reading.glib);

    if (r >= 0) {
        r = begin(&reading, p, s);
        if (r >= 0)
            g_main_loop_run(reading.loop);
        mtaio_glib_close(reading.glib);
        finished = lines_finish(&reading.lines);
        mtaio_glib_unref(reading.glib);
        r = r < 0 ? r : finished;
    }
    g_main_loop_unref(reading.loop);
    return r;
}
