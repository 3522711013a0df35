/* package_events_feed.c - the events once more, as messages on a channel.
 *
 * The monitor at the end of the emission publishes every event under its name. Each subscriber takes the topics it
 * asked for, at its own pace: three on the pool, whose publisher waits where a buffer is full, and one that reads
 * nothing before the end, so that of its messages only the newest are left. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "package_events.h"

/* What the message says: "2025-06-24 14:36:25 libc6". */
enum { TEXT_MAX = 200, HOUR = 11, MINUTE_END = 16, PACKAGE = 20 };

static int count(struct table *t, const char *key, size_t length) {
    struct row *row = table_row(t, key, length);

    if (!row)
        return MTAIO_ENOMEM;
    row->count++;
    return 0;
}

static int count_hour(struct figures *f, const char *topic, const char *text) {
    char key[] = "hh:00";

    (void)topic;
    memcpy(key, text + HOUR, 2);
    return count(&f->hours, key, 5);
}

static int count_command(struct figures *f, const char *topic, const char *text) {
    (void)text;
    topic += strlen("startup.");
    return count(&f->commands, topic, strlen(topic));
}

static int count_minute(struct figures *f, const char *topic, const char *text) {
    (void)topic;
    return count(&f->minutes, text, MINUTE_END);
}

/* The next message, on the pool's one thread; or the end, when result is negative. */
static int take(int result, mtaio_message *message, void *ctx) {
    const struct feed_reader *reader = ctx;
    int r;

    if (result < 0) {
        if (result != MTAIO_ECLOSED)
            atomic_store(&reader->program->run_result, result);
        sem_post(&reader->program->feed_ended);
        return 0;
    }
    r = reader->count(&reader->program->figures, mtaio_message_topic(message), mtaio_message_data(message));
    mtaio_message_clear(message);
    if (r < 0)
        atomic_store(&reader->program->run_result, r);
    return 1;
}

int feed_start(struct program *p) {
    static const struct {
        const char *pattern;
        int (*count)(struct figures *f, const char *topic, const char *text);
    } readers[FEED_READERS] = {{"package.*", count_hour}, {"startup.**", count_command}, {"status.*", count_minute}};
    int r = mtaio_channel_new(MTAIO_CHANNEL_OPTIONS(.name = "feed", .buffer_size = 256), &p->feed);

    sem_init(&p->feed_ended, 0, 0);
    for (size_t i = 0; r >= 0 && i < FEED_READERS; i++) {
        struct feed_reader *reader = &p->readers[i];
        *reader = (struct feed_reader){.program = p, .count = readers[i].count};
        r = mtaio_subscribe(p->feed, readers[i].pattern, &reader->subscriber);
        if (r >= 0)
            r = mtaio_subscriber_receive_async(
                reader->subscriber, MTAIO_RECEIVER(.call = take, .ctx = reader, .executor = p->pool), NULL);
    }
    if (r < 0)
        return r;
    return mtaio_channel_subscribe(p->feed, MTAIO_SUBSCRIPTION(.buffer_size = SAMPLES, .overflow = MTAIO_DROP_OLDEST),
                                   &p->latest);
}

int feed_publish(struct program *p, const char *name, const struct entry *e) {
    char text[TEXT_MAX];
    int length = snprintf(text, sizeof text, "%s %s", e->when, e->package ? e->package : "");

    if (length >= TEXT_MAX)
        length = TEXT_MAX - 1;
    return mtaio_publish(p->feed, name, text, (size_t)length + 1);
}

/* Those on the pool receive what they were sent, then the end; the slow one reads what is left for it. */
int feed_finish(struct program *p) {
    struct figures *f = &p->figures;
    mtaio_message message;
    int r = mtaio_channel_close(p->feed);

    for (size_t i = 0; r >= 0 && i < FEED_READERS; i++)
        while (sem_wait(&p->feed_ended) < 0 && errno == EINTR)
            continue;
    while (r >= 0 && mtaio_subscriber_receive(p->latest, 0, &message) >= 0) {
        const char *text = mtaio_message_data(&message);
        f->latest_missed += message.missed;
        snprintf(f->latest[f->latest_count++], sizeof f->latest[0], "%.19s %s %s", text,
                 mtaio_message_topic(&message), text + PACKAGE);
        mtaio_message_clear(&message);
    }
    return r;
}

void feed_free(struct program *p) {
    for (size_t i = 0; i < FEED_READERS; i++)
        mtaio_subscriber_unref(p->readers[i].subscriber);
    mtaio_subscriber_unref(p->latest);
    mtaio_channel_unref(p->feed);
}
