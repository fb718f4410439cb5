/* The policy's table is in core/config.h; here it becomes what the client is told (client.h) and
 * what follows from a failure. */
#include "smtp/delivery_private.h"

#include <errno.h>

static struct tls_host tls_host(const struct delivery *delivery)
{
    return (struct tls_host){.name = delivery_host_name(delivery), .address = &delivery->to};
}

static bool is_insecure(enum tls_policy policy)
{
    return policy == TLS_OPPORTUNISTIC_INSECURE || policy == TLS_REQUIRED_INSECURE;
}

/* Whether mail may go in the clear where TLS was tried in vain. */
static bool clear_may_follow(const struct delivery *delivery)
{
    enum tls_policy policy = delivery->lane->tls;
    return policy == TLS_OPPORTUNISTIC_INSECURE ||
           (policy == TLS_OPPORTUNISTIC && delivery_config(delivery)->reconnect_in_clear);
}

enum tls_policy delivery_policy(const struct delivery *delivery)
{
    struct egress *egress = delivery->lane->egress;
    enum tls_policy policy = delivery->lane->tls;
    struct tls_host host = tls_host(delivery);
    bool opportunistic = policy == TLS_OPPORTUNISTIC || policy == TLS_OPPORTUNISTIC_INSECURE;
    if (!egress->settings.tls && opportunistic)
        return TLS_DISABLED;
    if (clear_may_follow(delivery) &&
        tls_peers_broken(&egress->tls_peers, &host, egress->loop->now_ns))
        return TLS_DISABLED;
    return policy;
}

bool delivery_remember_broken(struct delivery *delivery)
{
    struct egress *egress = delivery->lane->egress;
    struct tls_host host = tls_host(delivery);
    uint64_t until_ns =
        egress->loop->now_ns + delivery_config(delivery)->remember_broken_tls_ms * NS_PER_MS;
    return clear_may_follow(delivery) && tls_peers_set_broken(&egress->tls_peers, &host, until_ns);
}

static struct tls *new_session(struct delivery *delivery)
{
    struct egress *egress = delivery->lane->egress;
    struct tls_host host = tls_host(delivery);
    struct tls_session *resume = tls_peers_take(&egress->tls_peers, &host);
    struct tls_client_options options = {
        .name = host.name, .insecure = is_insecure(delivery->lane->tls), .resume = resume};
    struct tls_context *context = tls_service_context(egress->settings.tls);
    struct tls *tls = tls_new_client(context, &options);
    tls_context_free(context);
    if (resume && tls_session_single_use(resume))
        resume = tls_session_free(resume);
    tls_peers_keep(&egress->tls_peers, &host, resume);
    return tls;
}

static void insecure(struct delivery *delivery, struct span why)
{
    metric_add(delivery->lane->egress->settings.metrics, METRIC_TLS_OUT_FAILED, 1);
    client_insecure(&delivery->client, why);
}

void delivery_begin_handshake(struct delivery *delivery)
{
    uint64_t wait_ms = delivery_config(delivery)->starttls_timeout_ms;
    if (!delivery->lane->egress->settings.tls)
        insecure(delivery, SPAN("no roots were loaded"));
    else if (!conn_start_tls(&delivery->conn, new_session(delivery),
                             delivery_loop(delivery)->now_ns + wait_ms * NS_PER_MS))
        insecure(delivery, SPAN("out of memory"));
}

static void handshake_failed(struct delivery *delivery, unsigned events)
{
    char text[CLIENT_TEXT];
    struct sink sink;
    sink_init(&sink, text, sizeof text);
    const char *error = strerrordesc_np(delivery->conn.error);
    if (delivery->conn.error == EPROTO)
        tls_put_trouble(conn_session(&delivery->conn), &sink);
    else if (events & CONN_ERROR)
        sink_put(&sink, span_string(error ? error : "unknown error"));
    else if (events & CONN_EOF)
        sink_put(&sink, SPAN("the connection was closed during the handshake"));
    else
        sink_put(&sink, SPAN("the handshake was not done in time"));
    insecure(delivery, sink_span(&sink));
}

static void handshake_done(struct delivery *delivery)
{
    struct metrics *metrics = delivery->lane->egress->settings.metrics;
    metric_add(metrics, METRIC_TLS_OUT, 1);
    metric_add(metrics, METRIC_TLS_OUT_RESUMED, conn_facts(&delivery->conn)->resumed);
    client_secured(&delivery->client);
}

bool delivery_end_handshake(struct delivery *delivery, unsigned events)
{
    if (events & CONN_SECURED)
        handshake_done(delivery);
    else if (events & (CONN_ERROR | CONN_EOF | CONN_TIMEOUT))
        handshake_failed(delivery, events);
    else
        return false;
    return true;
}

void delivery_keep_session(struct delivery *delivery)
{
    struct tls *tls = conn_session(&delivery->conn);
    struct tls_host host = tls_host(delivery);
    if (tls)
        tls_peers_keep(&delivery->lane->egress->tls_peers, &host, tls_take_session(tls));
}
