/* derivation.c - making filters, maps and buffers, and their end. */
#include "core/derivation.h"

#include "base/memory.h"

bool mtaio__derivation_admits(const struct derivation *d, const char *pattern, bool pattern_is_name) {
    return !d->pattern || !pattern_is_name || mtaio__pattern_matches(d->pattern, pattern);
}

void mtaio__derivation_free(struct derivation *d) {
    if (!d) return;
    if (d->kind == FILTER && d->filter.destroy) d->filter.destroy(d->filter.ctx);
    if (d->kind == MAP && d->map.destroy) d->map.destroy(d->map.ctx);
    mtaio__event_list_fini(&d->gathered);
    mtaio__free_string(d->pattern);
    mtaio__free(d, sizeof *d);
}

/* --- Deriving ---------------------------------------------------------------------------------- */

struct event_list *mtaio__gathered(const mtaio_emitter *em) {
    return em && em->derivation && em->derivation->kind == BUFFER ? &em->derivation->gathered : NULL;
}

static int derive(mtaio_emitter *em, const char *pattern, const struct derivation *as, mtaio_emitter **ret) {
    int r = pattern ? mtaio__pattern_check(pattern, NULL) : 0;
    if (r < 0) return r;
    struct derivation *d = mtaio__alloc(sizeof *d);
    if (!d) return MTAIO_ENOMEM;
    *d = *as;
    if (pattern && !(d->pattern = mtaio__copy_string(pattern))) {
        mtaio__free(d, sizeof *d);
        return MTAIO_ENOMEM;
    }
    r = mtaio__emitter_create(NULL, em, d, ret);
    if (r < 0) {
        mtaio__free_string(d->pattern);
        mtaio__free(d, sizeof *d);
    }
    return r;
}

int mtaio_emitter_filter(mtaio_emitter *em, const char *pattern, const mtaio_filter *f, mtaio_emitter **ret) {
    if (!MTAIO__CHECK_SIZE(f, mtaio_filter)) return MTAIO_EINVAL;
    int r = em && ret && f->call
                ? derive(em, pattern, &(struct derivation){.kind = FILTER, .filter = *f}, ret)
                : MTAIO_EINVAL;
    if (r < 0 && f->destroy) f->destroy(f->ctx);
    return r;
}

int mtaio_emitter_map(mtaio_emitter *em, const char *pattern, const mtaio_map *m, mtaio_emitter **ret) {
    if (!MTAIO__CHECK_SIZE(m, mtaio_map)) return MTAIO_EINVAL;
    int r = em && ret && m->call ? derive(em, pattern, &(struct derivation){.kind = MAP, .map = *m}, ret)
                                 : MTAIO_EINVAL;
    if (r < 0 && m->destroy) m->destroy(m->ctx);
    return r;
}

int mtaio_emitter_buffer(mtaio_emitter *em, const char *pattern, size_t n, mtaio_emitter **ret) {
    if (!em || !ret || n == 0 || n > UINT32_MAX) return MTAIO_EINVAL;
    return derive(em, pattern, &(struct derivation){.kind = BUFFER, .n = n}, ret);
}
