/* outgoing.c - the thread that sends what the channel has for a binding, while there is a connection. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nats_inner.h"

#define IDLE_NS INT64_C(100000000) /* how long it takes to see that the binding ends */

enum { PACK_BYTES = 1 << 14 }; /* of one pack, with the lengths */

struct sending {
    mtaio_nats_binding *b;
    uint64_t number; /* of the last message that was sent */
    uint64_t told;   /* the number that the peers were told of last */
    int64_t tell_at;
    char subject[SUBJECT_MAX]; /* prefix.topic of the last one */
    bool has_subject;
    char *pack; /* NULL: messages travel one by one */
};

bool mtaio__outgoing_is_over(const mtaio_nats_binding *b) {
    return b->is_ending && mtaio__now_ns() >= b->drain_until;
}

/* --- One message ------------------------------------------------------------------------------- */

natsStatus mtaio__headers_set(natsMsg *message, const mtaio_metadata *metadata) {
    natsStatus s = NATS_OK;
    for (size_t i = 0; s == NATS_OK && i < mtaio_metadata_count(metadata); i++) {
        const char *key, *value;
        mtaio_metadata_at(metadata, i, &key, &value);
        s = natsMsgHeader_Set(message, key, value);
    }
    return s;
}

static natsStatus publish_headers(mtaio_nats_binding *b, const char *subject, const char *reply,
                                  const mtaio_nats_bytes *bytes, const mtaio_metadata *metadata) {
    natsMsg *message = NULL;
    natsStatus s = natsMsg_Create(&message, subject, reply, bytes->data, (int)bytes->bytes);
    if (s == NATS_OK) s = mtaio__headers_set(message, metadata);
    if (s == NATS_OK) s = natsConnection_PublishMsg(b->nats->out.nc, message);
    natsMsg_Destroy(message);
    return s;
}

static natsStatus publish(mtaio_nats_binding *b, const char *subject, const char *reply,
                          const mtaio_nats_bytes *bytes, const mtaio_metadata *metadata) {
    if (metadata) return publish_headers(b, subject, reply, bytes, metadata);
    return natsConnection_PublishRequest(b->nats->out.nc, subject, reply, bytes->data, (int)bytes->bytes);
}

/* A header is a line: what cannot be one is not sent. */
static bool is_header(const char *key, const char *value) {
    for (const char *p = key; *p; p++)
        if (*p == ':' || (unsigned char)*p <= ' ' || *p == 0x7f) return false;
    return !strpbrk(value, "\r\n");
}

bool mtaio__may_be_sent(size_t bytes, const mtaio_metadata *metadata, int64_t limit) {
    const char *key, *value;
    if (bytes > (uint64_t)limit) return false;
    for (size_t i = 0; mtaio_metadata_at(metadata, i, &key, &value) >= 0; i++)
        if (!is_header(key, value)) return false;
    return true;
}

void mtaio__outgoing_refuse(mtaio_nats_binding *b, const char *text, unsigned count) {
    b->refused += count;
    b->refused_out += count;
    mtaio__binding_tell(b, "nats.refused", count, text);
}

bool mtaio__is_passing(natsStatus s) {
    return s == NATS_INSUFFICIENT_BUFFER || s == NATS_CONNECTION_DISCONNECTED || s == NATS_IO_ERROR ||
           s == NATS_TIMEOUT || s == NATS_STALE_CONNECTION || s == NATS_SSL_ERROR;
}

static void wait_until_up(mtaio_nats_binding *b) {
    const struct timespec moment = {.tv_nsec = 1000000}; /* until the client library has seen what happened */
    nanosleep(&moment, NULL);
    while (mtaio__nats_wait_up(b->nats, mtaio__now_ns() + IDLE_NS) == MTAIO_ETIMEDOUT &&
           !mtaio__outgoing_is_over(b))
        continue;
}

/* Tries until it is sent or refused. false: the binding or the connection has ended before. What failed has
 * not reached the server: its last byte was not written. */
static bool send_bytes(struct sending *sending, const mtaio_nats_bytes *bytes, const mtaio_metadata *metadata,
                       unsigned count) {
    mtaio_nats_binding *b = sending->b;
    char reply[REPLY_MAX];
    mtaio__reply_make(b->id, sending->number + 1, count, reply);
    for (; !mtaio__outgoing_is_over(b); wait_until_up(b)) {
        if (b->nats->was_down) continue; /* since the message was taken out of the buffer */
        natsStatus s = publish(b, sending->subject, reply, bytes, metadata);
        if (s == NATS_OK) {
            sending->number += count;
            b->sent = sending->number;
            return true;
        }
        if (mtaio__failed(s) == MTAIO_ECLOSED) return false;
        if (mtaio__is_passing(s)) continue;
        mtaio__outgoing_refuse(b, mtaio_nats_error(), count);
        return true;
    }
    return false;
}

/* Mostly the one before had the same. */
static bool set_subject(struct sending *sending, const char *topic) {
    mtaio_nats_binding *b = sending->b;
    if (sending->has_subject && topic && strcmp(sending->subject + b->prefix_length + 1, topic) == 0)
        return true;
    sending->has_subject = mtaio__subject_of_topic(b->prefix, topic, sending->subject) >= 0;
    return sending->has_subject;
}

const mtaio_metadata *mtaio__load_metadata(const mtaio_message *m, const struct load *load) {
    return load->bytes.metadata ? load->bytes.metadata : mtaio_message_metadata(m);
}

static bool send_message(struct sending *sending, const mtaio_message *m, const struct load *load,
                         int64_t limit) {
    const mtaio_metadata *metadata = mtaio__load_metadata(m, load);
    const char *wrong = NULL;
    if (load->result < 0)
        wrong = mtaio_error_text(load->result);
    else if (!set_subject(sending, mtaio_message_topic(m)))
        wrong = "the topic is no subject";
    else if (!mtaio__may_be_sent(load->bytes.bytes, metadata, limit))
        wrong = "the message is larger than the server takes, or its metadata cannot be headers";
    if (!wrong) return send_bytes(sending, &load->bytes, metadata, 1);
    mtaio__outgoing_refuse(sending->b, wrong, 1);
    return true;
}

/* --- Packs: messages of one topic that wait together ------------------------------------------- */

static bool is_packable(const mtaio_message *m, const struct load *load) {
    return load->result >= 0 && !mtaio__load_metadata(m, load) && load->bytes.bytes <= PACK_BYTES;
}

static bool is_same_topic(const mtaio_message *a, const mtaio_message *b) {
    const char *x = mtaio_message_topic(a), *y = mtaio_message_topic(b);
    return x == y || (x && y && strcmp(x, y) == 0);
}

/* Packs as many as there are of the first one's topic, one after another, and fit: how many. */
static int pack(struct sending *sending, const mtaio_message *messages, const struct load *loads, int n,
                size_t limit, size_t *ret_bytes) {
    size_t used = 0;
    int count = 0;
    for (; count < n && is_packable(&messages[count], &loads[count]); count++) {
        const mtaio_nats_bytes *bytes = &loads[count].bytes;
        if (used + PACK_HEAD + bytes->bytes > limit || !is_same_topic(&messages[0], &messages[count])) break;
        used += mtaio__pack_put(sending->pack + used, bytes->data, bytes->bytes);
    }
    *ret_bytes = used;
    return count;
}

/* The first message, or several of them: how many it was done with; 0: the binding has ended. */
static int send_next(struct sending *sending, const mtaio_message *messages, const struct load *loads, int n,
                     int64_t limit) {
    size_t used, most = limit < PACK_BYTES ? (size_t)limit : PACK_BYTES;
    int count = sending->pack && n > 1 ? pack(sending, messages, loads, n, most, &used) : 0;
    if (count < 2 || !set_subject(sending, mtaio_message_topic(messages)))
        return send_message(sending, messages, loads, limit);
    const mtaio_nats_bytes all = {.data = sending->pack, .bytes = used};
    return send_bytes(sending, &all, NULL, (unsigned)count) ? count : 0;
}

/* --- The thread -------------------------------------------------------------------------------- */

/* Peers compare it with what they have got: so the last messages can be missed, too. */
static void tell_number(struct sending *sending) {
    mtaio_nats_binding *b = sending->b;
    char reply[REPLY_MAX];
    if (sending->number == sending->told) return;
    mtaio__reply_make(b->id, sending->number + 1, 0, reply);
    sending->has_subject = false;
    mtaio__subject_join(b->prefix, SENT_TOPIC, sending->subject);
    if (natsConnection_PublishRequest(b->nats->out.nc, sending->subject, reply, NULL, 0) == NATS_OK)
        sending->told = sending->number;
    sending->tell_at = mtaio__now_ns() + 10 * IDLE_NS;
}

/* How many it took out of the buffer; 0: there was nothing; < 0: it is over. */
static int send_some(struct sending *sending) {
    mtaio_nats_binding *b = sending->b;
    mtaio_message messages[AT_ONCE];
    struct load loads[AT_ONCE];
    int r = mtaio__nats_wait_up(b->nats, mtaio__now_ns() + IDLE_NS);
    if (r < 0) return r == MTAIO_ETIMEDOUT ? 0 : r;
    int n = mtaio_subscriber_receive_many(b->outgoing, b->is_ending ? 0 : IDLE_NS, messages, AT_ONCE);
    if (n < 0) return n == MTAIO_ETIMEDOUT || (n == MTAIO_EAGAIN && !b->is_ending) ? 0 : n;
    int64_t limit = natsConnection_GetMaxPayload(b->nats->out.nc);
    int sent = 0, done = 1;
    mtaio__codec_encode(&b->codec, messages, n, loads);
    for (; sent < n && done > 0; sent += done)
        done = send_next(sending, &messages[sent], &loads[sent], n - sent, limit);
    b->unsendable += (uint64_t)(n - sent);
    mtaio__codec_clear(&b->codec, messages, n, loads);
    return sent < n ? MTAIO_ECLOSED : n;
}

static void sending_free(struct sending *sending) {
    free(sending->pack);
    free(sending);
}

static struct sending *sending_new(mtaio_nats_binding *b, bool packs) {
    struct sending *sending = calloc(1, sizeof *sending);
    if (!sending) return NULL;
    sending->b = b;
    if (packs) sending->pack = malloc(PACK_BYTES);
    if (!packs || sending->pack) return sending;
    sending_free(sending);
    return NULL;
}

static void *run(void *arg) {
    struct sending *sending = arg;
    mtaio_nats_binding *b = sending->b;
    while (send_some(sending) >= 0 && !mtaio__outgoing_is_over(b)) {
        if (mtaio__now_ns() >= sending->tell_at) tell_number(sending);
    }
    tell_number(sending);
    int64_t left_ns = b->drain_until == INT64_MAX ? b->nats->timeout_ns : b->drain_until - mtaio__now_ns();
    if (left_ns > 0 && mtaio__nats_wait_up(b->nats, 0) >= 0)
        natsConnection_FlushTimeout(b->nats->out.nc, mtaio__to_ms(left_ns));
    sending_free(sending);
    mtaio__binding_drop(b);
    return NULL;
}

int mtaio__outgoing_subscribe(mtaio_nats_binding *b, const mtaio_nats_binding_options *options) {
    return mtaio_channel_subscribe(
        b->channel,
        MTAIO_SUBSCRIPTION(.patterns = options->send, .overflow = options->overflow, .no_replay = true,
                           .buffer_size = options->buffer_size ? options->buffer_size : 65536, .origin = b),
        &b->outgoing);
}

int mtaio__outgoing_start(mtaio_nats_binding *b, const mtaio_nats_binding_options *options) {
    int r = mtaio__outgoing_subscribe(b, options);
    if (r < 0) return r;
    struct sending *sending = sending_new(b, options->pack);
    if (!sending) return MTAIO_ENOMEM;
    mtaio__binding_hold(b);
    b->has_sender = pthread_create(&b->sender, NULL, run, sending) == 0;
    if (b->has_sender) return 0;
    mtaio__binding_drop(b);
    sending_free(sending);
    return MTAIO_ESYSTEM;
}
