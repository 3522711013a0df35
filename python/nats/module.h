/* module.h - what the files of the extension module mtaio._nats share.
 *
 * Nothing of Python is ever touched without the GIL, and nothing waits for the GIL: the threads of the
 * connection never take it. Between them and Python stand, for each connection, a mailbox, and, for each
 * binding, a channel of its own (the wire) that carries plain bytes. What is published on the user's channel
 * is encoded there and then, by the thread that publishes, and put on the wire; the connection sends from
 * there. What comes is put on the wire, too; the event loop sees that by a descriptor, decodes it, and
 * publishes it on the user's channel. So nothing can hang or crash when the interpreter ends, and a loop that
 * is closed is a loop that does not look any more.
 *
 * What may wait is called without the GIL, on a thread (mtaio/nats.py). */
#ifndef MTAIO_PYTHON_NATS_MODULE_H
#define MTAIO_PYTHON_NATS_MODULE_H

#include "capi.h"

#include <mtaio/nats.h>
#include <stdatomic.h>

/* What is looked up when the module is imported; strong references. */
extern struct nats_module {
    const struct core_api *core;
    PyObject *Error, *TimeoutError, *ClosedError, *NoRespondersError, *HandlerError; /* of mtaio.exceptions */
} nats_module;

#define SLOT(function) ((void *)(uintptr_t)(function))

/* --- errors.c ---------------------------------------------------------------------------------- */

/* Raises what the library has answered: MemoryError, or the exception for it. Returns NULL. */
PyObject *nats_raise(int status, const char *doing);

/* The same as an object. */
PyObject *nats_error_new(int status, const char *words);

/* Takes the exception that is set, and says it in some words; ret has a place for so many bytes. Where a
 * signal handler has raised it, it stays set: false. */
bool nats_take_words(char *ret, size_t size);

/* UTF-8 without NUL, as long as the str. NULL: TypeError, ValueError. */
const char *nats_utf8(PyObject *text, const char *what);

/* --- mailbox.c --------------------------------------------------------------------------------- */

/* What the connection's threads have to tell: put in from anywhere, without the GIL; taken out by the event
 * loop, for which there is a descriptor. */
struct mailbox;

struct mail {
    struct mail *next;
    enum mail_kind { MAIL_STATE, MAIL_SIGNAL, MAIL_REQUEST, MAIL_ANSWER, MAIL_DELIVERY } kind;
};

struct mailbox *mailbox_new(void); /* NULL: errno says why */
struct mailbox *mailbox_ref(struct mailbox *box);
void mailbox_unref(struct mailbox *box);
void mailbox_close(struct mailbox *box); /* throws away what is in it, and what is put in from now on */
int mailbox_fd(const struct mailbox *box);
void mailbox_put(struct mailbox *box, struct mail *mail); /* takes over */
struct mail *mailbox_take(struct mailbox *box);           /* all of it, in order; NULL: nothing */
void mail_discard(struct mail *mail);

/* What happened, in the words of an event; where the loop does not look, only so much is kept. Any thread. */
struct state_mail {
    struct mail mail;
    uint64_t count, missed; /* missed: how many more have not been kept before this one */
    const char *name, *server, *prefix, *text;
};
void mailbox_tell(struct mailbox *box, const char *name, const mtaio_nats_state *state);

/* There is room where a publication was waiting for it: one for each direction of a binding, on its way once
 * at a time.
 */
struct signal_mail {
    struct mail mail;
    atomic_size_t refs;
    struct mailbox *box;
    uint64_t binding;
    bool is_incoming;
    int result; /* of that publication */
};
struct signal_mail *signal_new(struct mailbox *box, uint64_t binding, bool is_incoming);
void signal_unref(struct signal_mail *s); /* NULL too */

/* How the library is told to send it: s is kept until it was. */
mtaio_published signal_published(struct signal_mail *s);

struct request_mail {
    struct mail mail;
    struct mailbox *box;
    uint64_t service;
    mtaio_nats_request *request;
};
/* One more or one less of those that wait to be answered. Putting answers false: there are too many. */
bool mailbox_admit(struct mailbox *box);
void mailbox_dismiss(struct mailbox *box);

struct answer_mail {
    struct mail mail;
    atomic_size_t refs;
    struct mailbox *box;
    uint64_t id;
    int result;
    mtaio_nats_reply *reply;
    char words[256];
};
void answer_unref(struct answer_mail *m);

/* A message of a durable binding that is to be emitted. */
struct delivery {
    mtaio_deferral *deferral;
    mtaio_metadata *metadata;
    const char *topic;
    const void *data;
    size_t bytes;
};
struct delivery_mail {
    struct mail mail;
    uint64_t binding;
    struct delivery *delivery;
};
void delivery_free(struct delivery *d); /* NULL too */

/* --- connection.c ------------------------------------------------------------------------------ */

typedef struct nats_connection {
    PyObject_HEAD mtaio_nats *inner;
    mtaio_emitter *events;
    struct mailbox *box;
    struct mail *unread; /* taken out of the box when there was no memory to tell it */
} nats_connection;
extern PyTypeObject *nats_connection_type;

/* --- binding.c, outgoing.c, incoming.c, packing.c, request.c ------------------------------------ */

enum codec { CODEC_BYTES, CODEC_STR, CODEC_OTHER };

typedef struct nats_binding {
    PyObject_HEAD PyObject *connection, *channel;
    mtaio_channel *target; /* of channel */
    PyObject *encode, *decode;
    enum codec codec;
    uint64_t id;
    char *prefix;

    mtaio_channel *wire;
    mtaio_nats_binding *inner; /* of the wire */

    /* Out. What cannot go on the wire at once waits in the subscriber, or, one of it, in the wire's line. */
    mtaio_subscriber *out;            /* of target; NULL: nothing is sent */
    struct nats_forwarder *forwarder; /* what the library calls with a message; NULL: not at the moment */
    struct signal_mail *room_out;
    bool in_line_out;
    uint64_t moved; /* taken from `out`, whatever has become of it */

    /* In. */
    mtaio_subscriber *in; /* of the wire; NULL: nothing is taken */
    mtaio_message kept;   /* received, and not published: a signal handler has raised */
    bool has_kept;
    struct signal_mail *room_in;
    mtaio_pending *in_line_in; /* a publication in the target's line */

    mtaio_emitter *emitter; /* durable, and its messages are emitted; else NULL */

    uint64_t taken, lost, refused, dropped; /* what the library does not count */
} nats_binding;

/* What became of a message is counted and told. */
void binding_refuse(nats_binding *b, const char *text);
void binding_lose(nats_binding *b, int error);

/* packing.c: what is sent of a message. -1: raised. */
struct packed {
    PyObject *owner; /* of data */
    const void *data;
    size_t bytes;
    mtaio_metadata *metadata;
};
int packed_data(const nats_binding *b, PyObject *data, struct packed *ret);
int packed_message(const nats_binding *b, const mtaio_message *m, struct packed *ret, const char **ret_topic);
void packed_clear(struct packed *p);

/* And back: a new reference. NULL: raised. */
PyObject *unpack_data(const nats_binding *b, const void *data, size_t bytes);
PyObject *unpack_metadata(const mtaio_metadata *headers); /* a dict */
PyObject *unpack_message(const nats_binding *b, const mtaio_message *m);

/* outgoing.c: begins to send, or goes on. -1: raised. */
int outgoing_start(nats_binding *b, const char *const *patterns, size_t buffer_size, mtaio_overflow overflow);
int outgoing_go_on(nats_binding *b);
void outgoing_stop(nats_binding *b); /* what waits is dropped */

/* How many messages may wait on the wire, and before it, where so many may in all; and the policy of the
 * wire. */
mtaio_overflow outgoing_divide(size_t buffer_size, mtaio_overflow overflow, size_t *ret_before,
                               size_t *ret_wire);

/* incoming.c: publishes what came. How many; -1: it waits for room, and the loop will be told; -2: raised. */
int incoming_take(nats_binding *b, int most);
void incoming_go_on(nats_binding *b);
void incoming_stop(nats_binding *b); /* what waits is lost, and counted */

/* request.c: methods of bindings, and the object that a request becomes; NULL: no memory, and it is as it
 * was. */
PyObject *binding_ask(PyObject *self, PyObject *args);
PyObject *binding_cancel(PyObject *self, PyObject *number);
PyObject *binding_serve(PyObject *self, PyObject *args);
PyObject *binding_decode(PyObject *self, PyObject *bytes);
PyObject *nats_request_object(struct request_mail *mail);

/* stream.c: durable bindings. -1: raised. */
int stream_read(PyObject *tuple, mtaio_nats_stream *ret, int *ret_emits);

/* One whose events become mails, as long as it has not lost its last reference. A status of the library. */
int stream_make_emitter(struct mailbox *box, uint64_t binding, mtaio_emitter **ret);
PyObject *nats_delivery_object(struct delivery_mail *mail);

/* Each adds a type to the module: 0, or -1 with an exception. */
int nats_add_connection(PyObject *module);
int nats_add_binding(PyObject *module);
int nats_add_request(PyObject *module);
int nats_add_delivery(PyObject *module);

#endif
