/* example.c - a main context of GLib that has a handler, a receiver and a timer in it; events and messages
 * come from another thread. Everything that is printed is printed on the thread of the context. */
#include <mtaio/glib.h>
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
    mtaio_glib *glib;
    GMainLoop *loop;
    GThread *thread;
    mtaio_glib_timer *timer;
    int ticks;
};

static int handle(mtaio_event *event, void *ctx) {
    struct program *p = ctx;

    printf("event %s, in the loop: %s\n", mtaio_event_name(event),
           mtaio_executor_is_current(mtaio_glib_executor(p->glib)) ? "yes" : "no");
    return 0;
}

static int receive(int result, mtaio_message *message, void *ctx) {
    struct program *p = ctx;

    if (result < 0) { /* the channel is closed, and everything was received: nothing is left to do */
        puts("the end");
        g_main_loop_quit(p->loop);
        return 0;
    }
    printf("message %s: %s\n", mtaio_message_topic(message), (const char *)mtaio_message_data(message));
    mtaio_message_clear(message);
    return 1;
}

static void *work(void *arg) {
    struct program *p = arg;

    check(mtaio_emit(p->emitter, "work.begun", NULL)); /* waits until the loop has run the handler */
    check(mtaio_publish(p->channel, "work.result", "42", sizeof "42"));
    check(mtaio_channel_close(p->channel));
    return NULL;
}

/* Every 10 ms; the third time it starts the thread and ends. */
static int tick(mtaio_event *event, void *ctx) {
    struct program *p = ctx;

    (void)event;
    printf("tick %d\n", ++p->ticks);
    if (p->ticks < 3)
        return 0;
    check(mtaio_glib_timer_cancel(p->timer));
    p->thread = g_thread_new("work", work, p);
    return 0;
}

int main(void) {
    mtaio_executor *executor;
    mtaio_subscriber *subscriber;
    mtaio_event *event;
    struct program p = {.loop = g_main_loop_new(NULL, FALSE)};

    check(mtaio_glib_new(NULL, G_PRIORITY_DEFAULT, &p.glib));
    check(mtaio_emitter_new(NULL, &p.emitter));
    check(mtaio_channel_new(NULL, &p.channel));
    executor = mtaio_glib_executor(p.glib);
    check(mtaio_emitter_on(p.emitter, "work.*",
                           MTAIO_HANDLER(.call = handle, .ctx = &p, .executor = executor), NULL));
    check(mtaio_subscribe(p.channel, "work.*", &subscriber));
    check(mtaio_subscriber_receive_async(
        subscriber, MTAIO_RECEIVER(.call = receive, .ctx = &p, .executor = executor), NULL));
    check(mtaio_on(p.emitter, "tick", tick, &p));
    check(mtaio_event_new("tick", NULL, NULL, &event));
    check(mtaio_glib_emit_periodic(p.glib, p.emitter, event, 10 * 1000000, &p.timer));

    g_main_loop_run(p.loop);

    g_thread_join(p.thread);
    mtaio_glib_timer_unref(p.timer);
    mtaio_event_unref(event);
    mtaio_subscriber_unref(subscriber);
    mtaio_channel_unref(p.channel);
    mtaio_emitter_unref(p.emitter);
    mtaio_glib_unref(p.glib);
    g_main_loop_unref(p.loop);
    return 0;
}
