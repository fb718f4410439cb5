/* span: bytes that somebody else owns, and the few questions one asks of them.
 *
 * A span argument is borrowed until the function returns. Spans are not NUL-terminated. The
 * comparison "equals, any case" is ASCII only, as the mail protocols want it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const char *data;
    size_t len;
};

#define SPAN(literal)     ((struct span){.data = "" literal "", .len = sizeof(literal) - 1})
#define SPAN_FORMAT(span) (int)(span).len, (span).data /* for "%.*s" */

static inline struct span span_of(const void *data, size_t len)
{
    return (struct span){.data = (const char *)data, .len = len}; /* the cast is for C++ */
}

static inline struct span span_string(const char *string)
{
    return (struct span){.data = string, .len = string ? strlen(string) : 0};
}

static inline bool span_equals(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* `count` is cut to the span's length. */
static inline struct span span_first(struct span span, size_t count)
{
    return span_of(span.data, count < span.len ? count : span.len);
}

static inline struct span span_skip(struct span span, size_t count)
{
    if (count > span.len)
        count = span.len;
    if (count == 0) /* C has no offset, not even zero, from a null pointer */
        return span;
    return span_of(span.data + count, span.len - count);
}

static inline bool span_starts_with(struct span span, struct span prefix)
{
    return span.len >= prefix.len && span_equals(span_first(span, prefix.len), prefix);
}

/* ASCII, as RFC 5321 2.4 compares verbs and keywords. */
static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

bool span_equals_any_case(struct span a, struct span b);
bool span_starts_with_any_case(struct span span, struct span prefix);
bool span_ends_with_any_case(struct span span, struct span suffix);

/* Index of the first `byte`, or span.len if there is none. */
size_t span_find(struct span span, char byte);

/* Without blanks and tabs at both ends. */
struct span span_trim(struct span span);

/* A decimal number that fills the whole span, digits only. False if empty, not a number or > `max`.
 */
bool span_decimal(struct span span, uint64_t max, uint64_t *ret_value);
