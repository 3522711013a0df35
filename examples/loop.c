/* loop.c - a loop of your own as an executor: here one that polls a pipe, through which jobs come. */
#define _POSIX_C_SOURCE 200809L
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include "check.h"

struct loop {
    int read_end, write_end;
    pthread_t thread;
};

static int post(mtaio_job *job, void *ctx) { /* from any thread */
    struct loop *loop = ctx;

    return write(loop->write_end, &job, sizeof job) == sizeof job ? 0 : MTAIO_ESYSTEM;
}

static bool is_current(void *ctx) { return pthread_equal(pthread_self(), ((struct loop *)ctx)->thread) != 0; }

static int handle(mtaio_event *event, void *ctx) {
    printf("%s, %s\n", (const char *)mtaio_event_data(event),
           is_current(ctx) ? "on the loop's thread" : "somewhere else");
    return 0;
}

static void *emit_from_a_thread(void *arg) {
    check(mtaio_emit(arg, "event", "from another thread")); /* waits until the loop has run the handler */
    check(mtaio_emit(arg, "quit", NULL));
    return NULL;
}

static int quit(mtaio_event *event, void *ctx) {
    (void)event;
    *(bool *)ctx = true;
    return 0;
}

int main(void) {
    int ends[2];
    struct loop loop;
    mtaio_executor *executor;
    mtaio_emitter *emitter;
    mtaio_job *job;
    pthread_t thread;
    bool over = false;

    check(pipe(ends) == 0 ? 0 : MTAIO_ESYSTEM);
    loop = (struct loop){ends[0], ends[1], pthread_self()};
    check(mtaio_executor_new(MTAIO_LOOP(.post = post, .is_current = is_current, .ctx = &loop), &executor));
    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_emitter_on(emitter, "event",
                           MTAIO_HANDLER(.call = handle, .ctx = &loop, .executor = executor), NULL));
    check(mtaio_emitter_on(emitter, "quit", MTAIO_HANDLER(.call = quit, .ctx = &over, .executor = executor),
                           NULL));

    check(mtaio_emit(emitter, "event", "from the loop itself")); /* does not wait for itself */
    check(pthread_create(&thread, NULL, emit_from_a_thread, emitter) == 0 ? 0 : MTAIO_ESYSTEM);
    while (!over && poll(&(struct pollfd){.fd = loop.read_end, .events = POLLIN}, 1, -1) > 0)
        if (read(loop.read_end, &job, sizeof job) == sizeof job)
            mtaio_job_run(job);
    pthread_join(thread, NULL);

    mtaio_emitter_unref(emitter);
    mtaio_executor_unref(executor);
    return close(ends[0]) | close(ends[1]);
}
