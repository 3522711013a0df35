/* channel_bridge.c - events published on a channel, and messages of a channel emitted. */
#include "check.h"

static int welcome(mtaio_event *event, void *ctx) {
    const mtaio_message *message = mtaio_event_message(event); /* NULL: the event was no message before */
    (void)ctx;
    printf("%s: %s%s\n", mtaio_event_name(event), (const char *)mtaio_event_data(event),
           message ? ", by the channel" : "");
    return 0;
}

int main(void) {
    mtaio_emitter *shop, *office;
    mtaio_channel *news;
    mtaio_subscriber *audit, *mailbox;
    mtaio_listener *bridge;
    mtaio_message message;

    check(mtaio_emitter_new(NULL, &shop));
    check(mtaio_emitter_new(NULL, &office));
    check(mtaio_channel_new(MTAIO_CHANNEL_OPTIONS(.name = "news"), &news));
    check(mtaio_subscribe(news, "order.**", &audit));
    check(mtaio_subscribe(news, "user.*", &mailbox));

    /* What the shop emits about users and orders is published under the same names. */
    check(mtaio_emitter_to_channel(shop, "user.*", news, NULL));
    check(mtaio_emitter_to_channel(shop, "order.*", news, &bridge));
    check(mtaio_emit(shop, "order.paid", "23"));
    check(mtaio_emit(shop, "order.sent", "23"));
    check(mtaio_emit(shop, "stock.low", "nobody hears of it there"));

    /* What the mailbox receives is emitted in the office: one at a time. */
    check(mtaio_on(office, "user.*", welcome, NULL));
    check(mtaio_subscriber_to_emitter(mailbox, office, NULL, NULL, NULL));
    check(mtaio_emit(shop, "user.created", "ann"));
    check(mtaio_publish(news, "user.created", "bob", sizeof "bob"));

    check(mtaio_listener_cancel(bridge)); /* orders stay in the shop from now on */
    check(mtaio_emit(shop, "order.lost", "24"));
    while (mtaio_subscriber_receive(audit, 0, &message) == 0) {
        printf("audit: %s %s\n", mtaio_message_topic(&message), (const char *)mtaio_message_data(&message));
        mtaio_message_clear(&message);
    }

    mtaio_listener_unref(bridge);
    mtaio_subscriber_unref(audit);
    mtaio_subscriber_unref(mailbox);
    mtaio_emitter_unref(shop);
    mtaio_channel_unref(news); /* the last reference: with the channel the second bridge ends */
    mtaio_emitter_unref(office);
    return 0;
}
