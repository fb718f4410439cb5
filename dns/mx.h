/* mx: what an MX answer means: the hosts of a domain in the order of RFC 5321 5.1. Pure. */
#pragma once

#include "core/random.h"
#include "dns/answer.h"
#include "dns/site.h"

enum mx_kind {
    MX_HOSTS,     /* count >= 1 */
    MX_NONE,      /* no MX record: the domain's own address is its mail server */
    MX_NO_DOMAIN, /* NXDOMAIN */
    MX_NULL,      /* RFC 7505 */
    MX_US,        /* we are the best: nothing is left */
    MX_UNUSABLE,  /* there are MX records, but none names a host */
};

struct mx_host {
    uint16_t preference;
    struct name name;
};

struct mx {
    enum mx_kind kind;
    size_t count;
    struct mx_host hosts[ANSWER_RECORDS]; /* by preference, shuffled inside one */
    char site[SITE_BYTES];
    size_t site_len;
};

/* `us`: our host name; a host of that name is dropped with all of equal or worse preference. The
 * site is made of all hosts, before anything is dropped. Each name appears once. */
void mx_read(const struct answer *answer, struct span us, struct random *random, struct mx *ret_mx);
