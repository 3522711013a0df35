/* subscription.c - subscriptions whose end is known: what they call into lasts until their last call is over.
 *
 * A subscription that is destroyed just when a message comes for it crashes the client library (nats.c 637):
 * its reading thread is about to lock it, and does not hold it. So those that have ended are retired:
 * destroyed a while later, or with the connections. */
#include <stdlib.h>

#include "nats_inner.h"

/* --- Retired ones ------------------------------------------------------------------------------ */

struct retired {
    struct retired *next;
    natsSubscription *sub;
    int64_t since_ns;
};

#define RETIRED_NS INT64_C(10000000000) /* no thread is that long about to lock */

void mtaio__retired_clear(struct retired *list) {
    while (list) {
        struct retired *next = list->next;
        natsSubscription_Destroy(list->sub);
        free(list);
        list = next;
    }
}

/* Without memory it is destroyed now: the race is lost rarely. */
void mtaio__retire(mtaio_nats *nats, natsSubscription *sub) {
    struct retired *r = sub ? malloc(sizeof *r) : NULL, **at, *old;
    int64_t now = mtaio__now_ns();
    if (!r) {
        natsSubscription_Destroy(sub);
        return;
    }
    *r = (struct retired){.sub = sub, .since_ns = now};
    natsSubscription_Unsubscribe(sub); /* as destroying would, if it was not done */
    pthread_mutex_lock(&nats->lock);
    r->next = nats->retired;
    nats->retired = r;
    for (at = &nats->retired; *at && now - (*at)->since_ns < RETIRED_NS; at = &(*at)->next) {}
    old = *at;
    *at = NULL;
    pthread_mutex_unlock(&nats->lock);
    mtaio__retired_clear(old);
}

/* --- From the first call to the last ----------------------------------------------------------- */

static void on_message(natsConnection *nc, natsSubscription *sub, natsMsg *message, void *closure) {
    const struct subscription *s = closure;
    (void)nc;
    mtaio__nats_is_inside = true;
    s->call(sub, message, s->ctx);
    mtaio__nats_is_inside = false;
}

static void over(void *closure) {
    const struct subscription s = *(const struct subscription *)closure; /* its end may free it */
    mtaio__nats_is_inside = true;
    if (s.end) s.end(s.ctx);
    if (s.b) mtaio__binding_drop(s.b);
    mtaio__nats_run_end(s.nats);
    mtaio__nats_is_inside = false;
}

int mtaio__subscribe(struct subscription *s, struct wire *w, const char *subject, const char *group) {
    s->nats = w->nats;
    natsStatus status = group ? natsConnection_QueueSubscribe(&s->sub, w->nc, subject, group, on_message, s)
                              : natsConnection_Subscribe(&s->sub, w->nc, subject, on_message, s);
    if (status != NATS_OK) return mtaio__failed(status);
    if (s->b) mtaio__binding_hold(s->b);
    mtaio__nats_run_begin(s->nats);
    status = natsSubscription_SetOnCompleteCB(s->sub, over, s);
    if (status == NATS_OK) return 0;
    mtaio__nats_run_end(s->nats); /* the connection was closed meanwhile: nothing is called any more */
    if (s->b) mtaio__binding_drop(s->b);
    return mtaio__failed(status);
}

void mtaio__unsubscribe(struct subscription *s) {
    if (s->sub) natsSubscription_Unsubscribe(s->sub);
}

void mtaio__subscription_free(struct subscription *s) { mtaio__retire(s->nats, s->sub); }
