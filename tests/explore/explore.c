/* explore.c - the search for a schedule that fails.
 *
 * Depth first over states. At each one with a choice all that makes it is saved, one snapshot behind the
 * other, and the choices are taken one by one, each from the restored snapshot. A state whose hash is known
 * is not entered again. With a bound on preemptions the thread that ran last belongs to the state, and a
 * known state is entered again if fewer preemptions led to it this time. */
#define _GNU_SOURCE 1

#include "explore_inner.h"

#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define SNAPSHOT_BYTES ((size_t)4 << 30) /* of address space */
#define STATES_MAX 20000000u
enum { CHOICES_MAX = 128, TRACE_MAX = 4096 };

struct frame {
    size_t at, size; /* of its snapshot */
    struct choice choices[CHOICES_MAX];
    unsigned count, next, depth, steps;
    int last; /* the thread that ran last */
    int preemptions;
};

struct seen {
    uint64_t hash; /* 0: none */
    int preemptions;
};

/* Kept out of the static variables, which are restored. */
static struct search {
    struct frame frames[STEPS_MAX];
    unsigned frame_count;
    struct choice path[STEPS_MAX]; /* the choices that led here */
    unsigned depth, steps;
    int last, preemptions;
    char *snapshots, *initial; /* initial: the static variables before anything ran */
    struct seen *seen;
    size_t seen_count, seen_size;
    unsigned long transitions, ends;
    unsigned rounds;
    struct trace trace[TRACE_MAX];
    unsigned trace_count;
} *search;

/* The static variables: the linker tells where they are. */
extern char statics_start[] __asm__("__data_start");
extern char statics_end[] __asm__("_end");

/* --- Snapshots --------------------------------------------------------------------------------- */

typedef size_t copy_part(char *snapshot, void *part, size_t size);

static size_t copy_out(char *snapshot, void *part, size_t size) {
    memcpy(snapshot, part, size);
    return size;
}

static size_t copy_in(char *snapshot, void *part, size_t size) {
    memcpy(part, snapshot, size);
    return size;
}

/* The world comes first: it tells what there is of the rest. */
static size_t copy_parts(char *snapshot, copy_part *copy) {
    struct world *w = explore_machine->world;
    size_t at = copy(snapshot, w, sizeof *w);
    at += copy(snapshot + at, statics_start, (size_t)(statics_end - statics_start));
    for (int i = 0; i < w->thread_count; i++) {
        struct fiber *t = &w->threads[i];
        at += copy(snapshot + at, explore_arena(i), t->arena_used);
        at += copy(snapshot + at, explore_shadow(i), t->arena_used / GRAIN);
        if (t->state != THREAD_ALIVE) continue;
        at += copy(snapshot + at, t->stack_low, (size_t)((char *)explore_stack_top(t) - t->stack_low));
    }
    return at;
}

static bool is_bounded(void) { return explore_machine->scenario->preemptions != EXPLORE_ALL; }

static void seen_grow(void) {
    size_t size = search->seen_size ? search->seen_size * 2 : 1 << 16;
    struct seen *grown = calloc(size, sizeof *grown);
    if (!grown) abort();
    for (size_t i = 0; i < search->seen_size; i++) {
        if (search->seen[i].hash == 0) continue;
        size_t at = search->seen[i].hash & (size - 1);
        while (grown[at].hash != 0) at = (at + 1) & (size - 1);
        grown[at] = search->seen[i];
    }
    free(search->seen);
    search->seen = grown;
    search->seen_size = size;
}

/* Was the state reached before, with no more preemptions? Notes it otherwise. */
static bool is_seen(const char *snapshot, size_t size) {
    uint64_t hash = XXH3_64bits_withSeed(snapshot, size, is_bounded() ? (uint64_t)search->last : 0) | 1;
    if (search->seen_count * 2 >= search->seen_size) seen_grow();
    size_t at = hash & (search->seen_size - 1);
    for (; search->seen[at].hash != 0; at = (at + 1) & (search->seen_size - 1)) {
        struct seen *s = &search->seen[at];
        if (s->hash != hash) continue;
        if (s->preemptions <= search->preemptions) return true;
        s->preemptions = search->preemptions;
        return false;
    }
    search->seen[at] = (struct seen){hash, search->preemptions};
    search->seen_count++;
    return false;
}

/* --- The search -------------------------------------------------------------------------------- */

/* Could the thread that ran last go on? With a full buffer of stores it could. */
static bool is_last_runnable(void) {
    const struct fiber *t = &explore_machine->world->threads[search->last];
    return t->op.kind == OP_STORE || (explore_runnable(t) && t->op.kind != OP_NAP);
}

/* How many preemptions a choice is. */
static int cost(struct choice c) {
    const struct fiber *t = &explore_machine->world->threads[c.thread];
    if (c.kind == CHOOSE_DRAIN || t->op.kind == OP_START || !is_bounded()) return 0;
    return c.kind == CHOOSE_SPURIOUS || (c.thread != search->last && is_last_runnable());
}

static void take(struct choice c) {
    search->preemptions += cost(c);
    if (c.kind == CHOOSE_RUN && explore_machine->world->threads[c.thread].op.kind != OP_START)
        search->last = c.thread;
    search->transitions++;
    if (++search->steps >= STEPS_MAX)
        explore_set_failure("endless: no end after %d steps", STEPS_MAX);
    else
        explore_take(c);
}

static const char *const what_blocks[] = {
    [OP_LOCK] = "a lock", [OP_JOIN] = "the end of a thread", [OP_JOIN_ALL] = "the scenario's threads",
    [OP_NAP] = "a change it polls for"};

/* No thread can go on: the end, or a deadlock. */
static void end(void) {
    const struct world *w = explore_machine->world;
    char who[160] = "";
    size_t at = 0;
    for (int i = 0; i < w->thread_count; i++) {
        const struct fiber *t = &w->threads[i];
        if (t->state != THREAD_ALIVE || at >= sizeof who) continue;
        const char *what = t->waits ? "a wake-up" : what_blocks[t->op.kind];
        at += (size_t)snprintf(who + at, sizeof who - at, ", thread %d waits for %s", i, what);
    }
    if (w->threads[0].state == THREAD_ENDED && at > 0)
        explore_set_failure("threads left over%s", who);
    else if (at > 0)
        explore_set_failure("deadlock%s", who);
    else if (explore_fds_open())
        explore_set_failure("a descriptor is left open");
    else
        explore_check_end(statics_start, statics_end);
    search->ends++;
}

/* Runs while there is one way to go. The choices there are then; 0: it is over. */
static unsigned advance(struct choice *choices) {
    for (;;) {
        unsigned real, n = explore_machine->failed ? 0 : explore_choices(choices, &real);
        if (explore_machine->failed) return 0;
        if (real == 0) {
            end();
            return 0;
        }
        if (n > 1 && explore_machine->world->branching) return n;
        take(choices[0]);
    }
}

/* From the state at hand on, unless it is known. */
static void descend(void) {
    struct frame *f = &search->frames[search->frame_count];
    f->count = advance(f->choices);
    if (f->count == 0) return;
    f->at = search->frame_count > 0 ? f[-1].at + f[-1].size : 0;
    f->size = copy_parts(search->snapshots + f->at, copy_out);
    if (is_seen(search->snapshots + f->at, f->size)) return;
    f->next = 0;
    f->depth = search->depth;
    f->steps = search->steps;
    f->last = search->last;
    f->preemptions = search->preemptions;
    search->frame_count++;
}

static void go_back(const struct frame *f) {
    copy_parts(search->snapshots + f->at, copy_in);
    search->depth = f->depth;
    search->steps = f->steps;
    search->last = f->last;
    search->preemptions = f->preemptions;
}

static void begin(void) {
    memcpy(statics_start, search->initial, (size_t)(statics_end - statics_start));
    explore_world_init();
    search->depth = search->steps = search->frame_count = search->trace_count = 0;
    search->last = search->preemptions = 0;
}

static void explore_round(void) {
    search->transitions = search->ends = 0;
    search->seen_count = 0;
    if (search->seen) memset(search->seen, 0, search->seen_size * sizeof *search->seen);
    explore_machine->learning = false;
    begin();
    descend();
    while (!explore_machine->failed && search->frame_count > 0) {
        struct frame *f = &search->frames[search->frame_count - 1];
        if (f->next == f->count) {
            search->frame_count--;
            continue;
        }
        go_back(f);
        struct choice c = f->choices[f->next++];
        if (is_bounded() && search->preemptions + cost(c) > explore_machine->scenario->preemptions) continue;
        search->path[search->depth++] = c;
        take(c);
        if (!explore_machine->failed) descend();
        if (search->seen_count > STATES_MAX) explore_set_failure("too many states");
    }
}

static void explore(void) {
    explore_conflicts_forget();
    search->rounds = 0;
    do {
        explore_round();
        search->rounds++;
    } while (explore_machine->learning); /* what fails is found again, by a schedule that can be repeated */
}

/* --- Following one schedule -------------------------------------------------------------------- */

static const char kinds[] = " ~t!"; /* by choice_kind: how a schedule writes it */

static void print_schedule(void) {
    for (unsigned i = 0; i < search->depth;) {
        struct choice c = search->path[i];
        unsigned n = 0;
        while (i < search->depth && memcmp(&search->path[i], &c, sizeof c) == 0) n++, i++;
        printf("%d", c.thread);
        if (c.kind != CHOOSE_RUN) putchar(kinds[c.kind]);
        if (c.variant > 0) printf("%d", c.kind == CHOOSE_RUN ? -c.variant : c.variant);
        if (n > 1) printf("x%u", n);
        putchar(i < search->depth ? ' ' : '\n');
    }
}

static void parse_schedule(const char *s) {
    for (search->depth = 0; *s && search->depth < STEPS_MAX;) {
        struct choice c = {0};
        unsigned long n = 1;
        c.thread = (uint8_t)strtoul(s, (char **)&s, 10);
        for (uint8_t k = CHOOSE_DRAIN; k <= CHOOSE_SPURIOUS; k++)
            if (*s == kinds[k]) c.kind = k, s++;
        s += *s == '-';
        if (*s >= '0' && *s <= '9') c.variant = (uint8_t)strtoul(s, (char **)&s, 10);
        if (*s == 'x') n = strtoul(s + 1, (char **)&s, 10);
        while (n-- > 0 && search->depth < STEPS_MAX) search->path[search->depth++] = c;
        if (*s && *s++ != ' ') break;
    }
}

/* From the start, by the first length choices of the path, noting every step. */
static void follow(void) {
    unsigned length = search->depth, n;
    struct choice choices[CHOICES_MAX];
    begin();
    explore_machine->tracing = true;
    while (search->depth < length && (n = advance(choices)) > 0) {
        struct choice c = search->path[search->depth++];
        while (n > 0 && memcmp(&choices[n - 1], &c, sizeof c) != 0) n--;
        if (n == 0) {
            explore_set_failure("the schedule does not fit: step %u", search->depth);
            break;
        }
        take(c);
    }
    advance(choices);
    explore_machine->tracing = false;
}

struct trace *explore_trace(const char *what, const volatile void *address) {
    const struct machine *m = explore_machine;
    if (!m->tracing || !m->world->started || search->trace_count == TRACE_MAX) return NULL;
    struct trace *t = &search->trace[search->trace_count++];
    *t = (struct trace){.what = what};
    explore_describe(address, t->where, sizeof t->where);
    if (!m->current) return t;
    t->thread = explore_index(m->current);
    t->place_count = backtrace(t->places, PLACES);
    return t;
}

void explore_trace_of(const struct fiber *t, const char *what, const volatile void *address) {
    struct trace *trace = explore_trace(what, address);
    if (trace) trace->thread = explore_index(t);
}

void explore_trace_value(uint64_t value) {
    struct trace *t = search->trace_count > 0 ? &search->trace[search->trace_count - 1] : NULL;
    if (!explore_machine->tracing || !t) return;
    snprintf(t->value, sizeof t->value, " = %#llx", (unsigned long long)value);
}

/* --- Names of places --------------------------------------------------------------------------- */

extern char executable_start[] __asm__("__executable_start");
enum { NAMES_MAX = 1000 };
static struct names {
    struct name {
        const void *place;
        char text[120]; /* empty: not of interest */
    } names[NAMES_MAX];
    int count;
} *names;

static struct name *name_of(const void *place) {
    for (int i = 0; i < names->count; i++)
        if (names->names[i].place == place) return &names->names[i];
    if (names->count == NAMES_MAX) return &names->names[NAMES_MAX - 1];
    names->names[names->count].place = place;
    return &names->names[names->count++];
}

/* addr2line answers two lines for each address: the function; the file and line. */
static void read_names(FILE *f) {
    char function[200], file[200];
    for (int i = 0; i < names->count; i++) {
        if (!fgets(function, sizeof function, f) || !fgets(file, sizeof file, f)) return;
        function[strcspn(function, "\n")] = file[strcspn(file, " \n")] = '\0';
        if (file[0] != '?' && strncmp(file, "explore", 7) != 0 && strncmp(file, "os_explore", 10) != 0)
            snprintf(names->names[i].text, sizeof names->names->text, "%.80s (%.30s)", function, file);
    }
}

static void find_names(void) {
    static char exe[256];
    char *command = malloc(NAMES_MAX * 20 + sizeof exe + 100);
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    if (!command || n < 0) abort();
    names->count = 0;
    for (unsigned i = 0; i < search->trace_count; i++)
        for (int k = 0; k < search->trace[i].place_count; k++)
            name_of(search->trace[i].places[k])->text[0] = '\0';
    size_t at = (size_t)sprintf(command, "addr2line -f -s -e '%s' 2>/dev/null", exe);
    for (int i = 0; i < names->count; i++)
        at += (size_t)sprintf(command + at, " %#lx",
                              (unsigned long)((const char *)names->names[i].place - executable_start - 1));
    FILE *f = popen(command, "r");
    if (f) {
        read_names(f);
        pclose(f);
    }
    free(command);
}

static void print_step(const struct trace *t) {
    int shown = 0;
    printf("#  %d %s %s%s", t->thread, t->what, t->where, t->value);
    for (int k = 0; k < t->place_count && shown < 3; k++) {
        const char *text = name_of(t->places[k])->text;
        if (*text) printf("%s%s", shown++ ? " < " : "   ", text);
    }
    putchar('\n');
}

static void print_steps(void) {
    find_names();
    for (unsigned i = 0; i < search->trace_count; i++) print_step(&search->trace[i]);
}

/* --- The program ------------------------------------------------------------------------------- */

static void on_crash(int signal) {
    if (!explore_machine->current) _exit(128 + signal);
    explore_set_failure("crash: signal %d", signal);
    setcontext(&explore_machine->scheduler);
}

static void catch_crashes(void) {
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    stack_t stack = {.ss_sp = malloc(65536), .ss_size = 65536};
    struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK | SA_NODEFER};
    sigaltstack(&stack, NULL);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) sigaction(signals[i], &action, NULL);
}

static void *map(size_t bytes) {
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    if (p == MAP_FAILED) abort();
    return p;
}

static void init(void) {
    void *frame;
    explore_machine_init();
    search = map(sizeof *search);
    search->snapshots = map(SNAPSHOT_BYTES);
    names = map(sizeof *names);
    explore_conflicts_init();
    explore_memory_init();
    catch_crashes();
    backtrace(&frame, 1); /* loads what it needs */
    search->initial = map((size_t)(statics_end - statics_start));
    memcpy(search->initial, statics_start, (size_t)(statics_end - statics_start));
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void report_failure(void) {
    printf("# %s\n# schedule: ", explore_machine->failure);
    print_schedule();
    follow();
    print_steps();
}

/* One line of TAP, and after a failure the steps that led to it. */
static bool test(const struct explore_scenario *s, size_t number) {
    double start = seconds();
    explore_machine->scenario = s;
    explore();
    double time = seconds() - start;
    bool failed = explore_machine->failed;
    bool ok = s->expect ? failed && strstr(explore_machine->failure, s->expect) : !failed;
    printf("%s %zu - %s # %s", ok ? "ok" : "not ok", number, s->name, s->expect && ok ? "found; " : "");
    printf("%zu states, %lu steps, %lu ends, %u rounds, %.2f s\n", search->seen_count, search->transitions,
           search->ends, search->rounds, time);
    if (s->expect && !failed) printf("# did not find: %s\n", s->expect);
    if (!ok && failed) report_failure();
    fflush(stdout);
    return ok;
}

static int follow_schedule(const struct explore_scenario *s, const char *schedule) {
    explore_machine->scenario = s;
    explore(); /* learns where the scheduling points are */
    parse_schedule(schedule);
    follow();
    print_steps();
    printf("# %s\n", explore_machine->failed ? explore_machine->failure : "no failure");
    return explore_machine->failed;
}

int explore_main(const struct explore_scenario *scenarios, size_t count, int argc, char **argv) {
    bool list = argc == 2 && strcmp(argv[1], "-l") == 0, ok = true;
    size_t run = 0;
    init();
    if (argc < 2) printf("1..%zu\n", count);
    for (size_t i = 0; i < count; i++) {
        if (list)
            printf("%s\n", scenarios[i].name);
        else if (argc == 3 && strcmp(argv[1], scenarios[i].name) == 0)
            return follow_schedule(&scenarios[i], argv[2]);
        else if (argc < 2 || strcmp(argv[1], scenarios[i].name) == 0)
            ok &= test(&scenarios[i], ++run);
    }
    if (!list && run == 0) fprintf(stderr, "no such scenario\n");
    return ok && (list || run > 0) ? 0 : 1;
}
