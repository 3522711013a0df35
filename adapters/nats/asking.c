/* asking.c - requests that nobody waits for: one subscription takes all answers, one thread ends those whose
 * time is over.
 *
 * The lock guards everything but what is set once, when the first is asked; no callback runs with it. A
 * question is taken out of the table by whoever ends it, so that it ends once. */
#include <stdlib.h>
#include <string.h>

#include "nats_inner.h"

#define TICK_NS INT64_C(1000000) /* between two looks: those that end nearly together end together */

struct question {
    uint64_t id; /* 0: a free place */
    int64_t deadline_ns;
    mtaio_nats_answer how;
    size_t next_free;
};

struct asking {
    mtaio_nats *nats;
    pthread_mutex_t starting; /* taken before the lock; so that it begins once */
    bool has_begun;
    char inbox[INBOX_MAX];
    struct subscription answers;

    pthread_mutex_t lock;
    pthread_cond_t changed; /* monotonic */
    struct question *list;
    size_t size, first_free; /* size: there is none */
    uint64_t asked;
    int64_t wake_ns; /* when the thread looks again */
    bool is_closed;
};

/* --- The table --------------------------------------------------------------------------------- */

static int table_grow(struct asking *a) {
    size_t size = a->size ? 2 * a->size : 16;
    struct question *list = realloc(a->list, size * sizeof *list);
    if (!list) return MTAIO_ENOMEM;
    for (size_t i = a->size; i < size; i++) list[i] = (struct question){.next_free = i + 1};
    a->first_free = a->size;
    a->list = list;
    a->size = size;
    return 0;
}

static void wake_by_locked(struct asking *a, int64_t at_ns) {
    if (at_ns >= a->wake_ns) return;
    a->wake_ns = at_ns;
    pthread_cond_signal(&a->changed);
}

/* The place is in the low half of the id; the other half differs from that of the one there before. */
static int question_add(struct asking *a, const mtaio_nats_answer *how, int64_t deadline_ns, uint64_t *ret) {
    int r = 0;
    pthread_mutex_lock(&a->lock);
    if (a->is_closed) r = MTAIO_ECLOSED;
    if (r == 0 && a->first_free == a->size) r = a->size < UINT32_MAX / 2 ? table_grow(a) : MTAIO_ELIMIT;
    if (r == 0) {
        size_t place = a->first_free;
        struct question *q = &a->list[place];
        a->first_free = q->next_free;
        *ret = (++a->asked & UINT32_MAX) << 32 | (place + 1);
        *q = (struct question){.id = *ret, .deadline_ns = deadline_ns, .how = *how};
        wake_by_locked(a, deadline_ns);
    }
    pthread_mutex_unlock(&a->lock);
    return r;
}

/* With the lock. */
static void question_free_locked(struct asking *a, struct question *q, mtaio_nats_answer *ret) {
    *ret = q->how;
    *q = (struct question){.next_free = a->first_free};
    a->first_free = (size_t)(q - a->list);
}

/* false: it has ended, or never was. */
static bool question_take(struct asking *a, uint64_t id, mtaio_nats_answer *ret) {
    size_t place = (size_t)(id & UINT32_MAX) - 1;
    pthread_mutex_lock(&a->lock);
    bool found = id != 0 && place < a->size && a->list[place].id == id;
    if (found) question_free_locked(a, &a->list[place], ret);
    pthread_mutex_unlock(&a->lock);
    return found;
}

static void question_end(const mtaio_nats_answer *how, int result, natsMsg *message) {
    how->call(result, (mtaio_nats_reply *)message, how->ctx);
    if (how->destroy) how->destroy(how->ctx);
}

/* Ends those whose deadline is not after `now_ns`. */
static void questions_end(struct asking *a, int64_t now_ns, int result) {
    mtaio_nats_answer how;
    int64_t next_ns = INT64_MAX;
    pthread_mutex_lock(&a->lock);
    a->wake_ns = INT64_MAX; /* those that are added from now on lower it */
    for (size_t i = 0; i < a->size; i++) {
        struct question *q = &a->list[i];
        if (q->id == 0) continue;
        if (q->deadline_ns > now_ns) {
            if (q->deadline_ns < next_ns) next_ns = q->deadline_ns;
            continue;
        }
        question_free_locked(a, q, &how);
        pthread_mutex_unlock(&a->lock);
        question_end(&how, result, NULL);
        pthread_mutex_lock(&a->lock);
    }
    if (now_ns < INT64_MAX - TICK_NS && next_ns < now_ns + TICK_NS) next_ns = now_ns + TICK_NS;
    wake_by_locked(a, next_ns);
    pthread_mutex_unlock(&a->lock);
}

/* --- Its threads ------------------------------------------------------------------------------- */

static void *run(void *arg) {
    struct asking *a = arg;
    mtaio__nats_is_inside = true;
    pthread_mutex_lock(&a->lock);
    while (!a->is_closed) {
        int64_t now = mtaio__now_ns();
        if (now < a->wake_ns) {
            mtaio__wait_until(&a->changed, &a->lock, a->wake_ns);
            continue;
        }
        pthread_mutex_unlock(&a->lock);
        questions_end(a, now, MTAIO_ETIMEDOUT);
        pthread_mutex_lock(&a->lock);
    }
    pthread_mutex_unlock(&a->lock);
    mtaio__nats_run_end(a->nats);
    return NULL;
}

static void on_reply(natsSubscription *sub, natsMsg *message, void *ctx) {
    struct asking *a = ctx;
    mtaio_nats_answer how;
    uint64_t id;
    (void)sub;
    if (!mtaio__numbered_read(natsMsg_GetSubject(message), strlen(a->inbox), &id) ||
        !question_take(a, id, &how)) {
        natsMsg_Destroy(message);
        return;
    }
    int r = natsMsg_IsNoResponders(message) ? MTAIO_EABANDONED : mtaio__reply_check(message);
    if (r < 0) natsMsg_Destroy(message);
    question_end(&how, r, r < 0 ? NULL : message);
}

/* --- Life -------------------------------------------------------------------------------------- */

struct asking *mtaio__asking_new(mtaio_nats *nats) {
    struct asking *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->nats = nats;
    a->wake_ns = INT64_MAX;
    pthread_mutex_init(&a->starting, NULL);
    pthread_mutex_init(&a->lock, NULL);
    mtaio__cond_init(&a->changed);
    return a;
}

void mtaio__asking_free(struct asking *a) {
    if (!a) return;
    mtaio__subscription_free(&a->answers);
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    pthread_mutex_destroy(&a->starting);
    free(a->list);
    free(a);
}

void mtaio__asking_fail(struct asking *a, int result) { questions_end(a, INT64_MAX, result); }

void mtaio__asking_close(struct asking *a) {
    pthread_mutex_lock(&a->starting);
    pthread_mutex_lock(&a->lock);
    a->is_closed = true;
    pthread_cond_signal(&a->changed);
    pthread_mutex_unlock(&a->lock);
    mtaio__unsubscribe(&a->answers);
    pthread_mutex_unlock(&a->starting);
    questions_end(a, INT64_MAX, MTAIO_ECLOSED);
}

static int subscribe(struct asking *a) {
    char subject[NUMBERED_MAX];
    int r = mtaio__inbox_make(a->inbox, subject);
    if (r < 0) return r;
    a->answers = (struct subscription){.call = on_reply, .ctx = a};
    return mtaio__subscribe(&a->answers, &a->nats->out, subject, NULL);
}

static int start_thread(struct asking *a) {
    pthread_t thread;
    mtaio__nats_run_begin(a->nats);
    if (pthread_create(&thread, NULL, run, a) == 0) {
        pthread_detach(thread);
        return 0;
    }
    mtaio__nats_run_end(a->nats);
    return MTAIO_ESYSTEM;
}

/* Once; again after it failed. */
static int begin(struct asking *a) {
    int r = 0;
    pthread_mutex_lock(&a->starting);
    pthread_mutex_lock(&a->lock);
    if (a->is_closed) r = MTAIO_ECLOSED;
    pthread_mutex_unlock(&a->lock);
    if (r == 0 && !a->answers.sub) r = subscribe(a);
    if (r == 0 && !a->has_begun) {
        r = start_thread(a);
        a->has_begun = r == 0;
    }
    pthread_mutex_unlock(&a->starting);
    return r;
}

/* --- Asking ------------------------------------------------------------------------------------ */

static int ask(mtaio_nats_binding *b, const char *subject, const void *data, size_t bytes, int64_t timeout_ns,
               const mtaio_nats_answer *how, uint64_t *ret) {
    struct asking *a = b->nats->asking;
    mtaio_nats_answer ended;
    char reply[NUMBERED_MAX];
    uint64_t id = 0;
    int r = begin(a);
    int64_t limit_ns = timeout_ns > 0 ? timeout_ns : b->nats->timeout_ns;
    if (r == 0) r = question_add(a, how, mtaio__deadline_of(limit_ns), &id);
    if (r < 0) return r;
    mtaio__numbered_make(a->inbox, id, reply);
    natsStatus s = natsConnection_PublishRequest(b->nats->out.nc, subject, reply, data, (int)bytes);
    if (s != NATS_OK && question_take(a, id, &ended)) return mtaio__failed(s);
    if (ret) *ret = id;
    return 0; /* also where it has ended meanwhile: that was told */
}

int mtaio_nats_ask_async(mtaio_nats_binding *b, const char *topic, const void *data, size_t bytes,
                         int64_t timeout_ns, const mtaio_nats_answer *how, uint64_t *ret) {
    char subject[SUBJECT_MAX];
    if (!how || how->size != sizeof *how) return MTAIO_EINVAL;
    int r = !how->call ? MTAIO_EINVAL : mtaio__ask_check(b, topic, data, bytes, subject);
    if (r >= 0) r = ask(b, subject, data, bytes, timeout_ns, how, ret);
    if (r < 0 && how->destroy) how->destroy(how->ctx);
    return r;
}

int mtaio_nats_ask_cancel(mtaio_nats_binding *b, uint64_t id) {
    mtaio_nats_answer how;
    if (!b) return MTAIO_EINVAL;
    if (!question_take(b->nats->asking, id, &how)) return 0;
    question_end(&how, MTAIO_ECANCELED, NULL);
    return 1;
}
