/* Whatever makes mail wait in the share is told, by its name: each state is made, and asked for. */
#include "tests/unit/manual_committer.h"
#include "tests/unit/manual_loader.h"

static void before_turn(void);
#define BEFORE_TURN() before_turn()
#include "queue/spool_private.h"
#include "queue/why.h"
#include "tests/unit/spool_fixture.h"

static struct {
    bool commits, loads; /* are held back */
} held;

static void before_turn(void)
{
    skipped_ms += 1;
    if (!held.commits)
        committer_turn(UINT32_MAX);
    if (!held.loads)
        loader_finish_all();
}

static int setup(void **state)
{
    manual.error = manual.state = 0;
    held.commits = held.loads = false;
    return fixture_setup(state);
}

static int teardown(void **state)
{
    manual.error = manual.state = 0;
    held.commits = held.loads = false;
    return fixture_teardown(state);
}

static void restart_with(struct fixture *f, unsigned nursery, unsigned window)
{
    fixture_stop(f);
    f->options.limits.nursery_messages = nursery;
    f->options.limits.window_rows = window;
    fixture_start(f);
}

/* ---- asking ---- */

struct told {
    unsigned count, rows;
    struct why why[8];
};

static void on_why(void *context, const struct why *why)
{
    struct told *told = context;
    assert_true(told->count < countof(told->why));
    assert_true(why->text.len > 0);
    assert_non_null(reason_name(why->reason));
    told->why[told->count++] = *why;
}

static void on_row(void *context, const struct why_row *row)
{
    ((struct told *)context)->rows++;
}

static const struct why *find_why(const struct told *told, enum reason reason)
{
    for (unsigned i = 0; i < told->count; i++)
        if (told->why[i].reason == reason)
            return &told->why[i];
    return NULL;
}

static struct told ask_queue(struct fixture *f, const char *name)
{
    struct told told = {0};
    struct queue *queue = share_next_queue(f->share, span_string(name), NULL);
    assert_non_null(queue);
    share_why_queue(queue, on_why, &told);
    return told;
}

static struct told ask_message(struct fixture *f, uint64_t id)
{
    struct told told = {0};
    share_why_message(f->share, id, on_row, on_why, &told);
    return told;
}

#define assert_told(told_, reason)                                                                 \
    do {                                                                                           \
        struct told t_ = told_;                                                                    \
        if (!find_why(&t_, reason))                                                                \
            fail_msg("%s is not told", #reason);                                                   \
    } while (0)

/* ---- messages ---- */

static void accepting_and_recording(void **state)
{
    struct fixture *f = *state;
    struct message *message = begin_message(f, "a@sender.example", "b@d.example");
    uint64_t id = message->envelope.id;
    append_body(f, message, SPAN("Hello\r\n"));
    assert_true(text_append(&message->head, &message->arena, SPAN(HEAD)));
    held.commits = true;
    f->finished = false;
    share_accept(f->share, message, &f->done);
    turn(f);
    assert_told(ask_message(f, id), REASON_ACCEPTING);
    held.commits = false;
    turn_until(f, f->finished);
    struct row *row = pull_row_of(f);
    assert_told(ask_message(f, id), REASON_IN_DELIVERY);
    assert_told(ask_queue(f, "d.example"), REASON_IN_DELIVERY);
    held.commits = true;
    settle_row(f, row, OUTCOME_DELIVERED);
    assert_told(ask_message(f, id), REASON_RECORDING);
    held.commits = false;
    turn_until_recorded(f);
    assert_int_equal(ask_message(f, id).rows, 0);
    assert_told(ask_queue(f, "d.example"), REASON_EMPTY);
}

static void not_due(void **state)
{
    struct fixture *f = *state;
    uint64_t id = accept_message(f, "a@sender.example", "b@d.example", "Hello\r\n");
    settle_row(f, pull_row_of(f), OUTCOME_DEFERRED);
    turn_until_recorded(f);
    struct told told = ask_message(f, id);
    const struct why *why = find_why(&told, REASON_NOT_DUE);
    assert_non_null(why);
    assert_in_range(why->until_ms, f->loop.wall_ms + 299000, f->loop.wall_ms + 301000);
    assert_in_range(why->since_ms, f->loop.wall_ms - 10000, f->loop.wall_ms);
    assert_string_equal(why->option, "retry.intervals");
    assert_told(ask_queue(f, "d.example"), REASON_NOT_DUE);
}

/* ---- queues ---- */

static void accept_some(struct fixture *f, unsigned count, const char *to)
{
    for (unsigned i = 0; i < count; i++)
        accept_message(f, "a@sender.example", to, "Hello\r\n");
}

static void being_read(void **state)
{
    struct fixture *f = *state;
    restart_with(f, 0, 4096);
    accept_some(f, 10, "b@d.example");
    fixture_restart(f);
    held.loads = true;
    turn_until(f, f->ready_count == 1);
    struct row *row;
    assert_int_equal(share_pull(f->share, f->ready[0], &row), PULL_LOADING);
    forget_ready(f, 0);
    assert_told(ask_queue(f, "d.example"), REASON_LOADING_ROWS);
    loader_finish_all(); /* the rows; now the bodies */
    turn(f);
    turn_until(f, f->ready_count == 1);
    assert_int_equal(share_pull(f->share, f->ready[0], &row), PULL_LOADING);
    forget_ready(f, 0);
    assert_told(ask_queue(f, "d.example"), REASON_LOADING_BODY);
}

static void no_room_to_read_into(void **state)
{
    struct fixture *f = *state;
    restart_with(f, 0, 16);
    accept_some(f, 16, "b@d0.example");
    accept_some(f, 16, "b@d1.example");
    fixture_restart(f);
    struct row *lent[16];
    struct queue *other = NULL;
    for (unsigned i = 0; i < 16; i++)
        lent[i] = pull_row_of(f);
    struct span name = lent[0]->queue->name;
    const char *second = span_equals(name, SPAN("d0.example")) ? "d1.example" : "d0.example";
    other = share_next_queue(f->share, span_string(second), NULL);
    struct row *row;
    for (unsigned i = 0; i < f->ready_count; i++)
        if (f->ready[i] == other)
            forget_ready(f, i);
    assert_int_equal(share_pull(f->share, other, &row), PULL_LOADING);
    struct told told = ask_queue(f, second);
    const struct why *why = find_why(&told, REASON_NO_MEMORY);
    assert_non_null(why);
    assert_string_equal(why->option, "queue.window_rows");
    for (unsigned i = 0; i < 16; i++)
        settle_row(f, lent[i], OUTCOME_DELIVERED);
    turn_until_recorded(f);
}

static void one_verdict_for_all(void **state)
{
    struct fixture *f = *state;
    accept_some(f, 3, "b@d.example");
    turn_until(f, f->ready_count == 1);
    struct verdict verdict = {.outcome = OUTCOME_DEFERRED,
                              .reply = {.code = 451, .text = SPAN("no route"), .internal = true}};
    struct attempt attempt = {.verdicts = &verdict, .counts = true};
    share_settle_queue(f->share, f->ready[0], &attempt);
    forget_ready(f, 0);
    assert_told(ask_queue(f, "d.example"), REASON_SETTLING_QUEUE);
    turn_until(f, usage_of(f).deferred == 3);
    turn_until_recorded(f);
    turn(f);
    assert_told(ask_queue(f, "d.example"), REASON_NOT_DUE);
}

static void too_many_unrecorded(void **state)
{
    struct fixture *f = *state;
    fixture_stop(f);
    f->options.limits.unrecorded = 1;
    fixture_start(f);
    accept_some(f, 3, "b@d.example");
    struct row *first = pull_row_of(f);
    held.commits = true;
    settle_row(f, first, OUTCOME_DELIVERED);
    struct row *row;
    assert_int_equal(share_pull(f->share, f->ready[0], &row), PULL_CAPPED);
    forget_ready(f, 0);
    assert_told(ask_queue(f, "d.example"), REASON_UNRECORDED);
    held.commits = false;
    turn_until_recorded(f);
}

/* A row on disk only, behind others that are due before it. */
static void behind_the_window(void **state)
{
    struct fixture *f = *state;
    restart_with(f, 0, 16);
    accept_some(f, 40, "b@d.example");
    uint64_t id = accept_message(f, "a@sender.example", "b@d.example", "Hello\r\n");
    turn(f);
    struct told told = {0};
    struct queue *queue = share_next_queue(f->share, SPAN("d.example"), NULL);
    assert_int_equal(ask_message(f, id).rows, 0);
    assert_false(share_why_stored(f->share, queue, id, f->loop.wall_ms, 0, on_why, &told));
    assert_told(told, REASON_ON_DISK);
    told = (struct told){0};
    assert_false(share_why_stored(f->share, queue, id, f->loop.wall_ms + 1000, 2, on_why, &told));
    assert_told(told, REASON_NOT_DUE);
}

/* ---- the whole share ---- */

static void disks_and_clocks(void **state)
{
    struct fixture *f = *state;
    accept_some(f, 1, "b@d.example");
    manual.state = -ENOSPC;
    assert_told(ask_queue(f, "d.example"), REASON_DISK_FULL);
    manual.state = 0;
    atomic_store(&f->spool->disk, -ENOSPC);
    assert_told(ask_queue(f, "d.example"), REASON_DISK_RESERVE);
    atomic_store(&f->spool->disk, 0);
    wall_stepped_ms += 7200000;
    turn(f);
    assert_told(ask_queue(f, "d.example"), REASON_CLOCK);
    wall_stepped_ms -= 7200000;
    turn(f);
    f->share->draining = true;
    assert_told(ask_queue(f, "d.example"), REASON_STOPPING);
    f->share->draining = false;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(accepting_and_recording),
        TEST(not_due),
        TEST(being_read),
        TEST(no_room_to_read_into),
        TEST(one_verdict_for_all),
        TEST(too_many_unrecorded),
        TEST(behind_the_window),
        TEST(disks_and_clocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
