/* publisher.c - messages gathered: published together when there are three, or after a second at the latest. */
#include <string.h>

#include "check.h"

static int give(mtaio_publisher *publisher, const char *text) {
    const mtaio_publication p = {.size = sizeof p, .data = text, .bytes = strlen(text) + 1};
    return mtaio_publisher_publish(publisher, &p, -1);
}

/* For so long: 0 not at all. */
static void show(mtaio_subscriber *subscriber, const char *when, int64_t timeout_ns) {
    mtaio_message message;
    printf("%s:", when);
    while (mtaio_subscriber_receive(subscriber, timeout_ns, &message) == 0) {
        printf(" %s=%s", mtaio_message_topic(&message), (const char *)mtaio_message_data(&message));
        mtaio_message_clear(&message);
        timeout_ns = 0;
    }
    putchar('\n');
}

int main(void) {
    mtaio_channel *channel;
    mtaio_subscriber *subscriber;
    mtaio_publisher *publisher;

    check(mtaio_channel_new(NULL, &channel));
    check(mtaio_subscribe(channel, "sensor.*", &subscriber));
    check(mtaio_publisher_new(
        channel, MTAIO_PUBLISHER_OPTIONS(.topic = "sensor.kitchen", .batch = 3, .linger_ns = 1000000000),
        &publisher));

    check(give(publisher, "21.0"));
    check(give(publisher, "21.5"));
    show(subscriber, "gathered", 0);
    check(give(publisher, "22.0"));
    show(subscriber, "three", 0);

    check(give(publisher, "22.5"));
    check(mtaio_publisher_flush(publisher, -1));
    show(subscriber, "flushed", 0);

    check(give(publisher, "23.0"));
    show(subscriber, "a second later", 10000000000);

    check(give(publisher, "23.5"));
    mtaio_publisher_unref(publisher); /* publishes what is left */
    show(subscriber, "at the end", 0);

    mtaio_subscriber_unref(subscriber);
    mtaio_channel_unref(channel);
    return 0;
}
