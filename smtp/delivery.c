/* The conn records, `advance` decides, in one fixed order: feed the replies to the client, notice
 * the end of the connection, settle what is finished, begin what can begin, send, close or wait.
 *
 * Failure modes. A connection that fails before its first transaction is the host's failure and
 * told to the lane; no row was borrowed for it. One that fails later gives its open rows their
 * verdicts through the client (client_lost) and is no reason to avoid the host. A transaction whose
 * result leaves recipients untried is begun again at once on a healthy connection; otherwise the
 * row goes back and is due again. */
#include "smtp/delivery_private.h"

#include "smtp/route.h"

#include <stdlib.h>

enum { DELIVERY_ARENA = 256 * 1024, DELIVERY_IOV = CONN_IOV };

static struct delivery *of_conn(struct conn *conn)
{
    return container_of(conn, struct delivery, conn);
}

/* ---- rows ---- */

static struct borrowed *free_place(struct delivery *delivery)
{
    for (unsigned i = 0; i < countof(delivery->borrowed); i++)
        if (!delivery->borrowed[i].row)
            return &delivery->borrowed[i];
    return NULL;
}

static void begin_transaction(struct delivery *delivery, struct borrowed *borrowed)
{
    struct client_transaction transaction = {
        .envelope = &borrowed->row->envelope,
        .verdicts = borrowed->verdicts,
        .body = borrowed->row->body,
        .body_pieces = borrowed->row->body_pieces,
        .arena = &borrowed->arena,
        .owner = borrowed,
    };
    client_begin(&delivery->client, &transaction);
    metric_add(delivery->lane->egress->settings.metrics, METRIC_ATTEMPTS, 1);
}

/* False: no memory; the row has gone back. */
static bool borrow(struct delivery *delivery, struct row *row)
{
    struct borrowed *borrowed = free_place(delivery);
    check(borrowed);
    arena_init(&borrowed->arena, &delivery->lane->egress->chunks, DELIVERY_ARENA);
    borrowed->verdicts =
        arena_take_zeroed(&borrowed->arena, row->envelope.recipient_count * sizeof(struct verdict));
    if (!borrowed->verdicts) {
        arena_fini(&borrowed->arena);
        share_return(delivery->lane->egress->share, row);
        return false;
    }
    borrowed->row = row;
    borrowed->started_ms = delivery_loop(delivery)->wall_ms;
    borrowed->started_ns = delivery_loop(delivery)->now_ns;
    begin_transaction(delivery, borrowed);
    return true;
}

static void settle(struct delivery *delivery, struct borrowed *borrowed,
                   const struct client_result *result)
{
    static const struct tls_facts none = {0};
    const struct tls_facts *facts = conn_facts(&delivery->conn);
    facts = facts ? facts : &none;
    struct attempt attempt = {
        .verdicts = borrowed->verdicts,
        .source = delivery->lane->egress->source,
        .site = delivery->lane->site,
        .peer_name = delivery_host_name(delivery),
        .peer = delivery->to_address,
        .local = delivery->local,
        .protocol = client_protocol(&delivery->client),
        .tls_version = facts->version,
        .tls_cipher = facts->cipher,
        .tls_subject = facts->subject,
        .tls_verified = facts->verified,
        .started_ms = borrowed->started_ms,
        .counts = result->attempted,
        .may_duplicate = result->may_duplicate,
    };
    share_settle(delivery->lane->egress->share, borrowed->row, &attempt);
    borrowed->row = NULL;
    arena_fini(&borrowed->arena);
}

/* A batch limit or "too many recipients": the rest goes in a transaction of its own, at once. */
static bool go_on(struct delivery *delivery, const struct client_result *result)
{
    return result->untried > 0 && result->delivered + result->deferred + result->failed > 0 &&
           client_can_begin(&delivery->client) && !delivery->lane->egress->draining;
}

static void count_result(struct delivery *delivery, const struct borrowed *borrowed,
                         const struct client_result *result)
{
    struct lane *lane = delivery->lane;
    struct metrics *metrics = lane->egress->settings.metrics;
    const struct loop *loop = delivery_loop(delivery);
    lane_count(lane, LABELLED_SITE_DELIVERED, result->delivered);
    lane_count(lane, LABELLED_SITE_DEFERRED, result->deferred);
    lane_count(lane, LABELLED_SITE_BOUNCED, result->failed);
    if (!result->attempted)
        return;
    metric_observe(metrics, HISTOGRAM_TRANSACTION_SECONDS, loop->now_ns - borrowed->started_ns);
    uint64_t arrived_ms = borrowed->row->envelope.arrived_ms;
    uint64_t waited_ms = loop->wall_ms > arrived_ms ? loop->wall_ms - arrived_ms : 0;
    for (unsigned i = 0; i < result->delivered; i++)
        metric_observe(metrics, HISTOGRAM_QUEUE_SECONDS, waited_ms * NS_PER_MS);
}

static void note_error(struct delivery *delivery, const struct borrowed *borrowed,
                       const struct client_result *result)
{
    const struct row *row = borrowed->row;
    if (result->deferred + result->failed == 0)
        return;
    for (unsigned i = 0; i < row->envelope.recipient_count; i++) {
        const struct verdict *verdict = &borrowed->verdicts[i];
        if (verdict->outcome != OUTCOME_DEFERRED && verdict->outcome != OUTCOME_FAILED)
            continue;
        route_note_error(delivery->lane->egress, row->queue->domain, &verdict->reply);
        return;
    }
}

static void take_results(struct delivery *delivery)
{
    struct client_result result;
    while (client_take_result(&delivery->client, &result)) {
        struct borrowed *borrowed = result.owner;
        count_result(delivery, borrowed, &result);
        note_error(delivery, borrowed, &result);
        if (go_on(delivery, &result))
            begin_transaction(delivery, borrowed);
        else
            settle(delivery, borrowed, &result);
    }
}

static bool may_take_more(const struct delivery *delivery)
{
    return !delivery->lane->egress->draining &&
           delivery->client.begun < delivery_config(delivery)->max_deliveries_per_connection &&
           !lane_should_hand_over(delivery->lane, delivery->opened_ns);
}

static void begin_what_can(struct delivery *delivery)
{
    while (may_take_more(delivery) && client_can_begin(&delivery->client) && free_place(delivery)) {
        struct row *row = lane_take_row(delivery->lane);
        if (!row || !borrow(delivery, row))
            return;
    }
}

/* ---- tracing ---- */

static const struct queue *queue_on_its_way(const struct delivery *delivery)
{
    for (unsigned i = 0; i < countof(delivery->borrowed); i++)
        if (delivery->borrowed[i].row)
            return delivery->borrowed[i].row->queue;
    return NULL;
}

static void tell(struct delivery *delivery, char side, struct span text)
{
    struct egress *egress = delivery->lane->egress;
    const struct queue *queue = queue_on_its_way(delivery);
    struct trace_event event = {
        .wall_ms = egress->loop->wall_ms,
        .connection = delivery->number,
        .side = side,
        .peer = &delivery->to_address,
        .text = text,
        .interesting = &delivery->traced,
    };
    if (queue) {
        event.queue = queue->name;
        event.domain = queue->domain;
    }
    traces_tell(&egress->traces, &event, egress->loop->now_ns);
}

static bool is_traced(const struct delivery *delivery)
{
    return traces_any(&delivery->lane->egress->traces);
}

/* Commands lie in the client's own buffer, everything else is message text. */
static void tell_output(struct delivery *delivery, const struct iovec *iov, unsigned count)
{
    const struct client *client = &delivery->client;
    uint64_t octets = 0;
    for (unsigned i = 0; i < count; i++) {
        const char *data = iov[i].iov_base;
        if (data >= client->commands && data < client->commands + sizeof client->commands)
            tell(delivery, 'C', span_of(data, iov[i].iov_len));
        else
            octets += iov[i].iov_len;
    }
    if (octets == 0)
        return;
    char text[64];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    sink_format(&sink, "[%llu octets of message]", (unsigned long long)octets);
    tell(delivery, '*', sink_span(&sink));
}

/* ---- the connection ---- */

static void send_what_can(struct delivery *delivery)
{
    if (conn_sending(&delivery->conn) || delivery->conn.state != CONN_OPEN)
        return;
    struct iovec iov[DELIVERY_IOV];
    unsigned count = client_output(&delivery->client, iov, DELIVERY_IOV);
    if (count > 0 && is_traced(delivery))
        tell_output(delivery, iov, count);
    if (count > 0 && !conn_send(&delivery->conn, iov, count))
        client_lost(&delivery->client, false); /* no memory for the send: as if the line was cut */
}

static void tell_failed(struct delivery *delivery, const struct reply_summary *reply)
{
    if (delivery->established || delivery->failed_told)
        return;
    delivery->failed_told = true;
    struct connect_failure failure = {
        .reply = *reply, .peer_name = delivery_host_name(delivery), .peer = delivery->to_address};
    lane_connect_failed(delivery->lane, &delivery->to, &failure);
}

static void connect_failed(struct delivery *delivery, bool timeout)
{
    char text[160];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    const char *why = timeout ? "timed out" : strerrordesc_np(delivery->conn.error);
    sink_format(&sink, "cannot connect: %s", why ? why : "unknown error");
    struct reply_summary reply = {
        .code = 451, .enhanced = {4, 4, 1}, .text = sink_span(&sink), .internal = true};
    if (is_traced(delivery))
        tell(delivery, '*', reply.text);
    tell_failed(delivery, &reply);
    conn_abort(&delivery->conn);
}

static void start_talking(struct delivery *delivery)
{
    delivery->client_settings.tls = delivery_policy(delivery);
    client_init(&delivery->client, &delivery->client_settings);
    delivery->talking = true;
    delivery->talking_ns = delivery_loop(delivery)->now_ns;
    metric_observe(delivery->lane->egress->settings.metrics, HISTOGRAM_CONNECT_SECONDS,
                   delivery->talking_ns - delivery->opened_ns);
    delivery->progress_seen = client_progress(&delivery->client) - 1;
    if (io_local_address(delivery_loop(delivery)->io, delivery->conn.fd, &delivery->local) < 0)
        delivery->local = (struct address){0};
}

static void read_replies(struct delivery *delivery)
{
    struct span input;
    while ((input = conn_input(&delivery->conn)).len > 0) {
        size_t before = input.len;
        if (is_traced(delivery))
            tell(delivery, 'S', input);
        client_input(&delivery->client, &input);
        conn_consume(&delivery->conn, before - input.len);
    }
}

static void notice_state(struct delivery *delivery)
{
    enum client_state state = client_state(&delivery->client);
    if (!delivery->established && (state == CLIENT_READY || state == CLIENT_BUSY)) {
        delivery->established = true;
        metric_observe(delivery->lane->egress->settings.metrics, HISTOGRAM_GREETING_SECONDS,
                       delivery_loop(delivery)->now_ns - delivery->talking_ns);
        lane_established(delivery->lane, &delivery->to);
    }
    if (client_trouble(&delivery->client) == CLIENT_INSECURE && !delivery->failed_told)
        delivery->failed_told =
            delivery_remember_broken(delivery); /* then the lane need not know */
    if (client_trouble(&delivery->client) != CLIENT_FINE)
        tell_failed(delivery, client_failure(&delivery->client));
}

static void become_idle(struct delivery *delivery)
{
    if (!list_linked(&delivery->idle))
        lane_idle(delivery->lane, &delivery->idle);
    conn_deadline(&delivery->conn, delivery_loop(delivery)->now_ns +
                                       delivery_config(delivery)->idle_timeout_ms * NS_PER_MS);
}

static void end_idling(struct delivery *delivery)
{
    if (list_linked(&delivery->idle))
        list_remove(&delivery->idle);
}

static void move_deadline(struct delivery *delivery)
{
    uint32_t progress = client_progress(&delivery->client);
    if (progress == delivery->progress_seen)
        return;
    delivery->progress_seen = progress;
    conn_deadline(&delivery->conn,
                  delivery_loop(delivery)->now_ns + client_wait_ms(&delivery->client) * NS_PER_MS);
}

/* After the client has seen everything: what to do with the connection. */
static void decide(struct delivery *delivery)
{
    take_results(delivery);
    notice_state(delivery);
    begin_what_can(delivery);
    bool usable = may_take_more(delivery) && client_can_begin(&delivery->client);
    if (client_state(&delivery->client) == CLIENT_READY && !usable)
        client_quit(&delivery->client);
    send_what_can(delivery);
    if (client_handshake_due(&delivery->client) && !client_output_held(&delivery->client)) {
        delivery_begin_handshake(delivery);
        notice_state(delivery); /* it may have failed at once */
    }
    take_results(delivery); /* of a transaction that needed no connection: not expressible there */
    switch (client_state(&delivery->client)) {
    case CLIENT_DONE:
    case CLIENT_FAILED:
        conn_close(&delivery->conn);
        return;
    case CLIENT_READY:
        become_idle(delivery);
        return;
    case CLIENT_GREETING:
        if (conn_handshaking(&delivery->conn))
            return; /* its deadline is set */
        move_deadline(delivery);
        return;
    default:
        move_deadline(delivery);
    }
}

static void gone(struct delivery *delivery)
{
    struct egress *egress = delivery->lane->egress;
    if (delivery->talking && client_output_held(&delivery->client))
        client_sent(&delivery->client); /* it was given up: no send is in flight any more */
    if (delivery->talking)
        take_results(delivery);
    for (unsigned i = 0; i < countof(delivery->borrowed); i++)
        check(!delivery->borrowed[i].row);
    end_idling(delivery);
    list_remove(&delivery->all);
    lane_delivery_gone(delivery->lane, delivery->established);
    snapshot_release(delivery->snapshot);
    free(delivery);
    egress_delivery_gone(egress);
}

static void lost(struct delivery *delivery, bool timeout)
{
    if (!delivery->talking) {
        connect_failed(delivery, timeout);
        return;
    }
    bool idle = list_linked(&delivery->idle);
    end_idling(delivery);
    if (timeout && idle)
        client_quit(&delivery->client); /* idle_timeout: in order */
    else
        client_lost(&delivery->client, timeout);
    decide(delivery);
}

static void advance(struct conn *conn)
{
    struct delivery *delivery = of_conn(conn);
    unsigned events = conn_events(conn);
    if (events & CONN_CLOSED) {
        gone(delivery);
        return;
    }
    if (conn->state == CONN_CLOSING)
        return;
    if (events & CONN_CONNECTED)
        start_talking(delivery);
    if (client_handshake_due(&delivery->client) && conn_session(conn)) {
        if (!delivery_end_handshake(delivery, events))
            return;
        if (client_state(&delivery->client) == CLIENT_FAILED) {
            decide(delivery);
            return;
        }
    }
    if (delivery->talking) {
        if (events & CONN_SENT)
            client_sent(&delivery->client);
        read_replies(delivery);
        delivery_keep_session(delivery);
    }
    if (events & (CONN_ERROR | CONN_EOF | CONN_TIMEOUT)) {
        lost(delivery, !(events & (CONN_ERROR | CONN_EOF)));
        return;
    }
    if (delivery->talking)
        decide(delivery);
}

bool delivery_open(struct lane *lane, const struct host *host)
{
    struct delivery *delivery = calloc(1, sizeof *delivery);
    if (!delivery)
        return false;
    struct egress *egress = lane->egress;
    const struct config *config = egress->settings.config;
    struct span ehlo =
        config->delivery.ehlo_domain.len ? config->delivery.ehlo_domain : config->hostname;
    delivery->lane = lane;
    delivery->number = ++egress->delivery_count;
    delivery->snapshot = snapshot_hold(egress->settings.snapshot);
    delivery->config = config;
    delivery->client_settings = (struct client_settings){&config->delivery, ehlo};
    delivery->to = host->address;
    delivery->to_address = plan_address(&host->address);
    struct span name = span_first(host->name, sizeof delivery->host_name);
    memcpy(delivery->host_name, name.data, name.len);
    delivery->host_name_len = (uint16_t)name.len;
    delivery->opened_ns = egress->loop->now_ns;
    list_append(&egress->deliveries, &delivery->all);
    const struct address *source = &config->delivery.source_address;
    bool same_family = source->family == delivery->to_address.family;
    static const struct address any = {0};
    conn_connect(&delivery->conn, egress->loop, &delivery->to_address, same_family ? source : &any,
                 advance, egress->loop->now_ns + config->delivery.connect_timeout_ms * NS_PER_MS);
    metric_add(egress->settings.metrics, METRIC_CONNECTIONS_OUT, 1);
    return true;
}

void delivery_start(struct list_link *idle, struct row *row)
{
    struct delivery *delivery = container_of(idle, struct delivery, idle);
    if (borrow(delivery, row))
        conn_deadline(&delivery->conn, delivery_loop(delivery)->now_ns +
                                           client_wait_ms(&delivery->client) * NS_PER_MS);
    decide(delivery);
}

void delivery_quit(struct list_link *idle)
{
    struct delivery *delivery = container_of(idle, struct delivery, idle);
    end_idling(delivery);
    client_quit(&delivery->client);
    decide(delivery);
}

void delivery_cut(struct list_link *all)
{
    struct delivery *delivery = container_of(all, struct delivery, all);
    if (delivery->conn.state == CONN_CLOSING)
        return;
    end_idling(delivery);
    if (delivery->talking) {
        client_lost(&delivery->client, true);
        take_results(delivery);
    }
    conn_abort(&delivery->conn);
}

bool delivery_tell(const struct list_link *all, const struct row *row, struct sink *sink,
                   uint64_t *ret_since_ms)
{
    const char *const start = (const char *)all - offsetof(struct delivery, all);
    const struct delivery *delivery = (const struct delivery *)(const void *)start;
    for (unsigned i = 0; i < countof(delivery->borrowed); i++) {
        const struct borrowed *borrowed = &delivery->borrowed[i];
        if (borrowed->row != row)
            continue;
        sink_put(sink, SPAN("in delivery to "));
        sink_put(sink, delivery_host_name(delivery));
        sink_put(sink, SPAN(" ("));
        address_put(&delivery->to_address, sink);
        sink_put(sink, SPAN("): "));
        sink_put(sink, client_step_of(&delivery->client, borrowed));
        *ret_since_ms = borrowed->started_ms;
        return true;
    }
    return false;
}
