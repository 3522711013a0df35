/* loop_cases_channels.c - see loop_cases.h: a receiver in the loop, publishers elsewhere, and the other way round. */
#include "../common/loop_cases.h"

enum { PUBLISHERS = 2, MESSAGES = 5000 };
struct flow {
    struct stage *stage;
    pthread_t thread;
    mtaio_channel *channel;
    mtaio_subscriber *subscriber;
    atomic_int begun, ended; /* publishers */
    int next[PUBLISHERS]; /* what is to come from each; used in the loop alone, as all that follows */
    int got, end_after;   /* 0: at the end of the channel */
    int result, ends, destroyed, rounds;
};

static void flow_begin(struct flow *f, size_t buffer_size) {
    *f = (struct flow){.stage = stage_new(), .thread = pthread_self()};
    CHECK(mtaio_channel_new(MTAIO_CHANNEL_OPTIONS(.buffer_size = buffer_size), &f->channel) == 0);
    CHECK(mtaio_subscribe(f->channel, NULL, &f->subscriber) == 0);
}

static void flow_end(struct flow *f) {
    mtaio_subscriber_unref(f->subscriber);
    mtaio_channel_unref(f->channel);
    stage_free(f->stage);
    CHECK(f->destroyed == f->ends);
}

static int take(int result, mtaio_message *message, void *ctx) {
    struct flow *f = ctx;
    const int *number;

    CHECK(pthread_equal(pthread_self(), f->thread));
    if (result < 0) {
        CHECK(message == NULL);
        f->result = result;
        stage_stop(f->stage);
        return 0;
    }
    number = mtaio_message_data(message);
    CHECK(mtaio_message_bytes(message) == 2 * sizeof *number);
    CHECK(number[1] == f->next[number[0]]++);
    mtaio_message_clear(message);
    f->got++;
    return 1;
}

static void note_destroyed(void *ctx) { ((struct flow *)ctx)->destroyed++; }

static void receive(struct flow *f, mtaio_pending **ret) {
    f->ends++;
    CHECK(mtaio_subscriber_receive_async(f->subscriber,
                                         MTAIO_RECEIVER(.call = take, .destroy = note_destroyed, .ctx = f,
                                                        .executor = stage_executor(f->stage)),
                                         ret) == 0);
}

static void *publish(void *arg) {
    struct flow *f = arg;
    int number[2] = {atomic_fetch_add(&f->begun, 1), 0};

    for (; number[1] < MESSAGES; number[1]++)
        CHECK(mtaio_publish(f->channel, NULL, number, sizeof number) == 1);
    if (atomic_fetch_add(&f->ended, 1) == PUBLISHERS - 1)
        CHECK(mtaio_channel_close(f->channel) == 0);
    return NULL;
}

static void publish_in_threads(struct flow *f, pthread_t threads[PUBLISHERS]) {
    for (int i = 0; i < PUBLISHERS; i++)
        CHECK(pthread_create(&threads[i], NULL, publish, f) == 0);
}

static void join_all(pthread_t threads[PUBLISHERS]) {
    for (int i = 0; i < PUBLISHERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
}

/* "call is given each message as it comes, one after another, ... on the executor", in the order of each
 * publisher; the last call comes with ECLOSED. */
void case_receive(void **state) {
    struct flow f;
    pthread_t threads[PUBLISHERS];

    (void)state;
    flow_begin(&f, 16);
    receive(&f, NULL);
    publish_in_threads(&f, threads);
    stage_run(f.stage);
    join_all(threads);
    assert_int_equal(f.got, PUBLISHERS * MESSAGES);
    assert_int_equal(f.result, MTAIO_ECLOSED);
    flow_end(&f);
}

static void come_round(void *arg) {
    struct flow *f = arg;

    f->rounds++;
    if (f->result == 0)
        stage_later(f->stage, come_round, f);
}

/* A flood of messages does not keep the loop from its other work. */
void case_receive_fairly(void **state) {
    struct flow f;
    pthread_t threads[PUBLISHERS];

    (void)state;
    flow_begin(&f, MTAIO_UNBOUNDED);
    publish_in_threads(&f, threads);
    join_all(threads);
    receive(&f, NULL);
    stage_later(f.stage, come_round, &f);
    stage_run(f.stage);
    assert_int_equal(f.got, PUBLISHERS * MESSAGES);
    assert_true(f.rounds >= 20);
    flow_end(&f);
}

static int receive_rest(struct flow *f) {
    mtaio_message message;
    int r;

    while ((r = mtaio_subscriber_receive(f->subscriber, 0, &message)) == 0) {
        const int *number = mtaio_message_data(&message);
        CHECK(number[1] == f->next[number[0]]++);
        mtaio_message_clear(&message);
        f->got++;
    }
    return r;
}

static void *cancel_pending(void *arg) {
    support_sleep_ms(1);
    CHECK(mtaio_pending_cancel(arg) >= 0); /* 0: just being carried out */
    return NULL;
}

static void publish_number(struct flow *f, int i) {
    CHECK(mtaio_publish(f->channel, NULL, (int[2]){0, i}, 2 * sizeof i) == 1);
}

/* "Ends it with ECANCELED (told by its call) ... Of a receive no message is lost": told in the loop, whether
 * it was waiting or busy. */
void case_receive_cancel(void **state) {
    (void)state;
    for (int messages = 1; messages <= MESSAGES; messages *= 10) {
        struct flow f;
        mtaio_pending *pending;
        pthread_t thread;
        flow_begin(&f, MTAIO_UNBOUNDED);
        receive(&f, &pending);
        for (int i = 0; i < messages; i++)
            publish_number(&f, i);
        assert_int_equal(pthread_create(&thread, NULL, cancel_pending, pending), 0);
        stage_run(f.stage);
        assert_int_equal(f.result, MTAIO_ECANCELED);
        assert_int_equal(pthread_join(thread, NULL), 0);
        publish_number(&f, messages);
        assert_int_equal(receive_rest(&f), MTAIO_EAGAIN);
        assert_int_equal(f.got, messages + 1);
        mtaio_pending_unref(pending);
        flow_end(&f);
    }
}

/* Closing the loop ends a receiver whose job waits in it, with ECANCELED, and no message is lost. */
void case_receive_close(void **state) {
    struct flow f;

    (void)state;
    flow_begin(&f, 0);
    receive(&f, NULL);
    publish_number(&f, 0);
    assert_int_equal(stage_close(f.stage), 0);
    assert_int_equal(f.result, MTAIO_ECANCELED);
    assert_int_equal(receive_rest(&f), MTAIO_EAGAIN);
    assert_int_equal(f.got, 1);
    receive(&f, NULL);
    assert_int_equal(f.result, MTAIO_ECLOSED);
    flow_end(&f);
}

static void published(int result, void *ctx) {
    struct flow *f = ctx;

    CHECK(pthread_equal(pthread_self(), f->thread));
    CHECK(result == 1);
    if (++f->got == MESSAGES)
        stage_stop(f->stage);
}

static void *receive_all(void *arg) {
    struct flow *f = arg;
    mtaio_message message;

    for (int i = 0; i < MESSAGES; i++) {
        CHECK(mtaio_receive(f->subscriber, &message) == 0);
        CHECK(((const int *)mtaio_message_data(&message))[1] == i);
        mtaio_message_clear(&message);
    }
    return NULL;
}

/* "Waits in line without holding the thread": the loop publishes into a small buffer, and is told in the
 * loop. */
void case_publish_async(void **state) {
    struct flow f;
    pthread_t thread;

    (void)state;
    flow_begin(&f, 4);
    for (int number[2] = {0, 0}; number[1] < MESSAGES; number[1]++)
        assert_int_equal(
            mtaio_channel_publish_async(
                f.channel, MTAIO_PUBLICATION(.data = number, .bytes = sizeof number),
                MTAIO_PUBLISHED(.call = published, .ctx = &f, .executor = stage_executor(f.stage)), NULL),
            0);
    assert_int_equal(pthread_create(&thread, NULL, receive_all, &f), 0);
    stage_run(f.stage);
    assert_int_equal(pthread_join(thread, NULL), 0);
    flow_end(&f);
}
