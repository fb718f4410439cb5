#include "smtp/xclient.h"

#include "core/check.h"

typedef bool read_attribute(struct span value, struct xclient *client);

/* ---- values ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* xtext as it is sent in practice: hexadecimal digits of both cases. */
static bool decode_xtext(struct span text, struct sink *sink)
{
    while (text.len) {
        int c = (unsigned char)text.data[0];
        size_t len = 1;
        if (c == '+') {
            int high = text.len < 3 ? -1 : hex_digit(text.data[1]);
            int low = text.len < 3 ? -1 : hex_digit(text.data[2]);
            if (high < 0 || low < 0)
                return false;
            c = high << 4 | low;
            len = 3;
        }
        if (c < 0x20 || c == 0x7f)
            return false;
        sink_byte(sink, (char)c);
        text = span_skip(text, len);
    }
    return !sink->full;
}

static bool unknown(struct span value)
{
    return span_equals_any_case(value, SPAN("[UNAVAILABLE]")) ||
           span_equals_any_case(value, SPAN("[TEMPUNAVAIL]"));
}

/* ---- attributes ---- */

static bool read_address(struct span value, struct xclient *client)
{
    client->has_address = true;
    if (unknown(value))
        return true;
    bool v6 = span_starts_with_any_case(value, SPAN("IPV6:"));
    struct span host = v6 ? span_skip(value, 5) : value;
    return address_parse(host, 0, &client->address) && address_port(&client->address) == 0 &&
           client->address.family == (v6 ? AF_INET6 : AF_INET);
}

static bool read_port(struct span value, struct xclient *client)
{
    uint64_t port = 0;
    client->has_port = true;
    if (!unknown(value) && !span_decimal(value, UINT16_MAX, &port))
        return false;
    client->port = (uint16_t)port;
    return true;
}

static bool read_login(struct span value, struct xclient *client)
{
    if (unknown(value))
        return true;
    client->has_login = true;
    memcpy(client->login_text, value.data, value.len);
    client->login = span_of(client->login_text, value.len);
    return true;
}

static bool read_protocol(struct span value, struct xclient *client)
{
    return span_equals_any_case(value, SPAN("SMTP")) || span_equals_any_case(value, SPAN("ESMTP"));
}

static bool drop(struct span value, struct xclient *client)
{
    return true;
}

static const struct {
    struct span name;
    read_attribute *read;
} attributes[] = {
    {SPAN("ADDR"), read_address},   {SPAN("PORT"), read_port}, {SPAN("LOGIN"), read_login},
    {SPAN("PROTO"), read_protocol}, {SPAN("NAME"), drop},      {SPAN("HELO"), drop},
};

/* ---- the walk ---- */

static bool read_one(struct span text, unsigned *seen, struct xclient *client)
{
    struct span name = span_first(text, span_find(text, '='));
    char storage[XCLIENT_VALUE];
    struct sink value;
    sink_init(&value, storage, sizeof storage);
    if (name.len == text.len || !decode_xtext(span_skip(text, name.len + 1), &value) ||
        value.len == 0)
        return false;
    for (size_t i = 0; i < countof(attributes); i++) {
        if (!span_equals_any_case(name, attributes[i].name))
            continue;
        bool repeated = *seen & 1u << i;
        *seen |= 1u << i;
        return !repeated && attributes[i].read(sink_span(&value), client);
    }
    return false;
}

bool xclient_read(struct span arguments, struct xclient *ret_client)
{
    unsigned seen = 0;
    *ret_client = (struct xclient){0};
    struct span rest = span_trim(arguments);
    while (rest.len) {
        struct span text = span_first(rest, span_find(rest, ' '));
        rest = span_trim(span_skip(rest, text.len));
        if (!read_one(text, &seen, ret_client))
            return false;
    }
    if (ret_client->has_port && ret_client->address.family != AF_UNSPEC)
        address_set_port(&ret_client->address, ret_client->port);
    return seen != 0;
}
