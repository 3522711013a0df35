/* handlers.c - handlers are removed while an emission rests, then added and removed on one thread while another emits,
 * with plain malloc: for sanitizers that look at every access (MemorySanitizer, ThreadSanitizer). Exits with 0 where
 * all is well. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include <mtaio/mtaio.h>

enum { HANDLERS = 6, ROUNDS = 4000 };
static const char *const names[] = {"x", "y", "z"};
enum { NAMES = sizeof names / sizeof *names };

static atomic_bool over;

static int bump(mtaio_event *event, void *ctx) {
    (void)event;
    return ctx ? 0 : -1;
}

/* More handlers under one name than fit into its first lane; then none, and the name is forgotten as soon as
 * the next one has been. */
static int change(mtaio_emitter *em, const char *name) {
    int ctx[HANDLERS], removed = 0;
    for (int i = 0; i < HANDLERS; i++)
        if (mtaio_on(em, name, bump, &ctx[i]) < 0) return 1;
    for (int i = 0; i < HANDLERS; i++) removed += mtaio_off(em, name, bump, &ctx[i]);
    return removed != HANDLERS || mtaio_emitter_count(em, name) != 0;
}

static void *emit(void *em) {
    int bad = 0;
    for (int i = 0; !atomic_load(&over); i++) bad |= mtaio_emit(em, names[i % NAMES], NULL) < 0;
    return bad ? em : NULL;
}

static mtaio_deferral *deferral;
static int ended;
static int defer(mtaio_event *event, void *ctx) {
    (void)ctx;
    return mtaio_event_defer(event, &deferral);
}
static void end(void *ctx) {
    (void)ctx;
    ended++;
}
static void forget(int result, const mtaio_report *report, void *ctx) {
    (void)result;
    (void)report;
    (void)ctx;
}

/* While no other thread has ever emitted: a handler that is removed while its emission rests is in use until then. */
static int rest(mtaio_emitter *em) {
    mtaio_listener *listener;
    int r = mtaio_emitter_on(em, "x", MTAIO_HANDLER(.call = defer, .destroy = end), &listener);
    if (r < 0 || mtaio_emit_start(em, MTAIO_EMISSION(.name = "x"), forget) != MTAIO_EINPROGRESS) return 1;
    r = mtaio_listener_cancel(listener) != 1 || ended != 0;
    mtaio_listener_unref(listener);
    r |= mtaio_deferral_complete(deferral, 0) != 0;
    mtaio_deferral_unref(deferral);
    return r || mtaio_reclaim() != 0 || ended != 1;
}

int main(void) {
    mtaio_emitter *em;
    pthread_t thread;
    void *bad = NULL;
    int r = mtaio_emitter_new(NULL, &em);
    if (r == 0) r = rest(em);
    if (r != 0) fprintf(stderr, "handlers: a wrong result while nobody else is there\n");
    if (r != 0 || pthread_create(&thread, NULL, emit, em) != 0) return 1;
    for (int i = 0; i < ROUNDS && r == 0; i++) r = change(em, names[i % NAMES]);
    atomic_store(&over, true);
    if (pthread_join(thread, &bad) != 0) return 1;
    mtaio_emitter_unref(em);
    if (r != 0 || bad) fprintf(stderr, "handlers: a wrong result\n");
    return r != 0 || bad ? 1 : 0;
}
