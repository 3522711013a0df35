/* suppress.c - events held back for a while. */
#include "base/memory.h"
#include "core/emitter.h"

#include <string.h>

/* Its list of events is guarded by the family's lock, as is the emitter's list of suppressions. */
struct mtaio_suppression {
    ATOMIC(uint32_t) refs; /* the user's, and one for each replay under way: its handlers may drop the user's */
    mtaio_emitter *em; /* a reference */
    char *pattern;     /* NULL: all */
    struct mtaio_suppression *next;
    struct event_list held;
    bool ended;
    bool replaying;
};

static bool is_matching(const mtaio_suppression *s, const char *name) {
    return !s->pattern || mtaio__pattern_matches(s->pattern, name);
}

/* The oldest; one that is being replayed only where no other matches. */
static mtaio_suppression *first_matching_locked(const mtaio_emitter *em, const char *name) {
    mtaio_suppression *replaying = NULL;
    for (mtaio_suppression *s = em->suppressed; s; s = s->next) {
        if (!is_matching(s, name)) continue;
        if (!s->replaying) return s;
        if (!replaying) replaying = s;
    }
    return replaying;
}

int mtaio__suppress_take(mtaio_emitter *em, const mtaio_event *event) {
    mtaio_event *kept;
    int r = mtaio_event_keep(event, &kept);
    if (r < 0) return r;
    event_seal(kept);
    os_lock(&em->family->lock);
    mtaio_suppression *s = first_matching_locked(em, event->name);
    if (s) r = mtaio__event_list_add(&s->held, kept);
    os_unlock(&em->family->lock);
    if (!s || r < 0) mtaio_event_unref(kept);
    return r < 0 ? r : s != NULL;
}

static void link_locked(mtaio_suppression *s) {
    mtaio_suppression **end = &s->em->suppressed;
    while (*end) end = &(*end)->next;
    *end = s;
    s->next = NULL;
    s->ended = false;
    atomic_or(&s->em->unusual, EM_SUPPRESSED);
}

int mtaio_emitter_suppress(mtaio_emitter *em, const char *pattern, mtaio_suppression **ret) {
    if (!em || !ret) return MTAIO_EINVAL;
    int r = pattern ? mtaio__pattern_check(pattern, NULL) : 0;
    if (r < 0) return r;
    mtaio_suppression *s = mtaio__alloc_zeroed(sizeof *s);
    if (!s) return MTAIO_ENOMEM;
    if (pattern && !(s->pattern = mtaio__copy_string(pattern))) {
        mtaio__free(s, sizeof *s);
        return MTAIO_ENOMEM;
    }
    os_lock(&em->family->lock);
    r = load_relaxed(&em->unusual) & EM_CLOSED ? MTAIO_ECLOSED : 0;
    if (r == 0) {
        s->refs = 1;
        s->em = mtaio_emitter_ref(em);
        link_locked(s);
    }
    os_unlock(&em->family->lock);
    if (r < 0) {
        mtaio__free_string(s->pattern);
        mtaio__free(s, sizeof *s);
        return r;
    }
    *ret = s;
    return 0;
}

size_t mtaio_suppression_count(const mtaio_suppression *s) {
    if (!s) return 0;
    os_lock(&s->em->family->lock);
    size_t count = s->held.count;
    os_unlock(&s->em->family->lock);
    return count;
}

static void unlink_locked(mtaio_suppression *s) {
    mtaio_suppression **at = &s->em->suppressed;
    while (*at && *at != s) at = &(*at)->next;
    if (*at) *at = s->next;
    if (!s->em->suppressed) atomic_sub(&s->em->unusual, EM_SUPPRESSED);
    s->ended = true;
}

/* Takes what is held, and ends it or not. False: it had ended before. */
static bool take_held(mtaio_suppression *s, bool end, struct event_list *ret) {
    os_lock(&s->em->family->lock);
    bool was_open = !s->ended;
    *ret = s->held;
    s->held = (struct event_list){0};
    s->replaying = !end;
    if (was_open && end) unlink_locked(s);
    os_unlock(&s->em->family->lock);
    return was_open;
}

static int count_result(size_t count) { return count > INT32_MAX ? INT32_MAX : (int)count; }

int mtaio_suppression_drop(mtaio_suppression *s) {
    if (!s) return MTAIO_EINVAL;
    struct event_list held;
    if (!take_held(s, true, &held)) return MTAIO_EALREADY;
    size_t count = held.count;
    mtaio__event_list_fini(&held);
    return count_result(count);
}

static int replay_one(mtaio_emitter *em, const mtaio_event *event) {
    mtaio_event view;
    event_view(&view, event);
    struct emit emit = {.em = em, .target = mtaio__target_of(view.name), .view = &view, .unheld = true};
    return mtaio__emit(&emit);
}

/* Could the emission not even begin, so that it may be tried again? */
static bool is_undelivered(int r) { return r == MTAIO_ENOMEM || r == MTAIO_EDEPTH; }

/* Emits them and counts them, up to one that cannot begin. The first error. */
static int replay_list(mtaio_emitter *em, struct event_list *held, size_t *replayed) {
    int result = 0;
    size_t i = 0;
    for (; i < held->count; i++) {
        int r = replay_one(em, held->list[i]);
        if (r < 0 && (result == 0 || is_undelivered(r))) result = r;
        if (is_undelivered(r)) break;
    }
    *replayed += i;
    return result;
}

/* What could not be replayed is held again, unless the emitter has been closed. */
static void hold_again(mtaio_suppression *s, struct event_list *left, size_t replayed) {
    for (size_t i = 0; i < replayed; i++) mtaio_event_unref(left->list[i]);
    left->count -= replayed;
    memmove(left->list, left->list + replayed, sizeof(mtaio_event *) * left->count);
    os_lock(&s->em->family->lock);
    s->replaying = false;
    if (s->ended && !(load_relaxed(&s->em->unusual) & EM_CLOSED)) link_locked(s);
    if (!s->ended) mtaio__event_list_return(&s->held, left);
    os_unlock(&s->em->family->lock);
    mtaio__event_list_fini(left);
}

/* What is emitted while the first list is replayed is still held, and comes second. */
static int replay(mtaio_suppression *s) {
    struct event_list held;
    size_t replayed = 0;
    if (!take_held(s, false, &held)) return MTAIO_EALREADY;
    int first = replay_list(s->em, &held, &replayed);
    if (is_undelivered(first)) {
        hold_again(s, &held, replayed);
        return first;
    }
    mtaio__event_list_fini(&held);
    size_t before = replayed;
    take_held(s, true, &held);
    int second = replay_list(s->em, &held, &replayed);
    if (is_undelivered(second)) {
        hold_again(s, &held, replayed - before);
        return second;
    }
    mtaio__event_list_fini(&held);
    return first < 0 ? first : second < 0 ? second : count_result(replayed);
}

static void release(mtaio_suppression *s) {
    if (atomic_sub(&s->refs, 1) != 1) return;
    mtaio_suppression_drop(s); /* again where a replay that failed has held something */
    mtaio__event_list_fini(&s->held);
    mtaio_emitter_unref(s->em);
    mtaio__free_string(s->pattern);
    mtaio__free(s, sizeof *s);
}

int mtaio_suppression_replay(mtaio_suppression *s) {
    if (!s) return MTAIO_EINVAL;
    atomic_add(&s->refs, 1);
    int r = replay(s);
    release(s);
    return r;
}

mtaio_suppression *mtaio_suppression_unref(mtaio_suppression *s) {
    if (!s) return NULL;
    mtaio_suppression_drop(s);
    release(s);
    return NULL;
}

/* The emitter is closed: what is held will never be delivered. */
void mtaio__suppressed_close(mtaio_emitter *em) {
    for (;;) {
        os_lock(&em->family->lock);
        mtaio_suppression *s = em->suppressed;
        struct event_list dropped = {0};
        if (s) {
            dropped = s->held;
            s->held = (struct event_list){0};
            s->ended = true;
            em->suppressed = s->next;
        }
        os_unlock(&em->family->lock);
        if (!s) return;
        mtaio__event_list_fini(&dropped);
    }
}
