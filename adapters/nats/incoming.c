/* incoming.c - what comes from the server, to the channel. Everything is validated: the server does not do
 * it. */
#include <stdlib.h>
#include <string.h>

#include "nats_inner.h"

/* What may wait in the client library, while the channel blocks, before it drops what comes. */
enum { PENDING_MESSAGES = 1 << 20, PENDING_BYTES = 1 << 28 };

#define WAIT_NS INT64_C(100000000) /* how long it takes to see that the binding ends */

/* What has come and is not published yet: while more is waiting, a run of it. */
struct intake {
    int held, count, waiting; /* waiting: so many come for certain, unless the subscription ends */
    natsMsg *messages[AT_ONCE];
    mtaio_publication list[2 * AT_ONCE]; /* of what is in them; one of them may be a pack */
};

static void refuse(mtaio_nats_binding *b, const char *text) {
    b->refused++;
    mtaio__binding_tell(b, "nats.refused", 1, text);
}

static void lose(mtaio_nats_binding *b, const char *name, uint64_t count, const char *text) {
    if (count == 0) return;
    b->lost += count;
    mtaio__binding_tell(b, name, count, text);
}

/* --- Headers ----------------------------------------------------------------------------------- */

static bool is_text(const char *s) {
    for (; *s; s++)
        if ((unsigned char)*s < ' ' && *s != '\t') return false;
    return true;
}

/* Those that are ours alone in durable bindings. */
static bool is_hidden(const char *key) {
    return strcasecmp(key, "Nats-Msg-Id") == 0 || strcmp(key, "mtaio-delivery") == 0;
}

int mtaio__headers_get(natsMsg *message, bool hides, mtaio_metadata **ret) {
    const char **keys = NULL, *value;
    int count = 0, r = 0;
    *ret = NULL;
    natsStatus s = natsMsgHeader_Keys(message, &keys, &count);
    if (s == NATS_NOT_FOUND) return 0;
    if (s != NATS_OK) return s == NATS_NO_MEMORY ? MTAIO_ENOMEM : MTAIO_EINVAL;
    for (int i = 0; r >= 0 && i < count; i++) {
        if (hides && is_hidden(keys[i])) continue;
        if (!*ret) r = mtaio_metadata_new(ret);
        if (r < 0) break;
        if (natsMsgHeader_Get(message, keys[i], &value) != NATS_OK || !is_text(keys[i]) || !is_text(value))
            r = MTAIO_EINVAL;
        else
            r = mtaio_metadata_set(*ret, keys[i], value);
    }
    free(keys);
    if (r < 0) *ret = mtaio_metadata_unref(*ret);
    return r;
}

/* --- Runs: what is there is published together ------------------------------------------------- */

static void refuse_for(mtaio_nats_binding *b, int error) {
    refuse(b, error == MTAIO_ENAME ? "a subject that is no topic" : mtaio_error_text(error));
}

/* Those that the codec refuses leave the run, which keeps its order. */
static void decode(mtaio_nats_binding *b, struct intake *in) {
    int errors[2 * AT_ONCE], kept = 0;
    if (!b->codec.decode) return;
    mtaio__codec_begin(&b->codec);
    for (int i = 0; i < in->count; i++) errors[i] = mtaio__codec_decode(&b->codec, &in->list[i]);
    mtaio__codec_end(&b->codec);
    for (int i = 0; i < in->count; i++) {
        if (errors[i] >= 0) {
            in->list[kept++] = in->list[i];
            continue;
        }
        mtaio_metadata_unref(in->list[i].metadata);
        refuse_for(b, errors[i]);
    }
    in->count = kept;
}

/* One that could not be published: what it holds is given back. */
static void give_up(mtaio_nats_binding *b, mtaio_publication *p, int error) {
    if (p->release) {
        mtaio__codec_begin(&b->codec);
        p->release((void *)(uintptr_t)p->data);
        mtaio__codec_end(&b->codec);
    }
    if (error == MTAIO_ENAME || error == MTAIO_EINVAL)
        refuse_for(b, error);
    else
        lose(b, "nats.lost", 1, mtaio_error_text(error));
}

/* Waits for room, unless the binding ends. */
static void publish(mtaio_nats_binding *b, struct intake *in) {
    for (int at = 0; at < in->count;) {
        int r = mtaio_channel_publish_many(b->channel, &in->list[at], (size_t)(in->count - at), WAIT_NS);
        if (r > 0) {
            b->taken += (uint64_t)r;
            at += r;
        } else if (r != MTAIO_ETIMEDOUT || b->is_ending)
            give_up(b, &in->list[at++], r);
    }
}

static void intake_clear(struct intake *in) {
    while (in->count > 0) mtaio_metadata_unref(in->list[--in->count].metadata);
    while (in->held > 0) natsMsg_Destroy(in->messages[--in->held]);
}

static void empty(mtaio_nats_binding *b, struct intake *in) {
    decode(b, in);
    publish(b, in);
    intake_clear(in);
}

void mtaio__incoming_free(mtaio_nats_binding *b) {
    mtaio__subscription_free(&b->incoming);
    if (b->intake) intake_clear(b->intake);
    free(b->intake);
    free(b->peers.list);
}

static void add(mtaio_nats_binding *b, const char *topic, const char *data, size_t bytes,
                mtaio_metadata *metadata) {
    b->intake->list[b->intake->count++] =
        *MTAIO_PUBLICATION(.topic = topic, .data = data, .bytes = bytes, .metadata = metadata, .origin = b);
}

/* All of it, or nothing. */
static bool unpack(mtaio_nats_binding *b, natsMsg *message, const char *topic, unsigned count) {
    const char *at = natsMsg_GetData(message), *end = at + natsMsg_GetDataLength(message), *data;
    size_t bytes;
    int before = b->intake->count;
    for (; count > 0 && mtaio__pack_next(&at, end, &data, &bytes); count--) add(b, topic, data, bytes, NULL);
    if (count == 0 && at == end) return true;
    b->intake->count = before;
    return false;
}

/* Whether it is kept, until the run is published. */
static bool take(mtaio_nats_binding *b, natsMsg *message, const char *topic, unsigned count) {
    mtaio_metadata *metadata = NULL;
    bool is_good;
    if (count > 1)
        is_good = unpack(b, message, topic, count);
    else if ((is_good = mtaio__headers_get(message, false, &metadata) >= 0))
        add(b, topic, natsMsg_GetData(message), (size_t)natsMsg_GetDataLength(message), metadata);
    if (is_good)
        b->intake->messages[b->intake->held++] = message;
    else
        refuse(b, count > 1 ? "a pack that is none" : "headers that cannot be metadata");
    return is_good;
}

/* --- Messages ---------------------------------------------------------------------------------- */

/* Neither ours, nor here before: the numbers are kept. */
static bool note_number(mtaio_nats_binding *b, const struct numbers *n) {
    bool again;
    if (n->id == b->id) return false;
    uint64_t missing = mtaio__peers_note(&b->peers, n, &again);
    if (b->takes_all) lose(b, "nats.lost", missing, "messages are missing");
    return !again;
}

/* What the client library threw away because we were slow. */
static void note_lagging(mtaio_nats_binding *b, natsSubscription *sub) {
    int64_t dropped = 0;
    if (natsSubscription_GetDropped(sub, &dropped) != NATS_OK || dropped <= b->dropped_before) return;
    uint64_t more = (uint64_t)(dropped - b->dropped_before);
    b->dropped_before = dropped;
    if (b->takes_all)
        mtaio__binding_tell(b, "nats.lagging", more,
                            "taking is too slow"); /* the numbers will count them as lost */
    else
        lose(b, "nats.lagging", more, "taking is too slow");
}

/* true: it is kept. */
static bool sort_out(mtaio_nats_binding *b, natsMsg *message) {
    const char *reply = natsMsg_GetReply(message);
    const char *topic = mtaio__topic_of_subject(natsMsg_GetSubject(message), b->prefix_length);
    struct numbers n = {.count = 1}; /* of somebody who does not number */
    if (b->is_ending || (reply && !mtaio__is_reply_of_ours(reply)))
        return false; /* a request: who serves the topic gets it */
    if (mtaio__reply_read(reply, &n) && !note_number(b, &n)) return false;
    bool is_no_topic = topic && mtaio__is_no_topic(topic);
    if (n.count == 0 || (topic && mtaio__is_own_topic(topic) && !is_no_topic)) return false;
    if (!topic) {
        refuse(b, "a subject without a topic");
        return false;
    }
    if (is_no_topic) return take(b, message, NULL, n.count);
    if (b->filters && !mtaio__topic_is_of(topic, (const char *const *)b->take)) return false;
    return take(b, message, topic, n.count);
}

/* Is it the last for now? The client library is asked only where it is not known from before. */
static bool is_last(struct intake *in, natsSubscription *sub) {
    if (in->waiting > 0) in->waiting--;
    if (in->waiting == 0 && natsSubscription_GetPending(sub, &in->waiting, NULL) != NATS_OK) in->waiting = 0;
    return in->waiting == 0;
}

static void on_message(natsSubscription *sub, natsMsg *message, void *ctx) {
    mtaio_nats_binding *b = ctx;
    if (++b->seen % 64 == 0) note_lagging(b, sub);
    if (!sort_out(b, message)) natsMsg_Destroy(message);
    if (is_last(b->intake, sub) || b->intake->count >= AT_ONCE) empty(b, b->intake);
}

/* What the client library had, when it closed. */
static void on_end(void *ctx) {
    mtaio_nats_binding *b = ctx;
    empty(b, b->intake);
}

int mtaio__incoming_start(mtaio_nats_binding *b) {
    char subject[SUBJECT_MAX];
    int r = mtaio__subject_of_patterns(b->prefix, (const char *const *)b->take, subject, &b->filters);
    if (r < 0) return r;
    b->peers.list = calloc(PEERS, sizeof *b->peers.list);
    b->intake = calloc(1, sizeof *b->intake);
    if (!b->peers.list || !b->intake) return MTAIO_ENOMEM;
    b->incoming = (struct subscription){.b = b, .call = on_message, .end = on_end, .ctx = b};
    r = mtaio__subscribe(&b->incoming, &b->nats->in, subject, NULL);
    if (r < 0) return r;
    natsSubscription_SetPendingLimits(b->incoming.sub, PENDING_MESSAGES, PENDING_BYTES);
    natsStatus s = natsConnection_FlushTimeout(b->nats->in.nc, mtaio__to_ms(b->nats->timeout_ns));
    return s == NATS_OK ? 0 : mtaio__failed(s);
}
