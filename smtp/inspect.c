#include "smtp/inspect.h"

#include "smtp/lane.h"
#include "smtp/route.h"
#include "smtp/suspended.h"

struct lane_scan {
    const struct egress *egress;
    inspect_lane *visit;
    void *context;
};

static uint64_t wall_of(const struct egress *egress, uint64_t at_ns)
{
    const struct loop *loop = egress->loop;
    return at_ns > loop->now_ns ? loop->wall_ms + (at_ns - loop->now_ns) / NS_PER_MS : 0;
}

static unsigned length(const struct list *list)
{
    unsigned count = 0;
    list_for_each (list, link, following)
        count++;
    return count;
}

static void view_lane(struct map_node *node, void *context)
{
    const struct lane_scan *scan = context;
    const struct lane *lane = container_of(node, struct lane, by_key);
    struct lane_view view = {
        .key = lane->key,
        .source = scan->egress->source,
        .site = lane->site,
        .established = lane->established,
        .connecting = lane->connecting,
        .idle = length(&lane->idle),
        .slots = atomic_load_explicit(&lane->limit->slots, memory_order_relaxed),
        .queues = lane_queues(lane),
        .failures = lane->failures,
        .held_until_ms = wall_of(scan->egress, lane->held_until_ns),
        .rate_until_ms = wall_of(scan->egress, lane->rate_until_ns),
        .suspension = lane_suspension(lane),
        .failure = span_of(lane->failure, lane->failure_len),
        .lane = lane,
    };
    scan->visit(scan->context, &view);
}

uint64_t egress_scan_lanes(const struct egress *egress, uint64_t cursor, inspect_lane *visit,
                           void *context)
{
    struct lane_scan scan = {egress, visit, context};
    return map_scan(&egress->lanes, cursor, view_lane, &scan);
}

bool lane_view_host(const struct lane_view *view, unsigned index, struct lane_host_view *ret_host)
{
    const struct lane *lane = view->lane;
    if (index >= lane->host_count)
        return false;
    const struct host *host = &lane->hosts[index];
    *ret_host = (struct lane_host_view){
        .name = host->name,
        .address = plan_address(&host->address),
        .preference = host->preference,
        .bad_until_ms = wall_of(lane->egress, host->bad_until_ns),
    };
    return true;
}

struct route_scan {
    inspect_route *visit;
    void *context;
};

static void view_route(struct map_node *node, void *context)
{
    const struct route_scan *scan = context;
    const struct route *route = container_of(node, struct route, by_domain);
    if (!route->error)
        return;
    struct route_view view = {
        .domain = span_of(route->domain, route->domain_len),
        .error = span_of(route->error->text, route->error->len),
        .errors = route->error->count,
        .error_at_ms = route->error->at_ms,
    };
    scan->visit(scan->context, &view);
}

uint64_t egress_scan_errors(const struct egress *egress, uint64_t cursor, inspect_route *visit,
                            void *context)
{
    struct route_scan scan = {visit, context};
    return map_scan(&egress->routes, cursor, view_route, &scan);
}
