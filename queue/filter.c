#include "queue/filter.h"

static bool same(struct span wanted, struct span found)
{
    return wanted.len == 0 || span_equals(wanted, found);
}

static bool same_domain(struct span wanted, struct span found)
{
    return wanted.len == 0 || span_equals_any_case(wanted, found);
}

bool filter_takes_queue(const struct filter *filter, struct span name)
{
    struct span campaign, tenant, domain;
    queue_name_read(name, &campaign, &tenant, &domain);
    return same(filter->queue, name) && same(filter->tenant, tenant) &&
           same(filter->campaign, campaign) && same_domain(filter->domain, domain);
}

static bool takes_state(const struct filter *filter, uint32_t attempts, uint64_t due_ms,
                        uint64_t wall_ms)
{
    switch (filter->state) {
    case FILTER_NEW:
        return attempts == 0;
    case FILTER_DEFERRED:
        return attempts > 0;
    case FILTER_DUE:
        return due_ms <= wall_ms;
    default:
        return true;
    }
}

bool filter_takes_row(const struct filter *filter, const struct envelope *envelope,
                      const struct row_state *state, uint64_t due_ms, uint64_t wall_ms)
{
    uint64_t age_ms = wall_ms > envelope->arrived_ms ? wall_ms - envelope->arrived_ms : 0;
    return (filter->id == 0 || filter->id == envelope->id) && age_ms >= filter->min_age_ms &&
           takes_state(filter, state->attempts, due_ms, wall_ms);
}
