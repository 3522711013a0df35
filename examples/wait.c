/* wait.c - waiting for an event that fulfils a condition, with a time limit. */
#define _POSIX_C_SOURCE 200809L
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "check.h"

static atomic_bool heard;

static void *emit_temperatures(void *arg) {
    static int degrees[] = {18, 19, 23, 20};

    while (!atomic_load(&heard)) { /* the waiting thread may not be listening yet */
        for (size_t i = 0; i < sizeof degrees / sizeof degrees[0]; i++)
            check(mtaio_emit(arg, "temperature", &degrees[i]));
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return NULL;
}

static bool is_warm(const mtaio_event *event, void *ctx) {
    (void)ctx;
    return *(int *)mtaio_event_data(event) > 20;
}

int main(void) {
    mtaio_emitter *emitter;
    mtaio_event *event;
    pthread_t thread;
    int r;

    check(mtaio_emitter_new(NULL, &emitter));
    check(pthread_create(&thread, NULL, emit_temperatures, emitter) == 0 ? 0 : MTAIO_ESYSTEM);

    check(mtaio_emitter_wait(emitter, "temperature", is_warm, NULL, 10000000000, &event));
    printf("it is warm: %d degrees\n", *(int *)mtaio_event_data(event));
    mtaio_event_unref(event);
    atomic_store(&heard, true);
    pthread_join(thread, NULL);

    r = mtaio_emitter_wait(emitter, "temperature", NULL, NULL, 1000000, &event);
    printf("%s\n", mtaio_error_text(r));

    mtaio_emitter_unref(emitter);
    return 0;
}
