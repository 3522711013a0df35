/* channel_match.c - published names against 1,000,000 subscriptions: 90 % of them exact, 10 % with a wildcard, of three
 * or four segments; and how many bytes they are. */
#include <malloc.h>
#include <mtaio/mtaio.h>
#include <string.h>

#include "channel.h"
#include "channel_cases.h"

enum { SUBSCRIPTIONS = 1000000, SUBSCRIBERS = 1000, NAMES = 1 << 17, HOT = 1000, NAME = 48 };

static struct {
    mtaio_channel *channel;
    mtaio_subscriber *subscribers[SUBSCRIBERS];
    char (*patterns)[NAME];
    char (*uniform)[NAME], (*hot)[NAME], (*once)[NAME]; /* each NAMES long */
    uint64_t random;
    size_t added;
    double bytes_before;
} all = {.random = 88172645463325252u};

static uint32_t draw(uint32_t below) { /* xorshift64 */
    all.random ^= all.random << 13;
    all.random ^= all.random >> 7;
    all.random ^= all.random << 17;
    return (uint32_t)((all.random >> 32) * below >> 32);
}

/* kind.site.device[.what]: 100, 1,000, 5,000 and 10 words. wild: one of the segments is '*', or the last "**". */
static void draw_name(char *ret, bool wild) {
    static const char *const kinds[] = {"sensor", "order", "user",  "device", "trade",
                                        "log",    "metric", "alarm", "job",    "session"};
    static const char *const what[] = {"created", "updated", "deleted", "temperature", "humidity",
                                       "status",  "price",   "error",   "login",       "heartbeat"};
    char segment[4][24];
    uint32_t count = 3 + draw(2), star = draw(count), kind = draw(4);
    snprintf(segment[0], sizeof segment[0], "%s%u", kinds[draw(10)], draw(10));
    snprintf(segment[1], sizeof segment[1], "site-%u", draw(1000));
    snprintf(segment[2], sizeof segment[2], "%u", draw(5000));
    snprintf(segment[3], sizeof segment[3], "%s", what[draw(10)]);
    if (wild && kind < 3) strcpy(segment[star], "*");
    if (wild && kind == 3) strcpy(segment[count - 1], "**");
    ret[0] = '\0';
    for (uint32_t i = 0; i < count; i++) {
        strcat(ret, i ? "." : "");
        strcat(ret, segment[i]);
    }
}

static bool is_wild(size_t subscription) { return subscription % 10 == 9; }
static mtaio_subscriber *subscriber_of(size_t subscription) { return all.subscribers[subscription % SUBSCRIBERS]; }

static double bytes_used(void) {
    struct mallinfo2 info = mallinfo2();
    return (double)(info.uordblks + info.hblkhd);
}

/* --- Setting up, which is a measurement too -------------------------------------------------------------- */

static void draw_names(void) {
    all.patterns = bench_alloc((size_t)SUBSCRIPTIONS * NAME);
    all.uniform = bench_alloc((size_t)NAMES * NAME);
    all.hot = bench_alloc((size_t)NAMES * NAME);
    all.once = bench_alloc((size_t)NAMES * NAME);
    for (size_t i = 0; i < SUBSCRIPTIONS; i++) draw_name(all.patterns[i], is_wild(i));
    for (size_t i = 0; i < NAMES; i++) { /* of those that somebody has subscribed to */
        size_t k = draw(SUBSCRIPTIONS);
        memcpy(all.uniform[i], all.patterns[is_wild(k) ? k - 1 : k], NAME);
        k = draw(SUBSCRIPTIONS);
        memcpy(all.once[i], all.patterns[is_wild(k) ? k - 1 : k], NAME);
        memcpy(all.hot[i], i < HOT ? all.uniform[i] : all.hot[draw(HOT)], NAME);
    }
}

static void tell_bytes(const char *variant) {
    double bytes = bytes_used() - all.bytes_before;
    bench_value("match bytes", "mtaio", variant, bytes / (double)all.added, "bytes per subscription");
}

static void subscribe_all(void) {
    bench_ok(mtaio_channel_new(NULL, &all.channel));
    all.bytes_before = bytes_used();
    for (size_t i = 0; i < SUBSCRIBERS; i++) {
        bench_ok(mtaio_subscribe(all.channel, "none", &all.subscribers[i]));
        bench_ok(mtaio_subscriber_drop(all.subscribers[i], "none"));
    }
    double start = bench_now_ns();
    for (size_t i = 0; i < SUBSCRIPTIONS; i++)
        all.added += (size_t)bench_ok(mtaio_subscriber_add(subscriber_of(i), all.patterns[i]));
    double took = bench_now_ns() - start;
    bench_value("match insert", "mtaio", "", took / (double)all.added, "ns per subscription");
    tell_bytes("");
}

/* --- Matching ---------------------------------------------------------------------------------------------- */

static __thread size_t at;
static volatile size_t reached;

static void match_names(void *names, size_t times) {
    char(*list)[NAME] = names;
    size_t sum = 0;
    for (; times; times--) sum += (size_t)bench_ok(mtaio_channel_reach(all.channel, list[at++ % NAMES]));
    reached = sum;
}

/* What stands for as much work as a match, without anything in common. */
static void bare_names(void *names, size_t times) {
    char(*list)[NAME] = names;
    uint64_t sum = 0;
    for (; times; times--)
        for (const char *s = list[at++ % NAMES]; *s; s++) sum = (sum ^ (unsigned char)*s) * 1099511628211u;
    reached = (size_t)sum;
}

static void remove_insert(void *unused, size_t times) {
    static size_t next;
    (void)unused;
    for (; times; times--) {
        size_t i = next = (next + 7919) % SUBSCRIPTIONS;
        if (bench_ok(mtaio_subscriber_drop(subscriber_of(i), all.patterns[i])))
            bench_ok(mtaio_subscriber_add(subscriber_of(i), all.patterns[i]));
    }
}

static bench_side side(const char *who, const char *variant, void (*run)(void *, size_t), void *state) {
    return (bench_side){.who = who, .variant = variant, .run = run, .state = state};
}

static void two_threads(void) {
    bench_side sides[] = {
        side("mtaio", "1 thread", match_names, all.hot), side("mtaio", "2 threads", match_names, all.hot),
        side("bare", "1 thread", bare_names, all.hot), side("bare", "2 threads", bare_names, all.hot)};
    sides[1].threads = sides[3].threads = 2;
    bench_case("match threads", sides, 4);
}

static void beside_changes(void) {
    bench_side sides[] = {side("mtaio", "quiet", match_names, all.hot),
                          side("mtaio", "disturbed", match_names, all.hot)};
    sides[1].beside = remove_insert;
    bench_case("match changing", sides, 2);
}

void cases_of_matching(void) {
    if (!bench_wanted("match")) return;
    draw_names();
    subscribe_all();
    bench_side uniform = side("mtaio", "", match_names, all.uniform), hot = side("mtaio", "", match_names, all.hot),
               once = side("mtaio", "", match_names, all.once), change = side("mtaio", "", remove_insert, NULL);
    bench_case("match once", &once, 1); /* never before: nothing is known of them */
    match_names(all.uniform, 4 * NAMES); /* often enough to be remembered */
    bench_case("match uniform", &uniform, 1);
    tell_bytes("remembering");
    match_names(all.hot, NAMES);
    bench_case("match hot", &hot, 1);
    bench_case("match remove+insert", &change, 1);
    if (bench_two_processors()) {
        two_threads();
        beside_changes();
    }
    for (size_t i = 0; i < SUBSCRIBERS; i++) mtaio_subscriber_unref(all.subscribers[i]);
    mtaio_channel_unref(all.channel);
}
