/* `queue check`: a database with every legal state, and one case for each way to break it. */
#include "queue/check.h"
#include "queue/record.h"
#include "queue/store.h"
#include "tests/unit/folder.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
/* cmocka wants the four above first */
#include <cmocka.h>

enum {
    NOW = 1800000000,
    EXPIRES = NOW + 1000000,
    SHARD = 9,
    QUEUE_NET = 1,
    QUEUE_ORG = 2,
    BODY = 500
};
#define NOW_MS     ((uint64_t)NOW * 1000)
#define EXPIRES_MS ((uint64_t)EXPIRES * 1000)

struct fixture {
    char folder[FOLDER_PATH], path[FOLDER_PATH + 8];
    struct store *store;
    struct store_batch *batch;
    struct chunk_pool pool;
    struct arena arena;
    unsigned seen[QUEUE_CHECK_COUNT];
    struct queue_check_result result;
};

static uint64_t id_of(unsigned number)
{
    return id_make(NOW_MS, SHARD, number);
}

/* ---- building blocks ---- */

static void put(struct fixture *f, enum store_family family, struct span key, struct span value)
{
    store_batch_put(f->batch, family, key, &value, 1);
}

static void put_number(struct fixture *f, const char *name, uint64_t number)
{
    char value[META_U64_LEN];
    put(f, FAMILY_META, span_string(name), meta_u64_write(value, number));
}

static struct recipient recipient = {.address = {"a@example.net", 13}};

static struct envelope envelope_of(uint64_t id, const char *domain, unsigned flags)
{
    return (struct envelope){.id = id,
                             .arrived_ms = NOW_MS,
                             .expires_ms = EXPIRES_MS,
                             .size = BODY,
                             .domain = span_string(domain),
                             .flags = (uint8_t)flags,
                             .recipient_count = 1,
                             .recipients = &recipient};
}

static void put_row_record(struct fixture *f, uint8_t shard, uint32_t queue, uint64_t due_ms,
                           uint64_t id, const struct envelope *envelope)
{
    char key[32];
    struct row_state state = {.attempts = 1};
    struct span record;
    assert_true(row_record_write(envelope, &state, &f->arena, &record));
    put(f, FAMILY_ROW, row_key(key, shard, queue, due_ms, id), record);
}

static void put_row(struct fixture *f, uint64_t id, uint32_t queue, unsigned flags)
{
    struct envelope envelope =
        envelope_of(id, queue == QUEUE_NET ? "example.net" : "example.org", flags);
    put_row_record(f, SHARD, queue, NOW_MS, id, &envelope);
}

static void put_body(struct fixture *f, uint64_t id, uint32_t part, size_t len)
{
    static const char bytes[2 * BODY];
    char key[32];
    put(f, FAMILY_BODY, body_key(key, id, part), span_of(bytes, len));
}

static void put_ref(struct fixture *f, uint64_t id, uint32_t queue)
{
    char key[32];
    put(f, FAMILY_REF, ref_key(key, id, queue), SPAN(""));
}

static void put_queue(struct fixture *f, uint32_t queue, const char *name, uint64_t first_due_ms)
{
    char key[32];
    struct queue_record record = {.name = span_string(name), .first_due_ms = first_due_ms};
    struct span bytes;
    assert_true(queue_record_write(&record, &f->arena, &bytes));
    put(f, FAMILY_QUEUE, queue_key(key, SHARD, queue), bytes);
}

static void put_fresh(struct fixture *f, uint64_t sequence, uint64_t id, size_t body_len)
{
    char key[32];
    static const char bytes[2 * BODY];
    struct fresh_record record = {.shard = id_shard(id),
                                  .id = id,
                                  .place = {.len = (uint32_t)body_len},
                                  .envelope = envelope_of(id, "example.net", 0)};
    struct span head;
    assert_true(fresh_record_write_head(&record, &f->arena, &head));
    struct span parts[2] = {head, span_of(bytes, body_len)};
    store_batch_put(f->batch, FAMILY_FRESH, fresh_key(key, sequence), parts, 2);
}

static void put_upload(struct fixture *f, uint64_t id)
{
    char key[32];
    put(f, FAMILY_META, upload_key(key, id), SPAN(""));
}

/* 1: fresh. 2: one row. 3: two rows. 4: had two rows, one is left. 5: one row, three parts. */
static void put_every_legal_state(struct fixture *f)
{
    put_number(f, META_SHARDS, SHARD_COUNT);
    put_number(f, META_CEILING "0", NOW_MS - 10000); /* of a worker that was idle since */
    put_number(f, META_CEILING "1", NOW_MS + 10000);
    put_number(f, META_WALL, NOW_MS);
    put_fresh(f, 1, id_of(1), BODY);
    put_queue(f, 0, "idle.example", 0);
    put_queue(f, QUEUE_NET, "example.net", NOW_MS);
    put_queue(f, QUEUE_ORG, "example.org", NOW_MS - 5);
    put_queue(f, 77, "another.example", 0);
    put_row(f, id_of(2), QUEUE_NET, 0);
    put_body(f, id_of(2), 0, BODY);
    put_row(f, id_of(3), QUEUE_NET, ENVELOPE_SEVERAL_ROWS);
    put_row(f, id_of(3), QUEUE_ORG, ENVELOPE_SEVERAL_ROWS);
    put_ref(f, id_of(3), QUEUE_NET);
    put_ref(f, id_of(3), QUEUE_ORG);
    put_body(f, id_of(3), 0, BODY);
    put_row(f, id_of(4), QUEUE_ORG, ENVELOPE_SEVERAL_ROWS);
    put_ref(f, id_of(4), QUEUE_ORG);
    put_body(f, id_of(4), 0, BODY);
    put_row(f, id_of(5), QUEUE_NET, 0);
    put_body(f, id_of(5), 0, 100);
    put_body(f, id_of(5), 1, 300);
    put_body(f, id_of(5), 2, 100);
}

/* ---- running it ---- */

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct store_report report;
    folder_make(f->folder);
    snprintf(f->path, sizeof f->path, "%s/queue", f->folder);
    struct store_options options = {.path = f->path, .memory = 16 << 20};
    if (store_open(&options, &f->store, &report) < 0)
        return -1;
    f->batch = store_batch_new(f->store);
    chunk_pool_init(&f->pool, 1 << 24, 1 << 24);
    arena_init(&f->arena, &f->pool, 1 << 24);
    put_every_legal_state(f);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    store_batch_free(f->batch);
    store_close(f->store);
    arena_fini(&f->arena);
    chunk_pool_fini(&f->pool);
    folder_remove(f->folder);
    free(f);
    return 0;
}

static void on_finding(void *context, const struct queue_finding *finding)
{
    struct fixture *f = context;
    f->seen[finding->kind]++;
    assert_true(strlen(finding->text) > 0);
}

/* Writes what was put, stops the "daemon", checks. */
static void run_check(struct fixture *f)
{
    if (f->store) {
        assert_int_equal(store_commit(f->store, f->batch, true), 0);
        f->batch = store_batch_free(f->batch);
        f->store = store_close(f->store);
    }
    memset(f->seen, 0, sizeof f->seen);
    assert_int_equal(queue_check(f->path, on_finding, f, &f->result), 0);
}

static void every_legal_state_is_legal(void **state)
{
    struct fixture *f = *state;
    run_check(f);
    assert_int_equal(f->result.illegal, 0);
    assert_int_equal(f->result.notes, 0);
    assert_int_equal(f->result.fresh, 1);
    assert_int_equal(f->result.messages, 4);
    assert_int_equal(f->result.rows, 5);
    assert_int_equal(f->result.references, 3);
    assert_int_equal(f->result.queues, 4);
    assert_int_equal(f->result.body_bytes, 4 * BODY);
}

static void the_data_directory_will_do(void **state)
{
    struct fixture *f = *state;
    run_check(f);
    assert_int_equal(queue_check(f->folder, on_finding, f, &f->result), 0);
    assert_int_equal(f->result.rows, 5);
}

static void what_cannot_be_opened_says_why(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(queue_check(f->path, on_finding, f, &f->result), -EBUSY);
    assert_non_null(strstr(f->result.error, "in use"));
    assert_int_equal(queue_check("/nonexistent", on_finding, f, &f->result), -ENOENT);
    assert_non_null(strstr(f->result.error, "/nonexistent"));
}

/* ---- one way to break it each ---- */

static void delete (struct fixture *f, enum store_family family, struct span key)
{
    store_batch_delete(f->batch, family, key);
}

static void fresh_and_row(struct fixture *f)
{
    put_fresh(f, 2, id_of(2), BODY);
}

static void fresh_and_body(struct fixture *f)
{
    put_body(f, id_of(1), 0, BODY);
}

static void fresh_and_reference(struct fixture *f)
{
    put_ref(f, id_of(1), QUEUE_NET);
}

static void no_body(struct fixture *f)
{
    char key[32];
    delete (f, FAMILY_BODY, body_key(key, id_of(2), 0));
}

static void no_row(struct fixture *f)
{
    char key[32];
    delete (f, FAMILY_ROW, row_key(key, SHARD, QUEUE_NET, NOW_MS, id_of(2)));
}

static void part_missing(struct fixture *f)
{
    char key[32];
    delete (f, FAMILY_BODY, body_key(key, id_of(5), 1));
}

static void body_longer(struct fixture *f)
{
    put_body(f, id_of(2), 0, BODY + 1);
}

static void fresh_body_shorter(struct fixture *f)
{
    put_fresh(f, 1, id_of(1), BODY - 1);
}

static void reference_without_message(struct fixture *f)
{
    put_ref(f, id_of(100), QUEUE_NET);
}

static void reference_without_its_row(struct fixture *f)
{
    put_ref(f, id_of(4), QUEUE_NET);
}

static void reference_for_the_only_row(struct fixture *f)
{
    put_ref(f, id_of(2), QUEUE_NET);
}

static void no_reference(struct fixture *f)
{
    char key[32];
    delete (f, FAMILY_REF, ref_key(key, id_of(3), QUEUE_ORG));
}

static void two_rows_that_know_nothing_of_each_other(struct fixture *f)
{
    put_row(f, id_of(2), QUEUE_ORG, 0);
}

static void two_fresh_of_one_id(struct fixture *f)
{
    put_fresh(f, 9, id_of(1), BODY);
}

static void two_rows_in_one_queue(struct fixture *f)
{
    struct envelope envelope = envelope_of(id_of(4), "example.org", ENVELOPE_SEVERAL_ROWS);
    put_row_record(f, SHARD, QUEUE_ORG, NOW_MS + 1, id_of(4), &envelope);
}

static void id_above_the_ceiling(struct fixture *f)
{
    struct envelope envelope = envelope_of(id_make(NOW_MS + 10000, SHARD, 0), "example.net", 0);
    put_row_record(f, SHARD, QUEUE_NET, NOW_MS, envelope.id, &envelope);
    put_body(f, envelope.id, 0, BODY);
}

static void record_of_another_id(struct fixture *f)
{
    struct envelope envelope = envelope_of(id_of(3), "example.net", 0);
    put_row_record(f, SHARD, QUEUE_NET, NOW_MS, id_of(2), &envelope);
}

static void row_in_another_shard(struct fixture *f)
{
    char key[32];
    struct envelope envelope = envelope_of(id_of(2), "example.net", 0);
    struct queue_record record = {.name = SPAN("example.net")};
    struct span bytes;
    assert_true(queue_record_write(&record, &f->arena, &bytes));
    put(f, FAMILY_QUEUE, queue_key(key, SHARD + 1, QUEUE_NET), bytes);
    put_row_record(f, SHARD + 1, QUEUE_NET, NOW_MS, id_of(2), &envelope);
    no_row(f);
}

static void row_in_the_queue_of_another_domain(struct fixture *f)
{
    struct envelope envelope = envelope_of(id_of(2), "example.org", 0);
    put_row_record(f, SHARD, QUEUE_NET, NOW_MS, id_of(2), &envelope);
}

static void queue_without_record(struct fixture *f)
{
    char key[32];
    delete (f, FAMILY_QUEUE, queue_key(key, SHARD, QUEUE_NET)); /* three rows, one finding */
}

static void first_due_after_the_first_row(struct fixture *f)
{
    put_queue(f, QUEUE_NET, "example.net", NOW_MS + 1); /* three rows */
}

static void upload_that_was_accepted(struct fixture *f)
{
    put_upload(f, id_of(5));
}

static void upload_that_was_not_finished(struct fixture *f)
{
    put_upload(f, id_of(50));
    put_body(f, id_of(50), 1, 100);
}

static void upload_that_had_not_begun(struct fixture *f)
{
    put_upload(f, id_of(51));
}

static void wrong_number_of_shards(struct fixture *f)
{
    put_number(f, META_SHARDS, 32);
}

static void ceiling_is_no_number(struct fixture *f)
{
    put(f, FAMILY_META, SPAN(META_CEILING "0"), SPAN("high"));
}

static void ceiling_missing(struct fixture *f)
{
    delete (f, FAMILY_META, SPAN(META_CEILING "0"));
    delete (f, FAMILY_META, SPAN(META_CEILING "1"));
}

static void undecodable_fresh(struct fixture *f)
{
    put(f, FAMILY_FRESH, SPAN("12345678"), SPAN("nonsense"));
}

static void undecodable_row(struct fixture *f)
{
    char key[32];
    put(f, FAMILY_ROW, row_key(key, SHARD, QUEUE_NET, NOW_MS, id_of(2)), SPAN("nonsense"));
}

static void undecodable_row_key(struct fixture *f)
{
    put(f, FAMILY_ROW, SPAN("short"), SPAN(""));
}

static void undecodable_body_key(struct fixture *f)
{
    put(f, FAMILY_BODY, SPAN("short"), SPAN(""));
    put(f, FAMILY_BODY, SPAN("\377\377\377\377\377\377\377\377long, and the last"), SPAN(""));
}

static void undecodable_reference(struct fixture *f)
{
    char key[32];
    put(f, FAMILY_REF, ref_key(key, id_of(3), QUEUE_NET), SPAN("should be empty"));
}

static void undecodable_queue(struct fixture *f)
{
    char key[32];
    put(f, FAMILY_QUEUE, queue_key(key, SHARD, QUEUE_NET), SPAN("nonsense"));
    put(f, FAMILY_QUEUE, queue_key(key, SHARD, 0), SPAN("nonsense"));
    put(f, FAMILY_QUEUE, SPAN("long queue key"), SPAN("nonsense"));
}

static void undecodable_upload(struct fixture *f)
{
    put(f, FAMILY_META, SPAN("upload/x"), SPAN(""));
}

enum { FINDINGS = 3 };

static const struct {
    const char *name;
    void (*break_it)(struct fixture *fixture);
    struct {
        enum queue_check_kind kind;
        unsigned count;
    } findings[FINDINGS];
} cases[] = {
#define CASE(break_it) #break_it, break_it
    {CASE(fresh_and_row), {{QUEUE_CHECK_FRESH_AND_QUEUED, 1}}},
    {CASE(fresh_and_body), {{QUEUE_CHECK_FRESH_AND_QUEUED, 1}}},
    {CASE(fresh_and_reference),
     {{QUEUE_CHECK_FRESH_AND_QUEUED, 1}, {QUEUE_CHECK_REF_WITHOUT_ROW, 1}}},
    {CASE(no_body), {{QUEUE_CHECK_ROW_WITHOUT_BODY, 1}}},
    {CASE(no_row), {{QUEUE_CHECK_BODY_WITHOUT_ROW, 1}}},
    {CASE(part_missing), {{QUEUE_CHECK_BODY_SIZE, 1}}},
    {CASE(body_longer), {{QUEUE_CHECK_BODY_SIZE, 1}}},
    {CASE(fresh_body_shorter), {{QUEUE_CHECK_BODY_SIZE, 1}}},
    {CASE(reference_without_message), {{QUEUE_CHECK_REF_WITHOUT_ROW, 1}}},
    {CASE(reference_without_its_row), {{QUEUE_CHECK_REF_WITHOUT_ROW, 1}}},
    {CASE(reference_for_the_only_row), {{QUEUE_CHECK_REF_FOR_SINGLE, 1}}},
    {CASE(no_reference), {{QUEUE_CHECK_ROW_WITHOUT_REF, 1}}},
    {CASE(two_rows_that_know_nothing_of_each_other), {{QUEUE_CHECK_ROW_WITHOUT_REF, 2}}},
    {CASE(two_fresh_of_one_id), {{QUEUE_CHECK_DUPLICATE_ID, 1}}},
    {CASE(two_rows_in_one_queue),
     {{QUEUE_CHECK_DUPLICATE_ID, 1}, {QUEUE_CHECK_ROW_WITHOUT_REF, 1}}},
    {CASE(id_above_the_ceiling), {{QUEUE_CHECK_ABOVE_CEILING, 1}}},
    {CASE(record_of_another_id), {{QUEUE_CHECK_MISMATCH, 1}}},
    {CASE(row_in_another_shard), {{QUEUE_CHECK_MISMATCH, 1}}},
    {CASE(row_in_the_queue_of_another_domain), {{QUEUE_CHECK_MISMATCH, 1}}},
    {CASE(queue_without_record), {{QUEUE_CHECK_QUEUE_MISSING, 1}}},
    {CASE(first_due_after_the_first_row), {{QUEUE_CHECK_FIRST_DUE, 3}}},
    {CASE(upload_that_was_accepted), {{QUEUE_CHECK_UPLOAD_QUEUED, 1}}},
    {CASE(upload_that_was_not_finished), {{QUEUE_CHECK_UPLOAD_LEFT, 1}}},
    {CASE(upload_that_had_not_begun), {{QUEUE_CHECK_UPLOAD_LEFT, 1}}},
    {CASE(wrong_number_of_shards), {{QUEUE_CHECK_META, 1}}},
    {CASE(ceiling_is_no_number), {{QUEUE_CHECK_META, 1}}},
    {CASE(ceiling_missing), {{QUEUE_CHECK_META, 1}}},
    {CASE(undecodable_fresh), {{QUEUE_CHECK_UNDECODABLE, 1}}},
    {CASE(undecodable_row), {{QUEUE_CHECK_UNDECODABLE, 1}}},
    {CASE(undecodable_row_key), {{QUEUE_CHECK_UNDECODABLE, 1}}},
    {CASE(undecodable_body_key), {{QUEUE_CHECK_UNDECODABLE, 2}}},
    {CASE(undecodable_reference), {{QUEUE_CHECK_UNDECODABLE, 1}, {QUEUE_CHECK_ROW_WITHOUT_REF, 1}}},
    {CASE(undecodable_queue), {{QUEUE_CHECK_UNDECODABLE, 3}}},
    {CASE(undecodable_upload), {{QUEUE_CHECK_UNDECODABLE, 1}}},
#undef CASE
};

static unsigned expected_count(size_t at, enum queue_check_kind kind)
{
    for (size_t i = 0; i < FINDINGS; i++)
        if (cases[at].findings[i].count && cases[at].findings[i].kind == kind)
            return cases[at].findings[i].count;
    return 0;
}

static void every_illegal_state_is_named(void **state)
{
    for (size_t i = 0; i < countof(cases); i++) {
        void *fixture;
        unsigned illegal = 0;
        assert_int_equal(begin(&fixture), 0);
        struct fixture *f = fixture;
        cases[i].break_it(f);
        run_check(f);
        for (int kind = 0; kind < QUEUE_CHECK_COUNT; kind++) {
            unsigned expected = expected_count(i, (enum queue_check_kind)kind);
            if (f->seen[kind] != expected)
                fail_msg("%s: %u times %s, expected %u", cases[i].name, f->seen[kind],
                         queue_check_kind_name((enum queue_check_kind)kind), expected);
            if (!queue_check_is_note((enum queue_check_kind)kind))
                illegal += expected;
        }
        assert_int_equal(f->result.illegal, illegal);
        end(&fixture);
    }
}

/* Many rows, so that arrays grow and the sort has work to do; one body is missing. */
static void one_in_many_is_found(void **state)
{
    struct fixture *f = *state;
    enum { ROWS = 5000 };
    for (unsigned i = 0; i < ROWS; i++) {
        struct envelope envelope = envelope_of(id_of(100 + i * 7919 % ROWS), "example.net", 0);
        put_row_record(f, SHARD, QUEUE_NET, NOW_MS + i, envelope.id, &envelope);
        if (i != 1234)
            put_body(f, envelope.id, 0, BODY);
        arena_fini(&f->arena);
    }
    run_check(f);
    assert_int_equal(f->result.illegal, 1);
    assert_int_equal(f->seen[QUEUE_CHECK_ROW_WITHOUT_BODY], 1);
    assert_int_equal(f->result.rows, 5 + ROWS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_legal_state_is_legal),     TEST(the_data_directory_will_do),
        TEST(what_cannot_be_opened_says_why), cmocka_unit_test(every_illegal_state_is_named),
        TEST(one_in_many_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
