/* What an administrator does to waiting mail, in memory and on disk only: the right rows, all of
 * them, none that is in delivery. */
#include "queue/admin.h"
#include "queue/event.h"
#include "queue/share_private.h"
#include "tests/unit/spool_fixture.h"

enum { MANY = 300 };

static void with_windows_of(struct fixture *f, unsigned rows, unsigned nursery)
{
    fixture_stop(f);
    f->options.limits.nursery_messages = nursery;
    f->options.limits.window_rows = rows;
    fixture_start(f);
}

static uint64_t accept_for(struct fixture *f, const char *tenant, const char *to)
{
    struct message *message = begin_message(f, "a@sender.example", to);
    uint64_t id = message->envelope.id;
    assert_true(arena_copy(&message->arena, span_string(tenant), &message->envelope.tenant));
    append_body(f, message, SPAN("Subject: administered\r\n\r\nHello\r\n"));
    assert_int_equal(finish_message(f, message), 0);
    return id;
}

static void fill(struct fixture *f)
{
    for (unsigned i = 0; i < MANY; i++) {
        accept_for(f, "red", "b@one.example");
        accept_for(f, "blue", "b@one.example");
        accept_for(f, "blue", "b@two.example c@two.example");
    }
}

/* Time goes on while a job works. */
static bool ended_after(const struct admin_job *job, unsigned ms)
{
    skipped_ms += ms;
    return atomic_load(&job->running) == 0;
}

struct counts {
    uint64_t matched, done, refused, busy;
};

static struct counts run(struct fixture *f, const struct admin_order *order)
{
    struct admin_job *job = admin_job_new(order);
    assert_int_equal(share_admin(f->share, job), 0);
    turn_until(f, ended_after(job, 1));
    struct counts counts = {job->matched, job->done, job->refused, job->busy};
    admin_job_put(job);
    turn_until_recorded(f);
    turn_until(f, f->share->settling == 0);
    return counts;
}

#define assert_counts(counts_, m, d, r, b)                                                         \
    do {                                                                                           \
        struct counts c_ = counts_;                                                                \
        assert_int_equal(c_.matched, m);                                                           \
        assert_int_equal(c_.done, d);                                                              \
        assert_int_equal(c_.refused, r);                                                           \
        assert_int_equal(c_.busy, b);                                                              \
    } while (0)

/* ---- counting ---- */

static void counted_wherever_they_are(void **state)
{
    struct fixture *f = *state;
    for (unsigned nursery = 0; nursery <= 1000; nursery += 500) {
        with_windows_of(f, 64, nursery);
        if (nursery == 0)
            fill(f);
        struct admin_order order = {.action = ADMIN_COUNT};
        assert_counts(run(f, &order), 3 * MANY, 0, 0, 0);
        order.filter.tenant = SPAN("blue");
        assert_counts(run(f, &order), 2 * MANY, 0, 0, 0);
        order.filter.domain = SPAN("ONE.example");
        assert_counts(run(f, &order), MANY, 0, 0, 0);
        order.filter.min_age_ms = 3600000;
        assert_counts(run(f, &order), 0, 0, 0, 0);
        assert_int_equal(usage_of(f).rows, 3 * MANY);
    }
}

/* ---- bouncing and deleting ---- */

static unsigned reports_waiting(struct fixture *f)
{
    struct admin_order order = {.action = ADMIN_COUNT, .filter.domain = SPAN("sender.example")};
    return (unsigned)run(f, &order).matched;
}

static void bounced_with_reports(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64, 0);
    fill(f);
    struct admin_order order = {.action = ADMIN_BOUNCE,
                                .filter.queue = SPAN("blue@two.example"),
                                .reason = SPAN("a wrong\nlist")};
    assert_counts(run(f, &order), MANY, MANY, 0, 0);
    assert_int_equal(usage_of(f).admin_bounced, 2 * MANY);
    assert_int_equal(usage_of(f).bounced, 0);
    assert_int_equal(reports_waiting(f), MANY);
    assert_int_equal(usage_of(f).rows, 3 * MANY);
}

static void report_says_why(void **state)
{
    struct fixture *f = *state;
    accept_for(f, "red", "b@one.example");
    struct admin_order order = {.action = ADMIN_BOUNCE, .reason = SPAN("a wrong list")};
    f->ready_count = 0;
    assert_counts(run(f, &order), 1, 1, 0, 0);
    struct row *row = pull_row_of(f);
    struct span text = row->body[0];
    for (unsigned i = 0; i < row->body_pieces; i++)
        if (row->body[i].len > text.len)
            text = row->body[i];
    assert_non_null(memmem(text.data, text.len, "by the administrator: a wrong list", 34));
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void deleted_without_reports(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64, 100);
    fill(f);
    struct admin_order order = {.action = ADMIN_DELETE};
    assert_counts(run(f, &order), 3 * MANY, 3 * MANY, 0, 0);
    assert_int_equal(usage_of(f).dsn_made, 0);
    assert_store_empty(f);
}

/* One that a lane has is left; it is delivered as if nothing had happened. */
static void lent_rows_are_left(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64, 0);
    fill(f);
    struct row *row = pull_row_of(f);
    struct admin_order order = {.action = ADMIN_DELETE};
    struct counts counts = run(f, &order);
    assert_int_equal(counts.done, 3 * MANY - 1);
    assert_int_equal(counts.busy, 1);
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void one_message(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64, 0);
    fill(f);
    uint64_t id = accept_for(f, "red", "b@one.example c@three.example");
    struct admin_order order = {.action = ADMIN_DELETE, .filter.id = id};
    assert_counts(run(f, &order), 2, 2, 0, 0);
    assert_int_equal(usage_of(f).rows, 3 * MANY);
    assert_records(f, FAMILY_BODY, 3 * MANY);
}

static void cancelled(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64, 0);
    fill(f);
    struct admin_order order = {.action = ADMIN_DELETE, .per_second = 100};
    struct admin_job *job = admin_job_new(&order);
    assert_int_equal(share_admin(f->share, job), 0);
    turn_until(f, atomic_load(&job->done) > 0);
    admin_job_cancel(job);
    turn_until(f, ended_after(job, 10));
    assert_true(job->done < MANY);
    uint64_t done = job->done;
    admin_job_put(job);
    turn_until(f, f->share->settling == 0);
    assert_int_equal(usage_of(f).rows, 3 * MANY - done);
}

static void at_its_pace(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64, 0);
    fill(f);
    struct admin_order order = {.action = ADMIN_DELETE, .per_second = 100};
    uint64_t before_ms = f->loop.wall_ms;
    assert_int_equal(run(f, &order).done, 3 * MANY);
    assert_true(f->loop.wall_ms - before_ms >= (3 * MANY - 100) * 1000 / 100);
}

/* The share ends while a job is at work. */
static void stopped_meanwhile(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64, 0);
    fill(f);
    struct admin_order order = {.action = ADMIN_BOUNCE, .per_second = 100};
    struct admin_job *job = admin_job_new(&order);
    assert_int_equal(share_admin(f->share, job), 0);
    turn_until(f, atomic_load(&job->done) > 0);
    fixture_restart(f);
    assert_int_equal(job->running, 0);
    admin_job_put(job);
    assert_int_equal(usage_of(f).rows, 3 * MANY);
}

/* ---- flushing ---- */

static void due_at_once(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64, 0);
    fill(f);
    for (unsigned i = 0; i < 3 * MANY; i++)
        settle_row(f, pull_row_of(f), OUTCOME_DEFERRED);
    turn_until_recorded(f);
    assert_true(nothing_to_pull(f));
    struct admin_order order = {.action = ADMIN_FLUSH, .filter.tenant = SPAN("red")};
    assert_counts(run(f, &order), MANY, MANY, 0, 0);
    for (unsigned i = 0; i < MANY; i++) {
        struct row *row = pull_row_of(f);
        assert_true(span_equals(row->envelope.tenant, SPAN("red")));
        assert_int_equal(row->state.attempts, 1);
        settle_row(f, row, OUTCOME_DELIVERED);
    }
    turn_until_recorded(f);
    assert_true(nothing_to_pull(f));
}

/* ---- moving ---- */

static void move_all(struct fixture *f, unsigned window, unsigned nursery)
{
    with_windows_of(f, window, nursery);
    fill(f);
    struct admin_order order = {.action = ADMIN_MOVE,
                                .filter.queue = SPAN("blue@one.example"),
                                .to_domain = SPAN("relay.example"),
                                .to_campaign = SPAN("late"),
                                .set_domain = true,
                                .set_campaign = true};
    assert_counts(run(f, &order), MANY, MANY, 0, 0);
    order = (struct admin_order){.filter.queue = SPAN("blue@one.example")};
    assert_counts(run(f, &order), 0, 0, 0, 0);
    order.filter.queue = SPAN("late:blue@relay.example");
    assert_counts(run(f, &order), MANY, 0, 0, 0);
}

static void moved_to_another_queue(void **state)
{
    struct fixture *f = *state;
    move_all(f, 64, 0);
    assert_int_equal(usage_of(f).rows, 3 * MANY);
    fixture_restart(f);
    unsigned moved = 0;
    for (unsigned i = 0; i < 3 * MANY; i++) {
        struct row *row = pull_row_of(f);
        moved += span_equals(row->queue->name, SPAN("late:blue@relay.example"));
        assert_int_equal(row->body_pieces, 1);
        settle_row(f, row, OUTCOME_DELIVERED);
    }
    assert_int_equal(moved, MANY);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void moved_out_of_the_nursery(void **state)
{
    struct fixture *f = *state;
    move_all(f, 4096, 1000);
    fixture_crash(f);
    for (unsigned i = 0; i < 3 * MANY; i++)
        settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void rows_of_one_message_keep_their_domains(void **state)
{
    struct fixture *f = *state;
    with_windows_of(f, 64, 0);
    accept_for(f, "red", "b@one.example c@two.example");
    struct admin_order order = {
        .action = ADMIN_MOVE, .to_domain = SPAN("relay.example"), .set_domain = true};
    assert_counts(run(f, &order), 2, 0, 2, 0);
    order =
        (struct admin_order){.action = ADMIN_MOVE, .to_tenant = SPAN("green"), .set_tenant = true};
    assert_counts(run(f, &order), 2, 2, 0, 0);
    assert_records(f, FAMILY_REF, 2);
    fixture_restart(f);
    for (unsigned i = 0; i < 2; i++) {
        struct row *row = pull_row_of(f);
        assert_true(span_equals(row->envelope.tenant, SPAN("green")));
        settle_row(f, row, OUTCOME_DELIVERED);
    }
    turn_until_recorded(f);
    assert_store_empty(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(counted_wherever_they_are),
        TEST(bounced_with_reports),
        TEST(report_says_why),
        TEST(deleted_without_reports),
        TEST(lent_rows_are_left),
        TEST(one_message),
        TEST(cancelled),
        TEST(at_its_pace),
        TEST(stopped_meanwhile),
        TEST(due_at_once),
        TEST(moved_to_another_queue),
        TEST(moved_out_of_the_nursery),
        TEST(rows_of_one_message_keep_their_domains),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
