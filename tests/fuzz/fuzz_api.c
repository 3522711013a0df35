/* fuzz_api.c - sequences of calls of the public API, from outside and from handlers, against a model of plain
 * arrays.
 *
 * An input is a script for each of eight handlers (a byte of flags, two operations), then operations: four
 * bytes each, the operation and its arguments, every byte valid. Each is done by the library, then by the
 * model (api_model.h), which expects the same calls in the same order, with the same results. At the end
 * everything is given back, and no memory may be left. */
#include "../unit/topic_oracle.h"
#include "api_calls.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- Sequences
 * ------------------------------------------------------------------------------------------------------- */

static int operate(int a, int b, int c, int d) {
    int pattern = c % PATTERNS, optional = c % (PATTERNS + 1) - 1, name = c % NAMES;
    switch (a % 32) {
    case 0:
        return op_new(b);
    case 1:
        return op_unref(b);
    case 2:
        return op_close(b);
    case 3:
        return op_derive(FILTER, b, d, optional);
    case 4:
        return op_derive(MAP, b, d, optional);
    case 5:
        return op_derive(BUFFER, b, d, optional);
    case 6:
        return op_pipe(b, d, b / 4, pattern);
    case 7:
        return op_hook(b, d);
    case 8:
        return op_off(b, pattern, d % ACTORS);
    case 9:
        return op_remove_all(b, optional);
    case 10:
        return op_cancel(b, d);
    case 11:
        return op_count(b, pattern);
    case 12:
        return op_emit_async(b, name);
    case 13:
        return op_complete(b, d);
    case 14:
        return op_resolve(b, d, name);
    case 15:
        return op_emit_name(b, d);
    case 16:
        return op_flush(b);
    case 17:
        return op_suppress(b, d, optional);
    case 18:
        return op_release(b, d);
    case 19:
        return op_batch_new(b, d, b / 4, b & 16);
    case 20:
        return op_batch(b, name, d);
    case 21:
        return trace.modelling ? 0 : mtaio_reclaim() == SIZE_MAX;
    default:
        return a & 1 ? op_emit(b, name, d) : op_on(b, b / 4, pattern, d);
    }
}

static void do_operation(const uint8_t *op) {
    int r = operate(op[0], op[1], op[2], op[3]);
    saw(RESULT, op[0] % 32, r, 0);
}

static void *count_alloc(size_t bytes, void *ctx) {
    (void)ctx;
    blocks++;
    return malloc(bytes);
}
static void *count_resize(void *old, size_t old_bytes, size_t bytes, void *ctx) {
    (void)old_bytes;
    (void)ctx;
    blocks += old == NULL;
    return realloc(old, bytes);
}
static void count_free(void *block, size_t bytes, void *ctx) {
    (void)bytes;
    (void)ctx;
    blocks -= block != NULL;
    free(block);
}

static void never_done(int result, const mtaio_report *report, void *ctx) {
    (void)result;
    (void)report;
    (void)ctx;
    expect(false);
}

static int deeper(mtaio_event *event, void *em) {
    int *left = mtaio_event_data(event);
    mtaio_deferral *deferral;
    if (--*left <= 0) return 0;
    expect(mtaio_event_defer(event, &deferral) == 0);
    expect(mtaio_emit_start(em, MTAIO_EMISSION(.name = "a", .data = left), never_done) == 1);
    expect(mtaio_deferral_complete(deferral, 0) == 0);
    mtaio_deferral_unref(deferral);
    return 0;
}

static int pass_all(const mtaio_event *event, void *ctx) {
    (void)event;
    (void)ctx;
    return 1;
}

/* What the library keeps for the thread is there: places for nested emissions, a few emissions, deferrals and parts of
 * emissions behind derived emitters, to be used again. */
static void warm_up(void) {
    mtaio_emitter *em, *chain[6];
    int depth = 20, none = 0;
    expect(mtaio_emitter_new(NULL, &em) == 0 && mtaio_on(em, "a", deeper, em) == 0 && mtaio_emit(em, "a", &depth) == 1);
    for (int i = 0; i < 6; i++)
        expect(mtaio_emitter_filter(i > 0 ? chain[i - 1] : em, NULL, MTAIO_FILTER(.call = pass_all), &chain[i]) == 0);
    expect(mtaio_on(chain[5], "b", deeper, em) == 0);
    expect(mtaio_emit_start(em, MTAIO_EMISSION(.name = "b", .data = &none), never_done) == 1);
    for (int i = 0; i < 6; i++) mtaio_emitter_unref(chain[i]);
    mtaio_emitter_unref(em);
}

/* Once: the library's memory is counted. */
static void prepare(void) {
    static const mtaio_allocator allocator = {sizeof allocator, count_alloc, count_resize, count_free, NULL};
    if (mtaio_set_allocator(&allocator) < 0) return;
    for (int p = 0; p < PATTERNS; p++)
        for (int n = 0; n < NAMES; n++) matching[p][n] = oracle_matches(text[p], text[n]);
}

static void begin(struct side *side) {
    *side = (struct side){.data = 0};
    memset(side->slot, 0xff, sizeof side->slot);
}

static void give_everything_back(void) {
    ending = true;
    trace.modelling = false;
    s = &sides[0];
    for (int i = 0; i < SLOTS; i++) {
        if (s->slot[DEFERRAL][i] != HANDLE) mtaio_deferral_unref(real.deferral[s->slot[DEFERRAL][i]]);
        if (s->slot[HOLD][i] != HANDLE) mtaio_suppression_unref(real.hold[s->slot[HOLD][i]]);
        if (s->slot[BATCH][i] != HANDLE) mtaio_batch_unref(real.batch[s->slot[BATCH][i]]);
        if (s->slot[NAME][i] != HANDLE) mtaio_name_unref(real.name[s->slot[NAME][i]]);
        if (s->slot[LISTENER][i] != HANDLE) mtaio_listener_unref(real.listener[s->slot[LISTENER][i]]);
        if (s->slot[EM][i] != HANDLE) mtaio_emitter_unref(real.em[s->slot[EM][i]]);
    }
    for (int i = 0; i < real.kept_count; i++) mtaio_emitter_unref(real.kept[i]);
    expect(mtaio_reclaim() == 0);
    expect(destroyed == with_destroy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const size_t scripts = SCRIPT * ACTORS;
    prepare();
    if (size < scripts || size > 1024) return 0;
    warm_up();
    size_t blocks_before = blocks;
    script = data;
    memset(&real, 0, sizeof real);
    begin(&sides[0]);
    begin(&sides[1]);
    m_emitters = m_registrations = m_deferrals = m_suppressions = m_batches = 0;
    m_clock = 0;
    memset(m_emission, 0, sizeof m_emission);
    ending = false;
    with_destroy = destroyed = 0;
    if (setjmp(trace.undecided) == 0) {
        for (size_t at = scripts; at + 4 <= size; at += 4) {
            trace.count = trace.read = 0;
            trace.modelling = false;
            s = &sides[0];
            sides[0].fuel = sides[1].fuel = FUEL;
            do_operation(data + at);
            trace.modelling = true;
            s = &sides[1];
            do_operation(data + at);
            if (trace.read != trace.count) differs(NULL);
        }
    }
    give_everything_back();
    warm_up();
    expect(blocks == blocks_before);
    return 0;
}
