/* Opening: options, the lock, and the recovery of the log.
 *
 * RocksDB's own recovery modes are not enough. Its default (2) stops at the first record that it
 * cannot read and calls all that follows lost: one flipped bit drops acknowledged mail, silently.
 * Comparing what modes 2 and 3 get to see tells rot from a torn tail only if the rot is more than
 * 32 KB before the end, and mode 3 refuses some logs altogether (store_log.h). So we look
 * ourselves, before RocksDB does:
 *
 *     clean      every log is a row of whole records: mode 0, which reads all or refuses
 *     torn tail  the last thing written is no whole record, and nothing follows it: it was being
 *                written when the process or the power went, nobody was told that it is safe
 *     damaged    sound records follow behind something that is none: it was complete once, and has
 *                rotted
 *
 * A log that mode 0 would refuse, or read less of than we can, is set aside (a hard link, so that
 * the evidence stays) and replaced by one with every sound record. A limit: rot that hits exactly
 * the last record looks like a torn tail. */
#include "queue/store_private.h"

#include "core/clock.h"
#include "queue/record.h"
#include "queue/store_log.h"

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
    ASIDE_KEPT = 4, /* sets of logs set aside: the newest */
};

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

static bool make_options(struct store *store, size_t memory)
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
    return store_silence(store->options);
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

int store_db_open(struct store *store, enum recovery_mode mode, bool read_only)
{
    const char *names[HANDLES];
    const rocksdb_options_t *options[HANDLES];
    for (int i = 0; i < HANDLES; i++) {
        names[i] = families[i].name;
        options[i] = store->family_options[i];
    }
    rocksdb_options_set_wal_recovery_mode(store->options, (int)mode);
    char *text = NULL;
    store->db = read_only ? rocksdb_open_for_read_only_column_families(store->options, store->path,
                                                                       HANDLES, names, options,
                                                                       store->handles, 0, &text)
                          : rocksdb_open_column_families(store->options, store->path, HANDLES,
                                                         names, options, store->handles, &text);
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
    for (int i = 0; i < HANDLES; i++) {
        rocksdb_column_family_handle_destroy(store->handles[i]);
        store->handles[i] = NULL;
    }
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

/* `aside-<wall time>`, or a little later: two starts may fall into one millisecond. */
static int make_aside_folder(struct store *store, char name[static 32])
{
    uint64_t from_ms = clock_wall_ms();
    for (uint64_t ms = from_ms; ms < from_ms + 1000; ms++) {
        snprintf(name, 32, "aside-%016llu", (unsigned long long)ms);
        if (mkdirat(store->lock_fd, name, 0700) == 0)
            return 0;
        if (errno != EEXIST)
            return -errno;
    }
    return -EEXIST;
}

/* Hard links of all logs in a new folder. */
static int set_logs_aside(struct store *store, char name[static 32])
{
    int made = make_aside_folder(store, name);
    if (made < 0)
        return made;
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

static int is_log_entry(const struct dirent *entry)
{
    return is_log(entry->d_name);
}

/* Adds what one log shows; `*broken` is whether one before it ended badly. */
static void judge_log(const struct log_survey *log, bool *broken, struct log_survey *total)
{
    uint64_t whole_before = log->records - log->behind;
    total->records += log->records;
    total->damaged += log->damaged + (*broken && log->records);
    total->behind += log->behind + (*broken ? whole_before : 0);
    *broken = log->tail || (*broken && log->records == 0);
}

/* Looks at all logs in order, and gives RocksDB better ones where `repair` and where that helps. */
static int walk_logs(struct store *store, bool repair, struct log_survey *ret_total)
{
    struct dirent **entries;
    int count = scandir(store->path, &entries, is_log_entry, versionsort);
    if (count < 0)
        return errno == ENOENT ? 0 : -errno;
    int result = 0;
    bool broken = false;
    for (int i = 0; i < count; i++) {
        struct log_survey log = {0};
        const char *name = entries[i]->d_name;
        if (result == 0)
            result = log_survey(store->lock_fd, name, &log);
        if (result == 0 && repair && (log.damaged || (log.tail && !log.cut)))
            result = log_salvage(store->lock_fd, name);
        judge_log(&log, &broken, ret_total);
        ret_total->cut |= log.cut;
        free(entries[i]);
    }
    free(entries);
    ret_total->tail = broken;
    return result;
}

static void report_log(const struct store *store, struct store_report *report,
                       const struct log_survey *total, const char *aside)
{
    const char *kept = aside[0] ? "; the logs as they were are in " : "";
    if (total->damaged && store->mode == STORE_READ_ONLY) {
        report->recovery = STORE_LOG_DAMAGED;
        snprintf(report->message, sizeof report->message,
                 "the log is DAMAGED in %llu place(s). NOT ALL IS READ HERE: the daemon recovers "
                 "%llu of %llu records from behind the damage when it starts, and what is said to "
                 "be missing below may be among them; start and stop it, then check again",
                 (unsigned long long)total->damaged, (unsigned long long)total->behind,
                 (unsigned long long)total->records);
    } else if (total->damaged) {
        report->recovery = STORE_LOG_DAMAGED;
        snprintf(report->message, sizeof report->message,
                 "the log is DAMAGED in %llu place(s): acknowledged messages may be missing; all "
                 "that is readable was kept, %llu of %llu records from behind the damage%s%s",
                 (unsigned long long)total->damaged, (unsigned long long)total->behind,
                 (unsigned long long)total->records, kept, aside);
    } else if (total->tail) {
        report->recovery = STORE_TORN_TAIL;
        snprintf(report->message, sizeof report->message,
                 "the log ended in a write that was never finished: nothing that was acknowledged "
                 "is missing (%llu whole records)%s%s",
                 (unsigned long long)total->records, kept, aside);
    }
}

/* Surveys the logs, repairs what RocksDB could not read whole, and opens. */
static int open_recovered(struct store *store, struct store_report *report)
{
    bool read_only = store->mode == STORE_READ_ONLY;
    struct log_survey total = {0}, repaired = {0};
    char aside[32] = "";
    int result = walk_logs(store, false, &total);
    bool repair = !read_only && (total.damaged || (total.tail && !total.cut));
    if (result == 0 && repair)
        result = set_logs_aside(store, aside);
    if (result == 0 && repair)
        result = walk_logs(store, true, &repaired);
    if (result < 0) {
        snprintf(store->error, sizeof store->error, "cannot repair the log: %s", strerror(-result));
        return result;
    }
    report_log(store, report, &total, aside);
    return store_db_open(store,
                         read_only && total.damaged ? SKIP_CORRUPTED
                         : read_only && total.tail  ? POINT_IN_TIME
                                                    : TOLERATE_TAIL,
                         read_only);
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
    return make_options(store, options->memory) ? store : store_close(store);
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
