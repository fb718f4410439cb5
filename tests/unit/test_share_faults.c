/* A disk that is full or dead at any moment, and commits that come late: nothing is acknowledged
 * that is not on disk, nothing is lost or delivered twice, and no illegal state is left. */
#include "tests/unit/manual_committer.h"
#include "tests/unit/manual_loader.h"

static void before_turn(void);
#define BEFORE_TURN() before_turn()
#include "queue/spool_private.h"
#include "tests/unit/spool_fixture.h"

static struct {
    unsigned seed;
    bool random; /* groups fail and wait at random */
} chance;

static unsigned next_random(unsigned below)
{
    chance.seed = chance.seed * 1103515245 + 12345;
    return (chance.seed >> 16) % below;
}

/* Time passes faster than it does: ticks and journal syncs are not waited for. */
static void before_turn(void)
{
    skipped_ms += 10;
    if (!chance.random) {
        committer_turn(UINT32_MAX);
        loader_finish_all();
        return;
    }
    if (next_random(3) == 0)
        loader_read_one();
    if (next_random(6) == 0)
        loader_finish_one();
    if (next_random(2))
        return;
    if (next_random(20) == 0)
        manual.error = manual.state = manual.error ? 0 : -ENOSPC;
    committer_turn(1 + next_random(5));
}

static int setup(void **state)
{
    manual.error = manual.state = 0;
    chance.random = false;
    return fixture_setup(state);
}

static void disk(int error)
{
    manual.error = manual.state = error;
}

/* ---- full ---- */

static void a_full_disk_refuses_mail(void **state)
{
    struct fixture *f = *state;
    struct message *message = begin_message(f, "a@sender.example", "b@one.example b@two.example");
    append_body(f, message, SPAN("Hello\r\n"));
    manual.error = -ENOSPC; /* the share does not know it yet */
    assert_int_equal(finish_message(f, message), -ENOSPC);
    manual.state = -ENOSPC;
    assert_int_equal(share_refusal(f->share), -ENOSPC);
    assert_null(message_new(f->share));
    disk(0);
    assert_store_empty(f);
    accept_message(f, "a@sender.example", "b@one.example b@two.example", "Hello\r\n");
    settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void verdicts_wait_for_room(void **state)
{
    struct fixture *f = *state;
    static const enum outcome outcomes[] = {OUTCOME_DELIVERED, OUTCOME_DEFERRED, OUTCOME_FAILED};
    for (unsigned i = 0; i < countof(outcomes); i++) {
        accept_message(f, "a@sender.example", i ? "b@one.example" : "b@one.example b@two.example",
                       "Hello\r\n");
        struct row *row = pull_row_of(f), *none;
        struct queue *queue = row->queue;
        disk(-ENOSPC);
        settle_row(f, row, outcomes[i]);
        for (unsigned turns = 0; turns < 200; turns++)
            turn(f);
        assert_int_equal(usage_of(f).unrecorded, 1);
        assert_int_equal(share_pull(f->share, queue, &none), PULL_CAPPED);
        disk(0);
        pass_ms(f, 1001);
        turn_until_recorded(f);
        fixture_restart(f);
        while (count_records(f, FAMILY_ROW) + count_records(f, FAMILY_FRESH)) {
            row = pull_within(f, 20);
            if (row)
                settle_row(f, row, OUTCOME_DELIVERED);
            else
                pass_ms(f, 400000);
        }
        assert_store_empty(f);
    }
}

static void a_withdrawal_waits_for_room(void **state)
{
    struct fixture *f = *state;
    struct message *message = begin_message(f, "a@sender.example", "b@one.example b@two.example");
    append_body(f, message, SPAN("Hello\r\n"));
    share_accept(f->share, message, &f->done);
    assert_true(share_withdraw(f->share, message, &f->done));
    turn(f);
    assert_records(f, FAMILY_ROW, 2);
    disk(-ENOSPC);
    turn(f);
    turn(f);
    disk(0);
    pass_ms(f, 1001);
    turn_until(f, count_records(f, FAMILY_ROW) == 0);
    assert_store_empty(f);
}

static void an_upload_meets_a_full_disk(void **state)
{
    struct fixture *f = *state;
    struct message *message = begin_message(f, "a@sender.example", "b@one.example");
    char *text = body_text(1, BODY_PART);
    append_body(f, message, span_of(text, BODY_PART));
    manual.error = -ENOSPC;
    assert_int_equal(message_append(message, SPAN("more"), &f->done), 0);
    turn(f);
    turn(f);
    assert_int_equal(message_append(message, SPAN("more"), &f->done), -ENOSPC);
    message_abandon(message);
    turn(f);
    disk(0);
    turn(f);
    fixture_restart(f);
    assert_store_empty(f);
    free(text);
}

/* The queue's record names the due time before which no row lies on disk. A checkpoint that the
 * full disk refuses must not make the share believe a lower one: the row that is put there later
 * would not be found after a restart. */
static void a_refused_checkpoint_lowers_nothing(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "", "b@one.example", "Hello\r\n");
    struct row *lent = pull_row_of(f); /* not on disk as a row, but due before all others */
    pass_ms(f, 100);
    accept_message(f, "", "b@one.example b@two.example", "Hello\r\n");
    disk(-ENOSPC);
    pass_ms(f, 31000);
    for (unsigned turns = 0; turns < 200; turns++)
        turn(f);
    disk(0);
    share_return(f->share, lent);
    pass_ms(f, 31000);
    turn_until(f, count_records(f, FAMILY_ROW) == 3);
    fixture_crash(f); /* it asserts that first_due is right */
    for (unsigned i = 0; i < 3; i++)
        settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

/* ---- dead ---- */

static void a_dead_disk_keeps_the_verdict_in_the_journal(void **state)
{
    struct fixture *f = *state;
    accept_message(f, "", "b@one.example", "Hello\r\n");
    accept_message(f, "", "b@one.example c@two.example", "Hello\r\n");
    for (unsigned i = 0; i < 3; i++) {
        struct row *row = pull_row_of(f);
        if (i == 0)
            disk(-EIO);
        settle_row(f, row, OUTCOME_DELIVERED);
        if (i == 0)
            manual.state = 0; /* the others are pulled before it is known */
    }
    manual.state = -EIO;
    assert_int_equal(share_refusal(f->share), -EIO);
    assert_int_equal(spool_state(f->spool), -EIO);
    for (unsigned turns = 0; turns < 200; turns++)
        turn(f);
    fixture_stop(f);
    assert_int_equal(f->close_result, -EIO);
    disk(0);
    fixture_start(f);
    assert_int_equal(count_records(f, FAMILY_FRESH) + count_records(f, FAMILY_ROW), 3);
    turn_until(f, pull_within(f, 1) == NULL && count_records(f, FAMILY_ROW) == 0 &&
                      count_records(f, FAMILY_FRESH) == 0);
    assert_int_equal(usage_of(f).settled_by_journal, 3);
    assert_store_empty(f);
}

/* ---- at random ---- */

enum { MESSAGES = 150, LENT_MAX = 12 };

struct delivery {
    uint64_t id;
    unsigned domain;
};

struct model {
    struct delivery wanted[MESSAGES * 3];
    unsigned wanted_count;
    struct row *lent[LENT_MAX];
    unsigned lent_count;
    unsigned accepted;
};

static void model_accept(struct fixture *f, struct model *model)
{
    struct message *message = message_new(f->share);
    if (!message)
        return; /* refused: the disk is full */
    unsigned domains = 1 + next_random(3), first = next_random(4);
    assert_true(arena_copy(&message->arena, SPAN(""), &message->envelope.reverse_path));
    for (unsigned i = 0; i < domains; i++) {
        char to[32];
        snprintf(to, sizeof to, "b@d%u.example", (first + i) % 4);
        struct recipient recipient = {.address = span_string(to)};
        assert_true(message_add_recipient(message, &recipient));
    }
    uint64_t id = message->envelope.id;
    append_body(f, message, SPAN("Hello\r\n"));
    int result = finish_message(f, message);
    model->accepted += result == 0;
    for (unsigned i = 0; result == 0 && i < domains; i++)
        model->wanted[model->wanted_count++] = (struct delivery){id, (first + i) % 4};
}

/* It was wanted, and was not delivered before. */
static void model_deliver(struct model *model, const struct row *row)
{
    unsigned domain = (unsigned)(row->queue->domain.data[1] - '0');
    for (unsigned i = 0; i < model->wanted_count; i++)
        if (model->wanted[i].id == row->envelope.id && model->wanted[i].domain == domain) {
            model->wanted[i] = model->wanted[--model->wanted_count];
            return;
        }
    fail_msg("delivered twice, or never accepted");
}

static void model_settle(struct fixture *f, struct model *model)
{
    unsigned which = next_random(model->lent_count);
    struct row *row = model->lent[which];
    model->lent[which] = model->lent[--model->lent_count];
    switch (next_random(4)) {
    case 0:
        share_return(f->share, row);
        break;
    case 1:
        settle_row(f, row, OUTCOME_DEFERRED);
        break;
    default:
        model_deliver(model, row);
        settle_row(f, row, OUTCOME_DELIVERED);
    }
}

static void model_step(struct fixture *f, struct model *model)
{
    unsigned choice = next_random(10);
    if (choice < 3 && model->accepted < MESSAGES) {
        model_accept(f, model);
    } else if (choice < 6 && model->lent_count < LENT_MAX) {
        struct row *row = pull_within(f, 1);
        if (row)
            model->lent[model->lent_count++] = row;
    } else if (choice < 9 && model->lent_count) {
        model_settle(f, model);
    } else if (choice == 9 && next_random(8) == 0) {
        pass_ms(f, 10000 + next_random(300000));
    }
    turn(f);
}

/* As a crash at this moment would leave it. */
static void assert_legal_now(const struct fixture *f)
{
    char folder[FOLDER_PATH];
    copy_as_crashed(f, folder);
    folder_remove(folder);
}

static void model_restart(struct fixture *f, struct model *model)
{
    while (model->lent_count)
        share_return(f->share, model->lent[--model->lent_count]);
    chance.random = false;
    disk(0);
    pass_ms(f, 1001);
    turn_until_recorded(f);
    if (next_random(2))
        fixture_restart(f);
    else
        fixture_crash(f);
    chance.random = true;
}

static void run_model(struct fixture *f, unsigned seed)
{
    struct model *model = calloc(1, sizeof *model);
    chance.seed = seed;
    chance.random = true;
    while (model->accepted < MESSAGES) {
        model_step(f, model);
        if (next_random(200) == 0)
            model_restart(f, model);
        if (next_random(60) == 0)
            assert_legal_now(f);
    }
    model_restart(f, model);
    chance.random = false;
    while (model->wanted_count) {
        struct row *row = pull_within(f, 20);
        if (row) {
            model_deliver(model, row);
            settle_row(f, row, OUTCOME_DELIVERED);
        } else {
            pass_ms(f, 400000);
        }
    }
    turn_until_recorded(f);
    assert_true(nothing_to_pull(f));
    assert_store_empty(f);
    free(model);
}

/* A verdict that finds no memory: the row waits again, and only one that delivered may do so twice.
 */
static void settling_without_memory(void **state)
{
    struct fixture *f = *state;
    static const struct {
        enum outcome outcome;
        unsigned may_duplicate;
    } cases[] = {{OUTCOME_DEFERRED, 0}, {OUTCOME_FAILED, 0}, {OUTCOME_DELIVERED, 1}};
    accept_message(f, "a@sender.example", "b@d.example", "Hello\r\n");
    unsigned expected = 0;
    for (unsigned i = 0; i < countof(cases); i++) {
        struct row *row = pull_row_of(f);
        f->share->own.limit = f->share->own.in_use;
        settle_row(f, row, cases[i].outcome);
        f->share->own.limit = SIZE_MAX;
        expected += cases[i].may_duplicate;
        assert_int_equal(usage_of(f).may_duplicate, expected);
        assert_int_equal(usage_of(f).rows, 1);
        fixture_restart(f);
        expected = 0;
    }
    settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void any_faults_at_any_time(void **state)
{
    struct fixture *f = *state;
    for (unsigned seed = 1; seed <= 8; seed++) {
        fixture_stop(f);
        f->options.limits.window_rows = seed % 2 ? 16 : 4096;
        f->options.limits.nursery_messages = seed % 3 ? 20 : 0;
        fixture_start(f);
        run_model(f, seed);
    }
}

int main(void)
{
#define with_share(test) cmocka_unit_test_setup_teardown(test, setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        with_share(a_full_disk_refuses_mail),
        with_share(verdicts_wait_for_room),
        with_share(a_withdrawal_waits_for_room),
        with_share(an_upload_meets_a_full_disk),
        with_share(a_refused_checkpoint_lowers_nothing),
        with_share(a_dead_disk_keeps_the_verdict_in_the_journal),
        with_share(settling_without_memory),
        with_share(any_faults_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
