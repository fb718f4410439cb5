/* sink: a bounded place to write bytes to.
 *
 * Writers append without looking; a sink that would overflow keeps what fitted before, sets `full`
 * and ignores the rest, so that one test at the end is enough. Use: sink_init over your own
 * storage, a few sink_put, then look at `full`, then take sink_span(). */
#pragma once

#include "core/span.h"

struct sink {
    char *data;
    size_t capacity, len;
    bool full;
};

static inline void sink_init(struct sink *sink, void *data, size_t capacity)
{
    *sink = (struct sink){.data = data, .capacity = capacity};
}

static inline struct span sink_span(const struct sink *sink)
{
    return span_of(sink->data, sink->len);
}

/* A piece that does not fit whole is not written at all. */
void sink_put(struct sink *sink, struct span span);
/* What fits of it is written; `full` says that something was cut. */
void sink_put_cut(struct sink *sink, struct span span);
void sink_byte(struct sink *sink, char byte);
void sink_decimal(struct sink *sink, uint64_t value);
void sink_format(struct sink *sink, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Big-endian integers, as the record formats use them (they sort as numbers do). */
void sink_u8(struct sink *sink, uint8_t value);
void sink_u16(struct sink *sink, uint16_t value);
void sink_u32(struct sink *sink, uint32_t value);
void sink_u64(struct sink *sink, uint64_t value);

/* Peer text made harmless for logs, journals and reports: every byte outside printable ASCII
 * becomes '?'; at most `max` bytes. */
void sink_printable(struct sink *sink, struct span span, size_t max);
