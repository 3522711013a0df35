/* monitoring.c - a monitor of everything: it comes last, sees every event and changes nothing. */
#include "check.h"

struct monitor {
    unsigned events;
};

static int log_event(mtaio_event *event, void *ctx) {
    struct monitor *monitor = ctx;

    monitor->events++;
    printf("Event: %s, Data: %s\n", mtaio_event_name(event), (const char *)mtaio_event_data(event));
    return 0;
}

static int stop(mtaio_event *event, void *ctx) {
    (void)ctx;
    return mtaio_event_set_propagate(event, false); /* not for monitors */
}

int main(void) {
    mtaio_emitter *emitter;
    struct monitor monitor = {0};

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_emitter_on(emitter, "*",
                           MTAIO_HANDLER(.call = log_event, .ctx = &monitor, .priority = MTAIO_MONITOR),
                           NULL));
    check(mtaio_on(emitter, "user.login", stop, NULL));

    check(mtaio_emit(emitter, "user.login", "John"));
    check(mtaio_emit(emitter, "nobody.listens", "but the monitor"));
    printf("%u events\n", monitor.events);

    mtaio_emitter_unref(emitter);
    return 0;
}
