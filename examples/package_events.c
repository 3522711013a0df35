/* package_events.c - the package history of a Debian machine as a stream of events.
 *
 * Every line of dpkg's log is emitted as an event: package.upgrade, status.installed,
 * startup.archives.unpack; a line that cannot be understood, as an error event. Handlers count, and a summary
 * is printed at the end.
 *
 * This file: the command line, the emission of a line. package_events_read.c: the loop over the lines.
 * package_events_handlers.c: who listens to what. package_events_feed.c: the channel. package_events_input.c:
 * reading, parsing. package_events_report.c: counting, printing. */
#define _POSIX_C_SOURCE 200809L

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "package_events.h"

#ifndef RECORDED_LOG
#define RECORDED_LOG "examples/data/dpkg.log"
#endif
#define SYSTEM_LOGS "/var/log"

static const char usage[] =
    "Usage: package_events [--ignore PATTERN]... [SOURCE]...\n"
    "Shows what happened to the packages of a Debian machine, from dpkg's log.\n"
    "\n"
    "SOURCE is a log, plain or compressed by gzip; a directory: its dpkg.log and the rotated ones\n"
    "dpkg.log.1, dpkg.log.2.gz, ... oldest first; or - for the standard input.\n"
    "Default: " SYSTEM_LOGS ", or a recorded log where this machine has none.\n"
    "\n"
    "  -i, --ignore PATTERN  count these packages as ignored and nothing else (default: man-db, whose\n"
    "                        triggers follow nearly every run); '' for none\n"
    "  -h, --help            show this\n"
    "\n"
    "Exit status: 0, 1: something could not be read or is no such log, 2: wrong usage.\n";

static int64_t now_ns(void) {
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* --- Progress, on a terminal ------------------------------------------------------------------- */

static int64_t next_progress_ns; /* when to show it again; 0: not on a terminal */

static void begin_progress(void) {
    if (isatty(STDERR_FILENO))
        next_progress_ns = now_ns() + 500000000; /* a short input shows none */
}

void show_progress(const struct program *p, const struct entry *e) {
    if (next_progress_ns == 0 || now_ns() < next_progress_ns)
        return;
    fprintf(stderr, "\r\33[K%s lines, now in %s", grouped(p->figures.lines), e->source);
    next_progress_ns = now_ns() + 100000000;
}

static void end_progress(void) {
    if (next_progress_ns != 0)
        fputs("\r\33[K", stderr);
}

/* --- Lines become events ----------------------------------------------------------------------- */

static void tell_failure(const mtaio_failure *failure, void *ctx) {
    (void)ctx;
    complain("a handler of '%s' failed: %s", failure->name, mtaio_error_text(failure->status));
}

int emit_line(struct program *p, struct entry *e, char *line, size_t length) {
    p->figures.lines++;
    e->number++;
    if (length == 0) {
        p->figures.empty++;
        return 0;
    }
    entry_parse(line, length, e);
    return mtaio_emit_with(p->lines,
                           MTAIO_EMISSION(.resolved = p->names[e->kind], .data = e,
                                          .change = kinds[e->kind].change, .failure = tell_failure));
}

/* 0, or 1: there was trouble. */
static int process(struct program *p, const struct sources *s) {
    int64_t began_ns = now_ns();
    int r, finished;

    begin_progress();
    r = read_sources(p, s);
    end_progress();
    finished = program_finish(p);
    p->figures.elapsed_ns = now_ns() - began_ns;
    if (r >= 0 && finished >= 0)
        return r;
    if (r >= 0)
        r = finished;
    complain("%s", mtaio_error_text(r));
    return 1;
}

static int summarize(struct program *p) {
    struct figures *f = &p->figures;
    size_t calls = 0;
    bool adds_up;

    for (size_t i = 0; i < STATIONS; i++)
        calls += p->stations[i].calls;
    if (f->events + f->malformed > 0) {
        report_figures(f);
        program_report_handlers(p);
    }
    adds_up = report_totals(f, calls);
    if (f->events == 0 && f->malformed > 0)
        complain("not one line of %s is of a dpkg log", grouped(f->lines));
    return adds_up && (f->events > 0 || f->malformed == 0) ? 0 : 1;
}

static int run(struct program *p, const struct sources *s) {
    int trouble, r = program_start(p);

    if (r < 0) {
        complain("%s", mtaio_error_text(r));
        return 1;
    }
    report_title(s);
    trouble = process(p, s);
    trouble |= summarize(p);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        complain("cannot write: %s", strerror(errno));
        return 1;
    }
    return trouble;
}

/* --- The command line -------------------------------------------------------------------------- */

static bool is_directory(const char *path) {
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* 0, or -1: reported. */
static int find_sources(struct sources *s, char **arguments, size_t count) {
    for (size_t i = 0; i < count; i++) {
        size_t before = s->count;
        if (!is_directory(arguments[i])) {
            if (sources_add(s, arguments[i]) < 0)
                return -1;
        } else if (sources_add_directory(s, arguments[i]) < 0) {
            return -1;
        } else if (s->count == before) {
            complain("%s: is a directory without a dpkg.log", arguments[i]);
            return -1;
        }
    }
    if (count > 0)
        return 0;
    if (is_directory(SYSTEM_LOGS) && sources_add_directory(s, SYSTEM_LOGS) < 0)
        return -1;
    if (s->any_content)
        return 0;
    printf("This machine has no package history in %s: here is a recorded one.\n", SYSTEM_LOGS);
    return sources_add(s, RECORDED_LOG);
}

/* 0: go on, 1: help was shown, -1: wrong usage. */
static int read_options(struct program *p, int argc, char **argv) {
    static const struct option options[] = {
        {"ignore", required_argument, NULL, 'i'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
    static char *ignored_default[] = {"man-db"};
    int option;

    while ((option = getopt_long(argc, argv, "i:h", options, NULL)) != -1) {
        if (option == 'h') {
            fputs(usage, stdout);
            return 1;
        }
        if (option != 'i') {
            fputs("Try 'package_events --help'.\n", stderr);
            return -1;
        }
        p->ignored[p->ignored_count++] = optarg;
    }
    if (p->ignored_count == 0)
        p->ignored[p->ignored_count++] = ignored_default[0];
    return 0;
}

int main(int argc, char **argv) {
    struct program program = {.ignored = calloc((size_t)argc + 1, sizeof(char *))};
    struct sources sources = {0};
    int status, r;

    r = program.ignored ? read_options(&program, argc, argv) : -1;
    if (r != 0)
        status = r > 0 ? 0 : 2;
    else if (find_sources(&sources, argv + optind, (size_t)(argc - optind)) < 0)
        status = 1;
    else
        status = run(&program, &sources);
    program_free(&program);
    sources_free(&sources);
    free(program.ignored);
    return status;
}
