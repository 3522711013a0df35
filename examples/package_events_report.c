/* package_events_report.c - counting by a string, and printing what was counted: a bar on every line. */
#define _POSIX_C_SOURCE 200809L

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "package_events.h"

/* --- Tables ------------------------------------------------------------------------------------ */

/* The slot that holds the key, or where it belongs. There is always a free one: half of them are. */
static size_t *find_slot(const struct table *t, const char *key, size_t length) {
    size_t hash = 5381, mask = 2 * t->capacity - 1;

    for (size_t i = 0; i < length; i++)
        hash = hash * 33 + (unsigned char)key[i];
    for (size_t at = hash ^ (hash >> 15);; at++) {
        size_t *slot = &t->slots[at & mask];
        if (*slot == 0)
            return slot;
        const char *there = t->rows[*slot - 1].key;
        if (strncmp(there, key, length) == 0 && there[length] == '\0')
            return slot;
    }
}

static int grow(struct table *t) {
    struct table bigger = *t;

    bigger.capacity = t->capacity ? 2 * t->capacity : 32;
    bigger.slots = calloc(2 * bigger.capacity, sizeof *bigger.slots);
    bigger.rows = bigger.slots ? realloc(t->rows, bigger.capacity * sizeof *t->rows) : NULL;
    if (!bigger.rows) {
        free(bigger.slots);
        return -1;
    }
    free(t->slots);
    *t = bigger;
    for (size_t i = 0; i < t->count; i++)
        *find_slot(t, t->rows[i].key, strlen(t->rows[i].key)) = i + 1;
    return 0;
}

struct row *table_row(struct table *t, const char *key, size_t length) {
    size_t *slot = t->capacity > 0 ? find_slot(t, key, length) : NULL;
    char *copy;

    if (slot && *slot)
        return &t->rows[*slot - 1];
    if (t->count == t->capacity) {
        if (grow(t) < 0)
            return NULL;
        slot = find_slot(t, key, length);
    }
    copy = strndup(key, length);
    if (!copy)
        return NULL;
    t->rows[t->count] = (struct row){.key = copy, .note = ""};
    *slot = ++t->count;
    return &t->rows[t->count - 1];
}

void table_free(struct table *t) {
    for (size_t i = 0; i < t->count; i++)
        free(t->rows[i].key);
    free(t->rows);
    free(t->slots);
    *t = (struct table){0};
}

static int most_first(const void *a, const void *b) {
    const struct row *x = a, *y = b;

    if (x->count != y->count)
        return x->count < y->count ? 1 : -1;
    return strcmp(x->key, y->key);
}

static int by_key(const void *a, const void *b) {
    return strcmp(((const struct row *)a)->key, ((const struct row *)b)->key);
}

/* --- Lines ------------------------------------------------------------------------------------- */

const char *grouped(size_t n) {
    static char buffers[4][32];
    static unsigned turn;
    char *at = buffers[turn++ % 4] + 31;

    for (unsigned digits = 0;; digits++) {
        if (digits > 0 && digits % 3 == 0)
            *--at = ',';
        *--at = (char)('0' + n % 10);
        n /= 10;
        if (n == 0)
            return at;
    }
}

static size_t screen_width(void) {
    const char *columns = getenv("COLUMNS");
    long width = columns ? strtol(columns, NULL, 10) : 0;
    struct winsize size;

    if (width <= 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
        width = size.ws_col;
    return width <= 0 ? 80 : width < 40 ? 40 : width > 160 ? 160 : (size_t)width;
}

/* Asked of the user's locale without making it ours: matching patterns is faster in that of C. */
static bool has_blocks(void) {
    static int known = -1;
    locale_t user = known < 0 ? newlocale(LC_CTYPE_MASK, "", (locale_t)0) : (locale_t)0;

    if (user) {
        known = strcmp(nl_langinfo_l(CODESET, user), "UTF-8") == 0;
        freelocale(user);
    }
    return known > 0;
}

/* A bar of value / most of the room, in eighths of a character where the locale is UTF-8. */
static void print_bar(size_t value, size_t most, size_t room) {
    static const char *const parts[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    bool blocks = has_blocks();
    size_t eighths = most > 0 ? (size_t)((double)value / (double)most * (double)(room * 8) + 0.5) : 0;

    if (value > 0 && eighths == 0)
        eighths = 1;
    if (!blocks)
        eighths = (eighths + 7) / 8 * 8;
    for (size_t i = 0; i < eighths / 8; i++)
        fputs(blocks ? "█" : "#", stdout);
    fputs(parts[eighths % 8], stdout);
}

/* What comes from the log, without what could trouble a terminal. */
static void print_plain(const char *s, int width) {
    for (; *s || width > 0; width--) {
        putchar(!*s ? ' ' : *s < ' ' || *s > '~' ? '?' : *s);
        s += *s != '\0';
    }
}

static void print_row(const struct row *row, const char *note, size_t most, int label_width) {
    int used = label_width + 14 + (int)strlen(note);
    size_t width = screen_width();

    fputs("  ", stdout);
    print_plain(row->key, label_width);
    printf(" %9s  %s", grouped(row->count), note);
    print_bar(row->count, most, width > (size_t)used + 10 ? width - (size_t)used : 10);
    putchar('\n');
}

enum { NOTE_NONE, NOTE_LIBRARIES, NOTE_WEEKDAY };

/* The first `limit` rows in their present order. */
static void print_rows(const struct table *t, size_t limit, int note_kind) {
    size_t count = t->count < limit ? t->count : limit, most = 0;
    int label_width = 0;
    char note[40] = "";

    for (size_t i = 0; i < count; i++) {
        int length = (int)strnlen(t->rows[i].key, 32);
        label_width = length > label_width ? length : label_width;
        most = t->rows[i].count > most ? t->rows[i].count : most;
    }
    for (size_t i = 0; i < count; i++) {
        if (note_kind == NOTE_LIBRARIES)
            snprintf(note, sizeof note, "%9s  ", grouped(t->rows[i].part));
        if (note_kind == NOTE_WEEKDAY)
            snprintf(note, sizeof note, "%s  ", t->rows[i].note);
        print_row(&t->rows[i], note, most, label_width);
    }
    if (count < t->count)
        printf("  and %s more\n", grouped(t->count - count));
    if (t->count == 0)
        puts("  none");
}

static void sort(struct table *t, int (*order)(const void *, const void *)) {
    if (t->count > 1)
        qsort(t->rows, t->count, sizeof *t->rows, order);
}

/* --- The summary. Sorting a table parts its rows from its slots: nothing is looked up any more. --- */

void report_title(const struct sources *s) {
    printf("Package events from");
    for (size_t i = 0; i < s->count; i++)
        printf(" %s%s", source_name(s->paths[i]), i + 1 < s->count ? "," : "\n");
}

static void report_days(struct table *days) {
    enum { SHOWN = 14 };
    struct table shown = *days;

    sort(days, most_first);
    if (shown.count > SHOWN)
        shown.count = SHOWN;
    sort(&shown, by_key);
    printf("\nChanges per day%s\n", days->count > SHOWN ? ", the 14 busiest" : "");
    print_rows(&shown, SHOWN, NOTE_WEEKDAY);
    if (days->count > SHOWN)
        printf("  and %s quieter days\n", grouped(days->count - SHOWN));
}

/* What the subscribers of the channel made of it. */
static void report_feed(struct figures *f) {
    puts("\nChanges by hour of the day");
    sort(&f->hours, by_key);
    print_rows(&f->hours, f->hours.count, NOTE_NONE);
    puts("\nBusiest minutes");
    sort(&f->minutes, most_first);
    print_rows(&f->minutes, 5, NOTE_NONE);
    puts("\nCommands of dpkg");
    sort(&f->commands, most_first);
    print_rows(&f->commands, f->commands.count, NOTE_NONE);
    printf("\nLatest events (%s earlier ones were dropped for this slow subscriber)\n", grouped(f->latest_missed));
    for (size_t i = 0; i < f->latest_count; i++) {
        fputs("  ", stdout);
        print_plain(f->latest[i], 0);
        putchar('\n');
    }
}

/* Packages that were last seen neither whole nor gone. */
static size_t report_unfinished(const struct table *states) {
    size_t count = 0;

    for (size_t i = 0; i < states->count; i++) {
        const struct row *row = &states->rows[i];
        if (strcmp(row->note, "installed") == 0 || strcmp(row->note, "config-files") == 0 ||
            strcmp(row->note, "not-installed") == 0)
            continue;
        if (++count > SAMPLES)
            continue;
        fputs("  ", stdout);
        print_plain(row->key, 0);
        printf(" was left %s\n", row->note);
    }
    if (count > SAMPLES)
        printf("  and %s more packages\n", grouped(count - SAMPLES));
    return count;
}

static void report_failures(const struct figures *f) {
    puts("\nFailures");
    for (size_t i = 0; i < f->sample_count; i++) {
        fputs("  ", stdout);
        print_plain(f->samples[i], 0);
        putchar('\n');
    }
    if (f->malformed > f->sample_count)
        printf("  and %s more malformed lines\n", grouped(f->malformed - f->sample_count));
    if (report_unfinished(&f->states) + f->malformed == 0)
        puts("  none");
}

static void report_events(struct figures *f) {
    printf("Period: %s to %s\n%s dpkg runs with changes", f->first, f->last, grouped(f->runs));
    if (f->runs > 0)
        printf(", the largest at %s with %s", f->largest_when, grouped(f->largest_run));
    puts("\n\nEvents by name");
    sort(&f->names, most_first);
    print_rows(&f->names, f->names.count, NOTE_NONE);
    puts("\nPackage actions (and of libraries)");
    sort(&f->actions, most_first);
    print_rows(&f->actions, f->actions.count, NOTE_LIBRARIES);
    report_days(&f->days);
    puts("\nMost changed packages");
    sort(&f->changed, most_first);
    print_rows(&f->changed, 10, NOTE_NONE);
    printf("  upgrades: %s to a new upstream version, %s to a new Debian revision\n",
           grouped(f->new_upstream), grouped(f->new_revision));
    report_feed(f);
}

void report_figures(struct figures *f) {
    if (f->events > 0)
        report_events(f);
    report_failures(f);
}

void report_handlers(const struct handler_line *lines, size_t count) {
    size_t most = 0, width = screen_width(), room = width > 75 ? width - 65 : 10;

    for (size_t i = 0; i < count; i++)
        most = lines[i].calls > most ? lines[i].calls : most;
    puts("\nCalls of each handler, in the order in which they see an event");
    for (size_t i = 0; i < count; i++) {
        printf("  %-8s %-10s %-28s %10s  ", lines[i].place, lines[i].pattern, lines[i].purpose,
               grouped(lines[i].calls));
        print_bar(lines[i].calls, most, room);
        putchar('\n');
    }
}

static bool equal(const char *what, size_t a, size_t b) {
    if (a != b)
        complain("the counts do not add up: %s: %s, not %s", what, grouped(a), grouped(b));
    return a == b;
}

bool report_totals(const struct figures *f, size_t calls) {
    double seconds = (double)(f->elapsed_ns > 0 ? f->elapsed_ns : 1) / 1e9;
    size_t named = 0, acted = 0, dated = 0, lines_told = f->events + f->malformed + f->empty;
    bool good;

    for (size_t i = 0; i < f->names.count; i++)
        named += f->names.rows[i].count;
    for (size_t i = 0; i < f->actions.count; i++)
        acted += f->actions.rows[i].count;
    for (size_t i = 0; i < f->days.count; i++)
        dated += f->days.rows[i].count;
    printf("\nTotals\n  %s lines read = %s events + %s malformed + %s empty", grouped(f->lines),
           grouped(f->events), grouped(f->malformed), grouped(f->empty));
    printf("; %s events ignored\n", grouped(f->ignored));
    printf("  %s messages for subscribers = %s delivered + %s dropped\n", grouped(f->feed.reached),
           grouped(f->feed.delivered), grouped(f->feed.dropped));
    printf("  %.3f s: %s events and %s handler calls per second\n", seconds,
           grouped((size_t)((double)(f->events + f->malformed) / seconds)),
           grouped((size_t)((double)calls / seconds)));
    good = equal("lines read", f->lines, lines_told);
    good &= equal("events by name", named, f->events + f->malformed);
    good &= equal("actions collected", acted, f->collected);
    good &= equal("changes per day", dated, f->collected);
    good &= equal("changes studied", f->studied, f->collected);
    good &= equal("messages", f->feed.reached, f->feed.delivered + f->feed.dropped);
    good &= equal("messages published", f->feed.published, f->events);
    good &= equal("messages dropped", f->feed.dropped, f->latest_missed);
    return good;
}
