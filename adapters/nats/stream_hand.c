/* stream_hand.c - the thread that hands over what a durable binding takes: to the channel, where receivers
 * hold it until they clear it, or to the emitter, until the emission is over. */
#include <stdlib.h>
#include <string.h>

#include "stream_inner.h"

#define WAIT_NS INT64_C(100000000) /* how long it takes to see that the binding ends */

struct hand {
    mtaio_nats_binding *b;
    int count;
    struct delivery *deliveries[AT_ONCE];
    mtaio_publication list[AT_ONCE]; /* of each */
};

/* --- As they are to be given ------------------------------------------------------------------- */

static void data_free(struct hand *h, mtaio_publication *p) {
    if (!p->release) return;
    mtaio__codec_begin(&h->b->codec);
    p->release((void *)(uintptr_t)p->data);
    mtaio__codec_end(&h->b->codec);
}

/* A copy of the metadata with the mark. ENOMEM. */
static int mark(mtaio_publication *p, uint64_t count) {
    mtaio_metadata *marked;
    const char *key, *value;
    char text[24];
    int r = mtaio_metadata_new(&marked);
    if (r < 0) return r;
    for (size_t i = 0; r >= 0 && mtaio_metadata_at(p->metadata, i, &key, &value) >= 0; i++)
        r = mtaio_metadata_set(marked, key, value);
    snprintf(text, sizeof text, "%llu", (unsigned long long)count);
    if (r >= 0) r = mtaio_metadata_set(marked, DELIVERY_KEY, text);
    if (r < 0) {
        mtaio_metadata_unref(marked);
        return r;
    }
    mtaio_metadata_unref(p->metadata);
    p->metadata = marked;
    return 0;
}

static int decode_one(struct hand *h, struct delivery *d, mtaio_publication *p) {
    *p = *MTAIO_PUBLICATION(.topic = d->topic, .data = d->data.data, .bytes = d->data.bytes,
                            .metadata = mtaio_metadata_ref(d->metadata), .origin = h->b);
    return mtaio__codec_decode(&h->b->codec, p);
}

/* Those that cannot be given leave the run, which keeps its order. */
static void prepare(struct hand *h) {
    int results[AT_ONCE] = {0}, kept = 0;
    if (h->b->codec.decode) mtaio__codec_begin(&h->b->codec);
    for (int i = 0; i < h->count; i++) results[i] = decode_one(h, h->deliveries[i], &h->list[i]);
    if (h->b->codec.decode) mtaio__codec_end(&h->b->codec);
    for (int i = 0; i < h->count; i++) {
        struct delivery *d = h->deliveries[i];
        mtaio_publication *p = &h->list[i];
        int r = results[i] >= 0 && d->count > 1 ? mark(p, d->count) : 0;
        if (results[i] >= 0 && r >= 0) {
            h->list[kept] = *p;
            h->deliveries[kept++] = d;
            continue;
        }
        mtaio_metadata_unref(p->metadata);
        if (r < 0) {
            data_free(h, p);
            mtaio__delivery_give_back(d, h->b->stream->how.again_ns);
        } else {
            mtaio__delivery_refuse(d, results[i]);
        }
    }
    h->count = kept;
}

/* --- The channel ------------------------------------------------------------------------------- */

static struct delivery *delivery_of(void *bytes) {
    return (struct delivery *)(void *)((char *)bytes - offsetof(struct delivery, bytes));
}

/* The last receiver has cleared it. */
static void release_bytes(void *bytes) {
    struct delivery *d = delivery_of(bytes);
    mtaio__delivery_acknowledge(d);
    mtaio__delivery_drop(d);
}

/* What came, or lies in it, stays as long as the delivery. */
static void release_nothing(void *data) { (void)data; }

/* The release that acknowledges. */
static int take_over(struct hand *h, int i) {
    struct delivery *d = h->deliveries[i];
    mtaio_publication *p = &h->list[i];
    if (!p->release && p->data == d->bytes) {
        mtaio__delivery_hold(d);
        p->release = release_bytes;
        return 0;
    }
    int r = mtaio__held_add(p->data, p->release ? p->release : release_nothing, d);
    if (r < 0) return r;
    p->release = mtaio__held_release;
    return 0;
}

/* It was not handed over after all. */
static void take_back(struct hand *h, int i) {
    struct delivery *d = h->deliveries[i];
    mtaio_publication *p = &h->list[i];
    if (p->release == release_bytes) {
        mtaio__delivery_drop(d);
        return;
    }
    mtaio__codec_begin(&h->b->codec);
    mtaio__held_forget(p->data, d);
    mtaio__codec_end(&h->b->codec);
}

static bool is_ending(struct inbox *in) {
    pthread_mutex_lock(&in->lock);
    bool ending = in->is_ending;
    pthread_mutex_unlock(&in->lock);
    return ending;
}

static void not_published(struct hand *h, int i, int error) {
    struct stream *st = h->b->stream;
    struct delivery *d = h->deliveries[i];
    take_back(h, i);
    if (error == MTAIO_ENAME || error == MTAIO_EINVAL)
        mtaio__delivery_refuse(d, error);
    else
        mtaio__delivery_give_back(d, is_ending(st->in) ? 0 : st->how.again_ns);
}

/* Waits for room, unless the binding ends. Of a closed channel nothing is taken any more: it is there for
 * others. */
static void publish(struct hand *h) {
    mtaio_nats_binding *b = h->b;
    struct inbox *in = b->stream->in;
    for (int at = 0; at < h->count;) {
        int r = mtaio_channel_publish_many(b->channel, &h->list[at], (size_t)(h->count - at), WAIT_NS);
        if (r > 0) {
            b->taken += (uint64_t)r;
            at += r;
        } else if (r != MTAIO_ETIMEDOUT || is_ending(in)) {
            if (r == MTAIO_ECLOSED) mtaio__stream_in_stop(b, "the channel is closed");
            not_published(h, at++, r);
        }
    }
}

static void give_channel(struct hand *h) {
    int kept = 0;
    for (int i = 0; i < h->count; i++) {
        int r = take_over(h, i);
        if (r < 0) {
            data_free(h, &h->list[i]);
            mtaio_metadata_unref(h->list[i].metadata);
            mtaio__delivery_give_back(h->deliveries[i], h->b->stream->how.again_ns);
            continue;
        }
        h->list[kept] = h->list[i];
        h->deliveries[kept++] = h->deliveries[i];
    }
    h->count = kept;
    publish(h);
    for (int i = 0; i < h->count; i++) mtaio_metadata_unref(h->list[i].metadata);
}

/* --- The emitter ------------------------------------------------------------------------------- */

static void emission_over(struct delivery *d, int result, int error) {
    mtaio_nats_binding *b = d->b;
    struct inbox *in = b->stream->in;
    mtaio__binding_hold(b);
    if (result == MTAIO_ECLOSED) mtaio__stream_in_stop(b, "the emitter is closed");
    if (result >= 0)
        mtaio__delivery_acknowledge(d);
    else if (result == MTAIO_ECLOSED || result == MTAIO_ENOMEM) /* it may not be the last that is tried */
        mtaio__delivery_give_back(d, b->stream->how.again_ns);
    else
        mtaio__delivery_fail(d, error);
    pthread_mutex_lock(&in->lock);
    if (--in->emissions == 0) pthread_cond_broadcast(&in->changed);
    pthread_mutex_unlock(&in->lock);
    mtaio__binding_drop(b);
}

static void done(int result, const mtaio_report *report, void *ctx) {
    emission_over(ctx, result, report && report->first_error < 0 ? report->first_error : result);
}

static void release_event(void *data) {
    mtaio__delivery_drop((struct delivery *)(void *)((char *)data - offsetof(struct delivery, event)));
}

/* 0: done is, or will be called. */
static int emit(struct delivery *d, mtaio_publication *p, mtaio_release release, void *data) {
    struct inbox *in = d->b->stream->in;
    mtaio_event *event = NULL;
    int r = mtaio_event_new(p->topic, data, release, &event); /* releases the data where it fails */
    if (r >= 0 && p->metadata) r = mtaio_event_set_metadata(event, p->metadata);
    if (r >= 0) {
        pthread_mutex_lock(&in->lock);
        in->emissions++;
        pthread_mutex_unlock(&in->lock);
        d->b->taken++;
        int begun = mtaio_emit_async(d->b->stream->how.emitter, event, MTAIO_ASYNC(.done = done, .ctx = d));
        if (begun < 0) emission_over(d, begun, begun);
    }
    mtaio_event_unref(event);
    return r;
}

static void give_emitter(struct hand *h) {
    for (int i = 0; i < h->count; i++) {
        struct delivery *d = h->deliveries[i];
        mtaio_publication *p = &h->list[i];
        mtaio__delivery_hold(d); /* of the event's data; and so that it is there after done */
        if (!p->release) mtaio__delivery_hold(d);
        d->event = (mtaio_nats_data){p->data, p->bytes};
        int r = p->release ? emit(d, p, p->release, (void *)(uintptr_t)p->data)
                           : emit(d, p, release_event, &d->event);
        if (r == MTAIO_ENAME)
            mtaio__delivery_refuse(d, r);
        else if (r < 0)
            mtaio__delivery_give_back(d, h->b->stream->how.again_ns);
        mtaio_metadata_unref(p->metadata);
        mtaio__delivery_drop(d);
    }
}

/* --- The thread -------------------------------------------------------------------------------- */

static void give_back_all(struct hand *h) {
    for (int i = 0; i < h->count; i++)
        mtaio__delivery_give_back(h->deliveries[i], h->b->stream->how.again_ns);
}

/* false: it ends. */
static bool take_some(struct hand *h, bool *ret_stopped) {
    struct inbox *in = h->b->stream->in;
    struct delivery *d;
    h->count = 0;
    pthread_mutex_lock(&in->lock);
    while (!in->queue.first && !in->is_ending) mtaio__wait_until(&in->changed, &in->lock, INT64_MAX);
    while (h->count < AT_ONCE && (d = mtaio__chain_take(&in->queue))) h->deliveries[h->count++] = d;
    *ret_stopped = in->is_stopped;
    pthread_mutex_unlock(&in->lock);
    return h->count > 0;
}

void *mtaio__stream_hand_run(void *binding) {
    mtaio_nats_binding *b = binding;
    mtaio_nats *nats = b->nats;
    struct hand *h = &(struct hand){.b = b};
    bool stopped;
    mtaio__nats_is_inside = true;
    while (take_some(h, &stopped)) {
        if (stopped) {
            give_back_all(h);
            continue;
        }
        prepare(h);
        if (b->stream->how.emitter)
            give_emitter(h);
        else
            give_channel(h);
    }
    mtaio__binding_drop(b);
    mtaio__nats_run_end(nats);
    return NULL;
}
