/* channel.c - a channel broadcasts: every subscriber gets every message, and none is lost silently. */
#include "check.h"

static mtaio_subscriber *subscribe(mtaio_channel *channel, size_t buffer_size, mtaio_overflow overflow) {
    mtaio_subscriber *subscriber;

    check(mtaio_channel_subscribe(
        channel, MTAIO_SUBSCRIPTION(.buffer_size = buffer_size, .overflow = overflow), &subscriber));
    return subscriber;
}

static void print_all(const char *name, mtaio_subscriber *subscriber) {
    mtaio_message message;

    printf("%s:", name);
    while (mtaio_receive(subscriber, &message) == 0) { /* what was sent, then that the channel is closed */
        if (message.missed > 0)
            printf(" (%d missed)", (int)message.missed);
        printf(" %s", (const char *)mtaio_message_data(&message));
        mtaio_message_clear(&message);
    }
    printf("\n");
}

int main(void) {
    static const char news[][8] = {"one", "two", "three", "four"};
    mtaio_channel *channel;
    mtaio_subscriber *subscriber, *slow;
    mtaio_message message;

    check(mtaio_channel_new(MTAIO_CHANNEL_OPTIONS(.name = "notifications"), &channel));
    check(mtaio_subscribe(channel, NULL, &subscriber));
    check(mtaio_publish(channel, NULL, "Hello subscribers!", sizeof "Hello subscribers!"));
    check(mtaio_receive(subscriber, &message));
    printf("%s\n", (const char *)mtaio_message_data(&message));
    mtaio_message_clear(&message);

    slow = subscribe(channel, 2, MTAIO_DROP_OLDEST); /* keeps the newest two */
    for (int i = 0; i < 4; i++)
        printf("%s reached %d\n", news[i], check(mtaio_publish(channel, NULL, news[i], sizeof news[i])));
    mtaio_channel_close(channel);
    print_all("subscriber", subscriber);
    print_all("slow", slow);

    mtaio_subscriber_unref(subscriber);
    mtaio_subscriber_unref(slow);
    mtaio_channel_unref(channel);
    return 0;
}
