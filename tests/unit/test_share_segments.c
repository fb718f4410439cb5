/* Bodies of the nursery in segments: written before their record, found again after a crash, and
 * what happens where that is not possible. */
#include "queue/spool_private.h"
#include "tests/unit/spool_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

enum { LARGE = 10000, MB = 1 << 20 };

static bool probe_says = true;

/* The folder of tests may be on a file system that is not trusted with mail. */
bool segment_probe(const char *directory, const char *log_directory, const char **ret_why)
{
    *ret_why = "the test says so";
    return probe_says;
}

static int setup(void **state)
{
    probe_says = true;
    fixture_setup(state);
    struct fixture *f = *state;
    f->options.segments = 2;
    f->options.segment_size = MB;
    fixture_restart(f);
    return 0;
}

static void deliver_all(struct fixture *f)
{
    struct row *row;
    while ((row = pull_within(f, 20)))
        settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
}

/* The first large body makes the first segment. */
static void get_segment(struct fixture *f)
{
    char *text = body_text(1, LARGE);
    accept_message(f, "a@sender.example", "b@one.example", text);
    free(text);
    turn_until(f, usage_of(f).segments.free_bytes == MB);
    deliver_all(f);
}

static uint64_t accept_large(struct fixture *f, unsigned seed)
{
    char *text = body_text(seed, LARGE);
    uint64_t id = accept_message(f, "a@sender.example", "b@one.example", text);
    free(text);
    return id;
}

static void assert_large(const struct row *row, unsigned seed)
{
    char *text = body_text(seed, LARGE);
    assert_body(row, text);
    free(text);
}

static size_t fresh_bytes(struct fixture *f)
{
    struct store_scan *scan =
        store_scan_new(spool_store(f->spool), FAMILY_FRESH, (struct span){0}, (struct span){0});
    struct span key, value;
    size_t bytes = 0;
    while (store_scan_next(scan, &key, &value) == 1)
        bytes += value.len;
    store_scan_free(scan);
    return bytes;
}

static unsigned count_segments(const struct fixture *f)
{
    char path[2 * FOLDER_PATH];
    snprintf(path, sizeof path, "%s/queue/segments", f->folder);
    return folder_count(path, "segment-");
}

/* ---- where bodies go ---- */

static void a_large_body_goes_to_a_segment(void **state)
{
    struct fixture *f = *state;
    get_segment(f);
    assert_int_equal(usage_of(f).segment_inlined, 1);
    accept_large(f, 2);
    assert_records(f, FAMILY_FRESH, 1);
    assert_in_range(fresh_bytes(f), strlen(HEAD), 400);
    assert_int_equal(usage_of(f).segments.used_bytes, 3 * SEGMENT_BLOCK);
    assert_int_equal(usage_of(f).segment_bodies, 1);
    assert_int_equal(usage_of(f).segment_inlined, 1);
    struct row *row = pull_row_of(f);
    assert_large(row, 2);
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
}

/* At the limit, in drops, and with text of all lengths around a block. */
static void bodies_of_all_sizes(void **state)
{
    struct fixture *f = *state;
    static const size_t sizes[] = {4095, 4096, 4097, 8191, 8192, 8193, 65536, 65537, 200000};
    static const size_t drops[] = {16384, 1000, 4096};
    get_segment(f);
    for (size_t i = 0; i < countof(sizes); i++) {
        char *text = body_text((unsigned)i, sizes[i]);
        struct message *message = begin_message(f, "a@sender.example", "b@one.example");
        struct span rest = span_string(text);
        while (rest.len) {
            struct span drop = span_first(rest, drops[i % countof(drops)]);
            append_body(f, message, drop);
            rest = span_skip(rest, drop.len);
        }
        assert_int_equal(finish_message(f, message), 0);
        fixture_crash(f);
        turn_until(f, usage_of(f).segments.free_bytes > 0);
        struct row *row = pull_row_of(f);
        assert_body(row, text);
        settle_row(f, row, OUTCOME_DELIVERED);
        turn_until_recorded(f);
        free(text);
    }
}

static void small_ones_and_those_of_several_rows_do_not(void **state)
{
    struct fixture *f = *state;
    get_segment(f);
    accept_message(f, "a@sender.example", "b@one.example", "Hello\r\n");
    char *text = body_text(3, LARGE);
    accept_message(f, "a@sender.example", "b@one.example c@two.example", text);
    free(text);
    assert_int_equal(usage_of(f).segment_bodies, 0);
    assert_int_equal(usage_of(f).segments.used_bytes, 0);
    deliver_all(f);
}

static void a_deferred_one_frees_its_place(void **state)
{
    struct fixture *f = *state;
    get_segment(f);
    accept_large(f, 4);
    settle_row(f, pull_row_of(f), OUTCOME_DEFERRED);
    turn_until_recorded(f);
    assert_records(f, FAMILY_FRESH, 0);
    assert_records(f, FAMILY_BODY, 1);
    accept_large(f, 5); /* whose commit is a sync, and the next one sees that */
    deliver_all(f);
    accept_large(f, 6);
    assert_int_equal(usage_of(f).segments.used_bytes, 6 * SEGMENT_BLOCK);
    pass_ms(f, 301000);
    unsigned seen = 0;
    struct row *row;
    while ((row = pull_within(f, 200))) {
        assert_large(row, row->state.attempts ? 4 : 6);
        seen++;
        settle_row(f, row, OUTCOME_DELIVERED);
    }
    assert_int_equal(seen, 2);
    turn_until_recorded(f);
    assert_store_empty(f);
}

/* The delete is only written: until the log is synced, a crash could bring the record back. */
static void a_place_is_used_again_only_after_a_sync(void **state)
{
    struct fixture *f = *state;
    get_segment(f);
    accept_large(f, 7);
    struct segment *segment = f->share->segments.all[0];
    settle_row(f, pull_row_of(f), OUTCOME_DELIVERED);
    turn_until_recorded(f);
    const struct leaving *leaving = &f->share->segments.leaving;
    assert_int_equal(leaving->count, 1);
    assert_true(leaving->slots[leaving->first].group > 0);
    assert_int_equal(segment->used, 3);
    turn_until(f, atomic_load(&f->spool->committer.synced) >= leaving->slots[leaving->first].group);
    accept_large(f, 8);
    assert_int_equal(segment->used, 3); /* the new one's alone */
    deliver_all(f);
}

static void full_segments_are_passed_by(void **state)
{
    struct fixture *f = *state;
    get_segment(f);
    /* 256 blocks each: 85 bodies, and the second segment is made on the way. */
    for (unsigned i = 0; i < 200; i++)
        accept_large(f, i);
    struct share_usage usage = usage_of(f);
    assert_int_equal(usage.segments.segments, 2);
    assert_int_equal(count_segments(f), 2);
    assert_in_range(usage.segment_bodies, 100, 170);
    assert_int_equal(usage.segment_bodies + usage.segment_inlined, 201);
    fixture_crash(f);
    for (unsigned i = 0; i < 200; i++) {
        struct row *row = pull_row_of(f);
        assert_large(row, i);
        settle_row(f, row, OUTCOME_DELIVERED);
    }
    turn_until_recorded(f);
    assert_store_empty(f);
}

/* ---- over restarts ---- */

static void they_are_found_again(void **state)
{
    struct fixture *f = *state;
    get_segment(f);
    accept_large(f, 9);
    accept_large(f, 10);
    fixture_crash(f);
    assert_int_equal(f->report.fresh, 2);
    assert_false(f->report.alarm);
    turn_until(f, usage_of(f).segments.free_bytes > 0);
    accept_large(f, 11);
    assert_int_equal(usage_of(f).segments.used_bytes, 9 * SEGMENT_BLOCK); /* nothing overwritten */
    for (unsigned i = 9; i < 12; i++) {
        struct row *row = pull_row_of(f);
        assert_large(row, i);
        settle_row(f, row, OUTCOME_DELIVERED);
    }
    turn_until_recorded(f);
    assert_store_empty(f);
}

static void without_segments_they_become_rows(void **state)
{
    struct fixture *f = *state;
    get_segment(f);
    accept_large(f, 12);
    f->options.segments = 0;
    fixture_restart(f);
    assert_records(f, FAMILY_FRESH, 0);
    assert_records(f, FAMILY_BODY, 1);
    assert_int_equal(count_segments(f), 0); /* nobody needs it */
    assert_large(pull_row_of(f), 12);
    f->share->lent--; /* the row is not settled here: it stays for the next start */
    fixture_restart(f);
    deliver_all(f);
}

static void where_they_are_not_supported_is_said_once(void **state)
{
    struct fixture *f = *state;
    probe_says = false;
    fixture_restart(f);
    assert_non_null(strstr(f->report.text, "the test says so"));
    assert_false(f->report.alarm);
    accept_large(f, 13);
    deliver_all(f);
    assert_int_equal(usage_of(f).segment_inlined, 0);
    assert_int_equal(count_segments(f), 0);
}

static void files_of_another_size_are_replaced(void **state)
{
    struct fixture *f = *state;
    get_segment(f);
    accept_large(f, 14);
    f->options.segment_size = 2 * MB;
    fixture_restart(f);
    assert_int_equal(count_segments(f), 0);
    accept_large(f, 15);
    turn_until(f, usage_of(f).segments.free_bytes == 2 * MB);
    deliver_all(f);
    assert_store_empty(f);
}

static void a_half_made_one_is_removed(void **state)
{
    struct fixture *f = *state;
    char path[2 * FOLDER_PATH];
    snprintf(path, sizeof path, "%s/queue/segments/segment-00000005.new", f->folder);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    fixture_restart(f);
    assert_int_equal(count_segments(f), 0);
}

/* ---- damage ---- */

static void damage(const struct fixture *f, uint64_t offset)
{
    char path[2 * FOLDER_PATH], byte;
    snprintf(path, sizeof path, "%s/queue/segments/segment-00000000", f->folder);
    int fd = open(path, O_RDWR);
    assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)offset), 1);
    close(fd);
}

static unsigned findings[QUEUE_CHECK_COUNT];

static void count_finding(void *context, const struct queue_finding *finding)
{
    findings[finding->kind]++;
}

static void check_damaged(const struct fixture *f, struct queue_check_result *ret_result)
{
    memset(findings, 0, sizeof findings);
    assert_int_equal(queue_check(f->folder, count_finding, NULL, ret_result), 0);
}

/* Stops without the judgement that all is legal. */
static void stop_and_damage(struct fixture *f, uint64_t offset)
{
    fixture_stop(f);
    damage(f, offset);
}

/* What a power failure leaves of a group whose sync had not ended. */
static void the_last_group_may_be_unfinished(void **state)
{
    struct fixture *f = *state;
    struct queue_check_result result;
    get_segment(f);
    accept_large(f, 16);
    accept_large(f, 17);
    stop_and_damage(f, 3 * SEGMENT_BLOCK + LARGE - 1);
    check_damaged(f, &result);
    assert_int_equal(result.illegal, 0);
    assert_int_equal(findings[QUEUE_CHECK_FRESH_UNFINISHED], 1);
    fixture_start(f);
    assert_false(f->report.alarm);
    assert_non_null(strstr(f->report.text, "discarded"));
    assert_large(pull_row_of(f), 16);
    assert_true(nothing_to_pull(f));
    assert_records(f, FAMILY_FRESH, 1);
    f->share->lent--;
}

/* Anywhere else a promised message is gone, and its sender hears of it. */
static void elsewhere_a_wrong_checksum_is_a_loss(void **state)
{
    struct fixture *f = *state;
    struct queue_check_result result;
    get_segment(f);
    accept_large(f, 18);
    accept_large(f, 19);
    stop_and_damage(f, 100);
    check_damaged(f, &result);
    assert_int_equal(result.illegal, 1);
    assert_int_equal(findings[QUEUE_CHECK_FRESH_BODY], 1);
    fixture_start(f);
    assert_true(f->report.alarm);
    struct row *row = pull_row_of(f);
    assert_large(row, 19);
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until(f, usage_of(f).dsn_made == 1);
    row = pull_row_of(f);
    assert_true(span_equals(row->envelope.recipients[0].address, SPAN("a@sender.example")));
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
    assert_store_empty(f);
    assert_int_equal(usage_of(f).bounced, 1);
}

/* A file that is missing may come back: the record stays as it is. */
static void a_missing_file_is_no_verdict(void **state)
{
    struct fixture *f = *state;
    struct queue_check_result result;
    char path[2 * FOLDER_PATH], elsewhere[2 * FOLDER_PATH];
    get_segment(f);
    accept_large(f, 20);
    fixture_stop(f);
    snprintf(path, sizeof path, "%s/queue/segments/segment-00000000", f->folder);
    snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", f->folder);
    assert_int_equal(rename(path, elsewhere), 0);
    check_damaged(f, &result);
    assert_int_equal(findings[QUEUE_CHECK_FRESH_BODY], 1);
    fixture_start(f);
    assert_true(f->report.alarm);
    assert_true(nothing_to_pull(f));
    assert_records(f, FAMILY_FRESH, 1);
    f->finished = false;
    share_drain(f->share, &f->done);
    turn_until(f, f->finished);
    loop_fini(&f->loop);
    spool_close(f->spool);
    assert_int_equal(rename(elsewhere, path), 0);
    fixture_start(f);
    assert_false(f->report.alarm);
    struct row *row = pull_row_of(f);
    assert_large(row, 20);
    settle_row(f, row, OUTCOME_DELIVERED);
    turn_until_recorded(f);
}

static void a_failed_write_is_an_answer(void **state)
{
    struct fixture *f = *state;
    struct rlimit limit, none;
    get_segment(f);
    pass_ms(f, 2000);
    for (unsigned i = 0; i < 300; i++) /* journal and log have come to rest */
        turn(f);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    none = (struct rlimit){0, limit.rlim_max};
    char *text = body_text(21, LARGE);
    struct message *message = begin_message(f, "a@sender.example", "b@one.example");
    append_body(f, message, span_string(text));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    int result = finish_message(f, message);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    assert_int_equal(result, -EIO);
    assert_int_equal(usage_of(f).segment_errors, 1);
    assert_int_equal(usage_of(f).segments.free_bytes, 0); /* retired */
    assert_int_equal(usage_of(f).nursery_messages, 0);
    assert_store_empty(f);

    accept_large(f, 22); /* goes on, through the log until there is another segment */
    turn_until(f, usage_of(f).segments.free_bytes == MB);
    accept_large(f, 23);
    assert_int_equal(usage_of(f).segment_bodies, 1);
    deliver_all(f);
    free(text);
}

static void withdrawn_while_it_is_written(void **state)
{
    struct fixture *f = *state;
    get_segment(f);
    char *text = body_text(24, LARGE);
    struct message *message = begin_message(f, "a@sender.example", "b@one.example");
    append_body(f, message, span_string(text));
    f->finished = false;
    share_accept(f->share, message, &f->done);
    assert_true(share_withdraw(f->share, message, &f->done));
    turn_until(f, f->share->accepting == 0);
    assert_store_empty(f);
    assert_false(f->finished);
    assert_int_equal(usage_of(f).segments.used_bytes, 0);
    free(text);
}

#define with_segments(test) cmocka_unit_test_setup_teardown(test, setup, fixture_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_segments(a_large_body_goes_to_a_segment),
        with_segments(bodies_of_all_sizes),
        with_segments(small_ones_and_those_of_several_rows_do_not),
        with_segments(a_deferred_one_frees_its_place),
        with_segments(a_place_is_used_again_only_after_a_sync),
        with_segments(full_segments_are_passed_by),
        with_segments(they_are_found_again),
        with_segments(without_segments_they_become_rows),
        with_segments(where_they_are_not_supported_is_said_once),
        with_segments(files_of_another_size_are_replaced),
        with_segments(a_half_made_one_is_removed),
        with_segments(the_last_group_may_be_unfinished),
        with_segments(elsewhere_a_wrong_checksum_is_a_loss),
        with_segments(a_missing_file_is_no_verdict),
        with_segments(a_failed_write_is_an_answer),
        with_segments(withdrawn_while_it_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
