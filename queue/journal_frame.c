/* Frames are text so that an operator can read a journal with a pager. A reader that meets bytes
 * that are no frame looks for the next LF with a valid frame behind it; the checksum makes a
 * false find a matter of one in four billion per LF.
 *
 * Failure modes. A torn tail (power cut in mid-write) and damage look the same at the place where
 * they are; what tells them apart is whether a valid frame follows in the same file. A failed write
 * may leave whole frames behind the ones that were written over its beginning: their sequence is
 * not above what was read before. */
#include "core/crc32c.h"
#include "core/date.h"
#include "core/list.h"
#include "queue/journal.h"

enum {
    CRC_AT = 9,
    SEQUENCE_AT = CRC_AT + 9,
    LINE_AT = SEQUENCE_AT + 17,
};

static void put_hex(struct sink *sink, uint64_t value, unsigned digits)
{
    char text[16];
    for (unsigned i = digits; i-- > 0; value >>= 4)
        text[i] = "0123456789abcdef"[value & 15];
    sink_put(sink, span_of(text, digits));
}

static bool read_hex(struct span digits, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (size_t i = 0; i < digits.len; i++) {
        char c = digits.data[i];
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value << 4 | (uint64_t)(c - 'a' + 10);
        else
            return false;
    }
    *ret_value = value;
    return true;
}

bool journal_frame_write(struct sink *sink, uint64_t sequence, struct span line)
{
    if (sink->full || line.len > JOURNAL_LINE_MAX ||
        line.len + JOURNAL_FRAME_EXTRA > sink->capacity - sink->len)
        return false;
    struct sink frame;
    sink_init(&frame, sink->data + sink->len, line.len + JOURNAL_FRAME_EXTRA);
    put_hex(&frame, line.len, 8);
    sink_byte(&frame, ' ');
    put_hex(&frame, 0, 8);
    sink_byte(&frame, ' ');
    put_hex(&frame, sequence, 16);
    sink_byte(&frame, ' ');
    sink_put(&frame, line);
    struct span summed = span_skip(sink_span(&frame), SEQUENCE_AT);
    sink_byte(&frame, '\n');
    struct sink crc;
    sink_init(&crc, frame.data + CRC_AT, 8);
    put_hex(&crc, crc32c(0, summed), 8);
    sink->len += frame.len;
    return true;
}

/* Whether what is there of a frame's head can be one: so that a short rest of a file is called
 * damaged as soon as it is. */
static bool head_plausible(struct span bytes)
{
    for (size_t i = 0; i < bytes.len && i < LINE_AT; i++) {
        bool blank = i == CRC_AT - 1 || i == SEQUENCE_AT - 1 || i == LINE_AT - 1;
        char c = bytes.data[i];
        bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
        if (blank ? c != ' ' : !hex)
            return false;
    }
    return true;
}

long journal_frame_read(struct span bytes, uint64_t *ret_sequence, struct span *ret_line)
{
    uint64_t len, crc, sequence;
    if (!head_plausible(bytes))
        return -1;
    if (bytes.len < 8)
        return 0;
    if (!read_hex(span_first(bytes, 8), &len) || len > JOURNAL_LINE_MAX)
        return -1;
    if (bytes.len < len + JOURNAL_FRAME_EXTRA)
        return 0;
    struct span line = span_first(span_skip(bytes, LINE_AT), len);
    struct span summed = span_of(bytes.data + SEQUENCE_AT, LINE_AT - SEQUENCE_AT + len);
    if (!read_hex(span_first(span_skip(bytes, CRC_AT), 8), &crc) ||
        !read_hex(span_first(span_skip(bytes, SEQUENCE_AT), 16), &sequence) ||
        bytes.data[LINE_AT + len] != '\n' || crc32c(0, summed) != crc)
        return -1;
    *ret_sequence = sequence;
    *ret_line = line;
    return (long)(len + JOURNAL_FRAME_EXTRA);
}

/* ---- losses ---- */

#define LOSS_BEGINNING "{\"type\":\"Loss\",\"from\":"
#define LOSS_TO        ",\"to\":"

void journal_loss_write(struct sink *sink, uint64_t from, uint64_t to, uint64_t wall_ms)
{
    sink_put(sink, SPAN(LOSS_BEGINNING));
    sink_decimal(sink, from);
    sink_put(sink, SPAN(LOSS_TO));
    sink_decimal(sink, to);
    sink_put(sink, SPAN(",\"count\":"));
    sink_decimal(sink, to - from + 1);
    sink_put(sink, SPAN(",\"timestamp\":"));
    sink_decimal(sink, wall_ms / 1000);
    sink_put(sink, SPAN(",\"event_time\":\""));
    date_put_rfc3339(sink, wall_ms);
    sink_put(sink, SPAN("\"}"));
}

bool journal_loss_read(struct span line, uint64_t *ret_from, uint64_t *ret_to)
{
    if (!span_starts_with(line, SPAN(LOSS_BEGINNING)))
        return false;
    struct span rest = span_skip(line, sizeof LOSS_BEGINNING - 1);
    struct span from = span_first(rest, span_find(rest, ','));
    rest = span_skip(rest, from.len);
    if (!span_starts_with(rest, SPAN(LOSS_TO)))
        return false;
    rest = span_skip(rest, sizeof LOSS_TO - 1);
    struct span to = span_first(rest, span_find(rest, ','));
    return span_decimal(from, UINT64_MAX, ret_from) && span_decimal(to, UINT64_MAX, ret_to);
}

/* ---- reading on ---- */

static void tell(const struct journal_scan *scan, enum journal_break kind, uint64_t sequence)
{
    if (scan->on_break)
        scan->on_break(scan->break_context, kind, scan->next_sequence, sequence);
}

/* Whether frames are missing in front of this one and nobody says so. */
static bool jumps(struct journal_scan *scan, uint64_t sequence, struct span line)
{
    uint64_t from, to;
    bool loss = journal_loss_read(line, &from, &to) && from <= to && to == sequence;
    if (loss)
        scan->lost += to - from + 1;
    return scan->next_sequence && sequence > scan->next_sequence &&
           !(loss && from <= scan->next_sequence);
}

static void take_frame(struct journal_scan *scan, uint64_t sequence, struct span line,
                       journal_on_line *on_line, void *context)
{
    if (scan->next_sequence && sequence < scan->next_sequence) {
        scan->stale++;
        return;
    }
    if (scan->suspect) {
        scan->damaged++;
        tell(scan, JOURNAL_DAMAGE, sequence);
    }
    if (jumps(scan, sequence, line)) {
        scan->gaps++;
        tell(scan, JOURNAL_GAP, sequence);
    }
    scan->next_sequence = sequence + 1;
    scan->suspect = false;
    scan->frames++;
    on_line(context, &(struct journal_line){scan->worker, sequence, line});
}

size_t journal_scan_bytes(struct journal_scan *scan, struct span bytes, bool end,
                          journal_on_line *on_line, void *context)
{
    struct span rest = bytes;
    while (rest.len) {
        if (scan->resync) {
            size_t newline = span_find(rest, '\n');
            scan->resync = newline == rest.len;
            rest = span_skip(rest, newline + 1);
            continue;
        }
        uint64_t sequence;
        struct span line;
        long len = journal_frame_read(rest, &sequence, &line);
        if (len > 0) {
            take_frame(scan, sequence, line, on_line, context);
            rest = span_skip(rest, (size_t)len);
        } else if (len == 0 && !end) {
            break;
        } else {
            /* At the end an incomplete frame may still hide whole ones: its length may be wrong. */
            scan->suspect = scan->resync = true;
        }
    }
    if (end)
        scan->suspect = scan->resync = false;
    return bytes.len - rest.len;
}
