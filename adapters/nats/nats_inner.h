/* nats_inner.h - what the files of this adapter share. */
#ifndef MTAIO_NATS_INNER_H
#define MTAIO_NATS_INNER_H

#include <mtaio/nats.h>
#include <nats/nats.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum { AT_ONCE = 64 };       /* messages in a run, and in a pack */
enum { SUBJECT_MAX = 4096 }; /* what servers take by default: a line of the protocol has little more */

/* --- connection.c */

/* One of the two connections. */
struct wire {
    struct mtaio_nats *nats;
    natsConnection *nc;
    bool is_up;     /* the lock of nats */
    bool is_closed; /* its last callback has run; the lock of nats */
};

enum { SERVERS = 64 };
struct login {
    char *user, *password, *token; /* "": none */
    bool is_secret;                /* by certificate or credentials, which only the client library can tell */
};
struct servers {
    char *text;
    const char *urls[SERVERS]; /* in it */
    int count;
    struct login login;
};

struct mtaio_nats {
    atomic_size_t refs;  /* the user's and those of bindings' users; the last closes */
    atomic_size_t holds; /* of the memory: the users together, each binding, each wire */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* monotonic */
    struct wire out, in;
    bool is_closing;        /* no binding is added any more */
    bool is_leaving;        /* the connections are being closed */
    atomic_bool is_telling; /* that a server is silent */
    bool is_closed;
    bool was_open;        /* both were */
    atomic_bool was_down; /* since the last nats.connected or nats.reconnected; written under the lock */
    size_t running;       /* subscriptions whose last call is not over */
    int64_t resume_at;    /* when publishing goes on; the lock */
    bool is_awaiting;     /* takers that were there before: then earlier; the lock */
    mtaio_nats_binding *bindings;
    struct retired *retired; /* subscriptions that have ended, the last first */
    struct asking *asking;

    /* Fixed, once it is open. */
    struct servers servers;
    mtaio_emitter *events;
    int64_t timeout_ns, retry_ns, resume_ns;
};

void mtaio__nats_hold(mtaio_nats *nats);
void mtaio__nats_drop(mtaio_nats *nats);

/* Emits a state event. */
void mtaio__nats_tell(mtaio_nats *nats, const char *name, const mtaio_nats_state *state);

/* What a subscription calls into begins and ends. The end wakes mtaio_nats_close, and drops the hold that
 * begin took. */
void mtaio__nats_run_begin(mtaio_nats *nats);
void mtaio__nats_run_end(mtaio_nats *nats);

/* Is this thread in a call from the client library? It must not wait for such then. */
extern _Thread_local bool mtaio__nats_is_inside;

/* Until messages may be published: 0; ETIMEDOUT; ECLOSED. */
int mtaio__nats_wait_up(mtaio_nats *nats, int64_t deadline_ns);

int64_t mtaio__now_ns(void);
int64_t mtaio__deadline_of(int64_t timeout_ns); /* < 0: INT64_MAX */
int64_t mtaio__to_ms(int64_t ns);               /* rounded up, 1 at least */
void mtaio__cond_init(pthread_cond_t *cond);    /* by the monotonic clock */
void mtaio__wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t deadline_ns);

/* The client library's status as one of our errors; keeps its words for mtaio_nats_error. */
int mtaio__failed(natsStatus s);
int mtaio__failed_with(const char *text); /* ESYSTEM */

void mtaio__set_words(const char *text);

/* As much of the text as has room, no character of UTF-8 by half; what controls something becomes a blank. */
void mtaio__copy_line(char *ret, size_t size, const char *text);
bool mtaio__nats_is_leaving(mtaio_nats *nats);

/* --- subscription.c */

/* Filled in by its owner, but for the first two. */
struct subscription {
    natsSubscription *sub; /* NULL: there is none */
    mtaio_nats *nats;
    mtaio_nats_binding *b; /* held until its end; NULL: it is of no binding */
    void (*call)(natsSubscription *sub, natsMsg *message, void *ctx); /* owns the message */
    void (*end)(void *ctx); /* once, after the last call; the subscription may be freed then. NULL: nothing */
    void *ctx;
};

/* group: NULL, or of the servers of which one is asked. Where it fails nothing is called any more, and there
 * is nothing but to free it. */
int mtaio__subscribe(struct subscription *s, struct wire *w, const char *subject, const char *group);
void mtaio__unsubscribe(struct subscription *s); /* soon it ends. Where there is none: nothing */
void mtaio__subscription_free(struct subscription *s);

/* The same for one that calls nothing, NULL: none; it is unsubscribed, and destroyed later. */
void mtaio__retire(mtaio_nats *nats, natsSubscription *sub);
void mtaio__retired_clear(struct retired *list);

/* --- servers.c */
int mtaio__servers_set(struct servers *s, const mtaio_nats_options *options); /* EINVAL, ENOMEM */
void mtaio__servers_clear(struct servers *s);
int mtaio__servers_choose(mtaio_nats *nats); /* ETIMEDOUT: all are silent */
bool mtaio__servers_are_silent(mtaio_nats *nats);

/* --- probe.c: 1: it answers, or only the client library can tell; 0: it does not, and that one will see it;
 * ETIMEDOUT: it says nothing, which that one would wait for; ECLOSED: the connection is being closed. */
int mtaio__probe(mtaio_nats *nats, const char *url);

/* --- subject.c: topics and subjects */

/* prefix.topic into ret, of SUBJECT_MAX bytes: its length, ENAME where that is no subject. The second takes
 * what users give: topic NULL is none, and ours are refused. */
int mtaio__subject_join(const char *prefix, const char *topic, char *ret);
int mtaio__subject_of_topic(const char *prefix, const char *topic, char *ret);
#define SENT_TOPIC "$mtaio-sent"   /* tells the last number that was sent */
#define PEERS_TOPIC "$mtaio-peers" /* presence.c */
bool mtaio__is_own_topic(const char *topic);

/* The subject of a subscription to all topics of the patterns, perhaps to more. ret_wider: it is. EPATTERN.
 */
int mtaio__subject_of_patterns(const char *prefix, const char *const *patterns, char *ret, bool *ret_wider);

/* The topic in a subject that begins with prefix and a dot; NULL: none. */
const char *mtaio__topic_of_subject(const char *subject, size_t prefix_length);
bool mtaio__is_no_topic(const char *topic);

/* Does one of the patterns match? false also where the topic is no name. */
bool mtaio__topic_is_of(const char *topic, const char *const *patterns);
bool mtaio__patterns_take_all(const char *const *patterns);

/* The reply subject "_MTAIO.<id>.<first>.<count>", hexadecimal: the message holds the sender's messages from
 * number `first` on, `count` of them: 1 is left out, and is a message as it is; more are a pack; 0 tells what
 * comes next. */
enum { REPLY_MAX = 56 };
struct numbers {
    uint64_t id, first;
    unsigned count; /* AT_ONCE at most */
};
void mtaio__reply_make(uint64_t id, uint64_t first, unsigned count, char *ret);
bool mtaio__reply_read(const char *reply, struct numbers *ret); /* false: another kind */
bool mtaio__is_reply_of_ours(const char *reply);

/* A subject of nobody else's, of INBOX_MAX bytes, and the pattern of all "inbox.number", of NUMBERED_MAX.
 * ENOMEM, ESYSTEM. */
enum { INBOX_MAX = 64, NUMBERED_MAX = INBOX_MAX + 24 };
int mtaio__inbox_make(char *ret, char *ret_pattern);
void mtaio__numbered_make(const char *inbox, uint64_t number, char *ret);
bool mtaio__numbered_read(const char *subject, size_t inbox_length, uint64_t *ret);

/* A pack is each message's length, in four bytes, the highest first, and its bytes. */
enum { PACK_HEAD = 4 };
size_t mtaio__pack_put(char *at, const void *data, size_t bytes); /* how much that was */

/* The next message; false: there is none, or it is not whole. */
bool mtaio__pack_next(const char **at, const char *end, const char **ret_data, size_t *ret_bytes);

/* A number in as few digits as it needs; the first returns where it ends, the second whether it was one, of 1
 * to 16 digits and nothing more. */
char *mtaio__hex_put(char *at, uint64_t n);
bool mtaio__hex_read(const char *text, uint64_t *ret);

/* --- peers.c: what the bindings on the other side have sent */

enum { PEERS = 256 };
struct peer {
    uint64_t id, next; /* the number that is expected */
    uint64_t used;     /* when, by the table's count */
};
struct peers {
    struct peer *list; /* PEERS of them */
    uint64_t uses;
    size_t last;
};

/* The peer has sent these: how many before them are missing. ret_again: they came before. */
uint64_t mtaio__peers_note(struct peers *p, const struct numbers *n, bool *ret_again);

/* --- codec.c: a codec that is not set does nothing */

/* What is sent of one message. */
struct load {
    mtaio_nats_bytes bytes;
    int result; /* negative: it is refused */
};

/* false: of another size. */
bool mtaio__codec_is_valid(const mtaio_nats_codec *codec);
void mtaio__codec_destroy(const mtaio_nats_codec *codec); /* NULL: nothing */
void mtaio__codec_begin(const mtaio_nats_codec *codec);
void mtaio__codec_end(const mtaio_nats_codec *codec);

/* A run of messages, and, when it is sent, what they held. */
void mtaio__codec_encode(const mtaio_nats_codec *codec, const mtaio_message *messages, int n,
                         struct load *ret);
void mtaio__codec_clear(const mtaio_nats_codec *codec, mtaio_message *messages, int n, struct load *loads);

/* Between begin and end. Its metadata is the caller's afterwards, whichever it is; so are data with a
 * release, where they are not published. Refused: all is as it was. */
int mtaio__codec_decode(const mtaio_nats_codec *codec, mtaio_publication *p);

/* --- binding.c */

uint64_t mtaio__random(void);

struct mtaio_nats_binding {
    atomic_size_t refs;
    atomic_size_t
        holds; /* of the memory: the users together, the sending thread, each subscription, each request */
    mtaio_nats *nats;
    mtaio_nats_binding *next, *prev; /* its lock */
    mtaio_channel *channel;
    mtaio_subscriber *outgoing; /* NULL: nothing is sent */
    struct subscription incoming;
    struct service *services; /* its lock */
    pthread_t sender;
    bool has_sender;
    atomic_bool is_ending;
    atomic_int_least64_t drain_until; /* the sender ends when its buffer is empty, or by then */
    uint64_t id;
    char *prefix;
    size_t prefix_length;
    char **take;
    bool takes_all, filters;
    mtaio_nats_codec codec;
    struct stream *stream; /* of a durable one; NULL */
    struct subscription presence;
    struct taker {
        uint64_t id;
        bool is_back; /* since both connections are */
    } * takers;       /* TAKERS of them, of other bindings; the lock of nats */
    size_t taker_count;
    struct peers peers; /* the thread of incoming; so are the next three */
    struct intake *intake;
    int64_t dropped_before;
    uint64_t seen;
    bool is_listed; /* the lock of nats */
    atomic_uint_least64_t sent, taken, lost, refused;
    atomic_uint_least64_t refused_out; /* of those refused, what was to be sent */
    atomic_uint_least64_t unsendable;  /* taken out of the buffer when the binding ended, and not sent */
};

void mtaio__binding_hold(mtaio_nats_binding *b);
void mtaio__binding_drop(mtaio_nats_binding *b);

/* Ends it: what is waiting is sent until the deadline. 0, ETIMEDOUT. */
int mtaio__binding_end(mtaio_nats_binding *b, int64_t deadline_ns);

void mtaio__binding_tell(mtaio_nats_binding *b, const char *name, uint64_t count, const char *text);

/* --- outgoing.c: the sending thread */

/* Until the deadline of its end has passed. */
bool mtaio__outgoing_is_over(const mtaio_nats_binding *b);

/* Not larger than the limit, and metadata that can be headers. */
bool mtaio__may_be_sent(size_t bytes, const mtaio_metadata *metadata, int64_t limit);
void mtaio__outgoing_refuse(mtaio_nats_binding *b, const char *text, unsigned count);
const mtaio_metadata *mtaio__load_metadata(const mtaio_message *m, const struct load *load);
natsStatus mtaio__headers_set(natsMsg *message, const mtaio_metadata *metadata);
bool mtaio__is_passing(natsStatus s); /* is it of the connection, which comes back, and not of the message? */
int mtaio__outgoing_subscribe(mtaio_nats_binding *b, const mtaio_nats_binding_options *options);
int mtaio__outgoing_start(mtaio_nats_binding *b, const mtaio_nats_binding_options *options);

/* --- incoming.c */

/* As metadata: 0 with *ret NULL where there are none. EINVAL: not such as become metadata. hides: without
 * what durable bindings keep for themselves. */
int mtaio__headers_get(natsMsg *message, bool hides, mtaio_metadata **ret);
int mtaio__incoming_start(mtaio_nats_binding *b);
void mtaio__incoming_free(mtaio_nats_binding *b);

/* --- presence.c */
enum { TAKERS = 256 };
int mtaio__presence_start(mtaio_nats_binding *b);
void mtaio__presence_end(mtaio_nats_binding *b);
void mtaio__presence_free(mtaio_nats_binding *b);
void mtaio__presence_say(mtaio_nats_binding *b);     /* that it is there, or asks who is */
void mtaio__presence_await_locked(mtaio_nats *nats); /* all that were there; the lock */

/* --- asking.c: requests that nobody waits for */
struct asking *mtaio__asking_new(mtaio_nats *nats); /* NULL: no memory */
void mtaio__asking_free(struct asking *a);
void mtaio__asking_fail(struct asking *a, int result); /* all that were asked */
void mtaio__asking_close(struct asking *a);            /* no more, and those end with ECLOSED */

/* --- stream.c: durable bindings, see stream_inner.h. Checks the options, and that the server has the stream.
 */
int mtaio__stream_begin(mtaio_nats_binding *b, const mtaio_nats_binding_options *options);
int mtaio__stream_in_end(mtaio_nats_binding *b, int64_t deadline_ns); /* ETIMEDOUT: emissions are under way */
void mtaio__stream_out_end(mtaio_nats_binding *b);                    /* its sender has ended */
void mtaio__stream_free(mtaio_nats *nats, struct stream *stream);
int mtaio__stream_flush(mtaio_nats_binding *b, uint64_t wanted, int64_t deadline_ns);
void mtaio__stream_stats(const mtaio_nats_binding *b, mtaio_nats_stats *ret);

/* In the place of those above. */
int mtaio__stream_out_start(mtaio_nats_binding *b, const mtaio_nats_binding_options *options);
int mtaio__stream_in_start(mtaio_nats_binding *b);

/* --- request.c */

/* What is asked, and its subject: EINVAL, ENAME, ECLOSED. */
int mtaio__ask_check(const mtaio_nats_binding *b, const char *topic, const void *data, size_t bytes,
                     char *ret);
/* 0; EHANDLER: it says that whoever serves has failed. ENOMEM, ESYSTEM: it cannot be read. */
int mtaio__reply_check(natsMsg *reply);
struct service;
void mtaio__services_end(mtaio_nats_binding *b);

#endif
