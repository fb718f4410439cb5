/* folder: a temporary folder of a test, and what is in it. */
#pragma once

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FOLDER_PATH = 512 };

static inline void folder_make(char path[FOLDER_PATH])
{
    const char *base = getenv("TMPDIR");
    snprintf(path, FOLDER_PATH, "%s/ringpost-test-XXXXXX", base ? base : "/tmp");
    if (!mkdtemp(path))
        abort();
}

static inline int folder_unlink(const char *path, const struct stat *status, int type,
                                struct FTW *ftw)
{
    return remove(path);
}

static inline void folder_remove(const char *path)
{
    nftw(path, folder_unlink, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void file_copy(const char *from, const char *to)
{
    static char buffer[1 << 16];
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t count;
    while ((count = read(in, buffer, sizeof buffer)) > 0)
        if (write(out, buffer, (size_t)count) != count)
            abort();
    if (in < 0 || out < 0 || count < 0)
        abort();
    close(in);
    close(out);
}

/* Copies the plain files of one folder; its sub-folders are left out. */
static inline void folder_copy(const char *from, const char *to)
{
    mkdir(to, 0700);
    DIR *dir = opendir(from);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        char source[2 * FOLDER_PATH], target[2 * FOLDER_PATH];
        if (entry->d_type != DT_REG)
            continue;
        snprintf(source, sizeof source, "%s/%s", from, entry->d_name);
        snprintf(target, sizeof target, "%s/%s", to, entry->d_name);
        file_copy(source, target);
    }
    if (dir)
        closedir(dir);
}

/* The path of the newest non-empty RocksDB log in `folder`. False: there is none. */
static inline bool folder_newest_log(const char *folder, char path[FOLDER_PATH])
{
    unsigned long newest = 0;
    DIR *dir = opendir(folder);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        char *end;
        unsigned long number = strtoul(entry->d_name, &end, 10);
        struct stat status;
        if (number <= newest || strcmp(end, ".log") != 0)
            continue;
        char candidate[2 * FOLDER_PATH];
        snprintf(candidate, sizeof candidate, "%s/%s", folder, entry->d_name);
        if (stat(candidate, &status) < 0 || status.st_size == 0)
            continue;
        newest = number;
        snprintf(path, FOLDER_PATH, "%.500s", candidate);
    }
    if (dir)
        closedir(dir);
    return newest > 0;
}

/* How many entries of `folder` begin with `prefix`. */
static inline unsigned folder_count(const char *folder, const char *prefix)
{
    unsigned count = 0;
    DIR *dir = opendir(folder);
    struct dirent *entry;
    while (dir && (entry = readdir(dir)))
        count += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    if (dir)
        closedir(dir);
    return count;
}
