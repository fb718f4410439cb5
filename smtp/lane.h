/* lane: (egress source, site): the way to one set of hosts, with its limits and its state.
 *
 * A lane never stores messages. It knows which queues want it, and when a connection is free and
 * every limit allows, it takes one row from the queue whose turn it is. Turns: deficit round robin
 * over flows (tenant and campaign), whose cost is recipients, then round robin over the queues of a
 * flow; so a tenant with a million waiting delays nobody else.
 *
 *     OK --all addresses failed--> HELD until held_until --timer--> OK
 *
 * While HELD nothing is tried: what was due is deferred by its schedule with the failure as its
 * reply, and new mail waits. Failures are remembered per address, so a dead host of several costs
 * one time-out, not one per message.
 *
 * Connections are opened while none is idle and more rows are due than connections are on their
 * way: at most as many at once as are already established (so a dead site sees one attempt, a live
 * one a doubling ramp), within connection_limit and max_connection_rate over all workers. */
#pragma once

#include "smtp/egress.h"

enum {
    LANE_QUANTUM = 16,        /* recipients a flow may send before the next flow's turn */
    LANE_SLOT_RETRY_MS = 20,  /* another worker holds the slots: ask again */
    LANE_HOLD_MS = 30 * 1000, /* all hosts failed: leave them alone, at most one retry interval */
    LANE_COUNTED_QUEUES =
        100, /* looked at before another connection: more open it a moment later */
    LANE_QUEUES_SHOWN = 10000,
    LANE_FAILURE = 256,       /* octets of the last failure's text that are kept */
    LANE_IDLE_MS = 60 * 1000, /* a lane that nobody uses is forgotten */
};

/* One address to dial, of one host of the plan. */
struct host {
    struct plan_address address;
    uint16_t preference;
    struct span name;      /* in the lane's host memory */
    uint64_t bad_until_ns; /* 0: not known to be bad */
};

struct lane {
    struct egress *egress;
    struct map_node by_key;
    struct list_link old;      /* in egress->old_lanes */
    struct span key, site;     /* "source->site" */
    enum tls_policy route_tls; /* a route's own, or TLS_AS_DELIVERY: lanes may differ in it alone */
    enum tls_policy tls;       /* what holds */
    struct lane_limit *limit;
    struct label_cell *label;      /* of the site */
    const struct plan *hosts_from; /* what `hosts` was made of: compared, never followed */
    uint64_t hosts_until_ns;
    struct host *hosts; /* one allocation with the names */
    unsigned host_count, next_host;

    struct map flows_by_name;
    struct list flows; /* those with queues that want the lane, in turn */
    struct list idle;  /* deliveries that wait for a row */
    unsigned established, connecting;

    uint64_t held_until_ns;                /* 0: not held */
    uint64_t rate_until_ns;                /* the message rate allows the next one then */
    uint64_t dial_until_ns;                /* the connection rate, the next connection */
    uint64_t held_since_ns, full_since_ns; /* full: no slot was free; for smtp/why.c */
    unsigned failures;                     /* consecutive failed connections */
    uint64_t used_ns;
    struct op advance; /* nudged: look at yourself */
    struct timer wake;
    uint16_t failure_len;
    char failure[LANE_FAILURE]; /* of the last connection, for smtp/why.c */
};

/* The lane for a plan with hosts; its hosts are brought up to date. Mail of different policies
 * never shares a connection, so each has a lane of its own; their limits are one. `tls`:
 * TLS_AS_DELIVERY, or a route's own. NULL: no memory. */
struct lane *lane_for_plan(struct egress *egress, const struct plan *plan,
                           enum tls_policy route_tls);

/* `queue` has due rows and its plan leads here. False: no memory, nothing happened. */
MUST_USE bool lane_want(struct lane *lane, struct queue *queue);

/* ---- for deliveries ---- */

/* The next row whose turn it is, LENT, or NULL: nothing wants, or a limit binds. The delivery gives
 * it back by share_settle or share_return. */
struct row *lane_take_row(struct lane *lane);

/* A connection to `address` got through its greeting. */
void lane_established(struct lane *lane, const struct plan_address *address);

/* It has nothing to do: the lane hands it a row (delivery_start) when it can. To stop waiting it
 * removes itself from the list. */
void lane_idle(struct lane *lane, struct list_link *idle);

/* Why a connection failed before its first transaction: for the replies of what is deferred. */
struct connect_failure {
    struct reply_summary reply;
    struct span peer_name;
    struct address peer;
};

void lane_connect_failed(struct lane *lane, const struct plan_address *address,
                         const struct connect_failure *failure);

/* The delivery is gone; its slot is free. `was_established`: it got through its greeting. */
void lane_delivery_gone(struct lane *lane, bool was_established);

/* Adds to a counter of the lane's site. */
static inline void lane_count(struct lane *lane, enum labelled counter, uint64_t count)
{
    label_add(lane->egress->settings.sites, lane->label, counter, count);
}

/* Whether a delivery should end so that another worker gets its slot. */
bool lane_should_hand_over(const struct lane *lane, uint64_t held_since_ns);

/* How many queues want it, counted; at most LANE_QUEUES_SHOWN. */
unsigned lane_queues(const struct lane *lane);

/* Failures are forgotten: it tries again at once. */
void lane_forgive(struct lane *lane);

/* For the egress: forget a lane (nothing may use it); drain (idle deliveries quit). */
bool lane_unused(const struct lane *lane);
void lane_free(struct lane *lane);
void lane_drain(struct lane *lane);
