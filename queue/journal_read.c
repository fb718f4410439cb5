/* Reading whole journals, and removing old ones: straight, blocking code. Files of a directory are
 * listed once and sorted by worker and first sequence; that their names are what journal.c wrote is
 * checked, anything else in the directory is left alone.
 *
 * Each worker's files are read oldest first, in pieces of twice the longest frame, so that memory
 * is bounded whatever the files hold. */
#include "queue/journal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 2 * (JOURNAL_LINE_MAX + JOURNAL_FRAME_EXTRA), NAME_MAX_LEN = 40 };

struct file {
    unsigned worker;
    uint64_t first_sequence, size;
    int64_t changed_s;
    char name[NAME_MAX_LEN];
};

struct listing {
    int directory_fd;
    struct file *files;
    size_t count, capacity;
};

static bool name_read(const char *name, struct file *ret_file)
{
    struct span rest = span_string(name);
    if (rest.len >= NAME_MAX_LEN || !span_starts_with(rest, SPAN("w")))
        return false;
    rest = span_skip(rest, 1);
    size_t dash = span_find(rest, '-');
    uint64_t worker, sequence;
    char *hex_end;
    if (!span_decimal(span_first(rest, dash), JOURNAL_WORKERS - 1, &worker))
        return false;
    rest = span_skip(rest, dash + 1);
    if (rest.len != 16 + 4 || strspn(rest.data, "0123456789abcdef") != 16 ||
        strcmp(rest.data + 16, ".log") != 0)
        return false;
    sequence = strtoull(rest.data, &hex_end, 16);
    *ret_file = (struct file){.worker = (unsigned)worker, .first_sequence = sequence};
    memcpy(ret_file->name, name, strlen(name) + 1);
    return true;
}

static int listing_add(struct listing *listing, const struct file *file)
{
    if (listing->count == listing->capacity) {
        size_t capacity = listing->capacity ? 2 * listing->capacity : 64;
        struct file *files = realloc(listing->files, capacity * sizeof *files);
        if (!files)
            return -ENOMEM;
        listing->files = files;
        listing->capacity = capacity;
    }
    listing->files[listing->count++] = *file;
    return 0;
}

static int by_worker_and_sequence(const void *a, const void *b)
{
    const struct file *left = a, *right = b;
    if (left->worker != right->worker)
        return left->worker < right->worker ? -1 : 1;
    if (left->first_sequence != right->first_sequence)
        return left->first_sequence < right->first_sequence ? -1 : 1;
    return 0;
}

static void listing_fini(struct listing *listing)
{
    free(listing->files);
    if (listing->directory_fd >= 0)
        close(listing->directory_fd);
}

static int list_entries(DIR *entries, struct listing *listing)
{
    for (;;) {
        struct file file;
        struct stat status;
        errno = 0;
        const struct dirent *entry = readdir(entries);
        if (!entry)
            return -errno;
        if (!name_read(entry->d_name, &file))
            continue;
        if (fstatat(listing->directory_fd, file.name, &status, AT_SYMLINK_NOFOLLOW) < 0)
            return -errno;
        if (!S_ISREG(status.st_mode))
            continue;
        file.size = (uint64_t)status.st_size;
        file.changed_s = status.st_mtim.tv_sec;
        int result = listing_add(listing, &file);
        if (result < 0)
            return result;
    }
}

static int listing_init(struct listing *listing, const char *directory)
{
    *listing = (struct listing){.directory_fd = -1};
    DIR *entries = opendir(directory);
    if (!entries)
        return errno == ENOENT ? 0 : -errno;
    listing->directory_fd = fcntl(dirfd(entries), F_DUPFD_CLOEXEC, 0);
    int result = listing->directory_fd < 0 ? -errno : list_entries(entries, listing);
    closedir(entries);
    if (listing->count)
        qsort(listing->files, listing->count, sizeof *listing->files, by_worker_and_sequence);
    return result;
}

/* Reads a file from `offset` on. `piece` is of PIECE bytes. */
static int scan_file(int fd, uint64_t offset, char *piece, struct journal_scan *scan,
                     journal_on_line *on_line, void *context)
{
    size_t held = 0;
    scan->resync = offset > 0;
    for (;;) {
        ssize_t got = pread(fd, piece + held, PIECE - held, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        offset += (uint64_t)got;
        held += (size_t)got;
        size_t used = journal_scan_bytes(scan, span_of(piece, held), got == 0, on_line, context);
        if (got == 0)
            return 0;
        memmove(piece, piece + used, held - used);
        held -= used;
    }
}

/* The files [first, end) are one worker's. */
static int scan_worker(const struct listing *listing, size_t first, size_t end, uint64_t tail_bytes,
                       char *piece, struct journal_scan *scan, journal_on_line *on_line,
                       void *context)
{
    size_t at = end;
    uint64_t found = 0, offset = 0;
    while (at > first && found < tail_bytes) {
        uint64_t size = listing->files[--at].size;
        offset = size > tail_bytes - found ? size - (tail_bytes - found) : 0;
        found += size;
    }
    for (; at < end; at++, offset = 0) {
        int fd = openat(listing->directory_fd, listing->files[at].name, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return -errno;
        int result = scan_file(fd, offset, piece, scan, on_line, context);
        close(fd);
        if (result < 0)
            return result;
    }
    return 0;
}

/* A file without a readable frame has used up its first sequence if anything was written to it:
 * better a gap that was none than an unreadable file replaced by one of its name. */
static uint64_t next_after(const struct file *newest, const struct journal_scan *scan)
{
    uint64_t used = newest->first_sequence + (newest->size > 0);
    return scan->next_sequence > used ? scan->next_sequence : used;
}

static size_t worker_end(const struct listing *listing, size_t first)
{
    size_t end = first;
    while (end < listing->count && listing->files[end].worker == listing->files[first].worker)
        end++;
    return end;
}

int journal_recover(const char *directory, uint64_t tail_bytes, journal_on_line *on_line,
                    void *context, struct journal_tail *ret_tail)
{
    struct listing listing;
    struct journal_tail tail = {0};
    char *piece = malloc(PIECE);
    int result = listing_init(&listing, directory);
    if (!piece)
        result = -ENOMEM;
    for (size_t first = 0, end; result == 0 && first < listing.count; first = end) {
        struct journal_scan scan = {.worker = listing.files[first].worker};
        end = worker_end(&listing, first);
        result = scan_worker(&listing, first, end, tail_bytes, piece, &scan, on_line, context);
        tail.frames += scan.frames;
        tail.gaps += scan.gaps;
        tail.damaged += scan.damaged;
        tail.next_sequence[listing.files[first].worker] =
            next_after(&listing.files[end - 1], &scan);
    }
    free(piece);
    listing_fini(&listing);
    if (result == 0)
        *ret_tail = tail;
    return result;
}

static int by_age(const void *a, const void *b)
{
    const struct file *left = a, *right = b;
    if (left->changed_s != right->changed_s)
        return left->changed_s < right->changed_s ? -1 : 1;
    return by_worker_and_sequence(a, b);
}

/* Takes each worker's newest file out of the list. */
static void spare_newest(struct listing *listing)
{
    size_t kept = 0;
    for (size_t i = 0; i < listing->count; i++)
        if (i + 1 < listing->count && listing->files[i].worker == listing->files[i + 1].worker)
            listing->files[kept++] = listing->files[i];
    listing->count = kept;
}

int journal_prune(const char *directory, uint64_t keep_bytes)
{
    struct listing listing;
    int result = listing_init(&listing, directory);
    uint64_t total = 0;
    for (size_t i = 0; i < listing.count; i++)
        total += listing.files[i].size;
    spare_newest(&listing);
    if (listing.count)
        qsort(listing.files, listing.count, sizeof *listing.files, by_age);
    for (size_t i = 0; result == 0 && i < listing.count && total > keep_bytes; i++) {
        if (unlinkat(listing.directory_fd, listing.files[i].name, 0) < 0)
            result = -errno;
        total -= listing.files[i].size;
    }
    listing_fini(&listing);
    return result;
}
