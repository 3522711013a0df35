/* test_unload.c - the shared library is loaded and unloaded again and again, unused, used and in use; and it
 * is there beside the static one, with which this program is linked. Hazard 60. Its argument is the shared
 * library. */
#include "record.h"

#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 100 };

static const char *library;

/* What of the shared library is used here. */
#define FUNCTIONS(X)                                                                                         \
    X(mtaio_emitter_new)                                                                                     \
    X(mtaio_emitter_unref)                                                                                   \
    X(mtaio_on)                                                                                              \
    X(mtaio_emit)                                                                                            \
    X(mtaio_reclaim)                                                                                         \
    X(mtaio_pool_new)                                                                                        \
    X(mtaio_executor_post)                                                                                   \
    X(mtaio_executor_unref)                                                                                  \
    X(mtaio_timer_start)                                                                                     \
    X(mtaio_timer_cancel_wait)                                                                               \
    X(mtaio_timer_unref)                                                                                     \
    X(mtaio_channel_new)                                                                                     \
    X(mtaio_channel_unref)                                                                                   \
    X(mtaio_subscribe)                                                                                       \
    X(mtaio_publish)                                                                                         \
    X(mtaio_receive)                                                                                         \
    X(mtaio_message_clear)                                                                                   \
    X(mtaio_subscriber_unref)                                                                                \
    X(mtaio_set_allocator)

struct shared {
    void *handle;
#define POINTER(name) __typeof__(&name) name;
    FUNCTIONS(POINTER)
};

static struct shared load(int mode) {
    struct shared s = {.handle = dlopen(library, RTLD_NOW | mode)};
    if (!s.handle) (void)fprintf(stderr, "%s\n", dlerror());
    assert_non_null(s.handle);
#define LOOK_UP(name)                                                                                        \
    *(void **)&s.name = dlsym(s.handle, #name);                                                              \
    assert_non_null(s.name);
    FUNCTIONS(LOOK_UP)
    return s;
}

static void unload(struct shared *s) { OK(dlclose(s->handle)); }

static bool is_loaded(void) {
    void *handle = dlopen(library, RTLD_NOW | RTLD_NOLOAD);
    if (handle) dlclose(handle);
    return handle != NULL;
}

/* "dlclose: the shared library stays loaded until the process ends." */
static void test_unused(void **state) {
    (void)state;
    void *where = NULL;
    for (int i = 0; i < ROUNDS; i++) {
        struct shared s = load(RTLD_LOCAL);
        assert_true(where == NULL || where == *(void **)&s.mtaio_emit);
        where = *(void **)&s.mtaio_emit;
        unload(&s);
        assert_true(is_loaded());
    }
}

static int count_up(mtaio_event *event, void *ctx) {
    (void)event;
    atomic_fetch_add((atomic_uint *)ctx, 1);
    return 0;
}

static void use(const struct shared *s) {
    mtaio_emitter *em = NULL;
    mtaio_channel *ch = NULL;
    mtaio_subscriber *sub = NULL;
    mtaio_message m;
    atomic_uint calls = 0;
    OK(s->mtaio_emitter_new(NULL, &em));
    OK(s->mtaio_on(em, "*", count_up, &calls));
    assert_int_equal(s->mtaio_emit(em, "x", NULL), 1);
    assert_int_equal(atomic_load(&calls), 1);
    s->mtaio_emitter_unref(em);
    OK(s->mtaio_channel_new(NULL, &ch));
    OK(s->mtaio_subscribe(ch, "t", &sub));
    assert_int_equal(s->mtaio_publish(ch, "t", "x", 2), 1);
    OK(s->mtaio_receive(sub, &m));
    s->mtaio_message_clear(&m);
    s->mtaio_subscriber_unref(sub);
    s->mtaio_channel_unref(ch);
}

static void test_used(void **state) {
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct shared s = load(RTLD_LOCAL);
        use(&s);
        unload(&s);
    }
}

/* What a thread, a pool and a timer are doing goes on after dlclose; threads that have emitted end. */
struct busy {
    struct shared s;
    mtaio_emitter *em;
    atomic_uint calls, emitted, jobs, ticks;
    atomic_bool closed;
};

static void *emit_before_and_after(void *arg) {
    struct busy *b = arg;
    CHECK(b->s.mtaio_emit(b->em, "x", NULL) == 1);
    atomic_fetch_add(&b->emitted, 1);
    EVENTUALLY(atomic_load(&b->closed));
    CHECK(b->s.mtaio_emit(b->em, "x", NULL) == 1);
    return NULL; /* the library's function for the end of a thread runs now */
}

static void wait_for_close(void *arg) {
    struct busy *b = arg;
    EVENTUALLY(atomic_load(&b->closed));
    atomic_fetch_add(&b->jobs, 1);
}

static void ignore(void *arg) { (void)arg; }

static void tick(uint64_t count, void *ctx) {
    (void)count;
    atomic_fetch_add((atomic_uint *)ctx, 1);
}

static void test_in_use(void **state) {
    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        struct busy b = {.s = load(RTLD_LOCAL)};
        mtaio_executor *pool = NULL;
        mtaio_timer *timer = NULL;
        pthread_t thread;
        OK(b.s.mtaio_emitter_new(NULL, &b.em));
        OK(b.s.mtaio_on(b.em, "x", count_up, &b.calls));
        OK(b.s.mtaio_pool_new(1, 0, &pool));
        OK(b.s.mtaio_executor_post(pool, wait_for_close, ignore, &b));
        OK(b.s.mtaio_timer_start(
            MTAIO_TIMER(.delay_ns = 100000, .period_ns = 100000, .call = tick, .ctx = &b.ticks), &timer));
        OK(pthread_create(&thread, NULL, emit_before_and_after, &b));
        EVENTUALLY(atomic_load(&b.emitted) == 1);
        unload(&b.s);
        unsigned ticks = atomic_load(&b.ticks);
        atomic_store(&b.closed, true);
        EVENTUALLY(atomic_load(&b.jobs) == 1 && atomic_load(&b.ticks) > ticks);
        OK(pthread_join(thread, NULL));
        b.s.mtaio_executor_unref(pool);
        assert_int_equal(b.s.mtaio_timer_cancel_wait(timer), 1);
        b.s.mtaio_timer_unref(timer);
        b.s.mtaio_emitter_unref(b.em);
        assert_int_equal(atomic_load(&b.calls), 2);
    }
}

/* A fork after dlclose runs functions of the library. */
static void test_fork(void **state) {
    (void)state;
    struct shared s = load(RTLD_LOCAL);
    use(&s);
    unload(&s);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) _exit(0);
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* --- Beside the static library: two libraries, which know nothing of each other
 * --------------------------------- */

struct both {
    struct shared s;
    mtaio_emitter *inner, *outer; /* the shared library's; the static one's */
    atomic_uint calls;
};

static int emit_in_the_other(mtaio_event *event, void *ctx) {
    struct both *b = ctx;
    (void)event;
    return b->s.mtaio_emit(b->inner, "x", NULL) == 1 ? 0 : MTAIO_EINVAL;
}

static void *emit_in_both(void *arg) {
    struct both *b = arg;
    for (int i = 0; i < ROUNDS; i++) CHECK(mtaio_emit(b->outer, "x", NULL) == 1);
    return NULL; /* the record of the thread is left in both */
}

static void emit_side_by_side(int mode) {
    struct both b = {.s = load(mode)};
    pthread_t thread;
    assert_true(*(void **)&b.s.mtaio_emit != (void *)(uintptr_t)mtaio_emit);
    OK(mtaio_emitter_new(NULL, &b.outer));
    OK(b.s.mtaio_emitter_new(NULL, &b.inner));
    OK(mtaio_on(b.outer, "x", emit_in_the_other, &b));
    OK(b.s.mtaio_on(b.inner, "x", count_up, &b.calls));
    OK(pthread_create(&thread, NULL, emit_in_both, &b));
    emit_in_both(&b);
    OK(pthread_join(thread, NULL));
    assert_int_equal(atomic_load(&b.calls), 2 * ROUNDS);
    b.s.mtaio_emitter_unref(b.inner);
    mtaio_emitter_unref(b.outer);
    assert_int_equal(b.s.mtaio_reclaim(), 0);
    unload(&b.s);
}

static void test_beside_static(void **state) {
    (void)state;
    emit_side_by_side(RTLD_LOCAL);
    emit_side_by_side(RTLD_GLOBAL); /* its names do not take the place of the program's own */
}

/* Each has an allocator of its own: the static one's is the tests', and was set before; the shared one's
 * memory never came from there, which the end of each test asserts. */
static void test_allocators(void **state) {
    (void)state;
    struct shared s = load(RTLD_LOCAL);
    size_t before = support_live_blocks();
    mtaio_emitter *em = NULL;
    OK(s.mtaio_emitter_new(NULL, &em));
    assert_int_equal(support_live_blocks(), before);
    assert_int_equal(s.mtaio_set_allocator(NULL), MTAIO_EBUSY);
    s.mtaio_emitter_unref(em);
    unload(&s);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {TEST(test_unused), TEST(test_used),          TEST(test_in_use),
                                       TEST(test_fork),   TEST(test_beside_static), TEST(test_allocators)};
    library = argc > 1 ? argv[1] : "libmtaio.so.0";
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
