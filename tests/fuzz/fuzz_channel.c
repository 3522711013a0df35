/* fuzz_channel.c - random histories of two channels against a model of plain arrays.
 *
 * An input begins with three bytes for each channel, its options; then come operations of four bytes each,
 * every byte valid. Each is done by the library and by the model (channel_model.h): the same result, the same
 * calls of what is asynchronous, the same sums, and descriptors that are readable exactly while a receive
 * would not have to wait. At the end everything is given back: no memory, and no data that was handed over,
 * may be left. */
#include "channel_model.h"

#include "../unit/topic_oracle.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SLOTS = 6, KEPT = 3, MANY = 5 };
static struct {
    mtaio_channel *channel[CHANNELS];
    mtaio_subscriber *sub[SUBSCRIBERS]; /* by the model's number; NULL: given back */
    mtaio_pending *pending[PENDINGS];
    mtaio_message kept[KEPT];
    int kept_id[KEPT], kept_topic[KEPT]; /* id 0: none */
    int slot[SLOTS], pending_slot[SLOTS];
    int ids;
    size_t handed_over, released;
} real;
static size_t blocks;

/* --- Data -------------------------------------------------------------------------------------- */

static void release_id(void *data) {
    real.released++;
    free(data);
}

/* A payload begins with its number, and is of one of several sizes. */
static int id_of(const mtaio_message *message) {
    int id;
    EXPECT(mtaio_message_bytes(message) >= sizeof id);
    memcpy(&id, mtaio_message_data(message), sizeof id);
    EXPECT(mtaio_message_bytes(message) == (id % 5 == 0 ? 200u : id % 5 == 1 ? 41u : sizeof id));
    return id;
}
static size_t bytes_of(int id) { return id % 5 == 0 ? 200 : id % 5 == 1 ? 41 : sizeof id; }

static int topic_of(const char *topic) {
    int i = 0;
    if (topic == NULL) return NO_TOPIC;
    while (strcmp(topics[i], topic) != 0) i++;
    return i;
}

static void make_publication(int topic, int how, mtaio_publication *ret, struct m_message *ret_model) {
    static char bytes[MANY][200];
    int id = ++real.ids;
    char *room = how % 2 != 0 ? malloc(bytes_of(id)) : bytes[id % MANY];
    EXPECT(room != NULL);
    memset(room, 0, bytes_of(id));
    memcpy(room, &id, sizeof id);
    *ret = *MTAIO_PUBLICATION(.topic = topic == NO_TOPIC ? NULL : topics[topic], .data = room,
                              .bytes = bytes_of(id), .release = how % 2 != 0 ? release_id : NULL);
    *ret_model = (struct m_message){.id = id, .topic = topic};
}
static void settle_publication(const mtaio_publication *p, bool taken) {
    if (p->release == NULL) return;
    if (taken)
        real.handed_over++;
    else
        free((void *)(uintptr_t)p->data);
}

/* --- Publishing -------------------------------------------------------------------------------- */

static int optional_topic(int b) { return b % (TOPICS + 1) - 1; }

static void op_publish(int channel, int topic, int how) {
    mtaio_publication p;
    struct m_message message;
    make_publication(topic, how, &p, &message);
    int r = mtaio_channel_publish(real.channel[channel], &p, 0);
    settle_publication(&p, r >= 0);
    EXPECT_RESULT(r, m_publish_one(channel, message));
    m_tell(channel);
}

/* What was received and kept, again: with its own topic, or another. */
static void op_publish_again(int channel, int topic, int which) {
    int k = which % KEPT;
    if (real.kept_id[k] == 0) return;
    mtaio_publication p =
        *MTAIO_PUBLICATION(.message = &real.kept[k], .topic = topic == NO_TOPIC ? NULL : topics[topic]);
    struct m_message message = {.id = real.kept_id[k],
                                .topic = topic == NO_TOPIC ? real.kept_topic[k] : topic};
    int r = mtaio_channel_publish(real.channel[channel], &p, 0);
    EXPECT_RESULT(r, m_publish_one(channel, message));
    m_tell(channel);
}

static void op_publish_many(int channel, int topic, int how) {
    mtaio_publication list[MANY] = {{0}};
    struct m_message messages[MANY];
    int n = how % MANY + 1, done = 0, last = 0;
    for (int i = 0; i < n; i++)
        make_publication(i % 2 != 0 ? topic : how / 8 % TOPICS, how / 2, &list[i], &messages[i]);
    int r = mtaio_channel_publish_many(real.channel[channel], list, (size_t)n, 0);
    for (int i = 0; i < n; i++) settle_publication(&list[i], i < r);
    while (done < n && (last = m_publish_one(channel, messages[done])) >= 0) done++;
    EXPECT_RESULT(r, (done > 0 ? done : last));
    m_tell(channel);
}

static void be_told(int result, void *ctx) {
    log_event(&seen, (struct event){.what = PUBLISHED, .pending = (int)(intptr_t)ctx, .result = result});
}
static void gone(void *ctx) { log_event(&seen, (struct event){.what = GONE, .pending = (int)(intptr_t)ctx}); }

/* A slot for a new pending: what was in it goes on without us. */
static int pending_new(int slot) {
    if (m.pendings == PENDINGS) return NOBODY;
    int *at = &real.pending_slot[slot % SLOTS];
    if (*at != NOBODY) real.pending[*at] = mtaio_pending_unref(real.pending[*at]);
    *at = m.pendings;
    return m.pendings++;
}

static void op_publish_async(int channel, int topic, int how) {
    struct m_channel *c = &m.channel[channel];
    mtaio_publication p;
    struct m_message message;
    int n = c->waiting < LINE && !m_refuses(channel) ? pending_new(how / 2) : NOBODY;
    if (n == NOBODY) return;
    make_publication(topic, how, &p, &message);
    int r = mtaio_channel_publish_async(
        real.channel[channel], &p,
        MTAIO_PUBLISHED(.call = be_told, .destroy = gone, .ctx = (void *)(intptr_t)n), &real.pending[n]);
    settle_publication(&p, r == 0);
    EXPECT_RESULT(r, (c->closed ? MTAIO_ECLOSED : 0));
    if (r < 0) {
        log_event(&expected, (struct event){.what = GONE, .pending = n});
        return;
    }
    m.pending[n] = (struct m_pending){.kind = IN_LINE, .channel = channel, .message = message};
    c->line[c->waiting++] = n;
    m_carry_on(channel);
}

/* --- Subscribing ------------------------------------------------------------------------------- */

static void m_give_replay(struct m_sub *s) {
    struct m_channel *c = m_channel_of(s);
    size_t wanted = 0;
    for (size_t i = 0; i < c->kept_count; i++) wanted += m_wants(s, s->channel, c->kept[i].topic);
    for (size_t i = 0; i < c->kept_count; i++) {
        if (!m_wants(s, s->channel, c->kept[i].topic)) continue;
        if (wanted-- > s->limit) {
            s->gap++;
            s->dropped++;
            s->reached++;
        } else {
            m_push(s, c->kept[i]);
        }
    }
}

static void op_subscribe(int channel, int slot, int mask, int how) {
    static const size_t limits[] = {0, 1, 2, 3, 4, 7, 8, MTAIO_UNBOUNDED};
    const char *list[PATTERNS + 1] = {NULL};
    struct m_channel *c = &m.channel[channel];
    struct m_sub s = {.channel = channel, .refs = 1, .everything = mask == 0};
    int n = 0, number = m.subs;
    if (real.slot[slot % SLOTS] != NOBODY || number == SUBSCRIBERS) return;
    for (int i = 0; i < PATTERNS; i++)
        if ((s.has[i] = mask >> i & 1)) list[n++] = patterns[i];
    size_t limit = limits[how % 8];
    mtaio_overflow overflow = (mtaio_overflow)(how / 8 % 5);
    s.limit = limit == 0 ? c->limit : limit;
    s.overflow = overflow == MTAIO_OVERFLOW_DEFAULT ? c->overflow : overflow;
    if (s.overflow == MTAIO_REFUSE && c->waiting > 0) s.overflow = overflow = MTAIO_BLOCK;
    int r = mtaio_channel_subscribe(real.channel[channel],
                                    MTAIO_SUBSCRIPTION(.patterns = list, .buffer_size = limit,
                                                       .overflow = overflow, .no_replay = how / 64 % 4 == 3),
                                    &real.sub[number]);
    EXPECT(r == (c->closed                                          ? MTAIO_ECLOSED
                 : c->max > 0 && (size_t)m_count(channel) >= c->max ? MTAIO_ELIMIT
                                                                    : 0));
    if (r < 0) return;
    real.slot[slot % SLOTS] = number;
    m.sub[m.subs++] = s;
    if (how / 64 % 4 != 3) m_give_replay(&m.sub[number]);
}

static void op_change(int sub, int pattern, bool add) {
    struct m_sub *s = &m.sub[sub];
    int r = add ? mtaio_subscriber_add(real.sub[sub], patterns[pattern])
                : mtaio_subscriber_drop(real.sub[sub], patterns[pattern]);
    if (s->ended || m_channel_of(s)->closed) {
        EXPECT_RESULT(r, MTAIO_ECLOSED);
        return;
    }
    EXPECT_RESULT(r, (s->has[pattern] != add));
    s->has[pattern] = add;
    if (add) s->everything = false;
    m_carry_on(s->channel);
}

static void op_end(int slot, bool unref) {
    int sub = real.slot[slot];
    if (unref) {
        real.slot[slot] = NOBODY;
        real.sub[sub] = mtaio_subscriber_unref(real.sub[sub]);
        m_sub_unref(sub);
        return;
    }
    EXPECT(mtaio_unsubscribe(real.sub[sub]) == !m.sub[sub].ended);
    if (!m.sub[sub].ended) m_unsubscribe(sub);
}

/* --- Receiving --------------------------------------------------------------------------------- */

static int m_receive_result(const struct m_sub *s) {
    return s->count > 0 ? 0 : s->ended || m_channel_of(s)->closed ? MTAIO_ECLOSED : MTAIO_EAGAIN;
}
static void compare_message(const struct m_message *expected_one, const mtaio_message *got) {
    EXPECT(id_of(got) == expected_one->id && got->missed == expected_one->missed);
    EXPECT(topic_of(mtaio_message_topic(got)) == expected_one->topic);
}

static void op_receive(int sub, int keep) {
    struct m_sub *s = &m.sub[sub];
    mtaio_message got;
    int r = mtaio_subscriber_receive(real.sub[sub], 0, &got), k = keep % (2 * KEPT);
    EXPECT_RESULT(r, m_receive_result(s));
    if (r < 0) return;
    struct m_message first = m_take_first(s);
    m_carry_on(s->channel);
    compare_message(&first, &got);
    if (k >= KEPT) {
        mtaio_message_clear(&got);
        return;
    }
    mtaio_message_clear(&real.kept[k]);
    real.kept[k] = got;
    real.kept_id[k] = first.id;
    real.kept_topic[k] = first.topic;
}

static void op_receive_many(int sub, int n) {
    struct m_sub *s = &m.sub[sub];
    mtaio_message got[MANY];
    struct m_message first[MANY];
    int r = mtaio_subscriber_receive_many(real.sub[sub], 0, got, (size_t)n),
        there = s->count < (size_t)n ? (int)s->count : n;
    EXPECT_RESULT(r, (there > 0 ? there : m_receive_result(s)));
    for (int i = 0; i < there; i++) first[i] = m_take_first(s);
    if (there > 0) m_carry_on(s->channel);
    for (int i = 0; i < there; i++) {
        compare_message(&first[i], &got[i]);
        mtaio_message_clear(&got[i]);
    }
}

static int take(int result, mtaio_message *message, void *ctx) {
    int pending = (int)(intptr_t)ctx;
    if (result < 0) {
        log_event(&seen, (struct event){.what = ENDED, .pending = pending, .result = result});
        return 0;
    }
    struct event e = {RECEIVED, pending, id_of(message), topic_of(mtaio_message_topic(message)),
                      message->missed};
    log_event(&seen, e);
    mtaio_message_clear(message);
    return --m.pending[pending].message.id != 0; /* counts for the library; `left` does for the model */
}
static void ready(void *ctx) {
    log_event(&seen, (struct event){.what = READY, .pending = (int)(intptr_t)ctx});
}

static void op_take(int sub, int times, int slot) {
    int n = m_taker(m.sub[sub].channel) == NOBODY ? pending_new(slot) : NOBODY;
    if (n == NOBODY) return;
    times = times % 4 == 3 ? -1 : times % 4 + 1;
    m.pending[n] = (struct m_pending){.kind = TAKER, .sub = sub, .left = times, .message = {.id = times}};
    m.sub[sub].refs++;
    EXPECT(mtaio_subscriber_receive_async(
               real.sub[sub], MTAIO_RECEIVER(.call = take, .destroy = gone, .ctx = (void *)(intptr_t)n),
               &real.pending[n]) == 0);
    m_run_taker(n);
}
static void op_watch(int sub, int slot) {
    int n = pending_new(slot);
    if (n == NOBODY) return;
    m.pending[n] = (struct m_pending){.kind = WATCH, .sub = sub};
    EXPECT(mtaio_subscriber_watch(real.sub[sub],
                                  MTAIO_WATCH(.ready = ready, .destroy = gone, .ctx = (void *)(intptr_t)n),
                                  &real.pending[n]) == 0);
    m_tell(m.sub[sub].channel);
}

static void op_select(void) {
    mtaio_subscriber *list[SLOTS];
    int n = 0, first = MTAIO_EAGAIN;
    for (int i = 0; i < SLOTS; i++) {
        if (real.slot[i] == NOBODY) continue;
        if (first < 0 && m_is_ready(&m.sub[real.slot[i]])) first = n;
        list[n++] = real.sub[real.slot[i]];
    }
    EXPECT(mtaio_select(list, (size_t)n, 0) == (n > 0 ? first : MTAIO_EINVAL));
}

/* --- Histories --------------------------------------------------------------------------------- */

static bool with_fd[SUBSCRIBERS];

static void operate_on_subscriber(int op, int slot, int c, int d) {
    int sub = real.slot[slot];
    if (sub == NOBODY) return;
    switch (op) {
    case 0:
        op_receive_many(sub, c % MANY + 1);
        return;
    case 1:
        op_change(sub, c % PATTERNS, true);
        return;
    case 2:
        op_change(sub, c % PATTERNS, false);
        return;
    case 3:
        op_end(slot, c % 2 != 0);
        return;
    case 4:
        op_take(sub, c, d);
        return;
    case 5:
        op_watch(sub, d);
        return;
    case 6:
        EXPECT(mtaio_subscriber_fd(real.sub[sub]) >= 0);
        with_fd[sub] = true;
        return;
    default:
        op_receive(sub, c);
        return;
    }
}

static void operate(int a, int b, int c, int d) {
    int channel = b % CHANNELS, topic = optional_topic(c), at = real.pending_slot[c % SLOTS];
    switch (a % 32) {
    case 0:
        op_publish_many(channel, topic, d);
        return;
    case 1:
    case 2:
        op_publish_async(channel, topic, d);
        return;
    case 3:
        op_publish_again(channel, topic, d);
        return;
    case 4:
    case 5:
        op_subscribe(channel, b / 2, c, d);
        return;
    case 6:
        if (d % 8 != 0) return;
        EXPECT(mtaio_channel_close(real.channel[channel]) == 0);
        m_close(channel);
        return;
    case 7:
        if (at != NOBODY && real.pending[at] != NULL)
            EXPECT(mtaio_pending_cancel(real.pending[at]) == m_cancel(at));
        return;
    case 8:
        op_select();
        return;
    case 9:
        EXPECT(mtaio_channel_reach(real.channel[channel], topic == NO_TOPIC ? NULL : topics[topic]) ==
               m_reach(channel, topic));
        return;
    case 10:
    case 11:
    case 12:
    case 13:
    case 14:
    case 15:
    case 16:
    case 17:
    case 18:
    case 19:
    case 20:
        operate_on_subscriber(a % 32 - 10, b % SLOTS, c, d);
        return;
    default:
        op_publish(channel, topic, d);
        return;
    }
}

static void compare(void) {
    compare_sets();
    for (int i = 0; i < CHANNELS; i++) m_compare_channel(i, real.channel[i]);
    for (int i = 0; i < m.subs; i++) {
        if (real.sub[i] == NULL) continue;
        m_compare_sub(&m.sub[i], real.sub[i]);
        if (!with_fd[i]) continue;
        struct pollfd p = {.fd = mtaio_subscriber_fd(real.sub[i]), .events = POLLIN};
        int r;
        do r = poll(&p, 1, 0);
        while (r < 0 && errno == EINTR); /* libFuzzer's alarm */
        EXPECT_RESULT(r, m_is_ready(&m.sub[i]));
    }
}

static void begin(const uint8_t *data) {
    memset(&real, 0, sizeof real);
    memset(&m, 0, sizeof m);
    memset(with_fd, 0, sizeof with_fd);
    memset(real.slot, 0xff, sizeof real.slot);
    memset(real.pending_slot, 0xff, sizeof real.pending_slot);
    for (int i = 0; i < CHANNELS; i++, data += 3) {
        struct m_channel *c = &m.channel[i];
        size_t limit = data[0] % 6, replay = data[1] % (REPLAY + 1), max = data[2] % 8;
        mtaio_overflow overflow = (mtaio_overflow)(data[0] / 6 % 5);
        *c = (struct m_channel){.limit = limit == 0 ? MTAIO_UNBOUNDED : limit, .max = max, .replay = replay};
        c->by_topic = data[1] & 128;
        c->overflow = overflow == MTAIO_OVERFLOW_DEFAULT ? MTAIO_BLOCK : overflow;
        EXPECT(mtaio_channel_new(MTAIO_CHANNEL_OPTIONS(.buffer_size = limit, .overflow = overflow,
                                                       .replay = replay, .replay_by_topic = c->by_topic,
                                                       .max_subscribers = max),
                                 &real.channel[i]) == 0);
    }
}

static void give_everything_back(void) {
    for (int i = 0; i < SUBSCRIBERS; i++) mtaio_subscriber_unref(real.sub[i]);
    for (int i = 0; i < CHANNELS; i++) mtaio_channel_unref(real.channel[i]);
    for (int i = 0; i < PENDINGS; i++) mtaio_pending_unref(real.pending[i]);
    for (int i = 0; i < KEPT; i++) mtaio_message_clear(&real.kept[i]);
    EXPECT(mtaio_reclaim() == 0);
    EXPECT(real.released == real.handed_over);
    seen.count = 0;
}

static void *count_alloc(size_t bytes, void *ctx) {
    (void)ctx;
    blocks++;
    return malloc(bytes);
}
static void *count_resize(void *old, size_t old_bytes, size_t bytes, void *ctx) {
    (void)old_bytes;
    (void)ctx;
    blocks += old == NULL;
    return realloc(old, bytes);
}
static void count_free(void *block, size_t bytes, void *ctx) {
    (void)bytes;
    (void)ctx;
    blocks -= block != NULL;
    free(block);
}

/* Once: the library's memory is counted, and what it keeps for the thread is there. */
static void prepare(void) {
    static const mtaio_allocator allocator = {sizeof allocator, count_alloc, count_resize, count_free, NULL};
    mtaio_channel *ch;
    mtaio_subscriber *sub = NULL;
    if (mtaio_set_allocator(&allocator) < 0) return;
    EXPECT(mtaio_channel_new(NULL, &ch) == 0 && mtaio_subscribe(ch, "a.*", &sub) == 0);
    EXPECT(mtaio_channel_reach(ch, "a.b") == 1);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
    for (int p = 0; p < PATTERNS; p++)
        for (int t = 0; t < TOPICS; t++) matching[p][t] = oracle_matches(patterns[p], topics[t]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const size_t head = 3 * CHANNELS;
    prepare();
    if (size < head || size > 1200) return 0;
    size_t blocks_before = blocks;
    begin(data);
    for (size_t at = head; at + 4 <= size && !m_is_full(); at += 4) {
        operate(data[at], data[at + 1], data[at + 2], data[at + 3]);
        compare();
    }
    give_everything_back();
    EXPECT(blocks == blocks_before);
    return 0;
}
