/* Proxies are believed by network, once: what counts is the address of the connection itself, also
 * after XCLIENT has named another one. A proxy's connections are counted in all only; when it has
 * said for whom it speaks, they count for that address. */
#include "smtp/session.h"

#include <stdlib.h>

enum { PROXY_MS = 10 * 1000 };

static void count(const struct session *session, enum metric metric)
{
    metric_add(ingress_of(session)->settings.metrics, metric, 1);
}

static bool from_proxy(const struct session *session)
{
    const struct config_listener *config = session->from->config;
    return networks_contain(config->proxy_from, config->proxy_from_count, &session->conn.peer);
}

bool session_may_xclient(const struct session *session)
{
    const struct config_listener *config = session->from->config;
    return networks_contain(config->xclient_from, config->xclient_from_count, &session->conn.peer);
}

/* ---- admission ---- */

static const struct address nobody;

static struct admission *admission_of(const struct session *session)
{
    return ingress_of(session)->settings.admission;
}

enum listen_verdict session_admit(struct session *session, enum listen_verdict verdict)
{
    bool proxy = from_proxy(session) || session_may_xclient(session);
    session->counted_by_address = !proxy;
    if (proxy && verdict == LISTEN_WELCOME)
        admission_leave(admission_of(session), &session->conn.peer);
    if (proxy && verdict != LISTEN_TOO_MANY)
        verdict = admission_enter(admission_of(session), &nobody);
    return verdict;
}

void session_leave(struct session *session)
{
    admission_leave(admission_of(session),
                    session->counted_by_address ? &session->conn.peer : &nobody);
}

/* False: there are too many of it already, and nothing has changed. */
static bool change_peer(struct session *session, const struct address *peer)
{
    if (admission_enter(admission_of(session), peer) != LISTEN_WELCOME)
        return false;
    session_leave(session);
    session->counted_by_address = true;
    session->conn.peer = *peer;
    return true;
}

/* ---- PROXY ---- */

bool session_expects_proxy(struct session *session)
{
    if (!from_proxy(session))
        return false;
    session->proxy = calloc(1, sizeof *session->proxy);
    if (!session->proxy)
        conn_abort(&session->conn);
    else
        conn_deadline(&session->conn, now_of(session) + PROXY_MS * NS_PER_MS);
    return true;
}

static void end_proxy(struct session *session, bool good, const struct address *source)
{
    free(session->proxy);
    session->proxy = NULL;
    if (!good) {
        count(session, METRIC_PROXY_BAD);
        conn_abort(&session->conn);
        return;
    }
    session->no_networks = source->family == AF_UNSPEC;
    if (!session->no_networks && !change_peer(session, source))
        session_turn_away(session, LIMIT_connections_per_address);
    else
        session_welcome(session);
}

void session_read_proxy(struct session *session, unsigned events)
{
    struct address source;
    enum proxy_result result = PROXY_MORE;
    while (result == PROXY_MORE) {
        struct span input = conn_input(&session->conn);
        size_t before = input.len;
        if (before == 0)
            break;
        result = proxy_header_read(session->proxy, &input, &source);
        conn_consume(&session->conn, before - input.len);
    }
    if (result != PROXY_MORE)
        end_proxy(session, result == PROXY_DONE, &source);
    else if (events & (CONN_ERROR | CONN_EOF | CONN_TIMEOUT) || ingress_of(session)->draining)
        end_proxy(session, false, NULL);
}

/* ---- XCLIENT ---- */

enum become_result session_become(void *context, const struct xclient *client,
                                  const struct server_identity **ret_identity)
{
    struct session *session = context;
    bool named = client->has_address && client->address.family != AF_UNSPEC;
    if (client->has_login && !session_log_in(session, client->login))
        return BECOME_NO_LOGIN;
    if (named && !change_peer(session, &client->address))
        return BECOME_TOO_MANY;
    if (client->has_address)
        session->no_networks = !named;
    if (!client->has_login)
        session_log_out(session);
    *ret_identity = client->has_login ? &session->identity : NULL;
    return BECOME_DONE;
}

/* ---- where mail may go ---- */

/* What an older server would read as a route to somewhere else. A stranger's mail to a domain that
 * is only passed on must not carry one: the server behind us trusts us. */
static bool is_route(struct span local)
{
    return span_find(local, '%') < local.len || span_find(local, '!') < local.len ||
           span_find(local, '@') < local.len;
}

static bool is_relayed(const struct config *config, struct span domain)
{
    for (size_t i = 0; i < config->domain_count; i++)
        if (config->domains[i].relay_to && span_equals(config->domains[i].name, domain))
            return true;
    return false;
}

bool session_is_ours(void *context)
{
    const struct session *session = context;
    const struct config_listener *config = session->from->config;
    return session->server.identity ||
           (!session->no_networks &&
            networks_contain(config->relay_from, config->relay_from_count, &session->conn.peer));
}

enum relay_verdict session_may_relay(void *context, const struct mailbox *recipient)
{
    const struct session *session = context;
    if (session_is_ours(context))
        return RELAY_ACCEPT;
    if (is_relayed(ingress_of(session)->settings.config, recipient->domain) &&
        !is_route(recipient->local))
        return RELAY_ACCEPT;
    count(session, METRIC_RELAY_DENIED);
    return RELAY_DENIED;
}
