/* floor_disk: what durability costs at least.
 *
 *     FLOOR_NONE     nothing is stored
 *     FLOOR_RECORD   the whole message is one RocksDB record
 *     FLOOR_SEGMENT  the text goes to a preallocated file by O_DIRECT, a small record behind it
 *
 * One thread writes what has gathered since its last sync as one synced batch: puts and, riding
 * along, the deletes of what was delivered. It is the store's own options that are used
 * (queue/store.h), so the difference to the daemon is what the daemon does beside storing. */
#pragma once

#include "core/loop.h"
#include "queue/store.h"

enum floor_durability { FLOOR_NONE, FLOOR_RECORD, FLOOR_SEGMENT, FLOOR_DURABILITIES };

/* Embedded in the message; what is to be stored is the owner's until `op` is done. */
struct floor_job {
    struct op op;
    struct loop *home;
    struct floor_job *next;
    bool delete;
    char key[8];
    struct span record[2];
};

struct floor_counts {
    uint64_t groups, syncs, bytes;
};

struct floor_disk;
MUST_USE int floor_disk_open(const char *folder, struct floor_disk **ret_disk);
/* Any thread; the job comes back by its op. */
void floor_disk_submit(struct floor_disk *disk, struct floor_job *job);
/* Writes what was submitted, ends the thread. */
struct floor_counts floor_disk_close(struct floor_disk *disk);

/* A file of `size` octets that were written and synced, open for O_DIRECT. Descriptor or -errno. */
MUST_USE int floor_segment_open(const char *folder, unsigned index, size_t size);
