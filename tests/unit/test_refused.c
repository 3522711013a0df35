/* test_refused.c - the system refuses a lock, a condition, a thread, or a thread's own pointer: each function
 * says so and changes nothing, and what needs nothing of the system works. Hazard 22. */
#include "record.h"

#include <dlfcn.h>
#include <errno.h>

#if !SANITIZED /* they have functions of these names of their own */

enum asked { NOTHING, MUTEX, CONDITION, THREAD, POINTER };
static _Thread_local enum asked refused;
static _Thread_local unsigned at; /* the at-th from now on is refused; 0: none, or all after it */

static bool refuses(enum asked what) { return refused == what && (at == 0 || --at == 0); }

/* From now on, on this thread. */
static void refuse(enum asked what, unsigned from) {
    refused = what;
    at = from;
}

#define REAL(name) ((__typeof__(&name))(uintptr_t)dlsym(RTLD_NEXT, #name))

int pthread_mutex_init(pthread_mutex_t *m, const pthread_mutexattr_t *a) {
    return refuses(MUTEX) ? ENOMEM : REAL(pthread_mutex_init)(m, a);
}

int pthread_cond_init(pthread_cond_t *c, const pthread_condattr_t *a) {
    return refuses(CONDITION) ? ENOMEM : REAL(pthread_cond_init)(c, a);
}

int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg) {
    return refuses(THREAD) ? EAGAIN : REAL(pthread_create)(t, a, run, arg);
}

int pthread_setspecific(pthread_key_t key, const void *value) {
    return refuses(POINTER) ? ENOMEM : REAL(pthread_setspecific)(key, value);
}

static void test_emitter(void **state) {
    (void)state;
    mtaio_emitter *em = NULL;
    refuse(MUTEX, 1);
    assert_int_equal(mtaio_emitter_new(NULL, &em), MTAIO_ENOMEM);
    refuse(NOTHING, 0);
    assert_null(em);
    OK(mtaio_emitter_new(NULL, &em));
    mtaio_emitter_unref(em);
}

static void test_pool(void **state) {
    static const struct {
        enum asked what;
        unsigned count;
    } needs[] = {{MUTEX, 2}, {CONDITION, 3}, {THREAD, 3}};
    (void)state;
    for (size_t i = 0; i < COUNT(needs); i++) {
        for (unsigned n = 1; n <= needs[i].count; n++) {
            mtaio_executor *pool = NULL;
            refuse(needs[i].what, n);
            assert_int_equal(mtaio_pool_new(3, 0, &pool), MTAIO_ESYSTEM);
            refuse(NOTHING, 0);
            assert_null(pool);
        }
    }
}

static void never(uint64_t count, void *ctx) {
    (void)count;
    (void)ctx;
    CHECK(false);
}

static void count_end(void *ctx) { ++*(int *)ctx; }

static void test_timer(void **state) {
    static const enum asked needs[] = {CONDITION, THREAD};
    (void)state;
    int ended = 0;
    mtaio_timer *timer = NULL;
    const mtaio_timer_options *options =
        MTAIO_TIMER(.delay_ns = INT64_MAX, .call = never, .destroy = count_end, .ctx = &ended);
    for (size_t i = 0; i < COUNT(needs); i++) {
        refuse(needs[i], 1);
        int r = mtaio_timer_start(options, &timer);
        refuse(NOTHING, 0);
        assert_int_equal(r, MTAIO_ESYSTEM);
        assert_null(timer);
        assert_int_equal(ended, i + 1);
    }
    OK(mtaio_timer_start(options, &timer));
    assert_int_equal(mtaio_timer_cancel_wait(timer), 1);
    mtaio_timer_unref(timer);
    assert_int_equal(ended, COUNT(needs) + 1);
    EVENTUALLY(support_live_blocks() == blocks_before); /* the timers' thread ends by itself */
}

/* A thread without a record: it cannot emit, and says so. It can complete what others emitted, and drive that
 * on. */
struct scene {
    mtaio_emitter *em;
    mtaio_deferral *d[2];
    int calls, done;
};

static int defer(mtaio_event *event, void *ctx) {
    struct scene *s = ctx;
    return mtaio_event_defer(event, &s->d[s->calls++]);
}

static void done(int result, const mtaio_report *report, void *ctx) {
    struct scene *s = ctx;
    CHECK(result == 2 && report->failed == 0);
    s->done++;
}

static void *use_without_record(void *arg) {
    struct scene *s = arg;
    mtaio_event *event = NULL;
    refuse(POINTER, 0);
    CHECK(mtaio_emit(s->em, "x", NULL) == MTAIO_ENOMEM);
    CHECK(mtaio_emit_start(s->em, MTAIO_EMISSION(.name = "x", .ctx = s), done) == MTAIO_ENOMEM);
    CHECK(mtaio_event_new("x", NULL, NULL, &event) == 0);
    CHECK(mtaio_emit_async(s->em, event, MTAIO_ASYNC(.done = done, .ctx = s)) == MTAIO_ENOMEM);
    mtaio_event_unref(event);
    CHECK(mtaio_deferral_complete(s->d[0], 0) == 0);
    CHECK(mtaio_on(s->em, "y", defer, s) == 0 && mtaio_off(s->em, "y", defer, s) == 1);
    refuse(NOTHING, 0);
    return NULL;
}

static void test_no_record(void **state) {
    (void)state;
    struct scene s = {.calls = 0};
    pthread_t thread;
    OK(mtaio_emitter_new(NULL, &s.em));
    OK(mtaio_on(s.em, "x", defer, &s));
    OK(mtaio_on(s.em, "x", defer, &s));
    assert_int_equal(mtaio_emit_start(s.em, MTAIO_EMISSION(.name = "x", .ctx = &s), done), MTAIO_EINPROGRESS);
    OK(pthread_create(&thread, NULL, use_without_record, &s));
    OK(pthread_join(thread, NULL));
    assert_int_equal(s.calls, 2); /* the second handler ran there, and deferred */
    assert_int_equal(s.done, 0);
    OK(mtaio_deferral_complete(s.d[1], 0));
    assert_int_equal(s.done, 1);
    for (size_t i = 0; i < COUNT(s.d); i++) mtaio_deferral_unref(s.d[i]);
    mtaio_emitter_unref(s.em);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_emitter), TEST(test_pool), TEST(test_timer),
                                       TEST(test_no_record)};
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

static void test_nothing(void **state) {
    (void)state;
    skip();
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
