/* Many rows and little memory: windows, evictions, loads and restarts lose nothing and bring
 * nothing twice. */
#include "tests/unit/spool_fixture.h"

/* ---- many messages at once ---- */

struct batch_op {
    struct op op;
    unsigned *left;
};

static void on_accepted(struct op *op)
{
    assert_int_equal(op->result, 0);
    --*container_of(op, struct batch_op, op)->left;
}

enum { BATCH = 500 };

/* `domains` different ones, in turn; ret_ids holds `count`. */
static void accept_many(struct fixture *f, unsigned count, unsigned domains, uint64_t *ret_ids)
{
    static struct batch_op ops[BATCH];
    for (unsigned at = 0; at < count;) {
        unsigned left = 0;
        for (unsigned i = 0; i < BATCH && at < count; i++, at++) {
            char to[64];
            snprintf(to, sizeof to, "b@d%u.example", at % domains);
            struct message *message = begin_message(f, "a@sender.example", to);
            append_body(f, message, SPAN("Hello\r\n"));
            assert_true(text_append(&message->head, &message->arena, SPAN(HEAD)));
            ret_ids[at] = message->envelope.id;
            op_init(&ops[i].op, on_accepted);
            ops[i].left = &left;
            left++;
            share_accept(f->share, message, &ops[i].op);
        }
        turn_until(f, left == 0);
    }
}

static int compare_ids(const void *a, const void *b)
{
    const uint64_t *one = a, *other = b;
    return *one < *other ? -1 : *one > *other;
}

struct ids {
    uint64_t *ids;
    bool *seen;
    unsigned count;
};

static struct ids ids_made(unsigned count)
{
    return (struct ids){calloc(count, sizeof(uint64_t)), calloc(count, sizeof(bool)), count};
}

static void ids_free(struct ids *ids)
{
    free(ids->ids);
    free(ids->seen);
}

/* Ids made in one millisecond are ordered by shard. */
static void sort_ids(struct ids *ids)
{
    qsort(ids->ids, ids->count, sizeof *ids->ids, compare_ids);
}

static void see(struct ids *ids, uint64_t id)
{
    uint64_t *found = bsearch(&id, ids->ids, ids->count, sizeof id, compare_ids);
    assert_non_null(found);
    assert_false(ids->seen[found - ids->ids]);
    ids->seen[found - ids->ids] = true;
}

static void assert_all_seen(const struct ids *ids)
{
    for (unsigned i = 0; i < ids->count; i++)
        assert_true(ids->seen[i]);
}

static void with_small_window(struct fixture *f, unsigned rows)
{
    fixture_stop(f);
    f->options.limits.nursery_messages = 0;
    f->options.limits.window_rows = rows;
    fixture_start(f);
}

/* Settles `count` rows: every fifth is deferred, the others are delivered and seen. */
static void work_through(struct fixture *f, struct ids *ids, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct row *row = pull_row_of(f);
        assert_body(row, "Hello\r\n");
        if (i % 5 == 4 && row->state.attempts == 0) {
            settle_row(f, row, OUTCOME_DEFERRED);
        } else {
            see(ids, row->envelope.id);
            settle_row(f, row, OUTCOME_DELIVERED);
        }
    }
    turn_until_recorded(f);
}

static void deliver_the_rest(struct fixture *f, struct ids *ids)
{
    for (;;) {
        struct row *row = pull_within(f, 50);
        if (!row) {
            turn_until_recorded(f);
            if (count_records(f, FAMILY_ROW) == 0)
                return;
            pass_ms(f, 400000);
            continue;
        }
        see(ids, row->envelope.id);
        settle_row(f, row, OUTCOME_DELIVERED);
    }
}

/* ---- tests ---- */

static void ten_thousand_rows_in_one_queue(void **state)
{
    struct fixture *f = *state;
    struct ids ids = ids_made(10000);
    with_small_window(f, 256);
    accept_many(f, ids.count, 1, ids.ids);
    assert_true(usage_of(f).rows_in_memory <= 256 + 64);
    assert_int_equal(usage_of(f).rows, ids.count);
    work_through(f, &ids, 2500);
    fixture_restart(f);
    assert_int_equal(f->report.queues, 1);
    work_through(f, &ids, 2500);
    fixture_crash(f);
    work_through(f, &ids, 2500);
    assert_true(usage_of(f).rows_in_memory <= 256 + 64);
    deliver_the_rest(f, &ids);
    assert_all_seen(&ids);
    assert_store_empty(f);
    ids_free(&ids);
}

static void many_queues_share_one_window(void **state)
{
    struct fixture *f = *state;
    struct ids ids = ids_made(3000);
    with_small_window(f, 64);
    accept_many(f, ids.count, 600, ids.ids);
    sort_ids(&ids);
    assert_int_equal(usage_of(f).queues, 600);
    assert_true(usage_of(f).rows_in_memory <= 64 + 16);
    work_through(f, &ids, 1000);
    fixture_crash(f);
    work_through(f, &ids, 1000);
    deliver_the_rest(f, &ids);
    assert_all_seen(&ids);
    assert_store_empty(f);
    ids_free(&ids);
}

/* While rows are lent, loads run, and new mail comes in. */
static void everything_at_once(void **state)
{
    struct fixture *f = *state;
    enum { ROUNDS = 30, EACH = 100, LENT = 20 };
    struct ids ids = ids_made(ROUNDS * EACH);
    struct row *lent[LENT];
    unsigned lent_count = 0, seed = 7;
    with_small_window(f, 64);
    for (unsigned round = 0; round < ROUNDS; round++) {
        accept_many(f, EACH, 3, ids.ids + round * EACH);
        qsort(ids.ids + round * EACH, EACH, sizeof *ids.ids, compare_ids);
        for (unsigned i = 0; i < EACH; i++) {
            seed = seed * 1103515245 + 12345;
            if (lent_count < LENT) {
                struct row *row = pull_within(f, seed >> 16 & 1);
                if (row)
                    lent[lent_count++] = row;
            }
            if (lent_count == 0 || (seed >> 20 & 1))
                continue;
            unsigned which = (seed >> 21) % lent_count;
            struct row *row = lent[which];
            lent[which] = lent[--lent_count];
            if ((seed >> 24) % 4 == 0) {
                share_return(f->share, row);
            } else if ((seed >> 24) % 4 == 1) {
                settle_row(f, row, OUTCOME_DEFERRED);
            } else {
                ids.count = (round + 1) * EACH;
                see(&ids, row->envelope.id);
                settle_row(f, row, OUTCOME_DELIVERED);
            }
        }
        if (round % 7 == 3)
            pass_ms(f, 200000);
    }
    while (lent_count)
        share_return(f->share, lent[--lent_count]);
    deliver_the_rest(f, &ids);
    assert_all_seen(&ids);
    assert_store_empty(f);
    ids_free(&ids);
}

/* A row put back before what is loaded, and one behind it. */
static void first_due_follows(void **state)
{
    struct fixture *f = *state;
    struct ids ids = ids_made(100);
    with_small_window(f, 4096);
    accept_many(f, ids.count, 1, ids.ids);
    for (unsigned i = 0; i < ids.count; i++)
        settle_row(f, pull_row_of(f), OUTCOME_DEFERRED);
    turn_until_recorded(f);
    pass_ms(f, 31000); /* a checkpoint raises it to five minutes from now */
    turn_until_recorded(f);
    accept_message(f, "a@sender.example", "b@d0.example", "Hello\r\n");
    fixture_crash(f);
    struct row *row = pull_row_of(f);
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_true(nothing_to_pull(f));
    deliver_the_rest(f, &ids);
    assert_all_seen(&ids);
    assert_store_empty(f);
    ids_free(&ids);
}

/* The queue's record of before the crash knows of the first row only. */
static void rows_are_counted_again_after_a_crash(void **state)
{
    struct fixture *f = *state;
    struct ids ids = ids_made(100);
    with_small_window(f, 4096);
    accept_many(f, ids.count, 1, ids.ids);
    fixture_crash(f);
    assert_true(usage_of(f).queues_uncounted > 0);
    struct row *row = pull_row_of(f);
    assert_int_equal(usage_of(f).rows, ids.count);
    settle_row(f, row, OUTCOME_DEFERRED);
    settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_int_equal(usage_of(f).rows, ids.count - 1);
    fixture_restart(f);
    assert_int_equal(usage_of(f).rows, ids.count - 1);
    assert_int_equal(usage_of(f).queues_uncounted, 0);
    ids_free(&ids);
}

static void little_memory_for_bodies(void **state)
{
    struct fixture *f = *state;
    fixture_stop(f);
    f->options.limits.nursery_messages = 0;
    f->options.limits.loaded_memory = 100000;
    fixture_start(f);
    char *text = body_text(3, 60000);
    for (unsigned i = 0; i < 40; i++) {
        char to[64];
        snprintf(to, sizeof to, "b@d%u.example", i % 4);
        accept_message(f, "a@sender.example", to, text);
    }
    fixture_restart(f);
    for (unsigned i = 0; i < 40; i++) {
        struct row *row = pull_row_of(f);
        assert_body(row, text);
        settle_row(f, row, OUTCOME_DELIVERED);
    }
    turn_until_recorded(f);
    assert_store_empty(f);
    free(text);
}

int main(void)
{
#define with_share(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        with_share(ten_thousand_rows_in_one_queue),
        with_share(many_queues_share_one_window),
        with_share(everything_at_once),
        with_share(first_due_follows),
        with_share(rows_are_counted_again_after_a_crash),
        with_share(little_memory_for_bodies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
