/* test_nats_tls.c - certificates and credentials, over servers of its own that want them. The credentials in
 * testdata are of an operator, an account and a user that were made for this test, and are good for nothing
 * else. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test_server.h"

/* libnats 3.4.1 reads and writes on one TLS session in two threads, without a lock. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void) { return "race:libssl.so\nrace:libcrypto.so\n"; }

static char directory[] = "/tmp/mtaio-tls-XXXXXX";

static void make_certificates(void) {
    static const char script[] =
        "cd \"$1\" && exec >/dev/null 2>&1 || exit 1\n"
        "new=\"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2\"\n"
        "$new -subj /CN=ca -keyout ca.key -out ca.pem &&\n"
        "$new -subj /CN=other -keyout other.key -out other.pem &&\n"
        "for who in server client; do\n"
        "    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=$who -keyout "
        "$who.key \\\n"
        "        -out $who.csr &&\n"
        "    echo subjectAltName=IP:127.0.0.1,DNS:localhost >$who.ext &&\n"
        "    openssl x509 -req -in $who.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile "
        "$who.ext \\\n"
        "        -out $who.pem || exit 1\n"
        "done\n";
    CHECK(mkdtemp(directory) != NULL);
    pid_t pid = fork();
    int status;
    CHECK(pid >= 0);
    if (pid == 0) {
        execl("/bin/sh", "sh", "-c", script, "sh", directory, (char *)NULL);
        _exit(127);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
}

static const char *path(const char *name) {
    enum { PATHS = 8 };
    static char paths[PATHS][128];
    static unsigned next;
    char *p = paths[next++ % PATHS];
    snprintf(p, sizeof paths[0], "%s/%s", directory, name);
    return p;
}

/* The error; or a message travels. */
static int try(const mtaio_nats_options *options) {
    mtaio_nats *nats = NULL;
    mtaio_nats_binding *out, *in;
    mtaio_channel *a, *b;
    mtaio_subscriber *sub;
    mtaio_message m;
    int r = mtaio_nats_open(options, &nats);
    if (r < 0) {
        CHECK(*mtaio_nats_error() != '\0');
        return r;
    }
    CHECK(mtaio_channel_new(NULL, &a) == 0 && mtaio_channel_new(NULL, &b) == 0);
    CHECK(mtaio_subscribe(b, NULL, &sub) == 0);
    CHECK(mtaio_nats_bind(nats, b, MTAIO_NATS_BINDING_OPTIONS(.prefix = "p", .take = EVERYTHING), &in) == 0);
    CHECK(mtaio_nats_bind(nats, a, MTAIO_NATS_BINDING_OPTIONS(.prefix = "p", .send = EVERYTHING), &out) == 0);
    CHECK(mtaio_publish(a, "t", "secret", 6) >= 0);
    CHECK(mtaio_subscriber_receive(sub, 5000 * MS, &m) >= 0 && mtaio_message_bytes(&m) == 6);
    mtaio_message_clear(&m);
    CHECK(mtaio_nats_close(nats, 5000 * MS) == 0);
    mtaio_nats_binding_unref(out);
    mtaio_nats_binding_unref(in);
    mtaio_nats_unref(nats);
    mtaio_subscriber_unref(sub);
    mtaio_channel_unref(a);
    mtaio_channel_unref(b);
    return 0;
}

/* tls_ca: whom the server has to be signed by; "a URL tls://... is too"; "ESYSTEM (refused: [...] certificate
 * ...)". */
static void server_certificates(void **state) {
    (void)state;
    struct server own;
    char url[80];
    server_start(&own, (const char *const[]){"--tls", "--tlscert", path("server.pem"), "--tlskey",
                                             path("server.key"), NULL});
    CHECK(try(MTAIO_NATS_OPTIONS(.servers = own.url, .tls_ca = path("ca.pem"))) == 0);
    snprintf(url, sizeof url, "tls://127.0.0.1:%d", own.port);
    CHECK(try(MTAIO_NATS_OPTIONS(.servers = url, .tls_ca = path("ca.pem"))) == 0);
    CHECK(try(MTAIO_NATS_OPTIONS(.servers = url)) == MTAIO_ESYSTEM); /* signed by nobody the system knows */
    CHECK(try(MTAIO_NATS_OPTIONS(.servers = own.url, .tls_ca = path("other.pem"))) == MTAIO_ESYSTEM);
    server_end(&own);
    server_start(&own, NULL); /* none: it is not talked to without */
    CHECK(try(MTAIO_NATS_OPTIONS(.servers = own.url, .tls_ca = path("ca.pem"))) == MTAIO_ESYSTEM);
    server_end(&own);
}

/* tls_certificate, tls_key: who we are. */
static void client_certificates(void **state) {
    (void)state;
    struct server own;
    server_start(&own, (const char *const[]){"--tls", "--tlscert", path("server.pem"), "--tlskey",
                                             path("server.key"), "--tlsverify", "--tlscacert", path("ca.pem"),
                                             NULL});
    CHECK(try(MTAIO_NATS_OPTIONS(.servers = own.url, .tls_ca = path("ca.pem"),
                                 .tls_certificate = path("client.pem"), .tls_key = path("client.key"))) == 0);
    CHECK(try(MTAIO_NATS_OPTIONS(.servers = own.url, .tls_ca = path("ca.pem"))) < 0);
    CHECK(try(MTAIO_NATS_OPTIONS(.servers = own.url, .tls_ca = path("ca.pem"),
                                 .tls_certificate = path("other.pem"), .tls_key = path("other.key"))) < 0);
    server_end(&own);
}

/* credentials: "a file, as servers' tools write it". */
static void credentials(void **state) {
    (void)state;
    struct server own;
    char missing[160];
    server_start(&own, (const char *const[]){"-c", TESTDATA "/operator.conf", NULL});
    CHECK(try(MTAIO_NATS_OPTIONS(.servers = own.url, .credentials = TESTDATA "/user.creds")) == 0);
    CHECK(try(MTAIO_NATS_OPTIONS(.servers = own.url)) == MTAIO_ESYSTEM);
    CHECK(try(MTAIO_NATS_OPTIONS(.servers = own.url, .user = "u", .password = "p")) == MTAIO_ESYSTEM);
    snprintf(missing, sizeof missing, "%s/none.creds", directory);
    CHECK(try(MTAIO_NATS_OPTIONS(.servers = own.url, .credentials = missing)) < 0);
    server_end(&own);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(server_certificates),
                                       cmocka_unit_test(client_certificates), cmocka_unit_test(credentials)};
    make_certificates();
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    struct server rest = {0};
    strcpy(rest.directory, directory);
    server_end(&rest); /* removes the directory */
    return failures;
}
