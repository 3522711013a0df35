/* binding.c - the life of a binding: it begins with what it takes, and ends with what it has to send. */
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "nats_inner.h"

void mtaio__binding_hold(mtaio_nats_binding *b) { atomic_fetch_add(&b->holds, 1); }

static void free_patterns(char **patterns) {
    for (char **p = patterns; p && *p; p++) free(*p);
    free(patterns);
}

void mtaio__binding_drop(mtaio_nats_binding *b) {
    if (atomic_fetch_sub(&b->holds, 1) != 1) return;
    mtaio__presence_free(b);
    mtaio__incoming_free(b);
    mtaio_subscriber_unref(b->outgoing);
    mtaio_channel_unref(b->channel);
    mtaio__stream_free(b->nats, b->stream);
    mtaio__nats_drop(b->nats);
    mtaio__codec_destroy(&b->codec);
    free_patterns(b->take);
    free(b->prefix);
    free(b);
}

void mtaio__binding_tell(mtaio_nats_binding *b, const char *name, uint64_t count, const char *text) {
    mtaio__nats_tell(b->nats, name,
                     &(mtaio_nats_state){.server = "", .prefix = b->prefix, .text = text, .count = count});
}

/* --- Beginning --------------------------------------------------------------------------------- */

/* 0, 1: there are none; EPATTERN. */
static int check_patterns(const char *const *patterns) {
    if (!patterns || !patterns[0]) return 1;
    for (; *patterns; patterns++) {
        int r = mtaio_pattern_matches(*patterns, "a");
        if (r < 0) return r;
    }
    return 0;
}

static char **copy_patterns(const char *const *patterns) {
    size_t count = 0;
    while (patterns[count]) count++;
    char **copy = calloc(count + 1, sizeof *copy);
    for (size_t i = 0; copy && i < count; i++) {
        copy[i] = strdup(patterns[i]);
        if (copy[i]) continue;
        free_patterns(copy);
        return NULL;
    }
    return copy;
}

uint64_t mtaio__random(void) {
    uint64_t n = 0;
    if (getrandom(&n, sizeof n, 0) != sizeof n || n == 0) n = (uint64_t)mtaio__now_ns() | 1;
    return n;
}

static mtaio_nats_binding *binding_new(mtaio_nats *nats, mtaio_channel *ch,
                                       const mtaio_nats_binding_options *o) {
    mtaio_nats_binding *b = calloc(1, sizeof *b);
    if (!b) return NULL;
    b->refs = b->holds = 1;
    b->nats = nats;
    mtaio__nats_hold(nats);
    b->channel = mtaio_channel_ref(ch);
    b->id = mtaio__random();
    b->drain_until = INT64_MAX;
    b->prefix = strdup(o->prefix);
    b->prefix_length = strlen(o->prefix);
    bool takes = o->take && o->take[0];
    if (takes) b->take = copy_patterns(o->take);
    if (b->prefix && (b->take || !takes)) {
        if (o->codec) b->codec = *o->codec;
        b->takes_all = takes && mtaio__patterns_take_all(o->take);
        return b;
    }
    mtaio__binding_drop(b);
    return NULL;
}

/* ECLOSED: the connection was closed meanwhile. */
static int binding_list(mtaio_nats_binding *b) {
    mtaio_nats *nats = b->nats;
    pthread_mutex_lock(&nats->lock);
    bool refused = nats->is_closing;
    if (!refused) {
        b->next = nats->bindings;
        if (b->next) b->next->prev = b;
        nats->bindings = b;
        b->is_listed = true;
    }
    pthread_mutex_unlock(&nats->lock);
    return refused ? MTAIO_ECLOSED : 0;
}

static int check_options(const mtaio_nats_binding_options *o, char *subject) {
    if (!o->prefix || o->overflow < MTAIO_OVERFLOW_DEFAULT || o->overflow > MTAIO_REFUSE ||
        (o->pack && o->durable))
        return MTAIO_EINVAL;
    int r = mtaio_pattern_matches("*", o->prefix);
    if (r >= 0)
        r = mtaio__subject_of_topic(o->prefix, o->prefix,
                                    subject); /* twice: so that it is a subject itself */
    int sends = r < 0 ? r : check_patterns(o->send), takes = sends < 0 ? sends : check_patterns(o->take);
    if (sends == 1 && takes == 1) return MTAIO_EINVAL;
    return takes < 0 ? takes : 0;
}

/* What waits is sent until the deadline. */
static int finish(mtaio_nats_binding *b, int64_t deadline_ns) {
    mtaio_subscriber_stats left = {.size = sizeof left};
    int waited = b->stream ? mtaio__stream_in_end(b, deadline_ns) : 0; /* handlers may still publish */
    b->drain_until = deadline_ns;
    b->is_ending = true; /* after the deadline: the sender reads that then */
    if (b->has_sender && pthread_equal(b->sender, pthread_self()))
        pthread_detach(b->sender); /* an event told by it ends the binding */
    else if (b->has_sender)
        pthread_join(b->sender, NULL);
    mtaio__services_end(b);
    mtaio__presence_end(b);
    mtaio__unsubscribe(&b->incoming);
    if (b->stream) mtaio__stream_out_end(b);
    if (b->outgoing) mtaio_subscriber_stats_get(b->outgoing, &left);
    mtaio_unsubscribe(b->outgoing);
    return left.waiting + b->unsendable > 0 ? MTAIO_ETIMEDOUT : waited;
}

int mtaio_nats_bind(mtaio_nats *nats, mtaio_channel *ch, const mtaio_nats_binding_options *options,
                    mtaio_nats_binding **ret) {
    char subject[SUBJECT_MAX];
    if (!options || options->size != sizeof *options || !mtaio__codec_is_valid(options->codec))
        return MTAIO_EINVAL;
    int r = nats && ch && ret ? check_options(options, subject) : MTAIO_EINVAL;
    mtaio_nats_binding *b = r < 0 ? NULL : binding_new(nats, ch, options);
    if (!b) {
        mtaio__codec_destroy(options->codec);
        return r < 0 ? r : MTAIO_ENOMEM;
    }
    if (options->durable) r = mtaio__stream_begin(b, options);
    if (r >= 0 && b->take) r = (b->stream ? mtaio__stream_in_start : mtaio__incoming_start)(b);
    if (r >= 0 && options->send && options->send[0])
        r = (b->stream ? mtaio__stream_out_start : mtaio__outgoing_start)(b, options);
    if (r >= 0 && !b->stream) r = mtaio__presence_start(b);
    if (r >= 0) r = binding_list(b); /* who closes the connection ends what is listed: it is complete now */
    if (r >= 0) {
        *ret = b;
        return 0;
    }
    finish(b, 0);
    mtaio__binding_drop(b);
    return r;
}

/* --- Ending ------------------------------------------------------------------------------------ */

/* True for one. */
static bool binding_unlist(mtaio_nats_binding *b) {
    mtaio_nats *nats = b->nats;
    pthread_mutex_lock(&nats->lock);
    bool listed = b->is_listed;
    if (listed) {
        if (b->next) b->next->prev = b->prev;
        *(b->prev ? &b->prev->next : &nats->bindings) = b->next;
        b->is_listed = false;
    }
    pthread_mutex_unlock(&nats->lock);
    return listed;
}

int mtaio__binding_end(mtaio_nats_binding *b, int64_t deadline_ns) {
    return binding_unlist(b) ? finish(b, deadline_ns) : 0;
}

int mtaio_nats_unbind(mtaio_nats_binding *b, int64_t timeout_ns) {
    return b ? mtaio__binding_end(b, mtaio__deadline_of(timeout_ns)) : MTAIO_EINVAL;
}

mtaio_nats_binding *mtaio_nats_binding_ref(mtaio_nats_binding *b) {
    if (b) atomic_fetch_add(&b->refs, 1);
    return b;
}

mtaio_nats_binding *mtaio_nats_binding_unref(mtaio_nats_binding *b) {
    if (!b || atomic_fetch_sub(&b->refs, 1) != 1) return NULL;
    mtaio__binding_end(b, 0);
    mtaio__binding_drop(b);
    return NULL;
}

/* --- While it lasts ---------------------------------------------------------------------------- */

int mtaio_nats_flush(mtaio_nats_binding *b, int64_t timeout_ns) {
    if (!b) return MTAIO_EINVAL;
    int64_t deadline_ns = mtaio__deadline_of(timeout_ns);
    mtaio_subscriber_stats s = {.size = sizeof s};
    const struct timespec moment = {.tv_nsec = 200000};
    if (b->outgoing) mtaio_subscriber_stats_get(b->outgoing, &s);
    if (b->stream) return mtaio__stream_flush(b, s.reached - s.dropped, deadline_ns);
    for (uint64_t wanted = s.reached - s.dropped; b->sent + b->refused_out < wanted;
         nanosleep(&moment, NULL)) {
        if (b->is_ending) return MTAIO_ECLOSED;
        if (mtaio__now_ns() >= deadline_ns) return MTAIO_ETIMEDOUT;
    }
    int64_t left = deadline_ns == INT64_MAX ? b->nats->timeout_ns : deadline_ns - mtaio__now_ns();
    natsStatus r = natsConnection_FlushTimeout(b->nats->out.nc, mtaio__to_ms(left));
    return r == NATS_OK ? 0 : mtaio__failed(r);
}

int mtaio_nats_stats_get(const mtaio_nats_binding *b, mtaio_nats_stats *ret) {
    mtaio_subscriber_stats s = {.size = sizeof s};
    if (!b || !ret || ret->size != sizeof *ret) return MTAIO_EINVAL;
    if (b->outgoing) mtaio_subscriber_stats_get(b->outgoing, &s);
    *ret = (mtaio_nats_stats){.size = sizeof *ret,
                              .sent = b->sent,
                              .unsent = s.waiting,
                              .dropped = s.dropped + b->unsendable,
                              .taken = b->taken,
                              .lost = b->lost,
                              .refused = b->refused};
    if (b->stream) mtaio__stream_stats(b, ret);
    return 0;
}
