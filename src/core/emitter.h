/* emitter.h - what the files about emitters have in common. */
#ifndef MTAIO_SRC_EMITTER_H
#define MTAIO_SRC_EMITTER_H

#include "core/emission.h"

#include <string.h>

/* A user's reference to a registration. It holds the family's memory, not the emitter. */
struct mtaio_listener {
    ATOMIC(uint32_t) refs;
    struct family *family;
    mtaio_emitter *em;         /* right while listener is there */
    struct listener *listener; /* NULL: removed; family's lock */
    const void *was;           /* where it was, to wait for its calls */
};

/* A resolved name. */
struct mtaio_name {
    ATOMIC(uint32_t) refs;
    mtaio_emitter *em;
    struct node *node;
    uint64_t hash;
};

#define MTAIO__CHECK_SIZE(p, type) ((p) && (p)->size == sizeof(type))

/* A checked name or pattern, measured and hashed before a lock is taken. */
struct key {
    const char *text;
    size_t length;
    uint64_t hash;
    bool is_pattern;
    struct node *node; /* of a resolved name, in the emitter that is asked; else NULL */
};

/* EINVAL (NULL), EPATTERN. */
int mtaio__key_init(struct key *key, const char *pattern);

/* --- emitter.c --------------------------------------------------------------------------------- */

/* source NULL: an emitter of its own; else derived from it. options may be NULL. ECLOSED, EDEPTH, ENOMEM,
 * ESYSTEM. */
int mtaio__emitter_create(const mtaio_emitter_options *options, mtaio_emitter *source,
                          struct derivation *derivation, mtaio_emitter **ret);

/* The last resort. */
void mtaio__trouble(const mtaio_emitter *em, const mtaio_trouble *trouble);

/* Frees what was removed and is not in use any more, and runs its destroys. No lock. */
void mtaio__family_sweep(struct family *f);

/* --- register.c: the family's lock is held by the caller where the name ends in _locked --------- */

/* Registers l under the valid pattern, on em and by links on what em is derived from. On failure nothing has
 * changed, and l is the caller's. */
int mtaio__register(mtaio_emitter *em, const struct key *key, struct listener *l, mtaio_listener **ret);

/* Removes it: it will not be called any more, and is freed when it is not in use. */
void mtaio__unregister_locked(mtaio_emitter *em, struct listener *l);

/* After removing, without the lock: frees at once what can be. eager: somebody waits for a destroy. */
void mtaio__free_removed(struct family *f, bool eager);
static inline void mtaio__after_removing(struct family *f, bool eager) {
    if (load_relaxed(&f->reclaimer.waiting) > 0 || load_relaxed(&f->letting_go))
        mtaio__free_removed(f, eager);
}

/* Removes every registration; detaches from the source and the derived emitters. */
void mtaio__unregister_all_locked(mtaio_emitter *em);

struct node *mtaio__node_find_locked(const mtaio_emitter *em, const struct key *key);

/* The name's node, made where it is not there; it stays while node->refs or handlers or links are not 0. */
int mtaio__node_obtain_locked(mtaio_emitter *em, const struct key *key, struct node **ret);
void mtaio__node_release_locked(mtaio_emitter *em, struct node *n); /* if nothing needs it any more */

/* --- listen.c: a registration with our own call, for wait, hooks and pipes; destroy runs also on failure.
 * The pattern is checked. */
int mtaio__listen(mtaio_emitter *em, const char *pattern, const mtaio_handler *h, enum rank rank,
                  mtaio_call call, mtaio_listener **ret);

/* --- derive.c ---------------------------------------------------------------------------------- */

/* The call of a link to em's node: passes the event on. */
mtaio_call mtaio__link_call(const mtaio_emitter *em, const struct node *n);
void mtaio__derivation_free(struct derivation *d);

/* Can a name that matches the pattern pass at all? */
bool mtaio__derivation_admits(const struct derivation *d, const char *pattern, bool pattern_is_name);

static inline bool is_error_name(const char *name) { return name[0] == 'e' && strcmp(name, "error") == 0; }

/* What a buffer has gathered, under the family's lock; NULL: em is none. */
struct event_list *mtaio__gathered(const mtaio_emitter *em);

/* --- batch.c ----------------------------------------------------------------------------------- */

void mtaio__gathered_drop(mtaio_emitter *em);

/* --- emit.c ------------------------------------------------------------------------------------ */

/* An emission that waits; its event is a view. tally and report may be NULL. */
struct emit {
    mtaio_emitter *em;
    struct target target; /* of a batch: nothing */
    mtaio_event *view;
    mtaio_report *report;
    void (*failure)(const mtaio_failure *failure, void *ctx);
    void *ctx;
    bool unheld; /* a replay: suppressions do not hold it */
};
int mtaio__emit(const struct emit *emit);
int mtaio__emit_owned(mtaio_emitter *em, mtaio_event *event, const mtaio_async *async);

/* Tells the last resort that an emission which nobody awaits has failed. */
void mtaio__unawaited(mtaio_emitter *em, const char *name, int status);

/* As mtaio_emit_nowait, and over is called once, as done of mtaio_emit_async is: u may be gone when it
 * returns. */
struct unawaited {
    mtaio_emitter *em;
    void (*over)(struct unawaited *u);
};
int mtaio__emit_unawaited(mtaio_event *event, struct unawaited *u);

/* --- delay.c: cancels the emissions to come ------------------------------------------------------ */
void mtaio__delayed_close(mtaio_emitter *em);

/* --- suppress.c: 1: the event is held back; 0: it is not; or ENOMEM ----------------------------- */
int mtaio__suppress_take(mtaio_emitter *em, const mtaio_event *event);
void mtaio__suppressed_close(mtaio_emitter *em); /* drops what is held */

#endif
