/* worker: one core's whole life of mail: loop, share of the queue, inbound and outbound side.
 *
 * Shared-nothing: what N workers have in common is the spool behind their shares, the totals of
 * lane_limit.h, the configuration snapshot, and counters that only the worker itself writes. The
 * process runs each worker in a thread (core/main.c); the simulator runs several in one.
 *
 *     worker_init (main thread) --> worker_start (its thread) --> turns --> worker_drain -->
 * drained
 *
 * The drain: no new sessions and transactions, then the running ones end or are cut after
 * system_shutdown_timeout, then the share records what is open, then the loop stops. */
#pragma once

#include "queue/spool.h"
#include "smtp/egress.h"
#include "smtp/sealer.h"
#include "smtp/server_conn.h"

struct worker_settings {
    struct snapshot *snapshot; /* the worker holds it; what follows is of it. Tests: NULL */
    const struct config *config;
    struct spool *spool;
    struct lane_limits *limits;
    struct admission *admission;
    struct logins *logins;    /* NULL: nobody can log in */
    struct tls_services *tls; /* NULL: no TLS in either direction */
    struct hash_seed seed;
    const struct address *own_addresses; /* of all SMTP listeners */
    size_t own_address_count;
    const struct dkim_keys *dkim_keys; /* NULL: nothing is signed */
};

/* The spool for this configuration; totals are divided by the workers. `config` outlives the spool.
 */
struct spool_options worker_spool_options(const struct config *config, unsigned workers,
                                          struct hash_seed seed);

struct worker {
    struct loop loop;
    struct snapshot *snapshot;
    struct metrics metrics;
    struct labels listeners, sites;
    struct share *share;
    struct sealer sealer;
    const struct dkim_keys *dkim_keys;
    struct egress egress;
    struct ingress ingress;
    struct op drain, ingress_drained, egress_drained, share_drained;
    struct timer publish; /* copies the share's numbers into the metrics */
    unsigned published;
    unsigned draining; /* sides that have not ended */
    atomic_bool running, drained;
};

/* 0 or negative errno; then *ret_step says at what it failed and *ret_listener (or NULL) which
 * listener could not be bound. */
MUST_USE int worker_init(struct worker *worker, const struct worker_settings *settings,
                         unsigned index, const char **ret_step,
                         const struct config_listener **ret_listener);

/* What a worker becomes at a reload, or when its doors are opened or closed. Who posts it owns it
 * until `done` is dispatched in `home`; the sockets that the worker took have fd -1 then. */
struct worker_change {
    struct op op, done; /* done: result 0, or -ENOMEM: a listener could not be opened or renewed */
    struct loop *home;
    struct worker *worker;
    const struct worker_settings *settings;
    struct spool_options spool;    /* worker_spool_options of the settings */
    bool open;                     /* false: no new connections and transactions, sessions end */
    struct listen_socket *sockets; /* bound, for the addresses that are not open yet */
    size_t socket_count;
};
void worker_change(struct worker_change *change);

/* In the worker's own thread, before its first turn: opens its doors. */
void worker_start(struct worker *worker);

/* Any thread (`from`: its loop, or NULL): ends the worker; `drained` is set and its loop is stopped
 * when it is done. Once. */
void worker_drain(struct worker *worker, struct loop *from);

/* After its last turn. */
void worker_fini(struct worker *worker);
