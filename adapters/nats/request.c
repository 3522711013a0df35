/* request.c - asking, and serving those who ask. */
#include <stdlib.h>
#include <string.h>

#include "nats_inner.h"

/* --- Asking ------------------------------------------------------------------------------------ */

const void *mtaio_nats_reply_data(const mtaio_nats_reply *reply) {
    return reply ? natsMsg_GetData((const natsMsg *)reply) : NULL;
}

size_t mtaio_nats_reply_bytes(const mtaio_nats_reply *reply) {
    return reply ? (size_t)natsMsg_GetDataLength((const natsMsg *)reply) : 0;
}

mtaio_nats_reply *mtaio_nats_reply_unref(mtaio_nats_reply *reply) {
    natsMsg_Destroy((natsMsg *)reply);
    return NULL;
}

/* A reply that tells of an error is said as micro-services of NATS say it. */
#define ERROR_KEY "Nats-Service-Error"
#define ERROR_CODE_KEY "Nats-Service-Error-Code"
#define HANDLER_FAILED "500"
enum { ERROR_BYTES = 256 };

int mtaio__reply_check(natsMsg *reply) {
    const char *text = NULL, *code = NULL;
    natsStatus s = natsMsgHeader_Get(reply, ERROR_KEY, &text);
    if (s == NATS_NOT_FOUND) s = natsMsgHeader_Get(reply, ERROR_CODE_KEY, &code);
    if (s == NATS_NOT_FOUND) return 0;
    if (s != NATS_OK) return mtaio__failed(s);
    mtaio__set_words(text && *text ? text : mtaio_error_text(MTAIO_EHANDLER));
    return MTAIO_EHANDLER;
}

int mtaio__ask_check(const mtaio_nats_binding *b, const char *topic, const void *data, size_t bytes,
                     char *ret) {
    if (!b || b->stream || !topic || (!data && bytes > 0) || bytes > INT32_MAX) return MTAIO_EINVAL;
    int r = mtaio_pattern_matches("*", topic);
    if (r >= 0) r = mtaio__subject_of_topic(b->prefix, topic, ret);
    return r >= 0 && b->is_ending ? MTAIO_ECLOSED : r;
}

int mtaio_nats_ask(mtaio_nats_binding *b, const char *topic, const void *data, size_t bytes,
                   int64_t timeout_ns, mtaio_nats_reply **ret) {
    char subject[SUBJECT_MAX];
    natsMsg *reply = NULL;
    int r = ret ? mtaio__ask_check(b, topic, data, bytes, subject) : MTAIO_EINVAL;
    if (r < 0) return r;
    int64_t ms = mtaio__to_ms(timeout_ns > 0 ? timeout_ns : b->nats->timeout_ns);
    natsStatus s = natsConnection_Request(&reply, b->nats->out.nc, subject, data, (int)bytes, ms);
    if (s != NATS_OK) return mtaio__failed(s);
    r = mtaio__reply_check(reply);
    if (r < 0)
        natsMsg_Destroy(reply);
    else
        *ret = (mtaio_nats_reply *)reply;
    return r;
}

/* --- Serving ----------------------------------------------------------------------------------- */

struct service {
    atomic_uint holds;    /* the subscription's, and the binding's until it ends */
    struct service *next; /* nats's lock */
    mtaio_nats_binding *b;
    struct subscription sub;
    mtaio_nats_server how;
    char *patterns[2]; /* the second is NULL */
    bool filters;
};

struct mtaio_nats_request {
    natsMsg *message;
    mtaio_nats_binding *b;
    const char *topic;
    atomic_bool is_answered;
};

const char *mtaio_nats_request_topic(const mtaio_nats_request *request) {
    return request ? request->topic : NULL;
}

const void *mtaio_nats_request_data(const mtaio_nats_request *request) {
    return request ? natsMsg_GetData(request->message) : NULL;
}

size_t mtaio_nats_request_bytes(const mtaio_nats_request *request) {
    return request ? (size_t)natsMsg_GetDataLength(request->message) : 0;
}

/* What was not sent may be answered again, above all by an error. */
static int answered(mtaio_nats_request *request, natsStatus s) {
    if (s == NATS_OK) return 0;
    request->is_answered = false;
    return mtaio__failed(s);
}

int mtaio_nats_respond(mtaio_nats_request *request, const void *data, size_t bytes) {
    if (!request || (!data && bytes > 0) || bytes > INT32_MAX) return MTAIO_EINVAL;
    if (atomic_exchange(&request->is_answered, true)) return MTAIO_EALREADY;
    return answered(request, natsConnection_Publish(request->b->nats->out.nc,
                                                    natsMsg_GetReply(request->message), data, (int)bytes));
}

static natsStatus publish_error(mtaio_nats_request *request, const char *text) {
    natsMsg *message = NULL;
    natsStatus s = natsMsg_Create(&message, natsMsg_GetReply(request->message), NULL, NULL, 0);
    if (s == NATS_OK) s = natsMsgHeader_Set(message, ERROR_KEY, text);
    if (s == NATS_OK) s = natsMsgHeader_Set(message, ERROR_CODE_KEY, HANDLER_FAILED);
    if (s == NATS_OK) s = natsConnection_PublishMsg(request->b->nats->out.nc, message);
    natsMsg_Destroy(message);
    return s;
}

int mtaio_nats_respond_error(mtaio_nats_request *request, const char *text) {
    char line[ERROR_BYTES];
    if (!request) return MTAIO_EINVAL;
    if (atomic_exchange(&request->is_answered, true)) return MTAIO_EALREADY;
    mtaio__copy_line(line, sizeof line, text ? text : "");
    if (!line[strspn(line, " ")])
        strcpy(line, mtaio_error_text(MTAIO_EHANDLER)); /* a header says something */
    return answered(request, publish_error(request, line));
}

mtaio_nats_request *mtaio_nats_request_unref(mtaio_nats_request *request) {
    if (!request) return NULL;
    natsMsg_Destroy(request->message);
    mtaio__binding_drop(request->b);
    free(request);
    return NULL;
}

static mtaio_nats_request *request_new(struct service *service, natsMsg *message, const char *topic) {
    mtaio_nats_request *request = calloc(1, sizeof *request);
    if (!request) return NULL;
    mtaio__binding_hold(service->b);
    request->message = message;
    request->b = service->b;
    request->topic = topic;
    return request;
}

static void on_request(natsSubscription *sub, natsMsg *message, void *ctx) {
    struct service *service = ctx;
    const char *reply = natsMsg_GetReply(message);
    const char *topic = mtaio__topic_of_subject(natsMsg_GetSubject(message), service->b->prefix_length);
    (void)sub;
    bool wanted = !service->b->is_ending && topic && reply && !mtaio__is_reply_of_ours(reply) &&
                  mtaio__topic_is_of(topic, (const char *const *)service->patterns);
    mtaio_nats_request *request = wanted ? request_new(service, message, topic) : NULL;
    if (request)
        service->how.call(request, service->how.ctx);
    else
        natsMsg_Destroy(message);
}

static void service_drop(void *ctx) {
    struct service *service = ctx;
    if (atomic_fetch_sub(&service->holds, 1) != 1) return;
    if (service->how.destroy) service->how.destroy(service->how.ctx);
    mtaio__subscription_free(&service->sub);
    free(service->patterns[0]);
    free(service);
}

/* The connection may be closed meanwhile, which ends their subscriptions. */
void mtaio__services_end(mtaio_nats_binding *b) {
    pthread_mutex_lock(&b->nats->lock);
    struct service *service = b->services, *next;
    b->services = NULL;
    pthread_mutex_unlock(&b->nats->lock);
    for (; service; service = next) {
        next = service->next;
        mtaio__unsubscribe(&service->sub);
        service_drop(service);
    }
}

/* Listed only while the binding has not begun to end, which ends those that are. */
static bool service_list(struct service *service) {
    mtaio_nats_binding *b = service->b;
    pthread_mutex_lock(&b->nats->lock);
    bool listed = b->is_listed;
    if (listed) {
        service->next = b->services;
        b->services = service;
    }
    pthread_mutex_unlock(&b->nats->lock);
    return listed;
}

static int serve(mtaio_nats_binding *b, const char *pattern, struct service *service) {
    char subject[SUBJECT_MAX];
    service->b = b;
    service->patterns[0] = strdup(pattern);
    if (!service->patterns[0]) return MTAIO_ENOMEM;
    int r = mtaio__subject_of_patterns(b->prefix, (const char *const *)service->patterns, subject,
                                       &service->filters);
    if (r < 0) return r;
    service->sub = (struct subscription){.b = b, .call = on_request, .end = service_drop, .ctx = service};
    service->holds++;
    r = mtaio__subscribe(&service->sub, &b->nats->in, subject, service->how.group);
    if (r < 0) service->holds--;
    return r;
}

int mtaio_nats_serve(mtaio_nats_binding *b, const char *pattern, const mtaio_nats_server *server) {
    if (!server || server->size != sizeof *server) return MTAIO_EINVAL;
    int r = !b || b->stream || !pattern || !server->call ? MTAIO_EINVAL : mtaio_pattern_matches(pattern, "a");
    struct service *service = r < 0 ? NULL : calloc(1, sizeof *service);
    if (!service) {
        if (server->destroy) server->destroy(server->ctx);
        return r < 0 ? r : MTAIO_ENOMEM;
    }
    service->holds = 1;
    service->how = *server;
    r = serve(b, pattern, service);
    if (r == 0 && !service_list(service)) r = MTAIO_ECLOSED;
    if (r < 0) {
        mtaio__unsubscribe(&service->sub);
        service_drop(service);
        return r;
    }
    natsStatus s = natsConnection_FlushTimeout(b->nats->in.nc, mtaio__to_ms(b->nats->timeout_ns));
    return s == NATS_OK ? 0 : mtaio__failed(s);
}
