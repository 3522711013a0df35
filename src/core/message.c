/* message.c - making messages, sharing and releasing what is in them. */
#include "core/message.h"

#include <assert.h>
#include <string.h>

#include "base/memory.h"
#include "core/topic.h"
#include "os/os.h"

/* --- Contents ---------------------------------------------------------------------------------- */

/* With room for so many bytes of data and the topic, which is copied. */
static struct content *content_new(size_t inside, const char *topic, size_t topic_bytes) {
    const size_t head =
        (sizeof(struct content) + 15) & ~(size_t)15; /* data is aligned as malloc's blocks are */
    if (inside > SIZE_MAX - head - topic_bytes) return NULL;
    size_t bytes = head + inside + topic_bytes;
    struct content *c = mtaio__alloc(bytes);
    if (!c) return NULL;
    char *room = (char *)c + head;
    *c = (struct content){.refs = 1, .block_bytes = bytes, .data = room};
    if (topic) c->topic = memcpy(room + inside, topic, topic_bytes);
    return c;
}

static bool content_drop(struct content *c, size_t references) {
    return atomic_sub(&c->refs, references) == references;
}

/* Nobody refers to it any more. */
static void content_free(struct content *c) {
    struct content *base;
    do {
        base = c->base;
        assert(os_locks_held() == 0);
        if (c->release) c->release(c->data);
        mtaio_metadata_unref(c->metadata);
        mtaio__free(c, c->block_bytes);
    } while ((c = base) && content_drop(c, 1));
}

void mtaio__garbage_free(struct content *garbage) {
    for (struct content *next; garbage; garbage = next) {
        next = garbage->next;
        content_free(garbage);
    }
}

/* --- Making ------------------------------------------------------------------------------------ */

static void make_owned(const mtaio_publication *p, size_t topic_bytes, struct slot *ret) {
    ret->head = slot_head(SLOT_OWNED, p->topic ? SLOT_HAS_TOPIC : 0, 0);
    ret->u.owned.data = (void *)(uintptr_t)p->data;
    ret->u.owned.bytes = p->bytes;
    ret->u.owned.release = p->release;
    if (p->topic) memcpy(ret->u.owned.topic, p->topic, topic_bytes);
}

static int make_shared(const mtaio_publication *p, size_t topic_bytes, struct slot *ret) {
    struct content *c = content_new(p->release ? 0 : p->bytes, p->topic, topic_bytes);
    if (!c) return MTAIO_ENOMEM;
    if (p->release)
        c->data = (void *)(uintptr_t)p->data;
    else if (p->bytes > 0)
        memcpy(c->data, p->data, p->bytes);
    else if (!p->data)
        c->data = NULL;
    c->bytes = p->bytes;
    c->release = p->release;
    c->origin = p->origin;
    c->metadata = mtaio_metadata_ref(p->metadata);
    ret->head = SLOT_SHARED;
    ret->u.content = c;
    return 0;
}

/* Another view of a received message's data. */
static int make_view(const mtaio_publication *p, struct content *base, struct slot *ret) {
    const char *topic = p->topic ? p->topic : base->topic;
    mtaio_metadata *metadata = p->metadata ? p->metadata : base->metadata;
    struct content *c = content_new(0, topic, topic ? strlen(topic) + 1 : 0);
    if (!c) return MTAIO_ENOMEM;
    c->data = base->data;
    c->bytes = base->bytes;
    c->base = base;
    c->origin = p->origin;
    atomic_add(&base->refs, 1);
    c->metadata = mtaio_metadata_ref(metadata);
    ret->head = SLOT_SHARED;
    ret->u.content = c;
    return 0;
}

/* The message's struct stays as it is read, also where what it owns becomes shared: a topic stays in its
 * place. */
static int make_again(const mtaio_publication *p, struct slot *ret) {
    struct slot *from = message_slot(p->message);
    if (p->data || p->bytes > 0 || p->release || slot_kind(from) == SLOT_EMPTY) return MTAIO_EINVAL;
    if (slot_kind(from) == SLOT_INLINE) {
        const mtaio_publication copy = {.size = sizeof copy,
                                        .topic = p->topic ? p->topic : slot_topic(from),
                                        .data = mtaio_message_data(p->message),
                                        .bytes = slot_inline_bytes(from),
                                        .metadata = p->metadata,
                                        .origin = p->origin};
        return mtaio__slot_make(&copy, ret);
    }
    int r = mtaio__slot_share(from);
    if (r < 0) return r;
    if (p->topic || p->metadata || p->origin != slot_origin(from)) return make_view(p, from->u.content, ret);
    atomic_add(&from->u.content->refs, 1);
    ret->head = SLOT_SHARED;
    ret->u.content = from->u.content;
    return 0;
}

int mtaio__slot_make(const mtaio_publication *p, struct slot *ret) {
    if (p->size != sizeof *p || (!p->data && p->bytes > 0)) return MTAIO_EINVAL;
    size_t topic_bytes = 0;
    if (p->topic) {
        int r = mtaio__name_check(p->topic);
        if (r < 0) return r;
        topic_bytes = (size_t)r + 1;
    }
    if (p->message) return make_again(p, ret);
    bool plain = !p->metadata && !p->origin;
    if (plain && !p->release && p->bytes <= SLOT_INSIDE && p->bytes + topic_bytes <= SLOT_INSIDE)
        slot_put_inline(ret, (struct small){p->data, p->bytes, p->topic, topic_bytes});
    else if (plain && p->release && topic_bytes <= SLOT_OWNED_TOPIC)
        make_owned(p, topic_bytes, ret);
    else
        return make_shared(p, topic_bytes, ret);
    return 0;
}

void mtaio__slot_unmake(struct slot *s, const mtaio_publication *p) {
    if (p->release && slot_kind(s) == SLOT_OWNED) slot_set_empty(s);
    if (p->release && slot_kind(s) == SLOT_SHARED) s->u.content->release = NULL;
    slot_clear(s);
}

/* --- Sharing and releasing --------------------------------------------------------------------- */

int mtaio__slot_share(struct slot *s) {
    if (slot_kind(s) != SLOT_OWNED) return 0;
    const char *topic = slot_topic(s);
    struct content *c = content_new(0, topic, topic ? strlen(topic) + 1 : 0);
    if (!c) return MTAIO_ENOMEM;
    c->data = s->u.owned.data;
    c->bytes = s->u.owned.bytes;
    c->release = s->u.owned.release;
    s->head = SLOT_SHARED;
    s->u.content = c;
    return 0;
}

/* Not inlined: clearing what is in the slot itself is all that most callers come for. */
__attribute__((noinline)) void mtaio__slot_clear(struct slot *s) {
    assert(os_locks_held() == 0);
    if (slot_kind(s) == SLOT_OWNED)
        s->u.owned.release(s->u.owned.data);
    else if (content_drop(s->u.content, 1))
        content_free(s->u.content);
    slot_set_empty(s);
}

void mtaio__slot_throw(struct slot *s, size_t references, struct content **garbage) {
    if (slot_kind(s) == SLOT_SHARED && references > 0 && content_drop(s->u.content, references)) {
        s->u.content->next = *garbage;
        *garbage = s->u.content;
    }
    slot_set_empty(s);
}

/* --- Reading ----------------------------------------------------------------------------------- */

const void *mtaio_message_data(const mtaio_message *message) {
    if (!message) return NULL;
    const struct slot *s = message_slot(message);
    if (likely(slot_kind(s) == SLOT_INLINE)) return slot_has(s, SLOT_HAS_DATA) ? s->u.inside : NULL;
    if (slot_kind(s) == SLOT_SHARED) return s->u.content->data;
    return slot_kind(s) == SLOT_OWNED ? s->u.owned.data : NULL;
}

size_t mtaio_message_bytes(const mtaio_message *message) {
    if (!message) return 0;
    const struct slot *s = message_slot(message);
    if (slot_kind(s) == SLOT_SHARED) return s->u.content->bytes;
    if (slot_kind(s) == SLOT_OWNED) return s->u.owned.bytes;
    return slot_kind(s) == SLOT_INLINE ? slot_inline_bytes(s) : 0;
}

const char *mtaio_message_topic(const mtaio_message *message) {
    return message && slot_kind(message_slot(message)) != SLOT_EMPTY ? slot_topic(message_slot(message))
                                                                     : NULL;
}

const mtaio_metadata *mtaio_message_metadata(const mtaio_message *message) {
    if (!message || slot_kind(message_slot(message)) != SLOT_SHARED) return NULL;
    return message_slot(message)->u.content->metadata;
}

void mtaio_message_clear(mtaio_message *message) {
    if (message) slot_clear(message_slot(message));
}
