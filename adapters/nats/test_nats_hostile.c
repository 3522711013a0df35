/* test_nats_hostile.c - what arrives from the wire is validated, and servers that are none do no harm. */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test_server.h"

/* libnats 3.4.1 itself forgets the message that it was reading when a connection breaks. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:natsBuf_Create"; }

static struct server server;

/* "The rules of mtaio/base.h hold": no subject reaches the channel that is no name, no header that is no
 * metadata; and what a peer says of numbers and the like is only counted. */
static void hostile_messages(void **state) {
    (void)state;
    static const char *const bad[] = {
        "PUB shop.a..b 1\r\nx\r\n",     "PUB shop..a 1\r\nx\r\n",
        "PUB shop.a*b 1\r\nx\r\n",      "PUB shop.\xff\xfe 1\r\nx\r\n",
        "PUB shop.\xc0\xaf 1\r\nx\r\n", "PUB shop.* 1\r\nx\r\n",
        "PUB shop.a. 1\r\nx\r\n",       "HPUB shop.h 20 21\r\nNATS/1.0\r\na: \x01\x02\x1b\r\n\r\nx\r\n",
    };
    static const char *const harmless[] = {
        "PUB shop.ok _MTAIO.zz.1 1\r\nx\r\n",
        "PUB shop.ok _MTAIO. 1\r\nx\r\n",
        "PUB shop.ok _MTAIO.1 1\r\nx\r\n",
        "PUB shop.ok _MTAIO.11111111111111111.1 1\r\nx\r\n",
        "PUB shop.ok _MTAIO.1.ffffffffffffffff 1\r\nx\r\n",
        "PUB shop.ok _MTAIO.2.5 1\r\nx\r\n",
        "PUB shop.ok _MTAIO.3.5.1 1\r\nx\r\n",
        "PUB shop.ok _MTAIO.3.6. 1\r\nx\r\n",
        "PUB shop.ok _MTAIO.3.6.1x 1\r\nx\r\n",
        "PUB shop.ok _MTAIO.3.6.41 1\r\nx\r\n",
        "PUB shop.ok _MTAIO.3.6.2.2 1\r\nx\r\n",
        "HPUB shop.ok 12 13\r\nNATS/1.0\r\n\r\nx\r\n",
    };
    struct side a;
    int raw = raw_connect(server.port);
    side_begin(&a, server.url, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) raw_send(raw, bad[i]);
    raw_send(raw, "PUB shop.$mtaio-sent 0\r\n\r\n");
    raw_send(raw, "PUB shop.$mtaio-sent _MTAIO.q 1\r\nx\r\n");
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        raw_send(raw, harmless[i]);
        side_expects(&a, "ok", "x");
    }
    raw_send(raw, "PUB shop.ok inbox.1 1\r\nx\r\n"); /* a request, which nobody serves */
    raw_send(raw, "PUB shop.last 1\r\ny\r\n");
    side_expects(&a, "last", "y");
    /* Some of it the server itself drops. */
    CHECK(side_stats(&a).refused >= 4 && side_stats(&a).refused == a.refused && side_stats(&a).lost == 0);
    side_end(&a);
    close(raw);
}

/* "so that peers which take everything of the prefix know how many messages of it they have lost"; a number
 * that was here before is not given again. */
static void gaps(void **state) {
    (void)state;
    struct side a, narrow;
    int raw = raw_connect(server.port);
    side_begin(&a, server.url, NULL);
    side_begin(&narrow, server.url, &(struct side_how){.take = (const char *const[]){"n.*", NULL}});
    for (const char *const *p = (const char *const[]){"1", "2", "5", "5", "3", "6", "10", NULL}; *p; p++) {
        char line[64];
        snprintf(line, sizeof line, "PUB shop.n.%s _MTAIO.abc.%s %zu\r\n%s\r\n", *p, *p, strlen(*p), *p);
        raw_send(raw, line);
    }
    for (const char *const *p = (const char *const[]){"n.1", "n.2", "n.5", "n.6", "n.10", NULL}; *p; p++) {
        side_expects(&a, *p, *p + 2);
        side_expects(&narrow, *p, *p + 2);
    }
    CHECK(a.told_lost == 2 && a.lost == 2 + 9 && side_stats(&a).lost == 11); /* 3, 4; 7 to f: hexadecimal */
    raw_send(raw, "PUB shop.$mtaio-sent _MTAIO.abc.15.0 0\r\n\r\n");         /* what comes next */
    EVENTUALLY(side_stats(&a).lost == 11 + 4);
    CHECK(side_stats(&narrow).lost == 0);
    side_end(&a);
    side_end(&narrow);
    close(raw);
}

/* --- Servers that are none --------------------------------------------------------------------- */

#define INFO                                                                                                 \
    "INFO "                                                                                                  \
    "{\"server_id\":\"x\",\"version\":\"2.9.10\",\"proto\":1,\"headers\":true,\"max_payload\":1048576}\r\n"

/* What it says at first, and, to whoever has been let in, after the first SUB. */
struct stub {
    const char *first, *after;
    bool slowly;        /* a byte at a time */
    bool splits;        /* says `after` once for each place in it, in two parts divided there */
    atomic_bool silent; /* from now on: who is there is thrown out, and who comes is only greeted */
    int fd, port;
    atomic_bool ends;
    pthread_t thread;
};

static void stub_say(struct stub *s, int fd, const char *text) {
    for (size_t i = 0, n = s->slowly ? 1 : strlen(text); i < strlen(text) && !s->ends; i += n) {
        if (send(fd, text + i, n, MSG_NOSIGNAL) <= 0) return;
        if (s->slowly) support_sleep_ms(50);
    }
}

static void stub_say_split(struct stub *s, int fd, const char *text) {
    const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    for (size_t i = 1; i < strlen(text) && !s->ends; i++) {
        if (send(fd, text, i, MSG_NOSIGNAL) <= 0) return;
        support_sleep_ms(1); /* until it has been read, mostly */
        if (send(fd, text + i, strlen(text) - i, MSG_NOSIGNAL) <= 0) return;
    }
}

static void stub_talk(struct stub *s, int fd) {
    char got[4096] = "";
    const bool greets_only = s->silent;
    stub_say(s, fd, s->first);
    while (!s->ends && (greets_only || !s->silent)) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 20) <= 0) continue;
        ssize_t n = recv(fd, got, sizeof got - 1, 0);
        if (n <= 0) return;
        got[n] = '\0';
        if (greets_only) continue;
        if (strstr(got, "PING\r\n") && s->after) stub_say(s, fd, "PONG\r\n");
        if (strstr(got, "SUB ") && s->after) (s->splits ? stub_say_split : stub_say)(s, fd, s->after);
    }
}

struct talk {
    struct stub *stub;
    int fd;
};

static void *stub_talks(void *arg) {
    struct talk *t = arg;
    stub_talk(t->stub, t->fd);
    close(t->fd);
    free(t);
    return NULL;
}

static void *stub_run(void *arg) {
    enum { TALKS = 256 };
    struct stub *s = arg;
    pthread_t threads[TALKS];
    size_t count = 0;
    while (!s->ends && count < TALKS) {
        struct pollfd p = {.fd = s->fd, .events = POLLIN};
        struct talk *t;
        if (poll(&p, 1, 20) <= 0) continue;
        CHECK((t = malloc(sizeof *t)) != NULL);
        *t = (struct talk){s, accept(s->fd, NULL, NULL)};
        CHECK(t->fd >= 0 && pthread_create(&threads[count++], NULL, stub_talks, t) == 0);
    }
    while (count > 0) pthread_join(threads[--count], NULL);
    return NULL;
}

static void stub_begin(struct stub *s, char *url, size_t size) {
    s->fd = listen_on(&s->port);
    snprintf(url, size, "nats://127.0.0.1:%d", s->port);
    CHECK(pthread_create(&s->thread, NULL, stub_run, s) == 0);
}

static void stub_end(struct stub *s) {
    s->ends = true;
    pthread_join(s->thread, NULL);
    close(s->fd);
}

/* open: "ETIMEDOUT, ESYSTEM (refused ...)", within its time, whatever is there instead of a server.
 * libnats 3.4.1 itself waits for ever for a server that greets properly, and then says nothing more. */
static void no_servers(void **state) {
    (void)state;
    const struct stub kinds[] = {{.first = ""},
                                 {.first = INFO},
                                 {.first = "INFO {\"auth_required\":true,\"nonce\":\"x\"}\r\n"},
                                 {.first = "INFO {}\r\nINFO {}\r\nPO"},
                                 {.first = "HTTP/1.1 400 Bad Request\r\n\r\n"},
                                 {.first = "INFO {\"max_payload\":-99999999999999999999,\r\n"},
                                 {.first = "INFO nothing\r\n"},
                                 {.first = "-ERR 'no'\r\n"},
                                 {.first = "\r\n\r\n\r\n"},
                                 {.first = INFO, .slowly = true}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        struct stub s = {.first = kinds[i].first, .slowly = kinds[i].slowly};
        char url[64];
        mtaio_nats *nats = NULL;
        stub_begin(&s, url, sizeof url);
        int64_t start = support_now_ms();
        int r = mtaio_nats_open(MTAIO_NATS_OPTIONS(.servers = url, .timeout_ns = 300 * MS), &nats);
        if (r != MTAIO_ETIMEDOUT && r != MTAIO_ESYSTEM)
            print_message("# kind %zu: %s\n", i, mtaio_error_name(r));
        CHECK(r == MTAIO_ETIMEDOUT || r == MTAIO_ESYSTEM || r == MTAIO_ECLOSED || r == MTAIO_EAGAIN);
        CHECK(support_now_ms() - start < 3000 && *mtaio_nats_error());
        stub_end(&s);
    }
}

/* A server that lets us in and then lies: nothing of it reaches the channel but whole messages; closing does
 * not hang. */
static void lying_servers(void **state) {
    (void)state;
    static const char *const lies[] = {
        "MSG shop.a 1 999999\r\nxx",
        "MSG shop.a 1 -5\r\nxx\r\n",
        "MSG shop.a 1 1\r\nxxxxxxxxxx\r\n",
        "MSG\r\n",
        "MSG shop.a 99999999999999999999 1\r\nx\r\n",
        "HMSG shop.a 1 20 10\r\nNATS/1.0\r\n\r\n\r\n",
        "HMSG shop.a 1 9 9\r\nXXXX/1.0\n\r\n",
        "\x00\x01\x02\xff\xfe",
        "-ERR 'Stale Connection'\r\n",
        "-ERR 'Maximum Payload Violation'\r\n",
        "INFO {\r\n",
        "PONG\r\nPONG\r\nPONG\r\n",
        "",
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        struct stub s = {.first = INFO, .after = lies[i]};
        char url[64];
        mtaio_nats *nats = NULL;
        mtaio_nats_binding *b = NULL;
        mtaio_channel *ch;
        stub_begin(&s, url, sizeof url);
        CHECK(mtaio_channel_new(NULL, &ch) == 0);
        CHECK(
            mtaio_nats_open(MTAIO_NATS_OPTIONS(.servers = url, .timeout_ns = 2000 * MS, .retry_ns = 20 * MS),
                            &nats) == 0);
        int r = mtaio_nats_bind(
            nats, ch, MTAIO_NATS_BINDING_OPTIONS(.prefix = "shop", .send = EVERYTHING, .take = EVERYTHING),
            &b);
        CHECK(r <= 0);
        mtaio_publish(ch, "a", "x", 1);
        support_sleep_ms(50);
        int64_t start = support_now_ms();
        mtaio_nats_close(nats, 200 * MS);
        CHECK(support_now_ms() - start < 5000);
        mtaio_nats_binding_unref(b);
        mtaio_nats_unref(nats);
        mtaio_channel_unref(ch);
        stub_end(&s);
    }
}

/* However what a server says is divided on its way, it is the same. */
static void every_split(void **state) {
    (void)state;
    struct stub s = {.first = INFO,
                     .after = "PING\r\nMSG shop.a 1 3\r\nxyz\r\n"
                              "HMSG shop.h.b 1 22 24\r\nNATS/1.0\r\nkey: val\r\n\r\nhi\r\n+OK\r\nPONG\r\n",
                     .splits = true};
    struct side a;
    char url[64];
    mtaio_message m;
    stub_begin(&s, url, sizeof url);
    side_begin(&a, url, &(struct side_how){.take = EVERYTHING});
    for (size_t i = 1; i < strlen(s.after); i++) {
        side_expects(&a, "a", "xyz");
        CHECK(mtaio_subscriber_receive(a.sub, 5000 * MS, &m) >= 0 && mtaio_message_bytes(&m) == 2);
        CHECK(strcmp(mtaio_message_topic(&m), "h.b") == 0 && memcmp(mtaio_message_data(&m), "hi", 2) == 0);
        CHECK(strcmp(mtaio_metadata_get(mtaio_message_metadata(&m), "key"), "val") == 0);
        mtaio_message_clear(&m);
    }
    CHECK(a.disconnected == 0 && side_stats(&a).refused == 0);
    mtaio_nats_close(a.nats, 100 * MS);
    side_end(&a);
    stub_end(&s);
}

static int count(mtaio_event *event, void *ctx) {
    (void)event;
    ++*(atomic_uint *)ctx;
    return 0;
}

/* A server that falls silent: closing does not wait for it; when it speaks again, so do we. One that is
 * silent among others is left out. */
static void silent_servers(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct stub s = {.first = INFO, .after = ""};
        struct side a;
        char url[64];
        stub_begin(&s, url, sizeof url);
        side_begin(&a, url, &(struct side_how){.send = EVERYTHING, .take = EVERYTHING, .resume_ns = 20 * MS});
        s.silent = true;
        EVENTUALLY(a.disconnected == 1);
        CHECK(mtaio_publish(a.channel, "t", "x", 1) >= 0);
        if (i == 1) {
            s.silent = false;
            EVENTUALLY(a.reconnected == 1);
        } else
            support_sleep_ms(100); /* it is there, and waits for the server */
        int64_t start = support_now_ms();
        CHECK(mtaio_nats_close(a.nats, (i == 1 ? 9000 : 500) * MS) == (i == 1 ? 0 : MTAIO_ETIMEDOUT));
        CHECK(support_now_ms() - start < 10000);
        side_end(&a);
        stub_end(&s);
    }
    struct stub s = {.first = INFO};
    struct side a;
    char url[64], both[160];
    stub_begin(&s, url, sizeof url);
    snprintf(both, sizeof both, "%s,%s", url, server.url);
    side_begin(&a, both, NULL);
    side_end(&a);
    stub_end(&s);
}

/* "told": the event nats.error, each time when it tries. */
static void silence_is_told(void **state) {
    (void)state;
    struct stub s = {.first = INFO, .after = ""};
    char url[64];
    mtaio_nats *nats;
    mtaio_emitter *events;
    atomic_uint troubled = 0;
    stub_begin(&s, url, sizeof url);
    CHECK(mtaio_emitter_new(NULL, &events) == 0 && mtaio_on(events, "nats.error", count, &troubled) == 0);
    CHECK(mtaio_nats_open(MTAIO_NATS_OPTIONS(.servers = url, .events = events, .timeout_ns = 1000 * MS,
                                             .retry_ns = 20 * MS),
                          &nats) == 0);
    s.silent = true;
    EVENTUALLY(troubled >= 2);
    mtaio_nats_unref(nats);
    mtaio_emitter_unref(events);
    stub_end(&s);
}

static int close_it(mtaio_event *event, void *ctx) {
    struct side *s = ctx;
    (void)event;
    mtaio_nats_close(s->nats, 0);
    return 0;
}

/* "Your code may call anything": closes while it is told that the server is silent. */
static void closes_where_it_is_told(void **state) {
    (void)state;
    struct stub s = {.first = INFO, .after = ""};
    struct side a = {0};
    char url[64];
    stub_begin(&s, url, sizeof url);
    CHECK(mtaio_emitter_new(NULL, &a.events) == 0 && mtaio_on(a.events, "nats.error", close_it, &a) == 0);
    CHECK(mtaio_on(a.events, "nats.closed", count, &a.closed) == 0);
    CHECK(mtaio_nats_open(MTAIO_NATS_OPTIONS(.servers = url, .events = a.events, .timeout_ns = 1000 * MS,
                                             .retry_ns = 20 * MS),
                          &a.nats) == 0);
    s.silent = true;
    EVENTUALLY(a.closed == 1);
    mtaio_nats_close(a.nats, 0);
    mtaio_nats_unref(a.nats);
    mtaio_emitter_unref(a.events);
    stub_end(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hostile_messages),
        cmocka_unit_test(every_split),
        cmocka_unit_test(gaps),
        cmocka_unit_test(no_servers),
        cmocka_unit_test(lying_servers),
        cmocka_unit_test(silent_servers),
        cmocka_unit_test(silence_is_told),
        cmocka_unit_test(closes_where_it_is_told),
    };
    return RUN_WITH_SERVER(tests, &server, NULL);
}
