/* test_stream.c - see the header. */
#include "test_stream.h"

#include <nats/nats.h>

const char *const JETSTREAM[] = {"-js", NULL};

struct admin {
    natsConnection *nc;
    jsCtx *js;
};

static struct admin admin_begin(const char *url) {
    struct admin a;
    CHECK(natsConnection_ConnectTo(&a.nc, url) == NATS_OK &&
          natsConnection_JetStream(&a.js, a.nc, NULL) == NATS_OK);
    return a;
}

static void admin_end(struct admin *a) {
    jsCtx_Destroy(a->js);
    natsConnection_Destroy(a->nc);
}

static jsStreamState state_of(const char *url, const char *stream) {
    struct admin a = admin_begin(url);
    jsStreamInfo *info = NULL;
    jsStreamState state = {0};
    if (js_GetStreamInfo(&info, a.js, stream, NULL, NULL) == NATS_OK) state = info->State;
    jsStreamInfo_Destroy(info);
    admin_end(&a);
    return state;
}

uint64_t stream_count(const char *url, const char *stream) { return state_of(url, stream).Msgs; }
uint64_t stream_last(const char *url, const char *stream) { return state_of(url, stream).LastSeq; }

int64_t stream_time(const char *url, const char *stream, uint64_t sequence) {
    struct admin a = admin_begin(url);
    natsMsg *message = NULL;
    CHECK(js_GetMsg(&message, a.js, stream, sequence, NULL, NULL) == NATS_OK);
    int64_t time = natsMsg_GetTime(message);
    natsMsg_Destroy(message);
    admin_end(&a);
    return time;
}

void stream_delete(const char *url, const char *stream) {
    struct admin a = admin_begin(url);
    js_DeleteStream(a.js, stream, NULL, NULL);
    admin_end(&a);
}

void stream_purge(const char *url, const char *stream) {
    struct admin a = admin_begin(url);
    CHECK(js_PurgeStream(a.js, stream, NULL, NULL) == NATS_OK);
    admin_end(&a);
}

void stream_make(const char *url, const char *stream, const char *const *subjects, int64_t max_messages) {
    struct admin a = admin_begin(url);
    jsStreamConfig c;
    jsStreamConfig_Init(&c);
    c.Name = stream;
    c.Subjects = (const char **)(uintptr_t)subjects;
    while (subjects[c.SubjectsLen]) c.SubjectsLen++;
    if (max_messages) c.MaxMsgs = max_messages;
    c.Discard = js_DiscardNew;
    CHECK(js_AddStream(NULL, a.js, &c, NULL, NULL) == NATS_OK);
    admin_end(&a);
}

void consumer_make(const char *url, const char *stream, const char *consumer, const char *deliver_subject) {
    struct admin a = admin_begin(url);
    jsConsumerConfig c;
    jsConsumerConfig_Init(&c);
    c.Durable = consumer;
    c.DeliverSubject = deliver_subject;
    c.AckPolicy = js_AckExplicit;
    CHECK(js_AddConsumer(NULL, a.js, stream, &c, NULL, NULL) == NATS_OK);
    admin_end(&a);
}

void consumer_delete(const char *url, const char *stream, const char *consumer) {
    struct admin a = admin_begin(url);
    CHECK(js_DeleteConsumer(a.js, stream, consumer, NULL, NULL) == NATS_OK);
    admin_end(&a);
}

static uint64_t consumer_number(const char *url, const char *stream, const char *consumer, bool waiting) {
    struct admin a = admin_begin(url);
    jsConsumerInfo *info = NULL;
    CHECK(js_GetConsumerInfo(&info, a.js, stream, consumer, NULL, NULL) == NATS_OK);
    uint64_t number = waiting ? info->NumPending : (uint64_t)info->NumAckPending;
    jsConsumerInfo_Destroy(info);
    admin_end(&a);
    return number;
}

uint64_t consumer_open(const char *url, const char *stream, const char *consumer) {
    return consumer_number(url, stream, consumer, false);
}

uint64_t consumer_waiting(const char *url, const char *stream, const char *consumer) {
    return consumer_number(url, stream, consumer, true);
}
