/* test_parking.c - where one thread sleeps until another lets it go: never for ever, never too early. */
#include "support.h"

#include "os/os.h"

#define MS INT64_C(1000000)

struct parkings {
    os_parking of[2];
    struct support_barrier barrier;
    int written;
};

/* In turn one parks, with or without a deadline, and the other lets it go, before or after it sleeps. */
static void park_in_turn(unsigned index, void *ctx) {
    struct parkings *p = ctx;

    for (int i = 0; i < 2000; i++) {
        os_parking *parking = &p->of[i % 2];
        support_barrier_wait(&p->barrier);
        if ((i & 1) == (int)index) {
            p->written = i;
            os_unpark(parking);
        } else {
            CHECK(os_park(parking, i % 3 == 0 ? INT64_MAX : os_now_ns() + 10000 * MS));
            CHECK(p->written == i); /* "what was written before os_unpark is seen after os_park" */
            os_parking_init(parking);
        }
        support_barrier_wait(&p->barrier);
    }
}

static void test_parking(void **state) {
    struct parkings p;
    int64_t start = os_now_ns();

    (void)state;
    os_parking_init(&p.of[0]);
    os_parking_init(&p.of[1]);
    assert_false(os_park(&p.of[0], INT64_MIN));
    assert_false(os_park(&p.of[0], start + 30 * MS));
    assert_true(os_now_ns() >= start + 30 * MS);
    os_unpark(&p.of[0]); /* also where the deadline of a first try has passed */
    assert_true(os_park(&p.of[0], INT64_MAX));
    os_parking_init(&p.of[0]);
    support_barrier_init(&p.barrier, 2);
    support_threads(2, park_in_turn, &p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parking)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
