/* ares.c: the resolver on c-ares; the only file that knows it.
 *
 * c-ares does packets, retries, failover and TCP; the loop gives it readiness and time. Three
 * things outlive what started them, each counted until it is gone:
 *
 *  - a `ticket` is what c-ares holds as its callback's argument. c-ares cannot take back one query,
 *    so a query that is cancelled or out of time leaves its ticket behind, empty.
 *  - a `watch` is a descriptor of c-ares that is polled, one shot at a time. When c-ares drops the
 *    descriptor the poll is cancelled, and the watch stays until that is done. Its number may be
 *    in use again by then: the new descriptor has a watch of its own (the generation is the
 * object).
 *  - a `channel` serves CHANNEL_QUERIES queries, then a new one takes over, so that the source
 * ports change even on a busy server (idle sockets are closed anyway); it goes when its last ticket
 * does.
 *
 * c-ares calls back from inside its own functions. Those callbacks only record and make ops ready;
 * channels are destroyed from dispatch (channel_settle), never from within. */
#include "core/clock.h"
#include "dns/resolver.h"

#include <ares.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/time.h>

enum {
    CHANNEL_QUERIES = 512,
    TRIES = 2,
    TRY_SHARE = 4, /* of the whole time for the first try: the second waits twice as long */
    UDP_BYTES = 1232,
    FLAGS_LOW_BYTE = 3,
    FLAG_AD = 0x20, /* RFC 6840 5.7: we understand AD */
};

struct resolver {
    struct loop *loop;
    uint64_t timeout_ms;
    struct ares_addr_port_node *servers;
    struct list channels;
    struct channel *current;
    struct op *stopped;
};

struct channel {
    struct list_link link;
    struct resolver *resolver;
    ares_channel ares; /* NULL: destroyed, waiting for `lingering` */
    struct timer timer;
    struct list watches;
    struct list tickets;
    unsigned asked;
    unsigned lingering; /* watches dropped by c-ares whose poll is not over */
    bool plain;         /* a server does not know EDNS */
};

struct watch {
    struct list_link link;
    struct channel *channel; /* its channel outlives it */
    struct op poll;
    int fd;
    unsigned wanted, armed; /* POLLIN, POLLOUT; wanted 0: dropped */
};

struct resolver_ticket {
    struct list_link link;
    struct channel *channel;
    struct resolver_query *query; /* NULL: nobody waits any more */
    struct timer deadline;
};

/* ---- descriptors ---- */

static void on_poll(struct op *op);
static void channel_settle(struct channel *channel);

static void watch_drop(struct channel *channel, struct watch *watch)
{
    list_remove(&watch->link);
    watch->wanted = 0;
    if (op_idle(&watch->poll)) {
        free(watch);
        return;
    }
    channel->lingering++;
    io_cancel(channel->resolver->loop->io, &watch->poll);
}

static struct watch *find_watch(struct channel *channel, int fd)
{
    list_for_each (&channel->watches, link, following) {
        struct watch *watch = container_of(link, struct watch, link);
        if (watch->fd == fd)
            return watch;
    }
    return NULL;
}

/* c-ares tells what it wants of a descriptor; neither: it is about to close it. Polls are started
 * in channel_settle, when all is said. Without memory the descriptor is not watched, and its
 * queries run into their time-outs. */
static void on_socket_state(void *context, ares_socket_t fd, int readable, int writable)
{
    struct channel *channel = context;
    struct watch *watch = find_watch(channel, fd);
    unsigned wanted = (readable ? POLLIN : 0u) | (writable ? POLLOUT : 0u);
    if (!watch && wanted) {
        watch = calloc(1, sizeof(*watch));
        if (!watch)
            return;
        watch->channel = channel;
        watch->fd = fd;
        op_init(&watch->poll, on_poll);
        list_append(&channel->watches, &watch->link);
    }
    if (watch && wanted)
        watch->wanted = wanted;
    else if (watch)
        watch_drop(channel, watch);
}

static void on_poll(struct op *op)
{
    struct watch *watch = container_of(op, struct watch, poll);
    struct channel *channel = watch->channel;
    if (watch->wanted == 0) {
        free(watch);
        channel->lingering--;
    } else if (op->result != -ECANCELED) {
        /* An error or a hang-up is for c-ares to find out: it reads and writes. */
        bool input = op->result < 0 || (op->result & ~POLLOUT);
        bool output = op->result < 0 || (op->result & ~POLLIN);
        ares_process_fd(channel->ares, input ? watch->fd : ARES_SOCKET_BAD,
                        output ? watch->fd : ARES_SOCKET_BAD);
    }
    channel_settle(channel);
}

static void arm_watches(struct channel *channel)
{
    struct io *io = channel->resolver->loop->io;
    list_for_each (&channel->watches, link, following) {
        struct watch *watch = container_of(link, struct watch, link);
        if (op_idle(&watch->poll)) {
            watch->armed = watch->wanted;
            io_poll(io, &watch->poll, watch->fd, watch->wanted);
        } else if (watch->armed != watch->wanted) {
            watch->armed = watch->wanted; /* one cancel is enough; on_poll arms again */
            io_cancel(io, &watch->poll);
        }
    }
}

/* ---- time ---- */

static void on_timer(struct op *op)
{
    struct channel *channel = container_of(op, struct channel, timer.op);
    ares_process_fd(channel->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    channel_settle(channel);
}

static void arm_timer(struct channel *channel)
{
    struct loop *loop = channel->resolver->loop;
    struct timeval storage, *next = ares_timeout(channel->ares, NULL, &storage);
    if (!next) {
        loop_disarm(loop, &channel->timer);
        return;
    }
    uint64_t delay_ns = (uint64_t)next->tv_sec * NS_PER_S + (uint64_t)next->tv_usec * 1000;
    /* c-ares reads a clock of its own: a millisecond more keeps us from coming too early. */
    loop_arm(loop, &channel->timer, delay_ns + NS_PER_MS);
}

/* ---- channels ---- */

static int channel_new(struct resolver *resolver, struct channel **ret_channel)
{
    struct channel *channel = calloc(1, sizeof(*channel));
    if (!channel)
        return -ENOMEM;
    uint64_t try_ms = resolver->timeout_ms / TRY_SHARE;
    char lookups[] = "b";
    /* Everything is given, so that c-ares reads no file. */
    struct ares_options options = {
        .flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_EDNS,
        .timeout = try_ms > 0 && try_ms < INT32_MAX ? (int)try_ms : 1,
        .tries = TRIES,
        .ndots = 1,
        .lookups = lookups,
        .ednspsz = UDP_BYTES,
        .sock_state_cb = on_socket_state,
        .sock_state_cb_data = channel,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_NDOTS |
               ARES_OPT_SERVERS | ARES_OPT_DOMAINS | ARES_OPT_LOOKUPS | ARES_OPT_SORTLIST |
               ARES_OPT_EDNSPSZ | ARES_OPT_SOCK_STATE_CB | ARES_OPT_NOROTATE;
    int status = ares_init_options(&channel->ares, &options, mask);
    if (status == ARES_SUCCESS) {
        status = ares_set_servers_ports(channel->ares, resolver->servers);
        if (status != ARES_SUCCESS)
            ares_destroy(channel->ares);
    }
    if (status != ARES_SUCCESS) {
        free(channel);
        return status == ARES_ENOMEM ? -ENOMEM : -EIO;
    }
    channel->resolver = resolver;
    timer_init(&channel->timer, on_timer);
    list_init(&channel->watches);
    list_init(&channel->tickets);
    list_append(&resolver->channels, &channel->link);
    *ret_channel = channel;
    return 0;
}

static void channel_destroy(struct channel *channel)
{
    loop_disarm(channel->resolver->loop, &channel->timer);
    ares_destroy(channel->ares); /* ends its tickets, drops its watches */
    channel->ares = NULL;
    check(list_empty(&channel->tickets) && list_empty(&channel->watches));
}

/* After every call into c-ares: waits for what it wants now; and takes the channel down if it was
 * replaced and has nothing left to do. */
static void channel_settle(struct channel *channel)
{
    struct resolver *resolver = channel->resolver;
    bool retired = channel != resolver->current;
    if (channel->ares && retired && list_empty(&channel->tickets))
        channel_destroy(channel);
    if (channel->ares) {
        arm_watches(channel);
        arm_timer(channel);
        return;
    }
    if (channel->lingering > 0)
        return;
    list_remove(&channel->link);
    free(channel);
    if (resolver->stopped && list_empty(&resolver->channels))
        loop_ready(resolver->loop, resolver->stopped, 0);
}

/* The channel for the next query. */
static int choose_channel(struct resolver *resolver, struct channel **ret_channel)
{
    struct channel *old = resolver->current;
    if (old && old->asked < CHANNEL_QUERIES) {
        *ret_channel = old;
        return 0;
    }
    int error = channel_new(resolver, &resolver->current);
    if (error)
        return error;
    *ret_channel = resolver->current;
    if (old)
        channel_settle(old);
    return 0;
}

/* ---- queries ---- */

/* Whoever waits for the ticket gets `result`; the ticket is empty then. */
static void ticket_answer(struct resolver_ticket *ticket, int result)
{
    struct resolver_query *query = ticket->query;
    struct loop *loop = ticket->channel->resolver->loop;
    loop_disarm(loop, &ticket->deadline);
    ticket->query = NULL;
    if (!query)
        return;
    query->ticket = NULL;
    loop_ready(loop, &query->op, result);
}

static void on_deadline(struct op *op)
{
    ticket_answer(container_of(op, struct resolver_ticket, deadline.op), -ETIMEDOUT);
}

static int status_error(int status)
{
    switch (status) {
    case ARES_ETIMEOUT:
        return -ETIMEDOUT;
    case ARES_ECONNREFUSED:
        return -ECONNREFUSED;
    case ARES_ENOMEM:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

static int read_answer(struct resolver_ticket *ticket, struct span packet)
{
    struct resolver_query *query = ticket->query;
    int error = answer_decode(packet, &query->name, query->type, &query->answer);
    if (error)
        return error;
    unsigned rcode = query->answer->rcode;
    if (rcode == RCODE_NOERROR || rcode == RCODE_NXDOMAIN)
        return 0;
    /* c-ares goes on without EDNS after the first of these, so must we. */
    ticket->channel->plain |= rcode == RCODE_FORMERR;
    query->answer = answer_free(query->answer);
    return -EREMOTEIO;
}

static void on_answer(void *context, int status, int timeouts, unsigned char *packet, int len)
{
    struct resolver_ticket *ticket = context;
    int result = status_error(status);
    if (ticket->query && status == ARES_SUCCESS)
        result = read_answer(ticket, span_of(packet, (size_t)len));
    ticket_answer(ticket, result);
    list_remove(&ticket->link);
    free(ticket);
}

/* RFC 7686 2: such names are never asked for, they do not exist. */
static int answer_itself(struct resolver_query *query)
{
    struct answer header = {.rcode = RCODE_NXDOMAIN, .name = name_span(&query->name)};
    query->answer = answer_new(&header, NULL);
    return query->answer ? 0 : -ENOMEM;
}

static void send_query(struct channel *channel, struct resolver_ticket *ticket)
{
    struct resolver_query *query = ticket->query;
    unsigned char *packet;
    int len;
    uint16_t id;
    random_fill(&id, sizeof(id)); /* c-ares checks it, and the question, against the answer */
    int status = ares_create_query(query->name.text, 1, (int)query->type, id, 1, &packet, &len,
                                   channel->plain ? 0 : UDP_BYTES);
    if (status == ARES_SUCCESS) {
        packet[FLAGS_LOW_BYTE] |= FLAG_AD;
        ares_send(channel->ares, packet, len, on_answer, ticket);
        ares_free_string(packet);
        return;
    }
    int result = status == ARES_ENOTFOUND ? answer_itself(query) : status_error(status);
    ticket_answer(ticket, result);
    list_remove(&ticket->link);
    free(ticket);
}

void resolver_ask(struct resolver *resolver, struct resolver_query *query)
{
    check(op_idle(&query->op) && !resolver->stopped);
    struct channel *channel;
    struct resolver_ticket *ticket = NULL;
    query->answer = NULL;
    query->ticket = NULL;
    int error = choose_channel(resolver, &channel);
    if (!error && !(ticket = calloc(1, sizeof(*ticket))))
        error = -ENOMEM;
    if (error) {
        loop_ready(resolver->loop, &query->op, error);
        return;
    }
    ticket->channel = channel;
    ticket->query = query;
    query->ticket = ticket;
    query->op.state = OP_BUSY;
    timer_init(&ticket->deadline, on_deadline);
    loop_arm(resolver->loop, &ticket->deadline, resolver->timeout_ms * NS_PER_MS);
    list_append(&channel->tickets, &ticket->link);
    channel->asked++;
    send_query(channel, ticket);
    channel_settle(channel);
}

void resolver_cancel(struct resolver *resolver, struct resolver_query *query)
{
    if (op_idle(&query->op))
        return;
    if (query->op.state == OP_READY)
        loop_unready(resolver->loop, &query->op);
    query->op.state = OP_IDLE;
    query->answer = answer_free(query->answer);
    if (!query->ticket)
        return;
    query->ticket->query = NULL;
    loop_disarm(resolver->loop, &query->ticket->deadline);
    query->ticket = NULL;
}

/* ---- servers ---- */

static struct ares_addr_port_node *free_servers(struct ares_addr_port_node *servers)
{
    while (servers) {
        struct ares_addr_port_node *next = servers->next;
        free(servers);
        servers = next;
    }
    return NULL;
}

static bool add_server(struct ares_addr_port_node ***tail, const struct ares_addr_port_node *server)
{
    struct ares_addr_port_node *copy = malloc(sizeof(*copy));
    if (!copy)
        return false;
    *copy = *server;
    copy->next = NULL;
    **tail = copy;
    *tail = &copy->next;
    return true;
}

static struct ares_addr_port_node node_of(const struct address *address)
{
    struct ares_addr_port_node node = {
        .family = address->family,
        .udp_port = address_port(address),
        .tcp_port = address_port(address),
    };
    if (address->family == AF_INET)
        node.addr.addr4 = address->v4.sin_addr;
    else
        memcpy(&node.addr.addr6, &address->v6.sin6_addr, sizeof(node.addr.addr6));
    return node;
}

static int take_configured(struct resolver *resolver, const struct resolver_options *options)
{
    struct ares_addr_port_node **tail = &resolver->servers;
    for (size_t i = 0; i < options->server_count; i++) {
        const struct address *address = &options->servers[i];
        if (address->family != AF_INET && address->family != AF_INET6)
            return -EINVAL;
        struct ares_addr_port_node node = node_of(address);
        if (!add_server(&tail, &node))
            return -ENOMEM;
    }
    return 0;
}

/* Start-up only: c-ares reads /etc/resolv.conf for us, once. */
static int take_system(struct resolver *resolver)
{
    ares_channel system;
    if (ares_init(&system) != ARES_SUCCESS)
        return -EIO;
    struct ares_addr_port_node *servers = NULL, **tail = &resolver->servers;
    int error = ares_get_servers_ports(system, &servers) == ARES_SUCCESS ? 0 : -EIO;
    for (struct ares_addr_port_node *server = servers; server && !error; server = server->next)
        if (!add_server(&tail, server))
            error = -ENOMEM;
    ares_free_data(servers);
    ares_destroy(system);
    return error;
}

/* ---- the resolver's life ---- */

int resolver_new(struct loop *loop, const struct resolver_options *options,
                 struct resolver **ret_resolver)
{
    struct resolver *resolver = calloc(1, sizeof(*resolver));
    if (!resolver)
        return -ENOMEM;
    resolver->loop = loop;
    resolver->timeout_ms = options->timeout_ms;
    list_init(&resolver->channels);
    int error = options->server_count ? take_configured(resolver, options) : take_system(resolver);
    if (!error)
        error = channel_new(resolver, &resolver->current);
    if (error) {
        free_servers(resolver->servers);
        free(resolver);
        return error;
    }
    *ret_resolver = resolver;
    return 0;
}

static void destroy_channels(struct resolver *resolver)
{
    resolver->current = NULL;
    list_for_each (&resolver->channels, link, following) {
        struct channel *channel = container_of(link, struct channel, link);
        if (channel->ares)
            channel_destroy(channel);
        channel_settle(channel);
    }
}

void resolver_stop(struct resolver *resolver, struct op *stopped)
{
    check(!resolver->stopped);
    resolver->stopped = stopped;
    if (list_empty(&resolver->channels))
        loop_ready(resolver->loop, stopped, 0);
    destroy_channels(resolver);
}

struct resolver *resolver_free(struct resolver *resolver)
{
    if (!resolver)
        return NULL;
    destroy_channels(resolver);
    check(list_empty(&resolver->channels));
    free_servers(resolver->servers);
    free(resolver);
    return NULL;
}
