#include "core/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_put(struct sink *sink, struct span octets)
{
    for (; octets.len; octets = span_skip(octets, 3)) {
        unsigned char three[3] = {0};
        char four[4];
        size_t len = octets.len < 3 ? octets.len : 3;
        memcpy(three, octets.data, len);
        unsigned bits = (unsigned)three[0] << 16 | (unsigned)three[1] << 8 | three[2];
        for (unsigned i = 0; i < 4; i++)
            four[i] = i <= len ? alphabet[bits >> (18 - 6 * i) & 63] : '=';
        sink_put(sink, span_of(four, 4));
    }
}

/* 0 to 63, or -1. */
static int value_of(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static bool decode_group(const char *four, size_t count, struct sink *sink)
{
    unsigned bits = 0;
    for (size_t i = 0; i < 4; i++) {
        int value = i < count ? value_of(four[i]) : 0;
        if (value < 0)
            return false;
        bits = bits << 6 | (unsigned)value;
    }
    for (size_t i = 0; i + 1 < count; i++)
        sink_byte(sink, (char)(bits >> (16 - 8 * i)));
    return (bits & ((1u << (24 - 8 * (count - 1))) - 1)) == 0; /* else two texts mean the same */
}

bool base64_decode(struct span text, struct sink *sink)
{
    if (text.len % 4)
        return false;
    for (; text.len; text = span_skip(text, 4)) {
        size_t count = 4;
        if (text.len == 4 && text.data[3] == '=')
            count = text.data[2] == '=' ? 2 : 3;
        if (!decode_group(text.data, count, sink))
            return false;
    }
    return !sink->full;
}
