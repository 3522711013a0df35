/* publishers.h - what the tests of publishers share. */
#ifndef MTAIO_TESTS_PUBLISHERS_H
#define MTAIO_TESTS_PUBLISHERS_H

#include "channels.h"

static inline mtaio_publisher *publisher_with(mtaio_channel *ch, const mtaio_publisher_options *options) {
    mtaio_publisher *p = NULL;
    OK(mtaio_publisher_new(ch, options, &p));
    assert_non_null(p);
    return p;
}

static inline int give_to(mtaio_publisher *p, const char *topic, const char *text, int64_t timeout_ns) {
    return mtaio_publisher_publish(
        p, MTAIO_PUBLICATION(.topic = topic, .data = text, .bytes = strlen(text) + 1), timeout_ns);
}
static inline int give(mtaio_publisher *p, const char *text, int64_t timeout_ns) {
    return give_to(p, NULL, text, timeout_ns);
}
/* Each letter is a message, which is only gathered. */
static inline void gather(mtaio_publisher *p, const char *letters) {
    for (; *letters != '\0'; letters++) {
        const char text[2] = {*letters, '\0'};
        assert_int_equal(give(p, text, 0), 0);
    }
}
static inline int give_payload(mtaio_publisher *p, struct payload *payload, int64_t timeout_ns) {
    return mtaio_publisher_publish(
        p, MTAIO_PUBLICATION(.data = payload->text, .bytes = 2, .release = release_payload), timeout_ns);
}

/* For call_begin. */
static inline int run_flush(void *p) { return mtaio_publisher_flush(p, -1); }

/* What failed is noted: "topic:text:EAGAIN". */
struct failures {
    atomic_int count, gone;
};
static inline void note_failed(int error, const mtaio_publication *p, void *ctx) {
    unlocked();
    note("%s:%s:%s", p->topic != NULL ? p->topic : "", (const char *)p->data, mtaio_error_name(error) + 6);
    atomic_fetch_add(&((struct failures *)ctx)->count, 1);
}
static inline void failures_gone(void *ctx) {
    unlocked();
    CHECK(atomic_fetch_add(&((struct failures *)ctx)->gone, 1) == 0);
}

/* The timers' thread ends with the last timer, and frees what it had, a little later. */
#define EVENTUALLY_FREED() EVENTUALLY(support_live_blocks() == blocks_before)

#endif
