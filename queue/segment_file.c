/* Straight and blocking. A file is made through the page cache, for that needs no alignment, and
 * its pages are dropped when they are on disk: from then on it is written past the cache. */
#include "queue/segment_file.h"

#include "core/crc32c.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ZEROES = 256 * 1024 };
#define NAME_PREFIX "segment-"
#define NEW_SUFFIX  ".new"

bool segment_path(char path[SEGMENT_PATH], const char *directory, uint32_t number)
{
    int len = snprintf(path, SEGMENT_PATH - sizeof NEW_SUFFIX, "%s/" NAME_PREFIX "%08x", directory,
                       number);
    return len > 0 && (size_t)len < SEGMENT_PATH - sizeof NEW_SUFFIX;
}

/* ---- making ---- */

static int write_zeroes(int fd, uint64_t size)
{
    char *zeroes = calloc(1, ZEROES);
    if (!zeroes)
        return -ENOMEM;
    int result = 0;
    for (uint64_t at = 0; at < size && result == 0;) {
        uint64_t left = size - at;
        ssize_t written = write(fd, zeroes, left < ZEROES ? left : ZEROES);
        if (written > 0)
            at += (uint64_t)written;
        else
            result = written < 0 ? -errno : -EIO;
    }
    free(zeroes);
    return result;
}

static int fill_and_sync(int fd, uint64_t size)
{
    int result = write_zeroes(fd, size);
    if (result == 0 && fsync(fd) != 0)
        result = -errno;
    if (result == 0)
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED); /* advice: nothing depends on it */
    return result;
}

static int sync_folder_of(const char *path)
{
    char folder[SEGMENT_PATH];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return result;
}

int segment_file_make(const char *path, uint64_t size)
{
    char unfinished[SEGMENT_PATH];
    snprintf(unfinished, sizeof unfinished, "%s" NEW_SUFFIX, path);
    int fd = open(unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int result = fill_and_sync(fd, size);
    close(fd);
    if (result == 0 && rename(unfinished, path) != 0)
        result = -errno;
    if (result == 0)
        result = sync_folder_of(path);
    if (result < 0) {
        unlink(unfinished);
        unlink(path);
    }
    return result;
}

/* ---- finding ---- */

static bool read_name(const char *name, uint32_t *ret_number)
{
    unsigned number;
    int end = 0;
    bool ours = sscanf(name, NAME_PREFIX "%8x%n", &number, &end) == 1 && end > 0;
    if (!ours || name[end])
        return false;
    *ret_number = number;
    return true;
}

static void remove_unfinished(DIR *folder, const char *name)
{
    size_t len = strlen(name), suffix = sizeof NEW_SUFFIX - 1;
    if (strncmp(name, NAME_PREFIX, sizeof NAME_PREFIX - 1) == 0 && len > suffix &&
        strcmp(name + len - suffix, NEW_SUFFIX) == 0)
        unlinkat(dirfd(folder), name, 0);
}

static int add_file(struct segment_files *files, DIR *folder, const char *name, uint32_t number)
{
    struct stat status;
    struct segment_file *grown =
        reallocarray(files->files, files->count + (size_t)1, sizeof *files->files);
    if (!grown)
        return -ENOMEM;
    files->files = grown;
    int fd = openat(dirfd(folder), name, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0) {
        int error = -errno;
        if (fd >= 0)
            close(fd);
        return error;
    }
    files->files[files->count++] = (struct segment_file){number, fd, (uint64_t)status.st_size};
    return 0;
}

static int compare(const void *a, const void *b)
{
    uint32_t x = ((const struct segment_file *)a)->number;
    uint32_t y = ((const struct segment_file *)b)->number;
    return x < y ? -1 : x > y;
}

int segment_files_open(const char *directory, bool tidy, struct segment_files *ret_files)
{
    struct segment_files files = {.directory = directory};
    DIR *folder = opendir(directory);
    int result = folder || errno == ENOENT ? 0 : -errno;
    struct dirent *entry;
    uint32_t number;
    while (result == 0 && folder && (entry = readdir(folder))) {
        if (read_name(entry->d_name, &number))
            result = add_file(&files, folder, entry->d_name, number);
        else if (tidy)
            remove_unfinished(folder, entry->d_name);
    }
    if (folder)
        closedir(folder);
    if (files.count)
        qsort(files.files, files.count, sizeof *files.files, compare);
    *ret_files = files;
    if (result < 0)
        segment_files_close(ret_files);
    return result;
}

void segment_files_close(struct segment_files *files)
{
    for (unsigned i = 0; i < files->count; i++)
        close(files->files[i].fd);
    free(files->files);
    files->files = NULL;
    files->count = 0;
}

/* ---- reading ---- */

static int read_whole(int fd, char *data, size_t len, uint64_t offset)
{
    while (len) {
        ssize_t got = pread(fd, data, len, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -EIO;
        data += got;
        len -= (size_t)got;
        offset += (uint64_t)got;
    }
    return 0;
}

int segment_files_read(const struct segment_files *files, const struct place *place, char *data)
{
    struct segment_file key = {.number = place->segment};
    const struct segment_file *file =
        files->count ? bsearch(&key, files->files, files->count, sizeof key, compare) : NULL;
    if (!file)
        return -ENOENT;
    if (place->offset > file->size || place->len > file->size - place->offset)
        return -ENXIO;
    int result = read_whole(file->fd, data, place->len, place->offset);
    if (result == 0 && crc32c(0, span_of(data, place->len)) != place->crc32c)
        result = -EBADMSG;
    return result;
}
