#include "core/span.h"

bool span_equals_any_case(struct span a, struct span b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (ascii_lower(a.data[i]) != ascii_lower(b.data[i]))
            return false;
    return true;
}

bool span_starts_with_any_case(struct span span, struct span prefix)
{
    return span.len >= prefix.len && span_equals_any_case(span_first(span, prefix.len), prefix);
}

bool span_ends_with_any_case(struct span span, struct span suffix)
{
    return span.len >= suffix.len &&
           span_equals_any_case(span_skip(span, span.len - suffix.len), suffix);
}

size_t span_find(struct span span, char byte)
{
    const char *found = span.len ? memchr(span.data, byte, span.len) : NULL;
    return found ? (size_t)(found - span.data) : span.len;
}

struct span span_trim(struct span span)
{
    while (span.len && (span.data[0] == ' ' || span.data[0] == '\t'))
        span = span_skip(span, 1);
    while (span.len && (span.data[span.len - 1] == ' ' || span.data[span.len - 1] == '\t'))
        span.len--;
    return span;
}

bool span_decimal(struct span span, uint64_t max, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (span.len == 0)
        return false;
    for (size_t i = 0; i < span.len; i++) {
        unsigned digit = (unsigned char)span.data[i] - '0';
        if (digit > 9 || value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (value > max)
        return false;
    *ret_value = value;
    return true;
}
