/* incoming.c - from the wire to the user's channel, in the event loop and with the GIL.
 *
 * Nothing is published before it is decoded, and nothing is decoded before it can be published: where a
 * subscriber of the channel has no room, one message waits in the channel's line, the others on the wire, and
 * behind that in the client library. */
#include "module.h"

/* What the library answers about a publication, when it is over. */
static void note(nats_binding *b, int r) {
    if (r >= 0)
        b->taken++;
    else if (r == MTAIO_ENAME || r == MTAIO_EINVAL)
        binding_refuse(b, mtaio_error_text(r));
    else
        binding_lose(b, r);
}

/* 0, MTAIO_EINPROGRESS: it waits for room. -1: raised, and nothing was done. */
static int publish(nats_binding *b, PyObject *load) {
    mtaio_publication p;
    if (nats_module.core->launch(b->channel, load, &p) < 0) return -1;
    p.origin = b;
    int r = mtaio_channel_publish(b->target, &p, 0);
    if (r == MTAIO_EAGAIN) {
        mtaio_published told = signal_published(b->room_in);
        r = mtaio_channel_publish_async(b->target, &p, &told, &b->in_line_in);
        if (r >= 0) return MTAIO_EINPROGRESS;
    }
    if (r < 0) nats_module.core->recall(load);
    note(b, r);
    return 0;
}

static int next_message(nats_binding *b, mtaio_message *ret) {
    if (!b->has_kept) return mtaio_subscriber_receive(b->in, 0, ret);
    *ret = b->kept;
    b->has_kept = false;
    return 0;
}

/* 1; 0: there is none; EINPROGRESS; -2: a signal handler has raised, and the message is kept. */
static int take_one(nats_binding *b) {
    mtaio_message m;
    char words[256];
    if (next_message(b, &m) < 0) return 0;
    PyObject *load = unpack_message(b, &m);
    int r = load ? publish(b, load) : -1;
    Py_XDECREF(load);
    if (r == -1 && !nats_take_words(words, sizeof words)) {
        b->kept = m;
        b->has_kept = true;
        return -2;
    }
    if (r == -1) binding_refuse(b, words);
    mtaio_message_clear(&m);
    return r == MTAIO_EINPROGRESS ? r : 1;
}

int incoming_take(nats_binding *b, int most) {
    int count = 0, r = 1;
    if (!b->in) return 0;
    if (b->in_line_in) return -1;
    for (; count < most && r == 1; count += r == 1) r = take_one(b);
    return r == MTAIO_EINPROGRESS ? -1 : r == -2 ? r : count;
}

void incoming_go_on(nats_binding *b) {
    if (!b->in_line_in) return;
    b->in_line_in = mtaio_pending_unref(b->in_line_in);
    note(b, b->room_in->result);
}

void incoming_stop(nats_binding *b) {
    mtaio_message m;
    if (b->in_line_in) {
        mtaio_pending_cancel(b->in_line_in); /* with the GIL it is over now, or was before */
        incoming_go_on(b);
    }
    while (b->in && next_message(b, &m) >= 0) {
        mtaio_message_clear(&m);
        binding_lose(b, MTAIO_ECLOSED);
    }
    if (b->in) mtaio_unsubscribe(b->in);
}
