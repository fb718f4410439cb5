/* report_parse: a strict reader of what bounce_write makes; for the unit test and the fuzz target.
 * Every function stops the program at the first thing that is not as it must be. */
#pragma once

#include "core/check.h"
#include "core/span.h"
#include "core/utf8.h"

#include <stdio.h>

struct report_part {
    struct span headers, body; /* with line ends */
};

struct parsed_report {
    struct span headers;
    struct report_part parts[3]; /* person, machine, original */
    unsigned part_count;
};

static inline struct span parse_line(struct span *rest)
{
    size_t len = span_find(*rest, '\n');
    check(len < rest->len && len > 0 && rest->data[len - 1] == '\r');
    struct span line = span_first(*rest, len - 1);
    *rest = span_skip(*rest, len + 1);
    return line;
}

/* CRLF only, lines of at most 998 octets, no control character but the tab, UTF-8. */
static inline void check_octets(struct span text)
{
    check(utf8_valid(text));
    while (text.len) {
        struct span line = parse_line(&text);
        check(line.len <= 998);
        for (size_t i = 0; i < line.len; i++) {
            unsigned char c = (unsigned char)line.data[i];
            check((c >= 0x20 && c != 0x7f) || c == '\t');
            check(c != 0xc2 || (unsigned char)line.data[i + 1] >= 0xa0); /* C1 */
        }
    }
}

static inline bool is_field(struct span line)
{
    size_t colon = span_find(line, ':');
    for (size_t i = 0; i < colon; i++)
        if (line.data[i] <= ' ' || line.data[i] == 0x7f)
            return false;
    return colon > 0 && colon < line.len;
}

/* The headers up to the empty line, which is passed. Each is a field or a continuation. */
static inline struct span take_headers(struct span *rest)
{
    const char *start = rest->data;
    for (bool first = true;; first = false) {
        const char *line_start = rest->data;
        struct span line = parse_line(rest);
        if (line.len == 0)
            return span_of(start, (size_t)(line_start - start));
        bool continuation = line.data[0] == ' ' && !first && span_trim(line).len > 0;
        check(continuation || is_field(line));
    }
}

/* The value of a field, unfolded lines excluded; *ret_count says how often the field is there. */
static inline struct span field(struct span headers, const char *name, unsigned *ret_count)
{
    struct span value = {0};
    *ret_count = 0;
    while (headers.len) {
        struct span line = parse_line(&headers);
        size_t colon = span_find(line, ':');
        if (is_field(line) && span_equals(span_first(line, colon), span_string(name))) {
            value = span_trim(span_skip(line, colon + 1));
            ++*ret_count;
        }
    }
    return value;
}

static inline struct span one_field(struct span headers, const char *name)
{
    unsigned count;
    struct span value = field(headers, name, &count);
    check(count == 1);
    return value;
}

static inline unsigned count_fields(struct span headers)
{
    unsigned count = 0;
    while (headers.len)
        count += is_field(parse_line(&headers));
    return count;
}

static inline struct span boundary_of(struct span headers)
{
    const char *at = memmem(headers.data, headers.len, "\n boundary=\"", 12);
    check(at);
    struct span rest = span_skip(headers, (size_t)(at + 12 - headers.data));
    return span_first(rest, span_find(rest, '"'));
}

/* Whether a line is the boundary's: 1, or 2 for the closing one. */
static inline int delimits(struct span line, struct span boundary)
{
    if (!span_starts_with(line, SPAN("--")) || !span_starts_with(span_skip(line, 2), boundary))
        return 0;
    struct span rest = span_skip(line, 2 + boundary.len);
    check(rest.len == 0 || span_equals(rest, SPAN("--")));
    return rest.len ? 2 : 1;
}

static inline void parse_parts(struct span rest, struct parsed_report *report)
{
    struct span boundary = boundary_of(report->headers);
    const char *body = NULL;
    for (;;) {
        const char *line_start = rest.data;
        int delimiter = delimits(parse_line(&rest), boundary);
        if (!delimiter)
            continue;
        if (body) /* the CRLF in front belongs to the delimiter */
            report->parts[report->part_count - 1].body =
                span_of(body, line_start - body < 2 ? 0 : (size_t)(line_start - body - 2));
        if (delimiter == 2)
            break;
        check(report->part_count < 3);
        report->parts[report->part_count++].headers = take_headers(&rest);
        body = rest.data;
    }
    check(rest.len == 0);
}

static inline void check_encoding(struct span headers, struct span text)
{
    struct span encoding = one_field(headers, "Content-Transfer-Encoding");
    check(span_equals(encoding, SPAN("7bit")) || span_equals(encoding, SPAN("8bit")));
    check(span_equals(encoding, SPAN("8bit")) || utf8_is_ascii(text));
}

static inline struct parsed_report parse_report(struct span text)
{
    static const char *names[] = {
        "Date",         "From",         "To",
        "Subject",      "Message-ID",   "Auto-Submitted",
        "MIME-Version", "Content-Type", "Content-Transfer-Encoding",
    };
    struct parsed_report report = {0};
    struct span rest = text;
    report.headers = take_headers(&rest);
    for (size_t i = 0; i < countof(names); i++)
        one_field(report.headers, names[i]);
    check(count_fields(report.headers) == countof(names));
    check_encoding(report.headers, rest);
    parse_parts(rest, &report);
    check(report.part_count >= 2);
    for (unsigned i = 0; i < report.part_count; i++) {
        check(count_fields(report.parts[i].headers) == 3);
        one_field(report.parts[i].headers, "Content-Type");
        check_encoding(report.parts[i].headers, report.parts[i].body);
    }
    check_octets(span_first(
        text, (size_t)(report.parts[1].body.data + report.parts[1].body.len - text.data)));
    return report;
}

/* One group of the machine part: 0 is about the message, then one per recipient. */
static inline struct span report_group(const struct parsed_report *report, unsigned index)
{
    struct span rest = report->parts[1].body;
    for (;; index--) {
        const char *start = rest.data;
        size_t len = 0;
        while (rest.len) {
            struct span line = parse_line(&rest);
            if (line.len == 0)
                break;
            check(is_field(line));
            len = (size_t)(rest.data - start);
        }
        if (index == 0)
            return span_of(start, len);
        if (rest.len == 0)
            return (struct span){0};
    }
}
