/* message.h - messages: in a buffer, in the hands of who received one, and on their way.
 *
 * A slot has the size of a mtaio_message and is the same inside, so receiving is copying it. What is small is
 * in the slot itself (INLINE, any number of copies). Data that was handed over and goes to one place is in it
 * by pointer (OWNED, exactly one slot). All else is in a content that slots share (SHARED, each holds a
 * reference). */
#ifndef MTAIO_SRC_MESSAGE_H
#define MTAIO_SRC_MESSAGE_H

#include <mtaio/channel.h>
#include <string.h>

#include "base/atomic.h"

enum slot_kind { SLOT_EMPTY, SLOT_INLINE, SLOT_OWNED, SLOT_SHARED };
enum { SLOT_HAS_DATA = 1, SLOT_HAS_TOPIC = 2 }; /* of INLINE and OWNED */
enum { SLOT_INSIDE = 48, SLOT_OWNED_TOPIC = 24 };

struct content;

struct __attribute__((may_alias)) slot {
    uint64_t missed;
    uint64_t head; /* kind, what it has, bytes of INLINE data, which the topic follows: one byte each */
    union {
        char inside[SLOT_INSIDE];
        struct {
            void *data;
            size_t bytes;
            mtaio_release release;
            char topic[SLOT_OWNED_TOPIC];
        } owned;
        struct content *content;
    } u;
};
_Static_assert(sizeof(struct slot) == sizeof(mtaio_message), "a message is a slot");

static inline uint64_t slot_head(enum slot_kind kind, unsigned has, size_t bytes) {
    return kind | has << 8 | bytes << 16;
}
static inline enum slot_kind slot_kind(const struct slot *s) { return (enum slot_kind)(s->head & 0xff); }
static inline bool slot_has(const struct slot *s, unsigned what) { return s->head >> 8 & what; }
static inline size_t slot_inline_bytes(const struct slot *s) { return s->head >> 16; }
static inline void slot_set_empty(struct slot *s) { s->head = SLOT_EMPTY; }

/* All but `missed`. Words are read as they were written, or the processor would have to wait for them to
 * arrive in memory: so the head is kept apart from what stands beside it. */
static inline void slot_copy(struct slot *to, const struct slot *from) {
    fence_compiler();
    to->head = from->head;
    fence_compiler();
    to->u = from->u;
}

static inline struct slot *message_slot(const mtaio_message *m) { return (struct slot *)(uintptr_t)m; }

struct content {
    ATOMIC(size_t) refs;
    size_t block_bytes;
    void *data;
    size_t bytes;
    mtaio_release release; /* NULL: data is in this block, in base, or nowhere */
    struct content *base;  /* whose data this is, under another topic or with other metadata; or NULL */
    mtaio_metadata *metadata;
    const char *topic;    /* NULL: none */
    const void *origin;   /* NULL: none */
    struct content *next; /* garbage: refs is 0 */
};

/* NULL: none. */
static inline const char *slot_topic(const struct slot *s) {
    if (slot_kind(s) == SLOT_SHARED) return s->u.content->topic;
    if (!slot_has(s, SLOT_HAS_TOPIC)) return NULL;
    return slot_kind(s) == SLOT_INLINE ? s->u.inside + slot_inline_bytes(s) : s->u.owned.topic;
}

static inline const void *slot_origin(const struct slot *s) {
    return slot_kind(s) == SLOT_SHARED ? s->u.content->origin : NULL;
}

/* What fits into a slot: data, or NULL, and a topic with its NUL, or 0 bytes of it. */
struct small {
    const void *data;
    size_t bytes;
    const char *topic;
    size_t topic_bytes;
};

/* memcpy of what fits into a slot, 48 bytes at most, for callers that save no registers for a call. */
static inline void copy_small(char *to, const char *from, size_t bytes) {
    if (bytes >= 16) {
        memcpy(to, from, 16);
        if (bytes > 32) memcpy(to + 16, from + 16, 16);
        memcpy(to + bytes - 16, from + bytes - 16, 16);
    } else if (bytes >= 8) {
        memcpy(to, from, 8);
        memcpy(to + bytes - 8, from + bytes - 8, 8);
    } else if (bytes >= 4) {
        memcpy(to, from, 4);
        memcpy(to + bytes - 4, from + bytes - 4, 4);
    } else if (bytes > 0) {
        to[0] = from[0];
        to[bytes / 2] = from[bytes / 2];
        to[bytes - 1] = from[bytes - 1];
    }
}

/* All but `missed`. */
static inline void slot_put_inline(struct slot *ret, struct small m) {
    unsigned has = (m.data ? SLOT_HAS_DATA : 0) | (m.topic_bytes > 0 ? SLOT_HAS_TOPIC : 0);
    fence_compiler(); /* as in slot_copy */
    ret->head = slot_head(SLOT_INLINE, has, m.bytes);
    fence_compiler();
    if (likely(m.bytes == 16))
        memcpy(ret->u.inside, m.data, 16); /* one instruction */
    else
        copy_small(ret->u.inside, m.data, m.bytes);
    copy_small(ret->u.inside + m.bytes, m.topic, m.topic_bytes);
}

/* A publication as a slot, its one reference the caller's. EINVAL, ENAME, ENOMEM: data with a release stays
 * the user's. */
int mtaio__slot_make(const mtaio_publication *p, struct slot *ret);

/* Is it no more than bytes to be copied, and a topic? */
static inline bool is_bare(const mtaio_publication *p) {
    return !p->release && !p->metadata && !p->message && !p->origin && p->size == sizeof *p;
}
static inline int slot_make(const mtaio_publication *p, struct slot *ret) {
    if (p->topic || !is_bare(p) || !p->data || p->bytes > SLOT_INSIDE) return mtaio__slot_make(p, ret);
    slot_put_inline(ret, (struct small){.data = p->data, .bytes = p->bytes});
    return 0;
}

/* Undoes that: data with a release stays the user's. */
void mtaio__slot_unmake(struct slot *s, const mtaio_publication *p);

/* OWNED becomes SHARED. ENOMEM: nothing has changed. */
int mtaio__slot_share(struct slot *s);

/* More references, for copies of the slot: only SHARED counts them. */
static inline void slot_hold(const struct slot *s, size_t more) {
    if (slot_kind(s) == SLOT_SHARED) atomic_add(&s->u.content->refs, more);
}

/* Drops the slot's reference; it is empty then. Runs code of the user: no guard is held. */
void mtaio__slot_clear(struct slot *s);
static inline void slot_clear(struct slot *s) {
    if (slot_kind(s) > SLOT_INLINE)
        mtaio__slot_clear(s);
    else
        slot_set_empty(s);
}

/* The same under a guard, of what is not OWNED: what has no reference left goes to *garbage. */
void mtaio__slot_throw(struct slot *s, size_t references, struct content **garbage);
void mtaio__garbage_free(struct content *garbage);

#endif
