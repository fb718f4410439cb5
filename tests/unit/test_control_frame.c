/* The bytes on the control socket, and the records in them. */
#include "core/control_record.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
/* cmocka wants these first */
#include <cmocka.h>

static void frames_come_back_whole(void **state)
{
    char memory[64];
    struct sink sink;
    struct frame frame;
    sink_init(&sink, memory, sizeof memory);
    size_t at = frame_begin(&sink, FRAME_RECORD);
    sink_put(&sink, SPAN("{}"));
    frame_end(&sink, at);
    for (size_t len = 0; len < sink.len; len++)
        assert_int_equal(frame_read(span_of(memory, len), FRAME_MAX, &frame), 0);
    assert_int_equal(frame_read(sink_span(&sink), FRAME_MAX, &frame), 7);
    assert_int_equal(frame.type, FRAME_RECORD);
    assert_true(span_equals(frame.payload, SPAN("{}")));
}

static void what_is_no_frame_is_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
    } cases[] = {
        {"\0\0\0\0C", 5},
        {"\0\0\0\1X", 5},
        {"\xff\xff\xff\xff"
         "C",
         5},
        {"GET / HTTP/1.0", 14},
        {"\0\0\0\x12"
         "C",
         5},
    };
    struct frame frame;
    for (size_t i = 0; i < countof(cases); i++)
        assert_true(frame_read(span_of(cases[i].bytes, cases[i].len), 17, &frame) < 0);
}

static void hello_tells_the_version(void **state)
{
    char memory[64];
    struct sink sink;
    struct frame frame;
    unsigned version = 0;
    sink_init(&sink, memory, sizeof memory);
    hello_put(&sink);
    assert_true(frame_read(sink_span(&sink), FRAME_MAX, &frame) > 0);
    assert_true(hello_read(frame.payload, &version));
    assert_int_equal(version, CONTROL_VERSION);
    assert_true(hello_read(SPAN("ringpost\1\2and more"), &version));
    assert_int_equal(version, 258);
    assert_false(hello_read(SPAN("ringpost\1"), &version));
    assert_false(hello_read(SPAN("ringposd\1\2"), &version));
}

static void a_call_comes_back_as_it_was(void **state)
{
    const struct command *command = command_find(SPAN("queue"), SPAN("list")), *found;
    struct values values = {0}, read;
    char memory[512], error[128];
    struct sink sink, error_sink;
    struct frame frame;
    values.given[1] = true;
    values.text[1] = SPAN("example.net");
    sink_init(&sink, memory, sizeof memory);
    sink_init(&error_sink, error, sizeof error);
    call_put(command, &values, &sink);
    assert_int_equal(frame_read(sink_span(&sink), CALL_MAX, &frame), sink.len);
    assert_true(call_read(frame.payload, &found, &read, &error_sink));
    assert_ptr_equal(found, command);
    for (unsigned i = 0; i < ARGUMENTS_MAX; i++) {
        assert_int_equal(read.given[i], i == 1);
        assert_true(span_equals(read.text[i], values.text[i]));
    }
    /* Cut anywhere it is no call. */
    for (size_t len = 0; len < frame.payload.len; len++) {
        sink_init(&error_sink, error, sizeof error);
        assert_false(call_read(span_first(frame.payload, len), &found, &read, &error_sink));
        assert_true(error_sink.len > 0);
    }
}

static void calls_that_do_not_fit_are_refused(void **state)
{
    static const struct {
        struct span payload;
        const char *error;
    } cases[] = {
        {{"", 0}, "malformed call"},
        {{"\0\0\4none", 7}, "malformed call"},
        {{"\1\0\4none", 7}, "this daemon does not know the command: none"},
        {{"\1\0\6status!", 10}, "malformed call"},
        {{"\3\0\6status\0\1a\0\1b", 15}, "this daemon does not know the option: a"},
        {{"\3\0\11log level\0\5LEVEL\0\4loud", 25},
         "LEVEL wants one of: error warning notice info debug, not \"loud\""},
        {{"\1\0\11lane show", 12}, "NAME is missing"},
        {{"\xff\0\6status", 9}, "malformed call"},
    };
    for (size_t i = 0; i < countof(cases); i++) {
        const struct command *command;
        struct values values;
        char error[128];
        struct sink sink;
        sink_init(&sink, error, sizeof error - 1);
        assert_false(call_read(cases[i].payload, &command, &values, &sink));
        error[sink.len] = '\0';
        assert_string_equal(error, cases[i].error);
    }
}

static void the_end_tells_how(void **state)
{
    enum call_status status;
    struct span text;
    assert_true(end_read(SPAN("\1no"), &status, &text));
    assert_int_equal(status, CALL_FAILED);
    assert_true(span_equals(text, SPAN("no")));
    assert_false(end_read(SPAN("\7no"), &status, &text));
    assert_false(end_read((struct span){0}, &status, &text));
}

static void put_record(struct record *record, struct sink *sink)
{
    record_begin(record, sink);
    record_text(record, "text", SPAN("a\x1b\"b"));
    record_count(record, "count", INT64_MAX);
    record_list(record, "list");
    for (unsigned i = 0; i < 2; i++) {
        record_item(record);
        record_count(record, "i", i);
        record_flag(record, "odd", i % 2);
        record_item_end(record);
    }
    record_list_end(record);
    record_decimal(record, "decimal", 1.5);
}

static void records_are_json(void **state)
{
    char memory[1024];
    struct sink sink;
    struct record record;
    struct frame frame;
    sink_init(&sink, memory, sizeof memory);
    put_record(&record, &sink);
    assert_true(record_end(&record));
    assert_int_equal(frame_read(sink_span(&sink), FRAME_MAX, &frame), sink.len);
    json_t *json = json_loadb(frame.payload.data, frame.payload.len, 0, NULL);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "text")), "a\x1b\"b");
    assert_null(memchr(frame.payload.data, 0x1b, frame.payload.len));
    json_t *second = json_array_get(json_object_get(json, "list"), 1);
    assert_int_equal(json_integer_value(json_object_get(second, "i")), 1);
    assert_true(json_is_true(json_object_get(second, "odd")));
    assert_true(json_real_value(json_object_get(json, "decimal")) == 1.5);
    json_decref(json);
}

static void a_record_without_room_leaves_nothing(void **state)
{
    char memory[1024];
    struct sink sink;
    struct record record;
    sink_init(&sink, memory, sizeof memory);
    put_record(&record, &sink);
    assert_true(record_end(&record));
    size_t whole = sink.len;
    for (size_t room = 3; room < whole; room++) {
        sink_init(&sink, memory, room);
        sink_put(&sink, SPAN("abc"));
        put_record(&record, &sink);
        assert_false(record_end(&record));
        assert_true(span_equals(sink_span(&sink), SPAN("abc")));
        assert_false(sink.full);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_come_back_whole),
        cmocka_unit_test(what_is_no_frame_is_refused),
        cmocka_unit_test(hello_tells_the_version),
        cmocka_unit_test(a_call_comes_back_as_it_was),
        cmocka_unit_test(calls_that_do_not_fit_are_refused),
        cmocka_unit_test(the_end_tells_how),
        cmocka_unit_test(records_are_json),
        cmocka_unit_test(a_record_without_room_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
