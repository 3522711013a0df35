/* stream_inner.h - what the files of durable bindings share.
 *
 * Two halves that do not know each other: stream_out.c publishes in a window, stream_in.c and stream_open.c
 * take. Locks: each half has one, which is a leaf; neither is held while the user's code runs. */
#ifndef MTAIO_NATS_STREAM_INNER_H
#define MTAIO_NATS_STREAM_INNER_H

#include "nats_inner.h"

#define MESSAGE_ID "Nats-Msg-Id"
#define DELIVERY_KEY "mtaio-delivery"
#define DEAD_KEY "mtaio-dead-"
enum { NAME_LENGTH_MAX = 255 };

struct stream {
    jsCtx *js; /* over the sending connection */
    char *name, *consumer, *dead_topic;
    mtaio_nats_stream how;    /* with its defaults filled in; its strings are those above */
    char filter[SUBJECT_MAX]; /* the subject of what is taken */
    struct outbox *out;       /* NULL: nothing is sent */
    struct inbox *in;         /* NULL: nothing is taken */
};

/* --- stream.c */

/* The last sequence that a consumer has given out, or passed by; and up to which a message may have been
 * given out, whatever the server says. */
struct position {
    uint64_t given, suspect;
    uint64_t since_ns; /* what was stored before is none of it; 0: all is */
};

/* The binding's consumer, made where it is not there: `from` is 0, or where to go on instead of where the
 * options say. The name of an ephemeral one is set; it is a new one then. */
int mtaio__stream_consumer(mtaio_nats_binding *b, uint64_t from, struct position *ret);
void mtaio__stream_forget_consumer(mtaio_nats_binding *b); /* an ephemeral one */

/* --- stream_wire.c: what JetStream writes, read with suspicion */

/* An acknowledgement of a publication. 0: stored. 1: not now, to be sent again. Negative: refused. EINVAL
 * also where it is no such thing. ret_text: in the message's words, of `size` bytes. */
int mtaio__ack_read(natsMsg *message, char *ret_text, size_t size);

/* The subject that a delivery is to be answered on. false: it is none. */
struct given {
    uint64_t count, sequence; /* how many times it has been given out; its number in the stream */
    uint64_t stored_ns;       /* when; with the sequence it tells a message from all others */
};
bool mtaio__given_read(const char *reply, struct given *ret);

/* A status that the server sends instead of a message: 404, 408 ...; 0: it is a message. ret_left: how many
 * messages the request still was to get; -1: it does not say. */
int mtaio__status_read(natsMsg *message, int64_t *ret_left);

/* --- stream_out.c */
void mtaio__stream_out_stats(const mtaio_nats_binding *b, mtaio_nats_stats *ret);
void mtaio__stream_out_free(struct outbox *out);

/* --- Taking. stream_in.c: from the server to the queue, and what has to be said meanwhile; stream_hand.c:
 * from the queue to the channel or the emitter; stream_open.c: what is open, until it is done with. */

/* A message that was given out to us. */
struct delivery {
    atomic_uint holds; /* while it is open, and while its data is used */
    mtaio_nats_binding *b;
    struct given given;
    uint64_t count;                                /* the least that is true of how often it was given out */
    struct delivery *next_in_bucket, *next, *prev; /* of the open ones, the longest silent first; the lock */
    struct delivery *behind;                       /* in the queue, or of the dead; the lock */
    int64_t heard_at;                   /* when the server was told last that we have it; the lock */
    int error;                          /* why it is dead; 0: nobody has finished it */
    mtaio_metadata *metadata;           /* as it came */
    const char *topic, *reply;          /* topic NULL: none */
    mtaio_nats_data data;               /* what came */
    mtaio_nats_data event;              /* what is emitted, where nothing was decoded */
    _Alignas(max_align_t) char bytes[]; /* of data, reply, topic */
};

struct chain {
    struct delivery *first, **end;
};
void mtaio__chain_init(struct chain *c);
void mtaio__chain_add(struct chain *c, struct delivery *d);
struct delivery *mtaio__chain_take(struct chain *c); /* NULL: it is empty */

enum { BUCKETS = 1024, DONE = 1 << 16 };
struct inbox {
    natsSubscription *sub; /* the keeper's, which destroys it; under the lock */
    char subject[INBOX_MAX];
    pthread_mutex_t lock;
    pthread_cond_t changed;     /* something waits in the queue, no emission is under way, or it ends */
    bool is_ending, is_stopped; /* stopped: what it is handed to is closed */
    struct delivery *buckets[BUCKETS], *oldest, *newest; /* the open ones */
    struct chain queue, dead;
    size_t open, asked; /* asked: how many the server may still send for our requests */
    size_t emissions;   /* under way */
    int64_t asked_until;
    uint64_t requests;
    bool is_ready; /* there is a consumer to ask */

    /* What has been here: so that nothing that was handled comes twice, whatever the server remembers. A
     * sequence and its time tell a message from all others, also where the stream began anew. */
    struct given highest;
    struct given *done;             /* at sequence % DONE */
    struct position position;       /* where the consumer was in the beginning */
    uint64_t failing, failing_from; /* how many were given back, and the first of them */
    uint64_t redelivered, dead_count;

    /* The keeper's. */
    natsStatistics *statistics;
    uint64_t reconnects;
    int64_t check_at, bury_at;
};

void mtaio__stream_in_stop(mtaio_nats_binding *b, const char *text); /* for ever; told once */
void mtaio__stream_in_stats(const mtaio_nats_binding *b, mtaio_nats_stats *ret);
void mtaio__stream_in_free(mtaio_nats *nats, struct inbox *in);
void mtaio__inbox_ask(mtaio_nats_binding *b); /* for more, where there is room */

/* --- stream_open.c */
struct delivery *mtaio__delivery_new(mtaio_nats_binding *b, natsMsg *message, const struct given *given);
void mtaio__delivery_hold(struct delivery *d);
void mtaio__delivery_drop(struct delivery *d);
void mtaio__stream_answer(mtaio_nats_binding *b, const char *reply, const char *text);
void mtaio__stream_give_back(mtaio_nats_binding *b, const char *reply, int64_t delay_ns);

/* What is known of a message that comes. */
enum known { UNKNOWN, IS_OPEN, IS_DONE };
enum known mtaio__open_find(struct inbox *in, const struct given *given, uint64_t *ret_count);
void mtaio__open_add(struct delivery *d, struct chain *to);
void mtaio__open_done(struct inbox *in, const struct given *given);
void mtaio__open_failed(struct inbox *in, const struct given *given);

/* How a delivery ends: it is open no more, and the server is told. */
void mtaio__delivery_acknowledge(struct delivery *d);
void mtaio__delivery_give_back(struct delivery *d, int64_t delay_ns);
void mtaio__delivery_refuse(struct delivery *d, int error);
void mtaio__delivery_fail(struct delivery *d, int error); /* given back, or dead */
void mtaio__delivery_bury(struct delivery *d);            /* it is dead, and that is known */
const char *mtaio__delivery_error(const struct delivery *d, char *buffer, size_t size); /* in words */

/* The times that servers want to hear of what is open. */
void mtaio__open_renew(mtaio_nats_binding *b, int64_t now_ns);

/* --- stream_hand.c: the thread that hands over */
void *mtaio__stream_hand_run(void *binding);

/* --- held.c: data that was decoded, and whose release knows nothing of the delivery */

/* ENOMEM. From now on data is to be released by mtaio__held_release, which calls release, and acknowledges
 * the deliveries of that data when all of them are released: several may share one pointer. */
int mtaio__held_add(const void *data, mtaio_release release, struct delivery *d);
void mtaio__held_release(void *data);
void mtaio__held_forget(const void *data, struct delivery *d); /* it was not handed over: calls release */

#endif
