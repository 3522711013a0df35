/* package_events_input.c - which files to read, lines of any length out of them, and what a line says. */
#define _POSIX_C_SOURCE 200809L

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "package_events.h"

enum { LINE_LIMIT = 64 * 1024, BUFFER = 4 * LINE_LIMIT, WORDS = 4 };

void complain(const char *format, ...) {
    va_list arguments;

    fflush(stdout);
    fputs("package_events: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

/* --- Which files ------------------------------------------------------------------------------- */

int sources_add(struct sources *s, const char *path) {
    char **paths = realloc(s->paths, (s->count + 1) * sizeof *paths);
    struct stat st;

    if (!paths) {
        complain("out of memory");
        return -1;
    }
    s->paths = paths;
    paths[s->count] = strdup(path);
    if (!paths[s->count]) {
        complain("out of memory");
        return -1;
    }
    s->count++;
    s->any_content |= stat(path, &st) == 0 && (!S_ISREG(st.st_mode) || st.st_size > 0);
    return 0;
}

void sources_free(struct sources *s) {
    for (size_t i = 0; i < s->count; i++)
        free(s->paths[i]);
    free(s->paths);
}

const char *source_name(const char *path) { return strcmp(path, "-") == 0 ? "standard input" : path; }

/* dpkg.log: 0, dpkg.log.1: 1, dpkg.log.2.gz: 2; anything else: -1. */
static int rotation(const char *name) {
    static const char base[] = "dpkg.log";
    char *end;
    long number;

    if (strncmp(name, base, sizeof base - 1) != 0)
        return -1;
    name += sizeof base - 1;
    if (!*name)
        return 0;
    if (name[0] != '.' || name[1] < '1' || name[1] > '9')
        return -1;
    number = strtol(name + 1, &end, 10);
    return number < 100000 && (!*end || strcmp(end, ".gz") == 0) ? (int)number : -1;
}

static int is_log(const struct dirent *entry) { return rotation(entry->d_name) >= 0; }

static int oldest_first(const struct dirent **a, const struct dirent **b) {
    return rotation((*b)->d_name) - rotation((*a)->d_name);
}

int sources_add_directory(struct sources *s, const char *directory) {
    struct dirent **found;
    int count = scandir(directory, &found, is_log, oldest_first), r = 0;
    char path[4096];

    if (count < 0) {
        complain("%s: %s", directory, strerror(errno));
        return -1;
    }
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, found[i]->d_name);
        if (r == 0)
            r = sources_add(s, path);
        free(found[i]);
    }
    free(found);
    return r;
}

/* --- Lines out of a file ----------------------------------------------------------------------- */

/* Has gzip, which every Debian has, read the file from in->fd; in->fd becomes what it writes. */
static int unpack(struct input *in) {
    char *arguments[] = {"gzip", "-dc", NULL};
    char *environment[] = {"PATH=/usr/bin:/bin", NULL};
    posix_spawn_file_actions_t actions;
    int ends[2], r;

    if (pipe(ends) < 0)
        return errno;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in->fd, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[0]);
    r = posix_spawnp(&in->unpacker, arguments[0], &actions, NULL, arguments, environment);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    if (r != 0) {
        close(ends[0]);
        return r;
    }
    close(in->fd);
    in->fd = ends[0];
    return 0;
}

int input_open(struct input *in, const char *path) {
    unsigned char magic[2];
    int r = 0;

    *in = (struct input){.path = path};
    in->fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (in->fd < 0) {
        complain("%s: %s", source_name(path), strerror(errno));
        return -1;
    }
    in->buffer = malloc(BUFFER + 1); /* one more for a final NUL */
    if (!in->buffer)
        r = ENOMEM;
    else if (pread(in->fd, magic, 2, 0) == 2 && magic[0] == 0x1f && magic[1] == 0x8b)
        r = unpack(in);
    if (r == 0)
        return 0;
    complain("%s: %s", source_name(path), strerror(r));
    close(in->fd);
    free(in->buffer);
    return -1;
}

/* Makes room and reads what there is. 0, or -1 where reading failed. */
static int refill(struct input *in) {
    ssize_t got;

    in->end -= in->begin;
    memmove(in->buffer, in->buffer + in->begin, in->end);
    in->begin = 0;
    do
        got = read(in->fd, in->buffer + in->end, BUFFER - in->end);
    while (got < 0 && errno == EINTR);
    if (got < 0) {
        complain("%s: %s", source_name(in->path), strerror(errno));
        return -1;
    }
    in->end += (size_t)got;
    in->ended = got == 0;
    return 0;
}

/* A line longer than LINE_LIMIT is handed out once, as much of it as is there, and skipped to its end. */
int input_line(struct input *in, char **ret_line, size_t *ret_length) {
    for (;;) {
        char *line = in->buffer + in->begin;
        size_t there = in->end - in->begin;
        char *newline = there > 0 ? memchr(line, '\n', there) : NULL;
        size_t length = newline ? (size_t)(newline - line) : there;
        bool whole = newline || (in->ended && there > 0), skipped = in->skipping;

        if (whole || there > LINE_LIMIT) {
            in->begin += length + (newline ? 1 : 0);
            in->skipping = !whole;
            line[length] = '\0';
            *ret_line = line;
            *ret_length = length;
            if (!skipped)
                return 1;
        } else if (in->ended) {
            return 0;
        } else if (refill(in) < 0) {
            return -1;
        }
    }
}

int input_close(struct input *in) {
    int status = 0;

    close(in->fd);
    free(in->buffer);
    if (in->unpacker == 0)
        return 0;
    while (waitpid(in->unpacker, &status, 0) < 0 && errno == EINTR)
        continue;
    if (status == 0)
        return 0;
    complain("%s: could not be decompressed to its end", source_name(in->path));
    return -1;
}

/* --- What a line says -------------------------------------------------------------------------- */

/* The frequent ones first: they are looked up from the top. */
const struct kind kinds[KINDS] = {
    {"error", MTAIO_NO_CHANGE},
    {"status.unpacked", MTAIO_UPDATE},
    {"status.half-configured", MTAIO_UPDATE},
    {"status.installed", MTAIO_UPDATE},
    {"status.half-installed", MTAIO_UPDATE},
    {"status.triggers-pending", MTAIO_UPDATE},
    {"status.triggers-awaited", MTAIO_UPDATE},
    {"status.config-files", MTAIO_UPDATE},
    {"status.not-installed", MTAIO_DELETE},
    {"package.configure", MTAIO_UPDATE},
    {"package.install", MTAIO_CREATE},
    {"package.upgrade", MTAIO_UPDATE},
    {"package.trigproc", MTAIO_UPDATE},
    {"package.remove", MTAIO_DELETE},
    {"package.purge", MTAIO_DELETE},
    {"package.disappear", MTAIO_DELETE},
    {"startup.archives.unpack", MTAIO_RESET},
    {"startup.archives.install", MTAIO_RESET},
    {"startup.archives.record-avail", MTAIO_RESET},
    {"startup.packages.configure", MTAIO_RESET},
    {"startup.packages.triggers-only", MTAIO_RESET},
    {"startup.packages.remove", MTAIO_RESET},
    {"startup.packages.purge", MTAIO_RESET},
    {"conffile.install", MTAIO_UPDATE},
    {"conffile.keep", MTAIO_NO_CHANGE},
};

static size_t find_kind(const char *group, size_t group_length, const char *word) {
    for (size_t k = KIND_ERROR + 1; k < KINDS; k++)
        if (strncmp(kinds[k].name, group, group_length) == 0 &&
            strcmp(kinds[k].name + group_length, word) == 0)
            return k;
    return KIND_ERROR;
}

static bool is_number(const char *digits, int low, int high) {
    int n = (digits[0] - '0') * 10 + (digits[1] - '0');

    return digits[0] >= '0' && digits[0] <= '9' && digits[1] >= '0' && digits[1] <= '9' && n >= low &&
           n <= high;
}

/* "2025-06-24 14:36:25 ", whose seconds may be 60. */
static bool is_time(const char *s, size_t length) {
    return length > 20 && s[4] == '-' && s[7] == '-' && s[10] == ' ' && s[13] == ':' && s[16] == ':' &&
           s[19] == ' ' && is_number(s, 0, 99) && is_number(s + 2, 0, 99) && is_number(s + 5, 1, 12) &&
           is_number(s + 8, 1, 31) && is_number(s + 11, 0, 23) && is_number(s + 14, 0, 59) &&
           is_number(s + 17, 0, 60);
}

static bool has_control(const char *s, size_t length) {
    unsigned found = 0;

    for (size_t i = 0; i < length; i++) /* without a way out, so that the compiler takes many at once */
        found |= (unsigned)((unsigned char)s[i] < ' ') | (unsigned)(s[i] == 0x7f);
    return found != 0;
}

/* Ends each word where its blank was. Returns their number; room + 1: the last word holds the rest. */
static size_t split(char *s, char *words[], size_t room) {
    for (size_t count = 0;;) {
        words[count++] = s;
        s = strchr(s, ' ');
        if (!s)
            return count;
        if (count == room)
            return room + 1;
        *s++ = '\0';
    }
}

/* "install PACKAGE OLD NEW", "status STATE PACKAGE VERSION": a package, which may end in ":ARCHITECTURE". */
static size_t parse_package(char *words[], struct entry *e) {
    bool is_status = strcmp(words[0], "status") == 0;
    size_t kind = is_status ? find_kind("status.", 7, words[1]) : find_kind("package.", 8, words[0]);
    char *package = words[is_status ? 2 : 1], *colon = strchr(package, ':');

    if (kind == KIND_ERROR || package[0] == '\0' || package[0] == ':' || !words[2][0] || !words[3][0])
        return KIND_ERROR;
    if (colon)
        *colon = '\0';
    e->package = package;
    e->architecture = colon ? colon + 1 : "";
    e->old_version = is_status ? NULL : words[2];
    e->version = words[3];
    return kind;
}

static size_t parse_words(char *words[], size_t count, struct entry *e) {
    char command[64];

    if (count == 4)
        return parse_package(words, e);
    if (count != 3)
        return KIND_ERROR;
    if (strcmp(words[0], "startup") == 0) {
        snprintf(command, sizeof command, "%s.%s", words[1], words[2]);
        return find_kind("startup.", 8, command);
    }
    e->file = words[1];
    return strcmp(words[0], "conffile") == 0 ? find_kind("conffile.", 9, words[2]) : KIND_ERROR;
}

/* What is wrong with the line, which is then as it was; or NULL, and *ret is filled. */
static const char *parse(char *line, size_t length, struct entry *ret) {
    char *words[WORDS];
    size_t count;

    if (length > LINE_LIMIT)
        return "is longer than 64 KiB";
    if (has_control(line, length))
        return "holds control characters";
    if (!is_time(line, length))
        return "does not begin with a date and a time";
    count = split(line + 20, words, WORDS);
    ret->kind = parse_words(words, count, ret);
    if (ret->kind == KIND_ERROR) {
        for (size_t i = 1; i < count && i < WORDS; i++)
            words[i][-1] = ' ';
        return "is nothing that dpkg is known to write";
    }
    line[19] = '\0';
    ret->when = line;
    return NULL;
}

void entry_parse(char *line, size_t length, struct entry *ret) {
    struct entry e = {.source = ret->source, .number = ret->number};
    const char *problem = parse(line, length, &e);

    if (problem)
        e = (struct entry){.source = ret->source, .number = ret->number, .text = line, .problem = problem};
    *ret = e;
}

static const char *copy_string(char **at, const char *s) {
    char *copy = *at;

    if (!s)
        return NULL;
    *at = stpcpy(copy, s) + 1;
    return copy;
}

struct entry *entry_copy(const struct entry *e) {
    const char *const strings[] = {e->when, e->package, e->architecture, e->old_version, e->version, e->file};
    size_t bytes = sizeof *e;
    struct entry *copy;
    char *at;

    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++)
        bytes += strings[i] ? strlen(strings[i]) + 1 : 0;
    copy = malloc(bytes);
    if (!copy)
        return NULL;
    at = (char *)(copy + 1);
    *copy = *e;
    copy->when = copy_string(&at, e->when);
    copy->package = copy_string(&at, e->package);
    copy->architecture = copy_string(&at, e->architecture);
    copy->old_version = copy_string(&at, e->old_version);
    copy->version = copy_string(&at, e->version);
    copy->file = copy_string(&at, e->file);
    return copy;
}
