/* stream_in.c - what comes from a stream: the keeper, a thread that asks for messages, sorts what comes into
 * the queue, and tells the server of those that are open, however long handlers take. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "stream_inner.h"

#define SECOND INT64_C(1000000000)
#define TICK_NS (SECOND / 10)
#define ASK_NS (30 * SECOND) /* how long a request stands */

/* --- Asking ------------------------------------------------------------------------------------ */

/* Not for every single message, but always where nothing is asked for. */
static size_t to_ask_locked(const struct inbox *in, size_t most) {
    size_t used = in->open + in->asked, room = used < most ? most - used : 0;
    bool waits = in->asked > 0 && room < (most + 3) / 4;
    return in->is_ready && !in->is_ending && !in->is_stopped && !waits ? room : 0;
}

void mtaio__inbox_ask(mtaio_nats_binding *b) {
    struct stream *st = b->stream;
    struct inbox *in = st->in;
    char subject[1024], reply[NUMBERED_MAX], text[96];
    pthread_mutex_lock(&in->lock);
    size_t n = to_ask_locked(in, st->how.max_open);
    in->asked += n;
    if (n > 0) in->asked_until = mtaio__now_ns() + ASK_NS + 2 * SECOND;
    uint64_t number = n > 0 ? ++in->requests : 0;
    if (n > 0) snprintf(subject, sizeof subject, "$JS.API.CONSUMER.MSG.NEXT.%s.%s", st->name, st->consumer);
    pthread_mutex_unlock(&in->lock);
    if (n == 0) return;
    mtaio__numbered_make(in->subject, number, reply);
    int length = snprintf(text, sizeof text, "{\"batch\":%zu,\"expires\":%" PRId64 "}", n, ASK_NS);
    if (natsConnection_PublishRequest(b->nats->in.nc, subject, reply, text, length) == NATS_OK) return;
    pthread_mutex_lock(&in->lock);
    in->asked = 0; /* the connection is gone, and all requests with it */
    pthread_mutex_unlock(&in->lock);
}

/* Requests are over, of which `left` messages did not come; < 0: all. */
static void asked_less(struct inbox *in, int64_t left) {
    pthread_mutex_lock(&in->lock);
    in->asked = left < 0 || (size_t)left > in->asked ? 0 : in->asked - (size_t)left;
    pthread_mutex_unlock(&in->lock);
}

/* --- What comes -------------------------------------------------------------------------------- */

static void refuse(mtaio_nats_binding *b, const char *text) {
    b->refused++;
    mtaio__binding_tell(b, "nats.refused", 1, text);
}

/* What this binding has published is on its channel already; an emitter has not had it. */
static bool is_own(mtaio_nats_binding *b, natsMsg *message) {
    const char *text;
    struct numbers numbers;
    if (b->stream->how.emitter) return false;
    if (natsMsgHeader_Get(message, MESSAGE_ID, &text) != NATS_OK || !text) return false;
    return mtaio__reply_read(text, &numbers) && numbers.id == b->id;
}

static bool is_wanted(mtaio_nats_binding *b, natsMsg *message, const char *topic) {
    const char *dead = b->stream->dead_topic;
    if (strcmp(topic, SENT_TOPIC) == 0 || strcmp(topic, PEERS_TOPIC) == 0 ||
        (dead && strcmp(topic, dead) == 0) || is_own(b, message))
        return false;
    return mtaio__is_no_topic(topic) || !b->filters ||
           mtaio__topic_is_of(topic, (const char *const *)b->take);
}

/* Into the queue. ENOMEM, EINVAL: nothing of it is kept. */
static int keep(mtaio_nats_binding *b, natsMsg *message, const struct given *given, uint64_t count) {
    struct stream *st = b->stream;
    struct delivery *d = mtaio__delivery_new(b, message, given);
    if (!d) return MTAIO_ENOMEM;
    int r = st->how.emitter && !d->topic ? MTAIO_EINVAL : mtaio__headers_get(message, true, &d->metadata);
    if (r < 0) {
        mtaio__delivery_drop(d);
        return r;
    }
    d->count = count;
    bool is_dead = st->how.max_deliveries > 0 && count > st->how.max_deliveries;
    mtaio__open_add(d, is_dead ? &st->in->dead : &st->in->queue);
    return 0;
}

static void arrive(mtaio_nats_binding *b, natsMsg *message, const struct given *given) {
    struct inbox *in = b->stream->in;
    const char *reply = natsMsg_GetReply(message), *subject = natsMsg_GetSubject(message);
    const char *topic = mtaio__topic_of_subject(subject, b->prefix_length);
    uint64_t count = 0;
    enum known known = mtaio__open_find(in, given, &count);
    if (known == IS_OPEN) return;
    if (known == IS_DONE || given->stored_ns < in->position.since_ns ||
        (topic && !is_wanted(b, message, topic))) {
        mtaio__open_done(in, given);
        mtaio__stream_answer(b, reply, "+ACK");
        return;
    }
    int r = topic ? keep(b, message, given, count) : MTAIO_EINVAL;
    if (r == MTAIO_ENOMEM) { /* as if it had failed */
        mtaio__open_failed(in, given);
        mtaio__stream_give_back(b, reply, b->stream->how.again_ns);
    } else if (r < 0) {
        refuse(b, "no topic, or headers that cannot be metadata");
        mtaio__open_done(in, given);
        mtaio__stream_answer(b, reply, "+TERM");
    }
}

/* The server has no such consumer, or nobody who answers for it at the moment. */
static void consumer_is_away(struct inbox *in, int64_t after_ns) {
    asked_less(in, -1);
    pthread_mutex_lock(&in->lock);
    in->is_ready = false;
    in->check_at = mtaio__now_ns() + after_ns;
    pthread_mutex_unlock(&in->lock);
}

static void sort_out(mtaio_nats_binding *b, natsMsg *message) {
    struct inbox *in = b->stream->in;
    struct given given;
    int64_t left;
    if (mtaio__given_read(natsMsg_GetReply(message), &given)) {
        arrive(b, message, &given);
        return;
    }
    int status = mtaio__status_read(message, &left);
    if (status == 404 || status == 408)
        asked_less(in, left);
    else if (status == 409 || status == 503)
        consumer_is_away(in, b->nats->retry_ns);
    else
        refuse(b, "no delivery of a stream"); /* of somebody who has learnt of our inbox */
}

/* --- The consumer ------------------------------------------------------------------------------ */

/* Where to go on with a new consumer, so that nothing is passed over that is not done. */
static uint64_t resume_at(struct inbox *in) {
    pthread_mutex_lock(&in->lock);
    uint64_t at = in->highest.sequence > in->position.given ? in->highest.sequence : in->position.given;
    at++;
    if (in->failing > 0 && in->failing_from < at) at = in->failing_from;
    for (struct delivery *d = in->oldest; d; d = d->next)
        if (d->given.sequence < at) at = d->given.sequence;
    pthread_mutex_unlock(&in->lock);
    return at;
}

static int find_consumer(mtaio_nats_binding *b, uint64_t from) {
    struct inbox *in = b->stream->in;
    struct position position;
    int r = mtaio__stream_consumer(b, from, &position);
    if (r < 0) return r;
    pthread_mutex_lock(&in->lock);
    if (from == 0) in->position = position;
    in->is_ready = true;
    pthread_mutex_unlock(&in->lock);
    return 0;
}

/* Requests do not outlive a connection, ephemeral consumers perhaps not the server. */
static void look_after_connection(mtaio_nats_binding *b, int64_t now) {
    struct inbox *in = b->stream->in;
    natsConnection *nc = b->nats->in.nc;
    uint64_t reconnects = 0;
    if (natsConnection_Status(nc) != NATS_CONN_STATUS_CONNECTED) return;
    if (natsConnection_GetStats(nc, in->statistics) == NATS_OK)
        natsStatistics_GetCounts(in->statistics, NULL, NULL, NULL, NULL, &reconnects);
    if (reconnects != in->reconnects) {
        in->reconnects = reconnects;
        consumer_is_away(in, 0);
    }
    if (in->is_ready || now < in->check_at) return;
    int r = find_consumer(b, resume_at(in));
    in->check_at = mtaio__now_ns() + (r == MTAIO_ESYSTEM ? SECOND : b->nats->retry_ns);
    if (r == MTAIO_ESYSTEM || r == MTAIO_ENOMEM) mtaio__binding_tell(b, "nats.error", 0, mtaio_nats_error());
}

/* --- The dead ---------------------------------------------------------------------------------- */

static natsStatus set_header(natsMsg *message, const char *key, const char *value) {
    char text[512];
    mtaio__copy_line(text, sizeof text, value);
    return natsMsgHeader_Set(message, key, text);
}

/* The same id for the same message of the same consumer: it may come here again before the server has been
 * told. */
static natsStatus describe(natsMsg *message, const struct delivery *d) {
    const struct stream *st = d->b->stream;
    char text[640], words[128];
    natsStatus s = mtaio__headers_set(message, d->metadata);
    snprintf(text, sizeof text, "dead.%s.%s.%" PRIu64 ".%" PRIu64, st->name, st->consumer, d->given.sequence,
             d->given.stored_ns);
    if (s == NATS_OK) s = set_header(message, MESSAGE_ID, text);
    if (s == NATS_OK) s = set_header(message, DEAD_KEY "topic", d->topic ? d->topic : "");
    snprintf(text, sizeof text, "%" PRIu64, d->count);
    if (s == NATS_OK) s = set_header(message, DEAD_KEY "deliveries", text);
    if (s == NATS_OK)
        s = set_header(message, DEAD_KEY "error", mtaio__delivery_error(d, words, sizeof words));
    return s;
}

static natsStatus publish_dead(const struct delivery *d) {
    mtaio_nats_binding *b = d->b;
    char subject[SUBJECT_MAX];
    natsMsg *message = NULL;
    jsPubOptions o;
    jsPubOptions_Init(&o);
    o.MaxWait = mtaio__to_ms(b->nats->timeout_ns < SECOND ? b->nats->timeout_ns : SECOND);
    mtaio__subject_of_topic(b->prefix, b->stream->dead_topic, subject);
    natsStatus s = natsMsg_Create(&message, subject, NULL, d->data.data, (int)d->data.bytes);
    if (s == NATS_OK) s = describe(message, d);
    if (s == NATS_OK) s = js_PublishMsg(NULL, b->stream->js, message, &o, NULL);
    natsMsg_Destroy(message);
    return s;
}

/* Until it is stored it stays open: the server keeps it for us. */
static void bury_all(mtaio_nats_binding *b, int64_t now) {
    struct inbox *in = b->stream->in;
    while (now >= in->bury_at) {
        pthread_mutex_lock(&in->lock);
        struct delivery *d = in->is_ending ? NULL : mtaio__chain_take(&in->dead);
        pthread_mutex_unlock(&in->lock);
        if (!d) return;
        natsStatus s = b->stream->dead_topic ? publish_dead(d) : NATS_OK;
        if (s == NATS_OK || s == NATS_MAX_PAYLOAD) {
            if (s != NATS_OK)
                mtaio__binding_tell(b, "nats.error", 0, "a dead message is too large to be kept");
            mtaio__delivery_bury(d);
            continue;
        }
        mtaio__failed(s);
        mtaio__binding_tell(b, "nats.error", 0, mtaio_nats_error());
        pthread_mutex_lock(&in->lock);
        mtaio__chain_add(&in->dead, d);
        pthread_mutex_unlock(&in->lock);
        in->bury_at = mtaio__now_ns() + SECOND;
    }
}

/* --- The keeper -------------------------------------------------------------------------------- */

static bool is_ending(struct inbox *in) {
    pthread_mutex_lock(&in->lock);
    bool ending = in->is_ending;
    pthread_mutex_unlock(&in->lock);
    return ending;
}

/* What is open is still to be looked after, where nothing more is taken. */
static void rest(struct inbox *in) {
    pthread_mutex_lock(&in->lock);
    if (!in->is_ending) mtaio__wait_until(&in->changed, &in->lock, mtaio__now_ns() + TICK_NS);
    pthread_mutex_unlock(&in->lock);
}

static void tick(mtaio_nats_binding *b, int64_t now) {
    struct inbox *in = b->stream->in;
    look_after_connection(b, now);
    pthread_mutex_lock(&in->lock);
    if (now >= in->asked_until) in->asked = 0;
    pthread_mutex_unlock(&in->lock);
    mtaio__open_renew(b, now);
    bury_all(b, now);
    mtaio__inbox_ask(b);
}

static void *run(void *arg) {
    mtaio_nats_binding *b = arg;
    mtaio_nats *nats = b->nats;
    struct inbox *in = b->stream->in;
    int64_t tick_at = 0;
    mtaio__nats_is_inside = true;
    while (!is_ending(in)) {
        natsMsg *message = NULL;
        int64_t now = mtaio__now_ns();
        if (now >= tick_at) {
            tick(b, now);
            tick_at = mtaio__now_ns() + TICK_NS;
        }
        natsStatus s = natsSubscription_NextMsg(&message, in->sub, mtaio__to_ms(TICK_NS));
        if (s == NATS_OK) sort_out(b, message);
        natsMsg_Destroy(message);
        if (s == NATS_NO_RESPONDERS) consumer_is_away(in, nats->retry_ns);
        if (s == NATS_CONNECTION_CLOSED) break;
        if (s == NATS_INVALID_SUBSCRIPTION) rest(in);
    }
    pthread_mutex_lock(&in->lock);
    natsSubscription *sub = in->sub;
    in->sub = NULL;
    pthread_mutex_unlock(&in->lock);
    mtaio__retire(nats, sub);
    mtaio__binding_drop(b);
    mtaio__nats_run_end(nats);
    return NULL;
}

/* --- Life -------------------------------------------------------------------------------------- */

void mtaio__stream_in_free(mtaio_nats *nats, struct inbox *in) {
    if (!in) return;
    mtaio__retire(nats, in->sub);
    natsStatistics_Destroy(in->statistics);
    pthread_cond_destroy(&in->changed);
    pthread_mutex_destroy(&in->lock);
    free(in->done);
    free(in);
}

static int inbox_new(mtaio_nats_binding *b) {
    struct inbox *in = calloc(1, sizeof *in);
    if (!in) return MTAIO_ENOMEM;
    b->stream->in = in;
    pthread_mutex_init(&in->lock, NULL);
    mtaio__cond_init(&in->changed);
    mtaio__chain_init(&in->queue);
    mtaio__chain_init(&in->dead);
    in->done = calloc(DONE, sizeof *in->done);
    if (!in->done || natsStatistics_Create(&in->statistics) != NATS_OK) return MTAIO_ENOMEM;
    if (natsConnection_GetStats(b->nats->in.nc, in->statistics) == NATS_OK)
        natsStatistics_GetCounts(in->statistics, NULL, NULL, NULL, NULL, &in->reconnects);
    return 0;
}

static int subscribe(mtaio_nats_binding *b) {
    struct inbox *in = b->stream->in;
    char subject[NUMBERED_MAX];
    int r = mtaio__inbox_make(in->subject, subject);
    if (r < 0) return r;
    natsStatus s = natsConnection_SubscribeSync(&in->sub, b->nats->in.nc, subject);
    if (s != NATS_OK) return mtaio__failed(s);
    natsSubscription_SetPendingLimits(in->sub, -1, -1); /* what is asked for limits them */
    return 0;
}

static bool start_thread(mtaio_nats_binding *b, void *(*call)(void *)) {
    pthread_t thread;
    mtaio__binding_hold(b);
    mtaio__nats_run_begin(b->nats);
    if (pthread_create(&thread, NULL, call, b) == 0) {
        pthread_detach(thread);
        return true;
    }
    mtaio__nats_run_end(b->nats);
    mtaio__binding_drop(b);
    return false;
}

int mtaio__stream_in_start(mtaio_nats_binding *b) {
    int r = inbox_new(b);
    if (r >= 0) r = subscribe(b);
    if (r >= 0) r = find_consumer(b, 0);
    if (r < 0) return r;
    return start_thread(b, mtaio__stream_hand_run) && start_thread(b, run) ? 0 : MTAIO_ESYSTEM;
}

void mtaio__stream_in_stop(mtaio_nats_binding *b, const char *text) {
    struct inbox *in = b->stream->in;
    pthread_mutex_lock(&in->lock);
    bool first = !in->is_stopped;
    in->is_stopped = true;
    if (in->sub) natsSubscription_Unsubscribe(in->sub); /* our requests end with it */
    pthread_mutex_unlock(&in->lock);
    if (first) mtaio__binding_tell(b, "nats.error", 0, text);
}

static void take_nothing(mtaio_nats_binding *b) {
    struct inbox *in = b->stream->in;
    struct delivery *d;
    pthread_mutex_lock(&in->lock);
    in->is_ending = true;
    struct chain queue = in->queue;
    mtaio__chain_init(&in->queue);
    if (in->sub) natsSubscription_Unsubscribe(in->sub); /* wakes the keeper */
    pthread_cond_broadcast(&in->changed);
    pthread_mutex_unlock(&in->lock);
    while ((d = mtaio__chain_take(&queue))) mtaio__delivery_give_back(d, 0);
}

/* A handler that ends the binding is not waited for. */
static int wait_for_emissions(mtaio_nats_binding *b, int64_t deadline_ns) {
    struct inbox *in = b->stream->in;
    int64_t most = mtaio__nats_is_inside ? 0 : mtaio__deadline_of(b->nats->timeout_ns);
    if (deadline_ns > most) deadline_ns = most;
    pthread_mutex_lock(&in->lock);
    while (in->emissions > 0 && mtaio__now_ns() < deadline_ns)
        mtaio__wait_until(&in->changed, &in->lock, deadline_ns);
    bool left = in->emissions > 0;
    pthread_mutex_unlock(&in->lock);
    return left ? MTAIO_ETIMEDOUT : 0;
}

int mtaio__stream_in_end(mtaio_nats_binding *b, int64_t deadline_ns) {
    if (!b->stream->in) return 0;
    take_nothing(b);
    int r = wait_for_emissions(b, deadline_ns);
    int64_t left_ns = deadline_ns == INT64_MAX ? b->nats->timeout_ns : deadline_ns - mtaio__now_ns();
    mtaio__stream_forget_consumer(b);
    if (left_ns > 0 && natsConnection_Status(b->nats->in.nc) == NATS_CONN_STATUS_CONNECTED)
        natsConnection_FlushTimeout(b->nats->in.nc, mtaio__to_ms(left_ns)); /* acknowledgements */
    return r;
}

void mtaio__stream_in_stats(const mtaio_nats_binding *b, mtaio_nats_stats *ret) {
    struct inbox *in = b->stream->in;
    if (!in) return;
    pthread_mutex_lock(&in->lock);
    ret->open = in->open;
    ret->redelivered = in->redelivered;
    ret->dead = in->dead_count;
    pthread_mutex_unlock(&in->lock);
}
