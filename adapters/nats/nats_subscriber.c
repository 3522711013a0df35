/* nats_subscriber.c - prints the orders that nats_publisher publishes, and what happens to the connection.
 * Usage: nats_subscriber [URL [COUNT]]; without COUNT it goes on for ever. */
#include <mtaio/nats.h>
#include <stdio.h>
#include <stdlib.h>

static int tell(mtaio_event *event, void *ctx) {
    const mtaio_nats_state *state = mtaio_event_data(event);

    (void)ctx;
    fprintf(stderr, "%s %s%s\n", mtaio_event_name(event), state->server, state->text);
    return 0;
}

int main(int argc, char **argv) {
    const char *const everything[] = {"*", NULL};
    int count = argc > 2 ? atoi(argv[2]) : -1;
    mtaio_emitter *events;
    mtaio_channel *ch;
    mtaio_subscriber *sub;
    mtaio_message message;
    mtaio_nats *nats;
    mtaio_nats_binding *binding;

    if (mtaio_emitter_new(NULL, &events) < 0 || mtaio_on(events, "nats.*", tell, NULL) < 0 ||
        mtaio_channel_new(NULL, &ch) < 0 || mtaio_subscribe(ch, "order.**", &sub) < 0)
        return EXIT_FAILURE;
    if (mtaio_nats_open(MTAIO_NATS_OPTIONS(.servers = argc > 1 ? argv[1] : NULL, .events = events), &nats) <
            0 ||
        mtaio_nats_bind(nats, ch, MTAIO_NATS_BINDING_OPTIONS(.prefix = "shop", .take = everything),
                        &binding) < 0) {
        fprintf(stderr, "%s (does nats-server run?)\n", mtaio_nats_error());
        return EXIT_FAILURE;
    }
    for (; count != 0 && mtaio_receive(sub, &message) >= 0; count -= count > 0) {
        printf("%s: %.*s\n", mtaio_message_topic(&message), (int)mtaio_message_bytes(&message),
               (const char *)mtaio_message_data(&message));
        mtaio_message_clear(&message);
    }
    mtaio_nats_close(nats, -1);
    mtaio_nats_binding_unref(binding);
    mtaio_nats_unref(nats);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    mtaio_emitter_unref(events);
    return EXIT_SUCCESS;
}
