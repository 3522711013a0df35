/* test_derived.c - filter, map, buffer and pipe: emitters behind an emitter. */
#include "record.h"

struct gate {
    const char *tag; /* noted at each evaluation */
    int result;      /* what the predicate or transform answers */
    const char *new_name;
    void *new_data;
};

static int judge(const mtaio_event *event, void *ctx) {
    struct gate *g = ctx;
    (void)event;
    note("%s", g->tag);
    return g->result;
}

static int change(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    struct gate *g = ctx;
    note("%s", g->tag);
    CHECK(strcmp(mtaio_event_name(event), mtaio_event_name(mapped)) == 0);
    CHECK(mtaio_event_data(event) == mtaio_event_data(mapped));
    CHECK(mtaio_event_change(event) == mtaio_event_change(mapped));
    CHECK(mtaio_event_metadata(event) == mtaio_event_metadata(mapped));
    if (g->new_name != NULL)
        CHECK(mtaio_event_set_name(mapped, g->new_name) == 0);
    if (g->new_data != NULL)
        CHECK(mtaio_event_set_data(mapped, g->new_data, NULL) == 0);
    return g->result;
}

static void gate_gone(void *ctx) { note("~%s", ((struct gate *)ctx)->tag); }

static mtaio_emitter *filter(mtaio_emitter *em, const char *pattern, struct gate *g) {
    mtaio_emitter *derived = NULL;
    OK(mtaio_emitter_filter(em, pattern, MTAIO_FILTER(.call = judge, .destroy = gate_gone, .ctx = g),
                            &derived));
    return derived;
}

static mtaio_emitter *map(mtaio_emitter *em, const char *pattern, struct gate *g) {
    mtaio_emitter *derived = NULL;
    OK(mtaio_emitter_map(em, pattern, MTAIO_MAP(.call = change, .destroy = gate_gone, .ctx = g), &derived));
    return derived;
}

/* --- Filter ----------------------------------------------------------------------------------------------
 */

/* A filter passes on the events its predicate accepts, of the names its pattern matches. */
static void test_filter(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct gate yes = {.tag = "yes?", .result = 1}, no = {.tag = "no?", .result = 0};
    struct actor a = {.tag = "a"}, b = {.tag = "b"};
    mtaio_emitter *accepted = filter(em, NULL, &yes), *refused = filter(em, "x", &no);
    listen(accepted, "*", &a);
    listen(refused, "*", &b);
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    assert_noted("yes? a no?");
    assert_int_equal(mtaio_emit(em, "y", NULL), 1);
    assert_noted("yes? a");
    no.result = 1;
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    assert_noted("yes? a no? b");
    mtaio_emitter_unref(accepted);
    mtaio_emitter_unref(refused);
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    assert_int_equal(strlen(notes.text), strlen("~yes? ~no?"));
    forget_notes();
}

static const mtaio_event *source_event;

static int see_same(mtaio_event *event, struct actor *self) {
    if (source_event == NULL)
        source_event = event;
    note("%s", event == source_event ? "same" : "new");
    assert_ptr_equal(mtaio_event_data(event), self->em);
    return 0;
}

/* "filter passes the same event on (stopping it there stops it)." */
static void test_filter_same_event(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct gate g1 = {.tag = "1?", .result = 1}, g2 = {.tag = "2?", .result = 1};
    struct actor own = {.tag = "own", .act = see_same, .em = em}, behind = own,
                 stop = {.tag = "stop", .stops = true};
    struct actor sibling = {.tag = "sibling"}, m = {.tag = "m"};
    mtaio_emitter *first = filter(em, NULL, &g1), *second = filter(em, NULL, &g2);
    mtaio_report report = MTAIO_REPORT();
    behind.tag = "behind";
    source_event = NULL;
    listen(em, "x", &own);
    listen(first, "x", &behind);
    listen(second, "x", &sibling);
    listen_at(em, "*", MTAIO_MONITOR, &m);
    assert_int_equal(mtaio_emit(em, "x", em), 4);
    assert_noted("own same 1? behind same 2? sibling m");
    listen(first, "x", &stop);
    own.act = behind.act = NULL;
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = "x", .report = &report)), 4);
    assert_noted("own 1? behind stop m");
    assert_true(report.stopped);
    assert_int_equal(report.called, 4);
    mtaio_emitter_unref(first);
    mtaio_emitter_unref(second);
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    forget_notes();
}

/* "They receive an event after the source's own handlers and before its monitors, unless propagation was
 * stopped": also where the source's handlers came later, or are LOWEST; a derived emitter's own monitors
 * belong to it. */
static void test_derived_order(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct gate g = {.tag = "?", .result = 1}, t = {.tag = "!"};
    struct actor d = {.tag = "d"}, dm = {.tag = "dm"}, dh = {.tag = "dh"}, e = {.tag = "e"};
    struct actor a = {.tag = "a"}, low = {.tag = "low"}, m = {.tag = "m"},
                 stop = {.tag = "stop", .stops = true};
    mtaio_emitter *filtered = filter(em, NULL, &g), *mapped = map(em, NULL, &t);
    listen_at(em, "x", MTAIO_MONITOR, &m);
    listen_at(filtered, "x", MTAIO_MONITOR, &dm);
    listen(filtered, "x", &d);
    listen_at(filtered, "*", MTAIO_HIGHEST, &dh);
    listen(mapped, "x", &e);
    listen_at(em, "x", MTAIO_LOWEST, &low);
    listen(em, "*", &a);
    assert_int_equal(mtaio_emit(em, "x", NULL), 7);
    assert_noted("a low ? dh d dm ! e m");
    listen_at(em, "x", MTAIO_LOWEST, &stop);
    assert_int_equal(mtaio_emit(em, "x", NULL), 4);
    assert_noted("a low stop m");
    mtaio_emitter_unref(filtered);
    mtaio_emitter_unref(mapped);
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    forget_notes();
}

/* --- Map -------------------------------------------------------------------------------------------------
 */

static int look_mapped(mtaio_event *event, struct actor *self) {
    note("%s=%s", mtaio_event_name(event), (const char *)mtaio_event_data(event));
    return self->result;
}

/* "map passes on a new one (stopping it there stays there). Handlers of the source never see a mapped event."
 * Who is called behind a map is decided by the name the source's event has. */
static void test_map(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct gate t = {.tag = "!", .new_name = "renamed", .new_data = "new"}, plain = {.tag = "-"};
    struct actor own = {.tag = "own", .act = look_mapped},
                 behind = {.tag = "b", .act = look_mapped, .stops = true};
    struct actor late = {.tag = "late"}, sibling = {.tag = "sibling", .act = look_mapped}, m = own,
                 never = {.tag = "never"};
    mtaio_emitter *mapped = map(em, "x", &t), *other = map(em, NULL, &plain);
    mtaio_report report = MTAIO_REPORT();
    m.tag = "m";
    listen(em, "x", &own);
    listen_at(em, "x", MTAIO_MONITOR, &m);
    listen(mapped, "x", &behind);
    listen(mapped, "x", &late);
    listen(mapped, "renamed", &never);
    listen(em, "renamed", &never);
    listen(other, "x", &sibling);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = "x", .data = "old", .report = &report)), 4);
    assert_noted("own x=old ! b renamed=new - sibling x=old m x=old");
    assert_false(report.stopped);
    mtaio_emitter_unref(mapped);
    mtaio_emitter_unref(other);
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    forget_notes();
}

static void note_release(void *data) { note("free(%s)", (char *)data); }

static int change_owned(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    mtaio_metadata *m = NULL;
    (void)event;
    CHECK(mtaio_metadata_new(&m) == 0);
    CHECK(mtaio_metadata_set(m, "k", "v") == 0);
    CHECK(mtaio_event_set_metadata(mapped, m) == 0);
    mtaio_metadata_unref(m);
    CHECK(mtaio_event_set_change(mapped, MTAIO_RESET) == 0);
    CHECK(mtaio_event_set_data(mapped, "first", note_release) == 0);
    CHECK(mtaio_event_set_data(mapped, ctx, note_release) == 0);
    return 0;
}

static int look_owned(mtaio_event *event, struct actor *self) {
    note("%s/%s/%d", (char *)mtaio_event_data(event), mtaio_event_get(event, "k"),
         (int)mtaio_event_change(event));
    return self->result;
}

/* What a transform gives the new event belongs to it, and is released when the event is over. */
static void test_map_owns(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *mapped = NULL;
    struct actor a = {.tag = "a", .act = look_owned};
    OK(mtaio_emitter_map(em, NULL, MTAIO_MAP(.call = change_owned, .ctx = "second"), &mapped));
    listen(mapped, "x", &a);
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    assert_noted("free(first) a second/v/4 free(second)");
    mtaio_emitter_unref(mapped);
    mtaio_emitter_unref(em);
}

/* "They can be listened to, filtered and mapped again": a chain, in one walk. */
static void test_chain(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct gate g1 = {.tag = "?1", .result = 1}, t2 = {.tag = "!2", .new_data = "two"},
                g3 = {.tag = "?3", .result = 1};
    struct actor a = {.tag = "a", .act = look_mapped}, b = {.tag = "b", .act = look_mapped};
    mtaio_emitter *one = filter(em, "x.*", &g1), *two = map(one, NULL, &t2),
                  *three = filter(two, "**.y", &g3);
    listen(three, "*.y", &a);
    listen(one, "*", &b);
    assert_int_equal(mtaio_emit(em, "x.y", "src"), 2);
    assert_noted("?1 b x.y=src !2 ?3 a x.y=two");
    assert_int_equal(mtaio_emit(em, "x.z", "src"), 1);
    assert_noted("?1 b x.z=src");
    assert_int_equal(mtaio_emit(em, "y", "src"), 0);
    assert_noted("");
    mtaio_emitter_unref(one);
    mtaio_emitter_unref(two);
    mtaio_emitter_unref(three);
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    forget_notes();
}

/* "...emitted on": what is emitted on a derived emitter reaches its handlers, not the source's nor the
 * predicate. */
static void test_emit_on_derived(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct gate g = {.tag = "?", .result = 0};
    struct actor a = {.tag = "a"}, b = {.tag = "b"};
    mtaio_emitter *derived = filter(em, "x", &g);
    listen(em, "y", &a);
    listen(derived, "y", &b);
    assert_int_equal(mtaio_emit(derived, "y", NULL), 1);
    assert_noted("b");
    mtaio_emitter_unref(derived);
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    forget_notes();
}

/* "Neither predicate nor transform is evaluated when nobody downstream listens for that name." */
static void test_nobody_listens(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct gate g = {.tag = "?", .result = 1}, t = {.tag = "!"};
    struct actor a = {.tag = "a"};
    mtaio_emitter *filtered = filter(em, NULL, &g), *mapped = map(filtered, NULL, &t);
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    listen(mapped, "y", &a);
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    assert_noted("");
    assert_int_equal(mtaio_emit(em, "y", NULL), 1);
    assert_noted("? ! a");
    listen(mapped, "x.*", &a);
    assert_int_equal(mtaio_emit(em, "x.y", NULL), 1);
    assert_noted("? ! a");
    assert_int_equal(mtaio_off(mapped, "y", play, &a), 1);
    assert_int_equal(mtaio_emit(em, "y", NULL), 0);
    assert_noted("");
    mtaio_emitter_unref(filtered);
    mtaio_emitter_unref(mapped);
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    forget_notes();
}

/* --- Failures --------------------------------------------------------------------------------------------
 */

static void note_failure(const mtaio_failure *f, void *ctx) {
    (void)ctx;
    const char *who = f->call == NULL ? "gate" : ((struct actor *)f->ctx)->tag;
    note("%s(%s,%d,%s)", f->name, who, f->status, mtaio_event_name(f->event));
}

/* "A failing predicate or transform, and a failing handler behind it, are failures of the source's emission
 * like any other; its siblings still run." */
static void test_failures(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct gate bad_filter = {.tag = "?", .result = -21}, bad_map = {.tag = "!", .result = -22},
                good = {.tag = "+", .result = 1};
    struct actor never = {.tag = "never"}, fails = {.tag = "fails", .result = -23}, a = {.tag = "a"},
                 m = {.tag = "m"};
    mtaio_emitter *one = filter(em, NULL, &bad_filter), *two = map(em, NULL, &bad_map),
                  *three = filter(em, NULL, &good);
    mtaio_report report = MTAIO_REPORT();
    listen(one, "x", &never);
    listen(two, "x", &never);
    listen(three, "x", &fails);
    listen(three, "x", &a);
    listen_at(em, "x", MTAIO_MONITOR, &m);
    assert_int_equal(
        mtaio_emit_with(em, MTAIO_EMISSION(.name = "x", .report = &report, .failure = note_failure)),
        MTAIO_EHANDLER);
    assert_noted("? x(gate,-21,x) ! x(gate,-22,x) + fails x(fails,-23,x) a m");
    assert_int_equal(report.failed, 3);
    assert_int_equal(report.first_error, -21);
    assert_int_equal(report.called, 3);
    mtaio_emitter_unref(one);
    mtaio_emitter_unref(two);
    mtaio_emitter_unref(three);
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    forget_notes();
}

/* A handler behind a map may defer like any other; the new event lives until it is done. */
static void test_defer_behind_map(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new(), *mapped = NULL;
    mtaio_deferral *d = NULL;
    struct actor waits = {.tag = "waits", .deferral = &d}, b = {.tag = "b", .act = look_owned},
                 m = {.tag = "m"};
    OK(mtaio_emitter_map(em, NULL, MTAIO_MAP(.call = change_owned, .ctx = "second"), &mapped));
    listen(mapped, "x", &waits);
    listen(mapped, "x", &b);
    listen_at(em, "x", MTAIO_MONITOR, &m);
    emit_later(em, "x");
    assert_noted("free(first) waits");
    assert_string_equal(mtaio_event_data(mtaio_deferral_event(d)), "second");
    complete(&d, 0);
    assert_int_equal(strncmp(notes.text, "b second/v/4 ", 13), 0);
    assert_non_null(strstr(notes.text, "free(second)"));
    assert_non_null(strstr(notes.text, "m"));
    assert_non_null(strstr(notes.text, "done:3"));
    forget_notes();
    mtaio_emitter_unref(mapped);
    mtaio_emitter_unref(em);
}

/* --- Lifetime --------------------------------------------------------------------------------------------
 */

/* "A derived emitter lives while it has listeners or a user reference"; the predicate's context goes with it.
 */
static void test_lives_by_listeners(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct gate g = {.tag = "?", .result = 1};
    struct actor a = {.tag = "a"};
    mtaio_emitter *derived = filter(em, NULL, &g);
    mtaio_listener *listener = listen_ref(derived, "x", 0, &a);
    mtaio_emitter_unref(derived);
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    mtaio_reclaim();
    assert_noted("? a");
    assert_int_equal(mtaio_listener_cancel(listener), 1);
    mtaio_listener_unref(listener);
    mtaio_reclaim();
    assert_int_equal(strlen(notes.text), strlen("~a ~?"));
    forget_notes();
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    assert_noted("");
    mtaio_emitter_unref(filter(em, NULL, &g));
    mtaio_reclaim();
    assert_noted("~?");
    mtaio_emitter_unref(em);
}

/* What is derived from it uses it, too: a chain stands though only its end is kept. */
static void test_lives_by_derived(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct gate g = {.tag = "?", .result = 1}, t = {.tag = "!"};
    struct actor a = {.tag = "a"};
    mtaio_emitter *filtered = filter(em, NULL, &g), *mapped = map(filtered, NULL, &t);
    mtaio_emitter_unref(filtered);
    mtaio_reclaim();
    listen(mapped, "x", &a);
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    assert_noted("? ! a");
    mtaio_emitter_unref(mapped);
    mtaio_emitter_unref(em);
    mtaio_reclaim();
    forget_notes();
}

/* "...and closing it detaches it." */
static void test_close_detaches(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct gate g = {.tag = "?", .result = 1};
    struct actor a = {.tag = "a"}, b = {.tag = "b"};
    mtaio_emitter *derived = filter(em, NULL, &g);
    listen(derived, "x", &a);
    listen(em, "x", &b);
    OK(mtaio_emitter_close(derived));
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    mtaio_emitter_unref(derived);
    mtaio_reclaim();
    assert_int_equal(strlen(notes.text), strlen("~? b"));
    forget_notes();
    mtaio_emitter_unref(em);
}

static int drop_derived(mtaio_event *event, struct actor *self) {
    (void)event;
    mtaio_emitter_close(self->em);
    self->em = mtaio_emitter_unref(self->em);
    return 0;
}

/* A handler may close and drop the derived emitter it stands on; what is behind it is not called any more. */
static void test_close_inside(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct gate g = {.tag = "?", .result = 1};
    struct actor a = {.tag = "a", .act = drop_derived}, b = {.tag = "b"}, m = {.tag = "m"};
    a.em = filter(em, NULL, &g);
    listen(a.em, "x", &a);
    listen(a.em, "x", &b);
    listen_at(em, "x", MTAIO_MONITOR, &m);
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    mtaio_reclaim();
    assert_noted("? a m ~?");
    mtaio_emitter_unref(em);
}

/* "Nothing leaks" when many are made and dropped, in whatever way they end; 1,000,000 of them: stress_memory.
 */
static void test_made_and_dropped(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"};
    size_t bytes = 0;
    for (unsigned i = 0; i < 3000; i++) {
        mtaio_emitter *filtered = NULL, *mapped = NULL;
        struct gate g = {.tag = "?", .result = 1};
        OK(mtaio_emitter_filter(em, "x", MTAIO_FILTER(.call = judge, .ctx = &g), &filtered));
        OK(mtaio_emitter_map(filtered, NULL, MTAIO_MAP(.call = change, .ctx = &g), &mapped));
        listen(mapped, "x", &a);
        if (i % 2 == 0)
            mtaio_emitter_close(mapped);
        else
            assert_int_equal(mtaio_off(mapped, "x", play, &a), 1);
        mtaio_emitter_unref(filtered);
        mtaio_emitter_unref(mapped);
        mtaio_reclaim();
        bytes = i == 100 ? support_live_bytes() : bytes;
    }
    assert_int_equal(support_live_bytes(), bytes);
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_filter),
        TEST(test_filter_same_event),
        TEST(test_derived_order),
        TEST(test_map),
        TEST(test_map_owns),
        TEST(test_chain),
        TEST(test_emit_on_derived),
        TEST(test_nobody_listens),
        TEST(test_failures),
        TEST(test_defer_behind_map),
        TEST(test_lives_by_listeners),
        TEST(test_lives_by_derived),
        TEST(test_close_detaches),
        TEST(test_close_inside),
        TEST(test_made_and_dropped),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
