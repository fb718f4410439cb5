/* journal: one worker's append-only account of what happened to its messages.
 *
 * Lines in frames, so that a reader can prove that it has lost nothing:
 *
 *     length SP CRC32C SP sequence SP line LF      8 hex, 8 hex, 16 hex digits; ASCII throughout
 *
 * The length is that of the line, the checksum is over sequence, SP and line. Sequences rise by one
 * per frame within a worker, over files and restarts, from 1. Frames are gathered in memory and
 * written by the ring each JOURNAL_SYNC_MS (or when the buffer is half full), then fdatasynced; an
 * op given to journal_append is done when its frame is on disk, and only then may the row's delete
 * be submitted.
 *
 *     RESTING --due or half full--> [OPENING, SYNCING_DIRECTORY] --> WRITING --> SYNCING
 *        ^                                                                            |
 *        +----------------------------------------------------------------------------+
 *
 * One buffer is being written while the other fills. A file (a segment) is
 * `<directory>/w<worker>-<first sequence, 16 hex>.log`; a new one is begun with the first frame
 * after start-up, beyond `file_bytes`, and when the last one is `file_ms` old. If the disk cannot
 * follow and the buffer is full, the frame is lost and counted, and its op is done with -ENOSPC. A
 * failed open, write or sync loses what was being written, gives its error to the waiting ops, ends
 * the file and rests for a second; -ETIMEDOUT tells them that the disk has not answered for
 * JOURNAL_DEADLINE_MS. The caller goes on in each case (the store decides whether mail is safe);
 * usage shows it, and journal_behind says beforehand that it may come to that.
 *
 * A loss is declared: the place of the last lost frame takes a line
 *
 *     {"type":"Loss","from":<first lost sequence>,"to":<its own>,"count":...,"timestamp":...,...}
 *
 * so that a reader knows a loss from a file that somebody removed. */
#pragma once

#include "core/clock.h"
#include "core/loop.h"
#include "core/span.h"

enum {
    JOURNAL_SYNC_MS = 50,
    JOURNAL_FILE_BYTES = 256 << 20,
    JOURNAL_BUFFER_BYTES =
        16 << 20, /* what hundreds of recipients a message bring while a slow sync runs */
    JOURNAL_DEADLINE_MS = 60 * 1000,
    JOURNAL_REST_MS = 1000,       /* after a failure */
    JOURNAL_LINE_MAX = 256 << 10, /* longer lines are lost; a reader takes no longer ones */
    JOURNAL_FRAME_EXTRA = 8 + 1 + 8 + 1 + 16 + 1 + 1,
    JOURNAL_WORKERS = 256,
};

struct journal;

struct journal_options {
    const char *directory;   /* must exist */
    unsigned worker;         /* below JOURNAL_WORKERS */
    uint64_t first_sequence; /* journal_recover's next one; 0 means 1 */
    uint64_t torn_from;      /* and what it says was torn in front of it: declared as lost */
    size_t buffer_bytes;     /* per buffer, there are two; 0: JOURNAL_BUFFER_BYTES */
    uint64_t file_bytes;     /* 0: JOURNAL_FILE_BYTES */
    uint64_t file_ms;        /* 0: a file never ends for its age */
    _Atomic uint64_t *head;  /* or NULL: tells other threads the last sequence on disk */
};

/* 0 or -ENOMEM. Touches no file yet. */
MUST_USE int journal_open(const struct journal_options *options, struct loop *loop,
                          struct journal **ret_journal);

/* Appends a line; `durable` (or NULL) is done with 0 once it is on disk. False: lost, and counted;
 * `durable` is then done with -ENOSPC. */
bool journal_append(struct journal *journal, struct span line, struct op *durable);

/* The disk does not follow: the buffer is half full while the other one is being written, or the
 * last flush failed. Whoever can should stop bringing lines. */
bool journal_behind(const struct journal *journal);

/* Writes and syncs what is there, closes the file; `done` follows, with 0 or the first error of
 * this. Nothing may be appended any more. Then journal_free. */
void journal_close(struct journal *journal, struct op *done);
struct journal *journal_free(struct journal *journal);

struct journal_usage {
    uint64_t frames, lost, bytes, syncs, errors;
};
void journal_usage(const struct journal *journal, struct journal_usage *ret_usage);

/* ---- frames: pure ---- */

/* Appends one frame. False: the sink has no room for it, nothing was written. */
bool journal_frame_write(struct sink *sink, uint64_t sequence, struct span line);

/* A line that declares the loss of all frames from `from` to `to`; its frame's sequence is `to`. */
void journal_loss_write(struct sink *sink, uint64_t from, uint64_t to, uint64_t wall_ms);
/* False: not such a line. */
bool journal_loss_read(struct span line, uint64_t *ret_from, uint64_t *ret_to);

/* One frame at the front of `bytes`: its length in bytes, 0 if incomplete, -1 if damaged. */
long journal_frame_read(struct span bytes, uint64_t *ret_sequence, struct span *ret_line);

/* A reader over one worker's frames, file after file, fed piece by piece. */
enum journal_break { JOURNAL_GAP, JOURNAL_DAMAGE };
/* Frames from `from` to below `to` are missing without a declaration, or bytes in front of the
 * frame `to` cannot be read. */
typedef void journal_on_break(void *context, enum journal_break kind, uint64_t from, uint64_t to);
struct journal_scan {
    unsigned worker;
    uint64_t next_sequence; /* 0: none seen */
    uint64_t frames, gaps, damaged, stale;
    uint64_t lost;              /* frames whose loss is declared */
    journal_on_break *on_break; /* or NULL */
    void *break_context;
    bool resync;  /* looking for the next frame after bytes that are none */
    bool suspect; /* bytes were passed over: damage if a frame follows, else the file's tail */
};
struct journal_line {
    unsigned worker;
    uint64_t sequence;
    struct span text;
};
typedef void journal_on_line(void *context, const struct journal_line *line);

/* Takes the whole frames at the front of `bytes` and returns how many bytes it is done with. Call
 * again with the rest and more behind it; `end` says that no more follows in this file. Set
 * `resync` for a file that is entered in the middle. Lines with a sequence already passed (left
 * from a failed write) are counted as stale and not reported. */
size_t journal_scan_bytes(struct journal_scan *scan, struct span bytes, bool end,
                          journal_on_line *on_line, void *context);

/* ---- files: blocking, for recovery, `journal verify` and the control thread ---- */

/* What was found, all workers together. A torn tail ends a file quietly; `gaps` are jumps of the
 * sequence, `damaged` places where a file was unreadable with readable frames behind it. */
struct journal_tail {
    uint64_t frames, gaps, damaged, lost;
    uint64_t next_sequence[JOURNAL_WORKERS]; /* by worker; 0: none seen */
    uint64_t torn_from[JOURNAL_WORKERS];     /* 0; else from here to below next_sequence there are
                                                only files without a readable frame */
};

/* Reads the newest files of every worker found in `directory`, at least the last `tail_bytes` of
 * each worker (UINT64_MAX: all), oldest first, and calls `on_line` for each line. 0, or the
 * negative errno of reading; a directory that does not exist is an empty one. */
MUST_USE int journal_recover(const char *directory, uint64_t tail_bytes, journal_on_line *on_line,
                             void *context, struct journal_tail *ret_tail);
