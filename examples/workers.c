/* workers.c - a pool of workers shares one subscriber: each message goes to one of them, and a small buffer holds
 * the publisher back while all are busy. */
#include <pthread.h>
#include <string.h>

#include "check.h"

enum { WORKERS = 3, NUMBERS = 30 };

struct worker {
    mtaio_subscriber *numbers;
    mtaio_channel *answers;
    pthread_t thread;
};

static int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); } /* hard work */

static void *work(void *arg) {
    const struct worker *worker = arg;
    mtaio_message message;
    int n;

    while (mtaio_receive(worker->numbers, &message) == 0) { /* until the channel is closed, and all is done */
        memcpy(&n, mtaio_message_data(&message), sizeof n);
        mtaio_message_clear(&message);
        n = fibonacci(n);
        check(mtaio_publish(worker->answers, NULL, &n, sizeof n));
    }
    return NULL;
}

int main(void) {
    mtaio_channel *numbers, *answers;
    mtaio_subscriber *shared, *subscriber;
    struct worker workers[WORKERS];
    mtaio_message message;
    int n, count = 0, sum = 0;

    check(mtaio_channel_new(MTAIO_CHANNEL_OPTIONS(.buffer_size = WORKERS), &numbers)); /* then publishing waits */
    check(mtaio_channel_new(NULL, &answers));
    check(mtaio_subscribe(numbers, NULL, &shared));
    check(mtaio_subscribe(answers, NULL, &subscriber));
    for (int i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){.numbers = shared, .answers = answers};
        check(pthread_create(&workers[i].thread, NULL, work, &workers[i]) == 0 ? 0 : MTAIO_ESYSTEM);
    }

    for (int i = 0; i < NUMBERS; i++) {
        n = i % 20;
        check(mtaio_publish(numbers, NULL, &n, sizeof n));
    }
    mtaio_channel_close(numbers);
    for (int i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);

    mtaio_channel_close(answers);
    for (; mtaio_receive(subscriber, &message) == 0; count++) {
        memcpy(&n, mtaio_message_data(&message), sizeof n);
        mtaio_message_clear(&message);
        sum += n;
    }
    printf("%d answers, %d in all\n", count, sum);

    mtaio_subscriber_unref(shared);
    mtaio_subscriber_unref(subscriber);
    mtaio_channel_unref(numbers);
    mtaio_channel_unref(answers);
    return 0;
}
