/* test_server.h - a nats-server of the test's own, a peer that speaks the protocol by hand, and both sides of
 * a channel over it. */
#ifndef MTAIO_NATS_TEST_SERVER_H
#define MTAIO_NATS_TEST_SERVER_H

#include <mtaio/nats.h>
#include <sys/types.h>

#include "support.h"

#define MS INT64_C(1000000)
#define HOUR (3600000 * MS) /* for what is not to be waited for: the test would time out */

/* Under a sanitizer, where there are fewer rounds. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define SLOW 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SLOW 1
#endif
#endif
#ifndef SLOW
#define SLOW 0
#endif

/* On a free port of the loopback, with a directory of its own. */
struct server {
    int port;
    pid_t pid; /* 0: it does not run */
    char url[64], directory[64];
};

/* options: further arguments of nats-server, ends with NULL; NULL: none. */
void server_start(struct server *s, const char *const *options);
void server_restart(struct server *s, const char *const *options); /* on the same port */
void server_kill(struct server *s);                                /* -9 */
void server_end(struct server *s);

/* The tests, while the server runs: what main returns. */
#define RUN_WITH_SERVER(tests, server, options)                                                              \
    (server_start(server, options), server_end_after(server, cmocka_run_group_tests(tests, NULL, NULL)))
int server_end_after(struct server *s, int failures);

int free_port(void);
int listen_on(int *ret_port);

/* A connection that is only bytes. */
int raw_connect(int port);               /* greets, and waits for the answer */
void raw_send(int fd, const char *text); /* and waits until the server has read it */
void raw_send_bytes(int fd, const void *bytes, size_t n);
bool raw_reads(int fd, const char *text); /* within five seconds */

/* The next word that begins so, in what the server sends. */
void raw_read_word(int fd, const char *beginning, char *ret, size_t size);

extern const char *const EVERYTHING[];

/* A channel, bound over a connection of its own. */
struct side {
    mtaio_channel *channel;
    mtaio_nats *nats;
    mtaio_nats_binding *binding;
    mtaio_subscriber *sub; /* of all that came */
    mtaio_emitter *events;
    atomic_uint connected, disconnected, reconnected, closed, refused, told_lost, troubled;
    atomic_uint_least64_t lost;
};
struct side_how {
    const char *const *send, *const *take;
    size_t buffer_size;
    mtaio_overflow overflow;
    const mtaio_nats_codec *codec;
    bool pack;
    const mtaio_nats_stream *durable;
    const char *prefix; /* NULL: "shop" */
    int64_t timeout_ns; /* 0: the default */
    int64_t resume_ns;  /* 0: 2 s, so that no slow machine decides whether peers are back in time */
};
void side_begin(struct side *s, const char *url, const struct side_how *how);
void side_end(struct side *s);
mtaio_nats_stats side_stats(const struct side *s);
void side_says(struct side *s, const char *topic, const char *text); /* publishes it */
int side_bind(struct side *s,
              const mtaio_nats_binding_options *options); /* and unbinds: what that returned */

/* The next message has this topic (NULL: none) and these bytes, a string (NULL: whichever). */
void side_expects(struct side *s, const char *topic, const char *text);
void side_expects_nothing(struct side *s);

#endif
