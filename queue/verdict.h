/* verdict: what became of a recipient in one attempt. Shapes only. */
#pragma once

#include "core/address.h"
#include "core/span.h"

enum outcome {
    OUTCOME_UNTRIED,   /* this attempt did not come to it: stays open, due again at once */
    OUTCOME_DELIVERED, /* the peer took responsibility (2yz to the final dot) */
    OUTCOME_DEFERRED,  /* temporary: stays open, due by the schedule */
    OUTCOME_FAILED,    /* permanent */
    OUTCOME_EXPIRED,   /* max_age has passed; set by the share itself */
};

struct enhanced { /* RFC 3463; class 0: none was given */
    uint8_t class;
    uint16_t subject, detail;
};

struct reply_summary {
    uint16_t code; /* SMTP reply code; for verdicts of our own the code that would have been sent */
    struct enhanced enhanced;
    struct span text;    /* one line, cleaned of control characters, without the codes */
    struct span command; /* the verb it answered, "." for the final dot; empty: none */
    bool internal;       /* made here (DNS, expiry, policy), not by a peer */
};

struct verdict {
    uint8_t outcome;
    bool dsn_passed_on; /* the peer announced DSN, so success reports are its business (RFC
                           3461 5.2.2) */
    struct reply_summary reply;
};

/* One attempt at one row: what all its recipients share. Borrowed by share_settle, which copies. */
struct attempt {
    const struct verdict *verdicts; /* one per recipient of the row, in its order */
    struct span source, site;       /* egress source, site name */
    struct span peer_name;          /* MX host or EHLO name */
    struct address peer;            /* AF_UNSPEC: no connection was made */
    struct address local;
    struct span protocol;                /* "ESMTP", "SMTP" */
    struct span tls_version, tls_cipher; /* static; empty: in the clear, or no connection */
    struct span tls_subject;             /* of a certificate that was found good, as "/O=a/CN=b" */
    bool tls_verified;                   /* the server's certificate is good and covers peer_name */
    uint64_t started_ms;                 /* wall time */
    uint64_t retry_at_ms;                /* wall time; 0: the schedule decides */
    bool counts;        /* false: no attempt was made at all (no route yet, lane closed):
                           the attempts counter and the schedule do not move on */
    bool may_duplicate; /* the connection was lost after the final dot */
    bool administered;  /* an administrator's verdict: AdminBounce in the journal */
    bool unreported;    /* no report to the sender */
};
