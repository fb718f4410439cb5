#include "bench/floor_disk.h"

#include "core/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PACE_MS = 1, DELETES_WAIT_MS = 10 }; /* as the daemon's committer paces itself */

struct floor_disk {
    struct store *store;
    struct store_batch *batch;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct floor_job *first, *last; /* submitted, in order */
    bool urgent, stop;              /* urgent: a put is among them */
    struct floor_counts counts;
};

static void wait_ms(struct floor_disk *disk, uint64_t until_ns)
{
    struct timespec until = {.tv_sec = (time_t)(until_ns / NS_PER_S),
                             .tv_nsec = (long)(until_ns % NS_PER_S)};
    pthread_cond_timedwait(&disk->changed, &disk->mutex, &until);
}

/* Takes all that waits, at most once in PACE_MS. NULL: the end. */
static struct floor_job *take_group(struct floor_disk *disk, uint64_t last_start_ns)
{
    pthread_mutex_lock(&disk->mutex);
    uint64_t now_ns = clock_mono_ns(), deletes_ns = now_ns + DELETES_WAIT_MS * NS_PER_MS;
    while (!disk->stop) {
        uint64_t due_ns = disk->urgent ? last_start_ns + PACE_MS * NS_PER_MS : deletes_ns;
        now_ns = clock_mono_ns();
        if (disk->first && now_ns >= due_ns)
            break;
        if (disk->first)
            wait_ms(disk, due_ns);
        else
            pthread_cond_wait(&disk->changed, &disk->mutex);
    }
    struct floor_job *group = disk->first;
    disk->first = disk->last = NULL;
    disk->urgent = false;
    pthread_mutex_unlock(&disk->mutex);
    return group;
}

static void write_group(struct floor_disk *disk, const struct floor_job *group)
{
    bool sync = false;
    store_batch_clear(disk->batch);
    for (const struct floor_job *job = group; job; job = job->next) {
        struct span key = span_of(job->key, sizeof job->key);
        sync |= !job->delete;
        if (job->delete)
            store_batch_delete(disk->batch, FAMILY_FRESH, key);
        else
            store_batch_put(disk->batch, FAMILY_FRESH, key, job->record, countof(job->record));
    }
    disk->counts.bytes += store_batch_bytes(disk->batch);
    disk->counts.groups++;
    disk->counts.syncs += sync;
    if (store_commit(disk->store, disk->batch, sync) != 0) {
        fprintf(stderr, "floor: %s\n", store_error(disk->store));
        exit(1);
    }
}

/* Gives a group back with one wake for each run of jobs of one worker. */
static void give_back(struct floor_job *group)
{
    while (group) {
        struct floor_job *first = group, *last = group;
        while (last->next && last->next->home == first->home) {
            last->op.inbox_next = &last->next->op;
            last = last->next;
        }
        group = last->next;
        loop_post_chain(first->home, NULL, &first->op, &last->op);
    }
}

static void *run(void *argument)
{
    struct floor_disk *disk = argument;
    struct floor_job *group;
    uint64_t last_start_ns = 0;
    while ((group = take_group(disk, last_start_ns))) {
        last_start_ns = clock_mono_ns();
        write_group(disk, group);
        give_back(group);
    }
    return NULL;
}

int floor_disk_open(const char *folder, struct floor_disk **ret_disk)
{
    struct floor_disk *disk = calloc(1, sizeof *disk);
    check(disk);
    char path[4096];
    snprintf(path, sizeof path, "%s/queue", folder);
    struct store_options options = {.path = path, .mode = STORE_READ_WRITE};
    struct store_report report;
    int error = store_open(&options, &disk->store, &report);
    if (error < 0) {
        free(disk);
        return error;
    }
    disk->batch = store_batch_new(disk->store);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&disk->mutex, NULL);
    pthread_cond_init(&disk->changed, &monotonic);
    check(pthread_create(&disk->thread, NULL, run, disk) == 0);
    *ret_disk = disk;
    return 0;
}

void floor_disk_submit(struct floor_disk *disk, struct floor_job *job)
{
    job->next = NULL;
    pthread_mutex_lock(&disk->mutex);
    bool wake = !disk->first || (!job->delete &&!disk->urgent);
    if (disk->first)
        disk->last->next = job;
    else
        disk->first = job;
    disk->last = job;
    disk->urgent |= !job->delete;
    if (wake)
        pthread_cond_signal(&disk->changed);
    pthread_mutex_unlock(&disk->mutex);
}

struct floor_counts floor_disk_close(struct floor_disk *disk)
{
    pthread_mutex_lock(&disk->mutex);
    disk->stop = true;
    pthread_cond_signal(&disk->changed);
    pthread_mutex_unlock(&disk->mutex);
    pthread_join(disk->thread, NULL);
    struct floor_counts counts = disk->counts;
    store_batch_free(disk->batch);
    store_close(disk->store);
    free(disk);
    return counts;
}

static int write_zeros(int fd, size_t size)
{
    enum { PIECE = 1 << 20 };
    void *zeros = NULL;
    if (posix_memalign(&zeros, 4096, PIECE) != 0)
        return -ENOMEM;
    memset(zeros, 0, PIECE);
    int error = 0;
    for (size_t at = 0; at < size && !error; at += PIECE) {
        size_t len = size - at < PIECE ? size - at : PIECE;
        if (pwrite(fd, zeros, len, (off_t)at) != (ssize_t)len)
            error = errno ? -errno : -EIO;
    }
    free(zeros);
    return error ? error : fsync(fd) == 0 ? 0 : -errno;
}

int floor_segment_open(const char *folder, unsigned index, size_t size)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/segment%u", folder, index);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_DIRECT, 0600);
    if (fd < 0)
        return -errno;
    int error = write_zeros(fd, size);
    if (error) {
        close(fd);
        return error;
    }
    return fd;
}
