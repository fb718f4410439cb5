#include "core/clock.h"
#include "core/timers.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <stdlib.h>

/* Uptime of a machine, so that no test begins at a round number. */
#define BORN (UINT64_C(86400123) * NS_PER_MS + 456789)

struct wheel {
    struct timers timers;
    struct list ready;
    uint64_t now;
};

static void ignore(struct op *op)
{
}

static void wheel_init(struct wheel *wheel, uint64_t now)
{
    wheel->now = now;
    timers_init(&wheel->timers, now);
    list_init(&wheel->ready);
}

static void advance_to(struct wheel *wheel, uint64_t now)
{
    wheel->now = now;
    timers_advance(&wheel->timers, now, &wheel->ready);
}

/* As dispatch does. */
static struct timer *take(struct wheel *wheel)
{
    struct list_link *link = list_take_first(&wheel->ready);
    if (!link)
        return NULL;
    struct timer *timer = container_of(link, struct timer, op.link);
    assert_int_equal(timer->op.state, OP_READY);
    assert_int_equal(timer->op.result, 0);
    timer->op.state = OP_IDLE;
    return timer;
}

static void test_never_early_at_most_a_tick_late(void **state)
{
    static const uint64_t delays[] = {0,
                                      1,
                                      999999,
                                      1000000,
                                      1000001,
                                      63 * NS_PER_MS,
                                      64000000,
                                      64000001,
                                      65 * NS_PER_MS,
                                      4095 * NS_PER_MS,
                                      4096 * NS_PER_MS,
                                      NS_PER_S,
                                      300 * NS_PER_S,
                                      3600 * NS_PER_S,
                                      86400 * NS_PER_S,
                                      5 * 86400 * NS_PER_S,
                                      UINT64_C(400) * 86400 * NS_PER_S,
                                      UINT64_C(3000) * 86400 * NS_PER_S};
    for (size_t i = 0; i < countof(delays); i++) {
        struct wheel wheel;
        struct timer timer;
        wheel_init(&wheel, BORN);
        timer_init(&timer, ignore);
        uint64_t due = BORN + delays[i];
        timer_arm(&wheel.timers, &timer, due);
        assert_true(timer_armed(&timer));
        if (due > BORN) {
            advance_to(&wheel, due - 1);
            assert_null(take(&wheel));
        }
        assert_true(timers_next_ns(&wheel.timers) <= due + NS_PER_MS);
        advance_to(&wheel, due + NS_PER_MS);
        assert_ptr_equal(take(&wheel), &timer);
        assert_false(timer_armed(&timer));
        assert_int_equal(wheel.timers.armed, 0);
        assert_int_equal(timers_next_ns(&wheel.timers), UINT64_MAX);
    }
}

static void test_past_fires_in_the_next_turn(void **state)
{
    struct wheel wheel;
    struct timer timer;
    wheel_init(&wheel, BORN);
    timer_init(&timer, ignore);
    for (int i = 0; i < 3; i++) {
        timer_arm(&wheel.timers, &timer, BORN - 5 * NS_PER_S);
        assert_true(timers_next_ns(&wheel.timers) <= wheel.now);
        advance_to(&wheel, wheel.now); /* the same instant */
        assert_ptr_equal(take(&wheel), &timer);
    }
}

static void test_rearm_and_disarm(void **state)
{
    struct wheel wheel;
    struct timer timer, other;
    wheel_init(&wheel, BORN);
    timer_init(&timer, ignore);
    timer_init(&other, ignore);
    timer_disarm(&wheel.timers, &timer); /* idle: nothing */
    timer_arm(&wheel.timers, &timer, BORN + 5 * NS_PER_MS);
    timer_arm(&wheel.timers, &other, BORN + 5 * NS_PER_MS);
    timer_arm(&wheel.timers, &timer, BORN + 50 * NS_PER_MS);
    assert_int_equal(wheel.timers.armed, 2);
    advance_to(&wheel, BORN + 10 * NS_PER_MS);
    assert_ptr_equal(take(&wheel), &other);
    assert_null(take(&wheel));
    timer_disarm(&wheel.timers, &timer);
    timer_disarm(&wheel.timers, &timer);
    assert_int_equal(timers_next_ns(&wheel.timers), UINT64_MAX);
    advance_to(&wheel, BORN + NS_PER_S);
    assert_null(take(&wheel));
}

/* Fired, but not dispatched yet: taken back by arming or disarming. */
static void test_take_back(void **state)
{
    struct wheel wheel;
    struct timer timer;
    wheel_init(&wheel, BORN);
    timer_init(&timer, ignore);
    timer_arm(&wheel.timers, &timer, BORN);
    advance_to(&wheel, BORN + NS_PER_MS);
    assert_false(list_empty(&wheel.ready));
    timer_arm(&wheel.timers, &timer, BORN + NS_PER_S);
    assert_true(list_empty(&wheel.ready));
    assert_int_equal(wheel.timers.armed, 1);
    advance_to(&wheel, BORN + 2 * NS_PER_S);
    timer_disarm(&wheel.timers, &timer);
    assert_true(list_empty(&wheel.ready));
    assert_true(op_idle(&timer.op));
    assert_int_equal(wheel.timers.armed, 0);
}

static void test_clock_stands_or_steps_back(void **state)
{
    struct wheel wheel;
    struct timer timer;
    wheel_init(&wheel, BORN);
    timer_init(&timer, ignore);
    timer_arm(&wheel.timers, &timer, BORN + 10 * NS_PER_MS);
    advance_to(&wheel, BORN - NS_PER_S);
    assert_null(take(&wheel));
    advance_to(&wheel, BORN + 11 * NS_PER_MS);
    assert_ptr_equal(take(&wheel), &timer);
}

/* Never: armed for the end of time. */
static void test_never(void **state)
{
    struct wheel wheel;
    struct timer timer;
    wheel_init(&wheel, BORN);
    timer_init(&timer, ignore);
    timer_arm(&wheel.timers, &timer, UINT64_MAX);
    advance_to(&wheel, BORN + UINT64_C(3650) * 86400 * NS_PER_S);
    assert_null(take(&wheel));
    assert_true(timer_armed(&timer));
}

enum { MANY = 500, STEPS = 20000 };

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *seed >> 24;
}

/* Delays of every magnitude. */
static uint64_t random_delay(uint64_t *seed)
{
    return next_random(seed) >> next_random(seed) % 40;
}

static uint64_t earliest(const struct timer *timers)
{
    uint64_t first = UINT64_MAX;
    for (unsigned i = 0; i < MANY; i++)
        if (timer_armed(&timers[i]) && timers[i].due_ns < first)
            first = timers[i].due_ns;
    return first;
}

/* Against the obvious: what is due has fired, and nothing else has. */
static void test_against_model(void **state)
{
    struct wheel wheel;
    static struct timer timers[MANY];
    uint64_t seed = 7;
    wheel_init(&wheel, BORN);
    for (unsigned i = 0; i < MANY; i++)
        timer_init(&timers[i], ignore);
    for (unsigned step = 0; step < STEPS; step++) {
        struct timer *timer = &timers[next_random(&seed) % MANY];
        if (next_random(&seed) % 4)
            timer_arm(&wheel.timers, timer, wheel.now + random_delay(&seed));
        else
            timer_disarm(&wheel.timers, timer);
        uint64_t first = earliest(timers);
        if (first != UINT64_MAX)
            assert_true(timers_next_ns(&wheel.timers) < first + NS_PER_MS);
        if (step % 3)
            continue;
        advance_to(&wheel, wheel.now + random_delay(&seed));
        while ((timer = take(&wheel)))
            assert_true(timer->due_ns <= wheel.now);
        assert_true(earliest(timers) > wheel.now - NS_PER_MS);
    }
}

/* Sleeping for as long as timers_next_ns says wakes seldom and never late. */
static void test_sleeping_by_next(void **state)
{
    struct wheel wheel;
    struct timer timer;
    wheel_init(&wheel, BORN);
    timer_init(&timer, ignore);
    uint64_t due = BORN + 90 * 86400 * NS_PER_S;
    timer_arm(&wheel.timers, &timer, due);
    unsigned wakes = 0;
    while (list_empty(&wheel.ready)) {
        uint64_t next = timers_next_ns(&wheel.timers);
        assert_true(next > wheel.now || wakes == 0);
        advance_to(&wheel, next);
        wakes++;
    }
    assert_true(wheel.now >= due && wheel.now < due + NS_PER_MS);
    assert_true(wakes <= TIMER_LEVELS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_early_at_most_a_tick_late),
        cmocka_unit_test(test_past_fires_in_the_next_turn),
        cmocka_unit_test(test_rearm_and_disarm),
        cmocka_unit_test(test_take_back),
        cmocka_unit_test(test_clock_stands_or_steps_back),
        cmocka_unit_test(test_never),
        cmocka_unit_test(test_against_model),
        cmocka_unit_test(test_sleeping_by_next),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
