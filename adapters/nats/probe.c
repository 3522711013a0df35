/* probe.c - does a server answer, before the client library connects? libnats 3.4.1 waits for ever for one
 * that greets, and then says nothing; and holds its lock meanwhile, so that nothing ends it. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nats_inner.h"

enum { LINE_MAX_BYTES = 1 << 16, TEXT_MAX = 512 };
#define SLICE_NS INT64_C(50000000) /* how long it takes to see that the connection is closed */

struct probe {
    mtaio_nats *nats;
    int64_t deadline_ns;
    int fd;
    size_t used;
    char line[LINE_MAX_BYTES];
};

/* --- URLs -------------------------------------------------------------------------------------- */

struct place {
    char user[TEXT_MAX], password[TEXT_MAX], host[TEXT_MAX], port[16];
};

/* The part of `text` up to one of `ends`, which *at is set to. false: it is too long. */
static bool part(const char **at, const char *ends, char *ret, size_t size) {
    size_t length = strcspn(*at, ends);
    if (length >= size) return false;
    memcpy(ret, *at, length);
    ret[length] = '\0';
    *at += length;
    return true;
}

/* false: with TLS, or none that we understand. */
static bool place_read(const char *url, struct place *ret) {
    const char *at = strstr(url, "://"), *login;
    *ret = (struct place){.port = "4222"};
    if (at && (at - url != 4 || strncmp(url, "nats", 4) != 0)) return false;
    at = at ? at + 3 : url;
    if ((login = strrchr(at, '@'))) {
        if (!part(&at, ":@", ret->user, TEXT_MAX)) return false;
        if (*at == ':' && (++at, !part(&at, "@", ret->password, TEXT_MAX))) return false;
        at = login + 1;
    }
    bool is_v6 = *at == '[';
    at += is_v6;
    if (!part(&at, is_v6 ? "]" : ":/", ret->host, TEXT_MAX)) return false;
    at += is_v6 && *at;
    if (*at == ':' && (++at, !part(&at, "/", ret->port, sizeof ret->port))) return false;
    return *ret->host != '\0';
}

/* --- Bytes ------------------------------------------------------------------------------------- */

/* 0; ETIMEDOUT; ECLOSED. */
static int wait_for(struct probe *p, short events) {
    for (;;) {
        struct pollfd fd = {.fd = p->fd, .events = events};
        int64_t left = p->deadline_ns - mtaio__now_ns();
        if (left <= 0) return MTAIO_ETIMEDOUT;
        if (mtaio__nats_is_leaving(p->nats)) return MTAIO_ECLOSED;
        int n = poll(&fd, 1, (int)mtaio__to_ms(left < SLICE_NS ? left : SLICE_NS));
        if (n > 0) return 0;
        if (n < 0 && errno != EINTR) return MTAIO_ESYSTEM;
    }
}

/* The next line, without its end. ESYSTEM: the connection broke, or it is none. */
static int read_line(struct probe *p) {
    for (p->used = 0; p->used < sizeof p->line - 1;) {
        ssize_t n = recv(p->fd, p->line + p->used, 1, 0); /* a few hundred bytes in all: one by one */
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            int r = wait_for(p, POLLIN);
            if (r < 0) return r;
            continue;
        }
        if (n <= 0) return MTAIO_ESYSTEM;
        if (p->line[p->used++] != '\n') continue;
        p->line[p->used - 1] = '\0';
        return 0;
    }
    return MTAIO_ESYSTEM;
}

static int write_all(struct probe *p, const char *bytes, size_t n) {
    while (n > 0) {
        ssize_t sent = send(p->fd, bytes, n, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
            int r = wait_for(p, POLLOUT);
            if (r < 0) return r;
            continue;
        }
        if (sent <= 0) return MTAIO_ESYSTEM;
        bytes += sent;
        n -= (size_t)sent;
    }
    return 0;
}

static int open_address(struct probe *p, const struct addrinfo *address) {
    int error = 0;
    socklen_t size = sizeof error;
    p->fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (p->fd < 0) return MTAIO_ESYSTEM;
    int r = connect(p->fd, address->ai_addr, address->ai_addrlen);
    if (r < 0 && errno == EINPROGRESS) r = wait_for(p, POLLOUT);
    if (r == 0 && (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error)) r = MTAIO_ESYSTEM;
    if (r == 0) return 0;
    close(p->fd);
    p->fd = -1;
    return r == -1 ? MTAIO_ESYSTEM : r;
}

static int open_place(struct probe *p, const struct place *place) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int r = getaddrinfo(place->host, place->port, &hints, &list) == 0 ? 0 : MTAIO_ESYSTEM;
    if (r == 0) r = MTAIO_ESYSTEM;
    for (struct addrinfo *a = list; a && r != 0 && r != MTAIO_ECLOSED; a = a->ai_next) r = open_address(p, a);
    if (list) freeaddrinfo(list);
    return r;
}

/* --- The conversation -------------------------------------------------------------------------- */

/* ,"key":"value" - as JSON has it. */
static char *put_string(char *at, const char *key, const char *value) {
    at += sprintf(at, ",\"%s\":\"", key);
    for (; *value; value++)
        at += (unsigned char)*value < ' ' || *value == '"' || *value == '\\'
                  ? sprintf(at, "\\u%04x", (unsigned)(unsigned char)*value)
                  : sprintf(at, "%c", *value);
    return at + sprintf(at, "\"");
}

/* Who we are, so that a server which asks for it logs no failure; and whether somebody is there. */
static int ask(struct probe *p, const struct place *place, const struct login *login) {
    const char *user = *place->user ? place->user : login->user;
    const char *password = *place->user ? place->password : login->password;
    if (strlen(user) > TEXT_MAX || strlen(password) > TEXT_MAX || strlen(login->token) > TEXT_MAX) return 0;
    char *at = p->line; /* each byte six at most */
    at += sprintf(at, "CONNECT {\"verbose\":false,\"pedantic\":false,\"protocol\":1");
    at = put_string(at, "lang", "C");
    at = put_string(at, "name", "mtaio: are you there?");
    if (*user) at = put_string(at, "user", user);
    if (*password) at = put_string(at, "pass", password);
    if (*login->token) at = put_string(at, "auth_token", login->token);
    if (*place->user && !*place->password)
        at = put_string(at, "auth_token", place->user); /* nats://TOKEN@... */
    at += sprintf(at, "}\r\nPING\r\n");
    int r = write_all(p, p->line, (size_t)(at - p->line));
    if (r == 0) do
            r = read_line(p);
        while (r == 0 && strncmp(p->line, "PONG", 4) != 0 && strncmp(p->line, "-ERR", 4) != 0);
    return r;
}

static int converse(struct probe *p, const struct place *place, const struct login *login) {
    int r = open_place(p, place);
    if (r == 0) r = read_line(p);
    if (r < 0 || strncmp(p->line, "INFO ", 5) != 0) return r < 0 ? r : MTAIO_ESYSTEM;
    if (login->is_secret || strstr(p->line, "\"tls_required\":true")) return 0; /* it has greeted */
    return ask(p, place, login);
}

int mtaio__probe(mtaio_nats *nats, const char *url) {
    struct place place;
    struct probe *p = place_read(url, &place) ? malloc(sizeof *p) : NULL;
    if (!p) return 1;
    *p = (struct probe){.nats = nats, .deadline_ns = mtaio__deadline_of(nats->timeout_ns), .fd = -1};
    int r = converse(p, &place, &nats->servers.login);
    if (p->fd >= 0) close(p->fd);
    free(p);
    return r == 0 ? 1 : r == MTAIO_ETIMEDOUT || r == MTAIO_ECLOSED ? r : 0;
}
