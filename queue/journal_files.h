/* journal_files: the segments in a journal's directory, and their bytes. Blocking; for recovery,
 * the keeper and the command line.
 *
 * A segment is `w<worker>-<first sequence, 16 hex>.log` while it is written to and some time after;
 * the keeper then makes it `.log.zst` (one zstd frame with its checksum) and removes the first.
 * Where a crash has left both, the compressed one counts: it was complete before it got its name.
 * Other files in the directory are nobody's segments. */
#pragma once

#include "core/span.h"
#include "queue/journal.h"

enum { JOURNAL_NAME_MAX = 48 };

struct journal_file {
    unsigned worker;
    bool compressed;
    bool plain_left; /* compressed, and the plain one is still there */
    bool writable;   /* not yet marked as closed */
    uint64_t first_sequence;
    uint64_t size; /* as stored */
    int64_t changed_s;
    char name[JOURNAL_NAME_MAX];
};

struct journal_listing {
    int directory_fd;
    struct journal_file *files; /* by worker and first sequence */
    size_t count, capacity;
};

/* 0 or negative errno; a directory that does not exist is an empty one. Fini in any case. */
MUST_USE int journal_list(const char *directory, struct journal_listing *ret_listing);
void journal_listing_fini(struct journal_listing *listing);
/* Where the files of the worker end that begin at `first`. */
size_t journal_list_worker_end(const struct journal_listing *listing, size_t first);

/* ---- reading one ---- */

struct journal_bytes; /* an open segment */

/* 0, -ENOENT, -ENOMEM, other negative errno. `file` may have been compressed since it was listed.
 */
MUST_USE int journal_bytes_open(int directory_fd, const struct journal_file *file,
                                struct journal_bytes **ret_bytes);
struct journal_bytes *journal_bytes_close(struct journal_bytes *bytes);
/* How many bytes came, 0 at the present end (more may follow in a plain one), -EBADMSG: the
 * compressed data is damaged, other negative errno. */
ssize_t journal_bytes_read(struct journal_bytes *bytes, char *buffer, size_t room);
/* Passes over bytes. 0, or as reading. Beyond the end: 0. */
MUST_USE int journal_bytes_skip(struct journal_bytes *bytes, uint64_t count);
/* Uncompressed; 0 if a damaged head does not tell. */
uint64_t journal_bytes_size(const struct journal_bytes *bytes);

/* ---- one worker's segments as one stream ---- */

/* Room for a piece: what a reader holds at once. */
enum { JOURNAL_PIECE = 2 * (JOURNAL_LINE_MAX + JOURNAL_FRAME_EXTRA) };

/* A stream goes from segment to segment, also while the daemon writes, compresses and removes them.
 */
struct journal_stream {
    const char *directory; /* the caller's */
    unsigned worker;
    uint64_t from; /* frames below are passed over */
    struct journal_scan scan;
    struct journal_bytes *bytes;
    uint64_t first_sequence; /* of the open segment */
    uint64_t damaged_files;  /* that could not be read to their end */
    size_t held;
    char *piece;
};

/* -ENOMEM or 0. */
MUST_USE int journal_stream_init(struct journal_stream *stream, const char *directory,
                                 unsigned worker, uint64_t from);
void journal_stream_fini(struct journal_stream *stream);
/* Reads a piece. 1: there may be more at once; 0: this is the end for now; or negative errno. */
MUST_USE int journal_stream_read(struct journal_stream *stream, journal_on_line *on_line,
                                 void *context);
/* Nothing will follow: an incomplete frame at the end may be damage that hides whole ones. */
void journal_stream_end(struct journal_stream *stream, journal_on_line *on_line, void *context);
