/* scenarios_channel_receive.c - publishing against receiving, and against everything that ends a channel or a
 * subscription, on the unmodified core. Hazards 23, 24, 28: no message is lost or comes twice, no wake-up is
 * lost. */
#include "channel_scene.h"

/* --- Publishing and receiving ------------------------------------------------------------------ */

static void setup_one(void) { scene_of(0, MTAIO_BLOCK); }
static void setup_with_message(void) {
    setup_one();
    publish_now();
}
static void setup_two(void) {
    setup_one();
    c.other = subscriber_of(0, MTAIO_BLOCK);
}
static void setup_fd(void) {
    setup_one();
    c.fd = mtaio_subscriber_fd(c.sub);
    EXPLORE_CHECK(c.fd > 0 && !explore_fd_is_set(c.fd));
}
static void setup_fd_with_message(void) {
    setup_fd();
    publish_now();
    EXPLORE_CHECK(explore_fd_is_set(c.fd));
}
/* The ring of the first size is full, and its beginning in the middle. */
static void setup_ring_full(void) {
    setup_one();
    for (int i = 0; i < 3; i++) publish_now();
    for (int i = 0; i < 3; i++) receive_now();
    for (int i = 0; i < 8; i++) publish_now();
}

static void check_received_one(void) {
    EXPLORE_CHECK(sum(c.received) == 1 && sum(c.published) == 1);
    scene_end_undropped();
}
static void check_received_two(void) {
    EXPLORE_CHECK(sum(c.received) == 2);
    scene_end_undropped();
}
/* A receive that gave up has taken nothing. */
static void check_soon(void) {
    EXPLORE_CHECK(c.result[2] == (sum(c.received) == 1 ? 0 : MTAIO_ETIMEDOUT));
    scene_end_undropped();
}
static void check_undropped(void) { scene_end_undropped(); }

/* "All subscribers see the messages in one order." */
static int first_of(mtaio_subscriber *sub) {
    mtaio_message m;
    EXPLORE_CHECK(mtaio_subscriber_receive(sub, 0, &m) == 0);
    int number = *(const uint8_t *)mtaio_message_data(&m);
    note_received(&m);
    return number;
}
static void check_one_order(void) {
    int first = first_of(c.sub), second = first_of(c.sub);
    memset(c.last[0], 0, sizeof c.last[0]);
    EXPLORE_CHECK(first != second && first_of(c.other) == first && first_of(c.other) == second);
    scene_end_undropped();
}

static void publish_two_at_once(void) {
    uint8_t numbers[2] = {next_number(), (uint8_t)(next_number() + 1)};
    mtaio_publication list[2];
    for (int i = 0; i < 2; i++) list[i] = *MTAIO_PUBLICATION(.data = &numbers[i], .bytes = 1);
    int r = mtaio_channel_publish_many(c.ch, list, 2, -1);
    EXPLORE_CHECK(r == 2 || r == MTAIO_ECLOSED);
    for (int i = 0; i < r; i++) note_published(1);
}

/* --- Ending while others publish and receive ---------------------------------------------------- */

static void check_closed(void) {
    EXPLORE_CHECK(mtaio_channel_is_closed(c.ch));
    for (int i = 0; i < SCENE_THREADS; i++)
        EXPLORE_CHECK(c.result[i] >= 0 || c.result[i] == MTAIO_ECLOSED || c.result[i] == MTAIO_EAGAIN);
    if (c.sub) EXPLORE_CHECK(mtaio_unsubscribe(c.sub) == 1 && receive_from(c.sub, -1) == MTAIO_ECLOSED);
    scene_end();
}
/* "Receiver gets closed exactly once", after all that was accepted. */
static void check_drained(void) {
    EXPLORE_CHECK(sum(c.received) == sum(c.published));
    scene_end_undropped();
}
static void check_ended(void) {
    EXPLORE_CHECK(mtaio_channel_count(c.ch) == 0);
    scene_end();
}
static void check_told_ended(void) {
    EXPLORE_CHECK(c.result[1] == MTAIO_ECLOSED || (c.result[1] == 0 && sum(c.received) == 1));
    scene_end();
}
/* Of two, one ended it. */
static void check_ended_once(void) {
    EXPLORE_CHECK(c.result[1] + c.result[2] == 1);
    check_ended();
}
/* The other's reference is the last, or the unsubscribing one's. */
static void setup_two_references(void) {
    setup_with_message();
    mtaio_subscriber_ref(c.sub);
}
static void unsubscribe_and_drop(void) {
    mtaio_subscriber *sub = c.sub;
    mtaio_unsubscribe(sub);
    mtaio_subscriber_unref(sub);
}
static void drop_reference(void) { mtaio_subscriber_unref(c.sub); }
static void check_both_dropped(void) {
    c.sub = NULL;
    check_ended();
}

/* The channel's last reference goes while the subscriber is used: it keeps the memory. */
static void setup_two_channel_references(void) {
    setup_one();
    mtaio_channel_ref(c.ch);
}
static void drop_channel(void) { mtaio_channel_unref(c.ch); }
static void publish_and_drop_channel(void) {
    publish_now();
    drop_channel();
}
static void check_channel_gone(void) {
    while (receive_from(c.sub, 0) == 0)
        ;
    EXPLORE_CHECK(c.result[0] == MTAIO_ECLOSED && sum(c.received) == sum(c.published));
    mtaio_subscriber_unref(c.sub);
}

static void subscribe_now(void) { c.result[explore_self()] = mtaio_subscribe(c.ch, NULL, &c.other); }
static void check_subscribed(void) {
    EXPLORE_CHECK(c.result[2] == 0 && c.reached[1] >= 1);
    scene_end_undropped();
}
static void check_subscribed_or_closed(void) {
    EXPLORE_CHECK((c.result[1] == 0) == (c.other != NULL) && (c.other || c.result[1] == MTAIO_ECLOSED));
    scene_end();
}
static void change_patterns(void) {
    EXPLORE_CHECK(mtaio_subscriber_add(c.sub, "a") == 1 && mtaio_subscriber_drop(c.sub, "a") == 1);
}
static void publish_a(void) { publish_to("a", 0); }
/* The topic is remembered: a message of it goes straight in, where nothing else is to be done. */
static void setup_remembered(void) {
    channel_of(0);
    EXPLORE_CHECK(mtaio_subscribe(c.ch, "a", &c.sub) == 0);
    EXPLORE_CHECK(mtaio_subscribe(c.ch, "b", &c.other) == 0);
    for (int i = 0; i < 3; i++) {
        publish_a();
        receive_now();
    }
}
static void drop_pattern(void) { EXPLORE_CHECK(mtaio_subscriber_drop(c.sub, "a") == 1); }
static void other_adds_pattern(void) { EXPLORE_CHECK(mtaio_subscriber_add(c.other, "*") == 1); }
static void check_reached(void) {
    EXPLORE_CHECK(sums_now().reached == (uint64_t)sum(c.reached));
    scene_end();
}

static void subscribe_limited(void) {
    c.result[explore_self()] = mtaio_subscribe(c.ch, NULL, explore_self() == 1 ? &c.sub : &c.other);
}
static void setup_limited(void) {
    EXPLORE_CHECK(mtaio_channel_new(MTAIO_CHANNEL_OPTIONS(.max_subscribers = 1, .replay = 1), &c.ch) == 0);
    publish_now();
}
/* One of them got in, and what is kept. */
static void check_limited(void) {
    EXPLORE_CHECK((c.result[1] == 0) != (c.result[2] == 0) && c.result[1] + c.result[2] == MTAIO_ELIMIT);
    EXPLORE_CHECK(mtaio_channel_count(c.ch) == 1 && sums_now().waiting == 1);
    c.reached[0] = 1;
    scene_end_undropped();
}

static void setup_replay(void) {
    channel_of(2);
    c.sub = subscriber_of(0, MTAIO_BLOCK);
    publish_now();
}
/* Who comes later gets what was, and what comes, each once. */
static void check_replayed(void) {
    mtaio_subscriber_stats s = {.size = sizeof s};
    EXPLORE_CHECK(mtaio_subscriber_stats_get(c.other, &s) == 0);
    EXPLORE_CHECK(s.waiting == 2);
    c.reached[0] += c.reached[1] == 2 ? 1 : 2; /* given to it by subscribing */
    scene_end_undropped();
}

static const struct bounded table[] = {
    ALL("publish-publish", .setup = setup_two, TWO(publish_now, publish_now), .check = check_one_order),
    ALL("publish-receive-now", .setup = setup_one, TWO(publish_now, receive_now), .check = check_undropped),
    ALL("publish-receive", .setup = setup_one, TWO(publish_now, receive_waiting),
        .check = check_received_one),
    ALL("publish-receive-soon", .setup = setup_one, TWO(publish_now, receive_soon), .check = check_soon),
    ALL("publish-two-receive-two", .setup = setup_one, TWO(publish_two, receive_two),
        .check = check_received_two),
    ALL("publish-at-once-receive-two", .setup = setup_one, TWO(publish_two_at_once, receive_two),
        .check = check_received_two),
    ALL("publish-receive-many", .setup = setup_one, TWO(publish_two, receive_many), .check = check_undropped),
    ALL("hand-over-receive", .setup = setup_one, TWO(hand_over_now, receive_waiting),
        .check = check_received_one),
    ALL("hand-over-receive-two-subscribers", .setup = setup_two, TWO(hand_over_now, receive_waiting),
        .check = check_undropped),
    ALL("publish-grows-receive", .setup = setup_ring_full, TWO(publish_now, receive_two),
        .check = check_undropped),
    ALL("receive-receive", .setup = setup_with_message, TWO(receive_now, receive_now),
        .check = check_received_one),
    ALL("publish-fd", .setup = setup_fd, TWO(publish_now, receive_now), .check = check_undropped),
    ALL("publish-fd-with-message", .setup = setup_fd_with_message, TWO(publish_now, receive_two),
        .check = check_undropped),
    ALL("publish-two-fd", .setup = setup_fd, TWO(publish_two, receive_two), .check = check_received_two),

    ALL("publish-close", .setup = setup_one, TWO(hand_over_now, close_now), .check = check_closed),
    ALL("publish-unsubscribe", .setup = setup_one, TWO(hand_over_now, unsubscribe_now), .check = check_ended),
    ALL("publish-drop", .setup = setup_one, TWO(hand_over_now, drop_subscriber), .check = check_ended),
    ALL("publish-drop-channel", .setup = setup_two_channel_references,
        TWO(publish_and_drop_channel, drop_channel), .check = check_channel_gone),
    ALL("publish-subscribe", .setup = setup_one, TWO(publish_now, subscribe_now), .check = check_subscribed),
    ALL("publish-subscribe-replay", .setup = setup_replay, TWO(publish_now, subscribe_now),
        .check = check_replayed),
    UP_TO(3, EXPLORE_ALL, "publish-change", .setup = setup_one, TWO(publish_a, change_patterns),
          .check = check_undropped),
    ALL("publish-remembered-receive", .setup = setup_remembered, TWO(publish_a, receive_waiting),
        .check = check_reached),
    ALL("publish-remembered-drop-pattern", .setup = setup_remembered, TWO(publish_a, drop_pattern),
        .check = check_reached),
    ALL("publish-remembered-add-pattern", .setup = setup_remembered, TWO(publish_a, other_adds_pattern),
        .check = check_reached),
    ALL("publish-remembered-unsubscribe", .setup = setup_remembered, TWO(publish_a, unsubscribe_now),
        .check = check_reached),
    ALL("publish-remembered-close", .setup = setup_remembered, TWO(publish_a, close_now),
        .check = check_reached),
    ALL("subscribe-subscribe-limit", .setup = setup_limited, TWO(subscribe_limited, subscribe_limited),
        .check = check_limited),
    ALL("receive-close", .setup = setup_one, TWO(receive_waiting, close_now), .check = check_closed),
    ALL("receive-unsubscribe", .setup = setup_with_message, TWO(receive_waiting, unsubscribe_now),
        .check = check_told_ended),
    ALL("receive-waiting-unsubscribe", .setup = setup_one, TWO(receive_waiting, unsubscribe_now),
        .check = check_told_ended),
    ALL("receive-drop-channel", .setup = setup_one, TWO(receive_until_closed, publish_and_drop_channel),
        .check = check_channel_gone),
    ALL("close-close", .setup = setup_with_message, TWO(close_now, close_now), .check = check_closed),
    ALL("close-unsubscribe", .setup = setup_with_message, TWO(close_now, unsubscribe_now),
        .check = check_ended),
    ALL("close-drop", .setup = setup_with_message, TWO(close_now, drop_subscriber), .check = check_ended),
    ALL("close-subscribe", .setup = setup_with_message, TWO(subscribe_now, close_now),
        .check = check_subscribed_or_closed),
    ALL("unsubscribe-unsubscribe", .setup = setup_with_message, TWO(unsubscribe_now, unsubscribe_now),
        .check = check_ended_once),
    ALL("unsubscribe-drop", .setup = setup_two_references, TWO(unsubscribe_and_drop, drop_reference),
        .check = check_both_dropped),
    ALL("fd-close", .setup = setup_fd_with_message, TWO(receive_until_closed, close_now),
        .check = check_drained),

    UP_TO(2, 3, "publish-close-receive", .setup = setup_one,
          THREE(publish_now, close_now, receive_until_closed), .check = check_drained),
    UP_TO(2, 3, "publish-receive-receive", .setup = setup_with_message,
          THREE(publish_now, receive_waiting, receive_waiting), .check = check_received_two),
    UP_TO(1, 3, "publish-receive-receive-soon", .setup = setup_one,
          THREE(publish_two, receive_waiting, receive_soon), .check = check_undropped),
    UP_TO(2, 3, "publish-publish-receive", .setup = setup_one, THREE(publish_now, publish_now, receive_two),
          .check = check_received_two),
    UP_TO(2, 3, "publish-receive-unsubscribe", .setup = setup_one,
          THREE(publish_now, receive_waiting, unsubscribe_now), .check = check_ended),
};

int main(int argc, char **argv) { return scene_main(table, sizeof table / sizeof *table, argc, argv); }
