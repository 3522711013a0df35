/* error_handling.c - what emitting answers when a handler fails, and when nothing can be emitted at all. */
#include "check.h"

enum { NO_SUCH_USER = -1, NO_MAIL = -2 }; /* any negative number is a failure */

static int find_user(mtaio_event *event, void *ctx) {
    (void)event, (void)ctx;
    return NO_SUCH_USER;
}

static int send_mail(mtaio_event *event, void *ctx) {
    (void)event, (void)ctx;
    puts("a failing handler does not keep the next one from running");
    return NO_MAIL;
}

static void tell(const mtaio_failure *failure, void *ctx) {
    (void)ctx;
    printf("a handler of %s failed with %d\n", failure->name, failure->status);
}

int main(void) {
    mtaio_emitter *emitter;
    mtaio_report report = MTAIO_REPORT();
    int r;

    check(mtaio_emitter_new(NULL, &emitter));
    check(mtaio_on(emitter, "event", find_user, NULL));
    check(mtaio_on(emitter, "event", send_mail, NULL));

    r = mtaio_emit_with(emitter, MTAIO_EMISSION(.name = "event", .report = &report, .failure = tell));
    if (r == MTAIO_EHANDLER)
        printf("%s: %u of %u, the first with %d\n", mtaio_error_text(r), report.failed, report.called,
               report.first_error);

    mtaio_emitter_close(emitter);
    r = mtaio_emit(emitter, "event", NULL);
    if (r < 0)
        printf("not emitted: %s\n", mtaio_error_text(r));

    mtaio_emitter_unref(emitter);
    return 0;
}
