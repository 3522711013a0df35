/* peer_glib.c - GLib's GSignal, with the marshaller made for its one pointer argument. */
#include "peers.h"

#ifdef BENCH_GLIB
#include <glib-object.h>
#include <stdlib.h>

typedef struct {
    GObject parent;
} Subject;
typedef struct {
    GObjectClass parent;
} SubjectClass;

GType subject_get_type(void);
G_DEFINE_TYPE(Subject, subject, G_TYPE_OBJECT)

static guint changed;

static void subject_init(Subject *self) { (void)self; }

static void subject_class_init(SubjectClass *class) {
    changed = g_signal_new("changed", G_TYPE_FROM_CLASS(class), G_SIGNAL_RUN_LAST, 0, NULL, NULL,
                           g_cclosure_marshal_VOID__POINTER, G_TYPE_NONE, 1, G_TYPE_POINTER);
    g_signal_set_va_marshaller(changed, G_TYPE_FROM_CLASS(class), g_cclosure_marshal_VOID__POINTERv);
}

static void count_call(Subject *subject, void *data, void *ctx) {
    (void)subject;
    (void)data;
    ++*(uint64_t *)ctx;
}

static void count_thread_call(Subject *subject, void *data, void *ctx) {
    (void)subject;
    (void)data;
    (void)ctx;
    bench_thread_calls++;
}

static gulong add(void *subject, uint64_t *counter) {
    return g_signal_connect(subject, "changed",
                            counter ? G_CALLBACK(count_call) : G_CALLBACK(count_thread_call), counter);
}

static void *open_subject(size_t n, uint64_t *counters) {
    void *subject = g_object_new(subject_get_type(), NULL);
    for (size_t i = 0; i < n; i++)
        add(subject, counters ? &counters[i] : NULL);
    return subject;
}

static void emit(void *subject, size_t times) {
    for (; times; times--)
        g_signal_emit(subject, changed, 0, NULL);
}

static void add_remove(void *subject, size_t times) {
    for (; times; times--)
        g_signal_handler_disconnect(subject, add(subject, NULL));
}

static void fill(void *subject, size_t n, const uint32_t *order) {
    gulong *ids = bench_alloc(n * sizeof *ids);
    for (size_t i = 0; i < n; i++)
        ids[i] = add(subject, NULL);
    for (size_t i = 0; i < n; i++)
        g_signal_handler_disconnect(subject, ids[order[i]]);
    free(ids);
}

const bench_peer peer_glib = {.name = "GSignal",
                              .concurrent = true,
                              .open = open_subject,
                              .emit = emit,
                              .add_remove = add_remove,
                              .fill = fill,
                              .close = g_object_unref};
#else
const bench_peer peer_glib = {0};
#endif
