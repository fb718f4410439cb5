/* store_log: RocksDB's write-ahead log as it lies on disk, read and repaired by ourselves.
 *
 * RocksDB gives up too much of a damaged log for us. Of a 32 KB block with one flipped bit it reads
 * nothing behind that bit, in no recovery mode; a block whose rest is zero it skips without a word;
 * and mode 3 ("skip any corrupted") joins the fragments around a lost one and then refuses the
 * result. So every log is surveyed before RocksDB opens it (that costs a read of what it reads
 * anyway), and a damaged one is replaced by one that holds every record that is still whole.
 *
 * Format (rocksdb/db/log_format.h): blocks of 32 KB; in them fragments with a header of 7 bytes:
 * CRC32C of type and payload, masked (4, little-endian), length (2), type (1: full, 2: first,
 * 3: middle, 4: last); less than 7 bytes at the end of a block are zero. A record is a write batch:
 * sequence (8), count (4), operations. No recycling and no log compression: we use neither. */
#pragma once

#include "core/check.h"
#include "core/span.h"

struct log_survey {
    uint64_t records; /* whole and sound */
    uint64_t behind;  /* of these, behind the first damaged place */
    uint64_t damaged; /* places that are no part of a sound record, the end of the log excepted */
    bool tail;        /* the log ends with something that is no whole record */
    bool cut;         /* and it is a beginning of one: RocksDB's mode 0 accepts that */
};

/* 0 or a negative errno. A part that the disk does not give is damaged, not an error. */
MUST_USE int log_survey(int dir_fd, const char *name, struct log_survey *ret_survey);

/* Replaces the log by one with the same sound records and nothing else, durably. */
MUST_USE int log_salvage(int dir_fd, const char *name);
