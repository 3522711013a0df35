/* bridge.c - from an emitter to a channel, and back: what alone knows both.
 *
 * A message that is an event's shares its data and strings: its content has for base another one, whose data
 * is the event, kept. An event that is a message's has for origin another one, whose data is the message. */
#include <string.h>

#include "base/memory.h"
#include "core/channel.h"
#include "core/emitter.h"

/* --- Events as messages ------------------------------------------------------------------------ */

static void release_event(void *event) { mtaio_event_unref(event); }

/* The event that a message is; NULL: none. */
static mtaio_event *message_event(const mtaio_message *m) {
    const struct slot *s = message_slot(m);
    const struct content *base = slot_kind(s) == SLOT_SHARED ? s->u.content->base : NULL;
    return base && base->release == release_event ? base->data : NULL;
}

static struct content *content_new(void) {
    struct content *c = mtaio__alloc(sizeof *c);
    if (c) *c = (struct content){.refs = 1, .block_bytes = sizeof *c};
    return c;
}

static int slot_make_event(const mtaio_event *event, struct slot *ret) {
    struct content *c = content_new(), *base = content_new();
    mtaio_event *kept = NULL;
    if (!c || !base || mtaio_event_keep(event, &kept) < 0) {
        mtaio__free(base, sizeof *base);
        mtaio__free(c, sizeof *c);
        return MTAIO_ENOMEM;
    }
    base->data = kept;
    base->release = release_event;
    c->base = base;
    c->data = kept->data;
    c->topic = kept->name;
    c->metadata = mtaio_metadata_ref(kept->metadata);
    *ret = (struct slot){.head = SLOT_SHARED, .u.content = c};
    return 0;
}

/* --- From an emitter to a channel -------------------------------------------------------------- */

/* Messages that an emission waits for. */
struct crossing {
    mtaio_deferral *deferral;
    ATOMIC(uint32_t) open; /* how many are not in yet; and one until all have been begun */
    ATOMIC(int) error;     /* of one that failed */
};

static void crossing_count(struct crossing *c, int result) {
    if (result < 0) store_relaxed(&c->error, result); /* ordered by what follows */
    if (atomic_sub(&c->open, 1) != 1) return;
    mtaio_deferral_complete(c->deferral, load_relaxed(&c->error));
    mtaio_deferral_unref(c->deferral);
    mtaio__free(c, sizeof *c);
}

static void crossed(int result, void *crossing) { crossing_count(crossing, result); }

/* There is no room. */
static int wait_in_line(mtaio_channel *ch, mtaio_event *event, struct slot *slot, struct crossing **at) {
    struct crossing *c = *at;
    if (!c) {
        mtaio_deferral *deferral;
        int r = mtaio_event_defer(event, &deferral);
        if (r < 0) return r;
        c = mtaio__alloc(sizeof *c);
        if (!c) {
            mtaio_deferral_complete(deferral, MTAIO_ENOMEM);
            mtaio_deferral_unref(deferral);
            return MTAIO_ENOMEM;
        }
        *c = (struct crossing){.deferral = deferral, .open = 1};
        *at = c;
    }
    atomic_add(&c->open, 1);
    int r = mtaio_channel_publish_async(ch, MTAIO_PUBLICATION(.message = (mtaio_message *)slot),
                                        MTAIO_PUBLISHED(.call = crossed, .ctx = c), NULL);
    if (r < 0) crossing_count(c, r);
    return 0;
}

/* EAGAIN: it would have to wait, and is not counted as refused. */
static int publish_slot(mtaio_channel *ch, struct slot *slot) {
    mtaio_subscriber *full;
    struct after after;
    after_init(&after);
    guard_lock(&ch->guard);
    int r = publish_in_turn_locked(ch, slot, slot_topic(slot), &after, &full);
    if (r != MTAIO_EAGAIN) count_refused(ch, r);
    channel_unlock(ch, &after);
    return r;
}

static int publish_one(mtaio_channel *ch, mtaio_event *event, const mtaio_event *one, struct crossing **at) {
    struct slot slot;
    int r = slot_make_event(one, &slot);
    if (r < 0) return r;
    r = publish_slot(ch, &slot);
    if (r == MTAIO_EAGAIN) r = wait_in_line(ch, event, &slot, at);
    slot_clear(&slot);
    return r < 0 ? r : 0;
}

static int publish_event(mtaio_event *event, void *channel) {
    struct crossing *crossing = NULL;
    int error = 0;
    for (size_t i = 0; i < mtaio_event_count(event); i++) {
        int r = publish_one(channel, event, mtaio_event_at(event, i), &crossing);
        if (r < 0) error = r;
    }
    if (crossing) {
        crossing_count(crossing, error);
        return 0;
    }
    return error;
}

static void drop_channel(void *channel) { mtaio_channel_unref(channel); }

int mtaio_emitter_to_channel(mtaio_emitter *em, const char *pattern, mtaio_channel *ch, mtaio_listener **ret) {
    if (!em || !ch) return MTAIO_EINVAL;
    if (mtaio_channel_is_closed(ch)) return MTAIO_ECLOSED;
    return mtaio_emitter_on(
        em, pattern,
        MTAIO_HANDLER(.call = publish_event, .destroy = drop_channel, .ctx = mtaio_channel_ref(ch)), ret);
}

/* --- Messages as events ------------------------------------------------------------------------ */

static void release_message(void *message) {
    mtaio_message_clear(message);
    mtaio__free(message, sizeof(mtaio_message));
}

const mtaio_message *mtaio_event_message(const mtaio_event *event) {
    for (; event; event = event->origin)
        if (event->kind & EVENT_OWNED && full_event(event)->release == release_message) return event->data;
    return NULL;
}

/* Takes the message over; NULL: no memory, and it is the caller's. */
static mtaio_event *event_of_message(const mtaio_message *message, const char *name) {
    mtaio_message *m = mtaio__alloc(sizeof *m);
    mtaio_event *origin = NULL;
    if (!m) return NULL;
    *m = (mtaio_message){0};
    if (mtaio_event_new("message", m, release_message, &origin) < 0) return NULL;
    *m = *message;
    const mtaio_event like = {.name = mtaio_message_topic(m) ? mtaio_message_topic(m) : name,
                              .data = (void *)(uintptr_t)mtaio_message_data(m),
                              .metadata = (mtaio_metadata *)(uintptr_t)mtaio_message_metadata(m),
                              .origin = origin};
    mtaio_event *event = mtaio__event_copy(&like);
    if (!event) *m = (mtaio_message){0};
    mtaio_event_unref(origin);
    return event;
}

/* --- From a channel to an emitter -------------------------------------------------------------- */

enum { EMITTING, OVER, RESTING }; /* the last message's emission is over; it rests, and the receiver pauses */

struct feed {
    struct unawaited emission; /* first. It has a reference to the emitter */
    mtaio_pending *receiver;
    ATOMIC(int) state;
    char name[];
};

static void feed_free(void *feed) {
    struct feed *f = feed;
    mtaio_emitter_unref(f->emission.em);
    mtaio__free(f, sizeof *f + strlen(f->name) + 1);
}

static void emission_over(struct unawaited *emission) {
    struct feed *f = (struct feed *)emission;
    if (atomic_swap(&f->state, OVER) == RESTING) mtaio__receiver_resume(f->receiver);
}

/* The event that the message is, or one that it is made into: then the struct is empty. ENAME, ENOMEM. */
static int take_event(const struct feed *f, mtaio_message *m, mtaio_event **ret) {
    if (!mtaio_message_topic(m) && f->name[0] == '\0') return MTAIO_ENAME;
    *ret = mtaio_event_ref(message_event(m));
    if (*ret) return 0;
    *ret = event_of_message(m, f->name);
    if (!*ret) return MTAIO_ENOMEM;
    *m = (mtaio_message){0};
    return 0;
}

static int emit_message(int result, mtaio_message *m, void *feed) {
    struct feed *f = feed;
    mtaio_event *event = NULL;
    if (result < 0) return 0;
    store_release(&f->state, EMITTING);
    int r = take_event(f, m, &event);
    if (r == 0) r = mtaio__emit_unawaited(event, &f->emission);
    if (r < 0 && r != MTAIO_ECLOSED) {
        const char *topic = mtaio_message_topic(m);
        mtaio__unawaited(f->emission.em, event ? event->name : topic ? topic : f->name, r);
    }
    mtaio_event_unref(event);
    mtaio_message_clear(m);
    if (r < 0) return r != MTAIO_ECLOSED;
    return atomic_swap(&f->state, RESTING) == OVER ? 1 : RECEIVER_PAUSES; /* resumed, it may be gone already */
}

int mtaio_subscriber_to_emitter(mtaio_subscriber *sub, mtaio_emitter *em, const char *name,
                                mtaio_executor *executor, mtaio_pending **ret) {
    int length = !sub || !em ? MTAIO_EINVAL : name ? mtaio__name_check(name) : 0;
    if (length < 0) return length;
    struct feed *f = mtaio__alloc(sizeof *f + (size_t)length + 1);
    if (!f) return MTAIO_ENOMEM;
    *f = (struct feed){.emission = {.em = mtaio_emitter_ref(em), .over = emission_over}};
    memcpy(f->name, name ? name : "", (size_t)length + 1);
    const mtaio_receiver how = {.size = sizeof how,
                                .call = emit_message,
                                .destroy = feed_free,
                                .ctx = f,
                                .executor = executor};
    int r = mtaio__receive_async(sub, &how, &f->receiver, ret);
    if (r < 0) feed_free(f);
    return r;
}
