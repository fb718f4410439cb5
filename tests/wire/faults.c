/* faults: what goes wrong below a program, on demand. Loaded by LD_PRELOAD into ringpostd.
 *
 * RINGPOST_FAULTS names a file that the test has mapped too: what it writes there holds from the
 * next call on. Only the wall clock is moved, only logs (*.log) sync badly, and a full disk is full
 * for the queue's files alone. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct faults {
    _Atomic int64_t wall_offset_s;
    _Atomic int64_t syncs_left; /* negative: all succeed */
    _Atomic int64_t syncs_failed;
    _Atomic int64_t sync_takes_ms;
    _Atomic int64_t disk_is_full;
};

int clock_gettime(clockid_t clock, struct timespec *ret_now);
int fdatasync(int fd);
int fsync(int fd);
ssize_t write(int fd, const void *data, size_t len);
int statvfs(const char *path, struct statvfs *ret_disk);

static struct faults none = {.syncs_left = -1}, *faults = &none;

__attribute__((constructor)) static void open_faults(void)
{
    const char *path = getenv("RINGPOST_FAULTS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *mapped = mmap(NULL, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED)
        faults = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *ret_now)
{
    int result = (int)syscall(SYS_clock_gettime, clock, ret_now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        ret_now->tv_sec += faults->wall_offset_s;
    return result;
}

/* Its path, "" if it has none. */
static void path_of(int fd, char path[4096])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, 4095);
    path[len > 0 ? len : 0] = '\0';
}

static int is_log(int fd)
{
    char path[4096];
    path_of(fd, path);
    size_t len = strlen(path);
    return len > 4 && strcmp(path + len - 4, ".log") == 0;
}

static int fails(int fd)
{
    int64_t left = faults->syncs_left;
    if (left < 0 || !is_log(fd))
        return 0;
    while (left > 0)
        if (atomic_compare_exchange_weak(&faults->syncs_left, &left, left - 1))
            return 0;
    faults->syncs_failed++;
    errno = EIO;
    return 1;
}

static void wait_for_disk(int fd)
{
    int64_t ms = faults->sync_takes_ms;
    if (ms > 0 && is_log(fd))
        usleep((useconds_t)(ms * 1000));
}

int fdatasync(int fd)
{
    wait_for_disk(fd);
    return fails(fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    wait_for_disk(fd);
    return fails(fd) ? -1 : (int)syscall(SYS_fsync, fd);
}

ssize_t write(int fd, const void *data, size_t len)
{
    char path[4096];
    if (faults->disk_is_full) {
        path_of(fd, path);
        if (strstr(path, "/queue/")) {
            errno = ENOSPC;
            return -1;
        }
    }
    return syscall(SYS_write, fd, data, len);
}

int statvfs(const char *path, struct statvfs *ret_disk)
{
    static int (*real)(const char *, struct statvfs *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "statvfs");
    int result = real(path, ret_disk);
    if (result == 0 && faults->disk_is_full)
        ret_disk->f_bavail = 0;
    return result;
}
