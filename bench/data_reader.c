#include "bench/data_reader.h"

#include "bench/message.h"
#include "core/crc32c.h"

#include <stdlib.h>

void data_reader_init(struct data_reader *reader, bool check)
{
    *reader = (struct data_reader){.check = check, .before = "\r\n"};
}

/* ---- text, unstuffed ---- */

static void header_line_ends(struct data_reader *reader)
{
    static const size_t name_len = sizeof MESSAGE_HASH_FIELD - 1;
    struct span line = span_of(reader->line, reader->line_len);
    if (line.len == 2)
        reader->in_body = true;
    if (line.len == name_len + 10 && span_starts_with(line, SPAN(MESSAGE_HASH_FIELD))) {
        char digits[9] = {0};
        memcpy(digits, line.data + name_len, 8);
        reader->expected = (uint32_t)strtoul(digits, NULL, 16);
        reader->has_hash = true;
    }
    reader->line_len = 0;
}

void data_reader_chunk(struct data_reader *reader, struct span text)
{
    reader->size += text.len;
    if (!reader->check)
        return;
    while (!reader->in_body && text.len) {
        size_t end = span_find(text, '\n');
        size_t len = end < text.len ? end + 1 : text.len;
        for (size_t i = 0; i < len && reader->line_len < sizeof reader->line; i++)
            reader->line[reader->line_len++] = text.data[i];
        if (end < text.len)
            header_line_ends(reader);
        text = span_skip(text, len);
    }
    reader->hash = crc32c(reader->hash, text);
}

/* ---- dots ---- */

static void remember(struct data_reader *reader, struct span read)
{
    if (read.len == 0)
        return;
    reader->before[0] = read.len > 1 ? read.data[read.len - 2] : reader->before[1];
    reader->before[1] = read.data[read.len - 1];
}

static bool line_begins(const struct data_reader *reader, const char *data, size_t at)
{
    char last = at > 0 ? data[at - 1] : reader->before[1];
    char last_but_one = at > 1 ? data[at - 2] : reader->before[at == 1];
    return last == '\n' && last_but_one == '\r';
}

/* The first dot that begins a line, or the length. */
static size_t find_dot(const struct data_reader *reader, struct span input)
{
    size_t at = 0;
    for (;; at++) {
        at += span_find(span_skip(input, at), '.');
        if (at >= input.len || line_begins(reader, input.data, at))
            return at < input.len ? at : input.len;
    }
}

/* One octet behind a dot that began a line: it ends the message, or was stuffing. */
static bool behind_dot(struct data_reader *reader, struct span *input)
{
    char c = input->data[0];
    if (reader->dot == 1 && c == '\r') {
        reader->dot = 2;
    } else if (reader->dot == 2 && c == '\n') {
        *input = span_skip(*input, 1);
        return true;
    } else {
        if (reader->dot == 2)
            data_reader_chunk(reader, SPAN("\r"));
        data_reader_chunk(reader, span_first(*input, 1));
        reader->dot = 0;
    }
    remember(reader, span_first(*input, 1));
    *input = span_skip(*input, 1);
    return false;
}

bool data_reader_feed(struct data_reader *reader, struct span *input)
{
    while (input->len) {
        if (reader->dot) {
            if (behind_dot(reader, input))
                return true;
            continue;
        }
        size_t at = find_dot(reader, *input);
        struct span text = span_first(*input, at);
        data_reader_chunk(reader, text);
        remember(reader, text);
        *input = span_skip(*input, at);
        if (input->len) {
            reader->dot = 1;
            remember(reader, SPAN("."));
            *input = span_skip(*input, 1);
        }
    }
    return false;
}
