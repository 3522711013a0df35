/* outgoing.c - the thread that sends what the channel has for a binding, while there is a connection. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nats_inner.h"

#define IDLE_NS INT64_C(100000000) /* how long it takes to see that the binding ends */

struct sending {
    mtaio_nats_binding *b;
    char subject[SUBJECT_MAX];
    uint64_t told; /* the number that the peers were told of last */
    int64_t tell_at;
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

static bool may_be_sent(size_t bytes, const mtaio_metadata *metadata, int64_t limit) {
    const char *key, *value;
    if (bytes > (uint64_t)limit) return false;
    for (size_t i = 0; mtaio_metadata_at(metadata, i, &key, &value) >= 0; i++)
        if (!is_header(key, value)) return false;
    return true;
}

void mtaio__outgoing_refuse(mtaio_nats_binding *b, const char *text) {
    b->refused++;
    b->refused_out++;
    mtaio__binding_tell(b, "nats.refused", 1, text);
}

bool mtaio__is_passing(natsStatus s) {
    return s == NATS_INSUFFICIENT_BUFFER || s == NATS_CONNECTION_DISCONNECTED || s == NATS_IO_ERROR ||
           s == NATS_TIMEOUT || s == NATS_STALE_CONNECTION || s == NATS_SSL_ERROR;
}

const mtaio_metadata *mtaio__load_metadata(const mtaio_message *m, const struct load *load) {
    return load->bytes.metadata ? load->bytes.metadata : mtaio_message_metadata(m);
}

bool mtaio__outgoing_may_be_sent(mtaio_nats_binding *b, const mtaio_message *m, const struct load *load,
                                 char *subject) {
    const char *lacks = NULL;
    if (load->result < 0)
        lacks = mtaio_error_text(load->result);
    else if (mtaio__subject_of_topic(b->prefix, mtaio_message_topic(m), subject) < 0)
        lacks = "the topic is no subject";
    else if (!may_be_sent(load->bytes.bytes, mtaio__load_metadata(m, load),
                          natsConnection_GetMaxPayload(b->nats->out.nc)))
        lacks = "the message is larger than the server takes, or its metadata cannot be headers";
    if (lacks) mtaio__outgoing_refuse(b, lacks);
    return !lacks;
}

/* Tries until it is sent or refused. false: the binding or the connection has ended before. */
static bool send_message(struct sending *sending, const mtaio_message *m, const struct load *load) {
    mtaio_nats_binding *b = sending->b;
    const mtaio_metadata *metadata = mtaio__load_metadata(m, load);
    char reply[REPLY_MAX];
    if (!mtaio__outgoing_may_be_sent(b, m, load, sending->subject)) return true;
    mtaio__reply_make(b->id, b->sent + 1, reply);
    while (!mtaio__outgoing_is_over(b)) {
        natsStatus s = publish(b, sending->subject, reply, &load->bytes, metadata);
        if (s == NATS_OK) {
            b->sent++;
            return true;
        }
        if (mtaio__failed(s) == MTAIO_ECLOSED) return false;
        if (!mtaio__is_passing(s)) {
            mtaio__outgoing_refuse(b, mtaio_nats_error());
            return true;
        }
        struct timespec moment = {.tv_nsec = 1000000}; /* until the client library has seen what happened */
        nanosleep(&moment, NULL);
        while (mtaio__nats_wait_up(b->nats, mtaio__now_ns() + IDLE_NS) == MTAIO_ETIMEDOUT &&
               !mtaio__outgoing_is_over(b))
            continue;
    }
    return false;
}

/* --- The thread -------------------------------------------------------------------------------- */

/* Peers compare it with what they have got: so the last messages can be missed, too. */
static void tell_number(struct sending *sending) {
    mtaio_nats_binding *b = sending->b;
    char reply[REPLY_MAX];
    if (b->sent == sending->told) return;
    mtaio__reply_make(b->id, b->sent, reply);
    mtaio__subject_join(b->prefix, SENT_TOPIC, sending->subject);
    if (natsConnection_PublishRequest(b->nats->out.nc, sending->subject, reply, NULL, 0) == NATS_OK)
        sending->told = b->sent;
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
    int sent = 0;
    mtaio__codec_encode(&b->codec, messages, n, loads);
    while (sent < n && send_message(sending, &messages[sent], &loads[sent])) sent++;
    b->unsendable += (uint64_t)(n - sent);
    mtaio__codec_clear(&b->codec, messages, n, loads);
    return sent < n ? MTAIO_ECLOSED : n;
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
    free(sending);
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
    struct sending *sending = calloc(1, sizeof *sending);
    if (!sending) return MTAIO_ENOMEM;
    sending->b = b;
    mtaio__binding_hold(b);
    b->has_sender = pthread_create(&b->sender, NULL, run, sending) == 0;
    if (b->has_sender) return 0;
    mtaio__binding_drop(b);
    free(sending);
    return MTAIO_ESYSTEM;
}
