/* takers.h - receivers without a thread: calls that write down what they are given. */
#ifndef MTAIO_TESTS_TAKERS_H
#define MTAIO_TESTS_TAKERS_H

#include "channels.h"

/* Notes what it is given, with its tag; ends after `times` messages. */
struct taker {
    const char *tag;
    unsigned times;                  /* 0: for ever */
    int last;                        /* what it answers at its end, 0 or negative */
    void (*act)(struct taker *self); /* after each message */
    mtaio_channel *ch;
    mtaio_subscriber *sub;
    mtaio_pending *pending;
    mtaio_message *keep; /* where to move the message to */
    unsigned calls, gone;
    int inside;
};

static inline int take(int result, mtaio_message *message, void *ctx) {
    struct taker *t = ctx;
    unlocked();
    CHECK(t->gone == 0);
    CHECK(t->inside++ == 0); /* "one after another" */
    note("%s", t->tag);
    if (result < 0) {
        note("%s", mtaio_error_name(result) + strlen("MTAIO_"));
        CHECK(message == NULL);
        t->inside--;
        return 1; /* it is the last call all the same */
    }
    note_message(message);
    if (t->keep != NULL)
        *t->keep = *message;
    else
        mtaio_message_clear(message);
    t->calls++;
    if (t->act != NULL) t->act(t);
    t->inside--;
    return t->calls != t->times ? 1 : t->last;
}

static inline void taker_gone(void *ctx) {
    struct taker *t = ctx;
    unlocked();
    CHECK(t->gone++ == 0 && t->inside == 0);
    note("~%s", t->tag);
}

static inline void begin_taking_on(mtaio_subscriber *sub, struct taker *t, mtaio_executor *executor) {
    OK(mtaio_subscriber_receive_async(
        sub, MTAIO_RECEIVER(.call = take, .destroy = taker_gone, .ctx = t, .executor = executor),
        &t->pending));
    assert_non_null(t->pending);
}
static inline void begin_taking(mtaio_subscriber *sub, struct taker *t) { begin_taking_on(sub, t, NULL); }

#endif
