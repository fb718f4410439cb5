/* The scan for LF followed by a dot looks at 64 bytes a step with the compiler's vectors; such a
 * pair is rare in real mail, so a body is usually one iovec a piece.
 *
 * Failure mode to know: a body of nothing but dotted lines makes an iovec of a few bytes each. That
 * is slow for its sender alone, since a send has a fixed number of iovecs. */
#include "smtp/stuffing.h"

#include "core/check.h"

typedef char vector __attribute__((vector_size(16)));
typedef uint64_t vector_words __attribute__((vector_size(16)));

static vector load(const char *at)
{
    vector value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* All ones in each byte where `at` has LF and `at + 1` has a dot. */
static vector dotted(const char *at)
{
    return (vector)((load(at) == '\n') & (load(at + 1) == '.'));
}

static bool any_dotted_64(const char *at)
{
    vector_words found =
        (vector_words)(dotted(at) | dotted(at + 16) | dotted(at + 32) | dotted(at + 48));
    return (found[0] | found[1]) != 0;
}

/* Index of the first dot that follows an LF, or span.len. */
static size_t find_dotted(struct span span)
{
    size_t at = 0;
    while (span.len - at > 64 && !any_dotted_64(span.data + at))
        at += 64;
    while (at + 1 < span.len) {
        const char *lf = memchr(span.data + at, '\n', span.len - at - 1);
        if (!lf)
            break;
        at = (size_t)(lf - span.data) + 1;
        if (*(lf + 1) == '.')
            return at;
    }
    return span.len;
}

void stuffing_start(struct stuffing *stuffing, enum stuffing_mode mode, const struct span *pieces,
                    unsigned piece_count)
{
    *stuffing = (struct stuffing){
        .pieces = pieces,
        .piece_count = piece_count,
        .mode = (uint8_t)mode,
        .after_lf = true,
        .after_crlf = true,
    };
}

static struct iovec iovec_of(struct span span)
{
    union {
        const char *from;
        void *to;
    } base = {.from = span.data};
    return (struct iovec){.iov_base = base.to, .iov_len = span.len};
}

static void remember_end(struct stuffing *stuffing, struct span emitted)
{
    char last = emitted.data[emitted.len - 1];
    bool cr_before = emitted.len > 1 ? emitted.data[emitted.len - 2] == '\r' : stuffing->after_cr;
    stuffing->after_lf = last == '\n';
    stuffing->after_crlf = last == '\n' && cr_before;
    stuffing->after_cr = last == '\r';
}

/* The next bytes of the piece's `rest` that go out in one go, at most `most`; moves `offset`. */
static struct span emit_run(struct stuffing *stuffing, struct span rest, size_t most)
{
    size_t len = rest.len, advance = rest.len;
    bool dot = false;
    if (stuffing->mode == STUFFING_DOT) {
        bool at_dot = stuffing->after_lf && !stuffing->dot_doubled && rest.data[0] == '.';
        size_t found = at_dot ? 0 : find_dotted(rest);
        dot = found < rest.len;
        len =
            dot ? found + 1 : rest.len; /* through the dot, which the next run begins with again */
        advance = found;
    }
    if (len > most) {
        len = advance = most;
        dot = false;
    }
    stuffing->dot_doubled = dot;
    stuffing->offset += advance;
    struct span run = span_first(rest, len);
    remember_end(stuffing, run);
    return run;
}

static struct span ending(const struct stuffing *stuffing)
{
    if (stuffing->mode == STUFFING_NONE)
        return (struct span){0};
    if (stuffing->after_crlf)
        return SPAN(".\r\n");
    return stuffing->after_cr ? SPAN("\n.\r\n") : SPAN("\r\n.\r\n");
}

/* The rest of the first piece that has one; empty: the body is out. */
static struct span next_rest(struct stuffing *stuffing)
{
    for (; stuffing->piece < stuffing->piece_count; stuffing->piece++, stuffing->offset = 0) {
        struct span rest = span_skip(stuffing->pieces[stuffing->piece], stuffing->offset);
        if (rest.len)
            return rest;
    }
    return (struct span){0};
}

/* The end is noticed with the last byte, not a call later: a chunk that is out may be answered. */
unsigned stuffing_emit(struct stuffing *stuffing, struct iovec *iov, unsigned max, size_t max_bytes)
{
    unsigned count = 0;
    size_t bytes = 0;
    struct span rest = next_rest(stuffing);
    while (rest.len && count < max && bytes < max_bytes) {
        struct span run = emit_run(stuffing, rest, max_bytes - bytes);
        iov[count++] = iovec_of(run);
        bytes += run.len;
        rest = next_rest(stuffing);
    }
    if (rest.len || stuffing->done)
        return count;
    struct span end = ending(stuffing);
    if (end.len && count == max)
        return count;
    if (end.len)
        iov[count++] = iovec_of(end);
    stuffing->done = true;
    return count;
}
