/* listen.c - registering, removing and looking at handlers, from outside. */
#include "base/memory.h"
#include "core/emitter.h"

#include <string.h>

/* --- Calls that are not plain ------------------------------------------------------------------ */

/* Once: of all emissions that get here, the one that unregisters it; that is done before it is called. */
static bool claim_once(mtaio_emitter *em, struct listener *l) {
    struct family *f = em->family;
    os_lock(&f->lock);
    bool there = load_relaxed(&l->call) != NULL; /* else another emission had it, or somebody removed it */
    if (there) mtaio__unregister_locked(em, l);
    os_unlock(&f->lock);
    mtaio__after_removing(f, listener_more(l)->destroy != NULL);
    return there;
}

static int special_call(mtaio_event *event, void *ctx) {
    struct listener *l = ctx;
    const struct listener_more *m = listener_more(l);
    if (l->order & L_ONCE && !claim_once(event_walk(event)->em, l)) {
        event_mark(event, EVENT_MISSED);
        return 0;
    }
    return m->executor ? mtaio__call_on_executor(event, l) : m->call(event, m->ctx);
}

/* --- Registering ------------------------------------------------------------------------------- */

static int listen_at(mtaio_emitter *em, const struct key *key, const mtaio_handler *h, enum rank rank,
                     mtaio_call call, mtaio_listener **ret) {
    bool more = ret || h->destroy || h->executor || call != h->call;
    struct listener *l = mtaio__listener_new(h, call, rank, more);
    int r = l ? mtaio__register(em, key, l, ret) : MTAIO_ENOMEM;
    if (r >= 0) return 0;
    if (l && more) mtaio_executor_unref(listener_more(l)->executor);
    if (l) mtaio__listener_free(l);
    if (h->destroy) h->destroy(h->ctx);
    return r;
}

int mtaio__listen(mtaio_emitter *em, const char *pattern, const mtaio_handler *h, enum rank rank,
                  mtaio_call call, mtaio_listener **ret) {
    struct key key;
    int r = mtaio__key_init(&key, pattern);
    if (r >= 0) return listen_at(em, &key, h, rank, call, ret);
    if (h->destroy) h->destroy(h->ctx);
    return r;
}

static int check_handler(const mtaio_handler *h) {
    if (!h->call || h->flags & ~(unsigned)MTAIO_ONCE) return MTAIO_EINVAL;
    return h->priority < MTAIO_LOWEST || h->priority > MTAIO_MONITOR ? MTAIO_EINVAL : 0;
}

static enum rank rank_of(mtaio_priority priority) {
    return priority == MTAIO_MONITOR ? RANK_MONITOR : (enum rank)(MTAIO_HIGHEST - priority);
}

static mtaio_priority priority_of(enum rank rank) {
    return rank == RANK_MONITOR   ? MTAIO_MONITOR
           : rank == RANK_DERIVED ? MTAIO_LOWEST
                                  : (mtaio_priority)(MTAIO_HIGHEST - (int)rank);
}

static mtaio_call call_for(const mtaio_handler *h) {
    return h->executor || h->flags & MTAIO_ONCE ? special_call : h->call;
}

/* A handler that cannot be registered ends here. */
static int admit(const mtaio_handler *h, bool has_place) {
    if (!MTAIO__CHECK_SIZE(h, mtaio_handler)) return MTAIO_EINVAL;
    int r = has_place ? check_handler(h) : MTAIO_EINVAL;
    if (r < 0 && h->destroy) h->destroy(h->ctx);
    return r;
}

int mtaio_emitter_on(mtaio_emitter *em, const char *pattern, const mtaio_handler *h, mtaio_listener **ret) {
    int r = admit(h, em && pattern);
    return r < 0 ? r : mtaio__listen(em, pattern, h, rank_of(h->priority), call_for(h), ret);
}

int mtaio_name_on(mtaio_name *name, const mtaio_handler *h, mtaio_listener **ret) {
    int r = admit(h, name != NULL);
    if (r < 0) return r;
    struct node *n = name->node;
    struct key key = {.text = node_name(n), .length = n->length, .hash = name->hash, .node = n};
    return listen_at(name->em, &key, h, rank_of(h->priority), call_for(h), ret);
}

int mtaio_on(mtaio_emitter *em, const char *pattern, mtaio_call call, void *ctx) {
    return mtaio_emitter_on(em, pattern, MTAIO_HANDLER(.call = call, .ctx = ctx), NULL);
}

int mtaio_once(mtaio_emitter *em, const char *pattern, mtaio_call call, void *ctx) {
    return mtaio_emitter_on(em, pattern, MTAIO_HANDLER(.call = call, .ctx = ctx, .flags = MTAIO_ONCE), NULL);
}

/* --- Walks over registrations ------------------------------------------------------------------ */

/* The next own registration of the node after lane *lane and index *at, which begin with the node's first
 * lane and 0. */
static struct listener *next_own(const struct node *n, struct lane **lane, uint32_t *at) {
    for (; *lane; *lane = load_relaxed(&(*lane)->next), *at = 0) {
        while (*at < (*lane)->count) {
            struct listener *l = load_relaxed(&lane_entries(*lane)[(*at)++]);
            if (l && node_owns(n, l)) return l;
        }
    }
    return NULL;
}

/* --- Removing ---------------------------------------------------------------------------------- */

/* Of the node's own those with this call and ctx; call NULL: all. The node may be gone afterwards, but not
 * its memory, nor that of its lanes. */
static size_t remove_from(mtaio_emitter *em, struct node *n, mtaio_call call, const void *ctx,
                          bool *ret_eager) {
    size_t all = n->handlers, removed = 0;
    for (struct lane *lane = load_relaxed(&n->lanes); lane; lane = load_relaxed(&lane->next)) {
        uint32_t at = lane->count;
        for (struct listener *l; removed < all && (l = mtaio__lane_find(n, lane, call, ctx, &at));
             removed++) {
            if (listener_more(l) && listener_more(l)->destroy) *ret_eager = true;
            mtaio__unregister_locked(em, l);
        }
    }
    return removed;
}

/* key NULL: under all of them, and all. */
static int remove_matching(mtaio_emitter *em, const struct key *key, mtaio_call call, const void *ctx) {
    struct family *f = em->family;
    bool eager = false;
    size_t removed = 0;
    os_lock(&f->lock);
    if (key) {
        struct node *n = mtaio__node_find_locked(em, key);
        if (n) removed = remove_from(em, n, call, ctx, &eager);
    } else {
        struct nodes nodes = NODES_OF(em);
        for (struct node *n; (n = nodes_next(&nodes));) removed += remove_from(em, n, NULL, NULL, &eager);
    }
    mtaio__family_unlock(f);
    mtaio__after_removing(f, eager);
    return removed > INT32_MAX ? INT32_MAX : (int)removed;
}

int mtaio_off(mtaio_emitter *em, const char *pattern, mtaio_call call, void *ctx) {
    if (!em || !call) return MTAIO_EINVAL;
    struct key key;
    int r = mtaio__key_init(&key, pattern);
    return r < 0 ? r : remove_matching(em, &key, call, ctx);
}

int mtaio_emitter_remove_all(mtaio_emitter *em, const char *pattern) {
    if (!em) return MTAIO_EINVAL;
    struct key key;
    int r = pattern ? mtaio__key_init(&key, pattern) : 0;
    return r < 0 ? r : remove_matching(em, pattern ? &key : NULL, NULL, NULL);
}

/* --- Listeners --------------------------------------------------------------------------------- */

int mtaio_listener_cancel(mtaio_listener *listener) {
    if (!listener) return MTAIO_EINVAL;
    struct family *f = listener->family;
    bool eager = false;
    os_lock(&f->lock);
    struct listener *l = listener->listener;
    if (l) {
        eager = listener_more(l)->destroy != NULL;
        mtaio__unregister_locked(listener->em, l);
    }
    mtaio__family_unlock(f);
    if (l) mtaio__after_removing(f, eager);
    return l != NULL;
}

int mtaio_listener_cancel_wait(mtaio_listener *listener) {
    int r = mtaio_listener_cancel(listener);
    if (r >= 0) mtaio__wait_not_running(listener->was);
    return r;
}

mtaio_listener *mtaio_listener_ref(mtaio_listener *listener) {
    if (listener) atomic_add(&listener->refs, 1);
    return listener;
}

mtaio_listener *mtaio_listener_unref(mtaio_listener *listener) {
    if (!listener || atomic_sub(&listener->refs, 1) != 1) return NULL;
    struct family *f = listener->family;
    os_lock(&f->lock);
    if (listener->listener) listener_more(listener->listener)->handle = NULL;
    os_unlock(&f->lock);
    mtaio__free(listener, sizeof *listener);
    mtaio__family_drop(f);
    return NULL;
}

bool mtaio_listener_is_active(const mtaio_listener *listener) {
    if (!listener) return false;
    os_lock(&listener->family->lock);
    bool active = listener->listener != NULL;
    os_unlock(&listener->family->lock);
    return active;
}

/* --- Looking ----------------------------------------------------------------------------------- */

size_t mtaio_emitter_count(const mtaio_emitter *em, const char *pattern) {
    struct key key;
    if (!em || (pattern && mtaio__key_init(&key, pattern) < 0)) return 0;
    os_lock(&em->family->lock);
    const struct node *n = pattern ? mtaio__node_find_locked(em, &key) : NULL;
    size_t count = !pattern ? em->handlers : n ? n->handlers : 0;
    os_unlock(&em->family->lock);
    return count;
}

static bool count_live(void *value, void *ctx) {
    const struct node *n = value;
    *(size_t *)ctx += n->handlers;
    return true;
}

int mtaio_emitter_reach(const mtaio_emitter *em, const char *name) {
    if (!em) return MTAIO_EINVAL;
    struct key key;
    int r = mtaio__name_check(name); /* not a pattern */
    if (r >= 0) r = mtaio__key_init(&key, name);
    if (r < 0) return r;
    size_t count = 0;
    os_lock(&em->family->lock);
    const struct node *n = mtaio__node_find_locked(em, &key);
    if (n) count = n->handlers;
    mtaio__topics_match(&em->patterns, name, count_live, &count);
    os_unlock(&em->family->lock);
    return count > INT32_MAX ? INT32_MAX : (int)count;
}

/* A list taken under the lock, walked without it: offsets into one text, or copies of registrations. */
struct noted {
    mtaio_listener_info info; /* pattern: an offset into the text until the list is complete */
    size_t pattern_at, count;
};

struct notes {
    struct noted *list;
    size_t count, capacity;
    char *text;
    size_t used, room;
};

static int note_pattern(struct notes *s, const struct node *n, size_t *ret_at) {
    size_t bytes = (size_t)n->length + 1;
    if (s->room - s->used < bytes) {
        size_t room = s->room * 2 + bytes;
        char *text = mtaio__resize(s->text, s->room, room);
        if (!text) return MTAIO_ENOMEM;
        s->text = text;
        s->room = room;
    }
    *ret_at = s->used;
    memcpy(s->text + s->used, node_name(n), bytes);
    s->used += bytes;
    return 0;
}

static int note(struct notes *s, const struct noted *one) {
    if (!mtaio__reserve(&s->list, sizeof *s->list, s->count, &s->capacity)) return MTAIO_ENOMEM;
    s->list[s->count++] = *one;
    return 0;
}

static int note_node(struct notes *s, const struct node *n, bool listeners) {
    struct noted one = {.count = n->handlers};
    if (n->handlers == 0) return 0;
    int r = note_pattern(s, n, &one.pattern_at);
    if (r < 0 || !listeners) return r < 0 ? r : note(s, &one);
    struct lane *lane = load_relaxed(&n->lanes);
    uint32_t at = 0;
    for (struct listener *l; r == 0 && (l = next_own(n, &lane, &at));) {
        const struct listener_more *m = listener_more(l);
        one.info = (mtaio_listener_info){.call = listener_user_call(l),
                                         .ctx = listener_user_ctx(l),
                                         .priority = priority_of(listener_rank(l)),
                                         .flags = l->order & L_ONCE ? MTAIO_ONCE : 0,
                                         .executor = m ? mtaio_executor_ref(m->executor) : NULL};
        r = note(s, &one);
        if (r < 0) mtaio_executor_unref(one.info.executor);
    }
    return r;
}

static int take_notes(const mtaio_emitter *em, const struct key *key, bool listeners, struct notes *s) {
    int r = 0;
    os_lock(&em->family->lock);
    if (key) {
        const struct node *n = mtaio__node_find_locked(em, key);
        if (n) r = note_node(s, n, listeners);
    } else {
        struct nodes nodes = NODES_OF(em);
        for (struct node *n; r == 0 && (n = nodes_next(&nodes));) r = note_node(s, n, listeners);
    }
    os_unlock(&em->family->lock);
    for (size_t i = 0; i < s->count; i++) s->list[i].info.pattern = s->text + s->list[i].pattern_at;
    return r;
}

static void notes_fini(struct notes *s) {
    for (size_t i = 0; i < s->count; i++) mtaio_executor_unref(s->list[i].info.executor);
    mtaio__free(s->list, sizeof *s->list * s->capacity);
    mtaio__free(s->text, s->room);
}

int mtaio_emitter_each_name(const mtaio_emitter *em,
                            int (*visit)(const char *pattern, size_t count, void *ctx), void *ctx) {
    if (!em || !visit) return MTAIO_EINVAL;
    struct notes s = {0};
    int r = take_notes(em, NULL, false, &s);
    for (size_t i = 0; i < s.count && r == 0; i++) r = visit(s.list[i].info.pattern, s.list[i].count, ctx);
    notes_fini(&s);
    return r;
}

int mtaio_emitter_each_listener(const mtaio_emitter *em, const char *pattern,
                                int (*visit)(const mtaio_listener_info *info, void *ctx), void *ctx) {
    if (!em || !visit) return MTAIO_EINVAL;
    struct key key;
    int r = pattern ? mtaio__key_init(&key, pattern) : 0;
    if (r < 0) return r;
    struct notes s = {0};
    r = take_notes(em, pattern ? &key : NULL, true, &s);
    for (size_t i = 0; i < s.count && r == 0; i++) r = visit(&s.list[i].info, ctx);
    notes_fini(&s);
    return r;
}
