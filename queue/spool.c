/* Opening in this order: store (its log recovery), meta, leftovers of uploads, the journals' tails,
 * queue headers, fresh records; then the threads. Nothing else is read: rows come when they are
 * due.
 *
 * Closing needs drained shares; without that (a dead disk) it loses nothing either, it is only a
 * crash in good order. */
#include "queue/spool.h"

#include "core/clock.h"
#include "queue/spool_private.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* ---- options ---- */

static int copy_options(struct spool *spool, const struct spool_options *options)
{
    size_t intervals = options->retry_interval_count * sizeof(*options->retry_intervals_ms);
    uint64_t *copy = malloc(intervals);
    char *hostname = strdup(options->hostname), *data_dir = strdup(options->data_dir);
    spool->options = *options;
    spool->options.retry_intervals_ms = copy;
    spool->options.hostname = hostname;
    spool->options.data_dir = data_dir;
    if (!copy || !hostname || !data_dir)
        return -ENOMEM;
    memcpy(copy, options->retry_intervals_ms, intervals);
    return 0;
}

static int make_directory(const char *data_dir, const char *name, char **ret_path)
{
    if (asprintf(ret_path, "%s/%s", data_dir, name) < 0) {
        *ret_path = NULL;
        return -ENOMEM;
    }
    return mkdir(*ret_path, 0700) == 0 || errno == EEXIST ? 0 : -errno;
}

static int open_folders(struct spool *spool, char **ret_store_path)
{
    const char *data_dir = spool->options.data_dir;
    if (mkdir(data_dir, 0700) != 0 && errno != EEXIST)
        return -errno;
    int result = make_directory(data_dir, "journal", &spool->journal_directory);
    return result ? result : make_directory(data_dir, "queue", ret_store_path);
}

/* ---- the report ---- */

void report_line(struct spool_report *report, const char *format, ...)
{
    size_t len = strlen(report->text);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(report->text + len, sizeof(report->text) - len, format, arguments);
    va_end(arguments);
    len = strlen(report->text);
    if (len + 1 < sizeof(report->text)) {
        report->text[len] = '\n';
        report->text[len + 1] = '\0';
    }
}

/* ---- opening ---- */

static int open_store(struct spool *spool, const char *path, struct spool_report *report)
{
    struct store_options options = {
        .path = path, .mode = STORE_READ_WRITE, .memory = spool->options.store_memory};
    struct store_report found = {0};
    int result = store_open(&options, &spool->store, &found);
    if (found.message[0])
        report_line(report, "%s", found.message);
    report->alarm |= found.recovery == STORE_LOG_DAMAGED;
    return result;
}

/* Where bodies of the nursery will lie. What is there is read in any case. */
static int open_segments(struct spool *spool, const char *store_path, struct spool_report *report)
{
    const struct spool_options *options = &spool->options;
    const char *why;
    int result = make_directory(store_path, SEGMENT_FOLDER, &spool->segment_directory);
    if (result < 0 || options->segments == 0)
        return result;
    if (!segment_probe(spool->segment_directory, store_path, &why)) {
        report_line(report, "bodies go through the log, [queue] segments are not used: %s", why);
        return 0;
    }
    unsigned each = options->segments / options->workers;
    spool->segment_limit = each ? each : 1;
    return 0;
}

static int make_shares(struct spool *spool)
{
    unsigned workers = spool->options.workers;
    spool->shares = calloc(workers, sizeof(struct share *));
    if (!spool->shares)
        return -ENOMEM;
    for (unsigned i = 0; i < workers; i++) {
        spool->shares[i] = calloc(1, sizeof(struct share));
        int result = spool->shares[i] ? share_init(spool->shares[i], spool, i) : -ENOMEM;
        if (result)
            return result;
    }
    return 0;
}

static void publish_clock(struct spool *spool)
{
    atomic_store(&spool->clock_offset_ms, clock_guard_offset_ms(&spool->clock));
    atomic_store(&spool->clock_fault, (int)spool->clock.fault);
}

static void start_clock(struct spool *spool, struct spool_report *report)
{
    uint64_t wall_ms = clock_wall_ms(), mono_ms = clock_mono_ns() / NS_PER_MS;
    clock_guard_init(&spool->clock, spool->recorded_wall_ms, wall_ms, mono_ms);
    spool->clock_went_back = spool->clock.fault == CLOCK_BEFORE_LAST;
    if (spool->options.clock_confirmed)
        clock_guard_confirm(&spool->clock, wall_ms, mono_ms);
    publish_clock(spool);
    struct span fault = clock_fault_text(spool->clock.fault);
    if (fault.len == 0)
        return;
    report->alarm = true;
    report_line(report, "%.*s: nothing expires until it is confirmed", SPAN_FORMAT(fault));
}

static int recover(struct spool *spool, struct spool_report *report)
{
    uint64_t next_sequence = 0;
    int result = recover_meta(spool);
    if (result == 0)
        result = make_shares(spool);
    if (result == 0)
        result = recover_uploads(spool);
    if (result == 0)
        result = recover_journals(spool, report);
    if (result == 0)
        result = recover_queues(spool, report);
    if (result == 0)
        result = recover_fresh(spool, report, &next_sequence);
    if (result == 0)
        result = recover_receptions(spool);
    if (result == 0)
        result = committer_init(&spool->committer, spool->store, next_sequence);
    return result;
}

static int start_threads(struct spool *spool)
{
    unsigned loaders = spool->options.loader_threads ? spool->options.loader_threads : 1;
    int result = committer_start(&spool->committer, &spool->committing);
    if (result)
        return result;
    result = loader_start(spool->store, loaders, &spool->loading);
    if (result)
        return result;
    result = journal_keeper_init(&spool->keeper, spool->journal_directory,
                                 &spool->options.journal_keeping, spool->journal_heads,
                                 spool->options.workers);
    return result ? result : keeper_start(&spool->keeper, &spool->keeping);
}

static void spool_free(struct spool *spool)
{
    for (unsigned i = 0; spool->shares && i < spool->options.workers; i++) {
        if (spool->shares[i])
            share_fini(spool->shares[i]);
        free(spool->shares[i]);
    }
    free(spool->shares);
    if (spool->committer.store)
        committer_fini(&spool->committer);
    verdict_set_fini(&spool->verdicts);
    if (spool->suspensions.map.buckets)
        suspensions_fini(&spool->suspensions);
    witness_set_fini(&spool->witnesses);
    spool->store = store_close(spool->store);
    free((void *)(uintptr_t)spool->options.retry_intervals_ms);
    free((void *)(uintptr_t)spool->options.hostname);
    free((void *)(uintptr_t)spool->options.data_dir);
    free(spool->journal_directory);
    free(spool->segment_directory);
    free(spool);
}

int spool_open(const struct spool_options *options, struct spool **ret_spool,
               struct spool_report *ret_report)
{
    check(options->workers > 0 && options->workers <= SHARD_COUNT &&
          options->retry_interval_count > 0);
    *ret_report = (struct spool_report){0};
    struct spool *spool = calloc(1, sizeof(*spool));
    if (!spool)
        return -ENOMEM;
    char *store_path = NULL;
    int result = copy_options(spool, options);
    if (result == 0)
        result = open_folders(spool, &store_path);
    if (result == 0)
        result = open_store(spool, store_path, ret_report);
    if (result == 0)
        result = open_segments(spool, store_path, ret_report);
    if (result == 0)
        result = recover(spool, ret_report);
    if (result == 0)
        start_clock(spool, ret_report);
    if (result == 0)
        result = start_threads(spool);
    free(store_path);
    if (result) {
        if (spool->loading)
            loader_stop(spool->loading);
        if (spool->committing)
            committer_stop(spool->committing);
        spool_free(spool);
        return result;
    }
    spool_tick(spool);
    *ret_spool = spool;
    return 0;
}

/* ---- running ---- */

static void look_at_disk(struct spool *spool)
{
    struct statvfs disk;
    if (statvfs(spool->options.data_dir, &disk) != 0)
        return; /* says nothing about the disk: the committer will */
    uint64_t free_bytes = (uint64_t)disk.f_bavail * disk.f_frsize;
    atomic_store(&spool->disk, free_bytes < spool->options.disk_reserve_bytes ? -ENOSPC : 0);
}

void spool_tick(struct spool *spool)
{
    uint64_t wall_ms = clock_wall_ms(), mono_ms = clock_mono_ns() / NS_PER_MS;
    look_at_disk(spool);
    if (atomic_exchange(&spool->clock_confirmed, false))
        clock_guard_confirm(&spool->clock, wall_ms, mono_ms);
    else
        clock_guard_look(&spool->clock, wall_ms, mono_ms);
    publish_clock(spool);
}

int spool_state(const struct spool *spool)
{
    int state = committer_state(spool->committing);
    return state ? state : atomic_load(&spool->disk);
}

struct span spool_clock_alarm(const struct spool *spool)
{
    return clock_fault_text((enum clock_fault)atomic_load(&spool->clock_fault));
}

void spool_confirm_clock(struct spool *spool)
{
    atomic_store(&spool->clock_confirmed, true);
}

struct metrics *spool_metrics(struct spool *spool)
{
    return &spool->committer.metrics;
}

const struct journal_kept *spool_journal(const struct spool *spool)
{
    return &spool->keeper.kept;
}

unsigned spool_segments_lost(const struct spool *spool)
{
    return atomic_load_explicit(&spool->segments_lost, memory_order_relaxed);
}

struct store *spool_store(struct spool *spool)
{
    return spool->store;
}

/* ---- closing ---- */

static bool all_drained(const struct spool *spool)
{
    for (unsigned i = 0; i < spool->options.workers; i++)
        if (spool->shares[i]->drain_step != DRAIN_JOURNAL)
            return false;
    return true;
}

static bool all_counted(const struct spool *spool)
{
    for (unsigned i = 0; i < spool->options.workers; i++)
        if (spool->shares[i]->usage.queues_uncounted)
            return false;
    return true;
}

/* Says that the counters in the queue records can be believed. */
static void mark_clean(struct spool *spool)
{
    static const struct span nothing = {"", 0};
    struct store_batch *batch = store_batch_new(spool->store);
    if (!batch)
        return;
    store_batch_put(batch, FAMILY_META, SPAN(META_CLEAN), &nothing, 1);
    int result = store_commit(spool->store, batch, true);
    (void)result; /* not marked: the counters will be called approximate */
    store_batch_free(batch);
}

int spool_close(struct spool *spool)
{
    if (!spool)
        return 0;
    keeper_stop(spool->keeping);
    journal_keeper_fini(&spool->keeper);
    loader_stop(spool->loading);
    int result = committer_stop(spool->committing);
    if (result == 0 && all_drained(spool)) {
        if (all_counted(spool))
            mark_clean(spool);
        store_flush(spool->store);
    }
    spool_free(spool);
    return result;
}
