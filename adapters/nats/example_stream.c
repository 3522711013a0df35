/* example_stream.c - orders that are not lost: a till that publishes them, and a store whose handlers work on
 * them, one after another, and again where one fails. Usage: example-nats-stream [URL]. Without a server that
 * has JetStream (nats-server -js) it says so. */
#include <mtaio/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void check(int result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "%s: %s %s\n", what, mtaio_error_text(result), mtaio_nats_error());
        exit(EXIT_FAILURE);
    }
}

/* An order that fails is tried again; at the third time it is dead. */
static int work(mtaio_event *event, void *ctx) {
    const mtaio_nats_data *data = mtaio_event_data(event);
    const char *times = mtaio_event_get(event, "mtaio-delivery"); /* NULL: for the first time */
    (void)ctx;
    printf("%s: %.*s%s%s\n", mtaio_event_name(event), (int)data->bytes, (const char *)data->data,
           times ? ", delivery " : "", times ? times : "");
    return strcmp(mtaio_event_name(event), "order.broken") == 0 ? -1 : 0;
}

static int tell(mtaio_event *event, void *ctx) {
    const mtaio_nats_state *state = mtaio_event_data(event);
    (void)ctx;
    printf("dead: %s\n", state->text);
    return 0;
}

static const char *const orders[] = {"order.*", NULL};

static void publish_orders(mtaio_nats *nats) {
    mtaio_channel *ch;
    mtaio_nats_binding *binding;
    check(mtaio_channel_new(NULL, &ch), "channel");
    check(
        mtaio_nats_bind(nats, ch,
                        MTAIO_NATS_BINDING_OPTIONS(.prefix = "till", .send = orders,
                                                   .durable = MTAIO_NATS_STREAM(.max_age_ns = 3600000000000)),
                        &binding),
        "bind the till");
    check(mtaio_publish(ch, "order.tea", "two", 3), "publish");
    check(mtaio_publish(ch, "order.broken", "?", 1), "publish");
    check(mtaio_publish(ch, "order.cake", "one", 3), "publish");
    check(mtaio_nats_unbind(binding, -1), "unbind"); /* they are stored now, and the till may go */
    mtaio_nats_binding_unref(binding);
    mtaio_channel_unref(ch);
}

static void work_on_orders(mtaio_nats *nats, mtaio_emitter *em) {
    mtaio_channel *ch;
    mtaio_nats_binding *binding;
    mtaio_nats_stats stats = {.size = sizeof stats};
    const struct timespec moment = {.tv_nsec = 10000000};
    check(mtaio_channel_new(NULL, &ch), "channel");
    check(mtaio_nats_bind(
              nats, ch,
              MTAIO_NATS_BINDING_OPTIONS(.prefix = "till", .take = orders,
                                         .durable =
                                             MTAIO_NATS_STREAM(.consumer = "store", .start = MTAIO_NATS_ALL,
                                                               .emitter = em, .again_ns = 50000000,
                                                               .max_deliveries = 3, .dead_topic = "dead")),
              &binding),
          "bind the store");
    do {
        nanosleep(&moment, NULL);
        check(mtaio_nats_stats_get(binding, &stats), "stats");
    } while (stats.taken < 5 || stats.open > 0);
    check(mtaio_nats_unbind(binding, -1), "unbind");
    mtaio_nats_binding_unref(binding);
    mtaio_channel_unref(ch);
}

int main(int argc, char **argv) {
    mtaio_emitter *em, *events;
    mtaio_nats *nats;

    check(mtaio_emitter_new(NULL, &em), "emitter");
    check(mtaio_emitter_new(NULL, &events), "emitter");
    check(mtaio_on(em, "order.*", work, NULL), "on");
    check(mtaio_on(events, "nats.dead", tell, NULL), "on");
    if (mtaio_nats_open(
            MTAIO_NATS_OPTIONS(.servers = argc > 1 ? argv[1] : "nats://127.0.0.1:4222", .events = events),
            &nats) < 0) {
        printf("no server: start nats-server -js, and this again\n");
    } else {
        publish_orders(nats);
        work_on_orders(nats, em);
        mtaio_nats_unref(nats);
    }
    mtaio_emitter_unref(events);
    mtaio_emitter_unref(em);
    return 0;
}
