#include "smtp/tags.h"

#include "core/base64.h"

static bool is_white(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct span trim(struct span text)
{
    while (text.len && is_white(text.data[0]))
        text = span_skip(text, 1);
    while (text.len && is_white(text.data[text.len - 1]))
        text.len--;
    return text;
}

static bool is_name(struct span name)
{
    for (size_t i = 0; i < name.len; i++) {
        char lower = ascii_lower(name.data[i]);
        bool letter = lower >= 'a' && lower <= 'z';
        if (!letter && (i == 0 || (name.data[i] != '_' && (lower < '0' || lower > '9'))))
            return false;
    }
    return name.len > 0;
}

static bool is_value(struct span value)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.data[i];
        if ((c < ' ' && !is_white((char)c)) || c == 0x7f)
            return false;
    }
    return true;
}

bool tags_read(struct span text, struct tags *ret_tags)
{
    ret_tags->count = 0;
    while ((text = trim(text)).len) {
        struct span one = span_first(text, span_find(text, ';')), known;
        size_t equal = span_find(one, '=');
        char name[64];
        struct tag tag = {trim(span_first(one, equal)), trim(span_skip(one, equal + 1))};
        if (equal == one.len || !is_name(tag.name) || tag.name.len >= sizeof name ||
            !is_value(tag.value) || ret_tags->count == TAGS_MOST)
            return false;
        memcpy(name, tag.name.data, tag.name.len);
        name[tag.name.len] = '\0';
        if (tags_find(ret_tags, name, &known))
            return false;
        ret_tags->list[ret_tags->count++] = tag;
        text = span_skip(text, one.len + 1);
    }
    return true;
}

bool tags_find(const struct tags *tags, const char *name, struct span *ret_value)
{
    for (unsigned i = 0; i < tags->count; i++) {
        if (!span_equals(tags->list[i].name, span_string(name)))
            continue;
        *ret_value = tags->list[i].value;
        return true;
    }
    return false;
}

bool tags_unfold(struct span value, struct sink *sink)
{
    for (size_t i = 0; i < value.len; i++)
        if (!is_white(value.data[i]))
            sink_byte(sink, value.data[i]);
    return !sink->full;
}

/* Four characters at a time, so that no second copy as long as the value is needed. */
bool tags_base64(struct span value, struct sink *sink)
{
    char four[4];
    unsigned count = 0;
    bool ended = false;
    for (size_t i = 0; i < value.len; i++) {
        if (is_white(value.data[i]))
            continue;
        four[count++] = value.data[i];
        if (count < sizeof four)
            continue;
        if (ended || !base64_decode(span_of(four, sizeof four), sink))
            return false;
        ended = four[3] == '=';
        count = 0;
    }
    return count == 0;
}

bool tags_next_item(struct span *rest, struct span *ret_item)
{
    if (!rest->data)
        return false;
    size_t len = span_find(*rest, ':');
    *ret_item = trim(span_first(*rest, len));
    *rest = len < rest->len ? span_skip(*rest, len + 1) : (struct span){0};
    return true;
}
