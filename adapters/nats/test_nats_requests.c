/* test_nats_requests.c - requests, logins and wrong arguments of mtaio/nats.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test_server.h"

static struct server server;

/* --- Requests ---------------------------------------------------------------------------------- */

struct servant {
    atomic_uint calls, destroyed;
    mtaio_nats_request *kept; /* with keep */
    bool keep;
    struct side *closes;
};

static void serve(mtaio_nats_request *request, void *ctx) {
    struct servant *s = ctx;
    s->calls++;
    CHECK(strncmp(mtaio_nats_request_topic(request), "ask.", 4) == 0);
    if (s->keep) {
        s->kept = request;
        return;
    }
    CHECK(mtaio_nats_respond(request, mtaio_nats_request_data(request), mtaio_nats_request_bytes(request)) ==
          0);
    CHECK(mtaio_nats_respond(request, "", 0) == MTAIO_EALREADY);
    mtaio_nats_request_unref(request);
    if (s->closes) mtaio_nats_close(s->closes->nats, 1000 * MS);
}

static void destroyed(void *ctx) { ((struct servant *)ctx)->destroyed++; }

/* "one asks, one who serves the topic answers. Nothing of it touches the channel." EALREADY; "destroy runs
 * when the last call is over". */
static void ask_and_serve(void **state) {
    (void)state;
    struct side a, b;
    struct servant servant = {0};
    mtaio_nats_reply *reply;
    side_begin(&a, server.url, NULL);
    side_begin(&b, server.url, NULL);
    CHECK(mtaio_nats_serve(b.binding, "ask.**",
                           MTAIO_NATS_SERVER(.call = serve, .ctx = &servant, .destroy = destroyed)) == 0);
    for (int i = 0; i < 100; i++) {
        char question[16];
        snprintf(question, sizeof question, "%d", i);
        CHECK(mtaio_nats_ask(a.binding, i % 2 ? "ask.a.b" : "ask.c", question, strlen(question), -1,
                             &reply) == 0);
        CHECK(mtaio_nats_reply_bytes(reply) == strlen(question));
        CHECK(memcmp(mtaio_nats_reply_data(reply), question, strlen(question)) == 0);
        mtaio_nats_reply_unref(reply);
    }
    CHECK(servant.calls == 100);
    side_expects_nothing(&a);
    side_expects_nothing(&b);
    side_end(&b);
    CHECK(servant.destroyed == 1);
    side_end(&a);
}

/* ETIMEDOUT; "EABANDONED: nobody serves the topic"; requests outlive their call, and answering after the end
 * is an error. */
static void no_answer(void **state) {
    (void)state;
    struct side a, b;
    struct servant servant = {.keep = true};
    mtaio_nats_reply *reply = NULL;
    side_begin(&a, server.url, &(struct side_how){.send = EVERYTHING});
    CHECK(mtaio_nats_ask(a.binding, "nobody", "x", 1, 5000 * MS, &reply) == MTAIO_EABANDONED);
    CHECK(*mtaio_nats_error() != '\0');
    side_begin(&b, server.url, &(struct side_how){.send = EVERYTHING});
    CHECK(mtaio_nats_serve(b.binding, "ask.*",
                           MTAIO_NATS_SERVER(.call = serve, .ctx = &servant, .destroy = destroyed)) == 0);
    CHECK(mtaio_nats_ask(a.binding, "ask.it", "x", 1, 50 * MS, &reply) == MTAIO_ETIMEDOUT && !reply);
    EVENTUALLY(servant.calls == 1);
    side_end(&b);
    CHECK(servant.destroyed == 1);
    CHECK(strcmp(mtaio_nats_request_topic(servant.kept), "ask.it") == 0 &&
          mtaio_nats_request_bytes(servant.kept) == 1);
    CHECK(mtaio_nats_respond(servant.kept, "x", 1) == MTAIO_ECLOSED);
    mtaio_nats_request_unref(servant.kept);
    CHECK(mtaio_nats_close(a.nats, 0) == 0);
    CHECK(mtaio_nats_ask(a.binding, "ask.it", "x", 1, 50 * MS, &reply) == MTAIO_ECLOSED);
    side_end(&a);
}

/* "Of several servers of a pattern with the same `group` each request goes to one." */
static void groups(void **state) {
    (void)state;
    struct side a, b[3];
    struct servant servants[3] = {0};
    mtaio_nats_reply *reply;
    side_begin(&a, server.url, NULL);
    for (int i = 0; i < 3; i++) {
        side_begin(&b[i], server.url, NULL);
        CHECK(mtaio_nats_serve(b[i].binding, "ask.*",
                               MTAIO_NATS_SERVER(.call = serve, .ctx = &servants[i], .group = "g")) == 0);
    }
    for (int i = 0; i < 60; i++) {
        CHECK(mtaio_nats_ask(a.binding, "ask.me", "x", 1, -1, &reply) == 0);
        mtaio_nats_reply_unref(reply);
    }
    CHECK(servants[0].calls + servants[1].calls + servants[2].calls == 60);
    for (int i = 0; i < 3; i++) side_end(&b[i]);
    side_end(&a);
}

/* "Your code may call anything and drop whatever called it." */
static void close_from_a_call(void **state) {
    (void)state;
    struct side a, b;
    struct servant servant = {.closes = &b};
    mtaio_nats_reply *reply;
    side_begin(&a, server.url, NULL);
    side_begin(&b, server.url, NULL);
    CHECK(mtaio_nats_serve(b.binding, "ask.*",
                           MTAIO_NATS_SERVER(.call = serve, .ctx = &servant, .destroy = destroyed)) == 0);
    CHECK(mtaio_nats_ask(a.binding, "ask.me", "x", 1, -1, &reply) == 0);
    mtaio_nats_reply_unref(reply);
    EVENTUALLY(servant.destroyed == 1 && b.closed == 1);
    side_end(&b);
    side_end(&a);
}

struct race {
    struct side side;
    struct servant servant;
    atomic_uint begun;
};

static void serve_or_end(unsigned index, void *ctx) {
    struct race *race = ctx;
    if (index == 0) CHECK(mtaio_nats_close(race->side.nats, 10000 * MS) == 0);
    if (index == 1) CHECK(mtaio_nats_unbind(race->side.binding, 10000 * MS) == 0);
    for (int r = index > 1 ? 0 : -1; r >= 0;) {
        race->begun++;
        r = mtaio_nats_serve(race->side.binding, "ask.*",
                             MTAIO_NATS_SERVER(.call = serve, .ctx = &race->servant, .destroy = destroyed));
    }
}

/* "Any thread, any time": what serves, and begins to serve, while another ends the binding, and a third
 * closes the connection; destroy runs once for each. */
static void ending_race(void **state) {
    (void)state;
    for (int round = 0; round < (SLOW ? 5 : 20); round++) {
        struct race race = {0};
        side_begin(&race.side, server.url, NULL);
        support_threads(4, serve_or_end, &race);
        side_end(&race.side);
        EVENTUALLY(race.servant.destroyed == race.begun);
    }
}

/* --- Logins ------------------------------------------------------------------------------------ */

static int open_with(const mtaio_nats_options *options) {
    mtaio_nats *nats = NULL;
    int r = mtaio_nats_open(options, &nats);
    CHECK((r == 0) == (nats != NULL));
    CHECK((r == MTAIO_ESYSTEM) == (*mtaio_nats_error() != '\0'));
    mtaio_nats_unref(nats);
    return r;
}

/* user and password, token; "ESYSTEM (refused: no server, wrong password, certificate ...)". */
static void logins(void **state) {
    (void)state;
    struct server own;
    server_start(&own, (const char *const[]){"--user", "u", "--pass", "p", NULL});
    CHECK(open_with(MTAIO_NATS_OPTIONS(.servers = own.url)) == MTAIO_ESYSTEM);
    CHECK(open_with(MTAIO_NATS_OPTIONS(.servers = own.url, .user = "u", .password = "wrong")) ==
          MTAIO_ESYSTEM);
    CHECK(open_with(MTAIO_NATS_OPTIONS(.servers = own.url, .user = "u", .password = "p", .name = "me")) == 0);
    server_end(&own);
    server_start(&own, (const char *const[]){"--auth", "secret", NULL});
    CHECK(open_with(MTAIO_NATS_OPTIONS(.servers = own.url, .token = "wrong")) == MTAIO_ESYSTEM);
    CHECK(open_with(MTAIO_NATS_OPTIONS(.servers = own.url, .token = "secret")) == 0);
    CHECK(open_with(MTAIO_NATS_OPTIONS(.servers = "nats://127.0.0.1:1", .token = "secret")) == MTAIO_ESYSTEM);
    server_end(&own);
}

/* tls_ca ...: "any of them: TLS"; credentials: a file. */
static void files(void **state) {
    (void)state;
    CHECK(open_with(MTAIO_NATS_OPTIONS(.servers = server.url, .tls_ca = "/nowhere")) == MTAIO_ESYSTEM);
    CHECK(open_with(MTAIO_NATS_OPTIONS(.servers = server.url, .tls_certificate = "/nowhere",
                                       .tls_key = "/nowhere")) == MTAIO_ESYSTEM);
    CHECK(open_with(MTAIO_NATS_OPTIONS(.servers = server.url, .tls_key = "/nowhere")) == MTAIO_EINVAL);
    CHECK(open_with(
              MTAIO_NATS_OPTIONS(.servers = server.url, .tls_ca = "/etc/ssl/certs/ca-certificates.crt")) < 0);
}

/* "URLs separated by commas": one of them answers. */
static void several_servers(void **state) {
    (void)state;
    char urls[256];
    snprintf(urls, sizeof urls, "nats://127.0.0.1:1, %s,nats://127.0.0.1:2", server.url);
    CHECK(open_with(MTAIO_NATS_OPTIONS(.servers = urls)) == 0);
    CHECK(open_with(MTAIO_NATS_OPTIONS(.servers = "")) == MTAIO_EINVAL);
    CHECK(open_with(MTAIO_NATS_OPTIONS(.servers = " , ")) == MTAIO_EINVAL);
}

/* --- Wrong arguments --------------------------------------------------------------------------- */

/* "NULL where nothing allows it is EINVAL", ENAME, EPATTERN. */
static void wrong_arguments(void **state) {
    (void)state;
    struct side a;
    struct servant servant = {0};
    const char *const bad[] = {"a*", NULL}, *const blank[] = {"a b", NULL}, *const none[] = {NULL};
    mtaio_nats_reply *reply;
    mtaio_nats *nats;
    mtaio_nats_binding *b;
    side_begin(&a, server.url, NULL);
    CHECK(mtaio_nats_open(NULL, NULL) == MTAIO_EINVAL);
    CHECK(mtaio_nats_open(&(mtaio_nats_options){.size = 1}, &nats) == MTAIO_EINVAL);
    CHECK(mtaio_nats_open(MTAIO_NATS_OPTIONS(.timeout_ns = -1), &nats) == MTAIO_EINVAL);
    CHECK(mtaio_nats_close(NULL, 0) == MTAIO_EINVAL && !mtaio_nats_is_connected(NULL));
    CHECK(mtaio_nats_bind(NULL, a.channel, MTAIO_NATS_BINDING_OPTIONS(.prefix = "p", .take = EVERYTHING),
                          &b) == MTAIO_EINVAL);
    CHECK(mtaio_nats_bind(a.nats, NULL, MTAIO_NATS_BINDING_OPTIONS(.prefix = "p", .take = EVERYTHING), &b) ==
          MTAIO_EINVAL);
    CHECK(side_bind(&a, NULL) == MTAIO_EINVAL);
    CHECK(side_bind(&a, MTAIO_NATS_BINDING_OPTIONS(.take = EVERYTHING)) == MTAIO_EINVAL);
    CHECK(side_bind(&a, MTAIO_NATS_BINDING_OPTIONS(.prefix = "p")) == MTAIO_EINVAL);
    CHECK(side_bind(&a, MTAIO_NATS_BINDING_OPTIONS(.prefix = "p", .take = none)) == MTAIO_EINVAL);
    CHECK(side_bind(&a, MTAIO_NATS_BINDING_OPTIONS(.prefix = "p", .take = EVERYTHING, .overflow = 99)) ==
          MTAIO_EINVAL);
    for (const char *const *p = (const char *const[]){"", "a b", "a..b", "a.*", ">", "a.>", "\xff", NULL}; *p;
         p++)
        CHECK(side_bind(&a, MTAIO_NATS_BINDING_OPTIONS(.prefix = *p, .take = EVERYTHING)) == MTAIO_ENAME);
    CHECK(side_bind(&a, MTAIO_NATS_BINDING_OPTIONS(.prefix = "p", .take = bad)) == MTAIO_EPATTERN);
    CHECK(side_bind(&a, MTAIO_NATS_BINDING_OPTIONS(.prefix = "p", .send = bad)) == MTAIO_EPATTERN);
    CHECK(side_bind(&a, MTAIO_NATS_BINDING_OPTIONS(.prefix = "p", .take = blank)) == MTAIO_EPATTERN);
    CHECK(mtaio_nats_unbind(NULL, 0) == MTAIO_EINVAL && mtaio_nats_flush(NULL, 0) == MTAIO_EINVAL);
    CHECK(mtaio_nats_stats_get(a.binding, &(mtaio_nats_stats){.size = 1}) == MTAIO_EINVAL);
    CHECK(mtaio_nats_ask(a.binding, "a.*", NULL, 0, 0, &reply) == MTAIO_ENAME);
    CHECK(mtaio_nats_ask(a.binding, "a b", NULL, 0, 0, &reply) == MTAIO_ENAME);
    CHECK(mtaio_nats_ask(a.binding, "a", NULL, 1, 0, &reply) == MTAIO_EINVAL);
    CHECK(mtaio_nats_ask(a.binding, "a", NULL, 0, 0, NULL) == MTAIO_EINVAL);
    char *large = calloc(1, 2 << 20);
    CHECK(mtaio_nats_ask(a.binding, "a", large, 2 << 20, 0, &reply) == MTAIO_ELIMIT);
    free(large);
    CHECK(mtaio_nats_serve(a.binding, "a*",
                           MTAIO_NATS_SERVER(.call = serve, .ctx = &servant, .destroy = destroyed)) ==
          MTAIO_EPATTERN);
    CHECK(mtaio_nats_serve(NULL, "a",
                           MTAIO_NATS_SERVER(.call = serve, .ctx = &servant, .destroy = destroyed)) ==
          MTAIO_EINVAL);
    CHECK(mtaio_nats_serve(a.binding, "a", MTAIO_NATS_SERVER(.ctx = &servant, .destroy = destroyed)) ==
          MTAIO_EINVAL);
    CHECK(mtaio_nats_serve(a.binding, "a b",
                           MTAIO_NATS_SERVER(.call = serve, .ctx = &servant, .destroy = destroyed)) ==
          MTAIO_EPATTERN);
    CHECK(servant.destroyed == 4);
    CHECK(mtaio_nats_serve(a.binding, "a", NULL) == MTAIO_EINVAL);
    CHECK(mtaio_nats_respond(NULL, NULL, 0) == MTAIO_EINVAL && !mtaio_nats_request_unref(NULL));
    CHECK(mtaio_nats_respond_error(NULL, "x") == MTAIO_EINVAL);
    CHECK(!mtaio_nats_unref(NULL) && !mtaio_nats_binding_unref(NULL) && !mtaio_nats_reply_unref(NULL));
    CHECK(!mtaio_nats_reply_data(NULL) && !mtaio_nats_request_topic(NULL) && !mtaio_nats_request_data(NULL));
    side_end(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ask_and_serve),   cmocka_unit_test(no_answer),
        cmocka_unit_test(groups),          cmocka_unit_test(close_from_a_call),
        cmocka_unit_test(logins),          cmocka_unit_test(files),
        cmocka_unit_test(ending_race),     cmocka_unit_test(several_servers),
        cmocka_unit_test(wrong_arguments),
    };
    return RUN_WITH_SERVER(tests, &server, NULL);
}
