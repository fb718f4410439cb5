/* Files of a directory are listed once and sorted; names are checked, what does not look like a
 * segment is left alone. */
#include "queue/journal_files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLAIN_END      ".log"
#define COMPRESSED_END ".log.zst"

static bool name_read(const char *name, struct journal_file *ret_file)
{
    struct span rest = span_string(name);
    if (rest.len >= JOURNAL_NAME_MAX || !span_starts_with(rest, SPAN("w")))
        return false;
    rest = span_skip(rest, 1);
    size_t dash = span_find(rest, '-');
    uint64_t worker;
    if (!span_decimal(span_first(rest, dash), JOURNAL_WORKERS - 1, &worker))
        return false;
    rest = span_skip(rest, dash + 1);
    if (rest.len < 16 || strspn(rest.data, "0123456789abcdef") != 16)
        return false;
    struct span end = span_skip(rest, 16);
    bool compressed = span_equals(end, SPAN(COMPRESSED_END));
    if (!compressed && !span_equals(end, SPAN(PLAIN_END)))
        return false;
    *ret_file = (struct journal_file){.worker = (unsigned)worker,
                                      .compressed = compressed,
                                      .first_sequence = strtoull(rest.data, NULL, 16)};
    memcpy(ret_file->name, name, strlen(name) + 1);
    return true;
}

static int listing_add(struct journal_listing *listing, const struct journal_file *file)
{
    if (listing->count == listing->capacity) {
        size_t capacity = listing->capacity ? 2 * listing->capacity : 64;
        struct journal_file *files = realloc(listing->files, capacity * sizeof *files);
        if (!files)
            return -ENOMEM;
        listing->files = files;
        listing->capacity = capacity;
    }
    listing->files[listing->count++] = *file;
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct journal_file *left = a, *right = b;
    if (left->worker != right->worker)
        return left->worker < right->worker ? -1 : 1;
    if (left->first_sequence != right->first_sequence)
        return left->first_sequence < right->first_sequence ? -1 : 1;
    return right->compressed - left->compressed;
}

static int list_entries(DIR *entries, struct journal_listing *listing)
{
    for (;;) {
        struct journal_file file;
        struct stat status;
        errno = 0;
        const struct dirent *entry = readdir(entries);
        if (!entry)
            return -errno;
        if (!name_read(entry->d_name, &file))
            continue;
        if (fstatat(listing->directory_fd, file.name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
            if (errno == ENOENT)
                continue; /* compressed or removed since */
            return -errno;
        }
        if (!S_ISREG(status.st_mode))
            continue;
        file.size = (uint64_t)status.st_size;
        file.changed_s = status.st_mtim.tv_sec;
        file.writable = status.st_mode & (S_IWUSR | S_IWGRP | S_IWOTH);
        int result = listing_add(listing, &file);
        if (result < 0)
            return result;
    }
}

/* Both forms of one segment stand next to each other, the compressed one first. */
static void join_twins(struct journal_listing *listing)
{
    size_t kept = 0;
    for (size_t i = 0; i < listing->count; i++) {
        struct journal_file *last = kept ? &listing->files[kept - 1] : NULL;
        const struct journal_file *file = &listing->files[i];
        if (last && last->worker == file->worker && last->first_sequence == file->first_sequence)
            last->plain_left = true;
        else
            listing->files[kept++] = *file;
    }
    listing->count = kept;
}

int journal_list(const char *directory, struct journal_listing *ret_listing)
{
    struct journal_listing *listing = ret_listing;
    *listing = (struct journal_listing){.directory_fd = -1};
    DIR *entries = opendir(directory);
    if (!entries)
        return errno == ENOENT ? 0 : -errno;
    listing->directory_fd = fcntl(dirfd(entries), F_DUPFD_CLOEXEC, 0);
    int result = listing->directory_fd < 0 ? -errno : list_entries(entries, listing);
    closedir(entries);
    if (listing->count)
        qsort(listing->files, listing->count, sizeof *listing->files, by_place);
    join_twins(listing);
    return result;
}

void journal_listing_fini(struct journal_listing *listing)
{
    free(listing->files);
    if (listing->directory_fd >= 0)
        close(listing->directory_fd);
}

size_t journal_list_worker_end(const struct journal_listing *listing, size_t first)
{
    size_t end = first;
    while (end < listing->count && listing->files[end].worker == listing->files[first].worker)
        end++;
    return end;
}
