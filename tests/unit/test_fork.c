/* test_fork.c - fork() while another thread is inside of a lock of the library: the child finds it free.
 * Hazards 29 and
 * 30. Each case has a thread that allocates under the lock, again and again, and dwells there; the main
 * thread forks when it does. */
#include "channels.h"

#include <mtaio/timer.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/channel.h"

enum { FORKS = 24 };

/* --- Memory that is slow to come
 * ----------------------------------------------------------------------------- */

static _Thread_local bool dwells;
static atomic_uint dwelling, under_lock;

/* Long enough for the main thread to fork, if nothing keeps it from doing so; the outcome does not depend on
 * that. */
static void dwell(void) {
    if (!dwells) return;
    atomic_fetch_add(&under_lock, os_locks_held() > 0);
    atomic_fetch_add(&dwelling, 1);
    nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    atomic_fetch_sub(&dwelling, 1);
}

/* Nothing is freed, and no lock taken: the allocators of sanitizers do not survive a fork while others
 * allocate. */
static void *slow_alloc(size_t bytes, void *ctx) {
    static _Alignas(64) char arena[64 << 20];
    static atomic_size_t used;
    (void)ctx;
    dwell();
    size_t at = atomic_fetch_add(&used, (bytes + 63) / 64 * 64);
    CHECK(at + bytes <= sizeof arena);
    return arena + at;
}

static void *slow_resize(void *old, size_t old_bytes, size_t bytes, void *ctx) {
    void *block = slow_alloc(bytes, ctx);
    if (old_bytes > 0) memcpy(block, old, old_bytes < bytes ? old_bytes : bytes);
    return block;
}

static void slow_free(void *block, size_t bytes, void *ctx) {
    (void)block;
    (void)bytes;
    (void)ctx;
}

/* --- A thread that has a lock, and a child
 * ------------------------------------------------------------------- */

struct scene {
    void (*act)(struct scene *s, unsigned round); /* by the thread */
    bool (*use)(struct scene *s);                 /* in the child */
    mtaio_emitter *em, *other;
    mtaio_channel *ch;
    mtaio_subscriber *sub;
    mtaio_publisher *pub;
    mtaio_executor *pool;
    atomic_bool stop;
};

static void *act_all_the_time(void *arg) {
    struct scene *s = arg;
    dwells = true;
    for (unsigned round = 0; !atomic_load(&s->stop); round++) s->act(s, round);
    return NULL;
}

static _Noreturn void end_child(bool ok) {
    replace_process(ok ? "/bin/true" : "/bin/false", "child", (char *)NULL);
    _exit(1);
}

static void check_child(pid_t child) {
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

static void fork_while_it_acts(struct scene *s) {
    pthread_t thread;
    atomic_store(&under_lock, 0);
    OK(pthread_create(&thread, NULL, act_all_the_time, s));
    for (int i = 0; i < FORKS; i++) {
        EVENTUALLY(atomic_load(&dwelling) > 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            alarm(60);
            end_child(s->use(s));
        }
        check_child(child);
    }
    atomic_store(&s->stop, true);
    OK(pthread_join(thread, NULL));
#ifdef MTAIO_DEBUG
    assert_true(s->pool != NULL || atomic_load(&under_lock) > 0); /* a pool allocates nothing under its lock */
#endif
}

/* --- Emitters
 * ------------------------------------------------------------------------------------------------ */

static int handler(mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 0;
}

static void act_register(struct scene *s, unsigned round) {
    char name[32];
    (void)snprintf(name, sizeof name, "n%u.%u", round % 7, round);
    CHECK(mtaio_on(s->em, name, handler, s) == 0);
    CHECK(mtaio_on(s->em, "**", handler, s) == 0);
    CHECK(mtaio_off(s->em, "**", handler, s) == 1);
    CHECK(mtaio_off(s->em, name, handler, s) == 1);
}

static int accept_all(const mtaio_event *event, void *ctx) {
    (void)event;
    return ctx != NULL;
}

static bool use_emitters(struct scene *s) {
    mtaio_emitter *derived = NULL;
    mtaio_batch *batch = NULL;
    bool ok = mtaio_on(s->em, "mine", handler, &derived) == 0 && mtaio_emit(s->em, "mine", NULL) >= 1;
    ok = ok && mtaio_off(s->em, "mine", handler, &derived) == 1 && mtaio_on(s->other, "x", handler, s) == 0;
    ok = ok && mtaio_emitter_filter(s->em, NULL, MTAIO_FILTER(.call = accept_all, .ctx = s), &derived) == 0;
    ok = ok && mtaio_on(derived, "x", handler, s) == 0 && mtaio_emit(s->em, "x", NULL) >= 1;
    ok = ok && mtaio_batch_new(s->em, &batch) == 0 && mtaio_batch_end(batch, NULL) == 0;
    mtaio_batch_unref(batch);
    mtaio_emitter_unref(derived);
    ok = ok && mtaio_emitter_remove_all(s->em, NULL) >= 0 && mtaio_emitter_close(s->em) == 0;
    mtaio_emitter_unref(s->em);
    mtaio_emitter_unref(s->other);
    (void)mtaio_reclaim();
    return ok;
}

/* "Registering, removing and closing work in the child, whatever other threads were doing." */
static void test_emitters(void **state) {
    struct scene s = {.act = act_register, .use = use_emitters, .em = emitter_new(), .other = emitter_new()};
    mtaio_emitter *more[100]; /* more locks than a thread may hold at once under ThreadSanitizer */
    (void)state;
    for (size_t i = 0; i < COUNT(more); i++) more[i] = emitter_new();
    fork_while_it_acts(&s);
    for (size_t i = 0; i < COUNT(more); i++) mtaio_emitter_unref(more[i]);
    assert_int_equal(mtaio_emitter_count(s.em, NULL), 0);
    mtaio_emitter_unref(s.em);
    mtaio_emitter_unref(s.other);
}

/* --- Channels
 * ------------------------------------------------------------------------------------------------ */

static void act_subscribe(struct scene *s, unsigned round) {
    char topic[32];
    mtaio_message m = {0};
    mtaio_subscriber *sub = NULL;
    (void)snprintf(topic, sizeof topic, "t%u.%u", round % 5, round);
    CHECK(mtaio_subscribe(s->ch, topic, &sub) == 0);
    CHECK(publish(s->ch, topic, "x") >= 1);
    CHECK(mtaio_receive(sub, &m) == 0);
    mtaio_message_clear(&m);
    mtaio_subscriber_unref(sub);
}

static bool use_channel(struct scene *s) {
    mtaio_message m = {0};
    mtaio_subscriber *sub = NULL;
    bool ok = mtaio_subscribe(s->ch, "mine", &sub) == 0 && publish(s->ch, "mine", "child") >= 1;
    ok = ok && mtaio_receive(sub, &m) == 0 && strcmp(mtaio_message_data(&m), "child") == 0;
    mtaio_message_clear(&m);
    ok = ok && mtaio_subscriber_fd(s->sub) >= 0 && mtaio_subscriber_add(s->sub, "other") >= 0;
    while (mtaio_subscriber_receive(s->sub, 0, &m) == 0) mtaio_message_clear(&m);
    mtaio_subscriber_unref(sub);
    ok = ok && mtaio_channel_close(s->ch) == 0 && publish(s->ch, "mine", "x") == MTAIO_ECLOSED;
    mtaio_subscriber_unref(s->sub);
    mtaio_channel_unref(s->ch);
    return ok;
}

static void test_channels(void **state) {
    struct scene s = {.act = act_subscribe, .use = use_channel, .ch = channel_new()};
    (void)state;
    s.sub = subscribe_limited(s.ch, 4, MTAIO_DROP_OLDEST);
    fork_while_it_acts(&s);
    check_balance(s.ch);
    mtaio_subscriber_unref(s.sub);
    mtaio_channel_unref(s.ch);
}

/* Threads that wait in the parent, to receive and for room, are not there: nothing is given to them. */
static void *receive_one(void *arg) {
    mtaio_message m = {0};
    CHECK(mtaio_receive(arg, &m) == 0);
    mtaio_message_clear(&m);
    return NULL;
}

static void *select_one(void *arg) {
    CHECK(mtaio_select((mtaio_subscriber *[]){arg}, 1, -1) == 0);
    return NULL;
}

static void *publish_one(void *arg) {
    CHECK(publish(arg, "full", "second") == 1);
    return NULL;
}

static bool is_watched(mtaio_subscriber *sub, int by) {
    guard_lock(&sub->channel->guard);
    for (const struct link *l = sub->watchers.next; l != &sub->watchers; l = l->next) by--;
    guard_unlock(&sub->channel->guard);
    return by == 0;
}

static bool has_line(mtaio_channel *ch) {
    guard_lock(&ch->guard);
    bool waits = ch->line.first != NULL;
    guard_unlock(&ch->guard);
    return waits;
}

static bool nobody_waits(mtaio_channel *ch, mtaio_subscriber *sub, mtaio_subscriber *full) {
    mtaio_message m = {0};
    bool ok = is_watched(sub, 0) && !has_line(ch) && publish(ch, "here", "mine") == 1;
    ok = ok && mtaio_subscriber_receive(sub, 0, &m) == 0;
    mtaio_message_clear(&m);
    ok = ok && mtaio_subscriber_receive(full, 0, &m) == 0 && strcmp(mtaio_message_data(&m), "first") == 0;
    mtaio_message_clear(&m);
    return ok && mtaio_subscriber_receive(full, 0, &m) == MTAIO_EAGAIN;
}

static void test_who_waited(void **state) {
    mtaio_channel *ch = channel_new();
    mtaio_subscriber *sub = NULL, *full = NULL;
    pthread_t threads[3];
    mtaio_message m = {0};
    (void)state;
    OK(mtaio_subscribe(ch, "here", &sub));
    OK(mtaio_channel_subscribe(
        ch, MTAIO_SUBSCRIPTION(.patterns = (const char *[]){"full", NULL}, .buffer_size = 1), &full));
    assert_int_equal(publish(ch, "full", "first"), 1);
    OK(pthread_create(&threads[0], NULL, receive_one, sub));
    OK(pthread_create(&threads[1], NULL, select_one, sub));
    OK(pthread_create(&threads[2], NULL, publish_one, ch));
    EVENTUALLY(is_watched(sub, 2) && has_line(ch));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(60);
        end_child(nobody_waits(ch, sub, full));
    }
    check_child(child);
    for (int i = 0; i < 2; i++) assert_int_equal(publish(ch, "here", "x"), 1); /* one stays for who selects */
    OK(mtaio_receive(full, &m));
    mtaio_message_clear(&m);
    for (size_t i = 0; i < COUNT(threads); i++) OK(pthread_join(threads[i], NULL));
    mtaio_subscriber_unref(sub);
    mtaio_subscriber_unref(full);
    mtaio_channel_unref(ch);
}

/* --- Publishers
 * ---------------------------------------------------------------------------------------------- */

static void act_gather(struct scene *s, unsigned round) {
    (void)round;
    CHECK(mtaio_publisher_publish(s->pub, MTAIO_PUBLICATION(.topic = "p", .data = "x", .bytes = 2), -1) >= 0);
}

/* Where another thread had its turn, the publisher is lost: that is an answer, too. */
static bool use_publisher(struct scene *s) {
    int r = mtaio_publisher_publish(s->pub, MTAIO_PUBLICATION(.topic = "p", .data = "y", .bytes = 2), -1);
    bool lost = r == MTAIO_ECLOSED;
    int flushed = mtaio_publisher_flush(s->pub, -1);
    mtaio_publisher_unref(s->pub);
    return lost ? flushed == MTAIO_ECLOSED : r >= 0 && flushed >= 0;
}

static void test_publishers(void **state) {
    struct scene s = {.act = act_gather, .use = use_publisher, .ch = channel_new()};
    (void)state;
    s.sub = subscribe_limited(s.ch, 4, MTAIO_DROP_OLDEST);
    OK(mtaio_publisher_new(s.ch, MTAIO_PUBLISHER_OPTIONS(.batch = 5, .linger_ns = 1000000), &s.pub));
    fork_while_it_acts(&s);
    mtaio_publisher_unref(s.pub);
    EVENTUALLY(mtaio_channel_count(s.ch) == 1);
    mtaio_subscriber_unref(s.sub);
    mtaio_channel_unref(s.ch);
}

/* A thread waits for room in the turn: in the child the publisher is lost, and says so at once. */
static void *publish_full(void *arg) {
    CHECK(mtaio_publisher_publish(arg, MTAIO_PUBLICATION(.topic = "p", .data = "x", .bytes = 2), -1) >= 0);
    CHECK(mtaio_publisher_flush(arg, -1) >= 0);
    return NULL;
}

static void test_lost_publisher(void **state) {
    struct scene s = {.ch = channel_new()};
    pthread_t thread;
    mtaio_message m = {0};
    (void)state;
    s.sub = subscribe_limited(s.ch, 1, MTAIO_BLOCK);
    OK(mtaio_publisher_new(s.ch, MTAIO_PUBLISHER_OPTIONS(.batch = 2), &s.pub));
    assert_int_equal(publish(s.ch, "p", "first"), 1);
    OK(pthread_create(&thread, NULL, publish_full, s.pub));
    EVENTUALLY(has_line(s.ch));
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const mtaio_publication *p = MTAIO_PUBLICATION(.topic = "p", .data = "y", .bytes = 2);
        bool ok = mtaio_publisher_publish(s.pub, p, 0) == MTAIO_ECLOSED;
        ok = ok && mtaio_publisher_flush(s.pub, 0) == MTAIO_ECLOSED;
        mtaio_publisher_unref(s.pub);
        end_child(ok);
    }
    check_child(child);
    OK(mtaio_receive(s.sub, &m));
    mtaio_message_clear(&m);
    OK(pthread_join(thread, NULL));
    mtaio_publisher_unref(s.pub);
    mtaio_subscriber_unref(s.sub);
    mtaio_channel_unref(s.ch);
}

/* --- Timers and pools
 * ---------------------------------------------------------------------------------------- */

static void never(uint64_t count, void *ctx) {
    (void)count;
    (void)ctx;
}

static void act_timer(struct scene *s, unsigned round) {
    mtaio_timer *timers[20] = {0};
    (void)round;
    for (size_t i = 0; i < COUNT(timers); i++)
        CHECK(mtaio_timer_start(MTAIO_TIMER(.delay_ns = INT64_MAX, .call = never, .ctx = s), &timers[i]) ==
              0);
    for (size_t i = 0; i < COUNT(timers); i++) {
        CHECK(mtaio_timer_cancel(timers[i]) == 1);
        mtaio_timer_unref(timers[i]);
    }
}

static bool use_timers(struct scene *s) {
    mtaio_timer *timer = NULL;
    if (SANITIZED) return true; /* ThreadSanitizer does not allow a thread */
    bool ok = mtaio_timer_start(MTAIO_TIMER(.delay_ns = INT64_MAX, .call = never, .ctx = s), &timer) == 0;
    ok = ok && mtaio_timer_cancel_wait(timer) == 1;
    mtaio_timer_unref(timer);
    return ok;
}

static void test_timers(void **state) {
    struct scene s = {.act = act_timer, .use = use_timers};
    (void)state;
    fork_while_it_acts(&s);
}

static void post_nothing(void *ctx) { (void)ctx; }

static void act_post(struct scene *s, unsigned round) {
    (void)round;
    CHECK(mtaio_executor_post(s->pool, post_nothing, post_nothing, NULL) == 0);
}

static bool use_pool(struct scene *s) {
    bool ok = mtaio_executor_post(s->pool, post_nothing, post_nothing, NULL) == MTAIO_ECLOSED;
    ok = ok && mtaio_executor_close(s->pool) == 0;
    mtaio_executor_unref(s->pool);
    return ok;
}

static void test_pools(void **state) {
    struct scene s = {.act = act_post, .use = use_pool};
    (void)state;
    OK(mtaio_pool_new(2, 4, &s.pool));
    fork_while_it_acts(&s);
    mtaio_executor_unref(s.pool);
}

/* A job forks that the pool's only thread runs while an emission of it waits: in the child it waits on, and
 * is let go by who completes the deferral there. Nothing that was queued runs there. */
struct nested {
    mtaio_emitter *em;
    mtaio_executor *pool;
    mtaio_deferral *deferral;
    atomic_int late, child, result;
    atomic_bool done;
    pid_t parent;
};

static int defer(mtaio_event *event, void *ctx) {
    return mtaio_event_defer(event, &((struct nested *)ctx)->deferral);
}

static void *complete_it(void *arg) {
    struct nested *n = arg;
    CHECK(mtaio_deferral_complete(n->deferral, 0) == 0);
    return NULL;
}

static void count_late(void *arg) { atomic_fetch_add(&((struct nested *)arg)->late, 1); }

static void fork_in_job(void *arg) {
    struct nested *n = arg;
    pthread_t thread;
    CHECK(mtaio_executor_post(n->pool, count_late, post_nothing, n) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(60);
        if (SANITIZED)
            CHECK(mtaio_deferral_complete(n->deferral, 0) == 0);
        else
            CHECK(pthread_create(&thread, NULL, complete_it, n) == 0);
        return;
    }
    atomic_store(&n->child, child);
    CHECK(mtaio_deferral_complete(n->deferral, 0) == 0);
}

static void emit_in_job(void *arg) {
    struct nested *n = arg;
    CHECK(mtaio_executor_post(n->pool, fork_in_job, post_nothing, n) == 0);
    int r = mtaio_emit(n->em, "x", NULL);
    if (getpid() != n->parent) end_child(r == 1 && atomic_load(&n->late) == 0);
    atomic_store(&n->result, r);
    atomic_store(&n->done, true);
}

static void test_waiting_job(void **state) {
    struct nested n = {.em = emitter_new(), .parent = getpid()};
    (void)state;
    OK(mtaio_pool_new(1, 4, &n.pool));
    OK(mtaio_on(n.em, "x", defer, &n));
    OK(mtaio_executor_post(n.pool, emit_in_job, post_nothing, &n));
    EVENTUALLY(atomic_load(&n.done));
    assert_int_equal(atomic_load(&n.result), 1);
    check_child(atomic_load(&n.child));
    mtaio_executor_unref(n.pool);
    assert_int_equal(atomic_load(&n.late), 1);
    mtaio_deferral_unref(n.deferral);
    mtaio_emitter_unref(n.em);
}

/* A job that has forked returns: in the child its thread, the only one, ends, and the process with it. */
static void fork_and_return(void *arg) {
    struct nested *n = arg;
    CHECK(mtaio_executor_post(n->pool, count_late, post_nothing, n) == 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0 && SANITIZED) _exit(0); /* leaks are looked for at its end */
    if (child == 0)
        alarm(60);
    else
        atomic_store(&n->child, child);
}

static void test_returning_job(void **state) {
    struct nested n = {.em = NULL};
    (void)state;
    OK(mtaio_pool_new(1, 4, &n.pool));
    OK(mtaio_executor_post(n.pool, fork_and_return, post_nothing, &n));
    EVENTUALLY(atomic_load(&n.child) > 0);
    check_child(atomic_load(&n.child));
    mtaio_executor_unref(n.pool);
    assert_int_equal(atomic_load(&n.late), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_emitters),   TEST(test_channels),       TEST(test_who_waited),
        TEST(test_publishers), TEST(test_lost_publisher), TEST(test_timers),
        TEST(test_pools),      TEST(test_waiting_job),    TEST(test_returning_job)};
    OK(mtaio_set_allocator(&(mtaio_allocator){
        .size = sizeof(mtaio_allocator), .alloc = slow_alloc, .resize = slow_resize, .free = slow_free}));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
