/* pool.c - a slow handler runs on a thread pool, while this thread emits on. */
#define _POSIX_C_SOURCE 200809L
#include <time.h>

#include "check.h"

static int resize(mtaio_event *event, void *ctx) {
    int *size = mtaio_event_data(event);

    (void)ctx;
    nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL); /* hard work */
    *size /= 2;
    return 0;
}

static void done(int result, const mtaio_report *report, void *ctx) {
    (void)report;
    *(int *)ctx = result; /* on a thread of the pool; here each emission has a place of its own */
}

int main(void) {
    enum { PICTURES = 8 };
    mtaio_emitter *emitter;
    mtaio_executor *pool;
    mtaio_event *event;
    int sizes[PICTURES], results[PICTURES] = {0}, succeeded = 0, sum = 0;

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_pool_new(4, 0, &pool));
    check(mtaio_emitter_on(emitter, "picture", MTAIO_HANDLER(.call = resize, .executor = pool), NULL));

    for (int i = 0; i < PICTURES; i++) {
        sizes[i] = 100 * (i + 1);
        check(mtaio_event_new("picture", &sizes[i], NULL, &event));
        check(mtaio_emit_async(emitter, event, MTAIO_ASYNC(.done = done, .ctx = &results[i])));
        mtaio_event_unref(event);
    }
    mtaio_executor_close(pool); /* does what is queued, and returns when it is done */
    for (int i = 0; i < PICTURES; i++) {
        succeeded += results[i] == 1; /* one handler was called */
        sum += sizes[i];
    }
    printf("%d pictures, %d pixels in all\n", succeeded, sum);

    mtaio_executor_unref(pool);
    mtaio_emitter_unref(emitter);
    return 0;
}
