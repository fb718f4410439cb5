/* route: one worker's knowledge of where a domain's mail goes now.
 *
 * The order: a configured route of the domain, the configured route "*" (smart host), DNS. A route
 * keeps its plan until it expires; queues that come while none is known wait in it. When the plan
 * comes, each waiting queue joins a lane, or has its due rows settled with the plan's reply: failed
 * for good (NXDOMAIN, null MX, loop, prohibited), deferred for a temporary failure. */
#pragma once

#include "smtp/egress.h"

enum { ROUTE_ERROR = 200 };

/* What a recipient of the domain heard last that was no success; for people. */
struct route_error {
    uint64_t at_ms, count; /* wall time; attempts that ended so since the route is known */
    uint16_t len;
    char text[ROUTE_ERROR];
};

struct route {
    struct egress *egress;
    struct map_node by_domain;
    struct list_link old;    /* in egress->old_routes */
    struct list waiting;     /* queues, by queue.want */
    struct list_link to_ask; /* in egress->to_ask: too many look-ups run */
    struct plan_request request;
    struct plan *plan;         /* NULL: none yet, or expired */
    struct route_error *error; /* the last one; NULL: none yet */
    uint64_t used_ns;
    uint64_t asked_ns; /* for the plan that there is, or is waited for */
    size_t domain_len;
    char domain[];
};

/* `queue` has due rows: lane_want, wait for the plan, or settle. */
void route_queue(struct egress *egress, struct queue *queue);

/* NULL: nobody has asked for this domain lately. */
struct route *route_find(struct egress *egress, struct span domain);

/* Told for each attempt that left or failed recipients. */
void route_note_error(struct egress *egress, struct span domain, const struct reply_summary *reply);

/* For the egress. */
bool route_unused(const struct route *route);
void route_free(struct route *route);
