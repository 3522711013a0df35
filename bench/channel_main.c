/* channel_main.c - the program of the benchmarks of channels; run.py runs it beside the first.
 *
 *     mtaio-bench-channel [--sample-us N] [--rounds N] [--budget-ms N] [--only BEGINNING-OF-CASE] */
#define _GNU_SOURCE
#include <malloc.h>
#include <mtaio/mtaio.h>
#include <string.h>

#include "channel.h"
#include "channel_cases.h"

__thread bool channel_first;

void channel_nap(void) {
    for (double end = bench_now_ns() + CHANNEL_NAP_NS; bench_now_ns() < end;) {}
}

/* --- Passing messages ------------------------------------------------------------------------------------ */

static const struct channel_peer *const peers[] = {&channel_bare, &channel_mtaio, &channel_mutex, &channel_futex,
                                                   &channel_glib, &channel_zmq,   &channel_nng};
enum { PEERS = sizeof peers / sizeof *peers };

static struct transit *transit_new(void *channel, size_t receivers) {
    struct transit *t = bench_alloc(sizeof *t);
    t->channel = channel;
    t->receivers = receivers;
    return t;
}

typedef void run(void *state, size_t times);
static run *alone_of(const struct channel_peer *p) { return p->alone; }
static run *pass_of(const struct channel_peer *p) { return p->pass; }
static run *two_of(const struct channel_peer *p) { return p->two; }

/* One channel for each peer. unit: messages in one of times of each thread. */
static void pass_case(const char *name, size_t receivers, run *(*what)(const struct channel_peer *p), unsigned threads,
                      double unit) {
    bench_side sides[PEERS];
    const struct channel_peer *who[PEERS];
    size_t count = 0;
    if (!bench_wanted(name) || (threads == 2 && !bench_two_processors())) return;
    for (size_t i = 0; i < PEERS; i++) {
        if (!peers[i]->name || !what(peers[i]) || (peers[i] == &channel_futex && receivers > 1)) continue;
        who[count] = peers[i];
        sides[count++] = (bench_side){.who = peers[i]->name,
                                      .variant = "",
                                      .state = transit_new(peers[i]->open(receivers), receivers),
                                      .run = what(peers[i]),
                                      .threads = threads,
                                      .unit = unit};
    }
    bench_case(name, sides, count);
    for (size_t i = 0; i < count; i++) {
        who[i]->close(((struct transit *)sides[i].state)->channel);
        free(sides[i].state);
    }
}

static run *bulk_of(const struct channel_peer *p) {
    return p == &channel_mtaio ? channel_mtaio_pass_bulk : p == &channel_bare ? channel_bare_pass_bulk : NULL;
}

/* Two channels for each peer: there and back. */
static void trip_case(const char *name, bool naps) {
    bench_side sides[PEERS];
    const struct channel_peer *who[PEERS];
    size_t count = 0;
    if (!bench_wanted(name) || !bench_two_processors()) return;
    for (size_t i = 0; i < PEERS; i++) {
        run *trip = naps ? peers[i]->nap : peers[i]->ping;
        if (!peers[i]->name || !trip) continue;
        struct transit *both = bench_alloc(2 * sizeof *both);
        for (int k = 0; k < 2; k++) both[k] = (struct transit){.channel = peers[i]->open(1), .receivers = 1};
        who[count] = peers[i];
        sides[count++] = (bench_side){.who = peers[i]->name,
                                      .variant = "",
                                      .state = both,
                                      .run = trip,
                                      .threads = 2,
                                      .unit = naps ? 0.5 : 0.5 * CHANNEL_TRIPS};
    }
    bench_case(name, sides, count);
    for (size_t i = 0; i < count; i++) {
        struct transit *both = sides[i].state;
        for (int k = 0; k < 2; k++) who[i]->close(both[k].channel);
        free(both);
    }
}

static void topic_case(void) {
    if (!bench_wanted("channel topic")) return;
    struct transit *t = transit_new(channel_mtaio_open_topic(), 1);
    bench_side side = {.who = "mtaio", .variant = "", .state = t, .run = channel_mtaio_topic};
    bench_case("channel topic", &side, 1);
    channel_mtaio.close(t->channel);
    free(t);
}

void cases_of_passing(void) {
    pass_case("channel alone/1", 1, alone_of, 1, 1);
    pass_case("channel alone/3", 3, alone_of, 1, 1);
    topic_case();
    pass_case("channel threads/1", 1, pass_of, 2, 0.5 * CHANNEL_BURST);
    pass_case("channel threads/3", 3, pass_of, 2, 0.5 * CHANNEL_BURST);
    pass_case("channel bulk/1", 1, bulk_of, 2, 0.5 * CHANNEL_BURST);
    pass_case("channel bulk/3", 3, bulk_of, 2, 0.5 * CHANNEL_BURST);
    pass_case("channel two publishers", 1, two_of, 2, CHANNEL_BURST);
    trip_case("channel trip awake", false);
    trip_case("channel trip asleep", true);
}

/* --- Memory ------------------------------------------------------------------------------------------------ */

static __thread size_t allocations;

static void *count_alloc(size_t bytes, void *ctx) {
    (void)ctx;
    allocations++;
    return malloc(bytes);
}
static void *count_resize(void *old, size_t old_bytes, size_t bytes, void *ctx) {
    (void)old_bytes;
    (void)ctx;
    allocations++;
    return realloc(old, bytes);
}
static void count_free(void *block, size_t bytes, void *ctx) {
    (void)bytes;
    (void)ctx;
    free(block);
}

static double bytes_used(void) {
    struct mallinfo2 info = mallinfo2();
    return (double)(info.uordblks + info.hblkhd);
}

static void idle_subscribers(void) {
    enum { COUNT = 100000 };
    mtaio_subscriber **list = bench_alloc(COUNT * sizeof *list);
    mtaio_channel *ch = NULL;
    bench_ok(mtaio_channel_new(NULL, &ch));
    double before = bytes_used();
    for (int i = 0; i < COUNT; i++) bench_ok(mtaio_subscribe(ch, NULL, &list[i]));
    bench_value("channel memory", "mtaio", "idle subscriber", (bytes_used() - before) / COUNT, "bytes");
    for (int i = 0; i < COUNT; i++) mtaio_subscriber_unref(list[i]);
    mtaio_channel_unref(ch);
    free(list);
}

static void allocations_of(const char *variant, run *what, struct transit *t) {
    enum { TIMES = 100000 };
    what(t, 2000); /* the buffers have their size then */
    size_t before = allocations;
    what(t, TIMES);
    bench_value("channel allocations", "mtaio", variant, (double)(allocations - before) / TIMES,
                "allocations per publish and receive");
    channel_mtaio.close(t->channel);
    free(t);
}

void cases_of_memory(void) {
    if (bench_wanted("channel memory")) idle_subscribers();
    if (!bench_wanted("channel allocations")) return;
    allocations_of("1 subscriber", channel_mtaio.alone, transit_new(channel_mtaio.open(1), 1));
    allocations_of("3 subscribers", channel_mtaio.alone, transit_new(channel_mtaio.open(3), 3));
    allocations_of("with a topic", channel_mtaio_topic, transit_new(channel_mtaio_open_topic(), 1));
}

int main(int argc, char **argv) {
    channel_first = true;
    bench_ok(mtaio_set_allocator(&(mtaio_allocator){
        .size = sizeof(mtaio_allocator), .alloc = count_alloc, .resize = count_resize, .free = count_free}));
    bench_init(argc, argv);
    cases_of_memory();
    cases_of_passing();
    cases_of_matching();
    return bench_end();
}
