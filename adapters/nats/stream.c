/* stream.c - the stream of a durable binding and its consumer: made, or checked. */
#include <stdlib.h>
#include <string.h>

#include "stream_inner.h"

enum { OPEN_DEFAULT = 1024, WINDOW_DEFAULT = 1024, MOST = 1 << 20 };
#define SECOND INT64_C(1000000000)

static int failed(natsStatus s) {
    return s == NATS_NO_RESPONDERS
               ? mtaio__failed_with("the server has no JetStream, or none for this account")
               : mtaio__failed(s);
}

/* --- Options ----------------------------------------------------------------------------------- */

/* Servers make directories and subjects of them. */
static bool is_plain(const char *name) {
    return !name || (*name && strlen(name) <= NAME_LENGTH_MAX && !strpbrk(name, ".*>/\\ \t\r\n"));
}

static bool is_in_range(const mtaio_nats_stream *s) {
    return s->max_messages >= 0 && s->max_bytes >= 0 && s->max_age_ns >= 0 && s->duplicates_ns >= 0 &&
           s->replicas >= 0 && s->replicas <= 5 && s->window <= MOST && s->max_open <= MOST &&
           s->ack_wait_ns >= 0 && s->again_ns >= 0 && s->start >= MTAIO_NATS_NEW &&
           s->start <= MTAIO_NATS_SEQUENCE && (s->start != MTAIO_NATS_SINCE || s->start_time_ns > 0) &&
           (s->start != MTAIO_NATS_SEQUENCE || s->start_sequence > 0);
}

static int check(const mtaio_nats_binding_options *o, char *subject) {
    const mtaio_nats_stream *s = o->durable;
    if (s->size != sizeof *s || !is_in_range(s) || (s->emitter && mtaio_emitter_is_closed(s->emitter)))
        return MTAIO_EINVAL;
    if (!is_plain(s->name) || !is_plain(s->consumer) || strlen(o->prefix) > NAME_LENGTH_MAX)
        return MTAIO_ENAME;
    if (!s->dead_topic) return 0;
    int r = mtaio_pattern_matches("*", s->dead_topic);
    return r < 0 ? r : mtaio__subject_of_topic(o->prefix, s->dead_topic, subject);
}

static char *copy(const char *text) { return text ? strdup(text) : NULL; }

static bool fill_in(struct stream *st, const mtaio_nats_binding_options *o) {
    const mtaio_nats_stream *s = o->durable;
    st->how = *s;
    mtaio_emitter_ref(s->emitter);
    st->name = strdup(s->name ? s->name : o->prefix);
    if (!st->name) return false;
    for (char *p = st->name; *p; p++)
        if (strchr("./\\>", *p)) *p = '_'; /* only of a prefix */
    st->consumer = copy(s->consumer);
    st->dead_topic = copy(s->dead_topic);
    st->how.name = st->name;
    st->how.consumer = st->consumer;
    st->how.dead_topic = st->dead_topic;
    if (s->window == 0) st->how.window = WINDOW_DEFAULT;
    if (s->max_open == 0) st->how.max_open = OPEN_DEFAULT;
    if (s->ack_wait_ns == 0) st->how.ack_wait_ns = 30 * SECOND;
    if (s->again_ns == 0) st->how.again_ns = SECOND;
    return !s->consumer == !st->consumer && !s->dead_topic == !st->dead_topic;
}

/* --- The stream -------------------------------------------------------------------------------- */

/* Does the stream's subject take all that the other one does? */
static bool covers(const char *all, const char *subject) {
    while (*all && *subject) {
        size_t a = strcspn(all, "."), b = strcspn(subject, ".");
        if (a == 1 && *all == '>') return true;
        bool any = a == 1 && *all == '*', deep = b == 1 && *subject == '>';
        if (deep || (!any && (a != b || memcmp(all, subject, a) != 0))) return false;
        all += a + (all[a] == '.');
        subject += b + (subject[b] == '.');
    }
    return !*all && !*subject;
}

static bool is_covered(const jsStreamConfig *c, const char *subject) {
    for (int i = 0; i < c->SubjectsLen; i++)
        if (covers(c->Subjects[i], subject)) return true;
    return false;
}

/* Of each pattern by itself: a stream need not have the other topics of the prefix. */
static bool covers_patterns(const jsStreamConfig *c, const char *prefix, const char *const *patterns) {
    char subject[SUBJECT_MAX];
    bool wider;
    for (; patterns && *patterns; patterns++) {
        const char *const one[] = {*patterns, NULL};
        if (mtaio__subject_of_patterns(prefix, one, subject, &wider) < 0 || !is_covered(c, subject))
            return false;
    }
    return true;
}

static int check_stream(const struct stream *st, const jsStreamConfig *c,
                        const mtaio_nats_binding_options *o) {
    char subject[SUBJECT_MAX], text[256];
    bool has_dead = !st->dead_topic || (mtaio__subject_of_topic(o->prefix, st->dead_topic, subject) >= 0 &&
                                        is_covered(c, subject));
    const char *lacks =
        !covers_patterns(c, o->prefix, o->send) || !covers_patterns(c, o->prefix, o->take) || !has_dead
            ? "does not have all the topics"
        : c->NoAck ? "does not acknowledge"
                   : NULL;
    if (!lacks) return 0;
    snprintf(text, sizeof text, "the stream %s is there, and %s", st->name, lacks);
    return mtaio__failed_with(text);
}

static natsStatus make_stream(struct stream *st, const char *prefix, jsErrCode *ret_code) {
    char subject[SUBJECT_MAX + 2];
    const char *subjects[] = {subject};
    const mtaio_nats_stream *how = &st->how;
    jsStreamConfig c;
    snprintf(subject, sizeof subject, "%s.>", prefix);
    jsStreamConfig_Init(&c);
    c.Name = st->name;
    c.Subjects = subjects;
    c.SubjectsLen = 1;
    if (how->max_messages) c.MaxMsgs = how->max_messages;
    if (how->max_bytes) c.MaxBytes = how->max_bytes;
    c.MaxAge = how->max_age_ns;
    c.Duplicates = how->duplicates_ns;
    c.Discard = how->refuses_when_full ? js_DiscardNew : js_DiscardOld;
    c.Storage = how->is_in_memory ? js_MemoryStorage : js_FileStorage;
    c.Replicas = how->replicas ? how->replicas : 1;
    return js_AddStream(NULL, st->js, &c, NULL, ret_code);
}

/* Another binding may make it at the same moment. */
static int have_stream(struct stream *st, const mtaio_nats_binding_options *o) {
    jsErrCode code = 0;
    natsStatus s = NATS_OK;
    for (int attempt = 0; attempt < 3; attempt++) {
        jsStreamInfo *info = NULL;
        s = js_GetStreamInfo(&info, st->js, st->name, NULL, &code);
        if (s == NATS_OK) {
            int r = check_stream(st, info->Config, o);
            jsStreamInfo_Destroy(info);
            return r;
        }
        if (s != NATS_NOT_FOUND && code != JSStreamNotFoundErr) break;
        s = make_stream(st, o->prefix, &code);
        if (s == NATS_OK) return 0;
        if (code != JSStreamNameExistErr) break;
    }
    return failed(s);
}

/* --- The consumer ------------------------------------------------------------------------------ */

/* libnats 3.4.1 writes 5 ns as ".5": times of which that is true begin at the whole second, and what comes
 * before the time itself is passed by. */
static int64_t sayable(int64_t time_ns) {
    int64_t fraction = time_ns % SECOND;
    return fraction < SECOND / 10 ? time_ns - fraction : time_ns;
}

static void set_start(jsConsumerConfig *c, const mtaio_nats_stream *how, uint64_t from) {
    static const jsDeliverPolicy policies[] = {
        [MTAIO_NATS_NEW] = js_DeliverNew,
        [MTAIO_NATS_ALL] = js_DeliverAll,
        [MTAIO_NATS_LAST] = js_DeliverLastPerSubject,
        [MTAIO_NATS_SINCE] = js_DeliverByStartTime,
        [MTAIO_NATS_SEQUENCE] = js_DeliverByStartSequence,
    };
    c->DeliverPolicy = from ? js_DeliverByStartSequence : policies[how->start];
    if (from)
        c->OptStartSeq = from;
    else if (how->start == MTAIO_NATS_SEQUENCE)
        c->OptStartSeq = how->start_sequence;
    else if (how->start == MTAIO_NATS_SINCE)
        c->OptStartTime = sayable(how->start_time_ns);
}

/* How often is ours to count: a message may have to be published as dead first. */
static void set_limits(jsConsumerConfig *c, const struct stream *st) {
    c->FilterSubject = st->filter;
    c->AckWait = st->how.ack_wait_ns;
    c->MaxAckPending = (int64_t)st->how.max_open;
    c->MaxDeliver = -1;
}

static natsStatus add_consumer(mtaio_nats_binding *b, uint64_t from, jsConsumerInfo **ret) {
    struct stream *st = b->stream;
    jsConsumerConfig c;
    jsConsumerConfig_Init(&c);
    c.AckPolicy = js_AckExplicit;
    set_limits(&c, st);
    set_start(&c, &st->how, from);
    if (st->how.consumer)
        c.Durable = st->consumer;
    else
        c.InactiveThreshold = 300 * SECOND; /* a program that dies does not delete it */
    return js_AddConsumer(ret, st->js, st->name, &c, NULL, NULL);
}

/* It is there: it must be of our kind, and gets our limits. */
static int adopt_consumer(struct stream *st, jsConsumerInfo *info) {
    jsConsumerConfig c = *info->Config;
    if ((c.DeliverSubject && *c.DeliverSubject) || c.AckPolicy != js_AckExplicit)
        return mtaio__failed_with(
            "the consumer is there, and of another kind: not pulled from, or not acknowledging");
    bool same = c.FilterSubject && strcmp(c.FilterSubject, st->filter) == 0 &&
                c.AckWait == st->how.ack_wait_ns && c.MaxAckPending == (int64_t)st->how.max_open &&
                c.MaxDeliver < 0;
    if (same) return 0;
    set_limits(&c, st);
    natsStatus s = js_UpdateConsumer(NULL, st->js, st->name, &c, NULL, NULL);
    return s == NATS_OK ? 0 : failed(s);
}

static int keep_name(struct stream *st, const char *name) {
    char *own = st->how.consumer ? NULL : strdup(name);
    if (st->how.consumer) return 0;
    if (!own) return MTAIO_ENOMEM;
    pthread_mutex_lock(&st->in->lock);
    char *old = st->consumer;
    st->consumer = own;
    pthread_mutex_unlock(&st->in->lock);
    free(old);
    return 0;
}

/* A stream that ends before `from` began anew. */
static int look_at_end(struct stream *st, uint64_t *from) {
    jsStreamInfo *info = NULL;
    natsStatus s = js_GetStreamInfo(&info, st->js, st->name, NULL, NULL);
    if (s != NATS_OK) return failed(s);
    if (info->State.LastSeq + 1 < *from) *from = 1;
    jsStreamInfo_Destroy(info);
    return 0;
}

/* Where a process died, a server (2.9.10) may give out the last message once more as if for the first time:
 * it steps back by one where it holds a message that is to come again and finds requests of nobody. */
static struct position position_of(const jsConsumerInfo *info) {
    uint64_t given = info->Delivered.Stream;
    return (struct position){given, given + (uint64_t)info->NumAckPending, 0};
}

int mtaio__stream_consumer(mtaio_nats_binding *b, uint64_t from, struct position *ret) {
    struct stream *st = b->stream;
    jsConsumerInfo *info = NULL;
    jsErrCode code = 0;
    int r = 0;
    bool is_new = false;
    natsStatus s = NATS_NOT_FOUND;
    if (from > 0 && (r = look_at_end(st, &from)) < 0) return r;
    if (st->consumer) s = js_GetConsumerInfo(&info, st->js, st->name, st->consumer, NULL, &code);
    if (s == NATS_OK) r = adopt_consumer(st, info);
    if (s == NATS_NOT_FOUND || code == JSConsumerNotFoundErr) {
        s = add_consumer(b, from, &info);
        is_new = true;
        if (s == NATS_OK) r = keep_name(st, info->Name);
    }
    if (s != NATS_OK) return failed(s);
    if (r >= 0) *ret = position_of(info);
    if (is_new && from == 0 && st->how.start == MTAIO_NATS_SINCE)
        ret->since_ns = (uint64_t)st->how.start_time_ns;
    jsConsumerInfo_Destroy(info);
    return r;
}

void mtaio__stream_forget_consumer(mtaio_nats_binding *b) {
    struct stream *st = b->stream;
    char subject[1024];
    if (st->how.consumer) return;
    pthread_mutex_lock(&st->in->lock);
    bool has = st->consumer != NULL;
    if (has) snprintf(subject, sizeof subject, "$JS.API.CONSUMER.DELETE.%s.%s", st->name, st->consumer);
    pthread_mutex_unlock(&st->in->lock);
    if (!has) return;
    natsConnection_PublishString(b->nats->in.nc, subject, ""); /* nobody waits for the answer */
}

/* --- Life -------------------------------------------------------------------------------------- */

void mtaio__stream_free(mtaio_nats *nats, struct stream *st) {
    if (!st) return;
    mtaio__stream_out_free(st->out);
    mtaio__stream_in_free(nats, st->in);
    jsCtx_Destroy(st->js);
    mtaio_emitter_unref(st->how.emitter);
    free(st->dead_topic);
    free(st->consumer);
    free(st->name);
    free(st);
}

void mtaio__stream_stats(const mtaio_nats_binding *b, mtaio_nats_stats *ret) {
    mtaio__stream_out_stats(b, ret);
    mtaio__stream_in_stats(b, ret);
}

static natsStatus make_context(mtaio_nats_binding *b) {
    jsOptions o;
    jsOptions_Init(&o);
    o.Wait = mtaio__to_ms(b->nats->timeout_ns);
    return natsConnection_JetStream(&b->stream->js, b->nats->out.nc, &o);
}

int mtaio__stream_begin(mtaio_nats_binding *b, const mtaio_nats_binding_options *options) {
    char subject[SUBJECT_MAX];
    int r = check(options, subject);
    if (r < 0) return r;
    b->stream = calloc(1, sizeof *b->stream);
    if (!b->stream || !fill_in(b->stream, options)) return MTAIO_ENOMEM;
    if (b->take) {
        r = mtaio__subject_of_patterns(b->prefix, (const char *const *)b->take, b->stream->filter,
                                       &b->filters);
        if (r < 0) return r;
    }
    natsStatus s = make_context(b);
    return s == NATS_OK ? have_stream(b->stream, options) : mtaio__failed(s);
}
