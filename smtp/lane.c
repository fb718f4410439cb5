/* Two places decide: `advance` opens connections and hands idle ones to work, lane_take_row applies
 * the limits and the turns. Both run only from dispatch, so that a row is never taken while another
 * part of the lane is half changed.
 *
 * A rate is asked after a row is in hand and the row goes back if it says no: asking first would
 * spend budget on queues that turn out to be empty. */
#include "smtp/lane.h"

#include "smtp/delivery.h"
#include "smtp/route.h"
#include "smtp/suspended.h"

#include <stdlib.h>

/* The queues of one tenant and campaign that want the lane. */
struct flow {
    struct map_node by_name;
    struct list_link turn; /* in lane->flows */
    struct list queues;
    int64_t deficit;
    size_t name_len;
    char name[]; /* "campaign:tenant", as in the queue's name */
};

static void on_advance(struct op *op);
static void on_wake(struct op *op);

/* Who waits for a slot: the worker; and a lane of another policy beside it like another worker. */
static unsigned waiter(const struct lane *lane)
{
    return lane->egress->loop->index + 8 * (unsigned)(TLS_AS_DELIVERY - lane->route_tls);
}

/* ---- flows ---- */

static struct span flow_name(const struct queue *queue)
{
    check(queue->name.len >= queue->domain.len);
    return span_first(queue->name, queue->name.len - queue->domain.len);
}

static struct flow *flow_for(struct lane *lane, const struct queue *queue)
{
    struct span name = flow_name(queue);
    uint64_t hash = hash_key(lane->egress->settings.seed, name);
    for (struct map_node *node = map_find(&lane->flows_by_name, hash); node;
         node = map_find_next(node)) {
        struct flow *flow = container_of(node, struct flow, by_name);
        if (span_equals(span_of(flow->name, flow->name_len), name))
            return flow;
    }
    struct flow *flow = calloc(1, sizeof *flow + name.len);
    if (!flow)
        return NULL;
    flow->name_len = name.len;
    memcpy(flow->name, name.data, name.len);
    list_init(&flow->queues);
    map_insert(&lane->flows_by_name, &flow->by_name, hash);
    list_append(&lane->flows, &flow->turn);
    return flow;
}

static void flow_free(struct lane *lane, struct flow *flow)
{
    map_remove(&lane->flows_by_name, &flow->by_name);
    list_remove(&flow->turn);
    free(flow);
    if (list_empty(&lane->flows))
        lane_limit_stop_waiting(lane->limit, waiter(lane));
}

static struct flow *next_flow(struct lane *lane)
{
    for (;;) {
        struct list_link *link = list_first(&lane->flows);
        if (!link)
            return NULL;
        struct flow *flow = container_of(link, struct flow, turn);
        if (flow->deficit > 0)
            return flow;
        flow->deficit += LANE_QUANTUM;
        list_remove(&flow->turn);
        list_append(&lane->flows, &flow->turn);
    }
}

static struct queue *first_queue(const struct flow *flow)
{
    struct list_link *link = list_first(&flow->queues);
    check(link); /* a flow without queues is freed at once */
    return container_of(link, struct queue, want);
}

static void unwant(struct lane *lane, struct flow *flow, struct queue *queue)
{
    list_remove(&queue->want);
    if (list_empty(&flow->queues))
        flow_free(lane, flow);
}

/* Several waits share the timer: the earliest counts, and `advance` arms it again for what still
 * binds then. */
static void wake_at(struct lane *lane, uint64_t at_ns)
{
    if (!timer_armed(&lane->wake) || at_ns < lane->wake.due_ns)
        timer_arm(&lane->egress->loop->timers, &lane->wake, at_ns);
}

/* ---- rows ---- */

static bool rate_allows(struct lane *lane)
{
    const struct config_delivery *delivery = &lane->egress->settings.config->delivery;
    uint64_t again_ns = rate_take(&lane->limit->message_tat_ns, &delivery->max_message_rate,
                                  lane->egress->loop->now_ns);
    if (again_ns == 0)
        return true;
    lane->rate_until_ns = again_ns;
    wake_at(lane, again_ns);
    return false;
}

static bool stands_still(const struct lane *lane, const struct queue *queue)
{
    const struct egress *egress = lane->egress;
    return suspensions_of_queue(&egress->suspensions, queue->name, egress->loop->wall_ms) != NULL;
}

/* A row of the queue whose turn it is, LENT; queues that have none are forgotten. */
static struct row *next_row(struct lane *lane, struct flow **ret_flow)
{
    struct flow *flow;
    while ((flow = next_flow(lane))) {
        struct queue *queue = first_queue(flow);
        struct row *row;
        if (stands_still(lane, queue)) {
            unwant(lane, flow, queue);
            egress_take_suspended(lane->egress, queue);
            continue;
        }
        if (share_pull(lane->egress->share, queue, &row) == PULL_ROW) {
            *ret_flow = flow;
            return row;
        }
        unwant(lane, flow, queue);
    }
    return NULL;
}

struct row *lane_take_row(struct lane *lane)
{
    struct egress *egress = lane->egress;
    if (egress->draining || lane->held_until_ns || lane->rate_until_ns > egress->loop->now_ns ||
        lane_suspension(lane))
        return NULL;
    struct flow *flow;
    struct row *row = next_row(lane, &flow);
    if (!row)
        return NULL;
    if (!rate_allows(lane)) {
        share_return(egress->share, row);
        return NULL;
    }
    flow->deficit -= row->envelope.recipient_count;
    list_remove(&row->queue->want);
    list_append(&flow->queues, &row->queue->want);
    return row;
}

/* Rows that are due in the queues that want the lane, at most `enough`. */
static unsigned due_rows(const struct lane *lane, unsigned enough)
{
    unsigned count = 0, queues = 0;
    list_for_each (&lane->flows, link, following_flow) {
        const struct flow *flow = container_of(link, struct flow, turn);
        list_for_each (&flow->queues, each, following_queue) {
            const struct queue *queue = container_of(each, struct queue, want);
            count += share_due_rows(queue, enough - count);
            if (count == enough || ++queues == LANE_COUNTED_QUEUES)
                return count;
        }
    }
    return count;
}

/* Whether more rows are due than connections are on their way. A queue in `flows` proves nothing:
 * its last row may have been taken. One row is taken, which forgets such queues, and given back at
 * once; more of them would empty a queue, and giving them back announce it again, for ever. */
static bool work_for_another(struct lane *lane)
{
    struct flow *flow;
    struct row *row = next_row(lane, &flow);
    if (!row)
        return false;
    share_return(lane->egress->share, row);
    return lane->connecting == 0 || due_rows(lane, lane->connecting + 1) > lane->connecting;
}

bool lane_want(struct lane *lane, struct queue *queue)
{
    struct flow *flow = flow_for(lane, queue);
    if (!flow)
        return false;
    list_append(&flow->queues, &queue->want);
    lane->used_ns = lane->egress->loop->now_ns;
    if (lane->held_until_ns)
        queue->held_until_ms = lane->egress->loop->wall_ms + LANE_HOLD_MS;
    else
        queue->held_until_ms = 0;
    loop_nudge(lane->egress->loop, &lane->advance);
    return true;
}

/* ---- connections ---- */

static struct host *best_host(struct lane *lane)
{
    struct host *best = NULL;
    for (unsigned i = 0; i < lane->host_count; i++) {
        /* Start behind the last one used: equal preferences share the connections. */
        struct host *host = &lane->hosts[(lane->next_host + i) % lane->host_count];
        if (host->bad_until_ns > lane->egress->loop->now_ns)
            continue;
        if (!best || host->preference < best->preference)
            best = host;
    }
    return best;
}

static bool may_open(struct lane *lane)
{
    struct egress *egress = lane->egress;
    const struct config_delivery *config = &egress->settings.config->delivery;
    uint64_t now_ns = egress->loop->now_ns;
    if (lane->connecting > lane->established || !work_for_another(lane))
        return false;
    if (!lane_limit_take_slot(lane->limit, config->connection_limit, waiter(lane))) {
        /* Our own deliveries come back by themselves; only another worker's slot needs asking. */
        if (lane->established + lane->connecting == 0)
            wake_at(lane, now_ns + LANE_SLOT_RETRY_MS * NS_PER_MS);
        if (lane->full_since_ns == 0)
            lane->full_since_ns = now_ns;
        return false;
    }
    lane->full_since_ns = 0;
    uint64_t again_ns =
        rate_take(&lane->limit->connection_tat_ns, &config->max_connection_rate, now_ns);
    if (again_ns == 0)
        return true;
    lane_limit_give_slot(lane->limit);
    lane->dial_until_ns = again_ns;
    wake_at(lane, again_ns);
    return false;
}

/* No host may be tried now: a late failure may have outlasted the lane's own hold. */
static void wake_for_host(struct lane *lane)
{
    uint64_t first_ns = UINT64_MAX;
    for (unsigned i = 0; i < lane->host_count; i++)
        if (lane->hosts[i].bad_until_ns < first_ns)
            first_ns = lane->hosts[i].bad_until_ns;
    wake_at(lane, first_ns);
}

static void open_connections(struct lane *lane)
{
    while (list_empty(&lane->idle)) {
        struct host *host = best_host(lane);
        if (!host)
            wake_for_host(lane);
        if (!host || !may_open(lane))
            return;
        lane->next_host = (unsigned)(host - lane->hosts + 1) % lane->host_count;
        if (!delivery_open(lane, host)) {
            lane_limit_give_slot(lane->limit);
            wake_at(lane, lane->egress->loop->now_ns + NS_PER_S);
            return;
        }
        lane->connecting++;
        lane_count(lane, LABELLED_SITE_CONNECTIONS, 1);
    }
}

/* 0: no more. */
static void set_held(struct lane *lane, uint64_t until_ns)
{
    uint64_t change = (uint64_t)(until_ns != 0) - (uint64_t)(lane->held_until_ns != 0);
    lane->held_until_ns = until_ns;
    metric_add(lane->egress->settings.metrics, METRIC_LANES_HELD, change);
    lane_count(lane, LABELLED_SITE_HELD, change);
}

static void on_advance(struct op *op)
{
    struct lane *lane = container_of(op, struct lane, advance);
    uint64_t now_ns = lane->egress->loop->now_ns;
    if (lane->held_until_ns && lane->held_until_ns <= now_ns)
        set_held(lane, 0);
    if (lane->egress->draining || lane_suspension(lane))
        return;
    if (lane->held_until_ns || lane->rate_until_ns > now_ns) {
        wake_at(lane, lane->held_until_ns ? lane->held_until_ns : lane->rate_until_ns);
        return;
    }
    struct row *row;
    while (!list_empty(&lane->idle) && (row = lane_take_row(lane)))
        delivery_start(list_take_first(&lane->idle), row);
    open_connections(lane);
}

static void on_wake(struct op *op)
{
    struct lane *lane = container_of(op, struct lane, wake.op);
    loop_nudge(lane->egress->loop, &lane->advance);
}

static void set_bad_until(struct lane *lane, const struct plan_address *address, uint64_t until_ns)
{
    for (unsigned i = 0; i < lane->host_count; i++)
        if (memcmp(&lane->hosts[i].address, address, sizeof *address) == 0)
            lane->hosts[i].bad_until_ns = until_ns;
}

void lane_established(struct lane *lane, const struct plan_address *address)
{
    check(lane->connecting > 0);
    lane->connecting--;
    lane->established++;
    lane->failures = 0;
    lane->failure_len = 0;
    set_bad_until(lane, address, 0);
    loop_nudge(lane->egress->loop, &lane->advance);
}

void lane_idle(struct lane *lane, struct list_link *idle)
{
    list_append(&lane->idle, idle);
}

/* How long failures are remembered: not longer than the first retry, or that would always meet a
 * closed door. */
static uint64_t hold_ns(const struct lane *lane)
{
    const struct config *config = lane->egress->settings.config;
    uint64_t ms = LANE_HOLD_MS;
    if (config->retry.interval_count && config->retry.intervals_ms[0] < ms)
        ms = config->retry.intervals_ms[0];
    return ms * NS_PER_MS;
}

static void hold(struct lane *lane, const struct connect_failure *failure)
{
    struct egress *egress = lane->egress;
    struct verdict verdict = {.outcome = OUTCOME_DEFERRED, .reply = failure->reply};
    struct attempt attempt = {
        .verdicts = &verdict,
        .source = egress->source,
        .site = lane->site,
        .peer_name = failure->peer_name,
        .peer = failure->peer,
        .started_ms = egress->loop->wall_ms,
        .counts = true,
    };
    lane->held_since_ns = egress->loop->now_ns;
    set_held(lane, lane->held_since_ns + hold_ns(lane));
    wake_at(lane, lane->held_until_ns);
    struct list_link *link;
    while ((link = list_first(&lane->flows))) {
        struct flow *flow = container_of(link, struct flow, turn);
        struct queue *queue = first_queue(flow);
        unwant(lane, flow, queue);
        queue->held_until_ms = egress->loop->wall_ms + hold_ns(lane) / NS_PER_MS;
        route_note_error(egress, queue->domain, &failure->reply);
        share_settle_queue(egress->share, queue, &attempt);
    }
}

static void note_failure(struct lane *lane, const struct connect_failure *failure)
{
    struct sink sink;
    sink_init(&sink, lane->failure, sizeof lane->failure);
    sink_put_cut(&sink, failure->peer_name);
    sink_put_cut(&sink, SPAN(" ("));
    address_put_host(&failure->peer, &sink);
    sink_put_cut(&sink, SPAN("): "));
    sink_put_cut(&sink, failure->reply.text);
    lane->failure_len = (uint16_t)sink.len;
}

void lane_forgive(struct lane *lane)
{
    for (unsigned i = 0; i < lane->host_count; i++)
        lane->hosts[i].bad_until_ns = 0;
    set_held(lane, 0);
    lane->failures = 0;
    loop_nudge(lane->egress->loop, &lane->advance);
}

void lane_connect_failed(struct lane *lane, const struct plan_address *address,
                         const struct connect_failure *failure)
{
    const struct config_delivery *config = &lane->egress->settings.config->delivery;
    lane->failures++;
    lane_count(lane, LABELLED_SITE_CONNECT_FAILURES, 1);
    note_failure(lane, failure);
    set_bad_until(lane, address, lane->egress->loop->now_ns + hold_ns(lane));
    bool too_many = lane->failures >= config->consecutive_connection_failures_before_delay;
    if (lane->held_until_ns == 0 && (too_many || !best_host(lane)))
        hold(lane, failure);
}

void lane_delivery_gone(struct lane *lane, bool was_established)
{
    if (was_established) {
        check(lane->established > 0);
        lane->established--;
    } else {
        check(lane->connecting > 0);
        lane->connecting--;
    }
    lane_limit_give_slot(lane->limit);
    lane_count(lane, LABELLED_SITE_CONNECTIONS, (uint64_t)-1);
    lane->used_ns = lane->egress->loop->now_ns;
    /* A slot that another worker waits for is left to it for a moment. */
    if (lane_limit_contended(lane->limit, waiter(lane)))
        wake_at(lane, lane->used_ns + 2 * LANE_SLOT_RETRY_MS * NS_PER_MS);
    else
        loop_nudge(lane->egress->loop, &lane->advance);
}

bool lane_should_hand_over(const struct lane *lane, uint64_t held_since_ns)
{
    return lane_limit_contended(lane->limit, waiter(lane)) &&
           lane->egress->loop->now_ns - held_since_ns >= LANE_LIMIT_HOLD_MS * NS_PER_MS;
}

unsigned lane_queues(const struct lane *lane)
{
    unsigned count = 0;
    list_for_each (&lane->flows, link, following_flow) {
        const struct flow *flow = container_of(link, struct flow, turn);
        list_for_each (&flow->queues, each, following_queue)
            if (++count == LANE_QUEUES_SHOWN)
                return count;
    }
    return count;
}

/* ---- life ---- */

static struct lane *find(struct egress *egress, struct span key, enum tls_policy route_tls,
                         uint64_t hash)
{
    for (struct map_node *node = map_find(&egress->lanes, hash); node; node = map_find_next(node)) {
        struct lane *lane = container_of(node, struct lane, by_key);
        if (lane->route_tls == route_tls && span_equals(lane->key, key))
            return lane;
    }
    return NULL;
}

static struct lane *add(struct egress *egress, struct span key, enum tls_policy route_tls,
                        uint64_t hash)
{
    struct lane *lane = calloc(1, sizeof *lane + key.len);
    if (!lane)
        return NULL;
    lane->egress = egress;
    memcpy(lane + 1, key.data, key.len);
    lane->key = span_of(lane + 1, key.len);
    lane->site = span_skip(lane->key, egress->source.len + 2);
    lane->route_tls = route_tls;
    lane->limit = lane_limit_get(egress->settings.limits, key);
    if (!lane->limit || map_init(&lane->flows_by_name, 16) < 0) {
        if (lane->limit)
            lane_limit_put(egress->settings.limits, lane->limit);
        free(lane);
        return NULL;
    }
    lane->label = labels_get(egress->settings.sites, lane->site);
    metric_add(egress->settings.metrics, METRIC_LANES, 1);
    list_init(&lane->flows);
    list_init(&lane->idle);
    op_init(&lane->advance, on_advance);
    timer_init(&lane->wake, on_wake);
    map_insert(&egress->lanes, &lane->by_key, hash);
    list_append(&egress->old_lanes, &lane->old);
    return lane;
}

static uint64_t remembered_bad_until(const struct lane *lane, const struct plan_address *address)
{
    for (unsigned i = 0; i < lane->host_count; i++)
        if (memcmp(&lane->hosts[i].address, address, sizeof *address) == 0)
            return lane->hosts[i].bad_until_ns;
    return 0;
}

static void plan_size(const struct plan *plan, unsigned *ret_addresses, size_t *ret_names_len)
{
    *ret_addresses = 0;
    *ret_names_len = 0;
    for (size_t h = 0; h < plan->host_count; h++) {
        *ret_addresses += plan->hosts[h].address_count;
        *ret_names_len += plan->hosts[h].name.len;
    }
}

/* Deliveries that run keep their own copy of name and address, so the table may be replaced. */
static bool take_hosts(struct lane *lane, const struct plan *plan)
{
    if (lane->hosts_from == plan && lane->hosts_until_ns == plan->expires_ns)
        return true;
    unsigned addresses;
    size_t names_len;
    plan_size(plan, &addresses, &names_len);
    struct host *hosts = calloc(1, addresses * sizeof *hosts + names_len);
    if (!hosts)
        return false;
    char *name = (char *)(hosts + addresses);
    unsigned count = 0;
    for (size_t h = 0; h < plan->host_count; h++) {
        const struct plan_host *host = &plan->hosts[h];
        memcpy(name, host->name.data, host->name.len);
        for (unsigned a = 0; a < host->address_count; a++)
            hosts[count++] = (struct host){
                .address = host->addresses[a],
                .preference = host->preference,
                .name = span_of(name, host->name.len),
                .bad_until_ns = remembered_bad_until(lane, &host->addresses[a]),
            };
        name += host->name.len;
    }
    free(lane->hosts);
    lane->hosts = hosts;
    lane->host_count = count;
    lane->next_host = 0;
    lane->hosts_from = plan;
    lane->hosts_until_ns = plan->expires_ns;
    return true;
}

struct lane *lane_for_plan(struct egress *egress, const struct plan *plan,
                           enum tls_policy route_tls)
{
    char key[1024];
    struct sink sink;
    sink_init(&sink, key, sizeof key);
    sink_put(&sink, egress->source);
    sink_put(&sink, SPAN("->"));
    sink_put(&sink, span_first(plan->site, sizeof key - sink.len));
    uint64_t hash = hash_key(egress->settings.seed, sink_span(&sink));
    struct lane *lane = find(egress, sink_span(&sink), route_tls, hash);
    if (!lane)
        lane = add(egress, sink_span(&sink), route_tls, hash);
    if (!lane || !take_hosts(lane, plan))
        return NULL;
    bool own = route_tls != TLS_AS_DELIVERY;
    lane->tls = own ? route_tls : egress->settings.config->delivery.enable_tls;
    lane->used_ns = egress->loop->now_ns;
    list_remove(&lane->old);
    list_append(&egress->old_lanes, &lane->old);
    return lane;
}

bool lane_unused(const struct lane *lane)
{
    return list_empty(&lane->flows) && lane->established == 0 && lane->connecting == 0 &&
           lane->held_until_ns == 0 && op_idle(&lane->advance);
}

void lane_free(struct lane *lane)
{
    struct egress *egress = lane->egress;
    timer_disarm(&egress->loop->timers, &lane->wake);
    if (!op_idle(&lane->advance))
        loop_unready(egress->loop, &lane->advance);
    set_held(lane, 0); /* at the end of the worker it may be */
    lane_limit_put(egress->settings.limits, lane->limit);
    labels_put(egress->settings.sites, lane->label);
    metric_add(egress->settings.metrics, METRIC_LANES, (uint64_t)-1);
    map_fini(&lane->flows_by_name);
    map_remove(&egress->lanes, &lane->by_key);
    list_remove(&lane->old);
    free(lane->hosts);
    free(lane);
}

void lane_drain(struct lane *lane)
{
    struct list_link *link;
    while ((link = list_first(&lane->flows))) {
        struct flow *flow = container_of(link, struct flow, turn);
        unwant(lane, flow, first_queue(flow));
    }
    while ((link = list_first(&lane->idle)))
        delivery_quit(link);
}
