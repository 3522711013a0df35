/* cases_peers.c - the cases that every competitor can take part in. */
#include "cases.h"

#include <stdio.h>
#include <stdlib.h>

/* Those of them that are there, in the order of the tables. */
static const bench_peer *const peers[] = {&peer_bare, &peer_mtaio,   &peer_mtaio_by_name, &peer_far,
                                          &peer_glib, &peer_wayland, &peer_sigc,          &peer_boost};
static const bench_peer *const writers[] = {&peer_bare,  &peer_mtaio,       &peer_mtaio_off,
                                            &peer_glib,  &peer_wayland,     &peer_sigc,
                                            &peer_boost, &scheme_urcu_memb, &scheme_mutex};
static const bench_peer *const schemes[] = {
    &peer_bare,       &scheme_pin,       &scheme_urcu_memb, &scheme_urcu_bp,  &scheme_pin_fence,
    &scheme_ck_epoch, &scheme_ck_hazard, &scheme_mutex,     &scheme_refcount, &peer_mtaio};

static const bench_peer *const fillers[] = {&peer_mtaio, &peer_glib, &peer_wayland, &peer_sigc, &peer_boost};
static const bench_peer *const finder = &peer_mtaio_off;

enum { SIDES_MAX = 32, FILL = 100000 };

/* A case under construction. */
struct cast {
    bench_side sides[SIDES_MAX];
    const bench_peer *peers[SIDES_MAX];
    size_t count;
};

static bench_side *join(struct cast *cast, const bench_peer *peer, const char *variant, void *signal) {
    bench_side *side = &cast->sides[cast->count];
    cast->peers[cast->count++] = peer;
    *side = (bench_side){.who = peer->name, .variant = variant, .state = signal, .run = peer->emit};
    return side;
}

/* A signal may play several sides, one after the other. */
static void perform(const char *name, struct cast *cast) {
    bench_case(name, cast->sides, cast->count);
    for (size_t i = 0; i < cast->count; i++)
        if (i == 0 || cast->sides[i].state != cast->sides[i - 1].state)
            cast->peers[i]->close(cast->sides[i].state);
}

/* One thread emits; each handler has its own counter. */
static void emit_case(const char *group, const bench_peer *const *list, size_t list_count, size_t n) {
    char name[64];
    struct cast cast = {.count = 0};
    uint64_t *counters[SIDES_MAX];
    snprintf(name, sizeof name, "%s/%zu", group, n);
    if (!bench_wanted(name))
        return;
    for (size_t i = 0; i < list_count; i++) {
        if (!list[i]->name)
            continue;
        counters[i] = bench_alloc((n + 1) * sizeof(uint64_t));
        bench_side *side = join(&cast, list[i], "", list[i]->open(n, counters[i]));
        side->calls = n;
        side->counters = counters[i];
        side->counter_count = n;
    }
    perform(name, &cast);
    for (size_t i = 0; i < list_count; i++)
        if (list[i]->name)
            free(counters[i]);
}

/* One thread emits, and then two threads emit the same. */
static void threads_case(const char *group, const bench_peer *const *list, size_t list_count, size_t n) {
    char name[64];
    struct cast cast = {.count = 0};
    snprintf(name, sizeof name, "%s/%zu", group, n);
    if (!bench_wanted(name) || !bench_two_processors())
        return;
    for (size_t i = 0; i < list_count; i++) {
        if (!list[i]->name || !list[i]->concurrent)
            continue;
        void *signal = list[i]->open(n, NULL);
        join(&cast, list[i], "1 thread", signal)->calls = n;
        bench_side *two = join(&cast, list[i], "2 threads", signal);
        two->calls = n;
        two->threads = 2;
    }
    perform(name, &cast);
}

/* The neighbour of the bare loop, which stands for what any busy neighbour costs. */
static void busy(void *state, size_t times) {
    (void)state;
    for (; times; times--)
        free(bench_alloc(256));
}

/* One thread emits undisturbed, and then while another adds and removes. */
static void churn_case(size_t n) {
    char name[64];
    struct cast cast = {.count = 0};
    snprintf(name, sizeof name, "churn/%zu", n);
    if (!bench_wanted(name) || !bench_two_processors())
        return;
    for (size_t i = 0; i < COUNT_OF(writers); i++) {
        const bench_peer *peer = writers[i];
        bool bare = peer == &peer_bare;
        if (!peer->name || !peer->concurrent || (!peer->add_remove && !bare))
            continue;
        uint64_t *counters = bench_alloc((n + 1) * sizeof(uint64_t));
        void *signal = peer->open(n, counters);
        for (int disturbed = 0; disturbed < 2; disturbed++) {
            bench_side *side = join(&cast, peer, disturbed ? "disturbed" : "quiet", signal);
            side->calls = n;
            side->counters = counters;
            side->counter_count = n;
            side->beside = !disturbed ? NULL : bare ? busy : peer->add_remove;
            side->beside_state = signal;
        }
    }
    perform(name, &cast);
    for (size_t i = 0; i < cast.count; i += 2)
        free((void *)(uintptr_t)cast.sides[i].counters);
}

static void add_remove_case(size_t others) {
    char name[64];
    struct cast cast = {.count = 0};
    snprintf(name, sizeof name, "add+remove/%zu", others);
    if (!bench_wanted(name))
        return;
    for (size_t i = 0; i < COUNT_OF(writers); i++)
        if (writers[i]->name && writers[i]->add_remove)
            join(&cast, writers[i], "", writers[i]->open(others, NULL))->run = writers[i]->add_remove;
    perform(name, &cast);
}

/* --- Filling and emptying ---------------------------------------------------------------------------- */

/* 100,000 handlers come and go, in one go or 1,000 at a time. */
struct fill {
    const bench_peer *peer;
    void *signal;
    size_t n;
    const uint32_t *order;
};

static void fill(void *state, size_t times) {
    struct fill *f = state;
    for (size_t handlers = times * FILL; handlers; handlers -= f->n)
        f->peer->fill(f->signal, f->n, f->order);
}

static void fill_case(const char *name, const bench_peer *const *list, size_t list_count) {
    static const size_t sizes[] = {1000, FILL};
    static const char *const variants[] = {"1000", "100000"};
    struct fill fills[SIDES_MAX];
    bench_side sides[SIDES_MAX];
    size_t count = 0;
    if (!bench_wanted(name))
        return;
    uint32_t *orders[] = {bench_permutation(sizes[0]), bench_permutation(sizes[1])};
    for (size_t i = 0; i < list_count * 2; i++) {
        const bench_peer *peer = list[i / 2];
        if (!peer->name || !peer->fill)
            continue;
        void *signal = peer->open(0, NULL);
        fills[count] =
            (struct fill){.peer = peer, .signal = signal, .n = sizes[i % 2], .order = orders[i % 2]};
        sides[count] = side_of(peer->name, fill, &fills[count], 0);
        sides[count].variant = variants[i % 2];
        sides[count].unit = FILL;
        count++;
    }
    bench_case(name, sides, count);
    for (size_t i = 0; i < count; i++)
        fills[i].peer->close(fills[i].signal);
    free(orders[0]);
    free(orders[1]);
}

void cases_of_peers(void) {
    emit_case("emit", peers, COUNT_OF(peers), 0);
    for (size_t n = 1; n <= 100; n *= 10)
        emit_case("emit", peers, COUNT_OF(peers), n);
    for (size_t n = 1; n <= 10; n *= 10)
        threads_case("threads", peers, COUNT_OF(peers), n);
    churn_case(10);
    add_remove_case(0);
    add_remove_case(1000);
    fill_case("fill/by listener", fillers, COUNT_OF(fillers));
    fill_case("fill/by function", &finder, 1);
    for (size_t n = 1; n <= 100; n *= 10) {
        emit_case("scheme", schemes, COUNT_OF(schemes), n);
        threads_case("scheme threads", schemes, COUNT_OF(schemes), n);
    }
}
