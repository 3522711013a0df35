/* servers.c - the servers' URLs, in the order in which they are tried: first one that answers. */
#include <stdlib.h>
#include <string.h>

#include "nats_inner.h"

static char *copy_of(const char *text) { return strdup(text ? text : ""); }

void mtaio__servers_clear(struct servers *s) {
    free(s->text);
    free(s->login.user);
    free(s->login.password);
    free(s->login.token);
    *s = (struct servers){0};
}

int mtaio__servers_set(struct servers *s, const mtaio_nats_options *options) {
    s->text = copy_of(options->servers ? options->servers : "nats://127.0.0.1:4222");
    s->login = (struct login){copy_of(options->user), copy_of(options->password), copy_of(options->token),
                              options->credentials || options->tls_ca || options->tls_certificate ||
                                  options->tls_key};
    if (!s->text || !s->login.user || !s->login.password || !s->login.token) return MTAIO_ENOMEM;
    char *rest = s->text, *url = strtok_r(rest, ", ", &rest);
    for (; url && s->count < SERVERS; url = strtok_r(NULL, ", ", &rest)) s->urls[s->count++] = url;
    return s->count > 0 && !url ? 0 : MTAIO_EINVAL;
}

/* So that those who have the same list do not all go to the first of it. */
static void shuffle(struct servers *s) {
    for (int i = s->count - 1; i > 0; i--) {
        int k = (int)(mtaio__random() % (uint64_t)(i + 1));
        const char *url = s->urls[i];
        s->urls[i] = s->urls[k];
        s->urls[k] = url;
    }
}

/* Those that greet and then say nothing leave the list; the first that answers comes first. */
int mtaio__servers_choose(mtaio_nats *nats) {
    struct servers *s = &nats->servers;
    int kept = 0, silent = 0, answers = 0;
    shuffle(s);
    for (int i = 0; i < s->count; i++) {
        int r = answers ? 0 : mtaio__probe(nats, s->urls[i]);
        if (r < 0) {
            silent = r;
            continue;
        }
        const char *url = s->urls[i];
        s->urls[kept++] = url;
        if (r == 0) continue;
        answers = 1;
        s->urls[kept - 1] = s->urls[0];
        s->urls[0] = url;
    }
    s->count = kept;
    if (kept == 0) mtaio__set_words("the server greets, and then says nothing more");
    return kept > 0 ? 0 : silent;
}

bool mtaio__servers_are_silent(mtaio_nats *nats) {
    for (int i = 0; i < nats->servers.count; i++)
        if (mtaio__probe(nats, nats->servers.urls[i]) == MTAIO_ETIMEDOUT) return true;
    return false;
}
