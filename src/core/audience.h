/* audience.h - which members (subscribers) get a topic: the patterns of each, and who has a pattern that
 * matches. */
#ifndef MTAIO_SRC_AUDIENCE_H
#define MTAIO_SRC_AUDIENCE_H

#include "core/topic.h"

struct guard;

/* In every subscriber. Zeroed: no patterns. The guard's. */
struct member {
    struct membership *memberships; /* a hash table by the pattern's slot */
    size_t capacity;
    size_t count;  /* patterns */
    uint64_t seen; /* the search that came upon it last */
};

/* Who gets a topic. */
struct audience {
    struct member *const *list; /* NULL: it is not known */
    size_t count;
};

/* A topic that the memo has. Zeroed: none. */
struct recalled {
    const char *name;
    size_t length;
    struct audience audience;
};

/* Who has which patterns. Unless a comment says otherwise the guard is held by the caller. */
struct audiences {
    topics patterns;            /* pattern -> audience: see audience.c */
    ATOMIC(struct memo *) memo; /* NULL: nothing was asked for yet */
    struct guard *guard;
    char apart[64]; /* readers share what is above, without what changes in between */
    size_t count;   /* of the patterns of all members */
    uint64_t searches;
    struct recalled last;  /* none, once the memo has changed */
    struct member **found; /* the last list that was made */
    size_t found_capacity;
};

/* The reclaimer is the owner's, zeroed but for hold, drop, and a sweep that takes the guard and calls
 * mtaio__audiences_sweep. */
void mtaio__audiences_init(struct audiences *a, struct reclaimer *reclaimer, struct guard *guard);

/* Nobody has a pattern or reads any more; nothing holds the owner. Without the guard. */
void mtaio__audiences_fini(struct audiences *a);

/* 1: added; 0: it was there; ENOMEM. The pattern is valid. */
int mtaio__audiences_add(struct audiences *a, struct member *m, const char *pattern);

/* 1: dropped; 0: it was not there. These two allocate nothing. */
int mtaio__audiences_drop(struct audiences *a, struct member *m, const char *pattern);

/* Drops all that the member has, in time in proportion to them. */
void mtaio__audiences_leave(struct audiences *a, struct member *m);

/* Those who have a pattern that matches the valid topic, each once. The list is valid until the guard is
 * released or something here is called. 0 or ENOMEM. */
int mtaio__audiences_of(struct audiences *a, const char *topic, struct member *const **ret,
                        size_t *ret_count);

/* The same where the topic is remembered, and so valid; list NULL: it is not. */
struct audience mtaio__audiences_recall(struct audiences *a, const char *name, size_t length);

/* How many they are, INT_MAX at most, of a topic that may be none. Without the guard, which it takes at
 * times. Who joins or leaves meanwhile is counted or not. ENAME, ENOMEM. */
int mtaio__audiences_reach(struct audiences *a, const char *topic);

/* Frees what was taken out and is not read any more. */
void mtaio__audiences_sweep(struct audiences *a);

#endif
