/* The store in use: batches, commits, reads.
 *
 * Errors. RocksDB tells what went wrong only in the text of a failed call; its background-error
 * property stays 0 after a failed sync. A write is final unless its text says that the disk was
 * full before the record was whole: "No space left" while appending or while a table is written. If
 * it was a sync that met a full disk, the record may be in the log although we would call it
 * refused: final too. After -ENOSPC RocksDB's handle refuses all writes, and the C API cannot
 * resume it, so store_revive closes it and opens it again; that writes the memtables out, which
 * needs room, so it asks the file system first. */
#include "queue/store_private.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum {
    PARTS_AT_ONCE = 64,
    REVIVE_RESERVE = 16 << 20, /* beyond what is in the logs: manifest, new log, some air */
};

/* ---- errors ---- */

static bool says_full(const char *text)
{
    if (!strstr(text, "No space left on device") && !strstr(text, "Disk quota exceeded"))
        return false;
    return !strstr(text, "While fdatasync") && !strstr(text, "While fsync") &&
           !strstr(text, "While sync_file_range");
}

int store_error_take(char *text, char error[STORE_ERROR])
{
    snprintf(error, STORE_ERROR, "%s", text);
    int result = -EIO;
    if (says_full(text))
        result = -ENOSPC;
    else if (strncmp(text, "Invalid argument", 16) == 0)
        result = -EINVAL;
    rocksdb_free(text);
    return result;
}

const char *store_error(const struct store *store)
{
    return store->error;
}

/* ---- batches ---- */

struct store_batch {
    struct store *store;
    rocksdb_writebatch_t *batch;
    size_t bytes;
    bool failed; /* no memory for the parts of a value, or no handle after a failed revival */
};

struct store_batch *store_batch_new(struct store *store)
{
    struct store_batch *batch = calloc(1, sizeof *batch);
    if (!batch)
        return NULL;
    batch->store = store;
    batch->batch = rocksdb_writebatch_create();
    return batch;
}

struct store_batch *store_batch_free(struct store_batch *batch)
{
    if (batch)
        rocksdb_writebatch_destroy(batch->batch);
    free(batch);
    return NULL;
}

void store_batch_clear(struct store_batch *batch)
{
    rocksdb_writebatch_clear(batch->batch);
    batch->bytes = 0;
    batch->failed = false;
}

static void put_pieces(struct store_batch *batch, rocksdb_column_family_handle_t *handle,
                       struct span key, const struct span *parts, unsigned part_count)
{
    const char *data[PARTS_AT_ONCE];
    size_t lens[PARTS_AT_ONCE];
    for (unsigned i = 0; i < part_count; i++) {
        data[i] = parts[i].data;
        lens[i] = parts[i].len;
    }
    rocksdb_writebatch_putv_cf(batch->batch, handle, 1, &key.data, &key.len, (int)part_count, data,
                               lens);
}

/* More pieces than the arrays take: joined first. */
static void put_joined(struct store_batch *batch, rocksdb_column_family_handle_t *handle,
                       struct span key, const struct span *parts, unsigned part_count, size_t len)
{
    char *joined = malloc(len ? len : 1);
    if (!joined) {
        batch->failed = true;
        return;
    }
    size_t at = 0;
    for (unsigned i = 0; i < part_count; i++) {
        if (parts[i].len)
            memcpy(joined + at, parts[i].data, parts[i].len);
        at += parts[i].len;
    }
    rocksdb_writebatch_put_cf(batch->batch, handle, key.data, key.len, joined, len);
    free(joined);
}

void store_batch_put(struct store_batch *batch, enum store_family family, struct span key,
                     const struct span *parts, unsigned part_count)
{
    check(family < FAMILIES);
    rocksdb_column_family_handle_t *handle = batch->store->handles[family];
    size_t len = 0;
    for (unsigned i = 0; i < part_count; i++)
        len += parts[i].len;
    batch->bytes += key.len + len;
    if (!handle)
        batch->failed = true;
    else if (part_count <= 1)
        rocksdb_writebatch_put_cf(batch->batch, handle, key.data, key.len,
                                  part_count ? parts[0].data : "", len);
    else if (part_count <= PARTS_AT_ONCE)
        put_pieces(batch, handle, key, parts, part_count);
    else
        put_joined(batch, handle, key, parts, part_count, len);
}

void store_batch_delete(struct store_batch *batch, enum store_family family, struct span key)
{
    check(family < FAMILIES);
    rocksdb_column_family_handle_t *handle = batch->store->handles[family];
    batch->bytes += key.len;
    if (!handle)
        batch->failed = true;
    else
        rocksdb_writebatch_delete_cf(batch->batch, handle, key.data, key.len);
}

size_t store_batch_bytes(const struct store_batch *batch)
{
    return batch->bytes;
}

/* ---- commits ---- */

static int health_error(const struct store *store)
{
    return store->health == STORE_FULL ? -ENOSPC : -EIO;
}

int store_commit(struct store *store, struct store_batch *batch, bool sync)
{
    if (store->health != STORE_WRITABLE)
        return health_error(store);
    if (batch->failed) {
        snprintf(store->error, sizeof store->error, "no memory for a batch");
        store->health = STORE_DEAD;
        return -ENOMEM;
    }
    /* Per thread, and cheap to repeat: without it each write reads the clock a dozen times. */
    rocksdb_set_perf_level(rocksdb_disable);
    store->sequence = rocksdb_get_latest_sequence_number(store->db);
    char *text = NULL;
    rocksdb_write(store->db, sync ? store->write_synced : store->write_unsynced, batch->batch,
                  &text);
    if (!text)
        return 0;
    int result = store_error_take(text, store->error);
    store->health = result == -ENOSPC ? STORE_FULL : STORE_DEAD;
    return result;
}

/* ---- revival ---- */

/* Bytes of the logs, which an opening writes out as tables. */
static uint64_t log_bytes(const struct store *store)
{
    DIR *dir = opendir(store->path);
    if (!dir)
        return 0;
    uint64_t bytes = 0;
    struct dirent *entry;
    struct stat status;
    while ((entry = readdir(dir))) {
        size_t len = strlen(entry->d_name);
        if (len > 4 && strcmp(entry->d_name + len - 4, ".log") == 0 &&
            fstatat(store->lock_fd, entry->d_name, &status, 0) == 0)
            bytes += (uint64_t)status.st_size;
    }
    closedir(dir);
    return bytes;
}

static bool has_room(const struct store *store)
{
    struct statvfs fs;
    if (statvfs(store->path, &fs) < 0)
        return false;
    return (uint64_t)fs.f_bavail * fs.f_frsize >= log_bytes(store) + REVIVE_RESERVE;
}

/* Exclusive: closes and opens again. What cannot be opened for writing is opened for reading. */
static int reopen(struct store *store)
{
    pthread_rwlock_wrlock(&store->swap);
    store_db_close(store);
    int result = store_db_open(store, TOLERATE_TAIL, false);
    if (result < 0) {
        char error[STORE_ERROR];
        memcpy(error, store->error, sizeof error);
        if (store_db_open(store, TOLERATE_TAIL, true) < 0)
            store->db = NULL;
        memcpy(store->error, error, sizeof error);
    }
    pthread_rwlock_unlock(&store->swap);
    return result;
}

/* The write that was refused must not be there after all: its owner was told so. */
static int prove_refusal(struct store *store)
{
    if (rocksdb_get_latest_sequence_number(store->db) <= store->sequence)
        return 0;
    snprintf(store->error, sizeof store->error, "a write that failed is in the log");
    return -EIO;
}

static int prove_writable(struct store *store)
{
    char *text = NULL;
    rocksdb_writebatch_t *empty = rocksdb_writebatch_create();
    rocksdb_write(store->db, store->write_synced, empty, &text);
    rocksdb_writebatch_destroy(empty);
    return text ? store_error_take(text, store->error) : 0;
}

int store_revive(struct store *store)
{
    if (store->health == STORE_WRITABLE)
        return 0;
    if (store->health == STORE_DEAD)
        return -EIO;
    if (!has_room(store))
        return -ENOSPC;
    int result = reopen(store);
    if (result == 0)
        result = prove_refusal(store);
    if (result == 0)
        result = prove_writable(store);
    if (result == 0)
        store->health = STORE_WRITABLE;
    else if (result != -ENOSPC)
        store->health = STORE_DEAD;
    return result;
}

/* ---- reads ---- */

/* Takes the handle for reading; false while there is none. */
static bool reading(struct store *store)
{
    pthread_rwlock_rdlock(&store->swap);
    if (store->db)
        return true;
    pthread_rwlock_unlock(&store->swap);
    return false;
}

/* Values stay valid beyond the handle: they are copies or blocks of the cache, which is ours. */
static struct store_value value_of(rocksdb_pinnableslice_t *pinned)
{
    struct store_value value = {.pin = pinned};
    value.span.data = rocksdb_pinnableslice_value(pinned, &value.span.len);
    return value;
}

int store_get(struct store *store, enum store_family family, struct span key,
              struct store_value *ret_value)
{
    check(family < FAMILIES);
    if (!reading(store))
        return -EIO;
    char *text = NULL;
    rocksdb_pinnableslice_t *pinned = rocksdb_get_pinned_cf(
        store->db, store->read_options, store->handles[family], key.data, key.len, &text);
    pthread_rwlock_unlock(&store->swap);
    if (text) {
        rocksdb_free(text);
        return -EIO;
    }
    if (!pinned)
        return 0;
    *ret_value = value_of(pinned);
    return 1;
}

void store_value_release(struct store_value *value)
{
    if (value->pin)
        rocksdb_pinnableslice_destroy(value->pin);
    *value = (struct store_value){0};
}

enum { KEYS_AT_ONCE = 64 };

static void get_some(struct store *store, enum store_family family, const struct span *keys,
                     unsigned count, struct store_value *ret_values, int *ret_found)
{
    const char *data[KEYS_AT_ONCE] = {0};
    size_t lens[KEYS_AT_ONCE] = {0};
    rocksdb_pinnableslice_t *pinned[KEYS_AT_ONCE];
    char *texts[KEYS_AT_ONCE];
    for (unsigned i = 0; i < count; i++) {
        data[i] = keys[i].data;
        lens[i] = keys[i].len;
    }
    rocksdb_batched_multi_get_cf(store->db, store->read_options, store->handles[family], count,
                                 data, lens, pinned, texts, false);
    for (unsigned i = 0; i < count; i++) {
        ret_values[i] = pinned[i] ? value_of(pinned[i]) : (struct store_value){0};
        ret_found[i] = pinned[i] ? 1 : texts[i] ? -EIO : 0;
        rocksdb_free(texts[i]);
    }
}

void store_get_many(struct store *store, enum store_family family, const struct span *keys,
                    unsigned count, struct store_value *ret_values, int *ret_found)
{
    check(family < FAMILIES);
    if (!reading(store)) {
        for (unsigned i = 0; i < count; i++) {
            ret_values[i] = (struct store_value){0};
            ret_found[i] = -EIO;
        }
        return;
    }
    for (unsigned at = 0; at < count; at += KEYS_AT_ONCE) {
        unsigned some = count - at < KEYS_AT_ONCE ? count - at : KEYS_AT_ONCE;
        get_some(store, family, keys + at, some, ret_values + at, ret_found + at);
    }
    pthread_rwlock_unlock(&store->swap);
}

struct store_scan {
    struct store *store;
    rocksdb_readoptions_t *options;
    rocksdb_iterator_t *iterator;
    char *upper; /* RocksDB keeps a pointer to it */
    bool started;
};

static struct store_scan *scan_alloc(struct store *store, struct span upper)
{
    struct store_scan *scan = calloc(1, sizeof *scan);
    if (!scan)
        return NULL;
    scan->store = store;
    scan->upper = malloc(upper.len ? upper.len : 1);
    if (!scan->upper) {
        free(scan);
        return NULL;
    }
    if (upper.len)
        memcpy(scan->upper, upper.data, upper.len);
    return scan;
}

struct store_scan *store_scan_new(struct store *store, enum store_family family, struct span lower,
                                  struct span upper)
{
    check(family < FAMILIES);
    struct store_scan *scan = scan_alloc(store, upper);
    if (!scan)
        return NULL;
    if (!reading(store)) {
        free(scan->upper);
        free(scan);
        return NULL;
    }
    scan->options = rocksdb_readoptions_create();
    if (upper.len)
        rocksdb_readoptions_set_iterate_upper_bound(scan->options, scan->upper, upper.len);
    scan->iterator = rocksdb_create_iterator_cf(store->db, scan->options, store->handles[family]);
    if (lower.len)
        rocksdb_iter_seek(scan->iterator, lower.data, lower.len);
    else
        rocksdb_iter_seek_to_first(scan->iterator);
    return scan;
}

int store_scan_next(struct store_scan *scan, struct span *ret_key, struct span *ret_value)
{
    if (scan->started && rocksdb_iter_valid(scan->iterator))
        rocksdb_iter_next(scan->iterator);
    scan->started = true;
    if (!rocksdb_iter_valid(scan->iterator)) {
        char *text = NULL;
        rocksdb_iter_get_error(scan->iterator, &text);
        rocksdb_free(text);
        return text ? -EIO : 0;
    }
    ret_key->data = rocksdb_iter_key(scan->iterator, &ret_key->len);
    ret_value->data = rocksdb_iter_value(scan->iterator, &ret_value->len);
    return 1;
}

struct store_scan *store_scan_free(struct store_scan *scan)
{
    if (!scan)
        return NULL;
    rocksdb_iter_destroy(scan->iterator);
    rocksdb_readoptions_destroy(scan->options);
    pthread_rwlock_unlock(&scan->store->swap);
    free(scan->upper);
    free(scan);
    return NULL;
}

/* ---- flush ---- */

void store_flush(struct store *store)
{
    if (!reading(store))
        return;
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(options, 1);
    for (int i = 0; i < HANDLES; i++) {
        char *error = NULL;
        rocksdb_flush_cf(store->db, options, store->handles[i], &error);
        rocksdb_free(error);
    }
    rocksdb_flushoptions_destroy(options);
    pthread_rwlock_unlock(&store->swap);
}

/* ---- usage ---- */

static uint64_t property_sum(struct store *store, const char *name)
{
    uint64_t sum = 0, value;
    for (int i = 0; i < HANDLES; i++)
        if (rocksdb_property_int_cf(store->db, store->handles[i], name, &value) == 0)
            sum += value;
    return sum;
}

void store_usage(struct store *store, struct store_usage *ret_usage)
{
    *ret_usage = (struct store_usage){.log_bytes = log_bytes(store)};
    if (!reading(store))
        return;
    ret_usage->memory_bytes = property_sum(store, "rocksdb.cur-size-all-mem-tables") +
                              rocksdb_cache_get_usage(store->cache);
    ret_usage->disk_bytes = property_sum(store, "rocksdb.total-sst-files-size");
    pthread_rwlock_unlock(&store->swap);
}
