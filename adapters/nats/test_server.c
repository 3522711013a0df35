/* test_server.c - see the header. */
#include "test_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- The server -------------------------------------------------------------------------------- */

static struct sockaddr_in loopback(int port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

int listen_on(int *ret_port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    CHECK(fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 16) == 0);
    CHECK(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

int free_port(void) {
    int port, fd = listen_on(&port);
    close(fd);
    return port;
}

static int try_connect(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = loopback(port);
    CHECK(fd >= 0);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0) return fd;
    close(fd);
    return -1;
}

void server_restart(struct server *s, const char *const *options) {
    enum { ARGUMENTS = 24 };
    char port[16];
    const char *arguments[ARGUMENTS] = {"nats-server", "-a", "127.0.0.1", "-p", port, "-sd", s->directory};
    int count = 7, fd;
    snprintf(port, sizeof port, "%d", s->port);
    for (; options && *options; options++) {
        CHECK(count < ARGUMENTS - 1);
        arguments[count++] = *options;
    }
    s->pid = fork();
    CHECK(s->pid >= 0);
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* also where a check ends this program */
        CHECK(freopen("/dev/null", "w", stderr) != NULL);
        execvp("nats-server", (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    for (int64_t limit = support_now_ms() + 10000; (fd = try_connect(s->port)) < 0; support_sleep_ms(5))
        CHECK(support_now_ms() < limit && waitpid(s->pid, NULL, WNOHANG) == 0);
    close(fd);
}

void server_start(struct server *s, const char *const *options) {
    strcpy(s->directory, "/tmp/mtaio-nats-XXXXXX");
    CHECK(mkdtemp(s->directory) != NULL);
    s->port = free_port();
    snprintf(s->url, sizeof s->url, "nats://127.0.0.1:%d", s->port);
    server_restart(s, options);
}

void server_kill(struct server *s) {
    CHECK(s->pid > 0 && kill(s->pid, SIGKILL) == 0 && waitpid(s->pid, NULL, 0) == s->pid);
    s->pid = 0;
}

void server_end(struct server *s) {
    if (s->pid > 0) server_kill(s);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        execlp("rm", "rm", "-rf", s->directory, (char *)NULL);
        _exit(127);
    }
    CHECK(waitpid(pid, NULL, 0) == pid);
}

int server_end_after(struct server *s, int failures) {
    server_end(s);
    return failures;
}

/* --- Bytes ------------------------------------------------------------------------------------- */

void raw_send_bytes(int fd, const void *bytes, size_t n) {
    for (const char *at = bytes; n > 0;) {
        ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
        CHECK(sent > 0);
        at += sent;
        n -= (size_t)sent;
    }
}

bool raw_reads(int fd, const char *text) {
    char got[8192];
    size_t n = 0;
    for (int64_t limit = support_now_ms() + 5000; support_now_ms() < limit && n < sizeof got - 1;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, 100) <= 0) continue;
        ssize_t r = recv(fd, got + n, 1, 0); /* no more than what is asked for */
        if (r <= 0) return false;
        n += (size_t)r;
        got[n] = '\0';
        if (n >= strlen(text) && strcmp(got + n - strlen(text), text) == 0) return true;
    }
    return false;
}

void raw_read_word(int fd, const char *beginning, char *ret, size_t size) {
    CHECK(raw_reads(fd, beginning));
    size_t n = (size_t)snprintf(ret, size, "%s", beginning);
    for (char c; n < size - 1; ret[n++] = c) {
        CHECK(recv(fd, &c, 1, 0) == 1);
        if (c <= ' ') break;
    }
    ret[n] = '\0';
}

void raw_send(int fd, const char *text) {
    raw_send_bytes(fd, text, strlen(text));
    raw_send_bytes(fd, "PING\r\n", 6);
    CHECK(raw_reads(fd, "PONG\r\n"));
}

int raw_connect(int port) {
    int fd = try_connect(port);
    CHECK(fd >= 0 && raw_reads(fd, "\r\n"));
    raw_send(fd, "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true,\"protocol\":1}\r\n");
    return fd;
}

/* --- Sides ------------------------------------------------------------------------------------- */

const char *const EVERYTHING[] = {"*", NULL};

static int told(mtaio_event *event, void *ctx) {
    struct side *s = ctx;
    const char *name = mtaio_event_name(event);
    const mtaio_nats_state *state = mtaio_event_data(event);
    CHECK(state && state->server && state->prefix && state->text);
    s->connected += strcmp(name, "nats.connected") == 0;
    s->disconnected += strcmp(name, "nats.disconnected") == 0;
    s->reconnected += strcmp(name, "nats.reconnected") == 0;
    s->closed += strcmp(name, "nats.closed") == 0;
    s->refused += strcmp(name, "nats.refused") == 0;
    s->troubled += strcmp(name, "nats.error") == 0;
    if (strcmp(name, "nats.lost") == 0) {
        s->told_lost++;
        s->lost += state->count;
    }
    return 0;
}

void side_begin(struct side *s, const char *url, const struct side_how *how) {
    const struct side_how all = {.send = EVERYTHING, .take = EVERYTHING};
    memset(s, 0, sizeof *s);
    if (!how) how = &all;
    CHECK(mtaio_emitter_new(NULL, &s->events) == 0);
    CHECK(mtaio_on(s->events, "nats.*", told, s) == 0);
    CHECK(mtaio_channel_new(NULL, &s->channel) == 0);
    CHECK(mtaio_subscribe(s->channel, NULL, &s->sub) == 0);
    CHECK(mtaio_nats_open(MTAIO_NATS_OPTIONS(.servers = url, .events = s->events, .retry_ns = 20 * MS,
                                             .timeout_ns = how->timeout_ns,
                                             .resume_ns = how->resume_ns ? how->resume_ns : 2000 * MS),
                          &s->nats) == 0);
    CHECK(mtaio_nats_bind(s->nats, s->channel,
                          MTAIO_NATS_BINDING_OPTIONS(.prefix = how->prefix ? how->prefix : "shop",
                                                     .send = how->send, .take = how->take,
                                                     .buffer_size = how->buffer_size,
                                                     .overflow = how->overflow, .codec = how->codec,
                                                     .pack = how->pack, .durable = how->durable),
                          &s->binding) == 0);
}

void side_end(struct side *s) {
    CHECK(mtaio_nats_close(s->nats, 10000 * MS) == 0);
    mtaio_nats_binding_unref(s->binding);
    mtaio_nats_unref(s->nats);
    mtaio_subscriber_unref(s->sub);
    mtaio_channel_unref(s->channel);
    mtaio_emitter_unref(s->events);
}

mtaio_nats_stats side_stats(const struct side *s) {
    mtaio_nats_stats stats = {.size = sizeof stats};
    CHECK(mtaio_nats_stats_get(s->binding, &stats) == 0);
    return stats;
}

void side_says(struct side *s, const char *topic, const char *text) {
    CHECK(mtaio_publish(s->channel, topic, text, strlen(text)) >= 0);
}

int side_bind(struct side *s, const mtaio_nats_binding_options *options) {
    mtaio_nats_binding *b = NULL;
    int r = mtaio_nats_bind(s->nats, s->channel, options, &b);
    CHECK((r == 0) == (b != NULL));
    mtaio_nats_binding_unref(b);
    return r;
}

void side_expects(struct side *s, const char *topic, const char *text) {
    mtaio_message m;
    int r = mtaio_subscriber_receive(s->sub, 20000 * MS, &m);
    if (r < 0) fprintf(stderr, "waiting for %s: %s\n", topic ? topic : "(no topic)", mtaio_error_name(r));
    CHECK(r >= 0);
    const char *got = mtaio_message_topic(&m);
    if (!topic != !got || (topic && strcmp(topic, got) != 0))
        fprintf(stderr, "expected %s, got %s\n", topic ? topic : "-", got ? got : "-");
    CHECK(!topic == !got && (!topic || strcmp(topic, got) == 0));
    CHECK(!text || mtaio_message_bytes(&m) == strlen(text));
    CHECK(!text || strlen(text) == 0 || memcmp(mtaio_message_data(&m), text, strlen(text)) == 0);
    mtaio_message_clear(&m);
}

void side_expects_nothing(struct side *s) {
    mtaio_message m;
    CHECK(mtaio_subscriber_receive(s->sub, 100 * MS, &m) == MTAIO_ETIMEDOUT);
}
