/* proxy_header: what a load balancer says in front of a connection that it passes on (HAProxy's
 * PROXY protocol, versions 1 and 2): whose connection it is. Pure, fed piece by piece.
 *
 * Read only from networks whose word counts, and there always: whoever may say it must say it.
 * Bounded: 107 octets of text, or PROXY_HEADER_MOST octets in binary, of which what follows the
 * addresses is skipped. TCP over IPv4 and IPv6 are taken; UNKNOWN, UNSPEC and LOCAL (the balancer's
 * own checks) are answered without an address, everything else is bad. */
#pragma once

#include "core/address.h"

enum { PROXY_HEADER_MOST = 4096, PROXY_HEADER_TEXT = 107 };

struct proxy_header {
    uint32_t skip; /* octets of a binary header that are still to be dropped */
    uint8_t len;
    char text[PROXY_HEADER_TEXT];
};

enum proxy_result { PROXY_MORE, PROXY_DONE, PROXY_BAD };

/* `header` starts cleared. Consumes from the front of `input` exactly what belongs to the header.
 * PROXY_DONE: `ret_source` is the client, AF_UNSPEC if the balancer does not say. */
enum proxy_result proxy_header_read(struct proxy_header *header, struct span *input,
                                    struct address *ret_source);
