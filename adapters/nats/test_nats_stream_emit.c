/* test_nats_stream_emit.c - durable bindings whose messages are emitted. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test_stream.h"

static struct server server;

/* --- A side whose messages are emitted --------------------------------------------------------- */

struct worker {
    struct side side;
    mtaio_emitter *emitter;
    atomic_uint calls, marked, failures_left, dead;
    atomic_bool defers;
    atomic_int result; /* of a call that fails */
    char last[64], told[256];
    mtaio_deferral *_Atomic deferrals[8]; /* of each call */
    void (*acts)(struct worker *w);
};

static int work(mtaio_event *event, void *ctx) {
    struct worker *w = ctx;
    const mtaio_nats_data *data = mtaio_event_data(event);
    const char *times = mtaio_event_get(event, "mtaio-delivery");
    mtaio_deferral *deferral;
    CHECK(data && data->bytes < sizeof w->last && ((const char *)data->data)[data->bytes] == '\0');
    strcpy(w->last, data->data);
    CHECK(!times || atoi(times) >= 2);
    if (times) w->marked++;
    unsigned call = w->calls++;
    if (w->acts) w->acts(w);
    if (w->defers) {
        CHECK(mtaio_event_defer(event, &deferral) == 0);
        CHECK(call < 8);
        w->deferrals[call] = deferral;
        return 0;
    }
    if (w->failures_left == 0) return 0;
    w->failures_left--;
    return w->result ? w->result : -1;
}

static int is_dead(mtaio_event *event, void *ctx) {
    struct worker *w = ctx;
    const mtaio_nats_state *state = mtaio_event_data(event);
    CHECK(state->count == 1);
    snprintf(w->told, sizeof w->told, "%s", state->text);
    w->dead++;
    return 0;
}

static void worker_begin(struct worker *w, const char *prefix, const mtaio_nats_stream *how) {
    mtaio_nats_stream s = *how;
    *w = (struct worker){
        .result = w->result, .acts = w->acts, .failures_left = w->failures_left, .defers = w->defers};
    CHECK(mtaio_emitter_new(NULL, &w->emitter) == 0 && mtaio_on(w->emitter, "job.*", work, w) == 0);
    s.emitter = w->emitter;
    if (!s.consumer) s.consumer = "workers";
    if (s.start == MTAIO_NATS_NEW) s.start = MTAIO_NATS_ALL;
    if (s.again_ns == 0) s.again_ns = 20 * MS;
    side_begin(&w->side, server.url,
               &(struct side_how){.prefix = prefix, .send = EVERYTHING, .take = EVERYTHING, .durable = &s});
    CHECK(mtaio_on(w->side.events, "nats.dead", is_dead, w) == 0);
}

static void worker_end(struct worker *w) {
    side_end(&w->side);
    mtaio_emitter_unref(w->emitter);
}

static void complete(struct worker *w, unsigned call, int status) {
    CHECK(mtaio_deferral_complete(w->deferrals[call], status) == 0);
    mtaio_deferral_unref(w->deferrals[call]);
}

/* Of another binding, all stored. */
static void store(const char *prefix, const char *topic, const char *text) {
    struct side a;
    side_begin(&a, server.url,
               &(struct side_how){.prefix = prefix, .send = EVERYTHING, .durable = MTAIO_NATS_STREAM()});
    side_says(&a, topic, text);
    CHECK(mtaio_nats_flush(a.binding, -1) == 0);
    side_end(&a);
}

/* --- Acknowledging ----------------------------------------------------------------------------- */

/* "Else emitted here, under their topic"; "acknowledged [...] when its emission is over and no handler has
 * failed"; also what the binding itself has published; not on the channel. */
static void emitted(void **state) {
    (void)state;
    struct worker w = {0};
    worker_begin(&w, "emitted", MTAIO_NATS_STREAM());
    side_says(&w.side, "job.a", "own");
    side_expects(&w.side, "job.a", "own"); /* from the channel */
    EVENTUALLY(w.calls == 1 && side_stats(&w.side).open == 0);
    CHECK(strcmp(w.last, "own") == 0);
    w.defers = true;
    store("emitted", "job.b", "other");
    EVENTUALLY(w.deferrals[1]);
    support_sleep_ms(50);
    CHECK(side_stats(&w.side).open == 1 && consumer_open(server.url, "emitted", "workers") == 1);
    complete(&w, 1, 0);
    EVENTUALLY(side_stats(&w.side).open == 0 && consumer_open(server.url, "emitted", "workers") == 0);
    side_expects_nothing(&w.side);
    store("emitted", "nobody.listens", "x");
    EVENTUALLY(side_stats(&w.side).taken == 3 && side_stats(&w.side).open == 0);
    store("emitted", NULL, "no topic, no event");
    EVENTUALLY(side_stats(&w.side).refused == 1);
    CHECK(w.calls == 2 && w.marked == 0);
    EVENTUALLY(consumer_waiting(server.url, "emitted", "workers") == 0);
    worker_end(&w);
}

/* "where a handler defers without waiting for it": max_open at once; a deferral that nobody completes has
 * failed. */
static void deferring(void **state) {
    (void)state;
    struct worker w = {.defers = true};
    worker_begin(&w, "deferring", MTAIO_NATS_STREAM(.max_open = 2));
    for (int i = 0; i < 3; i++) side_says(&w.side, "job.a", "x");
    EVENTUALLY(w.deferrals[1]);
    support_sleep_ms(100);
    CHECK(w.calls == 2 && side_stats(&w.side).open == 2);
    complete(&w, 1, 0);
    EVENTUALLY(w.deferrals[2]);
    mtaio_deferral_unref(w.deferrals[2]);
    EVENTUALLY(w.deferrals[3] && w.marked == 1);
    complete(&w, 3, 0);
    complete(&w, 0, 0);
    EVENTUALLY(consumer_open(server.url, "deferring", "workers") == 0);
    worker_end(&w);
}

/* "While [...] a handler has a message, the server is told so, however long that takes." */
static void long_handler(void **state) {
    (void)state;
    struct worker w = {.defers = true};
    worker_begin(&w, "long", MTAIO_NATS_STREAM(.ack_wait_ns = 400 * MS));
    side_says(&w.side, "job.a", "x");
    EVENTUALLY(w.deferrals[0]);
    support_sleep_ms(1500);
    complete(&w, 0, 0);
    support_sleep_ms(600);
    CHECK(w.calls == 1 && side_stats(&w.side).redelivered == 0);
    EVENTUALLY(consumer_open(server.url, "long", "workers") == 0);
    worker_end(&w);
}

/* --- Failing ----------------------------------------------------------------------------------- */

/* "What is not acknowledged comes again [...] and is marked"; then it is done. */
static void failing(void **state) {
    (void)state;
    struct worker w = {.failures_left = 3};
    worker_begin(&w, "failing", MTAIO_NATS_STREAM(.max_deliveries = 5));
    side_says(&w.side, "job.a", "x");
    EVENTUALLY(w.calls == 4 && side_stats(&w.side).open == 0);
    support_sleep_ms(100);
    CHECK(w.calls == 4 && w.marked == 3 && w.dead == 0 && side_stats(&w.side).redelivered == 3);
    EVENTUALLY(consumer_open(server.url, "failing", "workers") == 0);
    worker_end(&w);
}

static void expects_header(const mtaio_message *m, const char *key, const char *value) {
    const char *got = mtaio_metadata_get(mtaio_message_metadata(m), key);
    if (!got || strcmp(got, value) != 0) fprintf(stderr, "%s: %s\n", key, got ? got : "-");
    CHECK(got && strcmp(got, value) == 0);
}

/* max_deliveries: "then it is dead: told (nats.dead), and not tried again"; dead_topic: "where dead messages
 * are published, with their metadata, and [...]; not taken by this binding". */
static void dead_letters(void **state) {
    (void)state;
    struct worker w = {.failures_left = 100, .result = -7};
    struct side graves;
    mtaio_metadata *metadata;
    mtaio_message m;
    side_begin(&graves, server.url,
               &(struct side_how){.prefix = "dead",
                                  .take = (const char *const[]){"grave.*", NULL},
                                  .durable = MTAIO_NATS_STREAM(.consumer = "graves")});
    worker_begin(&w, "dead", MTAIO_NATS_STREAM(.max_deliveries = 3, .dead_topic = "grave.jobs"));
    CHECK(mtaio_metadata_new(&metadata) == 0 && mtaio_metadata_set(metadata, "trace", "9") >= 0);
    CHECK(mtaio_channel_publish(
              w.side.channel,
              MTAIO_PUBLICATION(.topic = "job.a", .data = "body", .bytes = 4, .metadata = metadata),
              -1) >= 0);
    mtaio_metadata_unref(metadata);
    CHECK(mtaio_subscriber_receive(graves.sub, 5000 * MS, &m) >= 0);
    CHECK(strcmp(mtaio_message_topic(&m), "grave.jobs") == 0 && mtaio_message_bytes(&m) == 4 &&
          memcmp(mtaio_message_data(&m), "body", 4) == 0);
    expects_header(&m, "trace", "9");
    expects_header(&m, "mtaio-dead-topic", "job.a");
    expects_header(&m, "mtaio-dead-deliveries", "3");
    expects_header(&m, "mtaio-dead-error", "a handler failed with -7");
    CHECK(mtaio_metadata_count(mtaio_message_metadata(&m)) == 4);
    mtaio_message_clear(&m);
    EVENTUALLY(w.dead == 1 && side_stats(&w.side).dead == 1 && side_stats(&w.side).open == 0);
    CHECK(strcmp(w.told, "job.a: a handler failed with -7") == 0);
    support_sleep_ms(100);
    CHECK(w.calls == 3);
    EVENTUALLY(consumer_open(server.url, "dead", "workers") == 0 &&
               consumer_waiting(server.url, "dead", "workers") == 0); /* its own dead one is passed by */
    CHECK(side_stats(&w.side).taken == 3 && stream_count(server.url, "dead") == 2);
    worker_end(&w);
    side_end(&graves);
}

/* dead_topic "NULL: nowhere"; an event named error that nobody handles has failed. */
static void dead_nowhere(void **state) {
    (void)state;
    struct worker w = {.failures_left = 100, .result = MTAIO_ECANCELED};
    worker_begin(&w, "nowhere", MTAIO_NATS_STREAM(.max_deliveries = 1));
    side_says(&w.side, "job.a", "x");
    EVENTUALLY(w.dead == 1 && side_stats(&w.side).open == 0);
    CHECK(strcmp(w.told, "job.a: cancelled") == 0 && w.calls == 1);
    side_says(&w.side, "error", "x");
    EVENTUALLY(w.dead == 2 && side_stats(&w.side).open == 0);
    CHECK(strncmp(w.told, "error: ", 7) == 0);
    EVENTUALLY(consumer_open(server.url, "nowhere", "workers") == 0);
    CHECK(stream_count(server.url, "nowhere") == 2);
    worker_end(&w);
}

/* A dead message stays open until it is stored, however long its stream is full. */
static void dead_and_no_room(void **state) {
    (void)state;
    struct worker w = {.failures_left = 100};
    worker_begin(&w, "noroom",
                 MTAIO_NATS_STREAM(.max_messages = 1, .refuses_when_full = true, .max_deliveries = 1,
                                   .dead_topic = "grave"));
    side_says(&w.side, "job.a", "x");
    EVENTUALLY(w.side.troubled >= 2);
    CHECK(w.calls == 1 && w.dead == 0 && side_stats(&w.side).open == 1 && side_stats(&w.side).dead == 0);
    stream_purge(server.url, "noroom");
    EVENTUALLY(w.dead == 1 && side_stats(&w.side).open == 0);
    CHECK(stream_count(server.url, "noroom") == 1);
    worker_end(&w);
}

/* max_deliveries counts also those that nobody finished: then it is dead without a further try. */
static void never_finished(void **state) {
    (void)state;
    struct worker w = {.defers = true};
    const mtaio_nats_stream *how = MTAIO_NATS_STREAM(.max_deliveries = 2, .ack_wait_ns = 300 * MS);
    store("never", "job.a", "x");
    for (int i = 0; i < 2; i++) {
        worker_begin(&w, "never", how);
        EVENTUALLY(w.deferrals[0]);
        CHECK(mtaio_nats_close(w.side.nats, 0) == MTAIO_ETIMEDOUT);
        mtaio_deferral_unref(w.deferrals[0]);
        worker_end(&w);
    }
    worker_begin(&w, "never", how);
    EVENTUALLY(w.dead == 1);
    CHECK(w.calls == 0 && strstr(w.told, "given out 3 times, and never finished"));
    worker_end(&w);
}

/* --- Ending ------------------------------------------------------------------------------------ */

/* unbind: "waits until emissions are over [...]; what is open then is acknowledged when it is over, while the
 * connection lasts, or comes again". */
static void ending_with_open_emissions(void **state) {
    (void)state;
    struct worker w = {.defers = true};
    worker_begin(&w, "ending", MTAIO_NATS_STREAM(.ack_wait_ns = 1000 * MS));
    side_says(&w.side, "job.a", "x");
    EVENTUALLY(w.deferrals[0]);
    int64_t start = support_now_ms();
    CHECK(mtaio_nats_unbind(w.side.binding, 200 * MS) == MTAIO_ETIMEDOUT);
    CHECK(support_now_ms() - start >= 190 && support_now_ms() - start < 3000);
    CHECK(consumer_open(server.url, "ending", "workers") == 1);
    complete(&w, 0, 0);
    EVENTUALLY(consumer_open(server.url, "ending", "workers") == 0);
    CHECK(side_stats(&w.side).open == 0);
    worker_end(&w);
    store("ending", "job.a", "y");
    worker_begin(&w, "ending", MTAIO_NATS_STREAM(.ack_wait_ns = 300 * MS));
    EVENTUALLY(w.deferrals[0]);
    CHECK(mtaio_nats_close(w.side.nats, 0) == MTAIO_ETIMEDOUT);
    complete(&w, 0, 0); /* too late for the server */
    worker_end(&w);
    w.defers = false;
    worker_begin(&w, "ending", MTAIO_NATS_STREAM(.ack_wait_ns = 300 * MS));
    EVENTUALLY(w.calls == 1 && w.marked == 1 && side_stats(&w.side).open == 0);
    worker_end(&w);
}

static void unbinds(struct worker *w) { CHECK(mtaio_nats_unbind(w->side.binding, -1) <= 0); }
static void closes(struct worker *w) { mtaio_nats_close(w->side.nats, -1); }
static void closes_emitter(struct worker *w) { CHECK(mtaio_emitter_close(w->emitter) >= 0); }

/* "Your code may call anything": a handler ends the binding, or the connection, without waiting for itself.
 */
static void ended_by_a_handler(void **state) {
    (void)state;
    void (*const acts[])(struct worker *) = {unbinds, closes};
    for (int i = 0; i < 2; i++) {
        struct worker w = {.acts = acts[i]};
        worker_begin(&w, "ended", MTAIO_NATS_STREAM());
        store("ended", "job.a", "x");
        EVENTUALLY(w.calls == 1 && (i == 0 || w.side.closed == 1));
        worker_end(&w);
    }
}

/* A closed emitter: nothing more is taken, and nothing of it is dead; the next one gets it. */
static void closed_emitter(void **state) {
    (void)state;
    struct worker w = {.acts = closes_emitter};
    store("closed", "job.a", "1");
    store("closed", "job.a", "2");
    worker_begin(&w, "closed", MTAIO_NATS_STREAM(.max_deliveries = 3, .again_ns = 10 * MS));
    EVENTUALLY(w.side.troubled == 1);
    support_sleep_ms(300);
    CHECK(w.calls == 1 && w.dead == 0 && side_stats(&w.side).taken <= 2);
    worker_end(&w);
    w.acts = NULL;
    worker_begin(&w, "closed", MTAIO_NATS_STREAM(.max_deliveries = 3));
    EVENTUALLY(w.calls >= 1 && side_stats(&w.side).open == 0 && strcmp(w.last, "2") == 0);
    EVENTUALLY(consumer_open(server.url, "closed", "workers") == 0);
    CHECK(w.dead == 0);
    worker_end(&w);
}

/* A closed channel: the same. */
static void closed_channel(void **state) {
    (void)state;
    struct side b;
    const mtaio_nats_stream *how =
        MTAIO_NATS_STREAM(.consumer = "c", .start = MTAIO_NATS_ALL, .again_ns = 10 * MS);
    const struct side_how sides = {.prefix = "shut", .take = EVERYTHING, .durable = how};
    side_begin(&b, server.url, &sides);
    CHECK(mtaio_channel_close(b.channel) == 0);
    store("shut", "n", "x");
    EVENTUALLY(b.troubled == 1);
    CHECK(side_stats(&b).taken == 0);
    side_end(&b);
    side_begin(&b, server.url, &sides);
    side_expects(&b, "n", "x");
    side_end(&b);
}

/* --- A consumer that goes ---------------------------------------------------------------------- */

/* Deleted under it, a consumer is made again, and goes on: nothing is missed, what was given back comes
 * again, what was handled does not. */
static void deleted_consumer(void **state) {
    (void)state;
    struct worker w = {0};
    worker_begin(&w, "deleted", MTAIO_NATS_STREAM(.again_ns = 3600000 * MS));
    side_says(&w.side, "job.a", "1");
    EVENTUALLY(w.calls == 1 && side_stats(&w.side).open == 0);
    w.failures_left = 1;
    side_says(&w.side, "job.a", "2");
    EVENTUALLY(w.calls == 2 && side_stats(&w.side).open == 0); /* given back, for an hour */
    side_says(&w.side, "job.a", "3");
    EVENTUALLY(w.calls == 3 && side_stats(&w.side).open == 0);
    consumer_delete(server.url, "deleted", "workers");
    side_says(&w.side, "job.a", "4");
    EVENTUALLY(w.calls == 5 && side_stats(&w.side).open == 0 && strcmp(w.last, "4") == 0);
    CHECK(w.marked == 1); /* the second */
    support_sleep_ms(300);
    CHECK(w.calls == 5);
    worker_end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(emitted),
        cmocka_unit_test(deferring),
        cmocka_unit_test(long_handler),
        cmocka_unit_test(failing),
        cmocka_unit_test(dead_letters),
        cmocka_unit_test(dead_nowhere),
        cmocka_unit_test(dead_and_no_room),
        cmocka_unit_test(never_finished),
        cmocka_unit_test(ending_with_open_emissions),
        cmocka_unit_test(ended_by_a_handler),
        cmocka_unit_test(closed_emitter),
        cmocka_unit_test(closed_channel),
        cmocka_unit_test(deleted_consumer),
    };
    return RUN_WITH_SERVER(tests, &server, JETSTREAM);
}
