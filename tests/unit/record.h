/* record.h - handlers that write down what happens, so that a test compares the whole sequence with a string.
 *
 *     struct actor a = {.tag = "a"}, b = {.tag = "b", .stops = true};
 *     listen(em, "x", &a);
 *     listen(em, "x", &b);
 *     assert_int_equal(mtaio_emit(em, "x", NULL), 2);
 *     assert_noted("a b");
 *
 * TEST(f) runs f between begin and end, which see to it that nothing is noted and forgotten, and that f frees
 * all it made. */
#ifndef MTAIO_TESTS_RECORD_H
#define MTAIO_TESTS_RECORD_H

#include "support.h"

#include <mtaio/mtaio.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OK(call) assert_int_equal((call), 0)
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Sanitizers need more stack and time than the code they watch. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* --- Notes: one line of words, from any thread. ----------------------------------------------------------
 */

static struct {
    pthread_mutex_t lock;
    size_t length;
    char text[1 << 16];
} notes = {.lock = PTHREAD_MUTEX_INITIALIZER};

__attribute__((format(printf, 1, 2))) static inline void note(const char *format, ...) {
    va_list args;
    va_start(args, format);
    pthread_mutex_lock(&notes.lock);
    char *end = notes.text + notes.length;
    size_t room = sizeof notes.text - notes.length;
    int space = notes.length > 0 ? snprintf(end, room, " ") : 0;
    int word = vsnprintf(end + space, room - (size_t)space, format, args);
    CHECK(word >= 0 && (size_t)(space + word) < room);
    notes.length += (size_t)(space + word);
    pthread_mutex_unlock(&notes.lock);
    va_end(args);
}

static inline void forget_notes(void) {
    pthread_mutex_lock(&notes.lock);
    notes.length = 0;
    notes.text[0] = '\0';
    pthread_mutex_unlock(&notes.lock);
}

/* What was noted since the last time, exactly. */
#define assert_noted(expected)                                                                               \
    do {                                                                                                     \
        assert_string_equal(notes.text, (expected));                                                         \
        forget_notes();                                                                                      \
    } while (0)

/* --- Handlers --------------------------------------------------------------------------------------------
 */

struct actor {
    const char *tag;           /* noted at each call, with ~ in front at the destroy-notify */
    int result;                /* what the handler answers */
    bool stops;                /* sets propagate to false */
    mtaio_deferral **deferral; /* takes one, and leaves it here */
    int (*act)(mtaio_event *event, struct actor *self); /* does more; its answer counts */
    mtaio_emitter *em;                                  /* what act works on */
    mtaio_listener *listener;
    const char *name;
    void *more;
    unsigned calls, gone;
};

static inline int play(mtaio_event *event, void *ctx) {
    struct actor *self = ctx;
    self->calls++;
    note("%s", self->tag);
    if (self->stops)
        CHECK(mtaio_event_set_propagate(event, false) == 0);
    if (self->deferral != NULL)
        CHECK(mtaio_event_defer(event, self->deferral) == 0);
    return self->act != NULL ? self->act(event, self) : self->result;
}

static inline void gone(void *ctx) {
    struct actor *self = ctx;
    self->gone++;
    note("~%s", self->tag);
}

static inline void listen(mtaio_emitter *em, const char *pattern, struct actor *a) {
    OK(mtaio_on(em, pattern, play, a));
}

static inline void listen_at(mtaio_emitter *em, const char *pattern, mtaio_priority priority,
                             struct actor *a) {
    OK(mtaio_emitter_on(em, pattern, MTAIO_HANDLER(.call = play, .ctx = a, .priority = priority), NULL));
}

/* With a destroy-notify, and a reference to the registration. */
static inline mtaio_listener *listen_ref(mtaio_emitter *em, const char *pattern, unsigned flags,
                                         struct actor *a) {
    mtaio_listener *listener = NULL;
    OK(mtaio_emitter_on(em, pattern, MTAIO_HANDLER(.call = play, .ctx = a, .destroy = gone, .flags = flags),
                        &listener));
    assert_non_null(listener);
    return listener;
}

static inline mtaio_emitter *emitter_new(void) {
    mtaio_emitter *em = NULL;
    OK(mtaio_emitter_new(NULL, &em));
    assert_non_null(em);
    return em;
}

static inline mtaio_event *event_new(const char *name, void *data) {
    mtaio_event *event = NULL;
    OK(mtaio_event_new(name, data, NULL, &event));
    assert_non_null(event);
    return event;
}

/* --- What an emitter is listened to for: "pattern*count " of each, sorted ---------------------------------- */

struct listing {
    size_t count;
    char lines[32][48];
};

static inline int listing_add(const char *pattern, size_t count, void *ctx) {
    struct listing *l = ctx;
    CHECK(l->count < COUNT(l->lines));
    snprintf(l->lines[l->count++], sizeof l->lines[0], "%s*%zu ", pattern, count);
    return 0;
}

static inline int listing_compare(const void *a, const void *b) { return strcmp(a, b); }

static inline void list_names(const mtaio_emitter *em, char *text) {
    struct listing l = {.count = 0};
    OK(mtaio_emitter_each_name(em, listing_add, &l));
    qsort(l.lines, l.count, sizeof l.lines[0], listing_compare);
    *text = '\0';
    for (size_t i = 0; i < l.count; i++)
        strcat(text, l.lines[i]);
}

/* --- Asynchronous emissions ------------------------------------------------------------------------------
 */

static inline const char *result_text(int result) {
    static _Thread_local char text[16];
    if (result < 0)
        return mtaio_error_name(result);
    snprintf(text, sizeof text, "%d", result);
    return text;
}

static inline void note_done(int result, const mtaio_report *report, void *ctx) {
    (void)report;
    note("%s:%s", ctx != NULL ? (const char *)ctx : "done", result_text(result));
}

/* Notes "done:result" when the emission is over. */
static inline void emit_later(mtaio_emitter *em, const char *name) {
    mtaio_event *event = event_new(name, NULL);
    OK(mtaio_emit_async(em, event, MTAIO_ASYNC(.done = note_done)));
    mtaio_event_unref(event);
}

/* What goes on from there may leave another one here. */
static inline void complete(mtaio_deferral **deferral, int status) {
    mtaio_deferral *taken = *deferral;
    CHECK(taken != NULL);
    *deferral = NULL;
    CHECK(mtaio_deferral_complete(taken, status) == 0);
    mtaio_deferral_unref(taken);
}

/* --- Around each test ------------------------------------------------------------------------------------
 */

static size_t blocks_before;

static inline void never_done(int result, const mtaio_report *report, void *ctx) {
    (void)result;
    (void)report;
    (void)ctx;
    CHECK(false);
}

static inline int touch_deep(mtaio_event *event, void *em) {
    int *left = mtaio_event_data(event);
    mtaio_deferral *deferral;
    if (--*left == 0) return 0;
    CHECK(mtaio_event_defer(event, &deferral) == 0);
    CHECK(mtaio_emit_start(em, MTAIO_EMISSION(.name = "warm.up", .data = left), never_done) >= 0);
    CHECK(mtaio_deferral_complete(deferral, 0) == 0);
    mtaio_deferral_unref(deferral);
    return 0;
}

static inline int touch_pass(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 1;
}

/* Behind more derived emitters than a thread keeps memory for. */
static inline void touch_behind(mtaio_emitter *em) {
    mtaio_emitter *chain[6];
    int one = 1;
    for (size_t i = 0; i < COUNT(chain); i++)
        CHECK(mtaio_emitter_filter(i > 0 ? chain[i - 1] : em, NULL, MTAIO_FILTER(.call = touch_pass), &chain[i]) == 0);
    CHECK(mtaio_on(chain[COUNT(chain) - 1], "warm.behind", touch_deep, em) == 0);
    CHECK(mtaio_emit_start(em, MTAIO_EMISSION(.name = "warm.behind", .data = &one), never_done) == 1);
    for (size_t i = 0; i < COUNT(chain); i++)
        mtaio_emitter_unref(chain[i]);
}

static inline void touch(unsigned index, void *together) {
    mtaio_emitter *em = NULL;
    int depth = 20;
    (void)index;
    CHECK(mtaio_emitter_new(NULL, &em) == 0);
    CHECK(mtaio_on(em, "warm.up", touch_deep, em) == 0);
    CHECK(mtaio_emit(em, "warm.up", &depth) == 1);
    touch_behind(em);
    mtaio_emitter_unref(em);
    if (together != NULL)
        support_barrier_wait(together);
}

/* What the library keeps for good (a place for each thread that emits at the same time, more for deep nesting,
 * a few emissions, deferrals and parts of emissions to be used again) is made before the first test. */
static inline void warm_threads(void) {
    struct support_barrier together;
    support_barrier_init(&together, 8);
    touch(0, NULL);
    support_threads(8, touch, &together);
}

static inline void warm_up(void) {
    support_init();
    warm_threads();
}

static inline int begin(void **state) {
    (void)state;
    forget_notes();
    touch(0, NULL); /* an emission that ended on another thread left one less here to be used again */
    blocks_before = support_live_blocks();
    return 0;
}

static inline int end(void **state) {
    (void)state;
    assert_noted("");
    touch(0, NULL);
    assert_int_equal(mtaio_reclaim(), 0);
    assert_int_equal(support_live_blocks(), blocks_before);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

#endif
