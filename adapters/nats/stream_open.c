/* stream_open.c - messages that were given out to a durable binding and are not done with: how they are found
 * when they come again, and how they end. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "stream_inner.h"

/* --- Chains ------------------------------------------------------------------------------------ */

void mtaio__chain_init(struct chain *c) { *c = (struct chain){NULL, &c->first}; }

void mtaio__chain_add(struct chain *c, struct delivery *d) {
    d->behind = NULL;
    *c->end = d;
    c->end = &d->behind;
}

struct delivery *mtaio__chain_take(struct chain *c) {
    struct delivery *d = c->first;
    if (!d) return NULL;
    c->first = d->behind;
    if (!c->first) c->end = &c->first;
    return d;
}

/* --- One --------------------------------------------------------------------------------------- */

struct delivery *mtaio__delivery_new(mtaio_nats_binding *b, natsMsg *message, const struct given *given) {
    const char *topic = mtaio__topic_of_subject(natsMsg_GetSubject(message), b->prefix_length);
    const char *reply = natsMsg_GetReply(message);
    size_t bytes = (size_t)natsMsg_GetDataLength(message), of_reply = strlen(reply) + 1,
           of_topic = strlen(topic) + 1;
    struct delivery *d = calloc(1, sizeof *d + bytes + 1 + of_reply + of_topic);
    if (!d) return NULL;
    d->holds = 1;
    d->given = *given;
    d->data = (mtaio_nats_data){d->bytes, bytes};
    if (bytes > 0) memcpy(d->bytes, natsMsg_GetData(message), bytes);
    d->reply = memcpy(d->bytes + bytes + 1, reply, of_reply);
    const char *copy = memcpy(d->bytes + bytes + 1 + of_reply, topic, of_topic);
    d->topic = mtaio__is_no_topic(topic) ? NULL : copy;
    d->b = b;
    mtaio__binding_hold(b);
    return d;
}

void mtaio__delivery_hold(struct delivery *d) { atomic_fetch_add(&d->holds, 1); }

void mtaio__delivery_drop(struct delivery *d) {
    if (atomic_fetch_sub(&d->holds, 1) != 1) return;
    mtaio_nats_binding *b = d->b;
    mtaio_metadata_unref(d->metadata);
    free(d);
    mtaio__binding_drop(b);
}

/* It may get lost, as the message may: it comes again then. */
void mtaio__stream_answer(mtaio_nats_binding *b, const char *reply, const char *text) {
    natsConnection_PublishString(b->nats->in.nc, reply, text);
}

void mtaio__stream_give_back(mtaio_nats_binding *b, const char *reply, int64_t delay_ns) {
    char text[64] = "-NAK";
    if (delay_ns > 0) snprintf(text, sizeof text, "-NAK {\"delay\": %" PRId64 "}", delay_ns);
    mtaio__stream_answer(b, reply, text);
}

const char *mtaio__delivery_error(const struct delivery *d, char *buffer, size_t size) {
    if (d->error == 0)
        snprintf(buffer, size, "given out %" PRIu64 " times, and never finished", d->count);
    else if (strcmp(mtaio_error_name(d->error), "MTAIO_E?") != 0)
        snprintf(buffer, size, "%s", mtaio_error_text(d->error));
    else
        snprintf(buffer, size, "a handler failed with %d", d->error);
    return buffer;
}

/* --- What is open, and what was ---------------------------------------------------------------- */

static bool is_same(const struct given *a, const struct given *b) {
    return a->sequence == b->sequence && a->stored_ns == b->stored_ns;
}

static void done_locked(struct inbox *in, const struct given *given) {
    in->done[given->sequence % DONE] = *given;
}

static void failed_locked(struct inbox *in, const struct given *given) {
    if (in->failing++ == 0 || given->sequence < in->failing_from) in->failing_from = given->sequence;
}

void mtaio__open_done(struct inbox *in, const struct given *given) {
    pthread_mutex_lock(&in->lock);
    done_locked(in, given);
    pthread_mutex_unlock(&in->lock);
}

void mtaio__open_failed(struct inbox *in, const struct given *given) {
    pthread_mutex_lock(&in->lock);
    failed_locked(in, given);
    pthread_mutex_unlock(&in->lock);
}

/* A server that was killed may have forgotten how often, but not us that we have seen it. */
static uint64_t count_locked(struct inbox *in, const struct given *given) {
    bool again = given->sequence <= in->highest.sequence && given->stored_ns <= in->highest.stored_ns;
    if (again && in->failing > 0) in->failing--;
    if (!again) in->highest = *given;
    bool doubtful = again || given->sequence <= in->position.suspect;
    return doubtful && given->count < 2 ? 2 : given->count;
}

enum known mtaio__open_find(struct inbox *in, const struct given *given, uint64_t *ret_count) {
    enum known known = UNKNOWN;
    pthread_mutex_lock(&in->lock);
    if (in->asked > 0) in->asked--;
    if (is_same(&in->done[given->sequence % DONE], given)) known = IS_DONE;
    for (struct delivery *d = in->buckets[given->sequence % BUCKETS]; d; d = d->next_in_bucket)
        if (is_same(&d->given, given)) known = IS_OPEN;
    if (known == UNKNOWN) *ret_count = count_locked(in, given);
    pthread_mutex_unlock(&in->lock);
    return known;
}

static void link_locked(struct inbox *in, struct delivery *d) {
    d->prev = in->newest;
    d->next = NULL;
    *(in->newest ? &in->newest->next : &in->oldest) = d;
    in->newest = d;
}

static void unlink_locked(struct inbox *in, struct delivery *d) {
    *(d->prev ? &d->prev->next : &in->oldest) = d->next;
    *(d->next ? &d->next->prev : &in->newest) = d->prev;
}

void mtaio__open_add(struct delivery *d, struct chain *to) {
    struct inbox *in = d->b->stream->in;
    struct delivery **bucket = &in->buckets[d->given.sequence % BUCKETS];
    pthread_mutex_lock(&in->lock);
    d->heard_at = mtaio__now_ns();
    d->next_in_bucket = *bucket;
    *bucket = d;
    link_locked(in, d);
    in->open++;
    in->redelivered += d->count > 1;
    mtaio__chain_add(to, d);
    pthread_cond_broadcast(&in->changed);
    pthread_mutex_unlock(&in->lock);
}

static void remove_locked(struct inbox *in, struct delivery *d) {
    struct delivery **at = &in->buckets[d->given.sequence % BUCKETS];
    while (*at != d) at = &(*at)->next_in_bucket;
    *at = d->next_in_bucket;
    unlink_locked(in, d);
    in->open--;
}

void mtaio__open_renew(mtaio_nats_binding *b, int64_t now_ns) {
    struct inbox *in = b->stream->in;
    const int64_t period_ns = b->stream->how.ack_wait_ns / 3;
    for (;;) {
        pthread_mutex_lock(&in->lock);
        struct delivery *d = in->oldest;
        bool due = d && !in->is_ending && now_ns - d->heard_at >= period_ns;
        if (due) {
            d->heard_at = now_ns;
            unlink_locked(in, d);
            link_locked(in, d);
            mtaio__delivery_hold(d);
        }
        pthread_mutex_unlock(&in->lock);
        if (!due) return;
        mtaio__stream_answer(b, d->reply, "+WPI");
        mtaio__delivery_drop(d);
    }
}

/* --- Ends -------------------------------------------------------------------------------------- */

static void close_delivery(struct delivery *d, bool is_done) {
    struct inbox *in = d->b->stream->in;
    pthread_mutex_lock(&in->lock);
    remove_locked(in, d);
    if (is_done)
        done_locked(in, &d->given);
    else
        failed_locked(in, &d->given);
    pthread_mutex_unlock(&in->lock);
}

static void end(struct delivery *d, const char *answer) {
    close_delivery(d, true);
    mtaio__stream_answer(d->b, d->reply, answer);
    mtaio__inbox_ask(d->b);
    mtaio__delivery_drop(d);
}

void mtaio__delivery_acknowledge(struct delivery *d) { end(d, "+ACK"); }

void mtaio__delivery_give_back(struct delivery *d, int64_t delay_ns) {
    close_delivery(d, false);
    mtaio__stream_give_back(d->b, d->reply, delay_ns);
    mtaio__inbox_ask(d->b);
    mtaio__delivery_drop(d);
}

void mtaio__delivery_refuse(struct delivery *d, int error) {
    d->b->refused++;
    mtaio__binding_tell(d->b, "nats.refused", 1,
                        error == MTAIO_ENAME ? "a subject that is no topic" : mtaio_error_text(error));
    end(d, "+TERM");
}

void mtaio__delivery_bury(struct delivery *d) {
    mtaio_nats_binding *b = d->b;
    struct inbox *in = b->stream->in;
    char text[512], words[128];
    snprintf(text, sizeof text, "%s: %s", d->topic ? d->topic : "",
             mtaio__delivery_error(d, words, sizeof words));
    pthread_mutex_lock(&in->lock);
    in->dead_count++;
    pthread_mutex_unlock(&in->lock);
    mtaio__binding_tell(b, "nats.dead", 1, text);
    end(d, "+TERM");
}

void mtaio__delivery_fail(struct delivery *d, int error) {
    struct stream *st = d->b->stream;
    d->error = error;
    if (st->how.max_deliveries == 0 || d->count < st->how.max_deliveries) {
        mtaio__delivery_give_back(d, st->how.again_ns);
    } else if (!st->dead_topic) {
        mtaio__delivery_bury(d);
    } else { /* the keeper buries it */
        pthread_mutex_lock(&st->in->lock);
        mtaio__chain_add(&st->in->dead, d);
        pthread_mutex_unlock(&st->in->lock);
    }
}
