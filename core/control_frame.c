#include "core/control_frame.h"

#include "core/cursor.h"

#include <errno.h>

enum { NAME_MAX_LEN = 64 };

static const struct span magic = {"ringpost", 8};

size_t frame_begin(struct sink *sink, enum frame_type type)
{
    size_t at = sink->len;
    sink_u32(sink, 0);
    sink_u8(sink, (uint8_t)type);
    return at;
}

void frame_end(struct sink *sink, size_t at)
{
    if (sink->full)
        return;
    struct sink length;
    sink_init(&length, sink->data + at, 4);
    sink_u32(&length, (uint32_t)(sink->len - at - 4));
}

static bool is_type(uint8_t type)
{
    return type == FRAME_HELLO || type == FRAME_CALL || type == FRAME_RECORD ||
           type == FRAME_PULSE || type == FRAME_END;
}

int frame_read(struct span input, size_t max, struct frame *ret_frame)
{
    if (input.len < FRAME_HEAD)
        return 0;
    struct cursor cursor = cursor_over(input);
    uint32_t len = cursor_u32(&cursor);
    uint8_t type = cursor_u8(&cursor);
    if (len == 0 || len > max || !is_type(type))
        return -EBADMSG;
    if (cursor.rest.len < len - 1)
        return 0;
    *ret_frame = (struct frame){(enum frame_type)type, span_first(cursor.rest, len - 1)};
    return (int)len + 4;
}

void hello_put(struct sink *sink)
{
    size_t at = frame_begin(sink, FRAME_HELLO);
    sink_put(sink, magic);
    sink_u16(sink, CONTROL_VERSION);
    frame_end(sink, at);
}

/* A later version may say more behind its number. */
bool hello_read(struct span payload, unsigned *ret_version)
{
    struct cursor cursor = cursor_over(payload);
    bool ours = span_equals(cursor_bytes(&cursor, magic.len), magic);
    unsigned version = cursor_u16(&cursor);
    if (!ours || cursor.bad)
        return false;
    *ret_version = version;
    return true;
}

static void put_string(struct sink *sink, struct span text)
{
    sink_u16(sink, (uint16_t)text.len);
    sink_put(sink, span_first(text, UINT16_MAX));
}

void call_put(const struct command *command, const struct values *values, struct sink *sink)
{
    char name[NAME_MAX_LEN];
    struct sink name_sink;
    sink_init(&name_sink, name, sizeof name);
    command_put_name(command, &name_sink);
    unsigned given = 0;
    for (unsigned i = 0; i < command->argument_count; i++)
        given += values->given[i];
    size_t at = frame_begin(sink, FRAME_CALL);
    sink_u8(sink, (uint8_t)(1 + 2 * given));
    put_string(sink, sink_span(&name_sink));
    for (unsigned i = 0; i < command->argument_count; i++) {
        if (!values->given[i])
            continue;
        put_string(sink, span_string(command->arguments[i].name));
        put_string(sink, values->text[i]);
    }
    frame_end(sink, at);
}

static struct span read_string(struct cursor *cursor)
{
    uint16_t len = cursor_u16(cursor);
    return cursor_bytes(cursor, len);
}

static const struct command *find_command(struct span name)
{
    size_t blank = span_find(name, ' ');
    return command_find(span_first(name, blank), span_skip(name, blank + 1));
}

static bool set_value(const struct command *command, struct values *values, struct span name,
                      struct span text)
{
    for (unsigned i = 0; i < command->argument_count; i++) {
        if (!span_equals(span_string(command->arguments[i].name), name))
            continue;
        values->text[i] = text;
        values->given[i] = true;
        return true;
    }
    return false;
}

bool call_read(struct span payload, const struct command **ret_command, struct values *ret_values,
               struct sink *error)
{
    struct cursor cursor = cursor_over(payload);
    unsigned strings = cursor_u8(&cursor);
    struct span name = read_string(&cursor);
    const struct command *command = cursor.bad ? NULL : find_command(name);
    if (cursor.bad || strings % 2 == 0 || strings > 1 + 2 * ARGUMENTS_MAX) {
        sink_put(error, SPAN("malformed call"));
        return false;
    }
    if (!command) {
        sink_put(error, SPAN("this daemon does not know the command: "));
        sink_printable(error, name, NAME_MAX_LEN);
        return false;
    }
    struct values values = {0};
    for (unsigned i = 1; i < strings; i += 2) {
        struct span argument = read_string(&cursor), text = read_string(&cursor);
        if (!cursor.bad && set_value(command, &values, argument, text))
            continue;
        sink_put(error, SPAN("this daemon does not know the option: "));
        sink_printable(error, argument, NAME_MAX_LEN);
        return false;
    }
    if (cursor.rest.len) {
        sink_put(error, SPAN("malformed call"));
        return false;
    }
    if (!values_check(command, &values, error))
        return false;
    *ret_command = command;
    *ret_values = values;
    return true;
}

void end_put(enum call_status status, struct span text, struct sink *sink)
{
    size_t at = frame_begin(sink, FRAME_END);
    sink_u8(sink, (uint8_t)status);
    sink_put(sink, text);
    frame_end(sink, at);
}

bool end_read(struct span payload, enum call_status *ret_status, struct span *ret_text)
{
    struct cursor cursor = cursor_over(payload);
    uint8_t status = cursor_u8(&cursor);
    if (cursor.bad || status > CALL_WRONG)
        return false;
    *ret_status = (enum call_status)status;
    *ret_text = cursor.rest;
    return true;
}
