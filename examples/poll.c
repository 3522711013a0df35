/* poll.c - subscribers in a poll loop: each has a descriptor, readable while there is something to receive. */
#define _POSIX_C_SOURCE 200809L
#include <poll.h>
#include <pthread.h>
#include <string.h>

#include "check.h"

enum { TEMPERATURES, ALARMS, SUBSCRIBERS };

static void *measure(void *channel) { /* another thread publishes */
    for (int degrees = 18; degrees < 22; degrees++) {
        check(mtaio_publish(channel, "temperature", &degrees, sizeof degrees));
        if (degrees > 20)
            check(mtaio_publish(channel, "alarm", "too hot", sizeof "too hot"));
    }
    mtaio_channel_close(channel); /* wakes who polls, too */
    return NULL;
}

/* What is there, without waiting. ECLOSED once everything was received. */
static int receive_all(mtaio_subscriber *subscriber, int *sum) {
    mtaio_message message;
    int result, degrees;

    while ((result = mtaio_subscriber_receive(subscriber, 0, &message)) == 0) {
        if (strcmp(mtaio_message_topic(&message), "alarm") == 0) {
            printf("alarm: %s\n", (const char *)mtaio_message_data(&message));
        } else {
            memcpy(&degrees, mtaio_message_data(&message), sizeof degrees);
            *sum += degrees;
        }
        mtaio_message_clear(&message);
    }
    return result;
}

int main(void) {
    mtaio_channel *channel;
    mtaio_subscriber *subscribers[SUBSCRIBERS];
    struct pollfd fds[SUBSCRIBERS];
    pthread_t thread;
    int open = SUBSCRIBERS, sum = 0;

    check(mtaio_channel_new(NULL, &channel));
    check(mtaio_subscribe(channel, "temperature", &subscribers[TEMPERATURES]));
    check(mtaio_subscribe(channel, "alarm", &subscribers[ALARMS]));
    for (int i = 0; i < SUBSCRIBERS; i++)
        fds[i] = (struct pollfd){.fd = check(mtaio_subscriber_fd(subscribers[i])), .events = POLLIN};
    check(pthread_create(&thread, NULL, measure, channel) == 0 ? 0 : MTAIO_ESYSTEM);

    while (open > 0 && poll(fds, SUBSCRIBERS, -1) > 0)
        for (int i = 0; i < SUBSCRIBERS; i++)
            if (fds[i].revents & POLLIN && receive_all(subscribers[i], &sum) == MTAIO_ECLOSED) {
                fds[i].fd = -1; /* it would be readable for ever */
                open--;
            }
    printf("%d degrees in all\n", sum);

    pthread_join(thread, NULL);
    for (int i = 0; i < SUBSCRIBERS; i++)
        mtaio_subscriber_unref(subscribers[i]);
    mtaio_channel_unref(channel);
    return 0;
}
