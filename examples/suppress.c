/* suppress.c - holding events back for a while, then replaying or dropping them. */
#include "check.h"

static int show(mtaio_event *event, void *ctx) {
    (void)ctx;
    printf("%s: %s\n", mtaio_event_name(event), (const char *)mtaio_event_data(event));
    return 0;
}

int main(void) {
    mtaio_emitter *emitter;
    mtaio_suppression *suppression;

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_on(emitter, "*", show, NULL));

    check(mtaio_emitter_suppress(emitter, "cell.*", &suppression));
    check(mtaio_emit(emitter, "cell.changed", "A1"));
    check(mtaio_emit(emitter, "cell.changed", "A2"));
    check(mtaio_emit(emitter, "saved", "not held back"));
    printf("held back: %zu\n", mtaio_suppression_count(suppression));
    printf("replayed: %d\n", check(mtaio_suppression_replay(suppression)));
    mtaio_suppression_unref(suppression);

    check(mtaio_emitter_suppress(emitter, NULL, &suppression));
    check(mtaio_emit(emitter, "cell.changed", "A3"));
    printf("dropped: %d\n", check(mtaio_suppression_drop(suppression)));
    mtaio_suppression_unref(suppression);
    check(mtaio_emit(emitter, "cell.changed", "A4"));

    mtaio_emitter_unref(emitter);
    return 0;
}
