/* Streams are pairs of ends. What one end sends arrives at the other in order, after a latency, in
 * pieces of random size. A break may overtake bytes on the way: some of them arrive first, the rest
 * is lost, as with a reset.
 *
 * Ends are never freed before the run ends (a seed is one process), so a late event cannot meet a
 * dead one; `dead` says that it is to be ignored. */
#include "tests/sim/sim.h"

#include "core/clock.h"

#include <stdlib.h>

enum { WINDOW = 64 * 1024 };

struct end {
    struct end *other;
    const struct end_events *events;
    void *owner;
    bool daemon; /* the daemon's side: dies with its life */
    bool dead, finished;
    size_t trickle;      /* so many bytes more go one by one */
    uint64_t arrives_ns; /* of the last piece sent: order is kept */
    size_t on_the_way;
    struct end *all;
};

struct piece {
    struct end *to;
    size_t len;
    char data[];
};

struct server {
    struct address address;
    net_arrived *arrived;      /* a peer's */
    net_daemon_accept *accept; /* the daemon's */
    void *context;
    bool down;
    unsigned life;
    struct server *next;
};

static struct server *servers;
static struct end *ends;

static bool same_address(const struct address *a, const struct address *b)
{
    uint8_t x[16], y[16];
    return address_bits(a, x) && address_bits(b, y) && memcmp(x, y, 16) == 0 &&
           address_port(a) == address_port(b);
}

static struct server *server_at(const struct address *address)
{
    for (struct server *server = servers; server; server = server->next)
        if (same_address(&server->address, address) &&
            (server->life == 0 || server->life == world.life))
            return server;
    return NULL;
}

static struct server *add_server(const struct address *address)
{
    struct server *server = calloc(1, sizeof *server);
    check(server);
    server->address = *address;
    server->next = servers;
    servers = server;
    return server;
}

void net_serve(const struct address *address, net_arrived *arrived, void *context)
{
    struct server *server = add_server(address);
    server->arrived = arrived;
    server->context = context;
}

void net_serve_set_down(const struct address *address, bool down)
{
    struct server *server = server_at(address);
    check(server);
    server->down = down;
}

void net_daemon_listen(const struct address *address, net_daemon_accept *accept, void *context)
{
    struct server *server = add_server(address);
    server->accept = accept;
    server->context = context;
    server->life = world.life;
}

static uint64_t latency(void)
{
    /* Mostly a local network, sometimes another continent, rarely a stall. */
    if (world_fault(2))
        return (1 + world_draw(40)) * NS_PER_S;
    if (world_chance(100))
        return world_draw(200) * NS_PER_MS;
    return 20000 + world_draw(400000);
}

static struct end *new_end(const struct end_events *events, void *owner, bool daemon)
{
    struct end *end = calloc(1, sizeof *end);
    check(end);
    end->events = events;
    end->owner = owner;
    end->daemon = daemon;
    end->trickle = world_chance(30) ? world_draw(4000) : 0;
    end->all = ends;
    ends = end;
    return end;
}

static void break_end(void *context, uint64_t argument)
{
    struct end *end = context;
    if (end->dead)
        return;
    end->dead = true;
    if (end->events && end->events->broken)
        end->events->broken(end->owner, end);
}

static void tell_connected(void *context, uint64_t argument)
{
    struct end *end = context;
    if (!end->dead && end->events->connected)
        end->events->connected(end->owner, end);
}

static void arrive_at_server(void *context, uint64_t argument)
{
    struct end *from = context;
    struct server *server = (struct server *)(uintptr_t)argument;
    if (from->dead)
        return;
    bool there = !server->down && (server->life == 0 || server->life == world.life);
    struct end *end = new_end(NULL, NULL, server->accept != NULL);
    end->other = from;
    from->other = end;
    if (there && server->accept) {
        struct address peer;
        check(address_parse(SPAN("192.0.2.77:4000"), 0, &peer));
        server->accept(server->context, end, &peer);
    } else if (there) {
        end->owner = server->arrived(server->context, end, &end->events);
        there = end->owner != NULL;
    }
    if (!there) {
        end->dead = true;
        world_later(latency(), false, break_end, from, 0);
        return;
    }
    world_later(latency(), false, tell_connected, from, 0);
}

static struct end *dial(const struct address *to, const struct end_events *events, void *owner,
                        bool daemon)
{
    struct end *end = new_end(events, owner, daemon);
    struct server *server = server_at(to);
    if (!server || world_fault(10))
        world_later(latency(), false, break_end, end, 0);
    else
        world_later(latency(), false, arrive_at_server, end, (uintptr_t)server);
    return end;
}

struct end *net_dial(const struct address *from, const struct address *to,
                     const struct end_events *events, void *owner)
{
    return dial(to, events, owner, false);
}

struct end *net_dial_out(const struct address *from, const struct address *to,
                         const struct end_events *events, void *owner)
{
    return dial(to, events, owner, true);
}

void net_own(struct end *end, const struct end_events *events, void *owner)
{
    end->events = events;
    end->owner = owner;
}

static void arrive(void *context, uint64_t argument)
{
    struct piece *piece = context;
    struct end *to = piece->to;
    to->other->on_the_way -= piece->len;
    if (!to->dead && to->events && to->events->received)
        to->events->received(to->owner, to, piece->data, piece->len);
    free(piece);
}

static uint64_t next_arrival(struct end *from)
{
    uint64_t at = world.now_ns + latency();
    if (at <= from->arrives_ns)
        at = from->arrives_ns + 1;
    from->arrives_ns = at;
    return at - world.now_ns;
}

static size_t piece_size(size_t left)
{
    if (world_chance(300))
        return left;
    if (world_chance(200))
        return 1;
    return 1 + world_draw(left);
}

void net_send(struct end *end, const char *data, size_t len)
{
    if (end->dead || end->finished || !end->other)
        return;
    while (len > 0) {
        size_t size = end->trickle ? 1 : piece_size(len);
        end->trickle -= end->trickle > 0;
        struct piece *piece = malloc(sizeof *piece + size);
        check(piece);
        piece->to = end->other;
        piece->len = size;
        memcpy(piece->data, data, size);
        end->on_the_way += size;
        world_later(next_arrival(end), false, arrive, piece, 0);
        data += size;
        len -= size;
    }
    if (world_fault(4))
        net_break(end);
}

static void arrive_finish(void *context, uint64_t argument)
{
    struct end *to = context;
    if (!to->dead && to->events && to->events->finished)
        to->events->finished(to->owner, to);
}

void net_finish(struct end *end)
{
    if (end->dead || end->finished || !end->other)
        return;
    end->finished = true;
    world_later(next_arrival(end), false, arrive_finish, end->other, 0);
}

void net_break(struct end *end)
{
    if (end->dead)
        return;
    end->finished = true;
    world_later(0, false, break_end, end, 0);
    if (end->other)
        world_later(latency(), false, break_end, end->other, 0);
}

void net_drop(struct end *end)
{
    end->events = NULL;
    if (!end->dead && end->other && !end->finished)
        world_later(next_arrival(end), false, break_end, end->other, 0);
    end->dead = true;
}

bool net_alive(const struct end *end)
{
    return !end->dead;
}

size_t net_room(const struct end *end)
{
    return end->on_the_way >= WINDOW ? 0 : WINDOW - end->on_the_way;
}

void net_daemon_gone(void)
{
    for (struct end *end = ends; end; end = end->all)
        if (end->daemon && !end->dead)
            net_drop(end);
}
