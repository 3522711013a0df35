/* test_nats_memory.c - each allocation of the adapter and the core, on the calling thread, fails once (hazard
 * 20). */
#include <stdlib.h>
#include <string.h>

#include "short_memory.h"
#include "test_server.h"

static struct server server;

/* --- Memory ------------------------------------------------------------------------------------ */

/* Until a call needs no more of them. Some can be done without: then the call succeeds. `least`: how many are
 * known to be needed. */
static void sweep(int (*call)(struct side *s), struct side *s, int least) {
    int refused = 0;
    for (int n = 1; n < 1000; n++) {
        memory_fails_here_in(n);
        int r = call(s);
        bool all = memory_left() > 0;
        memory_fails_here_in(0);
        CHECK(r >= 0 || (r == MTAIO_ENOMEM && !all));
        refused += r < 0;
        if (all) break;
    }
    CHECK(refused >= least);
}

/* --- Calls ------------------------------------------------------------------------------------- */

static atomic_int destroyed, made;

static void destroy(void *ctx) {
    (void)ctx;
    destroyed++;
}

static int open_it(struct side *s) {
    mtaio_nats *nats = NULL;
    (void)s;
    int r = mtaio_nats_open(MTAIO_NATS_OPTIONS(.servers = server.url, .user = "u", .password = "p"), &nats);
    long left = memory_left();
    memory_fails_here_in(0);
    CHECK((r == 0) == (nats != NULL));
    mtaio_nats_unref(nats);
    memory_fails_here_in(left);
    return r;
}

static int bind_it(struct side *s) {
    const char *const some[] = {"a.*", "b.**", NULL};
    mtaio_nats_binding *b = NULL;
    int before = destroyed;
    int r =
        mtaio_nats_bind(s->nats, s->channel,
                        MTAIO_NATS_BINDING_OPTIONS(.prefix = "p", .send = some, .take = some, .pack = true,
                                                   .codec = MTAIO_NATS_CODEC(.destroy = destroy)),
                        &b);
    long left = memory_left();
    memory_fails_here_in(0);
    CHECK((r == 0) == (b != NULL));
    mtaio_nats_binding_unref(b);
    EVENTUALLY(destroyed == before + 1);
    memory_fails_here_in(left);
    return r;
}

static void serve(mtaio_nats_request *request, void *ctx) {
    (void)ctx;
    mtaio_nats_request_unref(request);
}

static int serve_it(struct side *s) {
    made++;
    return mtaio_nats_serve(s->binding, "ask.*", MTAIO_NATS_SERVER(.call = serve, .destroy = destroy));
}

static void answered(int result, mtaio_nats_reply *reply, void *ctx) {
    (void)result, (void)ctx;
    mtaio_nats_reply_unref(reply);
}

static int ask_it(struct side *s) {
    made++;
    return mtaio_nats_ask_async(s->binding, "ask.me", "x", 1, 60000 * MS,
                                MTAIO_NATS_ANSWER(.call = answered, .destroy = destroy), NULL);
}

static int ask_many(struct side *s) {
    int r = 0;
    for (int i = 0; i < 20 && r >= 0; i++) r = ask_it(s); /* more than the table first has places for */
    return r;
}

/* "Out of memory is an error return that leaves everything as it was"; "destroy(ctx) runs exactly once [...]
 * also if registering failed". */
static void no_memory(void **state) {
    (void)state;
    struct side a;
    sweep(open_it, NULL, 4);
    side_begin(&a, server.url, NULL);
    sweep(bind_it, &a, 8);
    destroyed = 0;
    sweep(serve_it, &a, 2);
    sweep(ask_many, &a, 2);
    CHECK(mtaio_publish(a.channel, "t", "x", 1) >= 0);
    side_expects(&a, "t", "x");
    side_end(&a);
    EVENTUALLY(destroyed == made);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_memory)};
    CHECK(memory_begin() == 0);
    return RUN_WITH_SERVER(tests, &server, NULL);
}
