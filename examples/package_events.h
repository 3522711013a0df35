/* package_events.h - what the parts of the program share: a line of the log as a value, reading lines, the
 * figures that the handlers gather, and printing them. */
#ifndef PACKAGE_EVENTS_H
#define PACKAGE_EVENTS_H

#include <mtaio/mtaio.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <sys/types.h>

/* --- A line of the log. It is the data of every event; its strings live as long as the event. */

struct entry {
    size_t kind;        /* index of kinds */
    const char *source; /* the file, and the line in it */
    size_t number;
    const char *when;         /* "2025-06-24 14:36:25" */
    const char *package;      /* "libc6", of package.* and status.*, else NULL */
    const char *architecture; /* "amd64", "" where the log has none */
    const char *old_version;  /* of package.*: "<none>" where there was none */
    const char *version;      /* of package.*: the new one; of status.*: the one it is about */
    const char *file;         /* of conffile.* */
    const char *text;         /* of error: the line as it was */
    const char *problem;      /* of error: what is wrong with it */
};

/* Every event this log can bring: its name and the kind of change it reports. */
struct kind {
    const char *name;
    mtaio_change change;
};
enum { KIND_ERROR = 0, KINDS = 25 };
extern const struct kind kinds[KINDS];

/* Takes the line apart in place; what cannot be understood becomes KIND_ERROR. source and number stay. */
void entry_parse(char *line, size_t length, struct entry *ret);

/* A copy in one block, for free; source stays borrowed. NULL: out of memory. */
struct entry *entry_copy(const struct entry *e);

/* --- Reading. Failures are reported on stderr here; callers only need to know that there was one. */

struct sources {
    char **paths;
    size_t count;
    bool any_content; /* one of them is not an empty file */
};
int sources_add(struct sources *s, const char *path);
int sources_add_directory(struct sources *s, const char *directory); /* DIRECTORY/dpkg.log*, oldest first */
void sources_free(struct sources *s);
const char *source_name(const char *path); /* for people: "-" is the standard input */

struct input {
    const char *path;
    int fd;
    pid_t unpacker; /* gzip, where the file is compressed, else 0 */
    char *buffer;
    size_t begin, end; /* what is in the buffer and was not handed out yet */
    bool ended;
    bool skipping; /* the rest of a line that is too long */
};
int input_open(struct input *in, const char *path); /* "-": the standard input */
int input_line(struct input *in, char **ret_line, size_t *ret_length); /* 1, 0: the end, or -1 */
int input_close(struct input *in);

void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* --- Figures. A table counts by a string; a row stays valid until the next one is added. */

struct row {
    char *key;
    const char *note;
    size_t count, part;
};
struct table {
    struct row *rows; /* in the order they were added */
    size_t count, capacity;
    size_t *slots; /* 2 * capacity of them: a row's index + 1, or 0 */
};
/* The row of the key, made if need be. NULL: out of memory. */
struct row *table_row(struct table *t, const char *key, size_t length);
void table_free(struct table *t);

enum { SAMPLES = 5 };
struct figures {
    size_t lines, empty, malformed; /* what the reader saw */
    size_t events, ignored;         /* what the handlers saw */
    struct table names, actions, days, states;
    char first[20], last[20];
    char samples[SAMPLES][160]; /* malformed lines */
    size_t sample_count;
    size_t collected; /* changes put into a batch */

    /* Written on the pool's one thread, read after the pool has been closed. */
    size_t studied, runs, largest_run;
    char largest_when[20];
    size_t new_upstream, new_revision;
    struct table changed;

    /* From the channel; the tables on the pool's thread too. */
    struct table hours, commands, minutes;
    char latest[SAMPLES][160];
    size_t latest_count;
    uint64_t latest_missed;
    mtaio_channel_stats feed;

    int64_t elapsed_ns;
};

/* One handler, as the summary shows it. */
struct handler_line {
    const char *place, *pattern, *purpose;
    size_t calls;
};

void report_title(const struct sources *s);
void report_figures(struct figures *f); /* sorts the tables */
void report_handlers(const struct handler_line *lines, size_t count);

/* Prints the totals; false: they do not add up. */
bool report_totals(const struct figures *f, size_t calls);

/* --- The emitters and their handlers. */

struct program;
struct feed_reader { /* one of the channel's subscribers that run on the pool */
    struct program *program;
    mtaio_subscriber *subscriber;
    int (*count)(struct figures *f, const char *topic, const char *text);
};

enum { STATIONS = 13, FEED_READERS = 3 };
struct program {
    mtaio_emitter *lines, *libraries, *days, *runs;
    mtaio_executor *pool;
    mtaio_channel *feed;
    struct feed_reader readers[FEED_READERS];
    sem_t feed_ended;         /* once for each reader */
    mtaio_subscriber *latest; /* slow: keeps the newest messages only */
    mtaio_name *names[KINDS]; /* looked up once, for an emission of every line */
    mtaio_batch *run;         /* the changes of the dpkg run that is being read, or NULL */
    struct station {          /* what each handler is given as its context */
        struct program *program;
        size_t calls;
    } stations[STATIONS];
    char **ignored; /* patterns of packages */
    size_t ignored_count;
    struct figures figures;
    atomic_int run_result; /* a failure on the pool's thread, or where the emission of a run ended */
};
int program_start(struct program *p);
int program_finish(struct program *p); /* waits until every run has been studied */
void program_free(struct program *p);
void program_report_handlers(const struct program *p);

/* --- From line to event. e: where the line before was, then what this one says. */

int emit_line(struct program *p, struct entry *e, char *line, size_t length); /* changes the line */
void show_progress(const struct program *p, const struct entry *e); /* from time to time, on a terminal */

/* Emits every line of all sources: in package_events_read.c, or a loop of adapters/. 0; 1: one could not be
 * read to its end; a failed emission's error. */
int read_sources(struct program *p, const struct sources *s);

/* --- The channel and its subscribers: what was not malformed is published under the name of its event. */

int feed_start(struct program *p);
int feed_publish(struct program *p, const char *name, const struct entry *e);
int feed_finish(struct program *p); /* before the pool is closed */
void feed_free(struct program *p);

/* "1,234,567": in one of a few buffers that take turns. */
const char *grouped(size_t n);

#endif
