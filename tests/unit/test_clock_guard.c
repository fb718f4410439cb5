#include "queue/clock_guard.h"

#include "core/check.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MINUTE UINT64_C(60000)
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)
#define NOW    (1000 * DAY)

static void start_up_looks_at_the_last_time(void **state)
{
    static const struct {
        uint64_t recorded_ms, wall_ms;
        enum clock_fault fault;
    } cases[] = {
        {0, NOW, CLOCK_FINE}, /* a new database */
        {0, 0, CLOCK_FINE},
        {NOW, NOW, CLOCK_FINE},
        {NOW, NOW + 7 * DAY, CLOCK_FINE},
        {NOW, NOW + 7 * DAY + 1, CLOCK_LONG_AFTER},
        {NOW, NOW + 4000 * DAY, CLOCK_LONG_AFTER},
        {NOW, NOW - 2000, CLOCK_FINE}, /* slewed */
        {NOW, NOW - 2001, CLOCK_BEFORE_LAST},
        {NOW, 0, CLOCK_BEFORE_LAST},
    };
    for (unsigned i = 0; i < countof(cases); i++) {
        struct clock_guard guard;
        clock_guard_init(&guard, cases[i].recorded_ms, cases[i].wall_ms, 12345);
        assert_int_equal(guard.fault, cases[i].fault);
        assert_int_equal(clock_fault_text(guard.fault).len > 0, cases[i].fault != CLOCK_FINE);
    }
}

static void a_step_is_seen_and_stays(void **state)
{
    static const struct {
        int64_t step_ms;
        enum clock_fault fault;
    } cases[] = {
        {0, CLOCK_FINE},
        {(int64_t)HOUR, CLOCK_FINE},
        {-(int64_t)HOUR, CLOCK_FINE},
        {(int64_t)HOUR + 1, CLOCK_STEPPED},
        {-(int64_t)HOUR - 1, CLOCK_STEPPED},
        {(int64_t)(30 * DAY), CLOCK_STEPPED},
        {-(int64_t)(30 * DAY), CLOCK_STEPPED},
    };
    for (unsigned i = 0; i < countof(cases); i++) {
        struct clock_guard guard;
        clock_guard_init(&guard, 0, NOW, 0);
        clock_guard_look(&guard, NOW + 100 * DAY, 100 * DAY);
        assert_int_equal(guard.fault, CLOCK_FINE);
        clock_guard_look(&guard, NOW + 100 * DAY + (uint64_t)cases[i].step_ms, 100 * DAY);
        assert_int_equal(guard.fault, cases[i].fault);
        clock_guard_look(&guard, NOW + 100 * DAY, 100 * DAY);
        assert_int_equal(guard.fault, cases[i].fault);
    }
}

static void confirming_starts_anew(void **state)
{
    struct clock_guard guard;
    clock_guard_init(&guard, NOW, NOW - DAY, 0);
    clock_guard_confirm(&guard, NOW - DAY, 500);
    assert_int_equal(guard.fault, CLOCK_FINE);
    clock_guard_look(&guard, NOW - DAY + HOUR, 500 + HOUR);
    assert_int_equal(guard.fault, CLOCK_FINE);
    clock_guard_look(&guard, NOW + DAY, 500 + HOUR);
    assert_int_equal(guard.fault, CLOCK_STEPPED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(start_up_looks_at_the_last_time),
        cmocka_unit_test(a_step_is_seen_and_stays),
        cmocka_unit_test(confirming_starts_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
