/* journal_keeper: what happens to segments that are no longer written to. Blocking; it has a thread
 * of its own (journal_keeper_thread.h), so that neither a worker nor the second's tick waits for a
 * quarter of a gigabyte being compressed.
 *
 * A pass marks closed segments read-only, compresses all but the two newest of each worker (those
 * are what recovery reads), and removes what is too much or too old, oldest first, never a worker's
 * newest. What a consumer's cursor still needs is kept beyond that, up to a bound; then it goes,
 * too, and is counted. A removal is declared in the journal's state before it happens. */
#pragma once

#include "queue/journal_state.h"

struct journal_keeping {
    uint64_t keep_bytes;     /* of all segments as stored; 0: any */
    uint64_t keep_ms;        /* since a segment's last line; 0: for ever */
    uint64_t consumer_bytes; /* beyond keep_bytes, for consumers that are behind */
    bool compress;
};

/* Counters from any thread. */
struct journal_kept {
    _Atomic uint64_t segments, bytes;     /* now */
    _Atomic uint64_t compressed, removed; /* since the start */
    _Atomic uint64_t dropped;             /* removed while a consumer still needed them */
    _Atomic uint64_t errors;              /* passes that could not do all; see last_error */
    _Atomic int last_error;               /* negative errno */
};

struct journal_keeper {
    const char *directory; /* the caller's, as `heads` */
    struct journal_keeping keeping;
    _Atomic uint64_t *heads; /* by worker: the last sequence on disk */
    unsigned workers;
    struct journal_state state;
    uint64_t state_written_ns;
    struct journal_kept kept;
    atomic_bool stop; /* a pass ends soon */
};

/* Reads the state and removes what a crash has left half done. 0 or negative errno. */
MUST_USE int journal_keeper_init(struct journal_keeper *keeper, const char *directory,
                                 const struct journal_keeping *keeping, _Atomic uint64_t *heads,
                                 unsigned workers);
/* One pass. Errors are counted, and what could not be done is tried again by the next one. */
void journal_keeper_pass(struct journal_keeper *keeper, uint64_t now_ns, uint64_t wall_ms);
/* The last word: how far the segments reach. */
void journal_keeper_fini(struct journal_keeper *keeper);
