/* stream_out.c - the sending thread of a durable binding.
 *
 * What it takes out of the channel's buffer gets a number and a place in the window, and keeps it until the
 * server has acknowledged it. first <= next <= end: what is settled, sent, and to be sent. Where the
 * connection broke, or an acknowledgement does not come, or says "not now", `next` goes back to `first`: all
 * is sent again, in order, and the stream recognises by its id what it has. The first of these goes alone,
 * until it is acknowledged: so that what follows does not overtake it while the stream is only about to come
 * back. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "stream_inner.h"

#define IDLE_NS INT64_C(100000000) /* how long it takes to see that the binding ends */
#define MOMENT_NS INT64_C(5000000) /* ... that the connection is back */

struct outbox {
    mtaio_nats_binding *b;
    struct subscription acks;
    natsStatistics *statistics;
    char inbox[INBOX_MAX];
    pthread_mutex_t lock;
    pthread_cond_t changed; /* monotonic; the window moved on, or something is to be sent again */
    uint64_t window;

    /* By number, at number % window: of the sending thread, but is_settled has the lock. */
    mtaio_message *messages;
    struct load *loads;
    bool *is_settled;

    uint64_t first, next, end; /* the lock; next and end are written by the sending thread only */
    uint64_t cleared;          /* what lies before it is given back; <= first */
    uint64_t sent;             /* the most that next has been */
    uint64_t acknowledged, refused, awaited; /* by who flushes: the least of them; they wake the others */
    int64_t moved_at;                        /* when first moved on, or was sent */
    int64_t again_at;                        /* something was put off: when to send again; 0: nothing */
    bool is_trying;                          /* only one at a time */
    uint64_t reconnects;
    char subject[SUBJECT_MAX];
};

/* --- The window; all under the lock ------------------------------------------------------------ */

static void settle_locked(struct outbox *out, uint64_t number, bool stored) {
    if (number < out->first || number >= out->end || out->is_settled[number % out->window]) return;
    out->is_settled[number % out->window] = true;
    *(stored ? &out->acknowledged : &out->refused) += 1;
    const uint64_t half = out->window / 2, before = out->end - out->first;
    if (number == out->first) out->moved_at = mtaio__now_ns();
    while (out->first < out->end && out->is_settled[out->first % out->window]) out->first++;
    const uint64_t open = out->end - out->first;
    bool goes_on = open == 0 || out->is_trying || (before > half && open <= half);
    if (stored) out->is_trying = false;
    if (goes_on || out->acknowledged + out->refused >= out->awaited) pthread_cond_broadcast(&out->changed);
}

/* All that is not settled is to be sent again. */
static void go_back_locked(struct outbox *out) {
    out->next = out->first;
    out->again_at = 0;
    out->is_trying = true;
    out->moved_at = mtaio__now_ns();
}

static void put_off(struct outbox *out, uint64_t number, const char *text) {
    mtaio_nats_binding *b = out->b;
    pthread_mutex_lock(&out->lock);
    bool counts = number >= out->first && number < out->next && !out->is_settled[number % out->window];
    bool first = counts && out->again_at == 0;
    if (first) out->again_at = mtaio__now_ns() + b->nats->retry_ns;
    pthread_cond_broadcast(&out->changed);
    pthread_mutex_unlock(&out->lock);
    if (first) mtaio__binding_tell(b, "nats.error", 0, text);
}

/* --- Acknowledgements -------------------------------------------------------------------------- */

static void settle(struct outbox *out, uint64_t number, bool stored) {
    pthread_mutex_lock(&out->lock);
    settle_locked(out, number, stored);
    pthread_mutex_unlock(&out->lock);
}

static bool is_open(struct outbox *out, uint64_t number) {
    pthread_mutex_lock(&out->lock);
    bool open = number >= out->first && number < out->next && !out->is_settled[number % out->window];
    pthread_mutex_unlock(&out->lock);
    return open;
}

static void on_ack(natsSubscription *sub, natsMsg *message, void *ctx) {
    struct outbox *out = ctx;
    char text[256];
    uint64_t number;
    (void)sub;
    if (mtaio__numbered_read(natsMsg_GetSubject(message), strlen(out->inbox), &number)) {
        int r = mtaio__ack_read(message, text, sizeof text);
        if (r == 0) settle(out, number, true);
        if (r == 1) put_off(out, number, text);
        if (r == MTAIO_ESYSTEM && is_open(out, number)) {
            mtaio__outgoing_refuse(out->b, text, 1);
            settle(out, number, false);
        }
    }
    natsMsg_Destroy(message);
}

static int acks_start(struct outbox *out) {
    char subject[NUMBERED_MAX];
    int r = mtaio__inbox_make(out->inbox, subject);
    if (r < 0) return r;
    out->acks = (struct subscription){.b = out->b, .call = on_ack, .ctx = out};
    r = mtaio__subscribe(&out->acks, &out->b->nats->out, subject, NULL);
    if (r == 0) natsSubscription_SetPendingLimits(out->acks.sub, -1, -1); /* the window limits them */
    return r;
}

/* --- Sending ----------------------------------------------------------------------------------- */

static natsStatus publish(struct outbox *out, uint64_t number) {
    const struct load *load = &out->loads[number % out->window];
    const mtaio_message *m = &out->messages[number % out->window];
    char reply[NUMBERED_MAX], id[REPLY_MAX];
    natsMsg *message = NULL;
    mtaio__numbered_make(out->inbox, number, reply);
    mtaio__reply_make(out->b->id, number, 1, id);
    mtaio__subject_of_topic(out->b->prefix, mtaio_message_topic(m), out->subject); /* it was one before */
    natsStatus s = natsMsg_Create(&message, out->subject, reply, load->bytes.data, (int)load->bytes.bytes);
    if (s == NATS_OK) s = natsMsgHeader_Set(message, MESSAGE_ID, id);
    if (s == NATS_OK) s = mtaio__headers_set(message, mtaio__load_metadata(m, load));
    if (s == NATS_OK) s = natsConnection_PublishMsg(out->b->nats->out.nc, message);
    natsMsg_Destroy(message);
    return s;
}

/* The library may have connected again before anybody is told: nothing may be sent then before what was lost
 * with the old connection. */
static bool is_same_connection(struct outbox *out) {
    natsConnection *nc = out->b->nats->out.nc;
    uint64_t reconnects = 0;
    natsConnection_GetStats(nc, out->statistics);
    natsStatistics_GetCounts(out->statistics, NULL, NULL, NULL, NULL, &reconnects);
    if (reconnects == out->reconnects) return true;
    out->reconnects = reconnects;
    pthread_mutex_lock(&out->lock);
    go_back_locked(out);
    pthread_mutex_unlock(&out->lock);
    return false;
}

static void set_next(struct outbox *out, uint64_t next) {
    pthread_mutex_lock(&out->lock);
    if (next < out->next) out->next = next;
    pthread_mutex_unlock(&out->lock);
}

/* 0: sent, or refused; EAGAIN: not now; ECLOSED. */
static int send_one(struct outbox *out, uint64_t number) {
    natsStatus s = publish(out, number);
    int r = s == NATS_OK ? 0 : mtaio__failed(s);
    if (r == MTAIO_ECLOSED) return r;
    if (mtaio__is_passing(s) || s == NATS_NO_MEMORY) return MTAIO_EAGAIN;
    if (s != NATS_OK) {
        mtaio__outgoing_refuse(out->b, mtaio_nats_error(), 1);
        settle(out, number, false);
    }
    if (number >= out->sent) {
        out->sent = number + 1;
        out->b->sent += s == NATS_OK;
    }
    return 0;
}

/* Those numbers, which `next` has passed already: it goes back to what is not sent. */
static int send_run(struct outbox *out, uint64_t from, uint64_t to) {
    int r = 0;
    for (uint64_t i = from; i < to; i++) {
        if (!is_same_connection(out)) return 0;
        r = send_one(out, i);
        if (r == 0) continue;
        set_next(out, i);
        break;
    }
    return r;
}

/* --- Taking from the channel ------------------------------------------------------------------- */

/* Keys that mean something to the stream itself. */
static bool is_meant_for_stream(const mtaio_metadata *metadata) {
    const char *key, *value;
    for (size_t i = 0; mtaio_metadata_at(metadata, i, &key, &value) >= 0; i++)
        if (strncasecmp(key, "Nats-", 5) == 0) return true;
    return false;
}

static bool may_be_sent(struct outbox *out, const mtaio_message *m, const struct load *load) {
    mtaio_nats_binding *b = out->b;
    const mtaio_metadata *metadata = mtaio__load_metadata(m, load);
    const char *wrong = NULL;
    if (load->result < 0)
        wrong = mtaio_error_text(load->result);
    else if (mtaio__subject_of_topic(b->prefix, mtaio_message_topic(m), out->subject) < 0)
        wrong = "the topic is no subject";
    else if (!mtaio__may_be_sent(load->bytes.bytes, metadata, natsConnection_GetMaxPayload(b->nats->out.nc)))
        wrong = "the message is larger than the server takes, or its metadata cannot be headers";
    else if (is_meant_for_stream(metadata))
        wrong = "metadata that begins with Nats- is the server's";
    if (wrong) mtaio__outgoing_refuse(b, wrong, 1);
    return !wrong;
}

/* A run, into the window: how many; 0: nothing came; < 0: nothing will. */
static int take(struct outbox *out) {
    mtaio_nats_binding *b = out->b;
    uint64_t at = out->end % out->window, room = out->window - (out->end - out->cleared);
    if (room > out->window - at) room = out->window - at;
    if (room > AT_ONCE) room = AT_ONCE;
    int n = mtaio_subscriber_receive_many(b->outgoing, b->is_ending ? 0 : IDLE_NS, &out->messages[at], room);
    if (n < 0) return n == MTAIO_ETIMEDOUT || (n == MTAIO_EAGAIN && !b->is_ending) ? 0 : n;
    mtaio__codec_encode(&b->codec, &out->messages[at], n, &out->loads[at]);
    for (int i = 0; i < n; i++) out->is_settled[at + (uint64_t)i] = false; /* nobody looks beyond the end */
    pthread_mutex_lock(&out->lock);
    uint64_t from = out->end;
    out->end += (uint64_t)n;
    pthread_mutex_unlock(&out->lock);
    for (uint64_t i = from; i < out->end; i++)
        if (!may_be_sent(out, &out->messages[i % out->window], &out->loads[i % out->window]))
            settle(out, i, false);
    return n;
}

/* What is settled gives back what it held. */
static void clear_settled(struct outbox *out, uint64_t to) {
    while (out->cleared < to) {
        uint64_t at = out->cleared % out->window, n = to - out->cleared;
        if (n > out->window - at) n = out->window - at;
        mtaio__codec_clear(&out->b->codec, &out->messages[at], (int)n, &out->loads[at]);
        pthread_mutex_lock(&out->lock);
        out->cleared += n;
        pthread_mutex_unlock(&out->lock);
    }
}

/* --- The thread -------------------------------------------------------------------------------- */

static void wait_locked(struct outbox *out, int64_t for_ns) {
    int64_t until = mtaio__now_ns() + for_ns;
    mtaio__wait_until(&out->changed, &out->lock,
                      until < out->again_at || !out->again_at ? until : out->again_at);
}

enum step { SEND, TAKE, WAIT };

/* The next ones that are not settled. */
static uint64_t run_locked(struct outbox *out) {
    uint64_t to = out->next;
    const uint64_t most = out->is_trying ? 1 : AT_ONCE;
    while (to < out->end && to - out->next < most && !out->is_settled[to % out->window]) to++;
    if (out->next == out->first) out->moved_at = mtaio__now_ns();
    return to;
}

/* What comes next; ret_from: the first to be sent, of those before next; ret_first: what is settled up to. */
static enum step choose(struct outbox *out, uint64_t *ret_from, uint64_t *ret_first) {
    enum step step = WAIT;
    pthread_mutex_lock(&out->lock);
    int64_t now = mtaio__now_ns();
    bool is_silent = out->first < out->next && now - out->moved_at > out->b->nats->timeout_ns;
    if (is_silent || (out->again_at && now >= out->again_at)) go_back_locked(out);
    while (out->next < out->end && out->is_settled[out->next % out->window]) out->next++;
    if (out->next < out->first) out->next = out->first;
    if (out->again_at || (out->is_trying && out->next > out->first)) {
        wait_locked(out, MOMENT_NS);
    } else if (out->next < out->end) {
        step = SEND;
        *ret_from = out->next;
        out->next = run_locked(out);
    } else if (out->end - out->first < out->window) {
        step = TAKE;
    } else {
        wait_locked(out, IDLE_NS);
    }
    *ret_first = out->first;
    pthread_mutex_unlock(&out->lock);
    return step;
}

static void rest(void) {
    const struct timespec moment = {.tv_nsec = MOMENT_NS};
    nanosleep(&moment, NULL);
}

/* Waits a moment, where not all is. */
static bool is_settled(struct outbox *out) {
    pthread_mutex_lock(&out->lock);
    if (out->first < out->end) wait_locked(out, MOMENT_NS);
    bool all = out->first == out->end;
    pthread_mutex_unlock(&out->lock);
    return all;
}

/* < 0: there will be nothing to do any more. */
static int work(struct outbox *out) {
    uint64_t from = 0, first;
    if (natsConnection_Status(out->b->nats->out.nc) != NATS_CONN_STATUS_CONNECTED) {
        if (natsConnection_IsClosed(out->b->nats->out.nc)) return MTAIO_ECLOSED;
        rest();
        return 0;
    }
    is_same_connection(out);
    enum step step = choose(out, &from, &first);
    if (first - out->cleared >= AT_ONCE || step != SEND) clear_settled(out, first);
    if (step == WAIT) return 0;
    int r = step == SEND ? send_run(out, from, out->next) : take(out);
    if (r == MTAIO_EAGAIN && step == SEND) rest();
    if (step == SEND) return r == MTAIO_ECLOSED ? r : 0;
    return r < 0 && !is_settled(out) ? 0 : r; /* it is over only when all is acknowledged */
}

static void *run(void *arg) {
    struct outbox *out = arg;
    mtaio_nats_binding *b = out->b;
    while (!mtaio__outgoing_is_over(b) && work(out) >= 0) continue;
    pthread_mutex_lock(&out->lock);
    for (uint64_t i = out->first; i < out->end; i++) b->unsendable += !out->is_settled[i % out->window];
    out->first = out->next = out->end; /* what comes now is too late */
    pthread_cond_broadcast(&out->changed);
    pthread_mutex_unlock(&out->lock);
    clear_settled(out, out->end);
    mtaio__unsubscribe(&out->acks);
    mtaio__binding_drop(b);
    return NULL;
}

int mtaio__stream_flush(mtaio_nats_binding *b, uint64_t wanted, int64_t deadline_ns) {
    struct outbox *out = b->stream->out;
    int r = 0;
    if (!out) return 0;
    pthread_mutex_lock(&out->lock);
    while (r == 0 && out->acknowledged + out->refused < wanted) {
        int64_t now = mtaio__now_ns(), until = now + IDLE_NS;
        if (b->is_ending)
            r = MTAIO_ECLOSED;
        else if (now >= deadline_ns)
            r = MTAIO_ETIMEDOUT;
        else {
            if (wanted < out->awaited) out->awaited = wanted;
            mtaio__wait_until(&out->changed, &out->lock, until < deadline_ns ? until : deadline_ns);
            out->awaited = UINT64_MAX; /* who still waits says so again */
        }
    }
    pthread_mutex_unlock(&out->lock);
    return r;
}

void mtaio__stream_out_stats(const mtaio_nats_binding *b, mtaio_nats_stats *ret) {
    struct outbox *out = b->stream->out;
    if (!out) return;
    pthread_mutex_lock(&out->lock);
    ret->acknowledged = out->acknowledged;
    ret->unacknowledged = out->end - out->first;
    pthread_mutex_unlock(&out->lock);
}

/* --- Life -------------------------------------------------------------------------------------- */

void mtaio__stream_out_end(mtaio_nats_binding *b) {
    struct outbox *out = b->stream->out;
    if (out) mtaio__unsubscribe(&out->acks);
}

void mtaio__stream_out_free(struct outbox *out) {
    if (!out) return;
    mtaio__subscription_free(&out->acks);
    natsStatistics_Destroy(out->statistics);
    pthread_cond_destroy(&out->changed);
    pthread_mutex_destroy(&out->lock);
    free(out->is_settled);
    free(out->loads);
    free(out->messages);
    free(out);
}

static int outbox_new(mtaio_nats_binding *b) {
    struct outbox *out = calloc(1, sizeof *out);
    if (!out) return MTAIO_ENOMEM;
    b->stream->out = out;
    out->b = b;
    out->window = b->stream->how.window;
    out->awaited = UINT64_MAX;
    pthread_mutex_init(&out->lock, NULL);
    mtaio__cond_init(&out->changed);
    out->messages = calloc(out->window, sizeof *out->messages);
    out->loads = calloc(out->window, sizeof *out->loads);
    out->is_settled = calloc(out->window, sizeof *out->is_settled);
    if (!out->messages || !out->loads || !out->is_settled) return MTAIO_ENOMEM;
    if (natsStatistics_Create(&out->statistics) != NATS_OK) return MTAIO_ENOMEM;
    if (natsConnection_GetStats(b->nats->out.nc, out->statistics) == NATS_OK)
        natsStatistics_GetCounts(out->statistics, NULL, NULL, NULL, NULL, &out->reconnects);
    return 0;
}

int mtaio__stream_out_start(mtaio_nats_binding *b, const mtaio_nats_binding_options *options) {
    int r = outbox_new(b);
    if (r >= 0) r = acks_start(b->stream->out);
    if (r >= 0) r = mtaio__outgoing_subscribe(b, options);
    if (r < 0) return r;
    mtaio__binding_hold(b);
    b->has_sender = pthread_create(&b->sender, NULL, run, b->stream->out) == 0;
    if (b->has_sender) return 0;
    mtaio__binding_drop(b);
    return MTAIO_ESYSTEM;
}
