/* mtaio/channel.h - channels: messages broadcast by topic to subscribers, each with a buffer of its own.
 *
 * All subscribers see the messages of a channel in one order, and those of one publisher in the order in which it
 * published them. No message is lost silently: what a full buffer drops is counted, and the next message received tells
 * how many are missing before it. */
#ifndef MTAIO_CHANNEL_H
#define MTAIO_CHANNEL_H

#include <mtaio/emitter.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct mtaio_channel mtaio_channel;
typedef struct mtaio_subscriber mtaio_subscriber;

/* What publishing does where a subscriber's buffer is full. */
typedef enum mtaio_overflow {
    MTAIO_OVERFLOW_DEFAULT = 0, /* a subscriber's: the channel's; a channel's: BLOCK */
    MTAIO_BLOCK,                /* waits until every buffer has room */
    MTAIO_DROP_OLDEST,          /* the oldest message of this buffer makes room */
    MTAIO_DROP_NEWEST,          /* this subscriber misses the new one */
    MTAIO_REFUSE                /* ELIMIT: nobody gets the message */
} mtaio_overflow;

#define MTAIO_UNBOUNDED SIZE_MAX /* a buffer without a limit */

/* --- Messages ---------------------------------------------------------------------------------- */

/* A message that was received: the receiver's, who clears it when done. It may be copied like any struct, but only one
 * of the copies is cleared. What is read of it stays where it is until then, or, of small messages, moves with it. */
typedef struct mtaio_message {
    uint64_t missed; /* how many were dropped, for this subscriber, between the one before and this one */
    uint64_t inside[7];
} mtaio_message;

MTAIO_API const void *mtaio_message_data(const mtaio_message *message); /* NULL: none */
MTAIO_API size_t mtaio_message_bytes(const mtaio_message *message);     /* as published */
MTAIO_API const char *mtaio_message_topic(const mtaio_message *message); /* NULL: none */
MTAIO_API const mtaio_metadata *mtaio_message_metadata(const mtaio_message *message); /* NULL: none */
MTAIO_API void mtaio_message_clear(mtaio_message *message); /* it is empty then; clearing that, or NULL, is fine */

/* --- Channels ---------------------------------------------------------------------------------- */

typedef struct mtaio_channel_options {
    size_t size;             /* set by MTAIO_CHANNEL_OPTIONS */
    const char *name;        /* NULL: "" */
    size_t max_subscribers;  /* 0: no limit */
    size_t buffer_size;      /* of subscribers that do not say, in messages; 0: MTAIO_UNBOUNDED */
    mtaio_overflow overflow; /* the same */
    size_t replay;           /* messages kept for subscribers that come later, 0: none */
    bool replay_by_topic;    /* keeps the last message of each topic, of the `replay` topics used last */
} mtaio_channel_options;
#define MTAIO_CHANNEL_OPTIONS(...)                                                                 \
    (&(mtaio_channel_options){.size = sizeof(mtaio_channel_options), __VA_ARGS__})

/* options may be NULL. EINVAL, ENOMEM. */
MTAIO_API int mtaio_channel_new(const mtaio_channel_options *options, mtaio_channel **ret);
MTAIO_API mtaio_channel *mtaio_channel_ref(mtaio_channel *ch);

/* The last reference closes. Subscribers do not keep the channel open, but can still receive what they were sent. */
MTAIO_API mtaio_channel *mtaio_channel_unref(mtaio_channel *ch);

/* Publishing and subscribing answer ECLOSED from now on, also to those who wait; subscribers first receive what they
 * were sent. Twice is no error. */
MTAIO_API int mtaio_channel_close(mtaio_channel *ch);
MTAIO_API bool mtaio_channel_is_closed(const mtaio_channel *ch); /* NULL is closed */
MTAIO_API const char *mtaio_channel_name(const mtaio_channel *ch);
MTAIO_API size_t mtaio_channel_count(const mtaio_channel *ch); /* subscribers now */

/* How many subscribers a message of this topic (NULL: none) would reach now. ENAME, ENOMEM. */
MTAIO_API int mtaio_channel_reach(const mtaio_channel *ch, const char *topic);

/* Sums over all subscribers that there have been; reached = delivered + dropped + waiting, at any time. */
typedef struct mtaio_channel_stats {
    size_t size;        /* set by the caller */
    uint64_t published; /* messages that were accepted, whether or not anybody was there */
    uint64_t reached;   /* subscribers they were given to, in all: each message counts once for each */
    uint64_t delivered; /* received */
    uint64_t dropped;   /* by a full buffer, or with a subscriber that ended before it received them */
    uint64_t waiting;   /* in buffers */
    uint64_t refused;   /* messages that were not accepted: ELIMIT, EAGAIN, ETIMEDOUT, ECANCELED */
} mtaio_channel_stats;
MTAIO_API int mtaio_channel_stats_get(const mtaio_channel *ch, mtaio_channel_stats *ret); /* EINVAL */

/* --- Publishing -------------------------------------------------------------------------------- */

typedef struct mtaio_publication {
    size_t size;              /* set by MTAIO_PUBLICATION */
    const char *topic;        /* NULL: to every subscriber */
    const void *data;         /* copied, unless there is a release */
    size_t bytes;             /* of data */
    mtaio_release release;    /* data is handed over, shared by all who receive it, and released once after the last */
    mtaio_metadata *metadata; /* NULL: none; the channel takes a reference */
    mtaio_message *message;   /* instead of data, bytes, release: those of a message received, shared, not copied;
                               * its topic and metadata too, where none are given */
    const void *origin;       /* not to subscribers of the same origin, as if they were not there; NULL: to all */
} mtaio_publication;
#define MTAIO_PUBLICATION(...) (&(mtaio_publication){.size = sizeof(mtaio_publication), __VA_ARGS__})

/* The short form: copies the bytes, and waits as long as it takes. topic may be NULL. */
MTAIO_API int mtaio_publish(mtaio_channel *ch, const char *topic, const void *data, size_t bytes);

/* Gives the message to every subscriber of the topic, and returns how many there are. timeout_ns: how long to wait for
 * room, < 0: for ever, 0: not at all (EAGAIN). On an error nobody has got it, and data with a release stays the
 * caller's. ENAME, ECLOSED, ELIMIT, EAGAIN, ETIMEDOUT, EINVAL, ENOMEM; on a pool's thread that has to wait, EDEPTH. */
MTAIO_API int mtaio_channel_publish(mtaio_channel *ch, const mtaio_publication *p, int64_t timeout_ns);

/* Several at once, in order and with nothing between where nobody has to wait, and one wake-up for each subscriber.
 * Returns how many were published: fewer than n where one could not be; the error, where that was the first. */
MTAIO_API int mtaio_channel_publish_many(mtaio_channel *ch, const mtaio_publication *list, size_t n,
                                         int64_t timeout_ns);

/* Something that was begun and ends later: an asynchronous publish or receive. */
typedef struct mtaio_pending mtaio_pending;

/* Ends it with ECANCELED (told by its call): 1. 0: it is over, or just being carried out; a receive ends after that,
 * with ECANCELED. Of a receive no message is lost; a publish that is cancelled reached nobody. EINVAL. */
MTAIO_API int mtaio_pending_cancel(mtaio_pending *pending);
MTAIO_API mtaio_pending *mtaio_pending_ref(mtaio_pending *pending);
MTAIO_API mtaio_pending *mtaio_pending_unref(mtaio_pending *pending); /* does not cancel */

/* How an asynchronous publish ends: call runs once with what mtaio_channel_publish would have returned, also during
 * mtaio_channel_publish_async itself, else on the thread that made room, or closed, or cancelled; or on the
 * executor. */
typedef struct mtaio_published {
    size_t size; /* set by MTAIO_PUBLISHED */
    void (*call)(int result, void *ctx);
    void (*destroy)(void *ctx);
    void *ctx;
    mtaio_executor *executor;
} mtaio_published;
#define MTAIO_PUBLISHED(...) (&(mtaio_published){.size = sizeof(mtaio_published), __VA_ARGS__})

/* Waits in line without holding the thread. While any do, later publications on the channel wait behind them, so that a
 * publisher's order is kept. The publication is copied (data with a release is the channel's once 0 is returned, and is
 * released also where it ends with an error). how NULL: nobody is told. ret may be NULL. EINVAL, ENAME, ECLOSED,
 * ENOMEM. */
MTAIO_API int mtaio_channel_publish_async(mtaio_channel *ch, const mtaio_publication *p,
                                          const mtaio_published *how, mtaio_pending **ret);

/* --- Subscribing ------------------------------------------------------------------------------- */

typedef struct mtaio_subscription {
    size_t size;                 /* set by MTAIO_SUBSCRIPTION */
    const char *const *patterns; /* ends with NULL; NULL or none: everything */
    size_t buffer_size;          /* in messages; 0: the channel's */
    mtaio_overflow overflow;
    bool no_replay;              /* nothing of what the channel keeps for late subscribers */
    const void *origin;          /* only compared: with that of each message, so that who publishes gets no echo */
} mtaio_subscription;
#define MTAIO_SUBSCRIPTION(...) (&(mtaio_subscription){.size = sizeof(mtaio_subscription), __VA_ARGS__})

/* The short form: one pattern, or NULL for everything. */
MTAIO_API int mtaio_subscribe(mtaio_channel *ch, const char *pattern, mtaio_subscriber **ret);

/* s may be NULL. ELIMIT: max_subscribers. EPATTERN, ECLOSED, EINVAL, ENOMEM. */
MTAIO_API int mtaio_channel_subscribe(mtaio_channel *ch, const mtaio_subscription *s, mtaio_subscriber **ret);
MTAIO_API mtaio_subscriber *mtaio_subscriber_ref(mtaio_subscriber *sub);

/* The last reference unsubscribes. */
MTAIO_API mtaio_subscriber *mtaio_subscriber_unref(mtaio_subscriber *sub);

/* Ends the subscription: what waits is dropped and counted, receiving answers ECLOSED, publishers that waited for it go
 * on. 1, or 0 where it was ended before. */
MTAIO_API int mtaio_unsubscribe(mtaio_subscriber *sub);

/* Adds a pattern (1; 0: it was there), drops one (1; 0: it was not). Adding the first to a subscriber of everything
 * restricts it to that. Who has dropped its last pattern gets only messages without a topic. EPATTERN, ECLOSED, ENOMEM;
 * dropping allocates nothing. */
MTAIO_API int mtaio_subscriber_add(mtaio_subscriber *sub, const char *pattern);
MTAIO_API int mtaio_subscriber_drop(mtaio_subscriber *sub, const char *pattern);

typedef struct mtaio_subscriber_stats { /* reached = delivered + dropped + waiting */
    size_t size;                        /* set by the caller */
    uint64_t reached, delivered, dropped, waiting;
    uint64_t high_water; /* the most that ever waited */
} mtaio_subscriber_stats;
MTAIO_API int mtaio_subscriber_stats_get(const mtaio_subscriber *sub, mtaio_subscriber_stats *ret); /* EINVAL */

/* --- Receiving. Several threads may receive from one subscriber: each message goes to one of them. */

/* The short form: waits as long as it takes. */
MTAIO_API int mtaio_receive(mtaio_subscriber *sub, mtaio_message *ret);

/* timeout_ns as in publishing: EAGAIN, ETIMEDOUT. ECLOSED: the channel is closed and everything was received, or the
 * subscription has ended. EINVAL; on a pool's thread that has to wait, EDEPTH. */
MTAIO_API int mtaio_subscriber_receive(mtaio_subscriber *sub, int64_t timeout_ns, mtaio_message *ret);

/* Waits for the first, then takes what is there, n at most: how many. */
MTAIO_API int mtaio_subscriber_receive_many(mtaio_subscriber *sub, int64_t timeout_ns, mtaio_message *ret, size_t n);

/* call is given each message as it comes, one after another, on the thread that publishes (or on the executor), and
 * clears it, or keeps the struct. It returns 1 to be called for the next, 0 or negative to end. With result negative
 * there is no message and it is the last call: ECLOSED; ECANCELED; what the executor's post answered. The last call
 * is followed by destroy. */
typedef struct mtaio_receiver {
    size_t size; /* set by MTAIO_RECEIVER */
    int (*call)(int result, mtaio_message *message, void *ctx);
    void (*destroy)(void *ctx);
    void *ctx;
    mtaio_executor *executor;
} mtaio_receiver;
#define MTAIO_RECEIVER(...) (&(mtaio_receiver){.size = sizeof(mtaio_receiver), __VA_ARGS__})

/* Begins at once: call may run during this, with what is there already. It keeps the subscriber. ret may be NULL.
 * EINVAL, ENOMEM. */
MTAIO_API int mtaio_subscriber_receive_async(mtaio_subscriber *sub, const mtaio_receiver *r, mtaio_pending **ret);

/* Calls ready once, as soon as a receive would not have to wait, perhaps during this; nothing is received by it. On the
 * thread that publishes or closes: hand it on to your loop there. Cancelling it calls nothing but destroy. */
typedef struct mtaio_watch {
    size_t size; /* set by MTAIO_WATCH */
    void (*ready)(void *ctx);
    void (*destroy)(void *ctx);
    void *ctx;
} mtaio_watch;
#define MTAIO_WATCH(...) (&(mtaio_watch){.size = sizeof(mtaio_watch), __VA_ARGS__})
MTAIO_API int mtaio_subscriber_watch(mtaio_subscriber *sub, const mtaio_watch *w, mtaio_pending **ret);

/* A descriptor for poll or epoll, readable exactly while a receive would not have to wait; the subscriber's, which
 * closes it with its last reference. Made when first asked for. ESYSTEM. */
MTAIO_API int mtaio_subscriber_fd(mtaio_subscriber *sub);

/* Waits until one of them could receive without waiting (timeout_ns as above): its index, the lowest of those that can.
 * EAGAIN, ETIMEDOUT, EINVAL (also where n is 0), ENOMEM, EDEPTH. */
MTAIO_API int mtaio_select(mtaio_subscriber *const *subs, size_t n, int64_t timeout_ns);

/* --- Publishers: a default topic, and messages gathered --------------------------------------- */

typedef struct mtaio_publisher mtaio_publisher;
typedef struct mtaio_publisher_options {
    size_t size;       /* set by MTAIO_PUBLISHER_OPTIONS */
    const char *topic; /* of publications without one */
    size_t batch;      /* published together when so many are there; 0 and 1: each at once */
    int64_t linger_ns; /* and at the latest so long after the first was given; 0: no limit */
    /* What a flush by time, or the last, could not publish, and never will; NULL: the next call is told of it. */
    void (*failed)(int error, const mtaio_publication *p, void *ctx);
    void (*destroy)(void *ctx);
    void *ctx;
} mtaio_publisher_options;
#define MTAIO_PUBLISHER_OPTIONS(...)                                                               \
    (&(mtaio_publisher_options){.size = sizeof(mtaio_publisher_options), __VA_ARGS__})

/* It keeps the channel open. ENAME, EINVAL, ENOMEM. */
MTAIO_API int mtaio_publisher_new(mtaio_channel *ch, const mtaio_publisher_options *options, mtaio_publisher **ret);
MTAIO_API mtaio_publisher *mtaio_publisher_ref(mtaio_publisher *publisher);
MTAIO_API mtaio_publisher *mtaio_publisher_unref(mtaio_publisher *publisher); /* the last flushes, without waiting */

/* As mtaio_channel_publish; 0 where the message is only gathered. An error of a message gathered earlier is returned
 * from here once, before this one is taken; those behind it stay, as it does itself where there only was no room or no
 * memory. Messages are published in order, by one thread at a time, the others wait for that; while one is, those that
 * its own subscribers publish on it are only gathered, and flushing is EDEADLK. */
MTAIO_API int mtaio_publisher_publish(mtaio_publisher *publisher, const mtaio_publication *p, int64_t timeout_ns);
MTAIO_API int mtaio_publisher_flush(mtaio_publisher *publisher, int64_t timeout_ns); /* how many were published */

/* --- Bridges ----------------------------------------------------------------------------------- */

/* Publishes every event of the pattern under its name, with its metadata; the message's data is the event's, which it
 * keeps (mtaio_event_keep), bytes 0. A full buffer lets the emission rest until there is room, without holding its
 * thread; what cannot be published is a failure of the emission. Until the listener is cancelled (ret may be NULL). It
 * keeps the channel. EPATTERN, EINVAL, ECLOSED, ENOMEM. */
MTAIO_API int mtaio_emitter_to_channel(mtaio_emitter *em, const char *pattern, mtaio_channel *ch,
                                       mtaio_listener **ret);

/* Emits every message that the subscriber receives, by mtaio_emit_nowait, under its topic (without one: under `name`),
 * with its metadata; the event that a message came from, else one with the message's data, for which
 * mtaio_event_message answers. One at a time: the next is received when the emission of the last is over.
 * executor may be NULL. Ends when the subscription is closed, with the first message after the emitter is, or by
 * cancelling; until then it keeps both. ENAME, EINVAL, ENOMEM. */
MTAIO_API int mtaio_subscriber_to_emitter(mtaio_subscriber *sub, mtaio_emitter *em, const char *name,
                                          mtaio_executor *executor, mtaio_pending **ret);

/* The message that an event was made from, valid as long as the event; NULL: none. */
MTAIO_API const mtaio_message *mtaio_event_message(const mtaio_event *event);

#ifdef __cplusplus
}
#endif
#endif
