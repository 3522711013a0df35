/* mtaio/nats.h - channels across processes and machines, over NATS servers.
 *
 * A channel that is bound sends the messages of some topics to the other processes whose channels are bound
 * under the same prefix, and takes theirs. Topics are subjects: prefix "shop", topic "order.paid" is the
 * subject "shop.order.paid". Nothing that came from the network goes back to it.
 *
 * The rules of mtaio/base.h hold. Two errors mean something of their own here: ESYSTEM is what the client
 * library answered (mtaio_nats_error tells it in words), EAGAIN that there is no connection at the moment. */
#ifndef MTAIO_NATS_H
#define MTAIO_NATS_H

#include <mtaio/mtaio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* --- Connections: one to publish and one to receive, so that neither direction holds up the other. */

typedef struct mtaio_nats mtaio_nats;
typedef struct mtaio_nats_options {
    size_t size;         /* set by MTAIO_NATS_OPTIONS */
    const char *servers; /* URLs separated by commas; NULL: nats://127.0.0.1:4222 */
    const char *name;    /* for the server's logs; NULL: "mtaio" */
    const char *user, *password;
    const char *token;
    const char *credentials; /* a file, as servers' tools write it */
    const char *tls_ca, *tls_certificate,
        *tls_key;          /* files; any of them: TLS, which a URL tls://... is too */
    mtaio_emitter *events; /* told of what happens, see below; NULL: nobody */
    int64_t timeout_ns;    /* of connecting, and of each answer; 0: 5 s */
    int64_t retry_ns;      /* between two attempts to connect again; 0: 250 ms */
    int64_t resume_ns;     /* publishing waits until the peers are back too, so long at most; 0: 4 x retry */
    bool send_asap;        /* each message at once: a shorter way for requests, fewer messages per second */
} mtaio_nats_options;
#define MTAIO_NATS_OPTIONS(...) (&(mtaio_nats_options){.size = sizeof(mtaio_nats_options), __VA_ARGS__})

/* Connects, and from then on again whenever it has to, without end. ETIMEDOUT (also: it greets, and then says
 * nothing), ESYSTEM (refused: no server,
 * wrong password, certificate ...), EINVAL, ENOMEM. */
MTAIO_API int mtaio_nats_open(const mtaio_nats_options *options, mtaio_nats **ret);
MTAIO_API mtaio_nats *mtaio_nats_ref(mtaio_nats *nats);
MTAIO_API mtaio_nats *mtaio_nats_unref(mtaio_nats *nats); /* the last one closes */

/* Sends what is waiting, timeout_ns at most (< 0: as long as it takes), then closes every binding and both
 * connections, and waits until nothing calls you any more (unless it is called from there; as long as an
 * answer may take). ETIMEDOUT: something was left, and dropped. Twice is no error. */
MTAIO_API int mtaio_nats_close(mtaio_nats *nats, int64_t timeout_ns);
MTAIO_API bool mtaio_nats_is_connected(const mtaio_nats *nats);

/* The client library's words for the calling thread's last ESYSTEM from here, or for EHANDLER those of who
 * was asked; "" where there was none. */
MTAIO_API const char *mtaio_nats_error(void);

/* The data of the events nats.connected, nats.disconnected, nats.reconnected, nats.lagging (it takes messages
 * slower than they come, and the client library dropped some), nats.lost (messages of a peer are missing),
 * nats.refused (what came, or was to go, was no valid message), nats.dead, nats.error and nats.closed.
 * Emitted on a thread of the connection; valid during that. */
typedef struct mtaio_nats_state {
    const char *server; /* its URL, "" while there is none */
    const char *prefix; /* of the binding it is about; "" */
    const char *text;   /* what the client library said; "" */
    uint64_t count;     /* messages lost, dropped, refused or dead by this event */
} mtaio_nats_state;

/* --- Bindings: a channel, and the topics that it shares. It holds the channel and the connection.
 *
 * What goes out waits in a buffer of the channel, as that of any subscriber, and stays there while there is
 * no connection: its size and policy are the binding's. What comes in is published on the channel. Bytes and
 * topic are sent, and metadata as headers; what has no bytes (data handed over by its pointer alone) is an
 * empty message, unless a codec says more. A message without a topic reaches the peers that take everything.
 *
 * Every binding numbers what it sends, in the reply subject ("_MTAIO.<binding>.<number>"), so that peers
 * which take everything of the prefix know how many messages of it they have lost, and no binding takes its
 * own. */

/* What is sent of a message: filled with its own data and bytes before encode is asked. */
typedef struct mtaio_nats_bytes {
    const void *data;
    size_t bytes;
    mtaio_metadata *metadata; /* the headers: a reference, which is taken; NULL: the message's metadata */
    mtaio_release release;    /* NULL: data stays as long as the message; else called with owner, once, */
    void *owner;              /* when data is needed no more */
} mtaio_nats_bytes;

/* How messages become bytes and bytes messages, where they are more than bytes. Each function may be NULL.
 *
 * encode changes *ret, or leaves it. decode changes the publication, which has what came: topic, data, bytes,
 * metadata. Metadata that it puts in is a reference, which is taken; data that is not (part of) what came
 * needs a release. Negative: the message is refused, and nothing that was put in is taken. Two threads of the
 * binding call them, one each; begin and end enclose each run of such calls, and of releases, so that what
 * these need is taken once for many. */
typedef struct mtaio_nats_codec {
    size_t size; /* set by MTAIO_NATS_CODEC */
    int (*encode)(const mtaio_message *message, mtaio_nats_bytes *ret, void *ctx);
    int (*decode)(mtaio_publication *p, void *ctx);
    void (*begin)(void *ctx);
    void (*end)(void *ctx);
    void (*destroy)(void *ctx); /* with the binding, also if binding failed */
    void *ctx;
} mtaio_nats_codec;
#define MTAIO_NATS_CODEC(...) (&(mtaio_nats_codec){.size = sizeof(mtaio_nats_codec), __VA_ARGS__})

/* --- Durable: the same over a stream of JetStream, which keeps what is sent until its limits are reached.
 *
 * Sending: each message is stored and acknowledged by the server, and sent again, in order, until it is; one
 * that was stored already is recognised by its id. What the server refuses (the stream is full, or sealed,
 * the message too large for it) is refused, counted and told (nats.refused).
 *
 * Taking: each message is acknowledged when the last receiver on the channel has cleared it, or has dropped
 * it; with an emitter, when its emission is over and no handler has failed. What is not acknowledged comes
 * again, also to another process of the same consumer, and is marked: its metadata has "mtaio-delivery", how
 * many times it has been given out. While a receiver or a handler has a message, the server is told so,
 * however long that takes. */

/* Where a consumer begins that is not there yet. */
typedef enum mtaio_nats_start {
    MTAIO_NATS_NEW = 0,  /* with what is stored from now on */
    MTAIO_NATS_ALL,      /* with the first message that the stream has */
    MTAIO_NATS_LAST,     /* with the last message of each topic */
    MTAIO_NATS_SINCE,    /* at start_time_ns */
    MTAIO_NATS_SEQUENCE, /* at start_sequence */
} mtaio_nats_start;

typedef struct mtaio_nats_stream {
    size_t size;      /* set by MTAIO_NATS_STREAM */
    const char *name; /* NULL: the prefix, with '_' for each '.' */

    /* Of a stream that is not there yet, and is made then, of all topics of the prefix. 0: no limit. */
    int64_t max_messages, max_bytes, max_age_ns;
    bool refuses_when_full; /* false: the oldest messages make room */
    bool is_in_memory;      /* gone with the server */
    int replicas;           /* servers that have it; 0: one */
    int64_t duplicates_ns;  /* how long it knows a message's id; 0: the server's, two minutes */

    size_t window; /* messages that are sent and not acknowledged, at most; 0: 1,024 */

    const char *consumer; /* a name: goes on where it was, in whatever process; NULL: one that ends with the
                             binding */
    mtaio_nats_start start;
    int64_t start_time_ns; /* UTC, since 1970 */
    uint64_t start_sequence;
    size_t max_open; /* messages of the consumer that are given out, not acknowledged, at most; 0: 1,024 */
    int64_t ack_wait_ns;     /* who is silent for so long is gone: what it has is given to another; 0: 30 s */
    mtaio_emitter *emitter;  /* NULL: messages are published on the channel. Else emitted here, under their
                                topic,  one after another, where a handler defers without waiting for it. The
                                event's data:  what the codec's decode made, else a mtaio_nats_data */
    int64_t again_ns;        /* from a failed emission to the next try; 0: 1 s */
    unsigned max_deliveries; /* then it is dead: told (nats.dead), and not tried again; 0: no limit */
    const char *dead_topic; /* where dead messages are published, with their metadata, and "mtaio-dead-topic",
                               "mtaio-dead-deliveries", "mtaio-dead-error"; not taken by this binding. NULL:
                               nowhere */
} mtaio_nats_stream;
#define MTAIO_NATS_STREAM(...) (&(mtaio_nats_stream){.size = sizeof(mtaio_nats_stream), __VA_ARGS__})

typedef struct mtaio_nats_data {
    const void *data; /* a NUL follows the last byte */
    size_t bytes;
} mtaio_nats_data;

/* --- Binding */

typedef struct mtaio_nats_binding mtaio_nats_binding;
typedef struct mtaio_nats_binding_options {
    size_t size;             /* set by MTAIO_NATS_BINDING_OPTIONS */
    const char *prefix;      /* of the subjects: a name; required */
    const char *const *send; /* patterns of topics that go out, ends with NULL; "*": all. NULL: none */
    const char *const *take; /* ... that come in; of several, the server sends all that might match */
    size_t buffer_size;      /* messages waiting to be sent; 0: 65,536 */
    mtaio_overflow overflow; /* what publishing on the channel does when they are that many */
    bool pack; /* those of one topic that wait together travel as one: several times as many per second, but
                * only bindings can read them */
    const mtaio_nats_codec *codec; /* copied; NULL: bytes are bytes */
    const mtaio_nats_stream
        *durable; /* copied; NULL: what nobody takes at the moment is gone. Not with pack */
} mtaio_nats_binding_options;
#define MTAIO_NATS_BINDING_OPTIONS(...)                                                                      \
    (&(mtaio_nats_binding_options){.size = sizeof(mtaio_nats_binding_options), __VA_ARGS__})

/* When it returns, the server knows what the binding takes; a durable one has its stream, and its consumer.
 * ENAME (the prefix; a stream, consumer or dead topic that can have no such name), EPATTERN, ECLOSED,
 * ETIMEDOUT, EAGAIN, EINVAL, ENOMEM, ESYSTEM (durable: no JetStream there; a stream of the name that lacks
 * some of the topics, or of another name that has them). */
MTAIO_API int mtaio_nats_bind(mtaio_nats *nats, mtaio_channel *ch, const mtaio_nats_binding_options *options,
                              mtaio_nats_binding **ret);
MTAIO_API mtaio_nats_binding *mtaio_nats_binding_ref(mtaio_nats_binding *b);

/* The last one unbinds, and sends nothing more. */
MTAIO_API mtaio_nats_binding *mtaio_nats_binding_unref(mtaio_nats_binding *b);

/* Sends what is waiting, timeout_ns at most, then ends the binding. ETIMEDOUT: something was left, and
 * dropped. Twice is no error. A durable one first takes nothing more, then waits until emissions are over (no
 * longer than for an answer, and not where it is called from one); what is open then is acknowledged when it
 * is over, while the connection lasts, or comes again. */
MTAIO_API int mtaio_nats_unbind(mtaio_nats_binding *b, int64_t timeout_ns);

/* Waits until the server has got everything that was published on the channel before; durable: until it has
 * stored it, or refused it. ETIMEDOUT, ECLOSED. */
MTAIO_API int mtaio_nats_flush(mtaio_nats_binding *b, int64_t timeout_ns);

typedef struct mtaio_nats_stats {
    size_t size;      /* set by the caller */
    uint64_t sent;    /* given to the server */
    uint64_t unsent;  /* in the buffer now */
    uint64_t dropped; /* by the buffer's policy, or with the binding's end */
    uint64_t taken;   /* published on the channel, or emitted */
    uint64_t lost; /* messages of peers that are known to be missing, and what the client library dropped */
    uint64_t refused; /* no valid message: neither sent nor taken */

    /* Durable bindings only. */
    uint64_t acknowledged;   /* stored by the server */
    uint64_t unacknowledged; /* sent, or to be sent again, and not acknowledged yet */
    uint64_t open;           /* taken, and not acknowledged yet */
    uint64_t redelivered;    /* taken with the mark that it may have been here before */
    uint64_t dead;           /* given up after max_deliveries */
} mtaio_nats_stats;
MTAIO_API int mtaio_nats_stats_get(const mtaio_nats_binding *b, mtaio_nats_stats *ret); /* EINVAL */

/* --- Requests: one asks, one who serves the topic answers. Nothing of it touches the channel. Not for
 * durable bindings (EINVAL): the stream would take the questions for messages. */

typedef struct mtaio_nats_reply mtaio_nats_reply;
MTAIO_API const void *mtaio_nats_reply_data(const mtaio_nats_reply *reply);
MTAIO_API size_t mtaio_nats_reply_bytes(const mtaio_nats_reply *reply);
MTAIO_API mtaio_nats_reply *mtaio_nats_reply_unref(mtaio_nats_reply *reply);

/* Waits for the answer. EHANDLER: whoever was asked has failed, in his words in mtaio_nats_error; ETIMEDOUT;
 * EABANDONED: nobody serves the topic, nor takes it; ELIMIT: more bytes than the server allows; ENAME,
 * EAGAIN, ECLOSED, EINVAL, ENOMEM, ESYSTEM. timeout_ns < 0 or 0: the connection's. */
MTAIO_API int mtaio_nats_ask(mtaio_nats_binding *b, const char *topic, const void *data, size_t bytes,
                             int64_t timeout_ns, mtaio_nats_reply **ret);

/* How an asynchronous request ends: call runs once, on a thread of the connection, or on the one that cancels
 * or closes, with 0 and the reply, which is the caller's to unref; or with what mtaio_nats_ask would have
 * answered, ECANCELED, or ECLOSED, and NULL. */
typedef struct mtaio_nats_answer {
    size_t size; /* set by MTAIO_NATS_ANSWER */
    void (*call)(int result, mtaio_nats_reply *reply, void *ctx);
    void (*destroy)(void *ctx);
    void *ctx;
} mtaio_nats_answer;
#define MTAIO_NATS_ANSWER(...) (&(mtaio_nats_answer){.size = sizeof(mtaio_nats_answer), __VA_ARGS__})

/* As mtaio_nats_ask, but nobody waits: call may run before this returns. Where this itself fails, only
 * destroy does. A connection that breaks ends it with EAGAIN. Without send_asap it may wait for a millisecond
 * until it is sent, for more to send. ret may be NULL. */
MTAIO_API int mtaio_nats_ask_async(mtaio_nats_binding *b, const char *topic, const void *data, size_t bytes,
                                   int64_t timeout_ns, const mtaio_nats_answer *how, uint64_t *ret);

/* Ends it with ECANCELED, told by its call before this returns: 1. 0: it is over, or just ending. EINVAL. */
MTAIO_API int mtaio_nats_ask_cancel(mtaio_nats_binding *b, uint64_t id);

/* A request that is to be answered: the server's own, from any thread, who gives it back. */
typedef struct mtaio_nats_request mtaio_nats_request;
MTAIO_API const char *mtaio_nats_request_topic(const mtaio_nats_request *request);
MTAIO_API const void *mtaio_nats_request_data(const mtaio_nats_request *request);
MTAIO_API size_t mtaio_nats_request_bytes(const mtaio_nats_request *request);

/* EALREADY: it was answered; ELIMIT, EAGAIN, ECLOSED, ESYSTEM: it was not sent, and may be answered again. */
MTAIO_API int mtaio_nats_respond(mtaio_nats_request *request, const void *data, size_t bytes);

/* Answers that it failed, as micro-services of NATS do: no data, the headers "Nats-Service-Error" (the text,
 * as one line of 255 bytes at most; NULL or blank: that a handler failed) and "Nats-Service-Error-Code"
 * (500). */
MTAIO_API int mtaio_nats_respond_error(mtaio_nats_request *request, const char *text);
MTAIO_API mtaio_nats_request *
mtaio_nats_request_unref(mtaio_nats_request *request); /* unanswered: nobody is told */

/* Answers requests of the pattern until the binding ends: call is given each, on a thread of the connection,
 * one after another. Of several servers of a pattern with the same `group` each request goes to one. destroy
 * runs when the last call is over, also if serving failed. EPATTERN, EINVAL, ECLOSED, ENOMEM, ESYSTEM. */
typedef struct mtaio_nats_server {
    size_t size; /* set by MTAIO_NATS_SERVER */
    void (*call)(mtaio_nats_request *request, void *ctx);
    void (*destroy)(void *ctx);
    void *ctx;
    const char *group; /* NULL: each of them is asked */
} mtaio_nats_server;
#define MTAIO_NATS_SERVER(...) (&(mtaio_nats_server){.size = sizeof(mtaio_nats_server), __VA_ARGS__})
MTAIO_API int mtaio_nats_serve(mtaio_nats_binding *b, const char *pattern, const mtaio_nats_server *server);

#ifdef __cplusplus
}
#endif
#endif
