/* test_nats_processes.c - processes that exchange messages, and a server that is killed while they flow. This
 * program is the other processes too. */
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_server.h"

static struct server server;
static const char *program;

/* A message: who sent it, and its number. */
struct body {
    uint64_t who, number;
};

/* --- The other processes ----------------------------------------------------------------------- */

/* Publishes `count` messages when the parent has said so, and ends when all are sent. */
static int publisher(const char *url, uint64_t who, uint64_t count) {
    struct side s;
    char go;
    side_begin(&s, url, &(struct side_how){.send = EVERYTHING});
    mtaio_subscriber_unref(s.sub);
    s.sub = NULL;
    CHECK(read(STDIN_FILENO, &go, 1) == 1);
    for (uint64_t i = 0; i < count; i++) {
        struct body body = {who, i};
        CHECK(mtaio_publish(s.channel, "n.x", &body, sizeof body) >= 0);
    }
    CHECK(mtaio_nats_flush(s.binding, -1) == 0 && side_stats(&s).sent == count);
    side_end(&s);
    return 0;
}

struct child {
    pid_t pid;
    int go;
};

static struct child start_publisher(uint64_t who, uint64_t count) {
    struct child c;
    int ends[2];
    char name[24], number[24];
    CHECK(pipe(ends) == 0);
    snprintf(name, sizeof name, "%" PRIu64, who);
    snprintf(number, sizeof number, "%" PRIu64, count);
    c.pid = fork();
    CHECK(c.pid >= 0);
    if (c.pid == 0) {
        dup2(ends[0], STDIN_FILENO);
        execl(program, program, "publisher", server.url, name, number, (char *)NULL);
        _exit(127);
    }
    close(ends[0]);
    c.go = ends[1];
    return c;
}

static void end_child(struct child *c) {
    int status;
    CHECK(waitpid(c->pid, &status, 0) == c->pid && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(c->go);
}

/* --- Counts and order -------------------------------------------------------------------------- */

/* Takes what comes until `count` messages of each have; every publisher's in its order, none missing, none
 * twice. */
static void take_all(struct side *s, uint64_t publishers, uint64_t count) {
    enum { MOST = 8, AT_ONCE = 64 };
    uint64_t next[MOST] = {0}, left = publishers * count;
    mtaio_message m[AT_ONCE];
    while (left > 0) {
        int n = mtaio_subscriber_receive_many(s->sub, 20000 * MS, m, AT_ONCE);
        CHECK(n > 0);
        for (int i = 0; i < n; i++) {
            struct body body;
            CHECK(mtaio_message_bytes(&m[i]) == sizeof body && m[i].missed == 0);
            memcpy(&body, mtaio_message_data(&m[i]), sizeof body);
            CHECK(body.who < publishers && body.number == next[body.who]);
            next[body.who]++;
            mtaio_message_clear(&m[i]);
        }
        left -= (uint64_t)n;
    }
}

static void exchange(uint64_t publishers, uint64_t count) {
    struct child children[8];
    struct side s;
    side_begin(&s, server.url, &(struct side_how){.take = EVERYTHING});
    for (uint64_t i = 0; i < publishers; i++) children[i] = start_publisher(i, count);
    for (uint64_t i = 0; i < publishers; i++) CHECK(write(children[i].go, "x", 1) == 1);
    take_all(&s, publishers, count);
    for (uint64_t i = 0; i < publishers; i++) end_child(&children[i]);
    EVENTUALLY(side_stats(&s).taken == publishers * count); /* counted when it is published */
    CHECK(side_stats(&s).lost == 0 && side_stats(&s).refused == 0);
    side_end(&s);
}

/* Two processes: exact counts, in order. */
static void two_processes(void **state) {
    (void)state;
    exchange(1, SLOW ? 50000 : 1000000);
}

/* Three: the order of each publisher. */
static void three_processes(void **state) {
    (void)state;
    exchange(2, SLOW ? 25000 : 500000);
}

/* --- A server that is killed ------------------------------------------------------------------- */

struct flow {
    struct side *from;
    atomic_bool ends;
    uint64_t published;
};

/* Some 10,000 a second. */
static void *flow(void *arg) {
    struct flow *f = arg;
    while (!f->ends) {
        for (int i = 0; i < 10; i++, f->published++)
            CHECK(mtaio_publish(f->from->channel, "n", &f->published, sizeof f->published) >= 0);
        support_sleep_ms(1);
    }
    return NULL;
}

/* Only what was in flight is lost, "peers which take everything of the prefix know how many", and no message
 * comes twice: what was sent is what was taken and what was reported lost. */
static void kill_servers(bool packs) {
    enum { KILLS = SLOW ? 4 : 10 };
    struct server own;
    struct side a, b;
    pthread_t thread;
    server_start(&own, NULL);
    side_begin(&a, own.url,
               &(struct side_how){.send = EVERYTHING, .buffer_size = MTAIO_UNBOUNDED, .pack = packs});
    side_begin(&b, own.url, &(struct side_how){.take = EVERYTHING});
    mtaio_subscriber_unref(a.sub);
    a.sub = NULL;
    struct flow f = {.from = &a};
    CHECK(pthread_create(&thread, NULL, flow, &f) == 0);
    for (unsigned i = 0; i < KILLS; i++) {
        support_sleep_ms(60 + 37 * i % 100);
        server_kill(&own);
        support_sleep_ms(13 * i % 60);
        server_restart(&own, NULL);
        if (i % 3 == 2) continue; /* and again before all have come back */
        EVENTUALLY(mtaio_nats_is_connected(a.nats) && mtaio_nats_is_connected(b.nats));
    }
    EVENTUALLY(mtaio_nats_is_connected(a.nats) && mtaio_nats_is_connected(b.nats));
    f.ends = true;
    pthread_join(thread, NULL);
    CHECK(mtaio_nats_unbind(a.binding, 10000 * MS) == 0);
    CHECK(side_stats(&a).sent == f.published && side_stats(&a).dropped == 0);
    EVENTUALLY(side_stats(&b).taken + side_stats(&b).lost == f.published);
    uint64_t taken = side_stats(&b).taken, last = 0;
    mtaio_message m;
    for (uint64_t i = 0; i < taken; i++) {
        uint64_t number;
        CHECK(mtaio_subscriber_receive(b.sub, 0, &m) >= 0);
        memcpy(&number, mtaio_message_data(&m), sizeof number);
        CHECK(i == 0 || number > last);
        last = number;
        mtaio_message_clear(&m);
    }
    print_message("# %" PRIu64 " sent, %" PRIu64 " lost in %d kills\n", f.published, side_stats(&b).lost,
                  KILLS);
    CHECK(b.lost == side_stats(&b).lost && taken > 0); /* how many it is depends on the machine */
    side_end(&a);
    side_end(&b);
    server_end(&own);
}

static void killed_servers(void **state) {
    (void)state;
    kill_servers(false);
}

static void killed_servers_packs(void **state) {
    (void)state;
    kill_servers(true);
}

int main(int argc, char **argv) {
    if (argc == 5) return publisher(argv[2], strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_processes),
        cmocka_unit_test(three_processes),
        cmocka_unit_test(killed_servers),
        cmocka_unit_test(killed_servers_packs),
    };
    program = "/proc/self/exe";
    return RUN_WITH_SERVER(tests, &server, NULL);
}
