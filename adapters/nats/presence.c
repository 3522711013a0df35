/* presence.c - which bindings take what a binding sends: so that after a broken connection it goes on as soon
 * as those that were there before are back, and not before.
 *
 * Every binding hears, and says, lines on the subject prefix.$mtaio-peers: "here ID" by those that take, when
 * they begin and when their connection is back; "gone ID" when they end; "who ID" by those that send, which
 * makes the others say that they are here. What a binding says goes out on the connection that receives,
 * behind its subscriptions: who hears it can send. What is said is only believed so far: at the worst
 * publishing waits as long as it would without. */
#include <stdlib.h>
#include <string.h>

#include "nats_inner.h"

enum { LINE_BYTES = 24, VERB = 5 };

/* --- Who is there: under the lock of nats ------------------------------------------------------ */

static struct taker *find_locked(mtaio_nats_binding *b, uint64_t id) {
    for (size_t i = 0; i < b->taker_count; i++)
        if (b->takers[i].id == id) return &b->takers[i];
    return NULL;
}

static void add_locked(mtaio_nats_binding *b, uint64_t id) {
    struct taker *taker = find_locked(b, id);
    if (!taker && b->taker_count < TAKERS) {
        taker = &b->takers[b->taker_count++];
        taker->id = id;
    }
    if (taker) taker->is_back = true;
}

static void remove_locked(mtaio_nats_binding *b, uint64_t id) {
    struct taker *taker = find_locked(b, id);
    if (taker) *taker = b->takers[--b->taker_count];
}

static bool are_all_back_locked(const mtaio_nats *nats) {
    for (const mtaio_nats_binding *b = nats->bindings; b; b = b->next)
        for (size_t i = 0; i < b->taker_count; i++)
            if (!b->takers[i].is_back) return false;
    return true;
}

/* Those that did not come back the last time are not waited for again. */
void mtaio__presence_await_locked(mtaio_nats *nats) {
    bool any = false;
    for (mtaio_nats_binding *b = nats->bindings; b; b = b->next) {
        size_t kept = 0;
        for (size_t i = 0; i < b->taker_count; i++)
            if (b->takers[i].is_back) b->takers[kept++] = (struct taker){.id = b->takers[i].id};
        b->taker_count = kept;
        any = any || kept > 0;
    }
    nats->is_awaiting = any; /* nobody known: perhaps programs without mtaio, which get the whole time */
}

static void heard(mtaio_nats_binding *b, const char *verb, uint64_t id) {
    mtaio_nats *nats = b->nats;
    pthread_mutex_lock(&nats->lock);
    if (strcmp(verb, "gone ") == 0) remove_locked(b, id);
    if (strcmp(verb, "here ") == 0) add_locked(b, id);
    if (nats->is_awaiting && are_all_back_locked(nats)) {
        nats->is_awaiting = false;
        nats->resume_at = mtaio__now_ns();
        pthread_cond_broadcast(&nats->changed);
    }
    pthread_mutex_unlock(&nats->lock);
}

/* --- What is said ------------------------------------------------------------------------------ */

static void say(mtaio_nats_binding *b, const char *verb) {
    char subject[SUBJECT_MAX], line[LINE_BYTES];
    memcpy(line, verb, VERB);
    char *end = mtaio__hex_put(line + VERB, b->id);
    mtaio__subject_join(b->prefix, PEERS_TOPIC, subject);
    natsConnection_Publish(b->nats->in.nc, subject, line,
                           (int)(end - line)); /* lost: they wait a little longer */
}

void mtaio__presence_say(mtaio_nats_binding *b) {
    if (!b->presence.sub) return; /* durable: the stream would take it for messages */
    if (b->take) say(b, "here ");
    if (b->outgoing) say(b, "who  ");
}

static void on_line(natsSubscription *sub, natsMsg *message, void *ctx) {
    mtaio_nats_binding *b = ctx;
    size_t bytes = (size_t)natsMsg_GetDataLength(message);
    char verb[VERB + 1] = "", digits[LINE_BYTES] = "";
    uint64_t id;
    (void)sub;
    if (bytes > VERB && bytes < VERB + sizeof digits) {
        memcpy(verb, natsMsg_GetData(message), VERB);
        memcpy(digits, natsMsg_GetData(message) + VERB, bytes - VERB);
    }
    natsMsg_Destroy(message);
    if (!b->is_ending && mtaio__hex_read(digits, &id) && id != b->id) {
        if (strcmp(verb, "who  ") == 0 && b->take) say(b, "here ");
        if (b->outgoing) heard(b, verb, id);
    }
}

/* --- Life -------------------------------------------------------------------------------------- */

int mtaio__presence_start(mtaio_nats_binding *b) {
    char subject[SUBJECT_MAX];
    b->takers = calloc(TAKERS, sizeof *b->takers);
    if (!b->takers) return MTAIO_ENOMEM;
    mtaio__subject_join(b->prefix, PEERS_TOPIC, subject);
    b->presence = (struct subscription){.b = b, .call = on_line, .ctx = b};
    int r = mtaio__subscribe(&b->presence, &b->nats->in, subject, NULL);
    if (r == 0) mtaio__presence_say(b);
    return r;
}

void mtaio__presence_end(mtaio_nats_binding *b) {
    if (!b->presence.sub) return;
    if (b->take) say(b, "gone ");
    mtaio__unsubscribe(&b->presence);
}

void mtaio__presence_free(mtaio_nats_binding *b) {
    mtaio__subscription_free(&b->presence);
    free(b->takers);
}
