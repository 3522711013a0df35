/* publisher.c - publishing with a default topic, and in batches.
 *
 * Messages are gathered under the publisher's guard. Publishing them may wait, and run code of the user: it is
 * done by one thread at a time, which has the turn, so that they stay in their order. Meanwhile others go on
 * gathering; only who would make the batch too large waits for the turn. The turn itself gathers without end
 * where code of the user's publishes on this very publisher.
 *
 * What is being published is `left`; nobody but the turn looks at that. `gathered` takes its place when it is
 * empty. */
#include <mtaio/timer.h>

#include "base/memory.h"
#include "core/channel.h"
#include "core/executor.h"
#include "core/topic.h"

struct batch {
    struct slot *slots;
    size_t count, capacity;
};

/* Somebody who waits for the turn. Guard. */
struct turn {
    struct turn *next;
    const void *thread; /* whose stack this is on */
    bool given;
    struct waiter waiter;
};

enum { WORK_DUE = 1, WORK_FULL = 2, WORK_LAST = 4 }; /* the timer went off; too much was gathered; nobody is left */

struct mtaio_publisher {
    ATOMIC(size_t) refs;  /* the user's; the last flushes */
    ATOMIC(size_t) holds; /* of the memory: the users together, the timer, who has the turn */
    mtaio_channel *channel;
    char *topic; /* NULL: none */
    size_t limit;
    int64_t linger_ns; /* 0: no limit */
    void (*failed)(int error, const mtaio_publication *p, void *ctx);
    void (*destroy)(void *ctx);
    void *ctx;

    struct forkable forkable; /* fork.c's */
    struct guard guard;
    struct batch gathered; /* the guard's, as all up to the next blank line */
    int64_t due_ns;        /* of the first of them */
    int error;             /* that nobody was told */
    unsigned work;         /* for who has the turn */
    bool taken;            /* somebody has it */
    const void *owner;     /* that thread */
    bool lost;             /* to a child of a fork: whose turn it was is not there */
    struct turn *first, **last;

    struct batch left;  /* the turn's, as the next */
    mtaio_timer *timer; /* NULL: none is running */
};

/* --- Batches ----------------------------------------------------------------------------------- */

static int batch_add(struct batch *b, const struct slot *slot) {
    if (!mtaio__reserve(&b->slots, sizeof *b->slots, b->count, &b->capacity)) return MTAIO_ENOMEM;
    b->slots[b->count++] = *slot;
    return 0;
}

/* They are empty already. */
static void batch_drop_first(struct batch *b, size_t n) {
    b->count -= n;
    for (size_t i = 0; i < b->count; i++) b->slots[i] = b->slots[i + n];
}

static void batch_free(struct batch *b) { mtaio__free(b->slots, b->capacity * sizeof *b->slots); }

/* --- Life -------------------------------------------------------------------------------------- */

static void publisher_drop(mtaio_publisher *p) {
    if (atomic_sub(&p->holds, 1) != 1) return;
    mtaio__fork_leave(&p->forkable);
    if (p->destroy) p->destroy(p->ctx);
    mtaio_channel_unref(p->channel);
    batch_free(&p->gathered);
    batch_free(&p->left);
    mtaio__free_string(p->topic);
    mtaio__free(p, sizeof *p);
}

static mtaio_publisher *forkable_publisher(struct forkable *f) {
    return (mtaio_publisher *)(void *)((char *)f - offsetof(mtaio_publisher, forkable));
}

static void before_fork(struct forkable *f) { guard_lock(&forkable_publisher(f)->guard); }
static void after_fork(struct forkable *f) { guard_unlock(&forkable_publisher(f)->guard); }

/* What another thread was publishing in its turn is lost here, the publisher with it; and so is the timer. */
static void in_child(struct forkable *f) {
    mtaio_publisher *p = forkable_publisher(f);
    p->lost = p->lost || (p->taken && p->owner != os_thread_mark());
    p->timer = NULL;
    struct turn **at = &p->first;
    for (struct turn *t; (t = *at);) {
        if (t->thread != os_thread_mark())
            *at = t->next;
        else
            at = &t->next;
    }
    p->last = at;
}

static int publisher_create(mtaio_channel *ch, const mtaio_publisher_options *o, mtaio_publisher **ret) {
    static const struct fork_ops fork_ops = {before_fork, in_child, after_fork};
    int r = o->topic ? mtaio__name_check(o->topic) : 0;
    if (r < 0) return r;
    mtaio_publisher *p = mtaio__alloc_zeroed(sizeof *p);
    if (!p) return MTAIO_ENOMEM;
    if (o->topic && !(p->topic = mtaio__copy_string(o->topic))) {
        mtaio__free(p, sizeof *p);
        return MTAIO_ENOMEM;
    }
    p->refs = p->holds = 1;
    p->channel = mtaio_channel_ref(ch);
    p->limit = o->batch > 0 ? o->batch : 1;
    p->linger_ns = o->linger_ns;
    p->failed = o->failed;
    p->destroy = o->destroy;
    p->ctx = o->ctx;
    p->last = &p->first;
    mtaio__fork_enter(&p->forkable, FORK_PUBLISHER, &fork_ops);
    *ret = p;
    return 0;
}

int mtaio_publisher_new(mtaio_channel *ch, const mtaio_publisher_options *options, mtaio_publisher **ret) {
    const mtaio_publisher_options *o = options ? options : MTAIO_PUBLISHER_OPTIONS(0);
    if (o->size != sizeof *o) return MTAIO_EINVAL;
    int r = ch && ret && o->linger_ns >= 0 ? publisher_create(ch, o, ret) : MTAIO_EINVAL;
    if (r < 0 && o->destroy) o->destroy(o->ctx);
    return r;
}

mtaio_publisher *mtaio_publisher_ref(mtaio_publisher *publisher) {
    if (publisher) atomic_add(&publisher->refs, 1);
    return publisher;
}

/* --- The turn ---------------------------------------------------------------------------------- */

static void turn_end(mtaio_publisher *p);

/* Guard. */
static bool turn_try(mtaio_publisher *p) {
    if (p->taken) return false;
    p->taken = true;
    p->owner = os_thread_mark();
    atomic_add(&p->holds, 1);
    return true;
}

/* Something is to be done: by who has the turn, else here. */
static void turn_work(mtaio_publisher *p, unsigned work) {
    guard_lock(&p->guard);
    p->work |= work;
    bool here = turn_try(p);
    guard_unlock(&p->guard);
    if (here) turn_end(p);
}

/* False: it is ours by now. */
static bool turn_give_up(mtaio_publisher *p, const struct turn *t) {
    guard_lock(&p->guard);
    if (!t->given) {
        struct turn **at = &p->first;
        while (*at != t) at = &(*at)->next;
        *at = t->next;
        if (!*at) p->last = at;
    }
    guard_unlock(&p->guard);
    return !t->given;
}

static int turn_wait(mtaio_publisher *p, int64_t deadline_ns) {
    struct turn t = {.thread = os_thread_mark()};
    int r = mtaio__waiter_init(&t.waiter);
    if (r < 0) return r;
    guard_lock(&p->guard);
    bool waits = !turn_try(p);
    if (waits) {
        *p->last = &t;
        p->last = &t.next;
    }
    guard_unlock(&p->guard);
    if (waits && !mtaio__waiter_wait(&t.waiter, deadline_ns)) {
        if (turn_give_up(p, &t))
            r = MTAIO_ETIMEDOUT;
        else
            mtaio__waiter_wait(&t.waiter, INT64_MAX); /* it is just being woken */
    }
    if (!waits || r < 0) return r;
    guard_lock(&p->guard);
    p->owner = os_thread_mark();
    guard_unlock(&p->guard);
    return 0;
}

/* ETIMEDOUT, EAGAIN; EDEADLK: this thread has it already; ECLOSED: it is lost; EDEPTH. */
static int turn_take(mtaio_publisher *p, int64_t deadline_ns, bool waits) {
    guard_lock(&p->guard);
    bool own = p->taken && p->owner == os_thread_mark(), lost = p->lost, taken = !lost && turn_try(p);
    guard_unlock(&p->guard);
    if (taken) return 0;
    if (lost) return MTAIO_ECLOSED;
    if (own) return MTAIO_EDEADLK;
    return waits ? turn_wait(p, deadline_ns) : MTAIO_EAGAIN;
}

/* With the guard, which it releases. */
static void turn_hand_on(mtaio_publisher *p) {
    struct turn *t = p->first;
    p->owner = NULL;
    if (t) {
        p->first = t->next;
        if (!p->first) p->last = &p->first;
        t->given = true;
        atomic_add(&p->holds, 1);
    } else {
        p->taken = false;
    }
    guard_unlock(&p->guard);
    if (t) mtaio__waiter_wake(&t->waiter);
    publisher_drop(p);
}

/* --- In turn: publishing ----------------------------------------------------------------------- */

/* What is left is empty: what was gathered takes its place. */
static void take_gathered(mtaio_publisher *p) {
    guard_lock(&p->guard);
    struct batch empty = p->left;
    p->left = p->gathered;
    p->gathered = empty;
    guard_unlock(&p->guard);
}

/* Publishes what is left, as far as it can: how many. *ret_last: what the last answered; < 0: the first that
 * is left now could not be published. */
static int publish_left(mtaio_publisher *p, int64_t timeout_ns, int *ret_last) {
    struct batch *b = &p->left;
    *ret_last = 0;
    if (b->count == 0) return 0;
    int done = mtaio__publish_slots(p->channel, b->slots, b->count, timeout_ns, ret_last);
    if (done < 0) done = 0;
    for (int i = 0; i < done; i++) slot_clear(&b->slots[i]);
    batch_drop_first(b, (size_t)done);
    return done;
}

/* Else it will never be published. */
static bool is_passing(int error) { return error != MTAIO_ECLOSED && error != MTAIO_ELIMIT; }

static void drop_failed(mtaio_publisher *p) {
    slot_clear(&p->left.slots[0]);
    batch_drop_first(&p->left, 1);
}

static void set_error(mtaio_publisher *p, int error) {
    guard_lock(&p->guard);
    if (p->error == 0) p->error = error;
    guard_unlock(&p->guard);
}

static int64_t timeout_until(int64_t deadline_ns) {
    int64_t now = deadline_ns == INT64_MAX ? 0 : os_now_ns();
    return deadline_ns == INT64_MAX ? -1 : deadline_ns > now ? deadline_ns - now : 0;
}

/* All that was gathered, and this one behind it: whom it reached, or the error of the first that could not be
 * published; then this one is the caller's still. */
static int publish_with(mtaio_publisher *p, struct slot *own, int64_t deadline_ns) {
    int last;
    publish_left(p, timeout_until(deadline_ns), &last); /* what stayed from a time before */
    if (last >= 0) {
        take_gathered(p);
        int r = batch_add(&p->left, own);
        if (r < 0) return r;
        publish_left(p, timeout_until(deadline_ns), &last);
        if (last >= 0) return last;
        *own = p->left.slots[--p->left.count];
    }
    if (p->left.count > 0 && !is_passing(last)) drop_failed(p);
    return last;
}

static int flush(mtaio_publisher *p, int64_t deadline_ns) {
    int last, done = publish_left(p, timeout_until(deadline_ns), &last);
    if (last >= 0) {
        take_gathered(p);
        done += publish_left(p, timeout_until(deadline_ns), &last);
    }
    if (last < 0 && !is_passing(last)) {
        drop_failed(p);
        if (done > 0) set_error(p, last); /* for the next who asks */
    }
    return done > 0 || last >= 0 ? done : last;
}

static void tell_failed(mtaio_publisher *p, int error) {
    const mtaio_message *m = (const mtaio_message *)&p->left.slots[0];
    if (!p->failed) {
        set_error(p, error);
        return;
    }
    const mtaio_publication failed = {.size = sizeof failed,
                                      .topic = mtaio_message_topic(m),
                                      .data = mtaio_message_data(m),
                                      .bytes = mtaio_message_bytes(m),
                                      .metadata = (mtaio_metadata *)(uintptr_t)mtaio_message_metadata(m)};
    p->failed(error, &failed, p->ctx);
}

/* Without waiting. What stays is tried again later, unless this is the last time. */
static void flush_by_time(mtaio_publisher *p, bool is_last) {
    for (;;) {
        int last;
        publish_left(p, 0, &last);
        if (last >= 0) {
            take_gathered(p);
            if (p->left.count == 0) return;
        } else if (is_passing(last) && !is_last) {
            guard_lock(&p->guard);
            p->due_ns = os_deadline_ns(p->linger_ns);
            guard_unlock(&p->guard);
            return;
        } else {
            tell_failed(p, last);
            drop_failed(p);
        }
    }
}

/* --- In turn: the time ------------------------------------------------------------------------- */

static void due(uint64_t count, void *publisher) {
    (void)count;
    turn_work(publisher, WORK_DUE);
}

static void timer_over(void *publisher) { publisher_drop(publisher); }

static int start_timer(mtaio_publisher *p, int64_t due_ns) {
    atomic_add(&p->holds, 1);
    return mtaio_timer_start(
        MTAIO_TIMER(.delay_ns = timeout_until(due_ns), .call = due, .destroy = timer_over, .ctx = p),
        &p->timer);
}

static void end_timer(mtaio_publisher *p) {
    if (p->timer) mtaio_timer_cancel(p->timer);
    p->timer = mtaio_timer_unref(p->timer);
}

/* Does what came up meanwhile, sees to it that a timer runs where something is left, and hands on the turn.
 */
static void turn_end(mtaio_publisher *p) {
    for (bool tried = false;;) {
        guard_lock(&p->guard);
        unsigned work = p->work;
        int64_t due_ns = p->due_ns;
        bool waits = p->left.count + p->gathered.count > 0;
        bool starts = waits && p->linger_ns > 0 && due_ns != INT64_MAX && !p->timer && !tried;
        if (work == 0 && !starts) break;
        p->work = 0;
        guard_unlock(&p->guard);
        if (work & WORK_DUE) p->timer = mtaio_timer_unref(p->timer);
        if (work & WORK_LAST) end_timer(p);
        if (work == 0) {
            tried = true;
            if (start_timer(p, due_ns) == 0) continue;
        }
        if (work != WORK_DUE || timeout_until(due_ns) == 0) flush_by_time(p, work & WORK_LAST);
    }
    turn_hand_on(p);
}

/* --- Publishing -------------------------------------------------------------------------------- */

/* Guard. */
static int gather_locked(mtaio_publisher *p, const struct slot *slot, bool own_turn) {
    int r = batch_add(&p->gathered, slot);
    if (r < 0) return r;
    if (p->gathered.count == 1 && p->linger_ns > 0) p->due_ns = os_deadline_ns(p->linger_ns);
    if (own_turn && p->gathered.count >= p->limit) p->work |= WORK_FULL;
    return 0;
}

/* 0: it was gathered; else as publish_with. */
static int give(mtaio_publisher *p, struct slot *slot, int64_t timeout_ns) {
    int64_t deadline_ns = timeout_ns == 0 ? 0 : os_deadline_ns(timeout_ns);
    guard_lock(&p->guard);
    bool own_turn = p->taken && p->owner == os_thread_mark();
    bool gathers = own_turn || p->gathered.count + 1 < p->limit, starts = false;
    int r = p->lost ? MTAIO_ECLOSED : p->error;
    p->error = 0;
    if (r == 0 && gathers) {
        r = gather_locked(p, slot, own_turn);
        starts = r == 0 && p->gathered.count == 1 && p->linger_ns > 0 && turn_try(p);
    }
    guard_unlock(&p->guard);
    if (starts) turn_end(p);
    if (r < 0 || gathers) return r;
    r = turn_take(p, deadline_ns, timeout_ns != 0);
    if (r < 0) return r;
    r = publish_with(p, slot, deadline_ns);
    turn_end(p);
    return r == MTAIO_EAGAIN && timeout_ns != 0 ? MTAIO_ETIMEDOUT : r;
}

int mtaio_publisher_publish(mtaio_publisher *publisher, const mtaio_publication *p, int64_t timeout_ns) {
    struct slot slot;
    if (!publisher || !p || p->size != sizeof *p) return MTAIO_EINVAL;
    mtaio_publication full = *p;
    if (!full.topic && !mtaio_message_topic(full.message)) full.topic = publisher->topic;
    if (publisher->limit == 1) return mtaio_channel_publish(publisher->channel, &full, timeout_ns);
    if (mtaio_channel_is_closed(publisher->channel)) return MTAIO_ECLOSED;
    int r = mtaio__slot_make(&full, &slot);
    if (r < 0) return r;
    r = give(publisher, &slot, timeout_ns);
    if (r < 0) mtaio__slot_unmake(&slot, &full);
    return r;
}

int mtaio_publisher_flush(mtaio_publisher *publisher, int64_t timeout_ns) {
    if (!publisher) return MTAIO_EINVAL;
    int64_t deadline_ns = timeout_ns == 0 ? 0 : os_deadline_ns(timeout_ns);
    int r = turn_take(publisher, deadline_ns, timeout_ns != 0);
    if (r < 0) return r;
    guard_lock(&publisher->guard);
    r = publisher->error;
    publisher->error = 0;
    guard_unlock(&publisher->guard);
    if (r == 0) r = flush(publisher, deadline_ns);
    turn_end(publisher);
    return r == MTAIO_EAGAIN && timeout_ns != 0 ? MTAIO_ETIMEDOUT : r;
}

mtaio_publisher *mtaio_publisher_unref(mtaio_publisher *publisher) {
    if (!publisher || atomic_sub(&publisher->refs, 1) != 1) return NULL;
    turn_work(publisher, WORK_LAST);
    publisher_drop(publisher);
    return NULL;
}
