/* store_private: what the files of the real store share. Nobody else includes it. */
#pragma once

#include "queue/store.h"

#include <pthread.h>
#include <rocksdb/c.h>

enum { STORE_ERROR = 400, HANDLES = FAMILIES + 1 }; /* RocksDB insists on its "default" too */

/* RocksDB's recovery modes, by what they do with a record that they cannot read. */
enum recovery_mode {
    TOLERATE_TAIL = 0,  /* refuse to open, except if the end of a log cuts it off */
    POINT_IN_TIME = 2,  /* stop there; read-only use */
    SKIP_CORRUPTED = 3, /* go on behind it; read-only use */
};

/* What a write may do now. */
enum store_health {
    STORE_WRITABLE,
    STORE_FULL, /* -ENOSPC: store_revive is due */
    STORE_DEAD, /* final */
};

struct store {
    char *path;
    enum store_mode mode;
    int lock_fd; /* of the folder, holds the flock */
    rocksdb_cache_t *cache;
    rocksdb_options_t *options;
    rocksdb_options_t *family_options[HANDLES];
    rocksdb_writeoptions_t *write_synced, *write_unsynced;
    rocksdb_readoptions_t *read_options;

    /* Readers hold it shared while they use `db`; store_revive swaps it exclusively. Preferring
     * readers (the default) lets a thread read while it has a scan open. */
    pthread_rwlock_t swap;
    rocksdb_t *db; /* NULL: revive could not open it again, not even for reading */
    rocksdb_column_family_handle_t *handles[HANDLES];

    enum store_health health; /* the committing thread's */
    uint64_t sequence;        /* RocksDB's, before the write that met -ENOSPC */
    char error[STORE_ERROR];
};

/* Takes over and frees a text from RocksDB: negative errno, and the text in `error`. */
MUST_USE int store_error_take(char *text, char error[STORE_ERROR]);

/* store_shim.cc: no log of RocksDB's own doings. False: no memory. */
MUST_USE bool store_silence(rocksdb_options_t *options);

/* Opens `store->path` under the given recovery mode into store->db and handles. 0 or negative
 * errno with store->error. */
MUST_USE int store_db_open(struct store *store, enum recovery_mode mode, bool read_only);
void store_db_close(struct store *store);
