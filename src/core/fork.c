/* fork.c - the lists of what has a lock, and going through them. */
#include "core/fork.h"

#include <assert.h>

static os_mutex lists_lock = OS_MUTEX_STATIC; /* outermost */
static struct forkable *lists[FORK_KINDS];

void mtaio__fork_enter(struct forkable *f, enum fork_kind kind, const struct fork_ops *ops) {
    f->ops = ops;
    f->at = &lists[kind];
    os_lock(&lists_lock);
    f->next = lists[kind];
    if (f->next) f->next->at = &f->next;
    lists[kind] = f;
    os_unlock(&lists_lock);
}

void mtaio__fork_leave(struct forkable *f) {
    assert(os_locks_held() == 0);
    os_lock(&lists_lock);
    if (f->next) f->next->at = f->at;
    *f->at = f->next;
    os_unlock(&lists_lock);
}

void mtaio__fork_before(void) {
    os_lock_inner(&lists_lock);
    os_locks_stop();
    for (int kind = 0; kind < FORK_KINDS; kind++)
        for (struct forkable *f = lists[kind]; f; f = f->next) f->ops->before(f);
}

void mtaio__fork_child(void) {
    for (int kind = 0; kind < FORK_KINDS; kind++)
        for (struct forkable *f = lists[kind]; f; f = f->next) f->ops->child(f);
}

void mtaio__fork_after(void) {
    for (int kind = 0; kind < FORK_KINDS; kind++)
        for (struct forkable *f = lists[kind]; f; f = f->next)
            if (f->ops->after) f->ops->after(f);
    os_locks_go();
    os_unlock(&lists_lock);
}
