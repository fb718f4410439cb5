/* segment: which blocks of a preallocated file are taken. Pure.
 *
 * A segment is a file of 4 KB blocks that holds bodies of the nursery (segments.h). A body takes a
 * run of blocks; the search for one goes on where the last one ended, so that what arrives together
 * lies together and its writes can be merged by the kernel. Blocks that were given back before the
 * batch that forgets them is on disk wait in a `leaving` queue: until then a crash could bring the
 * old record back, and it must find the old bytes. */
#pragma once

#include "core/check.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SEGMENT_BLOCK = 4096 };

struct segment {
    uint32_t number; /* names the file */
    int fd;          /* of the worker's ring; negative: not open yet */
    uint32_t blocks, used;
    uint32_t next;  /* where the next search begins */
    bool retired;   /* a write failed: nothing new goes there */
    uint64_t map[]; /* a bit per block: taken */
};

/* NULL: no memory. */
struct segment *segment_new(uint32_t number, uint32_t blocks);
struct segment *segment_free(struct segment *segment);

/* A run of `blocks` free blocks becomes taken. False: there is none. */
MUST_USE bool segment_take(struct segment *segment, uint32_t blocks, uint32_t *ret_first);
/* These blocks are taken, as recovery finds them. False: not inside, or some already are. */
MUST_USE bool segment_mark(struct segment *segment, uint32_t first, uint32_t blocks);
void segment_give(struct segment *segment, uint32_t first, uint32_t blocks);

struct segment_slot {
    struct segment *segment; /* NULL: none */
    uint32_t first, blocks;
};

/* Slots on their way to be free, oldest first; `group` is that of the batch that freed them and
 * never falls. */
struct leaving_slot {
    struct segment_slot slot;
    uint64_t group;
};

struct leaving {
    struct leaving_slot *slots; /* a ring */
    size_t first, count, capacity;
};

/* False: no memory, and nothing was added. */
MUST_USE bool leaving_add(struct leaving *leaving, struct segment_slot slot, uint64_t group);
/* Gives back all slots of groups up to `synced`. */
void leaving_give(struct leaving *leaving, uint64_t synced);
void leaving_fini(struct leaving *leaving);

/* Of all segments of a worker, for metrics. */
struct segments_usage {
    uint64_t segments, used_bytes, free_bytes; /* free: where something can be written */
};
