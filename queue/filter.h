/* filter: which waiting mail an administrator means. Pure; spans are borrowed.
 *
 * All conditions hold together; what is empty or 0 is no condition. Names of tenants, campaigns and
 * queues are compared exactly, domains in any case. */
#pragma once

#include "queue/record.h"

enum filter_state {
    FILTER_ANY,
    FILTER_NEW,      /* no attempt yet */
    FILTER_DEFERRED, /* at least one attempt */
    FILTER_DUE,      /* its time has come */
};

struct filter {
    struct span queue, domain, tenant, campaign;
    uint64_t id;
    uint64_t min_age_ms; /* since it was accepted */
    uint8_t state;       /* enum filter_state */
};

/* Whether anything in a queue of this name can be meant. */
bool filter_takes_queue(const struct filter *filter, struct span name);

/* Of a row in such a queue. `wall_ms`: what its age and due time are compared with. */
bool filter_takes_row(const struct filter *filter, const struct envelope *envelope,
                      const struct row_state *state, uint64_t due_ms, uint64_t wall_ms);
