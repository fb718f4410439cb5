/* capabilities: what a server announced in its EHLO reply. Pure.
 *
 * Unknown keywords and malformed arguments are passed over: a capability is only what we
 * understood. */
#pragma once

#include "core/span.h"

enum capability {
    CAPABILITY_PIPELINING = 1,      /* RFC 2920 */
    CAPABILITY_SIZE = 2,            /* RFC 1870 */
    CAPABILITY_8BITMIME = 4,        /* RFC 6152 */
    CAPABILITY_SMTPUTF8 = 8,        /* RFC 6531 */
    CAPABILITY_DSN = 16,            /* RFC 3461 */
    CAPABILITY_CHUNKING = 32,       /* RFC 3030 */
    CAPABILITY_ENHANCED_CODES = 64, /* RFC 2034 */
    CAPABILITY_STARTTLS = 128,      /* RFC 3207 */
};

struct capabilities {
    unsigned set;      /* enum capability */
    uint64_t size;     /* most octets of a message; 0: no limit announced */
    uint64_t rcpt_max; /* RFC 9422: recipients of a transaction; 0: not announced */
    uint64_t mail_max; /* RFC 9422: transactions of a session; 0: not announced */
};

/* Takes one line of the EHLO reply, without its code; not the first, which is a greeting. */
void capabilities_add(struct capabilities *capabilities, struct span line);

static inline bool capable(const struct capabilities *capabilities, unsigned capability)
{
    return (capabilities->set & capability) == capability;
}
