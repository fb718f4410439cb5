/* The plan of a temporary failure is kept for a moment too (its expires_ns), so that a broken name
 * server is not asked once per queue. A queue whose rows are being settled in turns is not in any
 * list; when new rows become due it is announced again and asks again, from the cache.
 *
 * A start over a million queues announces them all at once: only so many look-ups run at a time
 * (each holds 3 KB), the other routes stand in line, and only so many routes are remembered. */
#include "smtp/route.h"

#include "smtp/lane.h"
#include "smtp/suspended.h"

#include <stdlib.h>

enum { ASKING_MAX = 512, ROUTES_KEPT = 16384 };

static const struct config_route *configured(const struct config *config, struct span domain)
{
    const struct config_route *smart_host = NULL;
    for (size_t i = 0; i < config->route_count; i++) {
        if (span_equals_any_case(config->routes[i].domain, domain))
            return &config->routes[i];
        if (span_equals(config->routes[i].domain, SPAN("*")))
            smart_host = &config->routes[i];
    }
    return smart_host;
}

static struct route *find(struct egress *egress, struct span domain, uint64_t hash)
{
    for (struct map_node *node = map_find(&egress->routes, hash); node;
         node = map_find_next(node)) {
        struct route *route = container_of(node, struct route, by_domain);
        if (span_equals(span_of(route->domain, route->domain_len), domain))
            return route;
    }
    return NULL;
}

static void on_plan(struct op *op);

/* The one that was not used for longest, if nobody waits for it. */
static void forget_oldest(struct egress *egress)
{
    struct list_link *link = list_first(&egress->old_routes);
    struct route *oldest = link ? container_of(link, struct route, old) : NULL;
    if (egress->routes.count >= ROUTES_KEPT && oldest && route_unused(oldest))
        route_free(oldest);
}

static struct route *add(struct egress *egress, struct span domain, uint64_t hash)
{
    forget_oldest(egress);
    struct route *route = calloc(1, sizeof *route + domain.len);
    if (!route)
        return NULL;
    route->egress = egress;
    route->domain_len = domain.len;
    memcpy(route->domain, domain.data, domain.len);
    list_init(&route->waiting);
    op_init(&route->request.op, on_plan);
    map_insert(&egress->routes, &route->by_domain, hash);
    list_append(&egress->old_routes, &route->old);
    return route;
}

static void settle_without_hosts(struct route *route, struct queue *queue)
{
    const struct plan *plan = route->plan;
    struct verdict verdict = {
        .outcome = plan->code >= 500 ? OUTCOME_FAILED : OUTCOME_DEFERRED,
        .reply = {.code = plan->code,
                  .enhanced = {plan->enhanced.class, plan->enhanced.subject, plan->enhanced.detail},
                  .text = span_string(plan->text),
                  .internal = true},
    };
    struct attempt attempt = {
        .verdicts = &verdict,
        .source = route->egress->source,
        .started_ms = route->egress->loop->wall_ms,
        .counts = true,
    };
    route_note_error(route->egress, queue->domain, &verdict.reply);
    share_settle_queue(route->egress->share, queue, &attempt);
}

/* No memory for a lane or a plan: the rows are deferred, which writes nothing that was not there.
 */
static void settle_without_memory(struct egress *egress, struct queue *queue)
{
    struct verdict verdict = {
        .outcome = OUTCOME_DEFERRED,
        .reply = {.code = 451,
                  .enhanced = {4, 3, 0},
                  .text = SPAN("out of memory"),
                  .internal = true},
    };
    struct attempt attempt = {.verdicts = &verdict,
                              .source = egress->source,
                              .started_ms = egress->loop->wall_ms,
                              .counts = true};
    share_settle_queue(egress->share, queue, &attempt);
}

static void follow_plan(struct route *route, struct queue *queue)
{
    if (egress_take_suspended(route->egress, queue))
        return; /* since it asked for the plan */
    if (route->plan->status != PLAN_OK) {
        settle_without_hosts(route, queue);
        return;
    }
    const struct config_route *own =
        configured(route->egress->settings.config, span_of(route->domain, route->domain_len));
    struct lane *lane =
        lane_for_plan(route->egress, route->plan, own ? own->enable_tls : TLS_AS_DELIVERY);
    if (!lane || !lane_want(lane, queue))
        settle_without_memory(route->egress, queue);
}

static void ask(struct route *route);

/* A look-up has ended: the next in line. When draining, nobody asks any more, and queues may be
 * left as they are. */
static void ask_next(struct egress *egress)
{
    struct list_link *link;
    egress->asking--;
    while (egress->asking < ASKING_MAX && (link = list_take_first(&egress->to_ask))) {
        struct route *route = container_of(link, struct route, to_ask);
        if (!egress->draining) {
            ask(route);
            continue;
        }
        while (list_take_first(&route->waiting))
            continue;
    }
}

static void on_plan(struct op *op)
{
    struct route *route = container_of(op, struct route, request.op);
    struct list waiting;
    ask_next(route->egress);
    list_init(&waiting);
    list_append_all(&waiting, &route->waiting);
    if (op->result == 0) {
        route->plan = route->request.plan;
        route->request.plan = NULL;
    }
    struct list_link *link;
    while ((link = list_take_first(&waiting))) {
        struct queue *queue = container_of(link, struct queue, want);
        if (route->egress->draining)
            continue;
        if (route->plan)
            follow_plan(route, queue);
        else
            settle_without_memory(route->egress, queue);
    }
}

static void ask(struct route *route)
{
    struct egress *egress = route->egress;
    route->asked_ns = egress->loop->now_ns;
    if (egress->asking == ASKING_MAX) {
        list_append(&egress->to_ask, &route->to_ask);
        return;
    }
    egress->asking++;
    struct span domain = span_of(route->domain, route->domain_len);
    const struct config_route *fixed = configured(egress->settings.config, domain);
    if (fixed && fixed->host_count)
        plan_find_hosts(egress->dns, &route->request, fixed->hosts, fixed->host_count);
    else
        plan_find(egress->dns, &route->request, domain);
}

struct route *route_find(struct egress *egress, struct span domain)
{
    return find(egress, domain, hash_key(egress->settings.seed, domain));
}

void route_note_error(struct egress *egress, struct span domain, const struct reply_summary *reply)
{
    struct route *route = route_find(egress, domain);
    if (route && !route->error)
        route->error = calloc(1, sizeof *route->error);
    if (!route || !route->error)
        return;
    struct sink sink;
    sink_init(&sink, route->error->text, ROUTE_ERROR);
    sink_format(&sink, "%u ", reply->code);
    if (reply->enhanced.class)
        sink_format(&sink, "%u.%u.%u ", reply->enhanced.class, reply->enhanced.subject,
                    reply->enhanced.detail);
    sink_put_cut(&sink, reply->text);
    route->error->len = (uint16_t)sink.len;
    route->error->at_ms = egress->loop->wall_ms;
    route->error->count++;
}

void route_queue(struct egress *egress, struct queue *queue)
{
    uint64_t hash = hash_key(egress->settings.seed, queue->domain);
    struct route *route = find(egress, queue->domain, hash);
    if (!route)
        route = add(egress, queue->domain, hash);
    if (!route) {
        settle_without_memory(egress, queue);
        return;
    }
    route->used_ns = egress->loop->now_ns;
    list_remove(&route->old);
    list_append(&egress->old_routes, &route->old);
    if (route->plan && route->plan->expires_ns <= egress->loop->now_ns)
        route->plan = plan_free(route->plan);
    if (route->plan) {
        follow_plan(route, queue);
        return;
    }
    list_append(&route->waiting, &queue->want);
    if (op_idle(&route->request.op) && !list_linked(&route->to_ask))
        ask(route);
}

bool route_unused(const struct route *route)
{
    return list_empty(&route->waiting) && op_idle(&route->request.op);
}

void route_free(struct route *route)
{
    check(route_unused(route));
    map_remove(&route->egress->routes, &route->by_domain);
    list_remove(&route->old);
    plan_free(route->plan);
    free(route->error);
    free(route);
}
