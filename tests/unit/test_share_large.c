/* Large bodies: written in parts while they arrive, whole or not at all in the end. */
#include "tests/unit/spool_fixture.h"

static void any_length_comes_back_identical(void **state)
{
    struct fixture *f = *state;
    static const size_t lengths[] = {0,
                                     1,
                                     BODY_PART - 1,
                                     BODY_PART,
                                     BODY_PART + 1,
                                     2 * BODY_PART,
                                     2 * BODY_PART + 1,
                                     3 * BODY_PART - 30,
                                     5 * BODY_PART + 12345};
    for (unsigned i = 0; i < countof(lengths); i++) {
        char *text = body_text(i, lengths[i]);
        accept_message(f, "a@sender.example", "b@one.example", text);
        if (i % 2)
            fixture_crash(f);
        struct row *row = pull_row_of(f);
        assert_body(row, text);
        settle_row(f, row, OUTCOME_DEFERRED);
        turn_until_recorded(f);
        pass_ms(f, 301000);
        row = pull_row_of(f);
        assert_body(row, text);
        settle_row(f, row, OUTCOME_DELIVERED);
        turn_until_recorded(f);
        assert_store_empty(f);
        free(text);
    }
}

static void several_rows_share_a_large_body(void **state)
{
    struct fixture *f = *state;
    char *text = body_text(1, 3 * BODY_PART);
    accept_message(f, "a@sender.example", "b@one.example b@two.example", text);
    fixture_restart(f);
    for (unsigned i = 0; i < 2; i++) {
        struct row *row = pull_row_of(f);
        assert_body(row, text);
        settle_row(f, row, OUTCOME_DELIVERED);
        turn_until_recorded(f);
        assert_int_equal(count_records(f, FAMILY_BODY) > 0, i == 0);
    }
    assert_store_empty(f);
    free(text);
}

static struct message *begin_large(struct fixture *f, size_t len)
{
    struct message *message = begin_message(f, "a@sender.example", "b@one.example");
    char *text = body_text(1, len);
    append_body(f, message, span_of(text, len));
    free(text);
    return message;
}

static void an_abandoned_upload_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct message *message = begin_large(f, 3 * BODY_PART);
    turn_until(f, count_records(f, FAMILY_BODY) > 0);
    message_abandon(message);
    turn_until(f, count_records(f, FAMILY_BODY) == 0);
    /* Also with parts still on their way. */
    message = begin_large(f, 3 * BODY_PART);
    message_abandon(message);
    fixture_restart(f);
    assert_store_empty(f);
    assert_int_equal(f->report.queues, 0);
}

static void a_crash_during_an_upload_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct message *message = begin_large(f, 4 * BODY_PART);
    turn_until(f, count_records(f, FAMILY_BODY) >= 2);
    char folder[FOLDER_PATH];
    folder_make(folder);
    folder_copy_below(f->folder, folder, "queue");
    folder_copy_below(f->folder, folder, "journal");
    message_abandon(message);
    fixture_stop(f);
    folder_remove(f->folder);
    strcpy(f->folder, folder);
    fixture_start(f);
    assert_store_empty(f);
}

static void a_withdrawn_upload_is_gone(void **state)
{
    struct fixture *f = *state;
    struct message *message = begin_large(f, 3 * BODY_PART + 1);
    assert_true(text_append(&message->head, &message->arena, SPAN(HEAD)));
    f->finished = false;
    share_accept(f->share, message, &f->done);
    assert_true(share_withdraw(f->share, message, &f->done));
    fixture_restart(f);
    assert_false(usage_of(f).rows);
    assert_store_empty(f);
}

/* The sender is held back while the disk works, and the memory of one message stays small. */
static void a_slow_disk_holds_back_the_sender(void **state)
{
    struct fixture *f = *state;
    struct message *message = begin_message(f, "a@sender.example", "b@one.example");
    char *text = body_text(1, BODY_PART);
    unsigned taken = 0;
    f->finished = false;
    while (message_append(message, span_of(text, BODY_PART), &f->done) == 0)
        taken++; /* without a turn: nothing can be written meanwhile */
    assert_true(taken >= 2 && taken <= 3);
    turn_until(f, f->finished);
    append_body(f, message, span_of(text, BODY_PART));
    assert_int_equal(message->body_len, (taken + (size_t)1) * BODY_PART);
    assert_int_equal(finish_message(f, message), 0);
    struct row *row = pull_row_of(f);
    assert_int_equal(row->envelope.size, strlen(HEAD) + (taken + (size_t)1) * BODY_PART);
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
    free(text);
}

int main(void)
{
#define with_share(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        with_share(any_length_comes_back_identical),
        with_share(several_rows_share_a_large_body),
        with_share(an_abandoned_upload_leaves_nothing),
        with_share(a_crash_during_an_upload_leaves_nothing),
        with_share(a_withdrawn_upload_is_gone),
        with_share(a_slow_disk_holds_back_the_sender),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
