/* fork.h - what has a lock of its own, so that the child of a fork finds it free.
 *
 * fork() copies one thread and all memory, also a lock that another thread has and what it was half-way
 * through changing. So whoever forks first sees to it that nobody is inside of any lock: he goes through all
 * there are, which are in lists. That costs the forking thread some time for each, and who locks
 * next to nothing. */
#ifndef MTAIO_SRC_FORK_H
#define MTAIO_SRC_FORK_H

#include "os/os.h"

/* In the order in which their locks are taken. */
enum fork_kind { FORK_FAMILY, FORK_PUBLISHER, FORK_CHANNEL, FORK_SUBSCRIBER, FORK_KINDS };

struct forkable;
struct fork_ops {
    void (*before)(struct forkable *f); /* from when it returns, nobody is inside */
    void (*child)(struct forkable *f);  /* in the child: forgets the threads that are not there */
    void (*after)(struct forkable *f);  /* in both: lets the others in again; NULL: nothing to be done */
};

/* Embedded in what has a lock. */
struct forkable {
    struct forkable *next, **at;
    const struct fork_ops *ops;
};

/* No lock is held. */
void mtaio__fork_enter(struct forkable *f, enum fork_kind kind, const struct fork_ops *ops);
void mtaio__fork_leave(struct forkable *f);

/* Around a fork. */
void mtaio__fork_before(void);
void mtaio__fork_child(void); /* then after */
void mtaio__fork_after(void);

#endif
