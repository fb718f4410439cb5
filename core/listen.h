/* listen: a listening socket with admission limits.
 *
 * Accepts by one multishot op to ordinary descriptors, asks for the peer's name, and hands each
 * connection to `on_connection` with a verdict: welcome, or which limit it broke, so that the
 * protocol can say so in its own words (421 4.7.0) before it closes. Out of descriptors: accepting
 * pauses for 100 ms and is counted, the listener never dies. */
#pragma once

#include "core/loop.h"
#include "core/map.h"

#include <pthread.h>

enum { LISTEN_BACKLOG = 4096 };

enum listen_verdict { LISTEN_WELCOME, LISTEN_TOO_MANY, LISTEN_TOO_MANY_FROM_ADDRESS };

/* A socket that is bound and listening and nobody's yet. */
struct listen_socket {
    struct address address;
    int fd; /* -1: taken */
};

struct listener;
typedef void listen_on_connection(struct listener *listener, int fd, const struct address *peer,
                                  enum listen_verdict verdict);

/* Counts, in all and by address (IPv6 by /64; peers of Unix sockets only in all), shared by all
 * listeners of all workers. A limit of 0 is none. The mutex is held for a map look-up, twice in a
 * connection's life; counts per worker would let in too many here and refuse too early there, as
 * the kernel spreads evenly only over many. */
struct admission {
    pthread_mutex_t mutex;
    struct map by_address;
    struct hash_seed seed;
    unsigned connections, limit, limit_per_address;
};

MUST_USE int admission_init(struct admission *admission, unsigned limit,
                            unsigned limit_per_address);
void admission_fini(struct admission *admission);
enum listen_verdict admission_enter(struct admission *admission, const struct address *peer);
void admission_leave(struct admission *admission, const struct address *peer);

struct listener {
    struct loop *loop;
    struct admission *admission;
    listen_on_connection *on_connection;
    void *context; /* the owner's */
    int fd;
    struct op accept;
    struct timer retry;
    bool stopping;
    struct listener *heir; /* who gets the socket when this one has stopped */
    uint64_t accepted, refused, accept_errors;
    op_done *on_stopped; /* NULL, or called with &accept once stopped and closed */
};

/* Binds and listens; starts to accept with listener_start. 0 or negative errno. A connection whose
 * verdict is WELCOME was counted; its owner calls admission_leave when it is gone. */
MUST_USE int listener_init(struct listener *listener, struct loop *loop,
                           const struct address *address, struct admission *admission,
                           listen_on_connection *on_connection, void *context);
void listener_start(struct listener *listener);

/* The same for a socket that is bound and listening already (io_listen) and belongs to the listener
 * from here on; or, with fd -1, for one that listener_hand_over brings, and that then starts. */
void listener_adopt(struct listener *listener, struct loop *loop, int fd,
                    struct admission *admission, listen_on_connection *on_connection,
                    void *context);

/* As listener_stop, but the socket lives on, with the connections that wait in it, as `heir`'s
 * (listener_adopt with fd -1). Nobody who connects meanwhile notices. */
void listener_hand_over(struct listener *listener, struct listener *heir);
/* Cancels, closes, then calls `on_stopped` from dispatch. Connections that the kernel had accepted
 * and nobody was told of are closed. Idempotent. */
void listener_stop(struct listener *listener);
