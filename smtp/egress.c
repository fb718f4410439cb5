#include "smtp/egress.h"

#include "smtp/delivery.h"
#include "smtp/lane.h"
#include "smtp/route.h"
#include "smtp/suspended.h"

enum {
    SWEEP_MS = 5000,
    ROUTE_IDLE_MS = 10 * 60 * 1000, /* an unused route is forgotten; the DNS cache is not */
    EGRESS_CHUNKS = 256 << 20,
};

static void on_sweep(struct op *op);
static void on_drain_deadline(struct op *op);
static void on_dns_stopped(struct op *op);

static struct dns_options dns_options_of(const struct egress *egress)
{
    const struct egress_settings *settings = &egress->settings;
    const struct config *config = settings->config;
    return (struct dns_options){
        .servers = config->dns.servers,
        .server_count = config->dns.server_count,
        .timeout_ms = config->dns.timeout_ms,
        .cache_entries = config->dns.cache_entries,
        .max_ttl_ms = config->dns.max_ttl_ms,
        .negative_ttl_ms = config->dns.negative_ttl_ms,
        .stale_ttl_ms = config->dns.stale_ttl_ms,
        .hostname = config->hostname,
        .own_addresses = settings->own_addresses,
        .own_address_count = settings->own_address_count,
        .prohibited_hosts = config->delivery.prohibited_hosts,
        .prohibited_host_count = config->delivery.prohibited_host_count,
        .skip_hosts = config->delivery.skip_hosts,
        .skip_host_count = config->delivery.skip_host_count,
        .ip_lookup_strategy = config->delivery.ip_lookup_strategy,
        .smtp_port = config->delivery.smtp_port,
        .metrics = settings->metrics,
    };
}

static int open_dns(struct egress *egress)
{
    struct dns_options options = dns_options_of(egress);
    return dns_new(egress->loop, &options, &egress->dns);
}

int egress_init(struct egress *egress, struct loop *loop, const struct egress_settings *settings)
{
    *egress = (struct egress){.loop = loop, .settings = *settings, .source = SPAN("default")};
    list_init(&egress->old_routes);
    list_init(&egress->old_lanes);
    list_init(&egress->to_ask);
    list_init(&egress->deliveries);
    traces_init(&egress->traces);
    chunk_pool_init(&egress->chunks, EGRESS_CHUNKS, 4 << 20);
    timer_init(&egress->sweep, on_sweep);
    timer_init(&egress->drain_deadline, on_drain_deadline);
    op_init(&egress->dns_stopped, on_dns_stopped);
    int error = map_init(&egress->routes, 1024);
    if (error < 0)
        return error;
    error = map_init(&egress->lanes, 1024);
    if (error == 0)
        error = tls_peers_init(&egress->tls_peers, settings->seed, TLS_PEERS);
    if (error == 0)
        error = suspended_init(egress);
    if (error == 0)
        error = open_dns(egress);
    if (error < 0)
        egress_fini(egress);
    return error;
}

void egress_start(struct egress *egress, struct share *share)
{
    egress->share = share;
    suspended_start(egress);
    timer_arm(&egress->loop->timers, &egress->sweep, egress->loop->now_ns + SWEEP_MS * NS_PER_MS);
}

void egress_on_ready(void *context, struct queue *queue)
{
    struct egress *egress = context;
    if (!egress->draining && !list_linked(&queue->want) && !egress_take_suspended(egress, queue))
        route_queue(egress, queue);
}

/* Both lists are in order of last use, so a sweep looks only at what it forgets and one more. */
static void on_sweep(struct op *op)
{
    struct egress *egress = container_of(op, struct egress, sweep.op);
    uint64_t now_ns = egress->loop->now_ns;
    list_for_each (&egress->old_routes, link, following) {
        struct route *route = container_of(link, struct route, old);
        if (now_ns - route->used_ns < ROUTE_IDLE_MS * NS_PER_MS)
            break;
        if (route_unused(route))
            route_free(route);
    }
    list_for_each (&egress->old_lanes, link, following) {
        struct lane *lane = container_of(link, struct lane, old);
        if (now_ns - lane->used_ns < LANE_IDLE_MS * NS_PER_MS)
            break;
        if (lane_unused(lane))
            lane_free(lane);
    }
    timer_arm(&egress->loop->timers, &egress->sweep, now_ns + SWEEP_MS * NS_PER_MS);
}

/* ---- another snapshot ---- */

static void forget_plan(struct map_node *node, void *context)
{
    struct route *route = container_of(node, struct route, by_domain);
    route->plan = plan_free(route->plan);
}

static void look_again(struct map_node *node, void *context)
{
    struct lane *lane = container_of(node, struct lane, by_key);
    loop_nudge(lane->egress->loop, &lane->advance);
}

void egress_reconfigure(struct egress *egress, const struct egress_settings *settings)
{
    egress->settings = *settings;
    struct dns_options options = dns_options_of(egress);
    dns_reconfigure(egress->dns, &options);
    map_each(&egress->routes, forget_plan, NULL);
    map_each(&egress->lanes, look_again, NULL);
}

/* ---- drain ---- */

void egress_delivery_gone(struct egress *egress)
{
    metric_add(egress->settings.metrics, METRIC_CONNECTIONS_OUT, (uint64_t)-1);
    if (egress->draining && list_empty(&egress->deliveries) && op_idle(&egress->dns_stopped))
        dns_stop(egress->dns, &egress->dns_stopped);
}

static void on_dns_stopped(struct op *op)
{
    struct egress *egress = container_of(op, struct egress, dns_stopped);
    timer_disarm(&egress->loop->timers, &egress->drain_deadline);
    loop_ready(egress->loop, egress->drained, 0);
}

static void on_drain_deadline(struct op *op)
{
    struct egress *egress = container_of(op, struct egress, drain_deadline.op);
    list_for_each (&egress->deliveries, link, following)
        delivery_cut(link);
}

void egress_drain(struct egress *egress, struct op *done)
{
    check(!egress->draining);
    egress->draining = true;
    egress->drained = done;
    timer_disarm(&egress->loop->timers, &egress->sweep);
    suspended_stop(egress);
    list_for_each (&egress->old_lanes, link, following)
        lane_drain(container_of(link, struct lane, old));
    if (list_empty(&egress->deliveries)) {
        dns_stop(egress->dns, &egress->dns_stopped);
        return;
    }
    timer_arm(&egress->loop->timers, &egress->drain_deadline,
              egress->loop->now_ns +
                  egress->settings.config->delivery.system_shutdown_timeout_ms * NS_PER_MS);
}

static void free_route(struct map_node *node, void *context)
{
    route_free(container_of(node, struct route, by_domain));
}

static void free_lane(struct map_node *node, void *context)
{
    lane_free(container_of(node, struct lane, by_key));
}

void egress_fini(struct egress *egress)
{
    map_each(&egress->routes, free_route, NULL);
    map_each(&egress->lanes, free_lane, NULL);
    map_fini(&egress->routes);
    map_fini(&egress->lanes);
    egress->dns = dns_free(egress->dns);
    timer_disarm(&egress->loop->timers, &egress->sweep);
    suspended_fini(egress);
    traces_fini(&egress->traces);
    chunk_pool_fini(&egress->chunks);
    tls_peers_fini(&egress->tls_peers);
}
