#include "core/address.h"

#include <arpa/inet.h>
#include <stdio.h>

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

/* Four decimal numbers without leading zeros: "127.1" and "010.0.0.1" mean other things to other
 * programs. */
static bool parse_v4(struct span text, uint8_t ret_bits[4])
{
    for (unsigned i = 0; i < 4; i++) {
        struct span number = span_first(text, span_find(text, '.'));
        bool last = i == 3;
        if ((number.len == text.len) != last)
            return false;
        uint64_t value;
        if (number.len > 1 && number.data[0] == '0')
            return false;
        if (!span_decimal(number, 255, &value))
            return false;
        ret_bits[i] = (uint8_t)value;
        text = span_skip(text, number.len + 1);
    }
    return true;
}

static bool parse_v6(struct span text, uint8_t ret_bits[16])
{
    char string[INET6_ADDRSTRLEN];
    if (text.len >= sizeof string)
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] == '\0')
            return false;
    memcpy(string, text.data, text.len);
    string[text.len] = '\0';
    return inet_pton(AF_INET6, string, ret_bits) == 1;
}

/* An address alone: 4 or 16 bytes. */
static sa_family_t parse_host(struct span text, uint8_t ret_bits[16])
{
    if (text.len == 0)
        return AF_UNSPEC;
    if (parse_v4(text, ret_bits))
        return AF_INET;
    return parse_v6(text, ret_bits) ? AF_INET6 : AF_UNSPEC;
}

static bool parse_unix(struct span path, struct address *ret_address)
{
    struct address address = {.unix_path.sun_family = AF_UNIX};
    if (path.len == 0 || path.len >= sizeof address.unix_path.sun_path ||
        span_find(path, '\0') != path.len)
        return false;
    memcpy(address.unix_path.sun_path, path.data, path.len);
    address.len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + path.len + 1);
    *ret_address = address;
    return true;
}

static struct address make(sa_family_t family, const uint8_t *bits, uint16_t port)
{
    struct address address = {0};
    if (family == AF_INET) {
        address.v4.sin_family = family;
        memcpy(&address.v4.sin_addr, bits, 4);
        address.len = sizeof address.v4;
    } else {
        address.v6.sin6_family = family;
        memcpy(&address.v6.sin6_addr, bits, 16);
        address.len = sizeof address.v6;
    }
    address_set_port(&address, port);
    return address;
}

bool address_parse(struct span text, uint16_t port, struct address *ret_address)
{
    if (span_starts_with(text, SPAN("unix:")))
        return parse_unix(span_skip(text, 5), ret_address);
    uint8_t bits[16];
    if (parse_host(text, bits) == AF_INET6) { /* bare: every colon is the address's */
        *ret_address = make(AF_INET6, bits, port);
        return true;
    }
    struct span host;
    if (!address_split_host(text, port, &host, &port))
        return false;
    bool bracketed = text.data[0] == '[';
    sa_family_t family = parse_host(host, bits);
    if (family != (bracketed ? AF_INET6 : AF_INET))
        return false;
    *ret_address = make(family, bits, port);
    return true;
}

/* "" or ":port" */
static bool parse_port(struct span text, uint16_t port, uint16_t *ret_port)
{
    uint64_t value = port;
    if (text.len && (text.data[0] != ':' || !span_decimal(span_skip(text, 1), 65535, &value)))
        return false;
    *ret_port = (uint16_t)value;
    return true;
}

bool address_split_host(struct span text, uint16_t port, struct span *ret_host, uint16_t *ret_port)
{
    struct span host, rest;
    if (text.len && text.data[0] == '[') {
        size_t end = span_find(text, ']');
        if (end == text.len)
            return false;
        host = span_skip(span_first(text, end), 1);
        rest = span_skip(text, end + 1);
    } else {
        host = span_first(text, span_find(text, ':'));
        rest = span_skip(text, host.len);
    }
    if (host.len == 0 || !parse_port(rest, port, ret_port))
        return false;
    *ret_host = host;
    return true;
}

void address_set_port(struct address *address, uint16_t port)
{
    if (address->family == AF_INET)
        address->v4.sin_port = htons(port);
    else if (address->family == AF_INET6)
        address->v6.sin6_port = htons(port);
}

uint16_t address_port(const struct address *address)
{
    if (address->family == AF_INET)
        return ntohs(address->v4.sin_port);
    return address->family == AF_INET6 ? ntohs(address->v6.sin6_port) : 0;
}

static void put_unix(const struct address *address, struct sink *sink)
{
    size_t start = offsetof(struct sockaddr_un, sun_path);
    size_t room = address->len > start ? address->len - start : 0;
    sink_put(sink, SPAN("unix:"));
    sink_put(sink,
             span_of(address->unix_path.sun_path, strnlen(address->unix_path.sun_path, room)));
}

void address_put_host(const struct address *address, struct sink *sink)
{
    if (address->family == AF_UNIX) {
        put_unix(address, sink);
        return;
    }
    char text[INET6_ADDRSTRLEN] = "none";
    if (address->family == AF_INET)
        inet_ntop(AF_INET, &address->v4.sin_addr, text, sizeof text);
    else if (address->family == AF_INET6)
        inet_ntop(AF_INET6, &address->v6.sin6_addr, text, sizeof text);
    sink_put(sink, span_string(text));
}

void address_put(const struct address *address, struct sink *sink)
{
    bool brackets = address->family == AF_INET6;
    if (brackets)
        sink_byte(sink, '[');
    address_put_host(address, sink);
    if (brackets)
        sink_byte(sink, ']');
    if (brackets || address->family == AF_INET) {
        sink_byte(sink, ':');
        sink_decimal(sink, address_port(address));
    }
}

void address_put_literal(const struct address *address, struct sink *sink)
{
    sink_byte(sink, '[');
    if (address->family == AF_INET6)
        sink_put(sink, SPAN("IPv6:"));
    address_put_host(address, sink);
    sink_byte(sink, ']');
}

static void map_v4(const void *v4, uint8_t ret_bits[16])
{
    memcpy(ret_bits, mapped, sizeof mapped);
    memcpy(ret_bits + sizeof mapped, v4, 4);
}

bool address_bits(const struct address *address, uint8_t ret_bits[16])
{
    if (address->family == AF_INET)
        map_v4(&address->v4.sin_addr, ret_bits);
    else if (address->family == AF_INET6)
        memcpy(ret_bits, &address->v6.sin6_addr, 16);
    else
        return false;
    return true;
}

/* The bits of byte `at` that a prefix covers. */
static uint8_t mask(unsigned prefix, unsigned at)
{
    if (prefix >= 8 * at + 8)
        return 0xff;
    return prefix <= 8 * at ? 0 : (uint8_t)(0xff << (8 * at + 8 - prefix));
}

bool network_parse(struct span text, struct network *ret_network)
{
    size_t slash = span_find(text, '/');
    uint8_t bits[16];
    sa_family_t family = parse_host(span_first(text, slash), bits);
    if (family == AF_UNSPEC)
        return false;
    uint64_t most = family == AF_INET ? 32 : 128, prefix = most;
    if (slash < text.len && !span_decimal(span_skip(text, slash + 1), most, &prefix))
        return false;
    struct network network = {.prefix = (uint8_t)(128 - most + prefix)};
    if (family == AF_INET)
        map_v4(bits, network.bits);
    else
        memcpy(network.bits, bits, sizeof bits);
    for (unsigned i = 0; i < 16; i++)
        if (network.bits[i] & ~mask(network.prefix, i))
            return false;
    *ret_network = network;
    return true;
}

static bool within(const struct network *network, const uint8_t bits[16])
{
    for (unsigned i = 0; i < 16; i++)
        if ((network->bits[i] ^ bits[i]) & mask(network->prefix, i))
            return false;
    return true;
}

bool network_contains(const struct network *network, const struct address *address)
{
    return networks_contain(network, 1, address);
}

bool networks_contain(const struct network *networks, size_t count, const struct address *address)
{
    uint8_t bits[16];
    if (!address_bits(address, bits))
        return false;
    for (size_t i = 0; i < count; i++)
        if (within(&networks[i], bits))
            return true;
    return false;
}

bool address_is_loopback(const struct address *address)
{
    if (address->family == AF_INET)
        return ntohl(address->v4.sin_addr.s_addr) >> 24 == 127;
    if (address->family == AF_INET6)
        return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
    return address->family == AF_UNIX;
}
