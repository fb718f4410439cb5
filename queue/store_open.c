/* Opening: options, the lock, and the recovery of the log.
 *
 * RocksDB's default recovery (mode 2) stops at the first record that it cannot read and calls all
 * that follows lost: one flipped bit in the middle of the log drops acknowledged mail, silently. So:
 *
 *     mode 0   reads all, forgives a record that the end of its log cuts off: the normal case,
 *              also after kill -9
 *     refused  the logs are set aside (hard links, so that nothing that RocksDB does to them can
 *              destroy evidence), then opened read-only
 *     mode 2   up to the first unreadable record       -> latest sequence number s2
 *     mode 3   everything readable, before and behind  -> latest sequence number s3
 *     s2 = s3  nothing readable behind the damage: a tail that was being written and never synced
 *              when the power went; mode 2 is right
 *     s2 < s3  records behind it are sound, so it was complete once: rot; mode 3 saves what is there
 *
 * Before that, log_repair gives RocksDB a log in which what is readable behind the damage but inside
 * the same 32 KB block is readable for it too (store_log.h).
 * A limit: rot that hits exactly the last record written looks like a torn tail. */
#include "queue/store_private.h"

#include "core/clock.h"
#include "queue/record.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define MB ((size_t)1 << 20)

enum {
    MEMORY_DEFAULT_MB = 256, /* three quarters memtables, one quarter cache */
    OPEN_FILES_MAX = 500,    /* table files that are open at once: their readers cost memory */
    LOG_TOTAL_MAX_MB = 256,  /* what a restart has to replay at most */
    TABLE_FILE_MB = 64,
    INFO_LOG_MB = 4,
    ASIDE_KEPT = 4, /* sets of logs set aside: the newest */
};

enum recovery_mode { TOLERATE_TAIL = 0, POINT_IN_TIME = 2, SKIP_CORRUPTED = 3 };

/* Memtables are small where little is written, so that they do not hold old logs alive for long.
 * Filters where single keys are asked for; the others are scanned only. */
static const struct family {
    const char *name;
    unsigned memtable_mb;
    bool filter;
} families[HANDLES] = {
    [FAMILY_FRESH] = {"fresh", 64, false}, [FAMILY_BODY] = {"body", 64, true},
    [FAMILY_ROW] = {"row", 32, false},     [FAMILY_REF] = {"ref", 4, false},
    [FAMILY_QUEUE] = {"queue", 4, true},   [FAMILY_META] = {"meta", 1, true},
    [FAMILIES] = {"default", 1, false},
};

const char *store_family_name(enum store_family family)
{
    check(family < FAMILIES);
    return families[family].name;
}

/* ---- options ---- */

static rocksdb_options_t *database_options(size_t memtables)
{
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_create_missing_column_families(options, 1);
    rocksdb_options_set_db_write_buffer_size(options, memtables);
    rocksdb_options_set_max_total_wal_size(options, LOG_TOTAL_MAX_MB * MB);
    rocksdb_options_set_bytes_per_sync(options, MB);
    rocksdb_options_set_max_open_files(options, OPEN_FILES_MAX);
    rocksdb_options_set_max_background_jobs(options, 2);
    rocksdb_options_set_enable_pipelined_write(options, 0);
    rocksdb_options_set_unordered_write(options, 0);
    rocksdb_options_set_recycle_log_file_num(options, 0);
    rocksdb_options_set_stats_dump_period_sec(options, 0);
    rocksdb_options_set_stats_persist_period_sec(options, 0);
    rocksdb_options_set_info_log_level(options, 2); /* warnings */
    rocksdb_options_set_max_log_file_size(options, INFO_LOG_MB * MB);
    rocksdb_options_set_keep_log_file_num(options, 2);
    return options;
}

static rocksdb_options_t *family_options(const struct family *family, rocksdb_cache_t *cache)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_block_size(table, 16 * 1024);
    if (family->filter)
        rocksdb_block_based_options_set_filter_policy(table,
                                                      rocksdb_filterpolicy_create_bloom_full(10));

    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_compression(options, rocksdb_no_compression);
    rocksdb_options_set_write_buffer_size(options, family->memtable_mb * MB);
    rocksdb_options_set_target_file_size_base(options, TABLE_FILE_MB * MB);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1);
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table);
    return options;
}

static void make_options(struct store *store, size_t memory)
{
    size_t total = memory ? memory : MEMORY_DEFAULT_MB * MB;
    store->cache = rocksdb_cache_create_lru(total / 4);
    store->options = database_options(total / 4 * 3);
    for (int i = 0; i < HANDLES; i++)
        store->family_options[i] = family_options(&families[i], store->cache);
    store->write_synced = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(store->write_synced, 1);
    store->write_unsynced = rocksdb_writeoptions_create();
    store->read_options = rocksdb_readoptions_create();
}

static void free_options(struct store *store)
{
    rocksdb_readoptions_destroy(store->read_options);
    rocksdb_writeoptions_destroy(store->write_unsynced);
    rocksdb_writeoptions_destroy(store->write_synced);
    for (int i = 0; i < HANDLES; i++)
        rocksdb_options_destroy(store->family_options[i]);
    rocksdb_options_destroy(store->options);
    rocksdb_cache_destroy(store->cache);
}

/* ---- the handle ---- */

int store_db_open(struct store *store, int recovery_mode, bool read_only)
{
    const char *names[HANDLES];
    const rocksdb_options_t *options[HANDLES];
    for (int i = 0; i < HANDLES; i++) {
        names[i] = families[i].name;
        options[i] = store->family_options[i];
    }
    rocksdb_options_set_wal_recovery_mode(store->options, recovery_mode);
    char *text = NULL;
    store->db = read_only
                    ? rocksdb_open_for_read_only_column_families(store->options, store->path,
                                                                 HANDLES, names, options,
                                                                 store->handles, 0, &text)
                    : rocksdb_open_column_families(store->options, store->path, HANDLES, names,
                                                   options, store->handles, &text);
    if (text) {
        store->db = NULL;
        return store_error_take(text, store->error);
    }
    return 0;
}

void store_db_close(struct store *store)
{
    if (!store->db)
        return;
    for (int i = 0; i < HANDLES; i++)
        rocksdb_column_family_handle_destroy(store->handles[i]);
    rocksdb_close(store->db);
    store->db = NULL;
}

/* ---- logs set aside ---- */

static bool is_log(const char *name)
{
    size_t len = strlen(name);
    return len > 4 && strcmp(name + len - 4, ".log") == 0 && name[0] >= '0' && name[0] <= '9';
}

static bool is_aside(const char *name)
{
    return strncmp(name, "aside-", 6) == 0;
}

static int remove_set(int dir_fd, const char *name)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir)
        return -errno;
    struct dirent *entry;
    while ((entry = readdir(dir)))
        if (is_log(entry->d_name))
            unlinkat(fd, entry->d_name, 0);
    closedir(dir);
    return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* Removes the oldest sets but for ASIDE_KEPT. The names sort by time. */
static void prune_sets(const char *path, int dir_fd)
{
    struct dirent **names;
    int count = scandir(path, &names, NULL, alphasort);
    if (count < 0)
        return;
    int sets = 0;
    for (int i = count - 1; i >= 0; i--) {
        if (is_aside(names[i]->d_name) && ++sets > ASIDE_KEPT)
            (void)remove_set(dir_fd, names[i]->d_name);
        free(names[i]);
    }
    free(names);
}

/* Hard links of all logs in a new folder `aside-<wall time>`. */
static int set_logs_aside(struct store *store, char name[static 32])
{
    snprintf(name, 32, "aside-%016llu", (unsigned long long)clock_wall_ms());
    if (mkdirat(store->lock_fd, name, 0700) < 0)
        return -errno;
    int to = openat(store->lock_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = opendir(store->path);
    int result = to >= 0 && dir ? 0 : -errno;
    struct dirent *entry;
    while (result == 0 && (entry = readdir(dir)))
        if (is_log(entry->d_name) &&
            linkat(store->lock_fd, entry->d_name, to, entry->d_name, 0) < 0)
            result = -errno;
    if (result == 0 && fsync(to) < 0)
        result = -errno;
    if (dir)
        closedir(dir);
    if (to >= 0)
        close(to);
    prune_sets(store->path, store->lock_fd);
    return result;
}

/* ---- recovery ---- */

/* The latest sequence number that a mode gets to see. */
static int probe_sequence(struct store *store, int mode, uint64_t *ret_sequence)
{
    int result = store_db_open(store, mode, true);
    if (result < 0)
        return result;
    *ret_sequence = rocksdb_get_latest_sequence_number(store->db);
    store_db_close(store);
    return 0;
}

static void report_log(struct store_report *report, enum store_recovery recovery,
                       const char *refusal, const char *aside)
{
    report->recovery = recovery;
    const char *what = recovery == STORE_TORN_TAIL
                           ? "the log ended in a write that was never finished; nothing that was "
                             "acknowledged is missing"
                           : "the log is DAMAGED in the middle; what could be read was saved, "
                             "acknowledged messages may be missing";
    snprintf(report->message, sizeof report->message, "%s (%.120s)%s%s", what, refusal,
             aside[0] ? "; the logs as found are in " : "", aside);
}

/* Mode 0 has refused with store->error. Opens in the right mode and says so. */
static int open_damaged(struct store *store, struct store_report *report)
{
    bool read_only = store->mode == STORE_READ_ONLY;
    char refusal[STORE_ERROR], aside[32] = "";
    memcpy(refusal, store->error, sizeof refusal);
    int result = read_only ? 0 : set_logs_aside(store, aside);
    if (result < 0) {
        snprintf(store->error, sizeof store->error, "cannot set the logs aside: %s",
                 strerror(-result));
        return result;
    }
    uint64_t up_to_damage = 0, all = 0;
    result = probe_sequence(store, SKIP_CORRUPTED, &all);
    if (result < 0)
        return result;
    /* Mode 2 also refuses if a table file is newer than the damage: then that was synced once. */
    bool torn = probe_sequence(store, POINT_IN_TIME, &up_to_damage) == 0 && up_to_damage == all;
    report_log(report, torn ? STORE_TORN_TAIL : STORE_LOG_DAMAGED, refusal, aside);
    return store_db_open(store, torn ? POINT_IN_TIME : SKIP_CORRUPTED, read_only);
}

static int open_recovered(struct store *store, struct store_report *report)
{
    int result = store_db_open(store, TOLERATE_TAIL, store->mode == STORE_READ_ONLY);
    if (result == 0 || !store_error_is_corruption(store->error))
        return result;
    return open_damaged(store, report);
}

/* ---- is it ours? ---- */

static int family_is_empty(struct store *store, enum store_family family)
{
    struct store_scan *scan = store_scan_new(store, family, (struct span){0}, (struct span){0});
    struct span key, value;
    int found = scan ? store_scan_next(scan, &key, &value) : -ENOMEM;
    store_scan_free(scan);
    return found < 0 ? found : !found;
}

static int write_format(struct store *store)
{
    char number[META_U64_LEN];
    struct span value = meta_u64_write(number, STORE_FORMAT);
    struct store_batch *batch = store_batch_new(store);
    if (!batch)
        return -ENOMEM;
    store_batch_put(batch, FAMILY_META, SPAN(META_FORMAT), &value, 1);
    int result = store_commit(store, batch, true);
    store_batch_free(batch);
    return result;
}

/* A database without format is ours only if it is empty: its creation was interrupted. */
static int adopt_empty(struct store *store, struct store_report *report)
{
    for (int family = 0; family < FAMILIES; family++) {
        int empty = family_is_empty(store, (enum store_family)family);
        if (empty <= 0) {
            snprintf(store->error, sizeof store->error, "not a database of Ringpost");
            return empty < 0 ? empty : -EINVAL;
        }
    }
    report->created = true;
    return store->mode == STORE_READ_ONLY ? 0 : write_format(store);
}

static int check_format(struct store *store, struct store_report *report)
{
    struct store_value value;
    uint64_t format = 0;
    int found = store_get(store, FAMILY_META, SPAN(META_FORMAT), &value);
    if (found < 0)
        return found;
    if (found == 0)
        return adopt_empty(store, report);
    bool readable = meta_u64_read(value.span, &format);
    store_value_release(&value);
    if (readable && format == STORE_FORMAT)
        return 0;
    snprintf(store->error, sizeof store->error,
             "the database has format %llu, this program knows %d", (unsigned long long)format,
             STORE_FORMAT);
    return -EINVAL;
}

/* ---- open and close ---- */

static int sync_parent(const char *path)
{
    char parent[4096];
    snprintf(parent, sizeof parent, "%s/..", path);
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return result;
}

/* Opens the folder (made if need be) and locks it. */
static int lock_folder(struct store *store)
{
    bool read_only = store->mode == STORE_READ_ONLY;
    if (!read_only && mkdir(store->path, 0700) == 0) {
        int result = sync_parent(store->path);
        if (result < 0)
            return result;
    }
    store->lock_fd = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->lock_fd < 0)
        return -errno;
    if (flock(store->lock_fd, (read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? -EBUSY : -errno;
    if (read_only && faccessat(store->lock_fd, "CURRENT", F_OK, 0) < 0)
        return -ENOENT;
    return 0;
}

static int lock_explained(struct store *store)
{
    int result = lock_folder(store);
    if (result == -EBUSY)
        snprintf(store->error, sizeof store->error, "%s is in use by another process", store->path);
    else if (result < 0)
        snprintf(store->error, sizeof store->error, "%s: %s", store->path, strerror(-result));
    return result;
}

static struct store *store_new(const struct store_options *options)
{
    struct store *store = calloc(1, sizeof *store);
    char *path = store ? strdup(options->path) : NULL;
    if (!path) {
        free(store);
        return NULL;
    }
    store->path = path;
    store->mode = options->mode;
    store->lock_fd = -1;
    pthread_rwlock_init(&store->swap, NULL);
    make_options(store, options->memory);
    return store;
}

int store_open(const struct store_options *options, struct store **ret_store,
               struct store_report *ret_report)
{
    *ret_report = (struct store_report){0};
    struct store *store = store_new(options);
    if (!store)
        return -ENOMEM;
    int result = lock_explained(store);
    if (result == 0)
        result = open_recovered(store, ret_report);
    if (result == 0)
        result = check_format(store, ret_report);
    if (result < 0) {
        snprintf(ret_report->message, sizeof ret_report->message, "%s", store->error);
        store_close(store);
        return result;
    }
    *ret_store = store;
    return 0;
}

struct store *store_close(struct store *store)
{
    if (!store)
        return NULL;
    store_db_close(store);
    free_options(store);
    pthread_rwlock_destroy(&store->swap);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    free(store->path);
    free(store);
    return NULL;
}
