/* parameters: what may follow the path in MAIL and RCPT (RFC 5321 4.1.2). Pure.
 *
 * Read from the front to the back, once: unknown is 555, repeated or malformed is 501. xtext
 * (RFC 3461 4) is checked, kept as it came, and refused if it would decode to a control character.
 * The spans point into the command line. */
#pragma once

#include "queue/record.h"

enum {
    ENVID_LENGTH = 100, /* RFC 3461 5.4: the most that must be taken, as given */
    ORCPT_LENGTH = 500,
    AUTH_LENGTH = 500, /* RFC 4954 5 */
};

enum parameters_fault {
    PARAMETERS_GOOD,
    PARAMETERS_UNKNOWN, /* 555 5.5.4 */
    PARAMETERS_BAD,     /* 501 5.5.4 */
};

struct mail_parameters {
    uint64_t size; /* 0: not given. Too large for 64 bits: UINT64_MAX */
    struct span envid;
    struct span auth; /* AUTH as given, for RFC 4954 5; nothing is believed because of it */
    uint8_t ret;      /* enum ret */
    bool utf8, eight_bit;
};

struct rcpt_parameters {
    struct span original; /* ORCPT as given: "rfc822;joe+40example.org" */
    uint8_t notify;       /* enum notify, or 0 */
};

/* `text` is what follows the path: empty, or beginning with a space. */
enum parameters_fault mail_parameters_read(struct span text,
                                           struct mail_parameters *ret_parameters);
enum parameters_fault rcpt_parameters_read(struct span text,
                                           struct rcpt_parameters *ret_parameters);
