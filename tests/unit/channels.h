/* channels.h - what the tests of channels share: messages as words of one line, sums as text, calls that
 * wait.
 *
 *     mtaio_subscriber *sub = subscribe(ch, "user.*");
 *     assert_int_equal(publish(ch, "user.login", "ann"), 1);
 *     note_all(sub);
 *     assert_noted("user.login:ann EAGAIN");
 *
 * A message that comes after n missed ones is noted as "(n)word". */
#ifndef MTAIO_TESTS_CHANNELS_H
#define MTAIO_TESTS_CHANNELS_H

#include "record.h"

#include <inttypes.h>

#include "os/os.h"

#define SECOND INT64_C(1000000000)

/* In every function that the library calls: none of its locks is held. Hazard 62. */
static inline void unlocked(void) { CHECK(os_locks_held() == 0); }

/* --- Making ------------------------------------------------------------------------------------ */

static inline mtaio_channel *channel_with(const mtaio_channel_options *options) {
    mtaio_channel *ch = NULL;
    OK(mtaio_channel_new(options, &ch));
    assert_non_null(ch);
    return ch;
}
static inline mtaio_channel *channel_new(void) { return channel_with(NULL); }

static inline mtaio_subscriber *subscribe_with(mtaio_channel *ch, const mtaio_subscription *s) {
    mtaio_subscriber *sub = NULL;
    OK(mtaio_channel_subscribe(ch, s, &sub));
    assert_non_null(sub);
    return sub;
}
static inline mtaio_subscriber *subscribe(mtaio_channel *ch, const char *pattern) {
    mtaio_subscriber *sub = NULL;
    OK(mtaio_subscribe(ch, pattern, &sub));
    assert_non_null(sub);
    return sub;
}
/* With so many places and this policy. */
static inline mtaio_subscriber *subscribe_limited(mtaio_channel *ch, size_t buffer, mtaio_overflow overflow) {
    return subscribe_with(ch, MTAIO_SUBSCRIPTION(.buffer_size = buffer, .overflow = overflow));
}

/* --- Publishing -------------------------------------------------------------------------------- */

static inline int publish(mtaio_channel *ch, const char *topic, const char *text) {
    return mtaio_publish(ch, topic, text, strlen(text) + 1);
}
static inline int publish_for(mtaio_channel *ch, const char *topic, const char *text, int64_t timeout_ns) {
    return mtaio_channel_publish(
        ch, MTAIO_PUBLICATION(.topic = topic, .data = text, .bytes = strlen(text) + 1), timeout_ns);
}
static inline int publish_now(mtaio_channel *ch, const char *topic, const char *text) {
    return publish_for(ch, topic, text, 0);
}

/* A number, as 8 bytes. */
static inline int publish_number(mtaio_channel *ch, uint64_t n, int64_t timeout_ns) {
    return mtaio_channel_publish(ch, MTAIO_PUBLICATION(.data = &n, .bytes = sizeof n), timeout_ns);
}

/* Data that is handed over: says how often it was released. */
struct payload {
    atomic_int released;
    char text[16];
};
static inline void release_payload(void *data) {
    struct payload *p = (struct payload *)((char *)data - offsetof(struct payload, text));
    unlocked();
    CHECK(atomic_fetch_add(&p->released, 1) == 0);
}
static inline int publish_payload(mtaio_channel *ch, const char *topic, struct payload *p,
                                  int64_t timeout_ns) {
    return mtaio_channel_publish(ch,
                                 MTAIO_PUBLICATION(.topic = topic, .data = p->text, .bytes = sizeof p->text,
                                                   .release = release_payload),
                                 timeout_ns);
}

/* --- Receiving --------------------------------------------------------------------------------- */

static inline void note_message(const mtaio_message *m) {
    const char *topic = mtaio_message_topic(m), *data = mtaio_message_data(m);
    char missed[24] = "";
    if (m->missed > 0) snprintf(missed, sizeof missed, "(%" PRIu64 ")", m->missed);
    note("%s%s%s%s", missed, topic != NULL ? topic : "", topic != NULL ? ":" : "", data != NULL ? data : "-");
}

/* Tries once: notes the message, or "EAGAIN" and so on. */
static inline int note_next(mtaio_subscriber *sub) {
    mtaio_message m = {0};
    int r = mtaio_subscriber_receive(sub, 0, &m);
    if (r < 0) {
        note("%s", mtaio_error_name(r) + strlen("MTAIO_"));
        return r;
    }
    assert_int_equal(r, 0);
    note_message(&m);
    mtaio_message_clear(&m);
    return r;
}
static inline void note_all(mtaio_subscriber *sub) {
    while (note_next(sub) == 0)
        ;
}

/* The next message, which must be there, as a number; what was missed before it in *missed, if given. */
static inline uint64_t next_number(mtaio_subscriber *sub, uint64_t *missed) {
    mtaio_message m = {0};
    uint64_t n;
    CHECK(mtaio_subscriber_receive(sub, 0, &m) == 0);
    CHECK(mtaio_message_bytes(&m) == sizeof n);
    memcpy(&n, mtaio_message_data(&m), sizeof n);
    if (missed != NULL) *missed = m.missed;
    mtaio_message_clear(&m);
    return n;
}

/* --- Sums -------------------------------------------------------------------------------------- */

static inline mtaio_channel_stats sums_of(const mtaio_channel *ch) {
    mtaio_channel_stats s = {.size = sizeof s};
    CHECK(mtaio_channel_stats_get(ch, &s) == 0);
    return s;
}
static inline mtaio_subscriber_stats subscriber_sums_of(const mtaio_subscriber *sub) {
    mtaio_subscriber_stats s = {.size = sizeof s};
    CHECK(mtaio_subscriber_stats_get(sub, &s) == 0);
    return s;
}

/* Of a channel: "published reached delivered dropped waiting refused". */
#define assert_sums(ch, expected)                                                                            \
    do {                                                                                                     \
        mtaio_channel_stats s_ = sums_of(ch);                                                                \
        char text_[160];                                                                                     \
        snprintf(text_, sizeof text_,                                                                        \
                 "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64, s_.published,       \
                 s_.reached, s_.delivered, s_.dropped, s_.waiting, s_.refused);                              \
        assert_string_equal(text_, (expected));                                                              \
    } while (0)

/* Of a subscriber: "reached delivered dropped waiting high_water". */
#define assert_subscriber_sums(sub, expected)                                                                \
    do {                                                                                                     \
        mtaio_subscriber_stats s_ = subscriber_sums_of(sub);                                                 \
        char text_[160];                                                                                     \
        snprintf(text_, sizeof text_, "%" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64,            \
                 s_.reached, s_.delivered, s_.dropped, s_.waiting, s_.high_water);                           \
        assert_string_equal(text_, (expected));                                                              \
    } while (0)

static inline void check_balance(const mtaio_channel *ch) {
    mtaio_channel_stats s = sums_of(ch);
    CHECK(s.reached == s.delivered + s.dropped + s.waiting);
}
static inline void check_subscriber_balance(const mtaio_subscriber *sub) {
    mtaio_subscriber_stats s = subscriber_sums_of(sub);
    CHECK(s.reached == s.delivered + s.dropped + s.waiting);
    CHECK(s.high_water >= s.waiting);
}

/* --- Calls that wait: each on a thread of its own ---------------------------------------------- */

struct call {
    int (*run)(void *ctx);
    void *ctx;
    int result;
    atomic_bool over;
    pthread_t thread;
};

static inline void *call_main(void *arg) {
    struct call *c = arg;
    c->result = c->run(c->ctx);
    atomic_store(&c->over, true);
    return NULL;
}

static inline void call_begin(struct call *c, int (*run)(void *ctx), void *ctx) {
    c->run = run;
    c->ctx = ctx;
    atomic_store(&c->over, false);
    CHECK(pthread_create(&c->thread, NULL, call_main, c) == 0);
}

/* It waits: it does not end by itself. */
static inline void assert_waits(struct call *c) {
    support_sleep_ms(20);
    assert_false(atomic_load(&c->over));
}

/* It ends soon, with this result. */
static inline int call_end(struct call *c) {
    EVENTUALLY(atomic_load(&c->over));
    CHECK(pthread_join(c->thread, NULL) == 0);
    return c->result;
}

/* For call_begin: a subscriber's receive for ever, or until the limit; notes what it receives. */
struct waiting_receive {
    mtaio_subscriber *sub;
    int64_t timeout_ns;
    struct call call;
};
static inline int run_receive(void *ctx) {
    struct waiting_receive *w = ctx;
    mtaio_message m = {0};
    int r = mtaio_subscriber_receive(w->sub, w->timeout_ns, &m);
    if (r == 0) {
        note_message(&m);
        mtaio_message_clear(&m);
    }
    return r;
}

struct waiting_publish {
    mtaio_channel *ch;
    const char *topic, *text;
    int64_t timeout_ns;
    struct call call;
};
static inline int run_publish(void *ctx) {
    struct waiting_publish *w = ctx;
    return publish_for(w->ch, w->topic, w->text, w->timeout_ns);
}

#endif
