/* epoll_loop.c - a loop of epoll that serves both sides: an executor, whose jobs come through a pipe, and a
 * subscriber's descriptor. Everything that is printed is printed on the loop's one thread. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "check.h"

struct loop {
    int epoll, jobs[2];
    pthread_t thread;
};

static int post(mtaio_job *job, void *ctx) { /* from any thread */
    struct loop *loop = ctx;

    return write(loop->jobs[1], &job, sizeof job) == sizeof job ? 0 : MTAIO_ESYSTEM;
}

static bool is_current(void *ctx) { return pthread_equal(pthread_self(), ((struct loop *)ctx)->thread) != 0; }

static void watch(struct loop *loop, int fd) {
    check(fd);
    check(epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.fd = fd}));
}

/* Takes what is there, and does not wait. ECLOSED: that was all there will be. */
static int receive(mtaio_subscriber *subscriber) {
    mtaio_message message;
    int r;

    while ((r = mtaio_subscriber_receive(subscriber, 0, &message)) >= 0) {
        printf("message %s: %s\n", mtaio_message_topic(&message), (const char *)mtaio_message_data(&message));
        mtaio_message_clear(&message);
    }
    return r;
}

static void run(struct loop *loop, mtaio_subscriber *subscriber) {
    struct epoll_event event;
    mtaio_job *job;

    for (int r = 0; r != MTAIO_ECLOSED && epoll_wait(loop->epoll, &event, 1, -1) > 0;) {
        if (event.data.fd != loop->jobs[0])
            r = receive(subscriber);
        else if (read(loop->jobs[0], &job, sizeof job) == sizeof job)
            mtaio_job_run(job);
    }
}

static int handle(mtaio_event *event, void *ctx) {
    printf("event %s, %s\n", mtaio_event_name(event), is_current(ctx) ? "in the loop" : "somewhere else");
    return 0;
}

struct sides {
    mtaio_emitter *emitter;
    mtaio_channel *channel;
};

static void *work(void *arg) {
    struct sides *sides = arg;

    check(mtaio_emit(sides->emitter, "work.begun", NULL)); /* waits until the loop has run the handler */
    check(mtaio_publish(sides->channel, "work.result", "42", sizeof "42"));
    check(mtaio_channel_close(sides->channel));
    return NULL;
}

int main(void) {
    struct loop loop = {.epoll = epoll_create1(EPOLL_CLOEXEC), .thread = pthread_self()};
    struct sides sides;
    mtaio_executor *executor;
    mtaio_subscriber *subscriber;
    pthread_t thread;

    check(pipe(loop.jobs));
    watch(&loop, loop.jobs[0]);
    check(mtaio_executor_new(MTAIO_LOOP(.post = post, .is_current = is_current, .ctx = &loop), &executor));
    check(mtaio_emitter_new(NULL, &sides.emitter));
    check(mtaio_emitter_on(sides.emitter, "work.*",
                           MTAIO_HANDLER(.call = handle, .ctx = &loop, .executor = executor), NULL));
    check(mtaio_channel_new(NULL, &sides.channel));
    check(mtaio_subscribe(sides.channel, "work.*", &subscriber));
    watch(&loop, mtaio_subscriber_fd(subscriber));

    check(-pthread_create(&thread, NULL, work, &sides));
    run(&loop, subscriber);
    pthread_join(thread, NULL);

    mtaio_subscriber_unref(subscriber);
    mtaio_channel_unref(sides.channel);
    mtaio_emitter_unref(sides.emitter);
    mtaio_executor_unref(executor);
    return close(loop.jobs[0]) | close(loop.jobs[1]) | close(loop.epoll);
}
