/* connection.c - two connections to the servers, kept up, and what is told of them. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nats_inner.h"

#define SECOND INT64_C(1000000000)

/* --- Time, errors ------------------------------------------------------------------------------ */

int64_t mtaio__now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

int64_t mtaio__deadline_of(int64_t timeout_ns) {
    int64_t now = mtaio__now_ns();
    return timeout_ns < 0 || timeout_ns > INT64_MAX - now ? INT64_MAX : now + timeout_ns;
}

int64_t mtaio__to_ms(int64_t ns) {
    int64_t ms = ns / 1000000 + (ns % 1000000 > 0);
    return ms < 1 ? 1 : ms > 1000000000 ? 1000000000 : ms;
}

void mtaio__wait_until(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t deadline_ns) {
    struct timespec t = {.tv_sec = (time_t)(deadline_ns / SECOND), .tv_nsec = (long)(deadline_ns % SECOND)};
    if (deadline_ns == INT64_MAX)
        pthread_cond_wait(cond, lock);
    else
        pthread_cond_timedwait(cond, lock, &t);
}

void mtaio__cond_init(pthread_cond_t *cond) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

static _Thread_local char words[256];

const char *mtaio_nats_error(void) { return words; }

void mtaio__set_words(const char *text) { mtaio__copy_line(words, sizeof words, text); }

int mtaio__failed(natsStatus s) {
    natsStatus detailed = s;
    const char *text = nats_GetLastError(&detailed);
    if (!text || detailed != s) text = "";
    snprintf(words, sizeof words, "%s%s%s", natsStatus_GetText(s), *text ? ": " : "", text);
    switch (s) {
    case NATS_NO_MEMORY:
        return MTAIO_ENOMEM;
    case NATS_TIMEOUT:
        return MTAIO_ETIMEDOUT;
    case NATS_NO_RESPONDERS:
        return MTAIO_EABANDONED;
    case NATS_MAX_PAYLOAD:
        return MTAIO_ELIMIT;
    case NATS_CONNECTION_CLOSED:
    case NATS_INVALID_SUBSCRIPTION:
        return MTAIO_ECLOSED;
    case NATS_CONNECTION_DISCONNECTED:
    case NATS_INSUFFICIENT_BUFFER:
        return MTAIO_EAGAIN;
    default:
        return MTAIO_ESYSTEM;
    }
}

int mtaio__failed_with(const char *text) {
    mtaio__set_words(text);
    return MTAIO_ESYSTEM;
}

/* --- Events ------------------------------------------------------------------------------------ */

void mtaio__nats_tell(mtaio_nats *nats, const char *name, const mtaio_nats_state *state) {
    if (nats->events)
        mtaio_emit_with(nats->events, MTAIO_EMISSION(.name = name, .data = (void *)(uintptr_t)state));
}

static void tell_of(mtaio_nats *nats, natsConnection *nc, const char *name, const char *text) {
    char server[256] = "";
    natsConnection_GetConnectedUrl(nc, server, sizeof server);
    mtaio__nats_tell(nats, name, &(mtaio_nats_state){.server = server, .prefix = "", .text = text});
}

/* --- Calls from the client library ------------------------------------------------------------- */

_Thread_local bool mtaio__nats_is_inside;

void mtaio__nats_run_begin(mtaio_nats *nats) {
    mtaio__nats_hold(nats);
    pthread_mutex_lock(&nats->lock);
    nats->running++;
    pthread_mutex_unlock(&nats->lock);
}

/* Both connections are closed, and nothing reads any more. */
static void nats_free(mtaio_nats *nats) {
    mtaio__asking_free(nats->asking);
    mtaio__retired_clear(nats->retired);
    mtaio__servers_clear(&nats->servers);
    natsConnection_Destroy(nats->out.nc);
    natsConnection_Destroy(nats->in.nc);
    mtaio_emitter_unref(nats->events);
    pthread_cond_destroy(&nats->changed);
    pthread_mutex_destroy(&nats->lock);
    free(nats);
}

/* With the lock, which it gives back: who waits for us finds our hold gone. */
static void leave(mtaio_nats *nats) {
    bool last = atomic_fetch_sub(&nats->holds, 1) == 1;
    pthread_cond_broadcast(&nats->changed);
    pthread_mutex_unlock(&nats->lock);
    if (last) nats_free(nats);
}

void mtaio__nats_run_end(mtaio_nats *nats) {
    pthread_mutex_lock(&nats->lock);
    nats->running--;
    leave(nats);
}

/* Until nothing calls us any more, so that a program may end then. */
static void wait_quiet(mtaio_nats *nats, int64_t deadline_ns) {
    if (mtaio__nats_is_inside) return;
    pthread_mutex_lock(&nats->lock);
    while ((!nats->out.is_closed || !nats->in.is_closed || nats->running > 0) &&
           mtaio__now_ns() < deadline_ns)
        mtaio__wait_until(&nats->changed, &nats->lock, deadline_ns);
    pthread_mutex_unlock(&nats->lock);
}

/* --- Up and down ------------------------------------------------------------------------------- */

/* Both are up: true, for the first to find out. Under the lock. */
static bool is_up_again(mtaio_nats *nats) {
    if (!nats->out.is_up || !nats->in.is_up || !nats->was_down) return false;
    nats->was_down = false;
    nats->resume_at = mtaio__deadline_of(nats->resume_ns);
    mtaio__presence_await_locked(nats);
    pthread_cond_broadcast(&nats->changed);
    return true;
}

/* What is listed may end meanwhile: so each is held, and the list is walked anew from there. */
static void say_back(mtaio_nats *nats) {
    pthread_mutex_lock(&nats->lock);
    mtaio_nats_binding *b = nats->bindings, *next;
    if (b) mtaio__binding_hold(b);
    for (; b; b = next) {
        pthread_mutex_unlock(&nats->lock);
        mtaio__presence_say(b);
        pthread_mutex_lock(&nats->lock);
        next = b->is_listed ? b->next
                            : NULL; /* one that ended: those behind it are asked for later, by resume_ns */
        if (next) mtaio__binding_hold(next);
        pthread_mutex_unlock(&nats->lock);
        mtaio__binding_drop(b);
        pthread_mutex_lock(&nats->lock);
    }
    pthread_mutex_unlock(&nats->lock);
}

/* The client library has subscribed again by now; the flush waits until the server knows. */
static void reconnected(natsConnection *nc, void *closure) {
    struct wire *w = closure;
    mtaio_nats *nats = w->nats;
    mtaio__nats_is_inside = true;
    natsConnection_FlushTimeout(nc, mtaio__to_ms(nats->timeout_ns));
    pthread_mutex_lock(&nats->lock);
    w->is_up = !nats->is_leaving && natsConnection_Status(nc) == NATS_CONN_STATUS_CONNECTED;
    bool up = is_up_again(nats);
    pthread_mutex_unlock(&nats->lock);
    if (up) say_back(nats);
    if (up) tell_of(nats, nc, "nats.reconnected", "");
    mtaio__nats_is_inside = false;
}

static void tell_down(mtaio_nats *nats, natsConnection *nc) {
    const char *text = NULL;
    natsConnection_GetLastError(nc, &text);
    tell_of(nats, nc, "nats.disconnected", text ? text : "");
}

static void disconnected(natsConnection *nc, void *closure) {
    struct wire *w = closure;
    mtaio_nats *nats = w->nats;
    pthread_mutex_lock(&nats->lock);
    bool first = !nats->was_down && !nats->is_closing;
    w->is_up = false;
    nats->was_down = true;
    pthread_mutex_unlock(&nats->lock);
    mtaio__nats_is_inside = true;
    if (w == &nats->out) mtaio__asking_fail(nats->asking, MTAIO_EAGAIN);
    if (first) tell_down(nats, nc);
    mtaio__nats_is_inside = false;
}

static void closed(natsConnection *nc, void *closure) {
    struct wire *w = closure;
    mtaio_nats *nats = w->nats;
    (void)nc;
    mtaio__nats_is_inside = true;
    pthread_mutex_lock(&nats->lock);
    w->is_up = false;
    struct wire *other = w == &nats->out ? &nats->in : &nats->out;
    bool last = nats->was_open && other->is_closed;
    pthread_mutex_unlock(&nats->lock);
    if (last)
        mtaio__nats_tell(nats, "nats.closed", &(mtaio_nats_state){.server = "", .prefix = "", .text = ""});
    pthread_mutex_lock(&nats->lock);
    w->is_closed = true;
    leave(nats);
    mtaio__nats_is_inside = false;
}

/* What goes wrong beside a call of ours; above all that a subscription is slow. */
static void troubled(natsConnection *nc, natsSubscription *sub, natsStatus s, void *closure) {
    struct wire *w = closure;
    (void)sub;
    if (s == NATS_SLOW_CONSUMER) return; /* its binding counts, and tells */
    mtaio__nats_is_inside = true;
    tell_of(w->nats, nc, "nats.error", natsStatus_GetText(s));
    mtaio__nats_is_inside = false;
}

bool mtaio__nats_is_leaving(mtaio_nats *nats) {
    pthread_mutex_lock(&nats->lock);
    bool is = nats->is_leaving;
    pthread_mutex_unlock(&nats->lock);
    return is;
}

/* false: it is being closed meanwhile. */
static bool rest(mtaio_nats *nats, int64_t ns) {
    int64_t until = mtaio__deadline_of(ns);
    pthread_mutex_lock(&nats->lock);
    while (!nats->is_leaving && mtaio__now_ns() < until)
        mtaio__wait_until(&nats->changed, &nats->lock, until);
    bool goes_on = !nats->is_leaving;
    pthread_mutex_unlock(&nats->lock);
    return goes_on;
}

/* One connection at a time: who closes them when it is told waits for the thread of the other. */
static void tell_silent(mtaio_nats *nats, natsConnection *nc) {
    if (atomic_exchange(&nats->is_telling, true)) return;
    tell_of(nats, nc, "nats.error", "the server greets, and then says nothing more");
    nats->is_telling = false;
}

/* On the client library's thread, before it connects again: it must not meet a silent server. While the
 * connection is being closed it must not connect at all. */
static int64_t before_attempt(natsConnection *nc, int attempts, void *closure) {
    struct wire *w = closure;
    mtaio_nats *nats = w->nats;
    const struct timespec moment = {.tv_nsec = 1000000};
    (void)attempts;
    mtaio__nats_is_inside = true;
    while (rest(nats, nats->retry_ns) && mtaio__servers_are_silent(nats)) tell_silent(nats, nc);
    while (mtaio__nats_is_leaving(nats) && !natsConnection_IsClosed(nc)) nanosleep(&moment, NULL);
    mtaio__nats_is_inside = false;
    return 0;
}

int mtaio__nats_wait_up(mtaio_nats *nats, int64_t deadline_ns) {
    int r = 0;
    pthread_mutex_lock(&nats->lock);
    for (;;) {
        int64_t now = mtaio__now_ns(), until = nats->was_down ? INT64_MAX : nats->resume_at;
        if (nats->is_closed) r = MTAIO_ECLOSED;
        if (r < 0 || (!nats->was_down && now >= until)) break;
        if (now >= deadline_ns) {
            r = MTAIO_ETIMEDOUT;
            break;
        }
        mtaio__wait_until(&nats->changed, &nats->lock, until < deadline_ns ? until : deadline_ns);
    }
    pthread_mutex_unlock(&nats->lock);
    return r;
}

bool mtaio_nats_is_connected(const mtaio_nats *nats) {
    mtaio_nats *n = (mtaio_nats *)(uintptr_t)nats;
    if (!n) return false;
    pthread_mutex_lock(&n->lock);
    bool is = !n->was_down && !n->is_closing;
    pthread_mutex_unlock(&n->lock);
    return is;
}

/* --- Connecting -------------------------------------------------------------------------------- */

static natsStatus set_login(natsOptions *o, const mtaio_nats_options *options) {
    natsStatus s = NATS_OK;
    if (options->user || options->password) s = natsOptions_SetUserInfo(o, options->user, options->password);
    if (s == NATS_OK && options->token) s = natsOptions_SetToken(o, options->token);
    if (s == NATS_OK && options->credentials)
        s = natsOptions_SetUserCredentialsFromFiles(o, options->credentials, NULL);
    if (s == NATS_OK && (options->tls_ca || options->tls_certificate || options->tls_key))
        s = natsOptions_SetSecure(o, true);
    if (s == NATS_OK && options->tls_ca) s = natsOptions_LoadCATrustedCertificates(o, options->tls_ca);
    if (s == NATS_OK && (options->tls_certificate || options->tls_key))
        s = natsOptions_LoadCertificatesChain(o, options->tls_certificate, options->tls_key);
    return s;
}

/* No buffer while there is no connection: what is not sent yet waits in the channel. */
static natsStatus set_keeping_up(natsOptions *o, struct wire *w) {
    natsStatus s = natsOptions_SetTimeout(o, mtaio__to_ms(w->nats->timeout_ns));
    if (s == NATS_OK) s = natsOptions_SetMaxReconnect(o, -1);
    if (s == NATS_OK) s = natsOptions_SetCustomReconnectDelay(o, before_attempt, w);
    if (s == NATS_OK) s = natsOptions_SetReconnectBufSize(o, 0);
    if (s == NATS_OK) s = natsOptions_SetFailRequestsOnDisconnect(o, true);
    if (s == NATS_OK) s = natsOptions_SetDisconnectedCB(o, disconnected, w);
    if (s == NATS_OK) s = natsOptions_SetReconnectedCB(o, reconnected, w);
    if (s == NATS_OK) s = natsOptions_SetClosedCB(o, closed, w);
    if (s == NATS_OK) s = natsOptions_SetErrorHandler(o, troubled, w);
    return s;
}

static int connect_wire(struct wire *w, const mtaio_nats_options *options) {
    natsOptions *o = NULL;
    natsStatus s = natsOptions_Create(&o);
    struct servers *servers = &w->nats->servers;
    if (s == NATS_OK) s = natsOptions_SetServers(o, servers->urls, servers->count);
    if (s == NATS_OK) s = natsOptions_SetNoRandomize(o, true);
    if (s == NATS_OK) s = natsOptions_SetName(o, options->name ? options->name : "mtaio");
    if (s == NATS_OK) s = set_login(o, options);
    if (s == NATS_OK) s = set_keeping_up(o, w);
    if (s == NATS_OK) s = natsOptions_SetSendAsap(o, options->send_asap);
    if (s == NATS_OK) s = natsConnection_Connect(&w->nc, o);
    natsOptions_Destroy(o);
    if (s != NATS_OK) return s == NATS_INVALID_ARG ? MTAIO_EINVAL : mtaio__failed(s);
    mtaio__nats_hold(w->nats); /* until it is closed */
    pthread_mutex_lock(&w->nats->lock);
    w->is_up = true;
    w->is_closed = false;
    pthread_mutex_unlock(&w->nats->lock);
    return 0;
}

/* --- Life -------------------------------------------------------------------------------------- */

void mtaio__nats_hold(mtaio_nats *nats) { atomic_fetch_add(&nats->holds, 1); }

void mtaio__nats_drop(mtaio_nats *nats) {
    if (atomic_fetch_sub(&nats->holds, 1) == 1) nats_free(nats);
}

static mtaio_nats *nats_new(const mtaio_nats_options *options) {
    mtaio_nats *nats = calloc(1, sizeof *nats);
    if (!nats) return NULL;
    nats->refs = nats->holds = 1;
    nats->out = nats->in = (struct wire){.nats = nats, .is_closed = true};
    nats->events = mtaio_emitter_ref(options->events);
    nats->timeout_ns = options->timeout_ns ? options->timeout_ns : 5 * SECOND;
    nats->retry_ns = options->retry_ns ? options->retry_ns : SECOND / 4;
    nats->resume_ns = options->resume_ns ? options->resume_ns : 4 * nats->retry_ns;
    pthread_mutex_init(&nats->lock, NULL);
    mtaio__cond_init(&nats->changed);
    nats->asking = mtaio__asking_new(nats);
    if (nats->asking) return nats;
    nats_free(nats);
    return NULL;
}

int mtaio_nats_open(const mtaio_nats_options *options, mtaio_nats **ret) {
    const mtaio_nats_options none = {.size = sizeof none};
    if (!options) options = &none;
    if (!ret || options->size != sizeof *options || options->timeout_ns < 0 || options->retry_ns < 0 ||
        options->resume_ns < 0 || options->retry_ns > 3600 * SECOND ||
        (options->events && mtaio_emitter_is_closed(options->events)))
        return MTAIO_EINVAL;
    words[0] = '\0';
    mtaio_nats *nats = nats_new(options);
    if (!nats) return MTAIO_ENOMEM;
    int r = mtaio__servers_set(&nats->servers, options);
    if (r >= 0) r = mtaio__servers_choose(nats);
    if (r >= 0) r = connect_wire(&nats->in, options);
    if (r >= 0) r = connect_wire(&nats->out, options);
    if (r < 0) {
        mtaio_nats_unref(nats);
        return r;
    }
    pthread_mutex_lock(&nats->lock);
    nats->was_open = true;
    pthread_mutex_unlock(&nats->lock);
    tell_of(nats, nats->out.nc, "nats.connected", "");
    *ret = nats;
    return 0;
}

mtaio_nats *mtaio_nats_ref(mtaio_nats *nats) {
    if (nats) atomic_fetch_add(&nats->refs, 1);
    return nats;
}

static mtaio_nats_binding *first_binding(mtaio_nats *nats) {
    pthread_mutex_lock(&nats->lock);
    mtaio_nats_binding *b = nats->bindings;
    if (b) mtaio__binding_hold(b);
    pthread_mutex_unlock(&nats->lock);
    return b;
}

int mtaio_nats_close(mtaio_nats *nats, int64_t timeout_ns) {
    if (!nats) return MTAIO_EINVAL;
    int64_t deadline_ns = mtaio__deadline_of(timeout_ns);
    int r = 0;
    pthread_mutex_lock(&nats->lock);
    nats->is_closing = true; /* no binding is added any more */
    pthread_mutex_unlock(&nats->lock);
    for (mtaio_nats_binding *b; (b = first_binding(nats)); mtaio__binding_drop(b)) {
        int ended = mtaio__binding_end(b, deadline_ns);
        if (r == 0) r = ended;
    }
    mtaio__asking_close(nats->asking);
    pthread_mutex_lock(&nats->lock);
    nats->is_leaving = true;
    pthread_cond_broadcast(&nats->changed);
    pthread_mutex_unlock(&nats->lock);
    natsConnection_Close(nats->out.nc);
    natsConnection_Close(nats->in.nc);
    pthread_mutex_lock(&nats->lock);
    nats->is_closed = true;
    pthread_cond_broadcast(&nats->changed);
    pthread_mutex_unlock(&nats->lock);
    int64_t least_ns = mtaio__deadline_of(nats->timeout_ns);
    wait_quiet(nats, deadline_ns > least_ns ? deadline_ns : least_ns);
    return r;
}

mtaio_nats *mtaio_nats_unref(mtaio_nats *nats) {
    if (!nats || atomic_fetch_sub(&nats->refs, 1) != 1) return NULL;
    mtaio_nats_close(nats, 0);
    mtaio__nats_drop(nats);
    return NULL;
}
