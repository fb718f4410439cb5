/* received: the trace field that every message gets (RFC 5321 4.4). Pure. */
#pragma once

#include "core/address.h"
#include "core/tls.h"

struct received {
    struct span helo;           /* cleaned by helo_clean; empty: the peer's address stands for it */
    const struct address *peer; /* AF_INET or AF_INET6; other families are left out */
    struct span hostname;       /* ours */
    struct span protocol;       /* "SMTP", "ESMTPS", "UTF8SMTP", ... (RFC 3848, RFC 6531) */
    const struct tls_facts *tls; /* NULL: plain */
    uint64_t id;
    struct span
        recipient; /* the only one; empty: left out, as several may not know of each other */
    uint64_t wall_ms;
};

enum {
    RECEIVED_FOR_MAX = 320, /* RFC 5321 4.5.3.1: 64 octets, @, 255 octets */
    RECEIVED_TEXT = 1800,   /* room that always suffices */
};

/* "Received: from client.example ([192.0.2.1])", folded, with its CRLF. */
void received_put(const struct received *received, struct sink *sink);

/* What a peer called itself, safe in a header field: everything that cannot stand in a host name or
 * an address literal becomes '?'. */
void helo_clean(struct span helo, struct sink *sink);
