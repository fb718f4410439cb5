/* committer: group commit. Pure grouping here; the thread around it is committer_thread.h.
 *
 * Takes commits in arrival order up to about 1 MB, sorts their mutations stably by family and key
 * (so the order per key is kept), writes them by one store_commit, and gives every commit the
 * result. A group is synced if any of its commits wants it, or if written ones have waited 100 ms.
 *
 * Failure modes. -ENOSPC: the group's commits fail with it, `full` is set, later commits fail at
 * once until committer_probe (every 5 s) finds room again. Any other error: `dead` holds it, all
 * commits now and later get it, and nothing is written any more: the process must end. */
#pragma once

#include "core/metrics.h"
#include "queue/commit.h"

enum {
    COMMITTER_GROUP_BYTES = 1 << 20,
    COMMITTER_PACE_MS = 1,   /* at most one start in this time while less than a group waits */
    COMMITTER_WRITE_MS = 10, /* a COMMIT_WRITTEN waits at most this long for company */
    COMMITTER_SYNC_MS = 100, /* and is synced at the latest after this */
    COMMITTER_PROBE_MS = 5000,
};

struct committer {
    struct store *store;
    struct store_batch *batch;
    struct commit *first, *last; /* collected, in order */
    size_t waiting_bytes;
    unsigned waiting_sync;      /* COMMIT_SYNCs among what waits */
    uint64_t last_start_ns;     /* 0: none yet */
    uint64_t next_sequence;     /* of FAMILY_FRESH; one is left out between groups, so that recovery
                                   can tell which records were written together */
    uint64_t unsynced_since_ns; /* 0: everything written is synced */
    int dead;                   /* 0 or the error that ended it */
    bool full;                  /* -ENOSPC until a probe succeeds */
    struct mutation **sorted;   /* scratch: twice the mutations of a group */
    size_t sorted_capacity;
    uint64_t groups, syncs, commits, bytes; /* groups and bytes are those written */
    struct metrics metrics;                 /* kept by the thread's shell */
    _Atomic uint64_t synced; /* all groups up to this one are on disk; any thread may look */
};

/* `next_sequence`: above every key of FAMILY_FRESH. 0 or -ENOMEM. */
MUST_USE int committer_init(struct committer *committer, struct store *store,
                            uint64_t next_sequence);
/* Nothing may wait any more. */
void committer_fini(struct committer *committer);

/* Appends to what waits. */
void committer_add(struct committer *committer, struct commit *commit);

/* When the next write should happen, given what waits: `now` for a synced commit, later for a
 * written one or a pending sync, UINT64_MAX if there is nothing to do. */
uint64_t committer_due_ns(const struct committer *committer, uint64_t now_ns);

/* Writes one group if something is due (`force`: whether due or not, and synced); returns the chain
 * of finished commits in order (linked by `next`, op.result and sequence set), NULL if none. Call
 * it until committer_due_ns is later than now. */
struct commit *committer_step(struct committer *committer, uint64_t now_ns, bool force);

/* While `full`: tries whether the disk has room again; sets `full` and `dead` accordingly. */
void committer_probe(struct committer *committer);
