/* audiences.h - what the tests of audiences share: a place where members meet, and who asks there. */
#ifndef MTAIO_TESTS_AUDIENCES_H
#define MTAIO_TESTS_AUDIENCES_H

#include "support.h"

#include <mtaio/base.h>
#include <stdio.h>
#include <string.h>

#include "core/audience.h"
#include "core/guard.h"
#include "topic_oracle.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

struct fixture {
    struct reclaimer reclaimer; /* first: sweep_of finds the fixture by it */
    struct guard guard;
    struct audiences a;
    atomic_int holds;
};

static inline void sweep_of(struct reclaimer *r) {
    struct fixture *f = (struct fixture *)r;
    guard_lock(&f->guard);
    mtaio__audiences_sweep(&f->a);
    guard_unlock(&f->guard);
}
static inline void hold(struct reclaimer *r) { atomic_fetch_add(&((struct fixture *)r)->holds, 1); }
static inline void drop_hold(struct reclaimer *r) { atomic_fetch_sub(&((struct fixture *)r)->holds, 1); }

static inline void begin(struct fixture *f) {
    *f = (struct fixture){.reclaimer = {.sweep = sweep_of, .hold = hold, .drop = drop_hold}};
    mtaio__audiences_init(&f->a, &f->reclaimer, &f->guard);
}

static inline void end(struct fixture *f) {
    mtaio_reclaim();
    assert_int_equal(atomic_load(&f->holds), 0);
    assert_int_equal(f->reclaimer.waiting, 0);
    mtaio__audiences_fini(&f->a);
}

static inline int add(struct fixture *f, struct member *m, const char *pattern) {
    guard_lock(&f->guard);
    int r = mtaio__audiences_add(&f->a, m, pattern);
    guard_unlock(&f->guard);
    return r;
}

static inline int drop(struct fixture *f, struct member *m, const char *pattern) {
    guard_lock(&f->guard);
    int r = mtaio__audiences_drop(&f->a, m, pattern);
    guard_unlock(&f->guard);
    return r;
}

static inline void leave(struct fixture *f, struct member *m) {
    guard_lock(&f->guard);
    mtaio__audiences_leave(&f->a, m);
    guard_unlock(&f->guard);
}

/* How many get the topic, as far as it is remembered; else < 0. */
static inline int recall(struct fixture *f, const char *topic) {
    guard_lock(&f->guard);
    struct audience known = mtaio__audiences_recall(&f->a, topic, strlen(topic));
    guard_unlock(&f->guard);
    return known.list != NULL ? (int)known.count : -1;
}

/* How many get the topic, by all ways of asking; each is one of the members, and only once. */
static inline int count(struct fixture *f, const char *topic, struct member *members, size_t n, bool *got) {
    struct member *const *list;
    size_t found;
    int recalled = recall(f, topic);
    memset(got, 0, n * sizeof *got);
    guard_lock(&f->guard);
    int r = mtaio__audiences_of(&f->a, topic, &list, &found);
    for (size_t i = 0; r == 0 && i < found; i++) {
        CHECK(list[i] >= members && list[i] < members + n && !got[list[i] - members]);
        got[list[i] - members] = true;
    }
    guard_unlock(&f->guard);
    if (r == 0)
        CHECK(recalled < 0 || recalled == (int)found);
    if (r == 0)
        CHECK(mtaio__audiences_reach(&f->a, topic) == (int)found);
    return r < 0 ? r : (int)found;
}

#define FIXTURE(f)                                                                                           \
    struct fixture f;                                                                                        \
    size_t blocks = support_live_blocks();                                                                   \
    begin(&f)
#define END(f)                                                                                               \
    do {                                                                                                     \
        end(&f);                                                                                             \
        assert_int_equal(support_live_blocks(), blocks);                                                     \
    } while (0)

/* First in main: the thread's record stays. */
static inline void audiences_init(void) {
    support_init();
    CHECK(thread_here() != NULL);
}

#endif
