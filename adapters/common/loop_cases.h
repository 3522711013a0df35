/* loop_cases.h - what holds of mtaio in any foreign loop, tested on the stage that each test program gives.
 * */
#ifndef MTAIO_ADAPTERS_LOOP_CASES_H
#define MTAIO_ADAPTERS_LOOP_CASES_H

#include <mtaio/mtaio.h>
#include <pthread.h>

#include "../common/short_memory.h"
#include "support.h"

/* --- Given by the test program: a foreign loop and the adapter in it. On the loop's thread, but for the
 * close. */

struct stage;
struct stage *stage_new(void);
mtaio_executor *stage_executor(struct stage *s);
void stage_run(struct stage *s); /* runs the loop until it is stopped */
void stage_stop(struct stage *s);
int stage_close(struct stage *s);

/* What the foreign loop calls next time it comes round, after its other work, without the adapter. */
void stage_later(struct stage *s, void (*call)(void *arg), void *arg);

/* Makes another adapter in the same loop and gives it back: what the making answered. */
int stage_try(struct stage *s);

void stage_unref(struct stage *s); /* gives back the reference; the foreign loop is still there */

/* Lets the loop end what there is to end, and asserts that nothing of ours is left in it. */
void stage_free(struct stage *s);

/* The adapter's timers; any thread. */
typedef struct mtaio__loop_timer loop_timer;
int stage_emit_after(struct stage *s, mtaio_emitter *em, mtaio_event *event, int64_t delay_ns,
                     loop_timer **ret);
int stage_emit_periodic(struct stage *s, mtaio_emitter *em, mtaio_event *event, int64_t period_ns,
                        loop_timer **ret);
int stage_timer_cancel(loop_timer *timer);
loop_timer *stage_timer_ref(loop_timer *timer);
loop_timer *stage_timer_unref(loop_timer *timer);

/* --- Given by loop_cases*.c, and run by the test program. */

int cases_begin(void **state); /* its group's setup */
void case_handler_from_a_thread(void **state);
void case_emit_in_the_loop(void **state);
void case_order(void **state);
void case_turns(void **state);
void case_close(void **state);
void case_close_in_a_handler(void **state);
void case_last_reference(void **state);
void case_last_reference_in_a_job(void **state);
void case_closing_race(void **state);
void case_many_loops(void **state);
void case_run_elsewhere(void **state);
void case_out_of_memory(void **state);
void case_after(void **state);
void case_after_order(void **state);
void case_after_wakes(void **state);
void case_periodic(void **state);
void case_periodic_late(void **state);
void case_timer_cancel(void **state);
void case_timer_ends(void **state);
void case_timer_keeps(void **state);
void case_timer_race(void **state);
void case_timer_arguments(void **state);
void case_timer_memory(void **state);
void case_receive(void **state);
void case_receive_fairly(void **state);
void case_receive_cancel(void **state);
void case_receive_close(void **state);
void case_publish_async(void **state);

#define LOOP_CASES                                                                                 \
    cmocka_unit_test(case_handler_from_a_thread), cmocka_unit_test(case_emit_in_the_loop),         \
        cmocka_unit_test(case_order), cmocka_unit_test(case_turns), cmocka_unit_test(case_close),  \
        cmocka_unit_test(case_close_in_a_handler), cmocka_unit_test(case_last_reference),          \
        cmocka_unit_test(case_last_reference_in_a_job), cmocka_unit_test(case_closing_race),       \
        cmocka_unit_test(case_many_loops), cmocka_unit_test(case_run_elsewhere),                   \
        cmocka_unit_test(case_out_of_memory), cmocka_unit_test(case_after),                        \
        cmocka_unit_test(case_after_order),                                                        \
        cmocka_unit_test(case_after_wakes), cmocka_unit_test(case_periodic),                       \
        cmocka_unit_test(case_periodic_late),                                                      \
        cmocka_unit_test(case_timer_cancel), cmocka_unit_test(case_timer_ends),                    \
        cmocka_unit_test(case_timer_keeps), cmocka_unit_test(case_timer_race),                     \
        cmocka_unit_test(case_timer_arguments), cmocka_unit_test(case_timer_memory),               \
        cmocka_unit_test(case_receive), cmocka_unit_test(case_receive_fairly),                     \
        cmocka_unit_test(case_receive_cancel), cmocka_unit_test(case_receive_close),               \
        cmocka_unit_test(case_publish_async)

#endif
