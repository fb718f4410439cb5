/* spool_private: the inside of the spool, for spool.c, recover.c and the shares. */
#pragma once

#include "queue/clock_guard.h"
#include "queue/journal_keeper_thread.h"
#include "queue/share_private.h"
#include "queue/store.h"
#include "queue/suspensions.h"

/* The final verdicts in the journals' tails: (id, recipient) -> event type. A row that still names
 * such a recipient was settled before the crash, only its batch was lost. Read-only after start. */
struct verdict_set {
    struct map map;
    struct arena arena; /* of `pool` */
    struct chunk_pool pool;
    char *scratch;
    uint64_t count;
    bool short_of_memory;
};

/* Which messages, in which queues, the journals' tails know of; while recovering after a crash. */
struct witness_set {
    struct map map;
    struct arena arena; /* of `pool` */
    struct chunk_pool pool;
    struct journal_reach {
        bool seen;
        uint64_t known_from_ms; /* what arrived later has its line in the tail, or none */
        uint64_t newest_ms;
        bool went_back; /* the clock, between two lines */
    } reach[JOURNAL_WORKERS];
};

struct witness {
    struct map_node node;
    uint64_t id;
};

struct settled_recipient {
    struct map_node node;
    uint64_t id;
    struct span address;
    uint8_t type; /* enum event_type */
    bool unreported;
    struct reply_summary reply;
};

struct spool {
    struct spool_options options; /* strings and intervals are copies */
    struct store *store;
    struct committer committer;
    struct committer_thread *committing;
    struct loader_threads *loading;
    struct share **shares;
    struct verdict_set verdicts;
    struct witness_set witnesses;
    unsigned workers_before; /* of the last run: whose journal knows of a shard */
    char node[17];
    struct suspensions suspensions; /* the control thread's */
    uint64_t next_suspension;
    char *journal_directory, *segment_directory;
    unsigned segment_limit; /* of each worker; 0: bodies stay in the store */
    atomic_uint segments_lost;
    uint64_t journal_sequence[SHARD_COUNT]; /* next, by worker */
    uint64_t journal_torn[SHARD_COUNT];     /* journal_tail's torn_from */
    _Atomic uint64_t journal_heads[SHARD_COUNT];
    struct journal_keeper keeper;
    struct keeper_thread *keeping;
    uint64_t recorded_wall_ms;
    uint64_t ceiling_ms;              /* highest id ceiling of earlier runs */
    struct clock_guard clock;         /* the ticking thread's */
    _Atomic int clock_fault;          /* enum clock_fault */
    _Atomic uint64_t clock_offset_ms; /* clock_guard_offset_ms */
    atomic_bool clock_confirmed;      /* asked for, not yet seen by the tick */
    _Atomic int disk;                 /* 0 or -ENOSPC: the reserve is touched */
    bool counters_approximate;
    bool clock_went_back; /* since the last run */
};

/* NULL: not settled. */
const struct settled_recipient *verdict_set_find(const struct verdict_set *set, uint64_t id,
                                                 struct span address);

void verdict_set_fini(struct verdict_set *set);

void witness_set_fini(struct witness_set *set);

/* A line for what start-up found. */
void report_line(struct spool_report *report, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- recover.c: blocking, before the committer runs ---- */
MUST_USE int recover_meta(struct spool *spool);
MUST_USE int recover_uploads(struct spool *spool);
MUST_USE int recover_queues(struct spool *spool, struct spool_report *report);
MUST_USE int recover_fresh(struct spool *spool, struct spool_report *report,
                           uint64_t *ret_next_sequence);

/* ---- recover_journal.c ---- */
MUST_USE int recover_journals(struct spool *spool, struct spool_report *report);
/* Whether the crash took the line of this message's reception. Until recover_receptions, which
 * finds the rows of which that is true. */
bool reception_missing(const struct spool *spool, uint8_t shard, const struct envelope *envelope,
                       struct span queue);
MUST_USE int recover_receptions(struct spool *spool);
void receptions_write(struct share *share); /* first thing when the journal is open */
void receptions_forget(struct share *share);

struct span ceiling_key(char *key, unsigned worker); /* META_CEILING and the worker's number */

/* Records and keys are at most this long where they are built on the stack. */
enum { KEY_MAX = 32 };
