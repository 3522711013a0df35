/* test_nats_asking.c - requests that nobody waits for, over a server of its own. */
#include <stdlib.h>
#include <string.h>

#include "test_server.h"

static struct server server;

/* --- Both sides -------------------------------------------------------------------------------- */

struct asked {
    atomic_int calls, destroyed, result; /* the last result */
    atomic_int number;                   /* of the reply */
    struct side *closes;
    atomic_int *left;
};

static void answered(int result, mtaio_nats_reply *reply, void *ctx) {
    struct asked *a = ctx;
    CHECK((result == 0) == (reply != NULL) && a->destroyed == 0);
    if (reply) {
        int number;
        CHECK(mtaio_nats_reply_bytes(reply) == sizeof number);
        memcpy(&number, mtaio_nats_reply_data(reply), sizeof number);
        a->number = number;
    }
    mtaio_nats_reply_unref(reply);
    a->result = result;
    a->calls++;
    if (a->closes) mtaio_nats_close(a->closes->nats, 1000 * MS);
}

static void destroyed(void *ctx) {
    struct asked *a = ctx;
    a->destroyed++;
    if (a->left) a->left[0]--;
}

#define ANSWER(a) MTAIO_NATS_ANSWER(.call = answered, .destroy = destroyed, .ctx = (a))

/* Answers what it is asked; what is negative, not at all. */
static void serve(mtaio_nats_request *request, void *ctx) {
    int number;
    (void)ctx;
    CHECK(mtaio_nats_request_bytes(request) == sizeof number);
    memcpy(&number, mtaio_nats_request_data(request), sizeof number);
    if (number >= 0) CHECK(mtaio_nats_respond(request, &number, sizeof number) == 0);
    mtaio_nats_request_unref(request);
}

static void sides_begin(struct side *a, struct side *b, const char *url) {
    side_begin(a, url, NULL);
    side_begin(b, url, NULL);
    CHECK(mtaio_nats_serve(b->binding, "ask.*", MTAIO_NATS_SERVER(.call = serve)) == 0);
}

static uint64_t ask(struct side *s, const char *topic, int number, int64_t timeout_ns, struct asked *a) {
    uint64_t id = 0;
    CHECK(mtaio_nats_ask_async(s->binding, topic, &number, sizeof number, timeout_ns, ANSWER(a), &id) == 0);
    CHECK(id != 0);
    return id;
}

/* Each has ended once, so. */
static void expects(struct asked *a, int result) {
    EVENTUALLY(a->destroyed == 1);
    CHECK(a->calls == 1 && a->result == result);
}

/* --- Ends -------------------------------------------------------------------------------------- */

/* "call runs once [...] with 0 and the reply": each its own, of many under way at once. */
static void many(void **state) {
    enum { COUNT = 5000 };
    (void)state;
    struct side a, b;
    struct asked *asked = calloc(COUNT, sizeof *asked);
    atomic_int left = COUNT;
    CHECK(asked != NULL);
    sides_begin(&a, &b, server.url);
    for (int i = 0; i < COUNT; i++) {
        asked[i].left = &left;
        CHECK(mtaio_nats_ask_async(a.binding, "ask.me", &i, sizeof i, -1, ANSWER(&asked[i]), NULL) == 0);
    }
    EVENTUALLY(left == 0);
    for (int i = 0; i < COUNT; i++)
        CHECK(asked[i].calls == 1 && asked[i].result == 0 && asked[i].number == i);
    side_expects_nothing(&b);
    side_end(&a);
    side_end(&b);
    free(asked);
}

/* "what mtaio_nats_ask would have answered": ETIMEDOUT after its own time, EABANDONED; ECANCELED. */
static void without_answer(void **state) {
    (void)state;
    struct side a, b;
    struct asked late = {0}, soon = {0}, nobody = {0}, cancelled = {0}, good = {0};
    sides_begin(&a, &b, server.url);
    mtaio_nats_unbind(a.binding, -1); /* so that it takes nothing, which would be somebody who is there */
    mtaio_nats_binding_unref(a.binding);
    CHECK(mtaio_nats_bind(a.nats, a.channel, MTAIO_NATS_BINDING_OPTIONS(.prefix = "lone", .send = EVERYTHING),
                          &a.binding) == 0);
    ask(&a, "nobody", 1, 5000 * MS, &nobody);
    expects(&nobody, MTAIO_EABANDONED);
    mtaio_nats_binding_unref(a.binding);
    CHECK(mtaio_nats_bind(a.nats, a.channel, MTAIO_NATS_BINDING_OPTIONS(.prefix = "shop", .send = EVERYTHING),
                          &a.binding) == 0);
    int64_t start = support_now_ms();
    uint64_t id = ask(&a, "ask.me", -1, 60000 * MS, &cancelled);
    ask(&a, "ask.me", -1, 300 * MS, &late);
    ask(&a, "ask.me", -1, 50 * MS, &soon);
    ask(&a, "ask.me", 5, 60000 * MS, &good);
    expects(&good, 0);
    expects(&soon, MTAIO_ETIMEDOUT);
    CHECK(support_now_ms() - start >= 49);
    expects(&late, MTAIO_ETIMEDOUT);
    CHECK(support_now_ms() - start >= 299 && cancelled.calls == 0);
    CHECK(mtaio_nats_ask_cancel(a.binding, id) == 1 && cancelled.calls == 1 && cancelled.destroyed == 1);
    expects(&cancelled, MTAIO_ECANCELED);
    CHECK(mtaio_nats_ask_cancel(a.binding, id) == 0 && mtaio_nats_ask_cancel(a.binding, 0) == 0);
    CHECK(mtaio_nats_ask_cancel(a.binding, UINT64_MAX) == 0 && cancelled.calls == 1);
    side_end(&a);
    side_end(&b);
}

/* "A connection that breaks ends it with EAGAIN"; while there is none it is refused so; afterwards it works.
 */
static void broken(void **state) {
    (void)state;
    struct server own;
    struct side a, b;
    struct asked waiting = {0}, refused = {0}, again = {0};
    int number = 1;
    server_start(&own, NULL);
    sides_begin(&a, &b, own.url);
    ask(&a, "ask.me", -1, 60000 * MS, &waiting);
    server_kill(&own);
    expects(&waiting, MTAIO_EAGAIN);
    EVENTUALLY(!mtaio_nats_is_connected(a.nats));
    CHECK(mtaio_nats_ask_async(a.binding, "ask.me", &number, sizeof number, 0, ANSWER(&refused), NULL) ==
          MTAIO_EAGAIN);
    CHECK(refused.calls == 0 && refused.destroyed == 1);
    server_restart(&own, NULL);
    EVENTUALLY(mtaio_nats_is_connected(a.nats) && mtaio_nats_is_connected(b.nats));
    ask(&a, "ask.me", 3, 5000 * MS, &again);
    expects(&again, 0);
    side_end(&a);
    side_end(&b);
    server_end(&own);
}

/* ECLOSED: when the connection is closed, also from the call itself. */
static void closed(void **state) {
    (void)state;
    struct side a, b;
    struct asked waiting = {0}, after = {0}, closing = {.closes = &a};
    int number = 1;
    sides_begin(&a, &b, server.url);
    ask(&a, "ask.me", -1, 60000 * MS, &waiting);
    ask(&a, "ask.me", 1, 60000 * MS, &closing);
    EVENTUALLY(closing.destroyed == 1 && waiting.destroyed == 1);
    CHECK(waiting.calls == 1 && waiting.result == MTAIO_ECLOSED);
    CHECK(mtaio_nats_ask_async(a.binding, "ask.me", &number, sizeof number, 0, ANSWER(&after), NULL) ==
          MTAIO_ECLOSED);
    CHECK(after.calls == 0 && after.destroyed == 1);
    side_end(&a);
    struct asked timing = {.closes = &a}, other = {0};
    side_begin(&a, server.url, NULL);
    ask(&a, "ask.me", -1, 50 * MS, &timing);
    ask(&a, "ask.me", -1, 60000 * MS, &other);
    EVENTUALLY(timing.destroyed == 1 && other.destroyed == 1);
    CHECK(timing.result == MTAIO_ETIMEDOUT && other.result == MTAIO_ECLOSED);
    side_end(&a);
    side_end(&b);
}

/* "Where this itself fails, only destroy does", and not even that with another size. */
static void wrong(void **state) {
    (void)state;
    struct side a;
    struct asked asked = {0};
    uint64_t id = 7;
    side_begin(&a, server.url, NULL);
    mtaio_nats_answer other = *ANSWER(&asked);
    other.size++;
    CHECK(mtaio_nats_ask_async(a.binding, "t", NULL, 0, 0, &other, &id) == MTAIO_EINVAL);
    CHECK(mtaio_nats_ask_async(a.binding, "t", NULL, 0, 0, NULL, &id) == MTAIO_EINVAL &&
          asked.destroyed == 0);
    CHECK(mtaio_nats_ask_async(NULL, "t", NULL, 0, 0, ANSWER(&asked), &id) == MTAIO_EINVAL);
    CHECK(mtaio_nats_ask_async(a.binding, NULL, NULL, 0, 0, ANSWER(&asked), &id) == MTAIO_EINVAL);
    CHECK(mtaio_nats_ask_async(a.binding, "t", NULL, 1, 0, ANSWER(&asked), &id) == MTAIO_EINVAL);
    CHECK(mtaio_nats_ask_async(a.binding, "a.*", NULL, 0, 0, ANSWER(&asked), &id) == MTAIO_ENAME);
    CHECK(mtaio_nats_ask_async(a.binding, "a b", NULL, 0, 0, ANSWER(&asked), &id) == MTAIO_ENAME);
    CHECK(mtaio_nats_ask_async(a.binding, "t", NULL, 0, 0,
                               MTAIO_NATS_ANSWER(.destroy = destroyed, .ctx = &asked), &id) == MTAIO_EINVAL);
    CHECK(asked.destroyed == 6);
    asked.destroyed = 0;
    char *large = calloc(1, 2 << 20);
    CHECK(large != NULL);
    CHECK(mtaio_nats_ask_async(a.binding, "t", large, 2 << 20, 0, ANSWER(&asked), &id) == MTAIO_ELIMIT);
    free(large);
    CHECK(asked.destroyed == 1 && asked.calls == 0 && id == 7);
    CHECK(mtaio_nats_ask_cancel(NULL, 1) == MTAIO_EINVAL);
    CHECK(mtaio_nats_ask_cancel(a.binding, 1) == 0);
    side_end(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many),   cmocka_unit_test(without_answer), cmocka_unit_test(broken),
        cmocka_unit_test(closed), cmocka_unit_test(wrong),
    };
    return RUN_WITH_SERVER(tests, &server, NULL);
}
