/* candidate: a host on its way into a plan: the addresses found for it, and which may be used.
 * Pure.
 *
 * Answers are added as they come; candidate_choose applies the rules at the end: who is us, what is
 * prohibited or skipped, in which order the families go. */
#pragma once

#include "dns/answer.h"
#include "dns/plan.h"

struct candidate {
    struct name name;
    uint16_t preference, port;
    bool failed;      /* a look-up failed, or was not finished in time: temporary */
    bool no_domain;   /* NXDOMAIN */
    bool unauthentic; /* some answer was not authentic */
    bool skipped;     /* an address fell to skip_hosts */
    bool prohibited;  /* an address fell to prohibited_hosts */
    uint8_t v4_count, v6_count, chosen_count;
    struct plan_address v4[PLAN_ADDRESSES], v6[PLAN_ADDRESSES], chosen[PLAN_ADDRESSES];
};

/* The records of an A or AAAA answer, at most PLAN_ADDRESSES of a family. */
void candidate_add(struct candidate *candidate, const struct answer *answer);
void candidate_add_address(struct candidate *candidate, const struct plan_address *address);

/* An address of it is one of options->own_addresses. */
bool candidate_is_us(const struct candidate *candidate, const struct dns_options *options);

/* Fills `chosen`: the order of options->ip_lookup_strategy (V4_AND_V6 alternates), each family
 * starting anywhere in its cycle so that a host's addresses share the load. `ruled`: the networks
 * of `options` apply. */
void candidate_choose(struct candidate *candidate, const struct dns_options *options, bool ruled,
                      struct random *random);

bool ip_strategy_wants(enum ip_strategy strategy, enum rr_type type);
