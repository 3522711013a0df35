/* test_nats_stream.c - durable bindings, sentence by sentence, over a server of its own with JetStream. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test_stream.h"

static struct server server;

/* Each test has a prefix, and so a stream, of its own. */
static void begin(struct side *s, const char *prefix, const char *const *send, const char *const *take,
                  const mtaio_nats_stream *how) {
    side_begin(s, server.url,
               &(struct side_how){.prefix = prefix, .send = send, .take = take, .durable = how});
}

/* --- Publishing and taking --------------------------------------------------------------------- */

/* "The same over a stream": topics, data, metadata; "No binding takes its own"; acknowledged when cleared. */
static void everything_travels(void **state) {
    (void)state;
    struct side a, b;
    mtaio_metadata *metadata;
    mtaio_message m;
    const mtaio_nats_stream *how = MTAIO_NATS_STREAM();
    begin(&a, "travels", EVERYTHING, EVERYTHING, how);
    begin(&b, "travels", EVERYTHING, EVERYTHING, how);
    CHECK(mtaio_metadata_new(&metadata) == 0 && mtaio_metadata_set(metadata, "trace", "7") >= 0);
    CHECK(mtaio_channel_publish(
              a.channel, MTAIO_PUBLICATION(.topic = "t.u", .data = "a\0b", .bytes = 3, .metadata = metadata),
              -1) >= 0);
    mtaio_metadata_unref(metadata);
    CHECK(mtaio_subscriber_receive(b.sub, 5000 * MS, &m) >= 0);
    CHECK(strcmp(mtaio_message_topic(&m), "t.u") == 0);
    CHECK(mtaio_message_bytes(&m) == 3 && memcmp(mtaio_message_data(&m), "a\0b", 4) == 0);
    CHECK(mtaio_metadata_count(mtaio_message_metadata(&m)) == 1);
    CHECK(strcmp(mtaio_metadata_get(mtaio_message_metadata(&m), "trace"), "7") == 0);
    CHECK(side_stats(&b).open == 1);
    support_sleep_ms(50);
    CHECK(side_stats(&b).open == 1);
    mtaio_message_clear(&m);
    EVENTUALLY(side_stats(&b).open == 0);
    CHECK(mtaio_publish(a.channel, "empty", NULL, 0) >= 0 && mtaio_publish(a.channel, NULL, "x", 1) >= 0);
    side_expects(&b, "empty", "");
    side_expects(&b, NULL, "x");
    CHECK(mtaio_publish(b.channel, "back", "y", 1) >= 0);
    side_expects(&a, "t.u", NULL); /* its own, from the channel */
    side_expects(&a, "empty", "");
    side_expects(&a, NULL, "x");
    side_expects(&a, "back", "y");
    side_expects(&b, "back", "y");
    side_expects_nothing(&a);
    side_expects_nothing(&b);
    CHECK(mtaio_nats_flush(a.binding, -1) == 0);
    mtaio_nats_stats stats = side_stats(&a);
    CHECK(stats.sent == 3 && stats.acknowledged == 3 && stats.unacknowledged == 0 && stats.taken == 1 &&
          stats.refused == 0);
    CHECK(stream_count(server.url, "travels") == 4);
    side_end(&a);
    side_end(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_travels),
    };
    server_start(&server, JETSTREAM);
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    server_end(&server);
    return failures;
}
