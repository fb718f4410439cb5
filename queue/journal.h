/* journal: one worker's append-only account of what happened to its messages.
 *
 * Lines in frames, so that a reader can prove that it has lost nothing:
 *
 *     length SP CRC32C SP sequence SP line LF      8 hex, 8 hex, 16 hex digits; ASCII throughout
 *
 * The checksum is over sequence and line. Sequences rise by one per frame within a worker, over
 * files and restarts. Frames are gathered in memory and written by the ring each JOURNAL_SYNC_MS
 * (or when the buffer is half full), then fdatasynced; an op given to journal_append is done when
 * its frame is on disk, and only then may the row's delete be submitted.
 *
 * A file is `journal/w<worker>-<first sequence, 16 hex>.log`; a new one is begun at start-up and
 * beyond JOURNAL_FILE_BYTES; the oldest beyond `keep` bytes are removed. If the disk cannot follow
 * and the buffer is full, the frame is lost and counted, its op is done with -ENOSPC at once, and
 * the next frame's sequence shows the gap. A failed write or sync gives -EIO to the waiting ops:
 * the caller goes on (the store decides whether mail is safe), the metric shows it. */
#pragma once

#include "core/loop.h"
#include "core/span.h"

enum { JOURNAL_SYNC_MS = 50, JOURNAL_FILE_BYTES = 256 << 20 };

struct journal;

struct journal_options {
    const char *directory;
    unsigned worker;
    uint64_t first_sequence; /* journal_recover's next one */
    size_t buffer_bytes;     /* per buffer, there are two; default 4 MB */
    uint64_t keep_bytes;     /* oldest files are removed beyond this; 0: never */
};

MUST_USE int journal_open(const struct journal_options *options, struct loop *loop,
                          struct journal **ret_journal);

/* Appends a line; `durable` (or NULL) is done with 0 once it is on disk. False: lost, and counted;
 * `durable` is then done with -ENOSPC. */
bool journal_append(struct journal *journal, struct span line, struct op *durable);

/* Writes and syncs what is there, closes the file; `done` follows. Then journal_free. */
void journal_close(struct journal *journal, struct op *done);
struct journal *journal_free(struct journal *journal);

struct journal_usage {
    uint64_t frames, lost, bytes, syncs, errors;
};
void journal_usage(const struct journal *journal, struct journal_usage *ret_usage);

/* ---- reading, for recovery and `journal verify` (blocking) ---- */

/* Reads the newest files of every worker found in `directory`, the last `tail_bytes` of each worker,
 * and calls `on_line` for each whole frame. Torn tails end a file quietly; a bad checksum in the
 * middle and a sequence gap are counted. */
struct journal_tail {
    uint64_t frames, gaps, damaged;
    uint64_t next_sequence[256]; /* by worker; 0: none seen */
};
typedef void journal_on_line(void *context, struct span line);
MUST_USE int journal_recover(const char *directory, uint64_t tail_bytes, journal_on_line *on_line,
                             void *context, struct journal_tail *ret_tail);

/* One frame at the front of `bytes`: its length in bytes, 0 if incomplete, -1 if damaged. */
long journal_frame_read(struct span bytes, uint64_t *ret_sequence, struct span *ret_line);
