/* package_events_lines.h - the package history read by a thread of its own, for a loop that must not wait for
 * a file, a pipe or a terminal: every line comes to it as a message. The buffer is bounded, so the thread
 * reads no faster than the loop takes. */
#ifndef PACKAGE_EVENTS_LINES_H
#define PACKAGE_EVENTS_LINES_H

#include <pthread.h>

#include "package_events.h"

struct lines {
    struct program *program;
    const struct sources *sources;
    mtaio_channel *channel; /* topics: "line", and before those of each source, "source" with its index */
    mtaio_subscriber *subscriber;
    pthread_t reader;
    bool reading;
    int trouble;        /* the reader's: a source could not be read to its end */
    struct entry entry; /* in the loop: the last line, */
    char *copy;         /* which is here, to be taken apart */
    size_t room;
    int result; /* of its emission */
    mtaio_emitter *clock; /* "progress": for a timer of the loop */
    mtaio_event *progress;
};

/* Starts the reader. What was made is to be given back by lines_finish, also after a failure. */
int lines_start(struct lines *l, struct program *p, const struct sources *s);

/* To be called by mtaio_subscriber_receive_async, in the loop. */
int lines_take(int result, mtaio_message *message, void *lines);

/* When the loop is over: what read_sources is to answer. */
int lines_finish(struct lines *l);

#endif
