/* The original is first copied flat, at most BOUNCE_ORIGINAL_MAX bytes of it: all questions about
 * it (where its headers end, whether it may be returned whole, whether it contains the boundary)
 * are then questions about one span. It is returned whole only if it has no bare CR, LF, NUL and no
 * line over 998 octets; its headers alone are cleaned and folded. */
#include "queue/bounce_private.h"

#include "core/utf8.h"

static bool flatten(struct report *report)
{
    const struct bounce *bounce = report->bounce;
    size_t len = 0;
    for (unsigned i = 0; i < bounce->original_pieces; i++)
        len += bounce->original[i].len;
    report->whole = bounce->original_whole && bounce->envelope->ret == RET_FULL &&
                    bounce->kind == BOUNCE_FAILURE && len > 0 && len <= BOUNCE_ORIGINAL_MAX;
    if (len > BOUNCE_ORIGINAL_MAX)
        len = BOUNCE_ORIGINAL_MAX;
    char *flat = arena_take(report->arena, len + 1);
    if (!flat)
        return false;
    struct sink sink;
    sink_init(&sink, flat, len);
    for (unsigned i = 0; i < bounce->original_pieces; i++)
        sink_put(&sink, span_first(bounce->original[i], len - sink.len));
    report->original = sink_span(&sink);
    return true;
}

/* The next line without its end; *rest moves behind it. */
static struct span next_line(struct span *rest)
{
    size_t len = span_find(*rest, '\n');
    struct span line = span_first(*rest, len);
    *rest = span_skip(*rest, len + 1);
    if (line.len && line.data[line.len - 1] == '\r')
        line.len--;
    return line;
}

static size_t headers_length(struct span original)
{
    struct span rest = original;
    while (rest.len) {
        const char *start = rest.data;
        if (next_line(&rest).len == 0)
            return (size_t)(start - original.data);
    }
    return original.len;
}

static bool may_return_whole(struct span original)
{
    size_t line_len = 0;
    for (size_t i = 0; i < original.len; i++) {
        char c = original.data[i];
        bool ends = c == '\r' && i + 1 < original.len && original.data[i + 1] == '\n';
        if (ends) {
            line_len = 0;
            i++;
        } else if (c == '\r' || c == '\n' || c == '\0' || ++line_len > LINE_MAX_OCTETS) {
            return false;
        }
    }
    return line_len == 0;
}

static bool contains(struct span haystack, struct span needle)
{
    return haystack.len && memmem(haystack.data, haystack.len, needle.data, needle.len);
}

/* From the id, which no other message has; the counter is for originals that guess it. */
static void choose_boundary(struct report *report)
{
    char id[ID_TEXT];
    id_text(report->bounce->id, id);
    for (unsigned attempt = 0;; attempt++) {
        struct sink sink;
        sink_init(&sink, report->boundary, sizeof report->boundary - 1);
        sink_put(&sink, SPAN("=_report_"));
        sink_put(&sink, span_string(id));
        sink_byte(&sink, '_');
        sink_decimal(&sink, attempt);
        report->boundary[sink.len] = '\0';
        if (!contains(report->original, sink_span(&sink)))
            return;
    }
}

bool report_look_at_original(struct report *report)
{
    if (!flatten(report))
        return false;
    report->headers_len = headers_length(report->original);
    struct span headers = span_first(report->original, report->headers_len);
    report->headers_8bit = !utf8_is_ascii(headers);
    if (report->whole)
        report->whole = may_return_whole(report->original) && utf8_valid(headers);
    report->original_8bit = report->whole ? !utf8_is_ascii(report->original) : report->headers_8bit;
    choose_boundary(report);
    return true;
}

/* Tabs stay; a line that is too long goes on in the next one, which begins with a blank. */
static void put_original_headers(struct report *report)
{
    struct span rest = span_first(report->original, report->headers_len);
    while (rest.len) {
        struct span line = next_line(&rest);
        struct span indent = SPAN("");
        do {
            struct span piece = span_first(line, LINE_MAX_OCTETS - 8);
            while (piece.len < line.len && ((unsigned char)line.data[piece.len] & 0xc0) == 0x80 &&
                   piece.len > LINE_MAX_OCTETS - 16)
                piece.len--; /* not within a character */
            line = span_skip(line, piece.len);
            report_put(report, indent);
            while (piece.len) {
                size_t tab = span_find(piece, '\t');
                report_put_clean(report, span_first(piece, tab), LINE_MAX_OCTETS, true);
                if (tab < piece.len)
                    PUT(report, "\t");
                piece = span_skip(piece, tab + 1);
            }
            PUT(report, "\r\n");
            indent = SPAN(" ");
        } while (line.len);
    }
}

void report_put_original_part(struct report *report)
{
    if (report->original.len == 0)
        return;
    report_put_boundary(report, SPAN(""));
    PUT(report, "Content-Description: Original message\r\nContent-Type: ");
    if (report->whole)
        report_put(report,
                   report->headers_8bit ? SPAN("message/global\r\n") : SPAN("message/rfc822\r\n"));
    else
        report_put(report, report->headers_8bit ? SPAN("message/global-headers\r\n")
                                                : SPAN("text/rfc822-headers\r\n"));
    report_put_encoding(report, report->original_8bit);
    PUT(report, "\r\n");
    if (report->whole)
        report_put(report, report->original);
    else
        put_original_headers(report);
}
