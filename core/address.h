/* address: an IPv4, IPv6 or Unix socket address, its text, and networks (CIDR). Pure. */
#pragma once

#include "core/sink.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

struct address {
    union {
        sa_family_t family; /* AF_UNSPEC: none */
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un unix_path;
    };
    socklen_t len;
};

struct network {
    uint8_t bits[16]; /* IPv4 as ::ffff:a.b.c.d */
    uint8_t prefix;   /* 0..128 */
};

enum { ADDRESS_TEXT = 112 }; /* "[...]:65535", or a Unix path, with NUL */

/* "127.0.0.1", "::1", "[::1]:25", "127.0.0.1:25", "unix:/path". Without a port, `port` is used.
 * False: not an address (a host name, say). */
bool address_parse(struct span text, uint16_t port, struct address *ret_address);

/* "host[:port]" where host may be a name: splits, brackets removed. False: malformed. */
bool address_split_host(struct span text, uint16_t port, struct span *ret_host, uint16_t *ret_port);

void address_set_port(struct address *address, uint16_t port);
uint16_t address_port(const struct address *address);

/* "192.0.2.1" / "2001:db8::1", without port. */
void address_put_host(const struct address *address, struct sink *sink);
/* With port, IPv6 in brackets. */
void address_put(const struct address *address, struct sink *sink);
/* As an address literal of RFC 5321 4.1.3: "[192.0.2.1]", "[IPv6:2001:db8::1]". */
void address_put_literal(const struct address *address, struct sink *sink);

/* 127.0.0.0/8, ::1, or a Unix socket. */
bool address_is_loopback(const struct address *address);

/* The 16 bytes (IPv4 mapped) that networks compare. False for Unix sockets. */
bool address_bits(const struct address *address, uint8_t ret_bits[16]);

/* "10.0.0.0/8", "fd00::/8", or one address. Bits behind the prefix must be zero. */
bool network_parse(struct span text, struct network *ret_network);
bool network_contains(const struct network *network, const struct address *address);
bool networks_contain(const struct network *networks, size_t count, const struct address *address);
