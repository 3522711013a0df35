/* cases_names.c - finding the handlers: by name among many, where there are none, and through patterns. */
#include "cases.h"

#include <mtaio/mtaio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES = 1000, SEQUENCE = 8000, NAME_BYTES = 32, PATTERNS = 100000, MATCHING = 5 };

static int count_call(mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    bench_thread_calls++;
    return 0;
}

static mtaio_emitter *emitter_new(void) {
    mtaio_emitter *em = NULL;
    bench_ok(mtaio_emitter_new(NULL, &em));
    return em;
}

/* --- By name among 1,000, in random order ---------------------------------------------------------- */

/* The i-th name, as programs have them: user.created, user.deleted, ... */
static void name_make(char *name, size_t i) {
    static const char *const nouns[] = {
        "user",    "order",   "invoice", "payment", "session", "file",    "folder",  "message",
        "comment", "product", "basket",  "coupon",  "address", "account", "token",   "device",
        "sensor",  "alarm",   "job",     "worker",  "queue",   "node",    "cluster", "volume",
        "image",   "network", "route",   "policy",  "role",    "team",    "task",    "board",
        "label",   "build",   "release", "branch",  "review",  "test",    "report",  "search"};
    static const char *const verbs[] = {
        "created", "updated", "deleted",  "opened",  "closed", "sent",    "received", "started", "stopped",
        "failed",  "paid",    "assigned", "moved",   "shared", "renamed", "archived", "locked",  "restored",
        "enabled", "shipped", "unlocked", "expired", "viewed", "renewed", "completed"};
    snprintf(name, NAME_BYTES, "%s.%s", nouns[i / COUNT_OF(verbs)], verbs[i % COUNT_OF(verbs)]);
}

struct names {
    char text[NAMES * NAME_BYTES]; /* one after the other, as a linker lays out literals */
    const char *sequence[SEQUENCE];
    size_t position; /* in the sequence */
    mtaio_emitter *em;
    struct table *table;
};

/* A bare hash table for one thread, for comparison: the hash is a multiplication for each eight bytes. */
enum { SLOTS = 4096 };
struct table {
    struct slot {
        uint32_t hash, length;
        struct entry *entry; /* NULL: free */
    } slots[SLOTS];
};
struct entry {
    struct bare_handler handler;
    char name[NAME_BYTES];
};

static uint64_t hash_word(uint64_t hash, uint64_t word) {
    hash ^= word;
    return (hash ^ (hash >> 32)) * 0xff51afd7ed558ccdu;
}

static uint32_t hash_of(const char *name, size_t length) {
    uint64_t hash = 0x9e3779b97f4a7c15u ^ length, word = 0;
    const char *end = name + length;
    for (; end - name > 8; name += 8) {
        memcpy(&word, name, 8);
        hash = hash_word(hash, word);
    }
    if (length >= 8)
        memcpy(&word, end - 8, 8);
    else
        for (; name < end; name++)
            word = word << 8 | (unsigned char)*name;
    return (uint32_t)(hash_word(hash, word) >> 32);
}

static struct slot *table_find(struct table *table, const char *name) {
    size_t length = strlen(name);
    uint32_t hash = hash_of(name, length);
    for (uint32_t i = hash;; i++) {
        struct slot *slot = &table->slots[i % SLOTS];
        if (!slot->entry ||
            (slot->hash == hash && slot->length == length && memcmp(slot->entry->name, name, length) == 0))
            return slot;
    }
}

static void table_add(struct table *table, const char *name) {
    struct slot *slot = table_find(table, name);
    size_t length = strlen(name);
    slot->length = (uint32_t)length;
    slot->hash = hash_of(name, length);
    slot->entry = malloc(sizeof *slot->entry); /* not a whole cache line for each */
    if (!slot->entry)
        exit(2);
    slot->entry->handler = (struct bare_handler){.call = bare_count_thread};
    memcpy(slot->entry->name, name, length + 1);
}

static const char *next_name(struct names *n) {
    n->position = n->position + 1 == SEQUENCE ? 0 : n->position + 1;
    return n->sequence[n->position];
}

static void emit_table(void *state, size_t times) {
    struct names *n = state;
    for (; times; times--) {
        struct bare_handler *handler = &table_find(n->table, next_name(n))->entry->handler;
        handler->call(NULL, handler->ctx);
    }
}

static void emit_names(void *state, size_t times) {
    struct names *n = state;
    for (; times; times--)
        mtaio_emit(n->em, next_name(n), NULL);
}

/* Each name listened to, and a random sequence of them that no processor can learn. */
static struct names *names_new(void) {
    struct names *n = bench_alloc(sizeof *n);
    uint32_t *order = bench_permutation(SEQUENCE);
    n->em = emitter_new();
    n->table = bench_alloc(sizeof *n->table);
    const char *names[NAMES];
    char *name = n->text;
    for (size_t i = 0; i < NAMES; i++, name += strlen(name) + 1) {
        name_make(name, i);
        names[i] = name;
        table_add(n->table, name);
        bench_ok(mtaio_on(n->em, name, count_call, NULL));
    }
    for (size_t i = 0; i < SEQUENCE; i++)
        n->sequence[i] = names[order[i] % NAMES];
    free(order);
    return n;
}

static void names_free(struct names *n) {
    for (size_t i = 0; i < SLOTS; i++)
        free(n->table->slots[i].entry);
    mtaio_emitter_unref(n->em);
    free(n->table);
    free(n);
}

static void names_case(void) {
    if (!bench_wanted("names/1000"))
        return;
    struct names *n = names_new();
    void *bare = peer_bare.open(1, NULL);
    const bench_side sides[] = {side_of("bare", peer_bare.emit, bare, 1),
                                side_of("bare hash table", emit_table, n, 1),
                                side_of("mtaio", emit_names, n, 1)};
    bench_case("names/1000", sides, COUNT_OF(sides));
    peer_bare.close(bare);
    names_free(n);
}

/* --- No handler --------------------------------------------------------------------------------------- */

static void emit_unheard(void *state, size_t times) {
    for (; times; times--)
        mtaio_emit(state, "nobody.listens", NULL);
}

static void emit_resolved(void *state, size_t times) {
    for (; times; times--)
        mtaio_emit_name(state, NULL);
}

static void none_case(void) {
    if (!bench_wanted("none"))
        return;
    struct names *n = names_new();
    mtaio_emitter *empty = emitter_new(), *emptied = emitter_new();
    mtaio_name *name = NULL;
    bench_ok(mtaio_emitter_resolve(n->em, "nobody.listens", &name));
    bench_ok(mtaio_on(emptied, "nobody.listens", count_call, NULL));
    bench_ok(mtaio_off(emptied, "nobody.listens", count_call, NULL));
    bench_side sides[] = {side_of("mtaio", emit_resolved, name, 0), side_of("mtaio", emit_unheard, empty, 0),
                          side_of("mtaio", emit_unheard, n->em, 0),
                          side_of("mtaio", emit_unheard, emptied, 0)};
    static const char *const variants[] = {"resolved", "by name, no handlers at all",
                                           "by name, 1000 other names have handlers",
                                           "by name, handler removed"};
    for (size_t i = 0; i < COUNT_OF(sides); i++)
        sides[i].variant = variants[i];
    bench_case("none", sides, COUNT_OF(sides));
    mtaio_name_unref(name);
    mtaio_emitter_unref(empty);
    mtaio_emitter_unref(emptied);
    names_free(n);
}

/* --- Patterns ----------------------------------------------------------------------------------------- */

static const char *const matching[MATCHING] = {"device.**", "device.*.status", "**.status", "*.*.status",
                                               "device.*.*"};

/* The same name in an emitter of its own and in one with 100,000 patterns. */
struct known {
    mtaio_emitter *em;
    const char *text;
    mtaio_name *name;
};

static void emit_known(void *state, size_t times) {
    struct known *k = state;
    for (; times; times--)
        mtaio_emit(k->em, k->text, NULL);
}

struct unknown {
    mtaio_emitter *em;
    unsigned next;
};

/* Names that nobody has seen before, from outside. */
static void emit_unknown(void *state, size_t times) {
    struct unknown *u = state;
    char name[NAME_BYTES] = "device.x00000000.status";
    for (; times; times--) {
        unsigned number = u->next++;
        for (char *digit = name + 15; digit > name + 7; digit--, number >>= 4)
            *digit = "0123456789abcdef"[number & 15];
        mtaio_emit(u->em, name, NULL);
    }
}

/* 100,000 patterns of several kinds, and what it costs to add one. */
static mtaio_emitter *patterns_new(void) {
    static const char *const kinds[] = {"device.%u.*", "*.%u.config", "room.%u.**", "**.sensor%u"};
    mtaio_emitter *em = emitter_new();
    char pattern[NAME_BYTES];
    double start = bench_now_ns();
    for (unsigned i = 0; i < PATTERNS; i++) {
        snprintf(pattern, sizeof pattern, kinds[i % COUNT_OF(kinds)], 1000 + i / (unsigned)COUNT_OF(kinds));
        bench_ok(mtaio_on(em, pattern, count_call, NULL));
    }
    bench_value("patterns", "mtaio", "adding 100,000", (bench_now_ns() - start) / PATTERNS, "ns per pattern");
    return em;
}

/* n handlers, the first ones by patterns that match. */
static struct known known_new(mtaio_emitter *em, const char *text, size_t n, size_t by_pattern) {
    struct known k = {.em = em, .text = text};
    for (size_t i = 0; i < n; i++)
        bench_ok(mtaio_on(em, i < by_pattern ? matching[i % MATCHING] : text, count_call, NULL));
    bench_ok(mtaio_emitter_resolve(em, text, &k.name));
    return k;
}

static void patterns_case(mtaio_emitter *many, const char *text, size_t n, size_t by_pattern) {
    char name[32];
    snprintf(name, sizeof name, "patterns/%zu", n);
    mtaio_emitter *alone = emitter_new();
    struct known exact = known_new(alone, text, n, 0), among = known_new(many, text, n, by_pattern);
    struct unknown unknown = {.em = many};
    bench_side sides[] = {side_of("mtaio", emit_resolved, exact.name, n),
                          side_of("mtaio", emit_resolved, among.name, n),
                          side_of("mtaio", emit_known, &exact, n), side_of("mtaio", emit_known, &among, n),
                          side_of("mtaio", emit_unknown, &unknown, by_pattern)};
    static const char *const variants[] = {"exact, resolved", "patterns, resolved", "exact, by name",
                                           "patterns, by name", "patterns, unknown name"};
    for (size_t i = 0; i < COUNT_OF(sides); i++)
        sides[i].variant = variants[i];
    bench_case(name, sides, COUNT_OF(sides));
    mtaio_name_unref(exact.name);
    mtaio_name_unref(among.name);
    mtaio_emitter_unref(alone);
}

static void patterns_cases(void) {
    if (!bench_wanted("patterns"))
        return;
    mtaio_emitter *many = patterns_new();
    patterns_case(many, "user.login", 1, 0);
    patterns_case(many, "device.7.status", 10, MATCHING);
    mtaio_emitter_unref(many);
}

void cases_of_names(void) {
    names_case();
    none_case();
    patterns_cases();
}
