#include "core/utf8.h"

static bool continues(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

size_t utf8_sequence(struct span span)
{
    const unsigned char *byte = (const unsigned char *)span.data;
    if (span.len == 0)
        return 0;
    if (byte[0] < 0x80)
        return 1;
    size_t len = byte[0] < 0xc2   ? 0
                 : byte[0] < 0xe0 ? 2
                 : byte[0] < 0xf0 ? 3
                 : byte[0] < 0xf5 ? 4
                                  : 0;
    if (len == 0 || span.len < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if (!continues(byte[i]))
            return 0;
    bool overlong = (byte[0] == 0xe0 && byte[1] < 0xa0) || (byte[0] == 0xf0 && byte[1] < 0x90);
    bool surrogate = byte[0] == 0xed && byte[1] >= 0xa0;
    bool too_high = byte[0] == 0xf4 && byte[1] >= 0x90;
    return overlong || surrogate || too_high ? 0 : len;
}

bool utf8_valid(struct span span)
{
    while (span.len) {
        size_t len = utf8_sequence(span);
        if (len == 0)
            return false;
        span = span_skip(span, len);
    }
    return true;
}

bool utf8_is_ascii(struct span span)
{
    for (size_t i = 0; i < span.len; i++)
        if ((unsigned char)span.data[i] >= 0x80)
            return false;
    return true;
}
