/* spool: the durable queue of the whole process: store, committer, loaders, journals, shares.
 *
 * Opened once at start-up (blocking, straight): recovers the log, reads `meta` and the queue
 * headers, scans `fresh`, replays the journals' tails, and makes one share per worker. 64 shards
 * are fixed on disk; shard s belongs to worker s % workers, so another number of workers remaps and
 * migrates nothing. */
#pragma once

#include "queue/journal_keeper.h"
#include "queue/share.h"

enum bounce_mode { BOUNCE_DSN, BOUNCE_EVENT };

/* Which form a stream's bounces take. From any worker. */
typedef enum bounce_mode spool_bounce_mode(const void *context, struct span tenant,
                                           struct span campaign);

struct spool_options {
    const char *data_dir; /* queue/ and journal/ below it are created */
    const char *hostname;
    unsigned workers;
    size_t store_memory;
    unsigned loader_threads;
    struct share_limits limits; /* per worker */
    unsigned segments;          /* files for bodies of the nursery, of all workers; 0: none */
    uint64_t segment_size;      /* bytes of each */
    const uint64_t *retry_intervals_ms; /* the last one repeats */
    unsigned retry_interval_count;
    double retry_jitter; /* 0.10 */
    uint64_t max_age_ms;
    uint64_t expiry_sweep_ms;       /* how often rows are expired that no lane comes for */
    spool_bounce_mode *bounce_mode; /* NULL: BOUNCE_DSN */
    const void *bounce_context;
    uint64_t delay_report_after_ms;               /* 0: no delay DSNs */
    uint64_t disk_reserve_bytes;                  /* below this much free: 452 */
    struct journal_keeping journal_keeping;       /* of all workers together */
    uint64_t journal_file_bytes, journal_file_ms; /* when a segment ends; as journal_options */
    bool journal_blocks; /* nothing is accepted while the journal is behind; else its loss counts */
    bool clock_confirmed; /* the operator says that the wall clock is right */
    struct hash_seed seed;
};

/* What start-up found, for the log: one line each, most important first. */
struct spool_report {
    char text[2048];
    bool alarm; /* log damage, illegal states, a clock that cannot be right */
    uint64_t fresh, queues, settled_by_journal;
};

MUST_USE int spool_open(const struct spool_options *options, struct spool **ret_spool,
                        struct spool_report *ret_report);

/* Gives worker `loop->index` its share: called once per loop, in its thread or before it runs. What
 * start-up found due is announced in the loop's first turns. */
MUST_USE int share_start(struct spool *spool, struct loop *loop, share_on_ready *on_ready,
                         void *context, struct share **ret_share);

/* In the share's thread: from now on when mail is tried again, expires and is reported is as
 * `options` say (retry_*, max_age_ms, bounce_*, delay_report_after_ms, expiry_sweep_ms; the rest is
 * for a start). What it points to must outlive the share, or the next call. Mail that waits keeps
 * its expiry and the time of its next attempt. */
void share_reconfigure(struct share *share, const struct spool_options *options);

/* After all loops have drained and ended. 0 or the committer's error. */
int spool_close(struct spool *spool);

/* 0, -ENOSPC, or the error that ended the queue (the process must exit non-zero). Any thread. */
int spool_state(const struct spool *spool);

/* Each second, by one thread that may block: free space on the disk, wall against monotonic clock.
 */
void spool_tick(struct spool *spool);

/* Whether expiry stands still because the clock cannot be right, and since when in words; empty:
 * no. Any thread. spool_confirm_clock: the operator has looked. */
struct span spool_clock_alarm(const struct spool *spool);
void spool_confirm_clock(struct spool *spool);

/* What the committer counts. */
struct metrics *spool_metrics(struct spool *spool);

/* What became of the journal's segments; any thread. */
const struct journal_kept *spool_journal(const struct spool *spool);

/* How many segments were given up since the start (segments.h); any thread. */
unsigned spool_segments_lost(const struct spool *spool);

/* For metrics and `queue` commands; any thread. */
struct store *spool_store(struct spool *spool);
