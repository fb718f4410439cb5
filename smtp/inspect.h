/* inspect: what the command line sees of a worker's lanes. In the worker's thread, from dispatch;
 * the caller keeps a cursor (0 begins and ends). */
#pragma once

#include "smtp/egress.h"

struct lane_host_view {
    struct span name;
    struct address address;
    uint16_t preference;
    uint64_t bad_until_ms; /* 0: not known to be bad */
};

/* Times are wall clock, 0: does not apply. */
struct lane_view {
    struct span key, source, site;
    unsigned established, connecting, idle; /* of this worker */
    unsigned slots;                         /* connections in use over all workers */
    unsigned queues;                        /* that want it */
    unsigned failures;                      /* failed connections in a row */
    uint64_t held_until_ms;                 /* no host could be reached */
    uint64_t rate_until_ms;                 /* the message rate binds */
    const struct suspension *suspension;    /* NULL: it does not stand still */
    struct span failure;                    /* of the last connection that failed */
    const struct lane *lane;                /* for lane_view_host */
};

typedef void inspect_lane(void *context, const struct lane_view *view);

/* A destination that was tried lately. */
struct route_view {
    struct span domain, error; /* the last one */
    uint64_t errors, error_at_ms;
};
typedef void inspect_route(void *context, const struct route_view *view);

/* Those with errors, a few. The next cursor. */
uint64_t egress_scan_errors(const struct egress *egress, uint64_t cursor, inspect_route *visit,
                            void *context);

/* A few lanes. The next cursor. */
uint64_t egress_scan_lanes(const struct egress *egress, uint64_t cursor, inspect_lane *visit,
                           void *context);

/* The lane's hosts, by index; false: no more. */
bool lane_view_host(const struct lane_view *view, unsigned index, struct lane_host_view *ret_host);
