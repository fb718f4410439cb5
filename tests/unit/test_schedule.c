#include "queue/schedule.h"

#include "core/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void each_wait_is_near_its_interval(void **state)
{
    static const uint64_t intervals_ms[] = {300000, 600000, 14400000};
    static const struct {
        uint32_t attempts;
        uint64_t interval_ms;
    } cases[] = {{0, 300000},   {1, 300000},   {2, 600000},
                 {3, 14400000}, {4, 14400000}, {UINT32_MAX, 14400000}};
    struct schedule schedule = {intervals_ms, countof(intervals_ms), 0.10};
    struct random random;
    random_init(&random);
    for (unsigned i = 0; i < countof(cases); i++) {
        uint64_t least = UINT64_MAX, most = 0, interval_ms = cases[i].interval_ms;
        for (unsigned round = 0; round < 1000; round++) {
            uint64_t wait_ms = schedule_wait_ms(&schedule, cases[i].attempts, &random);
            least = wait_ms < least ? wait_ms : least;
            most = wait_ms > most ? wait_ms : most;
        }
        assert_in_range(least, interval_ms * 90 / 100, interval_ms * 92 / 100);
        assert_in_range(most, interval_ms * 108 / 100, interval_ms * 110 / 100);
    }
}

static void without_jitter_it_is_exact(void **state)
{
    static const uint64_t intervals_ms[] = {500, 0};
    struct schedule schedule = {intervals_ms, countof(intervals_ms), 0};
    struct random random;
    random_init(&random);
    assert_int_equal(schedule_wait_ms(&schedule, 1, &random), 500);
    assert_int_equal(schedule_wait_ms(&schedule, 2, &random), 1); /* never at once */
}

static void expiry_comes_before_a_later_attempt(void **state)
{
    static const struct {
        uint64_t next_ms, expires_ms, wall_ms, due_ms;
    } cases[] = {
        {200, 300, 100, 200}, {300, 200, 100, 200},
        {300, 300, 100, 300}, {300, 100, 100, 300}, /* it has passed already: expiry stands still */
        {300, 50, 100, 300},
    };
    for (unsigned i = 0; i < countof(cases); i++)
        assert_int_equal(schedule_due_ms(cases[i].next_ms, cases[i].expires_ms, cases[i].wall_ms),
                         cases[i].due_ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_wait_is_near_its_interval),
        cmocka_unit_test(without_jitter_it_is_exact),
        cmocka_unit_test(expiry_comes_before_a_later_attempt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
