/* answer: a DNS response, decoded and bounded. Pure.
 *
 * Whatever the network delivers goes through answer_decode before anything else looks at it. It
 * reads MX, A, AAAA, PTR and TXT responses: the chain of CNAMEs inside the answer is followed (at
 * most ANSWER_CHAIN), the records at its end are collected, the TTL is the smallest on that way,
 * the TTL of a negative answer comes from the SOA (RFC 2308 5).
 *
 * What does not fit the question, is cut, or loops is an error, hence a temporary failure: a
 * damaged answer must never look like "this domain has no MX".
 *
 * Limits: ANSWER_RECORDS records are kept: of MX the best preferences (a peer may send a thousand),
 * of addresses the first ones. */
#pragma once

#include "core/check.h"
#include "core/sink.h"
#include "dns/name.h"

enum rr_type {
    RR_A = 1,
    RR_NS = 2,
    RR_CNAME = 5,
    RR_SOA = 6,
    RR_PTR = 12,
    RR_MX = 15,
    RR_TXT = 16,
    RR_AAAA = 28
};
enum rcode { RCODE_NOERROR = 0, RCODE_FORMERR = 1, RCODE_SERVFAIL = 2, RCODE_NXDOMAIN = 3 };

enum {
    ANSWER_RECORDS = 64,
    ANSWER_CHAIN = 8,
    ANSWER_STRINGS =
        4096, /* octets of a TXT record that is kept; more than any DKIM key or policy */
};

struct answer_record {
    uint16_t preference; /* MX */
    struct span name;    /* MX exchange (empty: the root, as in a null MX), PTR's target */
    struct span strings; /* TXT: as in the packet, a length in front of each; see answer_text */
    uint8_t bits[16];    /* A (as ::ffff:a.b.c.d), AAAA */
};

struct answer {
    uint8_t rcode;
    bool authentic; /* AD: the resolver has verified signatures */
    bool follow;    /* the chain ends at `name`, about which this answer says nothing: ask again */
    bool ttl_known; /* false: a negative answer without SOA */
    uint32_t ttl_s;
    uint16_t
        left_out; /* records of the type beyond a limit, or MX or PTR with an impossible name */
    uint16_t count;
    struct span name; /* where the chain ends; the name that was asked if there is none */
    struct answer_record records[]; /* in the packet's order */
};

/* 0 and an answer of one allocation; or -EPROTO (no response, or not to this question), -EMSGSIZE
 * (TC: cut by the server), -EBADMSG (malformed, a chain that loops or is too long, a referral
 * instead of an answer), -ENOMEM. NXDOMAIN and other rcodes are answers, with count 0. */
MUST_USE int answer_decode(struct span packet, const struct name *name, enum rr_type type,
                           struct answer **ret_answer);

/* A made answer (hosts that need no DNS, tests): a copy of all that is given. NULL: no memory. */
MUST_USE struct answer *answer_new(const struct answer *header,
                                   const struct answer_record *records);
struct answer *answer_free(struct answer *answer);

/* The strings of a TXT record, one behind the other. */
void answer_text(const struct answer_record *record, struct sink *sink);

/* NOERROR with records that are there: what may be served stale. */
static inline bool answer_positive(const struct answer *answer)
{
    return answer->rcode == RCODE_NOERROR && (answer->count > 0 || answer->left_out > 0);
}
