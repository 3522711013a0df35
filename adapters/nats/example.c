/* example.c - a shop in two channels, as if they were on two machines: orders, and a question with its
 * answer. Usage: example-nats [URL]. Without a server it says so. */
#include <mtaio/nats.h>
#include <stdio.h>
#include <stdlib.h>

static void check(int result, const char *what) {
    if (result < 0) {
        fprintf(stderr, "%s: %s %s\n", what, mtaio_error_text(result), mtaio_nats_error());
        exit(EXIT_FAILURE);
    }
}

/* One side: its own connection, and a channel bound to it. */
struct side {
    mtaio_channel *channel;
    mtaio_nats *nats;
    mtaio_nats_binding *binding;
};

static void side_begin(struct side *s, const char *url, const char *const *send, const char *const *take) {
    check(mtaio_channel_new(NULL, &s->channel), "channel");
    check(mtaio_nats_open(MTAIO_NATS_OPTIONS(.servers = url), &s->nats), "open");
    check(mtaio_nats_bind(s->nats, s->channel,
                          MTAIO_NATS_BINDING_OPTIONS(.prefix = "shop", .send = send, .take = take),
                          &s->binding),
          "bind");
}

static void side_end(struct side *s) {
    check(mtaio_nats_close(s->nats, -1), "close"); /* sends what waits, and ends the binding */
    mtaio_nats_binding_unref(s->binding);
    mtaio_nats_unref(s->nats);
    mtaio_channel_unref(s->channel);
}

static void answer(mtaio_nats_request *request, void *ctx) {
    (void)ctx;
    mtaio_nats_respond(request, "7 left", sizeof "7 left");
    mtaio_nats_request_unref(request);
}

int main(int argc, char **argv) {
    const char *url = argc > 1 ? argv[1] : "nats://127.0.0.1:4222";
    const char *const orders[] = {"order.**", NULL};
    struct side till, store;
    mtaio_subscriber *sub;
    mtaio_message message;
    mtaio_nats_reply *reply;
    mtaio_nats *trial;

    if (mtaio_nats_open(MTAIO_NATS_OPTIONS(.servers = url), &trial) < 0) {
        printf("no server: start nats-server, and this again\n");
        return 0;
    }
    mtaio_nats_unref(trial);

    side_begin(&till, url, orders, NULL);
    side_begin(&store, url, NULL, orders);

    check(mtaio_subscribe(store.channel, NULL, &sub), "subscribe");
    check(mtaio_publish(till.channel, "order.paid", "42", sizeof "42"), "publish");
    check(mtaio_receive(sub, &message), "receive");
    printf("%s: %s\n", mtaio_message_topic(&message), (const char *)mtaio_message_data(&message));
    mtaio_message_clear(&message);

    check(mtaio_nats_serve(store.binding, "stock.*", MTAIO_NATS_SERVER(.call = answer)), "serve");
    check(mtaio_nats_ask(till.binding, "stock.tea", NULL, 0, -1, &reply), "ask");
    printf("stock.tea: %s\n", (const char *)mtaio_nats_reply_data(reply));
    mtaio_nats_reply_unref(reply);

    mtaio_subscriber_unref(sub);
    side_end(&till);
    side_end(&store);
    return 0;
}
