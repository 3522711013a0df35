/* scenarios_channel_async.c - what waits on a channel without a thread: receiving, publishing in line,
 * watching; cancelled while it is carried out, closed, with other receivers beside it. On the unmodified
 * core. */
#include "channel_scene.h"

/* --- Receiving --------------------------------------------------------------------------------- */

static int take(int result, mtaio_message *message, void *ctx) {
    EXPLORE_CHECK(ctx == &c && os_locks_held() == 0 && c.ended == 0 && c.told == 0);
    if (result < 0) {
        c.told = result;
        return 0;
    }
    c.calls++;
    explore_point(); /* what others do meanwhile */
    note_received(message);
    return 1;
}
static int take_one(int result, mtaio_message *message, void *ctx) {
    take(result, message, ctx);
    return 0;
}
static void on_end(void *ctx) {
    EXPLORE_CHECK(ctx == &c && os_locks_held() == 0);
    EXPLORE_CHECK(++c.ended == 1);
    store_release(&c.flag, 1);
}
static void begin_with(int (*call)(int result, mtaio_message *message, void *ctx)) {
    EXPLORE_CHECK(mtaio_subscriber_receive_async(
                      c.sub, MTAIO_RECEIVER(.call = call, .destroy = on_end, .ctx = &c), &c.pending) == 0);
}
static void begin_taking(void) { begin_with(take); }
static void begin_taking_one(void) { begin_with(take_one); }

static void setup_one(void) { scene_of(0, MTAIO_BLOCK); }
static void setup_taking(void) {
    setup_one();
    begin_taking();
}
static void setup_taking_one(void) {
    setup_one();
    begin_taking_one();
}
static void setup_taking_one_two(void) {
    setup_one();
    c.other = mtaio_subscriber_ref(c.sub);
    begin_taking_one();
}
static void cancel_now(void) { c.result[explore_self()] = mtaio_pending_cancel(c.pending); }

static void end_pending(void) {
    if (c.ended == 0) EXPLORE_CHECK(mtaio_pending_cancel(c.pending) == 1 && c.told == MTAIO_ECANCELED);
    EXPLORE_CHECK(mtaio_pending_cancel(c.pending) == 0);
    EXPLORE_CHECK(c.ended == 1);
    scene_end_undropped();
}
static void check_taken(void) {
    EXPLORE_CHECK(sum(c.received) == sum(c.published) && c.calls == sum(c.published));
    end_pending();
}
static void check_taken_once(void) {
    EXPLORE_CHECK(c.calls == 1 && c.ended == 1 && c.told == 0);
    end_pending();
}
/* Answered 1: told so at once. 0: it was over, or ends after what it was just doing. A message that was not
 * taken is still there. */
static void check_cancelled(void) {
    EXPLORE_CHECK(c.told == MTAIO_ECANCELED && c.ended == 1);
    end_pending();
}
static void check_cancelled_one(void) {
    EXPLORE_CHECK(c.calls + (c.told == MTAIO_ECANCELED) == 1 && c.ended == 1);
    EXPLORE_CHECK(c.result[2] == 0 || c.told == MTAIO_ECANCELED);
    end_pending();
}
static void check_cancelled_twice(void) {
    EXPLORE_CHECK(c.result[1] + c.result[2] == 1 && c.told == MTAIO_ECANCELED && c.ended == 1);
    end_pending();
}
static void check_closed(void) {
    EXPLORE_CHECK(c.ended == 1 && (c.told == MTAIO_ECLOSED || c.told == MTAIO_ECANCELED));
    EXPLORE_CHECK(c.told == MTAIO_ECANCELED || sum(c.received) == sum(c.published));
    end_pending();
}
static void check_ended(void) {
    EXPLORE_CHECK(c.ended == 1 && c.told == MTAIO_ECLOSED);
    scene_end();
}
/* The receiver keeps the subscriber: what is published after all references are gone still comes. */
static void check_kept(void) {
    c.sub = NULL;
    EXPLORE_CHECK(c.calls == 1 && c.ended == 1 && c.told == 0 && mtaio_channel_count(c.ch) == 0);
    scene_end_undropped();
}
/* A thread that waits beside a receiver that is cancelled: the message comes to one of them. */
static void check_beside(void) {
    EXPLORE_CHECK(c.received[1] == 1 && c.calls + (c.told == MTAIO_ECANCELED) == 1);
    EXPLORE_CHECK(c.result[3] == 0 || c.told == MTAIO_ECANCELED);
    end_pending();
}

/* One message: the call that is cancelled takes it, or the thread beside it gets it; in the first case there
 * is another. */
static void cancel_and_replace(void) {
    cancel_now();
    for (unsigned i = 0; !load_acquire(&c.flag); i++) os_nap(i);
    if (c.calls == 1) publish_now();
}
static void check_handed_on(void) {
    EXPLORE_CHECK(c.received[1] == 1);
    end_pending();
}

/* --- Publishing in line ------------------------------------------------------------------------ */

static void be_told(int result, void *ctx) {
    EXPLORE_CHECK(ctx == &c && os_locks_held() == 0 && c.calls++ == 0);
    c.told = result;
    explore_point();
}
static const char *topic_later EXPLORE_STATE;
static void publish_later(void) {
    uint8_t *block = block_new();
    int r = mtaio_channel_publish_async(
        c.ch, MTAIO_PUBLICATION(.topic = topic_later, .data = block, .bytes = 1, .release = release_block),
        MTAIO_PUBLISHED(.call = be_told, .destroy = on_end, .ctx = &c), &c.pending);
    c.result[explore_self()] = r;
    if (r < 0)
        mtaio__free(block, 1);
    else
        c.handed_over++;
}
static void setup_full(void) {
    scene_of(1, MTAIO_BLOCK);
    publish_now();
}
static void setup_line(void) {
    setup_full();
    publish_later();
    EXPLORE_CHECK(c.calls == 0);
}
static void end_line(void) {
    EXPLORE_CHECK(c.result[0] < 0 || c.calls == 1);
    if (c.calls == 1) note_published(c.told);
    EXPLORE_CHECK(c.ended == 1 && (!c.pending || mtaio_pending_cancel(c.pending) == 0));
    scene_end();
}
static void check_went_in(void) {
    EXPLORE_CHECK(c.told == 1);
    end_line();
}
/* "A publish that is cancelled reached nobody." */
static void check_line_cancelled(void) {
    EXPLORE_CHECK(c.told == (c.result[1] == 1 ? MTAIO_ECANCELED : 1));
    end_line();
}
static void check_line_closed(void) {
    EXPLORE_CHECK(c.told == MTAIO_ECLOSED || c.told == 1 || c.told == MTAIO_ECANCELED);
    end_line();
}
static void check_nobody_left(void) {
    EXPLORE_CHECK(c.told == 0);
    end_line();
}
/* What comes later waits behind it. */
static void receive_in_order(void) {
    for (int i = 0; i < 3; i++) receive_waiting();
    EXPLORE_CHECK(c.last[explore_self()][1] == EACH + 1 && c.received[explore_self()] == 3);
}
static void check_behind(void) {
    EXPLORE_CHECK(c.told == 1 && c.result[1] == 1);
    end_line();
}

/* The one in line waits for a subscriber of its own topic; the one behind has room, and only waits its turn.
 */
static void setup_holds_up(void) {
    channel_of(0);
    EXPLORE_CHECK(mtaio_subscribe(c.ch, "b", &c.other) == 0);
    c.sub = subscriber_of(1, MTAIO_BLOCK);
    EXPLORE_CHECK(mtaio_subscriber_add(c.sub, "a") == 1);
    publish_to("a", 0);
    topic_later = "a";
    publish_later();
    EXPLORE_CHECK(c.calls == 0);
}
static void publish_b(void) { publish_to("b", -1); }
static void check_let_go(void) {
    EXPLORE_CHECK(c.result[1] == 1);
    end_line();
}

static void check_behind_cancelled(void) {
    EXPLORE_CHECK(c.result[1] == 1 && c.told == (c.result[2] == 1 ? MTAIO_ECANCELED : 1));
    end_line();
}

/* --- Watching ---------------------------------------------------------------------------------- */

static void be_ready(void *ctx) {
    EXPLORE_CHECK(ctx == &c && os_locks_held() == 0 && c.ended == 0);
    EXPLORE_CHECK(c.calls++ == 0);
}
static void watch_now(void) {
    EXPLORE_CHECK(mtaio_subscriber_watch(c.sub, MTAIO_WATCH(.ready = be_ready, .destroy = on_end, .ctx = &c),
                                         &c.pending) == 0);
}
static void setup_watching(void) {
    setup_one();
    watch_now();
}
static void check_ready(void) {
    EXPLORE_CHECK(c.calls == 1 && c.ended == 1 && mtaio_pending_cancel(c.pending) == 0);
    scene_end();
}
static void check_watch_cancelled(void) {
    EXPLORE_CHECK(c.ended == 1 && c.calls == (c.result[2] == 0));
    scene_end_undropped();
}

static void setup_two(void) {
    setup_one();
    c.other = subscriber_of(0, MTAIO_BLOCK);
}
static void select_now(void) {
    mtaio_subscriber *subs[2] = {c.sub, c.other};
    c.result[explore_self()] = mtaio_select(subs, 2, -1);
}
static void select_soon(void) {
    mtaio_subscriber *subs[2] = {c.sub, c.other};
    c.result[explore_self()] = mtaio_select(subs, 2, SOON);
}
static void check_selected(void) {
    EXPLORE_CHECK(c.result[1] == 0 || c.result[1] == 1 || c.result[1] == MTAIO_ETIMEDOUT);
    scene_end();
}
static void unsubscribe_other(void) { EXPLORE_CHECK(mtaio_unsubscribe(c.other) == 1); }

static const struct bounded table[] = {
    ALL("take-publish", .setup = setup_taking, TWO(hand_over_now, publish_now), .check = check_taken),
    ALL("begin-publish", .setup = setup_one, TWO(publish_now, begin_taking), .check = check_taken),
    ALL("begin-publish-two", .setup = setup_one, TWO(publish_two, begin_taking), .check = check_taken),
    ALL("take-one-publish", .setup = setup_taking_one, TWO(publish_now, publish_now),
        .check = check_taken_once),
    ALL("take-publish-cancel", .setup = setup_taking, TWO(hand_over_now, cancel_now),
        .check = check_cancelled),
    ALL("take-one-publish-cancel", .setup = setup_taking_one, TWO(publish_now, cancel_now),
        .check = check_cancelled_one),
    ALL("take-cancel-cancel", .setup = setup_taking, TWO(cancel_now, cancel_now),
        .check = check_cancelled_twice),
    ALL("take-publish-close", .setup = setup_taking, TWO(publish_now, close_now), .check = check_closed),
    ALL("take-cancel-close", .setup = setup_taking, TWO(cancel_now, close_now), .check = check_closed),
    ALL("begin-close", .setup = setup_one, TWO(begin_taking, close_now), .check = check_closed),
    ALL("take-publish-unsubscribe", .setup = setup_taking, TWO(publish_now, unsubscribe_now),
        .check = check_ended),
    ALL("take-one-publish-drop", .setup = setup_taking_one, TWO(publish_now, drop_subscriber),
        .check = check_kept),
    UP_TO(2, 3, "take-publish-cancel-receive", .setup = setup_taking_one_two,
          THREE(receive_waiting, publish_two, cancel_now), .check = check_beside),
    UP_TO(2, 3, "take-publish-cancel-beside", .setup = setup_taking_one_two,
          THREE(receive_waiting, publish_now, cancel_and_replace), .check = check_handed_on),
    UP_TO(2, 3, "take-publish-cancel-close", .setup = setup_taking, THREE(publish_now, cancel_now, close_now),
          .check = check_closed),

    ALL("line-receive", .setup = setup_line, TWO(receive_two, publish_now), .check = check_went_in),
    ALL("enter-line-receive", .setup = setup_full, TWO(publish_later, receive_two), .check = check_went_in),
    ALL("line-receive-cancel", .setup = setup_line, TWO(cancel_now, receive_waiting),
        .check = check_line_cancelled),
    ALL("line-cancel-close", .setup = setup_line, TWO(cancel_now, close_now), .check = check_line_closed),
    ALL("line-receive-close", .setup = setup_line, TWO(receive_waiting, close_now),
        .check = check_line_closed),
    ALL("line-unsubscribe", .setup = setup_line, TWO(unsubscribe_now, publish_now),
        .check = check_nobody_left),
    ALL("line-publish-behind", .setup = setup_line, TWO(publish_waiting, receive_in_order),
        .check = check_behind),
    ALL("line-holds-up-cancel", .setup = setup_holds_up, TWO(publish_b, cancel_now), .check = check_let_go),
    ALL("line-holds-up-unsubscribe", .setup = setup_holds_up, TWO(publish_b, unsubscribe_now),
        .check = check_let_go),
    UP_TO(2, 3, "line-publish-behind-cancel", .setup = setup_line,
          THREE(publish_waiting, cancel_now, receive_two), .check = check_behind_cancelled),

    ALL("watch-publish", .setup = setup_watching, TWO(publish_now, publish_now), .check = check_ready),
    ALL("begin-watch-publish", .setup = setup_one, TWO(publish_now, watch_now), .check = check_ready),
    ALL("watch-close", .setup = setup_watching, TWO(publish_now, close_now), .check = check_ready),
    ALL("watch-unsubscribe", .setup = setup_watching, TWO(publish_now, unsubscribe_now),
        .check = check_ready),
    ALL("watch-publish-cancel", .setup = setup_watching, TWO(publish_now, cancel_now),
        .check = check_watch_cancelled),
    ALL("select-publish", .setup = setup_two, TWO(select_now, publish_now), .check = check_selected),
    ALL("select-soon-publish", .setup = setup_two, TWO(select_soon, publish_now), .check = check_selected),
    ALL("select-close", .setup = setup_two, TWO(select_now, close_now), .check = check_selected),
    ALL("select-unsubscribe", .setup = setup_two, TWO(select_now, unsubscribe_other),
        .check = check_selected),
};

int main(int argc, char **argv) { return scene_main(table, sizeof table / sizeof *table, argc, argv); }
