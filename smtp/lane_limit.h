/* lane_limit: the totals of one lane that hold over all workers: connection slots and rates.
 *
 * Each worker has its own lane for an (egress source, site) and serves its own queues with it; what
 * they must share is only how many connections are open and when the next message may go. That is
 * one cell of atomics per (source, site): a slot is a compare-and-swap when a connection is opened,
 * a rate is GCRA with its theoretical arrival time in one 64-bit word. No message crosses a core,
 * no share lies idle in the wrong place, and the total is exact at every moment.
 *
 * Fairness: a worker that was denied a slot sets its bit in `waiting`. Whoever holds slots looks at
 * it after each transaction (lane_limit_contended) and gives one up after LANE_LIMIT_HOLD_MS.
 *
 * The registry's mutex is taken when a lane is made or freed, never per message. Cells stay until
 * the registry ends or nobody uses them. Any thread. */
#pragma once

#include "core/config.h"
#include "core/map.h"

#include <pthread.h>
#include <stdatomic.h>

enum { LANE_LIMIT_HOLD_MS = 1000 };

struct lane_limit {
    struct map_node by_key;
    unsigned users; /* lanes; under the registry's mutex */
    _Atomic uint32_t slots;
    _Atomic uint64_t waiting;        /* a bit per waiter (modulo 64) that was denied a slot */
    _Atomic uint64_t message_tat_ns; /* GCRA: theoretical arrival time of the next message */
    _Atomic uint64_t connection_tat_ns;
    size_t key_len;
    char key[];
};

struct lane_limits {
    pthread_mutex_t mutex;
    struct map cells;
    struct hash_seed seed;
};

MUST_USE int lane_limits_init(struct lane_limits *limits, struct hash_seed seed);
void lane_limits_fini(struct lane_limits *limits);

/* The cell of "source->site"; NULL: no memory. Each get is paired with a put. */
struct lane_limit *lane_limit_get(struct lane_limits *limits, struct span key);
void lane_limit_put(struct lane_limits *limits, struct lane_limit *limit);

/* One of at most `total` slots. False: none is free, and `worker` is noted as waiting. */
MUST_USE bool lane_limit_take_slot(struct lane_limit *limit, uint64_t total, unsigned worker);
void lane_limit_give_slot(struct lane_limit *limit);
/* `worker` has nothing to send any more: it does not wait. */
void lane_limit_stop_waiting(struct lane_limit *limit, unsigned worker);
/* Whether another worker waits for a slot. */
bool lane_limit_contended(const struct lane_limit *limit, unsigned worker);

/* Takes one event from a rate (ITU-T I.371, generic cell rate algorithm). 0: taken; else the time
 * at which it may be asked again. A rate with count 0 is no limit. */
MUST_USE uint64_t rate_take(_Atomic uint64_t *tat_ns, const struct rate *rate, uint64_t now_ns);
