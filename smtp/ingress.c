/* A worker's inbound side: listeners come and go, sessions are told. What a session does is in
 * server_conn.c. */
#include "smtp/session.h"

#include <errno.h>
#include <stdlib.h>

enum { SLOTS_KEPT = 256 };

static void on_listener_stopped(struct op *op);
static void on_drain_deadline(struct op *op);

/* ---- a listener ---- */

static struct label_cell *label_of(const struct ingress *ingress,
                                   const struct config_listener *config)
{
    char name[ADDRESS_TEXT];
    struct sink sink;
    sink_init(&sink, name, sizeof name);
    address_put(&config->address, &sink);
    return labels_get(ingress->settings.listeners, sink_span(&sink));
}

/* Without a socket yet. NULL: no memory. */
static struct smtp_listener *listener_new(struct ingress *ingress,
                                          const struct config_listener *config)
{
    const struct config *all = ingress->settings.config;
    struct tls_services *tls = ingress->settings.tls;
    struct smtp_listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return NULL;
    listener->ingress = ingress;
    listener->snapshot = snapshot_hold(ingress->settings.snapshot);
    listener->config = config;
    listener->users = 1;
    listener->label = label_of(ingress, config);
    if (tls) {
        listener->tls = tls->listeners[config - all->listeners];
        listener->gate = &tls->gate;
    }
    listener->server = (struct server_settings){
        .hostname = all->hostname,
        .limits = limits_of(all),
        .share = ingress->share,
        .slots = &ingress->slots,
        .is_ours = session_is_ours,
        .on_refusal = session_refused,
        .may_relay = session_may_relay,
        .become = session_become,
        .metrics = ingress->settings.metrics,
        .tenant_header = all->policy.tenant_header,
        .campaign_header = all->policy.campaign_header,
        .starttls = listener->tls && config->tls == LISTENER_STARTTLS,
        .dkim_keys = ingress->settings.dkim_keys,
        .verify = all->authentication.verify,
    };
    session_offer_login(listener);
    list_append(&ingress->listeners, &listener->link);
    return listener;
}

/* `fd`: -1: it comes from a predecessor. */
static void adopt(struct smtp_listener *listener, int fd)
{
    struct ingress *ingress = listener->ingress;
    listener_adopt(&listener->listener, ingress->loop, fd, ingress->settings.admission,
                   session_on_connection, listener);
    listener->listener.on_stopped = on_listener_stopped;
}

void smtp_listener_put(struct smtp_listener *listener)
{
    while (listener && --listener->users == 0) {
        struct smtp_listener *successor = listener->successor;
        list_remove(&listener->link);
        labels_put(listener->ingress->settings.listeners, listener->label);
        snapshot_release(listener->snapshot);
        free(listener);
        listener = successor;
    }
}

static void on_listener_stopped(struct op *op)
{
    struct listener *listener = container_of(op, struct listener, accept);
    struct smtp_listener *from = listener->context;
    struct ingress *ingress = from->ingress;
    smtp_listener_put(from);
    ingress_look_drained(ingress);
}

/* ---- start ---- */

static int open_listeners(struct ingress *ingress, const struct config_listener **ret_failed)
{
    const struct config *config = ingress->settings.config;
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *wanted = &config->listeners[i];
        if (wanted->service == SERVICE_HTTP)
            continue;
        struct smtp_listener *listener = listener_new(ingress, wanted);
        int fd =
            listener ? io_listen(ingress->loop->io, &wanted->address, LISTEN_BACKLOG) : -ENOMEM;
        if (listener)
            adopt(listener, fd);
        if (fd < 0) {
            *ret_failed = wanted;
            return fd;
        }
    }
    return 0;
}

int ingress_init(struct ingress *ingress, struct loop *loop, struct share *share,
                 const struct ingress_settings *settings, const struct config_listener **ret_failed)
{
    *ingress = (struct ingress){.loop = loop, .share = share, .settings = *settings};
    *ret_failed = NULL;
    traces_init(&ingress->traces);
    list_init(&ingress->listeners);
    list_init(&ingress->sessions);
    timer_init(&ingress->drain_deadline, on_drain_deadline);
    const struct server_limits limits = limits_of(settings->config);
    unsigned connections = (unsigned)limits.connections;
    slots_init(&ingress->slots, server_slot_size(&limits), 2 * connections, SLOTS_KEPT);
    slots_init(&ingress->buffers, REPLY_BUFFER, connections + 64, SLOTS_KEPT);
    return open_listeners(ingress, ret_failed);
}

void ingress_start(struct ingress *ingress)
{
    list_for_each (&ingress->listeners, link, following)
        listener_start(&container_of(link, struct smtp_listener, link)->listener);
}

/* ---- another snapshot ---- */

static bool same_address(const struct address *a, const struct address *b)
{
    return a->len == b->len && memcmp(&a->any, &b->any, a->len) == 0;
}

/* The one among `before` that has this address, taken out of it. */
static struct smtp_listener *take_listener(struct list *before, const struct address *address)
{
    list_for_each (before, link, following) {
        struct smtp_listener *listener = container_of(link, struct smtp_listener, link);
        if (!same_address(&listener->config->address, address))
            continue;
        list_remove(link);
        return listener;
    }
    return NULL;
}

static int take_socket(struct listen_socket *sockets, size_t count, const struct address *address)
{
    for (size_t i = 0; i < count; i++) {
        int fd = sockets[i].fd;
        if (fd < 0 || !same_address(&sockets[i].address, address))
            continue;
        sockets[i].fd = -1;
        return fd;
    }
    return -1;
}

/* Those that accept, or are about to. */
static void take_open_listeners(struct ingress *ingress, struct list *ret_before)
{
    list_init(ret_before);
    list_for_each (&ingress->listeners, link, following) {
        if (container_of(link, struct smtp_listener, link)->listener.stopping)
            continue;
        list_remove(link);
        list_append(ret_before, link);
    }
}

/* False: no memory; `before` goes on as it was. */
static bool renew(struct ingress *ingress, const struct config_listener *wanted,
                  struct smtp_listener *before)
{
    struct smtp_listener *listener = listener_new(ingress, wanted);
    list_append(&ingress->listeners, &before->link);
    if (!listener)
        return false;
    adopt(listener, -1);
    listener->users++;
    before->successor = listener;
    listener_hand_over(&before->listener, &listener->listener);
    return true;
}

static bool open_new(struct ingress *ingress, const struct config_listener *wanted, int fd)
{
    struct smtp_listener *listener = listener_new(ingress, wanted);
    if (!listener) {
        io_close_now(ingress->loop->io, fd);
        return false;
    }
    adopt(listener, fd);
    listener_start(&listener->listener);
    return true;
}

static void send_sessions_home(struct ingress *ingress)
{
    list_for_each (&ingress->sessions, link, following) {
        struct session *session = container_of(link, struct session, link);
        if (session->admitted)
            server_drain(&session->server);
        conn_wake(&session->conn);
    }
}

static int renew_listeners(struct ingress *ingress, struct list *before,
                           struct listen_socket *sockets, size_t socket_count)
{
    const struct config *config = ingress->settings.config;
    bool fine = true;
    for (size_t i = 0; i < config->listener_count; i++) {
        const struct config_listener *wanted = &config->listeners[i];
        if (wanted->service == SERVICE_HTTP)
            continue;
        struct smtp_listener *listener = take_listener(before, &wanted->address);
        int fd = listener ? -1 : take_socket(sockets, socket_count, &wanted->address);
        if (listener)
            fine = renew(ingress, wanted, listener) && fine;
        else
            fine = fd >= 0 && open_new(ingress, wanted, fd) && fine;
    }
    return fine ? 0 : -ENOMEM;
}

int ingress_reconfigure(struct ingress *ingress, const struct ingress_settings *settings, bool open,
                        struct listen_socket *sockets, size_t socket_count)
{
    struct list before;
    if (ingress->draining)
        return 0;
    ingress->settings = *settings;
    ingress->shut = !open;
    take_open_listeners(ingress, &before);
    int result = open ? renew_listeners(ingress, &before, sockets, socket_count) : 0;
    for (struct list_link *link; (link = list_take_first(&before));) {
        list_append(&ingress->listeners, link);
        listener_stop(&container_of(link, struct smtp_listener, link)->listener);
    }
    if (!open)
        send_sessions_home(ingress);
    return result;
}

/* ---- the end ---- */

void ingress_look_drained(struct ingress *ingress)
{
    if (!ingress->draining || !list_empty(&ingress->sessions) || !list_empty(&ingress->listeners))
        return;
    timer_disarm(&ingress->loop->timers, &ingress->drain_deadline);
    if (op_idle(ingress->drained))
        loop_ready(ingress->loop, ingress->drained, 0);
}

static void on_drain_deadline(struct op *op)
{
    struct ingress *ingress = container_of(op, struct ingress, drain_deadline.op);
    list_for_each (&ingress->sessions, link, following)
        conn_abort(&container_of(link, struct session, link)->conn);
}

void ingress_drain(struct ingress *ingress, struct op *done)
{
    ingress->draining = true;
    ingress->drained = done;
    list_for_each (&ingress->listeners, link, following)
        listener_stop(&container_of(link, struct smtp_listener, link)->listener);
    send_sessions_home(ingress);
    timer_arm(&ingress->loop->timers, &ingress->drain_deadline,
              ingress->loop->now_ns +
                  ingress->settings.config->delivery.system_shutdown_timeout_ms * NS_PER_MS);
    ingress_look_drained(ingress);
}

/* Listeners are left only where the worker has never run. */
void ingress_fini(struct ingress *ingress)
{
    traces_fini(&ingress->traces);
    check(list_empty(&ingress->sessions));
    for (struct list_link *link; (link = list_first(&ingress->listeners));) {
        struct smtp_listener *listener = container_of(link, struct smtp_listener, link);
        if (listener->listener.fd >= 0)
            io_close_now(ingress->loop->io, listener->listener.fd);
        smtp_listener_put(listener);
    }
    slots_fini(&ingress->slots);
    slots_fini(&ingress->buffers);
}
