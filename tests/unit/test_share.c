/* The life of a message in the queue: accepted, tried, settled, in all outcomes, over restarts. */
#include "queue/journal.h"
#include "tests/unit/spool_fixture.h"

#include <errno.h>

static void one_recipient_is_delivered(void **state)
{
    struct fixture *f = *state;
    uint64_t id = accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    assert_records(f, FAMILY_FRESH, 1);
    struct row *row = pull_row_of(f);
    assert_int_equal(row->envelope.id, id);
    assert_int_equal(row->envelope.recipient_count, 1);
    assert_true(span_equals(row->envelope.recipients[0].address, SPAN("b@one.example")));
    assert_true(span_equals(row->envelope.reverse_path, SPAN("a@sender.example")));
    assert_true(span_equals(row->queue->name, SPAN("one.example")));
    assert_body(row, "Hello\r\n");
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
    assert_true(nothing_to_pull(f));
    assert_int_equal(usage_of(f).delivered, 1);
    assert_int_equal(usage_of(f).nursery_messages, 0);
    assert_int_equal(usage_of(f).nursery_bytes, 0);
}

static void a_deferred_one_moves_out_of_the_nursery(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    settle_row(f, pull_row_of(f), OUTCOME_DEFERRED);
    turn_until_recorded(f);
    assert_records(f, FAMILY_FRESH, 0);
    assert_records(f, FAMILY_BODY, 1);
    assert_records(f, FAMILY_ROW, 1);
    assert_records(f, FAMILY_QUEUE, 1);
    assert_true(nothing_to_pull(f));
    pass_ms(f, 299000);
    assert_true(nothing_to_pull(f));
    pass_ms(f, 1500);
    struct row *row = pull_row_of(f);
    assert_int_equal(row->state.attempts, 1);
    assert_true(span_equals(row->state.last_reply, SPAN("451 4.1.1 says the test")));
    assert_body(row, "Hello\r\n");
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void each_retry_waits_longer(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    static const uint64_t waits_ms[] = {300000, 600000, 1200000, 1200000};
    for (unsigned i = 0; i < countof(waits_ms); i++) {
        struct row *row = pull_row_of(f);
        assert_int_equal(row->state.attempts, i);
        settle_row(f, row, OUTCOME_DEFERRED);
        turn_until_recorded(f);
        pass_ms(f, waits_ms[i] - 2000);
        assert_true(nothing_to_pull(f));
        pass_ms(f, 2500);
    }
    settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void a_returned_row_comes_again(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    share_return(f->share, pull_row_of(f));
    struct row *row = pull_row_of(f);
    assert_int_equal(row->state.attempts, 0);
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void due_rows_are_counted_where_they_wait(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 3; i++)
        accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    struct row *first = pull_row_of(f);
    struct queue *queue = first->queue;
    assert_int_equal(share_due_rows(queue, 10), 2); /* lent: not waiting */
    assert_int_equal(share_due_rows(queue, 1), 1);
    assert_int_equal(share_due_rows(queue, 0), 0);
    share_return(f->share, first);
    assert_int_equal(share_due_rows(queue, 10), 3);
    settle_row(f, pull_row_of(f), OUTCOME_DEFERRED); /* in memory, due in five minutes */
    turn_until_recorded(f);
    assert_int_equal(share_due_rows(queue, 10), 2);
    pass_ms(f, fixture_intervals_ms[0] * 2); /* the others leave the nursery meanwhile */
    turn_until(f, share_due_rows(queue, 10) == 3);
}

/* Rows are given back in another order than they were taken in, among ones that are waiting. */
static void the_oldest_comes_first_whatever_came_back(void **state)
{
    enum { MESSAGES = 7, TAKEN = 5 };
    static const unsigned back[TAKEN] = {2, 0, 4, 1, 3};
    struct fixture *f = *state;
    struct row *taken[TAKEN];
    uint64_t ids[TAKEN], before_ms = 0;
    for (unsigned i = 0; i < MESSAGES; i++) {
        accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
        pass_ms(f, 10);
    }
    for (unsigned i = 0; i < TAKEN; i++) {
        taken[i] = pull_row_of(f);
        ids[i] = taken[i]->envelope.id;
    }
    for (unsigned i = 0; i < TAKEN; i++)
        share_return(f->share, taken[back[i]]);
    for (unsigned i = 0; i < MESSAGES; i++) {
        struct row *row = pull_row_of(f);
        assert_true(row->due_ms > before_ms);
        before_ms = row->due_ms;
        if (i < TAKEN)
            assert_int_equal(row->envelope.id, ids[i]);
        settle_row(f, row, OUTCOME_DELIVERED);
    }
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void recipients_of_one_domain_share_a_row(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "a@sender.example",
                   "c@one.example b@two.example a@one.example c@one.example b@one.example",
                   "Hello\r\n");
    assert_records(f, FAMILY_FRESH, 0);
    assert_records(f, FAMILY_BODY, 1);
    assert_records(f, FAMILY_ROW, 2);
    assert_records(f, FAMILY_REF, 2);
    unsigned seen = 0;
    for (unsigned i = 0; i < 2; i++) {
        struct row *row = pull_row_of(f);
        bool one = span_equals(row->queue->name, SPAN("one.example"));
        assert_int_equal(row->envelope.recipient_count, one ? 3 : 1);
        seen += row->envelope.recipient_count;
        assert_body(row, "Hello\r\n");
        settle_row(f, row, OUTCOME_DELIVERED);
    }
    assert_int_equal(seen, 4);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void the_last_row_takes_the_body(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "a@sender.example", "b@one.example b@two.example b@three.example",
                   "Hello\r\n");
    settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    settle_row(f, pull_row_of(f), OUTCOME_DEFERRED);
    settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_records(f, FAMILY_BODY, 1);
    assert_records(f, FAMILY_ROW, 1);
    assert_records(f, FAMILY_REF, 1);
    fixture_crash(f);
    pass_ms(f, 400000);
    struct row *row = pull_row_of(f);
    assert_body(row, "Hello\r\n");
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void part_of_a_row_stays(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "a@sender.example", "a@one.example b@one.example c@one.example d@one.example",
                   "Hello\r\n");
    struct row *row = pull_row_of(f);
    assert_int_equal(row->envelope.recipient_count, 4);
    struct verdict verdicts[] = {
        {.outcome = OUTCOME_DELIVERED, .reply = {.code = 250}},
        {.outcome = OUTCOME_DEFERRED, .reply = {.code = 452, .text = SPAN("later")}},
        {.outcome = OUTCOME_UNTRIED},
        {.outcome = OUTCOME_DELIVERED, .reply = {.code = 250}},
    };
    struct attempt attempt = {.verdicts = verdicts, .counts = true, .started_ms = f->loop.wall_ms};
    share_settle(f->share, row, &attempt);
    turn_until_recorded(f);
    assert_true(nothing_to_pull(f));
    fixture_restart(f);
    pass_ms(f, 301000);
    row = pull_row_of(f);
    assert_int_equal(row->envelope.recipient_count, 2);
    assert_true(span_equals(row->envelope.recipients[0].address, SPAN("b@one.example")));
    assert_true(span_equals(row->envelope.recipients[1].address, SPAN("c@one.example")));
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void untried_recipients_are_due_at_once(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "a@sender.example", "a@one.example b@one.example", "Hello\r\n");
    struct row *row = pull_row_of(f);
    struct verdict verdicts[] = {
        {.outcome = OUTCOME_DELIVERED, .reply = {.code = 250}},
        {.outcome = OUTCOME_UNTRIED},
    };
    struct attempt attempt = {.verdicts = verdicts, .counts = true, .started_ms = f->loop.wall_ms};
    share_settle(f->share, row, &attempt);
    row = pull_row_of(f);
    assert_int_equal(row->envelope.recipient_count, 1);
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

/* ---- nursery ---- */

static void old_ones_leave_the_nursery(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    accept_message(f, "a@sender.example", "b@two.example", "Hello you\r\n");
    struct row *lent = pull_row_of(f);
    pass_ms(f, 31000);
    turn_until(f, count_records(f, FAMILY_FRESH) == 1);
    turn_until(f, usage_of(f).nursery_messages == 1);
    assert_records(f, FAMILY_ROW, 1);
    settle_row(f, lent, OUTCOME_DELIVERED);
    struct row *row = pull_row_of(f);
    assert_int_equal(row->state.attempts, 0);
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void a_full_nursery_is_passed_by(void **state)
{
    struct fixture *f = *state;
    fixture_stop(f);
    f->options.limits.nursery_messages = 2;
    fixture_start(f);
    for (unsigned i = 0; i < 5; i++)
        accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    assert_records(f, FAMILY_FRESH, 2);
    assert_records(f, FAMILY_ROW, 3);
    for (unsigned i = 0; i < 5; i++)
        settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void a_closed_lane_is_passed_by(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    struct row *row = pull_row_of(f);
    row->queue->held_until_ms = f->loop.wall_ms + 60000;
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    assert_records(f, FAMILY_FRESH, 1);
    assert_records(f, FAMILY_ROW, 1);
    settle_row(f, row, OUTCOME_DELIVERED);
    settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

/* ---- restarts ---- */

static void fresh_ones_survive(void **state)
{
    struct fixture *f = *state;
    for (unsigned round = 0; round < 2; round++) {
        uint64_t id = accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
        if (round)
            fixture_restart(f);
        else
            fixture_crash(f);
        assert_int_equal(f->report.fresh, 1);
        struct row *row = pull_row_of(f);
        assert_int_equal(row->envelope.id, id);
        assert_body(row, "Hello\r\n");
        settle_row(f, row, OUTCOME_DELIVERED);
        turn_until_recorded(f);
        assert_store_empty(f);
    }
}

static void fresh_ones_over_the_bound_become_rows(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 10; i++)
        accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    fixture_stop(f);
    f->options.limits.nursery_messages = 3;
    fixture_start(f);
    assert_records(f, FAMILY_FRESH, 3);
    assert_records(f, FAMILY_ROW, 7);
    assert_int_equal(usage_of(f).rows, 10);
    for (unsigned i = 0; i < 10; i++) {
        struct row *row = pull_row_of(f);
        assert_body(row, "Hello\r\n");
        settle_row(f, row, OUTCOME_DELIVERED);
    }
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void the_journal_settles_what_the_crash_left(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    accept_message(f, "a@sender.example", "a@two.example b@two.example b@three.example",
                   "Hello\r\n");
    fixture_restart(f);
    /* The verdicts reach the journal, the batches are lost: the store is that of before. */
    char before[FOLDER_PATH];
    folder_make(before);
    folder_copy_below(f->folder, before, "queue");
    for (unsigned i = 0; i < 3; i++) {
        struct row *row = pull_row_of(f);
        if (span_equals(row->queue->name, SPAN("three.example")))
            share_return(f->share, row);
        else
            settle_row(f, row, OUTCOME_DELIVERED);
        if (span_equals(row->queue->name, SPAN("three.example")))
            i = 2; /* it would come again and again */
    }
    settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    unsigned delivered = (unsigned)usage_of(f).delivered;
    folder_copy_below(f->folder, before, "journal");
    fixture_stop(f);
    folder_remove(f->folder);
    strcpy(f->folder, before);
    fixture_start(f);
    while (usage_of(f).settled_by_journal < delivered) {
        struct row *row = pull_within(f, 1);
        if (row)
            settle_row(f, row, OUTCOME_DELIVERED);
    }
    turn_until_recorded(f);
    while (usage_of(f).rows)
        settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_int_equal(usage_of(f).settled_by_journal, delivered);
    assert_int_equal(usage_of(f).delivered, 4);
    assert_store_empty(f);
}

/* ---- receptions that a crash took from the journal ---- */

struct reception_count {
    const char *recipient;
    unsigned count;
};

static void count_reception(void *context, const struct journal_line *line)
{
    struct reception_count *wanted = context;
    char quoted[100], text[4096];
    snprintf(quoted, sizeof quoted, "\"%s\"", wanted->recipient);
    snprintf(text, sizeof text, "%.*s", SPAN_FORMAT(line->text));
    wanted->count += strstr(text, "\"type\":\"Reception\"") && strstr(text, quoted);
}

static unsigned receptions_of(const struct fixture *f, const char *recipient)
{
    char directory[2 * FOLDER_PATH];
    struct journal_tail tail;
    struct reception_count wanted = {.recipient = recipient};
    snprintf(directory, sizeof directory, "%s/journal", f->folder);
    assert_int_equal(journal_recover(directory, UINT64_MAX, count_reception, &wanted, &tail), 0);
    assert_int_equal(tail.gaps + tail.damaged, 0);
    return wanted.count;
}

/* The next run begins with the store as it is and the journal of `journal_of`. */
static void crash_with_journal(struct fixture *f, const char *journal_of)
{
    char folder[FOLDER_PATH];
    copy_as_crashed(f, folder);
    char journal[2 * FOLDER_PATH];
    snprintf(journal, sizeof journal, "%s/journal", folder);
    folder_remove(journal);
    folder_copy_below(journal_of, folder, "journal");
    fixture_stop(f);
    folder_remove(f->folder);
    strcpy(f->folder, folder);
    fixture_start(f);
}

static const char *const received[] = {
    "known@one.example", "fresh@one.example", "a@two.example",
    "b@two.example",     "c@three.example",   "row@one.example",
};

static void assert_received_once(const struct fixture *f)
{
    for (unsigned i = 0; i < countof(received); i++) {
        unsigned count = receptions_of(f, received[i]);
        if (count != 1)
            fail_msg("%s has %u receptions", received[i], count);
    }
}

static void a_crash_takes_no_reception(void **state)
{
    struct fixture *f = *state;
    char early[FOLDER_PATH];
    f->options.limits.nursery_messages = 2;
    fixture_restart(f);
    accept_message(f, "a@sender.example", "known@one.example", "Hello\r\n");
    fixture_restart(f); /* its line is on disk, the record is still fresh */
    folder_make(early);
    folder_copy_below(f->folder, early, "journal");
    accept_message(f, "a@sender.example", "fresh@one.example", "Hello\r\n");
    accept_message(f, "a@sender.example", "a@two.example b@two.example c@three.example",
                   "Hello\r\n");
    accept_message(f, "a@sender.example", "row@one.example", "Hello\r\n");
    crash_with_journal(f, early);
    crash_with_journal(f, early); /* before anything of that run became durable */
    fixture_restart(f);
    assert_received_once(f);
    fixture_crash(f);
    fixture_restart(f);
    assert_received_once(f);
    for (unsigned i = 0; i < 5; i++)
        settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
    folder_remove(early);
}

/* What was known long ago is not said again, also when its line is beyond the journal's tail. */
static void old_receptions_are_not_repeated(void **state)
{
    struct fixture *f = *state;
    f->options.limits.nursery_messages = 0;
    fixture_restart(f);
    accept_message(f, "a@sender.example", "known@one.example", "Hello\r\n");
    fixture_restart(f);
    char journal[2 * FOLDER_PATH];
    snprintf(journal, sizeof journal, "%s/journal/w0-0000000000000001.log", f->folder);
    assert_int_equal(unlink(journal), 0);
    pass_ms(f, 3000);
    accept_message(f, "a@sender.example", "fresh@one.example", "Hello\r\n");
    fixture_restart(f);
    fixture_crash(f);
    fixture_restart(f);
    assert_int_equal(receptions_of(f, "known@one.example"), 0);
    assert_int_equal(receptions_of(f, "fresh@one.example"), 1);
}

/* The policy "block": no mail is accepted until the journal can be written again. */
static void a_journal_that_cannot_follow_stops_accepting(void **state)
{
    struct fixture *f = *state;
    char journal[2 * FOLDER_PATH], away[2 * FOLDER_PATH];
    f->options.journal_blocks = true;
    fixture_restart(f);
    snprintf(journal, sizeof journal, "%s/journal", f->folder);
    snprintf(away, sizeof away, "%s/away", f->folder);
    assert_int_equal(rename(journal, away), 0);
    accept_message(f, "a@sender.example", "known@one.example", "Hello\r\n");
    turn_until(f, share_refusal(f->share) == -ENOSPC);
    assert_null(message_new(f->share));
    assert_true(usage_of(f).journal_behind);
    assert_int_equal(rename(away, journal), 0);
    turn_until(f, share_refusal(f->share) == 0);
    accept_message(f, "a@sender.example", "fresh@one.example", "Hello\r\n");
    fixture_restart(f);
    assert_int_equal(receptions_of(f, "fresh@one.example"), 1);
    assert_int_equal(receptions_of(f, "known@one.example"), 0); /* lost, and declared: no gap */
}

static void ids_rise_over_restarts_and_clocks(void **state)
{
    struct fixture *f = *state;
    uint64_t last = 0;
    for (unsigned i = 0; i < 4; i++) {
        uint64_t id = accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
        assert_true(id_wall_ms(id) > id_wall_ms(last) || last == 0);
        last = id;
        wall_stepped_ms -= UINT64_C(3) * 24 * 3600 * 1000;
        fixture_restart(f);
    }
    assert_int_equal(usage_of(f).rows, 4);
}

/* Three days from now by the clock that was set back; some in the nursery, some behind it. */
static void what_arrived_is_due_by_any_clock(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    wall_stepped_ms -= UINT64_C(3) * 24 * 3600 * 1000;
    pass_ms(f, 31000);
    turn_until(f, count_records(f, FAMILY_ROW) == 1);
    wall_stepped_ms += UINT64_C(3) * 24 * 3600 * 1000;
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    wall_stepped_ms -= UINT64_C(3) * 24 * 3600 * 1000;
    for (unsigned i = 0; i < 2; i++)
        settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

/* ---- withdrawing ---- */

static void a_withdrawn_one_is_gone(void **state)
{
    struct fixture *f = *state;
    static const char *const recipients[] = {"b@one.example", "b@one.example b@two.example"};
    for (unsigned i = 0; i < countof(recipients); i++) {
        struct message *message = begin_message(f, "a@sender.example", recipients[i]);
        append_body(f, message, SPAN("Hello\r\n"));
        f->finished = false;
        share_accept(f->share, message, &f->done);
        assert_true(share_withdraw(f->share, message, &f->done));
        turn_until(f, usage_of(f).rows_in_memory == 0);
        assert_false(f->finished);
        assert_store_empty(f);
        assert_true(nothing_to_pull(f));
    }
    assert_int_equal(usage_of(f).withdrawn, 2);
    assert_int_equal(usage_of(f).accepted, 0);
}

static void withdrawing_may_come_too_late(void **state)
{
    struct fixture *f = *state;
    struct message *message = begin_message(f, "a@sender.example", "b@one.example");
    append_body(f, message, SPAN("Hello\r\n"));
    f->finished = false;
    share_accept(f->share, message, &f->done);
    turn_until(f, f->done.state == OP_READY || f->finished);
    if (!f->finished)
        assert_false(share_withdraw(f->share, message, &f->done));
    turn_until(f, f->finished);
    assert_int_equal(usage_of(f).accepted, 1);
    settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void abandoning_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct message *message = begin_message(f, "a@sender.example", "b@one.example");
    append_body(f, message, SPAN("Hello\r\n"));
    message_abandon(message);
    message_abandon(message_new(f->share));
    turn(f);
    assert_store_empty(f);
}

/* ---- limits ---- */

static void unrecorded_verdicts_are_capped(void **state)
{
    struct fixture *f = *state;
    fixture_stop(f);
    f->options.limits.unrecorded = 4;
    fixture_start(f);
    for (unsigned i = 0; i < 20; i++)
        accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    assert_int_equal(f->ready_count, 1);
    struct row *row;
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(share_pull(f->share, f->ready[0], &row), PULL_ROW);
        settle_row(f, row, OUTCOME_DELIVERED);
    }
    assert_int_equal(share_pull(f->share, f->ready[0], &row), PULL_CAPPED);
    forget_ready(f, 0);
    for (unsigned i = 0; i < 16; i++)
        settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void memory_has_a_limit(void **state)
{
    struct fixture *f = *state;
    fixture_stop(f);
    f->options.limits.inbound_memory = 100000;
    fixture_start(f);
    struct message *message = begin_message(f, "a@sender.example", "b@one.example");
    char *text = body_text(1, 200000);
    int result = 0;
    for (unsigned i = 0; i < 20 && result == 0; i++)
        result = message_append(message, span_of(text + i * 10000, 10000), &f->done);
    assert_int_equal(result, -ENOMEM);
    message_abandon(message);
    assert_int_equal(share_refusal(f->share), 0);
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    free(text);
}

static void a_verdict_for_the_whole_queue(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 200; i++)
        accept_message(f, "", "b@one.example", "Hello\r\n");
    accept_message(f, "", "b@two.example", "Hello\r\n");
    struct row *row = pull_row_of(f);
    if (!span_equals(row->queue->name, SPAN("one.example")))
        fail();
    struct queue *queue = row->queue;
    share_return(f->share, row);
    struct verdict verdict = {.outcome = OUTCOME_FAILED,
                              .reply = {.code = 556, .enhanced = {5, 1, 10}, .internal = true}};
    struct attempt attempt = {.verdicts = &verdict};
    share_settle_queue(f->share, queue, &attempt);
    assert_int_equal(share_pull(f->share, queue, &row), PULL_LOADING);
    turn_until(f, usage_of(f).rows == 1);
    turn_until_recorded(f);
    assert_int_equal(usage_of(f).bounced, 200);
    assert_records(f, FAMILY_FRESH, 1);
}

static void a_temporary_verdict_for_the_whole_queue(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < 20; i++)
        accept_message(f, "", "b@one.example", "Hello\r\n");
    struct queue *queue = f->ready[0];
    struct verdict verdict = {.outcome = OUTCOME_DEFERRED, .reply = {.code = 451}};
    struct attempt attempt = {.verdicts = &verdict, .retry_at_ms = f->loop.wall_ms + 60000};
    share_settle_queue(f->share, queue, &attempt);
    forget_ready(f, 0);
    turn_until(f, count_records(f, FAMILY_ROW) == 20);
    turn_until_recorded(f);
    assert_true(nothing_to_pull(f));
    pass_ms(f, 60000);
    for (unsigned i = 0; i < 20; i++) {
        struct row *row = pull_row_of(f);
        assert_int_equal(row->state.attempts, 0);
        settle_row(f, row, OUTCOME_DELIVERED);
    }
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void empty_queues_are_forgotten(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    settle_row(f, pull_row_of(f), OUTCOME_DEFERRED);
    turn_until_recorded(f);
    pass_ms(f, 301000);
    settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_true(nothing_to_pull(f));
    assert_int_equal(usage_of(f).queues, 1);
    assert_records(f, FAMILY_QUEUE, 1);
    pass_ms(f, 601000);
    pass_ms(f, 2000); /* the record was being written */
    turn_until(f, usage_of(f).queues == 0);
    turn_until(f, count_records(f, FAMILY_QUEUE) == 0);
}

int main(void)
{
#define with_share(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        with_share(one_recipient_is_delivered),
        with_share(a_deferred_one_moves_out_of_the_nursery),
        with_share(each_retry_waits_longer),
        with_share(a_returned_row_comes_again),
        with_share(due_rows_are_counted_where_they_wait),
        with_share(the_oldest_comes_first_whatever_came_back),
        with_share(recipients_of_one_domain_share_a_row),
        with_share(the_last_row_takes_the_body),
        with_share(part_of_a_row_stays),
        with_share(untried_recipients_are_due_at_once),
        with_share(old_ones_leave_the_nursery),
        with_share(a_full_nursery_is_passed_by),
        with_share(a_closed_lane_is_passed_by),
        with_share(fresh_ones_survive),
        with_share(fresh_ones_over_the_bound_become_rows),
        with_share(the_journal_settles_what_the_crash_left),
        with_share(a_crash_takes_no_reception),
        with_share(a_journal_that_cannot_follow_stops_accepting),
        with_share(old_receptions_are_not_repeated),
        with_share(ids_rise_over_restarts_and_clocks),
        with_share(what_arrived_is_due_by_any_clock),
        with_share(a_withdrawn_one_is_gone),
        with_share(withdrawing_may_come_too_late),
        with_share(abandoning_leaves_nothing),
        with_share(unrecorded_verdicts_are_capped),
        with_share(memory_has_a_limit),
        with_share(a_verdict_for_the_whole_queue),
        with_share(a_temporary_verdict_for_the_whole_queue),
        with_share(empty_queues_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
