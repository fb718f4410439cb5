/* loader: reads of the store as ops, so that a worker never blocks on the disk.
 *
 * A worker fills a request and submits it; a loader thread runs it against the store and posts it
 * back. What it read lies in the request's `reply` memory (malloc), the worker's from `done` on.
 * loader_run is the pure part; the threads are loader_thread.h, which the simulator replaces.
 *
 * LOAD_WINDOW: rows of one queue from a key on, in due order, below `upper`, at most max_rows and
 * max_bytes (0: any; the first row always comes). With `match` only those that it wants, or with
 * max_rows 0 none, only their number; then at most max_scanned rows are looked at.
 *
 * LOAD_BODIES: bodies of up to LOAD_BODIES_MAX messages, at most max_bytes in all (the first is
 * always read whole; those that no longer fit come back with found = -EAGAIN). The parts of a body
 * may have any length (part 0 may be the headers that we add, written last); together they must
 * have the size asked for, else -EIO.
 *
 * LOAD_REFS: how many rows of a message are still open.
 *
 * LOAD_SEGMENT: makes a nursery segment (segment_file.h): no reading, but as slow. */
#pragma once

#include "core/loop.h"
#include "queue/store.h"

enum load_kind { LOAD_WINDOW, LOAD_BODIES, LOAD_REFS, LOAD_SEGMENT };
enum { LOAD_BODIES_MAX = 64, LOAD_KEY_MAX = 32 };

struct loaded {
    struct span key, value; /* LOAD_WINDOW: row key and row record */
};

/* Whether a row is wanted. Runs in a loader's thread: `context` must not change meanwhile. */
typedef bool load_match(void *context, struct span key, struct span value);

struct load {
    struct op op; /* result: 0 or negative errno */
    struct loop *home;
    struct load *next;
    enum load_kind kind;

    /* request */
    uint8_t lower_len, upper_len;
    char lower[LOAD_KEY_MAX], upper[LOAD_KEY_MAX]; /* LOAD_WINDOW: keys of FAMILY_ROW */
    unsigned max_rows;
    size_t max_bytes;
    load_match *match; /* LOAD_WINDOW; NULL: all are wanted, and max_scanned does not count */
    void *match_context;
    unsigned max_scanned;
    unsigned id_count;
    uint64_t ids[LOAD_BODIES_MAX]; /* LOAD_BODIES; LOAD_REFS uses ids[0] */
    uint64_t
        sizes[LOAD_BODIES_MAX]; /* LOAD_BODIES: envelope.size of each, what its parts must sum to */
    const char *segment_path;   /* LOAD_SEGMENT; stays until done */
    uint64_t segment_size;
    uint32_t segment_number; /* for whom asked */

    /* reply: freed by load_release */
    struct loaded *rows; /* LOAD_WINDOW */
    unsigned row_count;
    bool at_end;               /* LOAD_WINDOW: no row below `upper` was left unread */
    unsigned scanned, matched; /* with `match`: rows looked at, and how many of them it wanted */
    char last[LOAD_KEY_MAX];   /* with `match`: the key of the last one looked at */
    uint8_t last_len;          /* 0: none was */
    struct span bodies[LOAD_BODIES_MAX];
    int found[LOAD_BODIES_MAX]; /* 1, 0 absent, -EAGAIN not read for lack of room, or an error */
    char *body_memory[LOAD_BODIES_MAX]; /* malloc'ed; the worker may take it (set it to NULL) */
    uint64_t ref_count;
    void *memory;
};

/* A load is large (4 KB): pool it. */

void load_init(struct load *load, struct loop *home, enum load_kind kind, op_done *done);
void load_release(struct load *load);

/* Runs the request. Blocks. */
void loader_run(struct store *store, struct load *load);
