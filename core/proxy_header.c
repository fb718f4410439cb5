#include "core/proxy_header.h"

#include "core/check.h"
#include "core/cursor.h"

enum { V2_FIXED = 16, V2_ADDRESSES = 36, V2_TCP4 = 0x11, V2_TCP6 = 0x21 };

#define V2_SIGNATURE SPAN("\r\n\r\n\0\r\nQUIT\n")

/* ---- version 1: "PROXY TCP4 192.0.2.1 192.0.2.2 4711 25\r\n" ---- */

static struct span take_word(struct span *rest)
{
    struct span word = span_first(*rest, span_find(*rest, ' '));
    *rest = span_skip(*rest, word.len + 1);
    return word;
}

static bool read_endpoint(struct span host, struct span port_text, sa_family_t family,
                          struct address *ret_address)
{
    uint64_t port;
    if (!span_decimal(port_text, UINT16_MAX, &port) || port_text.len > 5 ||
        span_find(host, '[') < host.len || !address_parse(host, 0, ret_address) ||
        ret_address->family != family || address_port(ret_address) != 0)
        return false;
    address_set_port(ret_address, (uint16_t)port);
    return true;
}

static enum proxy_result parse_text(struct span line, struct address *ret_source)
{
    struct address source, target;
    if (line.len < 2 || line.data[line.len - 2] != '\r')
        return PROXY_BAD;
    struct span rest = span_first(line, line.len - 2);
    struct span proxy = take_word(&rest), protocol = take_word(&rest);
    if (!span_equals(proxy, SPAN("PROXY")))
        return PROXY_BAD;
    *ret_source = (struct address){0};
    if (span_equals(protocol, SPAN("UNKNOWN")))
        return PROXY_DONE;
    sa_family_t family = span_equals(protocol, SPAN("TCP4")) ? AF_INET : AF_INET6;
    if (family == AF_INET6 && !span_equals(protocol, SPAN("TCP6")))
        return PROXY_BAD;
    struct span from = take_word(&rest), to = take_word(&rest);
    struct span from_port = take_word(&rest), to_port = rest;
    if (!read_endpoint(from, from_port, family, &source) ||
        !read_endpoint(to, to_port, family, &target))
        return PROXY_BAD;
    *ret_source = source;
    return PROXY_DONE;
}

static enum proxy_result read_text(struct proxy_header *header, struct span *input,
                                   struct address *ret_source)
{
    while (input->len) {
        char c = input->data[0];
        *input = span_skip(*input, 1);
        header->text[header->len++] = c;
        if (c == '\n')
            return parse_text(span_of(header->text, header->len), ret_source);
        if (header->len == sizeof header->text || c == '\0')
            return PROXY_BAD;
    }
    return PROXY_MORE;
}

/* ---- version 2: signature, version and command, family, length, addresses, whatever else ---- */

static void take_bytes(struct cursor *cursor, void *bytes, size_t len)
{
    struct span span = cursor_bytes(cursor, len);
    if (span.data)
        memcpy(bytes, span.data, len);
}

static void take_v4(struct cursor *cursor, struct address *ret_source)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    take_bytes(cursor, &v4.sin_addr, 4);
    cursor_bytes(cursor, 4);
    v4.sin_port = htons(cursor_u16(cursor));
    *ret_source = (struct address){.v4 = v4, .len = sizeof v4};
}

static void take_v6(struct cursor *cursor, struct address *ret_source)
{
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    take_bytes(cursor, &v6.sin6_addr, 16);
    cursor_bytes(cursor, 16);
    v6.sin6_port = htons(cursor_u16(cursor));
    *ret_source = (struct address){.v6 = v6, .len = sizeof v6};
}

/* The fixed part, and as much of the addresses as there is room for, are in `text`. */
static enum proxy_result parse_binary(const struct proxy_header *header, struct address *ret_source)
{
    struct cursor cursor = cursor_over(span_of(header->text, header->len));
    cursor_bytes(&cursor, V2_SIGNATURE.len);
    uint8_t command = cursor_u8(&cursor), family = cursor_u8(&cursor);
    size_t len = cursor_u16(&cursor);
    *ret_source = (struct address){0};
    if (command == 0x20 || (command == 0x21 && family == 0))
        return PROXY_DONE;
    if (command != 0x21)
        return PROXY_BAD;
    if (family == V2_TCP4 && len >= 12)
        take_v4(&cursor, ret_source);
    else if (family == V2_TCP6 && len >= V2_ADDRESSES)
        take_v6(&cursor, ret_source);
    else
        return PROXY_BAD;
    return PROXY_DONE;
}

/* How many octets of the header to keep, as far as is known by now. */
static size_t binary_wanted(const struct proxy_header *header)
{
    if (header->len < V2_FIXED)
        return V2_FIXED;
    size_t len = (size_t)((unsigned char)header->text[14] << 8 | (unsigned char)header->text[15]);
    return V2_FIXED + (len < V2_ADDRESSES ? len : V2_ADDRESSES);
}

static void take_octets(struct proxy_header *header, struct span *input, size_t wanted)
{
    struct span part = span_first(*input, wanted - header->len);
    if (part.len)
        memcpy(header->text + header->len, part.data, part.len);
    header->len = (uint8_t)(header->len + part.len);
    *input = span_skip(*input, part.len);
}

static enum proxy_result skip_rest(struct proxy_header *header, struct span *input,
                                   struct address *ret_source)
{
    struct span part = span_first(*input, header->skip);
    header->skip -= (uint32_t)part.len;
    *input = span_skip(*input, part.len);
    return header->skip ? PROXY_MORE : parse_binary(header, ret_source);
}

static enum proxy_result read_binary(struct proxy_header *header, struct span *input,
                                     struct address *ret_source)
{
    struct span signature = V2_SIGNATURE;
    if (header->skip)
        return skip_rest(header, input, ret_source);
    while (header->len < binary_wanted(header) && input->len)
        take_octets(header, input, binary_wanted(header));
    size_t seen = header->len < signature.len ? header->len : signature.len;
    if (!span_equals(span_of(header->text, seen), span_first(signature, seen)))
        return PROXY_BAD;
    if (header->len < binary_wanted(header))
        return PROXY_MORE;
    size_t len = (size_t)((unsigned char)header->text[14] << 8 | (unsigned char)header->text[15]);
    if (V2_FIXED + len > PROXY_HEADER_MOST)
        return PROXY_BAD;
    header->skip = (uint32_t)(V2_FIXED + len - header->len);
    return skip_rest(header, input, ret_source);
}

enum proxy_result proxy_header_read(struct proxy_header *header, struct span *input,
                                    struct address *ret_source)
{
    if (header->len == 0 && input->len == 0)
        return PROXY_MORE;
    char first = header->len ? header->text[0] : input->data[0];
    if (first == 'P')
        return read_text(header, input, ret_source);
    return first == '\r' ? read_binary(header, input, ret_source) : PROXY_BAD;
}
