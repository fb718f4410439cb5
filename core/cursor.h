/* cursor: reads a bounded record front to back.
 *
 * The counterpart of the sink: reads what sink_u8/u16/u32/u64 and counted bytes wrote. A read past
 * the end sets `bad`, returns zero or an empty span, and all later reads do the same, so that one
 * test at the end is enough. */
#pragma once

#include "core/span.h"

struct cursor {
    struct span rest;
    bool bad;
};

static inline struct cursor cursor_over(struct span span)
{
    return (struct cursor){.rest = span};
}

static inline struct span cursor_bytes(struct cursor *cursor, size_t count)
{
    if (cursor->bad || count > cursor->rest.len) {
        cursor->bad = true;
        return (struct span){0};
    }
    struct span bytes = span_first(cursor->rest, count);
    cursor->rest = span_skip(cursor->rest, count);
    return bytes;
}

static inline uint64_t cursor_big_endian(struct cursor *cursor, unsigned count)
{
    struct span bytes = cursor_bytes(cursor, count);
    uint64_t value = 0;
    for (size_t i = 0; i < bytes.len; i++)
        value = value << 8 | (unsigned char)bytes.data[i];
    return value;
}

static inline uint8_t cursor_u8(struct cursor *cursor)
{
    return (uint8_t)cursor_big_endian(cursor, 1);
}

static inline uint16_t cursor_u16(struct cursor *cursor)
{
    return (uint16_t)cursor_big_endian(cursor, 2);
}

static inline uint32_t cursor_u32(struct cursor *cursor)
{
    return (uint32_t)cursor_big_endian(cursor, 4);
}

static inline uint64_t cursor_u64(struct cursor *cursor)
{
    return cursor_big_endian(cursor, 8);
}
