/* By the kernel's own word (statx, STATX_DIOALIGN: Linux 6.1), not by trial: ext4 with data=journal
 * takes O_DIRECT and then goes through the page cache all the same. Only file systems of which we
 * know that they overwrite in place and that the sync of one file flushes the disk's cache for all:
 * copy on write would leave a new place unlinked. */
#include "queue/segment_file.h"

#include <linux/fcntl.h>
#include <linux/magic.h>
#include <linux/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool look_at(const char *path, struct statx *ret_status)
{
    return syscall(SYS_statx, AT_FDCWD, path, 0, STATX_BASIC_STATS | STATX_DIOALIGN, ret_status) ==
           0;
}

static bool overwrites_in_place(const char *directory)
{
    struct statfs status;
    if (statfs(directory, &status) != 0)
        return false;
    return status.f_type == EXT4_SUPER_MAGIC || status.f_type == XFS_SUPER_MAGIC;
}

static bool takes_direct_io(const char *directory)
{
    struct statx status = {0};
    char path[SEGMENT_PATH];
    snprintf(path, sizeof path, "%s/probe-XXXXXX", directory);
    int fd = mkstemp(path);
    if (fd < 0)
        return false;
    bool looked = look_at(path, &status);
    unlink(path);
    close(fd);
    return looked && status.stx_mask & STATX_DIOALIGN && status.stx_dio_mem_align &&
           status.stx_dio_mem_align <= SEGMENT_BLOCK && status.stx_dio_offset_align &&
           status.stx_dio_offset_align <= SEGMENT_BLOCK;
}

bool segment_probe(const char *directory, const char *log_directory, const char **ret_why)
{
    struct statx here, log;
    if (!look_at(directory, &here) || !look_at(log_directory, &log))
        *ret_why = "its folder cannot be looked at";
    else if (here.stx_dev_major != log.stx_dev_major || here.stx_dev_minor != log.stx_dev_minor)
        *ret_why = "its folder is on another device than the queue's log";
    else if (!overwrites_in_place(directory))
        *ret_why = "the file system is neither ext4 nor XFS";
    else if (!takes_direct_io(directory))
        *ret_why = "the file system does not take direct I/O";
    else
        return true;
    return false;
}
