/* test_names.c - what a name is, what a pattern is, and which names a pattern matches. */
#include "record.h"

static const char *const good_names[] = {
    "a",
    "user_login",
    "user.created",
    "a.b.c.d.e.f",
    "A-B:C/1",
    " ",
    "a b",
    "\x01",
    "\x7f",
    "\t.\n",
    "\xc3\xa9t\xc3\xa9",
    "\xe6\x97\xa5.\xe6\x9c\xac",
    "\xf0\x9f\x8e\x89", /* two, three and four bytes */
    "\xc2\x80",
    "\xe0\xa0\x80",
    "\xf0\x90\x80\x80", /* the first of each length */
    "\xdf\xbf",
    "\xef\xbf\xbf",
    "\xf4\x8f\xbf\xbf", /* the last */
    "\xed\x9f\xbf",
    "\xee\x80\x80", /* beside the surrogates */
};

static const char *const bad_names[] = {
    "",
    ".",
    "..",
    ".a",
    "a.",
    "a..b",
    "a.b.",
    "a...b", /* empty segments */
    "\x80",
    "a\xbf",
    "\xc3",
    "a.\xc3",
    "\xc3.a",
    "\xc3(",
    "\xe2\x82",
    "\xe2\x82.a",
    "\xf0\x9f\x8e", /* cut */
    "\xc0\x80",
    "\xc0\xaf",
    "\xc1\xbf",
    "\xe0\x80\xaf",
    "\xe0\x9f\xbf",
    "\xf0\x8f\xbf\xbf", /* too long a form */
    "\xed\xa0\x80",
    "\xed\xbf\xbf", /* surrogates */
    "\xf4\x90\x80\x80",
    "\xf5\x80\x80\x80",
    "\xf8\x88\x80\x80\x80",
    "\xfe",
    "\xff", /* beyond Unicode */
};

static const char *const patterns[] = {
    "*", "**", "a.*", "*.a", "a.*.b", "a.**", "**.a", "a.**.b", "*.*", "**.**", "*.**", "*.a.**", "a.*.*.*",
};

/* A '*' within a segment, and what would be no name without it. */
static const char *const bad_patterns[] = {
    "log*", "*log", "lo*g", "a.log*", "log*.a", "***",  "a.***",  "**a",    "a**",
    "a.*b", "*.",   ".*",   "*..*",   "**.",    "a.*.", "*.\xff", "\xc3.*",
};

/* Answers what each way to give a name to an emission or an event says about it; they must agree. */
static int say_name(mtaio_emitter *em, const char *text) {
    mtaio_name *name = NULL;
    mtaio_event *event = NULL, *renamed = event_new("other", NULL);
    mtaio_batch *batch = NULL;
    OK(mtaio_batch_new(em, &batch));
    int r = mtaio_emit(em, text, NULL);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = text)), r);
    assert_int_equal(mtaio_emitter_resolve(em, text, &name), r);
    assert_int_equal(mtaio_emitter_reach(em, text), r);
    assert_int_equal(mtaio_event_new(text, NULL, NULL, &event), r);
    assert_int_equal(mtaio_event_set_name(renamed, text), r);
    assert_int_equal(mtaio_batch_emit(batch, text, NULL), r);
    assert_int_equal(mtaio_batch_count(batch), r == 0);
    assert_int_equal(name != NULL && event != NULL, r == 0);
    assert_string_equal(mtaio_event_name(renamed), r == 0 ? text : "other");
    mtaio_name_unref(name);
    mtaio_event_unref(event);
    mtaio_event_unref(renamed);
    mtaio_batch_unref(batch);
    return r;
}

static int pass(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 1;
}

static int keep(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    (void)event;
    (void)mapped;
    (void)ctx;
    return 0;
}

static int pattern_result(int r) { return r > 0 ? 0 : r; } /* of those that answer how many */

/* The same for patterns. */
static int say_pattern(mtaio_emitter *em, const char *text) {
    struct actor a = {.tag = "a"};
    mtaio_emitter *filtered = NULL, *mapped = NULL, *buffered = NULL, *target = emitter_new();
    mtaio_listener *pipe = NULL;
    mtaio_suppression *suppression = NULL;
    mtaio_event *event = NULL;
    int r = mtaio_on(em, text, play, &a);
    assert_int_equal(mtaio_once(em, text, play, &a), r);
    assert_int_equal(mtaio_emitter_on(em, text, MTAIO_HANDLER(.call = play, .ctx = &a), NULL), r);
    assert_int_equal(mtaio_emitter_count(em, text), r == 0 ? 3 : 0);
    assert_int_equal(mtaio_emitter_filter(em, text, MTAIO_FILTER(.call = pass), &filtered), r);
    assert_int_equal(mtaio_emitter_map(em, text, MTAIO_MAP(.call = keep), &mapped), r);
    assert_int_equal(mtaio_emitter_buffer(em, text, 2, &buffered), r);
    assert_int_equal(mtaio_emitter_pipe(em, text, target, &pipe), r);
    assert_int_equal(mtaio_emitter_suppress(em, text, &suppression), r);
    assert_int_equal(mtaio_emitter_wait(em, text, NULL, NULL, 0, &event), r == 0 ? MTAIO_ETIMEDOUT : r);
    assert_null(event);
    mtaio_suppression_unref(suppression);
    mtaio_emitter_unref(filtered);
    mtaio_emitter_unref(mapped);
    mtaio_emitter_unref(buffered);
    if (pipe != NULL)
        assert_int_equal(mtaio_listener_cancel(pipe), 1);
    mtaio_listener_unref(pipe);
    mtaio_emitter_unref(target);
    assert_int_equal(mtaio_off(em, text, play, &a), r == 0 ? 3 : r);
    assert_int_equal(pattern_result(mtaio_emitter_remove_all(em, text)), r);
    return r;
}

/* "A name is non-empty UTF-8 without NUL, segments separated by '.'"; hazard 38. */
static void test_names(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    for (size_t i = 0; i < COUNT(good_names); i++)
        assert_int_equal(say_name(em, good_names[i]), 0);
    for (size_t i = 0; i < COUNT(bad_names); i++) {
        assert_int_equal(say_name(em, bad_names[i]), MTAIO_ENAME);
        assert_int_equal(say_pattern(em, bad_names[i]), MTAIO_EPATTERN);
    }
    mtaio_emitter_unref(em);
}

/* "A pattern is a name in which a whole segment may be * or **. A * inside a segment is refused." "Emitting
 * to a pattern is refused." Every name is a pattern too. Hazards 38, 39: nothing can be named "*". */
static void test_patterns(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    for (size_t i = 0; i < COUNT(good_names); i++)
        assert_int_equal(say_pattern(em, good_names[i]), 0);
    for (size_t i = 0; i < COUNT(patterns); i++) {
        assert_int_equal(say_pattern(em, patterns[i]), 0);
        assert_int_equal(say_name(em, patterns[i]), MTAIO_ENAME);
    }
    for (size_t i = 0; i < COUNT(bad_patterns); i++) {
        assert_int_equal(say_pattern(em, bad_patterns[i]), MTAIO_EPATTERN);
        assert_int_equal(say_name(em, bad_patterns[i]), MTAIO_ENAME);
    }
    mtaio_emitter_unref(em);
}

static char *repeat(const char *unit, size_t times, const char *tail) {
    size_t length = strlen(unit);
    char *text = malloc(length * times + strlen(tail) + 1);
    assert_non_null(text);
    for (size_t i = 0; i < times; i++)
        memcpy(text + i * length, unit, length);
    strcpy(text + length * times, tail);
    return text;
}

/* At most MTAIO_NAME_MAX bytes: one more is an error, nothing is cut off. Hazard 38: the limit, one over it,
 * 1 MB. */
static void test_length(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"};
    char *longest = repeat("n", MTAIO_NAME_MAX, ""), *longer = repeat("n", MTAIO_NAME_MAX + 1, "");
    char *huge = repeat("seg.", 1 << 18, "end"), *split = repeat("\xc3\xa9", MTAIO_NAME_MAX / 2 + 1, "");
    assert_int_equal(say_name(em, longest), 0);
    assert_int_equal(say_pattern(em, longest), 0);
    assert_int_equal(say_name(em, longer), MTAIO_ENAME);
    assert_int_equal(say_pattern(em, longer), MTAIO_EPATTERN);
    assert_int_equal(say_name(em, huge), MTAIO_ENAME);
    assert_int_equal(say_pattern(em, huge), MTAIO_EPATTERN);
    assert_int_equal(say_name(em, split), MTAIO_ENAME); /* the limit falls into a character */
    listen(em, longest, &a);
    assert_int_equal(mtaio_emit(em, longest, NULL), 1);
    longest[MTAIO_NAME_MAX - 1] = 'm'; /* the last byte counts */
    assert_int_equal(mtaio_emit(em, longest, NULL), 0);
    assert_noted("a");
    mtaio_emitter_unref(em);
    free(longest);
    free(longer);
    free(huge);
    free(split);
}

static const struct {
    const char *pattern, *name;
    bool matches;
} matches[] = {
    {"a", "a", true},
    {"a", "b", false},
    {"a", "A", false},
    {"a", "a.b", false},
    {"a.b", "a", false},
    {"a.b", "a.b", true},
    {"ab", "a", false},
    {"a", "ab", false},
    {"*", "a", true},
    {"*", "a.b", true},
    {"*", "a.b.c", true}, /* alone: every name */
    {"*.*", "a", false},
    {"*.*", "a.b", true},
    {"*.*", "a.b.c", false},
    {"a.*", "a", false},
    {"a.*", "a.b", true},
    {"a.*", "a.b.c", false},
    {"a.*", "b.b", false},
    {"a.*", "ab.c", false},
    {"*.b", "a.b", true},
    {"*.b", "b", false},
    {"*.b", "a.a.b", false},
    {"*.b", "a.c", false},
    {"a.*.c", "a.b.c", true},
    {"a.*.c", "a.c", false},
    {"a.*.c", "a.b.b.c", false},
    {"**", "a", true},
    {"**", "a.b.c", true},
    {"**.**", "a", true},
    {"**.**", "a.b", true},
    {"a.**", "a", true},
    {"a.**", "a.b", true},
    {"a.**", "a.b.c", true},
    {"a.**", "b", false},
    {"a.**", "ab", false},
    {"a.**", "b.a", false},
    {"**.b", "b", true},
    {"**.b", "a.b", true},
    {"**.b", "a.a.b", true},
    {"**.b", "b.a", false},
    {"**.b", "ab", false},
    {"**.b", "b.b", true},
    {"a.**.c", "a.c", true},
    {"a.**.c", "a.b.c", true},
    {"a.**.c", "a.b.b.c", true},
    {"a.**.c", "a", false},
    {"a.**.c", "c", false},
    {"a.**.c", "a.c.b", false},
    {"a.**.c", "a.c.c", true},
    {"**.a.**", "a", true},
    {"**.a.**", "b.a.c", true},
    {"**.a.**", "b.c", false},
    {"**.a.**", "ba.c", false},
    {"**.*", "a", true},
    {"**.*", "a.b", true},
    {"*.**", "a", true},
    {"*.**.*", "a", false},
    {"*.**.*", "a.b", true},
    {"**.*.**", "a", true},
    {"**.a.**.b.**.c", "a.b.a.b.c", true},
    {"**.a.**.b.**.c", "a.c.b", false},
    {"a.**.b.*", "a.b", false},
    {"a.**.b.*", "a.b.b.b", true},
    {"\xc3\xa9.*", "\xc3\xa9.x", true},
    {"\xc3\xa9.*", "\xc3\xa8.x", false},
    {"*.\xe6\x9c\xac", "\xe6\x97\xa5.\xe6\x9c\xac", true},
};

/* "* is exactly one segment, ** is zero or more, anywhere. The pattern * alone matches every name." Nothing
 * but the handlers that match is called, registered before or after the name was first emitted. */
static void test_matching(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(matches); i++) {
        const char *pattern = matches[i].pattern, *name = matches[i].name;
        int expected = matches[i].matches ? 1 : 0;
        mtaio_emitter *em = emitter_new();
        struct actor a = {.tag = "a"};
        assert_int_equal(mtaio_emit(em, name, NULL), 0);
        listen(em, pattern, &a);
        assert_int_equal(mtaio_emitter_reach(em, name), expected);
        assert_int_equal(mtaio_emit(em, name, NULL), expected);
        assert_int_equal(mtaio_emit(em, name, NULL), expected);
        assert_int_equal(mtaio_off(em, pattern, play, &a), 1);
        assert_int_equal(mtaio_emit(em, name, NULL), 0);
        assert_int_equal(a.calls, 2 * expected);
        assert_int_equal(mtaio_pattern_matches(pattern, name), expected);
        mtaio_emitter_unref(em);
        forget_notes();
    }
    assert_int_equal(mtaio_pattern_matches("a*", "a"), MTAIO_EPATTERN);
    assert_int_equal(mtaio_pattern_matches("a", "*"), MTAIO_ENAME);
    assert_int_equal(mtaio_pattern_matches(NULL, "a"), MTAIO_EINVAL);
    assert_int_equal(mtaio_pattern_matches("a", NULL), MTAIO_EINVAL);
}

/* Filters, maps, pipes and suppressions take the same patterns, through the same matcher. */
static void test_one_matcher(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(matches); i++) {
        const char *pattern = matches[i].pattern, *name = matches[i].name;
        int expected = matches[i].matches ? 1 : 0;
        mtaio_emitter *em = emitter_new(), *target = emitter_new(), *filtered = NULL, *mapped = NULL;
        struct actor a = {.tag = "a"};
        mtaio_suppression *held = NULL;
        OK(mtaio_emitter_filter(em, pattern, MTAIO_FILTER(.call = pass), &filtered));
        OK(mtaio_emitter_map(em, pattern, MTAIO_MAP(.call = keep), &mapped));
        OK(mtaio_emitter_pipe(em, pattern, target, NULL));
        listen(filtered, "*", &a);
        listen(mapped, "*", &a);
        listen(target, "*", &a);
        assert_true(mtaio_emit(em, name, NULL) >= 0);
        assert_int_equal(a.calls, 3 * expected);
        OK(mtaio_emitter_suppress(em, pattern, &held));
        assert_true(mtaio_emit(em, name, NULL) >= 0);
        assert_int_equal(mtaio_suppression_count(held), expected);
        assert_int_equal(a.calls, 3 * expected);
        mtaio_suppression_unref(held);
        mtaio_emitter_unref(filtered);
        mtaio_emitter_unref(mapped);
        mtaio_emitter_unref(em);
        mtaio_emitter_unref(target);
        forget_notes();
    }
}

/* Off, count and remove take the pattern as it was written, not what it matches. */
static void test_patterns_are_written(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"};
    listen(em, "a.b", &a);
    listen(em, "a.*", &a);
    assert_int_equal(mtaio_emitter_count(em, "*"), 0);
    assert_int_equal(mtaio_emitter_count(em, "**"), 0);
    assert_int_equal(mtaio_emitter_count(em, "a.*"), 1);
    assert_int_equal(mtaio_off(em, "*", play, &a), 0);
    assert_int_equal(mtaio_emitter_remove_all(em, "**"), 0);
    assert_int_equal(mtaio_off(em, "a.*", play, &a), 1);
    assert_int_equal(mtaio_emit(em, "a.b", NULL), 1);
    assert_noted("a");
    mtaio_emitter_unref(em);
}

static void unseen_names(mtaio_emitter *em, unsigned from, unsigned to) {
    char text[64];
    for (unsigned i = from; i < to; i++) {
        mtaio_name *name = NULL;
        snprintf(text, sizeof text, "unseen.%u.from.outside", i);
        assert_int_equal(mtaio_emit(em, text, NULL), 1);
        assert_int_equal(mtaio_emitter_reach(em, text), 1);
        assert_int_equal(mtaio_emitter_count(em, text), 0);
        assert_int_equal(mtaio_off(em, text, play, NULL), 0);
        assert_int_equal(mtaio_emitter_remove_all(em, text), 0);
        OK(mtaio_emitter_resolve(em, text, &name));
        assert_int_equal(mtaio_emit_name(name, NULL), 1);
        mtaio_name_unref(name);
    }
}

static int count_call(mtaio_event *event, void *ctx) {
    (void)event;
    ++*(unsigned *)ctx;
    return 0;
}

/* "No stream of unseen names grows memory without bound": the second 20,000 names take nothing that the first
 * did not. */
static void test_unseen_names(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    unsigned calls = 0;
    OK(mtaio_on(em, "unseen.**", count_call, &calls));
    unseen_names(em, 0, 20000);
    mtaio_reclaim();
    size_t bytes = support_live_bytes();
    unseen_names(em, 20000, 40000);
    mtaio_reclaim();
    assert_in_range(support_live_bytes(), 0, bytes + 4096);
    assert_in_range(bytes, 0, 8 << 20);
    assert_int_equal(calls, 80000);
    mtaio_emitter_unref(em);
}

static void hostile(mtaio_emitter *em, const char *pattern, const char *name, int expected) {
    unsigned calls = 0;
    CHECK(mtaio_on(em, pattern, count_call, &calls) == 0);
    CHECK(mtaio_emitter_reach(em, name) == expected);
    CHECK(mtaio_emit(em, name, NULL) == expected);
    CHECK((int)calls == expected);
    CHECK(mtaio_off(em, pattern, count_call, &calls) == 1);
}

static void *hostile_patterns(void *unused) {
    (void)unused;
    mtaio_emitter *em = emitter_new();
    char *name = repeat("a.", 9999, "a"), *short_name = repeat("a.", 999, "a");
    char *stars = repeat("*.", 9999, "*"), *mismatch = repeat("*.", 9999, "b"),
         *doubles = repeat("**.", 9999, "**");
    char *pairs = repeat("**.a.", 500, "b"), *ends = repeat("**.a.", 500, "**"),
         *mixed = repeat("**.*.", 500, "a");
    hostile(em, stars, name, 1);
    hostile(em, mismatch, name, 0);
    hostile(em, doubles, name, 1);
    hostile(em, pairs, short_name, 0);
    hostile(em, ends, short_name, 1);
    hostile(em, mixed, short_name, 1);
    mtaio_emitter_unref(em);
    free(name);
    free(short_name);
    free(stars);
    free(mismatch);
    free(doubles);
    free(pairs);
    free(ends);
    free(mixed);
    return NULL;
}

/* "No pattern or name, however hostile, takes more than a small multiple of its length": a matcher that tries
 * every way would not end before the test's time limit, a recursive one not within this stack. Hazard 40. */
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

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_names),        TEST(test_patterns),         TEST(test_length),
        TEST(test_matching),     TEST(test_one_matcher),      TEST(test_patterns_are_written),
        TEST(test_unseen_names), TEST(test_hostile_patterns),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
