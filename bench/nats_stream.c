/* nats_stream.c - publishing to a stream until all is acknowledged, asynchronously: the client library by
 * itself, without and with message ids, and a durable binding, which has them always. All streams keep their
 * last 1,000 messages, in memory: the disk is nobody's here. */
#include <mtaio/nats.h>
#include <nats/nats.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench.h"
#include "nats_stream.h"

enum { RUN = 1000, KEPT = 1000 };

struct publishing {
    size_t bytes;
    char data[1024];

    natsConnection *nc;
    jsCtx *js;
    const char *subject;
    uint64_t next_id;
    bool has_ids;

    mtaio_nats *nats;
    mtaio_channel *channel;
    mtaio_nats_binding *binding;
};

static void nats_ok(natsStatus s) { bench_ok(s == NATS_OK ? 0 : -(int)s); }

static struct publishing *raw_open(const char *url, size_t bytes, bool has_ids) {
    struct publishing *p = bench_alloc(sizeof *p);
    const char *subjects[] = {has_ids ? "ids.>" : "plain.>"};
    jsStreamConfig c;
    p->bytes = bytes;
    p->has_ids = has_ids;
    p->subject = has_ids ? "ids.bench.topic" : "plain.bench.topic";
    nats_ok(natsConnection_ConnectTo(&p->nc, url));
    nats_ok(natsConnection_JetStream(&p->js, p->nc, NULL));
    jsStreamConfig_Init(&c);
    c.Name = has_ids ? "ids" : "plain";
    c.Subjects = subjects;
    c.SubjectsLen = 1;
    c.MaxMsgs = KEPT;
    c.Storage = js_MemoryStorage;
    nats_ok(js_AddStream(NULL, p->js, &c, NULL, NULL));
    return p;
}

static void raw_run(void *state, size_t times) {
    struct publishing *p = state;
    char id[32];
    jsPubOptions o;
    jsPubOptions_Init(&o);
    for (size_t i = 0; i < times * RUN; i++) {
        snprintf(id, sizeof id, "%llu", (unsigned long long)p->next_id++);
        if (p->has_ids) o.MsgId = id;
        nats_ok(js_PublishAsync(p->js, p->subject, p->data, (int)p->bytes, &o));
    }
    jsPubOptions_Init(&o);
    o.MaxWait = 60000;
    nats_ok(js_PublishAsyncComplete(p->js, &o));
}

static void raw_close(struct publishing *p) {
    js_DeleteStream(p->js, p->has_ids ? "ids" : "plain", NULL, NULL);
    jsCtx_Destroy(p->js);
    natsConnection_Destroy(p->nc);
    free(p);
}

static struct publishing *mtaio_open(const char *url, size_t bytes) {
    const char *const all[] = {"*", NULL};
    struct publishing *p = bench_alloc(sizeof *p);
    p->bytes = bytes;
    bench_ok(mtaio_channel_new(NULL, &p->channel));
    bench_ok(mtaio_nats_open(MTAIO_NATS_OPTIONS(.servers = url), &p->nats));
    bench_ok(mtaio_nats_bind(
        p->nats, p->channel,
        MTAIO_NATS_BINDING_OPTIONS(.prefix = "durable", .send = all,
                                   .durable = MTAIO_NATS_STREAM(.max_messages = KEPT, .is_in_memory = true)),
        &p->binding));
    return p;
}

static void mtaio_run(void *state, size_t times) {
    struct publishing *p = state;
    for (size_t i = 0; i < times * RUN; i++)
        bench_ok(mtaio_publish(p->channel, "bench.topic", p->data, p->bytes));
    bench_ok(mtaio_nats_flush(p->binding, -1));
}

static void mtaio_close(struct publishing *p) {
    mtaio_nats_close(p->nats, -1);
    mtaio_nats_binding_unref(p->binding);
    mtaio_nats_unref(p->nats);
    mtaio_channel_unref(p->channel);
    free(p);
}

static void stream_case(const char *name, const char *url, size_t bytes) {
    if (!bench_wanted(name)) return;
    bench_side sides[] = {{.who = "nats.c",
                           .variant = "",
                           .state = raw_open(url, bytes, false),
                           .run = raw_run,
                           .unit = RUN,
                           .outside = true},
                          {.who = "nats.c",
                           .variant = "ids",
                           .state = raw_open(url, bytes, true),
                           .run = raw_run,
                           .unit = RUN,
                           .outside = true},
                          {.who = "mtaio",
                           .variant = "",
                           .state = mtaio_open(url, bytes),
                           .run = mtaio_run,
                           .unit = RUN,
                           .outside = true}};
    bench_case(name, sides, 3);
    raw_close(sides[0].state);
    raw_close(sides[1].state);
    mtaio_close(sides[2].state);
}

void stream_cases(const char *url) {
    stream_case("nats durable publish/16", url, 16);
    stream_case("nats durable publish/1024", url, 1024);
}
