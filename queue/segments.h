/* segments: where a worker keeps the bodies of its nursery, outside the store.
 *
 * A body of 4 KB and more that goes to the nursery is not worth a copy into a batch, a memtable, a
 * log and the page cache: it lies in pages from its first byte on (message.c) and is written from
 * there, past the cache, into a slot of one of the worker's preallocated files. Only when that
 * write is done goes its `fresh` record, which holds the place and our own headers, to the
 * committer. Log and segments share a device, so the log's sync flushes the disk's cache for both.
 *
 *     take slot --> write body --> commit (synced): 250 --> ... --> commit that removes the record
 *                                                        --> its group is synced: the slot is free
 *
 * Failure modes. No slot (none made yet, all full, not supported here): the body goes into the
 * record as a small one does, counted (`inlined`). A failed write: that message is answered 451,
 * the segment is retired, counted (`errors`) and said; what lies in it is still read from memory.
 * Power loss may leave a record whose body was never on disk, but only in the last group of the
 * log, whose sync never ended, so that nobody was promised anything (recover.c).
 *
 * Segments are made by the loader threads when they are first needed and when less than a quarter
 * is free, at most `limit` of them; they stay. A segment belongs to worker number % workers. */
#pragma once

#include "queue/loader.h"
#include "queue/segment.h"
#include "queue/segment_file.h"

enum {
    SEGMENT_BODY_LEAST = 4096,
    SEGMENTS_MAX = 1024, /* of a worker */
    SEGMENT_RETRY_MS = 10000,
};

struct segments {
    char *directory;
    struct segment **all;
    unsigned count, limit;
    unsigned current; /* where the last slot was found */
    uint64_t size;    /* of a new one */
    struct leaving leaving;
    struct load making;
    struct op opening;
    char path[SEGMENT_PATH]; /* of the one being made or opened */
    struct segment *being_opened;
    bool busy;
    uint64_t retry_ns; /* not before, after a failure */
    uint64_t bodies, inlined, errors;
};

struct share;
struct intake;

/* ---- for start-up ---- */
MUST_USE int segments_init(struct segments *segments, const char *directory, unsigned limit,
                           uint64_t size);
void segments_fini(struct segments *segments);
/* Adds one that exists. NULL: no memory, or `limit` is reached. */
struct segment *segments_add(struct segments *segments, uint32_t number, uint64_t size);
struct segment *segments_find(const struct segments *segments, uint32_t number);
MUST_USE bool segments_mark(struct segments *segments, const struct place *place,
                            struct segment_slot *ret_slot);

/* ---- for the share ---- */
void segments_start(struct share *share); /* opens what is there */
void segments_close(struct share *share); /* nothing is written any more */
/* A slot for the intake's body, and its place. False: none. */
MUST_USE bool segments_take(struct intake *intake, struct place *ret_place);
/* Writes the body; `body_written` becomes ready. False: no memory. */
MUST_USE bool segments_write(struct intake *intake);
/* Judges that write. 0, or -EIO: the segment is retired. */
MUST_USE int segments_written(struct intake *intake);
/* The intake's slot, if it has one, becomes free: when `group` is synced; 0: at once, no record
 * ever named it. */
void segments_release(struct intake *intake, uint64_t group);

void segments_usage(const struct segments *segments, struct segments_usage *ret_usage);
