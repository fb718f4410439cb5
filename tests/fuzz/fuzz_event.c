/* Reading any bytes as an event line, and writing events whose strings are any bytes: what was
 * written is one line of valid UTF-8 without control characters, and is read back. */
#include "core/check.h"
#include "core/cursor.h"
#include "core/utf8.h"
#include "queue/event.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct span string(struct cursor *input)
{
    size_t len = cursor_u8(input);
    return cursor_bytes(input, len < input->rest.len ? len : input->rest.len);
}

static void read_line(struct span line, char *scratch_data)
{
    struct sink scratch;
    struct event_summary summary;
    sink_init(&scratch, scratch_data, line.len);
    if (event_read(line, &scratch, &summary))
        check(event_type_name(summary.type).len > 0);
}

static void write_line(struct cursor *input, char *line_data, char *scratch_data)
{
    struct recipient recipients[2] = {{.address = string(input), .original = string(input)},
                                      {.address = string(input)}};
    struct envelope envelope = {
        .id = cursor_u64(input),
        .arrived_ms = cursor_u64(input),
        .reverse_path = string(input),
        .envid = string(input),
        .tenant = string(input),
        .campaign = string(input),
        .recipients = recipients,
        .recipient_count = cursor_u8(input) % 3,
    };
    struct reply_summary reply = {
        .code = cursor_u16(input) % 1000,
        .enhanced = {cursor_u8(input) % 10, cursor_u16(input) % 1000, cursor_u16(input) % 1000},
        .text = string(input),
        .command = string(input),
    };
    struct attempt attempt = {
        .source = string(input),
        .site = string(input),
        .peer_name = string(input),
        .protocol = string(input),
        .started_ms = cursor_u64(input),
    };
    struct event event = {
        .type = cursor_u8(input) % EVENT_TYPES,
        .envelope = &envelope,
        .queue = string(input),
        .attempt = &attempt,
        .reply = &reply,
        .wall_ms = cursor_u64(input),
        .row_due_ms = cursor_u64(input),
        .node = string(input),
    };
    struct sink sink, scratch;
    struct event_summary summary;
    sink_init(&sink, line_data, EVENT_LINE_MAX);
    event_write(&event, &sink);
    check(!sink.full && utf8_valid(sink_span(&sink)));
    for (size_t i = 0; i < sink.len; i++)
        check((unsigned char)line_data[i] >= 0x20 && line_data[i] != 0x7f);
    sink_init(&scratch, scratch_data, sink.len);
    check(event_read(sink_span(&sink), &scratch, &summary));
    check(summary.id == envelope.id && summary.reply.code == reply.code);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct cursor input = cursor_over(span_of(data, size));
    char *line = malloc(EVENT_LINE_MAX), *scratch = malloc(EVENT_LINE_MAX);
    if (cursor_u8(&input) == 'w')
        write_line(&input, line, scratch);
    else if (size <= EVENT_LINE_MAX)
        read_line(span_of(data, size), scratch);
    free(scratch);
    free(line);
    return 0;
}
