/* test_channel_publish.c - "publish gives the message to every subscriber whose patterns match": who gets it,
 * what becomes of the data, and what is counted. */
#include "channels.h"

/* --- Who gets it ------------------------------------------------------------------------------- */

/* "publish returns the number of subscribers it reached", each gets every message, in order. */
static void test_everybody(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    assert_int_equal(publish(ch, NULL, "early"), 0);
    mtaio_subscriber *a = subscribe(ch, NULL), *b = subscribe(ch, NULL);
    assert_int_equal(publish(ch, NULL, "one"), 2);
    mtaio_subscriber *c = subscribe(ch, NULL);
    assert_int_equal(publish(ch, "topic", "two"), 3);
    note_all(a);
    note_all(b);
    note_all(c);
    assert_noted("one topic:two EAGAIN one topic:two EAGAIN topic:two EAGAIN");
    assert_sums(ch, "3 5 5 0 0 0");
    assert_int_equal(mtaio_channel_count(ch), 3);
    mtaio_subscriber_unref(a);
    mtaio_subscriber_unref(b);
    mtaio_subscriber_unref(c);
    assert_int_equal(mtaio_channel_count(ch), 0);
    mtaio_channel_unref(ch);
}

/* "A subscriber without patterns gets everything. A message without topic goes to every subscriber." */
static void test_topics(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *all = subscribe(ch, NULL), *star = subscribe(ch, "*"), *user = subscribe(ch, "user.*"),
                     *deep = subscribe(ch, "user.**"), *exact = subscribe(ch, "user.login"),
                     *none = subscribe_with(ch, MTAIO_SUBSCRIPTION(.patterns = (const char *const[]){NULL}));
    static const struct {
        const char *topic;
        int reached;
    } table[] = {{"user.login", 6}, {"user.logout", 5}, {"user", 4},
                 {"user.a.b", 4},   {"system", 3},      {NULL, 6}};
    for (size_t i = 0; i < COUNT(table); i++) {
        assert_int_equal(mtaio_channel_reach(ch, table[i].topic), table[i].reached);
        assert_int_equal(publish(ch, table[i].topic, "x"), table[i].reached);
    }
    note_all(user);
    assert_noted("user.login:x user.logout:x x EAGAIN");
    note_all(deep);
    assert_noted("user.login:x user.logout:x user:x user.a.b:x x EAGAIN");
    note_all(exact);
    assert_noted("user.login:x x EAGAIN");
    assert_subscriber_sums(all, "6 0 0 6 6");
    assert_subscriber_sums(star, "6 0 0 6 6");
    assert_subscriber_sums(none, "6 0 0 6 6");
    mtaio_subscriber *subs[] = {all, star, user, deep, exact, none};
    for (size_t i = 0; i < COUNT(subs); i++) mtaio_subscriber_unref(subs[i]);
    assert_sums(ch, "6 28 10 18 0 0");
    mtaio_channel_unref(ch);
}

/* "A subscriber gets a message once however many of its patterns match." */
static void test_once_each(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    static const char *const patterns[] = {"a.b", "a.*", "*.b", "**", "*", "a.**", "a.b", "c", NULL};
    mtaio_subscriber *sub = subscribe_with(ch, MTAIO_SUBSCRIPTION(.patterns = patterns));
    assert_int_equal(mtaio_channel_reach(ch, "a.b"), 1);
    assert_int_equal(publish(ch, "a.b", "1"), 1);
    assert_int_equal(publish(ch, NULL, "2"), 1);
    note_all(sub);
    assert_noted("a.b:1 2 EAGAIN");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* "Adds a pattern (1; 0: it was there), drops one (1; 0: it was not). Adding the first to a subscriber of
 * everything restricts it to that. Who has dropped its last pattern gets only messages without a topic." */
static void test_patterns_change(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    publish(ch, "x", "everything");
    assert_int_equal(mtaio_subscriber_drop(sub, "x"), 0);
    assert_int_equal(mtaio_subscriber_add(sub, "a.*"), 1);
    assert_int_equal(mtaio_subscriber_add(sub, "a.*"), 0);
    publish(ch, "x", "no");
    publish(ch, "a.b", "restricted");
    assert_int_equal(mtaio_subscriber_add(sub, "x"), 1);
    publish(ch, "x", "widened");
    assert_int_equal(mtaio_subscriber_drop(sub, "a.*"), 1);
    assert_int_equal(mtaio_subscriber_drop(sub, "a.*"), 0);
    publish(ch, "a.b", "no");
    publish(ch, "x", "still");
    assert_int_equal(mtaio_subscriber_drop(sub, "x"), 1);
    assert_int_equal(publish(ch, "x", "no"), 0);
    assert_int_equal(publish(ch, NULL, "without"), 1);
    assert_int_equal(mtaio_subscriber_add(sub, "*"), 1);
    publish(ch, "x", "again");
    note_all(sub);
    assert_noted("x:everything a.b:restricted x:widened x:still without x:again EAGAIN");
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* What one subscriber changes is nothing to the others. */
static void test_patterns_shared(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *subs[20];
    for (size_t i = 0; i < COUNT(subs); i++) subs[i] = subscribe(ch, i % 2 != 0 ? "a.*" : "a.b");
    for (size_t i = 0; i < COUNT(subs); i++) {
        assert_int_equal(publish(ch, "a.b", "x"), (int)(COUNT(subs) - i));
        if (i % 3 == 0)
            assert_int_equal(mtaio_unsubscribe(subs[i]), 1);
        else if (i % 3 == 1)
            subs[i] = mtaio_subscriber_unref(subs[i]);
        else
            assert_int_equal(mtaio_subscriber_drop(subs[i], i % 2 != 0 ? "a.*" : "a.b"), 1);
    }
    assert_int_equal(mtaio_channel_reach(ch, "a.b"), 0);
    for (size_t i = 0; i < COUNT(subs); i++) mtaio_subscriber_unref(subs[i]);
    mtaio_channel_unref(ch);
}

/* --- The data ---------------------------------------------------------------------------------- */

/* "data: copied, unless there is a release": as it was when it was published, whatever its size. */
static void test_copied(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *a = subscribe(ch, NULL), *b = subscribe(ch, "**");
    static const size_t sizes[] = {1,  2,  7,  8,  15, 16,  17,  31,  32,  33,   39,   40,   41,    47,
                                   48, 49, 55, 56, 57, 100, 255, 256, 500, 1000, 4096, 5000, 70000, 1 << 20};
    unsigned char *data = malloc(1 << 20);
    assert_non_null(data);
    for (size_t with = 0; with < 2 * COUNT(sizes); with++) {
        const char *topic = with % 2 != 0 ? "a.topic" : NULL;
        size_t bytes = sizes[with / 2];
        for (size_t i = 0; i < bytes; i++) data[i] = (unsigned char)(i * 7 + bytes);
        assert_int_equal(mtaio_publish(ch, topic, data, bytes), 2);
        memset(data, 0xEE, bytes);
        for (int s = 0; s < 2; s++) {
            mtaio_message m = {0}, moved;
            OK(mtaio_subscriber_receive(s != 0 ? a : b, 0, &m));
            moved = m; /* "It may be copied like any struct" */
            memset(&m, 0xEE, sizeof m);
            assert_int_equal(moved.missed, 0);
            assert_int_equal(mtaio_message_bytes(&moved), bytes);
            const unsigned char *got = mtaio_message_data(&moved);
            for (size_t i = 0; i < bytes; i++) CHECK(got[i] == (unsigned char)(i * 7 + bytes));
            assert_true(topic == NULL ? mtaio_message_topic(&moved) == NULL
                                      : strcmp(mtaio_message_topic(&moved), topic) == 0);
            assert_null(mtaio_message_metadata(&moved));
            mtaio_message_clear(&moved);
        }
    }
    free(data);
    mtaio_subscriber_unref(a);
    mtaio_subscriber_unref(b);
    mtaio_channel_unref(ch);
}

/* A message of nothing is a message. */
static void test_empty(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    assert_int_equal(mtaio_publish(ch, "t", NULL, 0), 1);
    assert_int_equal(mtaio_publish(ch, NULL, NULL, 0), 1);
    for (int i = 0; i < 2; i++) {
        mtaio_message m = {0};
        OK(mtaio_receive(sub, &m));
        assert_null(mtaio_message_data(&m));
        assert_int_equal(mtaio_message_bytes(&m), 0);
        assert_true((mtaio_message_topic(&m) != NULL) == (i == 0));
        mtaio_message_clear(&m);
    }
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* "It is empty then; clearing that, or NULL, is fine." */
static void test_cleared(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct payload p = {.text = "p"};
    mtaio_message m = {0};
    mtaio_message_clear(NULL);
    mtaio_message_clear(&m); /* one of zeros is empty */
    assert_int_equal(publish_payload(ch, "topic", &p, 0), 1);
    OK(mtaio_receive(sub, &m));
    mtaio_message_clear(&m);
    mtaio_message_clear(&m);
    assert_int_equal(p.released, 1);
    assert_null(mtaio_message_data(&m));
    assert_null(mtaio_message_topic(&m));
    assert_null(mtaio_message_metadata(&m));
    assert_int_equal(mtaio_message_bytes(&m), 0);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* "data is handed over, shared by all who receive it, and released once after the last": whatever became of
 * it. */
static void test_handed_over(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    struct payload p[6] = {{.text = "0"}, {.text = "1"}, {.text = "2"},
                           {.text = "3"}, {.text = "4"}, {.text = "5"}};
    assert_int_equal(publish_payload(ch, NULL, &p[0], 0), 0); /* nobody there */
    assert_int_equal(p[0].released, 1);
    mtaio_subscriber *a = subscribe(ch, NULL), *b = subscribe(ch, NULL),
                     *old = subscribe_limited(ch, 1, MTAIO_DROP_OLDEST);
    mtaio_message from_a = {0}, from_b = {0};
    assert_int_equal(publish_payload(ch, "t", &p[1], 0), 3);
    OK(mtaio_receive(a, &from_a));
    OK(mtaio_receive(b, &from_b));
    assert_ptr_equal(mtaio_message_data(&from_a), p[1].text);
    assert_ptr_equal(mtaio_message_data(&from_b), p[1].text);
    assert_int_equal(mtaio_message_bytes(&from_b), sizeof p[1].text);
    assert_string_equal(mtaio_message_topic(&from_b), "t");
    mtaio_message_clear(&from_a);
    assert_int_equal(publish_payload(ch, NULL, &p[2], 0), 3); /* drops the one in old */
    assert_int_equal(p[1].released, 0);
    mtaio_message_clear(&from_b);
    assert_int_equal(p[1].released, 1);
    assert_int_equal(mtaio_unsubscribe(a), 1);
    mtaio_subscriber_unref(old);
    assert_int_equal(p[2].released, 0);
    OK(mtaio_receive(b, &from_b));
    mtaio_subscriber_unref(a);
    mtaio_subscriber_unref(b); /* a message outlives its subscriber, and its channel */
    assert_int_equal(publish_payload(ch, NULL, &p[3], 0), 0);
    mtaio_subscriber *last = subscribe(ch, NULL);
    assert_int_equal(publish_payload(ch, NULL, &p[4], 0), 1);
    mtaio_channel_unref(ch);
    assert_int_equal(p[4].released, 0);
    mtaio_subscriber_unref(last);
    assert_int_equal(p[4].released, 1);
    assert_string_equal(mtaio_message_data(&from_b), "2");
    mtaio_message_clear(&from_b);
    assert_int_equal(p[2].released, 1);
    assert_int_equal(p[5].released, 0);
}

/* "On an error nobody has got it, and data with a release stays the caller's." */
static void test_stays_the_callers(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *wide = subscribe(ch, NULL), *narrow = subscribe_limited(ch, 1, MTAIO_REFUSE);
    struct payload p = {.text = "p"};
    publish(ch, NULL, "full");
    assert_int_equal(publish_payload(ch, NULL, &p, 0), MTAIO_ELIMIT);
    mtaio_unsubscribe(narrow);
    mtaio_subscriber *waits = subscribe_limited(ch, 1, MTAIO_BLOCK);
    publish(ch, NULL, "full");
    assert_int_equal(publish_payload(ch, NULL, &p, 0), MTAIO_EAGAIN);
    assert_int_equal(publish_payload(ch, "a.topic.that.is.too.long.to.lie.in.the.message.itself", &p, 0),
                     MTAIO_EAGAIN);
    assert_int_equal(publish_payload(ch, NULL, &p, 1000), MTAIO_ETIMEDOUT);
    assert_int_equal(publish_payload(ch, "a.*", &p, 0), MTAIO_ENAME);
    mtaio_channel_close(ch);
    assert_int_equal(publish_payload(ch, NULL, &p, 0), MTAIO_ECLOSED);
    assert_int_equal(p.released, 0);
    note_all(wide);
    assert_noted("full full ECLOSED");
    assert_sums(ch, "2 4 2 1 1 4");
    mtaio_subscriber_unref(wide);
    mtaio_subscriber_unref(narrow);
    mtaio_subscriber_unref(waits);
    mtaio_channel_unref(ch);
}

/* "metadata: the channel takes a reference", and gives the same object to all. */
static void test_metadata(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *a = subscribe(ch, NULL), *b = subscribe(ch, NULL);
    mtaio_metadata *metadata = NULL;
    mtaio_message m = {0};
    OK(mtaio_metadata_new(&metadata));
    OK(mtaio_metadata_set(metadata, "k", "v"));
    assert_int_equal(
        mtaio_channel_publish(
            ch, MTAIO_PUBLICATION(.topic = "t", .data = "x", .bytes = 2, .metadata = metadata), 0),
        2);
    assert_int_equal(mtaio_metadata_set(metadata, "k", "w"), MTAIO_EBUSY);
    OK(mtaio_receive(a, &m));
    assert_ptr_equal(mtaio_message_metadata(&m), metadata);
    assert_string_equal(mtaio_metadata_get(mtaio_message_metadata(&m), "k"), "v");
    assert_string_equal(mtaio_message_data(&m), "x");
    mtaio_message_clear(&m);
    OK(mtaio_receive(b, &m));
    assert_ptr_equal(mtaio_message_metadata(&m), metadata);
    mtaio_message_clear(&m);
    OK(mtaio_metadata_set(metadata, "k", "w")); /* nobody has it any more */
    mtaio_channel_close(ch);
    assert_int_equal(mtaio_channel_publish(ch, MTAIO_PUBLICATION(.metadata = metadata), 0), MTAIO_ECLOSED);
    OK(mtaio_metadata_set(metadata, "k", "x"));
    mtaio_metadata_unref(metadata);
    mtaio_subscriber_unref(a);
    mtaio_subscriber_unref(b);
    mtaio_channel_unref(ch);
}

/* "message: instead of data, bytes, release: those of a message received, shared, not copied; its topic and
 * metadata too, where none are given." From one channel to another, any number of times. */
static void republish_one(bool handed_over, size_t bytes) {
    mtaio_channel *from = channel_new(), *to = channel_new();
    mtaio_subscriber *in = subscribe(from, NULL), *a = subscribe(to, NULL), *b = subscribe(to, NULL);
    mtaio_metadata *metadata = NULL;
    struct payload p = {.text = "payload"};
    mtaio_message first = {0}, m = {0};
    char *big = calloc(1, bytes);
    OK(mtaio_metadata_new(&metadata));
    assert_int_equal(
        mtaio_channel_publish(from,
                              MTAIO_PUBLICATION(.topic = "in", .data = handed_over ? p.text : big,
                                                .bytes = handed_over ? sizeof p.text : bytes,
                                                .release = handed_over ? release_payload : NULL,
                                                .metadata = handed_over ? metadata : NULL),
                              0),
        1);
    OK(mtaio_receive(in, &first));
    assert_int_equal(mtaio_channel_publish(to, MTAIO_PUBLICATION(.message = &first), 0), 2);
    assert_int_equal(mtaio_channel_publish(to, MTAIO_PUBLICATION(.message = &first, .topic = "out"), 0), 2);
    const void *data = mtaio_message_data(&first);
    mtaio_message_clear(&first);
    for (int i = 0; i < 4; i++) {
        OK(mtaio_receive(i % 2 != 0 ? a : b, &m));
        assert_string_equal(mtaio_message_topic(&m), i < 2 ? "in" : "out");
        assert_ptr_equal(mtaio_message_metadata(&m), handed_over ? metadata : NULL);
        assert_int_equal(mtaio_message_bytes(&m), handed_over ? sizeof p.text : bytes);
        if (handed_over) assert_ptr_equal(mtaio_message_data(&m), p.text);
        if (bytes > sizeof m) assert_ptr_equal(mtaio_message_data(&m), data);
        assert_int_equal(p.released, 0);
        mtaio_message_clear(&m);
    }
    assert_int_equal(p.released, handed_over);
    OK(mtaio_metadata_set(metadata, "k", "v"));
    mtaio_metadata_unref(metadata);
    free(big);
    mtaio_subscriber_unref(in);
    mtaio_subscriber_unref(a);
    mtaio_subscriber_unref(b);
    mtaio_channel_unref(from);
    mtaio_channel_unref(to);
}
static void test_republished(void **state) {
    (void)state;
    republish_one(true, 16);
    republish_one(false, 4);
    republish_one(false, 40);
    republish_one(false, 1000);
    republish_one(false, 100000);
}

/* --- Several at once --------------------------------------------------------------------------- */

static int publish_letters(mtaio_channel *ch, const char *letters, int64_t timeout_ns) {
    mtaio_publication list[16];
    size_t n = strlen(letters);
    for (size_t i = 0; i < n; i++) list[i] = *MTAIO_PUBLICATION(.data = &letters[i], .bytes = 1);
    return mtaio_channel_publish_many(ch, list, n, timeout_ns);
}

static void note_letters(mtaio_subscriber *sub) {
    mtaio_message m = {0};
    char text[64] = "";
    while (mtaio_subscriber_receive(sub, 0, &m) == 0) {
        if (m.missed > 0) sprintf(text + strlen(text), "(%" PRIu64 ")", m.missed);
        strncat(text, mtaio_message_data(&m), 1);
        mtaio_message_clear(&m);
    }
    note("%s", text);
}

/* "Several at once, in order. Returns how many were published: fewer than n where one could not be; the
 * error, where that was the first." */
static void test_many(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    assert_int_equal(publish_letters(ch, "xyz", 0), 3); /* nobody there */
    mtaio_subscriber *all = subscribe(ch, NULL), *narrow = subscribe_limited(ch, 3, MTAIO_BLOCK);
    assert_int_equal(publish_letters(ch, "ab", 0), 2);
    assert_int_equal(publish_letters(ch, "cde", 0), 1);
    assert_int_equal(publish_letters(ch, "fg", 0), MTAIO_EAGAIN);
    assert_int_equal(publish_letters(ch, "fg", 1000000), MTAIO_ETIMEDOUT);
    note_letters(all);
    note_letters(narrow);
    assert_noted("abc abc");
    mtaio_unsubscribe(narrow);
    mtaio_subscriber *refuses = subscribe_limited(ch, 2, MTAIO_REFUSE);
    assert_int_equal(publish_letters(ch, "hijk", -1), 2);
    assert_int_equal(publish_letters(ch, "jk", -1), MTAIO_ELIMIT);
    mtaio_unsubscribe(refuses);
    mtaio_subscriber *old = subscribe_limited(ch, 2, MTAIO_DROP_OLDEST),
                     *new = subscribe_limited(ch, 2, MTAIO_DROP_NEWEST);
    assert_int_equal(publish_letters(ch, "lmnop", 0), 5);
    note_letters(all);
    note_letters(old);
    note_letters(new);
    assert_noted("hilmnop (3)op lm");
    assert_int_equal(publish_letters(ch, "q", 0), 1);
    note_letters(new);
    assert_noted("(3)q");
    mtaio_channel_close(ch);
    assert_int_equal(publish_letters(ch, "r", 0), MTAIO_ECLOSED);
    mtaio_subscriber_unref(all);
    mtaio_subscriber_unref(narrow);
    mtaio_subscriber_unref(refuses);
    mtaio_subscriber_unref(old);
    mtaio_subscriber_unref(new);
    mtaio_channel_unref(ch);
}

/* A bad one among them is where it ends; those before it are published, those behind it stay the caller's. */
static void test_many_bad(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, NULL);
    struct payload p[3] = {{.text = "0"}, {.text = "1"}, {.text = "2"}};
    mtaio_publication list[3];
    for (int i = 0; i < 3; i++)
        list[i] = *MTAIO_PUBLICATION(.topic = i == 1 ? "no.*" : "yes", .data = p[i].text, .bytes = 2,
                                     .release = release_payload);
    int r = mtaio_channel_publish_many(ch, list, 3, 0);
    assert_true(r == 1 || r == MTAIO_ENAME); /* it may look at all of them first */
    note_all(sub);
    assert_noted(r == 1 ? "yes:0 EAGAIN" : "EAGAIN");
    assert_int_equal(p[0].released, r == 1);
    assert_int_equal(p[1].released + p[2].released, 0);
    assert_int_equal(mtaio_channel_publish_many(ch, list + 1, 2, 0), MTAIO_ENAME);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* --- The channel itself ------------------------------------------------------------------------ */

static void test_options(void **state) {
    (void)state;
    char name[] = "notifications";
    mtaio_channel *ch =
        channel_with(MTAIO_CHANNEL_OPTIONS(.name = name, .buffer_size = 2, .overflow = MTAIO_REFUSE));
    memset(name, 'x', sizeof name - 1);
    assert_string_equal(mtaio_channel_name(ch), "notifications");
    assert_false(mtaio_channel_is_closed(ch));
    /* What a subscriber does not say is the channel's; what it says is its own. */
    mtaio_subscriber *plain = subscribe(ch, NULL),
                     *wide = subscribe_with(ch, MTAIO_SUBSCRIPTION(.buffer_size = MTAIO_UNBOUNDED)),
                     *old = subscribe_with(ch, MTAIO_SUBSCRIPTION(.overflow = MTAIO_DROP_OLDEST));
    assert_int_equal(publish_now(ch, NULL, "1"), 3);
    assert_int_equal(publish_now(ch, NULL, "2"), 3);
    assert_int_equal(publish_now(ch, NULL, "3"), MTAIO_ELIMIT);
    mtaio_unsubscribe(plain);
    for (int i = 0; i < 1000; i++) assert_int_equal(publish_now(ch, NULL, "4"), 2);
    assert_subscriber_sums(wide, "1002 0 0 1002 1002");
    assert_subscriber_sums(old, "1002 0 1000 2 2");
    mtaio_subscriber_unref(plain);
    mtaio_subscriber_unref(wide);
    mtaio_subscriber_unref(old);
    mtaio_channel_unref(ch);
    ch = channel_new();
    assert_string_equal(mtaio_channel_name(ch), "");
    assert_ptr_equal(mtaio_channel_ref(ch), ch);
    assert_null(mtaio_channel_unref(ch));
    assert_false(mtaio_channel_is_closed(ch)); /* one reference is left */
    mtaio_channel_unref(ch);
}

/* "max_subscribers is enforced with a clear error"; who has gone makes room. */
static void test_max_subscribers(void **state) {
    (void)state;
    mtaio_channel *ch = channel_with(MTAIO_CHANNEL_OPTIONS(.max_subscribers = 2));
    mtaio_subscriber *a = subscribe(ch, NULL), *b = subscribe(ch, "x"), *c = b;
    assert_int_equal(mtaio_subscribe(ch, NULL, &c), MTAIO_ELIMIT);
    assert_ptr_equal(c, b);
    assert_int_equal(mtaio_unsubscribe(a), 1);
    c = subscribe(ch, NULL);
    assert_int_equal(mtaio_channel_count(ch), 2);
    b = mtaio_subscriber_unref(b);
    b = subscribe(ch, NULL);
    assert_int_equal(mtaio_channel_subscribe(ch, NULL, &a), MTAIO_ELIMIT);
    mtaio_subscriber_unref(a);
    mtaio_subscriber_unref(b);
    mtaio_subscriber_unref(c);
    mtaio_channel_unref(ch);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_everybody),         TEST(test_topics),   TEST(test_once_each),   TEST(test_patterns_change),
        TEST(test_patterns_shared),   TEST(test_copied),   TEST(test_empty),       TEST(test_cleared),
        TEST(test_handed_over),       TEST(test_metadata), TEST(test_republished), TEST(test_many),
        TEST(test_stays_the_callers), TEST(test_many_bad), TEST(test_options),     TEST(test_max_subscribers),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
