#include "dns/candidate.h"

static bool is_v4(const struct plan_address *address)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    return memcmp(address->bits, mapped, sizeof(mapped)) == 0;
}

struct address plan_address(const struct plan_address *address)
{
    struct address full = {0};
    if (is_v4(address)) {
        full.v4.sin_family = AF_INET;
        full.v4.sin_port = htons(address->port);
        memcpy(&full.v4.sin_addr, address->bits + 12, 4);
        full.len = sizeof(full.v4);
    } else {
        full.v6.sin6_family = AF_INET6;
        full.v6.sin6_port = htons(address->port);
        memcpy(&full.v6.sin6_addr, address->bits, 16);
        full.len = sizeof(full.v6);
    }
    return full;
}

bool ip_strategy_wants(enum ip_strategy strategy, enum rr_type type)
{
    return strategy != (type == RR_A ? IP_V6_ONLY : IP_V4_ONLY);
}

/* By what it is, not by the record that brought it: a mapped IPv4 in an AAAA is an IPv4. */
void candidate_add_address(struct candidate *candidate, const struct plan_address *address)
{
    bool v4 = is_v4(address);
    uint8_t *count = v4 ? &candidate->v4_count : &candidate->v6_count;
    if (*count < PLAN_ADDRESSES)
        (v4 ? candidate->v4 : candidate->v6)[(*count)++] = *address;
}

void candidate_add(struct candidate *candidate, const struct answer *answer)
{
    candidate->no_domain |= answer->rcode == RCODE_NXDOMAIN;
    candidate->unauthentic |= !answer->authentic;
    for (size_t i = 0; i < answer->count; i++) {
        struct plan_address address = {.port = candidate->port};
        memcpy(address.bits, answer->records[i].bits, sizeof(address.bits));
        candidate_add_address(candidate, &address);
    }
}

static bool is_own(const struct plan_address *address, const struct dns_options *options)
{
    for (size_t i = 0; i < options->own_address_count; i++) {
        const struct address *own = &options->own_addresses[i];
        uint8_t bits[16];
        if (!address_bits(own, bits) || memcmp(bits, address->bits, sizeof(bits)) != 0)
            continue;
        if (address_port(own) == 0 || address_port(own) == address->port)
            return true;
    }
    return false;
}

bool candidate_is_us(const struct candidate *candidate, const struct dns_options *options)
{
    for (size_t i = 0; i < candidate->v4_count; i++)
        if (is_own(&candidate->v4[i], options))
            return true;
    for (size_t i = 0; i < candidate->v6_count; i++)
        if (is_own(&candidate->v6[i], options))
            return true;
    return false;
}

static void choose(struct candidate *candidate, const struct plan_address *address,
                   const struct dns_options *options, bool ruled)
{
    struct address full = plan_address(address);
    if (ruled && networks_contain(options->prohibited_hosts, options->prohibited_host_count, &full))
        candidate->prohibited = true;
    else if (ruled && networks_contain(options->skip_hosts, options->skip_host_count, &full))
        candidate->skipped = true;
    else if (candidate->chosen_count < PLAN_ADDRESSES)
        candidate->chosen[candidate->chosen_count++] = *address;
}

/* One family's addresses as a cycle that starts at a random place. */
struct cycle {
    const struct plan_address *addresses;
    size_t count, start, taken;
};

static struct cycle cycle_over(const struct plan_address *addresses, size_t count,
                               struct random *random)
{
    size_t start = count > 1 ? (size_t)random_below(random, count) : 0;
    return (struct cycle){.addresses = addresses, .count = count, .start = start};
}

static const struct plan_address *cycle_next(struct cycle *cycle)
{
    if (cycle->taken == cycle->count)
        return NULL;
    return &cycle->addresses[(cycle->start + cycle->taken++) % cycle->count];
}

void candidate_choose(struct candidate *candidate, const struct dns_options *options, bool ruled,
                      struct random *random)
{
    enum ip_strategy strategy = options->ip_lookup_strategy;
    struct cycle v4 = cycle_over(candidate->v4, candidate->v4_count, random);
    struct cycle v6 = cycle_over(candidate->v6, candidate->v6_count, random);
    struct cycle *first = strategy == IP_V6_THEN_V4 ? &v6 : &v4;
    struct cycle *second = first == &v4 ? &v6 : &v4;
    bool alternate = strategy == IP_V4_AND_V6;
    candidate->chosen_count = 0;
    for (;;) {
        const struct plan_address *address = cycle_next(first);
        if (address)
            choose(candidate, address, options, ruled);
        if (address && !alternate)
            continue;
        const struct plan_address *other = cycle_next(second);
        if (other)
            choose(candidate, other, options, ruled);
        if (!address && !other)
            return;
    }
}
