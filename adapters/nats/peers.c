/* peers.c - the numbers that other bindings have come to: what is missing between them was lost. */
#include "nats_inner.h"

static struct peer *find(struct peers *p, uint64_t id) {
    if (p->list[p->last].id == id && p->list[p->last].used) return &p->list[p->last];
    size_t oldest = 0;
    for (size_t i = 0; i < PEERS; i++) {
        if (p->list[i].used && p->list[i].id == id) {
            p->last = i;
            return &p->list[i];
        }
        if (p->list[i].used < p->list[oldest].used) oldest = i;
    }
    p->last = oldest; /* a new one, in the place of the one that was silent for longest */
    p->list[oldest] = (struct peer){.id = id};
    return &p->list[oldest];
}

uint64_t mtaio__peers_note(struct peers *p, const struct numbers *n, bool *ret_again) {
    struct peer *peer = find(p, n->id);
    bool is_new = peer->used == 0;
    uint64_t missing = !is_new && n->first > peer->next ? n->first - peer->next : 0;
    *ret_again = n->count > 0 && !is_new && n->first < peer->next;
    peer->used = ++p->uses;
    if (!*ret_again && (is_new || n->first + n->count > peer->next)) peer->next = n->first + n->count;
    return missing;
}
