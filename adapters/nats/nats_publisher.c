/* nats_publisher.c - publishes an order a second to every nats_subscriber, on this machine or others.
 * Usage: nats_publisher [URL [COUNT]] */
#include <mtaio/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int main(int argc, char **argv) {
    const char *const orders[] = {"order.**", NULL};
    int count = argc > 2 ? atoi(argv[2]) : 10;
    mtaio_channel *ch;
    mtaio_nats *nats;
    mtaio_nats_binding *binding;

    if (mtaio_channel_new(NULL, &ch) < 0) return EXIT_FAILURE;
    if (mtaio_nats_open(MTAIO_NATS_OPTIONS(.servers = argc > 1 ? argv[1] : NULL), &nats) < 0 ||
        mtaio_nats_bind(nats, ch, MTAIO_NATS_BINDING_OPTIONS(.prefix = "shop", .send = orders), &binding) <
            0) {
        fprintf(stderr, "%s (does nats-server run?)\n", mtaio_nats_error());
        return EXIT_FAILURE;
    }
    for (int i = 1; i <= count; i++) {
        char text[32];
        int length = snprintf(text, sizeof text, "%d", i);
        mtaio_publish(ch, i % 3 == 0 ? "order.sent" : "order.paid", text, (size_t)length);
        printf("published %d\n", i);
        nanosleep(&(struct timespec){.tv_sec = argc <= 2, .tv_nsec = 1000000}, NULL);
    }
    int r = mtaio_nats_close(nats, -1); /* when all is sent */
    mtaio_nats_binding_unref(binding);
    mtaio_nats_unref(nats);
    mtaio_channel_unref(ch);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
