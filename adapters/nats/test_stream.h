/* test_stream.h - what a server says of its streams, asked over a connection of the test's own. */
#ifndef MTAIO_NATS_TEST_STREAM_H
#define MTAIO_NATS_TEST_STREAM_H

#include "test_server.h"

extern const char *const JETSTREAM[]; /* the server's options */

/* What the stream has: how many messages, and the number of the last; 0 where there is no such stream. */
uint64_t stream_count(const char *url, const char *stream);
uint64_t stream_last(const char *url, const char *stream);
int64_t stream_time(const char *url, const char *stream, uint64_t sequence); /* when it was stored */

/* Removes it; makes one of these subjects (end with NULL), with at most so many messages, which refuses more.
 */
void stream_purge(const char *url, const char *stream);
void stream_delete(const char *url, const char *stream);
void stream_make(const char *url, const char *stream, const char *const *subjects, int64_t max_messages);
void consumer_make(const char *url, const char *stream, const char *consumer, const char *deliver_subject);
void consumer_delete(const char *url, const char *stream, const char *consumer);

/* How many messages the consumer has given out that are not acknowledged; how many it has not given out yet.
 */
uint64_t consumer_open(const char *url, const char *stream, const char *consumer);
uint64_t consumer_waiting(const char *url, const char *stream, const char *consumer);

#endif
