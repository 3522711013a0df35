/* outgoing.c - from the user's channel to the wire.
 *
 * The library calls with each message on the thread that publishes, with the GIL. Where the wire has no room,
 * the message waits in its line, and those that follow in the buffer of the subscriber, where the policy of
 * the binding holds; when the one in the line is on the wire, the loop is told, and goes on. */
#include "module.h"

#include <stdlib.h>

enum { WIRE_MAX = 1024 };

/* What is called; each end may leave first. With the GIL. */
struct nats_forwarder {
    nats_binding *b; /* NULL: it has left */
    bool is_done;    /* the library calls no more */
};

mtaio_overflow outgoing_divide(size_t buffer_size, mtaio_overflow overflow, size_t *ret_before,
                               size_t *ret_wire) {
    bool drops = overflow == MTAIO_DROP_OLDEST || overflow == MTAIO_DROP_NEWEST;
    size_t rest = buffer_size > 3 ? buffer_size - 1 : 2; /* without the one in the line */
    *ret_before = *ret_wire = buffer_size;
    if (drops) return overflow; /* the wire drops, and nothing waits for it */
    *ret_wire = rest / 2 < WIRE_MAX ? rest / 2 : WIRE_MAX;
    if (buffer_size != MTAIO_UNBOUNDED) *ret_before = rest - *ret_wire;
    return MTAIO_BLOCK;
}

/* --- One message ------------------------------------------------------------------------------- */

/* An interruption is put off until the library has returned, and the message packed once more. */
static int raise_again(void *error) {
    PyErr_SetObject((PyObject *)Py_TYPE(error), error);
    Py_DECREF((PyObject *)error);
    return -1;
}

static PyObject *take_interruption(void) {
    PyObject *type, *error, *traceback;
    PyErr_Fetch(&type, &error, &traceback);
    PyErr_NormalizeException(&type, &error, &traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return error;
}

static int pack(nats_binding *b, const mtaio_message *m, struct packed *ret, const char **ret_topic) {
    char words[256] = "interrupted";
    if (packed_message(b, m, ret, ret_topic) == 0) return 0;
    if (!nats_take_words(words, sizeof words)) {
        PyObject *interruption = take_interruption();
        int r = packed_message(b, m, ret, ret_topic);
        if (r < 0 && !nats_take_words(words, sizeof words)) PyErr_Clear();
        if (Py_AddPendingCall(raise_again, interruption) < 0) Py_DECREF(interruption);
        if (r == 0) return 0;
    }
    binding_refuse(b, words);
    return -1;
}

/* On the wire; MTAIO_EINPROGRESS: in its line. */
static int put_on_wire(nats_binding *b, const mtaio_publication *p) {
    int r = mtaio_channel_publish(b->wire, p, 0);
    if (r != MTAIO_EAGAIN) return r;
    mtaio_published told = signal_published(b->room_out);
    r = mtaio_channel_publish_async(b->wire, p, &told, NULL);
    return r < 0 ? r : MTAIO_EINPROGRESS;
}

/* Nobody to send it: the connection has ended. */
static void note_end(nats_binding *b, int r) {
    b->moved++;
    if (r <= 0) b->dropped++;
}

static bool forward(nats_binding *b, const mtaio_message *m) {
    struct packed packed = {0};
    const char *topic;
    if (pack(b, m, &packed, &topic) < 0) {
        b->moved++;
        return true;
    }
    int r = put_on_wire(b, MTAIO_PUBLICATION(.topic = topic, .data = packed.data, .bytes = packed.bytes,
                                             .metadata = packed.metadata, .origin = b));
    packed_clear(&packed);
    b->in_line_out = r == MTAIO_EINPROGRESS;
    if (!b->in_line_out) note_end(b, r);
    return !b->in_line_out;
}

static int on_message(int result, mtaio_message *message, void *ctx) {
    struct nats_forwarder *f = ctx;
    nats_binding *b = f->b;
    if (result < 0) return 0;
    bool more = b;
    if (b) {
        Py_INCREF(b);
        more = forward(b, message);
        if (!more || f->b != b) { /* the loop may go on at once, or it has left */
            more = false;
            if (b->forwarder == f) b->forwarder = NULL;
            f->b = NULL;
        }
    }
    mtaio_message_clear(message);
    Py_XDECREF(b);
    return more;
}

static void forwarder_release(void *ctx) {
    struct nats_forwarder *f = ctx;
    if (f->b && f->b->forwarder == f) f->b->forwarder = NULL;
    free(f);
}

/* --- Beginning, going on, ending --------------------------------------------------------------- */

static int begin_forwarding(nats_binding *b) {
    struct nats_forwarder *f = calloc(1, sizeof *f);
    if (!f) {
        PyErr_NoMemory();
        return -1;
    }
    f->b = b;
    b->forwarder = f;
    int r = mtaio_subscriber_receive_async(
        b->out, MTAIO_RECEIVER(.call = on_message, .destroy = forwarder_release, .ctx = f), NULL);
    if (r < 0) nats_raise(r, "sending");
    return r < 0 ? -1 : 0;
}

int outgoing_start(nats_binding *b, const char *const *patterns, size_t buffer_size,
                   mtaio_overflow overflow) {
    int r = mtaio_channel_subscribe(b->target,
                                    MTAIO_SUBSCRIPTION(.patterns = patterns, .buffer_size = buffer_size,
                                                       .overflow = overflow, .no_replay = true, .origin = b),
                                    &b->out);
    if (r >= 0) return begin_forwarding(b);
    nats_raise(r, "binding the channel");
    return -1;
}

int outgoing_go_on(nats_binding *b) {
    if (b->in_line_out) note_end(b, b->room_out->result);
    b->in_line_out = false;
    return b->out && !b->forwarder ? begin_forwarding(b) : 0;
}

void outgoing_stop(nats_binding *b) {
    if (b->forwarder) b->forwarder->b = NULL;
    b->forwarder = NULL;
    if (b->out) mtaio_unsubscribe(b->out);
}
