/* test_emitting.c - what an emission hands to its handlers, what it answers, and when it ends. */
#include "record.h"

/* --- The event -------------------------------------------------------------------------------------------
 */

static int look_at_plain(mtaio_event *event, struct actor *self) {
    assert_string_equal(mtaio_event_name(event), "user.created");
    assert_ptr_equal(mtaio_event_data(event), self->em);
    assert_int_equal(mtaio_event_change(event), MTAIO_NO_CHANGE);
    assert_null(mtaio_event_metadata(event));
    assert_null(mtaio_event_get(event, "key"));
    assert_true(mtaio_event_propagates(event));
    assert_false(mtaio_event_is_batch(event));
    assert_int_equal(mtaio_event_count(event), 1);
    assert_ptr_equal(mtaio_event_at(event, 0), event);
    assert_null(mtaio_event_at(event, 1));
    assert_null(mtaio_event_at(event, SIZE_MAX));
    return 0;
}

/* A plain event has the name and the data it was emitted with, no metadata, and its events are itself. */
static void test_plain_event(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .act = look_at_plain, .em = em}, b = a;
    listen(em, "user.created", &a);
    listen(em, "*", &b);
    assert_int_equal(mtaio_emit(em, "user.created", em), 2);
    assert_noted("a a");
    mtaio_emitter_unref(em);
}

/* mtaio_emit returns how many handlers ran: those that fit, those after a stop not, and none at all is 0. */
static void test_emit_counts(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"}, b = {.tag = "b", .result = 7}, stop = {.tag = "stop", .stops = true};
    assert_int_equal(mtaio_emit(em, "x", NULL), 0);
    listen(em, "x", &a);
    listen(em, "x", &b); /* 0 or more is fine, and not added to anything */
    listen(em, "y", &a);
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    assert_int_equal(mtaio_emit(em, "y", NULL), 1);
    assert_int_equal(mtaio_emit(em, "z", NULL), 0);
    listen_at(em, "x", MTAIO_HIGH, &stop);
    assert_int_equal(mtaio_emit(em, "x", NULL), 1);
    assert_noted("a b a stop");
    mtaio_emitter_unref(em);
}

static mtaio_metadata *metadata_of(const char *key, const char *value) {
    mtaio_metadata *m = NULL;
    OK(mtaio_metadata_new(&m));
    OK(mtaio_metadata_set(m, key, value));
    return m;
}

static const mtaio_metadata *given;

static int look_at_metadata(mtaio_event *event, struct actor *self) {
    (void)self;
    assert_ptr_equal(mtaio_event_metadata(event), given);
    assert_string_equal(mtaio_event_get(event, "source"), "test");
    assert_null(mtaio_event_get(event, "other"));
    assert_int_equal(mtaio_event_change(event), MTAIO_UPDATE);
    return 0;
}

/* "Metadata is the mapping the caller gave." The event reports the kind of change it was emitted with. */
static void test_metadata(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_metadata *m = metadata_of("source", "test");
    struct actor a = {.tag = "a", .act = look_at_metadata};
    given = m;
    listen(em, "x", &a);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = "x", .change = MTAIO_UPDATE, .metadata = m)),
                     1);
    assert_noted("a");
    OK(mtaio_metadata_set(m, "source", "again")); /* the emission is over: nobody shares it */
    mtaio_metadata_unref(m);
    mtaio_emitter_unref(em);
}

static int look_at_owned(mtaio_event *event, struct actor *self) {
    assert_string_equal(mtaio_event_name(event), "owned");
    assert_ptr_equal(mtaio_event_data(event), self->em);
    return look_at_metadata(event, self);
}

/* An owned event emitted brings its name, data, change and metadata, and can be emitted again. */
static void test_owned_event(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_metadata *m = metadata_of("source", "test");
    mtaio_event *event = event_new("owned", em);
    struct actor a = {.tag = "a", .act = look_at_owned, .em = em};
    given = m;
    OK(mtaio_event_set_change(event, MTAIO_UPDATE));
    OK(mtaio_event_set_metadata(event, m));
    assert_int_equal(mtaio_metadata_set(m, "source", "changed"), MTAIO_EBUSY);
    mtaio_metadata_unref(m);
    listen(em, "owned", &a);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.event = event)), 1);
    assert_int_equal(mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done)), 0);
    assert_int_equal(mtaio_emit_nowait(em, event), 0);
    assert_noted("a a done:1 a");
    mtaio_event_unref(event);
    mtaio_emitter_unref(em);
}

/* An owned event that does not propagate when it is emitted reaches monitors only. */
static void test_owned_event_stopped(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_event *event = event_new("x", NULL);
    mtaio_report report = MTAIO_REPORT();
    struct actor a = {.tag = "a"}, m = {.tag = "monitor"};
    listen(em, "x", &a);
    listen_at(em, "x", MTAIO_MONITOR, &m);
    OK(mtaio_event_set_propagate(event, false));
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.event = event, .report = &report)), 1);
    assert_true(report.stopped);
    assert_noted("monitor");
    mtaio_event_unref(event);
    mtaio_emitter_unref(em);
}

static int keep_it(mtaio_event *event, struct actor *self) {
    mtaio_event *kept = NULL;
    CHECK(mtaio_event_keep(event, &kept) == 0);
    self->more = kept;
    return 0;
}

/* What a handler keeps outlives the call: name, data, change, metadata; and the metadata stays unshared-safe.
 */
static void test_keep(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_metadata *m = metadata_of("source", "test");
    int data = 5;
    char name[] = "kept.name";
    struct actor a = {.tag = "a", .act = keep_it};
    listen(em, "*", &a);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = name, .data = &data, .change = MTAIO_DELETE,
                                                        .metadata = m)),
                     1);
    memset(name, 'z', sizeof name - 1);
    mtaio_emitter_unref(em);
    mtaio_event *kept = a.more;
    assert_string_equal(mtaio_event_name(kept), "kept.name");
    assert_ptr_equal(mtaio_event_data(kept), &data);
    assert_int_equal(mtaio_event_change(kept), MTAIO_DELETE);
    assert_string_equal(mtaio_event_get(kept, "source"), "test");
    assert_int_equal(mtaio_metadata_set(m, "source", "changed"), MTAIO_EBUSY); /* the kept event shares it */
    mtaio_event_unref(kept);
    OK(mtaio_metadata_set(m, "source", "changed"));
    mtaio_metadata_unref(m);
    assert_noted("a");
}

static void note_release(void *data) { note("free(%s)", (char *)data); }

/* The data of an owned event is released once, when nothing can use it any more: after the last to keep it.
 */
static void test_keep_owned(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_event *event = NULL;
    struct actor a = {.tag = "a", .act = keep_it};
    OK(mtaio_event_new("x", "data", note_release, &event));
    listen(em, "x", &a);
    OK(mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done)));
    mtaio_event_unref(event);
    mtaio_emitter_unref(em);
    assert_noted("a done:1");
    mtaio_event *kept = a.more;
    assert_string_equal(mtaio_event_data(kept), "data");
    mtaio_event_unref(kept);
    assert_noted("free(data)");
}

/* --- Stopping --------------------------------------------------------------------------------------------
 */

static int monitor_stops(mtaio_event *event, struct actor *self) {
    (void)self;
    mtaio_event_set_propagate(event, false);
    return 0;
}

static int monitor_restarts(mtaio_event *event, struct actor *self) {
    (void)self;
    mtaio_event_set_propagate(event, true);
    return 0;
}

static int note_propagates(mtaio_event *event, struct actor *self) {
    (void)self;
    note("%s", mtaio_event_propagates(event) ? "goes" : "stopped");
    return 0;
}

/* "propagate = false ends the emission for all further handlers except MONITOR, which observe every event,
 * last." */
static void test_stop(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_report report = MTAIO_REPORT();
    struct actor a = {.tag = "a"}, stop = {.tag = "stop", .stops = true}, b = {.tag = "b"}, c = {.tag = "c"};
    struct actor m1 = {.tag = "m1", .act = note_propagates}, m2 = {.tag = "m2"};
    listen_at(em, "x", MTAIO_MONITOR, &m1);
    listen_at(em, "*", MTAIO_MONITOR, &m2);
    listen(em, "x", &a);
    listen(em, "x", &stop);
    listen(em, "x", &b);
    listen_at(em, "x", MTAIO_LOWEST, &c);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = "x", .report = &report)), 4);
    assert_noted("a stop m1 stopped m2");
    assert_true(report.stopped);
    assert_int_equal(report.called, 4);
    mtaio_emitter_unref(em);
}

/* "What a MONITOR handler does to propagate is ignored": in either direction. */
static void test_monitor_cannot_stop(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_report report = MTAIO_REPORT();
    struct actor stops = {.tag = "stops", .act = monitor_stops},
                 restarts = {.tag = "restarts", .act = monitor_restarts};
    struct actor see = {.tag = "see", .act = note_propagates}, a = {.tag = "a", .stops = true};
    listen_at(em, "*", MTAIO_MONITOR, &stops);
    listen_at(em, "*", MTAIO_MONITOR, &see);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = "x", .report = &report)), 2);
    assert_noted("stops see goes");
    assert_false(report.stopped);
    listen_at(em, "y", MTAIO_MONITOR, &restarts);
    listen_at(em, "y", MTAIO_MONITOR, &see);
    listen(em, "y", &a);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = "y", .report = &report)), 5);
    assert_noted("a stops see stopped restarts see stopped");
    assert_true(report.stopped);
    mtaio_emitter_unref(em);
}

/* A handler may take its stop back before it returns. */
static void test_stop_taken_back(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a", .stops = true, .act = monitor_restarts}, b = {.tag = "b"};
    listen(em, "x", &a);
    listen(em, "x", &b);
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    assert_noted("a b");
    mtaio_emitter_unref(em);
}

/* --- The report ------------------------------------------------------------------------------------------
 */

/* The report says what an emission did, and starts afresh with each. */
static void test_report(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    mtaio_report report = MTAIO_REPORT();
    struct actor a = {.tag = "a"}, bad = {.tag = "bad", .result = -7}, worse = {.tag = "worse", .result = -8};
    mtaio_listener *first = listen_ref(em, "x", 0, &bad), *second = listen_ref(em, "x", 0, &worse);
    listen(em, "x", &a);
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = "x", .report = &report)), MTAIO_EHANDLER);
    assert_int_equal(report.called, 3);
    assert_int_equal(report.failed, 2);
    assert_int_equal(report.first_error, -7);
    assert_false(report.stopped);
    assert_false(report.held);
    assert_int_equal(report.size, sizeof report);
    mtaio_listener_cancel(first);
    mtaio_listener_unref(first);
    mtaio_reclaim();
    mtaio_listener_cancel(second);
    mtaio_listener_unref(second);
    mtaio_reclaim();
    assert_noted("bad worse a ~bad ~worse");
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.name = "x", .report = &report)), 1);
    assert_int_equal(report.called, 1);
    assert_int_equal(report.failed, 0);
    assert_int_equal(report.first_error, 0);
    assert_noted("a");
    mtaio_emitter_unref(em);
}

/* --- Nesting ---------------------------------------------------------------------------------------------
 */

static int emit_named(mtaio_event *event, struct actor *self) {
    (void)event;
    int r = mtaio_emit(self->em, self->name, NULL);
    note("/%s", self->tag);
    return r;
}

/* "Any handler may emit (nested, depth first)": the inner emission is over when the inner emit returns.
 * Hazard 8. */
static void test_nested(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor x1 = {.tag = "x1", .act = emit_named, .em = em, .name = "y"}, x2 = {.tag = "x2"};
    struct actor y1 = {.tag = "y1", .act = emit_named, .em = em, .name = "z"}, y2 = {.tag = "y2"},
                 z = {.tag = "z"};
    listen(em, "x", &x1);
    listen(em, "x", &x2);
    listen(em, "y", &y1);
    listen(em, "y", &y2);
    listen(em, "z", &z);
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    assert_noted("x1 y1 z /y1 y2 /x1 x2");
    mtaio_emitter_unref(em);
}

/* --- Closing ---------------------------------------------------------------------------------------------
 */

static int close_it(mtaio_event *event, struct actor *self) {
    (void)event;
    OK(mtaio_emitter_close(self->em));
    assert_int_equal(mtaio_emit(self->em, "x", NULL), MTAIO_ECLOSED);
    return 0;
}

/* "Any handler may close the emitter": the handlers it removes are not called any more. */
static void test_close_inside(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"}, b = {.tag = "b", .act = close_it, .em = em}, c = {.tag = "c"},
                 m = {.tag = "m"};
    listen(em, "x", &a);
    listen(em, "x", &b);
    listen(em, "x", &c);
    listen_at(em, "*", MTAIO_MONITOR, &m);
    assert_int_equal(mtaio_emit(em, "x", NULL), 2);
    assert_noted("a b");
    assert_true(mtaio_emitter_is_closed(em));
    mtaio_emitter_unref(em);
}

/* Close removes every handler; emitting and registering answer ECLOSED from then on. */
static void test_close(void **state) {
    (void)state;
    mtaio_emitter *em = emitter_new();
    struct actor a = {.tag = "a"};
    mtaio_listener *listener = listen_ref(em, "x", 0, &a);
    assert_false(mtaio_emitter_is_closed(em));
    OK(mtaio_emitter_close(em));
    assert_true(mtaio_emitter_is_closed(em));
    mtaio_reclaim();
    assert_noted("~a");
    assert_int_equal(mtaio_emitter_count(em, NULL), 0);
    assert_false(mtaio_listener_is_active(listener));
    assert_int_equal(mtaio_listener_cancel(listener), 0);
    assert_int_equal(mtaio_emit(em, "x", NULL), MTAIO_ECLOSED);
    assert_int_equal(mtaio_on(em, "x", play, &a), MTAIO_ECLOSED);
    OK(mtaio_emitter_close(em));
    mtaio_listener_unref(listener);
    mtaio_emitter_unref(em);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_plain_event),
        TEST(test_emit_counts),
        TEST(test_metadata),
        TEST(test_owned_event),
        TEST(test_owned_event_stopped),
        TEST(test_keep),
        TEST(test_keep_owned),
        TEST(test_stop),
        TEST(test_monitor_cannot_stop),
        TEST(test_stop_taken_back),
        TEST(test_report),
        TEST(test_nested),
        TEST(test_close_inside),
        TEST(test_close),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
