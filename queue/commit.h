/* commit: a batch of changes on its way to the store, as an op.
 *
 * A worker fills a commit with mutations and hands it over; the committer collects what waits,
 * writes it as one group, and posts each commit back to its worker with the result. A record handed
 * over cannot be recalled: the commit, not the connection that caused it, owns the bytes (values
 * point into the message's arena, which stays until `done`).
 *
 *     COMMIT_SYNC     done when on disk               (acceptance; whatever is answered to a peer)
 *     COMMIT_WRITTEN  done when written to the log    (completions: written within 10 ms, synced
 *                                                      with the next group or within 100 ms)
 *
 * Result of the op: 0 or negative errno; after -EIO nothing more will succeed. */
#pragma once

#include "core/arena.h"
#include "core/loop.h"
#include "queue/store.h"

enum commit_urgency { COMMIT_SYNC, COMMIT_WRITTEN };

enum { MUTATION_KEY_MAX = 32 };

struct mutation {
    struct mutation *next;
    const struct span *parts; /* the value's pieces; NULL: delete */
    unsigned part_count;
    uint8_t family;
    uint8_t key_len; /* 0 with FAMILY_FRESH: the committer gives the next sequence */
    char key[MUTATION_KEY_MAX];
};

struct commit {
    struct op op; /* `done` runs in `home` */
    struct loop *home;
    struct commit *next; /* in the committer's hands */
    struct mutation *first, *last;
    size_t bytes;
    enum commit_urgency urgency;
    uint64_t sequence; /* what the FAMILY_FRESH put without key got: its key is this, big-endian */
    uint64_t group;    /* number of the group that wrote it, from 1; see committer.synced */
    uint64_t submitted_ns;
};

void commit_init(struct commit *commit, struct loop *home, enum commit_urgency urgency,
                 op_done *done);

/* Appends; the mutation and the parts array are taken from `arena`, the bytes of the parts are the
 * caller's until `done`. False: the arena is out of memory and nothing was added. */
MUST_USE bool commit_put(struct commit *commit, struct arena *arena, enum store_family family,
                         struct span key, const struct span *parts, unsigned part_count);
MUST_USE bool commit_delete(struct commit *commit, struct arena *arena, enum store_family family,
                            struct span key);
