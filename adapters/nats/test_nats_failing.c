/* test_nats_failing.c - requests whose answer is an error: said by us, and by anybody else. */
#include <nats/nats.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "test_server.h"

static struct server server;

/* --- Ours -------------------------------------------------------------------------------------- */

static void fail_to_answer(mtaio_nats_request *request, void *ctx) {
    CHECK(mtaio_nats_respond_error(request, ctx) == 0);
    CHECK(mtaio_nats_respond_error(request, ctx) == MTAIO_EALREADY);
    CHECK(mtaio_nats_respond(request, "", 0) == MTAIO_EALREADY);
    mtaio_nats_request_unref(request);
}

static void answer_too_much(mtaio_nats_request *request, void *ctx) {
    char *large = calloc(1, 2 << 20);
    (void)ctx;
    CHECK(large && mtaio_nats_respond(request, large, 2 << 20) == MTAIO_ELIMIT);
    free(large);
    CHECK(mtaio_nats_respond_error(request, mtaio_error_text(MTAIO_ELIMIT)) == 0);
    mtaio_nats_request_unref(request);
}

static void serve_failing(struct side *s, const char *topic, const char *text) {
    CHECK(mtaio_nats_serve(s->binding, topic,
                           MTAIO_NATS_SERVER(.call = fail_to_answer, .ctx = (void *)(uintptr_t)text)) == 0);
}

/* At once: the time limit is an hour. */
static void asking_fails(struct side *s, const char *topic, const char *words) {
    mtaio_nats_reply *reply = NULL;
    CHECK(mtaio_nats_ask(s->binding, topic, "x", 1, 3600000 * MS, &reply) == MTAIO_EHANDLER && !reply);
    CHECK(strcmp(mtaio_nats_error(), words) == 0);
}

/* "Answers that it failed": the text, "as one line of 255 bytes at most"; what "was not sent [...] may be
 * answered again". */
static void our_errors(void **state) {
    (void)state;
    struct side a, b;
    char text[401] = "", cut[255] = "";
    for (int i = 0; i < 400; i += 2) memcpy(text + i, "\xc3\xa4", 2); /* a character of two bytes */
    memcpy(cut, text, 254);
    const struct {
        const char *topic, *text, *words;
    } cases[] = {{"plain", "no tea", "no tea"},
                 {"none", NULL, "a handler failed"},
                 {"empty", "", "a handler failed"},
                 {"blank", " \n", "a handler failed"},
                 {"lines", "no\r\nNats-Service-Error: tea\t\x1b!", "no  Nats-Service-Error: tea  !"},
                 {"long", text, cut}};
    side_begin(&a, server.url, NULL);
    side_begin(&b, server.url, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        serve_failing(&b, cases[i].topic, cases[i].text);
        asking_fails(&a, cases[i].topic, cases[i].words);
    }
    CHECK(mtaio_nats_serve(b.binding, "large", MTAIO_NATS_SERVER(.call = answer_too_much)) == 0);
    asking_fails(&a, "large", mtaio_error_text(MTAIO_ELIMIT));
    side_end(&b);
    side_end(&a);
}

static void answered(int result, mtaio_nats_reply *reply, void *ctx) {
    CHECK(result == MTAIO_EHANDLER && !reply && strcmp(mtaio_nats_error(), "no tea") == 0);
    atomic_fetch_add((atomic_uint *)ctx, 1);
}

/* The same for those who do not wait: "call runs once". */
static void our_errors_async(void **state) {
    enum { COUNT = 100 };
    (void)state;
    struct side a, b;
    atomic_uint calls = 0;
    side_begin(&a, server.url, NULL);
    side_begin(&b, server.url, NULL);
    serve_failing(&b, "plain", "no tea");
    for (int i = 0; i < COUNT; i++)
        CHECK(mtaio_nats_ask_async(a.binding, "plain", "x", 1, 3600000 * MS,
                                   MTAIO_NATS_ANSWER(.call = answered, .ctx = &calls), NULL) == 0);
    EVENTUALLY(calls == COUNT);
    side_end(&b);
    side_end(&a);
}

static void expects_header(natsMsg *message, const char *key, const char *value) {
    const char *got = NULL;
    CHECK(natsMsgHeader_Get(message, key, &got) == NATS_OK && strcmp(got, value) == 0);
}

/* "no data, the headers [...]": nothing else is sent. */
static void what_is_sent(void **state) {
    (void)state;
    struct side b;
    natsConnection *nc;
    natsMsg *reply;
    const char **keys;
    int count;
    side_begin(&b, server.url, NULL);
    serve_failing(&b, "plain", "no tea");
    CHECK(natsConnection_ConnectTo(&nc, server.url) == NATS_OK);
    CHECK(natsConnection_RequestString(&reply, nc, "shop.plain", "x", 60000) == NATS_OK);
    CHECK(natsMsg_GetDataLength(reply) == 0);
    CHECK(natsMsgHeader_Keys(reply, &keys, &count) == NATS_OK && count == 2);
    free(keys);
    expects_header(reply, "Nats-Service-Error", "no tea");
    expects_header(reply, "Nats-Service-Error-Code", "500");
    natsMsg_Destroy(reply);
    natsConnection_Destroy(nc);
    side_end(&b);
}

/* --- Anybody's --------------------------------------------------------------------------------- */

struct asker {
    struct side *side;
    int result;
    size_t bytes;
    char words[512];
};

static void *ask(void *arg) {
    struct asker *asker = arg;
    mtaio_nats_reply *reply = NULL;
    asker->result = mtaio_nats_ask(asker->side->binding, "foreign", "x", 1, 60000 * MS, &reply);
    asker->bytes = mtaio_nats_reply_bytes(reply);
    snprintf(asker->words, sizeof asker->words, "%s", mtaio_nats_error());
    mtaio_nats_reply_unref(reply);
    return NULL;
}

/* Asks a peer that answers with these headers and data. */
static struct asker answered_by(struct side *s, int raw, const char *headers, const char *data) {
    struct asker asker = {.side = s};
    char subject[128], line[8192];
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, ask, &asker) == 0);
    raw_read_word(raw, "_INBOX.", subject, sizeof subject);
    snprintf(line, sizeof line, "HPUB %s %zu %zu\r\n%s%s\r\n", subject, strlen(headers),
             strlen(headers) + strlen(data), headers, data);
    raw_send(raw, line);
    CHECK(pthread_join(thread, NULL) == 0);
    return asker;
}

#define HEAD "NATS/1.0\r\n"
#define ERROR "Nats-Service-Error: "
#define CODE "Nats-Service-Error-Code: "

/* EHANDLER by either header, whatever else is there, and whatever it says. */
static void foreign_errors(void **state) {
    (void)state;
    struct side a;
    char long_one[6000] = HEAD ERROR;
    size_t length = strlen(long_one);
    memset(long_one + length, '\x80', 5000);
    strcpy(long_one + length + 5000, "\r\n\r\n");
    const struct {
        const char *headers, *data;
        int result;
        const char *words; /* NULL: some */
    } cases[] = {{HEAD ERROR "no tea\r\n" CODE "404\r\n\r\n", "", MTAIO_EHANDLER, "no tea"},
                 {HEAD CODE "404\r\nk: v\r\n" ERROR "no tea\r\n\r\n", "data", MTAIO_EHANDLER, "no tea"},
                 {HEAD ERROR "no tea\r\n\r\n", "", MTAIO_EHANDLER, "no tea"},
                 {HEAD CODE "404\r\n\r\n", "", MTAIO_EHANDLER, "a handler failed"},
                 {HEAD ERROR "t\x01\x1b\xff\r\n\r\n", "", MTAIO_EHANDLER, "t  \xff"},
                 {long_one, "", MTAIO_EHANDLER, NULL},
                 {HEAD "Nats-Service-Errors: x\r\n\r\n", "data", 0, NULL},
                 {HEAD "k: Nats-Service-Error: x\r\n\r\n", "data", 0, NULL},
                 {"NATS/1.0 503\r\n\r\n", "data", 0, NULL},
                 {"NATS/1.0 503\r\n\r\n", "", MTAIO_EABANDONED, NULL},
                 {"no headers\r\n\r\n", "data", MTAIO_ESYSTEM, NULL}};
    side_begin(&a, server.url, &(struct side_how){.send = EVERYTHING});
    int raw = raw_connect(server.port);
    raw_send(raw, "SUB shop.foreign 1\r\n");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct asker asker = answered_by(&a, raw, cases[i].headers, cases[i].data);
        CHECK(asker.result == cases[i].result && strlen(asker.words) <= 255);
        CHECK(asker.bytes == (asker.result == 0 ? strlen(cases[i].data) : 0));
        CHECK(!cases[i].words || strcmp(asker.words, cases[i].words) == 0);
    }
    close(raw);
    side_end(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(our_errors),
        cmocka_unit_test(our_errors_async),
        cmocka_unit_test(what_is_sent),
        cmocka_unit_test(foreign_errors),
    };
    return RUN_WITH_SERVER(tests, &server, NULL);
}
