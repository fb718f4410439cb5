/* faults: what goes wrong below a program, on demand. Loaded by LD_PRELOAD into ringpostd.
 *
 * RINGPOST_FAULTS names a file that the test has mapped too: what it writes there holds from the
 * next call on. Only the wall clock is moved, and only logs (*.log) fail to sync. */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct faults {
    _Atomic int64_t wall_offset_s;
    _Atomic int64_t syncs_left; /* negative: all succeed */
    _Atomic int64_t syncs_failed;
};

int clock_gettime(clockid_t clock, struct timespec *ret_now);
int fdatasync(int fd);
int fsync(int fd);

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

static int is_log(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof path - 1);
    return len > 4 && memcmp(path + len - 4, ".log", 4) == 0;
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

int fdatasync(int fd)
{
    return fails(fd) ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return fails(fd) ? -1 : (int)syscall(SYS_fsync, fd);
}
