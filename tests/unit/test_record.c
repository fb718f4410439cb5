/* Records and keys: what is written is read back the same, and nothing else is read. */
#include "queue/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
/* cmocka wants the four above first */
#include <cmocka.h>

enum { BYTES_MAX = 4096 };

struct memory {
    struct chunk_pool pool;
    struct arena arena;
};

static int begin(void **state)
{
    struct memory *memory = calloc(1, sizeof *memory);
    chunk_pool_init(&memory->pool, 1 << 22, 0);
    arena_init(&memory->arena, &memory->pool, 1 << 22);
    *state = memory;
    return 0;
}

static int end(void **state)
{
    struct memory *memory = *state;
    arena_fini(&memory->arena);
    chunk_pool_fini(&memory->pool);
    free(memory);
    return 0;
}

/* ---- a full example ---- */

static struct recipient example_recipients[] = {
    {.address = {"a@example.net", 13},
     .original = {"rfc822;a@example.org", 20},
     .notify = NOTIFY_SUCCESS | NOTIFY_DELAY,
     .delay_reported = true},
    {.address = {"\"b c\"@example.net", 17}, .notify = NOTIFY_NEVER},
};

static struct envelope example_envelope(void)
{
    return (struct envelope){
        .id = id_make(1800000000123, 7, 99),
        .arrived_ms = 1800000000123,
        .expires_ms = 1800000000123 + 432000000,
        .size = 10240,
        .reverse_path = SPAN("sender@example.org"),
        .envid = SPAN("QQ+2B1"),
        .tenant = SPAN("shop"),
        .campaign = SPAN("spring"),
        .domain = SPAN("example.net"),
        .ret = RET_HDRS,
        .flags = ENVELOPE_8BIT | ENVELOPE_SEVERAL_ROWS,
        .recipient_count = 2,
        .recipients = example_recipients,
    };
}

static struct row_state example_state(void)
{
    return (struct row_state){.attempts = 3,
                              .last_attempt_ms = 1800000100000,
                              .last_reply = SPAN("451 4.7.0 later"),
                              .last_peer = SPAN("mx.example.net (192.0.2.1)")};
}

static void assert_span_equal(struct span a, struct span b)
{
    assert_int_equal(a.len, b.len);
    if (a.len)
        assert_memory_equal(a.data, b.data, a.len);
}

static void assert_envelope_equal(const struct envelope *a, const struct envelope *b)
{
    assert_int_equal(a->id, b->id);
    assert_int_equal(a->arrived_ms, b->arrived_ms);
    assert_int_equal(a->expires_ms, b->expires_ms);
    assert_int_equal(a->size, b->size);
    assert_span_equal(a->reverse_path, b->reverse_path);
    assert_span_equal(a->envid, b->envid);
    assert_span_equal(a->tenant, b->tenant);
    assert_span_equal(a->campaign, b->campaign);
    assert_span_equal(a->domain, b->domain);
    assert_int_equal(a->ret, b->ret);
    assert_int_equal(a->flags, b->flags);
    assert_int_equal(a->recipient_count, b->recipient_count);
    for (unsigned i = 0; i < a->recipient_count; i++) {
        assert_span_equal(a->recipients[i].address, b->recipients[i].address);
        assert_span_equal(a->recipients[i].original, b->recipients[i].original);
        assert_int_equal(a->recipients[i].notify, b->recipients[i].notify);
        assert_int_equal(a->recipients[i].delay_reported, b->recipients[i].delay_reported);
    }
}

static void assert_state_equal(const struct row_state *a, const struct row_state *b)
{
    assert_int_equal(a->attempts, b->attempts);
    assert_int_equal(a->last_attempt_ms, b->last_attempt_ms);
    assert_span_equal(a->last_reply, b->last_reply);
    assert_span_equal(a->last_peer, b->last_peer);
}

static struct span write_example_row(struct arena *arena)
{
    struct envelope envelope = example_envelope();
    struct row_state state = example_state();
    struct span record;
    assert_true(row_record_write(&envelope, &state, arena, &record));
    return record;
}

static struct span write_example_fresh(struct arena *arena, struct span body)
{
    struct fresh_record fresh = {.shard = 7,
                                 .id = example_envelope().id,
                                 .place = {.kind = PLACE_INLINE, .len = (uint32_t)body.len},
                                 .envelope = example_envelope(),
                                 .state = example_state()};
    struct span head;
    assert_true(fresh_record_write_head(&fresh, arena, &head));
    char *whole = arena_take(arena, head.len + body.len);
    memcpy(whole, head.data, head.len);
    if (body.len)
        memcpy(whole + head.len, body.data, body.len);
    return span_of(whole, head.len + body.len);
}

/* ---- round trips ---- */

static void a_row_is_read_as_it_was_written(void **state)
{
    struct arena *arena = &((struct memory *)*state)->arena;
    struct span record = write_example_row(arena);
    struct envelope envelope, expected = example_envelope();
    struct row_state row, expected_row = example_state();
    assert_true(row_record_read(record, arena, &envelope, &row));
    assert_envelope_equal(&envelope, &expected);
    assert_state_equal(&row, &expected_row);
}

static void a_fresh_record_carries_its_body(void **state)
{
    struct arena *arena = &((struct memory *)*state)->arena;
    static const struct span bodies[] = {{"", 0}, {"Subject: x\r\n\r\nbody\r\n", 20}};
    for (size_t i = 0; i < countof(bodies); i++) {
        struct fresh_record fresh;
        struct envelope expected = example_envelope();
        assert_true(fresh_record_read(write_example_fresh(arena, bodies[i]), arena, &fresh));
        assert_envelope_equal(&fresh.envelope, &expected);
        assert_int_equal(fresh.shard, 7);
        assert_int_equal(fresh.id, expected.id);
        assert_span_equal(fresh.body, bodies[i]);
    }
}

static void a_body_in_a_segment_is_a_place(void **state)
{
    struct arena *arena = &((struct memory *)*state)->arena;
    struct fresh_record fresh = {.shard = 7,
                                 .id = example_envelope().id,
                                 .place = {PLACE_SEGMENT, 4, UINT64_C(1) << 33, 9999, 0xdeadbeef},
                                 .envelope = example_envelope()};
    struct fresh_record read;
    struct span head;
    assert_true(fresh_record_write_head(&fresh, arena, &head));
    assert_true(fresh_record_read(head, arena, &read));
    assert_int_equal(read.place.kind, PLACE_SEGMENT);
    assert_int_equal(read.place.segment, 4);
    assert_int_equal(read.place.offset, UINT64_C(1) << 33);
    assert_int_equal(read.place.len, 9999);
    assert_int_equal(read.place.crc32c, 0xdeadbeef);
    assert_int_equal(read.body.len, 0);

    /* What lies in front of it is in the record. */
    char longer[BYTES_MAX];
    memcpy(longer, head.data, head.len);
    memcpy(longer + head.len, "Received: x\r\n", 13);
    assert_true(fresh_record_read(span_of(longer, head.len + 13), arena, &read));
    assert_span_equal(read.body, SPAN("Received: x\r\n"));

    fresh.place.len = 0;
    assert_true(fresh_record_write_head(&fresh, arena, &head));
    assert_false(fresh_record_read(head, arena, &read));
}

static void a_queue_is_read_as_it_was_written(void **state)
{
    struct arena *arena = &((struct memory *)*state)->arena;
    struct queue_record queue = {SPAN("spring:shop@example.net"), 1800000000123, 5000000}, read;
    struct span record;
    assert_true(queue_record_write(&queue, arena, &record));
    assert_true(queue_record_read(record, &read));
    assert_span_equal(read.name, queue.name);
    assert_int_equal(read.first_due_ms, queue.first_due_ms);
    assert_int_equal(read.rows, queue.rows);
}

static void the_null_reverse_path_and_empty_names_survive(void **state)
{
    struct arena *arena = &((struct memory *)*state)->arena;
    struct recipient recipient = {.address = SPAN("postmaster")};
    struct envelope envelope = {.id = 1, .recipient_count = 1, .recipients = &recipient}, read;
    struct row_state row = {0}, read_row;
    struct span record;
    assert_true(row_record_write(&envelope, &row, arena, &record));
    assert_true(row_record_read(record, arena, &read, &read_row));
    assert_envelope_equal(&envelope, &read);
    assert_state_equal(&row, &read_row);
}

/* ---- what is not read ---- */

static bool reads_row(struct span bytes, struct arena *arena)
{
    struct envelope envelope;
    struct row_state row;
    return row_record_read(bytes, arena, &envelope, &row);
}

static bool reads_fresh(struct span bytes, struct arena *arena)
{
    struct fresh_record fresh;
    return fresh_record_read(bytes, arena, &fresh);
}

static bool reads_queue(struct span bytes, struct arena *arena)
{
    struct queue_record queue;
    return queue_record_read(bytes, &queue);
}

static void cut_or_extended_records_are_malformed(void **state)
{
    struct arena *arena = &((struct memory *)*state)->arena;
    struct queue_record queue = {SPAN("example.net"), 1, 2};
    struct span queue_bytes;
    assert_true(queue_record_write(&queue, arena, &queue_bytes));
    const struct {
        struct span record;
        bool (*reads)(struct span bytes, struct arena *arena);
    } cases[] = {
        {write_example_row(arena), reads_row},
        {write_example_fresh(arena, SPAN("body")), reads_fresh},
        {queue_bytes, reads_queue},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        char longer[BYTES_MAX] = {0};
        memcpy(longer, cases[i].record.data, cases[i].record.len);
        assert_true(cases[i].reads(cases[i].record, arena));
        assert_false(cases[i].reads(span_of(longer, cases[i].record.len + 1), arena));
        for (size_t len = 0; len < cases[i].record.len; len++) {
            /* In memory of exactly that size, so that a read past the end is seen. */
            char *exact = malloc(len ? len : 1);
            memcpy(exact, cases[i].record.data, len);
            assert_false(cases[i].reads(span_of(exact, len), arena));
            free(exact);
        }
    }
}

/* One byte set to a value that must not be accepted. */
static void impossible_values_are_malformed(void **state)
{
    struct arena *arena = &((struct memory *)*state)->arena;
    struct span row = write_example_row(arena), fresh = write_example_fresh(arena, SPAN("body"));
    size_t envelope_at = 1 + 4 + 8 + 2 + 15 + 2 + 26;
    size_t ret_at = envelope_at + 32 + 2 + 18 + 2 + 6 + 1 + 4 + 1 + 6 + 1 + 11;
    size_t notify_at = ret_at + 4 + 2 + 13 + 2 + 20;
    const struct {
        const char *what;
        struct span record;
        size_t at;
        unsigned char value;
        bool (*reads)(struct span bytes, struct arena *arena);
    } cases[] = {
        {"row: newer version", row, 0, RECORD_VERSION + 1, reads_row},
        {"row: version 0", row, 0, 0, reads_row},
        {"row: RET", row, ret_at, 3, reads_row},
        {"row: flags", row, ret_at + 1, 0x80, reads_row},
        {"row: too many recipients", row, ret_at + 2, 0xff, reads_row},
        {"row: fewer recipients than bytes", row, ret_at + 3, 1, reads_row},
        {"row: no recipient", row, ret_at + 3, 0, reads_row},
        {"row: NOTIFY", row, notify_at, 0x10, reads_row},
        {"row: recipient flags", row, notify_at + 1, 2, reads_row},
        {"fresh: newer version", fresh, 0, RECORD_VERSION + 1, reads_fresh},
        {"fresh: shard is not the id's", fresh, 1, 8, reads_fresh},
        {"fresh: id is not the envelope's", fresh, 9, 1, reads_fresh},
        {"fresh: kind of place", fresh, 10, 2, reads_fresh},
        {"fresh: inline, but with a segment", fresh, 14, 1, reads_fresh},
        {"fresh: body longer than said", fresh, 26, 3, reads_fresh},
        {"fresh: row longer than all", fresh, 31, 1, reads_fresh},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        char bytes[BYTES_MAX];
        memcpy(bytes, cases[i].record.data, cases[i].record.len);
        bytes[cases[i].at] = (char)cases[i].value;
        if (cases[i].reads(span_of(bytes, cases[i].record.len), arena))
            fail_msg("accepted: %s", cases[i].what);
    }
}

static void what_does_not_fit_is_not_written(void **state)
{
    struct arena *arena = &((struct memory *)*state)->arena;
    static char long_name[70000];
    struct row_state row = {0}, long_reply = {.last_reply = span_of(long_name, 65536)};
    struct span record;
    struct envelope envelope = example_envelope();
    assert_false(row_record_write(&envelope, &long_reply, arena, &record));
    envelope.tenant = span_of(long_name, 255);
    assert_true(row_record_write(&envelope, &row, arena, &record));
    envelope.tenant = span_of(long_name, 256);
    assert_false(row_record_write(&envelope, &row, arena, &record));
    envelope = example_envelope();
    envelope.reverse_path = span_of(long_name, 65536);
    assert_false(row_record_write(&envelope, &row, arena, &record));
    envelope = example_envelope();
    envelope.recipient_count = 0;
    assert_false(row_record_write(&envelope, &row, arena, &record));
}

static void memory_that_runs_out_is_an_answer(void **state)
{
    struct chunk_pool pool;
    struct arena none;
    struct envelope envelope = example_envelope();
    struct row_state row = example_state();
    struct span bytes = write_example_row(&((struct memory *)*state)->arena), record;
    chunk_pool_init(&pool, 0, 0);
    arena_init(&none, &pool, 0);
    assert_false(row_record_write(&envelope, &row, &none, &record));
    assert_false(reads_row(bytes, &none));
    arena_fini(&none);
    chunk_pool_fini(&pool);
}

/* ---- keys, ids, names ---- */

static void keys_are_read_as_written_and_only_whole(void **state)
{
    char key[32];
    uint64_t id, due;
    uint32_t part, queue;
    uint8_t shard;
    struct span row = row_key(key, 63, 0x01020304, 1800000000123, UINT64_MAX - 1);
    assert_true(row_key_read(row, &shard, &queue, &due, &id));
    assert_int_equal(shard, 63);
    assert_int_equal(queue, 0x01020304);
    assert_int_equal(due, 1800000000123);
    assert_int_equal(id, UINT64_MAX - 1);
    assert_false(row_key_read(span_first(row, row.len - 1), &shard, &queue, &due, &id));
    assert_false(row_key_read(span_of(key, row.len + 1), &shard, &queue, &due, &id));

    assert_true(body_key_read(body_key(key, 5, 6), &id, &part));
    assert_int_equal(id, 5);
    assert_int_equal(part, 6);
    assert_true(ref_key_read(ref_key(key, 7, 8), &id, &queue));
    assert_int_equal(queue, 8);
    assert_true(queue_key_read(queue_key(key, 9, 10), &shard, &queue));
    assert_int_equal(shard, 9);
    assert_false(queue_key_read(span_of(key, 4), &shard, &queue));
    assert_true(fresh_key_read(fresh_key(key, 11), &id));
    assert_int_equal(id, 11);
    assert_true(upload_key_read(upload_key(key, 12), &id));
    assert_int_equal(id, 12);
    assert_false(upload_key_read(SPAN("upload/1234567"), &id));
    assert_false(upload_key_read(SPAN("ceiling/12345678"), &id));
}

static void keys_sort_as_their_numbers(void **state)
{
    static const struct {
        uint8_t shard;
        uint32_t queue;
        uint64_t due, id;
    } ascending[] = {
        {0, 0, 0, 0},   {0, 0, 0, 256},        {0, 0, 1, 1},   {0, 0, UINT64_MAX, 0}, {0, 1, 0, 0},
        {0, 256, 0, 0}, {1, 0, 0, UINT64_MAX}, {1, 0, 256, 0}, {255, 0, 0, 0},
    };
    for (size_t i = 1; i < countof(ascending); i++) {
        char a[32], b[32];
        struct span first = row_key(a, ascending[i - 1].shard, ascending[i - 1].queue,
                                    ascending[i - 1].due, ascending[i - 1].id);
        row_key(b, ascending[i].shard, ascending[i].queue, ascending[i].due, ascending[i].id);
        assert_true(memcmp(a, b, first.len) < 0);
    }
}

static void ids_hold_time_shard_and_counter(void **state)
{
    uint64_t id = id_make(1800000000123, 63, 16383), again;
    char text[ID_TEXT];
    assert_int_equal(id_wall_ms(id), 1800000000123);
    assert_int_equal(id_shard(id), 63);
    assert_true(id_make(1800000000124, 0, 0) > id);
    id_text(id, text);
    assert_int_equal(strlen(text), 16);
    assert_true(id_parse(span_string(text), &again));
    assert_int_equal(again, id);
    assert_true(id_parse(SPAN("00000000000000FF"), &again));
    assert_int_equal(again, 255);
    static const char *const wrong[] = {"", "ff", "00000000000000fg", "00000000000000ff0",
                                        " 0000000000000ff"};
    for (size_t i = 0; i < countof(wrong); i++)
        assert_false(id_parse(span_string(wrong[i]), &again));
}

static void queue_names_leave_empty_parts_out(void **state)
{
    static const struct {
        struct span campaign, tenant;
        const char *name;
    } cases[] = {
        {{0}, {0}, "example.net"},
        {{0}, {"t", 1}, "t@example.net"},
        {{"c", 1}, {0}, "c:@example.net"},
        {{"c", 1}, {"t", 1}, "c:t@example.net"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        char storage[64];
        struct sink sink;
        sink_init(&sink, storage, sizeof storage);
        queue_name_put(cases[i].campaign, cases[i].tenant, SPAN("example.net"), &sink);
        assert_span_equal(sink_span(&sink), span_string(cases[i].name));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_row_is_read_as_it_was_written, begin, end),
        cmocka_unit_test_setup_teardown(a_fresh_record_carries_its_body, begin, end),
        cmocka_unit_test_setup_teardown(a_body_in_a_segment_is_a_place, begin, end),
        cmocka_unit_test_setup_teardown(a_queue_is_read_as_it_was_written, begin, end),
        cmocka_unit_test_setup_teardown(the_null_reverse_path_and_empty_names_survive, begin, end),
        cmocka_unit_test_setup_teardown(cut_or_extended_records_are_malformed, begin, end),
        cmocka_unit_test_setup_teardown(impossible_values_are_malformed, begin, end),
        cmocka_unit_test_setup_teardown(what_does_not_fit_is_not_written, begin, end),
        cmocka_unit_test_setup_teardown(memory_that_runs_out_is_an_answer, begin, end),
        cmocka_unit_test(keys_are_read_as_written_and_only_whole),
        cmocka_unit_test(keys_sort_as_their_numbers),
        cmocka_unit_test(ids_hold_time_shard_and_counter),
        cmocka_unit_test(queue_names_leave_empty_parts_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
