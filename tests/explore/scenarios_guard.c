/* scenarios_guard.c - threads that come to one guard again and again: favoured, losing the favour, on their
 * way in when they lose it. Never two inside, and each sees what the one before did. On the unmodified core.
 */
#include "core/guard.h"
#include "table.h"

static struct {
    struct guard guard;
    int inside, entered;
    int told; /* how often somebody was, by the one before */
} g EXPLORE_STATE;

static void go_in(void) {
    guard_lock(&g.guard);
    EXPLORE_CHECK(++g.inside == 1 && g.told == g.entered);
    g.entered++;
    explore_point(); /* what others do meanwhile */
    g.told = g.entered;
    g.inside--;
    guard_unlock(&g.guard);
}

static void setup(void) {}
static void once(void) { go_in(); }
static void twice(void) {
    go_in();
    go_in();
}
/* The second makes it the favourite, the third is by the favour. */
static void thrice(void) {
    twice();
    go_in();
}
static void check_of(int entered) {
    EXPLORE_CHECK(g.entered == entered && g.inside == 0 && g.guard.taken == 0 && g.guard.inside == 0);
    EXPLORE_CHECK(os_locks_held() == 0);
}
static void check_four(void) { check_of(4); }
static void check_five(void) { check_of(5); }
static void check_six(void) { check_of(6); }
static void check_seven(void) { check_of(7); }

static const struct bounded table[] = {
    ALL("thrice-once", .setup = setup, TWO(thrice, once), .check = check_four),
    ALL("thrice-twice", .setup = setup, TWO(thrice, twice), .check = check_five),
    ALL("thrice-thrice", .setup = setup, TWO(thrice, thrice), .check = check_six),
    UP_TO(2, 3, "thrice-twice-once", .setup = setup, THREE(thrice, twice, once), .check = check_six),
    UP_TO(2, 3, "thrice-thrice-once", .setup = setup, THREE(thrice, thrice, once), .check = check_seven),
};

int main(int argc, char **argv) { return scene_main(table, sizeof table / sizeof *table, argc, argv); }
