/* nats_asker.c - the C end of a request, for tests/python. Usage: nats_asker URL ask TOPIC: prints the
 * answer, or the error; nats_asker URL fail TOPIC TEXT: answers that it failed, until the standard input
 * ends. */
#include <mtaio/nats.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void answer(mtaio_nats_request *request, void *ctx) {
    mtaio_nats_respond_error(request, ctx);
    mtaio_nats_request_unref(request);
}

static int ask(mtaio_nats_binding *binding, const char *topic) {
    mtaio_nats_reply *reply = NULL;
    int r = mtaio_nats_ask(binding, topic, NULL, 0, 60000000000, &reply);
    if (r < 0)
        printf("%s: %s\n", mtaio_error_name(r), mtaio_nats_error());
    else
        printf("%.*s\n", (int)mtaio_nats_reply_bytes(reply), (const char *)mtaio_nats_reply_data(reply));
    mtaio_nats_reply_unref(reply);
    return 0;
}

static int serve(mtaio_nats_binding *binding, const char *topic, char *text) {
    int r = mtaio_nats_serve(binding, topic, MTAIO_NATS_SERVER(.call = answer, .ctx = text));
    if (r < 0) return r;
    printf("ready\n");
    fflush(stdout);
    while (getchar() != EOF) continue;
    return 0;
}

int main(int argc, char **argv) {
    const char *const everything[] = {"*", NULL};
    mtaio_channel *ch;
    mtaio_nats *nats;
    mtaio_nats_binding *binding;

    if (argc < 4 || mtaio_channel_new(NULL, &ch) < 0 ||
        mtaio_nats_open(MTAIO_NATS_OPTIONS(.servers = argv[1]), &nats) < 0 ||
        mtaio_nats_bind(nats, ch, MTAIO_NATS_BINDING_OPTIONS(.prefix = "shop", .send = everything),
                        &binding) < 0)
        return EXIT_FAILURE;
    int r = strcmp(argv[2], "ask") == 0 ? ask(binding, argv[3]) : serve(binding, argv[3], argv[4]);
    mtaio_nats_close(nats, -1);
    mtaio_nats_binding_unref(binding);
    mtaio_nats_unref(nats);
    mtaio_channel_unref(ch);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
