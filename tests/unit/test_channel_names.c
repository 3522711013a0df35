/* test_channel_names.c - topics and patterns from outside: "no stream of unseen names grows memory without
 * bound, and no pattern or name, however hostile, takes more than a small multiple of its length." Hazards
 * 38, 40, 41. */
#include "channels.h"

#include "topic_oracle.h"

/* "Emitters and channels take patterns in the same way, through one matcher": each pattern against each name,
 * with the oracle's answers. */
static void test_matching(void **state) {
    (void)state;
    static const char *const patterns[] = {"a",      "a.b",    "*",      "**",   "*.*",
                                           "a.*",    "*.b",    "a.**",   "**.b", "**.*",
                                           "*.**.c", "a.**.c", "**.b.*", "b",    "\xc3\xa9.*"};
    static const char *const names[] = {"a",     "b",       "a.b",   "a.c",       "b.b",
                                        "a.b.c", "a.x.y.c", "c.b.a", "\xc3\xa9.x"};
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *subs[COUNT(patterns)];
    for (size_t i = 0; i < COUNT(patterns); i++) subs[i] = subscribe(ch, patterns[i]);
    for (int round = 0; round < 4; round++) /* what is asked for again may be answered from memory */
        for (size_t n = 0; n < COUNT(names); n++) {
            int expected = 0;
            for (size_t i = 0; i < COUNT(patterns); i++) expected += oracle_matches(patterns[i], names[n]);
            assert_int_equal(mtaio_channel_reach(ch, names[n]), expected);
            assert_int_equal(publish(ch, names[n], "x"), expected);
            for (size_t i = 0; i < COUNT(patterns); i++) {
                note_all(subs[i]);
                assert_int_equal(strcmp(notes.text, "EAGAIN") != 0, oracle_matches(patterns[i], names[n]));
                forget_notes();
            }
        }
    for (size_t i = 0; i < COUNT(patterns); i++) mtaio_subscriber_unref(subs[i]);
    mtaio_channel_unref(ch);
}

/* The longest name and pattern there may be; one byte more is refused, and nothing is cut. */
static void test_length(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    char *name = malloc(MTAIO_NAME_MAX + 2), *huge = malloc(1 << 20);
    mtaio_subscriber *sub = NULL, *all = subscribe(ch, "*");
    mtaio_message m = {0};
    assert_non_null(name);
    assert_non_null(huge);
    memset(name, 'n', MTAIO_NAME_MAX + 1);
    name[MTAIO_NAME_MAX + 1] = '\0';
    memset(huge, 'h', (1 << 20) - 1);
    huge[(1 << 20) - 1] = '\0';
    assert_int_equal(publish(ch, name, "x"), MTAIO_ENAME);
    assert_int_equal(publish(ch, huge, "x"), MTAIO_ENAME);
    assert_int_equal(mtaio_subscribe(ch, name, &sub), MTAIO_EPATTERN);
    assert_int_equal(mtaio_subscribe(ch, huge, &sub), MTAIO_EPATTERN);
    assert_int_equal(mtaio_channel_reach(ch, name), MTAIO_ENAME);
    name[MTAIO_NAME_MAX] = '\0';
    sub = subscribe(ch, name);
    assert_int_equal(mtaio_channel_reach(ch, name), 2);
    assert_int_equal(publish(ch, name, "x"), 2);
    OK(mtaio_receive(sub, &m));
    assert_string_equal(mtaio_message_topic(&m), name);
    mtaio_message_clear(&m);
    name[MTAIO_NAME_MAX - 1] = '\0';
    assert_int_equal(publish(ch, name, "x"), 1);
    mtaio_subscriber_unref(sub);
    mtaio_subscriber_unref(all);
    mtaio_channel_unref(ch);
    free(name);
    free(huge);
}

/* A topic that nobody has subscribed to leaves nothing behind; with replay by topic, as many as were asked
 * for. */
static void test_unseen_topics(void **state) {
    (void)state;
    for (size_t replay = 0; replay <= 16; replay += 16) {
        mtaio_channel *ch = channel_with(MTAIO_CHANNEL_OPTIONS(.replay = replay, .replay_by_topic = true));
        mtaio_subscriber *sub = subscribe(ch, "some.*"),
                         *star = subscribe_with(
                             ch, MTAIO_SUBSCRIPTION(.buffer_size = 4, .overflow = MTAIO_DROP_OLDEST));
        size_t blocks = 0, bytes = 0;
        char topic[40];
        for (int i = 0; i < 30000; i++) {
            snprintf(topic, sizeof topic, "%s.%d.%d", i % 2 != 0 ? "other" : "another", i, i * 7);
            CHECK(publish(ch, topic, "x") == 1);
            CHECK(mtaio_channel_reach(ch, topic) == 1);
            if (i == 10000) {
                mtaio_reclaim();
                blocks = support_live_blocks();
                bytes = support_live_bytes();
            }
        }
        mtaio_reclaim();
        assert_true(support_live_blocks() <= blocks + 64);
        assert_true(support_live_bytes() <= bytes + 8192);
        mtaio_subscriber_unref(sub);
        mtaio_subscriber_unref(star);
        mtaio_channel_unref(ch);
    }
}

/* Patterns come and go for ever: what is kept is what is subscribed. Hazard 43. */
static void test_churn(void **state) {
    (void)state;
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = subscribe(ch, "stays");
    size_t blocks = 0, bytes = 0;
    char pattern[40];
    for (int i = 0; i < 20000; i++) {
        snprintf(pattern, sizeof pattern, i % 3 == 0 ? "p%d.*" : i % 3 == 1 ? "p%d.q" : "**.p%d", i);
        CHECK(mtaio_subscriber_add(sub, pattern) == 1);
        CHECK(publish_now(ch, "stays", "x") == 1);
        mtaio_message m;
        CHECK(mtaio_receive(sub, &m) == 0);
        mtaio_message_clear(&m);
        CHECK(mtaio_subscriber_drop(sub, pattern) == 1);
        if (i == 5000) {
            mtaio_reclaim();
            blocks = support_live_blocks();
            bytes = support_live_bytes();
        }
    }
    mtaio_reclaim();
    assert_true(support_live_blocks() <= blocks + 64);
    assert_true(support_live_bytes() <= bytes + 8192);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

/* --- Hostile ----------------------------------------------------------------------------------- */

static char *repeat(const char *part, unsigned times, const char *end) {
    char *text = malloc(strlen(part) * times + strlen(end) + 1);
    CHECK(text != NULL);
    *text = '\0';
    for (size_t at = 0, bytes = strlen(part); times-- > 0; at += bytes) memcpy(text + at, part, bytes + 1);
    return strcat(text, end);
}

static void hostile(mtaio_channel *ch, const char *pattern, const char *name, int expected) {
    mtaio_subscriber *sub = NULL;
    CHECK(mtaio_subscribe(ch, pattern, &sub) == 0);
    CHECK(mtaio_channel_reach(ch, name) == expected);
    CHECK(publish_now(ch, name, "x") == expected);
    mtaio_message m;
    CHECK(mtaio_subscriber_receive(sub, 0, &m) == (expected ? 0 : MTAIO_EAGAIN));
    if (expected) {
        CHECK(strcmp(mtaio_message_topic(&m), name) == 0);
        mtaio_message_clear(&m);
    }
    mtaio_subscriber_unref(sub);
}

static void *hostile_patterns(void *unused) {
    (void)unused;
    mtaio_channel *ch = channel_new();
    char *name = repeat("a.", 9999, "a"), *short_name = repeat("a.", 999, "a"),
         *stars = repeat("*.", 9999, "*"), *mismatch = repeat("*.", 9999, "b"),
         *doubles = repeat("**.", 9999, "**"), *pairs = repeat("**.a.", 500, "b"),
         *ends = repeat("**.a.", 500, "**"), *mixed = repeat("**.*.", 500, "a");
    hostile(ch, stars, name, 1);
    hostile(ch, mismatch, name, 0);
    hostile(ch, doubles, name, 1);
    hostile(ch, pairs, short_name, 0);
    hostile(ch, ends, short_name, 1);
    hostile(ch, mixed, short_name, 1);
    mtaio_channel_unref(ch);
    char *all[] = {name, short_name, stars, mismatch, doubles, pairs, ends, mixed};
    for (size_t i = 0; i < COUNT(all); i++) free(all[i]);
    return NULL;
}

/* A matcher that tries every way would not end before the test's time limit, a recursive one not within this
 * stack. */
static void test_hostile_patterns(void **state) {
    (void)state;
    pthread_attr_t attr;
    pthread_t thread;
    OK(pthread_attr_init(&attr));
    OK(pthread_attr_setstacksize(&attr, SANITIZED ? 1 << 20 : 128 << 10));
    OK(pthread_create(&thread, &attr, hostile_patterns, NULL));
    OK(pthread_join(thread, NULL));
    OK(pthread_attr_destroy(&attr));
}

/* One subscriber with 20,000 patterns, and 20,000 subscribers with one each: found, changed and dropped.
 * Hazard 42. */
static void test_crowd(void **state) {
    (void)state;
    enum { MANY = 20000 };
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *one = subscribe(ch, "one"), **many = calloc(MANY, sizeof(mtaio_subscriber *));
    char pattern[32];
    assert_non_null(many);
    for (int i = 0; i < MANY; i++) {
        snprintf(pattern, sizeof pattern, "a.%d.c", i);
        CHECK(mtaio_subscriber_add(one, pattern) == 1);
        CHECK(mtaio_subscribe(ch, i % 10 == 0 ? "a.*.c" : pattern, &many[i]) == 0);
    }
    assert_int_equal(mtaio_channel_count(ch), MANY + 1);
    assert_int_equal(publish(ch, "a.1.c", "x"), 1 + 1 + MANY / 10);
    assert_int_equal(publish(ch, "a.x.c", "x"), MANY / 10);
    assert_int_equal(publish(ch, NULL, "x"), MANY + 1);
    for (int i = 0; i < MANY; i++) {
        if (i % 2 != 0) CHECK(mtaio_unsubscribe(many[i]) == 1);
        mtaio_subscriber_unref(many[i]);
    }
    assert_int_equal(publish(ch, "a.1.c", "x"), 1);
    assert_int_equal(mtaio_unsubscribe(one), 1);
    assert_int_equal(mtaio_channel_count(ch), 0);
    check_balance(ch);
    mtaio_subscriber_unref(one);
    mtaio_channel_unref(ch);
    free(many);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_matching), TEST(test_length),           TEST(test_unseen_topics),
        TEST(test_churn),    TEST(test_hostile_patterns), TEST(test_crowd),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
