/* timer.c - a function called later, or again and again, and an event emitted later. */
#include "check.h"

#include <pthread.h>

/* What the timers' thread tells the main one. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int ticks, reminders;

static void add(int *number) {
    pthread_mutex_lock(&lock);
    ++*number;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

static void wait_for(const int *number, int at_least) {
    pthread_mutex_lock(&lock);
    while (*number < at_least)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static void tick(uint64_t count, void *ctx) {
    (void)ctx; /* count: more than one where the machine is busy */
    while (count-- > 0)
        add(&ticks);
}

static int remind(mtaio_event *event, void *ctx) {
    (void)ctx;
    printf("%s: %s\n", mtaio_event_name(event), (const char *)mtaio_event_data(event));
    add(&reminders);
    return 0;
}

int main(void) {
    const int64_t ms = 1000000;
    mtaio_emitter *emitter;
    mtaio_event *event;
    mtaio_timer *timer;

    check(mtaio_timer_start(MTAIO_TIMER(.delay_ns = 5 * ms, .period_ns = 5 * ms, .call = tick), &timer));
    wait_for(&ticks, 3);
    printf("three ticks, cancelled: %d\n", check(mtaio_timer_cancel_wait(timer)));
    mtaio_timer_unref(timer);

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_on(emitter, "reminder", remind, NULL));
    check(mtaio_event_new("reminder", "tea is ready", NULL, &event));
    check(mtaio_emit_after(emitter, event, 10 * ms, NULL, NULL));
    check(mtaio_emit_after(emitter, event, 3600 * 1000 * ms, NULL, &timer));
    mtaio_event_unref(event);
    wait_for(&reminders, 1);

    check(mtaio_emitter_close(emitter)); /* ends what it was still to emit */
    printf("an hour later: cancelled already, %d\n", check(mtaio_timer_cancel(timer)));
    mtaio_timer_unref(timer);
    mtaio_emitter_unref(emitter);
    return 0;
}
