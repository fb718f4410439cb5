/* inspect: what the command line sees of a share's queues and of the rows in them.
 *
 * Two halves. What is in memory is looked at in the share's thread, from dispatch, some at a time:
 * the caller keeps a cursor (0 begins and ends; a queue or row that is there all the time is met
 * exactly once). What is only on disk is read from the store by any thread that may block, one
 * queue's rows at a time, from a position on. Nothing is locked and nothing kept in between, so a
 * listing is not of one moment: a row that is rescheduled meanwhile may be met twice or never. */
#pragma once

#include "queue/share.h"
#include "queue/store.h"

struct queue_view {
    struct span name;
    uint8_t shard;
    uint32_t number;      /* in its shard */
    uint32_t rows, fresh; /* fresh: of these, in the nursery */
    bool approximate;     /* counted before a crash, not yet again */
    bool due;             /* something in it is due, or being worked on */
    uint64_t next_due_ms; /* of what waits; UINT64_MAX: nothing waits */
    uint64_t disk_due_ms; /* no row on disk is due before; UINT64_MAX: none is there */
    const struct queue *queue;
};

struct row_view {
    struct span queue; /* its name; empty where the caller knows it */
    const struct envelope *envelope;
    const struct row_state *state;
    uint64_t due_ms;
    bool fresh, lent; /* lent: a delivery has it, or its verdict is being recorded */
};

typedef void inspect_queue(void *context, const struct queue_view *view);
/* False: enough (reading from disk stops before this row). */
typedef bool inspect_row(void *context, const struct row_view *view);

/* All rows of one queue that are in the nursery. */
void queue_view_fresh(const struct queue_view *view, inspect_row *visit, void *context);

/* A few queues; rows of the nursery, a few. The next cursor. */
uint64_t share_scan_queues(const struct share *share, uint64_t cursor, inspect_queue *visit,
                           void *context);
uint64_t share_scan_fresh(const struct share *share, uint64_t cursor, inspect_row *visit,
                          void *context);

/* At most `max` rows of a queue from (*due_ms, *id) on, which is moved behind the last one read.
 * 1: there may be more; 0: through; negative errno. Rows that cannot be read are passed over.
 * Blocks. */
MUST_USE int store_scan_rows(struct store *store, uint8_t shard, uint32_t number, uint64_t *due_ms,
                             uint64_t *id, unsigned max, inspect_row *visit, void *context);
