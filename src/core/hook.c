/* hook.c - hooks are registrations on a node without a name, whose context is a copy of the hook. */
#include "core/hook.h"

#include "base/memory.h"
#include "core/emitter.h"

bool mtaio__hooks_gather(struct hooks *h, const mtaio_emitter *em, struct pin *pin) {
    struct node *n = load_acquire(&em->hooks); /* pairs with hook_node_locked */
    struct walk parts;
    if (!n) return false;
    pin_widen(pin);
    walk_gather(&parts, n);
    pin_narrow(pin, &em->family->reclaimer);
    h->pin = pin;
    h->entry = parts.segments ? parts.part[0].entry : NULL;
    h->count = parts.segments ? parts.part[0].count : 0;
    return h->count > 0;
}

/* The next hook that is still registered, marked as running. */
static const mtaio_hook *next_hook(const struct hooks *h, uint32_t *at) {
    while (*at < h->count) {
        struct listener *l = load_acquire(&h->entry[(*at)++]);
        if (!l) continue;
        store_release(&h->pin->running, l);
        os_fence_light(); /* as in the walk */
        if (load_acquire(&l->call)) return listener_more(l)->ctx;
    }
    return NULL;
}

void mtaio__hooks_before(const struct hooks *h, const mtaio_event *event) {
    uint32_t at = 0;
    for (const mtaio_hook *hook; (hook = next_hook(h, &at));)
        if (hook->before) hook->before(event, hook->ctx);
}

void mtaio__hooks_after(const struct hooks *h, const mtaio_event *event, const mtaio_report *report,
                        int64_t ns) {
    uint32_t at = 0;
    for (const mtaio_hook *hook; (hook = next_hook(h, &at));)
        if (hook->after) hook->after(event, report, ns, hook->ctx);
}

void mtaio__hooks_error(const struct hooks *h, const mtaio_failure *failure) {
    uint32_t at = 0;
    void *running = load_relaxed(&h->pin->running);
    for (const mtaio_hook *hook; (hook = next_hook(h, &at));)
        if (hook->error) hook->error(failure, hook->ctx);
    store_release(&h->pin->running, running);
}

/* --- Registering ------------------------------------------------------------------------------- */

static int never_called(mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 0;
}

static void hook_free(void *ctx) {
    mtaio_hook *hook = ctx;
    if (hook->destroy) hook->destroy(hook->ctx);
    mtaio__free(hook, sizeof *hook);
}

static int hook_node_locked(mtaio_emitter *em, struct node **ret) {
    struct node *n = load_relaxed(&em->hooks);
    if (!n) {
        n = mtaio__node_new(&em->family->reclaimer, "", 0, 0);
        if (!n) return MTAIO_ENOMEM;
        n->refs = 1; /* it stays as long as the emitter */
        store_release(&em->hooks, n);
    }
    *ret = n;
    return mtaio__node_reserve(em->family, n, RANK_NORMAL);
}

static int hook_register(mtaio_emitter *em, struct listener *l, mtaio_listener *handle) {
    struct family *f = em->family;
    struct node *n;
    os_lock(&f->lock);
    int r = load_relaxed(&em->unusual) & EM_CLOSED ? MTAIO_ECLOSED : hook_node_locked(em, &n);
    if (r == 0) {
        l->node = n;
        l->order |= reclaim_tick(&f->reclaimer) << 16;
        *handle = (mtaio_listener){.refs = 1, .family = f, .em = em, .listener = l, .was = l};
        mtaio__family_hold(f);
        listener_more(l)->handle = handle;
        n->handlers++;
        mtaio__node_append(n, l);
        atomic_or(&em->unusual, EM_HOOKED);
    }
    os_unlock(&f->lock);
    return r;
}

int mtaio_emitter_hook(mtaio_emitter *em, const mtaio_hook *hook, mtaio_listener **ret) {
    if (!MTAIO__CHECK_SIZE(hook, mtaio_hook)) return MTAIO_EINVAL;
    int r = em && (hook->before || hook->after || hook->error) ? MTAIO_ENOMEM : MTAIO_EINVAL;
    mtaio_hook *copy = NULL;
    mtaio_listener *handle = NULL;
    struct listener *l = NULL;
    if (r == MTAIO_EINVAL || !(copy = mtaio__alloc(sizeof *copy))) goto fail;
    *copy = *hook;
    mtaio_handler h = {.size = sizeof h, .call = never_called, .ctx = copy, .destroy = hook_free};
    if (!(handle = mtaio__alloc(sizeof *handle))) goto fail;
    if (!(l = mtaio__listener_new(&h, never_called, RANK_NORMAL, true))) goto fail;
    if ((r = hook_register(em, l, handle)) < 0) goto fail;
    mtaio__after_removing(em->family, false);
    if (ret)
        *ret = handle;
    else
        mtaio_listener_unref(handle);
    return 0;
fail:
    if (l) mtaio__listener_free(l);
    mtaio__free(handle, sizeof *handle);
    mtaio__free(copy, sizeof *copy);
    if (hook->destroy) hook->destroy(hook->ctx);
    return r;
}
