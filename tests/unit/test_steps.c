/* test_steps.c - what comes through filters and maps is the same by every way to emit: the short one (step.c), the
 * long one that waits, and one that may rest. */
#include "record.h"

/* --- The scene: "x" through a filter, a map and a filter to one handler, "behind" ---------------------------
 */

struct scene {
    mtaio_emitter *em, *derived[3];
    struct actor own, behind, monitor;
    int (*on_filter)(mtaio_event *event, struct scene *s); /* the last filter's, instead of passing */
    int (*on_map)(mtaio_event *mapped, struct scene *s);
    mtaio_deferral *deferral;
    const void *ctx; /* of the emission, as "behind" sees it */
    int left;
};

static int filter(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    note("f");
    return 1;
}

static int last_filter(const mtaio_event *event, void *ctx) {
    struct scene *s = ctx;
    note("g");
    return s->on_filter != NULL ? s->on_filter((mtaio_event *)(uintptr_t)event, s) : 1;
}

static int map(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    struct scene *s = ctx;
    (void)event;
    note("m");
    return s->on_map != NULL ? s->on_map(mapped, s) : 0;
}

static void scene_begin(struct scene *s) {
    mtaio_emitter *em = s->em = emitter_new();
    s->own.tag = "own";
    s->behind.tag = "behind";
    s->behind.more = s;
    s->monitor.tag = "monitor";
    OK(mtaio_emitter_filter(em, NULL, MTAIO_FILTER(.call = filter, .ctx = s), &s->derived[0]));
    OK(mtaio_emitter_map(s->derived[0], NULL, MTAIO_MAP(.call = map, .ctx = s), &s->derived[1]));
    OK(mtaio_emitter_filter(s->derived[1], NULL, MTAIO_FILTER(.call = last_filter, .ctx = s), &s->derived[2]));
    listen(em, "x", &s->own);
    listen(s->derived[2], "x", &s->behind);
    listen_at(em, "x", MTAIO_MONITOR, &s->monitor);
}

static void scene_end(struct scene *s) {
    for (size_t i = 0; i < COUNT(s->derived); i++) mtaio_emitter_unref(s->derived[i]);
    mtaio_emitter_unref(s->em);
}

static void on_failure(const mtaio_failure *failure, void *ctx) {
    CHECK(ctx != NULL);
    note("!%s:%d", failure->name, failure->status);
}

enum { BRIEF, RESOLVED, REPORTED, STARTED, WAYS };

static int emit(mtaio_emitter *em, int way) {
    mtaio_name *name = NULL;
    int r;
    if (way == BRIEF) return mtaio_emit(em, "x", NULL);
    if (way == RESOLVED) {
        OK(mtaio_emitter_resolve(em, "x", &name));
        r = mtaio_emit_name(name, NULL);
        mtaio_name_unref(name);
        return r;
    }
    mtaio_emission e = {.size = sizeof e, .name = "x", .ctx = em, .failure = on_failure};
    return way == REPORTED ? mtaio_emit_with(em, &e) : mtaio_emit_start(em, &e, never_done);
}

/* Each way in a scene of its own: what it returns, and what is noted, failures where they are told. */
static void check_ways(const struct scene *like, int expected, const char *brief, const char *told) {
    for (int way = 0; way < WAYS; way++) {
        struct scene s = *like;
        scene_begin(&s);
        assert_int_equal(emit(s.em, way), expected);
        assert_noted(way < REPORTED ? brief : told);
        if (s.ctx != NULL) assert_ptr_equal(s.ctx, way < REPORTED ? &s : (const void *)s.em);
        scene_end(&s);
        forget_notes();
    }
}

/* --- What handlers do --------------------------------------------------------------------------------------
 */

static void test_passes(void **state) {
    (void)state;
    check_ways(&(struct scene){.left = 0}, 3, "own f m g behind monitor", "own f m g behind monitor");
}

static void test_fails(void **state) {
    (void)state;
    check_ways(&(struct scene){.behind.result = -5}, MTAIO_EHANDLER, "own f m g behind monitor",
               "own f m g behind !x:-5 monitor");
}

static void test_stops(void **state) {
    (void)state;
    check_ways(&(struct scene){.behind.stops = true}, 3, "own f m g behind monitor", "own f m g behind monitor");
}

static int cancel(mtaio_event *event, struct actor *self) {
    (void)self;
    return mtaio_event_cancel(event);
}

/* "What emitted it is told ECANCELED", from behind a map too. */
static void test_cancels(void **state) {
    (void)state;
    check_ways(&(struct scene){.behind.act = cancel}, MTAIO_ECANCELED, "own f m g behind", "own f m g behind");
}

static int defer(mtaio_event *event, struct actor *self) {
    mtaio_deferral *deferral = NULL;
    (void)self;
    CHECK(mtaio_event_defer(event, &deferral) == 0);
    CHECK(mtaio_deferral_complete(deferral, -6) == 0);
    mtaio_deferral_unref(deferral);
    return 0;
}

static void test_defers(void **state) {
    (void)state;
    check_ways(&(struct scene){.behind.act = defer}, MTAIO_EHANDLER, "own f m g behind monitor",
               "own f m g behind !x:-6 monitor");
}

static int keep_ctx(mtaio_event *event, struct actor *self) {
    struct scene *s = self->more;
    const void *ctx = mtaio_event_ctx(event);
    s->ctx = ctx != NULL ? ctx : s;
    return 0;
}

/* "Of the emission it is in: its struct's ctx, or NULL". */
static void test_ctx(void **state) {
    (void)state;
    check_ways(&(struct scene){.behind.act = keep_ctx}, 3, "own f m g behind monitor", "own f m g behind monitor");
}

static int emit_other(mtaio_event *event, struct actor *self) {
    struct scene *s = self->more;
    (void)event;
    return s->left-- > 0 ? mtaio_emit(s->em, "x", NULL) : 0;
}

static void test_nested(void **state) {
    (void)state;
    const char *all = "own f m g behind own f m g behind monitor monitor";
    check_ways(&(struct scene){.behind.act = emit_other, .left = 1}, 3, all, all);
}

/* --- What filters and maps do ------------------------------------------------------------------------------
 */

static int reject(mtaio_event *event, struct scene *s) {
    (void)event;
    (void)s;
    return 0;
}
static int fails(mtaio_event *event, struct scene *s) {
    (void)event;
    (void)s;
    return -7;
}
static int stop(mtaio_event *event, struct scene *s) {
    (void)s;
    return mtaio_event_set_propagate(event, false) == 0 ? 1 : -8;
}
static int cancel_it(mtaio_event *event, struct scene *s) {
    (void)s;
    return mtaio_event_cancel(event) == 0 ? 1 : -8;
}

static void test_rejected(void **state) {
    (void)state;
    check_ways(&(struct scene){.on_filter = reject}, 2, "own f m g monitor", "own f m g monitor");
}

static void test_filter_fails(void **state) {
    (void)state;
    check_ways(&(struct scene){.on_filter = fails}, MTAIO_EHANDLER, "own f m g monitor", "own f m g !x:-7 monitor");
}

static void test_map_fails(void **state) {
    (void)state;
    check_ways(&(struct scene){.on_map = fails}, MTAIO_EHANDLER, "own f m monitor", "own f m !x:-7 monitor");
}

/* A map may give an event that is stopped: monitors alone see it. */
static void test_map_stops(void **state) {
    (void)state;
    check_ways(&(struct scene){.on_map = stop}, 2, "own f m monitor", "own f m monitor");
}

static void test_filter_cancels(void **state) {
    (void)state;
    check_ways(&(struct scene){.on_filter = cancel_it}, MTAIO_ECANCELED, "own f m g", "own f m g");
}

static int rename_it(mtaio_event *mapped, struct scene *s) {
    (void)s;
    return mtaio_event_set_name(mapped, "renamed");
}
static int leave(mtaio_event *event, struct scene *s) {
    (void)event;
    CHECK(mtaio_off(s->derived[2], "x", play, &s->behind) == 1);
    return 1;
}

/* "One removed meanwhile and not yet called is not called." */
static void test_removed_meanwhile(void **state) {
    (void)state;
    check_ways(&(struct scene){.on_filter = leave}, 2, "own f m g monitor", "own f m g monitor");
}

/* "Neither predicate nor transform runs where nobody behind it listens", also since a moment ago. */
static int silence(mtaio_event *event, struct actor *self) {
    struct scene *s = (struct scene *)(void *)((char *)self - offsetof(struct scene, own));
    return leave(event, s);
}
static void test_nobody_any_more(void **state) {
    (void)state;
    check_ways(&(struct scene){.own.act = silence}, 2, "own monitor", "own monitor");
}

/* A handler stopped the event, and thought better of it. */
static int hesitate(mtaio_event *event, struct actor *self) {
    (void)self;
    return mtaio_event_set_propagate(event, false) + mtaio_event_set_propagate(event, true);
}
static void test_hesitates(void **state) {
    (void)state;
    check_ways(&(struct scene){.own.act = hesitate}, 3, "own f m g behind monitor", "own f m g behind monitor");
}

/* "Chosen by the source event's name, also where a map gives another", by a pattern too, and further behind. */
static void test_named_as_emitted(void **state) {
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        struct scene s = {.on_map = rename_it};
        struct actor other = {.tag = "other"}, wrong = {.tag = "wrong"};
        scene_begin(&s);
        listen(s.derived[2], "x.**", &other); /* x, and not renamed */
        listen(s.derived[2], "renamed", &wrong);
        assert_int_equal(emit(s.em, way), 4);
        assert_int_equal(mtaio_off(s.derived[2], "x", play, &s.behind), 1);
        assert_int_equal(emit(s.em, way), 3);
        assert_noted("own f m g behind other monitor own f m g other monitor");
        scene_end(&s);
    }
}

/* Another handler of the derived emitter, whose pattern matches what was emitted, and not what the map made of it, is
 * called still. */
static void test_removed_beside_pattern(void **state) {
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        struct scene s = {.on_map = rename_it, .on_filter = leave};
        struct actor other = {.tag = "other"}, later = {.tag = "later"};
        scene_begin(&s);
        listen(s.derived[2], "x.**", &other); /* x, and not renamed */
        assert_int_equal(emit(s.em, way), 3);
        assert_noted("own f m g other monitor");
        listen(s.derived[2], "x", &later);
        listen(s.derived[2], "x", &s.behind);
        assert_int_equal(emit(s.em, way), 4);
        assert_noted("own f m g other later monitor");
        scene_end(&s);
    }
}

/* "One added meanwhile does not see the event." */
static int come(mtaio_event *event, struct scene *s) {
    (void)event;
    listen(s->derived[2], "x", &s->own);
    return 1;
}
static void test_added_meanwhile(void **state) {
    (void)state;
    check_ways(&(struct scene){.on_filter = come}, 3, "own f m g behind monitor", "own f m g behind monitor");
}

static int close_last(mtaio_event *event, struct scene *s) {
    (void)event;
    return mtaio_emitter_close(s->derived[2]) == 0 ? 1 : -8;
}
static void test_closed_meanwhile(void **state) {
    (void)state;
    check_ways(&(struct scene){.on_filter = close_last}, 2, "own f m g monitor", "own f m g monitor");
}

/* --- More than one behind ------------------------------------------------------------------------------------
 */

/* Counted once each, in order; a link is none. */
static void test_several(void **state) {
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        struct scene s = {.on_filter = NULL};
        struct actor high = {.tag = "high"}, once = {.tag = "once"}, first = {.tag = "first"};
        scene_begin(&s);
        listen(s.derived[0], "x", &first);
        listen_at(s.derived[2], "x", MTAIO_HIGH, &high);
        OK(mtaio_once(s.derived[2], "x", play, &once));
        assert_int_equal(emit(s.em, way), 6);
        assert_noted("own f first m g high behind once monitor");
        assert_int_equal(emit(s.em, way), 5);
        assert_noted("own f first m g high behind monitor");
        scene_end(&s);
    }
}

/* A once handler alone behind a filter is called once. */
static void test_once(void **state) {
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        struct scene s = {.on_filter = NULL};
        struct actor once = {.tag = "once"};
        scene_begin(&s);
        assert_int_equal(mtaio_off(s.derived[2], "x", play, &s.behind), 1);
        OK(mtaio_once(s.derived[2], "x", play, &once));
        assert_int_equal(emit(s.em, way), 3);
        assert_int_equal(emit(s.em, way), 2);
        assert_noted("own f m g once monitor own monitor");
        scene_end(&s);
    }
}

/* A filter passes the same event on: stopped behind it, those derived later do not see it, in the same emission. */
static void test_stops_behind_filter(void **state) {
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        struct scene s = {.left = 0};
        struct actor stops = {.tag = "stops", .stops = true};
        mtaio_emitter *deep = NULL, *before = NULL;
        scene_begin(&s);
        assert_int_equal(mtaio_off(s.derived[2], "x", play, &s.behind), 1);
        listen(s.derived[0], "x", &s.behind);
        OK(mtaio_emitter_filter(s.em, NULL, MTAIO_FILTER(.call = filter, .ctx = &s), &before));
        OK(mtaio_emitter_filter(before, NULL, MTAIO_FILTER(.call = filter, .ctx = &s), &deep));
        listen(deep, "x", &stops);
        assert_int_equal(emit(s.em, way), 4);
        assert_noted("own f behind f f stops monitor");
        s.behind.stops = true;
        assert_int_equal(emit(s.em, way), 3);
        assert_noted("own f behind monitor");
        mtaio_emitter_unref(before);
        mtaio_emitter_unref(deep);
        scene_end(&s);
    }
}

/* "Nested too deep ends in a clear error", also where a filter is what goes too deep. */
static int begin_deep(mtaio_event *event, void *em) {
    (void)event;
    return mtaio_emit(em, "x", NULL);
}
static void test_depth(void **state) {
    (void)state;
    mtaio_emitter *outer = emitter_new(), *filtered = NULL, *em = emitter_new();
    OK(mtaio_emitter_filter(em, NULL, MTAIO_FILTER(.call = filter), &filtered));
    OK(mtaio_on(filtered, "x", begin_deep, em));
    OK(mtaio_on(outer, "y", begin_deep, em));
    assert_int_equal(mtaio_emit(em, "x", NULL), MTAIO_EHANDLER);
    assert_int_equal(mtaio_emit(outer, "y", NULL), MTAIO_EHANDLER);
    forget_notes();
    mtaio_emitter_unref(filtered);
    mtaio_emitter_unref(em);
    mtaio_emitter_unref(outer);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_passes),
        TEST(test_fails),
        TEST(test_stops),
        TEST(test_cancels),
        TEST(test_defers),
        TEST(test_ctx),
        TEST(test_nested),
        TEST(test_rejected),
        TEST(test_filter_fails),
        TEST(test_map_fails),
        TEST(test_map_stops),
        TEST(test_filter_cancels),
        TEST(test_nobody_any_more),
        TEST(test_hesitates),
        TEST(test_named_as_emitted),
        TEST(test_removed_meanwhile),
        TEST(test_removed_beside_pattern),
        TEST(test_added_meanwhile),
        TEST(test_closed_meanwhile),
        TEST(test_several),
        TEST(test_once),
        TEST(test_stops_behind_filter),
        TEST(test_depth),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
