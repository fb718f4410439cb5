#include "core/sink.h"

#include <stdarg.h>
#include <stdio.h>

void sink_put(struct sink *sink, struct span span)
{
    if (sink->full || span.len > sink->capacity - sink->len) {
        sink->full = true;
        return;
    }
    if (span.len)
        memcpy(sink->data + sink->len, span.data, span.len);
    sink->len += span.len;
}

void sink_put_cut(struct sink *sink, struct span span)
{
    size_t room = sink->capacity - sink->len;
    sink_put(sink, span_first(span, room));
    if (span.len > room)
        sink->full = true;
}

void sink_byte(struct sink *sink, char byte)
{
    sink_put(sink, span_of(&byte, 1));
}

void sink_decimal(struct sink *sink, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    sink_put(sink, span_of(digits + at, sizeof digits - at));
}

void sink_format(struct sink *sink, const char *format, ...)
{
    if (sink->full)
        return;
    size_t room = sink->capacity - sink->len;
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(sink->data + sink->len, room, format, arguments);
    va_end(arguments);
    if (written < 0 || (size_t)written >= room)
        sink->full = true; /* vsnprintf also needs room for its NUL: one byte is lost, never more */
    else
        sink->len += (size_t)written;
}

static void put_big_endian(struct sink *sink, uint64_t value, unsigned bytes)
{
    char encoded[8];
    for (unsigned i = 0; i < bytes; i++)
        encoded[i] = (char)(value >> (8 * (bytes - 1 - i)));
    sink_put(sink, span_of(encoded, bytes));
}

void sink_u8(struct sink *sink, uint8_t value)
{
    put_big_endian(sink, value, 1);
}

void sink_u16(struct sink *sink, uint16_t value)
{
    put_big_endian(sink, value, 2);
}

void sink_u32(struct sink *sink, uint32_t value)
{
    put_big_endian(sink, value, 4);
}

void sink_u64(struct sink *sink, uint64_t value)
{
    put_big_endian(sink, value, 8);
}

void sink_printable(struct sink *sink, struct span span, size_t max)
{
    span = span_first(span, max);
    for (size_t i = 0; i < span.len; i++) {
        unsigned char c = (unsigned char)span.data[i];
        sink_byte(sink, c >= 0x20 && c < 0x7f ? (char)c : '?');
    }
}
