/* replay.c - what a channel keeps for subscribers that come later: the last messages, or the last of each
 * topic.
 *
 * One list of at most `limit` messages, the oldest first. By topic, a message takes the place of the one
 * before it of its topic, and messages without a topic are one more; a hash table finds that one. */
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"
#include "core/channel.h"

struct kept {
    struct link link; /* first: the list */
    struct slot slot;
    struct kept *next; /* of the same bucket */
    uint64_t hash;
};

struct replay {
    struct link all; /* a ring */
    size_t count, limit;
    bool by_topic;
    struct kept **buckets; /* by topic; NULL at first */
    size_t bucket_count;   /* a power of two */
    struct kept *place;    /* between look and keep: for the message, of a topic with this hash */
    uint64_t hash;
};

int mtaio__replay_new(size_t limit, bool by_topic, struct replay **ret) {
    struct replay *r = mtaio__alloc_zeroed(sizeof *r);
    if (!r) return MTAIO_ENOMEM;
    r->all.next = r->all.prev = &r->all;
    r->limit = limit;
    r->by_topic = by_topic;
    *ret = r;
    return 0;
}

void mtaio__replay_free(struct replay *r) {
    if (!r) return;
    for (struct link *l = r->all.next, *next; l != &r->all; l = next) {
        next = l->next;
        slot_clear(&((struct kept *)l)->slot);
        mtaio__free(l, sizeof(struct kept));
    }
    mtaio__free(r->buckets, r->bucket_count * sizeof(struct kept *));
    mtaio__free(r, sizeof *r);
}

/* --- By topic ---------------------------------------------------------------------------------- */

static uint64_t hash_of(const char *topic) { return topic ? mtaio__hash(topic, strlen(topic)) : 0; }

static bool is_same(const char *a, const char *b) { return a && b ? strcmp(a, b) == 0 : a == b; }

static struct kept **bucket_of(const struct replay *r, uint64_t hash) {
    return &r->buckets[hash & (r->bucket_count - 1)];
}

static struct kept *find(const struct replay *r, const char *topic) {
    struct kept *k = r->bucket_count > 0 ? *bucket_of(r, r->hash) : NULL;
    while (k && (k->hash != r->hash || !is_same(slot_topic(&k->slot), topic))) k = k->next;
    return k;
}

static void bucket_add(const struct replay *r, struct kept *k) {
    struct kept **bucket = bucket_of(r, k->hash);
    k->next = *bucket;
    *bucket = k;
}

static void bucket_remove(const struct replay *r, const struct kept *k) {
    struct kept **at = bucket_of(r, k->hash);
    while (*at != k) at = &(*at)->next;
    *at = k->next;
}

/* As many buckets as there will be messages. */
static bool buckets_fit(struct replay *r) {
    struct replay grown = {.bucket_count = r->bucket_count > 0 ? r->bucket_count * 2 : 8};
    if (r->count < r->bucket_count) return true;
    grown.buckets = mtaio__alloc_zeroed(grown.bucket_count * sizeof(struct kept *));
    if (!grown.buckets) return false;
    for (struct link *l = r->all.next; l != &r->all; l = l->next) bucket_add(&grown, (struct kept *)l);
    mtaio__free(r->buckets, r->bucket_count * sizeof(struct kept *));
    r->buckets = grown.buckets;
    r->bucket_count = grown.bucket_count;
    return true;
}

/* --- Keeping ----------------------------------------------------------------------------------- */

int mtaio__replay_look(struct replay *r, const char *topic) {
    r->place = NULL;
    if (r->by_topic) {
        r->hash = hash_of(topic);
        r->place = find(r, topic);
    }
    if (!r->place && r->count == r->limit) r->place = (struct kept *)r->all.next;
    if (r->place) return 0;
    if (r->by_topic && !buckets_fit(r)) return MTAIO_ENOMEM;
    r->place = mtaio__alloc_zeroed(sizeof *r->place);
    return r->place ? 0 : MTAIO_ENOMEM;
}

void mtaio__replay_keep(struct replay *r, const struct slot *slot, struct after *after) {
    struct kept *k = r->place;
    if (k->link.next) {
        if (r->by_topic) bucket_remove(r, k);
        link_remove(&k->link);
        mtaio__slot_throw(&k->slot, 1, &after->garbage);
    } else {
        r->count++;
    }
    k->slot = *slot;
    k->hash = r->hash;
    link_before(&r->all, &k->link);
    if (r->by_topic) bucket_add(r, k);
}

/* --- Giving ------------------------------------------------------------------------------------ */

static bool is_for(const struct kept *k, const mtaio_subscriber *sub, const char *const *patterns) {
    const char *topic = slot_topic(&k->slot);
    if (sub->origin && slot_origin(&k->slot) == sub->origin) return false;
    if (!topic || !patterns || !*patterns) return true;
    while (*patterns && !mtaio__pattern_matches(*patterns, topic)) patterns++;
    return *patterns;
}

/* From the newest back: where those begin that there is room for; what is older is missed. */
static const struct link *first_to_give(const struct replay *r, mtaio_subscriber *sub,
                                        const char *const *patterns) {
    const struct link *first = &r->all;
    size_t room = sub->limit;
    for (const struct link *l = r->all.prev; l != &r->all; l = l->prev) {
        if (!is_for((const struct kept *)l, sub, patterns)) continue;
        if (room > 0) {
            room--;
            first = l;
        } else {
            sub->gap++;
            sub->skipped++;
        }
    }
    return first;
}

int mtaio__replay_give(const struct replay *r, mtaio_subscriber *sub, const char *const *patterns) {
    struct after none;
    after_init(&none); /* nothing is dropped, nobody watches */
    for (const struct link *l = first_to_give(r, sub, patterns); l != &r->all; l = l->next) {
        const struct kept *k = (const struct kept *)l;
        if (!is_for(k, sub, patterns)) continue;
        int result = buffer_look(sub);
        if (result < 0) return result;
        slot_hold(&k->slot, 1);
        buffer_push(sub, &k->slot, &none);
    }
    return 0;
}
