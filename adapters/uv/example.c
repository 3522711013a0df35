/* example.c - a libuv loop that has a handler, a receiver and a timer in it; events and messages come from
 * another thread. Everything that is printed is printed on the loop's thread. */
#define _POSIX_C_SOURCE 200809L /* for uv.h */
#include <mtaio/uv.h>
#include <stdio.h>
#include <stdlib.h>

static void check(int result) {
    if (result < 0) {
        fprintf(stderr, "%s\n", mtaio_error_text(result));
        exit(EXIT_FAILURE);
    }
}

struct program {
    mtaio_emitter *emitter;
    mtaio_channel *channel;
    mtaio_uv *uv;
    mtaio_uv_timer *timer;
    int ticks;
};

static int handle(mtaio_event *event, void *ctx) {
    struct program *p = ctx;

    printf("event %s, in the loop: %s\n", mtaio_event_name(event),
           mtaio_executor_is_current(mtaio_uv_executor(p->uv)) ? "yes" : "no");
    return 0;
}

static int receive(int result, mtaio_message *message, void *ctx) {
    struct program *p = ctx;

    if (result < 0) { /* the channel is closed, and everything was received: nothing is left to do */
        puts("the end");
        check(mtaio_uv_close(p->uv, NULL, NULL));
        return 0;
    }
    printf("message %s: %s\n", mtaio_message_topic(message), (const char *)mtaio_message_data(message));
    mtaio_message_clear(message);
    return 1;
}

static void work(void *arg) {
    struct program *p = arg;

    check(mtaio_emit(p->emitter, "work.begun", NULL)); /* waits until the loop has run the handler */
    check(mtaio_publish(p->channel, "work.result", "42", sizeof "42"));
    check(mtaio_channel_close(p->channel));
}

/* Every 10 ms; the third time it starts the thread and ends. */
static int tick(mtaio_event *event, void *ctx) {
    struct program *p = ctx;
    uv_thread_t *thread = mtaio_event_data(event);

    printf("tick %d\n", ++p->ticks);
    if (p->ticks < 3)
        return 0;
    check(mtaio_uv_timer_cancel(p->timer));
    return uv_thread_create(thread, work, p) == 0 ? 0 : MTAIO_ESYSTEM;
}

int main(void) {
    uv_loop_t *loop = uv_default_loop();
    uv_thread_t thread;
    mtaio_executor *executor;
    mtaio_subscriber *subscriber;
    mtaio_event *event;
    struct program p = {.ticks = 0};

    check(mtaio_uv_new(loop, &p.uv));
    check(mtaio_emitter_new(NULL, &p.emitter));
    check(mtaio_channel_new(NULL, &p.channel));
    executor = mtaio_uv_executor(p.uv);
    check(mtaio_emitter_on(p.emitter, "work.*",
                           MTAIO_HANDLER(.call = handle, .ctx = &p, .executor = executor), NULL));
    check(mtaio_subscribe(p.channel, "work.*", &subscriber));
    check(mtaio_subscriber_receive_async(
        subscriber, MTAIO_RECEIVER(.call = receive, .ctx = &p, .executor = executor), NULL));
    check(mtaio_on(p.emitter, "tick", tick, &p));
    check(mtaio_event_new("tick", &thread, NULL, &event));
    check(mtaio_uv_emit_periodic(p.uv, p.emitter, event, 10 * 1000000, &p.timer));

    uv_run(loop, UV_RUN_DEFAULT);

    uv_thread_join(&thread);
    mtaio_uv_timer_unref(p.timer);
    mtaio_event_unref(event);
    mtaio_subscriber_unref(subscriber);
    mtaio_channel_unref(p.channel);
    mtaio_emitter_unref(p.emitter);
    mtaio_uv_unref(p.uv);
    return uv_loop_close(loop) == 0 ? 0 : 1;
}
