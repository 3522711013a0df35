/* held.c - decoded data that is on a channel: its release is given the pointer alone, and has to find the
 * delivery that is over now.
 *
 * Several deliveries may have one pointer, which a codec has decoded to the same object. Which of them was
 * released cannot be told then: so none is acknowledged before all are. */
#include <stdlib.h>

#include "stream_inner.h"

enum { HELD_BUCKETS = 1024 };

struct held {
    struct held *next;
    const void *data;
    mtaio_release release;
    struct delivery *delivery;
    bool is_released;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct held *buckets[HELD_BUCKETS];

static struct held **bucket_of(const void *data) {
    return &buckets[((uintptr_t)data >> 4 ^ (uintptr_t)data >> 14) % HELD_BUCKETS];
}

int mtaio__held_add(const void *data, mtaio_release release, struct delivery *d) {
    struct held *h = malloc(sizeof *h), **bucket = bucket_of(data);
    if (!h) return MTAIO_ENOMEM;
    *h = (struct held){.data = data, .release = release, .delivery = d};
    mtaio__delivery_hold(d);
    pthread_mutex_lock(&lock);
    h->next = *bucket;
    *bucket = h;
    pthread_mutex_unlock(&lock);
    return 0;
}

/* One of the data's: its release; ret_left: whether others are not released. */
static mtaio_release release_one_locked(struct held **bucket, const void *data, bool *ret_left) {
    struct held *one = NULL;
    *ret_left = false;
    for (struct held *h = *bucket; h; h = h->next) {
        if (h->data != data || h->is_released) continue;
        *ret_left = one != NULL;
        if (one) break;
        one = h;
    }
    if (!one) return NULL;
    one->is_released = true;
    return one->release;
}

static struct held *take_all_locked(struct held **at, const void *data) {
    struct held *all = NULL;
    for (struct held *h; (h = *at);) {
        if (h->data != data) {
            at = &h->next;
            continue;
        }
        *at = h->next;
        h->next = all;
        all = h;
    }
    return all;
}

void mtaio__held_release(void *data) {
    struct held **bucket = bucket_of(data);
    bool left;
    pthread_mutex_lock(&lock);
    mtaio_release release = release_one_locked(bucket, data, &left);
    struct held *all = left ? NULL : take_all_locked(bucket, data), *next;
    pthread_mutex_unlock(&lock);
    if (release) release(data);
    for (; all; all = next) {
        next = all->next;
        mtaio__delivery_acknowledge(all->delivery);
        mtaio__delivery_drop(all->delivery);
        free(all);
    }
}

void mtaio__held_forget(const void *data, struct delivery *d) {
    struct held **at = bucket_of(data);
    pthread_mutex_lock(&lock);
    while ((*at)->delivery != d) at = &(*at)->next;
    struct held *h = *at;
    *at = h->next;
    pthread_mutex_unlock(&lock);
    h->release((void *)(uintptr_t)data);
    mtaio__delivery_drop(d);
    free(h);
}
