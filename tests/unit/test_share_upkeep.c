/* What a share does unasked: expires what no lane comes for, counts again after a crash, brings
 * near what a clock that was set back left far ahead. */
#include "tests/unit/spool_fixture.h"

#define DAY_MS (UINT64_C(24) * 3600 * 1000)

enum { HOUR_MS = 3600000, MANY = 300 };

static void with_windows_of(struct fixture *f, unsigned rows)
{
    fixture_stop(f);
    f->options.limits.nursery_messages = 0;
    f->options.limits.window_rows = rows;
    f->options.expiry_sweep_ms = HOUR_MS;
    fixture_start(f);
}

static void accept_some(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        accept_message(f, "a@sender.example", "b@d.example", "Subject: expired\r\n\r\nHello\r\n");
}

static void defer_all(struct fixture *f, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        settle_row(f, pull_row_of(f), OUTCOME_DEFERRED);
    turn_until_recorded(f);
}

/* ---- the sweep ---- */

/* No lane ever pulls: the rows and their reports are all that tells. */
static void expired_without_a_pull(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64);
    accept_some(f, MANY);
    pass_ms(f, 5 * DAY_MS - HOUR_MS);
    for (unsigned i = 0; i < 50; i++)
        turn(f);
    assert_int_equal(usage_of(f).expired, 0);
    pass_ms(f, 2 * HOUR_MS);
    turn_until(f, usage_of(f).expired == MANY);
    turn_until_recorded(f);
    assert_int_equal(usage_of(f).dsn_made, MANY);
    assert_int_equal(usage_of(f).rows, MANY); /* the reports */
}

static void report_quotes_the_headers(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64);
    accept_some(f, 1);
    f->ready_count = 0;
    pass_ms(f, 6 * DAY_MS);
    turn_until(f, usage_of(f).expired == 1);
    turn_until_recorded(f);
    struct row *row = pull_row_of(f);
    assert_true(row->envelope.flags & ENVELOPE_DSN);
    assert_true(row->body_pieces > 0);
    struct span whole = row->body[0];
    assert_non_null(memmem(whole.data, whole.len, "Subject: expired", 16));
    assert_non_null(memmem(whole.data, whole.len, "Status: 4.4.7", 13));
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void lent_rows_stay(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64);
    accept_some(f, MANY);
    struct row *lent = pull_row_of(f);
    uint64_t id = lent->envelope.id;
    pass_ms(f, 6 * DAY_MS);
    turn_until(f, usage_of(f).expired == MANY - 1);
    for (unsigned i = 0; i < 100; i++)
        turn(f);
    assert_int_equal(usage_of(f).expired, MANY - 1);
    assert_int_equal(lent->envelope.id, id);
    settle_row(f, lent, OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_int_equal(usage_of(f).delivered, 1);
    assert_int_equal(usage_of(f).rows, MANY - 1);
}

/* The window that a lane works from is as it was: what is not expired is handed out in order. */
static void young_rows_stay_where_they_are(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64);
    accept_some(f, MANY);
    pass_ms(f, 4 * DAY_MS);
    accept_some(f, MANY);
    pass_ms(f, 2 * DAY_MS);
    turn_until(f, usage_of(f).expired == MANY);
    turn_until_recorded(f);
    for (unsigned seen = 0; seen < MANY;) {
        struct row *row = pull_row_of(f);
        seen += (row->envelope.flags & ENVELOPE_DSN) == 0;
        settle_row(f, row, OUTCOME_DELIVERED);
    }
    turn_until_recorded(f);
    assert_int_equal(usage_of(f).expired, MANY);
}

static void nothing_expires_by_a_wrong_clock(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64);
    accept_some(f, 10);
    wall_stepped_ms += 6 * DAY_MS;
    for (unsigned i = 0; i < 4; i++) {
        spool_tick(f->spool);
        pass_ms(f, 2 * HOUR_MS);
    }
    for (unsigned i = 0; i < 100; i++)
        turn(f);
    assert_int_equal(usage_of(f).expired, 0);
}

/* ---- the recount ---- */

/* More rows than a window holds; mail comes in and goes out while they are counted. */
static void counted_again_after_a_crash(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64);
    accept_some(f, MANY);
    defer_all(f, MANY / 2);
    fixture_crash(f);
    assert_int_equal(usage_of(f).queues_uncounted, 1);
    assert_int_not_equal(usage_of(f).rows, MANY);
    for (unsigned i = 0; i < 40; i++) {
        settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
        accept_some(f, 1);
        settle_row(f, pull_row_of(f), OUTCOME_DEFERRED);
    }
    pass_ms(f, 2000);
    turn_until(f, usage_of(f).queues_uncounted == 0);
    turn_until_recorded(f);
    assert_int_equal(usage_of(f).rows, count_records(f, FAMILY_ROW));
    assert_int_equal(usage_of(f).rows, MANY);
    fixture_restart(f);
    assert_int_equal(usage_of(f).rows, MANY);
    assert_int_equal(usage_of(f).queues_uncounted, 0);
}

/* A stop before the end of the count does not call the counters right. */
static void stopped_before_it_was_counted(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64);
    accept_some(f, MANY);
    fixture_crash(f);
    fixture_restart(f);
    assert_int_equal(usage_of(f).queues_uncounted, 1);
    pass_ms(f, 2000);
    turn_until(f, usage_of(f).queues_uncounted == 0);
    assert_int_equal(usage_of(f).rows, MANY);
}

/* ---- the clock went back ---- */

static void assert_tried_again(struct fixture *f, unsigned count)
{
    turn_until(f, usage_of(f).set_back == count);
    for (unsigned i = 0; i < 100; i++)
        turn(f);
    assert_true(nothing_to_pull(f));
    pass_ms(f, 1300000); /* longer than the longest interval */
    for (unsigned i = 0; i < count; i++)
        settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void set_back_while_it_runs(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64);
    accept_some(f, MANY);
    defer_all(f, MANY);
    wall_stepped_ms -= 10 * DAY_MS;
    pass_ms(f, 2000);
    assert_tried_again(f, MANY);
}

static void set_back_while_it_was_stopped(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64);
    accept_some(f, MANY);
    defer_all(f, MANY);
    fixture_stop(f);
    wall_stepped_ms -= 10 * DAY_MS;
    fixture_start(f);
    assert_true(f->report.alarm);
    pass_ms(f, 2000);
    assert_tried_again(f, MANY);
}

/* Set ahead, then right again: the first step is the guard's, what was deferred between is ours. */
static void set_back_to_what_is_right(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64);
    wall_stepped_ms += 10 * DAY_MS;
    spool_tick(f->spool);
    pass_ms(f, 2000);
    accept_some(f, 10);
    defer_all(f, 10);
    wall_stepped_ms -= 10 * DAY_MS;
    pass_ms(f, 2000);
    assert_tried_again(f, 10);
}

static void what_is_near_stays(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64);
    accept_some(f, 10);
    defer_all(f, 10);
    wall_stepped_ms += 10 * DAY_MS;
    pass_ms(f, 2000);
    defer_all(f, 10);
    for (unsigned i = 0; i < 100; i++)
        turn(f);
    assert_int_equal(usage_of(f).set_back, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(expired_without_a_pull),
        TEST(report_quotes_the_headers),
        TEST(lent_rows_stay),
        TEST(young_rows_stay_where_they_are),
        TEST(nothing_expires_by_a_wrong_clock),
        TEST(counted_again_after_a_crash),
        TEST(stopped_before_it_was_counted),
        TEST(set_back_while_it_runs),
        TEST(set_back_while_it_was_stopped),
        TEST(set_back_to_what_is_right),
        TEST(what_is_near_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
