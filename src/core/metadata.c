/* metadata.c - what is said about an event besides its data: string keys and values in an array, in the order
 * in which the keys were first set. There are few of them, so a key is found by looking at each.
 *
 * Only the holder of the one reference writes (EBUSY for anybody else), so readers need no lock. */
#include <mtaio/event.h>
#include <string.h>

#include "base/atomic.h"
#include "base/memory.h"

struct pair {
    char *key;
    char *value;
};

struct mtaio_metadata {
    ATOMIC(size_t) refs;
    struct pair *pairs;
    size_t count, capacity;
};

int mtaio_metadata_new(mtaio_metadata **ret) {
    mtaio_metadata *m;

    if (ret == NULL)
        return MTAIO_EINVAL;
    m = mtaio__alloc_zeroed(sizeof *m);
    if (m == NULL)
        return MTAIO_ENOMEM;
    m->refs = 1;
    *ret = m;
    return 0;
}

mtaio_metadata *mtaio_metadata_ref(mtaio_metadata *m) {
    if (m != NULL)
        atomic_add(&m->refs, 1);
    return m;
}

mtaio_metadata *mtaio_metadata_unref(mtaio_metadata *m) {
    /* Each holder's reads come before its own decrement, and so before the last one, which frees. */
    if (m == NULL || atomic_sub(&m->refs, 1) > 1)
        return NULL;
    for (size_t i = 0; i < m->count; i++) {
        mtaio__free_string(m->pairs[i].key);
        mtaio__free_string(m->pairs[i].value);
    }
    mtaio__free(m->pairs, m->capacity * sizeof *m->pairs);
    mtaio__free(m, sizeof *m);
    return NULL;
}

static struct pair *find(const mtaio_metadata *m, const char *key) {
    for (size_t i = 0; i < m->count; i++)
        if (strcmp(m->pairs[i].key, key) == 0)
            return &m->pairs[i];
    return NULL;
}

static void remove_pair(mtaio_metadata *m, struct pair *pair) {
    size_t after = m->count - (size_t)(pair - m->pairs) - 1;

    mtaio__free_string(pair->key);
    mtaio__free_string(pair->value);
    memmove(pair, pair + 1, after * sizeof *pair);
    m->count--;
}

static int replace_value(struct pair *pair, const char *value) {
    char *copy = mtaio__copy_string(value);

    if (copy == NULL)
        return MTAIO_ENOMEM;
    mtaio__free_string(pair->value); /* after the copy: value may lie in it */
    pair->value = copy;
    return 0;
}

static int add_pair(mtaio_metadata *m, const char *key, const char *value) {
    struct pair pair;

    if (!mtaio__reserve(&m->pairs, sizeof *m->pairs, m->count, &m->capacity))
        return MTAIO_ENOMEM;
    pair.key = mtaio__copy_string(key);
    pair.value = pair.key != NULL ? mtaio__copy_string(value) : NULL;
    if (pair.value == NULL) {
        mtaio__free_string(pair.key);
        return MTAIO_ENOMEM;
    }
    m->pairs[m->count++] = pair;
    return 0;
}

int mtaio_metadata_set(mtaio_metadata *m, const char *key, const char *value) {
    struct pair *pair;

    if (m == NULL || key == NULL || *key == '\0')
        return MTAIO_EINVAL;
    if (load_acquire(&m->refs) > 1) /* pairs with the decrement of a reader that has finished */
        return MTAIO_EBUSY;
    pair = find(m, key);
    if (value == NULL) {
        if (pair != NULL)
            remove_pair(m, pair);
        return 0;
    }
    return pair != NULL ? replace_value(pair, value) : add_pair(m, key, value);
}

const char *mtaio_metadata_get(const mtaio_metadata *m, const char *key) {
    const struct pair *pair = m != NULL && key != NULL ? find(m, key) : NULL;

    return pair != NULL ? pair->value : NULL;
}

size_t mtaio_metadata_count(const mtaio_metadata *m) { return m != NULL ? m->count : 0; }

int mtaio_metadata_at(const mtaio_metadata *m, size_t index, const char **ret_key, const char **ret_value) {
    if (m == NULL || index >= m->count || ret_key == NULL || ret_value == NULL)
        return MTAIO_EINVAL;
    *ret_key = m->pairs[index].key;
    *ret_value = m->pairs[index].value;
    return 0;
}
