/* segment_file: the files of nursery segments, for those who may block: start-up, loader threads,
 * `queue check`. Workers only write into them, by their rings (segments.c).
 *
 * The files lie in `queue/segments`, beside the store's own. A file with its final name was written
 * full of zeroes and is on disk, name and all: an overwrite changes neither its size nor its
 * extents, so nothing of it is left to sync but the disk's cache, and the log's sync does that. */
#pragma once

#include "core/check.h"
#include "queue/record.h"
#include "queue/segment.h"

#define SEGMENT_FOLDER "segments" /* in the store's folder */

enum { SEGMENT_PATH = 4096 };

/* False: too long. */
MUST_USE bool segment_path(char path[SEGMENT_PATH], const char *directory, uint32_t number);

/* Makes a segment, durably, under another name until it is whole. 0 or a negative errno; nothing is
 * left then. */
MUST_USE int segment_file_make(const char *path, uint64_t size);

struct segment_file {
    uint32_t number;
    int fd; /* for reading */
    uint64_t size;
};

struct segment_files {
    const char *directory;      /* the caller's */
    struct segment_file *files; /* by number */
    unsigned count;
};

/* All segments of a folder; none if it does not exist. `tidy`: removes what a crash left half made.
 * 0 or a negative errno. */
MUST_USE int segment_files_open(const char *directory, bool tidy, struct segment_files *ret_files);
void segment_files_close(struct segment_files *files);

/* Reads place->len bytes and compares their checksum. 0; -ENOENT: no such segment; -ENXIO: not
 * inside it; -EBADMSG: other bytes than were written; another negative errno: the disk's. */
MUST_USE int segment_files_read(const struct segment_files *files, const struct place *place,
                                char *data);

/* Whether bodies may lie in segments at all: `directory` must take direct I/O in blocks of 4 KB, on
 * a file system that overwrites in place, on the device of the store's log in `log_directory`. On
 * false *ret_why says why not. Replaced at link time by the simulator (segment_probe.c). */
MUST_USE bool segment_probe(const char *directory, const char *log_directory, const char **ret_why);
