/* name.c - names looked up once. */
#include "base/memory.h"
#include "core/emitter.h"

int mtaio_emitter_resolve(mtaio_emitter *em, const char *name, mtaio_name **ret) {
    if (!em || !ret) return MTAIO_EINVAL;
    struct key key;
    int r = mtaio__name_check(name); /* not a pattern */
    if (r >= 0) r = mtaio__key_init(&key, name);
    if (r < 0) return r;
    mtaio_name *resolved = mtaio__alloc(sizeof *resolved);
    if (!resolved) return MTAIO_ENOMEM;
    struct node *n;
    os_lock(&em->family->lock);
    r = load_relaxed(&em->unusual) & EM_CLOSED ? MTAIO_ECLOSED : mtaio__node_obtain_locked(em, &key, &n);
    if (r == 0) n->refs++;
    mtaio__family_unlock(em->family);
    mtaio__after_removing(em->family, false);
    if (r < 0) {
        mtaio__free(resolved, sizeof *resolved);
        return r;
    }
    *resolved = (mtaio_name){.refs = 1, .em = mtaio_emitter_ref(em), .node = n, .hash = key.hash};
    *ret = resolved;
    return 0;
}

mtaio_name *mtaio_name_ref(mtaio_name *name) {
    if (name) atomic_add(&name->refs, 1);
    return name;
}

mtaio_name *mtaio_name_unref(mtaio_name *name) {
    if (!name || atomic_sub(&name->refs, 1) != 1) return NULL;
    struct family *f = name->em->family;
    os_lock(&f->lock);
    name->node->refs--;
    mtaio__node_release_locked(name->em, name->node);
    mtaio__family_unlock(f);
    mtaio__after_removing(f, false);
    mtaio_emitter_unref(name->em);
    mtaio__free(name, sizeof *name);
    return NULL;
}
