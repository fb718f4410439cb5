/* Expiry and reports: what the sender hears, when, and that it comes through our own queue. */
#include "tests/unit/spool_fixture.h"

static char *body_of(const struct row *row)
{
    char *text = calloc(1, row->envelope.size + 1);
    size_t at = 0;
    for (unsigned i = 0; i < row->body_pieces; i++) {
        memcpy(text + at, row->body[i].data, row->body[i].len);
        at += row->body[i].len;
    }
    assert_int_equal(at, row->envelope.size);
    return text;
}

static void assert_holds(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("no \"%s\" in:\n%s", part, text);
}

/* The next row is a report to the sender that holds `part`; it is delivered. */
static void assert_report(struct fixture *f, const char *part)
{
    struct row *row = pull_row_of(f);
    assert_int_equal(row->envelope.reverse_path.len, 0);
    assert_true(row->envelope.flags & ENVELOPE_DSN);
    assert_int_equal(row->envelope.recipient_count, 1);
    assert_true(span_equals(row->envelope.recipients[0].address, SPAN("a@sender.example")));
    char *text = body_of(row);
    assert_holds(text, part);
    assert_holds(text, "multipart/report");
    free(text);
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
}

static void a_failure_is_reported(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "a@sender.example", "b@one.example", "Subject: Hello\r\n\r\nHello\r\n");
    settle_row(f, pull_row_of(f), OUTCOME_FAILED);
    turn_until_recorded(f);
    assert_int_equal(usage_of(f).dsn_made, 1);
    assert_records(f, FAMILY_FRESH, 1);
    fixture_crash(f);
    assert_report(f, "Subject: Hello");
    assert_store_empty(f);
}

static void a_report_is_never_answered(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    settle_row(f, pull_row_of(f), OUTCOME_FAILED);
    settle_row(f, pull_row_of(f), OUTCOME_FAILED);
    turn_until_recorded(f);
    assert_store_empty(f);
    accept_message(f, "", "b@one.example", "Hello\r\n");
    settle_row(f, pull_row_of(f), OUTCOME_FAILED);
    turn_until_recorded(f);
    assert_store_empty(f);
    assert_int_equal(usage_of(f).dsn_made, 1);
}

static void one_report_for_all_that_failed(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "a@sender.example", "a@one.example b@one.example c@one.example", "Hello\r\n");
    struct row *row = pull_row_of(f);
    struct verdict verdicts[] = {
        {.outcome = OUTCOME_FAILED, .reply = {.code = 550, .enhanced = {5, 1, 1}}},
        {.outcome = OUTCOME_DEFERRED, .reply = {.code = 450}},
        {.outcome = OUTCOME_FAILED, .reply = {.code = 550, .enhanced = {5, 7, 1}}},
    };
    struct attempt attempt = {.verdicts = verdicts, .counts = true, .started_ms = f->loop.wall_ms};
    share_settle(f->share, row, &attempt);
    turn_until_recorded(f);
    row = pull_row_of(f);
    char *text = body_of(row);
    assert_holds(text, "a@one.example");
    assert_holds(text, "c@one.example");
    assert_null(strstr(text, "b@one.example"));
    free(text);
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_records(f, FAMILY_ROW, 1);
    pass_ms(f, 301000);
    settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static enum bounce_mode as_events(const void *context, struct span tenant, struct span campaign)
{
    return BOUNCE_EVENT;
}

static void a_stream_may_want_events_only(void **state)
{
    struct fixture *f = *state;
    fixture_stop(f);
    f->options.bounce_mode = as_events;
    fixture_start(f);
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    settle_row(f, pull_row_of(f), OUTCOME_FAILED);
    turn_until_recorded(f);
    assert_store_empty(f);
    assert_int_equal(usage_of(f).bounced, 1);
    assert_int_equal(usage_of(f).dsn_made, 0);
}

static void a_delay_is_reported_once(void **state)
{
    struct fixture *f = *state;
    fixture_stop(f);
    f->options.delay_report_after_ms = 600000;
    fixture_start(f);
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    for (unsigned i = 0; i < 6; i++) {
        struct row *row = pull_row_of(f);
        if (row->envelope.flags & ENVELOPE_DSN) {
            char *text = body_of(row);
            assert_holds(text, "delayed");
            free(text);
            settle_row(f, row, OUTCOME_DELIVERED);
            turn_until_recorded(f);
            row = pull_row_of(f);
        }
        settle_row(f, row, OUTCOME_DEFERRED);
        turn_until_recorded(f);
        pass_ms(f, 1300000);
    }
    assert_int_equal(usage_of(f).dsn_made, 1);
}

static void success_is_reported_if_asked_for(void **state)
{
    struct fixture *f = *state;
    struct message *message = begin_message(f, "a@sender.example", "b@one.example");
    message->envelope.recipients[0].notify = NOTIFY_SUCCESS;
    append_body(f, message, SPAN("Hello\r\n"));
    assert_int_equal(finish_message(f, message), 0);
    settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_report(f, "relayed");
    assert_store_empty(f);
}

/* A damaged disk: rows without body are settled with an event and a report. */
static void a_lost_body_is_reported(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    settle_row(f, pull_row_of(f), OUTCOME_DEFERRED);
    turn_until_recorded(f);
    fixture_stop(f);
    char path[2 * FOLDER_PATH];
    snprintf(path, sizeof path, "%s/queue", f->folder);
    struct store_options options = {.path = path, .mode = STORE_READ_WRITE};
    struct store_report report;
    struct store *store;
    assert_int_equal(store_open(&options, &store, &report), 0);
    struct store_scan *scan =
        store_scan_new(store, FAMILY_BODY, (struct span){0}, (struct span){0});
    struct store_batch *batch = store_batch_new(store);
    struct span key, value;
    while (store_scan_next(scan, &key, &value) == 1)
        store_batch_delete(batch, FAMILY_BODY, key);
    store_scan_free(scan);
    assert_int_equal(store_commit(store, batch, true), 0);
    store_batch_free(batch);
    store_close(store);
    fixture_start(f);
    pass_ms(f, 301000);
    assert_report(f, "lost by a damaged disk");
    assert_store_empty(f);
    assert_int_equal(usage_of(f).bounced, 1);
}

/* ---- expiry ---- */

static void with_short_age(struct fixture *f)
{
    fixture_stop(f);
    f->options.max_age_ms = 400000;
    fixture_start(f);
}

static void it_expires_with_a_report(void **state)
{
    struct fixture *f = *state;
    with_short_age(f);
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    settle_row(f, pull_row_of(f), OUTCOME_DEFERRED);
    turn_until_recorded(f);
    pass_ms(f, 301000);
    settle_row(f, pull_row_of(f), OUTCOME_DEFERRED); /* the next attempt would be too late */
    turn_until_recorded(f);
    pass_ms(f, 90000);
    assert_true(nothing_to_pull(f));
    pass_ms(f, 10000);
    assert_report(f, "4.4.7");
    assert_store_empty(f);
    assert_int_equal(usage_of(f).expired, 1);
}

static void a_stepped_clock_expires_nothing(void **state)
{
    struct fixture *f = *state;
    with_short_age(f);
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    settle_row(f, pull_row_of(f), OUTCOME_DEFERRED);
    turn_until_recorded(f);
    wall_stepped_ms += UINT64_C(10) * 24 * 3600 * 1000;
    pass_ms(f, 61000);
    settle_row(f, pull_row_of(f), OUTCOME_DEFERRED); /* also before the guard has looked */
    turn_until_recorded(f);
    assert_int_equal(usage_of(f).expired, 0);
    spool_tick(f->spool);
    assert_true(spool_clock_alarm(f->spool).len > 0);
    pass_ms(f, 700000);
    settle_row(f, pull_row_of(f), OUTCOME_DEFERRED);
    turn_until_recorded(f);
    assert_int_equal(usage_of(f).expired, 0);
    /* Also over a restart, until somebody has looked at it. */
    fixture_restart(f);
    assert_true(f->report.alarm);
    pass_ms(f, 1300000);
    settle_row(f, pull_row_of(f), OUTCOME_DEFERRED);
    turn_until_recorded(f);
    assert_int_equal(usage_of(f).expired, 0);
    spool_confirm_clock(f->spool);
    spool_tick(f->spool);
    assert_int_equal(spool_clock_alarm(f->spool).len, 0);
    pass_ms(f, 1300000);
    assert_report(f, "4.4.7");
    assert_store_empty(f);
}

int main(void)
{
#define with_share(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        with_share(a_failure_is_reported),           with_share(a_report_is_never_answered),
        with_share(one_report_for_all_that_failed),  with_share(a_stream_may_want_events_only),
        with_share(a_delay_is_reported_once),        with_share(success_is_reported_if_asked_for),
        with_share(a_lost_body_is_reported),         with_share(it_expires_with_a_report),
        with_share(a_stepped_clock_expires_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
