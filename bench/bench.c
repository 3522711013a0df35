/* bench.c - the harness: see bench.h.
 *
 * The second thread (the helper) sleeps on a condition between samples, so that it disturbs no sample that is
 * not its own. When it has a job, both threads meet at a spin barrier and start at once. */
#define _GNU_SOURCE
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { SIDES_MAX = 32, ROUNDS_MAX = 501, RETRIES = 20, SKEW_NS = 5000, BESIDE_TIMES = 16 };

__thread uint64_t bench_thread_calls;

struct result {
    size_t times; /* for one sample */
    size_t disturbed;
    double took_ns;  /* one sample, about */
    double *samples; /* ns per operation */
};

static struct {
    double sample_ns;
    size_t rounds;
    double budget_ns; /* for a case */
    const char *only;
    size_t cpus[2];
    int cpu_count;
    int failed;
} options = {.sample_ns = 5e5, .rounds = 101, .budget_ns = 4e9};

static double budget_end_ns; /* when that of calibrating the case, or of its rounds, will be used up */

/* A thread's part of a sample. */
struct stretch {
    double start, end;
    long switches; /* how often the kernel took the processor away meanwhile */
};

static struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t cond;
    const bench_side *job; /* guarded by lock */
    size_t times;          /* guarded by lock */
    bool quit;             /* guarded by lock */
    atomic_uint arrived;   /* the spin barrier: both threads add one */
    atomic_bool stop;      /* for what runs beside */
    atomic_bool done;      /* releases what the helper wrote below */
    struct stretch stretch;
    uint64_t beside_times, calls;
} helper = {.lock = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER};

double bench_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* How often the kernel took the processor away from this thread. */
static long switches(void) {
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

void bench_pin(int which) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(options.cpus[which < options.cpu_count ? which : 0], &set);
    sched_setaffinity(0, sizeof set, &set);
}

void *bench_alloc(size_t bytes) {
    bytes = (bytes + 63) / 64 * 64;
    void *p = aligned_alloc(64, bytes);
    if (!p) {
        fprintf(stderr, "bench: out of memory\n");
        exit(2);
    }
    return memset(p, 0, bytes);
}

bool bench_two_processors(void) { return options.cpu_count == 2; }

void bench_not_ok(int r) {
    fprintf(stderr, "bench: a function that must not fail returned %d\n", r);
    abort(); /* a core file says which */
}

uint32_t *bench_permutation(size_t n) {
    uint32_t *order = bench_alloc((n ? n : 1) * sizeof *order);
    uint64_t x = 88172645463325252u; /* xorshift64 */
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        size_t j = (size_t)(x % (i + 1));
        order[i] = order[j];
        order[j] = (uint32_t)i;
    }
    return order;
}

/* --- The second thread ----------------------------------------------------------------------------- */

static void meet(void) {
    atomic_fetch_add(&helper.arrived, 1);
    for (unsigned i = 0; atomic_load(&helper.arrived) < 2; i++)
        if (i > 10000)
            sched_yield(); /* the other one has no processor yet */
}

static struct stretch stretch_begin(void) {
    long before = switches();
    return (struct stretch){.switches = before, .start = bench_now_ns()};
}

static void stretch_end(struct stretch *s) {
    s->end = bench_now_ns();
    s->switches = switches() - s->switches;
}

static void help(const bench_side *side, size_t times) {
    uint64_t calls = bench_thread_calls, beside = 0;
    meet();
    struct stretch stretch = stretch_begin();
    if (!side->beside)
        side->run(side->state, times);
    else
        for (; !atomic_load_explicit(&helper.stop, memory_order_relaxed); beside += BESIDE_TIMES)
            side->beside(side->beside_state, BESIDE_TIMES);
    stretch_end(&stretch);
    helper.stretch = stretch;
    helper.calls = bench_thread_calls - calls;
    helper.beside_times = beside;
    atomic_store(&helper.done, true);
}

static void *helper_main(void *arg) {
    (void)arg;
    bench_pin(1);
    pthread_mutex_lock(&helper.lock);
    for (;;) {
        while (!helper.job && !helper.quit)
            pthread_cond_wait(&helper.cond, &helper.lock);
        const bench_side *job = helper.job;
        size_t times = helper.times;
        helper.job = NULL;
        pthread_mutex_unlock(&helper.lock);
        if (!job)
            return NULL;
        help(job, times);
        pthread_mutex_lock(&helper.lock);
    }
}

static void helper_start(const bench_side *side, size_t times) {
    atomic_store(&helper.arrived, 0);
    atomic_store(&helper.stop, false);
    atomic_store(&helper.done, false);
    pthread_mutex_lock(&helper.lock);
    helper.job = side;
    helper.times = times;
    pthread_cond_signal(&helper.cond);
    pthread_mutex_unlock(&helper.lock);
}

/* --- One sample ------------------------------------------------------------------------------------ */

static uint64_t counted(const bench_side *side) {
    uint64_t sum = 0;
    for (size_t i = 0; i < side->counter_count; i++)
        sum += side->counters[i];
    return side->counters ? sum : bench_thread_calls;
}

static void check(const bench_side *side, uint64_t calls, uint64_t expected) {
    if (!side->calls || calls == expected)
        return;
    fprintf(stderr, "bench: %s %s: %llu handler calls, expected %llu\n", side->who, side->variant,
            (unsigned long long)calls, (unsigned long long)expected);
    options.failed = 1;
}

static double earlier(double a, double b) { return a < b ? a : b; }

/* The duration, from the first start to the last end of the measured work. *ret_disturbed: it does not count.
 */
static double sample_once(const bench_side *side, size_t times, bool *ret_disturbed) {
    bool together = side->threads == 2, both = together || side->beside;
    uint64_t calls = counted(side);
    if (both) {
        helper_start(side, times);
        meet();
    }
    struct stretch mine = stretch_begin();
    side->run(side->state, times);
    stretch_end(&mine);
    atomic_store(&helper.stop, true);
    while (both && !atomic_load(&helper.done))
        sched_yield();
    const struct stretch *other = both ? &helper.stretch : &mine;
    calls = counted(side) - calls + (together && !side->counters ? helper.calls : 0);
    check(side, calls, (uint64_t)side->calls * times * (together ? 2 : 1));
    double begin = earlier(mine.start, other->start), skew = mine.start + other->start - 2 * begin;
    *ret_disturbed = mine.switches + other->switches > 0 || skew > SKEW_NS;
    return together ? mine.end + other->end - earlier(mine.end, other->end) - begin : mine.end - mine.start;
}

/* Long samples are not taken again: in them a switch weighs little, and hardly any would be without one. Nor are any on
 * a machine so busy that the budget is used up. */
static double sample(const bench_side *side, struct result *result) {
    int retries = result->took_ns < 4 * options.sample_ns && !side->outside ? RETRIES : 0;
    bool disturbed;
    double ns = sample_once(side, result->times, &disturbed);
    for (; disturbed && retries > 0 && ns < 100 * options.sample_ns && bench_now_ns() < budget_end_ns; retries--) {
        result->disturbed++;
        ns = sample_once(side, result->times, &disturbed);
    }
    return ns;
}

/* --- A case ---------------------------------------------------------------------------------------- */

/* The shortest of a few, so that a bad moment does not decide how long the samples will be. */
static double shortest(const bench_side *side, struct result *result) {
    double best = sample(side, result);
    for (int i = 1; i < 5 && best < options.sample_ns; i++) {
        double ns = sample(side, result);
        best = ns < best ? ns : best;
    }
    return best;
}

static void calibrate(const bench_side *side, struct result *result) {
    for (result->times = 1;; result->times *= 2) {
        result->took_ns = shortest(side, result);
        if (result->took_ns > options.sample_ns / 4)
            break;
    }
    double factor = options.sample_ns / result->took_ns;
    if (factor > 1) {
        result->times = (size_t)((double)result->times * factor) + 1;
        result->took_ns *= factor;
    }
    result->disturbed = 0;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *name, const bench_side *side, const struct result *result, size_t rounds) {
    double *sorted = bench_alloc(rounds * sizeof *sorted);
    memcpy(sorted, result->samples, rounds * sizeof *sorted);
    qsort(sorted, rounds, sizeof *sorted, by_value);
    printf("{\"case\":\"%s\",\"who\":\"%s\",\"variant\":\"%s\",\"unit\":\"ns\",\"median\":%.4g,\"min\":%.4g,"
           "\"q1\":%.4g,\"q3\":%.4g,\"rounds\":%zu,\"times\":%zu,\"disturbed\":%zu,\"samples\":[",
           name, side->who, side->variant, sorted[rounds / 2], sorted[0], sorted[rounds / 4],
           sorted[rounds * 3 / 4], rounds, result->times, result->disturbed);
    for (size_t i = 0; i < rounds; i++)
        printf("%s%.4g", i ? "," : "", result->samples[i]);
    printf("]}\n");
    fflush(stdout);
    free(sorted);
}

/* At least; what takes for ever is measured once. */
static size_t least_rounds(const struct result *results, size_t count) {
    double round = 0;
    for (size_t i = 0; i < count; i++)
        round += results[i].took_ns;
    return round > options.budget_ns ? 1 : 5;
}

bool bench_wanted(const char *name) {
    return !options.only || strncmp(name, options.only, strlen(options.only)) == 0;
}

void bench_case(const char *name, const bench_side *sides, size_t count) {
    struct result results[SIDES_MAX] = {0};
    size_t beside[SIDES_MAX] = {0};
    double beside_ns[SIDES_MAX] = {0};
    if (count > SIDES_MAX)
        count = SIDES_MAX;
    budget_end_ns = bench_now_ns() + options.budget_ns;
    for (size_t i = 0; i < count; i++) {
        calibrate(&sides[i], &results[i]);
        results[i].samples = bench_alloc(ROUNDS_MAX * sizeof(double));
    }
    size_t least = least_rounds(results, count), rounds = 0;
    budget_end_ns = bench_now_ns() + options.budget_ns;
    for (; rounds < options.rounds && (rounds < least || bench_now_ns() < budget_end_ns); rounds++) {
        for (size_t k = 0; k < count; k++) {
            size_t i = (k + rounds) % count; /* each side follows each other one in some round */
            const bench_side *side = &sides[i];
            double ns = sample(side, &results[i]);
            double unit = (side->unit > 0 ? side->unit : 1) * (side->threads == 2 ? 2 : 1);
            results[i].samples[rounds] = ns / ((double)results[i].times * unit);
            if (side->beside) {
                beside[i] += helper.beside_times;
                beside_ns[i] += helper.stretch.end - helper.stretch.start;
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        report(name, &sides[i], &results[i], rounds);
        if (beside[i])
            bench_value(name, sides[i].who, "beside", beside_ns[i] / (double)beside[i],
                        "ns per operation beside");
        free(results[i].samples);
    }
}

void bench_value(const char *name, const char *who, const char *variant, double value, const char *unit) {
    printf("{\"case\":\"%s\",\"who\":\"%s\",\"variant\":\"%s\",\"unit\":\"%s\",\"value\":%.6g}\n", name, who,
           variant, unit, value);
    fflush(stdout);
}

/* --- Beginning and end ----------------------------------------------------------------------------- */

static void find_cpus(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof set, &set);
    for (size_t cpu = 0; cpu < CPU_SETSIZE && options.cpu_count < 2; cpu++)
        if (CPU_ISSET(cpu, &set))
            options.cpus[options.cpu_count++] = cpu;
}

static void set_option(const char *key, const char *value) {
    if (strcmp(key, "--sample-us") == 0)
        options.sample_ns = atof(value) * 1e3;
    else if (strcmp(key, "--budget-ms") == 0)
        options.budget_ns = atof(value) * 1e6;
    else if (strcmp(key, "--rounds") == 0)
        options.rounds = (size_t)atol(value) > ROUNDS_MAX ? ROUNDS_MAX : (size_t)atol(value);
    else if (strcmp(key, "--only") == 0)
        options.only = value;
    else {
        fprintf(stderr, "bench: unknown option %s\n", key);
        exit(2);
    }
}

void bench_init(int argc, char **argv) {
    for (int i = 1; i + 1 < argc; i += 2)
        set_option(argv[i], argv[i + 1]);
    find_cpus();
    bench_pin(0);
    if (pthread_create(&helper.thread, NULL, helper_main, NULL) != 0) {
        fprintf(stderr, "bench: no second thread\n");
        exit(2);
    }
    printf("{\"case\":\"machine\",\"compiler\":\"%s\",\"processors\":%d,\"sample_us\":%.0f}\n", __VERSION__,
           options.cpu_count, options.sample_ns / 1e3);
}

int bench_end(void) {
    pthread_mutex_lock(&helper.lock);
    helper.quit = true;
    pthread_cond_signal(&helper.cond);
    pthread_mutex_unlock(&helper.lock);
    pthread_join(helper.thread, NULL);
    return options.failed;
}
