/* name.c: one pass over the bytes, counting the label's length. */
#include "dns/name.h"

bool name_byte_valid(char byte)
{
    char c = ascii_lower(byte);
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

bool name_parse(struct span text, struct name *ret_name)
{
    struct name name = {0};
    if (text.len > 0 && text.data[text.len - 1] == '.')
        text.len--;
    if (text.len == 0 || text.len > NAME_BYTES)
        return false;
    size_t label = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '.' ? label == 0 : !name_byte_valid(c) || label == LABEL_BYTES)
            return false;
        label = c == '.' ? 0 : label + 1;
        name.text[name.len++] = ascii_lower(c);
    }
    if (label == 0)
        return false;
    *ret_name = name;
    return true;
}

bool name_is_below(struct span name, struct span domain)
{
    return span_equals_any_case(name, domain) ||
           (name.len > domain.len && span_ends_with_any_case(name, domain) &&
            name.data[name.len - domain.len - 1] == '.');
}
