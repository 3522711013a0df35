/* mailbox.c - from the threads of a connection to the event loop, without the GIL.
 *
 * A list to which everybody adds at its head, and from which one takes all; the descriptor is written when
 * the list was empty. Who takes clears the descriptor first: what is added after that writes it again. */
#include "module.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { STATES_MAX = 1024, REQUESTS_MAX = 65536 };

struct mailbox {
    atomic_size_t refs;
    _Atomic(struct mail *) head;
    atomic_size_t states, requests; /* in it; of requests: not answered */
    atomic_uint_least64_t missed;   /* states that were not kept */
    int fd;
};

/* The head of a mailbox that is closed. */
static struct mail closed;

struct mailbox *mailbox_new(void) {
    struct mailbox *box = calloc(1, sizeof *box);
    if (!box) return NULL;
    box->refs = 1;
    box->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (box->fd >= 0) return box;
    int error = errno;
    free(box);
    errno = error;
    return NULL;
}

struct mailbox *mailbox_ref(struct mailbox *box) {
    atomic_fetch_add(&box->refs, 1);
    return box;
}

void mailbox_unref(struct mailbox *box) {
    if (!box || atomic_fetch_sub(&box->refs, 1) != 1) return;
    close(box->fd);
    free(box);
}

int mailbox_fd(const struct mailbox *box) { return box->fd; }

void mailbox_put(struct mailbox *box, struct mail *mail) {
    const uint64_t one = 1;
    mail->next = atomic_load(&box->head);
    do {
        if (mail->next != &closed) continue;
        mail_discard(mail);
        return;
    } while (!atomic_compare_exchange_weak(&box->head, &mail->next, mail));
    if (mail->next) return;
    ssize_t written = write(box->fd, &one, sizeof one); /* fails only where it is readable as it is */
    (void)written;
}

/* All that is in it, in the order in which it came. */
static struct mail *empty(struct mailbox *box, struct mail *head) {
    struct mail *mail = atomic_exchange(&box->head, head), *list = NULL;
    while (mail && mail != &closed) {
        struct mail *next = mail->next;
        if (mail->kind == MAIL_STATE) atomic_fetch_sub(&box->states, 1);
        mail->next = list;
        list = mail;
        mail = next;
    }
    return list;
}

struct mail *mailbox_take(struct mailbox *box) {
    uint64_t count;
    ssize_t got = read(box->fd, &count, sizeof count);
    (void)got;
    return empty(box, NULL);
}

void mailbox_close(struct mailbox *box) {
    struct mail *mail = empty(box, &closed), *next;
    for (; mail; mail = next) {
        next = mail->next;
        mail_discard(mail);
    }
}

void mail_discard(struct mail *mail) {
    switch (mail->kind) {
    case MAIL_STATE:
        free(mail);
        break;
    case MAIL_SIGNAL:
        signal_unref((struct signal_mail *)mail);
        break;
    case MAIL_REQUEST:
        mtaio_nats_request_unref(((struct request_mail *)mail)->request);
        free(mail);
        break;
    case MAIL_ANSWER:
        answer_unref((struct answer_mail *)mail);
        break;
    case MAIL_DELIVERY:
        delivery_free(((struct delivery_mail *)mail)->delivery);
        free(mail);
        break;
    }
}

/* --- States ------------------------------------------------------------------------------------ */

static const char *put_text(char **at, const char *text) {
    size_t bytes = strlen(text) + 1;
    const char *copy = memcpy(*at, text, bytes);
    *at += bytes;
    return copy;
}

void mailbox_tell(struct mailbox *box, const char *name, const mtaio_nats_state *state) {
    size_t bytes = strlen(name) + strlen(state->server) + strlen(state->prefix) + strlen(state->text) + 4;
    struct state_mail *mail = NULL;
    if (atomic_fetch_add(&box->states, 1) < STATES_MAX) mail = malloc(sizeof *mail + bytes);
    if (!mail) {
        atomic_fetch_sub(&box->states, 1);
        atomic_fetch_add(&box->missed, 1);
        return;
    }
    char *at = (char *)(mail + 1);
    mail->mail.kind = MAIL_STATE;
    mail->count = state->count;
    mail->missed = atomic_exchange(&box->missed, 0);
    mail->name = put_text(&at, name);
    mail->server = put_text(&at, state->server);
    mail->prefix = put_text(&at, state->prefix);
    mail->text = put_text(&at, state->text);
    mailbox_put(box, &mail->mail);
}

/* --- Signals ----------------------------------------------------------------------------------- */

struct signal_mail *signal_new(struct mailbox *box, uint64_t binding, bool is_incoming) {
    struct signal_mail *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->mail.kind = MAIL_SIGNAL;
    s->refs = 1;
    s->box = mailbox_ref(box);
    s->binding = binding;
    s->is_incoming = is_incoming;
    return s;
}

void signal_unref(struct signal_mail *s) {
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1) return;
    mailbox_unref(s->box);
    free(s);
}

static void send_signal(int result, void *ctx) {
    struct signal_mail *s = ctx;
    s->result = result;
    atomic_fetch_add(&s->refs, 1); /* the mailbox's */
    mailbox_put(s->box, &s->mail);
}

static void release_signal(void *ctx) { signal_unref(ctx); }

mtaio_published signal_published(struct signal_mail *s) {
    atomic_fetch_add(&s->refs, 1); /* the library's, until release_signal */
    return *MTAIO_PUBLISHED(.call = send_signal, .destroy = release_signal, .ctx = s);
}

/* --- Requests ---------------------------------------------------------------------------------- */

bool mailbox_admit(struct mailbox *box) {
    if (atomic_fetch_add(&box->requests, 1) < REQUESTS_MAX) return true;
    atomic_fetch_sub(&box->requests, 1);
    return false;
}

void mailbox_dismiss(struct mailbox *box) { atomic_fetch_sub(&box->requests, 1); }
