#include "smtp/lane_limit.h"

#include "core/clock.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void one_cell_per_key(void **state)
{
    struct lane_limits limits;
    assert_int_equal(lane_limits_init(&limits, (struct hash_seed){1, 2}), 0);
    struct lane_limit *a = lane_limit_get(&limits, SPAN("default->mx.example"));
    struct lane_limit *b = lane_limit_get(&limits, SPAN("default->mx.example"));
    struct lane_limit *c = lane_limit_get(&limits, SPAN("default->mx.other"));
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, c);
    lane_limit_put(&limits, a);
    assert_int_equal(limits.cells.count, 2);
    lane_limit_put(&limits, b);
    assert_int_equal(limits.cells.count, 1);
    lane_limit_put(&limits, c);
    assert_int_equal(limits.cells.count, 0);
    lane_limits_fini(&limits);
}

static void slots_are_a_total_over_workers(void **state)
{
    struct lane_limit limit = {0};
    assert_true(lane_limit_take_slot(&limit, 2, 0));
    assert_true(lane_limit_take_slot(&limit, 2, 1));
    assert_false(lane_limit_contended(&limit, 0));
    assert_false(lane_limit_take_slot(&limit, 2, 1));
    assert_true(lane_limit_contended(&limit, 0));
    assert_false(lane_limit_contended(&limit, 1)); /* its own wish is no contention */
    lane_limit_give_slot(&limit);
    assert_true(lane_limit_take_slot(&limit, 2, 1));
    assert_false(lane_limit_contended(&limit, 0));
}

static void who_has_nothing_left_does_not_wait(void **state)
{
    struct lane_limit limit = {0};
    assert_true(lane_limit_take_slot(&limit, 1, 0));
    assert_false(lane_limit_take_slot(&limit, 1, 1));
    assert_true(lane_limit_contended(&limit, 0));
    lane_limit_stop_waiting(&limit, 1);
    assert_false(lane_limit_contended(&limit, 0));
}

/* A total that shrank below what is open denies until enough has been given back. */
static void a_smaller_total_denies(void **state)
{
    struct lane_limit limit = {0};
    for (int i = 0; i < 5; i++)
        assert_true(lane_limit_take_slot(&limit, 5, 0));
    assert_false(lane_limit_take_slot(&limit, 3, 0));
    lane_limit_give_slot(&limit);
    lane_limit_give_slot(&limit);
    assert_false(lane_limit_take_slot(&limit, 3, 0));
    lane_limit_give_slot(&limit);
    assert_true(lane_limit_take_slot(&limit, 3, 0));
}

static void a_rate_spends_its_burst_then_paces(void **state)
{
    _Atomic uint64_t tat = 0;
    struct rate rate = {.count = 10, .period_ms = 1000};
    uint64_t now = 5 * NS_PER_S;
    for (int i = 0; i < 10; i++)
        assert_int_equal(rate_take(&tat, &rate, now), 0);
    assert_int_equal(rate_take(&tat, &rate, now), now + 100 * NS_PER_MS);
    assert_int_equal(rate_take(&tat, &rate, now + 99 * NS_PER_MS), now + 100 * NS_PER_MS);
    assert_int_equal(rate_take(&tat, &rate, now + 100 * NS_PER_MS), 0);
    assert_int_not_equal(rate_take(&tat, &rate, now + 100 * NS_PER_MS), 0);
}

static void a_burst_of_one_spaces_evenly(void **state)
{
    _Atomic uint64_t tat = 0;
    struct rate rate = {.count = 20, .period_ms = 30 * 60 * 1000, .burst = 1};
    uint64_t now = NS_PER_S, step = 90 * NS_PER_S;
    for (int i = 0; i < 100; i++, now += step) {
        assert_int_equal(rate_take(&tat, &rate, now), 0);
        assert_int_equal(rate_take(&tat, &rate, now), now + step);
    }
}

static void no_rate_is_no_limit(void **state)
{
    _Atomic uint64_t tat = 0;
    struct rate rate = {0};
    for (int i = 0; i < 1000; i++)
        assert_int_equal(rate_take(&tat, &rate, 1), 0);
    assert_int_equal(tat, 0);
}

/* A lane that goes idle and comes back must not find its spent rate refilled. */
static void a_spent_rate_outlives_its_lane(void **state)
{
    struct lane_limits limits;
    struct rate rate = {.count = 1, .period_ms = 3600 * 1000};
    assert_int_equal(lane_limits_init(&limits, (struct hash_seed){1, 2}), 0);
    struct lane_limit *limit = lane_limit_get(&limits, SPAN("a->b"));
    assert_int_equal(rate_take(&limit->message_tat_ns, &rate, clock_mono_ns()), 0);
    lane_limit_put(&limits, limit);
    limit = lane_limit_get(&limits, SPAN("a->b"));
    assert_int_not_equal(rate_take(&limit->message_tat_ns, &rate, clock_mono_ns()), 0);
    lane_limit_put(&limits, limit);
    lane_limits_fini(&limits);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_cell_per_key),
        cmocka_unit_test(slots_are_a_total_over_workers),
        cmocka_unit_test(who_has_nothing_left_does_not_wait),
        cmocka_unit_test(a_smaller_total_denies),
        cmocka_unit_test(a_rate_spends_its_burst_then_paces),
        cmocka_unit_test(a_burst_of_one_spaces_evenly),
        cmocka_unit_test(no_rate_is_no_limit),
        cmocka_unit_test(a_spent_rate_outlives_its_lane),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
