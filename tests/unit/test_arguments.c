/* test_arguments.c - "Every public function checks its arguments and answers with an error": each argument
 * wrong once (NULL, a wrong size, a bad name, pattern or number, an object that is closed or over), the
 * documented answer, and nothing changed: neither the world nor *ret. Hazard 45. */
#include "record.h"

/* --- A world with one of each, and its state as a text -------------------------------------------------- */

static struct world {
    mtaio_emitter *em, *closed, *filtered;
    mtaio_listener *listener;
    mtaio_name *name, *other_name;
    mtaio_batch *batch;
    mtaio_suppression *held;
    mtaio_event *event, *sealed;
    mtaio_metadata *metadata;
    mtaio_deferral *deferral;
    mtaio_executor *loop;
    struct actor a, waits;
} w;

/* What ret points to: no failure may touch it. */
static int untouched_;
static void *const untouched = &untouched_;

static int post(mtaio_job *job, void *ctx) {
    (void)job;
    (void)ctx;
    return MTAIO_EAGAIN;
}

static bool is_current(void *ctx) {
    (void)ctx;
    return false;
}

static int pass(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 1;
}

static int same(const mtaio_event *event, mtaio_event *mapped, void *ctx) {
    (void)event;
    (void)mapped;
    (void)ctx;
    return 0;
}

static void make_world(void) {
    w = (struct world){.em = emitter_new(), .closed = emitter_new()};
    w.a = (struct actor){.tag = "a"};
    w.waits = (struct actor){.tag = "waits", .deferral = &w.deferral};
    OK(mtaio_emitter_resolve(w.closed, "x", &w.other_name));
    OK(mtaio_emitter_close(w.closed));
    w.listener = listen_ref(w.em, "x.*", 0, &w.a);
    listen(w.em, "rest", &w.waits);
    OK(mtaio_emitter_filter(w.em, "x.y", MTAIO_FILTER(.call = pass), &w.filtered));
    listen(w.filtered, "*", &w.a);
    OK(mtaio_emitter_resolve(w.em, "x.y", &w.name));
    OK(mtaio_batch_new(w.em, &w.batch));
    OK(mtaio_batch_emit(w.batch, "x.y", NULL));
    OK(mtaio_emitter_suppress(w.em, "held", &w.held));
    OK(mtaio_emit(w.em, "held", NULL));
    w.event = event_new("x.y", &w);
    w.sealed = event_new("rest", NULL);
    OK(mtaio_metadata_new(&w.metadata));
    OK(mtaio_metadata_set(w.metadata, "k", "v"));
    OK(mtaio_emit_async(w.em, w.sealed, MTAIO_ASYNC(.done = note_done)));
    OK(mtaio_executor_new(MTAIO_LOOP(.post = post, .is_current = is_current), &w.loop));
    assert_noted("waits");
}

static void end_world(void) {
    assert_noted("");
    complete(&w.deferral, 0);
    mtaio_listener_unref(w.listener);
    mtaio_name_unref(w.name);
    mtaio_name_unref(w.other_name);
    mtaio_batch_unref(w.batch);
    mtaio_suppression_unref(w.held);
    mtaio_event_unref(w.event);
    mtaio_event_unref(w.sealed);
    mtaio_metadata_unref(w.metadata);
    mtaio_emitter_unref(w.filtered);
    mtaio_emitter_unref(w.closed);
    mtaio_emitter_unref(w.em);
    mtaio_executor_unref(w.loop);
    mtaio_reclaim();
    assert_noted("done:1 ~a");
}

static void describe(char *text) {
    list_names(w.em, text);
    sprintf(text + strlen(text), "%zu %zu %d %d %d,", mtaio_emitter_count(w.em, NULL),
            mtaio_emitter_count(w.filtered, NULL), mtaio_emitter_reach(w.em, "x.y"),
            mtaio_emitter_is_closed(w.em), mtaio_emitter_is_closed(w.closed));
    sprintf(text + strlen(text), "%d %zu %zu %s %d %d %zu %s,", mtaio_listener_is_active(w.listener),
            mtaio_batch_count(w.batch), mtaio_suppression_count(w.held), mtaio_event_name(w.event),
            mtaio_event_data(w.event) == &w, (int)mtaio_event_change(w.event),
            mtaio_metadata_count(w.metadata), mtaio_metadata_get(w.metadata, "k"));
    sprintf(text + strlen(text), "%s", mtaio_event_name(mtaio_deferral_event(w.deferral)));
}

#define REFUSED(expected, call)                                                                              \
    do {                                                                                                     \
        char before_[512], after_[512];                                                                      \
        describe(before_);                                                                                   \
        assert_int_equal((call), (expected));                                                                \
        describe(after_);                                                                                    \
        assert_string_equal(after_, before_);                                                                \
        assert_noted("");                                                                                    \
    } while (0)

/* One that gives an object: the same, and *ret is not touched. T is what ret points to. */
#define REFUSED_RET(expected, T, call)                                                                       \
    do {                                                                                                     \
        T *ret = untouched;                                                                                  \
        REFUSED(expected, call);                                                                             \
        assert_ptr_equal(ret, untouched);                                                                    \
    } while (0)

/* --- Emitters --------------------------------------------------------------------------------------------
 */

static void test_emitters(void **state) {
    (void)state;
    make_world();
    REFUSED(MTAIO_EINVAL, mtaio_emitter_new(NULL, NULL));
    REFUSED_RET(MTAIO_EINVAL, mtaio_emitter, mtaio_emitter_new(&(mtaio_emitter_options){.size = 0}, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_emitter,
                mtaio_emitter_new(&(mtaio_emitter_options){.size = sizeof(mtaio_emitter_options) - 1}, &ret));
    REFUSED(MTAIO_EINVAL, mtaio_emitter_close(NULL));
    REFUSED(MTAIO_EINVAL, mtaio_emitter_set_max_listeners(NULL, 1));
    REFUSED(0, mtaio_emitter_close(w.closed)); /* twice is no error */
    assert_null(mtaio_emitter_ref(NULL));
    assert_null(mtaio_emitter_unref(NULL));
    assert_true(mtaio_emitter_is_closed(NULL)); /* nothing can be done with it */
    assert_string_equal(mtaio_emitter_name(NULL), "");
    assert_string_equal(mtaio_emitter_name(w.em), "");
    end_world();
}

/* --- Registering -----------------------------------------------------------------------------------------
 */

static void test_short_registering(void **state) {
    (void)state;
    static int (*const forms[])(mtaio_emitter *, const char *, mtaio_call, void *) = {mtaio_on, mtaio_once};
    make_world();
    for (size_t i = 0; i < COUNT(forms); i++) {
        REFUSED(MTAIO_EINVAL, forms[i](NULL, "x", play, &w.a));
        REFUSED(MTAIO_EINVAL, forms[i](w.em, NULL, play, &w.a));
        REFUSED(MTAIO_EPATTERN, forms[i](w.em, "", play, &w.a));
        REFUSED(MTAIO_EPATTERN, forms[i](w.em, "lo*g", play, &w.a));
        REFUSED(MTAIO_EINVAL, forms[i](w.em, "x", NULL, &w.a));
        REFUSED(MTAIO_ECLOSED, forms[i](w.closed, "x", play, &w.a));
    }
    REFUSED(MTAIO_EINVAL, mtaio_off(NULL, "x.*", play, &w.a));
    REFUSED(MTAIO_EINVAL, mtaio_off(w.em, NULL, play, &w.a));
    REFUSED(MTAIO_EINVAL, mtaio_off(w.em, "x.*", NULL, &w.a));
    REFUSED(MTAIO_EPATTERN, mtaio_off(w.em, "x*", play, &w.a));
    REFUSED(0, mtaio_off(w.closed, "x", play, &w.a));
    REFUSED(MTAIO_EINVAL, mtaio_emitter_remove_all(NULL, "x.*"));
    REFUSED(MTAIO_EPATTERN, mtaio_emitter_remove_all(w.em, "x*"));
    REFUSED(0, mtaio_emitter_remove_all(w.closed, NULL));
    end_world();
}

#define BAD_HANDLER(expected, em, pattern, ...)                                                              \
    REFUSED_RET(expected, mtaio_listener, mtaio_emitter_on(em, pattern, MTAIO_HANDLER(__VA_ARGS__), &ret))

static void test_full_registering(void **state) {
    (void)state;
    make_world();
    mtaio_handler h = *MTAIO_HANDLER(.call = play, .ctx = &w.a);
    for (h.size = 0; h.size < sizeof h; h.size += sizeof h - 1)
        REFUSED_RET(MTAIO_EINVAL, mtaio_listener, mtaio_emitter_on(w.em, "x", &h, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_listener, mtaio_emitter_on(w.em, "x", NULL, &ret));
    BAD_HANDLER(MTAIO_EINVAL, NULL, "x", .call = play, .ctx = &w.a);
    BAD_HANDLER(MTAIO_EINVAL, w.em, NULL, .call = play, .ctx = &w.a);
    BAD_HANDLER(MTAIO_EPATTERN, w.em, "a..b", .call = play, .ctx = &w.a);
    BAD_HANDLER(MTAIO_EINVAL, w.em, "x", .call = NULL, .ctx = &w.a);
    BAD_HANDLER(MTAIO_EINVAL, w.em, "x", .call = play, .ctx = &w.a, .priority = MTAIO_LOWEST - 1);
    BAD_HANDLER(MTAIO_EINVAL, w.em, "x", .call = play, .ctx = &w.a, .priority = MTAIO_MONITOR + 1);
    BAD_HANDLER(MTAIO_EINVAL, w.em, "x", .call = play, .ctx = &w.a, .priority = (mtaio_priority)1000000);
    BAD_HANDLER(MTAIO_EINVAL, w.em, "x", .call = play, .ctx = &w.a, .flags = 2);
    BAD_HANDLER(MTAIO_EINVAL, w.em, "x", .call = play, .ctx = &w.a, .flags = MTAIO_ONCE | 1u << 31);
    BAD_HANDLER(MTAIO_ECLOSED, w.closed, "x", .call = play, .ctx = &w.a);
    end_world();
}

static int refuse_visit(const mtaio_listener_info *info, void *ctx) {
    (void)info;
    (void)ctx;
    return 1;
}

static void test_listeners(void **state) {
    (void)state;
    make_world();
    REFUSED(MTAIO_EINVAL, mtaio_listener_cancel(NULL));
    REFUSED(MTAIO_EINVAL, mtaio_listener_cancel_wait(NULL));
    assert_null(mtaio_listener_ref(NULL));
    assert_null(mtaio_listener_unref(NULL));
    assert_false(mtaio_listener_is_active(NULL));
    assert_int_equal(mtaio_emitter_count(NULL, "x.*"), 0);
    assert_int_equal(mtaio_emitter_count(w.em, "x*"), 0);
    assert_int_equal(mtaio_emitter_count(w.closed, NULL), 0);
    REFUSED(MTAIO_EINVAL, mtaio_emitter_reach(NULL, "x"));
    REFUSED(MTAIO_EINVAL, mtaio_emitter_reach(w.em, NULL));
    REFUSED(MTAIO_ENAME, mtaio_emitter_reach(w.em, "x.*"));
    REFUSED(MTAIO_EINVAL, mtaio_emitter_each_name(NULL, listing_add, NULL));
    REFUSED(MTAIO_EINVAL, mtaio_emitter_each_name(w.em, NULL, NULL));
    REFUSED(MTAIO_EINVAL, mtaio_emitter_each_listener(w.em, NULL, NULL, NULL));
    REFUSED(MTAIO_EPATTERN, mtaio_emitter_each_listener(w.em, "x*", refuse_visit, NULL));
    end_world();
}

/* --- Emitting --------------------------------------------------------------------------------------------
 */

static void test_emitting(void **state) {
    (void)state;
    make_world();
    REFUSED(MTAIO_EINVAL, mtaio_emit(NULL, "x", NULL));
    REFUSED(MTAIO_EINVAL, mtaio_emit(w.em, NULL, NULL));
    REFUSED(MTAIO_ENAME, mtaio_emit(w.em, "", NULL));
    REFUSED(MTAIO_ENAME, mtaio_emit(w.em, "x.*", NULL));
    REFUSED(MTAIO_ECLOSED, mtaio_emit(w.closed, "x", NULL));
    REFUSED_RET(MTAIO_EINVAL, mtaio_name, mtaio_emitter_resolve(NULL, "x", &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_name, mtaio_emitter_resolve(w.em, NULL, &ret));
    REFUSED_RET(MTAIO_ENAME, mtaio_name, mtaio_emitter_resolve(w.em, "**", &ret));
    REFUSED(MTAIO_EINVAL, mtaio_emitter_resolve(w.em, "x", NULL));
    REFUSED_RET(MTAIO_ECLOSED, mtaio_name, mtaio_emitter_resolve(w.closed, "x", &ret));
    REFUSED(MTAIO_EINVAL, mtaio_emit_name(NULL, NULL));
    REFUSED(MTAIO_ECLOSED, mtaio_emit_name(w.other_name, NULL));
    assert_null(mtaio_name_ref(NULL));
    assert_null(mtaio_name_unref(NULL));
    end_world();
}

#define BAD_EMISSION(expected, em, ...)                                                                      \
    do {                                                                                                     \
        REFUSED(expected, mtaio_emit_with(em, MTAIO_EMISSION(__VA_ARGS__)));                                 \
        REFUSED(expected, mtaio_emit_start(em, MTAIO_EMISSION(__VA_ARGS__), note_done));                     \
    } while (0)

static void test_emit_with(void **state) {
    (void)state;
    make_world();
    mtaio_emission e = *MTAIO_EMISSION(.name = "x.y");
    mtaio_report small = {.size = sizeof small - 1}, none = {.size = 0};
    for (e.size = 0; e.size < sizeof e; e.size += sizeof e - 1)
        REFUSED(MTAIO_EINVAL, mtaio_emit_with(w.em, &e));
    REFUSED(MTAIO_EINVAL, mtaio_emit_with(w.em, NULL));
    REFUSED(MTAIO_EINVAL, mtaio_emit_start(w.em, NULL, note_done));
    REFUSED(MTAIO_EINVAL, mtaio_emit_start(w.em, MTAIO_EMISSION(.name = "x.y"), NULL));
    BAD_EMISSION(MTAIO_EINVAL, NULL, .name = "x.y");
    BAD_EMISSION(MTAIO_EINVAL, w.em, .name = NULL); /* none of the three */
    BAD_EMISSION(MTAIO_EINVAL, w.em, .name = "x.y", .resolved = w.name);
    BAD_EMISSION(MTAIO_EINVAL, w.em, .name = "x.y", .event = w.event);
    BAD_EMISSION(MTAIO_EINVAL, w.em, .resolved = w.name, .event = w.event);
    BAD_EMISSION(MTAIO_EINVAL, w.em, .resolved = w.other_name); /* another emitter's */
    BAD_EMISSION(MTAIO_ENAME, w.em, .name = "a.*");
    BAD_EMISSION(MTAIO_EINVAL, w.em, .name = "x.y", .change = (mtaio_change)(MTAIO_RESET + 1));
    BAD_EMISSION(MTAIO_EINVAL, w.em, .name = "x.y", .change = (mtaio_change)-1);
    BAD_EMISSION(MTAIO_EINVAL, w.em, .name = "x.y", .report = &small);
    BAD_EMISSION(MTAIO_EINVAL, w.em, .name = "x.y", .report = &none);
    BAD_EMISSION(MTAIO_ECLOSED, w.closed, .name = "x.y");
    end_world();
}

static void test_emit_async(void **state) {
    (void)state;
    make_world();
    mtaio_async async = *MTAIO_ASYNC(.done = note_done);
    for (async.size = 0; async.size < sizeof async; async.size += sizeof async - 1)
        REFUSED(MTAIO_EINVAL, mtaio_emit_async(w.em, w.event, &async));
    REFUSED(MTAIO_EINVAL, mtaio_emit_async(w.em, w.event, NULL));
    REFUSED(MTAIO_EINVAL, mtaio_emit_async(w.em, w.event, MTAIO_ASYNC(.done = NULL)));
    REFUSED(MTAIO_EINVAL, mtaio_emit_async(w.em, NULL, MTAIO_ASYNC(.done = note_done)));
    REFUSED(MTAIO_EINVAL, mtaio_emit_async(NULL, w.event, MTAIO_ASYNC(.done = note_done)));
    REFUSED(MTAIO_ECLOSED, mtaio_emit_async(w.closed, w.event, MTAIO_ASYNC(.done = note_done)));
    REFUSED(MTAIO_EINVAL, mtaio_emit_nowait(w.em, NULL));
    REFUSED(MTAIO_EINVAL, mtaio_emit_nowait(NULL, w.event));
    REFUSED(MTAIO_ECLOSED, mtaio_emit_nowait(w.closed, w.event));
    OK(mtaio_event_set_change(w.event, MTAIO_CREATE)); /* it was not emitted, so it can still be filled */
    REFUSED_RET(MTAIO_EINVAL, mtaio_event, mtaio_emitter_wait(NULL, "x", NULL, NULL, 0, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_event, mtaio_emitter_wait(w.em, NULL, NULL, NULL, 0, &ret));
    REFUSED_RET(MTAIO_EPATTERN, mtaio_event, mtaio_emitter_wait(w.em, "x*", NULL, NULL, 0, &ret));
    REFUSED(MTAIO_EINVAL, mtaio_emitter_wait(w.em, "x", NULL, NULL, 0, NULL));
    REFUSED_RET(MTAIO_ECLOSED, mtaio_event, mtaio_emitter_wait(w.closed, "x", NULL, NULL, 0, &ret));
    REFUSED_RET(MTAIO_ETIMEDOUT, mtaio_event, mtaio_emitter_wait(w.em, "x", NULL, NULL, 0, &ret));
    end_world();
}

static int emit_borrowed(mtaio_event *event, struct actor *self) {
    mtaio_emitter *em = self->em;
    assert_int_equal(mtaio_emit_with(em, MTAIO_EMISSION(.event = event)), MTAIO_EINVAL);
    assert_int_equal(mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done)), MTAIO_EINVAL);
    assert_int_equal(mtaio_emit_nowait(em, event), MTAIO_EINVAL);
    assert_int_equal(mtaio_batch_emit_event(w.batch, event), MTAIO_EINVAL);
    assert_null(mtaio_event_ref(event));
    assert_null(mtaio_event_unref(event));
    return 0;
}

/* A borrowed event, valid for the call only, is refused wherever an owned one is asked for: mtaio_event_keep
 * makes one. */
static void test_borrowed_events(void **state) {
    (void)state;
    make_world();
    struct actor b = {.tag = "b", .act = emit_borrowed, .em = w.em};
    listen(w.em, "borrowed", &b);
    assert_int_equal(mtaio_emit(w.em, "borrowed", NULL), 1);
    assert_int_equal(mtaio_batch_count(w.batch), 1);
    assert_noted("b");
    end_world();
}

/* --- Derived emitters ------------------------------------------------------------------------------------
 */

static void test_derived(void **state) {
    (void)state;
    make_world();
    mtaio_filter f = *MTAIO_FILTER(.call = pass);
    mtaio_map m = *MTAIO_MAP(.call = same);
    for (f.size = 0; f.size < sizeof f; f.size += sizeof f - 1)
        REFUSED_RET(MTAIO_EINVAL, mtaio_emitter, mtaio_emitter_filter(w.em, NULL, &f, &ret));
    for (m.size = 0; m.size < sizeof m; m.size += sizeof m - 1)
        REFUSED_RET(MTAIO_EINVAL, mtaio_emitter, mtaio_emitter_map(w.em, NULL, &m, &ret));
    f = *MTAIO_FILTER(.call = pass);
    m = *MTAIO_MAP(.call = same);
    REFUSED_RET(MTAIO_EINVAL, mtaio_emitter, mtaio_emitter_filter(NULL, NULL, &f, &ret));
    REFUSED_RET(MTAIO_EPATTERN, mtaio_emitter, mtaio_emitter_filter(w.em, "x*", &f, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_emitter, mtaio_emitter_filter(w.em, "x", NULL, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_emitter,
                mtaio_emitter_filter(w.em, "x", MTAIO_FILTER(.call = NULL), &ret));
    REFUSED(MTAIO_EINVAL, mtaio_emitter_filter(w.em, "x", &f, NULL));
    REFUSED_RET(MTAIO_ECLOSED, mtaio_emitter, mtaio_emitter_filter(w.closed, "x", &f, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_emitter, mtaio_emitter_map(NULL, NULL, &m, &ret));
    REFUSED_RET(MTAIO_EPATTERN, mtaio_emitter, mtaio_emitter_map(w.em, "", &m, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_emitter, mtaio_emitter_map(w.em, "x", NULL, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_emitter, mtaio_emitter_map(w.em, "x", MTAIO_MAP(.call = NULL), &ret));
    REFUSED(MTAIO_EINVAL, mtaio_emitter_map(w.em, "x", &m, NULL));
    REFUSED_RET(MTAIO_ECLOSED, mtaio_emitter, mtaio_emitter_map(w.closed, "x", &m, &ret));
    end_world();
}

static void test_buffer_and_pipe(void **state) {
    (void)state;
    make_world();
    REFUSED_RET(MTAIO_EINVAL, mtaio_emitter, mtaio_emitter_buffer(NULL, "x", 2, &ret));
    REFUSED_RET(MTAIO_EPATTERN, mtaio_emitter, mtaio_emitter_buffer(w.em, "x..y", 2, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_emitter, mtaio_emitter_buffer(w.em, "x", 0, &ret));
    REFUSED(MTAIO_EINVAL, mtaio_emitter_buffer(w.em, "x", 2, NULL));
    REFUSED_RET(MTAIO_ECLOSED, mtaio_emitter, mtaio_emitter_buffer(w.closed, "x", 2, &ret));
    REFUSED(MTAIO_EINVAL, mtaio_emitter_flush(NULL));
    REFUSED(MTAIO_EINVAL, mtaio_emitter_flush(w.em)); /* no buffer */
    REFUSED(MTAIO_EINVAL, mtaio_emitter_flush(w.filtered));
    REFUSED_RET(MTAIO_EINVAL, mtaio_listener, mtaio_emitter_pipe(NULL, "x", w.em, &ret));
    REFUSED_RET(MTAIO_EPATTERN, mtaio_listener, mtaio_emitter_pipe(w.em, "x*", w.filtered, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_listener, mtaio_emitter_pipe(w.em, "x", NULL, &ret));
    REFUSED_RET(MTAIO_ECLOSED, mtaio_listener, mtaio_emitter_pipe(w.closed, "x", w.em, &ret));
    end_world();
}

/* --- Batches, suppressions, hooks ------------------------------------------------------------------------
 */

static void test_batches(void **state) {
    (void)state;
    make_world();
    mtaio_async async = *MTAIO_ASYNC(.done = note_done);
    REFUSED_RET(MTAIO_EINVAL, mtaio_batch, mtaio_batch_new(NULL, &ret));
    REFUSED(MTAIO_EINVAL, mtaio_batch_new(w.em, NULL));
    REFUSED_RET(MTAIO_ECLOSED, mtaio_batch, mtaio_batch_new(w.closed, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_batch, mtaio_batch_nest(NULL, &ret));
    REFUSED(MTAIO_EINVAL, mtaio_batch_nest(w.batch, NULL));
    REFUSED(MTAIO_EINVAL, mtaio_batch_emit(NULL, "x", NULL));
    REFUSED(MTAIO_EINVAL, mtaio_batch_emit(w.batch, NULL, NULL));
    REFUSED(MTAIO_ENAME, mtaio_batch_emit(w.batch, "x.*", NULL));
    REFUSED(MTAIO_EINVAL, mtaio_batch_emit_event(NULL, w.event));
    REFUSED(MTAIO_EINVAL, mtaio_batch_emit_event(w.batch, NULL));
    REFUSED(MTAIO_EINVAL, mtaio_batch_end(NULL, NULL));
    for (async.size = 0; async.size < sizeof async; async.size += sizeof async - 1)
        REFUSED(MTAIO_EINVAL, mtaio_batch_end(w.batch, &async));
    REFUSED(MTAIO_EINVAL, mtaio_batch_end(w.batch, MTAIO_ASYNC(.done = NULL)));
    REFUSED(MTAIO_EINVAL, mtaio_batch_abandon(NULL));
    assert_int_equal(mtaio_batch_count(NULL), 0);
    assert_null(mtaio_batch_unref(NULL));
    end_world();
}

static void before(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
}

static void test_suppressions_and_hooks(void **state) {
    (void)state;
    make_world();
    mtaio_hook hook = *MTAIO_HOOK(.before = before);
    REFUSED_RET(MTAIO_EINVAL, mtaio_suppression, mtaio_emitter_suppress(NULL, "x", &ret));
    REFUSED_RET(MTAIO_EPATTERN, mtaio_suppression, mtaio_emitter_suppress(w.em, "x*", &ret));
    REFUSED(MTAIO_EINVAL, mtaio_emitter_suppress(w.em, "x", NULL));
    REFUSED_RET(MTAIO_ECLOSED, mtaio_suppression, mtaio_emitter_suppress(w.closed, "x", &ret));
    REFUSED(MTAIO_EINVAL, mtaio_suppression_drop(NULL));
    REFUSED(MTAIO_EINVAL, mtaio_suppression_replay(NULL));
    assert_int_equal(mtaio_suppression_count(NULL), 0);
    assert_null(mtaio_suppression_unref(NULL));
    for (hook.size = 0; hook.size < sizeof hook; hook.size += sizeof hook - 1)
        REFUSED_RET(MTAIO_EINVAL, mtaio_listener, mtaio_emitter_hook(w.em, &hook, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_listener, mtaio_emitter_hook(w.em, NULL, &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_listener, mtaio_emitter_hook(w.em, MTAIO_HOOK(.before = NULL), &ret));
    REFUSED_RET(MTAIO_EINVAL, mtaio_listener, mtaio_emitter_hook(NULL, MTAIO_HOOK(.before = before), &ret));
    REFUSED_RET(MTAIO_ECLOSED, mtaio_listener,
                mtaio_emitter_hook(w.closed, MTAIO_HOOK(.before = before), &ret));
    end_world();
}

/* --- Events and deferrals --------------------------------------------------------------------------------
 */

static void test_events(void **state) {
    (void)state;
    make_world();
    REFUSED_RET(MTAIO_EINVAL, mtaio_event, mtaio_event_new(NULL, NULL, NULL, &ret));
    REFUSED_RET(MTAIO_ENAME, mtaio_event, mtaio_event_new("x.*", NULL, NULL, &ret));
    REFUSED(MTAIO_EINVAL, mtaio_event_new("x", NULL, NULL, NULL));
    REFUSED_RET(MTAIO_EINVAL, mtaio_event, mtaio_event_keep(NULL, &ret));
    REFUSED(MTAIO_EINVAL, mtaio_event_keep(w.event, NULL));
    REFUSED(MTAIO_EINVAL, mtaio_event_set_name(NULL, "x"));
    REFUSED(MTAIO_EINVAL, mtaio_event_set_name(w.event, NULL));
    REFUSED(MTAIO_ENAME, mtaio_event_set_name(w.event, "a..b"));
    REFUSED(MTAIO_EINVAL, mtaio_event_set_data(NULL, NULL, NULL));
    REFUSED(MTAIO_EINVAL, mtaio_event_set_change(NULL, MTAIO_CREATE));
    REFUSED(MTAIO_EINVAL, mtaio_event_set_change(w.event, (mtaio_change)(MTAIO_RESET + 1)));
    REFUSED(MTAIO_EINVAL, mtaio_event_set_change(w.event, (mtaio_change)-1));
    REFUSED(MTAIO_EINVAL, mtaio_event_set_metadata(NULL, w.metadata));
    REFUSED(MTAIO_EINVAL, mtaio_event_set_propagate(NULL, false));
    REFUSED(MTAIO_EINVAL, mtaio_event_cancel(NULL));
    REFUSED(MTAIO_EBUSY, mtaio_event_cancel(w.event));
    REFUSED(MTAIO_EBUSY, mtaio_event_set_name(w.sealed, "x"));
    REFUSED(MTAIO_EBUSY, mtaio_event_set_data(w.sealed, NULL, NULL));
    REFUSED(MTAIO_EBUSY, mtaio_event_set_change(w.sealed, MTAIO_CREATE));
    REFUSED(MTAIO_EBUSY, mtaio_event_set_metadata(w.sealed, w.metadata));
    assert_null(mtaio_event_name(NULL));
    assert_null(mtaio_event_data(NULL));
    assert_int_equal(mtaio_event_change(NULL), MTAIO_NO_CHANGE);
    assert_null(mtaio_event_metadata(NULL));
    assert_null(mtaio_event_get(NULL, "k"));
    assert_null(mtaio_event_get(w.event, NULL));
    assert_int_equal(mtaio_event_count(NULL), 0);
    assert_null(mtaio_event_at(NULL, 0));
    assert_false(mtaio_event_is_batch(NULL));
    assert_false(mtaio_event_propagates(NULL));
    assert_null(mtaio_event_ref(NULL));
    assert_null(mtaio_event_unref(NULL));
    end_world();
}

static int set_borrowed(mtaio_event *event, struct actor *self) {
    assert_int_equal(mtaio_event_set_name(event, "x"), MTAIO_EBUSY);
    assert_int_equal(mtaio_event_set_data(event, NULL, NULL), MTAIO_EBUSY);
    assert_int_equal(mtaio_event_set_change(event, MTAIO_CREATE), MTAIO_EBUSY);
    assert_int_equal(mtaio_event_set_metadata(event, w.metadata), MTAIO_EBUSY);
    assert_int_equal(mtaio_event_defer(event, NULL), MTAIO_EINVAL);
    return self->result;
}

static void test_deferrals(void **state) {
    (void)state;
    make_world();
    struct actor b = {.tag = "b", .act = set_borrowed};
    listen(w.em, "borrowed", &b);
    assert_int_equal(mtaio_emit(w.em, "borrowed", NULL), 1);
    assert_noted("b");
    REFUSED_RET(MTAIO_EINVAL, mtaio_deferral, mtaio_event_defer(NULL, &ret));
    REFUSED_RET(MTAIO_EBUSY, mtaio_deferral, mtaio_event_defer(w.event, &ret));
    REFUSED_RET(MTAIO_EBUSY, mtaio_deferral, mtaio_event_defer(w.sealed, &ret));
    REFUSED(MTAIO_EINVAL, mtaio_deferral_complete(NULL, 0));
    assert_null(mtaio_deferral_ref(NULL));
    assert_null(mtaio_deferral_unref(NULL));
    assert_null(mtaio_deferral_event(NULL));
    end_world();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_emitters),        TEST(test_short_registering), TEST(test_full_registering),
        TEST(test_listeners),       TEST(test_emitting),          TEST(test_emit_with),
        TEST(test_emit_async),      TEST(test_borrowed_events),   TEST(test_derived),
        TEST(test_buffer_and_pipe), TEST(test_batches),           TEST(test_suppressions_and_hooks),
        TEST(test_events),          TEST(test_deferrals),
    };
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
