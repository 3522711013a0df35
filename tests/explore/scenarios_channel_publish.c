/* scenarios_channel_publish.c - publishing into a buffer that is full, by each policy, against receiving and
 * against what ends the waiting, on the unmodified core. Hazards 23, 25, 27, 28. */
#include "channel_scene.h"

/* --- Full buffers ------------------------------------------------------------------------------ */

static void setup_full_of(size_t limit, mtaio_overflow overflow) {
    scene_of(limit, overflow);
    for (size_t i = 0; i < limit; i++) hand_over_now();
}
static void setup_full(void) { setup_full_of(1, MTAIO_BLOCK); }
static void setup_full_two(void) { setup_full_of(2, MTAIO_BLOCK); }
static void setup_full_refuses(void) { setup_full_of(1, MTAIO_REFUSE); }
static void setup_full_oldest(void) { setup_full_of(1, MTAIO_DROP_OLDEST); }
static void setup_full_oldest_two(void) { setup_full_of(2, MTAIO_DROP_OLDEST); }
static void setup_full_newest(void) { setup_full_of(1, MTAIO_DROP_NEWEST); }
/* Two subscribers, both full: room is needed in both. */
static void setup_both_full(void) {
    scene_of(1, MTAIO_BLOCK);
    c.other = subscriber_of(1, MTAIO_BLOCK);
    publish_now();
}

/* --- Waiting for room -------------------------------------------------------------------------- */

static void check_went_in(void) {
    EXPLORE_CHECK(c.result[1] == 1 && c.published[1] == 1);
    scene_end_undropped();
}
static void check_all_in(void) {
    EXPLORE_CHECK(sum(c.refused) == 0);
    scene_end_undropped();
}
static void check_now(void) {
    EXPLORE_CHECK(c.result[1] == 1 || c.result[1] == MTAIO_EAGAIN);
    scene_end_undropped();
}
static void check_soon(void) {
    EXPLORE_CHECK(c.result[1] == 1 || c.result[1] == MTAIO_ETIMEDOUT);
    scene_end_undropped();
}
static void check_soon_closed(void) {
    EXPLORE_CHECK(c.result[1] == MTAIO_ECLOSED || c.result[1] == MTAIO_ETIMEDOUT);
    scene_end_undropped();
}
static void check_one_soon(void) {
    EXPLORE_CHECK(c.result[1] == 1 && (c.result[2] == 1 || c.result[2] == MTAIO_ETIMEDOUT));
    scene_end_undropped();
}
/* Nobody made room: none got in. */
static void check_timed_out(void) {
    EXPLORE_CHECK(c.result[1] == MTAIO_ETIMEDOUT && c.result[2] == MTAIO_ETIMEDOUT);
    scene_end_undropped();
}
static void check_closed(void) {
    EXPLORE_CHECK(c.result[1] == MTAIO_ECLOSED && c.published[1] == 0);
    scene_end_undropped();
}
static void check_closed_or_in(void) {
    EXPLORE_CHECK(c.result[1] == MTAIO_ECLOSED || c.result[1] == 1);
    scene_end_undropped();
}
/* The one that was waited for has gone: nobody is left to get it. */
static void check_nobody_left(void) {
    EXPLORE_CHECK(c.result[1] == 0 && c.published[1] == 1);
    scene_end();
}
static void unsubscribe_other(void) { EXPLORE_CHECK(mtaio_unsubscribe(c.other) == 1); }
static void receive_other(void) { EXPLORE_CHECK(receive_from(c.other, 0) == 0); }
static void check_both_room(void) {
    EXPLORE_CHECK(c.result[1] == 2);
    scene_end_undropped();
}
static void check_one_left(void) {
    EXPLORE_CHECK(c.result[1] == 1);
    scene_end();
}

/* --- The other policies ------------------------------------------------------------------------ */

static void check_refused(void) {
    EXPLORE_CHECK(c.result[1] == 1 || c.result[1] == MTAIO_ELIMIT);
    scene_end_undropped();
}

/* What was dropped is told by the next message, exactly. */
static void check_told(void) {
    mtaio_subscriber_stats s = {.size = sizeof s};
    while (receive_from(c.sub, 0) == 0)
        ;
    EXPLORE_CHECK(mtaio_subscriber_stats_get(c.sub, &s) == 0 && s.waiting == 0);
    EXPLORE_CHECK((uint64_t)sum(c.missed) == s.dropped && (uint64_t)sum(c.received) == s.delivered);
    EXPLORE_CHECK(s.reached == (uint64_t)sum(c.published));
    scene_end();
}
/* Of the newest, by one that is published when there is room again. */
static void check_told_later(void) {
    while (receive_from(c.sub, 0) == 0)
        ;
    publish_now();
    check_told();
}
static void publish_three(void) {
    publish_two();
    publish_now();
}
static void check_dropped_and_ended(void) {
    EXPLORE_CHECK(c.published[1] == 1);
    scene_end();
}

static const struct bounded table[] = {
    ALL("full-publish-receive", .setup = setup_full, TWO(publish_waiting, receive_waiting),
        .check = check_went_in),
    ALL("full-hand-over-receive", .setup = setup_full, TWO(hand_over_waiting, receive_waiting),
        .check = check_went_in),
    ALL("full-publish-now-receive", .setup = setup_full, TWO(publish_now, receive_waiting),
        .check = check_now),
    ALL("full-publish-soon-receive", .setup = setup_full, TWO(publish_soon, receive_waiting),
        .check = check_soon),
    ALL("full-publish-receive-many", .setup = setup_full_two, TWO(publish_waiting, receive_many),
        .check = check_went_in),
    ALL("full-publish-two-receive-two", .setup = setup_full, TWO(publish_waiting, receive_two),
        .check = check_went_in),
    ALL("full-publish-unsubscribe", .setup = setup_full, TWO(hand_over_waiting, unsubscribe_now),
        .check = check_nobody_left),
    ALL("full-publish-drop", .setup = setup_full, TWO(hand_over_waiting, drop_subscriber),
        .check = check_nobody_left),
    ALL("full-publish-close", .setup = setup_full, TWO(hand_over_waiting, close_now), .check = check_closed),
    ALL("full-publish-soon-close", .setup = setup_full, TWO(publish_soon, close_now),
        .check = check_soon_closed),
    ALL("full-both-soon", .setup = setup_full, TWO(publish_soon, publish_soon), .check = check_timed_out),
    UP_TO(2, 3, "full-publish-publish-receive", .setup = setup_full,
          THREE(publish_waiting, publish_waiting, receive_two), .check = check_all_in),
    UP_TO(2, 3, "full-publish-soon-receive-two", .setup = setup_full,
          THREE(publish_waiting, publish_soon, receive_two), .check = check_one_soon),
    UP_TO(2, 3, "full-publish-receive-close", .setup = setup_full,
          THREE(publish_waiting, receive_now, close_now), .check = check_closed_or_in),
    UP_TO(2, 3, "both-full-receive-receive", .setup = setup_both_full,
          THREE(publish_waiting, receive_now, receive_other), .check = check_both_room),
    UP_TO(2, 3, "both-full-receive-unsubscribe", .setup = setup_both_full,
          THREE(publish_waiting, receive_now, unsubscribe_other), .check = check_one_left),

    ALL("refuses-receive", .setup = setup_full_refuses, TWO(hand_over_now, receive_waiting),
        .check = check_refused),
    ALL("oldest-receive", .setup = setup_full_oldest, TWO(hand_over_now, receive_now), .check = check_told),
    ALL("oldest-two-receive", .setup = setup_full_oldest_two, TWO(publish_two, receive_two),
        .check = check_told),
    ALL("oldest-three-receive", .setup = setup_full_oldest, TWO(publish_three, receive_now),
        .check = check_told),
    ALL("oldest-unsubscribe", .setup = setup_full_oldest, TWO(hand_over_now, unsubscribe_now),
        .check = check_dropped_and_ended),
    ALL("newest-receive", .setup = setup_full_newest, TWO(hand_over_now, receive_now),
        .check = check_told_later),
    ALL("newest-three-receive", .setup = setup_full_newest, TWO(publish_three, receive_now),
        .check = check_told_later),
    ALL("newest-drop", .setup = setup_full_newest, TWO(hand_over_now, drop_subscriber),
        .check = check_dropped_and_ended),
    UP_TO(2, 3, "oldest-publish-publish-receive", .setup = setup_full_oldest,
          THREE(publish_now, hand_over_now, receive_now), .check = check_told),
    UP_TO(2, 3, "oldest-publish-receive-receive", .setup = setup_full_oldest_two,
          THREE(hand_over_now, receive_now, receive_now), .check = check_told),
};

int main(int argc, char **argv) { return scene_main(table, sizeof table / sizeof *table, argc, argv); }
