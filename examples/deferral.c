/* deferral.c - a handler that cannot finish now: another thread does, and the emission goes on from there. */
#include <pthread.h>

#include "check.h"

static void *answer_later(void *arg) {
    mtaio_deferral *deferral = arg;
    int *number = mtaio_event_data(mtaio_deferral_event(deferral)); /* valid until it is completed */

    *number *= 2;
    puts("the answer is found");
    mtaio_deferral_complete(deferral, 0); /* 0: the handler succeeded */
    mtaio_deferral_unref(deferral);
    return NULL;
}

static int ask(mtaio_event *event, void *ctx) {
    pthread_t *thread = ctx;
    mtaio_deferral *deferral;
    int r = mtaio_event_defer(event, &deferral);

    if (r < 0)
        return r;
    puts("asking");
    if (pthread_create(thread, NULL, answer_later, deferral) == 0)
        return 0;
    mtaio_deferral_complete(deferral, MTAIO_ESYSTEM);
    mtaio_deferral_unref(deferral);
    return 0;
}

static int show(mtaio_event *event, void *ctx) {
    (void)ctx;
    printf("it is %d\n", *(int *)mtaio_event_data(event));
    return 0;
}

int main(void) {
    mtaio_emitter *emitter;
    pthread_t thread;
    int number = 21;

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_on(emitter, "question", ask, &thread));
    check(mtaio_on(emitter, "question", show, NULL)); /* begins when ask is completed */
    check(mtaio_emit(emitter, "question", &number));  /* waits for all of that */
    puts("over");

    pthread_join(thread, NULL);
    mtaio_emitter_unref(emitter);
    return 0;
}
