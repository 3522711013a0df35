/* topics.c - messages by topic: a subscriber names the patterns that it wants, and may change its mind. */
#include <string.h>

#include "check.h"

static int publish(mtaio_channel *channel, const char *topic, const char *text) {
    return check(mtaio_publish(channel, topic, text, strlen(text) + 1));
}

static void print_all(mtaio_subscriber *subscriber) {
    mtaio_message message;

    while (mtaio_subscriber_receive(subscriber, 0, &message) == 0) {
        const char *topic = mtaio_message_topic(&message);

        printf("%s: %s\n", topic != NULL ? topic : "(no topic)", (const char *)mtaio_message_data(&message));
        mtaio_message_clear(&message);
    }
}

int main(void) {
    static const char *const patterns[] = {"user.*", "system.*", NULL};
    mtaio_channel *channel;
    mtaio_subscriber *subscriber;

    check(mtaio_channel_new(MTAIO_CHANNEL_OPTIONS(.name = "events"), &channel));
    check(mtaio_channel_subscribe(channel, MTAIO_SUBSCRIPTION(.patterns = patterns), &subscriber));

    publish(channel, "user.login", "User logged in");
    publish(channel, "order.placed", "not for us");
    publish(channel, "system.disk.full", "not for us: * is one segment");
    publish(channel, NULL, "for everybody");
    print_all(subscriber);

    check(mtaio_subscriber_add(subscriber, "system.**"));
    check(mtaio_subscriber_drop(subscriber, "user.*"));
    printf("%d want user.logout\n", check(mtaio_channel_reach(channel, "user.logout")));
    publish(channel, "user.logout", "not for us any more");
    publish(channel, "system.disk.full", "Disk is full");
    print_all(subscriber);

    mtaio_subscriber_unref(subscriber);
    mtaio_channel_unref(channel);
    return 0;
}
