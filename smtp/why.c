#include "smtp/why.h"

#include "smtp/delivery.h"
#include "smtp/lane.h"
#include "smtp/route.h"
#include "smtp/suspended.h"

enum { TEXT_MAX = 1024 };

struct listener {
    const struct egress *egress;
    why_tell *tell;
    void *context;
};

static void say(const struct listener *listener, const struct why *why)
{
    listener->tell(listener->context, why);
}

/* Monotonic to wall time; 0 stays 0. */
static uint64_t wall_of(const struct egress *egress, uint64_t at_ns)
{
    const struct loop *loop = egress->loop;
    if (at_ns == 0)
        return 0;
    return at_ns >= loop->now_ns ? loop->wall_ms + (at_ns - loop->now_ns) / NS_PER_MS
                                 : loop->wall_ms - (loop->now_ns - at_ns) / NS_PER_MS;
}

/* ---- suspensions ---- */

static bool tell_suspension(const struct listener *listener, const struct suspension *suspension)
{
    char text[TEXT_MAX + SUSPENSION_NAME_MAX];
    struct sink sink;
    if (!suspension)
        return false;
    sink_init(&sink, text, sizeof(text));
    sink_format(&sink, "%s %.*s was suspended by %.*s",
                suspension_scope_name((enum suspension_scope)suspension->scope),
                SPAN_FORMAT(suspension->name), SPAN_FORMAT(suspension->who));
    if (suspension->reason.len)
        sink_format(&sink, ": %.*s", SPAN_FORMAT(suspension->reason));
    struct why why = {.reason = REASON_SUSPENDED,
                      .text = sink_span(&sink),
                      .since_ms = suspension->since_ms,
                      .until_ms = suspension->until_ms};
    say(listener, &why);
    return true;
}

/* ---- lanes ---- */

static bool tell_hosts(const struct listener *listener, const struct lane *lane)
{
    uint64_t now_ns = lane->egress->loop->now_ns, first_ns = UINT64_MAX;
    for (unsigned i = 0; i < lane->host_count; i++)
        if (lane->hosts[i].bad_until_ns < first_ns)
            first_ns = lane->hosts[i].bad_until_ns;
    if (lane->host_count == 0 || first_ns <= now_ns)
        return false;
    struct why why = {.reason = REASON_HOSTS_BAD,
                      .text = SPAN("no host of the site could be reached lately"),
                      .until_ms = wall_of(lane->egress, first_ns)};
    say(listener, &why);
    return true;
}

static bool tell_backoff(const struct listener *listener, const struct lane *lane)
{
    char text[TEXT_MAX];
    struct sink sink;
    if (lane->held_until_ns == 0)
        return false;
    uint64_t most =
        lane->egress->settings.config->delivery.consecutive_connection_failures_before_delay;
    bool too_many = lane->failures >= most;
    sink_init(&sink, text, sizeof(text));
    if (too_many)
        sink_format(&sink, "%u connections in a row have failed; the last: ", lane->failures);
    else
        sink_put(&sink, SPAN("no host of the site could be reached; the last: "));
    sink_put_cut(&sink, span_of(lane->failure, lane->failure_len));
    struct why why = {.reason = REASON_BACKOFF,
                      .text = sink_span(&sink),
                      .since_ms = wall_of(lane->egress, lane->held_since_ns),
                      .until_ms = wall_of(lane->egress, lane->held_until_ns),
                      .option = too_many ? "delivery.consecutive_connection_failures_before_delay"
                                         : NULL};
    say(listener, &why);
    return true;
}

static void tell_rate(const struct listener *listener, const struct lane *lane, enum reason reason,
                      const char *option, const struct rate *rate, uint64_t until_ns)
{
    char text[TEXT_MAX];
    struct sink sink;
    sink_init(&sink, text, sizeof(text));
    sink_format(&sink, "0 tokens left of %llu per %llu s over all workers; the next one comes then",
                (unsigned long long)rate->count, (unsigned long long)(rate->period_ms / 1000));
    struct why why = {.reason = reason,
                      .text = sink_span(&sink),
                      .until_ms = wall_of(lane->egress, until_ns),
                      .option = option};
    say(listener, &why);
}

static void tell_limit(const struct listener *listener, const struct lane *lane)
{
    const struct config_delivery *delivery = &lane->egress->settings.config->delivery;
    char text[TEXT_MAX];
    struct sink sink;
    uint32_t slots = atomic_load(&lane->limit->slots);
    if (slots < delivery->connection_limit || !list_empty(&lane->idle))
        return;
    sink_init(&sink, text, sizeof(text));
    sink_format(
        &sink, "%u connections are open over all workers and %llu may be; %u of this worker", slots,
        (unsigned long long)delivery->connection_limit, lane->established + lane->connecting);
    struct why why = {.reason = REASON_CONNECTION_LIMIT,
                      .text = sink_span(&sink),
                      .since_ms = wall_of(lane->egress, lane->full_since_ns),
                      .option = "delivery.connection_limit"};
    say(listener, &why);
}

static void tell_connections(const struct listener *listener, const struct lane *lane)
{
    char text[TEXT_MAX];
    struct sink sink;
    sink_init(&sink, text, sizeof(text));
    if (lane->connecting && lane->established == 0) {
        sink_format(&sink, "%u connections are on their way, none has got through its greeting yet",
                    lane->connecting);
        struct why why = {.reason = REASON_CONNECTING, .text = sink_span(&sink)};
        say(listener, &why);
        return;
    }
    unsigned queues = lane_queues(lane);
    if (queues <= 1)
        return;
    sink_format(&sink, "%u queues of this worker want the lane; %u connections serve them in turns",
                queues, lane->established);
    struct why why = {.reason = REASON_TURN, .text = sink_span(&sink)};
    say(listener, &why);
}

void lane_why(const struct lane *lane, why_tell *tell, void *context)
{
    struct listener listener = {lane->egress, tell, context};
    const struct config_delivery *delivery = &lane->egress->settings.config->delivery;
    uint64_t now_ns = lane->egress->loop->now_ns;
    bool bound = tell_suspension(&listener, lane_suspension(lane));
    bound |= tell_backoff(&listener, lane) || tell_hosts(&listener, lane);
    if (lane->rate_until_ns > now_ns)
        tell_rate(&listener, lane, REASON_MESSAGE_RATE, "delivery.max_message_rate",
                  &delivery->max_message_rate, lane->rate_until_ns);
    if (lane->dial_until_ns > now_ns)
        tell_rate(&listener, lane, REASON_CONNECTION_RATE, "delivery.max_connection_rate",
                  &delivery->max_connection_rate, lane->dial_until_ns);
    if (bound)
        return;
    tell_limit(&listener, lane);
    tell_connections(&listener, lane);
}

const struct lane *egress_next_lane(const struct egress *egress, struct span name,
                                    const struct lane *after)
{
    bool behind = !after;
    list_for_each (&egress->old_lanes, link, following) {
        const struct lane *lane = container_of(link, struct lane, old);
        if (behind && (span_equals(lane->key, name) || span_equals(lane->site, name)))
            return lane;
        behind |= lane == after;
    }
    return NULL;
}

/* ---- queues ---- */

static void tell_route(const struct listener *listener, const struct route *route)
{
    const struct plan *plan = route->plan;
    if (!plan) {
        struct why why = {.reason = REASON_RESOLVING,
                          .text = list_linked(&route->to_ask)
                                      ? SPAN("the domain stands in line to be looked up: as many "
                                             "look-ups run as may")
                                      : SPAN("the domain is being looked up"),
                          .since_ms = wall_of(route->egress, route->asked_ns)};
        say(listener, &why);
        return;
    }
    if (plan->status == PLAN_OK) {
        const struct lane *lane = egress_next_lane(route->egress, plan->site, NULL);
        if (lane)
            lane_why(lane, listener->tell, listener->context);
        return;
    }
    struct why why = {.reason = REASON_NO_ROUTE,
                      .text = span_string(plan->text),
                      .since_ms = wall_of(route->egress, route->asked_ns),
                      .until_ms = wall_of(route->egress, plan->expires_ns)};
    say(listener, &why);
}

/* Counts what passes through. */
struct counting {
    why_tell *tell;
    void *context;
    unsigned count;
};

static void count_and_tell(void *context, const struct why *why)
{
    struct counting *counting = context;
    counting->count += why->reason != REASON_CLOCK && why->reason != REASON_DISK_RESERVE;
    counting->tell(counting->context, why);
}

/* Very many destinations: the route was forgotten, the lane was not. */
static void tell_turn(const struct listener *listener)
{
    struct why why = {.reason = REASON_TURN,
                      .text = SPAN("it waits its turn in its lane; which one that is, is not "
                                   "remembered among so many: see `lane list`")};
    say(listener, &why);
}

/* A route that failed for now is worth knowing also while nothing is due. */
static bool failed_lately(const struct route *route)
{
    return route->plan && route->plan->status != PLAN_OK &&
           route->plan->expires_ns > route->egress->loop->now_ns;
}

void egress_why_queue(struct egress *egress, struct queue *queue, why_tell *tell, void *context)
{
    struct counting counting = {tell, context, 0};
    struct listener listener = {egress, count_and_tell, &counting};
    bool in_lanes = share_why_queue(queue, count_and_tell, &counting);
    bool suspended = tell_suspension(
        &listener, suspensions_of_queue(&egress->suspensions, queue->name, egress->loop->wall_ms));
    const struct route *route = route_find(egress, queue->domain);
    if (route && !suspended && (in_lanes || failed_lately(route)))
        tell_route(&listener, route);
    if (!route && in_lanes && list_linked(&queue->want))
        tell_turn(&listener);
    if (counting.count > 0)
        return;
    struct why why = {.reason = REASON_READY,
                      .text = SPAN("nothing binds it: it goes in one of the next turns")};
    say(&listener, &why);
}

/* ---- rows ---- */

bool egress_why_lent(const struct egress *egress, const struct row *row, struct sink *sink,
                     uint64_t *ret_since_ms)
{
    list_for_each (&egress->deliveries, link, following)
        if (delivery_tell(link, row, sink, ret_since_ms))
            return true;
    return false;
}
