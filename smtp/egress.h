/* egress: one worker's outbound side: routes, lanes, deliveries.
 *
 * A queue with due rows (share.h, on_ready) asks its route: domain to plan, by DNS or by
 * configuration. A plan without hosts settles the queue's rows at once (bounce or defer); a plan
 * with hosts names the site, and the queue joins the lane of (egress source, site). The lane takes
 * rows, one at a time, for deliveries: connections that speak SMTP to one of the plan's hosts.
 *
 *     share --on_ready--> route --plan--> lane --row--> delivery --verdicts--> share_settle
 *
 * Everything here is one worker's and is called from its dispatch only. What all workers share is
 * the lane's totals (lane_limit.h). Nothing here holds a message: a row is borrowed from the share
 * between share_pull and share_settle, by one delivery. */
#pragma once

#include "core/clock.h"
#include "core/config.h"
#include "core/labels.h"
#include "core/loop.h"
#include "core/map.h"
#include "core/metrics.h"
#include "core/tls_service.h"
#include "dns/plan.h"
#include "queue/share.h"
#include "queue/suspensions.h"
#include "smtp/lane_limit.h"
#include "smtp/snapshot.h"
#include "smtp/tls_peers.h"
#include "smtp/trace.h"

struct egress_settings {
    struct snapshot *snapshot; /* that `config` is of; held by deliveries; tests: NULL */
    const struct config *config;
    struct lane_limits *limits; /* of the process */
    struct hash_seed seed;
    const struct address *own_addresses; /* of our SMTP listeners: an MX there is us */
    size_t own_address_count;
    struct metrics *metrics;
    struct tls_service *tls; /* NULL: mail goes in the clear only */
    struct labels *sites;    /* counters by site */
};

struct egress {
    struct loop *loop;
    struct share *share; /* set by egress_start */
    struct dns *dns;
    struct egress_settings settings;
    struct span source;                /* name of the one egress source */
    struct map routes;                 /* by domain */
    struct map lanes;                  /* by key */
    struct list old_routes, old_lanes; /* least recently used first */
    struct list to_ask;     /* routes that wait for their look-up, first come first served */
    unsigned asking;        /* look-ups that run */
    struct list deliveries; /* all, by delivery.all */
    struct traces traces;   /* of what they say */
    uint32_t delivery_count;
    struct tls_peers tls_peers;
    struct chunk_pool chunks; /* for the texts of replies while a row is borrowed */
    struct timer sweep;
    struct timer drain_deadline;
    struct suspensions suspensions; /* this worker's copy; suspended.h */
    struct list suspended;          /* queues that stand still, by queue.want */
    unsigned suspended_count;       /* of them */
    unsigned ask_count;             /* how many are still to be asked again */
    struct op ask_suspended;
    struct timer suspension_end;
    uint64_t suspension_end_ms; /* wall time */
    struct op dns_stopped;
    struct op *drained; /* from egress_drain */
    bool draining;
};

/* 0 or negative errno. `settings` is copied; what it points to must outlive the egress. */
MUST_USE int egress_init(struct egress *egress, struct loop *loop,
                         const struct egress_settings *settings);

/* Before the first on_ready: the share whose rows are delivered. */
void egress_start(struct egress *egress, struct share *share);

/* The share's on_ready; `context` is the egress. */
void egress_on_ready(void *context, struct queue *queue);

/* The settings of another snapshot: routes and look-ups are made anew, lanes take the new limits,
 * connections that are open end under the old ones. */
void egress_reconfigure(struct egress *egress, const struct egress_settings *settings);

/* No new transactions; those that run may finish within system_shutdown_timeout, then they are cut
 * and deferred. `done` follows when no row is borrowed and no look-up runs. */
void egress_drain(struct egress *egress, struct op *done);

/* After the drain. */
void egress_fini(struct egress *egress);

/* For delivery.c: the last one may have been what a drain waited for. */
void egress_delivery_gone(struct egress *egress);
