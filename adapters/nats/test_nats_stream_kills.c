/* test_nats_stream_kills.c - durable bindings, where processes and servers are killed with -9 while messages
 * flow. This program is the killed consumer too. */
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_stream.h"

/* What a handler has seen. */
struct seen {
    uint64_t number;
    uint64_t is_marked;
};

/* What was seen of messages 0 to count - 1: each comes unmarked once at most, and first. */
struct record {
    uint64_t count, kinds, again;
    bool *had;
};

static void record_begin(struct record *r, uint64_t count) {
    *r = (struct record){.count = count, .had = calloc(count, sizeof *r->had)};
    CHECK(r->had != NULL);
}

static void record_note(struct record *r, const struct seen *seen) {
    CHECK(seen->number < r->count);
    if (r->had[seen->number]) CHECK(seen->is_marked);
    r->kinds += !r->had[seen->number];
    r->again += r->had[seen->number];
    r->had[seen->number] = true;
}

static void record_end(struct record *r) {
    free(r->had);
    r->had = NULL;
}

/* --- A consumer that is killed ----------------------------------------------------------------- */

static int write_down(mtaio_event *event, void *ctx) {
    const mtaio_nats_data *data = mtaio_event_data(event);
    struct seen seen = {.is_marked = mtaio_event_get(event, "mtaio-delivery") != NULL};
    (void)ctx;
    CHECK(data->bytes == sizeof seen.number);
    memcpy(&seen.number, data->data, sizeof seen.number);
    CHECK(write(STDOUT_FILENO, &seen, sizeof seen) == sizeof seen); /* at once, as a whole */
    return 0;
}

/* Writes what it handles, until it is killed. */
static int consumer(const char *url) {
    struct side s;
    mtaio_emitter *em;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    CHECK(mtaio_emitter_new(NULL, &em) == 0 && mtaio_on(em, "n", write_down, NULL) == 0);
    side_begin(&s, url,
               &(struct side_how){.prefix = "kills",
                                  .take = EVERYTHING,
                                  .durable = MTAIO_NATS_STREAM(.consumer = "c", .start = MTAIO_NATS_ALL,
                                                               .emitter = em, .max_open = 64,
                                                               .ack_wait_ns = 500 * MS)});
    for (;;) pause();
}

struct child {
    pid_t pid;
    int from;
};

static struct child consumer_start(const char *url) {
    struct child c;
    int ends[2];
    CHECK(pipe(ends) == 0);
    c.pid = fork();
    CHECK(c.pid >= 0);
    if (c.pid == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        execl("/proc/self/exe", "consumer", "consumer", url, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    c.from = ends[0];
    return c;
}

static void note_what_comes(struct record *r, int fd, int timeout_ms) {
    struct seen seen[256];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    if (poll(&p, 1, timeout_ms) <= 0) return;
    ssize_t n = read(fd, seen, sizeof seen);
    CHECK(n >= 0 && (size_t)n % sizeof *seen == 0);
    for (size_t i = 0; i < (size_t)n / sizeof *seen; i++) record_note(r, &seen[i]);
}

static void consumer_kill(struct child *c, struct record *r) {
    struct pollfd p = {.fd = c->from, .events = POLLIN};
    CHECK(kill(c->pid, SIGKILL) == 0 && waitpid(c->pid, NULL, 0) == c->pid);
    while (poll(&p, 1, 0) > 0 && (p.revents & POLLIN)) note_what_comes(r, c->from, 0);
    close(c->from);
}

/* consumer: "goes on where it was, in whatever process": killed eight times, it has handled all; what its
 * handlers see again is marked. */
static void killed_consumer(void **state) {
    enum { KILLS = 8, CHUNK = SLOW ? 300 : 1200, COUNT = (KILLS + 1) * CHUNK };
    (void)state;
    struct server server;
    struct side a;
    struct record r;
    server_start(&server, JETSTREAM);
    record_begin(&r, COUNT);
    side_begin(&a, server.url,
               &(struct side_how){.prefix = "kills", .send = EVERYTHING, .durable = MTAIO_NATS_STREAM()});
    mtaio_subscriber_unref(a.sub);
    a.sub = NULL;
    for (uint64_t i = 0, number = 0; i < KILLS; i++) {
        struct child c = consumer_start(server.url);
        for (int n = 0; n < CHUNK; n++, number++)
            CHECK(mtaio_publish(a.channel, "n", &number, sizeof number) >= 0);
        while (r.kinds < i * CHUNK + CHUNK / 2) note_what_comes(&r, c.from, 1000);
        support_sleep_ms((unsigned)i % 3);
        consumer_kill(&c, &r);
    }
    for (uint64_t number = COUNT - CHUNK; number < COUNT; number++)
        CHECK(mtaio_publish(a.channel, "n", &number, sizeof number) >= 0);
    struct child c = consumer_start(server.url);
    for (int64_t limit = support_now_ms() + 60000; r.kinds < COUNT;) {
        CHECK(support_now_ms() < limit);
        note_what_comes(&r, c.from, 1000);
    }
    EVENTUALLY(consumer_open(server.url, "kills", "c") == 0);
    consumer_kill(&c, &r);
    print_message("# %d messages, %d kills: %" PRIu64 " came again\n", COUNT, KILLS, r.again);
    record_end(&r);
    side_end(&a);
    server_end(&server);
}

/* --- A server that is killed ------------------------------------------------------------------- */

struct flow {
    struct side *from;
    atomic_bool ends;
    uint64_t published, flushed;
};

/* Some 10,000 a second; now and then all must be stored. */
static void *flow(void *arg) {
    struct flow *f = arg;
    for (int round = 0; !f->ends; round++) {
        for (int i = 0; i < 10; i++, f->published++)
            CHECK(mtaio_publish(f->from->channel, "n", &f->published, sizeof f->published) >= 0);
        support_sleep_ms(1);
        if (round % 97 == 0 && mtaio_nats_flush(f->from->binding, 1000 * MS) == 0) f->flushed = f->published;
    }
    return NULL;
}

struct taking {
    struct side *to;
    atomic_bool ends;
    struct record record;
    uint64_t last; /* the highest that came unmarked */
    bool has_last;
};

static void *taking(void *arg) {
    struct taking *t = arg;
    mtaio_message m;
    while (!t->ends) {
        if (mtaio_subscriber_receive(t->to->sub, 20 * MS, &m) < 0) continue;
        struct seen seen = {.is_marked =
                                mtaio_metadata_get(mtaio_message_metadata(&m), "mtaio-delivery") != NULL};
        CHECK(mtaio_message_bytes(&m) == sizeof seen.number);
        memcpy(&seen.number, mtaio_message_data(&m), sizeof seen.number);
        record_note(&t->record, &seen);
        if (!seen.is_marked) {
            CHECK(!t->has_last || seen.number > t->last);
            t->last = seen.number;
            t->has_last = true;
        }
        mtaio_message_clear(&m);
    }
    return NULL;
}

/* The stream has each message once, in the order in which they were published. */
static void check_stream(const char *url, uint64_t count) {
    struct side c;
    mtaio_message m;
    CHECK(stream_count(url, "kills") == count && stream_last(url, "kills") == count);
    side_begin(&c, url,
               &(struct side_how){.prefix = "kills",
                                  .take = EVERYTHING,
                                  .durable = MTAIO_NATS_STREAM(.start = MTAIO_NATS_ALL)});
    for (uint64_t i = 0, number; i < count; i++) {
        CHECK(mtaio_subscriber_receive(c.sub, 10000 * MS, &m) >= 0);
        memcpy(&number, mtaio_message_data(&m), sizeof number);
        if (number != i) fprintf(stderr, "%" PRIu64 " instead of %" PRIu64 "\n", number, i);
        CHECK(number == i);
        mtaio_message_clear(&m);
    }
    side_end(&c);
}

/* "each message is stored [...] sent again, in order, until it is; one that was stored already is recognised
 * by its id": nothing is lost, nothing is there twice; what was taken before and comes again is marked. */
static void killed_server(void **state) {
    enum { KILLS = SLOW ? 5 : 10, MOST = 1000000 };
    (void)state;
    struct server server;
    struct side a, b;
    pthread_t threads[2];
    server_start(&server, JETSTREAM);
    side_begin(&a, server.url,
               &(struct side_how){.prefix = "kills",
                                  .send = EVERYTHING,
                                  .buffer_size = MTAIO_UNBOUNDED,
                                  .durable = MTAIO_NATS_STREAM()});
    side_begin(&b, server.url,
               &(struct side_how){.prefix = "kills",
                                  .take = EVERYTHING,
                                  .durable = MTAIO_NATS_STREAM(.consumer = "c", .start = MTAIO_NATS_ALL,
                                                               .ack_wait_ns = 500 * MS)});
    mtaio_subscriber_unref(a.sub);
    a.sub = NULL;
    struct flow f = {.from = &a};
    struct taking t = {.to = &b};
    record_begin(&t.record, MOST);
    CHECK(pthread_create(&threads[0], NULL, flow, &f) == 0 &&
          pthread_create(&threads[1], NULL, taking, &t) == 0);
    for (unsigned i = 0; i < KILLS; i++) {
        support_sleep_ms(60 + 37 * i % 100);
        server_kill(&server);
        support_sleep_ms(13 * i % 60);
        server_restart(&server, JETSTREAM);
        if (i % 3 == 2) continue; /* and again before all have come back */
        EVENTUALLY(mtaio_nats_is_connected(a.nats) && mtaio_nats_is_connected(b.nats));
        support_sleep_ms(100);
    }
    support_sleep_ms(200);
    f.ends = true;
    pthread_join(threads[0], NULL);
    CHECK(mtaio_nats_flush(a.binding, 20000 * MS) == 0);
    mtaio_nats_stats stats = side_stats(&a);
    CHECK(stats.acknowledged == f.published && stats.sent == f.published && stats.unacknowledged == 0);
    CHECK(stats.refused == 0 && stats.dropped == 0);
    check_stream(server.url, f.published);
    for (int64_t limit = support_now_ms() + 30000;
         consumer_open(server.url, "kills", "c") > 0 || consumer_waiting(server.url, "kills", "c") > 0;) {
        CHECK(support_now_ms() < limit);
        support_sleep_ms(50);
    }
    t.ends = true;
    pthread_join(threads[1], NULL);
    print_message("# %" PRIu64 " published, %d kills: %" PRIu64 " came again\n", f.published, KILLS,
                  t.record.again);
    CHECK(t.record.kinds == f.published && side_stats(&b).lost == 0);
    record_end(&t.record);
    side_end(&a);
    side_end(&b);
    server_end(&server);
}

int main(int argc, char **argv) {
    if (argc == 3) return consumer(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(killed_consumer),
        cmocka_unit_test(killed_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
