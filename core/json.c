#include "core/json.h"
#include "core/utf8.h"

/* ---- writing ---- */

static void put_escape(struct sink *sink, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = {'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]};
    switch (c) {
    case '"':
    case '\\':
        text[1] = (char)c;
        break;
    case '\n':
        text[1] = 'n';
        break;
    case '\r':
        text[1] = 'r';
        break;
    case '\t':
        text[1] = 't';
        break;
    default:
        sink_put(sink, span_of(text, 6));
        return;
    }
    sink_put(sink, span_of(text, 2));
}

static bool plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

void json_put_string(struct sink *sink, struct span text, size_t max)
{
    sink_byte(sink, '"');
    for (size_t taken = 0; text.len && taken < max;) {
        size_t run = 0;
        while (run < text.len && taken + run < max && plain((unsigned char)text.data[run]))
            run++;
        if (run == 0) {
            const unsigned char *byte = (const unsigned char *)text.data;
            size_t len = utf8_sequence(text);
            if (taken + len > max)
                break;
            if (len == 0)
                sink_put(sink, SPAN("\xef\xbf\xbd"));
            else if (len == 1)
                put_escape(sink, byte[0]);
            else if (len == 2 && byte[0] == 0xc2 && byte[1] < 0xa0)
                put_escape(sink, byte[1]);
            else
                sink_put(sink, span_first(text, len));
            run = len ? len : 1;
        } else {
            sink_put(sink, span_first(text, run));
        }
        taken += run;
        text = span_skip(text, run);
    }
    sink_byte(sink, '"');
}

/* ---- reading ---- */

static void skip_blanks(struct span *rest)
{
    while (rest->len && (rest->data[0] == ' ' || rest->data[0] == '\t' || rest->data[0] == '\n' ||
                         rest->data[0] == '\r'))
        *rest = span_skip(*rest, 1);
}

static bool take(struct span *rest, char c)
{
    if (rest->len == 0 || rest->data[0] != c)
        return false;
    *rest = span_skip(*rest, 1);
    return true;
}

/* Passes a string; *ret_inner is what stands between its quotes. */
static bool take_string(struct span *rest, struct span *ret_inner)
{
    if (!take(rest, '"'))
        return false;
    for (size_t i = 0; i < rest->len; i++) {
        unsigned char c = (unsigned char)rest->data[i];
        if (c == '"') {
            *ret_inner = span_first(*rest, i);
            *rest = span_skip(*rest, i + 1);
            return true;
        }
        if (c < 0x20)
            return false;
        if (c == '\\')
            i++;
    }
    return false;
}

/* Numbers, true, false, null: by the characters they may consist of. */
static bool take_word(struct span *rest)
{
    size_t len = 0;
    while (len < rest->len) {
        char c = rest->data[len];
        bool ok = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-' || c == '+' ||
                  c == '.' || c == 'E';
        if (!ok)
            break;
        len++;
    }
    *rest = span_skip(*rest, len);
    return len > 0;
}

/* Passes one value, without recursion: brackets are kept as a stack of bits. */
static bool take_value(struct span *rest)
{
    uint32_t objects = 0; /* bit i: level i is an object */
    unsigned depth = 0;
    for (;;) {
        struct span inner;
        skip_blanks(rest);
        if (rest->len == 0)
            return false;
        char c = rest->data[0];
        if (c == '{' || c == '[') {
            if (depth == JSON_DEPTH)
                return false;
            objects = c == '{' ? objects | 1u << depth : objects & ~(1u << depth);
            depth++;
            take(rest, c);
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
            if (!take(rest, objects & 1u << depth ? '}' : ']'))
                return false;
        } else if ((c == ',' || c == ':') && depth > 0) {
            take(rest, c);
        } else if (c == '"' ? !take_string(rest, &inner) : !take_word(rest)) {
            return false;
        }
        if (depth == 0)
            return true;
    }
}

static struct json_walk walk_into(struct span text, char bracket)
{
    struct json_walk walk = {.rest = text};
    skip_blanks(&walk.rest);
    walk.bad = !take(&walk.rest, bracket);
    return walk;
}

struct json_walk json_walk_over(struct span text)
{
    return walk_into(text, '{');
}

struct json_walk json_items_over(struct span text)
{
    return walk_into(text, '[');
}

static bool fail(struct json_walk *walk)
{
    walk->bad = true;
    return false;
}

/* Before a member or an element: its comma. False: `end` was reached, or `bad`. */
static bool begin_next(struct json_walk *walk, char end)
{
    if (walk->bad)
        return false;
    skip_blanks(&walk->rest);
    if (take(&walk->rest, end)) {
        skip_blanks(&walk->rest);
        walk->bad = walk->rest.len > 0;
        walk->rest = end == '}' ? SPAN("}") : SPAN("]"); /* asked again, the end is still the end */
        return false;
    }
    if (walk->inside && !take(&walk->rest, ','))
        return fail(walk);
    walk->inside = true;
    skip_blanks(&walk->rest);
    return true;
}

static bool next_value(struct json_walk *walk, struct span *ret_value)
{
    skip_blanks(&walk->rest);
    const char *start = walk->rest.data;
    if (!take_value(&walk->rest))
        return fail(walk);
    *ret_value = span_of(start, (size_t)(walk->rest.data - start));
    return true;
}

bool json_next(struct json_walk *walk, struct span *ret_key, struct span *ret_value)
{
    struct span key;
    if (!begin_next(walk, '}'))
        return false;
    if (!take_string(&walk->rest, &key))
        return fail(walk);
    skip_blanks(&walk->rest);
    if (!take(&walk->rest, ':'))
        return fail(walk);
    if (!next_value(walk, ret_value))
        return false;
    *ret_key = key;
    return true;
}

bool json_next_item(struct json_walk *walk, struct span *ret_value)
{
    return begin_next(walk, ']') && next_value(walk, ret_value);
}

static bool read_unit(struct span *rest, uint32_t *ret_unit)
{
    uint32_t unit = 0;
    if (rest->len < 4)
        return false;
    for (size_t i = 0; i < 4; i++) {
        char c = ascii_lower(rest->data[i]);
        if (c >= '0' && c <= '9')
            unit = unit << 4 | (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            unit = unit << 4 | (uint32_t)(c - 'a' + 10);
        else
            return false;
    }
    *rest = span_skip(*rest, 4);
    *ret_unit = unit;
    return true;
}

static void put_utf8(struct sink *sink, uint32_t code)
{
    if (code < 0x80) {
        sink_u8(sink, (uint8_t)code);
        return;
    }
    unsigned more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint8_t lead[] = {0, 0xc0, 0xe0, 0xf0};
    sink_u8(sink, (uint8_t)(lead[more] | code >> (6 * more)));
    while (more-- > 0)
        sink_u8(sink, (uint8_t)(0x80 | (code >> (6 * more) & 0x3f)));
}

static bool read_escape(struct span *rest, struct sink *scratch)
{
    static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    uint32_t code, low;
    if (rest->len == 0)
        return false;
    char c = rest->data[0];
    *rest = span_skip(*rest, 1);
    if (c == 'u') {
        if (!read_unit(rest, &code))
            return false;
        if (code >= 0xd800 && code < 0xdc00) {
            if (!take(rest, '\\') || !take(rest, 'u') || !read_unit(rest, &low) || low < 0xdc00 ||
                low > 0xdfff)
                return false;
            code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        } else if (code >= 0xdc00 && code < 0xe000) {
            return false;
        }
        put_utf8(scratch, code);
        return true;
    }
    const char *found = c ? strchr(names, c) : NULL;
    if (!found)
        return false;
    sink_byte(scratch, bytes[found - names]);
    return true;
}

bool json_read_string(struct span value, struct sink *scratch, struct span *ret_text)
{
    struct span rest = value, inner;
    if (!take_string(&rest, &inner) || rest.len > 0)
        return false;
    size_t start = scratch->len;
    while (inner.len) {
        size_t run = span_find(inner, '\\');
        sink_put(scratch, span_first(inner, run));
        inner = span_skip(inner, run);
        if (take(&inner, '\\') && !read_escape(&inner, scratch))
            return false;
    }
    if (scratch->full)
        return false;
    *ret_text = span_of(scratch->data + start, scratch->len - start);
    return true;
}
