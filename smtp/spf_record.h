/* spf_record: the language of SPF records: terms and macros (RFC 7208 5, 6, 7, 12). Pure. */
#pragma once

#include "core/address.h"
#include "core/sink.h"

enum spf_result {
    SPF_NONE,
    SPF_NEUTRAL,
    SPF_PASS,
    SPF_FAIL,
    SPF_SOFTFAIL,
    SPF_TEMPERROR,
    SPF_PERMERROR,
    SPF_RESULTS,
};

enum spf_mechanism { SPF_ALL, SPF_INCLUDE, SPF_A, SPF_MX, SPF_PTR, SPF_IP4, SPF_IP6, SPF_EXISTS };
enum spf_kind { SPF_DIRECTIVE, SPF_REDIRECT, SPF_OTHER_MODIFIER };

struct spf_term {
    enum spf_kind kind;
    enum spf_mechanism mechanism; /* of a directive */
    enum spf_result result;       /* if it matches */
    struct span domain;           /* domain-spec, macros unexpanded; empty: none is given */
    unsigned bits4, bits6;        /* of a, mx, ip4, ip6 */
    uint8_t network[16];          /* of ip4 (::ffff:a.b.c.d) and ip6 */
};

enum spf_next { SPF_TERM, SPF_END, SPF_BROKEN };

/* Does this text of a TXT record claim to be version 1? */
bool spf_is_record(struct span text);

/* Takes the next term off the front of `rest` (first: what is behind "v=spf1"). */
enum spf_next spf_next_term(struct span *rest, struct spf_term *ret_term);

/* Syntax of the whole record: every term, redirect and exp at most once. */
bool spf_check(struct span record, struct span *ret_redirect);

/* What macros stand for. */
struct spf_macros {
    struct span local, sender_domain; /* l, o; s is both */
    struct span domain;               /* d */
    struct span helo;                 /* h */
    struct span validated;            /* p; empty: not known (yet) */
    uint8_t client[16];               /* i, v; IPv4 as ::ffff:a.b.c.d */
};

bool spf_is_ipv4(const uint8_t bits[16]);

/* Expands a domain-spec; a name that gets too long loses labels at its front (7.3). False: the sink
 * is full. */
bool spf_expand(struct span spec, const struct spf_macros *macros, struct sink *sink);
/* Does it use the costly p? */
bool spf_uses_validated(struct span spec);
