/* channels.c - messages are published on one thread and received on another, with plain malloc: for
 * sanitizers that look at every access. Exits with 0 where all is well. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <mtaio/mtaio.h>

enum { MESSAGES = 20000 };

/* In order, each once. */
static void *receive(void *sub) {
    mtaio_message m;
    uint32_t n, expected = 0;
    while (mtaio_receive(sub, &m) == 0) {
        memcpy(&n, mtaio_message_data(&m), sizeof n);
        mtaio_message_clear(&m);
        if (n != expected++) return sub;
    }
    return expected == MESSAGES ? NULL : sub;
}

int main(void) {
    mtaio_channel *ch;
    mtaio_subscriber *sub;
    pthread_t thread;
    void *bad = NULL;
    int r = mtaio_channel_new(MTAIO_CHANNEL_OPTIONS(.buffer_size = 5), &ch);
    if (r < 0 || mtaio_subscribe(ch, NULL, &sub) < 0 || pthread_create(&thread, NULL, receive, sub) != 0)
        return 1;
    for (uint32_t i = 0; i < MESSAGES && r >= 0; i++) r = mtaio_publish(ch, NULL, &i, sizeof i);
    mtaio_channel_close(ch);
    if (pthread_join(thread, &bad) != 0) return 1;
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    if (r < 0 || bad) fprintf(stderr, "channels: a wrong result\n");
    return r < 0 || bad ? 1 : 0;
}
