/* stress_channel.c - millions of messages through every policy, in bursts, to subscribers that are fast,
 * slow, and that die: "every message is received, dropped-and-counted, or refused with an error, and the sums
 * say so exactly", for each subscriber and for the channel; each publisher's messages in its order. Ten
 * million and more together; MTAIO_STRESS=1: many more, under a sanitizer fewer. */
#include "channels.h"

#include <sched.h>

enum { PUBLISHERS_MAX = 3, KINDS = 5, THREADS_MAX = PUBLISHERS_MAX + KINDS };

/* What a subscriber's thread does. */
enum kind { BULK, SINGLE, SLOW, DYING, ASLEEP };

struct run;
struct receiver {
    struct run *run;
    enum kind kind;
    bool picks; /* only "some.*", and what has no topic */
    mtaio_subscriber *sub;
    uint64_t next[PUBLISHERS_MAX]; /* the least number that may come from each */
    uint64_t received, missed;
    uint64_t lives; /* of DYING: how often it subscribed */
};

struct plan {
    const char *name;
    mtaio_overflow overflow;
    size_t limit;
    unsigned publishers;
    enum kind kinds[KINDS];
    unsigned kind_count;
    uint64_t each; /* messages of each publisher */
    bool topics;   /* half of the messages have one, and every other receiver wants only one of the two */
};

struct run {
    const struct plan *plan;
    mtaio_channel *ch;
    uint64_t each;
    struct receiver receivers[KINDS];
    uint64_t published[PUBLISHERS_MAX], elsewhere[PUBLISHERS_MAX], refused[PUBLISHERS_MAX];
    atomic_uint publishing;
};

struct letter {
    uint64_t publisher, number;
};

static uint64_t next_random(uint64_t *seed) {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* --- Publishing -------------------------------------------------------------------------------- */

static bool may_fail(const struct plan *p) { return p->overflow == MTAIO_REFUSE; }

static const char *topic_of(const struct plan *p, uint64_t number) {
    if (!p->topics || number % 2 != 0) return NULL;
    return number % 4 == 0 ? "some.topic" : "another.topic";
}

/* Some at once; how many went in. */
static uint64_t publish_burst(struct run *r, unsigned publisher, uint64_t from, uint64_t n,
                              int64_t timeout_ns) {
    struct letter letters[16];
    mtaio_publication list[16];
    for (uint64_t i = 0; i < n; i++) {
        letters[i] = (struct letter){publisher, from + i};
        list[i] = *MTAIO_PUBLICATION(.topic = topic_of(r->plan, from + i), .data = &letters[i],
                                     .bytes = sizeof *letters);
    }
    int done = n == 1 ? mtaio_channel_publish(r->ch, list, timeout_ns)
                      : mtaio_channel_publish_many(r->ch, list, (size_t)n, timeout_ns);
    if (n == 1 && done >= 0) return 1;
    if (done >= 0) {
        if ((uint64_t)done < n) r->refused[publisher]++;
        return (uint64_t)done;
    }
    CHECK(done == (may_fail(r->plan) ? MTAIO_ELIMIT : MTAIO_EAGAIN) &&
          (may_fail(r->plan) || timeout_ns == 0));
    r->refused[publisher]++;
    return 0;
}

static void publish_all(struct run *r, unsigned publisher) {
    uint64_t seed = 88172645463325252u + publisher;
    for (uint64_t number = 0; number < r->each;) {
        uint64_t chance = next_random(&seed), n = chance % 4 == 0 ? chance / 4 % 16 + 1 : 1;
        if (n > r->each - number) n = r->each - number;
        uint64_t went = publish_burst(r, publisher, number, n, chance % 8 == 1 ? 0 : -1);
        for (uint64_t i = 0; i < went; i++)
            r->elsewhere[publisher] += r->plan->topics && (number + i) % 4 == 2;
        r->published[publisher] += went;
        number += went;
        if (went < n && may_fail(r->plan)) {
            number++; /* this one is lost, and nobody has seen it */
            if (chance % 64 == 2) sched_yield();
        }
        if (chance % 4096 == 3) sched_yield(); /* between two bursts */
    }
    if (atomic_fetch_sub(&r->publishing, 1) == 1) CHECK(mtaio_channel_close(r->ch) == 0);
}

/* --- Receiving --------------------------------------------------------------------------------- */

static void look_at(struct receiver *v, mtaio_message *m) {
    struct letter l;
    CHECK(mtaio_message_bytes(m) == sizeof l);
    memcpy(&l, mtaio_message_data(m), sizeof l);
    CHECK(l.publisher < PUBLISHERS_MAX && l.number >= v->next[l.publisher]); /* in its order, none twice */
    v->next[l.publisher] = l.number + 1;
    v->received++;
    v->missed += m->missed;
    mtaio_message_clear(m);
}

static void receive_until_closed(struct receiver *v) {
    static const size_t steps[] = {[BULK] = 64, [SINGLE] = 1, [SLOW] = 7, [ASLEEP] = 64};
    mtaio_message m[64];
    for (;;) {
        size_t n = steps[v->kind];
        int r = n == 1 ? mtaio_subscriber_receive(v->sub, -1, m)
                       : mtaio_subscriber_receive_many(v->sub, -1, m, n);
        if (r == MTAIO_ECLOSED) return;
        CHECK(r >= (n != 1));
        for (int i = 0; i < (n == 1 ? 1 : r); i++) look_at(v, &m[i]);
        if (v->kind == SLOW && v->received % 512 < 7) sched_yield();
        if (v->kind == ASLEEP && v->received < 2000) support_sleep_ms(1);
    }
}

/* Subscribes, receives a little, and goes, again and again: by unsubscribing, or just dropped. */
static void live_and_die(struct receiver *v) {
    mtaio_message m;
    const mtaio_subscription *s =
        MTAIO_SUBSCRIPTION(.buffer_size = v->run->plan->limit, .overflow = v->run->plan->overflow);
    while (mtaio_channel_subscribe(v->run->ch, s, &v->sub) == 0) {
        memset(v->next, 0, sizeof v->next);
        for (uint64_t i = 0; i < 200 + v->lives % 100; i++) {
            int r = mtaio_subscriber_receive(v->sub, i % 50 == 49 ? 1000 : -1, &m);
            if (r == MTAIO_ECLOSED) break;
            if (r == 0) look_at(v, &m);
        }
        check_subscriber_balance(v->sub);
        if (v->lives++ % 2 != 0) {
            CHECK(mtaio_unsubscribe(v->sub) == 1);
            mtaio_subscriber_stats s_end = subscriber_sums_of(v->sub);
            CHECK(s_end.waiting == 0 && s_end.reached == s_end.delivered + s_end.dropped);
        }
        mtaio_subscriber_unref(v->sub);
    }
    v->sub = NULL;
}

static void publish_or_receive(unsigned index, void *arg) {
    struct run *r = arg;
    if (index < r->plan->publishers) {
        publish_all(r, index);
    } else {
        struct receiver *v = &r->receivers[index - r->plan->publishers];
        if (v->kind == DYING)
            live_and_die(v);
        else
            receive_until_closed(v);
    }
}

/* --- Plans ------------------------------------------------------------------------------------- */

/* Of one that was there from the start to the end. */
static void check_receiver(const struct receiver *v, uint64_t sent) {
    mtaio_subscriber_stats s = subscriber_sums_of(v->sub);
    CHECK(s.reached == sent && s.waiting == 0);
    CHECK(s.delivered == v->received && s.delivered + s.dropped == s.reached);
    CHECK(v->missed <= s.dropped); /* what was dropped after the last message is told by none */
    CHECK(s.dropped == 0 || v->run->plan->overflow == MTAIO_DROP_OLDEST ||
          v->run->plan->overflow == MTAIO_DROP_NEWEST);
    CHECK(s.dropped == v->missed ||
          v->run->plan->overflow == MTAIO_DROP_NEWEST); /* only the newest go unnoticed */
    CHECK(s.high_water <= v->run->plan->limit);
}

static void run_plan(const struct plan *p) {
    static struct run r;
    uint64_t fewer = SANITIZED ? 50 : 1, more = getenv("MTAIO_STRESS") != NULL ? 20 : 1;
    r = (struct run){
        .plan = p, .ch = channel_new(), .each = p->each * more / fewer, .publishing = p->publishers};
    for (unsigned i = 0; i < p->kind_count; i++) {
        r.receivers[i] = (struct receiver){.run = &r, .kind = p->kinds[i]};
        if (p->kinds[i] == DYING) continue;
        static const char *const some[] = {"some.*", NULL};
        r.receivers[i].picks = p->topics && i % 2 == 0;
        r.receivers[i].sub =
            subscribe_with(r.ch, MTAIO_SUBSCRIPTION(.patterns = r.receivers[i].picks ? some : NULL,
                                                    .buffer_size = p->limit, .overflow = p->overflow));
    }
    int64_t start = support_now_ms();
    support_threads(p->publishers + p->kind_count, publish_or_receive, &r);
    uint64_t published = 0, elsewhere = 0, refused = 0, received = 0, lives = 0;
    for (unsigned i = 0; i < p->publishers; i++) {
        published += r.published[i];
        elsewhere += r.elsewhere[i];
        refused += r.refused[i];
    }
    for (unsigned i = 0; i < p->kind_count; i++) {
        struct receiver *v = &r.receivers[i];
        received += v->received;
        lives += v->lives;
        if (v->sub == NULL) continue;
        check_receiver(v, v->picks ? published - elsewhere : published);
        mtaio_subscriber_unref(v->sub);
    }
    mtaio_channel_stats s = sums_of(r.ch);
    CHECK(s.published == published && s.refused == refused && s.delivered == received);
    CHECK(s.reached == s.delivered + s.dropped && s.waiting == 0);
    print_message("# %s: %" PRIu64 " published, %" PRIu64 " refused, %" PRIu64 " delivered, %" PRIu64
                  " dropped, %" PRIu64 " lives, %" PRId64 " ms\n",
                  p->name, published, refused, received, s.dropped, lives, support_now_ms() - start);
    mtaio_channel_unref(r.ch);
}

static const struct plan plans[] = {
    {"block", MTAIO_BLOCK, 256, 2, {BULK, SINGLE, SLOW}, 3, 500000, false},
    {"block, one place", MTAIO_BLOCK, 1, 1, {SINGLE, BULK}, 2, 20000, false},
    {"block, dying", MTAIO_BLOCK, 1000, 2, {BULK, DYING, DYING}, 3, 400000, true},
    {"drop the oldest", MTAIO_DROP_OLDEST, 100, 2, {BULK, SINGLE, SLOW, ASLEEP}, 4, 1500000, false},
    {"drop the oldest, dying", MTAIO_DROP_OLDEST, 7, 3, {SLOW, DYING, BULK, DYING}, 4, 500000, true},
    {"drop the newest", MTAIO_DROP_NEWEST, 64, 2, {BULK, SINGLE, SLOW, ASLEEP}, 4, 1500000, false},
    {"drop the newest, dying", MTAIO_DROP_NEWEST, 33, 3, {SLOW, DYING, BULK, DYING}, 4, 400000, true},
    {"refuse", MTAIO_REFUSE, 128, 2, {BULK, SINGLE, SLOW}, 3, 600000, false},
    {"refuse, dying", MTAIO_REFUSE, 31, 3, {SLOW, DYING, BULK}, 3, 300000, true},
    {"no limit", MTAIO_BLOCK, MTAIO_UNBOUNDED, 3, {BULK, SINGLE, SLOW}, 3, 300000, true},
};

static void test_plans(void **state) {
    (void)state;
    for (size_t i = 0; i < COUNT(plans); i++) run_plan(&plans[i]);
}

/* "No stream of unseen names grows memory without bound": a million, or a hundred, of topics that nobody has
 * named before, beside subscribers whose patterns match some of them, and what is kept by topic. */
static void test_unseen_names(void **state) {
    (void)state;
    enum { PATTERNS = 1000, KEPT = 100 };
    unsigned names = getenv("MTAIO_STRESS") != NULL ? 100000000 : SANITIZED ? 20000 : 1000000;
    mtaio_channel *ch = channel_with(MTAIO_CHANNEL_OPTIONS(.replay = KEPT, .replay_by_topic = true));
    mtaio_subscriber *sub =
        subscribe_with(ch, MTAIO_SUBSCRIPTION(.buffer_size = 10, .overflow = MTAIO_DROP_OLDEST));
    char name[48];
    size_t bytes = 0;
    for (unsigned i = 0; i < PATTERNS; i++) {
        snprintf(name, sizeof name, i % 10 != 0 ? "known.%u" : "*.%u.**", i);
        CHECK(mtaio_subscriber_add(sub, name) == 1);
    }
    for (unsigned i = 0; i < names; i++) {
        snprintf(name, sizeof name, "new.%u.%x", i, i * 2654435761u);
        int matches = i < PATTERNS && i % 10 == 0;
        CHECK(mtaio_publish(ch, name, &i, sizeof i) == matches);
        CHECK(mtaio_channel_reach(ch, name) == matches);
        if (i == names / 10) bytes = support_live_bytes();
    }
    mtaio_reclaim();
    assert_in_range(support_live_bytes(), 0, bytes + PATTERNS * 100);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(ch);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(test_plans), TEST(test_unseen_names)};
    warm_up();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
