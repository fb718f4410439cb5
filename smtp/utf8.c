#include "smtp/utf8.h"

static bool is_continuation(struct span span, size_t at)
{
    return at < span.len && ((unsigned char)span.data[at] & 0xc0) == 0x80;
}

/* The second octet's range is what excludes overlong forms, surrogates and what lies above U+10FFFF
 * (RFC 3629, section 4). */
static bool second_octet_fits(unsigned char first, unsigned char second)
{
    switch (first) {
    case 0xe0:
        return second >= 0xa0;
    case 0xed:
        return second <= 0x9f;
    case 0xf0:
        return second >= 0x90;
    case 0xf4:
        return second <= 0x8f;
    default:
        return true;
    }
}

size_t utf8_character(struct span span)
{
    if (span.len == 0)
        return 0;
    unsigned char first = (unsigned char)span.data[0];
    if (first < 0x80)
        return 1;
    if (first < 0xc2 || first > 0xf4)
        return 0;
    size_t len = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    for (size_t i = 1; i < len; i++)
        if (!is_continuation(span, i))
            return 0;
    return second_octet_fits(first, (unsigned char)span.data[1]) ? len : 0;
}

bool utf8_clean(struct span span)
{
    while (span.len) {
        size_t len = utf8_character(span);
        if (len == 0)
            return false;
        if (len == 2 && (unsigned char)span.data[0] == 0xc2 && (unsigned char)span.data[1] < 0xa0)
            return false;
        span = span_skip(span, len);
    }
    return true;
}

bool span_is_ascii(struct span span)
{
    for (size_t i = 0; i < span.len; i++)
        if ((unsigned char)span.data[i] >= 0x80)
            return false;
    return true;
}
