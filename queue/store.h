/* store: the durable ordered map under the queue. Replaced at link time by the simulator.
 *
 * Six families of sorted keys, atomic batches, a commit that is synced or not, point reads and
 * bounded scans: nothing else, so that grouping, transitions, windows and recovery all lie above it
 * and are simulated. The real one (store.c) is RocksDB 7.8; the simulated one keeps synced and
 * unsynced prefixes and may lose the latter.
 *
 * Threads: store_commit from one thread (the committer; at start-up the main thread), reads from
 * any. All calls block: a worker never makes one after start-up.
 *
 * Only Put and Delete: SingleDelete and DeleteRange are not to be used on these families
 * (docs/ARCHITECTURE.md, "Decisions"). */
#pragma once

#include "core/check.h"
#include "core/span.h"

enum store_family {
    FAMILY_FRESH, /* commit sequence           -> fresh record (record.h) */
    FAMILY_BODY,  /* id, part                  -> bytes */
    FAMILY_ROW,   /* shard, queue, due, id     -> row record */
    FAMILY_REF,   /* id, queue                 -> empty; only for messages with several rows */
    FAMILY_QUEUE, /* shard, queue              -> queue record */
    FAMILY_META,  /* name                      -> value */
    FAMILIES,
};

enum { STORE_FORMAT = 1 };

const char *store_family_name(enum store_family family);

enum store_mode {
    STORE_READ_WRITE,
    STORE_READ_ONLY, /* takes a shared lock: never reads under a running daemon */
};

/* How the log was recovered (docs/ARCHITECTURE.md, "Log recovery"). */
enum store_recovery {
    STORE_CLEAN,       /* every record of the log was read */
    STORE_TORN_TAIL,   /* an unsynced tail was torn off: nothing acknowledged is missing */
    STORE_LOG_DAMAGED, /* bytes in the middle have rotted: records after them were salvaged */
};

struct store_report {
    enum store_recovery recovery;
    bool created;      /* the database did not exist */
    char message[400]; /* what happened, for the log; empty if clean */
};

struct store_options {
    const char *path;
    enum store_mode mode;
    size_t memory; /* bytes for memtables and caches together; 0: default */
};

struct store;

/* Creates the folder `path` (its parent must exist) and the database if need be. The lock is an
 * flock on the folder itself.
 * 0; -EBUSY: another process has it; -EINVAL: not our database or a newer format; -EIO, -ENOSPC,
 * -ENOENT (read-only and absent). On error report->message says more.
 * Logs that are not clean are kept, as they were found, in `path`/aside-<time>. */
MUST_USE int store_open(const struct store_options *options, struct store **ret_store,
                        struct store_report *ret_report);
struct store *store_close(struct store *store);

/* Writes what lies in memory into tables, so that the next start has no log to replay: for a close
 * in good order, by its last user. Nothing depends on it: what fails stays in the logs. Blocks. */
void store_flush(struct store *store);

/* ---- writing ---- */

struct store_batch;
struct store_batch *store_batch_new(struct store *store);
struct store_batch *store_batch_free(struct store_batch *batch);
void store_batch_clear(struct store_batch *batch);

/* The value is the concatenation of `parts`; it is copied. */
void store_batch_put(struct store_batch *batch, enum store_family family, struct span key,
                     const struct span *parts, unsigned part_count);
void store_batch_delete(struct store_batch *batch, enum store_family family, struct span key);
size_t store_batch_bytes(const struct store_batch *batch);

/* All or nothing. `sync`: this batch and everything committed before it is on disk when it returns
 * (an empty batch is well: it syncs what was written before).
 * 0; -ENOSPC: nothing was written, the store can be used again after store_revive; any other error:
 * the handle is dead for writing, whatever it was about (a failed sync included), and the process
 * must recover from disk. `store_error` is RocksDB's own text. */
MUST_USE int store_commit(struct store *store, struct store_batch *batch, bool sync);
const char *store_error(const struct store *store);

/* After -ENOSPC: makes the handle writable again (re-opening it underneath if it must) and proves
 * it by a small synced write. 0 or -ENOSPC, or another error, which is final. */
MUST_USE int store_revive(struct store *store);

/* ---- reading ---- */

struct store_value {
    struct span span;
    void *pin; /* what keeps it; may outlive everything but the store */
};

/* 1 found, 0 not found, negative errno (-EIO: a checksum that does not match). */
MUST_USE int store_get(struct store *store, enum store_family family, struct span key,
                       struct store_value *ret_value);
void store_value_release(struct store_value *value);

/* Several keys of one family in one go; ret_found[i] is 1, 0 or a negative errno. */
void store_get_many(struct store *store, enum store_family family, const struct span *keys,
                    unsigned count, struct store_value *ret_values, int *ret_found);

/* Ascending scan of [lower, upper); an empty `upper` means to the end. The bounds are copied. A
 * scan sees one moment of the store and belongs to one thread; while it is open store_revive waits.
 * Seeks are costly where consumed keys lie before the first live one: start where a row is known to
 * be. NULL: no memory, or nothing can be read after a failed revival. */
struct store_scan;
struct store_scan *store_scan_new(struct store *store, enum store_family family, struct span lower,
                                  struct span upper);
/* 1: at a record (both spans valid until the next call), 0: at the end, negative errno. */
MUST_USE int store_scan_next(struct store_scan *scan, struct span *ret_key, struct span *ret_value);
struct store_scan *store_scan_free(struct store_scan *scan);

/* Numbers for metrics. */
struct store_usage {
    uint64_t memory_bytes, disk_bytes, log_bytes;
};
void store_usage(struct store *store, struct store_usage *ret_usage);
