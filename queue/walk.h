/* walk: goes once through the rows of a share's queues, those on disk as well, and does something
 * with the ones it wants: what has expired where no lane comes, what the administrator bounces.
 *
 * It reads by the loader threads, one load at a time, at most WALK_ROWS wanted rows (or
 * WALK_SCANNED looked at) in each, and works on what a load brought in one turn; so it disturbs no
 * window and holds up nobody. The share stays the only authority: a row in memory is taken only if
 * it waits (lent and settling ones are counted in `busy` and left), a row on disk only is entered
 * as LENT to the walk, and what changed since the load saw it is left out.
 *
 * Rows may be missed or met twice only if they move meanwhile (an attempt reschedules them): who
 * must have all of them walks again while `busy` is not 0. Rows of the nursery are met if the kind
 * asks for them.
 *
 * Owner: who starts it, until `end`, which frees it. A draining share ends its walks early. */
#pragma once

#include "queue/share_private.h"

enum {
    WALK_ROWS = 64, /* no more than LOAD_BODIES_MAX */
    WALK_SCANNED = 4096,
    WALK_BYTES = 1 << 20,
    WALK_RETRY_MS = 1000,
};

struct walk;

struct walk_kind {
    bool fresh;      /* rows of the nursery, too */
    bool with_body;  /* a row is visited with its body (if the disk has it) */
    bool count_only; /* nothing is visited: `matched` is all that is wanted */
    /* Where in this queue to look; false: nowhere. NULL: everywhere. */
    bool (*choose)(struct walk *walk, struct stored_queue *queue, struct position *ret_from,
                   struct position *ret_to);
    /* Runs in a loader's thread as well: looks only at what does not change during the walk. */
    bool (*match)(const struct walk *walk, const struct envelope *envelope,
                  const struct row_state *state, uint64_t due_ms);
    /* The row is LENT to the walk: settles it (any way that takes a lent row), or gives it back by
     * walk_release. */
    void (*visit)(struct walk *walk, struct held *held);
    /* Instead of match and visit: rows from walk->from up to `next` were counted. False: again. */
    bool (*counted)(struct walk *walk, struct position next, unsigned rows, bool at_end);
    /* Each turn; false: it ends. NULL: it goes on. */
    bool (*keep_going)(struct walk *walk);
    /* How long to rest after so many rows were visited. NULL: not at all. */
    uint64_t (*rest_ms)(struct walk *walk, unsigned rows);
    /* Over; `whole`: nothing was left out for want of time. Frees. */
    void (*end)(struct walk *walk, bool whole);
};

struct walk {
    struct list_link link; /* share->walks */
    struct share *share;
    const struct walk_kind *kind;
    struct list_link *next;     /* in share->all: the queue after this one */
    struct stored_queue *queue; /* its window stays open */
    struct position from, to;
    struct load load;
    struct op turn;
    struct timer pause;
    struct chunk_pool scratch; /* the loader's, for decoding, while a load is in flight */
    struct position *moved;    /* rows that came or went while the load was in flight */
    unsigned moved_count, moved_capacity;
    struct held *claimed[WALK_ROWS];
    unsigned claimed_count;
    bool loading, stopped, fresh_seen, at_end;
    bool again;              /* what the load brings cannot be believed */
    unsigned at_once;        /* rows of one load, at most; 0: WALK_ROWS */
    unsigned start_after_ms; /* the first turn */
    void *owner;             /* for the kind's functions */
    uint64_t started_ms;     /* wall time */
    /* For its owner, who may set them to 0 before it starts again. */
    uint64_t queues, matched, visited, busy;
    uint64_t paced; /* of `visited` */
};

/* The first turn comes later. `walk` is zeroed memory, or one that has ended, but for at_once,
 * start_after_ms, owner and what the owner has around it. */
void walk_start(struct walk *walk, struct share *share, const struct walk_kind *kind);
/* Goes on with the next turn: ends there (whole = false). */
void walk_stop(struct walk *walk);

/* Untouched back to where it was: in the window, or on disk only. */
void walk_release(struct held *held);

/* ---- for the share ---- */

/* Nothing is in flight any more, or will end by itself. */
void walks_drain(struct share *share);
void walks_fini(struct share *share);
/* A row of this queue came to be, or has left, this place on disk. */
void walks_note(struct stored_queue *queue, struct position at, int rows);
void walks_forget_queue(struct share *share, struct stored_queue *queue);
