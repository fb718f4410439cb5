#include "core/listen.h"

#include "core/clock.h"

#include <errno.h>
#include <stdlib.h>

enum { RETRY_MS = 100, EXPECTED_ADDRESSES = 256 };

/* ---- admission ---- */

struct by_address {
    struct map_node node;
    uint8_t bits[16];
    unsigned connections;
};

int admission_init(struct admission *admission, unsigned limit, unsigned limit_per_address)
{
    *admission = (struct admission){.limit = limit, .limit_per_address = limit_per_address};
    pthread_mutex_init(&admission->mutex, NULL);
    random_fill(&admission->seed, sizeof admission->seed);
    return map_init(&admission->by_address, EXPECTED_ADDRESSES);
}

static void free_counter(struct map_node *node, void *context)
{
    free(container_of(node, struct by_address, node));
}

void admission_fini(struct admission *admission)
{
    map_each(&admission->by_address, free_counter, NULL);
    map_fini(&admission->by_address);
    pthread_mutex_destroy(&admission->mutex);
}

/* A subscriber has a whole IPv6 /64. False: not counted by address. */
static bool counted_bits(const struct address *peer, uint8_t ret_bits[16])
{
    if (!address_bits(peer, ret_bits))
        return false;
    if (peer->family == AF_INET6)
        memset(ret_bits + 8, 0, 8);
    return true;
}

static uint64_t hash_bits(const struct admission *admission, const uint8_t bits[16])
{
    return hash_key(admission->seed, span_of(bits, 16));
}

static struct by_address *find(const struct admission *admission, const uint8_t bits[16])
{
    struct map_node *node = map_find(&admission->by_address, hash_bits(admission, bits));
    for (; node; node = map_find_next(node)) {
        struct by_address *counter = container_of(node, struct by_address, node);
        if (memcmp(counter->bits, bits, sizeof counter->bits) == 0)
            return counter;
    }
    return NULL;
}

static struct by_address *find_or_add(struct admission *admission, const uint8_t bits[16])
{
    struct by_address *counter = find(admission, bits);
    if (counter)
        return counter;
    counter = malloc(sizeof *counter);
    if (!counter)
        return NULL;
    *counter = (struct by_address){.connections = 0};
    memcpy(counter->bits, bits, sizeof counter->bits);
    map_insert(&admission->by_address, &counter->node, hash_bits(admission, bits));
    return counter;
}

static enum listen_verdict enter(struct admission *admission, const struct address *peer)
{
    if (admission->limit && admission->connections >= admission->limit)
        return LISTEN_TOO_MANY;
    uint8_t bits[16];
    if (counted_bits(peer, bits)) {
        struct by_address *counter = find_or_add(admission, bits);
        if (!counter)
            return LISTEN_TOO_MANY; /* no memory */
        if (admission->limit_per_address && counter->connections >= admission->limit_per_address)
            return LISTEN_TOO_MANY_FROM_ADDRESS;
        counter->connections++;
    }
    admission->connections++;
    return LISTEN_WELCOME;
}

enum listen_verdict admission_enter(struct admission *admission, const struct address *peer)
{
    pthread_mutex_lock(&admission->mutex);
    enum listen_verdict verdict = enter(admission, peer);
    pthread_mutex_unlock(&admission->mutex);
    return verdict;
}

static void leave(struct admission *admission, const struct address *peer)
{
    check(admission->connections > 0);
    admission->connections--;
    uint8_t bits[16];
    if (!counted_bits(peer, bits))
        return;
    struct by_address *counter = find(admission, bits);
    check(counter);
    if (--counter->connections == 0) {
        map_remove(&admission->by_address, &counter->node);
        free(counter);
    }
}

void admission_leave(struct admission *admission, const struct address *peer)
{
    pthread_mutex_lock(&admission->mutex);
    leave(admission, peer);
    pthread_mutex_unlock(&admission->mutex);
}

/* ---- listener ---- */

static void welcome(struct listener *listener, int fd)
{
    struct address peer;
    if (io_peer_address(listener->loop->io, fd, &peer)) {
        io_close_now(listener->loop->io, fd); /* gone already */
        return;
    }
    enum listen_verdict verdict = admission_enter(listener->admission, &peer);
    if (verdict == LISTEN_WELCOME)
        listener->accepted++;
    else
        listener->refused++;
    listener->on_connection(listener, fd, &peer, verdict);
}

static void stopped(struct listener *listener);

/* An heir may have been stopped, or have an heir itself, before the socket came. */
static void inherit(struct listener *heir, int fd)
{
    heir->fd = fd;
    if (heir->stopping)
        stopped(heir);
    else
        listener_start(heir);
}

static void stopped(struct listener *listener)
{
    int fd = listener->fd;
    loop_disarm(listener->loop, &listener->retry);
    listener->fd = -1;
    if (listener->heir)
        inherit(listener->heir, fd);
    else
        io_close_now(listener->loop->io, fd);
    if (listener->on_stopped)
        listener->on_stopped(&listener->accept);
}

static void on_accept(struct op *op)
{
    struct listener *listener = container_of(op, struct listener, accept);
    if (op->result >= 0 && listener->stopping && !listener->heir)
        io_close_now(listener->loop->io, op->result);
    else if (op->result >= 0)
        welcome(listener, op->result);
    else if (!listener->stopping)
        listener->accept_errors++;
    if (op->more)
        return;
    if (listener->stopping)
        stopped(listener);
    else if (op->result >= 0)
        io_accept(listener->loop->io, op, listener->fd);
    else
        loop_arm(listener->loop, &listener->retry, RETRY_MS * NS_PER_MS);
}

static void on_retry(struct op *op)
{
    struct listener *listener = container_of(op, struct listener, retry.op);
    if (listener->stopping)
        stopped(listener);
    else
        io_accept(listener->loop->io, &listener->accept, listener->fd);
}

void listener_adopt(struct listener *listener, struct loop *loop, int fd,
                    struct admission *admission, listen_on_connection *on_connection, void *context)
{
    *listener = (struct listener){.loop = loop,
                                  .admission = admission,
                                  .on_connection = on_connection,
                                  .context = context,
                                  .fd = fd};
    op_init(&listener->accept, on_accept);
    timer_init(&listener->retry, on_retry);
}

int listener_init(struct listener *listener, struct loop *loop, const struct address *address,
                  struct admission *admission, listen_on_connection *on_connection, void *context)
{
    int fd = io_listen(loop->io, address, LISTEN_BACKLOG);
    listener_adopt(listener, loop, fd, admission, on_connection, context);
    return fd < 0 ? fd : 0;
}

void listener_start(struct listener *listener)
{
    io_accept(listener->loop->io, &listener->accept, listener->fd);
}

void listener_stop(struct listener *listener)
{
    if (listener->stopping)
        return;
    listener->stopping = true;
    if (listener->fd < 0)
        return; /* its socket has not come yet: `inherit` goes on */
    if (op_idle(&listener->accept))
        loop_arm(listener->loop, &listener->retry, 0);
    else
        io_cancel(listener->loop->io, &listener->accept);
}

void listener_hand_over(struct listener *listener, struct listener *heir)
{
    listener->heir = heir;
    listener_stop(listener);
}
