/* nats_main.c - the program of the benchmarks of libmtaio-nats, beside a program that uses the client library
 * itself; run.py runs it where there is a nats-server.
 *
 *     mtaio-bench-nats [--sample-us N] [--rounds N] [--budget-ms N] [--only BEGINNING-OF-CASE]
 *
 * Both have a connection that publishes and one that receives, over one server on the loopback, which has the
 * same two processors. A sample ends when the last message has come. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <mtaio/nats.h>
#include <nats/nats.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "nats_stream.h"

enum { RUN = 1000 }; /* messages in one of `times` */

static char url[64];

/* --- The server --------------------------------------------------------------------------------------------
 */

static int connect_to(int port, int *ret_port) {
    struct sockaddr_in at = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int r = port ? connect(fd, (struct sockaddr *)&at, size) : bind(fd, (struct sockaddr *)&at, size);
    if (r == 0 && ret_port) r = getsockname(fd, (struct sockaddr *)&at, &size);
    if (ret_port) *ret_port = ntohs(at.sin_port);
    close(fd);
    return r;
}

/* On a free port; ends with this program. -1: there is none. */
static pid_t server_start(const char *directory) {
    int port = 0;
    char text[16];
    bench_ok(connect_to(0, &port));
    snprintf(url, sizeof url, "nats://127.0.0.1:%d", port);
    snprintf(text, sizeof text, "%d", port);
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!freopen("/dev/null", "w", stderr)) _exit(127);
        execlp("nats-server", "nats-server", "-a", "127.0.0.1", "-p", text, "-js", "-sd", directory,
               (char *)NULL);
        _exit(127);
    }
    for (int i = 0; pid > 0 && i < 2000; i++) {
        if (connect_to(port, NULL) == 0) return pid;
        if (waitpid(pid, NULL, WNOHANG) != 0) return -1;
        usleep(5000);
    }
    return -1;
}

/* --- One to one --------------------------------------------------------------------------------------------
 */

/* The receiving end, and how many have been sent to it. */
struct flow {
    size_t bytes;
    uint64_t sent, got;
    atomic_uint_least64_t wanted;
    sem_t all;
    char data[1024];

    natsConnection *out, *in;
    natsSubscription *sub;

    mtaio_nats *nats[2];
    mtaio_channel *channel[2];
    mtaio_nats_binding *binding[2];
    mtaio_subscriber *subscriber;
};

static int nats_ok(natsStatus s) { return bench_ok(s == NATS_OK ? 0 : -(int)s); }

static struct flow *flow_new(size_t bytes) {
    struct flow *f = bench_alloc(sizeof *f);
    f->bytes = bytes;
    sem_init(&f->all, 0, 0);
    return f;
}

static void flow_got(struct flow *f) {
    if (++f->got == atomic_load_explicit(&f->wanted, memory_order_acquire)) sem_post(&f->all);
}

static void flow_want(struct flow *f, size_t times) { atomic_store(&f->wanted, f->sent + times * RUN); }

static void flow_wait(struct flow *f) {
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 60;
    if (sem_timedwait(&f->all, &limit) == 0) return;
    fprintf(stderr, "bench: some of %llu messages never came\n", (unsigned long long)f->sent);
    exit(2);
}

static void raw_message(natsConnection *nc, natsSubscription *sub, natsMsg *message, void *closure) {
    (void)nc, (void)sub;
    natsMsg_Destroy(message);
    flow_got(closure);
}

static struct flow *raw_open(size_t bytes) {
    struct flow *f = flow_new(bytes);
    nats_ok(natsConnection_ConnectTo(&f->out, url));
    nats_ok(natsConnection_ConnectTo(&f->in, url));
    nats_ok(natsConnection_Subscribe(&f->sub, f->in, "raw.bench.topic", raw_message, f));
    nats_ok(natsSubscription_SetPendingLimits(f->sub, -1, -1));
    nats_ok(natsConnection_Flush(f->in));
    return f;
}

static void raw_run(void *state, size_t times) {
    struct flow *f = state;
    flow_want(f, times);
    for (size_t i = 0; i < times * RUN; i++)
        nats_ok(natsConnection_Publish(f->out, "raw.bench.topic", f->data, (int)f->bytes));
    f->sent += times * RUN;
    flow_wait(f);
}

static void raw_close(struct flow *f) {
    natsSubscription_Destroy(f->sub);
    natsConnection_Destroy(f->out);
    natsConnection_Destroy(f->in);
    free(f);
}

static int mtaio_message_came(int result, mtaio_message *message, void *ctx) {
    if (result < 0) return 0;
    mtaio_message_clear(message);
    flow_got(ctx);
    return 1;
}

static struct flow *mtaio_open(size_t bytes, bool pack) {
    const char *const all[] = {"*", NULL}, *prefix = pack ? "packs" : "mt";
    struct flow *f = flow_new(bytes);
    for (int i = 0; i < 2; i++) {
        bench_ok(mtaio_channel_new(NULL, &f->channel[i]));
        bench_ok(mtaio_nats_open(MTAIO_NATS_OPTIONS(.servers = url), &f->nats[i]));
    }
    bench_ok(mtaio_subscribe(f->channel[1], NULL, &f->subscriber));
    bench_ok(mtaio_subscriber_receive_async(f->subscriber,
                                            MTAIO_RECEIVER(.call = mtaio_message_came, .ctx = f), NULL));
    bench_ok(mtaio_nats_bind(f->nats[0], f->channel[0],
                             MTAIO_NATS_BINDING_OPTIONS(.prefix = prefix, .send = all, .pack = pack),
                             &f->binding[0]));
    bench_ok(mtaio_nats_bind(f->nats[1], f->channel[1],
                             MTAIO_NATS_BINDING_OPTIONS(.prefix = prefix, .take = all), &f->binding[1]));
    return f;
}

static void mtaio_run(void *state, size_t times) {
    struct flow *f = state;
    flow_want(f, times);
    for (size_t i = 0; i < times * RUN; i++)
        bench_ok(mtaio_publish(f->channel[0], "bench.topic", f->data, f->bytes));
    f->sent += times * RUN;
    flow_wait(f);
}

static void mtaio_close(struct flow *f) {
    for (int i = 0; i < 2; i++) {
        mtaio_nats_close(f->nats[i], -1);
        mtaio_nats_binding_unref(f->binding[i]);
        mtaio_nats_unref(f->nats[i]);
    }
    mtaio_subscriber_unref(f->subscriber);
    for (int i = 0; i < 2; i++) mtaio_channel_unref(f->channel[i]);
    free(f);
}

static void flow_case(const char *name, size_t bytes) {
    if (!bench_wanted(name)) return;
    bench_side sides[] = {{.who = "nats.c",
                           .variant = "",
                           .state = raw_open(bytes),
                           .run = raw_run,
                           .unit = RUN,
                           .outside = true},
                          {.who = "mtaio",
                           .variant = "",
                           .state = mtaio_open(bytes, false),
                           .run = mtaio_run,
                           .unit = RUN,
                           .outside = true},
                          {.who = "mtaio",
                           .variant = "packs",
                           .state = mtaio_open(bytes, true),
                           .run = mtaio_run,
                           .unit = RUN,
                           .outside = true}};
    bench_case(name, sides, 3);
    raw_close(sides[0].state);
    mtaio_close(sides[1].state);
    mtaio_close(sides[2].state);
}

/* --- Requests ----------------------------------------------------------------------------------------------
 */

static void raw_answer(natsConnection *nc, natsSubscription *sub, natsMsg *message, void *closure) {
    (void)sub, (void)closure;
    natsConnection_Publish(nc, natsMsg_GetReply(message), natsMsg_GetData(message),
                           natsMsg_GetDataLength(message));
    natsMsg_Destroy(message);
}

static void mtaio_answer(mtaio_nats_request *request, void *ctx) {
    (void)ctx;
    mtaio_nats_respond(request, mtaio_nats_request_data(request), mtaio_nats_request_bytes(request));
    mtaio_nats_request_unref(request);
}

struct asking {
    natsConnection *asks, *answers;
    natsSubscription *sub;
    mtaio_nats *nats[2];
    mtaio_channel *channel;
    mtaio_nats_binding *binding[2];
};

static struct asking *asking_open(void) {
    const char *const none[] = {"none", NULL};
    struct asking *a = bench_alloc(sizeof *a);
    natsOptions *o = NULL;
    nats_ok(natsOptions_Create(&o));
    nats_ok(natsOptions_SetURL(o, url));
    nats_ok(natsOptions_SetSendAsap(o, true));
    nats_ok(natsConnection_Connect(&a->asks, o));
    nats_ok(natsConnection_Connect(&a->answers, o));
    natsOptions_Destroy(o);
    nats_ok(natsConnection_Subscribe(&a->sub, a->answers, "raw.ask.it", raw_answer, NULL));
    nats_ok(natsConnection_Flush(a->answers));
    bench_ok(mtaio_channel_new(NULL, &a->channel));
    for (int i = 0; i < 2; i++) {
        bench_ok(mtaio_nats_open(MTAIO_NATS_OPTIONS(.servers = url, .send_asap = true), &a->nats[i]));
        bench_ok(mtaio_nats_bind(a->nats[i], a->channel,
                                 MTAIO_NATS_BINDING_OPTIONS(.prefix = "mt", .send = none), &a->binding[i]));
    }
    bench_ok(mtaio_nats_serve(a->binding[1], "ask.*", MTAIO_NATS_SERVER(.call = mtaio_answer)));
    return a;
}

static void asking_close(struct asking *a) {
    for (int i = 0; i < 2; i++) {
        mtaio_nats_close(a->nats[i], -1);
        mtaio_nats_binding_unref(a->binding[i]);
        mtaio_nats_unref(a->nats[i]);
    }
    mtaio_channel_unref(a->channel);
    natsSubscription_Destroy(a->sub);
    natsConnection_Destroy(a->asks);
    natsConnection_Destroy(a->answers);
    free(a);
}

static void ask_raw(struct asking *a, const char *data) {
    natsMsg *reply = NULL;
    nats_ok(natsConnection_Request(&reply, a->asks, "raw.ask.it", data, 16, 5000));
    natsMsg_Destroy(reply);
}

static void ask_mtaio(struct asking *a, const char *data) {
    mtaio_nats_reply *reply = NULL;
    bench_ok(mtaio_nats_ask(a->binding[0], "ask.it", data, 16, -1, &reply));
    mtaio_nats_reply_unref(reply);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* One after another in turn, so that whatever else happens hits both alike; the middle one of each counts. */
static void request_case(void) {
    enum { TIMES = 4000, BEFORE = 200 };
    const char data[16] = "";
    if (!bench_wanted("nats request")) return;
    struct asking *a = asking_open();
    double *took[2] = {bench_alloc(TIMES * sizeof(double)), bench_alloc(TIMES * sizeof(double))};
    for (int i = -BEFORE; i < TIMES; i++) {
        for (int k = 0; k < 2; k++) {
            double start = bench_now_ns();
            (k == 0 ? ask_raw : ask_mtaio)(a, data);
            if (i >= 0) took[k][i] = bench_now_ns() - start;
        }
    }
    for (int k = 0; k < 2; k++) {
        qsort(took[k], TIMES, sizeof(double), by_value);
        bench_value("nats request", k == 0 ? "nats.c" : "mtaio", "p50", took[k][TIMES / 2], "ns");
        bench_value("nats request", k == 0 ? "nats.c" : "mtaio", "p99", took[k][TIMES / 100 * 99], "ns");
        free(took[k]);
    }
    asking_close(a);
}

int main(int argc, char **argv) {
    cpu_set_t all;
    sched_getaffinity(0, sizeof all, &all);
    bench_init(argc, argv);
    sched_setaffinity(0, sizeof all,
                      &all); /* the threads of the client library, and the server, where they may */
    char directory[] = "/tmp/mtaio-bench-XXXXXX", command[64];
    if (!mkdtemp(directory)) return 2;
    pid_t server = server_start(directory);
    if (server < 0) {
        fprintf(stderr, "bench: no nats-server\n");
        return bench_end();
    }
    flow_case("nats one to one/16", 16);
    flow_case("nats one to one/128", 128);
    flow_case("nats one to one/1024", 1024);
    request_case();
    stream_cases(url);
    kill(server, SIGKILL);
    waitpid(server, NULL, 0);
    snprintf(command, sizeof command, "rm -rf '%s'", directory);
    bench_ok(system(command));
    nats_Close();
    return bench_end();
}
